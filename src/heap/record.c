#include "record.h"

#include <errno.h>

#if defined(__linux__)

#include <elf.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "../policy/keymap.h"
#include "../record/log.h"
#include "../trace/spawn.h"

#define RECORD_ROOM                                                                                \
    (UINT64_C(1) << 32) /* records, if there is no limit: 64 GiB that are not used */
#define RECORD_LEAST (UINT64_C(1) << 16)
#define RECORD_SLACK 65536 /* records beside two an operation: of what is left out */

extern char **environ;

_Static_assert(sizeof(heap_op) == sizeof(log_record), "operations take the place of records");

/* --- can it be recorded? ------------------------------------------------------------- */

static bool record_head(const char *path, Elf64_Ehdr *h, int *fd)
{
    *fd = open(path, O_RDONLY | O_CLOEXEC);
    return *fd >= 0 && pread(*fd, h, sizeof *h, 0) == sizeof *h &&
           memcmp(h->e_ident, ELFMAG, SELFMAG) == 0;
}

static bool record_is_dynamic(int fd, const Elf64_Ehdr *h)
{
    Elf64_Phdr p;
    for (unsigned i = 0; i < h->e_phnum && h->e_phentsize == sizeof p; i++)
        if (pread(fd, &p, sizeof p, (off_t)(h->e_phoff + i * sizeof p)) == sizeof p &&
            p.p_type == PT_INTERP)
            return true;
    return false;
}

/* The loader leaves our library out of programs that gain rights, and static ones have
 * no loader. Other files (a script's interpreter has been found before) are left to exec. */
static vm_status record_examine(const char *path, vm_error *e)
{
    Elf64_Ehdr own, h;
    struct stat st;
    int fd, self;
    bool known = record_head("/proc/self/exe", &own, &self), elf = record_head(path, &h, &fd);
    const char *why = NULL;
    int code = ENOEXEC;
    if (elf && known &&
        (h.e_machine != own.e_machine || h.e_ident[EI_CLASS] != own.e_ident[EI_CLASS]))
        why = "it is a program for another machine";
    else if (elf && known && h.e_ident[EI_CLASS] == ELFCLASS64 && !record_is_dynamic(fd, &h))
        why = "it is linked statically, and its malloc can't be replaced";
    if (elf && fstat(fd, &st) == 0 &&
        (((st.st_mode & S_ISUID) && st.st_uid != geteuid()) ||
         ((st.st_mode & S_ISGID) && st.st_gid != getegid()))) {
        why = "it runs with another user's or group's rights (setuid), and the loader gives such "
              "programs no library of ours";
        code = EPERM;
    }
    if (fd >= 0)
        close(fd);
    if (self >= 0)
        close(self);
    return why ? vm_fail_sys(e, VM_IO, code, "%s can't be recorded: %s", path, why) : VM_OK;
}

/* --- running it ---------------------------------------------------------------------- */

/* The shared memory; its pages are there when they are written. */
static vm_status record_share(heap_recording *r, const heap_record_config *cfg, int *fd,
                              vm_error *e)
{
    uint64_t room = RECORD_ROOM;
    if (cfg->limit && cfg->limit < (RECORD_ROOM - RECORD_SLACK) / 2)
        room = 2 * cfg->limit + RECORD_SLACK;
    void *at = MAP_FAILED;
    for (;; room /= 2) { /* less, where the sizes of files or of address spaces are limited */
        r->bytes = log_bytes(room);
        *fd = spawn_memory(r->bytes);
        if (*fd >= 0)
            at = mmap(NULL, r->bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE, *fd, 0);
        if (at != MAP_FAILED || room / 2 < RECORD_LEAST)
            break;
        if (*fd >= 0)
            close(*fd);
    }
    if (at == MAP_FAILED)
        return vm_fail_sys(e, VM_IO, errno, "no memory can be shared with the program: %s",
                           strerror(errno));
    r->log = at;
    r->log->magic = LOG_MAGIC;
    r->log->room = room;
    if (cfg->of)
        snprintf(r->log->of, sizeof r->log->of, "%s", cfg->of);
    return VM_OK;
}

/* Is this setting's name one of the list's? */
static bool record_is_set(const char *setting, const char *const *list)
{
    size_t n = strcspn(setting, "=") + 1;
    for (; *list; list++)
        if (strncmp(setting, *list, n) == 0)
            return true;
    return false;
}

