#include "pagetable.h"

/* The low bits of x86 entries; XD is bit 63. In entries that are not present
 * the operating system owns all others: bit 1 marks a swap slot (in ppn bits),
 * bit 2 an entry that nobody gave. */
#define X86_BITS                                                                                   \
    .present = 1, .write = 2, .user = 4, .accessed = 32, .dirty = 64, .global = 256, .swapped = 2, \
    .unknown = 4

static const pte_format format_plain = {
    .name = "plain",
    .doc = "one level of 32-bit entries, bits as in x86-32; CS:APP's toy",
    .bytes = 4,
    X86_BITS,
    .ppn_mask = 0xfffff000,
    .ppn_shift = 12,
    .levels_max = 1,
};

static const pte_format format_x86_32 = {
    .name = "x86-32",
    .doc = "32-bit entries, two levels, 4 MiB pages (Intel SDM 3A 4.3)",
    .bytes = 4,
    X86_BITS,
    .large = 128,
    .ppn_mask = 0xfffff000,
    .ppn_shift = 12,
    .large_levels = 1,
    .levels_max = 2,
    .table_accessed = true,
    .table_permission = true,
};

static const pte_format format_x86_64 = {
    .name = "x86-64",
    .doc = "64-bit entries, four or five levels, 2 MiB and 1 GiB pages, XD (Intel SDM 3A 4.5)",
    .bytes = 8,
    X86_BITS,
    .no_exec = UINT64_C(1) << 63,
    .large = 128,
    .ppn_mask = UINT64_C(0x000ffffffffff000),
    .ppn_shift = 12,
    .large_levels = 2,
    .levels_max = 5,
    .table_accessed = true,
    .table_permission = true,
};

static const pte_format format_riscv = {
    .name = "riscv",
    .doc = "64-bit entries of Sv39 and Sv48, pages of every level (RISC-V privileged 4.4)",
    .bytes = 8,
    .present = 1,
    .read = 2,
    .write = 4,
    .exec = 8,
    .user = 16,
    .global = 32,
    .accessed = 64,
    .dirty = 128,
    .swapped = 2,
    .unknown = 4,
    .ppn_mask = UINT64_C(0x003ffffffffffc00),
    .ppn_shift = 10,
    .large_levels = 3,
    .levels_max = 4,
};

const pte_format *const pte_formats[] = {&format_plain, &format_x86_32, &format_x86_64,
                                         &format_riscv, NULL};

const pte_format *pte_format_find(const char *name)
{
    for (size_t i = 0; pte_formats[i]; i++)
        if (strcmp(pte_formats[i]->name, name) == 0)
            return pte_formats[i];
    return NULL;
}

vm_status pt_geometry_init(pt_geometry *g, const pte_format *f, unsigned va_bits, unsigned pa_bits,
                           uint64_t page, const unsigned *bits_root_first, unsigned levels,
                           vm_error *e)
{
    memset(g, 0, sizeof *g);
    if (!is_pow2(page) || page < 16 || page > UINT64_C(1) << 30)
        return vm_fail(e, VM_INVALID,
                       "paging.page is %llu, but takes a power of two from 16 bytes to 1 GiB",
                       (unsigned long long)page);
    g->format = f;
    g->va_bits = va_bits;
    g->pa_bits = pa_bits;
    g->page_bits = log2_floor(page);
    g->levels = levels;
    if (levels == 0 || levels > f->levels_max)
        return vm_fail(e, VM_INVALID, "paging.levels has %u levels, but format %s takes 1 to %u",
                       levels, f->name, f->levels_max);
    unsigned shift = g->page_bits;
    for (unsigned k = 0; k < levels; k++) {
        unsigned bits = bits_root_first[levels - 1 - k];
        if (bits == 0 || bits > 24)
            return vm_fail(e, VM_INVALID, "paging.levels: a level of %u bits; each takes 1 to 24",
                           bits);
        g->bits[k] = bits;
        g->shift[k] = shift;
        shift += bits;
    }
    if (shift != va_bits)
        return vm_fail(e, VM_INVALID,
                       "paging does not add up: a page of 2^%u bytes and the index bits of "
                       "paging.levels make %u, but paging.va_bits is %u",
                       g->page_bits, shift, va_bits);
    if (va_bits - g->page_bits > 45)
        return vm_fail(e, VM_INVALID,
                       "paging: virtual page numbers of %u bits, at most 45 fit a TLB tag",
                       va_bits - g->page_bits);
    if (pa_bits <= g->page_bits || pa_bits > 52)
        return vm_fail(e, VM_INVALID,
                       "paging.pa_bits is %u, but takes more than the page's %u, up to 52", pa_bits,
                       g->page_bits);
    uint64_t ppns = low_mask(pa_bits - g->page_bits);
    if ((ppns << f->ppn_shift & f->ppn_mask) >> f->ppn_shift != ppns)
        return vm_fail(e, VM_INVALID,
                       "paging.pa_bits is %u, but an entry of format %s has no room for frame "
                       "numbers of %u bits",
                       pa_bits, f->name, pa_bits - g->page_bits);
    g->canonical = f->bytes == 8;
    return VM_OK;
}

uint64_t pte_leaf(const pte_format *f, uint64_t ppn, unsigned prot, unsigned level)
{
    uint64_t pte = f->present | (ppn << f->ppn_shift & f->ppn_mask);
    pte |= prot & PROT_R ? f->read : 0;
    pte |= prot & PROT_W ? f->write | f->read : 0; /* writable implies readable */
    pte |= prot & PROT_X ? f->exec : f->no_exec;
    pte |= prot & PROT_USER ? f->user : 0;
    pte |= prot & PROT_GLOBAL ? f->global : 0;
    pte |= level ? f->large : 0;
    return pte;
}

uint64_t pte_table(const pte_format *f, uint64_t ppn)
{
    uint64_t pte = f->present | (ppn << f->ppn_shift & f->ppn_mask);
    return f->table_permission ? pte | f->write | f->user : pte;
}

uint64_t pte_swapped(const pte_format *f, uint64_t slot)
{
    return (slot << f->ppn_shift & f->ppn_mask) | f->swapped;
}

bool pte_is_swapped(const pte_format *f, uint64_t pte, uint64_t *slot)
{
    if ((pte & (f->present | f->unknown)) || !(pte & f->swapped))
        return false;
    *slot = pte_ppn(f, pte);
    return true;
}

unsigned pte_prot(const pte_format *f, uint64_t pte)
{
    unsigned prot = 0;
    if (!f->read || (pte & f->read))
        prot |= PROT_R;
    if (pte & f->write)
        prot |= PROT_W;
    if (f->exec ? (pte & f->exec) != 0 : !(pte & f->no_exec))
        prot |= PROT_X;
    if (pte & f->user)
        prot |= PROT_USER;
    if (pte & f->global)
        prot |= PROT_GLOBAL;
    return prot;
}

pt_place pt_lookup(const pt_geometry *g, const dram *d, uint64_t root, uint64_t va)
{
    pt_place p;
    uint64_t table = root;
    for (p.level = g->levels - 1;; p.level--) {
        p.pa = pt_entry_pa(g, table, va, p.level);
        p.pte = dram_get(d, p.pa, g->format->bytes);
        if (!(p.pte & g->format->present) || p.level == 0 || pte_is_leaf(g->format, p.pte, p.level))
            return p;
        table = pte_ppn(g->format, p.pte) << g->page_bits;
    }
}
