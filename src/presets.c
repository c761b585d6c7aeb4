/* presets.c: options as texts, "name=value", and the machines to begin with.
 *
 * A preset is a row: its name, one line of doc, and a list of such texts. Lua's
 * table of presets is made from these rows, and so are vmem.h's machines.
 */
#include <errno.h>
#include <stdlib.h>

#include "options.h"

/* --- texts -------------------------------------------------------------------- */

#define PRESET_NAME_MAX 64 /* bytes of an option's name or value, the 0 included */

/* A number and a unit in powers of 1024: "64", "4KiB", "1.5 MiB", "32k". */
static bool preset_bytes(const char *s, int64_t *out)
{
    static const char units[] = "kmgt";
    char *end;
    if (*s < '0' || *s > '9')
        return false;
    errno = 0;
    int64_t whole = strtoll(s, &end, 10);
    double x = (double)whole, scale = 1;
    bool exact = *end != '.' && errno == 0;
    if (!exact) {
        for (const char *d = s; d < end || *d == '.' || (*d >= '0' && *d <= '9'); d++)
            if (*d != '.' && (*d < '0' || *d > '9'))
                return false;
        x = strtod(s, &end);
    }
    end += strspn(end, " \t");
    const char *unit = *end ? strchr(units, *end | 0x20) : NULL;
    if (unit) {
        for (const char *u = units; u <= unit; u++)
            scale *= 1024;
        end++;
        end += *end == 'i' && (end[1] | 0x20) == 'b';
    }
    end += (*end | 0x20) == 'b';
    end += strspn(end, " \t");
    if (*end || x * scale >= 0x1p62)
        return false;
    *out = exact ? whole * (int64_t)scale : (int64_t)(x * scale);
    return exact || (double)*out == x * scale;
}

static bool preset_number(const char *s, int64_t *out)
{
    char *end;
    errno = 0;
    *out = strtoll(s, &end, 0);
    return end != s && *end == '\0' && errno == 0;
}

static bool preset_bool(const char *s, int64_t *out)
{
    *out = strcmp(s, "true") == 0;
    return *out || strcmp(s, "false") == 0;
}

/* "9,9,9" */
static vm_status preset_list(machine_options *o, const char *name, const char *s, vm_error *e)
{
    int64_t list[PT_LEVELS_MAX + 1]; /* one too many is enough to be refused */
    size_t n = 0;
    char *end = NULL;
    for (; n <= PT_LEVELS_MAX; s = end + 1) {
        list[n++] = strtoll(s, &end, 10);
        if (end == s || (*end && *end != ','))
            return vm_fail(e, VM_INVALID, "%s takes whole numbers with commas between", name);
        if (!*end)
            break;
    }
    return options_set_list(o, name, list, n, e);
}

vm_status options_set_text(machine_options *o, const char *text, vm_error *e)
{
    /* By kind: how a text becomes a number; NULL: not one number. */
    static const struct {
        bool (*read)(const char *s, int64_t *out);
        const char *takes;
    } kinds[] = {
        [OPTION_COUNT] = {preset_number, "a whole number"},
        [OPTION_BYTES] = {preset_bytes, "bytes, as in 4096 or 64MiB"},
        [OPTION_CYCLES] = {preset_number, "a whole number of cycles"},
        [OPTION_BOOL] = {preset_bool, "true or false"},
        [OPTION_NAME] = {NULL, NULL},
        [OPTION_LIST] = {NULL, NULL},
        [OPTION_POLICY] = {NULL, NULL},
    };
    const char *value = strchr(text, '=');
    if (!value)
        return vm_fail(e, VM_INVALID, "\"%.80s\" is no option: name=value is expected", text);
    size_t n = (size_t)(value++ - text);
    char name[PRESET_NAME_MAX];
    if (n >= sizeof name)
        return vm_fail(e, VM_INVALID, "there is no option %.80s", text);
    memcpy(name, text, n);
    name[n] = '\0';
    if (strcmp(name, "preset") == 0)
        return options_preset(o, value, e);
    const option_row *r = option_find(strcmp(name, "dram") == 0 ? "dram.size" : name);
    if (!r)
        return vm_fail(e, VM_INVALID, "there is no option %s", name);
    if (r->kind == OPTION_NAME || r->kind == OPTION_POLICY)
        return options_set_name(o, r->name, value, e);
    if (r->kind == OPTION_LIST)
        return preset_list(o, r->name, value, e);
    int64_t x;
    if (!kinds[r->kind].read(value, &x))
        return vm_fail(e, VM_INVALID, "%s is \"%.80s\", but takes %s", r->name, value,
                       kinds[r->kind].takes);
    return options_set(o, r->name, x, e);
}

/* --- presets ------------------------------------------------------------------- */

/* CS:APP 9.6.4: 14-bit virtual and 12-bit physical addresses, 64-byte pages, a
 * TLB of 16 entries in 4 sets, 16 cache lines of 4 bytes, direct mapped. The
 * kernel keeps its page tables behind the 4 KiB that the book's PTEs can name. */
