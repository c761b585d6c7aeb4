/* rrip.c: policies for the sets of TLBs and caches that keep a bit or a few a way.
 *
 * Bit-PLRU: a reference sets the way's bit; when that would leave none clear, all
 * others are cleared. The first way without goes. Source: Al-Zoubi, Milenkovic and
 * Milenkovic, "Performance evaluation of cache replacement policies for the SPEC CPU2000
 * benchmark suite", 2004, as PLRUm.
 *
 * RRIP keeps a prediction of how far off a line's next reference is, 0 the nearest,
 * 2^bits - 1 the most distant. The first way with the most distant goes; while there
 * is none, all move one further. A hit sets 0 (hit priority, `hit` = "hp") or moves one
 * nearer ("fp", frequency priority).
 *   NRU    one bit: entering and hits set 0.
 *   SRRIP  a line enters one short of the most distant.
 *   BRRIP  it enters at the most distant, and one short of it with probability
 *          `epsilon`.
 *   DRRIP  `leaders` sets always do as SRRIP and as many as BRRIP; a counter of `psel`
 *          bits goes up with the misses of the first and down with those of the
 *          second; all other sets do as BRRIP while its highest bit is set.
 * Source: Jaleel and others, "High performance cache replacement using re-reference
 * interval prediction (RRIP)", 2010. The paper does not say how leaders are spread: here
 * the sets are parted into as many equal runs as there are leaders of a kind, at least
 * 4 sets each; the first set of a run leads for SRRIP, the one in its middle for BRRIP.
 * With fewer than 4 sets nobody leads and DRRIP is SRRIP.
 *
 * The first way is the one of the lowest number. An empty way is filled by the owner
 * before anything goes; it is predicted most distant, and has no bit.
 */
#include "policy.h"

typedef struct rrip {
    policy base;
    uint8_t *ways; /* [set][way]: the prediction; bit-PLRU: the bit */
    vm_rng rng;
    uint8_t most;  /* the most distant prediction */
    uint32_t run;  /* DRRIP: sets of a run; 0: nobody leads */
    uint64_t psel; /* DRRIP */
} rrip;

enum { RRIP_BITS, RRIP_HIT, RRIP_EPSILON, RRIP_LEADERS, RRIP_PSEL };

static const char *const rrip_hits[] = {"hp", "fp", NULL};

#define RRIP_ROWS                                                                                  \
    [RRIP_BITS] = {"bits", POLICY_INTEGER, 2, 1, 7, NULL, "of a prediction"},                      \
    [RRIP_HIT] = {"hit",                                                                           \
                  POLICY_NAME,                                                                     \
                  0,                                                                               \
                  0,                                                                               \
                  1,                                                                               \
                  rrip_hits,                                                                       \
                  "what a hit does: the prediction becomes 0 (hp), or one less (fp)"}
#define RRIP_EPSILON_ROW                                                                           \
    [RRIP_EPSILON] = {"epsilon",                                                                   \
                      POLICY_REAL,                                                                 \
                      1.0 / 32,                                                                    \
                      0,                                                                           \
                      1,                                                                           \
                      NULL,                                                                        \
                      "probability that a line of BRRIP enters as one of SRRIP"}

static const policy_param srrip_params[] = {RRIP_ROWS, {0}};
static const policy_param brrip_params[] = {RRIP_ROWS, RRIP_EPSILON_ROW, {0}};
static const policy_param drrip_params[] = {
    RRIP_ROWS,
    RRIP_EPSILON_ROW,
    [RRIP_LEADERS] = {"leaders", POLICY_INTEGER, 32, 1, 1 << 20, NULL,
                      "sets that always do as SRRIP, and as many as BRRIP"},
    [RRIP_PSEL] = {"psel", POLICY_INTEGER, 10, 1, 32, NULL, "bits of the counter of misses"},
    {0},
};

static vm_status rrip_init(policy *p, vm_error *e)
{
    (void)e;
    rrip *r = (rrip *)p;
    bool one = p->cls == &policy_set_nru || p->cls == &policy_bit_plru;
    rng_seed(&r->rng, p->cfg.seed);
    r->most = one ? 1 : (uint8_t)low_mask((unsigned)p->param[RRIP_BITS]);
    if (p->cls == &policy_drrip) {
        uint32_t run = p->cfg.sets / (uint32_t)p->param[RRIP_LEADERS];
        r->run = p->cfg.sets < 4 ? 0 : run < 4 ? 4 : run;
        r->psel = low_mask((unsigned)p->param[RRIP_PSEL] - 1); /* just below BRRIP's half */
    }
    return VM_OK;
}

static void rrip_free(policy *p) { policy_free_slots(p, ((rrip *)p)->ways, 1); }

static vm_status rrip_reserve(policy *p, uint32_t n, vm_error *e)
{
    rrip *r = (rrip *)p;
    vm_status s = policy_grow(p, (void **)&r->ways, 1, n, e);
    if (s == VM_OK && p->cls != &policy_bit_plru) /* all are empty as yet */
        memset(r->ways, r->most, (size_t)p->cfg.sets * n);
    return s;
}

static uint8_t *rrip_set(const policy *p, uint32_t set)
{
    return ((const rrip *)p)->ways + (size_t)set * p->room;
}

static const char *rrip_check(const policy *p)
{
    const rrip *r = (const rrip *)p;
    for (size_t i = 0; i < (size_t)p->cfg.sets * p->room; i++)
        if (r->ways[i] > r->most)
            return "rrip: a prediction is out of range";
    return NULL;
}

/* --- bit-PLRU ----------------------------------------------------------------------- */

