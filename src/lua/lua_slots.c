/* lua_slots.c: what a policy in Lua sees of its slots (self.slots), and the policy
 * inside of a wrap (self.inner). Arrays by slot are in lua_slot_array.c.
 *
 * Work over many slots is one call: a loop over them in Lua that asks for each costs
 * some 30 ns a slot, one here 1 or 2 (where a reference bit is an A bit of PTEs: a look
 * at those). Lists go into a table of the caller's, which can be used again.
 *
 * Slots are numbers from 0, as everywhere in policies; lists begin at 1, as in Lua.
 * Searches begin at a slot and go round. What outlives its instance raises an error.
 */
#include "lua_policy.h"

#define LUA_SLOTS "vmem.slots"
#define LUA_INNER "vmem.inner"

typedef struct inner_box {
    lua_slots *slots; /* alive: user value 1 */
} inner_box;

lua_slots *lua_slots_alive(lua_State *L, lua_slots *v)
{
    if (!v->p)
        luaL_argerror(L, 1, "the policy that these slots are of has ended");
    return v;
}

/* luaL_checkudata, with the metatable for upvalue: a fifth of the time of a short call. */
void *lua_slots_self(lua_State *L, const char *name)
{
    void *self = lua_touserdata(L, 1);
    if (!self || !lua_getmetatable(L, 1) || !lua_rawequal(L, -1, lua_upvalueindex(1)))
        luaL_typeerror(L, 1, name);
    lua_pop(L, 1);
    return self;
}

static lua_slots *check_slots(lua_State *L)
{
    return lua_slots_alive(L, lua_slots_self(L, LUA_SLOTS));
}

uint32_t lua_slots_slot(lua_State *L, const lua_slots *v, int idx)
{
    lua_Integer n = luaL_checkinteger(L, idx);
    luaL_argcheck(L, n >= 0 && n < (lua_Integer)v->p->base.cfg.slots, idx, "there is no such slot");
    return (uint32_t)n;
}

/* Slots from `room` on never had a page: a search that would begin there begins at 0. */
uint32_t lua_slots_start(lua_State *L, const lua_slots *v, int idx)
{
    lua_Integer n = luaL_optinteger(L, idx, 0), slots = (lua_Integer)v->p->base.cfg.slots;
    uint32_t at = (uint32_t)((n % slots + slots) % slots);
    return at < v->p->base.room ? at : 0;
}

/* Of a full slot. */
bool lua_slot_referenced(lua_slots *v, uint32_t slot, bool clear)
{
    lua_policy *p = v->p;
    uint8_t *state = &p->state[lua_policy_at(p, v->set, slot)];
    if (p->base.cfg.bits.referenced)
        return p->base.cfg.bits.referenced(p->base.cfg.bits.ud, slot, clear);
    bool is = *state & SLOT_REFERENCED;
    if (clear)
        *state &= (uint8_t)~SLOT_REFERENCED;
    return is;
}

bool lua_slot_dirty(const lua_slots *v, uint32_t slot)
{
    return policy_is_dirty(&v->p->base, slot);
}

/* --- one slot ------------------------------------------------------------------------ */

static int slots_len(lua_State *L)
{
    lua_pushinteger(L, check_slots(L)->p->base.cfg.slots);
    return 1;
}

/* slots:count() -> how many are full */
static int slots_count(lua_State *L)
{
    const lua_slots *v = check_slots(L);
    lua_pushinteger(L, v->p->full[v->set]);
    return 1;
}

/* slots:key(slot) -> the key of the page in it; nil: empty */
static int slots_key(lua_State *L)
{
    const lua_slots *v = check_slots(L);
    uint32_t slot = lua_slots_slot(L, v, 2);
    if (lua_slot_state(v, slot) & SLOT_FULL)
        lua_pushinteger(L, (lua_Integer)v->p->keys[lua_policy_at(v->p, v->set, slot)]);
    else
        lua_pushnil(L);
    return 1;
}

/* slots:test(slot) -> referenced since last asked? The bit is cleared. */
static int slots_test(lua_State *L)
{
    lua_slots *v = check_slots(L);
    uint32_t slot = lua_slots_slot(L, v, 2);
    lua_pushboolean(L, (lua_slot_state(v, slot) & SLOT_FULL) && lua_slot_referenced(v, slot, true));
    return 1;
}

/* slots:dirty(slot) -> must the page be written when it goes? */
static int slots_dirty(lua_State *L)
{
    const lua_slots *v = check_slots(L);
    uint32_t slot = lua_slots_slot(L, v, 2);
    lua_pushboolean(L, (lua_slot_state(v, slot) & SLOT_FULL) && lua_slot_dirty(v, slot));
    return 1;
}

/* slots:time() -> references made so far, as far as the policy can know */
static int slots_time(lua_State *L)
{
    const lua_policy *p = check_slots(L)->p;
    const policy_config *c = &p->base.cfg;
    lua_pushinteger(L, (lua_Integer)(c->now ? c->now(c->now_ud) : p->told));
    return 1;
}

