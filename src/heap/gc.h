/* gc.h: garbage collectors over a heap: mark and sweep, precise or conservative, and a
 * copying one.
 *
 * What a collector reads and marks of the heap goes through the heap's port, and what it
 * keeps of its own lies in areas of the same process, behind ports of their own; so all
 * of it is counted as accesses, misses, faults. On the host are scalars.
 *
 *    map     for 64 granules of the heap (a granule is the blocks' alignment) two words:
 *            a bit where a block began when the collection did; a bit where it is marked
 *    tree    the same blocks, to be searched: a complete binary tree in an array
 *    stack   blocks that are marked and not yet scanned: bounded
 *    outer   blocks outside of the heap's range, each in an area of its own (port.h): two
 *            words, where it begins and whether it is marked, and where it ends
 *    table   layouts: bytes, words of map, then a bit for each word that is a pointer
 *
 * With layouts (precise, copying) an object is a block whose first word is the address of
 * its layout in the table; the object's address is that of the word behind. Without
 * (conservative) it is the block, and any word in it may be a pointer.
 *
 * Invariants: a block is freed only if it was there when the collection began, was not
 * reached from its roots, and has not been freed since (heap.watch); while a collection
 * marks, neither the heap nor its roots change. A collection that fails frees nothing.
 *
 * Units: addresses, sizes in bytes. Sources: CS:APP 9.10; McCarthy, 1960; Cheney, "A
 * nonrecursive list compacting algorithm", 1970; Boehm and Weiser, "Garbage collection
 * in an uncooperative environment", 1988; Jones, Hosking and Moss, The Garbage
 * Collection Handbook, 2.3 to 2.6, 4.
 */
#ifndef VM_HEAP_GC_H
#define VM_HEAP_GC_H

#include "heap.h"

enum { GC_PRECISE, GC_CONSERVATIVE, GC_COPYING };
enum { GC_MARKS_BITMAP, GC_MARKS_HEADER };
enum { GC_LOOKUP_BITMAP, GC_LOOKUP_TREE };
enum { GC_SWEEP_EAGER, GC_SWEEP_LAZY };

typedef struct gc_config {
    int64_t mode, marks, lookup, sweep;
    int64_t interior;  /* a pointer to any byte of a block holds it, not to its first only */
    int64_t pointer;   /* bytes of one: 4 or 8 */
    int64_t stack;     /* entries of the mark stack */
    int64_t space;     /* bytes of each of the two spaces of a copying collector */
    int64_t allocated; /* collect after so many bytes; 0: not for that reason */
    int64_t free;      /* collect when fewer bytes are free; 0: not for that reason */
} gc_config;

#define GC_COUNTERS(X)                                                                             \
    X(collections, "collections", "collections", "that were begun")                                \
    X(blocks, "blocks", "blocks", "allocated when a collection began")                             \
    X(marked, "marked", "blocks", "reached: marked, or copied")                                    \
    X(swept, "swept", "blocks", "freed")                                                           \
    X(swept_bytes, "swept_bytes", "bytes", "of these, as they were asked for")                     \
    X(words, "words", "words", "of roots and blocks looked at as pointers")                        \
    X(overflows, "overflows", "blocks", "marked that found the mark stack full")                   \
    X(rescans, "rescans", "passes", "over the marked blocks to find what overflowed")              \
    X(pages, "pages", "pages", "that a collection read or wrote: heap, roots, its own")            \
    X(cycles, "cycles", "cycles", "of the machine, lazy sweeping included")                        \
    X(pause, "pause", "cycles", "for which the program stood still; in sums the longest")          \
    X(faults, "faults", "faults", "page faults in collections")

typedef struct gc_counters {
#define X(field, name, unit, doc) uint64_t field;
    GC_COUNTERS(X)
#undef X
} gc_counters;

/* Where a page of the heap is, for prefetching only: no longer there, it does no harm. */
typedef struct gc_hint {
    const uint8_t *bytes; /* on the host; NULL: not known */
    uint64_t pa;          /* over a machine */
} gc_hint;

