/* tree.c: best fit in logarithmic time: the free blocks in a balanced tree, by size and
 * then by address.
 *
 *    a       left       a: a free block's payload; 0: none
 *    a + w   right
 *
 * The tree is a treap: heap-ordered by a hash of the addresses, so that its shape is
 * that of a random tree and no word is needed for balance. A link is changed through
 * its own address; the root's, a scalar of the allocator, is 0.
 *
 * Source: Vuillemin, "A unifying look at data structures", 1980 (Cartesian trees);
 * Seidel and Aragon, "Randomized search trees", 1996; best fit: Stephenson, "Fast
 * fits", 1983.
 */
#include "classes.h"
#include "tags.h"

static uint64_t tree_link(tags *t, uint64_t where)
{
    return where ? heap_link(&t->h, where) : t->head;
}

static void tree_set_link(tags *t, uint64_t where, uint64_t a)
{
    if (where)
        heap_set_link(&t->h, where, a);
    else
        t->head = a;
}

/* Is block a above block b? No two are equal: to multiply by an odd number is to permute. */
static bool tree_above(const tags *t, uint64_t a, uint64_t b)
{
    const uint64_t odd = UINT64_C(0x9e3779b97f4a7c15);
    return (a - t->h.port.base) * odd > (b - t->h.port.base) * odd;
}

static void tree_insert(tags *t, uint64_t a, uint64_t size)
{
    const uint64_t w = tags_word(t);
    uint64_t where = 0, at, left = a, right = a + w;
    tags_begin(t);
    while ((at = tree_link(t, where)) && tree_above(t, at, a)) {
        if (!heap_step(&t->h, &t->h.n.steps))
            return;
        where = tags_smaller(t, at, a, size) ? at + w : at;
    }
    tree_set_link(t, where, a);
    while (at && heap_step(&t->h, &t->h.n.steps)) { /* what is below a now, cut in two */
        if (tags_smaller(t, at, a, size)) {
            tree_set_link(t, left, at);
            left = at + w;
            at = heap_link(&t->h, at + w);
        } else {
            tree_set_link(t, right, at);
            right = at;
            at = heap_link(&t->h, at);
        }
    }
    tree_set_link(t, left, 0);
    tree_set_link(t, right, 0);
}

static void tree_remove(tags *t, uint64_t a, uint64_t size)
{
    const uint64_t w = tags_word(t);
    uint64_t where = 0, at;
    tags_begin(t);
    while ((at = tree_link(t, where)) != a) {
        if (!at) {
            t->h.port.status = vm_fail(&t->h.port.error, VM_INVALID,
                                       "the heap is damaged: free block %#llx is not in the tree",
                                       (unsigned long long)a);
            return;
        }
        if (!heap_step(&t->h, &t->h.n.steps))
            return;
        where = tags_smaller(t, at, a, size) ? at + w : at;
    }
    uint64_t left = heap_link(&t->h, a), right = heap_link(&t->h, a + w);
    while (left && right && heap_step(&t->h, &t->h.n.steps)) { /* merged */
        if (tree_above(t, left, right)) {
            tree_set_link(t, where, left);
            where = left + w;
            left = heap_link(&t->h, where);
        } else {
            tree_set_link(t, where, right);
            where = right;
            right = heap_link(&t->h, where);
        }
    }
    tree_set_link(t, where, left ? left : right);
}

/* The first block that does not come before one of `size` at `low`. */
static uint64_t tree_first(tags *t, uint64_t low, uint64_t size, uint64_t *steps)
{
    uint64_t found = 0;
    tags_begin(t);
    for (uint64_t at = t->head; at && heap_step(&t->h, steps);) {
        if (tags_smaller(t, at, low, size)) {
            at = heap_link(&t->h, at + tags_word(t));
        } else {
            found = at;
            at = heap_link(&t->h, at);
        }
    }
    return found;
}

static uint64_t tree_find(tags *t, uint64_t want)
{
    return tree_first(t, 0, want, &t->h.n.searches);
}

/* Each member is found from the one before, without a stack. */
static bool tree_check(tags *t, heap_wrong *wrong, uint64_t *members)
{
    uint64_t steps = 0, a = 0, size = 0, next, most = (t->h.port.top - t->first) / t->least;
    while ((next = tree_first(t, a + 1, size, &steps)) != 0) {
        if (!tags_says_member(t, wrong, next))
            return false;
        for (unsigned side = 0; side < 2; side++) {
            uint64_t below = heap_link(&t->h, next + side * tags_word(t));
            if (below && !tags_says_member(t, wrong, below))
                return false;
            if (below && !tree_above(t, next, below))
                return heap_says(wrong, next, "the tree is out of order");
        }
        if (++*members > most)
            return heap_says(wrong, next, "the tree does not end");
        a = next;
        size = tags_size(tags_header(t, a));
    }
    return true;
}

/* By size, then by address. */
static bool tree_lists(tags *t, heap_member *visit, void *ud)
{
    uint64_t steps = 0, a = 0, size = 0, most = (t->h.port.top - t->first) / t->least;
    for (uint64_t n = 0; (a = tree_first(t, a + 1, size, &steps)) != 0; n++) {
        if (n > most)
            return false;
        if (!visit(ud, 0, a))
            return true;
        size = tags_size(tags_header(t, a));
    }
    return true;
}

static const tags_index tree_index = {.links = 2,
                                      .find = tree_find,
                                      .insert = tree_insert,
                                      .remove = tree_remove,
                                      .check = tree_check,
                                      .lists = tree_lists};

static vm_status tree_init(heap *h, vm_error *e) { return tags_init(h, &tree_index, e); }

static const heap_option tree_options[] = {TAGS_OPTIONS, TAGS_TAGS, {0}};

const heap_class heap_tree = {"tree",       "best fit by a balanced tree of sizes, then addresses",
                              tree_options, sizeof(tags),
                              tree_init,    TAGS_CLASS};
