/* process.c: processes and their spaces: made, copied, ended, waited for; which of
 * them runs; and the kernel as a whole: its making and its end.
 *
 * A process's record outlives it, since the host may hold a handle; its space
 * goes with the last process that uses it.
 */
#include <errno.h>
#include <stdio.h>

#include "kernel.h"
#include "rmap.h"

static uint64_t kernel_references(void *ud)
{
    const kernel *k = ud;
    return k->accesses(k->accesses_ud);
}

static vm_status kernel_new_policy(kernel *k, policy **out, vm_error *e)
{
    uint64_t count = k->frames.count, most = k->cfg.resident_limit;
    policy_config cfg = {.sets = 1,
                         .slots = (uint32_t)count,
                         .seed = k->cfg.seed,
                         .bits = reclaim_bits(k),
                         .now = kernel_references,
                         .now_ud = k};
    if (most && !k->cfg.local)
        cfg.capacity = (uint32_t)(most < count ? most : count);
    return policy_new(k->host, &k->cfg.policy, &cfg, out, e);
}

static bool kernel_is_stamped(const kernel_config *c)
{
    return !c->policy.cls->exact || (c->policy.cls == &policy_lru && !c->local);
}

vm_status kernel_set_policy(kernel *k, const policy_choice *what, vm_error *e)
{
    size_t n = k->space_count; /* [0]: the kernel's own */
    policy **fresh = host_zalloc(k->host, n * sizeof *fresh);
    policy_choice was = k->cfg.policy;
    vm_status st = fresh ? VM_OK : vm_fail_nomem(e, "a replacement policy");
    k->cfg.policy = *what;
    for (size_t i = 0; i < n && st == VM_OK; i++) {
        const policy *old = i == 0 ? k->pol : k->spaces[i] ? k->spaces[i]->pol : NULL;
        if (old)
            st = kernel_new_policy(k, &fresh[i], e);
        if (old && st == VM_OK)
            st = policy_reserve(fresh[i], old->room, e);
    }
    for (uint64_t ppn = 0; ppn < k->frames.count && st == VM_OK; ppn++) {
        const frame *r = frames_at(&k->frames, ppn);
        if (r && frame_is_ruled(r))
            fresh[r->owner]->cls->insert(fresh[r->owner], 0, (uint32_t)ppn, r->key);
    }
    for (size_t i = 0; i < n && st == VM_OK; i++) {
        policy **at = i == 0 ? &k->pol : k->spaces[i] ? &k->spaces[i]->pol : &fresh[i], *old = *at;
        *at = fresh[i];
        fresh[i] = old; /* NULL where there was none */
    }
    if (st != VM_OK)
        k->cfg.policy = was;
    k->cfg.stamped = kernel_is_stamped(&k->cfg);
    for (size_t i = 0; i < n && fresh; i++)
        policy_delete(fresh[i]);
    host_free(k->host, fresh, n * sizeof *fresh);
    return st;
}

vm_status kernel_init(kernel *k, hardware *hw, const vm_host *host, const kernel_config *cfg,
                      vm_error *e)
{
    memset(k, 0, sizeof *k);
    k->hw = hw;
    k->host = host;
    k->cfg = *cfg;
    k->cfg.stamped = kernel_is_stamped(cfg);
    k->incoming = POLICY_NO_KEY;
    k->taken = FRAME_NONE;
    k->asid_generation = 1;
    k->space_hint = 1;
    k->next_asid = 1;
    k->process_count = k->space_count = k->file_count = 1;
    /* Without paging no frame is ever given out, however large memory is. */
    uint64_t count = hw->mmu->paging ? hw->mem.size >> hw->g.page_bits : 0;
    if (count > UINT32_MAX)
        return vm_fail(e, VM_INVALID,
                       "dram.size and paging.page make %llu frames; the kernel manages 2^32 - 1",
                       (unsigned long long)count);
    uint64_t low = UINT64_C(1) << (hw->g.pa_bits - hw->g.page_bits);
    k->low_frames = count < low ? count : low;
    vm_status s = frames_init(&k->frames, host, cfg->frames, count, e);
    if (s == VM_OK)
        s = swap_init(&k->swap, host, cfg->swap_slots, e);
    if (s == VM_OK)
        s = pool_init(&k->blocks, host, cfg->file_blocks, e);
    if (s == VM_OK)
        s = kernel_new_policy(k, &k->pol, e);
    if (s == VM_OK && !(k->copy = host_alloc(host, kernel_page(k))))
        s = vm_fail_nomem(e, "the kernel");
    k->boot.paged = hw->mmu->paging;
    for (unsigned i = 0; i < hw->cpu_count; i++)
        hw->cpus[i].mmu.paging = false; /* until kernel_boot */
    k->zero_ppn = FRAME_NONE;
    if (s == VM_OK && cfg->zero_frame && count)
        s = reclaim_take(k, NULL, 1, 1, FRAME_ZERO, &k->zero_ppn, e);
    if (s == VM_FAULT)
        s = vm_fail(e, VM_INVALID, "dram.size has no room for the page of zeros");
    if (s != VM_OK)
        kernel_free(k);
    return s;
}

