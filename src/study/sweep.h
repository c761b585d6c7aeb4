/* sweep.h: many runs over one reference string, each a policy and a number of
 * frames, on several threads.
 *
 * The caller's thread makes a run, a worker serves it, the caller's thread ends
 * it and makes the next: host memory is got and given back on one thread only, and
 * as many runs exist at once as there are workers. Runs whose policy must stay on
 * the caller's thread (`here`: it calls Lua) are served there, meanwhile.
 * No result depends on the number of threads: runs share nothing but the string.
 *
 * Invariant: the fields of a worker that both sides use are read and written under
 * the lock; a worker's run is its own from BUSY to DONE.
 */
#ifndef VM_STUDY_SWEEP_H
#define VM_STUDY_SWEEP_H

#include "run.h"

typedef struct study_job {
    policy_choice policy;
    uint64_t frames;
    bool here; /* the policy stays on the caller's thread */
    bool done;
    study_counts counts; /* of all processes together, once done */
} study_job;

typedef struct study_sweep study_sweep;

/* `jobs` is the caller's, and lives as long as the sweep. `threads`: 0 serves all on
 * the caller's thread. Should the host refuse threads, fewer are used. */
vm_status study_sweep_new(const vm_host *host, study_refs *refs, study_job *jobs, size_t count,
                          unsigned threads, uint64_t seed, bool dirty, study_sweep **out,
                          vm_error *e);
void study_sweep_free(study_sweep *s); /* ends the threads first; NULL is fine */

/* Go on for about so many milliseconds. `*served`: references so far, over all
 * runs; `*ended`: all are done. After a failure the sweep can only be freed. */
vm_status study_sweep_step(study_sweep *s, unsigned ms, uint64_t *served, bool *ended, vm_error *e);

#endif
