/* base.h: what every other file stands on: statuses and errors, host memory,
 * bits and seeded random numbers.
 *
 * Invariants
 *   - No function here keeps global state, prints, exits or longjmps.
 *   - Host memory comes from one hook with the signature of a lua_Alloc, so a
 *     host can count it, bound it, or make the n-th allocation fail.
 *   - A failed call leaves its arguments as they were, and says why in the
 *     vm_error it was given (NULL: the caller does not want to know).
 */
#ifndef VM_BASE_H
#define VM_BASE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#if defined(__GNUC__)
#define VM_LIKELY(x)    __builtin_expect(!!(x), 1)
#define VM_UNLIKELY(x)  __builtin_expect(!!(x), 0)
#define VM_PRINTF(f, a) __attribute__((format(printf, f, a)))
#define VM_NOINLINE     __attribute__((noinline))
#define VM_INLINE       static inline __attribute__((always_inline))
#define VM_PREFETCH(p)  __builtin_prefetch(p)
#else
#define VM_LIKELY(x)   (x)
#define VM_UNLIKELY(x) (x)
#define VM_PRINTF(f, a)
#define VM_NOINLINE
#define VM_INLINE      static inline
#define VM_PREFETCH(p) ((void)(p))
#endif

/* --- statuses and errors ------------------------------------------------ */

typedef enum vm_status {
    VM_OK = 0,
    VM_NOMEM,   /* the host's memory is used up */
    VM_INVALID, /* an argument or an option is wrong: the caller's mistake */
    VM_IO,      /* the host's file system failed; vm_error.sys has errno */
    VM_FORMAT,  /* a file's content is not what its format says */
    VM_REFUSED, /* the simulated system call fails; vm_error.sys has errno */
    VM_FAULT,   /* a simulated access faulted for good */
    VM_POLICY,  /* a function of Lua's, of a policy or an allocator, failed */
} vm_status;

typedef struct vm_error {
    vm_status status;
    int sys;        /* errno where status is VM_IO or VM_REFUSED, else 0 */
    char text[480]; /* one sentence, no newline: what, where, what was expected */
} vm_error;

/* Fill `e` (may be NULL) and return `status`, so that callers can write
 * `return vm_fail(...)`. The text is cut where it does not fit. */
vm_status vm_fail(vm_error *e, vm_status status, const char *fmt, ...) VM_PRINTF(3, 4);
/* The same for a failed host or simulated call: keeps errno `sys`. */
vm_status vm_fail_sys(vm_error *e, vm_status status, int sys, const char *fmt, ...) VM_PRINTF(4, 5);
/* The usual error of host_alloc's callers: "not enough host memory for WHAT". */
vm_status vm_fail_nomem(vm_error *e, const char *what);

/* --- host memory --------------------------------------------------------- */

/* `alloc(ud, p, osize, nsize)` behaves as a lua_Alloc: nsize 0 frees p and
 * returns NULL; otherwise it returns a block of nsize bytes, or NULL. */
typedef struct vm_host {
    void *(*alloc)(void *ud, void *p, size_t osize, size_t nsize);
    void *ud;
} vm_host;

extern const vm_host vm_host_libc; /* realloc and free */

void *host_alloc(const vm_host *h, size_t size);  /* not cleared; NULL on failure */
void *host_zalloc(const vm_host *h, size_t size); /* cleared */
void *host_realloc(const vm_host *h, void *p, size_t osize, size_t nsize);
void host_free(const vm_host *h, void *p, size_t size); /* p may be NULL */
/* Cleared, aligned to 64 bytes (a host cache line); freed by its own function. */
void *host_zalloc_aligned(const vm_host *h, size_t size);
void host_free_aligned(const vm_host *h, void *p, size_t size);

/* Grow the array `*p` of `*cap` items of `item` bytes to hold `need` items.
 * False, and nothing changed, when memory is used up. */
bool host_grow(const vm_host *h, void **p, size_t *cap, size_t need, size_t item);

/* --- bits ---------------------------------------------------------------- */

VM_INLINE bool is_pow2(uint64_t x) { return x != 0 && (x & (x - 1)) == 0; }
/* floor(log2(x)); x > 0 */
VM_INLINE unsigned log2_floor(uint64_t x) { return 63u - (unsigned)__builtin_clzll(x); }
/* the low n bits set; n <= 64 */
VM_INLINE uint64_t low_mask(unsigned n) { return n >= 64 ? ~UINT64_C(0) : (UINT64_C(1) << n) - 1; }
VM_INLINE uint64_t align_down(uint64_t x, uint64_t pow2) { return x & ~(pow2 - 1); }
VM_INLINE uint64_t align_up(uint64_t x, uint64_t pow2) { return (x + pow2 - 1) & ~(pow2 - 1); }
/* copy bit n-1 of x into all bits above it; 0 < n <= 64 */
VM_INLINE uint64_t sign_extend(uint64_t x, unsigned n)
{
    uint64_t top = UINT64_C(1) << (n - 1);
    return ((x & low_mask(n)) ^ top) - top;
}

/* --- random numbers ------------------------------------------------------ */

/* xoshiro256** (Blackman and Vigna, 2018), seeded by splitmix64: the same
 * sequence on every machine for one seed. */
typedef struct vm_rng {
    uint64_t s[4];
} vm_rng;

void rng_seed(vm_rng *r, uint64_t seed);
uint64_t rng_next(vm_rng *r);
uint64_t rng_below(vm_rng *r, uint64_t n); /* uniform in 0..n-1; n > 0 */
double rng_unit(vm_rng *r);                /* uniform in [0, 1), 53 bits */

#endif
