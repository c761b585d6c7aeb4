#include "lua_trace.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "../trace/event.h"
#include "../trace/format.h"
#include "callback.h"

#define TRACE_NAME "vmem.trace"
#define PASS_NAME  "vmem.trace.pass"

typedef struct lua_trace {
    trace_source *source; /* NULL: closed */
    bool counted;
    uint64_t count; /* of accesses */
} lua_trace;

/* A cursor's guard, and the place where each() stands. */
typedef struct lua_pass {
    trace_cursor *cursor; /* NULL: closed */
    bool busy;            /* reading, maybe by a parser in Lua: not to be entered again */
    trace_block block;
    size_t at;
} lua_pass;

/* --- objects ------------------------------------------------------------------ */

/* Created closed; the user values are a parser's function and the trace that
 * this one is a part of. */
static lua_trace *lua_trace_make(lua_State *L)
{
    lua_trace *t = lua_newuserdatauv(L, sizeof *t, 2);
    memset(t, 0, sizeof *t);
    luaL_setmetatable(L, TRACE_NAME);
    return t;
}

static int lua_trace_wrap(lua_State *L)
{
    lua_trace_make(L)->source = lua_touserdata(L, 1);
    return 1;
}

void lua_trace_push(lua_State *L, trace_source *s)
{
    if (!callback_protect(L, lua_trace_wrap, s)) {
        trace_source_release(s);
        lua_error(L);
    }
}

static lua_trace *lua_trace_check(lua_State *L, int idx)
{
    lua_trace *t = luaL_checkudata(L, idx, TRACE_NAME);
    luaL_argcheck(L, t->source, idx, "the trace is closed");
    return t;
}

trace_source *lua_trace_source(lua_State *L, int idx) { return lua_trace_check(L, idx)->source; }

static lua_pass *lua_pass_open(lua_State *L, int idx)
{
    idx = lua_absindex(L, idx);
    lua_trace *t = lua_trace_check(L, idx);
    vm_error e;
    lua_pass *p = lua_newuserdatauv(L, sizeof *p, 1);
    memset(p, 0, sizeof *p);
    luaL_setmetatable(L, PASS_NAME);
    lua_pushvalue(L, idx);
    lua_setiuservalue(L, -2, 1);
    callback_enter(L);
    if (trace_open(t->source, &p->cursor, &e) != VM_OK)
        callback_raise(L, &e);
    return p;
}

trace_cursor *lua_trace_cursor(lua_State *L, int idx) { return lua_pass_open(L, idx)->cursor; }

static int lua_pass_close(lua_State *L)
{
    lua_trace_done(L, 1);
    return 0;
}

void lua_trace_done(lua_State *L, int idx)
{
    lua_pass *p = luaL_checkudata(L, idx, PASS_NAME);
    if (p->busy)
        luaL_error(L, "the trace's parser closes the pass that it serves");
    trace_cursor *c = p->cursor;
    p->cursor = NULL;
    trace_close(c);
}

static int lua_trace_close(lua_State *L)
{
    lua_trace *t = luaL_checkudata(L, 1, TRACE_NAME);
    trace_source *s = t->source;
    t->source = NULL;
    trace_source_release(s);
    return 0;
}

/* --- iteration ------------------------------------------------------------------ */

static void lua_trace_event(lua_State *L, const access_event *v)
{
    const event_row *row = event_row_at(v->type);
    lua_createtable(L, 0, EVENT_ARGS + 3);
    lua_pushstring(L, row ? row->name : "unknown");
    lua_setfield(L, -2, "type");
    lua_pushinteger(L, v->task);
    lua_setfield(L, -2, "task");
    for (size_t i = 0; row && i < EVENT_ARGS && row->args[i]; i++) {
        lua_pushinteger(L, (lua_Integer)v->arg[i]);
        lua_setfield(L, -2, row->args[i]);
    }
    if (v->name) {
        lua_pushstring(L, v->name);
        lua_setfield(L, -2, "name");
    }
}

/* The next block into the pass; false at the end. */
static bool lua_pass_block(lua_State *L, lua_pass *p)
{
    vm_error e;
    callback_enter(L);
    p->at = p->block.count = 0;
    p->busy = true;
    vm_status st = trace_next(p->cursor, &p->block, &e);
    p->busy = false;
    if (st != VM_OK) {
        lua_trace_done(L, lua_upvalueindex(1));
        callback_raise(L, &e);
    }
    return p->block.count > 0;
}

