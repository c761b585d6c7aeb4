/* kernel.h: the software half: processes, address spaces, areas, page faults,
 * files, swap and page replacement.
 *
 * Data flow of a fault: kernel_fault (fault.c) asks for the area and the
 * permission, then serves the page: zeros, a page of a file (pagecache.c), one
 * from swap, or a copy of a page that was shared (copy on write). Frames come
 * from reclaim.c, which may ask the policy for a victim and write it to its
 * place. Then the PTE is set and the access is tried again. Page tables are in
 * simulated DRAM and nowhere else; what a page's state is, its PTE says, or, of
 * files and shared memory, the object that its area maps.
 *
 * Who holds a page is counted: the PTEs that map a frame (its reverse map), the
 * PTEs that name a swap slot. A private page is written in place only by its
 * last owner; everyone else gets a copy.
 *
 * Invariants, walked by kernel_check (check.c)
 *   - a present PTE is one mapping of its frame and the frame has no others;
 *   - a frame is free, or has a mapping, or belongs to a file or a swap slot;
 *   - a writable PTE names a frame that nobody shares privately;
 *   - a swap slot's users are the PTEs and shared pages that name it;
 *   - areas do not overlap; no page is resident outside of all areas;
 *   - what is promised (committed) is what the areas add up to;
 *   - the kernel's part of every space is the same tables (boot.h);
 *   - no TLB entry disagrees with its PTE.
 */
#ifndef VM_KERNEL_H
#define VM_KERNEL_H

#include "area.h"
#include "boot.h"
#include "file.h"
#include "events.h"
#include "frames.h"
#include "swap.h"
#include "watch.h"
#include "../hw/hardware.h"

/* --- spaces and processes ------------------------------------------------------ */

/* mm_struct */
typedef struct space {
    uint32_t id;      /* never 0; index in kernel.spaces */
    uint32_t users;   /* processes that share it */
    uint32_t owner;   /* pid of the first of them, which is charged for its pages */
    uint64_t root;    /* physical address of the root table; 0: none yet */
    uint64_t root_ok; /* 1 once the root is there (its address may be 0) */
    uint32_t asid;
    uint64_t asid_generation;
    uint64_t cpus; /* set of the processors whose TLBs may know it (cpu.c) */
    area_tree areas;
    area *spare; /* nodes for calls that must not fail halfway; by `next` */
    size_t spares;
    uint64_t brk_start, brk;            /* the heap: brk_start <= brk */
    uint64_t resident, swapped, tables; /* pages, pages, frames of page tables */
    uint64_t committed;                 /* pages that were promised */
    uint64_t locked;                    /* pages of locked areas */
    uint64_t large;                     /* transparent large pages */
    uint32_t deposit;                   /* if any: the first frame of a table for a split */
    /* with local replacement */
    policy *pol;     /* over the pages that it brought in, or NULL */
    uint64_t ruled;  /* how many those are, locked ones left out */
    uint64_t limit;  /* the most it may have; 0: as fit */
    uint64_t looked; /* accesses when its pages were last looked through, or it last faulted */
    /* with load control */
    uint64_t since;     /* accesses when it was suspended, or became active */
    uint64_t had;       /* pages when it was suspended */
    bool suspended;     /* swapped out whole, until load.c has it back */
    space_watch *watch; /* or NULL */
} space;

#define PROCESS_COUNTERS(X)                                                                        \
    X(minor_faults, "minor_faults", "faults", "page faults served without the disk")               \
    X(major_faults, "major_faults", "faults", "page faults that read the disk")                    \
    X(zero_fills, "zero_fills", "pages", "demand-zero pages made")                                 \
    X(zero_maps, "zero_maps", "pages", "reads served by the shared page of zeros")                 \
    X(cow_copies, "cow_copies", "pages", "pages copied because a write met a shared one")          \
    X(cow_reuses, "cow_reuses", "pages", "pages made writable again for their last owner")         \
    X(file_maps, "file_maps", "pages", "pages of files mapped that were in memory")                \
    X(file_ins, "file_ins", "pages", "pages of files read from the disk")                          \
    X(swap_maps, "swap_maps", "pages", "swapped pages found in memory")                            \
    X(swap_ins, "swap_ins", "pages", "pages read back from swap")                                  \
    X(swap_outs, "swap_outs", "pages", "dirty pages written to swap when they were evicted")       \
    X(file_outs, "file_outs", "pages", "dirty pages written back to their files")                  \
    X(clean_drops, "clean_drops", "pages", "clean pages evicted without a write")                  \
    X(stack_grows, "stack_grows", "faults", "faults that extended a stack")                        \
    X(spurious_faults, "spurious_faults", "faults",                                                \
      "faults where the page table already allowed the access")                                    \
    X(evictions, "evictions", "pages", "pages that lost their frame")

