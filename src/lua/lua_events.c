/* lua_events.c: the kernel's events for Lua: listeners, and the ring of events
 * that are kept.
 *
 * A listener is a userdata: the handle that m:on returned, with its function and
 * its machine as user values; the machine has a list of those that are on as its
 * own user value, so all of them are collected together. Events are taken out
 * one by one and shown to the listeners that were there when they happened, in
 * the order of m:on, each under a pcall of its own.
 *
 * Invariants
 *   - While `telling`, the list only grows: one that is off is skipped, and taken
 *     out afterwards.
 *   - lua_deliver is entered once at a time for a machine; what listeners cause is
 *     delivered by the same round.
 */
#include "callback.h"
#include "lua_machine.h"

#include <stdio.h>

#define LUA_LISTENER "vmem.listener"

/* So many events caused by listeners in one round, and it is taken for a chain
 * that would never end. */
#define EVENTS_CHAIN UINT64_C(1000000)

enum { LISTENER_FUNCTION = 1, LISTENER_MACHINE };

typedef struct lua_listener {
    lua_machine *owner;
    uint32_t types;
    uint64_t since; /* the number of the first event that it may hear */
    bool on;
} lua_listener;

/* Registry: a table of machines' userdata by their `machine`, weak in its values. */
static const char events_machines_key = 'm';

/* --- an event as a table --------------------------------------------------------------- */

static void events_push_field(lua_State *L, const event_field *f, const kernel_event *x)
{
    uint64_t v = event_field_value(f, x->a, x->b);
    if (f->kind == EVENT_FIELD_BOOL)
        lua_pushboolean(L, v != 0);
    else if (f->kind == EVENT_FIELD_NAME && v < f->names->count)
        lua_pushstring(L, f->names->names[v]);
    else
        lua_pushinteger(L, (lua_Integer)v);
    lua_setfield(L, -2, f->name);
}

static void events_push(lua_State *L, const kernel_event *x)
{
    const kevent_row *row = &kevent_rows[x->type];
    lua_createtable(L, 0, 10);
    lua_pushstring(L, row->name);
    lua_setfield(L, -2, "type");
    lua_pushinteger(L, (lua_Integer)x->clock);
    lua_setfield(L, -2, "clock");
    lua_pushinteger(L, x->pid);
    lua_setfield(L, -2, "pid");
    lua_pushinteger(L, x->cpu);
    lua_setfield(L, -2, "cpu");
    if (row->addr) {
        lua_pushinteger(L, (lua_Integer)x->addr);
        lua_setfield(L, -2, "addr");
    }
    for (const event_field *f = row->fields; f < row->fields + EVENT_FIELDS && f->name; f++)
        events_push_field(L, f, x);
}

static const char *const field_kind_names[] = {"number", "name", "boolean"};

/* core.event_rows() -> list of { name, addr, doc, fields = list of { name, kind, doc, names } } */
static int events_rows(lua_State *L)
{
    lua_createtable(L, KEVENT_TYPES, 0);
    for (int i = 0; i < KEVENT_TYPES; i++) {
        const kevent_row *row = &kevent_rows[i];
        lua_createtable(L, 0, 4);
        lua_pushstring(L, row->name);
        lua_setfield(L, -2, "name");
        lua_pushstring(L, row->addr); /* nil where there is none */
        lua_setfield(L, -2, "addr");
        lua_pushstring(L, row->doc);
        lua_setfield(L, -2, "doc");
        lua_newtable(L);
        for (int k = 0; k < EVENT_FIELDS && row->fields[k].name; k++) {
            const event_field *f = &row->fields[k];
            lua_createtable(L, 0, 4);
            lua_pushstring(L, f->name);
            lua_setfield(L, -2, "name");
            lua_pushstring(L, field_kind_names[f->kind]);
            lua_setfield(L, -2, "kind");
            lua_pushstring(L, f->doc);
            lua_setfield(L, -2, "doc");
            lua_newtable(L);
            for (uint32_t v = 0; f->names && v < f->names->count; v++) {
                lua_pushstring(L, f->names->names[v]);
                lua_rawseti(L, -2, (lua_Integer)v + 1);
            }
            lua_setfield(L, -2, "names");
            lua_rawseti(L, -2, k + 1);
        }
        lua_setfield(L, -2, "fields");
        lua_rawseti(L, -2, i + 1);
    }
    return 1;
}

