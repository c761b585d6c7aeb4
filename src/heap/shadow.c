#include "shadow.h"

vm_status shadow_init(shadow *s, const vm_host *host, vm_error *e)
{
    memset(s, 0, sizeof *s);
    s->host = *host;
    return keymap_init(&s->at, host, 0, e);
}

void shadow_free(shadow *s)
{
    for (uint32_t i = 0; i < s->count; i++)
        host_free(&s->host, s->pages[i], sizeof *s->pages[i]);
    host_free(&s->host, s->pages, s->room * sizeof *s->pages);
    keymap_free(&s->at, &s->host);
}

shadow_page *shadow_find(shadow *s, uint64_t va)
{
    const uint64_t number = va / SHADOW_PAGE;
    if (s->last_page && s->last == number)
        return s->last_page;
    uint32_t i = keymap_find(&s->at, number);
    if (i == KEYMAP_NONE)
        return NULL;
    s->last = number;
    return s->last_page = s->pages[i];
}

static vm_status shadow_make(shadow *s, uint64_t number, vm_error *e)
{
    if (s->count == s->room) {
        uint32_t room = s->room ? s->room * 2 : 64;
        vm_status st = keymap_reserve(&s->at, &s->host, room, e);
        if (st != VM_OK)
            return st;
        shadow_page **pages =
            host_realloc(&s->host, s->pages, s->room * sizeof *s->pages, room * sizeof *s->pages);
        if (!pages)
            return vm_fail_nomem(e, "shadow memory");
        s->pages = pages;
        s->room = room;
    }
    shadow_page *p = host_zalloc(&s->host, sizeof *p);
    if (!p)
        return vm_fail_nomem(e, "shadow memory");
    s->pages[s->count] = p;
    keymap_put(&s->at, number, s->count++);
    return VM_OK;
}

vm_status shadow_need(shadow *s, uint64_t start, uint64_t stop, vm_error *e)
{
    if (start >= stop)
        return VM_OK;
    for (uint64_t number = start / SHADOW_PAGE; number <= (stop - 1) / SHADOW_PAGE; number++)
        if (!shadow_find(s, number * SHADOW_PAGE)) {
            vm_status st = shadow_make(s, number, e);
            if (st != VM_OK)
                return st;
        }
    return VM_OK;
}

/* --- ranges ------------------------------------------------------------------------- */

typedef enum shadow_part { SHADOW_STATES, SHADOW_OWNERS, SHADOW_CONTENTS, SHADOW_ALL } shadow_part;

typedef struct shadow_brush {
    shadow_part part;
    uint8_t state, undef;
    uint32_t id;
} shadow_brush;

/* Words that the range has only a part of are taken whole where `whole`, else left out. */
static void shadow_fill_words(uint32_t *words, uint64_t from, uint64_t to, bool whole, uint32_t id)
{
    uint64_t first = whole ? from / SHADOW_WORD : (from + SHADOW_WORD - 1) / SHADOW_WORD;
    uint64_t stop = whole ? (to + SHADOW_WORD - 1) / SHADOW_WORD : to / SHADOW_WORD;
    for (uint64_t i = first; i < stop; i++)
        words[i] = id;
}

/* Bytes [from, to) of a page. */
static void shadow_brush_page(shadow_page *p, uint64_t from, uint64_t to, const shadow_brush *b)
{
    if (b->part == SHADOW_STATES || b->part == SHADOW_ALL)
        memset(p->state + from, b->state, to - from);
    if (b->part == SHADOW_OWNERS || b->part == SHADOW_ALL)
        shadow_fill_words(p->owner, from, to, b->part == SHADOW_OWNERS, b->id);
    if (b->part == SHADOW_CONTENTS || b->part == SHADOW_ALL) {
        memset(p->undef + from, b->undef, to - from);
        shadow_fill_words(p->from, from, to, true, 0);
        if (b->undef)
            shadow_fill_words(p->origin, from, to, true, b->id);
    }
}

static void shadow_range(shadow *s, uint64_t start, uint64_t stop, const shadow_brush *b)
{
    if (start >= stop)
        return;
    if ((stop - 1) / SHADOW_PAGE - start / SHADOW_PAGE >= s->count) {
        for (uint32_t i = 0; i < s->count; i++) {
            uint64_t at = keymap_key(&s->at, i) * SHADOW_PAGE, end = at + SHADOW_PAGE - 1;
            if (end < start || at >= stop)
                continue;
            shadow_brush_page(s->pages[i], start > at ? start - at : 0,
                              stop - 1 < end ? stop - at : SHADOW_PAGE, b);
        }
        return;
    }
    while (start < stop) {
        uint64_t at = start % SHADOW_PAGE, n = SHADOW_PAGE - at;
        shadow_page *p = shadow_find(s, start);
        if (n > stop - start)
            n = stop - start;
        if (p)
            shadow_brush_page(p, at, at + n, b);
        start += n;
    }
}

void shadow_paint(shadow *s, uint64_t start, uint64_t stop, shadow_state state)
{
    shadow_brush b = {.part = SHADOW_STATES, .state = (uint8_t)state};
    shadow_range(s, start, stop, &b);
}

