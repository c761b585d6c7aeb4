/* recorder.c: a plugin for QEMU's user-mode emulators that hands each
 * instruction fetch, load and store of the program it runs, and the system calls
 * that change the address space, to vmem through a ring (ring.h).
 *
 * Its one argument is ring=FD, the ring's file, which is mapped and closed before
 * the program begins. The processes that the program forks inherit the mapping;
 * one that executes another program leaves the emulator and is seen no more.
 *
 * What runs often does little: a block writes one word when it is entered, a data
 * access another. The reader, on another processor, makes the records of them.
 * A block can be left early, when an instruction in it faults: before its last
 * instruction a mark is cleared, which the next block finds still set then.
 */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/uio.h>
#include <unistd.h>

#include "image.h"
#include "qemu.h"
#include "touches.h"
#include "writer.h"

int qemu_plugin_version = 1;

#define RECORDER_VCPUS 4096 /* at a time, in one process */

typedef enum call {
    CALL_NONE = 0,
    CALL_MMAP,
    CALL_MUNMAP,
    CALL_MPROTECT,
    CALL_MREMAP,
    CALL_BRK,
    CALL_CLONE, /* of a thread */
    CALL_FORK,  /* fork, vfork, and clone of a process */
    CALL_EXEC,
    CALL_EXECAT,
    CALL_EXIT, /* of a thread */
    CALL_EXIT_GROUP,
} call;

typedef struct call_number {
    int16_t num;
    uint8_t what; /* call */
} call_number;

static const call_number calls_x86_64[] = {
    {9, CALL_MMAP},    {10, CALL_MPROTECT}, {11, CALL_MUNMAP},      {12, CALL_BRK},
    {25, CALL_MREMAP}, {56, CALL_CLONE},    {57, CALL_FORK},        {58, CALL_FORK},
    {59, CALL_EXEC},   {60, CALL_EXIT},     {231, CALL_EXIT_GROUP}, {322, CALL_EXECAT},
    {-1, CALL_NONE}};

/* The numbers that AArch64 and RISC-V share. */
static const call_number calls_generic[] = {
    {222, CALL_MMAP},   {226, CALL_MPROTECT},  {215, CALL_MUNMAP}, {214, CALL_BRK},
    {216, CALL_MREMAP}, {220, CALL_CLONE},     {221, CALL_EXEC},   {281, CALL_EXECAT},
    {93, CALL_EXIT},    {94, CALL_EXIT_GROUP}, {-1, CALL_NONE}};

static const struct {
    const char *target;
    const call_number *calls;
    touches_fn *touches;
} targets[] = {{"x86_64", calls_x86_64, touches_x86_64},
               {"aarch64", calls_generic, touches_aarch64},
               {"riscv64", calls_generic, touches_riscv64}};

#define LINUX_CLONE_VM      0x100
#define LINUX_CLONE_VFORK   0x4000
#define LINUX_MAP_ANONYMOUS 0x20

/* A system call between its entry and its return. */
typedef struct recorder_call {
    call what;
    uint64_t arg[6];
    unsigned vcpu;
    ring_tap *made; /* the tap of the thread or process that it makes */
} recorder_call;

static ring_tap *recorder_taps[RECORDER_VCPUS]; /* by vcpu; each used by its thread only */
static const call_number *recorder_calls;
static touches_fn *recorder_touches;
static uint64_t recorder_guest_base; /* where the program's address 0 is in this process */
static ring_tap *recorder_thread;    /* made by the clone under way; under the lock */
static __thread recorder_call recorder_now;

/* --- accesses: the often-run part ---------------------------------------------- */

static __attribute__((noinline)) void recorder_room(ring_tap *t)
{
    bool first = atomic_load(&t->state) == TAP_MADE;
    writer_make_room(t, 0);
    if (first && t->task == 0)
        image_tell(t, recorder_guest_base);
}

static void on_block(unsigned vcpu, void *ud)
{
    ring_tap *t = recorder_taps[vcpu];
    uint64_t word = (uint64_t)(uintptr_t)ud, pos = writer_pos(t);
    if (VM_UNLIKELY(pos >= t->limit)) {
        recorder_room(t);
        pos = writer_pos(t);
    }
    if (VM_UNLIKELY(atomic_load_explicit(&t->open, memory_order_relaxed)))
        writer_put(t, pos++, WORD_LEFT);
    writer_put(t, pos, word);
    writer_advance(t, pos + 1);
    atomic_store_explicit(&t->open, word & WORD_MANY, memory_order_release);
}

