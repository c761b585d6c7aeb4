#include "port.h"

#include <errno.h>

/* Where heaps begin: the largest alignment of blocks. */
#define PORT_ALIGN 16

vm_status port_open(heap_port *t, vm_error *e)
{
    t->status = VM_OK;
    if (t->source == PORT_HOST) {
        t->base = t->top = PORT_NATIVE;
        return VM_OK;
    }
    kernel *k = &t->m->kernel;
    t->page_bits = log2_floor(kernel_page(k));
    if (t->source == PORT_MMAP) {
        map_request r = {.length = align_up(t->limit, kernel_page(k)),
                         .prot = PROT_R | PROT_W,
                         .name = "[heap]"};
        vm_status s = space_map(k, t->p->space, &r, &t->base, e);
        t->top = t->base;
        return s;
    }
    uint64_t at = align_up(t->p->space->brk, PORT_ALIGN);
    vm_status s = space_set_brk(k, t->p->space, at, e);
    t->base = t->top = at;
    return s;
}

void port_close(heap_port *t)
{
    for (size_t i = 0; i < t->room; i++)
        host_free(&t->host, t->native[i], PORT_PAGE);
    host_free(&t->host, t->native, t->room * sizeof *t->native);
    host_free(&t->host, t->touched, t->pages);
    t->native = NULL;
    t->touched = NULL;
    t->room = 0;
    if (t->source == PORT_MMAP && t->base && t->m && t->p->space)
        space_unmap(&t->m->kernel, t->p->space, t->base,
                    align_up(t->limit, kernel_page(&t->m->kernel)), NULL);
    t->base = 0;
}

/* --- pages ------------------------------------------------------------------------------ */

static size_t port_page(const heap_port *t, uint64_t a)
{
    return (size_t)((a >> t->page_bits) - (t->base >> t->page_bits));
}

/* Room to count the pages below `top`. */
static vm_status port_reserve_pages(heap_port *t, uint64_t top)
{
    const size_t had = t->pages;
    void *touched = t->touched;
    if (!host_grow(&t->host, &touched, &t->pages, port_page(t, top - 1) + 1, 1))
        return vm_fail_nomem(&t->refused, "a heap's count of pages");
    t->touched = touched;
    memset(t->touched + had, 0, t->pages - had);
    return VM_OK;
}

static void port_touch(heap_port *t, uint64_t a)
{
    const size_t i = port_page(t, a);
    if (VM_LIKELY(i < t->pages))
        t->touched[i] = 1;
}

uint64_t port_touched(const heap_port *t)
{
    uint64_t n = 0;
    for (size_t i = 0; i < t->pages; i++)
        n += t->touched[i];
    return n;
}

/* --- growth ----------------------------------------------------------------------------- */

static vm_status port_grow_native(heap_port *t, uint64_t n)
{
    const size_t had = t->room;
    void *native = t->native;
    if (!host_grow(&t->host, &native, &t->room, (t->top - t->base + n) / PORT_PAGE + 1,
                   sizeof *t->native))
        return vm_fail_nomem(&t->refused, "a heap");
    t->native = native;
    memset(t->native + had, 0, (t->room - had) * sizeof *t->native);
    return VM_OK;
}

uint64_t port_grow(heap_port *t, uint64_t n)
{
    uint64_t old = t->top;
    vm_status s = VM_OK;
    if (t->status != VM_OK)
        return 0;
    if (n > t->limit - (t->top - t->base))
        s = vm_fail_sys(&t->refused, VM_REFUSED, ENOMEM,
                        "the heap has %llu bytes, and %llu more are above its limit of %llu",
                        (unsigned long long)(t->top - t->base), (unsigned long long)n,
                        (unsigned long long)t->limit);
    else if (t->source == PORT_HOST)
        s = port_grow_native(t, n);
    else if (t->source == PORT_SBRK && t->p->space->brk != old)
        s = vm_fail_sys(&t->refused, VM_REFUSED, ENOMEM,
                        "the heap ends at %#llx, but somebody moved the break to %#llx",
                        (unsigned long long)old, (unsigned long long)t->p->space->brk);
    else
        s = port_reserve_pages(t, old + n);
    if (s == VM_OK && t->source == PORT_SBRK)
        s = space_set_brk(&t->m->kernel, t->p->space, old + n, &t->refused);
    if (t->entered) /* a call of the kernel may do anything to the machine */
        machine_window_open(t->m, t->p);
    if (s == VM_REFUSED)
        return 0;
    if (s != VM_OK) {
        t->status = s;
        t->error = t->refused;
        return 0;
    }
    t->top += n;
    t->grows++;
    return old;
}

