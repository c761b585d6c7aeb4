#include "live.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#if !defined(MAP_NORESERVE)
#define MAP_NORESERVE 0
#endif

#include "../record/futex.h"
#include "spawn.h"
#include "tapread.h"

#define LIVE_SPINS  2000 /* looks at the taps before sleeping */
#define LIVE_NAP    5    /* milliseconds of sleep, after which endings are looked for */
#define LIVE_LOOK   256  /* blocks after which they are looked for, too */
#define LIVE_UNBORN 200  /* sleeps until a thread that has not begun to run never will */

typedef struct live_source {
    trace_source base;
    live_via via;
    char *text; /* all strings of the configuration, one after the other */
    size_t text_size;
    const char **argv;
    size_t argc, fd_at;
    const char *program, *in, *out;
    uint64_t ring;
    bool begun, ended;
    int status; /* as waitpid gives it */
} live_source;

typedef struct live_cursor {
    trace_cursor base;
    pid_t pid; /* 0: it has been waited for */
    ring *ring;
    uint64_t bytes; /* of the ring */
    tapread *read;  /* of QEMU's */
    unsigned blocks, naps;
    int pipe;             /* of Lackey's, or -1 */
    trace_cursor *lackey; /* reads the pipe */
    bool over;
} live_cursor;

/* --- starting the program ---------------------------------------------------------- */

#if defined(__linux__)

static vm_status live_share(live_source *s, live_cursor *c, int *fd, vm_error *e)
{
    ring size = {.words = s->ring / 8};
    c->bytes = ring_bytes(&size);
    *fd = spawn_memory(c->bytes);
    if (*fd >= 0) {
        void *at = mmap(NULL, c->bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE, *fd, 0);
        c->ring = at == MAP_FAILED ? NULL : at;
    }
    if (!c->ring)
        return vm_fail_sys(e, VM_IO, errno, "no memory can be shared with the program: %s",
                           strerror(errno));
    c->ring->magic = RING_MAGIC;
    c->ring->words = s->ring / 8;
    c->ring->consumer = getpid();
    pthread_mutexattr_t how;
    pthread_mutexattr_init(&how);
    pthread_mutexattr_setpshared(&how, PTHREAD_PROCESS_SHARED);
    pthread_mutexattr_setrobust(&how, PTHREAD_MUTEX_ROBUST);
    for (unsigned i = 0; i < RING_TAPS; i++)
        pthread_mutex_init(&c->ring->tap[i].alive, &how);
    pthread_mutexattr_destroy(&how);
    c->read = host_zalloc(c->base.host, sizeof *c->read);
    if (!c->read)
        return vm_fail_nomem(e, "a live trace");
    c->read->r = c->ring;
    return VM_OK;
}

#else

/* QEMU's emulators of programs are there for Linux only, robust mutexes, too. */
static vm_status live_share(live_source *s, live_cursor *c, int *fd, vm_error *e)
{
    (void)c;
    (void)fd;
    return vm_fail_sys(e, VM_IO, ENOSYS, "%s: programs are recorded by QEMU on Linux only",
                       s->program);
}

#endif

/* Start the program, which gets the descriptor `fd`. */
static vm_status live_spawn(live_source *s, live_cursor *c, int fd, vm_error *e)
{
    char option[4096];
    const char *plain = s->argv[s->fd_at];
    int n = snprintf(option, sizeof option, "%s%d", plain, fd);
    if (n < 0 || (size_t)n >= sizeof option)
        return vm_fail(e, VM_INVALID, "the path of the recorder is too long");
    spawn_config how = {.argv = s->argv,
                        .program = s->program,
                        .what = "emulator",
                        .in = s->in,
                        .out = s->out,
                        .fd = fd};
    s->argv[s->fd_at] = option;
    vm_status st = spawn_start(&how, &c->pid, e);
    s->argv[s->fd_at] = plain;
    return st;
}

static vm_status live_start(live_source *s, live_cursor *c, vm_error *e)
{
    int fd = -1, ends[2] = {-1, -1};
    vm_status st = VM_OK;
    if (s->via == LIVE_QEMU) {
        st = live_share(s, c, &fd, e);
    } else if ((st = spawn_pipe(ends, e)) == VM_OK) {
        c->pipe = ends[0];
        fd = ends[1];
    }
    if (st == VM_OK)
        st = live_spawn(s, c, fd, e);
    if (fd >= 0)
        close(fd);
    if (st != VM_OK || s->via == LIVE_QEMU)
        return st;
    char path[40];
    trace_source *text;
    snprintf(path, sizeof path, "/dev/fd/%d", c->pipe);
    st = trace_file(c->base.host, path, &(trace_file_options){.format = "lackey"}, &text, e);
    if (st != VM_OK)
        return st;
    st = trace_open(text, &c->lackey, e);
    trace_source_release(text); /* the cursor keeps it */
    return st;
}

