/* huge.c: transparent huge pages: a range of private memory that one PTE of level 1
 * maps, taken at a fault or made of base pages later (khugepaged's promotion), and
 * split into base pages again when a part of it goes its own way.
 *
 * The frames of such a page stay 2^n pages of their own: each is FRAME_ANON with its
 * record, key, reverse map and holders, and the policy rules over each. Only the
 * entry is common: `mapping.large` says that the PTE at pte_pa is the large one. So a
 * split moves no byte, asks no policy and changes no count; and sharing by fork,
 * copying on write and swap see base pages, after a split.
 *
 * A split must not fail, since munmap and eviction need it: as in Linux
 * (pgtable_trans_huge_deposit) each large page has a leaf table in deposit, empty, in
 * simulated memory that is there. A space's deposits are a list by frame.index.
 *
 * One A bit speaks for all base pages: whoever clears it says so in the records of the
 * others (frame.referenced). The D bit makes all of them dirty, until a split. What
 * base pages knew before a promotion stays in their records.
 *
 * Invariants: a transparent large page is in one area, private and without a file;
 * a space has as many deposits as such pages; the PTE can write only if nobody else
 * holds any of its frames.
 */
#include "kernel.h"
#include "rmap.h"

#define HUGE_SCAN_RANGES 8 /* looked at by a scan in the background: 4,096 pages of 4 KiB */

uint64_t huge_pages(const kernel *k) { return UINT64_C(1) << k->hw->g.bits[0]; }

uint64_t huge_bytes(const kernel *k) { return UINT64_C(1) << k->hw->g.shift[1]; }

static unsigned huge_entry_bytes(const kernel *k) { return k->hw->g.format->bytes; }

bool huge_at(const kernel *k, const space *s, uint64_t va, pt_place *at)
{
    const pt_geometry *g = &k->hw->g;
    if (!s->large)
        return false;
    *at = pt_lookup(g, &k->hw->mem, s->root, va);
    return huge_span(k, at) > 1;
}

uint64_t huge_span(const kernel *k, const pt_place *at)
{
    const pt_geometry *g = &k->hw->g;
    if (!at->level || !(at->pte & g->format->present))
        return 1;
    return frames_at(&k->frames, pte_ppn(g->format, at->pte))->use == FRAME_ANON ? huge_pages(k)
                                                                                 : 1;
}

bool huge_maps(const kernel *k, frame *r)
{
    for (mapping *x = frames_maps(r); x; x = frames_maps_next(&k->frames, x))
        if (x->large)
            return true;
    return false;
}

/* --- deposits ------------------------------------------------------------------------- */

/* The leaf table for va, all its entries 0, becomes a deposit; the entry above it, which
 * a large page is to take, is at *pte_pa. */
static void huge_deposit(kernel *k, space *s, uint64_t va, uint64_t *pte_pa)
{
    const pt_geometry *g = &k->hw->g;
    (void)kernel_make_tables(k, s, va, 1, pte_pa, NULL); /* they are there */
    uint64_t pte = dram_get(&k->hw->mem, *pte_pa, g->format->bytes);
    uint64_t table = pte_ppn(g->format, pte);
    frames_at(&k->frames, table)->index = s->deposit;
    s->deposit = (uint32_t)table;
    s->large++;
    dram_put(&k->hw->mem, *pte_pa, g->format->bytes, 0);
    hardware_tables_changed(k->hw);
    kernel_forget_tables(k, s, va, 1);
}

static uint64_t huge_withdraw(kernel *k, space *s)
{
    uint64_t table = s->deposit;
    s->deposit = frames_at(&k->frames, table)->index;
    s->large--;
    hardware_tables_changed(k->hw);
    return table;
}

/* --- mapping and unmapping --------------------------------------------------------------- */

static void huge_map(kernel *k, space *s, const area *a, uint64_t va, uint64_t pte_pa, uint64_t ppn,
                     unsigned prot)
{
    const pt_geometry *g = &k->hw->g;
    uint64_t n = huge_pages(k);
    dram_put(&k->hw->mem, pte_pa, g->format->bytes, pte_leaf(g->format, ppn, prot, 1));
    for (uint64_t i = 0; i < n; i++) {
        frame *r = frames_at(&k->frames, ppn + i);
        rmap_settle_frame(k, r);
        frames_map(&k->frames, r, s->id, kernel_vpn(k, va) + i, pte_pa);
        r->first.large = 1;
        if (a->flags & AREA_LOCKED) {
            r->first.locked = 1;
            page_lock(k, ppn + i);
        }
    }
    s->resident += n;
}

