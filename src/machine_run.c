/* machine_run.c: runs of trace records, as fast as the counters allow.
 *
 * Three ways for a record, each exact:
 *   front   its page is the most recent of its L1 TLB set and its line of its L1
 *           cache set: nothing changes but counts, which are kept in a register;
 *   near    a hit in the L1 TLB, or a translation by the MMU, of an access within
 *           one line, then the caches: no fault, no splitting;
 *   plain   machine_one, which does everything.
 * While records take the slower ways, the host's memory is told what the coming
 * ones will need.
 */
#include "machine.h"

/* Where one kind of access meets its most recent entries: the first way of the
 * L1 TLB set and of the L1 cache set, both in order of recency. */
typedef struct front {
    tlb_entry *tlb;
    const uint32_t *tags;
    uint32_t tlb_mask, tlb_ways, tag_mask, tag_shift;
} front;

static bool front_of(const machine *m, bool fetch, front *f)
{
    const mmu *u = &m->hw.mmu;
    const cache *c = fetch ? m->hw.l1i : m->hw.l1d;
    const tlb *t = u->chain_count[fetch] ? u->chain[fetch][0] : NULL;
    if (!c || !t || !t->ordered || !c->packed || c->line_bits > u->g.page_bits)
        return false;
    if (!fetch && !(c->fast_writes && c->allocate))
        return false;
    *f = (front){t->e, c->packed, t->set_mask, t->ways, c->set_mask, c->stride_bits};
    return true;
}

/* What the hits that were answered in line would have counted. */
static void run_settle(machine *m, const uint64_t hits[4])
{
    uint64_t data = hits[ACCESS_LOAD] + hits[ACCESS_STORE] + 2 * hits[ACCESS_MODIFY];
    m->n.fetches += hits[ACCESS_FETCH];
    m->n.loads += hits[ACCESS_LOAD] + hits[ACCESS_MODIFY];
    m->n.stores += hits[ACCESS_STORE] + hits[ACCESS_MODIFY];
    m->n.modifies += hits[ACCESS_MODIFY];
    if (hits[ACCESS_FETCH]) {
        m->hw.mmu.chain[1][0]->n.lookups += hits[ACCESS_FETCH];
        m->hw.l1i->n.refs[0][TRAFFIC_FETCH] += hits[ACCESS_FETCH];
    }
    if (data) {
        m->hw.mmu.chain[0][0]->n.lookups += data;
        m->hw.l1d->n.refs[0][TRAFFIC_DATA] += hits[ACCESS_LOAD] + hits[ACCESS_MODIFY];
        m->hw.l1d->n.refs[1][TRAFFIC_DATA] += hits[ACCESS_STORE] + hits[ACCESS_MODIFY];
    }
}

#define RUN_AHEAD_PTE 12 /* records ahead of which the PTE is fetched, */
#define RUN_AHEAD_SET 6  /* and the sets of the lower caches, which the PTE tells */

VM_INLINE void run_ahead(const machine *m, const access_record *r, size_t i, size_t n)
{
    uint64_t pa;
    if (VM_UNLIKELY(i + RUN_AHEAD_PTE >= n))
        return;
    mmu_prefetch(&m->hw.mmu, r[i + RUN_AHEAD_PTE].addr);
    if (!mmu_guess(&m->hw.mmu, r[i + RUN_AHEAD_SET].addr, &pa))
        return;
    for (const cache *c = m->hw.l1d->next; c; c = c->next)
        if (c->packed)
            VM_PREFETCH(cache_packed_set(c, pa >> c->line_bits));
}

/* An access within one line: true, it is done; false, nothing has happened. */
VM_INLINE bool run_near(machine *m, const front *f, uint64_t va, uint64_t vpn, uint64_t tag,
                        access_kind kind, uint64_t need)
{
    mmu *u = &m->hw.mmu;
    bool fetch = kind == ACCESS_FETCH;
    tlb_entry *s = f->tlb + (size_t)((uint32_t)vpn & f->tlb_mask) * f->tlb_ways;
    uint64_t pay;
    uint32_t i = 0;
    while (i < f->tlb_ways && s[i].tag != tag)
        i++;
    if (i < f->tlb_ways) {
        tlb_entry hit = s[i];
        if ((hit.pay & need) != need)
            return false;
        for (; i > 0; i--)
            s[i] = s[i - 1];
        s[0] = hit;
        u->chain[fetch][0]->n.lookups++;
        pay = hit.pay;
    } else {
        return false;
    }
    uint64_t pa = (pay >> 8 << u->g.page_bits) | (va & low_mask(u->g.page_bits));
    policy *pol = m->kernel.pol;
    if (pol->cls->exact)
        pol->stamps[pay >> 8] = ++pol->tick;
    cache *c = fetch ? m->hw.l1i : m->hw.l1d;
    cache_access(c, pa >> c->line_bits, kind == ACCESS_STORE, fetch ? TRAFFIC_FETCH : TRAFFIC_DATA);
    m->n.fetches += fetch;
    m->n.loads += kind == ACCESS_LOAD;
    m->n.stores += kind == ACCESS_STORE;
    return true;
}

