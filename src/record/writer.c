#include "writer.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <sys/mman.h>
#include <unistd.h>

#include "futex.h"

#define WRITER_SPINS 400
#define WRITER_NAP   50 /* milliseconds between looks at whether vmem is still there */
#define WRITER_ENDED 125

writer_state writer;

bool writer_begin(int fd)
{
    ring *r = mmap(NULL, sizeof *r, PROT_READ, MAP_SHARED, fd, 0);
    if (r == MAP_FAILED)
        return false;
    uint64_t bytes = r->magic == RING_MAGIC ? ring_bytes(r) : 0;
    munmap(r, sizeof *r);
    if (!bytes)
        return false;
    r = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE, fd, 0);
    if (r == MAP_FAILED)
        return false;
    writer.ring = r;
    pthread_mutex_init(&writer.calls, NULL);
    return true;
}

_Noreturn void writer_fail(const char *why)
{
    snprintf(writer.ring->error, sizeof writer.ring->error, "%s", why);
    atomic_store(&writer.ring->stop, 1);
    _exit(WRITER_ENDED);
}

ring_tap *writer_take(const ring_tap *maker, bool shares)
{
    ring *r = writer.ring;
    uint32_t task = atomic_fetch_add(&r->tasks, 1);
    if (task > UINT16_MAX)
        writer_fail("the program began more than 65536 threads and processes");
    for (unsigned i = 0; i < RING_TAPS; i++) {
        uint32_t was = TAP_FREE;
        ring_tap *t = &r->tap[i];
        if (atomic_load(&t->state) != TAP_FREE ||
            !atomic_compare_exchange_strong(&t->state, &was, TAP_MADE))
            continue;
        t->task = task;
        t->process = shares ? maker->process : task;
        t->maker = maker ? (uint32_t)(maker - r->tap) : RING_TAPS;
        t->words = ring_tap_words(r, i);
        t->limit = 0;
        atomic_store(&t->open, 0);
        uint32_t used = atomic_load(&r->taps);
        while (used <= i && !atomic_compare_exchange_weak(&r->taps, &used, i + 1))
            ;
        return t;
    }
    writer_fail("the program has more than 512 threads and processes at a time");
}

void writer_own(ring_tap *t)
{
    pthread_mutex_lock(&t->alive);
    atomic_store(&t->state, TAP_LIVE);
}

void writer_publish(ring_tap *t)
{
    atomic_store(&t->head, writer_pos(t));
    if (atomic_exchange(&writer.ring->sleeping, 0))
        futex_wake(&writer.ring->sleeping);
}

/* vmem is gone, or wants no more. */
static void writer_check(void)
{
    ring *r = writer.ring;
    if (atomic_load(&r->stop) || (kill((pid_t)r->consumer, 0) < 0 && errno == ESRCH))
        _exit(WRITER_ENDED);
}

void writer_make_room(ring_tap *t, uint64_t need)
{
    ring *r = writer.ring;
    uint64_t pos = writer_pos(t), part = r->words / RING_CHUNKS, want = need + RING_SLACK;
    if (atomic_load(&t->state) == TAP_MADE)
        writer_own(t);
    if (want < part)
        want = part;
    writer_publish(t);
    if (atomic_load_explicit(&r->stop, memory_order_relaxed))
        writer_check();
    for (unsigned spins = 0; atomic_load(&t->tail) + r->words - pos < want; spins++) {
        if (spins < WRITER_SPINS) {
            futex_pause();
            continue;
        }
        atomic_store(&t->waiting, 1);
        if (atomic_load(&t->tail) + r->words - pos < want) {
            futex_sleep(&t->waiting, 1, WRITER_NAP);
            writer_check();
        }
        atomic_store(&t->waiting, 0);
    }
    t->limit = pos + want - RING_SLACK;
}

void writer_event(ring_tap *t, unsigned type, const uint64_t arg[EVENT_ARGS], const char *name,
                  bool told)
{
    ring *r = writer.ring;
    told = told && atomic_load(&writer.threads) > 1;
    if (told)
        atomic_fetch_add(&t->told, 1);
    if (writer_pos(t) + RING_EVENT > t->limit)
        writer_make_room(t, RING_EVENT);
    uint64_t first = writer_pos(t), pos = first + 1, waits = 0, name_words = 0;
    for (unsigned i = 0; i < EVENT_ARGS; i++)
        writer_put(t, pos++, arg ? arg[i] : 0);
    for (unsigned i = 0, n = atomic_load(&r->taps); told && i < n; i++) {
        ring_tap *other = &r->tap[i];
        if (other != t && atomic_load(&other->state) == TAP_LIVE && other->process == t->process) {
            uint64_t at = atomic_load_explicit(&other->pos, memory_order_acquire);
            writer_put(t, pos++, at | (uint64_t)i << WAIT_TAP_AT);
            waits++;
        }
    }
    if (name) { /* a long path keeps its end, which says more */
        size_t n = strlen(name) + 1, most = RING_NAME_WORDS * 8;
        if (n > most) {
            name += n - most;
            n = most;
        }
        for (; name_words * 8 < n; name_words++) {
            uint64_t word = 0;
            size_t left = n - name_words * 8;
            memcpy(&word, name + name_words * 8, left < 8 ? left : 8);
            writer_put(t, pos++, word);
        }
    }
    writer_put(t, first,
               WORD_EVENT | (uint64_t)type << 3 | (told ? WORD_TOLD : 0) |
                   name_words << WORD_NAME_AT | waits << WORD_WAITS_AT);
    writer_advance(t, pos);
    writer_publish(t);
}

void *writer_heap(uint64_t bytes, uint64_t *offset)
{
    ring *r = writer.ring;
    *offset = atomic_fetch_add(&r->heap, align_up(bytes, 16));
    if (*offset + bytes > RING_HEAP)
        writer_fail("the program's code was translated in more pieces than the recorder can hold");
    return (char *)r + ring_heap_at(r) + *offset;
}