void shadow_own(shadow *s, uint64_t start, uint64_t stop, uint32_t owner)
{
    shadow_brush b = {.part = SHADOW_OWNERS, .id = owner};
    shadow_range(s, start, stop, &b);
}

void shadow_undefine(shadow *s, uint64_t start, uint64_t stop, uint32_t origin)
{
    shadow_brush b = {.part = SHADOW_CONTENTS, .undef = 0xff, .id = origin};
    shadow_range(s, start, stop, &b);
}

void shadow_define(shadow *s, uint64_t start, uint64_t stop)
{
    shadow_brush b = {.part = SHADOW_CONTENTS};
    shadow_range(s, start, stop, &b);
}

void shadow_forget(shadow *s, uint64_t start, uint64_t stop)
{
    shadow_brush b = {.part = SHADOW_ALL};
    shadow_range(s, start, stop, &b);
}

/* --- numbers ------------------------------------------------------------------------ */

void shadow_get(shadow *s, uint64_t va, unsigned n, tracked *t)
{
    t->undef = 0;
    t->from = t->origin = 0;
    for (unsigned i = 0; i < n; i++) {
        const shadow_page *p = shadow_find(s, va + i);
        uint64_t at = (va + i) % SHADOW_PAGE;
        if (!p || !p->undef[at])
            continue;
        t->undef |= (uint64_t)p->undef[at] << 8 * i;
        if (!t->origin)
            t->origin = p->origin[at / SHADOW_WORD];
    }
    if (n < SHADOW_WORD || va % SHADOW_WORD)
        return;
    const shadow_page *p = shadow_find(s, va);
    t->from = p ? p->from[va % SHADOW_PAGE / SHADOW_WORD] : 0;
    if (n == 8 && t->from) {
        p = shadow_find(s, va + SHADOW_WORD);
        if (!p || p->from[(va + SHADOW_WORD) % SHADOW_PAGE / SHADOW_WORD] != t->from)
            t->from = 0;
    }
}

vm_status shadow_put(shadow *s, uint64_t va, unsigned n, const tracked *t, vm_error *e)
{
    const uint64_t undef = t->undef & low_mask(8 * n);
    const bool keeps = (n == 4 || n == 8) && va % SHADOW_WORD == 0;
    if (undef || (keeps && t->from)) {
        vm_status st = shadow_need(s, va, va + n, e);
        if (st != VM_OK)
            return st;
    }
    for (unsigned i = 0; i < n; i++) {
        shadow_page *p = shadow_find(s, va + i);
        if (!p)
            continue;
        uint64_t at = (va + i) % SHADOW_PAGE;
        p->undef[at] = (uint8_t)(undef >> 8 * i);
        p->from[at / SHADOW_WORD] = keeps ? t->from : 0;
        if (p->undef[at])
            p->origin[at / SHADOW_WORD] = t->origin;
    }
    return VM_OK;
}

static void shadow_copy_byte(shadow *s, uint64_t to, uint64_t from)
{
    const shadow_page *f = shadow_find(s, from);
    const uint64_t a = from % SHADOW_PAGE, b = to % SHADOW_PAGE;
    const uint8_t undef = f ? f->undef[a] : 0;
    const uint32_t origin = f ? f->origin[a / SHADOW_WORD] : 0;
    /* A pointer that is moved whole, word by word, keeps its block. */
    const uint32_t block = f && a % SHADOW_WORD == b % SHADOW_WORD ? f->from[a / SHADOW_WORD] : 0;
    shadow_page *p = shadow_find(s, to);
    p->undef[b] = undef;
    p->from[b / SHADOW_WORD] = block;
    if (undef)
        p->origin[b / SHADOW_WORD] = origin;
}

vm_status shadow_copy(shadow *s, uint64_t to, uint64_t from, uint64_t n, vm_error *e)
{
    vm_status st = shadow_need(s, to, to + n, e);
    if (st != VM_OK)
        return st;
    if (to <= from)
        for (uint64_t i = 0; i < n; i++)
            shadow_copy_byte(s, to + i, from + i);
    else
        for (uint64_t i = n; i-- > 0;)
            shadow_copy_byte(s, to + i, from + i);
    /* Of words that were moved in part only, no pointer is left. */
    const uint64_t edges[] = {to, to + n};
    for (unsigned i = 0; i < 2; i++)
        if (edges[i] % SHADOW_WORD && n)
            shadow_find(s, edges[i] - i)->from[(edges[i] - i) % SHADOW_PAGE / SHADOW_WORD] = 0;
    return VM_OK;
}

bool shadow_undefined(shadow *s, uint64_t va, uint64_t n, uint64_t *at, uint32_t *origin)
{
    for (uint64_t i = 0; i < n;) {
        const shadow_page *p = shadow_find(s, va + i);
        uint64_t b = (va + i) % SHADOW_PAGE, room = SHADOW_PAGE - b;
        for (; p && room && i < n; room--, b++, i++)
            if (p->undef[b]) {
                *at = va + i;
                *origin = p->origin[b / SHADOW_WORD];
                return true;
            }
        if (!p)
            i += room;
    }
    return false;
}
