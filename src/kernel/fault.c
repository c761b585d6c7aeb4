/* fault.c: page faults, in the order of CS:APP 9.7.2: is the address in an area,
 * is the access permitted, then serve the page. And the page tables' upkeep.
 */
#include "kernel.h"

void kernel_invalidate(kernel *k, const space *s, uint64_t va)
{
    /* A space whose ASID is from before the last rollover has nothing cached, and
     * without ASIDs only the running one has. */
    if (s->asid_generation == k->asid_generation && (k->cfg.asid_bits || s == k->running))
        mmu_invalidate(&k->hw->mmu, va, s->asid);
    k->n.shootdowns++;
}

/* --- tables --------------------------------------------------------------------- */

static vm_status fault_new_table(kernel *k, space *s, unsigned level, uint64_t *pa, vm_error *e)
{
    const pt_geometry *g = &k->hw->mmu.g;
    uint64_t n = align_up(pt_table_bytes(g, level), kernel_page(k)) >> g->page_bits, ppn;
    vm_status st = reclaim_take(k, n, 1, FRAME_TABLE, &ppn, e);
    if (st != VM_OK)
        return st;
    s->tables += n;
    k->hw->mmu.generation++;
    *pa = ppn << g->page_bits;
    return VM_OK;
}

vm_status kernel_make_tables(kernel *k, space *s, uint64_t va, unsigned level, uint64_t *pte_pa,
                             vm_error *e)
{
    const pt_geometry *g = &k->hw->mmu.g;
    if (!s->root_ok) {
        vm_status st = fault_new_table(k, s, g->levels - 1, &s->root, e);
        if (st != VM_OK)
            return st;
        s->root_ok = 1;
        if (k->running == s)
            k->hw->mmu.root = s->root;
    }
    uint64_t table = s->root;
    for (unsigned at = g->levels - 1; at > level; at--) {
        uint64_t pa = pt_entry_pa(g, table, va, at);
        uint64_t pte = dram_get(&k->hw->mem, pa, g->format->bytes);
        if (!(pte & g->format->present)) {
            uint64_t below;
            vm_status st = fault_new_table(k, s, at - 1, &below, e);
            if (st != VM_OK)
                return st;
            pte = pte_table(g->format, below >> g->page_bits);
            if (!dram_put(&k->hw->mem, pa, g->format->bytes, pte)) {
                uint64_t n = align_up(pt_table_bytes(g, at - 1), kernel_page(k)) >> g->page_bits;
                frames_give(&k->frames, below >> g->page_bits, n);
                s->tables -= n;
                return vm_fail_nomem(e, "a page table");
            }
        }
        table = pte_ppn(g->format, pte) << g->page_bits;
    }
    *pte_pa = pt_entry_pa(g, table, va, level);
    return VM_OK;
}

static void fault_free_table(kernel *k, space *s, uint64_t table, unsigned level)
{
    const pt_geometry *g = &k->hw->mmu.g;
    unsigned bytes = g->format->bytes;
    uint64_t n = align_up(pt_table_bytes(g, level), kernel_page(k)) >> g->page_bits;
    for (uint64_t i = 0; level > 0 && i < UINT64_C(1) << g->bits[level]; i++) {
        uint64_t pte = dram_get(&k->hw->mem, table + i * bytes, bytes);
        if ((pte & g->format->present) && !pte_is_leaf(g->format, pte, level))
            fault_free_table(k, s, pte_ppn(g->format, pte) << g->page_bits, level - 1);
    }
    k->hw->mmu.generation++;
    dram_clear(&k->hw->mem, table, n << g->page_bits);
    frames_give(&k->frames, table >> g->page_bits, n);
    s->tables -= n;
}

/* All pages must be gone. */
void kernel_free_tables(kernel *k, space *s)
{
    if (s->root_ok)
        fault_free_table(k, s, s->root, k->hw->mmu.g.levels - 1);
    s->root_ok = 0;
    s->root = 0;
}

uint64_t kernel_next_entry(const kernel *k, const space *s, uint64_t va, uint64_t stop,
                           pt_place *at)
{
    const pt_geometry *g = &k->hw->mmu.g;
    while (va < stop && s->root_ok) {
        *at = pt_lookup(g, &k->hw->mem, s->root, va);
        if (at->pte != 0)
            return va;
        uint64_t next = (va | low_mask(g->shift[at->level])) + 1;
        if (next <= va)
            return stop;
        va = next;
    }
    return stop;
}

