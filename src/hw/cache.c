#include "cache.h"

static void cache_writeback(cache *c, uint64_t line);

static void cache_failure(cache *c, vm_status s)
{
    if (*c->failed == VM_OK)
        *c->failed = s;
}

/* --- what leaves and enters a level ------------------------------------------ */

static void cache_below_read(cache *c, uint64_t line, traffic t)
{
    if (c->next) {
        cache_access(c->next, line >> c->next_shift, false, t);
        return;
    }
    c->memory->reads[t]++;
    if (VM_UNLIKELY(*c->probe != NULL))
        (*c->probe)->memory((*c->probe)->ud, line << c->line_bits, false, t);
}

static void cache_below_write(cache *c, uint64_t line, traffic t)
{
    if (c->next) {
        cache_access(c->next, line >> c->next_shift, true, t);
        return;
    }
    c->memory->writes++;
    if (VM_UNLIKELY(*c->probe != NULL))
        (*c->probe)->memory((*c->probe)->ud, line << c->line_bits, true, t);
}

bool cache_take(cache *c, uint64_t line, bool *found)
{
    uint32_t set = (uint32_t)line & c->set_mask;
    *found = false;
    if (c->packed) {
        uint32_t *s = cache_packed_set(c, line), key = (uint32_t)line << 1;
        for (uint32_t i = 0; i < c->ways; i++) {
            if ((s[i] & ~1u) != key)
                continue;
            bool dirty = s[i] & 1;
            for (; i + 1 < c->ways; i++) /* the hole moves to the tail */
                s[i] = s[i + 1];
            s[i] = CACHE_EMPTY;
            *found = true;
            return dirty;
        }
        return false;
    }
    for (uint32_t i = 0; i < c->ways; i++) {
        size_t at = (size_t)set * c->ways + i;
        if ((c->state[at] & CACHE_VALID) && c->tags[at] == line) {
            bool dirty = c->state[at] & CACHE_DIRTY;
            c->state[at] = 0;
            c->pol->cls->remove(c->pol, set, i);
            *found = true;
            return dirty;
        }
    }
    return false;
}

void cache_clean(cache *c, uint64_t line)
{
    if (c->packed) {
        uint32_t *s = cache_packed_set(c, line), key = (uint32_t)line << 1;
        for (uint32_t i = 0; i < c->ways; i++)
            if ((s[i] & ~1u) == key)
                s[i] = key;
        return;
    }
    for (uint32_t i = 0; i < c->ways; i++) {
        size_t at = (size_t)((uint32_t)line & c->set_mask) * c->ways + i;
        if ((c->state[at] & CACHE_VALID) && c->tags[at] == line)
            c->state[at] &= (uint8_t)~CACHE_DIRTY;
    }
}

/* The inclusive level gives a line up: it leaves the levels above `c`, too. True
 * if one of them held newer data. */
static bool cache_back_invalidate(cache *inclusive, const cache *c, uint64_t line)
{
    bool newer = false;
    for (cache *up = c->above; up; up = up->beside) {
        uint64_t first = line << up->next_shift, n = UINT64_C(1) << up->next_shift;
        for (uint64_t k = 0; k < n; k++) {
            bool found, dirty = cache_take(up, first + k, &found);
            inclusive->n.back_invalidations += found;
            newer |= dirty;
            newer |= cache_back_invalidate(inclusive, up, first + k);
        }
    }
    return newer;
}

static void cache_give_up(cache *c, uint64_t line, bool dirty)
{
    if (c->is_inclusive)
        dirty |= cache_back_invalidate(c, c, line);
    if (dirty)
        cache_write_down(c, line);
}

void cache_write_down(cache *c, uint64_t line)
{
    c->n.writebacks++;
    if (c->next) {
        cache_writeback(c->next, line >> c->next_shift);
        return;
    }
    c->memory->writes++;
    if (VM_UNLIKELY(*c->probe != NULL))
        (*c->probe)->memory((*c->probe)->ud, line << c->line_bits, true, TRAFFIC_DATA);
}

/* --- one lookup in a set ------------------------------------------------------- */

static bool plain_find(const cache *c, uint32_t set, uint64_t line, uint32_t *way)
{
    for (uint32_t i = 0; i < c->ways; i++) {
        size_t at = (size_t)set * c->ways + i;
        if ((c->state[at] & CACHE_VALID) && c->tags[at] == line) {
            *way = i;
            return true;
        }
    }
    return false;
}

