/* machine_stats.c: every counter of a machine under its dotted name, and the
 * walk over all invariants. Names, units and docs come from the lists beside the
 * counters' declarations.
 */
#include <stdio.h>

#include "machine.h"

typedef struct stats {
    stat_visitor *visit;
    void *ud;
    char prefix[48];
} stats;

static void stats_put(const stats *s, const char *name, const char *unit, const char *doc,
                      uint64_t value)
{
    char full[112];
    snprintf(full, sizeof full, "%s%s", s->prefix, name);
    s->visit(s->ud, full, unit, doc, value);
}

static void stats_cache(const stats *s, const cache *c)
{
    static const char *const classes[] = {"data", "fetch", "walk"};
    static const char *const ways[] = {"read", "write"};
    uint64_t refs = 0, misses = 0;
    char name[40];
    for (int t = 0; t < TRAFFIC_CLASSES; t++)
        for (int w = 0; w < 2; w++) {
            refs += c->n.refs[w][t];
            misses += c->n.misses[w][t];
            snprintf(name, sizeof name, "%s.%ss", classes[t], ways[w]);
            stats_put(s, name, "accesses", "accesses asked of this level", c->n.refs[w][t]);
            snprintf(name, sizeof name, "%s.%s_misses", classes[t], ways[w]);
            stats_put(s, name, "accesses", "of these, not found here", c->n.misses[w][t]);
        }
    stats_put(s, "accesses", "accesses", "all accesses asked of this level", refs);
    stats_put(s, "hits", "accesses", "of these, found here", refs - misses);
    stats_put(s, "misses", "accesses", "of these, not found here", misses);
#define X(field, label, unit, doc) stats_put(s, label, unit, doc, c->n.field);
#define D(field, doc)
    CACHE_COUNTERS(X, D)
#undef X
#undef D
}

static void stats_tlb(const stats *s, const tlb *t)
{
#define X(field, label, unit, doc) stats_put(s, label, unit, doc, t->n.field);
    TLB_COUNTERS(X)
#undef X
    stats_put(s, "hits", "accesses", "lookups that found their page", t->n.lookups - t->n.misses);
}

void machine_visit_stats(const machine *m, stat_visitor *visit, void *ud)
{
    const hardware *hw = &m->hw;
    stats s = {visit, ud, "access."};
#define X(field, label, unit, doc) stats_put(&s, label, unit, doc, m->n.field);
    MACHINE_COUNTERS(X)
#undef X
    stats_put(&s, "total", "accesses", "fetches, loads and stores",
              m->n.fetches + m->n.loads + m->n.stores);
    for (unsigned i = 0; i < hw->mmu.tlb_count; i++) {
        snprintf(s.prefix, sizeof s.prefix, "tlb.%s.", hw->mmu.tlbs[i].cfg.name);
        stats_tlb(&s, &hw->mmu.tlbs[i]);
    }
    for (unsigned k = 1; k < PT_LEVELS_MAX; k++)
        if (hw->mmu.has_pwc[k]) {
            snprintf(s.prefix, sizeof s.prefix, "%s.", hw->mmu.pwc[k].cfg.name);
            stats_tlb(&s, &hw->mmu.pwc[k]);
        }
    snprintf(s.prefix, sizeof s.prefix, "mmu.");
#define X(field, label, unit, doc) stats_put(&s, label, unit, doc, hw->mmu.n.field);
    MMU_COUNTERS(X)
#undef X
    for (unsigned k = 0; k < hw->mmu.g.levels; k++) {
        char name[32];
        snprintf(name, sizeof name, "pte_reads.l%u", k);
        stats_put(&s, name, "entries", "entries read by walks at this level (0: leaves)",
                  hw->mmu.n.pte_reads[k]);
    }
    for (unsigned i = 0; i < hw->cache_count; i++) {
        snprintf(s.prefix, sizeof s.prefix, "cache.%s.", hw->caches[i].cfg.name);
        stats_cache(&s, &hw->caches[i]);
    }
    snprintf(s.prefix, sizeof s.prefix, "dram.");
    stats_put(&s, "data.reads", "lines", "lines read for loads and stores",
              hw->memory.reads[TRAFFIC_DATA]);
    stats_put(&s, "fetch.reads", "lines", "lines read for instruction fetches",
              hw->memory.reads[TRAFFIC_FETCH]);
    stats_put(&s, "walk.reads", "lines", "lines read for page-table walks",
              hw->memory.reads[TRAFFIC_WALK]);
    stats_put(&s, "writes", "lines", "writes that reached DRAM", hw->memory.writes);
    snprintf(s.prefix, sizeof s.prefix, "disk.");
#define X(field, label, unit, doc) stats_put(&s, label, unit, doc, hw->disk.n.field);
    DISK_COUNTERS(X)
#undef X
    snprintf(s.prefix, sizeof s.prefix, "kernel.");
#define X(field, label, unit, doc) stats_put(&s, label, unit, doc, m->kernel.n.field);
    KERNEL_COUNTERS(X)
#undef X
    snprintf(s.prefix, sizeof s.prefix, "cycles.");
    machine_time t;
    machine_time_now(m, &t);
#define X(field, label, unit, doc) stats_put(&s, label, unit, doc, t.field);
    MACHINE_CYCLES(X)
#undef X
    stats_put(&s, "total", "cycles", "the sum of the above", t.total);
}

void machine_reset_counters(machine *m)
{
    m->clock_base = machine_clock(m);
    memset(&m->n, 0, sizeof m->n);
    memset(&m->kernel.n, 0, sizeof m->kernel.n);
    memset(&m->hw.memory, 0, sizeof m->hw.memory);
    memset(&m->hw.disk.n, 0, sizeof m->hw.disk.n);
    memset(&m->hw.mmu.n, 0, sizeof m->hw.mmu.n);
    for (unsigned i = 0; i < m->hw.cache_count; i++)
        memset(&m->hw.caches[i].n, 0, sizeof m->hw.caches[i].n);
    for (unsigned i = 0; i < m->hw.mmu.tlb_count; i++)
        memset(&m->hw.mmu.tlbs[i].n, 0, sizeof m->hw.mmu.tlbs[i].n);
    for (unsigned k = 1; k < PT_LEVELS_MAX; k++)
        memset(&m->hw.mmu.pwc[k].n, 0, sizeof m->hw.mmu.pwc[k].n);
    for (size_t i = 1; i < m->kernel.process_count; i++)
        memset(&m->kernel.processes[i]->n, 0, sizeof m->kernel.processes[i]->n);
}

const char *machine_check(machine *m)
{
    const char *broken = mmu_check(&m->hw.mmu);
    for (unsigned i = 0; i < m->hw.cache_count && !broken; i++)
        broken = cache_check(&m->hw.caches[i]);
    return broken ? broken : kernel_check(&m->kernel);
}
