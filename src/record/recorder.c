/* recorder.c: a plugin for QEMU's user-mode emulators that hands each
 * instruction fetch, load and store of the program it runs, and the system calls
 * that change the address space, to vmem through a ring (ring.h).
 *
 * Arguments: ring=FD, the ring's file; alive=FD, the write end of a pipe that
 * nobody writes to: its reader knows that all processes with the plugin have
 * ended when the pipe does. It closes when a process executes another program.
 *
 * QEMU's plugin interface (docs/devel/tcg-plugins.rst of QEMU 7.2, version 1 of
 * the interface) is declared here, since its header is not packaged.
 *
 * Order: an instruction's fetch, then its data accesses as they are made. Each
 * vcpu writes to a buffer of its own, which is handed over when it is full, at
 * each event, and when the program ends.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include "ring.h"

/* --- the interface ------------------------------------------------------------- */

typedef uint64_t qemu_plugin_id_t;
typedef struct qemu_info_t {
    const char *target_name;
    struct {
        int min, cur;
    } version;
    bool system_emulation;
    union {
        struct {
            int smp_vcpus, max_vcpus;
        } system;
    } u;
} qemu_info_t;
struct qemu_plugin_tb;
struct qemu_plugin_insn;
typedef uint32_t qemu_plugin_meminfo_t;
enum { QEMU_CB_NO_REGS = 0, QEMU_MEM_RW = 3 };

typedef void vcpu_cb(qemu_plugin_id_t id, unsigned vcpu);
typedef void tb_cb(qemu_plugin_id_t id, struct qemu_plugin_tb *tb);
typedef void exec_cb(unsigned vcpu, void *ud);
typedef void mem_cb(unsigned vcpu, qemu_plugin_meminfo_t info, uint64_t va, void *ud);
typedef void syscall_cb(qemu_plugin_id_t id, unsigned vcpu, int64_t num, uint64_t a1, uint64_t a2,
                        uint64_t a3, uint64_t a4, uint64_t a5, uint64_t a6, uint64_t a7,
                        uint64_t a8);
typedef void syscall_ret_cb(qemu_plugin_id_t id, unsigned vcpu, int64_t num, int64_t ret);
typedef void end_cb(qemu_plugin_id_t id, void *ud);

void qemu_plugin_register_vcpu_init_cb(qemu_plugin_id_t id, vcpu_cb *cb);
void qemu_plugin_register_vcpu_exit_cb(qemu_plugin_id_t id, vcpu_cb *cb);
void qemu_plugin_register_vcpu_tb_trans_cb(qemu_plugin_id_t id, tb_cb *cb);
void qemu_plugin_register_vcpu_insn_exec_cb(struct qemu_plugin_insn *insn, exec_cb *cb, int flags,
                                            void *ud);
void qemu_plugin_register_vcpu_mem_cb(struct qemu_plugin_insn *insn, mem_cb *cb, int flags, int rw,
                                      void *ud);
void qemu_plugin_register_vcpu_syscall_cb(qemu_plugin_id_t id, syscall_cb *cb);
void qemu_plugin_register_vcpu_syscall_ret_cb(qemu_plugin_id_t id, syscall_ret_cb *cb);
void qemu_plugin_register_atexit_cb(qemu_plugin_id_t id, end_cb *cb, void *ud);
size_t qemu_plugin_tb_n_insns(const struct qemu_plugin_tb *tb);
struct qemu_plugin_insn *qemu_plugin_tb_get_insn(const struct qemu_plugin_tb *tb, size_t i);
size_t qemu_plugin_insn_size(const struct qemu_plugin_insn *insn);
uint64_t qemu_plugin_insn_vaddr(const struct qemu_plugin_insn *insn);
unsigned qemu_plugin_mem_size_shift(qemu_plugin_meminfo_t info);
bool qemu_plugin_mem_is_store(qemu_plugin_meminfo_t info);

#define EXPORT __attribute__((visibility("default")))
EXPORT int qemu_plugin_version = 1;
EXPORT int qemu_plugin_install(qemu_plugin_id_t id, const qemu_info_t *info, int argc, char **argv);

/* --- system calls, by architecture ----------------------------------------------- */

typedef enum call {
    CALL_NONE = 0,
    CALL_MMAP,
    CALL_MUNMAP,
    CALL_MPROTECT,
    CALL_MREMAP,
    CALL_BRK,
    CALL_CLONE,
    CALL_FORK, /* fork and vfork */
    CALL_EXEC,
    CALL_EXIT, /* of a thread */
    CALL_EXIT_GROUP,
} call;

