#include "lua_allocator.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>

/* Fields of the object, in the order of LUA_ALLOCATOR_INIT ... */
static const char *const allocator_functions[LUA_ALLOCATOR_FUNCTIONS] = {
    "init", "malloc", "free", "realloc", "resize", "memalign", "usable_size", "blocks", "check"};

/* The stack of a class's thread: the message handler, self, the functions. */
enum { THREAD_ALLOCATOR_SELF = 2, THREAD_ALLOCATOR_TOP = 2 + LUA_ALLOCATOR_FUNCTIONS };

const heap_option lua_allocator_options[] = {HEAP_OPTIONS, HEAP_LAYOUT_OPTIONS, {0}};

static lua_allocator *allocator_of(const heap *h) { return (lua_allocator *)(uintptr_t)h->cls; }

/* --- payloads that are given out ------------------------------------------------------ */

/* The bits of taken from `first` to `last` that are in word w. */
static uint64_t taken_mask(uint64_t w, uint64_t first, uint64_t last)
{
    uint64_t mask = ~UINT64_C(0);
    if (w == first / 64)
        mask &= ~UINT64_C(0) << first % 64;
    if (w == last / 64)
        mask &= ~UINT64_C(0) >> (63 - last % 64);
    return mask;
}

bool lua_allocator_taken(const lua_allocator *c, uint64_t a, uint64_t n)
{
    const uint64_t first = (a - c->h->port.base) / 4, last = first + (n - 1) / 4;
    for (uint64_t w = first / 64; w <= last / 64; w++)
        if (c->taken[w] & taken_mask(w, first, last))
            return true;
    return false;
}

void lua_allocator_take(lua_allocator *c, uint64_t a, uint64_t n, bool taken)
{
    const uint64_t first = (a - c->h->port.base) / 4, last = first + (n - 1) / 4;
    for (uint64_t w = first / 64; w <= last / 64; w++) {
        const uint64_t mask = taken_mask(w, first, last);
        c->taken[w] = taken ? c->taken[w] | mask : c->taken[w] & ~mask;
    }
}

/* --- calls from C ----------------------------------------------------------------------- */

/* An answer that can't be: a failure of the call. Always 0. */
static uint64_t allocator_wrong(lua_allocator *c, const char *fmt, ...)
{
    va_list ap;
    char text[300];
    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    if (c->h->port.status == VM_OK)
        c->h->port.status =
            vm_fail(&c->h->port.error, VM_INVALID, "%s: %s: %s", c->who, c->guard.doing, text);
    return 0;
}

void lua_allocator_damaged(lua_allocator *c, uint64_t at, const char *fmt, ...)
{
    va_list ap;
    char text[300];
    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    c->damage = at;
    allocator_wrong(c, "%s", text);
}

/* Call the function below `nargs` arguments on the thread, or on a failure leave it in the
 * port's status: 0 and nothing pushed. Else 1 + results, which are above THREAD_ALLOCATOR_TOP. */
static int allocator_run(lua_allocator *c, int nargs)
{
    heap_port *t = &c->h->port;
    vm_error e;
    const char *was = *c->busy;
    *c->busy = c->who;
    c->serving = true;
    vm_status s = callback_guarded(c->calls, c->thread, &c->guard, nargs, LUA_MULTRET, &e);
    c->serving = false;
    *c->busy = was;
    if (s != VM_OK && t->status == VM_OK) {
        t->status = s;
        t->error = e;
    }
    if (t->status == VM_OK)
        return 1 + lua_gettop(c->thread) - THREAD_ALLOCATOR_TOP;
    lua_settop(c->thread, THREAD_ALLOCATOR_TOP);
    return 0;
}

/* Push what a call begins with; false: it can't be, as the port's status says. Whoever
 * gets hold of the thread can put its stack in disorder, by coroutine.close. */
static bool allocator_begin(lua_allocator *c, int function)
{
    c->guard.doing = allocator_functions[function];
    c->refused = false;
    if (c->h->port.status != VM_OK)
        return false;
    if (lua_status(c->thread) != LUA_OK || lua_gettop(c->thread) != THREAD_ALLOCATOR_TOP) {
        allocator_wrong(c, "its thread was resumed or closed");
        return false;
    }
    lua_pushvalue(c->thread, THREAD_ALLOCATOR_SELF + 1 + function);
    lua_pushvalue(c->thread, THREAD_ALLOCATOR_SELF);
    return true;
}

