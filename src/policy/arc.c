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
#include "recency.h"
#include "roster.h"

/* The ghosts of list t are in list t + 2. */
enum { ARC_T1, ARC_T2, ARC_B1, ARC_B2, ARC_LISTS };

typedef struct arc {
    policy base;
    roster g; /* but for the order of T2 */
    recency t2;
    double target;    /* of |T1|, from 0 to the capacity */
    uint64_t adapted; /* the key that is to come and moved the target, or POLICY_NO_KEY */
    uint32_t capacity;
} arc;

static uint32_t arc_count(const arc *a, unsigned list)
{
    return list == ARC_T2 ? a->t2.count : a->g.l.count[list];
}

static vm_status arc_init(policy *p, vm_error *e)
{
    arc *a = (arc *)p;
    a->adapted = POLICY_NO_KEY;
    a->capacity = policy_capacity(p, p->cfg.slots);
    vm_status s = roster_init(&a->g, p, ARC_LISTS, e);
    a->g.apart = ARC_T2;
    return s;
}

static void arc_free(policy *p)
{
    roster_free(&((arc *)p)->g, p);
    recency_free(&((arc *)p)->t2, p->host);
}

static vm_status arc_reserve(policy *p, uint32_t n, vm_error *e)
{
    vm_status s = recency_reserve(&((arc *)p)->t2, p->host, n, e);
    if (s == VM_OK)
        s = roster_reserve(&((arc *)p)->g, p, n, (uint64_t)n + 1, e);
    if (s == VM_OK)
        p->room = n;
    return s;
}

/* A full slot of T1 or T2 becomes the most recent of T2. */
VM_INLINE void arc_to_t2(arc *a, uint32_t slot)
{
    if (a->g.list[slot] == ARC_T2) {
        recency_touch(&a->t2, slot);
        return;
    }
    list_drop(&a->g.l, ARC_T1, slot);
    a->g.list[slot] = ARC_T2;
    recency_add(&a->t2, slot);
}

/* A slot that is about to be emptied is linked. */
static void arc_link(arc *a, uint32_t slot)
{
    if (a->g.list[slot] != ARC_T2)
        return;
    recency_drop(&a->t2, slot);
    list_push_last(&a->g.l, ARC_T2, slot);
}

static void arc_touch(policy *p, uint32_t set, uint32_t slot, bool write)
{
    (void)set;
    (void)write;
    arc_to_t2((arc *)p, slot);
}

/* The page of a ghost comes: T1 ought to have been larger (B1) or smaller (B2). The
 * least step is 1 for both: in ARC's words, 1 where its list of ghosts is the longer. */
static void arc_adapt(arc *a, unsigned list)
{
    double b1 = arc_count(a, ARC_B1), b2 = arc_count(a, ARC_B2), c = a->capacity;
    double step = list == ARC_B1 ? b2 / b1 : b1 / b2;
    step = step < 1 ? 1 : step;
    double target = list == ARC_B1 ? a->target + step : a->target - step;
    a->target = target < 0 ? 0 : target > c ? c : target;
}

static void arc_evict(arc *a, uint32_t slot)
{
    a->base.chosen = POLICY_NONE;
    arc_link(a, slot);
    uint32_t ghost = roster_evict(&a->g, slot);
    if (ghost != ROSTER_NONE)
        roster_move(&a->g, a->g.list[ghost] + 2u, ghost);
}

/* Room among the ghosts for one more page. */
static void arc_trim(arc *a)
{
    uint64_t c = a->capacity;
    while (arc_count(a, ARC_B1) && arc_count(a, ARC_T1) + (uint64_t)arc_count(a, ARC_B1) >= c)
        roster_forget(&a->g, roster_oldest(&a->g, ARC_B1));
    uint64_t ghosts = a->g.ghosts - arc_count(a, ARC_LISTS);
    for (; arc_count(a, ARC_B2) && a->g.resident + ghosts >= 2 * c; ghosts--)
        roster_forget(&a->g, roster_oldest(&a->g, ARC_B2));
}

