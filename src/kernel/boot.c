/* boot.c: paging is turned on: the kernel's tables are made in memory, the low
 * region is mapped where it is and in the upper part, the root is loaded, paging is
 * switched on while the code that does it runs, and the lower mapping goes. Every
 * write is noted, so that it can be read afterwards.
 *
 * The low region is mapped once: its tables hang in the root twice for as long as
 * both mappings are needed, which works since the base is the start of a root
 * entry's range. Large pages are used where the region has whole ones.
 *
 * The kernel of this machine is not a program in its memory, so no code moves; where
 * it would run from is the second page of memory.
 * Sources: Intel SDM vol. 3A, 4.1 to 4.5 and 9.8; RISC-V privileged specification,
 * 4.1.11 (satp) and 4.4; CS:APP 9.7.
 */
#include <errno.h>

#include "kernel.h"

#define BOOT_STACKS (1u << 16) /* places for stacks at most */

const char *const boot_step_names[BOOT_STEPS] = {
    [BOOT_OFF] = "off",
    [BOOT_ALONE] = "alone",
    [BOOT_DIRECTORY] = "directory",
    [BOOT_IDENTITY] = "identity",
    [BOOT_HIGH] = "high",
    [BOOT_SELF] = "self",
    [BOOT_NO_SELF] = "no_self",
    [BOOT_FEATURES] = "features",
    [BOOT_LOAD] = "load",
    [BOOT_ON] = "on",
    [BOOT_JUMP] = "jump",
    [BOOT_DROP] = "drop",
    [BOOT_FLUSH] = "flush",
};

const char *const boot_why_names[BOOT_WHYS] = {
    [BOOT_HAS_ONE] = "mapped",    [BOOT_NO_PAGING] = "no_paging", [BOOT_NO_LOW] = "no_low",
    [BOOT_NO_UPPER] = "no_upper", [BOOT_NO_DRAM] = "no_dram",     [BOOT_NO_FRAMES] = "no_frames",
};

const char *const boot_register_names[BOOT_REGISTERS] = {
    [BOOT_CR0] = "CR0",   [BOOT_CR3] = "CR3",   [BOOT_CR4] = "CR4",
    [BOOT_EFER] = "EFER", [BOOT_SATP] = "satp", [BOOT_EIP] = "EIP",
    [BOOT_RIP] = "RIP",   [BOOT_PC] = "pc",     [BOOT_PAGING] = "paging",
};

/* --- the log ----------------------------------------------------------------------- */

vm_status boot_note(kernel *k, boot_item item, vm_error *e)
{
    boot_state *b = &k->boot;
    void *list = b->log;
    bool room = host_grow(k->host, &list, &b->cap, b->count + 1, sizeof *b->log);
    b->log = list;
    if (!room)
        return vm_fail_nomem(e, "the log of the boot");
    b->log[b->count++] = item;
    return VM_OK;
}

static vm_status boot_begin(kernel *k, boot_step step, vm_error *e)
{
    return boot_note(k, (boot_item){.kind = BOOT_STEP, .number = (uint8_t)step}, e);
}

/* --- registers ----------------------------------------------------------------------- */

#define CR0_START UINT64_C(0x11) /* PE and ET: protected mode */
#define CR0_WP    UINT64_C(0x10000)
#define CR0_PG    UINT64_C(0x80000000)
#define CR4_PSE   UINT64_C(0x10)
#define CR4_PAE   UINT64_C(0x20)
#define CR4_PGE   UINT64_C(0x80)
#define CR4_LA57  UINT64_C(0x1000)
#define CR4_PCIDE UINT64_C(0x20000)
#define EFER_LME  UINT64_C(0x100)
#define EFER_LMA  UINT64_C(0x400)
#define EFER_NXE  UINT64_C(0x800)
#define SATP_MODE 60
#define SATP_SV   5 /* MODE is the number of levels and this: 8 is Sv39 */

