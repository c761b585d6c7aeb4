/* cpu.c: which space runs on which processor, and what of it TLBs may know.
 *
 * A processor that runs a space may keep its translations, until they are flushed
 * there, even after the process has gone elsewhere: `space.cpus` is the set of those
 * that may. Whoever changes an entry of a page table tells all of them. Processors
 * other than the one at work are interrupted for that: once in one fault or call,
 * however many entries it changes, as a kernel does that collects them.
 *
 * Invariant: a TLB holds an entry of a space only if its processor is in the
 * space's set, and the space's ASID is of the current generation.
 */
#include "kernel.h"

#include <errno.h>

#define CPU_BIT(cpu) (UINT64_C(1) << (cpu))

/* Those whose TLBs may know the space. One whose ASID is from before the last
 * rollover is known to none. */
static uint64_t cpu_knowing(const kernel *k, const space *s)
{
    return s->asid_generation == k->asid_generation ? s->cpus : 0;
}

bool kernel_heeds(const kernel *k, const space *s)
{
    return cpu_knowing(k, s) || events_want(&k->events, KEVENT_SHOOTDOWN);
}

/* How many of the set are interrupted now, who were not already. */
static unsigned cpu_interrupt(kernel *k, uint64_t set)
{
    uint64_t fresh = set & ~k->interrupted & ~CPU_BIT(k->hw->cpu);
    unsigned n = 0;
    k->interrupted |= fresh;
    for (; fresh; fresh &= fresh - 1, n++)
        k->hw->cpus[__builtin_ctzll(fresh)].n.interrupts++;
    k->n.interrupts += n;
    return n;
}

void kernel_invalidate(kernel *k, const space *s, uint64_t va)
{
    uint64_t set = cpu_knowing(k, s);
    for (uint64_t left = set; left; left &= left - 1)
        mmu_invalidate(&k->hw->cpus[__builtin_ctzll(left)].mmu, va, s->asid);
    k->n.shootdowns++;
    kernel_emit(k, KEVENT_SHOOTDOWN, s->owner, va, 1, cpu_interrupt(k, set));
}

void kernel_forget_tables(kernel *k, const space *s, uint64_t va, unsigned level)
{
    uint64_t set = cpu_knowing(k, s);
    for (uint64_t left = set; left; left &= left - 1)
        mmu_forget_tables(&k->hw->cpus[__builtin_ctzll(left)].mmu, va, level, s->asid);
    cpu_interrupt(k, set);
}

bool kernel_flush(kernel *k, const space *s)
{
    uint64_t set = cpu_knowing(k, s);
    for (uint64_t left = set; left; left &= left - 1)
        mmu_flush_asid(&k->hw->cpus[__builtin_ctzll(left)].mmu, s->asid);
    cpu_interrupt(k, set);
    return set != 0;
}

void kernel_new_root(kernel *k, const space *s)
{
    for (unsigned i = 0; i < k->hw->cpu_count; i++)
        if (k->running[i] == s)
            k->hw->cpus[i].mmu.root = s->root;
}

void kernel_stop(kernel *k, const space *s)
{
    for (unsigned i = 0; i < k->hw->cpu_count; i++)
        if (k->running[i] == s) {
            k->running[i] = NULL;
            k->hw->cpus[i].mmu.root = k->boot.root;
        }
}

/* ASIDs begin anew. What other processors run they switch to again before they go
 * on, and flush then: nobody is interrupted. */
static void cpu_roll_over(kernel *k)
{
    for (unsigned i = 0; i < k->hw->cpu_count; i++) {
        mmu_flush_asid(&k->hw->cpus[i].mmu, TLB_GLOBAL);
        if (i != k->hw->cpu)
            k->running[i] = NULL;
    }
    k->asid_generation++;
    k->next_asid = 1;
    k->n.asid_rollovers++;
}

static void cpu_new_asid(kernel *k, space *s)
{
    if (k->next_asid >> k->cfg.asid_bits || k->next_asid == TLB_GLOBAL)
        cpu_roll_over(k);
    s->asid = k->next_asid++;
    s->asid_generation = k->asid_generation;
    s->cpus = 0;
}

