/* lua_process.c: the methods of a process: accesses, areas, pages. */
#include "lua_machine.h"

#include <stdio.h>

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
        luaL_argerror(L, idx, "the machine of this process is busy with a replay");
    *p = process_find(&h->owner->m->kernel, h->pid);
    return h;
}

lua_process *lua_check_live(lua_State *L, int idx, process **p)
{
    lua_process *h = lua_check_process(L, idx, p);
    if (!(*p)->space)
        luaL_argerror(L, idx, "this process has ended");
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
    if (s != VM_FAULT)
        return lua_raise(L, e);
    process_exit(&m->kernel, p, -1);
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
    uint64_t x = 0, pa;
    fault_info info;
    vm_error e;
    if (kind == ACCESS_LOAD && n >= 4 && machine_front(m, p, va, n, kind, &pa))
        return dram_get(&m->hw.mem, pa, n);
    vm_status s = machine_read(m, p, va, b, n, kind, &info, &e);
    if (s != VM_OK)
        lua_raise_access(L, m, p, s, &info, &e);
    for (unsigned i = n; i-- > 0;)
        x = x << 8 | b[i];
    return x;
}

static void store_number(lua_State *L, machine *m, process *p, uint64_t va, uint64_t x, uint32_t n)
{
    uint8_t b[8];
    uint64_t pa;
    fault_info info;
    vm_error e;
    if (machine_front(m, p, va, n, ACCESS_STORE, &pa)) {
        dram_put(&m->hw.mem, pa, n, x);
        return;
    }
    for (unsigned i = 0; i < n; i++)
        b[i] = (uint8_t)(x >> 8 * i);
    vm_status s = machine_write(m, p, va, b, n, &info, &e);
    if (s != VM_OK)
        lua_raise_access(L, m, p, s, &info, &e);
}

static int process_load(lua_State *L)
{
    process *p;
    lua_process *h = lua_check_live(L, 1, &p);
    uint64_t va = (uint64_t)luaL_checkinteger(L, 2);
    uint64_t x = load_number(L, h->owner->m, p, va, check_size(L, 3), ACCESS_LOAD);
    lua_pushinteger(L, (lua_Integer)x);
    return 1;
}

static int process_store(lua_State *L)
{
    process *p;
    lua_process *h = lua_check_live(L, 1, &p);
    uint64_t va = (uint64_t)luaL_checkinteger(L, 2), x = (uint64_t)luaL_checkinteger(L, 3);
    store_number(L, h->owner->m, p, va, x, check_size(L, 4));
    return 0;
}

/* A closure that holds the process: no type check of a userdata on each call. */
static int bound_load(lua_State *L)
{
    process *p;
    lua_process *h = lua_touserdata(L, lua_upvalueindex(1));
    if (!h->owner->m || h->owner->busy || !(p = process_find(&h->owner->m->kernel, h->pid))->space)
        return luaL_error(L, "the process has ended, or its machine is closed or busy");
    uint64_t va = (uint64_t)luaL_checkinteger(L, 1);
    uint64_t x = load_number(L, h->owner->m, p, va, check_size(L, 2), ACCESS_LOAD);
    lua_pushinteger(L, (lua_Integer)x);
    return 1;
}

static int bound_store(lua_State *L)
{
    process *p;
    lua_process *h = lua_touserdata(L, lua_upvalueindex(1));
    if (!h->owner->m || h->owner->busy || !(p = process_find(&h->owner->m->kernel, h->pid))->space)
        return luaL_error(L, "the process has ended, or its machine is closed or busy");
    uint64_t va = (uint64_t)luaL_checkinteger(L, 1), x = (uint64_t)luaL_checkinteger(L, 2);
    store_number(L, h->owner->m, p, va, x, check_size(L, 3));
    return 0;
}

/* p:bind("load") -> function(address[, size]);  p:bind("store") -> function(address, value[, size])
 */
