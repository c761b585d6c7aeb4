/* machine_engine.h: the loop of machine_run, included once for each kind of
 * processor by machine_run.c, which defines before
 *   ENGINE(name)     the name of this instance of a function
 *   ENGINE_SET_8, ENGINE_SET_16   the operation on a packed set of 8 or 16 ways
 *   ENGINE_FIND(entries, ways, tag)   the index of a TLB entry, or ways
 *   ENGINE_FRONT(entries, ways, i, entry)   entry comes first, those before i move back
 *
 * Four ways for a record, each exact:
 *   front   its page is the most recent of its L1 TLB set and its line of its L1
 *           cache set: nothing changes but counts, which are kept in a register;
 *   near    within one line or over two of one page; the L1 TLB, the L2 TLB, or a
 *           walk whose way is remembered, translates it, and no fault or permission
 *           is in question;
 *   far     the same lines, but the MMU and perhaps the kernel must be asked;
 *   plain   machine_one, which does everything.
 * Each way looks first and changes something only when it will serve the record.
 * While records take the slower ways, the host is told what the coming ones need.
 */

#include "machine_batch.h"

/* Put an entry in front of an ordered set that lacks it. That it took another's
 * place is counted later, for all fills; what differs from that is put right here. */
VM_INLINE void ENGINE(fill)(tlb *t, tlb_entry *s, tlb_entry entry)
{
    uint64_t last = s[t->ways - 1].tag;
    ENGINE_FRONT(s, t->ways, t->ways - 1, entry);
    if (VM_UNLIKELY(!last || tlb_tag_class(last))) {
        t->held[0]++;
        if (last)
            t->held[tlb_tag_class(last)]--;
        else
            t->n.evictions--;
    }
}

/* The reads of the entries above the leaf, of a remembered walk. */
VM_INLINE void ENGINE(above)(mmu *u, const walk_memo *w, pending *q)
{
    cache *c = u->walk_cache;
    uint32_t moved = 0;
    for (unsigned k = u->g.levels - 1; k > 0; k--)
        moved |= (c->packed[w->settled_at[k]] & ~1u) ^ w->settled_tag[k];
    if (VM_LIKELY(!moved))
        return;
    for (unsigned k = u->g.levels - 1; k > 0; k--)
        ENGINE(access)(c, w->pa[k] >> c->line_bits, false, TRAFFIC_WALK, q);
}

/* Translate by a remembered way to the leaf table; false, and nothing has
 * happened, if there is none or the walk would do more than set A and D. */
VM_INLINE bool ENGINE(walk)(pending *q, const lane *l, uint64_t vpn, tlb_entry *out,
                            const unsigned line_bits)
{
    mmu *u = q->mmu;
    const lane_more *k = l->more;
    uint64_t region = vpn >> k->leaf_bits;
    const walk_memo *w = &u->memos[region % WALK_MEMOS];
    if (w->region != region || w->root != u->root || w->generation != u->generation)
        return false;
    uint64_t at = (vpn & low_mask(k->leaf_bits)) * 8, pte;
    memcpy(&pte, w->leaf + at, 8);
    uint64_t bits = mmu_payload(u, pte);
    uint64_t allowed = bits & (w->perm | TLB_D);
    /* What is allowed says as well that the entry is a leaf. */
    if ((pte & k->pte_need) != k->pte_need || (allowed & l->need) != l->need || bits & TLB_G)
        return false;
    ENGINE(above)(u, w, q);
    ENGINE(access)(u->walk_cache, (w->pa[0] + at) >> line_bits, false, TRAFFIC_WALK, q);
    out->tag = vpn << 19 | q->asid_tag;
    out->pay = pte_ppn(u->g.format, pte) << 8 | allowed;
    return true;
}

