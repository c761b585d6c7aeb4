/* tables.c: the upkeep of a space's page tables: making and freeing them, going
 * from entry to entry, releasing what an entry holds.
 *
 * Whoever makes or frees a table raises the MMU's generation, so that no walk is
 * remembered that led through it.
 */
#include "kernel.h"
#include "rmap.h"

static vm_status tables_new(kernel *k, space *s, unsigned level, uint64_t *pa, vm_error *e)
{
    uint64_t n = kernel_table_frames(k, level), ppn;
    vm_status st = reclaim_take(k, s, n, 1, FRAME_TABLE, &ppn, e);
    if (st != VM_OK)
        return st;
    s->tables += n;
    hardware_tables_changed(k->hw);
    *pa = ppn << k->hw->g.page_bits;
    return VM_OK;
}

vm_status kernel_make_tables(kernel *k, space *s, uint64_t va, unsigned level, uint64_t *pte_pa,
                             vm_error *e)
{
    const pt_geometry *g = &k->hw->g;
    if (!s->root_ok) {
        vm_status st = tables_new(k, s, g->levels - 1, &s->root, e);
        if (st != VM_OK)
            return st;
        s->root_ok = 1;
        kernel_new_root(k, s);
        st = half_enter(k, s, e);
        if (st != VM_OK)
            return st;
    }
    uint64_t table = s->root;
    for (unsigned at = g->levels - 1; at > level; at--) {
        uint64_t pa = pt_entry_pa(g, table, va, at);
        if (at == 1) { /* what is to be below a transparent large page splits it */
            pt_place large;
            if (huge_at(k, s, va, &large))
                huge_split(k, s, va, &large);
        }
        uint64_t pte = dram_get(&k->hw->mem, pa, g->format->bytes);
        if (!(pte & g->format->present)) {
            uint64_t below;
            vm_status st = tables_new(k, s, at - 1, &below, e);
            if (st != VM_OK)
                return st;
            pte = pte_table(g->format, below >> g->page_bits);
            if (!dram_put(&k->hw->mem, pa, g->format->bytes, pte)) {
                uint64_t n = kernel_table_frames(k, at - 1);
                page_give_back(k, below >> g->page_bits, n);
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
    const pt_geometry *g = &k->hw->g;
    unsigned bytes = g->format->bytes;
    uint64_t n = kernel_table_frames(k, level);
    bool root = level == g->levels - 1;
    /* The kernel's part belongs to all spaces. */
    uint64_t stop = root && k->boot.mapped ? k->boot.first : UINT64_C(1) << g->bits[level];
    for (uint64_t i = 0; level > 0 && i < stop; i++) {
        uint64_t pte = dram_get(&k->hw->mem, table + i * bytes, bytes);
        if ((pte & g->format->present) && !pte_is_leaf(g->format, pte, level))
            tables_free(k, s, pte_ppn(g->format, pte) << g->page_bits, level - 1);
    }
    hardware_tables_changed(k->hw);
    page_give_back(k, table >> g->page_bits, n);
    s->tables -= n;
}

/* Base pages were where a large one comes: their tables are empty, and go. */
void kernel_drop_tables(kernel *k, space *s, uint64_t va, unsigned level, uint64_t pte_pa)
{
    const pt_geometry *g = &k->hw->g;
    uint64_t pte = dram_get(&k->hw->mem, pte_pa, g->format->bytes);
    if (!(pte & g->format->present))
        return;
    tables_free(k, s, pte_ppn(g->format, pte) << g->page_bits, level - 1);
    dram_put(&k->hw->mem, pte_pa, g->format->bytes, 0);
    kernel_invalidate(k, s, va);
    kernel_forget_tables(k, s, va, level);
}

/* All pages must be gone. */
void kernel_free_tables(kernel *k, space *s)
{
    if (s->root_ok)
        tables_free(k, s, s->root, k->hw->g.levels - 1);
    s->root_ok = 0;
    s->root = 0;
}

bool entries_next(entry_walk *w)
{
    const pt_geometry *g = &w->k->hw->g;
    while (w->next < w->stop && w->s->root_ok) {
        w->va = w->next;
        if (w->va < w->leaf) {
            w->at.pa += g->format->bytes;
            w->at.pte = dram_get(&w->k->hw->mem, w->at.pa, g->format->bytes);
        } else {
            w->at = pt_lookup(g, &w->k->hw->mem, w->s->root, w->va);
            w->leaf = w->at.level ? 0 : (w->va | low_mask(g->shift[0] + g->bits[0])) + 1;
        }
        w->next = (w->va | low_mask(g->shift[w->at.level])) + 1;
        if (w->next <= w->va)
            w->next = w->stop;
        if (w->at.pte)
            return true;
    }
    return false;
}

void kernel_release(kernel *k, space *s, uint64_t va, const pt_place *at)
{
    const pte_format *f = k->hw->g.format;
    uint64_t slot;
    if (!at->level)
        rmap_settle_entry(k, at->pa, kernel_vpn(k, va));
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
    if (s->watch)
        s->watch->released(s->watch, start, stop);
    huge_cut(k, s, start);
    huge_cut(k, s, stop);
    for (entry_walk w = entries_of(k, s, start, stop); entries_next(&w);) {
        uint64_t end = 0;
        if (k->batch_count && !w.at.level)
            end = rmap_drop(k, s, w.at.pa, w.va, start, stop);
        if (end) {
            w.next = end;
            w.leaf = 0;
        } else {
            kernel_release(k, s, w.va, &w.at);
        }
    }
}

/* --- fork ------------------------------------------------------------------------ */

/* What the copying of entries is to know, and counts. */
typedef struct table_copy {
    uint64_t kept;    /* bits of a present entry that the child's has: not A and D */
    uint64_t taken;   /* bits that the parent's loses: to write, of private pages */
    uint64_t entries; /* that were not zero */
    uint32_t pages;   /* frames that the child maps now */
} table_copy;

/* An entry that is not present, or one that somebody set by hand, whose frame is nobody
 * else's. */
static void tables_copy_rare(kernel *k, space *to, uint64_t pte, uint8_t *at)
{
    const pte_format *f = k->hw->g.format;
    uint64_t slot;
    if (!pte_is_swapped(f, pte, &slot))
        return;
    swap_at(&k->swap, (uint32_t)slot)->users++;
    to->swapped++;
    dram_store(at, f->bytes, pte);
}

/* n entries that lie in one block on both sides. */
VM_INLINE void tables_copy_run(kernel *k, space *to, table_copy *c, uint8_t *from, uint8_t *at,
                               uint64_t n, const unsigned bytes)
{
    const pte_format *f = k->hw->g.format;
    const uint64_t present = f->present, ppn_mask = f->ppn_mask, kept = c->kept, taken = c->taken;
    const uint64_t zero =
        k->zero_ppn == FRAME_NONE ? UINT64_MAX : k->zero_ppn << f->ppn_shift & ppn_mask;
    const bool by_hand = k->by_hand;
    uint64_t entries = 0;
    uint32_t pages = 0;
    for (; n; n--, from += bytes, at += bytes) {
        uint64_t pte = dram_load(from, bytes);
        entries += pte != 0;
        if (VM_UNLIKELY(!(pte & present)) ||
            (VM_UNLIKELY(by_hand) && frames_at(&k->frames, pte_ppn(f, pte))->use == FRAME_PINNED)) {
            tables_copy_rare(k, to, pte, at);
            continue;
        }
        pages += (pte & ppn_mask) != zero;
        dram_store(from, bytes, pte & ~taken);
        dram_store(at, bytes, pte & kept);
    }
    c->entries += entries;
    c->pages += pages;
}

/* The entries of one leaf table of the parent's, whose first maps va. */
static vm_status tables_copy_leaf(kernel *k, space *from, space *to, const area *a, uint64_t va,
                                  uint64_t stop, vm_error *e)
{
    const pt_geometry *g = &k->hw->g;
    const pte_format *f = g->format;
    dram *mem = &k->hw->mem;
    const uint64_t n = (stop - va) >> g->page_bits, vpn = kernel_vpn(k, va);
    uint64_t to_pa;
    vm_status st = rmap_reserve(k, (size_t)n, e);
    if (st == VM_OK)
        st = kernel_make_tables(k, to, va, 0, &to_pa, e);
    if (st == VM_OK && !page_commit(k, to_pa, n * f->bytes))
        st = vm_fail_nomem(e, "a page table");
    if (st != VM_OK)
        return st;
    /* Making tables may have evicted pages; nothing does from here on. */
    uint64_t pa = pt_lookup(g, mem, from->root, va).pa;
    if (!rmap_open(k, pa, to_pa, vpn))
        rmap_settle_entry(k, pa, vpn);
    table_copy c = {.taken = area_is_private(a) ? f->write : 0};
    c.kept = (f->present | f->ppn_mask | f->read | f->write | f->exec | f->no_exec | f->user |
              f->global) &
             ~c.taken;
    for (uint64_t done = 0, part; done < n; done += part) {
        uint64_t x = pa + done * f->bytes, y = to_pa + done * f->bytes;
        uint64_t in = (x & (DRAM_BLOCK - 1)) > (y & (DRAM_BLOCK - 1)) ? x : y;
        part = (DRAM_BLOCK - (in & (DRAM_BLOCK - 1))) / f->bytes;
        part = part < n - done ? part : n - done;
        uint8_t *src = dram_block(mem, x), *dst = dram_block(mem, y);
        if (!src) /* entries that were never written */
            continue;
        src += x & (DRAM_BLOCK - 1);
        dst += y & (DRAM_BLOCK - 1);
        if (f->bytes == 8)
            tables_copy_run(k, to, &c, src, dst, part, 8);
        else
            tables_copy_run(k, to, &c, src, dst, part, 4);
    }
    k->n.fork_pages += c.entries;
    to->resident += c.pages;
    if (c.pages)
        rmap_put_off(k, to, vpn, pa, to_pa, (uint32_t)n, c.pages);
    return VM_OK;
}

static vm_status tables_copy_large(kernel *k, space *to, const area *a, uint64_t va,
                                   const pt_place *at, vm_error *e)
{
    uint64_t to_pa;
    vm_status st = frames_map_reserve(&k->frames, 1, e);
    if (st == VM_OK)
        st = kernel_make_tables(k, to, va, at->level, &to_pa, e);
    if (st == VM_OK) {
        const pte_format *f = k->hw->g.format;
        uint64_t pte = dram_get(&k->hw->mem, at->pa, f->bytes);
        pte &= area_is_private(a) ? ~f->write : UINT64_MAX;
        page_map(k, to, a, va, to_pa, pte_ppn(f, pte), pte_prot(f, pte));
        dram_put(&k->hw->mem, at->pa, f->bytes, pte);
        k->n.fork_pages++;
    }
    return st;
}

static vm_status tables_copy_area(kernel *k, space *from, space *to, const area *a, vm_error *e)
{
    for (entry_walk w = entries_of(k, from, a->start, a->stop); entries_next(&w);) {
        vm_status st;
        if (huge_span(k, &w.at) > 1) {
            bool again;
            st = huge_copy(k, from, to, a, w.va, &again, e);
            if (again)
                entries_again(&w);
        } else if (w.at.level) {
            st = tables_copy_large(k, to, a, w.va, &w.at, e);
        } else { /* the whole leaf table at once */
            w.next = w.leaf < a->stop ? w.leaf : a->stop;
            st = tables_copy_leaf(k, from, to, a, w.va, w.next, e);
        }
        if (st != VM_OK)
            return st;
    }
    return VM_OK;
}

vm_status kernel_copy_tables(kernel *k, space *from, space *to, vm_error *e)
{
    vm_status st = VM_OK;
    for (const area *a = to->areas.first; a && st == VM_OK; a = a->next)
        st = tables_copy_area(k, from, to, a, e);
    k->n.flushes += kernel_flush(k, from); /* what the parent may write has changed, even so far */
    return st;
}
