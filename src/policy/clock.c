/* clock.c: policies that approximate recency with a bit or a few.
 *
 * CLOCK: the hand passes the slots in the order of their numbers; a referenced
 * slot loses its bit, the first unreferenced one is the victim, and the hand
 * stays behind it. A page enters with its bit set, since the access that
 * faulted is tried again and sets it; `enter` = 0 is the other convention, for
 * bits that are kept here. Reference bits are the owner's, where it
 * keeps them (A bits of PTEs), else a byte a slot here.
 * Source: Corbato, "A paging experiment with the Multics system", 1968.
 *
 * Tree-PLRU: a binary tree over the ways; each node's bit points to the half
 * that was not referenced last; the victim is where the bits lead. The number of
 * ways is a power of two, 64 at the most, so a set's tree is one word.
 * Source: So and Rechtschaffen, "Cache operations by MRU change", 1988.
 */
#include "policy.h"

typedef struct clock_policy {
    policy base;
    uint8_t *state; /* [set][slot]: CLOCK_FULL | CLOCK_REFERENCED */
    uint32_t *hand; /* per set */
    uint32_t *full; /* per set, how many */
} clock_policy;

enum { CLOCK_FULL = 1, CLOCK_REFERENCED = 2 };
enum { CLOCK_ENTER };

static const policy_param clock_params[] = {
    [CLOCK_ENTER] = POLICY_ENTER_ROW,
    {0},
};

static vm_status clock_init(policy *p, vm_error *e)
{
    clock_policy *c = (clock_policy *)p;
    c->hand = host_zalloc(p->host, p->cfg.sets * sizeof *c->hand);
    c->full = host_zalloc(p->host, p->cfg.sets * sizeof *c->full);
    return c->hand && c->full ? VM_OK : vm_fail_nomem(e, "a CLOCK policy");
}

static void clock_free(policy *p)
{
    clock_policy *c = (clock_policy *)p;
    host_free(p->host, c->hand, p->cfg.sets * sizeof *c->hand);
    host_free(p->host, c->full, p->cfg.sets * sizeof *c->full);
    host_free(p->host, c->state, (size_t)p->cfg.sets * p->room);
}

static vm_status clock_reserve(policy *p, uint32_t n, vm_error *e)
{
    clock_policy *c = (clock_policy *)p;
    size_t old = (size_t)p->cfg.sets * p->room, size = (size_t)p->cfg.sets * n;
    uint8_t *state = host_realloc(p->host, c->state, old, size);
    if (!state)
        return vm_fail_nomem(e, "a CLOCK policy");
    memset(state + old, 0, size - old);
    c->state = state;
    p->room = n;
    return VM_OK;
}

static void clock_insert(policy *p, uint32_t set, uint32_t slot, uint64_t key)
{
    (void)key;
    clock_policy *c = (clock_policy *)p;
    uint8_t *s = &c->state[(size_t)set * p->room + slot];
    c->full[set] += !(*s & CLOCK_FULL);
    *s = (uint8_t)(CLOCK_FULL | (p->param[CLOCK_ENTER] != 0 ? CLOCK_REFERENCED : 0));
}

static void clock_touch(policy *p, uint32_t set, uint32_t slot, bool write)
{
    (void)write;
    ((clock_policy *)p)->state[(size_t)set * p->room + slot] |= CLOCK_REFERENCED;
}

static void clock_remove(policy *p, uint32_t set, uint32_t slot)
{
    clock_policy *c = (clock_policy *)p;
    uint8_t *s = &c->state[(size_t)set * p->room + slot];
    c->full[set] -= *s & CLOCK_FULL;
    *s = 0;
}

static vm_status clock_victim(policy *p, uint32_t set, uint64_t key, uint32_t *slot, vm_error *e)
{
    (void)key;
    clock_policy *c = (clock_policy *)p;
    uint8_t *s = c->state + (size_t)set * p->room;
    if (c->full[set] == 0)
        return policy_no_victim(p, e);
    for (;;) {
        /* It goes round all slots that there can be; those without room are empty. */
        uint32_t at = c->hand[set] < p->room ? c->hand[set] : 0;
        c->hand[set] = at + 1 >= p->cfg.slots ? 0 : at + 1;
        if (!(s[at] & CLOCK_FULL))
            continue;
        bool used = s[at] & CLOCK_REFERENCED;
        s[at] &= (uint8_t)~CLOCK_REFERENCED;
        if (p->cfg.bits.referenced)
            used = p->cfg.bits.referenced(p->cfg.bits.ud, at, true);
        if (!used) {
            *slot = at;
            return VM_OK;
        }
    }
}