typedef struct process_counters {
#define X(field, name, unit, doc) uint64_t field;
    PROCESS_COUNTERS(X)
#undef X
} process_counters;

typedef enum process_state {
    PROCESS_RUNNING,
    PROCESS_BLOCKED, /* waits until its vfork child has a space of its own */
    PROCESS_ZOMBIE,  /* has ended; its parent has not asked for the status yet */
    PROCESS_REAPED,
} process_state;

typedef struct process {
    uint32_t pid;    /* 1 and up; index in kernel.processes */
    uint32_t parent; /* pid; 0: the host's own */
    uint32_t first_child, last_child, next_sibling, prev_sibling; /* pids, until reaped */
    space *space;                                                 /* NULL once it has ended */
    process_state state;
    int exit_status;
    const char *killed;  /* name of the signal that ended it, or NULL */
    uint16_t cpu;        /* where it runs */
    uint32_t vfork_of;   /* pid of the parent that waits for this one, or 0 */
    uint32_t stack_slot; /* where its kernel stack is, or NUMBER_NONE (half.c) */
    uint64_t pc, sp;     /* where execve put them */
    char name[AREA_NAME];
    process_counters n;
} process;

/* --- the kernel ------------------------------------------------------------------ */

/* Who is charged for what happens to the space's pages. */
#define SPACE_OWNER(k, s) ((k)->processes[(s)->owner])

/* What may be promised: Linux's overcommit_memory 1, 0 and 2. */
typedef enum overcommit { OVERCOMMIT_ALWAYS, OVERCOMMIT_HEURISTIC, OVERCOMMIT_STRICT } overcommit;

/* Which areas may have transparent huge pages. */
typedef enum huge_mode { HUGE_NEVER, HUGE_MADVISE, HUGE_ALWAYS } huge_mode;

/* How many frames a process may keep, where replacement is local: as many as it was
 * given; its working set, the pages used in the last `window` accesses (Denning
 * 1968); or so many that it faults about every `window` accesses (page-fault
 * frequency, Chu and Opderbeck 1976). */
typedef enum quota { QUOTA_NONE, QUOTA_WORKING_SET, QUOTA_FAULT_FREQUENCY } quota;

typedef struct kernel_config {
    policy_choice policy;
    bool local; /* a process replaces its own pages: it has a policy of its own */
    quota quota;
    uint64_t window;                 /* accesses, of quotas and load control */
    uint64_t lifetime;               /* the least between two faults; 0: no load control */
    const frame_alloc_class *frames; /* who gives out free ones */
    uint64_t swap_slots;
    uint64_t file_blocks;    /* of the disk, for files */
    uint64_t resident_limit; /* pages of all processes in frames at once; 0: as fit */
    uint64_t low, high;      /* background reclaim begins below low free frames, ends at high */
    uint64_t stack_limit;    /* bytes that a growing stack may have */
    uint64_t kernel_low;     /* bytes of the low region, which the kernel maps */
    unsigned cluster;        /* neighbouring dirty pages written in one request; at least 1 */
    unsigned readahead;      /* pages of a file read after the one that faulted */
    unsigned swap_readahead; /* slots read along with the one that faulted */
    huge_mode huge;
    uint64_t huge_min;  /* resident base pages that make a range worth promoting; 0: all */
    uint64_t huge_scan; /* faults between two scans for such ranges; 0: no scans */
    bool compact;       /* move pages together when a block of frames is wanted */
    overcommit overcommit;
    unsigned overcommit_ratio; /* percent of memory counted by OVERCOMMIT_STRICT */
    unsigned asid_bits;        /* 0: no ASIDs, a switch flushes */
    bool young_flush;          /* clearing A also drops the TLB entries */
    bool stamped;              /* kernel_init says: references need no call, bits or stamps serve */
    bool zero_frame;           /* reads of untouched memory share one page of zeros */
    uint64_t seed;
} kernel_config;