typedef struct call_number {
    int16_t num;
    call what;
} call_number;

static const call_number calls_x86_64[] = {
    {9, CALL_MMAP},    {10, CALL_MPROTECT}, {11, CALL_MUNMAP},      {12, CALL_BRK},
    {25, CALL_MREMAP}, {56, CALL_CLONE},    {57, CALL_FORK},        {58, CALL_FORK},
    {59, CALL_EXEC},   {60, CALL_EXIT},     {231, CALL_EXIT_GROUP}, {322, CALL_EXEC},
    {-1, CALL_NONE}};

/* The numbers that AArch64 and RISC-V share. */
static const call_number calls_generic[] = {
    {222, CALL_MMAP},   {226, CALL_MPROTECT},  {215, CALL_MUNMAP}, {214, CALL_BRK},
    {216, CALL_MREMAP}, {220, CALL_CLONE},     {221, CALL_EXEC},   {281, CALL_EXEC},
    {93, CALL_EXIT},    {94, CALL_EXIT_GROUP}, {-1, CALL_NONE}};

static const struct {
    const char *target;
    const call_number *calls;
} targets[] = {{"x86_64", calls_x86_64}, {"aarch64", calls_generic}, {"riscv64", calls_generic}};

#define LINUX_CLONE_VM    0x100
#define LINUX_CLONE_VFORK 0x4000

/* --- state --------------------------------------------------------------------- */

#define TAPS 4096 /* vcpus of a process: QEMU never takes more */

/* One vcpu's records that are not yet handed over. Blocks of a buffer never move,
 * and a tap is only its vcpu's. */
typedef struct tap {
    uint32_t count;
    uint16_t task;
    call pending; /* the call between its entry and its return */
    uint64_t arg[6];
    access_record records[RING_RECORDS];
} tap;

static struct {
    ring *ring;
    const call_number *calls;
    tap *taps[TAPS];
    _Atomic uint32_t thread_task; /* number + 1 for the vcpu that clone is making */
} state;

static tap *tap_of(unsigned vcpu)
{
    tap *t = vcpu < TAPS ? state.taps[vcpu] : NULL;
    if (t)
        return t;
    t = calloc(1, sizeof *t);
    if (vcpu >= TAPS || !t)
        _exit(125);
    uint32_t given = atomic_exchange(&state.thread_task, 0);
    t->task = (uint16_t)(given ? given - 1 : atomic_fetch_add(&state.ring->next_task, 1));
    state.taps[vcpu] = t;
    return t;
}

/* Wait a little, the longer the more often; end if vmem is gone or has enough. */
static void wait_a_little(unsigned *tries)
{
    if (++*tries < 64)
        return;
    if (atomic_load(&state.ring->stop))
        _exit(0);
    if (*tries % 4096 == 0 && kill((pid_t)state.ring->consumer, 0) < 0 && errno == ESRCH)
        _exit(0);
    nanosleep(&(struct timespec){0, *tries < 256 ? 1000 : 50000}, NULL);
}

/* Hand over what is in the buffer, ended by the event if there is one. */
static void tap_flush(tap *t, uint16_t type, const uint64_t *arg, const char *name)
{
    if (t->count == 0 && !type)
        return;
    uint64_t ticket = atomic_fetch_add(&state.ring->tickets, 1);
    ring_block *b = &state.ring->blocks[ticket % RING_BLOCKS];
    uint64_t turn = ticket / RING_BLOCKS * 2;
    unsigned tries = 0;
    while (atomic_load_explicit(&b->turn, memory_order_acquire) != turn)
        wait_a_little(&tries);
    memcpy(b->records, t->records, t->count * sizeof *t->records);
    b->count = t->count;
    b->type = type;
    b->task = t->task;
    if (type) {
        memcpy(b->arg, arg, sizeof b->arg);
        snprintf(b->name, sizeof b->name, "%s", name ? name : "");
        b->records[b->count++] = (access_record){.kind = ACCESS_EVENT, .task = t->task};
    }
    t->count = 0;
    atomic_store_explicit(&b->turn, turn + 1, memory_order_release);
}

/* One place is kept for an event. */
#define TAP_ROOM (RING_RECORDS - 1)

