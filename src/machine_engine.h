/* machine_engine.h: the loop of machine_run, included once for each kind of
 * processor by machine_run.c, which defines before
 *   ENGINE(name)     the name of this instance of a function
 *   ENGINE_SET_8, ENGINE_SET_16   the operation on a packed set of 8 or 16 ways
 *   ENGINE_FIND(entries, ways, tag)   the index of a TLB entry, or ways
 *
 * Four ways for a record, each exact:
 *   front   its page is the most recent of its L1 TLB set and its line of its L1
 *           cache set: nothing changes but counts, which are kept in a register;
 *   near    within one line; the L1 TLB, the L2 TLB, or a walk whose way is
 *           remembered, translates it, and no fault or permission is in question;
 *   far     within one line, but the MMU and perhaps the kernel must be asked;
 *   plain   machine_one, which does everything.
 * Each way looks first and changes something only when it will serve the record.
 * While records take the slower ways, the host is told what the coming ones need.
 */

/* One access to a simple cache, and so on down until the line is found. */
VM_INLINE bool ENGINE(touch)(const cache *c, uint64_t line, uint32_t dirty, uint32_t *victim)
{
    uint32_t *set = cache_packed_set(c, line), key = (uint32_t)line << 1;
    if ((set[0] & ~1u) == key) {
        set[0] |= dirty;
        return true;
    }
    if (c->ways == 8)
        return ENGINE_SET_8(set, 8, key, dirty, victim);
    if (c->ways == 16)
        return ENGINE_SET_16(set, 16, key, dirty, victim);
    return set_touch(set, c->ways, key, dirty, victim);
}

static VM_NOINLINE void ENGINE(writeback)(cache *c, uint64_t line)
{
    for (;;) {
        uint32_t victim;
        c->n.writebacks_in++;
        if (ENGINE(touch)(c, line, 1, &victim))
            return;
        c->n.writeback_misses++;
        if (!(victim & 1))
            return;
        c->n.writebacks++;
        if (!c->next) {
            c->memory->writes++;
            return;
        }
        line = victim >> 1;
        c = c->next;
    }
}

static VM_NOINLINE void ENGINE(below)(cache *c, uint64_t line, uint32_t victim, traffic t)
{
    for (;;) { /* c has missed the line and given up the victim */
        if (victim & 1) {
            c->n.writebacks++;
            if (c->next)
                ENGINE(writeback)(c->next, victim >> 1);
            else
                c->memory->writes++;
        }
        c = c->next;
        c->n.refs[0][t]++;
        if (ENGINE(touch)(c, line, 0, &victim))
            return;
        c->n.misses[0][t]++;
        if (!c->next) {
            if (victim & 1) {
                c->n.writebacks++;
                c->memory->writes++;
            }
            c->memory->reads[t]++;
            return;
        }
    }
}

VM_INLINE void ENGINE(access)(cache *c, uint64_t line, bool write, traffic t)
{
    uint32_t victim;
    c->n.refs[write][t]++;
    if (ENGINE(touch)(c, line, write, &victim))
        return;
    c->n.misses[write][t]++;
    if (VM_LIKELY(c->next != NULL)) {
        ENGINE(below)(c, line, victim, t);
        return;
    }
    if (victim & 1) {
        c->n.writebacks++;
        c->memory->writes++;
    }
    c->memory->reads[t]++;
}

/* Put an entry in front of an ordered set that lacks it. */
VM_INLINE void ENGINE(fill)(tlb *t, tlb_entry entry)
{
    tlb_entry *s = t->e + (size_t)((uint32_t)tlb_tag_vpn(entry.tag) & t->set_mask) * t->ways;
    uint64_t last = s[t->ways - 1].tag;
    for (uint32_t i = t->ways - 1; i > 0; i--)
        s[i] = s[i - 1];
    s[0] = entry;
    t->n.fills++;
    t->held[0]++;
    if (last) {
        t->n.evictions++;
        t->held[tlb_tag_class(last)]--;
        t->global_held -= tlb_tag_asid(last) == TLB_GLOBAL;
    }
}

/* Translate by a remembered way to the leaf table; false, and nothing has
 * happened, if there is none or the walk would do more than set A and D. */
