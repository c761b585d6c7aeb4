#include "machine_front.h"

/* --- one access, told plainly ----------------------------------------------------- */

/* n bytes of one page at pa, as the caches see them. */
static void machine_cache(machine *m, uint64_t pa, uint32_t n, access_kind kind)
{
    traffic t = kind == ACCESS_FETCH ? TRAFFIC_FETCH : TRAFFIC_DATA;
    bool write = kind == ACCESS_STORE;
    cache *c = t == TRAFFIC_FETCH ? m->hw.l1i : m->hw.l1d;
    if (!c) {
        m->hw.memory.writes += write;
        m->hw.memory.reads[t] += !write;
        if (m->hw.cache_probe)
            m->hw.cache_probe->memory(m->hw.cache_probe->ud, pa, write, t);
        return;
    }
    if (m->opt.straddle) {
        /* cachegrind cuts data to its smallest line */
        uint32_t most = t == TRAFFIC_DATA ? m->shortest_line : n;
        cache_access_once(c, pa, n < most ? n : most, write, t);
        return;
    }
    uint64_t first = pa >> c->line_bits, last = (pa + n - 1) >> c->line_bits;
    for (uint64_t line = first; line <= last; line++)
        cache_enter(c, line, write, t);
}

/* A hit must be known to policies that count every reference. */
void machine_touch(machine *m, uint64_t pa, access_kind kind)
{
    uint64_t ppn = pa >> m->hw.g.page_bits;
    const frame *f = frames_at(&m->kernel.frames, ppn);
    if (!f || !frame_is_ruled(f))
        return;
    policy *pol = page_policy(&m->kernel, f);
    pol->cls->touch(pol, 0, (uint32_t)ppn, kind == ACCESS_STORE);
}

/* How the fault was dealt with, by what the process counted since. */
static unsigned machine_served(const process_counters *was, const process *p, vm_status s)
{
    if (s != VM_OK)
        return s == VM_FAULT ? EVENT_KILLED : EVENT_FAILED;
    return p->n.major_faults != was->major_faults                                   ? EVENT_MAJOR
           : p->n.spurious_faults != was->spurious_faults                           ? EVENT_SPURIOUS
           : p->n.cow_copies + p->n.cow_reuses != was->cow_copies + was->cow_reuses ? EVENT_COW
                                                                                    : EVENT_MINOR;
}

/* A fault that took `cycles`, up to `end`, and the signal that it brought. */
static void machine_tell(machine *m, const process *p, const fault_info *info, mmu_fault why,
                         unsigned served, uint64_t cycles, uint64_t end)
{
    event_log *ev = &m->kernel.events;
    uint64_t how = why | (uint64_t)info->access << 8 | (uint64_t)served << 16;
    if (events_want(ev, KEVENT_FAULT))
        events_put_at(ev, end, KEVENT_FAULT, p->pid, info->addr, how, cycles);
    if (served == EVENT_KILLED && events_want(ev, KEVENT_SIGNAL))
        events_put_at(ev, end, KEVENT_SIGNAL, p->pid, info->addr,
                      event_name_number(&event_signals, info->signal) |
                          event_name_number(&event_causes, info->code) << 8,
                      0);
}

/* Mending the same fault so often without success is a loop that would not end. */
#define MEND_TRIES 1000

/* Somebody may mend the cause of a fault that the kernel can't serve. He may do anything
 * to the machine but end it; he may end the process. */
static vm_status machine_mend_cause(machine *m, process *p, mmu_fault why, unsigned tries,
                                    const fault_info *info, vm_error *e)
{
    if (!m->mend || why == MMU_UNKNOWN || strcmp(info->signal, "SIGKILL") == 0)
        return VM_FAULT;
    if (tries == MEND_TRIES)
        return vm_fail(e, VM_INVALID,
                       "the handler of %s says that the fault at %#llx is mended, but it is not",
                       info->signal, (unsigned long long)info->addr);
    vm_status s = m->mend(m->mend_ud, m, p, info, e);
    if (s == VM_OK && p->space)
        kernel_switch(&m->kernel, p);
    return s == VM_OK && !p->space ? VM_FAULT : s;
}

/* The kernel serves the fault, or somebody mends its cause and the kernel then does.
 * Who mends may find that the program had no such fault, and takes it back from
 * the counter: then it is not told of either. */
