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
    for (size_t i = 0; i < t->area_count; i++)
        if (t->areas[i].bytes)
            host_free(&t->host, t->areas[i].bytes, (size_t)t->areas[i].size);
        else if (t->m && t->p->space)
            space_unmap(&t->m->kernel, t->p->space, t->areas[i].start, t->areas[i].size, NULL);
    host_free(&t->host, t->areas, t->area_room * sizeof *t->areas);
    t->areas = NULL;
    t->area_count = t->area_room = 0;
    for (size_t i = 0; i < t->room; i++)
        host_free(&t->host, t->native[i], PORT_PAGE);
    host_free(&t->host, t->native, t->room * sizeof *t->native);
    host_free(&t->host, t->touched, t->pages);
    keymap_free(&t->beside, &t->host);
    t->native = NULL;
    t->touched = NULL;
    t->room = 0;
    t->span = 0;
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

/* As many pages of areas more. */
static vm_status port_reserve_beside(heap_port *t, uint64_t pages)
{
    const uint64_t want = t->beside.count + pages, most = UINT32_MAX / 2,
                   room = want > t->beside.nodes && want < 2 * (uint64_t)t->beside.nodes
                              ? 2 * (uint64_t)t->beside.nodes
                              : want;
    return keymap_reserve(&t->beside, &t->host, (uint32_t)(room < most ? room : most), &t->refused);
}

static VM_NOINLINE void port_touch_beside(heap_port *t, uint64_t a)
{
    const uint64_t page = a >> t->page_bits;
    if (t->beside.count < t->beside.nodes && keymap_find(&t->beside, page) == KEYMAP_NONE)
        keymap_put(&t->beside, page, t->beside.count);
}

/* Here a window knows no page that this did not see. */
static void port_touch(heap_port *t, uint64_t a)
{
    const size_t i = port_page(t, a);
    if (VM_LIKELY(i < t->pages))
        t->touched[i] = 1;
    else
        port_touch_beside(t, a);
}

