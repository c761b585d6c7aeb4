/* bump.c: a pointer that moves up: malloc takes the next bytes, free takes none back.
 *
 *    header   size | 1                   one word, before each payload
 *
 * The header is for realloc, which must know how much to copy, and for those who look.
 * A freed block is one whose header says so; it is never used again.
 */
#include "classes.h"

#define BUMP_USED 1u

typedef struct bump {
    heap h;
    uint64_t first; /* payload of the first block */
    uint64_t next;  /* of the one that malloc gives out next */
} bump;

static vm_status bump_init(heap *h, vm_error *e)
{
    bump *b = (bump *)h;
    const uint64_t w = (uint64_t)h->cfg.word;
    b->first = b->next = align_up(h->port.base + w, (uint64_t)h->cfg.align);
    return heap_begin(h, b->first - h->port.base, e);
}

/* Up to `top`, by chunks. */
static bool bump_reach(bump *b, uint64_t top)
{
    uint64_t have = b->h.port.top, chunk = (uint64_t)b->h.cfg.chunk;
    if (top <= have)
        return true;
    uint64_t more = top - have > chunk ? top - have : chunk;
    return port_grow(&b->h.port, align_up(more, (uint64_t)b->h.cfg.align)) != 0;
}

/* The block at `a`, aligned; what lies between is the block's before. */
static uint64_t bump_take(bump *b, uint64_t a, uint64_t n)
{
    const uint64_t w = (uint64_t)b->h.cfg.word;
    uint64_t size = align_up(n + w, (uint64_t)b->h.cfg.align);
    if (!bump_reach(b, a + size))
        return 0;
    heap_put(&b->h, a - w, size | BUMP_USED);
    b->next = a + size;
    return a;
}

static uint64_t bump_malloc(heap *h, uint64_t n)
{
    bump *b = (bump *)h;
    return bump_take(b, b->next, n);
}

static uint64_t bump_memalign(heap *h, uint64_t align, uint64_t n)
{
    bump *b = (bump *)h;
    uint64_t from = b->next, gap = align_up(from, align) - from;
    uint64_t a = bump_take(b, from + gap, n);
    if (a && gap) /* a block that was never given out */
        heap_put(h, from - (uint64_t)h->cfg.word, gap);
    return a;
}

static void bump_free(heap *h, uint64_t a)
{
    const uint64_t w = (uint64_t)h->cfg.word;
    heap_put(h, a - w, heap_get(h, a - w) & ~(uint64_t)BUMP_USED);
}

static uint64_t bump_size(heap *h, uint64_t a)
{
    uint64_t size = heap_get(h, a - (uint64_t)h->cfg.word) & ~(uint64_t)BUMP_USED;
    return size < (uint64_t)h->cfg.align || size > ((bump *)h)->next - a ? 0 : size;
}

static uint64_t bump_usable_size(heap *h, uint64_t a)
{
    uint64_t size = bump_size(h, a);
    return size ? size - (uint64_t)h->cfg.word : 0;
}

static bool bump_walk(heap *h, heap_visit *visit, void *ud)
{
    const bump *b = (bump *)h;
    const uint64_t w = (uint64_t)h->cfg.word;
    for (uint64_t a = b->first; a != b->next;) {
        uint64_t size = bump_size(h, a);
        heap_block block = {a - w, size, a, heap_get(h, a - w) & BUMP_USED};
        if (size == 0)
            return false;
        if (!visit(ud, &block))
            return true;
        a += size;
    }
    return true;
}

static bool bump_check(heap *h, heap_wrong *wrong)
{
    const bump *b = (bump *)h;
    const uint64_t w = (uint64_t)h->cfg.word;
    for (uint64_t a = b->first, size; a != b->next; a += size) {
        size = bump_size(h, a);
        if (size == 0 || size & ((uint64_t)h->cfg.align - 1))
            return heap_says(wrong, a - w, "the header %#llx has no size that fits",
                             (unsigned long long)heap_get(h, a - w));
    }
    return true;
}

static void bump_shape(heap *h, uint64_t n, heap_shape *s)
{
    s->size = align_up(n + (uint64_t)h->cfg.word, (uint64_t)h->cfg.align);
    s->unused = h->port.top - ((bump *)h)->next;
}

static const heap_option bump_options[] = {HEAP_OPTIONS, HEAP_LAYOUT_OPTIONS, {0}};

const heap_class heap_bump = {"bump",        "a pointer that moves up, and no block is used twice",
                              bump_options,  sizeof(bump),
                              bump_init,     bump_malloc,
                              bump_free,     NULL,
                              bump_memalign, bump_usable_size,
                              bump_walk,     bump_check,
                              bump_shape,    NULL};
