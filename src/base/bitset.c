#include "bitset.h"

bool bitset_init(bitset *b, const vm_host *host, size_t n)
{
    bool whole = true;
    memset(b, 0, sizeof *b);
    do {
        n = n ? (n - 1) / 64 + 1 : 1;
        b->words[b->levels] = n;
        b->level[b->levels] = host_zalloc(host, n * sizeof(uint64_t));
        whole = whole && b->level[b->levels];
        b->levels++;
    } while (n > 1);
    return whole;
}

void bitset_free(bitset *b, const vm_host *host)
{
    for (unsigned l = 0; l < b->levels; l++)
        host_free(host, b->level[l], b->words[l] * sizeof(uint64_t));
    memset(b, 0, sizeof *b);
}
