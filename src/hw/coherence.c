#include "coherence.h"

/* The lines of `c` that a block covers. */
typedef struct coherence_lines {
    uint64_t first, stop;
} coherence_lines;

static const cache *coherence_outer(const coherence *co) { return co->own[0][co->levels - 1]; }

static coherence_lines coherence_of(const coherence *co, const cache *c, uint64_t block)
{
    unsigned shift = coherence_outer(co)->line_bits - c->line_bits;
    return (coherence_lines){block << shift, (block + 1) << shift};
}

/* Do the processor's caches hold any of the block, and dirty? */
static bool coherence_holds(const coherence *co, unsigned cpu, uint64_t block, bool *dirty)
{
    bool held = false;
    *dirty = false;
    for (unsigned i = 0; i < co->levels; i++) {
        const cache *c = co->own[cpu][i];
        coherence_lines l = coherence_of(co, c, block);
        for (uint64_t line = l.first; line < l.stop; line++) {
            bool d;
            held |= cache_peek(c, line, &d);
            *dirty |= d;
        }
    }
    return held;
}

/* The processor's caches lose the block, or only that it is dirty. True: it had to. */
static bool coherence_yield(coherence *co, unsigned cpu, uint64_t block, bool write)
{
    bool held, dirty;
    held = coherence_holds(co, cpu, block, &dirty);
    if (!dirty && !(held && write))
        return false;
    for (unsigned i = 0; i < co->levels; i++) {
        cache *c = co->own[cpu][i];
        coherence_lines l = coherence_of(co, c, block);
        for (uint64_t line = l.first; line < l.stop; line++) {
            bool found;
            if (write)
                cache_take(c, line, &found);
            else
                cache_clean(c, line);
        }
    }
    co->n.invalidations += write;
    co->n.interventions += dirty;
    if (dirty)
        cache_write_down(co->own[cpu][co->levels - 1], block);
    return true;
}

void coherence_snoop(coherence *co, const cache *c, uint64_t line, bool write, traffic t)
{
    uint64_t block = line >> (coherence_outer(co)->line_bits - c->line_bits);
    bool dirty, held = coherence_holds(co, c->cpu, block, &dirty);
    if (write ? dirty : held)
        return;
    for (unsigned cpu = 0; cpu < co->cpus; cpu++)
        if (cpu != c->cpu)
            co->n.transfers[t] += coherence_yield(co, cpu, block, write);
}

/* No other processor holds what this cache holds dirty. */
static const char *coherence_check_cache(const coherence *co, unsigned cpu, const cache *c)
{
    unsigned shift = coherence_outer(co)->line_bits - c->line_bits;
    for (uint32_t set = 0; set < cache_sets(c); set++)
        for (uint32_t i = 0; i < c->ways; i++) {
            uint64_t line;
            bool dirty, d;
            if (!cache_get(c, set, i, &line, &dirty) || !dirty)
                continue;
            for (unsigned other = 0; other < co->cpus; other++)
                if (other != cpu && coherence_holds(co, other, line >> shift, &d))
                    return "cache: a line that one processor holds dirty is in another's cache";
        }
    return NULL;
}

const char *coherence_check(const coherence *co)
{
    const char *broken = NULL;
    for (unsigned cpu = 0; cpu < co->cpus && !broken; cpu++)
        for (unsigned i = 0; i < co->levels && !broken; i++)
            broken = coherence_check_cache(co, cpu, co->own[cpu][i]);
    return broken;
}