VM_INLINE bool ENGINE(walk)(machine *m, uint64_t va, uint64_t vpn, const lane *l, tlb_entry *out)
{
    mmu *u = &m->hw.mmu;
    const pte_format *f = u->g.format;
    uint64_t region = va >> u->g.shift[1];
    const walk_memo *w = &u->memos[region % WALK_MEMOS];
    if (w->region != region || w->root != u->root || w->generation != u->generation)
        return false;
    uint64_t at = pt_index(&u->g, va, 0) * 8, pte;
    memcpy(&pte, w->leaf + at, 8);
    uint64_t set = f->accessed | (l->need & TLB_D ? f->dirty : 0);
    if ((pte & (f->present | set)) != (f->present | set) || !pte_is_leaf(f, pte, 0))
        return false;
    uint64_t bits = mmu_payload_bits(f, pte);
    uint64_t allowed = bits & (w->perm | TLB_D);
    if ((allowed & l->need) != l->need || bits & TLB_G)
        return false;
    cache *c = u->walk_cache;
    u->n.walks++;
    for (unsigned k = u->g.levels - 1; k > 0; k--) {
        u->n.pte_reads[k]++;
        ENGINE(access)(c, w->pa[k] >> c->line_bits, false, TRAFFIC_WALK);
    }
    u->n.pte_reads[0]++;
    ENGINE(access)(c, (w->pa[0] + at) >> c->line_bits, false, TRAFFIC_WALK);
    out->tag = tlb_tag(vpn, u->asid, 0);
    out->pay = pte_ppn(f, pte) << 8 | allowed;
    return true;
}

/* The page's entry from the L1 TLB, the L2 TLB or a walk; false: nothing done. */
VM_INLINE bool ENGINE(translate)(machine *m, const lane *l, uint64_t va, uint64_t vpn, uint64_t tag,
                                 uint64_t *pay)
{
    tlb_entry *s = l->tlb + (size_t)((uint32_t)vpn & l->tlb_mask) * l->tlb_ways;
    tlb *first = l->levels->first, *second = l->levels->second;
    uint32_t at = 0;
    /* A global entry of another's may stand for the page: looked for on the far way. */
    if (VM_UNLIKELY((first->global_held | (second ? second->global_held : 0)) != 0))
        return false;
    while (at < l->tlb_ways && s[at].tag != tag)
        at++;
    if (at < l->tlb_ways) {
        tlb_entry hit = s[at];
        if ((hit.pay & l->need) != l->need)
            return false;
        for (; at > 0; at--)
            s[at] = s[at - 1];
        s[0] = hit;
        first->n.lookups++;
        *pay = hit.pay;
        return true;
    }
    if (!second)
        return false;
    tlb_entry *s2 = second->e + (size_t)((uint32_t)vpn & second->set_mask) * second->ways, found;
    at = ENGINE_FIND(s2, second->ways, tag);
    if (at < second->ways) {
        found = s2[at];
        if ((found.pay & l->need) != l->need)
            return false;
        for (; at > 0; at--)
            s2[at] = s2[at - 1];
        s2[0] = found;
    } else {
        if (!ENGINE(walk)(m, va, vpn, l, &found))
            return false;
        second->n.misses++;
        ENGINE(fill)(second, found);
    }
    second->n.lookups++;
    first->n.lookups++;
    first->n.misses++;
    ENGINE(fill)(first, found);
    *pay = found.pay;
    return true;
}

VM_INLINE void ENGINE(ahead)(const machine *m, const access_record *r, size_t i, size_t n)
{
    uint64_t pa;
    if (VM_UNLIKELY(i + RUN_AHEAD_PTE >= n))
        return;
    mmu_prefetch(&m->hw.mmu, r[i + RUN_AHEAD_PTE].addr);
    if (!mmu_guess(&m->hw.mmu, r[i + RUN_AHEAD_SET].addr, &pa))
        return;
    for (const cache *c = m->hw.l1d->next; c; c = c->next)
        VM_PREFETCH(cache_packed_set(c, pa >> c->line_bits));
}

/* An access within one line. */
static VM_NOINLINE vm_status ENGINE(within)(machine *m, process *p, const lane *l,
                                            const access_record *r, uint64_t tag, fault_info *info,
                                            vm_error *e)
{
    const access_kind kind = (access_kind)r->kind;
    const uint64_t va = r->addr;
    const unsigned page_bits = m->hw.mmu.g.page_bits;
    policy *pol = m->kernel.pol;
    uint64_t pay, pa;
    if (VM_LIKELY(ENGINE(translate)(m, l, va, va >> page_bits, tag, &pay))) {
        pa = (pay >> 8 << page_bits) | (va & low_mask(page_bits));
        if (pol->cls->exact)
            pol->stamps[pay >> 8] = ++pol->tick;
    } else {
        vm_status st = machine_translate(m, p, va, kind, &pa, info, e);
        if (VM_UNLIKELY(st != VM_OK))
            return st;
        if (VM_UNLIKELY(m->hw.failed != VM_OK))
            return machine_failed(m, e);
    }
    bool fetch = kind == ACCESS_FETCH;
    cache *c = fetch ? m->hw.l1i : m->hw.l1d;
    ENGINE(access)
    (c, pa >> c->line_bits, kind == ACCESS_STORE, fetch ? TRAFFIC_FETCH : TRAFFIC_DATA);
    m->n.fetches += fetch;
    m->n.loads += kind == ACCESS_LOAD;
    m->n.stores += kind == ACCESS_STORE;
    return VM_OK;
}

