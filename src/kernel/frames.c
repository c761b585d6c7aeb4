#include "frames.h"

static size_t frames_words(const frames *f) { return (size_t)((f->count + 63) / 64); }

vm_status frames_init(frames *f, const vm_host *host, uint64_t count, vm_error *e)
{
    memset(f, 0, sizeof *f);
    f->host = host;
    f->count = f->free = count;
    f->node_free = MAP_NONE;
    f->chunk_count = (size_t)((count + FRAME_CHUNK - 1) / FRAME_CHUNK);
    f->used_bits = host_zalloc(host, frames_words(f) * sizeof *f->used_bits);
    f->chunks = host_zalloc(host, f->chunk_count * sizeof *f->chunks);
    if (f->used_bits && f->chunks)
        return VM_OK;
    frames_free(f);
    return vm_fail_nomem(e, "the frame table");
}

void frames_free(frames *f)
{
    for (size_t i = 0; f->chunks && i < f->chunk_count; i++)
        host_free(f->host, f->chunks[i], FRAME_CHUNK * sizeof(frame));
    host_free(f->host, f->chunks, f->chunk_count * sizeof *f->chunks);
    host_free(f->host, f->used_bits, frames_words(f) * sizeof *f->used_bits);
    host_free(f->host, f->nodes, f->node_cap * sizeof *f->nodes);
    f->chunks = NULL;
    f->used_bits = NULL;
    f->nodes = NULL;
    f->node_cap = 0;
}

vm_status frames_reserve(frames *f, uint64_t first, uint64_t n, vm_error *e)
{
    for (uint64_t c = first / FRAME_CHUNK; c <= (first + n - 1) / FRAME_CHUNK; c++)
        if (!f->chunks[c] && !(f->chunks[c] = host_zalloc(f->host, FRAME_CHUNK * sizeof(frame))))
            return vm_fail_nomem(e, "the frame table");
    return VM_OK;
}

/* The first free frame at or after `from`, or count. */
static uint64_t frames_next_free(const frames *f, uint64_t from)
{
    if (from >= f->count)
        return f->count;
    uint64_t w = from / 64, bits = ~f->used_bits[w] & ~low_mask((unsigned)(from % 64));
    while (!bits) {
        if (++w >= frames_words(f))
            return f->count;
        bits = ~f->used_bits[w];
    }
    uint64_t at = w * 64 + (unsigned)__builtin_ctzll(bits);
    return at < f->count ? at : f->count;
}

uint64_t frames_find(const frames *f, uint64_t n, uint64_t align, uint64_t from, uint64_t stop)
{
    if (f->free < n)
        return FRAME_NONE;
    uint64_t at = frames_next_free(f, from > f->hint ? from : f->hint);
    while (at + n <= stop) {
        uint64_t aligned = align_up(at, align), k = 0;
        if (aligned != at) {
            at = frames_next_free(f, aligned);
            continue;
        }
        while (k < n && frames_is_free(f, at + k))
            k++;
        if (k == n)
            return at;
        at = frames_next_free(f, at + k);
    }
    return FRAME_NONE;
}

void frames_take(frames *f, uint64_t first, uint64_t n, frame_use use)
{
    for (uint64_t i = first; i < first + n; i++) {
        f->used_bits[i / 64] |= UINT64_C(1) << i % 64;
        *frames_at(f, i) = (frame){.use = (uint8_t)use, .slot = SLOT_NONE};
    }
    f->free -= n;
    if (f->hint == first)
        f->hint = first + n;
}

void frames_give(frames *f, uint64_t first, uint64_t n)
{
    for (uint64_t i = first; i < first + n; i++) {
        f->used_bits[i / 64] &= ~(UINT64_C(1) << i % 64);
        frames_at(f, i)->use = FRAME_FREE;
    }
    f->free += n;
    if (first < f->hint)
        f->hint = first;
}

const char *frames_check(const frames *f)
{
    uint64_t free = 0;
    for (uint64_t i = 0; i < f->count; i++) {
        const frame *r = frames_at(f, i);
        bool is_free = frames_is_free(f, i);
        free += is_free;
        if (is_free != (!r || r->use == FRAME_FREE))
            return "frames: a frame's bit and its record disagree";
        if (is_free && i < f->hint)
            return "frames: a free frame lies below the hint";
    }
    return free == f->free ? NULL : "frames: the count of free frames is wrong";
}

/* --- the reverse map ------------------------------------------------------------- */

vm_status frames_map_reserve(frames *f, size_t n, vm_error *e)
{
    if (f->nodes_free + (f->node_cap - f->node_count) >= n)
        return VM_OK;
    void *p = f->nodes;
    if (f->node_count + n > MAP_NONE ||
        !host_grow(f->host, &p, &f->node_cap, f->node_count + n, sizeof *f->nodes))
        return vm_fail_nomem(e, "the reverse map");
    f->nodes = p;
    return VM_OK;
}

static uint32_t frames_node(frames *f)
{
    uint32_t i = f->node_free;
    if (i == MAP_NONE)
        return (uint32_t)f->node_count++;
    f->node_free = f->nodes[i].next;
    f->nodes_free--;
    return i;
}

static void frames_drop_node(frames *f, uint32_t i)
{
    f->nodes[i].next = f->node_free;
    f->node_free = i;
    f->nodes_free++;
}

void frames_map(frames *f, frame *r, uint32_t space, uint64_t vpn, uint64_t pte_pa)
{
    mapping x = {.vpn = vpn, .pte_pa = pte_pa, .space = space & 0x7fffffff, .next = MAP_NONE};
    if (r->mapped++) { /* the newest first: who came last is often the first to go */
        uint32_t i = frames_node(f);
        f->nodes[i] = r->first;
        x.next = i;
    }
    r->first = x;
}

void frames_unmap(frames *f, frame *r, uint64_t pte_pa)
{
    uint32_t gone;
    if (r->first.pte_pa == pte_pa) {
        gone = r->first.next;
        if (gone != MAP_NONE)
            r->first = f->nodes[gone];
    } else {
        uint32_t *link = &r->first.next;
        while (f->nodes[*link].pte_pa != pte_pa)
            link = &f->nodes[*link].next;
        gone = *link;
        *link = f->nodes[gone].next;
    }
    if (gone != MAP_NONE)
        frames_drop_node(f, gone);
    r->mapped--;
}

mapping *frames_mapping(const frames *f, frame *r, uint64_t pte_pa)
{
    mapping *x = frames_maps(r);
    while (x && x->pte_pa != pte_pa)
        x = frames_maps_next(f, x);
    return x;
}
