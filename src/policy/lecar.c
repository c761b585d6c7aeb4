/* lecar.c: LeCaR, which learns by regret how far to trust LRU and how far LFU.
 *
 * Each eviction follows one of the two, drawn by their weights, and is remembered in
 * the history of the one that chose. A page that comes back from a history lowers that
 * one's weight, the less the longer ago it went: w = w * exp(-rate * discount^(t / n)),
 * for n frames and an eviction t references ago. The weights then add up to 1.
 * Source: Vietri and others, "Driving cache replacement with ML-based LeCaR",
 * HotStorage 2018, and its authors' program for what the paper leaves open: histories
 * of n / 2 each; a page that comes back goes on from its old count of references;
 * where both agree on a victim it is not remembered; no weight falls below `least`; of
 * several pages with the fewest references LFU takes the least recently used.
 * Departures: weights are of double precision, there of single. exp is computed here,
 * since those of hosts differ in the last bit; for the same reason no statement both
 * multiplies and adds.
 * With A bits: it is told of each reference.
 *
 * Time counts references, of all pages.
 */
#include "rank.h"
#include "roster.h"

#include <math.h>

enum { LECAR_PAGES, LECAR_LRU, LECAR_LFU, LECAR_LISTS }; /* residents; the two histories */
enum { LECAR_RATE, LECAR_DISCOUNT, LECAR_HISTORY, LECAR_LEAST };

static const policy_param lecar_params[] = {
    [LECAR_RATE] = {"rate", POLICY_REAL, 0.45, 0, 100, NULL, "learning rate"},
    [LECAR_DISCOUNT] = {"discount", POLICY_REAL, 0.005, 1e-9, 1, NULL,
                        "what a regret is worth after as many references as there are frames"},
    [LECAR_HISTORY] = {"history", POLICY_REAL, 0.5, 0, 16, NULL, "ghosts of each, in capacities"},
    [LECAR_LEAST] = {"least", POLICY_REAL, 0.01, 0, 0.5, NULL, "the least weight"},
    {0},
};

typedef struct lecar_ghost {
    uint64_t gone; /* when */
    uint64_t refs; /* its count */
} lecar_ghost;

typedef struct lecar {
    policy base; /* base.tick is the time */
    roster g;
    ranks lfu;          /* by slot: rank (references, the last one's time) */
    lecar_ghost *ghost; /* by ghost */
    size_t ghosts;
    vm_rng rng;
    double weight;  /* LRU's; LFU has the rest */
    double fade;    /* ln(discount) */
    unsigned by;    /* whose the last victim is; LECAR_PAGES: both agreed */
    uint64_t comes; /* the key that is to come and was in a history, or POLICY_NO_KEY */
    uint64_t refs;  /* its count */
    uint32_t capacity;
} lecar;

/* e^x for x <= 0: x = k ln 2 + r with |r| <= ln 2 / 2, and the series for r. */
static double lecar_exp(double x)
{
    if (x < -700)
        return 0;
    double k = floor(x * 1.4426950408889634 + 0.5), high = k * 0.693147180369123816490;
    double low = k * 1.90821492927058770002e-10;
    double r = x - high;
    r = r - low;
    double sum = 1, term = 1;
    for (int i = 1; i <= 16; i++) {
        term = term * r / i;
        sum = sum + term;
    }
    return ldexp(sum, (int)k);
}

/* ln x for 0 < x <= 1, by Newton's method from above, where e^y is convex. */
static double lecar_log(double x)
{
    double y = 0;
    for (int i = 0; i < 64; i++) {
        double step = 1 - x / lecar_exp(y);
        y = y - step;
    }
    return y;
}

static vm_status lecar_init(policy *p, vm_error *e)
{
    lecar *c = (lecar *)p;
    rng_seed(&c->rng, p->cfg.seed);
    c->weight = 0.5;
    c->fade = lecar_log(p->param[LECAR_DISCOUNT]);
    c->comes = POLICY_NO_KEY;
    c->capacity = policy_capacity(p, p->cfg.slots);
    return roster_init(&c->g, p, LECAR_LISTS, e);
}

static void lecar_free(policy *p)
{
    lecar *c = (lecar *)p;
    ranks_free(&c->lfu, p->host);
    host_free(p->host, c->ghost, c->ghosts * sizeof *c->ghost);
    roster_free(&c->g, p);
}

static uint32_t lecar_history(const lecar *c, uint32_t capacity)
{
    return policy_share(c->base.param[LECAR_HISTORY], capacity, 0);
}

static vm_status lecar_reserve(policy *p, uint32_t n, vm_error *e)
{
    lecar *c = (lecar *)p;
    uint64_t ghosts = UINT64_C(2) * lecar_history(c, n) + 1;
    if (!host_grow(p->host, (void **)&c->ghost, &c->ghosts, (size_t)ghosts, sizeof *c->ghost))
        return vm_fail_nomem(e, "a LeCaR policy");
    vm_status s = ranks_reserve(&c->lfu, p->host, n, e);
    if (s == VM_OK)
        s = roster_reserve(&c->g, p, n, ghosts, e);
    if (s == VM_OK)
        p->room = n;
    return s;
}

