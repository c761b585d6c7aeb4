/* pagecache.c: files and their pages in memory.
 *
 * Disk blocks of files lie behind the swap area. A page gets its block when it
 * may be written; a page without one is zeros. Bytes behind the end of a file in
 * its last page may be written by mappings; they are zeroed when the file grows.
 */
#include <errno.h>
#include <stdio.h>

#include "kernel.h"

/* --- the table of pages ----------------------------------------------------------- */

vm_status file_need(file *f, const vm_host *host, uint64_t index, file_page **out, vm_error *e)
{
    size_t leaf = (size_t)(index / FILE_LEAF);
    if (leaf >= f->leaf_count) {
        void *p = f->leaves;
        size_t n = f->leaf_count;
        if (!host_grow(host, &p, &n, leaf + 1, sizeof *f->leaves))
            return vm_fail_nomem(e, "the pages of a file");
        f->leaves = p;
        memset(f->leaves + f->leaf_count, 0, (n - f->leaf_count) * sizeof *f->leaves);
        f->leaf_count = n;
    }
    if (!f->leaves[leaf]) {
        f->leaves[leaf] = host_alloc(host, FILE_LEAF * sizeof(file_page));
        if (!f->leaves[leaf])
            return vm_fail_nomem(e, "the pages of a file");
        memset(f->leaves[leaf], 0xff, FILE_LEAF * sizeof(file_page)); /* NUMBER_NONE */
    }
    *out = &f->leaves[leaf][index % FILE_LEAF];
    return VM_OK;
}

void file_free_table(file *f, const vm_host *host)
{
    for (size_t i = 0; i < f->leaf_count; i++)
        host_free(host, f->leaves[i], FILE_LEAF * sizeof(file_page));
    host_free(host, f->leaves, f->leaf_count * sizeof *f->leaves);
    f->leaves = NULL;
    f->leaf_count = 0;
}

/* --- files ---------------------------------------------------------------------------- */

vm_status file_new(kernel *k, const char *name, bool memory, file **out, vm_error *e)
{
    uint32_t id = 1;
    while (id < k->file_count && k->files[id])
        id++;
    void *list = k->files;
    bool room = host_grow(k->host, &list, &k->file_cap, (size_t)id + 1, sizeof *k->files);
    k->files = list;
    file *f = room ? host_zalloc(k->host, sizeof *f) : NULL;
    if (!f)
        return vm_fail_nomem(e, "a file");
    f->id = id;
    f->refs = 1;
    f->linked = !memory;
    f->memory = memory;
    snprintf(f->name, sizeof f->name, "%s", name);
    if (id >= k->file_count)
        k->file_count = (size_t)id + 1;
    k->files[id] = f;
    *out = f;
    return VM_OK;
}

file *file_find(const kernel *k, const char *name)
{
    for (size_t i = 1; i < k->file_count; i++)
        if (k->files[i] && k->files[i]->linked && strcmp(k->files[i]->name, name) == 0)
            return k->files[i];
    return NULL;
}

static void file_drop_block(kernel *k, file *f, file_page *page)
{
    uint32_t block = page->block;
    page->block = NUMBER_NONE;
    if (block == NUMBER_NONE)
        return;
    if (f->memory) {
        page_drop_slot(k, block);
    } else {
        pool_give(&k->blocks, block);
        disk_discard(&k->hw->disk, file_block(k, block));
    }
}

/* Nobody maps the page any more: it goes, from memory and from the disk. */
static void file_drop_page(kernel *k, file *f, file_page *page)
{
    if (page->frame != NUMBER_NONE) {
        uint64_t ppn = page->frame;
        file_drop_frame(k, f, frames_at(&k->frames, ppn)->index);
        page_free(k, ppn);
    }
    file_drop_block(k, f, page);
}

void file_drop_frame(kernel *k, file *f, uint64_t index)
{
    file_page *page = file_at(f, index);
    frames_at(&k->frames, page->frame)->file = 0;
    page->frame = NUMBER_NONE;
    f->cached--;
}

void file_get(file *f) { f->refs++; }

static void file_end(kernel *k, file *f)
{
    if (f->refs || f->linked)
        return;
    for (uint64_t i = 0; (i = file_next(f, i)) < FILE_PAGES; i++)
        file_drop_page(k, f, file_at(f, i));
    file_free_table(f, k->host);
    k->committed -= f->promised;
    k->files[f->id] = NULL;
    host_free(k->host, f, sizeof *f);
}

