#include "options.h"
#include "hw/hardware.h"
#include "kernel/frame_alloc.h"

#include <stdio.h>

#define AT(field) offsetof(machine_options, field)
#define NAMES_MAX 64

const char *const option_kind_names[] = {"count", "bytes", "cycles", "bool",
                                         "name",  "list",  "policy"};

static const char *choose(const char *const *names, int count, int i)
{
    return i < count ? names[i] : NULL;
}
#define CHOICES(function, ...)                                                                     \
    static const char *function(int i)                                                             \
    {                                                                                              \
        static const char *const names[] = {__VA_ARGS__};                                          \
        return choose(names, (int)(sizeof names / sizeof *names), i);                              \
    }
CHOICES(names_write, "back", "through", "untracked")
CHOICES(names_straddle, "each", "once")
CHOICES(names_scope, "global", "local")
CHOICES(names_quota, "none", "ws", "pff")
CHOICES(names_huge, "never", "madvise", "always")
CHOICES(names_overcommit, "always", "heuristic", "strict")

static const char *names_frames(int i)
{
    return frame_alloc_classes[i] ? frame_alloc_classes[i]->name : NULL;
}
static const char *names_formats(int i) { return pte_formats[i] ? pte_formats[i]->name : NULL; }

/* The i-th policy of those that serve frames or sets. */
static const char *names_serving(unsigned what, int i)
{
    for (size_t k = 0; policy_classes[k]; k++)
        if ((policy_classes[k]->serves & what) && i-- == 0)
            return policy_classes[k]->name;
    return NULL;
}
static const char *names_frame_policies(int i) { return names_serving(POLICY_FRAMES, i); }
static const char *names_set_policies(int i) { return names_serving(POLICY_SETS, i); }

#define COUNT(n, f, v, lo, hi, d)                                                                  \
    {                                                                                              \
        n, OPTION_COUNT, AT(f), v, lo, hi, NULL, d                                                 \
    }
#define BYTES(n, f, v, lo, hi, d)                                                                  \
    {                                                                                              \
        n, OPTION_BYTES, AT(f), v, lo, hi, NULL, d                                                 \
    }
#define CYCLES(n, f, v, d)                                                                         \
    {                                                                                              \
        n, OPTION_CYCLES, AT(f), v, 0, INT64_C(1) << 40, NULL, d                                   \
    }
#define BOOL(n, f, v, d)                                                                           \
    {                                                                                              \
        n, OPTION_BOOL, AT(f), v, 0, 1, NULL, d                                                    \
    }
#define NAME(n, f, v, list, d)                                                                     \
    {                                                                                              \
        n, OPTION_NAME, AT(f), v, 0, NAMES_MAX, list, d                                            \
    }
#define POLICY(n, f, v, list, d)                                                                   \
    {                                                                                              \
        n, OPTION_POLICY, AT(f), v, 0, NAMES_MAX, list, d                                          \
    }

#define TLB(n, i, lat)                                                                             \
    COUNT("tlb." n ".entries", tlb[i].entries, 0, 0, 1 << 20, "entries; 0 leaves the level out"),  \
        COUNT("tlb." n ".ways", tlb[i].ways, 4, 1, 1 << 16,                                        \
              "ways of a set; as many as entries is fully associative"),                           \
        CYCLES("tlb." n ".latency", tlb[i].latency, lat, "of a lookup"),                           \
        POLICY("tlb." n ".policy", tlb[i].policy, 1, names_set_policies,                           \
               "which entry of a set goes")

#define CACHE(n, i, lat)                                                                           \
    BYTES("cache." n ".size", cache[i].size, 0, 0, INT64_C(1) << 32,                               \
          "of all lines; 0 leaves the level out"),                                                 \
        COUNT("cache." n ".ways", cache[i].ways, 8, 1, 1 << 16, "lines of a set"),                 \
        BYTES("cache." n ".line", cache[i].line, 64, 4, 1 << 16, "of a line"),                     \
        CYCLES("cache." n ".latency", cache[i].latency, lat, "of a lookup"),                       \
        POLICY("cache." n ".policy", cache[i].policy, 1, names_set_policies,                       \
               "which line of a set goes"),                                                        \
        NAME("cache." n ".write", cache[i].write, 0, names_write,                                  \
             "what a write does to the levels below"),                                             \
        BOOL("cache." n ".allocate", cache[i].allocate, 1, "a write that misses brings the line"), \
        BOOL("cache." n ".inclusive", cache[i].inclusive, 0,                                       \
             "holds every line of the levels above")

