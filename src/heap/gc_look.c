/* gc_look.c: a collector's objects and their pointers, for those who draw or check them:
 * without accesses (port.h, quiet), and whatever state the collector is in.
 */
#include "gc.h"

/* Ports as they were: a look leaves no failure behind. */
typedef struct gc_look {
    heap_port *port[2];
    vm_status status[2];
    vm_error error[2];
    uint64_t loads[2];
} gc_look;

static gc_look gc_look_begin(collector *g)
{
    gc_look l = {.port = {&g->h->port, &g->table}};
    for (unsigned i = 0; i < 2; i++) {
        l.status[i] = l.port[i]->status;
        l.error[i] = l.port[i]->error;
        l.loads[i] = l.port[i]->loads;
        l.port[i]->status = VM_OK;
        l.port[i]->quiet = true;
    }
    g->wrong = VM_OK;
    return l;
}

static vm_status gc_look_end(collector *g, gc_look *l, vm_error *e)
{
    vm_status s = gc_status(g, e);
    for (unsigned i = 0; i < 2; i++) {
        l->port[i]->status = l->status[i];
        l->port[i]->error = l->error[i];
        l->port[i]->loads = l->loads[i];
        l->port[i]->quiet = false;
    }
    g->wrong = VM_OK;
    return s;
}

typedef struct gc_list {
    collector *g;
    gc_object *visit;
    void *ud;
} gc_list;

static bool gc_list_block(void *ud, const heap_block *b)
{
    gc_list *l = ud;
    collector *g = l->g;
    if (!b->used)
        return true;
    uint64_t size = g->header ? gc_layout_size(g, gc_get(g, b->payload)) : 0;
    if (!size) /* conservative, or not of the collector's making */
        size = g->h->cls->usable_size(g->h, b->payload) - g->header;
    return l->visit(l->ud, b->payload + g->header, size);
}

vm_status gc_objects(collector *g, gc_object *visit, void *ud, vm_error *e)
{
    gc_list l = {g, visit, ud};
    gc_look look = gc_look_begin(g);
    if (g->cfg.mode != GC_COPYING) {
        if (!g->h->cls->walk(g->h, gc_list_block, &l) && gc_sound(g))
            gc_fail(g, "the heap is damaged: its check says where");
        return gc_look_end(g, &look, e);
    }
    for (uint64_t at = g->from; at < g->next && gc_sound(g);) {
        uint64_t size = gc_layout_size(g, gc_get(g, at));
        if (!size)
            gc_fail(g, "the object at %#llx is damaged", (unsigned long long)(at + g->header));
        else if (!visit(ud, at + g->header, size))
            break;
        at += align_up(g->header + size, (uint64_t)g->cfg.pointer);
    }
    return gc_look_end(g, &look, e);
}

static void gc_visit_layout(collector *g, uint64_t a, gc_word *visit, void *ud)
{
    const uint64_t p = (uint64_t)g->cfg.pointer, layout = gc_get(g, a - g->header);
    for (uint64_t i = 0, words = gc_layout_size(g, layout) / p; i < words; i += 64)
        for (uint64_t map = gc_layout_word(g, layout, 1 + i / 64); map; map &= map - 1) {
            const uint64_t at = (i + log2_floor(map & -map)) * p;
            if (!gc_sound(g) || !visit(ud, at, gc_get(g, a + at)))
                return;
        }
}

vm_status gc_words(collector *g, uint64_t a, gc_word *visit, void *ud, vm_error *e)
{
    const uint64_t p = (uint64_t)g->cfg.pointer;
    gc_look look = gc_look_begin(g);
    if (g->header) {
        gc_visit_layout(g, a, visit, ud);
        return gc_look_end(g, &look, e);
    }
    const uint64_t size = align_down(g->h->cls->usable_size(g->h, a), p);
    for (uint64_t at = 0; at < size && gc_sound(g); at += p)
        if (!visit(ud, at, gc_get(g, a + at)))
            break;
    return gc_look_end(g, &look, e);
}

vm_status gc_range_words(collector *g, uint64_t start, uint64_t stop, gc_word *visit, void *ud,
                         vm_error *e)
{
    const uint64_t p = (uint64_t)g->cfg.pointer;
    gc_look look = gc_look_begin(g);
    for (uint64_t at = align_up(start, p); at < stop && stop - at >= p && gc_sound(g); at += p)
        if (!visit(ud, at, gc_get(g, at)))
            break;
    return gc_look_end(g, &look, e);
}
