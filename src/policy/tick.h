/* tick.h: the time of policies that work at intervals: NRU, aging, NFU.
 *
 * A real kernel has a timer. Here a tick comes each `every` faults (pages that
 * enter) or references, as `unit` says. References are the owner's count where it
 * has one, else what the policy was told of. A tick comes before the reference that
 * finds `every` behind the last tick; where A bits of PTEs serve, the policy is not
 * called at hits, and what is due comes at the next fault, once.
 * Counted in faults, ticks come at the same places with and without the owner's bits.
 */
#ifndef VM_TICK_H
#define VM_TICK_H

#include "policy.h"

/* The first two parameters of such a policy. */
enum { TICK_EVERY, TICK_UNIT, TICK_PARAMS };
enum { TICK_FAULTS, TICK_REFERENCES };

extern const char *const tick_units[];

#define TICK_ROWS                                                                                  \
    [TICK_EVERY] = {"every",                                                                       \
                    POLICY_INTEGER,                                                                \
                    0,                                                                             \
                    0,                                                                             \
                    1e15,                                                                          \
                    NULL,                                                                          \
                    "faults or references between two ticks; 0: an eighth of the number of "       \
                    "pages, at least 1"},                                                          \
    [TICK_UNIT] = {"unit",                                                                         \
                   POLICY_NAME,                                                                    \
                   0,                                                                              \
                   0,                                                                              \
                   1,                                                                              \
                   tick_units,                                                                     \
                   "whether ticks are counted in faults or references"}

typedef struct ticker {
    uint64_t faults, told; /* pages that entered; references that the policy was told of */
    uint64_t last;         /* time of the last tick */
} ticker;

VM_INLINE uint64_t ticker_now(const policy *p, const ticker *t)
{
    if (p->param[TICK_UNIT] == TICK_FAULTS)
        return t->faults;
    return p->cfg.now ? p->cfg.now(p->cfg.now_ud) : t->told;
}

/* Is it time for a tick, of a set with `full` full slots? Then it is counted. */
VM_INLINE bool ticker_due(const policy *p, ticker *t, uint32_t full)
{
    uint64_t now = ticker_now(p, t), every = (uint64_t)p->param[TICK_EVERY];
    if (!every)
        every = policy_share(0.125, policy_capacity(p, full), 1);
    if (now - t->last < every)
        return false;
    t->last = now;
    return true;
}

/* The same before a hit, which then is counted. */
VM_INLINE bool ticker_due_at_hit(const policy *p, ticker *t, uint32_t full)
{
    bool due = p->param[TICK_UNIT] == TICK_REFERENCES && ticker_due(p, t, full);
    t->told++;
    return due;
}

/* A page enters: what is due was done. */
VM_INLINE void ticker_enter(ticker *t)
{
    t->faults++;
    t->told++;
}

#endif
