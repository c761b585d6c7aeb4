/* gc_own.c: what a collector has of its own beside the heap: areas, layouts, the count of
 * pages that it touched, its failures.
 *
 * An area is mapped when it is first needed, larger than that, and mapped anew, larger,
 * when it does not do; so a collection's map and tree are what the heap asks for.
 */
#include "gc.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>

/* Bytes of the table of layouts. */
#define GC_TABLE (UINT64_C(64) << 10)

/* --- failures -------------------------------------------------------------------------- */

void gc_fail(collector *g, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(g->error.text, sizeof g->error.text, fmt, ap);
    va_end(ap);
    g->wrong = g->error.status = VM_INVALID;
}

vm_status gc_status(collector *g, vm_error *e)
{
    heap_port *list[GC_PORTS];
    gc_ports(g, list);
    for (unsigned i = 0; i < GC_PORTS; i++)
        if (list[i]->status != VM_OK) {
            g->info = list[i]->info;
            if (e)
                *e = list[i]->error;
            return list[i]->status;
        }
    if (g->wrong != VM_OK && e)
        *e = g->error;
    return g->wrong;
}

/* --- areas ----------------------------------------------------------------------------- */

static void gc_drop(heap_port *own)
{
    port_close(own);
    own->status = VM_OK;
}

vm_status gc_fit(collector *g, heap_port *own, uint64_t bytes, vm_error *e)
{
    if (own->base && own->status == VM_OK && own->limit >= bytes)
        return VM_OK;
    if (own->base)
        gc_drop(own);
    memset(own, 0, sizeof *own);
    own->host = g->host;
    own->m = g->h->port.m;
    own->p = g->h->port.p;
    own->source = own->m ? PORT_MMAP : PORT_HOST;
    own->limit = UINT64_C(1) << (log2_floor(bytes - 1) + 1); /* room to grow */
    vm_status s = port_open(own, e);
    if (s == VM_OK && port_grow(own, own->limit))
        return VM_OK;
    if (s == VM_OK) {
        s = own->status == VM_OK ? own->refused.status : own->status;
        if (e)
            *e = own->refused;
    }
    gc_drop(own);
    return s;
}

void gc_use(collector *g, process *p)
{
    heap_port *list[GC_PORTS];
    gc_ports(g, list);
    for (unsigned i = 1; i < GC_PORTS; i++) /* the first is the heap's */
        list[i]->p = p;
}

void gc_see(collector *g, uint64_t a, uint64_t n)
{
    const uint64_t first = g->h->port.base >> g->page_bits;
    for (uint64_t i = a >> g->page_bits; i <= (a + n - (n > 0)) >> g->page_bits; i++)
        if (i - first < g->pages)
            g->seen[i - first] = 1;
}

static gc_hint gc_hint_of(const heap_port *t, uint64_t a)
{
    gc_hint hint = {NULL, 0};
    if (!t->m)
        hint.bytes = port_at(t, a, 8);
    else if (machine_peek(t->m, t->p, a, &hint.pa)) {
        const uint8_t *block = dram_block(&t->m->hw.mem, hint.pa);
        hint.bytes = block ? block + (hint.pa & (DRAM_BLOCK - 1)) : NULL;
    }
    return hint;
}

/* Pages that move while the collector marks are not fetched where they are then: a hint is
 * never read through. */
vm_status gc_find_pages(collector *g, vm_error *e)
{
    const heap_port *t = &g->h->port;
    const uint64_t first = align_down(t->base, UINT64_C(1) << g->page_bits),
                   count = gc_pages_of(g, t->top - first);
    void *room = g->hints;
    if (g->page_bits > DRAM_BLOCK_BITS)
        return VM_OK;
    if (!host_grow(&g->host, &room, &g->hint_count, (size_t)count, sizeof *g->hints))
        return vm_fail_nomem(e, "a collector's hints");
    g->hints = room;
    for (uint64_t i = 0; i < g->hint_count; i++)
        g->hints[i] = i < count ? gc_hint_of(t, first + (i << g->page_bits)) : (gc_hint){NULL, 0};
    const hardware *hw = t->m ? &t->m->hw : NULL;
    const cache *c = hw && hw->cache_count ? hardware_cache(hw, 0, hw->cache_count - 1) : NULL;
    g->outermost = c && c->packed ? c : NULL;
    return VM_OK;
}

