/* lua_trace.h: trace objects in Lua, for the other parts of the binding.
 *
 * A trace object owns one reference of a trace_source. A cursor that the
 * binding opens is owned by a guard value on the Lua stack, so that an error
 * raised in the midst of a pass leaks nothing: the guard closes its cursor when
 * it is collected, or before, by lua_trace_done.
 */
#ifndef VM_LUA_TRACE_H
#define VM_LUA_TRACE_H

#include "util.h"

#include "../trace/trace.h"

/* Push a trace object that takes over the caller's reference of `s`; if it
 * raises (no memory), `s` is released. */
void lua_trace_push(lua_State *L, trace_source *s);

/* The source of the open trace object at `idx`; raises an argument error
 * where there is something else, or a closed trace. Still the object's. */
trace_source *lua_trace_source(lua_State *L, int idx);

/* Start a fresh pass over the trace object at `idx` and push the guard that
 * owns the cursor. Raises on failure. Valid while the guard is on the stack. */
trace_cursor *lua_trace_cursor(lua_State *L, int idx);

/* Close the cursor of the guard at `idx` now; once or more often. */
void lua_trace_done(lua_State *L, int idx);

/* trace.pages{...}, trace.new{...} and t:copy(), in lua_trace_make.c. */
int lua_trace_copy(lua_State *L);
int lua_trace_pages(lua_State *L);
int lua_trace_new(lua_State *L);

#endif