#define KERNEL_COUNTERS(X)                                                                         \
    PROCESS_COUNTERS(X)                                                                            \
    X(faults, "faults", "faults", "faults that reached the kernel")                                \
    X(calls, "calls", "calls", "system calls; whoever makes one for a program counts it")          \
    X(forks, "forks", "calls", "address spaces copied by fork")                                    \
    X(fork_pages, "fork_pages", "entries", "entries of page tables copied by fork")                \
    X(background, "background", "pages", "of the evictions, those made before memory was short")   \
    X(trims, "trims", "pages", "of the evictions, those of pages outside of a quota")              \
    X(clustered, "clustered", "pages", "dirty pages written along with a victim beside them")      \
    X(suspensions, "suspensions", "processes", "whole processes swapped out by load control")      \
    X(resumptions, "resumptions", "processes", "of these, those that were taken back")             \
    X(readaheads, "readaheads", "pages", "pages read before they were asked for")                  \
    X(oom_kills, "oom_kills", "processes", "processes killed because memory and swap ran out")     \
    X(huge_faults, "huge_faults", "pages", "transparent large pages taken at a fault")             \
    X(huge_fallbacks, "huge_fallbacks", "faults", "faults that found no block for a large page")   \
    X(huge_promotions, "huge_promotions", "pages", "large pages made of base pages")               \
    X(huge_copies, "huge_copies", "pages", "base pages copied by promotions")                      \
    X(huge_splits, "huge_splits", "pages", "large pages split into base pages")                    \
    X(compactions, "compactions", "runs", "times that pages were moved to make a free block")      \
    X(compact_moves, "compact_moves", "pages", "pages moved by compaction")                        \
    X(switches, "switches", "switches", "changes of the address space that is running")            \
    X(asid_rollovers, "asid_rollovers", "flushes", "times that ASIDs ran out and all was flushed") \
    X(flushes, "flushes", "flushes", "times that all translations of a space were dropped")        \
    X(shootdowns, "shootdowns", "pages", "translations invalidated because a PTE changed")         \
    X(interrupts, "interrupts", "interrupts",                                                      \
      "of other processors, which may know a changed translation")                                 \
    X(migrations, "migrations", "processes", "changes of the processor that a process runs on")

typedef struct kernel_counters {
#define X(field, name, unit, doc) uint64_t field;
    KERNEL_COUNTERS(X)
#undef X
} kernel_counters;

typedef struct kernel {
    hardware *hw;
    const vm_host *host;
    kernel_config cfg;
    frames frames;
    uint64_t low_frames; /* frames that a PTE can name; page tables live behind
                            them where there is more memory than that */
    swap_area swap;
    pool blocks; /* of the disk, behind the swap area: those of files */
    policy *pol;
    uint64_t taken;      /* frame that was taken last for a page that somebody faulted on */
    uint64_t incoming;   /* key of the page that a frame is wanted for, or POLICY_NO_KEY */
    process **processes; /* by pid; [0] unused */
    size_t process_count, process_cap;
    space **spaces; /* by id; [0] unused */
    size_t space_count, space_cap;
    size_t space_hint; /* no id below is free */
    file **files;      /* by id; [0] unused, and NULL where there was one */
    size_t file_count, file_cap;
    space *running[HW_CPUS]; /* by processor */
    uint32_t load[HW_CPUS];  /* live processes, by processor */
    uint64_t interrupted;    /* set of processors, in this fault or call */
    uint64_t cpu_since;      /* the clock when the one at work began */
    uint64_t asid_generation;
    uint32_t next_asid;
    uint64_t resident;              /* frames under a policy, or locked */
    uint64_t ruled;                 /* frames under `pol` */
    uint64_t (*accesses)(void *ud); /* so far: the time of quotas */
    void *accesses_ud;
    uint64_t committed; /* pages promised to all spaces */
    struct {
        uint64_t looked, replaced; /* accesses and load_replaced() when the window began */
    } thrash;
    size_t scan_space;          /* where the scan for large pages goes on: a space's id, */
    uint64_t scan_va;           /* and an address in it */
    struct fork_batch *batches; /* in no order */
    size_t batch_count, batch_cap;
    bool by_hand;      /* somebody set page-table entries: frames may be FRAME_PINNED */
    uint64_t zero_ppn; /* the shared page of zeros, or FRAME_NONE */
    uint8_t *copy;     /* one page on the host, on its way between two frames */
    boot_state boot;
    kernel_counters n;
    event_log events;
} kernel;

/* Why a process can't go on: what a signal would carry. */
typedef struct fault_info {
    const char *signal; /* "SIGSEGV", "SIGBUS", "SIGKILL" */
    const char *code;   /* "MAPERR", "ACCERR", "ADRERR", "OBJERR", "OOM", ... */
    uint64_t addr;
    access_kind access;
    uint32_t pid;
} fault_info;

vm_status kernel_init(kernel *k, hardware *hw, const vm_host *host, const kernel_config *cfg,
                      vm_error *e);
void kernel_free(kernel *k);
const char *kernel_check(kernel *k); /* check.c */
/* Another policy from now on: to it, pages come in the order of their frames, with the
 * reference bits that they have. On failure all is as before. */
vm_status kernel_set_policy(kernel *k, const policy_choice *what, vm_error *e);

/* boot.c: paging is turned on, and the kernel's part of every space made. Once done,
 * it is done. VM_NOMEM: nothing was. */
vm_status kernel_boot(kernel *k, vm_error *e);
void boot_free(kernel *k);
vm_status boot_note(kernel *k, boot_item item, vm_error *e); /* goes into the log */

