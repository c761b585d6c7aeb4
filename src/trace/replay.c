#include "replay.h"

#include <stdio.h>

#define REPLAY_NEAR  (UINT64_C(1) << 20) /* areas grow over gaps up to this */
#define REPLAY_STACK (UINT64_C(1) << 30) /* of the top of the space, is stack */

vm_status replay_begin(replay *r, machine *m, process *first, vm_error *e)
{
    memset(r, 0, sizeof *r);
    r->m = m;
    r->host = &m->host;
    r->tasks = host_zalloc(r->host, REPLAY_TASKS * sizeof *r->tasks);
    if (!r->tasks)
        return vm_fail_nomem(e, "a replay");
    r->tasks[0] = first;
    r->processes = 1;
    return VM_OK;
}

void replay_end(replay *r)
{
    if (r->tasks)
        host_free(r->host, r->tasks, REPLAY_TASKS * sizeof *r->tasks);
    r->tasks = NULL;
}

static vm_status replay_task(replay *r, uint16_t task, process **out, vm_error *e)
{
    vm_status s = VM_OK;
    if (!r->tasks[task]) {
        char name[24];
        snprintf(name, sizeof name, "task %u", task);
        s = process_new(&r->m->kernel, name, &r->tasks[task], e);
        r->processes += s == VM_OK;
    }
    *out = r->tasks[task];
    return s;
}

/* --- what no event has mapped --------------------------------------------------- */

/* Does the area belong to those that are made when they are touched? */
static bool replay_made(const area *a)
{
    return strcmp(a->name, "[code]") == 0 || strcmp(a->name, "[data]") == 0 ||
           strcmp(a->name, "[stack]") == 0;
}

static vm_status replay_unmendable(vm_error *e) { return vm_fail(e, VM_FAULT, "SIGSEGV"); }

/* Mend a fault that the program itself did not have: map, or permit, the page. */
static vm_status replay_map(void *ud, machine *m, process *p, const fault_info *f, vm_error *e)
{
    replay *r = ud;
    kernel *k = &m->kernel;
    space *s = p->space;
    vm_status own = r->before ? r->before(r->before_ud, m, p, f, e) : VM_FAULT;
    if (own != VM_FAULT || !p->space || strcmp(f->signal, "SIGSEGV") != 0)
        return own;
    uint64_t page = kernel_page(k), at, start = align_down(f->addr, page), stop = start + page;
    unsigned prot = f->access == ACCESS_FETCH ? PROT_R | PROT_X : PROT_R | PROT_W;
    const area *a = area_find(&s->areas, f->addr);
    if (!pt_canonical(&k->hw->g, f->addr) || f->addr >= space_user_top(k))
        return replay_unmendable(e);
    k->n.faults--;            /* the program did not have this one */
    if (a && !replay_made(a)) /* its own mprotect was not seen */
        return space_protect(k, s, start, page, a->prot | prot, e);
    if (a)
        return space_protect(k, s, a->start, a->stop - a->start, a->prot | prot, e);
    const char *name =
        f->access == ACCESS_FETCH ? "[code]"
        : space_user_top(k) - f->addr < REPLAY_STACK && space_user_top(k) > 2 * REPLAY_STACK
            ? "[stack]"
            : "[data]";
    /* Grow a neighbour of the same kind over a short gap, downwards or upwards. */
    const area *above = area_above(&s->areas, f->addr);
    const area *below = above ? above->prev : s->areas.last;
    if (below && strcmp(below->name, name) == 0 && start - below->stop < REPLAY_NEAR) {
        start = below->stop;
        prot = below->prot;
    } else if (above && strcmp(above->name, name) == 0 && above->start - stop < REPLAY_NEAR) {
        stop = above->start;
        prot = above->prot;
    }
    map_request req = {
        .addr = start, .length = stop - start, .prot = prot, .fixed = true, .name = name};
    vm_status st = space_map(k, s, &req, &at, e);
    r->mapped += st == VM_OK;
    return st == VM_REFUSED ? replay_unmendable(e) : st;
}

/* --- events --------------------------------------------------------------------- */

typedef vm_status replay_handler(replay *r, process *p, const access_event *ev, vm_error *e);

/* The system calls of another page size come in pages of this machine. */
static uint64_t whole_pages(const replay *r, uint64_t addr, uint64_t length)
{
    uint64_t page = kernel_page(&r->m->kernel);
    return align_up(addr + length, page) - align_down(addr, page);
}

static uint64_t page_start(const replay *r, uint64_t addr)
{
    return align_down(addr, kernel_page(&r->m->kernel));
}

static vm_status replay_mmap(replay *r, process *p, const access_event *ev, vm_error *e)
{
    const char *name = ev->name, *slash = name ? strrchr(name, '/') : NULL;
    uint64_t at;
    map_request req = {.addr = page_start(r, ev->arg[0]),
                       .length = whole_pages(r, ev->arg[0], ev->arg[1]),
                       .prot = (unsigned)ev->arg[2] & (PROT_R | PROT_W | PROT_X),
                       .fixed = true,
                       .name = slash ? slash + 1 : name};
    return space_map(&r->m->kernel, p->space, &req, &at, e);
}

