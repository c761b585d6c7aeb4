/* vmem.c: the public C interface on the machine and the traces; a face as the
 * binding to Lua is one, on the same floor, and neither knows the other.
 *
 * Here arguments are checked (a pid is looked up each time), statuses and faults
 * are put into the public types, and a process that faults for good is ended.
 */
#include "vmem.h"

#include "machine.h"
#include "trace/replay.h"

/* The public statuses and kinds are the inner ones by another name. */
_Static_assert((int)VMEM_POLICY == (int)VM_POLICY && (int)VMEM_FAULT == (int)VM_FAULT, "statuses");
_Static_assert((int)VMEM_ACCESS_MODIFY == (int)ACCESS_MODIFY, "kinds of access");
_Static_assert((int)VMEM_READ == (int)PROT_R && (int)VMEM_WRITE == (int)PROT_W, "protections");
_Static_assert((int)VMEM_EXEC == (int)PROT_X, "protections");
_Static_assert(sizeof((vmem_error *)0)->text >= sizeof((vm_error *)0)->text, "texts of errors");

struct vmem_machine {
    machine *m;
    vm_host host;
};

const char *vmem_version(void) { return VMEM_VERSION; }

static vmem_status vmem_answer(vm_status s, const vm_error *from, vmem_error *to)
{
    if (s != VM_OK && to) {
        to->status = (vmem_status)s;
        to->sys = from->sys;
        memcpy(to->text, from->text, sizeof from->text);
    }
    return (vmem_status)s;
}

/* --- machines -------------------------------------------------------------------- */

vmem_status vmem_new(const char *const *options, const vmem_allocator *alloc, vmem_machine **out,
                     vmem_error *e)
{
    vm_host host = vm_host_libc;
    machine_options o;
    vm_error why;
    vm_status s = VM_OK;
    *out = NULL;
    if (alloc)
        host = (vm_host){alloc->alloc, alloc->ud};
    options_init(&o);
    for (size_t i = 0; s == VM_OK && options && options[i]; i++)
        s = options_set_text(&o, options[i], &why);
    if (s != VM_OK)
        return vmem_answer(s, &why, e);
    vmem_machine *m = host_zalloc(&host, sizeof *m);
    if (!m)
        return vmem_answer(vm_fail_nomem(&why, "a machine"), &why, e);
    m->host = host;
    s = machine_new(&m->host, &o, &m->m, &why);
    if (s != VM_OK)
        host_free(&host, m, sizeof *m);
    else
        *out = m;
    return vmem_answer(s, &why, e);
}

void vmem_free(vmem_machine *m)
{
    if (!m)
        return;
    vm_host host = m->host;
    machine_delete(m->m);
    host_free(&host, m, sizeof *m);
}

const char *vmem_preset(size_t i)
{
    for (const preset_row *r = preset_rows; r->name; r++)
        if (i-- == 0)
            return r->name;
    return NULL;
}

const char *vmem_option(size_t i, const char **doc)
{
    for (const option_row *r = option_rows; r->name; r++)
        if (i-- == 0) {
            if (doc)
                *doc = r->doc;
            return r->name;
        }
    return NULL;
}

/* --- processes --------------------------------------------------------------------- */

static vm_status vmem_live(const vmem_machine *m, vmem_pid pid, process **p, vm_error *e)
{
    *p = process_find(&m->m->kernel, pid);
    if (!*p)
        return vm_fail(e, VM_INVALID, "there is no process %u", (unsigned)pid);
    if (!(*p)->space)
        return vm_fail(e, VM_INVALID, "process %u has ended", (unsigned)pid);
    return VM_OK;
}

/* What a system call needs: the kernel, and the living process's space. */
static vm_status vmem_space(const vmem_machine *m, vmem_pid pid, space **sp, vm_error *e)
{
    process *p;
    vm_status s = vmem_live(m, pid, &p, e);
    if (s == VM_OK)
        *sp = p->space;
    return s;
}

vmem_status vmem_boot(vmem_machine *m, vmem_error *e)
{
    vm_error why;
    return vmem_answer(kernel_boot(&m->m->kernel, &why), &why, e);
}

vmem_status vmem_spawn(vmem_machine *m, const char *name, vmem_pid *pid, vmem_error *e)
{
    vm_error why;
    process *p;
    vm_status s = process_new(&m->m->kernel, name, &p, &why);
    if (s == VM_OK)
        *pid = p->pid;
    return vmem_answer(s, &why, e);
}

vmem_status vmem_exit(vmem_machine *m, vmem_pid pid, int status, vmem_error *e)
{
    vm_error why;
    process *p;
    vm_status s = vmem_live(m, pid, &p, &why);
    if (s == VM_OK)
        process_exit(&m->m->kernel, p, status, NULL);
    return vmem_answer(s, &why, e);
}