/* --- pages ---------------------------------------------------------------------- */

void kernel_release(kernel *k, space *s, uint64_t va, const pt_place *at)
{
    const pt_geometry *g = &k->hw->mmu.g;
    const pte_format *f = g->format;
    uint64_t slot64;
    if (at->pte & f->present) {
        uint64_t ppn = pte_ppn(f, at->pte), n = UINT64_C(1) << (g->shift[at->level] - g->page_bits);
        frame *r = frames_at(&k->frames, ppn);
        if (r->use == FRAME_USER) {
            k->pol->cls->remove(k->pol, 0, (uint32_t)ppn);
            if (r->slot != SLOT_NONE) {
                swap_give(&k->swap, r->slot);
                disk_discard(&k->hw->disk, r->slot);
            }
            k->resident--;
            s->resident--;
        } else {
            s->resident -= n;
        }
        dram_clear(&k->hw->mem, ppn << g->page_bits, n << g->page_bits);
        frames_give(&k->frames, ppn, n);
    } else if (pte_is_swapped(f, at->pte, &slot64)) {
        swap_give(&k->swap, (uint32_t)slot64);
        disk_discard(&k->hw->disk, slot64);
        s->swapped--;
    }
    dram_put(&k->hw->mem, at->pa, f->bytes, 0);
    kernel_invalidate(k, s, va);
}

static unsigned fault_pte_prot(const area *a)
{
    return (a->prot & (PROT_R | PROT_W | PROT_X)) | PROT_USER;
}

/* Give the base page at va a frame: zeros, or what is in its swap slot. */
static vm_status fault_base_page(kernel *k, process *p, const area *a, uint64_t va, vm_error *e)
{
    space *s = p->space;
    hardware *hw = k->hw;
    const pt_geometry *g = &hw->mmu.g;
    uint64_t pte_pa, ppn, slot = SLOT_NONE;
    vm_status st = reclaim_make_room(k, e);
    if (st == VM_OK)
        st = kernel_make_tables(k, s, va, 0, &pte_pa, e);
    if (st == VM_OK)
        st = reclaim_take(k, 1, 1, FRAME_USER, &ppn, e);
    if (st != VM_OK)
        return st;
    uint64_t pa = ppn << g->page_bits;
    bool major = pte_is_swapped(g->format, dram_get(&hw->mem, pte_pa, g->format->bytes), &slot);
    if ((major && !disk_read(&hw->disk, slot, &hw->mem, pa)) ||
        !dram_put(&hw->mem, pte_pa, g->format->bytes,
                  pte_leaf(g->format, ppn, fault_pte_prot(a), 0))) {
        frames_give(&k->frames, ppn, 1);
        return vm_fail_nomem(e, "a page");
    }
    uint64_t vpn = (va & low_mask(g->va_bits)) >> g->page_bits;
    *frames_at(&k->frames, ppn) = (frame){.use = FRAME_USER,
                                          .vpn = vpn,
                                          .pte_pa = pte_pa,
                                          .space = s->id,
                                          .slot = major ? (uint32_t)slot : SLOT_NONE};
    k->pol->cls->insert(k->pol, 0, (uint32_t)ppn, kernel_page_key(s, vpn));
    k->resident++;
    s->resident++;
    s->swapped -= major;
    k->n.major_faults += major;
    k->n.minor_faults += !major;
    k->n.swap_ins += major;
    k->n.zero_fills += !major;
    p->n.major_faults += major;
    p->n.minor_faults += !major;
    p->n.swap_ins += major;
    p->n.zero_fills += !major;
    return VM_OK;
}

/* Base pages were where a large one comes: their tables are empty, and go. */
static void fault_drop_tables(kernel *k, space *s, uint64_t va, unsigned level, uint64_t pte_pa)
{
    const pt_geometry *g = &k->hw->mmu.g;
    uint64_t pte = dram_get(&k->hw->mem, pte_pa, g->format->bytes);
    if (!(pte & g->format->present))
        return;
    fault_free_table(k, s, pte_ppn(g->format, pte) << g->page_bits, level - 1);
    dram_put(&k->hw->mem, pte_pa, g->format->bytes, 0);
    kernel_invalidate(k, s, va); /* paging-structure caches may know the way */
}

