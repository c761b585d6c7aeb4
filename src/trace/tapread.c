#include "tapread.h"

#include <errno.h>

#include "../record/futex.h"

/* Records that one word can become: a block's fetches and a data access. */
#define TAPREAD_ROOM (RING_INSNS + 1)

/* The exit status of a child process that a signal killed: which, is not known. */
#define TAPREAD_KILLED 128

typedef enum tapread_step { TAPREAD_DONE, TAPREAD_FULL, TAPREAD_WAITS, TAPREAD_BAD } tapread_step;

static void tapread_fetches(tapread *t, tapread_tap *s, uint16_t task, uint32_t stop)
{
    const access_record *from = s->table->fetches;
    access_record *to = t->out + t->n;
    t->n += stop - s->insn;
    for (uint32_t i = s->insn; i < stop; i++, to++) {
        *to = from[i];
        to->task = task;
    }
    s->insn = stop;
}

static void tapread_finish_block(tapread *t, tapread_tap *s, uint16_t task)
{
    if (s->table)
        tapread_fetches(t, s, task, s->table->count);
    s->table = NULL;
}

/* The block was left before its end. If what follows begins at one of its
 * instructions, that one did not complete; else one of them faulted. */
static void tapread_left(tapread *t, tapread_tap *s, uint16_t task, uint64_t next)
{
    const ring_table *b = s->table;
    if (!b)
        return;
    const uint64_t *faults = (const uint64_t *)(const void *)((const char *)b + b->next);
    uint32_t stop = s->insn;
    for (uint32_t i = s->insn; i < b->count && stop == s->insn; i++)
        if (faults[i / 64] >> i % 64 & 1)
            stop = i + 1;
    for (uint32_t i = s->insn; i < b->count; i++)
        if (b->fetches[i].addr == next) {
            stop = i;
            break;
        }
    tapread_fetches(t, s, task, stop);
    s->table = NULL;
}

static const ring_table *tapread_table(const ring *r, uint64_t word)
{
    uint64_t at = word & ~(uint64_t)15;
    if (VM_UNLIKELY(at >= RING_HEAP - sizeof(ring_table)))
        return NULL;
    const ring_table *b = (const void *)((const char *)r + ring_heap_at(r) + at);
    uint64_t bytes = sizeof *b + (uint64_t)b->count * sizeof *b->fetches + RING_INSNS / 8;
    if (VM_UNLIKELY(b->count == 0 || b->count > RING_INSNS || at + bytes > RING_HEAP))
        return NULL;
    return b;
}

static void tapread_emit(tapread *t, uint16_t type, uint16_t task, const uint64_t *arg,
                         const char *name)
{
    access_event *v = &t->event[t->events];
    *v = (access_event){.type = type, .task = task};
    if (arg)
        memcpy(v->arg, arg, sizeof v->arg);
    if (name && name[0])
        v->name = strcpy(t->names[t->events], name);
    t->out[t->n++] = (access_record){.addr = t->events++, .task = task, .kind = ACCESS_EVENT};
}

static tapread_step tapread_push(tapread *t, unsigned i, uint64_t end)
{
    /* A tap whose birth has not been read: first what tells of it. */
    for (unsigned n = 0; !t->taps[i].born && t->r->tap[i].maker < RING_TAPS; n++) {
        i = t->r->tap[i].maker;
        end = atomic_load_explicit(&t->r->tap[i].pos, memory_order_acquire);
        if (n == RING_TAPS)
            return TAPREAD_BAD;
    }
    if (t->depth == RING_TAPS)
        return TAPREAD_BAD;
    t->stack[t->depth].tap = i;
    t->stack[t->depth++].end = end;
    return TAPREAD_WAITS;
}

static void tapread_born(tapread *t, uint64_t task)
{
    for (unsigned i = 0; i < RING_TAPS; i++)
        if (t->r->tap[i].task == task && atomic_load(&t->r->tap[i].state) != TAP_FREE)
            t->taps[i].born = true;
}

