/* futex.h: sleeping on a word of shared memory until another process changes it.
 * Inline, since the recorder and vmem are libraries apart. Where there are no
 * futexes a sleeper wakes by itself after its time.
 */
#ifndef VM_FUTEX_H
#define VM_FUTEX_H

#include <stdatomic.h>
#include <stdint.h>
#include <time.h>

#if defined(__linux__)
#include <linux/futex.h>
#include <sys/syscall.h>
#include <unistd.h>
#endif

/* Sleep while *word is `value`, for `ms` milliseconds at the most. */
static inline void futex_sleep(_Atomic uint32_t *word, uint32_t value, unsigned ms)
{
    struct timespec t = {ms / 1000, (long)(ms % 1000) * 1000000};
#if defined(__linux__)
    syscall(SYS_futex, (void *)word, FUTEX_WAIT, value, &t, NULL, 0);
#else
    (void)value;
    if (atomic_load(word) == value)
        nanosleep(&t, NULL);
#endif
}

static inline void futex_wake(_Atomic uint32_t *word)
{
#if defined(__linux__)
    syscall(SYS_futex, (void *)word, FUTEX_WAKE, 64, NULL, NULL, 0);
#else
    (void)word;
#endif
}

static inline void futex_pause(void)
{
#if defined(__x86_64__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("yield");
#endif
}

#endif
