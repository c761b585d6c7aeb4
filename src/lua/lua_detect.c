#include "callback.h"
#include "lua_detect.h"

#include <stdio.h>

#define DETECT_STATE 2 /* the user value */

static const char detect_boxes_key = 'd'; /* [lightuserdata of the box] = detector, weak */

static lua_detect *detect_self(lua_State *L)
{
    lua_detect *box = luaL_checkudata(L, 1, LUA_DETECTOR);
    luaL_argcheck(L, box->d, 1, "the detector is closed");
    return box;
}

lua_detect *lua_check_detect(lua_State *L, int idx)
{
    lua_detect *box = luaL_checkudata(L, idx, LUA_DETECTOR);
    const lua_machine *owner = box->handle->owner;
    luaL_argcheck(L, box->d, idx, "the detector is closed");
    luaL_argcheck(L, !box->busy, idx, "the detector is busy");
    luaL_argcheck(L, owner->m, idx, "the machine of this detector is closed");
    if (owner->busy)
        luaL_argerror(
            L, idx,
            lua_pushfstring(L, "the machine of this detector is busy with %s", owner->busy));
    process *p = process_find(&owner->m->kernel, box->handle->pid);
    luaL_argcheck(L, p->state == PROCESS_RUNNING, idx, "the process has ended or waits");
    luaL_argcheck(L, box->d->space == p->space, idx,
                  "the memory that this detector watched is gone");
    box->d->p = p;
    callback_enter(L);
    return box;
}

int lua_detect_failed(lua_State *L, lua_detect *box, vm_status s, const vm_error *e)
{
    detect *d = box->d;
    if (s == VM_REFUSED)
        return lua_tell(L, box->handle->owner, lua_failed(L, e));
    return lua_raise_access(L, d->m, d->p, s, &d->info, e);
}

int lua_detect_done(lua_State *L, lua_detect *box, vm_status s, const vm_error *e, int n)
{
    return s == VM_OK ? lua_tell(L, box->handle->owner, n) : lua_detect_failed(L, box, s, e);
}

void lua_detect_branch(lua_State *L, lua_detect *box, const tracked *t)
{
    vm_error e;
    const lua_machine *owner = box->handle->owner;
    if (!t->undef || !box->d || !box->d->space || box->busy || !owner->m)
        return;
    box->d->p = process_find(&owner->m->kernel, box->handle->pid);
    callback_enter(L);
    box->busy = true;
    vm_status s = detect_used(box->d, USE_BRANCH, t, NULL, &e);
    box->busy = false;
    if (s != VM_OK)
        callback_raise(L, &e);
}

/* --- blocks and sites ------------------------------------------------------------------- */

void lua_push_detect_state(lua_State *L, int idx, const char *name)
{
    lua_getiuservalue(L, idx, DETECT_STATE);
    lua_getfield(L, -1, name);
    lua_remove(L, -2);
}

/* field = the site, if it is known */
static void detect_set_site(lua_State *L, int idx, const char *field, uint32_t site)
{
    if (!site)
        return;
    lua_push_detect_state(L, idx, "sites");
    lua_rawgeti(L, -1, site);
    lua_setfield(L, -3, field);
    lua_pop(L, 1);
}

void lua_push_block(lua_State *L, int idx, const detect_block *b)
{
    idx = lua_absindex(L, idx);
    if (!b || !b->id) {
        lua_pushnil(L);
        return;
    }
    lua_createtable(L, 0, 10);
    lua_set_integer(L, "id", b->id);
    lua_set_string(L, "kind", detect_part_names[b->part]);
    lua_set_integer(L, "address", b->start);
    lua_set_integer(L, "size", b->size);
    lua_set_boolean(L, "live", b->live);
    if (b->name[0])
        lua_set_string(L, "name", b->name);
    if (b->item)
        lua_set_integer(L, "element", b->item);
    if (b->part == PART_HEAP) {
        lua_set_string(L, "family", detect_family_names[b->family]);
        lua_push_detect_state(L, idx, "heaps");
        lua_rawgeti(L, -1, b->heap + 1);
        lua_setfield(L, -3, "heap");
        lua_pop(L, 1);
    }
    detect_set_site(L, idx, "made", b->made);
    detect_set_site(L, idx, "gone", b->gone);
}

static void detect_set_block(lua_State *L, int idx, const char *field, const detect_block *b)
{
    lua_push_block(L, idx, b);
    lua_setfield(L, -2, field);
}

/* Which fields a report has besides. */
static bool detect_is_access(detect_kind k) { return k <= DETECT_NO_VARIABLE; }

