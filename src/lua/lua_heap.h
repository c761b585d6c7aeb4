/* lua_heap.h: a heap as a Lua object, for the files that have its methods. */
#ifndef VM_LUA_HEAP_H
#define VM_LUA_HEAP_H

#include "../heap/heap.h"
#include "lua_machine.h"

#define LUA_HEAP "vmem.heap"

typedef struct lua_heap {
    heap *h;             /* NULL: closed */
    lua_process *handle; /* alive: it is user value 1; NULL: native */
    bool busy;           /* in a call, under which a signal handler may run */
} lua_heap;

/* At index 1: the heap whose host memory can be looked at. */
lua_heap *heap_check_open(lua_State *L);
/* The heap whose memory can be accessed. The caller marks it busy around the access itself,
 * which nothing can leave by an error. */
lua_heap *heap_enter_call(lua_State *L);
/* A call that failed: raises, or pushes nil, message, code. */
int heap_failed(lua_State *L, lua_heap *box, vm_status s, const vm_error *e);
/* A method's end, with n results on the stack: what the machine has to tell is told. */
int heap_told(lua_State *L, const lua_heap *box, int n);

/* Into the table of methods on top (lua_heap_looks.c). */
void lua_add_heap_looks(lua_State *L);

#endif
