/* lfu.c: policies that count references.
 *
 * LFU: the page with the fewest references since it entered goes. `tie` says which of
 * several: the least recently used, the most recently used, the one that entered
 * first, or one drawn at random. A page that leaves is forgotten with its count.
 *
 * LFU with dynamic aging: a page's priority is its count, the entering reference
 * included, plus the age at its last reference; the age is the priority of the last
 * victim, so that old counts are overtaken. Source: Arlitt and others, "Evaluating
 * content management techniques for web proxy caches", 1999 (LFU-DA).
 *
 * NFU: at each tick (tick.h) a page's reference bit is added to its counter and
 * cleared; the lowest counter goes, of several the page that entered first. A page
 * enters with 0; a tick that is due comes before a victim is chosen.
 * Source: Tanenbaum and Bos, Modern Operating Systems, 3.4.7.
 *
 * All go by a rank, which only rises while a page stays (rank.h): count or priority,
 * then what decides ties. A hit raises it.
 *
 * Invariant: no two full slots have the same rank.
 */
#include "rank.h"
#include "tick.h"

typedef union lfu_slot {
    uint32_t hits; /* LFU with dynamic aging: references since it entered */
    uint8_t used;  /* NFU: the reference bit */
} lfu_slot;

typedef struct lfu {
    policy base;
    ranks ranks;
    lfu_slot *slots;
    uint64_t now; /* references told of; NFU: pages that entered */
    uint64_t age; /* LFU with dynamic aging */
    ticker tick;  /* NFU */
    vm_rng rng;
} lfu;

enum { LFU_TIE };
enum { LFU_LRU, LFU_MRU, LFU_FIFO, LFU_RANDOM };

static const char *const lfu_ties[] = {"lru", "mru", "fifo", "random", NULL};
static const policy_param lfu_params[] = {
    [LFU_TIE] = {"tie", POLICY_NAME, LFU_LRU, 0, 3, lfu_ties,
                 "of several with the fewest references goes: the least or most recently used, "
                 "the one that entered first, one drawn at random"},
    {0},
};
static const policy_param nfu_params[] = {TICK_ROWS, {0}};

/* --- what all share -------------------------------------------------------------------------- */

static vm_status lfu_init(policy *p, vm_error *e)
{
    (void)e;
    rng_seed(&((lfu *)p)->rng, p->cfg.seed);
    return VM_OK;
}

static void lfu_free(policy *p)
{
    lfu *f = (lfu *)p;
    ranks_free(&f->ranks, p->host);
    policy_free_slots(p, f->slots, sizeof *f->slots);
}

static vm_status lfu_reserve(policy *p, uint32_t n, vm_error *e)
{
    lfu *f = (lfu *)p;
    vm_status s = ranks_reserve(&f->ranks, p->host, n, e);
    return s == VM_OK ? policy_grow(p, (void **)&f->slots, sizeof *f->slots, n, e) : s;
}

static void lfu_remove(policy *p, uint32_t set, uint32_t slot)
{
    (void)set;
    ranks *r = &((lfu *)p)->ranks;
    if (r->place[slot])
        ranks_drop(r, slot);
}

static void lfu_enter(policy *p, uint32_t slot, rank_pair rank)
{
    lfu_remove(p, 0, slot);
    ranks_put(&((lfu *)p)->ranks, slot, rank);
}

static const char *lfu_check(const policy *p) { return ranks_check(&((const lfu *)p)->ranks); }

/* --- LFU -------------------------------------------------------------------------------------- */

/* What decides among equal counts, as of this reference. */
VM_INLINE uint64_t lfu_tie(lfu *f, uint64_t arrival)
{
    switch ((int)f->base.param[LFU_TIE]) {
    case LFU_LRU:
        return f->now;
    case LFU_MRU:
        return ~f->now;
    case LFU_FIFO:
        return arrival;
    default:
        return rng_next(&f->rng);
    }
}

static void lfu_insert(policy *p, uint32_t set, uint32_t slot, uint64_t key)
{
    (void)set;
    (void)key;
    lfu *f = (lfu *)p;
    f->now++;
    lfu_enter(p, slot, (rank_pair){1, lfu_tie(f, f->now)});
}

static void lfu_touch(policy *p, uint32_t set, uint32_t slot, bool write)
{
    (void)set;
    (void)write;
    lfu *f = (lfu *)p;
    rank_pair *r = &f->ranks.rank[slot];
    f->now++;
    *r = (rank_pair){r->major + 1, lfu_tie(f, r->minor)};
}

