/* implicit.c: the implicit free list: free blocks are found by a walk over all blocks.
 *
 * First fit starts at the first block; next fit where the last search ended; best fit
 * takes the smallest block that fits, worst fit the largest, of equal ones the lowest.
 *
 * Source: CS:APP 9.9.6 to 9.9.12; next fit as in practice problem 9.8 and homework 9.17.
 */
#include "classes.h"
#include "tags.h"

static bool implicit_fits(tags *t, uint64_t a, uint64_t want, uint64_t *size)
{
    uint64_t header = tags_header(t, a);
    *size = tags_size(header);
    return !(header & TAG_USED) && *size >= want;
}

/* From the rover to the end, then from the start to where it was. The rover stays where
 * the search ends: at the block found, or behind where it began. */
static uint64_t implicit_next(tags *t, uint64_t want)
{
    const uint64_t old = t->rover;
    uint64_t size, at = old;
    for (tags_begin(t); heap_step(&t->h, &t->h.n.searches); at += size) {
        if (implicit_fits(t, at, want, &size))
            return t->rover = at;
        if (size == 0)
            break;
    }
    at = t->first;
    for (tags_begin(t); at < old && heap_step(&t->h, &t->h.n.searches); at += size) {
        if (implicit_fits(t, at, want, &size))
            return t->rover = at;
        if (size == 0)
            break;
    }
    t->rover = at;
    return 0;
}

static uint64_t implicit_find(tags *t, uint64_t want)
{
    const int64_t fit = t->h.cfg.fit;
    uint64_t a = t->first, size, found = 0, found_size = 0;
    if (fit == FIT_NEXT)
        return implicit_next(t, want);
    for (tags_begin(t); heap_step(&t->h, &t->h.n.searches); a += size) {
        bool fits = implicit_fits(t, a, want, &size);
        if (size == 0)
            break;
        if (!fits || (found && (fit == FIT_BEST ? size >= found_size : size <= found_size)))
            continue;
        found = a;
        found_size = size;
        if (fit == FIT_FIRST || (fit == FIT_BEST && size == want))
            break;
    }
    return found;
}

static const tags_index implicit_index = {.find = implicit_find};

static vm_status implicit_init(heap *h, vm_error *e) { return tags_init(h, &implicit_index, e); }

static const heap_option implicit_options[] = {
    TAGS_OPTIONS,
    TAGS_TAGS,
    {HEAP_OPTION(fit), tags_fits, FIT_FIRST, 0, 0, "which free block of those that fit"},
    {0}};

const heap_class heap_implicit = {"implicit",       "implicit free list (CS:APP 9.9.6)",
                                  implicit_options, sizeof(tags),
                                  implicit_init,    TAGS_CLASS};