static void on_last(unsigned vcpu, void *ud)
{
    (void)ud;
    atomic_store_explicit(&recorder_taps[vcpu]->open, 0, memory_order_release);
}

/* What an access's description means, remembered: asking takes two calls. */
static inline uint64_t recorder_kind(qemu_plugin_meminfo_t info)
{
    static _Atomic uint64_t known[256]; /* info, then the bits of the word with bit 0 set */
    _Atomic uint64_t *k = &known[(info ^ info >> 9) & 255];
    uint64_t v = atomic_load_explicit(k, memory_order_relaxed);
    if (VM_UNLIKELY(v >> 32 != info || !(v & 1))) {
        v = (uint64_t)info << 32 | 1 | (uint64_t)qemu_plugin_mem_size_shift(info) << WORD_SHIFT_AT |
            (qemu_plugin_mem_is_store(info) ? WORD_STORE : 0);
        atomic_store_explicit(k, v, memory_order_relaxed);
    }
    return v & 0xfffffffe;
}

static void on_data(unsigned vcpu, qemu_plugin_meminfo_t info, uint64_t va, void *ud)
{
    ring_tap *t = recorder_taps[vcpu];
    uint64_t word = (uint64_t)(uintptr_t)ud | recorder_kind(info), pos = writer_pos(t);
    if (VM_UNLIKELY(pos >= t->limit)) {
        recorder_room(t);
        pos = writer_pos(t);
    }
    if (VM_UNLIKELY(va >> (64 - WORD_ADDR_AT))) {
        writer_put(t, pos++, word ^ (WORD_DATA ^ WORD_FAR));
        writer_put(t, pos, va);
    } else {
        writer_put(t, pos, word | va << WORD_ADDR_AT);
    }
    writer_advance(t, pos + 1);
}

/* --- translated blocks ------------------------------------------------------------ */

static void on_translate(qemu_plugin_id_t id, struct qemu_plugin_tb *tb)
{
    (void)id;
    size_t n = qemu_plugin_tb_n_insns(tb);
    uint64_t offset, bits = sizeof(ring_table) + n * sizeof(access_record);
    ring_table *table = writer_heap(bits + align_up(n, 64) / 8, &offset);
    table->count = (uint32_t)n;
    table->next = bits;
    uint64_t *faults = (uint64_t *)(void *)((char *)table + bits);
    for (size_t i = 0; i < n; i++) {
        struct qemu_plugin_insn *insn = qemu_plugin_tb_get_insn(tb, i);
        size_t size = qemu_plugin_insn_size(insn);
        table->fetches[i] = (access_record){.addr = qemu_plugin_insn_vaddr(insn),
                                            .size = size ? (uint32_t)size : 1,
                                            .kind = ACCESS_FETCH};
        if (size && recorder_touches(qemu_plugin_insn_data(insn), size))
            faults[i / 64] |= UINT64_C(1) << i % 64;
        qemu_plugin_register_vcpu_mem_cb(insn, on_data, QEMU_CB_NO_REGS, QEMU_MEM_RW,
                                         (void *)(uintptr_t)(i << WORD_INSN_AT | WORD_DATA));
        if (i == n - 1 && n > 1)
            qemu_plugin_register_vcpu_insn_exec_cb(insn, on_last, QEMU_CB_NO_REGS, NULL);
        if (i == 0)
            recorder_guest_base =
                (uint64_t)(uintptr_t)qemu_plugin_insn_haddr(insn) - qemu_plugin_insn_vaddr(insn);
    }
    uint64_t word = offset | WORD_BLOCK | (n > 1 ? WORD_MANY : 0);
    qemu_plugin_register_vcpu_tb_exec_cb(tb, on_block, QEMU_CB_NO_REGS, (void *)(uintptr_t)word);
}

/* --- threads and processes ---------------------------------------------------------- */

