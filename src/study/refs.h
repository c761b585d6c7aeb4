/* refs.h: a reference string, a trace reduced to which page is referenced when.
 *
 * A trace is decoded once; each study then reads an array of words. Pages get
 * dense numbers, from 0 on, in the order of their first references, so that all
 * else about pages is an array, too. The word of a reference is the page's
 * number, with STUDY_WRITE if it writes.
 *
 * An access that crosses a page is a reference to each page that it touches; one
 * that reads and writes the same bytes is a single reference, which writes.
 * Events make no references: a thread shares its creator's pages, any other task
 * is a process with pages of its own, and nothing is ever unmapped.
 *
 * A sample of a trace holds the references to some of its pages, chosen by a hash of
 * the page: all references to a page, or none. `rate` of all hash values choose it.
 * Source: Waldspurger et al., "Efficient MRC construction with SHARDS", 2015.
 *
 * Units: positions count references, from 0 on; a page's number in the trace is
 * its address divided by the page size.
 * Invariant: equal (process, number) exactly where the dense number is equal.
 */
#ifndef VM_STUDY_REFS_H
#define VM_STUDY_REFS_H

#include "../trace/trace.h"

#define STUDY_WRITE 0x80000000u
#define STUDY_PAGE  0x7fffffffu /* the mask of a page's number */
#define STUDY_NEVER UINT32_MAX  /* in next_use: no further reference */

#define STUDY_HASHES (1u << 24) /* hash values of pages are below it */

/* References read ahead of the one that is served, so that what is known of
 * their pages is on its way into the host's cache. The array of words is longer
 * than `count` by as many, filled with page 0. */
#define STUDY_AHEAD 64

/* A process: the task that came first, and those that share its pages. */
typedef struct study_process {
    uint64_t refs, pages; /* pages: different ones */
    uint32_t task;        /* number of its first task in the trace */
} study_process;

/* A page of the table that finds dense numbers: 16 bytes, four a host line. */
typedef struct study_entry {
    uint64_t number;
    uint32_t process;
    uint32_t page; /* dense number + 1; 0: free */
} study_entry;

typedef struct study_refs {
    vm_host host;
    uint32_t rate;      /* of STUDY_HASHES; all of them: no sample */
    uint32_t least;     /* pages have hashes from `least` to least + rate - 1 */
    size_t most_pages;  /* the rate falls so that no more are kept; 0: it is fixed */
    uint64_t all;       /* references of the whole trace */
    unsigned page_bits; /* log2 of the page size in bytes */
    bool apart;         /* tasks are processes; else all share one space */
    bool ended;         /* the whole trace is here */
    bool writes;        /* some reference writes */
    uint32_t *refs;
    size_t count, ref_cap;
    uint64_t *number; /* by page: its number in the trace */
    uint16_t *owner;  /* by page: index of its process */
    size_t pages, number_cap, owner_cap;
    study_process *process;
    size_t processes, process_cap;
    uint32_t *process_of; /* by task: index of its process + 1; 0: none yet */
    size_t tasks, task_cap;
    study_entry *table; /* open addressing; freed when the trace has ended */
    size_t table_size;  /* a power of two, or 0 */
    uint32_t *next_use; /* by reference: position of the page's next one; NULL: not asked for */
} study_refs;

typedef struct study_refs_options {
    unsigned page_bits; /* below 64 */
    bool apart;         /* tasks have pages of their own */
    uint32_t rate;      /* of a sample, 1 .. STUDY_HASHES */
    size_t most_pages;  /* of a sample; 0: as many as there are */
} study_refs_options;

/* An empty string. */
study_refs *study_refs_new(const vm_host *host, const study_refs_options *o, vm_error *e);
void study_refs_free(study_refs *r); /* NULL is fine */

/* Append the references of a block. VM_INVALID where there are more references
 * or pages than words can name (2^32 - 2^16 and 2^31 - 1). */
vm_status study_refs_add(study_refs *r, const trace_block *b, vm_error *e);

/* The trace has ended: frees what only adding needs. */
vm_status study_refs_end(study_refs *r, vm_error *e);

/* A sample of a whole string: its pages with hashes from `least` on, `rate` of them. */
study_refs *study_refs_part(const study_refs *from, uint32_t least, uint32_t rate, vm_error *e);

/* The greatest rate that keeps no more than so many pages (1 at least). */
uint32_t study_refs_rate(const study_refs *r, size_t most_pages);

/* Fill r->next_use, once: one pass from the end, 4 bytes a reference. */
vm_status study_refs_next(study_refs *r, vm_error *e);

#endif
