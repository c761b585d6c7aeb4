/* dram.h: simulated main memory: bytes in host blocks that are committed when
 * first written, so that 64 GiB cost what is used of them.
 *
 * Units: physical addresses (pa) and sizes in bytes. Bytes never written read
 * as zero. Numbers in DRAM are little-endian, whatever the host.
 *
 * Invariant: an access beyond `size` is the caller's mistake; the MMU and the
 * API check bounds before they come here.
 */
#ifndef VM_DRAM_H
#define VM_DRAM_H

#include "../base/base.h"

#define DRAM_BLOCK_BITS 12
#define DRAM_BLOCK      (1u << DRAM_BLOCK_BITS)
#define DRAM_LEAF_BITS  15 /* blocks in one directory leaf: 128 MiB of DRAM */
#define DRAM_SIZE_MAX   (UINT64_C(1) << 48)

typedef struct dram {
    const vm_host *host;
    uint64_t size;
    uint8_t ***root; /* [pa >> 27][pa >> 12 & 0x7fff]: a block, or NULL: zeros */
    size_t roots;
    uint64_t committed; /* blocks held on the host */
} dram;

vm_status dram_init(dram *d, const vm_host *host, uint64_t size, vm_error *e);
void dram_free(dram *d);

/* The host block that holds pa, or NULL if nothing was ever written there. */
VM_INLINE uint8_t *dram_block(const dram *d, uint64_t pa)
{
    uint8_t **leaf = d->root[pa >> (DRAM_BLOCK_BITS + DRAM_LEAF_BITS)];
    return leaf ? leaf[pa >> DRAM_BLOCK_BITS & low_mask(DRAM_LEAF_BITS)] : NULL;
}
/* The same, committed first; NULL when host memory is used up. */
uint8_t *dram_commit(dram *d, uint64_t pa);

void dram_read(const dram *d, uint64_t pa, void *to, size_t n);
bool dram_write(dram *d, uint64_t pa, const void *from, size_t n); /* false: host memory */
/* Make n bytes zero again; gives whole blocks back to the host. */
void dram_clear(dram *d, uint64_t pa, uint64_t n);

/* One number of `bytes` bytes (4 or 8) where a block has it. */
VM_INLINE uint64_t dram_load(const uint8_t *at, unsigned bytes)
{
#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
    if (VM_LIKELY(bytes == 8)) {
        uint64_t x;
        memcpy(&x, at, 8);
        return x;
    }
    uint32_t y;
    memcpy(&y, at, 4);
    return y;
#else
    uint64_t x = 0;
    for (unsigned i = bytes; i-- > 0;)
        x = x << 8 | at[i];
    return x;
#endif
}
VM_INLINE void dram_store(uint8_t *at, unsigned bytes, uint64_t x)
{
#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
    if (VM_LIKELY(bytes == 8)) {
        memcpy(at, &x, 8);
        return;
    }
    uint32_t y = (uint32_t)x;
    memcpy(at, &y, 4);
#else
    for (unsigned i = 0; i < bytes; i++)
        at[i] = (uint8_t)(x >> 8 * i);
#endif
}

/* The same at pa, aligned; dram_put takes 1 and 2 bytes, too. */
VM_INLINE uint64_t dram_get(const dram *d, uint64_t pa, unsigned bytes)
{
    const uint8_t *b = dram_block(d, pa);
    return b ? dram_load(b + (pa & (DRAM_BLOCK - 1)), bytes) : 0;
}
bool dram_put(dram *d, uint64_t pa, unsigned bytes, uint64_t x);

#endif
