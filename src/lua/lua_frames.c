/* lua_frames.c: physical memory as a table: free blocks by order, and a map of what
 * frames are used for, a character for each group of frames.
 */
#include "lua_machine.h"

#define FRAMES_CELLS 1024 /* characters of a map at most */

/* What a use looks like on the map; '#' is several. */
static const struct {
    char letter;
    const char *name;
} frame_letters[] = {
    [FRAME_FREE] = {'.', "free"},
    [FRAME_TABLE] = {'t', "page tables"},
    [FRAME_ANON] = {'p', "private pages"},
    [FRAME_FILE] = {'f', "files and shared memory"},
    [FRAME_HUGE] = {'h', "large pages"},
    [FRAME_TAIL] = {'h', "large pages"},
    [FRAME_ZERO] = {'z', "the page of zeros"},
    [FRAME_PINNED] = {'s', "set by hand"},
    [FRAME_KERNEL] = {'k', "the kernel's own"},
};

/* The one use of frames first .. stop - 1, as a letter. */
static char frames_letter(const frames *f, uint64_t first, uint64_t stop)
{
    char all = 0;
    while (first < stop) {
        const frame *r = frames_at(f, first);
        bool is_free = frames_is_free(f, first);
        char one = frame_letters[is_free || !r ? FRAME_FREE : r->use].letter;
        if (all && one != all)
            return '#';
        all = one;
        first = is_free ? number_set_next_absent(&f->alloc.map, first, stop) : first + 1;
    }
    return all;
}

static void frames_push_map(lua_State *L, const frames *f)
{
    luaL_Buffer b;
    uint64_t group = 1;
    while (f->count / group + (f->count % group != 0) > FRAMES_CELLS)
        group *= 2;
    lua_pushinteger(L, (lua_Integer)group);
    lua_setfield(L, -2, "group");
    luaL_buffinit(L, &b);
    for (uint64_t at = 0; at < f->count; at += group) {
        uint64_t stop = at + group < f->count ? at + group : f->count;
        luaL_addchar(&b, frames_letter(f, at, stop));
    }
    luaL_pushresult(&b);
    lua_setfield(L, -2, "map");
    lua_newtable(L);
    for (size_t i = 0; i < sizeof frame_letters / sizeof *frame_letters; i++) {
        lua_pushlstring(L, &frame_letters[i].letter, 1);
        lua_pushstring(L, frame_letters[i].name);
        lua_rawset(L, -3);
    }
    lua_setfield(L, -2, "legend");
}

static void frames_push_orders(lua_State *L, const frame_alloc *a)
{
    uint64_t blocks[FRAME_ORDERS];
    frame_alloc_blocks(a, blocks);
    lua_createtable(L, (int)a->orders, 0);
    for (unsigned k = 0; k < a->orders; k++) {
        lua_createtable(L, 0, 3);
        lua_pushinteger(L, k);
        lua_setfield(L, -2, "order");
        lua_pushinteger(L, (lua_Integer)blocks[k]);
        lua_setfield(L, -2, "free_blocks");
        lua_pushnumber(L, frame_alloc_unusable(blocks, k));
        lua_setfield(L, -2, "unusable");
        lua_rawseti(L, -2, (lua_Integer)k + 1);
    }
    lua_setfield(L, -2, "orders");
}

/* m:_frames() -> { count =, free =, allocator =, orders =, map =, ... } */
static int machine_frames(lua_State *L)
{
    const machine *m = lua_check_machine(L, 1)->m;
    const frames *f = &m->kernel.frames;
    const struct {
        const char *name;
        uint64_t value;
    } fields[] = {{"count", f->count},
                  {"free", f->free},
                  {"page", kernel_page(&m->kernel)},
                  {"largest_run", frame_alloc_largest_run(&f->alloc)},
                  {"splits", f->alloc.splits},
                  {"merges", f->alloc.merges}};
    lua_createtable(L, 0, 11);
    for (size_t i = 0; i < sizeof fields / sizeof *fields; i++) {
        lua_pushinteger(L, (lua_Integer)fields[i].value);
        lua_setfield(L, -2, fields[i].name);
    }
    lua_pushstring(L, f->alloc.cls->name);
    lua_setfield(L, -2, "allocator");
    frames_push_orders(L, &f->alloc);
    frames_push_map(L, f);
    return 1;
}

/* m:promote([pages]) -> how many large pages were made of base pages */
static int machine_promote(lua_State *L)
{
    kernel *k = &lua_check_machine(L, 1)->m->kernel;
    lua_Integer pages = luaL_optinteger(L, 2, 0);
    luaL_argcheck(L, pages >= 0, 2, "less than no pages");
    lua_pushinteger(L, (lua_Integer)huge_promote(k, (uint64_t)pages));
    return 1;
}

/* m:compact([order]) -> is a block of the order free?, how many pages were moved */
static int machine_compact(lua_State *L)
{
    kernel *k = &lua_check_machine(L, 1)->m->kernel;
    uint64_t before = k->n.compact_moves;
    bool done = true;
    if (lua_isnoneornil(L, 2)) {
        compact_all(k);
    } else {
        lua_Integer order = luaL_checkinteger(L, 2);
        luaL_argcheck(L, order >= 0 && order < FRAME_ORDERS, 2, "no such order of blocks");
        done = compact_block(k, (unsigned)order);
    }
    lua_pushboolean(L, done);
    lua_pushinteger(L, (lua_Integer)(k->n.compact_moves - before));
    return 2;
}

/* core.frame_allocators() -> list of { name, doc } */
static int frames_allocators(lua_State *L)
{
    lua_newtable(L);
    for (lua_Integer i = 0; frame_alloc_classes[i]; i++) {
        lua_createtable(L, 0, 2);
        lua_pushstring(L, frame_alloc_classes[i]->name);
        lua_setfield(L, -2, "name");
        lua_pushstring(L, frame_alloc_classes[i]->doc);
        lua_setfield(L, -2, "doc");
        lua_rawseti(L, -2, i + 1);
    }
    return 1;
}

void lua_open_frames(lua_State *L)
{
    static const luaL_Reg methods[] = {{"_frames", machine_frames},
                                       {"promote", machine_promote},
                                       {"compact", machine_compact},
                                       {NULL, NULL}};
    luaL_setfuncs(L, methods, 0); /* the machine's methods are on the top */
    lua_pushcfunction(L, frames_allocators);
    lua_setfield(L, -4, "frame_allocators"); /* below them its metatable, and the core's table */
}
