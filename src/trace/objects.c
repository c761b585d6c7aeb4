/* objects.c: the readers of what cache research has: lists of blocks and of
 * objects. Each request is a load of the pages that it names; there is a page to
 * an object, whatever its size.
 *
 *   arc     text of Megiddo and Modha's traces (.lis): first block, number of
 *           blocks, 0, number of the request; one access over all of its blocks
 *   lirs    text of Jiang and Zhang's traces: a block a line; a line of * alone
 *           says nothing
 *   csv     comma-separated; a header names the columns: the object is in the first
 *           called obj_id, object_id, object, obj, id, key, block or lba, whether it
 *           is written in the one called op or operation. Without a header: time,
 *           object, size. A name that is no number stands for a hash of it.
 *   oracle  libCacheSim's oracleGeneral: 24 bytes a request: u32 time, u64 object,
 *           u32 size, i64 position of its next request
 *
 * A page's number times the page size is its address, as in lists of pages; numbers
 * that are too large for that are an error that says what helps.
 */
#include "format.h"
#include "text.h"

#include <inttypes.h>
#include <strings.h>

static bool objects_ends(const char *p, const char *stop) { return p == stop || *p == '\n'; }

static bool objects_fits(const text_cursor *c, uint64_t number, uint64_t pages)
{
    uint64_t most = UINT64_MAX / c->page;
    return number <= most && pages - 1 <= most - number;
}

/* One line; `*p` goes to its end. `*none`: it holds no request. */
typedef bool objects_line(text_cursor *c, const char **p, const char *stop, access_record *r,
                          bool *none);

static vm_status objects_parse(text_cursor *c, const char **at, const char *stop, size_t *count,
                               objects_line *line, const char *expected, vm_error *e)
{
    const char *p = *at;
    size_t n = 0;
    while (p < stop && n < TRACE_BLOCK) {
        const char *start = p;
        bool none = false;
        access_record r = {.task = c->task, .kind = ACCESS_LOAD, .size = 1};
        p = text_blanks(p, stop);
        if (!objects_ends(p, stop)) {
            if (!line(c, &p, stop, &r, &none))
                return text_bad(c, start, stop, expected, e);
            if (!none)
                c->out[n++] = r;
        }
        p++;
        c->line++;
    }
    *at = p;
    *count = n;
    return VM_OK;
}

/* --- arc ----------------------------------------------------------------------- */

#define ARC_LINE "'BLOCK COUNT 0 REQUEST', of blocks that have 64-bit addresses"

/* Numbers between blanks to the end of the line; how many, at most `most`. */
static size_t arc_numbers(const char **p, const char *stop, uint64_t *x, size_t most)
{
    size_t n = 0;
    const char *q = text_blanks(*p, stop);
    while (n < most && text_number(&q, stop, 10, &x[n])) {
        n++;
        const char *gap = q;
        q = text_blanks(q, stop);
        if (q == gap)
            break;
    }
    *p = q;
    return n;
}

static bool arc_line(text_cursor *c, const char **p, const char *stop, access_record *r, bool *none)
{
    uint64_t x[4];
    if (arc_numbers(p, stop, x, 4) != 4 || !objects_ends(*p, stop))
        return false;
    *none = x[1] == 0;
    if (!*none && (!objects_fits(c, x[0], x[1]) || x[1] > UINT32_MAX / c->page))
        return false;
    r->addr = x[0] * c->page;
    r->size = (uint32_t)(x[1] * c->page);
    return true;
}

static vm_status arc_parse(text_cursor *c, const char **at, const char *stop, size_t *count,
                           vm_error *e)
{
    return objects_parse(c, at, stop, count, arc_line, ARC_LINE, e);
}

/* Two lines or more, the third number 0, the fourth counting up: a list of pages in
 * four columns hardly looks like that. */
