/* lirs.c: LIRS, which orders pages by the time between their last two references.
 *
 * Pages with low inter-reference recency (LIR) hold all of memory but a small
 * share, and stay. The others (HIR) pass through the rest: a queue, whose head is the
 * victim. The stack S orders LIR pages, HIR pages and ghosts by recency; its bottom
 * is always LIR. A HIR page that is referenced while it is in S has been away for
 * a shorter time than the bottom one, and they change places.
 * Source: Jiang and Zhang, "LIRS: an efficient low inter-reference recency set
 * replacement policy to improve buffer cache performance", SIGMETRICS 2002.
 * Departures: the paper leaves the number of ghosts in S unbounded; so is it with
 * `history` = 0, which takes an owner whose pages have dense numbers. Else the one
 * that was evicted first is forgotten. The HIR pages' share is rounded down and is one
 * page at the least. Two references in a row to one page are two, though the
 * authors' own simulator skips the second.
 * With A bits: it is told of each reference.
 *
 * Invariants: a node is in S, in a list of `g` (the queue, the ghosts, LIR pages, free
 * ones), or in both; ghosts and LIR pages are always in S.
 */
#include "roster.h"

enum { LIRS_LIR, LIRS_QUEUE, LIRS_GHOSTS, LIRS_LISTS };
enum { LIRS_HIR, LIRS_HISTORY };

static const policy_param lirs_params[] = {
    [LIRS_HIR] = {"hir", POLICY_REAL, 0.01, 0, 1, NULL,
                  "share of the capacity for pages that are HIR"},
    [LIRS_HISTORY] = {"history", POLICY_REAL, 2, 0, 64, NULL,
                      "ghosts, in capacities; 0: as many as there are pages (paging studies)"},
    {0},
};

typedef struct lirs {
    policy base;
    roster g;
    lists s; /* one, the stack, of nodes; the top is last */
    uint32_t capacity;
} lirs;

/* Ghosts at most, with so many frames. */
static uint64_t lirs_history(const policy *p, uint32_t capacity)
{
    return p->param[LIRS_HISTORY] > 0 ? policy_share(p->param[LIRS_HISTORY], capacity, 0)
                                      : p->cfg.keys;
}

static vm_status lirs_init(policy *p, vm_error *e)
{
    lirs *l = (lirs *)p;
    if (p->param[LIRS_HISTORY] <= 0 && p->cfg.keys == 0)
        return vm_fail(e, VM_INVALID,
                       "history of policy lirs is 0, without bound, which takes pages with dense "
                       "numbers: those of a paging study");
    l->capacity = policy_capacity(p, p->cfg.slots);
    vm_status s = roster_init(&l->g, p, LIRS_LISTS, e);
    return s == VM_OK ? lists_init(&l->s, p->host, 1, e) : s;
}

static void lirs_free(policy *p)
{
    lirs *l = (lirs *)p;
    roster_free(&l->g, p);
    lists_free(&l->s, p->host);
}

static vm_status lirs_reserve(policy *p, uint32_t n, vm_error *e)
{
    lirs *l = (lirs *)p;
    uint64_t ghosts = lirs_history(p, n) + 1;
    vm_status s = lists_reserve(&l->s, p->host, n + ghosts, e);
    if (s == VM_OK)
        s = roster_reserve(&l->g, p, n, ghosts, e);
    if (s != VM_OK)
        return s;
    lists_shift(&l->s, p->room, n - p->room); /* as the roster does */
    p->room = n;
    return VM_OK;
}

static uint32_t lirs_most(const lirs *l)
{
    uint32_t hir = policy_share(l->base.param[LIRS_HIR], l->capacity, 1);
    return hir < l->capacity ? l->capacity - hir : 0;
}

static void lirs_unstack(lirs *l, uint32_t node)
{
    if (list_has(&l->s, node))
        list_drop(&l->s, 0, node);
}

static void lirs_to_top(lirs *l, uint32_t node)
{
    lirs_unstack(l, node);
    list_push_last(&l->s, 0, node);
}

static void lirs_forget(lirs *l, uint32_t node)
{
    lirs_unstack(l, node);
    roster_forget(&l->g, node);
}

/* Until the bottom of the stack is a LIR page. */
static void lirs_prune(lirs *l)
{
    while (l->s.count[0]) {
        uint32_t node = list_first(&l->s, 0);
        if (l->g.list[node] == LIRS_LIR)
            return;
        if (l->g.list[node] == LIRS_GHOSTS)
            lirs_forget(l, node);
        else
            list_drop(&l->s, 0, node);
    }
}

/* The LIR page at the bottom becomes a HIR page, last in the queue. */
static void lirs_demote(lirs *l)
{
    uint32_t bottom = list_first(&l->s, 0);
    list_drop(&l->s, 0, bottom);
    roster_move(&l->g, LIRS_QUEUE, bottom);
    lirs_prune(l);
}

/* The resident page on top of the stack becomes LIR. */
static void lirs_promote(lirs *l, uint32_t node)
{
    roster_move(&l->g, LIRS_LIR, node);
    lirs_prune(l);
    while (roster_count(&l->g, LIRS_LIR) > lirs_most(l))
        lirs_demote(l);
}

