/* lua_replay.c: a replay in steps, so that Lua can show progress in between.
 *
 * core.replay(process, trace) -> replay;  r:step(n) -> accesses so far, ended?
 * While a step runs, the machine is busy: the trace may call back into Lua.
 * Where somebody listens to events, it stops for them whenever a batch waits.
 */
#include "callback.h"
#include "lua_machine.h"
#include "lua_trace.h"

#include "../trace/replay.h"

#define LUA_REPLAY "vmem.replay"

typedef struct lua_replay {
    lua_machine *owner; /* alive: the process is user value 1 */
    replay r;
    trace_cursor *cursor; /* alive: its guard is user value 2 */
    trace_block block;
    size_t at; /* records of the block that are done */
    bool open, ended;
} lua_replay;

static int replay_close(lua_State *L)
{
    lua_replay *x = luaL_checkudata(L, 1, LUA_REPLAY);
    if (x->open)
        replay_end(&x->r);
    x->open = false;
    if (lua_getiuservalue(L, 1, 2) == LUA_TUSERDATA)
        lua_trace_done(L, -1);
    lua_pushnil(L);
    lua_setiuservalue(L, 1, 2);
    return 0;
}

static int replay_open(lua_State *L)
{
    process *p;
    vm_error e;
    lua_process *h = lua_check_running(L, 1, &p);
    lua_replay *x = lua_newuserdatauv(L, sizeof *x, 2);
    memset(x, 0, sizeof *x);
    luaL_setmetatable(L, LUA_REPLAY);
    x->owner = h->owner;
    lua_pushvalue(L, 1);
    lua_setiuservalue(L, -2, 1);
    x->cursor = lua_trace_cursor(L, 2);
    lua_setiuservalue(L, -2, 2);
    if (replay_begin(&x->r, h->owner->m, p, &e) != VM_OK)
        return lua_raise(L, &e);
    x->open = true;
    return 1;
}

#define REPLAY_HEARD 4096 /* events that wait at most before they are delivered, and */
#define REPLAY_AHEAD 256  /* the records between two looks at how many there are */

/* The body of a step; `*e` says why it ended early. It ends, too, for events. */
static vm_status replay_advance(lua_replay *x, uint64_t until, vm_error *e)
{
    const event_log *ev = &x->owner->m->kernel.events;
    while (x->r.accesses < until && !x->ended) {
        bool heard = ev->pending.wanted && !x->owner->telling;
        if (heard && events_pending(ev) >= REPLAY_HEARD)
            break;
        if (x->at == x->block.count) {
            vm_status s = trace_next(x->cursor, &x->block, e);
            x->at = 0;
            if (s != VM_OK) {
                x->block.count = 0;
                return s;
            }
            if (x->block.count == 0) {
                x->ended = true;
                break;
            }
        }
        trace_block rest = x->block;
        rest.records += x->at;
        rest.count -= x->at;
        if (rest.count > until - x->r.accesses)
            rest.count = (size_t)(until - x->r.accesses);
        if (heard && rest.count > REPLAY_AHEAD)
            rest.count = REPLAY_AHEAD;
        size_t ran;
        vm_status s = replay_block(&x->r, &rest, &ran, e);
        x->at += ran;
        if (s != VM_OK)
            return s;
    }
    return VM_OK;
}

/* r:step(n) -> accesses replayed in all, true at the end */
static int replay_step(lua_State *L)
{
    lua_replay *x = luaL_checkudata(L, 1, LUA_REPLAY);
    lua_Integer n = luaL_checkinteger(L, 2);
    luaL_argcheck(L, n > 0, 2, "a step is 1 access or more");
    if (!x->open)
        return luaL_error(L, "this replay is closed");
    if (!x->owner->m)
        return luaL_error(L, "the machine of this replay is closed");
    if (x->owner->busy)
        return luaL_error(L, "the machine is busy with %s already", x->owner->busy);
    if (x->owner->handling)
        return luaL_error(L, "a handler of a machine's signals can't replay on it");
    vm_error e;
    uint64_t until = x->r.accesses + (uint64_t)n;
    do {
        callback_enter(L); /* the trace may be one that a Lua function parses */
        x->owner->busy = "a replay";
        vm_status s = replay_advance(x, until, &e);
        x->owner->busy = NULL;
        if (s == VM_FAULT) {
            process *p = process_find(&x->owner->m->kernel, x->r.fault.pid);
            return lua_raise_access(L, x->owner->m, p, s, &x->r.fault, &e);
        }
        if (s != VM_OK) {
            lua_deliver(L, x->owner->m);
            return callback_raise(L, &e);
        }
        lua_tell(L, x->owner, 0);
    } while (x->r.accesses < until && !x->ended && x->open);
    lua_pushinteger(L, (lua_Integer)x->r.accesses);
    lua_pushboolean(L, x->ended);
    return 2;
}

/* r:result() -> { accesses, events, processes, mapped, refused } */
static int replay_result(lua_State *L)
{
    lua_replay *x = luaL_checkudata(L, 1, LUA_REPLAY);
    lua_createtable(L, 0, 5);
    lua_pushinteger(L, (lua_Integer)x->r.accesses);
    lua_setfield(L, -2, "accesses");
    lua_pushinteger(L, (lua_Integer)x->r.events);
    lua_setfield(L, -2, "events");
    lua_pushinteger(L, (lua_Integer)x->r.processes);
    lua_setfield(L, -2, "processes");
    lua_pushinteger(L, (lua_Integer)x->r.mapped);
    lua_setfield(L, -2, "mapped");
    lua_pushinteger(L, (lua_Integer)x->r.skipped_events);
    lua_setfield(L, -2, "refused");
    return 1;
}

/* core.drain(trace) -> how many records a pass over it gave; each is looked at */
static int replay_drain(lua_State *L)
{
    trace_cursor *c = lua_trace_cursor(L, 1);
    trace_block b;
    vm_error e;
    uint64_t n = 0, sum = 0;
    do {
        callback_enter(L);
        if (trace_next(c, &b, &e) != VM_OK)
            return callback_raise(L, &e);
        for (size_t i = 0; i < b.count; i++)
            sum += b.records[i].addr + b.records[i].kind;
        n += b.count;
    } while (b.count);
    lua_pushinteger(L, (lua_Integer)n);
    lua_pushinteger(L, (lua_Integer)sum);
    return 2;
}

void lua_open_replay(lua_State *L)
{
    static const luaL_Reg methods[] = {
        {"step", replay_step}, {"result", replay_result}, {"close", replay_close}, {NULL, NULL}};
    lua_pushcfunction(L, replay_open);
    lua_setfield(L, -2, "replay");
    lua_pushcfunction(L, replay_drain);
    lua_setfield(L, -2, "drain");
    lua_class(L, LUA_REPLAY, methods, replay_close);
}
