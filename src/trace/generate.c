/* generate.c: the list of generators, and what they share: the checks of their
 * options, the life of their sources, and passes that a row's `fill` feeds. */
#include "generate.h"

#include <inttypes.h>
#include <stdio.h>

const char *const generate_kind_names[] = {"count", "bytes", "number", "bool", "name"};

const generate_row *const generate_rows[] = {
    &generate_sequential, &generate_strided, &generate_loop,
    &generate_uniform,    &generate_zipf,    &generate_chase,
    &generate_matmul,     &generate_phases,  NULL,
};

const generate_row *generate_find(const char *name)
{
    for (size_t i = 0; generate_rows[i]; i++)
        if (strcmp(generate_rows[i]->source.name, name) == 0)
            return generate_rows[i];
    return NULL;
}

void generate_defaults(const generate_row *row, generate_value *v)
{
    for (size_t i = 0; row->options[i].name; i++)
        if (row->options[i].kind == GENERATE_NUMBER)
            v[i].x = row->options[i].value;
        else
            v[i].n = (int64_t)row->options[i].value;
}

static vm_status generate_check(const generate_row *row, const generate_value *v, vm_error *e)
{
    for (size_t i = 0; row->options[i].name; i++) {
        const generate_option *o = &row->options[i];
        const char *name = row->source.name;
        if (o->kind == GENERATE_NUMBER) {
            if (!(v[i].x >= o->min && v[i].x <= o->max)) /* not a number, neither */
                return vm_fail(e, VM_INVALID, "%s: option '%s' is %g, but takes %g to %g", name,
                               o->name, v[i].x, o->min, o->max);
        } else if (v[i].n < (int64_t)o->min || v[i].n > (int64_t)o->max) {
            return vm_fail(e, VM_INVALID,
                           "%s: option '%s' is %" PRId64 ", but takes %" PRId64 " to %" PRId64,
                           name, o->name, v[i].n, (int64_t)o->min, (int64_t)o->max);
        }
    }
    return VM_OK;
}

vm_status generate_new(const vm_host *host, const generate_row *row, const generate_value *v,
                       trace_source *const *traces, size_t trace_count, trace_source **out,
                       vm_error *e)
{
    vm_status st = generate_check(row, v, e);
    *out = NULL;
    if (st != VM_OK)
        return st;
    if (trace_count > SIZE_MAX / sizeof *traces)
        return vm_fail_nomem(e, "a list of traces");
    generate_source *s = host_zalloc(host, row->source_size);
    if (!s)
        return vm_fail_nomem(e, row->source.name);
    trace_source_init(&s->base, &row->source, host);
    s->row = row;
    s->counted = true;
    for (size_t i = 0; row->options[i].name; i++)
        s->v[i] = v[i];
    if (trace_count > 0) {
        s->traces = host_alloc(host, trace_count * sizeof *traces);
        if (!s->traces)
            st = vm_fail_nomem(e, "a list of traces");
        else
            while (s->trace_count < trace_count) {
                s->traces[s->trace_count] = trace_source_retain(traces[s->trace_count]);
                s->trace_count++;
            }
    }
    if (st == VM_OK)
        st = row->prepare(s, e);
    if (st != VM_OK)
        generate_destroy(&s->base);
    else
        *out = &s->base;
    return st;
}

void generate_destroy(trace_source *base)
{
    generate_source *s = (generate_source *)base;
    vm_host host = base->host;
    if (s->row->release)
        s->row->release(s);
    for (size_t i = 0; i < s->trace_count; i++)
        trace_source_release(s->traces[i]);
    host_free(&host, s->traces, s->trace_count * sizeof(trace_source *));
    host_free(&host, s, s->row->source_size);
}

bool generate_count(trace_source *base, uint64_t *accesses)
{
    const generate_source *s = (const generate_source *)base;
    *accesses = s->count;
    return s->counted;
}

void generate_describe(trace_source *base, char *text, size_t size)
{
    const generate_source *s = (const generate_source *)base;
    size_t used = 0;
    for (size_t i = 0; s->row->options[i].name && used < size; i++) {
        const generate_option *o = &s->row->options[i];
        const char *gap = i ? ", " : "";
        int n;
        if (o->kind == GENERATE_NUMBER)
            n = snprintf(text + used, size - used, "%s%s=%g", gap, o->name, s->v[i].x);
        else if (o->kind == GENERATE_NAME)
            n = snprintf(text + used, size - used, "%s%s=%s", gap, o->name, o->choices[s->v[i].n]);
        else if (o->kind == GENERATE_BOOL)
            n = snprintf(text + used, size - used, "%s%s=%s", gap, o->name,
                         s->v[i].n ? "true" : "false");
        else
            n = snprintf(text + used, size - used, "%s%s=%" PRId64, gap, o->name, s->v[i].n);
        used += n > 0 ? (size_t)n : 0;
    }
}

/* --- a pass ------------------------------------------------------------------- */

static vm_status generate_next(trace_cursor *base, trace_block *b, vm_error *e)
{
    generate_cursor *c = (generate_cursor *)base;
    (void)e;
    memset(b, 0, sizeof *b);
    if (c->left == 0)
        return VM_OK;
    size_t n = ((const generate_source *)base->source)->row->fill(c, c->records);
    if (n > c->left)
        n = (size_t)c->left;
    c->left -= n;
    b->records = c->records;
    b->count = n;
    return VM_OK;
}

static void generate_close(trace_cursor *c)
{
    host_free(c->host, c, ((const generate_source *)c->source)->row->cursor_size);
}

static const trace_cursor_class generate_cursor_class = {"generator", generate_next,
                                                         generate_close};

vm_status generate_open(trace_source *base, trace_cursor **out, vm_error *e)
{
    generate_source *s = (generate_source *)base;
    generate_cursor *c = host_alloc(&base->host, s->row->cursor_size);
    if (!c)
        return vm_fail_nomem(e, "a pass over a generated trace");
    c->base.cls = &generate_cursor_class;
    c->left = s->count;
    s->row->start(s, c);
    *out = &c->base;
    return VM_OK;
}

void generate_shuffle(vm_rng *r, uint32_t *order, uint32_t n)
{
    uint32_t rest;
    for (uint32_t i = 0; i < n; i++) {
        uint32_t j = (uint32_t)generate_below(r, (uint64_t)i + 1, &rest);
        order[i] = order[j];
        order[j] = i;
    }
}
