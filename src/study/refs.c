#include "refs.h"

#define REFS_MOST  (UINT32_MAX - 0xffffu)
#define REFS_BATCH 64 /* pages looked up at once: the host fetches their entries together */

study_refs *study_refs_new(const vm_host *host, unsigned page_bits, bool apart, vm_error *e)
{
    study_refs *r = host_zalloc(host, sizeof *r);
    if (!r) {
        vm_fail_nomem(e, "a reference string");
        return NULL;
    }
    r->host = *host;
    r->page_bits = page_bits;
    r->apart = apart;
    return r;
}

void study_refs_free(study_refs *r)
{
    if (!r)
        return;
    vm_host host = r->host;
    host_free(&host, r->refs, r->ref_cap * sizeof *r->refs);
    host_free(&host, r->number, r->number_cap * sizeof *r->number);
    host_free(&host, r->owner, r->owner_cap * sizeof *r->owner);
    host_free(&host, r->process, r->process_cap * sizeof *r->process);
    host_free(&host, r->process_of, r->task_cap * sizeof *r->process_of);
    host_free(&host, r->table, r->table_size * sizeof *r->table);
    host_free(&host, r->next_use, r->count * sizeof *r->next_use);
    host_free(&host, r, sizeof *r);
}

/* --- processes ----------------------------------------------------------------- */

static vm_status refs_name_task(study_refs *r, uint32_t task, uint32_t owner, vm_error *e)
{
    if (!host_grow(&r->host, (void **)&r->process_of, &r->task_cap, task + 1u,
                   sizeof *r->process_of))
        return vm_fail_nomem(e, "a reference string");
    while (r->tasks <= task)
        r->process_of[r->tasks++] = 0;
    r->process_of[task] = owner + 1;
    return VM_OK;
}

static bool refs_has_task(const study_refs *r, uint32_t task)
{
    return task < r->tasks && r->process_of[task] != 0;
}

/* The process of a task; a new one if it has none. */
static vm_status refs_process(study_refs *r, uint32_t task, uint32_t *owner, vm_error *e)
{
    if (!r->apart && r->processes > 0) {
        *owner = 0;
        return VM_OK;
    }
    if (!refs_has_task(r, task)) {
        if (!host_grow(&r->host, (void **)&r->process, &r->process_cap, r->processes + 1,
                       sizeof *r->process))
            return vm_fail_nomem(e, "a reference string");
        vm_status s = refs_name_task(r, task, (uint32_t)r->processes, e);
        if (s != VM_OK)
            return s;
        r->process[r->processes++] = (study_process){.task = task};
    }
    *owner = r->process_of[task] - 1;
    return VM_OK;
}

static vm_status refs_event(study_refs *r, const access_event *v, vm_error *e)
{
    uint32_t owner;
    if (v->type != EVENT_THREAD || !r->apart || v->arg[0] > UINT16_MAX)
        return VM_OK;
    vm_status s = refs_process(r, v->task, &owner, e);
    return s == VM_OK ? refs_name_task(r, (uint32_t)v->arg[0], owner, e) : s;
}

/* --- pages ------------------------------------------------------------------------ */

static size_t refs_hash(uint64_t number, uint32_t owner)
{
    uint64_t x = (number ^ (uint64_t)owner << 44) * UINT64_C(0x9e3779b97f4a7c15);
    return (size_t)(x ^ x >> 32);
}

/* Room for `more` further pages, with a table at most two thirds full. */
static vm_status refs_reserve(study_refs *r, size_t more, vm_error *e)
{
    size_t need = r->pages + more;
    if (need > STUDY_PAGE)
        return vm_fail(e, VM_INVALID, "the trace touches more than %u pages", STUDY_PAGE);
    if (!host_grow(&r->host, (void **)&r->number, &r->number_cap, need, sizeof *r->number) ||
        !host_grow(&r->host, (void **)&r->owner, &r->owner_cap, need, sizeof *r->owner))
        return vm_fail_nomem(e, "the pages of a reference string");
    if (need * 3 <= r->table_size * 2)
        return VM_OK;
    size_t size = r->table_size ? r->table_size * 2 : 256;
    study_entry *t = host_zalloc(&r->host, size * sizeof *t);
    if (!t)
        return vm_fail_nomem(e, "the pages of a reference string");
    for (size_t p = 0; p < r->pages; p++) {
        size_t at = refs_hash(r->number[p], r->owner[p]) & (size - 1);
        while (t[at].page)
            at = (at + 1) & (size - 1);
        t[at] = (study_entry){r->number[p], r->owner[p], (uint32_t)p + 1};
    }
    host_free(&r->host, r->table, r->table_size * sizeof *t);
    r->table = t;
    r->table_size = size;
    return VM_OK;
}

