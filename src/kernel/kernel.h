/* kernel.h: the software half: processes, address spaces, areas, page faults,
 * swap and page replacement.
 *
 * Data flow of a fault: kernel_fault (fault.c) asks space_find_area (space.c)
 * and the permission, then takes a frame (reclaim.c), which may ask the policy
 * for a victim and write it to swap; then the PTE is set and the access is
 * tried again. Page tables are in simulated DRAM and nowhere else; what a
 * page's state is, its PTE says.
 *
 * Invariants, walked by kernel_check
 *   - a present PTE of a base page names a FRAME_USER (or pinned) frame whose
 *     record names that PTE back; no two PTEs name one frame;
 *   - a PTE with a swap slot names a used slot that nothing else names;
 *   - areas of a space are sorted, page-aligned, not empty, do not overlap;
 *   - no TLB entry disagrees with its PTE.
 */
#ifndef VM_KERNEL_H
#define VM_KERNEL_H

#include "events.h"
#include "frames.h"
#include "swap.h"
#include "../hw/hardware.h"

/* --- areas and spaces ---------------------------------------------------------- */

enum { AREA_GROWSDOWN = 1 };

#define AREA_NAME 32

/* vm_area_struct: one range, one protection, one backing (anonymous, for now). */
typedef struct area {
    uint64_t start, stop; /* bytes; stop is the first address behind it */
    uint8_t prot;         /* PROT_R | PROT_W | PROT_X */
    uint8_t flags;        /* AREA_ */
    uint8_t level;        /* of its pages: 0 base pages, 1 and up large ones */
    char name[AREA_NAME]; /* "heap", "stack", a file's name, or empty */
} area;

/* mm_struct */
typedef struct space {
    uint32_t id;      /* never 0; index in kernel.spaces */
    uint32_t users;   /* processes that share it */
    uint64_t root;    /* physical address of the root table; 0: none yet */
    uint64_t root_ok; /* 1 once the root is there (its address may be 0) */
    uint32_t asid;
    uint64_t asid_generation;
    area *areas;
    size_t area_count, area_cap;
    uint64_t brk_start, brk;            /* the heap: brk_start <= brk */
    uint64_t resident, swapped, tables; /* pages, pages, frames of page tables */
    uint32_t pid;                       /* of the process it was made for, as events have it */
} space;

#define PROCESS_COUNTERS(X)                                                                        \
    X(minor_faults, "minor_faults", "faults", "page faults served without the disk")               \
    X(major_faults, "major_faults", "faults", "page faults that read the disk")                    \
    X(zero_fills, "zero_fills", "pages", "demand-zero pages made")                                 \
    X(swap_ins, "swap_ins", "pages", "pages read back from swap")                                  \
    X(swap_outs, "swap_outs", "pages", "dirty pages written to swap when they were evicted")       \
    X(clean_drops, "clean_drops", "pages", "clean pages evicted without a write")                  \
    X(spurious_faults, "spurious_faults", "faults",                                                \
      "faults where the page table already allowed the access")                                    \
    X(evictions, "evictions", "pages", "pages that lost their frame")

typedef struct process_counters {
#define X(field, name, unit, doc) uint64_t field;
    PROCESS_COUNTERS(X)
#undef X
} process_counters;

typedef struct process {
    uint32_t pid; /* 1 and up; index in kernel.processes */
    space *space; /* NULL once it has ended */
    int exit_status;
    char name[AREA_NAME];
    process_counters n;
} process;

/* --- the kernel ------------------------------------------------------------------ */

typedef struct kernel_config {
    const policy_class *policy;
    uint64_t swap_slots;
    uint64_t resident_limit; /* pages of all processes in frames at once; 0: as fit */
    unsigned asid_bits;      /* 0: no ASIDs, a switch flushes */
    bool young_flush;        /* clearing A also drops the TLB entries */
    bool stamped;            /* references need no call: the policy reads bits, or stamps serve */
    uint64_t seed;
} kernel_config;

#define KERNEL_COUNTERS(X)                                                                         \
    PROCESS_COUNTERS(X)                                                                            \
    X(faults, "faults", "faults", "faults that reached the kernel")                                \
    X(switches, "switches", "switches", "changes of the address space that is running")            \
    X(asid_rollovers, "asid_rollovers", "flushes", "times that ASIDs ran out and all was flushed") \
    X(shootdowns, "shootdowns", "pages", "translations invalidated because a PTE changed")

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
    policy *pol;
    process **processes; /* by pid; [0] unused */
    size_t process_count, process_cap;
    space **spaces; /* by id; [0] unused */
    size_t space_count, space_cap;
    space *running;
    uint64_t asid_generation;
    uint32_t next_asid;
    uint64_t resident; /* pages in frames under the policy */
    kernel_counters n;
    event_log events;
} kernel;

/* Why a process can't go on: what a signal would carry. */
typedef struct fault_info {
    const char *signal; /* "SIGSEGV", "SIGBUS", "SIGKILL" */
    const char *code;   /* "MAPERR", "ACCERR", "OOM", ... */
    uint64_t addr;
    access_kind access;
    uint32_t pid;
} fault_info;

