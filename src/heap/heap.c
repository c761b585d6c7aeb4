#include "heap.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>

const char *const heap_sources[] = {"sbrk", "mmap", NULL};

/* --- options ------------------------------------------------------------------------ */

const heap_class *heap_find(const char *name)
{
    for (size_t i = 0; heap_classes[i]; i++)
        if (strcmp(heap_classes[i]->name, name) == 0)
            return heap_classes[i];
    return NULL;
}

static int64_t *heap_field(heap_config *cfg, const heap_option *o)
{
    return (int64_t *)(void *)((char *)cfg + o->offset);
}

void heap_config_init(const heap_class *cls, heap_config *cfg)
{
    memset(cfg, 0, sizeof *cfg);
    for (const heap_option *o = cls->options; o->name; o++)
        *heap_field(cfg, o) = o->value;
}

static const heap_option *heap_option_find(const heap_class *cls, const char *name, vm_error *e)
{
    char names[200] = "";
    size_t n = 0;
    for (const heap_option *o = cls->options; o->name; o++) {
        if (strcmp(o->name, name) == 0)
            return o;
        n += (size_t)snprintf(names + n, sizeof names - n, "%s%s", n ? ", " : "", o->name);
        n = n < sizeof names ? n : sizeof names - 1;
    }
    vm_fail(e, VM_INVALID, "heap %s: there is no option %.60s (there are %s)", cls->name, name,
            names);
    return NULL;
}

vm_status heap_set(const heap_class *cls, heap_config *cfg, const char *name, int64_t value,
                   vm_error *e)
{
    const heap_option *o = heap_option_find(cls, name, e);
    if (!o)
        return VM_INVALID;
    if (o->choices)
        return vm_fail(e, VM_INVALID, "heap %s: %s is %lld, but takes a name", cls->name, name,
                       (long long)value);
    if (value < o->min || value > o->max)
        return vm_fail(e, VM_INVALID, "heap %s: %s is %lld, but takes %lld to %lld", cls->name,
                       name, (long long)value, (long long)o->min, (long long)o->max);
    *heap_field(cfg, o) = value;
    return VM_OK;
}

vm_status heap_set_name(const heap_class *cls, heap_config *cfg, const char *name,
                        const char *value, vm_error *e)
{
    const heap_option *o = heap_option_find(cls, name, e);
    char names[200] = "";
    size_t n = 0;
    if (!o)
        return VM_INVALID;
    if (!o->choices)
        return vm_fail(e, VM_INVALID, "heap %s: %s is \"%.60s\", but takes a whole number",
                       cls->name, name, value);
    for (int i = 0; o->choices[i]; i++) {
        if (strcmp(o->choices[i], value) == 0) {
            *heap_field(cfg, o) = i;
            return VM_OK;
        }
        n += (size_t)snprintf(names + n, sizeof names - n, "%s%s", n ? ", " : "", o->choices[i]);
    }
    return vm_fail(e, VM_INVALID, "heap %s: %s is \"%.60s\", but takes one of: %s", cls->name, name,
                   value, names);
}

/* --- the ledger --------------------------------------------------------------------- */

static void heap_enter(heap *h, uint64_t a, uint64_t n)
{
    ledger_enter(&h->live, a, n);
    h->n.payload += n;
}

/* At a call's end: while realloc copies, both blocks are there, but one is asked for. */
static void heap_note_peak(heap *h)
{
    if (h->n.payload > h->n.payload_peak)
        h->n.payload_peak = h->n.payload;
}

static void heap_leave(heap *h, uint64_t a)
{
    h->n.payload -= ledger_leave(&h->live, a);
    if (h->watch)
        h->watch(h->watch_ud, a);
}

bool heap_asked(heap *h, uint64_t a, uint64_t *n)
{
    const uint64_t asked = ledger_get(&h->live, a);
    if (asked)
        *n = asked;
    return asked != 0;
}

static vm_status heap_known(heap *h, const char *call, uint64_t a, vm_error *e)
{
    if (VM_LIKELY(ledger_get(&h->live, a) != 0))
        return VM_OK;
    return vm_fail(e, VM_INVALID, "%s: %#llx is no block that is allocated", call,
                   (unsigned long long)a);
}

