/* cache.h: physically addressed caches, level under level down to DRAM.
 *
 * A cache is told of accesses by line number (pa >> line_bits). A demand access
 * that misses here is a read of the next level; a dirty line that is given up
 * is written back to the next level, where it is allocated without a fetch if
 * it is missing. Lines do not get shorter downwards. Levels are neither inclusive nor
 * exclusive unless a level says `inclusive`: then a line that it gives up
 * leaves all levels above as well.
 *
 * Two representations, chosen at creation, equal in every counter:
 *   packed  LRU only: the tags of a set in order of recency, (line << 1 | dirty)
 *           in 32 bits, so that 16 ways are one cache line of the host and a
 *           hit on the most recent line is one comparison;
 *   plain   fixed ways, any policy by the contract of policy.h.
 *
 * Order of events in a miss: victim chosen and written back, line fetched from
 * below, line inserted. Time is not kept here: it follows from the counters.
 */
#ifndef VM_CACHE_H
#define VM_CACHE_H

#include "../base/base.h"
#include "../policy/policy.h"
#include "setop.h"

typedef enum traffic { TRAFFIC_DATA, TRAFFIC_FETCH, TRAFFIC_WALK, TRAFFIC_CLASSES } traffic;

typedef enum cache_write {
    CACHE_BACK,     /* a written line is dirty and goes down when it is given up */
    CACHE_THROUGH,  /* each write goes on to the next level at once */
    CACHE_UNTRACKED /* a write looks up and allocates as a read does; no line is
                       ever dirty, as in cachegrind's model */
} cache_write;

/* field, dotted name, unit, doc; [read or write][traffic] where it is demand. */
#define CACHE_COUNTERS(X, D)                                                                       \
    D(refs, "accesses asked of this level")                                                        \
    D(misses, "accesses that did not find their line here")                                        \
    X(writebacks, "writebacks", "lines", "dirty lines given up and sent to the level below")       \
    X(writebacks_in, "writebacks_in", "lines", "dirty lines received from the level above")        \
    X(writeback_misses, "writeback_misses", "lines", "of these, lines that were not here")         \
    X(back_invalidations, "back_invalidations", "lines",                                           \
      "lines taken from the levels above because this inclusive level gave them up")

typedef struct cache_counters {
#define X(field, name, unit, doc) uint64_t field;
#define D(field, doc)             uint64_t field[2][TRAFFIC_CLASSES];
    CACHE_COUNTERS(X, D)
#undef X
#undef D
} cache_counters;

typedef struct memory_counters {
    uint64_t reads[TRAFFIC_CLASSES]; /* lines read for a demand access */
    uint64_t writes;                 /* writes that reached DRAM: write-backs and write-through */
} memory_counters;

typedef struct cache_config {
    const char *name; /* "l1d" */
    uint64_t size;    /* bytes; 0: this level is left out */
    uint32_t ways;
    uint32_t line;    /* bytes */
    uint32_t latency; /* cycles that a lookup takes */
    cache_write write;
    bool allocate; /* on a write miss */
    bool inclusive;
    policy_choice policy;
    bool portable; /* use no vector instructions */
} cache_config;

typedef struct cache cache;

/* What a lookup did, told to whoever watches (explain); NULL hook otherwise. */
typedef struct cache_probe {
    void *ud;
    void (*lookup)(void *ud, const cache *c, uint64_t line, bool write, traffic t, bool hit);
    void (*memory)(void *ud, uint64_t pa, bool write, traffic t);
} cache_probe;

#define CACHE_EMPTY 0xfffffffeu /* a packed tag that no line has; not dirty */

struct cache {
    uint32_t *packed; /* [set << stride_bits | recency], or NULL: plain */
    set_op *touch;    /* of a packed set */
    unsigned stride_bits;
    bool simple; /* packed, write-back, allocating, not inclusive: no special case */
    uint32_t set_mask;
    uint32_t ways;
    unsigned line_bits;
    unsigned next_shift; /* this level's line number to the next one's */
    bool fast_writes;    /* a write hit on a dirty line changes nothing */
    bool is_inclusive;
    bool allocate;
    cache_write write;
    cache *next; /* NULL: memory */
    memory_counters *memory;
    const cache_probe *const *probe; /* *probe is NULL while nobody watches */
    cache_counters n;

