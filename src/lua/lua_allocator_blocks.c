/* lua_allocator_blocks.c: the methods of an allocator's self that see more than one block: rows
 * from header to header, and free lists.
 *
 *    list     head            a word, that of the first member; a member's payload begins with
 *             predecessor, successor
 *
 * A row ends at a header of size 0. Heads and links are kept as distances from the heap's
 * start (heap_link); 0 is none.
 *
 * Searches and changes of lists are one call each, since a call from Lua takes as long as
 * ten words do in C. Whatever the words of the heap are, each ends (lua_memory_step).
 */
#include "lua_allocator_memory.h"

/* --- rows of blocks ------------------------------------------------------------------- */

/* self:begin_row(n) -> the address where the first block of a row will be; before it are n bytes
 * (0) for one's own use, a prologue, and an epilogue, which moves as the row is extended; nil */
static int memory_begin_row(lua_State *L)
{
    lua_allocator *c = lua_memory_self(L);
    const uint64_t w = lua_memory_word(c), align = (uint64_t)c->h->cfg.align,
                   prologue = align_up(2 * w, align), from = c->h->port.top;
    const lua_Integer n = luaL_optinteger(L, 2, 0);
    if (n < 0 || n > INT64_MAX / 2)
        lua_memory_bad(L, 2, "a number of bytes");
    const uint64_t first = align_up(from + (uint64_t)n + w, align) + prologue;
    const uint64_t a = lua_memory_more(L, c, first - from);
    if (a) {
        lua_memory_tag_block(L, c, first - prologue, prologue, 1);
        lua_memory_store(L, c, first - w, 1);
        lua_memory_settle(L, c);
    }
    return lua_memory_push_address(L, a ? first : 0);
}

/* self:extend_row(n) -> the address of a free block of n more bytes, rounded up to the alignment,
 * with header and footer, at the end of the row that ends with the heap; nil */
static int memory_extend_row(lua_State *L)
{
    lua_allocator *c = lua_memory_self(L);
    const uint64_t w = lua_memory_word(c), n = lua_memory_bytes(L, c, 2);
    if (n < 2 * w)
        lua_memory_bad(L, 2, "a size with room for header and footer");
    const uint64_t a = lua_memory_more(L, c, n);
    if (a) {
        lua_memory_tag_block(L, c, a, n, 0);
        lua_memory_store(L, c, a + n - w, 1);
        lua_memory_settle(L, c);
    }
    return lua_memory_push_address(L, a);
}

/* self:around(a) -> size of the block, and of its neighbours before and behind if they are free,
 * else 0: from its header, the footer before, and the header behind */
static int memory_around(lua_State *L)
{
    lua_allocator *c = lua_memory_self(L);
    const uint64_t w = lua_memory_word(c), a = lua_memory_payload(L, c, 2),
                   size = lua_memory_load(L, c, a - w) & ~LUA_MEMORY_BITS,
                   before = lua_memory_load(L, c, a - 2 * w),
                   after = lua_memory_load(L, c, a + size - w);
    lua_memory_settle(L, c);
    lua_pushinteger(L, (lua_Integer)size);
    lua_pushinteger(L, before & 1 ? 0 : (lua_Integer)(before & ~LUA_MEMORY_BITS));
    lua_pushinteger(L, after & 1 ? 0 : (lua_Integer)(after & ~LUA_MEMORY_BITS));
    return 3;
}

/* The header of the block at `a` of a row; a size that can't be is damage. */
static uint64_t memory_row_tag(lua_State *L, lua_allocator *c, uint64_t a)
{
    const heap_port *t = &c->h->port;
    const uint64_t w = lua_memory_word(c), tag = heap_get(c->h, a - w);
    const uint64_t size = tag & ~LUA_MEMORY_BITS;
    if (VM_UNLIKELY(size & (w - 1) || size > t->top - a))
        lua_allocator_damaged(c, a - w, "the header %#llx at %#llx has no size that fits",
                              (unsigned long long)tag, (unsigned long long)(a - w));
    lua_memory_settle(L, c);
    return tag;
}

