/* vmem.h: the public C interface, for hosts without Lua.
 *
 * A machine is an opaque handle; its processes are numbers, so that none can be
 * left dangling. Addresses and lengths are bytes, time is in cycles. Nothing here
 * prints, exits or keeps global state: machines are independent, and one machine
 * is to be used by one thread at a time.
 *
 * Functions return VMEM_OK or why not, and say it in the vmem_error they were
 * given (NULL: the caller does not want to know). A failed call leaves the
 * machine whole and results unset, except where a comment says otherwise.
 *
 * Link with -lvmem (`pkg-config --cflags --libs vmem`); examples/embed.c shows it.
 */
#ifndef VM_VMEM_H
#define VM_VMEM_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#if defined(VM_LIBRARY) && defined(__GNUC__)
#define VMEM_API __attribute__((visibility("default")))
#else
#define VMEM_API
#endif

#define VMEM_VERSION "0.1"

typedef enum vmem_status {
    VMEM_OK = 0,
    VMEM_NOMEM,   /* the host's memory is used up */
    VMEM_INVALID, /* an argument or an option is wrong: the caller's mistake */
    VMEM_IO,      /* the host's file system failed; vmem_error.sys has errno */
    VMEM_FORMAT,  /* a trace's content is not what its format says */
    VMEM_REFUSED, /* the simulated system call fails; vmem_error.sys has errno */
    VMEM_FAULT,   /* a simulated access faulted for good; vmem_fault says where */
    VMEM_POLICY   /* a replacement policy failed */
} vmem_status;

typedef struct vmem_error {
    vmem_status status;
    int sys;        /* errno where status is VMEM_IO or VMEM_REFUSED, else 0 */
    char text[480]; /* one sentence without a newline */
} vmem_error;

/* Host memory: nsize 0 frees p and returns NULL; else a block of nsize bytes that
 * begins with p's, or NULL; p's size is osize. A lua_Alloc has this form, too. */
typedef struct vmem_allocator {
    void *(*alloc)(void *ud, void *p, size_t osize, size_t nsize);
    void *ud;
} vmem_allocator;

typedef struct vmem_machine vmem_machine;
typedef uint32_t vmem_pid; /* 1 and up; not used again after its process has ended */

/* The library's version, which may be newer than the header's VMEM_VERSION. */
VMEM_API const char *vmem_version(void);

/* --- machines ------------------------------------------------------------------ */

/* Make a machine. `options`, ended by NULL (NULL itself: none), are texts
 * "name=value" that are set in order: "preset=core-i7" first, then what differs,
 * "dram=16MiB", "policy=lru", "tlb.l1d.entries=32", "paging.levels=9,9,9". The
 * reference lists the names and what they take; sizes may end in KiB, MiB, GiB.
 * `alloc` may be NULL (realloc and free); it must outlive the machine.
 * Errors: VMEM_INVALID names the option; VMEM_NOMEM. *out is NULL then. */
VMEM_API vmem_status vmem_new(const char *const *options, const vmem_allocator *alloc,
                              vmem_machine **out, vmem_error *e);

/* Turn paging on, as vmem_new does unless the option "boot=false" asks not to: until
 * then there are no processes. Once done, it is done. Errors: VMEM_NOMEM. */
VMEM_API vmem_status vmem_boot(vmem_machine *m, vmem_error *e);

/* End it and all its processes; NULL is fine. */
VMEM_API void vmem_free(vmem_machine *m);

/* The i-th preset's name, from 0; NULL behind the last. */
VMEM_API const char *vmem_preset(size_t i);

/* The i-th option, from 0: its name, and one line about it in *doc (may be NULL);
 * NULL behind the last. */
VMEM_API const char *vmem_option(size_t i, const char **doc);

/* --- processes and their address spaces ------------------------------------------ */

enum { VMEM_READ = 1, VMEM_WRITE = 2, VMEM_EXEC = 4 };
enum { VMEM_FIXED = 1 };

/* A process with an empty address space; `name` (may be NULL) is copied.
 * Errors: VMEM_NOMEM; VMEM_INVALID: no room for its page table in DRAM. */
VMEM_API vmem_status vmem_spawn(vmem_machine *m, const char *name, vmem_pid *pid, vmem_error *e);

/* End it: its frames and swap slots are free again. Every function below that
 * takes a pid fails with VMEM_INVALID where no such process lives. */
VMEM_API vmem_status vmem_exit(vmem_machine *m, vmem_pid pid, int status, vmem_error *e);

/* Map `length` bytes, rounded up to pages, of zeros; `prot` of VMEM_READ, WRITE,
 * EXEC. `addr` is a hint (0: none); with VMEM_FIXED in `flags` it is the place,
 * and replaces what is there. The address comes in *at.
 * Errors: VMEM_REFUSED with EINVAL or ENOMEM; VMEM_INVALID, VMEM_NOMEM. */