/* What a row adds to its register */
typedef enum boot_add {
    ADD_NOTHING, /* the register as it is: shown, or written again */
    ADD_BITS,
    ADD_BITS_5,    /* bits, with five levels */
    ADD_BITS_ASID, /* bits, if spaces are told apart in TLBs */
    ADD_ROOT,      /* the root's address */
    ADD_SATP,      /* mode, ASID 0, the root's frame */
    ADD_BASE,      /* the distance to the kernel's part */
} boot_add;

typedef struct boot_change {
    uint8_t step, number, add;
    uint64_t bits;
} boot_change;

static const boot_change boot_x86_32[] = {{BOOT_OFF, BOOT_CR0, ADD_NOTHING, 0},
                                          {BOOT_OFF, BOOT_CR3, ADD_NOTHING, 0},
                                          {BOOT_OFF, BOOT_CR4, ADD_NOTHING, 0},
                                          {BOOT_OFF, BOOT_EIP, ADD_NOTHING, 0},
                                          {BOOT_FEATURES, BOOT_CR4, ADD_BITS, CR4_PSE},
                                          {BOOT_LOAD, BOOT_CR3, ADD_ROOT, 0},
                                          {BOOT_ON, BOOT_CR0, ADD_BITS, CR0_PG | CR0_WP},
                                          {BOOT_JUMP, BOOT_EIP, ADD_BASE, 0},
                                          {BOOT_FLUSH, BOOT_CR3, ADD_NOTHING, 0},
                                          {BOOT_FLUSH, BOOT_CR4, ADD_BITS, CR4_PGE},
                                          {BOOT_STEPS, 0, 0, 0}};

static const boot_change boot_x86_64[] = {{BOOT_OFF, BOOT_CR0, ADD_NOTHING, 0},
                                          {BOOT_OFF, BOOT_CR3, ADD_NOTHING, 0},
                                          {BOOT_OFF, BOOT_CR4, ADD_NOTHING, 0},
                                          {BOOT_OFF, BOOT_EFER, ADD_NOTHING, 0},
                                          {BOOT_OFF, BOOT_RIP, ADD_NOTHING, 0},
                                          {BOOT_FEATURES, BOOT_CR4, ADD_BITS, CR4_PAE},
                                          {BOOT_FEATURES, BOOT_CR4, ADD_BITS_5, CR4_LA57},
                                          {BOOT_FEATURES, BOOT_EFER, ADD_BITS, EFER_LME | EFER_NXE},
                                          {BOOT_LOAD, BOOT_CR3, ADD_ROOT, 0},
                                          {BOOT_ON, BOOT_CR0, ADD_BITS, CR0_PG | CR0_WP},
                                          {BOOT_ON, BOOT_EFER, ADD_BITS, EFER_LMA},
                                          {BOOT_JUMP, BOOT_RIP, ADD_BASE, 0},
                                          {BOOT_FLUSH, BOOT_CR3, ADD_NOTHING, 0},
                                          {BOOT_FLUSH, BOOT_CR4, ADD_BITS, CR4_PGE},
                                          {BOOT_FLUSH, BOOT_CR4, ADD_BITS_ASID, CR4_PCIDE},
                                          {BOOT_STEPS, 0, 0, 0}};

static const boot_change boot_riscv[] = {{BOOT_OFF, BOOT_SATP, ADD_NOTHING, 0},
                                         {BOOT_OFF, BOOT_PC, ADD_NOTHING, 0},
                                         {BOOT_ON, BOOT_SATP, ADD_SATP, 0},
                                         {BOOT_JUMP, BOOT_PC, ADD_BASE, 0},
                                         {BOOT_STEPS, 0, 0, 0}};

static const boot_change boot_plain[] = {{BOOT_OFF, BOOT_PAGING, ADD_NOTHING, 0},
                                         {BOOT_ON, BOOT_PAGING, ADD_BITS, 1},
                                         {BOOT_STEPS, 0, 0, 0}};

