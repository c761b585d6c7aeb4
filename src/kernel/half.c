/* half.c: the kernel's part of every space: the frames and tables that it is made of,
 * a new space's entries into it, a kernel stack for each process, and the walk of its
 * invariants (boot.h says what they are).
 *
 * Frames come from the top of the low region downwards, as long as one is free there,
 * so that what users get from the bottom up is where it would be without a kernel.
 * Tables that are made after the boot, for more stacks, go when they are empty; those
 * of the boot never are.
 */
#include "kernel.h"

/* --- frames and entries ---------------------------------------------------------------- */

/* n frames for the kernel, zeroed: the highest of the low region, else any. */
static vm_status half_take(kernel *k, uint64_t n, uint64_t *ppn, vm_error *e)
{
    boot_state *b = &k->boot;
    for (uint64_t stop = b->hint; stop >= n; stop--) {
        uint64_t at = stop - n, have = 0;
        while (have < n && frames_is_free(&k->frames, at + have))
            have++;
        if (have < n)
            continue;
        vm_status st = frames_reserve(&k->frames, at, n, e);
        if (st != VM_OK)
            return st;
        frames_take(&k->frames, at, n, FRAME_KERNEL);
        b->hint = at;
        *ppn = at;
        return VM_OK;
    }
    b->hint = 0;
    return reclaim_take(k, NULL, n, 1, FRAME_KERNEL, ppn, e);
}

void half_give(kernel *k, uint64_t ppn, uint64_t n)
{
    page_give_back(k, ppn, n);
    if (ppn + n <= k->boot.low >> k->hw->g.page_bits && ppn + n > k->boot.hint)
        k->boot.hint = ppn + n;
}

/* An entry that names a table of the supervisor's. */
uint64_t half_table_entry(const kernel *k, uint64_t table)
{
    const pt_geometry *g = &k->hw->g;
    return pte_table(g->format, table >> g->page_bits) & ~g->format->user;
}

uint64_t half_get(const kernel *k, uint64_t pa)
{
    return dram_get(&k->hw->mem, pa, k->hw->g.format->bytes);
}

uint64_t half_root_entry(const kernel *k, uint64_t root, uint64_t index)
{
    return root + index * k->hw->g.format->bytes;
}

/* First address of a root entry. */
uint64_t half_root_va(const kernel *k, uint64_t index)
{
    const pt_geometry *g = &k->hw->g;
    uint64_t va = index << g->shift[g->levels - 1];
    return g->canonical ? sign_extend(va, g->va_bits) : va;
}

static vm_status half_put(kernel *k, uint64_t pa, uint64_t now, vm_error *e)
{
    return dram_put(&k->hw->mem, pa, k->hw->g.format->bytes, now)
               ? VM_OK
               : vm_fail_nomem(e, "a page table of the kernel");
}

/* The same, noted. */
vm_status half_write(kernel *k, uint64_t va, unsigned level, uint64_t pa, uint64_t now, vm_error *e)
{
    boot_item item = {.kind = BOOT_ENTRY,
                      .level = (uint8_t)level,
                      .va = va,
                      .pa = pa,
                      .was = half_get(k, pa),
                      .now = now};
    vm_status st = half_put(k, pa, now, e);
    return st == VM_OK ? boot_note(k, item, e) : st;
}

static void half_table_give(kernel *k, uint64_t table, unsigned level)
{
    uint64_t n = kernel_table_frames(k, level);
    k->boot.tables -= n;
    half_give(k, table >> k->hw->g.page_bits, n);
}

vm_status half_table(kernel *k, uint64_t va, unsigned level, uint64_t *pa, vm_error *e)
{
    uint64_t n = kernel_table_frames(k, level), bits = k->hw->g.page_bits, ppn;
    vm_status st = half_take(k, n, &ppn, e);
    if (st != VM_OK)
        return st;
    *pa = ppn << bits;
    k->boot.tables += n;
    hardware_tables_changed(k->hw);
    if (k->boot.booted)
        return VM_OK;
    st = boot_note(
        k,
        (boot_item){
            .kind = BOOT_TABLE, .level = (uint8_t)level, .va = va, .pa = *pa, .now = n << bits},
        e);
    if (st != VM_OK)
        half_table_give(k, *pa, level);
    return st;
}

/* All spaces get a root entry that was made after them. */
static vm_status half_spread(kernel *k, uint64_t index, uint64_t entry, vm_error *e)
{
    for (size_t i = 1; i < k->space_count; i++)
        if (k->spaces[i] && k->spaces[i]->root_ok &&
            !dram_commit(&k->hw->mem, half_root_entry(k, k->spaces[i]->root, index)))
            return vm_fail_nomem(e, "a page table");
    for (size_t i = 1; i < k->space_count; i++)
        if (k->spaces[i] && k->spaces[i]->root_ok)
            dram_put(&k->hw->mem, half_root_entry(k, k->spaces[i]->root, index),
                     k->hw->g.format->bytes, entry);
    return VM_OK;
}