static vm_status record_start(const vm_host *host, heap_recording *r, const heap_record_config *cfg,
                              int fd, pid_t *pid, vm_error *e)
{
    char log[80];
    size_t ours = 0, given = 0, n = 0;
    while (environ && environ[ours])
        ours++;
    while (cfg->env[given])
        given++;
    size_t size = (ours + given + 2) * sizeof(char *);
    const char **env = host_alloc(host, size);
    if (!env)
        return vm_fail_nomem(e, "an environment");
    /* A path, and no descriptor: that the program may close, or have for its own. */
    snprintf(log, sizeof log, "%s=/proc/%ld/fd/%d", LOG_SETTING, (long)getpid(), fd);
    for (size_t i = 0; i < ours; i++)
        if (!record_is_set(environ[i], cfg->env) &&
            !record_is_set(environ[i], (const char *const[]){log, NULL}))
            env[n++] = environ[i];
    for (size_t i = 0; i < given; i++)
        env[n++] = cfg->env[i];
    env[n++] = log;
    env[n] = NULL;
    spawn_config how = {.argv = cfg->argv,
                        .env = env,
                        .program = cfg->argv[0],
                        .what = "file",
                        .in = cfg->in,
                        .out = cfg->out,
                        .fd = -1,
                        .self = cfg->of ? NULL : &r->log->owner};
    vm_status st = spawn_start(&how, pid, e);
    host_free(host, env, size);
    return st;
}

static vm_status record_run(const vm_host *host, heap_recording *r, const heap_record_config *cfg,
                            vm_error *e)
{
    int fd, how = 0;
    pid_t pid, got;
    vm_status st = record_share(r, cfg, &fd, e);
    if (st == VM_OK && (st = record_start(host, r, cfg, fd, &pid, e)) == VM_OK) {
        while ((got = waitpid(pid, &how, 0)) < 0 && errno == EINTR)
            ;
        r->sig = got > 0 && WIFSIGNALED(how) ? WTERMSIG(how) : 0;
        r->status = r->sig ? -1 : got > 0 ? WEXITSTATUS(how) : 0;
    }
    if (fd >= 0)
        close(fd);
    if (st != VM_OK)
        return st;
    r->log->error[sizeof r->log->error - 1] = '\0';
    if (r->log->error[0])
        return vm_fail_sys(e, VM_IO, EIO, "%s: %s", cfg->argv[0], r->log->error);
    if (!atomic_load(&r->log->seen))
        return vm_fail_sys(e, VM_IO, ENOEXEC,
                           cfg->of ? "%s started no program %s that could be recorded"
                                   : "%s ended without loading the recorder %s: the loader "
                                     "refused, or the program has a malloc of its own",
                           cfg->argv[0], cfg->of ? cfg->of : cfg->library);
    return VM_OK;
}

/* --- addresses become numbers -------------------------------------------------------- */

#define RECORD_NONE UINT32_MAX

typedef struct record_pending { /* a realloc that has begun */
    uint64_t begun, old, size;
    uint32_t id;
} record_pending;

typedef struct record_reader {
    const vm_host *host;
    heap_recording *r;
    heap_op *out;
    keymap ids;     /* of the addresses of live blocks */
    uint64_t *size; /* by id */
    size_t size_cap;
    record_pending *pending;
    size_t pendings, pending_cap;
    uint64_t live;
} record_reader;

static void record_emit(record_reader *k, uint32_t kind, uint32_t id, uint64_t size)
{
    k->live -= kind == HEAP_MALLOC ? 0 : k->size[id];
    k->size[id] = kind == HEAP_FREE ? 0 : size;
    k->live += k->size[id];
    if (k->live > k->r->peak)
        k->r->peak = k->live;
    k->out[k->r->count++] = (heap_op){.size = k->size[id], .id = id, .kind = kind};
}

/* A block at an address; what the log says is there already was given back unseen. */
static vm_status record_put(record_reader *k, uint64_t at, uint32_t id, vm_error *e)
{
    uint32_t there = keymap_find(&k->ids, at);
    if (there != KEYMAP_NONE)
        keymap_drop(&k->ids, there);
    if (id >= k->ids.nodes &&
        keymap_reserve(&k->ids, k->host, k->ids.nodes ? 2 * k->ids.nodes : 1024, NULL) != VM_OK)
        return vm_fail_nomem(e, "a trace of allocations");
    keymap_put(&k->ids, at, id);
    return VM_OK;
}

static vm_status record_alloc(record_reader *k, uint64_t at, uint64_t size, vm_error *e)
{
    uint32_t id = k->r->ids;
    if (id >= UINT32_MAX / 2)
        return vm_fail(e, VM_FORMAT, "the program has more blocks than a trace can number");
    if (!host_grow(k->host, (void **)&k->size, &k->size_cap, (size_t)id + 1, sizeof *k->size))
        return vm_fail_nomem(e, "a trace of allocations");
    vm_status st = record_put(k, at, id, e);
    if (st != VM_OK)
        return st;
    k->r->ids++;
    record_emit(k, HEAP_MALLOC, id, size);
    return VM_OK;
}

