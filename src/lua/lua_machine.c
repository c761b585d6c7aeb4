#include "lua_machine.h"

#include <stdio.h>

static lua_machine *machine_box(lua_State *L, int idx)
{
    return luaL_checkudata(L, idx, LUA_MACHINE);
}

lua_machine *lua_check_machine(lua_State *L, int idx)
{
    lua_machine *box = machine_box(L, idx);
    if (!box->m)
        luaL_argerror(L, idx, "this machine is closed");
    if (box->busy)
        luaL_argerror(L, idx, lua_pushfstring(L, "this machine is busy with %s", box->busy));
    return box;
}

/* --- options ------------------------------------------------------------------- */

static void machine_push_option(lua_State *L, const machine_options *o, const option_row *r)
{
    char text[POLICY_TEXT];
    if (r->kind == OPTION_POLICY) {
        policy_write(option_policy(o, r), text, sizeof text);
        lua_pushstring(L, text);
        return;
    }
    int64_t v = option_get(o, r);
    if (r->kind == OPTION_NAME) {
        lua_pushstring(L, r->choice((int)v));
    } else if (r->kind == OPTION_BOOL) {
        lua_pushboolean(L, v != 0);
    } else if (r->kind == OPTION_LIST) {
        lua_newtable(L);
        for (int k = 0; k < o->levels_count; k++) {
            lua_pushinteger(L, o->levels[k]);
            lua_rawseti(L, -2, k + 1);
        }
    } else {
        lua_pushinteger(L, v);
    }
}

/* core.option_rows() -> list of { name, kind, default, min, max, doc, choices } */
static int machine_option_rows(lua_State *L)
{
    machine_options o;
    options_init(&o);
    lua_newtable(L);
    for (lua_Integer i = 0; option_rows[i].name; i++) {
        const option_row *r = &option_rows[i];
        lua_createtable(L, 0, 7);
        lua_pushstring(L, r->name);
        lua_setfield(L, -2, "name");
        lua_pushstring(L, option_kind_names[r->kind]);
        lua_setfield(L, -2, "kind");
        lua_pushstring(L, r->doc);
        lua_setfield(L, -2, "doc");
        machine_push_option(L, &o, r);
        lua_setfield(L, -2, "default");
        if (r->kind == OPTION_NAME || r->kind == OPTION_POLICY) {
            lua_newtable(L);
            for (int k = 0; r->choice(k); k++) {
                lua_pushstring(L, r->choice(k));
                lua_rawseti(L, -2, k + 1);
            }
            lua_setfield(L, -2, "choices");
        } else if (r->kind != OPTION_LIST) {
            lua_pushinteger(L, r->min);
            lua_setfield(L, -2, "min");
            lua_pushinteger(L, r->max);
            lua_setfield(L, -2, "max");
        }
        lua_rawseti(L, -2, i + 1);
    }
    return 1;
}

/* core.presets() -> list of { name, doc, options = { ["dram.size"] = n, ... } } */
static int machine_presets(lua_State *L)
{
    lua_newtable(L);
    for (lua_Integer i = 0; preset_rows[i].name; i++) {
        const preset_row *preset = &preset_rows[i];
        machine_options o;
        vm_error e;
        options_init(&o);
        if (options_preset(&o, preset->name, &e) != VM_OK)
            return lua_raise(L, &e);
        lua_createtable(L, 0, 3);
        lua_pushstring(L, preset->name);
        lua_setfield(L, -2, "name");
        lua_pushstring(L, preset->doc);
        lua_setfield(L, -2, "doc");
        lua_newtable(L);
        for (size_t k = 0; preset->options[k]; k++) {
            const char *text = preset->options[k];
            lua_pushlstring(L, text, strcspn(text, "="));
            machine_push_option(L, &o, option_find(lua_tostring(L, -1)));
            lua_rawset(L, -3);
        }
        lua_setfield(L, -2, "options");
        lua_rawseti(L, -2, i + 1);
    }
    return 1;
}

