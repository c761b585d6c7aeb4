#include "lua_policy.h"

#include <stdio.h>

#define QUEUE_ROOM 512 /* events that wait at most */

/* Fields of the object, in the order of LUA_POLICY_INSERT ... */
static const char *const policy_functions[LUA_POLICY_FUNCTIONS] = {"insert", "touch",  "remove",
                                                                   "victim", "filter", "init"};

/* The stack of a class's thread: the message handler, functions, then what policy_direct
 * needs at hand: selves by set (lua_slots), and the last used. */
enum {
    THREAD_SERVE = 2,
    THREAD_COMPLAIN,
    THREAD_VICTIM,
    THREAD_SELVES,
    THREAD_SELF,
    THREAD_TOP = THREAD_SELF
};

/* Upvalues of policy_serve: the functions, then these. */
enum {
    SERVE_SELVES = LUA_POLICY_FUNCTIONS + 1,
    SERVE_VIEWS,
    SERVE_PARAMS,
    SERVE_COUNT = SERVE_PARAMS
};

/* What a guarded call is to do: tell what waits and, if `slot`, ask for a victim. */
typedef struct policy_request {
    lua_policy *p;
    uint32_t *slot;
    uint32_t set;
    uint64_t key;
} policy_request;

/* --- in the guarded call: Lua's side ---------------------------------------------- */

/* The slots of the set are pushed: new ones, also where init failed with those before. */
static lua_slots *serve_slots(lua_State *T, lua_policy *p, uint32_t set)
{
    lua_slots *v = p->views[set];
    if (v) {
        p->views[set] = NULL;
        lua_slots_end(v);
        lua_pushnil(T);
        lua_rawsetp(T, lua_upvalueindex(SERVE_VIEWS), v);
    }
    v = lua_slots_push(T, p, set);
    lua_pushvalue(T, -1);
    lua_rawsetp(T, lua_upvalueindex(SERVE_VIEWS), v);
    return p->views[set] = v;
}

/* Make self of the set: { slots =, seed =, inner =, parameters }, and let init see it. */
static void serve_open(lua_State *T, lua_policy *p, uint32_t set)
{
    lua_createtable(T, 0, 8);
    lua_slots *v = serve_slots(T, p, set);
    if (p->inner) {
        lua_slots_push_inner(T, -1);
        lua_setfield(T, -3, "inner");
    }
    lua_setfield(T, -2, "slots");
    for (lua_pushnil(T); lua_next(T, lua_upvalueindex(SERVE_PARAMS));) {
        lua_pushvalue(T, -2);
        lua_insert(T, -2);
        lua_rawset(T, -4);
    }
    lua_pushinteger(T, (lua_Integer)(p->base.cfg.seed + set));
    lua_setfield(T, -2, "seed");
    if (p->of->has[LUA_POLICY_INIT]) {
        p->of->guard.doing = "init";
        lua_pushvalue(T, lua_upvalueindex(LUA_POLICY_INIT + 1));
        lua_pushvalue(T, -2);
        callback_pass(T, 1, 0);
    }
    lua_pushvalue(T, -1);
    lua_rawsetp(T, lua_upvalueindex(SERVE_SELVES), v);
    v->ready = true;
}

/* Self of the set is at index 1. */
static void serve_self(lua_State *T, lua_policy *p, uint32_t set)
{
    lua_settop(T, 0);
    if (p->views[set] && p->views[set]->ready)
        lua_rawgetp(T, lua_upvalueindex(SERVE_SELVES), p->views[set]);
    else
        serve_open(T, p, set);
}

