/* hardware.h: the parts of the machine that are not software, in one place: the
 * kernel is given this and nothing else of the machine.
 *
 * Invariant: `l1i` and `l1d` are where fetches and data enter the caches; they
 * are the same cache if the first level is unified, and NULL without caches.
 */
#ifndef VM_HARDWARE_H
#define VM_HARDWARE_H

#include "disk.h"
#include "mmu.h"

#define CACHE_LEVELS 6 /* l1 or l1i and l1d, l2, l3, l4 */

typedef struct hardware {
    const vm_host *host;
    dram mem;
    memory_counters memory;
    cache caches[CACHE_LEVELS];
    unsigned cache_count;
    cache *l1i, *l1d;
    mmu mmu;
    disk disk;
    vm_status failed;               /* of a policy of a TLB or cache, in the midst of an access */
    const cache_probe *cache_probe; /* NULL while nobody watches */
} hardware;

#endif
