/* opt.c: OPT, which gives up the page whose next reference is the farthest: no
 * policy misses less often. It serves where the future is known.
 *
 * Pages that will be used again stand in a set at the position of their next use:
 * the last of it is the victim. Pages that will not are chosen first; among those
 * it is the one that has been resident longest (its position of arrival is the
 * least), so that the victims, and with them write-backs, are the same everywhere.
 * Source: Belady, "A study of replacement algorithms for a virtual-storage
 * computer", 1966, MIN.
 *
 * Invariant: a full slot is in exactly one set: in `again` at its next use, which is
 * still to come, or in `done` at its arrival; at[slot] is that position.
 */
#include "policy.h"

#include "../base/bitset.h"

typedef struct opt_policy {
    policy base;
    bitset again, done;
    uint32_t *slot_at; /* by position in either set: no position is in both */
    uint32_t *at;      /* by slot */
    uint32_t *arrival; /* by slot; POLICY_NONE: empty */
} opt_policy;

static vm_status opt_init(policy *p, vm_error *e)
{
    opt_policy *o = (opt_policy *)p;
    const policy_future *f = p->cfg.future;
    if (!f)
        return vm_fail(e, VM_INVALID, "policy opt must know the future, which only a study does");
    bool whole = bitset_init(&o->again, p->host, f->count);
    whole = bitset_init(&o->done, p->host, f->count) && whole;
    o->slot_at = host_alloc(p->host, f->count * sizeof *o->slot_at);
    return whole && o->slot_at ? VM_OK : vm_fail_nomem(e, "an OPT policy");
}

static void opt_free(policy *p)
{
    opt_policy *o = (opt_policy *)p;
    bitset_free(&o->again, p->host);
    bitset_free(&o->done, p->host);
    if (p->cfg.future)
        host_free(p->host, o->slot_at, p->cfg.future->count * sizeof *o->slot_at);
    host_free(p->host, o->at, p->room * sizeof *o->at);
    host_free(p->host, o->arrival, p->room * sizeof *o->arrival);
}

static vm_status opt_reserve(policy *p, uint32_t n, vm_error *e)
{
    opt_policy *o = (opt_policy *)p;
    uint32_t *at = host_alloc(p->host, n * sizeof *at);
    uint32_t *arrival = host_alloc(p->host, n * sizeof *arrival);
    if (!at || !arrival) {
        host_free(p->host, at, n * sizeof *at);
        host_free(p->host, arrival, n * sizeof *arrival);
        return vm_fail_nomem(e, "an OPT policy");
    }
    if (p->room) {
        memcpy(at, o->at, p->room * sizeof *at);
        memcpy(arrival, o->arrival, p->room * sizeof *arrival);
    }
    memset(arrival + p->room, 0xff, (n - p->room) * sizeof *arrival);
    host_free(p->host, o->at, p->room * sizeof *o->at);
    host_free(p->host, o->arrival, p->room * sizeof *o->arrival);
    o->at = at;
    o->arrival = arrival;
    p->room = n;
    return VM_OK;
}

static void opt_remove(policy *p, uint32_t set, uint32_t slot)
{
    (void)set;
    opt_policy *o = (opt_policy *)p;
    if (o->arrival[slot] == POLICY_NONE)
        return;
    bitset *b = o->at[slot] > p->cfg.future->at ? &o->again : &o->done;
    bitset_remove(b, o->at[slot]);
    o->arrival[slot] = POLICY_NONE;
}

/* The slot's page is referenced now. */
static void opt_place(opt_policy *o, uint32_t slot)
{
    const policy_future *f = o->base.cfg.future;
    uint32_t next = f->next_use[f->at];
    bool again = next != UINT32_MAX;
    o->at[slot] = again ? next : o->arrival[slot];
    o->slot_at[o->at[slot]] = slot;
    bitset_add(again ? &o->again : &o->done, o->at[slot]);
}

static void opt_insert(policy *p, uint32_t set, uint32_t slot, uint64_t key)
{
    (void)key;
    opt_policy *o = (opt_policy *)p;
    opt_remove(p, set, slot);
    o->arrival[slot] = (uint32_t)p->cfg.future->at;
    opt_place(o, slot);
}

static void opt_touch(policy *p, uint32_t set, uint32_t slot, bool write)
{
    (void)set;
    (void)write;
    opt_policy *o = (opt_policy *)p;
    bitset_remove(&o->again, o->at[slot]);
    opt_place(o, slot);
}

static vm_status opt_victim(policy *p, uint32_t set, uint64_t key, uint32_t *slot, vm_error *e)
{
    (void)set;
    (void)key;
    opt_policy *o = (opt_policy *)p;
    size_t at = bitset_first(&o->done);
    if (at == BITSET_NONE)
        at = bitset_last(&o->again);
    if (at == BITSET_NONE)
        return policy_no_victim(p, e);
    *slot = p->chosen = o->slot_at[at];
    return VM_OK;
}

static const char *opt_check(const policy *p)
{
    const opt_policy *o = (const opt_policy *)p;
    for (uint32_t i = 0; i < p->room; i++)
        if (o->arrival[i] != POLICY_NONE &&
            (o->slot_at[o->at[i]] != i ||
             bitset_has(&o->again, o->at[i]) == bitset_has(&o->done, o->at[i])))
            return "opt: a full slot is not in exactly one set";
    return NULL;
}

const policy_class policy_opt = {
    .name = "opt",
    .doc = "the page used again last, the optimum; where the future is known; a bit in a set a "
           "reference, 8 bytes a slot and 4 a reference (Belady 1966)",
    .serves = POLICY_STUDIES,
    .exact = true,
    .size = sizeof(opt_policy),
    .init = opt_init,
    .free = opt_free,
    .reserve = opt_reserve,
    .insert = opt_insert,
    .touch = opt_touch,
    .victim = opt_victim,
    .remove = opt_remove,
    .check = opt_check,
};
