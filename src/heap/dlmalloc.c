/* dlmalloc.c: after Doug Lea's allocator: boundary tags (tags.h, footers in free blocks
 * only), bins, a victim, a top, and areas of their own for large requests.
 *
 * A free block is one of these:
 *   - the top, or wilderness: the heap's last block. It is used where nothing else fits,
 *     is what the heap grows by, and is cut back when it has `trim` bytes.
 *   - the victim: what the last small request left of the block it was cut from. Small
 *     requests that have no block of their size come from it, so that what is asked for
 *     together lies together.
 *   - in the bin of its size: 64 bins for multiples of the alignment, one size each, last
 *     freed first, then four for each power of two, by size, of equal ones the oldest
 *     first. So the first that fits is the best fit. Sizes of the former are small.
 * The bins are tables at the heap's start, in words: a map with a bit for each bin, set if
 * it has blocks, then the first block of each; links are as in listed.c.
 *
 * A request whose block would have `threshold` bytes gets an area (port.h), which goes when
 * it is freed:
 *
 *    offset ... offset   size   payload     offset: from the area's start to the payload
 *
 * Source: Lea, "A memory allocator", 1996 to 2000, and the order of search of his version
 * 2.8; there a victim that is freed into stays one, and large bins are bitwise tries.
 */
#include "classes.h"
#include "tags.h"

#define DL_SMALL 64u
#define DL_BINS  128u

typedef struct dl_heap {
    tags t;
    uint64_t top, victim; /* 0: none */
} dl_heap;

/* --- bins --------------------------------------------------------------------------- */

static unsigned dl_bits(const tags *t) { return 8u * (unsigned)t->h.cfg.word; }

static uint64_t dl_map(const tags *t, unsigned bin)
{
    return t->h.port.base + bin / dl_bits(t) * tags_word(t);
}
static uint64_t dl_head(const tags *t, unsigned bin)
{
    return t->h.port.base + (DL_BINS / dl_bits(t) + bin) * tags_word(t);
}
static uint64_t dl_tables(const tags *t) { return (DL_BINS / dl_bits(t) + DL_BINS) * tags_word(t); }

static unsigned dl_bin(const tags *t, uint64_t size)
{
    const uint64_t units = size / (uint64_t)t->h.cfg.align;
    if (units < DL_SMALL)
        return (unsigned)units;
    const unsigned power = log2_floor(units);
    const uint64_t bin = DL_SMALL + 4 * (power - log2_floor(DL_SMALL)) + (units >> (power - 2) & 3);
    return bin < DL_BINS ? (unsigned)bin : DL_BINS - 1;
}

static bool dl_is_small(const tags *t, uint64_t size) { return dl_bin(t, size) < DL_SMALL; }

static void dl_mark(tags *t, unsigned bin, bool some)
{
    const uint64_t at = dl_map(t, bin), map = heap_get(&t->h, at),
                   bit = UINT64_C(1) << bin % dl_bits(t);
    heap_put(&t->h, at, some ? map | bit : map & ~bit);
}

/* The first bin from `bin` on that has blocks, or DL_BINS. */
static unsigned dl_next(tags *t, unsigned bin)
{
    const unsigned bits = dl_bits(t);
    for (; bin < DL_BINS; bin = bin / bits * bits + bits) {
        const uint64_t map = (heap_get(&t->h, dl_map(t, bin)) & low_mask(bits)) >> bin % bits;
        if (map)
            return bin + (unsigned)__builtin_ctzll(map);
    }
    return DL_BINS;
}

static void dl_put(tags *t, uint64_t a, uint64_t size)
{
    const uint64_t w = tags_word(t);
    const unsigned bin = dl_bin(t, size);
    uint64_t before = 0, after = heap_link(&t->h, dl_head(t, bin));
    if (bin >= DL_SMALL)
        for (tags_begin(t); after && tags_size(tags_header(t, after)) <= size;) {
            if (!heap_step(&t->h, &t->h.n.steps))
                return;
            before = after;
            after = heap_link(&t->h, after + w);
        }
    heap_set_link(&t->h, a, before);
    heap_set_link(&t->h, a + w, after);
    if (after)
        heap_set_link(&t->h, after, a);
    heap_set_link(&t->h, before ? before + w : dl_head(t, bin), a);
    if (!before && !after)
        dl_mark(t, bin, true);
}

/* --- the index ---------------------------------------------------------------------- */

