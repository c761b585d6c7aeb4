/* page.c: who holds a page. Every PTE that comes to map a frame or ceases to,
 * every slot that gains or loses a user, passes here, so that counts, reverse map
 * and policy agree.
 */
#include "kernel.h"
#include "rmap.h"

bool page_commit(kernel *k, uint64_t pa, uint64_t n)
{
    for (uint64_t at = align_down(pa, DRAM_BLOCK); at < pa + n; at += DRAM_BLOCK)
        if (!dram_commit(&k->hw->mem, at))
            return false;
    return true;
}

static uint64_t page_frames(const kernel *k, const frame *r)
{
    const pt_geometry *g = &k->hw->g;
    return r->use == FRAME_HUGE ? UINT64_C(1) << (g->shift[r->level] - g->page_bits) : 1;
}

/* Under a policy, and no longer. */
static void page_rule(kernel *k, frame *r, uint64_t ppn)
{
    policy *pol = page_policy(k, r);
    *(r->owner ? &k->spaces[r->owner]->ruled : &k->ruled) += 1;
    pol->cls->insert(pol, 0, (uint32_t)ppn, r->key);
}

static void page_unrule(kernel *k, const frame *r, uint64_t ppn)
{
    policy *pol = page_policy(k, r);
    *(r->owner ? &k->spaces[r->owner]->ruled : &k->ruled) -= 1;
    pol->cls->remove(pol, 0, (uint32_t)ppn);
}

void page_set_ruled(kernel *k, uint64_t ppn, bool ruled)
{
    frame *r = frames_at(&k->frames, ppn);
    if (!frame_is_ruled(r))
        return;
    if (ruled)
        page_rule(k, r, ppn);
    else
        page_unrule(k, r, ppn);
}

void page_enter(kernel *k, space *s, uint64_t ppn, uint64_t key)
{
    frame *r = frames_at(&k->frames, ppn);
    r->key = key;
    r->owner = s && s->pol ? s->id : 0;
    k->resident++;
    page_rule(k, r, ppn);
}

/* The space that brought the page in has let go of it: it is everyone's. */
static void page_disown(kernel *k, frame *r, uint64_t ppn)
{
    bool ruled = frame_is_ruled(r);
    if (ruled)
        page_unrule(k, r, ppn);
    r->owner = 0;
    if (ruled)
        page_rule(k, r, ppn);
}

void page_map(kernel *k, space *s, const area *a, uint64_t va, uint64_t pte_pa, uint64_t ppn,
              unsigned prot)
{
    const pt_geometry *g = &k->hw->g;
    frame *r = frames_at(&k->frames, ppn);
    if (!r->level)
        rmap_settle_entry(k, pte_pa, kernel_vpn(k, va));
    dram_put(&k->hw->mem, pte_pa, g->format->bytes, pte_leaf(g->format, ppn, prot, r->level));
    if (r->use == FRAME_ZERO)
        return;
    rmap_settle_frame(k, r);
    frames_map(&k->frames, r, s->id, kernel_vpn(k, va), pte_pa);
    s->resident += page_frames(k, r);
    if (a->flags & AREA_LOCKED) {
        r->first.locked = true;
        page_lock(k, ppn);
    }
}

void page_unmap(kernel *k, space *s, uint64_t va, uint64_t pte_pa, uint64_t pte)
{
    const pte_format *f = k->hw->g.format;
    uint64_t ppn = pte_ppn(f, pte);
    frame *r = frames_at(&k->frames, ppn);
    kernel_invalidate(k, s, va);
    if (r->use == FRAME_ZERO)
        return;
    if (r->use == FRAME_PINNED) {
        s->resident--;
        page_give_back(k, ppn, 1);
    } else if (r->use == FRAME_ANON && frames_mapping(&k->frames, r, pte_pa)->large) {
        huge_unmap(k, s, pte_pa, pte);
    } else {
        page_leave(k, s, pte_pa, pte, ppn);
    }
}

void page_leave(kernel *k, space *s, uint64_t pte_pa, uint64_t pte, uint64_t ppn)
{
    frame *r = frames_at(&k->frames, ppn);
    s->resident -= page_frames(k, r);
    page_keep_bits(k, r, pte);
    bool locked = frames_mapping(&k->frames, r, pte_pa)->locked;
    frames_unmap(&k->frames, r, pte_pa);
    if (r->mapped == 0 && !r->file)
        page_free(k, ppn);
    else if (locked)
        page_unlock(k, ppn);
    if (r->use != FRAME_FREE && r->owner == s->id)
        page_disown(k, r, ppn);
}

void page_give_back(kernel *k, uint64_t ppn, uint64_t n)
{
    unsigned bits = k->hw->g.page_bits;
    dram_clear(&k->hw->mem, ppn << bits, n << bits);
    frames_give(&k->frames, ppn, n);
}

void page_free(kernel *k, uint64_t ppn)
{
    frame *r = frames_at(&k->frames, ppn);
    uint64_t n = page_frames(k, r);
    if (r->use != FRAME_HUGE) {
        if (frame_is_ruled(r))
            page_unrule(k, r, ppn);
        k->resident--;
    }
    page_forget_slot(k, r);
    page_give_back(k, ppn, n);
}

static void page_settle_slot(kernel *k, uint32_t slot)
{
    if (swap_settle(&k->swap, slot))
        disk_discard(&k->hw->disk, slot);
}

void page_drop_slot(kernel *k, uint32_t slot)
{
    swap_slot *x = swap_at(&k->swap, slot);
    uint32_t ppn = x->frame;
    if (--x->users)
        return;
    frame *r = ppn == NUMBER_NONE ? NULL : frames_at(&k->frames, ppn);
    if (r && r->mapped == 0)
        page_free(k, ppn); /* read ahead, and nobody came */
    else
        page_settle_slot(k, slot);
}

void page_forget_slot(kernel *k, frame *r)
{
    uint32_t slot = r->slot;
    if (slot == SLOT_NONE)
        return;
    r->slot = SLOT_NONE;
    swap_at(&k->swap, slot)->frame = NUMBER_NONE;
    page_settle_slot(k, slot);
}

uint64_t page_holders(kernel *k, frame *r)
{
    if (r->mapped == 1) /* the parent's, perhaps, whose child's is put off */
        rmap_settle_frame(k, r);
    return r->mapped + (uint64_t)(r->slot == SLOT_NONE ? 0 : swap_at(&k->swap, r->slot)->users);
}

unsigned page_prot(const area *a, const frame *r, uint64_t holders)
{
    unsigned prot = area_pte_prot(a);
    if (area_is_private(a) && (r->file || r->use == FRAME_ZERO || holders > 1))
        prot &= ~(unsigned)PROT_W;
    return prot;
}

void page_emit(kernel *k, event_type type, const frame *r, uint64_t a, uint64_t b)
{
    uint64_t va = r->mapped ? r->first.vpn << k->hw->g.page_bits : 0;
    kernel_emit(k, type, r->mapped ? k->spaces[r->first.space]->owner : 0, va, a, b);
}

void page_lock(kernel *k, uint64_t ppn)
{
    frame *r = frames_at(&k->frames, ppn);
    if (frame_is_ruled(r))
        page_unrule(k, r, ppn);
    r->locks++;
}

void page_unlock(kernel *k, uint64_t ppn)
{
    frame *r = frames_at(&k->frames, ppn);
    r->locks--;
    if (frame_is_ruled(r))
        page_rule(k, r, ppn);
}
