/* lua_heap.c: heaps as Lua objects.
 *
 *    core.heap_classes() -> list of { name, doc, options = list of rows }
 *    core.heap_counters(), heap_losses() -> lists of { name, unit, doc }
 *    core.heap_open(process or nil, class, { name = value }, self) -> heap; nil: over host memory;
 *        class: a name, or an object of vmem.heap.allocator, whose self begins as the last table
 *    core.heap_lua_options() -> list of rows: the options of such objects
 *
 * A heap keeps its process's handle, and so the machine, alive. Collected, it frees
 * what the host has of it; only close, by itself or by <close>, changes the process.
 */
#include "lua_allocator.h"
#include "lua_heap.h"

#include <stdio.h>

#include "../heap/loss.h"

lua_heap *heap_check_open(lua_State *L)
{
    lua_heap *box = luaL_checkudata(L, 1, LUA_HEAP);
    luaL_argcheck(L, box->h, 1, "the heap is closed");
    luaL_argcheck(L, !box->busy, 1, "the heap is busy");
    return box;
}

lua_heap *heap_enter_call(lua_State *L)
{
    lua_heap *box = heap_check_open(L);
    const lua_process *handle = box->handle;
    if (handle) {
        luaL_argcheck(L, handle->owner->m, 1, "the machine of this heap is closed");
        if (handle->owner->busy)
            luaL_argerror(L, 1,
                          lua_pushfstring(L, "the machine of this heap is busy with %s",
                                          handle->owner->busy));
        process *p = process_find(&handle->owner->m->kernel, handle->pid);
        luaL_argcheck(L, p->state == PROCESS_RUNNING, 1, "the heap's process has ended or waits");
        box->h->port.p = p;
        if (handle->owner->calls)
            callback_enter(L);
    }
    return box;
}

int heap_failed(lua_State *L, lua_heap *box, vm_status s, const vm_error *e)
{
    if (s == VM_REFUSED)
        return box->handle ? lua_tell(L, box->handle->owner, lua_failed(L, e)) : lua_failed(L, e);
    if (!box->handle)
        return callback_raise(L, e);
    heap_port *t = &box->h->port;
    return lua_raise_access(L, t->m, t->p, s, &t->info, e);
}

int heap_told(lua_State *L, const lua_heap *box, int n)
{
    return box->handle ? lua_tell(L, box->handle->owner, n) : n;
}

/* The end of a call that gives an address; 0 is nil. */
static int heap_gives(lua_State *L, lua_heap *box, vm_status s, uint64_t a, const vm_error *e)
{
    if (s != VM_OK)
        return heap_failed(L, box, s, e);
    if (a)
        lua_pushinteger(L, (lua_Integer)a);
    else
        lua_pushnil(L);
    return heap_told(L, box, 1);
}

static uint64_t heap_size_arg(lua_State *L, int idx)
{
    lua_Integer n = luaL_checkinteger(L, idx);
    luaL_argcheck(L, n >= 0, idx, "a size is 0 or more bytes");
    return (uint64_t)n;
}

static int heap_malloc_(lua_State *L)
{
    lua_heap *box = heap_enter_call(L);
    uint64_t a, n = heap_size_arg(L, 2);
    vm_error e;
    box->busy = true;
    vm_status s = heap_malloc(box->h, n, &a, &e);
    box->busy = false;
    return heap_gives(L, box, s, a, &e);
}

static int heap_calloc_(lua_State *L)
{
    lua_heap *box = heap_enter_call(L);
    uint64_t a, count = heap_size_arg(L, 2), n = heap_size_arg(L, 3);
    vm_error e;
    box->busy = true;
    vm_status s = heap_calloc(box->h, count, n, &a, &e);
    box->busy = false;
    return heap_gives(L, box, s, a, &e);
}

static int heap_memalign_(lua_State *L)
{
    lua_heap *box = heap_enter_call(L);
    uint64_t a, align = heap_size_arg(L, 2), n = heap_size_arg(L, 3);
    vm_error e;
    box->busy = true;
    vm_status s = heap_memalign(box->h, align, n, &a, &e);
    box->busy = false;
    return heap_gives(L, box, s, a, &e);
}

