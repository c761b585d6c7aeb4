/* simple.c: simple segregated storage: classes of sizes, each power of two one; blocks
 * are never split, never merged, and never change their class.
 *
 *    chunk    class       one word, padded to the alignment, then the blocks
 *    block    next        while it is free: a singly linked list, last freed first
 *
 * A chunk lies at a multiple of its size in the arena, so that a block's address leads
 * to its class; blocks have no tags. A block that is larger than a chunk gets as many in
 * a row as it needs. The heads of the lists are a table at the heap's start.
 *
 * Invariant: each block of a chunk is allocated, or once in its class's list. Source:
 * CS:APP 9.9.14, practice problem 9.10.
 */
#include "classes.h"

#define SIMPLE_CLASSES 48

typedef struct simple {
    heap h;
    uint64_t arena; /* start of the first chunk */
    uint64_t chunk;
    uint64_t pad;   /* bytes of a chunk before its first block */
    unsigned least; /* the smallest class: blocks of 2^least bytes */
} simple;

static vm_status simple_init(heap *h, vm_error *e)
{
    simple *s = (simple *)h;
    const uint64_t w = (uint64_t)h->cfg.word, align = (uint64_t)h->cfg.align;
    s->chunk = (uint64_t)h->cfg.chunk;
    s->pad = align;
    s->least = log2_floor(align);
    if (!is_pow2(s->chunk) || s->chunk < 2 * align)
        return vm_fail(e, VM_INVALID,
                       "heap simple: chunk is %llu, but takes a power of two, from twice align",
                       (unsigned long long)s->chunk);
    s->arena = align_up(h->port.base + SIMPLE_CLASSES * w, align);
    return heap_begin(h, s->arena - h->port.base, e);
}

static uint64_t simple_head(const simple *s, unsigned c)
{
    return s->h.port.base + c * (uint64_t)s->h.cfg.word;
}

/* Bytes and blocks of what the heap grows by for a class. */
static uint64_t simple_run(const simple *s, unsigned c, uint64_t *blocks)
{
    const uint64_t size = UINT64_C(1) << c;
    *blocks = size + s->pad <= s->chunk ? (s->chunk - s->pad) / size : 1;
    return *blocks > 1 ? s->chunk : align_up(size + s->pad, s->chunk);
}

/* A chunk for the class, all of its blocks free, the lowest first. */
static uint64_t simple_fill(simple *s, unsigned c)
{
    uint64_t blocks, bytes = simple_run(s, c, &blocks), at = port_grow(&s->h.port, bytes);
    if (!at)
        return 0;
    heap_put(&s->h, at, c);
    for (uint64_t i = 0, a = at + s->pad; i < blocks; i++, a += UINT64_C(1) << c)
        heap_set_link(&s->h, a, i + 1 < blocks ? a + (UINT64_C(1) << c) : 0);
    return at + s->pad;
}

/* The class of a request. */
static unsigned simple_class_of(const simple *s, uint64_t n)
{
    unsigned c = n > 1 ? log2_floor(n - 1) + 1 : 0;
    return c < s->least ? s->least : c;
}

static uint64_t simple_malloc(heap *h, uint64_t n)
{
    simple *s = (simple *)h;
    const unsigned c = simple_class_of(s, n);
    uint64_t a = heap_link(h, simple_head(s, c));
    h->n.searches++;
    if (!a)
        a = simple_fill(s, c);
    if (a)
        heap_set_link(h, simple_head(s, c), heap_link(h, a));
    return a;
}

/* The class of the chunk at `at`; one that cannot be is 0, and fails the call. */
static unsigned simple_class(simple *s, uint64_t at)
{
    uint64_t c = heap_get(&s->h, at), blocks;
    if (c >= s->least && c < SIMPLE_CLASSES &&
        simple_run(s, (unsigned)c, &blocks) <= s->h.port.top - at)
        return (unsigned)c;
    if (s->h.port.status == VM_OK)
        s->h.port.status =
            vm_fail(&s->h.port.error, VM_INVALID, "the heap is damaged: class %#llx at %#llx",
                    (unsigned long long)c, (unsigned long long)at);
    return 0;
}

static uint64_t simple_chunk_of(const simple *s, uint64_t a)
{
    return s->arena + align_down(a - s->arena, s->chunk);
}

