/* list.c: making, growing and checking the lists of list.h. */
#include "list.h"

vm_status lists_init(lists *x, const vm_host *host, uint32_t heads, vm_error *e)
{
    *x = (lists){.heads = heads};
    x->links = host_alloc(host, heads * sizeof *x->links);
    x->count = host_zalloc(host, heads * sizeof *x->count);
    if (!x->links || !x->count) {
        lists_free(x, host);
        return vm_fail_nomem(e, "the lists of a policy");
    }
    for (uint32_t h = 0; h < heads; h++)
        x->links[h] = (list_link){h, h};
    return VM_OK;
}

void lists_free(lists *x, const vm_host *host)
{
    host_free(host, x->links, ((size_t)x->heads + x->nodes) * sizeof *x->links);
    host_free(host, x->count, x->heads * sizeof *x->count);
    *x = (lists){0};
}

vm_status lists_reserve(lists *x, const vm_host *host, uint64_t nodes, vm_error *e)
{
    if (nodes <= x->nodes)
        return VM_OK;
    size_t old = (size_t)x->heads + x->nodes, now = (size_t)(x->heads + nodes);
    if (now >= LIST_NONE)
        return vm_fail(e, VM_INVALID, "a policy's lists have %zu nodes, and can have 2^32 - 2",
                       now);
    list_link *l = host_realloc(host, x->links, old * sizeof *l, now * sizeof *l);
    if (!l)
        return vm_fail_nomem(e, "the lists of a policy");
    memset(l + old, 0xff, (now - old) * sizeof *l);
    x->links = l;
    x->nodes = (uint32_t)nodes;
    return VM_OK;
}

void lists_shift(lists *x, uint32_t from, uint32_t by)
{
    uint32_t first = x->heads + from, end = x->heads + x->nodes;
    list_link *l = x->links;
    if (by == 0)
        return;
    memmove(l + first + by, l + first, (end - first - by) * sizeof *l);
    memset(l + first, 0xff, by * sizeof *l);
    for (uint32_t i = 0; i < end; i++) {
        l[i].next += l[i].next >= first && l[i].next != LIST_NONE ? by : 0;
        l[i].prev += l[i].prev >= first && l[i].prev != LIST_NONE ? by : 0;
    }
}

const char *lists_check(const lists *x)
{
    const list_link *l = x->links;
    uint64_t end = (uint64_t)x->heads + x->nodes, linked = 0, in = 0;
    for (uint32_t h = 0; h < x->heads; h++) {
        uint32_t n = 0;
        for (uint32_t at = h; l[at].next != h; at = l[at].next) {
            uint32_t next = l[at].next;
            if (next < x->heads || next >= end)
                return "list: a link leads out of its list";
            if (l[next].prev != at)
                return "list: a link does not name its neighbour back";
            if (n++ == x->count[h])
                return "list: it holds more than it counts, or does not close";
        }
        if (n != x->count[h])
            return "list: it holds fewer than it counts";
        linked += n;
    }
    for (uint64_t i = x->heads; i < end; i++)
        in += l[i].next != LIST_NONE;
    return in == linked ? NULL : "list: a node is in no list, but linked";
}
