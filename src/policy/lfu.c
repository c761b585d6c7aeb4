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
 * All go by a rank, which only rises while a page stays: (count or priority, what
 * decides ties). A hit raises the rank and nothing else; a binary heap holds the slots
 * by the rank that they were queued with, and one that is found at the top with a
 * higher rank by now is queued anew. So a hit costs a store or two and a victim
 * O(log n), amortised over the hits since.
 *
 * Invariants: each full slot is in the heap once, queued with a rank not above its
 * own; no two have the same rank.
 */
#include "tick.h"

typedef struct lfu_rank {
    uint64_t count, tie;
} lfu_rank;

typedef struct lfu_slot {
    lfu_rank rank;
    uint32_t place; /* index in the heap + 1; 0: empty */
    union {
        uint8_t used;  /* NFU: the reference bit */
        uint32_t hits; /* LFU with dynamic aging: references since it entered */
    };
} lfu_slot;

typedef struct lfu_item {
    lfu_rank queued;
    uint32_t slot;
} lfu_item;

typedef struct lfu {
    policy base;
    lfu_slot *slots;
    lfu_item *heap;
    uint32_t cap, count; /* of the heap */
    uint64_t now;        /* references told of */
    uint64_t age;        /* LFU with dynamic aging */
    ticker tick;         /* NFU */
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

/* --- the heap ----------------------------------------------------------------------------- */

VM_INLINE bool lfu_below(lfu_rank a, lfu_rank b)
{
    return a.count != b.count ? a.count < b.count : a.tie < b.tie;
}

static void lfu_put(lfu *f, uint32_t i, lfu_item it)
{
    f->heap[i] = it;
    f->slots[it.slot].place = i + 1;
}

static void lfu_sift_up(lfu *f, uint32_t i, lfu_item it)
{
    for (; i > 0 && lfu_below(it.queued, f->heap[(i - 1) / 2].queued); i = (i - 1) / 2)
        lfu_put(f, i, f->heap[(i - 1) / 2]);
    lfu_put(f, i, it);
}

static void lfu_sift_down(lfu *f, uint32_t i, lfu_item it)
{
    for (uint32_t kid; (kid = 2 * i + 1) < f->count; i = kid) {
        kid += kid + 1 < f->count && lfu_below(f->heap[kid + 1].queued, f->heap[kid].queued);
        if (!lfu_below(f->heap[kid].queued, it.queued))
            break;
        lfu_put(f, i, f->heap[kid]);
    }
    lfu_put(f, i, it);
}

/* The full slot of the lowest rank, which is told. */
static uint32_t lfu_lowest(lfu *f)
{
    for (;;) {
        lfu_item top = f->heap[0];
        lfu_rank now = f->slots[top.slot].rank;
        if (now.count == top.queued.count && now.tie == top.queued.tie)
            return top.slot;
        top.queued = now;
        lfu_sift_down(f, 0, top);
    }
}

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
    host_free(p->host, f->heap, f->cap * sizeof *f->heap);
    policy_free_slots(p, f->slots, sizeof *f->slots);
}

static vm_status lfu_reserve(policy *p, uint32_t n, vm_error *e)
{
    lfu *f = (lfu *)p;
    if (n > f->cap) {
        lfu_item *heap = host_realloc(p->host, f->heap, f->cap * sizeof *heap, n * sizeof *heap);
        if (!heap)
            return vm_fail_nomem(e, "a replacement policy");
        f->heap = heap;
        f->cap = n;
    }
    return policy_grow(p, (void **)&f->slots, sizeof *f->slots, n, e);
}

static void lfu_remove(policy *p, uint32_t set, uint32_t slot)
{
    (void)set;
    lfu *f = (lfu *)p;
    uint32_t place = f->slots[slot].place;
    if (!place)
        return;
    f->slots[slot].place = 0;
    lfu_item last = f->heap[--f->count];
    uint32_t i = place - 1;
    if (i == f->count)
        return;
    if (i > 0 && lfu_below(last.queued, f->heap[(i - 1) / 2].queued))
        lfu_sift_up(f, i, last);
    else
        lfu_sift_down(f, i, last);
}

static void lfu_enter(policy *p, uint32_t slot, lfu_rank rank)
{
    lfu *f = (lfu *)p;
    lfu_remove(p, 0, slot);
    f->slots[slot] = (lfu_slot){.rank = rank, .hits = 1};
    lfu_sift_up(f, f->count++, (lfu_item){rank, slot});
}

