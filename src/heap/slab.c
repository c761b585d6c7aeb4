/* slab.c: the slab allocator: caches of objects of one size in slabs of pages.
 *
 * Sizes are multiples of the alignment up to eight of them, then four a power of two, up to
 * two pages; what is larger is a run of pages of its own (pages.h). A slab is a run, cut
 * into objects; what is left over shifts the first object, by another colour in each slab
 * of a cache, so that their objects do not all fall into the same lines of a cache. Its
 * descriptor, in words:
 *
 *    next, before     in one of its cache's lists: empty, partial, full
 *    cache, used      its cache; objects allocated
 *    free             the first free object: index + 1, 0: none
 *    start            the first object
 *
 * Objects below an eighth of a page have slabs of one page, with the descriptor at its end;
 * a free object's first word is the next free one. Larger ones keep clean of it: their
 * descriptors are objects of cache 0, with a word of the free list for each object behind,
 * and their slabs have as many pages as keep what is left over to an eighth.
 *
 * A page's note is the descriptor whose slab it is of, or SLAB_LARGE. An object comes from
 * a partial slab, else an empty one, else a new one. A cache keeps `empty` empty slabs, the
 * pages of others are anybody's; when the heap can't grow, all empty ones are given up.
 * The caches are a table at the heap's start: the heads of the lists, how many slabs are
 * empty, and the next colour.
 *
 * Source: Bonwick, "The slab allocator: an object-caching kernel memory allocator", USENIX
 * Summer 1994. There a free is told the size, and hash tables lead from a large object to
 * its slab; here notes do.
 */
#include "classes.h"
#include "pages.h"

#define SLAB_LARGE 1u
#define SLAB_KINDS 80
#define SLAB_PART  8 /* an eighth of a page: where descriptors leave, and what may be left over */

enum { SLAB_NEXT, SLAB_BEFORE, SLAB_CACHE, SLAB_USED, SLAB_FREE, SLAB_START, SLAB_WORDS };
enum { SLABS_EMPTY, SLABS_PARTIAL, SLABS_FULL, SLABS_LISTS };
enum { CACHE_EMPTIES = SLABS_LISTS, CACHE_COLOUR, CACHE_WORDS };

/* What a cache's slabs are: constants of the heap's options. */
typedef struct slab_kind {
    uint64_t size, pages, objects;
    uint64_t left; /* bytes that the first object can be shifted by */
    bool inside;   /* the descriptor */
} slab_kind;

typedef struct slab_heap {
    page_heap p;
    unsigned kinds;
    slab_kind kind[SLAB_KINDS]; /* 0: of descriptors; others by size */
} slab_heap;

/* A descriptor, read. */
typedef struct slab {
    uint64_t at, cache, used, start;
    const slab_kind *kind;
} slab;

/* --- words -------------------------------------------------------------------------- */

static uint64_t slab_word(const slab_heap *s) { return (uint64_t)s->p.h.cfg.word; }
static uint64_t slab_field(const slab_heap *s, uint64_t at, unsigned f)
{
    return at + f * slab_word(s);
}
static uint64_t slab_cache_word(const slab_heap *s, uint64_t c, unsigned f)
{
    return s->p.h.port.base + (c * CACHE_WORDS + f) * slab_word(s);
}

static bool slab_damaged(slab_heap *s, const char *what, uint64_t at)
{
    if (s->p.h.port.status == VM_OK)
        s->p.h.port.status =
            vm_fail(&s->p.h.port.error, VM_INVALID, "the heap is damaged: %s at %#llx", what,
                    (unsigned long long)at);
    return false;
}

/* Where object i's place in the free list is. */
static uint64_t slab_slot(const slab_heap *s, const slab *x, uint64_t i)
{
    return x->kind->inside ? x->start + i * x->kind->size
                           : slab_field(s, x->at, SLAB_WORDS + (unsigned)i);
}

