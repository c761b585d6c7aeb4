#include "callback.h"

#include <stdio.h>

/* Registry keys, by address. The owners' table is weak: a parser's function
 * belongs to its trace object, or the two would keep each other alive. */
static const char callback_state_key = 's', callback_error_key = 'e', callback_owners_key = 'o';

callback_state *callback_enter(lua_State *L)
{
    lua_rawgetp(L, LUA_REGISTRYINDEX, &callback_state_key);
    callback_state *s = lua_touserdata(L, -1);
    lua_pop(L, 1);
    if (!s) {
        s = lua_newuserdatauv(L, sizeof *s, 0);
        s->guard = NULL;
        lua_pushboolean(L, 0); /* the place is there: to keep an error takes no memory */
        lua_rawsetp(L, LUA_REGISTRYINDEX, &callback_error_key);
        lua_rawsetp(L, LUA_REGISTRYINDEX, &callback_state_key);
    }
    s->L = L;
    return s;
}

/* Call the function below `nargs` arguments. On failure the error object is
 * kept and taken off the stack. */
static vm_status callback_call(callback_state *s, int nargs, int nresults, vm_error *e)
{
    lua_State *L = s->L;
    int rc = lua_pcall(L, nargs, nresults, 0);
    s->L = L;
    if (rc == LUA_OK)
        return VM_OK;
    const char *text = lua_type(L, -1) == LUA_TSTRING ? lua_tostring(L, -1) : NULL;
    vm_fail(e, VM_POLICY, "%s", text ? text : "a function raised an error that is not a string");
    lua_rawsetp(L, LUA_REGISTRYINDEX, &callback_error_key);
    return VM_POLICY;
}

typedef struct callback_question {
    callback_push *push;
    void *ud;
    bool *answer;
} callback_question;

/* Under lua_pcall as a whole: making the argument may raise, too. */
static int callback_put_question(lua_State *L)
{
    const callback_question *q = lua_touserdata(L, 1);
    if (!q->push(L, q->ud))
        return 0;
    lua_call(L, 1, 1);
    *q->answer = lua_toboolean(L, -1);
    return 0;
}

vm_status callback_ask(callback_state *s, callback_push *push, void *ud, bool *answer, vm_error *e)
{
    callback_question q = {push, ud, answer};
    *answer = false;
    if (!lua_checkstack(s->L, 4))
        return vm_fail_nomem(e, "the Lua stack");
    lua_pushcfunction(s->L, callback_put_question);
    lua_pushlightuserdata(s->L, &q);
    return callback_call(s, 1, 0, e);
}

bool callback_protect(lua_State *L, lua_CFunction f, void *ud)
{
    lua_pushcfunction(L, f);
    lua_pushlightuserdata(L, ud);
    return lua_pcall(L, 1, 1, 0) == LUA_OK;
}

bool callback_tell(lua_State *L, int nargs) { return lua_pcall(L, nargs, 0, 0) == LUA_OK; }

int callback_raise(lua_State *L, const vm_error *e)
{
    if (e->status == VM_POLICY &&
        lua_rawgetp(L, LUA_REGISTRYINDEX, &callback_error_key) > LUA_TBOOLEAN) {
        lua_pushboolean(L, 0);
        lua_rawsetp(L, LUA_REGISTRYINDEX, &callback_error_key);
        return lua_error(L);
    }
    return lua_raise(L, e);
}

/* --- guarded calls ------------------------------------------------------------ */

#define CALLBACK_PERIOD 1000 /* instructions between two looks at the count */
#define CALLBACK_DEPTH  100  /* guarded calls within each other: some kilobytes of C's stack each */

/* The count hook. Once the limit is passed, each further instruction of the thread
 * that is met raises again, so that no pcall of the function's own holds it up. */
static void callback_count(lua_State *L, lua_Debug *ar)
{
    (void)ar;
    lua_rawgetp(L, LUA_REGISTRYINDEX, &callback_state_key);
    const callback_state *s = lua_touserdata(L, -1);
    callback_guard *g = s->guard;
    lua_pop(L, 1);
    if (!g || (g->left > 0 && --g->left > 0)) {
        if (lua_gethookcount(L) != CALLBACK_PERIOD)
            lua_sethook(L, callback_count, LUA_MASKCOUNT, CALLBACK_PERIOD);
        return;
    }
    lua_sethook(L, callback_count, LUA_MASKCOUNT, 1);
    luaL_where(L, 0);
    lua_pushfstring(L, "%sit took more than %I instructions", lua_tostring(L, -1),
                    (LUAI_UACINT)g->limit);
    lua_error(L);
}

/* The message handler: says whose error it is, where that is a text. */
static int callback_name(lua_State *L)
{
    lua_rawgetp(L, LUA_REGISTRYINDEX, &callback_state_key);
    const callback_guard *g = ((const callback_state *)lua_touserdata(L, -1))->guard;
    lua_settop(L, 1);
    if (lua_type(L, 1) == LUA_TSTRING)
        lua_pushfstring(L, "%s: %s%s%s", g->who, g->doing ? g->doing : "", g->doing ? ": " : "",
                        lua_tostring(L, 1));
    return 1;
}

