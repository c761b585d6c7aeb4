/* file.h: files on the simulated disk, their pages in memory (the page cache),
 * and objects of shared memory, which are files without a name whose pages go to
 * swap.
 *
 * A page of a file is in one frame at most, whoever maps it: that is what makes
 * shared mappings shared. Its place on the disk is a block of its own (0: a hole,
 * zeros); of shared memory, a swap slot.
 *
 * Units: offsets and sizes in bytes, indices in pages.
 * Invariant: a page's frame names the file and index back; blocks belong to one
 * page each.
 */
#ifndef VM_FILE_H
#define VM_FILE_H

#include "pool.h"

#define FILE_NAME  64
#define FILE_LEAF  256                 /* pages in one part of the table */
#define FILE_PAGES (UINT64_C(1) << 32) /* the most that a file can have */

typedef struct file_page {
    uint32_t frame; /* NUMBER_NONE: not in memory */
    uint32_t block; /* of the disk, or swap slot; NUMBER_NONE: zeros */
} file_page;

typedef struct file {
    uint32_t id;   /* never 0 */
    uint32_t refs; /* areas, and handles of the host */
    bool linked;   /* it has its name still */
    bool memory;   /* shared memory */
    char name[FILE_NAME];
    uint64_t size;
    uint64_t promised;  /* pages, of shared memory */
    uint64_t cached;    /* pages in frames */
    file_page **leaves; /* [index / FILE_LEAF], each made when first needed */
    size_t leaf_count;
} file;

/* The page's entry; NULL if there never was one: not in memory, and zeros. */
VM_INLINE file_page *file_at(const file *f, uint64_t index)
{
    uint64_t leaf = index / FILE_LEAF;
    return leaf < f->leaf_count && f->leaves[leaf] ? &f->leaves[leaf][index % FILE_LEAF] : NULL;
}
/* The first index from `index` on that may have an entry; FILE_PAGES. */
VM_INLINE uint64_t file_next(const file *f, uint64_t index)
{
    while (index / FILE_LEAF < f->leaf_count && !f->leaves[index / FILE_LEAF])
        index = (index / FILE_LEAF + 1) * FILE_LEAF;
    return index / FILE_LEAF < f->leaf_count ? index : FILE_PAGES;
}
/* The same, made where there was none. */
vm_status file_need(file *f, const vm_host *host, uint64_t index, file_page **out, vm_error *e);
/* The table of pages goes; the pages must be gone. */
void file_free_table(file *f, const vm_host *host);

#endif
