/* fault.c: page faults, in the order of CS:APP 9.7.2: is the address in an area,
 * is the access permitted, then serve the page.
 *
 * Tables are made first and frames taken next, since both may evict pages; what
 * the PTE says is read after. A copy is made by way of the host, so that its
 * source may lose its frame to the copy.
 */
#include <errno.h>

#include "kernel.h"
#include "rmap.h"

typedef enum fault_served {
    SERVED_MINOR,    /* without the disk */
    SERVED_MAJOR,    /* the disk was read */
    SERVED_SPURIOUS, /* only the entry was behind */
} fault_served;

/* One page that is to be served. */
typedef struct fault_page {
    process *p;
    space *s;
    const area *a;
    uint64_t va;     /* of the page's first byte */
    uint64_t pte_pa; /* of its entry, at the area's level */
    uint64_t pte;
    bool write;
    fault_served served;
} fault_page;

/* A frame for the page of private memory with this key, in the policy's care once it
 * is entered. */
static vm_status fault_take(kernel *k, space *s, uint64_t key, uint64_t *ppn, vm_error *e)
{
    k->incoming = key;
    vm_status st = reclaim_make_room(k, s, e);
    if (st == VM_OK)
        st = reclaim_take(k, s, 1, 1, FRAME_ANON, ppn, e);
    k->incoming = POLICY_NO_KEY;
    if (st == VM_OK)
        k->taken = *ppn;
    return st;
}

static uint64_t fault_entry(const kernel *k, const fault_page *f)
{
    return dram_get(&k->hw->mem, f->pte_pa, k->hw->g.format->bytes);
}

/* The new frame takes the place of what the entry holds. */
static void fault_replace(kernel *k, const fault_page *f, uint64_t ppn, unsigned prot)
{
    const pte_format *fmt = k->hw->g.format;
    uint64_t pte = fault_entry(k, f), slot;
    if (!f->a->level)
        rmap_settle_entry(k, f->pte_pa, kernel_vpn(k, f->va));
    if (pte & fmt->present) {
        page_unmap(k, f->s, f->va, f->pte_pa, pte);
    } else if (pte_is_swapped(fmt, pte, &slot)) {
        page_drop_slot(k, (uint32_t)slot);
        f->s->swapped--;
    }
    page_map(k, f->s, f->a, f->va, f->pte_pa, ppn, prot);
}

static vm_status fault_zero(kernel *k, fault_page *f, vm_error *e)
{
    uint64_t ppn;
    if (!f->write && k->zero_ppn != FRAME_NONE) {
        KERNEL_COUNT(k, f->p, zero_maps);
        page_map(k, f->s, f->a, f->va, f->pte_pa, k->zero_ppn,
                 area_pte_prot(f->a) & ~(unsigned)PROT_W);
        return VM_OK;
    }
    uint64_t key = kernel_page_key(f->s, kernel_vpn(k, f->va));
    vm_status st = fault_take(k, f->s, key, &ppn, e);
    if (st != VM_OK)
        return st;
    KERNEL_COUNT(k, f->p, zero_fills);
    page_enter(k, f->s, ppn, key);
    fault_replace(k, f, ppn, area_pte_prot(f->a));
    kernel_emit(k, KEVENT_ZERO_FILL, f->p->pid, f->va, ppn, 1);
    return VM_OK;
}

/* A private copy of the page in `from`. */
static vm_status fault_copy(kernel *k, fault_page *f, uint64_t from, vm_error *e)
{
    hardware *hw = k->hw;
    unsigned bits = hw->g.page_bits;
    uint64_t ppn;
    dram_read(&hw->mem, from << bits, k->copy, kernel_page(k));
    uint64_t key = kernel_page_key(f->s, kernel_vpn(k, f->va));
    vm_status st = fault_take(k, f->s, key, &ppn, e);
    if (st != VM_OK)
        return st;
    if (!dram_write(&hw->mem, ppn << bits, k->copy, kernel_page(k))) {
        page_give_back(k, ppn, 1);
        return vm_fail_nomem(e, "a page");
    }
    KERNEL_COUNT(k, f->p, cow_copies);
    frames_at(&k->frames, ppn)->dirty = true;
    page_enter(k, f->s, ppn, key);
    fault_replace(k, f, ppn, area_pte_prot(f->a));
    kernel_emit(k, KEVENT_COW, f->p->pid, f->va, from, ppn);
    return VM_OK;
}