static void simple_free(heap *h, uint64_t a)
{
    simple *s = (simple *)h;
    unsigned c = simple_class(s, simple_chunk_of(s, a));
    if (!c)
        return;
    heap_set_link(h, a, heap_link(h, simple_head(s, c)));
    heap_set_link(h, simple_head(s, c), a);
}

static uint64_t simple_usable_size(heap *h, uint64_t a)
{
    simple *s = (simple *)h;
    unsigned c = simple_class(s, simple_chunk_of(s, a));
    return c ? UINT64_C(1) << c : 0;
}

static bool simple_resize(heap *h, uint64_t a, uint64_t n) { return n <= simple_usable_size(h, a); }

static bool simple_walk(heap *h, heap_visit *visit, void *ud)
{
    simple *s = (simple *)h;
    for (uint64_t at = s->arena, blocks, bytes; at != h->port.top; at += bytes) {
        unsigned c = simple_class(s, at);
        if (!c)
            return false;
        bytes = simple_run(s, c, &blocks);
        for (uint64_t i = 0, n; i < blocks; i++) {
            uint64_t a = at + s->pad + (i << c);
            heap_block block = {a, UINT64_C(1) << c, a, heap_asked(h, a, &n)};
            if (!visit(ud, &block))
                return true;
        }
    }
    return true;
}

static bool simple_check_list(simple *s, heap_wrong *wrong, unsigned c, uint64_t *members)
{
    heap *h = &s->h;
    uint64_t from = simple_head(s, c), n;
    for (uint64_t a = heap_link(h, from); a; from = a, a = heap_link(h, a)) {
        if (a < s->arena + s->pad || a >= h->port.top)
            return heap_says(wrong, from, "a link of the free blocks leads out of the heap");
        uint64_t at = simple_chunk_of(s, a);
        if (heap_get(h, at) != c || (a - at - s->pad) & low_mask(c))
            return heap_says(wrong, from, "a link of class %u leads to %#llx, which is none of it",
                             c, (unsigned long long)a);
        if (heap_asked(h, a, &n))
            return heap_says(wrong, from, "%#llx is allocated, and in the free list",
                             (unsigned long long)a);
        if (!heap_step(h, members))
            return false;
    }
    return true;
}

static bool simple_check(heap *h, heap_wrong *wrong)
{
    simple *s = (simple *)h;
    uint64_t members = 0, total = 0;
    for (uint64_t at = s->arena, blocks, bytes; at != h->port.top; at += bytes, total += blocks) {
        unsigned c = simple_class(s, at);
        if (!c)
            return heap_says(wrong, at, "the chunk's class is %#llx",
                             (unsigned long long)heap_get(h, at));
        bytes = simple_run(s, c, &blocks);
    }
    h->fuel = total + 1;
    for (unsigned c = s->least; c < SIMPLE_CLASSES; c++)
        if (!simple_check_list(s, wrong, c, &members))
            return false;
    if (members + h->live.count != total)
        return heap_says(wrong, h->port.base, "%llu blocks are free, but %llu can be found",
                         (unsigned long long)(total - h->live.count), (unsigned long long)members);
    return true;
}

static void simple_shape(heap *h, uint64_t n, heap_shape *s)
{
    s->size = UINT64_C(1) << simple_class_of((simple *)h, n);
}

/* A list's number: its class. */
static bool simple_lists(heap *h, heap_member *visit, void *ud)
{
    simple *s = (simple *)h;
    uint64_t seen = 0;
    h->fuel = (h->port.top - h->port.base) / (uint64_t)h->cfg.align + 1;
    for (unsigned c = s->least; c < SIMPLE_CLASSES; c++)
        for (uint64_t a = heap_link(h, simple_head(s, c)); a; a = heap_link(h, a))
            if (!heap_step(h, &seen))
                return false;
            else if (!visit(ud, c, a))
                return true;
    return true;
}

static const heap_option simple_options[] = {HEAP_OPTIONS, HEAP_LAYOUT_OPTIONS, {0}};

const heap_class heap_simple = {
    "simple",
    "simple segregated storage: no tags, no splitting, no coalescing (CS:APP 9.9.14)",
    simple_options,
    sizeof(simple),
    simple_init,
    simple_malloc,
    simple_free,
    simple_resize,
    NULL,
    simple_usable_size,
    simple_walk,
    simple_check,
    simple_shape,
    simple_lists};