/* Call it with up to two numbers: 1 + results. */
static int allocator_call(lua_allocator *c, int function, int nargs, uint64_t x, uint64_t y)
{
    if (!allocator_begin(c, function))
        return 0;
    if (nargs > 0)
        lua_pushinteger(c->thread, (lua_Integer)x);
    if (nargs > 1)
        lua_pushinteger(c->thread, (lua_Integer)y);
    return allocator_run(c, 1 + nargs);
}

static void allocator_end(lua_allocator *c) { lua_settop(c->thread, THREAD_ALLOCATOR_TOP); }

/* An answer as messages show it. */
static const char *allocator_show(const lua_allocator *c, int idx, char text[80])
{
    lua_State *T = c->thread;
    if (lua_type(T, idx) == LUA_TSTRING)
        snprintf(text, 80, "\"%.60s\"", lua_tostring(T, idx));
    else if (lua_isinteger(T, idx))
        snprintf(text, 80, "%#llx", (unsigned long long)lua_tointeger(T, idx));
    else if (lua_type(T, idx) == LUA_TNUMBER)
        snprintf(text, 80, "%.14g", (double)lua_tonumber(T, idx));
    else if (lua_isboolean(T, idx))
        snprintf(text, 80, "%s", lua_toboolean(T, idx) ? "true" : "false");
    else
        snprintf(text, 80, "a %s", lua_typename(T, lua_type(T, idx)));
    return text;
}

/* The first result as a payload of n bytes that overlaps no other: its address; 0: there was
 * no memory, or it is wrong. */
static uint64_t allocator_address(lua_allocator *c, int results, uint64_t align, uint64_t n)
{
    heap_port *t = &c->h->port;
    const int idx = THREAD_ALLOCATOR_TOP + 1;
    char text[80];
    int whole = 0;
    if (results == 0)
        return 0;
    if (results == 1)
        return allocator_wrong(c, "it answered nothing; it is to return an address, or nil "
                                  "where there is no memory");
    if (lua_isnil(c->thread, idx)) {
        if (!c->refused)
            vm_fail_sys(&t->refused, VM_REFUSED, ENOMEM, "%s answered nil", c->who);
        return 0;
    }
    if (lua_type(c->thread, idx) == LUA_TNUMBER)
        lua_tointegerx(c->thread, idx, &whole);
    if (!whole)
        return allocator_wrong(c, "it answered %s, which is no address",
                               allocator_show(c, idx, text));
    const uint64_t a = (uint64_t)lua_tointeger(c->thread, idx);
    if (a < t->base || a >= t->top || n > t->top - a)
        return allocator_wrong(c,
                               "it answered %#llx for %llu bytes, but the heap is from %#llx to "
                               "%#llx",
                               (unsigned long long)a, (unsigned long long)n,
                               (unsigned long long)t->base, (unsigned long long)t->top);
    if (a & (align - 1))
        return allocator_wrong(c, "it answered %#llx, which is not aligned to %llu bytes",
                               (unsigned long long)a, (unsigned long long)align);
    if (lua_allocator_taken(c, a, n))
        return allocator_wrong(c,
                               "it answered %#llx for %llu bytes, which overlap a block that is "
                               "allocated",
                               (unsigned long long)a, (unsigned long long)n);
    return a;
}

/* --- the functions of a heap_class --------------------------------------------------- */

static uint64_t allocator_gives(lua_allocator *c, int results, uint64_t align, uint64_t n)
{
    const uint64_t a = allocator_address(c, results, align, n);
    if (a)
        lua_allocator_take(c, a, n, true);
    allocator_end(c);
    return a;
}

static uint64_t allocator_malloc(heap *h, uint64_t n)
{
    lua_allocator *c = allocator_of(h);
    int results = allocator_call(c, LUA_ALLOCATOR_MALLOC, 1, n, 0);
    return allocator_gives(c, results, (uint64_t)h->cfg.align, n);
}

static uint64_t allocator_memalign(heap *h, uint64_t align, uint64_t n)
{
    lua_allocator *c = allocator_of(h);
    int results = allocator_call(c, LUA_ALLOCATOR_MEMALIGN, 2, align, n);
    return allocator_gives(c, results, align, n);
}

static void allocator_free(heap *h, uint64_t a)
{
    lua_allocator *c = allocator_of(h);
    uint64_t n = 0;
    if (heap_asked(h, a, &n))
        lua_allocator_take(c, a, n, false);
    if (c->has[LUA_ALLOCATOR_FREE])
        allocator_call(c, LUA_ALLOCATOR_FREE, 1, a, 0);
    allocator_end(c);
}