static void serve_event(lua_State *T, lua_policy *p, const lua_policy_event *ev)
{
    if (!p->of->has[ev->kind]) {
        if (p->inner && ev->kind == LUA_POLICY_INSERT)
            lua_policy_give(p, ev->set, ev->slot, ev->key);
        else if (p->inner && ev->kind == LUA_POLICY_TOUCH)
            p->inner->cls->touch(p->inner, ev->set, ev->slot, ev->key != 0);
        else if (p->inner)
            lua_policy_take(p, ev->set, ev->slot, ev->key != 0);
        return;
    }
    p->of->guard.doing = policy_functions[ev->kind];
    lua_pushvalue(T, lua_upvalueindex((int)ev->kind + 1));
    lua_pushvalue(T, 1);
    lua_pushinteger(T, ev->slot);
    if (ev->kind == LUA_POLICY_INSERT)
        lua_pushinteger(T, (lua_Integer)ev->key);
    else
        lua_pushboolean(T, ev->key != 0);
    callback_pass(T, 3, 0);
}

/* May this number be a victim? */
static bool serve_fits(const lua_policy *p, uint32_t set, lua_Integer slot)
{
    return slot >= 0 && slot < (lua_Integer)p->base.room &&
           (p->state[lua_policy_at(p, set, (uint32_t)slot)] & SLOT_FULL);
}

/* The slot at the top of the stack, if it may be a victim. */
static uint32_t serve_answer(lua_State *T, const lua_policy *p, uint32_t set)
{
    int whole = 0;
    lua_Integer slot = lua_type(T, -1) == LUA_TNUMBER ? lua_tointegerx(T, -1, &whole) : 0;
    if (!whole)
        luaL_error(T, "answered %s, which is not the number of a slot",
                   luaL_tolstring(T, -1, NULL));
    if (slot < 0 || slot >= (lua_Integer)p->base.cfg.slots)
        luaL_error(T, "answered slot %I, but there are slots 0 to %d only", (LUAI_UACINT)slot,
                   (int)(p->base.cfg.slots - 1));
    if (!serve_fits(p, set, slot))
        luaL_error(T, "answered slot %I, which is empty or locked", (LUAI_UACINT)slot);
    return (uint32_t)slot;
}

static void serve_push_key(lua_State *T, uint64_t key)
{
    if (key == POLICY_NO_KEY)
        lua_pushnil(T);
    else
        lua_pushinteger(T, (lua_Integer)key);
}

static uint32_t serve_choose(lua_State *T, lua_policy *p, uint32_t set, uint64_t key)
{
    uint32_t slot;
    vm_error e;
    p->of->guard.doing = "victim";
    if (p->of->has[LUA_POLICY_VICTIM]) {
        lua_pushvalue(T, lua_upvalueindex(LUA_POLICY_VICTIM + 1));
        lua_pushvalue(T, 1);
        serve_push_key(T, key);
        callback_pass(T, 2, 1);
    } else {
        if (p->inner->cls->victim(p->inner, set, key, &slot, &e) != VM_OK)
            lua_raise(T, &e);
        lua_pushinteger(T, slot);
    }
    slot = serve_answer(T, p, set);
    lua_settop(T, 1);
    return slot;
}

/* A page that the filter refuses leaves the inner policy until the call is over, so that
 * it offers another; then it is as if it had just come. */
static uint32_t serve_victim(lua_State *T, lua_policy *p, uint32_t set, uint64_t key)
{
    uint32_t full = p->full[set];
    if (full == 0)
        luaL_error(T, "there is no page to give up");
    for (uint32_t tries = 0; tries < full; tries++) {
        uint32_t slot = serve_choose(T, p, set, key);
        if (!p->of->has[LUA_POLICY_FILTER])
            return slot;
        uint64_t held = p->keys[lua_policy_at(p, set, slot)];
        p->of->guard.doing = "filter";
        lua_pushvalue(T, lua_upvalueindex(LUA_POLICY_FILTER + 1));
        lua_pushvalue(T, 1);
        lua_pushinteger(T, slot);
        lua_pushinteger(T, (lua_Integer)held);
        callback_pass(T, 3, 1);
        bool goes = lua_toboolean(T, -1);
        lua_settop(T, 1);
        if (goes)
            return slot;
        if (p->state[lua_policy_at(p, set, slot)] & SLOT_INNER)
            p->refused[p->refused_count++] = slot;
        lua_policy_take(p, set, slot, false);
    }
    return (uint32_t)luaL_error(T, "refused all of %d pages, one after the other", (int)full);
}

