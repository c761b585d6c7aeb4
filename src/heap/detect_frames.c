/* detect_frames.c: what a program has beside its heaps: frames with variables on a stack,
 * variables of the data segment, mappings.
 *
 * Stack and data are areas of the detector's own, mapped when the first of them is
 * wanted. A frame grows downwards; its variables have redzones between them. Left, they
 * are blocks that are gone: their shadow names them until another frame covers it.
 */
#include "detect.h"

#include <errno.h>

/* Where a variable may begin: at what no type needs more of. */
#define FRAME_ALIGN 16

/* The area, mapped now if it is the first that is wanted of it. */
static vm_status frame_area(detect *d, detect_area *a, uint64_t bytes, const char *name,
                            vm_error *e)
{
    if (a->high)
        return VM_OK;
    map_request r = {.length = bytes, .prot = PROT_R | PROT_W, .name = name};
    uint64_t at;
    vm_status s = space_map(&d->m->kernel, d->p->space, &r, &at, e);
    if (s != VM_OK)
        return s;
    a->low = at;
    a->high = at + align_up(bytes, kernel_page(&d->m->kernel));
    return VM_OK;
}

static vm_status frame_full(const detect_area *a, const char *what, uint64_t size, vm_error *e)
{
    return vm_fail_sys(e, VM_REFUSED, ENOMEM, "the %s of %llu bytes has no room for %llu more",
                       what, (unsigned long long)(a->high - a->low), (unsigned long long)size);
}

static void frame_name(char to[DETECT_NAME], const char *name)
{
    memset(to, 0, DETECT_NAME);
    strncpy(to, name, DETECT_NAME - 1);
}

/* Its depth, 1 and up; 0: it was left. */
static size_t frame_depth(const detect *d, uint64_t id)
{
    size_t depth = d->frame_count;
    while (depth && d->frames[depth - 1].id != id)
        depth--;
    return depth;
}

bool detect_has_frame(const detect *d, uint64_t id) { return frame_depth(d, id) > 0; }

vm_status detect_enter(detect *d, const char *name, uint64_t *id, vm_error *e)
{
    const bool first = !d->stack.high;
    vm_status s = frame_area(d, &d->stack, d->cfg.stack, "[stack]", e);
    if (s != VM_OK)
        return s;
    if (first)
        d->stack.at = d->stack.high;
    uint32_t site;
    s = detect_site(d, &site, e);
    if (s != VM_OK)
        return s;
    void *list = d->frames;
    if (!host_grow(&d->host, &list, &d->frame_cap, d->frame_count + 1, sizeof *d->frames))
        return vm_fail_nomem(e, "a frame");
    d->frames = list;
    detect_frame *f = &d->frames[d->frame_count++];
    *f = (detect_frame){
        .id = ++d->last_frame, .sp = d->stack.at, .site = site, .locals = (uint32_t)d->local_count};
    frame_name(f->name, name);
    *id = f->id;
    return VM_OK;
}

vm_status detect_local(detect *d, const char *name, uint64_t size, tracked *out, vm_error *e)
{
    const uint64_t red = d->cfg.redzone;
    if (!d->frame_count)
        return vm_fail(e, VM_INVALID, "a local variable without a frame");
    if (size > d->stack.high - d->stack.low ||
        size + 2 * red + FRAME_ALIGN > d->stack.at - d->stack.low)
        return frame_full(&d->stack, "stack", size, e);
    void *list = d->locals;
    if (!host_grow(&d->host, &list, &d->local_cap, d->local_count + 1, sizeof *d->locals))
        return vm_fail_nomem(e, "a variable");
    d->locals = list;
    detect_block b = {.part = PART_STACK,
                      .start = align_down(d->stack.at - red - size, FRAME_ALIGN),
                      .size = size,
                      .high = d->stack.at,
                      .made = d->frames[d->frame_count - 1].site};
    b.low = b.start - red;
    frame_name(b.name, name);
    vm_status s = detect_place(d, &b, true, out, e);
    if (s != VM_OK)
        return s;
    d->locals[d->local_count++] = out->from;
    d->stack.at = b.low;
    return VM_OK;
}

vm_status detect_leave(detect *d, uint64_t id, vm_error *e)
{
    const size_t depth = frame_depth(d, id);
    if (depth == 0)
        return vm_fail(e, VM_INVALID, "this frame was left already");
    const detect_frame *f = &d->frames[depth - 1];
    uint32_t site = 0;
    vm_status s = d->local_count > f->locals ? detect_site(d, &site, e) : VM_OK;
    if (s != VM_OK)
        return s;
    while (d->local_count > f->locals) {
        detect_block *b = (detect_block *)detect_block_of(d, d->locals[--d->local_count]);
        detect_retire(d, b, site, SHADOW_LEFT);
    }
    shadow_paint(&d->shadow, d->stack.at, f->sp, SHADOW_LEFT);
    d->stack.at = f->sp;
    d->frame_count = depth - 1;
    return VM_OK;
}

vm_status detect_return(detect *d, uint64_t id, const tracked *t, vm_error *e)
{
    const size_t depth = frame_depth(d, id);
    if (depth == 0)
        return vm_fail(e, VM_INVALID, "this frame was left already");
    const detect_frame *f = &d->frames[depth - 1];
    for (size_t i = f->locals; t->from && i < d->local_count; i++)
        if (d->locals[i] == t->from) {
            const detect_block *b = detect_block_of(d, t->from);
            detect_report r = {
                .kind = DETECT_RETURNED_LOCAL, .addr = t->x, .bad = t->x, .block = *b};
            memcpy(r.name, f->name, sizeof r.name);
            return detect_tell(d, &r, e);
        }
    return VM_OK;
}

vm_status detect_global(detect *d, const char *name, uint64_t size, tracked *out, vm_error *e)
{
    const uint64_t red = d->cfg.redzone;
    const bool first = !d->data.high;
    vm_status s = frame_area(d, &d->data, d->cfg.data, "[data]", e);
    if (s != VM_OK)
        return s;
    if (first)
        d->data.at = d->data.low;
    if (size > d->data.high - d->data.low ||
        size + 2 * red + FRAME_ALIGN > d->data.high - d->data.at)
        return frame_full(&d->data, "data", size, e);
    uint32_t site;
    s = detect_site(d, &site, e);
    if (s != VM_OK)
        return s;
    detect_block b = {.part = PART_DATA,
                      .low = d->data.at,
                      .start = d->data.at + red,
                      .size = size,
                      .made = site};
    b.high = align_up(b.start + size, FRAME_ALIGN) + red;
    frame_name(b.name, name);
    s = detect_place(d, &b, false, out, e);
    if (s == VM_OK)
        d->data.at = b.high;
    return s;
}

vm_status detect_mapping(detect *d, const char *name, uint64_t start, uint64_t size, tracked *out,
                         vm_error *e)
{
    uint32_t site;
    vm_status s = detect_site(d, &site, e);
    if (s != VM_OK)
        return s;
    detect_block b = {.part = PART_MAPPING,
                      .low = start,
                      .start = start,
                      .size = size,
                      .high = start + size,
                      .made = site};
    frame_name(b.name, name);
    s = detect_place(d, &b, false, out, e);
    if (s == VM_OK)
        d->mappings++;
    return s;
}
