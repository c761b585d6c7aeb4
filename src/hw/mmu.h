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

/* The way from a root to a leaf table, remembered on the host so that a walk need
 * not follow it again; the caches still see each entry read. Good while
 * `generation` is the MMU's: whoever makes or frees a table raises that. */
typedef struct walk_memo {
    uint64_t root, region;      /* region: va above the leaf table's index */
    uint64_t generation;        /* 0: empty */
    const uint8_t *leaf;        /* the leaf table on the host */
    uint64_t perm;              /* what the entries above allow */
    uint64_t pa[PT_LEVELS_MAX]; /* of the entry of each level above 0; [0]: of the leaf table */
    /* Where the lines of the entries above level 0 stand in a packed walk cache just
     * after they were read, and what stands there: if it does, to read them again in
     * the same order changes nothing. [0] unused; a tag with bit 0 set: never so. */
    uint32_t settled_at[PT_LEVELS_MAX], settled_tag[PT_LEVELS_MAX];
} walk_memo;

#define WALK_MEMOS   512
#define MMU_PAYLOADS 512 /* formats of 8 bytes have all but no_exec in 9 bits */

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
    walk_memo *memos;              /* [WALK_MEMOS], or NULL: shortcuts are off */
    uint8_t payload[MMU_PAYLOADS]; /* of PTEs by their low bits, with memos */
    uint64_t generation;
    mmu_counters n;
    const mmu_probe *probe;
    vm_status *failed; /* a policy's failure, kept for the end of the access */
    vm_error *error;   /* where it is told */
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

/* A leaf's permissions as payload bits. */
VM_INLINE uint64_t mmu_payload_bits(const pte_format *f, uint64_t pte)
{
    uint64_t bits = 0;
    bits |= !f->read || (pte & f->read) ? TLB_R : 0;
    bits |= pte & f->write ? TLB_W : 0;
    bits |= (f->exec ? (pte & f->exec) != 0 : !(pte & f->no_exec)) ? TLB_X : 0;
    bits |= pte & f->user ? TLB_U : 0;
    bits |= pte & f->dirty ? TLB_D : 0;
    bits |= pte & f->global ? TLB_G : 0;
    return bits;
}

/* The same by table, for formats of 8 bytes and an MMU with memos. */
VM_INLINE uint64_t mmu_payload(const mmu *m, uint64_t pte)
{
    uint64_t bits = m->payload[pte % MMU_PAYLOADS];
    return pte & m->g.format->no_exec ? bits & ~(uint64_t)TLB_X : bits;
}

/* Physical address of one byte; `kind` is fetch, load or store. */
mmu_fault mmu_translate(mmu *m, uint64_t va, access_kind kind, uint64_t *pa);

/* Bring what a coming access to va will need closer on the host; changes nothing. */
VM_INLINE void mmu_prefetch(const mmu *m, uint64_t va)
{
    if (!m->memos)
        return;
    uint64_t region = (va & low_mask(m->g.va_bits)) >> m->g.shift[1];
    const walk_memo *w = &m->memos[region % WALK_MEMOS];
    if (w->region == region && w->generation == m->generation)
        VM_PREFETCH(w->leaf + pt_index(&m->g, va, 0) * m->g.format->bytes);
}

/* A memo of the way to leaf tables; without one each walk follows the tables. */
vm_status mmu_use_memos(mmu *m, vm_error *e);

/* Forget translations of the page at va in the asid's space, of every size. */
void mmu_invalidate(mmu *m, uint64_t va, uint32_t asid);
/* Forget the ways through the tables below the entry of va at this level, which are
 * no longer there. */
void mmu_forget_tables(mmu *m, uint64_t va, unsigned level, uint32_t asid);
void mmu_flush_asid(mmu *m, uint32_t asid);
void mmu_flush_all(mmu *m);
const char *mmu_check(const mmu *m);
void mmu_free(mmu *m);

#endif