static vm_status vmem_check_bits(const char *what, unsigned bits, unsigned known, vm_error *e)
{
    if (bits & ~known)
        return vm_fail(e, VM_INVALID, "%s is 0x%x, of which 0x%x means nothing", what, bits,
                       bits & ~known);
    return VM_OK;
}

#define VMEM_PROTS (VMEM_READ | VMEM_WRITE | VMEM_EXEC)

vmem_status vmem_mmap(vmem_machine *m, vmem_pid pid, uint64_t addr, uint64_t length, unsigned prot,
                      unsigned flags, uint64_t *at, vmem_error *e)
{
    vm_error why;
    space *sp;
    map_request r = {.addr = addr,
                     .length = length,
                     .prot = prot,
                     .fixed = (flags & VMEM_FIXED) != 0,
                     .name = ""};
    vm_status s = vmem_space(m, pid, &sp, &why);
    if (s == VM_OK)
        s = vmem_check_bits("prot", prot, VMEM_PROTS, &why);
    if (s == VM_OK)
        s = vmem_check_bits("flags", flags, VMEM_FIXED, &why);
    if (s == VM_OK)
        s = space_map(&m->m->kernel, sp, &r, at, &why);
    return vmem_answer(s, &why, e);
}

vmem_status vmem_munmap(vmem_machine *m, vmem_pid pid, uint64_t addr, uint64_t length,
                        vmem_error *e)
{
    vm_error why;
    space *sp;
    vm_status s = vmem_space(m, pid, &sp, &why);
    if (s == VM_OK)
        s = space_unmap(&m->m->kernel, sp, addr, length, &why);
    return vmem_answer(s, &why, e);
}

vmem_status vmem_mprotect(vmem_machine *m, vmem_pid pid, uint64_t addr, uint64_t length,
                          unsigned prot, vmem_error *e)
{
    vm_error why;
    space *sp;
    vm_status s = vmem_space(m, pid, &sp, &why);
    if (s == VM_OK)
        s = vmem_check_bits("prot", prot, VMEM_PROTS, &why);
    if (s == VM_OK)
        s = space_protect(&m->m->kernel, sp, addr, length, prot, &why);
    return vmem_answer(s, &why, e);
}

/* --- accesses ------------------------------------------------------------------------ */

/* A fault for good: told, and the process ends, as by the signal. */
static void vmem_end_faulted(vmem_machine *m, const fault_info *info, vmem_fault *fault,
                             vm_error *e)
{
    static const char *const kinds[] = {"fetch", "load", "store", "modify"};
    process *p = process_find(&m->m->kernel, info->pid);
    if (p && p->space)
        process_exit(&m->m->kernel, p, -1, info->signal);
    if (fault)
        *fault = (vmem_fault){info->signal, info->code, info->addr, (vmem_access)info->access,
                              info->pid};
    vm_fail(e, VM_FAULT, "%s (%s): %s of address 0x%llx by process %u", info->signal, info->code,
            kinds[info->access], (unsigned long long)info->addr, (unsigned)info->pid);
}

/* Bytes to `to` (fetch, load) or from `from` (store), the other NULL. */
static vmem_status vmem_move(vmem_machine *m, vmem_pid pid, uint64_t addr, void *to,
                             const void *from, size_t n, access_kind kind, vmem_fault *fault,
                             vmem_error *e)
{
    vm_error why;
    fault_info info;
    process *p;
    vm_status s = vmem_live(m, pid, &p, &why);
    if (s == VM_OK)
        s = from ? machine_write(m->m, p, addr, from, n, &info, &why)
                 : machine_read(m->m, p, addr, to, n, kind, &info, &why);
    if (s == VM_FAULT)
        vmem_end_faulted(m, &info, fault, &why);
    return vmem_answer(s, &why, e);
}

static vmem_status vmem_size(unsigned size, vmem_error *e)
{
    vm_error why;
    if (size == 1 || size == 2 || size == 4 || size == 8)
        return VMEM_OK;
    return vmem_answer(
        vm_fail(&why, VM_INVALID, "size is %u, but a number has 1, 2, 4 or 8 bytes", size), &why,
        e);
}

vmem_status vmem_load(vmem_machine *m, vmem_pid pid, uint64_t addr, unsigned size, uint64_t *value,
                      vmem_fault *fault, vmem_error *e)
{
    uint8_t b[8] = {0};
    vmem_status s = vmem_size(size, e);
    if (s == VMEM_OK)
        s = vmem_move(m, pid, addr, b, NULL, size, ACCESS_LOAD, fault, e);
    if (s != VMEM_OK)
        return s;
    *value = 0;
    for (unsigned i = 0; i < 8; i++)
        *value |= (uint64_t)b[i] << 8 * i;
    return VMEM_OK;
}