/* core.errno_name(number) -> "ENOENT", for what Lua's own io functions return */
static int events_errno(lua_State *L)
{
    lua_pushstring(L, errno_name((int)luaL_optinteger(L, 1, 0)));
    return 1;
}

/* --- listeners ----------------------------------------------------------------------------- */

/* The list of the machine at idx; makes it, and makes the machine known. */
static void listeners_push(lua_State *L, int idx)
{
    idx = lua_absindex(L, idx);
    if (lua_getiuservalue(L, idx, LUA_MACHINE_LISTENERS) == LUA_TTABLE)
        return;
    lua_pop(L, 1);
    lua_remember(L, &events_machines_key, ((lua_machine *)lua_touserdata(L, idx))->m, idx);
    lua_newtable(L);
    lua_pushvalue(L, -1);
    lua_setiuservalue(L, idx, LUA_MACHINE_LISTENERS);
}

/* Take those that are off out of the list on the top; the machine asks for what
 * the others want. No error comes from here. */
static void listeners_settle(lua_State *L, lua_machine *box)
{
    lua_Integer n = (lua_Integer)lua_rawlen(L, -1), kept = 0;
    uint32_t types = 0;
    for (lua_Integer i = 1; i <= n; i++) {
        lua_rawgeti(L, -1, i);
        const lua_listener *l = lua_touserdata(L, -1);
        if (l->on) {
            types |= l->types;
            kept++;
        }
        if (l->on && kept < i)
            lua_rawseti(L, -2, kept);
        else
            lua_pop(L, 1);
    }
    for (lua_Integer i = kept + 1; i <= n; i++) {
        lua_pushnil(L);
        lua_rawseti(L, -2, i);
    }
    if (box->m)
        events_listen(&box->m->kernel.events, types);
}

/* m:_on(types, function) -> listener */
static int listener_on(lua_State *L)
{
    lua_machine *box = lua_check_machine(L, 1);
    uint32_t types = (uint32_t)luaL_checkinteger(L, 2);
    luaL_checktype(L, 3, LUA_TFUNCTION);
    event_log *ev = &box->m->kernel.events;
    listeners_push(L, 1);
    lua_listener *l = lua_newuserdatauv(L, sizeof *l, 2);
    *l = (lua_listener){box, types, ev->pending.next, true};
    luaL_setmetatable(L, LUA_LISTENER);
    lua_pushvalue(L, 3);
    lua_setiuservalue(L, -2, LISTENER_FUNCTION);
    lua_pushvalue(L, 1);
    lua_setiuservalue(L, -2, LISTENER_MACHINE);
    lua_pushvalue(L, -1);
    lua_rawseti(L, -3, (lua_Integer)lua_rawlen(L, -3) + 1);
    events_listen(ev, ev->pending.wanted | types);
    return 1;
}

/* End the listener at idx; was it on? */
static bool listener_end(lua_State *L, int idx)
{
    lua_listener *l = luaL_checkudata(L, idx, LUA_LISTENER);
    bool was = l->on;
    l->on = false;
    if (was && l->owner->m && !l->owner->telling) {
        lua_getiuservalue(L, idx, LISTENER_MACHINE);
        lua_getiuservalue(L, -1, LUA_MACHINE_LISTENERS);
        listeners_settle(L, l->owner);
        lua_pop(L, 2);
    }
    return was;
}

/* m:off(listener) -> was it on? */
static int listener_off(lua_State *L)
{
    const lua_machine *box = lua_check_machine(L, 1);
    const lua_listener *l = luaL_checkudata(L, 2, LUA_LISTENER);
    luaL_argcheck(L, l->owner == box, 2, "this listener is another machine's");
    lua_pushboolean(L, listener_end(L, 2));
    return 1;
}

