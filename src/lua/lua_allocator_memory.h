/* lua_allocator_memory.h: what methods of an allocator's self are made of. They take self at
 * index 1 and do not look at it: their first upvalue is the class. A method that meets
 * what is wrong raises an error on the thread of the allocator.
 *
 *    tag      size | bits     a block's header, the word before its payload, or its footer,
 *                             its last word
 *
 * Sizes are multiples of 4 at least, so that two bits are left: 1, the block is allocated,
 * and 2, which is the allocator's own.
 */
#ifndef VM_LUA_ALLOCATOR_MEMORY_H
#define VM_LUA_ALLOCATOR_MEMORY_H

#include "lua_allocator.h"

#define LUA_MEMORY_BITS UINT64_C(3)

/* The class, while a function of it runs. */
VM_INLINE lua_allocator *lua_memory_self(lua_State *L)
{
    lua_allocator *c = lua_touserdata(L, lua_upvalueindex(1));
    if (VM_UNLIKELY(!c->serving))
        luaL_error(L, "%s: methods of self are for its functions, while it is called", c->who);
    return c;
}

/* After accesses: a failure of theirs ends the function. */
VM_INLINE void lua_memory_settle(lua_State *L, const lua_allocator *c)
{
    if (VM_UNLIKELY(c->h->port.status != VM_OK))
        luaL_error(L, "%s", c->h->port.error.text);
}

VM_INLINE uint64_t lua_memory_word(const lua_allocator *c) { return (uint64_t)c->h->cfg.word; }

/* Raises: argument idx is not what it takes. */
int lua_memory_bad(lua_State *L, int idx, const char *takes);
/* A whole number: an address, a size. */
uint64_t lua_memory_number(lua_State *L, int idx, const char *takes);
/* [a, a + n) is in the heap, and a is a multiple of `align`; else raises. */
void lua_memory_within(lua_State *L, const lua_allocator *c, uint64_t a, uint64_t n,
                       uint64_t align);
/* A payload whose header is in the heap; it may be the heap's end. */
uint64_t lua_memory_payload(lua_State *L, const lua_allocator *c, int idx);
/* Argument idx: bytes to grow by, rounded up to the alignment. */
uint64_t lua_memory_bytes(lua_State *L, const lua_allocator *c, int idx);
/* An address, or nil for 0. */
int lua_memory_push_address(lua_State *L, uint64_t a);

/* A word that is checked to be in the heap and, to be written, in no payload given out. */
uint64_t lua_memory_load(lua_State *L, lua_allocator *c, uint64_t a);
void lua_memory_store(lua_State *L, lua_allocator *c, uint64_t a, uint64_t x);
/* Header and footer of a block. */
void lua_memory_tag_block(lua_State *L, lua_allocator *c, uint64_t a, uint64_t size, uint64_t bits);
/* n more bytes of heap, a multiple of the alignment: the address, or 0. */
uint64_t lua_memory_more(lua_State *L, lua_allocator *c, uint64_t n);

/* Begin a walk. One more step of it, counted in n; false: it has no end, since no heap has so
 * many blocks, or the port has failed. */
void lua_memory_begin(lua_allocator *c);
bool lua_memory_step(lua_allocator *c, uint64_t *n, uint64_t at);

/* lua_allocator_blocks.c */
extern const luaL_Reg lua_memory_block_methods[];

#endif