static void space_free(kernel *k, space *s)
{
    if (s->watch)
        s->watch->gone(s->watch);
    for (area *a = s->areas.first, *next; a; a = next) {
        next = a->next;
        host_free(k->host, a, sizeof *a);
    }
    for (area *a = s->spare, *next; a; a = next) {
        next = a->next;
        host_free(k->host, a, sizeof *a);
    }
    policy_delete(s->pol);
    host_free(k->host, s, sizeof *s);
}

void kernel_free(kernel *k)
{
    for (size_t i = 1; i < k->process_count; i++)
        host_free(k->host, k->processes[i], sizeof(process));
    for (size_t i = 1; i < k->space_count; i++)
        if (k->spaces[i])
            space_free(k, k->spaces[i]);
    for (size_t i = 1; i < k->file_count; i++) {
        if (k->files[i])
            file_free_table(k->files[i], k->host);
        host_free(k->host, k->files[i], sizeof(file));
    }
    host_free(k->host, k->processes, k->process_cap * sizeof *k->processes);
    host_free(k->host, k->spaces, k->space_cap * sizeof *k->spaces);
    rmap_free(k);
    host_free(k->host, k->files, k->file_cap * sizeof *k->files);
    if (k->copy)
        host_free(k->host, k->copy, kernel_page(k));
    boot_free(k);
    policy_delete(k->pol);
    swap_free(&k->swap);
    pool_free(&k->blocks);
    frames_free(&k->frames);
    const vm_host *host = k->host;
    memset(k, 0, sizeof *k);
    k->host = host;
    k->process_count = k->space_count = k->file_count = 1;
}

process *process_find(const kernel *k, uint32_t pid)
{
    return pid > 0 && pid < k->process_count ? k->processes[pid] : NULL;
}

/* --- spaces ---------------------------------------------------------------------- */

static vm_status space_make(kernel *k, space **out, vm_error *e)
{
    uint32_t id = (uint32_t)k->space_hint; /* ids of spaces that have ended are taken again */
    while (id < k->space_count && k->spaces[id])
        id++;
    k->space_hint = id;
    void *list = k->spaces;
    bool room = host_grow(k->host, &list, &k->space_cap, (size_t)id + 1, sizeof *k->spaces);
    k->spaces = list;
    space *s = room ? host_zalloc(k->host, sizeof *s) : NULL;
    if (!s)
        return vm_fail_nomem(e, "an address space");
    s->id = id;
    s->users = 1;
    s->since = k->accesses(k->accesses_ud);
    /* Where a heap begins if nobody says: a sixteenth of the way up. */
    s->brk_start = s->brk = align_down(space_user_top(k) / 16, kernel_page(k));
    if (k->cfg.local) {
        vm_status st = kernel_new_policy(k, &s->pol, e);
        if (st != VM_OK) {
            host_free(k->host, s, sizeof *s);
            return st;
        }
    }
    if (id >= k->space_count)
        k->space_count = (size_t)id + 1;
    k->spaces[id] = s;
    *out = s;
    return VM_OK;
}

