/* space.c: the areas of an address space: a sorted array, found by bisection,
 * split where a range ends inside one, merged where neighbours are alike.
 *
 * Every call makes room in the array first and changes things after, so that a
 * failure leaves the space as it was.
 */
#include <errno.h>
#include <stdio.h>

#include "kernel.h"

static const char AREA_HEAP[] = "[heap]";

size_t space_find_index(const space *s, uint64_t va)
{
    size_t lo = 0, hi = s->area_count;
    while (lo < hi) {
        size_t mid = (lo + hi) / 2;
        if (s->areas[mid].stop > va)
            hi = mid;
        else
            lo = mid + 1;
    }
    return lo;
}

area *space_find_area(const space *s, uint64_t va)
{
    size_t i = space_find_index(s, va);
    return i < s->area_count && s->areas[i].start <= va ? &s->areas[i] : NULL;
}

uint64_t space_user_top(const kernel *k)
{
    const pt_geometry *g = &k->hw->mmu.g;
    if (g->canonical)
        return UINT64_C(1) << (g->va_bits - 1);
    return g->va_bits == 32 ? UINT64_C(0xc0000000) : UINT64_C(1) << g->va_bits;
}

/* The mapped region grows down from here; above it the stack has its place. */
static uint64_t space_map_top(const kernel *k)
{
    uint64_t top = space_user_top(k), gap = top / 8;
    return align_down(top - (gap > 64u << 20 ? 64u << 20 : gap), kernel_page(k));
}

uint64_t space_find_gap(const kernel *k, const space *s, uint64_t length, uint64_t align)
{
    uint64_t ceiling = space_map_top(k);
    size_t i = space_find_index(s, ceiling);
    if (i < s->area_count && s->areas[i].start < ceiling)
        ceiling = s->areas[i].start;
    for (;;) {
        uint64_t floor = i > 0 ? s->areas[i - 1].stop : kernel_page(k);
        if (ceiling > floor && ceiling - floor >= length) {
            uint64_t at = align_down(ceiling - length, align);
            if (at >= floor)
                return at;
        }
        if (i == 0)
            return 0;
        ceiling = s->areas[--i].start;
    }
}

static bool space_room(kernel *k, space *s, size_t more)
{
    void *p = s->areas;
    bool ok = host_grow(k->host, &p, &s->area_cap, s->area_count + more, sizeof *s->areas);
    s->areas = p;
    return ok;
}

static bool area_alike(const area *a, const area *b)
{
    return a->prot == b->prot && a->flags == b->flags && a->level == b->level &&
           strcmp(a->name, b->name) == 0;
}

static void space_delete(space *s, size_t i)
{
    memmove(&s->areas[i], &s->areas[i + 1], (s->area_count - i - 1) * sizeof *s->areas);
    s->area_count--;
}

/* There must be room. Merges with neighbours that are alike. */
static void space_insert(space *s, const area *a)
{
    size_t i = space_find_index(s, a->start);
    bool below = i > 0 && s->areas[i - 1].stop == a->start && area_alike(&s->areas[i - 1], a);
    bool above = i < s->area_count && s->areas[i].start == a->stop && area_alike(&s->areas[i], a);
    if (below && above) {
        s->areas[i - 1].stop = s->areas[i].stop;
        space_delete(s, i);
    } else if (below) {
        s->areas[i - 1].stop = a->stop;
    } else if (above) {
        s->areas[i].start = a->start;
    } else {
        memmove(&s->areas[i + 1], &s->areas[i], (s->area_count - i) * sizeof *s->areas);
        s->areas[i] = *a;
        s->area_count++;
    }
}

/* Make `at` a border between areas; there must be room for one more. */
static void space_split(space *s, uint64_t at)
{
    size_t i = space_find_index(s, at);
    if (i == s->area_count || s->areas[i].start >= at)
        return;
    memmove(&s->areas[i + 1], &s->areas[i], (s->area_count - i) * sizeof *s->areas);
    s->area_count++;
    s->areas[i].stop = at;
    s->areas[i + 1].start = at;
}

