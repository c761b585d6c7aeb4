/* process.c: processes, their spaces, which of them runs; and the kernel as a
 * whole: its making, its end, its invariants.
 */
#include <stdio.h>

#include "kernel.h"

vm_status kernel_init(kernel *k, hardware *hw, const vm_host *host, const kernel_config *cfg,
                      vm_error *e)
{
    memset(k, 0, sizeof *k);
    k->hw = hw;
    k->host = host;
    k->cfg = *cfg;
    k->asid_generation = 1;
    k->next_asid = 1;
    k->process_count = k->space_count = 1;
    /* Without paging no frame is ever given out, however large memory is. */
    uint64_t count = hw->mmu.paging ? hw->mem.size >> hw->mmu.g.page_bits : 0;
    if (count > UINT32_MAX)
        return vm_fail(e, VM_INVALID,
                       "dram.size and paging.page make %llu frames; the kernel manages 2^32 - 1",
                       (unsigned long long)count);
    uint64_t low = UINT64_C(1) << (hw->mmu.g.pa_bits - hw->mmu.g.page_bits);
    k->low_frames = count < low ? count : low;
    policy_config pc = {
        .sets = 1, .slots = (uint32_t)count, .seed = cfg->seed, .bits = reclaim_bits(k)};
    vm_status s = frames_init(&k->frames, host, count, e);
    if (s == VM_OK)
        s = swap_init(&k->swap, host, cfg->swap_slots, e);
    if (s == VM_OK)
        s = policy_new(host, cfg->policy, &pc, &k->pol, e);
    if (s != VM_OK)
        kernel_free(k);
    return s;
}

void kernel_free(kernel *k)
{
    for (size_t i = 1; i < k->process_count; i++)
        host_free(k->host, k->processes[i], sizeof(process));
    for (size_t i = 1; i < k->space_count; i++) {
        space *s = k->spaces[i];
        if (s)
            host_free(k->host, s->areas, s->area_cap * sizeof *s->areas);
        host_free(k->host, s, sizeof *s);
    }
    host_free(k->host, k->processes, k->process_cap * sizeof *k->processes);
    host_free(k->host, k->spaces, k->space_cap * sizeof *k->spaces);
    k->process_count = k->space_count = 1;
    k->processes = NULL;
    k->spaces = NULL;
    k->process_cap = k->space_cap = 0;
    policy_delete(k->pol);
    k->pol = NULL;
    swap_free(&k->swap);
    frames_free(&k->frames);
}

process *process_find(const kernel *k, uint32_t pid)
{
    return pid > 0 && pid < k->process_count ? k->processes[pid] : NULL;
}

static vm_status process_space(kernel *k, space **out, vm_error *e)
{
    uint32_t id = 1; /* ids of spaces that have ended are taken again */
    while (id < k->space_count && k->spaces[id])
        id++;
    void *list = k->spaces;
    bool room = host_grow(k->host, &list, &k->space_cap, (size_t)id + 1, sizeof *k->spaces);
    k->spaces = list;
    space *s = room ? host_zalloc(k->host, sizeof *s) : NULL;
    if (!s)
        return vm_fail_nomem(e, "an address space");
    s->id = id;
    s->users = 1;
    /* Where a heap begins if nobody says: a sixteenth of the way up. */
    s->brk_start = s->brk = align_down(space_user_top(k) / 16, kernel_page(k));
    if (id >= k->space_count)
        k->space_count = (size_t)id + 1;
    k->spaces[id] = s;
    *out = s;
    return VM_OK;
}

static void process_drop_space(kernel *k, space *s)
{
    if (--s->users)
        return;
    pt_place at;
    uint64_t top = space_user_top(k);
    for (uint64_t va = 0; (va = kernel_next_entry(k, s, va, top, &at)) < top;) {
        kernel_release(k, s, va, &at);
        va = (va | low_mask(k->hw->mmu.g.shift[at.level])) + 1;
    }
    if (s->asid_generation == k->asid_generation && (k->cfg.asid_bits || s == k->running))
        mmu_flush_asid(&k->hw->mmu, s->asid);
    kernel_free_tables(k, s);
    if (k->running == s)
        k->running = NULL;
    k->spaces[s->id] = NULL;
    host_free(k->host, s->areas, s->area_cap * sizeof *s->areas);
    host_free(k->host, s, sizeof *s);
}

