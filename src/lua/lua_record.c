/* lua_record.c: traces of running programs. Which emulator and which plugin is
 * found in lua/vmem/record.lua; here a program becomes a trace object.
 */
#include "lua_trace.h"

#include "../trace/live.h"

#include <unistd.h>

#define RECORD_ARGS 4096

/* core.live(via, { argument, ... }, fd_at, program, in, out, ring) -> trace
 * `via`: "qemu" or "lackey"; fd_at and program are indices into the arguments. */
static int record_live(lua_State *L)
{
    static const char *const vias[] = {"qemu", "lackey", NULL}; /* by live_via */
    live_config cfg = {.via = (live_via)luaL_checkoption(L, 1, NULL, vias)};
    luaL_checktype(L, 2, LUA_TTABLE);
    lua_Integer fd_at = luaL_checkinteger(L, 3), program = luaL_checkinteger(L, 4);
    cfg.in = luaL_optstring(L, 5, NULL);
    cfg.out = luaL_optstring(L, 6, NULL);
    cfg.ring = (uint64_t)luaL_optinteger(L, 7, (lua_Integer)LIVE_RING_DEFAULT);
    size_t n = lua_rawlen(L, 2);
    luaL_argcheck(L, n > 0 && n < RECORD_ARGS, 2, "a program and up to 4095 arguments");
    luaL_argcheck(L, fd_at >= 1 && (size_t)fd_at <= n, 3, "no index of an argument");
    luaL_argcheck(L, program >= 1 && (size_t)program <= n, 4, "no index of an argument");
    cfg.fd_at = (size_t)fd_at - 1;
    cfg.program = (size_t)program - 1;
    /* The strings stay alive in the table while live_new copies them. */
    const char **argv = lua_newuserdatauv(L, (n + 1) * sizeof *argv, 0);
    for (size_t i = 0; i < n; i++) {
        if (lua_rawgeti(L, 2, (lua_Integer)i + 1) != LUA_TSTRING)
            return luaL_error(L, "argument %d of the program is a %s, not a string", (int)i + 1,
                              luaL_typename(L, -1));
        argv[i] = lua_tostring(L, -1);
        lua_pop(L, 1);
    }
    argv[n] = NULL;
    cfg.argv = argv;
    vm_host host = lua_host(L);
    trace_source *s;
    vm_error e;
    if (live_new(&host, &cfg, &s, &e) != VM_OK)
        return lua_failed(L, &e);
    lua_trace_push(L, s);
    return 1;
}

/* core.live_status(trace) -> exit status, signal; nothing while it runs */
static int record_status(lua_State *L)
{
    int status, sig;
    if (!live_ended(lua_trace_source(L, 1), &status, &sig))
        return 0;
    lua_pushinteger(L, status);
    if (sig == 0)
        return 1;
    lua_pushinteger(L, sig);
    return 2;
}

/* core.executable(path) -> can this process run the file? */
static int record_executable(lua_State *L)
{
    lua_pushboolean(L, access(luaL_checkstring(L, 1), X_OK) == 0);
    return 1;
}

void lua_open_record(lua_State *L)
{
    static const luaL_Reg functions[] = {{"live", record_live},
                                         {"live_status", record_status},
                                         {"executable", record_executable},
                                         {NULL, NULL}};
    luaL_setfuncs(L, functions, 0);
}
