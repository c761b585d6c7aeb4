/* gc_outer.c: blocks outside of the heap's range, which their allocator gave areas of their
 * own (port.h): a row for each, in order of addresses.
 *
 *    payload | marked   end     two words
 *
 * They are few and large, so that a search by halves does. Their marks stand here with
 * marks in headers, too.
 */
#include "gc.h"

static uint64_t gc_row(const collector *g, uint64_t i) { return g->outer.base + 16 * i; }

void gc_add_outer(collector *g, uint64_t block, uint64_t size)
{
    if (g->outers == g->h->port.area_count) {
        gc_fail(g, "the heap is damaged: a block at %#llx is out of place",
                (unsigned long long)block);
        return;
    }
    port_put(&g->outer, gc_row(g, g->outers), block, 8);
    port_put(&g->outer, gc_row(g, g->outers) + 8, block + size, 8);
    g->outers++;
}

/* The row of the last block that begins at `a` or before; 0: there is none. */
static uint64_t gc_row_before(collector *g, uint64_t a)
{
    uint64_t lo = 0, hi = g->outers;
    while (lo < hi) {
        const uint64_t mid = lo + (hi - lo) / 2;
        if ((port_get(&g->outer, gc_row(g, mid), 8) & ~UINT64_C(1)) <= a)
            lo = mid + 1;
        else
            hi = mid;
    }
    return lo ? gc_row(g, lo - 1) : 0;
}

uint64_t gc_find_outer(collector *g, uint64_t word)
{
    const uint64_t row = g->outers ? gc_row_before(g, word) : 0;
    if (!row)
        return 0;
    const uint64_t block = port_get(&g->outer, row, 8) & ~UINT64_C(1);
    if (!g->cfg.interior)
        return word - g->header == block ? block : 0;
    return word < port_get(&g->outer, row + 8, 8) ? block : 0;
}

uint64_t gc_outer_row(collector *g, uint64_t block)
{
    const uint64_t row = g->outers ? gc_row_before(g, block) : 0;
    return row && (port_get(&g->outer, row, 8) & ~UINT64_C(1)) == block ? row : 0;
}

bool gc_set_outer_mark(collector *g, uint64_t block)
{
    const uint64_t row = gc_outer_row(g, block), word = row ? port_get(&g->outer, row, 8) : 1;
    if (word & 1)
        return false;
    port_put(&g->outer, row, word | 1, 8);
    g->outer_pages += gc_pages_of(g, port_get(&g->outer, row + 8, 8) - block);
    return true;
}