/* A reference whose page is not looked up yet. */
typedef struct refs_want {
    uint64_t number;
    size_t hash;
    uint32_t process;
    uint32_t write; /* 0 or STUDY_WRITE */
} refs_want;

static uint32_t refs_page(study_refs *r, const refs_want *w)
{
    size_t mask = r->table_size - 1, at = w->hash & mask;
    study_entry *t = r->table;
    for (; t[at].page; at = (at + 1) & mask)
        if (t[at].number == w->number && t[at].process == w->process)
            return t[at].page - 1;
    uint32_t page = (uint32_t)r->pages++;
    t[at] = (study_entry){w->number, w->process, page + 1};
    r->number[page] = w->number;
    r->owner[page] = (uint16_t)w->process;
    r->process[w->process].pages++;
    return page;
}

static vm_status refs_flush(study_refs *r, const refs_want *w, size_t n, vm_error *e)
{
    if (r->count + n > REFS_MOST)
        return vm_fail(e, VM_INVALID, "the trace has more than %u references", REFS_MOST);
    vm_status s = refs_reserve(r, n, e);
    if (s != VM_OK)
        return s;
    if (!host_grow(&r->host, (void **)&r->refs, &r->ref_cap, r->count + n + STUDY_AHEAD,
                   sizeof *r->refs))
        return vm_fail_nomem(e, "a reference string");
    for (size_t i = 0; i < n; i++)
        VM_PREFETCH(&r->table[w[i].hash & (r->table_size - 1)]);
    for (size_t i = 0; i < n; i++) {
        r->refs[r->count++] = refs_page(r, &w[i]) | w[i].write;
        r->process[w[i].process].refs++;
    }
    return VM_OK;
}

vm_status study_refs_add(study_refs *r, const trace_block *b, vm_error *e)
{
    refs_want w[REFS_BATCH];
    size_t n = 0;
    vm_status s = VM_OK;
    uint32_t task = UINT32_MAX, owner = 0;
    for (size_t i = 0; i < b->count && s == VM_OK; i++) {
        const access_record *a = &b->records[i];
        if (a->kind == ACCESS_EVENT) {
            s = refs_event(r, &b->events[a->addr], e);
            task = UINT32_MAX;
            continue;
        }
        if (a->task != task) {
            s = refs_process(r, a->task, &owner, e);
            task = a->task;
        }
        uint32_t write = a->kind >= ACCESS_STORE ? STUDY_WRITE : 0;
        r->writes = r->writes || write;
        uint64_t number = a->addr >> r->page_bits;
        /* An access may not go round the end of the address space. */
        uint64_t last = a->size - 1 <= UINT64_MAX - a->addr ? a->addr + a->size - 1 : UINT64_MAX;
        last >>= r->page_bits;
        for (; s == VM_OK; number++) {
            w[n++] = (refs_want){number, refs_hash(number, owner), owner, write};
            if (n == REFS_BATCH) {
                s = refs_flush(r, w, n, e);
                n = 0;
            }
            if (number == last)
                break;
        }
    }
    return s == VM_OK && n > 0 ? refs_flush(r, w, n, e) : s;
}

vm_status study_refs_end(study_refs *r, vm_error *e)
{
    if (!host_grow(&r->host, (void **)&r->refs, &r->ref_cap, r->count + STUDY_AHEAD,
                   sizeof *r->refs))
        return vm_fail_nomem(e, "a reference string");
    memset(r->refs + r->count, 0, STUDY_AHEAD * sizeof *r->refs);
    host_free(&r->host, r->table, r->table_size * sizeof *r->table);
    r->table = NULL;
    r->table_size = 0;
    r->ended = true;
    return VM_OK;
}

vm_status study_refs_next(study_refs *r, vm_error *e)
{
    if (r->next_use)
        return VM_OK;
    uint32_t *next = host_alloc(&r->host, r->count * sizeof *next);
    uint32_t *seen = host_alloc(&r->host, r->pages * sizeof *seen);
    if (!next || !seen) {
        host_free(&r->host, next, r->count * sizeof *next);
        host_free(&r->host, seen, r->pages * sizeof *seen);
        return vm_fail_nomem(e, "the next uses of a reference string");
    }
    memset(seen, 0xff, r->pages * sizeof *seen);
    for (size_t i = r->count; i-- > 0;) {
        if (i >= STUDY_AHEAD)
            VM_PREFETCH(&seen[r->refs[i - STUDY_AHEAD] & STUDY_PAGE]);
        uint32_t page = r->refs[i] & STUDY_PAGE;
        next[i] = seen[page];
        seen[page] = (uint32_t)i;
    }
    host_free(&r->host, seen, r->pages * sizeof *seen);
    r->next_use = next;
    return VM_OK;
}