static int heap_realloc_(lua_State *L)
{
    lua_heap *box = heap_enter_call(L);
    uint64_t a, old = (uint64_t)luaL_optinteger(L, 2, 0), n = heap_size_arg(L, 3);
    vm_error e;
    box->busy = true;
    vm_status s = heap_realloc(box->h, old, n, &a, &e);
    box->busy = false;
    return heap_gives(L, box, s, a, &e);
}

static int heap_free_(lua_State *L)
{
    lua_heap *box = heap_enter_call(L);
    uint64_t a = (uint64_t)luaL_optinteger(L, 2, 0);
    vm_error e;
    box->busy = true;
    vm_status s = heap_free(box->h, a, &e);
    box->busy = false;
    return s == VM_OK ? heap_told(L, box, 0) : heap_failed(L, box, s, &e);
}

static int heap_usable_size_(lua_State *L)
{
    lua_heap *box = heap_enter_call(L);
    uint64_t n;
    vm_error e;
    box->busy = true;
    vm_status s = heap_usable_size(box->h, (uint64_t)luaL_optinteger(L, 2, 0), &n, &e);
    box->busy = false;
    if (s != VM_OK)
        return heap_failed(L, box, s, &e);
    lua_pushinteger(L, (lua_Integer)n);
    return heap_told(L, box, 1);
}

/* h:_replay(packed heap_ops, ids) -> true: a trace, in one call */
static int heap_replay_(lua_State *L)
{
    lua_heap *box = heap_enter_call(L);
    size_t bytes, done;
    const char *packed = luaL_checklstring(L, 2, &bytes);
    lua_Integer ids = luaL_checkinteger(L, 3);
    luaL_argcheck(L, bytes % sizeof(heap_op) == 0, 2, "not a whole number of operations");
    luaL_argcheck(L, ids >= 0 && ids < INT32_MAX, 3, "no such number of ids");
    heap_op *ops = lua_newuserdatauv(L, bytes + 1, 0); /* aligned */
    memcpy(ops, packed, bytes);
    uint64_t *block = lua_newuserdatauv(L, ((size_t)ids + 1) * sizeof *block, 0);
    memset(block, 0, ((size_t)ids + 1) * sizeof *block);
    vm_error e;
    box->busy = true;
    vm_status s = heap_replay(box->h, ops, bytes / sizeof *ops, block, (uint32_t)ids, &done, &e);
    box->busy = false;
    if (s != VM_OK)
        return heap_failed(L, box, s, &e);
    lua_pushboolean(L, true);
    return heap_told(L, box, 1);
}

/* --- what it is --------------------------------------------------------------------- */

/* h:range(address) -> the heap's first address, and the first behind it; or those of the
 * area beside it that the address is in */
static int heap_range_(lua_State *L)
{
    const heap_port *t = &heap_check_open(L)->h->port;
    const port_area *a = port_area_of(t, (uint64_t)luaL_optinteger(L, 2, 0));
    lua_pushinteger(L, (lua_Integer)(a ? a->start : t->base));
    lua_pushinteger(L, (lua_Integer)(a ? a->start + a->size : t->top));
    return 2;
}

static int heap_process_(lua_State *L)
{
    heap_check_open(L);
    lua_getiuservalue(L, 1, 1);
    return 1;
}

static int heap_tostring(lua_State *L)
{
    const lua_heap *box = luaL_checkudata(L, 1, LUA_HEAP);
    char text[160];
    if (!box->h)
        snprintf(text, sizeof text, "vmem.heap: closed");
    else
        snprintf(text, sizeof text,
                 "vmem.heap %s: %llu block%s allocated, %llu bytes of payload in %llu of heap",
                 box->h->cls->name, (unsigned long long)box->h->live.count,
                 box->h->live.count == 1 ? "" : "s", (unsigned long long)box->h->n.payload,
                 (unsigned long long)port_size(&box->h->port));
    lua_pushstring(L, text);
    return 1;
}

