/* tables.c: the upkeep of a space's page tables: making and freeing them, going
 * from entry to entry, releasing what an entry holds.
 *
 * Whoever makes or frees a table raises the MMU's generation, so that no walk is
 * remembered that led through it.
 */
#include "kernel.h"

static vm_status tables_new(kernel *k, space *s, unsigned level, uint64_t *pa, vm_error *e)
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
        vm_status st = tables_new(k, s, g->levels - 1, &s->root, e);
        if (st != VM_OK)
            return st;
        s->root_ok = 1;
        if (k->running == s)
            k->hw->mmu.root = s->root;
        st = half_enter(k, s, e);
        if (st != VM_OK)
            return st;
    }
    uint64_t table = s->root;
    for (unsigned at = g->levels - 1; at > level; at--) {
        uint64_t pa = pt_entry_pa(g, table, va, at);
        uint64_t pte = dram_get(&k->hw->mem, pa, g->format->bytes);
        if (!(pte & g->format->present)) {
            uint64_t below;
            vm_status st = tables_new(k, s, at - 1, &below, e);
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
    /* so that setting the entry can't fail */
    return dram_commit(&k->hw->mem, *pte_pa) ? VM_OK : vm_fail_nomem(e, "a page table");
}

static void tables_free(kernel *k, space *s, uint64_t table, unsigned level)
{
    const pt_geometry *g = &k->hw->mmu.g;
    unsigned bytes = g->format->bytes;
    uint64_t n = align_up(pt_table_bytes(g, level), kernel_page(k)) >> g->page_bits;
    bool root = level == g->levels - 1;
    /* The kernel's part belongs to all spaces. */
    uint64_t stop = root && k->boot.mapped ? k->boot.first : UINT64_C(1) << g->bits[level];
    for (uint64_t i = 0; level > 0 && i < stop; i++) {
        uint64_t pte = dram_get(&k->hw->mem, table + i * bytes, bytes);
        if ((pte & g->format->present) && !pte_is_leaf(g->format, pte, level))
            tables_free(k, s, pte_ppn(g->format, pte) << g->page_bits, level - 1);
    }
    k->hw->mmu.generation++;
    dram_clear(&k->hw->mem, table, n << g->page_bits);
    frames_give(&k->frames, table >> g->page_bits, n);
    s->tables -= n;
}

/* Base pages were where a large one comes: their tables are empty, and go. */
void kernel_drop_tables(kernel *k, space *s, uint64_t va, unsigned level, uint64_t pte_pa)
{
    const pt_geometry *g = &k->hw->mmu.g;
    uint64_t pte = dram_get(&k->hw->mem, pte_pa, g->format->bytes);
    if (!(pte & g->format->present))
        return;
    tables_free(k, s, pte_ppn(g->format, pte) << g->page_bits, level - 1);
    dram_put(&k->hw->mem, pte_pa, g->format->bytes, 0);
    kernel_invalidate(k, s, va);
    if (kernel_may_cache(k, s))
        mmu_forget_tables(&k->hw->mmu, va, level, s->asid);
}

/* All pages must be gone. */
void kernel_free_tables(kernel *k, space *s)
{
    if (s->root_ok)
        tables_free(k, s, s->root, k->hw->mmu.g.levels - 1);
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

void kernel_release(kernel *k, space *s, uint64_t va, const pt_place *at)
{
    const pte_format *f = k->hw->mmu.g.format;
    uint64_t slot;
    dram_put(&k->hw->mem, at->pa, f->bytes, 0);
    if (at->pte & f->present) {
        page_unmap(k, s, va, at->pa, at->pte);
    } else if (pte_is_swapped(f, at->pte, &slot)) {
        s->swapped--;
        page_drop_slot(k, (uint32_t)slot);
    }
}

void kernel_release_range(kernel *k, space *s, uint64_t start, uint64_t stop)
{
    pt_place at;
    for (uint64_t va = start; (va = kernel_next_entry(k, s, va, stop, &at)) < stop;) {
        kernel_release(k, s, va, &at);
        va = (va | low_mask(k->hw->mmu.g.shift[at.level])) + 1;
    }
}

/* --- fork ------------------------------------------------------------------------ */

/* The child gets what the parent's entry has; a private page neither may write now. */
static void tables_copy_entry(kernel *k, space *to, const area *a, uint64_t va, uint64_t pa,
                              uint64_t to_pa)
{
    const pt_geometry *g = &k->hw->mmu.g;
    const pte_format *f = g->format;
    uint64_t pte = dram_get(&k->hw->mem, pa, f->bytes), slot;
    k->n.fork_pages++;
    if (!(pte & f->present)) {
        if (pte_is_swapped(f, pte, &slot)) {
            swap_at(&k->swap, (uint32_t)slot)->users++;
            to->swapped++;
            dram_put(&k->hw->mem, to_pa, f->bytes, pte);
        }
        return;
    }
    uint64_t ppn = pte_ppn(f, pte);
    const frame *r = frames_at(&k->frames, ppn);
    if (r->use == FRAME_PINNED)
        return;
    if (area_is_private(a) && pte & f->write) {
        pte &= ~f->write;
        dram_put(&k->hw->mem, pa, f->bytes, pte);
    }
    page_map(k, to, a, va, to_pa, ppn, pte_prot(f, pte));
}

/* The entries of one leaf table of the parent's, whose first maps va. */
static vm_status tables_copy_leaf(kernel *k, space *from, space *to, const area *a, uint64_t va,
                                  uint64_t stop, vm_error *e)
{
    const pt_geometry *g = &k->hw->mmu.g;
    uint64_t page = kernel_page(k), to_pa;
    vm_status st = frames_map_reserve(&k->frames, (size_t)((stop - va) / page), e);
    if (st == VM_OK)
        st = kernel_make_tables(k, to, va, 0, &to_pa, e);
    if (st != VM_OK)
        return st;
    /* Making tables may have evicted pages; nothing does from here on. */
    uint64_t pa = pt_lookup(g, &k->hw->mem, from->root, va).pa;
    for (; va < stop; va += page, pa += g->format->bytes, to_pa += g->format->bytes)
        if (dram_get(&k->hw->mem, pa, g->format->bytes))
            tables_copy_entry(k, to, a, va, pa, to_pa);
    return VM_OK;
}

static vm_status tables_copy_large(kernel *k, space *to, const area *a, uint64_t va,
                                   const pt_place *at, vm_error *e)
{
    uint64_t to_pa;
    vm_status st = frames_map_reserve(&k->frames, 1, e);
    if (st == VM_OK)
        st = kernel_make_tables(k, to, va, at->level, &to_pa, e);
    if (st == VM_OK)
        tables_copy_entry(k, to, a, va, at->pa, to_pa);
    return st;
}

static vm_status tables_copy_area(kernel *k, space *from, space *to, const area *a, vm_error *e)
{
    const pt_geometry *g = &k->hw->mmu.g;
    uint64_t leaf = UINT64_C(1) << (g->shift[0] + g->bits[0]);
    pt_place at;
    for (uint64_t va = a->start; (va = kernel_next_entry(k, from, va, a->stop, &at)) < a->stop;) {
        vm_status st;
        uint64_t stop = align_down(va, leaf) + leaf;
        stop = stop < a->stop ? stop : a->stop;
        if (at.level) {
            stop = va + (UINT64_C(1) << g->shift[at.level]);
            st = tables_copy_large(k, to, a, va, &at, e);
        } else {
            st = tables_copy_leaf(k, from, to, a, va, stop, e);
        }
        if (st != VM_OK)
            return st;
        va = stop;
    }
    return VM_OK;
}

vm_status kernel_copy_tables(kernel *k, space *from, space *to, vm_error *e)
{
    vm_status st = VM_OK;
    for (const area *a = from->areas.first; a && st == VM_OK; a = a->next)
        st = tables_copy_area(k, from, to, a, e);
    if (kernel_may_cache(k, from)) { /* what the parent may write has changed, even so far */
        mmu_flush_asid(&k->hw->mmu, from->asid);
        k->n.flushes++;
    }
    return st;
}
