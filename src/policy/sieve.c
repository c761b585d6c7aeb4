/* sieve.c: SIEVE, a queue with a hand that goes from the oldest page to the newest,
 * clears the bits of referenced pages where they stand, and takes the first that is
 * not. New pages enter at the young end, so that the hand sifts the old ones from
 * those that nobody came back to. The hand stays where it was for the next victim.
 *
 * Source: Zhang and others, "SIEVE is simpler than LRU", NSDI 2024, algorithm 1.
 * Departures: none. With A bits: they are the visited bits, so that a page enters
 * visited, since the access that faulted is tried again.
 *
 * Invariant: the hand is a full slot, or POLICY_NONE, which means the oldest.
 */
#include "list.h"
#include "policy.h"

enum { SIEVE_ENTER };

static const policy_param sieve_params[] = {
    [SIEVE_ENTER] = {"enter", POLICY_INTEGER, 0, 0, 1, NULL,
                     "1: a page enters visited, as it does where A bits serve"},
    {0},
};

typedef struct sieve {
    policy base;
    lists l;          /* one, of slots; the newest is last */
    uint8_t *visited; /* by slot */
    uint32_t hand;
} sieve;

static vm_status sieve_init(policy *p, vm_error *e)
{
    sieve *v = (sieve *)p;
    v->hand = POLICY_NONE;
    return lists_init(&v->l, p->host, 1, e);
}

static void sieve_free(policy *p)
{
    sieve *v = (sieve *)p;
    lists_free(&v->l, p->host);
    policy_free_slots(p, v->visited, 1);
}

static vm_status sieve_reserve(policy *p, uint32_t n, vm_error *e)
{
    sieve *v = (sieve *)p;
    vm_status s = lists_reserve(&v->l, p->host, n, e);
    return s == VM_OK ? policy_grow(p, (void **)&v->visited, 1, n, e) : s;
}

static void sieve_touch(policy *p, uint32_t set, uint32_t slot, bool write)
{
    (void)set;
    (void)write;
    ((sieve *)p)->visited[slot] = 1;
}

static void sieve_remove(policy *p, uint32_t set, uint32_t slot)
{
    (void)set;
    sieve *v = (sieve *)p;
    if (!list_has(&v->l, slot))
        return;
    if (v->hand == slot)
        v->hand = list_next(&v->l, slot);
    list_drop(&v->l, 0, slot);
}

static void sieve_insert(policy *p, uint32_t set, uint32_t slot, uint64_t key)
{
    (void)key;
    sieve *v = (sieve *)p;
    sieve_remove(p, set, slot);
    list_push_last(&v->l, 0, slot);
    v->visited[slot] = p->param[SIEVE_ENTER] != 0;
}

static vm_status sieve_victim(policy *p, uint32_t set, uint64_t key, uint32_t *slot, vm_error *e)
{
    (void)set;
    (void)key;
    sieve *v = (sieve *)p;
    if (v->l.count[0] == 0)
        return policy_no_victim(p, e);
    uint32_t at = v->hand;
    for (;; at = list_next(&v->l, at)) {
        if (at == POLICY_NONE)
            at = list_first(&v->l, 0);
        if (!policy_is_used(p, &v->visited[at], 1, at, true))
            break;
    }
    /* When it goes, the hand goes on to the next. */
    v->hand = *slot = at;
    return VM_OK;
}

static const char *sieve_check(const policy *p)
{
    const sieve *v = (const sieve *)p;
    if (v->hand != POLICY_NONE && !list_has(&v->l, v->hand))
        return "sieve: the hand is on an empty slot";
    return lists_check(&v->l);
}

const policy_class policy_sieve = {
    .name = "sieve",
    .doc =
        "a queue whose hand spares visited pages where they stand; a hit sets a bit, a miss O(1) "
        "amortised, 9 bytes a slot (Zhang et al. 2024)",
    .serves = POLICY_FRAMES,
    .size = sizeof(sieve),
    .params = sieve_params,
    .init = sieve_init,
    .free = sieve_free,
    .reserve = sieve_reserve,
    .insert = sieve_insert,
    .touch = sieve_touch,
    .victim = sieve_victim,
    .remove = sieve_remove,
    .check = sieve_check,
};
