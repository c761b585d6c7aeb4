/* replay.h: a trace through a machine.
 *
 * A trace with events of its own brings its areas: mmap, munmap, brk and the
 * others happen in the machine as they did in the program. What no event has
 * mapped (the program's image and first stack, or all of a trace without
 * events) is mapped when it is first touched: an area of the pages touched that
 * lie near each other, named code, data or stack by the kind of access and the
 * distance from the top of the space. Such an area takes the permissions that
 * the program turns out to use.
 *
 * Tasks become processes when they first appear; a task that an event made as a
 * thread shares its maker's space. The process that the caller gives is the
 * first task's.
 */
#ifndef VM_REPLAY_H
#define VM_REPLAY_H

#include "../machine.h"
#include "trace.h"

#define REPLAY_TASKS 65536

typedef struct replay {
    machine *m;
    const vm_host *host;
    process **tasks; /* by task number; NULL: not yet seen */
    uint64_t accesses, events, processes;
    uint64_t mapped;         /* areas made because something unmapped was touched */
    uint64_t skipped_events; /* events that the machine refused (their areas do not fit) */
    fault_info fault;        /* where VM_FAULT ended it */
    machine_mend *before;    /* who mended before this replay, and is asked first */
    void *before_ud;
} replay;

vm_status replay_begin(replay *r, machine *m, process *first, vm_error *e);
/* One block; *done is how many of its records were replayed. VM_FAULT: a fault
 * for good, in r->fault; the process it was in has not been ended. */
vm_status replay_block(replay *r, const trace_block *b, size_t *done, vm_error *e);
void replay_end(replay *r);

#endif