/* --- meters ------------------------------------------------------------------------- */

static void heap_misses_now(const heap *h, heap_misses *x)
{
    const hardware *hw = &h->port.m->hw;
    for (unsigned i = 0; i < hw->mmu->chain_count[0]; i++)
        x->tlb[i] = hw->mmu->chain[0][i]->n.misses;
    for (unsigned i = 0; i < hw->cache_count; i++) {
        const cache_counters *n = &hardware_cache(hw, hw->cpu, i)->n;
        x->cache[i] = n->misses[0][TRAFFIC_DATA] + n->misses[1][TRAFFIC_DATA];
    }
}

static void heap_misses_add(heap *h, const heap_misses *from)
{
    const hardware *hw = &h->port.m->hw;
    heap_misses now = {0};
    heap_misses_now(h, &now);
    for (unsigned i = 0; i < hw->mmu->chain_count[0]; i++)
        h->n.misses.tlb[i] += now.tlb[i] - from->tlb[i];
    for (unsigned i = 0; i < hw->cache_count; i++)
        h->n.misses.cache[i] += now.cache[i] - from->cache[i];
}

/* A call that failed midway may have left half a change: no more calls, only looks. Each
 * VM_OK from here is followed by heap_done. */
vm_status heap_ready(heap *h, heap_meter *at, vm_error *e)
{
    if (h->port.status != VM_OK)
        return vm_fail(e, VM_INVALID, "the heap can't be used: an earlier call failed midway (%s)",
                       h->port.error.text);
    vm_status s = VM_OK;
    if (VM_UNLIKELY(!ledger_has_room(&h->live)))
        s = ledger_reserve(&h->live, &h->host, e);
    if (s == VM_OK && h->port.m && !h->batch) {
        at->clock = machine_clock(h->port.m);
        at->faults = h->port.m->kernel.n.faults;
        heap_misses_now(h, &at->misses);
        port_enter(&h->port);
    }
    return s;
}

vm_status heap_done(heap *h, const heap_meter *at, vm_error *e)
{
    if (h->port.m && !h->batch) {
        h->n.cycles += machine_clock(h->port.m) - at->clock;
        h->n.faults += h->port.m->kernel.n.faults - at->faults;
        heap_misses_add(h, &at->misses);
        port_leave(&h->port);
    }
    const uint64_t bytes = port_size(&h->port);
    if (bytes > h->n.bytes_peak)
        h->n.bytes_peak = bytes;
    if (h->port.status != VM_OK && e)
        *e = h->port.error;
    return h->port.status;
}

/* --- open and close ----------------------------------------------------------------- */

vm_status heap_open(const vm_host *host, const heap_class *cls, const heap_config *cfg, machine *m,
                    process *p, heap **out, fault_info *info, vm_error *e)
{
    if (!is_pow2((uint64_t)cfg->word) || (cfg->align && !is_pow2((uint64_t)cfg->align)))
        return vm_fail(e, VM_INVALID,
                       "heap %s: word is %lld and align %lld, but they are 4, 8 or 16", cls->name,
                       (long long)cfg->word, (long long)cfg->align);
    if (cfg->align && cfg->align < cfg->word)
        return vm_fail(e, VM_INVALID, "heap %s: align is %lld, below a word of %lld bytes",
                       cls->name, (long long)cfg->align, (long long)cfg->word);
    if (cfg->word == 4 && cfg->limit >> 32)
        return vm_fail(e, VM_INVALID, "heap %s: limit is %lld, but words of 4 bytes hold 2^32 - 1",
                       cls->name, (long long)cfg->limit);
    heap *h = host_zalloc(host, cls->size);
    if (!h)
        return vm_fail_nomem(e, "a heap");
    h->cls = cls;
    h->host = h->port.host = *host;
    h->cfg = *cfg;
    if (!cfg->align) /* an allocator that gives out pages */
        h->cfg.align = cfg->page;
    h->port.m = m;
    h->port.p = p;
    h->port.source = m ? (port_source)cfg->source : PORT_HOST;
    h->port.limit = (uint64_t)cfg->limit;
    vm_status s = ledger_init(&h->live, host, (uint64_t)h->cfg.align, e);
    if (s == VM_OK)
        s = port_open(&h->port, e);
    heap_meter at = {0};
    if (s == VM_OK)
        s = heap_ready(h, &at, e);
    if (s == VM_OK)
        s = cls->init(h, e);
    heap_done(h, &at, NULL);
    if (h->port.status != VM_OK) {
        s = h->port.status;
        *info = h->port.info;
        if (e)
            *e = h->port.error;
    }
    if (s != VM_OK) {
        heap_close(h);
        return s;
    }
    *out = h;
    return VM_OK;
}

