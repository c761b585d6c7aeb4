/* arc.c: ARC, the adaptive replacement cache, and CAR, its form on clocks.
 *
 * Resident pages are in T1 (seen once lately) or T2 (at least twice), evicted ones
 * remembered in B1 or B2. A fault on a page of B1 says that T1 is too small, on one
 * of B2 that T2 is, and moves the target size of T1, which is a real number, as in
 * the papers: integer versions differ on long traces. With capacity c, |T1| + |B1|
 * <= c, and all four together hold at most 2c.
 *
 * ARC orders T1 and T2 by recency. CAR makes them clocks: a reference only sets a
 * bit, and the hands move referenced pages to T2.
 * Sources: Megiddo and Modha, "ARC: a self-tuning, low overhead replacement cache",
 * FAST 2003, figure 4; Bansal and Modha, "CAR: clock with adaptive replacement",
 * FAST 2004, figure 2.
 *
 * Departures: ghosts over the bound go when the next new page comes, not before the
 * eviction, which is the same where one page goes for one that comes. Where an owner
 * can't tell which page comes, ARC moves its target after the eviction.
 * With A bits: ARC is told of each reference; CAR takes them for its bits, so that
 * a page enters referenced.
 */
#include "ghosts.h"
#include "list.h"
#include "policy.h"
#include "recency.h"

enum { ARC_B1, ARC_B2, ARC_GHOSTS }; /* queues of ghost_book */

typedef struct arc {
    policy base;
    lists t1;   /* one, of slots */
    recency t2; /* of slots */
    ghost_book b;
    uint64_t *key; /* by slot */
    size_t keys;
    uint8_t *bit;     /* by slot: CAR's reference bit */
    double target;    /* of |T1|, from 0 to the capacity */
    uint64_t adapted; /* the key that is to come and moved the target, or POLICY_NO_KEY */
    uint32_t capacity;
} arc;

static uint32_t arc_resident(const arc *a) { return a->t1.count[0] + a->t2.count; }

static vm_status arc_init(policy *p, vm_error *e)
{
    arc *a = (arc *)p;
    a->adapted = POLICY_NO_KEY;
    a->capacity = policy_capacity(p, p->cfg.slots);
    vm_status s = lists_init(&a->t1, p->host, 1, e);
    return s == VM_OK ? ghosts_init(&a->b, p->host, ARC_GHOSTS, p->cfg.keys, e) : s;
}

static void arc_free(policy *p)
{
    arc *a = (arc *)p;
    lists_free(&a->t1, p->host);
    recency_free(&a->t2, p->host);
    ghosts_free(&a->b, p->host);
    host_free(p->host, a->key, a->keys * sizeof *a->key);
    policy_free_slots(p, a->bit, 1);
}

static vm_status arc_reserve(policy *p, uint32_t n, vm_error *e)
{
    arc *a = (arc *)p;
    if (!host_grow(p->host, (void **)&a->key, &a->keys, n, sizeof *a->key))
        return vm_fail_nomem(e, "a policy of the ARC family");
    vm_status s = lists_reserve(&a->t1, p->host, n, e);
    if (s == VM_OK)
        s = recency_reserve(&a->t2, p->host, n, e);
    if (s == VM_OK) /* one more, which comes before the oldest goes */
        s = ghosts_reserve(&a->b, p->host, n + 1, e);
    return s == VM_OK ? policy_grow(p, (void **)&a->bit, 1, n, e) : s;
}

/* A full slot becomes the most recent of T2. */
VM_INLINE void arc_to_t2(arc *a, uint32_t slot)
{
    if (recency_has(&a->t2, slot)) {
        recency_touch(&a->t2, slot);
    } else {
        list_drop(&a->t1, 0, slot);
        recency_add(&a->t2, slot);
    }
}

static void arc_touch(policy *p, uint32_t set, uint32_t slot, bool write)
{
    (void)set;
    (void)write;
    arc_to_t2((arc *)p, slot);
}

