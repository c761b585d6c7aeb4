/* source.c: what all traces share, the life of sources and their cursors, and
 * two sources that stand on nothing else: a trace in memory, a part of another.
 */
#include "trace.h"

void trace_source_init(trace_source *s, const trace_source_class *cls, const vm_host *host)
{
    s->cls = cls;
    s->host = *host;
    s->refs = 1;
}

trace_source *trace_source_retain(trace_source *s)
{
    s->refs++;
    return s;
}

void trace_source_release(trace_source *s)
{
    if (s && --s->refs == 0)
        s->cls->destroy(s);
}

vm_status trace_open(trace_source *s, trace_cursor **out, vm_error *e)
{
    *out = NULL;
    vm_status st = s->cls->open(s, out, e);
    if (st != VM_OK)
        return st;
    (*out)->host = &s->host;
    (*out)->source = trace_source_retain(s);
    return VM_OK;
}

void trace_close(trace_cursor *c)
{
    if (!c)
        return;
    trace_source *s = c->source;
    c->cls->close(c);
    trace_source_release(s);
}

/* --- a trace in memory ---------------------------------------------------- */

typedef struct memory_source {
    trace_source base;
    access_record *records;
    size_t count;
    access_event *events;
    size_t event_count;
    char *names; /* of all events, each 0-ended */
    size_t name_bytes;
    size_t record_cap, event_cap, name_cap; /* what the arrays have room for */
} memory_source;

typedef struct memory_cursor {
    trace_cursor base;
    const memory_source *from;
    size_t at;
} memory_cursor;

static vm_status memory_next(trace_cursor *c, trace_block *b, vm_error *e)
{
    (void)e;
    memory_cursor *m = (memory_cursor *)c;
    size_t n = m->from->count - m->at;
    b->records = m->from->records + m->at;
    b->count = n < TRACE_BLOCK ? n : TRACE_BLOCK;
    b->events = m->from->events;
    b->event_count = m->from->event_count;
    m->at += b->count;
    return VM_OK;
}

static void memory_close(trace_cursor *c) { host_free(c->host, c, sizeof(memory_cursor)); }

static const trace_cursor_class memory_cursor_class = {"memory", memory_next, memory_close};

static vm_status memory_open(trace_source *s, trace_cursor **out, vm_error *e)
{
    memory_cursor *m = host_zalloc(&s->host, sizeof *m);
    if (!m)
        return vm_fail_nomem(e, "a trace's cursor");
    m->base.cls = &memory_cursor_class;
    m->from = (const memory_source *)s;
    *out = &m->base;
    return VM_OK;
}

static bool memory_count(trace_source *s, uint64_t *accesses)
{
    const memory_source *m = (const memory_source *)s;
    uint64_t n = 0;
    for (size_t i = 0; i < m->count; i++)
        n += m->records[i].kind != ACCESS_EVENT;
    *accesses = n;
    return true;
}

static void memory_destroy(trace_source *s)
{
    memory_source *m = (memory_source *)s;
    vm_host host = s->host;
    host_free(&host, m->records, m->record_cap * sizeof *m->records);
    host_free(&host, m->events, m->event_cap * sizeof *m->events);
    host_free(&host, m->names, m->name_cap);
    host_free(&host, m, sizeof *m);
}

static const trace_source_class memory_source_class = {"memory", memory_open, memory_count,
                                                       NULL,     NULL,        memory_destroy};

vm_status trace_memory(const vm_host *host, const access_record *records, size_t count,
                       const access_event *events, size_t event_count, trace_source **out,
                       vm_error *e)
{
    *out = NULL;
    memory_source *m = host_zalloc(host, sizeof *m);
    if (!m)
        return vm_fail_nomem(e, "a trace");
    trace_source_init(&m->base, &memory_source_class, host);
    size_t bytes = 0;
    for (size_t i = 0; i < event_count; i++)
        bytes += events[i].name ? strlen(events[i].name) + 1 : 0;
    m->records = count ? host_alloc(host, count * sizeof *records) : NULL;
    m->record_cap = m->count = m->records ? count : 0;
    m->events = event_count ? host_alloc(host, event_count * sizeof *events) : NULL;
    m->event_cap = m->event_count = m->events ? event_count : 0;
    m->names = bytes ? host_alloc(host, bytes) : NULL;
    m->name_cap = m->name_bytes = m->names ? bytes : 0;
    if (m->count < count || m->event_count < event_count || m->name_bytes < bytes) {
        memory_destroy(&m->base);
        return vm_fail_nomem(e, "a trace in memory");
    }
    if (count)
        memcpy(m->records, records, count * sizeof *records);
    char *name = m->names;
    for (size_t i = 0; i < event_count; i++) {
        m->events[i] = events[i];
        if (events[i].name) {
            size_t n = strlen(events[i].name) + 1;
            m->events[i].name = memcpy(name, events[i].name, n);
            name += n;
        }
    }
    *out = &m->base;
    return VM_OK;
}

/* Append a block. Names become offsets into m->names, by 1 more, until the copy is whole:
 * their array still moves. */