static vm_status lfu_victim(policy *p, uint32_t set, uint64_t key, uint32_t *slot, vm_error *e)
{
    (void)set;
    (void)key;
    lfu *f = (lfu *)p;
    if (f->ranks.count == 0)
        return policy_no_victim(p, e);
    *slot = ranks_lowest(&f->ranks);
    return VM_OK;
}

const policy_class policy_lfu = {
    .name = "lfu",
    .doc = "least frequently used since it entered; two stores a hit, O(log n) amortised a miss, "
           "48 bytes a slot (Aho, Denning and Ullman 1971)",
    .serves = POLICY_FRAMES,
    .exact = true,
    .size = sizeof(lfu),
    .params = lfu_params,
    .init = lfu_init,
    .free = lfu_free,
    .reserve = lfu_reserve,
    .insert = lfu_insert,
    .touch = lfu_touch,
    .victim = lfu_victim,
    .remove = lfu_remove,
    .check = lfu_check,
};

/* --- LFU with dynamic aging ------------------------------------------------------------------ */

static void lfuda_insert(policy *p, uint32_t set, uint32_t slot, uint64_t key)
{
    (void)set;
    (void)key;
    lfu *f = (lfu *)p;
    lfu_enter(p, slot, (rank_pair){1 + f->age, ++f->now});
    f->slots[slot].hits = 1;
}

static void lfuda_touch(policy *p, uint32_t set, uint32_t slot, bool write)
{
    (void)set;
    (void)write;
    lfu *f = (lfu *)p;
    uint32_t *hits = &f->slots[slot].hits;
    *hits += *hits != UINT32_MAX;
    f->ranks.rank[slot] = (rank_pair){*hits + f->age, ++f->now};
}

static vm_status lfuda_victim(policy *p, uint32_t set, uint64_t key, uint32_t *slot, vm_error *e)
{
    lfu *f = (lfu *)p;
    vm_status s = lfu_victim(p, set, key, slot, e);
    if (s == VM_OK)
        f->age = f->ranks.rank[*slot].major;
    return s;
}

const policy_class policy_lfuda = {
    .name = "lfuda",
    .doc = "LFU whose counts are overtaken as the last victim's priority rises, ties by LRU; two "
           "stores a hit, O(log n) amortised a miss, 48 bytes a slot (Arlitt and others 1999)",
    .serves = POLICY_FRAMES,
    .exact = true,
    .size = sizeof(lfu),
    .init = lfu_init,
    .free = lfu_free,
    .reserve = lfu_reserve,
    .insert = lfuda_insert,
    .touch = lfuda_touch,
    .victim = lfuda_victim,
    .remove = lfu_remove,
    .check = lfu_check,
};

/* --- NFU -------------------------------------------------------------------------------------- */

static void nfu_tick(policy *p)
{
    lfu *f = (lfu *)p;
    for (uint32_t i = 0; i < p->room; i++)
        if (f->ranks.place[i])
            f->ranks.rank[i].major += policy_is_used(p, &f->slots[i].used, 1, i, true);
}

static void nfu_insert(policy *p, uint32_t set, uint32_t slot, uint64_t key)
{
    (void)set;
    (void)key;
    lfu *f = (lfu *)p;
    if (ticker_due(p, &f->tick, f->ranks.count))
        nfu_tick(p);
    ticker_enter(&f->tick);
    lfu_enter(p, slot, (rank_pair){0, ++f->now});
    f->slots[slot].used = 1;
}

static void nfu_touch(policy *p, uint32_t set, uint32_t slot, bool write)
{
    (void)set;
    (void)write;
    lfu *f = (lfu *)p;
    if (ticker_due_at_hit(p, &f->tick, f->ranks.count))
        nfu_tick(p);
    f->slots[slot].used = 1;
}

static vm_status nfu_victim(policy *p, uint32_t set, uint64_t key, uint32_t *slot, vm_error *e)
{
    lfu *f = (lfu *)p;
    if (ticker_due(p, &f->tick, f->ranks.count))
        nfu_tick(p);
    return lfu_victim(p, set, key, slot, e);
}

const policy_class policy_nfu = {
    .name = "nfu",
    .doc = "not frequently used: counters that ticks add reference bits to, the lowest goes; a "
           "store a hit, O(log n) amortised a miss and a pass over all slots a tick, 48 bytes a "
           "slot (Tanenbaum and Bos 3.4.7)",
    .serves = POLICY_FRAMES,
    .timed = true,
    .size = sizeof(lfu),
    .params = nfu_params,
    .init = lfu_init,
    .free = lfu_free,
    .reserve = lfu_reserve,
    .insert = nfu_insert,
    .touch = nfu_touch,
    .victim = nfu_victim,
    .remove = lfu_remove,
    .check = lfu_check,
};
