/* port.h: the memory of a heap: every word that an allocator reads or writes, and
 * every byte it asks its system for, goes through here.
 *
 * A port lies over a process of a machine (each word is an access: TLB, caches,
 * faults) or natively over host memory, for the same allocator source. Addresses
 * are those of the process; natively they begin at PORT_NATIVE.
 *
 * Between port_enter and port_leave nobody else does anything to the machine but by
 * accesses of this port: then most words are served in line (machine_front.h).
 *
 * Natively a page of the heap is there when it is first touched: what an allocator never
 * looks at costs nothing, and no page moves while the heap grows.
 *
 * Invariants
 *   - The heap is the range [base, top), which grows and shrinks at its top only, and
 *     areas beside it: whole pages each, mapped and unmapped as a whole, none overlaps
 *     another or the range. `limit` bounds their sum; `outside` is what areas have of
 *     it. They are a list of the port's, as a process's areas are its kernel's: an
 *     allocator keeps the addresses of its own. Natively an area is where there is room
 *     first, from PORT_AREAS on, beyond every heap.
 *   - A failure that is not the allocator's to deal with (a fault for good, host
 *     memory) stays in `status`: from then on words read as 0, nothing is written,
 *     and the operation's caller learns of it. A refusal to grow is none: the heap
 *     is what it was, and `refused` says why.
 *   - While `quiet`, words that are in memory are read without an access; others
 *     (in swap, never touched) are brought in by one.
 */
#ifndef VM_HEAP_PORT_H
#define VM_HEAP_PORT_H

#include "../machine_front.h"

#define PORT_NATIVE UINT64_C(0x100000)
#define PORT_PAGE   UINT64_C(4096) /* native */
#define PORT_AREAS  (UINT64_C(1) << 48)

typedef enum port_source { PORT_SBRK, PORT_MMAP, PORT_HOST } port_source;

typedef struct port_area {
    uint64_t start, size;
    uint8_t *bytes; /* native: its bytes; over a machine: 1 for each page that was touched */
    size_t room;    /* of them */
} port_area;

typedef struct heap_port {
    machine *m; /* NULL: native */
    process *p;
    vm_host host;
    uint8_t **native; /* the heap's pages, from base on; NULL: never touched */
    size_t room;      /* for so many of them */
    port_source source;
    uint64_t base, top;
    uint64_t limit;   /* bytes of the heap, at most */
    port_area *areas; /* by address */
    size_t area_count, area_room;
    uint64_t outside; /* bytes in areas */
    bool quiet;
    bool entered;
    vm_status status;
    fault_info info; /* of VM_FAULT */
    vm_error error;
    vm_error refused; /* why it did not grow, last */
    uint64_t loads, stores, grows;
    /* An instrument, over a machine: 1 for each page of the heap that was touched; the
     * first is that of base. */
    uint8_t *touched;
    size_t pages;  /* that `touched` has room for */
    uint64_t gone; /* pages touched in areas that are unmapped */
    unsigned page_bits;
} heap_port;

/* Begin with no bytes. PORT_SBRK: at the process's break, moved up to a multiple of 16;
 * PORT_MMAP: in an area of `limit` bytes of its own. Errors: VM_REFUSED, as the call says. */
vm_status port_open(heap_port *t, vm_error *e);
/* Gives areas of its own back, unless m is NULL by now; what sbrk gave stays the
 * process's. */
void port_close(heap_port *t);

/* `n` more bytes at the top, zeros: the top before; 0: refused. */
uint64_t port_grow(heap_port *t, uint64_t n);
/* The range ends at `to`, moved up to a multiple of a page: what was above, unmapped, or
 * given back to be zeros. False: it does not end lower, or the break is not ours. */
bool port_shrink(heap_port *t, uint64_t to);

/* Bytes of a page, what areas are multiples of. */
uint64_t port_page_bytes(const heap_port *t);
/* An area of n bytes or more, zeros, at the start of a page; *size: its bytes; 0: refused. */
uint64_t port_map(heap_port *t, uint64_t n, uint64_t *size);
/* The area of `size` bytes at `a` goes. There is none: the heap is damaged. */
void port_unmap(heap_port *t, uint64_t a, uint64_t size);
/* The area that `a` is in, or NULL. */
const port_area *port_area_of(const heap_port *t, uint64_t a);

VM_INLINE uint64_t port_size(const heap_port *t) { return t->top - t->base + t->outside; }
/* Are [a, a + n) all in the heap, and in one piece? */
bool port_holds(const heap_port *t, uint64_t a, uint64_t n);

/* Pages of the heap that loads and stores have touched. */
uint64_t port_touched(const heap_port *t);

void port_enter(heap_port *t);
void port_leave(heap_port *t);

/* The rest of port_get and port_put: over a machine, and where a page is not there. */
uint64_t port_load(heap_port *t, uint64_t a, unsigned n);
void port_store(heap_port *t, uint64_t a, uint64_t x, unsigned n);

/* Native: where a number is; NULL: not in one page that is there, or there is a machine. */
VM_INLINE uint8_t *port_at(const heap_port *t, uint64_t a, unsigned n)
{
    const uint64_t at = a - t->base, in = at & (PORT_PAGE - 1);
    if (VM_UNLIKELY(!t->native || at >= t->top - t->base || in > PORT_PAGE - n))
        return NULL;
    uint8_t *page = t->native[at / PORT_PAGE];
    return page ? page + in : NULL;
}

/* One number of n bytes (4 or 8), little-endian. */
VM_INLINE uint64_t port_get(heap_port *t, uint64_t a, unsigned n)
{
    const uint8_t *at = port_at(t, a, n);
    t->loads++;
    return VM_LIKELY(at != NULL) ? dram_load(at, n) : port_load(t, a, n);
}

VM_INLINE void port_put(heap_port *t, uint64_t a, uint64_t x, unsigned n)
{
    uint8_t *at = port_at(t, a, n);
    t->stores++;
    if (VM_LIKELY(at != NULL))
        dram_store(at, n, x);
    else
        port_store(t, a, x, n);
}

/* n bytes, multiples of 4 as all addresses: copied upwards, or made zero, by words of 8. */
void port_copy(heap_port *t, uint64_t to, uint64_t from, uint64_t n);
void port_zero(heap_port *t, uint64_t a, uint64_t n);

#endif