static tapread_step tapread_event(tapread *t, unsigned tap, uint64_t end)
{
    const ring_tap *p = &t->r->tap[tap];
    tapread_tap *s = &t->taps[tap];
    const uint64_t *words = ring_tap_words(t->r, tap), mask = t->r->words - 1;
    uint64_t at = s->at, word = words[at++ & mask], arg[EVENT_ARGS];
    unsigned type = word >> 3 & 31, waits = word >> WORD_WAITS_AT & 0xffff,
             name_words = word >> WORD_NAME_AT & 0xffff;
    uint16_t task = (uint16_t)p->task;
    char name[RING_NAME_WORDS * 8] = "";
    if (at + EVENT_ARGS + waits + name_words > end || waits > RING_TAPS ||
        name_words > RING_NAME_WORDS)
        return TAPREAD_BAD;
    if (t->events == TAPREAD_EVENTS)
        return TAPREAD_FULL;
    for (unsigned i = 0; i < EVENT_ARGS; i++)
        arg[i] = words[at++ & mask];
    for (unsigned i = 0; i < waits; i++) {
        uint64_t wait = words[at++ & mask];
        unsigned other = (unsigned)(wait >> WAIT_TAP_AT);
        uint64_t to = wait & low_mask(WAIT_TAP_AT);
        if (other >= RING_TAPS)
            return TAPREAD_BAD;
        if (t->taps[other].at < to)
            return tapread_push(t, other, to);
    }
    for (unsigned i = 0; i < name_words; i++)
        memcpy(name + i * 8, &words[at++ & mask], 8);
    name[sizeof name - 1] = '\0';
    s->at = at;
    s->told += word & WORD_TOLD ? 1 : 0;
    tapread_finish_block(t, s, task);
    if (type == RING_EXIT_GROUP) {
        t->status[p->process & UINT16_MAX] = (uint16_t)(arg[0] + 1);
    } else if (type == RING_EXEC) {
        s->execs = true;
        memcpy(s->program, name, sizeof name);
    } else if (type == RING_EXEC_FAILED) {
        s->execs = false;
    } else if (type > 0 && type < EVENT_TYPES) {
        if (type == EVENT_FORK || type == EVENT_THREAD)
            tapread_born(t, arg[0]);
        s->exited = s->exited || type == EVENT_EXIT;
        tapread_emit(t, (uint16_t)type, task, arg, name);
    } else {
        return TAPREAD_BAD;
    }
    return TAPREAD_DONE;
}

/* Read a tap up to `end`, as far as the block has room. */
static tapread_step tapread_run(tapread *t, unsigned tap, uint64_t end)
{
    tapread_tap *s = &t->taps[tap];
    const uint64_t *words = ring_tap_words(t->r, tap), mask = t->r->words - 1;
    uint16_t task = (uint16_t)t->r->tap[tap].task;
    while (s->at < end) {
        if (t->n > TRACE_BLOCK - TAPREAD_ROOM - 1)
            return TAPREAD_FULL;
        uint64_t word = words[s->at & mask], addr = word >> WORD_ADDR_AT;
        switch (word & WORD_TAG) {
        case WORD_BLOCK:
            tapread_finish_block(t, s, task);
            s->table = tapread_table(t->r, word);
            s->insn = 0;
            if (VM_UNLIKELY(!s->table))
                return TAPREAD_BAD;
            s->at++;
            break;
        case WORD_FAR:
            addr = words[++s->at & mask];
            /* fallthrough */
        case WORD_DATA: {
            uint32_t insn = word >> WORD_INSN_AT & (RING_INSNS - 1);
            if (VM_UNLIKELY(!s->table || insn >= s->table->count))
                return TAPREAD_BAD;
            if (insn >= s->insn)
                tapread_fetches(t, s, task, insn + 1);
            t->out[t->n++] =
                (access_record){.addr = addr,
                                .size = 1u << (word >> WORD_SHIFT_AT & 7),
                                .task = task,
                                .kind = word & WORD_STORE ? ACCESS_STORE : ACCESS_LOAD};
            s->at++;
            break;
        }
        case WORD_LEFT: {
            const ring_table *next = tapread_table(t->r, words[(s->at + 1) & mask]);
            if (!next)
                return TAPREAD_BAD;
            tapread_left(t, s, task, next->fetches[0].addr);
            s->at++;
            break;
        }
        case WORD_EVENT: {
            tapread_step step = tapread_event(t, tap, end);
            if (step != TAPREAD_DONE)
                return step;
            break;
        }
        default:
            return TAPREAD_BAD;
        }
    }
    return TAPREAD_DONE;
}

/* A thread has ended and all that it wrote has been read: its tap is free again. */
static void tapread_finish(tapread *t, unsigned tap)
{
    ring_tap *p = &t->r->tap[tap];
    tapread_tap *s = &t->taps[tap];
    uint16_t task = (uint16_t)p->task, status = t->status[p->process & UINT16_MAX];
    if (atomic_load(&p->open))
        tapread_left(t, s, task, 0);
    tapread_finish_block(t, s, task);
    if (s->execs)
        tapread_emit(t, EVENT_EXEC, task, NULL, s->program);
    else if (!s->exited)
        tapread_emit(t, EVENT_EXIT, task,
                     (uint64_t[EVENT_ARGS]){status            ? status - 1u
                                            : p->process == 0 ? t->killed
                                                              : TAPREAD_KILLED},
                     NULL);
    *s = (tapread_tap){.at = s->at, .told = atomic_load(&p->told)};
    atomic_store(&p->state, TAP_FREE);
}

