#include "pool.h"

vm_status pool_init(pool *p, const vm_host *host, uint64_t count, vm_error *e)
{
    *p = (pool){.host = host, .count = count};
    return number_set_init(&p->free, host, count, true, e);
}

void pool_free(pool *p) { number_set_free(&p->free, p->host); }

vm_status pool_take_at(pool *p, uint64_t at, uint32_t *number, vm_error *e)
{
    *number = NUMBER_NONE;
    if (at >= p->count || !number_set_has(&p->free, at))
        return VM_OK;
    vm_status st = number_set_reserve(&p->free, p->host, at, e);
    if (st != VM_OK)
        return st;
    number_set_drop(&p->free, at);
    p->used++;
    *number = (uint32_t)at;
    return VM_OK;
}

vm_status pool_take(pool *p, uint32_t *number, vm_error *e)
{
    return pool_take_at(p, number_set_next(&p->free, 0), number, e);
}

void pool_give(pool *p, uint32_t number)
{
    number_set_put(&p->free, number);
    p->used--;
}

bool pool_check(const pool *p)
{
    uint64_t used = 0, i = number_set_next_absent(&p->free, 0, p->count);
    for (; i < p->count; i = number_set_next_absent(&p->free, i + 1, p->count))
        used++;
    return used == p->used && number_set_check(&p->free);
}
