#include "quick.h"

#include "../base/bitset.h"

typedef struct quick_row {
    const policy_class *cls;
    vm_status (*init)(study_quick *q, vm_error *e);
    void (*run)(study_quick *q, size_t until);
} quick_row;

enum { QUICK_HERE = 1, QUICK_REFERENCED = 2, QUICK_DIRTY = 4 };

#define QUICK_LISTS 4 /* most lists of a policy */

struct study_quick {
    const quick_row *row;
    study_run *run;
    policy_choice choice;
    uint32_t room, used;
    uint32_t head; /* FIFO, CLOCK: of the ring; LRU: the queue's, a position + 1 */
    /* By page: of FIFO and CLOCK all flags, else QUICK_DIRTY alone, and NULL where nothing
     * is written. */
    uint8_t *state;
    uint32_t *ring; /* pages; `room` of them */
    uint32_t *last; /* LRU, ARC, 2Q: by page, position + 1 of the reference that placed it */
    uint64_t (*lists)[QUICK_LISTS]; /* ARC, 2Q: bits by such position + 1, a word of each list */
    size_t first[QUICK_LISTS];      /* words of the list before it are empty */
    uint32_t pages[QUICK_LISTS];    /* in each list */
    double target;                  /* ARC: of T1, from 0 to `room` */
    uint32_t *arrival;              /* OPT: by page, the reference that brought it */
    bitset again, done;             /* OPT: as in policy/opt.c */
    uint32_t over;                  /* OPT: pages in `done`, where nobody asks which */
};

/* --- what all share ---------------------------------------------------------------- */

VM_INLINE void quick_evicted(study_run *r, uint32_t page, bool dirty)
{
    study_counts *c = study_counts_of(r, page);
    c->evictions++;
    c->writebacks += dirty;
}

/* QUICK_DIRTY where the word writes and that counts. */
VM_INLINE uint8_t quick_dirty(uint32_t word, bool writes)
{
    return writes ? (uint8_t)((word >> 31) * QUICK_DIRTY) : 0;
}

static uint8_t *quick_bytes(study_quick *q)
{
    return host_zalloc(&q->run->host, q->run->refs->pages);
}

static uint32_t *quick_words(study_quick *q, size_t n)
{
    return host_zalloc(&q->run->host, n * sizeof(uint32_t));
}

/* --- FIFO and CLOCK ------------------------------------------------------------------ */

static vm_status quick_ring(study_quick *q, vm_error *e)
{
    q->state = quick_bytes(q);
    q->ring = quick_words(q, q->room);
    return q->state && q->ring ? VM_OK : vm_fail_nomem(e, "a paging study");
}

VM_INLINE void quick_ring_to(study_quick *q, size_t until, bool referenced, bool writes)
{
    study_run *r = q->run;
    const uint32_t *refs = r->refs->refs;
    uint8_t *state = q->state;
    uint32_t *at = q->ring, head = q->head, room = q->room;
    uint8_t enter = QUICK_HERE;
    if (referenced && q->choice.param[0] != 0)
        enter |= QUICK_REFERENCED;
    for (size_t i = r->future.at; i < until; i++) {
        uint32_t word = refs[i], page = word & STUDY_PAGE;
        VM_PREFETCH(&state[refs[i + STUDY_AHEAD / 2] & STUDY_PAGE]);
        uint8_t s = state[page];
        if (VM_LIKELY(s)) {
            if (referenced)
                state[page] = s | QUICK_REFERENCED | quick_dirty(word, writes);
            else if (writes)
                state[page] = s | quick_dirty(word, writes);
            continue;
        }
        study_missed(r, page);
        if (q->used < room) {
            q->used++;
        } else {
            while (referenced && state[at[head]] & QUICK_REFERENCED) {
                state[at[head]] &= (uint8_t)~QUICK_REFERENCED;
                head = head + 1 == room ? 0 : head + 1;
                VM_PREFETCH(&state[at[head + 16 < room ? head + 16 : 0]]);
            }
            quick_evicted(r, at[head], state[at[head]] & QUICK_DIRTY);
            state[at[head]] = 0;
        }
        at[head] = page;
        head = head + 1 == room ? 0 : head + 1;
        state[page] = enter | quick_dirty(word, writes);
    }
    q->head = head;
}

static void quick_fifo(study_quick *q, size_t until)
{
    if (q->run->dirty)
        quick_ring_to(q, until, false, true);
    else
        quick_ring_to(q, until, false, false);
}