static void machine_push_param(lua_State *L, const policy_param *r)
{
    static const char *const kinds[] = {"integer", "real", "name"};
    lua_createtable(L, 0, 6);
    lua_set_string(L, "name", r->name);
    lua_set_string(L, "kind", kinds[r->kind]);
    lua_set_string(L, "doc", r->doc);
    if (r->kind == POLICY_NAME) {
        lua_set_names(L, "choices", r->names);
        lua_set_string(L, "default", r->names[(int)r->value]);
        return;
    }
    const struct {
        const char *name;
        double value;
    } numbers[] = {{"default", r->value}, {"min", r->min}, {"max", r->max}};
    for (size_t k = 0; k < sizeof numbers / sizeof *numbers; k++) {
        if (r->kind == POLICY_INTEGER)
            lua_pushinteger(L, (lua_Integer)numbers[k].value);
        else
            lua_pushnumber(L, numbers[k].value);
        lua_setfield(L, -2, numbers[k].name);
    }
}

/* core.policies() -> list of { name, doc, serves, params }, params a list of
 * { name, kind, default, min, max, choices, doc } */
static int machine_policies(lua_State *L)
{
    static const char *const serves[] = {"", "frames", "sets", "frames, sets", "studies"};
    lua_newtable(L);
    for (lua_Integer i = 0; policy_classes[i]; i++) {
        const policy_class *c = policy_classes[i];
        lua_createtable(L, 0, 4);
        lua_set_string(L, "name", c->name);
        lua_set_string(L, "doc", c->doc);
        lua_set_string(L, "serves", serves[c->serves]);
        lua_newtable(L);
        for (lua_Integer k = 0; c->params && c->params[k].name; k++) {
            machine_push_param(L, &c->params[k]);
            lua_rawseti(L, -2, k + 1);
        }
        lua_setfield(L, -2, "params");
        lua_rawseti(L, -2, i + 1);
    }
    return 1;
}

/* core.policy_text(option, text) -> the text as the option's value is shown again, or
 * nil and what is wrong with it. */
static int machine_policy_text(lua_State *L)
{
    const char *name = luaL_checkstring(L, 1), *text = luaL_checkstring(L, 2);
    const option_row *r = option_find(name);
    machine_options o;
    vm_error e;
    luaL_argcheck(L, r && r->kind == OPTION_POLICY, 1, "this option takes no policy");
    options_init(&o);
    if (options_set_name(&o, name, text, &e) != VM_OK) {
        lua_pushnil(L);
        lua_pushstring(L, e.text);
        return 2;
    }
    machine_push_option(L, &o, r);
    return 1;
}

/* core.pte_formats() -> list of { name, doc } */
static int machine_pte_formats(lua_State *L)
{
    lua_newtable(L);
    for (lua_Integer i = 0; pte_formats[i]; i++) {
        lua_createtable(L, 0, 2);
        lua_pushstring(L, pte_formats[i]->name);
        lua_setfield(L, -2, "name");
        lua_pushstring(L, pte_formats[i]->doc);
        lua_setfield(L, -2, "doc");
        lua_rawseti(L, -2, i + 1);
    }
    return 1;
}

/* The option is a policy in Lua, for the machine at index 2, which keeps it at 3. */
static vm_status machine_option_policy(lua_State *L, machine_options *o, const char *name,
                                       vm_error *e)
{
    const option_row *r = option_find(name);
    lua_machine *box = lua_touserdata(L, 2);
    policy_choice what =
        lua_policy_choose(L, -1, r ? option_serves(r) : 0, &box->policies, 3, name);
    return options_set_policy(o, name, &what, e);
}

