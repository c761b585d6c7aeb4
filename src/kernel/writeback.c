/* writeback.c: dirty pages go to their places on the disk: pages of files to their
 * blocks, private and shared memory to swap slots.
 *
 * Neighbours go together (disk.cluster): when a dirty victim was written, the pages
 * that follow it in its space or its file and are dirty too are written behind it, in
 * the same request of the disk, and stay in memory, clean. That is FreeBSD's way
 * (vm_pageout_cluster), which looks at the object; to look at the order of the
 * policy instead finds neighbours only where pages are evicted in the order of their
 * addresses. A neighbour takes part if its place on the disk is the next, or if it
 * has none and the next slot is free. Slots held by pages in memory serve nobody else,
 * so that none is taken for a neighbour once half of them are in use (as Linux's
 * vm_swap_full).
 */
#include "kernel.h"
#include "rmap.h"

bool writeback_is_dirty(kernel *k, uint32_t ppn)
{
    const pte_format *f = k->hw->g.format;
    frame *r = frames_at(&k->frames, ppn);
    rmap_settle_frame(k, r);
    bool dirty = r->dirty;
    for (mapping *x = frames_maps(r); x && !dirty; x = frames_maps_next(&k->frames, x))
        dirty = dram_get(&k->hw->mem, x->pte_pa, f->bytes) & f->dirty;
    return dirty;
}

/* --- one page ------------------------------------------------------------------------ */

/* The page of the frame to a block of the disk, in the request that has begun. */
static vm_status writeback_to(kernel *k, uint64_t ppn, uint64_t block, vm_error *e)
{
    return disk_write(&k->hw->disk, block, &k->hw->mem, ppn << k->hw->g.page_bits, e);
}

static void writeback_swapped(kernel *k, const frame *r, uint64_t ppn, uint32_t slot)
{
    process_counters *who = page_charge(k, r);
    PAGE_COUNT(k, who, swap_outs);
    page_emit(k, KEVENT_SWAP_OUT, r, ppn, slot);
}

vm_status writeback_slot(kernel *k, uint64_t ppn, uint32_t *slot, vm_error *e)
{
    bool fresh = *slot == SLOT_NONE;
    if (fresh) {
        vm_status st = swap_take(&k->swap, slot, e);
        if (st != VM_OK)
            return st;
        if (*slot == SLOT_NONE)
            return vm_fail(e, VM_FAULT, "memory and swap are used up");
    }
    disk_begin(&k->hw->disk);
    vm_status st = writeback_to(k, ppn, *slot, e);
    if (st == VM_OK) {
        writeback_swapped(k, frames_at(&k->frames, ppn), ppn, *slot);
    } else if (fresh) {
        swap_settle(&k->swap, *slot);
        *slot = SLOT_NONE;
    }
    return st;
}

/* No PTE of the page is dirty any more, nor does a TLB take it for dirty. */
static void writeback_clear_dirty(kernel *k, frame *r)
{
    const pte_format *f = k->hw->g.format;
    r->dirty = false;
    for (mapping *x = frames_maps(r); x; x = frames_maps_next(&k->frames, x)) {
        uint64_t pte = dram_get(&k->hw->mem, x->pte_pa, f->bytes);
        if (!(pte & f->dirty))
            continue;
        dram_put(&k->hw->mem, x->pte_pa, f->bytes, pte & ~f->dirty);
        kernel_invalidate(k, k->spaces[x->space], x->vpn << k->hw->g.page_bits);
    }
}

vm_status writeback_file(kernel *k, uint64_t ppn, vm_error *e)
{
    frame *r = frames_at(&k->frames, ppn);
    file *of = k->files[r->file];
    if (of->memory || !writeback_is_dirty(k, (uint32_t)ppn))
        return VM_OK;
    vm_status st = writeback_to(k, ppn, file_block(k, file_at(of, r->index)->block), e);
    if (st != VM_OK)
        return st;
    process_counters *who = page_charge(k, r);
    PAGE_COUNT(k, who, file_outs);
    page_emit(k, KEVENT_WRITEBACK, r, ppn, r->index);
    writeback_clear_dirty(k, r);
    return VM_OK;
}

/* --- neighbours -------------------------------------------------------------------------- */

/* The page behind this one in its space, or NUMBER_NONE; looked for in one leaf table. */
static uint32_t writeback_next_private(const kernel *k, frame *r)
{
    const pt_geometry *g = &k->hw->g;
    const mapping *x = frames_maps(r);
    if (!x || x->large || !((x->vpn + 1) & low_mask(g->bits[0])))
        return NUMBER_NONE;
    uint64_t pte = dram_get(&k->hw->mem, x->pte_pa + g->format->bytes, g->format->bytes);
    return pte & g->format->present ? (uint32_t)pte_ppn(g->format, pte) : NUMBER_NONE;
}

/* The dirty page behind this one in its file or space, or NULL. */
static frame *writeback_next(kernel *k, frame *r, uint32_t *ppn)
{
    const file_page *page = r->file ? file_at(k->files[r->file], (uint64_t)r->index + 1) : NULL;
    *ppn = page ? page->frame : r->file ? NUMBER_NONE : writeback_next_private(k, r);
    frame *next = *ppn == NUMBER_NONE ? NULL : frames_at(&k->frames, *ppn);
    if (!next || !frame_is_ruled(next) || next->file != r->file || !writeback_is_dirty(k, *ppn))
        return NULL;
    /* If it is part of somebody's large page, one D bit speaks for all of that. */
    return huge_maps(k, next) ? NULL : next;
}

/* Write a page to this slot, if it is the page's or free: has it been? */
static bool writeback_at_slot(kernel *k, frame *r, uint32_t ppn, uint64_t at)
{
    file_page *page = r->file ? file_at(k->files[r->file], r->index) : NULL;
    uint32_t slot = page ? page->block : r->slot;
    bool fresh = slot == SLOT_NONE;
    if (fresh && (2 * k->swap.slots.used >= k->swap.slots.count ||
                  swap_take_at(&k->swap, at, &slot, NULL) != VM_OK))
        return false;
    if (slot != at)
        return false;
    if (writeback_to(k, ppn, slot, NULL) != VM_OK) {
        if (fresh)
            swap_settle(&k->swap, slot);
        return false;
    }
    swap_slot *x = swap_at(&k->swap, slot);
    x->key = r->key;
    if (page) {
        page->block = slot;
        x->users += fresh;
    } else {
        r->slot = slot;
        x->frame = ppn;
    }
    writeback_swapped(k, r, ppn, slot);
    writeback_clear_dirty(k, r);
    return true;
}

/* The same for a page of a file and its block. */
static bool writeback_at_block(kernel *k, frame *r, uint32_t ppn, uint64_t at)
{
    return file_block(k, file_at(k->files[r->file], r->index)->block) == at &&
           writeback_file(k, ppn, NULL) == VM_OK;
}

void writeback_cluster(kernel *k, frame *victim, uint64_t block)
{
    const bool swap = block < k->swap.slots.count;
    uint64_t n = 1;
    uint32_t ppn;
    frame *r = victim;
    for (; n < k->cfg.cluster && (r = writeback_next(k, r, &ppn)); n++)
        if (!(swap ? writeback_at_slot : writeback_at_block)(k, r, ppn, block + n))
            break;
    k->n.clustered += n - 1;
    if (n > 1)
        page_emit(k, KEVENT_CLUSTER, victim, block, n);
}
