/* lua_heap_record.c: recorded allocations, and files of text that may be compressed.
 *
 *    core.heap_record{ argv = , env = , library = , stdin = , stdout = , of = , limit = }
 *       -> packed heap_ops, { ids =, peak =, foreign =, more =, status =, signal = }
 *    core.read_text(path, most) -> text, decompressed; more bytes than `most` are an error
 *    core.write_text(path, text) -> true; compressed as the name ends
 */
#include "util.h"

#include <errno.h>

#include "../heap/record.h"
#include "../trace/pack.h"
#include "../trace/stream.h"

#define LUA_RECORDING  "vmem.heap.recording"
#define RECORDING_ARGS 4096
#define READ_TEXT_ROOM 65536

static int recording_gc(lua_State *L)
{
    heap_recording_close(luaL_checkudata(L, 1, LUA_RECORDING));
    return 0;
}

/* A field of the table at 1: a list of strings, as C has it. It lives as long as the
 * userdata that is pushed; the strings, as the table. */
static const char *const *recording_list(lua_State *L, const char *field)
{
    luaL_argcheck(L, lua_getfield(L, 1, field) == LUA_TTABLE, 1, field);
    int at = lua_gettop(L);
    size_t n = lua_rawlen(L, at);
    luaL_argcheck(L, n < RECORDING_ARGS, 1, "too many arguments");
    const char **list = lua_newuserdatauv(L, (n + 1) * sizeof *list, 0);
    for (size_t i = 0; i < n; i++) {
        if (lua_rawgeti(L, at, (lua_Integer)i + 1) != LUA_TSTRING)
            luaL_error(L, "%s %d is a %s, not a string", field, (int)i + 1, luaL_typename(L, -1));
        list[i] = lua_tostring(L, -1);
        lua_pop(L, 1);
    }
    list[n] = NULL;
    return list;
}

static const char *recording_text(lua_State *L, const char *field)
{
    lua_getfield(L, 1, field);
    return luaL_optstring(L, -1, NULL);
}

static int recording_make(lua_State *L)
{
    luaL_checktype(L, 1, LUA_TTABLE);
    lua_settop(L, 1);
    heap_record_config cfg = {0};
    cfg.argv = recording_list(L, "argv");
    cfg.env = recording_list(L, "env");
    luaL_argcheck(L, cfg.argv[0], 1, "there is no program");
    cfg.library = recording_text(L, "library");
    cfg.in = recording_text(L, "stdin");
    cfg.out = recording_text(L, "stdout");
    cfg.of = recording_text(L, "of");
    lua_getfield(L, 1, "limit");
    cfg.limit = (uint64_t)luaL_optinteger(L, -1, 0);
    vm_host host = lua_host(L);
    vm_error e;
    heap_recording *r = lua_newuserdatauv(L, sizeof *r, 0);
    *r = (heap_recording){0};
    luaL_setmetatable(L, LUA_RECORDING);
    if (heap_record(&host, &cfg, r, &e) != VM_OK)
        return lua_failed(L, &e);
    lua_pushlstring(L, (const char *)r->ops, r->count * sizeof *r->ops);
    lua_createtable(L, 0, 6);
    lua_set_integer(L, "ids", r->ids);
    lua_set_integer(L, "peak", r->peak);
    lua_set_integer(L, "foreign", r->foreign);
    lua_set_boolean(L, "more", r->more);
    lua_pushinteger(L, r->status);
    lua_setfield(L, -2, "status");
    if (r->sig)
        lua_set_integer(L, "signal", (uint64_t)r->sig);
    heap_recording_close(r);
    return 2;
}

/* --- files ---------------------------------------------------------------------------- */

static int stream_box_gc(lua_State *L)
{
    stream **box = luaL_checkudata(L, 1, "vmem.stream");
    stream_close(*box);
    *box = NULL;
    return 0;
}

static int stream_read_text(lua_State *L)
{
    const char *path = luaL_checkstring(L, 1);
    uint64_t most = (uint64_t)luaL_checkinteger(L, 2);
    vm_host host = lua_host(L);
    vm_error e;
    luaL_Buffer b;
    size_t got = READ_TEXT_ROOM;
    stream **box = lua_newuserdatauv(L, sizeof *box, 0);
    *box = NULL;
    luaL_setmetatable(L, "vmem.stream");
    if (stream_open(&host, path, box, &e) != VM_OK)
        return lua_failed(L, &e);
    luaL_buffinit(L, &b);
    while (got == READ_TEXT_ROOM) {
        char *to = luaL_prepbuffsize(&b, READ_TEXT_ROOM);
        vm_status s = stream_read(*box, to, READ_TEXT_ROOM, &got, &e);
        if (s == VM_OK && stream_offset(*box) > most)
            s = vm_fail_sys(&e, VM_IO, EFBIG, "%s: more than %llu MiB of text", path,
                            (unsigned long long)(most >> 20));
        if (s != VM_OK) {
            luaL_pushresult(&b);
            return lua_failed(L, &e);
        }
        luaL_addsize(&b, got);
    }
    luaL_pushresult(&b);
    stream_close(*box);
    *box = NULL;
    return 1;
}

static int stream_write_text(lua_State *L)
{
    size_t n;
    const char *path = luaL_checkstring(L, 1), *text = luaL_checklstring(L, 2, &n);
    vm_host host = lua_host(L);
    vm_error e;
    if (pack_file(&host, path, text, n, &e) != VM_OK)
        return lua_failed(L, &e);
    lua_pushboolean(L, true);
    return 1;
}

void lua_open_heap_record(lua_State *L)
{
    static const luaL_Reg functions[] = {{"heap_record", recording_make},
                                         {"read_text", stream_read_text},
                                         {"write_text", stream_write_text},
                                         {NULL, NULL}};
    luaL_setfuncs(L, functions, 0);
    luaL_newmetatable(L, LUA_RECORDING);
    lua_pushcfunction(L, recording_gc);
    lua_setfield(L, -2, "__gc");
    lua_pop(L, 1);
    luaL_newmetatable(L, "vmem.stream");
    lua_pushcfunction(L, stream_box_gc);
    lua_setfield(L, -2, "__gc");
    lua_pop(L, 1);
}