/* --- its end -------------------------------------------------------------------------- */

/* Has the program ended? `wait`: until it has. */
static bool live_reap(live_cursor *c, bool wait)
{
    live_source *s = (live_source *)c->base.source;
    pid_t got = 0;
    if (c->pid == 0)
        return true;
    while ((got = waitpid(c->pid, &s->status, wait ? 0 : WNOHANG)) < 0 && errno == EINTR)
        ;
    if (got == 0)
        return false;
    c->pid = 0;
    s->ended = true;
    if (got < 0)
        s->status = 0; /* somebody else has waited for it */
    if (c->read) {
        c->read->reaped = true;
        c->read->killed = WIFSIGNALED(s->status) ? 128u + (unsigned)WTERMSIG(s->status)
                                                 : (unsigned)WEXITSTATUS(s->status);
    }
    return true;
}

static void live_stop(live_cursor *c)
{
    if (c->ring)
        atomic_store(&c->ring->stop, 1); /* for the program's other processes */
    if (c->pid > 0) {
        kill(c->pid, SIGKILL);
        live_reap(c, true);
    }
    trace_close(c->lackey);
    c->lackey = NULL;
    if (c->pipe >= 0)
        close(c->pipe);
    c->pipe = -1;
    if (c->read)
        host_free(c->base.host, c->read, sizeof *c->read);
    c->read = NULL;
    if (c->ring)
        munmap(c->ring, c->bytes);
    c->ring = NULL;
}

/* The program and all that it began have ended. */
static vm_status live_finish(live_cursor *c, vm_error *e)
{
    live_source *s = (live_source *)c->base.source;
    char why[sizeof c->ring->error];
    c->over = true;
    memcpy(why, c->ring->error, sizeof why);
    why[sizeof why - 1] = '\0';
    bool none = c->read->records == 0;
    live_stop(c);
    if (why[0])
        return vm_fail_sys(e, VM_IO, EIO, "%s: %s", s->program, why);
    if (none)
        return vm_fail_sys(e, VM_IO, ENOEXEC,
                           "%s ended without running %s under its recorder (%s %d)", s->argv[0],
                           s->program, WIFEXITED(s->status) ? "exit status" : "signal",
                           WIFEXITED(s->status) ? WEXITSTATUS(s->status) : WTERMSIG(s->status));
    return VM_OK;
}

/* --- reading --------------------------------------------------------------------------- */

/* Nothing is there to read: wait a little; true when there will be nothing more. */
static bool live_wait(live_cursor *c, unsigned *spins)
{
    if (++*spins < LIVE_SPINS) {
        futex_pause();
        return false;
    }
    unsigned unborn, taps;
    bool reaped = live_reap(c, false);
    tapread_bury(c->read, c->naps > LIVE_UNBORN);
    taps = tapread_taps(c->read, &unborn);
    if (reaped && taps == 0)
        return true;
    c->naps = reaped && taps == unborn ? c->naps + 1 : 0;
    atomic_store(&c->ring->sleeping, 1);
    bool came = false;
    for (unsigned i = 0; i < RING_TAPS && i < atomic_load(&c->ring->taps); i++)
        came = came || atomic_load(&c->ring->tap[i].head) != c->read->taps[i].at ||
               c->read->taps[i].dead;
    if (!came)
        futex_sleep(&c->ring->sleeping, 1, LIVE_NAP);
    atomic_store(&c->ring->sleeping, 0);
    return false;
}

static vm_status live_next(trace_cursor *base, trace_block *b, vm_error *e)
{
    live_cursor *c = (live_cursor *)base;
    *b = (trace_block){0};
    if (c->over)
        return VM_OK;
    if (c->lackey) {
        vm_status st = trace_next(c->lackey, b, e);
        if (st == VM_OK && b->count == 0) {
            c->over = true;
            live_reap(c, true);
        }
        return st;
    }
    if (++c->blocks % LIVE_LOOK == 0) {
        live_reap(c, false);
        tapread_bury(c->read, false);
    }
    for (unsigned spins = 0;;) {
        vm_status st = tapread_next(c->read, b, e);
        if (st != VM_OK || b->count > 0)
            return st;
        if (live_wait(c, &spins))
            return live_finish(c, e);
    }
}