/* False: no descriptor can be so, and the call fails. */
static bool slab_read(slab_heap *s, uint64_t at, slab *x)
{
    heap *h = &s->p.h;
    const uint64_t end = pages_end(&s->p), w = slab_word(s);
    if (at < s->p.arena || at >= end || end - at < SLAB_WORDS * w || at & (w - 1))
        return slab_damaged(s, "no slab", at);
    x->at = at;
    x->cache = heap_get(h, slab_field(s, at, SLAB_CACHE));
    x->used = heap_get(h, slab_field(s, at, SLAB_USED));
    x->start = heap_link(h, slab_field(s, at, SLAB_START));
    if (x->cache >= s->kinds)
        return slab_damaged(s, "a slab of no cache", at);
    x->kind = &s->kind[x->cache];
    if (x->used > x->kind->objects || x->start < s->p.arena || x->start >= end ||
        x->kind->objects * x->kind->size > end - x->start)
        return slab_damaged(s, "a slab that can't be", at);
    return true;
}

/* --- lists -------------------------------------------------------------------------- */

static unsigned slab_list_of(const slab *x)
{
    return x->used == 0 ? SLABS_EMPTY : x->used == x->kind->objects ? SLABS_FULL : SLABS_PARTIAL;
}

static void slab_count_empty(slab_heap *s, uint64_t c, unsigned list, uint64_t more)
{
    const uint64_t at = slab_cache_word(s, c, CACHE_EMPTIES);
    if (list == SLABS_EMPTY)
        heap_put(&s->p.h, at, heap_get(&s->p.h, at) + more);
}

static void slab_enlist(slab_heap *s, const slab *x)
{
    heap *h = &s->p.h;
    const unsigned list = slab_list_of(x);
    const uint64_t head = slab_cache_word(s, x->cache, list), next = heap_link(h, head);
    heap_set_link(h, slab_field(s, x->at, SLAB_NEXT), next);
    heap_set_link(h, slab_field(s, x->at, SLAB_BEFORE), 0);
    if (next)
        heap_set_link(h, slab_field(s, next, SLAB_BEFORE), x->at);
    heap_set_link(h, head, x->at);
    slab_count_empty(s, x->cache, list, 1);
}

static void slab_unlist(slab_heap *s, const slab *x)
{
    heap *h = &s->p.h;
    const unsigned list = slab_list_of(x);
    const uint64_t next = heap_link(h, slab_field(s, x->at, SLAB_NEXT)),
                   before = heap_link(h, slab_field(s, x->at, SLAB_BEFORE));
    heap_set_link(h, before ? slab_field(s, before, SLAB_NEXT) : slab_cache_word(s, x->cache, list),
                  next);
    if (next)
        heap_set_link(h, slab_field(s, next, SLAB_BEFORE), before);
    slab_count_empty(s, x->cache, list, UINT64_MAX);
}

/* It has so many objects allocated now. */
static void slab_set_used(slab_heap *s, slab *x, uint64_t used)
{
    slab now = *x;
    now.used = used;
    const bool moves = slab_list_of(&now) != slab_list_of(x);
    if (moves)
        slab_unlist(s, x);
    heap_put(&s->p.h, slab_field(s, x->at, SLAB_USED), used);
    *x = now;
    if (moves)
        slab_enlist(s, x);
}

/* --- slabs -------------------------------------------------------------------------- */

static uint64_t slab_take(slab_heap *s, uint64_t c);
static bool slab_put(slab_heap *s, uint64_t a, uint64_t note);

/* An empty slab's pages are anybody's. */
static void slab_destroy(slab_heap *s, const slab *x)
{
    slab_unlist(s, x);
    pages_give(&s->p, align_down(x->start, s->p.page));
    if (!x->kind->inside)
        slab_put(s, x->at, pages_note(&s->p, x->at));
}

/* Give up all empty slabs: were there any? That of descriptors last. */
static bool slab_reap(slab_heap *s)
{
    bool any = false;
    slab x;
    s->p.h.fuel = s->p.count;
    for (unsigned c = s->kinds; c-- > 0;)
        for (uint64_t at; (at = heap_link(&s->p.h, slab_cache_word(s, c, SLABS_EMPTY)));) {
            if (!heap_step(&s->p.h, &s->p.h.n.steps) || !slab_read(s, at, &x))
                return false;
            slab_destroy(s, &x);
            any = true;
        }
    return any;
}

static uint64_t slab_pages(slab_heap *s, uint64_t n, uint64_t align)
{
    uint64_t a = pages_take(&s->p, n, align);
    if (!a && s->p.h.port.status == VM_OK && slab_reap(s))
        a = pages_take(&s->p, n, align);
    return a;
}

