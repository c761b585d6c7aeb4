/* lua_study.h: reference strings in Lua, for the other parts of the binding. */
#ifndef VM_LUA_STUDY_H
#define VM_LUA_STUDY_H

#include "util.h"

#include "../study/run.h"

/* The reference string at `idx`, whole; raises an argument error where there is
 * something else, or one that is still being read. Still the object's: who keeps
 * it keeps the object. */
study_refs *lua_study_refs(lua_State *L, int idx);

/* A class of userdata with these methods, which `gc` closes and collects. */
void lua_study_class(lua_State *L, const char *name, const luaL_Reg *methods, lua_CFunction gc);

/* The policy in field "policy" of the table at `idx`, a text; what it must know of
 * the string is prepared. */
void lua_study_policy(lua_State *L, int idx, study_refs *refs, policy_choice *out);

/* Push { misses, cold, evictions, writebacks }. */
void lua_study_counts(lua_State *L, const study_counts *c);

/* The other files of studies: each adds its functions to the table on the stack's top. */
void lua_open_curve(lua_State *L);
void lua_open_sweep(lua_State *L);
void lua_open_locality(lua_State *L);

#endif
