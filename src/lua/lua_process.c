/* lua_process.c: the methods of a process: accesses, areas, pages. */
#include "callback.h"
#include "lua_machine.h"

#include <stdio.h>

#include "../machine_front.h"

static const char *const kind_names[] = {"fetch", "load", "store", "modify"};

/* --- handles and faults --------------------------------------------------------------- */

void lua_push_process(lua_State *L, int machine_idx, const process *p)
{
    machine_idx = lua_absindex(L, machine_idx);
    lua_process *h = lua_newuserdatauv(L, sizeof *h, 1);
    h->owner = lua_touserdata(L, machine_idx);
    h->pid = p->pid;
    lua_pushvalue(L, machine_idx);
    lua_setiuservalue(L, -2, 1);
    luaL_setmetatable(L, LUA_PROCESS);
}

lua_process *lua_check_process(lua_State *L, int idx, process **p)
{
    lua_process *h = luaL_checkudata(L, idx, LUA_PROCESS);
    if (!h->owner->m)
        luaL_argerror(L, idx, "the machine of this process is closed");
    if (h->owner->busy)
        luaL_argerror(
            L, idx,
            lua_pushfstring(L, "the machine of this process is busy with %s", h->owner->busy));
    *p = process_find(&h->owner->m->kernel, h->pid);
    return h;
}

lua_process *lua_check_running(lua_State *L, int idx, process **p)
{
    lua_process *h = lua_check_live(L, idx, p);
    if ((*p)->state == PROCESS_BLOCKED)
        luaL_argerror(L, idx, "this process waits for its vfork child to call execve or exit");
    return h;
}

lua_process *lua_check_live(lua_State *L, int idx, process **p)
{
    lua_process *h = lua_check_process(L, idx, p);
    if (!(*p)->space)
        luaL_argerror(L, idx, "this process has ended");
    if (h->owner->calls) /* signal handlers run on the state that is running */
        callback_enter(L);
    return h;
}

void lua_push_fault(lua_State *L, const fault_info *info)
{
    lua_createtable(L, 0, 6);
    lua_pushstring(L, info->signal);
    lua_setfield(L, -2, "signal");
    lua_pushstring(L, info->code);
    lua_setfield(L, -2, "code");
    lua_pushinteger(L, (lua_Integer)info->addr);
    lua_setfield(L, -2, "addr");
    lua_pushstring(L, kind_names[info->access]);
    lua_setfield(L, -2, "access");
    lua_pushinteger(L, info->pid);
    lua_setfield(L, -2, "pid");
    luaL_setmetatable(L, LUA_FAULT);
}

static int fault_tostring(lua_State *L)
{
    char text[200];
    luaL_checktype(L, 1, LUA_TTABLE);
    lua_getfield(L, 1, "signal");
    lua_getfield(L, 1, "code");
    lua_getfield(L, 1, "access");
    lua_getfield(L, 1, "addr");
    lua_getfield(L, 1, "pid");
    snprintf(text, sizeof text, "%s (%s): %s of address 0x%llx by process %lld",
             luaL_tolstring(L, 2, NULL), luaL_tolstring(L, 3, NULL), luaL_tolstring(L, 4, NULL),
             (unsigned long long)lua_tointeger(L, 5), (long long)lua_tointeger(L, 6));
    lua_pushstring(L, text);
    return 1;
}

int lua_raise_access(lua_State *L, machine *m, process *p, vm_status s, const fault_info *info,
                     const vm_error *e)
{
    if (s == VM_FAULT)
        process_exit(&m->kernel, p, -1, info->signal);
    lua_deliver(L, m);
    if (s != VM_FAULT)
        return callback_raise(L, e);
    lua_push_fault(L, info);
    return lua_error(L);
}

/* --- accesses ----------------------------------------------------------------------- */

static uint32_t check_size(lua_State *L, int idx)
{
    lua_Integer n = luaL_optinteger(L, idx, 8);
    luaL_argcheck(L, n == 1 || n == 2 || n == 4 || n == 8, idx, "a size is 1, 2, 4 or 8 bytes");
    return (uint32_t)n;
}

