#include "tags.h"

const char *const tags_fits[] = {"first", "best", "worst", "next", NULL};
const char *const tags_fits_listed[] = {"first", "best", "worst", NULL};
const char *const tags_tags[] = {"both", "header", "free", NULL};
const char *const tags_coalesces[] = {"immediate", "deferred", NULL};
const char *const tags_reallocs[] = {"copy", "place", NULL};

/* --- tags --------------------------------------------------------------------------- */

static bool tags_is(const tags *t, int64_t kind) { return t->h.cfg.tags == kind; }

/* Bytes of the prologue: a word of tags at each end. */
static uint64_t tags_prologue(const tags *t)
{
    return tags_is(t, TAGS_BOTH) ? align_up(2 * tags_word(t), (uint64_t)t->h.cfg.align) : 0;
}

/* The tags of a block: `before` is its PREV, which stays what it is. */
VM_INLINE void tags_set(tags *t, uint64_t a, uint64_t size, unsigned used, unsigned before)
{
    const uint64_t w = tags_word(t);
    heap_put(&t->h, a - w, size | before | used);
    if (tags_is(t, TAGS_BOTH) || (tags_is(t, TAGS_FREE) && !used))
        heap_put(&t->h, a + size - 2 * w, size | used);
}

/* With "free", the block behind knows whether this one is allocated. */
static void tags_tell(tags *t, uint64_t next, unsigned used)
{
    if (!tags_is(t, TAGS_FREE))
        return;
    uint64_t header = tags_header(t, next);
    uint64_t now = used ? header | TAG_PREV : header & ~(uint64_t)TAG_PREV;
    if (now != header)
        heap_put(&t->h, next - tags_word(t), now);
}

static unsigned tags_before(const tags *t, uint64_t header)
{
    return tags_is(t, TAGS_FREE) ? (unsigned)header & TAG_PREV : 0;
}

static void tags_insert(tags *t, uint64_t a, uint64_t size)
{
    if (t->index->insert)
        t->index->insert(t, a, size);
}

static void tags_remove(tags *t, uint64_t a, uint64_t size)
{
    if (t->index->remove)
        t->index->remove(t, a, size);
}

/* The free block right before, or 0, and its size. */
static uint64_t tags_free_before(tags *t, uint64_t a, uint64_t header, uint64_t *size)
{
    const uint64_t w = tags_word(t);
    if (a == t->first)
        return 0;
    if (tags_is(t, TAGS_HEADER)) {
        uint64_t at = t->first, head;
        for (tags_begin(t); heap_step(&t->h, &t->h.n.steps);) {
            head = tags_header(t, at);
            *size = tags_size(head);
            if (*size == 0 || at + *size > a)
                return 0;
            if (at + *size == a)
                return head & TAG_USED ? 0 : at;
            at += *size;
        }
        return 0;
    }
    if (tags_is(t, TAGS_FREE) && header & TAG_PREV)
        return 0;
    uint64_t footer = heap_get(&t->h, a - 2 * w);
    *size = tags_size(footer);
    return footer & TAG_USED || *size < t->least || *size > a - t->first ? 0 : a - *size;
}

/* Next fit goes on at a block: not inside of one that others were merged into. */
static void tags_keep_rover(tags *t, uint64_t a, uint64_t size)
{
    if (t->rover > a && t->rover < a + size)
        t->rover = a;
}

/* A free block that is not in the index: merge it with its free neighbours. */
static uint64_t tags_coalesce(tags *t, uint64_t a, uint64_t *size)
{
    uint64_t header = tags_header(t, a), next = tags_header(t, a + *size), before_size = 0;
    const uint64_t was = *size;
    if (!(next & TAG_USED) && tags_size(next)) {
        tags_remove(t, a + *size, tags_size(next));
        *size += tags_size(next);
        t->h.n.coalesces++;
    }
    uint64_t before = tags_free_before(t, a, header, &before_size);
    if (before) {
        tags_remove(t, before, before_size);
        a = before;
        *size += before_size;
        header = tags_header(t, a);
        t->h.n.coalesces++;
    }
    if (*size != was)
        tags_set(t, a, *size, 0, tags_before(t, header));
    tags_keep_rover(t, a, *size);
    return a;
}

/* --- growth ------------------------------------------------------------------------- */

/* `size` more bytes, a multiple of the alignment, as a free block: its payload, or 0. */
static uint64_t tags_extend(tags *t, uint64_t size)
{
    const uint64_t w = tags_word(t);
    uint64_t a = port_grow(&t->h.port, size);
    if (!a)
        return 0;
    unsigned before = tags_before(t, tags_header(t, a)); /* the epilogue's */
    heap_put(&t->h, a + size - w, TAG_USED);
    tags_set(t, a, size, 0, before);
    a = tags_coalesce(t, a, &size);
    tags_insert(t, a, size);
    return a;
}

