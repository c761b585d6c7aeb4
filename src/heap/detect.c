#include "detect.h"

#include <errno.h>

#define X(id, name, doc) name,
const char *const detect_kind_names[] = {DETECT_KINDS(X) NULL};
#undef X
#define X(id, name, doc) doc,
const char *const detect_kind_docs[] = {DETECT_KINDS(X) NULL};
#undef X
const char *const detect_use_names[] = {"branch", "address", "syscall", "load", "size", NULL};
const char *const detect_part_names[] = {"heap", "stack", "data", "mapping", NULL};
const char *const detect_family_names[] = {"malloc", "new", "new_array", NULL};

/* Blocks of the stack and mappings that are gone and still have a name, at most. */
#define DETECT_LEFT 65536

vm_status detect_site(detect *d, uint32_t *site, vm_error *e)
{
    *site = 0;
    return d->hooks.site ? d->hooks.site(d->hooks.ud, site, e) : VM_OK;
}

/* --- blocks ------------------------------------------------------------------------- */

/* Room for one more block, before anything changes. */
vm_status detect_reserve(detect *d, vm_error *e)
{
    if (d->last_id == UINT32_MAX >> 2)
        return vm_fail(e, VM_INVALID, "the detector has given out all ids of blocks");
    if (d->spares)
        return VM_OK;
    uint32_t room = d->room ? d->room * 2 : 64;
    vm_status s = keymap_reserve(&d->ids, &d->host, room, e);
    if (s != VM_OK)
        return s;
    void *blocks = d->blocks, *spare = d->spare;
    bool grown = host_grow(&d->host, &blocks, &d->block_cap, room, sizeof *d->blocks);
    d->blocks = blocks;
    grown = grown && host_grow(&d->host, &spare, &d->spare_cap, room, sizeof *d->spare);
    d->spare = spare;
    if (!grown)
        return vm_fail_nomem(e, "the detector's blocks");
    for (uint32_t i = room; i-- > d->room;) {
        d->blocks[i].id = 0;
        d->spare[d->spares++] = i;
    }
    d->room = room;
    return VM_OK;
}

const detect_block *detect_block_of(const detect *d, uint32_t id)
{
    uint32_t i = id ? keymap_find(&d->ids, id) : KEYMAP_NONE;
    return i == KEYMAP_NONE ? NULL : &d->blocks[i];
}

static detect_block *detect_known(detect *d, uint32_t id)
{
    return (detect_block *)detect_block_of(d, id);
}

const detect_block *detect_at(detect *d, uint64_t va)
{
    return detect_block_of(d, shadow_owner(&d->shadow, va));
}

void detect_forget(detect *d, detect_block *b)
{
    uint32_t i = (uint32_t)(b - d->blocks);
    keymap_drop(&d->ids, i);
    b->id = 0;
    d->spare[d->spares++] = i;
}

vm_status detect_place(detect *d, const detect_block *like, bool undefined, tracked *out,
                       vm_error *e)
{
    const bool shadowed = like->part != PART_MAPPING;
    vm_status s = detect_reserve(d, e);
    if (s == VM_OK && shadowed)
        s = shadow_need(&d->shadow, like->low, like->high, e);
    if (s != VM_OK)
        return s;
    uint32_t i = d->spare[--d->spares];
    detect_block *b = &d->blocks[i];
    *b = *like;
    b->id = ++d->last_id << 2 | b->part;
    b->live = true;
    b->gone = b->next = 0;
    keymap_put(&d->ids, b->id, i);
    if (shadowed) {
        const uint64_t stop = b->start + b->size;
        shadow_paint(&d->shadow, b->low, b->start, SHADOW_RED);
        shadow_paint(&d->shadow, b->start, stop, SHADOW_LIVE);
        shadow_paint(&d->shadow, stop, b->high, SHADOW_RED);
        shadow_own(&d->shadow, b->low, b->high, b->id);
        if (undefined)
            shadow_undefine(&d->shadow, b->start, stop, b->id);
        else
            shadow_define(&d->shadow, b->start, stop);
    }
    if (out)
        *out = (tracked){.x = b->start, .from = b->id};
    return VM_OK;
}

static void detect_push(detect *d, detect_queue *q, detect_block *b)
{
    detect_block *last = detect_known(d, q->last);
    b->next = 0;
    if (last)
        last->next = b->id;
    else
        q->first = b->id;
    q->last = b->id;
    q->bytes += b->high - b->low;
    q->count++;
}

