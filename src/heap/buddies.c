/* buddies.c: the buddy systems, binary and Fibonacci.
 *
 * A block of order k has size[k] units; it splits into a left one of order k - 1 and a
 * right one of order k - 1 (binary: sizes 1, 2, 4, 8) or k - 2 (Fibonacci: 1, 2, 3, 5).
 * Two free buddies always merge. The arena is one block of the highest order so far;
 * it grows into the left part of the next order.
 *
 *    header   order << 3 | MEMORY | RIGHT | USED     one word
 *    payload  predecessor, successor                 while it is free
 *
 * RIGHT says that the block is a right one. MEMORY keeps, in a left block its parent's
 * RIGHT, in a right one its parent's MEMORY, so that merging restores both (Cranston
 * and Thomas); the arena's root has neither. The heads of the free lists, one an order,
 * are a table at the heap's start; a list is in order of freeing, last first.
 *
 * Invariants: sizes add up from the first block to the arena's end; no two buddies are
 * free. Sources: Knowlton, "A fast storage allocator", 1965; Hirschberg, "A class of
 * dynamic memory allocation algorithms", 1973; Cranston and Thomas, "A simplified
 * recombination scheme for the Fibonacci buddy system", 1975.
 */
#include "classes.h"

#include <errno.h>

#define BUDDY_USED   1u
#define BUDDY_RIGHT  2u
#define BUDDY_MEMORY 4u
#define BUDDY_ORDERS 64

enum { BUDDY_BINARY, BUDDY_FIBONACCI };

typedef struct buddies {
    heap h;
    uint64_t arena; /* start of its first block */
    unsigned root;  /* the arena's order */
    unsigned orders;
    uint64_t size[BUDDY_ORDERS]; /* in bytes: a constant of the system */
} buddies;

static unsigned buddies_right_order(const buddies *b, unsigned order)
{
    return b->h.cfg.system == BUDDY_FIBONACCI ? order - 2 : order - 1;
}

/* The lowest order that splits. */
static unsigned buddies_splits(const buddies *b)
{
    return b->h.cfg.system == BUDDY_FIBONACCI ? 2 : 1;
}

static uint64_t buddies_word(const buddies *b) { return (uint64_t)b->h.cfg.word; }

/* --- headers and free lists --------------------------------------------------------- */

/* The order that a header says; one that cannot be fails the call. */
static unsigned buddies_order(buddies *b, uint64_t at, uint64_t header)
{
    uint64_t order = header >> 3;
    if (order <= b->root && b->size[order] <= b->h.port.top - at)
        return (unsigned)order;
    if (b->h.port.status == VM_OK)
        b->h.port.status =
            vm_fail(&b->h.port.error, VM_INVALID, "the heap is damaged: header %#llx at %#llx",
                    (unsigned long long)header, (unsigned long long)at);
    return 0;
}

static uint64_t buddies_head(const buddies *b, unsigned order)
{
    return b->h.port.base + order * buddies_word(b);
}

static void buddies_insert(buddies *b, uint64_t at, unsigned order, unsigned bits)
{
    const uint64_t w = buddies_word(b), a = at + w;
    uint64_t next = heap_link(&b->h, buddies_head(b, order));
    heap_put(&b->h, at, (uint64_t)order << 3 | bits);
    heap_set_link(&b->h, a, 0);
    heap_set_link(&b->h, a + w, next);
    if (next)
        heap_set_link(&b->h, next, a);
    heap_set_link(&b->h, buddies_head(b, order), a);
}

static void buddies_remove(buddies *b, uint64_t at, unsigned order)
{
    const uint64_t w = buddies_word(b), a = at + w;
    uint64_t before = heap_link(&b->h, a), after = heap_link(&b->h, a + w);
    heap_set_link(&b->h, before ? before + w : buddies_head(b, order), after);
    if (after)
        heap_set_link(&b->h, after, before);
}