typedef struct collector {
    vm_host host;
    gc_config cfg;
    heap *h;                                  /* NULL: it was closed */
    heap_port map, tree, stack, table, outer; /* base 0: there is none yet */
    uint64_t header;              /* bytes before an object: a word with layouts, or 0 */
    uint64_t base, span;          /* of the heap when the collection began */
    unsigned grain;               /* log2 of a granule */
    uint64_t mark_bit;            /* in blocks' headers */
    uint64_t depth, deepest;      /* of the mark stack */
    uint64_t lost, lost_last;     /* marked blocks that it had no room for: from, to */
    bool lost_outside;            /* and others are in rows of outer */
    uint64_t nodes;               /* of the tree */
    uint64_t entries;             /* of the map */
    uint64_t outers, outer_pages; /* blocks outside; pages of those that are marked */
    bool sweeping;                /* blocks wait to be swept, */
    uint64_t cursor;              /* from this entry on: of the map, then of outer */
    bool freeing;                 /* it is the collector that frees */
    uint64_t from, next;          /* copying: the space in use, and where it is free */
    uint64_t to, copied;          /* the other one, and the end of the copies in it */
    uint64_t objects;             /* in the space */
    bool broken;                  /* half of the objects have moved */
    uint64_t since;               /* bytes allocated since the last collection */
    uint64_t left;                /* bytes that were free behind it */
    uint8_t *seen;                /* by page of the heap: this collection was there */
    size_t pages;                 /* that `seen` has room for */
    gc_hint *hints;               /* by page; they and `seen` are instruments, not of the process */
    size_t hint_count;
    const cache *outermost; /* NULL: not packed, or there is none */
    unsigned page_bits;
    vm_status wrong; /* what the collection that runs ran into; `error` says it */
    vm_error error;
    fault_info info;     /* of VM_FAULT */
    gc_counters n, last; /* of all collections before the last; of the last */
} collector;

/* `values` and the words of `ranges` hold what they point to; a copying collector puts
 * the new addresses there. */
typedef struct gc_roots {
    uint64_t *values;
    size_t value_count;
    const uint64_t *ranges; /* start, stop, start, stop */
    size_t range_count;
    uint64_t *weak; /* hold nothing: 0 when the object is gone */
    size_t weak_count;
    uint64_t *final; /* hold only when nothing else does: then due[i], and it lives */
    bool *due;
    size_t final_count;
} gc_roots;

/* A collector of the heap, which may have one only. errors: VM_INVALID, options that do
 * not fit the heap; VM_REFUSED, no memory for a copying one's spaces. */
vm_status gc_open(const vm_host *host, heap *h, const gc_config *cfg, collector **out, vm_error *e);
/* Its areas are unmapped unless `keep`; blocks stay. NULL is fine. */
void gc_close(collector *g, bool keep);

/* A layout for objects of `size` > 0 bytes whose words at `offsets` are pointers: its address.
 * VM_REFUSED: too large, or too many layouts. */
vm_status gc_layout(collector *g, uint64_t size, const uint64_t *offsets, size_t count,
                    uint64_t *layout, vm_error *e);
/* An object, all 0: of a layout, or (layout 0, conservative) of n bytes. VM_REFUSED: no memory. */
vm_status gc_new(collector *g, uint64_t layout, uint64_t n, uint64_t *a, vm_error *e);
/* Do the options ask for a collection, before n more bytes? It may sweep to know. */
vm_status gc_due(collector *g, uint64_t n, bool *due, vm_error *e);
/* Collect. VM_INVALID: the heap is damaged; nothing was freed. */
vm_status gc_collect(collector *g, gc_roots *r, vm_error *e);
/* Free what waits to be swept. */
vm_status gc_finish(collector *g, vm_error *e);
/* A word of the heap: a pointer's bytes. */
vm_status gc_load(collector *g, uint64_t a, uint64_t *x, vm_error *e);
vm_status gc_store(collector *g, uint64_t a, uint64_t x, vm_error *e);

/* Looks, without accesses: objects in address order, and what the words of one lead to:
 * words as a collection would see them (VM_INVALID: damaged). */
typedef bool gc_object(void *ud, uint64_t a, uint64_t size);
typedef bool gc_word(void *ud, uint64_t at, uint64_t value);
vm_status gc_objects(collector *g, gc_object *visit, void *ud, vm_error *e);
vm_status gc_words(collector *g, uint64_t a, gc_word *visit, void *ud, vm_error *e);
/* Of a range of roots; `at` is an address then. */
vm_status gc_range_words(collector *g, uint64_t start, uint64_t stop, gc_word *visit, void *ud,
                         vm_error *e);

/* Of all collections. */
gc_counters gc_sums(const collector *g);
/* The process as it is now: before any call, and before gc_close. */
void gc_use(collector *g, process *p);

/* --- for its parts ------------------------------------------------------------------- */

