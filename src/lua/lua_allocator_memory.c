/* lua_allocator_memory.c: the methods of an allocator's self that reach the memory of its heap:
 * growth, words, the tags of one block. Those of rows and lists are in lua_allocator_blocks.c.
 */
#include "lua_allocator_memory.h"

#include <stdio.h>

int lua_memory_bad(lua_State *L, int idx, const char *takes)
{
    const char *got = lua_isnone(L, idx) ? "missing" : luaL_tolstring(L, idx, NULL);
    /* self is not counted */
    return luaL_error(L, "argument %d is %s, but takes %s", idx - 1, got, takes);
}

uint64_t lua_memory_number(lua_State *L, int idx, const char *takes)
{
    int whole;
    const lua_Integer x = lua_tointegerx(L, idx, &whole);
    if (VM_UNLIKELY(!whole))
        lua_memory_bad(L, idx, takes);
    return (uint64_t)x;
}

static int memory_outside(lua_State *L, const lua_allocator *c, uint64_t a, uint64_t n)
{
    char text[200];
    const heap_port *t = &c->h->port;
    snprintf(text, sizeof text, "%llu bytes at %#llx are not in the heap, %#llx to %#llx",
             (unsigned long long)n, (unsigned long long)a, (unsigned long long)t->base,
             (unsigned long long)t->top);
    return luaL_error(L, "%s", text);
}

void lua_memory_within(lua_State *L, const lua_allocator *c, uint64_t a, uint64_t n, uint64_t align)
{
    const heap_port *t = &c->h->port;
    if (VM_UNLIKELY(a < t->base || a >= t->top || n > t->top - a))
        memory_outside(L, c, a, n);
    if (VM_UNLIKELY(a & (align - 1)))
        luaL_error(L, "%p is not aligned to %d bytes", (void *)(uintptr_t)a, (int)align);
}

static int memory_taken(lua_State *L, const lua_allocator *c, uint64_t a)
{
    uint64_t at = a & ~UINT64_C(3), n = 0;
    char text[200];
    while (!lua_allocator_taken(c, at, 4))
        at += 4;
    const uint64_t hit = at;
    while (!heap_asked(c->h, at, &n) && at > c->h->port.base)
        at -= 4;
    snprintf(text, sizeof text,
             "a write to %#llx, which is in the block of %llu bytes at %#llx that is allocated",
             (unsigned long long)hit, (unsigned long long)n, (unsigned long long)at);
    return luaL_error(L, "%s", text);
}

/* [a, a + n) may be written. */
static void memory_writable(lua_State *L, const lua_allocator *c, uint64_t a, uint64_t n,
                            uint64_t align)
{
    lua_memory_within(L, c, a, n, align);
    if (VM_UNLIKELY(c->h->port.quiet))
        luaL_error(L, "it may only look, not write");
    if (VM_UNLIKELY(n && lua_allocator_taken(c, a, n)))
        memory_taken(L, c, a);
}

uint64_t lua_memory_load(lua_State *L, lua_allocator *c, uint64_t a)
{
    lua_memory_within(L, c, a, lua_memory_word(c), lua_memory_word(c));
    return heap_get(c->h, a);
}

void lua_memory_store(lua_State *L, lua_allocator *c, uint64_t a, uint64_t x)
{
    const heap_port *t = &c->h->port;
    const uint64_t w = lua_memory_word(c), granule = (a - t->base) / 4;
    /* The granules of one word are in one word of `taken`. */
    if (VM_UNLIKELY(a < t->base || a >= t->top || t->top - a < w || a & (w - 1) || t->quiet ||
                    c->taken[granule / 64] >> granule % 64 & (w / 4 == 2 ? 3 : 1)))
        memory_writable(L, c, a, w, w);
    if (VM_UNLIKELY(w == 4 && x >> 32))
        luaL_error(L, "%p does not fit in a word of 4 bytes", (void *)(uintptr_t)x);
    heap_put(c->h, a, x);
}