vmem_status vmem_store(vmem_machine *m, vmem_pid pid, uint64_t addr, unsigned size, uint64_t value,
                       vmem_fault *fault, vmem_error *e)
{
    uint8_t b[8];
    for (unsigned i = 0; i < 8; i++)
        b[i] = (uint8_t)(value >> 8 * i);
    vmem_status s = vmem_size(size, e);
    return s == VMEM_OK ? vmem_move(m, pid, addr, NULL, b, size, ACCESS_STORE, fault, e) : s;
}

vmem_status vmem_read(vmem_machine *m, vmem_pid pid, uint64_t addr, void *to, size_t n,
                      vmem_fault *fault, vmem_error *e)
{
    return vmem_move(m, pid, addr, to, NULL, n, ACCESS_LOAD, fault, e);
}

vmem_status vmem_write(vmem_machine *m, vmem_pid pid, uint64_t addr, const void *from, size_t n,
                       vmem_fault *fault, vmem_error *e)
{
    return vmem_move(m, pid, addr, NULL, n ? from : "", n, ACCESS_STORE, fault, e);
}

vmem_status vmem_fetch(vmem_machine *m, vmem_pid pid, uint64_t addr, void *to, size_t n,
                       vmem_fault *fault, vmem_error *e)
{
    return vmem_move(m, pid, addr, to, NULL, n, ACCESS_FETCH, fault, e);
}

/* --- traces --------------------------------------------------------------------------- */

static vm_status vmem_replay_blocks(replay *r, trace_cursor *c, vm_error *e)
{
    trace_block b;
    vm_status s;
    while ((s = trace_next(c, &b, e)) == VM_OK && b.count > 0)
        for (size_t ran; b.count > 0; b.records += ran, b.count -= ran)
            if ((s = replay_block(r, &b, &ran, e)) != VM_OK)
                return s;
    return s;
}

vmem_status vmem_replay(vmem_machine *m, vmem_pid pid, const char *path, vmem_run *run,
                        vmem_fault *fault, vmem_error *e)
{
    vm_error why;
    process *p;
    trace_source *source = NULL;
    trace_cursor *cursor = NULL;
    replay r;
    uint64_t start = machine_clock(m->m);
    if (run)
        memset(run, 0, sizeof *run);
    vm_status s = vmem_live(m, pid, &p, &why);
    if (s == VM_OK)
        s = trace_file(&m->host, path, NULL, &source, &why);
    if (s == VM_OK)
        s = trace_open(source, &cursor, &why);
    if (s == VM_OK && (s = replay_begin(&r, m->m, p, &why)) == VM_OK) {
        s = vmem_replay_blocks(&r, cursor, &why);
        if (s == VM_FAULT)
            vmem_end_faulted(m, &r.fault, fault, &why);
        if (run)
            *run = (vmem_run){r.accesses, r.events,         r.processes,
                              r.mapped,   r.skipped_events, machine_clock(m->m) - start};
        replay_end(&r);
    }
    trace_close(cursor);
    trace_source_release(source);
    return vmem_answer(s, &why, e);
}

/* --- what is counted --------------------------------------------------------------------- */

void vmem_stats(const vmem_machine *m, vmem_visitor *visit, void *ud)
{
    machine_visit_stats(m->m, visit, ud);
}

typedef struct vmem_wanted {
    const char *name;
    uint64_t value;
    bool found;
} vmem_wanted;

static void vmem_find_stat(void *ud, const char *name, const char *unit, const char *doc,
                           uint64_t value)
{
    vmem_wanted *w = ud;
    (void)unit;
    (void)doc;
    if (strcmp(name, w->name) == 0) {
        w->value = value;
        w->found = true;
    }
}

vmem_status vmem_stat(const vmem_machine *m, const char *name, uint64_t *value, vmem_error *e)
{
    vmem_wanted w = {name, 0, false};
    vm_error why;
    machine_visit_stats(m->m, vmem_find_stat, &w);
    if (!w.found)
        return vmem_answer(vm_fail(&why, VM_INVALID, "this machine has no counter %.80s", name),
                           &why, e);
    *value = w.value;
    return VMEM_OK;
}

void vmem_reset_stats(vmem_machine *m) { machine_reset_counters(m->m); }

uint64_t vmem_clock(const vmem_machine *m) { return machine_clock(m->m); }

const char *vmem_check(vmem_machine *m) { return machine_check(m->m); }
