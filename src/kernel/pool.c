#include "pool.h"

static size_t pool_words(const pool *p) { return (size_t)((p->count + 63) / 64); }

vm_status pool_init(pool *p, const vm_host *host, uint64_t count, const char *what, vm_error *e)
{
    *p = (pool){.host = host, .count = count};
    p->bits = host_zalloc(host, pool_words(p) * sizeof *p->bits);
    return p->bits ? VM_OK : vm_fail_nomem(e, what);
}

void pool_free(pool *p)
{
    host_free(p->host, p->bits, pool_words(p) * sizeof *p->bits);
    p->bits = NULL;
}

uint32_t pool_take(pool *p)
{
    if (p->used == p->count)
        return NUMBER_NONE;
    uint64_t w = p->hint / 64;
    while (p->bits[w] == UINT64_MAX)
        w++;
    uint64_t number = w * 64 + (unsigned)__builtin_ctzll(~p->bits[w]);
    p->bits[w] |= UINT64_C(1) << number % 64;
    p->used++;
    p->hint = number + 1;
    return (uint32_t)number;
}

void pool_give(pool *p, uint32_t number)
{
    p->bits[number / 64] &= ~(UINT64_C(1) << number % 64);
    p->used--;
    if (number < p->hint)
        p->hint = number;
}

bool pool_check(const pool *p)
{
    uint64_t n = 0;
    for (size_t w = 0; w < pool_words(p); w++)
        n += (uint64_t)__builtin_popcountll(p->bits[w]);
    return n == p->used;
}