void tags_trim(tags *t, uint64_t a, uint64_t keep)
{
    const uint64_t header = tags_header(t, a);
    if (!port_shrink(&t->h.port, a + keep))
        return;
    const uint64_t size = t->h.port.top - a;
    tags_remove(t, a, tags_size(header));
    tags_set(t, a, size, 0, tags_before(t, header));
    heap_put(&t->h, a + size - tags_word(t), TAG_USED);
    tags_insert(t, a, size);
}

vm_status tags_init(heap *h, const tags_index *index, vm_error *e)
{
    tags *t = (tags *)h;
    const uint64_t w = (uint64_t)h->cfg.word, align = (uint64_t)h->cfg.align;
    const bool both = h->cfg.tags == TAGS_BOTH, header = h->cfg.tags == TAGS_HEADER;
    t->index = index;
    t->over = both ? 2 * w : w;
    uint64_t used = align_up(t->over + 1, align);
    uint64_t spare = align_up((header ? 1 : 2) * w + index->links * w, align);
    t->least = used > spare ? used : spare;
    if (t->least < index->least)
        t->least = align_up(index->least, align);
    t->split = align_up((uint64_t)h->cfg.split, align);
    t->split = t->split > t->least ? t->split : t->least;
    const uint64_t tables = index->tables ? index->tables(t) : 0;
    const uint64_t prologue = tags_prologue(t);
    t->first = align_up(h->port.base + tables + w, align) + prologue;
    vm_status s = heap_begin(h, t->first - h->port.base, e);
    if (s != VM_OK)
        return s;
    t->rover = t->first - prologue;
    if (prologue)
        tags_set(t, t->rover, prologue, TAG_USED, 0);
    heap_put(h, t->first - w, TAG_USED | (h->cfg.tags == TAGS_FREE ? TAG_PREV : 0));
    uint64_t chunk = align_up((uint64_t)h->cfg.chunk, align);
    if (chunk && !tags_extend(t, chunk < t->least ? t->least : chunk)) {
        *e = h->port.refused;
        return h->port.status == VM_OK ? h->port.refused.status : h->port.status;
    }
    return VM_OK;
}

/* --- malloc and free ---------------------------------------------------------------- */

uint64_t tags_need(const tags *t, uint64_t n)
{
    uint64_t size = align_up(n + t->over, (uint64_t)t->h.cfg.align);
    return size < t->least ? t->least : size;
}

/* One pass over the blocks: each run of free ones becomes one. A block is looked at
 * twice at most: as the end of a run, and as what comes after it. */
static void tags_coalesce_all(tags *t)
{
    uint64_t a = t->first, size, fuel;
    tags_begin(t);
    fuel = t->h.fuel *= 2;
    for (; heap_step(&t->h, &t->h.n.steps); a += size) {
        uint64_t header = tags_header(t, a), all;
        all = size = tags_size(header);
        if (size == 0)
            return;
        if (header & TAG_USED)
            continue;
        for (uint64_t next; heap_step(&t->h, &t->h.n.steps); all += tags_size(next)) {
            next = tags_header(t, a + all);
            if (next & TAG_USED || tags_size(next) == 0)
                break;
            if (all == size)
                tags_remove(t, a, size);
            tags_remove(t, a + all, tags_size(next));
            t->h.n.coalesces++;
        }
        if (all == size)
            continue;
        size = all;
        tags_set(t, a, size, 0, tags_before(t, header));
        tags_keep_rover(t, a, size);
        tags_insert(t, a, size);
        t->h.fuel = fuel; /* the index has used it, too */
    }
}

static uint64_t tags_find(tags *t, uint64_t size)
{
    uint64_t a = t->index->find(t, size);
    if (!a && t->h.cfg.coalesce == COALESCE_DEFERRED) {
        tags_coalesce_all(t);
        a = t->index->find(t, size);
    }
    if (!a && t->h.port.status == VM_OK) {
        uint64_t chunk = align_up((uint64_t)t->h.cfg.chunk, (uint64_t)t->h.cfg.align);
        uint64_t lack = t->index->lack ? t->index->lack(t, size) : size;
        a = tags_extend(t, lack > chunk ? lack : chunk);
    }
    return a;
}