VMEM_API vmem_status vmem_mmap(vmem_machine *m, vmem_pid pid, uint64_t addr, uint64_t length,
                               unsigned prot, unsigned flags, uint64_t *at, vmem_error *e);

/* Unmap, or change the protection of, the pages of a range. Errors: as above. */
VMEM_API vmem_status vmem_munmap(vmem_machine *m, vmem_pid pid, uint64_t addr, uint64_t length,
                                 vmem_error *e);
VMEM_API vmem_status vmem_mprotect(vmem_machine *m, vmem_pid pid, uint64_t addr, uint64_t length,
                                   unsigned prot, vmem_error *e);

/* --- accesses -------------------------------------------------------------------- */

typedef enum vmem_access {
    VMEM_ACCESS_FETCH,
    VMEM_ACCESS_LOAD,
    VMEM_ACCESS_STORE,
    VMEM_ACCESS_MODIFY
} vmem_access;

/* Why a process could not go on. */
typedef struct vmem_fault {
    const char *signal; /* "SIGSEGV", "SIGBUS", "SIGKILL"; static texts */
    const char *code;   /* "MAPERR", "ACCERR", "OOM" and others */
    uint64_t addr;
    vmem_access access;
    vmem_pid pid;
} vmem_fault;

/* Accesses as a program makes them: through the TLBs, page tables, caches and the
 * kernel, and counted. One is an access whatever its size; where it crosses lines
 * or pages, it is split. Page faults that can be served are.
 * Errors: VMEM_FAULT: `fault` (may be NULL) says why, and the process has ended,
 * as by the signal; VMEM_INVALID, VMEM_NOMEM, VMEM_POLICY. What was read or
 * written before the page that failed stays so. */

/* A number of `size` bytes (1, 2, 4 or 8), little-endian. */
VMEM_API vmem_status vmem_load(vmem_machine *m, vmem_pid pid, uint64_t addr, unsigned size,
                               uint64_t *value, vmem_fault *fault, vmem_error *e);
VMEM_API vmem_status vmem_store(vmem_machine *m, vmem_pid pid, uint64_t addr, unsigned size,
                                uint64_t value, vmem_fault *fault, vmem_error *e);

/* `n` bytes: data, or instructions (fetch). */
VMEM_API vmem_status vmem_read(vmem_machine *m, vmem_pid pid, uint64_t addr, void *to, size_t n,
                               vmem_fault *fault, vmem_error *e);
VMEM_API vmem_status vmem_write(vmem_machine *m, vmem_pid pid, uint64_t addr, const void *from,
                                size_t n, vmem_fault *fault, vmem_error *e);
VMEM_API vmem_status vmem_fetch(vmem_machine *m, vmem_pid pid, uint64_t addr, void *to, size_t n,
                                vmem_fault *fault, vmem_error *e);

/* --- traces ---------------------------------------------------------------------- */

/* What a replay did. */
typedef struct vmem_run {
    uint64_t accesses;  /* replayed */
    uint64_t events;    /* mmap, munmap, brk and others of the trace */
    uint64_t processes; /* that its tasks are, the given one included */
    uint64_t mapped;    /* areas made because something that no event mapped was touched */
    uint64_t refused;   /* events that the machine refused */
    uint64_t cycles;    /* that the clock went on */
} vmem_run;

/* Replay the trace in the file `path`: its format (.vmt, lackey, din, pages,
 * champsim) and compression are recognised by content. Its first task's accesses
 * are the process's. The machine's counters go on from where they are: call
 * vmem_reset_stats before, to have those of the run alone.
 * Errors: VMEM_IO, VMEM_FORMAT (path and position in the text), those of accesses.
 * `run` (may be NULL) is filled in any case, up to where it ended. */
VMEM_API vmem_status vmem_replay(vmem_machine *m, vmem_pid pid, const char *path, vmem_run *run,
                                 vmem_fault *fault, vmem_error *e);

/* --- what is counted --------------------------------------------------------------- */

/* Told of each counter: dotted name, unit, one line of doc, value. The texts are
 * valid during the call. */
typedef void vmem_visitor(void *ud, const char *name, const char *unit, const char *doc,
                          uint64_t value);
VMEM_API void vmem_stats(const vmem_machine *m, vmem_visitor *visit, void *ud);

/* One counter, as "tlb.l1d.misses". VMEM_INVALID: this machine has none such. */
VMEM_API vmem_status vmem_stat(const vmem_machine *m, const char *name, uint64_t *value,
                               vmem_error *e);

/* Counters to 0; the clock and all contents stay. */
VMEM_API void vmem_reset_stats(vmem_machine *m);

/* Cycles since the machine was made. */
VMEM_API uint64_t vmem_clock(const vmem_machine *m);

/* Walk the invariants of the whole machine: NULL, or the first one broken. */
VMEM_API const char *vmem_check(vmem_machine *m);

#ifdef __cplusplus
}
#endif

#endif