/* A table that is made after the boot goes into the tree, or back. */
static vm_status half_hang(kernel *k, uint64_t va, unsigned at, uint64_t pa, uint64_t below,
                           vm_error *e)
{
    const pt_geometry *g = &k->hw->g;
    uint64_t entry = half_table_entry(k, below);
    vm_status st = dram_commit(&k->hw->mem, pa) ? VM_OK : vm_fail_nomem(e, "a page table");
    if (st == VM_OK && at == g->levels - 1)
        st = half_spread(k, pt_index(g, va, at), entry, e);
    if (st == VM_OK)
        return half_put(k, pa, entry, e);
    half_table_give(k, below, at - 1);
    return st;
}

/* Where the entry of va at `level` is in the kernel's tables; those on the way are
 * made. */
vm_status half_make(kernel *k, uint64_t va, unsigned level, uint64_t *pte_pa, vm_error *e)
{
    const pt_geometry *g = &k->hw->g;
    uint64_t table = k->boot.root;
    for (unsigned at = g->levels - 1; at > level; at--) {
        uint64_t pa = pt_entry_pa(g, table, va, at), below, pte = half_get(k, pa);
        if (!(pte & g->format->present)) {
            vm_status st = half_table(k, va, at - 1, &below, e);
            if (st != VM_OK)
                return st;
            pte = half_table_entry(k, below);
            st = k->boot.booted ? half_hang(k, va, at, pa, below, e)
                                : half_write(k, va, at, pa, pte, e);
            if (st != VM_OK)
                return st;
        }
        table = pte_ppn(g->format, pte) << g->page_bits;
    }
    *pte_pa = pt_entry_pa(g, table, va, level);
    return VM_OK;
}

/* --- spaces and processes ---------------------------------------------------------------- */

vm_status half_enter(kernel *k, const space *s, vm_error *e)
{
    const boot_state *b = &k->boot;
    const pt_geometry *g = &k->hw->g;
    vm_status st = VM_OK;
    for (uint64_t i = b->first;
         b->mapped && st == VM_OK && i < UINT64_C(1) << g->bits[g->levels - 1]; i++) {
        uint64_t entry = half_get(k, half_root_entry(k, b->root, i));
        if (i == b->self)
            entry = half_table_entry(k, s->root);
        if (entry)
            st = half_put(k, half_root_entry(k, s->root, i), entry, e);
    }
    return st;
}

uint64_t half_stack_va(const kernel *k, const process *p)
{
    return k->boot.stacks + (2 * (uint64_t)p->stack_slot + 1) * kernel_page(k);
}

static bool half_is_empty(const kernel *k, uint64_t table, unsigned level)
{
    const pt_geometry *g = &k->hw->g;
    for (uint64_t i = 0; i < UINT64_C(1) << g->bits[level]; i++)
        if (half_get(k, table + i * g->format->bytes))
            return false;
    return true;
}

/* The tables on the way to va that are empty go, the lowest first. */
static void half_prune(kernel *k, uint64_t va)
{
    const pt_geometry *g = &k->hw->g;
    const unsigned top = g->levels - 1;
    for (unsigned level = 0; level < top; level++) {
        uint64_t table = k->boot.root, pa = 0, pte = g->format->present;
        for (unsigned at = top; at > level && pte & g->format->present; at--) {
            pa = pt_entry_pa(g, table, va, at);
            pte = half_get(k, pa);
            table = pte_ppn(g->format, pte) << g->page_bits;
        }
        if (!(pte & g->format->present)) /* it was not made */
            continue;
        if (!half_is_empty(k, table, level))
            return;
        dram_put(&k->hw->mem, pa, g->format->bytes, 0);
        if (level + 1 == top)
            half_spread(k, pt_index(g, va, top), 0, NULL); /* their roots are there */
        for (size_t i = 1; i < k->space_count; i++)
            if (k->spaces[i])
                kernel_forget_tables(k, k->spaces[i], va, level + 1);
        half_table_give(k, table, level);
        hardware_tables_changed(k->hw);
    }
}

vm_status half_stack_take(kernel *k, process *p, vm_error *e)
{
    boot_state *b = &k->boot;
    const pt_geometry *g = &k->hw->g;
    uint64_t pte_pa, ppn;
    p->stack_slot = NUMBER_NONE;
    if (!b->mapped)
        return VM_OK;
    vm_status st = pool_take(&b->slots, &p->stack_slot, e);
    if (st == VM_OK && p->stack_slot == NUMBER_NONE)
        st = vm_fail(e, VM_FAULT, "no place for another kernel stack");
    if (st != VM_OK)
        return st;
    st = half_make(k, half_stack_va(k, p), 0, &pte_pa, e);
    if (st == VM_OK)
        st = half_take(k, 1, &ppn, e);
    if (st == VM_OK) {
        st = half_put(k, pte_pa, pte_leaf(g->format, ppn, PROT_R | PROT_W | PROT_GLOBAL, 0), e);
        if (st != VM_OK)
            half_give(k, ppn, 1);
    }
    if (st != VM_OK) {
        half_prune(k, half_stack_va(k, p));
        pool_give(&b->slots, p->stack_slot);
        p->stack_slot = NUMBER_NONE;
    }
    return st;
}

