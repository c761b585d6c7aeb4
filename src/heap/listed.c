/* listed.c: explicit free lists: one (explicit), or one for each class of sizes
 * (segregated fits).
 *
 *    a       predecessor      a: a free block's payload; 0: none
 *    a + w   successor
 *
 * A list is kept in order of freeing (LIFO, FIFO), of addresses, or of sizes and then
 * addresses. Class i of n has blocks of least * 2^i bytes up to twice that, the last
 * all larger ones. A search begins in the class of the size wanted and goes on to larger
 * ones; worst fit begins with the largest. Of equally good blocks best and worst fit
 * take the lowest, whatever the order.
 *
 * The ends of a single list are scalars of the allocator; those of several are a table
 * at the heap's start, first and last of each class in turn; the last ones are kept
 * with FIFO only. Which lists have blocks is a scalar, too: a bit each, so that no search
 * goes through the heads of empty ones. Source: CS:APP 9.9.13 and 9.9.14.
 */
#include "classes.h"
#include "tags.h"

enum { ORDER_LIFO, ORDER_FIFO, ORDER_ADDRESS, ORDER_SIZE };
enum { LISTED_HEAD, LISTED_TAIL };

VM_INLINE uint64_t listed_end(tags *t, unsigned c, unsigned which)
{
    if (!t->h.cfg.classes)
        return which == LISTED_HEAD ? t->head : t->tail;
    return heap_link(&t->h, t->h.port.base + (2 * c + which) * tags_word(t));
}

VM_INLINE void listed_set_end(tags *t, unsigned c, unsigned which, uint64_t a)
{
    if (which == LISTED_TAIL && t->h.cfg.order != ORDER_FIFO)
        return;
    const uint64_t bit = UINT64_C(1) << c;
    t->filled = a ? t->filled | bit : t->filled & ~bit;
    if (!t->h.cfg.classes)
        *(which == LISTED_HEAD ? &t->head : &t->tail) = a;
    else
        heap_set_link(&t->h, t->h.port.base + (2 * c + which) * tags_word(t), a);
}

/* The last class: 0, the only one, if the allocator has no such option. */
static unsigned listed_last(const tags *t)
{
    return t->h.cfg.classes ? (unsigned)t->h.cfg.classes - 1 : 0;
}

VM_INLINE unsigned listed_class(const tags *t, uint64_t size)
{
    const unsigned last = listed_last(t);
    if (last == 0 || size < t->least)
        return 0;
    unsigned c = log2_floor(size / t->least);
    return c < last ? c : last;
}

/* Does the block come before one of `size` at `a`, in a list of this order? */
static bool listed_before(tags *t, uint64_t at, uint64_t a, uint64_t size)
{
    return t->h.cfg.order == ORDER_ADDRESS ? at < a : tags_smaller(t, at, a, size);
}

static void listed_insert(tags *t, uint64_t a, uint64_t size)
{
    const unsigned c = listed_class(t, size);
    const uint64_t w = tags_word(t);
    uint64_t before = 0, after;
    if (t->h.cfg.order == ORDER_FIFO) {
        before = listed_end(t, c, LISTED_TAIL);
        after = 0;
    } else {
        after = listed_end(t, c, LISTED_HEAD);
        if (t->h.cfg.order != ORDER_LIFO)
            for (tags_begin(t); after && listed_before(t, after, a, size);) {
                if (!heap_step(&t->h, &t->h.n.steps))
                    return;
                before = after;
                after = heap_link(&t->h, after + w);
            }
    }
    heap_set_link(&t->h, a, before);
    heap_set_link(&t->h, a + w, after);
    if (before)
        heap_set_link(&t->h, before + w, a);
    else
        listed_set_end(t, c, LISTED_HEAD, a);
    if (after)
        heap_set_link(&t->h, after, a);
    else
        listed_set_end(t, c, LISTED_TAIL, a);
}

static void listed_remove(tags *t, uint64_t a, uint64_t size)
{
    const unsigned c = listed_class(t, size);
    const uint64_t w = tags_word(t);
    uint64_t before = heap_link(&t->h, a), after = heap_link(&t->h, a + w);
    if (before)
        heap_set_link(&t->h, before + w, after);
    else
        listed_set_end(t, c, LISTED_HEAD, after);
    if (after)
        heap_set_link(&t->h, after, before);
    else
        listed_set_end(t, c, LISTED_TAIL, before);
}