static uint64_t slab_colour(slab_heap *s, uint64_t c)
{
    const uint64_t at = slab_cache_word(s, c, CACHE_COLOUR), left = s->kind[c].left,
                   step = align_up((uint64_t)s->p.h.cfg.colour, (uint64_t)s->p.h.cfg.align);
    uint64_t colour = heap_get(&s->p.h, at), next = colour + step;
    if (step)
        heap_put(&s->p.h, at, next > left ? 0 : next);
    return colour > left ? 0 : colour;
}

/* An empty slab for a cache that has none, or 0. */
static uint64_t slab_new(slab_heap *s, uint64_t c)
{
    heap *h = &s->p.h;
    const slab_kind *k = &s->kind[c];
    slab x = {.kind = k, .cache = c};
    if (!k->inside && !(x.at = slab_take(s, 0)))
        return 0;
    const uint64_t run = slab_pages(s, k->pages, 1);
    if (!run) {
        if (x.at)
            slab_put(s, x.at, pages_note(&s->p, x.at));
        return 0;
    }
    if (k->inside)
        x.at = run + s->p.page - SLAB_WORDS * slab_word(s);
    x.start = run + slab_colour(s, c);
    heap_put(h, slab_field(s, x.at, SLAB_CACHE), c);
    heap_put(h, slab_field(s, x.at, SLAB_USED), 0);
    heap_put(h, slab_field(s, x.at, SLAB_FREE), 1);
    heap_set_link(h, slab_field(s, x.at, SLAB_START), x.start);
    for (uint64_t i = 0; i < k->objects; i++)
        heap_put(h, slab_slot(s, &x, i), i + 1 < k->objects ? i + 2 : 0);
    for (uint64_t i = 0; i < k->pages; i++)
        pages_set_note(&s->p, run + i * s->p.page, x.at - h->port.base);
    slab_enlist(s, &x);
    return x.at;
}

/* An object of a cache, or 0. */
static uint64_t slab_take(slab_heap *s, uint64_t c)
{
    heap *h = &s->p.h;
    slab x;
    uint64_t at = heap_link(h, slab_cache_word(s, c, SLABS_PARTIAL));
    h->n.searches++;
    if (!at)
        at = heap_link(h, slab_cache_word(s, c, SLABS_EMPTY));
    if (!at)
        at = slab_new(s, c);
    if (!at || !slab_read(s, at, &x))
        return 0;
    const uint64_t place = heap_get(h, slab_field(s, at, SLAB_FREE));
    if (x.cache != c || place == 0 || place > x.kind->objects || x.used == x.kind->objects) {
        slab_damaged(s, "a slab without a free object", at);
        return 0;
    }
    heap_put(h, slab_field(s, at, SLAB_FREE), heap_get(h, slab_slot(s, &x, place - 1)));
    slab_set_used(s, &x, x.used + 1);
    return x.start + (place - 1) * x.kind->size;
}

/* The slab that a note names, and the object's index in it. */
static bool slab_of(slab_heap *s, uint64_t a, uint64_t note, slab *x, uint64_t *i)
{
    if (!slab_read(s, s->p.h.port.base + note, x))
        return false;
    *i = (a - x->start) / x->kind->size;
    if (a < x->start || *i >= x->kind->objects || (a - x->start) % x->kind->size || x->used == 0)
        return slab_damaged(s, "no object of a slab", a);
    return true;
}

static bool slab_put(slab_heap *s, uint64_t a, uint64_t note)
{
    heap *h = &s->p.h;
    slab x;
    uint64_t i;
    if (!slab_of(s, a, note, &x, &i))
        return false;
    const uint64_t first = slab_field(s, x.at, SLAB_FREE);
    heap_put(h, slab_slot(s, &x, i), heap_get(h, first));
    heap_put(h, first, i + 1);
    slab_set_used(s, &x, x.used - 1);
    if (x.used == 0 &&
        heap_get(h, slab_cache_word(s, x.cache, CACHE_EMPTIES)) > (uint64_t)s->p.h.cfg.empty)
        slab_destroy(s, &x);
    return true;
}

/* --- calls -------------------------------------------------------------------------- */

static slab_kind slab_kind_of(const slab_heap *s, uint64_t size, bool inside)
{
    slab_kind k = {.size = size, .pages = 1, .inside = inside};
    const uint64_t page = s->p.page;
    uint64_t room = page - (inside ? SLAB_WORDS * slab_word(s) : 0);
    for (; !inside && room % size > room / SLAB_PART; room += page)
        k.pages++;
    k.objects = room / size;
    k.left = room % size < page ? room % size : page - 1;
    return k;
}

