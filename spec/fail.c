/* fail.c: the module "fail", with which specs make allocations fail.
 *
 * It gives the core an allocator of its own (the registry's "vmem.host", see
 * src/lua/util.h) that counts what the core holds, and can refuse the n-th
 * allocation. Separately it can refuse Lua's own from the n-th on: Lua asks
 * again after an emergency collection, so that one refusal would change nothing.
 *
 *    fail.run(who, n, f, ...) -> refused?, pcall's results of f(...)
 *    fail.held() -> bytes and blocks that the core holds, wrong sizes
 *
 * `who` is "core" or "lua"; n = 0 refuses nothing. A wrong size is a block given
 * back with another size than it was asked for, which a lua_Alloc must not see.
 * As with a lua_Alloc, what does not grow a block never fails.
 */
#include <lauxlib.h>
#include <lua.h>
#include <stdlib.h>
#include <string.h>

#include "../src/base/base.h"

#define FAIL_HEAD 16 /* bytes before each block: its size, and the alignment of malloc */

typedef struct fail_state {
    vm_host host;
    lua_Alloc lua; /* while Lua's allocations are counted: its own allocator */
    void *lua_ud;
    lua_Integer core_left, lua_left; /* how many more succeed, and one; 0: all */
    int refused;
    size_t bytes, blocks, wrong;
} fail_state;

static void *fail_core(void *ud, void *p, size_t osize, size_t nsize)
{
    fail_state *f = ud;
    char *raw = p ? (char *)p - FAIL_HEAD : NULL;
    size_t old = 0;
    if (raw)
        memcpy(&old, raw, sizeof old);
    if (old != (p ? osize : 0))
        f->wrong++;
    if (nsize == 0) {
        f->bytes -= old;
        f->blocks -= raw != NULL;
        free(raw);
        return NULL;
    }
    if (nsize > old && f->core_left > 0 && --f->core_left == 0) {
        f->refused = 1;
        return NULL;
    }
    char *q = nsize <= SIZE_MAX - FAIL_HEAD ? realloc(raw, nsize + FAIL_HEAD) : NULL;
    if (!q)
        return NULL;
    memcpy(q, &nsize, sizeof nsize);
    f->bytes += nsize - old;
    f->blocks += raw == NULL;
    return q + FAIL_HEAD;
}

static void *fail_lua(void *ud, void *p, size_t osize, size_t nsize)
{
    fail_state *f = ud;
    if (nsize > (p ? osize : 0) && f->lua_left > 0) {
        if (f->lua_left == 1) {
            f->refused = 1;
            return NULL;
        }
        f->lua_left--;
    }
    return f->lua(f->lua_ud, p, osize, nsize);
}

static int fail_run(lua_State *L)
{
    static const char *const who[] = {"core", "lua", NULL};
    fail_state *f = lua_touserdata(L, lua_upvalueindex(1));
    int lua = luaL_checkoption(L, 1, NULL, who);
    lua_Integer n = luaL_checkinteger(L, 2);
    luaL_checkany(L, 3);
    luaL_checkstack(L, 8, NULL);
    f->refused = 0;
    f->core_left = lua ? 0 : n;
    f->lua_left = lua ? n : 0;
    f->lua = lua_getallocf(L, &f->lua_ud);
    lua_setallocf(L, fail_lua, f);
    int status = lua_pcall(L, lua_gettop(L) - 3, LUA_MULTRET, 0);
    lua_setallocf(L, f->lua, f->lua_ud);
    f->core_left = f->lua_left = 0;
    lua_pushboolean(L, f->refused);
    lua_replace(L, 1);
    lua_pushboolean(L, status == LUA_OK);
    lua_replace(L, 2);
    return lua_gettop(L);
}

static int fail_held(lua_State *L)
{
    const fail_state *f = lua_touserdata(L, lua_upvalueindex(1));
    lua_pushinteger(L, (lua_Integer)f->bytes);
    lua_pushinteger(L, (lua_Integer)f->blocks);
    lua_pushinteger(L, (lua_Integer)f->wrong);
    return 3;
}

#if defined(__GNUC__)
__attribute__((visibility("default")))
#endif
int luaopen_fail(lua_State *L);

/* The state is the registry's until Lua closes: machines may live that long. */
int luaopen_fail(lua_State *L)
{
    static const luaL_Reg functions[] = {{"run", fail_run}, {"held", fail_held}, {NULL, NULL}};
    luaL_newlibtable(L, functions);
    fail_state *f = lua_newuserdatauv(L, sizeof *f, 0);
    memset(f, 0, sizeof *f);
    f->host.alloc = fail_core;
    f->host.ud = f;
    lua_pushvalue(L, -1);
    lua_setfield(L, LUA_REGISTRYINDEX, "fail.state");
    lua_pushlightuserdata(L, &f->host);
    lua_setfield(L, LUA_REGISTRYINDEX, "vmem.host");
    luaL_setfuncs(L, functions, 1);
    return 1;
}