static void arc_insert(policy *p, uint32_t set, uint32_t slot, uint64_t key)
{
    (void)set;
    arc *a = (arc *)p;
    if (roster_is_full(&a->g, slot))
        arc_evict(a, slot);
    uint32_t ghost = roster_ghost(&a->g, key);
    if (ghost == ROSTER_NONE) {
        arc_trim(a);
    } else {
        if (a->adapted != key)
            arc_adapt(a, a->g.list[ghost]);
        roster_forget(&a->g, ghost);
    }
    roster_enter(&a->g, ARC_T1, slot, key);
    if (ghost != ROSTER_NONE)
        arc_to_t2(a, slot);
    a->adapted = POLICY_NO_KEY;
}

static uint32_t arc_oldest(arc *a, unsigned list)
{
    return list == ARC_T2 ? recency_first(&a->t2) : roster_oldest(&a->g, list);
}

static vm_status arc_victim(policy *p, uint32_t set, uint64_t key, uint32_t *slot, vm_error *e)
{
    (void)set;
    arc *a = (arc *)p;
    if (a->g.resident == 0)
        return policy_no_victim(p, e);
    a->capacity = policy_capacity(p, a->g.resident);
    a->target = a->target > a->capacity ? a->capacity : a->target; /* pages have ended */
    uint32_t ghost = roster_ghost(&a->g, key);
    if (ghost != ROSTER_NONE && a->adapted != key) {
        arc_adapt(a, a->g.list[ghost]);
        a->adapted = key;
    }
    uint32_t t1 = arc_count(a, ARC_T1);
    bool in_b2 = ghost != ROSTER_NONE && a->g.list[ghost] == ARC_B2;
    bool from_t1 = t1 > a->target || (in_b2 && t1 == a->target);
    unsigned list = t1 && (from_t1 || !arc_count(a, ARC_T2)) ? ARC_T1 : ARC_T2;
    *slot = p->chosen = arc_oldest(a, list);
    return VM_OK;
}

static void arc_remove(policy *p, uint32_t set, uint32_t slot)
{
    (void)set;
    arc *a = (arc *)p;
    if (!roster_is_full(&a->g, slot))
        return;
    if (policy_evicts(p, slot)) {
        arc_evict(a, slot);
    } else {
        arc_link(a, slot);
        roster_forget(&a->g, slot);
    }
}

static const char *arc_check(const policy *p)
{
    const arc *a = (const arc *)p;
    const char *broken = roster_check(&a->g);
    if (!broken)
        broken = recency_check(&a->t2);
    if (broken)
        return broken;
    if (arc_count(a, ARC_T1) + arc_count(a, ARC_T2) != a->g.resident)
        return "arc: a resident page is in neither T1 nor T2";
    return a->target >= 0 && a->target <= a->capacity ? NULL : "arc: the target is out of bounds";
}

const policy_class policy_arc = {
    .name = "arc",
    .doc = "recency and frequency in a balance that it learns from ghosts; a hit is two "
           "links, O(1), 38 bytes a slot, 17 a ghost and the table that finds it (Megiddo "
           "and Modha 2003)",
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
    ((arc *)p)->g.mark[slot] = 1;
}

static void car_insert(policy *p, uint32_t set, uint32_t slot, uint64_t key)
{
    arc_insert(p, set, slot, key);
    ((arc *)p)->g.mark[slot] = p->param[CAR_ENTER] != 0;
}

static vm_status car_victim(policy *p, uint32_t set, uint64_t key, uint32_t *slot, vm_error *e)
{
    (void)set;
    (void)key;
    arc *a = (arc *)p;
    roster *g = &a->g;
    if (g->resident == 0)
        return policy_no_victim(p, e);
    a->capacity = policy_capacity(p, g->resident);
    a->target = a->target > a->capacity ? a->capacity : a->target; /* pages have ended */
    for (;;) {
        uint32_t t1 = arc_count(a, ARC_T1);
        unsigned list = t1 && (t1 >= a->target || !arc_count(a, ARC_T2)) ? ARC_T1 : ARC_T2;
        *slot = p->chosen = arc_oldest(a, list);
        if (!roster_referenced(g, p, *slot))
            return VM_OK;
        arc_to_t2(a, *slot);
    }
}

const policy_class policy_car = {
    .name = "car",
    .doc = "ARC on clocks; a hit sets a bit, a miss O(1) amortised, 38 bytes a slot, 17 a "
           "ghost and the table that finds it (Bansal and Modha 2004)",
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
    .check = arc_check,
};