/* --- open and close ------------------------------------------------------------------ */

static int heap_gc(lua_State *L)
{
    lua_heap *box = luaL_checkudata(L, 1, LUA_HEAP);
    if (box->h)
        box->h->port.m = NULL; /* the process keeps what it has */
    heap_close(box->h);
    box->h = NULL;
    return 0;
}

static int heap_close_(lua_State *L)
{
    lua_heap *box = luaL_checkudata(L, 1, LUA_HEAP);
    luaL_argcheck(L, !box->busy, 1, "the heap is busy");
    const lua_process *handle = box->handle;
    if (!box->h)
        return 0;
    if (!handle || !handle->owner->m || handle->owner->busy)
        return heap_gc(L);
    box->h->port.p = process_find(&handle->owner->m->kernel, handle->pid);
    heap_close(box->h);
    box->h = NULL;
    return heap_told(L, box, 0);
}

static void heap_take_options(lua_State *L, int idx, const heap_class *cls, heap_config *cfg)
{
    vm_error e = {0};
    luaL_checktype(L, idx, LUA_TTABLE);
    for (lua_pushnil(L); lua_next(L, idx); lua_pop(L, 1)) {
        if (lua_type(L, -2) != LUA_TSTRING)
            luaL_error(L, "heap %s: an option has a name", cls->name);
        const char *name = lua_tostring(L, -2);
        vm_status s;
        if (lua_isinteger(L, -1))
            s = heap_set(cls, cfg, name, lua_tointeger(L, -1), &e);
        else if (lua_type(L, -1) == LUA_TSTRING)
            s = heap_set_name(cls, cfg, name, lua_tostring(L, -1), &e);
        else
            s = vm_fail(&e, VM_INVALID, "heap %s: %s is a %s, but takes a number or a name",
                        cls->name, name, luaL_typename(L, -1));
        if (s != VM_OK)
            lua_raise(L, &e);
    }
}

/* The class at index 2; what it needs is pushed, or nil. */
static const heap_class *heap_take_class(lua_State *L, const lua_process *handle)
{
    if (lua_allocator_is(L, 2)) {
        luaL_checktype(L, 4, LUA_TTABLE);
        return &lua_allocator_push(L, 2, 4, handle ? &handle->owner->busy : NULL)->cls;
    }
    const heap_class *cls = heap_find(luaL_checkstring(L, 2));
    if (!cls)
        luaL_error(L, "there is no allocator %s", lua_tostring(L, 2));
    lua_pushnil(L);
    return cls;
}

static int heap_open_(lua_State *L)
{
    process *p = NULL;
    lua_settop(L, 4);
    lua_process *handle = lua_isnil(L, 1) ? NULL : lua_check_running(L, 1, &p);
    machine *m = handle ? handle->owner->m : NULL;
    const heap_class *cls = heap_take_class(L, handle); /* 5 */
    heap_config cfg;
    heap_config_init(cls, &cfg);
    heap_take_options(L, 3, cls, &cfg);
    vm_host host = lua_host(L);
    vm_error e;
    fault_info info;
    lua_heap *box = lua_newuserdatauv(L, sizeof *box, 2);
    memset(box, 0, sizeof *box);
    luaL_setmetatable(L, LUA_HEAP);
    box->handle = handle;
    lua_pushvalue(L, 1);
    lua_setiuservalue(L, -2, 1);
    lua_pushvalue(L, 5); /* its class, if that is its own */
    lua_setiuservalue(L, -2, 2);
    vm_status s = heap_open(&host, cls, &cfg, m, p, &box->h, &info, &e);
    if (s == VM_OK)
        return heap_told(L, box, 1);
    if (s == VM_REFUSED)
        return lua_failed(L, &e);
    if (!handle)
        return callback_raise(L, &e);
    return lua_raise_access(L, m, p, s, &info, &e);
}

/* --- what there is ------------------------------------------------------------------- */