static void quick_clock(study_quick *q, size_t until)
{
    if (q->run->dirty)
        quick_ring_to(q, until, true, true);
    else
        quick_ring_to(q, until, true, false);
}

/* --- LRU ----------------------------------------------------------------------------- */

static vm_status quick_queue(study_quick *q, vm_error *e)
{
    q->last = quick_words(q, q->run->refs->pages);
    q->head = 1;
    if (q->run->dirty)
        q->state = quick_bytes(q);
    return q->last && (q->state || !q->run->dirty) ? VM_OK : vm_fail_nomem(e, "a paging study");
}

VM_INLINE void quick_lru_to(study_quick *q, size_t until, bool writes)
{
    study_run *r = q->run;
    const uint32_t *refs = r->refs->refs;
    uint32_t *last = q->last, head = q->head;
    for (size_t i = r->future.at; i < until; i++) {
        uint32_t word = refs[i], page = word & STUDY_PAGE;
        VM_PREFETCH(&last[refs[i + STUDY_AHEAD / 2] & STUDY_PAGE]);
        /* What was referenced before the head has been evicted since. */
        bool hit = last[page] >= head;
        last[page] = (uint32_t)i + 1;
        if (VM_UNLIKELY(!hit)) {
            study_missed(r, page);
            if (q->used < q->room) {
                q->used++;
            } else {
                while (last[refs[head - 1] & STUDY_PAGE] != head) {
                    head++;
                    VM_PREFETCH(&last[refs[head + STUDY_AHEAD / 4] & STUDY_PAGE]);
                }
                uint32_t victim = refs[head - 1] & STUDY_PAGE;
                quick_evicted(r, victim, writes && q->state[victim]);
                if (writes)
                    q->state[victim] = 0;
                head++;
            }
        }
        if (writes)
            q->state[page] |= quick_dirty(word, writes);
    }
    q->head = head;
}

static void quick_lru(study_quick *q, size_t until)
{
    if (q->run->dirty)
        quick_lru_to(q, until, true);
    else
        quick_lru_to(q, until, false);
}

/* --- ARC and 2Q ----------------------------------------------------------------------- */

/* Each list, of ghosts too, has its pages in the order of one reference to each, the last
 * that moved the page: a list is the set of these positions, and its first page goes first.
 * The words of the four lists for 64 positions lie together, so that where a page is, is
 * known from one line of the host's cache. */
enum { QUICK_T2, QUICK_T1, QUICK_B2, QUICK_B1 };
enum { QUICK_AM = QUICK_T2, QUICK_IN = QUICK_T1, QUICK_OUT = QUICK_B1 };
enum { QUICK_RESIDENT = 2 };          /* lists below are of resident pages */
enum { QUICK_NOWHERE = QUICK_LISTS }; /* of pages that are in none */

static size_t quick_lists_size(const study_quick *q)
{
    return (q->run->refs->count / 64 + 1) * sizeof *q->lists;
}

static vm_status quick_lists(study_quick *q, vm_error *e)
{
    q->lists = host_zalloc(&q->run->host, quick_lists_size(q));
    return q->lists ? quick_queue(q, e) : vm_fail_nomem(e, "a paging study");
}

VM_INLINE bool quick_in(const study_quick *q, unsigned list, size_t at)
{
    return q->lists[at / 64][list] >> at % 64 & 1;
}

VM_INLINE unsigned quick_list_of(const study_quick *q, size_t at)
{
    for (unsigned l = 0; l < QUICK_LISTS; l++)
        if (quick_in(q, l, at))
            return l;
    return QUICK_NOWHERE;
}

/* Positions come into a list in rising order, into those of ghosts too. */
VM_INLINE void quick_put(study_quick *q, unsigned list, size_t at)
{
    q->lists[at / 64][list] |= UINT64_C(1) << at % 64;
    q->pages[list]++;
}

VM_INLINE void quick_take(study_quick *q, unsigned list, size_t at)
{
    q->lists[at / 64][list] &= ~(UINT64_C(1) << at % 64);
    q->pages[list]--;
}

/* These give the position + 1 that went, of a list that is not empty. */
VM_INLINE size_t quick_take_first(study_quick *q, unsigned list)
{
    size_t *w = &q->first[list];
    while (q->lists[*w][list] == 0)
        ++*w;
    size_t at = *w * 64 + (size_t)__builtin_ctzll(q->lists[*w][list]);
    quick_take(q, list, at);
    return at;
}