/* --- from swap ------------------------------------------------------------------- */

/* Bring a slot's page into a frame that was taken for it. */
static vm_status fault_read_slot(kernel *k, space *s, uint32_t slot, uint64_t ppn, vm_error *e)
{
    vm_status st = disk_read(&k->hw->disk, slot, &k->hw->mem, ppn << k->hw->g.page_bits, e);
    if (st != VM_OK) {
        page_give_back(k, ppn, 1);
        return st;
    }
    swap_slot *x = swap_at(&k->swap, slot);
    frames_at(&k->frames, ppn)->slot = slot;
    x->frame = (uint32_t)ppn;
    page_enter(k, s, ppn, x->key);
    return VM_OK;
}

/* Slots near the one that was read, into free frames; private pages' alone, since those of
 * shared memory are found through their object. */
static void fault_swap_ahead(kernel *k, uint32_t slot)
{
    for (uint32_t i = slot + 1; i <= slot + k->cfg.swap_readahead; i++) {
        uint64_t ppn;
        const swap_slot *x = swap_is_used(&k->swap, i) ? swap_at(&k->swap, i) : NULL;
        if (!x || x->frame != NUMBER_NONE || kernel_is_file_key(x->key))
            continue;
        if (!reclaim_take_idle(k, FRAME_ANON, &ppn) ||
            fault_read_slot(k, NULL, i, ppn, NULL) != VM_OK)
            return;
        k->n.readaheads++;
    }
}

uint64_t fault_swap_in_space(kernel *k, const space *s)
{
    uint64_t came = 0, slot, ppn;
    disk_begin(&k->hw->disk);
    for (entry_walk w = entries_of(k, s, 0, space_user_top(k)); entries_next(&w);) {
        if (!pte_is_swapped(k->hw->g.format, w.at.pte, &slot) ||
            swap_at(&k->swap, (uint32_t)slot)->frame != NUMBER_NONE)
            continue;
        if (!reclaim_take_idle(k, FRAME_ANON, &ppn) ||
            fault_read_slot(k, NULL, (uint32_t)slot, ppn, NULL) != VM_OK)
            break;
        came++;
    }
    k->n.readaheads += came;
    return came;
}

static vm_status fault_swapped(kernel *k, fault_page *f, uint32_t slot, vm_error *e)
{
    swap_slot *x = swap_at(&k->swap, slot);
    if (x->frame != NUMBER_NONE) {
        KERNEL_COUNT(k, f->p, swap_maps);
    } else {
        uint64_t ppn;
        vm_status st = fault_take(k, f->s, x->key, &ppn, e);
        disk_begin(&k->hw->disk);
        if (st == VM_OK)
            st = fault_read_slot(k, f->s, slot, ppn, e);
        if (st != VM_OK)
            return st;
        f->served = SERVED_MAJOR;
        KERNEL_COUNT(k, f->p, swap_ins);
        kernel_emit(k, KEVENT_SWAP_IN, f->p->pid, f->va, ppn, slot);
    }
    uint64_t ppn = x->frame;
    frame *r = frames_at(&k->frames, ppn);
    unsigned prot = page_prot(f->a, r, page_holders(k, r));
    x->users--;
    f->s->swapped--;
    page_map(k, f->s, f->a, f->va, f->pte_pa, ppn, prot);
    if (f->served == SERVED_MAJOR)
        fault_swap_ahead(k, slot);
    return VM_OK;
}

/* --- from files -------------------------------------------------------------------- */

static unsigned fault_readahead(const kernel *k, const area *a)
{
    return a->flags & AREA_RANDOM       ? 0
           : a->flags & AREA_SEQUENTIAL ? 2 * k->cfg.readahead
                                        : k->cfg.readahead;
}

