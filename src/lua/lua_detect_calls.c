/* lua_detect_calls.c: what a program does under a detector: blocks, frames, accesses. */
#include "lua_detect.h"

/* --- blocks ------------------------------------------------------------------------------- */

/* The attached heap at idx, or the first; nobody closes it during the call. */
static lua_heap *detect_check_heap(lua_State *L, lua_detect *box, int idx)
{
    if (lua_isnoneornil(L, idx)) {
        lua_push_detect_state(L, 1, "heaps");
        lua_rawgeti(L, -1, 1);
        luaL_argcheck(L, !lua_isnil(L, -1), 1, "the detector has no heap");
        lua_replace(L, -2);
        idx = lua_gettop(L);
    }
    lua_heap *h = luaL_checkudata(L, idx, LUA_HEAP);
    luaL_argcheck(L, h->h, idx, "the heap is closed");
    luaL_argcheck(L, !h->busy, idx, "the heap is busy");
    luaL_argcheck(L, h->h->guard == &box->d->guard, idx,
                  "the detector is not attached to this heap");
    h->h->port.p = box->d->p;
    return h;
}

static unsigned detect_check_size(lua_State *L, int idx)
{
    lua_Integer n = luaL_optinteger(L, idx, 8);
    luaL_argcheck(L, n == 1 || n == 2 || n == 4 || n == 8, idx, "a size is 1, 2, 4 or 8 bytes");
    return (unsigned)n;
}

/* A failure that came from a heap: its port has the fault. */
static int detect_heap_done(lua_State *L, lua_detect *box, const lua_heap *h, vm_status s,
                            const vm_error *e, int n)
{
    if (s == VM_FAULT && h->h->port.status == VM_FAULT)
        box->d->info = h->h->port.info;
    return lua_detect_done(L, box, s, e, n);
}

/* The block that was given, or nil; its size is a value, too. */
static int detect_allocate(lua_State *L, detect_family family, int size, int align, int heap_idx)
{
    lua_detect *box = lua_check_detect(L, 1);
    const tracked n = lua_check_tracked(L, size);
    const lua_Integer at = align ? luaL_checkinteger(L, align) : 0;
    luaL_argcheck(L, at >= 0 && (at & (at - 1)) == 0, 2, "an alignment is a power of two");
    lua_heap *h = detect_check_heap(L, box, heap_idx);
    detect_request r = {.h = h->h, .family = family, .n = n.x};
    if ((uint64_t)at > (uint64_t)h->h->cfg.align)
        r.align = (uint64_t)at;
    tracked *out = lua_push_tracked(L, 1, NULL);
    vm_error e;
    box->busy = h->busy = true;
    vm_status s = detect_used(box->d, USE_SIZE, &n, "malloc", &e);
    if (s == VM_OK)
        s = detect_malloc(box->d, &r, out, &e);
    box->busy = h->busy = false;
    if (s == VM_OK && !out->x)
        lua_pushnil(L);
    return detect_heap_done(L, box, h, s, &e, 1);
}

/* d:malloc(n[, heap]), d:new(n[, heap]), d:new_array(n[, heap]) -> value or nil */
static int detect_malloc_(lua_State *L) { return detect_allocate(L, FAMILY_MALLOC, 2, 0, 3); }
static int detect_new_(lua_State *L) { return detect_allocate(L, FAMILY_NEW, 2, 0, 3); }
static int detect_new_array_(lua_State *L) { return detect_allocate(L, FAMILY_NEW_ARRAY, 2, 0, 3); }
/* d:memalign(align, n[, heap]) */
static int detect_memalign_(lua_State *L) { return detect_allocate(L, FAMILY_MALLOC, 3, 2, 4); }

/* d:calloc(count, size[, heap]) */
static int detect_calloc_(lua_State *L)
{
    lua_detect *box = lua_check_detect(L, 1);
    const uint64_t count = lua_check_count(L, 2), size = lua_check_count(L, 3);
    lua_heap *h = detect_check_heap(L, box, 4);
    const detect_request r = {.h = h->h, .n = count * size, .item = size, .zero = true};
    tracked *out = lua_push_tracked(L, 1, NULL);
    vm_error e;
    box->busy = h->busy = true;
    vm_status s = detect_malloc(box->d, &r, out, &e);
    box->busy = h->busy = false;
    if (s == VM_OK && !out->x)
        lua_pushnil(L);
    return detect_heap_done(L, box, h, s, &e, 1);
}

/* d:realloc(value, n[, heap]) */
static int detect_realloc_(lua_State *L)
{
    lua_detect *box = lua_check_detect(L, 1);
    const tracked a = lua_isnil(L, 2) ? tracked_plain(0) : lua_check_tracked(L, 2);
    const uint64_t n = lua_check_count(L, 3);
    lua_heap *h = detect_check_heap(L, box, 4);
    tracked *out = lua_push_tracked(L, 1, NULL);
    vm_error e;
    box->busy = h->busy = true;
    vm_status s = detect_realloc(box->d, h->h, &a, n, out, &e);
    box->busy = h->busy = false;
    if (s == VM_OK && !out->x)
        lua_pushnil(L);
    return detect_heap_done(L, box, h, s, &e, 1);
}

