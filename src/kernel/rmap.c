#include "rmap.h"

void rmap_free(kernel *k) { host_free(k->host, k->batches, k->batch_cap * sizeof *k->batches); }

/* The number of the table's batch, plus 1; 0: none. Tables have no key otherwise. */
static uint64_t *rmap_batch(const kernel *k, uint64_t table)
{
    return &frames_at(&k->frames, table >> k->hw->g.page_bits)->key;
}

/* The leaf table that the entry for vpn is in. */
static uint64_t rmap_table(const kernel *k, uint64_t pte_pa, uint64_t vpn)
{
    const pt_geometry *g = &k->hw->g;
    return pte_pa - (vpn & low_mask(g->bits[0])) * g->format->bytes;
}

/* The batch is closed: the last one takes its place. */
static fork_batch rmap_close(kernel *k, size_t i)
{
    fork_batch b = k->batches[i], last = k->batches[--k->batch_count];
    *rmap_batch(k, last.from) = *rmap_batch(k, last.to) = i + 1;
    k->batches[i] = last;
    *rmap_batch(k, b.from) = *rmap_batch(k, b.to) = 0;
    k->frames.promised -= b.pages;
    return b;
}

#define RMAP_MANY  32 /* mappings: to settle all is quicker than to ask each one's table */
#define RMAP_AHEAD 12 /* so many entries ahead, the record of a frame is asked for */

static VM_NOINLINE void rmap_settle_batch(kernel *k, size_t i)
{
    const pte_format *f = k->hw->g.format;
    const dram *mem = &k->hw->mem;
    const fork_batch b = rmap_close(k, i);
    const uint64_t stop = b.to + b.stop * f->bytes;
    uint64_t vpn = b.vpn + b.first;
    for (uint64_t pa = b.to + b.first * f->bytes; pa < stop; pa += f->bytes, vpn++) {
        uint64_t pte = dram_get(mem, pa, f->bytes), ahead = pa + RMAP_AHEAD * f->bytes;
        if (ahead < stop)
            VM_PREFETCH(frames_at(&k->frames, pte_ppn(f, dram_get(mem, ahead, f->bytes))));
        if (pte & f->present && pte_ppn(f, pte) != k->zero_ppn)
            frames_map(&k->frames, frames_at(&k->frames, pte_ppn(f, pte)), b.space, vpn, pa);
    }
}

void rmap_settle_all(kernel *k)
{
    while (k->batch_count)
        rmap_settle_batch(k, k->batch_count - 1);
}

void rmap_settle_table(kernel *k, uint64_t pte_pa, uint64_t vpn)
{
    uint64_t batch = *rmap_batch(k, rmap_table(k, pte_pa, vpn));
    if (batch)
        rmap_settle_batch(k, (size_t)batch - 1);
}

void rmap_settle_mappings(kernel *k, frame *r)
{
    size_t before;
    if (r->level) /* of hugetlb: fork puts nothing off */
        return;
    if (r->mapped > RMAP_MANY) {
        rmap_settle_all(k);
        return;
    }
    do { /* a batch that is settled has added a mapping: look from the start */
        before = k->batch_count;
        for (mapping *x = frames_maps(r); x && before == k->batch_count;
             x = frames_maps_next(&k->frames, x))
            if (!x->large)
                rmap_settle_table(k, x->pte_pa, x->vpn);
    } while (before != k->batch_count && k->batch_count);
}

/* --- fork ---------------------------------------------------------------------------------- */

vm_status rmap_reserve(kernel *k, size_t pages, vm_error *e)
{
    void *list = k->batches;
    bool room = host_grow(k->host, &list, &k->batch_cap, k->batch_count + 1, sizeof *k->batches);
    k->batches = list;
    return room ? frames_map_reserve(&k->frames, pages, e) : vm_fail_nomem(e, "the reverse map");
}

