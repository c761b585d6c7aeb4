#include "gc.h"
#include "classes.h"

/* Allocators whose headers, the word before a payload, have a bit that nobody reads while
 * a block is allocated; `align`: from this alignment on. */
static const struct gc_spare {
    const heap_class *cls;
    uint64_t bit;
    int64_t align;
} gc_spares[] = {
    {&heap_implicit, 4, 8}, {&heap_explicit, 4, 8},    {&heap_segregated, 4, 8}, {&heap_tree, 4, 8},
    {&heap_tlsf, 4, 8},     {&heap_buddy, 1 << 15, 4}, {&heap_bump, 2, 4},
};

/* --- open and close -------------------------------------------------------------------- */

static vm_status gc_find_spare(collector *g, vm_error *e)
{
    const heap *h = g->h;
    for (size_t i = 0; i < sizeof gc_spares / sizeof *gc_spares; i++)
        if (gc_spares[i].cls == h->cls && h->cfg.align >= gc_spares[i].align)
            g->mark_bit = gc_spares[i].bit;
    if (!g->mark_bit)
        return vm_fail(e, VM_INVALID,
                       "gc: marks is \"header\", but headers of %s with blocks aligned to %lld "
                       "have no bit to spare",
                       h->cls->name, (long long)h->cfg.align);
    if (g->cfg.sweep == GC_SWEEP_LAZY)
        return vm_fail(e, VM_INVALID,
                       "gc: marks is \"header\" and sweep is \"lazy\", but an allocator that runs "
                       "between must not meet marks in headers");
    return VM_OK;
}

static vm_status gc_check_config(const collector *g, vm_error *e)
{
    const gc_config *c = &g->cfg;
    const heap *h = g->h;
    if (h->watch)
        return vm_fail(e, VM_INVALID, "gc: the heap has a collector already");
    if (h->guard)
        return vm_fail(e, VM_INVALID,
                       "gc: a detector stands in front of the heap, which knows blocks without "
                       "their redzones");
    if (c->pointer != 4 && c->pointer != 8)
        return vm_fail(e, VM_INVALID, "gc: pointer is %lld, but takes 4 or 8",
                       (long long)c->pointer);
    if (c->stack < 1 || c->stack > 1 << 28)
        return vm_fail(e, VM_INVALID, "gc: stack is %lld, but takes 1 to 2^28 entries",
                       (long long)c->stack);
    if (c->space < 64 || c->space > INT64_C(1) << 40 || c->space % 8)
        return vm_fail(e, VM_INVALID, "gc: space is %lld, but takes 64 to 2^40, a multiple of 8",
                       (long long)c->space);
    if (c->allocated < 0 || c->free < 0)
        return vm_fail(e, VM_INVALID, "gc: a trigger is a number of bytes, 0 or more");
    return VM_OK;
}

static vm_status gc_begin_copying(collector *g, vm_error *e)
{
    vm_status s = heap_malloc(g->h, (uint64_t)g->cfg.space, &g->from, e);
    if (s == VM_OK)
        s = heap_malloc(g->h, (uint64_t)g->cfg.space, &g->to, e);
    g->next = g->from;
    g->left = (uint64_t)g->cfg.space;
    return s;
}

vm_status gc_open(const vm_host *host, heap *h, const gc_config *cfg, collector **out, vm_error *e)
{
    collector *g = host_zalloc(host, sizeof *g);
    if (!g)
        return vm_fail_nomem(e, "a collector");
    g->host = *host;
    g->h = h;
    g->cfg = *cfg;
    g->header = cfg->mode == GC_CONSERVATIVE ? 0 : (uint64_t)cfg->pointer;
    g->grain = h->cfg.align ? log2_floor((uint64_t)h->cfg.align) : 3;
    g->page_bits = h->port.m ? log2_floor(kernel_page(&h->port.m->kernel)) : 12;
    g->left = h->port.limit;
    vm_status s = gc_check_config(g, e);
    if (s == VM_OK && cfg->marks == GC_MARKS_HEADER && cfg->mode != GC_COPYING)
        s = gc_find_spare(g, e);
    if (s == VM_OK && cfg->mode == GC_COPYING)
        s = gc_begin_copying(g, e);
    if (s == VM_OK)
        s = gc_begin_layouts(g, e);
    if (s == VM_OK) {
        h->watch = gc_left;
        h->watch_ud = g;
        *out = g;
    } else {
        gc_close(g, false);
    }
    return s;
}

