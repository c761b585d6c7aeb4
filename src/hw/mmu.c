#include "mmu.h"
#include "coherence.h"

/* One entry read or written by the walk, as the caches see it. */
static void mmu_traffic(mmu *m, uint64_t pa, bool write)
{
    if (m->walk_cache)
        cache_enter(m->walk_cache, pa >> m->walk_cache->line_bits, write, TRAFFIC_WALK);
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
    vm_status s = tlb_fill_missing(t, e, m->error);
    if (VM_UNLIKELY(s != VM_OK) && *m->failed == VM_OK)
        *m->failed = s;
}

/* Where a walk has come to. */
typedef struct walk_state {
    uint64_t pa, pte; /* of the entry that was read last */
    uint64_t perm;
    unsigned level;
} walk_state;

static void mmu_read_entry(mmu *m, walk_state *w)
{
    m->n.pte_reads[w->level]++;
    mmu_traffic(m, w->pa, false);
    w->pte = dram_get(m->mem, w->pa, m->g.format->bytes);
    if (VM_UNLIKELY(m->probe != NULL))
        m->probe->pte(m->probe->ud, w->level, w->pa, w->pte);
}

/* Fill settled_at and settled_tag: each line stands behind those of its set that
 * are read after it. */
static void mmu_settle(const mmu *m, walk_memo *w)
{
    const cache *c = m->walk_cache;
    for (unsigned k = 1; k < m->g.levels; k++) {
        uint64_t line = c ? w->pa[k] >> c->line_bits : 0, after = 0;
        bool twice = false;
        w->settled_at[k] = 0;
        w->settled_tag[k] = 1;
        if (!c || !c->packed)
            continue;
        for (unsigned j = 1; j < m->g.levels; j++) {
            uint64_t other = w->pa[j] >> c->line_bits;
            twice |= j != k && other == line;
            after += j < k && ((other ^ line) & c->set_mask) == 0;
        }
        if (twice || after >= c->ways)
            continue;
        w->settled_at[k] = (uint32_t)((size_t)(cache_packed_set(c, line) - c->packed) + after);
        w->settled_tag[k] = (uint32_t)line << 1;
    }
}

/* Remember the way to the leaf table at `table`, whose entries above were at `pa`. */
static void mmu_remember(mmu *m, uint64_t va, uint64_t table, uint64_t perm, const uint64_t *pa)
{
    uint64_t bytes = pt_table_bytes(&m->g, 0),
             region = (va & low_mask(m->g.va_bits)) >> m->g.shift[1];
    const uint8_t *block = dram_block(m->mem, table);
    if (!block || (table & (DRAM_BLOCK - 1)) + bytes > DRAM_BLOCK)
        return;
    walk_memo *w = &m->memos[region % WALK_MEMOS];
    *w = (walk_memo){.root = m->root,
                     .region = region,
                     .generation = m->generation,
                     .leaf = block + (table & (DRAM_BLOCK - 1)),
                     .perm = perm};
    memcpy(w->pa, pa, sizeof w->pa);
    w->pa[0] = table;
    mmu_settle(m, w);
}

/* To the leaf through a memo: the same reads, without following the tables. */
static bool mmu_walk_memo(mmu *m, uint64_t va, walk_state *w)
{
    uint64_t region = (va & low_mask(m->g.va_bits)) >> m->g.shift[1];
    const walk_memo *memo = &m->memos[region % WALK_MEMOS];
    if (memo->region != region || memo->root != m->root || memo->generation != m->generation)
        return false;
    for (unsigned k = m->g.levels - 1; k > 0; k--) {
        m->n.pte_reads[k]++;
        mmu_traffic(m, memo->pa[k], false);
    }
    uint64_t at = pt_index(&m->g, va, 0) * m->g.format->bytes;
    w->level = 0;
    w->perm = memo->perm;
    w->pa = memo->pa[0] + at;
    m->n.pte_reads[0]++;
    mmu_traffic(m, w->pa, false);
    w->pte = 0; /* memos are for little-endian hosts: the entry is as it is in DRAM */
    memcpy(&w->pte, memo->leaf + at, m->g.format->bytes == 8 ? 8 : 4);
    return true;
}