/* half.c: the kernel's part of every space, which all of them share */
/* Its entries in the root of a new space. */
vm_status half_enter(kernel *k, const space *s, vm_error *e);
/* A process's kernel stack: VM_FAULT, no memory for it. */
vm_status half_stack_take(kernel *k, process *p, vm_error *e);
void half_stack_give(kernel *k, process *p);
uint64_t half_stack_va(const kernel *k, const process *p);
const char *half_check(kernel *k);
/* A table of the level, for addresses from va on; and its frames back. */
vm_status half_table(kernel *k, uint64_t va, unsigned level, uint64_t *pa, vm_error *e);
void half_give(kernel *k, uint64_t ppn, uint64_t n);
/* Where the entry of va at `level` is in the kernel's tables; those on the way are made. */
vm_status half_make(kernel *k, uint64_t va, unsigned level, uint64_t *pte_pa, vm_error *e);
/* Set an entry, and note it. */
vm_status half_write(kernel *k, uint64_t va, unsigned level, uint64_t pa, uint64_t now,
                     vm_error *e);
uint64_t half_get(const kernel *k, uint64_t pa);
uint64_t half_table_entry(const kernel *k, uint64_t table); /* that names it, the supervisor's */
uint64_t half_root_entry(const kernel *k, uint64_t root, uint64_t index); /* its pa */
uint64_t half_root_va(const kernel *k, uint64_t index);                   /* its first address */

/* process.c */
vm_status process_new(kernel *k, const char *name, process **out, vm_error *e);
/* A copy of the process: pages are shared until one side writes. */
vm_status process_fork(kernel *k, process *parent, process **out, vm_error *e);
/* A process in the same space: a thread, or, with vfork, a child for which the
 * parent waits until it calls execve or exits. */
vm_status process_share(kernel *k, process *with, const char *name, bool vfork, process **out,
                        vm_error *e);
/* End it: its frames, tables and slots come back with the last user; children are
 * orphans. `signal` is the one that killed it, or NULL. */
void process_exit(kernel *k, process *p, int status, const char *signal);
/* A child that has ended, of this pid or (0) any: it is reaped. Errors: ECHILD, no
 * such child; EAGAIN, none has ended yet. */
vm_status process_wait(kernel *k, process *p, uint32_t pid, process **out, vm_error *e);
/* Forget the program: all areas and pages go, the process stays. */
void process_clear(kernel *k, process *p);
process *process_find(const kernel *k, uint32_t pid); /* live or ended; NULL: never was */
/* Give the process the space, or none, in place of its own. */
void process_take_space(kernel *k, process *p, space *s);
vm_status space_new(kernel *k, space **out, vm_error *e);
void space_drop(kernel *k, space *s);

/* cpu.c: which space runs on which processor, and what of it TLBs may know */
/* A call of the process begins, on its processor: it is counted. */
void kernel_enter(kernel *k, const process *p);
/* Make the process's space the one that its processor runs, and that one be at work. */
void kernel_switch(kernel *k, const process *p);
/* A PTE changed: no TLB may know the old one. */
void kernel_invalidate(kernel *k, const space *s, uint64_t va);
/* Is more to be done then than to count it? */
bool kernel_heeds(const kernel *k, const space *s);
/* The tables below va's entry of this level have gone. */
void kernel_forget_tables(kernel *k, const space *s, uint64_t va, unsigned level);
/* Every translation of the space changed. False: none was known. */
bool kernel_flush(kernel *k, const space *s);
void kernel_new_root(kernel *k, const space *s);   /* it has one now */
void kernel_stop(kernel *k, const space *s);       /* no processor runs it any more */
void cpu_place(kernel *k, process *p);             /* where fewest run, lowest number first */
void cpu_put(kernel *k, process *p, unsigned cpu); /* on this one instead; no migration */
void cpu_leave(kernel *k, const process *p);       /* it has ended */
/* The process runs on this processor from now on. VM_REFUSED, EINVAL: there is none such. */
vm_status process_migrate(kernel *k, process *p, uint64_t cpu, vm_error *e);
uint64_t kernel_cpu_cycles(const kernel *k, unsigned cpu); /* that the processor was at work */
const char *cpu_check(const kernel *k);

/* exec.c: execve */
typedef struct exec_segment {
    uint64_t addr;
    uint64_t file_bytes; /* from the file, at offset; 0: none */
    uint64_t bytes;      /* in all; what is more than the file's is zeros (bss) */
    unsigned prot;
    file *file;
    uint64_t offset; /* of the segment in the file, congruent to addr in the page */
    bool anywhere;   /* a shared object: addr is ignored, a place is found */
    const char *name;
} exec_segment;

typedef struct exec_image {
    const char *name;
    const exec_segment *segments;
    size_t segment_count;
    uint64_t entry;
    uint64_t stack; /* bytes mapped at first; it grows */
    const char *const *argv, *const *envp;
    size_t argc, envc;
} exec_image;

