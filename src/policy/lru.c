/* lru.c: exact least recently used, for few ways and for many frames, in three forms
 * for three owners.
 *   scan   the sets of a cache: a reference writes a stamp, a victim is found by a look
 *          at all ways.
 *   heap   an owner with reference bits, which writes the stamps of hits by itself: a
 *          binary heap orders the slots by the stamp they had when they were queued; one
 *          whose stamp is newer than that is queued anew when it comes to the top. A hit
 *          costs one store and a victim O(log n), amortised over the hits since.
 *   queue  an owner that calls at each reference: the queue of recency.h.
 *
 * Invariants: stamp 0 means empty; each full slot of a heap's set is in it once,
 * with a queued stamp not newer than its true one. Two stamps are never equal.
 * Source: Mattson et al., "Evaluation techniques for storage hierarchies", 1970.
 */
#include "policy.h"
#include "recency.h"

typedef struct lru_item {
    uint64_t queued; /* the stamp it was queued with */
    uint32_t slot;
} lru_item;

typedef struct lru {
    policy base; /* base.stamps[set * room + slot]; NULL in a queue */
    lru_item *heap;
    uint32_t *place; /* slot's index in the heap + 1; 0: not in it */
    uint32_t count;
    bool scan, queued;
    recency order; /* if queued */
} lru;

static vm_status lru_init(policy *p, vm_error *e)
{
    (void)e;
    ((lru *)p)->scan = p->cfg.sets > 1;
    ((lru *)p)->queued = p->cfg.sets == 1 && !p->cfg.bits.referenced;
    return VM_OK;
}

static void lru_free(policy *p)
{
    lru *l = (lru *)p;
    host_free(p->host, p->stamps, (size_t)p->cfg.sets * p->room * sizeof *p->stamps);
    host_free(p->host, l->heap, p->room * sizeof *l->heap);
    host_free(p->host, l->place, p->room * sizeof *l->place);
    recency_free(&l->order, p->host);
}

static vm_status lru_reserve(policy *p, uint32_t n, vm_error *e)
{
    lru *l = (lru *)p;
    if (l->queued) {
        vm_status s = recency_reserve(&l->order, p->host, n, e);
        p->room = s == VM_OK ? n : p->room;
        return s;
    }
    size_t old = (size_t)p->cfg.sets * p->room, size = (size_t)p->cfg.sets * n;
    uint64_t *stamps = host_zalloc(p->host, size * sizeof *stamps);
    lru_item *heap = l->scan ? NULL : host_alloc(p->host, n * sizeof *heap);
    uint32_t *place = l->scan ? NULL : host_zalloc(p->host, n * sizeof *place);
    if (!stamps || (!l->scan && (!heap || !place))) {
        host_free(p->host, stamps, size * sizeof *stamps);
        host_free(p->host, heap, n * sizeof *heap);
        host_free(p->host, place, n * sizeof *place);
        return vm_fail_nomem(e, "an LRU policy");
    }
    if (old)
        memcpy(stamps, p->stamps, old * sizeof *stamps);
    if (old && !l->scan) {
        memcpy(heap, l->heap, l->count * sizeof *heap);
        memcpy(place, l->place, p->room * sizeof *place);
    }
    lru_free(p);
    p->stamps = stamps;
    l->heap = heap;
    l->place = place;
    p->room = n;
    return VM_OK;
}

static void lru_put(lru *l, uint32_t i, lru_item it)
{
    l->heap[i] = it;
    l->place[it.slot] = i + 1;
}

static void lru_sift_up(lru *l, uint32_t i, lru_item it)
{
    while (i > 0 && l->heap[(i - 1) / 2].queued > it.queued) {
        lru_put(l, i, l->heap[(i - 1) / 2]);
        i = (i - 1) / 2;
    }
    lru_put(l, i, it);
}

static void lru_sift_down(lru *l, uint32_t i, lru_item it)
{
    for (;;) {
        uint32_t kid = 2 * i + 1;
        if (kid >= l->count)
            break;
        if (kid + 1 < l->count && l->heap[kid + 1].queued < l->heap[kid].queued)
            kid++;
        if (l->heap[kid].queued >= it.queued)
            break;
        lru_put(l, i, l->heap[kid]);
        i = kid;
    }
    lru_put(l, i, it);
}

