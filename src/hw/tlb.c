#include "tlb.h"

vm_status tlb_init(tlb *t, const vm_host *host, const tlb_config *cfg,
                   const unsigned class_shift[TLB_CLASSES], bool ordered, uint64_t seed,
                   vm_error *e)
{
    memset(t, 0, sizeof *t);
    t->cfg = *cfg;
    t->host = host;
    if (cfg->ways == 0 || cfg->entries % cfg->ways != 0 || !is_pow2(cfg->entries / cfg->ways))
        return vm_fail(e, VM_INVALID,
                       "tlb.%s: %u entries in %u ways do not make a power of two of sets",
                       cfg->name, cfg->entries, cfg->ways);
    t->ways = cfg->ways;
    t->set_mask = cfg->entries / cfg->ways - 1;
    memcpy(t->class_shift, class_shift, sizeof t->class_shift);
    t->ordered = ordered && cfg->policy.cls == &policy_lru;
    t->e = host_zalloc_aligned(host, cfg->entries * sizeof *t->e);
    if (!t->e)
        return vm_fail_nomem(e, "a TLB");
    if (t->ordered)
        return VM_OK;
    policy_config pc = {
        .sets = tlb_sets(t), .slots = cfg->ways, .capacity = cfg->ways, .seed = seed};
    vm_status s = policy_new(host, &cfg->policy, &pc, &t->pol, e);
    if (s == VM_OK)
        s = policy_reserve(t->pol, cfg->ways, e);
    if (s != VM_OK)
        tlb_free(t);
    return s;
}

void tlb_free(tlb *t)
{
    host_free_aligned(t->host, t->e, t->cfg.entries * sizeof *t->e);
    policy_delete(t->pol);
    t->e = NULL;
    t->pol = NULL;
}

/* Move entry i of a set to the front; those before it move back. */
static tlb_entry *tlb_front(tlb_entry *s, uint32_t i)
{
    tlb_entry found = s[i];
    for (; i > 0; i--)
        s[i] = s[i - 1];
    s[0] = found;
    return s;
}

/* The index of the tag, or of its global twin, in the set; ways: not there. */
VM_INLINE uint32_t tlb_find(const tlb *t, const tlb_entry *s, uint64_t tag)
{
    uint32_t i = 0;
    if (VM_LIKELY(t->global_held == 0)) {
        /* To the end without a branch: where the entry stands can't be predicted. */
        uint32_t at = t->ways;
        for (; i < t->ways; i++)
            at = s[i].tag == tag ? i : at;
        return at;
    }
    uint64_t global = tag | (uint64_t)TLB_GLOBAL << 3;
    while (i < t->ways && s[i].tag != tag && s[i].tag != global)
        i++;
    return i;
}

/* Calls `found` body with set and index for each size class that may hold vpn. */
VM_INLINE bool tlb_probe(const tlb *t, uint64_t vpn, uint32_t asid, uint32_t *set, uint32_t *at)
{
    for (unsigned k = 0; k < TLB_CLASSES; k++) {
        if (t->held[k] == 0)
            continue;
        uint64_t v = vpn >> t->class_shift[k];
        *set = (uint32_t)v & t->set_mask;
        *at = tlb_find(t, t->e + (size_t)*set * t->ways, tlb_tag(v, asid, k));
        if (*at < t->ways)
            return true;
    }
    return false;
}

tlb_entry *tlb_lookup(tlb *t, uint64_t vpn, uint32_t asid)
{
    uint32_t set, at;
    t->n.lookups++;
    if (!tlb_probe(t, vpn, asid, &set, &at)) {
        t->n.misses++;
        return NULL;
    }
    tlb_entry *s = t->e + (size_t)set * t->ways;
    if (t->ordered)
        return tlb_front(s, at);
    t->pol->cls->touch(t->pol, set, at, false);
    return s + at;
}

const tlb_entry *tlb_peek(const tlb *t, uint64_t vpn, uint32_t asid)
{
    uint32_t set, at;
    return tlb_probe(t, vpn, asid, &set, &at) ? t->e + (size_t)set * t->ways + at : NULL;
}

static void tlb_count(tlb *t, uint64_t tag, int by)
{
    t->held[tlb_tag_class(tag)] += (uint32_t)by;
    if (tlb_tag_asid(tag) == TLB_GLOBAL)
        t->global_held += (uint32_t)by;
}

static void tlb_drop(tlb *t, uint32_t set, uint32_t at)
{
    tlb_entry *s = t->e + (size_t)set * t->ways;
    tlb_count(t, s[at].tag, -1);
    if (t->ordered) {
        for (; at + 1 < t->ways; at++) /* the hole moves to the tail */
            s[at] = s[at + 1];
    } else {
        t->pol->cls->remove(t->pol, set, at);
    }
    s[at] = (tlb_entry){0, 0};
}