/* slots:faults() -> pages that entered so far */
static int slots_faults(lua_State *L)
{
    lua_pushinteger(L, (lua_Integer)check_slots(L)->p->faults);
    return 1;
}

/* slots:capacity() -> how many can be full at once, as far as that is known */
static int slots_capacity(lua_State *L)
{
    const lua_slots *v = check_slots(L);
    lua_pushinteger(L, policy_capacity(&v->p->base, v->p->full[v->set]));
    return 1;
}

/* slots:random(n) -> 0 .. n - 1, by the instance's seed */
static int slots_random(lua_State *L)
{
    lua_slots *v = check_slots(L);
    lua_Integer n = luaL_checkinteger(L, 2);
    luaL_argcheck(L, n > 0, 2, "1 or more is expected");
    lua_pushinteger(L, (lua_Integer)rng_below(&v->p->rng, (uint64_t)n));
    return 1;
}

/* --- many slots ------------------------------------------------------------------------ */

/* What a search asks of full slots: nil, true or false for a bit. */
typedef struct slot_filter {
    int referenced, dirty; /* -1: any */
} slot_filter;

static slot_filter check_filter(lua_State *L, int idx)
{
    slot_filter f = {lua_isnoneornil(L, idx) ? -1 : lua_toboolean(L, idx),
                     lua_isnoneornil(L, idx + 1) ? -1 : lua_toboolean(L, idx + 1)};
    return f;
}

static bool slot_passes(lua_slots *v, uint32_t slot, slot_filter f)
{
    return (lua_slot_state(v, slot) & SLOT_FULL) &&
           (f.dirty < 0 || lua_slot_dirty(v, slot) == f.dirty) &&
           (f.referenced < 0 || lua_slot_referenced(v, slot, false) == f.referenced);
}

/* The list at idx, or a new one, is at that index from now on. */
void lua_list_begin(lua_State *L, int idx)
{
    lua_settop(L, idx);
    if (lua_isnil(L, idx)) {
        lua_newtable(L);
        lua_replace(L, idx);
    }
    luaL_checktype(L, idx, LUA_TTABLE);
}

void lua_list_add(lua_State *L, int idx, lua_Integer *n, uint32_t slot)
{
    lua_pushinteger(L, slot);
    lua_rawseti(L, idx, ++*n);
}

/* What the table held behind is taken out; returns table, n. */
int lua_list_end(lua_State *L, int idx, lua_Integer n)
{
    for (lua_Integer i = n + 1; lua_rawgeti(L, idx, i) != LUA_TNIL; i++) {
        lua_pushnil(L);
        lua_rawseti(L, idx, i);
        lua_pop(L, 1);
    }
    lua_settop(L, idx);
    lua_pushinteger(L, n);
    return 2;
}

/* slots:touched(t) -> t, n: slots referenced since last asked; their bits are cleared */
static int slots_touched(lua_State *L)
{
    lua_slots *v = check_slots(L);
    lua_Integer n = 0;
    lua_list_begin(L, 2);
    for (uint32_t i = 0; i < v->p->base.room; i++)
        if ((lua_slot_state(v, i) & SLOT_FULL) && lua_slot_referenced(v, i, true))
            lua_list_add(L, 2, &n, i);
    return lua_list_end(L, 2, n);
}

/* slots:list(t, referenced, dirty) -> t, n: full slots with these bits (nil: any) */
static int slots_list(lua_State *L)
{
    lua_slots *v = check_slots(L);
    slot_filter f = check_filter(L, 3);
    lua_Integer n = 0;
    lua_list_begin(L, 2);
    for (uint32_t i = 0; i < v->p->base.room; i++)
        if (slot_passes(v, i, f))
            lua_list_add(L, 2, &n, i);
    return lua_list_end(L, 2, n);
}

/* slots:find(from, referenced, dirty) -> the first full slot with these bits; nil: none */
static int slots_find(lua_State *L)
{
    lua_slots *v = check_slots(L);
    slot_filter f = check_filter(L, 3);
    uint32_t room = v->p->base.room, at = lua_slots_start(L, v, 2);
    for (uint32_t i = 0; i < room; i++, at = at + 1 < room ? at + 1 : 0)
        if (slot_passes(v, at, f)) {
            lua_pushinteger(L, at);
            return 1;
        }
    lua_pushnil(L);
    return 1;
}

/* slots:sweep(from) -> the first full slot that was not referenced; the bits of those
 * before it are cleared: CLOCK's hand. nil: no slot is full */
static int slots_sweep(lua_State *L)
{
    lua_slots *v = check_slots(L);
    uint32_t room = v->p->base.room, at = lua_slots_start(L, v, 2);
    /* Once round clears all bits, but a large page's bit speaks for many slots. */
    for (uint64_t i = 0; i <= UINT64_C(2) * room && v->p->full[v->set]; i++) {
        if ((lua_slot_state(v, at) & SLOT_FULL) && !lua_slot_referenced(v, at, true)) {
            lua_pushinteger(L, at);
            return 1;
        }
        at = at + 1 < room ? at + 1 : 0;
    }
    lua_pushnil(L);
    return 1;
}

