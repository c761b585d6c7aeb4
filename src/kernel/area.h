/* area.h: the areas of an address space (vm_area_struct), as a tree.
 *
 * The tree is a treap by address (Seidel and Aragon 1996): a binary tree whose
 * shape random ranks keep shallow. Each node knows the widest gap below any node
 * of its subtree, so that finding an area, adding or removing one, and finding a
 * free range all take logarithmic time; neighbours are linked as well.
 * Units: addresses in bytes.
 *
 * Invariants: areas are page-aligned, not empty, and do not overlap; `room` of a
 * node is the widest gap before a node of its subtree.
 */
#ifndef VM_AREA_H
#define VM_AREA_H

#include "../base/base.h"

#define AREA_NAME 32

enum {
    AREA_SHARED = 1,       /* writes are seen by all who map the object */
    AREA_GROWSDOWN = 2,    /* a stack: faults just below extend it */
    AREA_LOCKED = 4,       /* mlock: its pages stay in memory */
    AREA_NORESERVE = 8,    /* asked not to be counted as promised */
    AREA_SEQUENTIAL = 16,  /* madvise: read ahead more */
    AREA_RANDOM = 32,      /* madvise: don't read ahead */
    AREA_PROMISED = 64,    /* its pages are counted as promised */
    AREA_READONLY = 128,   /* shared, of a file that was opened for reading */
    AREA_HUGEPAGE = 256,   /* madvise: transparent huge pages are wanted */
    AREA_NOHUGEPAGE = 512, /* and are not */
};

struct file;

typedef struct area {
    uint64_t start, stop; /* stop is the first address behind it */
    struct file *file;    /* NULL: private memory without a file */
    uint64_t offset;      /* of `start` in the file */
    uint8_t prot;         /* PROT_R | PROT_W | PROT_X */
    uint16_t flags;       /* AREA_ */
    uint8_t level;        /* of its pages: 0 base pages, 1 and up large ones */
    char name[AREA_NAME]; /* "[heap]", "[stack]", a file's name, or empty */
    /* the tree's own */
    uint32_t rank;
    uint64_t room;
    struct area *left, *right, *up;
    struct area *prev, *next; /* by address */
} area;

typedef struct area_tree {
    area *root, *first, *last;
    size_t count;
    uint32_t ranks; /* state of the ranks' generator */
} area_tree;

/* Of the first area that ends above va; NULL. */
area *area_above(const area_tree *t, uint64_t va);
/* The area that holds va; NULL. */
area *area_find(const area_tree *t, uint64_t va);
/* Put an area in, or take it out; the node stays the caller's. */
void area_insert(area_tree *t, area *a);
void area_remove(area_tree *t, area *a);
/* Move a border of an area; no neighbour may be overlapped. */
void area_set_start(area_tree *t, area *a, uint64_t start);
void area_set_stop(area_tree *t, area *a, uint64_t stop);
/* The highest free range of `length` bytes in floor .. ceiling, its start a
 * multiple of `align`; 0: there is none. */
uint64_t area_gap(const area_tree *t, uint64_t floor, uint64_t ceiling, uint64_t length,
                  uint64_t align);
const char *area_check(const area_tree *t);

#endif