VM_INLINE size_t quick_evict_first(study_quick *q, unsigned list)
{
    size_t at = quick_take_first(q, list);
    uint32_t victim = q->run->refs->refs[at - 1] & STUDY_PAGE;
    quick_evicted(q->run, victim, q->state && q->state[victim]);
    if (q->state)
        q->state[victim] = 0;
    return at;
}

/* Room for a page that comes from B1, B2 or nowhere; the rules are in policy/arc.c. */
VM_INLINE void quick_arc_miss(study_quick *q, unsigned from)
{
    const uint32_t *n = q->pages;
    double b1 = n[QUICK_B1], b2 = n[QUICK_B2], target = q->target;
    if (from == QUICK_B1)
        target += b2 > b1 ? b2 / b1 : 1;
    else if (from == QUICK_B2)
        target -= b1 > b2 ? b1 / b2 : 1;
    q->target = target = target < 0 ? 0 : target > q->room ? q->room : target;
    if (q->used < q->room) {
        q->used++;
        return;
    }
    bool second = n[QUICK_T1] < target || (n[QUICK_T1] == target && from != QUICK_B2);
    if (n[QUICK_T1] == 0 || (second && n[QUICK_T2] > 0))
        quick_put(q, QUICK_B2, quick_evict_first(q, QUICK_T2));
    else
        quick_put(q, QUICK_B1, quick_evict_first(q, QUICK_T1));
    if (from != QUICK_NOWHERE)
        return;
    while (n[QUICK_B1] && n[QUICK_T1] + (uint64_t)n[QUICK_B1] >= q->room)
        quick_take_first(q, QUICK_B1);
    while (n[QUICK_B2] && n[QUICK_B1] + (uint64_t)n[QUICK_B2] > q->room)
        quick_take_first(q, QUICK_B2);
}

/* As in policy/twoq.c. A page that comes from A1out may be pushed out of it here. */
VM_INLINE void quick_2q_miss(study_quick *q)
{
    const uint32_t *n = q->pages;
    const double *share = q->choice.param; /* kin, kout */
    if (q->used < q->room) {
        q->used++;
    } else if (n[QUICK_IN] > policy_share(share[0], q->room, 1) || n[QUICK_AM] == 0) {
        quick_put(q, QUICK_OUT, quick_evict_first(q, QUICK_IN));
        if (n[QUICK_OUT] > policy_share(share[1], q->room, 1))
            quick_take_first(q, QUICK_OUT);
    } else {
        quick_evict_first(q, QUICK_AM);
    }
}

VM_INLINE void quick_lists_to(study_quick *q, size_t until, bool two_queues)
{
    study_run *r = q->run;
    const uint32_t *refs = r->refs->refs;
    uint32_t *last = q->last;
    for (size_t i = r->future.at; i < until; i++) {
        uint32_t word = refs[i], page = word & STUDY_PAGE, at = last[page];
        VM_PREFETCH(&last[refs[i + STUDY_AHEAD] & STUDY_PAGE]);
        VM_PREFETCH(&q->lists[last[refs[i + STUDY_AHEAD / 4] & STUDY_PAGE] / 64]);
        unsigned from = quick_list_of(q, at);
        if (from >= QUICK_RESIDENT) {
            study_missed(r, page);
            if (two_queues)
                quick_2q_miss(q);
            else
                quick_arc_miss(q, from);
        }
        if (q->state)
            q->state[page] |= quick_dirty(word, true);
        if (two_queues && from == QUICK_IN)
            continue;
        if (from != QUICK_NOWHERE && quick_in(q, from, at))
            quick_take(q, from, at);
        quick_put(q, from == QUICK_NOWHERE ? QUICK_T1 : QUICK_T2, i + 1);
        last[page] = (uint32_t)i + 1;
    }
}

static void quick_arc(study_quick *q, size_t until) { quick_lists_to(q, until, false); }
static void quick_2q(study_quick *q, size_t until) { quick_lists_to(q, until, true); }

/* --- OPT ------------------------------------------------------------------------------ */

static vm_status quick_sets(study_quick *q, vm_error *e)
{
    const study_run *r = q->run;
    bool whole = bitset_init(&q->again, &r->host, r->refs->count);
    whole = bitset_init(&q->done, &r->host, r->refs->count) && whole;
    q->arrival = quick_words(q, r->refs->pages);
    if (r->dirty)
        q->state = quick_bytes(q);
    return whole && q->arrival && (q->state || !r->dirty) ? VM_OK
                                                          : vm_fail_nomem(e, "a paging study");
}

