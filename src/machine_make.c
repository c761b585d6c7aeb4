/* machine_make.c: a machine from its options, and its end; state set by hand.
 *
 * Options were checked one by one when they were set; here they are checked
 * against each other, and the message names those that do not fit.
 */
#include "machine_front.h"

static const struct {
    const char *name;
    int level;
    bool fetch, data; /* whose first level it is */
} cache_places[] = {
    {"l1", OPT_L1, true, true},   {"l1i", OPT_L1I, true, false}, {"l1d", OPT_L1D, false, true},
    {"l2", OPT_L2, false, false}, {"l3", OPT_L3, false, false},  {"l4", OPT_L4, false, false},
};
#define CACHE_PLACES (sizeof cache_places / sizeof *cache_places)
#define SEED_OF_CPU  100000 /* so that random choices of processors are their own */

static vm_status make_processors(machine *m, vm_error *e)
{
    m->hw.cpu_count = (unsigned)m->opt.cpus;
    m->hw.cpus = host_zalloc_aligned(&m->host, m->hw.cpu_count * sizeof *m->hw.cpus);
    if (!m->hw.cpus)
        return vm_fail_nomem(e, "the processors");
    return VM_OK;
}

static vm_status make_paging(machine *m, vm_error *e)
{
    const machine_options *o = &m->opt;
    pt_geometry *g = &m->hw.g;
    unsigned bits[PT_LEVELS_MAX];
    for (int i = 0; i < o->levels_count; i++)
        bits[i] = (unsigned)o->levels[i];
    vm_status s =
        pt_geometry_init(g, pte_formats[o->pte], (unsigned)o->va_bits, (unsigned)o->pa_bits,
                         (uint64_t)o->page, bits, (unsigned)o->levels_count, e);
    if (s != VM_OK)
        return s;
    uint64_t page = UINT64_C(1) << g->page_bits;
    if (o->dram_size % (int64_t)page)
        return vm_fail(e, VM_INVALID,
                       "dram.size is %lld, not a whole number of pages of %lld bytes",
                       (long long)o->dram_size, (long long)o->page);
    /* One level's root may lie where no PTE can name it; tables below a root may not. */
    if (o->paging && g->levels > 1 && (uint64_t)o->dram_size > UINT64_C(1) << g->pa_bits)
        return vm_fail(e, VM_INVALID,
                       "dram.size is %lld, more than the 2^%u bytes that paging.pa_bits can name",
                       (long long)o->dram_size, g->pa_bits);
    if (o->disk_size % (int64_t)page)
        return vm_fail(e, VM_INVALID,
                       "disk.size is %lld, not a whole number of pages of %lld bytes",
                       (long long)o->disk_size, (long long)o->page);
    if (o->swap % (int64_t)page)
        return vm_fail(e, VM_INVALID, "swap is %lld, not a whole number of pages of %lld bytes",
                       (long long)o->swap, (long long)o->page);
    uint64_t slots = (uint64_t)o->swap / page, most = g->format->ppn_mask >> g->format->ppn_shift;
    most = most < SLOT_NONE - 1 ? most : SLOT_NONE - 1;
    if (slots > most)
        return vm_fail(e, VM_INVALID,
                       "swap has %llu slots, but an entry of format %s can name %llu",
                       (unsigned long long)slots, g->format->name, (unsigned long long)most);
    for (unsigned i = 0; i < m->hw.cpu_count; i++) {
        mmu *u = &m->hw.cpus[i].mmu;
        u->g = *g;
        u->mem = &m->hw.mem;
        u->memory = &m->hw.memory;
        u->error = &m->error;
        u->failed = &m->hw.failed;
        u->paging = o->paging != 0;
    }
    return VM_OK;
}

static cache_config make_cache_config(const machine_options *o, size_t place)
{
    const cache_options *c = &o->cache[cache_places[place].level];
    return (cache_config){.name = cache_places[place].name,
                          .size = (uint64_t)c->size,
                          .ways = (uint32_t)c->ways,
                          .line = (uint32_t)c->line,
                          .latency = (uint32_t)c->latency,
                          .write = (cache_write)c->write,
                          .allocate = c->allocate != 0,
                          .inclusive = c->inclusive != 0,
                          .portable = !o->vectors,
                          .policy = c->policy};
}

