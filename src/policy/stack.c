/* stack.c: policies that keep the pages of a set in lists by arrival or recency.
 *
 * FIFO: the page that entered first goes. One list a set, the oldest first.
 * Source: Belady, "A study of replacement algorithms", 1966.
 *
 * MRU: the page referenced last goes: the best there is for loops over more pages
 * than there is room for. One list a set, the most recent last.
 *
 * Second chance: the queue of FIFO; a page at its head that was referenced since it
 * was looked at last loses its bit and goes to the end. What CLOCK does with a hand,
 * except that pages lie in order of arrival and not of their slots: the two differ
 * once a slot was emptied and filled out of turn. Source: Tanenbaum and Bos, Modern
 * Operating Systems, 3.4.4.
 *
 * SLRU: a page enters the probationary segment; a hit brings it to the protected one,
 * whose least recent page goes back to the recent end of the probationary one when the
 * segment outgrows its share. The least recent probationary page is the victim.
 * Source: Karedla, Love and Wherry, "Caching strategies to improve disk system
 * performance", 1994.
 *
 * Invariant of all: a slot is in one list of its set exactly while it is full.
 */
#include "list.h"
#include "policy.h"

typedef struct stack {
    policy base;
    lists lists;    /* a set's are next to each other; node set * room + slot */
    uint8_t *state; /* [set][slot]: second chance: its reference bit; SLRU: its list; else 0 */
} stack;

enum { STACK_PROBATION, STACK_PROTECTED };
enum { CHANCE_ENTER };
enum { SLRU_PROTECTED };

static const policy_param chance_params[] = {
    [CHANCE_ENTER] = POLICY_ENTER_ROW,
    {0},
};

static const policy_param slru_params[] = {
    [SLRU_PROTECTED] = {"protected", POLICY_REAL, 0.8, 0, 1, NULL,
                        "share of the pages that the protected segment holds at most"},
    {0},
};

static vm_status stack_new(policy *p, uint32_t lists_a_set, vm_error *e)
{
    uint64_t heads = (uint64_t)p->cfg.sets * lists_a_set;
    if (heads >= LIST_NONE)
        return vm_fail(e, VM_INVALID, "policy %s: %u sets are too many", p->cls->name, p->cfg.sets);
    return lists_init(&((stack *)p)->lists, p->host, (uint32_t)heads, e);
}
static vm_status stack_init(policy *p, vm_error *e) { return stack_new(p, 1, e); }
static vm_status slru_init(policy *p, vm_error *e) { return stack_new(p, 2, e); }

static void stack_free(policy *p)
{
    stack *s = (stack *)p;
    lists_free(&s->lists, p->host);
    policy_free_slots(p, s->state, 1);
}

static vm_status stack_reserve(policy *p, uint32_t n, vm_error *e)
{
    stack *s = (stack *)p;
    vm_status st = lists_reserve(&s->lists, p->host, (uint64_t)p->cfg.sets * n, e);
    return st == VM_OK ? policy_grow(p, (void **)&s->state, 1, n, e) : st;
}

VM_INLINE uint32_t stack_node(const policy *p, uint32_t set, uint32_t slot)
{
    return (uint32_t)((size_t)set * p->room + slot);
}

static const char *stack_check(const policy *p) { return lists_check(&((const stack *)p)->lists); }

static void stack_remove(policy *p, uint32_t set, uint32_t slot)
{
    lists *x = &((stack *)p)->lists;
    uint32_t node = stack_node(p, set, slot);
    if (list_has(x, node))
        list_drop(x, set, node);
}

static void stack_insert(policy *p, uint32_t set, uint32_t slot, uint64_t key)
{
    (void)key;
    stack_remove(p, set, slot);
    list_push_last(&((stack *)p)->lists, set, stack_node(p, set, slot));
}

/* --- FIFO --------------------------------------------------------------------------- */

static vm_status fifo_victim(policy *p, uint32_t set, uint64_t key, uint32_t *slot, vm_error *e)
{
    (void)key;
    uint32_t node = list_first(&((stack *)p)->lists, set);
    if (node == LIST_NONE)
        return policy_no_victim(p, e);
    *slot = node - stack_node(p, set, 0);
    return VM_OK;
}

const policy_class policy_fifo = {
    .name = "fifo",
    .doc = "first in, first out; nothing a hit, O(1) a miss, 9 bytes a slot (Belady 1966)",
    .serves = POLICY_FRAMES | POLICY_SETS,
    .touch_is_noop = true,
    .size = sizeof(stack),
    .init = stack_init,
    .free = stack_free,
    .reserve = stack_reserve,
    .insert = stack_insert,
    .touch = policy_touch_nothing,
    .victim = fifo_victim,
    .remove = stack_remove,
    .check = stack_check,
};

/* --- MRU ---------------------------------------------------------------------------- */

static void mru_touch(policy *p, uint32_t set, uint32_t slot, bool write)
{
    (void)write;
    list_move_last(&((stack *)p)->lists, set, set, stack_node(p, set, slot));
}

static vm_status mru_victim(policy *p, uint32_t set, uint64_t key, uint32_t *slot, vm_error *e)
{
    (void)key;
    uint32_t node = list_last(&((stack *)p)->lists, set);
    if (node == LIST_NONE)
        return policy_no_victim(p, e);
    *slot = node - stack_node(p, set, 0);
    return VM_OK;
}

