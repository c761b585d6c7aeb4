#include "pages.h"

#define PAGES_NONE UINT64_MAX

enum { PAGES_USED, PAGES_LAST, PAGES_NOTES };
enum { PAGES_FIRST, PAGES_NEXT };

/* --- the map ------------------------------------------------------------------------ */

static unsigned pages_bits(const page_heap *p) { return 8u * (unsigned)p->h.cfg.word; }

/* Bytes of a group. */
static uint64_t pages_stride(const page_heap *p)
{
    return (2 + (p->notes ? (uint64_t)pages_bits(p) : 0)) * (uint64_t)p->h.cfg.word;
}

static uint64_t pages_room(const page_heap *p, uint64_t map_pages)
{
    return map_pages * p->page / pages_stride(p) * pages_bits(p);
}
static uint64_t pages_of_room(const page_heap *p, uint64_t room)
{
    return pages_for(p, room / pages_bits(p) * pages_stride(p));
}

/* Of page i: the word of the map `which`. */
static uint64_t pages_word(const page_heap *p, uint64_t i, unsigned which)
{
    return p->map + i / pages_bits(p) * pages_stride(p) + which * (uint64_t)p->h.cfg.word;
}

static uint64_t pages_index(const page_heap *p, uint64_t a) { return (a - p->arena) / p->page; }
static uint64_t pages_address(const page_heap *p, uint64_t i) { return p->arena + i * p->page; }

static uint64_t pages_note_word(const page_heap *p, uint64_t i)
{
    return pages_word(p, i, PAGES_NOTES + (unsigned)(i % pages_bits(p)));
}
uint64_t pages_note(page_heap *p, uint64_t a)
{
    return heap_get(&p->h, pages_note_word(p, pages_index(p, a)));
}
void pages_set_note(page_heap *p, uint64_t a, uint64_t note)
{
    heap_put(&p->h, pages_note_word(p, pages_index(p, a)), note);
}

uint64_t pages_used_word(const page_heap *p, uint64_t a)
{
    return pages_word(p, pages_index(p, a), PAGES_USED);
}

/* Bits of n pages from page i on, word by word. */
static void pages_mark(page_heap *p, uint64_t i, uint64_t n, unsigned which, bool on)
{
    const unsigned bits = pages_bits(p);
    for (uint64_t stop = i + n; i < stop; i = align_down(i, bits) + bits) {
        const uint64_t at = pages_word(p, i, which), left = stop - i;
        const unsigned shift = (unsigned)(i % bits);
        const uint64_t room = bits - shift, mask = low_mask((unsigned)(left < room ? left : room))
                                                   << shift;
        uint64_t word = heap_get(&p->h, at);
        heap_put(&p->h, at, on ? word | mask : word & ~mask);
    }
}

static void pages_mark_run(page_heap *p, uint64_t i, uint64_t n, bool on)
{
    pages_mark(p, i, n, PAGES_USED, on);
    pages_mark(p, i + n - 1, 1, PAGES_LAST, on);
    if (on && p->notes)
        heap_put(&p->h, pages_note_word(p, i), 0);
}

/* The first page from `i` on, below `stop`, whose bit is `on`; else stop. */
static uint64_t pages_seek(page_heap *p, uint64_t i, uint64_t stop, unsigned which, bool on,
                           uint64_t *looked)
{
    const unsigned bits = pages_bits(p);
    while (i < stop) {
        uint64_t word = heap_get(&p->h, pages_word(p, i, which));
        const unsigned shift = (unsigned)(i % bits);
        ++*looked;
        word = ((on ? word : ~word) & low_mask(bits)) >> shift;
        if (word) {
            i += (unsigned)__builtin_ctzll(word);
            return i < stop ? i : stop;
        }
        i += bits - shift;
    }
    return stop;
}

/* The first of the free pages at the end; count: there are none. */
static uint64_t pages_tail(page_heap *p)
{
    const unsigned bits = pages_bits(p);
    uint64_t i = p->count;
    while (i > 0) {
        const uint64_t from = align_down(i - 1, bits);
        uint64_t word = heap_get(&p->h, pages_word(p, from, PAGES_USED));
        p->h.n.searches++;
        word &= low_mask((unsigned)(i - from));
        if (word)
            return from + log2_floor(word) + 1;
        i = from;
    }
    return 0;
}

