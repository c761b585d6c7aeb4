/* lua_locality.c: what a reference string tells of its program.
 *
 *    core.study_reuse(refs, windows) -> packed string: a row for each window and one
 *       behind, of six 8-byte numbers: count and sum of gaps, ends, firsts
 *    core.study_pff(refs, threshold) -> faults, sum of resident pages, most at once
 *    core.study_windows(refs, length) -> packed string: two 4-byte numbers a window */
#include "lua_study.h"

#include "../study/locality.h"

static int locality_reuse(lua_State *L)
{
    const study_refs *refs = lua_study_refs(L, 1);
    luaL_checktype(L, 2, LUA_TTABLE);
    size_t n = lua_rawlen(L, 2);
    luaL_argcheck(L, n <= 1u << 20, 2, "at most 2^20 windows");
    uint64_t *windows = lua_newuserdatauv(L, n * sizeof *windows + 1, 0);
    for (size_t i = 0; i < n; i++) {
        lua_rawgeti(L, 2, (lua_Integer)i + 1);
        windows[i] = (uint64_t)luaL_checkinteger(L, -1);
        luaL_argcheck(L, windows[i] > (i ? windows[i - 1] : 0), 2, "windows ascend from 1");
        lua_pop(L, 1);
    }
    study_reuse *rows = lua_newuserdatauv(L, (n + 1) * sizeof *rows, 0);
    vm_host host = lua_host(L);
    vm_error e;
    if (study_reuse_times(&host, refs, windows, n, rows, &e) != VM_OK)
        return lua_raise(L, &e);
    lua_pushlstring(L, (const char *)rows, (n + 1) * sizeof *rows);
    return 1;
}

static int locality_pff(lua_State *L)
{
    const study_refs *refs = lua_study_refs(L, 1);
    lua_Integer threshold = luaL_checkinteger(L, 2);
    luaL_argcheck(L, threshold > 0, 2, "a threshold from 1");
    vm_host host = lua_host(L);
    vm_error e;
    study_pff p;
    if (study_pff_run(&host, refs, (uint64_t)threshold, &p, &e) != VM_OK)
        return lua_raise(L, &e);
    lua_pushinteger(L, (lua_Integer)p.faults);
    lua_pushinteger(L, (lua_Integer)p.pages);
    lua_pushinteger(L, (lua_Integer)p.most);
    return 3;
}

static int locality_windows(lua_State *L)
{
    const study_refs *refs = lua_study_refs(L, 1);
    lua_Integer length = luaL_checkinteger(L, 2);
    luaL_argcheck(L, length > 0, 2, "a window from 1");
    size_t n = refs->count / (size_t)length + (refs->count % (size_t)length != 0);
    study_window *w = lua_newuserdatauv(L, n * sizeof *w + 1, 0);
    vm_host host = lua_host(L);
    vm_error e;
    if (study_windows(&host, refs, (uint64_t)length, w, &e) != VM_OK)
        return lua_raise(L, &e);
    lua_pushlstring(L, (const char *)w, n * sizeof *w);
    return 1;
}

void lua_open_locality(lua_State *L)
{
    static const luaL_Reg functions[] = {{"study_reuse", locality_reuse},
                                         {"study_pff", locality_pff},
                                         {"study_windows", locality_windows},
                                         {NULL, NULL}};
    luaL_setfuncs(L, functions, 0);
}