/* In one list: the block that the fit takes, or 0. */
VM_INLINE uint64_t listed_search(tags *t, unsigned c, uint64_t want)
{
    const int64_t fit = t->h.cfg.fit;
    uint64_t found = 0, found_size = 0;
    for (uint64_t a = listed_end(t, c, LISTED_HEAD); a && heap_step(&t->h, &t->h.n.searches);
         a = heap_link(&t->h, a + tags_word(t))) {
        uint64_t size = tags_size(tags_header(t, a));
        if (size < want)
            continue;
        if (fit == FIT_FIRST || (fit == FIT_BEST && t->h.cfg.order == ORDER_SIZE))
            return a;
        bool better = !found || (fit == FIT_BEST ? size < found_size : size > found_size) ||
                      (size == found_size && a < found);
        if (better) {
            found = a;
            found_size = size;
        }
    }
    return found;
}

static uint64_t listed_find(tags *t, uint64_t want)
{
    const bool worst = t->h.cfg.fit == FIT_WORST;
    uint64_t left = t->filled & ~low_mask(listed_class(t, want));
    tags_begin(t);
    while (left) {
        const unsigned c = worst ? log2_floor(left) : (unsigned)__builtin_ctzll(left);
        uint64_t a = listed_search(t, c, want);
        if (a)
            return a;
        left &= ~(UINT64_C(1) << c);
    }
    return 0;
}

static uint64_t listed_tables(const tags *t)
{
    return 2 * (uint64_t)t->h.cfg.classes * tags_word(t);
}

static bool listed_check_one(tags *t, heap_wrong *wrong, unsigned c, uint64_t *members)
{
    const uint64_t w = tags_word(t);
    uint64_t before = 0;
    for (uint64_t a = listed_end(t, c, LISTED_HEAD); a; a = heap_link(&t->h, a + w)) {
        if (!heap_step(&t->h, members) || !tags_says_member(t, wrong, a))
            return false;
        uint64_t size = tags_size(tags_header(t, a));
        if (heap_link(&t->h, a) != before)
            return heap_says(wrong, a, "a link does not lead back to %#llx",
                             (unsigned long long)before);
        if (listed_class(t, size) != c)
            return heap_says(wrong, a - w, "a block of %llu bytes is in the list of class %u",
                             (unsigned long long)size, c);
        if (before && t->h.cfg.order >= ORDER_ADDRESS && !listed_before(t, before, a, size))
            return heap_says(wrong, a, "a list is out of order");
        before = a;
    }
    if (!before != !(t->filled >> c & 1))
        return heap_says(wrong, t->h.port.base,
                         "a list is not empty, but said to be, or the other way round");
    if (t->h.cfg.order == ORDER_FIFO && listed_end(t, c, LISTED_TAIL) != before)
        return heap_says(wrong, t->h.port.base, "a list does not end where it should");
    return true;
}

static bool listed_check(tags *t, heap_wrong *wrong, uint64_t *members)
{
    tags_begin(t);
    for (unsigned c = 0; c <= listed_last(t); c++)
        if (!listed_check_one(t, wrong, c, members))
            return false;
    return true;
}

static bool listed_lists(tags *t, heap_member *visit, void *ud)
{
    bool enough = false;
    tags_begin(t);
    for (unsigned c = 0; c <= listed_last(t) && !enough; c++)
        if (!tags_members(t, c, listed_end(t, c, LISTED_HEAD), visit, ud, &enough))
            return false;
    return true;
}

static const tags_index listed_index = {.links = 2,
                                        .tables = listed_tables,
                                        .find = listed_find,
                                        .insert = listed_insert,
                                        .remove = listed_remove,
                                        .check = listed_check,
                                        .lists = listed_lists};

static vm_status listed_init(heap *h, vm_error *e) { return tags_init(h, &listed_index, e); }

static const char *const listed_orders[] = {"lifo", "fifo", "address", "size", NULL};
#define LISTED_OPTIONS                                                                             \
    TAGS_OPTIONS, TAGS_TAGS, {HEAP_OPTION(fit),                                                    \
                              tags_fits_listed,                                                    \
                              FIT_FIRST,                                                           \
                              0,                                                                   \
                              0,                                                                   \
                              "which free block of those that fit"},                               \
    {                                                                                              \
        HEAP_OPTION(order), listed_orders, ORDER_LIFO, 0, 0, "of the blocks in a list"             \
    }

static const heap_option listed_explicit_options[] = {LISTED_OPTIONS, {0}};
static const heap_option listed_segregated_options[] = {
    LISTED_OPTIONS,
    {HEAP_OPTION(classes), NULL, 20, 2, 40, "classes of sizes, each twice the one before"},
    {0}};

const heap_class heap_explicit = {"explicit",
                                  "explicit free list (CS:APP 9.9.13)",
                                  listed_explicit_options,
                                  sizeof(tags),
                                  listed_init,
                                  TAGS_CLASS};
const heap_class heap_segregated = {
    "segregated",
    "segregated fits: a free list for each power of two (CS:APP 9.9.14)",
    listed_segregated_options,
    sizeof(tags),
    listed_init,
    TAGS_CLASS};