/* The loop. `page_bits`, `line_bits`, `virtual_set` and `exact` are constants
 * where it is used; `virtual_set`: the L1 set follows from the offset in the page. */
VM_INLINE vm_status ENGINE(loop)(machine *m, process *p, uint16_t task, const access_record *r,
                                 size_t n, size_t *done, const lane lanes[4],
                                 const unsigned page_bits, const unsigned line_bits,
                                 const bool virtual_set, const bool exact, fault_info *info,
                                 vm_error *e)
{
    const uint64_t line_mask = low_mask(line_bits);
    const unsigned in_page = page_bits - line_bits;
    const unsigned limit_bits = m->hw.mmu.g.va_bits - m->hw.mmu.g.canonical;
    const uint64_t asid_tag = tlb_tag(0, m->hw.mmu.asid, 0);
    policy *pol = m->kernel.pol;
    /* The line at which each kind of access had its last front hit, while nothing has
     * changed since: front hits change nothing, so it would be one still. */
    uint64_t last[4] = {UINT64_MAX, UINT64_MAX, UINT64_MAX, UINT64_MAX}, frame_of[4] = {0};
    uint64_t packed = 0;
    vm_status s = VM_OK;
    size_t i;
    for (i = 0; i < n; i++) {
        const uint64_t va = r[i].addr, vpn = va >> page_bits;
        if (VM_UNLIKELY((r[i].kind > ACCESS_MODIFY) | (r[i].task != task)))
            break;
        const unsigned kind = r[i].kind;
        const lane *l = &lanes[kind];
        const uint64_t over = ((va & line_mask) + r[i].size - 1) >> line_bits;
        if (((va >> line_bits ^ last[kind]) | over) == 0) {
            packed += l->count;
            if (exact)
                pol->stamps[frame_of[kind]] = ++pol->tick;
            continue;
        }
        const tlb_entry *t = l->tlb + (size_t)((uint32_t)vpn & l->tlb_mask) * l->tlb_ways;
        const uint64_t pay = t->pay;
        const uint32_t index = (uint32_t)(va >> line_bits & low_mask(in_page));
        const uint32_t line = (uint32_t)(pay >> 8 << in_page) | index;
        const uint32_t set = (virtual_set ? index : line) & l->tag_mask;
        const uint32_t tag = l->tags[(size_t)set << l->tag_shift];
        /* Every way not to be a front hit leaves a bit: another page, not allowed,
         * another line or a clean one, no address of a page at all, over two lines. */
        const uint64_t wild = va >> limit_bits;
        const uint64_t other = (t->tag ^ (vpn << 19 | asid_tag)) | (~pay & l->need) |
                               ((tag | l->any_dirty) ^ (line << 1 | 1)) | wild;
        if (VM_LIKELY((other | over) == 0)) {
            packed += l->count;
            last[kind] = va >> line_bits;
            if (exact) {
                frame_of[kind] = pay >> 8;
                pol->stamps[pay >> 8] = ++pol->tick;
            }
            continue;
        }
        last[0] = last[1] = last[2] = last[3] = UINT64_MAX;
        /* Events carry the clock, and quotas are told by accesses. */
        if (VM_UNLIKELY((m->kernel.events.wanted | m->kernel.cfg.quota) != 0)) {
            run_settle(m, packed);
            packed = 0;
        }
        if (VM_LIKELY((over == 0) & (wild == 0) & (kind != ACCESS_MODIFY))) {
            ENGINE(ahead)(m, r, i, n);
            s = ENGINE(within)(m, p, l, &r[i], vpn << 19 | asid_tag, info, e);
        } else {
            s = machine_one(m, p, va, r[i].size, (access_kind)kind, NULL, NULL, info, e);
        }
        if (VM_UNLIKELY(s != VM_OK))
            break;
    }
    run_settle(m, packed);
    *done = i;
    return s;
}

static vm_status ENGINE(run)(machine *m, process *p, uint16_t task, const access_record *r,
                             size_t n, size_t *done, const lane lanes[4], fault_info *info,
                             vm_error *e)
{
    const unsigned page_bits = m->hw.mmu.g.page_bits, line_bits = m->hw.l1d->line_bits;
    const uint32_t widest = m->hw.l1d->set_mask | m->hw.l1i->set_mask;
    const bool exact = m->kernel.pol->cls->exact;
    if (page_bits != 12 || line_bits != 6 || widest > 63)
        return ENGINE(loop)(m, p, task, r, n, done, lanes, page_bits, line_bits, false, exact, info,
                            e);
    if (exact)
        return ENGINE(loop)(m, p, task, r, n, done, lanes, 12, 6, true, true, info, e);
    return ENGINE(loop)(m, p, task, r, n, done, lanes, 12, 6, true, false, info, e);
}

#undef ENGINE
#undef ENGINE_SET_8
#undef ENGINE_SET_16
#undef ENGINE_FIND