static bool plain_hit(cache *c, uint64_t line, bool dirty, bool write)
{
    uint32_t set = (uint32_t)line & c->set_mask, way;
    if (!plain_find(c, set, line, &way))
        return false;
    if (dirty)
        c->state[(size_t)set * c->ways + way] |= CACHE_DIRTY;
    c->pol->cls->touch(c->pol, set, way, write);
    return true;
}

/* Bring the line in; what it displaces is given up before `fetch` is read. */
static void plain_fill(cache *c, uint64_t line, bool dirty, bool fetch, traffic t)
{
    uint32_t set = (uint32_t)line & c->set_mask, way = 0;
    size_t base = (size_t)set * c->ways;
    while (way < c->ways && (c->state[base + way] & CACHE_VALID))
        way++;
    if (way == c->ways) {
        vm_status s = c->pol->cls->victim(c->pol, set, line, &way, c->error);
        if (s == VM_OK && way >= c->ways)
            s = vm_fail(c->error, VM_POLICY, "policy %s of cache %s chose way %u of %u",
                        c->pol->cls->name, c->cfg.name, way, c->ways);
        if (s != VM_OK) {
            cache_failure(c, s);
            return;
        }
        bool was = c->state[base + way] & CACHE_DIRTY;
        uint64_t old = c->tags[base + way];
        c->state[base + way] = 0;
        cache_give_up(c, old, was);
    }
    if (fetch)
        cache_below_read(c, line, t);
    c->tags[base + way] = line;
    c->state[base + way] = (uint8_t)(CACHE_VALID | (dirty ? CACHE_DIRTY : 0));
    c->pol->cls->insert(c->pol, set, way, line);
}

void cache_replaced(cache *c, uint64_t line, uint32_t victim, bool fetch, traffic t)
{
    if (c->is_inclusive ? victim != CACHE_EMPTY : victim & 1)
        cache_give_up(c, victim >> 1, victim & 1);
    if (fetch)
        cache_below_read(c, line, t);
}

/* Lookup and, on a miss, fill. True: hit. `dirty`: the line is dirty afterwards. */
static bool cache_touch(cache *c, uint64_t line, bool dirty, bool write, bool fetch, traffic t)
{
    if (c->packed) {
        uint32_t victim;
        if (c->touch(cache_packed_set(c, line), c->ways, (uint32_t)line << 1, dirty, &victim))
            return true;
        cache_replaced(c, line, victim, fetch, t);
        return false;
    }
    if (plain_hit(c, line, dirty, write))
        return true;
    plain_fill(c, line, dirty, fetch, t);
    return false;
}

static bool cache_holds(const cache *c, uint64_t line)
{
    bool dirty;
    return cache_peek(c, line, &dirty);
}

static void cache_tell(const cache *c, uint64_t line, bool write, traffic t, bool hit)
{
    if (VM_UNLIKELY(*c->probe != NULL))
        (*c->probe)->lookup((*c->probe)->ud, c, line, write, t, hit);
}

void cache_access(cache *c, uint64_t line, bool write, traffic t)
{
    c->n.refs[write][t]++;
    bool hit;
    if (VM_UNLIKELY(*c->probe != NULL))
        cache_tell(c, line, write, t, cache_holds(c, line));
    if (write && !c->allocate && !cache_holds(c, line)) {
        c->n.misses[write][t]++;
        cache_below_write(c, line, t);
        return;
    }
    hit = cache_touch(c, line, write && c->write == CACHE_BACK, write, true, t);
    c->n.misses[write][t] += !hit;
    if (write && c->write == CACHE_THROUGH)
        cache_below_write(c, line, t);
}

static void cache_writeback(cache *c, uint64_t line)
{
    c->n.writebacks_in++;
    /* A line longer than the one received is not whole without a fetch. */
    bool partial = false;
    for (const cache *up = c->above; up; up = up->beside)
        partial |= up->next_shift != 0;
    bool hit = cache_touch(c, line, c->write == CACHE_BACK, true, partial, TRAFFIC_DATA);
    c->n.writeback_misses += !hit;
    if (c->write == CACHE_THROUGH)
        cache_below_write(c, line, TRAFFIC_DATA);
}