/* The old block may be written to and overlapped: it is its own. */
static uint64_t allocator_realloc(heap *h, uint64_t a, uint64_t n)
{
    lua_allocator *c = allocator_of(h);
    uint64_t old = 0;
    if (heap_asked(h, a, &old))
        lua_allocator_take(c, a, old, false);
    int results = allocator_call(c, LUA_ALLOCATOR_REALLOC, 2, a, n);
    uint64_t to = allocator_gives(c, results, (uint64_t)h->cfg.align, n);
    if (!to)
        lua_allocator_take(c, a, old, true);
    return to;
}

static bool allocator_resize(heap *h, uint64_t a, uint64_t n)
{
    lua_allocator *c = allocator_of(h);
    uint64_t old = 0;
    if (heap_asked(h, a, &old))
        lua_allocator_take(c, a, old, false);
    int results = allocator_call(c, LUA_ALLOCATOR_RESIZE, 2, a, n);
    bool fits = results > 1 && lua_toboolean(c->thread, THREAD_ALLOCATOR_TOP + 1);
    if (fits && n > h->port.top - a)
        fits = allocator_wrong(c, "it answered true, but the heap ends %llu bytes behind %#llx",
                               (unsigned long long)(h->port.top - a), (unsigned long long)a);
    if (fits && lua_allocator_taken(c, a, n))
        fits = allocator_wrong(c,
                               "it answered true, but %llu bytes at %#llx overlap a block that is "
                               "allocated",
                               (unsigned long long)n, (unsigned long long)a);
    lua_allocator_take(c, a, fits ? n : old, true);
    allocator_end(c);
    return fits;
}

/* Without such a function a block is known to hold what was asked for. */
static uint64_t allocator_usable_size(heap *h, uint64_t a)
{
    lua_allocator *c = allocator_of(h);
    uint64_t n = 0, size;
    char text[80];
    heap_asked(h, a, &n);
    if (!c->has[LUA_ALLOCATOR_USABLE_SIZE])
        return n;
    const int results = allocator_call(c, LUA_ALLOCATOR_USABLE_SIZE, 1, a, 0),
              idx = THREAD_ALLOCATOR_TOP + 1;
    if (results == 0)
        return 0;
    size = (uint64_t)lua_tointeger(c->thread, idx);
    if (results == 1 || !lua_isinteger(c->thread, idx) || size < n || size > h->port.top - a)
        size = allocator_wrong(c, "it answered %s for %#llx, of which %llu bytes are in use",
                               results == 1 ? "nothing" : allocator_show(c, idx, text),
                               (unsigned long long)a, (unsigned long long)n);
    allocator_end(c);
    return size;
}

/* (init or nil, self, base) */
static int allocator_init_run(lua_State *T)
{
    lua_setfield(T, 2, "base");
    if (lua_isnil(T, 1))
        return 0;
    callback_pass(T, 1, 0);
    return 0;
}

static vm_status allocator_init(heap *h, vm_error *e)
{
    lua_allocator *c = allocator_of(h);
    c->h = h;
    if (c->has[LUA_ALLOCATOR_REALLOC])
        h->realloc = allocator_realloc;
    allocator_begin(c, LUA_ALLOCATOR_INIT);
    lua_pushcfunction(c->thread, allocator_init_run);
    lua_insert(c->thread, -3);
    lua_pushinteger(c->thread, (lua_Integer)h->port.base);
    const bool done = allocator_run(c, 3) != 0;
    allocator_end(c);
    if (c->refused && (done || h->port.status == VM_POLICY)) {
        /* Whatever it made of that: there is no memory for such a heap. */
        h->port.status = VM_OK;
        *e = h->port.refused;
        return h->port.refused.status;
    }
    if (h->port.status != VM_OK)
        *e = h->port.error;
    return h->port.status;
}

/* --- looks ----------------------------------------------------------------------------- */

typedef struct allocator_walk {
    lua_allocator *c;
    heap_visit *visit;
    void *ud;
} allocator_walk;

