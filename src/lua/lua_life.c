/* lua_life.c: the life of processes: fork, execve, exit, wait, and signals that a
 * Lua function gets first.
 *
 * Signal handlers stand in a table that is a user value of the machine:
 * [pid << 8 | signal number] = function.
 */
#include "callback.h"
#include "lua_machine.h"

#include <errno.h>

static kernel *life_call(lua_State *L, process **p)
{
    lua_process *h = lua_check_running(L, 1, p);
    kernel_enter(&h->owner->m->kernel, *p);
    return &h->owner->m->kernel;
}

/* A handle of a process on the machine of the one at 1, made before a child is, so that
 * no child is left without one. */
static lua_process *life_push(lua_State *L, const process *p)
{
    lua_getiuservalue(L, 1, 1);
    lua_push_process(L, -1, p);
    return lua_touserdata(L, -1);
}

/* p:fork() -> child */
static int life_fork(lua_State *L)
{
    process *p, *child;
    vm_error e;
    kernel *k = life_call(L, &p);
    lua_process *h = life_push(L, p);
    if (process_fork(k, p, &child, &e) != VM_OK)
        return lua_failed(L, &e);
    h->pid = child->pid;
    return 1;
}

/* A process beside p in its space */
static int life_share(lua_State *L, bool vfork)
{
    process *p, *child;
    vm_error e;
    kernel *k = life_call(L, &p);
    const char *name = vfork ? p->name : luaL_optstring(L, 2, p->name);
    lua_process *h = life_push(L, p);
    if (process_share(k, p, name, vfork, &child, &e) != VM_OK)
        return lua_failed(L, &e);
    h->pid = child->pid;
    return 1;
}

/* p:vfork() -> child, in the same space; p can't run until it calls execve or exit */
static int life_vfork(lua_State *L) { return life_share(L, true); }
/* p:clone([name]) -> thread: a process in the same space */
static int life_clone(lua_State *L) { return life_share(L, false); }

static int life_exit(lua_State *L)
{
    process *p;
    lua_process *h = lua_check_process(L, 1, &p);
    if (p->space)
        kernel_enter(&h->owner->m->kernel, p);
    process_exit(&h->owner->m->kernel, p, (int)luaL_optinteger(L, 2, 0), NULL);
    return 0;
}

/* p:wait([pid]) -> pid, status, signal or nil */
static int life_wait(lua_State *L)
{
    process *p, *child;
    vm_error e;
    kernel *k = life_call(L, &p);
    lua_Integer pid = luaL_optinteger(L, 2, 0);
    luaL_argcheck(L, pid >= 0 && pid <= UINT32_MAX, 2, "no such process number");
    if (process_wait(k, p, (uint32_t)pid, &child, &e) != VM_OK)
        return lua_failed(L, &e);
    lua_pushinteger(L, child->pid);
    lua_pushinteger(L, child->exit_status);
    lua_pushstring(L, child->killed);
    return 3;
}

/* p:parent() -> its pid, or nil: the host's own */
static int life_parent(lua_State *L)
{
    process *p;
    lua_check_process(L, 1, &p);
    if (p->parent)
        lua_pushinteger(L, p->parent);
    else
        lua_pushnil(L);
    return 1;
}

static const char *const life_states[] = {[PROCESS_RUNNING] = "running",
                                          [PROCESS_BLOCKED] = "blocked",
                                          [PROCESS_ZOMBIE] = "zombie",
                                          [PROCESS_REAPED] = "reaped"};

/* p:status() -> "running", "blocked", "zombie" or "reaped"; exit status; signal or nil */
static int life_status(lua_State *L)
{
    process *p;
    lua_check_process(L, 1, &p);
    lua_pushstring(L, life_states[p->state]);
    if (p->space)
        return 1;
    lua_pushinteger(L, p->exit_status);
    lua_pushstring(L, p->killed);
    return 3;
}