/* Another program in the process: its areas go, the image's are mapped; arguments
 * and environment are put on the stack, pc and sp set. Nothing is brought in but the
 * stack's top. On failure the process is as it was: ENOEXEC, ENOMEM, E2BIG, ... */
vm_status process_exec(kernel *k, process *p, const exec_image *image, vm_error *e);

/* space.c: areas; addresses and lengths in bytes, page-aligned inside */
uint64_t space_user_top(const kernel *k); /* first address users can't have */
typedef struct map_request {
    uint64_t addr; /* where, if fixed; else a hint or 0 */
    uint64_t length;
    unsigned prot;
    bool fixed;     /* at addr, in place of what is there */
    bool noreplace; /* with fixed: EEXIST if something is there */
    uint16_t flags; /* AREA_ */
    uint8_t level;  /* of its pages */
    file *file;     /* NULL: anonymous, and if AREA_SHARED a new object of shared memory */
    uint64_t offset;
    const char *name;
} map_request;
/* errors: VM_REFUSED with EINVAL, ENOMEM, EEXIST, EOVERFLOW; the address comes in *at */
vm_status space_map(kernel *k, space *s, const map_request *r, uint64_t *at, vm_error *e);
vm_status space_unmap(kernel *k, space *s, uint64_t addr, uint64_t length, vm_error *e);
vm_status space_protect(kernel *k, space *s, uint64_t addr, uint64_t length, unsigned prot,
                        vm_error *e);
/* Set the break; unchanged on refusal. */
vm_status space_set_brk(kernel *k, space *s, uint64_t brk, vm_error *e);
/* A stack's area ends at or above va, near enough to grow to it: grow it. */
bool space_grow_stack(kernel *k, space *s, uint64_t va);
/* For calls that change many areas: nodes, so that they can't fail halfway. */
vm_status space_reserve(kernel *k, space *s, size_t nodes, vm_error *e);
void space_split(kernel *k, space *s, uint64_t at);
void space_merge(kernel *k, space *s, uint64_t start, uint64_t stop);
void space_clear(kernel *k, space *s, uint64_t start, uint64_t stop);
void space_insert(kernel *k, space *s, const area *like);
/* A free place of the mapped region, top down; 0: there is none. */
uint64_t space_gap(const kernel *k, const space *s, uint64_t length, uint64_t align);
bool space_covered(const space *s, uint64_t start, uint64_t stop);
/* Page-align the length; refuses what is not a range of pages of the space, with the
 * error `beyond` if it ends beyond the user's part. */
vm_status space_range(const kernel *k, const space *s, const char *call, int beyond, uint64_t addr,
                      uint64_t *length, vm_error *e);
/* May so many pages more be promised? ENOMEM. */
vm_status kernel_may_commit(const kernel *k, uint64_t pages, const char *call, vm_error *e);
/* Every attribute of the areas in a range: `change` is called for each, whole ones only. */
typedef void area_change(kernel *k, space *s, area *a, void *ud);
void space_change(kernel *k, space *s, uint64_t start, uint64_t stop, area_change *change,
                  void *ud);

/* remap.c: move an area's pages, or grow and shrink it where it is. `to`: the new
 * place, or 0: with `may_move` anywhere. Errors: EINVAL, EFAULT, ENOMEM. */
vm_status space_remap(kernel *k, space *s, uint64_t from, uint64_t old_length, uint64_t to,
                      uint64_t new_length, bool may_move, uint64_t *at, vm_error *e);

/* advice.c: what programs say of their memory */
typedef enum advice {
    ADVICE_NORMAL,
    ADVICE_RANDOM,
    ADVICE_SEQUENTIAL,
    ADVICE_WILLNEED,
    ADVICE_DONTNEED,
    ADVICE_FREE,
    ADVICE_HUGEPAGE,
    ADVICE_NOHUGEPAGE,
    ADVICES
} advice;
extern const char *const advice_names[ADVICES];
vm_status space_advise(kernel *k, process *p, uint64_t addr, uint64_t length, advice what,
                       vm_error *e);
vm_status space_sync(kernel *k, space *s, uint64_t addr, uint64_t length, vm_error *e);
vm_status space_lock(kernel *k, process *p, uint64_t addr, uint64_t length, bool lock, vm_error *e);
/* Bring the pages of a range in at once. VM_FAULT as for an access. */
vm_status space_populate(kernel *k, process *p, uint64_t addr, uint64_t length, fault_info *info,
                         vm_error *e);
/* One byte a page into `out`: is it in memory? */
vm_status space_incore(kernel *k, space *s, uint64_t addr, uint64_t length, uint8_t *out,
                       vm_error *e);

