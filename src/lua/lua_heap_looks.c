/* lua_heap_looks.c: what a heap tells about itself: h:blocks(), h:check(), h:lists(), and
 * the sums under h:stats() and h:loss(). A look reads words without accesses (port.h),
 * and one that fails leaves the process alone.
 */
#include "callback.h"
#include "lua_heap.h"

#include "../heap/loss.h"

/* The blocks of a walk: counted, then kept in memory of Lua's, which may be refused. */
typedef struct heap_list {
    heap_block *b; /* NULL: only count */
    size_t count, room;
} heap_list;

static bool heap_list_add(void *ud, const heap_block *b)
{
    heap_list *l = ud;
    if (l->b && l->count == l->room)
        return false;
    if (l->b)
        l->b[l->count] = *b;
    l->count++;
    return true;
}

static vm_status heap_list_walk(lua_heap *box, heap_list *l, vm_error *e)
{
    l->room = l->count;
    l->count = 0;
    box->busy = true;
    vm_status s = heap_walk(box->h, heap_list_add, l, e);
    box->busy = false;
    return s;
}

/* A look that failed leaves the process alone: it was not the program's. */
static int heap_look_failed(lua_State *L, lua_heap *box, const vm_error *e)
{
    if (box->handle)
        lua_deliver(L, box->h->port.m);
    return callback_raise(L, e);
}

/* h:blocks() -> list of { start, size, address, allocated, payload } in address order */
static int heap_blocks_(lua_State *L)
{
    lua_heap *box = heap_enter_call(L);
    heap_list l = {0};
    vm_error e;
    if (heap_list_walk(box, &l, &e) != VM_OK)
        return heap_look_failed(L, box, &e);
    l.b = lua_newuserdatauv(L, l.count ? l.count * sizeof *l.b : 1, 0);
    if (heap_list_walk(box, &l, &e) != VM_OK)
        return heap_look_failed(L, box, &e);
    lua_createtable(L, (int)(l.count < INT32_MAX ? l.count : 0), 0);
    for (size_t i = 0; i < l.count; i++) {
        uint64_t n;
        lua_createtable(L, 0, 5);
        lua_set_integer(L, "start", l.b[i].start);
        lua_set_integer(L, "size", l.b[i].size);
        lua_set_integer(L, "address", l.b[i].payload);
        lua_set_boolean(L, "allocated", l.b[i].used);
        if (heap_asked(box->h, l.b[i].payload, &n))
            lua_set_integer(L, "payload", n);
        lua_rawseti(L, -2, (lua_Integer)i + 1);
    }
    return heap_told(L, box, 1);
}

/* h:check() -> true, or false, what is wrong, the address of the word that says so */
static int heap_check_(lua_State *L)
{
    lua_heap *box = heap_enter_call(L);
    heap_wrong wrong = {0};
    vm_error e;
    bool ok = true;
    box->busy = true;
    vm_status s = heap_check(box->h, &ok, &wrong, &e);
    box->busy = false;
    if (s != VM_OK)
        return heap_look_failed(L, box, &e);
    lua_pushboolean(L, ok);
    if (ok)
        return heap_told(L, box, 1);
    lua_pushstring(L, wrong.text);
    lua_pushinteger(L, (lua_Integer)wrong.addr);
    return heap_told(L, box, 3);
}

typedef struct heap_sums {
    uint64_t blocks, allocated, free_blocks, free, largest;
} heap_sums;

static bool heap_sum(void *ud, const heap_block *b)
{
    heap_sums *sum = ud;
    sum->blocks += b->used;
    sum->allocated += b->used ? b->size : 0;
    sum->free_blocks += !b->used;
    sum->free += b->used ? 0 : b->size;
    if (!b->used && b->size > sum->largest)
        sum->largest = b->size;
    return true;
}

/* In the table on top: how often each level of the machine missed. */
static void heap_set_misses(lua_State *L, const heap *h)
{
    const hardware *hw = &h->port.m->hw;
    lua_newtable(L);
    for (unsigned i = 0; i < hw->mmu->chain_count[0]; i++)
        lua_set_integer(L, hw->mmu->chain[0][i]->cfg.name, h->n.misses.tlb[i]);
    lua_setfield(L, -2, "tlb_misses");
    lua_newtable(L);
    for (unsigned i = 0; i < hw->cache_count; i++) {
        const cache *c = hardware_cache(hw, hw->cpu, i);
        if (c != hw->l1i || c == hw->l1d)
            lua_set_integer(L, c->cfg.name, h->n.misses.cache[i]);
    }
    lua_setfield(L, -2, "cache_misses");
}