void huge_unmap(kernel *k, space *s, uint64_t pte_pa, uint64_t pte)
{
    const pt_geometry *g = &k->hw->g;
    uint64_t ppn = pte_ppn(g->format, pte), n = kernel_table_frames(k, 0);
    uint64_t table = huge_withdraw(k, s);
    for (uint64_t i = 0; i < huge_pages(k); i++)
        page_leave(k, s, pte_pa, pte, ppn + i);
    page_give_back(k, table, n);
    s->tables -= n;
}

unsigned huge_prot(kernel *k, const area *a, const pt_place *at)
{
    uint64_t ppn = pte_ppn(k->hw->g.format, at->pte), n = huge_span(k, at);
    unsigned prot = area_pte_prot(a);
    for (uint64_t i = 0; i < n; i++) {
        frame *r = frames_at(&k->frames, ppn + i);
        prot &= page_prot(a, r, page_holders(k, r));
    }
    return prot;
}

/* --- splitting ------------------------------------------------------------------------------ */

void huge_split(kernel *k, space *s, uint64_t va, const pt_place *at)
{
    const pt_geometry *g = &k->hw->g;
    const pte_format *f = g->format;
    uint64_t ppn = pte_ppn(f, at->pte), table = huge_withdraw(k, s);
    uint64_t keep = at->pte & (f->accessed | f->dirty), pa = table << g->page_bits;
    unsigned prot = pte_prot(f, at->pte);
    for (uint64_t i = 0; i < huge_pages(k); i++, pa += f->bytes) {
        mapping *x = frames_mapping(&k->frames, frames_at(&k->frames, ppn + i), at->pa);
        x->pte_pa = pa;
        x->large = 0;
        dram_put(&k->hw->mem, pa, f->bytes, pte_leaf(f, ppn + i, prot, 0) | keep);
    }
    dram_put(&k->hw->mem, at->pa, f->bytes, pte_table(f, table));
    kernel_invalidate(k, s, va);
    k->n.huge_splits++;
    kernel_emit(k, KEVENT_SPLIT, s->owner, va & ~(huge_bytes(k) - 1), ppn, 0);
}

void huge_cut(kernel *k, space *s, uint64_t va)
{
    pt_place at;
    if (s->large && va & (huge_bytes(k) - 1) && huge_at(k, s, va, &at))
        huge_split(k, s, va, &at);
}

void huge_split_range(kernel *k, space *s, uint64_t start, uint64_t stop)
{
    if (!s->large)
        return;
    for (entry_walk w = entries_of(k, s, start, stop); entries_next(&w);)
        if (huge_span(k, &w.at) > 1)
            huge_split(k, s, w.va, &w.at);
}

void huge_split_frame(kernel *k, frame *r)
{
    const pt_geometry *g = &k->hw->g;
    for (mapping *x = frames_maps(r); x; x = frames_maps_next(&k->frames, x))
        if (x->large) {
            pt_place at = {
                .pa = x->pte_pa,
                .pte = dram_get(&k->hw->mem, x->pte_pa, g->format->bytes),
                .level = 1,
            };
            huge_split(k, k->spaces[x->space], x->vpn << g->page_bits, &at);
        }
}

void huge_spread_reference(kernel *k, uint64_t pte, uint64_t but)
{
    uint64_t ppn = pte_ppn(k->hw->g.format, pte);
    for (uint64_t i = 0; i < huge_pages(k); i++)
        if (ppn + i != but)
            frames_at(&k->frames, ppn + i)->referenced = true;
}

/* --- fork ------------------------------------------------------------------------------------ */

