/* lru.c: exact least recently used, for few ways and for many frames.
 *
 * A reference writes a stamp, nothing else. In the sets of a cache the victim
 * is found by a scan. In one set of many frames a binary heap orders the slots by the stamp they
 * had when they were queued; a slot whose stamp is newer than that is queued
 * anew when it comes to the top, so that a hit costs one store and a victim
 * O(log n), amortised over the hits since. (A linked list costs six dependent
 * stores a hit.)
 *
 * Invariants: stamp 0 means empty; each full slot of a heap's set is in it once,
 * with a queued stamp not newer than its true one. Two stamps are never equal.
 * Source: Mattson et al., "Evaluation techniques for storage hierarchies", 1970.
 */
#include "policy.h"

typedef struct lru_item {
    uint64_t queued; /* the stamp it was queued with */
    uint32_t slot;
} lru_item;

typedef struct lru {
    policy base; /* base.stamps[set * room + slot] */
    lru_item *heap;
    uint32_t *place; /* slot's index in the heap + 1; 0: not in it */
    uint32_t count;
    bool scan;
} lru;

static vm_status lru_init(policy *p, vm_error *e)
{
    (void)e;
    ((lru *)p)->scan = p->cfg.sets > 1;
    return VM_OK;
}

static void lru_free(policy *p)
{
    lru *l = (lru *)p;
    host_free(p->host, p->stamps, (size_t)p->cfg.sets * p->room * sizeof *p->stamps);
    host_free(p->host, l->heap, p->room * sizeof *l->heap);
    host_free(p->host, l->place, p->room * sizeof *l->place);
}

static vm_status lru_reserve(policy *p, uint32_t n, vm_error *e)
{
    lru *l = (lru *)p;
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
    p->stamps[(size_t)set * p->room + slot] = ++p->tick;
}

static void lru_insert(policy *p, uint32_t set, uint32_t slot, uint64_t key)
{
    (void)key;
    lru *l = (lru *)p;
    lru_touch(p, set, slot, false);
    if (l->scan)
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
    if (l->count == 0)
        return policy_no_victim(p, e);
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
    .doc = "least recently used, exact; a store a hit, O(log n) a victim, 28 bytes a slot "
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
