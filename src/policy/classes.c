/* classes.c: policies that part pages into four classes by their reference and
 * dirty bits, class 0 (neither) to 3 (both): 2 for the reference bit, 1 for the dirty.
 *
 * Enhanced second chance: a hand goes round the slots in the order of their numbers.
 * First it looks for class 0 and changes nothing; if a whole round finds none, it
 * looks for class 1 and clears the reference bits that it passes; then once more from
 * the start, where now all have lost theirs. The hand stays behind the victim.
 * Source: Silberschatz and others, Operating System Concepts, 10.4.5.3; the rounds as
 * in Stallings, Operating Systems, 8.2.
 *
 * NRU: a page of the lowest class that is not empty: the first from a hand on, or at
 * random, as the book has it, which takes two looks at every page. Each tick (tick.h)
 * clears all reference bits, after the victim of its fault is chosen. Source: Tanenbaum
 * and Bos, Modern Operating Systems, 3.4.2.
 *
 * Reference bits are the owner's or kept here, dirty bits are the owner's alone;
 * without any all pages are clean. Both look at each page where the bits are such:
 * up to three rounds a victim.
 */
#include "tick.h"

typedef struct four_classes {
    policy base;
    uint8_t *state; /* by slot: CLASS_FULL | CLASS_USED */
    uint32_t hand, full;
    ticker tick;
    vm_rng rng;
} four_classes;

enum { CLASS_FULL = 1, CLASS_USED = 2 };
enum { ENHANCED_ENTER };
enum { NRU_TIE = TICK_PARAMS, NRU_ENTER };
enum { NRU_HAND, NRU_RANDOM };

static const char *const nru_ties[] = {"hand", "random", NULL};

static const policy_param enhanced_params[] = {[ENHANCED_ENTER] = POLICY_ENTER_ROW, {0}};
static const policy_param nru_params[] = {
    TICK_ROWS,
    [NRU_TIE] = {"tie", POLICY_NAME, NRU_HAND, 0, 1, nru_ties,
                 "which page of the lowest class: the first behind the last victim in the order "
                 "of slots, or one drawn at random"},
    [NRU_ENTER] = POLICY_ENTER_ROW,
    {0},
};

static vm_status classes_init(policy *p, vm_error *e)
{
    (void)e;
    rng_seed(&((four_classes *)p)->rng, p->cfg.seed);
    return VM_OK;
}

static void classes_free(policy *p) { policy_free_slots(p, ((four_classes *)p)->state, 1); }

static vm_status classes_reserve(policy *p, uint32_t n, vm_error *e)
{
    return policy_grow(p, (void **)&((four_classes *)p)->state, 1, n, e);
}

static void classes_enter(policy *p, uint32_t slot, double enter)
{
    four_classes *c = (four_classes *)p;
    c->full += !(c->state[slot] & CLASS_FULL);
    c->state[slot] = (uint8_t)(CLASS_FULL | (enter != 0 ? CLASS_USED : 0));
}

static void classes_remove(policy *p, uint32_t set, uint32_t slot)
{
    (void)set;
    four_classes *c = (four_classes *)p;
    c->full -= c->state[slot] & CLASS_FULL;
    c->state[slot] = 0;
}

static const char *classes_check(const policy *p)
{
    const four_classes *c = (const four_classes *)p;
    uint32_t n = 0;
    for (uint32_t i = 0; i < p->room; i++)
        n += c->state[i] & CLASS_FULL;
    return n == c->full ? NULL : "classes: the count of full slots is wrong";
}

static unsigned classes_of(const policy *p, uint32_t slot, bool clear)
{
    bool used = policy_is_used(p, &((const four_classes *)p)->state[slot], CLASS_USED, slot, clear);
    return (used ? 2u : 0u) + policy_is_dirty(p, slot);
}

/* The first slot of `class`, from the hand on for a whole round, which then is behind
 * it; reference bits of those passed are cleared if `clear`. */
static bool classes_find(policy *p, unsigned class, bool clear, uint32_t *slot)
{
    four_classes *c = (four_classes *)p;
    for (uint32_t i = 0; i < p->room; i++) {
        uint32_t at = c->hand < p->room ? c->hand : 0;
        c->hand = at + 1;
        if ((c->state[at] & CLASS_FULL) && classes_of(p, at, clear) == class) {
            *slot = at;
            return true;
        }
    }
    return false;
}