static VM_NOINLINE vm_status machine_serve(machine *m, process *p, uint64_t va, access_kind kind,
                                           mmu_fault why, fault_info *info, vm_error *e)
{
    kernel *k = &m->kernel;
    for (unsigned tries = 0;; tries++) {
        const bool tell = k->events.wanted != 0;
        const uint64_t faults = k->n.faults, start = tell ? machine_clock(m) : 0;
        const process_counters was = p->n;
        vm_status s = kernel_fault(k, p, va, kind, why, info, e), mended = VM_FAULT;
        const uint64_t end = tell ? machine_clock(m) : 0;
        const unsigned served = machine_served(&was, p, s);
        const fault_info cause = *info;
        if (s == VM_FAULT)
            mended = machine_mend_cause(m, p, why, tries, &cause, e);
        const bool had = k->n.faults != faults;
        if (tell && (had || mended != VM_OK))
            machine_tell(m, p, &cause, why, served, had ? end - start : 0, end);
        if (s != VM_FAULT || mended != VM_OK)
            return s == VM_FAULT ? mended : s;
        why = MMU_NOT_PRESENT; /* what it was may have changed */
    }
}

/* Translate, mending faults, until the address is there or never will be. Of an access
 * that brought its page in, the policy was told then; of others it is told here. */
vm_status machine_translate(machine *m, process *p, uint64_t va, access_kind kind, uint64_t *pa,
                            fault_info *info, vm_error *e)
{
    bool brought = false;
    for (;;) {
        mmu_fault fault = mmu_translate(m->hw.mmu, va, kind, pa);
        if (VM_LIKELY(fault == MMU_OK))
            break;
        m->kernel.taken = FRAME_NONE;
        vm_status s = machine_serve(m, p, va, kind, fault, info, e);
        if (m->fault_probe)
            m->fault_probe(m->fault_ud, va, kind, fault, s);
        if (s == VM_OK)
            s = machine_failed(m, e);
        if (s != VM_OK)
            return s;
        brought = true;
    }
    brought = brought && *pa >> m->hw.g.page_bits == m->kernel.taken;
    if (m->kernel.pol->cls->exact && m->hw.mmu->paging && !brought)
        machine_touch(m, *pa, kind);
    return VM_OK;
}

/* A policy that failed in the midst of an access: of a TLB or cache, or of frames where
 * nothing waited for its answer. Told once. */
vm_status machine_failed(machine *m, vm_error *e)
{
    vm_status s = m->hw.failed;
    if (VM_UNLIKELY(s != VM_OK)) {
        m->hw.failed = VM_OK;
        if (e)
            *e = m->error;
    }
    return s;
}

/* Translate each page's part of the range, then do `piece` with it. */
static vm_status machine_pieces(machine *m, process *p, uint64_t va, uint64_t size,
                                access_kind kind, machine_piece *piece, void *ud, fault_info *info,
                                vm_error *e)
{
    const cache *c = kind == ACCESS_FETCH ? m->hw.l1i : m->hw.l1d;
    uint64_t page = UINT64_C(1) << m->hw.g.page_bits, pa;
    if (VM_UNLIKELY(size - 1 > UINT64_MAX - va)) {
        *info = (fault_info){"SIGSEGV", "MAPERR", va, kind, p->pid};
        return vm_fail(e, VM_FAULT, "SIGSEGV");
    }
    kernel_switch(&m->kernel, p);
    m->n.page_straddles += m->hw.mmu->paging && (va & (page - 1)) + size > page;
    m->n.line_straddles += c && va >> c->line_bits != (va + size - 1) >> c->line_bits;
    while (size) {
        uint64_t room = page - (va & (page - 1)), n = size;
        if (m->hw.mmu->paging && n > room)
            n = room;
        vm_status s = machine_translate(m, p, va, kind, &pa, info, e);
        if (s == VM_OK && !m->hw.mmu->paging && n > m->hw.mem.size - pa) {
            *info = (fault_info){"SIGBUS", "ADRERR", va, kind, p->pid};
            s = vm_fail(e, VM_FAULT, "SIGBUS");
        }
        if (s == VM_OK)
            machine_cache(m, pa, (uint32_t)n, kind);
        if (s == VM_OK && piece && !piece(m, ud, pa, (uint32_t)n))
            s = vm_fail_nomem(e, "the simulated DRAM");
        if (s == VM_OK)
            s = machine_failed(m, e);
        if (s != VM_OK)
            return s;
        va += n;
        size -= n;
    }
    return VM_OK;
}