/* The page of a ghost comes: T1 ought to have been larger (B1) or smaller (B2). The
 * least step is 1 for both: in ARC's words, 1 where its list of ghosts is the longer. */
static void arc_adapt(arc *a, uint32_t ghost)
{
    double b1 = a->b.q[ARC_B1].count, b2 = a->b.q[ARC_B2].count, c = a->capacity;
    bool larger = ghosts_queue(&a->b, ghost) == ARC_B1;
    double step = larger ? b2 / b1 : b1 / b2;
    step = step < 1 ? 1 : step;
    double target = larger ? a->target + step : a->target - step;
    a->target = target < 0 ? 0 : target > c ? c : target;
}

/* The page leaves the slot, if there is one; if it is evicted, it is remembered. */
static void arc_leave(arc *a, uint32_t slot, bool evicted)
{
    a->base.chosen = POLICY_NONE;
    bool second = recency_has(&a->t2, slot);
    if (second)
        recency_drop(&a->t2, slot);
    else if (list_has(&a->t1, slot))
        list_drop(&a->t1, 0, slot);
    else
        return;
    if (evicted)
        ghosts_push(&a->b, second ? ARC_B2 : ARC_B1, a->key[slot]);
}

/* Room among the ghosts for one more page. */
static void arc_trim(arc *a)
{
    const uint32_t *b1 = &a->b.q[ARC_B1].count, *b2 = &a->b.q[ARC_B2].count;
    uint64_t c = a->capacity;
    while (*b1 && a->t1.count[0] + (uint64_t)*b1 >= c)
        ghosts_pop(&a->b, ARC_B1);
    while (*b2 && arc_resident(a) + (uint64_t)*b1 + *b2 >= 2 * c)
        ghosts_pop(&a->b, ARC_B2);
}

static uint32_t arc_oldest(arc *a, bool second)
{
    return second ? recency_first(&a->t2) : list_first(&a->t1, 0);
}

/* What the next eviction will look at, on its way into the host's cache. */
static void arc_fetch_next(arc *a)
{
    uint32_t first = arc_oldest(a, false);
    if (first == LIST_NONE || a->t2.count == 0)
        return;
    uint32_t then = list_next(&a->t1, first);
    if (then != LIST_NONE)
        VM_PREFETCH(&a->key[then]);
    keymap_ahead(&a->b.map, a->key[first]);
    keymap_ahead(&a->b.map, a->key[arc_oldest(a, true)]);
}

static void arc_insert(policy *p, uint32_t set, uint32_t slot, uint64_t key)
{
    (void)set;
    arc *a = (arc *)p;
    arc_leave(a, slot, true);
    uint32_t ghost = ghosts_find(&a->b, key);
    if (ghost == GHOST_NONE) {
        arc_trim(a);
        list_push_last(&a->t1, 0, slot);
    } else {
        if (a->adapted != key)
            arc_adapt(a, ghost);
        ghosts_drop(&a->b, ghost);
        recency_add(&a->t2, slot);
    }
    a->key[slot] = key;
    a->adapted = POLICY_NO_KEY;
    arc_fetch_next(a);
}

static vm_status arc_victim(policy *p, uint32_t set, uint64_t key, uint32_t *slot, vm_error *e)
{
    (void)set;
    arc *a = (arc *)p;
    if (arc_resident(a) == 0)
        return policy_no_victim(p, e);
    a->capacity = policy_capacity(p, arc_resident(a));
    a->target = a->target > a->capacity ? a->capacity : a->target; /* pages have ended */
    uint32_t ghost = ghosts_find(&a->b, key), t1 = a->t1.count[0];
    if (ghost != GHOST_NONE && a->adapted != key) {
        arc_adapt(a, ghost);
        a->adapted = key;
    }
    bool in_b2 = ghost != GHOST_NONE && ghosts_queue(&a->b, ghost) == ARC_B2;
    bool second = t1 < a->target || (t1 == a->target && !in_b2);
    *slot = p->chosen = arc_oldest(a, t1 == 0 || (second && a->t2.count));
    return VM_OK;
}