static vm_status run_fast(machine *m, process *p, uint16_t task, const access_record *r, size_t n,
                          size_t *done, const front fronts[2], fault_info *info, vm_error *e)
{
    static const uint64_t needs[4] = {TLB_X | TLB_U, TLB_R | TLB_U, TLB_W | TLB_U | TLB_D,
                                      TLB_R | TLB_W | TLB_U | TLB_D};
    static const uint32_t any_dirty[4] = {1, 1, 0, 0};
    const unsigned page_bits = m->hw.mmu.g.page_bits, line_bits = m->hw.l1d->line_bits;
    const uint64_t page_mask = low_mask(page_bits), line_mask = low_mask(line_bits);
    const uint64_t limit = UINT64_C(1) << (m->hw.mmu.g.va_bits - m->hw.mmu.g.canonical);
    const uint64_t asid_tag = tlb_tag(0, m->hw.mmu.asid, 0);
    policy *pol = m->kernel.pol;
    const bool stamps = pol->cls->exact;
    uint64_t hits[4] = {0}, packed = 0;
    vm_status s = VM_OK;
    size_t i;
    for (i = 0; i < n; i++) {
        const uint64_t va = r[i].addr;
        const unsigned kind = r[i].kind & 7;
        if (VM_UNLIKELY((kind > ACCESS_MODIFY) | (r[i].task != task)))
            break;
        const front *f = &fronts[kind == ACCESS_FETCH];
        const uint64_t vpn = va >> page_bits;
        const tlb_entry *t = f->tlb + (size_t)((uint32_t)vpn & f->tlb_mask) * f->tlb_ways;
        const uint64_t pay = t->pay;
        const uint32_t line =
            (uint32_t)((pay >> 8 << (page_bits - line_bits)) | (va & page_mask) >> line_bits);
        const uint32_t tag = f->tags[(size_t)(line & f->tag_mask) << f->tag_shift];
        if (VM_LIKELY((t->tag == (vpn << 19 | asid_tag)) & ((pay & needs[kind]) == needs[kind]) &
                      ((tag | any_dirty[kind]) == (line << 1 | 1)) & (va < limit) &
                      ((va & line_mask) + r[i].size <= line_mask + 1))) {
            packed += UINT64_C(1) << 16 * kind;
            if (stamps)
                pol->stamps[pay >> 8] = ++pol->tick;
            continue;
        }
        if (VM_LIKELY((va < limit) & ((va & line_mask) + r[i].size <= line_mask + 1) &
                      (kind != ACCESS_MODIFY))) {
            run_ahead(m, r, i, n);
            if (run_near(m, f, va, vpn, vpn << 19 | asid_tag, (access_kind)kind, needs[kind]))
                continue;
        }
        s = machine_one(m, p, va, r[i].size, (access_kind)kind, NULL, NULL, info, e);
        if (VM_UNLIKELY(s != VM_OK))
            break;
    }
    for (unsigned k = 0; k < 4; k++)
        hits[k] = packed >> 16 * k & 0xffff;
    run_settle(m, hits);
    *done = i;
    return s;
}

#define RUN_MAX 0xffff /* hits of a kind are counted in 16 bits */

vm_status machine_run(machine *m, process *p, uint16_t task, const access_record *r, size_t n,
                      size_t *done, fault_info *info, vm_error *e)
{
    front fronts[2];
    size_t i = 0;
    kernel_switch(&m->kernel, p);
    bool fast = m->opt.shortcuts && m->hw.mmu.paging && !m->opt.straddle && !m->hw.cache_probe &&
                !m->hw.mmu.probe && m->kernel.cfg.stamped && front_of(m, false, &fronts[0]) &&
                front_of(m, true, &fronts[1]) && m->hw.l1i->line_bits == m->hw.l1d->line_bits;
    vm_status s = VM_OK;
    if (fast) {
        while (i < n && s == VM_OK) {
            size_t ran, want = n - i < RUN_MAX ? n - i : RUN_MAX;
            s = run_fast(m, p, task, r + i, want, &ran, fronts, info, e);
            i += ran;
            if (ran < want)
                break;
        }
    } else {
        for (; i < n && r[i].kind <= ACCESS_MODIFY && r[i].task == task; i++) {
            s = machine_one(m, p, r[i].addr, r[i].size, (access_kind)r[i].kind, NULL, NULL, info,
                            e);
            if (s != VM_OK)
                break;
        }
    }
    *done = i;
    return s;
}
