/* setop.h: one reference to a set of packed tags kept in order of recency.
 *
 * A tag is (line << 1 | dirty); the set's first word is the most recent. All
 * forms do the same: put the line in front, keep or set its dirty bit, and on a
 * miss hand out what fell off the end. set_touch is the plain form; set_op_find
 * gives the fastest for a number of ways on this processor. Specs compare them.
 */
#ifndef VM_SETOP_H
#define VM_SETOP_H

#include "../base/base.h"

/* True: hit. On a miss `*victim` is the tag that fell off. `dirty` is 0 or 1. */
typedef bool set_op(uint32_t *set, uint32_t ways, uint32_t key, uint32_t dirty, uint32_t *victim);

VM_INLINE bool set_touch(uint32_t *s, uint32_t ways, uint32_t key, uint32_t dirty, uint32_t *victim)
{
    uint32_t carry = s[0];
    if ((carry & ~1u) == key) {
        s[0] = carry | dirty;
        return true;
    }
    for (uint32_t i = 1; i < ways; i++) {
        uint32_t tag = s[i];
        s[i] = carry;
        if ((tag & ~1u) == key) {
            s[0] = tag | dirty;
            return true;
        }
        carry = tag;
    }
    s[0] = key | dirty;
    *victim = carry;
    return false;
}

/* Only gcc: the loop of machine_run is compiled for it by a pragma of gcc's. */
#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__)
#define SET_OP_VECTORS 1
#include <immintrin.h>

/* Masks leave their registers at once and at full width: gcc 12.2 reloads a
 * spilled 8-bit mask as 32 bits. */
#define SET_MASK(m)                                                                                \
    __extension__({                                                                                \
        uint32_t r_;                                                                               \
        __asm__("kmovw %1,%0" : "=r"(r_) : "k"(m));                                                \
        r_;                                                                                        \
    })

__attribute__((target("avx512f,avx512vl"))) static inline bool
set_touch_16_avx512(uint32_t *s, uint32_t ways, uint32_t key, uint32_t dirty, uint32_t *victim)
{
    (void)ways;
    __m512i v = _mm512_load_si512(s);
    *victim = s[15];
    __m512i differ = _mm512_xor_si512(v, _mm512_set1_epi32((int)key));
    uint32_t found = SET_MASK(_mm512_testn_epi32_mask(differ, _mm512_set1_epi32(~1)));
    uint32_t hit = found != 0, at = (uint32_t)__builtin_ctz(found | 1u << 15);
    uint32_t front = key | dirty | (s[at] & hit);
    /* ways 0 .. at take their left neighbour, way 0 the front */
    uint32_t moved = (2u << at) - 1;
    __m512i shifted = _mm512_alignr_epi32(v, _mm512_set1_epi32((int)front), 15);
    _mm512_store_si512(s, _mm512_mask_mov_epi32(v, (__mmask16)moved, shifted));
    return hit;
}

__attribute__((target("avx512f,avx512vl"))) static inline bool
set_touch_8_avx512(uint32_t *s, uint32_t ways, uint32_t key, uint32_t dirty, uint32_t *victim)
{
    (void)ways;
    __m256i v = _mm256_load_si256((const __m256i *)(const void *)s);
    *victim = s[7];
    __m256i differ = _mm256_xor_si256(v, _mm256_set1_epi32((int)key));
    uint32_t found = SET_MASK(_mm256_testn_epi32_mask(differ, _mm256_set1_epi32(~1)));
    uint32_t hit = found != 0, at = (uint32_t)__builtin_ctz(found | 1u << 7);
    uint32_t front = key | dirty | (s[at] & hit);
    uint32_t moved = (2u << at) - 1;
    __m256i shifted = _mm256_alignr_epi32(v, _mm256_set1_epi32((int)front), 7);
    _mm256_store_si256((__m256i *)(void *)s, _mm256_mask_mov_epi32(v, (__mmask8)moved, shifted));
    return hit;
}
#endif

/* `portable`: never one that needs more than the baseline processor. Sets of the
 * forms with vectors are aligned to their size. */
set_op *set_op_find(uint32_t ways, bool portable);

#endif
