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
    return VM_OK;
}

static void tables_free(kernel *k, space *s, uint64_t table, unsigned level)
{
    const pt_geometry *g = &k->hw->mmu.g;
    unsigned bytes = g->format->bytes;
    uint64_t n = align_up(pt_table_bytes(g, level), kernel_page(k)) >> g->page_bits;
    for (uint64_t i = 0; level > 0 && i < UINT64_C(1) << g->bits[level]; i++) {
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
    kernel_invalidate(k, s, va); /* paging-structure caches may know the way */
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