    uint64_t *tags; /* plain: [set * ways + way] line numbers */
    uint8_t *state; /* plain: CACHE_VALID | CACHE_DIRTY */
    policy *pol;
    cache *above, *beside; /* the first of those whose next this is; the next of such */
    unsigned cpu;          /* whose it is, if a processor's own */
    struct coherence
        *coherent;     /* what keeps it so; NULL: there is one processor, or all share it */
    vm_status *failed; /* a policy's failure, kept for the end of the access */
    vm_error *error;   /* where it is told */
    cache_config cfg;
    const vm_host *host;
};

enum { CACHE_VALID = 1, CACHE_DIRTY = 2 };

/* `pa_limit`: no address at or above it is ever asked for (decides whether 32-bit
 * tags can serve). `packed` false forces the plain form. `seed` is the policy's. */
vm_status cache_init(cache *c, const vm_host *host, const cache_config *cfg, uint64_t pa_limit,
                     bool packed, uint64_t seed, vm_error *e);
/* Say what is below, which must be linked already; checks that lines do not get
 * shorter, unless levels are only ever asked for `whole` accesses (cache_access_once). */
vm_status cache_link(cache *c, cache *next, memory_counters *memory, bool whole, vm_error *e);
void cache_free(cache *c);

/* The set of a packed cache that a line belongs to. */
VM_INLINE uint32_t *cache_packed_set(const cache *c, uint64_t line)
{
    return c->packed + ((size_t)((uint32_t)line & c->set_mask) << c->stride_bits);
}

/* One demand access to the line. */
void cache_access(cache *c, uint64_t line, bool write, traffic t);
/* What follows when a packed set did not have the line: it has it now, and gave up
 * `victim`. */
void cache_replaced(cache *c, uint64_t line, uint32_t victim, bool fetch, traffic t);
/* cache_access to a simple cache that nobody watches. */
VM_INLINE void cache_access_simple(cache *c, uint64_t line, bool write, traffic t)
{
    uint32_t victim;
    c->n.refs[write][t]++;
    if (VM_LIKELY(
            c->touch(cache_packed_set(c, line), c->ways, (uint32_t)line << 1, write, &victim)))
        return;
    c->n.misses[write][t]++;
    cache_replaced(c, line, victim, true, t);
}
/* cachegrind's accounting (straddle = "once"): n bytes at pa are one reference,
 * however many lines they touch; the next level is probed with the whole. True: hit. */
bool cache_access_once(cache *c, uint64_t pa, uint32_t n, bool write, traffic t);
/* Drop every line of n bytes at pa, here and in no other level; dirty ones are
 * written back first if asked. */
void cache_flush(cache *c);

/* Take the line out of this level, with no write-back; true if it was dirty. */
bool cache_take(cache *c, uint64_t line, bool *found);
/* The line, if it is here, is no longer dirty. */
void cache_clean(cache *c, uint64_t line);
/* Write this level's line back to what is below, whether or not it is here. */
void cache_write_down(cache *c, uint64_t line);

/* Is the line here, and is it dirty? For explain, set state and checks; touches nothing. */
bool cache_peek(const cache *c, uint64_t line, bool *dirty);
/* Put a line in as the most recent one of its set, without traffic; for tables of state. */
vm_status cache_set(cache *c, uint64_t line, bool dirty, vm_error *e);
/* The i-th line of a set in the representation's order; false: empty. */
bool cache_get(const cache *c, uint32_t set, uint32_t i, uint64_t *line, bool *dirty);

/* NULL, or what is broken. */
const char *cache_check(const cache *c);

VM_INLINE uint32_t cache_sets(const cache *c) { return c->set_mask + 1; }

#endif
