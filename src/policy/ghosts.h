/* ghosts.h: keys of evicted pages, in queues by the time of their eviction, found by
 * key, for policies that forget the oldest first.
 *
 * A queue is an array that is appended to; a ghost that leaves from the midst, since its
 * page came back, leaves an entry out of date, which is skipped later. So of the places
 * that a ghost needs, two go on where the last one was, and only that by its key lies
 * anywhere. When an array is used up, what counts in it is moved together.
 *
 * A ghost is a node: entry i of queue q is node i * queues + q, so that there can be
 * room for more without numbering ghosts anew.
 *
 * Invariant: an entry counts where its key leads to it. 12 bytes for each ghost that there is
 * room for, and the keymap's table.
 */
#ifndef VM_GHOSTS_H
#define VM_GHOSTS_H

#include "keymap.h"

#define GHOST_NONE   KEYMAP_NONE
#define GHOST_QUEUES 2 /* most of them */

typedef struct ghost_queue {
    uint32_t head, tail; /* entries between them */
    uint32_t count;      /* of those that count */
} ghost_queue;

typedef struct ghost_book {
    keymap map;
    ghost_queue q[GHOST_QUEUES];
    uint32_t queues, each; /* most ghosts of a queue */
    uint32_t room;         /* entries of each */
} ghost_book;

/* Queues 0 .. queues - 1, empty and without room; `dense`: as for keymap_init. Errors:
 * VM_NOMEM, VM_INVALID. */
vm_status ghosts_init(ghost_book *g, const vm_host *host, uint32_t queues, uint64_t dense,
                      vm_error *e);
void ghosts_free(ghost_book *g, const vm_host *host);
/* Room for so many in each queue; those that are there stay. */
vm_status ghosts_reserve(ghost_book *g, const vm_host *host, uint32_t each, vm_error *e);
/* The key becomes the youngest ghost of the queue. Nothing is done if it is a ghost; if
 * there is no room, the oldest goes. */
void ghosts_push(ghost_book *g, uint32_t queue, uint64_t key);
/* The ghost, or the oldest of a queue that has one, is forgotten. */
void ghosts_drop(ghost_book *g, uint32_t ghost);
void ghosts_pop(ghost_book *g, uint32_t queue);
/* NULL, or what is broken. */
const char *ghosts_check(const ghost_book *g);

/* The key's ghost, or GHOST_NONE. */
VM_INLINE uint32_t ghosts_find(const ghost_book *g, uint64_t key)
{
    return keymap_find(&g->map, key);
}
VM_INLINE uint32_t ghosts_queue(const ghost_book *g, uint32_t ghost) { return ghost % g->queues; }

#endif
