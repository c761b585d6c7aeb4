#include "base.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

static vm_status fail_v(vm_error *e, vm_status status, int sys, const char *fmt, va_list ap)
{
    if (e) {
        e->status = status;
        e->sys = sys;
        vsnprintf(e->text, sizeof e->text, fmt, ap);
    }
    return status;
}

vm_status vm_fail(vm_error *e, vm_status status, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    fail_v(e, status, 0, fmt, ap);
    va_end(ap);
    return status;
}

vm_status vm_fail_sys(vm_error *e, vm_status status, int sys, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    fail_v(e, status, sys, fmt, ap);
    va_end(ap);
    return status;
}

vm_status vm_fail_nomem(vm_error *e, const char *what)
{
    return vm_fail(e, VM_NOMEM, "not enough host memory for %s", what);
}

static void *libc_alloc(void *ud, void *p, size_t osize, size_t nsize)
{
    (void)ud;
    (void)osize;
    if (nsize == 0) {
        free(p);
        return NULL;
    }
    return realloc(p, nsize);
}

const vm_host vm_host_libc = {libc_alloc, NULL};

void *host_alloc(const vm_host *h, size_t size)
{
    return h->alloc(h->ud, NULL, 0, size ? size : 1);
}

void *host_zalloc(const vm_host *h, size_t size)
{
    void *p = host_alloc(h, size);
    if (p)
        memset(p, 0, size);
    return p;
}

void *host_realloc(const vm_host *h, void *p, size_t osize, size_t nsize)
{
    return h->alloc(h->ud, p, p ? osize : 0, nsize ? nsize : 1);
}

void host_free(const vm_host *h, void *p, size_t size)
{
    if (p)
        h->alloc(h->ud, p, size ? size : 1, 0);
}

/* The pointer that the hook gave stands in the word before the aligned block. */
#define ALIGNED_SLACK (64 + sizeof(void *))

void *host_zalloc_aligned(const vm_host *h, size_t size)
{
    if (size > SIZE_MAX - ALIGNED_SLACK)
        return NULL;
    char *raw = host_alloc(h, size + ALIGNED_SLACK);
    if (!raw)
        return NULL;
    uintptr_t at = ((uintptr_t)raw + sizeof(void *) + 63) & ~(uintptr_t)63;
    char *p = raw + (at - (uintptr_t)raw);
    memcpy(p - sizeof(void *), &raw, sizeof raw);
    memset(p, 0, size);
    return p;
}

void host_free_aligned(const vm_host *h, void *p, size_t size)
{
    if (!p)
        return;
    void *raw;
    memcpy(&raw, (char *)p - sizeof(void *), sizeof raw);
    host_free(h, raw, size + ALIGNED_SLACK);
}

bool host_grow(const vm_host *h, void **p, size_t *cap, size_t need, size_t item)
{
    if (need <= *cap)
        return true;
    size_t n = *cap ? *cap : 8;
    while (n < need) {
        if (n > SIZE_MAX / 2 / item)
            return false;
        n *= 2;
    }
    void *q = host_realloc(h, *p, *cap * item, n * item);
    if (!q)
        return false;
    *p = q;
    *cap = n;
    return true;
}

void rng_seed(vm_rng *r, uint64_t seed)
{
    for (int i = 0; i < 4; i++) {
        uint64_t z = (seed += UINT64_C(0x9e3779b97f4a7c15));
        z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
        z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
        r->s[i] = z ^ (z >> 31);
    }
}

static uint64_t rotl(uint64_t x, unsigned k) { return (x << k) | (x >> (64 - k)); }

uint64_t rng_next(vm_rng *r)
{
    uint64_t *s = r->s, out = rotl(s[1] * 5, 7) * 9, t = s[1] << 17;
    s[2] ^= s[0];
    s[3] ^= s[1];
    s[1] ^= s[2];
    s[0] ^= s[3];
    s[2] ^= t;
    s[3] = rotl(s[3], 45);
    return out;
}

uint64_t rng_below(vm_rng *r, uint64_t n)
{
    /* Values above the last whole multiple of n would favour small results. */
    uint64_t limit = UINT64_MAX - UINT64_MAX % n, x;
    do
        x = rng_next(r);
    while (x >= limit);
    return x % n;
}

double rng_unit(vm_rng *r) { return (double)(rng_next(r) >> 11) * 0x1p-53; }
