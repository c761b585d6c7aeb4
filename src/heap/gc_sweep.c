/* gc_sweep.c: blocks that were not reached go back to the allocator.
 *
 * They are found in the map, in order of addresses. "eager" frees all of them in the
 * collection; "lazy" leaves them where they are, and each allocation first frees as many
 * as give back the bytes that it wants. The map is then the truth about blocks that were
 * there when the collection began, so of one that somebody frees the bit is taken out, or
 * outside its row marked: a block that is allocated in its place later is not swept.
 *
 * Source: The Garbage Collection Handbook, 2.5 (Hughes, "A semi-incremental garbage
 * collection algorithm", 1982).
 */
#include "gc.h"

/* The unmarked blocks of an entry, freed. */
static vm_status gc_sweep_entry(collector *g, uint64_t entry, vm_error *e)
{
    uint64_t marked, blocks = gc_entry(g, entry, &marked), dead = blocks & ~marked;
    gc_unmark(g, entry);
    vm_status s = gc_status(g, e);
    g->freeing = true;
    for (; dead && s == VM_OK; dead &= dead - 1) {
        const uint64_t a = g->base + ((entry << 6 | log2_floor(dead & -dead)) << g->grain),
                       payload = g->h->n.payload;
        s = heap_free(g->h, a, e);
        if (s != VM_OK)
            break;
        g->last.swept++;
        g->last.swept_bytes += payload - g->h->n.payload;
    }
    g->freeing = false;
    if (s != VM_OK) /* what is free by now is not to be freed again */
        port_put(&g->map, g->map.base + 16 * entry, dead | marked, 8);
    return s;
}

/* A block outside, if it is not marked. */
static vm_status gc_sweep_outer(collector *g, uint64_t i, vm_error *e)
{
    const uint64_t at = g->outer.base + 16 * i, row = port_get(&g->outer, at, 8);
    vm_status s = gc_status(g, e);
    if (s != VM_OK || row & 1)
        return s;
    const uint64_t payload = g->h->n.payload;
    g->freeing = true;
    s = heap_free(g->h, row, e);
    g->freeing = false;
    g->last.swept += s == VM_OK;
    g->last.swept_bytes += payload - g->h->n.payload;
    return s;
}

vm_status gc_sweep(collector *g, uint64_t bytes, vm_error *e)
{
    const uint64_t enough = g->last.swept_bytes + bytes;
    const bool batch = g->h->batch;
    vm_status s = VM_OK;
    g->h->batch = true; /* the collector's work, not the allocator's */
    while (s == VM_OK && g->sweeping && (bytes == 0 || g->last.swept_bytes < enough)) {
        s = g->cursor < g->entries ? gc_sweep_entry(g, g->cursor, e)
                                   : gc_sweep_outer(g, g->cursor - g->entries, e);
        g->sweeping = s != VM_OK || ++g->cursor < g->entries + g->outers;
    }
    g->h->batch = batch;
    return s;
}

/* A block that waits is somebody else's. */
static void gc_forget(collector *g, uint64_t a)
{
    const bool entered = g->h->port.entered, inside = gc_is_inside(g, a);
    const uint64_t i = (a - g->base) >> g->grain;
    heap_port *rows = inside ? &g->map : &g->outer;
    if (inside && i >> 6 < g->cursor)
        return;
    port_enter(rows);
    if (inside) {
        const uint64_t at = g->map.base + 16 * (i >> 6), blocks = port_get(&g->map, at, 8);
        port_put(&g->map, at, blocks & ~(UINT64_C(1) << (i & 63)), 8);
    } else {
        const uint64_t row = gc_outer_row(g, a);
        if (row)
            port_put(&g->outer, row, a | 1, 8);
    }
    port_leave(rows);
    if (entered)
        port_enter(&g->h->port);
}

void gc_left(void *ud, uint64_t a)
{
    collector *g = ud;
    if (a == 0) {
        g->h = NULL;
        return;
    }
    if (g->cfg.mode == GC_COPYING) {
        g->broken |= a == g->from || a == g->to;
        return;
    }
    if (g->sweeping && !g->freeing)
        gc_forget(g, a);
}