/* What can't be whatever the caches hold. */
static vm_status make_cache_places(const machine_options *o, vm_error *e)
{
    if (o->cache[OPT_L1].size && (o->cache[OPT_L1I].size || o->cache[OPT_L1D].size))
        return vm_fail(e, VM_INVALID,
                       "cache.l1 is for both fetches and data: it can't stand beside "
                       "cache.l1i or cache.l1d");
    if (!o->cache[OPT_L1I].size != !o->cache[OPT_L1D].size)
        return vm_fail(e, VM_INVALID, "cache.l1i and cache.l1d go together: give both or neither");
    if (o->cpus == 1)
        return VM_OK;
    if (o->straddle)
        return vm_fail(e, VM_INVALID,
                       "cache.straddle = \"once\" is for one processor: it does not look at "
                       "single lines, as the caches of %lld must",
                       (long long)o->cpus);
    if (o->cache[OPT_L1I].size && o->cache[OPT_L1I].line > o->cache[OPT_L1D].line)
        return vm_fail(e, VM_INVALID,
                       "cache.l1i.line is %lld, longer than the %lld of cache.l1d: with several "
                       "processors it can't be",
                       (long long)o->cache[OPT_L1I].line, (long long)o->cache[OPT_L1D].line);
    return VM_OK;
}

/* The caches that a processor meets; the first one to be made makes the shared ones. */
static vm_status make_caches_of(machine *m, unsigned cpu, vm_error *e)
{
    const machine_options *o = &m->opt;
    hardware *hw = &m->hw;
    processor *p = &hw->cpus[cpu];
    unsigned n = 0;
    for (size_t i = 0; i < CACHE_PLACES; i++) {
        cache_config cfg = make_cache_config(o, i);
        if (!cfg.size)
            continue;
        cache *c = hardware_cache(hw, cpu, n++);
        if (cache_places[i].fetch)
            p->l1i = c;
        if (cache_places[i].data)
            p->l1d = c;
        if (n > hw->private_count && cpu > 0)
            continue;
        vm_status s = cache_init(c, &m->host, &cfg, hw->mem.size, o->shortcuts != 0,
                                 (uint64_t)o->seed + 17 * (i + 1) + SEED_OF_CPU * cpu, e);
        if (s != VM_OK)
            return s;
        c->probe = &hw->cache_probe;
        c->error = &m->error;
        c->failed = &m->hw.failed;
        c->cpu = cpu;
        if (n <= hw->private_count && hw->cpu_count > 1) {
            c->coherent = &hw->coherent;
            hw->coherent.own[cpu][n - 1] = c;
        }
    }
    p->mmu.walk_cache = p->l1d;
    return VM_OK;
}

/* From below, see cache_link. */
static vm_status make_links(machine *m, unsigned cpu, vm_error *e)
{
    const machine_options *o = &m->opt;
    hardware *hw = &m->hw;
    const processor *p = &hw->cpus[cpu];
    for (unsigned i = cpu ? hw->private_count : hw->cache_count; i-- > 0;) {
        cache *c = hardware_cache(hw, cpu, i);
        unsigned below =
            i + 1 + (c == p->l1i && c != p->l1d); /* split: both over the second level */
        cache *next = below < hw->cache_count ? hardware_cache(hw, cpu, below) : NULL;
        /* A lower level that is not given what a write brought above can't hold it all. */
        if (o->straddle && c->is_inclusive && !c->allocate)
            return vm_fail(e, VM_INVALID,
                           "cache.%s: with cache.straddle = \"once\", inclusive = true takes "
                           "allocate = true",
                           c->cfg.name);
        /* Walks and write-backs come by lines. */
        vm_status s = cache_link(c, next, &hw->memory, o->straddle && !o->paging, e);
        if (s != VM_OK)
            return s;
    }
    return VM_OK;
}

