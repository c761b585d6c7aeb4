/* meter.c: totals of a trace, taken as its records pass.
 *
 * Pages touched are kept as a bitmap of 512 pages (2 MiB) a cell, the cells in
 * an open-addressed hash table by number. An access marks the pages of its
 * first and its last byte: no real access reaches a third page, and a damaged
 * or made-up size of gigabytes shall not cost memory.
 */
#include "trace.h"

#define METER_PAGE_BITS 12
#define METER_CELL_BITS 9
#define METER_RECENT    256u
#define METER_BATCH     4095u /* records whose counts by kind fit 12 bits each */

typedef struct meter_cell {
    uint64_t number; /* the page number's upper bits + 1; 0: free */
    uint64_t bits[(1 << METER_CELL_BITS) / 64];
} meter_cell;

struct trace_meter {
    vm_host host;
    trace_totals totals;
    bool started;
    uint64_t recent[METER_RECENT]; /* pages + 1 that are marked, by their lowest bits */
    meter_cell *cells;
    size_t cell_room, cell_count; /* room is a power of two, at most 3/4 full */
};

trace_meter *trace_meter_new(const vm_host *host)
{
    trace_meter *m = host_zalloc(host, sizeof *m);
    if (!m)
        return NULL;
    m->host = *host;
    m->cell_room = 64;
    m->cells = host_zalloc(host, m->cell_room * sizeof *m->cells);
    if (!m->cells) {
        host_free(host, m, sizeof *m);
        return NULL;
    }
    return m;
}

void trace_meter_free(trace_meter *m)
{
    if (!m)
        return;
    vm_host host = m->host;
    host_free(&host, m->cells, m->cell_room * sizeof *m->cells);
    host_free(&host, m, sizeof *m);
}

static meter_cell *meter_probe(meter_cell *cells, size_t room, uint64_t number)
{
    size_t i = (size_t)((number * UINT64_C(0x9e3779b97f4a7c15)) >> 20) & (room - 1);
    while (cells[i].number != 0 && cells[i].number != number)
        i = (i + 1) & (room - 1);
    return &cells[i];
}

static bool meter_enlarge(trace_meter *m)
{
    size_t room = m->cell_room * 2;
    meter_cell *cells = host_zalloc(&m->host, room * sizeof *cells);
    if (!cells)
        return false;
    for (size_t i = 0; i < m->cell_room; i++)
        if (m->cells[i].number)
            *meter_probe(cells, room, m->cells[i].number) = m->cells[i];
    host_free(&m->host, m->cells, m->cell_room * sizeof *m->cells);
    m->cells = cells;
    m->cell_room = room;
    return true;
}

static bool meter_mark(trace_meter *m, uint64_t page)
{
    uint64_t number = (page >> METER_CELL_BITS) + 1;
    meter_cell *cell = meter_probe(m->cells, m->cell_room, number);
    if (cell->number == 0) {
        if (m->cell_count >= m->cell_room / 4 * 3) {
            if (!meter_enlarge(m))
                return false;
            cell = meter_probe(m->cells, m->cell_room, number);
        }
        cell->number = number;
        m->cell_count++;
    }
    uint64_t bit = UINT64_C(1) << (page & 63);
    uint64_t *word = &cell->bits[(page & low_mask(METER_CELL_BITS)) >> 6];
    m->totals.pages += (*word & bit) == 0;
    *word |= bit;
    return true;
}

/* Both pages of an access that are not known to be marked. */
static VM_NOINLINE bool meter_mark_both(trace_meter *m, uint64_t page, uint64_t end)
{
    if (!meter_mark(m, page) || !meter_mark(m, end))
        return false;
    m->recent[page % METER_RECENT] = page + 1;
    m->recent[end % METER_RECENT] = end + 1;
    return true;
}

static bool meter_batch(trace_meter *m, const access_record *r, size_t n)
{
    trace_totals *t = &m->totals;
    uint64_t kinds = 0, min = t->min, max = t->max, last = t->last, tasks = t->tasks;
    for (size_t i = 0; i < n; i++, r++) {
        kinds += UINT64_C(1) << (12 * r->kind);
        if (r->task >= tasks)
            tasks = (uint64_t)r->task + 1;
        if (VM_UNLIKELY(r->kind == ACCESS_EVENT))
            continue;
        uint64_t low = r->addr, high = low + (r->size - 1);
        if (VM_UNLIKELY(high < low))
            high = UINT64_MAX;
        if (VM_UNLIKELY(!m->started)) {
            m->started = true;
            t->first = low;
            min = low;
        }
        last = low;
        min = low < min ? low : min;
        max = high > max ? high : max;
        uint64_t page = low >> METER_PAGE_BITS, end = high >> METER_PAGE_BITS;
        if ((m->recent[page % METER_RECENT] != page + 1 || page != end) &&
            !meter_mark_both(m, page, end))
            return false;
    }
    for (size_t k = 0; k <= ACCESS_EVENT; k++)
        t->kinds[k] += kinds >> (12 * k) & 0xfff;
    t->min = min;
    t->max = max;
    t->last = last;
    t->tasks = tasks;
    return true;
}

vm_status trace_meter_add(trace_meter *m, const trace_block *b, vm_error *e)
{
    for (size_t i = 0, n; i < b->count; i += n) {
        n = b->count - i < METER_BATCH ? b->count - i : METER_BATCH;
        if (!meter_batch(m, b->records + i, n))
            return vm_fail_nomem(e, "the set of pages that a trace touches");
    }
    return VM_OK;
}

void trace_meter_read(const trace_meter *m, trace_totals *t) { *t = m->totals; }

vm_status trace_measure(trace_source *s, trace_totals *t, vm_error *e)
{
    memset(t, 0, sizeof *t);
    if (s->cls->totals && s->cls->totals(s, t))
        return VM_OK;
    uint64_t bytes = t->bytes;
    trace_meter *m = trace_meter_new(&s->host);
    if (!m)
        return vm_fail_nomem(e, "a trace's totals");
    trace_cursor *c = NULL;
    trace_block b;
    vm_status st = trace_open(s, &c, e);
    while (st == VM_OK && (st = trace_next(c, &b, e)) == VM_OK && b.count > 0)
        st = trace_meter_add(m, &b, e);
    trace_close(c);
    if (st == VM_OK) {
        trace_meter_read(m, t);
        t->bytes = bytes;
    }
    trace_meter_free(m);
    return st;
}
