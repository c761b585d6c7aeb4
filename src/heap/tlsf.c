/* tlsf.c: two-level segregated fit: malloc and free in a bounded number of steps.
 *
 * A class is a power of two and a sixteenth of the way to the next; each has a list of
 * free blocks, last freed first. A search rounds the size up to the next class, so that
 * any block of a list fits, and finds the first list that is not empty in two bitmaps.
 *
 * Tables at the heap's start, in words: which powers of two have blocks (a bit each);
 * for each power, which of its sixteenths have (a bit each); then the lists' heads. A
 * free block has two links, predecessor and successor.
 *
 * Source: Masmano, Ripoll, Crespo and Real, "TLSF: a new dynamic memory allocator for
 * real-time systems", 2004.
 */
#include "classes.h"
#include "tags.h"

#define TLSF_BITS 4
#define TLSF_PART (1u << TLSF_BITS)

/* Powers of two that sizes can have. */
static unsigned tlsf_powers(const tags *t) { return log2_floor((uint64_t)t->h.cfg.limit) + 1; }

static uint64_t tlsf_tables(const tags *t)
{
    return (1 + (uint64_t)tlsf_powers(t) * (1 + TLSF_PART)) * tags_word(t);
}

/* Addresses of the map of powers (0), of a power's map (1 + power), of a list's head. */
static uint64_t tlsf_map(const tags *t, unsigned i) { return t->h.port.base + i * tags_word(t); }
static uint64_t tlsf_head(const tags *t, unsigned power, unsigned part)
{
    return tlsf_map(t, 1 + tlsf_powers(t) + power * TLSF_PART + part);
}

/* False: no block is so large. */
static bool tlsf_class(const tags *t, uint64_t size, unsigned *power, unsigned *part)
{
    *power = log2_floor(size | TLSF_PART); /* of damaged sizes, too */
    *part = (unsigned)(size >> (*power - TLSF_BITS)) & (TLSF_PART - 1);
    return *power < tlsf_powers(t);
}

static void tlsf_mark(tags *t, unsigned power, unsigned part, bool some)
{
    uint64_t map = heap_get(&t->h, tlsf_map(t, 1 + power)), bit = UINT64_C(1) << part;
    uint64_t now = some ? map | bit : map & ~bit;
    heap_put(&t->h, tlsf_map(t, 1 + power), now);
    if (!map == !now)
        return;
    uint64_t powers = heap_get(&t->h, tlsf_map(t, 0));
    bit = UINT64_C(1) << power;
    heap_put(&t->h, tlsf_map(t, 0), now ? powers | bit : powers & ~bit);
}

static void tlsf_insert(tags *t, uint64_t a, uint64_t size)
{
    unsigned power, part;
    if (!tlsf_class(t, size, &power, &part))
        return;
    uint64_t next = heap_link(&t->h, tlsf_head(t, power, part));
    heap_set_link(&t->h, a, 0);
    heap_set_link(&t->h, a + tags_word(t), next);
    if (next)
        heap_set_link(&t->h, next, a);
    else
        tlsf_mark(t, power, part, true);
    heap_set_link(&t->h, tlsf_head(t, power, part), a);
}

static void tlsf_remove(tags *t, uint64_t a, uint64_t size)
{
    const uint64_t w = tags_word(t);
    unsigned power, part;
    if (!tlsf_class(t, size, &power, &part))
        return;
    uint64_t before = heap_link(&t->h, a), after = heap_link(&t->h, a + w);
    heap_set_link(&t->h, before ? before + w : tlsf_head(t, power, part), after);
    if (after)
        heap_set_link(&t->h, after, before);
    else if (!before)
        tlsf_mark(t, power, part, false);
}

