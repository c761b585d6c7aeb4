/* tlb.h: translation look-aside buffers, set-associative, of several page sizes.
 *
 * An entry is a tag and a payload of 64 bits each:
 *   tag      vpn << 19 | asid << 3 | size class << 1 | 1; 0 is an empty entry.
 *            The vpn counts pages of the entry's own size; size class 0 is the
 *            base page, k the page of k table levels up. Global entries have
 *            the reserved asid TLB_GLOBAL and match every address space.
 *   payload  first frame (in base pages) << 8 | TLB_R, TLB_W, ... bits
 * so a level needs vpns of at most 45 bits, and asids below 65535.
 *
 * One lookup probes each page size of which the TLB holds an entry, and counts
 * once. As with caches, LRU sets stand in order of recency (`ordered`), other
 * policies, and LRU where shortcuts are off, keep ways fixed.
 *
 * Invariant: an entry agrees with the PTE it was filled from, but for A.
 */
#ifndef VM_TLB_H
#define VM_TLB_H

#include "../base/base.h"
#include "../policy/policy.h"

#define TLB_CLASSES  4
#define TLB_GLOBAL   0xffffu
#define TLB_VPN_BITS 45

enum { TLB_R = 1, TLB_W = 2, TLB_X = 4, TLB_U = 8, TLB_D = 16, TLB_G = 32 };

typedef struct tlb_entry {
    uint64_t tag, pay;
} tlb_entry;

#define TLB_COUNTERS(X)                                                                            \
    X(lookups, "lookups", "accesses", "translations asked of this level")                          \
    X(misses, "misses", "accesses", "of these, not found here")                                    \
    X(fills, "fills", "entries", "entries put in")                                                 \
    X(evictions, "evictions", "entries", "entries given up for another")                           \
    X(invalidations, "invalidations", "entries", "entries removed by invalidation or flush")

typedef struct tlb_counters {
#define X(field, name, unit, doc) uint64_t field;
    TLB_COUNTERS(X)
#undef X
} tlb_counters;

typedef struct tlb_config {
    const char *name;
    uint32_t entries; /* 0: this level is left out */
    uint32_t ways;
    uint32_t latency; /* cycles that a lookup takes */
    policy_choice policy;
} tlb_config;

typedef struct tlb {
    tlb_entry *e; /* [set * ways + i] */
    uint32_t set_mask, ways;
    bool ordered;
    uint32_t held[TLB_CLASSES]; /* entries by size class */
    uint32_t global_held;
    unsigned class_shift[TLB_CLASSES]; /* base-page vpn to the class's vpn */
    tlb_counters n;
    policy *pol; /* NULL if ordered */
    tlb_config cfg;
    const vm_host *host;
} tlb;

VM_INLINE uint64_t tlb_tag(uint64_t vpn, uint32_t asid, unsigned size_class)
{
    return vpn << 19 | (uint64_t)asid << 3 | (uint64_t)size_class << 1 | 1;
}
VM_INLINE unsigned tlb_tag_class(uint64_t tag) { return (unsigned)(tag >> 1 & 3); }
VM_INLINE uint32_t tlb_tag_asid(uint64_t tag) { return (uint32_t)(tag >> 3 & 0xffff); }
VM_INLINE uint64_t tlb_tag_vpn(uint64_t tag) { return tag >> 19; }

vm_status tlb_init(tlb *t, const vm_host *host, const tlb_config *cfg,
                   const unsigned class_shift[TLB_CLASSES], bool ordered, uint64_t seed,
                   vm_error *e);
void tlb_free(tlb *t);

/* Look base-page number `vpn` up for the address space; counts, and tells the
 * policy of a hit. The entry stays valid until the next call. NULL: miss. */
tlb_entry *tlb_lookup(tlb *t, uint64_t vpn, uint32_t asid);
/* The same without counting or touching. */
const tlb_entry *tlb_peek(const tlb *t, uint64_t vpn, uint32_t asid);
/* Put an entry in (size class and asid are in its tag); a present one with the
 * same tag is replaced. */
vm_status tlb_fill(tlb *t, tlb_entry entry, vm_error *e);
/* The same for an entry that the TLB is known not to hold: a lookup just missed. */
vm_status tlb_fill_missing(tlb *t, tlb_entry entry, vm_error *e);
/* Replace the payload of the entry with this tag, if it is here; no count. */
void tlb_update(tlb *t, uint64_t tag, uint64_t pay);
/* Remove what translates vpn for the asid, of any size, and global ones. */
bool tlb_invalidate(tlb *t, uint64_t vpn, uint32_t asid);
/* Remove all of the asid's entries; TLB_GLOBAL: all non-global ones of every asid. */
void tlb_flush(tlb *t, uint32_t asid);
/* Remove everything, global entries too. */
void tlb_flush_all(tlb *t);

VM_INLINE uint32_t tlb_sets(const tlb *t) { return t->set_mask + 1; }
const char *tlb_check(const tlb *t);

#endif
