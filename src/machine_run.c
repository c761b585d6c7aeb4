/* machine_run.c: runs of trace records, as fast as the counters allow.
 *
 * The loop is in machine_engine.h and is made twice: for every processor, and
 * with vectors for those that have AVX-512. Here is what both share: the lanes
 * in which accesses are answered, the settling of counts, the choice.
 */
#include "machine.h"

/* What the near way needs beside. */
typedef struct lane_more {
    tlb *first, *second; /* TLB levels; second may be NULL */
    cache *cache;
    access_kind kind;
    bool fetch;
    unsigned leaf_bits; /* of the index in a leaf table */
    uint64_t pte_need;  /* bits of a PTE that a walk has nothing to add to */
} lane_more;

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
    const lane_more *more;
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

static bool lane_init(const machine *m, unsigned kind, lane *l, lane_more *more)
{
    static const uint64_t needs[4] = {TLB_X | TLB_U, TLB_R | TLB_U, TLB_W | TLB_U | TLB_D,
                                      TLB_R | TLB_W | TLB_U | TLB_D};
    const mmu *u = m->hw.mmu;
    const pte_format *f = u->g.format;
    bool fetch = kind == ACCESS_FETCH;
    cache *c = fetch ? m->hw.l1i : m->hw.l1d;
    const tlb *t = u->chain_count[fetch] ? u->chain[fetch][0] : NULL;
    if (!c || !t || !t->ordered || !c->simple || c->line_bits > u->g.page_bits)
        return false;
    *more =
        (lane_more){.first = u->chain[fetch][0],
                    .second = lane_second(u, fetch),
                    .cache = c,
                    .kind = (access_kind)kind,
                    .fetch = fetch,
                    .leaf_bits = u->g.bits[0],
                    .pte_need = f->present | f->accessed | (needs[kind] & TLB_D ? f->dirty : 0)};
    *l = (lane){.tlb = t->e,
                .more = more,
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

/* What the hits that were answered in line would have counted: 16 bits for each
 * kind of access. */
static VM_NOINLINE void run_settle(machine *m, uint64_t packed)
{
    uint64_t hits[4];
    for (unsigned k = 0; k < 4; k++)
        hits[k] = packed >> 16 * k & 0xffff;
    uint64_t data = hits[ACCESS_LOAD] + hits[ACCESS_STORE] + 2 * hits[ACCESS_MODIFY];
    m->n.fetches += hits[ACCESS_FETCH];
    m->n.loads += hits[ACCESS_LOAD] + hits[ACCESS_MODIFY];
    m->n.stores += hits[ACCESS_STORE] + hits[ACCESS_MODIFY];
    m->n.modifies += hits[ACCESS_MODIFY];
    if (hits[ACCESS_FETCH]) {
        m->hw.mmu->chain[1][0]->n.lookups += hits[ACCESS_FETCH];
        m->hw.l1i->n.refs[0][TRAFFIC_FETCH] += hits[ACCESS_FETCH];
    }
    if (data) {
        m->hw.mmu->chain[0][0]->n.lookups += data;
        m->hw.l1d->n.refs[0][TRAFFIC_DATA] += hits[ACCESS_LOAD] + hits[ACCESS_MODIFY];
        m->hw.l1d->n.refs[1][TRAFFIC_DATA] += hits[ACCESS_STORE] + hits[ACCESS_MODIFY];
    }
}

#define RUN_AHEAD 12 /* records ahead of which the PTE is fetched */

/* Requests that wait for the caches below the first level: see machine_batch.h. */
enum {
    QUEUE_ROOM = 1024,
    QUEUE_PART = QUEUE_ROOM / 2,               /* each makes two of the next level at most */
    QUEUE_ACCESS = 2 * (PT_LEVELS_MAX + 2),    /* of one access: a walk and two lines */
    QUEUE_AHEAD = 8,                           /* requests ahead of which a set is fetched */
    QUEUE_COUNT = 16,                          /* bits of the count of a class */
    QUEUE_BACK = QUEUE_COUNT * TRAFFIC_CLASSES /* the class of lines written back */
};

/* What accesses within a line share, and what the near way has left to be done:
 * requests, and the counts of TLBs and walks. */
typedef struct pending {
    machine *m;
    process *p;
    fault_info *info;
    vm_error *e;
    mmu *mmu;
    uint64_t asid_tag;
    uint64_t coming; /* an address that will be asked for soon */
    uint64_t frame;  /* of the last access, if the near way served it; else FRAME_NONE */
    uint64_t near;   /* accesses, each in the field of its kind (lane.count) */
    uint64_t misses[2], walks[2]; /* of the first and of the second TLB; [1]: fetches */
    cache *to;                    /* where the requests go; NULL: memory */
    size_t n;                     /* requests */
    uint64_t ask[QUEUE_ROOM + QUEUE_AHEAD];
} pending;

static void pending_init(pending *q, machine *m, process *p, fault_info *info, vm_error *e)
{
    q->m = m;
    q->p = p;
    q->info = info;
    q->e = e;
    q->mmu = m->hw.mmu;
    q->asid_tag = tlb_tag(0, m->hw.mmu->asid, 0);
    q->near = 0;
    q->misses[0] = q->misses[1] = q->walks[0] = q->walks[1] = 0;
    q->to = m->hw.l1d->next;
    q->n = 0;
}

/* A miss of the first TLB that the near way served was a lookup of the second, and
 * each miss is a fill and an eviction; but see ENGINE(fill). */
static void pending_count(pending *q)
{
    mmu *u = q->mmu;
    uint64_t walks = q->walks[0] + q->walks[1];
    for (unsigned fetch = 0; fetch < 2; fetch++) {
        if (!q->misses[fetch])
            continue;
        tlb_counters *first = &u->chain[fetch][0]->n, *second = &u->chain[fetch][1]->n;
        first->misses += q->misses[fetch];
        first->fills += q->misses[fetch];
        first->evictions += q->misses[fetch];
        second->lookups += q->misses[fetch];
        second->misses += q->walks[fetch];
        second->fills += q->walks[fetch];
        second->evictions += q->walks[fetch];
        q->misses[fetch] = q->walks[fetch] = 0;
    }
    u->n.walks += walks;
    for (unsigned k = 0; k < u->g.levels; k++)
        u->n.pte_reads[k] += walks;
    if (walks)
        u->walk_cache->n.refs[0][TRAFFIC_WALK] += walks * u->g.levels;
}

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

VM_INLINE void run_front(tlb_entry *s, uint32_t ways, uint32_t at, tlb_entry entry)
{
    (void)ways;
    for (; at > 0; at--)
        s[at] = s[at - 1];
    s[0] = entry;
}

#define ENGINE(name)  run_any_##name
#define ENGINE_SET_8  set_touch
#define ENGINE_SET_16 set_touch
#define ENGINE_FIND   run_find
#define ENGINE_FRONT  run_front
#include "machine_engine.h"

#ifdef SET_OP_VECTORS
#pragma GCC push_options
#pragma GCC target("avx512f,avx512vl,bmi,bmi2")
/* Bits of the tag's lanes in a set of 4, 8, 12 or 16 entries; two lanes an entry. */
VM_INLINE uint32_t run_lanes_avx512(const tlb_entry *s, const uint32_t ways, uint64_t tag)
{
    const __m512i want = _mm512_set1_epi64((long long)tag);
    uint32_t found = 0;
    for (uint32_t i = 0; i < ways; i += 4)
        found |= SET_MASK((__mmask16)_mm512_cmpeq_epi64_mask(_mm512_load_si512(s + i), want))
                 << 2 * i;
    return found & 0x55555555;
}
VM_INLINE uint32_t run_find_avx512(const tlb_entry *s, uint32_t ways, uint64_t tag)
{
    uint32_t found = ways == 4    ? run_lanes_avx512(s, 4, tag)
                     : ways == 8  ? run_lanes_avx512(s, 8, tag)
                     : ways == 12 ? run_lanes_avx512(s, 12, tag)
                     : ways == 16 ? run_lanes_avx512(s, 16, tag)
                                  : 0;
    if (ways % 4 || ways > 16)
        return run_find(s, ways, tag);
    return found ? (uint32_t)__builtin_ctz(found) / 2 : ways;
}

/* Whole vectors at a time, as run_find_avx512 reads them: a narrow store would make
 * the next find of the set wait. */
VM_INLINE void run_shift_avx512(tlb_entry *s, const uint32_t ways, uint32_t at, tlb_entry entry)
{
    const uint32_t moved = (2u << (2 * at + 1)) - 1;
    __m512i left =
        _mm512_broadcast_i32x4(_mm_set_epi64x((long long)entry.pay, (long long)entry.tag));
    for (uint32_t i = 0; i < ways; i += 4) {
        __m512i v = _mm512_load_si512(s + i);
        __m512i from_left = _mm512_alignr_epi64(v, left, 6);
        _mm512_store_si512(s + i, _mm512_mask_mov_epi64(v, (__mmask8)(moved >> 2 * i), from_left));
        left = v;
    }
}
VM_INLINE void run_front_avx512(tlb_entry *s, uint32_t ways, uint32_t at, tlb_entry entry)
{
    if (ways == 4)
        run_shift_avx512(s, 4, at, entry);
    else if (ways == 8)
        run_shift_avx512(s, 8, at, entry);
    else if (ways == 12)
        run_shift_avx512(s, 12, at, entry);
    else if (ways == 16)
        run_shift_avx512(s, 16, at, entry);
    else
        run_front(s, ways, at, entry);
}
#define ENGINE(name)  run_avx512_##name
#define ENGINE_SET_8  set_touch_8_avx512
#define ENGINE_SET_16 set_touch_16_avx512
#define ENGINE_FIND   run_find_avx512
#define ENGINE_FRONT  run_front_avx512
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
    lane_more more[4];
    size_t i = 0;
    kernel_switch(&m->kernel, p);
    bool fast = m->opt.shortcuts && m->hw.mmu->paging && !m->opt.straddle && !m->hw.cache_probe &&
                !m->hw.mmu->probe && m->kernel.cfg.stamped && !m->handlers &&
                m->hw.cpu_count == 1 && !p->space->watch;
    for (unsigned k = 0; k < 4 && fast; k++)
        fast = lane_init(m, k, &lanes[k], &more[k]) && m->hw.l1i->line_bits == m->hw.l1d->line_bits;
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