/* Down the tables to a leaf, or to an entry that stops the walk. */
static mmu_fault mmu_walk_tables(mmu *m, uint64_t va, walk_state *w)
{
    const pt_geometry *g = &m->g;
    const pte_format *f = g->format;
    uint64_t table, above[PT_LEVELS_MAX] = {0};
    bool from_root;
    w->level = mmu_walk_start(m, va, &table, &w->perm);
    from_root = w->level == g->levels - 1;
    for (;; w->level--) {
        w->pa = pt_entry_pa(g, table, va, w->level);
        if (w->pa + f->bytes > m->mem->size)
            return MMU_BUS;
        mmu_read_entry(m, w);
        if (!(w->pte & f->present))
            return w->pte & f->unknown ? MMU_UNKNOWN : MMU_NOT_PRESENT;
        if (pte_is_leaf(f, w->pte, w->level))
            break;
        if (w->level == 0)
            return MMU_NOT_PRESENT; /* RISC-V: a table where there can be none */
        if (f->table_accessed)
            mmu_set_bits(m, w->pa, &w->pte, f->accessed);
        if (f->table_permission)
            w->perm &= mmu_payload_bits(f, w->pte) | TLB_R;
        above[w->level] = w->pa;
        table = pte_ppn(f, w->pte) << g->page_bits;
        if (m->has_pwc[w->level])
            mmu_fill(
                m, &m->pwc[w->level],
                (tlb_entry){tlb_tag((va & low_mask(g->va_bits)) >> g->shift[w->level], m->asid, 0),
                            pte_ppn(f, w->pte) << 8 | w->perm});
    }
    if (m->memos && w->level == 0 && from_root && g->levels > 1)
        mmu_remember(m, va, table, w->perm, above);
    return MMU_OK;
}

static mmu_fault mmu_walk(mmu *m, uint64_t va, uint64_t need, mmu_entry *out)
{
    const pt_geometry *g = &m->g;
    const pte_format *f = g->format;
    walk_state w;
    m->n.walks++;
    if (m->memos && !m->probe && mmu_walk_memo(m, va, &w)) {
        if (!(w.pte & f->present))
            return w.pte & f->unknown ? MMU_UNKNOWN : MMU_NOT_PRESENT;
        if (!pte_is_leaf(f, w.pte, 0))
            return MMU_NOT_PRESENT;
    } else {
        mmu_fault fault = mmu_walk_tables(m, va, &w);
        if (fault != MMU_OK)
            return fault;
    }
    uint64_t bits = mmu_payload_bits(f, w.pte);
    uint64_t allowed = bits & (w.perm | TLB_D | TLB_G), asked = need & ~(uint64_t)TLB_D;
    if ((allowed & asked) != asked)
        return MMU_PROTECTION;
    mmu_set_bits(m, w.pa, &w.pte, f->accessed | (need & TLB_D ? f->dirty : 0));
    allowed |= need & TLB_D;
    uint64_t vpn = (va & low_mask(g->va_bits)) >> g->shift[w.level];
    uint64_t first = pte_ppn(f, w.pte) & ~low_mask(g->shift[w.level] - g->page_bits);
    out->level = w.level;
    out->tlb.tag = tlb_tag(vpn, allowed & TLB_G ? TLB_GLOBAL : m->asid, w.level);
    out->tlb.pay = first << 8 | allowed;
    return MMU_OK;
}

vm_status mmu_use_memos(mmu *m, vm_error *e)
{
    for (unsigned k = 1; k < PT_LEVELS_MAX; k++)
        if (m->has_pwc[k])
            return VM_OK; /* the way begins elsewhere each time */
    if (m->g.levels == 1 || __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__)
        return VM_OK;
    m->memos = host_zalloc_aligned(m->mem->host, WALK_MEMOS * sizeof *m->memos);
    m->generation = 1;
    for (unsigned low = 0; low < MMU_PAYLOADS; low++)
        m->payload[low] = (uint8_t)mmu_payload_bits(m->g.format, low);
    return m->memos ? VM_OK : vm_fail_nomem(e, "the MMU");
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

void mmu_forget_tables(mmu *m, uint64_t va, unsigned level, uint32_t asid)
{
    uint64_t region = (va & low_mask(m->g.va_bits)) >> m->g.shift[level];
    for (unsigned k = 1; k <= level; k++) {
        tlb *t = &m->pwc[k];
        for (uint32_t i = 0; m->has_pwc[k] && i < tlb_sets(t) * t->ways;) {
            uint64_t tag = t->e[i].tag, vpn = tlb_tag_vpn(tag);
            bool gone = tag && tlb_tag_asid(tag) == asid &&
                        vpn >> (m->g.shift[level] - m->g.shift[k]) == region &&
                        tlb_invalidate(t, vpn, asid);
            i += !gone; /* an ordered set closes the gap */
        }
    }
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
    if (m->memos)
        host_free_aligned(m->mem->host, m->memos, WALK_MEMOS * sizeof *m->memos);
    for (unsigned i = 0; i < m->tlb_count; i++)
        tlb_free(&m->tlbs[i]);
    for (unsigned k = 1; k < PT_LEVELS_MAX; k++)
        if (m->has_pwc[k])
            tlb_free(&m->pwc[k]);
}
