/* lua_trace_make.c: traces in memory, from tables of Lua. */
#include "lua_trace.h"

#include "../trace/event.h"
#include "callback.h"

/* A scratch array that Lua collects, whatever is raised. */
static void *lua_trace_scratch(lua_State *L, size_t n, size_t item)
{
    if (n > SIZE_MAX / 2 / item)
        luaL_error(L, "too many records for one table");
    return lua_newuserdatauv(L, n ? n * item : 1, 0);
}

static int lua_trace_finish(lua_State *L, const access_record *records, size_t n,
                            const access_event *events, size_t event_count)
{
    trace_source *source;
    vm_host host = lua_host(L);
    vm_error e;
    if (trace_memory(&host, records, n, events, event_count, &source, &e) != VM_OK)
        return lua_raise(L, &e);
    lua_trace_push(L, source);
    return 1;
}

/* pages{ n, n, ..., page = 4096 } */
int lua_trace_pages(lua_State *L)
{
    luaL_checktype(L, 1, LUA_TTABLE);
    lua_getfield(L, 1, "page");
    lua_Integer page = luaL_optinteger(L, -1, 4096);
    luaL_argcheck(L, page > 0, 1, "page: a number of bytes, 1 or more");
    size_t n = lua_rawlen(L, 1);
    access_record *r = lua_trace_scratch(L, n, sizeof *r);
    for (size_t i = 0; i < n; i++) {
        int integer;
        lua_rawgeti(L, 1, (lua_Integer)i + 1);
        lua_Integer x = lua_tointegerx(L, -1, &integer);
        if (!integer || (lua_Unsigned)x > UINT64_MAX / (uint64_t)page)
            return luaL_error(L, "bad page number %s at index %d, expected a number from 0",
                              luaL_tolstring(L, -1, NULL), (int)i + 1);
        r[i] = (access_record){(uint64_t)x * (uint64_t)page, 1, 0, ACCESS_LOAD, 0};
        lua_pop(L, 1);
    }
    return lua_trace_finish(L, r, n, NULL, 0);
}

static lua_Integer lua_trace_entry(lua_State *L, size_t i, int field, lua_Integer low,
                                   lua_Integer high, lua_Integer otherwise, const char *what)
{
    int integer = 1;
    lua_rawgeti(L, -1, field);
    lua_Integer x = lua_isnil(L, -1) ? otherwise : lua_tointegerx(L, -1, &integer);
    if (!integer || x < low || x > high)
        luaL_error(L, "bad %s %s of record %d, expected %s", what, luaL_tolstring(L, -1, NULL),
                   (int)i + 1, "an integer in range");
    lua_pop(L, 1);
    return x;
}

/* The table on the top as an event; its name is anchored by that table. */
static void lua_trace_event_of(lua_State *L, size_t i, access_event *v)
{
    luaL_argcheck(L, lua_istable(L, -1), 1, "an event is {\"event\", {type = ..., ...}}");
    memset(v, 0, sizeof *v);
    lua_getfield(L, -1, "type");
    const char *type = lua_tostring(L, -1);
    const event_row *row = NULL;
    for (uint16_t k = 1; type && k < EVENT_TYPES; k++)
        if (strcmp(event_row_at(k)->name, type) == 0) {
            v->type = k;
            row = event_row_at(k);
        }
    if (!row)
        luaL_error(L, "bad type %s of the event in record %d", luaL_tolstring(L, -1, NULL),
                   (int)i + 1);
    lua_pop(L, 1);
    for (size_t k = 0; k < EVENT_ARGS && row->args[k]; k++) {
        int integer;
        lua_getfield(L, -1, row->args[k]);
        lua_Integer x = lua_isnil(L, -1) ? 0 : lua_tointegerx(L, -1, &integer);
        if (!lua_isnil(L, -1) && !integer)
            luaL_error(L, "bad '%s' of the event in record %d, expected an integer", row->args[k],
                       (int)i + 1);
        v->arg[k] = (uint64_t)x;
        lua_pop(L, 1);
    }
    lua_getfield(L, -1, "name");
    v->name = lua_type(L, -1) == LUA_TSTRING ? lua_tostring(L, -1) : NULL;
    lua_pop(L, 1);
    lua_getfield(L, -1, "task");
    v->task = (uint16_t)lua_tointeger(L, -1);
    lua_pop(L, 1);
}

/* new{ {kind, addr, size, task}, {"event", {type = ...}, 0, task}, ... } */
int lua_trace_new(lua_State *L)
{
    luaL_checktype(L, 1, LUA_TTABLE);
    lua_settop(L, 1);
    size_t n = lua_rawlen(L, 1), events = 0;
    access_record *r = lua_trace_scratch(L, n, sizeof *r);
    access_event *v = lua_trace_scratch(L, n, sizeof *v);
    for (size_t i = 0; i < n; i++) {
        if (lua_rawgeti(L, 1, (lua_Integer)i + 1) != LUA_TTABLE)
            return luaL_error(L, "record %d is no table {kind, addr, size}", (int)i + 1);
        lua_rawgeti(L, -1, 1);
        const char *name = lua_tostring(L, -1);
        size_t kind = 0;
        while (access_kind_names[kind] && (!name || strcmp(access_kind_names[kind], name) != 0))
            kind++;
        if (!access_kind_names[kind])
            return luaL_error(L,
                              "bad kind %s of record %d, expected fetch, load, store, modify or "
                              "event",
                              luaL_tolstring(L, -1, NULL), (int)i + 1);
        lua_pop(L, 1);
        memset(&r[i], 0, sizeof r[i]);
        r[i].kind = (uint8_t)kind;
        r[i].task = (uint16_t)lua_trace_entry(L, i, 4, 0, UINT16_MAX, 0, "task");
        if (kind == ACCESS_EVENT) {
            lua_rawgeti(L, -1, 2);
            lua_trace_event_of(L, i, &v[events]);
            lua_pop(L, 1);
            r[i].addr = events++;
        } else {
            r[i].addr =
                (uint64_t)lua_trace_entry(L, i, 2, LUA_MININTEGER, LUA_MAXINTEGER, 0, "address");
            r[i].size = (uint32_t)lua_trace_entry(L, i, 3, 1, UINT32_MAX, 1, "size");
        }
        lua_pop(L, 1);
    }
    return lua_trace_finish(L, r, n, v, events);
}

/* t:copy() -> the trace, held in memory */
int lua_trace_copy(lua_State *L)
{
    trace_source *from = trace_source_retain(lua_trace_source(L, 1)), *to;
    vm_host host = lua_host(L);
    vm_error e;
    callback_enter(L);
    vm_status st = trace_copy(&host, from, &to, &e);
    trace_source_release(from);
    if (st != VM_OK)
        return callback_raise(L, &e);
    lua_trace_push(L, to);
    return 1;
}
