/* malloc.c: a library that is loaded before a program's others (LD_PRELOAD) and writes
 * down its calls of malloc, calloc, realloc, free, memalign, posix_memalign,
 * aligned_alloc, valloc and pvalloc, each of which goes on to the allocator behind. What
 * the C library builds on these (reallocarray, strdup, getline) comes by itself.
 *
 * Nothing here allocates. dlsym may, while it looks for the functions behind: that
 * comes from a small arena, is never given back and is not recorded.
 *
 * The process that is recorded is the first, or the first of the name that is asked
 * for. The log's address is on a page that the kernel clears in a process that is
 * forked off, so that the child writes nothing; a child of vfork, which uses its parent's
 * memory, does. Another program that the process executes begins anew.
 */
#if defined(__linux__)

#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/mman.h>
#include <unistd.h>

#include "log.h"

#define MALLOC_PUBLIC __attribute__((visibility("default")))
#define MALLOC_ARENA  (64u << 10)

extern char **environ;

static struct {
    void *(*malloc)(size_t);
    void *(*calloc)(size_t, size_t);
    void *(*realloc)(void *, size_t);
    void (*free)(void *);
    void *(*memalign)(size_t, size_t);
    int (*posix_memalign)(void **, size_t, size_t);
    void *(*aligned_alloc)(size_t, size_t);
    void *(*valloc)(size_t);
    void *(*pvalloc)(size_t);
} malloc_next; /* the functions behind */

enum { MALLOC_NEW, MALLOC_BUSY, MALLOC_FOUND, MALLOC_READY };
static _Atomic int malloc_stage;

static log_file **malloc_page; /* of its own, cleared in a child */

/* In one of the functions here: what the allocator behind calls is not the program's. */
static __thread bool malloc_inside __attribute__((tls_model("initial-exec")));

/* --- the arena ---------------------------------------------------------------------- */

static _Alignas(16) char malloc_arena[MALLOC_ARENA];
static _Atomic size_t malloc_arena_used;

/* The size stands before the block. */
static void *malloc_early(size_t n)
{
    size_t take = ((n < 16 ? 16 : n) + 31) & ~(size_t)15;
    if (n >= MALLOC_ARENA)
        return NULL;
    size_t at = atomic_fetch_add(&malloc_arena_used, take);
    if (at + take > MALLOC_ARENA)
        return NULL;
    memcpy(malloc_arena + at, &n, sizeof n);
    return malloc_arena + at + 16;
}

static bool malloc_is_early(const void *p)
{
    return (uintptr_t)p - (uintptr_t)malloc_arena < MALLOC_ARENA;
}

/* --- beginning ---------------------------------------------------------------------- */

static void malloc_find(void *to, const char *name)
{
    void *f = dlsym(RTLD_NEXT, name);
    memcpy(to, &f, sizeof f); /* C knows no cast from data to functions */
}

static const char *malloc_base(const char *path)
{
    const char *slash = path ? strrchr(path, '/') : NULL;
    return slash ? slash + 1 : path;
}

/* Is this the program that is asked for, by its file or by the name it is called by? */
static bool malloc_named(const char *of)
{
    char exe[4096];
    ssize_t n = readlink("/proc/self/exe", exe, sizeof exe - 1);
    exe[n > 0 ? n : 0] = '\0';
    const char *called = malloc_base((const char *)getauxval(AT_EXECFN));
    return strcmp(malloc_base(exe), of) == 0 || (called && strcmp(called, of) == 0);
}