static detect_block *detect_pop(detect *d, detect_queue *q)
{
    detect_block *b = detect_known(d, q->first);
    q->first = b->next;
    if (!q->first)
        q->last = 0;
    q->bytes -= b->high - b->low;
    q->count--;
    return b;
}

void detect_retire(detect *d, detect_block *b, uint32_t site, shadow_state state)
{
    b->live = false;
    b->gone = site;
    if (b->part != PART_MAPPING)
        shadow_paint(&d->shadow, b->start, b->start + b->size, state);
    if (b->part == PART_HEAP) {
        detect_push(d, &d->freed, b);
        return;
    }
    detect_push(d, &d->left, b);
    if (d->left.count > DETECT_LEFT)
        detect_forget(d, detect_pop(d, &d->left));
}

/* --- calls of the allocator ------------------------------------------------------------ */

/* A call that the guard passes on to the allocator; nobody looks at its accesses. */
static vm_status detect_pass(detect *d, heap *h, vm_error *e)
{
    if (!d->p->space)
        return vm_fail(e, VM_INVALID, "the process has ended");
    h->port.p = d->p;
    h->passed = true;
    d->muted++;
    return VM_OK;
}

static void detect_passed(detect *d, heap *h)
{
    h->passed = false;
    d->muted--;
}

static vm_status detect_pass_free(detect *d, heap *h, uint64_t a, vm_error *e)
{
    vm_status s = detect_pass(d, h, e);
    if (s != VM_OK)
        return s;
    s = heap_free(h, a, e);
    detect_passed(d, h);
    return s;
}

static vm_status detect_pass_malloc(detect *d, const detect_request *r, uint64_t n, uint64_t *a,
                                    vm_error *e)
{
    vm_status s = detect_pass(d, r->h, e);
    if (s != VM_OK)
        return s;
    s = r->align ? heap_memalign(r->h, r->align, n, a, e) : heap_malloc(r->h, n, a, e);
    detect_passed(d, r->h);
    return s;
}

/* The allocator's part of calloc, from NULL, and of realloc: bytes that it writes. */
static vm_status detect_pass_fill(detect *d, heap *h, uint64_t to, const uint64_t *from, uint64_t n,
                                  vm_error *e)
{
    heap_meter at;
    vm_status s = detect_pass(d, h, e);
    if (s != VM_OK)
        return s;
    s = heap_ready(h, &at, e);
    if (s == VM_OK) {
        if (from)
            port_copy(&h->port, to, *from, align_up(n, 4));
        else
            port_zero(&h->port, to, align_up(n, 4));
        s = heap_done(h, &at, e);
    }
    detect_passed(d, h);
    return s;
}

/* The oldest blocks leave the quarantine for the heaps that they came from. */
static vm_status detect_drain(detect *d, vm_error *e)
{
    while (d->freed.count && d->freed.bytes > d->cfg.quarantine) {
        detect_block b = *detect_known(d, d->freed.first);
        heap *h = d->heaps[b.heap];
        detect_forget(d, detect_pop(d, &d->freed));
        if (!h) /* closed since */
            continue;
        shadow_forget(&d->shadow, b.low, b.high);
        shadow_own(&d->shadow, b.low, b.high, 0);
        vm_status s = detect_pass_free(d, h, b.low, e);
        if (s != VM_OK)
            return s;
    }
    return VM_OK;
}

static uint8_t detect_heap_index(const detect *d, const heap *h)
{
    uint8_t i = 0;
    while (d->heaps[i] != h)
        i++;
    return i;
}

/* Bytes before the block: a redzone, and what keeps the alignment. */
static uint64_t detect_margin(const detect *d, uint64_t align)
{
    return d->cfg.redzone ? align_up(d->cfg.redzone, align ? align : 1) : 0;
}

