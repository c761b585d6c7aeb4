/* machine_batch.h: the caches below the first level, served a queue at a time.
 * A template, included by machine_engine.h.
 *
 * What a level of caches holds depends on nothing but the requests that reach it
 * and their order. Simple caches (see cache.h) feed nothing upward, so the first
 * level puts what it asks of the next one in a queue; when that is full, one
 * level after the other goes through all of it, each making the queue of the next.
 * The host then works on many sets at a time, which it can be told of ahead, where
 * an access that goes down alone waits for each set in turn.
 *
 * A request is a packed tag, line << 1 | dirty, in its low half; its class is in
 * the high half, as the shift of its count in a word of four counts: reads of data,
 * fetches and walks, which are never dirty, and lines written back, which always are.
 *
 * Whoever lets anything else see these caches settles what is pending before: the
 * far and the plain way, and the end of a run.
 */

/* One reference to a set; true: hit. `ways` is a constant where it matters. */
VM_INLINE bool ENGINE(touch)(uint32_t *set, uint32_t ways, uint32_t key, uint32_t dirty,
                             uint32_t *victim)
{
    if (ways == 8)
        return ENGINE_SET_8(set, 8, key, dirty, victim);
    if (ways == 16)
        return ENGINE_SET_16(set, 16, key, dirty, victim);
    return set_touch(set, ways, key, dirty, victim);
}

/* n requests, at most QUEUE_PART, to one level. What it asks of the next comes in
 * `below`; its size is returned. `asked` and `missed` count by class. */
VM_INLINE size_t ENGINE(level)(const cache *c, const uint32_t ways, const unsigned stride_bits,
                               const uint64_t *q, size_t n, uint64_t *below, uint64_t *asked,
                               uint64_t *missed)
{
    uint32_t *const tags = c->packed;
    const uint32_t mask = c->set_mask;
    uint64_t all = 0, lost = 0;
    size_t out = 0;
    for (size_t i = 0; i < n; i++) {
        const uint64_t ask = q[i], one = UINT64_C(1) << (ask >> 32);
        const uint32_t tag = (uint32_t)ask;
        uint32_t victim = 0;
        VM_PREFETCH(tags + ((size_t)((uint32_t)q[i + QUEUE_AHEAD] >> 1 & mask) << stride_bits));
        const uint32_t miss = !ENGINE(touch)(tags + ((size_t)(tag >> 1 & mask) << stride_bits),
                                             ways, tag & ~1u, tag & 1, &victim);
        all += one;
        lost += miss ? one : 0;
        below[out] = (uint64_t)QUEUE_BACK << 32 | victim;
        out += miss & victim;
        below[out] = ask;
        out += miss & ~tag;
    }
    *asked = all;
    *missed = lost;
    return out;
}

/* Serve n requests to c and the levels below it. There is room for QUEUE_AHEAD more
 * behind them. */
static VM_NOINLINE void ENGINE(serve)(cache *c, uint64_t *q, size_t n)
{
    uint64_t below[QUEUE_ROOM + QUEUE_AHEAD], asked, missed;
    memset(q + n, 0, QUEUE_AHEAD * sizeof *q);
    for (size_t part; n; q += part, n -= part) {
        part = n < QUEUE_PART ? n : QUEUE_PART;
        size_t out = c->ways == 8    ? ENGINE(level)(c, 8, 3, q, part, below, &asked, &missed)
                     : c->ways == 16 ? ENGINE(level)(c, 16, 4, q, part, below, &asked, &missed)
                                     : ENGINE(level)(c, c->ways, c->stride_bits, q, part, below,
                                                     &asked, &missed);
        uint64_t backs = out;
        for (unsigned t = 0; t < TRAFFIC_CLASSES; t++) {
            uint64_t reads = queue_count(missed, t);
            c->n.refs[0][t] += queue_count(asked, t);
            c->n.misses[0][t] += reads;
            backs -= reads;
            if (!c->next)
                c->memory->reads[t] += reads;
        }
        c->n.writebacks_in += queue_count(asked, TRAFFIC_CLASSES);
        c->n.writeback_misses += queue_count(missed, TRAFFIC_CLASSES);
        c->n.writebacks += backs;
        if (!c->next)
            c->memory->writes += backs;
        else if (out)
            ENGINE(serve)(c->next, below, out);
    }
}

/* Let caches, memory and counters be as if each access had gone all the way. */
static VM_NOINLINE void ENGINE(settle)(pending *q)
{
    if (q->to) {
        ENGINE(serve)(q->to, q->ask, q->n);
    } else {
        for (size_t i = 0; i < q->n; i++) {
            if (q->ask[i] & 1)
                q->m->hw.memory.writes++;
            else
                q->m->hw.memory.reads[(q->ask[i] >> 32) / QUEUE_COUNT]++;
        }
    }
    q->n = 0;
    pending_count(q);
    run_settle(q->m, q->near);
    q->near = 0;
}

/* One access to a simple cache of the first level, counted by the caller; what it
 * needs is queued. */
VM_INLINE void ENGINE(access)(cache *c, uint64_t line, bool write, traffic t, pending *q)
{
    uint32_t *set = cache_packed_set(c, line), key = (uint32_t)line << 1, victim;
    if ((set[0] & ~1u) == key) {
        set[0] |= write;
        return;
    }
    if (ENGINE(touch)(set, c->ways, key, write, &victim))
        return;
    size_t n = q->n;
    c->n.misses[write][t]++;
    c->n.writebacks += victim & 1;
    q->ask[n] = (uint64_t)QUEUE_BACK << 32 | victim;
    n += victim & 1;
    q->ask[n] = (uint64_t)(QUEUE_COUNT * t) << 32 | key;
    q->n = n + 1;
}
