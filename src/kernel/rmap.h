/* rmap.h: the reverse map of pages that fork shared, put off until somebody asks.
 *
 * fork copies a leaf table entry by entry, but what the reverse map gains by it is one
 * record, a fork_batch: the frames that the child's entries `first` .. `stop` - 1 name
 * are mapped by these, too. To write that into each frame's own record costs several
 * times the copying, and is in vain where the child soon calls execve or ends: then the
 * batch is dropped with its entries. Else it is settled, and the mappings are where
 * they would have been at once: Linux has the same in mind with its anon_vma, by which
 * a frame names a family of spaces, not PTEs.
 *
 * Invariants
 *   - A leaf table is in one batch at most, the parent's or the child's; its frame's
 *     record says in which (rmap_batch).
 *   - While a batch is open, the parent's entries map their frames and the reverse map
 *     says so: each frame of the batch has a mapping through which it is found.
 *   - Before an entry of either table comes to map a frame or ceases to, and before the
 *     mappings of a frame are gone through or moved, or taken for its only ones, the
 *     batches are settled. So nobody sees a difference, the order of mappings included.
 *   - The reverse map has room for all mappings that are put off (frames.promised).
 */
#ifndef VM_RMAP_H
#define VM_RMAP_H

#include "kernel.h"

/* Mappings that fork made in one leaf table and that the reverse map does not have yet. */
typedef struct fork_batch {
    uint64_t from, to;    /* physical addresses of the parent's table and the child's */
    uint64_t vpn;         /* of the tables' first entry */
    uint32_t space;       /* the child's id */
    uint32_t first, stop; /* the entries of it */
    uint32_t pages;       /* how many of them map one */
} fork_batch;

/* Now it has those of all; of the leaf table that has this entry; of the frame. */
void rmap_settle_all(kernel *k);
void rmap_settle_table(kernel *k, uint64_t pte_pa, uint64_t vpn);
void rmap_settle_mappings(kernel *k, frame *r);
VM_INLINE void rmap_settle_entry(kernel *k, uint64_t pte_pa, uint64_t vpn)
{
    if (VM_UNLIKELY(k->batch_count != 0))
        rmap_settle_table(k, pte_pa, vpn);
}
VM_INLINE void rmap_settle_frame(kernel *k, frame *r)
{
    if (VM_UNLIKELY(k->batch_count != 0))
        rmap_settle_mappings(k, r);
}
/* Room for one more batch of so many pages at most. */
vm_status rmap_reserve(kernel *k, size_t pages, vm_error *e);
/* The child's n entries from the one at to_pa on, for vpn, have been copied from the
 * parent's, and map so many pages. Nothing else is put off for either table. */
void rmap_put_off(kernel *k, const space *to, uint64_t vpn, uint64_t from_pa, uint64_t to_pa,
                  uint32_t n, uint32_t pages);
/* Are entries of these two tables put off together? */
bool rmap_open(const kernel *k, uint64_t from_pa, uint64_t to_pa, uint64_t vpn);
/* The range start .. stop - 1 of the space goes, va in it: if the entries that are put off
 * with the one at pte_pa are all in it, they are released at once. Where they end; 0:
 * they were not. */
uint64_t rmap_drop(kernel *k, space *s, uint64_t pte_pa, uint64_t va, uint64_t start,
                   uint64_t stop);
void rmap_free(kernel *k);

#endif