/* The block at an address, which it loses. */
static uint32_t record_take(record_reader *k, uint64_t at)
{
    uint32_t id = keymap_find(&k->ids, at);
    if (id == KEYMAP_NONE)
        return RECORD_NONE;
    keymap_drop(&k->ids, id);
    return id;
}

static vm_status record_grew(record_reader *k, uint64_t at, uint64_t begun, vm_error *e)
{
    size_t i = k->pendings;
    while (i > 0 && k->pending[i - 1].begun != begun)
        i--;
    if (i == 0)
        return VM_OK; /* it began before another program was executed */
    record_pending p = k->pending[i - 1];
    k->pending[i - 1] = k->pending[--k->pendings];
    if (p.id == RECORD_NONE)
        return at ? record_alloc(k, at, p.size, e) : VM_OK;
    if (at || p.size > 0) {
        vm_status st = record_put(k, at ? at : p.old, p.id, e);
        if (st == VM_OK && at)
            record_emit(k, HEAP_REALLOC, p.id, p.size);
        return st;
    }
    record_emit(k, HEAP_FREE, p.id, 0); /* as the C library has it */
    return VM_OK;
}

static vm_status record_step(record_reader *k, uint64_t number, uint64_t what, uint64_t value,
                             vm_error *e)
{
    uint64_t at = what >> LOG_SHIFT;
    uint32_t id;
    switch (what & ((1u << LOG_SHIFT) - 1)) {
    case LOG_ALLOC:
        return record_alloc(k, at, value, e);
    case LOG_GREW:
        return record_grew(k, at, value, e);
    case LOG_GROW:
        if (!host_grow(k->host, (void **)&k->pending, &k->pending_cap, k->pendings + 1,
                       sizeof *k->pending))
            return vm_fail_nomem(e, "a trace of allocations");
        id = record_take(k, at);
        k->r->foreign += id == RECORD_NONE;
        k->pending[k->pendings++] = (record_pending){number, at, value, id};
        return VM_OK;
    case LOG_FREE:
        id = record_take(k, at);
        if (id == RECORD_NONE)
            k->r->foreign++;
        else
            record_emit(k, HEAP_FREE, id, 0);
        return VM_OK;
    default:
        return VM_OK; /* its writer was killed over it */
    }
}

/* At most one operation a record, so none is written before it is read. */
static vm_status record_number(record_reader *k, uint64_t limit, vm_error *e)
{
    log_file *log = k->r->log;
    uint64_t next = atomic_load(&log->next), end = next < log->room ? next : log->room, i;
    vm_status st = VM_OK;
    for (i = atomic_load(&log->first); st == VM_OK && i < end; i++) {
        if (limit && k->r->count == limit)
            break;
        st = record_step(k, i, atomic_load_explicit(&log->record[i].what, memory_order_acquire),
                         log->record[i].value, e);
    }
    k->r->more = i < next;
    if (st == VM_OK && k->r->more && k->r->count != limit)
        st = vm_fail_sys(e, VM_IO, EFBIG,
                         "the program made more calls than there was room for, %llu: a limit "
                         "takes the first of them",
                         (unsigned long long)log->room);
    return st;
}

vm_status heap_record(const vm_host *host, const heap_record_config *cfg, heap_recording *out,
                      vm_error *e)
{
    *out = (heap_recording){0};
    if (cfg->of && strlen(cfg->of) >= LOG_NAME)
        return vm_fail(e, VM_INVALID, "the name %s is too long", cfg->of);
    vm_status st = record_examine(cfg->argv[0], e);
    if (st == VM_OK)
        st = record_run(host, out, cfg, e);
    if (st == VM_OK) {
        record_reader k = {.host = host, .r = out, .out = (heap_op *)(void *)out->log->record};
        out->ops = k.out;
        st = keymap_init(&k.ids, host, 0, e);
        if (st == VM_OK)
            st = record_number(&k, cfg->limit, e);
        keymap_free(&k.ids, host);
        host_free(host, k.size, k.size_cap * sizeof *k.size);
        host_free(host, k.pending, k.pending_cap * sizeof *k.pending);
    }
    if (st != VM_OK)
        heap_recording_close(out);
    return st;
}

void heap_recording_close(heap_recording *r)
{
    if (r->log)
        munmap(r->log, r->bytes);
    *r = (heap_recording){0};
}

#else

vm_status heap_record(const vm_host *host, const heap_record_config *cfg, heap_recording *out,
                      vm_error *e)
{
    (void)host;
    *out = (heap_recording){0};
    return vm_fail_sys(e, VM_IO, ENOSYS, "%s: allocations are recorded on Linux only",
                       cfg->argv[0]);
}

void heap_recording_close(heap_recording *r) { (void)r; }

#endif