static const boot_change *boot_changes(const pte_format *f)
{
    return f->read               ? boot_riscv
           : f->no_exec          ? boot_x86_64
           : f->table_permission ? boot_x86_32
                                 : boot_plain;
}

static uint64_t boot_value(const kernel *k, const boot_change *c)
{
    const pt_geometry *g = &k->hw->g;
    uint64_t was = k->boot.registers[c->number];
    switch ((boot_add)c->add) {
    case ADD_NOTHING:
        break;
    case ADD_BITS:
        return was | c->bits;
    case ADD_BITS_5:
        return g->levels == 5 ? was | c->bits : was;
    case ADD_BITS_ASID:
        return k->cfg.asid_bits ? was | c->bits : was;
    case ADD_ROOT:
        return k->boot.root;
    case ADD_SATP:
        return (uint64_t)(g->levels + SATP_SV) << SATP_MODE | k->boot.root >> g->page_bits;
    case ADD_BASE:
        return was + k->boot.base;
    }
    return was;
}

/* Change the step's registers; with `begin` the step begins if there are any. */
static vm_status boot_registers(kernel *k, boot_step step, bool begin, vm_error *e)
{
    vm_status st = VM_OK;
    for (const boot_change *c = boot_changes(k->hw->g.format); c->step != BOOT_STEPS; c++) {
        if (c->step != step || st != VM_OK)
            continue;
        uint64_t *at = &k->boot.registers[c->number], now = boot_value(k, c);
        if (begin)
            st = boot_begin(k, step, e);
        begin = false;
        if (st == VM_OK && (c->add == ADD_NOTHING || now != *at))
            st = boot_note(
                k, (boot_item){.kind = BOOT_VALUE, .number = c->number, .was = *at, .now = now}, e);
        if (st == VM_OK)
            *at = now;
    }
    return st;
}

/* Where an address leads now. */
static vm_status boot_walk(kernel *k, uint64_t va, vm_error *e)
{
    const pt_geometry *g = &k->hw->g;
    pt_place at = pt_lookup(g, &k->hw->mem, k->boot.root, va);
    boot_item item = {.kind = BOOT_WALK, .va = va};
    if (at.pte & g->format->present && pte_is_leaf(g->format, at.pte, at.level)) {
        item.now = 1;
        item.pa =
            (pte_ppn(g->format, at.pte) << g->page_bits) | (va & low_mask(g->shift[at.level]));
    }
    return boot_note(k, item, e);
}

/* --- the plan ------------------------------------------------------------------------- */

/* Frames of the tables, were all pages base pages. */
static uint64_t boot_estimate(const kernel *k, uint64_t low)
{
    const pt_geometry *g = &k->hw->g;
    uint64_t n = kernel_table_frames(k, g->levels - 1);
    for (unsigned at = 0; at + 1 < g->levels; at++)
        n += (((low - 1) >> (g->shift[at] + g->bits[at])) + 1) * kernel_table_frames(k, at);
    return n;
}