#define PWC(n, i)                                                                                  \
    COUNT("pwc." n ".entries", pwc[i].entries, 0, 0, 1 << 16,                                      \
          "paging-structure cache of this page-table level; 0 leaves it out"),                     \
        COUNT("pwc." n ".ways", pwc[i].ways, 4, 1, 1 << 16, "ways of a set")

const option_row option_rows[] = {
    BOOL("paging.enabled", paging, 1, "off: a virtual address is a physical one"),
    COUNT("paging.va_bits", va_bits, 48, 6, 57, "bits of a virtual address"),
    COUNT("paging.pa_bits", pa_bits, 52, 6, 52, "bits of a physical address that a PTE can name"),
    BYTES("paging.page", page, 4096, 16, 1 << 30, "of a base page"),
    {"paging.levels", OPTION_LIST, AT(levels_count), 4, 1, PT_LEVELS_MAX, NULL,
     "index bits of each page-table level, the root first"},
    NAME("paging.pte", pte, 2, names_formats, "format of page-table entries"),
    TLB("l1", OPT_L1, 0),
    TLB("l1i", OPT_L1I, 0),
    TLB("l1d", OPT_L1D, 0),
    TLB("l2", OPT_L2, 7),
    TLB("l3", OPT_L3, 20),
    COUNT("tlb.asid_bits", asid_bits, 12, 0, 16,
          "bits of an address-space identifier; 0: a switch flushes the TLBs"),
    PWC("l1", 1),
    PWC("l2", 2),
    PWC("l3", 3),
    PWC("l4", 4),
    CACHE("l1", OPT_L1, 4),
    CACHE("l1i", OPT_L1I, 4),
    CACHE("l1d", OPT_L1D, 4),
    CACHE("l2", OPT_L2, 10),
    CACHE("l3", OPT_L3, 40),
    CACHE("l4", OPT_L4, 60),
    COUNT("cpus", cpus, 1, 1, HW_CPUS,
          "processors, each with TLBs and all but the outermost level of caches of its own"),
    CYCLES("cache.transfer", transfer_cycles, 60,
           "of taking a line from the caches of another processor, or having it written back"),
    NAME("cache.straddle", straddle, 0, names_straddle,
         "an access over several lines: a reference each, or one that misses if any does"),
    BYTES("dram.size", dram_size, 64 << 20, 64, INT64_C(1) << 48, "of main memory"),
    CYCLES("dram.latency", dram_latency, 100, "of a line read"),
    BYTES("disk.size", disk_size, 1 << 30, 0, INT64_C(1) << 43,
          "of the disk's part for files; the swap area comes beside it"),
    CYCLES("disk.latency", disk_latency, 10000000, "of a page read or written"),
    CYCLES("disk.transfer", disk_transfer, 100000,
           "of a page that follows another in one request, in place of latency"),
    COUNT("disk.cluster", cluster, 1, 1, 1024,
          "neighbouring dirty pages written in one request at most; 1: each by itself"),
    COUNT("disk.bad_reads", bad_reads, 0, 0, INT64_C(1) << 40, "each n-th read fails; 0: none"),
    COUNT("disk.bad_writes", bad_writes, 0, 0, INT64_C(1) << 40, "each n-th write fails; 0: none"),
    COUNT("disk.readahead", readahead, 0, 0, 1024,
          "pages of a file read behind the one that faulted, while frames are free"),
    BYTES("swap", swap, 256 << 20, 0, INT64_C(1) << 43, "of the swap area"),
    COUNT("swap_readahead", swap_readahead, 0, 0, 1024,
          "swap slots read behind the one that faulted, while frames are free"),
    POLICY("policy", policy, 2, names_frame_policies, "which page loses its frame"),
    NAME("frames", frames, 0, names_frames, "how free frames are kept"),
    COUNT("resident", resident, 0, 0, INT64_C(1) << 32,
          "pages in frames at once, of all processes; 0: as many as fit"),
    COUNT("reclaim.low", reclaim_low, 0, 0, INT64_C(1) << 32,
          "free frames below which pages are evicted before somebody waits; 0: never"),
    COUNT("reclaim.high", reclaim_high, 0, 0, INT64_C(1) << 32, "free frames at which that ends"),
    NAME("reclaim.scope", reclaim_scope, 0, names_scope,
         "whose page goes: anybody's, or one of the process that needs a frame"),
    NAME("reclaim.quota", reclaim_quota, 0, names_quota,
         "with local scope, what a process may keep: all that fits, its working set, or "
         "what keeps its page-fault frequency"),
    COUNT("reclaim.window", reclaim_window, 10000, 1, INT64_C(1) << 40,
          "accesses: of the working set, between faults, or over which lifetime is looked at"),
    COUNT("reclaim.lifetime", lifetime, 0, 0, INT64_C(1) << 40,
          "load control: with fewer accesses from one page replacement to the next, a process "
          "is swapped out whole until there are twice as many; 0: never"),
    NAME("overcommit", overcommit, 0, names_overcommit,
         "what mmap may promise: all; no more at once than memory and swap; or, strict, "
         "in all no more than swap and a part of memory"),
    COUNT("overcommit_ratio", overcommit_ratio, 50, 0, 100,
          "percent of memory that strict adds to swap"),
    BOOL("zero_frame", zero_frame, 0, "reads of untouched memory share one frame of zeros"),
    NAME("huge", huge, 0, names_huge,
         "which private memory gets transparent huge pages: none, what madvise says, all"),
    COUNT("huge_min", huge_min, 0, 0, 1 << 24,
          "base pages in memory that make a range worth promoting; 0: all of it"),
    COUNT("huge_scan", huge_scan, 0, 0, INT64_C(1) << 32,
          "faults between two scans for ranges to promote; 0: none"),
    BOOL("compact", compact, 0, "move pages together when a block of frames is wanted"),
    BYTES("stack", stack, 8 << 20, 0, INT64_C(1) << 40, "that a growing stack may have"),
    BOOL("young_flush", young_flush, 1,
         "clearing a reference bit also drops the page's TLB entries, so that the next "
         "reference sets it again"),
    CYCLES("kernel.fault", fault_cycles, 1000, "of entering and leaving a page fault"),
    CYCLES("kernel.zero", zero_cycles, 500, "of clearing a page"),
    CYCLES("kernel.copy", copy_cycles, 1000,
           "of copying a page: to write to a shared one, to promote, to compact"),
    CYCLES("kernel.fork", fork_cycles, 10, "of copying one page-table entry"),
    CYCLES("kernel.call", call_cycles, 300, "of a system call"),
    CYCLES("kernel.interrupt", interrupt_cycles, 2000,
           "of interrupting another processor, so that it drops translations"),
    CYCLES("kernel.switch", switch_cycles, 2000, "of changing the address space"),
    BYTES("kernel.low", kernel_low, 1 << 20, 0, INT64_C(1) << 40,
          "of physical memory from 0 on, mapped by the kernel where memory has more and the "
          "format an upper part; 0: there is no kernel's part"),
    BOOL("boot", boot, 1, "paging is turned on as the machine is made; off: m:boot() does"),
    {"seed", OPTION_COUNT, AT(seed), 1, INT64_MIN, INT64_MAX, NULL, "of random policies"},
    BOOL("shortcuts", shortcuts, 1,
         "off: the plain path for every access, which counts the same more slowly"),
    BOOL("vectors", vectors, 1,
         "off: no vector instructions, as on processors that have none; counts the same"),
    {0},
};

