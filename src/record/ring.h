/* ring.h: the memory that a recorded program and vmem share, and the words in it.
 *
 * Each thread of the program has a tap: a ring of 64-bit words with one writer
 * and one reader. Positions count words from the tap's beginning and never go
 * back, also when a tap is used again by a later thread.
 *
 *    tail <= head <= pos <= tail + words
 *    tail   what the reader has taken
 *    head   what the writer has handed over, some thousand words at a time
 *    pos    what the writer has written; true after each word, so that nothing is
 *           lost when the program is killed: the reader then reads up to `pos`
 *
 * Instructions are told by translated blocks: the table of a block, its fetches
 * as access_records, is written once to the heap, and one word says that the
 * block was entered. The words of its data accesses follow, each with the number
 * of its instruction in the block, so the reader knows the order of all.
 *
 * A writer holds its tap's robust mutex `alive` while it lives. The kernel gives
 * that up for it however it ends, by exit, signal or execve, and needs neither a
 * descriptor (programs close those they do not know) nor a handler to do so.
 *
 * A word's low three bits are its tag:
 *    WORD_BLOCK   heap offset of the table, a multiple of 16; bit 3: more than one instruction
 *    WORD_DATA    bit 3 store, 4-6 log2 of the size, 7-15 instruction, 16-63 address
 *    WORD_FAR     the same without address, which is the next word: it has over 48 bits
 *    WORD_LEFT    the block before was left before its last instruction; a WORD_BLOCK follows
 *    WORD_EVENT   bits 3-7 type, 8 told (below), 16-31 words of name, 32-47 waits; then
 *                 EVENT_ARGS arguments, the waits, the name
 * A wait is a place of another tap of the process (bits 48-63 its number, 0-47
 * the position) that was reached when the event happened: what lies before it
 * comes before the event. `told` counts such events of a tap before they are
 * written, so that what others do after one is not read before it either.
 */
#ifndef VM_RING_H
#define VM_RING_H

#include <pthread.h>
#include <stdatomic.h>

#include "../base/access.h"

#define RING_MAGIC      UINT64_C(0x32676e69726d7600)
#define RING_TAPS       512                 /* threads at a time, of all processes */
#define RING_HEAP       (UINT64_C(1) << 30) /* bytes of tables; only what is used is there */
#define RING_SLACK      8                   /* words that fit after a check for room */
#define RING_NAME_WORDS 32                  /* of an event's name, its final 0 included */
#define RING_EVENT      (1 + EVENT_ARGS + RING_NAME_WORDS + RING_TAPS)
#define RING_CHUNKS     8 /* a tap is handed over in so many parts */

enum { WORD_BLOCK = 1, WORD_DATA, WORD_FAR, WORD_LEFT, WORD_EVENT };
#define WORD_TAG      7u
#define WORD_MANY     8u
#define WORD_STORE    8u
#define WORD_SHIFT_AT 4
#define WORD_INSN_AT  7
#define WORD_ADDR_AT  16
#define WORD_TOLD     (1u << 8)
#define WORD_NAME_AT  16
#define WORD_WAITS_AT 32
#define WAIT_TAP_AT   48

/* Types of events beside those of access.h, which the reader sees only. */
enum {
    RING_EXIT_GROUP = EVENT_TYPES, /* exit status: all threads of the process */
    RING_EXEC,                     /* execve begins; name: the program */
    RING_EXEC_FAILED
};

/* A translated block. The fetches are as the reader hands them on, task 0. */
typedef struct ring_table {
    uint32_t count; /* of instructions, 1 or more */
    uint32_t zero;
    uint64_t next; /* bytes from here to the bits below */
    access_record fetches[];
    /* then one bit an instruction: it can fault, by its data or by division */
} ring_table;

#define RING_INSNS 512 /* of a block, at the most */

enum { TAP_FREE = 0, TAP_MADE, TAP_LIVE, TAP_FAILED };

typedef struct ring_tap {
    /* the writer's */
    _Alignas(64) _Atomic uint64_t pos;
    uint64_t limit;         /* position up to which there is room */
    uint64_t *words;        /* where the writer sees them */
    _Atomic uint32_t open;  /* the last block has not come to its last instruction */
    uint32_t task, process; /* process: the task of its first thread */
    uint32_t maker;         /* the tap that tells of its birth; RING_TAPS: none */
    _Atomic uint32_t told;
    /* what both look at, now and then */
    _Alignas(64) _Atomic uint64_t head;
    _Atomic uint32_t state; /* TAP_FREE to TAP_MADE by a writer, back by the reader */
    _Alignas(64) _Atomic uint64_t tail;
    _Atomic uint32_t waiting; /* the writer sleeps until there is room */
    _Alignas(64) pthread_mutex_t alive;
} ring_tap;

typedef struct ring {
    uint64_t magic;
    uint64_t words;   /* of a tap, a power of two */
    int64_t consumer; /* process id: when it is gone, writers end */
    _Atomic uint32_t stop;
    _Alignas(64) _Atomic uint32_t sleeping; /* the reader waits for a hand-over */
    _Alignas(64) _Atomic uint32_t tasks;    /* numbers given */
    _Atomic uint32_t taps;                  /* ever used; the rest is untouched */
    _Atomic uint64_t heap;                  /* bytes used */
    char error[160];                        /* why a writer ended the program */
    ring_tap tap[RING_TAPS];
    /* then the taps' words, then the heap */
} ring;

static inline uint64_t ring_words_at(void) { return align_up(sizeof(ring), 4096); }
static inline uint64_t ring_heap_at(const ring *r)
{
    return ring_words_at() + RING_TAPS * r->words * 8;
}
static inline uint64_t ring_bytes(const ring *r) { return ring_heap_at(r) + RING_HEAP; }
static inline uint64_t *ring_tap_words(ring *r, unsigned i)
{
    return (uint64_t *)(void *)((char *)r + ring_words_at()) + i * r->words;
}

#endif
