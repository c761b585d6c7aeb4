/* reclaim.c: frames for those who need one: free ones, else a victim's.
 *
 * Order of an eviction: the policy's answer is checked; a dirty page is written
 * to its place (a swap slot, a block of its file); only then does anything
 * change: the PTEs that map it name the slot (or nothing), their translations are
 * shot down, the frame is given back. So a failure in the midst leaves the page
 * where it was.
 */
#include "kernel.h"
#include "rmap.h"

/* Reference and dirty bits of a frame, as the policy asks for them: the A and D
 * bits of the PTEs that map it. */
static bool reclaim_referenced(void *ud, uint32_t ppn, bool clear)
{
    kernel *k = ud;
    const pte_format *f = k->hw->g.format;
    frame *r = frames_at(&k->frames, ppn);
    rmap_settle_frame(k, r);
    bool referenced = r->referenced;
    if (clear)
        r->referenced = false;
    for (mapping *x = frames_maps(r); x; x = frames_maps_next(&k->frames, x)) {
        uint64_t pte = dram_get(&k->hw->mem, x->pte_pa, f->bytes);
        if (!(pte & f->accessed))
            continue;
        referenced = true;
        if (!clear)
            break;
        dram_put(&k->hw->mem, x->pte_pa, f->bytes, pte & ~f->accessed);
        if (x->large)
            huge_spread_reference(k, pte, ppn);
        if (k->cfg.young_flush)
            kernel_invalidate(k, k->spaces[x->space], x->vpn << k->hw->g.page_bits);
    }
    return referenced;
}

static bool reclaim_dirty(void *ud, uint32_t ppn) { return writeback_is_dirty(ud, ppn); }

policy_bits reclaim_bits(kernel *k)
{
    return (policy_bits){.ud = k, .referenced = reclaim_referenced, .dirty = reclaim_dirty};
}

/* --- eviction ------------------------------------------------------------------------ */

/* Every PTE of the page gets the value; each counts as a user of the slot, if one. */
static void reclaim_unmap(kernel *k, frame *r, uint32_t slot)
{
    const pte_format *f = k->hw->g.format;
    while (r->mapped) {
        mapping x = r->first;
        space *s = k->spaces[x.space];
        dram_put(&k->hw->mem, x.pte_pa, f->bytes, slot == SLOT_NONE ? 0 : pte_swapped(f, slot));
        kernel_invalidate(k, s, x.vpn << k->hw->g.page_bits);
        s->resident--;
        if (slot != SLOT_NONE) {
            s->swapped++;
            swap_at(&k->swap, slot)->users++;
        }
        frames_unmap(&k->frames, r, x.pte_pa);
    }
}

static vm_status reclaim_evict_anon(kernel *k, uint32_t ppn, vm_error *e)
{
    frame *r = frames_at(&k->frames, ppn);
    process_counters *who = page_charge(k, r);
    uint32_t slot = r->slot;
    bool dirty = writeback_is_dirty(k, ppn);
    if (dirty) {
        vm_status st = writeback_slot(k, ppn, &slot, e);
        if (st != VM_OK)
            return st;
        writeback_cluster(k, r, slot);
    } else {
        PAGE_COUNT(k, who, clean_drops);
    }
    PAGE_COUNT(k, who, evictions);
    page_emit(k, KEVENT_EVICTION, r, ppn, dirty);
    if (slot != SLOT_NONE) {
        swap_at(&k->swap, slot)->key = r->key;
        r->slot = slot;
    }
    huge_split_frame(k, r);
    reclaim_unmap(k, r, slot);
    return VM_OK;
}

static vm_status reclaim_evict_file(kernel *k, uint32_t ppn, vm_error *e)
{
    frame *r = frames_at(&k->frames, ppn);
    file *of = k->files[r->file];
    file_page *page = file_at(of, r->index);
    process_counters *who = page_charge(k, r);
    vm_status st;
    bool dirty = writeback_is_dirty(k, ppn);
    if (!dirty) {
        PAGE_COUNT(k, who, clean_drops);
    } else if (of->memory) {
        bool fresh = page->block == NUMBER_NONE;
        st = writeback_slot(k, ppn, &page->block, e);
        if (st != VM_OK)
            return st;
        swap_at(&k->swap, page->block)->users += fresh;
        swap_at(&k->swap, page->block)->key = r->key;
        writeback_cluster(k, r, page->block);
    } else {
        disk_begin(&k->hw->disk);
        st = writeback_file(k, ppn, e);
        if (st != VM_OK)
            return st;
        writeback_cluster(k, r, file_block(k, page->block));
    }
    PAGE_COUNT(k, who, evictions);
    page_emit(k, KEVENT_EVICTION, r, ppn, dirty);
    reclaim_unmap(k, r, SLOT_NONE);
    file_drop_frame(k, of, r->index);
    return VM_OK;
}

