/* events.h: what the kernel tells of: faults, evictions, pages swapped, signals,
 * as records of one size, in the order in which they happened.
 *
 * Two rings take them. `kept` has a fixed size and drops its oldest events: the
 * last so many, for a trace file. `pending` grows up to EVENTS_PENDING_MAX and
 * waits for somebody to take its events out between two operations of the
 * machine: nobody is ever called from here, in the midst of one.
 *
 * Invariants
 *   - `wanted` has the bits of all types that one of the rings wants; while it is
 *     0, an event costs one branch, which kernel_emit makes.
 *   - An event's number is how many came before it in its ring; a ring holds the
 *     numbers first .. next - 1. What it dropped is counted in `lost`.
 *   - Nothing here changes a counter or the clock.
 * Units: cycles of the machine's clock, bytes, pages of the machine's page size.
 */
#ifndef VM_EVENTS_H
#define VM_EVENTS_H

#include "../base/base.h"

/* Names of an argument's values; a value beyond the list has none. */
typedef struct event_names {
    const char *const *names;
    uint32_t count;
} event_names;

extern const event_names event_codes, event_accesses, event_ways, event_signals, event_causes;

/* clang-format off */
#define EVENT_COUNT(name, in, doc) {#name, EVENT_FIELD_COUNT, EVENT_IN_##in, 0, NULL, doc}
#define EVENT_BOOL(name, in, doc)  {#name, EVENT_FIELD_BOOL, EVENT_IN_##in, 0, NULL, doc}
#define EVENT_NAME(name, in, shift, names, doc) \
    {#name, EVENT_FIELD_NAME, EVENT_IN_##in, shift, names, doc}
/* clang-format on */
enum { EVENT_IN_a, EVENT_IN_b };

/* X(id, name, what addr is (NULL: it has none), doc, fields...): a field is all of
 * `a` or `b`, or the number of a name in 8 bits of it. */
#define KERNEL_EVENTS(X)                                                                           \
    X(FAULT, "fault", "the address that was accessed", "a page fault, when it was dealt with",     \
      EVENT_NAME(code, a, 0, &event_codes, "what the hardware reported"),                          \
      EVENT_NAME(access, a, 8, &event_accesses, "the kind of access"),                             \
      EVENT_NAME(served, a, 16, &event_ways, "how the kernel dealt with it"),                      \
      EVENT_COUNT(cycles, b, "cycles it took, disk included; it began so long before clock"))      \
    X(EVICTION, "eviction", "of the page", "a page lost its frame",                                \
      EVENT_COUNT(frame, a, "the frame"), EVENT_BOOL(dirty, b, "was it written since it came"))    \
    X(WRITEBACK, "writeback", "of the page, in the process that has it mapped",                    \
      "a dirty page of a file was written to the disk", EVENT_COUNT(frame, a, "its frame"),        \
      EVENT_COUNT(index, b, "which page of the file, from 0"))                                     \
    X(CLUSTER, "cluster", "of the first page",                                                     \
      "a dirty page and those that follow it were written in one request",                         \
      EVENT_COUNT(block, a, "of the disk, where the first went"),                                  \
      EVENT_COUNT(pages, b, "of them"))                                                            \
    X(SWAP_IN, "swap_in", "of the page", "a page was read from swap",                              \
      EVENT_COUNT(frame, a, "where to"), EVENT_COUNT(slot, b, "of swap"))                          \
    X(SWAP_OUT, "swap_out", "of the page", "a page was written to swap",                           \
      EVENT_COUNT(frame, a, "where from"), EVENT_COUNT(slot, b, "of swap"))                        \
    X(COW, "cow", "of the page", "a write to a shared private page gave it a frame of its own",    \
      EVENT_COUNT(from, a, "the shared frame"),                                                    \
      EVENT_COUNT(frame, b, "its own; the same where nobody else had it any more"))                \
    X(ZERO_FILL, "zero_fill", "of the page", "a page of zeros was made",                           \
      EVENT_COUNT(frame, a, "its (first) frame"),                                                  \
      EVENT_COUNT(pages, b, "base pages: more than 1 for a large page"))                           \
    X(FORK, "fork", NULL, "a process was copied; pid is the parent's",                             \
      EVENT_COUNT(child, a, "the new process's pid"))                                              \
    X(EXEC, "exec", "where the program begins", "a process began another program",                 \
      EVENT_COUNT(pages, a, "that the program before had in frames"))                              \
    X(EXIT, "exit", NULL, "a process ended", EVENT_COUNT(status, a, "its exit status"))            \
    X(SIGNAL, "signal", "that caused it", "a process got a signal",                                \
      EVENT_NAME(signal, a, 0, &event_signals, "which"),                                           \
      EVENT_NAME(cause, a, 8, &event_causes, "why, as a fault object's code has it"))              \
    X(SHOOTDOWN, "shootdown", "of the first page", "translations left the TLBs: a PTE changed",    \
      EVENT_COUNT(pages, a, "whose translations left"),                                            \
      EVENT_COUNT(cpus, b, "other processors that were interrupted"))                              \
    X(SWITCH, "switch", NULL, "a process began to run; pid is its own",                            \
      EVENT_COUNT(from, a, "the pid that ran before; 0: none"))                                    \
    X(PROMOTE, "promote", "of the large page", "base pages became a transparent large page",       \
      EVENT_COUNT(frame, a, "its first frame"),                                                    \
      EVENT_COUNT(copied, b, "base pages that were copied"))                                       \
    X(SPLIT, "split", "of the large page", "a transparent large page became base pages",           \
      EVENT_COUNT(frame, a, "its first frame"))                                                    \
    X(COMPACTION, "compaction", NULL, "pages moved together, so that free frames came together",   \
      EVENT_COUNT(moved, a, "pages that moved"),                                                   \
      EVENT_COUNT(frames, b, "of the block that was wanted; 0: all of memory"))                    \
    X(SUSPEND, "suspend", NULL, "load control swapped a process out",                              \
      EVENT_COUNT(pages, a, "that lost their frames"))                                             \
    X(RESUME, "resume", NULL, "load control took a process back",                                  \
      EVENT_COUNT(pages, a, "that were read at once"))                                             \
    X(OOM, "oom", NULL, "memory and swap were used up; pid is the process that was chosen to end", \
      EVENT_COUNT(pages, a, "that it had in frames"))

typedef enum event_field_kind {
    EVENT_FIELD_COUNT,
    EVENT_FIELD_NAME,
    EVENT_FIELD_BOOL
} event_field_kind;

#define EVENT_FIELDS 4 /* the most that an event has */

typedef struct event_field {
    const char *name;
    event_field_kind kind;
    uint8_t in;    /* EVENT_IN_a or EVENT_IN_b */
    uint8_t shift; /* of a name's 8 bits */
    const event_names *names;
    const char *doc;
} event_field;

typedef struct kevent_row {
    const char *name, *addr, *doc;
    event_field fields[EVENT_FIELDS]; /* up to the first without a name */
} kevent_row;

typedef enum event_type {
#define X(id, ...) KEVENT_##id,
    KERNEL_EVENTS(X)
#undef X
        KEVENT_TYPES
} event_type;

extern const kevent_row kevent_rows[KEVENT_TYPES];

/* What a field of the row says of a and b. */
uint64_t event_field_value(const event_field *f, uint64_t a, uint64_t b);
/* The number of a name; `count` of the names (which has no name) if it is none. */
uint32_t event_name_number(const event_names *n, const char *name);

/* How faults are served. */
enum { EVENT_MINOR, EVENT_MAJOR, EVENT_COW, EVENT_SPURIOUS, EVENT_KILLED, EVENT_FAILED };

typedef struct kernel_event {
    uint64_t clock; /* cycles since the machine was made */
    uint64_t addr, a, b;
    uint32_t pid; /* 0: nobody's */
    uint16_t cpu;
    uint16_t type;
} kernel_event;

typedef struct event_ring {
    kernel_event *e; /* number n is at n % cap */
    size_t cap;
    uint64_t first, next;
    uint64_t lost;   /* dropped; who takes events out may set it back */
    uint32_t wanted; /* bits by type */
} event_ring;

#define EVENTS_PENDING_MAX (UINT64_C(1) << 20)

typedef struct event_log {
    uint32_t wanted;
    uint16_t cpu; /* that runs: set by whoever runs several */
    const vm_host *host;
    uint64_t (*clock)(void *ud);
    void *ud;
    event_ring kept, pending;
} event_log;

void events_init(event_log *ev, const vm_host *host, uint64_t (*clock)(void *ud), void *ud);
void events_free(event_log *ev);
/* Keep the last `size` events of these types, from now on; 0: keep none. */
vm_status events_keep(event_log *ev, size_t size, uint32_t types, vm_error *e);
/* Which types wait in `pending`. */
void events_listen(event_log *ev, uint32_t types);
/* Take the oldest pending event, its number in *number. False: there is none. */
bool events_take(event_log *ev, kernel_event *out, uint64_t *number);
/* Forget all that is pending, as lost. */
void events_forget(event_log *ev);
/* The kept event of this number, which the ring holds. */
const kernel_event *events_kept(const event_log *ev, uint64_t number);
/* Behind kernel_emit: only when the type is wanted. */
void events_put(event_log *ev, event_type type, uint32_t pid, uint64_t addr, uint64_t a,
                uint64_t b);
/* The same for what happened at another time than now. */
void events_put_at(event_log *ev, uint64_t clock, event_type type, uint32_t pid, uint64_t addr,
                   uint64_t a, uint64_t b);

VM_INLINE bool events_want(const event_log *ev, event_type type)
{
    return VM_UNLIKELY(ev->wanted >> type & 1);
}
VM_INLINE uint64_t events_pending(const event_log *ev)
{
    return ev->pending.next - ev->pending.first;
}

#endif
