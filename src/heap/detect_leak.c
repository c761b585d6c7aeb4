/* detect_leak.c: which live blocks can still be reached, in memcheck's four kinds
 * (Valgrind's manual, 4.2.8).
 *
 * From the roots each initialised, aligned word is followed if it leads into a live block:
 * to its start, or into its midst, which makes all behind it possible only. Of what is
 * left as few blocks as possible are lost for themselves, all others are lost with them.
 */
#include "detect.h"

const char *const detect_loss_names[] = {"definite", "indirect", "possible", "reachable", NULL};

/* What is known of a block so far. */
typedef enum leak_mark { LEAK_UNREACHED, LEAK_INDIRECT, LEAK_POSSIBLE, LEAK_REACHABLE } leak_mark;

enum { LEAK_UP = 1, LEAK_DOWN = 2, LEAK_LEADER = 4 };

typedef struct leak_search {
    detect *d;
    detect_leak *leaks; /* live blocks, in order of addresses */
    uint8_t *mark;      /* leak_mark, of each */
    uint8_t *seen;      /* by searches from the unreached: LEAK_UP and others */
    size_t *stack;      /* of blocks whose words are to be looked at */
    size_t count, depth;
    unsigned word;
    unsigned search; /* of the unreached: which; 0: that from the roots */
    vm_status status;
    vm_error *e;
} leak_search;

/* Heapsort by address: in place, since the library's may take memory of its own. */
static void leak_sift(detect_leak *l, size_t at, size_t n)
{
    for (size_t child; (child = 2 * at + 1) < n; at = child) {
        child += child + 1 < n && l[child + 1].block.start > l[child].block.start;
        if (l[at].block.start >= l[child].block.start)
            return;
        const detect_leak x = l[at];
        l[at] = l[child];
        l[child] = x;
    }
}

static void leak_sort(detect_leak *l, size_t n)
{
    for (size_t i = n / 2; i-- > 0;)
        leak_sift(l, i, n);
    for (size_t i = n; i-- > 1;) {
        const detect_leak x = l[0];
        l[0] = l[i];
        l[i] = x;
        leak_sift(l, 0, i);
    }
}

/* The block that holds the address, or `count`. */
static size_t leak_find(const leak_search *s, uint64_t a)
{
    size_t lo = 0, hi = s->count; /* those before lo begin at or below a */
    while (lo < hi) {
        size_t mid = (lo + hi) / 2;
        if (s->leaks[mid].block.start <= a)
            lo = mid + 1;
        else
            hi = mid;
    }
    if (lo == 0)
        return s->count;
    const detect_block *b = &s->leaks[lo - 1].block;
    return a - b->start < b->size ? lo - 1 : s->count;
}

/* A word that is known may be a pointer; `firm`: who holds it is reachable. A block comes
 * at most twice on the stack: as possible, and as reachable. */
static void leak_follow(leak_search *s, uint64_t x, bool firm)
{
    const size_t i = leak_find(s, x);
    if (i == s->count)
        return;
    if (s->search) {
        if (s->mark[i] >= LEAK_POSSIBLE || s->seen[i] & s->search)
            return;
        s->seen[i] = (uint8_t)(s->seen[i] | s->search);
    } else {
        const leak_mark mark =
            firm && x == s->leaks[i].block.start ? LEAK_REACHABLE : LEAK_POSSIBLE;
        if (s->mark[i] >= mark)
            return;
        s->mark[i] = (uint8_t)mark;
    }
    s->stack[s->depth++] = i;
}

/* Bytes of one page, without an access if they are in memory; false: they are zeros, or
 * can't be had. */
static bool leak_read(leak_search *s, uint64_t va, uint8_t *to, size_t n)
{
    detect *d = s->d;
    const machine *m = d->m;
    const pt_geometry *g = &m->hw.g;
    uint64_t pa, slot;
    if (machine_peek(m, d->p, va, &pa)) {
        dram_read(&m->hw.mem, pa, to, n);
        return true;
    }
    if (!d->p->space->root_ok ||
        !pte_is_swapped(g->format, pt_lookup(g, &m->hw.mem, d->p->space->root, va).pte, &slot))
        return false;
    d->muted++;
    s->status = machine_read(d->m, d->p, va, to, n, ACCESS_LOAD, &d->info, s->e);
    d->muted--;
    return s->status == VM_OK;
}

#define LEAK_PIECE 64u /* bytes: pages are not smaller */

static bool leak_known(leak_search *s, uint64_t va)
{
    uint64_t at;
    uint32_t origin;
    return !shadow_undefined(&s->d->shadow, va, s->word, &at, &origin);
}

/* The words in [start, stop); `outside`: those outside of what only blocks have. */
static void leak_scan(leak_search *s, uint64_t start, uint64_t stop, bool firm, bool outside)
{
    uint8_t bytes[LEAK_PIECE];
    const uint64_t page = kernel_page(&s->d->m->kernel);
    uint64_t va = align_up(start, s->word);
    while (va < stop && stop - va >= s->word && s->status == VM_OK && s->d->p->space) {
        uint64_t n = LEAK_PIECE - va % LEAK_PIECE, rest = align_down(stop - va, s->word);
        n = n < rest ? n : rest;
        if (!leak_read(s, va, bytes, (size_t)n)) {
            va = align_down(va, page) + page; /* none of the page is there */
            continue;
        }
        for (uint64_t i = 0; i < n; i += s->word)
            if (leak_known(s, va + i) && !(outside && detect_ruled(s->d, va + i, va + i + s->word)))
                leak_follow(s, dram_load(bytes + i, s->word), firm);
        va += n;
    }
}