void gc_close(collector *g, bool keep)
{
    if (!g)
        return;
    heap_port *list[GC_PORTS];
    const vm_host host = g->host;
    if (g->h && g->h->watch_ud == g)
        g->h->watch = NULL;
    gc_ports(g, list);
    for (unsigned i = 1; i < GC_PORTS; i++) { /* the first is the heap's */
        if (keep)
            list[i]->m = NULL;
        if (list[i]->base)
            port_close(list[i]);
    }
    host_free(&host, g->hints, g->hint_count * sizeof *g->hints);
    host_free(&host, g->seen, g->pages);
    host_free(&host, g, sizeof *g);
}

/* --- allocation ------------------------------------------------------------------------ */

/* Bytes that can be allocated: at most, garbage that is not swept yet left out. */
static uint64_t gc_free_bytes(const collector *g)
{
    if (g->cfg.mode == GC_COPYING)
        return g->from + (uint64_t)g->cfg.space - g->next;
    return g->h->port.limit - g->h->n.payload;
}

/* Until they leave, nobody else does anything to the machine (port.h). */
static void gc_enter_ports(collector *g)
{
    heap_port *list[GC_PORTS];
    gc_ports(g, list);
    for (unsigned i = 0; i < GC_PORTS; i++)
        if (list[i]->base)
            port_enter(list[i]);
}

static void gc_leave_ports(collector *g)
{
    heap_port *list[GC_PORTS];
    gc_ports(g, list);
    for (unsigned i = 0; i < GC_PORTS; i++)
        if (list[i]->base)
            port_leave(list[i]);
}

/* A meter of what the program waits for. */
typedef struct gc_meter {
    uint64_t clock, faults;
} gc_meter;

static gc_meter gc_start(const collector *g)
{
    gc_meter at = {0};
    if (g->h->port.m) {
        at.clock = machine_clock(g->h->port.m);
        at.faults = g->h->port.m->kernel.n.faults;
    }
    return at;
}

static uint64_t gc_stop(collector *g, const gc_meter *at)
{
    if (!g->h->port.m)
        return 0;
    const uint64_t cycles = machine_clock(g->h->port.m) - at->clock;
    g->last.cycles += cycles;
    g->last.faults += g->h->port.m->kernel.n.faults - at->faults;
    return cycles;
}

static vm_status gc_sweep_for(collector *g, uint64_t bytes, vm_error *e)
{
    if (!g->sweeping)
        return VM_OK;
    gc_meter at = gc_start(g);
    gc_enter_ports(g);
    vm_status s = gc_sweep(g, bytes, e);
    gc_leave_ports(g);
    gc_stop(g, &at);
    return s;
}

vm_status gc_finish(collector *g, vm_error *e) { return gc_sweep_for(g, 0, e); }

/* As little is left as was asked for, or half of what the last collection left: else one
 * that frees too little would be followed by the next at once. */
static bool gc_low(const collector *g, uint64_t n)
{
    const uint64_t most = (uint64_t)g->cfg.free, need = most < g->left / 2 ? most : g->left / 2;
    return g->cfg.free && gc_free_bytes(g) < need + n;
}

vm_status gc_due(collector *g, uint64_t n, bool *due, vm_error *e)
{
    vm_status s = VM_OK;
    *due = g->cfg.allocated && g->since >= (uint64_t)g->cfg.allocated;
    if (!*due && gc_low(g, n)) {
        s = gc_finish(g, e);
        *due = s == VM_OK && gc_low(g, n);
    }
    return s;
}

static vm_status gc_usable(const collector *g, vm_error *e)
{
    if (!g->h)
        return vm_fail(e, VM_INVALID, "gc: the heap is closed");
    if (g->h->port.status != VM_OK)
        return vm_fail(e, VM_INVALID, "the heap can't be used: an earlier call failed midway (%s)",
                       g->h->port.error.text);
    if (g->broken)
        return vm_fail(e, VM_INVALID,
                       "gc: the spaces can't be used: a collection failed midway, "
                       "or somebody freed them");
    return VM_OK;
}

