/* lua_allocator_memory.c: the methods of an allocator's self, by which it reaches the memory of its
 * heap: words, tags of blocks, rows of blocks, free lists.
 *
 *    header   size | bits     the word before a payload
 *    footer   as the header   the block's last word
 *    list     head            a word, that of the first member; a member's payload begins with
 *             predecessor, successor
 *
 * Sizes are multiples of 4 and more, so that a tag has two bits besides: 1, the block is
 * allocated, and 2, which is the allocator's. A row of blocks ends at a header of size 0.
 * Heads and links are kept as distances from the heap's start (heap_link); 0 is none.
 *
 * Searches and changes of lists are one call each, since a call from Lua takes as long as
 * ten words do in C.
 */
#include "lua_allocator.h"

#include <stdio.h>

/* The upvalue of each method. */
static lua_allocator *memory_self(lua_State *L)
{
    lua_allocator *c = lua_touserdata(L, lua_upvalueindex(1));
    if (VM_UNLIKELY(!c->serving))
        luaL_error(L, "%s: methods of self are for its functions, while it is called", c->who);
    return c;
}

/* After accesses: a failure of theirs ends the function. */
static void memory_settle(lua_State *L, const lua_allocator *c)
{
    if (VM_UNLIKELY(c->h->port.status != VM_OK))
        luaL_error(L, "%s", c->h->port.error.text);
}

/* "#1", as luaL_argerror counts: self is none. */
static int memory_bad(lua_State *L, int idx, const char *takes)
{
    const char *got = lua_isnone(L, idx) ? "missing" : luaL_tolstring(L, idx, NULL);
    return luaL_error(L, "argument %d is %s, but takes %s", idx - 1, got, takes);
}

static uint64_t memory_number(lua_State *L, int idx, const char *takes)
{
    int whole;
    const lua_Integer x = lua_tointegerx(L, idx, &whole);
    if (VM_UNLIKELY(!whole))
        memory_bad(L, idx, takes);
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

/* [a, a + n) is in the heap, and a is a multiple of `align`. */
static void memory_within(lua_State *L, const lua_allocator *c, uint64_t a, uint64_t n,
                          uint64_t align)
{
    const heap_port *t = &c->h->port;
    if (VM_UNLIKELY(a < t->base || a >= t->top || n > t->top - a))
        memory_outside(L, c, a, n);
    if (VM_UNLIKELY(a & (align - 1)))
        luaL_error(L, "%p is not aligned to %d bytes", (void *)(uintptr_t)a, (int)align);
}

static uint64_t memory_word(const lua_allocator *c) { return (uint64_t)c->h->cfg.word; }

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
    memory_within(L, c, a, n, align);
    if (VM_UNLIKELY(c->h->port.quiet))
        luaL_error(L, "it may only look, not write");
    if (VM_UNLIKELY(n && lua_allocator_taken(c, a, n)))
        memory_taken(L, c, a);
}

static uint64_t memory_load(lua_State *L, lua_allocator *c, uint64_t a)
{
    memory_within(L, c, a, memory_word(c), memory_word(c));
    return heap_get(c->h, a);
}

static void memory_store(lua_State *L, lua_allocator *c, uint64_t a, uint64_t x)
{
    const heap_port *t = &c->h->port;
    const uint64_t w = memory_word(c), granule = (a - t->base) / 4;
    /* The granules of one word are in one word of `taken`. */
    if (VM_UNLIKELY(a < t->base || a >= t->top || t->top - a < w || a & (w - 1) || t->quiet ||
                    c->taken[granule / 64] >> granule % 64 & (w / 4 == 2 ? 3 : 1)))
        memory_writable(L, c, a, w, w);
    if (VM_UNLIKELY(w == 4 && x >> 32))
        luaL_error(L, "%p does not fit in a word of 4 bytes", (void *)(uintptr_t)x);
    heap_put(c->h, a, x);
}

/* A payload, whose header must be in the heap: it may be the heap's end. */
static uint64_t memory_payload(lua_State *L, const lua_allocator *c, int idx)
{
    const uint64_t a = memory_number(L, idx, "the address of a block");
    memory_within(L, c, a - memory_word(c), memory_word(c), memory_word(c));
    return a;
}

