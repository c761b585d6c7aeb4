/* advice.c: what programs say of their memory, and ask of it: madvise, msync,
 * mlock, mincore, and mappings that are filled at once.
 */
#include <errno.h>

#include "kernel.h"
#include "rmap.h"

const char *const advice_names[ADVICES] = {
    [ADVICE_NORMAL] = "normal",         [ADVICE_RANDOM] = "random",
    [ADVICE_SEQUENTIAL] = "sequential", [ADVICE_WILLNEED] = "willneed",
    [ADVICE_DONTNEED] = "dontneed",     [ADVICE_FREE] = "free",
    [ADVICE_HUGEPAGE] = "hugepage",     [ADVICE_NOHUGEPAGE] = "nohugepage",
};

static vm_status advice_range(kernel *k, const space *s, const char *call, uint64_t addr,
                              uint64_t *length, vm_error *e)
{
    vm_status st = space_range(k, s, call, ENOMEM, addr, length, e);
    if (st == VM_OK && !space_covered(s, addr, addr + *length))
        st = vm_fail_sys(e, VM_REFUSED, ENOMEM, "%s: not all of %#llx bytes at %#llx are mapped",
                         call, (unsigned long long)*length, (unsigned long long)addr);
    return st;
}

vm_status space_populate(kernel *k, process *p, uint64_t addr, uint64_t length, fault_info *info,
                         vm_error *e)
{
    const pt_geometry *g = &k->hw->g;
    uint64_t stop = addr + length;
    for (uint64_t va = addr; va < stop;) {
        const area *a = area_find(&p->space->areas, va);
        vm_status st = a ? kernel_populate(k, p, va, info, e) : VM_OK;
        if (st != VM_OK)
            return st;
        va = (va | low_mask(g->shift[a ? a->level : 0])) + 1;
    }
    return VM_OK;
}

/* --- madvise ---------------------------------------------------------------------------- */

/* Advice that is a flag of the area takes the place of what was said before: on the
 * order in which pages are used, on their size. */
static const struct {
    bool is_flag;
    uint16_t flag, others;
} advice_flags[ADVICES] = {
    [ADVICE_NORMAL] = {true, 0, AREA_SEQUENTIAL | AREA_RANDOM},
    [ADVICE_RANDOM] = {true, AREA_RANDOM, AREA_SEQUENTIAL},
    [ADVICE_SEQUENTIAL] = {true, AREA_SEQUENTIAL, AREA_RANDOM},
    [ADVICE_HUGEPAGE] = {true, AREA_HUGEPAGE, AREA_NOHUGEPAGE},
    [ADVICE_NOHUGEPAGE] = {true, AREA_NOHUGEPAGE, AREA_HUGEPAGE},
};

static void advice_set_flags(kernel *k, space *s, area *a, void *ud)
{
    (void)k;
    (void)s;
    const advice what = *(const advice *)ud;
    a->flags = (uint16_t)((a->flags & ~advice_flags[what].others) | advice_flags[what].flag);
}

/* The contents are not wanted: a page that is evicted now need not be written, and
 * is zeros when it is asked for again. */
static void advice_free(kernel *k, space *s, uint64_t start, uint64_t stop)
{
    const pte_format *f = k->hw->g.format;
    uint64_t slot;
    huge_split_range(k, s, start, stop);
    for (entry_walk w = entries_of(k, s, start, stop); entries_next(&w);) {
        const pt_place at = w.at;
        frame *r = at.pte & f->present ? frames_at(&k->frames, pte_ppn(f, at.pte)) : NULL;
        if (r && r->use == FRAME_ANON && page_holders(k, r) == 1) {
            page_forget_slot(k, r);
            r->dirty = false;
            dram_put(&k->hw->mem, at.pa, f->bytes, at.pte & ~f->dirty);
            kernel_invalidate(k, s, w.va);
        } else if (pte_is_swapped(f, at.pte, &slot)) {
            kernel_release(k, s, w.va, &at);
        }
    }
}

static void advice_willneed(kernel *k, process *p, const area *a, uint64_t start, uint64_t stop)
{
    const pt_geometry *g = &k->hw->g;
    uint64_t slot;
    if (a->file && !a->file->memory) {
        disk_begin(&k->hw->disk);
        file_readahead(k, a->file, area_index(k, a, start), (stop - start) >> g->page_bits);
        return;
    }
    fault_info info;
    for (entry_walk w = entries_of(k, p->space, start, stop); entries_next(&w);)
        if (pte_is_swapped(g->format, w.at.pte, &slot) &&
            kernel_populate(k, p, w.va, &info, NULL) != VM_OK)
            return; /* it was only advice */
}

