/* ledger.h: the bytes that were asked for at each live address of a heap.
 *
 * A sparse array by address: a leaf holds the entries of one page of addresses, one for
 * each place where a block can begin; a hash table finds a page's leaf, and the leaves
 * of the pages asked for lately are remembered. So what lies together in the heap does
 * here, and a free finds its entry without a search.
 *
 * Invariants: an entry is 0 if and only if no block is live there; leaves stay until the
 * ledger goes.
 */
#ifndef VM_HEAP_LEDGER_H
#define VM_HEAP_LEDGER_H

#include "../policy/keymap.h"

#define LEDGER_PAGE_BITS 12 /* of addresses: 2 KiB of entries where blocks align to 16 */
#define LEDGER_NEAR      64

typedef struct ledger {
    uint64_t count; /* of live addresses */
    unsigned shift; /* addresses are multiples of 1 << shift */
    struct {
        uint64_t page;
        uint64_t *leaf; /* NULL: none */
    } near[LEDGER_NEAR];
    keymap pages;
    uint64_t **leaves; /* by node of `pages` */
    uint64_t *spare;   /* the next page's */
    uint32_t used, room;
} ledger;

/* For addresses that are multiples of `align`, a power of two. */
vm_status ledger_init(ledger *l, const vm_host *host, uint64_t align, vm_error *e);
void ledger_free(ledger *l, const vm_host *host);
/* ledger_enter will succeed, whatever the address, when there is room. */
VM_INLINE bool ledger_has_room(const ledger *l) { return l->spare && l->used < l->room; }
/* Errors: VM_NOMEM. */
vm_status ledger_reserve(ledger *l, const vm_host *host, vm_error *e);
/* The leaf of a page that is not near; NULL: no block of it was ever live. */
uint64_t *ledger_far(ledger *l, uint64_t page);
/* A leaf for a page that has none. */
uint64_t *ledger_add(ledger *l, uint64_t page);

VM_INLINE uint64_t *ledger_leaf(ledger *l, uint64_t page)
{
    const unsigned i = page % LEDGER_NEAR;
    return VM_LIKELY(l->near[i].page == page && l->near[i].leaf) ? l->near[i].leaf
                                                                 : ledger_far(l, page);
}

VM_INLINE size_t ledger_place(const ledger *l, uint64_t a)
{
    return (size_t)((a & low_mask(LEDGER_PAGE_BITS)) >> l->shift);
}

/* The bytes asked for at a; 0: no block is live there. */
VM_INLINE uint64_t ledger_get(ledger *l, uint64_t a)
{
    const uint64_t *leaf = a & low_mask(l->shift) ? NULL : ledger_leaf(l, a >> LEDGER_PAGE_BITS);
    return leaf ? leaf[ledger_place(l, a)] : 0;
}

/* A block of n > 0 bytes is live at a now, where none was. */
VM_INLINE void ledger_enter(ledger *l, uint64_t a, uint64_t n)
{
    uint64_t *leaf = ledger_leaf(l, a >> LEDGER_PAGE_BITS);
    if (VM_UNLIKELY(!leaf))
        leaf = ledger_add(l, a >> LEDGER_PAGE_BITS);
    leaf[ledger_place(l, a)] = n;
    l->count++;
}

/* The live block at a is no longer: the bytes that were asked for. */
VM_INLINE uint64_t ledger_leave(ledger *l, uint64_t a)
{
    uint64_t *at = &ledger_leaf(l, a >> LEDGER_PAGE_BITS)[ledger_place(l, a)], n = *at;
    *at = 0;
    l->count--;
    return n;
}

#endif
