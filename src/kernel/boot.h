/* boot.h: the kernel's part of every space: how it comes to be when paging is turned
 * on (the boot), and what is in it.
 *
 * The upper part of the address space is the kernel's, where a format has one:
 *   base ..        the low region: physical memory from 0 on, `low` bytes
 *   stacks ..      a page for each process, with a guard page below
 *   root[self]     the root table as a table of itself, so that all tables of the
 *                  space that runs are pages (x86 only, with tables of one size)
 * All but the self entry are the same tables, hence the same frames, in all spaces;
 * their pages are the supervisor's alone, and global where the format has it. What
 * the kernel takes for them comes from the top of the low region, downwards.
 *
 * Invariants: the root entries of the kernel's part are equal in all spaces, but for
 * A bits and the self entry, which names the space's own root; entries of the user's
 * part of the kernel's own root are zero; each process has one stack.
 * Units: addresses and sizes in bytes.
 */
#ifndef VM_BOOT_H
#define VM_BOOT_H

#include "pool.h"

typedef enum boot_step {
    BOOT_OFF,       /* how the machine starts */
    BOOT_ALONE,     /* why there is no kernel's part; `level` is a boot_why */
    BOOT_DIRECTORY, /* the root table */
    BOOT_IDENTITY,  /* the low region where it is */
    BOOT_HIGH,      /* the same at the base */
    BOOT_SELF,
    BOOT_NO_SELF,
    BOOT_FEATURES,
    BOOT_LOAD,
    BOOT_ON,
    BOOT_JUMP,
    BOOT_DROP, /* the identity mapping */
    BOOT_FLUSH,
    BOOT_STEPS
} boot_step;
extern const char *const boot_step_names[BOOT_STEPS];

/* Why a machine has no kernel's part */
typedef enum boot_why {
    BOOT_HAS_ONE,
    BOOT_NO_PAGING, /* paging.enabled is off */
    BOOT_NO_LOW,    /* kernel.low is not a page */
    BOOT_NO_UPPER,  /* the geometry leaves no room beside the user's part */
    BOOT_NO_DRAM,   /* memory is not larger than the low region */
    BOOT_NO_FRAMES, /* tables would take more than a quarter of memory */
    BOOT_WHYS
} boot_why;
extern const char *const boot_why_names[BOOT_WHYS];

typedef enum boot_register {
    BOOT_CR0,
    BOOT_CR3,
    BOOT_CR4,
    BOOT_EFER,
    BOOT_SATP,
    BOOT_EIP,
    BOOT_RIP,
    BOOT_PC,
    BOOT_PAGING, /* of a toy: one bit */
    BOOT_REGISTERS
} boot_register;
extern const char *const boot_register_names[BOOT_REGISTERS];

typedef enum boot_kind {
    BOOT_STEP,  /* what follows belongs to the step `number` */
    BOOT_TABLE, /* a table of `level` in memory at pa, `now` bytes, for addresses from va on */
    BOOT_ENTRY, /* the entry at pa, of `level`, that maps va: `was` became `now` */
    BOOT_VALUE, /* the register `number`: `was` became `now` */
    BOOT_WALK,  /* va translates to pa, if `now` */
} boot_kind;

typedef struct boot_item {
    uint8_t kind, number, level;
    uint64_t va, pa, was, now;
} boot_item;

typedef struct boot_state {
    bool paged;   /* the machine has paging to turn on */
    bool booted;  /* and that was done */
    bool mapped;  /* there is a kernel's part */
    boot_why why; /* or why there is none */
    uint64_t low, base;
    uint64_t root;              /* the kernel's own root table */
    uint64_t first;             /* root index from which entries are the kernel's */
    uint64_t base_index, spans; /* root indices of the low region, and how many */
    uint64_t self;              /* root index, or 0: the format or geometry can't */
    uint64_t stacks, stacks_stop, slot_count;
    pool slots;      /* places of stacks, of two pages each */
    uint64_t tables; /* frames of its tables */
    uint64_t hint;   /* frames from here up to the low region's end are in use */
    uint64_t registers[BOOT_REGISTERS];
    boot_item *log;
    size_t count, cap;
} boot_state;

#endif
