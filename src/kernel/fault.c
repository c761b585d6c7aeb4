/* fault.c: page faults, in the order of CS:APP 9.7.2: is the address in an area,
 * is the access permitted, then serve the page.
 */
#include "kernel.h"

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
    kernel_emit(k, major ? KEVENT_SWAP_IN : KEVENT_ZERO_FILL, p->pid,
                align_down(va, kernel_page(k)), ppn, major ? slot : 1);
    return VM_OK;
}

static vm_status fault_large_page(kernel *k, process *p, const area *a, uint64_t va, vm_error *e)
{
    space *s = p->space;
    const pt_geometry *g = &k->hw->mmu.g;
    uint64_t pte_pa, ppn, n = UINT64_C(1) << (g->shift[a->level] - g->page_bits);
    vm_status st = kernel_make_tables(k, s, va, a->level, &pte_pa, e);
    if (st != VM_OK)
        return st;
    kernel_drop_tables(k, s, va, a->level, pte_pa);
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
    kernel_emit(k, KEVENT_ZERO_FILL, p->pid, vpn << g->page_bits, ppn, n);
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
        kernel_emit(k, KEVENT_OOM, p->pid, 0, p->space->resident, 0);
    if (s == VM_FAULT)
        return fault_kill(info, "SIGKILL", "OOM", e);
    return s;
}