static void leak_drain(leak_search *s)
{
    while (s->depth && s->status == VM_OK) {
        const size_t i = s->stack[--s->depth];
        const detect_block *b = &s->leaks[i].block;
        leak_scan(s, b->start, b->start + b->size, s->mark[i] == LEAK_REACHABLE, false);
    }
}

static void leak_roots(leak_search *s, const tracked *roots, size_t root_count,
                       const uint64_t *areas, size_t area_count)
{
    const detect *d = s->d;
    for (size_t i = 0; i < root_count; i++)
        if (!roots[i].undef)
            leak_follow(s, roots[i].x, true);
    for (uint32_t i = 0; i < d->room; i++) {
        const detect_block *b = &d->blocks[i];
        if (b->id && b->live && (b->part == PART_STACK || b->part == PART_DATA))
            leak_scan(s, b->start, b->start + b->size, true, false);
    }
    for (size_t i = 0; i < area_count; i++) /* their words, but not those of heaps */
        leak_scan(s, areas[2 * i], areas[2 * i + 1], true, true);
    leak_drain(s);
}

static void leak_search_from(leak_search *s, size_t i)
{
    s->seen[i] = (uint8_t)(s->seen[i] | s->search);
    s->stack[s->depth++] = i;
    leak_drain(s);
}

/* What nothing leads to: the fewest blocks from which all others can be had are lost, the
 * others with them. A first search, upwards, gives blocks from which all can be had: of
 * these, the last is had from none before, and none after it is had from one before. So a
 * second, downwards, leaves out those that are had from others. A ring is lost by its
 * lowest block. */
static void leak_unreached(leak_search *s)
{
    s->search = LEAK_UP;
    for (size_t i = 0; i < s->count && s->status == VM_OK; i++)
        if (s->mark[i] < LEAK_POSSIBLE && !(s->seen[i] & LEAK_UP)) {
            s->seen[i] |= LEAK_LEADER;
            leak_search_from(s, i);
        }
    s->search = LEAK_DOWN;
    for (size_t i = s->count; i-- > 0 && s->status == VM_OK;)
        if (s->seen[i] & LEAK_LEADER && !(s->seen[i] & LEAK_DOWN)) {
            leak_search_from(s, i);
            s->mark[i] = LEAK_UNREACHED;
        } else if (s->mark[i] < LEAK_POSSIBLE) {
            s->mark[i] = LEAK_INDIRECT;
        }
}

/* Readable areas, as pairs of addresses: a list of its own, since reading may change them. */
static size_t leak_areas(const detect *d, uint64_t *out)
{
    size_t n = 0;
    for (const area *a = d->p->space->areas.first; a; a = a->next)
        if (a->prot & PROT_R) {
            out[2 * n] = a->start;
            out[2 * n + 1] = a->stop;
            n++;
        }
    return n;
}

static void leak_collect(leak_search *s)
{
    const detect *d = s->d;
    size_t n = 0;
    for (uint32_t i = 0; i < d->room; i++)
        if (d->blocks[i].id && d->blocks[i].live && d->blocks[i].part == PART_HEAP)
            s->leaks[n++].block = d->blocks[i];
    leak_sort(s->leaks, n);
    s->count = n;
}

vm_status detect_leaks(detect *d, const tracked *roots, size_t root_count, detect_leak **out,
                       size_t *n, vm_error *e)
{
    static const detect_loss losses[] = {[LEAK_UNREACHED] = LOSS_DEFINITE,
                                         [LEAK_INDIRECT] = LOSS_INDIRECT,
                                         [LEAK_POSSIBLE] = LOSS_POSSIBLE,
                                         [LEAK_REACHABLE] = LOSS_REACHABLE};
    leak_search s = {.d = d, .word = d->m->hw.g.va_bits > 32 ? 8 : 4, .e = e};
    size_t live = 0, areas = d->p->space->areas.count;
    for (uint32_t i = 0; i < d->room; i++)
        live += d->blocks[i].id && d->blocks[i].live && d->blocks[i].part == PART_HEAP;
    *out = NULL;
    *n = live;
    if (live == 0)
        return VM_OK;
    uint64_t *ranges = host_alloc(&d->host, (areas + 1) * 2 * sizeof *ranges);
    s.leaks = host_alloc(&d->host, live * sizeof *s.leaks);
    s.mark = host_zalloc(&d->host, live);
    s.seen = host_zalloc(&d->host, live);
    s.stack = host_alloc(&d->host, 2 * live * sizeof *s.stack);
    if (ranges && s.leaks && s.mark && s.seen && s.stack) {
        leak_collect(&s);
        leak_roots(&s, roots, root_count, ranges, leak_areas(d, ranges));
        leak_unreached(&s);
        for (size_t i = 0; i < live; i++)
            s.leaks[i].loss = losses[s.mark[i]];
    } else {
        s.status = vm_fail_nomem(e, "the search for leaks");
    }
    host_free(&d->host, ranges, (areas + 1) * 2 * sizeof *ranges);
    host_free(&d->host, s.mark, live);
    host_free(&d->host, s.seen, live);
    host_free(&d->host, s.stack, 2 * live * sizeof *s.stack);
    if (s.status != VM_OK) {
        if (s.leaks)
            host_free(&d->host, s.leaks, live * sizeof *s.leaks);
        return s.status;
    }
    *out = s.leaks;
    return VM_OK;
}
