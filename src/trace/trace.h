/* trace.h: traces of programs, whatever their source: a file in one of several
 * formats, a generator, a running program.
 *
 * A `trace_source` says where accesses come from; a `trace_cursor` is one pass
 * over it, block by block, so that a file of any length needs constant memory.
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

typedef struct trace_source trace_source;
typedef struct trace_cursor trace_cursor;

/* --- one pass ------------------------------------------------------------- */

/* What a pass does; one const instance per format or generator.
 * `next` fills the block; count 0 with VM_OK is the end, and it stays the end.
 * After an error the cursor can only be closed. */
typedef struct trace_cursor_class {
    const char *name;
    vm_status (*next)(trace_cursor *c, trace_block *b, vm_error *e);
    void (*close)(trace_cursor *c); /* frees c itself; never fails */
} trace_cursor_class;

/* A cursor's first member in every implementation. */
struct trace_cursor {
    const trace_cursor_class *cls;
    const vm_host *host;  /* the source's, filled by trace_open */
    trace_source *source; /* kept alive by this cursor; filled by trace_open */
};

/* --- where traces come from ----------------------------------------------- */

typedef struct trace_totals {
    uint64_t kinds[ACCESS_EVENT + 1]; /* records by access_kind, events included */
    uint64_t tasks;                   /* the highest task number + 1 */
    uint64_t pages;                   /* different 4 KiB pages that accesses touch */
    uint64_t first, last;             /* addresses of the first and the last access */
    uint64_t min, max;                /* lowest byte and highest byte touched */
    uint64_t bytes;                   /* size of the file, 0 where there is none */
} trace_totals;

/* What a source does. `count`, `totals` and `describe` may be NULL. */
typedef struct trace_source_class {
    const char *name; /* the format's or generator's: "vmt", "lackey", "zipf" */
    /* Start a pass: allocate a cursor from s->host and set its `cls`. The
     * caller (trace_open) fills the cursor's other common members. */
    vm_status (*open)(trace_source *s, trace_cursor **out, vm_error *e);
    /* The number of accesses, events left out, where it is known without a pass. */
    bool (*count)(trace_source *s, uint64_t *accesses);
    /* True, and all totals, where they are known without a pass; t->bytes is
     * filled in either case where there is a file. `t` comes cleared. */
    bool (*totals)(trace_source *s, trace_totals *t);
    /* What tostring shows after the name: a path, or parameters; 0-ended. */
    void (*describe)(trace_source *s, char *text, size_t size);
    void (*destroy)(trace_source *s); /* frees s itself; never fails */
} trace_source_class;

/* A source's first member in every implementation. It dies with its last
 * reference: the creator holds one, each cursor another. */
struct trace_source {
    const trace_source_class *cls;
    vm_host host; /* by value: sources outlive the call that made them */
    unsigned refs;
};

/* Set the common members of a new source; the caller holds the one reference. */
void trace_source_init(trace_source *s, const trace_source_class *cls, const vm_host *host);
trace_source *trace_source_retain(trace_source *s);
void trace_source_release(trace_source *s); /* NULL is fine */

/* Start a pass from the beginning. */
vm_status trace_open(trace_source *s, trace_cursor **out, vm_error *e);

static inline vm_status trace_next(trace_cursor *c, trace_block *b, vm_error *e)
{
    return c->cls->next(c, b, e);
}
void trace_close(trace_cursor *c); /* NULL is fine */

/* --- made of other traces -------------------------------------------------- */

/* Records first..last-1 (counted from 0, events included) of `inner`, read as
 * they are asked for; takes a reference of its own. */
vm_status trace_slice(const vm_host *host, trace_source *inner, uint64_t first, uint64_t last,
                      trace_source **out, vm_error *e);

/* A trace held in memory; records and events are copied, names too. */
vm_status trace_memory(const vm_host *host, const access_record *records, size_t count,
                       const access_event *events, size_t event_count, trace_source **out,
                       vm_error *e);

/* One pass over `from`, kept in memory: 16 bytes a record. */
vm_status trace_copy(const vm_host *host, trace_source *from, trace_source **out, vm_error *e);

/* --- counting --------------------------------------------------------------- */

/* Takes the totals of records as they pass; memory grows with the number of
 * 4 KiB pages touched, at about a bit a page where they lie together. */
typedef struct trace_meter trace_meter;
trace_meter *trace_meter_new(const vm_host *host); /* NULL: no memory */
vm_status trace_meter_add(trace_meter *m, const trace_block *b, vm_error *e);
void trace_meter_read(const trace_meter *m, trace_totals *t); /* leaves t->bytes 0 */
void trace_meter_free(trace_meter *m);

/* The totals, without a pass if the source knows them. */
vm_status trace_measure(trace_source *s, trace_totals *t, vm_error *e);

/* --- files ------------------------------------------------------------------ */

/* Who parses lines of text in a way of his own. `parse` gets whole lines, at
 * most TRACE_BLOCK, each with its line break, and fills at most as many records. A line that is
 * wrong: `*bad` is its index from 0, and the status VM_FORMAT. `release` ends the use of `ud`. */
typedef struct trace_lines {
    vm_status (*parse)(void *ud, const char *text, size_t size, access_record *out, size_t *count,
                       size_t *bad, vm_error *e);
    void (*release)(void *ud);
    void *ud;
} trace_lines;

typedef struct trace_file_options {
    const char *format;       /* NULL: recognised by content */
    uint64_t page;            /* bytes of a page in page-number lists; 0: 4096 */
    unsigned task;            /* task number of formats that have none */
    const trace_lines *lines; /* not NULL: text, parsed so, whatever `format` says */
} trace_file_options;

/* A trace file: plain, gzip, zstd or xz. Opens it once to recognise the format.
 * `o` may be NULL; o->lines->ud is the trace's from here on, also on failure. */
vm_status trace_file(const vm_host *host, const char *path, const trace_file_options *o,
                     trace_source **out, vm_error *e);

/* Writing `.vmt`. The file appears under its name when finished; abandoned or
 * failed, it leaves nothing behind. After a failed put only abandon may follow. */
typedef struct trace_writer trace_writer;
vm_status trace_writer_new(const vm_host *host, const char *path, trace_writer **out, vm_error *e);
vm_status trace_writer_put(trace_writer *w, const trace_block *b, vm_error *e);
vm_status trace_writer_finish(trace_writer *w, vm_error *e); /* frees w, failed or not */
void trace_writer_abandon(trace_writer *w);                  /* frees w; NULL is fine */

/* A whole trace into a `.vmt` file. */
vm_status trace_save(trace_source *s, const char *path, vm_error *e);

#endif
