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

/* Counters are structs of nothing but numbers. */
static void stats_add(void *to, const void *from, size_t bytes)
{
    uint64_t *sum = to;
    const uint64_t *n = from;
    for (size_t i = 0; i < bytes / sizeof *sum; i++)
        sum[i] += n[i];
}

static void stats_cache(const stats *s, const cache_counters *n)
{
    static const char *const classes[] = {"data", "fetch", "walk"};
    static const char *const ways[] = {"read", "write"};
    uint64_t refs = 0, misses = 0;
    char name[40];
    for (int t = 0; t < TRAFFIC_CLASSES; t++)
        for (int w = 0; w < 2; w++) {
            refs += n->refs[w][t];
            misses += n->misses[w][t];
            snprintf(name, sizeof name, "%s.%ss", classes[t], ways[w]);
            stats_put(s, name, "accesses", "accesses asked of this level", n->refs[w][t]);
            snprintf(name, sizeof name, "%s.%s_misses", classes[t], ways[w]);
            stats_put(s, name, "accesses", "of these, not found here", n->misses[w][t]);
        }
    stats_put(s, "accesses", "accesses", "all accesses asked of this level", refs);
    stats_put(s, "hits", "accesses", "of these, found here", refs - misses);
    stats_put(s, "misses", "accesses", "of these, not found here", misses);
#define X(field, label, unit, doc) stats_put(s, label, unit, doc, n->field);
#define D(field, doc)
    CACHE_COUNTERS(X, D)
#undef X
#undef D
}

static void stats_tlb(const stats *s, const tlb_counters *n)
{
#define X(field, label, unit, doc) stats_put(s, label, unit, doc, n->field);
    TLB_COUNTERS(X)
#undef X
    stats_put(s, "hits", "accesses", "lookups that found their page", n->lookups - n->misses);
}

static void stats_name(stats *s, const char *before, const char *part, const char *name)
{
    snprintf(s->prefix, sizeof s->prefix, "%s%s%s.", before, part, name);
}

/* What the processors from `first` to before `stop`, which are alike, have each for
 * itself, summed. Caches that all share belong to the first. */
static void stats_processors(stats *s, const hardware *hw, unsigned first, unsigned stop,
                             const char *before)
{
    const mmu *u = &hw->cpus[first].mmu;
    mmu_counters walks = {0};
    for (unsigned i = 0; i < u->tlb_count; i++) {
        tlb_counters n = {0};
        for (unsigned cpu = first; cpu < stop; cpu++)
            stats_add(&n, &hw->cpus[cpu].mmu.tlbs[i].n, sizeof n);
        stats_name(s, before, "tlb.", u->tlbs[i].cfg.name);
        stats_tlb(s, &n);
    }
    for (unsigned k = 1; k < PT_LEVELS_MAX; k++) {
        tlb_counters n = {0};
        if (!u->has_pwc[k])
            continue;
        for (unsigned cpu = first; cpu < stop; cpu++)
            stats_add(&n, &hw->cpus[cpu].mmu.pwc[k].n, sizeof n);
        stats_name(s, before, "", u->pwc[k].cfg.name);
        stats_tlb(s, &n);
    }
    for (unsigned cpu = first; cpu < stop; cpu++)
        stats_add(&walks, &hw->cpus[cpu].mmu.n, sizeof walks);
    stats_name(s, before, "", "mmu");
#define X(field, label, unit, doc) stats_put(s, label, unit, doc, walks.field);
    MMU_COUNTERS(X)
#undef X
    for (unsigned k = 0; k < hw->g.levels; k++) {
        char name[32];
        snprintf(name, sizeof name, "pte_reads.l%u", k);
        stats_put(s, name, "entries", "entries read by walks at this level (0: leaves)",
                  walks.pte_reads[k]);
    }
    for (unsigned i = 0; i < (*before ? hw->private_count : hw->cache_count); i++) {
        cache_counters n = {0};
        for (unsigned cpu = first; cpu < stop; cpu++)
            if (i < hw->private_count || cpu == first)
                stats_add(&n, &hardware_cache(hw, cpu, i)->n, sizeof n);
        stats_name(s, before, "cache.", hardware_cache(hw, first, i)->cfg.name);
        stats_cache(s, &n);
    }
}

static void stats_each_processor(stats *s, const machine *m)
{
    const hardware *hw = &m->hw;
    for (unsigned cpu = 0; cpu < hw->cpu_count; cpu++) {
        char before[16];
        processor_counters n = hw->cpus[cpu].n;
        n.cycles = kernel_cpu_cycles(&m->kernel, cpu);
        snprintf(before, sizeof before, "cpu%u.", cpu);
        snprintf(s->prefix, sizeof s->prefix, "%s", before);
#define X(field, label, unit, doc) stats_put(s, label, unit, doc, n.field);
        PROCESSOR_COUNTERS(X)
#undef X
        stats_processors(s, hw, cpu, cpu + 1, before);
    }
    stats_name(s, "", "", "coherence");
#define X(field, label, unit, doc) stats_put(s, label, unit, doc, hw->coherent.n.field);
    COHERENCE_COUNTERS(X)
#undef X
    stats_put(s, "transfers", "blocks", "of both, each costs cache.transfer cycles",
              hw->coherent.n.transfers[TRAFFIC_DATA] + hw->coherent.n.transfers[TRAFFIC_FETCH] +
                  hw->coherent.n.transfers[TRAFFIC_WALK]);
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
    stats_processors(&s, hw, 0, hw->cpu_count, "");
    if (hw->cpu_count > 1)
        stats_each_processor(&s, m);
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
    m->clock_base = m->kernel.cpu_since = machine_clock(m);
    memset(&m->n, 0, sizeof m->n);
    memset(&m->kernel.n, 0, sizeof m->kernel.n);
    memset(&m->hw.memory, 0, sizeof m->hw.memory);
    memset(&m->hw.disk.n, 0, sizeof m->hw.disk.n);
    for (unsigned cpu = 0; cpu < m->hw.cpu_count; cpu++) {
        mmu *u = &m->hw.cpus[cpu].mmu;
        memset(&m->hw.cpus[cpu].n, 0, sizeof m->hw.cpus[cpu].n);
        memset(&u->n, 0, sizeof u->n);
        for (unsigned i = 0; i < u->tlb_count; i++)
            memset(&u->tlbs[i].n, 0, sizeof u->tlbs[i].n);
        for (unsigned k = 1; k < PT_LEVELS_MAX; k++)
            memset(&u->pwc[k].n, 0, sizeof u->pwc[k].n);
        for (unsigned i = 0; i < m->hw.cache_count; i++) {
            cache *c = hardware_cache(&m->hw, cpu, i);
            memset(&c->n, 0, sizeof c->n);
        }
    }
    memset(&m->hw.coherent.n, 0, sizeof m->hw.coherent.n);
    for (size_t i = 1; i < m->kernel.process_count; i++)
        memset(&m->kernel.processes[i]->n, 0, sizeof m->kernel.processes[i]->n);
}

const char *machine_check(machine *m)
{
    const char *broken = NULL;
    for (unsigned cpu = 0; cpu < m->hw.cpu_count && !broken; cpu++) {
        broken = mmu_check(&m->hw.cpus[cpu].mmu);
        for (unsigned i = 0; i < m->hw.cache_count && !broken; i++)
            broken = cache_check(hardware_cache(&m->hw, cpu, i));
    }
    if (!broken)
        broken = coherence_check(&m->hw.coherent);
    return broken ? broken : kernel_check(&m->kernel);
}
