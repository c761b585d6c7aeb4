/* writer.h: the recorder's side of the ring: taps are taken, words and events
 * written, room waited for. One process's state, inherited by the processes that
 * it forks; each thread uses only its own tap without the lock.
 */
#ifndef VM_WRITER_H
#define VM_WRITER_H

#include "ring.h"

typedef struct writer_state {
    ring *ring;
    _Atomic uint32_t threads; /* of this process, which have taps */
    uint32_t process;         /* the task of its first thread */
    pthread_mutex_t calls;    /* held from entry to return of calls that change the space */
} writer_state;

extern writer_state writer;

/* Map the ring; false: it is none. */
bool writer_begin(int fd);
/* A tap and a task number for a thread that is about to begin, of its maker's
 * process (`shares`) or of a new one. Ends the program where there are no more. */
ring_tap *writer_take(const ring_tap *maker, bool shares);
/* For the calling thread: the tap is its own from here on. */
void writer_own(ring_tap *t);
/* End the program, for a reason that vmem tells. */
_Noreturn void writer_fail(const char *why);
/* Room for `need` words and RING_SLACK more; hands over what is there. */
void writer_make_room(ring_tap *t, uint64_t need);
/* Hand over what is there. */
void writer_publish(ring_tap *t);
/* `told`: what the other threads of the process did before comes before it, what
 * they do from now on after it. Needs the lock. */
void writer_event(ring_tap *t, unsigned type, const uint64_t arg[EVENT_ARGS], const char *name,
                  bool told);
/* Bytes of the heap, a multiple of 16 from its beginning. */
void *writer_heap(uint64_t bytes, uint64_t *offset);

static inline void writer_put(ring_tap *t, uint64_t pos, uint64_t word)
{
    t->words[pos & (writer.ring->words - 1)] = word;
}

static inline uint64_t writer_pos(const ring_tap *t)
{
    return atomic_load_explicit(&t->pos, memory_order_relaxed);
}

static inline void writer_advance(ring_tap *t, uint64_t pos)
{
    atomic_store_explicit(&t->pos, pos, memory_order_release);
}

#endif
