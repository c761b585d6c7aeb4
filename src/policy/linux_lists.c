/* linux_lists.c: Linux's active and inactive lists, with refault distance.
 *
 * Pages enter the inactive list. The one at its end goes, unless its reference bit is
 * set: the first time it goes round, after that to the active list. While there are more
 * active pages than inactive ones (times a ratio), pages come back from the end of the
 * active list, referenced or not. Each eviction and each activation advances a clock; a
 * ghost remembers when it went. A page that comes back after no more than the active
 * list's length would have been hit, had that list's room been its own, and enters the
 * active list.
 * Source: mm/vmscan.c (shrink_active_list, folio_check_references, inactive_is_low)
 * and mm/workingset.c of Linux 6.1.
 * Departures: one kind of pages instead of anonymous ones and files; one page at a time
 * instead of batches; ghosts are bounded by `history`, the oldest goes.
 * With A bits: they are the reference bits, and a page enters referenced, as in Linux;
 * hence the default of `enter`.
 */
#include "roster.h"

enum { LINUX_INACTIVE, LINUX_ACTIVE, LINUX_GHOSTS, LINUX_LISTS };
enum { LINUX_RATIO, LINUX_HISTORY, LINUX_ENTER };

static const policy_param linux_params[] = {
    [LINUX_RATIO] = {"ratio", POLICY_INTEGER, 0, 0, 1000, NULL,
                     "most active pages for each inactive one; 0: as Linux, the root of ten times "
                     "the GiB of 4 KiB pages, at least 1"},
    [LINUX_HISTORY] = {"history", POLICY_REAL, 1, 0, 16, NULL, "ghosts, in capacities"},
    [LINUX_ENTER] = {"enter", POLICY_INTEGER, 1, 0, 1, NULL,
                     "1: a page enters with its reference bit set; 0: not (only without A bits)"},
    {0},
};

/* Of a slot's mark: the reference bit, as roster_referenced has it; found referenced once
 * (PG_referenced). */
enum { LINUX_BIT = 1, LINUX_SEEN = 2 };

typedef struct linux_lists {
    policy base;
    roster g;
    uint64_t *gone; /* by ghost: the clock when it went */
    size_t gones;
    uint64_t clock; /* evictions and activations */
    uint32_t capacity;
} linux_lists;

static vm_status linux_init(policy *p, vm_error *e)
{
    linux_lists *x = (linux_lists *)p;
    x->capacity = policy_capacity(p, p->cfg.slots);
    return roster_init(&x->g, p, LINUX_LISTS, e);
}

static void linux_free(policy *p)
{
    linux_lists *x = (linux_lists *)p;
    host_free(p->host, x->gone, x->gones * sizeof *x->gone);
    roster_free(&x->g, p);
}

static uint32_t linux_history(const linux_lists *x, uint32_t capacity)
{
    return policy_share(x->base.param[LINUX_HISTORY], capacity, 0);
}

static vm_status linux_reserve(policy *p, uint32_t n, vm_error *e)
{
    linux_lists *x = (linux_lists *)p;
    uint64_t ghosts = linux_history(x, n) + UINT64_C(1);
    if (!host_grow(p->host, (void **)&x->gone, &x->gones, (size_t)ghosts, sizeof *x->gone))
        return vm_fail_nomem(e, "a policy of two lists");
    vm_status s = roster_reserve(&x->g, p, n, ghosts, e);
    if (s == VM_OK)
        p->room = n;
    return s;
}

static void linux_touch(policy *p, uint32_t set, uint32_t slot, bool write)
{
    (void)set;
    (void)write;
    ((linux_lists *)p)->g.mark[slot] |= LINUX_BIT;
}