/* (request, answer): says what is wrong with it, or that it is right after all. */
static int policy_complain(lua_State *T)
{
    const policy_request *q = lua_touserdata(T, 1);
    *q->slot = serve_answer(T, q->p, q->set);
    return 0;
}

/* The function on the thread: whatever is asked of Lua, is asked here. */
static int policy_serve(lua_State *T)
{
    const policy_request *q = lua_touserdata(T, 1);
    lua_policy *p = q->p;
    uint32_t set = UINT32_MAX;
    while (p->done < p->count) {
        const lua_policy_event *ev = &p->queue[p->done++];
        if (ev->set != set)
            serve_self(T, p, set = ev->set);
        serve_event(T, p, ev);
    }
    if (!q->slot)
        return 0;
    if (q->set != set)
        serve_self(T, p, q->set);
    *q->slot = serve_victim(T, p, q->set, q->key);
    return 0;
}

/* --- calls from C ------------------------------------------------------------------- */

static void policy_wait(lua_policy *p)
{
    if (p->waits)
        return;
    p->waits = true;
    p->next = p->of->owner->waiting;
    p->of->owner->waiting = p;
}

static void policy_wait_no_more(lua_policy *p)
{
    lua_policy **at = &p->of->owner->waiting;
    if (!p->waits)
        return;
    while (*at != p)
        at = &(*at)->next;
    *at = p->next;
    p->waits = false;
}

/* Whoever gets hold of the thread can put its stack in disorder, by coroutine.close. */
static bool policy_thread_ok(const lua_policy_class *c)
{
    return lua_status(c->thread) == LUA_OK && lua_gettop(c->thread) == THREAD_TOP;
}

/* Events that were told leave the queue. */
static void policy_told(lua_policy *p)
{
    p->count -= p->done;
    if (p->count)
        memmove(p->queue, p->queue + p->done, p->count * sizeof *p->queue);
    p->done = 0;
    if (p->count == 0)
        policy_wait_no_more(p);
}

/* A victim where nothing waits to be told before: the function is called itself. */
static vm_status policy_direct(lua_policy *p, const policy_request *q, vm_error *e)
{
    lua_policy_class *c = p->of;
    lua_State *T = c->thread;
    const lua_slots *v = p->views[q->set];
    c->guard.doing = "victim";
    lua_pushvalue(T, THREAD_VICTIM);
    if (c->current != v) {
        lua_rawgetp(T, THREAD_SELVES, v);
        lua_replace(T, THREAD_SELF);
        c->current = v;
    }
    lua_pushvalue(T, THREAD_SELF);
    serve_push_key(T, q->key);
    vm_status s = callback_guarded(c->calls, T, &c->guard, 2, 1, e);
    if (s != VM_OK)
        return s;
    lua_Integer slot = lua_tointeger(T, -1);
    if (VM_LIKELY(lua_isinteger(T, -1) && serve_fits(p, q->set, slot))) {
        *q->slot = (uint32_t)slot;
        lua_settop(T, THREAD_TOP);
        return VM_OK;
    }
    lua_pushvalue(T, THREAD_COMPLAIN);
    lua_insert(T, -2);
    lua_pushlightuserdata(T, (void *)(uintptr_t)q);
    lua_insert(T, -2);
    return callback_guarded(c->calls, T, &c->guard, 2, 0, e);
}