vm_status space_advise(kernel *k, process *p, uint64_t addr, uint64_t length, advice what,
                       vm_error *e)
{
    space *s = p->space;
    vm_status st = advice_range(k, s, "madvise", addr, &length, e);
    if (st != VM_OK)
        return st;
    uint64_t stop = addr + length;
    if (advice_flags[what].is_flag) {
        st = space_reserve(k, s, 2, e);
        if (st == VM_OK)
            space_change(k, s, addr, stop, advice_set_flags, &what);
        return st;
    }
    for (const area *a = area_above(&s->areas, addr); a && a->start < stop; a = a->next) {
        bool plain = !a->file && !a->level;
        if ((a->flags & AREA_LOCKED && what != ADVICE_WILLNEED) || (what == ADVICE_FREE && !plain))
            return vm_fail_sys(e, VM_REFUSED, EINVAL, "madvise: %s is not for the area at %#llx",
                               advice_names[what], (unsigned long long)a->start);
    }
    for (const area *a = area_above(&s->areas, addr); a && a->start < stop; a = a->next) {
        uint64_t from = a->start > addr ? a->start : addr, to = a->stop < stop ? a->stop : stop;
        if (what == ADVICE_DONTNEED)
            kernel_release_range(k, s, from, to);
        else if (what == ADVICE_FREE)
            advice_free(k, s, from, to);
        else
            advice_willneed(k, p, a, from, to);
    }
    return VM_OK;
}

/* --- msync, mlock, mincore ----------------------------------------------------------------- */

vm_status space_sync(kernel *k, space *s, uint64_t addr, uint64_t length, vm_error *e)
{
    vm_status st = advice_range(k, s, "msync", addr, &length, e);
    uint64_t stop = addr + length;
    if (st != VM_OK)
        return st;
    for (const area *a = area_above(&s->areas, addr); a && a->start < stop; a = a->next) {
        uint64_t from = a->start > addr ? a->start : addr, to = a->stop < stop ? a->stop : stop;
        if (!a->file || a->file->memory || area_is_private(a))
            continue;
        vm_status one = file_sync(k, a->file, area_index(k, a, from),
                                  (to - from) >> k->hw->g.page_bits, st == VM_OK ? e : NULL);
        st = st == VM_OK ? one : st;
    }
    return st;
}

/* The mappings of an area, and the area, are locked or no longer. */
static void advice_set_lock(kernel *k, space *s, area *a, void *ud)
{
    const bool *lock = ud;
    const pte_format *f = k->hw->g.format;
    if (*lock == !!(a->flags & AREA_LOCKED))
        return;
    a->flags ^= AREA_LOCKED;
    for (entry_walk w = entries_of(k, s, a->start, a->stop); entries_next(&w);) {
        uint64_t ppn = pte_ppn(f, w.at.pte), stop = ppn + huge_span(k, &w.at);
        for (; w.at.pte & f->present && ppn < stop; ppn++) {
            mapping *x = frames_mapping(&k->frames, frames_at(&k->frames, ppn), w.at.pa);
            if (!x)
                continue;
            x->locked = *lock;
            if (*lock)
                page_lock(k, ppn);
            else
                page_unlock(k, ppn);
        }
    }
}

vm_status space_lock(kernel *k, process *p, uint64_t addr, uint64_t length, bool lock, vm_error *e)
{
    space *s = p->space;
    fault_info info;
    vm_status st = advice_range(k, s, lock ? "mlock" : "munlock", addr, &length, e);
    if (st == VM_OK)
        st = space_reserve(k, s, 4, e);
    if (st != VM_OK)
        return st;
    rmap_settle_all(k);
    space_change(k, s, addr, addr + length, advice_set_lock, &lock);
    st = lock ? space_populate(k, p, addr, length, &info, e) : VM_OK;
    if (st == VM_OK)
        return VM_OK;
    if (p->space == s) { /* what can't be held is not locked at all */
        lock = false;
        space_change(k, s, addr, addr + length, advice_set_lock, &lock);
    }
    return st == VM_FAULT ? vm_fail_sys(e, VM_REFUSED, ENOMEM,
                                        "mlock: %#llx bytes at %#llx can't all be in memory",
                                        (unsigned long long)length, (unsigned long long)addr)
                          : st;
}

vm_status space_incore(kernel *k, space *s, uint64_t addr, uint64_t length, uint8_t *out,
                       vm_error *e)
{
    vm_status st = advice_range(k, s, "mincore", addr, &length, e);
    const pt_geometry *g = &k->hw->g;
    for (uint64_t va = addr; st == VM_OK && va < addr + length; va += kernel_page(k)) {
        const area *a = area_find(&s->areas, va);
        pt_place at = {0};
        if (s->root_ok)
            at = pt_lookup(g, &k->hw->mem, s->root, va);
        const file_page *page = a->file ? file_at(a->file, area_index(k, a, va)) : NULL;
        uint64_t slot;
        bool here = at.pte & g->format->present && pte_is_leaf(g->format, at.pte, at.level);
        if (!here && pte_is_swapped(g->format, at.pte, &slot))
            here = swap_at(&k->swap, (uint32_t)slot)->frame != NUMBER_NONE;
        *out++ = here || (page && page->frame != NUMBER_NONE);
    }
    return st;
}