static void detect_push_report(lua_State *L, int idx, const detect_report *r)
{
    static const char *const accesses[] = {"fetch", "load", "store", "modify"};
    idx = lua_absindex(L, idx);
    lua_createtable(L, 0, 14);
    lua_set_string(L, "kind", detect_kind_names[r->kind]);
    lua_set_integer(L, "address", r->addr);
    lua_set_integer(L, "first", r->bad);
    lua_set_integer(L, "count", r->count);
    if (r->size)
        lua_set_integer(L, "size", r->size);
    if (detect_is_access(r->kind))
        lua_set_string(L, "access", accesses[r->access]);
    if (r->kind == DETECT_UNINITIALISED)
        lua_set_string(L, "use", detect_use_names[r->use]);
    if (r->undef)
        lua_set_integer(L, "bits", r->undef);
    if (r->kind == DETECT_OVERLAP)
        lua_set_integer(L, "source", r->other);
    if (r->name[0])
        lua_set_string(L, "name", r->name);
    detect_set_site(L, idx, "where", r->site);
    detect_set_block(L, idx, "block", &r->block);
    detect_set_block(L, idx, "pointer", &r->pointer);
    detect_set_block(L, idx, "origin", &r->origin);
}

/* The text of the calls that are under way, without those of C and of the face: a line
 * each. */
static void detect_push_trace(lua_State *L, const lua_detect *box, const char *skip, size_t n)
{
    lua_Debug ar;
    luaL_Buffer b;
    int kept = 0;
    luaL_buffinit(L, &b);
    for (int level = 1; kept < box->depth && lua_getstack(L, level, &ar); level++) {
        lua_getinfo(L, "Sln", &ar);
        if (ar.currentline < 0 || (n && strncmp(ar.source, skip, n) == 0))
            continue;
        char line[LUA_IDSIZE + 120];
        if (strcmp(ar.what, "main") == 0)
            snprintf(line, sizeof line, "%s:%d: in main chunk\n", ar.short_src, ar.currentline);
        else
            snprintf(line, sizeof line, "%s:%d: in function %.60s\n", ar.short_src, ar.currentline,
                     ar.name ? ar.name : "?");
        luaL_addstring(&b, line);
        kept++;
    }
    luaL_pushresult(&b);
}

typedef struct detect_where {
    const lua_detect *box;
    uint32_t site;
} detect_where;

/* Asks nobody: finds the number of where the program is, where errors are caught. */
static bool detect_find_site(lua_State *L, void *ud)
{
    detect_where *where = ud;
    const lua_detect *box = where->box;
    lua_rawgetp(L, LUA_REGISTRYINDEX, &detect_boxes_key);
    lua_rawgetp(L, -1, box);
    lua_getiuservalue(L, -1, DETECT_STATE);
    const int state = lua_gettop(L);
    lua_getfield(L, state, "ids");
    lua_getfield(L, state, "pc");
    if (lua_isfunction(L, -1)) {
        callback_pass(L, 0, 1);
        luaL_checkinteger(L, -1);
    } else {
        size_t n = 0;
        lua_getfield(L, state, "skip");
        const char *skip = lua_tolstring(L, -1, &n);
        detect_push_trace(L, box, skip, n);
    }
    lua_pushvalue(L, -1);
    if (lua_rawget(L, state + 1) == LUA_TNIL) {
        lua_pop(L, 1);
        lua_getfield(L, state, "sites");
        const lua_Integer id = (lua_Integer)lua_rawlen(L, -1) + 1;
        lua_pushvalue(L, -2);
        lua_rawseti(L, -2, id);
        lua_pop(L, 1);
        lua_pushinteger(L, id);
        lua_rawset(L, state + 1);
        where->site = (uint32_t)id;
        return false;
    }
    where->site = (uint32_t)lua_tointeger(L, -1);
    return false;
}

/* It is asked for in the midst of calls: neither the detector nor the machine is closed. */
static vm_status detect_site_hook(void *ud, uint32_t *site, vm_error *e)
{
    lua_detect *box = ud;
    lua_machine *owner = box->handle->owner;
    detect_where where = {box, 0};
    const bool was = box->busy;
    bool answer;
    box->busy = true;
    owner->handling++;
    vm_status s = callback_ask(owner->calls, detect_find_site, &where, &answer, e);
    owner->handling--;
    box->busy = was;
    *site = where.site;
    return s;
}

typedef struct detect_news {
    lua_detect *box;
    size_t report;
} detect_news;

