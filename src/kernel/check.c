/* check.c: the invariants of the kernel, walked: every PTE of every space against
 * frames, reverse map, swap slots and files, and back.
 */
#include "kernel.h"
#include "rmap.h"

/* What the walk counts, to be compared with what is stored. */
typedef struct check_sums {
    uint64_t mappings; /* PTEs that map frames of the reverse map */
    uint64_t users;    /* PTEs and shared pages that name slots */
    uint64_t committed;
} check_sums;

static const char *check_areas(const kernel *k, const space *s, check_sums *sums)
{
    uint64_t page = kernel_page(k), locked = 0, committed = 0;
    const char *broken = area_check(&s->areas);
    for (const area *a = s->areas.first; a && !broken; a = a->next) {
        uint64_t pages = (a->stop - a->start) >> k->hw->g.page_bits;
        if ((a->start | a->stop | a->offset) & (page - 1))
            broken = "space: an area's border is not on a page";
        if (a->file && k->files[a->file->id] != a->file)
            broken = "space: an area's file does not exist";
        locked += a->flags & AREA_LOCKED ? pages : 0;
        committed += a->flags & AREA_PROMISED ? pages : 0;
    }
    if (!broken && (locked != s->locked || committed != s->committed))
        broken = "space: the count of locked or promised pages is wrong";
    sums->committed += committed;
    return broken;
}

/* A present PTE of a transparent large page, and the frames behind it. */
static const char *check_huge(kernel *k, const space *s, uint64_t va, const pt_place *at,
                              check_sums *sums)
{
    const pte_format *f = k->hw->g.format;
    const area *a = area_find(&s->areas, va);
    uint64_t ppn = pte_ppn(f, at->pte);
    if (at->level != 1 || ppn & (huge_pages(k) - 1) || va & (huge_bytes(k) - 1))
        return "huge: a large page is not aligned to its size";
    if (!a || a->stop - va < huge_bytes(k) || a->file || a->flags & AREA_SHARED || a->level)
        return "huge: a large page is not in one area of private memory";
    for (uint64_t i = 0; i < huge_pages(k); i++) {
        frame *r = frames_at(&k->frames, ppn + i);
        const mapping *x = r && r->use == FRAME_ANON ? frames_mapping(&k->frames, r, at->pa) : NULL;
        if (!x || !x->large || x->space != s->id || x->vpn != kernel_vpn(k, va) + i)
            return "huge: a frame of a large page does not name its PTE";
        if (x->locked != !!(a->flags & AREA_LOCKED))
            return "huge: a large page of a locked area is not locked, or one of another is";
        if (at->pte & f->write && !(page_prot(a, r, page_holders(k, r)) & PROT_W))
            return "huge: a large page can be written though others share some of it";
        sums->mappings++;
    }
    return NULL;
}

/* As many tables are in deposit as a space has large pages. */
static const char *check_deposits(const kernel *k, const space *s, uint64_t large)
{
    uint64_t n = 0;
    for (uint32_t i = s->deposit; n < s->large; n++) {
        const frame *r = frames_at(&k->frames, i);
        if (!r || r->use != FRAME_TABLE)
            return "huge: a table in deposit is none";
        i = r->index;
    }
    return large == s->large ? NULL : "huge: the count of large pages is wrong";
}

/* A present PTE and the frame that it names. */
static const char *check_mapped(kernel *k, const space *s, uint64_t va, const pt_place *at,
                                check_sums *sums)
{
    const pte_format *f = k->hw->g.format;
    frame *r = frames_at(&k->frames, pte_ppn(f, at->pte));
    const area *a = area_find(&s->areas, va);
    if (!r || r->use == FRAME_FREE || r->use == FRAME_TABLE || r->use == FRAME_TAIL ||
        r->use == FRAME_KERNEL)
        return "space: a present PTE names a frame that is not a page's";
    if (r->use == FRAME_PINNED)
        return NULL;
    if (!a)
        return "space: a page is resident outside of all areas";
    if (r->use == FRAME_ZERO)
        return at->pte & f->write ? "space: the page of zeros can be written" : NULL;
    const mapping *x = frames_mapping(&k->frames, r, at->pa);
    if (!x || x->large || x->space != s->id || x->vpn != kernel_vpn(k, va))
        return "space: a frame's reverse map does not name the PTE that maps it";
    if (x->locked != !!(a->flags & AREA_LOCKED))
        return "space: a page of a locked area is not locked, or one of another is";
    if (at->pte & f->write && !(page_prot(a, r, page_holders(k, r)) & PROT_W))
        return "space: a PTE can write what others share, or what its area forbids";
    if (r->file && (a->file == NULL || a->file->id != r->file || area_index(k, a, va) != r->index))
        return "space: a PTE maps another page of a file than its area does";
    if (!r->file && a->file && a->flags & AREA_SHARED)
        return "space: a PTE of a shared area maps a private page";
    sums->mappings++;
    return NULL;
}