/* Begin a walk: no list of a sound heap has more members. */
static void memory_begin(lua_allocator *c)
{
    c->h->fuel = (c->h->port.top - c->h->port.base) / memory_word(c) + 2;
}

/* One more step of it, counted in n; false: it has no end, or the port has failed. */
static bool memory_step(lua_allocator *c, uint64_t *n, uint64_t at)
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
    uint64_t *taken = lua_newuserdatauv(L, words * sizeof *taken, 0);
    memset(taken, 0, words * sizeof *taken);
    if (c->words)
        memcpy(taken, c->taken, c->words * sizeof *taken);
    lua_setiuservalue(L, lua_upvalueindex(1), 3);
    c->taken = taken;
    c->words = words;
}

/* n bytes more, a multiple of the alignment: the address, or 0. */
static uint64_t memory_more(lua_State *L, lua_allocator *c, uint64_t n)
{
    heap_port *t = &c->h->port;
    if (t->quiet)
        luaL_error(L, "it may only look, not grow");
    if (n <= t->limit - (t->top - t->base))
        memory_reserve(L, c, n);
    const uint64_t a = port_grow(t, n);
    memory_settle(L, c);
    c->refused = c->refused || a == 0;
    return a;
}

/* Argument idx: bytes to grow by, rounded up to the alignment. */
static uint64_t memory_bytes(lua_State *L, const lua_allocator *c, int idx)
{
    const uint64_t align = (uint64_t)c->h->cfg.align, n = memory_number(L, idx, "a number of bytes");
    if (n == 0 || n > INT64_MAX / 2)
        memory_bad(L, idx, "a number of bytes, 1 or more");
    return align_up(n, align);
}

static int memory_push_address(lua_State *L, uint64_t a)
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
    lua_allocator *c = memory_self(L);
    return memory_push_address(L, memory_more(L, c, memory_bytes(L, c, 2)));
}

static int memory_range(lua_State *L)
{
    const lua_allocator *c = memory_self(L);
    lua_pushinteger(L, (lua_Integer)c->h->port.base);
    lua_pushinteger(L, (lua_Integer)c->h->port.top);
    return 2;
}

/* The width in argument idx, 4 or 8 bytes; nil: a word. */
static unsigned memory_width(lua_State *L, const lua_allocator *c, int idx)
{
    if (lua_isnoneornil(L, idx))
        return (unsigned)memory_word(c);
    const uint64_t n = memory_number(L, idx, "4 or 8 bytes");
    if (n != 4 && n != 8)
        memory_bad(L, idx, "4 or 8 bytes");
    return (unsigned)n;
}

/* self:get(a, width) -> number */
static int memory_get(lua_State *L)
{
    lua_allocator *c = memory_self(L);
    const uint64_t a = memory_number(L, 2, "an address");
    const unsigned n = memory_width(L, c, 3);
    memory_within(L, c, a, n, n);
    const uint64_t x = port_get(&c->h->port, a, n);
    memory_settle(L, c);
    lua_pushinteger(L, (lua_Integer)x);
    return 1;
}

/* self:put(a, x, width) */
static int memory_put(lua_State *L)
{
    lua_allocator *c = memory_self(L);
    const uint64_t a = memory_number(L, 2, "an address"), x = memory_number(L, 3, "a whole number");
    const unsigned n = memory_width(L, c, 4);
    memory_writable(L, c, a, n, n);
    if (n == 4 && x >> 32)
        memory_bad(L, 3, "a number of 4 bytes");
    port_put(&c->h->port, a, x, n);
    memory_settle(L, c);
    return 0;
}

/* self:link(a) -> the address in the word, or nil */
static int memory_link(lua_State *L)
{
    lua_allocator *c = memory_self(L);
    const uint64_t a = memory_number(L, 2, "an address");
    memory_within(L, c, a, memory_word(c), memory_word(c));
    const uint64_t to = heap_link(c->h, a);
    memory_settle(L, c);
    return memory_push_address(L, to);
}

/* self:set_link(a, to); nil: none */
static int memory_set_link(lua_State *L)
{
    lua_allocator *c = memory_self(L);
    const uint64_t a = memory_number(L, 2, "an address");
    const uint64_t to = lua_isnoneornil(L, 3) ? 0 : memory_number(L, 3, "an address, or nil");
    if (to)
        memory_within(L, c, to, 0, 4);
    memory_store(L, c, a, to ? to - c->h->port.base : 0);
    memory_settle(L, c);
    return 0;
}