static vm_status make_caches(machine *m, vm_error *e)
{
    hardware *hw = &m->hw;
    vm_status s = make_cache_places(&m->opt, e);
    m->shortest_line = UINT32_MAX;
    for (size_t i = 0; i < CACHE_PLACES && s == VM_OK; i++) {
        const cache_config cfg = make_cache_config(&m->opt, i);
        bool first = cache_places[i].fetch || cache_places[i].data;
        if (!cfg.size)
            continue;
        if (!first && hw->cache_count == 0)
            return vm_fail(e, VM_INVALID,
                           "cache.%s has no first level above it (cache.l1, or "
                           "cache.l1i and cache.l1d)",
                           cfg.name);
        hw->cache_count++;
        /* All but the outermost level are a processor's own, and the first always is. */
        hw->private_count = first ? hw->cache_count : hw->cache_count - 1;
        if (cfg.line < m->shortest_line)
            m->shortest_line = cfg.line;
    }
    hw->coherent.cpus = hw->cpu_count > 1 && hw->cache_count ? hw->cpu_count : 0;
    hw->coherent.levels = hw->private_count;
    for (unsigned i = 0; i < hw->cpu_count && s == VM_OK; i++)
        s = make_caches_of(m, i, e);
    for (unsigned i = 0; i < hw->cpu_count && s == VM_OK; i++)
        s = make_links(m, i, e);
    hardware_use(hw, 0);
    return s;
}

static vm_status make_tlb(machine *m, mmu *u, const char *name, const tlb_options *o, uint64_t seed,
                          tlb **out, vm_error *e)
{
    unsigned shift[TLB_CLASSES] = {0};
    *out = NULL;
    if (!o->entries)
        return VM_OK;
    for (unsigned k = 0; k < TLB_CLASSES && k < u->g.levels; k++)
        shift[k] = u->g.shift[k] - u->g.page_bits;
    tlb_config cfg = {.name = name,
                      .entries = (uint32_t)o->entries,
                      .ways = (uint32_t)o->ways,
                      .latency = (uint32_t)o->latency,
                      .policy = o->policy};
    tlb *t = &u->tlbs[u->tlb_count];
    vm_status s = tlb_init(t, &m->host, &cfg, shift, m->opt.shortcuts != 0, seed, e);
    if (s != VM_OK)
        return s;
    u->tlb_count++;
    *out = t;
    return VM_OK;
}

static void make_chain(mmu *u, bool fetch, tlb *const *levels)
{
    for (int i = 0; i < 3; i++)
        if (levels[i])
            u->chain[fetch][u->chain_count[fetch]++] = levels[i];
}

static vm_status make_tlbs(machine *m, unsigned cpu, vm_error *e)
{
    const machine_options *o = &m->opt;
    mmu *u = &m->hw.cpus[cpu].mmu;
    tlb *l1, *l1i, *l1d, *l2, *l3;
    uint64_t seed = (uint64_t)o->seed + 1000 + SEED_OF_CPU * cpu;
    if (o->tlb[OPT_L1].entries && (o->tlb[OPT_L1I].entries || o->tlb[OPT_L1D].entries))
        return vm_fail(e, VM_INVALID,
                       "tlb.l1 is for both fetches and data: it can't stand beside "
                       "tlb.l1i or tlb.l1d");
    vm_status s = make_tlb(m, u, "l1", &o->tlb[OPT_L1], seed, &l1, e);
    if (s == VM_OK)
        s = make_tlb(m, u, "l1i", &o->tlb[OPT_L1I], seed + 1, &l1i, e);
    if (s == VM_OK)
        s = make_tlb(m, u, "l1d", &o->tlb[OPT_L1D], seed + 2, &l1d, e);
    if (s == VM_OK)
        s = make_tlb(m, u, "l2", &o->tlb[OPT_L2], seed + 3, &l2, e);
    if (s == VM_OK)
        s = make_tlb(m, u, "l3", &o->tlb[OPT_L3], seed + 4, &l3, e);
    if (s != VM_OK)
        return s;
    make_chain(u, false, (tlb *[]){l1 ? l1 : l1d, l2, l3});
    make_chain(u, true, (tlb *[]){l1 ? l1 : l1i, l2, l3});
    for (unsigned k = 1; k < PT_LEVELS_MAX; k++) {
        static const char *const names[] = {"", "pwc.l1", "pwc.l2", "pwc.l3", "pwc.l4"};
        if (!o->pwc[k].entries)
            continue;
        if (k >= u->g.levels)
            return vm_fail(e, VM_INVALID, "pwc.l%u is given, but this page table has %u levels", k,
                           u->g.levels);
        tlb_config cfg = {.name = names[k],
                          .entries = (uint32_t)o->pwc[k].entries,
                          .ways = (uint32_t)o->pwc[k].ways,
                          .policy = policy_default(&policy_lru)};
        s = tlb_init(&u->pwc[k], &m->host, &cfg, (unsigned[TLB_CLASSES]){0}, o->shortcuts != 0, 0,
                     e);
        if (s != VM_OK)
            return s;
        u->has_pwc[k] = true;
    }
    return o->shortcuts ? mmu_use_memos(u, e) : VM_OK;
}

