/* machine.h: the whole machine: hardware, kernel, and the loop of an access.
 *
 * This is where accesses come in: one at a time (machine_access), as bytes that
 * move (machine_read, machine_write), or as a run of trace records
 * (machine_run). An access that crosses a page or a line is split here.
 *
 * Time is not stored: every cycle belongs to a counted event, so the clock is
 * the sum of counters times latencies (machine_cycles), exact at any moment.
 *
 * Two speeds, one truth: with `shortcuts` the loop of machine_run answers hits
 * on the most recent entries of the L1 TLB and the L1 cache in line; every
 * counter, order and cycle is as on the plain path.
 */
#ifndef VM_MACHINE_H
#define VM_MACHINE_H

#include "kernel/kernel.h"
#include "options.h"

#define MACHINE_COUNTERS(X)                                                                        \
    X(fetches, "fetches", "accesses", "instruction fetches")                                       \
    X(loads, "loads", "accesses", "loads, those of a modify included")                             \
    X(stores, "stores", "accesses", "stores, those of a modify included")                          \
    X(modifies, "modifies", "accesses", "accesses that were a load and a store in one")            \
    X(page_straddles, "page_straddles", "accesses", "accesses over two pages or more")             \
    X(line_straddles, "line_straddles", "accesses", "accesses over two lines or more of L1")

typedef struct machine_counters {
#define X(field, name, unit, doc) uint64_t field;
    MACHINE_COUNTERS(X)
#undef X
} machine_counters;

/* The clock by cause; the parts add up to `total`. */
#define MACHINE_CYCLES(X)                                                                          \
    X(fetch, "fetch", "cycles", "caches and DRAM for instruction fetches")                         \
    X(data, "data", "cycles", "caches and DRAM for loads and stores")                              \
    X(tlb, "tlb", "cycles", "lookups in TLBs")                                                     \
    X(walk, "walk", "cycles", "caches and DRAM for page-table walks")                              \
    X(kernel, "kernel", "cycles", "page faults, cleared pages, changes of the address space")      \
    X(disk, "disk", "cycles", "pages read from and written to the disk")

typedef struct machine_time {
#define X(field, name, unit, doc) uint64_t field;
    MACHINE_CYCLES(X)
#undef X
    uint64_t total;
} machine_time;

/* What the shortest way of a load or store needs: see machine_front.h. */
#define WINDOW_PAGES 256
typedef struct window_page {
    uint64_t vpn, opened; /* good while `opened` is the window's */
    uint8_t *bytes;       /* on the host */
    uint32_t line;        /* the page's first */
    uint32_t write;       /* 1: a store needs no walk */
} window_page;

typedef struct machine_window {
    uint64_t opened; /* how often */
    unsigned page_bits, line_bits;
    uint32_t page_mask, in_page; /* of places in `pages`; of the offset in a page */
    uint32_t tag_mask, tag_shift;
    uint32_t *tags;      /* the first cache's; NULL: there is none */
    uint64_t *counts[2]; /* of loads, of stores: that the first cache, or memory, is asked */
    tlb *first, *second; /* second: NULL, or the last level of two */
    cache *cache;
    uint64_t limit; /* of addresses; 0: the window is closed */
    uint64_t asid_tag;
    bool apt;         /* constant: this machine has short ways */
    bool exact;       /* the policy of frames must be told */
    uint8_t zeros[8]; /* what loads find where nobody has written; never written itself */
    window_page pages[WINDOW_PAGES];
} machine_window;

typedef struct machine machine;

/* Asked when a process would die of SIGSEGV or SIGBUS: VM_OK, the cause is mended, serve
 * the fault again; VM_FAULT, it is not; other statuses end the access. */
typedef vm_status machine_mend(void *ud, machine *m, process *p, const fault_info *info,
                               vm_error *e);