/* self:copy(to, from, n): upwards, n rounded up to 4 */
static int memory_copy(lua_State *L)
{
    lua_allocator *c = memory_self(L);
    const uint64_t to = memory_number(L, 2, "an address"), from = memory_number(L, 3, "an address"),
                   n = memory_number(L, 4, "a number of bytes");
    if (n > c->h->port.limit)
        memory_bad(L, 4, "a number of bytes");
    memory_writable(L, c, to, align_up(n, 4), 4);
    memory_within(L, c, from, align_up(n, 4), 4);
    port_copy(&c->h->port, to, from, align_up(n, 4));
    memory_settle(L, c);
    return 0;
}

/* self:zero(a, n): n rounded up to 4 */
static int memory_zero(lua_State *L)
{
    lua_allocator *c = memory_self(L);
    const uint64_t a = memory_number(L, 2, "an address"),
                   n = memory_number(L, 3, "a number of bytes");
    if (n > c->h->port.limit)
        memory_bad(L, 3, "a number of bytes");
    memory_writable(L, c, a, align_up(n, 4), 4);
    port_zero(&c->h->port, a, align_up(n, 4));
    memory_settle(L, c);
    return 0;
}

/* self:count(name, n): one of the counters that tell of an allocator's work, n (1) more */
static int memory_tally(lua_State *L)
{
    static const char *const names[] = {"searches", "steps", "splits", "coalesces", NULL};
    lua_allocator *c = memory_self(L);
    heap_counters *n = &c->h->n;
    uint64_t *const counters[] = {&n->searches, &n->steps, &n->splits, &n->coalesces};
    const int which = luaL_checkoption(L, 2, NULL, names);
    const lua_Integer more = luaL_optinteger(L, 3, 1);
    if (more < 0)
        memory_bad(L, 3, "a number, 0 or more");
    *counters[which] += (uint64_t)more;
    return 0;
}

/* --- tags ---------------------------------------------------------------------------------- */

#define MEMORY_BITS 3u

static int memory_push_tag(lua_State *L, uint64_t tag)
{
    lua_pushinteger(L, (lua_Integer)(tag & ~(uint64_t)MEMORY_BITS));
    lua_pushboolean(L, tag & 1);
    lua_pushinteger(L, tag & MEMORY_BITS);
    return 3;
}

/* self:block(a) -> size, allocated, bits: of its header */
static int memory_block(lua_State *L)
{
    lua_allocator *c = memory_self(L);
    const uint64_t tag = heap_get(c->h, memory_payload(L, c, 2) - memory_word(c));
    memory_settle(L, c);
    return memory_push_tag(L, tag);
}

/* self:before(a) -> size, allocated, bits: of the footer of the block before */
static int memory_before(lua_State *L)
{
    lua_allocator *c = memory_self(L);
    const uint64_t tag = memory_load(L, c, memory_payload(L, c, 2) - 2 * memory_word(c));
    memory_settle(L, c);
    return memory_push_tag(L, tag);
}

/* The tag of arguments idx, a size, and idx + 1: allocated or not, or both bits. */
static uint64_t memory_tag(lua_State *L, int idx)
{
    const uint64_t size = memory_number(L, idx, "the size of a block");
    uint64_t bits = (uint64_t)lua_toboolean(L, idx + 1);
    if (lua_type(L, idx + 1) == LUA_TNUMBER) {
        bits = memory_number(L, idx + 1, "true, false, or bits, 0 to 3");
        if (bits > MEMORY_BITS)
            memory_bad(L, idx + 1, "true, false, or bits, 0 to 3");
    }
    if (size & MEMORY_BITS)
        memory_bad(L, idx, "the size of a block, a multiple of 4");
    return size | bits;
}

/* self:set_header(a, size, bits) */
static int memory_set_header(lua_State *L)
{
    lua_allocator *c = memory_self(L);
    const uint64_t a = memory_payload(L, c, 2), tag = memory_tag(L, 3);
    memory_store(L, c, a - memory_word(c), tag);
    memory_settle(L, c);
    return 0;
}