static void lirs_touch(policy *p, uint32_t set, uint32_t slot, bool write)
{
    (void)set;
    (void)write;
    lirs *l = (lirs *)p;
    bool stacked = list_has(&l->s, slot);
    lirs_to_top(l, slot);
    if (l->g.list[slot] == LIRS_LIR)
        lirs_prune(l);
    else if (stacked)
        lirs_promote(l, slot);
    else {
        roster_move(&l->g, LIRS_QUEUE, slot);
        if (roster_count(&l->g, LIRS_LIR) == 0)
            lirs_prune(l);
    }
}

static void lirs_evict(lirs *l, uint32_t slot)
{
    uint64_t room = lirs_history(&l->base, l->base.room);
    uint64_t most = lirs_history(&l->base, l->capacity);
    l->base.chosen = POLICY_NONE;
    /* A LIR page may only be another's choice. */
    if (!list_has(&l->s, slot) || l->g.list[slot] == LIRS_LIR) {
        lirs_forget(l, slot);
        lirs_prune(l);
        return;
    }
    uint32_t ghost = roster_evict(&l->g, slot);
    if (ghost == ROSTER_NONE) {
        list_drop(&l->s, 0, slot);
        return;
    }
    list_replace(&l->s, slot, ghost);
    roster_move(&l->g, LIRS_GHOSTS, ghost);
    while (roster_count(&l->g, LIRS_GHOSTS) > (most < room ? most : room))
        lirs_forget(l, roster_oldest(&l->g, LIRS_GHOSTS));
}

static void lirs_insert(policy *p, uint32_t set, uint32_t slot, uint64_t key)
{
    (void)set;
    lirs *l = (lirs *)p;
    if (roster_is_full(&l->g, slot))
        lirs_evict(l, slot);
    uint32_t ghost = roster_ghost(&l->g, key);
    if (ghost != ROSTER_NONE)
        lirs_forget(l, ghost);
    bool lir = roster_count(&l->g, LIRS_LIR) < lirs_most(l);
    roster_enter(&l->g, lir ? LIRS_LIR : LIRS_QUEUE, slot, key);
    list_push_last(&l->s, 0, slot);
    if (ghost != ROSTER_NONE)
        lirs_promote(l, slot);
    else if (roster_count(&l->g, LIRS_LIR) == 0)
        lirs_prune(l);
}

static vm_status lirs_victim(policy *p, uint32_t set, uint64_t key, uint32_t *slot, vm_error *e)
{
    (void)set;
    (void)key;
    lirs *l = (lirs *)p;
    if (l->g.resident == 0)
        return policy_no_victim(p, e);
    l->capacity = policy_capacity(p, l->g.resident);
    while (roster_count(&l->g, LIRS_LIR) > lirs_most(l) || roster_count(&l->g, LIRS_QUEUE) == 0)
        lirs_demote(l);
    *slot = p->chosen = roster_oldest(&l->g, LIRS_QUEUE);
    return VM_OK;
}

static void lirs_remove(policy *p, uint32_t set, uint32_t slot)
{
    (void)set;
    lirs *l = (lirs *)p;
    if (!roster_is_full(&l->g, slot))
        return;
    if (policy_evicts(p, slot)) {
        lirs_evict(l, slot);
    } else {
        lirs_forget(l, slot);
        lirs_prune(l);
    }
}

static void lirs_ahead(const policy *p, uint64_t key)
{
    keymap_ahead(&((const lirs *)p)->g.map, key);
}

static const char *lirs_check(const policy *p)
{
    const lirs *l = (const lirs *)p;
    const char *broken = roster_check(&l->g);
    if (!broken)
        broken = lists_check(&l->s);
    if (!broken && l->s.count[0] && l->g.list[list_first(&l->s, 0)] != LIRS_LIR)
        broken = "lirs: the bottom of the stack is no LIR page";
    for (uint32_t i = 0; i < l->g.room + l->g.ghosts && !broken; i++) {
        unsigned list = l->g.list[i];
        if (!list_has(&l->s, i) && (list == LIRS_LIR || list == LIRS_GHOSTS))
            broken = "lirs: a LIR page or a ghost is not in the stack";
        if (list_has(&l->s, i) && list == LIRS_LISTS)
            broken = "lirs: a free node is in the stack";
    }
    return broken;
}

const policy_class policy_lirs = {
    .name = "lirs",
    .doc = "pages with short times between references stay, others pass through a small "
           "queue; a hit moves links, O(1) amortised, 26 bytes a slot, 25 a ghost and the "
           "table that finds it (Jiang and Zhang 2002)",
    .serves = POLICY_FRAMES,
    .exact = true,
    .size = sizeof(lirs),
    .params = lirs_params,
    .init = lirs_init,
    .free = lirs_free,
    .reserve = lirs_reserve,
    .insert = lirs_insert,
    .touch = lirs_touch,
    .victim = lirs_victim,
    .remove = lirs_remove,
    .ahead = lirs_ahead,
    .check = lirs_check,
};