uint64_t lua_memory_payload(lua_State *L, const lua_allocator *c, int idx)
{
    const uint64_t a = lua_memory_number(L, idx, "the address of a block");
    lua_memory_within(L, c, a - lua_memory_word(c), lua_memory_word(c), lua_memory_word(c));
    return a;
}

void lua_memory_begin(lua_allocator *c)
{
    c->h->fuel = (c->h->port.top - c->h->port.base) / lua_memory_word(c) + 2;
}

bool lua_memory_step(lua_allocator *c, uint64_t *n, uint64_t at)
{
    if (VM_UNLIKELY(c->h->fuel == 0))
        lua_allocator_damaged(c, at, "a list of blocks does not end");
    c->h->fuel--;
    ++*n;
    return c->h->port.status == VM_OK;
}

/* --- memory ------------------------------------------------------------------------------ */

/* There is room in `taken` for n more bytes of heap. */
static void memory_reserve(lua_State *L, lua_allocator *c, uint64_t n)
{
    const uint64_t bytes = c->h->port.top - c->h->port.base + n;
    size_t words = c->words ? c->words : 64;
    while (words * 256 < bytes)
        words *= 2;
    if (words == c->words)
        return;
    uint64_t *taken =
        host_realloc(&c->host, c->taken, c->words * sizeof *taken, words * sizeof *taken);
    if (!taken) {
        c->h->port.status = vm_fail_nomem(&c->h->port.error, c->who);
        lua_memory_settle(L, c);
        return; /* it has raised */
    }
    memset(taken + c->words, 0, (words - c->words) * sizeof *taken);
    c->taken = taken;
    c->words = words;
}

uint64_t lua_memory_more(lua_State *L, lua_allocator *c, uint64_t n)
{
    heap_port *t = &c->h->port;
    if (t->quiet)
        luaL_error(L, "it may only look, not grow");
    if (n <= t->limit - (t->top - t->base))
        memory_reserve(L, c, n);
    const uint64_t a = port_grow(t, n);
    lua_memory_settle(L, c);
    c->refused = c->refused || a == 0;
    return a;
}

uint64_t lua_memory_bytes(lua_State *L, const lua_allocator *c, int idx)
{
    const uint64_t align = (uint64_t)c->h->cfg.align,
                   n = lua_memory_number(L, idx, "a number of bytes");
    if (n == 0 || n > INT64_MAX / 2)
        lua_memory_bad(L, idx, "a number of bytes, 1 or more");
    return align_up(n, align);
}

int lua_memory_push_address(lua_State *L, uint64_t a)
{
    if (a)
        lua_pushinteger(L, (lua_Integer)a);
    else
        lua_pushnil(L);
    return 1;
}

/* self:grow(n) -> address of n more bytes, zeros, n rounded up to the alignment; nil */
static int memory_grow(lua_State *L)
{
    lua_allocator *c = lua_memory_self(L);
    return lua_memory_push_address(L, lua_memory_more(L, c, lua_memory_bytes(L, c, 2)));
}

static int memory_range(lua_State *L)
{
    const lua_allocator *c = lua_memory_self(L);
    lua_pushinteger(L, (lua_Integer)c->h->port.base);
    lua_pushinteger(L, (lua_Integer)c->h->port.top);
    return 2;
}

/* The width in argument idx, 4 or 8 bytes; nil: a word. */
static unsigned memory_width(lua_State *L, const lua_allocator *c, int idx)
{
    if (lua_isnoneornil(L, idx))
        return (unsigned)lua_memory_word(c);
    const uint64_t n = lua_memory_number(L, idx, "4 or 8 bytes");
    if (n != 4 && n != 8)
        lua_memory_bad(L, idx, "4 or 8 bytes");
    return (unsigned)n;
}

/* self:get(a, width) -> number */
static int memory_get(lua_State *L)
{
    lua_allocator *c = lua_memory_self(L);
    const uint64_t a = lua_memory_number(L, 2, "an address");
    const unsigned n = memory_width(L, c, 3);
    lua_memory_within(L, c, a, n, n);
    const uint64_t x = port_get(&c->h->port, a, n);
    lua_memory_settle(L, c);
    lua_pushinteger(L, (lua_Integer)x);
    return 1;
}

