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

#ifdef SET_OP_VECTORS
__attribute__((target("avx512f,avx512vl"))) static bool
set_op_8_avx512(uint32_t *s, uint32_t ways, uint32_t key, uint32_t dirty, uint32_t *victim)
{
    return set_touch_8_avx512(s, ways, key, dirty, victim);
}
__attribute__((target("avx512f,avx512vl"))) static bool
set_op_16_avx512(uint32_t *s, uint32_t ways, uint32_t key, uint32_t dirty, uint32_t *victim)
{
    return set_touch_16_avx512(s, ways, key, dirty, victim);
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
