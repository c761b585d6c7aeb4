#include "quick.h"

#define RUN_SOON 16 /* references from where a page's place is known to when it matters */

static bool run_dirty(void *ud, uint32_t slot)
{
    const study_pool *mem = ud;
    return mem->run->where[mem->page_in[slot]] & 1;
}

static vm_status run_pool(study_run *r, study_pool *mem, const study_run_options *o, size_t i,
                          vm_error *e)
{
    uint64_t most = o->pools > 1 ? r->refs->process[i].pages : r->refs->pages;
    mem->run = r;
    mem->frames = o->frames[i];
    mem->room = (uint32_t)(mem->frames < most ? mem->frames : most);
    mem->page_in = host_alloc(&r->host, mem->room * sizeof *mem->page_in);
    if (!mem->page_in)
        return vm_fail_nomem(e, "a paging study");
    uint32_t slots = mem->frames < POLICY_NONE ? (uint32_t)mem->frames : POLICY_NONE - 1;
    policy_config c = {.sets = 1,
                       .slots = slots,
                       .capacity = slots,
                       .keys = r->refs->pages,
                       .seed = o->seed,
                       .bits = {mem, NULL, run_dirty},
                       .future = r->future.next_use ? &r->future : NULL};
    vm_status s = policy_new(&r->host, &o->policy, &c, &mem->policy, e);
    return s == VM_OK && mem->room > 0 ? policy_reserve(mem->policy, mem->room, e) : s;
}

static vm_status run_pools(study_run *r, const study_run_options *o, vm_error *e)
{
    r->where = host_zalloc(&r->host, r->refs->pages * sizeof *r->where);
    r->pool = host_zalloc(&r->host, o->pools * sizeof *r->pool);
    r->pools = r->pool ? o->pools : 0;
    if (o->log)
        r->log = host_alloc(&r->host, r->refs->count * sizeof *r->log);
    vm_status s = VM_OK;
    if (!r->where || !r->pool || (o->log && !r->log))
        s = vm_fail_nomem(e, "a paging study");
    for (size_t i = 0; i < r->pools && s == VM_OK; i++)
        s = run_pool(r, &r->pool[i], o, i, e);
    return s;
}

vm_status study_run_new(const vm_host *host, const study_refs *refs, const study_run_options *o,
                        study_run **out, vm_error *e)
{
    study_run *r = host_zalloc(host, sizeof *r);
    *out = NULL;
    if (!r)
        return vm_fail_nomem(e, "a paging study");
    r->host = *host;
    r->refs = refs;
    r->future = (policy_future){.next_use = refs->next_use, .count = refs->count};
    r->dirty = o->dirty && refs->writes;
    r->counts = host_zalloc(host, refs->processes * sizeof *r->counts);
    vm_status s = r->counts ? VM_OK : vm_fail_nomem(e, "a paging study");
    if (s == VM_OK && o->pools == 1 && !o->log && !o->plain) {
        uint64_t room = o->frames[0] < refs->pages ? o->frames[0] : refs->pages;
        s = study_quick_new(r, &o->policy, (uint32_t)room, &r->quick, e);
    }
    if (s == VM_OK && !r->quick)
        s = run_pools(r, o, e);
    if (s != VM_OK) {
        study_run_free(r);
        return s;
    }
    *out = r;
    return VM_OK;
}

void study_run_free(study_run *r)
{
    if (!r)
        return;
    vm_host host = r->host;
    study_quick_free(r->quick);
    for (size_t i = 0; i < r->pools; i++) {
        policy_delete(r->pool[i].policy);
        host_free(&host, r->pool[i].page_in, r->pool[i].room * sizeof *r->pool[i].page_in);
    }
    host_free(&host, r->pool, r->pools * sizeof *r->pool);
    host_free(&host, r->where, r->refs->pages * sizeof *r->where);
    host_free(&host, r->counts, r->refs->processes * sizeof *r->counts);
    host_free(&host, r->log, r->refs->count * sizeof *r->log);
    host_free(&host, r, sizeof *r);
}

static vm_status run_evict(study_run *r, study_pool *mem, uint32_t page, uint32_t *slot,
                           vm_error *e)
{
    const policy_class *cls = mem->policy->cls;
    vm_status s = cls->victim(mem->policy, 0, page, slot, e);
    if (s != VM_OK)
        return s;
    if (*slot >= mem->used)
        return vm_fail(e, VM_POLICY, "policy %s: its victim is slot %u, but only 0 to %u are full",
                       cls->name, *slot, mem->used - 1);
    uint32_t victim = mem->page_in[*slot];
    /* What is known of the victim is far from the host's caches: it is read only if it must
     * be, and else only written. */
    study_counts *c = study_counts_of(r, victim);
    c->evictions++;
    if (r->dirty)
        c->writebacks += r->where[victim] & 1;
    r->where[victim] = 0;
    return VM_OK;
}

/* Bring a page in. */
static VM_NOINLINE vm_status run_miss(study_run *r, uint32_t page, uint32_t write, vm_error *e)
{
    study_pool *mem = &r->pool[r->pools > 1 ? r->refs->owner[page] : 0];
    uint32_t slot;
    study_missed(r, page);
    if (mem->used < mem->room) {
        slot = mem->used++;
    } else {
        vm_status s = run_evict(r, mem, page, &slot, e);
        if (s != VM_OK)
            return s;
    }
    mem->page_in[slot] = page;
    r->where[page] = (slot + 1) << 1 | write;
    mem->policy->cls->insert(mem->policy, 0, slot, page);
    if (r->log)
        r->log[r->future.at] = slot << 1;
    return VM_OK;
}

vm_status study_run_to(study_run *r, size_t until, vm_error *e)
{
    const study_refs *refs = r->refs;
    const uint32_t writes = r->dirty ? STUDY_WRITE : 0;
    if (r->failed)
        return vm_fail(e, VM_INVALID, "this study has failed before");
    if (until > refs->count)
        until = refs->count;
    if (r->quick) {
        study_quick_to(r->quick, until);
        return VM_OK;
    }
    const policy *only = r->pools == 1 && r->pool->policy->cls->ahead ? r->pool->policy : NULL;
    for (; r->future.at < until; r->future.at++) {
        uint32_t word = refs->refs[r->future.at], page = word & STUDY_PAGE;
        uint32_t write = (word & writes) >> 31;
        VM_PREFETCH(&r->where[refs->refs[r->future.at + STUDY_AHEAD] & STUDY_PAGE]);
        if (only) {
            uint32_t soon = refs->refs[r->future.at + RUN_SOON] & STUDY_PAGE;
            if (r->where[soon] == 0)
                only->cls->ahead(only, soon);
        }
        uint32_t at = r->where[page];
        if (VM_UNLIKELY(at == 0)) {
            vm_status s = run_miss(r, page, write, e);
            if (s != VM_OK) {
                r->failed = true;
                return s;
            }
            continue;
        }
        policy *p = r->pool[r->pools > 1 ? refs->owner[page] : 0].policy;
        if (write)
            r->where[page] = at | 1;
        if (p->stamps)
            p->stamps[(at >> 1) - 1] = ++p->tick;
        else if (!p->cls->touch_is_noop)
            p->cls->touch(p, 0, (at >> 1) - 1, word >= STUDY_WRITE);
        if (r->log)
            r->log[r->future.at] = ((at >> 1) - 1) << 1 | 1;
    }
    return VM_OK;
}
