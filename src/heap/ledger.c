#include "ledger.h"

static size_t ledger_bytes(const ledger *l)
{
    return ((size_t)1 << (LEDGER_PAGE_BITS - l->shift)) * sizeof(uint64_t);
}

vm_status ledger_init(ledger *l, const vm_host *host, uint64_t align, vm_error *e)
{
    const unsigned shift = log2_floor(align);
    *l = (ledger){.shift = shift < LEDGER_PAGE_BITS ? shift : LEDGER_PAGE_BITS};
    return keymap_init(&l->pages, host, 0, e);
}

void ledger_free(ledger *l, const vm_host *host)
{
    for (uint32_t i = 0; i < l->used; i++)
        host_free(host, l->leaves[i], ledger_bytes(l));
    host_free(host, l->spare, ledger_bytes(l));
    host_free(host, l->leaves, l->room * sizeof *l->leaves);
    keymap_free(&l->pages, host);
}

vm_status ledger_reserve(ledger *l, const vm_host *host, vm_error *e)
{
    if (l->used == l->room) {
        const uint32_t room = l->room ? l->room * 2 : 16;
        if (keymap_reserve(&l->pages, host, room, NULL) != VM_OK)
            return vm_fail_nomem(e, "a heap's ledger");
        uint64_t **leaves =
            host_realloc(host, l->leaves, l->room * sizeof *leaves, room * sizeof *leaves);
        if (!leaves)
            return vm_fail_nomem(e, "a heap's ledger");
        l->leaves = leaves;
        l->room = room;
    }
    if (!l->spare)
        l->spare = host_zalloc(host, ledger_bytes(l));
    return l->spare ? VM_OK : vm_fail_nomem(e, "a heap's ledger");
}

static uint64_t *ledger_remember(ledger *l, uint64_t page, uint64_t *leaf)
{
    l->near[page % LEDGER_NEAR].page = page;
    l->near[page % LEDGER_NEAR].leaf = leaf;
    return leaf;
}

uint64_t *ledger_far(ledger *l, uint64_t page)
{
    const uint32_t node = keymap_find(&l->pages, page);
    return node == KEYMAP_NONE ? NULL : ledger_remember(l, page, l->leaves[node]);
}

uint64_t *ledger_add(ledger *l, uint64_t page)
{
    uint64_t *leaf = l->spare;
    l->spare = NULL;
    keymap_put(&l->pages, page, l->used);
    l->leaves[l->used++] = leaf;
    return ledger_remember(l, page, leaf);
}
