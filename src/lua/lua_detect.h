/* lua_detect.h: error detectors and tracked values as Lua objects.
 *
 * A detector's user values: 1 its process's handle, which keeps the machine alive; 2 its
 * state, a table: `sites` (texts, lists, or numbers of a program counter, by id), `ids`
 * (the ids of these), `heaps` (those attached), and what the face gave: `tell`, `pc`,
 * `symbol`, `skip`. While it watches, its machine keeps it alive.
 */
#ifndef VM_LUA_DETECT_H
#define VM_LUA_DETECT_H

#include "lua_heap.h"

#include "../heap/detect.h"

#define LUA_DETECTOR "vmem.detector"
#define LUA_TRACKED  "vmem.tracked"

typedef struct lua_detect {
    detect *d;           /* NULL: closed */
    lua_process *handle; /* alive: it is user value 1 */
    bool busy;           /* in a call: it can't be closed */
    bool tells;          /* there is somebody to tell of reports */
    int depth;           /* lines of a traceback that are kept */
} lua_detect;

/* A value of a script, with its shadow; user value 1 is the detector. */
typedef struct lua_tracked {
    tracked t;
    lua_detect *box;
} lua_tracked;

/* The detector at idx whose process can be accessed, and d->p is it. */
lua_detect *lua_check_detect(lua_State *L, int idx);
/* The end of a call: what failed is raised or returned. */
int lua_detect_failed(lua_State *L, lua_detect *box, vm_status s, const vm_error *e);
int lua_detect_done(lua_State *L, lua_detect *box, vm_status s, const vm_error *e, int n);
/* The number or value at idx. */
tracked lua_check_tracked(lua_State *L, int idx);
/* Push a value of the detector at idx (t NULL: a known 0); what it holds, to be filled. */
tracked *lua_push_tracked(lua_State *L, int idx, const tracked *t);
/* A length in bytes. */
uint64_t lua_check_count(lua_State *L, int idx);
/* Push a field of the state of the detector at idx. */
void lua_push_detect_state(lua_State *L, int idx, const char *name);
/* A value is used in a branch; raises what was told, if it was an error. */
void lua_detect_branch(lua_State *L, lua_detect *box, const tracked *t);
/* Push the block, or nil; the detector is at idx. */
void lua_push_block(lua_State *L, int idx, const detect_block *b);

void lua_open_tracked(lua_State *L);
void lua_open_detect_calls(lua_State *L); /* the detector's methods on the top */

#endif