vm_status gc_new(collector *g, uint64_t layout, uint64_t n, uint64_t *a, vm_error *e)
{
    vm_status s = gc_usable(g, e);
    if (s != VM_OK)
        return s;
    if (g->header && !layout)
        return vm_fail(e, VM_INVALID, "gc: an object of this collector has a layout");
    g->wrong = VM_OK;
    uint64_t size = layout ? gc_layout_size(g, layout) : n;
    if (layout && !size && gc_status(g, e) == VM_OK)
        return vm_fail(e, VM_INVALID, "gc: %#llx is no layout", (unsigned long long)layout);
    if (size > g->h->port.limit)
        size = g->h->port.limit; /* is refused, and sums do not wrap */
    if (g->cfg.mode == GC_COPYING)
        s = gc_copy_new(g, layout, size, a, e);
    else {
        s = gc_sweep_for(g, size, e);
        if (s == VM_OK)
            s = heap_calloc(g->h, 1, size + g->header, a, e);
        if (s == VM_REFUSED && g->sweeping) {
            s = gc_finish(g, e);
            if (s == VM_OK)
                s = heap_calloc(g->h, 1, size + g->header, a, e);
        }
        if (s == VM_OK && g->header) {
            gc_put(g, *a, layout);
            *a += g->header;
            s = gc_status(g, e);
        }
    }
    if (s == VM_OK)
        g->since += size;
    return s;
}

/* A word in the heap, and nowhere else. */
static vm_status gc_word_at(const collector *g, uint64_t a, vm_error *e)
{
    const heap_port *t = &g->h->port;
    if (port_holds(t, a, (uint64_t)g->cfg.pointer))
        return VM_OK;
    return vm_fail(e, VM_INVALID, "gc: %#llx is not in the heap, %#llx to %#llx",
                   (unsigned long long)a, (unsigned long long)t->base, (unsigned long long)t->top);
}

vm_status gc_load(collector *g, uint64_t a, uint64_t *x, vm_error *e)
{
    vm_status s = gc_word_at(g, a, e);
    if (s != VM_OK)
        return s;
    g->wrong = VM_OK;
    *x = gc_get(g, a);
    return gc_status(g, e);
}

vm_status gc_store(collector *g, uint64_t a, uint64_t x, vm_error *e)
{
    vm_status s = gc_word_at(g, a, e);
    if (s != VM_OK)
        return s;
    g->wrong = VM_OK;
    gc_put(g, a, x);
    return gc_status(g, e);
}

/* --- collections ----------------------------------------------------------------------- */

gc_counters gc_sums(const collector *g)
{
    gc_counters sum = g->n;
#define X(field, name, unit, doc) sum.field += g->last.field;
    GC_COUNTERS(X)
#undef X
    sum.pause = g->n.pause > g->last.pause ? g->n.pause : g->last.pause;
    return sum;
}

static vm_status gc_mark_sweep(collector *g, gc_roots *r, vm_error *e)
{
    vm_status s = gc_fit(g, &g->stack, 8 * (uint64_t)g->cfg.stack, e);
    if (s == VM_OK)
        s = gc_fit_blocks(g, e);
    if (s == VM_OK)
        s = gc_find_pages(g, e);
    if (s != VM_OK)
        return s;
    gc_enter_ports(g);
    gc_blocks(g);
    s = gc_status(g, e);
    if (s != VM_OK)
        return s;
    gc_mark(g, r);
    s = gc_status(g, e);
    if (s != VM_OK) {
        for (uint64_t i = 0; i < g->entries && g->h->port.status == VM_OK; i++)
            gc_unmark(g, i);
        return s;
    }
    g->sweeping = true;
    g->cursor = 0;
    return g->cfg.sweep == GC_SWEEP_LAZY ? VM_OK : gc_sweep(g, 0, e);
}

vm_status gc_collect(collector *g, gc_roots *r, vm_error *e)
{
    vm_status s = gc_usable(g, e);
    if (s == VM_OK)
        s = gc_forget_pages(g, e);
    if (s != VM_OK)
        return s;
    const gc_meter waits = gc_start(g);
    g->wrong = VM_OK;
    g->deepest = 0;
    s = gc_finish(g, e);
    if (s != VM_OK)
        return s;
    const gc_meter at = gc_start(g);
    g->n = gc_sums(g);
    g->last = (gc_counters){.collections = 1};
    if (g->cfg.mode == GC_COPYING) {
        gc_enter_ports(g);
        gc_copy(g, r);
        s = gc_status(g, e);
    } else {
        s = gc_mark_sweep(g, r, e);
    }
    gc_leave_ports(g);
    g->last.pause = gc_stop(g, &at) + at.clock - waits.clock;
    if (s != VM_OK)
        return s;
    g->last.pages = gc_pages_seen(g, r);
    g->since = 0;
    g->left = gc_free_bytes(g);
    return VM_OK;
}