/* Take `size` bytes of the free block, the rest stays free. */
VM_INLINE void tags_place(tags *t, uint64_t a, uint64_t size)
{
    uint64_t header = tags_header(t, a), all = tags_size(header);
    if (t->h.port.status != VM_OK)
        return;
    tags_remove(t, a, all);
    if (all - size >= t->split) {
        tags_set(t, a, size, TAG_USED, tags_before(t, header));
        tags_set(t, a + size, all - size, 0, tags_is(t, TAGS_FREE) ? TAG_PREV : 0);
        if (t->index->rest)
            t->index->rest(t, a + size, all - size, size);
        else
            tags_insert(t, a + size, all - size);
        t->h.n.splits++;
    } else {
        tags_set(t, a, all, TAG_USED, tags_before(t, header));
        tags_tell(t, a + all, TAG_USED);
    }
}

uint64_t tags_malloc(heap *h, uint64_t n)
{
    tags *t = (tags *)h;
    uint64_t size = tags_need(t, n), a = tags_find(t, size);
    if (a)
        tags_place(t, a, size);
    return a;
}

void tags_free(heap *h, uint64_t a)
{
    tags *t = (tags *)h;
    uint64_t header = tags_header(t, a), size = tags_size(header);
    if (size < t->least || size > t->h.port.top - a) {
        h->port.status =
            vm_fail(&h->port.error, VM_INVALID, "free: the header of %#llx is damaged: %#llx",
                    (unsigned long long)a, (unsigned long long)header);
        return;
    }
    tags_set(t, a, size, 0, tags_before(t, header));
    tags_tell(t, a + size, 0);
    if (h->cfg.coalesce == COALESCE_IMMEDIATE)
        a = tags_coalesce(t, a, &size);
    tags_insert(t, a, size);
}

/* A block of its own out of the end of an allocated one. */
static void tags_cut(tags *t, uint64_t a, uint64_t header, uint64_t all, uint64_t size)
{
    uint64_t rest = a + size, left = all - size;
    tags_set(t, a, size, TAG_USED, tags_before(t, header));
    tags_set(t, rest, left, 0, tags_is(t, TAGS_FREE) ? TAG_PREV : 0);
    tags_tell(t, rest + left, 0);
    if (t->h.cfg.coalesce == COALESCE_IMMEDIATE)
        rest = tags_coalesce(t, rest, &left);
    tags_insert(t, rest, left);
    t->h.n.splits++;
}

bool tags_resize(heap *h, uint64_t a, uint64_t n)
{
    tags *t = (tags *)h;
    if (h->cfg.realloc == 0)
        return false;
    uint64_t header = tags_header(t, a), all = tags_size(header), size = tags_need(t, n);
    uint64_t next = tags_header(t, a + all);
    if (size > all) {
        if (next & TAG_USED || all + tags_size(next) < size)
            return false;
        tags_remove(t, a + all, tags_size(next));
        all += tags_size(next);
        tags_keep_rover(t, a, all);
        t->h.n.coalesces++;
        tags_set(t, a, all, TAG_USED, tags_before(t, header));
        tags_tell(t, a + all, TAG_USED);
    }
    if (all - size >= t->split)
        tags_cut(t, a, header, all, size);
    return true;
}

/* A block with room for what lies before the first aligned place that leaves a block. */
uint64_t tags_memalign(heap *h, uint64_t align, uint64_t n)
{
    tags *t = (tags *)h;
    uint64_t size = tags_need(t, n), a = tags_find(t, size + align + t->least);
    if (!a)
        return 0;
    uint64_t at = align_up(a, align), header = tags_header(t, a), all = tags_size(header);
    while (at != a && at - a < t->least)
        at += align;
    tags_remove(t, a, all);
    if (at != a) {
        tags_set(t, a, at - a, 0, tags_before(t, header));
        tags_insert(t, a, at - a);
        all -= at - a;
        header = 0; /* the block before is free */
        t->h.n.splits++;
    }
    tags_set(t, at, all, TAG_USED, tags_before(t, header));
    tags_tell(t, at + all, TAG_USED);
    if (all - size >= t->split)
        tags_cut(t, at, header, all, size);
    return at;
}

uint64_t tags_usable_size(heap *h, uint64_t a)
{
    tags *t = (tags *)h;
    uint64_t size = tags_size(tags_header(t, a));
    return size < t->least || size > h->port.top - a ? 0 : size - t->over;
}

/* --- looks -------------------------------------------------------------------------- */

