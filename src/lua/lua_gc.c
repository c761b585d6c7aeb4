/* lua_gc.c: collectors as Lua objects; lua/vmem/gc.lua is what people see of them.
 *
 *    core.gc_open(heap, { name = value }) -> collector
 *    core.gc_counters() -> list of { name, unit, doc }
 *
 * A collector keeps its heap's object alive, and that the process and the machine. All
 * that a collection takes from Lua is read before it begins, and all that it gives has
 * its place by then: so it runs from end to end without Lua.
 */
#include "callback.h"
#include "lua_heap.h"

#include <stdio.h>

#include "../heap/gc.h"

#define LUA_GC "vmem.gc"

typedef struct lua_collector {
    collector *g; /* NULL: closed */
} lua_collector;

/* The open collector at index 1, whose heap takes its place; arguments begin at 3. */
static collector *gc_enter(lua_State *L, lua_heap **box)
{
    const lua_collector *self = luaL_checkudata(L, 1, LUA_GC);
    luaL_argcheck(L, self->g, 1, "the collector is closed");
    lua_getiuservalue(L, 1, 1);
    lua_insert(L, 1);
    *box = heap_enter_call(L);
    gc_use(self->g, (*box)->h->port.p);
    return self->g;
}

static int gc_failed(lua_State *L, collector *g, lua_heap *box, vm_status s, const vm_error *e)
{
    if (s == VM_FAULT && box->h->port.status != VM_FAULT)
        box->h->port.info = g->info;
    return heap_failed(L, box, s, e);
}

/* The list at idx as numbers, in memory of Lua's, which stays on the stack. */
static uint64_t *gc_numbers(lua_State *L, int idx, size_t *n)
{
    luaL_checktype(L, idx, LUA_TTABLE);
    *n = (size_t)lua_rawlen(L, idx);
    uint64_t *x = lua_newuserdatauv(L, (*n + 1) * sizeof *x, 0);
    for (size_t i = 0; i < *n; i++) {
        lua_rawgeti(L, idx, (lua_Integer)i + 1);
        int whole;
        x[i] = (uint64_t)lua_tointegerx(L, -1, &whole);
        if (!whole)
            luaL_argerror(L, idx, "a list of addresses");
        lua_pop(L, 1);
    }
    return x;
}

static void gc_put_numbers(lua_State *L, int idx, const uint64_t *x, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        lua_pushinteger(L, (lua_Integer)x[i]);
        lua_rawseti(L, idx, (lua_Integer)i + 1);
    }
}

/* c:layout(bytes, offsets of pointers) -> its address */
static int gc_layout_(lua_State *L)
{
    lua_heap *box;
    collector *g = gc_enter(L, &box);
    lua_Integer size = luaL_checkinteger(L, 3);
    size_t n;
    uint64_t layout, *offsets = gc_numbers(L, 4, &n);
    vm_error e;
    luaL_argcheck(L, size > 0, 3, "a layout has 1 byte or more");
    box->busy = true;
    vm_status s = gc_layout(g, (uint64_t)size, offsets, n, &layout, &e);
    box->busy = false;
    if (s != VM_OK)
        return gc_failed(L, g, box, s, &e);
    lua_pushinteger(L, (lua_Integer)layout);
    return heap_told(L, box, 1);
}

/* c:new(layout or 0, bytes, urgent) -> address, or false: collect first */
static int gc_new_(lua_State *L)
{
    lua_heap *box;
    collector *g = gc_enter(L, &box);
    uint64_t a, layout = (uint64_t)luaL_checkinteger(L, 3);
    lua_Integer n = luaL_checkinteger(L, 4);
    vm_error e;
    bool due = false;
    luaL_argcheck(L, n > 0, 4, "an object has 1 byte or more");
    box->busy = true;
    vm_status s = lua_toboolean(L, 5) ? VM_OK : gc_due(g, (uint64_t)n, &due, &e);
    if (s == VM_OK && !due)
        s = gc_new(g, layout, (uint64_t)n, &a, &e);
    box->busy = false;
    if (s != VM_OK)
        return gc_failed(L, g, box, s, &e);
    if (due)
        lua_pushboolean(L, false);
    else
        lua_pushinteger(L, (lua_Integer)a);
    return heap_told(L, box, 1);
}

/* c:collect(values, ranges, weak, final) -> list of true (due) and false, as final; the
 * lists but ranges hold the new addresses then. */