static vm_status reclaim_evict(kernel *k, uint32_t ppn, vm_error *e)
{
    frame *r = frames_at(&k->frames, ppn);
    rmap_settle_frame(k, r);
    vm_status st = r->file ? reclaim_evict_file(k, ppn, e) : reclaim_evict_anon(k, ppn, e);
    if (st == VM_OK)
        page_free(k, ppn);
    return st;
}

/* Ask a policy that rules over `count` pages for a victim and evict it. A page that
 * can't be written back goes to the end of the policy's order, and the next is tried. */
static vm_status reclaim_from(kernel *k, policy *pol, uint64_t count, vm_error *e)
{
    for (uint64_t tries = 0; tries < count; tries++) {
        uint32_t ppn = 0;
        vm_status st = pol->cls->victim(pol, 0, k->incoming, &ppn, e);
        if (st != VM_OK)
            return st;
        const frame *r = frames_at(&k->frames, ppn);
        if (!r || !frame_is_ruled(r) || page_policy(k, r) != pol)
            return vm_fail(e, VM_POLICY, "policy %s chose frame %u as victim, which holds no page",
                           pol->cls->name, ppn);
        st = reclaim_evict(k, ppn, e);
        if (st != VM_REFUSED && st != VM_FAULT)
            return st;
        pol->chosen = POLICY_NONE;
        pol->cls->remove(pol, 0, ppn);
        pol->cls->insert(pol, 0, ppn, r->key);
    }
    return vm_fail(e, VM_FAULT, "memory is used up, and no page of it can be evicted");
}

/* The space that rules over most pages, if it is not `but`. */
static space *reclaim_largest(const kernel *k, const space *but)
{
    space *most = NULL;
    for (size_t i = 1; i < k->space_count; i++) {
        space *s = k->spaces[i];
        if (s && s != but && s->ruled > (most ? most->ruled : 0))
            most = s;
    }
    return most;
}

/* One frame for the space: a page of its own goes, else one of nobody's, else one of
 * whoever has most. With global replacement all pages are nobody's. */
static vm_status reclaim_one(kernel *k, space *s, vm_error *e)
{
    vm_status st = s && s->ruled ? reclaim_from(k, s->pol, s->ruled, e) : VM_FAULT;
    if (st == VM_FAULT)
        st = reclaim_from(k, k->pol, k->ruled, e);
    space *other = st == VM_FAULT ? reclaim_largest(k, s) : NULL;
    return other ? reclaim_from(k, other->pol, other->ruled, e) : st;
}

/* --- quotas -------------------------------------------------------------------------------- */

/* A large page that was not used since the last look is split. One bit speaks for all
 * of it, so that all of it stays if any page does. */
static void reclaim_trim_large(kernel *k, space *s, entry_walk *w)
{
    uint64_t ppn = pte_ppn(k->hw->g.format, w->at.pte);
    bool used = false;
    for (uint64_t i = 0; i < huge_pages(k); i++)
        used |= reclaim_referenced(k, (uint32_t)(ppn + i), true);
    if (used)
        return;
    huge_split(k, s, w->va, &w->at);
    entries_again(w);
}

/* Pages of the space's own that were not used since the last look go; the others'
 * bits are cleared for the next. */
static vm_status reclaim_trim(kernel *k, space *s, vm_error *e)
{
    const pte_format *f = k->hw->g.format;
    for (entry_walk w = entries_of(k, s, 0, space_user_top(k)); entries_next(&w);) {
        uint64_t ppn = pte_ppn(f, w.at.pte);
        const frame *r = w.at.pte & f->present ? frames_at(&k->frames, ppn) : NULL;
        if (huge_span(k, &w.at) > 1) {
            reclaim_trim_large(k, s, &w);
            continue;
        }
        if (!r || !frame_is_ruled(r) || r->owner != s->id ||
            reclaim_referenced(k, (uint32_t)ppn, true))
            continue;
        vm_status st = reclaim_evict(k, (uint32_t)ppn, e);
        k->n.trims += st == VM_OK;
        if (st != VM_OK && st != VM_REFUSED && st != VM_FAULT)
            return st;
    }
    return VM_OK;
}

