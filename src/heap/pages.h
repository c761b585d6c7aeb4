/* pages.h: a heap of pages, and a map in it that says which are free.
 *
 * The arena is a row of pages; a run is some of them in a row, taken together and given
 * back together. The map has two bits a page, in groups of as many pages as a word has
 * bits, page i of a group being bit i:
 *
 *    used     one word     the page is of a run
 *    last     one word     it is the last of its run
 *    notes    a word for each page of the group, if there are notes: whose the run is
 *
 * The map lies in the arena, in a run of its own. Where the arena outgrows it, one of
 * twice the size takes its place at what was the arena's end, and its run is given back.
 * A map's first page has the note 0; other runs' notes are their owner's.
 *
 * Invariants: the last page of a run is `last`, no other used page is, no free page is;
 * bits of pages that are not there are 0. Sizes are in pages, addresses in bytes; the
 * pages' addresses are multiples of the page.
 *
 * Source: Wilson, Johnstone, Neely and Boles, "Dynamic storage allocation: a survey and
 * critical review", 1995, "bitmapped fits".
 */
#ifndef VM_HEAP_PAGES_H
#define VM_HEAP_PAGES_H

#include "heap.h"

typedef struct page_heap {
    heap h;
    uint64_t page;  /* bytes of one */
    uint64_t arena; /* of page 0 */
    uint64_t map;
    uint64_t count; /* pages of the arena */
    uint64_t room;  /* pages that the map has bits for */
    uint64_t rover; /* the page where next fit goes on */
    bool notes;
} page_heap;

/* For a class's init, with cfg.page and cfg.fit; `tables` bytes come before the arena. */
vm_status pages_init(heap *h, uint64_t tables, bool notes, vm_error *e);
/* The start of a run of n pages, a multiple of `align`, or 0. */
uint64_t pages_take(page_heap *p, uint64_t n, uint64_t align);
/* The run that begins at `a`. */
void pages_give(page_heap *p, uint64_t a);
/* Its pages. No run begins there: 0, and the call fails. */
uint64_t pages_run(page_heap *p, uint64_t a);
/* It has n pages now, where it stood; false: it can't. */
bool pages_resize(page_heap *p, uint64_t a, uint64_t n);

uint64_t pages_note(page_heap *p, uint64_t a);
void pages_set_note(page_heap *p, uint64_t a, uint64_t note);

/* The row from `a`, of free pages or a run, and its bytes; 0: the map is damaged. */
uint64_t pages_row(page_heap *p, uint64_t a, bool *used);
VM_INLINE uint64_t pages_end(const page_heap *p) { return p->arena + p->count * p->page; }
VM_INLINE uint64_t pages_for(const page_heap *p, uint64_t n) { return (n + p->page - 1) / p->page; }
/* The free rows by address, as a list of this number; false: the map is damaged. */
bool pages_list(page_heap *p, unsigned list, heap_member *visit, void *ud);
/* The map alone: false: *wrong says what. */
bool pages_check(page_heap *p, heap_wrong *wrong);
/* The address of the word that says whether the page at `a` is used. */
uint64_t pages_used_word(const page_heap *p, uint64_t a);

#define PAGES_OPTIONS                                                                              \
    HEAP_OPTIONS, {HEAP_OPTION(word), NULL, 8, 4, 8, "bytes of a word of the map and of a link"},  \
    {                                                                                              \
        HEAP_OPTION(chunk), NULL, 4096, 0, 1 << 30,                                                \
            "bytes that the heap begins with, and by which it grows at least"                      \
    }

#endif