static vm_status machine_plain(machine *m, process *p, uint64_t va, uint64_t size, access_kind kind,
                               machine_piece *piece, void *ud, fault_info *info, vm_error *e)
{
    bool modify = kind == ACCESS_MODIFY; /* cachegrind's accounting takes it for a read */
    vm_status s = VM_OK;
    if (kind == ACCESS_FETCH) {
        s = machine_pieces(m, p, va, size, kind, piece, ud, info, e);
        m->n.fetches += s == VM_OK;
        return s;
    }
    if (kind == ACCESS_LOAD || modify) {
        s = machine_pieces(m, p, va, size, ACCESS_LOAD, piece, ud, info, e);
        m->n.loads += s == VM_OK;
    }
    if (s == VM_OK && (kind == ACCESS_STORE || (modify && !m->opt.straddle))) {
        s = machine_pieces(m, p, va, size, ACCESS_STORE, piece, ud, info, e);
        m->n.stores += s == VM_OK;
    }
    m->n.modifies += modify && s == VM_OK;
    return s;
}

/* Whoever watches may end the watching, or the process. */
static VM_NOINLINE vm_status machine_watched(machine *m, process *p, space_watch *w, uint64_t va,
                                             uint64_t size, access_kind kind, machine_piece *piece,
                                             void *ud, fault_info *info, vm_error *e)
{
    vm_status s = w->access(w, va, size, kind, e);
    if (s == VM_OK && !p->space) {
        *info = (fault_info){"SIGKILL", NULL, va, kind, p->pid};
        return vm_fail(e, VM_FAULT, "the process has ended");
    }
    if (s == VM_OK)
        s = machine_plain(m, p, va, size, kind, piece, ud, info, e);
    if (s == VM_FAULT && p->space && p->space->watch)
        s = p->space->watch->faulted(p->space->watch, info, e);
    return s;
}

vm_status machine_one(machine *m, process *p, uint64_t va, uint64_t size, access_kind kind,
                      machine_piece *piece, void *ud, fault_info *info, vm_error *e)
{
    space_watch *w = p->space->watch;
    if (VM_UNLIKELY(w != NULL))
        return machine_watched(m, p, w, va, size, kind, piece, ud, info, e);
    return machine_plain(m, p, va, size, kind, piece, ud, info, e);
}

vm_status machine_access(machine *m, process *p, uint64_t va, uint32_t size, access_kind kind,
                         fault_info *info, vm_error *e)
{
    return machine_one(m, p, va, size, kind, NULL, NULL, info, e);
}

/* --- one number, told shortly -------------------------------------------------------- */

/* Are all caches in order of recency? No policy of theirs can fail then. */
static bool window_is_whole(const machine *m)
{
    for (unsigned i = 0; i < m->hw.cache_count; i++)
        if (!hardware_cache(&m->hw, 0, i)->packed)
            return false;
    return true;
}

void machine_window_init(machine *m)
{
    const mmu *u = m->hw.mmu;
    cache *c = m->hw.l1d;
    tlb *t = u->chain_count[0] ? u->chain[0][0] : NULL;
    machine_window *w = &m->window;
    w->apt = m->opt.shortcuts && !m->opt.straddle && u->paging && t && t->ordered &&
             u->g.page_bits <= DRAM_BLOCK_BITS && (!c || (c->simple && c->cfg.line >= 8)) &&
             m->hw.cpu_count == 1 && window_is_whole(m);
    w->opened = 1;
    if (!w->apt)
        return;
    w->first = t;
    w->second = u->chain_count[0] == 2 && u->chain[0][1]->ordered ? u->chain[0][1] : NULL;
    w->page_mask = t->set_mask < WINDOW_PAGES ? t->set_mask : WINDOW_PAGES - 1;
    w->page_bits = u->g.page_bits;
    w->in_page = (uint32_t)low_mask(w->page_bits);
    w->cache = c;
    w->counts[0] = c ? &c->n.refs[0][TRAFFIC_DATA] : &m->hw.memory.reads[TRAFFIC_DATA];
    w->counts[1] = c ? &c->n.refs[1][TRAFFIC_DATA] : &m->hw.memory.writes;
    if (c) {
        w->tags = c->packed;
        w->tag_mask = c->set_mask;
        w->tag_shift = c->stride_bits;
        w->line_bits = c->line_bits;
    }
}