/* state.tell and the report */
static bool detect_push_news(lua_State *L, void *ud)
{
    const detect_news *n = ud;
    lua_rawgetp(L, LUA_REGISTRYINDEX, &detect_boxes_key);
    lua_rawgetp(L, -1, n->box);
    const int self = lua_gettop(L);
    lua_push_detect_state(L, self, "tell");
    detect_push_report(L, self, &n->box->d->reports[n->report]);
    return true;
}

/* Who is told may look, and allocate; his accesses are not the program's, and neither the
 * detector nor the machine is closed. */
static vm_status detect_tell_hook(void *ud, size_t report, vm_error *e)
{
    lua_detect *box = ud;
    lua_machine *owner = box->handle->owner;
    detect_news news = {box, report};
    const bool was = box->busy;
    const char *busy = owner->busy;
    bool answer;
    if (!box->tells || box->d->muted)
        return VM_OK;
    box->busy = true;
    box->d->muted++;
    owner->busy = NULL;
    owner->handling++;
    vm_status s = callback_ask(owner->calls, detect_push_news, &news, &answer, e);
    owner->handling--;
    owner->busy = busy;
    box->d->muted--;
    box->busy = was;
    return s;
}

/* --- looks --------------------------------------------------------------------------------- */

/* d:pointer(address) -> value, of the live block that holds the address */
static int detect_pointer_(lua_State *L)
{
    lua_detect *box = detect_self(L);
    tracked t = tracked_plain((uint64_t)luaL_checkinteger(L, 2));
    const detect_block *b = detect_at(box->d, t.x);
    if (b && b->live && t.x >= b->start && t.x - b->start <= b->size)
        t.from = b->id;
    lua_push_tracked(L, 1, &t);
    return 1;
}

/* d:value(x) -> value: a number that is known */
static int detect_value_(lua_State *L)
{
    detect_self(L);
    const tracked t = lua_check_tracked(L, 2);
    lua_push_tracked(L, 1, &t);
    return 1;
}

/* d:undefine(address, n), d:define(address, n): from now on its bytes are so */
static int detect_undefine_(lua_State *L)
{
    lua_detect *box = lua_check_detect(L, 1);
    const tracked a = lua_check_tracked(L, 2);
    const uint64_t n = lua_check_count(L, 3);
    luaL_argcheck(L, n <= UINT64_MAX - a.x, 3, "the range ends behind the last address");
    vm_error e;
    vm_status s = shadow_need(&box->d->shadow, a.x, a.x + n, &e);
    if (s == VM_OK)
        shadow_undefine(&box->d->shadow, a.x, a.x + n, shadow_owner(&box->d->shadow, a.x));
    return lua_detect_done(L, box, s, &e, 0);
}

static int detect_define_(lua_State *L)
{
    lua_detect *box = lua_check_detect(L, 1);
    const tracked a = lua_check_tracked(L, 2);
    const uint64_t n = lua_check_count(L, 3);
    luaL_argcheck(L, n <= UINT64_MAX - a.x, 3, "the range ends behind the last address");
    shadow_define(&box->d->shadow, a.x, a.x + n);
    return 0;
}

/* d:block(address) -> the block that it is in, or beside, or was in; or nil */
static int detect_block_(lua_State *L)
{
    lua_detect *box = detect_self(L);
    const tracked a = lua_check_tracked(L, 2);
    lua_push_block(L, 1, detect_at(box->d, a.x));
    return 1;
}

/* d:_report(i) -> table or nil; d:errors() -> how many there were, d:_kept() */
static int detect_report_(lua_State *L)
{
    lua_detect *box = detect_self(L);
    lua_Integer i = luaL_checkinteger(L, 2);
    if (i < 1 || (size_t)i > box->d->report_count)
        return 0;
    detect_push_report(L, 1, &box->d->reports[i - 1]);
    return 1;
}

static int detect_errors_(lua_State *L)
{
    lua_pushinteger(L, (lua_Integer)detect_self(L)->d->errors);
    return 1;
}

typedef struct detect_loot {
    detect_leak *leaks;
    size_t n;
} detect_loot;

/* Under callback_protect: { block =, loss = }, ... */
static int detect_list_leaks(lua_State *L)
{
    const void *const *args = lua_touserdata(L, 1);
    const detect_loot *loot = args[1];
    lua_rawgetp(L, LUA_REGISTRYINDEX, &detect_boxes_key);
    lua_rawgetp(L, -1, args[0]);
    const int self = lua_gettop(L);
    lua_newtable(L);
    for (size_t i = 0; i < loot->n; i++) {
        lua_push_block(L, self, &loot->leaks[i].block);
        lua_set_string(L, "leak", detect_loss_names[loot->leaks[i].loss]);
        lua_rawseti(L, -2, (lua_Integer)i + 1);
    }
    return 1;
}

