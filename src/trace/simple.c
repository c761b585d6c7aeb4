/* simple.c: the readers of formats that a few lines describe.
 *
 *   din       Dinero: "0 ADDR", "1 ADDR", "2 ADDR" for load, store, fetch; the
 *             address hexadecimal, with or without 0x; a size may follow, also
 *             hexadecimal as Dinero IV writes it, else it is 4 bytes.
 *   pages     numbers of pages between white space, decimal or 0x: each a load
 *             of one byte at the page's beginning.
 *   pattern   lines that a function of the user's parses.
 *   champsim  64 bytes an instruction: u64 ip; u8 is_branch, taken; u8
 *             destination registers[2], source registers[4]; u64 destination
 *             memory[2], source memory[4]. It becomes a fetch at ip, a load of
 *             each source and a store of each destination that is not 0. The
 *             format has no sizes: a fetch counts as 4 bytes, data as 8.
 */
#include "format.h"
#include "text.h"

#include <inttypes.h>

/* --- din -------------------------------------------------------------------- */

#define DIN_SIZE 4
#define DIN_LINE "'0|1|2 HEXADDRESS [HEXSIZE]'"

static bool din_ends(const char *p, const char *stop) { return p == stop || *p == '\n'; }

/* One line; `*p` goes to its end. Where there is none, only over blanks. */
static bool din_line(const char **p, const char *stop, access_record *r)
{
    static const uint8_t kinds[] = {ACCESS_LOAD, ACCESS_STORE, ACCESS_FETCH};
    const char *q = text_blanks(*p, stop);
    *p = q;
    if (stop - q < 3 || q[0] < '0' || q[0] > '2' || (q[1] != ' ' && q[1] != '\t'))
        return false;
    r->kind = kinds[q[0] - '0'];
    q = text_blanks(q + 1, stop);
    if (stop - q > 2 && q[0] == '0' && (q[1] | 32) == 'x')
        q += 2;
    uint64_t size = DIN_SIZE;
    if (!text_number(&q, stop, 16, &r->addr))
        return false;
    const char *gap = q;
    q = text_blanks(q, stop);
    if (!din_ends(q, stop) && (q == gap || !text_number(&q, stop, 16, &size)))
        return false;
    q = text_blanks(q, stop);
    if (!din_ends(q, stop) || size == 0 || size > UINT32_MAX)
        return false;
    r->size = (uint32_t)size;
    *p = q;
    return true;
}

static vm_status din_parse(text_cursor *c, const char **at, const char *stop, size_t *count,
                           vm_error *e)
{
    const char *p = *at;
    size_t n = 0;
    while (p < stop && n < TRACE_BLOCK) {
        const char *line = p;
        access_record r = {.task = c->task};
        if (din_line(&p, stop, &r))
            c->out[n++] = r;
        else if (p == stop || *p != '\n') /* empty lines are skipped */
            return text_bad(c, line, stop, DIN_LINE, e);
        p++;
        c->line++;
    }
    *at = p;
    *count = n;
    return VM_OK;
}

/* Every line of the head is one of din's, and there is one; the last does not
 * count where the head cuts it. */
bool din_recognise(const unsigned char *head, size_t n)
{
    const char *p = (const char *)head, *stop = p + n;
    size_t lines = 0;
    while (p < stop) {
        const char *end = memchr(p, '\n', (size_t)(stop - p));
        access_record r;
        if (!end && n == STREAM_HEAD)
            break;
        if (!end)
            end = stop;
        if (din_line(&p, end, &r))
            lines++;
        else if (p != end)
            return false;
        p = end + (end < stop);
    }
    return lines > 0;
}

static const text_class din_class = {"din", false, false, din_parse};

vm_status din_open(const trace_file_source *from, stream *in, trace_cursor **out, vm_error *e)
{
    return text_open(&din_class, from, in, out, e);
}

/* --- page numbers -------------------------------------------------------------- */

static bool pages_is_space(char c) { return c == ' ' || (c >= '\t' && c <= '\r'); }

/* A number and the white space after it. */
static bool pages_number(const char **p, const char *stop, uint64_t *page)
{
    const char *q = *p;
    unsigned base = 10;
    if (stop - q > 2 && q[0] == '0' && (q[1] | 32) == 'x') {
        base = 16;
        q += 2;
    }
    bool good = text_number(&q, stop, base, page) && (q == stop || pages_is_space(*q));
    if (good)
        *p = q;
    return good;
}

static vm_status pages_parse(text_cursor *c, const char **at, const char *stop, size_t *count,
                             vm_error *e)
{
    const char *p = *at;
    size_t n = 0;
    for (;;) {
        for (; p < stop && pages_is_space(*p); p++)
            c->line += *p == '\n';
        if (p == stop || n == TRACE_BLOCK)
            break;
        uint64_t page;
        const char *word = p;
        if (!pages_number(&p, stop, &page) || page > UINT64_MAX / c->page)
            return text_bad(c, word, stop, "a page number, decimal or 0x, of a 64-bit address", e);
        c->out[n++] = (access_record){page * c->page, 1, c->task, ACCESS_LOAD, 0};
    }
    *at = p;
    *count = n;
    return VM_OK;
}

bool pages_recognise(const unsigned char *head, size_t n)
{
    const char *p = (const char *)head, *stop = p + n;
    size_t numbers = 0;
    uint64_t page;
    while (p < stop) {
        if (pages_is_space(*p))
            p++;
        else if (pages_number(&p, stop, &page))
            numbers++;
        else
            return n == STREAM_HEAD && numbers > 0 && stop - p < 20; /* a word cut by the end */
    }
    return numbers > 0;
}

