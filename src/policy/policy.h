/* policy.h: the one contract of replacement policies, for physical frames (one
 * set), TLB sets and cache sets alike.
 *
 * A policy rules over `sets` sets of `slots` slots each. It sees slots by
 * number and what each holds by a page key, never by a pointer. Its owner
 * promises to call
 *   insert   when a key has come to live in a slot: an empty one, or the victim,
 *            which is thereby evicted
 *   touch    when a reference hits a full slot; the reference that missed is
 *            told by insert alone
 *   remove   when a slot was emptied
 *   victim   only when a slot must be given up; the answer must be a full slot
 * An owner that keeps reference bits itself (the kernel: A bits in PTEs) gives
 * `bits`; then only policies with `exact` set are told of each hit, the others
 * read the bits, as a real kernel does. Otherwise all are told of each hit,
 * and those that go by bits keep them.
 *
 * Invariants: victim changes no slot's membership. It can be asked again for one
 * key (several slots are wanted, or the one it chose could not be given up), and
 * the key need not come (the fault failed).
 */
#ifndef VM_POLICY_H
#define VM_POLICY_H

#include "../base/base.h"

typedef struct policy policy;

#define POLICY_PARAMS 8          /* most parameters of a policy */
#define POLICY_NO_KEY UINT64_MAX /* the key that comes is not known, or it is no page */
#define POLICY_NONE   UINT32_MAX /* no slot */

/* --- parameters ------------------------------------------------------------------ */

typedef enum policy_param_kind {
    POLICY_INTEGER,
    POLICY_REAL,
    POLICY_NAME, /* the value is an index into `names` */
} policy_param_kind;

typedef struct policy_param {
    const char *name;
    policy_param_kind kind;
    double value, min, max;   /* the default and its bounds */
    const char *const *names; /* POLICY_NAME: NULL behind the last */
    const char *doc;          /* with the unit */
} policy_param;

typedef struct policy_class policy_class;

/* A policy and what its parameters are. Written as a text: "2q", "2q:kin=0.5:kout=1". */
typedef struct policy_choice {
    const policy_class *cls;
    void *ud; /* of classes that are not built in */
    double param[POLICY_PARAMS];
} policy_choice;

/* --- instances ------------------------------------------------------------------- */

typedef struct policy_bits {
    void *ud;
    /* Was the slot referenced since the bit was last cleared? Clears it if asked.
     * NULL: the policy keeps its own bits. */
    bool (*referenced)(void *ud, uint32_t slot, bool clear);
    /* Must the page be written when it goes? NULL: no page. May be there without
     * `referenced`. */
    bool (*dirty)(void *ud, uint32_t slot);
} policy_bits;

/* What is known of the references to come. Who drives the policy moves `at`. */
typedef struct policy_future {
    const uint32_t *next_use; /* by position: the page's next reference; UINT32_MAX: none */
    size_t count;             /* references in all */
    size_t at;                /* the one that is served */
} policy_future;

typedef struct policy_config {
    uint32_t sets;
    uint32_t slots;    /* in each set; with one set, the most there can ever be */
    uint32_t capacity; /* of a set, full slots at once; 0: not known before a victim is wanted */
    uint64_t keys;     /* > 0: all keys are below it, and arrays by key worth while */
    uint64_t seed;
    policy_bits bits;
    /* References made so far by all that the policy rules over. NULL: the policy
     * counts what it is told. */
    uint64_t (*now)(void *ud);
    void *now_ud;
    const policy_future *future; /* NULL: not known */
} policy_config;

enum {
    POLICY_FRAMES = 1,
    POLICY_SETS = 2,
    POLICY_STUDIES = 4 /* only where the future is known */
};

struct policy_class {
    const char *name;           /* unique among those that serve the same */
    const char *doc;            /* one line: rule; cost of a hit, of a miss, bytes a slot; source */
    unsigned serves;            /* POLICY_FRAMES | POLICY_SETS | POLICY_STUDIES */
    bool exact;                 /* must be told of each reference, even by owners with bits */
    bool timed;                 /* asks for the owner's `now` */
    bool touch_is_noop;         /* a hit changes nothing: owners need not call touch */
    size_t size;                /* of the instance; begins with a policy */
    const policy_param *params; /* ended by a row without a name; NULL: none */
    vm_status (*init)(policy *p, vm_error *e);
    void (*free)(policy *p); /* also after a failed init */
    /* One set only: make room for slots below n (they may be many: 64 GiB of
     * frames), so that insert can't fail. */
    vm_status (*reserve)(policy *p, uint32_t n, vm_error *e);
    void (*insert)(policy *p, uint32_t set, uint32_t slot, uint64_t key);
    void (*touch)(policy *p, uint32_t set, uint32_t slot, bool write);
    vm_status (*victim)(policy *p, uint32_t set, uint64_t key, uint32_t *slot, vm_error *e);
    void (*remove)(policy *p, uint32_t set, uint32_t slot);
    /* The page of `key`, which is not resident, seems about to come: nothing changes, but
     * the host may fetch what is known of it. NULL: nothing to fetch. */
    void (*ahead)(const policy *p, uint64_t key);
    /* NULL, or what is broken */
    const char *(*check)(const policy *p);
};

