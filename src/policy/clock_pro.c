/* clock_pro.c: CLOCK-Pro, LIRS on a clock: hot pages, cold pages and ghosts on one ring,
 * in the order of their last (known) references.
 *
 * A cold page is in its test period for as long as it is younger than the oldest hot
 * page. HAND_cold looks for a victim: an unreferenced resident cold page. One that was
 * referenced in its test period becomes hot, else begins another. HAND_hot makes
 * the oldest unreferenced hot page cold where there are too many, and ends the test
 * periods that it passes. HAND_test ends further ones where there are more ghosts
 * than `history` allows. An evicted page stays as a ghost for the rest of its test
 * period; if it comes back in it, it is hot. What enters the ring comes right behind
 * HAND_hot. The target number of cold pages goes up by one when a page is referenced
 * in its test period, and down when a period ends without.
 *
 * Source: Jiang, Chen and Zhang, "CLOCK-Pro: an effective improvement of the CLOCK
 * replacement", USENIX 2005, section 4.
 * Settled here: memory is filled with hot pages, up to the share of cold ones; the
 * target is at least `cold` of the capacity and one page, and at most all of it. A
 * cold page out of its test period that is found referenced begins a new one.
 * With A bits: they are the reference bits, so that a page enters referenced.
 *
 * Invariants: all that is known is on the ring; the hands are on it, or ROSTER_NONE
 * where it is empty; ghosts are in their test periods.
 */
#include "roster.h"

enum { PRO_RING, PRO_LISTS };
enum { PRO_COLD, PRO_ADAPTIVE, PRO_HISTORY, PRO_ENTER };
/* What a page is; a cold page may be PRO_TEST besides. */
enum { PRO_IS_HOT = 1, PRO_IS_TEST = 2 };

static const policy_param pro_params[] = {
    [PRO_COLD] = {"cold", POLICY_REAL, 0.01, 0, 1, NULL,
                  "share of the capacity that cold pages hold at first and at least"},
    [PRO_ADAPTIVE] = {"adaptive", POLICY_INTEGER, 1, 0, 1, NULL,
                      "1: the number of cold pages adapts; 0: it stays as it is at first"},
    [PRO_HISTORY] = {"history", POLICY_REAL, 1, 0, 16, NULL, "ghosts, in capacities"},
    [PRO_ENTER] = {"enter", POLICY_INTEGER, 0, 0, 1, NULL,
                   "1: a page enters with its reference bit set, as it does where A bits serve"},
    {0},
};

typedef struct pro {
    policy base;
    roster g;
    uint8_t *kind; /* by slot: PRO_IS_HOT, PRO_IS_TEST, or 0 */
    size_t kinds;
    uint32_t hand_hot, hand_cold, hand_test; /* nodes */
    uint32_t hot;                            /* how many */
    uint32_t cold;                           /* target of resident cold pages */
    uint32_t capacity;
} pro;

static bool pro_is_hot(const pro *c, uint32_t node)
{
    return !roster_is_ghost(&c->g, node) && c->kind[node] == PRO_IS_HOT;
}

static uint32_t pro_least(const pro *c)
{
    return policy_share(c->base.param[PRO_COLD], c->capacity, 1);
}

static vm_status pro_init(policy *p, vm_error *e)
{
    pro *c = (pro *)p;
    c->hand_hot = c->hand_cold = c->hand_test = ROSTER_NONE;
    c->capacity = policy_capacity(p, p->cfg.slots);
    c->cold = pro_least(c);
    return roster_init(&c->g, p, PRO_LISTS, e);
}

static void pro_free(policy *p)
{
    pro *c = (pro *)p;
    roster_free(&c->g, p);
    host_free(p->host, c->kind, c->kinds);
}

static uint32_t pro_history(const pro *c, uint32_t capacity)
{
    return policy_share(c->base.param[PRO_HISTORY], capacity, 0);
}

