#include "frame_alloc.h"

const frame_alloc_class *const frame_alloc_classes[] = {&frame_alloc_bitmap, &frame_alloc_buddy,
                                                        NULL};

vm_status frame_alloc_init(frame_alloc *a, const vm_host *host, const frame_alloc_class *cls,
                           uint64_t count, vm_error *e)
{
    memset(a, 0, sizeof *a);
    a->cls = cls;
    a->host = host;
    a->count = a->free = count;
    a->orders = count ? log2_floor(count) + 1 : 0;
    vm_status s = number_set_init(&a->map, host, count, true, e);
    if (s == VM_OK && cls->init)
        s = cls->init(a, e);
    if (s != VM_OK)
        frame_alloc_free(a);
    return s;
}

void frame_alloc_free(frame_alloc *a)
{
    if (a->cls && a->cls->free)
        a->cls->free(a);
    if (a->host)
        number_set_free(&a->map, a->host);
    memset(a, 0, sizeof *a);
}

vm_status frame_alloc_reserve(frame_alloc *a, uint64_t first, uint64_t n, vm_error *e)
{
    uint64_t stop = first + n;
    for (uint64_t i = first; i < stop; i = align_down(i, NUMBER_SET_NUMBERS) + NUMBER_SET_NUMBERS) {
        if (number_set_reserved(&a->map, i))
            continue;
        vm_status s = a->cls->reserve ? a->cls->reserve(a, i, e) : VM_OK;
        /* The map's leaf last: where it is, all that the class needs is, too. */
        if (s == VM_OK)
            s = number_set_reserve(&a->map, a->host, i, e);
        if (s != VM_OK)
            return s;
    }
    return VM_OK;
}

uint64_t frame_alloc_find(const frame_alloc *a, uint64_t n, uint64_t align, uint64_t from,
                          uint64_t stop)
{
    stop = stop < a->count ? stop : a->count;
    from = from > a->low ? from : a->low;
    if (n == 0 || n > a->free || from >= stop || n > stop - from)
        return FRAME_NONE;
    return a->cls->find(a, n, align, from, stop);
}

void frame_alloc_take(frame_alloc *a, uint64_t first, uint64_t n)
{
    if (n == 1)
        number_set_drop(&a->map, first);
    else
        number_set_drop_range(&a->map, first, n);
    a->free -= n;
    if (a->low == first)
        a->low = first + n;
    if (a->cls->take)
        a->cls->take(a, first, n);
}

void frame_alloc_give(frame_alloc *a, uint64_t first, uint64_t n)
{
    if (n == 1)
        number_set_put(&a->map, first);
    else
        number_set_put_range(&a->map, first, n);
    a->free += n;
    if (first < a->low)
        a->low = first;
    if (a->cls->give)
        a->cls->give(a, first, n);
}

uint64_t frame_alloc_run(const frame_alloc *a, uint64_t from, uint64_t *stop)
{
    uint64_t start = number_set_next(&a->map, from);
    *stop = number_set_next_absent(&a->map, start, a->count);
    return start;
}

uint64_t frame_alloc_largest_run(const frame_alloc *a)
{
    uint64_t most = 0, stop = 0, at;
    while ((at = frame_alloc_run(a, stop, &stop)) < a->count)
        most = stop - at > most ? stop - at : most;
    return most;
}

void frame_alloc_count_blocks(const frame_alloc *a, uint64_t blocks[FRAME_ORDERS])
{
    uint64_t stop = 0, at;
    memset(blocks, 0, FRAME_ORDERS * sizeof *blocks);
    while ((at = frame_alloc_run(a, stop, &stop)) < a->count)
        while (at < stop) {
            unsigned k = frame_order(at, stop - at);
            blocks[k]++;
            at += UINT64_C(1) << k;
        }
}

void frame_alloc_blocks(const frame_alloc *a, uint64_t blocks[FRAME_ORDERS])
{
    a->cls->blocks(a, blocks);
}

double frame_alloc_unusable(const uint64_t blocks[FRAME_ORDERS], unsigned order)
{
    uint64_t all = 0, small = 0;
    for (unsigned k = 0; k < FRAME_ORDERS; k++) {
        all += blocks[k] << k;
        small += k < order ? blocks[k] << k : 0;
    }
    return all ? (double)small / (double)all : 1;
}

double frame_alloc_fragmentation(const frame_alloc *a, unsigned order)
{
    uint64_t blocks[FRAME_ORDERS];
    frame_alloc_blocks(a, blocks);
    return frame_alloc_unusable(blocks, order);
}

const char *frame_alloc_check(const frame_alloc *a)
{
    uint64_t free = 0, stop = 0, at;
    if (!number_set_check(&a->map))
        return "frames: a summary of the map of free frames is wrong";
    if (number_set_next(&a->map, 0) < a->low)
        return "frames: a free frame lies below the lowest one";
    while ((at = frame_alloc_run(a, stop, &stop)) < a->count)
        free += stop - at;
    if (free != a->free)
        return "frames: the count of free frames is wrong";
    return a->cls->check ? a->cls->check(a) : NULL;
}

/* --- bitmap ----------------------------------------------------------------------- */

/* Where in the 64 frames of word w a run of n <= 64 free frames begins: bit i stays
 * if the n bits from i on are all set, of w and the word behind it. */
static uint64_t bitmap_starts(const frame_alloc *a, uint64_t w, unsigned n)
{
    uint64_t lo = number_set_word(&a->map, w);
    uint64_t hi = (w + 1) * 64 < a->count ? number_set_word(&a->map, w + 1) : 0;
    for (unsigned have = 1, more; have < n; have += more) {
        more = have < n - have ? have : n - have; /* 32 at most */
        lo &= lo >> more | hi << (64 - more);
        hi &= hi >> more;
    }
    return lo;
}

/* Runs of up to 64 frames: a word at a time. */
static uint64_t bitmap_find_short(const frame_alloc *a, unsigned n, unsigned align, uint64_t from,
                                  uint64_t stop)
{
    const uint64_t aligned = ~UINT64_C(0) / low_mask(align); /* every align-th bit */
    for (uint64_t at = from; (at = number_set_next(&a->map, at)) + n <= stop;) {
        uint64_t w = at / 64;
        uint64_t bits = bitmap_starts(a, w, n) & aligned & ~low_mask((unsigned)(at % 64));
        if (bits) {
            at = w * 64 + (unsigned)__builtin_ctzll(bits);
            return at + n <= stop ? at : FRAME_NONE;
        }
        at = (w + 1) * 64;
    }
    return FRAME_NONE;
}

static uint64_t bitmap_find(const frame_alloc *a, uint64_t n, uint64_t align, uint64_t from,
                            uint64_t stop)
{
    if (n <= 64 && align <= 64)
        return bitmap_find_short(a, (unsigned)n, (unsigned)align, from, stop);
    uint64_t at = from;
    while ((at = align_up(number_set_next(&a->map, at), align)) + n <= stop) {
        uint64_t end = number_set_next_absent(&a->map, at, at + n);
        if (end == at + n)
            return at;
        at = end;
    }
    return FRAME_NONE;
}

const frame_alloc_class frame_alloc_bitmap = {
    .name = "bitmap",
    .doc = "one bit a frame; the lowest run that fits",
    .find = bitmap_find,
    .blocks = frame_alloc_count_blocks,
};
