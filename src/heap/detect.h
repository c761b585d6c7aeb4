/* detect.h: an error detector: it watches the accesses of an address space and stands in
 * front of its heaps, and reports what CS:APP 9.11 and Valgrind's memcheck call errors.
 *
 * A block is a run of bytes that a program may use: of a heap, a variable of a frame of
 * the stack, one of the data segment, a mapping. Each has an id that is never given
 * again. Around it lie redzones; freed blocks stay in quarantine, so that their
 * addresses are not given out again, and their shadow says whose they were.
 *
 * Three ways in, for the same checks:
 *   - the watch: plain accesses of the space's processes (numbers without provenance);
 *   - the guard: malloc, realloc and free of attached heaps;
 *   - detect_load, detect_store, ... : accesses with tracked values, by scripts and by
 *     whoever simulates a processor whose registers have shadows.
 *
 * A use of an undefined value is an error, a load or a copy of one is not. A report does
 * not stop the program, unless who is told says so: functions return VM_OK after a report
 * and do what was asked; a free that is wrong is not done. While the detector or an
 * allocator works for itself, accesses are not looked at (`muted`).
 *
 * Sources: CS:APP 9.11; Seward and Nethercote (USENIX 2005); Serebryany et al.,
 * "AddressSanitizer" (USENIX 2012); Valgrind's manual, chapter 4, for the terms.
 */
#ifndef VM_DETECT_H
#define VM_DETECT_H

#include "heap.h"
#include "tracked.h"

#define DETECT_KINDS(X)                                                                            \
    X(BAD_POINTER, "bad_pointer", "an access that no mapping allows")                              \
    X(OVERRUN, "overrun", "an access behind the end of a block")                                   \
    X(UNDERRUN, "underrun", "an access before the start of a block")                               \
    X(STRAY, "stray_pointer", "an access by a pointer to one block that hits another")             \
    X(AFTER_FREE, "use_after_free", "an access to a block of a heap that was freed")               \
    X(AFTER_RETURN, "use_after_return", "an access to a variable of a frame that was left")        \
    X(AFTER_UNMAP, "use_after_unmap", "an access by a pointer into a mapping that is gone")        \
    X(ALLOCATOR, "allocator_memory", "an access to what is the allocator's own")                   \
    X(NO_VARIABLE, "no_variable", "an access to the stack or the data beside all variables")       \
    X(UNINITIALISED, "uninitialised", "a use of a value that was never initialised")               \
    X(DOUBLE_FREE, "double_free", "a free of a block that was freed")                              \
    X(INVALID_FREE, "invalid_free", "a free of what malloc did not give")                          \
    X(MISMATCHED_FREE, "mismatched_free", "a free by another allocator than the block's")          \
    X(OVERLAP, "overlap", "a copy between blocks that overlap")                                    \
    X(RETURNED_LOCAL, "returned_local", "a function that returns a pointer to its variable")       \
    X(BAD_SIZE, "bad_size", "a size that is a negative number")

typedef enum detect_kind {
#define X(id, name, doc) DETECT_##id,
    DETECT_KINDS(X)
#undef X
        DETECT_KIND_COUNT
} detect_kind;
extern const char *const detect_kind_names[]; /* NULL behind the last, as of all below */
extern const char *const detect_kind_docs[];

/* How an undefined value was used. */
typedef enum detect_use { USE_BRANCH, USE_ADDRESS, USE_SYSCALL, USE_LOAD, USE_SIZE } detect_use;
extern const char *const detect_use_names[];

typedef enum detect_part { PART_HEAP, PART_STACK, PART_DATA, PART_MAPPING } detect_part;
extern const char *const detect_part_names[];

/* Who gave a block out: what frees it must be of the same family. */
typedef enum detect_family { FAMILY_MALLOC, FAMILY_NEW, FAMILY_NEW_ARRAY } detect_family;
extern const char *const detect_family_names[];

#define DETECT_NAME  32
#define DETECT_HEAPS 16

typedef struct detect_block {
    uint32_t id;    /* 0: no block */
    uint8_t part;   /* detect_part */
    uint8_t family; /* detect_family, of the heap's */
    uint8_t heap;   /* index of detect.heaps, of the heap's */
    bool live;      /* else freed, left, unmapped */
    uint64_t start, size;
    uint64_t item;          /* bytes of an element, where calloc said so; else 0 */
    uint64_t low, high;     /* with the redzones; of the heap's, low is what the heap gave */
    uint32_t made, gone;    /* sites; 0: not known */
    uint32_t next;          /* id, in the queue of those that are not live */
    char name[DETECT_NAME]; /* of a variable or mapping; of the heap's: empty */
} detect_block;