static vm_status fault_large_page(kernel *k, process *p, const area *a, uint64_t va, vm_error *e)
{
    space *s = p->space;
    const pt_geometry *g = &k->hw->mmu.g;
    uint64_t pte_pa, ppn, n = UINT64_C(1) << (g->shift[a->level] - g->page_bits);
    vm_status st = kernel_make_tables(k, s, va, a->level, &pte_pa, e);
    if (st != VM_OK)
        return st;
    fault_drop_tables(k, s, va, a->level, pte_pa);
    st = reclaim_take(k, n, n, FRAME_HUGE, &ppn, e);
    if (st != VM_OK)
        return st;
    if (!dram_put(&k->hw->mem, pte_pa, g->format->bytes,
                  pte_leaf(g->format, ppn, fault_pte_prot(a), a->level))) {
        frames_give(&k->frames, ppn, n);
        return vm_fail_nomem(e, "a page table");
    }
    uint64_t vpn = (va & low_mask(g->va_bits)) >> g->page_bits & ~(n - 1);
    for (uint64_t i = 0; i < n; i++) {
        frame *r = frames_at(&k->frames, ppn + i);
        *r = (frame){
            .use = FRAME_HUGE, .vpn = vpn + i, .pte_pa = pte_pa, .space = s->id, .slot = SLOT_NONE};
    }
    s->resident += n;
    k->n.minor_faults++;
    k->n.zero_fills++;
    p->n.minor_faults++;
    p->n.zero_fills++;
    return VM_OK;
}

/* What the hardware lets through once the page is there. The kernel grants the
 * same before, so that what a program may do does not depend on which of its
 * pages are in memory: without a bit against it, what can be read can be executed. */
static unsigned fault_granted(const pte_format *f, const area *a)
{
    return a->prot ? pte_prot(f, pte_leaf(f, 0, fault_pte_prot(a), a->level)) : 0;
}

static vm_status fault_kill(fault_info *info, const char *signal, const char *code, vm_error *e)
{
    info->signal = signal;
    info->code = code;
    return vm_fail(e, VM_FAULT, "%s", signal);
}

vm_status kernel_fault(kernel *k, process *p, uint64_t va, access_kind kind, mmu_fault why,
                       fault_info *info, vm_error *e)
{
    static const uint8_t needs[] = {
        [ACCESS_FETCH] = PROT_X, [ACCESS_LOAD] = PROT_R, [ACCESS_STORE] = PROT_W};
    const pt_geometry *g = &k->hw->mmu.g;
    k->n.faults++;
    *info = (fault_info){.addr = va, .access = kind, .pid = p->pid};
    if (why == MMU_BUS)
        return fault_kill(info, "SIGBUS", "ADRERR", e);
    if (why == MMU_UNKNOWN)
        return fault_kill(info, "SIGSEGV", "UNKNOWN", e);
    const area *a = why == MMU_NONCANONICAL ? NULL : space_find_area(p->space, va);
    if (!a)
        return fault_kill(info, "SIGSEGV", "MAPERR", e);
    if (!(fault_granted(g->format, a) & needs[kind]))
        return fault_kill(info, "SIGSEGV", "ACCERR", e);
    vm_status s;
    if (why == MMU_PROTECTION) {
        /* The area allows it, so the PTE is behind: bring its permissions up. */
        pt_place at = pt_lookup(g, &k->hw->mem, p->space->root, va);
        uint64_t keep = at.pte & (g->format->accessed | g->format->dirty);
        uint64_t pte = pte_leaf(g->format, pte_ppn(g->format, at.pte), fault_pte_prot(a), at.level);
        dram_put(&k->hw->mem, at.pa, g->format->bytes, pte | keep);
        kernel_invalidate(k, p->space, va);
        k->n.spurious_faults++;
        p->n.spurious_faults++;
        return VM_OK;
    }
    s = a->level ? fault_large_page(k, p, a, va, e) : fault_base_page(k, p, a, va, e);
    if (s == VM_FAULT)
        return fault_kill(info, "SIGKILL", "OOM", e);
    return s;
}