static uint64_t load_number(lua_State *L, machine *m, process *p, uint64_t va, uint32_t n,
                            access_kind kind)
{
    uint8_t b[8] = {0};
    uint64_t x = 0;
    fault_info info;
    vm_error e;
    const uint8_t *at = NULL;
    if (kind == ACCESS_LOAD) {
        machine_window_open(m, p);
        at = machine_near(m, va, n, false);
        machine_window_close(m);
    }
    if (at && n >= 4)
        return dram_load(at, n);
    vm_status s = at ? VM_OK : machine_read(m, p, va, b, n, kind, &info, &e);
    if (s != VM_OK)
        lua_raise_access(L, m, p, s, &info, &e);
    for (unsigned i = n; i-- > 0;)
        x = x << 8 | (at ? at : b)[i];
    return x;
}

static void store_number(lua_State *L, machine *m, process *p, uint64_t va, uint64_t x, uint32_t n)
{
    uint8_t b[8];
    fault_info info;
    vm_error e;
    machine_window_open(m, p);
    uint8_t *at = machine_near(m, va, n, true), *to = at ? at : b;
    machine_window_close(m);
    for (unsigned i = 0; i < n; i++)
        to[i] = (uint8_t)(x >> 8 * i);
    if (at)
        return;
    vm_status s = machine_write(m, p, va, b, n, &info, &e);
    if (s != VM_OK)
        lua_raise_access(L, m, p, s, &info, &e);
}

static int process_load(lua_State *L)
{
    process *p;
    lua_process *h = lua_check_running(L, 1, &p);
    uint64_t va = (uint64_t)luaL_checkinteger(L, 2);
    uint64_t x = load_number(L, h->owner->m, p, va, check_size(L, 3), ACCESS_LOAD);
    lua_pushinteger(L, (lua_Integer)x);
    return lua_tell(L, h->owner, 1);
}

static int process_store(lua_State *L)
{
    process *p;
    lua_process *h = lua_check_running(L, 1, &p);
    uint64_t va = (uint64_t)luaL_checkinteger(L, 2), x = (uint64_t)luaL_checkinteger(L, 3);
    store_number(L, h->owner->m, p, va, x, check_size(L, 4));
    return lua_tell(L, h->owner, 0);
}

/* A closure that holds the process: no type check of a userdata on each call. */
static lua_process *bound_process(lua_State *L, process **p)
{
    lua_process *h = lua_touserdata(L, lua_upvalueindex(1));
    if (!h->owner->m || h->owner->busy ||
        (*p = process_find(&h->owner->m->kernel, h->pid))->state != PROCESS_RUNNING)
        luaL_error(L, "the process has ended or waits, or its machine is closed or busy");
    if (h->owner->calls)
        callback_enter(L);
    return h;
}

static int bound_load(lua_State *L)
{
    process *p;
    lua_process *h = bound_process(L, &p);
    uint64_t va = (uint64_t)luaL_checkinteger(L, 1);
    uint64_t x = load_number(L, h->owner->m, p, va, check_size(L, 2), ACCESS_LOAD);
    lua_pushinteger(L, (lua_Integer)x);
    return lua_tell(L, h->owner, 1);
}

static int bound_store(lua_State *L)
{
    process *p;
    lua_process *h = bound_process(L, &p);
    uint64_t va = (uint64_t)luaL_checkinteger(L, 1), x = (uint64_t)luaL_checkinteger(L, 2);
    store_number(L, h->owner->m, p, va, x, check_size(L, 3));
    return lua_tell(L, h->owner, 0);
}

/* p:bind("load") -> function(address[, size]);  p:bind("store") -> function(address, value[, size])
 */
static int process_bind(lua_State *L)
{
    static const char *const names[] = {"load", "store", NULL};
    process *p;
    lua_check_running(L, 1, &p);
    int which = luaL_checkoption(L, 2, NULL, names);
    lua_pushvalue(L, 1);
    lua_pushcclosure(L, which == 0 ? bound_load : bound_store, 1);
    return 1;
}

