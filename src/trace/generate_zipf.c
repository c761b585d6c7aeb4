/* generate_zipf.c: pages whose popularity falls as 1 / rank^alpha.
 *
 * Drawing is Walker's alias method: a random number names a slot, which is one
 * page or, for the rest of its share, another; 8 bytes a page, one host cache
 * miss a draw at the most, and draws do not wait for each other. Against it: a
 * search in the cumulated weights needs log2(pages) dependent loads, and
 * rejection-inversion needs log and exp at each draw.
 *
 * The weights are fixed-point numbers, made by integers alone, so that they
 * are the same on every machine:
 *   log2(k + 1) = log2(k) + 2/ln 2 * atanh(1/(2k + 1))     the series, in Q63
 *   k^-alpha    = 2^-(alpha * log2 k)    whole part: a shift; upper 8 bits of the
 *                 fraction: a table; the rest: exp's series
 * Their error is below 2^-32 of the weight; they are rounded to about 2^-27 of
 * the average weight or finer (pages rarer than that by 2^31 are never drawn).
 * Qn: a whole number that counts units of 2^-n. */
#include "generate.h"

typedef struct zipf_slot {
    uint32_t share; /* of 2^32: how much of the slot is its own page's */
    uint32_t other; /* the page that has the rest */
} zipf_slot;

typedef struct zipf_source {
    generate_source g;
    zipf_slot *slots;
    vm_rng rng; /* as each pass begins */
} zipf_source;

typedef struct zipf_cursor {
    generate_cursor g;
    const zipf_slot *slots;
    uint64_t base, pages, page, grains, stores;
    uint32_t size;
    vm_rng rng;
} zipf_cursor;

enum { ZIPF_REFS, ZIPF_PAGES, ZIPF_ALPHA, ZIPF_STORES, ZIPF_SEED, ZIPF_BASE, ZIPF_PAGE, ZIPF_SIZE };

/* --- weights -------------------------------------------------------------------- */

#define ZIPF_ONE  (UINT64_C(1) << 63)          /* 1, Q63 */
#define ZIPF_LN2  UINT64_C(0xb17217f7d1cf79ab) /* ln 2, Q64 */
#define ZIPF_2LN2 UINT64_C(0x5c551d94ae0bf85d) /* 2 / ln 2, Q61 */

/* log2((k + 1) / k), Q58; k > 0 */
static uint64_t zipf_log_step(uint64_t k)
{
    uint64_t z = ZIPF_ONE / (2 * k + 1), square = generate_mulhi(z, z) << 1, sum = 0;
    uint64_t power = z;
    for (uint64_t n = 1; power; n += 2) {
        sum += power / n;
        power = generate_mulhi(power, square) << 1;
    }
    return generate_mulhi(sum, ZIPF_2LN2) >> 2;
}

/* exp(-x), Q63, by `terms` of its series; x below 1, Q64 */
static uint64_t zipf_exp(uint64_t x, uint64_t terms)
{
    uint64_t sum = ZIPF_ONE;
    for (uint64_t n = terms; n > 0; n--)
        sum = ZIPF_ONE - generate_mulhi(x, sum) / n;
    return sum;
}

#define ZIPF_TABLE 256

static void zipf_table(uint64_t *table)
{
    for (uint64_t i = 0; i < ZIPF_TABLE; i++)
        table[i] = zipf_exp(generate_mulhi(i << 56, ZIPF_LN2), 20);
}

/* 2^-y, Q62; y is Q54 */
static uint64_t zipf_exp2(const uint64_t *table, uint64_t y)
{
    uint64_t whole = y >> 54, index = y >> 46 & (ZIPF_TABLE - 1), rest = y & low_mask(46);
    if (whole > 62)
        return 0;
    return generate_mulhi(table[index], zipf_exp(generate_mulhi(rest << 10, ZIPF_LN2), 5)) >> whole;
}

/* weight[page_of[rank]] for all ranks from 0, Q62, the first being 1. */
static void zipf_weigh(uint64_t *weight, const uint32_t *page_of, uint32_t pages, double alpha)
{
    uint64_t table[ZIPF_TABLE], exponent = (uint64_t)(alpha * 0x1p59), log = 0; /* Q59, Q58 */
    zipf_table(table);
    for (uint32_t rank = 0; rank < pages; rank++) {
        /* Q59 by Q58 is Q53 in the upper half; zipf_exp2 takes Q54. */
        weight[page_of[rank]] = zipf_exp2(table, generate_mulhi(exponent, log) << 1);
        log += zipf_log_step((uint64_t)rank + 1);
    }
}

/* Round the weights so that their average is a whole number below 2^32, and
 * return it. What the last few units miss goes to page `first`, the heaviest. */
static uint64_t zipf_round(uint64_t *weight, uint32_t pages, uint32_t first)
{
    uint64_t sum = 0, total = 0;
    for (uint32_t i = 0; i < pages; i++)
        sum += weight[i] >> 28; /* 2^28 pages of 2^62 would not fit */
    unsigned shift = log2_floor(sum / pages) + 28 - 30;
    for (uint32_t i = 0; i < pages; i++)
        total += weight[i] >>= shift;
    uint64_t average = total / pages + (total % pages != 0);
    weight[first] += average * pages - total;
    return average;
}

/* Vose's construction in whole numbers: it ends with nothing left over. Pages
 * below the average wait at the front of `work`, the others at its back. */
