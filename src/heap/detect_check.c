/* detect_check.c: is an access allowed, and if not, what is said of it?
 *
 * A pointer that knows its block is judged by that block: whatever else lies where it
 * leads is not its own. A plain address is judged by the shadow of its bytes, and where
 * a byte is nobody's, by the block that is nearest. Reports of one kind from one place
 * in the program are one report that is counted.
 */
#include "detect.h"

/* --- reports ------------------------------------------------------------------------ */

static bool detect_alike(const detect_report *a, const detect_report *b)
{
    return a->kind == b->kind && a->site == b->site && a->access == b->access && a->use == b->use;
}

vm_status detect_tell(detect *d, detect_report *r, vm_error *e)
{
    vm_status s = detect_site(d, &r->site, e);
    if (s != VM_OK)
        return s;
    d->told = true;
    d->errors++;
    r->count = 1;
    for (size_t i = 0; d->cfg.once && i < d->report_count; i++)
        if (detect_alike(&d->reports[i], r)) {
            d->reports[i].count++;
            return VM_OK;
        }
    if (d->report_count >= d->cfg.limit)
        return VM_OK;
    void *list = d->reports;
    if (!host_grow(&d->host, &list, &d->report_cap, d->report_count + 1, sizeof *d->reports))
        return vm_fail_nomem(e, "a report");
    d->reports = list;
    d->reports[d->report_count++] = *r;
    s = d->hooks.tell ? d->hooks.tell(d->hooks.ud, d->report_count - 1, e) : VM_OK;
    if (s == VM_OK && !d->space)
        s = vm_fail(e, VM_INVALID, "the process was ended by whoever was told of an error");
    return s;
}

/* --- where an address is ------------------------------------------------------------- */

#define DETECT_NEAR 128 /* bytes from a block, within which it is named */

bool detect_in(const detect_area *a, uint64_t va) { return va >= a->low && va < a->high; }

static bool detect_meets(const detect_area *a, uint64_t start, uint64_t stop)
{
    return start < a->high && stop > a->low;
}

static bool detect_meets_heap(const heap *h, uint64_t start, uint64_t stop)
{
    const heap_port *t = &h->port;
    size_t lo = 0, hi = t->area_count; /* areas before lo begin below stop */
    if (start < t->top && stop > t->base)
        return true;
    while (lo < hi) {
        size_t mid = (lo + hi) / 2;
        if (t->areas[mid].start < stop)
            lo = mid + 1;
        else
            hi = mid;
    }
    return lo && t->areas[lo - 1].start + t->areas[lo - 1].size > start;
}

/* Some byte of the range may be accessed only as part of a block. */
bool detect_ruled(const detect *d, uint64_t start, uint64_t stop)
{
    for (unsigned i = 0; i < d->heap_count; i++)
        if (d->heaps[i] && detect_meets_heap(d->heaps[i], start, stop))
            return true;
    return detect_meets(&d->stack, start, stop) || detect_meets(&d->data, start, stop);
}

/* The block next to va, on the nearer side; NULL: none is near. */
static const detect_block *detect_near(detect *d, uint64_t va)
{
    for (uint64_t k = 0; k <= DETECT_NEAR; k += SHADOW_WORD) {
        const detect_block *b = va >= k ? detect_at(d, va - k) : NULL;
        if (!b)
            b = va + k >= va ? detect_at(d, va + k) : NULL;
        if (b)
            return b;
    }
    return NULL;
}

static detect_kind detect_side(const detect_block *b, uint64_t bad)
{
    return bad < b->start ? DETECT_UNDERRUN : DETECT_OVERRUN;
}

static const detect_kind detect_after[] = {[PART_HEAP] = DETECT_AFTER_FREE,
                                           [PART_STACK] = DETECT_AFTER_RETURN,
                                           [PART_DATA] = DETECT_BAD_POINTER,
                                           [PART_MAPPING] = DETECT_AFTER_UNMAP};

/* --- accesses by pointers whose block is known ---------------------------------------- */

/* The first byte outside the block. */
static uint64_t detect_outside(const detect_block *b, uint64_t va)
{
    const uint64_t stop = b->start + b->size;
    return va >= b->start && va < stop ? stop : va;
}

