#include "frames.h"

vm_status frames_init(frames *f, const vm_host *host, const frame_alloc_class *cls, uint64_t count,
                      vm_error *e)
{
    memset(f, 0, sizeof *f);
    f->host = host;
    f->count = f->free = count;
    f->node_free = MAP_NONE;
    f->chunk_count = (size_t)((count + FRAME_CHUNK - 1) / FRAME_CHUNK);
    vm_status s = frame_alloc_init(&f->alloc, host, cls, count, e);
    if (s != VM_OK)
        return s;
    f->chunks = host_zalloc(host, f->chunk_count * sizeof *f->chunks);
    if (f->chunks)
        return VM_OK;
    frames_free(f);
    return vm_fail_nomem(e, "the frame table");
}

void frames_free(frames *f)
{
    for (size_t i = 0; f->chunks && i < f->chunk_count; i++)
        host_free(f->host, f->chunks[i], FRAME_CHUNK * sizeof(frame));
    host_free(f->host, f->chunks, f->chunk_count * sizeof *f->chunks);
    host_free(f->host, f->nodes, f->node_cap * sizeof *f->nodes);
    f->chunks = NULL;
    f->nodes = NULL;
    f->node_cap = 0;
    frame_alloc_free(&f->alloc);
}

vm_status frames_reserve(frames *f, uint64_t first, uint64_t n, vm_error *e)
{
    for (uint64_t c = first / FRAME_CHUNK; c <= (first + n - 1) / FRAME_CHUNK; c++)
        if (!f->chunks[c] && !(f->chunks[c] = host_zalloc(f->host, FRAME_CHUNK * sizeof(frame))))
            return vm_fail_nomem(e, "the frame table");
    return frame_alloc_reserve(&f->alloc, first, n, e);
}

uint64_t frames_find(const frames *f, uint64_t n, uint64_t align, uint64_t from, uint64_t stop)
{
    return frame_alloc_find(&f->alloc, n, align, from, stop);
}

void frames_take(frames *f, uint64_t first, uint64_t n, frame_use use)
{
    for (uint64_t i = first; i < first + n; i++)
        *frames_at(f, i) = (frame){.use = (uint8_t)use, .slot = SLOT_NONE};
    frame_alloc_take(&f->alloc, first, n);
    f->free = f->alloc.free;
}

void frames_give(frames *f, uint64_t first, uint64_t n)
{
    for (uint64_t i = first; i < first + n; i++)
        frames_at(f, i)->use = FRAME_FREE;
    frame_alloc_give(&f->alloc, first, n);
    f->free = f->alloc.free;
}

const char *frames_check(const frames *f)
{
    for (size_t c = 0; c < f->chunk_count; c++) {
        uint64_t first = (uint64_t)c * FRAME_CHUNK, stop = first + FRAME_CHUNK;
        stop = stop < f->count ? stop : f->count;
        if (!f->chunks[c] && number_set_next_absent(&f->alloc.map, first, stop) != stop)
            return "frames: a frame in use has no record";
        for (uint64_t i = first; f->chunks[c] && i < stop; i++)
            if (frames_is_free(f, i) != (frames_at(f, i)->use == FRAME_FREE))
                return "frames: a frame's bit and its record disagree";
    }
    if (f->free != f->alloc.free)
        return "frames: the count of free frames is wrong";
    return frame_alloc_check(&f->alloc);
}

/* --- the reverse map ------------------------------------------------------------- */

vm_status frames_map_reserve(frames *f, size_t n, vm_error *e)
{
    n += f->promised;
    if (f->nodes_free + (f->node_cap - f->node_count) >= n)
        return VM_OK;
    n -= f->nodes_free;
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
    uint32_t next = MAP_NONE;
    if (r->mapped++) { /* the newest first: who came last is often the first to go */
        next = frames_node(f);
        f->nodes[next] = r->first;
    }
    /* Field by field: to build it apart and copy it would wait for the narrow stores. */
    r->first.vpn = vpn;
    r->first.pte_pa = pte_pa;
    r->first.space = space & 0x3fffffff;
    r->first.locked = 0;
    r->first.large = 0;
    r->first.next = next;
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
