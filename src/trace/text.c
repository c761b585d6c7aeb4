#include "text.h"

#include <inttypes.h>
#include <stdio.h>

static bool text_is_space(char c) { return c == ' ' || (c >= '\t' && c <= '\r'); }

/* The end of the last whole line or word in [p, stop); p where there is none. */
static const char *text_last(const char *p, const char *stop, bool words)
{
    while (stop > p && !(words ? text_is_space(stop[-1]) : stop[-1] == '\n'))
        stop--;
    return stop;
}

/* Have at least one whole line between `at` and the returned end. */
static vm_status text_fill(text_cursor *c, const char **stop, vm_error *e)
{
    char *base = c->buf + TEXT_PAD;
    for (;;) {
        *stop = text_last(base + c->at, base + c->end, c->cls->words);
        if (*stop > base + c->at || (c->ended && c->at == c->end))
            return VM_OK;
        if (c->ended && c->cls->whole)
            return vm_fail(e, VM_FORMAT,
                           "%s: line %" PRIu64 " does not end: the %s trace was cut off",
                           stream_path(c->in), c->line, c->cls->name);
        if (c->at > 0) {
            memmove(base, base + c->at, c->end - c->at);
            c->end -= c->at;
            c->at = 0;
        }
        if (c->end == TEXT_ROOM)
            return vm_fail(e, VM_FORMAT, "%s: line %" PRIu64 " is longer than %u bytes",
                           stream_path(c->in), c->line, TEXT_ROOM - 1);
        if (c->ended) {
            base[c->end++] = '\n';
            continue;
        }
        size_t got, want = TEXT_ROOM - c->end;
        vm_status st = stream_read(c->in, base + c->end, want, &got, e);
        if (st != VM_OK)
            return st;
        c->end += got;
        c->ended = got < want;
    }
}

static vm_status text_next(trace_cursor *base, trace_block *b, vm_error *e)
{
    text_cursor *c = (text_cursor *)base;
    memset(b, 0, sizeof *b);
    while (b->count == 0) {
        const char *stop, *at;
        vm_status st = text_fill(c, &stop, e);
        if (st != VM_OK)
            return st;
        at = c->buf + TEXT_PAD + c->at;
        if (at == stop)
            return VM_OK;
        st = c->cls->parse(c, &at, stop, &b->count, e);
        if (st != VM_OK)
            return st;
        c->at = (size_t)(at - c->buf) - TEXT_PAD;
    }
    b->records = c->out;
    return VM_OK;
}

static void text_close(trace_cursor *base)
{
    text_cursor *c = (text_cursor *)base;
    vm_host host = c->host;
    stream_close(c->in);
    host_free(&host, c->buf, TEXT_ROOM + 2 * TEXT_PAD);
    host_free(&host, c, sizeof *c);
}

static const trace_cursor_class text_cursor_class = {"text", text_next, text_close};

vm_status text_open(const text_class *cls, const trace_file_source *from, stream *in,
                    trace_cursor **out, vm_error *e)
{
    const vm_host *host = &from->base.host;
    text_cursor *c = host_zalloc(host, sizeof *c);
    if (!c) {
        stream_close(in);
        return vm_fail_nomem(e, "a trace's cursor");
    }
    c->base.cls = &text_cursor_class;
    c->cls = cls;
    c->host = *host;
    c->in = in;
    c->line = 1;
    c->page = from->page;
    c->task = from->task;
    c->lines = &from->lines;
    c->buf = host_zalloc(host, TEXT_ROOM + 2 * TEXT_PAD);
    if (!c->buf) {
        text_close(&c->base);
        return vm_fail_nomem(e, "a trace's cursor");
    }
    *out = &c->base;
    return VM_OK;
}

vm_status text_bad(const text_cursor *c, const char *line, const char *stop, const char *expected,
                   vm_error *e)
{
    char shown[48];
    size_t n = 0;
    for (; line + n < stop && line[n] != '\n' && n < sizeof shown - 1; n++)
        shown[n] = line[n] >= ' ' && line[n] <= '~' ? line[n] : '?';
    shown[n] = '\0';
    return vm_fail(e, VM_FORMAT, "%s: line %" PRIu64 ": expected %s, found '%s'",
                   stream_path(c->in), c->line, expected, shown);
}

bool text_number(const char **p, const char *stop, unsigned base, uint64_t *out)
{
    const char *q = *p;
    uint64_t x = 0;
    for (; q < stop; q++) {
        unsigned c = (unsigned char)*q, d = c - '0';
        if (d > 9)
            d = (c | 32u) >= 'a' ? (c | 32u) - 'a' + 10 : base;
        if (d >= base)
            break;
        if (x > (UINT64_MAX - d) / base)
            return false;
        x = x * base + d;
    }
    bool some = q > *p;
    *p = q;
    *out = x;
    return some;
}

const char *text_blanks(const char *p, const char *stop)
{
    while (p < stop && (*p == ' ' || *p == '\t' || *p == '\r'))
        p++;
    return p;
}