static const text_class pages_class = {"pages", true, false, pages_parse};

vm_status pages_open(const trace_file_source *from, stream *in, trace_cursor **out, vm_error *e)
{
    return text_open(&pages_class, from, in, out, e);
}

/* --- lines that somebody else parses ---------------------------------------------- */

static vm_status pattern_parse(text_cursor *c, const char **at, const char *stop, size_t *count,
                               vm_error *e)
{
    const char *p = *at, *end = p, *next;
    size_t lines = 0, bad = 0;
    for (; end < stop && lines < TRACE_BLOCK; lines++, end = next + 1)
        next = memchr(end, '\n', (size_t)(stop - end));
    vm_status st = c->lines->parse(c->lines->ud, p, (size_t)(end - p), c->out, count, &bad, e);
    if (st == VM_FORMAT) {
        for (; bad > 0 && p < end; bad--, c->line++)
            p = (const char *)memchr(p, '\n', (size_t)(end - p)) + 1;
        return text_bad(c, p, end, "what the pattern matches", e);
    }
    if (st != VM_OK)
        return st;
    for (size_t i = 0; i < *count; i++)
        c->out[i].task = c->task;
    c->line += lines;
    *at = end;
    return VM_OK;
}

static const text_class pattern_class = {"pattern", false, false, pattern_parse};

vm_status pattern_open(const trace_file_source *from, stream *in, trace_cursor **out, vm_error *e)
{
    return text_open(&pattern_class, from, in, out, e);
}

/* --- ChampSim -------------------------------------------------------------------- */

#define CHAMPSIM_RECORD 64
#define CHAMPSIM_FETCH  4
#define CHAMPSIM_DATA   8
#define CHAMPSIM_MOST   7 /* accesses of one instruction */
#define CHAMPSIM_CHUNK  (TRACE_BLOCK / CHAMPSIM_MOST)

typedef struct champsim_cursor {
    trace_cursor base;
    vm_host host;
    stream *in;
    uint16_t task;
    bool ended;
    unsigned char raw[CHAMPSIM_CHUNK * CHAMPSIM_RECORD];
    access_record out[TRACE_BLOCK];
} champsim_cursor;

static uint64_t champsim_word(const unsigned char *p)
{
    uint64_t x = 0;
    for (int i = 7; i >= 0; i--)
        x = x << 8 | p[i];
    return x;
}

static bool champsim_valid(const unsigned char *p)
{
    return champsim_word(p) != 0 && p[8] <= 1 && p[9] <= 1;
}

static size_t champsim_expand(const champsim_cursor *c, const unsigned char *p, access_record *out)
{
    size_t n = 0;
    out[n++] = (access_record){champsim_word(p), CHAMPSIM_FETCH, c->task, ACCESS_FETCH, 0};
    for (size_t i = 0; i < 4; i++) {
        uint64_t a = champsim_word(p + 32 + 8 * i);
        if (a)
            out[n++] = (access_record){a, CHAMPSIM_DATA, c->task, ACCESS_LOAD, 0};
    }
    for (size_t i = 0; i < 2; i++) {
        uint64_t a = champsim_word(p + 16 + 8 * i);
        if (a)
            out[n++] = (access_record){a, CHAMPSIM_DATA, c->task, ACCESS_STORE, 0};
    }
    return n;
}

static vm_status champsim_next(trace_cursor *base, trace_block *b, vm_error *e)
{
    champsim_cursor *c = (champsim_cursor *)base;
    memset(b, 0, sizeof *b);
    size_t got = 0;
    uint64_t offset = stream_offset(c->in);
    vm_status st = c->ended ? VM_OK : stream_read(c->in, c->raw, sizeof c->raw, &got, e);
    if (st != VM_OK)
        return st;
    c->ended = got < sizeof c->raw;
    for (size_t i = 0; i < got; i += CHAMPSIM_RECORD) {
        if (got - i < CHAMPSIM_RECORD)
            return vm_fail(e, VM_FORMAT,
                           "%s: the ChampSim trace is cut off at offset %" PRIu64
                           ": a record has %d bytes",
                           stream_path(c->in), offset + got, CHAMPSIM_RECORD);
        if (!champsim_valid(c->raw + i))
            return vm_fail(e, VM_FORMAT,
                           "%s: offset %" PRIu64 ": expected a ChampSim record with an "
                           "instruction pointer and branch flags of 0 or 1",
                           stream_path(c->in), offset + i);
        b->count += champsim_expand(c, c->raw + i, c->out + b->count);
    }
    b->records = c->out;
    return VM_OK;
}

static void champsim_close(trace_cursor *base)
{
    champsim_cursor *c = (champsim_cursor *)base;
    vm_host host = c->host;
    stream_close(c->in);
    host_free(&host, c, sizeof *c);
}

static const trace_cursor_class champsim_class = {"champsim", champsim_next, champsim_close};

/* Binary, hence asked last: text has no bytes below the blank but white space. */
bool champsim_recognise(const unsigned char *head, size_t n)
{
    for (size_t i = 0; i + CHAMPSIM_RECORD <= n; i += CHAMPSIM_RECORD)
        if (!champsim_valid(head + i))
            return false;
    return n >= CHAMPSIM_RECORD;
}

vm_status champsim_open(const trace_file_source *from, stream *in, trace_cursor **out, vm_error *e)
{
    champsim_cursor *c = host_zalloc(&from->base.host, sizeof *c);
    if (!c) {
        stream_close(in);
        return vm_fail_nomem(e, "a ChampSim trace's cursor");
    }
    c->base.cls = &champsim_class;
    c->host = from->base.host;
    c->in = in;
    c->task = from->task;
    *out = &c->base;
    return VM_OK;
}