/* --- enhanced second chance ------------------------------------------------------------- */

static void enhanced_insert(policy *p, uint32_t set, uint32_t slot, uint64_t key)
{
    (void)set;
    (void)key;
    classes_enter(p, slot, p->param[ENHANCED_ENTER]);
}

static void enhanced_touch(policy *p, uint32_t set, uint32_t slot, bool write)
{
    (void)set;
    (void)write;
    ((four_classes *)p)->state[slot] |= CLASS_USED;
}

static vm_status enhanced_victim(policy *p, uint32_t set, uint64_t key, uint32_t *slot, vm_error *e)
{
    (void)set;
    (void)key;
    if (((four_classes *)p)->full == 0)
        return policy_no_victim(p, e);
    for (unsigned round = 0;; round++)
        if (classes_find(p, round & 1, round & 1, slot))
            return VM_OK;
}

const policy_class policy_enhanced = {
    .name = "enhanced-second-chance",
    .doc = "CLOCK over four classes of reference and dirty bits; a store a hit, up to four rounds "
           "of the slots a miss, 1 byte a slot (Silberschatz and others 10.4.5.3)",
    .serves = POLICY_FRAMES,
    .size = sizeof(four_classes),
    .params = enhanced_params,
    .init = classes_init,
    .free = classes_free,
    .reserve = classes_reserve,
    .insert = enhanced_insert,
    .touch = enhanced_touch,
    .victim = enhanced_victim,
    .remove = classes_remove,
    .check = classes_check,
};

/* --- NRU ----------------------------------------------------------------------------------- */

static void nru_tick(policy *p)
{
    four_classes *c = (four_classes *)p;
    for (uint32_t i = 0; i < p->room; i++)
        if (c->state[i] & CLASS_FULL)
            policy_is_used(p, &c->state[i], CLASS_USED, i, true);
}

static void nru_insert(policy *p, uint32_t set, uint32_t slot, uint64_t key)
{
    (void)set;
    (void)key;
    four_classes *c = (four_classes *)p;
    if (ticker_due(p, &c->tick, c->full))
        nru_tick(p);
    ticker_enter(&c->tick);
    classes_enter(p, slot, p->param[NRU_ENTER]);
}

static void nru_touch(policy *p, uint32_t set, uint32_t slot, bool write)
{
    (void)set;
    (void)write;
    four_classes *c = (four_classes *)p;
    if (ticker_due_at_hit(p, &c->tick, c->full))
        nru_tick(p);
    c->state[slot] |= CLASS_USED;
}

static vm_status nru_victim(policy *p, uint32_t set, uint64_t key, uint32_t *slot, vm_error *e)
{
    (void)set;
    (void)key;
    four_classes *c = (four_classes *)p;
    if (c->full == 0)
        return policy_no_victim(p, e);
    if (p->param[NRU_TIE] == NRU_HAND) {
        unsigned class = 0;
        while (!classes_find(p, class, false, slot))
            class ++;
        return VM_OK;
    }
    uint32_t of[4] = {0};
    for (uint32_t i = 0; i < p->room; i++)
        if (c->state[i] & CLASS_FULL)
            of[classes_of(p, i, false)]++;
    unsigned lowest = 0;
    while (!of[lowest])
        lowest++;
    uint64_t nth = rng_below(&c->rng, of[lowest]);
    for (uint32_t i = 0;; i++)
        if ((c->state[i] & CLASS_FULL) && classes_of(p, i, false) == lowest && nth-- == 0) {
            *slot = i;
            return VM_OK;
        }
}

const policy_class policy_nru = {
    .name = "nru",
    .doc = "not recently used: of the lowest of four classes, with reference bits cleared by "
           "ticks; a store a hit, up to four rounds of the slots a miss, 1 byte a slot (Tanenbaum "
           "and Bos "
           "3.4.2)",
    .serves = POLICY_FRAMES,
    .timed = true,
    .size = sizeof(four_classes),
    .params = nru_params,
    .init = classes_init,
    .free = classes_free,
    .reserve = classes_reserve,
    .insert = nru_insert,
    .touch = nru_touch,
    .victim = nru_victim,
    .remove = classes_remove,
    .check = classes_check,
};