static inline void tap_put(tap *t, uint64_t addr, uint32_t size, access_kind kind)
{
    t->records[t->count] =
        (access_record){.addr = addr, .size = size, .task = t->task, .kind = (uint8_t)kind};
    if (++t->count == TAP_ROOM)
        tap_flush(t, 0, NULL, NULL);
}

/* --- accesses ------------------------------------------------------------------- */

/* An instruction's address and size in one pointer; user addresses have 56 bits. */
#define INSN_ADDR_BITS 56

static void on_insn(unsigned vcpu, void *ud)
{
    uint64_t insn = (uint64_t)(uintptr_t)ud;
    tap_put(tap_of(vcpu), insn & ((UINT64_C(1) << INSN_ADDR_BITS) - 1),
            (uint32_t)(insn >> INSN_ADDR_BITS), ACCESS_FETCH);
}

static void on_mem(unsigned vcpu, qemu_plugin_meminfo_t info, uint64_t va, void *ud)
{
    (void)ud;
    tap_put(tap_of(vcpu), va, 1u << qemu_plugin_mem_size_shift(info),
            qemu_plugin_mem_is_store(info) ? ACCESS_STORE : ACCESS_LOAD);
}

static void on_tb(qemu_plugin_id_t id, struct qemu_plugin_tb *tb)
{
    (void)id;
    size_t n = qemu_plugin_tb_n_insns(tb);
    for (size_t i = 0; i < n; i++) {
        struct qemu_plugin_insn *insn = qemu_plugin_tb_get_insn(tb, i);
        uint64_t at = qemu_plugin_insn_vaddr(insn) & ((UINT64_C(1) << INSN_ADDR_BITS) - 1);
        uint64_t size = qemu_plugin_insn_size(insn);
        qemu_plugin_register_vcpu_insn_exec_cb(insn, on_insn, QEMU_CB_NO_REGS,
                                               (void *)(uintptr_t)(at | size << INSN_ADDR_BITS));
        qemu_plugin_register_vcpu_mem_cb(insn, on_mem, QEMU_CB_NO_REGS, QEMU_MEM_RW, NULL);
    }
}

/* --- events ---------------------------------------------------------------------- */

static uint64_t new_task(void) { return atomic_fetch_add(&state.ring->next_task, 1); }

/* The path behind a descriptor of the program, which is one of ours, too. */
static const char *path_of(uint64_t fd, char *path, size_t size)
{
    char link[40];
    snprintf(link, sizeof link, "/proc/self/fd/%d", (int)fd);
    ssize_t n = (int)fd < 0 ? -1 : readlink(link, path, size - 1);
    if (n < 0)
        return NULL;
    path[n] = '\0';
    return path;
}

static void on_syscall(qemu_plugin_id_t id, unsigned vcpu, int64_t num, uint64_t a1, uint64_t a2,
                       uint64_t a3, uint64_t a4, uint64_t a5, uint64_t a6, uint64_t a7, uint64_t a8)
{
    (void)id;
    (void)a7;
    (void)a8;
    tap *t = tap_of(vcpu);
    const call_number *c = state.calls;
    while (c->what != CALL_NONE && c->num != num)
        c++;
    t->pending = c->what;
    memcpy(t->arg, (uint64_t[6]){a1, a2, a3, a4, a5, a6}, sizeof t->arg);
    uint64_t arg[EVENT_ARGS] = {0};
    bool fork = c->what == CALL_FORK ||
                (c->what == CALL_CLONE && (!(a1 & LINUX_CLONE_VM) || (a1 & LINUX_CLONE_VFORK)));
    if (fork) {
        /* Told before it happens, so that the child begins with an empty buffer and
         * nothing of it comes before its birth. */
        t->arg[5] = arg[0] = new_task();
        t->pending = CALL_FORK;
        tap_flush(t, EVENT_FORK, arg, NULL);
    } else if (c->what == CALL_CLONE) {
        arg[0] = new_task();
        atomic_store(&state.thread_task, (uint32_t)arg[0] + 1);
        tap_flush(t, EVENT_THREAD, arg, NULL);
    } else if (c->what == CALL_EXEC) {
        tap_flush(t, 0, NULL, NULL); /* what follows it, if it succeeds, is not seen */
    } else if (c->what == CALL_EXIT || c->what == CALL_EXIT_GROUP) {
        arg[0] = a1;
        tap_flush(t, EVENT_EXIT, arg, NULL);
    }
}