bool arc_recognise(const unsigned char *head, size_t n)
{
    const char *p = (const char *)head, *stop = p + n;
    uint64_t x[4], last = 0;
    size_t lines = 0;
    while (p < stop) {
        const char *end = memchr(p, '\n', (size_t)(stop - p));
        if (!end && n == STREAM_HEAD)
            break;
        if (arc_numbers(&p, end ? end : stop, x, 4) != 4 || !objects_ends(p, stop) || x[2] != 0 ||
            (lines > 0 && x[3] != last + 1))
            return false;
        last = x[3];
        lines++;
        p += p < stop;
    }
    return lines > 1;
}

static const text_class arc_class = {"arc", false, false, arc_parse};

vm_status arc_open(const trace_file_source *from, stream *in, trace_cursor **out, vm_error *e)
{
    return text_open(&arc_class, from, in, out, e);
}

/* --- lirs ---------------------------------------------------------------------- */

#define LIRS_LINE "the number of a block that has a 64-bit address, or *"

static bool lirs_line(text_cursor *c, const char **p, const char *stop, access_record *r,
                      bool *none)
{
    uint64_t block = 0;
    const char *q = *p;
    *none = *q == '*';
    if (*none)
        q++;
    else if (!text_number(&q, stop, 10, &block) || !objects_fits(c, block, 1))
        return false;
    *p = text_blanks(q, stop);
    r->addr = block * c->page;
    return objects_ends(*p, stop);
}

static vm_status lirs_parse(text_cursor *c, const char **at, const char *stop, size_t *count,
                            vm_error *e)
{
    return objects_parse(c, at, stop, count, lirs_line, LIRS_LINE, e);
}

/* Without a * a list of pages is the same. */
bool lirs_recognise(const unsigned char *head, size_t n)
{
    const char *p = (const char *)head, *stop = p + n;
    bool star = false;
    while (p < stop) {
        uint64_t block;
        p = text_blanks(p, stop);
        if (p < stop && *p == '*') {
            star = true;
            p++;
        } else if (!objects_ends(p, stop) && !text_number(&p, stop, 10, &block)) {
            return false;
        }
        p = text_blanks(p, stop);
        if (!objects_ends(p, stop))
            return false;
        p += p < stop;
    }
    return star;
}

static const text_class lirs_class = {"lirs", false, false, lirs_parse};

vm_status lirs_open(const trace_file_source *from, stream *in, trace_cursor **out, vm_error *e)
{
    return text_open(&lirs_class, from, in, out, e);
}

/* --- csv ------------------------------------------------------------------------- */

#define CSV_LINE "as many columns as the first line has, with an object"
#define CSV_NONE 0xffffu

static const char *const csv_objects[] = {"obj_id", "object_id", "object", "obj", "id",
                                          "key",    "block",     "lba",    NULL};
static const char *const csv_operations[] = {"op", "operation", NULL};
/* Operations that write; all others read. */
static const char *const csv_writes[] = {"write", "w",   "set",     "put", "update",
                                         "store", "add", "replace", "cas", NULL};

typedef struct csv_field {
    const char *at;
    size_t size;
} csv_field;

/* The next field; false behind the last. Blanks and quotes around it are left out. */
static bool csv_next(const char **p, const char *stop, csv_field *f)
{
    const char *q = *p, *end;
    if (!q)
        return false;
    q = text_blanks(q, stop);
    if (q < stop && *q == '"') {
        end = ++q;
        while (end < stop && *end != '"' && *end != '\n')
            end++;
        *f = (csv_field){q, (size_t)(end - q)};
        end = text_blanks(end < stop && *end == '"' ? end + 1 : end, stop);
    } else {
        for (end = q; end < stop && *end != ',' && *end != '\n'; end++)
            ;
        size_t n = (size_t)(end - q);
        while (n > 0 && (q[n - 1] == ' ' || q[n - 1] == '\t' || q[n - 1] == '\r'))
            n--;
        *f = (csv_field){q, n};
    }
    *p = end < stop && *end == ',' ? end + 1 : NULL;
    return true;
}

