/* frame_buddy.c: the buddy allocator (Knowlton, 1965): free blocks of 2^k frames,
 * one set for each order k.
 *
 * A block is numbered by its first frame >> k, so that its buddy is number ^ 1 and
 * what they merge to is number >> 1 of the next order. A block that would reach
 * beyond the last frame does not exist, and is never in a set. The lowest block of
 * an order is the lowest member of its set: no lists, no links in frames.
 */
#include "frame_alloc.h"

static void buddy_put(frame_alloc *a, unsigned k, uint64_t block)
{
    number_set_put(&a->sets[k], block);
    a->blocks[k]++;
    a->some |= UINT32_C(1) << k;
}

static void buddy_drop(frame_alloc *a, unsigned k, uint64_t block)
{
    number_set_drop(&a->sets[k], block);
    if (--a->blocks[k] == 0)
        a->some &= ~(UINT32_C(1) << k);
}

static vm_status buddy_reserve(frame_alloc *a, uint64_t ppn, vm_error *e)
{
    ppn = align_down(ppn, NUMBER_SET_NUMBERS);
    for (unsigned k = 0; k < a->orders; k++) {
        if (ppn >> k >= a->sets[k].count)
            continue; /* behind the last whole block */
        vm_status s = number_set_reserve(&a->sets[k], a->host, ppn >> k, e);
        if (s != VM_OK)
            return s;
    }
    return VM_OK;
}

static vm_status buddy_init(frame_alloc *a, vm_error *e)
{
    vm_status s = VM_OK;
    if (a->orders && !(a->sets = host_zalloc(a->host, a->orders * sizeof *a->sets)))
        return vm_fail_nomem(e, "the free blocks");
    for (unsigned k = 0; k < a->orders && s == VM_OK; k++)
        s = number_set_init(&a->sets[k], a->host, a->count >> k, false, e);
    for (uint64_t at = 0; at < a->count && s == VM_OK;) {
        unsigned k = frame_order(at, a->count - at);
        s = number_set_reserve(&a->sets[k], a->host, at >> k, e);
        if (s == VM_OK)
            buddy_put(a, k, at >> k);
        at += UINT64_C(1) << k;
    }
    return s;
}

static void buddy_free(frame_alloc *a)
{
    for (unsigned k = 0; a->sets && k < a->orders; k++)
        number_set_free(&a->sets[k], a->host);
    host_free(a->host, a->sets, a->orders * sizeof *a->sets);
    a->sets = NULL;
}

static uint64_t buddy_find(const frame_alloc *a, uint64_t n, uint64_t align, uint64_t from,
                           uint64_t stop)
{
    unsigned need = n == 1 ? 0 : log2_floor(n - 1) + 1;
    if (need >= a->orders)
        return FRAME_NONE;
    align = align >> need ? align : UINT64_C(1) << need;
    for (uint32_t some = a->some >> need << need; some; some &= some - 1) {
        unsigned k = (unsigned)__builtin_ctz(some);
        const number_set *set = &a->sets[k];
        /* A block may begin before the range or end behind it, and yet serve. */
        for (uint64_t b = from >> k; (b = number_set_next(set, b)) < set->count; b++) {
            uint64_t start = b << k, end = start + (UINT64_C(1) << k);
            uint64_t at = align_up(start > from ? start : from, align);
            if (start >= stop)
                break;
            if (at + n <= (end < stop ? end : stop))
                return at;
        }
    }
    return FRAME_NONE;
}

static void buddy_take(frame_alloc *a, uint64_t first, uint64_t n)
{
    while (n) {
        /* The block that `first` is in, halved until a half is wanted as it is. */
        uint32_t some = a->some;
        while (!number_set_has(&a->sets[__builtin_ctz(some)], first >> __builtin_ctz(some)))
            some &= some - 1;
        unsigned k = (unsigned)__builtin_ctz(some);
        uint64_t block = first >> k;
        buddy_drop(a, k, block);
        while (block << k != first || n >> k == 0) {
            block = first >> --k;
            buddy_put(a, k, block ^ 1);
            a->splits++;
        }
        first += UINT64_C(1) << k;
        n -= UINT64_C(1) << k;
    }
}

static void buddy_give(frame_alloc *a, uint64_t first, uint64_t n)
{
    while (n) {
        unsigned k = frame_order(first, n);
        uint64_t block = first >> k;
        first += UINT64_C(1) << k;
        n -= UINT64_C(1) << k;
        while (k + 1 < a->orders && number_set_has(&a->sets[k], block ^ 1)) {
            buddy_drop(a, k, block ^ 1);
            a->merges++;
            block >>= 1;
            k++;
        }
        buddy_put(a, k, block);
    }
}

static void buddy_blocks(const frame_alloc *a, uint64_t blocks[FRAME_ORDERS])
{
    memcpy(blocks, a->blocks, sizeof a->blocks);
}

static const char *buddy_check(const frame_alloc *a)
{
    uint64_t all = 0, blocks[FRAME_ORDERS];
    for (unsigned k = 0; k < a->orders; k++) {
        const number_set *set = &a->sets[k];
        uint64_t n = 0;
        if (!number_set_check(set))
            return "buddy: a summary of the free blocks is wrong";
        for (uint64_t b = 0; (b = number_set_next(set, b)) < set->count; b++, n++) {
            uint64_t first = b << k, stop = first + (UINT64_C(1) << k);
            if (number_set_next_absent(&a->map, first, stop) != stop)
                return "buddy: a frame of a free block is in use";
            if (k + 1 < a->orders && number_set_has(set, b ^ 1))
                return "buddy: two buddies are both free";
        }
        if (n != a->blocks[k] || (a->some >> k & 1) != (n > 0))
            return "buddy: the count of free blocks is wrong";
        all += n << k;
    }
    /* As many frames as are free, each in a block: then blocks do not overlap, too,
     * if runs cut into blocks make the same. */
    if (all != a->free)
        return "buddy: the blocks are not the free frames";
    frame_alloc_count_blocks(a, blocks);
    return memcmp(blocks, a->blocks, sizeof blocks) == 0
               ? NULL
               : "buddy: the blocks are not those that the free runs make";
}

const frame_alloc_class frame_alloc_buddy = {
    .name = "buddy",
    .doc = "free blocks of 2^k frames; the smallest that fits is split, buddies merge",
    .init = buddy_init,
    .free = buddy_free,
    .reserve = buddy_reserve,
    .find = buddy_find,
    .take = buddy_take,
    .give = buddy_give,
    .blocks = buddy_blocks,
    .check = buddy_check,
};
