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

#include "disk.h"
#include "mmu.h"

#define CACHE_LEVELS 6  /* l1 or l1i and l1d, l2, l3, l4 */
#define HW_CPUS      64 /* the most; sets of processors are masks */

typedef struct processor {
    mmu mmu;
    cache own[CACHE_LEVELS]; /* the first `private_count` of the machine's */
    cache *l1i, *l1d;
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