/* --- runs --------------------------------------------------------------------------- */

static uint64_t pages_aligned(const page_heap *p, uint64_t i, uint64_t align)
{
    return align <= p->page ? i : pages_index(p, align_up(pages_address(p, i), align));
}

/* The first of n free pages in a row, from page i on and below `stop`. */
static uint64_t pages_fit(page_heap *p, uint64_t i, uint64_t stop, uint64_t n, uint64_t align)
{
    uint64_t *looked = &p->h.n.searches;
    for (;;) {
        i = pages_aligned(p, pages_seek(p, i, stop, PAGES_USED, false, looked), align);
        if (i >= stop || n > stop - i)
            return PAGES_NONE;
        uint64_t end = pages_seek(p, i, i + n, PAGES_USED, true, looked);
        if (end == i + n)
            return i;
        i = end;
    }
}

/* A map of `more` pages begins at page `i`, which is of the arena and free. */
static void pages_move_map(page_heap *p, uint64_t i, uint64_t map_pages)
{
    const uint64_t old = p->map, had = p->room / pages_bits(p) * pages_stride(p),
                   old_pages = pages_of_room(p, p->room);
    p->map = pages_address(p, i);
    p->room = pages_room(p, map_pages);
    port_copy(&p->h.port, p->map, old, had);
    port_zero(&p->h.port, p->map + had, p->room / pages_bits(p) * pages_stride(p) - had);
    pages_mark_run(p, i, map_pages, true);
    pages_mark_run(p, pages_index(p, old), old_pages, false);
}

/* More pages, so that n free ones end the arena: the first of these. */
static uint64_t pages_grow(page_heap *p, uint64_t n, uint64_t align)
{
    const uint64_t tail = pages_tail(p), chunk = pages_for(p, (uint64_t)p->h.cfg.chunk);
    uint64_t map_pages = 0, room = p->room, at, more;
    for (;;) {
        at = pages_aligned(p, tail + map_pages, align);
        more = at + n - p->count;
        more = more < chunk ? chunk : more;
        if (p->count + more <= room)
            break;
        map_pages = 2 * (map_pages ? map_pages : pages_of_room(p, p->room));
        room = pages_room(p, map_pages);
    }
    if (!port_grow(&p->h.port, more * p->page))
        return PAGES_NONE;
    p->count += more;
    if (map_pages)
        pages_move_map(p, tail, map_pages);
    return at;
}

uint64_t pages_take(page_heap *p, uint64_t n, uint64_t align)
{
    uint64_t i = PAGES_NONE;
    if (p->h.cfg.fit == PAGES_NEXT)
        i = pages_fit(p, p->rover, p->count, n, align);
    if (i == PAGES_NONE)
        i = pages_fit(p, 0, p->count, n, align);
    if (i == PAGES_NONE && p->h.port.status == VM_OK)
        i = pages_grow(p, n, align);
    if (i == PAGES_NONE || p->h.port.status != VM_OK)
        return 0;
    pages_mark_run(p, i, n, true);
    p->rover = i + n;
    return pages_address(p, i);
}

uint64_t pages_run(page_heap *p, uint64_t a)
{
    const uint64_t i = pages_index(p, a);
    uint64_t last = pages_seek(p, i, p->count, PAGES_LAST, true, &p->h.n.steps);
    if (last < p->count)
        return last + 1 - i;
    if (p->h.port.status == VM_OK)
        p->h.port.status =
            vm_fail(&p->h.port.error, VM_INVALID,
                    "the heap is damaged: the run at %#llx has no end", (unsigned long long)a);
    return 0;
}

void pages_give(page_heap *p, uint64_t a)
{
    uint64_t n = pages_run(p, a);
    if (n)
        pages_mark_run(p, pages_index(p, a), n, false);
}

