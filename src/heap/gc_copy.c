/* gc_copy.c: two spaces, of which one is used; a collection copies what is reached into
 * the other one, in the order in which it is reached, and leaves the rest behind.
 *
 *    free space   [next, from + space): an allocation is a sum
 *    object       its layout; its bytes. A word of it that was copied: address | 1
 *
 * The copies are the queue of what is to be looked at (Cheney): no stack, no marks. Work
 * is by what lives, garbage costs nothing; neighbours are those that one object led to.
 * The spaces are two blocks of the heap.
 *
 * Invariants: objects lie one behind the other, their words are pointers of the space in
 * use or lead elsewhere; what is not given out yet is 0 when it is.
 */
#include "gc.h"

#include <errno.h>

static uint64_t gc_object_bytes(const collector *g, uint64_t size)
{
    return align_up(g->header + size, (uint64_t)g->cfg.pointer);
}

/* Where the object that a word leads to is from now on. */
static uint64_t gc_forward(collector *g, uint64_t word)
{
    const uint64_t object = word - g->header;
    g->last.words++;
    if (object - g->from >= g->next - g->from)
        return word;
    const uint64_t layout = gc_get(g, object), size = layout & 1 ? 0 : gc_layout_size(g, layout);
    if (layout & 1)
        return layout - 1 + g->header;
    const uint64_t bytes = gc_object_bytes(g, size), to = g->copied;
    if (!size || bytes > g->next - object || bytes > g->to + (uint64_t)g->cfg.space - to) {
        if (gc_sound(g))
            gc_fail(g, "%#llx leads to no object: the word before it, %#llx, is no layout",
                    (unsigned long long)word, (unsigned long long)layout);
        return word;
    }
    port_copy(&g->h->port, to, object, bytes);
    gc_put(g, object, to | 1);
    gc_see(g, object, bytes);
    gc_see(g, to, bytes);
    g->copied += bytes;
    g->last.marked++;
    return to + g->header;
}

static void gc_forward_word(collector *g, uint64_t at)
{
    uint64_t was = gc_get(g, at), now = gc_forward(g, was);
    if (now != was && gc_sound(g))
        gc_put(g, at, now);
}

/* The copies from `scan` on: what their pointers lead to. */
static uint64_t gc_scan_copies(collector *g, uint64_t scan)
{
    const uint64_t p = (uint64_t)g->cfg.pointer;
    while (scan < g->copied && gc_sound(g)) {
        const uint64_t layout = gc_get(g, scan), size = gc_layout_size(g, layout);
        for (uint64_t i = 0, words = size / p; i < words; i += 64)
            for (uint64_t map = gc_layout_word(g, layout, 1 + i / 64); map; map &= map - 1)
                gc_forward_word(g, scan + g->header + (i + log2_floor(map & -map)) * p);
        scan += gc_object_bytes(g, size);
    }
    return scan;
}

/* Has it been copied? Then where it is now. */
static uint64_t gc_survivor(collector *g, uint64_t word)
{
    const uint64_t object = word - g->header;
    if (object - g->from >= g->next - g->from)
        return 0;
    uint64_t layout = gc_get(g, object);
    return layout & 1 ? layout - 1 + g->header : 0;
}

void gc_copy(collector *g, gc_roots *r)
{
    const uint64_t p = (uint64_t)g->cfg.pointer;
    g->broken = true;
    g->copied = g->to;
    g->last.blocks = g->objects;
    for (size_t i = 0; i < r->value_count && gc_sound(g); i++)
        r->values[i] = gc_forward(g, r->values[i]);
    for (size_t i = 0; i < r->range_count; i++)
        for (uint64_t at = align_up(r->ranges[2 * i], p);
             at < r->ranges[2 * i + 1] && r->ranges[2 * i + 1] - at >= p && gc_sound(g); at += p)
            gc_forward_word(g, at);
    uint64_t scan = gc_scan_copies(g, g->to);
    for (size_t i = 0; i < r->weak_count && gc_sound(g); i++)
        r->weak[i] = gc_survivor(g, r->weak[i]);
    for (size_t i = 0; i < r->final_count && gc_sound(g); i++)
        r->due[i] = !gc_survivor(g, r->final[i]);
    for (size_t i = 0; i < r->final_count && gc_sound(g); i++)
        r->final[i] = gc_forward(g, r->final[i]);
    gc_scan_copies(g, scan);
    if (!gc_sound(g))
        return;
    g->last.swept = g->objects - g->last.marked;
    g->last.swept_bytes = (g->next - g->from) - (g->copied - g->to);
    g->objects = g->last.marked;
    uint64_t old = g->from;
    g->from = g->to;
    g->to = old;
    g->next = g->copied;
    g->broken = false;
}

vm_status gc_copy_new(collector *g, uint64_t layout, uint64_t size, uint64_t *a, vm_error *e)
{
    const uint64_t bytes = gc_object_bytes(g, size);
    if (bytes > g->from + (uint64_t)g->cfg.space - g->next)
        return vm_fail_sys(e, VM_REFUSED, ENOMEM, "gc: no %llu bytes are left of a space of %lld",
                           (unsigned long long)bytes, (long long)g->cfg.space);
    port_zero(&g->h->port, g->next, bytes);
    gc_put(g, g->next, layout);
    vm_status s = gc_status(g, e);
    if (s != VM_OK)
        return s;
    *a = g->next + g->header;
    g->next += bytes;
    g->objects++;
    return VM_OK;
}