static void dl_insert(tags *t, uint64_t a, uint64_t size)
{
    if (a + size == t->h.port.top)
        ((dl_heap *)t)->top = a;
    else
        dl_put(t, a, size);
}

static void dl_rest(tags *t, uint64_t a, uint64_t size, uint64_t want)
{
    dl_heap *d = (dl_heap *)t;
    const uint64_t old = d->victim;
    if (a + size == t->h.port.top || !dl_is_small(t, want)) {
        dl_insert(t, a, size);
        return;
    }
    if (old)
        dl_put(t, old, tags_size(tags_header(t, old)));
    d->victim = a;
}

static void dl_remove(tags *t, uint64_t a, uint64_t size)
{
    dl_heap *d = (dl_heap *)t;
    const uint64_t w = tags_word(t);
    if (a == d->top) {
        d->top = 0;
    } else if (a == d->victim) {
        d->victim = 0;
    } else {
        const unsigned bin = dl_bin(t, size);
        uint64_t before = heap_link(&t->h, a), after = heap_link(&t->h, a + w);
        heap_set_link(&t->h, before ? before + w : dl_head(t, bin), after);
        if (after)
            heap_set_link(&t->h, after, before);
        else if (!before)
            dl_mark(t, bin, false);
    }
}

/* The size of the victim or the top; 0: there is none. */
static uint64_t dl_size(tags *t, uint64_t a) { return a ? tags_size(tags_header(t, a)) : 0; }

/* The smallest block in bins that fits, or 0. */
static uint64_t dl_best(tags *t, uint64_t want)
{
    unsigned bin = dl_bin(t, want);
    tags_begin(t);
    for (uint64_t a = bin < DL_SMALL ? 0 : heap_link(&t->h, dl_head(t, bin)); a;
         a = heap_link(&t->h, a + tags_word(t))) {
        if (!heap_step(&t->h, &t->h.n.searches))
            return 0;
        if (tags_size(tags_header(t, a)) >= want)
            return a;
    }
    bin = dl_next(t, bin >= DL_SMALL ? bin + 1 : bin);
    t->h.n.searches++;
    return bin < DL_BINS ? heap_link(&t->h, dl_head(t, bin)) : 0;
}

static uint64_t dl_find(tags *t, uint64_t want)
{
    const dl_heap *d = (dl_heap *)t;
    if (dl_is_small(t, want)) {
        /* A block of this size, or one that would leave too little to split it. */
        const unsigned bin = dl_next(t, dl_bin(t, want));
        t->h.n.searches++;
        if (bin < DL_SMALL && bin * (uint64_t)t->h.cfg.align < want + t->least)
            return heap_link(&t->h, dl_head(t, bin));
        if (dl_size(t, d->victim) >= want)
            return d->victim;
    }
    uint64_t a = dl_best(t, want);
    const uint64_t victim = dl_size(t, d->victim);
    if (victim >= want && (!a || victim <= tags_size(tags_header(t, a))))
        return d->victim;
    return a || dl_size(t, d->top) < want ? a : d->top;
}

static uint64_t dl_lack(tags *t, uint64_t size)
{
    const uint64_t have = dl_size(t, ((dl_heap *)t)->top);
    return have < size ? size - have : size;
}

static bool dl_check_bin(tags *t, heap_wrong *wrong, unsigned bin, uint64_t *members)
{
    const uint64_t w = tags_word(t), map = heap_get(&t->h, dl_map(t, bin));
    uint64_t before = 0, least = 0, a = heap_link(&t->h, dl_head(t, bin));
    if ((map >> bin % dl_bits(t) & 1) != (a != 0))
        return heap_says(wrong, dl_map(t, bin), "the map says that bin %u is%s empty", bin,
                         a ? "" : " not");
    for (; a; before = a, a = heap_link(&t->h, a + w)) {
        if (!heap_step(&t->h, members) || !tags_says_member(t, wrong, a))
            return false;
        const uint64_t size = tags_size(tags_header(t, a));
        if (heap_link(&t->h, a) != before)
            return heap_says(wrong, a, "a link does not lead back to %#llx",
                             (unsigned long long)before);
        if (dl_bin(t, size) != bin || size < least)
            return heap_says(wrong, a - w, "a block of %llu bytes is not in its place in bin %u",
                             (unsigned long long)size, bin);
        least = size;
    }
    return true;
}