static const char *check_pages(kernel *k, const space *s, check_sums *sums)
{
    const pt_geometry *g = &k->hw->g;
    uint64_t top = space_user_top(k), slot, resident = 0, swapped = 0, large = 0;
    for (entry_walk w = entries_of(k, s, 0, top); entries_next(&w);) {
        const pt_place at = w.at;
        if (at.pte & g->format->present) {
            bool huge = huge_span(k, &at) > 1;
            const char *broken =
                huge ? check_huge(k, s, w.va, &at, sums) : check_mapped(k, s, w.va, &at, sums);
            large += huge;
            if (broken)
                return broken;
            if (frames_at(&k->frames, pte_ppn(g->format, at.pte))->use != FRAME_ZERO)
                resident += UINT64_C(1) << (g->shift[at.level] - g->page_bits);
        } else if (pte_is_swapped(g->format, at.pte, &slot)) {
            if (!swap_is_used(&k->swap, slot))
                return "swap: a PTE names a slot that is free";
            sums->users++;
            swapped++;
        }
    }
    if (swapped != s->swapped || resident != s->resident)
        return "space: the count of resident or swapped pages is wrong";
    return check_deposits(k, s, large);
}

static const char *check_file(kernel *k, const file *f, check_sums *sums)
{
    uint64_t cached = 0;
    for (uint64_t i = 0; (i = file_next(f, i)) < FILE_PAGES; i++) {
        const file_page *page = file_at(f, i);
        if (page->frame != NUMBER_NONE) {
            const frame *r = frames_at(&k->frames, page->frame);
            if (!r || r->file != f->id || r->index != i)
                return "file: the frame of a page does not name it back";
            cached++;
        }
        if (page->frame != NUMBER_NONE && page->block == NUMBER_NONE && !f->memory &&
            writeback_is_dirty(k, page->frame))
            return "file: a page that has no block was written";
        if (page->block != NUMBER_NONE && f->memory) {
            if (!swap_is_used(&k->swap, page->block))
                return "file: a page of shared memory names a slot that is free";
            sums->users++;
        } else if (page->block != NUMBER_NONE && !pool_is_used(&k->blocks, page->block)) {
            return "file: a page names a block of the disk that is free";
        }
    }
    sums->committed += f->promised;
    if (!f->refs && !f->linked)
        return "file: one that nobody holds is still there";
    return cached == f->cached ? NULL : "file: the count of pages in memory is wrong";
}

/* Each frame in use is somebody's: tables are the spaces', the kernel's own half_check
 * counts, a large page has its tail, and what is left is free. */
static const char *check_totals(const kernel *k, const uint64_t uses[])
{
    uint64_t tables = 0, all = 0;
    for (size_t i = 1; i < k->space_count; i++)
        tables += k->spaces[i] ? k->spaces[i]->tables : 0;
    for (unsigned use = FRAME_FREE + 1; use < FRAME_USES; use++)
        all += uses[use];
    if (all + k->frames.free != k->frames.count)
        return "frames: those in use and those that are free are not all";
    if (tables != uses[FRAME_TABLE])
        return "kernel: the count of page tables is wrong";
    if ((k->zero_ppn != FRAME_NONE) != uses[FRAME_ZERO])
        return "kernel: there is more than one page of zeros, or it is lost";
    return NULL;
}

static const char *check_frames(kernel *k, const check_sums *sums)
{
    uint64_t mappings = 0, resident = 0, users = 0, ruled = 0, tails = 0;
    uint64_t uses[FRAME_USES] = {0};
    for (uint64_t i = 0; i < k->frames.count; i++) {
        const frame *r = frames_at(&k->frames, i);
        if (!r || r->use == FRAME_FREE)
            continue;
        bool slot = r->slot != SLOT_NONE;
        uses[r->use]++;
        if (r->use == FRAME_HUGE)
            tails += (UINT64_C(1) << (k->hw->g.shift[r->level] - k->hw->g.page_bits)) - 1;
        if (slot && swap_at(&k->swap, r->slot)->frame != i)
            return "swap: a slot does not name the frame that stands for it";
        if ((r->use == FRAME_ANON || r->use == FRAME_HUGE) && !r->mapped && !r->file && !slot)
            return "kernel: a page in memory is held by nobody";
        if ((r->file != 0) != (r->use == FRAME_FILE) && r->use != FRAME_HUGE)
            return "kernel: a frame's use and its file disagree";
        if (r->file && (r->file >= k->file_count || !k->files[r->file] ||
                        !file_at(k->files[r->file], r->index) ||
                        file_at(k->files[r->file], r->index)->frame != i))
            return "file: a page does not name the frame that holds it";
        mappings += r->mapped;
        resident += r->use == FRAME_ANON || r->use == FRAME_FILE;
        if (r->owner && (r->owner >= k->space_count || !k->spaces[r->owner]))
            return "kernel: a page is owned by a space that has ended";
        if (frame_is_ruled(r) && !r->owner)
            ruled++;
    }
    for (uint32_t i = 0; i < k->swap.slots.count; i++) {
        const swap_slot *x = pool_is_used(&k->swap.slots, i) ? swap_at(&k->swap, i) : NULL;
        if (x && x->frame != NUMBER_NONE && frames_at(&k->frames, x->frame)->slot != i)
            return "swap: a frame does not name the slot it stands for";
        users += x ? x->users : 0;
    }
    if (mappings != sums->mappings)
        return "kernel: the reverse map has mappings that no PTE makes";
    if (users != sums->users)
        return "swap: the users of a slot are counted wrongly";
    if (ruled != k->ruled)
        return "kernel: the count of pages under the kernel's policy is wrong";
    if (resident != k->resident)
        return "kernel: the count of resident pages is wrong";
    return tails == uses[FRAME_TAIL] ? check_totals(k, uses)
                                     : "kernel: a large page and its tail disagree";
}