static int process_bind(lua_State *L)
{
    static const char *const names[] = {"load", "store", NULL};
    process *p;
    lua_check_live(L, 1, &p);
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
    lua_process *h = lua_check_live(L, 1, &p);
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
    lua_process *h = lua_check_live(L, 1, &p);
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

/* --- areas ---------------------------------------------------------------------------- */

/* "rwx" -> PROT_ bits */
static unsigned check_prot(lua_State *L, int idx)
{
    unsigned prot = 0;
    for (const char *s = luaL_checkstring(L, idx); *s; s++)
        switch (*s) {
        case 'r':
            prot |= PROT_R;
            break;
        case 'w':
            prot |= PROT_W;
            break;
        case 'x':
            prot |= PROT_X;
            break;
        case '-':
            break;
        default:
            luaL_argerror(L, idx, "a protection is made of r, w, x and -, as in \"rw\"");
        }
    return prot;
}

static void prot_text(unsigned prot, char text[4])
{
    text[0] = prot & PROT_R ? 'r' : '-';
    text[1] = prot & PROT_W ? 'w' : '-';
    text[2] = prot & PROT_X ? 'x' : '-';
    text[3] = '\0';
}

static int done(lua_State *L, vm_status s, const vm_error *e)
{
    if (s != VM_OK)
        return lua_failed(L, e);
    lua_pushboolean(L, 1);
    return 1;
}

/* p:_mmap(addr, length, prot, fixed, level, name) -> address */
static int process_mmap(lua_State *L)
{
    process *p;
    lua_process *h = lua_check_live(L, 1, &p);
    map_request r = {.addr = (uint64_t)luaL_optinteger(L, 2, 0),
                     .length = (uint64_t)luaL_checkinteger(L, 3),
                     .prot = check_prot(L, 4),
                     .fixed = lua_toboolean(L, 5),
                     .name = luaL_optstring(L, 7, "")};
    lua_Integer level = luaL_optinteger(L, 6, 0);
    luaL_argcheck(L, level >= 0 && level < PT_LEVELS_MAX, 6, "no such level of page sizes");
    r.level = (uint8_t)level;
    uint64_t at;
    vm_error e;
    if (space_map(&h->owner->m->kernel, p->space, &r, &at, &e) != VM_OK)
        return lua_failed(L, &e);
    lua_pushinteger(L, (lua_Integer)at);
    return 1;
}

static int process_munmap(lua_State *L)
{
    process *p;
    lua_process *h = lua_check_live(L, 1, &p);
    vm_error e;
    vm_status s = space_unmap(&h->owner->m->kernel, p->space, (uint64_t)luaL_checkinteger(L, 2),
                              (uint64_t)luaL_checkinteger(L, 3), &e);
    return done(L, s, &e);
}

static int process_mprotect(lua_State *L)
{
    process *p;
    lua_process *h = lua_check_live(L, 1, &p);
    vm_error e;
    vm_status s = space_protect(&h->owner->m->kernel, p->space, (uint64_t)luaL_checkinteger(L, 2),
                                (uint64_t)luaL_checkinteger(L, 3), check_prot(L, 4), &e);
    return done(L, s, &e);
}

/* p:brk([address]) -> the break */
static int process_brk(lua_State *L)
{
    process *p;
    lua_process *h = lua_check_live(L, 1, &p);
    vm_error e;
    if (!lua_isnoneornil(L, 2) && space_set_brk(&h->owner->m->kernel, p->space,
                                                (uint64_t)luaL_checkinteger(L, 2), &e) != VM_OK)
        return lua_failed(L, &e);
    lua_pushinteger(L, (lua_Integer)p->space->brk);
    return 1;
}

/* p:sbrk(n) -> the break before */
static int process_sbrk(lua_State *L)
{
    process *p;
    lua_process *h = lua_check_live(L, 1, &p);
    vm_error e;
    uint64_t old = p->space->brk;
    if (space_set_brk(&h->owner->m->kernel, p->space, old + (uint64_t)luaL_checkinteger(L, 2),
                      &e) != VM_OK)
        return lua_failed(L, &e);
    lua_pushinteger(L, (lua_Integer)old);
    return 1;
}

/* p:areas() -> list of { start, stop, prot, flags, name } */
static int process_areas(lua_State *L)
{
    process *p;
    lua_check_live(L, 1, &p);
    lua_createtable(L, (int)p->space->area_count, 0);
    for (size_t i = 0; i < p->space->area_count; i++) {
        const area *a = &p->space->areas[i];
        char prot[4];
        prot_text(a->prot, prot);
        lua_createtable(L, 0, 6);
        lua_pushinteger(L, (lua_Integer)a->start);
        lua_setfield(L, -2, "start");
        lua_pushinteger(L, (lua_Integer)a->stop);
        lua_setfield(L, -2, "stop");
        lua_pushstring(L, prot);
        lua_setfield(L, -2, "prot");
        lua_pushstring(L, a->level ? "private|anonymous|hugetlb" : "private|anonymous");
        lua_setfield(L, -2, "flags");
        lua_pushstring(L, a->name);
        lua_setfield(L, -2, "name");
        lua_rawseti(L, -2, (lua_Integer)i + 1);
    }
    return 1;
}

static void set_bool(lua_State *L, const char *name, bool v)
{
    lua_pushboolean(L, v);
    lua_setfield(L, -2, name);
}

/* p:page(va) -> { state = ..., frame =, slot =, dirty =, accessed =, prot =, pte =, size = } */
static int process_page(lua_State *L)
{
    process *p;
    lua_process *h = lua_check_live(L, 1, &p);
    const machine *m = h->owner->m;
    const pt_geometry *g = &m->hw.mmu.g;
    const pte_format *f = g->format;
    uint64_t va = (uint64_t)luaL_checkinteger(L, 2), slot;
    lua_createtable(L, 0, 8);
    if (!pt_canonical(g, va) || !p->space->root_ok) {
        lua_pushliteral(L, "unallocated");
        lua_setfield(L, -2, "state");
        return 1;
    }
    pt_place at = pt_lookup(g, &m->hw.mem, p->space->root, va);
    bool present = at.pte & f->present;
    bool unknown = !present && at.pte & f->unknown;
    const char *state = present                         ? "cached"
                        : unknown                       ? "unknown"
                        : space_find_area(p->space, va) ? "uncached"
                                                        : "unallocated";
    lua_pushstring(L, state);
    lua_setfield(L, -2, "state");
    lua_pushinteger(L, (lua_Integer)at.pte);
    lua_setfield(L, -2, "pte");
    lua_pushinteger(L, (lua_Integer)1 << g->shift[at.level]);
    lua_setfield(L, -2, "size");
    if (present) {
        char prot[4];
        prot_text(pte_prot(f, at.pte), prot);
        lua_pushinteger(L, (lua_Integer)pte_ppn(f, at.pte));
        lua_setfield(L, -2, "frame");
        set_bool(L, "dirty", at.pte & f->dirty);
        set_bool(L, "accessed", at.pte & f->accessed);
        lua_pushstring(L, prot);
        lua_setfield(L, -2, "prot");
    } else if (pte_is_swapped(f, at.pte, &slot)) {
        lua_pushinteger(L, (lua_Integer)slot);
        lua_setfield(L, -2, "slot");
    }
    return 1;
}

/* --- the rest ------------------------------------------------------------------------- */

static int process_exit_(lua_State *L)
{
    process *p;
    lua_process *h = lua_check_process(L, 1, &p);
    process_exit(&h->owner->m->kernel, p, (int)luaL_optinteger(L, 2, 0));
    return 0;
}

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
                 p->name, p->space->area_count, (unsigned long long)p->space->resident,
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
    unsigned prot = present ? check_prot(L, 4) : 0;
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
                        (uint64_t)luaL_checkinteger(L, 4), check_prot(L, 5), &e) != VM_OK)
        return lua_raise(L, &e);
    return 0;
}

void lua_open_process(lua_State *L)
{
    static const luaL_Reg methods[] = {
        {"load", process_load},
        {"store", process_store},
        {"bind", process_bind},
        {"read", process_read},
        {"write", process_write},
        {"fetch", process_fetch},
        {"_mmap", process_mmap},
        {"_munmap", process_munmap},
        {"_mprotect", process_mprotect},
        {"brk", process_brk},
        {"_sbrk", process_sbrk},
        {"areas", process_areas},
        {"page", process_page},
        {"exit", process_exit_},
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
    luaL_newmetatable(L, LUA_FAULT);
    lua_pushcfunction(L, fault_tostring);
    lua_setfield(L, -2, "__tostring");
    lua_pop(L, 1);
    luaL_newmetatable(L, LUA_PROCESS);
    lua_pushcfunction(L, process_tostring);
    lua_setfield(L, -2, "__tostring");
    luaL_newlib(L, methods);
    lua_open_explain(L);
    lua_pushvalue(L, -1);
    lua_setfield(L, -3, "__index");
    lua_setfield(L, -3, "Process"); /* where Lua adds its methods */
    lua_pop(L, 1);
}