static int listener_close(lua_State *L)
{
    listener_end(L, 1);
    return 0;
}

static int listener_tostring(lua_State *L)
{
    const lua_listener *l = luaL_checkudata(L, 1, LUA_LISTENER);
    luaL_Buffer b;
    luaL_buffinit(L, &b);
    luaL_addstring(&b, "vmem.listener:");
    for (int i = 0; i < KEVENT_TYPES; i++)
        if (l->types >> i & 1) {
            luaL_addchar(&b, ' ');
            luaL_addstring(&b, kevent_rows[i].name);
        }
    if (!l->on)
        luaL_addstring(&b, " (off)");
    luaL_pushresult(&b);
    return 1;
}

/* --- delivery ----------------------------------------------------------------------------------
 */

typedef struct delivery {
    const machine *m;
    kernel_event event;
    uint64_t number, lost;
} delivery;

/* Show one event to all who are to hear it; raises the first of their errors.
 * Under lua_pcall as a whole: making the event's table may raise, too. */
static int delivery_show(lua_State *L)
{
    const delivery *d = lua_touserdata(L, 1);
    bool failed = false;
    lua_rawgetp(L, LUA_REGISTRYINDEX, &events_machines_key);
    lua_rawgetp(L, -1, d->m);
    lua_getiuservalue(L, -1, LUA_MACHINE_LISTENERS);
    int list = lua_gettop(L);
    lua_Integer n = (lua_Integer)lua_rawlen(L, list);
    lua_pushnil(L); /* where an error comes */
    for (lua_Integer i = 1; i <= n; i++, lua_settop(L, list + 1)) {
        lua_rawgeti(L, list, i);
        const lua_listener *l = lua_touserdata(L, -1);
        if (!l->on || !(l->types >> d->event.type & 1) || d->number < l->since)
            continue;
        lua_getiuservalue(L, -1, LISTENER_FUNCTION);
        events_push(L, &d->event);
        if (d->lost) {
            lua_pushinteger(L, (lua_Integer)d->lost);
            lua_setfield(L, -2, "lost");
        }
        if (!callback_tell(L, 1) && !failed) {
            failed = true;
            lua_replace(L, list + 1);
        }
    }
    return failed ? lua_error(L) : 0;
}

void lua_deliver(lua_State *L, machine *m)
{
    event_log *ev = &m->kernel.events;
    delivery d = {.m = m};
    bool ok = true, chain = false;
    uint64_t limit = ev->pending.next + EVENTS_CHAIN;
    if (!events_pending(ev))
        return;
    luaL_checkstack(L, 8, "listeners");
    lua_rawgetp(L, LUA_REGISTRYINDEX, &events_machines_key);
    lua_rawgetp(L, -1, m);
    lua_machine *box = lua_touserdata(L, -1);
    if (!box || box->telling) { /* NULL: it is being collected */
        lua_pop(L, 2);
        return;
    }
    box->telling = true;
    while (ok && !chain && events_take(ev, &d.event, &d.number)) {
        d.lost = ev->pending.lost;
        ev->pending.lost = 0;
        ok = callback_protect(L, delivery_show, &d);
        if (ok)
            lua_pop(L, 1);
        chain = d.number >= limit;
    }
    box->telling = false;
    lua_getiuservalue(L, ok ? -1 : -2, LUA_MACHINE_LISTENERS);
    listeners_settle(L, box);
    lua_pop(L, 1);
    if (!ok)
        lua_error(L);
    lua_pop(L, 2);
    if (chain) {
        events_forget(ev);
        luaL_error(L,
                   "listeners caused %d events in a row, each by hearing of another: "
                   "those that waited are lost",
                   (int)EVENTS_CHAIN);
    }
}

/* The method is upvalue 1. Whether the object is one, it checks itself, so that
 * what it returned from was one. */