static void on_syscall_return(qemu_plugin_id_t id, unsigned vcpu, int64_t num, int64_t ret)
{
    (void)id;
    (void)num;
    tap *t = tap_of(vcpu);
    call what = t->pending;
    uint64_t *a = t->arg;
    char path[256];
    t->pending = CALL_NONE;
    bool failed = ret < 0 && ret > -4096;
    if (what == CALL_NONE || failed)
        return;
    switch (what) {
    case CALL_MMAP: {
        const char *name = a[3] & 0x20 ? NULL : path_of(a[4], path, sizeof path);
        /* Long paths keep their end, which says more. */
        size_t n = name ? strlen(name) : 0;
        name = n >= RING_NAME ? name + n - RING_NAME + 1 : name;
        tap_flush(t, EVENT_MMAP, (uint64_t[]){(uint64_t)ret, a[1], a[2] & 7, a[3], a[5]}, name);
        break;
    }
    case CALL_MUNMAP:
        tap_flush(t, EVENT_MUNMAP, (uint64_t[]){a[0], a[1], 0, 0, 0}, NULL);
        break;
    case CALL_MPROTECT:
        tap_flush(t, EVENT_MPROTECT, (uint64_t[]){a[0], a[1], a[2] & 7, 0, 0}, NULL);
        break;
    case CALL_MREMAP:
        tap_flush(t, EVENT_MREMAP, (uint64_t[]){a[0], a[1], (uint64_t)ret, a[2], 0}, NULL);
        break;
    case CALL_BRK:
        tap_flush(t, EVENT_BRK, (uint64_t[]){(uint64_t)ret, 0, 0, 0, 0}, NULL);
        break;
    case CALL_FORK:
        if (ret == 0) { /* in the child */
            t->count = 0;
            t->task = (uint16_t)a[5];
        }
        break;
    default:
        break;
    }
}

static void on_vcpu_init(qemu_plugin_id_t id, unsigned vcpu)
{
    (void)id;
    tap_of(vcpu);
}

static void on_vcpu_exit(qemu_plugin_id_t id, unsigned vcpu)
{
    (void)id;
    if (vcpu < TAPS && state.taps[vcpu]) {
        tap_flush(state.taps[vcpu], 0, NULL, NULL);
        free(state.taps[vcpu]);
        state.taps[vcpu] = NULL;
    }
}

static void on_end(qemu_plugin_id_t id, void *ud)
{
    (void)id;
    (void)ud;
    for (unsigned i = 0; i < TAPS; i++)
        if (state.taps[i])
            tap_flush(state.taps[i], 0, NULL, NULL);
}

int qemu_plugin_install(qemu_plugin_id_t id, const qemu_info_t *info, int argc, char **argv)
{
    int ring_fd = -1, alive_fd = -1;
    for (int i = 0; i < argc; i++) {
        if (strncmp(argv[i], "ring=", 5) == 0)
            ring_fd = atoi(argv[i] + 5);
        else if (strncmp(argv[i], "alive=", 6) == 0)
            alive_fd = atoi(argv[i] + 6);
    }
    for (size_t i = 0; i < sizeof targets / sizeof *targets; i++)
        if (strcmp(info->target_name, targets[i].target) == 0)
            state.calls = targets[i].calls;
    if (ring_fd < 0 || alive_fd < 0 || !state.calls || info->system_emulation) {
        fprintf(stderr, "vmem's recorder: wants ring=FD,alive=FD and a user-mode emulator of "
                        "x86_64, aarch64 or riscv64\n");
        return -1;
    }
    fcntl(alive_fd, F_SETFD, FD_CLOEXEC);
    state.ring = mmap(NULL, sizeof *state.ring, PROT_READ | PROT_WRITE, MAP_SHARED, ring_fd, 0);
    close(ring_fd);
    if (state.ring == MAP_FAILED || state.ring->magic != RING_MAGIC) {
        fprintf(stderr, "vmem's recorder: the ring can't be mapped\n");
        return -1;
    }
    qemu_plugin_register_vcpu_init_cb(id, on_vcpu_init);
    qemu_plugin_register_vcpu_exit_cb(id, on_vcpu_exit);
    qemu_plugin_register_vcpu_tb_trans_cb(id, on_tb);
    qemu_plugin_register_vcpu_syscall_cb(id, on_syscall);
    qemu_plugin_register_vcpu_syscall_ret_cb(id, on_syscall_return);
    qemu_plugin_register_atexit_cb(id, on_end, NULL);
    return 0;
}
