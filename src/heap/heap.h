/* heap.h: allocators that live in simulated memory, by one interface.
 *
 * An allocator sees memory through a port only (port.h). What it keeps on the host are
 * scalars: where its heap begins, where a search stands. Blocks, links, tables are
 * words of the heap. Sizes and addresses are in bytes; an address is that of a block's
 * payload; 0 is no block.
 *
 * Beside it a ledger on the host knows the bytes that were asked for at each live
 * address. It is an instrument: utilisation and the sizes of payloads come from it,
 * and a free of what is no live block is refused before the allocator sees it. No
 * allocator decides by it; where blocks have no header, walks ask it which are live.
 *
 * Source: Bryant and O'Hallaron, CS:APP, 9.9; each allocator's file says its own.
 */
#ifndef VM_HEAP_H
#define VM_HEAP_H

#include "ledger.h"
#include "port.h"

#define HEAP_COUNTERS(X)                                                                           \
    X(mallocs, "mallocs", "calls", "blocks given out: malloc, calloc, memalign and realloc(0)")    \
    X(frees, "frees", "calls", "blocks given back")                                                \
    X(reallocs, "reallocs", "calls", "calls of realloc that had a block")                          \
    X(in_place, "in_place", "calls", "of these, those after which the block stood where it did")   \
    X(refused, "refused", "calls", "calls that found no memory")                                   \
    X(searches, "searches", "blocks", "blocks looked at by searches for a free one")               \
    X(steps, "steps", "blocks", "blocks looked at by other walks: order of a list, neighbours")    \
    X(splits, "splits", "blocks", "blocks split")                                                  \
    X(coalesces, "coalesces", "blocks", "blocks merged into a neighbour")                          \
    X(cycles, "cycles", "cycles", "of the machine, in the allocator: its init and its calls")      \
    X(faults, "faults", "faults", "page faults in the allocator: its init and its calls")

/* In the allocator: accesses that a level of the TLBs or caches did not have. */
typedef struct heap_misses {
    uint64_t tlb[MMU_TLBS], cache[CACHE_LEVELS]; /* as the machine numbers its levels */
} heap_misses;

typedef struct heap_counters {
#define X(field, name, unit, doc) uint64_t field;
    HEAP_COUNTERS(X)
#undef X
    heap_misses misses;
    uint64_t payload, payload_peak; /* bytes asked for in live blocks, now and at most */
    uint64_t bytes_peak;            /* of the heap, at most */
} heap_counters;

/* What options say; an allocator has those of its rows, the others are 0. */
typedef struct heap_config {
    int64_t source, limit, word, align, chunk;
    int64_t fit, tags, coalesce, split, order, classes, realloc, system;
    int64_t page, colour, empty, threshold, trim;
} heap_config;

typedef struct heap_option {
    const char *name;
    size_t offset;              /* of an int64_t of heap_config */
    const char *const *choices; /* a name, NULL behind the last: its index is the value */
    int64_t value, min, max;
    const char *doc;
} heap_option;

typedef struct heap heap;

typedef struct heap_block {
    uint64_t start, size; /* all of it, tags included */
    uint64_t payload;     /* its address */
    bool used;
} heap_block;
/* False: enough. */
typedef bool heap_visit(void *ud, const heap_block *b);

/* What an allocator's block for n bytes is made of; what is before its payload, the walk
 * tells. All 0: it has no footer, and no size but the one that the alignment gives it. */
typedef struct heap_shape {
    uint64_t size;   /* of the block, if it is cut to measure */
    uint64_t footer; /* bytes of it behind the payload */
    uint64_t unused; /* bytes at the heap's end that no block has had yet */
} heap_shape;
/* A member of a free list; lists have numbers. False: enough. */
typedef bool heap_member(void *ud, unsigned list, uint64_t payload);

/* The first thing wrong, and the address of the word that says so. */
typedef struct heap_wrong {
    uint64_t addr;
    char text[200];
} heap_wrong;

/* Functions begin with a port whose status is VM_OK, but it may fail under them, and the
 * heap may be damaged: whatever words they read, they must end (heap_step). They answer
 * 0 where the port refused to grow, and no block has moved then. */