static void live_close(trace_cursor *base)
{
    live_stop((live_cursor *)base);
    host_free(base->host, base, sizeof(live_cursor));
}

static const trace_cursor_class live_cursor_class = {
    .name = "live", .next = live_next, .close = live_close};

/* --- the source ---------------------------------------------------------------------- */

static vm_status live_open(trace_source *base, trace_cursor **out, vm_error *e)
{
    live_source *s = (live_source *)base;
    if (s->begun)
        return vm_fail(e, VM_INVALID,
                       "%s has run already: a live trace can be read once; record it to a file to "
                       "read it again",
                       s->program);
    live_cursor *c = host_zalloc(&base->host, sizeof *c);
    if (!c)
        return vm_fail_nomem(e, "a live trace");
    c->base = (trace_cursor){&live_cursor_class, &base->host, base};
    c->pipe = -1;
    vm_status st = live_start(s, c, e);
    if (st != VM_OK) {
        live_close(&c->base);
        return st;
    }
    s->begun = true;
    *out = &c->base;
    return VM_OK;
}

static void live_describe(trace_source *base, char *text, size_t size)
{
    const live_source *s = (const live_source *)base;
    snprintf(text, size, "%s", s->program);
}

static void live_destroy(trace_source *base)
{
    live_source *s = (live_source *)base;
    vm_host host = base->host;
    host_free(&host, s->text, s->text_size);
    host_free(&host, s->argv, (s->argc + 1) * sizeof *s->argv);
    host_free(&host, s, sizeof *s);
}

static const trace_source_class live_class = {
    .name = "live", .open = live_open, .describe = live_describe, .destroy = live_destroy};

/* Copy a string to the end of the source's text; NULL stays NULL. */
static const char *live_keep(live_source *s, size_t *used, const char *str)
{
    if (!str)
        return NULL;
    char *to = s->text + *used;
    size_t n = strlen(str) + 1;
    memcpy(to, str, n);
    *used += n;
    return to;
}

vm_status live_new(const vm_host *host, const live_config *cfg, trace_source **out, vm_error *e)
{
    size_t n = 0, used = 0, size = 1;
    while (cfg->argv[n])
        size += strlen(cfg->argv[n++]) + 1;
    if (cfg->program >= n || cfg->fd_at >= cfg->program)
        return vm_fail(e, VM_INVALID, "there is no program to run");
    if (!is_pow2(cfg->ring) || cfg->ring < LIVE_RING_MIN || cfg->ring > LIVE_RING_MAX)
        return vm_fail(e, VM_INVALID,
                       "a ring of %llu bytes: it takes a power of two from 64KiB to 64MiB",
                       (unsigned long long)cfg->ring);
    size += (cfg->in ? strlen(cfg->in) + 1 : 0) + (cfg->out ? strlen(cfg->out) + 1 : 0);
    live_source *s = host_zalloc(host, sizeof *s);
    if (!s)
        return vm_fail_nomem(e, "a live trace");
    trace_source_init(&s->base, &live_class, host);
    s->argc = n;
    s->text_size = size;
    s->text = host_alloc(host, size);
    s->argv = host_zalloc(host, (s->argc + 1) * sizeof *s->argv);
    if (!s->text || !s->argv) {
        live_destroy(&s->base);
        return vm_fail_nomem(e, "a live trace");
    }
    for (size_t i = 0; i < n; i++)
        s->argv[i] = live_keep(s, &used, cfg->argv[i]);
    s->via = cfg->via;
    s->fd_at = cfg->fd_at;
    s->ring = cfg->ring;
    s->program = s->argv[cfg->program];
    s->in = live_keep(s, &used, cfg->in);
    s->out = live_keep(s, &used, cfg->out);
    *out = &s->base;
    return VM_OK;
}

bool live_ended(const trace_source *base, int *status, int *sig)
{
    const live_source *s = (const live_source *)base;
    if (base->cls != &live_class || !s->ended)
        return false;
    *sig = WIFSIGNALED(s->status) ? WTERMSIG(s->status) : 0;
    *status = WIFEXITED(s->status) ? WEXITSTATUS(s->status) : -1;
    return true;
}
