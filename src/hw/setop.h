/* setop.h: one reference to a set of packed tags kept in order of recency.
 *
 * A tag is (line << 1 | dirty); the set's first word is the most recent. All
 * forms do the same: put the line in front, keep or set its dirty bit, and on a
 * miss hand out what fell off the end. set_touch is the plain form; set_op_find
 * gives the fastest for a number of ways on this processor. Specs compare them.
 */
#ifndef VM_SETOP_H
#define VM_SETOP_H

#include "../base/base.h"

/* True: hit. On a miss `*victim` is the tag that fell off. `dirty` is 0 or 1. */
typedef bool set_op(uint32_t *set, uint32_t ways, uint32_t key, uint32_t dirty, uint32_t *victim);

VM_INLINE bool set_touch(uint32_t *s, uint32_t ways, uint32_t key, uint32_t dirty, uint32_t *victim)
{
    uint32_t carry = s[0];
    if ((carry & ~1u) == key) {
        s[0] = carry | dirty;
        return true;
    }
    for (uint32_t i = 1; i < ways; i++) {
        uint32_t tag = s[i];
        s[i] = carry;
        if ((tag & ~1u) == key) {
            s[0] = tag | dirty;
            return true;
        }
        carry = tag;
    }
    s[0] = key | dirty;
    *victim = carry;
    return false;
}

/* `portable`: never one that needs more than the baseline processor. Sets of the
 * forms with vectors are aligned to their size. */
set_op *set_op_find(uint32_t ways, bool portable);

#endif