static bool csv_named(const csv_field *f, const char *const *names)
{
    for (; *names; names++)
        if (strlen(*names) == f->size && strncasecmp(*names, f->at, f->size) == 0)
            return true;
    return false;
}

/* Where the header has the columns; false: it names no object. */
static bool csv_header(const char *p, const char *stop, unsigned *object, unsigned *operation)
{
    csv_field f;
    *object = *operation = CSV_NONE;
    for (unsigned i = 0; csv_next(&p, stop, &f); i++) {
        if (*object == CSV_NONE && csv_named(&f, csv_objects))
            *object = i;
        if (*operation == CSV_NONE && csv_named(&f, csv_operations))
            *operation = i;
    }
    return *object != CSV_NONE;
}

static bool csv_number(const csv_field *f, uint64_t *x)
{
    const char *p = f->at;
    return f->size > 0 && text_number(&p, f->at + f->size, 10, x) && p == f->at + f->size;
}

/* FNV-1a, 64 bits, in the range of page numbers. */
static uint64_t csv_hash(const text_cursor *c, const csv_field *f)
{
    uint64_t h = UINT64_C(0xcbf29ce484222325);
    for (size_t i = 0; i < f->size; i++)
        h = (h ^ (unsigned char)f->at[i]) * UINT64_C(0x100000001b3);
    return c->page == 1 ? h : h % (UINT64_MAX / c->page);
}

static bool csv_line(text_cursor *c, const char **p, const char *stop, access_record *r, bool *none)
{
    const char *end = memchr(*p, '\n', (size_t)(stop - *p)), *q = *p;
    csv_field f, object = {NULL, 0};
    uint64_t number = 0;
    unsigned i = 0;
    end = end ? end : stop;
    if (c->line == 1) {
        *none = csv_header(q, end, &c->column[0], &c->column[1]);
        if (!*none) {
            c->column[0] = 1;
            c->column[1] = CSV_NONE;
        }
    }
    *p = end;
    if (*none)
        return true;
    for (; csv_next(&q, end, &f); i++) {
        if (i == c->column[0])
            object = f;
        if (i == c->column[1] && csv_named(&f, csv_writes))
            r->kind = ACCESS_STORE;
    }
    if (object.size == 0)
        return false;
    if (!csv_number(&object, &number))
        number = csv_hash(c, &object);
    r->addr = number * c->page;
    return objects_fits(c, number, 1);
}

static vm_status csv_parse(text_cursor *c, const char **at, const char *stop, size_t *count,
                           vm_error *e)
{
    return objects_parse(c, at, stop, count, csv_line,
                         CSV_LINE " (whose address fits into 64 bits: page = 1 helps)", e);
}

/* A header that names an object, or three numbers or more on the first line. */
bool csv_recognise(const unsigned char *head, size_t n)
{
    const char *p = (const char *)head, *end = memchr(p, '\n', n), *q;
    unsigned object, operation, fields = 0;
    csv_field f;
    uint64_t x;
    end = end ? end : p + n;
    if (!memchr(p, ',', (size_t)(end - p)))
        return false;
    if (csv_header(p, end, &object, &operation))
        return true;
    for (q = p; csv_next(&q, end, &f); fields++)
        if (fields < 3 && !csv_number(&f, &x))
            return false;
    return fields >= 3;
}

static const text_class csv_class = {"csv", false, false, csv_parse};

vm_status csv_open(const trace_file_source *from, stream *in, trace_cursor **out, vm_error *e)
{
    return text_open(&csv_class, from, in, out, e);
}

/* --- oracleGeneral ------------------------------------------------------------------- */

#define ORACLE_RECORD 24
#define ORACLE_MOST   (UINT64_C(1) << 40) /* requests; text read as numbers is above it */

