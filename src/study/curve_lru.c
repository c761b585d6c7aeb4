/* curve_lru.c: places in the LRU stack. A page's place is how many different
 * pages were referenced since, itself included.
 *
 * Each page stands at the tick of its last reference, in a map of a bit a tick;
 * its place is the number of bits from there on. The map is counted in blocks of
 * 512 bits, a line of the host's cache, under a Fenwick tree of the blocks that
 * time has passed. When time reaches the map's end, the pages move together to its
 * beginning, in order. (A Fenwick tree over the whole trace costs three times as
 * much: it does not fit into the host's cache.)
 *
 * Invariants: as many bits are set as pages were referenced; bit t is set where
 * last[page] = t + 1 for some page; ticks from `fresh` on belong to references
 * from `since` on, one each, the earlier ones to pages in `order`.
 */
#include "curve.h"

#define LRUC_BLOCK 512u /* ticks */
#define LRUC_WORDS (LRUC_BLOCK / 64)

typedef struct lruc {
    study_curve base;
    uint32_t ticks;  /* of the map, whole blocks */
    uint32_t now;    /* the next tick */
    uint32_t fresh;  /* first tick since the pages moved together */
    size_t since;    /* the reference at that tick */
    uint64_t *map;   /* a bit a tick */
    uint32_t *tree;  /* Fenwick: [k] counts blocks k - (k & -k) .. k - 1 */
    uint32_t *last;  /* by page: tick + 1; 0: not referenced yet */
    uint32_t *order; /* by tick below `fresh` */
} lruc;

static vm_status lruc_init(study_curve *base, vm_error *e)
{
    lruc *c = (lruc *)base;
    size_t pages = base->refs->pages;
    /* Moving together costs a pass over the map: it is to be rare, and the map small. */
    uint64_t ticks = align_up((uint64_t)pages * 4 + 8192, LRUC_BLOCK);
    uint64_t most = align_down(UINT32_MAX, LRUC_BLOCK);
    c->ticks = (uint32_t)(ticks < most ? ticks : most);
    c->map = host_zalloc_aligned(&base->host, c->ticks / 8);
    c->tree = host_zalloc(&base->host, (c->ticks / LRUC_BLOCK + 1) * sizeof *c->tree);
    c->last = host_zalloc(&base->host, pages * sizeof *c->last);
    c->order = host_alloc(&base->host, pages * sizeof *c->order);
    return c->map && c->tree && c->last && c->order ? VM_OK : vm_fail_nomem(e, "a miss curve");
}

static void lruc_free(study_curve *base)
{
    lruc *c = (lruc *)base;
    host_free_aligned(&base->host, c->map, c->ticks / 8);
    host_free(&base->host, c->tree, (c->ticks / LRUC_BLOCK + 1) * sizeof *c->tree);
    host_free(&base->host, c->last, base->refs->pages * sizeof *c->last);
    host_free(&base->host, c->order, base->refs->pages * sizeof *c->order);
}

/* Time has passed block `b`: it joins the tree with what it holds now. */
VM_INLINE void lruc_pass(lruc *c, uint32_t b)
{
    uint32_t blocks = c->ticks / LRUC_BLOCK, n = 0;
    for (uint32_t k = 0; k < LRUC_WORDS; k++)
        n += (uint32_t)__builtin_popcountll(c->map[b * LRUC_WORDS + k]);
    for (uint32_t k = b + 1; k <= blocks; k += k & -k)
        c->tree[k] += n;
}