typedef struct detect_report {
    detect_kind kind;
    detect_use use;         /* of DETECT_UNINITIALISED */
    access_kind access;     /* of those that are accesses */
    uint64_t addr, size;    /* of the access, or the argument of free; what overlaps */
    uint64_t bad;           /* the first byte that is wrong */
    uint64_t undef;         /* bits */
    uint64_t other;         /* of DETECT_OVERLAP: the source */
    uint32_t site;          /* where in the program */
    uint64_t count;         /* of equal ones from the same site, this included */
    detect_block block;     /* whose byte it is, or next to which */
    detect_block pointer;   /* which the pointer came from, if that is known */
    detect_block origin;    /* of undefined bits */
    char name[DETECT_NAME]; /* of the function, variable or call */
} detect_report;

typedef struct detect_config {
    uint64_t redzone;     /* bytes on each side of a block, a multiple of 16 */
    uint64_t quarantine;  /* bytes of freed blocks that are not given out again */
    uint64_t stack, data; /* bytes of these areas, which are mapped when they are needed */
    bool at_load;         /* a load of undefined bytes is reported, too */
    bool once;            /* reports of one kind from one site are one */
    uint64_t limit;       /* reports that are kept; more are only counted */
} detect_config;

/* The owner's functions. */
typedef struct detect_hooks {
    void *ud;
    /* A number for where the program is now; 0: not known. */
    vm_status (*site)(void *ud, uint32_t *site, vm_error *e);
    /* A new report, of detect.reports: VM_OK, or the status with which the call ends. */
    vm_status (*tell)(void *ud, size_t report, vm_error *e);
} detect_hooks;

typedef struct detect_frame {
    uint64_t id;     /* never given again */
    uint64_t sp;     /* before it was entered */
    uint32_t site;   /* where it was entered, and its variables declared */
    uint32_t locals; /* of detect.locals before */
    char name[DETECT_NAME];
} detect_frame;

typedef struct detect_area {
    uint64_t low, high; /* 0, 0: not mapped yet */
    uint64_t at;        /* the stack pointer; the first byte of data that is free */
} detect_area;

typedef struct detect_queue {
    uint32_t first, last; /* ids; 0: none */
    uint64_t bytes, count;
} detect_queue;

typedef struct detect {
    space_watch watch; /* the first: the space has its address */
    heap_guard guard;
    detect_hooks hooks;
    detect_config cfg;
    vm_host host;
    machine *m;
    process *p;   /* a process of the space that is at work */
    space *space; /* NULL: it is gone, or no longer watched */
    unsigned muted;
    bool checked;    /* the access that the machine serves was checked */
    bool told;       /* it was reported */
    fault_info info; /* of VM_FAULT */
    shadow shadow;
    keymap ids; /* id of a block that is known -> index in `blocks` */
    detect_block *blocks;
    uint32_t *spare; /* indices that no id has: a stack */
    size_t block_cap, spare_cap;
    uint32_t spares, room, last_id;
    uint32_t mappings;         /* blocks that are live mappings */
    detect_queue freed, left;  /* blocks of heaps in quarantine; others that are gone */
    heap *heaps[DETECT_HEAPS]; /* NULL: closed */
    unsigned heap_count;
    detect_area stack, data;
    detect_frame *frames;
    size_t frame_count, frame_cap;
    uint64_t last_frame; /* id */
    uint32_t *locals;    /* ids of the variables of all frames */
    size_t local_count, local_cap;
    detect_report *reports;
    size_t report_count, report_cap;
    uint64_t errors; /* all, also those that were not kept */
} detect;

/* --- making ----------------------------------------------------------------------- */

/* Watch the space of a live process. Errors: VM_INVALID, it is watched; VM_NOMEM. */
vm_status detect_new(const vm_host *host, const detect_config *cfg, const detect_hooks *hooks,
                     machine *m, process *p, detect **out, vm_error *e);
/* Ends the watching; heaps stay what they are, with their redzones. NULL is fine. */
void detect_delete(detect *d);
/* Stand in front of a heap of the space; what is allocated there is known without
 * redzones. VM_INVALID: of another space, or guarded already. */
vm_status detect_attach(detect *d, heap *h, vm_error *e);

/* --- blocks (d->p must be running; h is attached) ----------------------------------- */

/* What malloc is asked for. */
typedef struct detect_request {
    heap *h;
    detect_family family;
    uint64_t align; /* 0: as the heap aligns all */
    uint64_t n;     /* bytes */
    uint64_t item;  /* of an element, or 0 */
    bool zero;      /* initialised */
} detect_request;