typedef struct oracle_cursor {
    trace_cursor base;
    vm_host host;
    stream *in;
    uint64_t page;
    uint16_t task;
    bool ended;
    unsigned char raw[TRACE_BLOCK * ORACLE_RECORD];
    access_record out[TRACE_BLOCK];
} oracle_cursor;

static uint64_t oracle_word(const unsigned char *p, int bytes)
{
    uint64_t x = 0;
    while (bytes-- > 0)
        x = x << 8 | p[bytes];
    return x;
}

/* Whole records, times that do not go back, and each next request is where it is said
 * to be (positions from 0, or from 1), as far as that can be seen. */
bool oracle_recognise(const unsigned char *head, size_t n)
{
    size_t count = n / ORACLE_RECORD;
    bool from[2] = {true, true};
    if (count == 0 || (n < STREAM_HEAD && n % ORACLE_RECORD != 0))
        return false;
    for (size_t i = 0; i < count; i++) {
        const unsigned char *p = head + i * ORACLE_RECORD;
        uint64_t next = oracle_word(p + 16, 8);
        if (i > 0 && oracle_word(p, 4) < oracle_word(p - ORACLE_RECORD, 4))
            return false;
        if (next == UINT64_MAX || next == INT64_MAX)
            continue;
        if (next > ORACLE_MOST || next <= i)
            return false;
        for (size_t b = 0; b < 2; b++) {
            uint64_t at = next - b;
            if (at <= i || (at < count && memcmp(head + at * ORACLE_RECORD + 4, p + 4, 8) != 0))
                from[b] = false;
        }
    }
    return from[0] || from[1];
}

static vm_status oracle_next(trace_cursor *base, trace_block *b, vm_error *e)
{
    oracle_cursor *c = (oracle_cursor *)base;
    size_t got = 0;
    memset(b, 0, sizeof *b);
    if (c->ended)
        return VM_OK;
    uint64_t offset = stream_offset(c->in);
    vm_status st = stream_read(c->in, c->raw, sizeof c->raw, &got, e);
    if (st != VM_OK)
        return st;
    c->ended = got < sizeof c->raw;
    if (got % ORACLE_RECORD != 0)
        return vm_fail(
            e, VM_FORMAT,
            "%s: the oracle trace ends in the midst of a record of 24 bytes, at %" PRIu64,
            stream_path(c->in), offset + got - got % ORACLE_RECORD);
    for (size_t i = 0; i < got / ORACLE_RECORD; i++) {
        uint64_t object = oracle_word(c->raw + i * ORACLE_RECORD + 4, 8);
        if (object > UINT64_MAX / c->page)
            return vm_fail(e, VM_FORMAT,
                           "%s: offset %" PRIu64 ": object %" PRIu64
                           " has no 64-bit address with pages of %" PRIu64
                           " bytes; page = 1 takes any number",
                           stream_path(c->in), offset + i * ORACLE_RECORD, object, c->page);
        c->out[i] = (access_record){object * c->page, 1, c->task, ACCESS_LOAD, 0};
    }
    b->records = c->out;
    b->count = got / ORACLE_RECORD;
    return VM_OK;
}

static void oracle_close(trace_cursor *base)
{
    oracle_cursor *c = (oracle_cursor *)base;
    vm_host host = c->host;
    stream_close(c->in);
    host_free(&host, c, sizeof *c);
}

static const trace_cursor_class oracle_cursor_class = {"oracle", oracle_next, oracle_close};

vm_status oracle_open(const trace_file_source *from, stream *in, trace_cursor **out, vm_error *e)
{
    const vm_host *host = &from->base.host;
    oracle_cursor *c = host_alloc(host, sizeof *c);
    if (!c) {
        stream_close(in);
        return vm_fail_nomem(e, "a trace's cursor");
    }
    memset(c, 0, offsetof(oracle_cursor, raw));
    c->base.cls = &oracle_cursor_class;
    c->host = *host;
    c->in = in;
    c->page = from->page;
    c->task = from->task;
    *out = &c->base;
    return VM_OK;
}
