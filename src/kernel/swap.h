/* swap.h: the swap area: slots of one page each on the disk.
 *
 * A slot is used while PTEs that are not present (or pages of shared memory)
 * name it, or while a resident page is known to have its bytes there, so that
 * the page can be dropped without a write, and so that all who name the slot
 * find the one frame (the swap cache).
 *
 * Invariant: a slot is free exactly if `users` is 0 and `frame` is none.
 */
#ifndef VM_SWAP_H
#define VM_SWAP_H

#include "pool.h"

typedef struct swap_slot {
    uint64_t key;   /* of the page, for policies */
    uint32_t users; /* PTEs and pages of shared memory that name it */
    uint32_t frame; /* that holds the same bytes, or NUMBER_NONE */
} swap_slot;

#define SWAP_CHUNK 1024

typedef struct swap_area {
    pool slots;
    swap_slot **chunks; /* made when the first of their slots is taken */
    size_t chunk_count;
} swap_area;

vm_status swap_init(swap_area *s, const vm_host *host, uint64_t slots, vm_error *e);
void swap_free(swap_area *s);
/* The lowest free slot, with no user yet; NUMBER_NONE in *slot when none is free. */
vm_status swap_take(swap_area *s, uint32_t *slot, vm_error *e);
/* The same for the slot at `at`, if it is free. */
vm_status swap_take_at(swap_area *s, uint64_t at, uint32_t *slot, vm_error *e);
VM_INLINE swap_slot *swap_at(const swap_area *s, uint32_t slot)
{
    return &s->chunks[slot / SWAP_CHUNK][slot % SWAP_CHUNK];
}
/* Free the slot if nobody uses it: true, and its bytes are no longer wanted. */
bool swap_settle(swap_area *s, uint32_t slot);
bool swap_is_used(const swap_area *s, uint64_t slot);
const char *swap_check(const swap_area *s);

#endif