static vm_status process_make(kernel *k, space *s, const char *name, process **out, vm_error *e)
{
    void *list = k->processes;
    bool room =
        host_grow(k->host, &list, &k->process_cap, k->process_count + 1, sizeof *k->processes);
    k->processes = list;
    process *p = room ? host_zalloc(k->host, sizeof *p) : NULL;
    if (!p)
        return vm_fail_nomem(e, "a process");
    p->pid = (uint32_t)k->process_count;
    p->space = s;
    s->pid = s->pid ? s->pid : p->pid;
    snprintf(p->name, sizeof p->name, "%s", name ? name : "");
    k->processes[k->process_count++] = p;
    *out = p;
    return VM_OK;
}

vm_status process_new(kernel *k, const char *name, process **out, vm_error *e)
{
    space *s = NULL;
    vm_status st = process_space(k, &s, e);
    if (st != VM_OK)
        return st;
    uint64_t pte_pa; /* the root table at once: a machine too small for it says so now */
    if (k->hw->mmu.paging)
        st = kernel_make_tables(k, s, 0, k->hw->mmu.g.levels - 1, &pte_pa, e);
    if (st == VM_FAULT)
        st = vm_fail(e, VM_INVALID,
                     "dram.size is %llu: no room for the root page table of a process (%llu bytes)",
                     (unsigned long long)k->hw->mem.size,
                     (unsigned long long)pt_table_bytes(&k->hw->mmu.g, k->hw->mmu.g.levels - 1));
    if (st == VM_OK)
        st = process_make(k, s, name, out, e);
    if (st != VM_OK)
        process_drop_space(k, s);
    return st;
}

vm_status process_share(kernel *k, process *with, const char *name, process **out, vm_error *e)
{
    vm_status st = process_make(k, with->space, name, out, e);
    if (st == VM_OK)
        with->space->users++;
    return st;
}

void process_exit(kernel *k, process *p, int status)
{
    if (!p->space)
        return;
    process_drop_space(k, p->space);
    p->space = NULL;
    p->exit_status = status;
    kernel_emit(k, KEVENT_EXIT, p->pid, 0, (uint64_t)(int64_t)status, 0);
}

void process_clear(kernel *k, process *p)
{
    space *s = p->space;
    pt_place at;
    uint64_t top = space_user_top(k);
    kernel_emit(k, KEVENT_EXEC, p->pid, 0, s->resident, 0);
    for (uint64_t va = 0; (va = kernel_next_entry(k, s, va, top, &at)) < top;) {
        kernel_release(k, s, va, &at);
        va = (va | low_mask(k->hw->mmu.g.shift[at.level])) + 1;
    }
    s->area_count = 0;
    s->brk = s->brk_start;
}

static void kernel_new_asid(kernel *k, space *s)
{
    if (k->next_asid >> k->cfg.asid_bits || k->next_asid == TLB_GLOBAL) {
        mmu_flush_asid(&k->hw->mmu, TLB_GLOBAL);
        k->asid_generation++;
        k->next_asid = 1;
        k->n.asid_rollovers++;
    }
    s->asid = k->next_asid++;
    s->asid_generation = k->asid_generation;
}

void kernel_switch(kernel *k, process *p)
{
    space *s = p->space;
    if (k->running == s)
        return;
    if (k->cfg.asid_bits == 0) {
        if (k->running)
            mmu_flush_asid(&k->hw->mmu, TLB_GLOBAL);
        s->asid_generation = k->asid_generation;
    } else if (s->asid_generation != k->asid_generation) {
        kernel_new_asid(k, s);
    }
    k->n.switches += k->running != NULL;
    kernel_emit(k, KEVENT_SWITCH, p->pid, 0, k->running ? k->running->pid : 0, 0);
    k->running = s;
    k->hw->mmu.root = s->root;
    k->hw->mmu.asid = s->asid;
}

/* --- invariants --------------------------------------------------------------- */

static const char *check_areas(const kernel *k, const space *s)
{
    uint64_t page = kernel_page(k), last = 0;
    for (size_t i = 0; i < s->area_count; i++) {
        const area *a = &s->areas[i];
        if (a->start >= a->stop || a->start < last)
            return "space: areas overlap or are out of order";
        if ((a->start | a->stop) & (page - 1))
            return "space: an area's border is not on a page";
        last = a->stop;
    }
    return NULL;
}