/* Header and footer of a block of a size. */
static void memory_tag_block(lua_State *L, lua_allocator *c, uint64_t a, uint64_t size, uint64_t bits)
{
    const uint64_t w = memory_word(c);
    memory_store(L, c, a - w, size | bits);
    memory_store(L, c, a + size - 2 * w, size | bits);
}

/* self:set_block(a, size, bits): header and footer */
static int memory_set_block(lua_State *L)
{
    lua_allocator *c = memory_self(L);
    const uint64_t w = memory_word(c), a = memory_payload(L, c, 2), tag = memory_tag(L, 3),
                   size = tag & ~(uint64_t)MEMORY_BITS;
    if (size < 2 * w)
        memory_bad(L, 3, "a size with room for header and footer");
    memory_within(L, c, a - w, size, w);
    memory_tag_block(L, c, a, size, tag & MEMORY_BITS);
    memory_settle(L, c);
    return 0;
}

/* --- rows of blocks ------------------------------------------------------------------------- */

/* self:begin_row(n) -> the address where the first block of a row will be; before it are n bytes
 * (0) for one's own use, a prologue, and an epilogue, which moves as the row is extended; nil */
static int memory_begin_row(lua_State *L)
{
    lua_allocator *c = memory_self(L);
    const uint64_t w = memory_word(c), align = (uint64_t)c->h->cfg.align,
                   prologue = align_up(2 * w, align), from = c->h->port.top;
    const lua_Integer n = luaL_optinteger(L, 2, 0);
    if (n < 0 || n > INT64_MAX / 2)
        memory_bad(L, 2, "a number of bytes");
    const uint64_t first = align_up(from + (uint64_t)n + w, align) + prologue;
    const uint64_t a = memory_more(L, c, first - from);
    if (a) {
        memory_tag_block(L, c, first - prologue, prologue, 1);
        memory_store(L, c, first - w, 1);
        memory_settle(L, c);
    }
    return memory_push_address(L, a ? first : 0);
}

/* self:extend_row(n) -> the address of a free block of n more bytes, rounded up to the alignment,
 * with header and footer, at the end of the row that ends with the heap; nil */
static int memory_extend_row(lua_State *L)
{
    lua_allocator *c = memory_self(L);
    const uint64_t w = memory_word(c), n = memory_bytes(L, c, 2);
    if (n < 2 * w)
        memory_bad(L, 2, "a size with room for header and footer");
    const uint64_t a = memory_more(L, c, n);
    if (a) {
        memory_tag_block(L, c, a, n, 0);
        memory_store(L, c, a + n - w, 1);
        memory_settle(L, c);
    }
    return memory_push_address(L, a);
}

/* self:around(a) -> size of the block, and of its neighbours before and behind if they are free,
 * else 0: from its header, the footer before, and the header behind */
static int memory_around(lua_State *L)
{
    lua_allocator *c = memory_self(L);
    const uint64_t w = memory_word(c), a = memory_payload(L, c, 2),
                   size = memory_load(L, c, a - w) & ~(uint64_t)MEMORY_BITS,
                   before = memory_load(L, c, a - 2 * w),
                   after = memory_load(L, c, a + size - w);
    memory_settle(L, c);
    lua_pushinteger(L, (lua_Integer)size);
    lua_pushinteger(L, before & 1 ? 0 : (lua_Integer)(before & ~(uint64_t)MEMORY_BITS));
    lua_pushinteger(L, after & 1 ? 0 : (lua_Integer)(after & ~(uint64_t)MEMORY_BITS));
    return 3;
}

/* The header of the block at `a` of a row; a size that can't be is damage. */
static uint64_t memory_row_tag(lua_State *L, lua_allocator *c, uint64_t a)
{
    const heap_port *t = &c->h->port;
    const uint64_t w = memory_word(c), tag = heap_get(c->h, a - w);
    const uint64_t size = tag & ~(uint64_t)MEMORY_BITS;
    if (VM_UNLIKELY(size & (w - 1) || size > t->top - a))
        lua_allocator_damaged(c, a - w, "the header %#llx at %#llx has no size that fits",
                              (unsigned long long)tag, (unsigned long long)(a - w));
    memory_settle(L, c);
    return tag;
}

