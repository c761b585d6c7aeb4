/* generate_chase.c: a pointer chase over nodes linked into one random cycle.
 *
 * Each visit loads the node's first `loads` fields (the pointer among them),
 * then sometimes stores to the next one. The table has the nodes in the order
 * of the chain, not each node's successor: the accesses are the same, and
 * making them does not wait for the host's memory. */
#include "generate.h"

typedef struct chase_source {
    generate_source g;
    uint32_t *order; /* a permutation of the nodes */
    vm_rng rng;      /* as each pass begins */
} chase_source;

typedef struct chase_cursor {
    generate_cursor g;
    const uint32_t *order;
    uint64_t base, node, stores;
    uint32_t nodes, at, loads, size;
    vm_rng rng;
} chase_cursor;

enum {
    CHASE_REFS,
    CHASE_NODES,
    CHASE_NODE,
    CHASE_LOADS,
    CHASE_STORES,
    CHASE_SEED,
    CHASE_BASE,
    CHASE_SIZE
};

#define CHASE_LOADS_MAX 64

static vm_status chase_prepare(generate_source *g, vm_error *e)
{
    chase_source *s = (chase_source *)g;
    uint32_t nodes = (uint32_t)g->v[CHASE_NODES].n;
    int64_t fields = g->v[CHASE_LOADS].n + (g->v[CHASE_STORES].x > 0);
    g->count = (uint64_t)g->v[CHASE_REFS].n;
    if (fields * g->v[CHASE_SIZE].n > g->v[CHASE_NODE].n)
        return vm_fail(
            e, VM_INVALID, "chase: %lld fields of size %lld do not fit into a node of %lld bytes",
            (long long)fields, (long long)g->v[CHASE_SIZE].n, (long long)g->v[CHASE_NODE].n);
    s->order = host_alloc(&g->base.host, nodes * sizeof *s->order);
    if (!s->order)
        return vm_fail_nomem(e, "the nodes of chase");
    rng_seed(&s->rng, (uint64_t)g->v[CHASE_SEED].n);
    generate_shuffle(&s->rng, s->order, nodes);
    return VM_OK;
}

static void chase_release(generate_source *g)
{
    chase_source *s = (chase_source *)g;
    host_free(&g->base.host, s->order, (size_t)g->v[CHASE_NODES].n * sizeof *s->order);
}

static void chase_start(const generate_source *g, generate_cursor *c)
{
    const chase_source *s = (const chase_source *)g;
    chase_cursor *k = (chase_cursor *)c;
    k->order = s->order;
    k->base = (uint64_t)g->v[CHASE_BASE].n;
    k->node = (uint64_t)g->v[CHASE_NODE].n;
    k->nodes = (uint32_t)g->v[CHASE_NODES].n;
    k->at = 0;
    k->loads = (uint32_t)g->v[CHASE_LOADS].n;
    k->size = (uint32_t)g->v[CHASE_SIZE].n;
    k->stores = generate_fraction(g->v[CHASE_STORES].x);
    k->rng = s->rng;
}

static size_t chase_fill(generate_cursor *c, access_record *out)
{
    chase_cursor *k = (chase_cursor *)c;
    vm_rng rng = k->rng;
    size_t n = 0;
    while (n + k->loads + 1 <= TRACE_BLOCK) {
        uint64_t addr = k->base + k->order[k->at] * k->node;
        for (uint32_t i = 0; i < k->loads; i++, addr += k->size)
            out[n++] = generate_access(addr, k->size, false);
        if (rng_next(&rng) >> 32 < k->stores)
            out[n++] = generate_access(addr, k->size, true);
        k->at = k->at + 1 < k->nodes ? k->at + 1 : 0;
    }
    k->rng = rng;
    return n;
}

static const generate_option chase_options[] = {
    GENERATE_REFS,
    {"nodes", GENERATE_COUNT, 1 << 20, 1, 0x1p28, NULL,
     "in the cycle; 4 bytes of host memory each"},
    {"node", GENERATE_BYTES, 64, 1, 0x1p30, NULL, "from one node to the next in memory"},
    {"loads", GENERATE_COUNT, 1, 1, CHASE_LOADS_MAX, NULL,
     "fields that a visit loads, from the node's beginning"},
    {"stores", GENERATE_NUMBER, 0, 0, 1, NULL,
     "probability that a visit then stores to the field behind them"},
    GENERATE_SEED,
    GENERATE_BASE,
    {"size", GENERATE_BYTES, 8, 1, 4096, NULL, "bytes of a field"},
    {0},
};
_Static_assert(sizeof chase_options / sizeof *chase_options == GENERATE_OPTIONS + 1,
               "a row's options fit its source");

const generate_row generate_chase = {
    GENERATE_ROW("chase"), "A linked list whose nodes lie in random order",
    chase_options,         false,
    sizeof(chase_source),  sizeof(chase_cursor),
    chase_prepare,         chase_release,
    chase_start,           chase_fill};