static void arc_remove(policy *p, uint32_t set, uint32_t slot)
{
    (void)set;
    arc_leave((arc *)p, slot, policy_evicts(p, slot));
}

static void arc_ahead(const policy *p, uint64_t key)
{
    keymap_ahead(&((const arc *)p)->b.map, key);
}

static const char *arc_check(const policy *p)
{
    const arc *a = (const arc *)p;
    const char *broken = lists_check(&a->t1);
    if (!broken)
        broken = recency_check(&a->t2);
    if (!broken)
        broken = ghosts_check(&a->b);
    if (broken)
        return broken;
    for (uint32_t slot = 0; slot < p->room; slot++)
        if (recency_has(&a->t2, slot) && list_has(&a->t1, slot))
            return "arc: a slot is in T1 and in T2";
    return a->target >= 0 && a->target <= a->capacity ? NULL : "arc: the target is out of bounds";
}

const policy_class policy_arc = {
    .name = "arc",
    .doc = "recency and frequency in a balance that it learns from ghosts; a hit is two "
           "stores, a miss O(1) amortised, 61 bytes a slot with its ghosts and the table "
           "that finds them (Megiddo and Modha 2003)",
    .serves = POLICY_FRAMES,
    .exact = true,
    .size = sizeof(arc),
    .init = arc_init,
    .free = arc_free,
    .reserve = arc_reserve,
    .insert = arc_insert,
    .touch = arc_touch,
    .victim = arc_victim,
    .remove = arc_remove,
    .ahead = arc_ahead,
    .check = arc_check,
};

/* --- CAR --------------------------------------------------------------------------- */

enum { CAR_ENTER };

static const policy_param car_params[] = {
    [CAR_ENTER] = {"enter", POLICY_INTEGER, 0, 0, 1, NULL,
                   "1: a page enters with its reference bit set, as it does where A bits serve"},
    {0},
};

static void car_touch(policy *p, uint32_t set, uint32_t slot, bool write)
{
    (void)set;
    (void)write;
    ((arc *)p)->bit[slot] = 1;
}

static void car_insert(policy *p, uint32_t set, uint32_t slot, uint64_t key)
{
    arc_insert(p, set, slot, key);
    ((arc *)p)->bit[slot] = p->param[CAR_ENTER] != 0;
}

static vm_status car_victim(policy *p, uint32_t set, uint64_t key, uint32_t *slot, vm_error *e)
{
    (void)set;
    (void)key;
    arc *a = (arc *)p;
    if (arc_resident(a) == 0)
        return policy_no_victim(p, e);
    a->capacity = policy_capacity(p, arc_resident(a));
    a->target = a->target > a->capacity ? a->capacity : a->target; /* pages have ended */
    for (;;) {
        uint32_t t1 = a->t1.count[0];
        *slot = p->chosen = arc_oldest(a, t1 == 0 || (t1 < a->target && a->t2.count));
        if (!policy_is_used(p, &a->bit[*slot], 1, *slot, true))
            return VM_OK;
        arc_to_t2(a, *slot);
    }
}

const policy_class policy_car = {
    .name = "car",
    .doc = "ARC on clocks; a hit sets a bit, a miss O(1) amortised, 61 bytes a slot with its "
           "ghosts and the table that finds them (Bansal and Modha 2004)",
    .serves = POLICY_FRAMES,
    .size = sizeof(arc),
    .params = car_params,
    .init = arc_init,
    .free = arc_free,
    .reserve = arc_reserve,
    .insert = car_insert,
    .touch = car_touch,
    .victim = car_victim,
    .remove = arc_remove,
    .ahead = arc_ahead,
    .check = arc_check,
};
