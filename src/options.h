/* options.h: what a machine can be told: one row an option, from which the
 * checks, the messages, Lua's option tables and the reference are derived.
 *
 * Values are integers: counts, bytes, cycles, 0 or 1, an index into a list of
 * names, or (paging.levels) a short list; or a policy with its parameters. Setting
 * one checks its range; that they fit together, machine_new checks.
 */
#ifndef VM_OPTIONS_H
#define VM_OPTIONS_H

#include "hw/hardware.h"

typedef enum option_kind {
    OPTION_COUNT,
    OPTION_BYTES,
    OPTION_CYCLES,
    OPTION_BOOL,
    OPTION_NAME,
    OPTION_LIST,
    OPTION_POLICY, /* its choices are the policies that serve frames, or sets */
} option_kind;

typedef struct option_row {
    const char *name; /* dotted: "cache.l1d.size" */
    option_kind kind;
    size_t offset;                /* in machine_options; an int64_t or a policy_choice */
    int64_t value, min, max;      /* the default and its bounds */
    const char *(*choice)(int i); /* OPTION_NAME, _POLICY: the i-th name, NULL behind the last */
    const char *doc;
} option_row;

typedef struct tlb_options {
    int64_t entries, ways, latency;
    policy_choice policy;
} tlb_options;

typedef struct cache_options {
    int64_t size, ways, line, latency, write, allocate, inclusive;
    policy_choice policy;
} cache_options;

typedef struct pwc_options {
    int64_t entries, ways;
} pwc_options;

enum { OPT_L1, OPT_L1I, OPT_L1D, OPT_L2, OPT_L3, OPT_L4, OPT_LEVELS };

typedef struct machine_options {
    int64_t paging, va_bits, pa_bits, page, pte;
    int64_t levels_count, levels[PT_LEVELS_MAX]; /* index bits, the root first */
    tlb_options tlb[OPT_LEVELS];                 /* l4 is not used */
    int64_t asid_bits;
    pwc_options pwc[PT_LEVELS_MAX]; /* by page-table level, from 1 */
    cache_options cache[OPT_LEVELS];
    int64_t cpus, straddle, transfer_cycles;
    int64_t dram_size, dram_latency;
    int64_t disk_size, disk_latency, disk_transfer, cluster, bad_reads, bad_writes, swap,
        swap_readahead, readahead;
    policy_choice policy;
    int64_t frames, resident, reclaim_low, reclaim_high, young_flush;
    int64_t reclaim_scope, reclaim_quota, reclaim_window, lifetime;
    int64_t overcommit, overcommit_ratio, zero_frame, stack;
    int64_t huge, huge_min, huge_scan, compact;
    int64_t fault_cycles, zero_cycles, copy_cycles, fork_cycles, call_cycles, switch_cycles;
    int64_t interrupt_cycles;
    int64_t boot, kernel_low, seed, shortcuts, vectors;
} machine_options;

extern const option_row option_rows[]; /* ended by a row without a name */
extern const char *const option_kind_names[];

void options_init(machine_options *o);
const option_row *option_find(const char *name);
/* The row's value, from a number, a name or policy, or a list of numbers. */
vm_status options_set(machine_options *o, const char *name, int64_t value, vm_error *e);
vm_status options_set_name(machine_options *o, const char *name, const char *value, vm_error *e);
vm_status options_set_policy(machine_options *o, const char *name, const policy_choice *what,
                             vm_error *e);
vm_status options_set_list(machine_options *o, const char *name, const int64_t *values, size_t n,
                           vm_error *e);
int64_t option_get(const machine_options *o, const option_row *r);
const policy_choice *option_policy(const machine_options *o, const option_row *r);
/* POLICY_FRAMES or POLICY_SETS: which policies an OPTION_POLICY takes. */
unsigned option_serves(const option_row *r);

/* presets.c: an option as a text, "dram.size=64MiB"; "dram" is short for
 * "dram.size", and "preset=NAME" sets all that the preset names. */
vm_status options_set_text(machine_options *o, const char *text, vm_error *e);
vm_status options_preset(machine_options *o, const char *name, vm_error *e);

typedef struct preset_row {
    const char *name, *doc;
    const char *const *options; /* texts, NULL behind the last */
} preset_row;

extern const preset_row preset_rows[]; /* by name; ended by a row without a name */

#endif
