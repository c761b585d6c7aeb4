/* aging.c: LRU by reference bits alone: at each tick (tick.h) every page's counter
 * is moved right by one bit, and its reference bit, which is cleared, comes in at the
 * left. The page with the lowest counter goes; of several the one that entered first.
 * A tick that is due comes before a victim is chosen.
 * Source: Tanenbaum and Bos, Modern Operating Systems, 3.4.7. There a page enters with
 * a counter of 0, and so is the first to go before it has lived through a tick;
 * `enter` = "top" lets it enter with the highest bit set.
 *
 * Counters change at ticks only, so that slots are kept in a list for each value of
 * the counter, in order of arrival, and another list of all has that order. A tick
 * costs a pass over it, a victim O(1), amortised, beside a pass over the values.
 */
#include "list.h"
#include "tick.h"

typedef struct aging_slot {
    uint16_t counter;
    uint8_t used;
} aging_slot;

typedef struct aging {
    policy base;
    aging_slot *slots;
    lists arrival, value; /* one list; one for each value of a counter */
    uint32_t lowest;      /* no list of a lower value has slots */
    ticker tick;
} aging;

enum { AGING_BITS = TICK_PARAMS, AGING_ENTER };

static const char *const aging_enters[] = {"zero", "top", NULL};
static const policy_param aging_params[] = {
    TICK_ROWS,
    [AGING_BITS] = {"bits", POLICY_INTEGER, 8, 1, 16, NULL, "of a counter"},
    [AGING_ENTER] = {"enter", POLICY_NAME, 0, 0, 1, aging_enters,
                     "the counter of a page that enters: 0, or with its highest bit set"},
    {0},
};

static vm_status aging_init(policy *p, vm_error *e)
{
    aging *a = (aging *)p;
    vm_status s = lists_init(&a->arrival, p->host, 1, e);
    return s == VM_OK ? lists_init(&a->value, p->host, 1u << (int)p->param[AGING_BITS], e) : s;
}

static void aging_free(policy *p)
{
    aging *a = (aging *)p;
    lists_free(&a->arrival, p->host);
    lists_free(&a->value, p->host);
    policy_free_slots(p, a->slots, sizeof *a->slots);
}

static vm_status aging_reserve(policy *p, uint32_t n, vm_error *e)
{
    aging *a = (aging *)p;
    vm_status s = lists_reserve(&a->arrival, p->host, n, e);
    if (s == VM_OK)
        s = lists_reserve(&a->value, p->host, n, e);
    return s == VM_OK ? policy_grow(p, (void **)&a->slots, sizeof *a->slots, n, e) : s;
}

static void aging_tick(policy *p)
{
    aging *a = (aging *)p;
    unsigned top = (unsigned)p->param[AGING_BITS] - 1;
    for (uint32_t at = list_first(&a->arrival, 0); at != LIST_NONE;
         at = list_next(&a->arrival, at)) {
        aging_slot *s = &a->slots[at];
        list_drop(&a->value, s->counter, at);
        unsigned used = policy_is_used(p, &s->used, 1, at, true);
        s->counter = (uint16_t)(s->counter >> 1 | used << top);
        list_push_last(&a->value, s->counter, at);
    }
    a->lowest = 0;
}

static void aging_look(policy *p)
{
    aging *a = (aging *)p;
    if (ticker_due(p, &a->tick, a->arrival.count[0]))
        aging_tick(p);
}

static void aging_remove(policy *p, uint32_t set, uint32_t slot)
{
    (void)set;
    aging *a = (aging *)p;
    if (!list_has(&a->arrival, slot))
        return;
    list_drop(&a->arrival, 0, slot);
    list_drop(&a->value, a->slots[slot].counter, slot);
}

static void aging_insert(policy *p, uint32_t set, uint32_t slot, uint64_t key)
{
    (void)key;
    aging *a = (aging *)p;
    aging_look(p);
    ticker_enter(&a->tick);
    aging_remove(p, set, slot);
    unsigned top = p->param[AGING_ENTER] != 0 ? 1u << ((unsigned)p->param[AGING_BITS] - 1) : 0;
    a->slots[slot] = (aging_slot){.counter = (uint16_t)top, .used = 1};
    list_push_last(&a->arrival, 0, slot);
    list_push_last(&a->value, top, slot);
    a->lowest = top < a->lowest ? top : a->lowest;
}

static void aging_touch(policy *p, uint32_t set, uint32_t slot, bool write)
{
    (void)set;
    (void)write;
    aging *a = (aging *)p;
    if (ticker_due_at_hit(p, &a->tick, a->arrival.count[0]))
        aging_tick(p);
    a->slots[slot].used = 1;
}

static vm_status aging_victim(policy *p, uint32_t set, uint64_t key, uint32_t *slot, vm_error *e)
{
    (void)set;
    (void)key;
    aging *a = (aging *)p;
    if (a->arrival.count[0] == 0)
        return policy_no_victim(p, e);
    aging_look(p);
    while (a->value.count[a->lowest] == 0)
        a->lowest++;
    *slot = list_first(&a->value, a->lowest);
    return VM_OK;
}

static const char *aging_check(const policy *p)
{
    const aging *a = (const aging *)p;
    const char *broken = lists_check(&a->arrival);
    if (!broken)
        broken = lists_check(&a->value);
    for (uint32_t v = 0; !broken && v < a->value.heads; v++) {
        if (v < a->lowest && a->value.count[v])
            broken = "aging: there is a counter below the lowest";
        for (uint32_t at = list_first(&a->value, v); at != LIST_NONE; at = list_next(&a->value, at))
            if (a->slots[at].counter != v || !list_has(&a->arrival, at))
                broken = "aging: a slot is in another counter's list";
    }
    return broken;
}

const policy_class policy_aging = {
    .name = "aging",
    .doc = "counters that ticks shift reference bits into, the lowest goes; a store a hit, O(1) "
           "amortised a miss and a pass over all slots a tick, 20 bytes a slot (Tanenbaum and "
           "Bos 3.4.7)",
    .serves = POLICY_FRAMES,
    .timed = true,
    .size = sizeof(aging),
    .params = aging_params,
    .init = aging_init,
    .free = aging_free,
    .reserve = aging_reserve,
    .insert = aging_insert,
    .touch = aging_touch,
    .victim = aging_victim,
    .remove = aging_remove,
    .check = aging_check,
};
