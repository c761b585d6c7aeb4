/* frame_alloc.h: who decides which free frames are given out: allocators of
 * physical frames, by one contract.
 *
 * The map of free frames, one bit each, is common to all. A class says how a run
 * of free frames is found in it, and keeps what it needs for that:
 *   bitmap  nothing: the lowest run that fits, found in the map by words
 *   buddy   free blocks of 2^k frames, aligned to their size, by order k. A
 *           request is served from the smallest block that fits, the lowest of
 *           those; the block is split, and what is not wanted stays free. A block
 *           that comes back merges with its buddy while that is free
 * To find changes nothing, so that the caller can fail between finding and taking.
 *
 * Invariants: `free` is the number of members of the map. The blocks of a buddy
 * are exactly the free frames, do not overlap, and no two buddies are both free.
 * Host memory: less than a tenth of a bit a frame until frames are reserved; then
 * the bitmap one bit, the buddy three. Units: frames; order k is 2^k frames.
 */
#ifndef VM_FRAME_ALLOC_H
#define VM_FRAME_ALLOC_H

#include "number_set.h"

#define FRAME_NONE   UINT64_MAX
#define FRAME_ORDERS 32 /* a machine has at most 2^32 - 1 frames */

typedef struct frame_alloc frame_alloc;

typedef struct frame_alloc_class {
    const char *name;
    const char *doc;
    /* Hooks may be NULL where a class has nothing to do. */
    vm_status (*init)(frame_alloc *a, vm_error *e); /* all frames are free */
    void (*free)(frame_alloc *a);
    /* Host memory for taking and giving the frames of one leaf of the map. */
    vm_status (*reserve)(frame_alloc *a, uint64_t ppn, vm_error *e);
    uint64_t (*find)(const frame_alloc *a, uint64_t n, uint64_t align, uint64_t from,
                     uint64_t stop);
    void (*take)(frame_alloc *a, uint64_t first, uint64_t n);
    void (*give)(frame_alloc *a, uint64_t first, uint64_t n);
    void (*blocks)(const frame_alloc *a, uint64_t blocks[FRAME_ORDERS]);
    const char *(*check)(const frame_alloc *a);
} frame_alloc_class;

struct frame_alloc {
    const frame_alloc_class *cls;
    const vm_host *host;
    uint64_t count; /* of all frames */
    uint64_t free;
    number_set map;  /* of the free frames */
    uint64_t low;    /* no frame below is free */
    unsigned orders; /* of blocks: 0 .. orders - 1 */
    /* buddy */
    number_set *sets;              /* free blocks by order, numbered by first frame >> order */
    uint32_t some;                 /* bit k: there are blocks of order k */
    uint64_t blocks[FRAME_ORDERS]; /* how many */
    uint64_t splits, merges;
};

extern const frame_alloc_class frame_alloc_bitmap, frame_alloc_buddy;
extern const frame_alloc_class *const frame_alloc_classes[]; /* ended by NULL */

/* All `count` frames are free. Errors: VM_NOMEM. */
vm_status frame_alloc_init(frame_alloc *a, const vm_host *host, const frame_alloc_class *cls,
                           uint64_t count, vm_error *e);
void frame_alloc_free(frame_alloc *a);
/* Host memory for frames first .. first + n - 1: they can be taken and given. */
vm_status frame_alloc_reserve(frame_alloc *a, uint64_t first, uint64_t n, vm_error *e);
/* n contiguous free frames within from .. stop - 1, the first a multiple of `align`
 * (a power of two); FRAME_NONE. */
uint64_t frame_alloc_find(const frame_alloc *a, uint64_t n, uint64_t align, uint64_t from,
                          uint64_t stop);
/* Frames that are free and reserved become used, and back. */
void frame_alloc_take(frame_alloc *a, uint64_t first, uint64_t n);
void frame_alloc_give(frame_alloc *a, uint64_t first, uint64_t n);
const char *frame_alloc_check(const frame_alloc *a);

VM_INLINE bool frame_alloc_is_free(const frame_alloc *a, uint64_t ppn)
{
    return number_set_has(&a->map, ppn);
}

/* The order of the largest aligned block at the start of a run of n frames. */
VM_INLINE unsigned frame_order(uint64_t first, uint64_t n)
{
    unsigned k = log2_floor(n);
    unsigned most = first ? (unsigned)__builtin_ctzll(first) : k;
    return most < k ? most : k;
}

/* --- measures ------------------------------------------------------------------ */

/* The next run of free frames that begins at or above `from`, or that `from` is
 * inside of: its start, which is `count` if there is none; *stop is its end. */
uint64_t frame_alloc_run(const frame_alloc *a, uint64_t from, uint64_t *stop);
uint64_t frame_alloc_largest_run(const frame_alloc *a);
/* Free blocks of each order: free runs cut into blocks that are aligned to their
 * size, as large as can be. A buddy has them so; of a bitmap they are worked out. */
void frame_alloc_blocks(const frame_alloc *a, uint64_t blocks[FRAME_ORDERS]);
/* The same, always worked out from the map. */
void frame_alloc_count_blocks(const frame_alloc *a, uint64_t blocks[FRAME_ORDERS]);
/* The unusable free space index of Gorman and Whitcroft, which Linux shows as
 * extfrag/unusable_index: the share of free memory that is in blocks too small for
 * a request of this order. 0: all of it serves, 1: none does, or none is free. */
double frame_alloc_unusable(const uint64_t blocks[FRAME_ORDERS], unsigned order);
double frame_alloc_fragmentation(const frame_alloc *a, unsigned order);

#endif
