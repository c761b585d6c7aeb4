/* gc_mark.c: what can be reached from the roots, marked.
 *
 * A block is marked when it is found and goes on the mark stack; it comes off to have its
 * words looked at. Nothing recurs, on the host or in the heap. The stack is bounded: a
 * block that finds it full is marked all the same, and the range of addresses where that
 * happened is remembered. When the stack is empty, the marked blocks of that range are
 * looked at again, which finds what was missed, until nothing is.
 *
 * Order: roots; then weak handles are cleared; then what only finalizers keep is marked,
 * too, so that these find it whole.
 *
 * Source: The Garbage Collection Handbook, 2.3 and 2.4 (mark stacks that overflow: Knuth,
 * TAOCP volume 1, 2.3.5, algorithm C).
 */
#include "gc.h"

static void gc_push(collector *g, uint64_t block)
{
    g->last.marked++;
    if (VM_UNLIKELY(g->depth == (uint64_t)g->cfg.stack)) {
        g->last.overflows++;
        if (!gc_is_inside(g, block)) {
            g->lost_outside = true;
            return;
        }
        g->lost = block < g->lost ? block : g->lost;
        g->lost_last = block > g->lost_last ? block : g->lost_last;
        return;
    }
    port_put(&g->stack, g->stack.base + 8 * g->depth++, block, 8);
    if (g->depth > g->deepest)
        g->deepest = g->depth;
}

static void gc_shade(collector *g, uint64_t word)
{
    uint64_t block = gc_find(g, word);
    g->last.words++;
    if (block && gc_set_mark(g, block))
        gc_push(g, block);
}

/* A block with a layout: its pointers. The bytes that it has. */
static uint64_t gc_scan_layout(collector *g, uint64_t block)
{
    const uint64_t layout = gc_get(g, block), size = gc_layout_size(g, layout),
                   p = (uint64_t)g->cfg.pointer;
    if (!size) {
        if (gc_sound(g))
            gc_fail(g, "the object at %#llx is damaged: the word before it, %#llx, is no layout",
                    (unsigned long long)(block + g->header), (unsigned long long)layout);
        return 0;
    }
    for (uint64_t i = 0, words = size / p; i < words; i += 64)
        for (uint64_t map = gc_layout_word(g, layout, 1 + i / 64); map; map &= map - 1)
            gc_shade(g, gc_get(g, block + g->header + (i + log2_floor(map & -map)) * p));
    return size;
}

static uint64_t gc_scan_words(collector *g, uint64_t block)
{
    const uint64_t size = gc_block_size(g, block), p = (uint64_t)g->cfg.pointer;
    for (uint64_t at = block, end = block + align_down(size, p); at < end; at += p)
        gc_shade(g, gc_get(g, at));
    return size;
}

static void gc_scan(collector *g, uint64_t block)
{
    gc_see(g, block, g->header ? gc_scan_layout(g, block) : gc_scan_words(g, block));
}

/* Blocks are looked at some time after they came off the stack, and the host fetches what
 * they hold meanwhile (Cher, Hosking and Vitek, "Software prefetching for mark-sweep
 * garbage collection", 2004). */
#define GC_AHEAD 8

static void gc_drain(collector *g)
{
    uint64_t ahead[GC_AHEAD];
    for (unsigned first = 0, count = 0; gc_sound(g); first++, count--) {
        for (; count < GC_AHEAD && g->depth; count++) {
            const uint64_t block = port_get(&g->stack, g->stack.base + 8 * --g->depth, 8);
            gc_fetch(g, block);
            ahead[(first + count) % GC_AHEAD] = block;
        }
        if (count == 0)
            return;
        gc_scan(g, ahead[first % GC_AHEAD]);
    }
}

/* The marked blocks from the first that was lost to the last: their words. */
static void gc_rescan(collector *g)
{
    const uint64_t last = (g->lost_last - g->base) >> g->grain;
    uint64_t i = (g->lost - g->base) >> g->grain, marked;
    g->lost = UINT64_MAX;
    g->lost_last = 0;
    g->last.rescans++;
    for (uint64_t e = i >> 6; e <= last >> 6 && gc_sound(g); e++) {
        gc_entry(g, e, &marked);
        for (; marked && gc_sound(g); marked &= marked - 1) {
            i = e << 6 | log2_floor(marked & -marked);
            gc_scan(g, g->base + (i << g->grain));
            gc_drain(g);
        }
    }
}

static void gc_rescan_outside(collector *g)
{
    g->lost_outside = false;
    g->last.rescans++;
    for (uint64_t i = 0; i < g->outers && gc_sound(g); i++) {
        const uint64_t row = port_get(&g->outer, g->outer.base + 16 * i, 8);
        if (row & 1)
            gc_scan(g, row - 1);
        gc_drain(g);
    }
}

/* All that the marked blocks lead to. */
static void gc_close_over(collector *g)
{
    gc_drain(g);
    while ((g->lost != UINT64_MAX || g->lost_outside) && gc_sound(g))
        if (g->lost_outside)
            gc_rescan_outside(g);
        else
            gc_rescan(g);
}

static void gc_mark_range(collector *g, uint64_t start, uint64_t stop)
{
    const uint64_t p = (uint64_t)g->cfg.pointer;
    for (uint64_t at = align_up(start, p); at < stop && stop - at >= p && gc_sound(g); at += p) {
        gc_shade(g, gc_get(g, at));
        if (g->depth == (uint64_t)g->cfg.stack)
            gc_drain(g);
    }
}

void gc_mark(collector *g, gc_roots *r)
{
    g->depth = 0;
    g->lost = UINT64_MAX;
    g->lost_last = 0;
    g->lost_outside = false;
    for (size_t i = 0; i < r->value_count && gc_sound(g); i++)
        gc_shade(g, r->values[i]);
    for (size_t i = 0; i < r->range_count; i++)
        gc_mark_range(g, r->ranges[2 * i], r->ranges[2 * i + 1]);
    gc_close_over(g);
    for (size_t i = 0; i < r->weak_count && gc_sound(g); i++) {
        uint64_t block = gc_find(g, r->weak[i]);
        if (!block || !gc_marked(g, block))
            r->weak[i] = 0;
    }
    for (size_t i = 0; i < r->final_count && gc_sound(g); i++) {
        uint64_t block = gc_find(g, r->final[i]);
        r->due[i] = !block || !gc_marked(g, block);
    }
    for (size_t i = 0; i < r->final_count && gc_sound(g); i++)
        if (r->due[i])
            gc_shade(g, r->final[i]);
    gc_close_over(g);
}
