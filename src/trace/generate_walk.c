/* generate_walk.c: accesses that walk over a region in equal steps (sequential,
 * strided, loop), and those that fall anywhere in it (uniform).
 *
 * A walk begins anew when the next access would not fit into the region. Its
 * stores are spread evenly: with stores = 0.25 each fourth access is one. Those
 * of uniform are random. */
#include "generate.h"

typedef struct walk_source {
    generate_source g;
    uint64_t base, bytes, stride, shift, store_step;
    uint32_t size;
} walk_source;

typedef struct walk_cursor {
    generate_cursor g;
    walk_source from;
    uint64_t start, at; /* offsets: where this sweep began, of the next access */
    uint64_t store_sum; /* in 2^-32; a carry makes a store */
} walk_cursor;

static vm_status walk_set(generate_source *g, uint64_t bytes, uint64_t shift,
                          const generate_value *stride, const generate_value *common, vm_error *e)
{
    walk_source *s = (walk_source *)g;
    s->base = (uint64_t)common[0].n;
    s->bytes = bytes;
    s->stride = (uint64_t)stride->n;
    s->shift = shift;
    s->store_step = generate_fraction(common[1].x);
    s->size = (uint32_t)common[2].n;
    g->count = (uint64_t)g->v[0].n;
    if (s->size > bytes)
        return vm_fail(e, VM_INVALID, "%s: an access of size %u does not fit into %llu bytes",
                       g->row->source.name, s->size, (unsigned long long)bytes);
    return VM_OK;
}

static void walk_start(const generate_source *g, generate_cursor *c)
{
    walk_cursor *w = (walk_cursor *)c;
    w->from = *(const walk_source *)g;
    w->start = w->at = w->store_sum = 0;
}

static size_t walk_fill(generate_cursor *c, access_record *out)
{
    walk_cursor *w = (walk_cursor *)c;
    const walk_source s = w->from;
    uint64_t at = w->at, sum = w->store_sum, last = s.bytes - s.size;
    for (size_t i = 0; i < TRACE_BLOCK; i++) {
        sum += s.store_step;
        out[i] = generate_access(s.base + at, s.size, sum >> 32);
        sum &= UINT32_MAX;
        at += s.stride;
        if (VM_UNLIKELY(at > last)) {
            w->start = (w->start + s.shift) % s.stride;
            if (w->start > last)
                w->start = 0;
            at = w->start;
        }
    }
    w->at = at;
    w->store_sum = sum;
    return TRACE_BLOCK;
}

#define WALK_STORES                                                                                \
    {                                                                                              \
        "stores", GENERATE_NUMBER, 0, 0, 1, NULL, "fraction of stores, evenly spread"              \
    }
#define WALK_BYTES                                                                                 \
    {                                                                                              \
        "bytes", GENERATE_BYTES, 0x1p26, 1, GENERATE_MEMORY, NULL, "of the region"                 \
    }
#define WALK_REST                                                                                  \
    false, sizeof(walk_source), sizeof(walk_cursor), walk_prepare, NULL, walk_start, walk_fill

static vm_status walk_prepare(generate_source *g, vm_error *e)
{
    const generate_value *v = g->v;
    return walk_set(g, (uint64_t)v[1].n, 0, &v[2], v + 3, e);
}

static const generate_option sequential_options[] = {
    GENERATE_REFS,
    WALK_BYTES,
    {"stride", GENERATE_BYTES, 8, 1, GENERATE_MEMORY, NULL, "from one access to the next"},
    GENERATE_BASE,
    WALK_STORES,
    GENERATE_SIZE,
    {0},
};

const generate_row generate_sequential = {GENERATE_ROW("sequential"),
                                          "A region from its beginning to its end, again and again",
                                          sequential_options, WALK_REST};

static vm_status strided_prepare(generate_source *g, vm_error *e)
{
    const generate_value *v = g->v;
    return walk_set(g, (uint64_t)v[1].n, (uint64_t)v[6].n, &v[2], v + 3, e);
}

static const generate_option strided_options[] = {
    GENERATE_REFS,
    WALK_BYTES,
    {"stride", GENERATE_BYTES, 4096, 1, GENERATE_MEMORY, NULL, "from one access to the next"},
    GENERATE_BASE,
    WALK_STORES,
    GENERATE_SIZE,
    {"shift", GENERATE_BYTES, 8, 0, GENERATE_MEMORY, NULL,
     "how much later each sweep begins, modulo the stride: a matrix read by columns"},
    {0},
};