typedef struct heap_class {
    const char *name, *doc;
    const heap_option *options; /* ended by a row without a name */
    size_t size;                /* of the instance; begins with a heap */
    vm_status (*init)(heap *h, vm_error *e);
    uint64_t (*malloc)(heap *h, uint64_t n); /* n > 0 */
    void (*free)(heap *h, uint64_t a);
    /* The block holds n > 0 bytes now, where it stood: false: it can't. NULL: never. */
    bool (*resize)(heap *h, uint64_t a, uint64_t n);
    /* align: a power of two above that of every block; NULL: there is no such. */
    uint64_t (*memalign)(heap *h, uint64_t align, uint64_t n);
    uint64_t (*usable_size)(heap *h, uint64_t a);
    bool (*walk)(heap *h, heap_visit *visit, void *ud); /* in address order; false: damaged */
    bool (*check)(heap *h, heap_wrong *wrong);          /* false: *wrong says what */
    /* n > 0; *s is all 0. No access. NULL: leaves it so. */
    void (*shape)(heap *h, uint64_t n, heap_shape *s);
    /* List by list, each in its order; false: damaged. NULL: there are none. */
    bool (*lists)(heap *h, heap_member *visit, void *ud);
} heap_class;

/* Who stands in front of a heap and answers its calls (an error detector), which it may
 * pass on: a call that it makes itself, while the heap's `passed` is set, is the
 * allocator's. Results as of the functions below. */
typedef struct heap_guard heap_guard;
struct heap_guard {
    vm_status (*malloc)(heap_guard *g, heap *h, uint64_t align, uint64_t count, uint64_t size,
                        bool zero, uint64_t *a, vm_error *e); /* align 0: malloc and calloc */
    vm_status (*realloc)(heap_guard *g, heap *h, uint64_t old, uint64_t n, uint64_t *a,
                         vm_error *e);
    vm_status (*free)(heap_guard *g, heap *h, uint64_t a, vm_error *e);
    bool (*usable_size)(heap_guard *g, heap *h, uint64_t a, uint64_t *n);
    void (*look)(heap_guard *g, bool begins); /* the heap is looked at, until it ends */
    void (*closed)(heap_guard *g, heap *h);
};

struct heap {
    const heap_class *cls;
    vm_host host;
    heap_config cfg;
    heap_port port;
    heap_counters n;
    ledger live;
    heap_guard *guard; /* or NULL */
    bool passed;       /* the guard has seen the call */
    bool batch;        /* somebody else meters the calls */
    uint64_t fuel;     /* steps that a call has left: more, and a list has no end */
    /* Set by an init that has its own: what the block at `a` holds is in one of n > 0 bytes
     * now, there or elsewhere; 0: as it was. NULL: malloc, copy, free, unless resize can. */
    uint64_t (*realloc)(heap *h, uint64_t a, uint64_t n);
    /* NULL, or told of each block that leaves the ledger; of the heap's end by 0. */
    void (*watch)(void *ud, uint64_t a);
    void *watch_ud;
};

/* The allocators, NULL behind the last. */
extern const heap_class *const heap_classes[];
const heap_class *heap_find(const char *name);

void heap_config_init(const heap_class *cls, heap_config *cfg);
/* errors: VM_INVALID names the option and what it takes. */
vm_status heap_set(const heap_class *cls, heap_config *cfg, const char *name, int64_t value,
                   vm_error *e);
vm_status heap_set_name(const heap_class *cls, heap_config *cfg, const char *name,
                        const char *value, vm_error *e);

/* A heap in a live process of a machine; m NULL: over host memory. Errors: VM_INVALID,
 * options that do not fit together; VM_REFUSED, VM_FAULT (h's port is gone then; *info). */
vm_status heap_open(const vm_host *host, const heap_class *cls, const heap_config *cfg, machine *m,
                    process *p, heap **out, fault_info *info, vm_error *e);
void heap_close(heap *h); /* NULL is fine */

/* The calls of C and POSIX; the process must be alive, and port.p the one it is. Errors:
 * VM_REFUSED (ENOMEM; EINVAL of memalign), nothing has moved; VM_INVALID, an address that
 * is no live block, or damage that a search ran into; VM_FAULT, as port.info says. */
vm_status heap_malloc(heap *h, uint64_t n, uint64_t *a, vm_error *e); /* n 0: *a is 0 */
vm_status heap_calloc(heap *h, uint64_t count, uint64_t size, uint64_t *a, vm_error *e);
vm_status heap_memalign(heap *h, uint64_t align, uint64_t n, uint64_t *a, vm_error *e);
vm_status heap_realloc(heap *h, uint64_t old, uint64_t n, uint64_t *a, vm_error *e);
vm_status heap_free(heap *h, uint64_t a, vm_error *e); /* 0 is fine */
vm_status heap_usable_size(heap *h, uint64_t a, uint64_t *n, vm_error *e);

