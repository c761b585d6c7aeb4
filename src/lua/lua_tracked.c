/* lua_tracked.c: values whose bits may be undefined and that may be pointers of a known
 * block, with the operators of Lua's integers. An operator makes a new value; one that
 * answers yes or no (==, <, <=) uses its operands as a branch does, since Lua wants to
 * know now.
 */
#include "lua_detect.h"

#include <stdio.h>

static lua_tracked *tracked_self(lua_State *L) { return luaL_checkudata(L, 1, LUA_TRACKED); }

tracked lua_check_tracked(lua_State *L, int idx)
{
    int whole;
    lua_Integer n = lua_tointegerx(L, idx, &whole);
    if (whole && lua_type(L, idx) == LUA_TNUMBER)
        return tracked_plain((uint64_t)n);
    const lua_tracked *v = luaL_testudata(L, idx, LUA_TRACKED);
    if (v)
        return v->t;
    luaL_typeerror(L, idx, "whole number or tracked value");
    return tracked_plain(0);
}

uint64_t lua_check_count(lua_State *L, int idx)
{
    lua_Integer n = luaL_checkinteger(L, idx);
    luaL_argcheck(L, n >= 0 && n <= INT32_MAX, idx, "a length is 0 to 2^31 - 1 bytes");
    return (uint64_t)n;
}

tracked *lua_push_tracked(lua_State *L, int idx, const tracked *t)
{
    idx = lua_absindex(L, idx);
    lua_tracked *v = lua_newuserdatauv(L, sizeof *v, 1);
    v->t = t ? *t : tracked_plain(0);
    v->box = lua_touserdata(L, idx);
    lua_pushvalue(L, idx);
    lua_setiuservalue(L, -2, 1);
    luaL_setmetatable(L, LUA_TRACKED);
    return &v->t;
}

/* Push the detector of one of both operands. */
static lua_detect *tracked_detector(lua_State *L)
{
    const lua_tracked *v = luaL_testudata(L, 1, LUA_TRACKED);
    lua_getiuservalue(L, v ? 1 : 2, 1);
    return lua_touserdata(L, -1);
}

static int tracked_operate(lua_State *L, tracked_op op)
{
    const tracked a = lua_check_tracked(L, 1), b = lua_check_tracked(L, 2);
    if ((op == TRACKED_DIV || op == TRACKED_MOD) && b.x == 0)
        return luaL_error(L, "attempt to divide by zero");
    const tracked r = tracked_apply(op, &a, &b);
    tracked_detector(L);
    lua_push_tracked(L, -1, &r);
    return 1;
}

#define TRACKED_METHOD(name, op)                                                                   \
    static int tracked_##name(lua_State *L) { return tracked_operate(L, op); }
TRACKED_METHOD(add_, TRACKED_ADD)
TRACKED_METHOD(sub_, TRACKED_SUB)
TRACKED_METHOD(mul_, TRACKED_MUL)
TRACKED_METHOD(div_, TRACKED_DIV)
TRACKED_METHOD(mod_, TRACKED_MOD)
TRACKED_METHOD(and_, TRACKED_AND)
TRACKED_METHOD(or_, TRACKED_OR)
TRACKED_METHOD(xor_, TRACKED_XOR)
TRACKED_METHOD(shl_, TRACKED_SHL)
TRACKED_METHOD(shr_, TRACKED_SHR)
TRACKED_METHOD(eq_, TRACKED_EQ)
TRACKED_METHOD(lt_, TRACKED_LT)
TRACKED_METHOD(le_, TRACKED_LE)
TRACKED_METHOD(ult_, TRACKED_ULT)

static int tracked_bnot_(lua_State *L)
{
    const tracked r = tracked_not(&tracked_self(L)->t);
    tracked_detector(L);
    lua_push_tracked(L, -1, &r);
    return 1;
}

static int tracked_unm_(lua_State *L)
{
    const tracked zero = tracked_plain(0),
                  r = tracked_apply(TRACKED_SUB, &zero, &tracked_self(L)->t);
    tracked_detector(L);
    lua_push_tracked(L, -1, &r);
    return 1;
}