bool cache_access_once(cache *c, uint64_t pa, uint32_t n, bool write, traffic t)
{
    c->n.refs[write][t]++;
    bool hit = true;
    uint64_t last = (pa + n - 1) >> c->line_bits;
    for (uint64_t line = pa >> c->line_bits; line <= last; line++)
        hit &= (c->allocate || !write || cache_holds(c, line)) &&
               cache_touch(c, line, write && c->write == CACHE_BACK, write, false, t);
    c->n.misses[write][t] += !hit;
    if (!hit || (write && c->write == CACHE_THROUGH)) {
        if (c->next)
            cache_access_once(c->next, pa, n, write, t);
        else if (write && (c->write == CACHE_THROUGH || !c->allocate))
            c->memory->writes++;
        else
            c->memory->reads[t]++;
    }
    return hit;
}

void cache_flush(cache *c)
{
    for (uint32_t set = 0; set < cache_sets(c); set++)
        for (uint32_t i = 0; i < c->ways; i++) {
            uint64_t line;
            bool dirty, found;
            /* In the packed form the set closes up: take the first until none is left. */
            if (!cache_get(c, set, c->packed ? 0 : i, &line, &dirty))
                continue;
            cache_take(c, line, &found);
            cache_give_up(c, line, dirty);
        }
}

bool cache_get(const cache *c, uint32_t set, uint32_t i, uint64_t *line, bool *dirty)
{
    if (c->packed) {
        uint32_t tag = cache_packed_set(c, set)[i];
        *line = tag >> 1;
        *dirty = tag & 1;
        return tag != CACHE_EMPTY;
    }
    size_t at = (size_t)set * c->ways + i;
    *line = c->tags[at];
    *dirty = c->state[at] & CACHE_DIRTY;
    return c->state[at] & CACHE_VALID;
}

bool cache_peek(const cache *c, uint64_t line, bool *dirty)
{
    uint32_t set = (uint32_t)line & c->set_mask;
    uint64_t have;
    for (uint32_t i = 0; i < c->ways; i++)
        if (cache_get(c, set, i, &have, dirty) && have == line)
            return true;
    *dirty = false;
    return false;
}

vm_status cache_set(cache *c, uint64_t line, bool dirty, vm_error *e)
{
    uint32_t set = (uint32_t)line & c->set_mask;
    bool found;
    cache_take(c, line, &found);
    uint32_t used = 0;
    for (uint32_t i = 0; i < c->ways; i++) {
        uint64_t l;
        bool d;
        used += cache_get(c, set, i, &l, &d);
    }
    if (used == c->ways)
        return vm_fail(e, VM_INVALID, "set %u of cache %s is given more than its %u lines", set,
                       c->cfg.name, c->ways);
    cache_touch(c, line, dirty && c->write == CACHE_BACK, dirty, false, TRAFFIC_DATA);
    return VM_OK;
}

/* --- making one ------------------------------------------------------------------ */

static size_t cache_packed_bytes(const cache *c)
{
    return ((size_t)cache_sets(c) << c->stride_bits) * sizeof *c->packed;
}