static vm_status fault_file(kernel *k, fault_page *f, vm_error *e)
{
    file *of = f->a->file;
    uint64_t index = area_index(k, f->a, f->va), ppn;
    if (index >= align_up(of->size, kernel_page(k)) >> k->hw->g.page_bits)
        return vm_fail_sys(e, VM_REFUSED, ENXIO, "page %llu is beyond the end of file %s",
                           (unsigned long long)index, of->name);
    bool major;
    vm_status st = file_frame(k, of, index, &ppn, &major, e);
    if (st != VM_OK)
        return st;
    if (major) {
        f->served = SERVED_MAJOR;
        KERNEL_COUNT(k, f->p, file_ins);
        file_readahead(k, of, index + 1, fault_readahead(k, f->a));
    }
    if (area_is_private(f->a) && f->write)
        return fault_copy(k, f, ppn, e);
    unsigned prot = page_prot(f->a, frames_at(&k->frames, ppn), 1);
    if (prot & PROT_W) {
        st = file_make_room(k, of, index, e);
        if (st != VM_OK && f->write)
            return st;
        if (st != VM_OK)
            prot &= ~(unsigned)PROT_W;
    }
    if (!major)
        KERNEL_COUNT(k, f->p, file_maps);
    page_map(k, f->s, f->a, f->va, f->pte_pa, ppn, prot);
    return VM_OK;
}

/* --- large pages --------------------------------------------------------------------- */

/* Copy a large page, by way of the host. */
static bool fault_copy_large(kernel *k, uint64_t from, uint64_t to, uint64_t n)
{
    unsigned bits = k->hw->g.page_bits;
    for (uint64_t i = 0; i < n; i++) {
        dram_read(&k->hw->mem, (from + i) << bits, k->copy, kernel_page(k));
        if (!dram_write(&k->hw->mem, (to + i) << bits, k->copy, kernel_page(k)))
            return false;
    }
    return true;
}

/* A large page of its own: zeros, or a copy of the one at `from`. */
static vm_status fault_large(kernel *k, fault_page *f, uint64_t from, vm_error *e)
{
    const pt_geometry *g = &k->hw->g;
    unsigned level = f->a->level;
    uint64_t ppn, n = UINT64_C(1) << (g->shift[level] - g->page_bits);
    vm_status st = reclaim_take(k, f->s, n, n, FRAME_TAIL, &ppn, e);
    if (st != VM_OK)
        return st;
    if (from != FRAME_NONE && !fault_copy_large(k, from, ppn, n)) {
        page_give_back(k, ppn, n);
        return vm_fail_nomem(e, "a large page");
    }
    frame *r = frames_at(&k->frames, ppn);
    r->use = FRAME_HUGE;
    r->level = (uint8_t)level;
    if (from == FRAME_NONE)
        KERNEL_COUNT(k, f->p, zero_fills);
    else
        KERNEL_COUNT(k, f->p, cow_copies);
    fault_replace(k, f, ppn, area_pte_prot(f->a));
    if (from == FRAME_NONE)
        kernel_emit(k, KEVENT_ZERO_FILL, f->p->pid, f->va, ppn, n);
    else
        kernel_emit(k, KEVENT_COW, f->p->pid, f->va, from, ppn);
    return VM_OK;
}

/* A large page of shared memory: the object has it, or has it from now on. */
static vm_status fault_large_shared(kernel *k, fault_page *f, vm_error *e)
{
    file_page *page;
    uint64_t index = area_index(k, f->a, f->va);
    vm_status st = file_need(f->a->file, k->host, index, &page, e);
    if (st != VM_OK)
        return st;
    if (page->frame != NUMBER_NONE) {
        KERNEL_COUNT(k, f->p, file_maps);
        page_map(k, f->s, f->a, f->va, f->pte_pa, page->frame, area_pte_prot(f->a));
        return VM_OK;
    }
    st = fault_large(k, f, FRAME_NONE, e);
    if (st != VM_OK)
        return st;
    uint64_t ppn = pte_ppn(k->hw->g.format, fault_entry(k, f));
    frame *r = frames_at(&k->frames, ppn);
    page->frame = (uint32_t)ppn;
    r->file = f->a->file->id;
    r->index = (uint32_t)index;
    f->a->file->cached++;
    return VM_OK;
}

static vm_status fault_large_page(kernel *k, fault_page *f, vm_error *e)
{
    kernel_drop_tables(k, f->s, f->va, f->a->level, f->pte_pa);
    return f->a->file ? fault_large_shared(k, f, e) : fault_large(k, f, FRAME_NONE, e);
}

/* --- all of them --------------------------------------------------------------------- */

/* The entry comes to allow what the page may: its last owner writes in place, or the
 * entry was behind the area. */
