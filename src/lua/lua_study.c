/* lua_study.c: reference strings, and one policy run over one of them. Both
 * advance in steps, so that Lua can show progress in between.
 *
 *    core.study_refs(trace, page_bits, apart) -> refs
 *       refs:read(n) -> accesses read in all, ended?     refs:facts() -> table
 *       refs:words() refs:numbers() refs:owners() -> packed strings
 *    core.study_run(refs, { policy =, frames = {...}, seed =, dirty =, log = }) -> run
 *       run:step(n) -> references served in all, ended?  run:result() -> list by process
 *       run:log() -> packed string
 *
 * lua/vmem/paging.lua checks and documents what comes in here. */
#include "lua_study.h"

#include "lua_trace.h"

#define STUDY_REFS_NAME "vmem.paging.references"
#define STUDY_RUN_NAME  "vmem.paging.run"
#define STUDY_POLICIES  (POLICY_FRAMES | POLICY_STUDIES)

/* --- reference strings ------------------------------------------------------------- */

typedef struct lua_refs {
    study_refs *refs;     /* NULL: closed */
    trace_cursor *cursor; /* alive: its guard is user value 1; NULL: the trace has ended */
    uint64_t records;
} lua_refs;

static lua_refs *lua_refs_check(lua_State *L, int idx)
{
    lua_refs *r = luaL_checkudata(L, idx, STUDY_REFS_NAME);
    luaL_argcheck(L, r->refs, idx, "the reference string is closed");
    return r;
}

study_refs *lua_study_refs(lua_State *L, int idx)
{
    lua_refs *r = lua_refs_check(L, idx);
    luaL_argcheck(L, r->refs->ended, idx, "the reference string is still being read");
    return r->refs;
}

static int refs_gc(lua_State *L)
{
    lua_refs *r = luaL_checkudata(L, 1, STUDY_REFS_NAME);
    study_refs_free(r->refs);
    r->refs = NULL;
    return 0;
}

static int refs_open(lua_State *L)
{
    lua_Integer bits = luaL_checkinteger(L, 2);
    lua_Integer rate = luaL_optinteger(L, 4, STUDY_HASHES), most = luaL_optinteger(L, 5, 0);
    luaL_argcheck(L, bits >= 0 && bits < 64, 2, "a page has 2^0 to 2^63 bytes");
    luaL_argcheck(L, rate > 0 && rate <= STUDY_HASHES, 4, "a rate is 1 to 2^24");
    luaL_argcheck(L, most >= 0, 5, "pages: 0 or more");
    study_refs_options o = {.page_bits = (unsigned)bits,
                            .apart = lua_toboolean(L, 3),
                            .rate = (uint32_t)rate,
                            .most_pages = (size_t)most};
    vm_host host = lua_host(L);
    vm_error e;
    lua_refs *r = lua_newuserdatauv(L, sizeof *r, 1);
    memset(r, 0, sizeof *r);
    luaL_setmetatable(L, STUDY_REFS_NAME);
    r->refs = study_refs_new(&host, &o, &e);
    if (!r->refs)
        return lua_raise(L, &e);
    r->cursor = lua_trace_cursor(L, 1);
    lua_setiuservalue(L, -2, 1);
    return 1;
}

/* refs:part(rate, pages, group, groups) -> a sample: of so many of 2^24 hashes, or the
 * most that keep so many pages; the group-th (from 0) of so many equal parts of them */