uint64_t gc_pages_of(const collector *g, uint64_t bytes)
{
    return (bytes + low_mask(g->page_bits)) >> g->page_bits;
}

/* Nothing of the heap has been seen. */
vm_status gc_forget_pages(collector *g, vm_error *e)
{
    const heap_port *t = &g->h->port;
    size_t need = (size_t)((t->top >> g->page_bits) - (t->base >> g->page_bits)) + 1;
    void *seen = g->seen;
    if (!host_grow(&g->host, &seen, &g->pages, need, 1))
        return vm_fail_nomem(e, "a collector's count of pages");
    g->seen = seen;
    memset(g->seen, 0, g->pages);
    return VM_OK;
}

uint64_t gc_pages_seen(const collector *g, const gc_roots *r)
{
    uint64_t n = gc_pages_of(g, 8 * g->deepest) + g->outer_pages;
    for (size_t i = 0; i < g->pages; i++)
        n += g->seen[i];
    for (size_t i = 0; i < r->range_count; i++)
        n += gc_pages_of(g, r->ranges[2 * i + 1] - r->ranges[2 * i]);
    if (g->header)
        n += gc_pages_of(g, g->table.top - g->table.base);
    if (g->cfg.mode == GC_COPYING)
        return n;
    return n + gc_pages_of(g, 16 * g->entries) + gc_pages_of(g, 16 * g->outers) +
           (g->cfg.lookup == GC_LOOKUP_TREE ? gc_pages_of(g, 16 * g->nodes) : 0);
}

/* --- layouts --------------------------------------------------------------------------- */

vm_status gc_begin_layouts(collector *g, vm_error *e)
{
    vm_status s = gc_fit(g, &g->table, GC_TABLE, e);
    if (s == VM_OK && g->cfg.pointer == 4 && (g->table.base + GC_TABLE) >> 32)
        s = vm_fail(e, VM_INVALID, "gc: pointer is 4, but the process has addresses above 2^32");
    g->table.top = g->table.base; /* it grows by layouts */
    return s;
}

uint64_t gc_layout_size(collector *g, uint64_t word)
{
    if (word - g->table.base >= g->table.top - g->table.base || word & 15)
        return 0;
    uint64_t size = gc_layout_word(g, word, 0);
    return size <= g->h->port.limit ? size : 0;
}

vm_status gc_layout(collector *g, uint64_t size, const uint64_t *offsets, size_t count,
                    uint64_t *layout, vm_error *e)
{
    const uint64_t p = (uint64_t)g->cfg.pointer, maps = (size / p + 63) / 64;
    const uint64_t bytes = align_up(8 * (1 + maps), 16), at = g->table.top;
    if (size > g->h->port.limit)
        return vm_fail_sys(e, VM_REFUSED, ENOMEM, "gc: %llu bytes are more than a heap of %llu has",
                           (unsigned long long)size, (unsigned long long)g->h->port.limit);
    for (size_t i = 0; i < count; i++)
        if (offsets[i] % p || offsets[i] >= size || size - offsets[i] < p)
            return vm_fail(
                e, VM_INVALID,
                "gc: a pointer at %llu does not lie in %llu bytes, at a multiple of %llu",
                (unsigned long long)offsets[i], (unsigned long long)size, (unsigned long long)p);
    if (bytes > g->table.base + GC_TABLE - at)
        return vm_fail_sys(e, VM_REFUSED, ENOMEM, "gc: %llu bytes of layouts are full",
                           (unsigned long long)GC_TABLE);
    g->table.top += bytes;
    port_put(&g->table, at, size, 8);
    for (uint64_t m = 0, i = 0; m < maps; m++) {
        uint64_t map = 0;
        for (i = 0; i < count; i++)
            if (offsets[i] / p / 64 == m)
                map |= UINT64_C(1) << (offsets[i] / p % 64);
        port_put(&g->table, at + 8 * (1 + m), map, 8);
    }
    *layout = at;
    return gc_status(g, e);
}