static const char *check_pages(kernel *k, const space *s, uint64_t *mapped, uint64_t *slots)
{
    const pt_geometry *g = &k->hw->mmu.g;
    uint64_t top = space_user_top(k), slot, resident = 0, swapped = 0;
    pt_place at;
    for (uint64_t va = 0; (va = kernel_next_entry(k, s, va, top, &at)) < top;) {
        if (at.pte & g->format->present) {
            const frame *r = frames_at(&k->frames, pte_ppn(g->format, at.pte));
            if (!r || r->use == FRAME_FREE || r->use == FRAME_TABLE)
                return "space: a present PTE names a frame that is not a page's";
            if (r->use != FRAME_PINNED && (r->pte_pa != at.pa || r->space != s->id))
                return "space: a frame does not name the PTE that maps it";
            if (r->use != FRAME_PINNED && !space_find_area(s, va))
                return "space: a page is resident outside of all areas";
            *mapped += r->use == FRAME_USER;
            if (r->use == FRAME_USER && r->slot != SLOT_NONE) {
                if (!swap_is_used(&k->swap, r->slot))
                    return "swap: a resident page names a slot that is free";
                ++*slots;
            }
            resident += UINT64_C(1) << (g->shift[at.level] - g->page_bits);
        } else if (pte_is_swapped(g->format, at.pte, &slot)) {
            if (!swap_is_used(&k->swap, (uint32_t)slot))
                return "swap: a PTE names a slot that is free";
            ++*slots;
            swapped++;
        }
        va = (va | low_mask(g->shift[at.level])) + 1;
    }
    if (swapped != s->swapped || resident != s->resident)
        return "space: the count of resident or swapped pages is wrong";
    return NULL;
}

static const char *check_tlb(const kernel *k, const tlb *t)
{
    const mmu *m = &k->hw->mmu;
    for (uint32_t i = 0; i < tlb_sets(t) * t->ways; i++) {
        const tlb_entry *e = &t->e[i];
        const space *owner = NULL;
        if (!e->tag || tlb_tag_asid(e->tag) == TLB_GLOBAL)
            continue;
        for (size_t j = 1; j < k->space_count; j++) {
            const space *s = k->spaces[j];
            bool runs = k->cfg.asid_bits || s == k->running;
            if (s && runs && s->asid_generation == k->asid_generation &&
                s->asid == tlb_tag_asid(e->tag))
                owner = s;
        }
        if (!owner)
            return "tlb: an entry belongs to no space";
        unsigned level = tlb_tag_class(e->tag);
        uint64_t va = sign_extend(tlb_tag_vpn(e->tag) << m->g.shift[level], m->g.va_bits);
        pt_place at = pt_lookup(&m->g, &k->hw->mem, owner->root, va);
        const pte_format *f = m->g.format;
        if (at.pte & f->unknown && !(at.pte & f->present))
            continue; /* state set by hand: nobody gave this PTE */
        if (!(at.pte & f->present) || at.level != level || pte_ppn(f, at.pte) != e->pay >> 8)
            return "tlb: an entry maps what its PTE does not";
        if ((e->pay & TLB_W && !(at.pte & f->write)) || (e->pay & TLB_D && !(at.pte & f->dirty)))
            return "tlb: an entry allows or knows more than its PTE";
    }
    return NULL;
}

const char *kernel_check(kernel *k)
{
    const char *broken = frames_check(&k->frames);
    if (!broken)
        broken = swap_check(&k->swap);
    if (!broken && k->pol->cls->check)
        broken = k->pol->cls->check(k->pol);
    uint64_t mapped = 0, slots = 0;
    for (size_t i = 1; i < k->space_count && !broken; i++) {
        if (!k->spaces[i])
            continue;
        broken = check_areas(k, k->spaces[i]);
        if (!broken)
            broken = check_pages(k, k->spaces[i], &mapped, &slots);
    }
    if (!broken && mapped != k->resident)
        broken = "kernel: the count of resident pages is wrong";
    if (!broken && slots != k->swap.used)
        broken = "swap: a used slot is named by nobody, or one by two";
    for (unsigned i = 0; i < k->hw->mmu.tlb_count && !broken; i++)
        broken = check_tlb(k, &k->hw->mmu.tlbs[i]);
    return broken;
}
