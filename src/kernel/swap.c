#include "swap.h"

vm_status swap_init(swap_area *s, const vm_host *host, uint64_t slots, vm_error *e)
{
    memset(s, 0, sizeof *s);
    vm_status st = pool_init(&s->slots, host, slots, e);
    if (st != VM_OK)
        return st;
    s->chunk_count = (size_t)((slots + SWAP_CHUNK - 1) / SWAP_CHUNK);
    s->chunks = host_zalloc(host, s->chunk_count * sizeof *s->chunks);
    if (s->chunks)
        return VM_OK;
    swap_free(s);
    return vm_fail_nomem(e, "the table of swap slots");
}

void swap_free(swap_area *s)
{
    const vm_host *host = s->slots.host;
    for (size_t i = 0; s->chunks && i < s->chunk_count; i++)
        host_free(host, s->chunks[i], SWAP_CHUNK * sizeof(swap_slot));
    host_free(host, s->chunks, s->chunk_count * sizeof *s->chunks);
    s->chunks = NULL;
    pool_free(&s->slots);
}

vm_status swap_take(swap_area *s, uint32_t *slot, vm_error *e)
{
    return swap_take_at(s, number_set_next(&s->slots.free, 0), slot, e);
}

vm_status swap_take_at(swap_area *s, uint64_t at, uint32_t *slot, vm_error *e)
{
    vm_status st = pool_take_at(&s->slots, at, slot, e);
    if (st != VM_OK || *slot == NUMBER_NONE)
        return st;
    swap_slot **chunk = &s->chunks[*slot / SWAP_CHUNK];
    if (!*chunk && !(*chunk = host_zalloc(s->slots.host, SWAP_CHUNK * sizeof(swap_slot)))) {
        pool_give(&s->slots, *slot);
        *slot = NUMBER_NONE;
        return vm_fail_nomem(e, "the table of swap slots");
    }
    *swap_at(s, *slot) = (swap_slot){.frame = NUMBER_NONE};
    return VM_OK;
}

bool swap_settle(swap_area *s, uint32_t slot)
{
    const swap_slot *x = swap_at(s, slot);
    if (x->users || x->frame != NUMBER_NONE)
        return false;
    pool_give(&s->slots, slot);
    return true;
}

bool swap_is_used(const swap_area *s, uint64_t slot) { return pool_is_used(&s->slots, slot); }

const char *swap_check(const swap_area *s)
{
    if (!pool_check(&s->slots))
        return "swap: the count of used slots is wrong";
    for (uint32_t i = 0; i < s->slots.count; i++)
        if (pool_is_used(&s->slots, i) && !swap_at(s, i)->users &&
            swap_at(s, i)->frame == NUMBER_NONE)
            return "swap: a slot is used by nobody";
    return NULL;
}