/* d:_leaks{ roots } -> list of blocks, each with `leak` */
static int detect_leaks_(lua_State *L)
{
    lua_detect *box = lua_check_detect(L, 1);
    luaL_checktype(L, 2, LUA_TTABLE);
    const size_t n = lua_rawlen(L, 2);
    tracked *roots = lua_newuserdatauv(L, (n + 1) * sizeof *roots, 0);
    for (size_t i = 0; i < n; i++) {
        lua_rawgeti(L, 2, (lua_Integer)i + 1);
        roots[i] = lua_check_tracked(L, -1);
        lua_pop(L, 1);
    }
    detect_loot loot;
    vm_error e;
    box->busy = true;
    vm_status s = detect_leaks(box->d, roots, n, &loot.leaks, &loot.n, &e);
    box->busy = false;
    if (s != VM_OK)
        return lua_detect_failed(L, box, s, &e);
    const void *args[] = {box, &loot};
    const bool listed = callback_protect(L, detect_list_leaks, args);
    if (loot.leaks)
        host_free(&box->d->host, loot.leaks, loot.n * sizeof *loot.leaks);
    return listed ? lua_tell(L, box->handle->owner, 1) : lua_error(L);
}

static int detect_process_(lua_State *L)
{
    luaL_checkudata(L, 1, LUA_DETECTOR);
    lua_getiuservalue(L, 1, 1);
    return 1;
}

static int detect_state_(lua_State *L)
{
    luaL_checkudata(L, 1, LUA_DETECTOR);
    lua_getiuservalue(L, 1, DETECT_STATE);
    return 1;
}

/* --- open and close ----------------------------------------------------------------------------
 */

static int detect_gc(lua_State *L)
{
    lua_detect *box = luaL_checkudata(L, 1, LUA_DETECTOR);
    detect_delete(box->d);
    box->d = NULL;
    return 0;
}

/* d:close() */
static int detect_close_(lua_State *L)
{
    lua_detect *box = luaL_checkudata(L, 1, LUA_DETECTOR);
    luaL_argcheck(L, !box->busy, 1, "the detector is busy");
    lua_settop(L, 1);
    if (!box->d)
        return 0;
    lua_getiuservalue(L, 1, 1);
    lua_getiuservalue(L, -1, 1);
    if (lua_getiuservalue(L, -1, LUA_MACHINE_WATCHERS) == LUA_TTABLE) {
        lua_pushnil(L);
        lua_rawsetp(L, -2, box);
    }
    lua_settop(L, 1);
    return detect_gc(L);
}

/* d:attach(heap) -> d */
static int detect_attach_(lua_State *L)
{
    lua_detect *box = lua_check_detect(L, 1);
    lua_heap *h = luaL_checkudata(L, 2, LUA_HEAP);
    luaL_argcheck(L, h->h, 2, "the heap is closed");
    luaL_argcheck(L, !h->busy, 2, "the heap is busy");
    luaL_argcheck(L, h->handle && h->handle->owner == box->handle->owner, 2,
                  "the heap is not in the memory that the detector watches");
    h->h->port.p = process_find(&h->handle->owner->m->kernel, h->handle->pid);
    lua_settop(L, 2);
    lua_push_detect_state(L, 1, "heaps");
    lua_pushvalue(L, 2);
    lua_rawseti(L, 3, (lua_Integer)box->d->heap_count + 1);
    vm_error e;
    vm_status s = detect_attach(box->d, h->h, &e);
    if (s != VM_OK) {
        lua_pushnil(L);
        lua_rawseti(L, 3, (lua_Integer)box->d->heap_count + 1);
        return lua_raise(L, &e);
    }
    lua_settop(L, 1);
    return 1;
}

static int detect_tostring(lua_State *L)
{
    const lua_detect *box = luaL_checkudata(L, 1, LUA_DETECTOR);
    char text[120];
    if (!box->d)
        snprintf(text, sizeof text, "vmem.detector: closed");
    else
        snprintf(text, sizeof text, "vmem.detector: %llu error%s, %u heap%s",
                 (unsigned long long)box->d->errors, box->d->errors == 1 ? "" : "s",
                 box->d->heap_count, box->d->heap_count == 1 ? "" : "s");
    lua_pushstring(L, text);
    return 1;
}

static uint64_t detect_option(lua_State *L, const char *name)
{
    lua_getfield(L, 2, name);
    const uint64_t x =
        lua_isboolean(L, -1) ? (uint64_t)lua_toboolean(L, -1) : (uint64_t)luaL_checkinteger(L, -1);
    lua_pop(L, 1);
    return x;
}

