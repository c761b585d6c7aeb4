#include "setop.h"

static bool set_op_any(uint32_t *s, uint32_t ways, uint32_t key, uint32_t dirty, uint32_t *victim)
{
    return set_touch(s, ways, key, dirty, victim);
}

/* A constant number of ways lets the compiler unroll the loop. */
static bool set_op_4(uint32_t *s, uint32_t ways, uint32_t key, uint32_t dirty, uint32_t *victim)
{
    (void)ways;
    return set_touch(s, 4, key, dirty, victim);
}
static bool set_op_8(uint32_t *s, uint32_t ways, uint32_t key, uint32_t dirty, uint32_t *victim)
{
    (void)ways;
    return set_touch(s, 8, key, dirty, victim);
}
static bool set_op_16(uint32_t *s, uint32_t ways, uint32_t key, uint32_t dirty, uint32_t *victim)
{
    (void)ways;
    return set_touch(s, 16, key, dirty, victim);
}

#if defined(__x86_64__) && defined(__GNUC__)
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

__attribute__((target("avx512f,avx512vl"))) static bool
set_op_16_avx512(uint32_t *s, uint32_t ways, uint32_t key, uint32_t dirty, uint32_t *victim)
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

__attribute__((target("avx512f,avx512vl"))) static bool
set_op_8_avx512(uint32_t *s, uint32_t ways, uint32_t key, uint32_t dirty, uint32_t *victim)
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

set_op *set_op_find(uint32_t ways, bool portable)
{
#ifdef SET_OP_VECTORS
    if (!portable && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512vl")) {
        if (ways == 16)
            return set_op_16_avx512;
        if (ways == 8)
            return set_op_8_avx512;
    }
#endif
    (void)portable;
    return ways == 4 ? set_op_4 : ways == 8 ? set_op_8 : ways == 16 ? set_op_16 : set_op_any;
}
