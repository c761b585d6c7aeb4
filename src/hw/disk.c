#include "disk.h"

#include <errno.h>

vm_status disk_init(disk *d, const vm_host *host, uint64_t blocks, unsigned block_bits, vm_error *e)
{
    memset(d, 0, sizeof *d);
    d->blocks = blocks;
    d->block_bits = block_bits;
    return dram_init(&d->bytes, host, blocks << block_bits, e);
}

void disk_free(disk *d) { dram_free(&d->bytes); }

/* Bytes move by pieces that lie in one host block on both sides. */
static bool disk_copy(dram *to, uint64_t to_at, const dram *from, uint64_t from_at, uint64_t n)
{
    while (n) {
        uint64_t a = DRAM_BLOCK - (to_at & (DRAM_BLOCK - 1));
        uint64_t b = DRAM_BLOCK - (from_at & (DRAM_BLOCK - 1));
        uint64_t k = a < b ? a : b;
        k = k < n ? k : n;
        const uint8_t *src = dram_block(from, from_at);
        if (!src)
            dram_clear(to, to_at, k);
        else if (!dram_write(to, to_at, src + (from_at & (DRAM_BLOCK - 1)), (size_t)k))
            return false;
        to_at += k;
        from_at += k;
        n -= k;
    }
    return true;
}

/* Is it this one's turn to fail? */
static bool disk_fails(uint64_t every, uint64_t *turn)
{
    if (!every || ++*turn < every)
        return false;
    *turn = 0;
    return true;
}

/* A block was transferred. */
static void disk_did(disk *d, uint64_t block)
{
    d->run = d->run && block == d->next ? d->run + 1 : 1;
    d->n.joined += d->run > 1;
    d->next = block + 1;
}

vm_status disk_read(disk *d, uint64_t block, dram *to, uint64_t pa, vm_error *e)
{
    if (VM_UNLIKELY(disk_fails(d->bad_reads, &d->read_turn))) {
        d->n.read_errors++;
        d->run = 0;
        return vm_fail_sys(e, VM_REFUSED, EIO, "the disk can't read block %llu",
                           (unsigned long long)block);
    }
    if (!disk_copy(to, pa, &d->bytes, block << d->block_bits, UINT64_C(1) << d->block_bits))
        return vm_fail_nomem(e, "a page");
    d->n.reads++;
    disk_did(d, block);
    return VM_OK;
}

vm_status disk_write(disk *d, uint64_t block, const dram *from, uint64_t pa, vm_error *e)
{
    if (VM_UNLIKELY(disk_fails(d->bad_writes, &d->write_turn))) {
        d->n.write_errors++;
        d->run = 0;
        return vm_fail_sys(e, VM_REFUSED, EIO, "the disk can't write block %llu",
                           (unsigned long long)block);
    }
    if (!disk_copy(&d->bytes, block << d->block_bits, from, pa, UINT64_C(1) << d->block_bits))
        return vm_fail_nomem(e, "a block of the disk");
    d->n.writes++;
    disk_did(d, block);
    return VM_OK;
}

void disk_discard(disk *d, uint64_t block)
{
    dram_clear(&d->bytes, block << d->block_bits, UINT64_C(1) << d->block_bits);
}
