/* lua_generate.c: generators in Lua. The core table gets
 *    generate(name, options [, traces]) -> trace, or nil and what is wrong
 *    generators() -> list of { name, doc, takes_traces, options = { rows } }
 * The face (lua/vmem/generate.lua) makes a function of each, and raises the
 * message with its caller's position. */
#include "lua_trace.h"

#include "../trace/generate.h"

/* Push "a whole number from 1 to 64": what an option takes. */
static void generate_push_takes(lua_State *L, const generate_option *o)
{
    switch (o->kind) {
    case GENERATE_COUNT:
    case GENERATE_BYTES:
        lua_pushfstring(L, "a whole number%s from %I to %I",
                        o->kind == GENERATE_BYTES ? " of bytes, or a text such as \"4KiB\"," : "",
                        (LUAI_UACINT)o->min, (LUAI_UACINT)o->max);
        break;
    case GENERATE_NUMBER:
        lua_pushfstring(L, "a number from %f to %f", o->min, o->max);
        break;
    case GENERATE_BOOL:
        lua_pushliteral(L, "true or false");
        break;
    case GENERATE_NAME:
        lua_pushliteral(L, "one of:");
        for (size_t i = 0; o->choices[i]; i++) {
            lua_pushfstring(L, "%s %s", i ? "," : "", o->choices[i]);
            lua_concat(L, 2);
        }
        break;
    }
}

static bool generate_choose(const char *const *choices, const char *name, int64_t *index)
{
    for (size_t i = 0; name && choices[i]; i++)
        if (strcmp(choices[i], name) == 0) {
            *index = (int64_t)i;
            return true;
        }
    return false;
}

/* The value at the stack's top as one of option `o`; false: it is none. */
static bool generate_read(lua_State *L, const generate_option *o, generate_value *v)
{
    bool number = lua_type(L, -1) == LUA_TNUMBER;
    int fits = 0;
    switch (o->kind) {
    case GENERATE_COUNT:
    case GENERATE_BYTES:
        v->n = number ? lua_tointegerx(L, -1, &fits) : 0;
        return fits && v->n >= (int64_t)o->min && v->n <= (int64_t)o->max;
    case GENERATE_NUMBER:
        v->x = number ? lua_tonumber(L, -1) : 0;
        return number && v->x >= o->min && v->x <= o->max;
    case GENERATE_BOOL:
        v->n = lua_toboolean(L, -1);
        return lua_isboolean(L, -1);
    case GENERATE_NAME:
        return lua_type(L, -1) == LUA_TSTRING &&
               generate_choose(o->choices, lua_tostring(L, -1), &v->n);
    }
    return false;
}

/* nil, "zipf: option 'pages' is 0, but takes ..."; the value is at the top. */
static int generate_refuse(lua_State *L, const generate_row *row, const generate_option *o)
{
    const char *quote = lua_type(L, -1) == LUA_TSTRING ? "\"" : "";
    const char *shown = luaL_tolstring(L, -1, NULL);
    generate_push_takes(L, o);
    lua_pushnil(L);
    lua_pushfstring(L, "%s: option '%s' is %s%s%s, but takes %s", row->source.name, o->name, quote,
                    shown, quote, lua_tostring(L, -2));
    return 2;
}

/* nil, "zipf has no option 'page_count', it takes ..." */
static int generate_unknown(lua_State *L, const generate_row *row, const char *name)
{
    lua_pushnil(L);
    lua_pushfstring(L, "%s has no option '%s', it takes ", row->source.name, name);
    for (size_t i = 0; row->options[i].name; i++) {
        lua_pushfstring(L, "%s%s", i ? ", " : "", row->options[i].name);
        lua_concat(L, 2);
    }
    return 2;
}

/* The options in the table at `idx`; the number of results if they are refused. */
static int generate_options(lua_State *L, int idx, const generate_row *row, generate_value *v)
{
    generate_defaults(row, v);
    for (lua_pushnil(L); lua_next(L, idx); lua_pop(L, 1)) {
        const generate_option *o = row->options;
        const char *name = lua_type(L, -2) == LUA_TSTRING ? lua_tostring(L, -2) : NULL;
        while (o->name && !(name && strcmp(o->name, name) == 0))
            o++;
        if (!o->name)
            return generate_unknown(L, row, name ? name : luaL_tolstring(L, -2, NULL));
        if (!generate_read(L, o, &v[o - row->options]))
            return generate_refuse(L, row, o);
    }
    return 0;
}