vm_status detect_malloc(detect *d, const detect_request *r, tracked *out, vm_error *e)
{
    heap *h = r->h;
    *out = tracked_plain(0);
    if ((int64_t)r->n < 0) {
        detect_report bad = {.kind = DETECT_BAD_SIZE, .size = r->n};
        memcpy(bad.name, "malloc", sizeof "malloc");
        vm_status s = detect_tell(d, &bad, e);
        if (s != VM_OK)
            return s;
    }
    if (r->n == 0)
        return VM_OK;
    const uint64_t margin = detect_margin(d, r->align), extra = margin + d->cfg.redzone;
    const uint64_t n = r->n > UINT64_MAX - extra ? UINT64_MAX : r->n + extra;
    uint64_t a = 0;
    uint32_t site;
    vm_status s = detect_reserve(d, e);
    if (s == VM_OK)
        s = detect_site(d, &site, e);
    if (s != VM_OK)
        return s;
    s = detect_pass_malloc(d, r, n, &a, e);
    if (s != VM_OK)
        return s;
    detect_block b = {.part = PART_HEAP,
                      .family = (uint8_t)r->family,
                      .heap = detect_heap_index(d, h),
                      .start = a + margin,
                      .size = r->n,
                      .item = r->item,
                      .low = a,
                      .high = a + n,
                      .made = site};
    s = detect_place(d, &b, !r->zero, out, e);
    if (s != VM_OK) {
        detect_pass_free(d, h, a, NULL);
        return s;
    }
    return r->zero ? detect_pass_fill(d, h, b.start, NULL, b.size, e) : VM_OK;
}

/* What is wrong with this free, if anything: r is filled. */
static bool detect_wrong_free(detect *d, heap *h, detect_family family, const tracked *a,
                              detect_report *r)
{
    const detect_block *b = detect_at(d, a->x), *from = detect_block_of(d, a->from);
    *r = (detect_report){.addr = a->x, .bad = a->x};
    memcpy(r->name, "free", sizeof "free");
    if (from && from != b)
        r->pointer = *from;
    /* The pointer's own block is gone, and another stands there. */
    if (a->from && a->from != (b ? b->id : 0) && (!from || !from->live) &&
        (!from || from->start == a->x)) {
        r->kind = DETECT_DOUBLE_FREE;
        r->block = from ? *from : (detect_block){0};
        return true;
    }
    if (b)
        r->block = *b;
    if (!b || b->part != PART_HEAP || b->start != a->x || (from && from != b)) {
        r->kind = DETECT_INVALID_FREE;
        return true;
    }
    if (!b->live) {
        r->kind = DETECT_DOUBLE_FREE;
        return true;
    }
    r->kind = DETECT_MISMATCHED_FREE;
    return d->heaps[b->heap] != h || b->family != family;
}

vm_status detect_free(detect *d, heap *h, detect_family family, const tracked *a, vm_error *e)
{
    detect_report r;
    vm_status s = detect_used(d, USE_ADDRESS, a, "free", e);
    if (s != VM_OK || a->x == 0)
        return s;
    if (detect_wrong_free(d, h, family, a, &r)) {
        s = detect_tell(d, &r, e);
        if (s != VM_OK || r.kind != DETECT_MISMATCHED_FREE)
            return s;
    }
    uint32_t site;
    s = detect_site(d, &site, e);
    detect_block *b = detect_known(d, shadow_owner(&d->shadow, a->x));
    if (s != VM_OK || !b || !b->live) /* who was told did it */
        return s;
    detect_retire(d, b, site, SHADOW_FREED);
    return detect_drain(d, e);
}

/* Always to a new place, so that old pointers to the block show. */
vm_status detect_realloc(detect *d, heap *h, const tracked *a, uint64_t n, tracked *out,
                         vm_error *e)
{
    const detect_request want = {.h = h, .n = n};
    detect_report wrong;
    *out = tracked_plain(0);
    vm_status s = detect_used(d, USE_ADDRESS, a, "realloc", e);
    if (s != VM_OK)
        return s;
    if (a->x == 0)
        return detect_malloc(d, &want, out, e);
    if (n == 0)
        return detect_free(d, h, FAMILY_MALLOC, a, e);
    if (detect_wrong_free(d, h, FAMILY_MALLOC, a, &wrong)) {
        memcpy(wrong.name, "realloc", sizeof "realloc");
        s = detect_tell(d, &wrong, e);
        if (s != VM_OK || wrong.kind != DETECT_MISMATCHED_FREE)
            return s;
    }
    uint32_t site;
    s = detect_site(d, &site, e);
    if (s == VM_OK)
        s = detect_malloc(d, &want, out, e);
    detect_block *b = detect_known(d, shadow_owner(&d->shadow, a->x));
    if (s != VM_OK || out->x == 0 || !b || !b->live)
        return s;
    const uint64_t same = b->size < n ? b->size : n;
    s = detect_pass_fill(d, h, out->x, &b->start, same, e);
    if (s == VM_OK)
        s = shadow_copy(&d->shadow, out->x, b->start, same, e);
    if (s != VM_OK)
        return s;
    detect_retire(d, b, site, SHADOW_FREED);
    return detect_drain(d, e);
}