static int refs_part(lua_State *L)
{
    const study_refs *from = lua_study_refs(L, 1);
    lua_Integer rate = luaL_checkinteger(L, 2), most = luaL_checkinteger(L, 3);
    lua_Integer group = luaL_optinteger(L, 4, 0), groups = luaL_optinteger(L, 5, 1);
    luaL_argcheck(L, rate > 0 && most >= 0, 2, "a rate from 1, or a number of pages");
    luaL_argcheck(L, group >= 0 && group < groups && groups <= 64, 4, "a group below 64");
    uint32_t of = rate < from->rate ? (uint32_t)rate : from->rate;
    if (most > 0)
        of = study_refs_rate(from, (size_t)most);
    uint32_t first = (uint32_t)((uint64_t)of * (uint64_t)group / (uint64_t)groups);
    uint32_t last = (uint32_t)((uint64_t)of * (uint64_t)(group + 1) / (uint64_t)groups);
    vm_error e;
    lua_refs *r = lua_newuserdatauv(L, sizeof *r, 1);
    memset(r, 0, sizeof *r);
    luaL_setmetatable(L, STUDY_REFS_NAME);
    r->refs = study_refs_part(from, from->least + first, last > first ? last - first : 1, &e);
    return r->refs ? 1 : lua_raise(L, &e);
}

static int refs_read(lua_State *L)
{
    lua_refs *r = lua_refs_check(L, 1);
    uint64_t until = r->records + (uint64_t)luaL_checkinteger(L, 2);
    vm_status s = VM_OK;
    vm_error e;
    callback_enter(L);
    while (s == VM_OK && r->cursor && r->records < until) {
        trace_block b;
        s = trace_next(r->cursor, &b, &e);
        if (s == VM_OK && b.count > 0) {
            s = study_refs_add(r->refs, &b, &e);
            r->records += b.count;
        } else if (s == VM_OK) {
            r->cursor = NULL;
            s = study_refs_end(r->refs, &e);
        }
    }
    if (s != VM_OK)
        return callback_raise(L, &e);
    if (!r->cursor && lua_getiuservalue(L, 1, 1) == LUA_TUSERDATA) {
        lua_trace_done(L, -1);
        lua_pushnil(L);
        lua_setiuservalue(L, 1, 1);
    }
    lua_pushinteger(L, (lua_Integer)r->records);
    lua_pushboolean(L, r->refs->ended);
    return 2;
}

static int refs_facts(lua_State *L)
{
    const study_refs *r = lua_study_refs(L, 1);
    lua_createtable(L, 0, 8);
    lua_set_integer(L, "refs", r->count);
    lua_set_integer(L, "all", r->all);
    lua_pushnumber(L, (lua_Number)r->rate / STUDY_HASHES);
    lua_setfield(L, -2, "rate");
    lua_set_integer(L, "pages", r->pages);
    lua_set_integer(L, "page", UINT64_C(1) << r->page_bits);
    lua_set_boolean(L, "writes", r->writes);
    lua_createtable(L, (int)r->processes, 0);
    for (size_t i = 0; i < r->processes; i++) {
        lua_createtable(L, 0, 3);
        lua_set_integer(L, "task", r->process[i].task);
        lua_set_integer(L, "refs", r->process[i].refs);
        lua_set_integer(L, "pages", r->process[i].pages);
        lua_rawseti(L, -2, (lua_Integer)i + 1);
    }
    lua_setfield(L, -2, "processes");
    return 1;
}

static int refs_words(lua_State *L)
{
    const study_refs *r = lua_study_refs(L, 1);
    lua_pushlstring(L, (const char *)r->refs, r->count * sizeof *r->refs);
    return 1;
}

static int refs_numbers(lua_State *L)
{
    const study_refs *r = lua_study_refs(L, 1);
    lua_pushlstring(L, r->pages ? (const char *)r->number : "", r->pages * sizeof *r->number);
    return 1;
}

static int refs_owners(lua_State *L)
{
    const study_refs *r = lua_study_refs(L, 1);
    lua_pushlstring(L, r->pages ? (const char *)r->owner : "", r->pages * sizeof *r->owner);
    return 1;
}

/* --- one run ------------------------------------------------------------------------- */

typedef struct lua_run {
    study_run *run; /* NULL: closed; user value 1 is its reference string, 2 keeps policies */
    lua_study_owner owner;
} lua_run;

