/* run.h: one policy, one memory size, one reference string: which references
 * miss, and what has to go for them.
 *
 * Memory is one pool of frames for all processes (global replacement), or one
 * for each (local). A pool gives out its free frames in the order of their
 * numbers, then what its policy chooses; nothing is ever freed. The policy is told
 * of each reference, and keeps reference bits itself. Page keys are dense numbers.
 * A page is dirty from a write until it is evicted, which is a write-back then.
 *
 * Invariants: a page is in one slot at most, of the pool that it belongs to; the
 * slots below a pool's `used` are full, the others empty.
 */
#ifndef VM_STUDY_RUN_H
#define VM_STUDY_RUN_H

#include "../policy/policy.h"
#include "refs.h"

typedef struct study_run_options {
    policy_choice policy;
    uint64_t seed;
    const uint64_t *frames; /* of each pool; 1 or more each */
    size_t pools;           /* 1: global; else one for each process */
    bool dirty;             /* count write-backs */
    bool log;               /* keep what happened at each reference */
    bool plain;             /* drive the policy although there is a quicker way */
} study_run_options;

/* Of one process: of its references, and of its pages that were evicted. */
typedef struct study_counts {
    uint64_t misses, cold, evictions, writebacks;
} study_counts;

typedef struct study_pool {
    struct study_run *run;
    policy *policy;
    uint64_t frames;
    uint32_t *page_in; /* by slot */
    uint32_t room;     /* slots there is memory for: no more can ever be full */
    uint32_t used;     /* slots below are full */
} study_pool;

typedef struct study_run {
    vm_host host;
    const study_refs *refs;    /* the caller's, whole, unchanged while this lives */
    struct study_quick *quick; /* NULL: the pools' policies are driven */
    study_pool *pool;
    size_t pools;
    bool dirty;
    uint32_t *where;      /* by page: (slot + 1) << 1 | dirty; 0: not resident */
    study_counts *counts; /* by process */
    uint32_t *log;        /* by reference: slot << 1 | hit; NULL: not kept */
    policy_future future; /* .at: references served */
    uint32_t seen;        /* pages below were referenced before */
    bool failed;
} study_run;

/* The counts of the page's process. */
VM_INLINE study_counts *study_counts_of(const study_run *r, uint32_t page)
{
    return &r->counts[r->refs->processes > 1 ? r->refs->owner[page] : 0];
}

/* Count a reference to the page, which is not resident. */
VM_INLINE void study_missed(study_run *r, uint32_t page)
{
    study_counts *c = study_counts_of(r, page);
    c->misses++;
    if (page >= r->seen) {
        c->cold++;
        r->seen = page + 1;
    }
}

/* All memory is got here: what runs afterwards needs none. Policies that know the
 * future want study_refs_next before. `o->frames` is copied. */
vm_status study_run_new(const vm_host *host, const study_refs *refs, const study_run_options *o,
                        study_run **out, vm_error *e);
void study_run_free(study_run *r); /* NULL is fine */

/* Serve references up to position `until` (or the end). VM_POLICY: the policy
 * failed or answered nonsense; nothing more can be run then. */
vm_status study_run_to(study_run *r, size_t until, vm_error *e);

#endif
