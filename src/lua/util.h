/* util.h: what the files of the binding share: raising errors, results of
 * failed calls, and the allocator of the Lua state as a vm_host.
 *
 * Conventions
 *   - Wrong use of the API raises an error (luaL_argerror); a failed
 *     simulated call or a failure of the host returns nil, message, code.
 *   - Only files in this folder include lua.h, and only callback.c calls from
 *     C into Lua, by lua_pcall.
 */
#ifndef VM_LUA_UTIL_H
#define VM_LUA_UTIL_H

#include <lauxlib.h>
#include <lua.h>

#include "../base/base.h"

/* The core's host memory: the state's own allocator, or the vm_host to which a
 * host of Lua points in the registry under this name (light userdata; it must
 * live as long as the state). */
#define LUA_HOST "vmem.host"
vm_host lua_host(lua_State *L);

/* Raise `e` as an error with the position of the caller: bad use, damaged
 * files in the midst of a replay, memory. Never returns. */
int lua_raise(lua_State *L, const vm_error *e);

/* Push nil, message, code and return 3: code is errno's name ("ENOENT"), or
 * "EFORMAT" where the file's content is wrong. VM_INVALID and VM_NOMEM raise. */
int lua_failed(lua_State *L, const vm_error *e);

/* Keep the value at idx under the address `of`, weakly, in the registry's table of `key`,
 * so that C that knows the address finds it: rawgetp of the table, which is made here. */
void lua_remember(lua_State *L, const void *key, const void *of, int idx);

/* Set a field of the table on the top. */
void lua_set_integer(lua_State *L, const char *name, uint64_t v);
void lua_set_string(lua_State *L, const char *name, const char *v);
void lua_set_boolean(lua_State *L, const char *name, bool v);
/* A list, of names with NULL behind the last. */
void lua_set_names(lua_State *L, const char *name, const char *const *names);

/* Make a class of userdata with these methods, which `gc` closes and collects. */
void lua_class(lua_State *L, const char *name, const luaL_Reg *methods, lua_CFunction gc);

/* What a component's x_check says: push true, or nil and the first invariant broken. */
int lua_checked(lua_State *L, const char *broken);

/* errno's name: "ENOMEM"; "E<number>" where it has none here. */
const char *errno_name(int sys);

/* Each part of the binding adds its functions to the table on the stack's top. */
void lua_open_trace(lua_State *L);
void lua_open_generate(lua_State *L);
void lua_open_record(lua_State *L);
void lua_open_machine(lua_State *L);
void lua_open_study(lua_State *L);
void lua_open_policy(lua_State *L); /* the metatable of policies in Lua is core.Policy */
void lua_open_heap(lua_State *L);
void lua_open_heap_record(lua_State *L);
void lua_open_detect(lua_State *L);
void lua_open_gc(lua_State *L);

#endif
