/* bitmap.c: a page allocator: a block is a run of pages (pages.h), as many as hold it,
 * and begins at a multiple of the page. Blocks have no tags: what a run is the map in the
 * heap says, and what its block's size is, the ledger.
 *
 * First fit searches from the arena's start, next fit from behind the run taken last. A
 * run that shrinks gives its last pages back, one grows where free pages follow.
 */
#include "classes.h"
#include "pages.h"

static vm_status bitmap_init(heap *h, vm_error *e) { return pages_init(h, 0, false, e); }

static uint64_t bitmap_memalign(heap *h, uint64_t align, uint64_t n)
{
    page_heap *p = (page_heap *)h;
    return pages_take(p, pages_for(p, n), align);
}

static uint64_t bitmap_malloc(heap *h, uint64_t n) { return bitmap_memalign(h, 1, n); }

static void bitmap_free(heap *h, uint64_t a) { pages_give((page_heap *)h, a); }

static bool bitmap_resize(heap *h, uint64_t a, uint64_t n)
{
    page_heap *p = (page_heap *)h;
    return pages_resize(p, a, pages_for(p, n));
}

static uint64_t bitmap_usable_size(heap *h, uint64_t a)
{
    page_heap *p = (page_heap *)h;
    return pages_run(p, a) * p->page;
}

static bool bitmap_walk(heap *h, heap_visit *visit, void *ud)
{
    page_heap *p = (page_heap *)h;
    for (uint64_t a = p->arena, size; a != pages_end(p); a += size) {
        bool used;
        size = pages_row(p, a, &used);
        heap_block block = {a, size, a, used};
        if (size == 0)
            return false;
        if (a != p->map && !visit(ud, &block))
            return true;
    }
    return true;
}

static bool bitmap_check(heap *h, heap_wrong *wrong)
{
    page_heap *p = (page_heap *)h;
    if (!pages_check(p, wrong))
        return false;
    for (uint64_t a = p->arena, size, n; a != pages_end(p); a += size) {
        bool used;
        size = pages_row(p, a, &used);
        if (size == 0)
            return false;
        if (a != p->map && used && !heap_asked(h, a, &n))
            return heap_says(wrong, pages_used_word(p, a),
                             "a run begins at %#llx, where no block does", (unsigned long long)a);
        for (uint64_t at = a; !used && at < a + size; at += p->page)
            if (heap_asked(h, at, &n))
                return heap_says(wrong, pages_used_word(p, at),
                                 "the block at %#llx is allocated, but its page is free",
                                 (unsigned long long)at);
    }
    return true;
}

static void bitmap_shape(heap *h, uint64_t n, heap_shape *s)
{
    const page_heap *p = (page_heap *)h;
    s->size = pages_for(p, n) * p->page;
}

static bool bitmap_lists(heap *h, heap_member *visit, void *ud)
{
    return pages_list((page_heap *)h, 0, visit, ud);
}

static const char *const bitmap_fits[] = {"first", "next", NULL};

static const heap_option bitmap_options[] = {
    PAGES_OPTIONS,
    {HEAP_OPTION(page), NULL, 4096, 64, 1 << 20, "bytes of a page: a power of two"},
    {HEAP_OPTION(fit), bitmap_fits, 0, 0, 0, "from the heap's start, or from the last run taken"},
    {0}};

const heap_class heap_bitmap = {"bitmap",        "a page allocator: a map of bits in the heap",
                                bitmap_options,  sizeof(page_heap),
                                bitmap_init,     bitmap_malloc,
                                bitmap_free,     bitmap_resize,
                                bitmap_memalign, bitmap_usable_size,
                                bitmap_walk,     bitmap_check,
                                bitmap_shape,    bitmap_lists};