/* Take the areas out of a range, with their pages; there must be room for two. */
static void space_clear_range(kernel *k, space *s, uint64_t start, uint64_t stop)
{
    space_split(s, start);
    space_split(s, stop);
    size_t i = space_find_index(s, start), n = 0;
    while (i + n < s->area_count && s->areas[i + n].start < stop)
        n++;
    memmove(&s->areas[i], &s->areas[i + n], (s->area_count - i - n) * sizeof *s->areas);
    s->area_count -= n;
    pt_place at;
    for (uint64_t va = start; (va = kernel_next_entry(k, s, va, stop, &at)) < stop;) {
        kernel_release(k, s, va, &at);
        va = (va | low_mask(k->hw->mmu.g.shift[at.level])) + 1;
    }
}

/* A border inside a large page can't be served by splitting areas alone. */
static bool space_cuts_large(const kernel *k, const space *s, uint64_t at)
{
    const area *a = space_find_area(s, at);
    return a && a->level && at & low_mask(k->hw->mmu.g.shift[a->level]);
}

static vm_status space_range(kernel *k, const space *s, const char *call, uint64_t addr,
                             uint64_t *length, vm_error *e)
{
    uint64_t page = kernel_page(k);
    if (addr & (page - 1))
        return vm_fail_sys(e, VM_REFUSED, EINVAL, "%s: address %#llx is not a multiple of %llu",
                           call, (unsigned long long)addr, (unsigned long long)page);
    if (*length == 0)
        return vm_fail_sys(e, VM_REFUSED, EINVAL, "%s: length is 0", call);
    uint64_t top = space_user_top(k);
    if (*length > top || addr > top - *length)
        return vm_fail_sys(
            e, VM_REFUSED, strcmp(call, "mmap") == 0 ? ENOMEM : EINVAL,
            "%s: %#llx bytes at %#llx end above the user's part of the space (%#llx)", call,
            (unsigned long long)*length, (unsigned long long)addr, (unsigned long long)top);
    *length = align_up(*length, page);
    if (space_cuts_large(k, s, addr) || space_cuts_large(k, s, addr + *length))
        return vm_fail_sys(e, VM_REFUSED, EINVAL, "%s: the range would cut a large page", call);
    return VM_OK;
}

static void area_set_name(area *a, const char *name)
{
    snprintf(a->name, sizeof a->name, "%s", name ? name : "");
}

vm_status space_map(kernel *k, space *s, const map_request *r, uint64_t *at, vm_error *e)
{
    const pt_geometry *g = &k->hw->mmu.g;
    uint64_t length = r->length, page = UINT64_C(1) << g->shift[r->level], addr = r->addr;
    if (r->level > g->format->large_levels || r->level >= g->levels)
        return vm_fail_sys(e, VM_REFUSED, EINVAL, "mmap: this machine has no pages of level %u",
                           r->level);
    if (length == 0 || (r->fixed && addr & (page - 1)))
        return vm_fail_sys(e, VM_REFUSED, EINVAL,
                           length ? "mmap: the address is not a multiple of the page size"
                                  : "mmap: length is 0");
    if (length > space_user_top(k))
        return vm_fail_sys(e, VM_REFUSED, ENOMEM, "mmap: %#llx bytes are more than the space has",
                           (unsigned long long)length);
    length = align_up(length, page);
    addr = align_down(addr, page);
    if (!r->fixed) {
        const area *in = space_find_area(s, addr);
        size_t i = space_find_index(s, addr);
        bool fits = addr && !in && length <= space_user_top(k) &&
                    addr <= space_user_top(k) - length &&
                    (i == s->area_count || s->areas[i].start >= addr + length);
        if (!fits)
            addr = space_find_gap(k, s, length, page);
        if (!addr)
            return vm_fail_sys(e, VM_REFUSED, ENOMEM, "mmap: no gap of %#llx bytes in the space",
                               (unsigned long long)length);
    }
    vm_status st = space_range(k, s, "mmap", addr, &length, e);
    if (st != VM_OK)
        return st;
    if (!space_room(k, s, 3))
        return vm_fail_nomem(e, "an area");
    if (r->fixed)
        space_clear_range(k, s, addr, addr + length);
    area a = {.start = addr, .stop = addr + length, .flags = r->flags, .level = r->level};
    a.prot = (uint8_t)(r->prot & (PROT_R | PROT_W | PROT_X));
    area_set_name(&a, r->name);
    space_insert(s, &a);
    *at = addr;
    return VM_OK;
}