/* self:put(a, x, width) */
static int memory_put(lua_State *L)
{
    lua_allocator *c = lua_memory_self(L);
    const uint64_t a = lua_memory_number(L, 2, "an address"),
                   x = lua_memory_number(L, 3, "a whole number");
    const unsigned n = memory_width(L, c, 4);
    memory_writable(L, c, a, n, n);
    if (n == 4 && x >> 32)
        lua_memory_bad(L, 3, "a number of 4 bytes");
    port_put(&c->h->port, a, x, n);
    lua_memory_settle(L, c);
    return 0;
}

/* self:link(a) -> the address in the word, or nil */
static int memory_link(lua_State *L)
{
    lua_allocator *c = lua_memory_self(L);
    const uint64_t a = lua_memory_number(L, 2, "an address");
    lua_memory_within(L, c, a, lua_memory_word(c), lua_memory_word(c));
    const uint64_t to = heap_link(c->h, a);
    lua_memory_settle(L, c);
    return lua_memory_push_address(L, to);
}

/* self:set_link(a, to); nil: none */
static int memory_set_link(lua_State *L)
{
    lua_allocator *c = lua_memory_self(L);
    const uint64_t a = lua_memory_number(L, 2, "an address");
    const uint64_t to = lua_isnoneornil(L, 3) ? 0 : lua_memory_number(L, 3, "an address, or nil");
    if (to)
        lua_memory_within(L, c, to, 0, 4);
    lua_memory_store(L, c, a, to ? to - c->h->port.base : 0);
    lua_memory_settle(L, c);
    return 0;
}

/* self:copy(to, from, n): upwards, n rounded up to 4 */
static int memory_copy(lua_State *L)
{
    lua_allocator *c = lua_memory_self(L);
    const uint64_t to = lua_memory_number(L, 2, "an address"),
                   from = lua_memory_number(L, 3, "an address"),
                   n = lua_memory_number(L, 4, "a number of bytes");
    if (n > c->h->port.limit)
        lua_memory_bad(L, 4, "a number of bytes");
    memory_writable(L, c, to, align_up(n, 4), 4);
    lua_memory_within(L, c, from, align_up(n, 4), 4);
    port_copy(&c->h->port, to, from, align_up(n, 4));
    lua_memory_settle(L, c);
    return 0;
}

/* self:zero(a, n): n rounded up to 4 */
static int memory_zero(lua_State *L)
{
    lua_allocator *c = lua_memory_self(L);
    const uint64_t a = lua_memory_number(L, 2, "an address"),
                   n = lua_memory_number(L, 3, "a number of bytes");
    if (n > c->h->port.limit)
        lua_memory_bad(L, 3, "a number of bytes");
    memory_writable(L, c, a, align_up(n, 4), 4);
    port_zero(&c->h->port, a, align_up(n, 4));
    lua_memory_settle(L, c);
    return 0;
}

/* self:count(name, n): one of the counters that tell of an allocator's work, n (1) more */
static int memory_tally(lua_State *L)
{
    static const char *const names[] = {"searches", "steps", "splits", "coalesces", NULL};
    lua_allocator *c = lua_memory_self(L);
    heap_counters *n = &c->h->n;
    uint64_t *const counters[] = {&n->searches, &n->steps, &n->splits, &n->coalesces};
    const int which = luaL_checkoption(L, 2, NULL, names);
    const lua_Integer more = luaL_optinteger(L, 3, 1);
    if (more < 0)
        lua_memory_bad(L, 3, "a number, 0 or more");
    *counters[which] += (uint64_t)more;
    return 0;
}

/* --- tags ---------------------------------------------------------------------------------- */

static int memory_push_tag(lua_State *L, uint64_t tag)
{
    lua_pushinteger(L, (lua_Integer)(tag & ~LUA_MEMORY_BITS));
    lua_pushboolean(L, tag & 1);
    lua_pushinteger(L, (lua_Integer)(tag & LUA_MEMORY_BITS));
    return 3;
}

