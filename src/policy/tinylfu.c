/* tinylfu.c: W-TinyLFU: a small LRU window before a segmented LRU, and between them an
 * admission filter that remembers how often pages were referenced, resident or not.
 *
 * A page enters the window. When the window outgrows its share, its least recent page is
 * the candidate for the main part: the least recent page there (of the probationary
 * segment, else of the protected one) goes if it was referenced less often than the
 * candidate, else the candidate itself. A hit in the probationary segment brings a
 * page to the protected one, whose least recent page makes room for it.
 *
 * Frequencies are in a count-min sketch of four rows of 4-bit counters. A page's estimate is
 * the least of its four. When as many references were counted as `sample` capacities,
 * all counters are halved, so that old popularity fades.
 * Source: Einziger, Friedman and Manes, "TinyLFU: a highly efficient cache admission
 * policy", ACM Transactions on Storage 2017.
 * Settled here: a row has as many counters as four times the slots, rounded up to a
 * power of two; no doorkeeper, which the paper puts before the sketch to save memory; of
 * equal frequencies the candidate goes. The window is rounded down, at least a page.
 * With A bits: it is told of each reference.
 */
#include "list.h"
#include "policy.h"

enum { TINY_WINDOW, TINY_PROBATION, TINY_PROTECTED, TINY_LISTS };
enum { TINY_SHARE, TINY_SAFE, TINY_SAMPLE };
enum { TINY_ROWS = 4, TINY_MOST = 15 };

static const policy_param tiny_params[] = {
    [TINY_SHARE] = {"window", POLICY_REAL, 0.01, 0, 1, NULL, "the window's share of the capacity"},
    [TINY_SAFE] = {"protected", POLICY_REAL, 0.8, 0, 1, NULL,
                   "the protected segment's share of what is not the window"},
    [TINY_SAMPLE] = {"sample", POLICY_REAL, 10, 1, 1e6, NULL,
                     "references between two halvings of the counters, in capacities"},
    {0},
};

typedef struct tiny_slot {
    uint64_t key;
    uint64_t list;
} tiny_slot;

typedef struct tiny {
    policy base;
    lists l;
    tiny_slot *s;
    uint8_t *sketch;  /* TINY_ROWS rows; two counters a byte, the even one in the low bits */
    unsigned bits;    /* log2 of a row's counters */
    uint64_t counted; /* references in the sketch; halved with it */
    uint64_t comes;   /* the key that is to come and was counted, or POLICY_NO_KEY */
    uint32_t capacity;
} tiny;

/* --- the sketch ------------------------------------------------------------------------ */

static size_t tiny_row(const tiny *t) { return ((size_t)1 << t->bits) / 2; }

/* Where a key's counter is in each row: by two halves of one hash (splitmix64's), as
 * Kirsch and Mitzenmacher have shown to serve for any number of rows. */
VM_INLINE void tiny_find(const tiny *t, uint64_t key, uint64_t at[TINY_ROWS])
{
    uint64_t z = key + UINT64_C(0x9e3779b97f4a7c15);
    z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
    z ^= z >> 31;
    uint64_t first = z & UINT32_MAX, step = z >> 32 | 1;
    for (uint64_t i = 0; i < TINY_ROWS; i++)
        at[i] = i << t->bits | ((first + i * step) & low_mask(t->bits));
}

static unsigned tiny_frequency(const tiny *t, uint64_t key)
{
    uint64_t at[TINY_ROWS];
    unsigned least = TINY_MOST;
    tiny_find(t, key, at);
    for (int i = 0; i < TINY_ROWS; i++) {
        unsigned n = t->sketch[at[i] / 2] >> at[i] % 2 * 4 & TINY_MOST;
        least = n < least ? n : least;
    }
    return least;
}

static void tiny_count(tiny *t, uint64_t key)
{
    uint64_t at[TINY_ROWS];
    tiny_find(t, key, at);
    for (int i = 0; i < TINY_ROWS; i++) {
        unsigned shift = at[i] % 2 * 4;
        uint8_t *b = &t->sketch[at[i] / 2];
        if ((*b >> shift & TINY_MOST) < TINY_MOST)
            *b = (uint8_t)(*b + (1u << shift));
    }
    if ((double)++t->counted < t->base.param[TINY_SAMPLE] * t->capacity)
        return;
    t->counted /= 2;
    for (size_t i = 0; i < TINY_ROWS * tiny_row(t); i++)
        t->sketch[i] = t->sketch[i] >> 1 & 0x77;
}

/* Longer rows: each counter is taken to all places that its keys may have now, so
 * that estimates stay what they were. */
static bool tiny_widen(tiny *t, uint32_t slots)
{
    unsigned bits = log2_floor(slots) + 2 + !is_pow2(slots);
    size_t old = tiny_row(t), new = ((size_t)1 << bits) / 2;
    if (t->sketch && bits <= t->bits)
        return true;
    uint8_t *to = host_zalloc(t->base.host, TINY_ROWS * new);
    if (!to)
        return false;
    for (size_t i = 0; t->sketch && i < TINY_ROWS; i++)
        for (size_t at = 0; at < new; at += old)
            memcpy(to + i * new + at, t->sketch + i * old, old);
    if (t->sketch)
        host_free(t->base.host, t->sketch, TINY_ROWS * old);
    t->sketch = to;
    t->bits = bits;
    return true;
}