void half_stack_give(kernel *k, process *p)
{
    const pt_geometry *g = &k->hw->g;
    if (p->stack_slot == NUMBER_NONE)
        return;
    const uint64_t va = half_stack_va(k, p);
    pt_place at = pt_lookup(g, &k->hw->mem, k->boot.root, va);
    dram_put(&k->hw->mem, at.pa, g->format->bytes, 0);
    half_give(k, pte_ppn(g->format, at.pte), 1);
    pool_give(&k->boot.slots, p->stack_slot);
    p->stack_slot = NUMBER_NONE;
    half_prune(k, va);
}

/* --- invariants --------------------------------------------------------------------------- */

/* Every entry below a table of the kernel's: it maps its part of the low region, or a
 * stack; frames are counted. */
static const char *half_check_table(kernel *k, uint64_t table, unsigned level, uint64_t va,
                                    uint64_t *held)
{
    const pt_geometry *g = &k->hw->g;
    const pte_format *f = g->format;
    const boot_state *b = &k->boot;
    const char *broken = NULL;
    uint64_t first = level == g->levels - 1 ? b->first : 0;
    *held += kernel_table_frames(k, level);
    for (uint64_t i = first; i < UINT64_C(1) << g->bits[level] && !broken; i++) {
        uint64_t pte = half_get(k, table + i * f->bytes), at = va | i << g->shift[level];
        if (level == g->levels - 1)
            at = half_root_va(k, i);
        if (level == g->levels - 1 && b->self && i == b->self) {
            if (pte_ppn(f, pte) << g->page_bits != b->root)
                return "boot: the directory does not map itself";
            continue;
        }
        if (!(pte & f->present))
            continue;
        uint64_t ppn = pte_ppn(f, pte);
        const frame *r = frames_at(&k->frames, ppn);
        if (pte & f->user)
            return "boot: users may have a page of the kernel";
        if (!pte_is_leaf(f, pte, level)) {
            if (!r || r->use != FRAME_KERNEL)
                return "boot: a table of the kernel is not in a frame of its own";
            broken = half_check_table(k, ppn << g->page_bits, level - 1, at, held);
        } else if (at - b->base < b->low) {
            if (ppn << g->page_bits != at - b->base)
                return "boot: the low region is mapped to another place";
        } else {
            if (!r || r->use != FRAME_KERNEL)
                return "boot: a kernel stack is not in a frame of its own";
            *held += 1;
        }
    }
    return broken;
}

static const char *half_check_space(const kernel *k, const space *s)
{
    const pt_geometry *g = &k->hw->g;
    const boot_state *b = &k->boot;
    uint64_t known = g->format->accessed | g->format->dirty;
    for (uint64_t i = b->first; i < UINT64_C(1) << g->bits[g->levels - 1]; i++) {
        uint64_t want = half_get(k, half_root_entry(k, b->root, i));
        if (b->self && i == b->self)
            want = half_table_entry(k, s->root);
        if ((half_get(k, half_root_entry(k, s->root, i)) ^ want) & ~known)
            return "boot: a space has another kernel's part";
    }
    return NULL;
}

static const char *half_check_stacks(const kernel *k)
{
    const pt_geometry *g = &k->hw->g;
    uint64_t n = 0;
    for (size_t i = 1; i < k->process_count; i++) {
        const process *p = k->processes[i];
        if (p->stack_slot == NUMBER_NONE) {
            if (p->space)
                return "boot: a process has no kernel stack";
            continue;
        }
        pt_place at = pt_lookup(g, &k->hw->mem, k->boot.root, half_stack_va(k, p));
        if (!p->space || !(at.pte & g->format->present) || at.level)
            return "boot: a kernel stack is not mapped, or its process has ended";
        n++;
    }
    return n == k->boot.slots.used && pool_check(&k->boot.slots)
               ? NULL
               : "boot: the count of kernel stacks is wrong";
}

const char *half_check(kernel *k)
{
    const boot_state *b = &k->boot;
    const pt_geometry *g = &k->hw->g;
    uint64_t held = 0, used = 0;
    if (!b->mapped)
        return NULL;
    const char *broken = half_check_table(k, b->root, g->levels - 1, 0, &held);
    for (uint64_t i = 0; i < b->first && !broken; i++)
        if (half_get(k, half_root_entry(k, b->root, i)))
            broken = "boot: the identity mapping is still there";
    for (size_t i = 1; i < k->space_count && !broken; i++)
        if (k->spaces[i] && k->spaces[i]->root_ok)
            broken = half_check_space(k, k->spaces[i]);
    if (!broken)
        broken = half_check_stacks(k);
    for (uint64_t i = 0; i < k->frames.count && !broken; i++) {
        const frame *r = frames_at(&k->frames, i);
        used += r && r->use == FRAME_KERNEL;
        i |= r ? 0 : FRAME_CHUNK - 1;
    }
    if (!broken && (used != held || held != b->tables + b->slots.used))
        broken = "boot: the count of the kernel's frames is wrong";
    return broken;
}