/* Bytes in one access each of up to a page, so that no access is larger than what
 * a machine can hold at once. */
static int process_bytes(lua_State *L, access_kind kind)
{
    process *p;
    lua_process *h = lua_check_running(L, 1, &p);
    machine *m = h->owner->m;
    uint64_t va = (uint64_t)luaL_checkinteger(L, 2);
    lua_Integer n = luaL_checkinteger(L, 3);
    luaL_argcheck(L, n >= 0 && n <= INT32_MAX, 3, "a length is 0 to 2^31 - 1 bytes");
    luaL_Buffer b;
    char *to = luaL_buffinitsize(L, &b, (size_t)n);
    uint64_t page = kernel_page(&m->kernel);
    for (size_t at = 0; at < (size_t)n;) {
        uint64_t room = page - ((va + at) & (page - 1)), left = (uint64_t)n - at;
        size_t k = (size_t)(left < room ? left : room);
        fault_info info;
        vm_error e;
        vm_status s = machine_read(m, p, va + at, to + at, k, kind, &info, &e);
        if (s != VM_OK)
            return lua_raise_access(L, m, p, s, &info, &e);
        at += k;
    }
    luaL_pushresultsize(&b, (size_t)n);
    return 1;
}

static int process_read(lua_State *L) { return process_bytes(L, ACCESS_LOAD); }

static int process_fetch(lua_State *L)
{
    lua_settop(L, 3);
    if (lua_isnil(L, 3)) {
        lua_pushinteger(L, 4);
        lua_replace(L, 3);
    }
    return process_bytes(L, ACCESS_FETCH);
}

static int process_write(lua_State *L)
{
    process *p;
    lua_process *h = lua_check_running(L, 1, &p);
    machine *m = h->owner->m;
    uint64_t va = (uint64_t)luaL_checkinteger(L, 2), page = kernel_page(&m->kernel);
    size_t n;
    const char *from = luaL_checklstring(L, 3, &n);
    for (size_t at = 0; at < n;) {
        uint64_t room = page - ((va + at) & (page - 1)), left = n - at;
        size_t k = (size_t)(left < room ? left : room);
        fault_info info;
        vm_error e;
        vm_status s = machine_write(m, p, va + at, from + at, k, &info, &e);
        if (s != VM_OK)
            return lua_raise_access(L, m, p, s, &info, &e);
        at += k;
    }
    return 0;
}

/* --- the rest ------------------------------------------------------------------------- */

static int process_stats(lua_State *L)
{
    process *p;
    lua_check_process(L, 1, &p);
    lua_createtable(L, 0, 10);
#define X(field, name, unit, doc)                                                                  \
    lua_pushinteger(L, (lua_Integer)p->n.field);                                                   \
    lua_setfield(L, -2, name);
    PROCESS_COUNTERS(X)
#undef X
    lua_pushinteger(L, p->space ? (lua_Integer)p->space->resident : 0);
    lua_setfield(L, -2, "resident");
    lua_pushinteger(L, p->space ? (lua_Integer)p->space->swapped : 0);
    lua_setfield(L, -2, "swapped");
    lua_pushinteger(L, p->space ? (lua_Integer)p->space->tables : 0);
    lua_setfield(L, -2, "tables");
    return 1;
}

static int process_tostring(lua_State *L)
{
    lua_process *h = luaL_checkudata(L, 1, LUA_PROCESS);
    const process *p = h->owner->m ? process_find(&h->owner->m->kernel, h->pid) : NULL;
    char text[160];
    if (!p)
        snprintf(text, sizeof text, "vmem.process %u: its machine is closed", h->pid);
    else if (!p->space)
        snprintf(text, sizeof text, "vmem.process %u %s: ended with status %d", p->pid, p->name,
                 p->exit_status);
    else
        snprintf(text, sizeof text,
                 "vmem.process %u %s: %zu areas, %llu pages resident, %llu in swap", p->pid,
                 p->name, p->space->areas.count, (unsigned long long)p->space->resident,
                 (unsigned long long)p->space->swapped);
    lua_pushstring(L, text);
    return 1;
}

