/* recency.c: making, growing and packing the queue of recency.h. */
#include "recency.h"

void recency_free(recency *x, const vm_host *host)
{
    host_free(host, x->queue, (size_t)x->room * sizeof *x->queue);
    host_free(host, x->place, (size_t)x->slots * sizeof *x->place);
    *x = (recency){0};
}

vm_status recency_reserve(recency *x, const vm_host *host, uint32_t slots, vm_error *e)
{
    uint64_t room = (uint64_t)slots * RECENCY_ROOM;
    if (slots <= x->slots)
        return VM_OK;
    if (room >= RECENCY_NONE)
        return vm_fail(e, VM_INVALID, "a policy by recency has %u slots, and can have 2^30 - 1",
                       slots);
    uint32_t *queue =
        host_realloc(host, x->queue, x->room * sizeof *queue, (size_t)room * sizeof *queue);
    if (!queue)
        return vm_fail_nomem(e, "a replacement policy");
    x->queue = queue;
    x->room = (uint32_t)room;
    uint32_t *place = host_realloc(host, x->place, x->slots * sizeof *place, slots * sizeof *place);
    if (!place)
        return vm_fail_nomem(e, "a replacement policy");
    memset(place + x->slots, 0xff, (slots - x->slots) * sizeof *place);
    x->place = place;
    x->slots = slots;
    return VM_OK;
}

void recency_pack(recency *x)
{
    uint32_t n = 0;
    for (uint32_t i = x->head; i < x->tail; i++) {
        uint32_t slot = x->queue[i];
        if (x->place[slot] == i) {
            x->queue[n] = slot;
            x->place[slot] = n++;
        }
    }
    x->head = 0;
    x->tail = n;
}

const char *recency_check(const recency *x)
{
    uint32_t n = 0, in = 0;
    for (uint32_t i = x->head; i < x->tail; i++) {
        if (x->queue[i] >= x->slots)
            return "recency: a slot is out of range";
        n += x->place[x->queue[i]] == i;
    }
    for (uint32_t s = 0; s < x->slots; s++)
        in += x->place[s] != RECENCY_NONE;
    return n == x->count && in == n ? NULL : "recency: the count of slots in order is wrong";
}