vm_status cache_init(cache *c, const vm_host *host, const cache_config *cfg, uint64_t pa_limit,
                     bool packed, uint64_t seed, vm_error *e)
{
    memset(c, 0, sizeof *c);
    c->cfg = *cfg;
    c->host = host;
    if (!is_pow2(cfg->line) || cfg->line < 4)
        return vm_fail(e, VM_INVALID,
                       "cache.%s.line is %u, but takes a power of two of 4 bytes or more",
                       cfg->name, cfg->line);
    if (cfg->ways == 0 || cfg->size % ((uint64_t)cfg->ways * cfg->line) != 0)
        return vm_fail(e, VM_INVALID,
                       "cache.%s: %llu bytes are not a whole number of sets of %u ways of %u bytes",
                       cfg->name, (unsigned long long)cfg->size, cfg->ways, cfg->line);
    uint64_t sets = cfg->size / ((uint64_t)cfg->ways * cfg->line);
    if (!is_pow2(sets) || sets > UINT64_C(1) << 31)
        return vm_fail(e, VM_INVALID,
                       "cache.%s: %llu bytes in %u ways of %u-byte lines make %llu sets, but their "
                       "number must be a power of two",
                       cfg->name, (unsigned long long)cfg->size, cfg->ways, cfg->line,
                       (unsigned long long)sets);
    c->ways = cfg->ways;
    c->set_mask = (uint32_t)(sets - 1);
    c->line_bits = log2_floor(cfg->line);
    c->write = cfg->write;
    c->fast_writes = cfg->write == CACHE_BACK;
    c->allocate = cfg->allocate;
    c->is_inclusive = cfg->inclusive;
    size_t lines = (size_t)sets * cfg->ways;
    uint64_t highest = (pa_limit - 1) >> c->line_bits;
    if (packed && cfg->policy.cls == &policy_lru && highest < CACHE_EMPTY >> 1) {
        c->stride_bits = log2_floor(cfg->ways) + !is_pow2(cfg->ways);
        c->packed = host_zalloc_aligned(host, cache_packed_bytes(c));
        if (!c->packed)
            return vm_fail_nomem(e, "the tags of a cache");
        for (size_t i = 0; i < cache_packed_bytes(c) / sizeof *c->packed; i++)
            c->packed[i] = CACHE_EMPTY;
        c->touch = set_op_find(cfg->ways, cfg->portable);
        return VM_OK;
    }
    policy_config pc = {
        .sets = (uint32_t)sets, .slots = cfg->ways, .capacity = cfg->ways, .seed = seed};
    vm_status s = policy_new(host, &cfg->policy, &pc, &c->pol, e);
    if (s == VM_OK)
        s = policy_reserve(c->pol, cfg->ways, e);
    c->tags = s == VM_OK ? host_zalloc(host, lines * sizeof *c->tags) : NULL;
    c->state = s == VM_OK ? host_zalloc(host, lines) : NULL;
    if (s == VM_OK && (!c->tags || !c->state))
        s = vm_fail_nomem(e, "the tags of a cache");
    if (s != VM_OK)
        cache_free(c);
    return s;
}

vm_status cache_link(cache *c, cache *next, memory_counters *memory, bool whole, vm_error *e)
{
    c->next = next;
    c->memory = memory;
    c->simple = c->packed && c->write == CACHE_BACK && c->allocate && !c->is_inclusive;
    if (!next)
        return VM_OK;
    if (next->line_bits < c->line_bits && !(whole && !next->is_inclusive && c->write != CACHE_BACK))
        return vm_fail(e, VM_INVALID,
                       "cache.%s.line is %u, shorter than the %u of cache.%s above it: lines must "
                       "not get shorter downwards",
                       next->cfg.name, next->cfg.line, c->cfg.line, c->cfg.name);
    if (next->line_bits >= c->line_bits)
        c->next_shift = next->line_bits - c->line_bits;
    c->simple &= next->simple && next->line_bits == c->line_bits;
    c->beside = next->above;
    next->above = c;
    return VM_OK;
}

void cache_free(cache *c)
{
    if (!c->host) /* it was never made */
        return;
    size_t lines = (size_t)cache_sets(c) * c->ways;
    host_free_aligned(c->host, c->packed, cache_packed_bytes(c));
    host_free(c->host, c->tags, lines * sizeof *c->tags);
    host_free(c->host, c->state, lines);
    policy_delete(c->pol);
    c->packed = NULL;
    c->tags = NULL;
    c->state = NULL;
    c->pol = NULL;
}

const char *cache_check(const cache *c)
{
    for (uint32_t set = 0; set < cache_sets(c); set++) {
        bool ended = false;
        for (uint32_t i = 0; i < c->ways; i++) {
            uint64_t line, other;
            bool dirty, d;
            if (!cache_get(c, set, i, &line, &dirty)) {
                ended = true;
                continue;
            }
            if (ended && c->packed)
                return "cache: an empty way stands before a full one";
            if (((uint32_t)line & c->set_mask) != set)
                return "cache: a line is in a set that is not its own";
            if (dirty && c->write != CACHE_BACK)
                return "cache: a line is dirty in a cache that keeps none";
            for (uint32_t j = 0; j < i; j++)
                if (cache_get(c, set, j, &other, &d) && other == line)
                    return "cache: a line is in its set twice";
            if (c->is_inclusive)
                continue;
            for (cache *n = c->next; n; n = n->next) /* NINE levels promise nothing */
                if (n->is_inclusive && n == c->next && !cache_peek(n, line >> c->next_shift, &d))
                    return "cache: an inclusive level lacks a line of the level above";
        }
    }
    return c->pol ? c->pol->cls->check(c->pol) : NULL;
}
