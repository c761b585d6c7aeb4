/* roster.c: making, growing and checking the pages of roster.h. */
#include "roster.h"

/* The list of free ghosts. */
static uint32_t roster_free_list(const roster *g) { return g->l.heads - 1; }

vm_status roster_init(roster *g, const policy *p, uint32_t heads, vm_error *e)
{
    *g = (roster){0};
    vm_status s = lists_init(&g->l, p->host, heads + 1, e);
    return s == VM_OK ? keymap_init(&g->map, p->host, p->cfg.keys, e) : s;
}

void roster_free(roster *g, const policy *p)
{
    lists_free(&g->l, p->host);
    keymap_free(&g->map, p->host);
    host_free(p->host, g->list, (size_t)g->room + g->ghosts);
    host_free(p->host, g->key, g->room * sizeof *g->key);
    host_free(p->host, g->mark, g->room);
    *g = (roster){0};
}

vm_status roster_reserve(roster *g, const policy *p, uint32_t room, uint64_t ghosts, vm_error *e)
{
    room = room > g->room ? room : g->room;
    ghosts = ghosts > g->ghosts ? ghosts : g->ghosts;
    size_t nodes = (size_t)(room + ghosts);
    if (ghosts >= UINT32_MAX)
        return vm_fail(e, VM_INVALID, "policy %s remembers %llu pages, and can 2^32 - 2",
                       p->cls->name, (unsigned long long)ghosts);
    vm_status s = lists_reserve(&g->l, p->host, nodes, e);
    if (s == VM_OK)
        s = keymap_reserve(&g->map, p->host, (uint32_t)ghosts, e);
    if (s != VM_OK)
        return s;
    uint8_t *list = host_alloc(p->host, nodes), *mark = host_zalloc(p->host, room);
    uint64_t *key = host_alloc(p->host, room * sizeof *key);
    if (!list || !mark || !key) {
        host_free(p->host, list, nodes);
        host_free(p->host, mark, room);
        host_free(p->host, key, room * sizeof *key);
        return vm_fail_nomem(e, "the pages of a policy");
    }
    memset(list, ROSTER_OUT, nodes);
    if (g->room) {
        memcpy(list, g->list, g->room);
        memcpy(list + room, g->list + g->room, g->ghosts);
        memcpy(mark, g->mark, g->room);
        memcpy(key, g->key, g->room * sizeof *key);
    }
    host_free(p->host, g->list, (size_t)g->room + g->ghosts);
    host_free(p->host, g->mark, g->room);
    host_free(p->host, g->key, g->room * sizeof *key);
    g->list = list;
    g->mark = mark;
    g->key = key;
    lists_shift(&g->l, g->room, room - g->room);
    g->room = room;
    for (; g->ghosts < ghosts; g->ghosts++) {
        list[room + g->ghosts] = (uint8_t)roster_free_list(g);
        list_push_last(&g->l, roster_free_list(g), room + g->ghosts);
    }
    return VM_OK;
}

void roster_forget(roster *g, uint32_t node)
{
    list_drop(&g->l, g->list[node], node);
    if (node < g->room) {
        g->list[node] = ROSTER_OUT;
        g->resident--;
        return;
    }
    keymap_drop(&g->map, node - g->room);
    /* First, since what was used last is nearest. */
    list_push_first(&g->l, roster_free_list(g), node);
    g->list[node] = (uint8_t)roster_free_list(g);
}

uint32_t roster_evict(roster *g, uint32_t slot)
{
    uint32_t ghost = list_first(&g->l, roster_free_list(g));
    if (ghost == ROSTER_NONE || keymap_find(&g->map, g->key[slot]) != KEYMAP_NONE) {
        roster_forget(g, slot);
        return ROSTER_NONE;
    }
    list_drop(&g->l, roster_free_list(g), ghost);
    list_replace(&g->l, slot, ghost);
    keymap_put(&g->map, g->key[slot], ghost - g->room);
    g->list[ghost] = g->list[slot];
    g->list[slot] = ROSTER_OUT;
    g->resident--;
    return ghost;
}

const char *roster_check(const roster *g)
{
    const char *broken = lists_check(&g->l);
    uint32_t resident = 0;
    if (!broken)
        broken = keymap_check(&g->map);
    for (uint32_t i = 0; i < g->room + g->ghosts && !broken; i++) {
        bool in = g->list[i] != ROSTER_OUT;
        resident += in && i < g->room;
        if (in != list_has(&g->l, i) || (i >= g->room && !in))
            broken = "roster: a node is not in the list that it says";
    }
    if (!broken && resident != g->resident)
        broken = "roster: the count of full slots is wrong";
    if (!broken && g->map.count > g->ghosts - roster_count(g, roster_free_list(g)))
        broken = "roster: a free ghost can be found";
    return broken;
}