static vm_status policy_call(lua_policy *p, uint32_t set, uint64_t key, uint32_t *slot, vm_error *e)
{
    lua_policy_class *c = p->of;
    policy_request q = {p, slot, set, key};
    if (!policy_thread_ok(c))
        return vm_fail(e, VM_POLICY, "%s: its thread was resumed or closed", c->who);
    const char *was = *c->owner->busy;
    *c->owner->busy = c->who;
    p->serving = true;
    vm_status s;
    if (slot && p->count == 0 && c->direct && p->views[set] && p->views[set]->ready &&
        p->full[set]) {
        s = policy_direct(p, &q, e);
    } else {
        c->guard.doing = NULL;
        lua_pushvalue(c->thread, THREAD_SERVE);
        lua_pushlightuserdata(c->thread, &q);
        s = callback_guarded(c->calls, c->thread, &c->guard, 1, 0, e);
        policy_told(p);
        for (uint32_t i = 0; i < p->refused_count; i++)
            lua_policy_give(p, set, p->refused[i], p->keys[lua_policy_at(p, set, p->refused[i])]);
        p->refused_count = 0;
    }
    p->serving = false;
    *c->owner->busy = was;
    return s;
}

static void policy_leave(const lua_policy_owner *owner, vm_status s, const vm_error *e)
{
    if (s == VM_OK || !owner->failed || *owner->failed != VM_OK)
        return;
    *owner->failed = s;
    *owner->error = *e;
}

static void policy_tell(lua_policy *p)
{
    vm_error e;
    vm_status s = policy_call(p, 0, 0, NULL, &e);
    policy_leave(p->of->owner, s, &e);
}

void lua_policy_settle(lua_policy_owner *owner)
{
    while (owner->waiting) {
        lua_policy *p = owner->waiting;
        policy_wait_no_more(p);
        policy_tell(p);
    }
}

vm_status lua_policy_failed(lua_policy_owner *owner, vm_error *e)
{
    vm_status s = *owner->failed;
    if (s != VM_OK)
        *e = *owner->error;
    *owner->failed = VM_OK;
    return s;
}

static void policy_queue(lua_policy *p, unsigned kind, uint32_t set, uint32_t slot, uint64_t key)
{
    if (VM_UNLIKELY(p->count == QUEUE_ROOM))
        policy_tell(p); /* if it fails, what made it fail is gone: there is room */
    if (VM_UNLIKELY(p->count == QUEUE_ROOM)) {
        memmove(p->queue, p->queue + 1, (QUEUE_ROOM - 1) * sizeof *p->queue);
        p->count--;
    }
    p->queue[p->count++] = (lua_policy_event){key, set, slot, kind};
    policy_wait(p);
}

void lua_policy_give(lua_policy *p, uint32_t set, uint32_t slot, uint64_t key)
{
    p->inner->cls->insert(p->inner, set, slot, key);
    p->state[lua_policy_at(p, set, slot)] |= SLOT_INNER;
}

void lua_policy_take(lua_policy *p, uint32_t set, uint32_t slot, bool evicted)
{
    uint8_t *state = &p->state[lua_policy_at(p, set, slot)];
    p->inner->chosen = evicted ? slot : POLICY_NONE;
    if (*state & SLOT_INNER)
        p->inner->cls->remove(p->inner, set, slot);
    *state &= (uint8_t)~SLOT_INNER;
}

static void luapolicy_insert(policy *base, uint32_t set, uint32_t slot, uint64_t key)
{
    lua_policy *p = (lua_policy *)base;
    size_t at = lua_policy_at(p, set, slot);
    p->full[set] += !(p->state[at] & SLOT_FULL);
    p->state[at] =
        (uint8_t)(SLOT_FULL | (p->of->enter ? SLOT_REFERENCED : 0) | (p->state[at] & SLOT_INNER));
    p->keys[at] = key;
    p->faults++;
    p->told++;
    if (base->chosen == slot)
        base->chosen = POLICY_NONE;
    p->arrival[at] = p->faults;
    if (p->views[set])
        lua_arrays_enter(p->views[set], slot);
    if (p->of->ear[LUA_POLICY_INSERT] == EAR_LUA)
        policy_queue(p, LUA_POLICY_INSERT, set, slot, key);
    else if (p->of->ear[LUA_POLICY_INSERT] == EAR_INNER)
        lua_policy_give(p, set, slot, key);
}