/* fault.c */
/* Serve a fault: VM_OK means try again; VM_FAULT fills *info; else an error. */
vm_status kernel_fault(kernel *k, process *p, uint64_t va, access_kind kind, mmu_fault why,
                       fault_info *info, vm_error *e);
/* Bring the page of an area into memory without an access; `info` as for a fault. */
vm_status kernel_populate(kernel *k, process *p, uint64_t va, fault_info *info, vm_error *e);

/* Read the swapped pages of a space in the order of their addresses, while frames are
 * free: how many came. */
uint64_t fault_swap_in_space(kernel *k, const space *s);

/* load.c */
/* If a window has gone by: does the machine thrash, or no longer? Errors: a policy's; `e` is
 * needed. */
vm_status load_look(kernel *k, vm_error *e);
/* The suspended space is active again. */
void load_resume(kernel *k, space *s);
/* A process has ended: there is room for another. */
void load_ended(kernel *k);

/* pagecache.c: files and shared memory */
vm_status file_new(kernel *k, const char *name, bool memory, file **out, vm_error *e);
file *file_find(const kernel *k, const char *name);
void file_get(file *f);
void file_put(kernel *k, file *f); /* the last one to let go of a file without a name ends it */
void file_unlink(kernel *k, file *f);
vm_status file_truncate(kernel *k, file *f, uint64_t size, vm_error *e);
/* Bytes as programs see them, from outside of the machine: nothing is counted. */
void file_read(kernel *k, const file *f, uint64_t offset, void *to, size_t n);
vm_status file_write(kernel *k, file *f, uint64_t offset, const void *from, size_t n, vm_error *e);
/* The number that a block of a file has on the disk, behind the swap area. */
VM_INLINE uint64_t file_block(const kernel *k, uint32_t block)
{
    return k->swap.slots.count + block;
}
/* Write dirty pages of the range back; shared memory has no such place, and stays. */
vm_status file_sync(kernel *k, file *f, uint64_t first, uint64_t pages, vm_error *e);
uint64_t file_dirty(kernel *k, const file *f); /* pages */
/* The frame of a page, brought in if it must; *major: the disk was read. VM_REFUSED with
 * EIO: it can't be read. VM_FAULT: no memory. */
vm_status file_frame(kernel *k, file *f, uint64_t index, uint64_t *ppn, bool *major, vm_error *e);
/* The page will be written: it needs a block. VM_REFUSED with ENOSPC. */
vm_status file_make_room(kernel *k, file *f, uint64_t index, vm_error *e);
/* Read so many pages that nobody missed yet into free frames, in the request of the disk
 * that has begun. */
void file_readahead(kernel *k, file *f, uint64_t first, uint64_t pages);
/* The page leaves memory; it was written back if it had to be. */
void file_drop_frame(kernel *k, file *f, uint64_t index);

/* tables.c */
/* Release the page or swap slot behind a PTE and clear it. */
void kernel_release(kernel *k, space *s, uint64_t va, const pt_place *at);
/* The same for all of a range. */
void kernel_release_range(kernel *k, space *s, uint64_t start, uint64_t stop);
/* Goes over the entries of a range that are not zero:
 *     for (entry_walk w = entries_of(k, s, start, stop); entries_next(&w);)
 * Entries may change in the meantime; the tables that hold them must stay. */
typedef struct entry_walk {
    const kernel *k;
    const space *s;
    uint64_t va;   /* the first address that the entry maps, or where the range begins in it */
    pt_place at;   /* the entry */
    uint64_t next; /* where to look for another */
    uint64_t stop;
    uint64_t leaf; /* entries up to here follow in the leaf table of `at` */
} entry_walk;
VM_INLINE entry_walk entries_of(const kernel *k, const space *s, uint64_t start, uint64_t stop)
{
    return (entry_walk){.k = k, .s = s, .next = start, .stop = stop};
}
bool entries_next(entry_walk *w);
/* Go over the last entry's addresses once more: there is a table now. */
VM_INLINE void entries_again(entry_walk *w)
{
    w->next = w->va;
    w->leaf = 0;
}
/* Where the PTE of va at `level` is; tables on the way are made. */
vm_status kernel_make_tables(kernel *k, space *s, uint64_t va, unsigned level, uint64_t *pte_pa,
                             vm_error *e);
void kernel_free_tables(kernel *k, space *s);
/* Free the empty tables below the entry at pte_pa of this level, which a large page
 * is to take. */
void kernel_drop_tables(kernel *k, space *s, uint64_t va, unsigned level, uint64_t pte_pa);
/* Fill the child's tables as fork does; it has its areas. */
vm_status kernel_copy_tables(kernel *k, space *from, space *to, vm_error *e);

/* reclaim.c */
policy_bits reclaim_bits(kernel *k); /* A and D bits, as the policy asks for them */
/* n free frames, taken for `use` with contents zero; evicts if it must. VM_FAULT:
 * neither memory nor swap is left. */
