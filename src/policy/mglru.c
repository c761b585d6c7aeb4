/* mglru.c: Linux's multi-generational LRU.
 *
 * Pages are in two to four generations, and enter the youngest. The oldest is looked
 * through from its end: a page whose reference bit is set moves to the youngest, one
 * whose bit is not goes. Aging moves all pages whose bits are set to the youngest
 * generation and then begins a new one. It comes where two generations are left, and
 * where there are three but over half the pages are young or less than a quarter old.
 * Source: Documentation/mm/multigen_lru.rst and mm/vmscan.c (should_run_aging,
 * inc_max_seq, evict_folios) of Linux 6.1.
 * Departures: no tiers, which tell apart pages used through file descriptors; aging walks
 * slots, not page tables, and moves pages at once, in the order of their slots; an eviction
 * does not look at the neighbours of a referenced page in its page table.
 * With A bits: they are the reference bits, and a page enters referenced, as in Linux;
 * hence the default of `enter`.
 *
 * Invariant: generation s is list s % 4, for those from `oldest` to `youngest`; the other
 * lists are empty.
 */
#include "list.h"
#include "policy.h"

enum { MGLRU_LEAST = 2, MGLRU_MOST = 4 };
enum { MGLRU_ENTER };

static const policy_param mglru_params[] = {
    [MGLRU_ENTER] = {"enter", POLICY_INTEGER, 1, 0, 1, NULL,
                     "1: a page enters with its reference bit set; 0: not (only without A bits)"},
    {0},
};

/* Of a slot's state, beside its list. */
enum { MGLRU_LIST = 3, MGLRU_BIT = 4 };

typedef struct mglru {
    policy base;
    lists l;
    uint8_t *state; /* by slot: its list, while it is full, and MGLRU_BIT */
    uint64_t oldest, youngest;
} mglru;

static vm_status mglru_init(policy *p, vm_error *e)
{
    mglru *m = (mglru *)p;
    m->youngest = MGLRU_LEAST + 1;
    return lists_init(&m->l, p->host, MGLRU_MOST, e);
}

static void mglru_free(policy *p)
{
    mglru *m = (mglru *)p;
    lists_free(&m->l, p->host);
    policy_free_slots(p, m->state, 1);
}

static vm_status mglru_reserve(policy *p, uint32_t n, vm_error *e)
{
    mglru *m = (mglru *)p;
    vm_status s = lists_reserve(&m->l, p->host, n, e);
    return s == VM_OK ? policy_grow(p, (void **)&m->state, 1, n, e) : s;
}

static uint32_t mglru_count(const mglru *m, uint64_t generation)
{
    return m->l.count[generation % MGLRU_MOST];
}

static uint64_t mglru_pages(const mglru *m)
{
    uint64_t all = 0;
    for (uint64_t s = m->oldest; s <= m->youngest; s++)
        all += mglru_count(m, s);
    return all;
}

static void mglru_to_youngest(mglru *m, uint32_t slot)
{
    uint32_t list = (uint32_t)(m->youngest % MGLRU_MOST);
    list_move_last(&m->l, m->state[slot] & MGLRU_LIST, list, slot);
    m->state[slot] = (uint8_t)((m->state[slot] & MGLRU_BIT) | list);
}

static void mglru_touch(policy *p, uint32_t set, uint32_t slot, bool write)
{
    (void)set;
    (void)write;
    ((mglru *)p)->state[slot] |= MGLRU_BIT;
}

static void mglru_remove(policy *p, uint32_t set, uint32_t slot)
{
    (void)set;
    mglru *m = (mglru *)p;
    if (list_has(&m->l, slot))
        list_drop(&m->l, m->state[slot] & MGLRU_LIST, slot);
}

static void mglru_insert(policy *p, uint32_t set, uint32_t slot, uint64_t key)
{
    (void)key;
    mglru *m = (mglru *)p;
    mglru_remove(p, set, slot);
    uint32_t list = (uint32_t)(m->youngest % MGLRU_MOST);
    list_push_last(&m->l, list, slot);
    m->state[slot] = (uint8_t)(list | (p->param[MGLRU_ENTER] != 0 ? MGLRU_BIT : 0));
}

static bool mglru_referenced(mglru *m, uint32_t slot)
{
    return policy_is_used(&m->base, &m->state[slot], MGLRU_BIT, slot, true);
}

static bool mglru_wants_aging(const mglru *m)
{
    if (m->oldest + MGLRU_LEAST != m->youngest)
        return m->oldest + MGLRU_LEAST > m->youngest;
    uint64_t young = mglru_count(m, m->youngest), old = mglru_count(m, m->oldest);
    uint64_t all = mglru_pages(m);
    return young * MGLRU_LEAST > all || old * (MGLRU_LEAST + 2) < all;
}

static void mglru_age(mglru *m)
{
    for (uint32_t slot = 0; slot < m->base.room; slot++)
        if (list_has(&m->l, slot) && mglru_referenced(m, slot))
            mglru_to_youngest(m, slot);
    m->youngest++;
}

/* Generations that are empty are over, but two remain. */
static void mglru_retire(mglru *m)
{
    while (m->oldest + MGLRU_LEAST <= m->youngest && mglru_count(m, m->oldest) == 0)
        m->oldest++;
}

static vm_status mglru_victim(policy *p, uint32_t set, uint64_t key, uint32_t *slot, vm_error *e)
{
    (void)set;
    (void)key;
    mglru *m = (mglru *)p;
    if (mglru_pages(m) == 0)
        return policy_no_victim(p, e);
    /* Each round clears bits or begins a generation, so that some page is at last old. */
    for (;;) {
        mglru_retire(m);
        if (mglru_wants_aging(m)) {
            mglru_age(m);
            mglru_retire(m);
        }
        while (mglru_count(m, m->oldest)) {
            *slot = list_first(&m->l, (uint32_t)(m->oldest % MGLRU_MOST));
            if (!mglru_referenced(m, *slot))
                return VM_OK;
            mglru_to_youngest(m, *slot);
        }
    }
}

static const char *mglru_check(const policy *p)
{
    const mglru *m = (const mglru *)p;
    for (uint64_t s = m->youngest + 1; s < m->oldest + MGLRU_MOST; s++)
        if (mglru_count(m, s))
            return "mglru: a generation that is over or to come has pages";
    return lists_check(&m->l);
}

const policy_class policy_mglru = {
    .name = "mglru",
    .doc = "Linux's multi-generational LRU; a hit sets a bit, a miss O(1) amortised but for aging, "
           "which looks at all slots, 9 bytes a slot (Linux 6.1)",
    .serves = POLICY_FRAMES,
    .size = sizeof(mglru),
    .params = mglru_params,
    .init = mglru_init,
    .free = mglru_free,
    .reserve = mglru_reserve,
    .insert = mglru_insert,
    .touch = mglru_touch,
    .victim = mglru_victim,
    .remove = mglru_remove,
    .check = mglru_check,
};
