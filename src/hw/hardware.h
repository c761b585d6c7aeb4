/* hardware.h: the parts of the machine that are not software, in one place: the
 * kernel is given this and nothing else of the machine.
 *
 * Processors share the disk, DRAM and the outer levels of cache; each has an MMU
 * and the inner levels for itself. One of them is at work at a time: `cpu`, and
 * `mmu`, `l1i` and `l1d` are its.
 *
 * Invariant: `l1i` and `l1d` are where fetches and data enter the caches; they
 * are the same cache if the first level is unified, and NULL without caches.
 */
#ifndef VM_HARDWARE_H
#define VM_HARDWARE_H

#include "coherence.h"
#include "disk.h"
#include "mmu.h"

#define CACHE_LEVELS COHERENCE_LEVELS /* l1 or l1i and l1d, l2, l3, l4 */
#define HW_CPUS      COHERENCE_CPUS   /* the most; sets of processors are masks */

#define PROCESSOR_COUNTERS(X)                                                                      \
    X(cycles, "cycles", "cycles", "that the processor was at work")                                \
    X(interrupts, "interrupts", "interrupts", "from other processors, to drop translations")

typedef struct processor_counters {
#define X(field, name, unit, doc) uint64_t field;
    PROCESSOR_COUNTERS(X)
#undef X
} processor_counters;

typedef struct processor {
    mmu mmu;
    cache own[CACHE_LEVELS]; /* the first `private_count` of the machine's */
    cache *l1i, *l1d;
    processor_counters n;
} processor;

typedef struct hardware {
    const vm_host *host;
    pt_geometry g; /* each MMU has a copy */
    dram mem;
    memory_counters memory;
    processor *cpus;
    unsigned cpu_count;
    unsigned cpu; /* who is at work */
    mmu *mmu;
    cache *l1i, *l1d;
    cache shared[CACHE_LEVELS];
    unsigned cache_count, private_count; /* of a processor's: all, and its own */
    coherence coherent;                  /* of several processors */
    disk disk;
    vm_status failed;               /* of a policy of a TLB or cache, in the midst of an access */
    const cache_probe *cache_probe; /* NULL while nobody watches */
} hardware;

/* The i-th cache, from the first level on, that the processor's accesses meet. */
VM_INLINE cache *hardware_cache(const hardware *hw, unsigned cpu, unsigned i)
{
    return i < hw->private_count ? &hw->cpus[cpu].own[i]
                                 : (cache *)&hw->shared[i - hw->private_count];
}

/* Tables were made or have gone: no MMU may go a way that it remembers. */
VM_INLINE void hardware_tables_changed(hardware *hw)
{
    for (unsigned i = 0; i < hw->cpu_count; i++)
        hw->cpus[i].mmu.generation++;
}

/* From now on this processor is at work. */
VM_INLINE void hardware_use(hardware *hw, unsigned cpu)
{
    processor *p = &hw->cpus[cpu];
    hw->cpu = cpu;
    hw->mmu = &p->mmu;
    hw->l1i = p->l1i;
    hw->l1d = p->l1d;
}

#endif