/* The entry's place in its set, or the number of ways. */
VM_INLINE uint32_t window_find(const tlb *t, const tlb_entry *s, uint64_t tag)
{
    uint32_t at = 0;
    while (at < t->ways && s[at].tag != tag)
        at++;
    return at;
}

VM_INLINE tlb_entry *window_set(const tlb *t, uint64_t vpn)
{
    return t->e + (size_t)((uint32_t)vpn & t->set_mask) * t->ways;
}

/* No entry with another tag stands for a page. */
VM_INLINE bool window_plain(const tlb *t)
{
    return (t->global_held | t->held[1] | t->held[2] | t->held[3]) == 0;
}

/* The page's entry in the second TLB, where the first has none; NULL: ask the MMU. */
static const tlb_entry *window_second(const machine_window *w, uint64_t vpn, uint64_t tag)
{
    const tlb *t = w->second;
    if (!t || !window_plain(t) || !window_plain(w->first))
        return NULL;
    const tlb_entry *s = window_set(t, vpn);
    const uint32_t at = window_find(t, s, tag);
    return at < t->ways ? s + at : NULL;
}

/* Translated by `found`: counted, and the entry is the first of its set. */
VM_INLINE void window_translate(machine_window *w, tlb_entry *s, uint32_t at, uint64_t vpn,
                                tlb_entry found)
{
    tlb *t = w->first;
    t->n.lookups++;
    if (VM_UNLIKELY(at == t->ways)) {
        t->n.misses++;
        tlb_lookup(w->second, vpn, tlb_tag_asid(found.tag));
        tlb_fill_missing(t, found, NULL);
        return;
    }
    for (; at > 0; at--)
        s[at] = s[at - 1];
    s[0] = found;
}

/* The page is the most recent of its set: what the front way needs to know of it. */
VM_INLINE void window_know(machine_window *w, uint64_t vpn, uint64_t pa, uint64_t pay,
                           uint8_t *block)
{
    const uint64_t load = mmu_need(ACCESS_LOAD), store = mmu_need(ACCESS_STORE);
    window_page *page = &w->pages[(uint32_t)vpn & w->page_mask];
    pa -= pa & low_mask(w->page_bits);
    page->vpn = vpn;
    page->opened = !w->exact && (pay & load) == load ? w->opened : 0;
    page->bytes = block + (pa & (DRAM_BLOCK - 1));
    page->line = (uint32_t)(pa >> w->line_bits);
    page->write = (pay & store) == store;
}

uint8_t *machine_near(machine *m, uint64_t va, uint32_t n, bool write)
{
    machine_window *w = &m->window;
    cache *c = w->cache;
    const window_page *page = c ? window_known(w, va, n, write) : NULL;
    if (page) { /* only its line is not the most recent */
        const uint32_t in = (uint32_t)va & w->in_page;
        cache_access_simple(c, page->line + (in >> w->line_bits), write, TRAFFIC_DATA);
        return window_hit(m, page, in, write);
    }
    if (va >= w->limit || va & (n - 1))
        return NULL;
    const access_kind kind = write ? ACCESS_STORE : ACCESS_LOAD;
    const uint64_t vpn = va >> w->page_bits, tag = vpn << 19 | w->asid_tag, need = mmu_need(kind);
    tlb_entry *s = window_set(w->first, vpn);
    const uint32_t at = window_find(w->first, s, tag);
    const tlb_entry *e = at < w->first->ways ? s + at : window_second(w, vpn, tag);
    if (!e || (e->pay & need) != need)
        return NULL;
    const tlb_entry found = *e;
    const uint64_t pa = (found.pay >> 8 << w->page_bits) | (va & low_mask(w->page_bits));
    if (pa >= m->hw.mem.size)
        return NULL;
    uint8_t *block = write ? dram_commit(&m->hw.mem, pa) : dram_block(&m->hw.mem, pa);
    if (!block && write)
        return NULL;
    window_translate(w, s, at, vpn, found);
    if (block)
        window_know(w, vpn, pa, found.pay, block);
    else
        w->pages[(uint32_t)vpn & w->page_mask].opened = 0; /* it is not the most recent now */
    if (w->exact)
        machine_touch(m, pa, kind);
    if (c)
        cache_access_simple(c, pa >> c->line_bits, write, TRAFFIC_DATA);
    else
        ++*w->counts[write];
    m->n.loads += !write;
    m->n.stores += write;
    return block ? block + (pa & (DRAM_BLOCK - 1)) : w->zeros;
}