/* --- the policy inside --------------------------------------------------------------------- */

static lua_policy *check_inner(lua_State *L, uint32_t *set)
{
    const inner_box *b = lua_slots_self(L, LUA_INNER);
    lua_policy *p = lua_slots_alive(L, b->slots)->p;
    if (!p->serving)
        luaL_argerror(L, 1, "only functions of the policy around it may call it");
    *set = b->slots->set;
    return p;
}

/* A slot that there is, and that the inner policy takes for full or (false) empty. */
static uint32_t check_inner_slot(lua_State *L, const lua_policy *p, uint32_t set, bool full)
{
    lua_Integer n = luaL_checkinteger(L, 2);
    luaL_argcheck(L, n >= 0 && n < (lua_Integer)p->base.room, 2, "there is no such slot");
    uint32_t slot = (uint32_t)n;
    if (full && !(p->state[lua_policy_at(p, set, slot)] & SLOT_INNER))
        luaL_argerror(L, 2, "this slot is empty to the inner policy");
    return slot;
}

static int inner_insert(lua_State *L)
{
    uint32_t set;
    lua_policy *p = check_inner(L, &set);
    uint32_t slot = check_inner_slot(L, p, set, false);
    luaL_argcheck(L,
                  p->inner->chosen == slot || !(p->state[lua_policy_at(p, set, slot)] & SLOT_INNER),
                  2, "this slot is full to the inner policy, which did not choose it");
    lua_policy_give(p, set, slot, (uint64_t)luaL_checkinteger(L, 3));
    return 0;
}

static int inner_touch(lua_State *L)
{
    uint32_t set;
    lua_policy *p = check_inner(L, &set);
    p->inner->cls->touch(p->inner, set, check_inner_slot(L, p, set, true), lua_toboolean(L, 3));
    return 0;
}

static int inner_remove(lua_State *L)
{
    uint32_t set;
    lua_policy *p = check_inner(L, &set);
    lua_policy_take(p, set, check_inner_slot(L, p, set, true), lua_toboolean(L, 3));
    return 0;
}

/* inner:victim(key) -> slot */
static int inner_victim(lua_State *L)
{
    uint32_t set, slot;
    vm_error e;
    lua_policy *p = check_inner(L, &set);
    uint64_t key = lua_isnoneornil(L, 2) ? POLICY_NO_KEY : (uint64_t)luaL_checkinteger(L, 2);
    if (p->inner->cls->victim(p->inner, set, key, &slot, &e) != VM_OK)
        return lua_raise(L, &e);
    lua_pushinteger(L, slot);
    return 1;
}

/* --- making and ending --------------------------------------------------------------------- */

lua_slots *lua_slots_push(lua_State *L, lua_policy *p, uint32_t set)
{
    lua_slots *v = lua_newuserdatauv(L, sizeof *v, 0);
    *v = (lua_slots){.p = p, .set = set};
    luaL_setmetatable(L, LUA_SLOTS);
    return v;
}

void lua_slots_push_inner(lua_State *L, int slots_idx)
{
    slots_idx = lua_absindex(L, slots_idx);
    inner_box *b = lua_newuserdatauv(L, sizeof *b, 1);
    b->slots = lua_touserdata(L, slots_idx);
    lua_pushvalue(L, slots_idx);
    lua_setiuservalue(L, -2, 1);
    luaL_setmetatable(L, LUA_INNER);
}

void lua_slots_end(lua_slots *v)
{
    lua_arrays_free(v);
    v->p = NULL;
}

void lua_slots_class(lua_State *L, const char *name, const luaL_Reg *methods)
{
    luaL_newmetatable(L, name);
    lua_newtable(L);
    lua_pushvalue(L, -2);
    luaL_setfuncs(L, methods, 1);
    lua_setfield(L, -2, "__index");
    lua_pushstring(L, name);
    lua_setfield(L, -2, "__metatable");
}

void lua_open_slots(lua_State *L)
{
    static const luaL_Reg slots[] = {{"count", slots_count},       {"key", slots_key},
                                     {"test", slots_test},         {"dirty", slots_dirty},
                                     {"random", slots_random},     {"touched", slots_touched},
                                     {"list", slots_list},         {"find", slots_find},
                                     {"sweep", slots_sweep},       {"array", lua_array_new},
                                     {"time", slots_time},         {"faults", slots_faults},
                                     {"capacity", slots_capacity}, {NULL, NULL}};
    static const luaL_Reg inner[] = {{"insert", inner_insert},
                                     {"touch", inner_touch},
                                     {"remove", inner_remove},
                                     {"victim", inner_victim},
                                     {NULL, NULL}};
    lua_slots_class(L, LUA_SLOTS, slots);
    lua_pushvalue(L, -1);
    lua_pushcclosure(L, slots_len, 1);
    lua_setfield(L, -2, "__len");
    lua_slots_class(L, LUA_INNER, inner);
    lua_pop(L, 2);
    lua_open_arrays(L);
}