static int detect_give_back(lua_State *L, detect_family family)
{
    lua_detect *box = lua_check_detect(L, 1);
    const tracked a = lua_isnoneornil(L, 2) ? tracked_plain(0) : lua_check_tracked(L, 2);
    lua_heap *h = detect_check_heap(L, box, 3);
    vm_error e;
    box->busy = h->busy = true;
    vm_status s = detect_free(box->d, h->h, family, &a, &e);
    box->busy = h->busy = false;
    return detect_heap_done(L, box, h, s, &e, 0);
}

/* d:free(value[, heap]), d:delete(value[, heap]), d:delete_array(value[, heap]) */
static int detect_free_(lua_State *L) { return detect_give_back(L, FAMILY_MALLOC); }
static int detect_delete_(lua_State *L) { return detect_give_back(L, FAMILY_NEW); }
static int detect_delete_array_(lua_State *L) { return detect_give_back(L, FAMILY_NEW_ARRAY); }

/* d:_enter(name) -> id */
static int detect_enter_(lua_State *L)
{
    lua_detect *box = lua_check_detect(L, 1);
    const char *name = luaL_checkstring(L, 2);
    uint64_t id = 0;
    vm_error e;
    vm_status s = detect_enter(box->d, name, &id, &e);
    lua_pushinteger(L, (lua_Integer)id);
    return lua_detect_done(L, box, s, &e, 1);
}

typedef vm_status detect_variable(detect *d, const char *name, uint64_t size, tracked *out,
                                  vm_error *e);

static int detect_declare(lua_State *L, detect_variable *make)
{
    lua_detect *box = lua_check_detect(L, 1);
    const char *name = luaL_checkstring(L, 2);
    const uint64_t size = lua_check_count(L, 3);
    tracked *out = lua_push_tracked(L, 1, NULL);
    vm_error e;
    vm_status s = make(box->d, name, size, out, &e);
    return lua_detect_done(L, box, s, &e, 1);
}

/* d:_local(name, size), d:global(name, size) -> value */
static int detect_local_(lua_State *L) { return detect_declare(L, detect_local); }
static int detect_global_(lua_State *L) { return detect_declare(L, detect_global); }

/* d:_leave(id) */
static int detect_leave_(lua_State *L)
{
    lua_detect *box = lua_check_detect(L, 1);
    vm_error e;
    vm_status s = detect_leave(box->d, (uint64_t)luaL_checkinteger(L, 2), &e);
    return lua_detect_done(L, box, s, &e, 0);
}

/* d:_has(id) -> has this frame not been left? */
static int detect_has_(lua_State *L)
{
    const lua_detect *box = luaL_checkudata(L, 1, LUA_DETECTOR);
    const uint64_t id = (uint64_t)luaL_checkinteger(L, 2);
    lua_pushboolean(L, box->d && box->handle->owner->m && box->d->space &&
                           detect_has_frame(box->d, id));
    return 1;
}

/* d:_return(id, value) */
static int detect_return_(lua_State *L)
{
    lua_detect *box = lua_check_detect(L, 1);
    const uint64_t id = (uint64_t)luaL_checkinteger(L, 2);
    const tracked t = lua_check_tracked(L, 3);
    vm_error e;
    box->busy = true;
    vm_status s = detect_return(box->d, id, &t, &e);
    box->busy = false;
    return lua_detect_done(L, box, s, &e, 0);
}

/* d:_mapping(name, address, size) -> value */
static int detect_mapping_(lua_State *L)
{
    lua_detect *box = lua_check_detect(L, 1);
    const char *name = luaL_checkstring(L, 2);
    const uint64_t a = (uint64_t)luaL_checkinteger(L, 3), n = (uint64_t)luaL_checkinteger(L, 4);
    tracked *out = lua_push_tracked(L, 1, NULL);
    vm_error e;
    vm_status s = detect_mapping(box->d, name, a, n, out, &e);
    return lua_detect_done(L, box, s, &e, 1);
}

/* --- accesses ------------------------------------------------------------------------------ */

/* d:load(address[, size]) -> value; d:fetch(pc[, size]) */
static int detect_load_as(lua_State *L, access_kind kind)
{
    lua_detect *box = lua_check_detect(L, 1);
    const tracked a = lua_check_tracked(L, 2);
    const unsigned n = detect_check_size(L, 3);
    tracked *out = lua_push_tracked(L, 1, NULL);
    vm_error e;
    box->busy = true;
    vm_status s = detect_load(box->d, &a, n, kind, out, &e);
    box->busy = false;
    return lua_detect_done(L, box, s, &e, 1);
}
static int detect_load_(lua_State *L) { return detect_load_as(L, ACCESS_LOAD); }
static int detect_fetch_(lua_State *L) { return detect_load_as(L, ACCESS_FETCH); }