static bool machine_move_out(machine *m, void *ud, uint64_t pa, uint32_t n)
{
    uint8_t **to = ud;
    dram_read(&m->hw.mem, pa, *to, n);
    *to += n;
    return true;
}

static bool machine_move_in(machine *m, void *ud, uint64_t pa, uint32_t n)
{
    const uint8_t **from = ud;
    bool ok = dram_write(&m->hw.mem, pa, *from, n);
    *from += n;
    return ok;
}

vm_status machine_read(machine *m, process *p, uint64_t va, void *to, size_t n, access_kind kind,
                       fault_info *info, vm_error *e)
{
    uint8_t *out = to;
    return machine_one(m, p, va, n, kind, machine_move_out, &out, info, e);
}

vm_status machine_write(machine *m, process *p, uint64_t va, const void *from, size_t n,
                        fault_info *info, vm_error *e)
{
    const uint8_t *in = from;
    return machine_one(m, p, va, n, ACCESS_STORE, machine_move_in, &in, info, e);
}

bool machine_peek(const machine *m, const process *p, uint64_t va, uint64_t *pa)
{
    const pt_geometry *g = &m->hw.g;
    if (!m->hw.mmu->paging) {
        *pa = va;
        return va < m->hw.mem.size;
    }
    if (!pt_canonical(g, va) || !p->space || !p->space->root_ok)
        return false;
    pt_place at = pt_lookup(g, &m->hw.mem, p->space->root, va);
    if (!(at.pte & g->format->present) || !pte_is_leaf(g->format, at.pte, at.level))
        return false;
    *pa = (pte_ppn(g->format, at.pte) << g->page_bits) | (va & low_mask(g->shift[at.level]));
    return true;
}

/* --- time ---------------------------------------------------------------------------- */

void machine_time_now(const machine *m, machine_time *t)
{
    const hardware *hw = &m->hw;
    uint64_t by[TRAFFIC_CLASSES] = {0};
    memset(t, 0, sizeof *t);
    for (unsigned cpu = 0; cpu < hw->cpu_count; cpu++) {
        const mmu *u = &hw->cpus[cpu].mmu;
        for (unsigned i = 0; i < (cpu ? hw->private_count : hw->cache_count); i++) {
            const cache *k = hardware_cache(hw, cpu, i);
            for (unsigned c = 0; c < TRAFFIC_CLASSES; c++)
                by[c] += (k->n.refs[0][c] + k->n.refs[1][c]) * k->cfg.latency;
        }
        for (unsigned i = 0; i < u->tlb_count; i++)
            t->tlb += u->tlbs[i].n.lookups * u->tlbs[i].cfg.latency;
    }
    for (unsigned c = 0; c < TRAFFIC_CLASSES; c++)
        by[c] += hw->memory.reads[c] * (uint64_t)m->opt.dram_latency +
                 hw->coherent.n.transfers[c] * (uint64_t)m->opt.transfer_cycles;
    t->fetch = by[TRAFFIC_FETCH];
    t->data = by[TRAFFIC_DATA];
    t->walk = by[TRAFFIC_WALK];
    t->kernel = m->kernel.n.faults * (uint64_t)m->opt.fault_cycles +
                m->kernel.n.zero_fills * (uint64_t)m->opt.zero_cycles +
                (m->kernel.n.cow_copies + m->kernel.n.huge_copies + m->kernel.n.compact_moves) *
                    (uint64_t)m->opt.copy_cycles +
                m->kernel.n.fork_pages * (uint64_t)m->opt.fork_cycles +
                m->kernel.n.calls * (uint64_t)m->opt.call_cycles +
                m->kernel.n.switches * (uint64_t)m->opt.switch_cycles +
                m->kernel.n.interrupts * (uint64_t)m->opt.interrupt_cycles;
    t->disk =
        (hw->disk.n.reads + hw->disk.n.writes - hw->disk.n.joined) * (uint64_t)m->opt.disk_latency +
        hw->disk.n.joined * (uint64_t)m->opt.disk_transfer;
    t->total = t->fetch + t->data + t->tlb + t->walk + t->kernel + t->disk;
}

uint64_t machine_clock(const machine *m)
{
    machine_time t;
    machine_time_now(m, &t);
    return m->clock_base + t.total;
}
