/* space.c: the areas of an address space: made, split where a range ends inside
 * one, merged where neighbours are alike, removed.
 *
 * Every call makes sure of the nodes it may need first and changes things after,
 * so that a failure leaves the space as it was.
 */
#include <errno.h>

#include "kernel.h"

#define STACK_GUARD 256 /* pages that stay free below a growing stack */

static const char AREA_HEAP[] = "[heap]";

/* --- where things are --------------------------------------------------------------- */

uint64_t space_user_top(const kernel *k)
{
    const pt_geometry *g = &k->hw->g;
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

uint64_t space_gap(const kernel *k, const space *s, uint64_t length, uint64_t align)
{
    return area_gap(&s->areas, kernel_page(k), space_map_top(k), length, align);
}

/* Is every byte of the range in some area? */
bool space_covered(const space *s, uint64_t start, uint64_t stop)
{
    for (const area *a = area_above(&s->areas, start); start < stop; a = a->next) {
        if (!a || a->start > start)
            return false;
        start = a->stop;
    }
    return true;
}

/* Is nothing of the range in any area? */
static bool space_is_free(const space *s, uint64_t start, uint64_t stop)
{
    const area *a = area_above(&s->areas, start);
    return !a || a->start >= stop;
}

/* --- nodes ---------------------------------------------------------------------------- */

vm_status space_reserve(kernel *k, space *s, size_t nodes, vm_error *e)
{
    while (s->spares < nodes) {
        area *a = host_alloc(k->host, sizeof *a);
        if (!a)
            return vm_fail_nomem(e, "an area");
        a->next = s->spare;
        s->spare = a;
        s->spares++;
    }
    return VM_OK;
}

static area *space_node(space *s, const area *like)
{
    area *a = s->spare;
    s->spare = a->next;
    s->spares--;
    *a = *like;
    if (a->file)
        file_get(a->file);
    return a;
}

static void space_drop_node(kernel *k, space *s, area *a)
{
    file *f = a->file;
    area_remove(&s->areas, a);
    if (s->spares < 8) { /* as many as a call needs are kept */
        a->next = s->spare;
        s->spare = a;
        s->spares++;
    } else {
        host_free(k->host, a, sizeof *a);
    }
    if (f)
        file_put(k, f);
}

/* --- what is promised and locked --------------------------------------------------------- */

static uint64_t area_pages(const kernel *k, const area *a)
{
    return (a->stop - a->start) >> k->hw->g.page_bits;
}

/* Add what the area counts for, or take it away. */
static void space_count(kernel *k, space *s, const area *a, bool add)
{
    uint64_t pages = area_pages(k, a), sign = add ? 1 : UINT64_MAX;
    if (a->flags & AREA_PROMISED) {
        s->committed += sign * pages;
        k->committed += sign * pages;
    }
    if (a->flags & AREA_LOCKED)
        s->locked += sign * pages;
}

/* Private memory that can be written needs a place of its own, one day. */
static bool space_promises(const kernel *k, unsigned prot, unsigned flags)
{
    return (prot & PROT_W) && !(flags & AREA_SHARED) &&
           (!(flags & AREA_NORESERVE) || k->cfg.overcommit == OVERCOMMIT_STRICT);
}

/* Pages of the range that count as promised already. */
static uint64_t space_promised(const kernel *k, const space *s, uint64_t start, uint64_t stop)
{
    uint64_t bytes = 0;
    for (const area *a = area_above(&s->areas, start); a && a->start < stop; a = a->next)
        if (a->flags & AREA_PROMISED)
            bytes += (a->stop < stop ? a->stop : stop) - (a->start > start ? a->start : start);
    return bytes >> k->hw->g.page_bits;
}

vm_status kernel_may_commit(const kernel *k, uint64_t pages, const char *call, vm_error *e)
{
    uint64_t ram = k->low_frames, swap = k->swap.slots.count, limit = UINT64_MAX;
    uint64_t have = k->committed;
    if (k->cfg.overcommit == OVERCOMMIT_STRICT) {
        limit = swap + ram * k->cfg.overcommit_ratio / 100;
    } else if (k->cfg.overcommit == OVERCOMMIT_HEURISTIC) {
        limit = swap + ram; /* of one request: obvious nonsense alone is refused */
        have = 0;
    }
    if (!pages || (have <= limit && pages <= limit - have))
        return VM_OK;
    return vm_fail_sys(e, VM_REFUSED, ENOMEM,
                       "%s: %llu pages more than the %llu promised already pass the limit of %llu",
                       call, (unsigned long long)pages, (unsigned long long)have,
                       (unsigned long long)limit);
}

/* --- splitting, merging, removing --------------------------------------------------------- */

/* Could b follow a in one area? */
static bool area_joins(const area *a, const area *b)
{
    return a->stop == b->start && a->prot == b->prot && a->flags == b->flags &&
           a->level == b->level && a->file == b->file &&
           (!a->file || a->offset + (a->stop - a->start) == b->offset) &&
           strcmp(a->name, b->name) == 0;
}

static void space_join(kernel *k, space *s, area *a, area *b)
{
    uint64_t stop = b->stop;
    space_drop_node(k, s, b);
    area_set_stop(&s->areas, a, stop);
}

void space_merge(kernel *k, space *s, uint64_t start, uint64_t stop)
{
    area *a = area_above(&s->areas, start ? start - 1 : 0);
    while (a && a->next && a->next->start <= stop) {
        if (area_joins(a, a->next))
            space_join(k, s, a, a->next);
        else
            a = a->next;
    }
}

void space_insert(kernel *k, space *s, const area *like)
{
    area *above = area_above(&s->areas, like->start);
    area *below = above ? above->prev : s->areas.last;
    if (below && area_joins(below, like)) { /* what grows page by page needs no node */
        area_set_stop(&s->areas, below, like->stop);
        space_count(k, s, like, true);
        if (above && area_joins(below, above))
            space_join(k, s, below, above);
        return;
    }
    area *a = space_node(s, like);
    area_insert(&s->areas, a);
    space_count(k, s, a, true);
    space_merge(k, s, a->start, a->stop);
}

void space_split(kernel *k, space *s, uint64_t at)
{
    area *a = area_find(&s->areas, at);
    huge_cut(k, s, at);
    if (!a || a->start == at)
        return;
    area *b = space_node(s, a);
    b->start = at;
    b->offset += at - a->start;
    area_set_stop(&s->areas, a, at);
    area_insert(&s->areas, b);
}

void space_clear(kernel *k, space *s, uint64_t start, uint64_t stop)
{
    space_split(k, s, start);
    space_split(k, s, stop);
    area *a = area_above(&s->areas, start);
    kernel_release_range(k, s, start, stop);
    while (a && a->start < stop) {
        area *next = a->next;
        space_count(k, s, a, false);
        space_drop_node(k, s, a);
        a = next;
    }
}

void space_change(kernel *k, space *s, uint64_t start, uint64_t stop, area_change *change, void *ud)
{
    space_split(k, s, start);
    space_split(k, s, stop);
    for (area *a = area_above(&s->areas, start); a && a->start < stop; a = a->next) {
        space_count(k, s, a, false);
        change(k, s, a, ud);
        space_count(k, s, a, true);
    }
    space_merge(k, s, start, stop);
}

/* A border inside a large page can't be served by splitting areas alone. */
static bool space_cuts_large(const kernel *k, const space *s, uint64_t at)
{
    const area *a = area_find(&s->areas, at);
    return a && a->level && at & low_mask(k->hw->g.shift[a->level]);
}

vm_status space_range(const kernel *k, const space *s, const char *call, int beyond, uint64_t addr,
                      uint64_t *length, vm_error *e)
{
    uint64_t page = kernel_page(k);
    if (addr & (page - 1))
        return vm_fail_sys(e, VM_REFUSED, EINVAL, "%s: address %#llx is not a multiple of %llu",
                           call, (unsigned long long)addr, (unsigned long long)page);
    if (*length == 0)
        return vm_fail_sys(e, VM_REFUSED, EINVAL, "%s: the length is 0", call);
    uint64_t top = space_user_top(k);
    if (addr > top || *length > top - addr)
        return vm_fail_sys(e, VM_REFUSED, beyond,
                           "%s: %#llx bytes at %#llx end above the user's part of the space "
                           "(%#llx)",
                           call, (unsigned long long)*length, (unsigned long long)addr,
                           (unsigned long long)top);
    *length = align_up(*length, page);
    if (space_cuts_large(k, s, addr) || space_cuts_large(k, s, addr + *length))
        return vm_fail_sys(e, VM_REFUSED, EINVAL,
                           "%s: %#llx bytes at %#llx begin or end inside a large page", call,
                           (unsigned long long)*length, (unsigned long long)addr);
    return VM_OK;
}

/* --- mmap ------------------------------------------------------------------------------------ */

static vm_status space_check_request(const kernel *k, const map_request *r, uint64_t page,
                                     vm_error *e)
{
    const pt_geometry *g = &k->hw->g;
    if (r->level && (r->level >= g->levels || r->level > g->format->large_levels))
        return vm_fail_sys(e, VM_REFUSED, EINVAL, "mmap: format %s has no large page of level %u",
                           g->format->name, r->level);
    if (r->length == 0)
        return vm_fail_sys(e, VM_REFUSED, EINVAL, "mmap: the length is 0");
    if (r->length > space_user_top(k))
        return vm_fail_sys(e, VM_REFUSED, ENOMEM, "mmap: %#llx bytes are more than the space has",
                           (unsigned long long)r->length);
    if (r->offset & (page - 1))
        return vm_fail_sys(e, VM_REFUSED, EINVAL, "mmap: offset %#llx is not a multiple of %llu",
                           (unsigned long long)r->offset, (unsigned long long)page);
    if (r->file && (r->offset + r->length < r->offset ||
                    (r->offset + r->length - 1) >> g->page_bits >= FILE_PAGES))
        return vm_fail_sys(e, VM_REFUSED, EOVERFLOW, "mmap: file %s can't have so many pages",
                           r->file->name);
    if (r->file && r->level)
        return vm_fail_sys(e, VM_REFUSED, EINVAL, "mmap: a file can't be mapped by large pages");
    if (r->level && r->flags & AREA_GROWSDOWN)
        return vm_fail_sys(e, VM_REFUSED, EINVAL, "mmap: a stack can't have large pages");
    if (r->flags & AREA_SHARED && r->flags & AREA_GROWSDOWN)
        return vm_fail_sys(e, VM_REFUSED, EINVAL, "mmap: a stack can't be shared");
    return VM_OK;
}

/* Where the request goes: as asked if it is fixed or fits, else a gap. */
static vm_status space_place(kernel *k, const space *s, const map_request *r, uint64_t page,
                             uint64_t length, uint64_t *at, vm_error *e)
{
    uint64_t top = space_user_top(k), addr = r->fixed ? r->addr : align_down(r->addr, page);
    if (r->level)
        addr = align_down(addr, page);
    if (!r->fixed &&
        !(addr && length <= top && addr <= top - length && space_is_free(s, addr, addr + length))) {
        addr = space_gap(k, s, length, page);
        if (!addr)
            return vm_fail_sys(e, VM_REFUSED, ENOMEM, "mmap: no gap of %#llx bytes in the space",
                               (unsigned long long)length);
    }
    vm_status st = space_range(k, s, "mmap", ENOMEM, addr, &length, e);
    if (st == VM_OK && r->fixed && r->noreplace && !space_is_free(s, addr, addr + length))
        st = vm_fail_sys(e, VM_REFUSED, EEXIST, "mmap: something is mapped in %#llx bytes at %#llx",
                         (unsigned long long)length, (unsigned long long)addr);
    *at = addr;
    return st;
}

/* An object of shared memory of the size of the area. */
static vm_status space_shared_memory(kernel *k, area *a, vm_error *e)
{
    uint64_t pages =
        a->flags & AREA_NORESERVE && k->cfg.overcommit != OVERCOMMIT_STRICT ? 0 : area_pages(k, a);
    vm_status st = kernel_may_commit(k, pages, "mmap", e);
    if (st == VM_OK)
        st = file_new(k, "shared memory", true, &a->file, e);
    if (st != VM_OK)
        return st;
    a->file->size = a->stop - a->start;
    a->file->promised = pages;
    k->committed += pages;
    return VM_OK;
}

vm_status space_map(kernel *k, space *s, const map_request *r, uint64_t *at, vm_error *e)
{
    uint64_t page = kernel_page(k), addr = 0;
    if (r->level && r->level < k->hw->g.levels)
        page = UINT64_C(1) << k->hw->g.shift[r->level];
    vm_status st = space_check_request(k, r, page, e);
    uint64_t length = align_up(r->length, page);
    if (st == VM_OK)
        st = space_place(k, s, r, page, length, &addr, e);
    if (st != VM_OK)
        return st;
    area a = {.start = addr,
              .stop = addr + length,
              .file = r->file,
              .offset = r->offset,
              .flags = r->flags,
              .level = r->level};
    a.prot = (uint8_t)(r->prot & (PROT_R | PROT_W | PROT_X));
    size_t name = r->name ? strlen(r->name) : 0;
    memcpy(a.name, r->name ? r->name : "", name < AREA_NAME ? name : AREA_NAME - 1);
    if (space_promises(k, a.prot, a.flags)) {
        uint64_t before = space_promised(k, s, a.start, a.stop), pages = area_pages(k, &a);
        a.flags |= AREA_PROMISED;
        st = kernel_may_commit(k, pages > before ? pages - before : 0, "mmap", e);
    }
    if (st == VM_OK)
        st = space_reserve(k, s, 3, e);
    bool memory = !a.file && a.flags & AREA_SHARED;
    if (st == VM_OK && memory)
        st = space_shared_memory(k, &a, e);
    if (st != VM_OK)
        return st;
    space_clear(k, s, a.start, a.stop);
    space_insert(k, s, &a);
    if (memory) /* the area alone holds it */
        file_put(k, a.file);
    *at = addr;
    return VM_OK;
}

vm_status space_unmap(kernel *k, space *s, uint64_t addr, uint64_t length, vm_error *e)
{
    vm_status st = space_range(k, s, "munmap", EINVAL, addr, &length, e);
    if (st == VM_OK)
        st = space_reserve(k, s, 2, e);
    if (st == VM_OK)
        space_clear(k, s, addr, addr + length);
    return st;
}

/* --- mprotect -----------------------------------------------------------------------------------
 */

/* Bring the entries of an area in step with what it allows now. */
static void space_update_entries(kernel *k, space *s, const area *a)
{
    const pte_format *f = k->hw->g.format;
    for (entry_walk w = entries_of(k, s, a->start, a->stop); entries_next(&w);) {
        const pt_place at = w.at;
        if (at.pte & f->present) {
            uint64_t keep = at.pte & (f->accessed | f->dirty), ppn = pte_ppn(f, at.pte);
            const frame *r = frames_at(&k->frames, ppn);
            unsigned prot = huge_prot(k, a, &at);
            if (r->use == FRAME_FILE && file_at(a->file, r->index)->block == NUMBER_NONE &&
                !a->file->memory)
                prot &= ~(unsigned)PROT_W; /* the write will fault, and get it a block */
            uint64_t pte = pte_leaf(f, ppn, a->prot ? prot : PROT_R, at.level);
            dram_put(&k->hw->mem, at.pa, f->bytes, pte | keep);
            kernel_invalidate(k, s, w.va);
        }
    }
}

static void space_set_prot(kernel *k, space *s, area *a, void *ud)
{
    const unsigned *prot = ud;
    a->prot = (uint8_t)*prot;
    if (space_promises(k, a->prot, a->flags))
        a->flags |= AREA_PROMISED;
    space_update_entries(k, s, a);
}

vm_status space_protect(kernel *k, space *s, uint64_t addr, uint64_t length, unsigned prot,
                        vm_error *e)
{
    vm_status st = space_range(k, s, "mprotect", ENOMEM, addr, &length, e);
    if (st != VM_OK)
        return st;
    uint64_t stop = addr + length, fresh = 0;
    if (!space_covered(s, addr, stop))
        return vm_fail_sys(e, VM_REFUSED, ENOMEM,
                           "mprotect: not all of %#llx bytes at %#llx are mapped",
                           (unsigned long long)length, (unsigned long long)addr);
    prot &= PROT_R | PROT_W | PROT_X;
    for (const area *a = area_above(&s->areas, addr); a && a->start < stop; a = a->next)
        if (prot & PROT_W && a->flags & AREA_READONLY)
            return vm_fail_sys(e, VM_REFUSED, EACCES, "mprotect: file %s is open for reading only",
                               a->file->name);
        else if (!(a->flags & AREA_PROMISED) && space_promises(k, prot, a->flags))
            fresh += (a->stop < stop ? a->stop : stop) - (a->start > addr ? a->start : addr);
    st = kernel_may_commit(k, fresh >> k->hw->g.page_bits, "mprotect", e);
    if (st == VM_OK)
        st = space_reserve(k, s, 2, e);
    if (st == VM_OK)
        space_change(k, s, addr, stop, space_set_prot, &prot);
    return st;
}

/* --- the heap and stacks
 * ---------------------------------------------------------------------------- */

vm_status space_set_brk(kernel *k, space *s, uint64_t brk, vm_error *e)
{
    uint64_t page = kernel_page(k);
    uint64_t old = align_up(s->brk, page), new = align_up(brk, page), at;
    if (brk < s->brk_start || brk > space_user_top(k))
        return vm_fail_sys(
            e, VM_REFUSED, ENOMEM,
            "brk: %#llx is not between the heap's start %#llx and the top of the space",
            (unsigned long long)brk, (unsigned long long)s->brk_start);
    vm_status st = VM_OK;
    if (new > old) {
        if (!space_is_free(s, old, new))
            return vm_fail_sys(
                e, VM_REFUSED, ENOMEM, "brk: %#llx would reach into the area at %#llx",
                (unsigned long long)brk, (unsigned long long)area_above(&s->areas, old)->start);
        map_request r = {.addr = old,
                         .length = new - old,
                         .prot = PROT_R | PROT_W,
                         .fixed = true,
                         .name = AREA_HEAP};
        st = space_map(k, s, &r, &at, e);
    } else if (new < old) {
        st = space_unmap(k, s, new, old - new, e);
    }
    if (st == VM_OK)
        s->brk = brk;
    return st;
}

bool space_grow_stack(kernel *k, space *s, uint64_t va)
{
    area *a = area_above(&s->areas, va);
    uint64_t page = kernel_page(k), start = align_down(va, page);
    if (!a || !(a->flags & AREA_GROWSDOWN) || a->stop - start > k->cfg.stack_limit)
        return false;
    uint64_t guard = STACK_GUARD * page, most = align_up(space_user_top(k) / 1024, page);
    guard = guard < most ? guard : most;
    if (start < guard || (a->prev && start - guard < a->prev->stop))
        return false;
    area grown = *a;
    grown.stop = a->start;
    grown.start = start;
    if (a->flags & AREA_PROMISED &&
        kernel_may_commit(k, area_pages(k, &grown), "stack", NULL) != VM_OK)
        return false;
    space_count(k, s, &grown, true);
    area_set_start(&s->areas, a, start);
    return true;
}
