/* policy.h: the one contract of replacement policies, for physical frames (one
 * set), TLB sets and cache sets alike.
 *
 * A policy rules over `sets` sets of `slots` slots each. It sees slots by
 * number and what each holds by a page key, never by a pointer. Its owner
 * promises to call
 *   insert   when a key has come to live in a slot (empty before, or its victim)
 *   touch    when a reference hits a full slot
 *   remove   when somebody else emptied the slot (unmap, exit, invalidation)
 *   victim   only when a slot must be given up; the answer must be a full slot
 * An owner that keeps reference bits itself (the kernel: A bits in PTEs) gives
 * `bits`; then only policies with `exact` set are told of each hit, the others
 * read the bits, as a real kernel does.
 *
 * Invariants: victim changes no slot's membership; insert on the slot that
 * victim chose replaces it, no remove in between.
 */
#ifndef VM_POLICY_H
#define VM_POLICY_H

#include "../base/base.h"

typedef struct policy policy;

typedef struct policy_bits {
    void *ud;
    /* Was the slot referenced since the bit was last cleared? Clears it if asked. */
    bool (*referenced)(void *ud, uint32_t slot, bool clear);
    bool (*dirty)(void *ud, uint32_t slot);
} policy_bits;

typedef struct policy_config {
    uint32_t sets;
    uint32_t slots; /* in each set; with one set, the most there can ever be */
    uint64_t seed;
    policy_bits bits; /* referenced == NULL: the policy keeps its own */
} policy_config;

enum { POLICY_FRAMES = 1, POLICY_SETS = 2 };

typedef struct policy_class {
    const char *name;
    const char *doc;    /* one line: rule, cost, source */
    unsigned serves;    /* POLICY_FRAMES | POLICY_SETS */
    bool exact;         /* must be told of each reference, even by owners with bits */
    bool touch_is_noop; /* a hit changes nothing: owners need not call touch */
    size_t size;        /* of the instance; begins with a policy */
    vm_status (*init)(policy *p, vm_error *e);
    void (*free)(policy *p);
    /* One set only: make room for slots below n (they may be many: 64 GiB of
     * frames), so that insert can't fail. */
    vm_status (*reserve)(policy *p, uint32_t n, vm_error *e);
    void (*insert)(policy *p, uint32_t set, uint32_t slot, uint64_t key);
    void (*touch)(policy *p, uint32_t set, uint32_t slot, bool write);
    vm_status (*victim)(policy *p, uint32_t set, uint64_t key, uint32_t *slot, vm_error *e);
    void (*remove)(policy *p, uint32_t set, uint32_t slot);
    /* NULL, or what is broken */
    const char *(*check)(const policy *p);
} policy_class;

struct policy {
    const policy_class *cls;
    const vm_host *host;
    policy_config cfg;
    uint32_t room; /* slots there is memory for, in each set */
    /* If not NULL, touch(slot) is exactly `stamps[slot] = ++*tick`, and an owner
     * with one set may do that in place of the call. */
    uint64_t *stamps;
    uint64_t tick;
};

/* The table of built-in policies, ended by NULL. */
extern const policy_class *const policy_classes[];
const policy_class *policy_find(const char *name);

vm_status policy_new(const vm_host *host, const policy_class *cls, const policy_config *cfg,
                     policy **out, vm_error *e);
void policy_delete(policy *p); /* p may be NULL */
vm_status policy_reserve(policy *p, uint32_t n, vm_error *e);

extern const policy_class policy_fifo, policy_lru, policy_clock, policy_random, policy_tree_plru;

#endif