static vm_status memory_add(memory_source *m, const trace_block *b, size_t cap[3], vm_error *e)
{
    const vm_host *h = &m->base.host;
    size_t first = m->event_count;
    if (!host_grow(h, (void **)&m->records, &cap[0], m->count + b->count, sizeof *m->records))
        return vm_fail_nomem(e, "a trace in memory");
    memcpy(m->records + m->count, b->records, b->count * sizeof *b->records);
    for (size_t i = 0; i < b->count; i++) {
        access_record *r = &m->records[m->count + i];
        if (r->kind != ACCESS_EVENT)
            continue;
        const access_event *v = &b->events[r->addr];
        size_t n = v->name ? strlen(v->name) + 1 : 0;
        if (!host_grow(h, (void **)&m->events, &cap[1], first + 1, sizeof *m->events) ||
            !host_grow(h, (void **)&m->names, &cap[2], m->name_bytes + n, 1))
            return vm_fail_nomem(e, "a trace in memory");
        m->events[first] = *v;
        m->events[first].name = NULL;
        if (n) {
            memcpy(m->names + m->name_bytes, v->name, n);
            m->events[first].name = (const char *)(uintptr_t)(m->name_bytes + 1);
            m->name_bytes += n;
        }
        r->addr = first++;
    }
    m->count += b->count;
    m->event_count = first;
    return VM_OK;
}

vm_status trace_copy(const vm_host *host, trace_source *from, trace_source **out, vm_error *e)
{
    memory_source *m = host_zalloc(host, sizeof *m);
    trace_cursor *c;
    *out = NULL;
    if (!m)
        return vm_fail_nomem(e, "a trace");
    trace_source_init(&m->base, &memory_source_class, host);
    vm_status st = trace_open(from, &c, e);
    if (st != VM_OK) {
        memory_destroy(&m->base);
        return st;
    }
    size_t cap[3] = {0, 0, 0};
    trace_block b;
    while ((st = trace_next(c, &b, e)) == VM_OK && b.count > 0)
        if ((st = memory_add(m, &b, cap, e)) != VM_OK)
            break;
    trace_close(c);
    for (size_t i = 0; i < m->event_count; i++)
        if (m->events[i].name)
            m->events[i].name = m->names + (uintptr_t)m->events[i].name - 1;
    m->record_cap = cap[0];
    m->event_cap = cap[1];
    m->name_cap = cap[2];
    if (st != VM_OK) {
        memory_destroy(&m->base);
        return st;
    }
    *out = &m->base;
    return VM_OK;
}

/* --- a part of another trace ----------------------------------------------- */

typedef struct slice_source {
    trace_source base;
    trace_source *inner;
    uint64_t first, last;
} slice_source;

typedef struct slice_cursor {
    trace_cursor base;
    trace_cursor *inner;
    uint64_t skip, left;
} slice_cursor;

static vm_status slice_next(trace_cursor *c, trace_block *b, vm_error *e)
{
    slice_cursor *s = (slice_cursor *)c;
    memset(b, 0, sizeof *b);
    while (s->left > 0) {
        vm_status st = trace_next(s->inner, b, e);
        if (st != VM_OK || b->count == 0)
            return st;
        size_t skip = s->skip < b->count ? (size_t)s->skip : b->count;
        s->skip -= skip;
        b->records += skip;
        b->count -= skip;
        if (b->count > s->left)
            b->count = (size_t)s->left;
        s->left -= b->count;
        if (b->count > 0)
            return VM_OK;
    }
    return VM_OK;
}

static void slice_close(trace_cursor *c)
{
    trace_close(((slice_cursor *)c)->inner);
    host_free(c->host, c, sizeof(slice_cursor));
}

static const trace_cursor_class slice_cursor_class = {"slice", slice_next, slice_close};

static vm_status slice_open(trace_source *src, trace_cursor **out, vm_error *e)
{
    slice_source *from = (slice_source *)src;
    slice_cursor *s = host_zalloc(&src->host, sizeof *s);
    if (!s)
        return vm_fail_nomem(e, "a trace's cursor");
    vm_status st = trace_open(from->inner, &s->inner, e);
    if (st != VM_OK) {
        host_free(&src->host, s, sizeof *s);
        return st;
    }
    s->base.cls = &slice_cursor_class;
    s->skip = from->first;
    s->left = from->last - from->first;
    *out = &s->base;
    return VM_OK;
}

static void slice_describe(trace_source *src, char *text, size_t size)
{
    trace_source *inner = ((slice_source *)src)->inner;
    if (inner->cls->describe)
        inner->cls->describe(inner, text, size);
    else if (size)
        text[0] = '\0';
}

static void slice_destroy(trace_source *src)
{
    vm_host host = src->host;
    trace_source_release(((slice_source *)src)->inner);
    host_free(&host, src, sizeof(slice_source));
}

static const trace_source_class slice_source_class = {"slice", slice_open,     NULL,
                                                      NULL,    slice_describe, slice_destroy};

vm_status trace_slice(const vm_host *host, trace_source *inner, uint64_t first, uint64_t last,
                      trace_source **out, vm_error *e)
{
    slice_source *s = host_zalloc(host, sizeof *s);
    *out = NULL;
    if (!s)
        return vm_fail_nomem(e, "a slice of a trace");
    trace_source_init(&s->base, &slice_source_class, host);
    s->inner = trace_source_retain(inner);
    s->first = first;
    s->last = last > first ? last : first;
    *out = &s->base;
    return VM_OK;
}
