/* tags.h: blocks with boundary tags, in one row from the heap's first to its last, and
 * what allocators of such blocks share; how a free block is found is each one's index.
 *
 * A block of `size` bytes, a multiple of the alignment; payloads are aligned to it:
 *
 *    header   size | PREV | USED         one word
 *    payload                             links of the index, while it is free
 *    footer   size | USED                one word; as `tags` says
 *
 *    "both"    header and footer in every block (CS:APP figure 9.39)
 *    "header"  no footers: the block before is found by a walk from the first
 *    "free"    a footer in free blocks only, and PREV, "the block before is allocated",
 *              in every header (CS:APP 9.9.11 and homework 9.18)
 *
 * The heap: tables of the index, padding, with "both" a prologue (an allocated block
 * without payload), the blocks, and an epilogue (a header of size 0, allocated). So
 * there is always a word behind and, where footers are read, before a block.
 *
 * Invariants: sizes add up from the first block to the epilogue; with immediate
 * coalescing no two neighbours are free; a block is in the index if and only if it is
 * free. Source: CS:APP 9.9.6 to 9.9.14; Knuth, TAOCP volume 1, 2.5.
 */
#ifndef VM_HEAP_TAGS_H
#define VM_HEAP_TAGS_H

#include "heap.h"

#define TAG_USED 1u
#define TAG_PREV 2u /* the block before is allocated: kept with "free" only */

enum { TAGS_BOTH, TAGS_HEADER, TAGS_FREE };
enum { FIT_FIRST, FIT_BEST, FIT_WORST, FIT_NEXT };
enum { COALESCE_IMMEDIATE, COALESCE_DEFERRED };

typedef struct tags tags;

typedef struct tags_index {
    unsigned links;                           /* words of a free block's payload */
    unsigned least;                           /* bytes of the smallest block that it can keep */
    uint64_t (*tables)(const tags *t);        /* bytes of tables at the heap's start; NULL: none */
    uint64_t (*find)(tags *t, uint64_t size); /* a free block of `size` or more, or 0 */
    void (*insert)(tags *t, uint64_t a, uint64_t size); /* NULL: the blocks are the index */
    void (*remove)(tags *t, uint64_t a, uint64_t size);
    /* Insert what a malloc of `want` bytes leaves of the block that it took. NULL: insert. */
    void (*rest)(tags *t, uint64_t a, uint64_t size, uint64_t want);
    /* Bytes that the heap must grow by for a block of `size` that is not there. NULL: size. */
    uint64_t (*lack)(tags *t, uint64_t size);
    /* Its own order; *members: how many. NULL as insert. False: *wrong says what. */
    bool (*check)(tags *t, heap_wrong *wrong, uint64_t *members);
    /* As that of heap_class. NULL: one list, the free blocks by their addresses. */
    bool (*lists)(tags *t, heap_member *visit, void *ud);
} tags_index;

struct tags {
    heap h;
    const tags_index *index;
    uint64_t over;       /* bytes of tags in an allocated block */
    uint64_t least;      /* the smallest block */
    uint64_t split;      /* the smallest rest that becomes a block */
    uint64_t first;      /* the first block's payload */
    uint64_t rover;      /* where next fit goes on */
    uint64_t head, tail; /* of the only free list (listed.c); the root (tree.c) */
    uint64_t filled;     /* a bit for each list that has blocks (listed.c) */
};

/* The functions of a heap_class; init wants t->index. */
vm_status tags_init(heap *h, const tags_index *index, vm_error *e);
uint64_t tags_malloc(heap *h, uint64_t n);
void tags_free(heap *h, uint64_t a);
bool tags_resize(heap *h, uint64_t a, uint64_t n);
uint64_t tags_memalign(heap *h, uint64_t align, uint64_t n);
uint64_t tags_usable_size(heap *h, uint64_t a);
bool tags_walk(heap *h, heap_visit *visit, void *ud);
bool tags_check(heap *h, heap_wrong *wrong);
void tags_shape(heap *h, uint64_t n, heap_shape *s);
bool tags_lists(heap *h, heap_member *visit, void *ud);

/* Bytes of the block that n bytes need. */
uint64_t tags_need(const tags *t, uint64_t n);
/* The heap's last block, which is free, gives up what is above its first `keep` bytes. */
void tags_trim(tags *t, uint64_t a, uint64_t keep);

/* For indices. */
VM_INLINE uint64_t tags_word(const tags *t) { return (uint64_t)t->h.cfg.word; }
VM_INLINE uint64_t tags_header(tags *t, uint64_t a) { return heap_get(&t->h, a - tags_word(t)); }
VM_INLINE uint64_t tags_size(uint64_t header) { return header & ~UINT64_C(3); }
/* By size and then by address: does the block at `at` come before one of `size` at a? */
VM_INLINE bool tags_smaller(tags *t, uint64_t at, uint64_t a, uint64_t size)
{
    uint64_t mine = tags_size(tags_header(t, at));
    return mine < size || (mine == size && at < a);
}
/* Begin a walk: no list of a sound heap has more members. */
VM_INLINE void tags_begin(tags *t) { t->h.fuel = (t->h.port.top - t->h.port.base) / t->least + 2; }
/* Members of a list, from `a` on by their links; *enough: `visit` wants no more. False:
 * damaged. */
bool tags_members(tags *t, unsigned list, uint64_t a, heap_member *visit, void *ud, bool *enough);
bool tags_says_member(tags *t, heap_wrong *wrong, uint64_t a); /* is it a free block? */

extern const char *const tags_fits[],
    *const tags_tags[], *const tags_coalesces[], *const tags_reallocs[], *const tags_fits_listed[];
#define TAGS_SPLIT                                                                                 \
    {                                                                                              \
        HEAP_OPTION(split), NULL, 0, 0, 1 << 30,                                                   \
            "the smallest rest that a block is split for; 0: the smallest block"                   \
    }
#define TAGS_OPTIONS                                                                               \
    HEAP_OPTIONS, HEAP_LAYOUT_OPTIONS, TAGS_SPLIT,                                                 \
        {HEAP_OPTION(coalesce),                                                                    \
         tags_coalesces,                                                                           \
         COALESCE_IMMEDIATE,                                                                       \
         0,                                                                                        \
         0,                                                                                        \
         "merge free neighbours when a block is freed, or when no block fits"},                    \
    {                                                                                              \
        HEAP_OPTION(realloc), tags_reallocs, 0, 0, 0,                                              \
            "always a new block, or in place where that can be"                                    \
    }
#define TAGS_TAGS                                                                                  \
    {                                                                                              \
        HEAP_OPTION(tags), tags_tags, TAGS_BOTH, 0, 0, "which blocks have headers and footers"     \
    }
#define TAGS_CLASS                                                                                 \
    tags_malloc, tags_free, tags_resize, tags_memalign, tags_usable_size, tags_walk, tags_check,   \
        tags_shape, tags_lists

#endif
