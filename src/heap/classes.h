/* classes.h: the allocators there are; each is defined in its own file. */
#ifndef VM_HEAP_CLASSES_H
#define VM_HEAP_CLASSES_H

#include "heap.h"

extern const heap_class heap_implicit, heap_explicit, heap_segregated, heap_tree, heap_tlsf,
    heap_simple, heap_buddy, heap_bitmap, heap_slab, heap_dlmalloc, heap_bump;

#endif