/* From now on this processor is at work: what went before was another's time. */
static void cpu_use(kernel *k, unsigned cpu)
{
    uint64_t now = k->events.clock(k->events.ud);
    k->hw->cpus[k->hw->cpu].n.cycles += now - k->cpu_since;
    k->cpu_since = now;
    k->events.cpu = (uint16_t)cpu;
    hardware_use(k->hw, cpu);
}

void kernel_enter(kernel *k, const process *p)
{
    k->n.calls++;
    k->interrupted = 0;
    if (VM_UNLIKELY(p->cpu != k->hw->cpu))
        cpu_use(k, p->cpu);
}

void kernel_switch(kernel *k, const process *p)
{
    space *s = p->space, *before;
    if (VM_UNLIKELY(p->cpu != k->hw->cpu))
        cpu_use(k, p->cpu);
    before = k->running[p->cpu];
    if (before == s)
        return;
    if (s->suspended)
        load_resume(k, s);
    if (k->cfg.asid_bits == 0) {
        if (before) {
            mmu_flush_asid(k->hw->mmu, TLB_GLOBAL);
            before->cpus &= ~CPU_BIT(p->cpu);
        }
        s->asid_generation = k->asid_generation;
    } else if (s->asid_generation != k->asid_generation) {
        cpu_new_asid(k, s);
    }
    s->cpus |= CPU_BIT(p->cpu);
    k->n.switches += before != NULL;
    kernel_emit(k, KEVENT_SWITCH, s->owner, 0, before ? before->owner : 0, 0);
    k->running[p->cpu] = s;
    k->hw->mmu->root = s->root;
    k->hw->mmu->asid = s->asid;
}

/* --- who runs where --------------------------------------------------------------------- */

void cpu_put(kernel *k, process *p, unsigned cpu)
{
    k->load[p->cpu]--;
    k->load[cpu]++;
    p->cpu = (uint16_t)cpu;
}

void cpu_place(kernel *k, process *p)
{
    unsigned least = 0;
    for (unsigned i = 1; i < k->hw->cpu_count; i++)
        if (k->load[i] < k->load[least])
            least = i;
    p->cpu = (uint16_t)least;
    k->load[least]++;
}

void cpu_leave(kernel *k, const process *p) { k->load[p->cpu]--; }

vm_status process_migrate(kernel *k, process *p, uint64_t cpu, vm_error *e)
{
    if (cpu >= k->hw->cpu_count)
        return vm_fail_sys(e, VM_REFUSED, EINVAL,
                           "run_on: there is no processor %llu, the machine has %u, from 0 on",
                           (unsigned long long)cpu, k->hw->cpu_count);
    if (cpu == p->cpu)
        return VM_OK;
    cpu_put(k, p, (unsigned)cpu);
    k->n.migrations++;
    return VM_OK;
}

uint64_t kernel_cpu_cycles(const kernel *k, unsigned cpu)
{
    uint64_t cycles = k->hw->cpus[cpu].n.cycles;
    return cpu == k->hw->cpu ? cycles + k->events.clock(k->events.ud) - k->cpu_since : cycles;
}

const char *cpu_check(const kernel *k)
{
    uint32_t load[HW_CPUS] = {0};
    for (size_t i = 1; i < k->process_count; i++)
        if (k->processes[i]->space)
            load[k->processes[i]->cpu]++;
    for (unsigned i = 0; i < k->hw->cpu_count; i++) {
        const space *s = k->running[i];
        if (load[i] != k->load[i])
            return "cpu: the count of a processor's processes is wrong";
        if (s && !(s->cpus & CPU_BIT(i)))
            return "cpu: a processor runs a space that does not know of it";
        if (s && (k->hw->cpus[i].mmu.root != s->root || k->hw->cpus[i].mmu.asid != s->asid))
            return "cpu: a processor runs a space by another's page table";
    }
    return NULL;
}
