#include "events.h"

/* clang-format off */
#define EVENT_NAMES(list) {list, sizeof list / sizeof *list}
/* clang-format on */

static const char *const event_code_list[] = {"none",         "absent",  "protection",
                                              "noncanonical", "unknown", "bus"};
static const char *const event_access_list[] = {"fetch", "load", "store", "modify"};
static const char *const event_way_list[] = {"minor",    "major",  "cow",
                                             "spurious", "killed", "failed"};
/* By their numbers on Linux. */
static const char *const event_signal_list[] = {
    "none",      "SIGHUP",  "SIGINT",  "SIGQUIT", "SIGILL",  "SIGTRAP", "SIGABRT", "SIGBUS",
    "SIGFPE",    "SIGKILL", "SIGUSR1", "SIGSEGV", "SIGUSR2", "SIGPIPE", "SIGALRM", "SIGTERM",
    "SIGSTKFLT", "SIGCHLD", "SIGCONT", "SIGSTOP", "SIGTSTP", "SIGTTIN", "SIGTTOU"};
static const char *const event_cause_list[] = {"sent",   "MAPERR",  "ACCERR",
                                               "ADRERR", "UNKNOWN", "OOM"};

const event_names event_codes = EVENT_NAMES(event_code_list);
const event_names event_accesses = EVENT_NAMES(event_access_list);
const event_names event_ways = EVENT_NAMES(event_way_list);
const event_names event_signals = EVENT_NAMES(event_signal_list);
const event_names event_causes = EVENT_NAMES(event_cause_list);

const kevent_row kevent_rows[KEVENT_TYPES] = {
#define X(id, name, addr, doc, ...) {name, addr, doc, {__VA_ARGS__}},
    KERNEL_EVENTS(X)
#undef X
};

uint64_t event_field_value(const event_field *f, uint64_t a, uint64_t b)
{
    uint64_t v = f->in == EVENT_IN_b ? b : a;
    return f->kind == EVENT_FIELD_NAME ? v >> f->shift & 0xff : v;
}

uint32_t event_name_number(const event_names *n, const char *name)
{
    uint32_t i = 0;
    while (i < n->count && strcmp(n->names[i], name) != 0)
        i++;
    return i;
}

/* --- rings ------------------------------------------------------------------------ */

#define EVENTS_PENDING_FIRST 256  /* events that `pending` begins with */
#define EVENTS_PENDING_SPARE 4096 /* more than these are given back once empty */

static void event_ring_free(event_ring *r, const vm_host *host)
{
    if (r->e)
        host_free(host, r->e, r->cap * sizeof *r->e);
    r->e = NULL;
    r->cap = 0;
}

/* Twice the room, if there is memory for it. */
static void event_ring_grow(event_ring *r, const vm_host *host)
{
    size_t cap = r->cap ? 2 * r->cap : EVENTS_PENDING_FIRST;
    kernel_event *e = host_alloc(host, cap * sizeof *e);
    if (!e)
        return;
    for (uint64_t n = r->first; n < r->next; n++)
        e[n % cap] = r->e[n % r->cap];
    event_ring_free(r, host);
    r->e = e;
    r->cap = cap;
}

static void event_ring_put(event_ring *r, const kernel_event *x)
{
    if (r->next - r->first == r->cap) { /* the oldest goes; with no room at all, this one */
        r->lost++;
        if (!r->cap)
            return;
        r->first++;
    }
    r->e[r->next++ % r->cap] = *x;
}

static void events_choose(event_log *ev) { ev->wanted = ev->kept.wanted | ev->pending.wanted; }

/* --- the kernel's side ------------------------------------------------------------- */

void events_init(event_log *ev, const vm_host *host, uint64_t (*clock)(void *ud), void *ud)
{
    memset(ev, 0, sizeof *ev);
    ev->host = host;
    ev->clock = clock;
    ev->ud = ud;
}

void events_free(event_log *ev)
{
    event_ring_free(&ev->kept, ev->host);
    event_ring_free(&ev->pending, ev->host);
    memset(ev, 0, sizeof *ev);
}

void events_put_at(event_log *ev, uint64_t clock, event_type type, uint32_t pid, uint64_t addr,
                   uint64_t a, uint64_t b)
{
    event_ring *p = &ev->pending;
    kernel_event x = {clock, addr, a, b, pid, ev->cpu, (uint16_t)type};
    if (ev->kept.wanted >> type & 1)
        event_ring_put(&ev->kept, &x);
    if (p->wanted >> type & 1) {
        if (p->next - p->first == p->cap && p->cap < EVENTS_PENDING_MAX)
            event_ring_grow(p, ev->host);
        event_ring_put(p, &x);
    }
}

void events_put(event_log *ev, event_type type, uint32_t pid, uint64_t addr, uint64_t a, uint64_t b)
{
    events_put_at(ev, ev->clock(ev->ud), type, pid, addr, a, b);
}

/* --- the other side --------------------------------------------------------------------- */

vm_status events_keep(event_log *ev, size_t size, uint32_t types, vm_error *e)
{
    event_ring fresh = {.cap = size, .wanted = size ? types : 0};
    if (size && !(fresh.e = host_alloc(ev->host, size * sizeof *fresh.e)))
        return vm_fail_nomem(e, "the events to keep");
    event_ring_free(&ev->kept, ev->host);
    ev->kept = fresh;
    events_choose(ev);
    return VM_OK;
}

void events_listen(event_log *ev, uint32_t types)
{
    ev->pending.wanted = types;
    events_choose(ev);
}

bool events_take(event_log *ev, kernel_event *out, uint64_t *number)
{
    event_ring *p = &ev->pending;
    if (p->first == p->next)
        return false;
    *number = p->first;
    *out = p->e[p->first++ % p->cap];
    if (p->first == p->next && p->cap > EVENTS_PENDING_SPARE)
        event_ring_free(p, ev->host);
    return true;
}

void events_forget(event_log *ev)
{
    ev->pending.lost += events_pending(ev);
    ev->pending.first = ev->pending.next;
}

const kernel_event *events_kept(const event_log *ev, uint64_t number)
{
    return &ev->kept.e[number % ev->kept.cap];
}