static void linux_evict(linux_lists *x, uint32_t slot)
{
    roster *g = &x->g;
    uint32_t most = linux_history(x, x->capacity < x->base.room ? x->capacity : x->base.room);
    x->base.chosen = POLICY_NONE;
    uint32_t ghost = roster_evict(g, slot);
    if (ghost != ROSTER_NONE) {
        roster_move(g, LINUX_GHOSTS, ghost);
        x->gone[ghost - g->room] = x->clock;
    }
    x->clock++;
    while (roster_count(g, LINUX_GHOSTS) > most)
        roster_forget(g, roster_oldest(g, LINUX_GHOSTS));
}

static void linux_insert(policy *p, uint32_t set, uint32_t slot, uint64_t key)
{
    (void)set;
    linux_lists *x = (linux_lists *)p;
    roster *g = &x->g;
    if (roster_is_full(g, slot))
        linux_evict(x, slot);
    uint32_t ghost = roster_ghost(g, key), list = LINUX_INACTIVE;
    if (ghost != ROSTER_NONE) {
        if (x->clock - x->gone[ghost - g->room] <= roster_count(g, LINUX_ACTIVE)) {
            list = LINUX_ACTIVE;
            x->clock++;
        }
        roster_forget(g, ghost);
    }
    roster_enter(g, list, slot, key);
    g->mark[slot] = p->param[LINUX_ENTER] != 0 ? LINUX_BIT : 0;
}

static uint64_t linux_ratio(const linux_lists *x)
{
    uint64_t ratio = (uint64_t)x->base.param[LINUX_RATIO];
    if (ratio)
        return ratio;
    uint64_t gib = x->g.resident >> 18;
    for (ratio = 1; (ratio + 1) * (ratio + 1) <= 10 * gib; ratio++)
        ;
    return ratio;
}

static vm_status linux_victim(policy *p, uint32_t set, uint64_t key, uint32_t *slot, vm_error *e)
{
    (void)set;
    (void)key;
    linux_lists *x = (linux_lists *)p;
    roster *g = &x->g;
    if (g->resident == 0)
        return policy_no_victim(p, e);
    x->capacity = policy_capacity(p, g->resident);
    uint64_t ratio = linux_ratio(x);
    for (;;) {
        while (roster_count(g, LINUX_INACTIVE) * ratio < roster_count(g, LINUX_ACTIVE)) {
            uint32_t tail = roster_oldest(g, LINUX_ACTIVE);
            roster_referenced(g, p, tail);
            roster_move(g, LINUX_INACTIVE, tail);
        }
        *slot = p->chosen = roster_oldest(g, LINUX_INACTIVE);
        if (!roster_referenced(g, p, *slot))
            return VM_OK;
        bool again = g->mark[*slot] & LINUX_SEEN;
        g->mark[*slot] |= LINUX_SEEN; /* kept: deactivated, it comes back at once if used */
        roster_move(g, again ? LINUX_ACTIVE : LINUX_INACTIVE, *slot);
        x->clock += again;
    }
}

static void linux_remove(policy *p, uint32_t set, uint32_t slot)
{
    (void)set;
    linux_lists *x = (linux_lists *)p;
    if (!roster_is_full(&x->g, slot))
        return;
    if (policy_evicts(p, slot))
        linux_evict(x, slot);
    else
        roster_forget(&x->g, slot);
}

static void linux_ahead(const policy *p, uint64_t key)
{
    keymap_ahead(&((const linux_lists *)p)->g.map, key);
}

static const char *linux_check(const policy *p)
{
    return roster_check(&((const linux_lists *)p)->g);
}

const policy_class policy_linux_lists = {
    .name = "linux",
    .doc = "Linux's active and inactive lists with refault distance; a hit sets a bit, a "
           "miss O(1) amortised, 18 bytes a slot, 25 a ghost and the table that finds it "
           "(Linux 6.1)",
    .serves = POLICY_FRAMES,
    .size = sizeof(linux_lists),
    .params = linux_params,
    .init = linux_init,
    .free = linux_free,
    .reserve = linux_reserve,
    .insert = linux_insert,
    .touch = linux_touch,
    .victim = linux_victim,
    .remove = linux_remove,
    .ahead = linux_ahead,
    .check = linux_check,
};
