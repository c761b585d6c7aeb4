/* quick.h: a shorter way to the same counts, for runs that keep no log and share one
 * pool of frames, under a policy that needs neither slots nor calls: FIFO, CLOCK,
 * LRU, OPT.
 *
 * What is known of a page is one array, read ahead. FIFO and CLOCK keep a ring of
 * pages. LRU needs no order of its own: the reference string is its queue, in which
 * a page stands at its last reference. OPT keeps its sets of positions, and finds
 * pages in the string. Each gives every count as the policy's class would; specs
 * compare both ways.
 */
#ifndef VM_STUDY_QUICK_H
#define VM_STUDY_QUICK_H

#include "run.h"

typedef struct study_quick study_quick;

/* `*out` stays NULL where the policy has no such way. The run's string, counts,
 * `dirty` and `future` are set. `room`: frames, but no more than there are pages. */
vm_status study_quick_new(study_run *r, const policy_choice *choice, uint32_t room,
                          study_quick **out, vm_error *e);
void study_quick_free(study_quick *q); /* NULL is fine */
void study_quick_to(study_quick *q, size_t until);

#endif