static uint64_t tlsf_find(tags *t, uint64_t want)
{
    unsigned power, part;
    uint64_t up = (UINT64_C(1) << (log2_floor(want | TLSF_PART) - TLSF_BITS)) - 1;
    t->h.n.searches++;
    if (!tlsf_class(t, want + up, &power, &part))
        return 0;
    uint64_t map = heap_get(&t->h, tlsf_map(t, 1 + power)) & low_mask(TLSF_PART);
    map = map >> part << part;
    if (!map) {
        uint64_t powers = heap_get(&t->h, tlsf_map(t, 0)) & low_mask(tlsf_powers(t));
        powers &= ~low_mask(power + 1);
        if (!powers)
            return 0;
        power = (unsigned)__builtin_ctzll(powers);
        map = heap_get(&t->h, tlsf_map(t, 1 + power)) & low_mask(TLSF_PART);
    }
    return map ? heap_link(&t->h, tlsf_head(t, power, (unsigned)__builtin_ctzll(map))) : 0;
}

static bool tlsf_check_list(tags *t, heap_wrong *wrong, unsigned power, unsigned part,
                            uint64_t *members)
{
    const uint64_t w = tags_word(t), head = tlsf_head(t, power, part);
    uint64_t before = 0;
    for (uint64_t a = heap_link(&t->h, head); a; a = heap_link(&t->h, a + w)) {
        unsigned its_power, its_part;
        if (!heap_step(&t->h, members) || !tags_says_member(t, wrong, a))
            return false;
        if (heap_link(&t->h, a) != before)
            return heap_says(wrong, a, "a link does not lead back to %#llx",
                             (unsigned long long)before);
        tlsf_class(t, tags_size(tags_header(t, a)), &its_power, &its_part);
        if (its_power != power || its_part != part)
            return heap_says(wrong, a - w, "a block is in the list of another class");
        before = a;
    }
    return true;
}

static bool tlsf_check(tags *t, heap_wrong *wrong, uint64_t *members)
{
    uint64_t powers = heap_get(&t->h, tlsf_map(t, 0)), expected = 0;
    tags_begin(t);
    for (unsigned power = 0; power < tlsf_powers(t); power++) {
        uint64_t map = heap_get(&t->h, tlsf_map(t, 1 + power)), some = 0;
        for (unsigned part = 0; part < TLSF_PART; part++) {
            if (heap_link(&t->h, tlsf_head(t, power, part)))
                some |= UINT64_C(1) << part;
            if (!tlsf_check_list(t, wrong, power, part, members))
                return false;
        }
        if (map != some)
            return heap_says(wrong, tlsf_map(t, 1 + power), "the map of lists is %#llx, not %#llx",
                             (unsigned long long)map, (unsigned long long)some);
        expected |= some ? UINT64_C(1) << power : 0;
    }
    if (powers != expected)
        return heap_says(wrong, tlsf_map(t, 0), "the map of powers is %#llx, not %#llx",
                         (unsigned long long)powers, (unsigned long long)expected);
    return true;
}

/* A list's number: its power of two, and in the lowest bits which sixteenth. */
static bool tlsf_lists(tags *t, heap_member *visit, void *ud)
{
    bool enough = false;
    tags_begin(t);
    for (unsigned i = 0; i < tlsf_powers(t) * TLSF_PART && !enough; i++)
        if (!tags_members(t, i, heap_link(&t->h, tlsf_head(t, 0, i)), visit, ud, &enough))
            return false;
    return true;
}

static const tags_index tlsf_index = {.links = 2,
                                      .least = TLSF_PART,
                                      .tables = tlsf_tables,
                                      .find = tlsf_find,
                                      .insert = tlsf_insert,
                                      .remove = tlsf_remove,
                                      .check = tlsf_check,
                                      .lists = tlsf_lists};

static vm_status tlsf_init(heap *h, vm_error *e) { return tags_init(h, &tlsf_index, e); }

static const heap_option tlsf_options[] = {TAGS_OPTIONS, TAGS_TAGS, {0}};

const heap_class heap_tlsf = {"tlsf",       "two-level segregated fit: a bounded number of steps",
                              tlsf_options, sizeof(tags),
                              tlsf_init,    TAGS_CLASS};
