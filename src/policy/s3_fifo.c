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
#include "ghosts.h"
#include "list.h"
#include "policy.h"

enum { S3_SMALL, S3_MAIN, S3_LISTS };
enum { S3_SHARE, S3_GHOSTS, S3_PROMOTE };
enum { S3_MOST = 3 };

static const policy_param s3_params[] = {
    [S3_SHARE] = {"small", POLICY_REAL, 0.1, 0, 1, NULL, "the small queue's share of the capacity"},
    [S3_GHOSTS] = {"ghost", POLICY_REAL, 0.9, 0, 16, NULL, "ghosts, in capacities"},
    [S3_PROMOTE] = {"promote", POLICY_INTEGER, 2, 1, S3_MOST, NULL,
                    "references in the small queue that take a page to the main one"},
    {0},
};

typedef struct s3_slot {
    uint64_t key;
    uint32_t list; /* while the slot is full */
} s3_slot;

typedef struct s3 {
    policy base;
    lists l;
    ghost_book b; /* one queue */
    s3_slot *s;
    size_t slots;
    uint8_t *refs; /* by slot, up to S3_MOST */
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
    vm_status s = lists_init(&q->l, p->host, S3_LISTS, e);
    return s == VM_OK ? ghosts_init(&q->b, p->host, 1, p->cfg.keys, e) : s;
}

static void s3_free(policy *p)
{
    s3 *q = (s3 *)p;
    lists_free(&q->l, p->host);
    ghosts_free(&q->b, p->host);
    host_free(p->host, q->s, q->slots * sizeof *q->s);
    policy_free_slots(p, q->refs, 1);
}

static vm_status s3_reserve(policy *p, uint32_t n, vm_error *e)
{
    s3 *q = (s3 *)p;
    if (!host_grow(p->host, (void **)&q->s, &q->slots, n, sizeof *q->s))
        return vm_fail_nomem(e, "an S3-FIFO policy");
    vm_status s = lists_reserve(&q->l, p->host, n, e);
    if (s == VM_OK) /* one more, which comes before the oldest goes */
        s = ghosts_reserve(&q->b, p->host, s3_ghosts(p, n) + 1, e);
    return s == VM_OK ? policy_grow(p, (void **)&q->refs, 1, n, e) : s;
}

static void s3_touch(policy *p, uint32_t set, uint32_t slot, bool write)
{
    (void)set;
    (void)write;
    uint8_t *n = &((s3 *)p)->refs[slot];
    *n = (uint8_t)(*n + (*n < S3_MOST));
}

/* The page leaves the slot, if there is one; if it is evicted, it may be remembered. */
static void s3_leave(s3 *q, uint32_t slot, bool evicted)
{
    q->base.chosen = POLICY_NONE;
    if (!list_has(&q->l, slot))
        return;
    list_drop(&q->l, q->s[slot].list, slot);
    if (!evicted || q->s[slot].list == S3_MAIN)
        return;
    ghosts_push(&q->b, 0, q->s[slot].key);
    while (q->b.q[0].count > s3_ghosts(&q->base, q->capacity))
        ghosts_pop(&q->b, 0);
}

static void s3_insert(policy *p, uint32_t set, uint32_t slot, uint64_t key)
{
    (void)set;
    s3 *q = (s3 *)p;
    s3_leave(q, slot, true);
    uint32_t ghost = ghosts_find(&q->b, key);
    if (ghost != GHOST_NONE)
        ghosts_drop(&q->b, ghost);
    q->s[slot] = (s3_slot){key, ghost == GHOST_NONE ? S3_SMALL : S3_MAIN};
    q->refs[slot] = 0;
    list_push_last(&q->l, q->s[slot].list, slot);
}

static uint32_t s3_from_main(s3 *q)
{
    for (;;) {
        uint32_t slot = list_first(&q->l, S3_MAIN);
        if (q->refs[slot] == 0)
            return slot;
        q->refs[slot]--;
        list_move_last(&q->l, S3_MAIN, S3_MAIN, slot);
    }
}

static uint32_t s3_choose(s3 *q)
{
    const uint32_t *n = q->l.count;
    uint32_t small = policy_share(q->base.param[S3_SHARE], q->capacity, 1);
    if (n[S3_SMALL] < small && n[S3_MAIN])
        return s3_from_main(q);
    while (n[S3_SMALL]) {
        uint32_t slot = list_first(&q->l, S3_SMALL);
        if (q->refs[slot] < q->base.param[S3_PROMOTE])
            return slot;
        q->refs[slot] = 0;
        q->s[slot].list = S3_MAIN;
        list_move_last(&q->l, S3_SMALL, S3_MAIN, slot);
        if (n[S3_MAIN] + (uint64_t)small > q->capacity)
            break;
    }
    return s3_from_main(q);
}

static vm_status s3_victim(policy *p, uint32_t set, uint64_t key, uint32_t *slot, vm_error *e)
{
    (void)set;
    (void)key;
    s3 *q = (s3 *)p;
    uint32_t full = q->l.count[S3_SMALL] + q->l.count[S3_MAIN];
    if (full == 0)
        return policy_no_victim(p, e);
    q->capacity = policy_capacity(p, full);
    *slot = p->chosen = s3_choose(q);
    return VM_OK;
}

static void s3_remove(policy *p, uint32_t set, uint32_t slot)
{
    (void)set;
    s3_leave((s3 *)p, slot, policy_evicts(p, slot));
}

static void s3_ahead(const policy *p, uint64_t key) { keymap_ahead(&((const s3 *)p)->b.map, key); }

static const char *s3_check(const policy *p)
{
    const s3 *q = (const s3 *)p;
    const char *broken = lists_check(&q->l);
    return broken ? broken : ghosts_check(&q->b);
}

const policy_class policy_s3_fifo = {
    .name = "s3-fifo",
    .doc = "three FIFO queues, a small one as a filter before the main one; a hit counts to "
           "3, a miss O(1) amortised, 36 bytes a slot with its ghosts and the table that "
           "finds them (Yang et al. 2023)",
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
    .ahead = s3_ahead,
    .check = s3_check,
};