/* A block that is in no list becomes free: merged with its buddy as often as that is free. */
static void buddies_release(buddies *b, uint64_t at, unsigned order, unsigned bits)
{
    while (order < b->root && b->h.port.status == VM_OK) {
        const bool right = bits & BUDDY_RIGHT;
        unsigned parent = right && b->h.cfg.system == BUDDY_FIBONACCI ? order + 2 : order + 1;
        if (parent > b->root || parent < buddies_splits(b))
            break;
        unsigned other = right ? parent - 1 : buddies_right_order(b, parent);
        uint64_t other_at = right ? at - b->size[other] : at + b->size[order];
        if (other_at < b->arena || other_at >= b->h.port.top)
            break;
        uint64_t header = heap_get(&b->h, other_at);
        /* It may be cut: then what stands here is a smaller block. */
        if (header & BUDDY_USED || header >> 3 != other || !(header & BUDDY_RIGHT) != right)
            break;
        buddies_remove(b, other_at, other);
        b->h.n.coalesces++;
        unsigned of_left = right ? (unsigned)header : bits,
                 of_right = right ? bits : (unsigned)header;
        at = right ? other_at : at;
        bits = (of_left & BUDDY_MEMORY ? BUDDY_RIGHT : 0) | (of_right & BUDDY_MEMORY);
        order = parent;
    }
    buddies_insert(b, at, order, bits);
}

/* --- growth ------------------------------------------------------------------------- */

/* The lowest order of the arena in which a block of order `want` will be free: its last
 * right part, or all of it if nothing is allocated. */
static unsigned buddies_root_for(buddies *b, unsigned want)
{
    unsigned root = b->root + 1;
    const bool empty = heap_link(&b->h, buddies_head(b, b->root)) != 0;
    while (root < b->orders && buddies_right_order(b, root) < want && !(empty && root >= want))
        root++;
    return root;
}

/* One call for all that is missing up to `root`, then a right part for each order. */
static bool buddies_grow(buddies *b, unsigned root)
{
    if (root == b->orders) {
        vm_fail_sys(&b->h.port.refused, VM_REFUSED, ENOMEM, "the arena would pass the limit");
        return false;
    }
    uint64_t more = b->size[root] - b->size[b->root], at = port_grow(&b->h.port, more);
    if (!at)
        return false;
    while (b->root < root) {
        unsigned order = buddies_right_order(b, ++b->root);
        uint64_t size = b->size[order];
        buddies_release(b, at, order, BUDDY_RIGHT);
        at += size;
    }
    return true;
}

static vm_status buddies_init(heap *h, vm_error *e)
{
    buddies *b = (buddies *)h;
    const uint64_t w = buddies_word(b), align = (uint64_t)h->cfg.align;
    b->size[0] = align_up(3 * w, align);
    b->orders = 1;
    while (b->orders < BUDDY_ORDERS && b->size[b->orders - 1] <= h->port.limit) {
        unsigned k = b->orders++;
        b->size[k] = k < buddies_splits(b) ? 2 * b->size[k - 1]
                                           : b->size[k - 1] + b->size[buddies_right_order(b, k)];
    }
    b->arena = align_up(h->port.base + b->orders * w + w, align) - w;
    b->root = 1;
    while (b->root + 1 < b->orders && b->size[b->root] < (uint64_t)h->cfg.chunk)
        b->root++;
    vm_status s = heap_begin(h, b->arena - h->port.base + b->size[b->root], e);
    if (s == VM_OK)
        buddies_insert(b, b->arena, b->root, 0);
    return s;
}

/* --- calls -------------------------------------------------------------------------- */

/* A free block of this order or above that is there, or 0. */
static uint64_t buddies_search(buddies *b, unsigned want, unsigned *order)
{
    for (*order = want; *order <= b->root; ++*order) {
        b->h.n.searches++;
        uint64_t a = heap_link(&b->h, buddies_head(b, *order));
        if (a)
            return a - buddies_word(b);
    }
    return 0;
}