lua_State *callback_thread(lua_State *L, uint64_t limit)
{
    lua_State *thread = lua_newthread(L);
    lua_sethook(thread, limit ? callback_count : NULL, limit ? LUA_MASKCOUNT : 0, CALLBACK_PERIOD);
    lua_pushcfunction(thread, callback_name);
    return thread;
}

void callback_pass(lua_State *L, int nargs, int nresults) { lua_call(L, nargs, nresults); }

vm_status callback_guarded(callback_state *s, lua_State *thread, callback_guard *g, int nargs,
                           int nresults, vm_error *e)
{
    lua_State *was = s->L;
    g->outer = s->guard;
    g->depth = g->outer ? g->outer->depth + 1 : 0;
    if (VM_UNLIKELY(g->depth > CALLBACK_DEPTH)) {
        lua_pop(thread, nargs + 1);
        return vm_fail(e, VM_INVALID, "%s: calls from C into Lua are nested too deep", g->who);
    }
    g->left = g->limit / CALLBACK_PERIOD + 1;
    s->guard = g;
    int rc = lua_pcall(thread, nargs, nresults, 1);
    s->guard = g->outer;
    s->L = was;
    if (VM_LIKELY(rc == LUA_OK))
        return VM_OK;
    if (rc == LUA_ERRMEM) {
        lua_pop(thread, 1);
        return vm_fail_nomem(e, g->who);
    }
    const char *text = lua_type(thread, -1) == LUA_TSTRING ? lua_tostring(thread, -1) : NULL;
    if (text)
        vm_fail(e, VM_POLICY, "%s", text);
    else
        vm_fail(e, VM_POLICY, "%s: %s raised an error that is not a string", g->who,
                g->doing ? g->doing : "it");
    lua_rawsetp(thread, LUA_REGISTRYINDEX, &callback_error_key);
    return VM_POLICY;
}

/* --- parsing lines ------------------------------------------------------------ */

typedef struct callback_parser {
    vm_host host;
    callback_state *state;
} callback_parser;

typedef struct callback_piece {
    callback_parser *parser;
    const char *text;
    size_t size;
    access_record *out;
    size_t *count, *bad;
    bool wrong;
} callback_piece;

/* Under lua_pcall as a whole: making the argument may raise, too. */
static int callback_parse_piece(lua_State *L)
{
    callback_piece *piece = lua_touserdata(L, 1);
    lua_rawgetp(L, LUA_REGISTRYINDEX, &callback_owners_key);
    lua_rawgetp(L, -1, piece->parser);
    lua_getiuservalue(L, -1, 1);
    lua_pushlstring(L, piece->text, piece->size);
    lua_call(L, 1, 2);
    if (lua_isnil(L, -2)) {
        lua_Integer bad = luaL_checkinteger(L, -1);
        piece->wrong = true;
        *piece->bad = bad > 0 ? (size_t)bad - 1 : 0;
        return 0;
    }
    size_t n;
    const char *packed = luaL_checklstring(L, -2, &n);
    if (n % sizeof(access_record) || n / sizeof(access_record) > TRACE_BLOCK)
        return luaL_error(L, "a trace's parser returned %d bytes, not whole records", (int)n);
    memcpy(piece->out, packed, n);
    *piece->count = n / sizeof(access_record);
    for (size_t i = 0; i < *piece->count; i++)
        if (piece->out[i].kind >= ACCESS_EVENT || piece->out[i].size == 0)
            return luaL_error(L, "a trace's parser returned an invalid record");
    return 0;
}

static vm_status callback_parse(void *ud, const char *text, size_t size, access_record *out,
                                size_t *count, size_t *bad, vm_error *e)
{
    callback_parser *p = ud;
    callback_piece piece = {p, text, size, out, count, bad, false};
    lua_State *L = p->state->L;
    if (!lua_checkstack(L, 4))
        return vm_fail_nomem(e, "the Lua stack");
    lua_pushcfunction(L, callback_parse_piece);
    lua_pushlightuserdata(L, &piece);
    vm_status st = callback_call(p->state, 1, 0, e);
    return st == VM_OK && piece.wrong ? VM_FORMAT : st;
}

static void callback_release(void *ud)
{
    callback_parser *p = ud;
    vm_host host = p->host;
    host_free(&host, p, sizeof *p);
}

trace_lines callback_lines(lua_State *L)
{
    callback_state *s = callback_enter(L);
    vm_host host = lua_host(L);
    callback_parser *p = host_alloc(&host, sizeof *p);
    if (!p)
        luaL_error(L, "not enough host memory for a trace's parser");
    *p = (callback_parser){host, s};
    return (trace_lines){callback_parse, callback_release, p};
}

void callback_lines_bind(lua_State *L, void *ud, int idx)
{
    lua_remember(L, &callback_owners_key, ud, idx);
}