/* A trace: its operations on blocks that have numbers below `ids`; others are NULL.
 * block[id]: its address, or 0; *done: operations that succeeded, all of them if VM_OK. */
enum { HEAP_MALLOC, HEAP_REALLOC, HEAP_FREE };
typedef struct heap_op {
    uint64_t size;
    uint32_t id, kind;
} heap_op;
vm_status heap_replay(heap *h, const heap_op *ops, size_t n, uint64_t *block, uint32_t ids,
                      size_t *done, vm_error *e);

/* Blocks in address order, without accesses (see port.h). VM_INVALID: damaged. */
vm_status heap_walk(heap *h, heap_visit *visit, void *ud, vm_error *e);
/* The free blocks in the order of their lists, in the same way. */
vm_status heap_lists(heap *h, heap_member *visit, void *ud, vm_error *e);
/* *ok: all is as it should be; else `wrong`. */
vm_status heap_check(heap *h, bool *ok, heap_wrong *wrong, vm_error *e);
/* The bytes asked for at a live address; false: it is none. */
bool heap_asked(heap *h, uint64_t a, uint64_t *n);

/* --- for calls --------------------------------------------------------------------- */

/* A call begins: may it, and what did the machine's clock say? It ends: what has it cost,
 * and how did it end? */
typedef struct heap_meter {
    uint64_t clock, faults;
    heap_misses misses;
} heap_meter;
vm_status heap_ready(heap *h, heap_meter *at, vm_error *e);
vm_status heap_done(heap *h, const heap_meter *at, vm_error *e);

/* --- for allocators ---------------------------------------------------------------- */

/* One more step of a walk, counted in `n`; false: no sound heap is so long, or the port
 * has failed. */
bool heap_step(heap *h, uint64_t *n);
/* init's growth: `n` bytes more, or why not. */
vm_status heap_begin(heap *h, uint64_t n, vm_error *e);
bool heap_says(heap_wrong *w, uint64_t addr, const char *fmt, ...) VM_PRINTF(3, 4); /* false */

VM_INLINE uint64_t heap_get(heap *h, uint64_t a)
{
    return VM_LIKELY(h->cfg.word == 8) ? port_get(&h->port, a, 8) : port_get_short(&h->port, a);
}
VM_INLINE void heap_put(heap *h, uint64_t a, uint64_t x)
{
    if (VM_LIKELY(h->cfg.word == 8))
        port_put(&h->port, a, x, 8);
    else
        port_put_short(&h->port, a, x);
}
/* Links are kept as distances from the heap's start, so that a word of 4 bytes can
 * hold them wherever the heap is. */
VM_INLINE uint64_t heap_link(heap *h, uint64_t a)
{
    uint64_t x = heap_get(h, a);
    return x ? h->port.base + x : 0;
}
VM_INLINE void heap_set_link(heap *h, uint64_t a, uint64_t to)
{
    heap_put(h, a, to ? to - h->port.base : 0);
}

#define HEAP_OPTION(field) #field, offsetof(heap_config, field)
/* The options of all. */
extern const char *const heap_sources[];
#define HEAP_OPTIONS                                                                               \
    {HEAP_OPTION(source),                                                                          \
     heap_sources,                                                                                 \
     PORT_SBRK,                                                                                    \
     0,                                                                                            \
     1,                                                                                            \
     "memory by moving the break, or an area of its own"},                                         \
    {                                                                                              \
        HEAP_OPTION(limit), NULL, INT64_C(64) << 20, 4096, INT64_C(1) << 40,                       \
            "bytes of the heap at most"                                                            \
    }

#define HEAP_LAYOUT_OPTIONS                                                                        \
    {HEAP_OPTION(word), NULL, 8, 4, 8, "bytes of a header, a footer and a link"},                  \
        {HEAP_OPTION(align), NULL, 16, 4, 16, "blocks and payloads are multiples of it"},          \
    {                                                                                              \
        HEAP_OPTION(chunk), NULL, 4096, 0, 1 << 30,                                                \
            "bytes that the heap begins with, and by which it grows at least"                      \
    }

#endif