void rmap_put_off(kernel *k, const space *to, uint64_t vpn, uint64_t from_pa, uint64_t to_pa,
                  uint32_t n, uint32_t pages)
{
    uint32_t first = (uint32_t)(vpn & low_mask(k->hw->g.bits[0]));
    uint64_t from = rmap_table(k, from_pa, vpn), table = rmap_table(k, to_pa, vpn);
    uint64_t *batch = rmap_batch(k, table);
    k->frames.promised += pages;
    if (*batch) { /* another area of the same table */
        k->batches[*batch - 1].stop = first + n;
        k->batches[*batch - 1].pages += pages;
        return;
    }
    k->batches[k->batch_count++] = (fork_batch){.from = from,
                                                .to = table,
                                                .vpn = vpn - first,
                                                .space = to->id,
                                                .first = first,
                                                .stop = first + n,
                                                .pages = pages};
    *batch = *rmap_batch(k, from) = k->batch_count;
}

bool rmap_open(const kernel *k, uint64_t from_pa, uint64_t to_pa, uint64_t vpn)
{
    uint64_t batch = *rmap_batch(k, rmap_table(k, from_pa, vpn));
    return batch && k->batches[batch - 1].to == rmap_table(k, to_pa, vpn);
}

/* --- a child that goes ------------------------------------------------------------------------ */

/* One entry of the child's; the page stays, for the parent has it. */
static void rmap_release(kernel *k, space *s, uint64_t va, uint64_t pa)
{
    const pte_format *f = k->hw->g.format;
    uint64_t pte = dram_get(&k->hw->mem, pa, f->bytes), ppn = pte_ppn(f, pte);
    if (!pte)
        return;
    if (!(pte & f->present)) {
        kernel_release(k, s, va, &(pt_place){.pa = pa, .pte = pte});
        return;
    }
    dram_put(&k->hw->mem, pa, f->bytes, 0);
    kernel_invalidate(k, s, va);
    if (ppn == k->zero_ppn)
        return;
    s->resident--;
    if (pte & (f->accessed | f->dirty))
        page_keep_bits(k, frames_at(&k->frames, ppn), pte);
}

/* n of them that lie in one block. Of a space that no TLB knows, most need nothing but to
 * be cleared and counted. */
static void rmap_release_run(kernel *k, space *s, uint64_t va, uint64_t pa, uint64_t n)
{
    const pte_format *f = k->hw->g.format;
    const uint64_t mask = f->present | f->accessed | f->dirty, page = kernel_page(k);
    const bool quiet = !kernel_heeds(k, s);
    const unsigned bytes = f->bytes;
    uint8_t *at = dram_block(&k->hw->mem, pa);
    uint64_t entries = 0, pages = 0;
    for (uint8_t *p = at + (pa & (DRAM_BLOCK - 1)); at && n; n--, va += page, pa += bytes) {
        uint64_t pte = dram_load(p, bytes);
        if (quiet && (pte & mask) == f->present) {
            dram_store(p, bytes, 0);
            entries++;
            pages += pte_ppn(f, pte) != k->zero_ppn;
        } else {
            rmap_release(k, s, va, pa);
        }
        p += bytes;
    }
    k->n.shootdowns += entries;
    s->resident -= pages;
}

uint64_t rmap_drop(kernel *k, space *s, uint64_t pte_pa, uint64_t va, uint64_t start, uint64_t stop)
{
    const pt_geometry *g = &k->hw->g;
    uint64_t vpn = kernel_vpn(k, va), batch = *rmap_batch(k, rmap_table(k, pte_pa, vpn));
    if (!batch)
        return 0;
    const fork_batch *open = &k->batches[batch - 1];
    uint64_t base = va - ((vpn - open->vpn) << g->page_bits);
    uint64_t first = base + ((uint64_t)open->first << g->page_bits);
    uint64_t end = base + ((uint64_t)open->stop << g->page_bits);
    if (open->space != s->id || first < start || va < first || va >= end || end > stop)
        return 0;
    const fork_batch b = rmap_close(k, (size_t)batch - 1);
    const uint64_t bytes = g->format->bytes, n = b.stop - b.first;
    uint64_t pa = b.to + b.first * bytes;
    for (uint64_t done = 0, part; done < n; done += part) {
        uint64_t room = (DRAM_BLOCK - ((pa + done * bytes) & (DRAM_BLOCK - 1))) / bytes;
        part = room < n - done ? room : n - done;
        rmap_release_run(k, s, first + (done << g->page_bits), pa + done * bytes, part);
    }
    return end;
}