/* As heap_malloc and its kin. A wrong free is reported, and VM_OK. */
vm_status detect_malloc(detect *d, const detect_request *r, tracked *out, vm_error *e);
vm_status detect_free(detect *d, heap *h, detect_family family, const tracked *a, vm_error *e);
vm_status detect_realloc(detect *d, heap *h, const tracked *a, uint64_t n, tracked *out,
                         vm_error *e);
/* A frame of the stack, and variables in it; frames that were entered later are left, too.
 * VM_REFUSED: the stack has no room; VM_INVALID: the frame was left. */
vm_status detect_enter(detect *d, const char *name, uint64_t *id, vm_error *e);
vm_status detect_local(detect *d, const char *name, uint64_t size, tracked *out, vm_error *e);
vm_status detect_leave(detect *d, uint64_t id, vm_error *e);
bool detect_has_frame(const detect *d, uint64_t id);
/* `t` is what the frame returns. */
vm_status detect_return(detect *d, uint64_t id, const tracked *t, vm_error *e);
/* A variable of the data segment, zeros. */
vm_status detect_global(detect *d, const char *name, uint64_t size, tracked *out, vm_error *e);
/* A mapping that is there: pointers to it get its block. */
vm_status detect_mapping(detect *d, const char *name, uint64_t start, uint64_t size, tracked *out,
                         vm_error *e);
/* The block that the address is in, or that it was in last; NULL. */
const detect_block *detect_at(detect *d, uint64_t va);
const detect_block *detect_block_of(const detect *d, uint32_t id);

/* --- accesses ------------------------------------------------------------------------ */

/* What a processor's load and store do: n is 1, 2, 4 or 8; *out with its shadow.
 * VM_FAULT: d->info. */
vm_status detect_load(detect *d, const tracked *a, unsigned n, access_kind kind, tracked *out,
                      vm_error *e);
vm_status detect_store(detect *d, const tracked *a, unsigned n, const tracked *x, vm_error *e);
/* Bytes; memcpy (overlap is an error) or memmove; memset. */
vm_status detect_read(detect *d, const tracked *a, void *to, uint64_t n, vm_error *e);
vm_status detect_write(detect *d, const tracked *a, const void *from, uint64_t n, vm_error *e);
vm_status detect_copy(detect *d, const tracked *to, const tracked *from, uint64_t n, bool move,
                      vm_error *e);
/* The check of an access alone, and of bytes that a call will read: that they are
 * initialised. */
vm_status detect_check(detect *d, const tracked *a, uint64_t n, access_kind kind, vm_error *e);
vm_status detect_check_defined(detect *d, const tracked *a, uint64_t n, detect_use use,
                               const char *name, vm_error *e);
/* A value is used in a way that its bits matter; name: of a system call, or NULL. */
vm_status detect_used(detect *d, detect_use use, const tracked *t, const char *name, vm_error *e);

/* --- leaks ---------------------------------------------------------------------------- */

typedef enum detect_loss {
    LOSS_DEFINITE,
    LOSS_INDIRECT,
    LOSS_POSSIBLE,
    LOSS_REACHABLE
} detect_loss;
extern const char *const detect_loss_names[];

typedef struct detect_leak {
    detect_block block;
    detect_loss loss;
} detect_leak;

/* All live blocks of heaps, by what leads to them: from variables of the stack and of the
 * data, from all other readable memory outside heaps, and from the values given. Words of
 * the machine's pointers are looked at, those that are not initialised left out. *out is
 * host memory of *n items for the caller to free. Words in swap are brought in, all others
 * are read without an access. Source: Valgrind's manual, 4.2.8. */
vm_status detect_leaks(detect *d, const tracked *roots, size_t root_count, detect_leak **out,
                       size_t *n, vm_error *e);

/* --- for the detector's files ----------------------------------------------------------- */

/* A block, its redzones and its state, painted and owned; its contents undefined, or not. */
vm_status detect_place(detect *d, const detect_block *like, bool undefined, tracked *out,
                       vm_error *e);
/* It is gone: its bytes get that state, and it waits in the queue of its kind. */
void detect_retire(detect *d, detect_block *b, uint32_t site, shadow_state state);
/* Take the report over: counted, kept, told. */
vm_status detect_tell(detect *d, detect_report *r, vm_error *e);
vm_status detect_site(detect *d, uint32_t *site, vm_error *e);
vm_status detect_reserve(detect *d, vm_error *e);
void detect_forget(detect *d, detect_block *b);
bool detect_in(const detect_area *a, uint64_t va);
bool detect_ruled(const detect *d, uint64_t start, uint64_t stop);
/* What a block's id says of it, however long it is gone. */
#define DETECT_PART(id) ((detect_part)((id)&3))

#endif