static bool dl_check(tags *t, heap_wrong *wrong, uint64_t *members)
{
    const dl_heap *d = (dl_heap *)t;
    tags_begin(t);
    for (unsigned bin = 0; bin < DL_BINS; bin++)
        if (!dl_check_bin(t, wrong, bin, members))
            return false;
    const uint64_t own[] = {d->top, d->victim};
    for (size_t i = 0; i < 2; i++) {
        if (own[i] && !tags_says_member(t, wrong, own[i]))
            return false;
        *members += own[i] != 0;
    }
    return true;
}

/* A list's number: its bin; that of the victim, and that of the top. */
static bool dl_lists(tags *t, heap_member *visit, void *ud)
{
    const dl_heap *d = (dl_heap *)t;
    bool enough = false;
    tags_begin(t);
    for (unsigned bin = 0; bin < DL_BINS && !enough; bin++)
        if (!tags_members(t, bin, heap_link(&t->h, dl_head(t, bin)), visit, ud, &enough))
            return false;
    if (d->victim && !enough)
        enough = !visit(ud, DL_BINS, d->victim);
    if (d->top && !enough)
        visit(ud, DL_BINS + 1, d->top);
    return true;
}

static const tags_index dl_index = {.links = 2,
                                    .tables = dl_tables,
                                    .find = dl_find,
                                    .insert = dl_insert,
                                    .remove = dl_remove,
                                    .rest = dl_rest,
                                    .lack = dl_lack,
                                    .check = dl_check,
                                    .lists = dl_lists};

/* --- areas -------------------------------------------------------------------------- */

static bool dl_is_mapped(const heap *h, uint64_t a) { return a < h->port.base || a >= h->port.top; }

/* An area for n bytes at a multiple of `align`, or 0. */
static uint64_t dl_map_area(heap *h, uint64_t align, uint64_t n)
{
    const uint64_t w = (uint64_t)h->cfg.word;
    uint64_t size, at = port_map(&h->port, n + align_up(2 * w, align), &size);
    if (!at)
        return 0;
    const uint64_t a = align_up(at + 2 * w, align);
    heap_put(h, at, a - at);
    heap_put(h, a - 2 * w, a - at);
    heap_put(h, a - w, size);
    return a;
}

/* What the words before a payload say; false: they can't be so. */
static bool dl_area(heap *h, uint64_t a, uint64_t *offset, uint64_t *size)
{
    const uint64_t w = (uint64_t)h->cfg.word;
    const port_area *own = port_area_of(&h->port, a);
    *offset = heap_get(h, a - 2 * w);
    *size = heap_get(h, a - w);
    if (own && own->start == a - *offset && own->size == *size)
        return true;
    if (h->port.status == VM_OK)
        h->port.status =
            vm_fail(&h->port.error, VM_INVALID,
                    "the heap is damaged: no area of %llu bytes begins %llu before %#llx",
                    (unsigned long long)*size, (unsigned long long)*offset, (unsigned long long)a);
    return false;
}

/* --- calls -------------------------------------------------------------------------- */

static vm_status dl_init(heap *h, vm_error *e)
{
    h->cfg.tags = TAGS_FREE;
    return tags_init(h, &dl_index, e);
}

static bool dl_is_large(const heap *h, uint64_t size)
{
    return h->cfg.threshold && size >= (uint64_t)h->cfg.threshold;
}

static uint64_t dl_malloc(heap *h, uint64_t n)
{
    uint64_t a = 0;
    if (dl_is_large(h, tags_need((tags *)h, n)))
        a = dl_map_area(h, (uint64_t)h->cfg.align, n);
    return a || h->port.status != VM_OK ? a : tags_malloc(h, n);
}

static uint64_t dl_memalign(heap *h, uint64_t align, uint64_t n)
{
    uint64_t a = 0;
    if (dl_is_large(h, tags_need((tags *)h, n) + align))
        a = dl_map_area(h, align, n);
    return a || h->port.status != VM_OK ? a : tags_memalign(h, align, n);
}

static void dl_free(heap *h, uint64_t a)
{
    dl_heap *d = (dl_heap *)h;
    uint64_t offset, size;
    if (!dl_is_mapped(h, a)) {
        tags_free(h, a);
        if (h->cfg.trim && dl_size(&d->t, d->top) >= (uint64_t)h->cfg.trim)
            tags_trim(&d->t, d->top, (uint64_t)h->cfg.chunk + d->t.least);
    } else if (dl_area(h, a, &offset, &size)) {
        port_unmap(&h->port, a - offset, size);
    }
}