static vm_status make_all_tlbs(machine *m, vm_error *e)
{
    vm_status s = VM_OK;
    for (unsigned i = 0; i < m->hw.cpu_count && s == VM_OK; i++)
        s = make_tlbs(m, i, e);
    return s;
}

static uint64_t make_clock(void *ud) { return machine_clock(ud); }

static uint64_t make_accesses(void *ud)
{
    const machine *m = ud;
    return m->n.fetches + m->n.loads + m->n.stores;
}

static vm_status make_kernel(machine *m, vm_error *e)
{
    const machine_options *o = &m->opt;
    kernel_config cfg = {.policy = o->policy,
                         .frames = frame_alloc_classes[o->frames],
                         .swap_slots = (uint64_t)o->swap >> m->hw.g.page_bits,
                         .resident_limit = (uint64_t)o->resident,
                         .file_blocks = (uint64_t)o->disk_size >> m->hw.g.page_bits,
                         .low = (uint64_t)o->reclaim_low,
                         .high = (uint64_t)o->reclaim_high,
                         .stack_limit = (uint64_t)o->stack,
                         .kernel_low = (uint64_t)o->kernel_low,
                         .cluster = (unsigned)o->cluster,
                         .readahead = (unsigned)o->readahead,
                         .swap_readahead = (unsigned)o->swap_readahead,
                         .huge = (huge_mode)o->huge,
                         .huge_min = (uint64_t)o->huge_min,
                         .huge_scan = (uint64_t)o->huge_scan,
                         .compact = o->compact != 0,
                         .overcommit = (overcommit)o->overcommit,
                         .overcommit_ratio = (unsigned)o->overcommit_ratio,
                         .asid_bits = (unsigned)o->asid_bits,
                         .young_flush = o->young_flush != 0,
                         .zero_frame = o->zero_frame != 0,
                         .local = o->reclaim_scope != 0,
                         .quota = (quota)o->reclaim_quota,
                         .window = (uint64_t)o->reclaim_window,
                         .lifetime = (uint64_t)o->lifetime,
                         .seed = (uint64_t)o->seed};
    if (cfg.quota && !cfg.local)
        return vm_fail(e, VM_INVALID,
                       "reclaim.quota is \"%s\", but takes reclaim.scope = \"local\"",
                       option_find("reclaim.quota")->choice((int)o->reclaim_quota));
    const pt_geometry *g = &m->hw.g;
    if (cfg.huge && (!o->paging || g->levels < 2 || !g->format->large_levels))
        return vm_fail(e, VM_INVALID, "huge is \"%s\", but the page table has no large pages",
                       option_find("huge")->choice((int)o->huge));
    if (cfg.low > cfg.high)
        return vm_fail(e, VM_INVALID, "reclaim.low is %llu, above reclaim.high (%llu)",
                       (unsigned long long)cfg.low, (unsigned long long)cfg.high);
    vm_status s =
        disk_init(&m->hw.disk, &m->host, cfg.swap_slots + cfg.file_blocks, m->hw.g.page_bits, e);
    m->hw.disk.bad_reads = (uint64_t)o->bad_reads;
    m->hw.disk.bad_writes = (uint64_t)o->bad_writes;
    if (s == VM_OK)
        s = kernel_init(&m->kernel, &m->hw, &m->host, &cfg, e);
    m->kernel.accesses = make_accesses;
    m->kernel.accesses_ud = m;
    if (s == VM_OK)
        events_init(&m->kernel.events, &m->host, make_clock, m);
    return s;
}

