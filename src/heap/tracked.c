#include "tracked.h"

/* The lowest set bit and all above it. */
static uint64_t tracked_left(uint64_t undef) { return undef | (0 - undef); }

static uint32_t tracked_one_of(const tracked *a, const tracked *b)
{
    return a->from && b->from ? 0 : a->from | b->from;
}

static uint64_t tracked_div(uint64_t a, uint64_t b, uint64_t *rest)
{
    int64_t y = (int64_t)b;
    if (y == -1) { /* the quotient of the least number has no place */
        *rest = 0;
        return 0 - a;
    }
    int64_t q = (int64_t)a / y, r = (int64_t)a % y;
    if (r != 0 && (r ^ y) < 0) {
        q--;
        r += y;
    }
    *rest = (uint64_t)r;
    return (uint64_t)q;
}

static uint64_t tracked_shift(uint64_t x, int64_t n)
{
    if (n <= -64 || n >= 64)
        return 0;
    return n >= 0 ? x << n : x >> -n;
}

static void tracked_sum(tracked *r, const tracked *a, const tracked *b)
{
    const uint64_t most = (a->x | a->undef) + (b->x | b->undef);
    const uint64_t least = (a->x & ~a->undef) + (b->x & ~b->undef);
    r->x = a->x + b->x;
    r->undef = a->undef | b->undef | (most ^ least);
    r->from = tracked_one_of(a, b);
}

static void tracked_difference(tracked *r, const tracked *a, const tracked *b)
{
    const uint64_t most = (a->x | a->undef) - (b->x & ~b->undef);
    const uint64_t least = (a->x & ~a->undef) - (b->x | b->undef);
    r->x = a->x - b->x;
    r->undef = a->undef | b->undef | (most ^ least);
    r->from = b->from ? 0 : a->from;
}

static void tracked_quotient(tracked *r, const tracked *a, const tracked *b, bool rest)
{
    uint64_t m, q = tracked_div(a->x, b->x, &m);
    r->x = rest ? m : q;
    r->undef = a->undef | b->undef ? UINT64_MAX : 0;
}

static void tracked_shifted(tracked *r, const tracked *a, const tracked *b, bool right)
{
    const int64_t n = (int64_t)b->x, by = right ? (n == INT64_MIN ? INT64_MAX : -n) : n;
    r->x = tracked_shift(a->x, by);
    r->undef = b->undef ? UINT64_MAX : tracked_shift(a->undef, by);
}

/* Known, if a bit that is known of both differs; else if all bits are known. */
static void tracked_equal(tracked *r, const tracked *a, const tracked *b)
{
    const uint64_t undef = a->undef | b->undef;
    r->x = a->x == b->x;
    r->undef = undef && !((a->x ^ b->x) & ~undef);
}

/* a < b (or <=), of unsigned numbers: known, if it holds or fails for all that the
 * operands can be. */
static void tracked_below(tracked *r, const tracked *a, const tracked *b, bool same)
{
    const uint64_t a_most = a->x | a->undef, a_least = a->x & ~a->undef;
    const uint64_t b_most = b->x | b->undef, b_least = b->x & ~b->undef;
    const bool always = same ? a_most <= b_least : a_most < b_least;
    const bool ever = same ? a_least <= b_most : a_least < b_most;
    r->x = same ? a->x <= b->x : a->x < b->x;
    r->undef = always != ever;
}

/* Signed numbers in order are unsigned ones with the upper half below the lower. */
static tracked tracked_flip(const tracked *a)
{
    tracked t = *a;
    t.x ^= UINT64_C(1) << 63;
    return t;
}

tracked tracked_apply(tracked_op op, const tracked *a, const tracked *b)
{
    tracked r = {0};
    const tracked x = tracked_flip(a), y = tracked_flip(b);
    switch (op) {
    case TRACKED_ADD:
        tracked_sum(&r, a, b);
        break;
    case TRACKED_SUB:
        tracked_difference(&r, a, b);
        break;
    case TRACKED_MUL:
        r.x = a->x * b->x;
        r.undef = tracked_left(a->undef | b->undef);
        break;
    case TRACKED_DIV:
    case TRACKED_MOD:
        tracked_quotient(&r, a, b, op == TRACKED_MOD);
        break;
    case TRACKED_AND:
        r.x = a->x & b->x;
        r.undef = (a->undef | b->undef) & (a->x | a->undef) & (b->x | b->undef);
        r.from = tracked_one_of(a, b);
        break;
    case TRACKED_OR:
        r.x = a->x | b->x;
        r.undef = (a->undef | b->undef) & (~a->x | a->undef) & (~b->x | b->undef);
        r.from = tracked_one_of(a, b);
        break;
    case TRACKED_XOR:
        r.x = a->x ^ b->x;
        r.undef = a->undef | b->undef;
        break;
    case TRACKED_SHL:
    case TRACKED_SHR:
        tracked_shifted(&r, a, b, op == TRACKED_SHR);
        break;
    case TRACKED_EQ:
        tracked_equal(&r, a, b);
        break;
    case TRACKED_LT:
    case TRACKED_LE:
        tracked_below(&r, &x, &y, op == TRACKED_LE);
        break;
    case TRACKED_ULT:
    case TRACKED_OPS:
        tracked_below(&r, a, b, false);
        break;
    }
    if (r.undef)
        r.origin = a->undef ? a->origin : b->origin;
    return r;
}

tracked tracked_not(const tracked *a)
{
    return (tracked){.x = ~a->x, .undef = a->undef, .origin = a->undef ? a->origin : 0};
}
