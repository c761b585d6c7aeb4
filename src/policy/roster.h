/* roster.h: the pages that a policy knows: resident ones, by slot, and ghosts, which
 * were evicted and are remembered, by key.
 *
 * A node is a page in a list of the policy's. Nodes below `room` are slots, those from
 * there on are ghosts, so that lists may be of one kind (Linux's) or mix the two (the stack
 * of LIRS, the ring of CLOCK-Pro), and a reference to a slot leads to its node without a
 * table. When there is room for more slots, ghosts are renumbered.
 *
 * Invariants: a full slot is in one list; a ghost is in one, too, that of free ghosts if
 * it stands for no page; exactly the others can be found by key, and no two have the
 * same.
 * Memory: 18 bytes a slot and 17 a ghost, besides the keymap's table.
 */
#ifndef VM_ROSTER_H
#define VM_ROSTER_H

#include "keymap.h"
#include "list.h"
#include "policy.h"

#define ROSTER_NONE UINT32_MAX
#define ROSTER_OUT  UINT8_MAX /* in `list`: in none */

typedef struct roster {
    lists l;           /* of nodes: the policy's, then the free ghosts */
    keymap map;        /* ghosts, less `room`, by key */
    uint8_t *list;     /* by node: the list that it is in, or ROSTER_OUT */
    uint64_t *key;     /* by slot */
    uint8_t *mark;     /* by slot: the policy's bits or counts; 0 when a page enters */
    uint32_t room;     /* slots there is memory for */
    uint32_t ghosts;   /* there is memory for */
    uint32_t resident; /* full slots */
} roster;

/* With lists 0 .. heads - 1 and no room; errors: VM_NOMEM, VM_INVALID. */
vm_status roster_init(roster *g, const policy *p, uint32_t heads, vm_error *e);
void roster_free(roster *g, const policy *p);
/* Room for slots below `room` and for so many ghosts. On an error there is as much as
 * before. */
vm_status roster_reserve(roster *g, const policy *p, uint32_t room, uint64_t ghosts, vm_error *e);
/* NULL, or what is broken. */
const char *roster_check(const roster *g);

/* The key's ghost, or ROSTER_NONE. */
VM_INLINE uint32_t roster_ghost(const roster *g, uint64_t key)
{
    uint32_t ghost = keymap_find(&g->map, key);
    return ghost == KEYMAP_NONE ? ROSTER_NONE : g->room + ghost;
}
VM_INLINE bool roster_is_ghost(const roster *g, uint32_t node) { return node >= g->room; }
VM_INLINE bool roster_is_full(const roster *g, uint32_t slot)
{
    return g->list[slot] != ROSTER_OUT;
}
VM_INLINE uint32_t roster_count(const roster *g, uint32_t head) { return g->l.count[head]; }
VM_INLINE uint32_t roster_oldest(const roster *g, uint32_t head) { return list_first(&g->l, head); }

/* To the end of list `head`. */
VM_INLINE void roster_move(roster *g, uint32_t head, uint32_t node)
{
    list_move_last(&g->l, g->list[node], head, node);
    g->list[node] = (uint8_t)head;
}
/* A page comes to live in the slot, which is empty, at the end of list `head`. */
VM_INLINE void roster_enter(roster *g, uint32_t head, uint32_t slot, uint64_t key)
{
    g->key[slot] = key;
    g->mark[slot] = 0;
    g->list[slot] = (uint8_t)head;
    g->resident++;
    list_push_last(&g->l, head, slot);
}
/* The page of the node, resident or not, is known no longer. */
void roster_forget(roster *g, uint32_t node);
/* The page in the slot is evicted: a ghost, which is returned, takes its place in its
 * list. ROSTER_NONE: it is forgotten, since its key has a ghost already (it was in two
 * slots), or no ghost is free. */
uint32_t roster_evict(roster *g, uint32_t slot);
/* Was the slot referenced, by the owner's bits or else bit 1 of its mark? Clears the bit. */
VM_INLINE bool roster_referenced(roster *g, const policy *p, uint32_t slot)
{
    return policy_is_used(p, &g->mark[slot], 1, slot, true);
}

#endif