vm_status machine_new(const vm_host *host, const machine_options *opt, machine **out, vm_error *e)
{
    machine *m = host_zalloc_aligned(host, sizeof *m);
    *out = NULL;
    if (!m)
        return vm_fail_nomem(e, "a machine");
    m->host = *host;
    m->opt = *opt;
    m->hw.host = &m->host;
    vm_status s = make_processors(m, e);
    if (s == VM_OK)
        s = make_paging(m, e);
    if (s == VM_OK)
        s = dram_init(&m->hw.mem, &m->host, (uint64_t)opt->dram_size, e);
    if (s == VM_OK)
        s = make_caches(m, e);
    if (s == VM_OK)
        s = make_all_tlbs(m, e);
    if (s == VM_OK)
        s = make_kernel(m, e);
    if (s == VM_OK && opt->boot)
        s = kernel_boot(&m->kernel, e);
    if (s != VM_OK) {
        machine_delete(m);
        return s;
    }
    machine_window_init(m);
    *out = m;
    return VM_OK;
}

void machine_delete(machine *m)
{
    if (!m)
        return;
    vm_host host = m->host;
    events_free(&m->kernel.events);
    if (m->kernel.host)
        kernel_free(&m->kernel);
    if (m->hw.disk.bytes.host)
        disk_free(&m->hw.disk);
    hardware *hw = &m->hw;
    for (unsigned cpu = 0; hw->cpus && cpu < hw->cpu_count; cpu++) {
        for (unsigned i = 0; i < CACHE_LEVELS; i++)
            cache_free(&hw->cpus[cpu].own[i]);
        mmu_free(&hw->cpus[cpu].mmu);
    }
    for (unsigned i = 0; i < CACHE_LEVELS; i++)
        cache_free(&hw->shared[i]);
    host_free_aligned(&host, hw->cpus, hw->cpu_count * sizeof *hw->cpus);
    dram_free(&m->hw.mem);
    host_free_aligned(&host, m, sizeof *m);
}

/* --- state set by hand --------------------------------------------------------------- */

static vm_status state_needs_paging(const machine *m, vm_error *e)
{
    return m->hw.mmu->paging ? VM_OK
                             : vm_fail(e, VM_INVALID,
                                       "paging is off: there are no PTEs and "
                                       "no TLB to set");
}

static vm_status state_check_vpn(const machine *m, uint64_t vpn, vm_error *e)
{
    const pt_geometry *g = &m->hw.g;
    if (vpn >> (g->va_bits - g->page_bits))
        return vm_fail(e, VM_INVALID, "VPN %#llx is not below 2^%u", (unsigned long long)vpn,
                       g->va_bits - g->page_bits);
    if (m->kernel.boot.mapped && vpn >= space_user_top(&m->kernel) >> g->page_bits)
        return vm_fail(e, VM_INVALID, "VPN %#llx is of the kernel's part of the space",
                       (unsigned long long)vpn);
    return VM_OK;
}

vm_status machine_forget_ptes(machine *m, process *p, vm_error *e)
{
    if (state_needs_paging(m, e) != VM_OK)
        return VM_INVALID;
    const pt_geometry *g = &m->hw.g;
    if (g->levels != 1)
        return vm_fail(e, VM_INVALID,
                       "PTEs can be set by hand only in a page table of one level; "
                       "this one has %u",
                       g->levels);
    if (p->space->resident || p->space->swapped)
        return vm_fail(e, VM_INVALID, "process %u has pages already: set PTEs by hand first",
                       p->pid);
    for (uint64_t i = 0; i < UINT64_C(1) << g->bits[0]; i++)
        if (!dram_put(&m->hw.mem, p->space->root + i * g->format->bytes, g->format->bytes,
                      g->format->unknown))
            return vm_fail_nomem(e, "a page table");
    return VM_OK;
}