static int process_pid(lua_State *L)
{
    lua_process *h = luaL_checkudata(L, 1, LUA_PROCESS);
    lua_pushinteger(L, h->pid);
    return 1;
}

static int process_name(lua_State *L)
{
    process *p;
    lua_check_process(L, 1, &p);
    lua_pushstring(L, p->name);
    return 1;
}

static int process_machine(lua_State *L)
{
    luaL_checkudata(L, 1, LUA_PROCESS);
    lua_getiuservalue(L, 1, 1);
    return 1;
}

static int process_alive(lua_State *L)
{
    process *p;
    lua_check_process(L, 1, &p);
    lua_pushboolean(L, p->space != NULL);
    return 1;
}

/* p:_forget_ptes(): every PTE is unknown until it is given */
static int process_forget(lua_State *L)
{
    process *p;
    vm_error e;
    lua_process *h = lua_check_live(L, 1, &p);
    if (machine_forget_ptes(h->owner->m, p, &e) != VM_OK)
        return lua_raise(L, &e);
    return 0;
}

/* p:_set_pte(vpn, ppn, prot) or p:_set_pte(vpn, nil): not present */
static int process_set_pte(lua_State *L)
{
    process *p;
    vm_error e;
    lua_process *h = lua_check_live(L, 1, &p);
    bool present = !lua_isnoneornil(L, 3);
    uint64_t ppn = present ? (uint64_t)luaL_checkinteger(L, 3) : 0;
    unsigned prot = present ? lua_check_prot(L, 4) : 0;
    if (machine_set_pte(h->owner->m, p, (uint64_t)luaL_checkinteger(L, 2), ppn, prot, present,
                        &e) != VM_OK)
        return lua_raise(L, &e);
    return 0;
}

/* p:_set_tlb(level, vpn, ppn, prot); level 0 is the first */
static int process_set_tlb(lua_State *L)
{
    process *p;
    vm_error e;
    lua_process *h = lua_check_live(L, 1, &p);
    lua_Integer level = luaL_checkinteger(L, 2);
    luaL_argcheck(L, level >= 0 && level < 8, 2, "no such level of the TLB");
    if (machine_set_tlb(h->owner->m, p, (unsigned)level, (uint64_t)luaL_checkinteger(L, 3),
                        (uint64_t)luaL_checkinteger(L, 4), lua_check_prot(L, 5), &e) != VM_OK)
        return lua_raise(L, &e);
    return 0;
}

void lua_open_process(lua_State *L)
{
    static const luaL_Reg methods[] = {
        {"bind", process_bind},
        {"read", process_read},
        {"write", process_write},
        {"fetch", process_fetch},
        {"stats", process_stats},
        {"pid", process_pid},
        {"name", process_name},
        {"machine", process_machine},
        {"alive", process_alive},
        {"_forget_ptes", process_forget},
        {"_set_pte", process_set_pte},
        {"_set_tlb", process_set_tlb},
        {NULL, NULL},
    };
    /* Those of single accesses, which tell listeners themselves: a wrapper shows. */
    static const luaL_Reg accesses[] = {
        {"load", process_load}, {"store", process_store}, {NULL, NULL}};
    luaL_newmetatable(L, LUA_FAULT);
    lua_pushcfunction(L, fault_tostring);
    lua_setfield(L, -2, "__tostring");
    lua_pop(L, 1);
    luaL_newmetatable(L, LUA_PROCESS);
    lua_pushcfunction(L, process_tostring);
    lua_setfield(L, -2, "__tostring");
    luaL_newlib(L, methods);
    lua_open_explain(L);
    lua_open_space(L);
    lua_open_life(L);
    lua_tell_methods(L, true);
    luaL_setfuncs(L, accesses, 0);
    lua_pushvalue(L, -1);
    lua_setfield(L, -3, "__index");
    lua_setfield(L, -3, "Process"); /* where Lua adds its methods */
    lua_pop(L, 1);
}
