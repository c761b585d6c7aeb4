/* disk.h: the simulated disk: blocks of one page each, a latency, counters.
 *
 * Content is sparse, as DRAM's is: a block never written, or written with
 * zeros that DRAM never held, costs nothing on the host.
 * Blocks come in requests: the first costs the latency (positioning), each that
 * follows it on the disk in the same request, the transfer alone.
 * Units: latency and transfer in cycles.
 */
#ifndef VM_DISK_H
#define VM_DISK_H

#include "dram.h"

#define DISK_COUNTERS(X)                                                                           \
    X(reads, "reads", "blocks", "blocks read")                                                     \
    X(writes, "writes", "blocks", "blocks written")                                                \
    X(joined, "joined", "blocks", "of these, those in one request with the block before them")     \
    X(read_errors, "read_errors", "blocks", "reads that failed")                                   \
    X(write_errors, "write_errors", "blocks", "writes that failed")

typedef struct disk_counters {
#define X(field, name, unit, doc) uint64_t field;
    DISK_COUNTERS(X)
#undef X
} disk_counters;

typedef struct disk {
    dram bytes; /* the content, in the same sparse form */
    uint64_t blocks;
    unsigned block_bits;
    uint64_t bad_reads, bad_writes; /* each n-th one fails; 0: none */
    uint64_t read_turn, write_turn; /* since the last that failed */
    uint64_t next, run;             /* block that the request can go on with; how many it has */
    disk_counters n;
} disk;

vm_status disk_init(disk *d, const vm_host *host, uint64_t blocks, unsigned block_bits,
                    vm_error *e);
void disk_free(disk *d);
/* A new request: the next block has to be found. Until the next call, blocks read or
 * written in the order of their numbers belong to one. */
VM_INLINE void disk_begin(disk *d) { d->run = 0; }
/* Copy one block to or from DRAM at pa (aligned to it). VM_NOMEM: host memory is
 * used up; VM_REFUSED with EIO: the disk failed, as it was told to. */
vm_status disk_read(disk *d, uint64_t block, dram *to, uint64_t pa, vm_error *e);
vm_status disk_write(disk *d, uint64_t block, const dram *from, uint64_t pa, vm_error *e);
/* The content is no longer wanted. */
void disk_discard(disk *d, uint64_t block);

#endif
