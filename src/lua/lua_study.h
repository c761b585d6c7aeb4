/* lua_study.h: reference strings in Lua, for the other parts of the binding. */
#ifndef VM_LUA_STUDY_H
#define VM_LUA_STUDY_H

#include "lua_policy.h"

#include "../study/run.h"

/* The reference string at `idx`, whole; raises an argument error where there is
 * something else, or one that is still being read. Still the object's: who keeps
 * it keeps the object. */
study_refs *lua_study_refs(lua_State *L, int idx);

/* What a study shares with policies of Lua's: it must not move. */
typedef struct lua_study_owner {
    const char *busy; /* what it is busy with; NULL: it can be used */
    lua_policy_owner policies;
    vm_status failed;
    vm_error error;
} lua_study_owner;

/* Make the userdata at `box` keep its policies in its user value `slot`: pushes the table. */
void lua_study_own(lua_State *L, lua_study_owner *o, int box, int slot);

/* The policy in field "policy" of the table at `idx`, a text or an object of vmem.policy,
 * kept in the table at `keep` under a number; what it must know of the string is prepared. */
void lua_study_policy(lua_State *L, int idx, study_refs *refs, lua_study_owner *owner, int keep,
                      lua_Integer name, policy_choice *out);

/* After a step that ended with `s`: policies hear what they have not, and a failure that
 * nobody waited for is told. */
vm_status lua_study_settle(lua_study_owner *o, vm_status s, vm_error *e);

/* Push { misses, cold, evictions, writebacks }. */
void lua_study_counts(lua_State *L, const study_counts *c);

/* The other files of studies: each adds its functions to the table on the stack's top. */
void lua_open_curve(lua_State *L);
void lua_open_sweep(lua_State *L);
void lua_open_locality(lua_State *L);

#endif
