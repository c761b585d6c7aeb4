/* remap.c: mremap: an area grows or shrinks where it is, or its pages move to
 * another place, without being copied. */
#include <errno.h>

#include "kernel.h"
#include "rmap.h"

/* Tables for all entries that will move, so that moving can't fail. */
static vm_status remap_make_tables(kernel *k, space *s, uint64_t from, uint64_t to, uint64_t length,
                                   vm_error *e)
{
    uint64_t pte_pa;
    huge_split_range(k, s, from, from + length);
    for (entry_walk w = entries_of(k, s, from, from + length); entries_next(&w);) {
        vm_status st = kernel_make_tables(k, s, w.va - from + to, 0, &pte_pa, e);
        if (st != VM_OK)
            return st;
    }
    return VM_OK;
}

static void remap_entries(kernel *k, space *s, uint64_t from, uint64_t to, uint64_t length)
{
    const pte_format *f = k->hw->g.format;
    for (entry_walk w = entries_of(k, s, from, from + length); entries_next(&w);) {
        const pt_place at = w.at;
        const uint64_t va = w.va;
        uint64_t pte_pa = pt_lookup(&k->hw->g, &k->hw->mem, s->root, va - from + to).pa;
        dram_put(&k->hw->mem, pte_pa, f->bytes, at.pte);
        dram_put(&k->hw->mem, at.pa, f->bytes, 0);
        kernel_invalidate(k, s, va);
        frame *r = at.pte & f->present ? frames_at(&k->frames, pte_ppn(f, at.pte)) : NULL;
        mapping *x = r ? frames_mapping(&k->frames, r, at.pa) : NULL;
        if (x) {
            x->vpn = kernel_vpn(k, va - from + to);
            x->pte_pa = pte_pa;
        }
    }
}

static vm_status remap_refuse(vm_error *e, int sys, const char *why, uint64_t from, uint64_t length)
{
    return vm_fail_sys(e, VM_REFUSED, sys, "mremap: %s (%#llx bytes at %#llx)", why,
                       (unsigned long long)length, (unsigned long long)from);
}

/* The area of the old range, where the new one is larger or elsewhere. */
static vm_status remap_area(const space *s, uint64_t from, uint64_t length, const area **out,
                            vm_error *e)
{
    const area *a = area_find(&s->areas, from);
    if (!a || a->stop - from < length)
        return remap_refuse(e, EFAULT, "the old range is not in one area", from, length);
    if (a->level)
        return remap_refuse(e, EINVAL, "large pages can't be moved", from, length);
    *out = a;
    return VM_OK;
}

/* Tables for the new place are made before what is there goes: a large page has none. */
static vm_status remap_no_large(const space *s, uint64_t to, uint64_t length, vm_error *e)
{
    for (const area *a = area_above(&s->areas, to); a && a->start < to + length; a = a->next)
        if (a->level)
            return remap_refuse(e, EINVAL, "large pages are at the new place", to, length);
    return VM_OK;
}

static vm_status remap_move(kernel *k, space *s, const area *a, uint64_t from, uint64_t old_length,
                            uint64_t to, uint64_t new_length, vm_error *e)
{
    uint64_t moved = old_length < new_length ? old_length : new_length;
    vm_status st = space_reserve(k, s, 5, e);
    if (st == VM_OK)
        st = remap_make_tables(k, s, from, to, moved, e);
    if (st != VM_OK)
        return st;
    area copy = *a;
    copy.offset += from - a->start;
    copy.start = to;
    copy.stop = to + new_length;
    if (copy.file) /* clearing may drop the area's own */
        file_get(copy.file);
    rmap_settle_all(k);
    space_clear(k, s, to, to + new_length);
    space_insert(k, s, &copy);
    remap_entries(k, s, from, to, moved);
    space_clear(k, s, from, from + old_length);
    if (copy.file && copy.file->memory && copy.offset + new_length > copy.file->size)
        copy.file->size = copy.offset + new_length;
    if (copy.file)
        file_put(k, copy.file);
    return VM_OK;
}

/* Room behind the area, or elsewhere if that is allowed. */
static vm_status remap_grow(kernel *k, space *s, const area *a, uint64_t from, uint64_t old_length,
                            uint64_t new_length, bool may_move, uint64_t *at, vm_error *e)
{
    uint64_t stop = from + new_length;
    *at = from;
    if (a->stop == from + old_length && stop <= space_user_top(k) &&
        (!a->next || a->next->start >= stop)) {
        area more = *a;
        more.offset += a->stop - a->start;
        more.start = a->stop;
        more.stop = stop;
        vm_status st = space_reserve(k, s, 1, e);
        if (st != VM_OK)
            return st;
        if (a->file && a->file->memory && more.offset + (stop - more.start) > a->file->size)
            a->file->size = more.offset + (stop - more.start);
        space_insert(k, s, &more);
        return VM_OK;
    }
    if (!may_move)
        return remap_refuse(e, ENOMEM, "there is no room to grow", from, new_length);
    *at = space_gap(k, s, new_length, kernel_page(k));
    if (!*at)
        return remap_refuse(e, ENOMEM, "there is no gap for it", from, new_length);
    return remap_move(k, s, a, from, old_length, *at, new_length, e);
}

vm_status space_remap(kernel *k, space *s, uint64_t from, uint64_t old_length, uint64_t to,
                      uint64_t new_length, bool may_move, uint64_t *at, vm_error *e)
{
    const area *a;
    vm_status st = space_range(k, s, "mremap", EFAULT, from, &old_length, e);
    if (st == VM_OK)
        st = space_range(k, s, "mremap", EFAULT, to ? to : from, &new_length, e);
    if (st != VM_OK)
        return st;
    *at = to ? to : from;
    if (!to && new_length == old_length)
        return remap_area(s, from, old_length, &a, e);
    if (!to && new_length < old_length) {
        st = space_covered(s, from, from + old_length)
                 ? space_reserve(k, s, 2, e)
                 : remap_refuse(e, EFAULT, "not all of it is mapped", from, old_length);
        if (st == VM_OK)
            space_clear(k, s, from + new_length, from + old_length);
        return st;
    }
    st = remap_area(s, from, old_length, &a, e);
    if (st == VM_OK && to)
        st = remap_no_large(s, to, new_length, e);
    if (st == VM_OK && to && to < from + old_length && from < to + new_length)
        st = remap_refuse(e, EINVAL, "the old and the new range overlap", to, new_length);
    if (st == VM_OK && a->flags & AREA_PROMISED && new_length > old_length)
        st = kernel_may_commit(k, (new_length - old_length) >> k->hw->g.page_bits, "mremap", e);
    if (st != VM_OK)
        return st;
    return to ? remap_move(k, s, a, from, old_length, to, new_length, e)
              : remap_grow(k, s, a, from, old_length, new_length, may_move, at, e);
}