vm_status space_unmap(kernel *k, space *s, uint64_t addr, uint64_t length, vm_error *e)
{
    vm_status st = space_range(k, s, "munmap", addr, &length, e);
    if (st != VM_OK)
        return st;
    if (!space_room(k, s, 2))
        return vm_fail_nomem(e, "an area");
    space_clear_range(k, s, addr, addr + length);
    return VM_OK;
}

/* Is every byte of the range in some area? */
static bool space_covered(const space *s, uint64_t start, uint64_t stop)
{
    for (size_t i = space_find_index(s, start); start < stop; i++) {
        if (i == s->area_count || s->areas[i].start > start)
            return false;
        start = s->areas[i].stop;
    }
    return true;
}

vm_status space_protect(kernel *k, space *s, uint64_t addr, uint64_t length, unsigned prot,
                        vm_error *e)
{
    const pt_geometry *g = &k->hw->mmu.g;
    vm_status st = space_range(k, s, "mprotect", addr, &length, e);
    if (st != VM_OK)
        return st;
    if (!space_covered(s, addr, addr + length))
        return vm_fail_sys(e, VM_REFUSED, ENOMEM,
                           "mprotect: not all of %#llx bytes at %#llx are mapped",
                           (unsigned long long)length, (unsigned long long)addr);
    if (!space_room(k, s, 2))
        return vm_fail_nomem(e, "an area");
    space_split(s, addr);
    space_split(s, addr + length);
    prot &= PROT_R | PROT_W | PROT_X;
    for (size_t i = space_find_index(s, addr); i < s->area_count; i++) {
        if (s->areas[i].start >= addr + length)
            break;
        s->areas[i].prot = (uint8_t)prot;
    }
    for (size_t i = 1; i < s->area_count;) { /* what is alike now is one again */
        area *a = &s->areas[i - 1], *b = &s->areas[i];
        if (a->stop == b->start && area_alike(a, b)) {
            a->stop = b->stop;
            space_delete(s, i);
        } else {
            i++;
        }
    }
    pt_place at;
    uint64_t stop = addr + length;
    for (uint64_t va = addr; (va = kernel_next_entry(k, s, va, stop, &at)) < stop;) {
        if (at.pte & g->format->present) {
            uint64_t keep = at.pte & (g->format->accessed | g->format->dirty);
            uint64_t pte =
                prot ? pte_leaf(g->format, pte_ppn(g->format, at.pte), prot | PROT_USER, at.level)
                     : pte_leaf(g->format, pte_ppn(g->format, at.pte), PROT_R, at.level);
            dram_put(&k->hw->mem, at.pa, g->format->bytes, pte | keep);
            kernel_invalidate(k, s, va);
        }
        va = (va | low_mask(g->shift[at.level])) + 1;
    }
    return VM_OK;
}

/* Move one page's entry; the place it goes to is empty. */
static vm_status space_move_entry(kernel *k, space *s, uint64_t from, uint64_t to,
                                  const pt_place *at, vm_error *e)
{
    const pt_geometry *g = &k->hw->mmu.g;
    uint64_t pte_pa, vpn = (to & low_mask(g->va_bits)) >> g->page_bits;
    vm_status st = kernel_make_tables(k, s, to, 0, &pte_pa, e);
    if (st != VM_OK)
        return st;
    /* Making tables may have evicted this very page: read its entry again. */
    uint64_t pte = dram_get(&k->hw->mem, at->pa, g->format->bytes);
    if (!dram_put(&k->hw->mem, pte_pa, g->format->bytes, pte))
        return vm_fail_nomem(e, "a page table");
    dram_put(&k->hw->mem, at->pa, g->format->bytes, 0);
    if (pte & g->format->present) {
        uint32_t ppn = (uint32_t)pte_ppn(g->format, pte);
        frame *r = frames_at(&k->frames, ppn);
        r->vpn = vpn;
        r->pte_pa = pte_pa;
    }
    kernel_invalidate(k, s, from);
    return VM_OK;
}

