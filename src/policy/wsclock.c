/* wsclock.c: CLOCK with working sets: pages know when they were used last, as far as
 * their reference bits tell, and those older than `tau` are in nobody's working set.
 *
 * The hand passes the slots in the order of their numbers. A referenced page loses its
 * bit and was used now. One that was not and is older than tau is the victim if it is
 * clean; if it is dirty, its write is due, and the hand goes on. After a whole round
 * the first whose write was due goes, since it would be clean first; if there was
 * none, the first clean page; if there is none of those, the first at all.
 * The hand stays behind the victim.
 *
 * Time is the number of references made so far, or of pages that entered.
 * Source: Carr and Hennessy, "WSClock: a simple and effective algorithm for virtual
 * memory management", 1981; what to do after a round as in Tanenbaum and Bos, Modern
 * Operating Systems, 3.4.9. There the writes of pages passed over are begun in the
 * background; here only victims are written.
 */
#include "policy.h"

typedef struct wsclock_slot {
    uint64_t used_at;
    uint8_t full, used;
} wsclock_slot;

typedef struct wsclock {
    policy base;
    wsclock_slot *slots;
    uint32_t hand, full;
    uint64_t faults, told; /* pages that entered; references told of */
} wsclock;

enum { WSCLOCK_TAU, WSCLOCK_UNIT };
enum { WSCLOCK_REFERENCES, WSCLOCK_FAULTS };

static const char *const wsclock_units[] = {"references", "faults", NULL};
static const policy_param wsclock_params[] = {
    [WSCLOCK_TAU] = {"tau", POLICY_INTEGER, 10000, 0, 1e15, NULL,
                     "a page not used for longer is in no working set; references or faults"},
    [WSCLOCK_UNIT] = {"unit", POLICY_NAME, WSCLOCK_REFERENCES, 0, 1, wsclock_units,
                      "what time is counted in"},
    {0},
};

static uint64_t wsclock_now(const policy *p)
{
    const wsclock *w = (const wsclock *)p;
    if (p->param[WSCLOCK_UNIT] == WSCLOCK_FAULTS)
        return w->faults;
    return p->cfg.now ? p->cfg.now(p->cfg.now_ud) : w->told;
}

static vm_status wsclock_init(policy *p, vm_error *e)
{
    (void)p;
    (void)e;
    return VM_OK;
}

static void wsclock_free(policy *p)
{
    policy_free_slots(p, ((wsclock *)p)->slots, sizeof(wsclock_slot));
}

static vm_status wsclock_reserve(policy *p, uint32_t n, vm_error *e)
{
    return policy_grow(p, (void **)&((wsclock *)p)->slots, sizeof(wsclock_slot), n, e);
}

static void wsclock_remove(policy *p, uint32_t set, uint32_t slot)
{
    (void)set;
    wsclock *w = (wsclock *)p;
    w->full -= w->slots[slot].full;
    w->slots[slot] = (wsclock_slot){0};
}

static void wsclock_insert(policy *p, uint32_t set, uint32_t slot, uint64_t key)
{
    (void)key;
    wsclock *w = (wsclock *)p;
    wsclock_remove(p, set, slot);
    w->slots[slot] = (wsclock_slot){.used_at = wsclock_now(p), .full = 1, .used = 1};
    w->full++;
    w->faults++;
    w->told++;
}

static void wsclock_touch(policy *p, uint32_t set, uint32_t slot, bool write)
{
    (void)set;
    (void)write;
    wsclock *w = (wsclock *)p;
    w->told++;
    w->slots[slot].used = 1;
}

static vm_status wsclock_victim(policy *p, uint32_t set, uint64_t key, uint32_t *slot, vm_error *e)
{
    (void)set;
    (void)key;
    wsclock *w = (wsclock *)p;
    if (w->full == 0)
        return policy_no_victim(p, e);
    uint64_t now = wsclock_now(p), tau = (uint64_t)p->param[WSCLOCK_TAU];
    uint32_t due = POLICY_NONE, clean = POLICY_NONE, any = POLICY_NONE;
    for (uint32_t i = 0; i < p->room; i++) {
        uint32_t at = w->hand < p->room ? w->hand : 0;
        wsclock_slot *s = &w->slots[at];
        w->hand = at + 1;
        if (!s->full)
            continue;
        bool dirty = policy_is_dirty(p, at);
        any = any == POLICY_NONE ? at : any;
        clean = clean == POLICY_NONE && !dirty ? at : clean;
        if (policy_is_used(p, &s->used, 1, at, true)) {
            s->used_at = now;
        } else if (now - s->used_at > tau) {
            if (!dirty) {
                *slot = at;
                return VM_OK;
            }
            due = due == POLICY_NONE ? at : due;
        }
    }
    *slot = due != POLICY_NONE ? due : clean != POLICY_NONE ? clean : any;
    w->hand = *slot + 1;
    return VM_OK;
}

static const char *wsclock_check(const policy *p)
{
    const wsclock *w = (const wsclock *)p;
    uint32_t n = 0;
    for (uint32_t i = 0; i < p->room; i++)
        n += w->slots[i].full;
    return n == w->full ? NULL : "wsclock: the count of full slots is wrong";
}

const policy_class policy_wsclock = {
    .name = "wsclock",
    .doc = "CLOCK that looks for pages outside of all working sets, clean ones first; a store a "
           "hit, a round of the slots at most a miss, 16 bytes a slot (Carr and Hennessy 1981)",
    .serves = POLICY_FRAMES,
    .timed = true,
    .size = sizeof(wsclock),
    .params = wsclock_params,
    .init = wsclock_init,
    .free = wsclock_free,
    .reserve = wsclock_reserve,
    .insert = wsclock_insert,
    .touch = wsclock_touch,
    .victim = wsclock_victim,
    .remove = wsclock_remove,
    .check = wsclock_check,
};