vm_status heap_begin(heap *h, uint64_t n, vm_error *e)
{
    if (port_grow(&h->port, n))
        return VM_OK;
    *e = h->port.refused;
    return h->port.refused.status;
}

void heap_close(heap *h)
{
    if (!h)
        return;
    const vm_host host = h->host;
    if (h->guard)
        h->guard->closed(h->guard, h);
    if (h->watch)
        h->watch(h->watch_ud, 0);
    port_close(&h->port);
    ledger_free(&h->live, &host);
    host_free(&host, h, h->cls->size);
}

/* --- calls -------------------------------------------------------------------------- */

static vm_status heap_got(heap *h, const heap_meter *at, uint64_t n, uint64_t a, vm_error *e)
{
    vm_status s = heap_done(h, at, e);
    if (s != VM_OK)
        return s;
    if (a == 0) {
        h->n.refused++;
        return vm_fail_sys(e, VM_REFUSED, ENOMEM, "malloc: no block of %llu bytes: %s",
                           (unsigned long long)n, h->port.refused.text);
    }
    if (a & ((uint64_t)h->cfg.align - 1) || !port_holds(&h->port, a, n) ||
        ledger_get(&h->live, a)) {
        h->port.status =
            vm_fail(&h->port.error, VM_INVALID, "the heap is damaged: malloc would give out %#llx",
                    (unsigned long long)a);
        return heap_done(h, at, e);
    }
    heap_enter(h, a, n);
    return VM_OK;
}

/* More than the heap may ever have is refused at once: sums with what a block needs
 * besides do not wrap. */
static bool heap_within(heap *h, uint64_t n)
{
    if (n <= h->port.limit)
        return true;
    vm_fail(&h->port.refused, VM_REFUSED, "the limit is %llu", (unsigned long long)h->port.limit);
    return false;
}

static bool heap_guarded(const heap *h) { return h->guard && !h->passed; }

/* align 0: as all blocks are. */
static vm_status heap_allot(heap *h, uint64_t align, uint64_t n, uint64_t *a, vm_error *e)
{
    heap_meter at;
    vm_status s = heap_ready(h, &at, e);
    *a = 0;
    if (s != VM_OK)
        return s;
    if (n == 0)
        return heap_done(h, &at, e);
    h->n.mallocs++;
    if (heap_within(h, n) && heap_within(h, align))
        *a = align ? h->cls->memalign(h, align, n) : h->cls->malloc(h, n);
    s = heap_got(h, &at, n, *a, e);
    heap_note_peak(h);
    return s;
}

vm_status heap_malloc(heap *h, uint64_t n, uint64_t *a, vm_error *e)
{
    if (heap_guarded(h))
        return h->guard->malloc(h->guard, h, 0, 1, n, false, a, e);
    return heap_allot(h, 0, n, a, e);
}

vm_status heap_calloc(heap *h, uint64_t count, uint64_t size, uint64_t *a, vm_error *e)
{
    if (heap_guarded(h))
        return h->guard->malloc(h->guard, h, 0, count, size, true, a, e);
    uint64_t n = size && count > UINT64_MAX / size ? UINT64_MAX : count * size;
    vm_status s = heap_malloc(h, n, a, e);
    if (s != VM_OK || !*a)
        return s;
    heap_meter at;
    s = heap_ready(h, &at, e);
    if (s != VM_OK)
        return s;
    port_zero(&h->port, *a, align_up(n, 4));
    return heap_done(h, &at, e);
}

