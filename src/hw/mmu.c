#include "mmu.h"

/* One entry read or written by the walk, as the caches see it. */
static void mmu_traffic(mmu *m, uint64_t pa, bool write)
{
    if (m->walk_cache)
        cache_access(m->walk_cache, pa >> m->walk_cache->line_bits, write, TRAFFIC_WALK);
    else if (write)
        m->memory->writes++;
    else
        m->memory->reads[TRAFFIC_WALK]++;
}

static void mmu_set_bits(mmu *m, uint64_t pa, uint64_t *pte, uint64_t bits)
{
    if ((*pte & bits) == bits)
        return;
    *pte |= bits;
    m->n.pte_writes++;
    mmu_traffic(m, pa, true);
    /* The block is there: the entry that was read from it is not zero. */
    dram_put(m->mem, pa, m->g.format->bytes, *pte);
}

/* A leaf's permissions as payload bits. */
static uint64_t mmu_payload_bits(const pte_format *f, uint64_t pte)
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

/* The deepest paging-structure cache that knows the way, else the root. */
static unsigned mmu_walk_start(mmu *m, uint64_t va, uint64_t *table, uint64_t *perm)
{
    for (unsigned k = 1; k < m->g.levels; k++) {
        if (!m->has_pwc[k])
            continue;
        const tlb_entry *e =
            tlb_lookup(&m->pwc[k], (va & low_mask(m->g.va_bits)) >> m->g.shift[k], m->asid);
        if (VM_UNLIKELY(m->probe != NULL))
            m->probe->pwc(m->probe->ud, k, e != NULL);
        if (e) {
            *table = e->pay >> 8 << m->g.page_bits;
            *perm = e->pay & 0xff;
            return k - 1;
        }
    }
    *table = m->root;
    *perm = TLB_W | TLB_U | TLB_X | TLB_R;
    return m->g.levels - 1;
}

static void mmu_fill(mmu *m, tlb *t, tlb_entry e)
{
    vm_status s = tlb_fill(t, e, m->error);
    if (s != VM_OK && m->failed == VM_OK)
        m->failed = s;
}

static mmu_fault mmu_walk(mmu *m, uint64_t va, uint64_t need, mmu_entry *out)
{
    const pt_geometry *g = &m->g;
    const pte_format *f = g->format;
    uint64_t table, perm, pte, pa;
    unsigned level = mmu_walk_start(m, va, &table, &perm);
    m->n.walks++;
    for (;; level--) {
        pa = pt_entry_pa(g, table, va, level);
        if (pa + f->bytes > m->mem->size)
            return MMU_BUS;
        m->n.pte_reads[level]++;
        mmu_traffic(m, pa, false);
        pte = dram_get(m->mem, pa, f->bytes);
        if (VM_UNLIKELY(m->probe != NULL))
            m->probe->pte(m->probe->ud, level, pa, pte);
        if (!(pte & f->present))
            return pte & f->unknown ? MMU_UNKNOWN : MMU_NOT_PRESENT;
        if (pte_is_leaf(f, pte, level))
            break;
        if (level == 0)
            return MMU_NOT_PRESENT; /* RISC-V: a table where there can be none */
        if (f->table_accessed)
            mmu_set_bits(m, pa, &pte, f->accessed);
        if (f->table_permission) {
            uint64_t allow = mmu_payload_bits(f, pte);
            perm &= allow | TLB_R;
        }
        table = pte_ppn(f, pte) << g->page_bits;
        if (m->has_pwc[level])
            mmu_fill(
                m, &m->pwc[level],
                (tlb_entry){tlb_tag((va & low_mask(g->va_bits)) >> g->shift[level], m->asid, 0),
                            pte_ppn(f, pte) << 8 | perm});
    }
    uint64_t bits = mmu_payload_bits(f, pte), allowed = (bits & perm) | (bits & (TLB_D | TLB_G));
    uint64_t asked = need & ~(uint64_t)TLB_D;
    if ((allowed & asked) != asked)
        return MMU_PROTECTION;
    mmu_set_bits(m, pa, &pte, f->accessed | (need & TLB_D ? f->dirty : 0));
    allowed |= need & TLB_D;
    uint64_t vpn = (va & low_mask(g->va_bits)) >> g->shift[level];
    uint64_t first = pte_ppn(f, pte) & ~low_mask(g->shift[level] - g->page_bits);
    out->level = level;
    out->tlb.tag = tlb_tag(vpn, allowed & TLB_G ? TLB_GLOBAL : m->asid, level);
    out->tlb.pay = first << 8 | allowed;
    return MMU_OK;
}

