#include "lackey_fast.h"

#if defined(__x86_64__) && defined(__GNUC__)
#define LACKEY_AVX2 1
#include <immintrin.h>
#define LACKEY_TARGET __attribute__((target("avx2,bmi")))
#else
#define LACKEY_AVX2 0
#endif

/* Eight characters, the first in the lowest bits. */
VM_INLINE uint64_t lackey_word(const char *p)
{
    uint64_t x;
    memcpy(&x, p, sizeof x);
#if defined(__BYTE_ORDER__) && __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
    x = __builtin_bswap64(x);
#endif
    return x;
}

#define LACKEY_BYTES(x) ((x)*UINT64_C(0x0101010101010101))

/* --- line breaks ------------------------------------------------------------- */

static size_t lackey_breaks_word(const char *p, size_t from, size_t n, uint32_t *at, size_t count,
                                 size_t most)
{
    const uint64_t low7 = LACKEY_BYTES(0x7f);
    size_t i = from;
    for (; i + 8 <= n && count + 8 <= most; i += 8) {
        uint64_t x = lackey_word(p + i) ^ LACKEY_BYTES('\n');
        uint64_t hit = ~(((x & low7) + low7) | x | low7); /* bit 7 of each byte that was \n */
        for (; hit; hit &= hit - 1)
            at[count++] = (uint32_t)(i + ((unsigned)__builtin_ctzll(hit) >> 3));
    }
    for (; i < n && count < most; i++)
        if (p[i] == '\n')
            at[count++] = (uint32_t)i;
    return count;
}

#if LACKEY_AVX2
LACKEY_TARGET static size_t lackey_breaks_avx2(const char *p, size_t n, uint32_t *at, size_t most)
{
    const __m256i lf = _mm256_set1_epi8('\n');
    size_t i = 0, count = 0;
    for (; i + 64 <= n && count + 64 <= most; i += 64) {
        __m256i a = _mm256_loadu_si256((const __m256i *)(const void *)(p + i));
        __m256i b = _mm256_loadu_si256((const __m256i *)(const void *)(p + i + 32));
        uint64_t low = (uint32_t)_mm256_movemask_epi8(_mm256_cmpeq_epi8(a, lf));
        uint64_t high = (uint32_t)_mm256_movemask_epi8(_mm256_cmpeq_epi8(b, lf));
        for (uint64_t hit = low | high << 32; hit; hit &= hit - 1)
            at[count++] = (uint32_t)(i + (unsigned)__builtin_ctzll(hit));
    }
    return lackey_breaks_word(p, i, n, at, count, most);
}
#endif

/* --- lines --------------------------------------------------------------------- */

/* By the sum of the first two characters, modulo 32, which tells marks apart. */
static const struct lackey_mark {
    uint32_t text; /* the line's first three characters */
    uint32_t kind;
} lackey_marks[32] = {[9] = {'I' | ' ' << 8 | ' ' << 16, ACCESS_FETCH},
                      [12] = {' ' | 'L' << 8 | ' ' << 16, ACCESS_LOAD},
                      [19] = {' ' | 'S' << 8 | ' ' << 16, ACCESS_STORE},
                      [13] = {' ' | 'M' << 8 | ' ' << 16, ACCESS_MODIFY}};

/* Eight hexadecimal digits, the first the highest; `*bad` gets a bit if one is
 * none. Only the last n count. */
VM_INLINE uint64_t lackey_hex8(const char *end, unsigned n, uint64_t *bad)
{
    uint64_t keep = n ? ~UINT64_C(0) << (64 - 8 * n) : 0;
    uint64_t v = (lackey_word(end - 8) & keep) | (LACKEY_BYTES('0') & ~keep);
    const uint64_t high = LACKEY_BYTES(0x80), low7 = ~high;
    /* the sums carry into bit 7 where a byte is above the range's end */
    uint64_t digit = v ^ LACKEY_BYTES('0');                          /* 0..9 */
    uint64_t letter = (v | LACKEY_BYTES(0x20)) ^ LACKEY_BYTES(0x60); /* 1..6 */
    uint64_t no_digit = ((digit & low7) + LACKEY_BYTES(0x76)) | digit;
    uint64_t no_letter =
        ((letter & low7) + LACKEY_BYTES(0x79)) | letter | ~((letter & low7) + LACKEY_BYTES(0x7f));
    *bad |= no_digit & no_letter & high;
    uint64_t x = (v & LACKEY_BYTES(0x0f)) + 9 * (v >> 6 & LACKEY_BYTES(0x01));
    x = (x << 4 | x >> 8) & UINT64_C(0x00ff00ff00ff00ff);
    x = (x << 8 | x >> 16) & UINT64_C(0x0000ffff0000ffff);
    return (x << 16 | x >> 32) & UINT64_C(0xffffffff);
}