static void lru_touch(policy *p, uint32_t set, uint32_t slot, bool write)
{
    (void)write;
    if (p->stamps)
        p->stamps[(size_t)set * p->room + slot] = ++p->tick;
    else
        recency_touch(&((lru *)p)->order, slot);
}

static void lru_insert(policy *p, uint32_t set, uint32_t slot, uint64_t key)
{
    (void)key;
    lru *l = (lru *)p;
    if (l->queued && !recency_has(&l->order, slot)) {
        recency_add(&l->order, slot);
        return;
    }
    lru_touch(p, set, slot, false);
    if (l->scan || l->queued)
        return;
    lru_item it = {p->stamps[slot], slot};
    if (l->place[slot])
        lru_sift_down(l, l->place[slot] - 1, it);
    else
        lru_sift_up(l, l->count++, it);
}

static void lru_remove(policy *p, uint32_t set, uint32_t slot)
{
    lru *l = (lru *)p;
    if (l->queued) {
        if (recency_has(&l->order, slot))
            recency_drop(&l->order, slot);
        return;
    }
    p->stamps[(size_t)set * p->room + slot] = 0;
    if (l->scan || l->place[slot] == 0)
        return;
    uint32_t i = l->place[slot] - 1;
    l->place[slot] = 0;
    lru_item last = l->heap[--l->count];
    if (i == l->count)
        return;
    if (i > 0 && l->heap[(i - 1) / 2].queued > last.queued)
        lru_sift_up(l, i, last);
    else
        lru_sift_down(l, i, last);
}

static vm_status lru_victim(policy *p, uint32_t set, uint64_t key, uint32_t *slot, vm_error *e)
{
    (void)key;
    lru *l = (lru *)p;
    if (l->scan) {
        const uint64_t *s = p->stamps + (size_t)set * p->room;
        uint32_t best = UINT32_MAX;
        for (uint32_t i = 0; i < p->room; i++)
            if (s[i] && (best == UINT32_MAX || s[i] < s[best]))
                best = i;
        if (best == UINT32_MAX)
            return policy_no_victim(p, e);
        *slot = best;
        return VM_OK;
    }
    if (l->queued ? l->order.count == 0 : l->count == 0)
        return policy_no_victim(p, e);
    if (l->queued) {
        *slot = recency_first(&l->order);
        return VM_OK;
    }
    for (;;) {
        lru_item top = l->heap[0];
        if (p->stamps[top.slot] == top.queued) {
            *slot = top.slot;
            return VM_OK;
        }
        top.queued = p->stamps[top.slot];
        lru_sift_down(l, 0, top);
    }
}

static const char *lru_check(const policy *p)
{
    const lru *l = (const lru *)p;
    if (l->scan)
        return NULL;
    if (l->queued)
        return recency_check(&l->order);
    for (uint32_t i = 0; i < l->count; i++) {
        lru_item it = l->heap[i];
        if (it.slot >= p->room || l->place[it.slot] != i + 1)
            return "lru: a slot does not know its place in the heap";
        if (it.queued > p->stamps[it.slot])
            return "lru: a slot is queued with a stamp from the future";
        if (i > 0 && l->heap[(i - 1) / 2].queued > it.queued)
            return "lru: the heap's order is broken";
    }
    return NULL;
}

const policy_class policy_lru = {
    .name = "lru",
    .doc =
        "least recently used, exact; a store or two a hit, O(1) a miss or O(log n) where the owner "
        "has reference bits, amortised, 20 or 28 bytes a slot "
        "(Mattson et al. 1970)",
    .serves = POLICY_FRAMES | POLICY_SETS,
    .exact = true,
    .size = sizeof(lru),
    .init = lru_init,
    .free = lru_free,
    .reserve = lru_reserve,
    .insert = lru_insert,
    .touch = lru_touch,
    .victim = lru_victim,
    .remove = lru_remove,
    .check = lru_check,
};
