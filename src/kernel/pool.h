/* pool.h: numbers given out lowest first, one bit each: swap slots, blocks of
 * files.
 *
 * Invariant: no number below `hint` is free; `used` is the count of set bits.
 */
#ifndef VM_POOL_H
#define VM_POOL_H

#include "../base/base.h"

#define NUMBER_NONE UINT32_MAX

typedef struct pool {
    const vm_host *host;
    uint64_t *bits;
    uint64_t count, used, hint;
} pool;

/* `what` is named when host memory is short. */
vm_status pool_init(pool *p, const vm_host *host, uint64_t count, const char *what, vm_error *e);
void pool_free(pool *p);
/* The lowest free number, now used; NUMBER_NONE when all are. */
uint32_t pool_take(pool *p);
void pool_give(pool *p, uint32_t number);
VM_INLINE bool pool_is_used(const pool *p, uint32_t number)
{
    return number < p->count && (p->bits[number / 64] >> number % 64 & 1);
}
/* Is the count of set bits right? */
bool pool_check(const pool *p);

#endif