static uint64_t slab_largest(const slab_heap *s) { return 2 * s->p.page; }

static vm_status slab_init(heap *h, vm_error *e)
{
    slab_heap *s = (slab_heap *)h;
    const uint64_t align = (uint64_t)h->cfg.align, w = (uint64_t)h->cfg.word;
    uint64_t most = 0;
    s->p.page = (uint64_t)h->cfg.page;
    s->kinds = 1;
    for (uint64_t size = align; size <= slab_largest(s);
         size += size < 8 * align ? align : (UINT64_C(1) << log2_floor(size)) / 4) {
        slab_kind *k = &s->kind[s->kinds++];
        *k = slab_kind_of(s, size, size < s->p.page / SLAB_PART);
        most = !k->inside && k->objects > most ? k->objects : most;
    }
    s->kind[0] = slab_kind_of(s, align_up((SLAB_WORDS + most) * w, align), true);
    return pages_init(h, s->kinds * CACHE_WORDS * w, true, e);
}

static uint64_t slab_memalign(heap *h, uint64_t align, uint64_t n)
{
    slab_heap *s = (slab_heap *)h;
    uint64_t a = slab_pages(s, pages_for(&s->p, n), align);
    if (a)
        pages_set_note(&s->p, a, SLAB_LARGE);
    return a;
}

/* n is at most that of the largest. */
static uint64_t slab_cache_for(const slab_heap *s, uint64_t n)
{
    uint64_t lo = 1, hi = s->kinds - 1;
    while (lo < hi) {
        uint64_t mid = (lo + hi) / 2;
        if (s->kind[mid].size < n)
            lo = mid + 1;
        else
            hi = mid;
    }
    return lo;
}

static uint64_t slab_malloc(heap *h, uint64_t n)
{
    slab_heap *s = (slab_heap *)h;
    if (n > slab_largest(s))
        return slab_memalign(h, 1, n);
    return slab_take(s, slab_cache_for(s, n));
}

static void slab_free(heap *h, uint64_t a)
{
    slab_heap *s = (slab_heap *)h;
    const uint64_t note = pages_note(&s->p, a);
    if (note == SLAB_LARGE)
        pages_give(&s->p, a);
    else
        slab_put(s, a, note);
}

static uint64_t slab_usable_size(heap *h, uint64_t a)
{
    slab_heap *s = (slab_heap *)h;
    const uint64_t note = pages_note(&s->p, a);
    slab x;
    uint64_t i;
    if (note == SLAB_LARGE)
        return pages_run(&s->p, a) * s->p.page;
    return slab_of(s, a, note, &x, &i) ? x.kind->size : 0;
}

static bool slab_resize(heap *h, uint64_t a, uint64_t n)
{
    slab_heap *s = (slab_heap *)h;
    if (pages_note(&s->p, a) == SLAB_LARGE)
        return pages_resize(&s->p, a, pages_for(&s->p, n));
    return n <= slab_usable_size(h, a);
}

/* --- looks -------------------------------------------------------------------------- */

static bool slab_walk(heap *h, heap_visit *visit, void *ud)
{
    slab_heap *s = (slab_heap *)h;
    for (uint64_t a = s->p.arena, size, n; a != pages_end(&s->p); a += size) {
        bool used;
        size = pages_row(&s->p, a, &used);
        const uint64_t note = used ? pages_note(&s->p, a) : SLAB_LARGE;
        slab x;
        if (size == 0)
            return false;
        if (note == SLAB_LARGE) {
            heap_block block = {a, size, a, used && heap_asked(h, a, &n)};
            if (!visit(ud, &block))
                return true;
        } else if (note) {
            if (!slab_read(s, h->port.base + note, &x))
                return false;
            for (uint64_t i = 0; x.cache && i < x.kind->objects; i++) {
                const uint64_t at = x.start + i * x.kind->size;
                heap_block block = {at, x.kind->size, at, heap_asked(h, at, &n)};
                if (!visit(ud, &block))
                    return true;
            }
        }
    }
    return true;
}

typedef struct slab_sums {
    uint64_t slabs, outside, descriptors;
} slab_sums;

