/* twoq.c: 2Q, the full version: a page that is new waits in a short FIFO queue
 * (A1in), where hits say nothing, since they come together; when it leaves, its key is
 * remembered for a while (A1out); a page that comes back while it is remembered has
 * shown that it is wanted over time, and enters an LRU list (Am).
 * Source: Johnson and Shasha, "2Q: a low overhead high performance buffer management
 * replacement algorithm", 1994, section 2.3 and figure "full version".
 *
 * A victim is A1in's oldest if it holds more than Kin pages (or Am none), else Am's
 * least recent, which is not remembered. Kin and Kout are shares of the pages that
 * memory holds, rounded down, at least 1.
 *
 * Whether the incoming page is remembered is asked before the victim's key is, as the
 * paper does: by then it may have pushed that of the incoming one out.
 *
 * Invariants: a slot is in either A1in or Am exactly while it is full; no key is remembered
 * twice, and at most Kout are.
 */
#include "ghosts.h"
#include "list.h"
#include "policy.h"
#include "recency.h"

typedef struct twoq {
    policy base;
    lists in;        /* A1in: one list of slots */
    recency am;      /* Am */
    uint64_t *keys;  /* by slot */
    ghost_book out;  /* A1out: one queue */
    uint64_t wanted; /* a key that was remembered when a victim was chosen for it */
} twoq;

enum { TWOQ_KIN, TWOQ_KOUT };

static const policy_param twoq_params[] = {
    [TWOQ_KIN] = {"kin", POLICY_REAL, 0.25, 0, 1, NULL,
                  "share of the pages that may be in A1in before it loses one"},
    [TWOQ_KOUT] = {"kout", POLICY_REAL, 0.5, 0, 16, NULL,
                   "keys that A1out remembers, as a share of the pages"},
    {0},
};

static vm_status twoq_init(policy *p, vm_error *e)
{
    twoq *q = (twoq *)p;
    q->wanted = POLICY_NO_KEY;
    vm_status s = lists_init(&q->in, p->host, 1, e);
    return s == VM_OK ? ghosts_init(&q->out, p->host, 1, p->cfg.keys, e) : s;
}

static void twoq_free(policy *p)
{
    twoq *q = (twoq *)p;
    lists_free(&q->in, p->host);
    recency_free(&q->am, p->host);
    ghosts_free(&q->out, p->host);
    policy_free_slots(p, q->keys, sizeof *q->keys);
}

static vm_status twoq_reserve(policy *p, uint32_t n, vm_error *e)
{
    twoq *q = (twoq *)p;
    uint32_t kout = policy_share(p->param[TWOQ_KOUT], n, 1);
    vm_status s = lists_reserve(&q->in, p->host, n, e);
    if (s == VM_OK)
        s = recency_reserve(&q->am, p->host, n, e);
    if (s == VM_OK)
        s = ghosts_reserve(&q->out, p->host, kout, e);
    return s == VM_OK ? policy_grow(p, (void **)&q->keys, sizeof *q->keys, n, e) : s;
}

static uint32_t twoq_pages(const twoq *q)
{
    return policy_capacity(&q->base, q->in.count[0] + q->am.count);
}

static void twoq_remember(twoq *q, uint64_t key)
{
    uint32_t kout = policy_share(q->base.param[TWOQ_KOUT], twoq_pages(q), 1);
    ghosts_push(&q->out, 0, key);
    while (q->out.q[0].count > kout)
        ghosts_pop(&q->out, 0);
}

/* The slot's page leaves, if there is one; if it was evicted, it may be remembered. */
static void twoq_leave(twoq *q, uint32_t slot, bool evicted)
{
    if (recency_has(&q->am, slot)) {
        recency_drop(&q->am, slot);
    } else if (list_has(&q->in, slot)) {
        if (evicted)
            twoq_remember(q, q->keys[slot]);
        list_drop(&q->in, 0, slot);
    }
}

static void twoq_remove(policy *p, uint32_t set, uint32_t slot)
{
    (void)set;
    twoq_leave((twoq *)p, slot, policy_evicts(p, slot));
}

static void twoq_insert(policy *p, uint32_t set, uint32_t slot, uint64_t key)
{
    (void)set;
    twoq *q = (twoq *)p;
    bool known = key == q->wanted || ghosts_find(&q->out, key) != GHOST_NONE;
    twoq_leave(q, slot, true);
    if (known) {
        uint32_t ghost = ghosts_find(&q->out, key);
        if (ghost != GHOST_NONE)
            ghosts_drop(&q->out, ghost);
        recency_add(&q->am, slot);
    } else {
        list_push_last(&q->in, 0, slot);
    }
    q->keys[slot] = key;
    q->wanted = POLICY_NO_KEY;
    p->chosen = POLICY_NONE;
    uint32_t next = list_first(&q->in, 0); /* where it will be remembered, into the host's cache */
    if (next != LIST_NONE)
        keymap_ahead(&q->out.map, q->keys[next]);
}

static void twoq_touch(policy *p, uint32_t set, uint32_t slot, bool write)
{
    (void)set;
    (void)write;
    twoq *q = (twoq *)p;
    if (recency_has(&q->am, slot))
        recency_touch(&q->am, slot);
}

static vm_status twoq_victim(policy *p, uint32_t set, uint64_t key, uint32_t *slot, vm_error *e)
{
    (void)set;
    twoq *q = (twoq *)p;
    uint32_t in = q->in.count[0], am = q->am.count;
    if (in + am == 0)
        return policy_no_victim(p, e);
    if (ghosts_find(&q->out, key) != GHOST_NONE)
        q->wanted = key;
    if (in > policy_share(p->param[TWOQ_KIN], twoq_pages(q), 1) || am == 0)
        *slot = list_first(&q->in, 0);
    else
        *slot = recency_first(&q->am);
    p->chosen = *slot;
    return VM_OK;
}

static const char *twoq_check(const policy *p)
{
    const twoq *q = (const twoq *)p;
    const char *broken = lists_check(&q->in);
    if (!broken)
        broken = recency_check(&q->am);
    if (!broken)
        broken = ghosts_check(&q->out);
    return broken;
}

static void twoq_ahead(const policy *p, uint64_t key)
{
    keymap_ahead(&((const twoq *)p)->out.map, key);
}

const policy_class policy_2q = {
    .name = "2q",
    .doc = "a FIFO queue for new pages, keys of those that left it, LRU for those that came back; "
           "O(1) a hit and a miss, 36 bytes a slot, 16 to 23 a ghost (Johnson and Shasha 1994)",
    .serves = POLICY_FRAMES,
    .exact = true,
    .size = sizeof(twoq),
    .params = twoq_params,
    .init = twoq_init,
    .free = twoq_free,
    .reserve = twoq_reserve,
    .insert = twoq_insert,
    .touch = twoq_touch,
    .victim = twoq_victim,
    .remove = twoq_remove,
    .check = twoq_check,
    .ahead = twoq_ahead,
};
