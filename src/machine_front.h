/* machine_front.h: the short ways of one load or store of an aligned number, each
 * exactly as machine_one would be:
 *
 *   front   its page is the most recent of its first TLB set and its line of its L1 set:
 *           nothing changes but counts, and that the line is dirty;
 *   near    a TLB has its page, no fault or permission is in question;
 *   far     machine_read or machine_write, which may do anything.
 *
 * They look through a window that is opened for one process: it is good until anything
 * but the front and the near way happens to the machine. Of pages that are the most
 * recent of their sets it knows where their bytes are on the host; when another page
 * becomes that, it takes the place of the one before.
 */
#ifndef VM_MACHINE_FRONT_H
#define VM_MACHINE_FRONT_H

#include "machine.h"

/* Once, of a new machine. */
void machine_window_init(machine *m);

/* Nothing more comes from it. */
VM_INLINE void machine_window_close(machine *m)
{
    m->window.limit = 0;
    m->window.opened++;
}

VM_INLINE void machine_window_open(machine *m, const process *p)
{
    machine_window *w = &m->window;
    const mmu *u = m->hw.mmu;
    const bool open = w->apt && !u->probe && !m->hw.cache_probe && m->kernel.cfg.stamped &&
                      m->kernel.running[0] == p->space && p->space && !p->space->watch;
    w->limit = open ? UINT64_C(1) << (u->g.va_bits - u->g.canonical) : 0;
    w->opened++;
    w->asid_tag = tlb_tag(0, u->asid, 0);
    w->exact = m->kernel.pol->cls->exact;
}

/* What the window knows of a page that may be accessed so; NULL: nothing. */
VM_INLINE const window_page *window_known(const machine_window *w, uint64_t va, uint32_t n,
                                          bool write)
{
    const uint64_t vpn = va >> w->page_bits;
    const window_page *page = &w->pages[(uint32_t)vpn & w->page_mask];
    const uint64_t other =
        (page->vpn ^ vpn) | (page->opened ^ w->opened) | (va & (n - 1)) | (write & ~page->write);
    return VM_LIKELY(other == 0) ? page : NULL;
}

/* The access hit the page: counted, and where its bytes are. */
VM_INLINE uint8_t *window_hit(machine *m, const window_page *page, uint32_t in, bool write)
{
    m->window.first->n.lookups++;
    if (write)
        m->n.stores++;
    else
        m->n.loads++;
    return page->bytes + in;
}

/* A load or store of n bytes, 8 at most, aligned to n, the front way: counted, and where
 * its bytes are on the host. NULL: nothing was done, it may be near. */
VM_INLINE uint8_t *machine_front(machine *m, uint64_t va, uint32_t n, bool write)
{
    const machine_window *w = &m->window;
    const window_page *page = window_known(w, va, n, write);
    const uint32_t in = (uint32_t)va & w->in_page;
    if (!page)
        return NULL;
    if (VM_LIKELY(w->tags != NULL)) {
        const uint32_t line = page->line + (in >> w->line_bits);
        uint32_t *front = w->tags + ((size_t)(line & w->tag_mask) << w->tag_shift);
        if ((*front | 1) != (line << 1 | 1))
            return NULL;
        if (write)
            *front = line << 1 | 1;
    }
    ++*w->counts[write];
    return window_hit(m, page, in, write);
}

/* The same the front way or the near one, and the front knows the page then. NULL: nothing
 * was done, it is for the far way. */
uint8_t *machine_near(machine *m, uint64_t va, uint32_t n, bool write);

#endif