vm_status kernel_init(kernel *k, hardware *hw, const vm_host *host, const kernel_config *cfg,
                      vm_error *e);
void kernel_free(kernel *k);
const char *kernel_check(kernel *k);

/* process.c */
vm_status process_new(kernel *k, const char *name, process **out, vm_error *e);
/* A thread: shares the other's space. */
vm_status process_share(kernel *k, process *with, const char *name, process **out, vm_error *e);
/* End it: all its frames, tables and slots come back with the last user. */
void process_exit(kernel *k, process *p, int status);
/* Forget the program: all areas and pages go, the process stays. */
void process_clear(kernel *k, process *p);
process *process_find(const kernel *k, uint32_t pid); /* live or ended; NULL: never was */
/* Make the process's space the running one. */
void kernel_switch(kernel *k, process *p);

/* space.c: areas; addresses and lengths in bytes, page-aligned inside */
size_t space_find_index(const space *s, uint64_t va); /* of the first area that ends above va */
area *space_find_area(const space *s, uint64_t va);   /* NULL: none holds va */
uint64_t space_user_top(const kernel *k);             /* first address users can't have */
/* Place of `length` free bytes, top-down from below the stack; 0: none. */
uint64_t space_find_gap(const kernel *k, const space *s, uint64_t length, uint64_t align);
typedef struct map_request {
    uint64_t addr; /* where, if fixed; else a hint or 0 */
    uint64_t length;
    unsigned prot;
    bool fixed;    /* replaces what is there */
    uint8_t flags; /* AREA_ */
    uint8_t level; /* of its pages */
    const char *name;
} map_request;
/* errors: VM_REFUSED with EINVAL, ENOMEM; the address comes in *at */
vm_status space_map(kernel *k, space *s, const map_request *r, uint64_t *at, vm_error *e);
vm_status space_unmap(kernel *k, space *s, uint64_t addr, uint64_t length, vm_error *e);
vm_status space_protect(kernel *k, space *s, uint64_t addr, uint64_t length, unsigned prot,
                        vm_error *e);
/* Move an area's pages; the new range must be free or part of the old one. */
vm_status space_remap(kernel *k, space *s, uint64_t from, uint64_t old_length, uint64_t to,
                      uint64_t new_length, vm_error *e);
/* Set the break; the new one comes in *brk, unchanged on refusal, as Linux does. */
vm_status space_set_brk(kernel *k, space *s, uint64_t brk, vm_error *e);

/* fault.c */
/* Serve a fault: VM_OK means try again; VM_FAULT fills *info; else an error. */
vm_status kernel_fault(kernel *k, process *p, uint64_t va, access_kind kind, mmu_fault why,
                       fault_info *info, vm_error *e);
/* tables.c */
/* Release the page or swap slot behind a PTE and clear it. */
void kernel_release(kernel *k, space *s, uint64_t va, const pt_place *at);
/* The first address at or after va, below stop, whose PTE is not zero, or stop. */
uint64_t kernel_next_entry(const kernel *k, const space *s, uint64_t va, uint64_t stop,
                           pt_place *at);
/* Where the PTE of va at `level` is; tables on the way are made. */
vm_status kernel_make_tables(kernel *k, space *s, uint64_t va, unsigned level, uint64_t *pte_pa,
                             vm_error *e);
void kernel_free_tables(kernel *k, space *s);
/* Free the empty tables below the entry at pte_pa of this level, which a large page
 * is to take. */
void kernel_drop_tables(kernel *k, space *s, uint64_t va, unsigned level, uint64_t pte_pa);

/* reclaim.c */
policy_bits reclaim_bits(kernel *k); /* A and D bits, as the policy asks for them */
/* A free frame, taken for `use` with contents zero; evicts if it must. VM_FAULT:
 * neither memory nor swap is left. */
vm_status reclaim_take(kernel *k, uint64_t n, uint64_t align, frame_use use, uint64_t *ppn,
                       vm_error *e);
/* Evict pages until one more fits the limit of resident pages. */
vm_status reclaim_make_room(kernel *k, vm_error *e);

VM_INLINE uint64_t kernel_page(const kernel *k) { return UINT64_C(1) << k->hw->mmu.g.page_bits; }
/* Tell of an event; the arguments are as its row in events.h says. */
VM_INLINE void kernel_emit(kernel *k, event_type type, uint32_t pid, uint64_t addr, uint64_t a,
                           uint64_t b)
{
    if (events_want(&k->events, type))
        events_put(&k->events, type, pid, addr, a, b);
}
/* A PTE changed: no TLB may know the old one. */
VM_INLINE void kernel_invalidate(kernel *k, const space *s, uint64_t va)
{
    /* A space whose ASID is from before the last rollover has nothing cached, and
     * without ASIDs only the running one has. */
    if (s->asid_generation == k->asid_generation && (k->cfg.asid_bits || s == k->running))
        mmu_invalidate(&k->hw->mmu, va, s->asid);
    k->n.shootdowns++;
    kernel_emit(k, KEVENT_SHOOTDOWN, s->pid, va, 1, 0);
}

VM_INLINE uint64_t kernel_page_key(const space *s, uint64_t vpn)
{
    return (uint64_t)s->id << 48 | vpn;
}

#endif