void file_put(kernel *k, file *f)
{
    f->refs--;
    file_end(k, f);
}

void file_unlink(kernel *k, file *f)
{
    f->linked = false;
    file_end(k, f);
}

/* --- pages ------------------------------------------------------------------------------ */

/* A page that is not in memory, into a frame taken for it, which is given back on
 * failure. */
static vm_status file_fill(kernel *k, file *f, uint64_t index, file_page *page, uint64_t ppn,
                           vm_error *e)
{
    if (page->block != NUMBER_NONE) {
        uint64_t block = f->memory ? page->block : file_block(k, page->block);
        vm_status st = disk_read(&k->hw->disk, block, &k->hw->mem, ppn << k->hw->g.page_bits, e);
        if (st != VM_OK) {
            page_give_back(k, ppn, 1);
            return st;
        }
    }
    frame *r = frames_at(&k->frames, ppn);
    r->file = f->id;
    r->index = (uint32_t)index;
    page->frame = (uint32_t)ppn;
    f->cached++;
    page_enter(k, NULL, ppn, kernel_file_key(f, index));
    return VM_OK;
}

vm_status file_frame(kernel *k, file *f, uint64_t index, uint64_t *ppn, bool *major, vm_error *e)
{
    file_page *page;
    *major = false;
    vm_status st = file_need(f, k->host, index, &page, e);
    if (st == VM_OK && page->frame == NUMBER_NONE) {
        k->incoming = kernel_file_key(f, index);
        st = reclaim_make_room(k, NULL, e);
        if (st == VM_OK)
            st = reclaim_take(k, NULL, 1, 1, FRAME_FILE, ppn, e);
        k->incoming = POLICY_NO_KEY;
        disk_begin(&k->hw->disk);
        if (st == VM_OK)
            st = file_fill(k, f, index, page, *ppn, e);
        if (st == VM_OK)
            k->taken = *ppn;
        *major = st == VM_OK && page->block != NUMBER_NONE;
    }
    if (st == VM_OK)
        *ppn = page->frame;
    return st;
}

void file_readahead(kernel *k, file *f, uint64_t first, uint64_t pages)
{
    uint64_t stop = align_up(f->size, kernel_page(k)) >> k->hw->g.page_bits, ppn;
    for (uint64_t i = first; i < stop && i - first < pages; i++) {
        file_page *page = file_at(f, i);
        if (!page || page->block == NUMBER_NONE || page->frame != NUMBER_NONE)
            continue;
        if (!reclaim_take_idle(k, FRAME_FILE, &ppn) || file_fill(k, f, i, page, ppn, NULL) != VM_OK)
            return;
        k->n.readaheads++;
    }
}

vm_status file_make_room(kernel *k, file *f, uint64_t index, vm_error *e)
{
    file_page *page;
    if (f->memory)
        return VM_OK;
    vm_status st = file_need(f, k->host, index, &page, e);
    if (st != VM_OK || page->block != NUMBER_NONE)
        return st;
    st = pool_take(&k->blocks, &page->block, e);
    return st != VM_OK || page->block != NUMBER_NONE
               ? st
               : vm_fail_sys(e, VM_REFUSED, ENOSPC, "the disk is full: file %s can't grow",
                             f->name);
}

vm_status file_sync(kernel *k, file *f, uint64_t first, uint64_t pages, vm_error *e)
{
    vm_status st = VM_OK;
    disk_begin(&k->hw->disk);
    for (uint64_t i = first; (i = file_next(f, i)) < first + pages && i < FILE_PAGES; i++) {
        const file_page *page = file_at(f, i);
        if (page->frame != NUMBER_NONE) {
            if (k->hw->disk.run >= k->cfg.cluster)
                disk_begin(&k->hw->disk);
            vm_status one = writeback_file(k, page->frame, st == VM_OK ? e : NULL);
            st = st == VM_OK ? one : st;
        }
    }
    return st;
}

uint64_t file_dirty(kernel *k, const file *f)
{
    uint64_t n = 0;
    for (uint64_t i = 0; (i = file_next(f, i)) < FILE_PAGES; i++) {
        uint32_t ppn = file_at(f, i)->frame;
        n += ppn != NUMBER_NONE && writeback_is_dirty(k, ppn);
    }
    return n;
}

/* --- bytes ------------------------------------------------------------------------------- */

