/* lua_allocator.h: allocators whose functions are Lua's, as classes of heaps.
 *
 * A heap that is opened with an object of vmem.heap.allocator gets a class of its own
 * (lua_allocator_push), which C then uses as any other; the heap's userdata keeps it.
 * The class has a thread for its calls, and `self`: its state, with methods to reach
 * the heap's memory (lua_allocator_memory.h).
 *
 * Invariants
 *   - Words are read and written by self's methods only, while a function of the
 *     allocator runs, inside of the heap, and never in a payload that is given out.
 *   - `taken` has a bit for each 4 bytes of the heap: set if they are in such a payload.
 *   - What a function answers is checked before the heap believes it. A function that
 *     fails or answers nonsense leaves its failure in the port's status: the heap takes no
 *     more calls.
 *   - While a function runs, the machine is busy with it.
 */
#ifndef VM_LUA_ALLOCATOR_H
#define VM_LUA_ALLOCATOR_H

#include "callback.h"

#include "../heap/heap.h"

enum {
    LUA_ALLOCATOR_INIT,
    LUA_ALLOCATOR_MALLOC,
    LUA_ALLOCATOR_FREE,
    LUA_ALLOCATOR_REALLOC,
    LUA_ALLOCATOR_RESIZE,
    LUA_ALLOCATOR_MEMALIGN,
    LUA_ALLOCATOR_USABLE_SIZE,
    LUA_ALLOCATOR_BLOCKS,
    LUA_ALLOCATOR_CHECK,
    LUA_ALLOCATOR_FUNCTIONS
};

typedef struct lua_allocator {
    heap_class cls; /* the first: from a heap's class to this */
    heap *h;        /* once init was called */
    callback_state *calls;
    lua_State *thread; /* its stack: see lua_allocator.c */
    callback_guard guard;
    const char **busy; /* the machine's, or idle's address */
    const char *idle;
    bool has[LUA_ALLOCATOR_FUNCTIONS];
    bool serving; /* a function runs */
    bool refused; /* in this call the heap was not allowed to grow */
    vm_host host;
    uint64_t *taken;
    size_t words;    /* of taken */
    uint64_t damage; /* where a method met damage, last */
    char who[80];    /* "allocator NAME" */
} lua_allocator;

/* Is the value at idx an object of vmem.heap.allocator? */
bool lua_allocator_is(lua_State *L, int idx);
/* Push the class of the object at idx, for one heap; `self` begins with what the table at
 * `params` has. busy: the machine's, NULL: there is none. Raises on lack of memory. */
lua_allocator *lua_allocator_push(lua_State *L, int idx, int params, const char **busy);
/* The options of all such allocators. */
extern const heap_option lua_allocator_options[];
void lua_open_allocator(lua_State *L); /* core table on the top */

/* --- for lua_allocator_memory.c ----------------------------------------------------- */

/* Push a table of the methods of self; their upvalue is the class, at idx. */
void lua_allocator_push_methods(lua_State *L, int idx);
/* A list of their names. */
void lua_allocator_push_names(lua_State *L);
/* Are bytes of [a, a + n), in the heap, in a payload that is given out? Make them so, or not. */
bool lua_allocator_taken(const lua_allocator *c, uint64_t a, uint64_t n);
void lua_allocator_take(lua_allocator *c, uint64_t a, uint64_t n, bool taken);
/* There is damage: the failure is left in the port's status. */
void lua_allocator_damaged(lua_allocator *c, uint64_t at, const char *fmt, ...) VM_PRINTF(3, 4);

#define LUA_ALLOCATOR       "vmem.heap.allocator"
#define LUA_ALLOCATOR_CLASS "vmem.heap.class"

#endif