/* The page's entry from the L1 TLB, the L2 TLB or a walk; false: nothing done. */
VM_INLINE bool ENGINE(translate)(pending *q, const lane *l, uint64_t vpn, uint64_t *pay,
                                 const unsigned line_bits)
{
    const uint64_t tag = vpn << 19 | q->asid_tag;
    tlb_entry *s = l->tlb + (size_t)((uint32_t)vpn & l->tlb_mask) * l->tlb_ways;
    tlb *first = l->more->first, *second = l->more->second;
    /* A global entry of another's may stand for the page: looked for on the far way. */
    if (VM_UNLIKELY((first->global_held | (second ? second->global_held : 0)) != 0))
        return false;
    if (s[0].tag == tag) {
        *pay = s[0].pay;
        return (*pay & l->need) == l->need;
    }
    uint32_t at = ENGINE_FIND(s, l->tlb_ways, tag);
    if (at < l->tlb_ways) {
        tlb_entry hit = s[at];
        if ((hit.pay & l->need) != l->need)
            return false;
        ENGINE_FRONT(s, l->tlb_ways, at, hit);
        *pay = hit.pay;
        return true;
    }
    if (!second)
        return false;
    mmu_prefetch(q->mmu, q->coming);
    tlb_entry *s2 = second->e + (size_t)((uint32_t)vpn & second->set_mask) * second->ways, found;
    at = ENGINE_FIND(s2, second->ways, tag);
    if (at < second->ways) {
        found = s2[at];
        if ((found.pay & l->need) != l->need)
            return false;
        ENGINE_FRONT(s2, second->ways, at, found);
    } else {
        if (!ENGINE(walk)(q, l, vpn, &found, line_bits))
            return false;
        q->walks[l->more->fetch]++;
        ENGINE(fill)(second, s2, found);
    }
    q->misses[l->more->fetch]++;
    ENGINE(fill)(first, s, found);
    *pay = found.pay;
    return true;
}

/* An access within one page: fetch, load or store. `over` is 0, or 1 if it reaches
 * into the next line. */
VM_INLINE vm_status ENGINE(within)(pending *q, const lane *l, uint64_t va, uint64_t over,
                                   const unsigned page_bits, const unsigned line_bits)
{
    machine *m = q->m;
    policy *pol = m->kernel.pol;
    const bool write = l->more->kind == ACCESS_STORE;
    const traffic t = l->more->fetch ? TRAFFIC_FETCH : TRAFFIC_DATA;
    uint64_t pay, pa;
    if (VM_UNLIKELY(q->n > QUEUE_ROOM - QUEUE_ACCESS))
        ENGINE(settle)(q);
    m->n.line_straddles += over;
    if (VM_LIKELY(ENGINE(translate)(q, l, va >> page_bits, &pay, line_bits))) {
        pa = (pay >> 8 << page_bits) | (va & low_mask(page_bits));
        q->near += l->count;
        q->frame = pay >> 8;
        /* The stamp of a frame that the policy does not rule over (locked, of zeros, of a
         * large page) is never read: such a frame is not in its heap, and to insert it is
         * to stamp it anew. There is room, for no frame is taken without. */
        if (pol->cls->exact)
            pol->stamps[pay >> 8] = ++pol->tick;
    } else {
        ENGINE(settle)(q);
        q->frame = FRAME_NONE;
        vm_status st = machine_translate(m, q->p, va, l->more->kind, &pa, q->info, q->e);
        if (VM_UNLIKELY(st != VM_OK))
            return st;
        if (VM_UNLIKELY(m->hw.failed != VM_OK))
            return machine_failed(m, q->e);
        l->more->cache->n.refs[write][t]++;
        m->n.fetches += l->more->kind == ACCESS_FETCH;
        m->n.loads += l->more->kind == ACCESS_LOAD;
        m->n.stores += write;
    }
    ENGINE(access)(l->more->cache, pa >> line_bits, write, t, q);
    if (VM_UNLIKELY(over)) {
        l->more->cache->n.refs[write][t]++;
        ENGINE(access)(l->more->cache, (pa >> line_bits) + 1, write, t, q);
    }
    return VM_OK;
}

static VM_NOINLINE vm_status ENGINE(within_any)(pending *q, const lane *l, uint64_t va,
                                                uint64_t over)
{
    return ENGINE(within)(q, l, va, over, q->mmu->g.page_bits, l->more->cache->line_bits);
}