/* Where a page's bytes are: a dram (memory or the disk's) and an address; NULL: zeros. */
static dram *file_bytes(kernel *k, const file *f, uint64_t index, uint64_t *at)
{
    const file_page *page = file_at(f, index);
    unsigned bits = k->hw->g.page_bits;
    if (!page || (page->frame == NUMBER_NONE && page->block == NUMBER_NONE))
        return NULL;
    if (page->frame != NUMBER_NONE) {
        *at = (uint64_t)page->frame << bits;
        return &k->hw->mem;
    }
    *at = (f->memory ? page->block : file_block(k, page->block)) << bits;
    return &k->hw->disk.bytes;
}

void file_read(kernel *k, const file *f, uint64_t offset, void *to, size_t n)
{
    uint64_t page = kernel_page(k), at;
    for (uint8_t *out = to; n;) {
        uint64_t in = offset & (page - 1), part = page - in < n ? page - in : n;
        dram *d = file_bytes(k, f, offset >> k->hw->g.page_bits, &at);
        if (d)
            dram_read(d, at + in, out, (size_t)part);
        else
            memset(out, 0, (size_t)part);
        out += part;
        offset += part;
        n -= (size_t)part;
    }
}

/* Bytes behind the end in the last page, before the file grows over them: a mapping may
 * have written there, or the file may have shrunk. */
static void file_zero_tail(kernel *k, file *f, uint64_t new_size)
{
    uint64_t page = kernel_page(k), in = f->size & (page - 1), at;
    dram *d =
        in && new_size > f->size ? file_bytes(k, f, f->size >> k->hw->g.page_bits, &at) : NULL;
    if (!d)
        return;
    dram_clear(d, at + in, page - in);
    /* A page that has no block yet was never written, and is zeros. */
    if (d == &k->hw->mem && file_at(f, f->size >> k->hw->g.page_bits)->block != NUMBER_NONE)
        frames_at(&k->frames, at >> k->hw->g.page_bits)->dirty = true;
}

vm_status file_write(kernel *k, file *f, uint64_t offset, const void *from, size_t n, vm_error *e)
{
    uint64_t page = kernel_page(k), at;
    unsigned bits = k->hw->g.page_bits;
    if (n && (offset + n < offset || (offset + n - 1) >> bits >= FILE_PAGES))
        return vm_fail_sys(e, VM_REFUSED, EFBIG, "write: file %s can't have %llu bytes", f->name,
                           (unsigned long long)(offset + n));
    file_zero_tail(k, f, offset + n);
    for (const uint8_t *in = from; n;) {
        uint64_t start = offset & (page - 1), part = page - start < n ? page - start : n;
        vm_status st = file_make_room(k, f, offset >> bits, e);
        if (st != VM_OK)
            return st;
        dram *d = file_bytes(k, f, offset >> bits, &at);
        if (!dram_write(d, at + start, in, (size_t)part))
            return vm_fail_nomem(e, "a page of a file");
        if (d == &k->hw->mem)
            frames_at(&k->frames, at >> bits)->dirty = true;
        in += part;
        offset += part;
        n -= (size_t)part;
        if (offset > f->size)
            f->size = offset;
    }
    return VM_OK;
}

/* Pages that lie behind the end go from all who map them, private copies too. */
static void file_unmap(kernel *k, const file *f, uint64_t first)
{
    unsigned bits = k->hw->g.page_bits;
    for (size_t i = 1; i < k->space_count; i++) {
        space *s = k->spaces[i];
        for (const area *a = s ? s->areas.first : NULL; a; a = a->next) {
            if (a->file != f || area_index(k, a, a->stop - 1) < first)
                continue;
            uint64_t at = area_index(k, a, a->start);
            kernel_release_range(k, s, a->start + (first > at ? (first - at) << bits : 0), a->stop);
        }
    }
}

vm_status file_truncate(kernel *k, file *f, uint64_t size, vm_error *e)
{
    unsigned bits = k->hw->g.page_bits;
    if (size > FILE_PAGES << bits)
        return vm_fail_sys(e, VM_REFUSED, EFBIG, "truncate: file %s can't have %llu bytes", f->name,
                           (unsigned long long)size);
    if (size < f->size) {
        uint64_t first = align_up(size, kernel_page(k)) >> bits;
        file_unmap(k, f, first);
        for (uint64_t i = first; (i = file_next(f, i)) < FILE_PAGES; i++)
            file_drop_page(k, f, file_at(f, i));
        f->size = size;
    }
    /* Also if the size stays: who maps the last page may have written behind the end. */
    file_zero_tail(k, f, UINT64_MAX);
    f->size = size;
    return VM_OK;
}