vm_status machine_set_pte(machine *m, process *p, uint64_t vpn, uint64_t ppn, unsigned prot,
                          bool present, vm_error *e)
{
    if (state_needs_paging(m, e) != VM_OK)
        return VM_INVALID;
    const pt_geometry *g = &m->hw.g;
    kernel *k = &m->kernel;
    if (state_check_vpn(m, vpn, e) != VM_OK)
        return VM_INVALID;
    uint64_t va = sign_extend(vpn << g->page_bits, g->va_bits), pte_pa;
    va = g->canonical ? va : vpn << g->page_bits;
    vm_status s = kernel_make_tables(k, p->space, va, 0, &pte_pa, e);
    if (s != VM_OK)
        return s;
    pt_place at = pt_lookup(g, &m->hw.mem, p->space->root, va);
    if (at.pte & g->format->present) {
        kernel_release(k, p->space, va, &at);
    }
    if (!present) {
        dram_put(&m->hw.mem, pte_pa, g->format->bytes, 0);
        return VM_OK;
    }
    if (ppn >= k->low_frames)
        return vm_fail(e, VM_INVALID, "PPN %#llx is not below the machine's %llu frames",
                       (unsigned long long)ppn, (unsigned long long)k->low_frames);
    if (!frames_is_free(&k->frames, ppn))
        return vm_fail(e, VM_INVALID, "frame %#llx is in use already", (unsigned long long)ppn);
    s = frames_reserve(&k->frames, ppn, 1, e);
    if (s == VM_OK)
        s = policy_reserve(k->pol, (uint32_t)ppn + 1, e);
    if (s == VM_OK && !dram_put(&m->hw.mem, pte_pa, g->format->bytes,
                                pte_leaf(g->format, ppn, prot | PROT_USER, 0)))
        s = vm_fail_nomem(e, "a page table");
    if (s != VM_OK)
        return s;
    frames_take(&k->frames, ppn, 1, FRAME_PINNED);
    k->by_hand = true;
    p->space->resident++;
    return VM_OK;
}

vm_status machine_set_tlb(machine *m, process *p, unsigned level, uint64_t vpn, uint64_t ppn,
                          unsigned prot, vm_error *e)
{
    if (state_needs_paging(m, e) != VM_OK)
        return VM_INVALID;
    const mmu *u = m->hw.mmu;
    kernel_switch(&m->kernel, p);
    if (level >= u->chain_count[0])
        return vm_fail(e, VM_INVALID, "the machine has %u levels of data TLB, no level %u",
                       u->chain_count[0], level + 1);
    if (state_check_vpn(m, vpn, e) != VM_OK)
        return VM_INVALID;
    if (ppn >= m->kernel.low_frames)
        return vm_fail(e, VM_INVALID, "PPN %#llx is not below the machine's %llu frames",
                       (unsigned long long)ppn, (unsigned long long)m->kernel.low_frames);
    vm_status s = frames_reserve(&m->kernel.frames, ppn, 1, e);
    if (s == VM_OK)
        s = policy_reserve(m->kernel.pol, (uint32_t)ppn + 1, e);
    if (s != VM_OK)
        return s;
    uint64_t bits = TLB_U | (prot & PROT_R ? TLB_R : 0u) | (prot & PROT_W ? TLB_W : 0u) |
                    (prot & PROT_X ? TLB_X : 0u);
    tlb *t = u->chain[0][level];
    uint32_t set = (uint32_t)vpn & t->set_mask, used = 0;
    for (uint32_t i = 0; i < t->ways; i++)
        used += t->e[(size_t)set * t->ways + i].tag != 0;
    if (used == t->ways && !tlb_peek(t, vpn, u->asid))
        return vm_fail(e, VM_INVALID, "set %u of TLB %s is given more than its %u entries", set,
                       t->cfg.name, t->ways);
    s = tlb_fill(t, (tlb_entry){tlb_tag(vpn, u->asid, 0), ppn << 8 | bits}, e);
    t->n.fills--;
    return s;
}
