#include "refs.h"

#define REFS_MOST  (UINT32_MAX - 0xffffu)
#define REFS_BATCH 64 /* pages looked up at once: the host fetches their entries together */

study_refs *study_refs_new(const vm_host *host, const study_refs_options *o, vm_error *e)
{
    study_refs *r = host_zalloc(host, sizeof *r);
    if (!r) {
        vm_fail_nomem(e, "a reference string");
        return NULL;
    }
    r->host = *host;
    r->page_bits = o->page_bits;
    r->apart = o->apart;
    r->rate = o->rate;
    r->most_pages = o->most_pages;
    return r;
}

void study_refs_free(study_refs *r)
{
    if (!r)
        return;
    vm_host host = r->host;
    host_free(&host, r->refs, r->ref_cap * sizeof *r->refs);
    host_free(&host, r->number, r->number_cap * sizeof *r->number);
    host_free(&host, r->owner, r->owner_cap * sizeof *r->owner);
    host_free(&host, r->process, r->process_cap * sizeof *r->process);
    host_free(&host, r->process_of, r->task_cap * sizeof *r->process_of);
    host_free(&host, r->table, r->table_size * sizeof *r->table);
    host_free(&host, r->next_use, r->count * sizeof *r->next_use);
    host_free(&host, r, sizeof *r);
}

/* --- processes ----------------------------------------------------------------- */

static vm_status refs_name_task(study_refs *r, uint32_t task, uint32_t owner, vm_error *e)
{
    if (!host_grow(&r->host, (void **)&r->process_of, &r->task_cap, task + 1u,
                   sizeof *r->process_of))
        return vm_fail_nomem(e, "a reference string");
    while (r->tasks <= task)
        r->process_of[r->tasks++] = 0;
    r->process_of[task] = owner + 1;
    return VM_OK;
}

static bool refs_has_task(const study_refs *r, uint32_t task)
{
    return task < r->tasks && r->process_of[task] != 0;
}

/* The process of a task; a new one if it has none. */
static vm_status refs_process(study_refs *r, uint32_t task, uint32_t *owner, vm_error *e)
{
    if (!r->apart && r->processes > 0) {
        *owner = 0;
        return VM_OK;
    }
    if (!refs_has_task(r, task)) {
        if (!host_grow(&r->host, (void **)&r->process, &r->process_cap, r->processes + 1,
                       sizeof *r->process))
            return vm_fail_nomem(e, "a reference string");
        vm_status s = refs_name_task(r, task, (uint32_t)r->processes, e);
        if (s != VM_OK)
            return s;
        r->process[r->processes++] = (study_process){.task = task};
    }
    *owner = r->process_of[task] - 1;
    return VM_OK;
}

static vm_status refs_event(study_refs *r, const access_event *v, vm_error *e)
{
    uint32_t owner;
    if (v->type != EVENT_THREAD || !r->apart || v->arg[0] > UINT16_MAX)
        return VM_OK;
    vm_status s = refs_process(r, v->task, &owner, e);
    return s == VM_OK ? refs_name_task(r, (uint32_t)v->arg[0], owner, e) : s;
}

/* --- pages ------------------------------------------------------------------------ */

static size_t refs_hash(uint64_t number, uint32_t owner)
{
    uint64_t x = (number ^ (uint64_t)owner << 44) * UINT64_C(0x9e3779b97f4a7c15);
    return (size_t)(x ^ x >> 32);
}