/* A store hit an entry of a page that is not dirty: walk to set D, and let
 * every TLB that holds the entry know. */
static mmu_fault mmu_dirty_walk(mmu *m, uint64_t va, uint64_t need, mmu_entry *out)
{
    m->n.dirty_walks++;
    mmu_fault fault = mmu_walk(m, va, need, out);
    if (fault == MMU_OK)
        for (unsigned i = 0; i < m->tlb_count; i++)
            tlb_update(&m->tlbs[i], out->tlb.tag, out->tlb.pay);
    return fault;
}

mmu_fault mmu_translate(mmu *m, uint64_t va, access_kind kind, uint64_t *pa)
{
    if (!m->paging) {
        *pa = va;
        return va < m->mem->size ? MMU_OK : MMU_BUS;
    }
    if (VM_UNLIKELY(!pt_canonical(&m->g, va)))
        return MMU_NONCANONICAL;
    uint64_t need = mmu_need(kind), vpn = (va & low_mask(m->g.va_bits)) >> m->g.page_bits;
    bool fetch = kind == ACCESS_FETCH;
    tlb *const *chain = m->chain[fetch];
    unsigned n = m->chain_count[fetch], missed = 0;
    mmu_entry found = {{0, 0}, 0};
    for (; missed < n; missed++) {
        const tlb_entry *e = tlb_lookup(chain[missed], vpn, m->asid);
        if (VM_UNLIKELY(m->probe != NULL))
            m->probe->tlb(m->probe->ud, chain[missed], vpn, e);
        if (e) {
            found.tlb = *e;
            break;
        }
    }
    if (missed == n) {
        mmu_fault fault = mmu_walk(m, va, need, &found);
        if (VM_UNLIKELY(fault != MMU_OK)) {
            m->n.faults++;
            return fault;
        }
    }
    for (unsigned i = missed; i-- > 0;) /* the outer level first */
        mmu_fill(m, chain[i], found.tlb);
    if (VM_UNLIKELY((found.tlb.pay & need) != need)) {
        mmu_fault fault = MMU_PROTECTION;
        if ((found.tlb.pay & need) == (need & ~(uint64_t)TLB_D))
            fault = mmu_dirty_walk(m, va, need, &found);
        if (fault != MMU_OK) {
            m->n.faults++;
            return fault;
        }
    }
    unsigned size = m->g.shift[tlb_tag_class(found.tlb.tag)];
    *pa = (found.tlb.pay >> 8 << m->g.page_bits) | (va & low_mask(size));
    return VM_LIKELY(*pa < m->mem->size) ? MMU_OK : MMU_BUS;
}

void mmu_invalidate(mmu *m, uint64_t va, uint32_t asid)
{
    va &= low_mask(m->g.va_bits);
    for (unsigned i = 0; i < m->tlb_count; i++)
        tlb_invalidate(&m->tlbs[i], va >> m->g.page_bits, asid);
    for (unsigned k = 1; k < m->g.levels; k++)
        if (m->has_pwc[k])
            tlb_invalidate(&m->pwc[k], va >> m->g.shift[k], asid);
}

void mmu_flush_asid(mmu *m, uint32_t asid)
{
    for (unsigned i = 0; i < m->tlb_count; i++)
        tlb_flush(&m->tlbs[i], asid);
    for (unsigned k = 1; k < m->g.levels; k++)
        if (m->has_pwc[k])
            tlb_flush(&m->pwc[k], asid);
}

void mmu_flush_all(mmu *m)
{
    for (unsigned i = 0; i < m->tlb_count; i++)
        tlb_flush_all(&m->tlbs[i]);
    for (unsigned k = 1; k < m->g.levels; k++)
        if (m->has_pwc[k])
            tlb_flush_all(&m->pwc[k]);
}

const char *mmu_check(const mmu *m)
{
    for (unsigned i = 0; i < m->tlb_count; i++) {
        const char *broken = tlb_check(&m->tlbs[i]);
        if (broken)
            return broken;
    }
    return NULL;
}

void mmu_free(mmu *m)
{
    for (unsigned i = 0; i < m->tlb_count; i++)
        tlb_free(&m->tlbs[i]);
    for (unsigned k = 1; k < PT_LEVELS_MAX; k++)
        if (m->has_pwc[k])
            tlb_free(&m->pwc[k]);
}
