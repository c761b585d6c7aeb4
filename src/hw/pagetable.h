/* pagetable.h: page tables as real bits in simulated DRAM: their formats, and
 * reading and changing them by software (the kernel's side; the hardware's walk
 * is in mmu.h).
 *
 * A geometry is the number of index bits of each level, the root first. Level
 * numbers count from the leaves: level 0 holds PTEs of base pages, and an entry
 * of level k, if it is a leaf, maps a page of k levels up (2 MiB at level 1 of
 * x86-64). A table occupies whole frames, contiguous where it needs several.
 *
 * The formats are rows of masks (0: the format has no such bit):
 *   plain    one level, 32-bit PTEs, bits as in x86-32; CS:APP's toy
 *   x86-32   Intel SDM vol. 3A, 4.3: 32-bit entries, PS makes 4 MiB pages
 *   x86-64   Intel SDM vol. 3A, 4.5: 64-bit entries, XD, 2 MiB and 1 GiB
 *   riscv    RISC-V privileged specification, Sv39 and Sv48: R, W, X; an entry
 *            with any of them is a leaf
 */
#ifndef VM_PAGETABLE_H
#define VM_PAGETABLE_H

#include "dram.h"

#define PT_LEVELS_MAX 5

typedef struct pte_format {
    const char *name;
    const char *doc;
    unsigned bytes; /* of an entry: 4 or 8 */
    uint64_t present, write, user, accessed, dirty, global;
    uint64_t read, exec; /* permissions that must be set (RISC-V) */
    uint64_t no_exec;    /* a permission that must be clear (x86-64) */
    uint64_t large;      /* marks a leaf above level 0 (x86's PS) */
    uint64_t unknown;    /* with present clear: nobody gave this entry */
    uint64_t swapped;    /* with present clear: the rest is a swap slot */
    uint64_t ppn_mask;   /* bits of the frame number, in place */
    unsigned ppn_shift;
    unsigned large_levels; /* levels above 0 whose entries may be leaves */
    unsigned levels_max;
    bool table_accessed;   /* the walk sets A in entries that name tables, too */
    bool table_permission; /* entries that name tables restrict permissions */
} pte_format;

extern const pte_format *const pte_formats[]; /* ended by NULL */
const pte_format *pte_format_find(const char *name);

typedef struct pt_geometry {
    const pte_format *format;
    unsigned va_bits, pa_bits, page_bits;
    unsigned levels;
    unsigned bits[PT_LEVELS_MAX];  /* of the index, by level number (0: leaves) */
    unsigned shift[PT_LEVELS_MAX]; /* of the index in the address */
    bool canonical;                /* bits above va_bits repeat the top one */
} pt_geometry;

/* Fill a geometry from index widths, root first, and check that it adds up. */
vm_status pt_geometry_init(pt_geometry *g, const pte_format *f, unsigned va_bits, unsigned pa_bits,
                           uint64_t page, const unsigned *bits_root_first, unsigned levels,
                           vm_error *e);

/* permission and kind of a mapping */
enum { PROT_R = 1, PROT_W = 2, PROT_X = 4, PROT_USER = 8, PROT_GLOBAL = 16 };

VM_INLINE bool pte_is_leaf(const pte_format *f, uint64_t pte, unsigned level)
{
    if (f->read)
        return (pte & (f->read | f->write | f->exec)) != 0;
    return level == 0 || (pte & f->large);
}
VM_INLINE uint64_t pte_ppn(const pte_format *f, uint64_t pte)
{
    return (pte & f->ppn_mask) >> f->ppn_shift;
}
/* Bytes of a table, and of the page that a leaf of the level maps, as bits. */
VM_INLINE uint64_t pt_table_bytes(const pt_geometry *g, unsigned level)
{
    return (UINT64_C(1) << g->bits[level]) * g->format->bytes;
}
VM_INLINE unsigned pt_page_bits(const pt_geometry *g, unsigned level) { return g->shift[level]; }
VM_INLINE uint64_t pt_index(const pt_geometry *g, uint64_t va, unsigned level)
{
    return va >> g->shift[level] & low_mask(g->bits[level]);
}
VM_INLINE uint64_t pt_entry_pa(const pt_geometry *g, uint64_t table, uint64_t va, unsigned level)
{
    return table + pt_index(g, va, level) * g->format->bytes;
}
/* Is the address one that this geometry can translate? */
VM_INLINE bool pt_canonical(const pt_geometry *g, uint64_t va)
{
    if (g->va_bits == 64)
        return true;
    return g->canonical ? sign_extend(va, g->va_bits) == va : va >> g->va_bits == 0;
}

uint64_t pte_leaf(const pte_format *f, uint64_t ppn, unsigned prot, unsigned level);
uint64_t pte_table(const pte_format *f, uint64_t ppn);
/* An entry that is not present and keeps a swap slot (slots below 2^24). */
uint64_t pte_swapped(const pte_format *f, uint64_t slot);
bool pte_is_swapped(const pte_format *f, uint64_t pte, uint64_t *slot);
/* Permissions of a leaf as PROT_ bits, tables above it not considered. */
unsigned pte_prot(const pte_format *f, uint64_t pte);

/* Where a lookup by software ended. */
typedef struct pt_place {
    uint64_t pa;    /* of the entry */
    uint64_t pte;   /* its value */
    unsigned level; /* of the entry: 0, or the level of a large leaf or missing table */
} pt_place;

/* Follow the tables from the root's physical address; no cache sees it. The
 * place is the leaf, or the first entry on the way that names no table. */
pt_place pt_lookup(const pt_geometry *g, const dram *d, uint64_t root, uint64_t va);

#endif