static lua_run *lua_run_check(lua_State *L)
{
    lua_run *r = luaL_checkudata(L, 1, STUDY_RUN_NAME);
    luaL_argcheck(L, r->run, 1, "the run is closed");
    return r;
}

static int run_close(lua_State *L)
{
    lua_run *r = luaL_checkudata(L, 1, STUDY_RUN_NAME);
    if (r->owner.busy)
        return luaL_error(L, "%s closes the run that it serves", r->owner.busy);
    study_run_free(r->run);
    r->run = NULL;
    lua_pushnil(L);
    lua_setiuservalue(L, 1, 2);
    return 0;
}

/* core.study_policy(text) -> the text as it is shown, or nil and what is wrong */
static int study_policy(lua_State *L)
{
    policy_choice c;
    vm_error e;
    char text[POLICY_TEXT];
    if (policy_read(luaL_checkstring(L, 1), STUDY_POLICIES, &c, &e) != VM_OK) {
        lua_pushnil(L);
        lua_pushstring(L, e.text);
        return 2;
    }
    policy_write(&c, text, sizeof text);
    lua_pushstring(L, text);
    return 1;
}

void lua_study_own(lua_State *L, lua_study_owner *o, int box, int slot)
{
    box = lua_absindex(L, box);
    o->policies = (lua_policy_owner){.busy = &o->busy, .failed = &o->failed, .error = &o->error};
    lua_newtable(L);
    lua_pushvalue(L, -1);
    lua_setiuservalue(L, box, slot);
}

void lua_study_policy(lua_State *L, int idx, study_refs *refs, lua_study_owner *owner, int keep,
                      lua_Integer name, policy_choice *out)
{
    vm_error e;
    int top = lua_gettop(L);
    idx = lua_absindex(L, idx);
    keep = lua_absindex(L, keep);
    lua_pushfstring(L, "%I", (LUAI_UACINT)name);
    lua_getfield(L, idx, "policy");
    *out = lua_policy_choose(L, -1, STUDY_POLICIES, &owner->policies, keep, lua_tostring(L, -2));
    if (out->cls->serves == POLICY_STUDIES && study_refs_next(refs, &e) != VM_OK)
        lua_raise(L, &e);
    lua_settop(L, top);
}

vm_status lua_study_settle(lua_study_owner *o, vm_status s, vm_error *e)
{
    o->busy = NULL;
    if (s != VM_OK)
        return s;
    lua_policy_settle(&o->policies);
    return lua_policy_failed(&o->policies, e);
}

/* The list in field "frames", in scratch memory that Lua collects. */
static void run_frames(lua_State *L, int idx, study_run_options *o)
{
    lua_getfield(L, idx, "frames");
    luaL_checktype(L, -1, LUA_TTABLE);
    o->pools = lua_rawlen(L, -1);
    uint64_t *list = lua_newuserdatauv(L, o->pools * sizeof *list + 1, 0);
    for (size_t i = 0; i < o->pools; i++) {
        lua_rawgeti(L, -2, (lua_Integer)i + 1);
        lua_Integer n = luaL_checkinteger(L, -1);
        luaL_argcheck(L, n > 0, 2, "frames: 1 or more");
        list[i] = (uint64_t)n;
        lua_pop(L, 1);
    }
    o->frames = list;
}

