/* generate_phases.c: other traces one after the other, or a few records of each
 * in turn: a program whose working set changes, or several that share a machine.
 *
 * Records are not copied, unless they get task numbers; with a turn all phases
 * are open at once, without one only the running phase is. */
#include "generate.h"

enum { PHASES_ROUNDS, PHASES_TURN, PHASES_TASKS };

typedef struct phase {
    trace_cursor *cursor; /* NULL: before its first turn, or at its end */
    trace_block block;
    size_t at; /* the next record in the block */
    bool ended;
} phase;

typedef struct phases_cursor {
    trace_cursor base;
    uint64_t rounds; /* not yet ended, this one included */
    uint64_t turn, left;
    bool tasks, any;          /* any: this round has had records */
    size_t now, ended, count; /* the phase whose turn it is; phases at their end; all */
    access_record *copy;      /* a block with task numbers; NULL: not wanted */
    phase phases[];
} phases_cursor;

static size_t phases_bytes(size_t count) { return sizeof(phases_cursor) + count * sizeof(phase); }

static vm_status phases_prepare(generate_source *g, vm_error *e)
{
    g->count = 0;
    if (g->trace_count == 0)
        return vm_fail(e, VM_INVALID, "phases takes one trace or more, but got none");
    if (g->v[PHASES_TASKS].n && g->trace_count > (size_t)UINT16_MAX + 1)
        return vm_fail(e, VM_INVALID, "phases: %zu traces, but there are only 65536 task numbers",
                       g->trace_count);
    for (size_t i = 0; i < g->trace_count && g->counted; i++) {
        uint64_t n;
        trace_source *s = g->traces[i];
        g->counted = s->cls->count && s->cls->count(s, &n) && n <= UINT64_MAX / 2 - g->count;
        if (g->counted)
            g->count += n;
    }
    uint64_t rounds = (uint64_t)g->v[PHASES_ROUNDS].n;
    g->counted = g->counted && g->count <= UINT64_MAX / 2 / rounds;
    g->count *= g->counted ? rounds : 0;
    return VM_OK;
}

/* Records of phase i with its number as their task. */
static vm_status phases_number(phases_cursor *c, trace_block *b, vm_error *e)
{
    for (size_t i = 0; i < b->count; i++) {
        c->copy[i] = b->records[i];
        if (b->records[i].kind == ACCESS_EVENT)
            return vm_fail(e, VM_INVALID,
                           "phase %zu has events, but phases with tasks takes traces without",
                           c->now + 1);
        if (b->records[i].task != 0)
            return vm_fail(e, VM_INVALID,
                           "phase %zu has a record of task %u, but phases with tasks takes traces "
                           "of one task",
                           c->now + 1, b->records[i].task);
        c->copy[i].task = (uint16_t)c->now;
    }
    b->records = c->copy;
    return VM_OK;
}

/* The phase whose turn it is has a block with a record left, or has ended. */
static vm_status phases_refill(phases_cursor *c, phase *p, vm_error *e)
{
    const generate_source *g = (const generate_source *)c->base.source;
    vm_status st = VM_OK;
    if (p->ended || p->at < p->block.count)
        return VM_OK;
    if (!p->cursor)
        st = trace_open(g->traces[c->now], &p->cursor, e);
    if (st == VM_OK) {
        p->at = 0;
        st = trace_next(p->cursor, &p->block, e);
    }
    if (st == VM_OK && p->block.count == 0) {
        trace_close(p->cursor);
        p->cursor = NULL;
        p->ended = true;
        c->ended++;
    }
    return st;
}

/* Begin the next round, if there is one; rounds of empty traces end at once. */
static void phases_begin(phases_cursor *c)
{
    c->rounds = c->any ? c->rounds - 1 : 0;
    if (c->rounds == 0)
        return;
    c->any = false;
    for (size_t i = 0; i < c->count; i++)
        c->phases[i].ended = false;
    c->ended = 0;
    c->now = 0;
    c->left = c->turn;
}

static vm_status phases_next(trace_cursor *base, trace_block *b, vm_error *e)
{
    phases_cursor *c = (phases_cursor *)base;
    memset(b, 0, sizeof *b);
    while (c->rounds > 0) {
        phase *p = &c->phases[c->now];
        vm_status st = c->left > 0 ? phases_refill(c, p, e) : VM_OK;
        if (st != VM_OK)
            return st;
        if (c->ended == c->count) {
            phases_begin(c);
        } else if (p->ended || c->left == 0) {
            c->now = c->now + 1 < c->count ? c->now + 1 : 0;
            c->left = c->turn;
        } else {
            size_t n = p->block.count - p->at;
            *b = p->block;
            b->records += p->at;
            b->count = n < c->left ? n : (size_t)c->left;
            p->at += b->count;
            c->left -= b->count;
            c->any = true;
            return c->tasks ? phases_number(c, b, e) : VM_OK;
        }
    }
    return VM_OK;
}

static void phases_close(trace_cursor *base)
{
    phases_cursor *c = (phases_cursor *)base;
    for (size_t i = 0; i < c->count; i++)
        trace_close(c->phases[i].cursor);
    host_free(base->host, c->copy, TRACE_BLOCK * sizeof *c->copy);
    host_free(base->host, c, phases_bytes(c->count));
}

static const trace_cursor_class phases_cursor_class = {"phases", phases_next, phases_close};

static vm_status phases_open(trace_source *base, trace_cursor **out, vm_error *e)
{
    const generate_source *g = (const generate_source *)base;
    size_t bytes = phases_bytes(g->trace_count);
    phases_cursor *c = host_zalloc(&base->host, bytes);
    if (!c)
        return vm_fail_nomem(e, "a pass over phases");
    c->base.cls = &phases_cursor_class;
    c->count = g->trace_count;
    c->rounds = (uint64_t)g->v[PHASES_ROUNDS].n;
    c->turn = c->left = g->v[PHASES_TURN].n ? (uint64_t)g->v[PHASES_TURN].n : UINT64_MAX;
    c->tasks = g->v[PHASES_TASKS].n != 0;
    if (c->tasks && !(c->copy = host_alloc(&base->host, TRACE_BLOCK * sizeof *c->copy))) {
        host_free(&base->host, c, bytes);
        return vm_fail_nomem(e, "a pass over phases");
    }
    *out = &c->base;
    return VM_OK;
}

static const generate_option phases_options[] = {
    {"rounds", GENERATE_COUNT, 1, 1, 0x1p40, NULL, "how often all phases are played"},
    {"turn", GENERATE_COUNT, 0, 0, 0x1p40, NULL,
     "records of a phase before the next one has its turn; 0: each phase to its end"},
    {"tasks", GENERATE_BOOL, 0, 0, 1, NULL,
     "true: the first trace is task 0, the second task 1 ..., a process each; the traces may have "
     "no tasks or events of their own"},
    {0},
};

const generate_row generate_phases = {
    {"phases", phases_open, generate_count, NULL, generate_describe, generate_destroy},
    "Other traces, one after the other or in turn",
    phases_options,
    true,
    sizeof(generate_source),
    0,
    phases_prepare,
    NULL,
    NULL,
    NULL};
