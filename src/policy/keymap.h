/* keymap.h: from page keys to small numbers (nodes), for what policies remember
 * of pages that are no longer resident.
 *
 * Where the owner's keys are dense (numbers below `keys`), an array by key, 4 bytes
 * a key. Else a hash table of node numbers with linear probing, at most three
 * quarters full, and moved up on deletion, so that no marks of the dead are left: 6
 * to 11 bytes a node. Both also keep each node's key, 8 bytes. Where a key lies
 * depends on the keys alone, and no order is ever read off the table.
 *
 * Invariant: at most one node a key, and one key a node.
 */
#ifndef VM_KEYMAP_H
#define VM_KEYMAP_H

#include "../base/base.h"

#define KEYMAP_NONE UINT32_MAX

typedef struct keymap {
    uint64_t dense;  /* keys are below it; 0: any 64-bit number is a key */
    uint32_t *table; /* by key, or by place in the hash table */
    uint64_t *keys;  /* by node */
    uint32_t nodes;  /* there is room for: 0 .. nodes - 1 */
    uint32_t count;  /* of keys */
    unsigned bits;   /* of the hash table's size */
} keymap;

/* For keys below `dense` (0: any) and no nodes; errors: VM_NOMEM, VM_INVALID. */
vm_status keymap_init(keymap *m, const vm_host *host, uint64_t dense, vm_error *e);
void keymap_free(keymap *m, const vm_host *host);
/* Nodes 0 .. nodes - 1 can be put in; what is there stays. */
vm_status keymap_reserve(keymap *m, const vm_host *host, uint32_t nodes, vm_error *e);
/* The key's node, or KEYMAP_NONE. */
uint32_t keymap_find(const keymap *m, uint64_t key);
/* The key, which has no node, gets this one, which has no key. False: a key that is not
 * below `dense` gets none. */
bool keymap_put(keymap *m, uint64_t key, uint32_t node);
/* The node, which was put in, has no key any longer. */
void keymap_drop(keymap *m, uint32_t node);
VM_INLINE uint64_t keymap_key(const keymap *m, uint32_t node) { return m->keys[node]; }
/* The key will be looked up, put in or dropped soon: the host may fetch its place. */
VM_INLINE void keymap_ahead(const keymap *m, uint64_t key)
{
    if (key < m->dense)
        VM_PREFETCH(&m->table[key]);
}
/* NULL, or what is broken. */
const char *keymap_check(const keymap *m);

#endif