/* Told of each fault that the MMU reported, and whether it was served. */
typedef void machine_fault_probe(void *ud, uint64_t va, access_kind kind, mmu_fault why,
                                 vm_status served);

struct machine {
    vm_host host;
    machine_options opt;
    hardware hw;
    kernel kernel;
    machine_counters n;
    uint32_t shortest_line; /* bytes of the shortest line of any cache */
    uint64_t clock_base;    /* cycles before the last reset of counters */
    machine_window window;
    vm_error error;     /* where policies of caches and TLBs leave theirs */
    machine_mend *mend; /* NULL, or who may mend (see above) */
    void *mend_ud;
    bool handlers; /* who mends may change translations: no shortcuts while it can */
    machine_fault_probe *fault_probe; /* NULL while nobody watches */
    void *fault_ud;
};

/* Errors: VM_INVALID names the options that do not fit together; VM_NOMEM. */
vm_status machine_new(const vm_host *host, const machine_options *opt, machine **out, vm_error *e);
void machine_delete(machine *m); /* m may be NULL */

/* One access of `size` bytes by the process: fetch, load, store or modify.
 * VM_FAULT: `info` says why it can't be served; the caller decides whether the
 * process ends. Other statuses: the access was not done, the machine is whole. */
vm_status machine_access(machine *m, process *p, uint64_t va, uint32_t size, access_kind kind,
                         fault_info *info, vm_error *e);
/* All of one access: machine_access with a piece of work for each part of the
 * range that lies in one page (NULL: none); false from it: host memory. */
typedef bool machine_piece(machine *m, void *ud, uint64_t pa, uint32_t n);
vm_status machine_one(machine *m, process *p, uint64_t va, uint64_t size, access_kind kind,
                      machine_piece *piece, void *ud, fault_info *info, vm_error *e);
/* Its parts: the address of va's byte, faults served; what policies left behind. */
vm_status machine_translate(machine *m, process *p, uint64_t va, access_kind kind, uint64_t *pa,
                            fault_info *info, vm_error *e);
vm_status machine_failed(machine *m, vm_error *e);
/* The policy of frames hears of a hit. */
void machine_touch(machine *m, uint64_t pa, access_kind kind);
/* Access and the bytes move. Numbers are little-endian. */
vm_status machine_read(machine *m, process *p, uint64_t va, void *to, size_t n, access_kind kind,
                       fault_info *info, vm_error *e);
vm_status machine_write(machine *m, process *p, uint64_t va, const void *from, size_t n,
                        fault_info *info, vm_error *e);
/* Run records while they are accesses of `task`; *done says how many were. Ends
 * early before a record of another task or an event, and at a fault for good,
 * which is that of record *done. */
vm_status machine_run(machine *m, process *p, uint16_t task, const access_record *r, size_t n,
                      size_t *done, fault_info *info, vm_error *e);

/* Where va's byte is now, without an access: no counter, bit or order changes.
 * False: not resident. */
bool machine_peek(const machine *m, const process *p, uint64_t va, uint64_t *pa);

void machine_time_now(const machine *m, machine_time *t);
uint64_t machine_clock(const machine *m);
void machine_reset_counters(machine *m);
const char *machine_check(machine *m);

/* Every counter: visit(ud, dotted name, unit, doc, value). */
typedef void stat_visitor(void *ud, const char *name, const char *unit, const char *doc,
                          uint64_t value);
void machine_visit_stats(const machine *m, stat_visitor *visit, void *ud);

/* State from small tables (figure 9.20 of CS:APP). All PTEs of the process's
 * table become unknown until given. */
vm_status machine_forget_ptes(machine *m, process *p, vm_error *e);
vm_status machine_set_pte(machine *m, process *p, uint64_t vpn, uint64_t ppn, unsigned prot,
                          bool present, vm_error *e);
vm_status machine_set_tlb(machine *m, process *p, unsigned level, uint64_t vpn, uint64_t ppn,
                          unsigned prot, vm_error *e);

#endif