/* The sources of the list at `idx`, in scratch memory that Lua collects. */
static trace_source **generate_sources(lua_State *L, int idx, size_t *n)
{
    *n = lua_rawlen(L, idx);
    trace_source **list = lua_newuserdatauv(L, *n * sizeof *list + 1, 0);
    for (size_t i = 0; i < *n; i++) {
        lua_rawgeti(L, idx, (lua_Integer)i + 1);
        list[i] = lua_trace_source(L, -1);
        lua_pop(L, 1);
    }
    return list;
}

static int generate_make(lua_State *L)
{
    const generate_row *row = generate_find(luaL_checkstring(L, 1));
    luaL_argcheck(L, row != NULL, 1, "there is no such generator");
    luaL_checktype(L, 2, LUA_TTABLE);
    lua_settop(L, 3);
    generate_value v[GENERATE_OPTIONS];
    int refused = generate_options(L, 2, row, v);
    if (refused)
        return refused;
    size_t n = 0;
    trace_source **traces = row->takes_traces ? generate_sources(L, 3, &n) : NULL;
    vm_host host = lua_host(L);
    vm_error e;
    trace_source *s;
    if (generate_new(&host, row, v, traces, n, &s, &e) != VM_OK) {
        if (e.status == VM_NOMEM)
            return lua_raise(L, &e);
        lua_pushnil(L);
        lua_pushstring(L, e.text);
        return 2;
    }
    lua_trace_push(L, s);
    if (row->takes_traces) { /* what the inner traces hold lives as long as this one */
        lua_pushvalue(L, 3);
        lua_setiuservalue(L, -2, 2);
    }
    return 1;
}

static void generate_push_number(lua_State *L, const generate_option *o, double x, const char *name)
{
    if (o->kind == GENERATE_NUMBER)
        lua_pushnumber(L, x);
    else if (o->kind == GENERATE_BOOL)
        lua_pushboolean(L, x != 0);
    else if (o->kind == GENERATE_NAME)
        lua_pushstring(L, o->choices[(size_t)x]);
    else
        lua_pushinteger(L, (lua_Integer)x);
    lua_setfield(L, -2, name);
}

static void generate_push_option(lua_State *L, const generate_option *o)
{
    lua_createtable(L, 0, 7);
    lua_pushstring(L, o->name);
    lua_setfield(L, -2, "name");
    lua_pushstring(L, generate_kind_names[o->kind]);
    lua_setfield(L, -2, "kind");
    lua_pushstring(L, o->doc);
    lua_setfield(L, -2, "doc");
    generate_push_number(L, o, o->value, "default");
    if (o->kind != GENERATE_BOOL && o->kind != GENERATE_NAME) {
        generate_push_number(L, o, o->min, "min");
        generate_push_number(L, o, o->max, "max");
    }
    if (o->kind == GENERATE_NAME)
        lua_set_names(L, "choices", o->choices);
}

static int generate_list(lua_State *L)
{
    lua_newtable(L);
    for (size_t i = 0; generate_rows[i]; i++) {
        const generate_row *row = generate_rows[i];
        lua_createtable(L, 0, 4);
        lua_pushstring(L, row->source.name);
        lua_setfield(L, -2, "name");
        lua_pushstring(L, row->doc);
        lua_setfield(L, -2, "doc");
        lua_pushboolean(L, row->takes_traces);
        lua_setfield(L, -2, "takes_traces");
        lua_newtable(L);
        for (size_t k = 0; row->options[k].name; k++) {
            generate_push_option(L, &row->options[k]);
            lua_rawseti(L, -2, (lua_Integer)k + 1);
        }
        lua_setfield(L, -2, "options");
        lua_rawseti(L, -2, (lua_Integer)i + 1);
    }
    return 1;
}

void lua_open_generate(lua_State *L)
{
    static const luaL_Reg functions[] = {
        {"generate", generate_make}, {"generators", generate_list}, {NULL, NULL}};
    luaL_setfuncs(L, functions, 0);
}