/* Upvalues: the class, the next block, where to stop. */
static int memory_row_next(lua_State *L)
{
    lua_allocator *c = memory_self(L);
    const uint64_t w = memory_word(c), a = (uint64_t)lua_tointeger(L, lua_upvalueindex(2)),
                   stop = (uint64_t)lua_tointeger(L, lua_upvalueindex(3));
    if (a == stop)
        return 0;
    const uint64_t tag = memory_row_tag(L, c, a), size = tag & ~(uint64_t)MEMORY_BITS;
    if (size == 0)
        return 0;
    lua_pushinteger(L, (lua_Integer)(a + size));
    lua_copy(L, -1, lua_upvalueindex(2));
    lua_pushinteger(L, (lua_Integer)a);
    lua_pushinteger(L, (lua_Integer)size);
    lua_pushboolean(L, tag & 1);
    lua_pushinteger(L, (lua_Integer)(a - w));
    return 4;
}

/* self:row(first, stop) -> iterator over address, size, allocated, start of the blocks */
static int memory_row(lua_State *L)
{
    const lua_allocator *c = memory_self(L);
    lua_settop(L, 3);
    memory_payload(L, c, 2);
    lua_pushvalue(L, lua_upvalueindex(1));
    lua_insert(L, 2);
    lua_pushcclosure(L, memory_row_next, 3);
    return 1;
}

enum { SEARCH_FIRST, SEARCH_BEST, SEARCH_WORST };
static const char *const memory_fits[] = {"first", "best", "worst", NULL};

typedef struct memory_search {
    uint64_t want, found, size; /* found: 0 as long as there is none */
    int how;
} memory_search;

static memory_search memory_search_args(lua_State *L, int want, int how)
{
    return (memory_search){.want = memory_number(L, want, "the size of a block"),
                           .how = lua_isnoneornil(L, how)
                                      ? SEARCH_FIRST
                                      : luaL_checkoption(L, how, NULL, memory_fits)};
}

/* A free block was met: true, the search is over. Of equally good ones it takes the lowest. */
static bool memory_search_meets(memory_search *s, uint64_t a, uint64_t size)
{
    if (size < s->want)
        return false;
    if (!s->found || (s->how == SEARCH_BEST ? size < s->size : size > s->size) ||
        (size == s->size && a < s->found)) {
        s->found = a;
        s->size = size;
    }
    return s->how == SEARCH_FIRST;
}

/* Returns address, size; or nil */
static int memory_search_end(lua_State *L, const lua_allocator *c, const memory_search *s)
{
    memory_settle(L, c);
    if (!s->found) {
        lua_pushnil(L);
        return 1;
    }
    lua_pushinteger(L, (lua_Integer)s->found);
    lua_pushinteger(L, (lua_Integer)s->size);
    return 2;
}

/* self:fit(first, size, how, stop) -> address, size of a free block in the row; nil */
static int memory_fit(lua_State *L)
{
    lua_allocator *c = memory_self(L);
    uint64_t a = memory_payload(L, c, 2);
    memory_search s = memory_search_args(L, 3, 4);
    const uint64_t stop = lua_isnoneornil(L, 5) ? 0 : memory_number(L, 5, "an address, or nil");
    memory_begin(c);
    while (a != stop && memory_step(c, &c->h->n.searches, a)) {
        const uint64_t tag = memory_row_tag(L, c, a), size = tag & ~(uint64_t)MEMORY_BITS;
        if (size == 0 || (!(tag & 1) && memory_search_meets(&s, a, size)))
            break;
        if (s.found == a && s.how == SEARCH_BEST && size == s.want)
            break; /* none is better, and those behind are higher */
        a += size;
    }
    return memory_search_end(L, c, &s);
}

/* --- lists ------------------------------------------------------------------------------------ */

/* The head in the argument: a word of the heap. */
static uint64_t memory_list(lua_State *L, const lua_allocator *c, int idx)
{
    const uint64_t head = memory_number(L, idx, "the address of a list's head");
    memory_within(L, c, head, memory_word(c), memory_word(c));
    return head;
}