static const char *const preset_csapp[] = {
    "paging.va_bits=14", "paging.pa_bits=12", "paging.page=64",  "paging.levels=8",
    "paging.pte=plain",  "tlb.l1.entries=16", "tlb.l1.ways=4",   "tlb.asid_bits=8",
    "cache.l1.size=64",  "cache.l1.ways=1",   "cache.l1.line=4", "cache.l1.latency=4",
    "dram.size=8KiB",    "dram.latency=100",  "swap=16KiB",      NULL};

/* CS:APP 9.7; latencies as in CS:APP 6. */
static const char *const preset_core_i7[] = {"paging.va_bits=48",
                                             "paging.pa_bits=52",
                                             "paging.page=4KiB",
                                             "paging.levels=9,9,9,9",
                                             "paging.pte=x86-64",
                                             "tlb.l1i.entries=128",
                                             "tlb.l1i.ways=4",
                                             "tlb.l1d.entries=64",
                                             "tlb.l1d.ways=4",
                                             "tlb.l2.entries=512",
                                             "tlb.l2.ways=4",
                                             "tlb.l2.latency=7",
                                             "cache.l1i.size=32KiB",
                                             "cache.l1i.ways=8",
                                             "cache.l1i.latency=4",
                                             "cache.l1d.size=32KiB",
                                             "cache.l1d.ways=8",
                                             "cache.l1d.latency=4",
                                             "cache.l2.size=256KiB",
                                             "cache.l2.ways=8",
                                             "cache.l2.latency=10",
                                             "cache.l3.size=8MiB",
                                             "cache.l3.ways=16",
                                             "cache.l3.latency=50",
                                             "dram.size=64MiB",
                                             "dram.latency=200",
                                             "swap=1GiB",
                                             NULL};

static const char *const preset_x86_32[] = {"paging.va_bits=32",    "paging.pa_bits=32",
                                            "paging.page=4KiB",     "paging.levels=10,10",
                                            "paging.pte=x86-32",    "tlb.l1i.entries=32",
                                            "tlb.l1i.ways=4",       "tlb.l1d.entries=64",
                                            "tlb.l1d.ways=4",       "tlb.asid_bits=0",
                                            "cache.l1i.size=16KiB", "cache.l1i.ways=4",
                                            "cache.l1i.line=32",    "cache.l1i.latency=3",
                                            "cache.l1d.size=16KiB", "cache.l1d.ways=4",
                                            "cache.l1d.line=32",    "cache.l1d.latency=3",
                                            "cache.l2.size=512KiB", "cache.l2.ways=4",
                                            "cache.l2.line=32",     "cache.l2.latency=14",
                                            "dram.size=64MiB",      "dram.latency=100",
                                            "swap=256MiB",          NULL};

/* What the RISC-V machines share. */
#define PRESET_RISCV                                                                               \
    "paging.pa_bits=52", "paging.page=4KiB", "paging.pte=riscv", "tlb.l1i.entries=32",             \
        "tlb.l1i.ways=32", "tlb.l1d.entries=32", "tlb.l1d.ways=32", "tlb.l2.entries=512",          \
        "tlb.l2.ways=4", "tlb.l2.latency=6", "tlb.asid_bits=16", "cache.l1i.size=32KiB",           \
        "cache.l1i.ways=4", "cache.l1i.latency=3", "cache.l1d.size=32KiB", "cache.l1d.ways=8",     \
        "cache.l1d.latency=3", "cache.l2.size=2MiB", "cache.l2.ways=16", "cache.l2.latency=20",    \
        "dram.size=64MiB", "dram.latency=150", "swap=1GiB", NULL

static const char *const preset_sv39[] = {"paging.va_bits=39", "paging.levels=9,9,9", PRESET_RISCV};
static const char *const preset_sv48[] = {"paging.va_bits=48", "paging.levels=9,9,9,9",
                                          PRESET_RISCV};

const preset_row preset_rows[] = {
    {"core-i7", "the Core i7 of CS:APP 9.7", preset_core_i7},
    {"csapp", "the small memory system of CS:APP 9.6.4", preset_csapp},
    {"sv39", "an application core of the RISC-V kind, three levels", preset_sv39},
    {"sv48", "the same with four levels", preset_sv48},
    {"x86-32", "a Pentium-like machine: two levels, split TLBs, two cache levels", preset_x86_32},
    {0},
};

vm_status options_preset(machine_options *o, const char *name, vm_error *e)
{
    const preset_row *r = preset_rows;
    while (r->name && strcmp(r->name, name) != 0)
        r++;
    if (!r->name)
        return vm_fail(e, VM_INVALID, "there is no preset %.80s", name);
    vm_status s = VM_OK;
    for (size_t i = 0; s == VM_OK && r->options[i]; i++)
        s = options_set_text(o, r->options[i], e);
    return s;
}