static int64_t *option_at(machine_options *o, const option_row *r)
{
    return (int64_t *)(void *)((char *)o + r->offset);
}

int64_t option_get(const machine_options *o, const option_row *r)
{
    return *(const int64_t *)(const void *)((const char *)o + r->offset);
}

static policy_choice *option_policy_at(machine_options *o, const option_row *r)
{
    return (policy_choice *)(void *)((char *)o + r->offset);
}

const policy_choice *option_policy(const machine_options *o, const option_row *r)
{
    return (const policy_choice *)(const void *)((const char *)o + r->offset);
}

unsigned option_serves(const option_row *r)
{
    return r->choice == names_set_policies ? POLICY_SETS : POLICY_FRAMES;
}

void options_init(machine_options *o)
{
    static const int64_t levels[] = {9, 9, 9, 9};
    memset(o, 0, sizeof *o);
    for (const option_row *r = option_rows; r->name; r++)
        if (r->kind == OPTION_POLICY)
            *option_policy_at(o, r) =
                policy_default(policy_find(r->choice((int)r->value), option_serves(r)));
        else
            *option_at(o, r) = r->value;
    memcpy(o->levels, levels, sizeof levels);
}

const option_row *option_find(const char *name)
{
    for (const option_row *r = option_rows; r->name; r++)
        if (strcmp(r->name, name) == 0)
            return r;
    return NULL;
}