vm_status heap_memalign(heap *h, uint64_t align, uint64_t n, uint64_t *a, vm_error *e)
{
    if (heap_guarded(h) && is_pow2(align))
        return h->guard->malloc(h->guard, h, align, 1, n, false, a, e);
    *a = 0;
    if (!is_pow2(align))
        return vm_fail_sys(e, VM_REFUSED, EINVAL, "memalign: %llu is not a power of two",
                           (unsigned long long)align);
    if (align <= (uint64_t)h->cfg.align)
        return heap_allot(h, 0, n, a, e);
    if (!h->cls->memalign)
        return vm_fail_sys(e, VM_REFUSED, EINVAL, "memalign: %s aligns to %lld bytes, not to %llu",
                           h->cls->name, (long long)h->cfg.align, (unsigned long long)align);
    return heap_allot(h, align, n, a, e);
}

vm_status heap_free(heap *h, uint64_t a, vm_error *e)
{
    if (heap_guarded(h))
        return h->guard->free(h->guard, h, a, e);
    heap_meter at;
    vm_status s = a ? heap_known(h, "free", a, e) : VM_OK;
    if (s == VM_OK)
        s = heap_ready(h, &at, e);
    if (s != VM_OK)
        return s;
    if (a == 0)
        return heap_done(h, &at, e);
    h->n.frees++;
    h->cls->free(h, a);
    heap_leave(h, a);
    return heap_done(h, &at, e);
}

/* malloc, copy, free, as the book's mm_realloc, unless the block can do it where it is. */
vm_status heap_realloc(heap *h, uint64_t old, uint64_t n, uint64_t *a, vm_error *e)
{
    if (heap_guarded(h))
        return h->guard->realloc(h->guard, h, old, n, a, e);
    *a = 0;
    if (old == 0)
        return heap_malloc(h, n, a, e);
    vm_status s = heap_known(h, "realloc", old, e);
    if (s != VM_OK)
        return s;
    if (n == 0)
        return heap_free(h, old, e);
    heap_meter at;
    s = heap_ready(h, &at, e);
    if (s != VM_OK)
        return s;
    h->n.reallocs++;
    const bool within = heap_within(h, n), moves = within && h->realloc;
    uint64_t new = moves ? h->realloc(h, old, n) : 0;
    if (new == old || (within && !moves && h->cls->resize && h->cls->resize(h, old, n))) {
        h->n.in_place++;
        heap_leave(h, old);
        heap_enter(h, old, n);
        heap_note_peak(h);
        *a = old;
        return heap_done(h, &at, e);
    }
    if (within && !moves)
        new = h->cls->malloc(h, n);
    s = heap_got(h, &at, n, new, e);
    if (s != VM_OK)
        return s;
    if (moves) {
        heap_leave(h, old);
        heap_note_peak(h);
        *a = new;
        return VM_OK;
    }
    s = heap_ready(h, &at, e);
    if (s != VM_OK)
        return s;
    uint64_t size = h->cls->usable_size(h, old);
    port_copy(&h->port, new, old, align_up(size < n ? size : n, 4));
    h->cls->free(h, old);
    heap_leave(h, old);
    heap_note_peak(h);
    *a = new;
    return heap_done(h, &at, e);
}

vm_status heap_usable_size(heap *h, uint64_t a, uint64_t *n, vm_error *e)
{
    heap_meter at;
    *n = 0;
    if (heap_guarded(h) && h->guard->usable_size(h->guard, h, a, n))
        return VM_OK;
    vm_status s = a ? heap_known(h, "usable_size", a, e) : VM_OK;
    if (s == VM_OK)
        s = heap_ready(h, &at, e);
    if (s != VM_OK)
        return s;
    if (a)
        *n = h->cls->usable_size(h, a);
    return heap_done(h, &at, e);
}

/* --- looks -------------------------------------------------------------------------- */

/* A look reads quietly, also after a failure, and leaves none behind. */
typedef struct heap_look {
    vm_status status;
    vm_error error;
    uint64_t loads;
    bool entered;
} heap_look;

