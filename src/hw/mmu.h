/* mmu.h: the memory management unit: TLBs, paging-structure caches, the walk.
 *
 * A translation asks the TLB levels in turn; a miss in all of them walks the
 * page table. The walk reads each entry through the data caches as traffic of
 * its own kind, sets A, and D for a write, with a cache write where a bit
 * changes, and fills all levels. A store that hits an entry whose page is not
 * yet dirty walks as well, to set D. Faults are returned, never handled here.
 *
 * A paging-structure cache of level k holds entries of page-table level k that
 * name tables; the walk begins below the deepest one that hits.
 * Sources: Intel SDM vol. 3A, 4.10; CS:APP 9.6.
 */
#ifndef VM_MMU_H
#define VM_MMU_H

#include "cache.h"
#include "pagetable.h"
#include "tlb.h"
#include "../base/access.h"

#define MMU_TLBS 4 /* l1i, l1d (or one l1 for both), l2, l3 */

typedef enum mmu_fault {
    MMU_OK = 0,
    MMU_NOT_PRESENT,
    MMU_PROTECTION,
    MMU_NONCANONICAL, /* not an address of this machine */
    MMU_UNKNOWN,      /* an entry that nobody gave (tables of state) */
    MMU_BUS,          /* a physical address beyond DRAM */
} mmu_fault;

#define MMU_COUNTERS(X)                                                                            \
    X(walks, "walks", "walks", "page-table walks begun")                                           \
    X(dirty_walks, "dirty_walks", "walks", "of these, only to set D for a store that hit a TLB")   \
    X(faults, "faults", "walks", "walks and TLB hits that ended in a fault")                       \
    X(pte_writes, "pte_writes", "entries", "entries written by the walk to set A or D")

typedef struct mmu_counters {
#define X(field, name, unit, doc) uint64_t field;
    MMU_COUNTERS(X)
#undef X
    uint64_t pte_reads[PT_LEVELS_MAX]; /* by page-table level */
} mmu_counters;

/* Told of each step while somebody watches. */
typedef struct mmu_probe {
    void *ud;
    void (*tlb)(void *ud, const tlb *t, uint64_t vpn, const tlb_entry *hit);
    void (*pwc)(void *ud, unsigned level, bool hit);
    void (*pte)(void *ud, unsigned level, uint64_t pa, uint64_t pte);
} mmu_probe;

typedef struct mmu {
    bool paging;
    pt_geometry g;
    uint64_t root; /* physical address of the root table */
    uint32_t asid;
    dram *mem;
    cache *walk_cache; /* where walks enter the caches; NULL: memory itself */
    memory_counters *memory;
    tlb tlbs[MMU_TLBS];
    unsigned tlb_count;
    tlb *chain[2][3]; /* [fetch: 1, data: 0][level], NULL-ended by count */
    unsigned chain_count[2];
    tlb pwc[PT_LEVELS_MAX]; /* by page-table level; index 0 unused */
    bool has_pwc[PT_LEVELS_MAX];
    mmu_counters n;
    const mmu_probe *probe;
    vm_error *error;
    vm_status failed; /* a policy's failure */
} mmu;

/* What a walk found. */
typedef struct mmu_entry {
    tlb_entry tlb; /* as it goes into TLBs */
    unsigned level;
} mmu_entry;

/* TLB payload bits that an access of the kind needs, by user code. */
VM_INLINE uint64_t mmu_need(access_kind kind)
{
    return kind == ACCESS_FETCH  ? TLB_X | TLB_U
           : kind == ACCESS_LOAD ? TLB_R | TLB_U
                                 : TLB_W | TLB_U | TLB_D;
}

/* Physical address of one byte; `kind` is fetch, load or store. */
mmu_fault mmu_translate(mmu *m, uint64_t va, access_kind kind, uint64_t *pa);

/* Forget translations of the page at va in the asid's space, of every size. */
void mmu_invalidate(mmu *m, uint64_t va, uint32_t asid);
void mmu_flush_asid(mmu *m, uint32_t asid);
void mmu_flush_all(mmu *m);
const char *mmu_check(const mmu *m);
void mmu_free(mmu *m);

#endif