static uint64_t buddies_malloc(heap *h, uint64_t n)
{
    buddies *b = (buddies *)h;
    unsigned want = 0, order;
    while (want < b->orders && b->size[want] - buddies_word(b) < n)
        want++;
    if (want == b->orders) {
        vm_fail_sys(&h->port.refused, VM_REFUSED, ENOMEM, "no order is so large under its limit");
        return 0;
    }
    uint64_t at = buddies_search(b, want, &order);
    if (!at && h->port.status == VM_OK && buddies_grow(b, buddies_root_for(b, want)))
        at = buddies_search(b, want, &order);
    if (!at)
        return 0;
    uint64_t header = heap_get(h, at);
    unsigned bits = (unsigned)header & (BUDDY_RIGHT | BUDDY_MEMORY);
    buddies_remove(b, at, order);
    while (order > want && order >= buddies_splits(b)) {
        unsigned right = buddies_right_order(b, order), left = order - 1;
        unsigned of_left = bits & BUDDY_RIGHT ? BUDDY_MEMORY : 0,
                 of_right = BUDDY_RIGHT | (bits & BUDDY_MEMORY);
        h->n.splits++;
        if (right >= want && right < left) { /* the smaller part is enough */
            buddies_insert(b, at, left, of_left);
            at += b->size[left];
            order = right;
            bits = of_right;
        } else {
            buddies_insert(b, at + b->size[left], right, of_right);
            order = left;
            bits = of_left;
        }
    }
    heap_put(h, at, (uint64_t)order << 3 | bits | BUDDY_USED);
    return at + buddies_word(b);
}

static void buddies_free(heap *h, uint64_t a)
{
    buddies *b = (buddies *)h;
    uint64_t at = a - buddies_word(b), header = heap_get(h, at);
    unsigned order = buddies_order(b, at, header);
    if (h->port.status == VM_OK)
        buddies_release(b, at, order, (unsigned)header & (BUDDY_RIGHT | BUDDY_MEMORY));
}

static uint64_t buddies_usable_size(heap *h, uint64_t a)
{
    buddies *b = (buddies *)h;
    uint64_t at = a - buddies_word(b);
    return b->size[buddies_order(b, at, heap_get(h, at))] - buddies_word(b);
}

static bool buddies_resize(heap *h, uint64_t a, uint64_t n)
{
    return n <= buddies_usable_size(h, a);
}

/* --- looks -------------------------------------------------------------------------- */

static bool buddies_walk(heap *h, heap_visit *visit, void *ud)
{
    buddies *b = (buddies *)h;
    for (uint64_t at = b->arena; at != h->port.top;) {
        uint64_t header = heap_get(h, at), size = b->size[buddies_order(b, at, header)];
        heap_block block = {at, size, at + buddies_word(b), header & BUDDY_USED};
        if (h->port.status != VM_OK)
            return false;
        if (!visit(ud, &block))
            return true;
        at += size;
    }
    return true;
}

/* Descend the tree of all possible blocks to the one that begins at `at`: does it have
 * these bits and this order? */
static bool buddies_check_place(const buddies *b, uint64_t at, uint64_t header)
{
    uint64_t from = b->arena;
    unsigned order = b->root, bits = 0;
    while (from != at || order != header >> 3) {
        if (order < buddies_splits(b))
            return false;
        unsigned right = buddies_right_order(b, order);
        if (at < from + b->size[order - 1]) {
            bits = bits & BUDDY_RIGHT ? BUDDY_MEMORY : 0;
            order--;
        } else {
            from += b->size[order - 1];
            bits = BUDDY_RIGHT | (bits & BUDDY_MEMORY);
            order = right;
        }
    }
    return bits == (header & (BUDDY_RIGHT | BUDDY_MEMORY));
}