static void bit_plru_touch(policy *p, uint32_t set, uint32_t slot, bool write)
{
    (void)write;
    uint8_t *way = rrip_set(p, set);
    uint32_t marked = 0;
    way[slot] = 1;
    for (uint32_t i = 0; i < p->room; i++)
        marked += way[i];
    if (marked < p->room)
        return;
    memset(way, 0, p->room);
    way[slot] = 1;
}

static void bit_plru_insert(policy *p, uint32_t set, uint32_t slot, uint64_t key)
{
    (void)key;
    bit_plru_touch(p, set, slot, false);
}

static void bit_plru_remove(policy *p, uint32_t set, uint32_t slot) { rrip_set(p, set)[slot] = 0; }

static vm_status bit_plru_victim(policy *p, uint32_t set, uint64_t key, uint32_t *slot, vm_error *e)
{
    (void)key;
    (void)e;
    const uint8_t *way = rrip_set(p, set), *clear = memchr(way, 0, p->room);
    *slot = clear ? (uint32_t)(clear - way) : 0; /* none is clear in a set of one way */
    return VM_OK;
}

const policy_class policy_bit_plru = {
    .name = "bit-plru",
    .doc = "a bit a way, set by references, the first way without goes; O(ways) a hit and a miss, "
           "1 byte a slot (Al-Zoubi and others 2004: PLRUm)",
    .serves = POLICY_SETS,
    .size = sizeof(rrip),
    .init = rrip_init,
    .free = rrip_free,
    .reserve = rrip_reserve,
    .insert = bit_plru_insert,
    .touch = bit_plru_touch,
    .victim = bit_plru_victim,
    .remove = bit_plru_remove,
    .check = rrip_check,
};

/* --- RRIP ----------------------------------------------------------------------------- */

static void rrip_remove(policy *p, uint32_t set, uint32_t slot)
{
    rrip_set(p, set)[slot] = ((rrip *)p)->most;
}

static void rrip_touch(policy *p, uint32_t set, uint32_t slot, bool write)
{
    (void)write;
    uint8_t *way = rrip_set(p, set) + slot;
    *way = (uint8_t)(p->param[RRIP_HIT] == 0 || *way == 0 ? 0 : *way - 1);
}

static void srrip_insert(policy *p, uint32_t set, uint32_t slot, uint64_t key)
{
    (void)key;
    rrip_set(p, set)[slot] = (uint8_t)(((rrip *)p)->most - 1);
}

static void brrip_insert(policy *p, uint32_t set, uint32_t slot, uint64_t key)
{
    (void)key;
    rrip *r = (rrip *)p;
    bool near = rng_unit(&r->rng) < p->param[RRIP_EPSILON];
    rrip_set(p, set)[slot] = (uint8_t)(r->most - near);
}

static void drrip_insert(policy *p, uint32_t set, uint32_t slot, uint64_t key)
{
    rrip *r = (rrip *)p;
    unsigned bits = (unsigned)p->param[RRIP_PSEL];
    bool brrip = r->psel >> (bits - 1) & 1;
    uint32_t runs = r->run ? p->cfg.sets / r->run : 0;
    if (r->run && set / r->run < runs) { /* what is left over behind the last run follows */
        uint32_t at = set % r->run;
        if (at == 0) {
            brrip = false;
            r->psel += r->psel < low_mask(bits);
        } else if (at == r->run / 2) {
            brrip = true;
            r->psel -= r->psel > 0;
        }
    }
    (brrip ? brrip_insert : srrip_insert)(p, set, slot, key);
}

static vm_status rrip_victim(policy *p, uint32_t set, uint64_t key, uint32_t *slot, vm_error *e)
{
    (void)key;
    (void)e;
    uint8_t *way = rrip_set(p, set), most = ((rrip *)p)->most, farthest = 0;
    for (uint32_t i = 0; i < p->room; i++)
        if (way[i] > farthest)
            farthest = way[i];
    for (uint32_t i = 0; i < p->room; i++)
        way[i] = (uint8_t)(way[i] + most - farthest);
    *slot = (uint32_t)((const uint8_t *)memchr(way, most, p->room) - way);
    return VM_OK;
}

#define RRIP_CLASS(n, text, rows, enter)                                                           \
    {                                                                                              \
        .name = n, .doc = text, .serves = POLICY_SETS, .size = sizeof(rrip), .params = rows,       \
        .init = rrip_init, .free = rrip_free, .reserve = rrip_reserve, .insert = enter,            \
        .touch = rrip_touch, .victim = rrip_victim, .remove = rrip_remove, .check = rrip_check,    \
    }

const policy_class policy_set_nru = RRIP_CLASS(
    "nru",
    "a bit a way, cleared by references, the first way with it goes, and all get it when none has; "
    "O(1) a hit, O(ways) a miss, 1 byte a slot (as in Jaleel and others 2010)",
    NULL, srrip_insert);
const policy_class policy_srrip = RRIP_CLASS(
    "srrip",
    "static re-reference interval prediction; O(1) a hit, O(ways) a miss, 1 byte a slot (Jaleel "
    "and others 2010)",
    srrip_params, srrip_insert);
const policy_class policy_brrip = RRIP_CLASS(
    "brrip",
    "SRRIP whose lines mostly enter as the first to go, against thrashing; O(1) a hit, O(ways) a "
    "miss, 1 byte a slot (Jaleel and others 2010)",
    brrip_params, brrip_insert);
const policy_class policy_drrip = RRIP_CLASS(
    "drrip",
    "SRRIP or BRRIP, whichever misses less in sets that lead; O(1) a hit, O(ways) a miss, 1 byte "
    "a slot (Jaleel and others 2010)",
    drrip_params, drrip_insert);
