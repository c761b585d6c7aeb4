/* gc_blocks.c: which blocks there are, which one a word points to, which are marked.
 *
 * The map has two words for 64 granules: a bit for each that a block's payload begins
 * at, a bit for each whose block is marked; the two side by side, so that a pointer's
 * test and its mark are in one line. With "header" the mark is a bit that the block's
 * header has to spare, and the allocator does not know of: sweeping clears it.
 *
 * The tree is a complete binary search tree of the blocks, in an array by levels (the
 * children of node i are 2i and 2i + 1); a node is a payload's first and last address + 1.
 * The walk of the heap is in order of addresses, so it fills the tree in its own order.
 *
 * Source: CS:APP 9.10.3 (a balanced tree of the allocated blocks, left and right).
 */
#include "gc.h"

static bool gc_header_marked(collector *g, uint64_t block)
{
    return heap_get(g->h, block - (uint64_t)g->h->cfg.word) & g->mark_bit;
}

/* The allocator does not know of marks in its headers: it is asked without. */
uint64_t gc_block_size(collector *g, uint64_t block)
{
    const bool marked =
        g->cfg.marks == GC_MARKS_HEADER && gc_is_inside(g, block) && gc_header_marked(g, block);
    const uint64_t at = block - (uint64_t)g->h->cfg.word;
    if (!marked)
        return g->h->cls->usable_size(g->h, block);
    const uint64_t header = heap_get(g->h, at);
    heap_put(g->h, at, header & ~g->mark_bit);
    uint64_t size = g->h->cls->usable_size(g->h, block);
    heap_put(g->h, at, header);
    return size;
}

/* --- building -------------------------------------------------------------------------- */

typedef struct gc_build {
    collector *g;
    uint64_t entry, bits; /* of the map: this one is not written yet */
    uint64_t node;        /* of the tree: the next one in order */
    uint64_t count;
} gc_build;

static void gc_flush(gc_build *b)
{
    const uint64_t at = b->g->map.base + 16 * b->entry++;
    port_put(&b->g->map, at, b->bits, 8);
    port_put(&b->g->map, at + 8, 0, 8);
    b->bits = 0;
}

static uint64_t gc_leftmost(uint64_t node, uint64_t nodes)
{
    while (2 * node <= nodes)
        node *= 2;
    return node;
}

/* The next node in order of a tree of so many. */
static uint64_t gc_next_node(uint64_t node, uint64_t nodes)
{
    if (2 * node + 1 <= nodes)
        return gc_leftmost(2 * node + 1, nodes);
    while (node & 1)
        node >>= 1;
    return node >> 1;
}

static uint64_t gc_node(const collector *g, uint64_t node)
{
    return g->tree.base + 16 * (node - 1);
}

static bool gc_add(void *ud, const heap_block *block)
{
    gc_build *b = ud;
    collector *g = b->g;
    const uint64_t a = block->payload, off = a - g->base, i = off >> g->grain;
    gc_see(g, block->start, 1);
    if (!block->used)
        return gc_sound(g);
    const bool inside = off < g->span;
    if (b->count == g->nodes || (inside && (off & low_mask(g->grain) || i >> 6 < b->entry))) {
        gc_fail(g, "the heap is damaged: a block at %#llx is out of place", (unsigned long long)a);
        return false;
    }
    b->count++;
    if (!inside)
        gc_add_outer(g, a, g->h->cls->usable_size(g->h, a));
    while (inside && b->entry < i >> 6)
        gc_flush(b);
    if (inside)
        b->bits |= UINT64_C(1) << (i & 63);
    if (g->cfg.lookup == GC_LOOKUP_TREE) {
        port_put(&g->tree, gc_node(g, b->node), a, 8);
        port_put(&g->tree, gc_node(g, b->node) + 8, a + g->h->cls->usable_size(g->h, a), 8);
        b->node = gc_next_node(b->node, g->nodes);
    }
    return gc_sound(g);
}

vm_status gc_fit_blocks(collector *g, vm_error *e)
{
    heap *h = g->h;
    g->base = align_down(h->port.base, UINT64_C(1) << g->grain);
    g->span = h->port.top - g->base;
    g->nodes = h->live.count;
    g->entries = (g->span >> g->grain >> 6) + 1;
    g->outers = g->outer_pages = 0;
    vm_status s = gc_fit(g, &g->map, 16 * g->entries, e);
    if (s == VM_OK && h->port.area_count)
        s = gc_fit(g, &g->outer, 16 * h->port.area_count, e);
    if (s == VM_OK && g->cfg.lookup == GC_LOOKUP_TREE && g->nodes)
        s = gc_fit(g, &g->tree, 16 * g->nodes, e);
    return s;
}

void gc_blocks(collector *g)
{
    heap *h = g->h;
    gc_build b = {g, 0, 0, gc_leftmost(1, g->nodes), 0};
    if ((!h->cls->walk(h, gc_add, &b) || b.count != g->nodes) && gc_sound(g))
        gc_fail(g, "the heap is damaged: its check says where");
    while (b.entry < g->entries && gc_sound(g))
        gc_flush(&b);
    g->last.blocks = b.count;
}