/* An area stays as long as more than half of it is used. */
static bool dl_resize(heap *h, uint64_t a, uint64_t n)
{
    uint64_t offset, size;
    if (!dl_is_mapped(h, a))
        return tags_resize(h, a, n);
    return h->cfg.realloc && dl_area(h, a, &offset, &size) && n <= size - offset &&
           n + offset > size / 2;
}

static uint64_t dl_usable_size(heap *h, uint64_t a)
{
    uint64_t offset, size;
    if (!dl_is_mapped(h, a))
        return tags_usable_size(h, a);
    return dl_area(h, a, &offset, &size) ? size - offset : 0;
}

/* --- looks -------------------------------------------------------------------------- */

typedef struct dl_walk_state {
    heap_visit *visit;
    void *ud;
    bool enough;
} dl_walk_state;

static bool dl_visit(void *ud, const heap_block *b)
{
    dl_walk_state *s = ud;
    s->enough = !s->visit(s->ud, b);
    return !s->enough;
}

static bool dl_walk(heap *h, heap_visit *visit, void *ud)
{
    dl_walk_state s = {visit, ud, false};
    bool inside = false;
    for (size_t i = 0; !s.enough; i++) {
        const port_area *own = i < h->port.area_count ? &h->port.areas[i] : NULL;
        if (!inside && (!own || own->start > h->port.base)) {
            inside = true;
            if (!tags_walk(h, dl_visit, &s))
                return false;
        }
        if (s.enough || !own)
            break;
        heap_block b = {own->start, own->size, own->start + heap_get(h, own->start), true};
        if (b.payload <= b.start || b.payload - b.start >= b.size)
            return false;
        dl_visit(&s, &b);
    }
    return true;
}

static bool dl_check_heap(heap *h, heap_wrong *wrong)
{
    const uint64_t w = (uint64_t)h->cfg.word;
    for (size_t i = 0; i < h->port.area_count; i++) {
        const port_area *own = &h->port.areas[i];
        const uint64_t offset = heap_get(h, own->start), a = own->start + offset;
        if (offset < 2 * w || offset >= own->size || offset & (w - 1))
            return heap_says(wrong, own->start, "the offset of an area of %llu bytes is %llu",
                             (unsigned long long)own->size, (unsigned long long)offset);
        if (heap_get(h, a - 2 * w) != offset)
            return heap_says(wrong, a - 2 * w, "the offset of the block at %#llx is not %llu",
                             (unsigned long long)a, (unsigned long long)offset);
        if (heap_get(h, a - w) != own->size)
            return heap_says(wrong, a - w, "the header of an area of %llu bytes says %llu",
                             (unsigned long long)own->size, (unsigned long long)heap_get(h, a - w));
    }
    return tags_check(h, wrong);
}

static void dl_shape(heap *h, uint64_t n, heap_shape *s)
{
    const uint64_t w = (uint64_t)h->cfg.word, align = (uint64_t)h->cfg.align;
    tags_shape(h, n, s);
    if (dl_is_large(h, s->size))
        s->size = align_up(n + align_up(2 * w, align), port_page_bytes(&h->port));
}

static const heap_option dl_options[] = {
    HEAP_OPTIONS,
    HEAP_LAYOUT_OPTIONS,
    TAGS_SPLIT,
    {HEAP_OPTION(realloc), tags_reallocs, 1, 0, 0,
     "always a new block, or in place where that can be"},
    {HEAP_OPTION(threshold), NULL, INT64_C(128) << 10, 0, INT64_C(1) << 40,
     "blocks of so many bytes get an area of their own by mmap; 0: none does"},
    {HEAP_OPTION(trim), NULL, INT64_C(128) << 10, 0, INT64_C(1) << 40,
     "the heap's last block is cut back to chunk when it is free and has so many bytes; 0: never"},
    {0}};

const heap_class heap_dlmalloc = {
    "dlmalloc",  "after Doug Lea: bins, a victim, a top, and areas for large blocks",
    dl_options,  sizeof(dl_heap),
    dl_init,     dl_malloc,
    dl_free,     dl_resize,
    dl_memalign, dl_usable_size,
    dl_walk,     dl_check_heap,
    dl_shape,    tags_lists};
