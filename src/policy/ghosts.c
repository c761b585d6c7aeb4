/* ghosts.c: the queues of ghosts.h. */
#include "ghosts.h"

vm_status ghosts_init(ghost_book *g, const vm_host *host, uint32_t queues, uint64_t dense,
                      vm_error *e)
{
    *g = (ghost_book){.queues = queues};
    return keymap_init(&g->map, host, dense, e);
}

void ghosts_free(ghost_book *g, const vm_host *host) { keymap_free(&g->map, host); }

vm_status ghosts_reserve(ghost_book *g, const vm_host *host, uint32_t each, vm_error *e)
{
    /* More entries, so that they are moved together only now and then. */
    uint64_t room = each + each / 2 + UINT64_C(1);
    if (room * g->queues >= GHOST_NONE)
        return vm_fail(e, VM_INVALID, "%u pages are too many for a policy to remember", each);
    if (each <= g->each)
        return VM_OK;
    vm_status s = keymap_reserve(&g->map, host, (uint32_t)room * g->queues, e);
    if (s == VM_OK) {
        g->each = each;
        g->room = (uint32_t)room;
    }
    return s;
}

static bool ghosts_counts(const ghost_book *g, uint32_t node)
{
    return keymap_find(&g->map, keymap_key(&g->map, node)) == node;
}

static void ghosts_pack(ghost_book *g, uint32_t queue)
{
    ghost_queue *q = &g->q[queue];
    uint32_t n = 0;
    for (uint32_t i = q->head; i < q->tail; i++) {
        uint32_t node = i * g->queues + queue;
        if (!ghosts_counts(g, node))
            continue;
        if (i != n) {
            uint64_t key = keymap_key(&g->map, node);
            keymap_drop(&g->map, node);
            keymap_put(&g->map, key, n * g->queues + queue);
        }
        n++;
    }
    q->head = 0;
    q->tail = n;
}

void ghosts_drop(ghost_book *g, uint32_t ghost)
{
    keymap_drop(&g->map, ghost);
    g->q[ghosts_queue(g, ghost)].count--;
}

void ghosts_pop(ghost_book *g, uint32_t queue)
{
    ghost_queue *q = &g->q[queue];
    uint32_t node;
    do {
        uint32_t soon = q->head + 8;
        node = q->head++ * g->queues + queue;
        if (soon < q->tail)
            keymap_ahead(&g->map, keymap_key(&g->map, soon * g->queues + queue));
    } while (!ghosts_counts(g, node));
    ghosts_drop(g, node);
}

void ghosts_push(ghost_book *g, uint32_t queue, uint64_t key)
{
    ghost_queue *q = &g->q[queue];
    if (ghosts_find(g, key) != GHOST_NONE)
        return;
    if (q->count == g->each)
        ghosts_pop(g, queue);
    if (VM_UNLIKELY(q->tail == g->room))
        ghosts_pack(g, queue);
    q->count += keymap_put(&g->map, key, q->tail++ * g->queues + queue);
}

const char *ghosts_check(const ghost_book *g)
{
    const char *broken = keymap_check(&g->map);
    size_t all = 0;
    for (uint32_t k = 0; k < g->queues && !broken; k++) {
        uint32_t n = 0;
        for (uint32_t i = g->q[k].head; i < g->q[k].tail; i++)
            n += ghosts_counts(g, i * g->queues + k);
        if (n != g->q[k].count)
            broken = "ghosts: a queue's count is wrong";
        all += n;
    }
    return broken || all == g->map.count ? broken : "ghosts: one is in no queue";
}
