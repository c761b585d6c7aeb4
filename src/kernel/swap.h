/* swap.h: the swap area: slots of one page each on the disk, one bit a slot.
 *
 * Invariant: a used slot is named by exactly one PTE that is not present, or by
 * one resident page that is clean and has its bytes there.
 */
#ifndef VM_SWAP_H
#define VM_SWAP_H

#include "../base/base.h"

typedef struct swap_area {
    const vm_host *host;
    uint64_t *used_bits;
    uint64_t slots, used, hint; /* no slot below hint is free */
} swap_area;

vm_status swap_init(swap_area *s, const vm_host *host, uint64_t slots, vm_error *e);
void swap_free(swap_area *s);
/* The lowest free slot, now used; SLOT_NONE when all are. */
uint32_t swap_take(swap_area *s);
void swap_give(swap_area *s, uint32_t slot);
bool swap_is_used(const swap_area *s, uint32_t slot);
const char *swap_check(const swap_area *s);

#endif
