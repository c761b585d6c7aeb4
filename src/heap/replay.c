/* replay.c: a trace of allocations in one call, metered as one. */
#include "heap.h"

vm_status heap_replay(heap *h, const heap_op *ops, size_t n, uint64_t *block, uint32_t ids,
                      size_t *done, vm_error *e)
{
    heap_meter at;
    *done = 0;
    vm_status s = heap_ready(h, &at, e);
    if (s != VM_OK)
        return s;
    h->batch = true;
    for (; *done < n; ++*done) {
        const heap_op *o = &ops[*done];
        uint64_t none = 0, *b = o->id < ids ? &block[o->id] : &none, a = 0;
        switch (o->kind) {
        case HEAP_MALLOC:
            s = heap_malloc(h, o->size, &a, e);
            break;
        case HEAP_REALLOC:
            s = heap_realloc(h, *b, o->size, &a, e);
            break;
        default:
            s = heap_free(h, *b, e);
            break;
        }
        if (s != VM_OK)
            break;
        *b = a;
    }
    h->batch = false;
    vm_status last = heap_done(h, &at, NULL);
    return s == VM_OK ? last : s;
}