/* Set the option named by the string at -2 to the value at -1. */
static vm_status machine_set_option(lua_State *L, machine_options *o, vm_error *e)
{
    const char *name = lua_tostring(L, -2);
    int64_t list[PT_LEVELS_MAX];
    size_t n = 0;
    switch (lua_type(L, -1)) {
    case LUA_TSTRING:
        return options_set_name(o, name, lua_tostring(L, -1), e);
    case LUA_TBOOLEAN: {
        const option_row *r = option_find(name);
        if (r && r->kind != OPTION_BOOL)
            return vm_fail(e, VM_INVALID, "%s is a boolean, but takes a %s", name,
                           option_kind_names[r->kind]);
        return options_set(o, name, lua_toboolean(L, -1), e);
    }
    case LUA_TNUMBER: {
        int whole;
        int64_t v = lua_tointegerx(L, -1, &whole);
        if (!whole)
            return vm_fail(e, VM_INVALID, "%s is %f, but takes a whole number", name,
                           lua_tonumber(L, -1));
        return options_set(o, name, v, e);
    }
    case LUA_TTABLE:
        if (lua_policy_is(L, -1))
            return machine_option_policy(L, o, name, e);
        n = lua_rawlen(L, -1);
        for (size_t i = 0; i < n && i < PT_LEVELS_MAX; i++) {
            lua_rawgeti(L, -1, (lua_Integer)i + 1);
            int whole;
            bool number = lua_type(L, -1) == LUA_TNUMBER; /* a text is none here */
            list[i] = lua_tointegerx(L, -1, &whole);
            lua_pop(L, 1);
            if (!number || !whole)
                return vm_fail(e, VM_INVALID, "%s: item %zu is not a whole number", name, i + 1);
        }
        return options_set_list(o, name, list, n, e);
    default:
        return vm_fail(e, VM_INVALID, "%s is a %s, which no option takes", name,
                       luaL_typename(L, -1));
    }
}

/* core.machine{ ["dram.size"] = n, ... } -> machine; raises on wrong options. */
static int machine_open(lua_State *L)
{
    machine_options o;
    vm_error e;
    luaL_checktype(L, 1, LUA_TTABLE);
    lua_settop(L, 1);
    lua_machine *box = lua_newuserdatauv(L, sizeof *box, 4); /* 2 */
    *box = (lua_machine){.policies = {.busy = &box->busy}};
    luaL_setmetatable(L, LUA_MACHINE);
    lua_newtable(L); /* 3 */
    lua_pushvalue(L, 3);
    lua_setiuservalue(L, 2, LUA_MACHINE_POLICIES);
    options_init(&o);
    for (lua_pushnil(L); lua_next(L, 1); lua_pop(L, 1)) {
        if (lua_type(L, -2) != LUA_TSTRING)
            return luaL_error(L, "an option's name is a %s, not a string", luaL_typename(L, -2));
        if (machine_set_option(L, &o, &e) != VM_OK)
            return lua_raise(L, &e);
    }
    vm_host host = lua_host(L);
    if (machine_new(&host, &o, &box->m, &e) != VM_OK)
        return lua_raise(L, &e);
    box->policies.failed = &box->m->hw.failed;
    box->policies.error = &box->m->error;
    lua_settop(L, 2);
    return 1;
}

void lua_settle(lua_State *L, lua_machine *box)
{
    vm_error e;
    lua_policy_settle(&box->policies);
    if (machine_failed(box->m, &e) != VM_OK)
        callback_raise(L, &e);
}

/* --- methods ---------------------------------------------------------------------- */

static int machine_close(lua_State *L)
{
    lua_machine *box = machine_box(L, 1);
    if (box->busy)
        return luaL_error(L, "this machine is busy with %s and can't be closed", box->busy);
    if (box->handling)
        return luaL_error(L, "a machine can't be closed by a handler of its signals");
    if (box->telling)
        return luaL_error(L, "this machine is calling its listeners and can't be closed");
    machine_delete(box->m);
    box->m = NULL;
    lua_pushnil(L);
    lua_setiuservalue(L, 1, LUA_MACHINE_POLICIES);
    return 0;
}

static int machine_gc(lua_State *L)
{
    lua_machine *box = machine_box(L, 1);
    machine_delete(box->m);
    box->m = NULL;
    return 0;
}