/* The run of `size` bytes at a, whose note names a slab. */
static bool slab_check_run(slab_heap *s, heap_wrong *wrong, uint64_t a, uint64_t size,
                           slab_sums *sums)
{
    heap *h = &s->p.h;
    const uint64_t note = pages_note(&s->p, a);
    slab x;
    uint64_t n, live = 0, left;
    if (!slab_read(s, h->port.base + note, &x))
        return heap_says(wrong, a, "the note of a page, %#llx, leads to no slab",
                         (unsigned long long)note);
    if (x.kind->pages * s->p.page != size || x.start < a || x.start - a > x.kind->left ||
        (x.kind->inside && x.at != a + size - SLAB_WORDS * slab_word(s)))
        return heap_says(wrong, x.at, "the slab at %#llx does not fit its run",
                         (unsigned long long)a);
    for (uint64_t i = 1; i < x.kind->pages; i++)
        if (pages_note(&s->p, a + i * s->p.page) != note)
            return heap_says(wrong, a + i * s->p.page,
                             "a page of the slab at %#llx has another note", (unsigned long long)a);
    for (uint64_t i = 0; i < x.kind->objects; i++)
        live += heap_asked(h, x.start + i * x.kind->size, &n);
    if (x.cache && live != x.used)
        return heap_says(wrong, slab_field(s, x.at, SLAB_USED),
                         "%llu objects of a slab are allocated, but it says %llu",
                         (unsigned long long)live, (unsigned long long)x.used);
    uint64_t from = slab_field(s, x.at, SLAB_FREE), place = heap_get(h, from);
    for (left = x.kind->objects - x.used; left && place; left--) {
        if (place > x.kind->objects ||
            (x.cache && heap_asked(h, x.start + (place - 1) * x.kind->size, &n)))
            return heap_says(wrong, from, "%llu is no free object of the slab",
                             (unsigned long long)place);
        from = slab_slot(s, &x, place - 1);
        place = heap_get(h, from);
    }
    if (left || place)
        return heap_says(wrong, from, "a slab's free list does not end where it should");
    sums->slabs++;
    sums->outside += !x.kind->inside;
    sums->descriptors += x.cache ? 0 : x.used;
    return true;
}

static bool slab_check_list(slab_heap *s, heap_wrong *wrong, uint64_t c, unsigned list,
                            uint64_t *members)
{
    heap *h = &s->p.h;
    uint64_t before = 0, from = slab_cache_word(s, c, list);
    for (uint64_t at = heap_link(h, from); at; at = heap_link(h, from)) {
        slab x;
        if (!heap_step(h, members))
            return false;
        if (!slab_read(s, at, &x) || pages_note(&s->p, x.start) != at - h->port.base)
            return heap_says(wrong, from, "a link leads to %#llx, which is no slab",
                             (unsigned long long)at);
        if (x.cache != c || slab_list_of(&x) != list)
            return heap_says(wrong, from, "the slab at %#llx is in the list of others",
                             (unsigned long long)at);
        if (heap_link(h, slab_field(s, at, SLAB_BEFORE)) != before)
            return heap_says(wrong, slab_field(s, at, SLAB_BEFORE),
                             "a link does not lead back to %#llx", (unsigned long long)before);
        before = at;
        from = slab_field(s, at, SLAB_NEXT);
    }
    return true;
}

static bool slab_check_caches(slab_heap *s, heap_wrong *wrong, const slab_sums *sums)
{
    heap *h = &s->p.h;
    const uint64_t step = align_up((uint64_t)h->cfg.colour, (uint64_t)h->cfg.align);
    uint64_t members = 0;
    h->fuel = s->p.count;
    for (uint64_t c = 0; c < s->kinds; c++) {
        const uint64_t had = members, empties = slab_cache_word(s, c, CACHE_EMPTIES),
                       colour = slab_cache_word(s, c, CACHE_COLOUR);
        if (!slab_check_list(s, wrong, c, SLABS_EMPTY, &members))
            return false;
        if (heap_get(h, empties) != members - had)
            return heap_says(wrong, empties, "%llu slabs of a cache are empty, but it says %llu",
                             (unsigned long long)(members - had),
                             (unsigned long long)heap_get(h, empties));
        if (heap_get(h, colour) > s->kind[c].left || (step ? heap_get(h, colour) % step : 0))
            return heap_says(wrong, colour, "%llu is no colour of this cache",
                             (unsigned long long)heap_get(h, colour));
        for (unsigned list = SLABS_PARTIAL; list < SLABS_LISTS; list++)
            if (!slab_check_list(s, wrong, c, list, &members))
                return false;
    }
    if (members != sums->slabs)
        return heap_says(wrong, h->port.base, "there are %llu slabs, but %llu can be found",
                         (unsigned long long)sums->slabs, (unsigned long long)members);
    if (sums->descriptors != sums->outside)
        return heap_says(wrong, h->port.base, "%llu slabs have %llu descriptors of their own",
                         (unsigned long long)sums->outside, (unsigned long long)sums->descriptors);
    return true;
}

