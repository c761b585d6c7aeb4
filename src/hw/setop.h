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

/* The tag that is found differs from the key by its dirty bit at most: compressed
 * to the first lane, the difference is what the new front inherits, and zero on a
 * miss. Ways 0 .. (where it was found, or the last) take their left neighbour. */
__attribute__((target("avx512f,avx512vl"))) VM_INLINE bool
set_touch_16_avx512(uint32_t *s, uint32_t ways, uint32_t key, uint32_t dirty, uint32_t *victim)
{
    (void)ways;
    __m512i v = _mm512_load_si512(s);
    *victim = s[15];
    __m512i differ = _mm512_xor_si512(v, _mm512_set1_epi32((int)key));
    __mmask16 at = _mm512_testn_epi32_mask(differ, _mm512_set1_epi32(~1));
    uint32_t found = SET_MASK(at), last = found | 1u << 15;
    __m512i front = _mm512_or_si512(_mm512_maskz_compress_epi32(at, differ),
                                    _mm512_castsi128_si512(_mm_cvtsi32_si128((int)(key | dirty))));
    __m512i moved =
        _mm512_mask_mov_epi32(v, (__mmask16)(last ^ (last - 1)), _mm512_alignr_epi32(v, v, 15));
    _mm512_store_si512(s, _mm512_mask_mov_epi32(moved, 1, front));
    return found != 0;
}

__attribute__((target("avx512f,avx512vl"))) VM_INLINE bool
set_touch_8_avx512(uint32_t *s, uint32_t ways, uint32_t key, uint32_t dirty, uint32_t *victim)
{
    (void)ways;
    __m256i v = _mm256_load_si256((const __m256i *)(const void *)s);
    *victim = s[7];
    __m256i differ = _mm256_xor_si256(v, _mm256_set1_epi32((int)key));
    __mmask8 at = _mm256_testn_epi32_mask(differ, _mm256_set1_epi32(~1));
    uint32_t found = SET_MASK(at), last = found | 1u << 7;
    __m256i front = _mm256_or_si256(_mm256_maskz_compress_epi32(at, differ),
                                    _mm256_castsi128_si256(_mm_cvtsi32_si128((int)(key | dirty))));
    __m256i moved =
        _mm256_mask_mov_epi32(v, (__mmask8)(last ^ (last - 1)), _mm256_alignr_epi32(v, v, 7));
    _mm256_store_si256((__m256i *)(void *)s, _mm256_mask_mov_epi32(moved, 1, front));
    return found != 0;
}
#endif

/* `portable`: never one that needs more than the baseline processor. Sets of the
 * forms with vectors are aligned to their size. */
set_op *set_op_find(uint32_t ways, bool portable);

#endif