/* The space faults: is it time to look through its pages? */
static vm_status reclaim_quota(kernel *k, space *s, vm_error *e)
{
    uint64_t now = k->accesses(k->accesses_ud), gone = now - s->looked;
    if (k->cfg.quota == QUOTA_FAULT_FREQUENCY)
        s->looked = now; /* each fault counts from the one before */
    if (gone < k->cfg.window)
        return VM_OK;
    s->looked = now;
    return reclaim_trim(k, s, e);
}

vm_status reclaim_make_room(kernel *k, space *s, vm_error *e)
{
    vm_status st = VM_OK;
    if (s && s->pol && k->cfg.quota)
        st = reclaim_quota(k, s, e);
    while (st == VM_OK && s && s->limit && s->ruled >= s->limit)
        st = reclaim_from(k, s->pol, s->ruled, e);
    while (st == VM_OK && k->cfg.resident_limit && k->resident >= k->cfg.resident_limit)
        st = reclaim_one(k, s, e);
    return st;
}

uint64_t reclaim_swap_space(kernel *k, space *s, vm_error *e)
{
    const pte_format *f = k->hw->g.format;
    uint64_t went = 0;
    e->status = VM_OK;
    rmap_settle_all(k);
    huge_split_range(k, s, 0, space_user_top(k));
    for (entry_walk w = entries_of(k, s, 0, space_user_top(k)); entries_next(&w);) {
        uint64_t ppn = pte_ppn(f, w.at.pte);
        const frame *r = w.at.pte & f->present ? frames_at(&k->frames, ppn) : NULL;
        if (!r || !frame_is_ruled(r) || r->mapped != 1)
            continue;
        vm_status st = reclaim_evict(k, (uint32_t)ppn, e);
        went += st == VM_OK;
        if (st != VM_OK && st != VM_REFUSED && st != VM_FAULT)
            return went;
    }
    e->status = VM_OK;
    return went;
}

/* --- taking ---------------------------------------------------------------------------- */

vm_status reclaim_take_at(kernel *k, const space *s, uint64_t at, uint64_t n, frame_use use,
                          vm_error *e)
{
    vm_status st = frames_reserve(&k->frames, at, n, e);
    if (st == VM_OK)
        st = policy_reserve(k->pol, (uint32_t)(at + n), e);
    if (st == VM_OK && s && s->pol && use == FRAME_ANON)
        st = policy_reserve(s->pol, (uint32_t)(at + n), e);
    if (st == VM_OK)
        frames_take(&k->frames, at, n, use);
    return st;
}

/* Few frames are left: evict before somebody must wait for it. */
static void reclaim_background(kernel *k)
{
    if (k->frames.free >= k->cfg.low)
        return;
    while (k->frames.free < k->cfg.high && reclaim_one(k, NULL, NULL) == VM_OK)
        k->n.background++;
}

vm_status reclaim_take(kernel *k, space *s, uint64_t n, uint64_t align, frame_use use,
                       uint64_t *ppn, vm_error *e)
{
    uint64_t from = 0, stop = k->low_frames;
    if (use == FRAME_TABLE && k->frames.count > k->low_frames) {
        from = k->low_frames;
        stop = k->frames.count;
    }
    reclaim_background(k);
    for (;;) {
        uint64_t at = frames_find(&k->frames, n, align, from, stop);
        if (at != FRAME_NONE) {
            *ppn = at;
            return reclaim_take_at(k, s, at, n, use, e);
        }
        if (n > 1 && k->cfg.compact && from == 0 && compact_block(k, log2_floor(n - 1) + 1))
            continue;
        vm_status st = reclaim_one(k, s, e);
        if (st != VM_OK)
            return st;
    }
}

bool reclaim_take_idle(kernel *k, frame_use use, uint64_t *ppn)
{
    if (k->frames.free <= k->cfg.high ||
        (k->cfg.resident_limit && k->resident >= k->cfg.resident_limit))
        return false;
    *ppn = frames_find(&k->frames, 1, 1, 0, k->low_frames);
    return *ppn != FRAME_NONE && reclaim_take_at(k, NULL, *ppn, 1, use, NULL) == VM_OK;
}