static void fault_mend(kernel *k, fault_page *f, const pt_place *at, unsigned prot)
{
    const pte_format *fmt = k->hw->g.format;
    uint64_t ppn = pte_ppn(fmt, at->pte), keep = at->pte & (fmt->accessed | fmt->dirty);
    if (f->write && area_is_private(f->a) && !(at->pte & fmt->write)) {
        KERNEL_COUNT(k, f->p, cow_reuses);
        kernel_emit(k, KEVENT_COW, f->p->pid, f->va, ppn, ppn);
    } else {
        KERNEL_COUNT(k, f->p, spurious_faults);
        f->served = SERVED_SPURIOUS;
    }
    dram_put(&k->hw->mem, at->pa, fmt->bytes, pte_leaf(fmt, ppn, prot, at->level) | keep);
    kernel_invalidate(k, f->s, f->va);
}

/* The page is there, but its entry does not allow the access: a write met a page that
 * may be shared, or the entry is behind the area. */
static vm_status fault_present(kernel *k, fault_page *f, vm_error *e)
{
    uint64_t ppn = pte_ppn(k->hw->g.format, f->pte);
    frame *r = frames_at(&k->frames, ppn);
    if (r->use == FRAME_ZERO && f->write)
        return fault_zero(k, f, e);
    unsigned prot = page_prot(f->a, r, page_holders(k, r));
    if (f->write && !(prot & PROT_W))
        return f->a->level ? fault_large(k, f, ppn, e) : fault_copy(k, f, ppn, e);
    if (f->write && r->use == FRAME_FILE) {
        vm_status st = file_make_room(k, f->a->file, r->index, e);
        if (st != VM_OK)
            return st;
    }
    fault_mend(k, f, &(pt_place){f->pte_pa, f->pte, r->level}, prot);
    return VM_OK;
}

/* In a large page of private memory: if nobody shares any of it the entry is mended, else
 * it is split, and the access is that of a base page. True: it was served. */
static bool fault_huge_present(kernel *k, fault_page *f)
{
    pt_place at;
    if (!huge_at(k, f->s, f->va, &at))
        return false;
    unsigned prot = huge_prot(k, f->a, &at);
    if (f->write && !(prot & PROT_W)) {
        huge_split(k, f->s, f->va, &at);
        return false;
    }
    fault_mend(k, f, &at, prot);
    return true;
}

static vm_status fault_serve(kernel *k, fault_page *f, vm_error *e)
{
    const pt_geometry *g = &k->hw->g;
    uint64_t slot;
    vm_status st = frames_map_reserve(&k->frames, 1, e);
    if (st == VM_OK && !f->a->level && fault_huge_present(k, f))
        return VM_OK;
    if (st == VM_OK)
        st = kernel_make_tables(k, f->s, f->va, f->a->level, &f->pte_pa, e);
    if (st != VM_OK)
        return st;
    f->pte = fault_entry(k, f);
    if ((f->pte & g->format->present) && pte_is_leaf(g->format, f->pte, f->a->level))
        return fault_present(k, f, e);
    if (f->a->level)
        return fault_large_page(k, f, e);
    if (!f->pte && huge_fault(k, f->p, f->a, f->va, f->pte_pa, f->write))
        return VM_OK;
    if (pte_is_swapped(g->format, f->pte, &slot))
        return fault_swapped(k, f, (uint32_t)slot, e);
    return f->a->file ? fault_file(k, f, e) : fault_zero(k, f, e);
}

/* What the hardware lets through once the page is there. The kernel grants the
 * same before, so that what a program may do does not depend on which of its
 * pages are in memory: without a bit against it, what can be read can be executed. */
static unsigned fault_granted(const pte_format *f, const area *a)
{
    return a->prot ? pte_prot(f, pte_leaf(f, 0, area_pte_prot(a), a->level)) : 0;
}

static vm_status fault_kill(fault_info *info, const char *signal, const char *code, vm_error *e)
{
    info->signal = signal;
    info->code = code;
    /* A fault may be mended thousands of times a second: the text is not printed. */
    if (e) {
        e->status = VM_FAULT;
        memcpy(e->text, signal, strlen(signal) + 1);
    }
    return VM_FAULT;
}

/* Processes that use the space. One that execve is about to replace has a user that
 * does not count: to end the others would give nothing back. */
static bool fault_may_end(const kernel *k, const space *s)
{
    uint32_t users = 0;
    for (size_t i = 1; i < k->process_count; i++)
        users += k->processes[i]->space == s;
    return users == s->users;
}

/* Memory and swap are used up: the process that has most of both ends. False: it is
 * the one that asks. */