static void luapolicy_touch(policy *base, uint32_t set, uint32_t slot, bool write)
{
    lua_policy *p = (lua_policy *)base;
    p->told++;
    p->state[lua_policy_at(p, set, slot)] |= SLOT_REFERENCED;
    if (p->touch_ear == EAR_LUA)
        policy_queue(p, LUA_POLICY_TOUCH, set, slot, write);
    else if (p->touch_ear == EAR_INNER)
        p->inner->cls->touch(p->inner, set, slot, write);
}

static void luapolicy_remove(policy *base, uint32_t set, uint32_t slot)
{
    lua_policy *p = (lua_policy *)base;
    uint8_t *state = &p->state[lua_policy_at(p, set, slot)];
    bool evicts = policy_evicts(base, slot);
    p->full[set] -= *state & SLOT_FULL;
    *state &= SLOT_INNER;
    if (p->views[set])
        lua_arrays_leave(p->views[set], slot);
    if (p->of->ear[LUA_POLICY_REMOVE] == EAR_LUA)
        policy_queue(p, LUA_POLICY_REMOVE, set, slot, evicts);
    else if (p->of->ear[LUA_POLICY_REMOVE] == EAR_INNER)
        lua_policy_take(p, set, slot, evicts);
}

static vm_status luapolicy_victim(policy *base, uint32_t set, uint64_t key, uint32_t *slot,
                                  vm_error *e)
{
    lua_policy *p = (lua_policy *)base;
    vm_error mine;
    uint32_t answer = 0;
    vm_status s = policy_call(p, set, key, &answer, &mine);
    if (s != VM_OK) {
        if (e)
            *e = mine;
        else /* nobody listens: the owner tells of it later */
            policy_leave(p->of->owner, s, &mine);
        return s;
    }
    *slot = base->chosen = answer;
    if (p->inner)
        p->inner->chosen = answer;
    return VM_OK;
}

/* --- instances ---------------------------------------------------------------------- */

static vm_status luapolicy_init(policy *base, vm_error *e)
{
    lua_policy *p = (lua_policy *)base;
    const vm_host *h = base->host;
    p->of = base->ud;
    p->touch_ear = p->of->ear[LUA_POLICY_TOUCH];
    p->full = host_zalloc(h, base->cfg.sets * sizeof *p->full);
    p->views = host_zalloc(h, base->cfg.sets * sizeof(void *));
    p->queue = host_alloc(h, QUEUE_ROOM * sizeof *p->queue);
    if (!p->full || !p->views || !p->queue)
        return vm_fail_nomem(e, p->of->who);
    rng_seed(&p->rng, base->cfg.seed);
    return p->of->inner.cls ? policy_new(h, &p->of->inner, &base->cfg, &p->inner, e) : VM_OK;
}

static void luapolicy_free(policy *base)
{
    lua_policy *p = (lua_policy *)base;
    const vm_host *h = base->host;
    size_t n = (size_t)base->cfg.sets * base->room;
    policy_wait_no_more(p);
    for (uint32_t set = 0; p->views && set < base->cfg.sets; set++) {
        lua_State *T = p->of->thread;
        if (!p->views[set])
            continue;
        lua_slots_end(p->views[set]);
        if (!policy_thread_ok(p->of)) /* then they wait for the class's end */
            continue;
        for (int table = SERVE_SELVES; table <= SERVE_VIEWS; table++) {
            lua_getupvalue(T, THREAD_SERVE, table);
            if (lua_rawgetp(T, -1, p->views[set]) != LUA_TNIL) {
                lua_pushnil(T);
                lua_rawsetp(T, -3, p->views[set]); /* a field that is there takes no memory */
            }
            lua_settop(T, THREAD_TOP);
        }
        if (p->of->current == p->views[set])
            p->of->current = NULL;
    }
    policy_delete(p->inner);
    host_free(h, p->refused, p->refused_room * sizeof *p->refused);
    host_free(h, p->queue, QUEUE_ROOM * sizeof *p->queue);
    host_free(h, p->full, base->cfg.sets * sizeof *p->full);
    host_free(h, p->views, base->cfg.sets * sizeof(void *));
    host_free(h, p->state, n);
    host_free(h, p->keys, n * sizeof *p->keys);
    host_free(h, p->arrival, n * sizeof *p->arrival);
}