/* The pages to the map's beginning, in order. */
static VM_NOINLINE void lruc_gather(lruc *c)
{
    const uint32_t *refs = c->base.refs->refs;
    uint32_t n = 0, words = c->ticks / 64, blocks = c->ticks / LRUC_BLOCK;
    for (uint32_t k = 0; k < words; k++)
        for (uint64_t w = c->map[k]; w; w &= w - 1) {
            uint32_t t = k * 64 + (uint32_t)__builtin_ctzll(w);
            uint32_t page =
                t < c->fresh ? c->order[t] : refs[c->since + (t - c->fresh)] & STUDY_PAGE;
            c->order[n++] = page;
            c->last[page] = n;
        }
    memset(c->map, 0xff, n / 64 * 8);
    memset(c->map + n / 64, 0, (words - n / 64) * 8);
    if (n % 64)
        c->map[n / 64] = low_mask(n % 64);
    memset(c->tree, 0, (blocks + 1) * sizeof *c->tree);
    for (uint32_t b = 0; b < n / LRUC_BLOCK; b++)
        lruc_pass(c, b);
    c->now = c->fresh = n;
    c->since = c->base.at;
}

/* Bits at or before tick `t`. */
VM_INLINE uint32_t lruc_before(const lruc *c, uint32_t t)
{
    uint32_t b = t / LRUC_BLOCK, word = t / 64, n = 0;
    n = (uint32_t)__builtin_popcountll(c->map[word] << (63 - t % 64));
    for (uint32_t k = b * LRUC_WORDS; k < word; k++)
        n += (uint32_t)__builtin_popcountll(c->map[k]);
    for (uint32_t k = b; k; k &= k - 1)
        n += c->tree[k];
    return n;
}

VM_INLINE void lruc_one(lruc *c, uint32_t page)
{
    uint32_t last = c->last[page], now = c->now++, blocks = c->ticks / LRUC_BLOCK;
    if (last) {
        uint32_t t = last - 1, b = t / LRUC_BLOCK;
        c->base.hits[c->base.live - lruc_before(c, t) + 1]++;
        c->map[t / 64] &= ~(UINT64_C(1) << (t % 64));
        if (b != now / LRUC_BLOCK)
            for (uint32_t k = b + 1; k <= blocks; k += k & -k)
                c->tree[k]--;
    } else {
        c->base.live++;
    }
    c->last[page] = now + 1;
    c->map[now / 64] |= UINT64_C(1) << (now % 64);
    if (now % LRUC_BLOCK == LRUC_BLOCK - 1)
        lruc_pass(c, now / LRUC_BLOCK);
}

VM_INLINE void lruc_walk(study_curve *base, size_t until)
{
    lruc *c = (lruc *)base;
    while (base->at < until) {
        if (c->now == c->ticks)
            lruc_gather(c);
        size_t room = c->ticks - c->now;
        size_t stop = until - base->at < room ? until : base->at + room;
        for (; base->at < stop; base->at++) {
            const uint32_t *r = base->refs->refs + base->at;
            VM_PREFETCH(&c->last[r[STUDY_AHEAD] & STUDY_PAGE]);
            VM_PREFETCH(&c->map[c->last[r[STUDY_AHEAD / 4] & STUDY_PAGE] / 64]);
            lruc_one(c, r[0] & STUDY_PAGE);
        }
    }
}

/* Most of the time goes into counting bits: an instruction, where the processor has it. */
#if defined(__x86_64__) && defined(__GNUC__)
__attribute__((target("popcnt"))) static void lruc_run_popcnt(study_curve *base, size_t until)
{
    lruc_walk(base, until);
}
#endif

static void lruc_run(study_curve *base, size_t until)
{
#if defined(__x86_64__) && defined(__GNUC__)
    if (__builtin_cpu_supports("popcnt")) {
        lruc_run_popcnt(base, until);
        return;
    }
#endif
    lruc_walk(base, until);
}

extern const study_curve_class study_curve_lru;
const study_curve_class study_curve_lru = {
    .policy = "lru",
    .doc = "a bit a page in order of last references, counted by a Fenwick tree of blocks; "
           "O(log pages) a reference (Mattson et al. 1970; Bennett and Kruskal 1975)",
    .size = sizeof(lruc),
    .init = lruc_init,
    .free = lruc_free,
    .run = lruc_run,
};
