#include "format.h"

#include <stdio.h>

static vm_status file_open(trace_source *s, trace_cursor **out, vm_error *e);
static bool file_count(trace_source *s, uint64_t *accesses);
static bool file_totals(trace_source *s, trace_totals *t);
static void file_describe(trace_source *s, char *text, size_t size);
static void file_destroy(trace_source *s);

#define FORMAT_SOURCE(name)                                                                        \
    {                                                                                              \
        name, file_open, file_count, file_totals, file_describe, file_destroy                      \
    }

static const trace_format formats[] = {
    {FORMAT_SOURCE("vmt"), "vmem's own: compressed, with checksums, events and task numbers",
     vmt_recognise, vmt_open, vmt_totals},
    {FORMAT_SOURCE("lackey"), "text of Valgrind's Lackey: --tool=lackey --trace-mem=yes",
     lackey_recognise, lackey_open, NULL},
    {FORMAT_SOURCE("din"), "text of Dinero: 0 load, 1 store or 2 fetch, hexadecimal address, size",
     din_recognise, din_open, NULL},
    {FORMAT_SOURCE("arc"), "text of ARC's traces: first block, number of blocks, 0, request",
     arc_recognise, arc_open, NULL},
    {FORMAT_SOURCE("lirs"),
     "text of LIRS's traces: a block a line, * is skipped; 'pages' without *", lirs_recognise,
     lirs_open, NULL},
    {FORMAT_SOURCE("csv"), "comma-separated requests for objects; a header, or: time, object, size",
     csv_recognise, csv_open, NULL},
    {FORMAT_SOURCE("oracle"), "libCacheSim's oracleGeneral: 24-byte requests for objects",
     oracle_recognise, oracle_open, NULL},
    {FORMAT_SOURCE("pages"), "text: page numbers, decimal or 0x, a load each", pages_recognise,
     pages_open, NULL},
    {FORMAT_SOURCE("champsim"), "ChampSim's 64-byte instruction records", champsim_recognise,
     champsim_open, NULL},
};

const trace_format format_pattern = {
    FORMAT_SOURCE("pattern"), "text, by a pattern that the user passes", NULL, pattern_open, NULL};

const trace_format *trace_format_at(size_t i)
{
    return i < sizeof formats / sizeof *formats ? &formats[i] : NULL;
}

/* The names of all formats, for messages. */
static const char *format_names(char *text, size_t size)
{
    size_t n = 0;
    const trace_format *f;
    for (size_t i = 0; (f = trace_format_at(i)) && n < size; i++)
        n += (size_t)snprintf(text + n, size - n, "%s%s", i ? ", " : "", f->source.name);
    return text;
}

static vm_status file_recognise(trace_file_source *f, stream *in, const char *name, vm_error *e)
{
    const unsigned char *head;
    size_t n;
    char names[120];
    stream_head(in, &head, &n);
    if (n == 0)
        return vm_fail(e, VM_FORMAT, "%s: the file is empty, a trace was expected", f->path);
    if (f->lines.parse) {
        f->format = &format_pattern;
        return VM_OK;
    }
    const trace_format *row;
    for (size_t i = 0; (row = trace_format_at(i)); i++)
        if (name ? strcmp(row->source.name, name) == 0 : row->recognise(head, n)) {
            f->format = row;
            return VM_OK;
        }
    format_names(names, sizeof names);
    if (name)
        return vm_fail(e, VM_INVALID, "unknown trace format '%s', expected one of %s", name, names);
    return vm_fail(e, VM_FORMAT, "%s: the content is none of the known trace formats (%s)", f->path,
                   names);
}

static vm_status file_open(trace_source *s, trace_cursor **out, vm_error *e)
{
    trace_file_source *f = (trace_file_source *)s;
    stream *in = f->first;
    f->first = NULL;
    if (!in) {
        if (!f->sized)
            return vm_fail(e, VM_INVALID, "%s: a pipe can be read only once", f->path);
        vm_status st = stream_open(&s->host, f->path, &in, e);
        if (st != VM_OK)
            return st;
    }
    return f->format->open(f, in, out, e);
}

static bool file_totals(trace_source *s, trace_totals *t)
{
    trace_file_source *f = (trace_file_source *)s;
    bool known = f->format->totals && f->sized && f->format->totals(f, t);
    t->bytes = f->bytes;
    return known;
}

static bool file_count(trace_source *s, uint64_t *accesses)
{
    trace_totals t;
    memset(&t, 0, sizeof t);
    if (!file_totals(s, &t))
        return false;
    *accesses = t.kinds[0] + t.kinds[1] + t.kinds[2] + t.kinds[3];
    return true;
}

static void file_describe(trace_source *s, char *text, size_t size)
{
    const trace_file_source *f = (const trace_file_source *)s;
    snprintf(text, size, "%s", f->path);
}

static void file_destroy(trace_source *s)
{
    trace_file_source *f = (trace_file_source *)s;
    vm_host host = s->host;
    stream_close(f->first);
    if (f->lines.release)
        f->lines.release(f->lines.ud);
    host_free(&host, f->path, f->path_size);
    host_free(&host, f, sizeof *f);
}

vm_status trace_file(const vm_host *host, const char *path, const trace_file_options *o,
                     trace_source **out, vm_error *e)
{
    *out = NULL;
    trace_file_source *f = host_zalloc(host, sizeof *f);
    if (!f) {
        if (o && o->lines)
            o->lines->release(o->lines->ud);
        return vm_fail_nomem(e, "a trace");
    }
    if (o && o->lines)
        f->lines = *o->lines;
    trace_source_init(&f->base, &formats[0].source, host);
    f->page = o && o->page ? o->page : 4096;
    f->task = o ? (uint16_t)o->task : 0;
    f->path_size = strlen(path) + 1;
    f->path = host_alloc(host, f->path_size);
    vm_status st = f->path ? VM_OK : vm_fail_nomem(e, "a trace");
    stream *in = NULL;
    if (st == VM_OK) {
        memcpy(f->path, path, f->path_size);
        st = stream_open(host, path, &in, e);
    }
    if (st == VM_OK)
        st = file_recognise(f, in, o ? o->format : NULL, e);
    if (st != VM_OK) {
        stream_close(in);
        file_destroy(&f->base);
        return st;
    }
    f->base.cls = &f->format->source;
    f->codec = stream_codec(in);
    f->sized = stream_size(in, &f->bytes);
    if (f->sized)
        stream_close(in);
    else
        f->first = in;
    *out = &f->base;
    return VM_OK;
}
