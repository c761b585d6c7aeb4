/* pool.h: numbers given out lowest first: swap slots, blocks of files, places of
 * kernel stacks. The free ones are a number_set.
 *
 * Invariant: `used` is how many of 0 .. count - 1 are not in the set.
 */
#ifndef VM_POOL_H
#define VM_POOL_H

#include "number_set.h"

#define NUMBER_NONE UINT32_MAX

typedef struct pool {
    const vm_host *host;
    number_set free;
    uint64_t count, used;
} pool;

vm_status pool_init(pool *p, const vm_host *host, uint64_t count, vm_error *e);
void pool_free(pool *p);
/* The lowest free number, now used; NUMBER_NONE in *number when all are. */
vm_status pool_take(pool *p, uint32_t *number, vm_error *e);
/* This number, if it is free; NUMBER_NONE in *number if not. */
vm_status pool_take_at(pool *p, uint64_t at, uint32_t *number, vm_error *e);
void pool_give(pool *p, uint32_t number);
VM_INLINE bool pool_is_used(const pool *p, uint64_t number)
{
    return number < p->count && !number_set_has(&p->free, number);
}
bool pool_check(const pool *p);

#endif
