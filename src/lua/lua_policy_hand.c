/* lua_policy_hand.c: a policy by hand: the calls that an owner makes, one by one, for
 * tests and for looking at what a policy does.
 *
 *    core.policy_open(policy, slots, sets, seed) -> hand
 *       hand:insert(slot, key, set) hand:touch(slot, write, set) hand:remove(slot, set)
 *       hand:victim(key, set) -> slot     hand:check() -> true, or nil and what is broken
 *
 * It keeps its side of the contract: what an owner must not do raises an error. A
 * policy in Lua hears of each call before the method returns.
 */
#include "lua_policy.h"

#define LUA_HAND "vmem.policy.hand"

enum { HAND_FULL = 1, HAND_DIRTY = 2 };

typedef struct lua_hand {
    policy *p; /* NULL: closed; user value 1 is the table that keeps its class */
    vm_host host;
    lua_policy_owner owner;
    const char *busy;
    vm_status failed;
    vm_error error;
    uint8_t *state; /* [set * slots + slot]: HAND_FULL, HAND_DIRTY */
    size_t count;
    uint32_t *chosen; /* by set: the last victim, as long as it is one; POLICY_NONE */
} lua_hand;

static lua_hand *check_hand(lua_State *L)
{
    lua_hand *h = luaL_checkudata(L, 1, LUA_HAND);
    luaL_argcheck(L, h->p, 1, "this policy is closed");
    if (h->busy)
        luaL_error(L, "%s calls its own owner", h->busy);
    callback_enter(L);
    return h;
}

static uint32_t check_hand_set(lua_State *L, const lua_hand *h, int idx)
{
    lua_Integer n = luaL_optinteger(L, idx, 0);
    luaL_argcheck(L, n >= 0 && n < (lua_Integer)h->p->cfg.sets, idx, "there is no such set");
    return (uint32_t)n;
}

static uint32_t check_hand_slot(lua_State *L, const lua_hand *h)
{
    lua_Integer n = luaL_checkinteger(L, 2);
    luaL_argcheck(L, n >= 0 && n < (lua_Integer)h->p->cfg.slots, 2, "there is no such slot");
    return (uint32_t)n;
}

static uint8_t *hand_state(const lua_hand *h, uint32_t set, uint32_t slot)
{
    return &h->state[(size_t)set * h->p->cfg.slots + slot];
}

/* Of a single set, as with frames: a page is dirty from a write on until it goes. */
static bool hand_dirty(void *ud, uint32_t slot) { return *hand_state(ud, 0, slot) & HAND_DIRTY; }

/* Lua hears of what was done; raises what that brought. */
static int hand_told(lua_State *L, lua_hand *h)
{
    vm_error e;
    lua_policy_settle(&h->owner);
    return lua_policy_failed(&h->owner, &e) == VM_OK ? 0 : callback_raise(L, &e);
}

static int hand_insert(lua_State *L)
{
    lua_hand *h = check_hand(L);
    uint32_t slot = check_hand_slot(L, h), set = check_hand_set(L, h, 4);
    uint64_t key = (uint64_t)luaL_checkinteger(L, 3);
    luaL_argcheck(L, !*hand_state(h, set, slot) || h->chosen[set] == slot, 2,
                  "this slot is full, and not what victim answered last");
    *hand_state(h, set, slot) = HAND_FULL;
    h->chosen[set] = POLICY_NONE;
    h->p->cls->insert(h->p, set, slot, key);
    return hand_told(L, h);
}

static int hand_touch(lua_State *L)
{
    lua_hand *h = check_hand(L);
    uint32_t slot = check_hand_slot(L, h), set = check_hand_set(L, h, 4);
    luaL_argcheck(L, *hand_state(h, set, slot), 2, "this slot is empty");
    *hand_state(h, set, slot) |= lua_toboolean(L, 3) ? HAND_DIRTY : 0;
    h->p->cls->touch(h->p, set, slot, lua_toboolean(L, 3));
    return hand_told(L, h);
}

static int hand_remove(lua_State *L)
{
    lua_hand *h = check_hand(L);
    uint32_t slot = check_hand_slot(L, h), set = check_hand_set(L, h, 3);
    luaL_argcheck(L, *hand_state(h, set, slot), 2, "this slot is empty");
    *hand_state(h, set, slot) = 0;
    h->chosen[set] = POLICY_NONE;
    h->p->cls->remove(h->p, set, slot);
    return hand_told(L, h);
}

