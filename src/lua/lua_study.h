/* lua_study.h: reference strings in Lua, for the other parts of the binding. */
#ifndef VM_LUA_STUDY_H
#define VM_LUA_STUDY_H

#include "util.h"

#include "../study/refs.h"

/* The reference string at `idx`, whole; raises an argument error where there is
 * something else, or one that is still being read. Still the object's: who keeps
 * it keeps the object. */
study_refs *lua_study_refs(lua_State *L, int idx);

#endif