static int machine_tostring(lua_State *L)
{
    lua_machine *box = machine_box(L, 1);
    if (!box->m) {
        lua_pushliteral(L, "vmem.machine: closed");
        return 1;
    }
    const machine *m = box->m;
    char text[200];
    snprintf(text, sizeof text,
             "vmem.machine: %s, %llu-byte pages, %llu frames (%llu free), policy %s, clock %llu",
             m->hw.mmu->paging ? m->hw.g.format->name : "paging off",
             (unsigned long long)kernel_page(&m->kernel),
             (unsigned long long)m->kernel.frames.count, (unsigned long long)m->kernel.frames.free,
             m->kernel.pol->cls->name, (unsigned long long)machine_clock(m));
    lua_pushstring(L, text);
    return 1;
}

/* m:_spawn(name [, cpu]) -> process */
static int machine_spawn(lua_State *L)
{
    lua_machine *box = lua_check_machine(L, 1);
    process *p;
    vm_error e;
    kernel *k = &box->m->kernel;
    const bool placed = !lua_isnoneornil(L, 3);
    const uint64_t cpu = placed ? (uint64_t)luaL_checkinteger(L, 3) : 0;
    if (placed && cpu >= box->m->hw.cpu_count)
        return luaL_error(L, "spawn: cpu is %d, but the machine has processors 0 to %d", (int)cpu,
                          (int)box->m->hw.cpu_count - 1);
    if (process_new(k, luaL_optstring(L, 2, ""), &p, &e) != VM_OK)
        return lua_raise(L, &e);
    if (placed)
        cpu_put(k, p, (unsigned)cpu);
    lua_push_process(L, 1, p);
    return 1;
}

static int machine_push_processes(lua_State *L, const kernel *k, bool runnable)
{
    lua_newtable(L);
    lua_Integer n = 0;
    for (uint32_t pid = 1; pid < k->process_count; pid++) {
        const process *p = process_find(k, pid);
        if (!p->space || (runnable && (p->state != PROCESS_RUNNING || p->space->suspended)))
            continue;
        lua_push_process(L, 1, p);
        lua_rawseti(L, -2, ++n);
    }
    return 1;
}

static int machine_processes(lua_State *L)
{
    return machine_push_processes(L, &lua_check_machine(L, 1)->m->kernel, false);
}

/* m:runnable() -> the processes that are neither blocked nor suspended by load control */
static int machine_runnable(lua_State *L)
{
    kernel *k = &lua_check_machine(L, 1)->m->kernel;
    vm_error e;
    if (load_look(k, &e) != VM_OK)
        return lua_raise(L, &e);
    return machine_push_processes(L, k, true);
}

static void machine_push_stat(void *ud, const char *name, const char *unit, const char *doc,
                              uint64_t value)
{
    lua_State *L = ud;
    (void)unit;
    (void)doc;
    lua_pushinteger(L, (lua_Integer)value);
    lua_setfield(L, -2, name);
}

static void machine_push_doc(void *ud, const char *name, const char *unit, const char *doc,
                             uint64_t value)
{
    lua_State *L = ud;
    (void)value;
    lua_createtable(L, 0, 3);
    lua_pushstring(L, name);
    lua_setfield(L, -2, "name");
    lua_pushstring(L, unit);
    lua_setfield(L, -2, "unit");
    lua_pushstring(L, doc);
    lua_setfield(L, -2, "doc");
    lua_rawseti(L, -2, (lua_Integer)lua_rawlen(L, -2) + 1);
}

/* m:_stats() -> { ["tlb.l1d.misses"] = n, ... } */
static int machine_stats(lua_State *L)
{
    lua_machine *box = lua_check_machine(L, 1);
    lua_newtable(L);
    machine_visit_stats(box->m, machine_push_stat, L);
    return 1;
}

/* m:_stat_rows() -> list of { name, unit, doc } */
static int machine_stat_rows(lua_State *L)
{
    lua_machine *box = lua_check_machine(L, 1);
    lua_newtable(L);
    machine_visit_stats(box->m, machine_push_doc, L);
    return 1;
}

static int machine_reset(lua_State *L)
{
    machine_reset_counters(lua_check_machine(L, 1)->m);
    return 0;
}