vm_status tlb_fill_missing(tlb *t, tlb_entry entry, vm_error *e)
{
    if (!t->ordered)
        return tlb_fill(t, entry, e);
    tlb_entry *s = t->e + (size_t)((uint32_t)tlb_tag_vpn(entry.tag) & t->set_mask) * t->ways;
    uint64_t last = s[t->ways - 1].tag; /* empty ways are at the tail */
    memmove(s + 1, s, (t->ways - 1) * sizeof *s);
    s[0] = entry;
    t->n.fills++;
    tlb_count(t, entry.tag, 1);
    if (last) {
        t->n.evictions++;
        tlb_count(t, last, -1);
    }
    return VM_OK;
}

vm_status tlb_fill(tlb *t, tlb_entry entry, vm_error *e)
{
    uint32_t set = (uint32_t)tlb_tag_vpn(entry.tag) & t->set_mask;
    tlb_entry *s = t->e + (size_t)set * t->ways;
    uint32_t at = 0;
    t->n.fills++;
    while (at < t->ways && s[at].tag != entry.tag)
        at++;
    bool replaces = at < t->ways;
    if (!replaces) {
        at = 0;
        while (at < t->ways && s[at].tag != 0)
            at++;
    }
    if (at == t->ways) {
        at = t->ways - 1;
        if (!t->ordered) {
            vm_status st = t->pol->cls->victim(t->pol, set, entry.tag, &at, e);
            if (st != VM_OK)
                return st;
            if (at >= t->ways)
                return vm_fail(e, VM_POLICY, "policy %s of TLB %s chose way %u of %u",
                               t->pol->cls->name, t->cfg.name, at, t->ways);
        }
        t->n.evictions++;
    }
    if (s[at].tag)
        tlb_count(t, s[at].tag, -1);
    tlb_count(t, entry.tag, 1);
    s[at] = entry;
    if (t->ordered)
        tlb_front(s, at);
    else if (replaces)
        t->pol->cls->touch(t->pol, set, at, false);
    else
        t->pol->cls->insert(t->pol, set, at, entry.tag);
    return VM_OK;
}

void tlb_update(tlb *t, uint64_t tag, uint64_t pay)
{
    tlb_entry *s = t->e + (size_t)((uint32_t)tlb_tag_vpn(tag) & t->set_mask) * t->ways;
    for (uint32_t i = 0; i < t->ways; i++)
        if (s[i].tag == tag)
            s[i].pay = pay;
}

bool tlb_invalidate(tlb *t, uint64_t vpn, uint32_t asid)
{
    uint32_t set, at;
    bool any = false;
    while (tlb_probe(t, vpn, asid, &set, &at)) {
        tlb_drop(t, set, at);
        t->n.invalidations++;
        any = true;
    }
    return any;
}

static void tlb_flush_where(tlb *t, uint32_t asid, bool global)
{
    for (uint32_t set = 0; set < tlb_sets(t); set++)
        for (uint32_t i = t->ways; i-- > 0;) {
            uint64_t tag = t->e[(size_t)set * t->ways + i].tag;
            uint32_t of = tlb_tag_asid(tag);
            if (tag && (asid == TLB_GLOBAL ? global || of != TLB_GLOBAL : of == asid)) {
                tlb_drop(t, set, i);
                t->n.invalidations++;
            }
        }
}

void tlb_flush(tlb *t, uint32_t asid) { tlb_flush_where(t, asid, false); }
void tlb_flush_all(tlb *t) { tlb_flush_where(t, TLB_GLOBAL, true); }

const char *tlb_check(const tlb *t)
{
    uint32_t held[TLB_CLASSES] = {0}, global = 0;
    for (uint32_t set = 0; set < tlb_sets(t); set++) {
        const tlb_entry *s = t->e + (size_t)set * t->ways;
        for (uint32_t i = 0; i < t->ways; i++) {
            if (!s[i].tag)
                continue;
            held[tlb_tag_class(s[i].tag)]++;
            global += tlb_tag_asid(s[i].tag) == TLB_GLOBAL;
            if (((uint32_t)tlb_tag_vpn(s[i].tag) & t->set_mask) != set)
                return "tlb: an entry is in a set that is not its own";
            if (t->ordered && i > 0 && !s[i - 1].tag)
                return "tlb: an empty way stands before a full one";
            for (uint32_t j = 0; j < i; j++)
                if (s[j].tag == s[i].tag)
                    return "tlb: an entry is in its set twice";
        }
    }
    for (unsigned k = 0; k < TLB_CLASSES; k++)
        if (held[k] != t->held[k])
            return "tlb: the count of a page size is wrong";
    return global == t->global_held ? NULL : "tlb: the count of global entries is wrong";
}