vm_status reclaim_take(kernel *k, space *s, uint64_t n, uint64_t align, frame_use use,
                       uint64_t *ppn, vm_error *e);
/* These frames, which are free, for a use of the space's (or, NULL, nobody's). */
vm_status reclaim_take_at(kernel *k, const space *s, uint64_t at, uint64_t n, frame_use use,
                          vm_error *e);
/* Evict pages until one more of the space (or, NULL, of a file) fits all limits. */
vm_status reclaim_make_room(kernel *k, space *s, vm_error *e);
/* Evict all pages that the space alone has, as far as they can go: how many went. A
 * policy's failure ends it, in *e. */
uint64_t reclaim_swap_space(kernel *k, space *s, vm_error *e);
/* One frame for read-ahead, if one is free and none is short. */
bool reclaim_take_idle(kernel *k, frame_use use, uint64_t *ppn);

/* writeback.c */
/* Does the page differ from its place on the disk? */
bool writeback_is_dirty(kernel *k, uint32_t ppn);
/* Write a page of private or shared memory to its slot; it gets one where it has none.
 * VM_FAULT: none is free; VM_REFUSED with EIO. */
vm_status writeback_slot(kernel *k, uint64_t ppn, uint32_t *slot, vm_error *e);
/* Write one page of a file back if it is dirty, in the request of the disk that has
 * begun: VM_REFUSED with EIO. */
vm_status writeback_file(kernel *k, uint64_t ppn, vm_error *e);
/* The victim was written to this block of the disk: its dirty neighbours go behind it. */
void writeback_cluster(kernel *k, frame *victim, uint64_t block);

/* page.c: who holds a page */
/* A policy gets to know a page that came to this frame, which is filled in: that of the
 * space which brought it in, or (NULL) the kernel's. */
void page_enter(kernel *k, space *s, uint64_t ppn, uint64_t key);
/* The policy that rules over the frame. */
VM_INLINE policy *page_policy(const kernel *k, const frame *r)
{
    return r->owner ? k->spaces[r->owner]->pol : k->pol;
}
/* The PTE at pte_pa maps the frame from now on; the reverse map has room. */
void page_map(kernel *k, space *s, const area *a, uint64_t va, uint64_t pte_pa, uint64_t ppn,
              unsigned prot);
/* The PTE at pte_pa, of this value, maps the frame no longer; the page goes if
 * nobody holds it. The PTE itself is the caller's. */
void page_unmap(kernel *k, space *s, uint64_t va, uint64_t pte_pa, uint64_t pte);
/* The same for one frame of those that the PTE maps, when its translation is gone. */
void page_leave(kernel *k, space *s, uint64_t pte_pa, uint64_t pte, uint64_t ppn);
/* The PTE of this value no longer maps the page: what it knew of its use stays. */
VM_INLINE void page_keep_bits(const kernel *k, frame *r, uint64_t pte)
{
    const pte_format *f = k->hw->g.format;
    r->dirty |= (pte & f->dirty) != 0;
    r->referenced |= (pte & f->accessed) != 0;
}
/* Host memory behind n bytes of DRAM, so that writing there can't fail. */
bool page_commit(kernel *k, uint64_t pa, uint64_t n);
/* Frames that were taken for a page which did not come are given back, zeros again. */
void page_give_back(kernel *k, uint64_t ppn, uint64_t n);
/* A frame leaves memory with what is in it. */
void page_free(kernel *k, uint64_t ppn);
/* A slot lost a user. */
void page_drop_slot(kernel *k, uint32_t slot);
/* The frame no longer stands for its slot. */
void page_forget_slot(kernel *k, frame *r);
/* PTEs that map the private page or name its slot: one of them alone may write. */
uint64_t page_holders(kernel *k, frame *r);
/* What a PTE of the area that maps the frame may allow, if the page has `holders`. */
unsigned page_prot(const area *a, const frame *r, uint64_t holders);
/* One more mapping of the page is locked in memory, or one fewer. */
void page_lock(kernel *k, uint64_t ppn);
void page_unlock(kernel *k, uint64_t ppn);

/* Who is charged for the page: the owner of the space that maps it, or nobody (NULL). */
VM_INLINE process_counters *page_charge(const kernel *k, const frame *r)
{
    return r->mapped ? &SPACE_OWNER(k, k->spaces[r->first.space])->n : NULL;
}
#define PAGE_COUNT(k, who, field)                                                                  \
    do {                                                                                           \
        (k)->n.field++;                                                                            \
        if (who)                                                                                   \
            (who)->field++;                                                                        \
    } while (0)
/* An event of the page in the frame, where it is mapped. */
void page_emit(kernel *k, event_type type, const frame *r, uint64_t a, uint64_t b);
/* A policy gets to know the frame, or forgets it, if it is one to be ruled. */
void page_set_ruled(kernel *k, uint64_t ppn, bool ruled);