/* The block that the iterator's results at idx say; false: it can't be one. */
static bool walk_block(lua_State *T, lua_allocator *c, int idx, uint64_t end, heap_block *b)
{
    const heap_port *t = &c->h->port;
    if (!lua_isinteger(T, idx) || !lua_isinteger(T, idx + 1)) {
        lua_allocator_damaged(c, end, "a block is an address, a size and whether it is allocated");
        return false;
    }
    b->payload = (uint64_t)lua_tointeger(T, idx);
    b->size = (uint64_t)lua_tointeger(T, idx + 1);
    b->used = lua_toboolean(T, idx + 2);
    b->start = lua_isinteger(T, idx + 3) ? (uint64_t)lua_tointeger(T, idx + 3) : b->payload;
    if (b->size > 0 && b->start >= end && b->start < t->top && b->size <= t->top - b->start &&
        b->payload >= b->start && b->payload - b->start <= b->size)
        return true;
    lua_allocator_damaged(c, b->start,
                          "the block of %llu bytes at %#llx is not behind the one before and in "
                          "the heap",
                          (unsigned long long)b->size, (unsigned long long)b->start);
    return false;
}

/* (walk, blocks, self): for each of blocks(self). */
static int walk_run(lua_State *T)
{
    const allocator_walk *w = lua_touserdata(T, 1);
    uint64_t end = w->c->h->port.base;
    callback_pass(T, 1, 3); /* 2: iterator, state, control */
    for (;;) {
        heap_block b;
        lua_settop(T, 4);
        lua_pushvalue(T, 2);
        lua_pushvalue(T, 3);
        lua_pushvalue(T, 4);
        callback_pass(T, 2, 4);
        if (lua_isnil(T, 5))
            return 0;
        if (!walk_block(T, w->c, 5, end, &b) || !w->visit(w->ud, &b))
            return 0;
        end = b.start + b.size;
        lua_copy(T, 5, 4);
    }
}

/* Blocks that are allocated, since there is nobody to ask for others: as large as asked for. */
static bool allocator_walk_taken(const lua_allocator *c, heap_visit *visit, void *ud)
{
    const uint64_t base = c->h->port.base, granules = (c->h->port.top - base) / 4;
    for (uint64_t g = 0, n; g < granules;) {
        const uint64_t rest = c->taken[g / 64] >> g % 64;
        if (rest == 0) {
            g = (g / 64 + 1) * 64;
            continue;
        }
        g += (unsigned)__builtin_ctzll(rest);
        const uint64_t a = base + 4 * g;
        if (!heap_asked(c->h, a, &n))
            return false;
        const heap_block b = {.start = a, .size = n, .payload = a, .used = true};
        if (!visit(ud, &b))
            return true;
        g += (n + 3) / 4;
    }
    return true;
}

static bool allocator_blocks(heap *h, heap_visit *visit, void *ud)
{
    lua_allocator *c = allocator_of(h);
    allocator_walk walk = {c, visit, ud};
    if (!c->has[LUA_ALLOCATOR_BLOCKS])
        return allocator_walk_taken(c, visit, ud);
    if (!allocator_begin(c, LUA_ALLOCATOR_BLOCKS))
        return false;
    lua_pushcfunction(c->thread, walk_run);
    lua_insert(c->thread, -3);
    lua_pushlightuserdata(c->thread, &walk);
    lua_insert(c->thread, -3);
    const bool whole = allocator_run(c, 3) != 0;
    allocator_end(c);
    return whole;
}

static bool allocator_any(void *ud, const heap_block *b)
{
    (void)ud;
    (void)b;
    return true;
}

/* Its own check, then its row of blocks. What they ran into is what is wrong. */
static bool allocator_check(heap *h, heap_wrong *wrong)
{
    lua_allocator *c = allocator_of(h);
    bool ok = true;
    c->damage = h->port.base;
    if (c->has[LUA_ALLOCATOR_CHECK]) {
        const int results = allocator_call(c, LUA_ALLOCATOR_CHECK, 0, 0, 0),
                  idx = THREAD_ALLOCATOR_TOP + 1;
        ok = results > 1 && lua_toboolean(c->thread, idx);
        if (results && !ok) {
            const char *text = results > 2 && lua_type(c->thread, idx + 1) == LUA_TSTRING
                                   ? lua_tostring(c->thread, idx + 1)
                                   : "check says no";
            heap_says(wrong,
                      results > 3 && lua_isinteger(c->thread, idx + 2)
                          ? (uint64_t)lua_tointeger(c->thread, idx + 2)
                          : h->port.base,
                      "%.190s", text);
        }
        allocator_end(c);
    }
    ok = ok && allocator_blocks(h, allocator_any, NULL);
    if (h->port.status == VM_INVALID)
        heap_says(wrong, c->damage, "%.190s", h->port.error.text);
    return ok;
}