/* The space whose translations have the entry's ASID on this processor; NULL: none. */
static const space *check_owner(const kernel *k, unsigned cpu, const tlb_entry *e)
{
    const space *owner = NULL;
    for (size_t j = 1; j < k->space_count; j++) {
        const space *s = k->spaces[j];
        bool runs = s && (k->cfg.asid_bits || s == k->running[cpu]);
        if (runs && s->asid_generation == k->asid_generation && s->cpus >> cpu & 1 &&
            s->asid == tlb_tag_asid(e->tag))
            owner = s;
    }
    return owner;
}

/* An entry of the paging-structure cache of this level knows the way to a table: each
 * entry on the way is there, and the table is the one that the last of them names. */
static const char *check_pwc(const kernel *k, unsigned cpu, const tlb *t, unsigned level)
{
    const pt_geometry *g = &k->hw->g;
    const pte_format *f = g->format;
    for (uint32_t i = 0; i < tlb_sets(t) * t->ways; i++) {
        const tlb_entry *e = &t->e[i];
        const space *owner = e->tag ? check_owner(k, cpu, e) : NULL;
        if (e->tag && !owner)
            return "mmu: a paging-structure cache's entry belongs to no space";
        uint64_t va = tlb_tag_vpn(e->tag) << g->shift[level], table = owner ? owner->root : 0;
        for (unsigned at = g->levels; owner && at-- > level;) {
            uint64_t pte = dram_get(&k->hw->mem, pt_entry_pa(g, table, va, at), f->bytes);
            if (!(pte & f->present) && pte & f->unknown)
                owner = NULL; /* state set by hand: nobody gave this entry */
            else if (!(pte & f->present) || pte_is_leaf(f, pte, at))
                return "mmu: a paging-structure cache knows a table that is not there";
            table = pte_ppn(f, pte) << g->page_bits;
        }
        if (owner && e->pay >> 8 != table >> g->page_bits)
            return "mmu: a paging-structure cache names another table than the entry does";
    }
    return NULL;
}

static const char *check_tlb(const kernel *k, unsigned cpu, const tlb *t)
{
    const mmu *m = &k->hw->cpus[cpu].mmu;
    for (uint32_t i = 0; i < tlb_sets(t) * t->ways; i++) {
        const tlb_entry *e = &t->e[i];
        if (!e->tag || tlb_tag_asid(e->tag) == TLB_GLOBAL)
            continue;
        const space *owner = check_owner(k, cpu, e);
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
    check_sums sums = {0};
    rmap_settle_all(k);
    const char *broken = frames_check(&k->frames);
    if (!broken)
        broken = swap_check(&k->swap);
    if (!broken && !pool_check(&k->blocks))
        broken = "disk: the count of used blocks is wrong";
    if (!broken && k->pol->cls->check)
        broken = k->pol->cls->check(k->pol);
    for (size_t i = 1; i < k->space_count && !broken; i++) {
        if (!k->spaces[i])
            continue;
        const policy *pol = k->spaces[i]->pol;
        broken = pol && pol->cls->check ? pol->cls->check(pol) : NULL;
        if (!broken)
            broken = check_areas(k, k->spaces[i], &sums);
        if (!broken)
            broken = check_pages(k, k->spaces[i], &sums);
    }
    for (size_t i = 1; i < k->file_count && !broken; i++)
        if (k->files[i])
            broken = check_file(k, k->files[i], &sums);
    if (!broken)
        broken = check_frames(k, &sums);
    if (!broken)
        broken = half_check(k);
    for (unsigned i = 0; i < k->hw->cpu_count && !broken; i++)
        if (k->running[i] && k->running[i]->suspended)
            broken = "load: a processor runs a suspended space";
    if (!broken && sums.committed != k->committed)
        broken = "kernel: the count of promised pages is wrong";
    if (!broken)
        broken = cpu_check(k);
    for (unsigned cpu = 0; cpu < k->hw->cpu_count; cpu++) {
        const mmu *u = &k->hw->cpus[cpu].mmu;
        for (unsigned i = 0; i < u->tlb_count && !broken; i++)
            broken = check_tlb(k, cpu, &u->tlbs[i]);
        for (unsigned i = 1; i < u->g.levels && !broken; i++)
            if (u->has_pwc[i])
                broken = check_pwc(k, cpu, &u->pwc[i], i);
    }
    return broken;
}