/* --- the guard: calls that came by the heap ---------------------------------------------- */

static detect *detect_of_guard(heap_guard *g)
{
    return (detect *)((char *)g - offsetof(detect, guard));
}

static vm_status detect_guard_malloc(heap_guard *g, heap *h, uint64_t align, uint64_t count,
                                     uint64_t size, bool zero, uint64_t *a, vm_error *e)
{
    detect *d = detect_of_guard(g);
    detect_request r = {.h = h,
                        .align = align > (uint64_t)h->cfg.align ? align : 0,
                        .n = size && count > UINT64_MAX / size ? INT64_MAX : count * size,
                        .item = zero ? size : 0,
                        .zero = zero};
    tracked t;
    d->p = h->port.p;
    vm_status s = detect_malloc(d, &r, &t, e);
    *a = t.x;
    return s;
}

static vm_status detect_guard_realloc(heap_guard *g, heap *h, uint64_t old, uint64_t n, uint64_t *a,
                                      vm_error *e)
{
    detect *d = detect_of_guard(g);
    const tracked was = tracked_plain(old);
    tracked t;
    d->p = h->port.p;
    vm_status s = detect_realloc(d, h, &was, n, &t, e);
    *a = t.x;
    return s;
}

static vm_status detect_guard_free(heap_guard *g, heap *h, uint64_t a, vm_error *e)
{
    detect *d = detect_of_guard(g);
    const tracked t = tracked_plain(a);
    d->p = h->port.p;
    return detect_free(d, h, FAMILY_MALLOC, &t, e);
}

static bool detect_guard_usable_size(heap_guard *g, heap *h, uint64_t a, uint64_t *n)
{
    detect *d = detect_of_guard(g);
    const detect_block *b = detect_at(d, a);
    if (!b || b->part != PART_HEAP || !b->live || b->start != a || d->heaps[b->heap] != h)
        return false;
    *n = b->size;
    return true;
}

static void detect_guard_look(heap_guard *g, bool begins)
{
    detect_of_guard(g)->muted += begins ? 1u : 0u - 1u;
}

/* Its blocks are gone, nobody can say where in the program, and its memory is what it was
 * to others. */
static void detect_guard_closed(heap_guard *g, heap *h)
{
    detect *d = detect_of_guard(g);
    const uint8_t index = detect_heap_index(d, h);
    for (uint32_t i = 0; i < d->room; i++) {
        detect_block *b = &d->blocks[i];
        if (!b->id || b->part != PART_HEAP || b->heap != index)
            continue;
        if (b->live)
            detect_retire(d, b, 0, SHADOW_NONE);
        shadow_forget(&d->shadow, b->low, b->high);
        shadow_own(&d->shadow, b->low, b->high, 0);
    }
    d->heaps[index] = NULL;
    h->guard = NULL;
}

/* --- the watch of the space, making and ending -------------------------------------------- */

static void detect_released(space_watch *w, uint64_t start, uint64_t stop)
{
    detect *d = (detect *)w;
    shadow_define(&d->shadow, start, stop);
    for (uint32_t i = 0; i < d->room && d->mappings; i++) {
        detect_block *b = &d->blocks[i];
        if (b->id && b->part == PART_MAPPING && b->live && b->start >= start &&
            b->start + b->size <= stop) {
            detect_retire(d, b, 0, SHADOW_NONE);
            d->mappings--;
        }
    }
}

static void detect_gone(space_watch *w)
{
    detect *d = (detect *)w;
    d->space = NULL;
}

static vm_status detect_access(space_watch *w, uint64_t va, uint64_t n, access_kind kind,
                               vm_error *e)
{
    detect *d = (detect *)w;
    const tracked a = tracked_plain(va);
    if (d->muted || d->checked)
        return VM_OK;
    d->told = false;
    vm_status s = VM_OK;
    if (kind != ACCESS_STORE)
        s = detect_check(d, &a, n, kind == ACCESS_MODIFY ? ACCESS_LOAD : kind, e);
    if (s == VM_OK && (kind == ACCESS_STORE || kind == ACCESS_MODIFY))
        s = detect_check(d, &a, n, ACCESS_STORE, e);
    if (s == VM_OK && kind == ACCESS_LOAD && d->cfg.at_load)
        s = detect_check_defined(d, &a, n, USE_LOAD, NULL, e);
    if (s == VM_OK && kind == ACCESS_STORE && n <= UINT64_MAX - va)
        shadow_define(&d->shadow, va, va + n);
    return s;
}

