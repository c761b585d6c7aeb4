/* number_set.h: a set of small numbers (frames, swap slots, blocks), of which the
 * lowest member at or above a given one is found in a few steps.
 *
 * One bit a number, in words of 64; above them summaries, each of which has a bit
 * for each word below that is not zero. The bits themselves live in leaves that
 * are made when one of their numbers is to change: a leaf that is missing has the
 * set's `fill` in every word, so that a set over a huge memory costs a pointer for
 * 8192 numbers, and a summary bit for 64, until it is used.
 *
 * Invariant: a summary bit is set exactly if the word that it stands for is not
 * zero. Bits at `count` and above mean nothing where `fill` is not zero.
 */
#ifndef VM_NUMBER_SET_H
#define VM_NUMBER_SET_H

#include "../base/base.h"

#define NUMBER_SET_LEAF    128 /* words of a leaf */
#define NUMBER_SET_LEVELS  5   /* summaries of 2^32 numbers */
#define NUMBER_SET_NUMBERS (NUMBER_SET_LEAF * UINT64_C(64))

typedef struct number_set {
    uint64_t count; /* numbers 0 .. count - 1 */
    uint64_t fill;  /* words of leaves that are not there: 0 or all ones */
    uint64_t **leaves;
    uint64_t *summary[NUMBER_SET_LEVELS];
    uint64_t words[NUMBER_SET_LEVELS]; /* of each summary; the last one has 1 */
    unsigned levels;                   /* of summaries, at least 1 */
} number_set;

/* Numbers 0 .. count - 1 are all members, or none; errors: VM_NOMEM. */
vm_status number_set_init(number_set *s, const vm_host *host, uint64_t count, bool all,
                          vm_error *e);
void number_set_free(number_set *s, const vm_host *host);
/* The leaf of number i is there afterwards, so that i can be put in and out. */
vm_status number_set_reserve(number_set *s, const vm_host *host, uint64_t i, vm_error *e);
/* The lowest member at or above i; `count` if there is none. */
uint64_t number_set_next(const number_set *s, uint64_t i);
/* The lowest number at or above i, below stop, that is no member; stop if all are. */
uint64_t number_set_next_absent(const number_set *s, uint64_t i, uint64_t stop);
/* Put numbers first .. first + n - 1 in, or take them out. */
void number_set_put_range(number_set *s, uint64_t first, uint64_t n);
void number_set_drop_range(number_set *s, uint64_t first, uint64_t n);
bool number_set_check(const number_set *s);

VM_INLINE uint64_t number_set_word(const number_set *s, uint64_t w)
{
    const uint64_t *leaf = s->leaves[w / NUMBER_SET_LEAF];
    return leaf ? leaf[w % NUMBER_SET_LEAF] : s->fill;
}
VM_INLINE bool number_set_has(const number_set *s, uint64_t i)
{
    return number_set_word(s, i / 64) >> i % 64 & 1;
}
VM_INLINE bool number_set_reserved(const number_set *s, uint64_t i)
{
    return s->leaves[i / NUMBER_SET_NUMBERS] != NULL;
}

/* Word w became not zero, or zero: so say the summaries. */
VM_INLINE void number_set_rise(number_set *s, uint64_t w)
{
    for (unsigned k = 0; k < s->levels; k++, w /= 64) {
        uint64_t before = s->summary[k][w / 64];
        s->summary[k][w / 64] = before | UINT64_C(1) << w % 64;
        if (before)
            return;
    }
}
VM_INLINE void number_set_fall(number_set *s, uint64_t w)
{
    for (unsigned k = 0; k < s->levels; k++, w /= 64)
        if (s->summary[k][w / 64] &= ~(UINT64_C(1) << w % 64))
            return;
}
VM_INLINE void number_set_put_bits(number_set *s, uint64_t w, uint64_t bits)
{
    uint64_t *at = &s->leaves[w / NUMBER_SET_LEAF][w % NUMBER_SET_LEAF], before = *at;
    *at = before | bits;
    if (!before)
        number_set_rise(s, w);
}
VM_INLINE void number_set_drop_bits(number_set *s, uint64_t w, uint64_t bits)
{
    uint64_t *at = &s->leaves[w / NUMBER_SET_LEAF][w % NUMBER_SET_LEAF], before = *at;
    *at = before & ~bits;
    if (before && !*at)
        number_set_fall(s, w);
}
/* One number; its leaf must be there. */
VM_INLINE void number_set_put(number_set *s, uint64_t i)
{
    number_set_put_bits(s, i / 64, UINT64_C(1) << i % 64);
}
VM_INLINE void number_set_drop(number_set *s, uint64_t i)
{
    number_set_drop_bits(s, i / 64, UINT64_C(1) << i % 64);
}

#endif
