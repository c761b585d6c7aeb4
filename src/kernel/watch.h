/* watch.h: somebody who watches an address space, beside the kernel: an error detector.
 *
 * Invariant: a space that nobody watches pays one null pointer; accesses of a watched
 * one take the plain path, and counters, orders and the clock are as without.
 */
#ifndef VM_WATCH_H
#define VM_WATCH_H

#include "../base/access.h"

struct fault_info;
typedef struct space_watch space_watch;
struct space_watch {
    /* Before an access of n bytes: VM_OK, or it is not done and ends with this status. */
    vm_status (*access)(space_watch *w, uint64_t va, uint64_t n, access_kind kind, vm_error *e);
    /* An access can't be served: VM_FAULT, or the status that it ends with instead. */
    vm_status (*faulted)(space_watch *w, const struct fault_info *info, vm_error *e);
    /* The contents of a range have gone: unmapped, or given back. */
    void (*released)(space_watch *w, uint64_t start, uint64_t stop);
    /* The space goes. */
    void (*gone)(space_watch *w);
};

#endif