static const char *clock_check(const policy *p)
{
    const clock_policy *c = (const clock_policy *)p;
    for (uint32_t s = 0; s < p->cfg.sets; s++) {
        uint32_t n = 0;
        for (uint32_t i = 0; i < p->room; i++)
            n += c->state[(size_t)s * p->room + i] & CLOCK_FULL;
        if (n != c->full[s])
            return "clock: the count of full slots is wrong";
    }
    return NULL;
}

const policy_class policy_clock = {
    .name = "clock",
    .doc = "one reference bit and a hand; O(1) amortised, 1 byte a slot (Corbato 1968)",
    .serves = POLICY_FRAMES | POLICY_SETS,
    .size = sizeof(clock_policy),
    .params = clock_params,
    .init = clock_init,
    .free = clock_free,
    .reserve = clock_reserve,
    .insert = clock_insert,
    .touch = clock_touch,
    .victim = clock_victim,
    .remove = clock_remove,
    .check = clock_check,
};

/* --- tree-PLRU ----------------------------------------------------------------- */

typedef struct plru {
    policy base;
    uint64_t *tree; /* per set; bit i is node i, the root is 1, node i's kids 2i and 2i+1 */
    unsigned depth;
} plru;

static vm_status plru_init(policy *p, vm_error *e)
{
    plru *t = (plru *)p;
    if (!is_pow2(p->cfg.slots) || p->cfg.slots > 64)
        return vm_fail(e, VM_INVALID,
                       "policy tree-plru wants a power of two of ways, 64 at the most, not %u",
                       p->cfg.slots);
    t->depth = log2_floor(p->cfg.slots);
    t->tree = host_zalloc(p->host, p->cfg.sets * sizeof *t->tree);
    p->room = p->cfg.slots;
    return t->tree ? VM_OK : vm_fail_nomem(e, "a tree-PLRU policy");
}

static void plru_free(policy *p)
{
    host_free(p->host, ((plru *)p)->tree, p->cfg.sets * sizeof(uint64_t));
}

static vm_status plru_reserve(policy *p, uint32_t n, vm_error *e)
{
    (void)p;
    (void)n;
    (void)e;
    return VM_OK;
}

static void plru_touch(policy *p, uint32_t set, uint32_t slot, bool write)
{
    (void)write;
    plru *t = (plru *)p;
    uint64_t w = t->tree[set];
    uint32_t node = 1;
    for (unsigned d = t->depth; d-- > 0;) {
        uint32_t right = slot >> d & 1;
        w = right ? w & ~(UINT64_C(1) << node) : w | UINT64_C(1) << node;
        node = 2 * node + right;
    }
    t->tree[set] = w;
}

static void plru_insert(policy *p, uint32_t set, uint32_t slot, uint64_t key)
{
    (void)key;
    plru_touch(p, set, slot, false);
}

static void plru_remove(policy *p, uint32_t set, uint32_t slot)
{
    (void)p;
    (void)set;
    (void)slot;
}

static vm_status plru_victim(policy *p, uint32_t set, uint64_t key, uint32_t *slot, vm_error *e)
{
    (void)key;
    (void)e;
    plru *t = (plru *)p;
    uint32_t node = 1;
    for (unsigned d = 0; d < t->depth; d++)
        node = 2 * node + (uint32_t)(t->tree[set] >> node & 1);
    *slot = node - p->cfg.slots;
    return VM_OK;
}

static const char *plru_check(const policy *p)
{
    (void)p;
    return NULL;
}

const policy_class policy_tree_plru = {
    .name = "tree-plru",
    .doc = "a tree of bits that point away from the last reference; O(log ways), 1 bit a way "
           "(So and Rechtschaffen 1988)",
    .serves = POLICY_SETS,
    .size = sizeof(plru),
    .init = plru_init,
    .free = plru_free,
    .reserve = plru_reserve,
    .insert = plru_insert,
    .touch = plru_touch,
    .victim = plru_victim,
    .remove = plru_remove,
    .check = plru_check,
};