/* What `tap` may read up to: all where its thread has ended. */
static uint64_t tapread_end(const tapread *t, unsigned tap)
{
    const ring_tap *p = &t->r->tap[tap];
    return atomic_load_explicit(t->taps[tap].dead ? &p->pos : &p->head, memory_order_acquire);
}

/* The next tap to read; false: none has anything. */
static bool tapread_choose(tapread *t)
{
    ring *r = t->r;
    unsigned n = atomic_load(&r->taps);
    n = n < RING_TAPS ? n : RING_TAPS;
    for (unsigned k = 1; k <= n; k++) {
        unsigned i = (t->last + k) % n;
        tapread_tap *s = &t->taps[i];
        ring_tap *p = &r->tap[i];
        s->born = s->born || (p->maker == RING_TAPS && atomic_load(&p->state) != TAP_FREE);
        if (!s->born)
            continue;
        uint64_t end = tapread_end(t, i);
        if (end == s->at && !s->dead)
            continue;
        /* A told event of the process comes first, maybe not yet written in full. */
        for (unsigned j = 0; n > 1 && j < n; j++)
            if (r->tap[j].process == p->process && t->taps[j].born && !t->taps[j].dead &&
                atomic_load(&r->tap[j].told) != t->taps[j].told) {
                i = j;
                end = tapread_end(t, j);
                if (end == t->taps[j].at)
                    return false;
                break;
            }
        t->last = i;
        t->stack[0].tap = i;
        t->stack[0].end = end;
        t->depth = 1;
        return true;
    }
    return false;
}

/* The writer may use the room again; wake it once half of the tap is free. */
static void tapread_give_back(tapread *t, unsigned tap)
{
    ring_tap *p = &t->r->tap[tap];
    atomic_store(&p->tail, t->taps[tap].at);
    if (atomic_load(&p->waiting) && atomic_load(&p->head) - t->taps[tap].at <= t->r->words / 2) {
        atomic_store(&p->waiting, 0);
        futex_wake(&p->waiting);
    }
}

vm_status tapread_next(tapread *t, trace_block *b, vm_error *e)
{
    t->n = t->events = 0;
    tapread_step step = TAPREAD_DONE;
    while (step != TAPREAD_FULL && (t->depth > 0 || tapread_choose(t))) {
        unsigned top = t->depth - 1, tap = t->stack[top].tap;
        step = tapread_run(t, tap, t->stack[top].end);
        tapread_give_back(t, tap);
        if (step == TAPREAD_BAD)
            return vm_fail_sys(e, VM_IO, EIO,
                               "what task %u of the program recorded is damaged at word %llu; the "
                               "program may have written over it",
                               (unsigned)t->r->tap[tap].task, (unsigned long long)t->taps[tap].at);
        if (step != TAPREAD_DONE)
            continue;
        if (t->taps[tap].dead && t->taps[tap].at == tapread_end(t, tap) && top == 0) {
            if (t->n > TRACE_BLOCK - TAPREAD_ROOM - 1 || t->events == TAPREAD_EVENTS)
                break;
            tapread_finish(t, tap);
        }
        t->depth--;
        /* Small hand-overs are passed on as they are, so that nothing waits for others. */
    }
    *b = (trace_block){t->out, t->n, t->event, t->events};
    t->records += t->n;
    return VM_OK;
}

void tapread_bury(tapread *t, bool unborn)
{
    for (unsigned i = 0; i < RING_TAPS && i < atomic_load(&t->r->taps); i++) {
        ring_tap *p = &t->r->tap[i];
        tapread_tap *s = &t->taps[i];
        uint32_t state = atomic_load(&p->state);
        if (s->dead || state == TAP_FREE || (state == TAP_MADE && !unborn))
            continue;
        /* How the first process ended is known when it has been waited for. */
        if (state == TAP_LIVE && p->process == 0 && !t->reaped && !s->exited && !s->execs)
            continue;
        if (state == TAP_LIVE) {
            int got = pthread_mutex_trylock(&p->alive);
            if (got != 0 && got != EOWNERDEAD)
                continue;
#if defined(__linux__)
            if (got == EOWNERDEAD)
                pthread_mutex_consistent(&p->alive);
#endif
            pthread_mutex_unlock(&p->alive);
        }
        s->dead = true;
    }
}

unsigned tapread_taps(const tapread *t, unsigned *unborn)
{
    unsigned n = 0;
    *unborn = 0;
    for (unsigned i = 0; i < RING_TAPS && i < atomic_load(&t->r->taps); i++) {
        uint32_t state = atomic_load(&t->r->tap[i].state);
        n += state != TAP_FREE;
        *unborn += state == TAP_MADE;
    }
    return n;
}
