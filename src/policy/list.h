/* list.h: doubly linked lists of small numbers (slots, ghosts), for all policies
 * that keep pages in order.
 *
 * Any number of lists share one array of links, 8 bytes a node; a node is in one
 * of them at most. The heads are the array's first links, so that a list is a ring
 * through its head and no operation has a branch for its ends. Nodes are counted
 * from 0 for the caller: node n is link heads + n. Links are indexes, so that the
 * array can grow and nothing depends on where it lies.
 *
 * Invariant: a node that is in no list has `next` LIST_NONE.
 */
#ifndef VM_LIST_H
#define VM_LIST_H

#include "../base/base.h"

#define LIST_NONE UINT32_MAX

typedef struct list_link {
    uint32_t next, prev;
} list_link;

typedef struct lists {
    list_link *links; /* heads, then nodes */
    uint32_t *count;  /* of nodes, by head */
    uint32_t heads, nodes;
} lists;

/* Empty lists 0 .. heads - 1 and no nodes; errors: VM_NOMEM. */
vm_status lists_init(lists *x, const vm_host *host, uint32_t heads, vm_error *e);
void lists_free(lists *x, const vm_host *host);
/* Nodes 0 .. nodes - 1 can be put into lists; those that are there stay. */
vm_status lists_reserve(lists *x, const vm_host *host, uint64_t nodes, vm_error *e);
/* Nodes from `from` on are numbered higher by `by`; as many nodes at the end, which are in
 * no list, come before them. */
void lists_shift(lists *x, uint32_t from, uint32_t by);
/* NULL, or what is broken. */
const char *lists_check(const lists *x);

VM_INLINE bool list_has(const lists *x, uint32_t node)
{
    return x->links[x->heads + node].next != LIST_NONE;
}

/* The node behind (towards the end of) or before this one, LIST_NONE at the end. */
VM_INLINE uint32_t list_next(const lists *x, uint32_t node)
{
    uint32_t at = x->links[x->heads + node].next;
    return at < x->heads ? LIST_NONE : at - x->heads;
}
VM_INLINE uint32_t list_prev(const lists *x, uint32_t node)
{
    uint32_t at = x->links[x->heads + node].prev;
    return at < x->heads ? LIST_NONE : at - x->heads;
}
VM_INLINE uint32_t list_first(const lists *x, uint32_t head)
{
    uint32_t at = x->links[head].next;
    return at < x->heads ? LIST_NONE : at - x->heads;
}
VM_INLINE uint32_t list_last(const lists *x, uint32_t head)
{
    uint32_t at = x->links[head].prev;
    return at < x->heads ? LIST_NONE : at - x->heads;
}

/* Link at `me` between `prev` and what follows it; positions in `links`. */
VM_INLINE void list_link_behind(lists *x, uint32_t prev, uint32_t me)
{
    list_link *l = x->links;
    uint32_t next = l[prev].next;
    l[me] = (list_link){next, prev};
    l[prev].next = me;
    l[next].prev = me;
}

/* A node that is in no list goes to either end of one. */
VM_INLINE void list_push_first(lists *x, uint32_t head, uint32_t node)
{
    list_link_behind(x, head, x->heads + node);
    x->count[head]++;
}
VM_INLINE void list_push_last(lists *x, uint32_t head, uint32_t node)
{
    list_link_behind(x, x->links[head].prev, x->heads + node);
    x->count[head]++;
}
/* A node that is in no list goes before one that is in the list of `head`. */
VM_INLINE void list_push_before(lists *x, uint32_t head, uint32_t at, uint32_t node)
{
    list_link_behind(x, x->links[x->heads + at].prev, x->heads + node);
    x->count[head]++;
}
/* A node that is in no list takes the place of one that is in one. */
VM_INLINE void list_replace(lists *x, uint32_t old, uint32_t node)
{
    list_link *l = x->links, me = l[x->heads + old];
    l[x->heads + node] = me;
    l[me.prev].next = l[me.next].prev = x->heads + node;
    l[x->heads + old] = (list_link){LIST_NONE, LIST_NONE};
}
/* The node leaves the list of `head`, in which it is. */
VM_INLINE void list_drop(lists *x, uint32_t head, uint32_t node)
{
    list_link *l = x->links;
    list_link me = l[x->heads + node];
    l[me.prev].next = me.next;
    l[me.next].prev = me.prev;
    l[x->heads + node] = (list_link){LIST_NONE, LIST_NONE};
    x->count[head]--;
}
/* To either end of another list, or of its own. */
VM_INLINE void list_move_first(lists *x, uint32_t from, uint32_t to, uint32_t node)
{
    list_drop(x, from, node);
    list_push_first(x, to, node);
}
VM_INLINE void list_move_last(lists *x, uint32_t from, uint32_t to, uint32_t node)
{
    list_drop(x, from, node);
    list_push_last(x, to, node);
}

#endif
