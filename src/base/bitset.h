/* bitset.h: a set of numbers below a fixed bound that knows its first and its last:
 * a bit a number, and above it a bit for each word that is not empty, and so on.
 *
 * A bit and its summaries are touched together only where a word becomes empty or
 * stops being so. Memory: n / 8 bytes and a 63rd more.
 */
#ifndef VM_BITSET_H
#define VM_BITSET_H

#include "base.h"

#define BITSET_LEVELS 6 /* 64^6 numbers */
#define BITSET_NONE   SIZE_MAX

typedef struct bitset {
    uint64_t *level[BITSET_LEVELS];
    size_t words[BITSET_LEVELS];
    unsigned levels;
} bitset;

/* The empty set, for numbers below n; false: no memory (bitset_free is still to be called). */
bool bitset_init(bitset *b, const vm_host *host, size_t n);
void bitset_free(bitset *b, const vm_host *host);

VM_INLINE bool bitset_has(const bitset *b, size_t x) { return b->level[0][x / 64] >> x % 64 & 1; }

VM_INLINE void bitset_add(bitset *b, size_t x)
{
    for (unsigned l = 0; l < b->levels; l++) {
        uint64_t *w = &b->level[l][x / 64], old = *w;
        *w = old | UINT64_C(1) << x % 64;
        if (old)
            return;
        x /= 64;
    }
}

VM_INLINE void bitset_remove(bitset *b, size_t x)
{
    for (unsigned l = 0; l < b->levels; l++) {
        uint64_t *w = &b->level[l][x / 64];
        *w &= ~(UINT64_C(1) << x % 64);
        if (*w)
            return;
        x /= 64;
    }
}

/* The least and the greatest number, or BITSET_NONE. */
VM_INLINE size_t bitset_first(const bitset *b)
{
    size_t x = 0;
    if (!b->level[b->levels - 1][0])
        return BITSET_NONE;
    for (unsigned l = b->levels; l-- > 0;)
        x = x * 64 + (size_t)__builtin_ctzll(b->level[l][x]);
    return x;
}
VM_INLINE size_t bitset_last(const bitset *b)
{
    size_t x = 0;
    if (!b->level[b->levels - 1][0])
        return BITSET_NONE;
    for (unsigned l = b->levels; l-- > 0;)
        x = x * 64 + log2_floor(b->level[l][x]);
    return x;
}

#endif