static const char *lfu_check(const policy *p)
{
    const lfu *f = (const lfu *)p;
    uint32_t full = 0;
    for (uint32_t i = 0; i < p->room; i++)
        full += f->slots[i].place != 0;
    if (full != f->count)
        return "lfu: the heap does not hold the full slots";
    for (uint32_t i = 0; i < f->count; i++) {
        lfu_item it = f->heap[i];
        if (it.slot >= p->room || f->slots[it.slot].place != i + 1)
            return "lfu: a slot does not know its place in the heap";
        if (lfu_below(f->slots[it.slot].rank, it.queued))
            return "lfu: a slot is queued with a rank above its own";
        if (i > 0 && lfu_below(it.queued, f->heap[(i - 1) / 2].queued))
            return "lfu: the heap's order is broken";
    }
    return NULL;
}

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
    lfu_enter(p, slot, (lfu_rank){1, lfu_tie(f, f->now)});
}

static void lfu_touch(policy *p, uint32_t set, uint32_t slot, bool write)
{
    (void)set;
    (void)write;
    lfu *f = (lfu *)p;
    lfu_rank *r = &f->slots[slot].rank;
    f->now++;
    *r = (lfu_rank){r->count + 1, lfu_tie(f, r->tie)};
}

static vm_status lfu_victim(policy *p, uint32_t set, uint64_t key, uint32_t *slot, vm_error *e)
{
    (void)set;
    (void)key;
    lfu *f = (lfu *)p;
    if (f->count == 0)
        return policy_no_victim(p, e);
    *slot = lfu_lowest(f);
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

/* --- LFU with dynamic aging ---------------------------------------------------------------------
 */

static void lfuda_insert(policy *p, uint32_t set, uint32_t slot, uint64_t key)
{
    (void)set;
    (void)key;
    lfu *f = (lfu *)p;
    lfu_enter(p, slot, (lfu_rank){1 + f->age, ++f->now});
    f->slots[slot].hits = 1;
}

static void lfuda_touch(policy *p, uint32_t set, uint32_t slot, bool write)
{
    (void)set;
    (void)write;
    lfu *f = (lfu *)p;
    lfu_slot *s = &f->slots[slot];
    s->hits += s->hits != UINT32_MAX;
    s->rank = (lfu_rank){s->hits + f->age, ++f->now};
}

static vm_status lfuda_victim(policy *p, uint32_t set, uint64_t key, uint32_t *slot, vm_error *e)
{
    lfu *f = (lfu *)p;
    vm_status s = lfu_victim(p, set, key, slot, e);
    if (s == VM_OK)
        f->age = f->slots[*slot].rank.count;
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

/* --- NFU
 * ------------------------------------------------------------------------------------------ */

static void nfu_tick(policy *p)
{
    lfu *f = (lfu *)p;
    for (uint32_t i = 0; i < p->room; i++)
        if (f->slots[i].place)
            f->slots[i].rank.count += policy_is_used(p, &f->slots[i].used, 1, i, true);
}

static void nfu_insert(policy *p, uint32_t set, uint32_t slot, uint64_t key)
{
    (void)set;
    (void)key;
    lfu *f = (lfu *)p;
    if (ticker_due(p, &f->tick, f->count))
        nfu_tick(p);
    ticker_enter(&f->tick);
    lfu_enter(p, slot, (lfu_rank){0, ++f->now});
    f->slots[slot].used = 1;
}

static void nfu_touch(policy *p, uint32_t set, uint32_t slot, bool write)
{
    (void)set;
    (void)write;
    lfu *f = (lfu *)p;
    if (ticker_due_at_hit(p, &f->tick, f->count))
        nfu_tick(p);
    f->slots[slot].used = 1;
}

static vm_status nfu_victim(policy *p, uint32_t set, uint64_t key, uint32_t *slot, vm_error *e)
{
    lfu *f = (lfu *)p;
    if (ticker_due(p, &f->tick, f->count))
        nfu_tick(p);
    return lfu_victim(p, set, key, slot, e);
}

const policy_class policy_nfu = {
    .name = "nfu",
    .doc = "not frequently used: counters that ticks add reference bits to, the lowest goes; a "
           "store a hit, O(log n) amortised a miss and a pass over all slots a tick, 48 bytes a "
           "slot (Tanenbaum and Bos 3.4.7)",
    .serves = POLICY_FRAMES,
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