/* m:_set_policy(policy): of frames, an object or a text */
static int machine_set_policy(lua_State *L)
{
    lua_machine *box = lua_check_machine(L, 1);
    vm_error e;
    lua_settop(L, 2);
    lua_getiuservalue(L, 1, LUA_MACHINE_POLICIES); /* 3 */
    lua_getfield(L, 3, "policy");                  /* 4: kept until nothing is its own */
    policy_choice what = lua_policy_choose(L, 2, POLICY_FRAMES, &box->policies, 3, "policy");
    callback_enter(L);
    if (kernel_set_policy(&box->m->kernel, &what, &e) != VM_OK) {
        lua_settop(L, 4);
        lua_setfield(L, 3, "policy");
        return lua_raise(L, &e);
    }
    if (!lua_policy_is(L, 2)) {
        lua_pushnil(L);
        lua_setfield(L, 3, "policy");
    }
    box->m->opt.policy = what;
    return 0;
}

static int machine_clock_(lua_State *L)
{
    lua_pushinteger(L, (lua_Integer)machine_clock(lua_check_machine(L, 1)->m));
    return 1;
}

/* m:check() -> true, or nil and the first invariant broken */
static int machine_check_(lua_State *L)
{
    return lua_checked(L, machine_check(lua_check_machine(L, 1)->m));
}

/* m:_options() -> { ["dram.size"] = value, ... } */
static int machine_get_options(lua_State *L)
{
    lua_machine *box = lua_check_machine(L, 1);
    const machine_options *o = &box->m->opt;
    lua_newtable(L);
    for (const option_row *r = option_rows; r->name; r++) {
        machine_push_option(L, o, r);
        lua_setfield(L, -2, r->name);
    }
    return 1;
}

/* Base pages of a large one */
static uint64_t machine_large_pages(const machine *m, const frame *r)
{
    const pt_geometry *g = &m->hw.g;
    return UINT64_C(1) << (g->shift[r->level] - g->page_bits);
}

/* m:_meminfo() -> frames and swap, in pages */
static int machine_meminfo(lua_State *L)
{
    machine *m = lua_check_machine(L, 1)->m;
    kernel *k = &m->kernel;
    uint64_t tables = 0, cached = 0, shared = 0, dirty = 0, anonymous = 0, mapped = 0, locked = 0;
    uint64_t swap_cached = 0, huge = 0;
    for (size_t i = 1; i < k->space_count; i++)
        tables += k->spaces[i] ? k->spaces[i]->tables : 0;
    for (uint64_t i = 0; i < k->frames.count; i++) {
        frame *r = frames_at(&k->frames, i);
        if (!r) { /* none of its chunk was ever used */
            i |= FRAME_CHUNK - 1;
            continue;
        }
        if (r->use == FRAME_ANON || (r->use == FRAME_HUGE && !r->file)) {
            anonymous += r->use == FRAME_HUGE ? machine_large_pages(m, r) : 1;
            swap_cached += r->slot != SLOT_NONE;
            huge += r->use == FRAME_ANON && huge_maps(k, r);
        } else if (r->use == FRAME_FILE) {
            bool memory = k->files[r->file]->memory;
            cached++;
            shared += memory;
            mapped += r->mapped > 0;
            dirty += !memory && writeback_is_dirty(k, (uint32_t)i);
        }
        locked += r->use != FRAME_FREE && r->locks > 0;
    }
    lua_createtable(L, 0, 23);
    lua_set_integer(L, "page", kernel_page(k));
    lua_set_integer(L, "frames", k->frames.count);
    lua_set_integer(L, "free", k->frames.free);
    lua_set_integer(L, "resident", k->resident);
    lua_set_integer(L, "anonymous", anonymous);
    lua_set_integer(L, "huge", huge);
    lua_set_integer(L, "cached", cached);
    lua_set_integer(L, "shared", shared);
    lua_set_integer(L, "mapped", mapped);
    lua_set_integer(L, "dirty", dirty);
    lua_set_integer(L, "locked", locked);
    lua_set_integer(L, "tables", tables);
    lua_set_integer(L, "kernel", k->boot.tables + k->boot.slots.used);
    lua_set_integer(L, "kernel_stacks", k->boot.slots.used);
    lua_set_integer(L, "swap", k->swap.slots.count);
    lua_set_integer(L, "swap_used", k->swap.slots.used);
    lua_set_integer(L, "swap_cached", swap_cached);
    lua_set_integer(L, "committed", k->committed);
    if (k->cfg.overcommit == OVERCOMMIT_STRICT)
        lua_set_integer(L, "commit_limit",
                        k->swap.slots.count + k->low_frames * k->cfg.overcommit_ratio / 100);
    lua_set_integer(L, "host_bytes", m->hw.mem.committed * DRAM_BLOCK);
    return 1;
}