/* core.detector(process, options: whole numbers, all of them; tell, pc, symbol, each
 * or nil; skip) -> detector */
static int detect_open_(lua_State *L)
{
    process *p;
    lua_process *handle = lua_check_running(L, 1, &p);
    luaL_checktype(L, 2, LUA_TTABLE);
    lua_settop(L, 2);
    const detect_config cfg = {.redzone = detect_option(L, "redzone"),
                               .quarantine = detect_option(L, "quarantine"),
                               .stack = detect_option(L, "stack"),
                               .data = detect_option(L, "data"),
                               .at_load = detect_option(L, "at_load") != 0,
                               .once = detect_option(L, "once") != 0,
                               .limit = detect_option(L, "limit")};
    lua_detect *box = lua_newuserdatauv(L, sizeof *box, 2); /* 3 */
    memset(box, 0, sizeof *box);
    luaL_setmetatable(L, LUA_DETECTOR);
    box->handle = handle;
    box->depth = (int)detect_option(L, "depth");
    lua_pushvalue(L, 1);
    lua_setiuservalue(L, 3, 1);
    lua_createtable(L, 0, 6); /* 4: the state */
    static const char *const tables[] = {"sites", "ids", "heaps"};
    for (unsigned i = 0; i < 3; i++) {
        lua_newtable(L);
        lua_setfield(L, 4, tables[i]);
    }
    static const char *const given[] = {"tell", "pc", "symbol", "skip"};
    for (unsigned i = 0; i < 4; i++) {
        lua_getfield(L, 2, given[i]);
        box->tells |= i == 0 && lua_isfunction(L, -1);
        lua_setfield(L, 4, given[i]);
    }
    lua_pushvalue(L, 4);
    lua_setiuservalue(L, 3, DETECT_STATE);
    lua_remember(L, &detect_boxes_key, box, 3);
    lua_getiuservalue(L, 1, 1); /* 5: the machine, which keeps the detector */
    if (lua_getiuservalue(L, 5, LUA_MACHINE_WATCHERS) != LUA_TTABLE) {
        lua_pop(L, 1);
        lua_newtable(L);
        lua_pushvalue(L, -1);
        lua_setiuservalue(L, 5, LUA_MACHINE_WATCHERS);
    }
    lua_pushvalue(L, 3);
    lua_rawsetp(L, 6, box);
    handle->owner->calls = callback_enter(L);
    const detect_hooks hooks = {box, detect_site_hook, detect_tell_hook};
    vm_host host = lua_host(L);
    vm_error e;
    if (detect_new(&host, &cfg, &hooks, handle->owner->m, p, &box->d, &e) != VM_OK) {
        lua_pushnil(L);
        lua_rawsetp(L, 6, box);
        return lua_raise(L, &e);
    }
    lua_settop(L, 3);
    return 1;
}

/* core.detect_kinds() -> list of { name, doc } */
static int detect_kinds_(lua_State *L)
{
    lua_newtable(L);
    for (int i = 0; detect_kind_names[i]; i++) {
        lua_createtable(L, 0, 2);
        lua_set_string(L, "name", detect_kind_names[i]);
        lua_set_string(L, "doc", detect_kind_docs[i]);
        lua_rawseti(L, -2, i + 1);
    }
    return 1;
}

void lua_open_detect(lua_State *L)
{
    static const luaL_Reg methods[] = {
        {"pointer", detect_pointer_},
        {"value", detect_value_},
        {"undefine", detect_undefine_},
        {"define", detect_define_},
        {"block", detect_block_},
        {"errors", detect_errors_},
        {"process", detect_process_},
        {"attach", detect_attach_},
        {"close", detect_close_},
        {"_report", detect_report_},
        {"_leaks", detect_leaks_},
        {"_state", detect_state_},
        {NULL, NULL},
    };
    static const luaL_Reg functions[] = {
        {"detector", detect_open_}, {"detect_kinds", detect_kinds_}, {NULL, NULL}};
    luaL_setfuncs(L, functions, 0);
    luaL_newmetatable(L, LUA_DETECTOR);
    lua_pushcfunction(L, detect_gc);
    lua_setfield(L, -2, "__gc");
    lua_pushcfunction(L, detect_close_);
    lua_setfield(L, -2, "__close");
    lua_pushcfunction(L, detect_tostring);
    lua_setfield(L, -2, "__tostring");
    luaL_newlib(L, methods);
    lua_open_detect_calls(L);
    lua_pushvalue(L, -1);
    lua_setfield(L, -3, "__index");
    lua_setfield(L, -3, "Detector"); /* where Lua adds its methods */
    lua_pop(L, 1);
    lua_open_tracked(L);
}
