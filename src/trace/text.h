/* text.h: traces in text, read in large pieces of whole lines. A format gives
 * a parser; buffer, line numbers and the end of the file are handled here.
 *
 * Invariants
 *   - A parser sees whole lines (or whole words, for formats of words), each
 *     with its separator. TEXT_PAD bytes before and after may be read, too.
 *   - Lines are counted from 1. A parser counts the lines that it used up.
 */
#ifndef VM_TEXT_H
#define VM_TEXT_H

#include "format.h"

#define TEXT_PAD  64
#define TEXT_ROOM (256u << 10) /* bytes read at once; no line may be longer */

typedef struct text_cursor text_cursor;

typedef struct text_class {
    const char *name;
    bool words; /* line breaks are but white space */
    bool whole; /* written by a tool: the last line ends with a line break, too */
    /* Parse records from `*at` on, before `stop`, into c->out: at most
     * TRACE_BLOCK, at least one where `stop` is not reached. */
    vm_status (*parse)(text_cursor *c, const char **at, const char *stop, size_t *count,
                       vm_error *e);
} text_class;

struct text_cursor {
    trace_cursor base;
    const text_class *cls;
    vm_host host;
    stream *in;
    uint64_t line; /* of the next byte to be parsed */
    uint64_t page; /* bytes of a page; task: of all records */
    uint16_t task;
    const trace_lines *lines; /* the source's, for the format "pattern" */
    bool ended;               /* the stream has no more */
    unsigned column[2];       /* csv: of the object, of the operation */
    char *buf;                /* TEXT_PAD, TEXT_ROOM, TEXT_PAD bytes */
    size_t at, end;
    uint32_t break_at[TRACE_BLOCK]; /* for parsers: where lines end */
    access_record out[TRACE_BLOCK];
};

vm_status text_open(const text_class *cls, const trace_file_source *from, stream *in,
                    trace_cursor **out, vm_error *e);

/* The error of a line that is not what was `expected`; shows its beginning. */
vm_status text_bad(const text_cursor *c, const char *line, const char *stop, const char *expected,
                   vm_error *e);

/* A number of at most 64 bits in base 10 or 16 at `*p`; false: none, or more. */
bool text_number(const char **p, const char *stop, unsigned base, uint64_t *out);
/* Skip blanks and tabs. */
const char *text_blanks(const char *p, const char *stop);

#endif