void space_drop(kernel *k, space *s)
{
    if (--s->users)
        return;
    space_clear(k, s, 0, space_user_top(k));
    kernel_flush(k, s);
    kernel_free_tables(k, s);
    kernel_stop(k, s);
    k->spaces[s->id] = NULL;
    if (s->id < k->space_hint)
        k->space_hint = s->id;
    space_free(k, s);
}

vm_status space_new(kernel *k, space **out, vm_error *e)
{
    uint64_t pte_pa; /* the root table at once: a machine too small for it says so now */
    vm_status st = space_make(k, out, e);
    if (st != VM_OK)
        return st;
    if (k->hw->mmu->paging)
        st = kernel_make_tables(k, *out, 0, k->hw->g.levels - 1, &pte_pa, e);
    if (st != VM_OK)
        space_drop(k, *out);
    return st;
}

/* The parent's areas, pages and tables, in a space of its own. */
static vm_status space_copy(kernel *k, space *from, space **out, vm_error *e)
{
    vm_status st = kernel_may_commit(k, from->committed, "fork", e);
    if (st == VM_OK)
        st = space_new(k, out, e);
    if (st != VM_OK)
        return st;
    space *to = *out;
    to->owner = from->owner; /* until the child is there */
    to->brk_start = from->brk_start;
    to->brk = from->brk;
    st = space_reserve(k, to, from->areas.count, e);
    for (const area *a = from->areas.first; a && st == VM_OK; a = a->next) {
        area copy = *a;
        copy.flags &= (uint16_t)~AREA_LOCKED; /* locks are not inherited */
        space_insert(k, to, &copy);
    }
    if (st == VM_OK)
        st = kernel_copy_tables(k, from, to, e);
    if (st != VM_OK)
        space_drop(k, to);
    return st;
}

/* --- processes --------------------------------------------------------------------- */

static vm_status process_make(kernel *k, space *s, const char *name, process **out, vm_error *e)
{
    void *list = k->processes;
    bool room =
        host_grow(k->host, &list, &k->process_cap, k->process_count + 1, sizeof *k->processes);
    k->processes = list;
    process *p = room ? host_zalloc(k->host, sizeof *p) : NULL;
    if (!p)
        return vm_fail_nomem(e, "a process");
    p->pid = (uint32_t)k->process_count;
    p->space = s;
    snprintf(p->name, sizeof p->name, "%s", name ? name : "");
    vm_status st = half_stack_take(k, p, e);
    if (st != VM_OK) {
        host_free(k->host, p, sizeof *p);
        return st;
    }
    cpu_place(k, p);
    k->processes[k->process_count++] = p;
    *out = p;
    return VM_OK;
}

static vm_status process_no_memory(const kernel *k, vm_error *e)
{
    return vm_fail(e, VM_INVALID,
                   "dram.size is %llu: no room for the root page table of a process (%llu bytes)",
                   (unsigned long long)k->hw->mem.size,
                   (unsigned long long)pt_table_bytes(&k->hw->g, k->hw->g.levels - 1));
}

static vm_status process_no_stack(const char *call, vm_status st, vm_error *e)
{
    return st == VM_FAULT ? vm_fail_sys(e, VM_REFUSED, ENOMEM,
                                        "%s: no memory for the child's kernel stack", call)
                          : st;
}

vm_status process_new(kernel *k, const char *name, process **out, vm_error *e)
{
    space *s = NULL;
    if (!k->boot.booted)
        return vm_fail(e, VM_INVALID,
                       "the machine has not booted: its paging is off until boot turns it on");
    vm_status st = space_new(k, &s, e);
    if (st == VM_FAULT)
        return process_no_memory(k, e);
    if (st != VM_OK)
        return st;
    st = process_make(k, s, name, out, e);
    if (st == VM_OK)
        s->owner = (*out)->pid;
    else
        space_drop(k, s);
    return st == VM_FAULT ? process_no_memory(k, e) : st;
}

/* The youngest child comes last. */
static void process_adopt(kernel *k, process *parent, process *c)
{
    c->parent = parent->pid;
    c->prev_sibling = parent->last_child;
    if (parent->last_child)
        k->processes[parent->last_child]->next_sibling = c->pid;
    else
        parent->first_child = c->pid;
    parent->last_child = c->pid;
}