uint64_t port_touched(const heap_port *t)
{
    uint64_t n = t->beside.count;
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

static vm_status port_within(heap_port *t, uint64_t n)
{
    if (n <= t->limit - port_size(t))
        return VM_OK;
    return vm_fail_sys(&t->refused, VM_REFUSED, ENOMEM,
                       "the heap has %llu bytes, and %llu more are above its limit of %llu",
                       (unsigned long long)port_size(t), (unsigned long long)n,
                       (unsigned long long)t->limit);
}

/* The end of a call that asks for memory or gives it back: a failure that is no refusal
 * stays. The kernel may have done anything to the machine. */
static bool port_did(heap_port *t, vm_status s)
{
    if (t->entered)
        machine_window_open(t->m, t->p);
    if (s != VM_OK && s != VM_REFUSED) {
        t->status = s;
        t->error = t->refused;
    }
    return s == VM_OK;
}

static void port_end_at(heap_port *t, uint64_t top)
{
    t->top = top;
    t->span = t->m ? 0 : top - t->base;
}

uint64_t port_grow(heap_port *t, uint64_t n)
{
    uint64_t old = t->top;
    if (t->status != VM_OK)
        return 0;
    vm_status s = port_within(t, n);
    if (s != VM_OK)
        return 0;
    if (t->source == PORT_HOST)
        s = port_grow_native(t, n);
    else if (t->source == PORT_SBRK && t->p->space->brk != old)
        s = vm_fail_sys(&t->refused, VM_REFUSED, ENOMEM,
                        "the heap ends at %#llx, but somebody moved the break to %#llx",
                        (unsigned long long)old, (unsigned long long)t->p->space->brk);
    else
        s = port_reserve_pages(t, old + n);
    if (s == VM_OK && t->source == PORT_SBRK)
        s = space_set_brk(&t->m->kernel, t->p->space, old + n, &t->refused);
    if (!port_did(t, s))
        return 0;
    port_end_at(t, old + n);
    t->grows++;
    return old;
}

uint64_t port_page_bytes(const heap_port *t)
{
    return t->source == PORT_HOST ? PORT_PAGE : kernel_page(&t->m->kernel);
}

/* Pages from `a` on are no longer there. */
static void port_drop_native(heap_port *t, uint64_t a)
{
    for (size_t i = (size_t)((a - t->base) / PORT_PAGE); i < t->room; i++) {
        host_free(&t->host, t->native[i], PORT_PAGE);
        t->native[i] = NULL;
    }
}

bool port_shrink(heap_port *t, uint64_t to)
{
    const uint64_t page = port_page_bytes(t);
    vm_status s = VM_OK;
    to = align_up(to, page);
    if (t->status != VM_OK || to >= t->top)
        return false;
    if (t->source == PORT_HOST)
        port_drop_native(t, to);
    else if (t->source == PORT_MMAP)
        s = space_advise(&t->m->kernel, t->p, to, align_up(t->top, page) - to, ADVICE_DONTNEED,
                         &t->refused);
    else if (t->p->space->brk != t->top)
        return false;
    else
        s = space_set_brk(&t->m->kernel, t->p->space, to, &t->refused);
    if (!port_did(t, s))
        return false;
    port_end_at(t, to);
    return true;
}

/* --- areas -------------------------------------------------------------------------- */

/* How many areas begin at `a` or below. */
static size_t port_areas_to(const heap_port *t, uint64_t a)
{
    size_t lo = 0, hi = t->area_count;
    while (lo < hi) {
        size_t mid = lo + (hi - lo) / 2;
        if (t->areas[mid].start <= a)
            lo = mid + 1;
        else
            hi = mid;
    }
    return lo;
}

const port_area *port_area_of(const heap_port *t, uint64_t a)
{
    size_t i = port_areas_to(t, a);
    if (i == 0 || a - t->areas[i - 1].start >= t->areas[i - 1].size)
        return NULL;
    return &t->areas[i - 1];
}

bool port_holds(const heap_port *t, uint64_t a, uint64_t n)
{
    if (a >= t->base && a < t->top)
        return n <= t->top - a;
    const port_area *own = port_area_of(t, a);
    return own && n <= own->size - (a - own->start);
}

/* The lowest place that `size` bytes fit in. */
static uint64_t port_native_place(const heap_port *t, uint64_t size)
{
    uint64_t at = PORT_AREAS;
    for (size_t i = 0; i < t->area_count && t->areas[i].start - at < size; i++)
        at = t->areas[i].start + t->areas[i].size;
    return at;
}

uint64_t port_map(heap_port *t, uint64_t n, uint64_t *size)
{
    port_area own = {.size = align_up(n, port_page_bytes(t))};
    void *areas = t->areas;
    if (t->status != VM_OK || port_within(t, own.size) != VM_OK)
        return 0;
    vm_status s = VM_OK;
    if (!host_grow(&t->host, &areas, &t->area_room, t->area_count + 1, sizeof own))
        s = vm_fail_nomem(&t->refused, "a heap's areas");
    t->areas = areas;
    if (s == VM_OK && t->source == PORT_HOST) {
        own.start = port_native_place(t, own.size);
        own.bytes = host_zalloc(&t->host, (size_t)own.size);
        if (!own.bytes)
            s = vm_fail_nomem(&t->refused, "an area of a heap");
    } else if (s == VM_OK) {
        map_request r = {.length = own.size, .prot = PROT_R | PROT_W};
        s = port_reserve_beside(t, own.size >> t->page_bits);
        if (s == VM_OK)
            s = space_map(&t->m->kernel, t->p->space, &r, &own.start, &t->refused);
    }
    if (!port_did(t, s))
        return 0;
    size_t at = port_areas_to(t, own.start);
    memmove(t->areas + at + 1, t->areas + at, (t->area_count - at) * sizeof own);
    t->areas[at] = own;
    t->area_count++;
    t->outside += own.size;
    t->grows++;
    *size = own.size;
    return own.start;
}

void port_unmap(heap_port *t, uint64_t a, uint64_t size)
{
    const size_t i = port_areas_to(t, a);
    const port_area *own = i ? &t->areas[i - 1] : NULL;
    vm_status s = VM_OK;
    if (t->status != VM_OK)
        return;
    if (!own || own->start != a || own->size != size)
        s = vm_fail(&t->refused, VM_INVALID,
                    "the heap is damaged: no area of %llu bytes begins at %#llx",
                    (unsigned long long)size, (unsigned long long)a);
    else if (t->source != PORT_HOST)
        s = space_unmap(&t->m->kernel, t->p->space, a, size, &t->refused);
    if (!port_did(t, s)) { /* a refusal stays, too: whoever frees has no other way */
        t->status = s;
        t->error = t->refused;
        return;
    }
    host_free(&t->host, own->bytes, (size_t)size);
    t->area_count--;
    memmove(t->areas + i - 1, t->areas + i, (t->area_count - (i - 1)) * sizeof *own);
    t->outside -= size;
}

/* --- words -------------------------------------------------------------------------- */

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
    const port_area *own = port_area_of(t, a);
    uint64_t at = a - t->base;
    if (own && n <= own->size - (a - own->start)) {
        uint8_t *bytes = own->bytes + (a - own->start);
        memcpy(write ? bytes : b, write ? b : bytes, n);
        return;
    }
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

/* The near and the far way over a machine, which opens the window anew. */
static VM_NOINLINE uint64_t port_load_near(heap_port *t, uint64_t a, unsigned n)
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
    const uint8_t *at = machine_near(m, a, n, false);
    if (at)
        return dram_load(at, n);
    t->status = machine_read(m, t->p, a, b, n, ACCESS_LOAD, &t->info, &t->error);
    if (t->entered)
        machine_window_open(m, t->p);
    return t->status == VM_OK ? dram_load(b, n) : 0;
}

