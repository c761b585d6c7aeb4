/* random.c: a full slot drawn uniformly by the seeded generator.
 *
 * The full slots are kept dense in an array, with each slot's place in it: two words a
 * slot, O(1) for every call. What comes into the victim's slot keeps its place; a slot
 * that is emptied gives it to the last one.
 * Source: Belady, "A study of replacement algorithms", 1966.
 *
 * Invariant: a slot is in its set's array exactly while it is full.
 */
#include "policy.h"

#define NOWHERE UINT32_MAX

typedef struct random_policy {
    policy base;
    vm_rng rng;
    uint32_t *full;  /* [set][i], i < count[set]: the full slots, in no order */
    uint32_t *place; /* [set][slot]: its index in full, or NOWHERE */
    uint32_t *count; /* per set */
} random_policy;

static vm_status random_init(policy *p, vm_error *e)
{
    random_policy *r = (random_policy *)p;
    rng_seed(&r->rng, p->cfg.seed);
    r->count = host_zalloc(p->host, p->cfg.sets * sizeof *r->count);
    return r->count ? VM_OK : vm_fail_nomem(e, "a random policy");
}

static void random_free(policy *p)
{
    random_policy *r = (random_policy *)p;
    size_t n = (size_t)p->cfg.sets * p->room * sizeof(uint32_t);
    host_free(p->host, r->count, p->cfg.sets * sizeof *r->count);
    host_free(p->host, r->full, n);
    host_free(p->host, r->place, n);
}

static vm_status random_reserve(policy *p, uint32_t n, vm_error *e)
{
    random_policy *r = (random_policy *)p;
    size_t old = (size_t)p->cfg.sets * p->room, size = (size_t)p->cfg.sets * n;
    uint32_t *full = host_alloc(p->host, size * sizeof *full);
    uint32_t *place = host_alloc(p->host, size * sizeof *place);
    if (!full || !place) {
        host_free(p->host, full, size * sizeof *full);
        host_free(p->host, place, size * sizeof *place);
        return vm_fail_nomem(e, "a random policy");
    }
    if (old) {
        memcpy(full, r->full, old * sizeof *full);
        memcpy(place, r->place, old * sizeof *place);
    }
    memset(place + old, 0xff, (size - old) * sizeof *place);
    host_free(p->host, r->full, old * sizeof *full);
    host_free(p->host, r->place, old * sizeof *place);
    r->full = full;
    r->place = place;
    p->room = n;
    return VM_OK;
}

static void random_insert(policy *p, uint32_t set, uint32_t slot, uint64_t key)
{
    (void)key;
    random_policy *r = (random_policy *)p;
    size_t base = (size_t)set * p->room;
    if (r->place[base + slot] == NOWHERE) {
        r->place[base + slot] = r->count[set];
        r->full[base + r->count[set]++] = slot;
    }
}

static void random_remove(policy *p, uint32_t set, uint32_t slot)
{
    random_policy *r = (random_policy *)p;
    size_t base = (size_t)set * p->room;
    uint32_t at = r->place[base + slot];
    if (at == NOWHERE)
        return;
    uint32_t last = r->full[base + --r->count[set]];
    r->full[base + at] = last;
    r->place[base + last] = at;
    r->place[base + slot] = NOWHERE;
}

static vm_status random_victim(policy *p, uint32_t set, uint64_t key, uint32_t *slot, vm_error *e)
{
    (void)key;
    random_policy *r = (random_policy *)p;
    if (r->count[set] == 0)
        return policy_no_victim(p, e);
    *slot = r->full[(size_t)set * p->room + rng_below(&r->rng, r->count[set])];
    return VM_OK;
}

static const char *random_check(const policy *p)
{
    const random_policy *r = (const random_policy *)p;
    for (uint32_t s = 0; s < p->cfg.sets; s++)
        for (uint32_t i = 0; i < r->count[s]; i++) {
            size_t base = (size_t)s * p->room;
            if (r->place[base + r->full[base + i]] != i)
                return "random: a full slot does not know its place";
        }
    return NULL;
}

const policy_class policy_random = {
    .name = "random",
    .doc = "a full slot drawn uniformly by the seeded generator; O(1), 8 bytes a slot",
    .serves = POLICY_FRAMES | POLICY_SETS,
    .touch_is_noop = true,
    .size = sizeof(random_policy),
    .init = random_init,
    .free = random_free,
    .reserve = random_reserve,
    .insert = random_insert,
    .touch = policy_touch_nothing,
    .victim = random_victim,
    .remove = random_remove,
    .check = random_check,
};