/* p:cpu() -> where it runs, from 0 on */
static int life_cpu(lua_State *L)
{
    process *p;
    lua_check_process(L, 1, &p);
    lua_pushinteger(L, p->cpu);
    return 1;
}

/* p:run_on(cpu) -> p */
static int life_run_on(lua_State *L)
{
    process *p;
    vm_error e;
    lua_Integer cpu = luaL_checkinteger(L, 2);
    kernel *k = life_call(L, &p);
    if (process_migrate(k, p, (uint64_t)cpu, &e) != VM_OK)
        return lua_failed(L, &e);
    lua_settop(L, 1);
    return 1;
}

/* p:registers() -> pc, sp as execve set them */
static int life_registers(lua_State *L)
{
    process *p;
    lua_check_process(L, 1, &p);
    lua_pushinteger(L, (lua_Integer)p->pc);
    lua_pushinteger(L, (lua_Integer)p->sp);
    return 2;
}

/* --- execve ------------------------------------------------------------------------------ */

#define LIFE_SEGMENTS 64

static uint64_t life_field(lua_State *L, const char *name)
{
    lua_getfield(L, -1, name);
    uint64_t v = (uint64_t)luaL_optinteger(L, -1, 0);
    lua_pop(L, 1);
    return v;
}

/* The segment's table on the top of the stack */
static exec_segment life_segment(lua_State *L)
{
    exec_segment g = {.addr = life_field(L, "addr"),
                      .file_bytes = life_field(L, "file_bytes"),
                      .bytes = life_field(L, "bytes"),
                      .offset = life_field(L, "offset")};
    bool readonly;
    lua_getfield(L, -1, "file");
    g.file = lua_isnil(L, -1) ? NULL : lua_check_file(L, -1, &readonly);
    lua_pop(L, 1);
    lua_getfield(L, -1, "prot");
    g.prot = lua_check_prot(L, -1);
    lua_pop(L, 1);
    lua_getfield(L, -1, "anywhere");
    g.anywhere = lua_toboolean(L, -1);
    lua_pop(L, 1);
    lua_getfield(L, -1, "name"); /* the table keeps the string */
    g.name = luaL_checkstring(L, -1);
    lua_pop(L, 1);
    if (!g.file)
        g.file_bytes = 0;
    return g;
}

/* The strings of the list at idx, whose array is pushed as a userdata. */
static const char *const *life_strings(lua_State *L, int idx, size_t *n)
{
    luaL_checktype(L, idx, LUA_TTABLE);
    *n = (size_t)lua_rawlen(L, idx);
    const char **list = lua_newuserdatauv(L, (*n + 1) * sizeof *list, 0);
    for (size_t i = 0; i < *n; i++) {
        if (lua_rawgeti(L, idx, (lua_Integer)i + 1) != LUA_TSTRING)
            luaL_error(L, "execve: argument %d is a %s, not a string", (int)i + 1,
                       luaL_typename(L, -1));
        list[i] = lua_tostring(L, -1);
        lua_pop(L, 1);
    }
    return list;
}

/* p:_execve(name, segments, entry, stack, argv, envp) -> true */
static int life_execve(lua_State *L)
{
    process *p;
    vm_error e;
    kernel *k = life_call(L, &p);
    exec_segment segments[LIFE_SEGMENTS];
    exec_image x = {.name = luaL_checkstring(L, 2),
                    .segments = segments,
                    .entry = (uint64_t)luaL_checkinteger(L, 4),
                    .stack = (uint64_t)luaL_checkinteger(L, 5)};
    luaL_checktype(L, 3, LUA_TTABLE);
    x.segment_count = (size_t)lua_rawlen(L, 3);
    luaL_argcheck(L, x.segment_count <= LIFE_SEGMENTS, 3, "a program has at most 64 segments");
    for (size_t i = 0; i < x.segment_count; i++) {
        lua_rawgeti(L, 3, (lua_Integer)i + 1);
        luaL_checktype(L, -1, LUA_TTABLE);
        segments[i] = life_segment(L);
        lua_pop(L, 1);
    }
    x.argv = life_strings(L, 6, &x.argc);
    x.envp = life_strings(L, 7, &x.envc);
    return lua_done(L, process_exec(k, p, &x, &e), &e);
}