const generate_row generate_strided = {GENERATE_ROW("strided"),
                                       "A region in long steps, each sweep a little later",
                                       strided_options,
                                       false,
                                       sizeof(walk_source),
                                       sizeof(walk_cursor),
                                       strided_prepare,
                                       NULL,
                                       walk_start,
                                       walk_fill};

/* Options: refs, pages, page, base, stores, size */
static vm_status loop_prepare(generate_source *g, vm_error *e)
{
    const generate_value *v = g->v;
    uint64_t page = (uint64_t)v[2].n;
    if ((uint64_t)v[5].n > page)
        return vm_fail(e, VM_INVALID, "loop: an access of size %lld does not fit into a page",
                       (long long)v[5].n);
    return walk_set(g, (uint64_t)v[1].n * page, 0, &v[2], v + 3, e);
}

static const generate_option loop_options[] = {
    GENERATE_REFS,
    {"pages", GENERATE_COUNT, 100, 1, 0x1p32, NULL, "that are visited in turn"},
    {"page", GENERATE_BYTES, 4096, 1, 0x1p30, NULL, "bytes of a page"},
    GENERATE_BASE,
    WALK_STORES,
    GENERATE_SIZE,
    {0},
};

const generate_row generate_loop = {
    GENERATE_ROW("loop"), "One access to each of some pages in turn: what LRU is worst at",
    loop_options,         false,
    sizeof(walk_source),  sizeof(walk_cursor),
    loop_prepare,         NULL,
    walk_start,           walk_fill};

/* --- uniform -------------------------------------------------------------------- */

typedef struct uniform_cursor {
    generate_cursor g;
    uint64_t base, slots, stores;
    uint32_t size;
    vm_rng rng;
} uniform_cursor;

enum { UNIFORM_REFS, UNIFORM_BYTES, UNIFORM_BASE, UNIFORM_STORES, UNIFORM_SIZE, UNIFORM_SEED };

static vm_status uniform_prepare(generate_source *g, vm_error *e)
{
    g->count = (uint64_t)g->v[UNIFORM_REFS].n;
    if (g->v[UNIFORM_SIZE].n > g->v[UNIFORM_BYTES].n)
        return vm_fail(e, VM_INVALID,
                       "uniform: an access of size %lld does not fit into %lld bytes",
                       (long long)g->v[UNIFORM_SIZE].n, (long long)g->v[UNIFORM_BYTES].n);
    return VM_OK;
}

static void uniform_start(const generate_source *g, generate_cursor *c)
{
    uniform_cursor *u = (uniform_cursor *)c;
    u->base = (uint64_t)g->v[UNIFORM_BASE].n;
    u->size = (uint32_t)g->v[UNIFORM_SIZE].n;
    u->slots = (uint64_t)g->v[UNIFORM_BYTES].n / u->size;
    u->stores = generate_fraction(g->v[UNIFORM_STORES].x);
    rng_seed(&u->rng, (uint64_t)g->v[UNIFORM_SEED].n);
}

static size_t uniform_fill(generate_cursor *c, access_record *out)
{
    uniform_cursor *u = (uniform_cursor *)c;
    vm_rng rng = u->rng;
    for (size_t i = 0; i < TRACE_BLOCK; i++) {
        uint64_t slot = generate_mulhi(rng_next(&rng), u->slots);
        out[i] =
            generate_access(u->base + slot * u->size, u->size, rng_next(&rng) >> 32 < u->stores);
    }
    u->rng = rng;
    return TRACE_BLOCK;
}

static const generate_option uniform_options[] = {
    GENERATE_REFS,
    {"bytes", GENERATE_BYTES, 0x1p28, 1, GENERATE_MEMORY, NULL, "of the region"},
    GENERATE_BASE,
    {"stores", GENERATE_NUMBER, 0, 0, 1, NULL, "probability of a store"},
    {"size", GENERATE_BYTES, 8, 1, 4096, NULL, "bytes of an access; its address is a multiple"},
    GENERATE_SEED,
    {0},
};

const generate_row generate_uniform = {
    GENERATE_ROW("uniform"), "Anywhere in a region with the same probability",
    uniform_options,         false,
    sizeof(generate_source), sizeof(uniform_cursor),
    uniform_prepare,         NULL,
    uniform_start,           uniform_fill};
