/* loss.h: where the bytes of a heap are that are no payload.
 *
 * Each byte between the heap's start and its end has one of the names below or is
 * payload: the names add up to bytes - payload, whatever the allocator and the moment.
 * An allocated block, from its start to its end:
 *
 *    header | payload | padding | minimum or rounding | slack | footer
 *
 * where padding is what the alignment adds to header, payload and footer, minimum and
 * rounding what the allocator adds to that since its blocks have a smallest size or
 * sizes of their own, and slack what the block has beyond the size cut to measure.
 *
 * Source: CS:APP 9.9.3 (internal: the first six; external: holes and tail).
 */
#ifndef VM_HEAP_LOSS_H
#define VM_HEAP_LOSS_H

#include "heap.h"

#define HEAP_LOSS(X)                                                                               \
    X(headers, "before the payloads of allocated blocks")                                          \
    X(footers, "behind them")                                                                      \
    X(padding, "alignment: up to a multiple of it")                                                \
    X(minimum, "from there up to the smallest block")                                              \
    X(rounding, "or up to the next size that blocks have")                                         \
    X(slack, "rests of blocks that were not split off")                                            \
    X(holes, "free blocks below an allocated one")                                                 \
    X(tail, "free blocks above them all, and what no block has had yet")                           \
    X(tables, "in no block: tables, bitmaps, prologue, epilogue")

typedef struct heap_loss {
#define X(field, doc) uint64_t field;
    HEAP_LOSS(X)
#undef X
    uint64_t bytes, payload;
} heap_loss;

/* At this moment, without accesses. Errors: VM_INVALID, the heap is damaged. */
vm_status heap_loss_now(heap *h, heap_loss *l, vm_error *e);

#endif