/* False: the access is all right; else r says what is wrong. */
static bool detect_by_block(detect *d, const tracked *a, uint64_t n, detect_report *r)
{
    const detect_block *b = detect_block_of(d, a->from);
    if (!b) { /* forgotten: only that it is gone is known */
        r->kind = detect_after[DETECT_PART(a->from)];
        return true;
    }
    if (!b->live) {
        r->kind = detect_after[b->part];
        r->block = *b;
        return true;
    }
    if (a->x >= b->start && a->x - b->start <= b->size && n <= b->size - (a->x - b->start))
        return false;
    r->bad = detect_outside(b, a->x);
    const detect_block *hit =
        shadow_at(&d->shadow, r->bad) == SHADOW_LIVE ? detect_at(d, r->bad) : NULL;
    r->kind = hit && hit != b ? DETECT_STRAY : detect_side(b, r->bad);
    r->block = hit && hit != b ? *hit : *b;
    if (hit && hit != b)
        r->pointer = *b;
    return true;
}

/* --- accesses by addresses alone ------------------------------------------------------- */

/* A byte may be accessed as far as the shadow knows; false: r says why not. */
static bool detect_byte(detect *d, uint64_t va, detect_report *r)
{
    const shadow_state state = shadow_at(&d->shadow, va);
    if (state == SHADOW_LIVE)
        return true;
    if (state == SHADOW_NONE && !detect_ruled(d, va, va + 1))
        return true;
    const detect_block *b = state == SHADOW_NONE ? detect_near(d, va) : detect_at(d, va);
    r->bad = va;
    if (b)
        r->block = *b;
    if (!b)
        r->kind = detect_in(&d->stack, va) || detect_in(&d->data, va) ? DETECT_NO_VARIABLE
                                                                      : DETECT_ALLOCATOR;
    else if (va >= b->start && va < b->start + b->size)
        r->kind = detect_after[b->part];
    else
        r->kind = detect_side(b, va);
    return false;
}

static bool detect_by_address(detect *d, uint64_t va, uint64_t n, detect_report *r)
{
    for (uint64_t i = 0; i < n;) {
        const shadow_page *p = shadow_find(&d->shadow, va + i);
        uint64_t at = (va + i) % SHADOW_PAGE, room = SHADOW_PAGE - at;
        /* Most bytes are of live blocks. */
        while (p && room && i < n && p->state[at] == SHADOW_LIVE)
            i++, at++, room--;
        if (i == n || room == 0)
            continue;
        if (!p && !detect_ruled(d, va + i, room < n - i ? va + i + room : va + n)) {
            i += room;
            continue;
        }
        if (!detect_byte(d, va + i, r))
            return true;
        i++;
    }
    return false;
}

vm_status detect_check(detect *d, const tracked *a, uint64_t n, access_kind kind, vm_error *e)
{
    detect_report r = {.access = kind, .addr = a->x, .size = n, .bad = a->x};
    vm_status s = detect_used(d, USE_ADDRESS, a, NULL, e);
    if (s != VM_OK || n == 0)
        return s;
    bool wrong = a->from ? detect_by_block(d, a, n, &r)
                         : n - 1 <= UINT64_MAX - a->x && detect_by_address(d, a->x, n, &r);
    return wrong ? detect_tell(d, &r, e) : VM_OK;
}

/* --- uses ------------------------------------------------------------------------------- */

static vm_status detect_tell_use(detect *d, detect_report *r, uint32_t origin, const char *name,
                                 vm_error *e)
{
    const detect_block *b = detect_block_of(d, origin);
    r->kind = DETECT_UNINITIALISED;
    if (b)
        r->origin = *b;
    if (name)
        strncpy(r->name, name, sizeof r->name - 1);
    return detect_tell(d, r, e);
}

vm_status detect_used(detect *d, detect_use use, const tracked *t, const char *name, vm_error *e)
{
    detect_report r = {.use = use, .addr = t->x, .undef = t->undef};
    return t->undef ? detect_tell_use(d, &r, t->origin, name, e) : VM_OK;
}

vm_status detect_check_defined(detect *d, const tracked *a, uint64_t n, detect_use use,
                               const char *name, vm_error *e)
{
    detect_report r = {.use = use, .addr = a->x, .size = n};
    uint32_t origin;
    if (n == 0 || n - 1 > UINT64_MAX - a->x ||
        !shadow_undefined(&d->shadow, a->x, n, &r.bad, &origin))
        return VM_OK;
    return detect_tell_use(d, &r, origin, name, e);
}

/* --- loads, stores, copies --------------------------------------------------------------- */