/* --- the contract ---------------------------------------------------------------------- */

static vm_status tiny_init(policy *p, vm_error *e)
{
    tiny *t = (tiny *)p;
    t->comes = POLICY_NO_KEY;
    t->capacity = policy_capacity(p, p->cfg.slots);
    return lists_init(&t->l, p->host, TINY_LISTS, e);
}

static void tiny_free(policy *p)
{
    tiny *t = (tiny *)p;
    lists_free(&t->l, p->host);
    policy_free_slots(p, t->s, sizeof *t->s);
    if (t->sketch)
        host_free(p->host, t->sketch, TINY_ROWS * tiny_row(t));
}

static vm_status tiny_reserve(policy *p, uint32_t n, vm_error *e)
{
    tiny *t = (tiny *)p;
    if (!tiny_widen(t, n))
        return vm_fail_nomem(e, "a W-TinyLFU policy");
    vm_status s = lists_reserve(&t->l, p->host, n, e);
    return s == VM_OK ? policy_grow(p, (void **)&t->s, sizeof *t->s, n, e) : s;
}

static uint32_t tiny_window(const tiny *t)
{
    return policy_share(t->base.param[TINY_SHARE], t->capacity, 1);
}

static void tiny_move(tiny *t, uint32_t list, uint32_t slot)
{
    list_move_last(&t->l, (uint32_t)t->s[slot].list, list, slot);
    t->s[slot].list = list;
}

static void tiny_touch(policy *p, uint32_t set, uint32_t slot, bool write)
{
    (void)set;
    (void)write;
    tiny *t = (tiny *)p;
    tiny_count(t, t->s[slot].key);
    tiny_move(t, t->s[slot].list == TINY_WINDOW ? TINY_WINDOW : TINY_PROTECTED, slot);
    uint32_t window = tiny_window(t), rest = t->capacity > window ? t->capacity - window : 0;
    if (t->l.count[TINY_PROTECTED] > policy_share(p->param[TINY_SAFE], rest, 0))
        tiny_move(t, TINY_PROBATION, list_first(&t->l, TINY_PROTECTED));
}

static void tiny_remove(policy *p, uint32_t set, uint32_t slot)
{
    (void)set;
    tiny *t = (tiny *)p;
    if (list_has(&t->l, slot))
        list_drop(&t->l, (uint32_t)t->s[slot].list, slot);
}

static void tiny_arrives(tiny *t, uint64_t key)
{
    if (key != t->comes)
        tiny_count(t, key);
    t->comes = key;
}

static void tiny_insert(policy *p, uint32_t set, uint32_t slot, uint64_t key)
{
    tiny *t = (tiny *)p;
    tiny_remove(p, set, slot);
    tiny_arrives(t, key);
    t->comes = POLICY_NO_KEY;
    t->s[slot] = (tiny_slot){key, TINY_WINDOW};
    list_push_last(&t->l, TINY_WINDOW, slot);
    while (t->l.count[TINY_WINDOW] > tiny_window(t))
        tiny_move(t, TINY_PROBATION, list_first(&t->l, TINY_WINDOW));
}

static vm_status tiny_victim(policy *p, uint32_t set, uint64_t key, uint32_t *slot, vm_error *e)
{
    (void)set;
    tiny *t = (tiny *)p;
    const uint32_t *n = t->l.count;
    uint32_t full = n[TINY_WINDOW] + n[TINY_PROBATION] + n[TINY_PROTECTED];
    if (full == 0)
        return policy_no_victim(p, e);
    t->capacity = policy_capacity(p, full);
    if (key != POLICY_NO_KEY)
        tiny_arrives(t, key);
    uint32_t candidate = list_first(&t->l, TINY_WINDOW);
    uint32_t old = list_first(&t->l, n[TINY_PROBATION] ? TINY_PROBATION : TINY_PROTECTED);
    if (old == LIST_NONE)
        *slot = candidate;
    else if (n[TINY_WINDOW] < tiny_window(t))
        *slot = old;
    else
        *slot = tiny_frequency(t, t->s[candidate].key) > tiny_frequency(t, t->s[old].key)
                    ? old
                    : candidate;
    return VM_OK;
}

static const char *tiny_check(const policy *p) { return lists_check(&((const tiny *)p)->l); }

const policy_class policy_w_tinylfu = {
    .name = "w-tinylfu",
    .doc =
        "a window and a segmented LRU with admission by frequency in a sketch; a hit moves links "
        "and adds to four counters, O(1), 32 to 40 bytes a slot (Einziger, Friedman and Manes "
        "2017)",
    .serves = POLICY_FRAMES,
    .exact = true,
    .size = sizeof(tiny),
    .params = tiny_params,
    .init = tiny_init,
    .free = tiny_free,
    .reserve = tiny_reserve,
    .insert = tiny_insert,
    .touch = tiny_touch,
    .victim = tiny_victim,
    .remove = tiny_remove,
    .check = tiny_check,
};
