/* quick.h: a shorter way to the same counts, for runs that keep no log and share one
 * pool of frames, under a policy that needs neither slots nor calls: FIFO, CLOCK,
 * LRU, ARC, 2Q, OPT.
 *
 * What is known of a page is one array, read ahead. FIFO and CLOCK keep a ring of
 * pages. The others need no order of their own, since positions in the reference
 * string are one: LRU takes the string for its queue, in which a page stands at its
 * last reference; the lists of ARC and 2Q, and OPT's, are sets of positions, a bit a
 * reference each, and pages are found in the string. Each gives every count as the
 * policy's class would; specs compare both ways.
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
