/* compact.c: compaction: pages move together, so that the free frames between them
 * become free blocks.
 *
 * The scheme is Linux's (mm/compaction.c, Mel Gorman 2010): a migrate scanner finds
 * pages to move at one end of memory, a free scanner frames to move them to at the
 * other, and they are done where they meet. Linux moves pages up; the allocators here
 * give out the lowest frames first, so pages move down. For one block the migrate
 * scanner goes from block to block: one with a frame that can't move (page tables,
 * large pages, frames pinned by hand, the page of zeros) is passed over whole, and no
 * block is begun for whose pages there are no free frames below. So work is never
 * in vain, but a block is only found if all of it can move.
 *
 * To move a page is to copy its bytes and to change whatever names its frame: its
 * PTEs, by the reverse map, its swap slot, its file. The policy hears that the one
 * slot is empty and that the other has the same key.
 */
#include "kernel.h"
#include "rmap.h"

void page_move(kernel *k, uint64_t from, uint64_t to)
{
    const pte_format *f = k->hw->g.format;
    unsigned bits = k->hw->g.page_bits;
    frame *r = frames_at(&k->frames, from), *t = frames_at(&k->frames, to);
    rmap_settle_frame(k, r);
    dram_read(&k->hw->mem, from << bits, k->copy, kernel_page(k));
    dram_write(&k->hw->mem, to << bits, k->copy, kernel_page(k));
    page_set_ruled(k, from, false);
    *t = *r;
    *r = (frame){.use = r->use, .slot = SLOT_NONE};
    page_set_ruled(k, to, true);
    if (t->slot != SLOT_NONE)
        swap_at(&k->swap, t->slot)->frame = (uint32_t)to;
    if (t->file)
        file_at(k->files[t->file], t->index)->frame = (uint32_t)to;
    for (mapping *x = frames_maps(t); x; x = frames_maps_next(&k->frames, x)) {
        uint64_t pte = dram_get(&k->hw->mem, x->pte_pa, f->bytes);
        pte = (pte & ~f->ppn_mask) | to << f->ppn_shift;
        dram_put(&k->hw->mem, x->pte_pa, f->bytes, pte);
        kernel_invalidate(k, k->spaces[x->space], x->vpn << bits);
    }
    page_give_back(k, from, 1);
}

/* Can what is in the frame move to another one? */
static bool compact_movable(const kernel *k, uint64_t ppn)
{
    frame *r = frames_at(&k->frames, ppn);
    return (r->use == FRAME_ANON || r->use == FRAME_FILE) && !huge_maps(k, r);
}

/* Move the page to the lowest free frame from *to on, below `stop`. False: there is
 * none, or no host memory. */
static bool compact_one(kernel *k, uint64_t from, uint64_t *to, uint64_t stop)
{
    const frame *r = frames_at(&k->frames, from);
    const space *s = r->owner ? k->spaces[r->owner] : NULL;
    uint64_t end;
    unsigned bits = k->hw->g.page_bits;
    *to = frame_alloc_run(&k->frames.alloc, *to, &end);
    if (*to >= stop || reclaim_take_at(k, s, *to, 1, FRAME_ANON, NULL) != VM_OK)
        return false;
    if (!page_commit(k, *to << bits, kernel_page(k))) {
        page_give_back(k, *to, 1);
        return false;
    }
    page_move(k, from, *to);
    k->n.compact_moves++;
    return true;
}

/* Frames of a block that are free and that can move; false: others are in it. */
static bool compact_look(const kernel *k, uint64_t first, uint64_t n, uint64_t *free,
                         uint64_t *movable)
{
    bool all = true;
    *free = *movable = 0;
    for (uint64_t i = first; i < first + n; i++) {
        if (frames_is_free(&k->frames, i))
            ++*free;
        else if (compact_movable(k, i))
            ++*movable;
        else
            all = false;
    }
    return all;
}

/* Move all pages of a block to free frames below it. */
static bool compact_empty(kernel *k, uint64_t block, uint64_t n, uint64_t *to)
{
    uint64_t before = k->n.compact_moves;
    bool all = true;
    k->n.compactions++;
    for (uint64_t i = block; all && i < block + n; i++)
        all = frames_is_free(&k->frames, i) || compact_one(k, i, to, block);
    kernel_emit(k, KEVENT_COMPACTION, 0, 0, k->n.compact_moves - before, n);
    return all;
}

bool compact_block(kernel *k, unsigned order)
{
    uint64_t n = UINT64_C(1) << order, to = 0, below = 0, free, movable;
    if (n > k->low_frames)
        return false;
    if (frames_find(&k->frames, n, n, 0, k->low_frames) != FRAME_NONE)
        return true;
    for (uint64_t i = 0; i < k->low_frames; i++)
        below += frames_is_free(&k->frames, i);
    if (below < n)
        return false;
    uint64_t block = align_down(k->low_frames, n);
    for (uint64_t i = block; i < k->low_frames; i++)
        below -= frames_is_free(&k->frames, i);
    while (block && below) {
        block -= n;
        bool all = compact_look(k, block, n, &free, &movable);
        below -= free;
        if (all && movable <= below)
            return compact_empty(k, block, n, &to);
    }
    return false;
}

uint64_t compact_all(kernel *k)
{
    uint64_t to = 0, before = k->n.compact_moves;
    k->n.compactions++;
    for (uint64_t from = k->low_frames; from-- > to;)
        if (!frames_is_free(&k->frames, from) && compact_movable(k, from) &&
            !compact_one(k, from, &to, from))
            break;
    kernel_emit(k, KEVENT_COMPACTION, 0, 0, k->n.compact_moves - before, 0);
    return k->n.compact_moves - before;
}