/* Called by the thread that makes the other, in the midst of its clone. */
static void on_vcpu(qemu_plugin_id_t id, unsigned vcpu)
{
    (void)id;
    if (vcpu >= RECORDER_VCPUS)
        writer_fail("the program has more than 4096 threads at a time");
    bool first = atomic_fetch_add(&writer.threads, 1) == 0;
    ring_tap *t = writer_take(first ? NULL : recorder_taps[recorder_now.vcpu], !first);
    recorder_taps[vcpu] = t;
    if (first) {
        writer.process = t->task;
        return;
    }
    recorder_thread = t;
    writer_event(recorder_taps[recorder_now.vcpu], EVENT_THREAD, (uint64_t[EVENT_ARGS]){t->task},
                 NULL, false);
}

/* The child's birth is told before it happens: nothing of it can come earlier. */
static void on_fork_prepare(void)
{
    recorder_now.made = writer_take(recorder_taps[recorder_now.vcpu], false);
    writer_event(recorder_taps[recorder_now.vcpu], EVENT_FORK,
                 (uint64_t[EVENT_ARGS]){recorder_now.made->task}, NULL, false);
}

static void on_fork_child(void)
{
    ring_tap *t = recorder_now.made;
    memset(recorder_taps, 0, sizeof recorder_taps);
    recorder_taps[recorder_now.vcpu] = t;
    recorder_now.made = NULL;
    recorder_now.what = CALL_NONE;
    writer.process = t->task;
    atomic_store(&writer.threads, 1);
    pthread_mutex_init(&writer.calls, NULL);
    writer_own(t);
}

/* --- system calls --------------------------------------------------------------------- */

static call recorder_which(int64_t num, uint64_t flags)
{
    const call_number *c = recorder_calls;
    while (c->what != CALL_NONE && c->num != num)
        c++;
    if (c->what == CALL_CLONE && (!(flags & LINUX_CLONE_VM) || (flags & LINUX_CLONE_VFORK)))
        return CALL_FORK;
    return c->what;
}

/* A string of the program's memory, or nothing where that is not to be read. */
static const char *recorder_string(uint64_t at, char *text, size_t size)
{
    uint64_t host = recorder_guest_base + at, to_page = 4096 - host % 4096;
    size_t first = to_page < size - 1 ? to_page : size - 1;
    struct iovec to = {text, size - 1},
                 from[2] = {{(void *)(uintptr_t)host, first},
                            {(void *)(uintptr_t)(host + first), size - 1 - first}};
    ssize_t n = process_vm_readv(getpid(), &to, 1, from, 2, 0);
    text[n > 0 ? n : 0] = '\0';
    return text[0] ? text : NULL;
}

static void on_call(qemu_plugin_id_t id, unsigned vcpu, int64_t num, uint64_t a1, uint64_t a2,
                    uint64_t a3, uint64_t a4, uint64_t a5, uint64_t a6, uint64_t a7, uint64_t a8)
{
    (void)id;
    (void)a7;
    (void)a8;
    ring_tap *t = recorder_taps[vcpu];
    recorder_now = (recorder_call){recorder_which(num, a1), {a1, a2, a3, a4, a5, a6}, vcpu, NULL};
    char path[RING_NAME_WORDS * 8];
    switch (recorder_now.what) {
    case CALL_EXEC:
    case CALL_EXECAT:
        writer_event(t, RING_EXEC, NULL,
                     recorder_string(recorder_now.what == CALL_EXEC ? a1 : a2, path, sizeof path),
                     false);
        return;
    case CALL_EXIT:
    case CALL_EXIT_GROUP:
        writer_event(t, recorder_now.what == CALL_EXIT ? EVENT_EXIT : RING_EXIT_GROUP,
                     (uint64_t[EVENT_ARGS]){a1 & 0xff}, NULL, false);
        atomic_fetch_sub(&writer.threads, 1);
        return;
    case CALL_NONE:
        writer_publish(t); /* it may wait for long */
        return;
    default: /* the order of these calls is that of their events */
        pthread_mutex_lock(&writer.calls);
        recorder_thread = NULL;
    }
}