static int machine_method(lua_State *L)
{
    lua_machine *box = lua_touserdata(L, 1);
    int n = lua_tocfunction(L, lua_upvalueindex(1))(L);
    return lua_tell(L, box, n);
}

static int process_method(lua_State *L)
{
    const lua_process *h = lua_touserdata(L, 1);
    int n = lua_tocfunction(L, lua_upvalueindex(1))(L);
    return lua_tell(L, h->owner, n);
}

void lua_tell_methods(lua_State *L, bool processes)
{
    for (lua_pushnil(L); lua_next(L, -2); lua_pop(L, 1)) {
        lua_pushvalue(L, -2);
        lua_pushvalue(L, -2);
        lua_pushcclosure(L, processes ? process_method : machine_method, 1);
        lua_rawset(L, -5); /* a field that is there: the traversal goes on */
    }
}

/* --- kept events --------------------------------------------------------------------------------
 */

/* m:_keep_events(size, types) */
static int events_keep_(lua_State *L)
{
    lua_machine *box = lua_check_machine(L, 1);
    vm_error e;
    if (events_keep(&box->m->kernel.events, (size_t)luaL_checkinteger(L, 2),
                    (uint32_t)luaL_checkinteger(L, 3), &e) != VM_OK)
        return lua_raise(L, &e);
    return 0;
}

/* m:_kept_events() -> number of the first, of the one behind the last, how many
 * were dropped; none if events are not kept */
static int events_kept_(lua_State *L)
{
    const event_ring *r = &lua_check_machine(L, 1)->m->kernel.events.kept;
    if (!r->cap)
        return 0;
    lua_pushinteger(L, (lua_Integer)r->first);
    lua_pushinteger(L, (lua_Integer)r->next);
    lua_pushinteger(L, (lua_Integer)r->lost);
    return 3;
}

/* m:_events(first, stop) -> list of the events of these numbers that are still kept */
static int events_list(lua_State *L)
{
    const event_log *ev = &lua_check_machine(L, 1)->m->kernel.events;
    uint64_t from = (uint64_t)luaL_checkinteger(L, 2), stop = (uint64_t)luaL_checkinteger(L, 3);
    from = from < ev->kept.first ? ev->kept.first : from;
    stop = stop > ev->kept.next ? ev->kept.next : stop;
    lua_newtable(L);
    for (uint64_t n = from; n < stop; n++) {
        events_push(L, events_kept(ev, n));
        lua_rawseti(L, -2, (lua_Integer)(n - from) + 1);
    }
    return 1;
}

/* m:_process_name(pid) -> name, of an ended one too; nil: there never was one */
static int events_process_name(lua_State *L)
{
    const machine *m = lua_check_machine(L, 1)->m;
    const process *p = process_find(&m->kernel, (uint32_t)luaL_checkinteger(L, 2));
    lua_pushstring(L, p ? p->name : NULL);
    return 1;
}

void lua_open_events(lua_State *L)
{
    static const luaL_Reg functions[] = {
        {"event_rows", events_rows}, {"errno_name", events_errno}, {NULL, NULL}};
    static const luaL_Reg methods[] = {{"_on", listener_on},
                                       {"off", listener_off},
                                       {"_keep_events", events_keep_},
                                       {"_kept_events", events_kept_},
                                       {"_events", events_list},
                                       {"_process_name", events_process_name},
                                       {NULL, NULL}};
    luaL_newmetatable(L, LUA_LISTENER);
    lua_pushcfunction(L, listener_close);
    lua_setfield(L, -2, "__close");
    lua_pushcfunction(L, listener_tostring);
    lua_setfield(L, -2, "__tostring");
    lua_pop(L, 1);
    luaL_setfuncs(L, methods, 0); /* the machine's methods are on the top */
    lua_pushvalue(L, -3);         /* below them its metatable, and the core's table */
    luaL_setfuncs(L, functions, 0);
    lua_pop(L, 1);
}
