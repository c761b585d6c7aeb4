/* curve_opt.c: places in the stack of OPT, which gives up the page whose next use
 * is the farthest.
 *
 * After a reference, its page goes to the top and the page that was there is
 * carried down. At each place the page that is used sooner stays, the other one is
 * carried on, to the place that the referenced page has left. So only those places
 * change whose page is used later than any above: a tree of maxima, 16 a node,
 * finds the next of them.
 * Source: Mattson et al. 1970, 'priority lists'; the search is in the spirit of
 * Sugumar and Abraham, "Efficient simulation of caches under optimal replacement", 1993.
 *
 * Invariants: place[page] = k where page[k] is it; next[k] is the position of its
 * next reference; each node holds the maximum of its 16 below.
 */
#include "curve.h"

#define OPTC_FAN    16u
#define OPTC_LEVELS 8 /* 16^8 places */

typedef struct optc {
    study_curve base;
    uint32_t *place;            /* by page, from 0 */
    uint32_t *page;             /* by place */
    uint32_t *max[OPTC_LEVELS]; /* [0] by place: next use, 0 where there is no page; then maxima */
    size_t size[OPTC_LEVELS];   /* in items, whole nodes */
    unsigned levels;
} optc;

static vm_status optc_init(study_curve *base, vm_error *e)
{
    optc *c = (optc *)base;
    size_t pages = base->refs->pages, n = pages;
    c->place = host_alloc(&base->host, pages * sizeof *c->place);
    c->page = host_alloc(&base->host, pages * sizeof *c->page);
    bool whole = c->place && c->page;
    do {
        n = (n + OPTC_FAN - 1) / OPTC_FAN;
        c->size[c->levels] = (n ? n : 1) * OPTC_FAN;
        c->max[c->levels] = host_zalloc_aligned(&base->host, c->size[c->levels] * sizeof **c->max);
        whole = whole && c->max[c->levels];
        c->levels++;
    } while (n > 1);
    if (!whole)
        return vm_fail_nomem(e, "a miss curve");
    memset(c->place, 0xff, pages * sizeof *c->place);
    return VM_OK;
}

static void optc_free(study_curve *base)
{
    optc *c = (optc *)base;
    host_free(&base->host, c->place, base->refs->pages * sizeof *c->place);
    host_free(&base->host, c->page, base->refs->pages * sizeof *c->page);
    for (unsigned l = 0; l < c->levels; l++)
        host_free_aligned(&base->host, c->max[l], c->size[l] * sizeof **c->max);
}

static void optc_set(optc *c, size_t k, uint32_t next)
{
    for (unsigned l = 0; l < c->levels; l++, k /= OPTC_FAN) {
        uint32_t *x = c->max[l], old = x[k];
        x[k] = next;
        if (l + 1 == c->levels)
            return;
        uint32_t top = c->max[l + 1][k / OPTC_FAN];
        if (next >= top)
            continue;
        if (old != top)
            return;
        const uint32_t *node = x + k / OPTC_FAN * OPTC_FAN;
        for (unsigned i = 0; i < OPTC_FAN; i++)
            next = node[i] > next ? node[i] : next;
        if (next == top)
            return;
    }
}

/* The first place from `k` on whose next use is later than `next`; SIZE_MAX: none. */
static size_t optc_find(const optc *c, size_t k, uint32_t next)
{
    for (unsigned l = 0; l < c->levels; l++) {
        /* The rest of a node here; what is behind it, by the level above. */
        size_t end = l + 1 == c->levels ? c->size[l] : align_up(k, OPTC_FAN);
        for (; k < end; k++)
            if (c->max[l][k] > next) {
                while (l-- > 0)
                    for (k *= OPTC_FAN; c->max[l][k] <= next; k++)
                        ;
                return k;
            }
        k = end / OPTC_FAN;
    }
    return SIZE_MAX;
}

static void optc_put(optc *c, size_t k, uint32_t page, uint32_t next)
{
    c->page[k] = page;
    c->place[page] = (uint32_t)k;
    optc_set(c, k, next);
}

static void optc_one(optc *c, uint32_t page, uint32_t next)
{
    size_t end = c->place[page], k = 0;
    if (end == STUDY_NEVER)
        end = c->base.live++;
    else
        c->base.hits[end + 1]++;
    uint32_t carried = end > 0 ? c->page[0] : page, when = c->max[0][0];
    optc_put(c, 0, page, next);
    if (end == 0)
        return;
    while (when != STUDY_NEVER && (k = optc_find(c, k + 1, when)) < end) {
        uint32_t later = c->page[k], then = c->max[0][k];
        optc_put(c, k, carried, when);
        carried = later;
        when = then;
    }
    optc_put(c, end, carried, when);
}

static void optc_run(study_curve *base, size_t until)
{
    optc *c = (optc *)base;
    for (; base->at < until; base->at++) {
        const uint32_t *r = base->refs->refs + base->at;
        VM_PREFETCH(&c->place[r[STUDY_AHEAD] & STUDY_PAGE]);
        optc_one(c, r[0] & STUDY_PAGE, base->refs->next_use[base->at]);
    }
}

extern const study_curve_class study_curve_opt;
const study_curve_class study_curve_opt = {
    .policy = "opt",
    .doc = "a stack by next use, with a tree of maxima; O(moved pages * log pages) a reference "
           "(Mattson et al. 1970)",
    .future = true,
    .size = sizeof(optc),
    .init = optc_init,
    .free = optc_free,
    .run = optc_run,
};
