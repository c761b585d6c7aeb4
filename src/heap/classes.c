#include "classes.h"

const heap_class *const heap_classes[] = {
    &heap_implicit, &heap_explicit, &heap_segregated, &heap_tree, &heap_tlsf, &heap_dlmalloc,
    &heap_simple,   &heap_buddy,    &heap_bitmap,     &heap_slab, &heap_bump, NULL};