static vm_status option_wanted(const char *name, const option_row **r, vm_error *e)
{
    *r = option_find(name);
    return *r ? VM_OK : vm_fail(e, VM_INVALID, "there is no option %s", name);
}

vm_status options_set(machine_options *o, const char *name, int64_t value, vm_error *e)
{
    const option_row *r;
    vm_status s = option_wanted(name, &r, e);
    if (s != VM_OK)
        return s;
    if (r->kind == OPTION_NAME || r->kind == OPTION_LIST || r->kind == OPTION_POLICY)
        return vm_fail(e, VM_INVALID, "%s is a number, but takes a %s", name,
                       option_kind_names[r->kind]);
    if (value < r->min || value > r->max)
        return vm_fail(e, VM_INVALID, "%s is %lld, but takes %lld to %lld", name, (long long)value,
                       (long long)r->min, (long long)r->max);
    *option_at(o, r) = value;
    return VM_OK;
}

vm_status options_set_name(machine_options *o, const char *name, const char *value, vm_error *e)
{
    const option_row *r;
    vm_status s = option_wanted(name, &r, e);
    if (s != VM_OK)
        return s;
    if (r->kind == OPTION_POLICY) {
        vm_error why;
        s = policy_read(value, option_serves(r), option_policy_at(o, r), &why);
        if (s != VM_FORMAT) /* else there is no such policy: what is there is listed below */
            return s == VM_OK ? s : vm_fail(e, s, "%s: %.400s", name, why.text);
    } else if (r->kind != OPTION_NAME) {
        return vm_fail(e, VM_INVALID, "%s is \"%s\", but takes a number (%s)", name, value,
                       option_kind_names[r->kind]);
    }
    char list[400];
    size_t used = 0;
    list[0] = '\0';
    for (int i = 0; r->choice(i); i++) {
        if (r->kind == OPTION_NAME && strcmp(r->choice(i), value) == 0) {
            *option_at(o, r) = i;
            return VM_OK;
        }
        int n = snprintf(list + used, sizeof list - used, "%s%s", i ? ", " : "", r->choice(i));
        used += n > 0 && used + (size_t)n < sizeof list ? (size_t)n : 0;
    }
    return vm_fail(e, VM_INVALID, "%s is \"%s\", but takes one of: %s", name, value, list);
}

vm_status options_set_policy(machine_options *o, const char *name, const policy_choice *what,
                             vm_error *e)
{
    const option_row *r;
    vm_status s = option_wanted(name, &r, e);
    if (s != VM_OK)
        return s;
    if (r->kind != OPTION_POLICY)
        return vm_fail(e, VM_INVALID, "%s is a policy, but takes a %s", name,
                       option_kind_names[r->kind]);
    *option_policy_at(o, r) = *what;
    return VM_OK;
}

vm_status options_set_list(machine_options *o, const char *name, const int64_t *values, size_t n,
                           vm_error *e)
{
    const option_row *r;
    vm_status s = option_wanted(name, &r, e);
    if (s != VM_OK)
        return s;
    if (r->kind != OPTION_LIST)
        return vm_fail(e, VM_INVALID, "%s is a list, but takes a %s", name,
                       option_kind_names[r->kind]);
    if (n < 1 || n > PT_LEVELS_MAX)
        return vm_fail(e, VM_INVALID, "%s has %zu items, but takes 1 to %d", name, n,
                       PT_LEVELS_MAX);
    for (size_t i = 0; i < n; i++)
        if (values[i] < 1 || values[i] > 24)
            return vm_fail(e, VM_INVALID, "%s: item %zu is %lld, but takes 1 to 24", name, i + 1,
                           (long long)values[i]);
    o->levels_count = (int64_t)n;
    memcpy(o->levels, values, n * sizeof *values);
    return VM_OK;
}