const policy_class policy_mru = {
    .name = "mru",
    .doc = "most recently used, for loops; O(1) a hit and a miss, 9 bytes a slot (Chou and DeWitt "
           "1985)",
    .serves = POLICY_FRAMES | POLICY_SETS,
    .exact = true,
    .size = sizeof(stack),
    .init = stack_init,
    .free = stack_free,
    .reserve = stack_reserve,
    .insert = stack_insert,
    .touch = mru_touch,
    .victim = mru_victim,
    .remove = stack_remove,
    .check = stack_check,
};

/* --- second chance -------------------------------------------------------------------- */

static void chance_touch(policy *p, uint32_t set, uint32_t slot, bool write)
{
    (void)write;
    ((stack *)p)->state[stack_node(p, set, slot)] = 1;
}

static void chance_insert(policy *p, uint32_t set, uint32_t slot, uint64_t key)
{
    stack_insert(p, set, slot, key);
    ((stack *)p)->state[stack_node(p, set, slot)] = p->param[CHANCE_ENTER] != 0;
}

static vm_status chance_victim(policy *p, uint32_t set, uint64_t key, uint32_t *slot, vm_error *e)
{
    (void)key;
    stack *s = (stack *)p;
    for (;;) {
        uint32_t node = list_first(&s->lists, set);
        if (node == LIST_NONE)
            return policy_no_victim(p, e);
        *slot = node - stack_node(p, set, 0);
        if (!policy_is_used(p, &s->state[node], 1, *slot, true))
            return VM_OK;
        list_move_last(&s->lists, set, set, node);
    }
}

const policy_class policy_second_chance = {
    .name = "second-chance",
    .doc = "FIFO that passes over pages referenced since it last did; a store a hit, O(1) "
           "amortised a miss, 9 bytes a slot (Tanenbaum and Bos 3.4.4)",
    .serves = POLICY_FRAMES | POLICY_SETS,
    .size = sizeof(stack),
    .params = chance_params,
    .init = stack_init,
    .free = stack_free,
    .reserve = stack_reserve,
    .insert = chance_insert,
    .touch = chance_touch,
    .victim = chance_victim,
    .remove = stack_remove,
    .check = stack_check,
};

/* --- SLRU ------------------------------------------------------------------------------- */

static uint32_t slru_list(uint32_t set, uint32_t segment) { return set * 2 + segment; }

static void slru_remove(policy *p, uint32_t set, uint32_t slot)
{
    stack *s = (stack *)p;
    uint32_t node = stack_node(p, set, slot);
    if (list_has(&s->lists, node))
        list_drop(&s->lists, slru_list(set, s->state[node]), node);
}

static void slru_insert(policy *p, uint32_t set, uint32_t slot, uint64_t key)
{
    (void)key;
    stack *s = (stack *)p;
    uint32_t node = stack_node(p, set, slot);
    slru_remove(p, set, slot);
    s->state[node] = STACK_PROBATION;
    list_push_last(&s->lists, slru_list(set, STACK_PROBATION), node);
}

static void slru_touch(policy *p, uint32_t set, uint32_t slot, bool write)
{
    (void)write;
    stack *s = (stack *)p;
    uint32_t probation = slru_list(set, STACK_PROBATION), keep = slru_list(set, STACK_PROTECTED);
    uint32_t node = stack_node(p, set, slot), was = s->state[node];
    list_move_last(&s->lists, slru_list(set, was), keep, node);
    s->state[node] = STACK_PROTECTED;
    if (was == STACK_PROTECTED)
        return;
    uint32_t n = policy_capacity(p, s->lists.count[probation] + s->lists.count[keep]);
    if (s->lists.count[keep] > policy_share(p->param[SLRU_PROTECTED], n, 0)) {
        uint32_t least = list_first(&s->lists, keep);
        list_move_last(&s->lists, keep, probation, least);
        s->state[least] = STACK_PROBATION;
    }
}

static vm_status slru_victim(policy *p, uint32_t set, uint64_t key, uint32_t *slot, vm_error *e)
{
    (void)key;
    const lists *x = &((stack *)p)->lists;
    uint32_t node = list_first(x, slru_list(set, STACK_PROBATION));
    if (node == LIST_NONE)
        node = list_first(x, slru_list(set, STACK_PROTECTED));
    if (node == LIST_NONE)
        return policy_no_victim(p, e);
    *slot = node - stack_node(p, set, 0);
    return VM_OK;
}

const policy_class policy_slru = {
    .name = "slru",
    .doc = "segmented LRU: what was hit once is protected; O(1) a hit and a miss, 9 bytes a slot "
           "(Karedla, Love and Wherry 1994)",
    .serves = POLICY_FRAMES | POLICY_SETS,
    .exact = true,
    .size = sizeof(stack),
    .params = slru_params,
    .init = slru_init,
    .free = stack_free,
    .reserve = stack_reserve,
    .insert = slru_insert,
    .touch = slru_touch,
    .victim = slru_victim,
    .remove = slru_remove,
    .check = stack_check,
};