/* A member, in the argument. */
static uint64_t memory_member(lua_State *L, const lua_allocator *c, int idx)
{
    const uint64_t a = memory_number(L, idx, "the address of a block");
    memory_within(L, c, a, 2 * memory_word(c), memory_word(c));
    return a;
}

/* The address in the word at `from`, of a member, or 0. One that can't be is damage. */
static uint64_t memory_follow(lua_State *L, lua_allocator *c, uint64_t from)
{
    const heap_port *t = &c->h->port;
    const uint64_t w = memory_word(c), a = heap_link(c->h, from);
    if (VM_UNLIKELY(a && (a < t->base + w || a > t->top - 2 * w || a & (w - 1))))
        lua_allocator_damaged(c, from, "the link at %#llx leads to %#llx, out of the heap",
                              (unsigned long long)from, (unsigned long long)a);
    memory_settle(L, c);
    return a;
}

/* Put it between two; before 0: it is the first. */
static int memory_join(lua_State *L, lua_allocator *c, uint64_t head, uint64_t before, uint64_t a,
                       uint64_t after)
{
    const uint64_t w = memory_word(c), base = c->h->port.base;
    memory_store(L, c, a, before ? before - base : 0);
    memory_store(L, c, a + w, after ? after - base : 0);
    memory_store(L, c, before ? before + w : head, a - base);
    if (after)
        memory_store(L, c, after, a - base);
    memory_settle(L, c);
    return 0;
}

/* self:push(list, a): at its front */
static int memory_push(lua_State *L)
{
    lua_allocator *c = memory_self(L);
    const uint64_t head = memory_list(L, c, 2), a = memory_member(L, c, 3);
    return memory_join(L, c, head, 0, a, memory_follow(L, c, head));
}

/* self:insert(list, a, order): in order of addresses, or of sizes and then addresses */
static int memory_insert(lua_State *L)
{
    static const char *const orders[] = {"address", "size", NULL};
    lua_allocator *c = memory_self(L);
    const uint64_t w = memory_word(c), head = memory_list(L, c, 2), a = memory_member(L, c, 3);
    const bool sizes = luaL_checkoption(L, 4, "address", orders) == 1;
    const uint64_t size = sizes ? heap_get(c->h, a - w) & ~(uint64_t)MEMORY_BITS : 0;
    uint64_t before = 0, after = memory_follow(L, c, head);
    memory_begin(c);
    while (after && memory_step(c, &c->h->n.steps, after)) {
        const uint64_t other = sizes ? heap_get(c->h, after - w) & ~(uint64_t)MEMORY_BITS : 0;
        if (other > size || (other == size && after > a))
            break;
        before = after;
        after = memory_follow(L, c, after + w);
    }
    memory_settle(L, c);
    return memory_join(L, c, head, before, a, after);
}

/* self:unlink(list, a) */
static int memory_unlink(lua_State *L)
{
    lua_allocator *c = memory_self(L);
    const uint64_t w = memory_word(c), base = c->h->port.base;
    const uint64_t head = memory_list(L, c, 2), a = memory_member(L, c, 3);
    const uint64_t before = memory_follow(L, c, a), after = memory_follow(L, c, a + w);
    memory_store(L, c, before ? before + w : head, after ? after - base : 0);
    if (after)
        memory_store(L, c, after, before ? before - base : 0);
    memory_settle(L, c);
    return 0;
}

/* Upvalues: the class, the word that leads to the next member, members that there may be. */
static int memory_list_next(lua_State *L)
{
    lua_allocator *c = memory_self(L);
    const uint64_t from = (uint64_t)lua_tointeger(L, lua_upvalueindex(2));
    const lua_Integer left = lua_tointeger(L, lua_upvalueindex(3));
    const uint64_t a = memory_follow(L, c, from);
    if (a == 0)
        return 0;
    if (left == 0)
        lua_allocator_damaged(c, from, "a list of blocks does not end");
    memory_settle(L, c);
    lua_pushinteger(L, (lua_Integer)(a + memory_word(c)));
    lua_replace(L, lua_upvalueindex(2));
    lua_pushinteger(L, left - 1);
    lua_replace(L, lua_upvalueindex(3));
    lua_pushinteger(L, (lua_Integer)a);
    return 1;
}

