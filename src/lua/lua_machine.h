/* lua_machine.h: machines and processes as Lua objects.
 *
 * A machine is a userdata that owns the C machine; a process is a handle (pid)
 * that keeps its machine alive by a user value and owns nothing. While C works
 * on a machine for longer than one call (a replay, whose trace may call back
 * into Lua), the machine is busy: closing it or starting on it again is an error.
 * It is busy, too, while a replacement policy in Lua serves it.
 *
 * Listeners to the kernel's events hear of them when the method that caused them
 * is done: every method of both classes is wrapped in lua_tell where the classes
 * are made (lua_tell_methods), but for those of lua_boot.c, which cause none. A method that raises
 * after it changed the machine calls lua_deliver first, as lua_raise_access does; what it leaves is
 * heard after the next method.
 */
#ifndef VM_LUA_MACHINE_H
#define VM_LUA_MACHINE_H

#include "lua_policy.h"

#include "../machine.h"

typedef struct lua_machine {
    machine *m;                   /* NULL: closed */
    const char *busy;             /* with what: it can't be used; NULL: it can */
    struct callback_state *calls; /* where signal handlers run, once there is one */
    unsigned handling;            /* signal handlers in Lua that run now: it can't be closed */
    bool telling;                 /* listeners are being called */
    lua_policy_owner policies;    /* those in Lua */
} lua_machine;

typedef struct lua_process {
    lua_machine *owner; /* alive: it is the handle's user value 1 */
    uint32_t pid;
} lua_process;

/* The open machine at idx; raises otherwise. */
lua_machine *lua_check_machine(lua_State *L, int idx);
/* The process at idx; `*p` has ended if its space is NULL. */
lua_process *lua_check_process(lua_State *L, int idx, process **p);
/* The same, but it must be alive. */
lua_process *lua_check_live(lua_State *L, int idx, process **p);
/* The same, but it must not wait for a vfork child. */
lua_process *lua_check_running(lua_State *L, int idx, process **p);
/* Push a handle of the process; the machine's userdata is at `machine_idx`. */
void lua_push_process(lua_State *L, int machine_idx, const process *p);
/* Raise what a failed access says; a fault for good ends the process first. */
int lua_raise_access(lua_State *L, machine *m, process *p, vm_status s, const fault_info *info,
                     const vm_error *e);
/* "rwx" -> PROT_ bits; and back. */
unsigned lua_check_prot(lua_State *L, int idx);
void lua_prot_text(unsigned prot, char text[4]);
/* Push true, or nil, message, code. */
int lua_done(lua_State *L, vm_status s, const vm_error *e);
/* The open file at idx; *readonly: it was opened for reading. Raises otherwise. */
file *lua_check_file(lua_State *L, int idx, bool *readonly);
/* Push the fault object of `info`. */
void lua_push_fault(lua_State *L, const fault_info *info);

/* Call the machine's listeners for each event that waits, in order, and for those
 * that they cause, unless that is being done already. Raises the first error of a
 * listener; events behind that one wait on. The machine may have work done on it
 * by listeners, but it is not closed. */
void lua_deliver(lua_State *L, machine *m);
/* Let policies in Lua hear what they have not been told yet; raises a failure of one
 * that nobody waited for. */
void lua_settle(lua_State *L, lua_machine *box);
/* At a method's end: its `n` results. */
VM_INLINE int lua_tell(lua_State *L, lua_machine *box, int n)
{
    if (VM_UNLIKELY(box->m && (box->policies.waiting || box->m->hw.failed)))
        lua_settle(L, box);
    if (VM_UNLIKELY(box->m && events_pending(&box->m->kernel.events)))
        lua_deliver(L, box->m);
    return n;
}
/* Wrap the methods in the table on the top: those of processes, or of machines. */
void lua_tell_methods(lua_State *L, bool processes);

/* Each adds functions to the core table, or methods to a table on the top. */
void lua_open_process(lua_State *L); /* core table on the top */
void lua_open_explain(lua_State *L); /* process methods on the top */
void lua_open_space(lua_State *L);   /* process methods on the top */
void lua_open_life(lua_State *L);    /* process methods on the top */
void lua_open_replay(lua_State *L);  /* core table on the top */
void lua_open_file(lua_State *L);    /* machine methods on the top */
void lua_open_frames(lua_State *L);  /* core table, machine methods on the top */
void lua_open_events(lua_State *L);  /* the same */
void lua_open_boot(lua_State *L);    /* core table on the top, with both classes in it */

#define LUA_MACHINE "vmem.machine"
#define LUA_PROCESS "vmem.process"
#define LUA_FAULT   "vmem.fault"
#define LUA_FILE    "vmem.file"

/* The machine's user values */
#define LUA_MACHINE_LISTENERS 1
#define LUA_MACHINE_HANDLERS  2 /* of signals */
#define LUA_MACHINE_POLICIES  3 /* in Lua: their classes, by option */
#define LUA_MACHINE_WATCHERS  4 /* a set: error detectors, while they watch */

#endif