/* Upvalues: the pass, then the names of the kinds. */
static int lua_trace_step(lua_State *L)
{
    lua_pass *p = lua_touserdata(L, lua_upvalueindex(1));
    if (!p->cursor)
        return 0;
    if (p->busy)
        return luaL_error(L, "the trace's parser reads the pass that it serves");
    if (p->at == p->block.count && !lua_pass_block(L, p)) {
        lua_trace_done(L, lua_upvalueindex(1));
        return 0;
    }
    const access_record *r = &p->block.records[p->at++];
    lua_pushvalue(L, lua_upvalueindex(2 + r->kind));
    if (r->kind == ACCESS_EVENT)
        lua_trace_event(L, &p->block.events[r->addr]);
    else
        lua_pushinteger(L, (lua_Integer)r->addr);
    lua_pushinteger(L, r->size);
    lua_pushinteger(L, r->task);
    return 4;
}

/* The pass is also the loop's closing value: `break` closes the file. */
static int lua_trace_each(lua_State *L)
{
    lua_settop(L, 1);
    lua_pass_open(L, 1);
    lua_pushvalue(L, 2);
    for (size_t i = 0; access_kind_names[i]; i++)
        lua_pushstring(L, access_kind_names[i]);
    lua_pushcclosure(L, lua_trace_step, 2 + ACCESS_EVENT);
    lua_pushnil(L);
    lua_pushnil(L);
    lua_pushvalue(L, 2);
    return 4;
}

/* --- the other methods ------------------------------------------------------------ */

static void lua_trace_measure(lua_State *L, lua_trace *t, trace_totals *totals)
{
    vm_error e;
    callback_enter(L);
    trace_source *s = trace_source_retain(t->source);
    vm_status st = trace_measure(s, totals, &e);
    trace_source_release(s);
    if (st != VM_OK)
        callback_raise(L, &e);
    t->count = totals->kinds[ACCESS_FETCH] + totals->kinds[ACCESS_LOAD] +
               totals->kinds[ACCESS_STORE] + totals->kinds[ACCESS_MODIFY];
    t->counted = true;
}

static bool lua_trace_counted(lua_trace *t)
{
    if (!t->counted && t->source->cls->count)
        t->counted = t->source->cls->count(t->source, &t->count);
    return t->counted;
}

/* t:count() -> accesses, or nil where only a pass can tell */
static int lua_trace_count(lua_State *L)
{
    lua_trace *t = lua_trace_check(L, 1);
    if (lua_trace_counted(t))
        lua_pushinteger(L, (lua_Integer)t->count);
    else
        lua_pushnil(L);
    return 1;
}

static int lua_trace_len(lua_State *L)
{
    lua_trace *t = lua_trace_check(L, 1);
    if (!lua_trace_counted(t)) {
        trace_totals totals;
        lua_trace_measure(L, t, &totals);
    }
    lua_pushinteger(L, (lua_Integer)t->count);
    return 1;
}

static int lua_trace_info(lua_State *L)
{
    lua_trace *t = lua_trace_check(L, 1);
    const char *format = t->source->cls->name; /* a parser may close the trace */
    trace_totals n;
    lua_trace_measure(L, t, &n);
    lua_createtable(L, 0, 16);
    lua_pushstring(L, format);
    lua_setfield(L, -2, "format");
    lua_set_integer(L, "accesses", t->count);
    for (size_t i = 0; i < ACCESS_EVENT; i++)
        lua_set_integer(L, access_kind_names[i], n.kinds[i]);
    lua_set_integer(L, "events", n.kinds[ACCESS_EVENT]);
    lua_set_integer(L, "tasks", n.tasks);
    lua_set_integer(L, "pages", n.pages);
    if (t->count > 0) {
        lua_set_integer(L, "first", n.first);
        lua_set_integer(L, "last", n.last);
        lua_set_integer(L, "min", n.min);
        lua_set_integer(L, "max", n.max);
    }
    if (n.bytes > 0) {
        lua_set_integer(L, "bytes", n.bytes);
        if (t->count > 0) {
            lua_pushnumber(L, (lua_Number)n.bytes / (lua_Number)t->count);
            lua_setfield(L, -2, "bytes_per_access");
        }
    }
    return 1;
}

static int lua_trace_save(lua_State *L)
{
    lua_trace *t = lua_trace_check(L, 1);
    const char *path = luaL_checkstring(L, 2);
    vm_error e;
    callback_enter(L);
    trace_source *s = trace_source_retain(t->source);
    vm_status st = trace_save(s, path, &e);
    trace_source_release(s);
    if (st == VM_POLICY)
        return callback_raise(L, &e);
    if (st != VM_OK)
        return lua_failed(L, &e);
    lua_pushboolean(L, 1);
    return 1;
}

static int lua_trace_part(lua_State *L, uint64_t first, uint64_t last)
{
    lua_trace *t = lua_trace_check(L, 1), *part = lua_trace_make(L);
    vm_host host = lua_host(L);
    vm_error e;
    if (trace_slice(&host, t->source, first, last, &part->source, &e) != VM_OK)
        return lua_raise(L, &e);
    lua_pushvalue(L, 1);
    lua_setiuservalue(L, -2, 2);
    return 1;
}