static bool fault_make_victim(kernel *k, const process *asks)
{
    const space *worst = asks->space;
    for (size_t i = 1; i < k->space_count; i++) {
        const space *s = k->spaces[i];
        if (s && s->owner && s->resident + s->swapped > worst->resident + worst->swapped &&
            fault_may_end(k, s))
            worst = s;
    }
    if (worst == asks->space)
        return false;
    k->n.oom_kills++;
    kernel_emit(k, KEVENT_OOM, worst->owner, 0, worst->resident, 0);
    for (size_t i = 1; i < k->process_count; i++)
        if (k->processes[i]->space == worst)
            process_exit(k, k->processes[i], -1, "SIGKILL");
    return true;
}

static vm_status fault_area(kernel *k, process *p, const area *a, uint64_t va, bool write,
                            fault_served *served, fault_info *info, vm_error *e)
{
    for (;;) {
        fault_page f = {.p = p, .s = p->space, .a = a, .write = write};
        f.va = align_down(va, UINT64_C(1) << k->hw->g.shift[a->level]);
        vm_status st = fault_serve(k, &f, e);
        *served = f.served;
        if (st == VM_REFUSED)
            return fault_kill(info, "SIGBUS", e->sys == ENXIO ? "ADRERR" : "OBJERR", e);
        if (st != VM_FAULT)
            return st;
        if (fault_make_victim(k, p))
            continue;
        kernel_emit(k, KEVENT_OOM, p->pid, 0, p->space->resident, 0);
        return fault_kill(info, "SIGKILL", "OOM", e);
    }
}

vm_status kernel_fault(kernel *k, process *p, uint64_t va, access_kind kind, mmu_fault why,
                       fault_info *info, vm_error *e)
{
    static const uint8_t needs[] = {
        [ACCESS_FETCH] = PROT_X, [ACCESS_LOAD] = PROT_R, [ACCESS_STORE] = PROT_W};
    vm_error own;
    fault_served served;
    k->n.faults++;
    k->interrupted = 0;
    *info = (fault_info){.addr = va, .access = kind, .pid = p->pid};
    if (why == MMU_BUS)
        return fault_kill(info, "SIGBUS", "ADRERR", e);
    if (why == MMU_UNKNOWN)
        return fault_kill(info, "SIGSEGV", "UNKNOWN", e);
    const area *a = why == MMU_NONCANONICAL ? NULL : area_find(&p->space->areas, va);
    if (!a && why != MMU_NONCANONICAL && space_grow_stack(k, p->space, va)) {
        a = area_find(&p->space->areas, va);
        KERNEL_COUNT(k, p, stack_grows);
    }
    if (!a) { /* all of the kernel's part is forbidden: what of it is mapped, nobody learns */
        bool kernels = k->boot.mapped && why != MMU_NONCANONICAL && va >= space_user_top(k);
        return fault_kill(info, "SIGSEGV", kernels ? "ACCERR" : "MAPERR", e);
    }
    if (!(fault_granted(k->hw->g.format, a) & needs[kind]))
        return fault_kill(info, "SIGSEGV", "ACCERR", e);
    vm_status st = fault_area(k, p, a, va, kind == ACCESS_STORE, &served, info, e ? e : &own);
    if (st == VM_OK && served == SERVED_MAJOR)
        KERNEL_COUNT(k, p, major_faults);
    else if (st == VM_OK && served == SERVED_MINOR)
        KERNEL_COUNT(k, p, minor_faults);
    if (st != VM_OK)
        return st;
    huge_background(k);
    return load_look(k, e ? e : &own);
}

vm_status kernel_populate(kernel *k, process *p, uint64_t va, fault_info *info, vm_error *e)
{
    const area *a = area_find(&p->space->areas, va);
    const pt_geometry *g = &k->hw->g;
    vm_error own;
    fault_served served;
    *info = (fault_info){.addr = va, .access = ACCESS_LOAD, .pid = p->pid};
    if (!a || !a->prot)
        return VM_OK;
    pt_place at = {0};
    if (p->space->root_ok)
        at = pt_lookup(g, &k->hw->mem, p->space->root, va);
    if (at.pte & g->format->present && pte_is_leaf(g->format, at.pte, at.level))
        return VM_OK;
    /* As a read, but where that would bring the page of zeros. */
    bool write = a->prot & PROT_W && area_is_private(a) && !a->file;
    return fault_area(k, p, a, va, write, &served, info, e ? e : &own);
}