static heap_look heap_look_begin(heap *h)
{
    heap_look l = {h->port.status, h->port.error, h->port.loads, h->port.entered};
    port_leave(&h->port);
    if (h->guard)
        h->guard->look(h->guard, true);
    h->port.status = VM_OK;
    h->port.quiet = true;
    return l;
}

static vm_status heap_look_end(heap *h, const heap_look *l, vm_error *e)
{
    vm_status s = h->port.status;
    if (h->guard)
        h->guard->look(h->guard, false);
    if (s != VM_OK && e)
        *e = h->port.error;
    h->port.status = l->status;
    h->port.error = l->error;
    h->port.loads = l->loads;
    h->port.quiet = false;
    if (l->entered)
        port_enter(&h->port);
    return s;
}

vm_status heap_walk(heap *h, heap_visit *visit, void *ud, vm_error *e)
{
    heap_look look = heap_look_begin(h);
    bool whole = h->cls->walk(h, visit, ud);
    vm_status s = heap_look_end(h, &look, e);
    if (s == VM_OK && !whole)
        s = vm_fail(e, VM_INVALID, "the heap is damaged: check says where");
    return s;
}

vm_status heap_lists(heap *h, heap_member *visit, void *ud, vm_error *e)
{
    heap_look look = heap_look_begin(h);
    bool whole = !h->cls->lists || h->cls->lists(h, visit, ud);
    vm_status s = heap_look_end(h, &look, e);
    if (s == VM_OK && !whole)
        s = vm_fail(e, VM_INVALID, "the heap is damaged: check says where");
    return s;
}

bool heap_says(heap_wrong *w, uint64_t addr, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(w->text, sizeof w->text, fmt, ap);
    va_end(ap);
    w->addr = addr;
    return false;
}

typedef struct heap_audit {
    heap *h;
    heap_wrong *wrong;
    uint64_t live;
    bool ok;
} heap_audit;

static bool heap_audit_block(void *ud, const heap_block *b)
{
    heap_audit *c = ud;
    uint64_t n;
    bool live = heap_asked(c->h, b->payload, &n);
    c->live += live;
    if (live != b->used)
        c->ok = heap_says(c->wrong, b->start, "the block at %#llx is %s, but its header says %s",
                          (unsigned long long)b->payload, live ? "allocated" : "not allocated",
                          live ? "free" : "allocated");
    else if (live && n > b->start + b->size - b->payload)
        c->ok = heap_says(c->wrong, b->start, "the block at %#llx is too small for %llu bytes",
                          (unsigned long long)b->payload, (unsigned long long)n);
    return c->ok;
}

vm_status heap_check(heap *h, bool *ok, heap_wrong *wrong, vm_error *e)
{
    heap_look look = heap_look_begin(h);
    wrong->text[0] = '\0';
    heap_audit c = {h, wrong, 0, true};
    *ok = h->cls->check(h, wrong);
    if (*ok) {
        h->cls->walk(h, heap_audit_block, &c);
        *ok = c.ok;
    }
    if (*ok && c.live != h->live.count)
        *ok = heap_says(wrong, h->port.base, "%llu blocks of %llu that are allocated are there",
                        (unsigned long long)c.live, (unsigned long long)h->live.count);
    vm_error why;
    vm_status s = heap_look_end(h, &look, &why);
    const bool damage = s == VM_INVALID || s == VM_FAULT;
    if (damage && !wrong->text[0]) /* what it ran into is what is wrong */
        *ok =
            heap_says(wrong, s == VM_FAULT ? h->port.info.addr : h->port.base, "%.190s", why.text);
    else if (!damage && s != VM_OK && e)
        *e = why;
    return damage ? VM_OK : s;
}

bool heap_step(heap *h, uint64_t *n)
{
    if (h->port.status != VM_OK)
        return false;
    if (h->fuel == 0) {
        h->port.status = vm_fail(&h->port.error, VM_INVALID,
                                 "the heap is damaged: a list of blocks does not end");
        return false;
    }
    h->fuel--;
    ++*n;
    return true;
}