void port_enter(heap_port *t)
{
    if (!t->m)
        return;
    t->entered = true;
    machine_window_open(t->m, t->p);
}

void port_leave(heap_port *t)
{
    t->entered = false;
    if (t->m)
        machine_window_close(t->m);
}

/* Natively, where a number is not in one page that is there: its bytes move to or from
 * `b`. */
static void port_native(heap_port *t, uint64_t a, uint8_t *b, unsigned n, bool write)
{
    uint64_t at = a - t->base;
    if (at >= t->top - t->base || n > t->top - a) {
        t->status =
            vm_fail(&t->error, VM_INVALID,
                    "the heap is damaged: it led to %#llx, and lies from %#llx to %#llx",
                    (unsigned long long)a, (unsigned long long)t->base, (unsigned long long)t->top);
        return;
    }
    for (; n; n--, at++, b++) {
        uint8_t **page = &t->native[at / PORT_PAGE];
        if (!*page && !(*page = host_zalloc(&t->host, PORT_PAGE))) {
            t->status = vm_fail_nomem(&t->error, "a heap");
            return;
        }
        if (write)
            (*page)[at % PORT_PAGE] = *b;
        else
            *b = (*page)[at % PORT_PAGE];
    }
}

/* The far way over a machine, after which the window is opened anew. */
static VM_NOINLINE uint64_t port_load_far(heap_port *t, uint64_t a, unsigned n)
{
    machine *m = t->m;
    uint8_t b[8] = {0};
    uint64_t pa;
    const uint64_t page = kernel_page(&m->kernel);
    if (t->quiet && (a & (page - 1)) + n <= page && machine_peek(m, t->p, a, &pa)) {
        dram_read(&m->hw.mem, pa, b, n);
        return dram_load(b, n);
    }
    if (!t->quiet)
        port_touch(t, a);
    t->status = machine_read(m, t->p, a, b, n, ACCESS_LOAD, &t->info, &t->error);
    if (t->entered)
        machine_window_open(m, t->p);
    return t->status == VM_OK ? dram_load(b, n) : 0;
}

uint64_t port_load(heap_port *t, uint64_t a, unsigned n)
{
    uint8_t b[8] = {0};
    if (VM_UNLIKELY(t->status != VM_OK))
        return 0;
    if (t->m) {
        const uint8_t *at = machine_front(t->m, a, n, false);
        if (VM_UNLIKELY(!at))
            return port_load_far(t, a, n);
        port_touch(t, a);
        return dram_load(at, n);
    }
    port_native(t, a, b, n, false);
    return dram_load(b, n);
}

static VM_NOINLINE void port_store_far(heap_port *t, uint64_t a, uint64_t x, unsigned n)
{
    uint8_t b[8];
    dram_store(b, n, x);
    t->status = machine_write(t->m, t->p, a, b, n, &t->info, &t->error);
    if (t->entered)
        machine_window_open(t->m, t->p);
}

void port_store(heap_port *t, uint64_t a, uint64_t x, unsigned n)
{
    uint8_t b[8];
    if (VM_UNLIKELY(t->status != VM_OK))
        return;
    if (t->m) {
        uint8_t *at = machine_front(t->m, a, n, true);
        port_touch(t, a);
        if (VM_LIKELY(at != NULL))
            dram_store(at, n, x);
        else
            port_store_far(t, a, x, n);
        return;
    }
    dram_store(b, n, x);
    port_native(t, a, b, n, true);
}

void port_copy(heap_port *t, uint64_t to, uint64_t from, uint64_t n)
{
    for (; n >= 8 && t->status == VM_OK; n -= 8, to += 8, from += 8)
        port_put(t, to, port_get(t, from, 8), 8);
    if (n >= 4)
        port_put(t, to, port_get(t, from, 4), 4);
}

void port_zero(heap_port *t, uint64_t a, uint64_t n)
{
    for (; n >= 8 && t->status == VM_OK; n -= 8, a += 8)
        port_put(t, a, 0, 8);
    if (n >= 4)
        port_put(t, a, 0, 4);
}
