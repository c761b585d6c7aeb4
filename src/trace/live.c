#include "live.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "../record/ring.h"

typedef struct live_source {
    trace_source base;
    char *text; /* all strings of the configuration, one after the other */
    size_t text_size;
    const char **argv; /* emulator, -plugin, PLUGIN, program, arguments, NULL */
    size_t argc;
    const char *plugin, *program, *in, *out;
    bool begun, ended;
    int status; /* as waitpid gives it */
} live_source;

typedef struct live_cursor {
    trace_cursor base;
    ring *ring;
    int alive; /* read end of the pipe */
    pid_t pid;
    uint64_t ticket; /* the next to read */
    bool holds;      /* the block before it is still the caller's */
    bool over;
    access_event event;
} live_cursor;

/* --- starting and ending the program --------------------------------------------- */

static int live_ring_file(void)
{
    static const char *const folders[] = {"/dev/shm/vmem-XXXXXX", "/tmp/vmem-XXXXXX"};
    for (size_t i = 0; i < 2; i++) {
        char name[32];
        snprintf(name, sizeof name, "%s", folders[i]);
        int fd = mkstemp(name);
        if (fd < 0)
            continue;
        unlink(name);
        if (ftruncate(fd, sizeof(ring)) == 0)
            return fd;
        close(fd);
    }
    return -1;
}

/* What the child tells of a start that failed. */
typedef struct live_report {
    int why;      /* errno */
    char what[8]; /* "input", "output", or empty: the emulator itself */
} live_report;

/* In the child: files in place, then the emulator. Never returns. */
static void live_child(const live_source *s, char *const *argv, int fd)
{
    live_report r = {0};
    int in = s->in ? open(s->in, O_RDONLY) : 0, out = 1;
    if (in < 0 || dup2(in, 0) < 0) {
        memcpy(r.what, "input", 6);
    } else if (out = s->out ? open(s->out, O_WRONLY | O_CREAT | O_TRUNC, 0666) : 1,
               out < 0 || dup2(out, 1) < 0) {
        memcpy(r.what, "output", 7);
    } else {
        execvp(argv[0], argv);
    }
    r.why = errno;
    ssize_t n = write(fd, &r, sizeof r);
    _exit(n == sizeof r ? 127 : 126);
}