/* --- signals ------------------------------------------------------------------------------- */

static const char *const life_signals[] = {"SIGSEGV", "SIGBUS", NULL};

static lua_Integer life_handler_key(uint32_t pid, int signal)
{
    return (lua_Integer)pid << 8 | signal;
}

/* The handlers' table of the machine at idx is pushed. */
static void life_handlers(lua_State *L, int idx)
{
    idx = lua_absindex(L, idx);
    if (lua_getiuservalue(L, idx, LUA_MACHINE_HANDLERS) == LUA_TTABLE)
        return;
    lua_pop(L, 1);
    lua_newtable(L);
    lua_pushvalue(L, -1);
    lua_setiuservalue(L, idx, LUA_MACHINE_HANDLERS);
}

typedef struct life_signal {
    const fault_info *info;
    lua_Integer key;
    const void *box; /* the machine's userdata */
} life_signal;

static const char life_machines_key = 'm'; /* [lightuserdata of the box] = machine, weak */

/* The handler and what it is called with, if there is one. */
static bool life_push_handler(lua_State *L, void *ud)
{
    const life_signal *x = ud;
    lua_rawgetp(L, LUA_REGISTRYINDEX, &life_machines_key);
    lua_rawgetp(L, -1, x->box);
    lua_getiuservalue(L, -1, LUA_MACHINE_HANDLERS);
    if (lua_rawgeti(L, -1, x->key) == LUA_TNIL)
        return false;
    lua_push_fault(L, x->info);
    return true;
}

/* machine.mend: the process's own handler, if it has one for this signal. */
static vm_status life_mend(void *ud, machine *m, process *p, const fault_info *info, vm_error *e)
{
    lua_machine *box = ud;
    int signal = strcmp(info->signal, "SIGBUS") == 0;
    life_signal x = {.info = info, .key = life_handler_key(p->pid, signal), .box = box};
    const char *busy = box->busy;
    bool mended;
    (void)m;
    box->busy = NULL; /* the handler works on this machine */
    box->handling++;
    vm_status s = callback_ask(box->calls, life_push_handler, &x, &mended, e);
    box->handling--;
    box->busy = busy;
    if (s != VM_OK)
        return s;
    return mended ? VM_OK : vm_fail(e, VM_FAULT, "%s", info->signal);
}

/* p:sigaction(signal, function or nil) -> true */
static int life_sigaction(lua_State *L)
{
    process *p;
    lua_process *h = lua_check_live(L, 1, &p);
    lua_machine *box = h->owner;
    int signal = luaL_checkoption(L, 2, NULL, life_signals);
    if (!lua_isnoneornil(L, 3))
        luaL_checktype(L, 3, LUA_TFUNCTION);
    lua_settop(L, 3);
    lua_getiuservalue(L, 1, 1); /* 4: the machine */
    lua_remember(L, &life_machines_key, box, 4);
    life_handlers(L, 4);
    lua_pushvalue(L, 3);
    lua_rawseti(L, -2, life_handler_key(p->pid, signal));
    box->calls = callback_enter(L);
    box->m->mend = life_mend;
    box->m->mend_ud = box;
    box->m->handlers = true;
    lua_pushboolean(L, 1);
    return 1;
}

void lua_open_life(lua_State *L)
{
    static const luaL_Reg methods[] = {
        {"fork", life_fork},
        {"vfork", life_vfork},
        {"clone", life_clone},
        {"exit", life_exit},
        {"wait", life_wait},
        {"parent", life_parent},
        {"status", life_status},
        {"cpu", life_cpu},
        {"run_on", life_run_on},
        {"registers", life_registers},
        {"_execve", life_execve},
        {"sigaction", life_sigaction},
        {NULL, NULL},
    };
    luaL_setfuncs(L, methods, 0);
}