/* Map the log, if it is this process that is recorded. */
static void malloc_attach(const char *path)
{
    int fd = open(path, O_RDWR | O_CLOEXEC);
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    log_file *head =
        fd < 0 ? MAP_FAILED : mmap(NULL, sizeof *head, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (head == MAP_FAILED) {
        if (fd >= 0)
            close(fd);
        return;
    }
    int64_t owner = 0, self = getpid();
    if (head->magic == LOG_MAGIC && (!head->of[0] || malloc_named(head->of)) &&
        (atomic_compare_exchange_strong(&head->owner, &owner, self) || owner == self)) {
        atomic_store(&head->seen, 1);
        void *log = mmap(NULL, log_bytes(head->room), PROT_READ | PROT_WRITE,
                         MAP_SHARED | MAP_NORESERVE, fd, 0);
        void *own = mmap(NULL, page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        atomic_store(&head->first, atomic_load(&head->next));
        if (log == MAP_FAILED || own == MAP_FAILED || madvise(own, page, MADV_WIPEONFORK) < 0) {
            snprintf(head->error, sizeof head->error, "its calls of malloc can't be kept: %s",
                     strerror(errno));
        } else {
            madvise(log, log_bytes(head->room), MADV_DONTDUMP);
            malloc_page = own;
            *malloc_page = log;
        }
    }
    munmap(head, sizeof *head);
    close(fd);
}

/* False: this thread is looking for the functions behind, and there are none yet. The
 * environment comes a little later than the first calls, which the loader makes. */
static bool malloc_begin(void)
{
    int stage = MALLOC_NEW, was = errno;
    if (malloc_inside)
        return atomic_load(&malloc_stage) >= MALLOC_FOUND;
    malloc_inside = true;
    if (atomic_compare_exchange_strong(&malloc_stage, &stage, MALLOC_BUSY)) {
        malloc_find(&malloc_next.malloc, "malloc");
        malloc_find(&malloc_next.calloc, "calloc");
        malloc_find(&malloc_next.realloc, "realloc");
        malloc_find(&malloc_next.free, "free");
        malloc_find(&malloc_next.memalign, "memalign");
        malloc_find(&malloc_next.posix_memalign, "posix_memalign");
        malloc_find(&malloc_next.aligned_alloc, "aligned_alloc");
        malloc_find(&malloc_next.valloc, "valloc");
        malloc_find(&malloc_next.pvalloc, "pvalloc");
        atomic_store(&malloc_stage, MALLOC_FOUND);
    }
    while (atomic_load(&malloc_stage) == MALLOC_BUSY)
        sched_yield();
    stage = MALLOC_FOUND;
    if (environ && atomic_compare_exchange_strong(&malloc_stage, &stage, MALLOC_BUSY)) {
        const char *path = getenv(LOG_SETTING);
        if (path)
            malloc_attach(path);
        atomic_store(&malloc_stage, MALLOC_READY);
    }
    malloc_inside = false;
    errno = was;
    return true;
}

/* A program that calls none of the functions is seen, too. */
__attribute__((constructor)) static void malloc_load(void) { malloc_begin(); }

/* --- writing ------------------------------------------------------------------------ */

static inline uint64_t malloc_note(log_file *log, unsigned kind, const void *p, uint64_t value)
{
    uint64_t at = atomic_fetch_add_explicit(&log->next, 1, memory_order_relaxed);
    if (at < log->room) {
        log->record[at].value = value;
        atomic_store_explicit(&log->record[at].what, (uint64_t)(uintptr_t)p << LOG_SHIFT | kind,
                              memory_order_release);
    }
    return at;
}

static inline bool malloc_enter(log_file **log)
{
    *log = NULL;
    if (atomic_load_explicit(&malloc_stage, memory_order_acquire) != MALLOC_READY &&
        !malloc_begin())
        return false;
    if (malloc_page && !malloc_inside && (*log = *malloc_page))
        malloc_inside = true;
    return true;
}

static inline void *malloc_leave(log_file *log, void *p, uint64_t n)
{
    if (log) {
        malloc_inside = false;
        if (p)
            malloc_note(log, LOG_ALLOC, p, n);
    }
    return p;
}

MALLOC_PUBLIC void *malloc(size_t n)
{
    log_file *log;
    if (!malloc_enter(&log))
        return malloc_early(n);
    return malloc_leave(log, malloc_next.malloc(n), n);
}

MALLOC_PUBLIC void *calloc(size_t count, size_t n)
{
    log_file *log;
    if (!malloc_enter(&log)) /* the arena is all 0, and dlsym asks for no such product */
        return count && n > MALLOC_ARENA / count ? NULL : malloc_early(count * n);
    return malloc_leave(log, malloc_next.calloc(count, n), count * n);
}

MALLOC_PUBLIC void free(void *p)
{
    log_file *log;
    if (!p || malloc_is_early(p) || !malloc_enter(&log))
        return;
    if (log)
        malloc_note(log, LOG_FREE, p, 0);
    malloc_next.free(p);
    if (log)
        malloc_inside = false;
}

MALLOC_PUBLIC void *realloc(void *p, size_t n)
{
    log_file *log;
    if (malloc_is_early(p)) {
        size_t old;
        void *to = malloc(n);
        memcpy(&old, (char *)p - 16, sizeof old);
        return to ? memcpy(to, p, old < n ? old : n) : NULL;
    }
    if (!malloc_enter(&log))
        return p ? NULL : malloc_early(n);
    if (!p || !log)
        return malloc_leave(log, malloc_next.realloc(p, n), n);
    uint64_t begun = malloc_note(log, LOG_GROW, p, n);
    void *to = malloc_next.realloc(p, n);
    malloc_note(log, LOG_GREW, to, begun);
    malloc_inside = false;
    return to;
}

MALLOC_PUBLIC int posix_memalign(void **p, size_t align, size_t n)
{
    log_file *log;
    if (!malloc_enter(&log))
        return ENOMEM;
    int failed = malloc_next.posix_memalign(p, align, n);
    malloc_leave(log, failed ? NULL : *p, n);
    return failed;
}

#define MALLOC_ALIGNED(name)                                                                       \
    MALLOC_PUBLIC void *name(size_t align, size_t n)                                               \
    {                                                                                              \
        log_file *log;                                                                             \
        if (!malloc_enter(&log))                                                                   \
            return NULL;                                                                           \
        return malloc_leave(log, malloc_next.name(align, n), n);                                   \
    }
#define MALLOC_PAGES(name)                                                                         \
    MALLOC_PUBLIC void *name(size_t n)                                                             \
    {                                                                                              \
        log_file *log;                                                                             \
        if (!malloc_enter(&log))                                                                   \
            return NULL;                                                                           \
        return malloc_leave(log, malloc_next.name(n), n);                                          \
    }

MALLOC_ALIGNED(memalign)
MALLOC_ALIGNED(aligned_alloc)
MALLOC_PAGES(valloc)
MALLOC_PAGES(pvalloc)

#else

typedef int malloc_none; /* elsewhere libraries are preloaded in other ways */

#endif