/* The area has `bytes`; what was in it may be gone. */
vm_status gc_fit(collector *g, heap_port *area, uint64_t bytes, vm_error *e);
/* Nothing has gone wrong, on no port. */
vm_status gc_status(collector *g, vm_error *e);
/* The collection can't go on: this is what it ran into. */
void gc_fail(collector *g, const char *fmt, ...) VM_PRINTF(2, 3);
/* Pages: none is seen yet; bytes of the heap are; how many are, with roots and its own. */
vm_status gc_forget_pages(collector *g, vm_error *e);
void gc_see(collector *g, uint64_t a, uint64_t n);
/* Where pages of the heap are on the host, for gc_fetch. */
vm_status gc_find_pages(collector *g, vm_error *e);
uint64_t gc_pages_of(const collector *g, uint64_t bytes);
uint64_t gc_pages_seen(const collector *g, const gc_roots *r);
vm_status gc_begin_layouts(collector *g, vm_error *e);
/* A layout's bytes, by what an object's first word says; 0: it names no layout. */
uint64_t gc_layout_size(collector *g, uint64_t word);

/* Room for map and tree; then the blocks that there are now in them, none marked. */
vm_status gc_fit_blocks(collector *g, vm_error *e);
void gc_blocks(collector *g);
/* The block that a word points to, or 0. */
uint64_t gc_find(collector *g, uint64_t word);
uint64_t gc_block_size(collector *g, uint64_t block); /* its usable bytes */
bool gc_marked(collector *g, uint64_t block);
bool gc_set_mark(collector *g, uint64_t block); /* false: it is marked */
/* Entry `i` of the map: blocks, and which of them are marked. */
uint64_t gc_entry(collector *g, uint64_t i, uint64_t *marked);
void gc_unmark(collector *g, uint64_t entry); /* bits in headers of the blocks of an entry */

void gc_mark(collector *g, gc_roots *r);
/* Until so many bytes are free, or all is swept. */
vm_status gc_sweep(collector *g, uint64_t bytes, vm_error *e);
/* Heap's watch: a block was freed by somebody else; 0: the heap is closed. */
void gc_left(void *ud, uint64_t a);
void gc_copy(collector *g, gc_roots *r);
vm_status gc_copy_new(collector *g, uint64_t layout, uint64_t size, uint64_t *a, vm_error *e);

/* Blocks outside: a new one, the one that a word points to, its row by its payload. */
void gc_add_outer(collector *g, uint64_t block, uint64_t size);
uint64_t gc_find_outer(collector *g, uint64_t word);
uint64_t gc_outer_row(collector *g, uint64_t block);
bool gc_set_outer_mark(collector *g, uint64_t block);

/* All that a collector reads and writes through; the heap's is the first, NULL if that is
 * closed. */
#define GC_PORTS 6
VM_INLINE void gc_ports(collector *g, heap_port *list[GC_PORTS])
{
    list[0] = g->h ? &g->h->port : NULL;
    list[1] = &g->map;
    list[2] = &g->tree;
    list[3] = &g->stack;
    list[4] = &g->table;
    list[5] = &g->outer;
}
VM_INLINE bool gc_is_inside(const collector *g, uint64_t a) { return a - g->base < g->span; }
/* A block's first words and its header will be read: the host may fetch them, and what the
 * machine's outermost cache knows of their line. Nothing of the machine changes. */
VM_INLINE void gc_fetch(const collector *g, uint64_t block)
{
    const uint64_t page = (block >> g->page_bits) - (g->h->port.base >> g->page_bits),
                   in = block & low_mask(g->page_bits);
    if (page >= g->hint_count || !g->hints[page].bytes)
        return;
    VM_PREFETCH(g->hints[page].bytes + in);
    VM_PREFETCH(g->hints[page].bytes + in - 8);
    if (g->outermost)
        VM_PREFETCH(
            cache_packed_set(g->outermost, (g->hints[page].pa + in) >> g->outermost->line_bits));
}
VM_INLINE uint64_t gc_get(collector *g, uint64_t a)
{
    return port_get(&g->h->port, a, (unsigned)g->cfg.pointer);
}
VM_INLINE void gc_put(collector *g, uint64_t a, uint64_t x)
{
    port_put(&g->h->port, a, x, (unsigned)g->cfg.pointer);
}
/* Words of a layout: bytes; then bits of its pointers, 64 a word. */
VM_INLINE uint64_t gc_layout_word(collector *g, uint64_t layout, uint64_t i)
{
    return port_get(&g->table, layout + 8 * i, 8);
}
/* Nothing has failed so far: for loops. */
VM_INLINE bool gc_sound(const collector *g)
{
    return g->wrong == VM_OK && g->h->port.status == VM_OK && g->map.status == VM_OK &&
           g->stack.status == VM_OK && g->table.status == VM_OK && g->tree.status == VM_OK &&
           g->outer.status == VM_OK;
}

#endif