/* Upvalues: the class, the next block, where to stop. */
static int memory_row_next(lua_State *L)
{
    lua_allocator *c = lua_memory_self(L);
    const uint64_t w = lua_memory_word(c), a = (uint64_t)lua_tointeger(L, lua_upvalueindex(2)),
                   stop = (uint64_t)lua_tointeger(L, lua_upvalueindex(3));
    if (a == stop)
        return 0;
    const uint64_t tag = memory_row_tag(L, c, a), size = tag & ~LUA_MEMORY_BITS;
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
    const lua_allocator *c = lua_memory_self(L);
    lua_settop(L, 3);
    lua_memory_payload(L, c, 2);
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
    return (memory_search){.want = lua_memory_number(L, want, "the size of a block"),
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
    lua_memory_settle(L, c);
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
    lua_allocator *c = lua_memory_self(L);
    uint64_t a = lua_memory_payload(L, c, 2);
    memory_search s = memory_search_args(L, 3, 4);
    const uint64_t stop = lua_isnoneornil(L, 5) ? 0 : lua_memory_number(L, 5, "an address, or nil");
    lua_memory_begin(c);
    while (a != stop && lua_memory_step(c, &c->h->n.searches, a)) {
        const uint64_t tag = memory_row_tag(L, c, a), size = tag & ~LUA_MEMORY_BITS;
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
    const uint64_t head = lua_memory_number(L, idx, "the address of a list's head");
    lua_memory_within(L, c, head, lua_memory_word(c), lua_memory_word(c));
    return head;
}

/* A member, in the argument. */
static uint64_t memory_member(lua_State *L, const lua_allocator *c, int idx)
{
    const uint64_t a = lua_memory_number(L, idx, "the address of a block");
    lua_memory_within(L, c, a, 2 * lua_memory_word(c), lua_memory_word(c));
    return a;
}

/* The address in the word at `from`, of a member, or 0. One that can't be is damage. */
static uint64_t memory_follow(lua_State *L, lua_allocator *c, uint64_t from)
{
    const heap_port *t = &c->h->port;
    const uint64_t w = lua_memory_word(c), a = heap_link(c->h, from);
    if (VM_UNLIKELY(a && (a < t->base + w || a > t->top - 2 * w || a & (w - 1))))
        lua_allocator_damaged(c, from, "the link at %#llx leads to %#llx, out of the heap",
                              (unsigned long long)from, (unsigned long long)a);
    lua_memory_settle(L, c);
    return a;
}

/* Put it between two; before 0: it is the first. */
static int memory_join(lua_State *L, lua_allocator *c, uint64_t head, uint64_t before, uint64_t a,
                       uint64_t after)
{
    const uint64_t w = lua_memory_word(c), base = c->h->port.base;
    lua_memory_store(L, c, a, before ? before - base : 0);
    lua_memory_store(L, c, a + w, after ? after - base : 0);
    lua_memory_store(L, c, before ? before + w : head, a - base);
    if (after)
        lua_memory_store(L, c, after, a - base);
    lua_memory_settle(L, c);
    return 0;
}

/* self:push(list, a): at its front */
static int memory_push(lua_State *L)
{
    lua_allocator *c = lua_memory_self(L);
    const uint64_t head = memory_list(L, c, 2), a = memory_member(L, c, 3);
    return memory_join(L, c, head, 0, a, memory_follow(L, c, head));
}

/* self:insert(list, a, order): in order of addresses, or of sizes and then addresses */
static int memory_insert(lua_State *L)
{
    static const char *const orders[] = {"address", "size", NULL};
    lua_allocator *c = lua_memory_self(L);
    const uint64_t w = lua_memory_word(c), head = memory_list(L, c, 2), a = memory_member(L, c, 3);
    const bool sizes = luaL_checkoption(L, 4, "address", orders) == 1;
    const uint64_t size = sizes ? heap_get(c->h, a - w) & ~LUA_MEMORY_BITS : 0;
    uint64_t before = 0, after = memory_follow(L, c, head);
    lua_memory_begin(c);
    while (after && lua_memory_step(c, &c->h->n.steps, after)) {
        const uint64_t other = sizes ? heap_get(c->h, after - w) & ~LUA_MEMORY_BITS : 0;
        if (other > size || (other == size && after > a))
            break;
        before = after;
        after = memory_follow(L, c, after + w);
    }
    lua_memory_settle(L, c);
    return memory_join(L, c, head, before, a, after);
}

/* self:unlink(list, a) */
static int memory_unlink(lua_State *L)
{
    lua_allocator *c = lua_memory_self(L);
    const uint64_t w = lua_memory_word(c), base = c->h->port.base;
    const uint64_t head = memory_list(L, c, 2), a = memory_member(L, c, 3);
    const uint64_t before = memory_follow(L, c, a), after = memory_follow(L, c, a + w);
    lua_memory_store(L, c, before ? before + w : head, after ? after - base : 0);
    if (after)
        lua_memory_store(L, c, after, before ? before - base : 0);
    lua_memory_settle(L, c);
    return 0;
}

/* Upvalues: the class, the word that leads to the next member, members that there may be. */
static int memory_list_next(lua_State *L)
{
    lua_allocator *c = lua_memory_self(L);
    const uint64_t from = (uint64_t)lua_tointeger(L, lua_upvalueindex(2));
    const lua_Integer left = lua_tointeger(L, lua_upvalueindex(3));
    const uint64_t a = memory_follow(L, c, from);
    if (a == 0)
        return 0;
    if (left == 0)
        lua_allocator_damaged(c, from, "a list of blocks does not end");
    lua_memory_settle(L, c);
    lua_pushinteger(L, (lua_Integer)(a + lua_memory_word(c)));
    lua_replace(L, lua_upvalueindex(2));
    lua_pushinteger(L, left - 1);
    lua_replace(L, lua_upvalueindex(3));
    lua_pushinteger(L, (lua_Integer)a);
    return 1;
}

/* self:list(list) -> iterator over the members */
static int memory_members(lua_State *L)
{
    const lua_allocator *c = lua_memory_self(L);
    const uint64_t head = memory_list(L, c, 2);
    lua_pushvalue(L, lua_upvalueindex(1));
    lua_pushinteger(L, (lua_Integer)head);
    lua_pushinteger(L, (lua_Integer)((c->h->port.top - c->h->port.base) / lua_memory_word(c)));
    lua_pushcclosure(L, memory_list_next, 3);
    return 1;
}

/* self:list_fit(list, size, how, last) -> address, size, list: of the first of the lists whose
 * heads are in a row, up to `last`, that has a block which fits; nil */
static int memory_list_fit(lua_State *L)
{
    lua_allocator *c = lua_memory_self(L);
    const uint64_t w = lua_memory_word(c);
    uint64_t head = memory_list(L, c, 2);
    memory_search s = memory_search_args(L, 3, 4);
    const uint64_t last = lua_isnoneornil(L, 5) ? head : memory_list(L, c, 5);
    lua_memory_begin(c);
    for (; head <= last; head += w) {
        uint64_t a = memory_follow(L, c, head);
        while (a && lua_memory_step(c, &c->h->n.searches, a)) {
            if (memory_search_meets(&s, a, heap_get(c->h, a - w) & ~LUA_MEMORY_BITS))
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
    const lua_allocator *c = lua_memory_self(L);
    const uint64_t size = lua_memory_number(L, 1, "the size of a block"),
                   first = (uint64_t)lua_tointeger(L, lua_upvalueindex(2)),
                   last = (uint64_t)lua_tointeger(L, lua_upvalueindex(3)),
                   least = (uint64_t)lua_tointeger(L, lua_upvalueindex(4));
    const uint64_t k = size < least ? 0 : log2_floor(size / least);
    lua_pushinteger(L, (lua_Integer)(first + lua_memory_word(c) * (k < last ? k : last)));
    return 1;
}

/* self:size_classes(first, count, least) -> function(size) -> the head of the list for blocks of
 * that size; heads are in a row, from `first`: of least bytes up to twice that, and so on */
static int memory_size_classes(lua_State *L)
{
    const lua_allocator *c = lua_memory_self(L);
    const uint64_t first = lua_memory_number(L, 2, "the address of a list's head"),
                   count = lua_memory_number(L, 3, "a number of lists, 1 to 64"),
                   least = lua_memory_number(L, 4, "the size of a block");
    if (count - 1 > 63)
        lua_memory_bad(L, 3, "a number of lists, 1 to 64");
    if (least == 0)
        lua_memory_bad(L, 4, "the size of a block");
    lua_memory_within(L, c, first, count * lua_memory_word(c), lua_memory_word(c));
    lua_pushvalue(L, lua_upvalueindex(1));
    lua_pushinteger(L, (lua_Integer)first);
    lua_pushinteger(L, (lua_Integer)count - 1);
    lua_pushinteger(L, (lua_Integer)least);
    lua_pushcclosure(L, memory_class_head, 4);
    return 1;
}

const luaL_Reg lua_memory_block_methods[] = {
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
