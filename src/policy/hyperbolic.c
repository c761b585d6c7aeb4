/* hyperbolic.c: hyperbolic caching: a page's priority is how often it was referenced since
 * it came, over the time since then, and the victim is the page of the lowest priority
 * among a few that are drawn at random.
 *
 * Unlike a count, a rate fades while a page is not used, and unlike recency it gives
 * new pages time to show theirs. No structure is kept in order: priorities of pages
 * that nobody touches change, too.
 * Source: Blankstein, Sen and Freedman, "Hyperbolic caching: flexible caching for web
 * applications", USENIX ATC 2017.
 * Settled here: time counts references; the one that brings a page counts as its first;
 * pages are drawn with repetition, and where there are no more than would be drawn,
 * all are looked at; of equal ones the first that was drawn goes.
 * With A bits: it is told of each reference.
 *
 * Invariant: full[place[slot]] is the slot, for each full one.
 */
#include "policy.h"

enum { HYPER_SAMPLES };

static const policy_param hyper_params[] = {
    [HYPER_SAMPLES] = {"samples", POLICY_INTEGER, 64, 1, 1 << 20, NULL, "pages drawn for a victim"},
    {0},
};

typedef struct hyper_slot {
    uint64_t since; /* the time when the page came, counting its reference */
    uint32_t refs;
    uint32_t full, place; /* the i-th full slot, for i below the count; this slot's i */
} hyper_slot;

typedef struct hyper {
    policy base; /* base.tick is the time */
    vm_rng rng;
    hyper_slot *s;
    uint32_t count; /* of full slots */
} hyper;

static vm_status hyper_init(policy *p, vm_error *e)
{
    (void)e;
    rng_seed(&((hyper *)p)->rng, p->cfg.seed);
    return VM_OK;
}

static void hyper_free(policy *p)
{
    host_free(p->host, ((hyper *)p)->s, p->room * sizeof(hyper_slot));
}

static vm_status hyper_reserve(policy *p, uint32_t n, vm_error *e)
{
    hyper *h = (hyper *)p;
    hyper_slot *s = host_realloc(p->host, h->s, p->room * sizeof *s, n * sizeof *s);
    if (!s)
        return vm_fail_nomem(e, "a hyperbolic policy");
    memset(s + p->room, 0xff, (n - p->room) * sizeof *s);
    h->s = s;
    p->room = n;
    return VM_OK;
}

static void hyper_touch(policy *p, uint32_t set, uint32_t slot, bool write)
{
    (void)set;
    (void)write;
    hyper_slot *s = &((hyper *)p)->s[slot];
    p->tick++;
    s->refs += s->refs < UINT32_MAX;
}

static void hyper_remove(policy *p, uint32_t set, uint32_t slot)
{
    (void)set;
    hyper *h = (hyper *)p;
    uint32_t at = h->s[slot].place;
    if (at == POLICY_NONE)
        return;
    uint32_t last = h->s[--h->count].full;
    h->s[at].full = last;
    h->s[last].place = at;
    h->s[slot].place = POLICY_NONE;
}

static void hyper_insert(policy *p, uint32_t set, uint32_t slot, uint64_t key)
{
    (void)key;
    hyper *h = (hyper *)p;
    hyper_slot *s = &h->s[slot];
    hyper_remove(p, set, slot);
    s->place = h->count;
    h->s[h->count++].full = slot;
    s->since = ++p->tick;
    s->refs = 1;
}

static vm_status hyper_victim(policy *p, uint32_t set, uint64_t key, uint32_t *slot, vm_error *e)
{
    (void)set;
    (void)key;
    hyper *h = (hyper *)p;
    if (h->count == 0)
        return policy_no_victim(p, e);
    uint32_t samples = (uint32_t)p->param[HYPER_SAMPLES];
    bool all = h->count <= samples;
    double least = 0;
    for (uint32_t i = 0; i < (all ? h->count : samples); i++) {
        uint32_t at = h->s[all ? i : (uint32_t)rng_below(&h->rng, h->count)].full;
        double age = (double)(p->tick + 1 - h->s[at].since), rate = h->s[at].refs / age;
        if (i == 0 || rate < least) {
            least = rate;
            *slot = at;
        }
    }
    return VM_OK;
}

static const char *hyper_check(const policy *p)
{
    const hyper *h = (const hyper *)p;
    for (uint32_t i = 0; i < h->count; i++)
        if (h->s[i].full >= p->room || h->s[h->s[i].full].place != i)
            return "hyperbolic: a full slot does not know its place";
    return NULL;
}

const policy_class policy_hyperbolic = {
    .name = "hyperbolic",
    .doc = "the lowest rate of references since a page came, among a sample; a hit counts, a miss "
           "looks at 64 pages, 24 bytes a slot (Blankstein, Sen and Freedman 2017)",
    .serves = POLICY_FRAMES,
    .exact = true,
    .size = sizeof(hyper),
    .params = hyper_params,
    .init = hyper_init,
    .free = hyper_free,
    .reserve = hyper_reserve,
    .insert = hyper_insert,
    .touch = hyper_touch,
    .victim = hyper_victim,
    .remove = hyper_remove,
    .check = hyper_check,
};