static vm_status replay_munmap(replay *r, process *p, const access_event *ev, vm_error *e)
{
    return space_unmap(&r->m->kernel, p->space, page_start(r, ev->arg[0]),
                       whole_pages(r, ev->arg[0], ev->arg[1]), e);
}

static vm_status replay_mprotect(replay *r, process *p, const access_event *ev, vm_error *e)
{
    return space_protect(&r->m->kernel, p->space, page_start(r, ev->arg[0]),
                         whole_pages(r, ev->arg[0], ev->arg[1]), (unsigned)ev->arg[2], e);
}

static vm_status replay_mremap(replay *r, process *p, const access_event *ev, vm_error *e)
{
    uint64_t at, from = page_start(r, ev->arg[0]), to = page_start(r, ev->arg[2]);
    return space_remap(&r->m->kernel, p->space, from, whole_pages(r, ev->arg[0], ev->arg[1]),
                       to == from ? 0 : to, whole_pages(r, ev->arg[2], ev->arg[3]), false, &at, e);
}

static vm_status replay_brk(replay *r, process *p, const access_event *ev, vm_error *e)
{
    space *s = p->space;
    if (s->brk == s->brk_start &&
        !area_find(&s->areas, s->brk_start)) /* the first says where it is */
        s->brk_start = s->brk = page_start(r, ev->arg[0]);
    return space_set_brk(&r->m->kernel, s, ev->arg[0], e);
}

static vm_status replay_thread(replay *r, process *p, const access_event *ev, vm_error *e)
{
    uint16_t task = (uint16_t)ev->arg[0];
    if (r->tasks[task] && r->tasks[task]->space)
        return VM_OK;
    return process_share(&r->m->kernel, p, p->name, false, &r->tasks[task], e);
}

/* A child that was seen before it was born, by an access that came first, stays as
 * it is. */
static vm_status replay_fork(replay *r, process *p, const access_event *ev, vm_error *e)
{
    process **child = &r->tasks[(uint16_t)ev->arg[0]];
    if (*child && (*child)->space)
        return VM_OK;
    vm_status s = process_fork(&r->m->kernel, p, child, e);
    r->processes += s == VM_OK;
    return s;
}

static vm_status replay_exec(replay *r, process *p, const access_event *ev, vm_error *e)
{
    (void)ev;
    (void)e;
    process_clear(&r->m->kernel, p);
    return VM_OK;
}

static vm_status replay_exit(replay *r, process *p, const access_event *ev, vm_error *e)
{
    (void)e;
    /* The caller's process stays, so that its pages can be looked at afterwards. */
    if (p != r->tasks[0])
        process_exit(&r->m->kernel, p, (int)ev->arg[0], NULL);
    return VM_OK;
}

static replay_handler *const replay_handlers[EVENT_TYPES] = {
    [EVENT_MMAP] = replay_mmap,         [EVENT_MUNMAP] = replay_munmap,
    [EVENT_MPROTECT] = replay_mprotect, [EVENT_MREMAP] = replay_mremap,
    [EVENT_BRK] = replay_brk,           [EVENT_FORK] = replay_fork,
    [EVENT_THREAD] = replay_thread,     [EVENT_EXEC] = replay_exec,
    [EVENT_EXIT] = replay_exit,
};

static vm_status replay_event(replay *r, process *p, const access_event *ev, vm_error *e)
{
    r->events++;
    if (!p->space || ev->type >= EVENT_TYPES || !replay_handlers[ev->type])
        return VM_OK;
    kernel_enter(&r->m->kernel, p);
    vm_status s = replay_handlers[ev->type](r, p, ev, e);
    if (s == VM_REFUSED) { /* what is touched of it will be mapped then */
        r->skipped_events++;
        return VM_OK;
    }
    if (s == VM_FAULT) /* no memory for its page tables */
        r->fault = (fault_info){"SIGKILL", "OOM", ev->arg[0], ACCESS_STORE, p->pid};
    return s;
}

/* --- blocks ----------------------------------------------------------------------- */

vm_status replay_block(replay *r, const trace_block *b, size_t *done, vm_error *e)
{
    vm_status s = VM_OK;
    size_t i = 0;
    r->before = r->m->mend;
    r->before_ud = r->m->mend_ud;
    r->m->mend = replay_map;
    r->m->mend_ud = r;
    while (i < b->count && s == VM_OK) {
        const access_record *rec = &b->records[i];
        process *p;
        s = replay_task(r, rec->task, &p, e);
        if (s != VM_OK)
            break;
        if (rec->kind == ACCESS_EVENT) {
            s = replay_event(r, p, &b->events[rec->addr], e);
            i += s == VM_OK;
            continue;
        }
        if (!p->space) { /* killed before, or ended: what it still did, it did not here */
            i++;
            continue;
        }
        size_t ran;
        s = machine_run(r->m, p, rec->task, rec, b->count - i, &ran, &r->fault, e);
        i += ran;
        r->accesses += ran;
    }
    r->m->mend = r->before;
    r->m->mend_ud = r->before_ud;
    *done = i;
    return s;
}
