#include "swap.h"
#include "frames.h"

static size_t swap_words(const swap_area *s) { return (size_t)((s->slots + 63) / 64); }

vm_status swap_init(swap_area *s, const vm_host *host, uint64_t slots, vm_error *e)
{
    *s = (swap_area){.host = host, .slots = slots};
    s->used_bits = host_zalloc(host, swap_words(s) * sizeof *s->used_bits);
    return s->used_bits ? VM_OK : vm_fail_nomem(e, "the map of swap slots");
}

void swap_free(swap_area *s)
{
    host_free(s->host, s->used_bits, swap_words(s) * sizeof *s->used_bits);
    s->used_bits = NULL;
}

uint32_t swap_take(swap_area *s)
{
    if (s->used == s->slots)
        return SLOT_NONE;
    uint64_t w = s->hint / 64;
    while (s->used_bits[w] == UINT64_MAX)
        w++;
    uint64_t slot = w * 64 + (unsigned)__builtin_ctzll(~s->used_bits[w]);
    s->used_bits[w] |= UINT64_C(1) << slot % 64;
    s->used++;
    s->hint = slot + 1;
    return (uint32_t)slot;
}

void swap_give(swap_area *s, uint32_t slot)
{
    s->used_bits[slot / 64] &= ~(UINT64_C(1) << slot % 64);
    s->used--;
    if (slot < s->hint)
        s->hint = slot;
}

bool swap_is_used(const swap_area *s, uint32_t slot)
{
    return slot < s->slots && (s->used_bits[slot / 64] >> slot % 64 & 1);
}

const char *swap_check(const swap_area *s)
{
    uint64_t n = 0;
    for (size_t w = 0; w < swap_words(s); w++)
        n += (uint64_t)__builtin_popcountll(s->used_bits[w]);
    return n == s->used ? NULL : "swap: the count of used slots is wrong";
}