static bool buddies_check_list(buddies *b, heap_wrong *wrong, unsigned order, uint64_t *members)
{
    const uint64_t w = buddies_word(b);
    uint64_t before = 0;
    for (uint64_t a = heap_link(&b->h, buddies_head(b, order)); a; a = heap_link(&b->h, a + w)) {
        if (a < b->arena + w || a >= b->h.port.top)
            return heap_says(wrong, before ? before + w : buddies_head(b, order),
                             "a link of the free blocks leads out of the heap");
        uint64_t header = heap_get(&b->h, a - w);
        if (header & BUDDY_USED || header >> 3 != order)
            return heap_says(wrong, a - w, "header %#llx in the free list of order %u",
                             (unsigned long long)header, order);
        if (heap_link(&b->h, a) != before)
            return heap_says(wrong, a, "a link does not lead back to %#llx",
                             (unsigned long long)before);
        if (!heap_step(&b->h, members))
            return false;
        before = a;
    }
    return true;
}

static bool buddies_check(heap *h, heap_wrong *wrong)
{
    buddies *b = (buddies *)h;
    uint64_t free = 0, members = 0, last = 0, last_header = BUDDY_USED;
    h->fuel = (h->port.top - h->port.base) / b->size[0] + 2;
    for (uint64_t at = b->arena; at != h->port.top;) {
        uint64_t header = heap_get(h, at);
        if (header >> 3 > b->root || b->size[header >> 3] > h->port.top - at ||
            !buddies_check_place(b, at, header))
            return heap_says(wrong, at, "the header %#llx is of no block that can begin here",
                             (unsigned long long)header);
        if (!(header & BUDDY_USED) && !(last_header & BUDDY_USED) && header & BUDDY_RIGHT &&
            !(last_header & BUDDY_RIGHT) &&
            buddies_right_order(b, (unsigned)(last_header >> 3) + 1) == header >> 3)
            return heap_says(wrong, last, "two buddies are free");
        free += !(header & BUDDY_USED);
        last = at;
        last_header = header;
        at += b->size[header >> 3];
    }
    for (unsigned order = 0; order <= b->root; order++)
        if (!buddies_check_list(b, wrong, order, &members))
            return false;
    if (free != members)
        return heap_says(wrong, h->port.base, "%llu blocks are free, but %llu can be found",
                         (unsigned long long)free, (unsigned long long)members);
    return true;
}

static void buddies_shape(heap *h, uint64_t n, heap_shape *s)
{
    const buddies *b = (buddies *)h;
    unsigned order = 0;
    while (order + 1 < b->orders && b->size[order] - buddies_word(b) < n)
        order++;
    s->size = b->size[order];
}

/* A list's number: its order. */
static bool buddies_lists(heap *h, heap_member *visit, void *ud)
{
    buddies *b = (buddies *)h;
    uint64_t seen = 0;
    h->fuel = (h->port.top - h->port.base) / b->size[0] + 2;
    for (unsigned k = 0; k <= b->root; k++)
        for (uint64_t a = heap_link(h, buddies_head(b, k)); a;
             a = heap_link(h, a + buddies_word(b)))
            if (!heap_step(h, &seen))
                return false;
            else if (!visit(ud, k, a))
                return true;
    return true;
}

static const char *const buddies_systems[] = {"binary", "fibonacci", NULL};

static const heap_option buddies_options[] = {
    HEAP_OPTIONS,
    HEAP_LAYOUT_OPTIONS,
    {HEAP_OPTION(system), buddies_systems, BUDDY_BINARY, 0, 0, "the sizes of blocks"},
    {0}};

const heap_class heap_buddy = {
    "buddy",
    "buddy systems: a block is half of one twice as large, or a part of a Fibonacci number",
    buddies_options,
    sizeof(buddies),
    buddies_init,
    buddies_malloc,
    buddies_free,
    buddies_resize,
    NULL,
    buddies_usable_size,
    buddies_walk,
    buddies_check,
    buddies_shape,
    buddies_lists};
