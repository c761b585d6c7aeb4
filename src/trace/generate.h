/* generate.h: traces that are made, not recorded: one row a generator, from
 * which Lua's functions, the checks of their options and the reference follow.
 *
 * Invariants
 *   - Same options, same records, on every machine: numbers come from vm_rng
 *     and integer arithmetic; no function of libm, whose last bit differs from
 *     one C library to the next, and no float expression that a compiler may
 *     contract.
 *   - A pass needs constant memory; what grows with an option (the tables of
 *     zipf and chase) is built once by the source, shared by its passes, and
 *     said in the option's doc.
 *   - Only data accesses are made, never fetches.
 *   - A made access never crosses the end of its region.
 */
#ifndef VM_GENERATE_H
#define VM_GENERATE_H

#include "trace.h"

typedef enum generate_kind {
    GENERATE_COUNT,  /* a whole number */
    GENERATE_BYTES,  /* a whole number of bytes, or in Lua a text such as "64MiB" */
    GENERATE_NUMBER, /* may have a fraction */
    GENERATE_BOOL,
    GENERATE_NAME, /* one of `choices`; the value is its index */
} generate_kind;

extern const char *const generate_kind_names[]; /* "count", "bytes", ... */

/* Bounds are doubles: whole ones are exact, being below 2^53 or powers of two. */
typedef struct generate_option {
    const char *name;
    generate_kind kind;
    double value, min, max;     /* the default and its bounds, inclusive */
    const char *const *choices; /* GENERATE_NAME: NULL at the end */
    const char *doc;
} generate_option;

typedef union generate_value {
    int64_t n; /* all kinds but GENERATE_NUMBER */
    double x;
} generate_value;

#define GENERATE_OPTIONS 8 /* the most that a row has */

typedef struct generate_source generate_source;
typedef struct generate_cursor generate_cursor;

typedef struct generate_row {
    trace_source_class source; /* its name is the generator's */
    const char *doc;
    const generate_option *options; /* ended by one without a name */
    bool takes_traces;              /* is made of other traces, given as a list */
    size_t source_size, cursor_size;
    /* Check what the options mean together, build tables, set `count`. */
    vm_status (*prepare)(generate_source *s, vm_error *e);
    void (*release)(generate_source *s); /* the tables; NULL: none */
    void (*start)(const generate_source *s, generate_cursor *c);
    /* Write up to TRACE_BLOCK records, at least one; those behind the source's
     * count are dropped. */
    size_t (*fill)(generate_cursor *c, access_record *out);
} generate_row;

extern const generate_row *const generate_rows[]; /* NULL at the end */

const generate_row *generate_find(const char *name); /* NULL: there is none */

/* The first member of every generator's source. */
struct generate_source {
    trace_source base;
    const generate_row *row;
    generate_value v[GENERATE_OPTIONS]; /* by the row's options */
    trace_source **traces;              /* references of its own */
    size_t trace_count;
    uint64_t count; /* accesses of a pass */
    bool counted;   /* false: `count` is not known before a pass */
};

/* The first member of the cursors of all generators with a `fill`. */
struct generate_cursor {
    trace_cursor base;
    uint64_t left;
    access_record records[TRACE_BLOCK];
};

/* The defaults of a row's options. */
void generate_defaults(const generate_row *row, generate_value *v);

/* Make a source; `v` has a value for each option, `traces` are retained. */
vm_status generate_new(const vm_host *host, const generate_row *row, const generate_value *v,
                       trace_source *const *traces, size_t trace_count, trace_source **out,
                       vm_error *e);

/* --- for the generators ------------------------------------------------------- */

#define GENERATE_ROW(name)                                                                         \
    {                                                                                              \
        name, generate_open, generate_count, NULL, generate_describe, generate_destroy             \
    }
vm_status generate_open(trace_source *s, trace_cursor **out, vm_error *e);
bool generate_count(trace_source *s, uint64_t *accesses);
void generate_describe(trace_source *s, char *text, size_t size);
void generate_destroy(trace_source *s);

/* Options that most rows have */
#define GENERATE_REFS                                                                              \
    {                                                                                              \
        "refs", GENERATE_COUNT, 1e6, 0, 0x1p53, NULL, "accesses in all"                            \
    }
#define GENERATE_BASE                                                                              \
    {                                                                                              \
        "base", GENERATE_BYTES, 0x10000000, 0, 0x1p62, NULL, "lowest address"                      \
    }
#define GENERATE_SIZE                                                                              \
    {                                                                                              \
        "size", GENERATE_BYTES, 8, 1, 4096, NULL, "bytes of an access"                             \
    }
#define GENERATE_SEED                                                                              \
    {                                                                                              \
        "seed", GENERATE_COUNT, 1, -0x1p62, 0x1p62, NULL, "of the random numbers"                  \
    }
#define GENERATE_MEMORY 0x1p46 /* the most bytes that a region may have */

/* A fraction in [0, 1] as 0 .. 2^32 */
VM_INLINE uint64_t generate_fraction(double x) { return (uint64_t)(x * 0x1p32); }

/* The upper 64 bits of a product, without a type that not all compilers have. */
VM_INLINE uint64_t generate_mulhi(uint64_t a, uint64_t b)
{
    uint64_t al = (uint32_t)a, ah = a >> 32, bl = (uint32_t)b, bh = b >> 32;
    uint64_t mid = ah * bl + (al * bl >> 32), low = (uint32_t)mid + al * bh;
    return ah * bh + (mid >> 32) + (low >> 32);
}

/* One random number gives two: a number below n, and in *rest 32 more bits,
 * which are uniform if n is far below 2^32. */
VM_INLINE uint64_t generate_below(vm_rng *r, uint64_t n, uint32_t *rest)
{
    uint64_t x = rng_next(r);
    *rest = (uint32_t)(x * n >> 32);
    return generate_mulhi(x, n);
}

/* Fill order[0..n-1] with a random permutation of 0..n-1. */
void generate_shuffle(vm_rng *r, uint32_t *order, uint32_t n);

VM_INLINE access_record generate_access(uint64_t addr, uint32_t size, bool store)
{
    return (access_record){addr, size, 0, store ? ACCESS_STORE : ACCESS_LOAD, 0};
}

/* The rows, each beside what it describes */
extern const generate_row generate_sequential, generate_strided, generate_loop, generate_uniform,
    generate_zipf, generate_chase, generate_matmul, generate_phases;

#endif