static void zipf_alias(zipf_slot *slots, uint64_t *weight, uint32_t *work, uint32_t pages,
                       uint64_t average)
{
    uint32_t small = 0, large = pages;
    for (uint32_t i = 0; i < pages; i++)
        work[weight[i] < average ? small++ : --large] = i;
    while (small > 0) {
        uint32_t s = work[--small], l = work[large];
        slots[s] = (zipf_slot){(uint32_t)((weight[s] << 32) / average), l};
        weight[l] -= average - weight[s];
        if (weight[l] < average) {
            large++;
            work[small++] = l;
        }
    }
    for (; large < pages; large++)
        slots[work[large]] = (zipf_slot){UINT32_MAX, work[large]};
}

/* --- the generator ---------------------------------------------------------------- */

static vm_status zipf_prepare(generate_source *g, vm_error *e)
{
    zipf_source *s = (zipf_source *)g;
    const vm_host *host = &g->base.host;
    uint32_t pages = (uint32_t)g->v[ZIPF_PAGES].n;
    g->count = (uint64_t)g->v[ZIPF_REFS].n;
    if (g->v[ZIPF_SIZE].n > g->v[ZIPF_PAGE].n)
        return vm_fail(e, VM_INVALID, "zipf: an access of size %lld does not fit into a page",
                       (long long)g->v[ZIPF_SIZE].n);
    uint64_t *weight = host_alloc(host, pages * sizeof *weight);
    uint32_t *work = host_alloc(host, pages * sizeof *work);
    s->slots = host_alloc(host, pages * sizeof *s->slots);
    if (weight && work && s->slots) {
        rng_seed(&s->rng, (uint64_t)g->v[ZIPF_SEED].n);
        generate_shuffle(&s->rng, work, pages);
        zipf_weigh(weight, work, pages, g->v[ZIPF_ALPHA].x);
        zipf_alias(s->slots, weight, work, pages, zipf_round(weight, pages, work[0]));
    }
    bool made = weight && work && s->slots;
    host_free(host, weight, pages * sizeof *weight);
    host_free(host, work, pages * sizeof *work);
    return made ? VM_OK : vm_fail_nomem(e, "the pages of zipf");
}

static void zipf_release(generate_source *g)
{
    zipf_source *s = (zipf_source *)g;
    host_free(&g->base.host, s->slots, (size_t)g->v[ZIPF_PAGES].n * sizeof *s->slots);
}

static void zipf_start(const generate_source *g, generate_cursor *c)
{
    const zipf_source *s = (const zipf_source *)g;
    zipf_cursor *z = (zipf_cursor *)c;
    z->slots = s->slots;
    z->base = (uint64_t)g->v[ZIPF_BASE].n;
    z->pages = (uint64_t)g->v[ZIPF_PAGES].n;
    z->page = (uint64_t)g->v[ZIPF_PAGE].n;
    z->size = (uint32_t)g->v[ZIPF_SIZE].n;
    z->grains = z->page / z->size;
    z->stores = generate_fraction(g->v[ZIPF_STORES].x);
    z->rng = s->rng;
}

/* Slots are drawn a batch ahead, so that the host's cache misses overlap. */
#define ZIPF_BATCH 64
_Static_assert(TRACE_BLOCK % ZIPF_BATCH == 0, "a block is whole batches");

static size_t zipf_fill(generate_cursor *c, access_record *out)
{
    zipf_cursor *z = (zipf_cursor *)c;
    vm_rng rng = z->rng;
    uint32_t slot[ZIPF_BATCH], rest[ZIPF_BATCH], store;
    for (size_t n = 0; n < TRACE_BLOCK; n += ZIPF_BATCH) {
        for (size_t i = 0; i < ZIPF_BATCH; i++) {
            slot[i] = (uint32_t)generate_below(&rng, z->pages, &rest[i]);
            VM_PREFETCH(&z->slots[slot[i]]);
        }
        for (size_t i = 0; i < ZIPF_BATCH; i++) {
            const zipf_slot *s = &z->slots[slot[i]];
            uint64_t page = rest[i] < s->share ? slot[i] : s->other;
            uint64_t grain = generate_below(&rng, z->grains, &store);
            out[n + i] = generate_access(z->base + page * z->page + grain * z->size, z->size,
                                         store < z->stores);
        }
    }
    z->rng = rng;
    return TRACE_BLOCK;
}

static const generate_option zipf_options[] = {
    GENERATE_REFS,
    {"pages", GENERATE_COUNT, 1e5, 1, 0x1p28, NULL,
     "that there are; 8 bytes of host memory each, 20 while they are weighed"},
    {"alpha", GENERATE_NUMBER, 1, 0, 8, NULL,
     "exponent: the k-th page in popularity is drawn k^alpha times less than the first"},
    {"stores", GENERATE_NUMBER, 0, 0, 1, NULL, "probability of a store"},
    GENERATE_SEED,
    GENERATE_BASE,
    {"page", GENERATE_BYTES, 4096, 1, 0x1p30, NULL, "bytes of a page"},
    {"size", GENERATE_BYTES, 8, 1, 4096, NULL,
     "bytes of an access; its offset in the page is a multiple, uniform"},
    {0},
};
_Static_assert(sizeof zipf_options / sizeof *zipf_options == GENERATE_OPTIONS + 1,
               "a row's options fit its source");

const generate_row generate_zipf = {
    GENERATE_ROW("zipf"),
    "Pages of very different popularity, the popular ones anywhere among the others",
    zipf_options,
    false,
    sizeof(zipf_source),
    sizeof(zipf_cursor),
    zipf_prepare,
    zipf_release,
    zipf_start,
    zipf_fill};