static vm_status luapolicy_reserve(policy *base, uint32_t n, vm_error *e)
{
    lua_policy *p = (lua_policy *)base;
    const vm_host *h = base->host;
    size_t old = (size_t)base->cfg.sets * base->room, size = (size_t)base->cfg.sets * n;
    if (p->inner) {
        vm_status s = policy_reserve(p->inner, n, e);
        if (s != VM_OK)
            return s;
    }
    if (p->views[0] && !lua_arrays_grow(p->views[0], n)) /* several sets are reserved once */
        return vm_fail_nomem(e, p->of->who);
    if (p->of->has[LUA_POLICY_FILTER]) {
        uint32_t *refused =
            host_realloc(h, p->refused, p->refused_room * sizeof *refused, n * sizeof *refused);
        if (!refused)
            return vm_fail_nomem(e, p->of->who);
        p->refused = refused;
        p->refused_room = n;
    }
    uint64_t *keys = host_alloc(h, size * sizeof *keys);
    uint64_t *arrival = host_alloc(h, size * sizeof *arrival);
    uint8_t *state = host_zalloc(h, size);
    if (!keys || !arrival || !state) {
        host_free(h, keys, size * sizeof *keys);
        host_free(h, arrival, size * sizeof *arrival);
        host_free(h, state, size);
        return vm_fail_nomem(e, p->of->who);
    }
    if (old) {
        memcpy(keys, p->keys, old * sizeof *keys);
        memcpy(arrival, p->arrival, old * sizeof *arrival);
        memcpy(state, p->state, old);
    }
    host_free(h, p->keys, old * sizeof *keys);
    host_free(h, p->arrival, old * sizeof *arrival);
    host_free(h, p->state, old);
    p->keys = keys;
    p->arrival = arrival;
    p->state = state;
    base->room = n;
    return VM_OK;
}

static const char *luapolicy_check(const policy *base)
{
    const lua_policy *p = (const lua_policy *)base;
    for (uint32_t set = 0; set < base->cfg.sets; set++) {
        uint32_t full = 0;
        for (uint32_t i = 0; i < base->room; i++)
            full += p->state[lua_policy_at(p, set, i)] & SLOT_FULL;
        if (full != p->full[set])
            return "a policy in Lua: the count of full slots is wrong";
    }
    return p->inner ? p->inner->cls->check(p->inner) : NULL;
}

/* --- classes -------------------------------------------------------------------------- */

bool lua_policy_is(lua_State *L, int idx)
{
    if (lua_type(L, idx) != LUA_TTABLE || !lua_getmetatable(L, idx))
        return false;
    luaL_getmetatable(L, LUA_POLICY);
    bool is = lua_rawequal(L, -1, -2);
    lua_pop(L, 2);
    return is;
}

/* What the object says of its inner policy, by name. */
static void policy_read_inner(lua_State *L, int idx, unsigned serves, lua_policy_class *c)
{
    vm_error e;
    if (lua_getfield(L, idx, "wraps") == LUA_TSTRING) {
        if (policy_read(lua_tostring(L, -1), serves & c->cls.serves, &c->inner, &e) != VM_OK)
            luaL_error(L, "%s: it wraps %s, but %s", c->who, lua_tostring(L, -1), e.text);
        c->cls.exact = c->inner.cls->exact;
    }
    lua_pop(L, 1);
}