/* m:_set_memory(pa, bytes): the bytes are in DRAM, nothing is counted */
static int machine_set_memory(lua_State *L)
{
    machine *m = lua_check_machine(L, 1)->m;
    uint64_t pa = (uint64_t)luaL_checkinteger(L, 2);
    size_t n;
    const char *bytes = luaL_checklstring(L, 3, &n);
    if (n > m->hw.mem.size || pa > m->hw.mem.size - n)
        return luaL_error(L, "%d bytes at physical address %d end beyond DRAM", (int)n, (int)pa);
    hardware_tables_changed(&m->hw); /* it may be a page table */
    if (!dram_write(&m->hw.mem, pa, bytes, n))
        return luaL_error(L, "not enough host memory for the simulated DRAM");
    return 0;
}

/* m:_set_line(cache name, line number, dirty) */
static int machine_set_line(lua_State *L)
{
    machine *m = lua_check_machine(L, 1)->m;
    const char *name = luaL_checkstring(L, 2);
    uint64_t line = (uint64_t)luaL_checkinteger(L, 3);
    vm_error e;
    for (unsigned i = 0; i < m->hw.cache_count; i++) {
        cache *c = hardware_cache(&m->hw, 0, i);
        if (strcmp(c->cfg.name, name) != 0)
            continue;
        if (line << c->line_bits >= m->hw.mem.size)
            return luaL_error(L, "line %d of cache %s is beyond DRAM", (int)line, name);
        if (cache_set(c, line, lua_toboolean(L, 4), &e) != VM_OK)
            return lua_raise(L, &e);
        return 0;
    }
    return luaL_error(L, "the machine has no cache %s", name);
}

void lua_open_machine(lua_State *L)
{
    static const luaL_Reg methods[] = {
        {"close", machine_close},
        {"_spawn", machine_spawn},
        {"processes", machine_processes},
        {"runnable", machine_runnable},
        {"_stats", machine_stats},
        {"_stat_rows", machine_stat_rows},
        {"reset_stats", machine_reset},
        {"clock", machine_clock_},
        {"_set_policy", machine_set_policy},
        {"check", machine_check_},
        {"_options", machine_get_options},
        {"_meminfo", machine_meminfo},
        {"_set_memory", machine_set_memory},
        {"_set_line", machine_set_line},
        {NULL, NULL},
    };
    static const luaL_Reg functions[] = {{"machine", machine_open},
                                         {"option_rows", machine_option_rows},
                                         {"policies", machine_policies},
                                         {"policy_text", machine_policy_text},
                                         {"presets", machine_presets},
                                         {"pte_formats", machine_pte_formats},
                                         {NULL, NULL}};
    luaL_setfuncs(L, functions, 0);
    luaL_newmetatable(L, LUA_MACHINE);
    lua_pushcfunction(L, machine_gc);
    lua_setfield(L, -2, "__gc");
    lua_pushcfunction(L, machine_close);
    lua_setfield(L, -2, "__close");
    lua_pushcfunction(L, machine_tostring);
    lua_setfield(L, -2, "__tostring");
    luaL_newlib(L, methods);
    lua_open_file(L);
    lua_open_frames(L);
    lua_open_events(L);
    lua_tell_methods(L, false);
    lua_pushvalue(L, -1);
    lua_setfield(L, -3, "__index");
    lua_setfield(L, -3, "Machine"); /* where Lua adds its methods */
    lua_pop(L, 1);
    lua_open_process(L);
    lua_open_boot(L);
    lua_open_replay(L);
}