vm_status huge_copy(kernel *k, space *from, space *to, const area *a, uint64_t va, bool *again,
                    vm_error *e)
{
    const pt_geometry *g = &k->hw->g;
    uint64_t leaf_pa, to_pa;
    pt_place at;
    vm_status st = frames_map_reserve(&k->frames, (size_t)huge_pages(k), e);
    if (st == VM_OK)
        st = kernel_make_tables(k, to, va, 0, &leaf_pa, e);
    if (st == VM_OK && !page_commit(k, leaf_pa, pt_table_bytes(g, 0)))
        st = vm_fail_nomem(e, "a page table");
    *again = st == VM_OK && !huge_at(k, from, va, &at);
    if (st != VM_OK || *again) /* making the tables evicted a page of it */
        return st;
    k->n.fork_pages++;
    uint64_t pte = at.pte & ~g->format->write;
    huge_deposit(k, to, va, &to_pa);
    huge_map(k, to, a, va, to_pa, pte_ppn(g->format, pte), pte_prot(g->format, pte));
    dram_put(&k->hw->mem, at.pa, g->format->bytes, pte);
    return VM_OK;
}

/* --- taking one at a fault -------------------------------------------------------------------- */

/* May the area have large pages, and is the one with va all in it? */
static bool huge_allowed(const kernel *k, const area *a, uint64_t va)
{
    if (k->cfg.huge == HUGE_NEVER || a->file || a->level || !a->prot ||
        a->flags & (AREA_SHARED | AREA_GROWSDOWN | AREA_NOHUGEPAGE))
        return false;
    if (k->cfg.huge == HUGE_MADVISE && !(a->flags & AREA_HUGEPAGE))
        return false;
    uint64_t start = align_down(va, huge_bytes(k));
    return start >= a->start && a->stop - start >= huge_bytes(k);
}

/* Would so many pages more of the space be within all limits? */
static bool huge_fits(const kernel *k, const space *s, uint64_t more)
{
    return !(k->cfg.resident_limit && k->resident + more > k->cfg.resident_limit) &&
           !(s->limit && s->ruled + more > s->limit);
}

/* A block of free frames for a large page; if there is none, by compaction. Nothing is
 * evicted for it. */
static bool huge_block(kernel *k, const space *s, uint64_t *ppn)
{
    uint64_t n = huge_pages(k);
    *ppn = frames_find(&k->frames, n, n, 0, k->low_frames);
    if (*ppn == FRAME_NONE && k->cfg.compact && compact_block(k, k->hw->g.bits[0]))
        *ppn = frames_find(&k->frames, n, n, 0, k->low_frames);
    return *ppn != FRAME_NONE && reclaim_take_at(k, s, *ppn, n, FRAME_ANON, NULL) == VM_OK;
}

bool huge_fault(kernel *k, process *p, const area *a, uint64_t va, uint64_t pte_pa, bool write)
{
    space *s = p->space;
    uint64_t start, n, ppn;
    if (!huge_allowed(k, a, va) || (!write && k->zero_ppn != FRAME_NONE))
        return false;
    start = align_down(va, huge_bytes(k));
    n = huge_pages(k);
    uint64_t table = pte_pa - ((va - start) >> k->hw->g.page_bits) * huge_entry_bytes(k);
    for (uint64_t i = 0; i < n; i++)
        if (dram_get(&k->hw->mem, table + i * huge_entry_bytes(k), huge_entry_bytes(k)))
            return false;
    if (!huge_fits(k, s, n) || !page_commit(k, table, n * huge_entry_bytes(k)) ||
        !huge_block(k, s, &ppn)) {
        k->n.huge_fallbacks++;
        return false;
    }
    for (uint64_t i = 0; i < n; i++)
        page_enter(k, s, ppn + i, kernel_page_key(s, kernel_vpn(k, start) + i));
    huge_deposit(k, s, start, &pte_pa);
    huge_map(k, s, a, start, pte_pa, ppn, area_pte_prot(a));
    k->n.huge_faults++;
    k->n.zero_fills += n;
    p->n.zero_fills += n;
    kernel_emit(k, KEVENT_ZERO_FILL, p->pid, start, ppn, n);
    return true;
}

/* --- promotion -------------------------------------------------------------------------------- */

/* How many of the base pages in a leaf table are in memory, if all could be moved to a
 * frame of their space's own; else 0. */
static uint64_t huge_movable(kernel *k, uint64_t table)
{
    const pte_format *f = k->hw->g.format;
    uint64_t here = 0;
    for (uint64_t i = 0; i < huge_pages(k); i++) {
        uint64_t pte = dram_get(&k->hw->mem, table + i * f->bytes, f->bytes);
        if (!pte)
            continue;
        frame *r = pte & f->present ? frames_at(&k->frames, pte_ppn(f, pte)) : NULL;
        if (!r ||
            (r->use != FRAME_ZERO && (r->use != FRAME_ANON || page_holders(k, r) != 1 || r->locks)))
            return 0;
        here += r->use == FRAME_ANON;
    }
    return here;
}