/* A frame for another page: its pages that are not used again go first. `exact`: somebody
 * counts whose page goes, or whether it is dirty; else any of those will do, and where
 * they lie in the string, far from the host's caches, is not looked at. */
VM_INLINE void quick_opt_evict(study_quick *q, bool exact)
{
    study_run *r = q->run;
    size_t at = exact ? bitset_first(&q->done) : BITSET_NONE;
    if (at != BITSET_NONE)
        bitset_remove(&q->done, at);
    else if (!exact && q->over > 0)
        q->over--;
    else
        bitset_remove(&q->again, at = bitset_last(&q->again));
    if (!exact) {
        r->counts[0].evictions++;
        return;
    }
    uint32_t victim = r->refs->refs[at] & STUDY_PAGE;
    quick_evicted(r, victim, q->state && q->state[victim]);
    if (q->state)
        q->state[victim] = 0;
}

VM_INLINE void quick_opt_to(study_quick *q, size_t until, bool exact)
{
    study_run *r = q->run;
    const uint32_t *refs = r->refs->refs, *next_use = r->refs->next_use;
    size_t soon = until > STUDY_AHEAD ? until - STUDY_AHEAD : 0;
    for (size_t i = r->future.at; i < until; i++) {
        uint32_t word = refs[i], page = word & STUDY_PAGE, next = next_use[i];
        if (i < soon && next_use[i + STUDY_AHEAD / 2] != STUDY_NEVER)
            VM_PREFETCH(&q->again.level[0][next_use[i + STUDY_AHEAD / 2] / 64]);
        if (VM_LIKELY(bitset_has(&q->again, i))) {
            bitset_remove(&q->again, i);
        } else {
            study_missed(r, page);
            if (q->used < q->room)
                q->used++;
            else
                quick_opt_evict(q, exact);
            if (exact)
                q->arrival[page] = (uint32_t)i;
        }
        if (VM_LIKELY(next != STUDY_NEVER))
            bitset_add(&q->again, next);
        else if (exact)
            bitset_add(&q->done, q->arrival[page]);
        else
            q->over++;
        if (exact && q->state)
            q->state[page] |= quick_dirty(word, true);
    }
}

static void quick_opt(study_quick *q, size_t until)
{
    if (q->run->dirty || q->run->refs->processes > 1)
        quick_opt_to(q, until, true);
    else
        quick_opt_to(q, until, false);
}

/* ----------------------------------------------------------------------------------------- */

static const quick_row quick_rows[] = {
    {&policy_fifo, quick_ring, quick_fifo}, {&policy_clock, quick_ring, quick_clock},
    {&policy_lru, quick_queue, quick_lru},  {&policy_arc, quick_lists, quick_arc},
    {&policy_2q, quick_lists, quick_2q},    {&policy_opt, quick_sets, quick_opt},
};

vm_status study_quick_new(study_run *r, const policy_choice *choice, uint32_t room,
                          study_quick **out, vm_error *e)
{
    const quick_row *row = NULL;
    *out = NULL;
    for (size_t i = 0; i < sizeof quick_rows / sizeof *quick_rows; i++)
        if (quick_rows[i].cls == choice->cls)
            row = &quick_rows[i];
    if (!row)
        return VM_OK;
    study_quick *q = host_zalloc(&r->host, sizeof *q);
    if (!q)
        return vm_fail_nomem(e, "a paging study");
    q->row = row;
    q->run = r;
    q->room = room;
    q->choice = *choice;
    vm_status s = row->init(q, e);
    if (s != VM_OK) {
        study_quick_free(q);
        return s;
    }
    *out = q;
    return VM_OK;
}

void study_quick_free(study_quick *q)
{
    if (!q)
        return;
    const vm_host *host = &q->run->host;
    size_t pages = q->run->refs->pages;
    host_free(host, q->state, pages);
    host_free(host, q->ring, q->room * sizeof *q->ring);
    host_free(host, q->last, pages * sizeof *q->last);
    host_free(host, q->lists, quick_lists_size(q));
    host_free(host, q->arrival, pages * sizeof *q->arrival);
    bitset_free(&q->again, host);
    bitset_free(&q->done, host);
    host_free(host, q, sizeof *q);
}

void study_quick_to(study_quick *q, size_t until)
{
    q->row->run(q, until);
    q->run->future.at = until;
}
