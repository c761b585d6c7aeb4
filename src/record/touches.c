#include "touches.h"

#include <stdint.h>

/* One bit an opcode, 32 opcodes a word: followed by a ModRM byte. */
static const uint32_t touches_modrm[8] = {
    0x0f0f0f0f, 0x0f0f0f0f, 0x00000000, 0x00000a08, /* 00 add.. 63 movsxd, 69 6b imul */
    0x0000ffff, 0x00000000, 0x0f0f00c3, 0xc0c00000, /* 80-8f, c0 c1 c6 c7 d0-d3, f6 f7 fe ff */
};
/* Memory without ModRM: push, pop, string operations, call, ret, moffs, xlat. */
static const uint32_t touches_implicit[8] = {
    0x00000000, 0x00000000, 0xffff0000, 0x0000f500, /* 50-5f, 68 6a 6c-6f */
    0x30000000, 0x0000fcff, 0x00808f0c, 0x00000100, /* 9c 9d, a0-a7 aa-af, c2.. cf d7, e8 */
};
/* After 0f: no ModRM byte at all, or none that means memory (prefetches, nops). */
static const uint32_t touches_plain_0f[8] = {
    0xff00ebe0, 0x00ff0000, 0x00000000, 0x00800000, /* 05-.. 18-1f, 30-37, 77 */
    0x0000ffff, 0x00000404, 0x0000ff00, 0x00000000, /* 80-8f, a2 aa, c8-cf */
};

static bool touches_bit(const uint32_t set[8], unsigned op) { return set[op / 32] >> op % 32 & 1; }

bool touches_x86_64(const unsigned char *code, size_t size)
{
    size_t i = 0;
    while (i < size && (code[i] == 0x66 || code[i] == 0x67 || code[i] == 0xf0 || code[i] == 0xf2 ||
                        code[i] == 0xf3 || code[i] == 0x2e || code[i] == 0x36 || code[i] == 0x3e ||
                        code[i] == 0x26 || code[i] == 0x64 || code[i] == 0x65))
        i++;
    if (i < size && (code[i] & 0xf0) == 0x40) /* REX */
        i++;
    if (i + 1 >= size)
        return i < size && touches_bit(touches_implicit, code[i]);
    unsigned op = code[i], modrm = code[i + 1];
    if (op == 0xc4 || op == 0xc5 || op == 0x62) { /* VEX and EVEX prefixes, then the opcode */
        i += op == 0xc5 ? 3 : op == 0xc4 ? 4 : 5;
        return i < size && code[i] >> 6 != 3;
    }
    if (op == 0x0f) {
        op = modrm;
        if (op == 0xa0 || op == 0xa1 || op == 0xa8 || op == 0xa9) /* push and pop fs, gs */
            return true;
        i += op == 0x38 || op == 0x3a ? 3 : 2;
        return !touches_bit(touches_plain_0f, op) && i < size && code[i] >> 6 != 3;
    }
    if ((op & 0xfe) == 0xf6 && (modrm >> 3 & 7) >= 6) /* div, idiv */
        return true;
    if (op >= 0xd8 && op <= 0xdf) /* x87 */
        return modrm >> 6 != 3;
    if (touches_bit(touches_modrm, op))
        return op != 0x8d && (modrm >> 6 != 3 || (op == 0xff && (modrm >> 3 & 7) == 2));
    return touches_bit(touches_implicit, op);
}

bool touches_aarch64(const unsigned char *code, size_t size)
{
    return size == 4 && (code[3] >> 1 & 5) == 4; /* bit 27 set, bit 25 clear */
}

bool touches_riscv64(const unsigned char *code, size_t size)
{
    unsigned quadrant = code[0] & 3u, funct = code[1] >> 5;
    if (size < 4)
        return (quadrant == 0 && (funct & 3) != 0) || (quadrant == 2 && (funct & 3) != 0);
    unsigned op = code[0] & 0x7f;
    return op == 0x03 || op == 0x07 || op == 0x23 || op == 0x27 || op == 0x2f;
}
