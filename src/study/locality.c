#include "locality.h"

/* --- times of reuse -------------------------------------------------------------------- */

/* Where to begin looking for a time's row: by its highest bit and the three below. */
#define LOCALITY_CELLS (64 * 8)

typedef struct locality_index {
    const uint64_t *windows;
    size_t count;
    uint32_t start[LOCALITY_CELLS];
} locality_index;

VM_INLINE uint32_t locality_cell(uint64_t x) /* x > 0 */
{
    unsigned top = log2_floor(x);
    return top * 8 + (uint32_t)(top >= 3 ? x >> (top - 3) & 7 : x << (3 - top) & 7);
}

static void locality_fill(locality_index *ix)
{
    uint32_t row = 0;
    for (uint32_t c = 0; c < LOCALITY_CELLS; c++) {
        unsigned top = c / 8;
        uint64_t least =
            top >= 3 ? (UINT64_C(8) + c % 8) << (top - 3) : (UINT64_C(8) + c % 8) >> (3 - top);
        while (row < ix->count && ix->windows[row] < least)
            row++;
        ix->start[c] = row;
    }
}

VM_INLINE size_t locality_row(const locality_index *ix, uint64_t x)
{
    size_t row = ix->start[locality_cell(x)];
    while (row < ix->count && ix->windows[row] < x)
        row++;
    return row;
}

VM_INLINE void locality_add(study_span *s, uint64_t x)
{
    s->count++;
    s->sum += x;
}

vm_status study_reuse_times(const vm_host *host, const study_refs *refs, const uint64_t *windows,
                            size_t count, study_reuse *rows, vm_error *e)
{
    locality_index ix = {.windows = windows, .count = count};
    uint32_t *last = host_zalloc(host, refs->pages * sizeof *last); /* position + 1 */
    if (!last)
        return vm_fail_nomem(e, "times of reuse");
    locality_fill(&ix);
    memset(rows, 0, (count + 1) * sizeof *rows);
    for (size_t i = 0; i < refs->count; i++) {
        VM_PREFETCH(&last[refs->refs[i + STUDY_AHEAD] & STUDY_PAGE]);
        uint32_t page = refs->refs[i] & STUDY_PAGE;
        uint64_t x = i + 1 - last[page];
        study_reuse *row = &rows[locality_row(&ix, x)];
        locality_add(last[page] ? &row->gap : &row->first, x);
        last[page] = (uint32_t)i + 1;
    }
    for (size_t p = 0; p < refs->pages; p++) {
        uint64_t x = refs->count + 1 - last[p];
        locality_add(&rows[locality_row(&ix, x)].end, x);
    }
    host_free(host, last, refs->pages * sizeof *last);
    return VM_OK;
}

/* --- page-fault frequency ------------------------------------------------------------------ */

vm_status study_pff_run(const vm_host *host, const study_refs *refs, uint64_t threshold,
                        study_pff *out, vm_error *e)
{
    uint32_t *last = host_zalloc(host, refs->pages * sizeof *last); /* position + 1; 0: away */
    uint32_t *set = host_alloc(host, refs->pages * sizeof *set);    /* resident pages */
    size_t size = 0, fault = 0, since = 0; /* `since`: where `size` came to be what it is */
    vm_status s = last && set ? VM_OK : vm_fail_nomem(e, "page-fault frequency");
    memset(out, 0, sizeof *out);
    for (size_t i = 0; s == VM_OK && i < refs->count; i++) {
        VM_PREFETCH(&last[refs->refs[i + STUDY_AHEAD] & STUDY_PAGE]);
        uint32_t page = refs->refs[i] & STUDY_PAGE;
        if (last[page] == 0) {
            out->pages += size * (i - since);
            since = i;
            out->faults++;
            if (size > 0 && i - fault >= threshold) {
                size_t kept = 0;
                for (size_t k = 0; k < size; k++)
                    if (last[set[k]] > fault)
                        set[kept++] = set[k];
                    else
                        last[set[k]] = 0;
                size = kept;
            }
            set[size++] = page;
            out->most = size > out->most ? size : out->most;
            fault = i;
        }
        last[page] = (uint32_t)i + 1;
    }
    out->pages += size * (refs->count - since);
    host_free(host, last, refs->pages * sizeof *last);
    host_free(host, set, refs->pages * sizeof *set);
    return s;
}

/* --- phases ---------------------------------------------------------------------------------- */

vm_status study_windows(const vm_host *host, const study_refs *refs, uint64_t length,
                        study_window *out, vm_error *e)
{
    uint32_t *seen = host_zalloc(host, refs->pages * sizeof *seen); /* its last window, from 2 */
    if (!seen)
        return vm_fail_nomem(e, "phases");
    uint32_t window = 2;
    for (size_t i = 0; i < refs->count; window++) {
        size_t end = refs->count - i < length ? refs->count : i + (size_t)length;
        study_window w = {0, 0};
        for (; i < end; i++) {
            uint32_t page = refs->refs[i] & STUDY_PAGE;
            VM_PREFETCH(&seen[refs->refs[i + STUDY_AHEAD] & STUDY_PAGE]);
            w.pages += seen[page] != window;
            w.kept += seen[page] == window - 1;
            seen[page] = window;
        }
        *out++ = w;
    }
    host_free(host, seen, refs->pages * sizeof *seen);
    return VM_OK;
}
