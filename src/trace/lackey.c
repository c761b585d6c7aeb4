/* lackey.c: the text of Valgrind's Lackey, --trace-mem=yes:
 *
 *    I  04016b80,3      an instruction of 3 bytes is fetched
 *     L 1ffefff870,8    a load; S: a store; M: a modify
 *
 * Addresses are hexadecimal, sizes decimal. Valgrind's own lines begin with
 * "==" or "--" and are skipped. Parsing has two steps, so that lines are
 * independent of each other in the second: find the line breaks of a few
 * thousand lines, then parse each line backward from its end. Lines that are
 * not of the usual form are parsed once more, carefully.
 */
#include "lackey_fast.h"
#include "text.h"

#define LACKEY_LINE "'I  ADDR,SIZE', ' L ADDR,SIZE', ' S ...' or ' M ...'"

static bool lackey_skipped(const char *p, const char *end)
{
    return end == p ||
           (end - p >= 2 && ((p[0] == '=' && p[1] == '=') || (p[0] == '-' && p[1] == '-')));
}

/* Any line, carefully; `end` is its line break. */
static bool lackey_line(const char *p, const char *end, access_record *r)
{
    static const char marks[] = "ILSM"; /* in the order of access_kind */
    if (end - p < 6)
        return false;
    char mark = p[0] == ' ' ? p[1] : p[0];
    const char *kind = memchr(marks, mark, 4);
    if (!kind || p[2] != ' ' || (mark == 'I') != (p[0] == 'I') || (mark == 'I' && p[1] != ' '))
        return false;
    r->kind = (uint8_t)(kind - marks);
    p += 3;
    uint64_t size;
    if (!text_number(&p, end, 16, &r->addr) || p == end || *p++ != ',' ||
        !text_number(&p, end, 10, &size) || p != end || size == 0 || size > UINT32_MAX)
        return false;
    r->size = (uint32_t)size;
    return true;
}

static vm_status lackey_parse(text_cursor *c, const char **at, const char *stop, size_t *count,
                              vm_error *e)
{
    const char *text = *at;
    size_t lines = lackey_breaks(text, (size_t)(stop - text), c->break_at, TRACE_BLOCK), n = 0;
    for (size_t i = 0; i < lines; i++) {
        size_t from = i;
        i = lackey_lines(text, c->break_at, i, lines, c->task, c->out, &n);
        c->line += i - from;
        if (i == lines)
            break;
        const char *end = text + c->break_at[i];
        access_record r = {.task = c->task};
        const char *p = i ? text + c->break_at[i - 1] + 1 : text;
        if (lackey_line(p, end, &r))
            c->out[n++] = r;
        else if (!lackey_skipped(p, end))
            return text_bad(c, p, end, LACKEY_LINE, e);
        c->line++;
    }
    *at = text + c->break_at[lines - 1] + 1; /* there is a whole line */
    *count = n;
    return VM_OK;
}

/* The first line that is not skipped is Lackey's; where all are, one has to be
 * a heading of Valgrind's. What follows is for the parser to judge. */
bool lackey_recognise(const unsigned char *head, size_t n)
{
    const char *p = (const char *)head, *stop = p + n, *end;
    bool heading = false;
    for (; p < stop && (end = memchr(p, '\n', (size_t)(stop - p))); p = end + 1) {
        access_record r;
        if (lackey_line(p, end, &r))
            return true;
        if (!lackey_skipped(p, end))
            return false;
        heading = heading || end > p;
    }
    return heading;
}

static const text_class lackey_class = {"lackey", false, true, lackey_parse};

vm_status lackey_open(const trace_file_source *from, stream *in, trace_cursor **out, vm_error *e)
{
    return text_open(&lackey_class, from, in, out, e);
}
