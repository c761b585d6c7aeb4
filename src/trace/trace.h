/* trace.h: traces of programs, whatever their source: a file in one of several
 * formats, a generator, a running program.
 *
 * A `trace` says where accesses come from; a `trace_cursor` is one pass over
 * it, block by block, so that a file of any length needs constant memory.
 *
 * Invariants
 *   - All records of a block have kind 0..4, size 1 or more (events: 0), and
 *     a record of kind ACCESS_EVENT indexes one of the block's events.
 *   - A damaged file is an error that names the file, the position (line or
 *     byte offset) and what was expected; never a silent short read.
 *   - Two passes over one trace give the same records, where the source can
 *     be read twice (a live program cannot: its second pass is an error).
 */
#ifndef VM_TRACE_H
#define VM_TRACE_H

#include "../base/access.h"

#define TRACE_BLOCK 4096 /* records in a block, at the most */

typedef struct trace_block {
    const access_record *records; /* valid until the next call on the cursor */
    size_t count;                 /* 0: the end of the trace */
    const access_event *events;
    size_t event_count;
} trace_block;

typedef struct trace_cursor trace_cursor;

/* What a source of accesses does; one const instance per format or generator.
 * `next` fills the block; count 0 with VM_OK is the end. */
typedef struct trace_cursor_class {
    const char *name;
    vm_status (*next)(trace_cursor *c, trace_block *b, vm_error *e);
    void (*close)(trace_cursor *c); /* frees c itself; never fails */
} trace_cursor_class;

/* A cursor's first member in every implementation. */
struct trace_cursor {
    const trace_cursor_class *cls;
    const vm_host *host;
};

static inline vm_status trace_next(trace_cursor *c, trace_block *b, vm_error *e)
{
    return c->cls->next(c, b, e);
}
static inline void trace_close(trace_cursor *c)
{
    if (c)
        c->cls->close(c);
}

#endif