/* What decides whether a page is in a sample: independent of where it lies in the table. */
static uint32_t refs_sample_hash(uint64_t number, uint32_t owner)
{
    uint64_t x = number + (uint64_t)owner * UINT64_C(0xd1342543de82ef95);
    x = (x ^ x >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    x = (x ^ x >> 27) * UINT64_C(0x94d049bb133111eb);
    return (uint32_t)((x ^ x >> 31) >> 40);
}

static bool refs_in(uint64_t number, uint32_t owner, uint32_t least, uint32_t rate)
{
    return refs_sample_hash(number, owner) - least < rate;
}

static vm_status refs_table(study_refs *r, size_t size, vm_error *e)
{
    study_entry *t = host_zalloc(&r->host, size * sizeof *t);
    if (!t)
        return vm_fail_nomem(e, "the pages of a reference string");
    for (size_t p = 0; p < r->pages; p++) {
        size_t at = refs_hash(r->number[p], r->owner[p]) & (size - 1);
        while (t[at].page)
            at = (at + 1) & (size - 1);
        t[at] = (study_entry){r->number[p], r->owner[p], (uint32_t)p + 1};
    }
    host_free(&r->host, r->table, r->table_size * sizeof *t);
    r->table = t;
    r->table_size = size;
    return VM_OK;
}

/* Room for `more` further pages, with a table at most two thirds full. */
static vm_status refs_reserve(study_refs *r, size_t more, vm_error *e)
{
    size_t need = r->pages + more;
    if (need > STUDY_PAGE)
        return vm_fail(e, VM_INVALID, "the trace touches more than %u pages", STUDY_PAGE);
    if (!host_grow(&r->host, (void **)&r->number, &r->number_cap, need, sizeof *r->number) ||
        !host_grow(&r->host, (void **)&r->owner, &r->owner_cap, need, sizeof *r->owner))
        return vm_fail_nomem(e, "the pages of a reference string");
    if (need * 3 <= r->table_size * 2)
        return VM_OK;
    return refs_table(r, r->table_size ? r->table_size * 2 : 256, e);
}

/* A reference whose page is not looked up yet. */
typedef struct refs_want {
    uint64_t number;
    size_t hash;
    uint32_t process;
    uint32_t write; /* 0 or STUDY_WRITE */
} refs_want;

static uint32_t refs_page(study_refs *r, const refs_want *w)
{
    size_t mask = r->table_size - 1, at = w->hash & mask;
    study_entry *t = r->table;
    for (; t[at].page; at = (at + 1) & mask)
        if (t[at].number == w->number && t[at].process == w->process)
            return t[at].page - 1;
    uint32_t page = (uint32_t)r->pages++;
    t[at] = (study_entry){w->number, w->process, page + 1};
    r->number[page] = w->number;
    r->owner[page] = (uint16_t)w->process;
    r->process[w->process].pages++;
    return page;
}

static vm_status refs_flush(study_refs *r, const refs_want *w, size_t n, vm_error *e)
{
    if (r->count + n > REFS_MOST)
        return vm_fail(e, VM_INVALID, "the trace has more than %u references", REFS_MOST);
    vm_status s = refs_reserve(r, n, e);
    if (s != VM_OK)
        return s;
    if (!host_grow(&r->host, (void **)&r->refs, &r->ref_cap, r->count + n + STUDY_AHEAD,
                   sizeof *r->refs))
        return vm_fail_nomem(e, "a reference string");
    for (size_t i = 0; i < n; i++)
        VM_PREFETCH(&r->table[w[i].hash & (r->table_size - 1)]);
    for (size_t i = 0; i < n; i++) {
        r->refs[r->count++] = refs_page(r, &w[i]) | w[i].write;
        r->process[w[i].process].refs++;
    }
    return VM_OK;
}

static vm_status refs_shrink(study_refs *r, vm_error *e);

/* The pages that one access touches. */
static vm_status refs_access(study_refs *r, const access_record *a, uint32_t owner, refs_want *w,
                             size_t *n, vm_error *e)
{
    uint32_t write = a->kind >= ACCESS_STORE ? STUDY_WRITE : 0;
    uint64_t number = a->addr >> r->page_bits;
    /* An access does not go round the end of the address space. */
    uint64_t last = a->size - 1 <= UINT64_MAX - a->addr ? a->addr + a->size - 1 : UINT64_MAX;
    last >>= r->page_bits;
    for (;; number++) {
        r->all++;
        if (r->rate == STUDY_HASHES || refs_in(number, owner, r->least, r->rate)) {
            w[(*n)++] = (refs_want){number, refs_hash(number, owner), owner, write};
            r->writes = r->writes || write;
        }
        vm_status s = VM_OK;
        if (*n == REFS_BATCH) {
            s = refs_flush(r, w, *n, e);
            *n = 0;
        }
        if (s == VM_OK && r->most_pages && r->pages / 2 > r->most_pages && *n == 0)
            s = refs_shrink(r, e);
        if (number == last || s != VM_OK)
            return s;
    }
}

vm_status study_refs_add(study_refs *r, const trace_block *b, vm_error *e)
{
    refs_want w[REFS_BATCH];
    size_t n = 0;
    vm_status s = VM_OK;
    uint32_t task = UINT32_MAX, owner = 0;
    for (size_t i = 0; i < b->count && s == VM_OK; i++) {
        const access_record *a = &b->records[i];
        if (a->kind == ACCESS_EVENT) {
            s = refs_event(r, &b->events[a->addr], e);
            task = UINT32_MAX;
            continue;
        }
        if (a->task != task) {
            s = refs_process(r, a->task, &owner, e);
            task = a->task;
        }
        if (s == VM_OK)
            s = refs_access(r, a, owner, w, &n, e);
    }
    return s == VM_OK && n > 0 ? refs_flush(r, w, n, e) : s;
}

/* Behind the last reference: what is read ahead. */
static vm_status refs_pad(study_refs *r, vm_error *e)
{
    if (!host_grow(&r->host, (void **)&r->refs, &r->ref_cap, r->count + STUDY_AHEAD,
                   sizeof *r->refs))
        return vm_fail_nomem(e, "a reference string");
    memset(r->refs + r->count, 0, STUDY_AHEAD * sizeof *r->refs);
    return VM_OK;
}

vm_status study_refs_end(study_refs *r, vm_error *e)
{
    vm_status s = VM_OK;
    if (r->most_pages && r->pages > r->most_pages)
        s = refs_shrink(r, e);
    if (s == VM_OK)
        s = refs_pad(r, e);
    if (s != VM_OK)
        return s;
    host_free(&r->host, r->table, r->table_size * sizeof *r->table);
    r->table = NULL;
    r->table_size = 0;
    r->ended = true;
    return VM_OK;
}

/* --- samples -------------------------------------------------------------------------- */

uint32_t study_refs_rate(const study_refs *r, size_t most_pages)
{
    uint32_t rate = 0;
    size_t left = most_pages;
    /* Twelve bits of the hash at a time: the digit whose pages are too many, then the next. */
    for (unsigned shift = 12;; shift = 0) {
        size_t count[4096] = {0};
        uint32_t digit = 0;
        for (size_t p = 0; p < r->pages; p++) {
            uint32_t h = refs_sample_hash(r->number[p], r->owner[p]) - r->least;
            if (shift == 12 || h >> 12 == rate >> 12)
                count[h >> shift & 4095]++;
        }
        for (; digit < 4096 && count[digit] <= left; digit++)
            left -= count[digit];
        rate += digit << shift;
        if (shift == 0 || rate >= r->rate)
            break;
    }
    rate = rate < r->rate ? rate : r->rate;
    return rate ? rate : 1;
}

/* Keep the references to pages with these hashes, of `from` (which may be `r` itself):
 * numbers stay in the order of first references. `map`: room for a word a page. */
static vm_status refs_filter(study_refs *r, const study_refs *from, uint32_t least, uint32_t rate,
                             uint32_t *map, uint64_t *kept, vm_error *e)
{
    size_t n = 0, pages = 0;
    for (size_t p = 0; p < from->pages; p++)
        if (refs_in(from->number[p], from->owner[p], least, rate)) {
            kept[p / 64] |= UINT64_C(1) << p % 64;
            map[p] = (uint32_t)pages++;
        }
    if (!host_grow(&r->host, (void **)&r->number, &r->number_cap, pages, sizeof *r->number) ||
        !host_grow(&r->host, (void **)&r->owner, &r->owner_cap, pages, sizeof *r->owner))
        return vm_fail_nomem(e, "a sample of a reference string");
    uint32_t any = 0;
    for (size_t at = 0; at < from->count;) {
        size_t end = from->count - at < TRACE_BLOCK ? from->count : at + TRACE_BLOCK;
        if (r != from &&
            !host_grow(&r->host, (void **)&r->refs, &r->ref_cap, n + (end - at), sizeof *r->refs))
            return vm_fail_nomem(e, "a sample of a reference string");
        for (; at < end; at++) {
            uint32_t word = from->refs[at], page = word & STUDY_PAGE;
            r->refs[n] = word;
            n += kept[page / 64] >> page % 64 & 1;
        }
    }
    for (size_t i = 0; i < r->processes; i++)
        r->process[i].refs = r->process[i].pages = 0;
    for (size_t i = 0; i < n; i++) {
        uint32_t page = r->refs[i] & STUDY_PAGE;
        any |= r->refs[i];
        r->process[from->owner[page]].refs++;
        r->refs[i] = map[page] | (r->refs[i] & STUDY_WRITE);
    }
    for (size_t p = 0; p < from->pages; p++)
        if (kept[p / 64] >> p % 64 & 1) {
            r->process[from->owner[p]].pages++;
            r->number[map[p]] = from->number[p];
            r->owner[map[p]] = from->owner[p];
        }
    r->writes = any >= STUDY_WRITE;
    r->count = n;
    r->pages = pages;
    r->least = least;
    r->rate = rate;
    return VM_OK;
}

static vm_status refs_keep(study_refs *r, const study_refs *from, uint32_t least, uint32_t rate,
                           vm_error *e)
{
    size_t pages = from->pages, words = pages / 64 + 1;
    uint32_t *map = host_alloc(&r->host, pages * sizeof *map);
    uint64_t *kept = host_zalloc(&r->host, words * sizeof *kept);
    vm_status s = map && kept ? refs_filter(r, from, least, rate, map, kept, e)
                              : vm_fail_nomem(e, "a sample of a reference string");
    host_free(&r->host, map, pages * sizeof *map);
    host_free(&r->host, kept, words * sizeof *kept);
    return s;
}

/* Lower the rate until most_pages are kept. (The paper gives up the page with the
 * greatest hash as soon as there is one too many, and cannot take back what it has
 * counted of it; here the references are still there, so that the sample is the one
 * of the final rate.) */
static vm_status refs_shrink(study_refs *r, vm_error *e)
{
    vm_status s = refs_keep(r, r, r->least, study_refs_rate(r, r->most_pages), e);
    return s == VM_OK ? refs_table(r, r->table_size, e) : s;
}

study_refs *study_refs_part(const study_refs *from, uint32_t least, uint32_t rate, vm_error *e)
{
    study_refs_options o = {.page_bits = from->page_bits, .apart = from->apart, .rate = rate};
    study_refs *r = study_refs_new(&from->host, &o, e);
    if (!r)
        return NULL;
    r->all = from->all;
    r->ended = true;
    vm_status s = VM_OK;
    if (host_grow(&r->host, (void **)&r->process, &r->process_cap, from->processes,
                  sizeof *r->process)) {
        memcpy(r->process, from->process, from->processes * sizeof *r->process);
        r->processes = from->processes;
        s = refs_keep(r, from, least, rate, e);
    } else {
        s = vm_fail_nomem(e, "a sample of a reference string");
    }
    if (s == VM_OK)
        s = refs_pad(r, e);
    if (s == VM_OK)
        return r;
    study_refs_free(r);
    return NULL;
}

/* --- the future ------------------------------------------------------------------------- */

vm_status study_refs_next(study_refs *r, vm_error *e)
{
    if (r->next_use)
        return VM_OK;
    uint32_t *next = host_alloc(&r->host, r->count * sizeof *next);
    uint32_t *seen = host_alloc(&r->host, r->pages * sizeof *seen);
    if (!next || !seen) {
        host_free(&r->host, next, r->count * sizeof *next);
        host_free(&r->host, seen, r->pages * sizeof *seen);
        return vm_fail_nomem(e, "the next uses of a reference string");
    }
    memset(seen, 0xff, r->pages * sizeof *seen);
    for (size_t i = r->count; i-- > 0;) {
        if (i >= STUDY_AHEAD)
            VM_PREFETCH(&seen[r->refs[i - STUDY_AHEAD] & STUDY_PAGE]);
        uint32_t page = r->refs[i] & STUDY_PAGE;
        next[i] = seen[page];
        seen[page] = (uint32_t)i;
    }
    host_free(&r->host, seen, r->pages * sizeof *seen);
    r->next_use = next;
    return VM_OK;
}