/* h:_stats() -> counters, and sums over the blocks */
static int heap_stats_(lua_State *L)
{
    lua_heap *box = heap_enter_call(L);
    const heap *h = box->h;
    heap_sums sum = {0};
    vm_error e;
    box->busy = true;
    vm_status s = heap_walk(box->h, heap_sum, &sum, &e);
    box->busy = false;
    if (s != VM_OK)
        return heap_look_failed(L, box, &e);
    lua_createtable(L, 0, 32);
#define X(field, name, unit, doc) lua_set_integer(L, name, h->n.field);
    HEAP_COUNTERS(X)
#undef X
    lua_set_integer(L, "payload", h->n.payload);
    lua_set_integer(L, "payload_peak", h->n.payload_peak);
    lua_set_integer(L, "bytes", port_size(&h->port));
    lua_set_integer(L, "bytes_peak", h->n.bytes_peak);
    lua_set_integer(L, "loads", h->port.loads);
    lua_set_integer(L, "stores", h->port.stores);
    lua_set_integer(L, "grows", h->port.grows);
    lua_set_integer(L, "blocks", sum.blocks);
    lua_set_integer(L, "allocated", sum.allocated);
    lua_set_integer(L, "free_blocks", sum.free_blocks);
    lua_set_integer(L, "free", sum.free);
    lua_set_integer(L, "largest_free", sum.largest);
    if (h->port.m) {
        lua_set_integer(L, "pages", port_touched(&h->port));
        heap_set_misses(L, h);
    }
    return heap_told(L, box, 1);
}

/* h:_loss() -> { name = bytes }, with `bytes` and `payload` */
static int heap_loss_(lua_State *L)
{
    lua_heap *box = heap_enter_call(L);
    heap_loss l;
    vm_error e;
    box->busy = true;
    vm_status s = heap_loss_now(box->h, &l, &e);
    box->busy = false;
    if (s != VM_OK)
        return heap_look_failed(L, box, &e);
    lua_createtable(L, 0, 12);
#define X(field, doc) lua_set_integer(L, #field, l.field);
    HEAP_LOSS(X)
#undef X
    lua_set_integer(L, "bytes", l.bytes);
    lua_set_integer(L, "payload", l.payload);
    return heap_told(L, box, 1);
}

/* Members of lists, as heap_list has blocks. */
typedef struct heap_members {
    struct heap_member_row {
        uint64_t address;
        unsigned list;
    } * row; /* NULL: only count */
    size_t count, room;
} heap_members;

static bool heap_members_add(void *ud, unsigned list, uint64_t payload)
{
    heap_members *l = ud;
    if (l->row && l->count == l->room)
        return false;
    if (l->row)
        l->row[l->count] = (struct heap_member_row){payload, list};
    l->count++;
    return true;
}

static vm_status heap_members_walk(lua_heap *box, heap_members *l, vm_error *e)
{
    l->room = l->count;
    l->count = 0;
    box->busy = true;
    vm_status s = heap_lists(box->h, heap_members_add, l, e);
    box->busy = false;
    return s;
}

/* h:lists() -> list of { list = its number, address, ... }: those that have blocks */
static int heap_lists_(lua_State *L)
{
    lua_heap *box = heap_enter_call(L);
    heap_members l = {0};
    vm_error e;
    if (heap_members_walk(box, &l, &e) != VM_OK)
        return heap_look_failed(L, box, &e);
    l.row = lua_newuserdatauv(L, l.count ? l.count * sizeof *l.row : 1, 0);
    if (heap_members_walk(box, &l, &e) != VM_OK)
        return heap_look_failed(L, box, &e);
    lua_newtable(L);
    lua_pushnil(L); /* the list at work */
    lua_Integer count = 0, members = 0;
    for (size_t i = 0; i < l.count; i++) {
        if (i == 0 || l.row[i].list != l.row[i - 1].list) {
            lua_newtable(L);
            lua_set_integer(L, "list", l.row[i].list);
            lua_replace(L, -2);
            lua_pushvalue(L, -1);
            lua_rawseti(L, -3, ++count);
            members = 0;
        }
        lua_pushinteger(L, (lua_Integer)l.row[i].address);
        lua_rawseti(L, -2, ++members);
    }
    lua_pop(L, 1);
    return heap_told(L, box, 1);
}

/* h:size() -> bytes of the heap, areas beside it included */
static int heap_size_(lua_State *L)
{
    lua_pushinteger(L, (lua_Integer)port_size(&heap_check_open(L)->h->port));
    return 1;
}

/* h:name() -> of its allocator */
static int heap_name_(lua_State *L)
{
    lua_pushstring(L, heap_check_open(L)->h->cls->name);
    return 1;
}

void lua_add_heap_looks(lua_State *L)
{
    static const luaL_Reg methods[] = {{"blocks", heap_blocks_}, {"check", heap_check_},
                                       {"_stats", heap_stats_},  {"_loss", heap_loss_},
                                       {"lists", heap_lists_},   {"name", heap_name_},
                                       {"size", heap_size_},     {NULL, NULL}};
    luaL_setfuncs(L, methods, 0);
}
