/* s3_fifo.c: S3-FIFO, three queues. Pages enter a small one; those that were
 * referenced often enough when they come to its end go on to the main queue, the
 * others are evicted and remembered as ghosts. A page that comes back while it is a
 * ghost enters the main queue at once, where a page that comes to the end with a
 * count goes round again with one less.
 *
 * Each page counts its references since it entered a queue, up to 3. The small
 * queue has a share of the capacity, rounded down, at least one page; the main queue
 * has the rest.
 * Source: Yang and others, "FIFO queues are all you need for cache eviction", SOSP
 * 2023, algorithm 1.
 * Departures: there an eviction from the small queue goes on after a promotion made
 * the main queue evict, and two pages may go for one that comes; here it ends with
 * the first page that goes. A promoted page starts with a count of 0.
 * With A bits: it is told of each reference all the same, since a bit can't count.
 */
#include "roster.h"

enum { S3_SMALL, S3_MAIN, S3_GHOST, S3_LISTS };
enum { S3_SHARE, S3_GHOSTS, S3_PROMOTE };
enum { S3_MOST = 3 };

static const policy_param s3_params[] = {
    [S3_SHARE] = {"small", POLICY_REAL, 0.1, 0, 1, NULL, "the small queue's share of the capacity"},
    [S3_GHOSTS] = {"ghost", POLICY_REAL, 0.9, 0, 16, NULL, "ghosts, in capacities"},
    [S3_PROMOTE] = {"promote", POLICY_INTEGER, 2, 1, S3_MOST, NULL,
                    "references in the small queue that take a page to the main one"},
    {0},
};

typedef struct s3 {
    policy base;
    roster g; /* mark: references, up to S3_MOST */
    uint32_t capacity;
} s3;

static uint32_t s3_ghosts(const policy *p, uint32_t capacity)
{
    return policy_share(p->param[S3_GHOSTS], capacity, 0);
}

static vm_status s3_init(policy *p, vm_error *e)
{
    s3 *q = (s3 *)p;
    q->capacity = policy_capacity(p, p->cfg.slots);
    return roster_init(&q->g, p, S3_LISTS, e);
}

static void s3_free(policy *p) { roster_free(&((s3 *)p)->g, p); }

static vm_status s3_reserve(policy *p, uint32_t n, vm_error *e)
{
    vm_status s = roster_reserve(&((s3 *)p)->g, p, n, s3_ghosts(p, n) + UINT64_C(1), e);
    if (s == VM_OK)
        p->room = n;
    return s;
}

static void s3_touch(policy *p, uint32_t set, uint32_t slot, bool write)
{
    (void)set;
    (void)write;
    uint8_t *n = &((s3 *)p)->g.mark[slot];
    *n = (uint8_t)(*n + (*n < S3_MOST));
}

static void s3_evict(s3 *q, uint32_t slot)
{
    roster *g = &q->g;
    q->base.chosen = POLICY_NONE;
    if (g->list[slot] == S3_MAIN) {
        roster_forget(g, slot);
        return;
    }
    uint32_t most = s3_ghosts(&q->base, q->capacity < q->base.room ? q->capacity : q->base.room);
    uint32_t ghost = roster_evict(g, slot);
    if (ghost != ROSTER_NONE)
        roster_move(g, S3_GHOST, ghost);
    while (roster_count(g, S3_GHOST) > most)
        roster_forget(g, roster_oldest(g, S3_GHOST));
}

static void s3_insert(policy *p, uint32_t set, uint32_t slot, uint64_t key)
{
    (void)set;
    s3 *q = (s3 *)p;
    if (roster_is_full(&q->g, slot))
        s3_evict(q, slot);
    uint32_t ghost = roster_ghost(&q->g, key);
    if (ghost != ROSTER_NONE)
        roster_forget(&q->g, ghost);
    roster_enter(&q->g, ghost == ROSTER_NONE ? S3_SMALL : S3_MAIN, slot, key);
}

static uint32_t s3_from_main(roster *g)
{
    for (;;) {
        uint32_t slot = roster_oldest(g, S3_MAIN);
        uint8_t *n = &g->mark[slot];
        if (*n == 0)
            return slot;
        (*n)--;
        roster_move(g, S3_MAIN, slot);
    }
}

static uint32_t s3_choose(s3 *q)
{
    roster *g = &q->g;
    uint32_t small = policy_share(q->base.param[S3_SHARE], q->capacity, 1);
    if (roster_count(g, S3_SMALL) < small && roster_count(g, S3_MAIN))
        return s3_from_main(g);
    while (roster_count(g, S3_SMALL)) {
        uint32_t slot = roster_oldest(g, S3_SMALL);
        uint8_t *n = &g->mark[slot];
        if (*n < q->base.param[S3_PROMOTE])
            return slot;
        *n = 0;
        roster_move(g, S3_MAIN, slot);
        if (roster_count(g, S3_MAIN) + (uint64_t)small > q->capacity)
            break;
    }
    return s3_from_main(g);
}

static vm_status s3_victim(policy *p, uint32_t set, uint64_t key, uint32_t *slot, vm_error *e)
{
    (void)set;
    (void)key;
    s3 *q = (s3 *)p;
    if (q->g.resident == 0)
        return policy_no_victim(p, e);
    q->capacity = policy_capacity(p, q->g.resident);
    *slot = p->chosen = s3_choose(q);
    return VM_OK;
}

static void s3_remove(policy *p, uint32_t set, uint32_t slot)
{
    (void)set;
    s3 *q = (s3 *)p;
    if (!roster_is_full(&q->g, slot))
        return;
    if (policy_evicts(p, slot))
        s3_evict(q, slot);
    else
        roster_forget(&q->g, slot);
}

static const char *s3_check(const policy *p) { return roster_check(&((const s3 *)p)->g); }

const policy_class policy_s3_fifo = {
    .name = "s3-fifo",
    .doc = "three FIFO queues, a small one as a filter before the main one; a hit counts "
           "to 3, a miss O(1) amortised, 18 bytes a slot, 17 a ghost and the table that "
           "finds it (Yang et al. 2023)",
    .serves = POLICY_FRAMES,
    .exact = true,
    .size = sizeof(s3),
    .params = s3_params,
    .init = s3_init,
    .free = s3_free,
    .reserve = s3_reserve,
    .insert = s3_insert,
    .touch = s3_touch,
    .victim = s3_victim,
    .remove = s3_remove,
    .check = s3_check,
};