bool tags_walk(heap *h, heap_visit *visit, void *ud)
{
    tags *t = (tags *)h;
    const uint64_t w = tags_word(t);
    uint64_t a = t->first, seen = 0;
    for (tags_begin(t); heap_step(h, &seen);) {
        uint64_t header = tags_header(t, a), size = tags_size(header);
        if (size == 0)
            return a == h->port.top;
        if (size < t->least || size > h->port.top - a)
            return false;
        heap_block b = {a - w, size, a, header & TAG_USED};
        if (!visit(ud, &b))
            return true;
        a += size;
    }
    return false;
}

static bool tags_check_header(tags *t, heap_wrong *wrong, uint64_t a, bool before_used)
{
    const uint64_t w = tags_word(t), at = a - w, header = tags_header(t, a),
                   size = tags_size(header);
    const unsigned used = header & TAG_USED;
    if (size < t->least || size > t->h.port.top - a || size & ((uint64_t)t->h.cfg.align - 1))
        return heap_says(wrong, at, "the header %#llx has no size that fits",
                         (unsigned long long)header);
    if ((header & TAG_PREV) != (tags_is(t, TAGS_FREE) && before_used ? TAG_PREV : 0))
        return heap_says(wrong, at, "the header %#llx is wrong about the block before",
                         (unsigned long long)header);
    if (!used && !before_used && t->h.cfg.coalesce == COALESCE_IMMEDIATE)
        return heap_says(wrong, at, "two neighbours are free");
    if (tags_is(t, TAGS_BOTH) || (tags_is(t, TAGS_FREE) && !used)) {
        uint64_t footer = heap_get(&t->h, a + size - 2 * w);
        if (footer != (size | used))
            return heap_says(wrong, a + size - 2 * w,
                             "the footer %#llx is not what its header says, %#llx",
                             (unsigned long long)footer, (unsigned long long)header);
    }
    return true;
}

bool tags_check(heap *h, heap_wrong *wrong)
{
    tags *t = (tags *)h;
    uint64_t a = t->first, free = 0, members = 0, seen = 0;
    bool used = true;
    const uint64_t prologue = tags_prologue(t);
    if (prologue && tags_header(t, a - prologue) != (prologue | TAG_USED))
        return heap_says(wrong, a - prologue - tags_word(t), "the prologue is damaged");
    for (tags_begin(t); a != h->port.top; a += tags_size(tags_header(t, a))) {
        if (!heap_step(h, &seen) || !tags_check_header(t, wrong, a, used))
            return false;
        used = tags_header(t, a) & TAG_USED;
        free += !used;
    }
    uint64_t last = TAG_USED | (tags_is(t, TAGS_FREE) && used ? TAG_PREV : 0);
    if (tags_header(t, a) != last)
        return heap_says(wrong, a - tags_word(t), "the epilogue is damaged: %#llx",
                         (unsigned long long)tags_header(t, a));
    if (t->index->check && !t->index->check(t, wrong, &members))
        return false;
    if (t->index->check && members != free)
        return heap_says(wrong, h->port.base, "%llu blocks are free, but %llu can be found",
                         (unsigned long long)free, (unsigned long long)members);
    return true;
}

void tags_shape(heap *h, uint64_t n, heap_shape *s)
{
    const tags *t = (tags *)h;
    s->size = tags_need(t, n);
    s->footer = t->over - tags_word(t);
}

typedef struct tags_free_blocks {
    heap_member *visit;
    void *ud;
} tags_free_blocks;

static bool tags_visit_free(void *ud, const heap_block *b)
{
    const tags_free_blocks *f = ud;
    return b->used || f->visit(f->ud, 0, b->payload);
}

bool tags_lists(heap *h, heap_member *visit, void *ud)
{
    tags *t = (tags *)h;
    tags_free_blocks f = {visit, ud};
    return t->index->lists ? t->index->lists(t, visit, ud) : tags_walk(h, tags_visit_free, &f);
}

bool tags_members(tags *t, unsigned list, uint64_t a, heap_member *visit, void *ud, bool *enough)
{
    uint64_t seen = 0;
    for (; a && !*enough; a = heap_link(&t->h, a + tags_word(t))) {
        if (!heap_step(&t->h, &seen))
            return false;
        *enough = !visit(ud, list, a);
    }
    return true;
}

bool tags_says_member(tags *t, heap_wrong *wrong, uint64_t a)
{
    if (a < t->first || a >= t->h.port.top || (a - t->first) & ((uint64_t)t->h.cfg.align - 1))
        return heap_says(wrong, a, "a link of the free blocks leads out of the heap");
    if (tags_header(t, a) & TAG_USED)
        return heap_says(wrong, a - tags_word(t),
                         "a block that is among the free ones is allocated");
    return true;
}