/* huge.c: transparent large pages, of level 1 */
uint64_t huge_pages(const kernel *k); /* base pages of one */
uint64_t huge_bytes(const kernel *k);
/* Is va in one? Its entry. */
bool huge_at(const kernel *k, const space *s, uint64_t va, pt_place *at);
/* Does the entry of a transparent large page map the frame? */
bool huge_maps(const kernel *k, frame *r);
/* How many frames the entry maps that have records of their own: 1 of hugetlb. */
uint64_t huge_span(const kernel *k, const pt_place *at);
/* What the entry may allow, by all frames that it maps. */
unsigned huge_prot(kernel *k, const area *a, const pt_place *at);
/* Into base pages: it can't fail. */
void huge_split(kernel *k, space *s, uint64_t va, const pt_place *at);
/* Split the one that has a border at va in it; those of a range; those with the frame. */
void huge_cut(kernel *k, space *s, uint64_t va);
void huge_split_range(kernel *k, space *s, uint64_t start, uint64_t stop);
void huge_split_frame(kernel *k, frame *r);
/* Its pages go, the entry at pte_pa was of this value. */
void huge_unmap(kernel *k, space *s, uint64_t pte_pa, uint64_t pte);
/* The A bit of the entry is cleared for the sake of one frame: the others keep it. */
void huge_spread_reference(kernel *k, uint64_t pte, uint64_t but);
/* The child gets the parent's at va; *again: there is none any more. */
vm_status huge_copy(kernel *k, space *from, space *to, const area *a, uint64_t va, bool *again,
                    vm_error *e);
/* Serve a fault on nothing with one: false, it can't be. */
bool huge_fault(kernel *k, process *p, const area *a, uint64_t va, uint64_t pte_pa, bool write);
/* Make large pages of base pages: looks at so many of them (0: all) from where it was
 * last; how many were made. */
uint64_t huge_promote(kernel *k, uint64_t pages);
void huge_background(kernel *k); /* the same now and then, at faults */

/* compact.c */
/* A page moves to a frame that was taken for it, its DRAM committed. */
void page_move(kernel *k, uint64_t from, uint64_t to);
/* Move pages until a block of 2^order frames is free. */
bool compact_block(kernel *k, unsigned order);
/* Move all that can be to the lowest frames: how many were. */
uint64_t compact_all(kernel *k);

/* An event of the process and of the machine */
#define KERNEL_COUNT(k, p, field) ((k)->n.field++, (p)->n.field++)

VM_INLINE uint64_t kernel_page(const kernel *k) { return UINT64_C(1) << k->hw->g.page_bits; }
/* Frames that a page table of the level takes. */
VM_INLINE uint64_t kernel_table_frames(const kernel *k, unsigned level)
{
    const pt_geometry *g = &k->hw->g;
    return align_up(pt_table_bytes(g, level), kernel_page(k)) >> g->page_bits;
}
VM_INLINE uint64_t kernel_vpn(const kernel *k, uint64_t va)
{
    return (va & low_mask(k->hw->g.va_bits)) >> k->hw->g.page_bits;
}
/* Tell of an event; the arguments are as its row in events.h says. */
VM_INLINE void kernel_emit(kernel *k, event_type type, uint32_t pid, uint64_t addr, uint64_t a,
                           uint64_t b)
{
    if (events_want(&k->events, type))
        events_put(&k->events, type, pid, addr, a, b);
}

/* Anonymous pages are known by where they were first, those of files by their place. */
VM_INLINE uint64_t kernel_page_key(const space *s, uint64_t vpn)
{
    return (uint64_t)s->id << 45 | vpn;
}
VM_INLINE uint64_t kernel_file_key(const file *f, uint64_t index)
{
    return UINT64_C(1) << 63 | (uint64_t)f->id << 32 | index;
}
VM_INLINE bool kernel_is_file_key(uint64_t key) { return key >> 63; }
/* Where an area's page is in its file. */
VM_INLINE uint64_t area_index(const kernel *k, const area *a, uint64_t va)
{
    return (va - a->start + a->offset) >> k->hw->g.page_bits;
}
/* Do writes stay with the process, so that pages are shared only until then? */
VM_INLINE bool area_is_private(const area *a) { return !(a->flags & AREA_SHARED); }
/* The protection that the area's PTEs may have. What may be written may be read; and an
 * entry of the RISC-V format that lost W to copy on write, with neither left, would be a
 * pointer to a table. */
VM_INLINE unsigned area_pte_prot(const area *a)
{
    unsigned read = a->prot & PROT_W ? PROT_R : 0;
    return (a->prot & (PROT_R | PROT_W | PROT_X)) | read | PROT_USER;
}

#endif