bool pages_resize(page_heap *p, uint64_t a, uint64_t n)
{
    const uint64_t i = pages_index(p, a), have = pages_run(p, a);
    if (have == 0)
        return false;
    if (n > have) {
        if (n > p->count - i ||
            pages_seek(p, i + have, i + n, PAGES_USED, true, &p->h.n.steps) != i + n)
            return false;
        p->h.n.coalesces++;
    }
    if (n == have)
        return true;
    pages_mark(p, i + have - 1, 1, PAGES_LAST, false);
    pages_mark(p, i + n - 1, 1, PAGES_LAST, true);
    if (n > have) {
        pages_mark(p, i + have, n - have, PAGES_USED, true);
    } else {
        pages_mark(p, i + n, have - n, PAGES_USED, false);
        p->h.n.splits++;
    }
    return true;
}

/* --- init --------------------------------------------------------------------------- */

vm_status pages_init(heap *h, uint64_t tables, bool notes, vm_error *e)
{
    page_heap *p = (page_heap *)h;
    p->page = (uint64_t)h->cfg.page;
    p->notes = notes;
    if (!is_pow2(p->page))
        return vm_fail(e, VM_INVALID, "heap %s: page is %llu, but takes a power of two",
                       h->cls->name, (unsigned long long)p->page);
    p->arena = align_up(h->port.base + tables, p->page);
    p->count = pages_for(p, (uint64_t)h->cfg.chunk);
    uint64_t map_pages = 1;
    p->count = p->count ? p->count : map_pages;
    while (pages_room(p, map_pages) < p->count)
        map_pages *= 2;
    p->count = p->count > map_pages ? p->count : map_pages;
    vm_status s = heap_begin(h, p->arena - h->port.base + p->count * p->page, e);
    if (s != VM_OK)
        return s;
    p->map = p->arena;
    p->room = pages_room(p, map_pages);
    pages_mark_run(p, 0, map_pages, true);
    return h->port.status;
}

/* --- looks -------------------------------------------------------------------------- */

uint64_t pages_row(page_heap *p, uint64_t a, bool *used)
{
    const uint64_t i = pages_index(p, a);
    uint64_t looked = 0;
    *used = pages_seek(p, i, i + 1, PAGES_USED, true, &looked) == i;
    if (!*used)
        return (pages_seek(p, i, p->count, PAGES_USED, true, &looked) - i) * p->page;
    uint64_t last = pages_seek(p, i, p->count, PAGES_LAST, true, &looked);
    return last < p->count ? (last + 1 - i) * p->page : 0;
}

bool pages_list(page_heap *p, unsigned list, heap_member *visit, void *ud)
{
    for (uint64_t a = p->arena, size; a != pages_end(p); a += size) {
        bool used;
        size = pages_row(p, a, &used);
        if (size == 0)
            return false;
        if (!used && !visit(ud, list, a))
            return true;
    }
    return true;
}

bool pages_check(page_heap *p, heap_wrong *wrong)
{
    const unsigned bits = pages_bits(p);
    bool open = false; /* the page before is used, and not the last of its run */
    for (uint64_t from = 0; from < p->room; from += bits) {
        const uint64_t used_at = pages_word(p, from, PAGES_USED),
                       last_at = pages_word(p, from, PAGES_LAST), used = heap_get(&p->h, used_at),
                       last = heap_get(&p->h, last_at);
        const uint64_t there = p->count <= from          ? 0
                               : p->count - from >= bits ? low_mask(bits)
                                                         : low_mask((unsigned)(p->count - from));
        if (used & ~there)
            return heap_says(wrong, used_at, "pages are used that the heap does not have: %#llx",
                             (unsigned long long)used);
        if (last & ~used)
            return heap_says(wrong, last_at, "free pages are the last of runs: %#llx of %#llx",
                             (unsigned long long)last, (unsigned long long)used);
        /* Behind a used page that is not the last of its run the next one is used. */
        const uint64_t goes_on = ((used & ~last) << 1 | open) & low_mask(bits);
        if (goes_on & ~used)
            return heap_says(wrong, used_at, "a run goes on into free pages: %#llx",
                             (unsigned long long)used);
        open = (used & ~last) >> (bits - 1) & 1;
    }
    if (open)
        return heap_says(wrong, pages_word(p, p->room - bits, PAGES_LAST), "a run does not end");
    bool used;
    uint64_t mine = pages_row(p, p->map, &used);
    if (!used || mine != pages_of_room(p, p->room) * p->page)
        return heap_says(wrong, pages_used_word(p, p->map), "the map's own run has %llu bytes",
                         (unsigned long long)mine);
    return true;
}