/* Where everything goes, or why there is no room for it. */
static boot_why boot_plan(kernel *k)
{
    boot_state *b = &k->boot;
    const pt_geometry *g = &k->hw->g;
    unsigned top = g->levels - 1;
    uint64_t n = UINT64_C(1) << g->bits[top];
    uint64_t low = align_down(k->cfg.kernel_low, kernel_page(k));
    if (!b->paged)
        return BOOT_NO_PAGING;
    if (!low)
        return BOOT_NO_LOW;
    if (g->levels < 2 || n < 16 || (!g->canonical && g->va_bits != 32))
        return BOOT_NO_UPPER;
    b->first = space_user_top(k) >> g->shift[top];
    /* Read as lower ones, tables of other sizes would end in other memory. */
    bool alike = true;
    for (unsigned at = 0; at < top; at++)
        alike &= g->bits[at] == g->bits[top];
    uint64_t stop = n;
    if (!g->canonical) { /* 3 GB : 1 GB; the last entry is the directory itself */
        b->base_index = b->first;
        stop = n - 1;
        b->self = alike ? stop : 0;
    } else if (g->format->read) { /* the top of the space */
        b->base_index = n - 2;
        b->self = 0;
    } else { /* of 512 entries the 273rd, where Linux maps memory, too */
        b->base_index = n / 2 + n / 32 + 1;
        stop = n - 2;
        b->self = alike ? stop : 0;
    }
    b->spans = ((low - 1) >> g->shift[top]) + 1;
    /* The space behind the low region is for stacks. */
    uint64_t room = (stop - b->base_index) << g->shift[top], slot = 2 * kernel_page(k);
    if (room < low + slot)
        return BOOT_NO_UPPER;
    if (low >= k->hw->mem.size || low > k->low_frames << g->page_bits)
        return BOOT_NO_DRAM;
    if ((boot_estimate(k, low) + 1) * 4 > k->frames.count)
        return BOOT_NO_FRAMES;
    b->low = low;
    b->base = half_root_va(k, b->base_index);
    b->hint = low >> g->page_bits;
    b->stacks = b->base + low;
    b->slot_count = (room - low) / slot;
    b->slot_count = b->slot_count < BOOT_STACKS ? b->slot_count : BOOT_STACKS;
    b->slot_count = b->slot_count < k->frames.count ? b->slot_count : k->frames.count;
    b->stacks_stop = b->stacks + b->slot_count * slot;
    return BOOT_HAS_ONE;
}

/* --- the steps ------------------------------------------------------------------------- */

/* The low region where it is, in the largest pages that fit. */
static vm_status boot_identity(kernel *k, vm_error *e)
{
    const pt_geometry *g = &k->hw->g;
    const pte_format *f = g->format;
    const unsigned prot = PROT_R | PROT_W | PROT_X | PROT_GLOBAL;
    vm_status st = boot_begin(k, BOOT_IDENTITY, e);
    for (uint64_t pa = 0, pte_pa; pa < k->boot.low && st == VM_OK;) {
        unsigned level = f->large_levels < g->levels - 1 ? f->large_levels : g->levels - 1;
        while (level && (pa & low_mask(g->shift[level]) ||
                         k->boot.low - pa < UINT64_C(1) << g->shift[level]))
            level--;
        st = half_make(k, pa, level, &pte_pa, e);
        if (st == VM_OK)
            st = half_write(k, pa, level, pte_pa, pte_leaf(f, pa >> g->page_bits, prot, level), e);
        pa += UINT64_C(1) << g->shift[level];
    }
    return st;
}

/* The root's entries of the low region go to the base, or, later, leave the bottom. */
static vm_status boot_root_entries(kernel *k, boot_step step, vm_error *e)
{
    const boot_state *b = &k->boot;
    unsigned top = k->hw->g.levels - 1;
    vm_status st = boot_begin(k, step, e);
    for (uint64_t i = 0; i < b->spans && st == VM_OK; i++) {
        uint64_t bottom = half_root_entry(k, b->root, i);
        st = step == BOOT_DROP ? half_write(k, half_root_va(k, i), top, bottom, 0, e)
                               : half_write(k, half_root_va(k, b->base_index + i), top,
                                            half_root_entry(k, b->root, b->base_index + i),
                                            half_get(k, bottom), e);
    }
    return st;
}

static vm_status boot_self(kernel *k, vm_error *e)
{
    const boot_state *b = &k->boot;
    vm_status st = boot_begin(k, b->self ? BOOT_SELF : BOOT_NO_SELF, e);
    if (st == VM_OK && b->self)
        st = half_write(k, half_root_va(k, b->self), k->hw->g.levels - 1,
                        half_root_entry(k, b->root, b->self), half_table_entry(k, b->root), e);
    return st;
}

