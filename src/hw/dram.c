#include "dram.h"

#define LEAF_ITEMS ((size_t)1 << DRAM_LEAF_BITS)

vm_status dram_init(dram *d, const vm_host *host, uint64_t size, vm_error *e)
{
    memset(d, 0, sizeof *d);
    d->host = host;
    d->size = size;
    d->roots =
        (size_t)((size + (DRAM_BLOCK * LEAF_ITEMS - 1)) >> (DRAM_BLOCK_BITS + DRAM_LEAF_BITS));
    d->root = host_zalloc(host, d->roots * sizeof *d->root);
    if (!d->root) {
        d->roots = 0;
        return vm_fail_nomem(e, "the directory of DRAM");
    }
    return VM_OK;
}

void dram_free(dram *d)
{
    for (size_t i = 0; i < d->roots; i++) {
        if (!d->root[i])
            continue;
        for (size_t j = 0; j < LEAF_ITEMS; j++)
            host_free(d->host, d->root[i][j], DRAM_BLOCK);
        host_free(d->host, d->root[i], LEAF_ITEMS * sizeof(uint8_t *));
    }
    host_free(d->host, d->root, d->roots * sizeof *d->root);
    d->root = NULL;
    d->roots = 0;
}

uint8_t *dram_commit(dram *d, uint64_t pa)
{
    uint8_t ***leaf = &d->root[pa >> (DRAM_BLOCK_BITS + DRAM_LEAF_BITS)];
    if (!*leaf && !(*leaf = host_zalloc(d->host, LEAF_ITEMS * sizeof(uint8_t *))))
        return NULL;
    uint8_t **b = &(*leaf)[pa >> DRAM_BLOCK_BITS & (LEAF_ITEMS - 1)];
    if (!*b) {
        *b = host_zalloc(d->host, DRAM_BLOCK);
        d->committed += *b != NULL;
    }
    return *b;
}

/* Bytes from pa to the end of its block, n at the most. */
static size_t dram_span(uint64_t pa, uint64_t n)
{
    uint64_t room = DRAM_BLOCK - (pa & (DRAM_BLOCK - 1));
    return (size_t)(n < room ? n : room);
}

void dram_read(const dram *d, uint64_t pa, void *to, size_t n)
{
    for (uint8_t *out = to; n;) {
        size_t k = dram_span(pa, n);
        const uint8_t *b = dram_block(d, pa);
        if (b)
            memcpy(out, b + (pa & (DRAM_BLOCK - 1)), k);
        else
            memset(out, 0, k);
        pa += k;
        out += k;
        n -= k;
    }
}

bool dram_write(dram *d, uint64_t pa, const void *from, size_t n)
{
    for (const uint8_t *in = from; n;) {
        size_t k = dram_span(pa, n);
        uint8_t *b = dram_commit(d, pa);
        if (!b)
            return false;
        memcpy(b + (pa & (DRAM_BLOCK - 1)), in, k);
        pa += k;
        in += k;
        n -= k;
    }
    return true;
}

void dram_clear(dram *d, uint64_t pa, uint64_t n)
{
    while (n) {
        size_t k = dram_span(pa, n);
        uint8_t *b = dram_block(d, pa);
        if (b && k == DRAM_BLOCK) {
            d->root[pa >> (DRAM_BLOCK_BITS + DRAM_LEAF_BITS)]
                   [pa >> DRAM_BLOCK_BITS & (LEAF_ITEMS - 1)] = NULL;
            host_free(d->host, b, DRAM_BLOCK);
            d->committed--;
        } else if (b) {
            memset(b + (pa & (DRAM_BLOCK - 1)), 0, k);
        }
        pa += k;
        n -= k;
    }
}

bool dram_put(dram *d, uint64_t pa, unsigned bytes, uint64_t x)
{
    uint8_t *b = dram_commit(d, pa);
    if (!b)
        return false;
    b += pa & (DRAM_BLOCK - 1);
    for (unsigned i = 0; i < bytes; i++)
        b[i] = (uint8_t)(x >> 8 * i);
    return true;
}
