/* lua_sweep.c: many runs over one reference string, advancing in steps while
 * threads work.
 *
 *    core.study_sweep(refs, { { policy =, frames = }, ... }, threads, seed, dirty) -> sweep
 *       sweep:step(ms) -> references served over all runs, ended?
 *       sweep:results() -> list of { misses, cold, evictions, writebacks }
 *    core.processors() -> how many the host has for this process */
#include "lua_study.h"

#include <unistd.h>

#include "../study/sweep.h"
#include "callback.h"

#define STUDY_SWEEP_NAME "vmem.paging.sweep"

typedef struct lua_sweep {
    study_sweep
        *sweep; /* NULL: closed; user values: its reference string, its jobs' memory, policies */
    study_job *jobs;
    size_t count;
    bool ended;
    lua_study_owner owner;
} lua_sweep;

static lua_sweep *sweep_check(lua_State *L)
{
    lua_sweep *s = luaL_checkudata(L, 1, STUDY_SWEEP_NAME);
    luaL_argcheck(L, s->sweep, 1, "the comparison is closed");
    return s;
}

static int sweep_close(lua_State *L)
{
    lua_sweep *s = luaL_checkudata(L, 1, STUDY_SWEEP_NAME);
    if (s->owner.busy)
        return luaL_error(L, "%s closes the comparison that it serves", s->owner.busy);
    study_sweep_free(s->sweep);
    s->sweep = NULL;
    lua_pushnil(L);
    lua_setiuservalue(L, 1, 3);
    return 0;
}

static int sweep_open(lua_State *L)
{
    study_refs *refs = lua_study_refs(L, 1);
    luaL_checktype(L, 2, LUA_TTABLE);
    lua_Integer threads = luaL_checkinteger(L, 3);
    luaL_argcheck(L, threads >= 0 && threads <= 1024, 3, "threads: 0 to 1024");
    uint64_t seed = (uint64_t)luaL_checkinteger(L, 4);
    bool dirty = lua_toboolean(L, 5);
    vm_host host = lua_host(L);
    vm_error e;
    lua_settop(L, 5);
    lua_sweep *s = lua_newuserdatauv(L, sizeof *s, 3);
    memset(s, 0, sizeof *s);
    luaL_setmetatable(L, STUDY_SWEEP_NAME);
    lua_pushvalue(L, 1);
    lua_setiuservalue(L, 6, 1);
    s->count = lua_rawlen(L, 2);
    s->jobs = lua_newuserdatauv(L, s->count * sizeof *s->jobs + 1, 0);
    lua_setiuservalue(L, 6, 2);
    memset(s->jobs, 0, s->count * sizeof *s->jobs);
    lua_study_own(L, &s->owner, 6, 3); /* 7 */
    for (size_t i = 0; i < s->count; i++) {
        lua_rawgeti(L, 2, (lua_Integer)i + 1);
        luaL_checktype(L, -1, LUA_TTABLE);
        lua_study_policy(L, -1, refs, &s->owner, 7, (lua_Integer)i, &s->jobs[i].policy);
        lua_getfield(L, -1, "policy");
        s->jobs[i].here = lua_policy_is(L, -1);
        lua_pop(L, 1);
        lua_getfield(L, -1, "frames");
        lua_Integer n = luaL_checkinteger(L, -1);
        luaL_argcheck(L, n > 0, 2, "frames: 1 or more");
        s->jobs[i].frames = (uint64_t)n;
        lua_pop(L, 2);
    }
    callback_enter(L);
    if (study_sweep_new(&host, refs, s->jobs, s->count, (unsigned)threads, seed, dirty, &s->sweep,
                        &e) != VM_OK)
        return lua_raise(L, &e);
    lua_settop(L, 6);
    return 1;
}

static int sweep_step(lua_State *L)
{
    lua_sweep *s = sweep_check(L);
    lua_Integer ms = luaL_checkinteger(L, 2);
    luaL_argcheck(L, ms >= 0 && ms <= 3600000, 2, "milliseconds, an hour at most");
    if (s->owner.busy)
        return luaL_error(L, "%s steps the comparison that it serves", s->owner.busy);
    vm_error e;
    uint64_t served;
    callback_enter(L);
    s->owner.busy = "a step";
    vm_status st = study_sweep_step(s->sweep, (unsigned)ms, &served, &s->ended, &e);
    st = lua_study_settle(&s->owner, st, &e);
    if (st != VM_OK)
        return callback_raise(L, &e);
    lua_pushinteger(L, (lua_Integer)served);
    lua_pushboolean(L, s->ended);
    return 2;
}

static int sweep_results(lua_State *L)
{
    lua_sweep *s = sweep_check(L);
    lua_createtable(L, (int)s->count, 0);
    for (size_t i = 0; i < s->count; i++) {
        lua_study_counts(L, &s->jobs[i].counts);
        lua_rawseti(L, -2, (lua_Integer)i + 1);
    }
    return 1;
}

static int sweep_processors(lua_State *L)
{
    long n = sysconf(_SC_NPROCESSORS_ONLN);
    lua_pushinteger(L, n > 0 ? n : 1);
    return 1;
}

void lua_open_sweep(lua_State *L)
{
    static const luaL_Reg methods[] = {
        {"step", sweep_step}, {"results", sweep_results}, {"close", sweep_close}, {NULL, NULL}};
    static const luaL_Reg functions[] = {
        {"study_sweep", sweep_open}, {"processors", sweep_processors}, {NULL, NULL}};
    luaL_setfuncs(L, functions, 0);
    lua_class(L, STUDY_SWEEP_NAME, methods, sweep_close);
}