/* --- classes ------------------------------------------------------------------------------ */

bool lua_allocator_is(lua_State *L, int idx)
{
    if (lua_type(L, idx) != LUA_TTABLE || !lua_getmetatable(L, idx))
        return false;
    luaL_getmetatable(L, LUA_ALLOCATOR);
    bool is = lua_rawequal(L, -1, -2);
    lua_pop(L, 2);
    return is;
}

/* self: methods of the memory, the object's functions, and what `params` has. All are its own
 * fields: a metatable would make each call of a method a tenth slower. */
static void allocator_push_self(lua_State *L, int object, int params)
{
    lua_allocator_push_methods(L, lua_gettop(L));
    for (int i = 0; i < LUA_ALLOCATOR_FUNCTIONS; i++) {
        lua_getfield(L, object, allocator_functions[i]);
        lua_setfield(L, -2, allocator_functions[i]);
    }
    for (lua_pushnil(L); lua_next(L, params);) {
        lua_pushvalue(L, -2);
        lua_insert(L, -2);
        lua_rawset(L, -4);
    }
}

lua_allocator *lua_allocator_push(lua_State *L, int object, int params, const char **busy)
{
    luaL_checkstack(L, 2 * LUA_MINSTACK, "an allocator");
    lua_allocator *c = lua_newuserdatauv(L, sizeof *c, 2); /* the thread, the name */
    memset(c, 0, sizeof *c);
    c->host = lua_host(L);
    luaL_setmetatable(L, LUA_ALLOCATOR_CLASS);
    lua_getfield(L, object, "name");
    luaL_checktype(L, -1, LUA_TSTRING);
    c->cls.name = lua_tostring(L, -1);
    lua_setiuservalue(L, -2, 2);
    snprintf(c->who, sizeof c->who, "allocator %s", c->cls.name);
    c->guard.who = c->who;
    lua_getfield(L, object, "instructions");
    c->guard.limit = (uint64_t)luaL_checkinteger(L, -1);
    lua_pop(L, 1);
    c->busy = busy ? busy : &c->idle;
    c->calls = callback_enter(L);
    for (int i = 0; i < LUA_ALLOCATOR_FUNCTIONS; i++) {
        c->has[i] = lua_getfield(L, object, allocator_functions[i]) == LUA_TFUNCTION;
        lua_pop(L, 1);
    }
    c->thread = callback_thread(L, c->guard.limit);
    lua_setiuservalue(L, -2, 1);
    allocator_push_self(L, object, params);
    for (int i = 0; i < LUA_ALLOCATOR_FUNCTIONS; i++)
        lua_getfield(L, object, allocator_functions[i]);
    luaL_checkstack(c->thread, 2 * LUA_MINSTACK, "an allocator");
    lua_xmove(L, c->thread, 1 + LUA_ALLOCATOR_FUNCTIONS);
    c->cls.doc = "in Lua";
    c->cls.options = lua_allocator_options;
    c->cls.size = sizeof(heap);
    c->cls.init = allocator_init;
    c->cls.malloc = allocator_malloc;
    c->cls.free = allocator_free;
    c->cls.resize = c->has[LUA_ALLOCATOR_RESIZE] ? allocator_resize : NULL;
    c->cls.memalign = c->has[LUA_ALLOCATOR_MEMALIGN] ? allocator_memalign : NULL;
    c->cls.usable_size = allocator_usable_size;
    c->cls.walk = allocator_blocks;
    c->cls.check = allocator_check;
    return c;
}

static int allocator_gc(lua_State *L)
{
    lua_allocator *c = luaL_checkudata(L, 1, LUA_ALLOCATOR_CLASS);
    host_free(&c->host, c->taken, c->words * sizeof *c->taken);
    c->taken = NULL;
    c->words = 0;
    return 0;
}

void lua_open_allocator(lua_State *L)
{
    luaL_newmetatable(L, LUA_ALLOCATOR_CLASS);
    lua_pushcfunction(L, allocator_gc);
    lua_setfield(L, -2, "__gc");
    lua_pop(L, 1);
    luaL_newmetatable(L, LUA_ALLOCATOR);
    lua_setfield(L, -2, "Allocator");
    lua_allocator_push_names(L);
    lua_setfield(L, -2, "allocator_methods");
}