/* The path behind a descriptor of the program, which is one of ours, too. */
static const char *recorder_path(uint64_t fd, char *path, size_t size)
{
    char link[40];
    snprintf(link, sizeof link, "/proc/self/fd/%d", (int)fd);
    ssize_t n = (int)fd < 0 ? -1 : readlink(link, path, size - 1);
    path[n > 0 ? n : 0] = '\0';
    return n > 0 ? path : NULL;
}

static void recorder_succeeded(ring_tap *t, call what, const uint64_t *a, uint64_t ret)
{
    char path[4096];
    const char *name = NULL;
    switch (what) {
    case CALL_MMAP:
        if (!(a[3] & LINUX_MAP_ANONYMOUS))
            name = recorder_path(a[4], path, sizeof path);
        writer_event(t, EVENT_MMAP, (uint64_t[EVENT_ARGS]){ret, a[1], a[2] & 7, a[3], a[5]}, name,
                     true);
        break;
    case CALL_MUNMAP:
        writer_event(t, EVENT_MUNMAP, (uint64_t[EVENT_ARGS]){a[0], a[1]}, NULL, true);
        break;
    case CALL_MPROTECT:
        writer_event(t, EVENT_MPROTECT, (uint64_t[EVENT_ARGS]){a[0], a[1], a[2] & 7}, NULL, true);
        break;
    case CALL_MREMAP:
        writer_event(t, EVENT_MREMAP, (uint64_t[EVENT_ARGS]){a[0], a[1], ret, a[2]}, NULL, true);
        break;
    case CALL_BRK:
        if (a[0] == 0 || a[0] == ret) /* else it is refused: the old break is returned */
            writer_event(t, EVENT_BRK, (uint64_t[EVENT_ARGS]){ret}, NULL, true);
        break;
    default:
        break;
    }
}

static void on_return(qemu_plugin_id_t id, unsigned vcpu, int64_t num, int64_t ret)
{
    (void)id;
    (void)num;
    ring_tap *t = recorder_taps[vcpu];
    call what = recorder_now.what;
    bool failed = ret < 0 && ret > -4096;
    recorder_now.what = CALL_NONE;
    if (what == CALL_NONE || what == CALL_EXIT || what == CALL_EXIT_GROUP)
        return;
    if (what == CALL_EXEC || what == CALL_EXECAT) { /* it would not return */
        writer_event(t, RING_EXEC_FAILED, NULL, NULL, false);
        return;
    }
    ring_tap *made = what == CALL_FORK ? recorder_now.made : recorder_thread;
    if (failed && made) /* born already: it ends at once */
        atomic_store(&made->state, TAP_FAILED);
    if (failed && made && what == CALL_CLONE)
        atomic_fetch_sub(&writer.threads, 1);
    if (!failed)
        recorder_succeeded(t, what, recorder_now.arg, (uint64_t)ret);
    pthread_mutex_unlock(&writer.calls);
}

/* --------------------------------------------------------------------------------------- */

int qemu_plugin_install(qemu_plugin_id_t id, const qemu_info_t *info, int argc, char **argv)
{
    int fd = argc == 1 && strncmp(argv[0], "ring=", 5) == 0 ? atoi(argv[0] + 5) : -1;
    for (size_t i = 0; i < sizeof targets / sizeof *targets; i++)
        if (strcmp(info->target_name, targets[i].target) == 0) {
            recorder_calls = targets[i].calls;
            recorder_touches = targets[i].touches;
        }
    if (fd < 0 || !recorder_calls || info->system_emulation) {
        fprintf(stderr, "vmem's recorder: wants ring=FD and a user-mode emulator of x86_64, "
                        "aarch64 or riscv64\n");
        return -1;
    }
    bool begun = writer_begin(fd);
    close(fd);
    if (!begun || pthread_atfork(on_fork_prepare, NULL, on_fork_child) != 0) {
        fprintf(stderr, "vmem's recorder: the ring can't be mapped\n");
        return -1;
    }
    image_begin();
    qemu_plugin_register_vcpu_init_cb(id, on_vcpu);
    qemu_plugin_register_vcpu_tb_trans_cb(id, on_translate);
    qemu_plugin_register_vcpu_syscall_cb(id, on_call);
    qemu_plugin_register_vcpu_syscall_ret_cb(id, on_return);
    return 0;
}