/* Is the whole range mapped, by base pages alone? */
static bool space_is_base(const space *s, uint64_t start, uint64_t stop)
{
    if (!space_covered(s, start, stop))
        return false;
    for (size_t i = space_find_index(s, start); i < s->area_count && s->areas[i].start < stop; i++)
        if (s->areas[i].level)
            return false;
    return true;
}

vm_status space_remap(kernel *k, space *s, uint64_t from, uint64_t old_length, uint64_t to,
                      uint64_t new_length, vm_error *e)
{
    vm_status st = space_range(k, s, "mremap", from, &old_length, e);
    if (st == VM_OK)
        st = space_range(k, s, "mremap", to, &new_length, e);
    if (st != VM_OK)
        return st;
    if (!space_is_base(s, from, from + old_length))
        return vm_fail_sys(e, VM_REFUSED, EFAULT,
                           "mremap: not all of %#llx bytes at %#llx are mapped by base pages",
                           (unsigned long long)old_length, (unsigned long long)from);
    area copy = *space_find_area(s, from);
    if (from == to && new_length <= old_length)
        return new_length == old_length
                   ? VM_OK
                   : space_unmap(k, s, from + new_length, old_length - new_length, e);
    uint64_t fresh = from == to ? from + old_length : to, end = to + new_length;
    bool overlaps = from != to && to < from + old_length && from < to + new_length;
    if (overlaps)
        return vm_fail_sys(e, VM_REFUSED, EINVAL, "mremap: the old and the new range overlap");
    if (!space_room(k, s, 5))
        return vm_fail_nomem(e, "an area");
    space_clear_range(k, s, fresh, end);
    copy.start = fresh;
    copy.stop = end;
    space_insert(s, &copy);
    if (from == to)
        return VM_OK;
    uint64_t moved = old_length < new_length ? old_length : new_length, stop = from + moved;
    pt_place at;
    for (uint64_t va = from; (va = kernel_next_entry(k, s, va, stop, &at)) < stop;) {
        st = space_move_entry(k, s, va, va - from + to, &at, e);
        if (st != VM_OK)
            return st;
        va += kernel_page(k);
    }
    space_clear_range(k, s, from, from + old_length);
    return VM_OK;
}

vm_status space_set_brk(kernel *k, space *s, uint64_t brk, vm_error *e)
{
    uint64_t page = kernel_page(k);
    uint64_t old = align_up(s->brk, page), new = align_up(brk, page), at;
    if (brk < s->brk_start || brk > space_user_top(k))
        return vm_fail_sys(
            e, VM_REFUSED, ENOMEM,
            "brk: %#llx is not between the heap's start %#llx and the top of the space",
            (unsigned long long)brk, (unsigned long long)s->brk_start);
    if (new > old) {
        size_t i = space_find_index(s, old);
        if (i < s->area_count && s->areas[i].start < new)
            return vm_fail_sys(e, VM_REFUSED, ENOMEM,
                               "brk: %#llx would reach into the area at %#llx",
                               (unsigned long long)brk, (unsigned long long)s->areas[i].start);
        map_request r = {.addr = old,
                         .length = new - old,
                         .prot = PROT_R | PROT_W,
                         .fixed = true,
                         .name = AREA_HEAP};
        vm_status st = space_map(k, s, &r, &at, e);
        if (st != VM_OK)
            return st;
    } else if (new < old) {
        vm_status st = space_unmap(k, s, new, old - new, e);
        if (st != VM_OK)
            return st;
    }
    s->brk = brk;
    return VM_OK;
}