static int gc_collect_(lua_State *L)
{
    lua_heap *box;
    collector *g = gc_enter(L, &box);
    gc_roots r = {0};
    vm_error e;
    lua_settop(L, 6);
    r.values = gc_numbers(L, 3, &r.value_count);
    r.ranges = gc_numbers(L, 4, &r.range_count);
    r.range_count /= 2;
    r.weak = gc_numbers(L, 5, &r.weak_count);
    r.final = gc_numbers(L, 6, &r.final_count);
    r.due = lua_newuserdatauv(L, r.final_count + 1, 0);
    memset(r.due, 0, r.final_count + 1);
    lua_createtable(L, r.final_count < INT32_MAX ? (int)r.final_count : 0, 0);
    box->busy = true;
    vm_status s = gc_collect(g, &r, &e);
    box->busy = false;
    if (s != VM_OK)
        return gc_failed(L, g, box, s, &e);
    gc_put_numbers(L, 3, r.values, r.value_count);
    gc_put_numbers(L, 5, r.weak, r.weak_count);
    gc_put_numbers(L, 6, r.final, r.final_count);
    for (size_t i = 0; i < r.final_count; i++) {
        lua_pushboolean(L, r.due[i]);
        lua_rawseti(L, -2, (lua_Integer)i + 1);
    }
    return 1;
}

/* c:tell(): listeners hear what a collection caused, once handles are what they are now */
static int gc_tell(lua_State *L)
{
    lua_heap *box;
    gc_enter(L, &box);
    return heap_told(L, box, 0);
}

/* c:finish(): what waits to be swept */
static int gc_finish_(lua_State *L)
{
    lua_heap *box;
    collector *g = gc_enter(L, &box);
    vm_error e;
    box->busy = true;
    vm_status s = gc_finish(g, &e);
    box->busy = false;
    return s == VM_OK ? heap_told(L, box, 0) : gc_failed(L, g, box, s, &e);
}

static int gc_load_(lua_State *L)
{
    lua_heap *box;
    collector *g = gc_enter(L, &box);
    uint64_t x, a = (uint64_t)luaL_checkinteger(L, 3);
    vm_error e;
    box->busy = true;
    vm_status s = gc_load(g, a, &x, &e);
    box->busy = false;
    if (s != VM_OK)
        return gc_failed(L, g, box, s, &e);
    lua_pushinteger(L, (lua_Integer)x);
    return heap_told(L, box, 1);
}

static int gc_store_(lua_State *L)
{
    lua_heap *box;
    collector *g = gc_enter(L, &box);
    uint64_t a = (uint64_t)luaL_checkinteger(L, 3), x = (uint64_t)luaL_checkinteger(L, 4);
    vm_error e;
    box->busy = true;
    vm_status s = gc_store(g, a, x, &e);
    box->busy = false;
    return s == VM_OK ? heap_told(L, box, 0) : gc_failed(L, g, box, s, &e);
}

/* --- looks ------------------------------------------------------------------------------ */

static void gc_push_counters(lua_State *L, const gc_counters *n)
{
    lua_createtable(L, 0, 16);
#define X(field, name, unit, doc) lua_set_integer(L, name, n->field);
    GC_COUNTERS(X)
#undef X
}

/* c:stats() -> of all collections, of the last */
static int gc_stats_(lua_State *L)
{
    const lua_collector *self = luaL_checkudata(L, 1, LUA_GC);
    luaL_argcheck(L, self->g, 1, "the collector is closed");
    const gc_counters sums = gc_sums(self->g);
    gc_push_counters(L, &sums);
    gc_push_counters(L, &self->g->last);
    return 2;
}

typedef struct gc_node_list {
    struct {
        uint64_t a, size;
    } * node; /* NULL: only count */
    size_t count, room;
} gc_node_list;

static bool gc_list_node(void *ud, uint64_t a, uint64_t size)
{
    gc_node_list *l = ud;
    if (l->node && l->count == l->room)
        return false;
    if (l->node) {
        l->node[l->count].a = a;
        l->node[l->count].size = size;
    }
    l->count++;
    return true;
}

typedef struct gc_edge_list {
    const gc_node_list *nodes;
    struct {
        size_t from, to;
        uint64_t at;
    } * edge; /* NULL: only count */
    size_t count, room;
    size_t from;
    bool interior;
} gc_edge_list;