static int run_open(lua_State *L)
{
    study_refs *refs = lua_study_refs(L, 1);
    luaL_checktype(L, 2, LUA_TTABLE);
    study_run_options o;
    memset(&o, 0, sizeof o);
    lua_settop(L, 2);
    lua_run *r = lua_newuserdatauv(L, sizeof *r, 2); /* 3 */
    memset(r, 0, sizeof *r);
    luaL_setmetatable(L, STUDY_RUN_NAME);
    lua_pushvalue(L, 1);
    lua_setiuservalue(L, 3, 1);
    lua_study_own(L, &r->owner, 3, 2); /* 4 */
    lua_study_policy(L, 2, refs, &r->owner, 4, 1, &o.policy);
    lua_getfield(L, 2, "seed");
    o.seed = (uint64_t)luaL_optinteger(L, -1, 1);
    run_frames(L, 2, &o);
    luaL_argcheck(L, o.pools == 1 || o.pools == refs->processes, 2,
                  "frames: a number for all, or one for each process");
    lua_getfield(L, 2, "dirty");
    o.dirty = lua_toboolean(L, -1);
    lua_getfield(L, 2, "log");
    o.log = lua_toboolean(L, -1);
    lua_getfield(L, 2, "plain");
    o.plain = lua_toboolean(L, -1);
    vm_host host = lua_host(L);
    vm_error e;
    callback_enter(L);
    if (study_run_new(&host, refs, &o, &r->run, &e) != VM_OK)
        return callback_raise(L, &e);
    lua_settop(L, 3);
    return 1;
}

static int run_step(lua_State *L)
{
    lua_run *r = lua_run_check(L);
    lua_Integer n = luaL_checkinteger(L, 2);
    luaL_argcheck(L, n > 0, 2, "a step is 1 reference or more");
    if (r->owner.busy)
        return luaL_error(L, "%s steps the run that it serves", r->owner.busy);
    vm_error e;
    size_t left = r->run->refs->count - r->run->future.at;
    callback_enter(L);
    r->owner.busy = "a step";
    vm_status s =
        study_run_to(r->run, r->run->future.at + ((uint64_t)n < left ? (size_t)n : left), &e);
    s = lua_study_settle(&r->owner, s, &e);
    if (s != VM_OK)
        return callback_raise(L, &e);
    lua_pushinteger(L, (lua_Integer)r->run->future.at);
    lua_pushboolean(L, r->run->future.at == r->run->refs->count);
    return 2;
}

void lua_study_counts(lua_State *L, const study_counts *c)
{
    lua_createtable(L, 0, 8);
    lua_set_integer(L, "misses", c->misses);
    lua_set_integer(L, "cold", c->cold);
    lua_set_integer(L, "evictions", c->evictions);
    lua_set_integer(L, "writebacks", c->writebacks);
}

static int run_result(lua_State *L)
{
    const study_run *r = lua_run_check(L)->run;
    lua_createtable(L, (int)r->refs->processes, 0);
    for (size_t i = 0; i < r->refs->processes; i++) {
        lua_study_counts(L, &r->counts[i]);
        lua_rawseti(L, -2, (lua_Integer)i + 1);
    }
    return 1;
}

static int run_log(lua_State *L)
{
    const study_run *r = lua_run_check(L)->run;
    luaL_argcheck(L, r->log, 1, "this run keeps no log");
    lua_pushlstring(L, (const char *)r->log, r->future.at * sizeof *r->log);
    return 1;
}

/* -------------------------------------------------------------------------------------- */

void lua_open_study(lua_State *L)
{
    static const luaL_Reg refs_methods[] = {{"read", refs_read},
                                            {"facts", refs_facts},
                                            {"words", refs_words},
                                            {"numbers", refs_numbers},
                                            {"owners", refs_owners},
                                            {"part", refs_part},
                                            {NULL, NULL}};
    static const luaL_Reg run_methods[] = {{"step", run_step},
                                           {"result", run_result},
                                           {"log", run_log},
                                           {"close", run_close},
                                           {NULL, NULL}};
    static const luaL_Reg functions[] = {{"study_refs", refs_open},
                                         {"study_run", run_open},
                                         {"study_policy", study_policy},
                                         {NULL, NULL}};
    luaL_setfuncs(L, functions, 0);
    lua_class(L, STUDY_REFS_NAME, refs_methods, refs_gc);
    lua_class(L, STUDY_RUN_NAME, run_methods, run_close);
    lua_open_curve(L);
    lua_open_sweep(L);
    lua_open_locality(L);
}