static void heap_push_option(lua_State *L, const heap_option *o)
{
    lua_createtable(L, 0, 6);
    lua_set_string(L, "name", o->name);
    lua_set_string(L, "doc", o->doc);
    if (o->choices) {
        lua_set_string(L, "default", o->choices[o->value]);
        lua_set_names(L, "choices", o->choices);
        return;
    }
    lua_set_integer(L, "default", (uint64_t)o->value);
    lua_set_integer(L, "min", (uint64_t)o->min);
    lua_set_integer(L, "max", (uint64_t)o->max);
}

static void heap_push_options(lua_State *L, const heap_option *o)
{
    lua_newtable(L);
    for (lua_Integer k = 1; o->name; o++, k++) {
        heap_push_option(L, o);
        lua_rawseti(L, -2, k);
    }
}

static int heap_list_lua_options(lua_State *L)
{
    heap_push_options(L, lua_allocator_options);
    return 1;
}

static int heap_list_classes(lua_State *L)
{
    lua_newtable(L);
    for (lua_Integer i = 0; heap_classes[i]; i++) {
        const heap_class *cls = heap_classes[i];
        lua_createtable(L, 0, 3);
        lua_set_string(L, "name", cls->name);
        lua_set_string(L, "doc", cls->doc);
        heap_push_options(L, cls->options);
        lua_setfield(L, -2, "options");
        lua_rawseti(L, -2, i + 1);
    }
    return 1;
}

/* A list of { name, unit, doc }. */
static int heap_push_rows(lua_State *L, const char *const (*rows)[3], size_t count)
{
    static const char *const keys[] = {"name", "unit", "doc"};
    lua_newtable(L);
    for (size_t i = 0; i < count; i++) {
        lua_createtable(L, 0, 3);
        for (size_t k = 0; k < 3; k++)
            lua_set_string(L, keys[k], rows[i][k]);
        lua_rawseti(L, -2, (lua_Integer)i + 1);
    }
    return 1;
}

static int heap_list_counters(lua_State *L)
{
    static const char *const rows[][3] = {
#define X(field, name, unit, doc) {name, unit, doc},
        HEAP_COUNTERS(X)
#undef X
    };
    return heap_push_rows(L, rows, sizeof rows / sizeof *rows);
}

static int heap_list_losses(lua_State *L)
{
    static const char *const rows[][3] = {
#define X(field, doc) {#field, "bytes", doc},
        HEAP_LOSS(X)
#undef X
    };
    return heap_push_rows(L, rows, sizeof rows / sizeof *rows);
}

void lua_open_heap(lua_State *L)
{
    static const luaL_Reg methods[] = {
        {"malloc", heap_malloc_},
        {"calloc", heap_calloc_},
        {"realloc", heap_realloc_},
        {"memalign", heap_memalign_},
        {"free", heap_free_},
        {"usable_size", heap_usable_size_},
        {"range", heap_range_},
        {"_replay", heap_replay_},
        {"process", heap_process_},
        {"close", heap_close_},
        {NULL, NULL},
    };
    static const luaL_Reg functions[] = {
        {"heap_classes", heap_list_classes}, {"heap_counters", heap_list_counters},
        {"heap_losses", heap_list_losses},   {"heap_lua_options", heap_list_lua_options},
        {"heap_open", heap_open_},           {NULL, NULL}};
    luaL_setfuncs(L, functions, 0);
    lua_open_allocator(L);
    luaL_newmetatable(L, LUA_HEAP);
    lua_pushcfunction(L, heap_gc);
    lua_setfield(L, -2, "__gc");
    lua_pushcfunction(L, heap_close_);
    lua_setfield(L, -2, "__close");
    lua_pushcfunction(L, heap_tostring);
    lua_setfield(L, -2, "__tostring");
    luaL_newlib(L, methods);
    lua_add_heap_looks(L);
    lua_pushvalue(L, -1);
    lua_setfield(L, -3, "__index");
    lua_setfield(L, -3, "Heap"); /* where Lua adds its methods */
    lua_pop(L, 1);
}