/* self:block(a) -> size, allocated, bits: of its header */
static int memory_block(lua_State *L)
{
    lua_allocator *c = lua_memory_self(L);
    const uint64_t tag = heap_get(c->h, lua_memory_payload(L, c, 2) - lua_memory_word(c));
    lua_memory_settle(L, c);
    return memory_push_tag(L, tag);
}

/* self:before(a) -> size, allocated, bits: of the footer of the block before */
static int memory_before(lua_State *L)
{
    lua_allocator *c = lua_memory_self(L);
    const uint64_t tag =
        lua_memory_load(L, c, lua_memory_payload(L, c, 2) - 2 * lua_memory_word(c));
    lua_memory_settle(L, c);
    return memory_push_tag(L, tag);
}

/* The tag of arguments idx, a size, and idx + 1: allocated or not, or both bits. */
static uint64_t memory_tag(lua_State *L, int idx)
{
    const uint64_t size = lua_memory_number(L, idx, "the size of a block");
    uint64_t bits = (uint64_t)lua_toboolean(L, idx + 1);
    if (lua_type(L, idx + 1) == LUA_TNUMBER) {
        bits = lua_memory_number(L, idx + 1, "true, false, or bits, 0 to 3");
        if (bits > LUA_MEMORY_BITS)
            lua_memory_bad(L, idx + 1, "true, false, or bits, 0 to 3");
    }
    if (size & LUA_MEMORY_BITS)
        lua_memory_bad(L, idx, "the size of a block, a multiple of 4");
    return size | bits;
}

/* self:set_header(a, size, bits) */
static int memory_set_header(lua_State *L)
{
    lua_allocator *c = lua_memory_self(L);
    const uint64_t a = lua_memory_payload(L, c, 2), tag = memory_tag(L, 3);
    lua_memory_store(L, c, a - lua_memory_word(c), tag);
    lua_memory_settle(L, c);
    return 0;
}

void lua_memory_tag_block(lua_State *L, lua_allocator *c, uint64_t a, uint64_t size, uint64_t bits)
{
    const uint64_t w = lua_memory_word(c);
    lua_memory_store(L, c, a - w, size | bits);
    lua_memory_store(L, c, a + size - 2 * w, size | bits);
}

/* self:set_block(a, size, bits): header and footer */
static int memory_set_block(lua_State *L)
{
    lua_allocator *c = lua_memory_self(L);
    const uint64_t w = lua_memory_word(c), a = lua_memory_payload(L, c, 2), tag = memory_tag(L, 3),
                   size = tag & ~LUA_MEMORY_BITS;
    if (size < 2 * w)
        lua_memory_bad(L, 3, "a size with room for header and footer");
    lua_memory_within(L, c, a - w, size, w);
    lua_memory_tag_block(L, c, a, size, tag & LUA_MEMORY_BITS);
    lua_memory_settle(L, c);
    return 0;
}

/* --- the methods --------------------------------------------------------------------------- */

static const luaL_Reg memory_methods[] = {
    {"grow", memory_grow},
    {"range", memory_range},
    {"get", memory_get},
    {"put", memory_put},
    {"link", memory_link},
    {"set_link", memory_set_link},
    {"copy", memory_copy},
    {"zero", memory_zero},
    {"count", memory_tally},
    {"block", memory_block},
    {"before", memory_before},
    {"set_header", memory_set_header},
    {"set_block", memory_set_block},
    {NULL, NULL},
};

void lua_allocator_push_methods(lua_State *L, int idx)
{
    lua_newtable(L);
    lua_pushvalue(L, idx);
    luaL_setfuncs(L, memory_methods, 1);
    lua_pushvalue(L, idx);
    luaL_setfuncs(L, lua_memory_block_methods, 1);
}

void lua_allocator_push_names(lua_State *L)
{
    const luaL_Reg *const tables[] = {memory_methods, lua_memory_block_methods};
    lua_Integer n = 0;
    lua_newtable(L);
    for (size_t i = 0; i < sizeof tables / sizeof *tables; i++)
        for (const luaL_Reg *r = tables[i]; r->name; r++) {
            lua_pushstring(L, r->name);
            lua_rawseti(L, -2, ++n);
        }
}