static vm_status boot_build(kernel *k, vm_error *e)
{
    unsigned top = k->hw->g.levels - 1;
    vm_status st = boot_begin(k, BOOT_DIRECTORY, e);
    if (st == VM_OK)
        st = half_table(k, 0, top, &k->boot.root, e);
    if (st == VM_OK)
        st = boot_identity(k, e);
    if (st == VM_OK)
        st = boot_root_entries(k, BOOT_HIGH, e);
    return st == VM_OK ? boot_self(k, e) : st;
}

/* The next instruction is fetched by way of the tables: that is what the identity
 * mapping is for. */
static vm_status boot_move(kernel *k, uint64_t entry, vm_error *e)
{
    vm_status st = boot_walk(k, entry, e);
    if (st == VM_OK)
        st = boot_registers(k, BOOT_JUMP, true, e);
    if (st == VM_OK)
        st = boot_walk(k, k->boot.base + entry, e);
    if (st == VM_OK)
        st = boot_root_entries(k, BOOT_DROP, e);
    if (st == VM_OK)
        st = boot_begin(k, BOOT_FLUSH, e);
    if (st == VM_OK)
        st = boot_registers(k, BOOT_FLUSH, false, e);
    if (st == VM_OK)
        st = boot_walk(k, entry, e);
    return st == VM_OK ? boot_walk(k, k->boot.base + entry, e) : st;
}

static vm_status boot_all(kernel *k, vm_error *e)
{
    boot_state *b = &k->boot;
    uint64_t entry = b->low > kernel_page(k) ? kernel_page(k) : 0;
    memset(b->registers, 0, sizeof b->registers);
    b->registers[BOOT_CR0] = CR0_START;
    b->registers[BOOT_EIP] = b->registers[BOOT_RIP] = b->registers[BOOT_PC] = entry;
    vm_status st = boot_registers(k, BOOT_OFF, true, e);
    if (st == VM_OK && !b->mapped)
        st = boot_note(
            k, (boot_item){.kind = BOOT_STEP, .number = BOOT_ALONE, .level = (uint8_t)b->why}, e);
    if (!b->paged || st != VM_OK)
        return st;
    if (b->mapped)
        st = boot_build(k, e);
    if (st == VM_OK)
        st = boot_registers(k, BOOT_FEATURES, true, e);
    if (st == VM_OK && b->mapped)
        st = boot_registers(k, BOOT_LOAD, true, e);
    if (st == VM_OK)
        st = boot_registers(k, BOOT_ON, true, e);
    return st == VM_OK && b->mapped ? boot_move(k, entry, e) : st;
}

/* Only host memory can be short, and nothing is left of what was done. */
static void boot_undo(kernel *k)
{
    boot_state *b = &k->boot;
    unsigned bits = k->hw->g.page_bits;
    for (size_t i = 0; i < b->count; i++)
        if (b->log[i].kind == BOOT_TABLE)
            half_give(k, b->log[i].pa >> bits, b->log[i].now >> bits);
    boot_free(k);
    b->mapped = false;
    b->tables = 0;
}

vm_status kernel_boot(kernel *k, vm_error *e)
{
    boot_state *b = &k->boot;
    vm_status st = VM_OK;
    if (b->booted)
        return VM_OK;
    b->why = boot_plan(k);
    b->mapped = b->why == BOOT_HAS_ONE;
    if (b->mapped)
        st = pool_init(&b->slots, k->host, b->slot_count, e);
    if (st == VM_OK)
        st = boot_all(k, e);
    if (st != VM_OK) {
        boot_undo(k);
        return st;
    }
    for (unsigned i = 0; i < k->hw->cpu_count; i++) {
        mmu *u = &k->hw->cpus[i].mmu;
        mmu_flush_all(u);
        u->paging = b->paged;
        u->root = b->root;
    }
    b->booted = true;
    return VM_OK;
}

void boot_free(kernel *k)
{
    boot_state *b = &k->boot;
    if (b->slots.host)
        pool_free(&b->slots);
    host_free(k->host, b->log, b->cap * sizeof *b->log);
    b->log = NULL;
    b->count = b->cap = 0;
}
