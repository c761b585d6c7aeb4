/* reclaim.c: frames for those who need one: free ones, else a victim's.
 *
 * Order of an eviction: the policy's answer is checked; a dirty page gets a swap
 * slot and is written; only then does anything change: the PTE names the slot
 * (or nothing, for a page that was never written), the translation is shot down,
 * the frame is given back. So a failure in the midst leaves the page where it was.
 */
#include "kernel.h"

/* Reference and dirty bits of a frame, as the policy asks for them: the A and D
 * bits of the PTE that maps it. */
static bool reclaim_referenced(void *ud, uint32_t slot, bool clear)
{
    kernel *k = ud;
    const pte_format *f = k->hw->mmu.g.format;
    const frame *r = frames_at(&k->frames, slot);
    uint64_t pte = dram_get(&k->hw->mem, r->pte_pa, f->bytes);
    if (!(pte & f->accessed))
        return false;
    if (clear) {
        dram_put(&k->hw->mem, r->pte_pa, f->bytes, pte & ~f->accessed);
        if (k->cfg.young_flush)
            kernel_invalidate(k, k->spaces[r->space], r->vpn << k->hw->mmu.g.page_bits);
    }
    return true;
}

static bool reclaim_dirty(void *ud, uint32_t slot)
{
    kernel *k = ud;
    const pte_format *f = k->hw->mmu.g.format;
    return dram_get(&k->hw->mem, frames_at(&k->frames, slot)->pte_pa, f->bytes) & f->dirty;
}

policy_bits reclaim_bits(kernel *k)
{
    return (policy_bits){.ud = k, .referenced = reclaim_referenced, .dirty = reclaim_dirty};
}

static vm_status reclaim_evict(kernel *k, uint32_t ppn, vm_error *e)
{
    hardware *hw = k->hw;
    const pte_format *f = hw->mmu.g.format;
    frame *r = frames_at(&k->frames, ppn);
    space *s = k->spaces[r->space];
    uint64_t va = r->vpn << hw->mmu.g.page_bits, pa = (uint64_t)ppn << hw->mmu.g.page_bits;
    bool dirty = reclaim_dirty(k, ppn);
    uint32_t slot = r->slot;
    if (dirty) {
        if (slot == SLOT_NONE && (slot = swap_take(&k->swap)) == SLOT_NONE)
            return vm_fail(e, VM_FAULT, "memory and swap are used up");
        if (!disk_write(&hw->disk, slot, &hw->mem, pa)) {
            if (r->slot == SLOT_NONE)
                swap_give(&k->swap, slot);
            return vm_fail_nomem(e, "a block of the swap area");
        }
        k->n.swap_outs++;
        kernel_emit(k, KEVENT_SWAP_OUT, s->pid, va, ppn, slot);
    } else {
        k->n.clean_drops++;
    }
    dram_put(&hw->mem, r->pte_pa, f->bytes, slot == SLOT_NONE ? 0 : pte_swapped(f, slot));
    kernel_invalidate(k, s, va);
    dram_clear(&hw->mem, pa, kernel_page(k));
    frames_give(&k->frames, ppn, 1);
    s->resident--;
    s->swapped += slot != SLOT_NONE;
    k->resident--;
    k->n.evictions++;
    kernel_emit(k, KEVENT_EVICTION, s->pid, va, ppn, dirty);
    return VM_OK;
}

/* Ask the policy for a victim and evict it. */
static vm_status reclaim_one(kernel *k, vm_error *e)
{
    uint32_t ppn = 0;
    if (k->resident == 0)
        return vm_fail(e, VM_FAULT, "memory is used up, and no page of it can be evicted");
    vm_status s = k->pol->cls->victim(k->pol, 0, 0, &ppn, e);
    if (s != VM_OK)
        return s;
    const frame *r = frames_at(&k->frames, ppn);
    if (!r || r->use != FRAME_USER)
        return vm_fail(e, VM_POLICY, "policy %s chose frame %u as victim, which holds no page",
                       k->pol->cls->name, ppn);
    s = reclaim_evict(k, ppn, e);
    if (s == VM_OK)
        k->pol->cls->remove(k->pol, 0, ppn);
    return s;
}

vm_status reclaim_make_room(kernel *k, vm_error *e)
{
    while (k->cfg.resident_limit && k->resident >= k->cfg.resident_limit) {
        vm_status s = reclaim_one(k, e);
        if (s != VM_OK)
            return s;
    }
    return VM_OK;
}

vm_status reclaim_take(kernel *k, uint64_t n, uint64_t align, frame_use use, uint64_t *ppn,
                       vm_error *e)
{
    uint64_t from = 0, stop = k->low_frames;
    if (use == FRAME_TABLE && k->frames.count > k->low_frames) {
        from = k->low_frames;
        stop = k->frames.count;
    }
    for (;;) {
        uint64_t at = frames_find(&k->frames, n, align, from, stop);
        if (at != FRAME_NONE) {
            vm_status s = frames_reserve(&k->frames, at, n, e);
            if (s == VM_OK)
                s = policy_reserve(k->pol, (uint32_t)(at + n), e);
            if (s != VM_OK)
                return s;
            frames_take(&k->frames, at, n, use);
            *ppn = at;
            return VM_OK;
        }
        vm_status s = reclaim_one(k, e);
        if (s != VM_OK)
            return s;
    }
}