static vm_status pro_reserve(policy *p, uint32_t n, vm_error *e)
{
    pro *c = (pro *)p;
    if (!host_grow(p->host, (void **)&c->kind, &c->kinds, n, 1))
        return vm_fail_nomem(e, "a CLOCK-Pro policy");
    vm_status s = roster_reserve(&c->g, p, n, pro_history(c, n) + UINT64_C(1), e);
    if (s != VM_OK)
        return s;
    uint32_t *const hands[] = {&c->hand_hot, &c->hand_cold, &c->hand_test};
    for (int i = 0; i < 3; i++) /* ghosts are numbered anew */
        *hands[i] += *hands[i] != ROSTER_NONE && *hands[i] >= p->room ? n - p->room : 0;
    p->room = n;
    return VM_OK;
}

static void pro_touch(policy *p, uint32_t set, uint32_t slot, bool write)
{
    (void)set;
    (void)write;
    ((pro *)p)->g.mark[slot] = 1;
}

/* --- the ring ------------------------------------------------------------------------ */

static uint32_t pro_after(const pro *c, uint32_t node)
{
    uint32_t next = list_next(&c->g.l, node);
    return next == ROSTER_NONE ? list_first(&c->g.l, PRO_RING) : next;
}

/* Hands on the one node go to the other. */
static void pro_hands(pro *c, uint32_t from, uint32_t to)
{
    c->hand_hot = c->hand_hot == from ? to : c->hand_hot;
    c->hand_cold = c->hand_cold == from ? to : c->hand_cold;
    c->hand_test = c->hand_test == from ? to : c->hand_test;
}

/* The node is about to leave its place: hands on it go on. */
static void pro_pass(pro *c, uint32_t node)
{
    uint32_t next = pro_after(c, node);
    pro_hands(c, node, next == node ? ROSTER_NONE : next);
}

static void pro_forget(pro *c, uint32_t node)
{
    pro_pass(c, node);
    roster_forget(&c->g, node);
}

/* The last node of the list goes behind HAND_hot. */
static void pro_settle(pro *c, uint32_t node)
{
    if (c->hand_hot == ROSTER_NONE) {
        c->hand_hot = c->hand_cold = c->hand_test = node;
        return;
    }
    list_drop(&c->g.l, PRO_RING, node);
    list_push_before(&c->g.l, PRO_RING, c->hand_hot, node);
}

static void pro_to_head(pro *c, uint32_t node)
{
    pro_pass(c, node);
    pro_settle(c, node);
}

/* --- the hands ----------------------------------------------------------------------- */

static void pro_adapt(pro *c, bool more)
{
    if (c->base.param[PRO_ADAPTIVE] == 0)
        return;
    if (more)
        c->cold += c->cold < c->capacity;
    else
        c->cold -= c->cold > pro_least(c);
}

/* The test period of the page, if it is in one, ends without a reference. */
static void pro_end_test(pro *c, uint32_t node)
{
    bool ghost = roster_is_ghost(&c->g, node);
    if (!ghost && !(c->kind[node] & PRO_IS_TEST))
        return;
    pro_adapt(c, false);
    if (ghost)
        pro_forget(c, node);
    else
        c->kind[node] = 0;
}

static uint32_t pro_ghosts(const pro *c) { return roster_count(&c->g, PRO_RING) - c->g.resident; }

static void pro_run_test(pro *c)
{
    uint32_t most = pro_history(c, c->capacity < c->base.room ? c->capacity : c->base.room);
    while (pro_ghosts(c) > most) {
        uint32_t node = c->hand_test;
        c->hand_test = pro_after(c, node);
        pro_end_test(c, node);
    }
}

static void pro_run_hot(pro *c)
{
    while (c->hot && (c->hot + (uint64_t)c->cold > c->capacity || c->hot == c->g.resident)) {
        uint32_t node = c->hand_hot;
        c->hand_hot = pro_after(c, node);
        if (!pro_is_hot(c, node)) {
            pro_end_test(c, node);
        } else if (!roster_referenced(&c->g, &c->base, node)) {
            c->kind[node] = 0;
            c->hot--;
        }
    }
}

static void pro_heat(pro *c, uint32_t slot)
{
    c->kind[slot] = PRO_IS_HOT;
    c->hot++;
    pro_to_head(c, slot);
    pro_run_hot(c);
}

static uint32_t pro_run_cold(pro *c)
{
    for (;;) {
        uint32_t node = c->hand_cold;
        c->hand_cold = pro_after(c, node);
        if (roster_is_ghost(&c->g, node) || pro_is_hot(c, node))
            continue;
        if (!roster_referenced(&c->g, &c->base, node))
            return node;
        if (c->kind[node] & PRO_IS_TEST) {
            pro_adapt(c, true);
            pro_heat(c, node);
        } else {
            c->kind[node] = PRO_IS_TEST;
            pro_to_head(c, node);
        }
    }
}

