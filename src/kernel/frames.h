/* frames.h: physical frames: what each one in use is used for. Which ones are
 * free, and which of them is given out next, the allocator knows (frame_alloc.h).
 *
 * Records live in chunks that are made when their first frame is taken, so that
 * a machine with 16 million frames costs a tenth of a bit of host memory for each
 * until they are used.
 *
 * Invariants: a frame is free in the allocator's map exactly if its record says
 * FRAME_FREE; a frame in use as FRAME_USER names the one PTE that maps it.
 */
#ifndef VM_FRAMES_H
#define VM_FRAMES_H

#include "frame_alloc.h"

typedef enum frame_use {
    FRAME_FREE = 0,
    FRAME_TABLE,  /* part of a page table */
    FRAME_USER,   /* a page of a process, under the replacement policy */
    FRAME_HUGE,   /* part of a large page; never reclaimed */
    FRAME_PINNED, /* named by a PTE that was set by hand; never reclaimed */
} frame_use;

#define SLOT_NONE UINT32_MAX

typedef struct frame {
    uint64_t vpn;    /* of the page it holds */
    uint64_t pte_pa; /* of the PTE that maps it */
    uint32_t space;  /* id of the space that maps it */
    uint32_t slot;   /* the swap slot that holds the same bytes while the page is
                        clean, or SLOT_NONE */
    uint32_t use;    /* frame_use */
} frame;

#define FRAME_CHUNK 1024

typedef struct frames {
    const vm_host *host;
    uint64_t count; /* of all frames */
    uint64_t free;  /* as the allocator counts them */
    frame_alloc alloc;
    frame **chunks;
    size_t chunk_count;
} frames;

vm_status frames_init(frames *f, const vm_host *host, const frame_alloc_class *cls, uint64_t count,
                      vm_error *e);
void frames_free(frames *f);
/* Records of frames first .. first + n - 1 exist afterwards. */
vm_status frames_reserve(frames *f, uint64_t first, uint64_t n, vm_error *e);
/* Find n contiguous free frames from `from` on and below `stop`, the first a
 * multiple of `align`; FRAME_NONE. */
uint64_t frames_find(const frames *f, uint64_t n, uint64_t align, uint64_t from, uint64_t stop);
/* Mark frames as used, or free again; their records must exist. */
void frames_take(frames *f, uint64_t first, uint64_t n, frame_use use);
void frames_give(frames *f, uint64_t first, uint64_t n);
/* The record; NULL if the frame was never taken. */
VM_INLINE frame *frames_at(const frames *f, uint64_t ppn)
{
    frame *c = ppn < f->count ? f->chunks[ppn / FRAME_CHUNK] : NULL;
    return c ? &c[ppn % FRAME_CHUNK] : NULL;
}
VM_INLINE bool frames_is_free(const frames *f, uint64_t ppn)
{
    return frame_alloc_is_free(&f->alloc, ppn);
}
const char *frames_check(const frames *f);

#endif