/* From here on it is no child of anybody's. */
static void process_leave(kernel *k, process *c)
{
    process *parent = process_find(k, c->parent);
    process *prev = process_find(k, c->prev_sibling), *next = process_find(k, c->next_sibling);
    if (!parent)
        return;
    *(prev ? &prev->next_sibling : &parent->first_child) = c->next_sibling;
    *(next ? &next->prev_sibling : &parent->last_child) = c->prev_sibling;
    c->prev_sibling = c->next_sibling = 0;
}

vm_status process_fork(kernel *k, process *parent, process **out, vm_error *e)
{
    space *s;
    vm_status st = space_copy(k, parent->space, &s, e);
    if (st == VM_FAULT)
        return vm_fail_sys(e, VM_REFUSED, ENOMEM, "fork: no memory for the child's page tables");
    if (st != VM_OK)
        return st;
    st = process_make(k, s, parent->name, out, e);
    if (st != VM_OK) {
        space_drop(k, s);
        return process_no_stack("fork", st, e);
    }
    s->owner = (*out)->pid;
    process_adopt(k, parent, *out);
    (*out)->pc = parent->pc;
    (*out)->sp = parent->sp;
    k->n.forks++;
    kernel_emit(k, KEVENT_FORK, parent->pid, 0, (*out)->pid, 0);
    return VM_OK;
}

vm_status process_share(kernel *k, process *with, const char *name, bool vfork, process **out,
                        vm_error *e)
{
    vm_status st = process_make(k, with->space, name, out, e);
    if (st != VM_OK)
        return process_no_stack("clone", st, e);
    with->space->users++;
    process_adopt(k, with, *out);
    (*out)->pc = with->pc;
    (*out)->sp = with->sp;
    if (vfork) {
        (*out)->vfork_of = with->pid;
        with->state = PROCESS_BLOCKED;
    }
    return VM_OK;
}

/* The parent that waits for a vfork child goes on. */
static void process_end_vfork(kernel *k, process *p)
{
    process *parent = process_find(k, p->vfork_of);
    p->vfork_of = 0;
    if (parent && parent->state == PROCESS_BLOCKED)
        parent->state = PROCESS_RUNNING;
}

void process_take_space(kernel *k, process *p, space *s)
{
    space *old = p->space;
    p->space = s;
    if (s && !s->owner)
        s->owner = p->pid;
    space_drop(k, old);
    process_end_vfork(k, p);
}

static void process_reap(kernel *k, process *p)
{
    process_leave(k, p);
    p->state = PROCESS_REAPED;
}

void process_exit(kernel *k, process *p, int status, const char *signal)
{
    if (!p->space)
        return;
    process_take_space(k, p, NULL);
    cpu_leave(k, p);
    half_stack_give(k, p);
    p->exit_status = status;
    p->killed = signal;
    p->state = PROCESS_ZOMBIE;
    kernel_emit(k, KEVENT_EXIT, p->pid, 0, (uint64_t)(int64_t)status, 0);
    load_ended(k);
    while (p->first_child) { /* orphans are the host's */
        process *c = k->processes[p->first_child];
        process_leave(k, c);
        c->parent = 0;
        if (c->state == PROCESS_ZOMBIE)
            process_reap(k, c);
    }
    if (p->parent == 0)
        process_reap(k, p);
}

vm_status process_wait(kernel *k, process *p, uint32_t pid, process **out, vm_error *e)
{
    bool any = false;
    for (uint32_t next = p->first_child; next;) {
        process *c = k->processes[next];
        next = c->next_sibling;
        if (pid && c->pid != pid)
            continue;
        any = true;
        if (c->state != PROCESS_ZOMBIE)
            continue;
        process_reap(k, c);
        *out = c;
        return VM_OK;
    }
    return any ? vm_fail_sys(e, VM_REFUSED, EAGAIN, "wait: no child of process %u has ended yet",
                             p->pid)
               : vm_fail_sys(e, VM_REFUSED, ECHILD, "wait: process %u has no such child", p->pid);
}

void process_clear(kernel *k, process *p)
{
    space *s = p->space;
    kernel_emit(k, KEVENT_EXEC, p->pid, 0, s->resident, 0);
    space_clear(k, s, 0, space_user_top(k));
    s->brk = s->brk_start;
}
