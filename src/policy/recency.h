/* recency.h: the order of last use of many slots, for policies that are told of each
 * reference.
 *
 * A queue to which every reference appends its slot; where a slot was appended last
 * is its place, and what stands elsewhere is out of date and skipped by who takes from
 * the front. A hit is two stores, of which one goes on where the last one was, against
 * six to four places for a linked list. When the queue's room is used up, what counts
 * is moved together: with room for four times the slots, once in three references a
 * slot. 20 bytes a slot.
 *
 * Invariants: place[queue[i]] == i for exactly one i of each slot that is in order,
 * with head <= i < tail; others have RECENCY_NONE.
 */
#ifndef VM_RECENCY_H
#define VM_RECENCY_H

#include "../base/base.h"

#define RECENCY_NONE UINT32_MAX
#define RECENCY_ROOM 4 /* entries of the queue for each slot */

typedef struct recency {
    uint32_t *queue, *place;
    uint32_t slots, count;     /* there is room for; in order */
    uint32_t head, tail, room; /* of the queue */
} recency;

void recency_free(recency *x, const vm_host *host);
/* Slots 0 .. slots - 1 can be used; those in order stay. Errors: VM_NOMEM, VM_INVALID. */
vm_status recency_reserve(recency *x, const vm_host *host, uint32_t slots, vm_error *e);
void recency_pack(recency *x); /* what counts moves to the front */
/* NULL, or what is broken. */
const char *recency_check(const recency *x);

VM_INLINE bool recency_has(const recency *x, uint32_t slot)
{
    return x->place[slot] != RECENCY_NONE;
}

/* The slot, which is in order, is used now. */
VM_INLINE void recency_touch(recency *x, uint32_t slot)
{
    if (VM_UNLIKELY(x->tail == x->room))
        recency_pack(x);
    x->place[slot] = x->tail;
    x->queue[x->tail++] = slot;
}

/* The slot comes into the order, as used now. */
VM_INLINE void recency_add(recency *x, uint32_t slot)
{
    x->count++;
    recency_touch(x, slot);
}

VM_INLINE void recency_drop(recency *x, uint32_t slot)
{
    x->count--;
    x->place[slot] = RECENCY_NONE;
}

/* The least recently used slot; there must be one. */
VM_INLINE uint32_t recency_first(recency *x)
{
    while (x->place[x->queue[x->head]] != x->head)
        x->head++;
    return x->queue[x->head];
}

#endif