/* The function that serves, made of the object at idx, on the thread. */
static void policy_read_functions(lua_State *L, int idx, lua_policy_class *c)
{
    for (int i = 0; i < LUA_POLICY_FUNCTIONS; i++)
        c->has[i] = lua_getfield(L, idx, policy_functions[i]) == LUA_TFUNCTION;
    if (!c->has[LUA_POLICY_VICTIM] && !c->inner.cls)
        luaL_error(L, "%s has no function victim", c->who);
    c->has[LUA_POLICY_FILTER] &= c->inner.cls != NULL;
    c->cls.exact |= c->has[LUA_POLICY_TOUCH];
    bool any = false;
    for (int i = 0; i < LUA_POLICY_VICTIM; i++)
        any |= c->has[i];
    for (int i = 0; i < LUA_POLICY_VICTIM; i++)
        c->ear[i] = c->inner.cls ? any ? EAR_LUA : EAR_INNER : c->has[i] ? EAR_LUA : EAR_NONE;
    c->direct = c->has[LUA_POLICY_VICTIM] && !c->has[LUA_POLICY_FILTER];
    lua_newtable(L);
    lua_pushvalue(L, -1);
    lua_insert(L, -2 - LUA_POLICY_FUNCTIONS); /* below, for the thread */
    lua_newtable(L);
    if (lua_getfield(L, idx, "params") != LUA_TTABLE) {
        lua_pop(L, 1);
        lua_newtable(L);
    }
    lua_pushcclosure(L, policy_serve, SERVE_COUNT);
    lua_pushcfunction(L, policy_complain);
    lua_getfield(L, idx, "victim");
    lua_rotate(L, -4, -1); /* the functions, then the selves */
    lua_pushnil(L);
    lua_xmove(L, c->thread, THREAD_TOP - 1);
}

policy_choice lua_policy_choose(lua_State *L, int idx, unsigned serves, lua_policy_owner *owner,
                                int keep, const char *name)
{
    static const policy_class cls = {.doc = "in Lua",
                                     .timed = true, /* slots:time() */
                                     .serves = POLICY_FRAMES | POLICY_SETS,
                                     .size = sizeof(lua_policy),
                                     .init = luapolicy_init,
                                     .free = luapolicy_free,
                                     .reserve = luapolicy_reserve,
                                     .insert = luapolicy_insert,
                                     .touch = luapolicy_touch,
                                     .victim = luapolicy_victim,
                                     .remove = luapolicy_remove,
                                     .check = luapolicy_check};
    policy_choice choice;
    vm_error e;
    idx = lua_absindex(L, idx);
    keep = lua_absindex(L, keep);
    if (!lua_policy_is(L, idx)) {
        if (policy_read(luaL_checkstring(L, idx), serves, &choice, &e) != VM_OK)
            lua_raise(L, &e);
        return choice;
    }
    luaL_checkstack(L, 2 * LUA_MINSTACK, "a policy");
    lua_policy_class *c = lua_newuserdatauv(L, sizeof *c, 2);
    memset(c, 0, sizeof *c);
    c->cls = cls;
    lua_getfield(L, idx, "name");
    if (lua_type(L, -1) != LUA_TSTRING)
        luaL_error(L, "a policy has no name");
    lua_setiuservalue(L, -2, 2);
    lua_getiuservalue(L, -1, 2);
    c->cls.name = lua_tostring(L, -1); /* the user value keeps it */
    lua_pop(L, 1);
    snprintf(c->who, sizeof c->who, "policy %s", c->cls.name);
    c->owner = owner;
    c->calls = callback_enter(L);
    lua_getfield(L, idx, "enter");
    c->enter = lua_isnil(L, -1) || lua_tointeger(L, -1) != 0;
    lua_getfield(L, idx, "limit");
    c->guard.limit = lua_tointeger(L, -1) > 0 ? (uint64_t)lua_tointeger(L, -1) : 0;
    c->guard.who = c->who;
    lua_pop(L, 2);
    c->thread = callback_thread(L, c->guard.limit);
    lua_setiuservalue(L, -2, 1);
    policy_read_inner(L, idx, serves, c);
    policy_read_functions(L, idx, c);
    lua_setfield(L, keep, name);
    memset(&choice, 0, sizeof choice);
    choice.cls = &c->cls;
    choice.ud = c;
    return choice;
}

void lua_open_policy(lua_State *L)
{
    luaL_newmetatable(L, LUA_POLICY);
    lua_setfield(L, -2, "Policy");
    lua_open_slots(L);
    lua_open_hand(L);
}