/* d:store(address, value[, size]) */
static int detect_store_(lua_State *L)
{
    lua_detect *box = lua_check_detect(L, 1);
    const tracked a = lua_check_tracked(L, 2), x = lua_check_tracked(L, 3);
    const unsigned n = detect_check_size(L, 4);
    vm_error e;
    box->busy = true;
    vm_status s = detect_store(box->d, &a, n, &x, &e);
    box->busy = false;
    return lua_detect_done(L, box, s, &e, 0);
}

/* d:read(address, n) -> bytes */
static int detect_read_(lua_State *L)
{
    lua_detect *box = lua_check_detect(L, 1);
    const tracked a = lua_check_tracked(L, 2);
    const uint64_t n = lua_check_count(L, 3);
    vm_error e;
    luaL_Buffer b;
    char *to = luaL_buffinitsize(L, &b, (size_t)n);
    box->busy = true;
    vm_status s = detect_read(box->d, &a, to, n, &e);
    box->busy = false;
    luaL_pushresultsize(&b, (size_t)n);
    return lua_detect_done(L, box, s, &e, 1);
}

/* d:write(address, bytes) */
static int detect_write_(lua_State *L)
{
    lua_detect *box = lua_check_detect(L, 1);
    const tracked a = lua_check_tracked(L, 2);
    size_t n;
    const char *from = luaL_checklstring(L, 3, &n);
    vm_error e;
    box->busy = true;
    vm_status s = detect_write(box->d, &a, from, n, &e);
    box->busy = false;
    return lua_detect_done(L, box, s, &e, 0);
}

static int detect_copy_as(lua_State *L, bool move)
{
    lua_detect *box = lua_check_detect(L, 1);
    const tracked to = lua_check_tracked(L, 2), from = lua_check_tracked(L, 3);
    const uint64_t n = lua_check_count(L, 4);
    vm_error e;
    box->busy = true;
    vm_status s = detect_copy(box->d, &to, &from, n, move, &e);
    box->busy = false;
    return lua_detect_done(L, box, s, &e, 0);
}

/* d:copy(to, from, n), d:move(to, from, n) */
static int detect_copy_(lua_State *L) { return detect_copy_as(L, false); }
static int detect_move_(lua_State *L) { return detect_copy_as(L, true); }

/* d:_use(value, how, name) */
static int detect_use_(lua_State *L)
{
    lua_detect *box = lua_check_detect(L, 1);
    const tracked t = lua_check_tracked(L, 2);
    const int use = luaL_checkoption(L, 3, NULL, detect_use_names);
    const char *name = luaL_optstring(L, 4, NULL);
    vm_error e;
    box->busy = true;
    vm_status s = detect_used(box->d, (detect_use)use, &t, name, &e);
    box->busy = false;
    return lua_detect_done(L, box, s, &e, 0);
}

/* d:_buffer(address, n, name, out): a system call reads these bytes, or writes them */
static int detect_buffer_(lua_State *L)
{
    lua_detect *box = lua_check_detect(L, 1);
    const tracked a = lua_check_tracked(L, 2);
    const uint64_t n = lua_check_count(L, 3);
    const char *name = luaL_checkstring(L, 4);
    const bool out = lua_toboolean(L, 5);
    vm_error e;
    box->busy = true;
    vm_status s = detect_check(box->d, &a, n, out ? ACCESS_STORE : ACCESS_LOAD, &e);
    if (s == VM_OK && !out)
        s = detect_check_defined(box->d, &a, n, USE_SYSCALL, name, &e);
    box->busy = false;
    if (s == VM_OK && out && n <= UINT64_MAX - a.x)
        shadow_define(&box->d->shadow, a.x, a.x + n);
    return lua_detect_done(L, box, s, &e, 0);
}

void lua_open_detect_calls(lua_State *L)
{
    static const luaL_Reg methods[] = {
        {"malloc", detect_malloc_},
        {"calloc", detect_calloc_},
        {"realloc", detect_realloc_},
        {"memalign", detect_memalign_},
        {"free", detect_free_},
        {"new", detect_new_},
        {"delete", detect_delete_},
        {"new_array", detect_new_array_},
        {"delete_array", detect_delete_array_},
        {"global", detect_global_},
        {"load", detect_load_},
        {"fetch", detect_fetch_},
        {"store", detect_store_},
        {"read", detect_read_},
        {"write", detect_write_},
        {"copy", detect_copy_},
        {"move", detect_move_},
        {"_enter", detect_enter_},
        {"_local", detect_local_},
        {"_has", detect_has_},
        {"_leave", detect_leave_},
        {"_return", detect_return_},
        {"_mapping", detect_mapping_},
        {"_use", detect_use_},
        {"_buffer", detect_buffer_},
        {NULL, NULL},
    };
    luaL_setfuncs(L, methods, 0);
}
