#include "loss.h"

typedef struct loss_walk {
    heap *h;
    heap_loss *l;
    heap_shape least; /* of a block for 1 byte */
    uint64_t run;     /* bytes of free blocks since the last allocated one */
    uint64_t blocks;  /* bytes of all blocks */
} loss_walk;

/* As much of `*rest` as `n`. */
static uint64_t loss_take(uint64_t *rest, uint64_t n)
{
    n = n < *rest ? n : *rest;
    *rest -= n;
    return n;
}

static void loss_shape(heap *h, uint64_t n, heap_shape *s)
{
    memset(s, 0, sizeof *s);
    if (h->cls->shape)
        h->cls->shape(h, n, s);
}

static bool loss_block(void *ud, const heap_block *b)
{
    loss_walk *w = ud;
    heap_loss *l = w->l;
    uint64_t n, rest = b->size;
    w->blocks += b->size;
    if (!heap_asked(w->h, b->payload, &n)) {
        w->run += b->size;
        return true;
    }
    l->holes += w->run;
    w->run = 0;
    heap_shape s;
    loss_shape(w->h, n, &s);
    l->payload += loss_take(&rest, n);
    l->headers += loss_take(&rest, b->payload - b->start);
    l->footers += loss_take(&rest, s.footer);
    /* An allocator without the option has sizes of its own. */
    const uint64_t align = w->h->cfg.align ? (uint64_t)w->h->cfg.align : 1;
    const uint64_t bare = b->payload - b->start + n + s.footer, even = align_up(bare, align);
    l->padding += loss_take(&rest, even - bare);
    if (s.size > even)
        *(s.size == w->least.size ? &l->minimum : &l->rounding) += loss_take(&rest, s.size - even);
    l->slack += rest;
    return true;
}

vm_status heap_loss_now(heap *h, heap_loss *l, vm_error *e)
{
    loss_walk w = {.h = h, .l = l};
    memset(l, 0, sizeof *l);
    loss_shape(h, 1, &w.least);
    vm_status s = heap_walk(h, loss_block, &w, e);
    if (s != VM_OK)
        return s;
    l->bytes = port_size(&h->port);
    l->tail = w.run + w.least.unused;
    l->tables = l->bytes - w.blocks - w.least.unused;
    return VM_OK;
}
