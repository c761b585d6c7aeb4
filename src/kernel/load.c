/* load.c: load control, the medium-term scheduler: when processes together use more
 * pages than there are frames, all of them fault at almost every step (thrashing), and
 * a whole process is swapped out until that ends (Denning, "Thrashing: its causes and
 * prevention", 1968).
 *
 * The sign is the lifetime, the mean number of accesses between two faults that took
 * another page's frame, over a window of accesses; reclaim.lifetime is the least that
 * it should be. Denning's L = S criterion (Denning et al., "Optimal multiprogramming",
 * 1976) has a lifetime no shorter than the time that the disk takes to serve a fault;
 * who wants it sets reclaim.lifetime to disk.latency over the cycles of an access.
 *
 * Who goes is the one that was active longest, so that all get their turn; never the
 * one that runs, nor the last. Who comes back is the one that has waited longest: when
 * the lifetime is twice what it should be and there is room for the pages that it had,
 * or it has waited for LOAD_TURN windows; when a process ends; or at once when it is
 * accessed. For who runs is the host's choice: m:runnable() tells whom it should choose.
 *
 * Units: accesses of the machine. Invariant: no processor runs a suspended space.
 */
#include "kernel.h"

#define LOAD_TURN 20 /* windows: what a swap of a whole process costs is little beside them */

/* Faults that took another page's frame, as far as counters tell. */
static uint64_t load_replaced(const kernel *k)
{
    uint64_t faults = k->n.minor_faults + k->n.major_faults;
    return faults < k->n.evictions ? faults : k->n.evictions;
}

static void load_restart(kernel *k, uint64_t now)
{
    k->thrash.looked = now;
    k->thrash.replaced = load_replaced(k);
}

/* The space that has been suspended, or active, for longest; `but` is not asked. */
static space *load_longest(const kernel *k, bool suspended, const space *but)
{
    space *most = NULL;
    for (size_t i = 1; i < k->space_count; i++) {
        space *s = k->spaces[i];
        if (s && s != but && s->owner && s->suspended == suspended && (suspended || s->resident) &&
            (!most || s->since < most->since))
            most = s;
    }
    return most;
}

static vm_status load_suspend(kernel *k, space *s, uint64_t now, vm_error *e)
{
    uint64_t went = reclaim_swap_space(k, s, e);
    kernel_flush(k, s); /* it may be on another processor */
    kernel_stop(k, s);
    s->suspended = true;
    s->since = now;
    s->had = went;
    k->n.suspensions++;
    kernel_emit(k, KEVENT_SUSPEND, s->owner, 0, went, 0);
    return e->status;
}

void load_resume(kernel *k, space *s)
{
    s->suspended = false;
    s->since = k->accesses(k->accesses_ud);
    k->n.resumptions++;
    uint64_t came = fault_swap_in_space(k, s);
    kernel_emit(k, KEVENT_RESUME, s->owner, 0, came, 0);
    load_restart(k, s->since);
}

/* May it come back, when the others do not thrash? */
static bool load_fits(const kernel *k, const space *s, uint64_t now)
{
    uint64_t room = k->frames.free, limit = k->cfg.resident_limit;
    if (limit && limit < k->resident + room)
        room = limit > k->resident ? limit - k->resident : 0;
    return room >= s->had || (now - s->since) / LOAD_TURN >= k->cfg.window;
}

void load_ended(kernel *k)
{
    space *s = load_longest(k, true, NULL);
    if (s)
        load_resume(k, s);
}

vm_status load_look(kernel *k, vm_error *e)
{
    if (!k->cfg.lifetime)
        return VM_OK;
    uint64_t now = k->accesses(k->accesses_ud), replaced = load_replaced(k);
    if (now < k->thrash.looked || replaced < k->thrash.replaced) /* counters were reset */
        load_restart(k, now);
    uint64_t gone = now - k->thrash.looked, faults = replaced - k->thrash.replaced;
    if (gone < k->cfg.window)
        return VM_OK;
    vm_status st = VM_OK;
    if (faults > gone / k->cfg.lifetime) {
        space *s = load_longest(k, false, k->running[k->hw->cpu]);
        st = s ? load_suspend(k, s, now, e) : VM_OK;
    } else if (faults <= gone / k->cfg.lifetime / 2) {
        space *s = load_longest(k, true, NULL);
        if (s && load_fits(k, s, now))
            load_resume(k, s);
    }
    load_restart(k, now);
    return st;
}