static int tracked_ask(lua_State *L, tracked_op op)
{
    const tracked a = lua_check_tracked(L, 1), b = lua_check_tracked(L, 2);
    const tracked r = tracked_apply(op, &a, &b);
    lua_detect_branch(L, tracked_detector(L), &r);
    lua_pushboolean(L, r.x != 0);
    return 1;
}

static int tracked_is_eq(lua_State *L) { return tracked_ask(L, TRACKED_EQ); }
static int tracked_is_lt(lua_State *L) { return tracked_ask(L, TRACKED_LT); }
static int tracked_is_le(lua_State *L) { return tracked_ask(L, TRACKED_LE); }

/* v:test() -> is it not 0? What `if (v)` is in C: a branch. */
static int tracked_test(lua_State *L)
{
    const lua_tracked *v = tracked_self(L);
    lua_settop(L, 1);
    tracked_detector(L);
    const tracked zero = tracked_plain(0);
    tracked r = tracked_apply(TRACKED_EQ, &v->t, &zero);
    lua_detect_branch(L, v->box, &r);
    lua_pushboolean(L, v->t.x != 0);
    return 1;
}

/* v:value() -> the number that is there, whatever is known of it */
static int tracked_value(lua_State *L)
{
    lua_pushinteger(L, (lua_Integer)tracked_self(L)->t.x);
    return 1;
}

/* v:undefined() -> the bits that are not initialised */
static int tracked_undefined(lua_State *L)
{
    lua_pushinteger(L, (lua_Integer)tracked_self(L)->t.undef);
    return 1;
}

/* v:block() -> the block that the pointer came from, or nil */
static int tracked_block(lua_State *L)
{
    const lua_tracked *v = tracked_self(L);
    lua_settop(L, 1);
    tracked_detector(L);
    lua_push_block(L, 2, v->box->d ? detect_block_of(v->box->d, v->t.from) : NULL);
    return 1;
}

static int tracked_tostring(lua_State *L)
{
    const lua_tracked *v = tracked_self(L);
    char text[200];
    const detect_block *b = v->box->d ? detect_block_of(v->box->d, v->t.from) : NULL;
    int n = snprintf(text, sizeof text, "%#llx", (unsigned long long)v->t.x);
    if (v->t.undef)
        n += snprintf(text + n, sizeof text - (size_t)n, ", undefined %#llx",
                      (unsigned long long)v->t.undef);
    if (b)
        snprintf(text + n, sizeof text - (size_t)n, ", of the %s block %s%s%llu bytes at %#llx",
                 detect_part_names[b->part], b->name, b->name[0] ? ", " : "of ",
                 (unsigned long long)b->size, (unsigned long long)b->start);
    lua_pushstring(L, text);
    return 1;
}

void lua_open_tracked(lua_State *L)
{
    static const luaL_Reg methods[] = {
        {"test", tracked_test},
        {"value", tracked_value},
        {"block", tracked_block},
        {"undefined", tracked_undefined},
        {"eq", tracked_eq_},
        {"lt", tracked_lt_},
        {"le", tracked_le_},
        {"ult", tracked_ult_},
        {NULL, NULL},
    };
    static const luaL_Reg operators[] = {
        {"__add", tracked_add_},
        {"__sub", tracked_sub_},
        {"__mul", tracked_mul_},
        {"__idiv", tracked_div_},
        {"__mod", tracked_mod_},
        {"__band", tracked_and_},
        {"__bor", tracked_or_},
        {"__bxor", tracked_xor_},
        {"__shl", tracked_shl_},
        {"__shr", tracked_shr_},
        {"__bnot", tracked_bnot_},
        {"__unm", tracked_unm_},
        {"__eq", tracked_is_eq},
        {"__lt", tracked_is_lt},
        {"__le", tracked_is_le},
        {"__tostring", tracked_tostring},
        {NULL, NULL},
    };
    luaL_newmetatable(L, LUA_TRACKED);
    luaL_setfuncs(L, operators, 0);
    luaL_newlib(L, methods);
    lua_setfield(L, -2, "__index");
    lua_pop(L, 1);
}
