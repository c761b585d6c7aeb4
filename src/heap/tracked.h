/* tracked.h: arithmetic on numbers of 64 bits, bit by bit: of which bits of the result
 * is known what they are, and from which block a pointer came.
 *
 * A bit of the result is undefined if other values of the undefined bits of the operands
 * could change it; where that is dear to know exactly (products, quotients), more bits
 * may be undefined than need be, never fewer. For sums and differences all bits between
 * the lowest and the highest value that the operands can have are compared.
 *
 * Provenance: pointer + number, pointer - number, pointer & mask and pointer | bits are
 * pointers into the same block; all other results are plain numbers.
 *
 * Source: Seward and Nethercote, "Using Valgrind to detect undefined value errors with
 * bit-precision" (USENIX 2005), section 2; provenance: Memarian et al., "Exploring C
 * semantics and pointer provenance" (POPL 2019).
 */
#ifndef VM_TRACKED_H
#define VM_TRACKED_H

#include "shadow.h"

typedef enum tracked_op {
    TRACKED_ADD,
    TRACKED_SUB,
    TRACKED_MUL,
    TRACKED_DIV, /* signed, rounded down; the divisor is not 0 */
    TRACKED_MOD, /* with the divisor's sign */
    TRACKED_AND,
    TRACKED_OR,
    TRACKED_XOR,
    TRACKED_SHL, /* by 64 and more: 0; negative: the other way, as Lua has it */
    TRACKED_SHR, /* logical */
    TRACKED_EQ,  /* 1 or 0, and so are those below */
    TRACKED_LT,  /* signed */
    TRACKED_LE,
    TRACKED_ULT, /* unsigned */
    TRACKED_OPS
} tracked_op;

tracked tracked_apply(tracked_op op, const tracked *a, const tracked *b);
tracked tracked_not(const tracked *a); /* of each bit */

/* A number that is known, of no block. */
VM_INLINE tracked tracked_plain(uint64_t x) { return (tracked){.x = x}; }

#endif