/* --- finding --------------------------------------------------------------------------- */

static uint64_t gc_find_tree(collector *g, uint64_t word)
{
    uint64_t best = 0, block = 0;
    for (uint64_t i = 1; i <= g->nodes;) {
        uint64_t start = port_get(&g->tree, gc_node(g, i), 8);
        if (start > word) {
            i = 2 * i;
            continue;
        }
        best = i;
        block = start;
        i = 2 * i + 1;
    }
    if (!best)
        return 0;
    if (!g->cfg.interior)
        return word - g->header == block ? block : 0;
    return word < port_get(&g->tree, gc_node(g, best) + 8, 8) ? block : 0;
}

/* The last block that begins at `word` or before, if it goes so far. */
static uint64_t gc_find_inside(collector *g, uint64_t word)
{
    uint64_t i = (word - g->base) >> g->grain, e = i >> 6;
    uint64_t bits = port_get(&g->map, g->map.base + 16 * e, 8) & low_mask((i & 63) + 1);
    while (!bits && e-- > 0 && g->map.status == VM_OK)
        bits = port_get(&g->map, g->map.base + 16 * e, 8);
    if (!bits)
        return 0;
    uint64_t block = g->base + ((e << 6 | log2_floor(bits)) << g->grain);
    return word == block || word - block < gc_block_size(g, block) ? block : 0;
}

uint64_t gc_find(collector *g, uint64_t word)
{
    const bool inside = gc_is_inside(g, word);
    if (!inside && !g->outers)
        return 0;
    if (g->cfg.lookup == GC_LOOKUP_TREE)
        return gc_find_tree(g, word);
    if (!inside)
        return gc_find_outer(g, word);
    if (g->cfg.interior)
        return gc_find_inside(g, word);
    const uint64_t off = word - g->header - g->base, i = off >> g->grain;
    if (off >= g->span || off & low_mask(g->grain))
        return 0;
    uint64_t bits = port_get(&g->map, g->map.base + 16 * (i >> 6), 8);
    return bits >> (i & 63) & 1 ? word - g->header : 0;
}

/* --- marks ----------------------------------------------------------------------------- */

static uint64_t gc_mark_word(const collector *g, uint64_t block, unsigned *bit)
{
    const uint64_t i = (block - g->base) >> g->grain;
    *bit = (unsigned)(i & 63);
    return g->map.base + 16 * (i >> 6) + 8;
}

bool gc_marked(collector *g, uint64_t block)
{
    unsigned bit;
    if (!gc_is_inside(g, block)) {
        const uint64_t row = gc_outer_row(g, block);
        return row && port_get(&g->outer, row, 8) & 1;
    }
    if (g->cfg.marks == GC_MARKS_HEADER)
        return gc_header_marked(g, block);
    uint64_t at = gc_mark_word(g, block, &bit);
    return port_get(&g->map, at, 8) >> bit & 1;
}

bool gc_set_mark(collector *g, uint64_t block)
{
    unsigned bit;
    if (VM_UNLIKELY(!gc_is_inside(g, block)))
        return gc_set_outer_mark(g, block);
    if (g->cfg.marks == GC_MARKS_HEADER) {
        const uint64_t at = block - (uint64_t)g->h->cfg.word, header = heap_get(g->h, at);
        if (header & g->mark_bit)
            return false;
        heap_put(g->h, at, header | g->mark_bit);
        return true;
    }
    const uint64_t at = gc_mark_word(g, block, &bit), marks = port_get(&g->map, at, 8);
    if (marks >> bit & 1)
        return false;
    port_put(&g->map, at, marks | UINT64_C(1) << bit, 8);
    return true;
}

uint64_t gc_entry(collector *g, uint64_t i, uint64_t *marked)
{
    const uint64_t at = g->map.base + 16 * i, blocks = port_get(&g->map, at, 8);
    *marked = 0;
    if (g->cfg.marks == GC_MARKS_BITMAP) {
        *marked = blocks ? port_get(&g->map, at + 8, 8) : 0;
        return blocks;
    }
    for (uint64_t rest = blocks; rest; rest &= rest - 1)
        if (gc_header_marked(g, g->base + ((i << 6 | log2_floor(rest & -rest)) << g->grain)))
            *marked |= rest & -rest;
    return blocks;
}

void gc_unmark(collector *g, uint64_t entry)
{
    uint64_t rest;
    if (g->cfg.marks == GC_MARKS_BITMAP)
        return;
    for (gc_entry(g, entry, &rest); rest; rest &= rest - 1) {
        const uint64_t block = g->base + ((entry << 6 | log2_floor(rest & -rest)) << g->grain),
                       at = block - (uint64_t)g->h->cfg.word;
        heap_put(g->h, at, heap_get(g->h, at) & ~g->mark_bit);
    }
}