static void lecar_touch(policy *p, uint32_t set, uint32_t slot, bool write)
{
    (void)set;
    (void)write;
    lecar *c = (lecar *)p;
    roster_move(&c->g, LECAR_PAGES, slot);
    c->lfu.rank[slot] = (rank_pair){c->lfu.rank[slot].major + 1, ++p->tick};
}

/* The page of `key` is about to come: if it is a ghost, whoever evicted it is to blame,
 * and its history forgets it. */
static void lecar_regret(lecar *c, uint64_t key)
{
    uint32_t node = roster_ghost(&c->g, key);
    if (node == ROSTER_NONE)
        return;
    lecar_ghost was = c->ghost[node - c->g.room];
    double age = (double)(c->base.tick + 1 - was.gone) / c->capacity;
    double regret = lecar_exp(c->fade * age), least = c->base.param[LECAR_LEAST];
    double factor = lecar_exp(-c->base.param[LECAR_RATE] * regret);
    double w_lru = c->weight, w_lfu = 1 - c->weight;
    if (c->g.list[node] == LECAR_LRU)
        w_lru = w_lru * factor;
    else
        w_lfu = w_lfu * factor;
    w_lru = w_lru / (w_lru + w_lfu);
    c->weight = w_lru < least ? least : w_lru > 1 - least ? 1 - least : w_lru;
    c->comes = key;
    c->refs = was.refs;
    roster_forget(&c->g, node);
}

static void lecar_evict(lecar *c, uint32_t slot, bool chosen)
{
    roster *g = &c->g;
    uint32_t most = lecar_history(c, c->capacity), room = lecar_history(c, c->base.room);
    c->base.chosen = POLICY_NONE;
    ranks_drop(&c->lfu, slot);
    if (!chosen || c->by == LECAR_PAGES) {
        roster_forget(g, slot);
        return;
    }
    uint32_t ghost = roster_evict(g, slot);
    if (ghost != ROSTER_NONE) {
        roster_move(g, c->by, ghost);
        c->ghost[ghost - g->room] = (lecar_ghost){c->base.tick + 1, c->lfu.rank[slot].major};
    }
    while (roster_count(g, c->by) > (most < room ? most : room))
        roster_forget(g, roster_oldest(g, c->by));
}

static void lecar_insert(policy *p, uint32_t set, uint32_t slot, uint64_t key)
{
    (void)set;
    lecar *c = (lecar *)p;
    if (roster_is_full(&c->g, slot))
        lecar_evict(c, slot, p->chosen == slot);
    lecar_regret(c, key);
    uint64_t refs = c->comes == key ? c->refs + 1 : 1;
    c->comes = POLICY_NO_KEY;
    roster_enter(&c->g, LECAR_PAGES, slot, key);
    ranks_put(&c->lfu, slot, (rank_pair){refs, ++p->tick});
}

static vm_status lecar_victim(policy *p, uint32_t set, uint64_t key, uint32_t *slot, vm_error *e)
{
    (void)set;
    lecar *c = (lecar *)p;
    if (c->g.resident == 0)
        return policy_no_victim(p, e);
    c->capacity = policy_capacity(p, c->g.resident);
    lecar_regret(c, key);
    uint32_t oldest = roster_oldest(&c->g, LECAR_PAGES), rarest = ranks_lowest(&c->lfu);
    c->by = rng_unit(&c->rng) < c->weight ? LECAR_LRU : LECAR_LFU;
    *slot = p->chosen = c->by == LECAR_LRU ? oldest : rarest;
    if (oldest == rarest)
        c->by = LECAR_PAGES;
    return VM_OK;
}

static void lecar_remove(policy *p, uint32_t set, uint32_t slot)
{
    (void)set;
    lecar *c = (lecar *)p;
    if (roster_is_full(&c->g, slot))
        lecar_evict(c, slot, policy_evicts(p, slot));
}

static void lecar_ahead(const policy *p, uint64_t key)
{
    keymap_ahead(&((const lecar *)p)->g.map, key);
}

static const char *lecar_check(const policy *p)
{
    const lecar *c = (const lecar *)p;
    const char *broken = roster_check(&c->g);
    if (!broken)
        broken = ranks_check(&c->lfu);
    if (!broken && c->lfu.count != c->g.resident)
        broken = "lecar: a resident page is in one order and not in the other";
    return broken;
}

const policy_class policy_lecar = {
    .name = "lecar",
    .doc = "LRU or LFU, drawn by weights that it learns by regret; a hit moves links and "
           "counts, a miss O(log n) amortised, 62 bytes a slot, 33 a ghost and the table "
           "that finds it (Vietri et al. 2018)",
    .serves = POLICY_FRAMES,
    .exact = true,
    .size = sizeof(lecar),
    .params = lecar_params,
    .init = lecar_init,
    .free = lecar_free,
    .reserve = lecar_reserve,
    .insert = lecar_insert,
    .touch = lecar_touch,
    .victim = lecar_victim,
    .remove = lecar_remove,
    .ahead = lecar_ahead,
    .check = lecar_check,
};
