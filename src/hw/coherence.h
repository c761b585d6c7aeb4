/* coherence.h: the caches that processors have for themselves, kept coherent.
 *
 * Write-invalidate by snooping, states M, S and I (Goodman, ISCA 1983; Hennessy and
 * Patterson, 5.2): before a processor writes to a block that its caches do not hold
 * dirty, the block leaves those of all others; before it reads one that its caches
 * lack, whoever holds it dirty writes it back to the level that all share, and
 * keeps it clean. A block is a line of the outermost level that is not shared.
 *
 * Invariant: a block that one processor's caches hold dirty is in no other's.
 */
#ifndef VM_COHERENCE_H
#define VM_COHERENCE_H

#include "cache.h"

#define COHERENCE_CPUS   64
#define COHERENCE_LEVELS 6

#define COHERENCE_COUNTERS(X)                                                                      \
    X(invalidations, "invalidations", "blocks",                                                    \
      "blocks taken from a processor's caches, for another wrote to them")                         \
    X(interventions, "interventions", "blocks",                                                    \
      "dirty blocks that a processor's caches wrote back, for another asked for them")

typedef struct coherence_counters {
#define X(field, name, unit, doc) uint64_t field;
    COHERENCE_COUNTERS(X)
#undef X
    /* processors that had to give a block up or write it back, by what asked */
    uint64_t transfers[TRAFFIC_CLASSES];
} coherence_counters;

typedef struct coherence {
    unsigned cpus, levels;
    cache *own[COHERENCE_CPUS][COHERENCE_LEVELS]; /* of a processor, the outermost last */
    coherence_counters n;
} coherence;

/* Before an access goes to the first level `c` of a processor. */
void coherence_snoop(coherence *co, const cache *c, uint64_t line, bool write, traffic t);
/* NULL, or what is broken. */
const char *coherence_check(const coherence *co);

/* A demand access from where a processor's accesses enter the caches. */
VM_INLINE void cache_enter(cache *c, uint64_t line, bool write, traffic t)
{
    if (VM_UNLIKELY(c->coherent != NULL))
        coherence_snoop(c->coherent, c, line, write, t);
    cache_access(c, line, write, t);
}

#endif