uint64_t port_load(heap_port *t, uint64_t a, unsigned n)
{
    if (VM_UNLIKELY(t->status != VM_OK))
        return 0;
    if (VM_LIKELY(t->m != NULL)) {
        const uint8_t *at = machine_front(t->m, a, n, false);
        return VM_LIKELY(at != NULL) ? dram_load(at, n) : port_load_near(t, a, n);
    }
    uint8_t b[8] = {0};
    port_native(t, a, b, n, false);
    return dram_load(b, n);
}

static VM_NOINLINE void port_store_near(heap_port *t, uint64_t a, uint64_t x, unsigned n)
{
    uint8_t b[8], *at = machine_near(t->m, a, n, true);
    port_touch(t, a);
    if (at) {
        dram_store(at, n, x);
        return;
    }
    dram_store(b, n, x);
    t->status = machine_write(t->m, t->p, a, b, n, &t->info, &t->error);
    if (t->entered)
        machine_window_open(t->m, t->p);
}

void port_store(heap_port *t, uint64_t a, uint64_t x, unsigned n)
{
    if (VM_UNLIKELY(t->status != VM_OK))
        return;
    if (VM_LIKELY(t->m != NULL)) {
        uint8_t *at = machine_front(t->m, a, n, true);
        if (VM_LIKELY(at != NULL))
            dram_store(at, n, x);
        else
            port_store_near(t, a, x, n);
        return;
    }
    uint8_t b[8];
    dram_store(b, n, x);
    port_native(t, a, b, n, true);
}

uint64_t port_get_short(heap_port *t, uint64_t a) { return port_get(t, a, 4); }
void port_put_short(heap_port *t, uint64_t a, uint64_t x) { port_put(t, a, x, 4); }

/* Natively a part that is in one page here and there moves at once. */
static uint64_t port_copy_part(heap_port *t, uint64_t to, uint64_t from, uint64_t n)
{
    uint8_t *out = port_at(t, to, 8), *in = port_at(t, from, 8);
    const uint64_t left = PORT_PAGE - (to - t->base) % PORT_PAGE,
                   right = PORT_PAGE - (from - t->base) % PORT_PAGE;
    n = n < left ? n : left;
    n = n < right ? n : right;
    n = align_down(n, 8);
    if (!in || !out || n > t->top - to || n > t->top - from)
        return 0;
    memmove(out, in, (size_t)n);
    t->loads += n / 8;
    t->stores += n / 8;
    return n;
}

void port_copy(heap_port *t, uint64_t to, uint64_t from, uint64_t n)
{
    while (n >= 8 && t->status == VM_OK) {
        uint64_t part = t->span ? port_copy_part(t, to, from, n) : 0;
        if (!part) {
            port_put(t, to, port_get(t, from, 8), 8);
            part = 8;
        }
        n -= part;
        to += part;
        from += part;
    }
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