static bool gc_list_word(void *ud, uint64_t at, uint64_t value)
{
    gc_edge_list *l = ud;
    size_t lo = 0, hi = l->nodes->count;
    while (lo < hi) {
        const size_t mid = lo + (hi - lo) / 2;
        if (l->nodes->node[mid].a <= value)
            lo = mid + 1;
        else
            hi = mid;
    }
    if (!lo || (l->interior ? value - l->nodes->node[lo - 1].a >= l->nodes->node[lo - 1].size
                            : value != l->nodes->node[lo - 1].a))
        return true;
    if (l->edge && l->count == l->room)
        return false;
    if (l->edge) {
        l->edge[l->count].from = l->from;
        l->edge[l->count].to = lo - 1;
        l->edge[l->count].at = at;
    }
    l->count++;
    return true;
}

static vm_status gc_list_edges(collector *g, lua_heap *box, gc_edge_list *l, vm_error *e)
{
    vm_status s = VM_OK;
    l->room = l->count;
    l->count = 0;
    box->busy = true;
    for (l->from = 0; l->from < l->nodes->count && s == VM_OK; l->from++)
        s = gc_words(g, l->nodes->node[l->from].a, gc_list_word, l, e);
    box->busy = false;
    return s;
}

static vm_status gc_list_nodes(collector *g, lua_heap *box, gc_node_list *l, vm_error *e)
{
    l->room = l->count;
    l->count = 0;
    box->busy = true;
    vm_status s = gc_objects(g, gc_list_node, l, e);
    box->busy = false;
    return s;
}

/* What the words of ranges lead to: `at` is the word's address. */
static vm_status gc_list_roots(collector *g, lua_heap *box, gc_edge_list *l, const uint64_t *ranges,
                               size_t n, vm_error *e)
{
    vm_status s = VM_OK;
    l->room = l->count;
    l->count = 0;
    box->busy = true;
    for (size_t i = 0; i + 1 < n && s == VM_OK; i += 2)
        s = gc_range_words(g, ranges[i], ranges[i + 1], gc_list_word, l, e);
    box->busy = false;
    return s;
}

static void gc_push_edges(lua_State *L, const gc_edge_list *edges)
{
    lua_createtable(L, edges->count < INT32_MAX ? (int)edges->count : 0, 0);
    for (size_t i = 0; i < edges->count; i++) {
        lua_createtable(L, 0, 3);
        lua_set_integer(L, "from", edges->edge[i].from + 1);
        lua_set_integer(L, "to", edges->edge[i].to + 1);
        lua_set_integer(L, "offset", edges->edge[i].at);
        lua_rawseti(L, -2, (lua_Integer)i + 1);
    }
}

static void gc_push_nodes(lua_State *L, const gc_node_list *nodes)
{
    lua_createtable(L, nodes->count < INT32_MAX ? (int)nodes->count : 0, 0);
    for (size_t i = 0; i < nodes->count; i++) {
        lua_createtable(L, 0, 4);
        lua_set_integer(L, "address", nodes->node[i].a);
        lua_set_integer(L, "size", nodes->node[i].size);
        lua_rawseti(L, -2, (lua_Integer)i + 1);
    }
}

/* c:graph(ranges) -> list of { address, size }, list of { from, to, offset }: nodes by
 * number; the same of the words of ranges, offset their addresses */
static int gc_graph_(lua_State *L)
{
    lua_heap *box;
    collector *g = gc_enter(L, &box);
    size_t range_count;
    const uint64_t *ranges = gc_numbers(L, 3, &range_count);
    gc_node_list nodes = {0};
    gc_edge_list edges = {.nodes = &nodes, .interior = g->cfg.interior}, roots = edges;
    vm_error e;
    vm_status s = gc_list_nodes(g, box, &nodes, &e);
    if (s == VM_OK) {
        nodes.node = lua_newuserdatauv(L, (nodes.count + 1) * sizeof *nodes.node, 0);
        s = gc_list_nodes(g, box, &nodes, &e);
    }
    if (s == VM_OK)
        s = gc_list_edges(g, box, &edges, &e);
    if (s == VM_OK)
        s = gc_list_roots(g, box, &roots, ranges, range_count, &e);
    if (s == VM_OK) {
        edges.edge = lua_newuserdatauv(L, (edges.count + 1) * sizeof *edges.edge, 0);
        roots.edge = lua_newuserdatauv(L, (roots.count + 1) * sizeof *roots.edge, 0);
        s = gc_list_edges(g, box, &edges, &e);
    }
    if (s == VM_OK)
        s = gc_list_roots(g, box, &roots, ranges, range_count, &e);
    if (s != VM_OK) { /* a look, not the program's */
        if (box->handle)
            lua_deliver(L, box->h->port.m);
        return callback_raise(L, &e);
    }
    gc_push_nodes(L, &nodes);
    gc_push_edges(L, &edges);
    gc_push_edges(L, &roots);
    return heap_told(L, box, 3);
}

