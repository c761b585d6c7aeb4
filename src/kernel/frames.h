/* frames.h: physical frames: what each one in use is used for, and who maps it (the
 * reverse map). Which ones are free, and which of them is given out next, the
 * allocator knows (frame_alloc.h).
 *
 * Records live in chunks that are made when their first frame is taken, so that
 * a machine with 16 million frames costs a tenth of a bit of host memory for each
 * until they are used.
 *
 * The first mapping of a frame is in its record; further ones, of pages that
 * processes share, are a list of nodes from one pool.
 *
 * Invariants: a frame is free in the allocator's map exactly if its record says
 * FRAME_FREE; each present PTE of a page is one mapping of its frame, and there
 * are no others.
 */
#ifndef VM_FRAMES_H
#define VM_FRAMES_H

#include "frame_alloc.h"
#include "pool.h"

typedef enum frame_use {
    FRAME_FREE = 0,
    FRAME_TABLE,  /* part of a page table */
    FRAME_ANON,   /* a page of private memory, under the replacement policy */
    FRAME_FILE,   /* a page of a file or of shared memory, under the policy too */
    FRAME_HUGE,   /* the first of a large page; never reclaimed */
    FRAME_TAIL,   /* the rest of a large page */
    FRAME_ZERO,   /* the one page of zeros that readers share */
    FRAME_PINNED, /* named by a PTE that was set by hand; never reclaimed */
    FRAME_KERNEL, /* the kernel's own: its tables and stacks; never reclaimed */
    FRAME_USES,
} frame_use;

#define SLOT_NONE NUMBER_NONE
#define MAP_NONE  UINT32_MAX

/* One PTE that maps a frame. */
typedef struct mapping {
    uint64_t vpn;
    uint64_t pte_pa;
    uint32_t space : 30; /* its id */
    uint32_t locked : 1; /* in memory, by mlock */
    uint32_t large : 1;  /* the PTE maps a transparent large page that the frame is part of */
    uint32_t next;       /* index of the next one's node, or MAP_NONE */
} mapping;

typedef struct frame {
    mapping first;   /* if mapped > 0 */
    uint64_t key;    /* what policies know the page by; it outlives residence */
    uint32_t mapped; /* PTEs that map it */
    uint32_t slot;   /* FRAME_ANON: the swap slot with the same bytes, or SLOT_NONE */
    uint32_t file;   /* id of the file whose page it is, or 0 */
    uint32_t index;  /* of the page in the file */
    uint32_t owner;  /* id of the space whose policy rules over it, or 0: the kernel's */
    uint16_t locks;  /* mappings that are locked in memory: not for the policy */
    uint8_t use;     /* frame_use */
    uint8_t level;   /* FRAME_HUGE: of its page-table entry */
    bool dirty;      /* differs from slot or file, though no PTE may say so */
    bool referenced; /* was used, though no PTE may say so */
} frame;

#define FRAME_CHUNK 1024

typedef struct frames {
    const vm_host *host;
    uint64_t count; /* of all frames */
    uint64_t free;  /* as the allocator counts them */
    frame_alloc alloc;
    frame **chunks;
    size_t chunk_count;
    mapping *nodes; /* of the reverse map */
    size_t node_cap, node_count;
    uint32_t node_free; /* first of a list by `next`, or MAP_NONE */
    size_t nodes_free;
    size_t promised; /* mappings that are to come, room for which is kept (rmap.c) */
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

/* A page that the replacement policy rules over. */
VM_INLINE bool frame_is_ruled(const frame *r)
{
    return (r->use == FRAME_ANON || r->use == FRAME_FILE) && r->locks == 0;
}

/* --- the reverse map ----------------------------------------------------------- */

/* Room for n more mappings, so that adding them can't fail. */
vm_status frames_map_reserve(frames *f, size_t n, vm_error *e);
void frames_map(frames *f, frame *r, uint32_t space, uint64_t vpn, uint64_t pte_pa);
/* The mapping by the PTE at pte_pa goes. */
void frames_unmap(frames *f, frame *r, uint64_t pte_pa);
/* The mapping by this PTE, or NULL. */
mapping *frames_mapping(const frames *f, frame *r, uint64_t pte_pa);
/* for (mapping *x = frames_maps(r); x; x = frames_maps_next(f, x)) */
VM_INLINE mapping *frames_maps(frame *r) { return r->mapped ? &r->first : NULL; }
VM_INLINE mapping *frames_maps_next(const frames *f, const mapping *x)
{
    return x->next == MAP_NONE ? NULL : &f->nodes[x->next];
}

#endif