/* Pages of 4 KiB, lines of 64 bytes. */
static VM_NOINLINE vm_status ENGINE(within_usual)(pending *q, const lane *l, uint64_t va,
                                                  uint64_t over)
{
    return ENGINE(within)(q, l, va, over, 12, 6);
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
    const unsigned limit_bits = m->hw.g.va_bits - m->hw.g.canonical;
    const uint64_t asid_tag = tlb_tag(0, m->hw.mmu->asid, 0);
    policy *pol = m->kernel.pol;
    /* Quotas, load control and some policies are told by accesses. */
    const bool timed = m->kernel.cfg.quota || m->kernel.cfg.lifetime || pol->cls->timed;
    /* The line at which each kind of access had its last front hit, while nothing has
     * changed since: front hits change nothing, so it would be one still. */
    uint64_t last[4] = {UINT64_MAX, UINT64_MAX, UINT64_MAX, UINT64_MAX}, frame_of[4] = {0};
    vm_status (*const within)(pending *, const lane *, uint64_t, uint64_t) =
        virtual_set ? ENGINE(within_usual) : ENGINE(within_any);
    uint64_t packed = 0;
    uint64_t *stamps = pol->stamps, tick = pol->tick;
    pending q; /* its requests need no first values */
    pending_init(&q, m, p, info, e);
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
                stamps[frame_of[kind]] = ++tick;
            continue;
        }
        const tlb_entry *t = l->tlb + (size_t)((uint32_t)vpn & l->tlb_mask) * l->tlb_ways;
        const uint64_t pay = t->pay;
        const uint32_t index = (uint32_t)(va >> line_bits & low_mask(in_page));
        const uint32_t line = (uint32_t)(pay >> 8 << in_page) | index;
        const uint32_t set = (virtual_set ? index : line) & l->tag_mask;
        uint32_t *const front = &l->tags[(size_t)set << l->tag_shift];
        const uint32_t tag = *front;
        /* Every way not to be a front hit leaves a bit: another page, not allowed,
         * another line, no address of a page at all, over two lines. */
        const uint64_t wild = va >> limit_bits;
        const uint64_t other = (t->tag ^ (vpn << 19 | asid_tag)) | (~pay & l->need) |
                               ((tag | 1) ^ (line << 1 | 1)) | wild;
        if (VM_LIKELY((other | over) == 0)) {
            packed += l->count;
            last[kind] = va >> line_bits;
            if (VM_UNLIKELY(l->dirties & ~tag))
                *front = tag | 1;
            if (exact) {
                frame_of[kind] = pay >> 8;
                stamps[pay >> 8] = ++tick;
            }
            continue;
        }
        last[0] = last[1] = last[2] = last[3] = UINT64_MAX;
        if (exact)
            pol->tick = tick;
        if (VM_UNLIKELY(m->kernel.events.wanted || timed)) { /* events carry the clock */
            run_settle(m, packed);
            packed = 0;
        }
        const bool two = over == 1 && (((va >> line_bits) + 1) & low_mask(in_page)) != 0;
        if (VM_LIKELY(((over ^ two) | wild) == 0)) {
            q.coming = i + RUN_AHEAD < n ? r[i + RUN_AHEAD].addr : va;
            if (kind != ACCESS_MODIFY) {
                s = within(&q, l, va, over);
            } else {
                s = within(&q, &lanes[ACCESS_LOAD], va, over);
                if (s == VM_OK)
                    s = within(&q, &lanes[ACCESS_STORE], va, over);
                m->n.modifies += s == VM_OK;
            }
        } else {
            ENGINE(settle)(&q);
            q.frame = FRAME_NONE;
            s = machine_one(m, p, va, r[i].size, (access_kind)kind, NULL, NULL, info, e);
        }
        if (exact) { /* a fault may have made room for more stamps */
            stamps = pol->stamps;
            tick = pol->tick;
        }
        if (VM_UNLIKELY(s != VM_OK))
            break;
        if (q.frame != FRAME_NONE) { /* page and (last) line are in front now */
            last[kind] = (va >> line_bits) + over;
            frame_of[kind] = q.frame;
        }
    }
    if (exact)
        pol->tick = tick;
    ENGINE(settle)(&q);
    run_settle(m, packed);
    *done = i;
    return s;
}

static vm_status ENGINE(run)(machine *m, process *p, uint16_t task, const access_record *r,
                             size_t n, size_t *done, const lane lanes[4], fault_info *info,
                             vm_error *e)
{
    const unsigned page_bits = m->hw.g.page_bits, line_bits = m->hw.l1d->line_bits;
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
#undef ENGINE_FRONT
