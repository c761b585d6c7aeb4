/* rank.h: the slot of the lowest rank, where ranks only rise while a slot is in.
 *
 * A binary heap holds the slots by the rank that they were queued with. To raise a
 * rank is a store and nothing else: a slot that comes to the top with a higher rank by
 * now is queued anew. So a hit costs a store and the lowest O(log n), amortised over
 * the hits since.
 *
 * Invariants: each slot that was put in is queued once, with a rank not above its own;
 * the caller makes no two ranks equal.
 * Memory: 44 bytes a slot.
 */
#ifndef VM_RANK_H
#define VM_RANK_H

#include "../base/base.h"

typedef struct rank_pair {
    uint64_t major, minor; /* compared in this order */
} rank_pair;

typedef struct rank_item {
    rank_pair queued;
    uint32_t slot;
} rank_item;

typedef struct ranks {
    rank_pair *rank; /* by slot; the caller may raise it */
    uint32_t *place; /* by slot: its index in the heap + 1; 0: not in it */
    rank_item *item;
    uint32_t count, room;
} ranks;

/* Room for slots below `room`; what is there stays. Errors: VM_NOMEM. */
vm_status ranks_reserve(ranks *h, const vm_host *host, uint32_t room, vm_error *e);
void ranks_free(ranks *h, const vm_host *host);
/* The slot, which is not in, comes in with this rank. */
void ranks_put(ranks *h, uint32_t slot, rank_pair rank);
/* The slot, which is in, goes. */
void ranks_drop(ranks *h, uint32_t slot);
/* The slot of the lowest rank; there must be one. */
uint32_t ranks_lowest(ranks *h);
/* NULL, or what is broken. */
const char *ranks_check(const ranks *h);

#endif