VM_INLINE uint64_t lackey_hex16_word(const char *end, unsigned n, uint64_t *bad)
{
    unsigned low = n < 8 ? n : 8;
    uint64_t upper = lackey_hex8(end - 8, n - low, bad);
    return upper << 32 | lackey_hex8(end, low, bad);
}

#if LACKEY_AVX2
LACKEY_TARGET VM_INLINE uint64_t lackey_hex16_avx2(const char *end, unsigned n, uint64_t *bad)
{
    static const uint8_t keeps[32] = {[16] = 255, 255, 255, 255, 255, 255, 255, 255,
                                      255,        255, 255, 255, 255, 255, 255, 255};
    __m128i v = _mm_loadu_si128((const __m128i *)(const void *)(end - 16));
    __m128i keep = _mm_loadu_si128((const __m128i *)(const void *)(keeps + n));
    __m128i digit = _mm_sub_epi8(v, _mm_set1_epi8('0'));
    __m128i letter = _mm_sub_epi8(_mm_or_si128(v, _mm_set1_epi8(0x20)), _mm_set1_epi8('a'));
    __m128i is_digit = _mm_cmpeq_epi8(_mm_min_epu8(digit, _mm_set1_epi8(9)), digit);
    __m128i is_letter = _mm_cmpeq_epi8(_mm_min_epu8(letter, _mm_set1_epi8(5)), letter);
    __m128i good = _mm_or_si128(is_digit, is_letter);
    *bad |= (uint64_t)!_mm_testc_si128(good, keep);
    __m128i x = _mm_blendv_epi8(_mm_add_epi8(letter, _mm_set1_epi8(10)), digit, is_digit);
    x = _mm_maddubs_epi16(_mm_and_si128(x, keep), _mm_set1_epi16(0x0110)); /* 16 * even + odd */
    x = _mm_packus_epi16(x, x);
    return __builtin_bswap64((uint64_t)_mm_cvtsi128_si64(x));
}
#endif

typedef uint64_t lackey_hex16(const char *end, unsigned n, uint64_t *bad);

/* One line [p, end), from its end backward: the size has one digit or two. */
VM_INLINE bool lackey_usual(const char *p, const char *end, uint16_t task, access_record *r,
                            lackey_hex16 *hex)
{
    const unsigned char *q = (const unsigned char *)p, *z = (const unsigned char *)end;
    uint32_t text = (uint32_t)(q[0] | q[1] << 8 | q[2] << 16);
    const struct lackey_mark *mark = &lackey_marks[(q[0] + q[1]) & 31];
    unsigned two = z[-2] != ',', ones = z[-1] - (unsigned)'0', tens = z[-2] - (unsigned)'0';
    const char *comma = end - 2 - two;
    uint32_t size = ones + (two ? 10 * tens : 0);
    size_t digits = (size_t)(comma - (p + 3)); /* huge where the line is too short */
    uint64_t bad =
        (text != mark->text) | (*comma != ',') | (ones > 9) | (two & (tens > 9)) | (size == 0);
    if (VM_UNLIKELY(digits - 1 > 15))
        return false;
    r->addr = hex(comma, (unsigned)digits, &bad);
    r->size = size;
    r->task = task;
    r->kind = (uint8_t)mark->kind;
    r->zero = 0;
    return bad == 0;
}

VM_INLINE size_t lackey_loop(const char *text, const uint32_t *breaks, size_t first, size_t lines,
                             uint16_t task, access_record *out, size_t *count, lackey_hex16 *hex)
{
    size_t n = *count, i = first, start = i ? breaks[i - 1] + (size_t)1 : 0;
    for (; i < lines; i++) {
        if (VM_UNLIKELY(!lackey_usual(text + start, text + breaks[i], task, &out[n], hex)))
            break;
        n++;
        start = breaks[i] + (size_t)1;
    }
    *count = n;
    return i;
}

#if LACKEY_AVX2
LACKEY_TARGET static size_t lackey_lines_avx2(const char *text, const uint32_t *breaks,
                                              size_t first, size_t lines, uint16_t task,
                                              access_record *out, size_t *count)
{
    return lackey_loop(text, breaks, first, lines, task, out, count, lackey_hex16_avx2);
}
#endif

size_t lackey_breaks(const char *p, size_t n, uint32_t *at, size_t most)
{
#if LACKEY_AVX2
    if (__builtin_cpu_supports("avx2"))
        return lackey_breaks_avx2(p, n, at, most);
#endif
    return lackey_breaks_word(p, 0, n, at, 0, most);
}

size_t lackey_lines(const char *text, const uint32_t *breaks, size_t first, size_t lines,
                    uint16_t task, access_record *out, size_t *count)
{
#if LACKEY_AVX2
    if (__builtin_cpu_supports("avx2"))
        return lackey_lines_avx2(text, breaks, first, lines, task, out, count);
#endif
    return lackey_loop(text, breaks, first, lines, task, out, count, lackey_hex16_word);
}
