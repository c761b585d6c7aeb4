/* tapread.h: the words of the recorder's taps (record/ring.h) made into records.
 *
 * Each task's records come in the program's own order. Between tasks the order is
 * that of hand-over, some thousand records at a time, but for events of a process
 * with several threads: what lies before one in time comes before it here.
 * A thread or process is not read before its birth has been told.
 */
#ifndef VM_TAPREAD_H
#define VM_TAPREAD_H

#include "trace.h"

#include "../record/ring.h"

#define TAPREAD_EVENTS 32 /* in a block */

typedef struct tapread_tap {
    uint64_t at;             /* position: all before it has been read */
    const ring_table *table; /* the block under way, or NULL */
    uint32_t insn;           /* its next instruction to be fetched */
    uint32_t told;           /* told events that were met */
    bool born, dead;
    bool exited, execs; /* its end has been told; execve has begun */
    char program[RING_NAME_WORDS * 8];
} tapread_tap;

typedef struct tapread {
    ring *r;
    bool reaped;     /* the first process has been waited for */
    uint64_t killed; /* the first process's exit status, where it told none */
    unsigned last;   /* the tap that was read last */
    /* Taps that are read up to `end`, the top one now; the others wait for it. */
    struct {
        unsigned tap;
        uint64_t end;
    } stack[RING_TAPS];
    unsigned depth;
    size_t n, events;
    uint64_t records; /* handed on so far */
    tapread_tap taps[RING_TAPS];
    access_event event[TAPREAD_EVENTS];
    char names[TAPREAD_EVENTS][RING_NAME_WORDS * 8];
    access_record out[TRACE_BLOCK];
    uint16_t status[UINT16_MAX + 1]; /* by process: exit_group's status + 1 */
} tapread;

/* What has been written and not yet read; b->count 0: nothing now. */
vm_status tapread_next(tapread *t, trace_block *b, vm_error *e);
/* Look which threads have ended: what they wrote last is read then. `unborn`: those
 * count as ended, too, that were made and have not begun to run. */
void tapread_bury(tapread *t, bool unborn);
/* How many threads have not ended, or have words to be read; how many of them have
 * not begun to run. */
unsigned tapread_taps(const tapread *t, unsigned *unborn);

#endif