/* --- the contract ------------------------------------------------------------------- */

static void pro_evict(pro *c, uint32_t slot)
{
    c->base.chosen = POLICY_NONE;
    c->hot -= c->kind[slot] & PRO_IS_HOT;
    if (c->kind[slot] == PRO_IS_TEST) {
        uint32_t next = pro_after(c, slot), ghost = roster_evict(&c->g, slot);
        pro_hands(c, slot, ghost != ROSTER_NONE ? ghost : next == slot ? ROSTER_NONE : next);
    } else {
        pro_forget(c, slot);
    }
    pro_run_test(c);
}

static void pro_insert(policy *p, uint32_t set, uint32_t slot, uint64_t key)
{
    (void)set;
    pro *c = (pro *)p;
    if (roster_is_full(&c->g, slot))
        pro_evict(c, slot);
    uint32_t ghost = roster_ghost(&c->g, key);
    if (ghost != ROSTER_NONE)
        pro_forget(c, ghost);
    bool hot = c->g.resident + (uint64_t)c->cold < c->capacity;
    roster_enter(&c->g, PRO_RING, slot, key);
    pro_settle(c, slot);
    c->g.mark[slot] = p->param[PRO_ENTER] != 0;
    if (ghost != ROSTER_NONE) {
        pro_adapt(c, true);
        pro_heat(c, slot);
    } else {
        c->kind[slot] = hot ? PRO_IS_HOT : PRO_IS_TEST;
        c->hot += hot;
    }
}

static vm_status pro_victim(policy *p, uint32_t set, uint64_t key, uint32_t *slot, vm_error *e)
{
    (void)set;
    (void)key;
    pro *c = (pro *)p;
    if (c->g.resident == 0)
        return policy_no_victim(p, e);
    c->capacity = policy_capacity(p, c->g.resident);
    pro_run_hot(c);
    *slot = p->chosen = pro_run_cold(c);
    return VM_OK;
}

static void pro_remove(policy *p, uint32_t set, uint32_t slot)
{
    (void)set;
    pro *c = (pro *)p;
    if (!roster_is_full(&c->g, slot))
        return;
    if (policy_evicts(p, slot)) {
        pro_evict(c, slot);
    } else {
        c->hot -= c->kind[slot] & PRO_IS_HOT;
        pro_forget(c, slot);
    }
}

static void pro_ahead(const policy *p, uint64_t key)
{
    keymap_ahead(&((const pro *)p)->g.map, key);
}

static const char *pro_check(const policy *p)
{
    const pro *c = (const pro *)p;
    const char *broken = roster_check(&c->g);
    uint32_t hot = 0;
    for (uint32_t slot = 0; slot < p->room; slot++)
        hot += roster_is_full(&c->g, slot) && c->kind[slot] == PRO_IS_HOT;
    if (!broken && hot != c->hot)
        broken = "clock-pro: the count of hot pages is wrong";
    const uint32_t hands[] = {c->hand_hot, c->hand_cold, c->hand_test};
    bool any = roster_count(&c->g, PRO_RING) > 0;
    for (int i = 0; i < 3 && !broken; i++)
        if (any != (hands[i] != ROSTER_NONE) || (any && c->g.list[hands[i]] != PRO_RING))
            broken = "clock-pro: a hand is not on the ring";
    return broken;
}

const policy_class policy_clock_pro = {
    .name = "clock-pro",
    .doc = "LIRS on a clock with three hands; a hit sets a bit, a miss O(1) amortised, 19 "
           "bytes a slot, 17 a ghost and the table that finds it (Jiang, Chen and Zhang "
           "2005)",
    .serves = POLICY_FRAMES,
    .size = sizeof(pro),
    .params = pro_params,
    .init = pro_init,
    .free = pro_free,
    .reserve = pro_reserve,
    .insert = pro_insert,
    .touch = pro_touch,
    .victim = pro_victim,
    .remove = pro_remove,
    .ahead = pro_ahead,
    .check = pro_check,
};