static int gc_tostring(lua_State *L)
{
    static const char *const modes[] = {"precise", "conservative", "copying"};
    const lua_collector *self = luaL_checkudata(L, 1, LUA_GC);
    if (self->g)
        lua_pushfstring(L, "vmem.gc %s", modes[self->g->cfg.mode]);
    else
        lua_pushstring(L, "vmem.gc: closed");
    return 1;
}

/* --- open and close --------------------------------------------------------------------- */

static int gc_gc(lua_State *L)
{
    lua_collector *self = luaL_checkudata(L, 1, LUA_GC);
    gc_close(self->g, true); /* the process keeps what it has */
    self->g = NULL;
    return 0;
}

static int gc_close_(lua_State *L)
{
    lua_collector *self = luaL_checkudata(L, 1, LUA_GC);
    if (!self->g)
        return 0;
    lua_getiuservalue(L, 1, 1);
    const lua_heap *box = luaL_checkudata(L, -1, LUA_HEAP);
    luaL_argcheck(L, !box->busy, 1, "the collector is busy");
    const lua_process *handle = box->handle;
    const bool keep = !handle || !handle->owner->m || handle->owner->busy;
    if (!keep)
        gc_use(self->g, process_find(&handle->owner->m->kernel, handle->pid));
    gc_close(self->g, keep);
    self->g = NULL;
    return keep ? 0 : heap_told(L, box, 0);
}

static const struct gc_field {
    const char *name;
    size_t offset;
} gc_fields[] = {
#define FIELD(name)                                                                                \
    {                                                                                              \
#name, offsetof(gc_config, name)                                                           \
    }
    FIELD(mode),    FIELD(marks), FIELD(lookup), FIELD(sweep),     FIELD(interior),
    FIELD(pointer), FIELD(stack), FIELD(space),  FIELD(allocated), FIELD(free),
#undef FIELD
};

/* Options are numbers here: Lua has checked them, and made names indices. */
static int gc_open_(lua_State *L)
{
    gc_config cfg;
    vm_error e;
    lua_settop(L, 2);
    luaL_checktype(L, 2, LUA_TTABLE);
    lua_heap *box = heap_enter_call(L);
    for (size_t i = 0; i < sizeof gc_fields / sizeof *gc_fields; i++) {
        lua_getfield(L, 2, gc_fields[i].name);
        int64_t x = luaL_checkinteger(L, -1);
        memcpy((char *)&cfg + gc_fields[i].offset, &x, sizeof x);
        lua_pop(L, 1);
    }
    vm_host host = lua_host(L);
    lua_collector *self = lua_newuserdatauv(L, sizeof *self, 1);
    self->g = NULL;
    luaL_setmetatable(L, LUA_GC);
    lua_pushvalue(L, 1);
    lua_setiuservalue(L, -2, 1);
    box->busy = true;
    vm_status s = gc_open(&host, box->h, &cfg, &self->g, &e);
    box->busy = false;
    return s == VM_OK ? heap_told(L, box, 1) : heap_failed(L, box, s, &e);
}

static int gc_list_counters(lua_State *L)
{
    static const char *const rows[][3] = {
#define X(field, name, unit, doc) {name, unit, doc},
        GC_COUNTERS(X)
#undef X
    };
    lua_newtable(L);
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        lua_createtable(L, 0, 3);
        lua_set_string(L, "name", rows[i][0]);
        lua_set_string(L, "unit", rows[i][1]);
        lua_set_string(L, "doc", rows[i][2]);
        lua_rawseti(L, -2, (lua_Integer)i + 1);
    }
    return 1;
}

void lua_open_gc(lua_State *L)
{
    static const luaL_Reg methods[] = {
        {"layout", gc_layout_}, {"new", gc_new_},     {"collect", gc_collect_},
        {"finish", gc_finish_}, {"load", gc_load_},   {"store", gc_store_},
        {"tell", gc_tell},      {"stats", gc_stats_}, {"graph", gc_graph_},
        {"close", gc_close_},   {NULL, NULL},
    };
    static const luaL_Reg functions[] = {
        {"gc_open", gc_open_}, {"gc_counters", gc_list_counters}, {NULL, NULL}};
    luaL_setfuncs(L, functions, 0);
    lua_class(L, LUA_GC, methods, gc_gc);
    luaL_getmetatable(L, LUA_GC);
    lua_pushcfunction(L, gc_tostring);
    lua_setfield(L, -2, "__tostring");
    lua_pop(L, 1);
}
