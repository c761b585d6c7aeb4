/* exec.c: execve: a new space is built beside the old one and takes its place
 * when it is whole, so that a failure leaves the process as it was.
 *
 * Segments are private mappings of their file; where a segment has more bytes
 * than the file gives, the rest is demand-zero (bss). The heap begins behind the
 * highest segment, empty. The stack is at the top, one area that grows; on it are
 * argc, the pointers of argv and envp, each ended by a null, and their strings
 * (System V ABI, AMD64 supplement 3.4.1; CS:APP 8.4.5).
 */
#include <errno.h>

#include "kernel.h"

#define EXEC_ARGUMENTS 4 /* strings may have a quarter of the stack's limit, as in Linux */

static vm_status exec_refuse(const exec_image *x, int sys, const char *why, vm_error *e)
{
    return vm_fail_sys(e, VM_REFUSED, sys, "execve: %s: %s", x->name, why);
}

/* The segment's pages from its file, then its zeros. */
static vm_status exec_map(kernel *k, process *p, const exec_image *x, exec_segment g, vm_error *e)
{
    uint64_t page = kernel_page(k), at, skew = g.addr & (page - 1);
    space *s = p->space;
    if (g.bytes == 0)
        return VM_OK;
    if (g.bytes < g.file_bytes || g.addr + g.bytes < g.addr ||
        (g.file_bytes && (g.offset & (page - 1)) != skew))
        return exec_refuse(x, ENOEXEC, "a segment does not add up", e);
    if (g.anywhere) {
        g.addr = space_gap(k, s, align_up(skew + g.bytes, page), page) + skew;
        if (g.addr == skew)
            return exec_refuse(x, ENOMEM, "no place for a shared object", e);
    }
    uint64_t start = align_down(g.addr, page), stop = align_up(g.addr + g.bytes, page);
    uint64_t zeros = g.file_bytes ? align_up(g.addr + g.file_bytes, page) : start;
    const area *above = area_above(&s->areas, start);
    if (above && above->start < stop)
        return exec_refuse(x, ENOEXEC, "two segments are at one place", e);
    vm_status st = VM_OK;
    if (zeros > start) {
        map_request r = {.addr = start,
                         .length = zeros - start,
                         .prot = g.prot,
                         .fixed = true,
                         .file = g.file,
                         .offset = g.offset - skew,
                         .name = g.name};
        st = space_map(k, s, &r, &at, e);
    }
    if (st == VM_OK && stop > zeros) {
        map_request r = {
            .addr = zeros, .length = stop - zeros, .prot = g.prot, .fixed = true, .name = g.name};
        st = space_map(k, s, &r, &at, e);
    }
    if (st == VM_OK && !g.anywhere && stop > s->brk_start)
        s->brk_start = s->brk = stop;
    return st;
}

/* --- the stack ---------------------------------------------------------------------- */

/* Bytes into pages of the process that are there. */
static vm_status exec_put(kernel *k, process *p, uint64_t va, const void *from, uint64_t n,
                          vm_error *e)
{
    const pt_geometry *g = &k->hw->g;
    const uint8_t *in = from;
    while (n) {
        uint64_t room = kernel_page(k) - (va & (kernel_page(k) - 1)), part = n < room ? n : room;
        fault_info info;
        vm_status st = kernel_populate(k, p, va, &info, e);
        if (st != VM_OK)
            return st;
        uint64_t ppn = pte_ppn(g->format, pt_lookup(g, &k->hw->mem, p->space->root, va).pte);
        frames_at(&k->frames, ppn)->dirty = true;
        if (!dram_write(&k->hw->mem, (ppn << g->page_bits) + (va & (kernel_page(k) - 1)), in,
                        (size_t)part))
            return vm_fail_nomem(e, "a page");
        in += part;
        va += part;
        n -= part;
    }
    return VM_OK;
}

static vm_status exec_put_word(kernel *k, process *p, uint64_t *va, uint64_t word, unsigned bytes,
                               vm_error *e)
{
    uint8_t b[8];
    for (unsigned i = 0; i < bytes; i++)
        b[i] = (uint8_t)(word >> 8 * i);
    *va += bytes;
    return exec_put(k, p, *va - bytes, b, bytes, e);
}

