/* ring.h: how records come from a running program to vmem: a ring of blocks in
 * memory that both map.
 *
 * Several producers (threads, and the processes they fork) and one consumer. A
 * producer keeps records in a buffer of its own; to hand them over it takes a
 * ticket, waits until the block of that ticket is free, fills it, and marks it.
 * The consumer takes blocks in the order of tickets. An event ends its block, so
 * that it keeps its place among the accesses of its task.
 *
 * Invariants
 *   - block i serves tickets i, i + RING_BLOCKS, ...; `turn` is 2k while it waits
 *     for the k-th of them to be filled, 2k + 1 while that waits to be read;
 *   - nobody holds a ticket while it waits for anything but the consumer.
 */
#ifndef VM_RING_H
#define VM_RING_H

#include <stdatomic.h>

#include "../base/access.h"

#define RING_BLOCKS  64
#define RING_RECORDS 4096 /* in a block */
#define RING_NAME    96
#define RING_MAGIC   UINT64_C(0x31676e69726d7600)

typedef struct ring_block {
    _Alignas(64) _Atomic uint64_t turn;
    uint32_t count; /* of records, the event's own included */
    uint16_t type;  /* access_event_type of the last record, or 0 */
    uint16_t task;
    uint64_t arg[EVENT_ARGS];
    char name[RING_NAME]; /* of the event; empty: none */
    _Alignas(64) access_record records[RING_RECORDS];
} ring_block;

typedef struct ring {
    uint64_t magic;
    int64_t consumer;                        /* process id: when it is gone, producers end */
    _Alignas(64) _Atomic uint64_t tickets;   /* given out so far */
    _Alignas(64) _Atomic uint32_t next_task; /* the next task number to give */
    _Atomic uint32_t stop;                   /* the consumer wants no more */
    ring_block blocks[RING_BLOCKS];
} ring;

#endif
