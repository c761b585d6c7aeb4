#include "area.h"

static uint64_t area_before(const area *a) { return a->start - (a->prev ? a->prev->stop : 0); }

static void area_refresh_one(area *a)
{
    uint64_t room = area_before(a);
    if (a->left && a->left->room > room)
        room = a->left->room;
    if (a->right && a->right->room > room)
        room = a->right->room;
    a->room = room;
}

static void area_refresh(area *a)
{
    for (; a; a = a->up)
        area_refresh_one(a);
}

area *area_above(const area_tree *t, uint64_t va)
{
    area *best = NULL;
    for (area *a = t->root; a;) {
        if (a->stop > va) {
            best = a;
            a = a->left;
        } else {
            a = a->right;
        }
    }
    return best;
}

area *area_find(const area_tree *t, uint64_t va)
{
    area *a = area_above(t, va);
    return a && a->start <= va ? a : NULL;
}

/* `with` takes the place of a below a's parent. */
static void area_replace(area_tree *t, area *a, area *with)
{
    area *up = a->up;
    if (!up)
        t->root = with;
    else if (up->left == a)
        up->left = with;
    else
        up->right = with;
    if (with)
        with->up = up;
}

/* Turn so that a's child c stands above it. */
static void area_turn(area_tree *t, area *a, area *c)
{
    area_replace(t, a, c);
    if (c == a->left) {
        a->left = c->right;
        if (a->left)
            a->left->up = a;
        c->right = a;
    } else {
        a->right = c->left;
        if (a->right)
            a->right->up = a;
        c->left = a;
    }
    a->up = c;
    area_refresh_one(a);
    area_refresh_one(c);
}

/* xorshift (Marsaglia 2003): enough for a shape */
static uint32_t area_rank(area_tree *t)
{
    uint32_t x = t->ranks ? t->ranks : 2463534242u;
    x ^= x << 13;
    x ^= x >> 17;
    x ^= x << 5;
    return t->ranks = x;
}

void area_insert(area_tree *t, area *a)
{
    area *up = NULL, *prev = NULL, *next = NULL, **link = &t->root;
    while (*link) {
        up = *link;
        if (a->start < up->start) {
            next = up;
            link = &up->left;
        } else {
            prev = up;
            link = &up->right;
        }
    }
    *link = a;
    a->up = up;
    a->left = a->right = NULL;
    a->rank = area_rank(t);
    a->prev = prev;
    a->next = next;
    if (prev)
        prev->next = a;
    else
        t->first = a;
    if (next)
        next->prev = a;
    else
        t->last = a;
    t->count++;
    area_refresh(a);
    if (next)
        area_refresh(next);
    while (a->up && a->up->rank < a->rank)
        area_turn(t, a->up, a);
}

void area_remove(area_tree *t, area *a)
{
    while (a->left && a->right)
        area_turn(t, a, a->left->rank > a->right->rank ? a->left : a->right);
    area_replace(t, a, a->left ? a->left : a->right);
    if (a->prev)
        a->prev->next = a->next;
    else
        t->first = a->next;
    if (a->next)
        a->next->prev = a->prev;
    else
        t->last = a->prev;
    t->count--;
    area_refresh(a->up);
    if (a->next)
        area_refresh(a->next);
}

void area_set_start(area_tree *t, area *a, uint64_t start)
{
    (void)t;
    a->start = start;
    area_refresh(a);
}

void area_set_stop(area_tree *t, area *a, uint64_t stop)
{
    (void)t;
    a->stop = stop;
    if (a->next)
        area_refresh(a->next);
}

/* The highest place in from .. to, or 0. */
static uint64_t area_place(uint64_t from, uint64_t to, uint64_t length, uint64_t align)
{
    if (to <= from || to - from < length)
        return 0;
    uint64_t at = align_down(to - length, align);
    return at >= from ? at : 0;
}

static uint64_t area_gap_in(const area *a, uint64_t floor, uint64_t ceiling, uint64_t length,
                            uint64_t align)
{
    while (a && a->room >= length) {
        if (a->stop < ceiling) { /* what lies right of it can be below the ceiling */
            uint64_t at = area_gap_in(a->right, floor, ceiling, length, align);
            if (at)
                return at;
        }
        uint64_t from = a->prev && a->prev->stop > floor ? a->prev->stop : floor;
        uint64_t at = area_place(from, a->start < ceiling ? a->start : ceiling, length, align);
        if (at)
            return at;
        a = a->left;
    }
    return 0;
}

uint64_t area_gap(const area_tree *t, uint64_t floor, uint64_t ceiling, uint64_t length,
                  uint64_t align)
{
    uint64_t from = t->last && t->last->stop > floor ? t->last->stop : floor;
    uint64_t at = area_place(from, ceiling, length, align);
    return at ? at : area_gap_in(t->root, floor, ceiling, length, align);
}

const char *area_check(const area_tree *t)
{
    size_t n = 0;
    const area *last = NULL;
    for (const area *a = t->first; a; last = a, a = a->next, n++) {
        if (a->start >= a->stop || (last && a->start < last->stop))
            return "space: areas overlap or are out of order";
        if (a->prev != last || (a->up ? a->up->left != a && a->up->right != a : t->root != a))
            return "space: the links of an area are wrong";
        if (a->up && a->up->rank < a->rank)
            return "space: the tree of areas is out of order";
        uint64_t room = area_before(a);
        room = a->left && a->left->room > room ? a->left->room : room;
        room = a->right && a->right->room > room ? a->right->room : room;
        if (a->room != room)
            return "space: an area does not know the gaps below it";
    }
    return n == t->count && t->last == last ? NULL : "space: the count of areas is wrong";
}
