/* lua_curve.c: misses at every size in one pass, advancing in steps.
 *
 *    core.study_curves() -> list of { policy, doc }
 *    core.study_curve(refs, policy) -> curve, or nil: that policy has no such pass
 *       curve:step(n) -> references served in all, ended?
 *       curve:misses() -> packed string, 4 bytes a size from 0 on; once, at the end */
#include "lua_study.h"

#include "../study/curve.h"

#define STUDY_CURVE_NAME "vmem.paging.curve"

typedef struct lua_curve {
    study_curve *curve; /* NULL: closed; user value 1 is its reference string */
} lua_curve;

static int curve_close(lua_State *L)
{
    lua_curve *c = luaL_checkudata(L, 1, STUDY_CURVE_NAME);
    study_curve_free(c->curve);
    c->curve = NULL;
    return 0;
}

static study_curve *curve_check(lua_State *L)
{
    lua_curve *c = luaL_checkudata(L, 1, STUDY_CURVE_NAME);
    luaL_argcheck(L, c->curve, 1, "the curve is closed");
    return c->curve;
}

static int curve_open(lua_State *L)
{
    study_refs *refs = lua_study_refs(L, 1);
    const char *name = luaL_checkstring(L, 2);
    const study_curve_class *cls = NULL;
    for (size_t i = 0; study_curve_classes[i]; i++)
        if (strcmp(study_curve_classes[i]->policy, name) == 0)
            cls = study_curve_classes[i];
    if (!cls)
        return 0;
    vm_host host = lua_host(L);
    vm_error e;
    lua_curve *c = lua_newuserdatauv(L, sizeof *c, 1);
    c->curve = NULL;
    luaL_setmetatable(L, STUDY_CURVE_NAME);
    lua_pushvalue(L, 1);
    lua_setiuservalue(L, -2, 1);
    if (cls->future && study_refs_next(refs, &e) != VM_OK)
        return lua_raise(L, &e);
    if (study_curve_new(&host, cls, refs, &c->curve, &e) != VM_OK)
        return lua_raise(L, &e);
    return 1;
}

static int curve_step(lua_State *L)
{
    study_curve *c = curve_check(L);
    lua_Integer n = luaL_checkinteger(L, 2);
    luaL_argcheck(L, n > 0, 2, "a step is 1 reference or more");
    size_t left = c->refs->count - c->at;
    study_curve_to(c, c->at + ((uint64_t)n < left ? (size_t)n : left));
    lua_pushinteger(L, (lua_Integer)c->at);
    lua_pushboolean(L, c->at == c->refs->count);
    return 2;
}

static int curve_misses(lua_State *L)
{
    study_curve *c = curve_check(L);
    luaL_argcheck(L, c->at == c->refs->count, 1, "the pass has not ended");
    study_curve_finish(c);
    lua_pushlstring(L, (const char *)c->hits, (c->refs->pages + 1) * sizeof *c->hits);
    return 1;
}

static int curve_list(lua_State *L)
{
    lua_newtable(L);
    for (lua_Integer i = 0; study_curve_classes[i]; i++) {
        lua_createtable(L, 0, 2);
        lua_set_string(L, "policy", study_curve_classes[i]->policy);
        lua_set_string(L, "doc", study_curve_classes[i]->doc);
        lua_rawseti(L, -2, i + 1);
    }
    return 1;
}

void lua_open_curve(lua_State *L)
{
    static const luaL_Reg methods[] = {
        {"step", curve_step}, {"misses", curve_misses}, {"close", curve_close}, {NULL, NULL}};
    static const luaL_Reg functions[] = {
        {"study_curve", curve_open}, {"study_curves", curve_list}, {NULL, NULL}};
    luaL_setfuncs(L, functions, 0);
    lua_class(L, STUDY_CURVE_NAME, methods, curve_close);
}