static int lua_trace_slice(lua_State *L)
{
    lua_Integer from = luaL_checkinteger(L, 2), to = luaL_optinteger(L, 3, LUA_MAXINTEGER);
    luaL_argcheck(L, from >= 1, 2, "the first record is number 1");
    return lua_trace_part(L, (uint64_t)from - 1, to < from ? 0 : (uint64_t)to);
}

static int lua_trace_head(lua_State *L)
{
    lua_Integer n = luaL_optinteger(L, 2, 10);
    luaL_argcheck(L, n >= 0, 2, "a number of records, 0 or more");
    return lua_trace_part(L, 0, (uint64_t)n);
}

static int lua_trace_tostring(lua_State *L)
{
    lua_trace *t = luaL_checkudata(L, 1, TRACE_NAME);
    char text[320] = "", count[48] = "";
    if (!t->source) {
        lua_pushliteral(L, "trace (closed)");
        return 1;
    }
    const trace_source_class *cls = t->source->cls;
    if (cls->describe)
        cls->describe(t->source, text, sizeof text);
    if (lua_trace_counted(t))
        snprintf(count, sizeof count, ", %" PRIu64 " accesses", t->count);
    lua_pushfstring(L, "trace (%s%s%s%s)", cls->name, text[0] ? " " : "", text, count);
    return 1;
}

/* --- making traces ------------------------------------------------------------------ */

/* open(path, format, page, task, parser): the face checks and documents them. */
static int lua_trace_open_file(lua_State *L)
{
    const char *path = luaL_checkstring(L, 1);
    lua_Integer page = luaL_optinteger(L, 3, 4096), task = luaL_optinteger(L, 4, 0);
    luaL_argcheck(L, page > 0, 3, "page: a number of bytes, 1 or more");
    luaL_argcheck(L, task >= 0 && task <= UINT16_MAX, 4, "task: a number from 0 to 65535");
    lua_settop(L, 5);
    lua_trace *t = lua_trace_make(L);
    trace_lines lines;
    trace_file_options o = {luaL_optstring(L, 2, NULL), (uint64_t)page, (unsigned)task, NULL};
    if (!lua_isnil(L, 5)) {
        lines = callback_lines(L);
        o.lines = &lines;
    }
    vm_host host = lua_host(L);
    vm_error e;
    if (trace_file(&host, path, &o, &t->source, &e) != VM_OK)
        return lua_failed(L, &e);
    if (o.lines) {
        lua_pushvalue(L, 5);
        lua_setiuservalue(L, -2, 1);
        callback_lines_bind(L, lines.ud, -1);
    }
    return 1;
}

static int lua_trace_formats(lua_State *L)
{
    const trace_format *f;
    lua_newtable(L);
    for (size_t i = 0; (f = trace_format_at(i)); i++) {
        lua_createtable(L, 0, 2);
        lua_pushstring(L, f->source.name);
        lua_setfield(L, -2, "name");
        lua_pushstring(L, f->doc);
        lua_setfield(L, -2, "doc");
        lua_rawseti(L, -2, (lua_Integer)i + 1);
    }
    return 1;
}

/* ---------------------------------------------------------------------------------- */

static const luaL_Reg lua_trace_methods[] = {
    {"each", lua_trace_each},   {"save", lua_trace_save},   {"info", lua_trace_info},
    {"count", lua_trace_count}, {"head", lua_trace_head},   {"slice", lua_trace_slice},
    {"copy", lua_trace_copy},   {"close", lua_trace_close}, {NULL, NULL}};

static const luaL_Reg lua_trace_meta[] = {{"__len", lua_trace_len},
                                          {"__tostring", lua_trace_tostring},
                                          {"__gc", lua_trace_close},
                                          {"__close", lua_trace_close},
                                          {NULL, NULL}};

static const luaL_Reg lua_pass_meta[] = {
    {"__gc", lua_pass_close}, {"__close", lua_pass_close}, {NULL, NULL}};

static const luaL_Reg lua_trace_functions[] = {{"trace_open", lua_trace_open_file},
                                               {"trace_formats", lua_trace_formats},
                                               {"trace_pages", lua_trace_pages},
                                               {"trace_new", lua_trace_new},
                                               {NULL, NULL}};

void lua_open_trace(lua_State *L)
{
    luaL_newmetatable(L, TRACE_NAME);
    luaL_setfuncs(L, lua_trace_meta, 0);
    luaL_newlib(L, lua_trace_methods);
    lua_setfield(L, -2, "__index");
    lua_pop(L, 1);
    luaL_newmetatable(L, PASS_NAME);
    luaL_setfuncs(L, lua_pass_meta, 0);
    lua_pop(L, 1);
    luaL_setfuncs(L, lua_trace_functions, 0);
}