/* Strings from *strings on, and pointers to them, ended by a null, from *pointers on. */
static vm_status exec_put_list(kernel *k, process *p, const char *const *list, size_t n,
                               uint64_t *pointers, uint64_t *strings, unsigned bytes, vm_error *e)
{
    vm_status st = VM_OK;
    for (size_t i = 0; i < n && st == VM_OK; i++) {
        uint64_t size = strlen(list[i]) + 1;
        st = exec_put_word(k, p, pointers, *strings, bytes, e);
        if (st == VM_OK)
            st = exec_put(k, p, *strings, list[i], size, e);
        *strings += size;
    }
    return st == VM_OK ? exec_put_word(k, p, pointers, 0, bytes, e) : st;
}

static uint64_t exec_strings(const char *const *list, size_t n)
{
    uint64_t bytes = 0;
    for (size_t i = 0; i < n; i++)
        bytes += strlen(list[i]) + 1;
    return bytes;
}

static vm_status exec_stack(kernel *k, process *p, const exec_image *x, vm_error *e)
{
    uint64_t page = kernel_page(k), top = space_user_top(k) - page, at;
    unsigned bytes = k->hw->g.va_bits > 32 ? 8 : 4;
    uint64_t strings = exec_strings(x->argv, x->argc) + exec_strings(x->envp, x->envc);
    uint64_t words = (x->argc + x->envc + 3) * bytes;
    if (strings + words > k->cfg.stack_limit / EXEC_ARGUMENTS)
        return exec_refuse(x, E2BIG, "the arguments are more than a quarter of the stack", e);
    uint64_t sp = align_down(top - align_up(strings, bytes) - words, 16);
    uint64_t size = x->stack > top - sp ? x->stack : top - sp;
    if (size > k->cfg.stack_limit || size > top)
        return exec_refuse(x, ENOMEM, "the stack is larger than its limit", e);
    uint64_t start = align_down(top - size, page);
    const area *above = area_above(&p->space->areas, start);
    if (above && above->start < top)
        return exec_refuse(x, ENOMEM, "its segments leave no place for the stack", e);
    map_request r = {.addr = start,
                     .length = top - start,
                     .prot = PROT_R | PROT_W,
                     .fixed = true,
                     .flags = AREA_GROWSDOWN,
                     .name = "[stack]"};
    vm_status st = space_map(k, p->space, &r, &at, e);
    uint64_t pointers = sp, put = sp + words;
    if (st == VM_OK)
        st = exec_put_word(k, p, &pointers, x->argc, bytes, e);
    if (st == VM_OK)
        st = exec_put_list(k, p, x->argv, x->argc, &pointers, &put, bytes, e);
    if (st == VM_OK)
        st = exec_put_list(k, p, x->envp, x->envc, &pointers, &put, bytes, e);
    if (st == VM_OK) {
        p->sp = sp;
        p->pc = x->entry;
    }
    return st;
}

vm_status process_exec(kernel *k, process *p, const exec_image *x, vm_error *e)
{
    space *old = p->space, *s;
    uint64_t pc = p->pc, sp = p->sp;
    vm_status st = space_new(k, &s, e);
    if (st == VM_OK) {
        s->owner = p->pid;
        p->space = s;
        uint64_t heap = s->brk_start; /* of a program without segments */
        s->brk_start = s->brk = 0;
        for (size_t i = 0; i < x->segment_count && st == VM_OK; i++)
            st = exec_map(k, p, x, x->segments[i], e);
        if (!s->brk_start)
            s->brk_start = s->brk = heap;
        if (st == VM_OK)
            st = exec_stack(k, p, x, e);
        p->space = old;
        if (st != VM_OK)
            space_drop(k, s);
    }
    if (st != VM_OK) {
        p->pc = pc;
        p->sp = sp;
        return st == VM_FAULT ? exec_refuse(x, ENOMEM, "no memory for its stack or tables", e) : st;
    }
    kernel_emit(k, KEVENT_EXEC, p->pid, x->entry, old->resident, 0);
    process_take_space(k, p, s);
    return VM_OK;
}