static bool slab_check(heap *h, heap_wrong *wrong)
{
    slab_heap *s = (slab_heap *)h;
    slab_sums sums = {0};
    if (!pages_check(&s->p, wrong))
        return false;
    for (uint64_t a = s->p.arena, size, n; a != pages_end(&s->p); a += size) {
        bool used;
        size = pages_row(&s->p, a, &used);
        if (size == 0)
            return false;
        const uint64_t note = used ? pages_note(&s->p, a) : 0;
        if (!used)
            continue;
        if ((note == 0) != (a == s->p.map) || (note == SLAB_LARGE && !heap_asked(h, a, &n)))
            return heap_says(wrong, pages_used_word(&s->p, a),
                             "a run begins at %#llx, whose note is %#llx", (unsigned long long)a,
                             (unsigned long long)note);
        if (note > SLAB_LARGE && !slab_check_run(s, wrong, a, size, &sums))
            return false;
    }
    return slab_check_caches(s, wrong, &sums);
}

static void slab_shape(heap *h, uint64_t n, heap_shape *s)
{
    const slab_heap *x = (slab_heap *)h;
    s->size =
        n > slab_largest(x) ? pages_for(&x->p, n) * x->p.page : x->kind[slab_cache_for(x, n)].size;
}

/* A list's number: its cache, objects as they will be taken, of partial slabs, then of
 * empty ones; behind them that of the free pages. */
static bool slab_lists(heap *h, heap_member *visit, void *ud)
{
    static const unsigned with_room[] = {SLABS_PARTIAL, SLABS_EMPTY};
    slab_heap *s = (slab_heap *)h;
    uint64_t seen = 0;
    h->fuel = s->p.count + (h->port.top - h->port.base) / (uint64_t)h->cfg.align;
    for (unsigned c = 1; c < s->kinds; c++)
        for (size_t i = 0; i < 2; i++) {
            slab x;
            for (uint64_t at = heap_link(h, slab_cache_word(s, c, with_room[i])); at;
                 at = heap_link(h, slab_field(s, at, SLAB_NEXT))) {
                if (!heap_step(h, &seen) || !slab_read(s, at, &x) || x.cache != c)
                    return false;
                uint64_t place = heap_get(h, slab_field(s, at, SLAB_FREE));
                for (; place; place = heap_get(h, slab_slot(s, &x, place - 1)))
                    if (place > x.kind->objects || !heap_step(h, &seen))
                        return false;
                    else if (!visit(ud, c, x.start + (place - 1) * x.kind->size))
                        return true;
            }
        }
    return pages_list(&s->p, s->kinds, visit, ud);
}

static const heap_option slab_options[] = {
    PAGES_OPTIONS,
    {HEAP_OPTION(align), NULL, 16, 4, 16, "sizes of objects are multiples of it"},
    {HEAP_OPTION(page), NULL, 4096, 1024, 1 << 20, "bytes of a page: a power of two"},
    {HEAP_OPTION(colour), NULL, 16, 0, 1 << 20,
     "bytes between colours, up to a multiple of align; 0: none"},
    {HEAP_OPTION(empty), NULL, 1, 0, 1 << 30, "empty slabs that a cache keeps"},
    {0}};

const heap_class heap_slab = {"slab",        "caches of objects of one size in slabs of pages",
                              slab_options,  sizeof(slab_heap),
                              slab_init,     slab_malloc,
                              slab_free,     slab_resize,
                              slab_memalign, slab_usable_size,
                              slab_walk,     slab_check,
                              slab_shape,    slab_lists};
