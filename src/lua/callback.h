/* callback.h: calls from C into Lua, all of which are made here, by lua_pcall.
 *
 * Invariants
 *   - A call runs on the state that entered the binding last: every function of
 *     the binding under which Lua may be called back says callback_enter first,
 *     and a callback restores what it found, whatever ran beneath it.
 *   - An error of the called function becomes VM_POLICY with its text, and the
 *     error object itself is kept, for callback_raise to raise it unchanged.
 */
#ifndef VM_CALLBACK_H
#define VM_CALLBACK_H

#include "util.h"

#include "../trace/trace.h"

/* One a Lua state, in the registry. */
typedef struct callback_state {
    lua_State *L;                 /* where calls run */
    struct callback_guard *guard; /* of the innermost guarded call that runs, or NULL */
} callback_state;

/* Before anything that may call back: calls run on L from here on. */
callback_state *callback_enter(lua_State *L);

/* Raise `e`: the callback's own error object, if one brought the failure. */
int callback_raise(lua_State *L, const vm_error *e);

/* Call f(ud) where an error must not pass, since something is to be released:
 * true with f's one result on the stack, false with the error object. */
bool callback_protect(lua_State *L, lua_CFunction f, void *ud);

/* Ask a function of Lua's, on the state that entered last: `push` pushes it and its one
 * argument, or nothing and returns false; *answer is whether the result is true.
 * VM_POLICY: it raised an error, which is kept for callback_raise. */
typedef bool callback_push(lua_State *L, void *ud);
vm_status callback_ask(callback_state *s, callback_push *push, void *ud, bool *answer, vm_error *e);
/* Call the function below `nargs` arguments for nothing it returns: true, or
 * false with the error object in the function's place. */
bool callback_tell(lua_State *L, int nargs);

/* --- guarded calls --------------------------------------------------------------
 * Functions that C calls often and that may be anybody's run on a thread (a Lua
 * coroutine that is never resumed) of their own: they can't yield, the state that
 * is running is not disturbed, and the count of their instructions is theirs. */

typedef struct callback_guard {
    const char *who;   /* "policy mru"; stands before texts of errors */
    const char *doing; /* the function that runs, or NULL */
    uint64_t limit;    /* VM instructions that a call may take; 0: no limit */
    uint64_t left;     /* periods of the limit; 0: it is over */
    unsigned depth;    /* calls around this one: each has a thread, and so C's stack to itself */
    struct callback_guard *outer;
} callback_guard;

/* The thread, on the top of L, is one for guarded calls. Raises on lack of memory. */
lua_State *callback_thread(lua_State *L, uint64_t limit);
/* Call the function below `nargs` arguments on the top of the thread. VM_POLICY: it
 * raised an error, which is kept for callback_raise; texts say whose it is. VM_INVALID: such
 * calls are nested too deep. */
vm_status callback_guarded(callback_state *s, lua_State *thread, callback_guard *g, int nargs,
                           int nresults, vm_error *e);
/* lua_call, for C functions that run under one of the calls above. */
void callback_pass(lua_State *L, int nargs, int nresults);

/* --- parsers ---------------------------------------------------------------------- */

/* A line parser for trace_file: calls the function that `callback_lines_bind`
 * gave it, with a piece of text. The function returns the records packed as
 * access_record lies in memory, or nil and the number of the wrong line.
 * Raises on lack of memory. */
trace_lines callback_lines(lua_State *L);
/* The trace object at `idx`, whose first user value is the function. */
void callback_lines_bind(lua_State *L, void *ud, int idx);

#endif