/* One base page of the range moves into its place of the large one. */
static void huge_collect(kernel *k, space *s, uint64_t va, uint64_t pte_pa, uint64_t to)
{
    const pte_format *f = k->hw->g.format;
    uint64_t pte = dram_get(&k->hw->mem, pte_pa, f->bytes);
    frame *r = pte & f->present ? frames_at(&k->frames, pte_ppn(f, pte)) : NULL;
    if (!r || r->use == FRAME_ZERO) {
        if (r)
            kernel_invalidate(k, s, va);
        page_enter(k, s, to, kernel_page_key(s, kernel_vpn(k, va)));
        KERNEL_COUNT(k, SPACE_OWNER(k, s), zero_fills);
    } else {
        page_move(k, pte_ppn(f, pte), to);
        r = frames_at(&k->frames, to);
        page_keep_bits(k, r, pte);
        frames_unmap(&k->frames, r, pte_pa);
        s->resident--;
        k->n.huge_copies++;
    }
    dram_put(&k->hw->mem, pte_pa, f->bytes, 0);
}

/* Make one large page of the base pages from `start` on. */
static bool huge_promote_range(kernel *k, space *s, const area *a, uint64_t start)
{
    const pt_geometry *g = &k->hw->g;
    pt_place at = pt_lookup(g, &k->hw->mem, s->root, start);
    uint64_t n = huge_pages(k), least = k->cfg.huge_min, bits = g->page_bits, pte_pa, ppn;
    if (at.level || a->flags & AREA_LOCKED)
        return false;
    uint64_t here = huge_movable(k, at.pa);
    if (!here || here < (least && least < n ? least : n) || !huge_fits(k, s, n - here) ||
        !page_commit(k, at.pa, n * g->format->bytes) || !huge_block(k, s, &ppn))
        return false;
    if (!page_commit(k, ppn << bits, n << bits)) {
        page_give_back(k, ppn, n);
        return false;
    }
    for (uint64_t i = 0; i < n; i++)
        huge_collect(k, s, start + (i << bits), at.pa + i * g->format->bytes, ppn + i);
    huge_deposit(k, s, start, &pte_pa);
    huge_map(k, s, a, start, pte_pa, ppn, area_pte_prot(a));
    k->n.huge_promotions++;
    kernel_emit(k, KEVENT_PROMOTE, s->owner, start, ppn, here);
    return true;
}

/* Look at the ranges of a space that have pages, from *va on: at most *left, which counts
 * down. True: at all; else *va is where to go on. */
static bool huge_scan_space(kernel *k, space *s, uint64_t *va, uint64_t *left, uint64_t *done)
{
    uint64_t bytes = huge_bytes(k);
    for (const area *a = area_above(&s->areas, *va); a; a = a->next) {
        uint64_t from = align_up(a->start > *va ? a->start : *va, bytes);
        while (from >= a->start && from < a->stop && huge_allowed(k, a, from)) {
            entry_walk w = entries_of(k, s, from, a->stop);
            if (!entries_next(&w))
                break;
            from = *va = align_down(w.va, bytes);
            if (!*left)
                return false;
            --*left;
            *done += huge_allowed(k, a, from) && huge_promote_range(k, s, a, from);
            from += bytes;
        }
        *va = a->stop;
    }
    return true;
}

uint64_t huge_promote(kernel *k, uint64_t pages)
{
    uint64_t left = pages ? (pages - 1) / huge_pages(k) + 1 : UINT64_MAX, done = 0;
    if (k->cfg.huge == HUGE_NEVER)
        return 0;
    /* One round: the space where it begins is looked at from its start in the end. */
    for (size_t i = 0; i <= k->space_count; i++) {
        if (k->scan_space >= k->space_count)
            k->scan_space = k->scan_va = 0;
        space *s = k->spaces[k->scan_space];
        if (k->scan_space && s && s->owner && !huge_scan_space(k, s, &k->scan_va, &left, &done))
            break;
        k->scan_space++;
        k->scan_va = 0;
    }
    return done;
}

void huge_background(kernel *k)
{
    if (k->cfg.huge_scan && k->n.faults % k->cfg.huge_scan == 0)
        huge_promote(k, HUGE_SCAN_RANGES * huge_pages(k));
}