static int hand_victim(lua_State *L)
{
    lua_hand *h = check_hand(L);
    uint64_t key = lua_isnoneornil(L, 2) ? POLICY_NO_KEY : (uint64_t)luaL_checkinteger(L, 2);
    uint32_t set = check_hand_set(L, h, 3), slot = 0;
    vm_error e;
    vm_status s = h->p->cls->victim(h->p, set, key, &slot, &e);
    if (s == VM_OK && (slot >= h->p->cfg.slots || !*hand_state(h, set, slot)))
        s = vm_fail(&e, VM_INVALID, "policy %s answered slot %u, which is empty", h->p->cls->name,
                    slot);
    if (s != VM_OK)
        return callback_raise(L, &e);
    h->chosen[set] = slot;
    lua_pushinteger(L, slot);
    return 1;
}

static int hand_check(lua_State *L)
{
    const lua_hand *h = check_hand(L);
    return lua_checked(L, h->p->cls->check(h->p));
}

static int hand_close(lua_State *L)
{
    lua_hand *h = luaL_checkudata(L, 1, LUA_HAND);
    if (h->busy)
        return luaL_error(L, "%s closes its own owner", h->busy);
    if (h->p) {
        uint32_t sets = h->p->cfg.sets;
        policy_delete(h->p);
        host_free(&h->host, h->chosen, sets * sizeof *h->chosen);
        host_free(&h->host, h->state, h->count);
    }
    h->p = NULL;
    lua_pushnil(L);
    lua_setiuservalue(L, 1, 1);
    return 0;
}

static int hand_open(lua_State *L)
{
    lua_Integer slots = luaL_checkinteger(L, 2), sets = luaL_optinteger(L, 3, 1);
    luaL_argcheck(L, slots >= 1 && slots <= 1 << 30, 2, "a set has 1 to 2^30 slots");
    luaL_argcheck(L, sets >= 1 && sets <= 1 << 20, 3, "there are 1 to 2^20 sets");
    policy_config cfg = {.sets = (uint32_t)sets,
                         .slots = (uint32_t)slots,
                         .capacity = (uint32_t)slots,
                         .seed = (uint64_t)luaL_optinteger(L, 4, 1)};
    lua_hand *h = lua_newuserdatauv(L, sizeof *h, 1);
    if (sets == 1)
        cfg.bits = (policy_bits){.dirty = hand_dirty, .ud = h};
    memset(h, 0, sizeof *h);
    luaL_setmetatable(L, LUA_HAND);
    int hand = lua_gettop(L);
    lua_newtable(L);
    lua_pushvalue(L, -1);
    lua_setiuservalue(L, hand, 1);
    h->owner = (lua_policy_owner){.busy = &h->busy, .failed = &h->failed, .error = &h->error};
    policy_choice what = lua_policy_choose(L, 1, sets > 1 ? POLICY_SETS : POLICY_FRAMES, &h->owner,
                                           hand + 1, "policy");
    vm_error e;
    policy *p;
    h->host = lua_host(L);
    callback_enter(L);
    vm_status s = policy_new(&h->host, &what, &cfg, &p, &e);
    if (s == VM_OK)
        s = policy_reserve(p, (uint32_t)slots, &e);
    h->count = (size_t)sets * (size_t)slots;
    if (s == VM_OK) {
        h->state = host_zalloc(&h->host, h->count);
        h->chosen = host_alloc(&h->host, (size_t)sets * sizeof *h->chosen);
        if (!h->state || !h->chosen)
            s = vm_fail_nomem(&e, "a policy");
    }
    if (s != VM_OK) {
        policy_delete(p);
        host_free(&h->host, h->chosen, (size_t)sets * sizeof *h->chosen);
        host_free(&h->host, h->state, h->count);
        return lua_raise(L, &e);
    }
    memset(h->chosen, 0xff, (size_t)sets * sizeof *h->chosen);
    h->p = p;
    lua_settop(L, hand);
    return 1;
}

void lua_open_hand(lua_State *L)
{
    static const luaL_Reg methods[] = {{"insert", hand_insert},
                                       {"touch", hand_touch},
                                       {"remove", hand_remove},
                                       {"victim", hand_victim},
                                       {"check", hand_check},
                                       {"close", hand_close},
                                       {NULL, NULL}};
    lua_pushcfunction(L, hand_open);
    lua_setfield(L, -2, "policy_open");
    lua_class(L, LUA_HAND, methods, hand_close);
}