static vm_status live_start(live_source *s, live_cursor *c, vm_error *e)
{
    int fd = live_ring_file(), alive[2] = {-1, -1}, report[2] = {-1, -1};
    live_report failed = {0};
    vm_status st = VM_OK;
    if (fd >= 0)
        c->ring = mmap(NULL, sizeof(ring), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (fd < 0 || c->ring == MAP_FAILED || pipe(alive) < 0 || pipe(report) < 0) {
        st = vm_fail_sys(e, VM_IO, errno, "no memory can be shared with the program: %s",
                         strerror(errno));
    } else {
        char option[4096];
        int n = snprintf(option, sizeof option, "%s,ring=%d,alive=%d", s->plugin, fd, alive[1]);
        if (n < 0 || (size_t)n >= sizeof option)
            st = vm_fail(e, VM_INVALID, "the path of the recorder is too long");
        s->argv[2] = option;
        c->ring->magic = RING_MAGIC;
        c->ring->consumer = getpid();
        for (int i = 0; i < RING_BLOCKS; i++)
            atomic_init(&c->ring->blocks[i].turn, 0);
        fcntl(report[0], F_SETFD, FD_CLOEXEC);
        fcntl(report[1], F_SETFD, FD_CLOEXEC);
        fcntl(alive[0], F_SETFD, FD_CLOEXEC);
        if (st == VM_OK && (c->pid = fork()) == 0)
            live_child(s, (char *const *)s->argv, report[1]);
        if (st == VM_OK && c->pid < 0)
            st = vm_fail_sys(e, VM_IO, errno, "the program can't be started: %s", strerror(errno));
        close(report[1]);
        if (st == VM_OK && read(report[0], &failed, sizeof failed) == sizeof failed) {
            waitpid(c->pid, NULL, 0);
            const char *name = failed.what[0] == 'i'   ? s->in
                               : failed.what[0] == 'o' ? s->out
                                                       : s->argv[0];
            st = vm_fail_sys(e, VM_IO, failed.why, "%s, the %s of %s, can't be opened: %s", name,
                             failed.what[0] ? failed.what : "emulator", s->program,
                             strerror(failed.why));
        }
        close(report[0]);
        s->argv[2] = s->plugin;
    }
    if (fd >= 0)
        close(fd);
    if (alive[1] >= 0)
        close(alive[1]);
    if (st != VM_OK) {
        if (alive[0] >= 0)
            close(alive[0]);
        if (c->ring && c->ring != MAP_FAILED)
            munmap(c->ring, sizeof(ring));
        c->ring = NULL;
        return st;
    }
    c->alive = alive[0];
    return VM_OK;
}

/* The program has ended, or does now. */
static void live_reap(live_cursor *c, bool end)
{
    live_source *s = (live_source *)c->base.source;
    if (!c->ring)
        return;
    /* For processes that have left the pipe, too: nobody reads what they hand over. */
    atomic_store(&c->ring->stop, 1);
    if (end)
        kill(c->pid, SIGKILL);
    while (waitpid(c->pid, &s->status, 0) < 0 && errno == EINTR)
        ;
    s->ended = true;
    munmap(c->ring, sizeof(ring));
    close(c->alive);
    c->ring = NULL;
}

/* --- reading ----------------------------------------------------------------------- */

/* Has every process that could fill a block ended? If not, waits a little. A
 * program may close all descriptors that it finds, the pipe's among them, and go
 * on: only with the first process gone, too, does the pipe's end count. */
static bool live_is_over(live_cursor *c)
{
    struct pollfd p = {.fd = c->alive, .events = POLLIN};
    siginfo_t gone = {0};
    if (poll(&p, 1, 0) > 0 &&
        (waitid(P_PID, (id_t)c->pid, &gone, WEXITED | WNOHANG | WNOWAIT) < 0 || gone.si_pid))
        return true;
    nanosleep(&(struct timespec){0, 50000}, NULL);
    return false;
}

static bool live_ready(const live_cursor *c)
{
    const ring_block *b = &c->ring->blocks[c->ticket % RING_BLOCKS];
    return atomic_load_explicit(&b->turn, memory_order_acquire) == c->ticket / RING_BLOCKS * 2 + 1;
}

static vm_status live_finish(live_cursor *c, vm_error *e)
{
    live_source *s = (live_source *)c->base.source;
    uint64_t given = atomic_load(&c->ring->tickets), read = c->ticket;
    c->over = true;
    live_reap(c, false);
    if (given != read)
        return vm_fail_sys(e, VM_IO, EIO,
                           "%s: the emulator ended in the midst of a block of records", s->program);
    if (read == 0)
        return vm_fail_sys(
            e, VM_IO, EIO,
            "%s: the emulator ended without a record (status %d); what it said is above",
            s->program, WIFEXITED(s->status) ? WEXITSTATUS(s->status) : -WTERMSIG(s->status));
    return VM_OK;
}

static vm_status live_next(trace_cursor *base, trace_block *b, vm_error *e)
{
    live_cursor *c = (live_cursor *)base;
    *b = (trace_block){0};
    if (c->over)
        return VM_OK;
    if (c->holds) { /* the caller is done with the block before */
        uint64_t last = c->ticket - 1;
        atomic_store_explicit(&c->ring->blocks[last % RING_BLOCKS].turn,
                              (last / RING_BLOCKS + 1) * 2, memory_order_release);
        c->holds = false;
    }
    for (unsigned tries = 0; !live_ready(c); tries++)
        if (tries > 200 && live_is_over(c) && !live_ready(c))
            return live_finish(c, e);
    ring_block *r = &c->ring->blocks[c->ticket % RING_BLOCKS];
    if (r->count > RING_RECORDS)
        return vm_fail_sys(e, VM_IO, EIO, "the ring holds a block of %u records", r->count);
    b->records = r->records;
    b->count = r->count;
    if (r->type) {
        c->event = (access_event){.type = r->type, .task = r->task};
        memcpy(c->event.arg, r->arg, sizeof c->event.arg);
        r->name[RING_NAME - 1] = '\0';
        c->event.name = r->name[0] ? r->name : NULL;
        b->events = &c->event;
        b->event_count = 1;
    }
    c->ticket++;
    c->holds = true;
    return VM_OK;
}

static void live_close(trace_cursor *base)
{
    live_cursor *c = (live_cursor *)base;
    live_reap(c, true);
    host_free(base->host, c, sizeof *c);
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
    c->base.cls = &live_cursor_class;
    vm_status st = live_start(s, c, e);
    if (st != VM_OK) {
        host_free(&base->host, c, sizeof *c);
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
    size_t n = 0, size = strlen(cfg->emulator) + strlen(cfg->plugin) + 2, used = 0;
    while (cfg->argv[n])
        size += strlen(cfg->argv[n++]) + 1;
    if (n <= cfg->options)
        return vm_fail(e, VM_INVALID, "there is no program to run");
    size += (cfg->in ? strlen(cfg->in) + 1 : 0) + (cfg->out ? strlen(cfg->out) + 1 : 0);
    live_source *s = host_zalloc(host, sizeof *s);
    if (!s)
        return vm_fail_nomem(e, "a live trace");
    trace_source_init(&s->base, &live_class, host);
    s->argc = n + 3;
    s->text_size = size;
    s->text = host_alloc(host, size);
    s->argv = host_zalloc(host, (s->argc + 1) * sizeof *s->argv);
    if (!s->text || !s->argv) {
        live_destroy(&s->base);
        return vm_fail_nomem(e, "a live trace");
    }
    s->argv[0] = live_keep(s, &used, cfg->emulator);
    s->argv[1] = "-plugin";
    s->argv[2] = s->plugin = live_keep(s, &used, cfg->plugin);
    for (size_t i = 0; i < n; i++)
        s->argv[3 + i] = live_keep(s, &used, cfg->argv[i]);
    s->program = s->argv[3 + cfg->options];
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