/* The machine's part of an access that was checked. */
static vm_status detect_move(detect *d, uint64_t va, void *to, const void *from, uint64_t n,
                             access_kind kind, vm_error *e)
{
    const uint64_t page = kernel_page(&d->m->kernel);
    vm_status s = VM_OK;
    for (uint64_t at = 0; at < n && s == VM_OK;) {
        uint64_t room = page - ((va + at) & (page - 1)), k = n - at;
        if (n > 8 && k > room) /* numbers cross pages in one access */
            k = room;
        if (!d->p->space)
            return vm_fail(e, VM_INVALID, "the process has ended");
        d->checked = true;
        s = from ? machine_write(d->m, d->p, va + at, (const char *)from + at, (size_t)k, &d->info,
                                 e)
                 : machine_read(d->m, d->p, va + at, (char *)to + at, (size_t)k, kind, &d->info, e);
        d->checked = false;
        at += k;
    }
    return s;
}

vm_status detect_load(detect *d, const tracked *a, unsigned n, access_kind kind, tracked *out,
                      vm_error *e)
{
    uint8_t b[8] = {0};
    d->told = false;
    vm_status s = detect_check(d, a, n, kind, e);
    if (s == VM_OK && d->cfg.at_load)
        s = detect_check_defined(d, a, n, USE_LOAD, NULL, e);
    const bool wrong = d->told;
    if (s == VM_OK)
        s = detect_move(d, a->x, b, NULL, n, kind, e);
    if (s != VM_OK)
        return s;
    shadow_get(&d->shadow, a->x, n, out);
    if (wrong) /* reported once, not again at each use */
        out->undef = out->origin = 0;
    out->x = 0;
    for (unsigned i = n; i-- > 0;)
        out->x = out->x << 8 | b[i];
    return VM_OK;
}

vm_status detect_store(detect *d, const tracked *a, unsigned n, const tracked *x, vm_error *e)
{
    uint8_t b[8];
    d->told = false;
    vm_status s = detect_check(d, a, n, ACCESS_STORE, e);
    for (unsigned i = 0; i < n; i++)
        b[i] = (uint8_t)(x->x >> 8 * i);
    if (s == VM_OK)
        s = detect_move(d, a->x, NULL, b, n, ACCESS_STORE, e);
    return s == VM_OK ? shadow_put(&d->shadow, a->x, n, x, e) : s;
}

vm_status detect_read(detect *d, const tracked *a, void *to, uint64_t n, vm_error *e)
{
    d->told = false;
    vm_status s = detect_check(d, a, n, ACCESS_LOAD, e);
    if (s == VM_OK && d->cfg.at_load)
        s = detect_check_defined(d, a, n, USE_LOAD, NULL, e);
    return s == VM_OK ? detect_move(d, a->x, to, NULL, n, ACCESS_LOAD, e) : s;
}

vm_status detect_write(detect *d, const tracked *a, const void *from, uint64_t n, vm_error *e)
{
    d->told = false;
    vm_status s = detect_check(d, a, n, ACCESS_STORE, e);
    if (s == VM_OK)
        s = detect_move(d, a->x, NULL, from, n, ACCESS_STORE, e);
    if (s == VM_OK)
        shadow_define(&d->shadow, a->x, a->x + n);
    return s;
}

vm_status detect_copy(detect *d, const tracked *to, const tracked *from, uint64_t n, bool move,
                      vm_error *e)
{
    const uint64_t apart = to->x > from->x ? to->x - from->x : from->x - to->x;
    vm_status s = VM_OK;
    if (n == 0)
        return VM_OK;
    if (!move && apart < n) {
        const detect_block *b = detect_at(d, to->x);
        detect_report r = {.kind = DETECT_OVERLAP,
                           .addr = to->x,
                           .bad = to->x > from->x ? to->x : from->x,
                           .size = n,
                           .other = from->x,
                           .block = b ? *b : (detect_block){0}};
        memcpy(r.name, "memcpy", sizeof "memcpy");
        s = detect_tell(d, &r, e);
    }
    d->told = false;
    if (s == VM_OK)
        s = detect_check(d, from, n, ACCESS_LOAD, e);
    if (s == VM_OK)
        s = detect_check(d, to, n, ACCESS_STORE, e);
    if (s != VM_OK)
        return s;
    uint8_t *b = host_alloc(&d->host, (size_t)n);
    if (!b)
        return vm_fail_nomem(e, "a copy");
    s = detect_move(d, from->x, b, NULL, n, ACCESS_LOAD, e);
    if (s == VM_OK)
        s = detect_move(d, to->x, NULL, b, n, ACCESS_STORE, e);
    host_free(&d->host, b, (size_t)n);
    return s == VM_OK ? shadow_copy(&d->shadow, to->x, from->x, n, e) : s;
}