static vm_status detect_faulted(space_watch *w, const fault_info *info, vm_error *e)
{
    detect *d = (detect *)w;
    if (d->told || d->muted)
        return VM_FAULT;
    const detect_block *b = detect_at(d, info->addr);
    detect_report r = {.kind = DETECT_BAD_POINTER,
                       .access = info->access,
                       .addr = info->addr,
                       .bad = info->addr,
                       .block = b ? *b : (detect_block){0}};
    vm_status s = detect_tell(d, &r, e);
    return s == VM_OK ? VM_FAULT : s;
}

vm_status detect_new(const vm_host *host, const detect_config *cfg, const detect_hooks *hooks,
                     machine *m, process *p, detect **out, vm_error *e)
{
    if (p->space->watch)
        return vm_fail(e, VM_INVALID, "process %u is watched by a detector already", p->pid);
    detect *d = host_zalloc(host, sizeof *d);
    if (!d)
        return vm_fail_nomem(e, "a detector");
    d->watch = (space_watch){detect_access, detect_faulted, detect_released, detect_gone};
    d->guard = (heap_guard){detect_guard_malloc,      detect_guard_realloc, detect_guard_free,
                            detect_guard_usable_size, detect_guard_look,    detect_guard_closed};
    d->hooks = *hooks;
    d->cfg = *cfg;
    d->host = *host;
    d->m = m;
    d->p = p;
    vm_status s = shadow_init(&d->shadow, host, e);
    if (s == VM_OK)
        s = keymap_init(&d->ids, host, 0, e);
    if (s != VM_OK) {
        detect_delete(d);
        return s;
    }
    d->space = p->space;
    d->space->watch = &d->watch;
    *out = d;
    return VM_OK;
}

void detect_delete(detect *d)
{
    if (!d)
        return;
    const vm_host host = d->host;
    if (d->space)
        d->space->watch = NULL;
    for (unsigned i = 0; i < d->heap_count; i++)
        if (d->heaps[i])
            d->heaps[i]->guard = NULL;
    shadow_free(&d->shadow);
    keymap_free(&d->ids, &host);
    host_free(&host, d->blocks, d->block_cap * sizeof *d->blocks);
    host_free(&host, d->spare, d->spare_cap * sizeof *d->spare);
    host_free(&host, d->frames, d->frame_cap * sizeof *d->frames);
    host_free(&host, d->locals, d->local_cap * sizeof *d->locals);
    host_free(&host, d->reports, d->report_cap * sizeof *d->reports);
    host_free(&host, d, sizeof *d);
}

typedef struct detect_survey {
    detect *d;
    heap *h;
    uint8_t index;
    vm_status status;
    vm_error *e;
} detect_survey;

static bool detect_survey_block(void *ud, const heap_block *at)
{
    detect_survey *v = ud;
    detect_block b = {.part = PART_HEAP, .heap = v->index, .start = at->payload};
    if (!at->used || !heap_asked(v->h, at->payload, &b.size))
        return true;
    b.low = b.start;
    b.high = b.start + b.size;
    v->status = detect_place(v->d, &b, false, NULL, v->e);
    return v->status == VM_OK;
}

vm_status detect_attach(detect *d, heap *h, vm_error *e)
{
    if (h->guard)
        return vm_fail(e, VM_INVALID, "a detector stands in front of this heap already");
    if (h->watch)
        return vm_fail(e, VM_INVALID,
                       "the heap has a collector, which frees blocks without a call");
    if (h->port.m != d->m || !d->space || h->port.p->space != d->space)
        return vm_fail(e, VM_INVALID, "the heap is not in the memory that the detector watches");
    if (d->heap_count == DETECT_HEAPS)
        return vm_fail(e, VM_INVALID, "a detector has at most %d heaps", DETECT_HEAPS);
    detect_survey v = {d, h, (uint8_t)d->heap_count, VM_OK, e};
    d->heaps[d->heap_count] = h;
    d->heap_count++;
    h->guard = &d->guard;
    vm_status s = heap_walk(h, detect_survey_block, &v, e);
    if (v.status != VM_OK)
        s = v.status;
    if (s != VM_OK)
        detect_guard_closed(&d->guard, h);
    return s;
}
