#include "number_set.h"

static uint64_t set_words(uint64_t numbers) { return numbers / 64 + (numbers % 64 != 0); }
static size_t set_leaves(const number_set *s)
{
    return (size_t)(s->count / NUMBER_SET_NUMBERS + (s->count % NUMBER_SET_NUMBERS != 0));
}
/* Words of leaf i: the last one is as short as it can be. */
static size_t set_leaf_words(const number_set *s, size_t i)
{
    uint64_t rest = set_words(s->count) - (uint64_t)i * NUMBER_SET_LEAF;
    return rest < NUMBER_SET_LEAF ? (size_t)rest : NUMBER_SET_LEAF;
}

vm_status number_set_init(number_set *s, const vm_host *host, uint64_t count, bool all, vm_error *e)
{
    memset(s, 0, sizeof *s);
    s->count = count;
    s->fill = all ? ~UINT64_C(0) : 0;
    if (!count)
        return VM_OK;
    bool ok = (s->leaves = host_zalloc(host, set_leaves(s) * sizeof *s->leaves)) != NULL;
    uint64_t below = set_words(count); /* words that the next summary has bits for */
    do {
        unsigned k = s->levels++;
        s->words[k] = set_words(below);
        s->summary[k] = host_zalloc(host, (size_t)s->words[k] * sizeof *s->summary[k]);
        ok = ok && s->summary[k];
        if (ok && all) {
            memset(s->summary[k], 0xff, (size_t)s->words[k] * sizeof *s->summary[k]);
            if (below % 64) /* no bit for a word that there is not */
                s->summary[k][s->words[k] - 1] = low_mask((unsigned)(below % 64));
        }
        below = s->words[k];
    } while (below > 1);
    if (ok)
        return VM_OK;
    number_set_free(s, host);
    return vm_fail_nomem(e, "a map of what is free");
}

void number_set_free(number_set *s, const vm_host *host)
{
    for (size_t i = 0; s->leaves && i < set_leaves(s); i++)
        host_free(host, s->leaves[i], set_leaf_words(s, i) * sizeof **s->leaves);
    host_free(host, s->leaves, set_leaves(s) * sizeof *s->leaves);
    for (unsigned k = 0; k < s->levels; k++)
        host_free(host, s->summary[k], (size_t)s->words[k] * sizeof *s->summary[k]);
    memset(s, 0, sizeof *s);
}

vm_status number_set_reserve(number_set *s, const vm_host *host, uint64_t i, vm_error *e)
{
    size_t at = (size_t)(i / NUMBER_SET_NUMBERS);
    if (s->leaves[at])
        return VM_OK;
    size_t bytes = set_leaf_words(s, at) * sizeof **s->leaves;
    if (!(s->leaves[at] = host_alloc(host, bytes)))
        return vm_fail_nomem(e, "a map of what is free");
    memset(s->leaves[at], s->fill ? 0xff : 0, bytes);
    return VM_OK;
}

uint64_t number_set_next(const number_set *s, uint64_t i)
{
    if (i >= s->count)
        return s->count;
    uint64_t w = i / 64, bits = number_set_word(s, w) & ~low_mask((unsigned)(i % 64));
    if (!bits) { /* up until a summary knows of a later word, and down again to it */
        unsigned k = 0;
        for (;; k++) {
            uint64_t at = w + 1;
            if (k == s->levels || at / 64 >= s->words[k])
                return s->count;
            bits = s->summary[k][at / 64] & ~low_mask((unsigned)(at % 64));
            w = at / 64;
            if (bits)
                break;
        }
        w = w * 64 + (unsigned)__builtin_ctzll(bits);
        while (k-- > 0)
            w = w * 64 + (unsigned)__builtin_ctzll(s->summary[k][w]);
        bits = number_set_word(s, w);
    }
    i = w * 64 + (unsigned)__builtin_ctzll(bits);
    return i < s->count ? i : s->count;
}

uint64_t number_set_next_absent(const number_set *s, uint64_t i, uint64_t stop)
{
    if (i >= stop)
        return stop;
    uint64_t w = i / 64, bits = ~number_set_word(s, w) & ~low_mask((unsigned)(i % 64));
    while (!bits) {
        if (++w * 64 >= stop)
            return stop;
        bits = ~number_set_word(s, w);
    }
    i = w * 64 + (unsigned)__builtin_ctzll(bits);
    return i < stop ? i : stop;
}

/* The part of a range that lies in the word of its first number; at most n. */
static uint64_t set_part(uint64_t first, uint64_t n, uint64_t *bits)
{
    uint64_t in = 64 - first % 64;
    in = in < n ? in : n;
    *bits = low_mask((unsigned)in) << first % 64;
    return in;
}

void number_set_put_range(number_set *s, uint64_t first, uint64_t n)
{
    for (uint64_t bits, in; n; first += in, n -= in) {
        in = set_part(first, n, &bits);
        number_set_put_bits(s, first / 64, bits);
    }
}

void number_set_drop_range(number_set *s, uint64_t first, uint64_t n)
{
    for (uint64_t bits, in; n; first += in, n -= in) {
        in = set_part(first, n, &bits);
        number_set_drop_bits(s, first / 64, bits);
    }
}

bool number_set_check(const number_set *s)
{
    uint64_t below = set_words(s->count);
    for (unsigned k = 0; k < s->levels; below = s->words[k++])
        for (uint64_t w = 0; w < s->words[k] * 64; w++) {
            bool some = w < below && (k ? s->summary[k - 1][w] : number_set_word(s, w));
            if ((s->summary[k][w / 64] >> w % 64 & 1) != some)
                return false;
        }
    return true;
}