struct policy {
    const policy_class *cls;
    const vm_host *host;
    policy_config cfg;
    void *ud; /* as in policy_choice */
    double param[POLICY_PARAMS];
    uint32_t room; /* slots there is memory for, in each set */
    /* The slot that victim chose last, for policies that remember the evicted: to
     * remove it is to evict it, to remove another slot is to end its page. An owner
     * that could not evict it sets POLICY_NONE. */
    uint32_t chosen;
    /* If not NULL, touch(slot) is exactly `stamps[slot] = ++*tick`, and an owner
     * with one set may do that in place of the call. */
    uint64_t *stamps;
    uint64_t tick;
};

/* clang-format off */
/* All built-in policies, policy_NAME each, in the order in which they are listed. */
#define POLICY_CLASSES(X) \
    X(fifo) \
    X(lru) \
    X(clock) \
    X(random) \
    X(mru) \
    X(second_chance) \
    X(enhanced) \
    X(nru) \
    X(aging) \
    X(nfu) \
    X(lfu) \
    X(lfuda) \
    X(slru) \
    X(2q) \
    X(wsclock) \
    X(sieve) \
    X(s3_fifo) \
    X(arc) \
    X(car) \
    X(lirs) \
    X(clock_pro) \
    X(w_tinylfu) \
    X(lecar) \
    X(hyperbolic) \
    X(linux_lists) \
    X(mglru) \
    X(opt) \
    X(tree_plru) \
    X(bit_plru) \
    X(set_nru) \
    X(srrip) \
    X(brrip) \
    X(drrip) \
    /* the end of the list */
/* clang-format on */

#define POLICY_DECLARE(name) extern const policy_class policy_##name;
POLICY_CLASSES(POLICY_DECLARE)
#undef POLICY_DECLARE

/* The table of them, ended by NULL. */
extern const policy_class *const policy_classes[];
/* The one of this name that serves any of `serves`, or NULL. */
const policy_class *policy_find(const char *name, unsigned serves);

/* The policy with its defaults. */
policy_choice policy_default(const policy_class *cls);
/* Read a text; errors: VM_INVALID, naming the policy or parameter, what it got and
 * what it takes. Unknown policies: VM_FORMAT, for callers who have more to say. */
vm_status policy_read(const char *text, unsigned serves, policy_choice *out, vm_error *e);
/* The text of a choice: the name, and parameters that are not as by default; cut at
 * n - 1 bytes. POLICY_TEXT is enough for any. */
#define POLICY_TEXT 512
void policy_write(const policy_choice *c, char *text, size_t n);

vm_status policy_new(const vm_host *host, const policy_choice *what, const policy_config *cfg,
                     policy **out, vm_error *e);
void policy_delete(policy *p); /* p may be NULL */
vm_status policy_reserve(policy *p, uint32_t n, vm_error *e);

/* --- for policies ------------------------------------------------------------------ */

/* The parameter of those that go by reference bits, set when a page enters. */
#define POLICY_ENTER_ROW                                                                           \
    {                                                                                              \
        "enter", POLICY_INTEGER, 1, 0, 1, NULL,                                                    \
            "1: a page enters with its reference bit set; 0: cleared, until it is referenced "     \
            "again (not where A bits of PTEs serve: the retried access sets them)"                 \
    }

/* How many pages a set holds when it is full: as told, else as many as it holds now,
 * which is right when a victim is wanted. At least 1. */
VM_INLINE uint32_t policy_capacity(const policy *p, uint32_t full)
{
    uint32_t n = p->cfg.capacity ? p->cfg.capacity : full;
    return n ? n : 1;
}
/* A share of n as a whole number: rounded down, at least `least`. */
VM_INLINE uint32_t policy_share(double share, uint32_t n, uint32_t least)
{
    double x = share * n;
    return x < least ? least : x >= (double)UINT32_MAX ? UINT32_MAX - 1 : (uint32_t)x;
}
/* At the head of remove: is the page evicted, rather than ended? */
VM_INLINE bool policy_evicts(policy *p, uint32_t slot)
{
    bool evicts = p->chosen == slot;
    p->chosen = POLICY_NONE;
    return evicts;
}
VM_INLINE bool policy_is_dirty(const policy *p, uint32_t slot)
{
    return p->cfg.bits.dirty && p->cfg.bits.dirty(p->cfg.bits.ud, slot);
}
/* Was the slot referenced since the bit was last cleared? By the owner's bits, else by
 * bit `mine` of the policy's own byte for the slot. */
VM_INLINE bool policy_is_used(const policy *p, uint8_t *own, uint8_t mine, uint32_t slot,
                              bool clear)
{
    bool used = *own & mine;
    if (clear)
        *own &= (uint8_t)~mine;
    return p->cfg.bits.referenced ? p->cfg.bits.referenced(p->cfg.bits.ud, slot, clear) : used;
}
/* The array of what a policy keeps for each slot, `item` bytes at [set * room + slot],
 * grows from p->room to n slots a set; new items are zeros. Called once in a reserve,
 * last, since it sets the room. */
vm_status policy_grow(policy *p, void **slots, size_t item, uint32_t n, vm_error *e);
void policy_free_slots(policy *p, void *slots, size_t item);
vm_status policy_no_victim(const policy *p, vm_error *e);
void policy_touch_nothing(policy *p, uint32_t set, uint32_t slot, bool write);

#endif