/* self:list(list) -> iterator over the members */
static int memory_members(lua_State *L)
{
    const lua_allocator *c = memory_self(L);
    const uint64_t head = memory_list(L, c, 2);
    lua_pushvalue(L, lua_upvalueindex(1));
    lua_pushinteger(L, (lua_Integer)head);
    lua_pushinteger(L, (lua_Integer)((c->h->port.top - c->h->port.base) / memory_word(c)));
    lua_pushcclosure(L, memory_list_next, 3);
    return 1;
}

/* self:list_fit(list, size, how, last) -> address, size, list: of the first of the lists whose
 * heads are in a row, up to `last`, that has a block which fits; nil */
static int memory_list_fit(lua_State *L)
{
    lua_allocator *c = memory_self(L);
    const uint64_t w = memory_word(c);
    uint64_t head = memory_list(L, c, 2);
    memory_search s = memory_search_args(L, 3, 4);
    const uint64_t last = lua_isnoneornil(L, 5) ? head : memory_list(L, c, 5);
    memory_begin(c);
    for (; head <= last; head += w) {
        uint64_t a = memory_follow(L, c, head);
        while (a && memory_step(c, &c->h->n.searches, a)) {
            if (memory_search_meets(&s, a, heap_get(c->h, a - w) & ~(uint64_t)MEMORY_BITS))
                break;
            a = memory_follow(L, c, a + w);
        }
        if (s.found || c->h->port.status != VM_OK)
            break;
    }
    const int results = memory_search_end(L, c, &s);
    if (results == 2)
        lua_pushinteger(L, (lua_Integer)head);
    return results + (results == 2);
}

/* Upvalues: the class, the first head, the last class, bytes of its least block. */
static int memory_class_head(lua_State *L)
{
    const lua_allocator *c = memory_self(L);
    const uint64_t size = memory_number(L, 1, "the size of a block"),
                   first = (uint64_t)lua_tointeger(L, lua_upvalueindex(2)),
                   last = (uint64_t)lua_tointeger(L, lua_upvalueindex(3)),
                   least = (uint64_t)lua_tointeger(L, lua_upvalueindex(4));
    const uint64_t k = size < least ? 0 : log2_floor(size / least);
    lua_pushinteger(L, (lua_Integer)(first + memory_word(c) * (k < last ? k : last)));
    return 1;
}

/* self:size_classes(first, count, least) -> function(size) -> the head of the list for blocks of
 * that size; heads are in a row, from `first`: of least bytes up to twice that, and so on */
static int memory_size_classes(lua_State *L)
{
    const lua_allocator *c = memory_self(L);
    const uint64_t first = memory_number(L, 2, "the address of a list's head"),
                   count = memory_number(L, 3, "a number of lists, 1 to 64"),
                   least = memory_number(L, 4, "the size of a block");
    if (count - 1 > 63)
        memory_bad(L, 3, "a number of lists, 1 to 64");
    if (least == 0)
        memory_bad(L, 4, "the size of a block");
    memory_within(L, c, first, count * memory_word(c), memory_word(c));
    lua_pushvalue(L, lua_upvalueindex(1));
    lua_pushinteger(L, (lua_Integer)first);
    lua_pushinteger(L, (lua_Integer)count - 1);
    lua_pushinteger(L, (lua_Integer)least);
    lua_pushcclosure(L, memory_class_head, 4);
    return 1;
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
    {"begin_row", memory_begin_row},
    {"extend_row", memory_extend_row},
    {"around", memory_around},
    {"row", memory_row},
    {"fit", memory_fit},
    {"push", memory_push},
    {"insert", memory_insert},
    {"unlink", memory_unlink},
    {"list", memory_members},
    {"list_fit", memory_list_fit},
    {"size_classes", memory_size_classes},
    {NULL, NULL},
};

void lua_allocator_push_methods(lua_State *L, int idx)
{
    lua_newtable(L);
    lua_pushvalue(L, idx);
    luaL_setfuncs(L, memory_methods, 1);
}

void lua_allocator_push_names(lua_State *L)
{
    lua_newtable(L);
    for (lua_Integer i = 0; memory_methods[i].name; i++) {
        lua_pushstring(L, memory_methods[i].name);
        lua_rawseti(L, -2, i + 1);
    }
}
