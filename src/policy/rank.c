/* rank.c: the lazy binary heap of rank.h. */
#include "rank.h"

vm_status ranks_reserve(ranks *h, const vm_host *host, uint32_t room, vm_error *e)
{
    if (room <= h->room)
        return VM_OK;
    rank_pair *rank = host_alloc(host, room * sizeof *rank);
    uint32_t *place = host_zalloc(host, room * sizeof *place);
    rank_item *item = host_alloc(host, room * sizeof *item);
    if (!rank || !place || !item) {
        host_free(host, rank, room * sizeof *rank);
        host_free(host, place, room * sizeof *place);
        host_free(host, item, room * sizeof *item);
        return vm_fail_nomem(e, "the order of a policy");
    }
    if (h->room) {
        memcpy(rank, h->rank, h->room * sizeof *rank);
        memcpy(place, h->place, h->room * sizeof *place);
        memcpy(item, h->item, h->count * sizeof *item);
    }
    uint32_t count = h->count;
    ranks_free(h, host);
    *h = (ranks){rank, place, item, count, room};
    return VM_OK;
}

void ranks_free(ranks *h, const vm_host *host)
{
    host_free(host, h->rank, h->room * sizeof *h->rank);
    host_free(host, h->place, h->room * sizeof *h->place);
    host_free(host, h->item, h->room * sizeof *h->item);
    *h = (ranks){0};
}

static bool ranks_below(rank_pair a, rank_pair b)
{
    return a.major != b.major ? a.major < b.major : a.minor < b.minor;
}

static void ranks_set(ranks *h, uint32_t i, rank_item it)
{
    h->item[i] = it;
    h->place[it.slot] = i + 1;
}

static void ranks_sift_up(ranks *h, uint32_t i, rank_item it)
{
    for (; i > 0 && ranks_below(it.queued, h->item[(i - 1) / 2].queued); i = (i - 1) / 2)
        ranks_set(h, i, h->item[(i - 1) / 2]);
    ranks_set(h, i, it);
}

static void ranks_sift_down(ranks *h, uint32_t i, rank_item it)
{
    for (uint32_t kid; (kid = 2 * i + 1) < h->count; i = kid) {
        kid += kid + 1 < h->count && ranks_below(h->item[kid + 1].queued, h->item[kid].queued);
        if (!ranks_below(h->item[kid].queued, it.queued))
            break;
        ranks_set(h, i, h->item[kid]);
    }
    ranks_set(h, i, it);
}

void ranks_put(ranks *h, uint32_t slot, rank_pair rank)
{
    h->rank[slot] = rank;
    ranks_sift_up(h, h->count++, (rank_item){rank, slot});
}

void ranks_drop(ranks *h, uint32_t slot)
{
    uint32_t i = h->place[slot] - 1;
    h->place[slot] = 0;
    rank_item last = h->item[--h->count];
    if (i == h->count)
        return;
    if (i > 0 && ranks_below(last.queued, h->item[(i - 1) / 2].queued))
        ranks_sift_up(h, i, last);
    else
        ranks_sift_down(h, i, last);
}

uint32_t ranks_lowest(ranks *h)
{
    for (;;) {
        rank_item top = h->item[0];
        rank_pair now = h->rank[top.slot];
        if (!ranks_below(top.queued, now))
            return top.slot;
        top.queued = now;
        ranks_sift_down(h, 0, top);
    }
}

const char *ranks_check(const ranks *h)
{
    for (uint32_t i = 0; i < h->count; i++) {
        rank_item it = h->item[i];
        if (it.slot >= h->room || h->place[it.slot] != i + 1)
            return "rank: a slot does not know its place";
        if (ranks_below(h->rank[it.slot], it.queued))
            return "rank: a slot is queued with a rank above its own";
        if (i > 0 && ranks_below(it.queued, h->item[(i - 1) / 2].queued))
            return "rank: its order is broken";
    }
    return NULL;
}
