/* machine_run.c: runs of trace records, as fast as the counters allow.
 *
 * The loop is in machine_engine.h and is made twice: for every processor, and
 * with vectors for those that have AVX-512. Here is what both share: the lanes
 * in which accesses are answered, the settling of counts, the choice.
 */
#include "machine.h"

/* The TLB levels that the near way knows; second may be NULL. */
typedef struct lane_tlbs {
    tlb *first, *second;
} lane_tlbs;

/* Where one kind of access meets its most recent entries, the first way of the L1
 * TLB set and of the L1 cache set, both in order of recency; and what it needs
 * there. One cache line of the host each. */
typedef struct lane {
    tlb_entry *tlb;
    uint32_t *tags;
    uint32_t tlb_mask, tlb_ways, tag_mask, tag_shift;
    uint64_t need;    /* payload bits */
    uint64_t count;   /* one hit, in the field of its kind */
    uint32_t dirties; /* 1: the line is dirty afterwards */
    const lane_tlbs *levels;
} lane;

/* The second and last TLB level, if a miss there can be served by a remembered
 * walk. (A page that a remembered leaf table maps is in no TLB as part of a
 * larger page, and walks that meet a global page leave the near way.) */
static tlb *lane_second(const mmu *u, bool fetch)
{
    tlb *t = u->chain_count[fetch] == 2 ? u->chain[fetch][1] : NULL;
    bool serves = t && t->ordered && u->memos && u->g.format->bytes == 8 && u->walk_cache &&
                  u->walk_cache->simple;
    return serves ? t : NULL;
}

static bool lane_init(const machine *m, unsigned kind, lane *l, lane_tlbs *levels)
{
    static const uint64_t needs[4] = {TLB_X | TLB_U, TLB_R | TLB_U, TLB_W | TLB_U | TLB_D,
                                      TLB_R | TLB_W | TLB_U | TLB_D};
    const mmu *u = &m->hw.mmu;
    bool fetch = kind == ACCESS_FETCH;
    const cache *c = fetch ? m->hw.l1i : m->hw.l1d;
    const tlb *t = u->chain_count[fetch] ? u->chain[fetch][0] : NULL;
    if (!c || !t || !t->ordered || !c->simple || c->line_bits > u->g.page_bits)
        return false;
    *levels = (lane_tlbs){u->chain[fetch][0], lane_second(u, fetch)};
    *l = (lane){.tlb = t->e,
                .levels = levels,
                .tags = c->packed,
                .tlb_mask = t->set_mask,
                .tlb_ways = t->ways,
                .tag_mask = c->set_mask,
                .tag_shift = c->stride_bits,
                .need = needs[kind],
                .count = UINT64_C(1) << 16 * kind,
                .dirties = kind > ACCESS_LOAD};
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

#define RUN_AHEAD_PTE 12 /* records ahead of which the PTE is fetched */

/* Requests that wait for the caches below the first level: see machine_batch.h. */
enum {
    QUEUE_ROOM = 1024,
    QUEUE_PART = QUEUE_ROOM / 2,               /* each makes two of the next level at most */
    QUEUE_ACCESS = 2 * (PT_LEVELS_MAX + 1),    /* of one access: a walk and the line itself */
    QUEUE_AHEAD = 8,                           /* requests ahead of which a set is fetched */
    QUEUE_COUNT = 16,                          /* bits of the count of a class */
    QUEUE_BACK = QUEUE_COUNT * TRAFFIC_CLASSES /* the class of lines written back */
};

typedef struct cache_queue {
    cache *to; /* NULL: memory */
    memory_counters *memory;
    size_t n;
    uint64_t ask[QUEUE_ROOM + QUEUE_AHEAD];
} cache_queue;

/* The count of a class in a word of counts. */
VM_INLINE uint64_t queue_count(uint64_t counts, unsigned c)
{
    return counts >> QUEUE_COUNT * c & low_mask(QUEUE_COUNT);
}

VM_INLINE uint32_t run_find(const tlb_entry *s, uint32_t ways, uint64_t tag)
{
    /* To the end without a branch: where the entry stands can't be predicted. */
    uint32_t at = ways;
    for (uint32_t i = 0; i < ways; i++)
        at = s[i].tag == tag ? i : at;
    return at;
}

#define ENGINE(name)  run_any_##name
#define ENGINE_SET_8  set_touch
#define ENGINE_SET_16 set_touch
#define ENGINE_FIND   run_find
#include "machine_engine.h"

#ifdef SET_OP_VECTORS
#pragma GCC push_options
#pragma GCC target("avx512f,avx512vl,bmi,bmi2")
VM_INLINE uint32_t run_find_avx512(const tlb_entry *s, uint32_t ways, uint64_t tag)
{
    if (ways % 4)
        return run_find(s, ways, tag);
    const __m512i want = _mm512_set1_epi64((long long)tag);
    uint32_t found = 0;
    for (uint32_t i = 0; i < ways && i < 16; i += 4) {
        uint32_t m = SET_MASK((__mmask16)_mm512_cmpeq_epi64_mask(_mm512_load_si512(s + i), want));
        found |= (m & 0x55) << 2 * i;
    }
    if (ways > 16 && !found) {
        uint32_t at = run_find(s + 16, ways - 16, tag);
        return at + 16;
    }
    return found ? (uint32_t)__builtin_ctz(found) / 2 : ways;
}
#define ENGINE(name)  run_avx512_##name
#define ENGINE_SET_8  set_touch_8_avx512
#define ENGINE_SET_16 set_touch_16_avx512
#define ENGINE_FIND   run_find_avx512
#include "machine_engine.h"
#pragma GCC pop_options
#endif

#define RUN_MAX 0xffff /* hits of a kind are counted in 16 bits */

typedef vm_status run_engine(machine *m, process *p, uint16_t task, const access_record *r,
                             size_t n, size_t *done, const lane lanes[4], fault_info *info,
                             vm_error *e);

vm_status machine_run(machine *m, process *p, uint16_t task, const access_record *r, size_t n,
                      size_t *done, fault_info *info, vm_error *e)
{
    lane lanes[4];
    lane_tlbs levels[4];
    size_t i = 0;
    kernel_switch(&m->kernel, p);
    bool fast = m->opt.shortcuts && m->hw.mmu.paging && !m->opt.straddle && !m->hw.cache_probe &&
                !m->hw.mmu.probe && m->kernel.cfg.stamped;
    for (unsigned k = 0; k < 4 && fast; k++)
        fast =
            lane_init(m, k, &lanes[k], &levels[k]) && m->hw.l1i->line_bits == m->hw.l1d->line_bits;
    vm_status s = VM_OK;
    run_engine *engine = run_any_run;
#ifdef SET_OP_VECTORS
    if (m->opt.vectors && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512vl") &&
        __builtin_cpu_supports("bmi2"))
        engine = run_avx512_run;
#endif
    if (fast) {
        while (i < n && s == VM_OK) {
            size_t ran, want = n - i < RUN_MAX ? n - i : RUN_MAX;
            s = engine(m, p, task, r + i, want, &ran, lanes, info, e);
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
