/* lua_space.c: the system calls of a process on its memory, and what its areas
 * and pages are. Each call counts as one of the machine's. */
#include "lua_machine.h"
#include "../kernel/rmap.h"

#include <errno.h>
#include <stdio.h>

/* What a mapping asks for beside the AREA_ bits. */
enum {
    MAP_FIXED_ = 1 << 8,
    MAP_NOREPLACE_ = 1 << 9,
    MAP_POPULATE_ = 1 << 10,
    MAP_PRIVATE_ = 1 << 11,
    MAP_ANONYMOUS_ = 1 << 12,
    MAP_HUGETLB_ = 1 << 13,
};

static const struct {
    const char *name;
    unsigned bits;
} map_flags[] = {
    {"private", MAP_PRIVATE_},
    {"shared", AREA_SHARED},
    {"anonymous", MAP_ANONYMOUS_},
    {"fixed", MAP_FIXED_},
    {"fixed_noreplace", MAP_FIXED_ | MAP_NOREPLACE_},
    {"populate", MAP_POPULATE_},
    {"noreserve", AREA_NORESERVE},
    {"growsdown", AREA_GROWSDOWN},
    {"hugetlb", MAP_HUGETLB_},
};
#define MAP_FLAGS (sizeof map_flags / sizeof *map_flags)

unsigned lua_check_prot(lua_State *L, int idx)
{
    unsigned prot = 0;
    const char *text = luaL_checkstring(L, idx);
    if (strcmp(text, "none") == 0)
        return 0;
    for (const char *s = text; *s; s++)
        switch (*s) {
        case 'r':
            prot |= PROT_R;
            break;
        case 'w':
            prot |= PROT_W;
            break;
        case 'x':
            prot |= PROT_X;
            break;
        case '-':
            break;
        default:
            luaL_argerror(L, idx,
                          "a protection is made of r, w, x and -, as in \"rw\", or is \"none\"");
        }
    return prot;
}

void lua_prot_text(unsigned prot, char text[4])
{
    text[0] = prot & PROT_R ? 'r' : '-';
    text[1] = prot & PROT_W ? 'w' : '-';
    text[2] = prot & PROT_X ? 'x' : '-';
    text[3] = '\0';
}

int lua_done(lua_State *L, vm_status s, const vm_error *e)
{
    if (s != VM_OK)
        return lua_failed(L, e);
    lua_pushboolean(L, 1);
    return 1;
}

/* The kernel of a live process; the call that begins is counted. */
static kernel *space_call(lua_State *L, process **p)
{
    lua_process *h = lua_check_running(L, 1, p);
    kernel *k = &h->owner->m->kernel;
    kernel_enter(k, *p);
    return k;
}

/* --- mmap and what follows it ---------------------------------------------------------- */

static unsigned space_check_flags(lua_State *L, int idx)
{
    unsigned bits = 0;
    const char *s = luaL_checkstring(L, idx);
    while (*s) {
        size_t n = strcspn(s, "| ");
        size_t i = 0;
        while (i < MAP_FLAGS && (strlen(map_flags[i].name) != n || memcmp(map_flags[i].name, s, n)))
            i++;
        if (n && i == MAP_FLAGS) {
            luaL_Buffer b;
            luaL_buffinit(L, &b);
            for (i = 0; i < MAP_FLAGS; i++) {
                luaL_addstring(&b, i ? ", " : "");
                luaL_addstring(&b, map_flags[i].name);
            }
            luaL_pushresult(&b);
            lua_pushlstring(L, s, n);
            luaL_error(L, "mmap: there is no flag %s (there are %s)", lua_tostring(L, -1),
                       lua_tostring(L, -2));
        }
        bits |= n ? map_flags[i].bits : 0;
        s += n + (s[n] != '\0');
    }
    return bits;
}

/* What POSIX refuses before it looks at the space. */
static vm_status space_check_mmap(unsigned flags, const map_request *r, bool has_file,
                                  bool readonly, vm_error *e)
{
    unsigned both = MAP_PRIVATE_ | AREA_SHARED;
    if ((flags & both) == both)
        return vm_fail_sys(e, VM_REFUSED, EINVAL, "mmap: a mapping is private or shared, not both");
    if (has_file && flags & MAP_ANONYMOUS_)
        return vm_fail_sys(e, VM_REFUSED, EINVAL, "mmap: an anonymous mapping takes no file");
    if (!has_file && flags & both && !(flags & MAP_ANONYMOUS_))
        return vm_fail_sys(e, VM_REFUSED, EBADF,
                           "mmap: a mapping that is not anonymous takes a file");
    if (has_file && readonly && flags & AREA_SHARED && r->prot & PROT_W)
        return vm_fail_sys(e, VM_REFUSED, EACCES,
                           "mmap: file %s is open for reading only, and can't be mapped shared and "
                           "writable",
                           r->file->name);
    return VM_OK;
}

/* p:_mmap(addr, length, prot, flags, level, name, file, offset) -> address */
static int space_mmap_(lua_State *L)
{
    process *p;
    kernel *k = space_call(L, &p);
    unsigned flags = space_check_flags(L, 5);
    bool has_file = !lua_isnoneornil(L, 8), readonly = false;
    map_request r = {.addr = (uint64_t)luaL_optinteger(L, 2, 0),
                     .length = (uint64_t)luaL_checkinteger(L, 3),
                     .prot = lua_check_prot(L, 4),
                     .fixed = flags & MAP_FIXED_,
                     .noreplace = flags & MAP_NOREPLACE_,
                     .flags = flags & 0xff,
                     .file = has_file ? lua_check_file(L, 8, &readonly) : NULL,
                     .offset = (uint64_t)luaL_optinteger(L, 9, 0)};
    r.name = luaL_optstring(L, 7, r.file ? r.file->name : "");
    lua_Integer level = luaL_optinteger(L, 6, 0);
    luaL_argcheck(L, level >= 0 && level < PT_LEVELS_MAX, 6, "no such level of page sizes");
    r.level = (uint8_t)level;
    uint64_t at;
    vm_error e = {0};
    vm_status s = space_check_mmap(flags, &r, has_file, readonly, &e);
    if (s == VM_OK && readonly && flags & AREA_SHARED)
        r.flags |= AREA_READONLY;
    if (s == VM_OK)
        s = space_map(k, p->space, &r, &at, &e);
    if (s != VM_OK)
        return lua_failed(L, &e);
    fault_info info;
    if (flags & MAP_POPULATE_) /* as much as there is room for; the rest comes on demand */
        space_populate(k, p, at, r.length, &info, NULL);
    lua_pushinteger(L, (lua_Integer)at);
    return 1;
}

/* A call on a range of pages: p:_call(addr, length, ...) -> true */
typedef vm_status range_call(lua_State *L, kernel *k, process *p, uint64_t addr, uint64_t length,
                             vm_error *e);

static int space_range_call(lua_State *L, range_call *call)
{
    process *p;
    vm_error e;
    kernel *k = space_call(L, &p);
    uint64_t addr = (uint64_t)luaL_checkinteger(L, 2), length = (uint64_t)luaL_checkinteger(L, 3);
    return lua_done(L, call(L, k, p, addr, length, &e), &e);
}

static vm_status call_munmap(lua_State *L, kernel *k, process *p, uint64_t addr, uint64_t length,
                             vm_error *e)
{
    (void)L;
    return space_unmap(k, p->space, addr, length, e);
}

static vm_status call_mprotect(lua_State *L, kernel *k, process *p, uint64_t addr, uint64_t length,
                               vm_error *e)
{
    return space_protect(k, p->space, addr, length, lua_check_prot(L, 4), e);
}

static vm_status call_madvise(lua_State *L, kernel *k, process *p, uint64_t addr, uint64_t length,
                              vm_error *e)
{
    const char *names[ADVICES + 1] = {NULL};
    memcpy(names, advice_names, sizeof advice_names);
    return space_advise(k, p, addr, length, (advice)luaL_checkoption(L, 4, NULL, names), e);
}

static vm_status call_msync(lua_State *L, kernel *k, process *p, uint64_t addr, uint64_t length,
                            vm_error *e)
{
    (void)L;
    return space_sync(k, p->space, addr, length, e);
}

/* p:_mlock(addr, length, lock or unlock) */
static vm_status call_mlock(lua_State *L, kernel *k, process *p, uint64_t addr, uint64_t length,
                            vm_error *e)
{
    return space_lock(k, p, addr, length, lua_toboolean(L, 4), e);
}

static int space_munmap_(lua_State *L) { return space_range_call(L, call_munmap); }
static int space_mprotect_(lua_State *L) { return space_range_call(L, call_mprotect); }
static int space_madvise_(lua_State *L) { return space_range_call(L, call_madvise); }
static int space_msync_(lua_State *L) { return space_range_call(L, call_msync); }
static int space_mlock_(lua_State *L) { return space_range_call(L, call_mlock); }

/* p:_mremap(addr, old length, new length, new place or nil, may move) -> address */
static int space_mremap_(lua_State *L)
{
    process *p;
    vm_error e;
    uint64_t at;
    kernel *k = space_call(L, &p);
    vm_status st =
        space_remap(k, p->space, (uint64_t)luaL_checkinteger(L, 2),
                    (uint64_t)luaL_checkinteger(L, 3), (uint64_t)luaL_optinteger(L, 5, 0),
                    (uint64_t)luaL_checkinteger(L, 4), lua_toboolean(L, 6), &at, &e);
    if (st == VM_FAULT) /* a replay would kill the process */
        vm_fail_sys(&e, VM_REFUSED, ENOMEM, "mremap: no memory for the new place's page tables");
    if (st != VM_OK)
        return lua_failed(L, &e);
    lua_pushinteger(L, (lua_Integer)at);
    return 1;
}

/* p:_mincore(addr, length) -> a byte a page: "\1" if it is in memory */
static int space_mincore_(lua_State *L)
{
    process *p;
    vm_error e;
    kernel *k = space_call(L, &p);
    uint64_t addr = (uint64_t)luaL_checkinteger(L, 2), n = (uint64_t)luaL_checkinteger(L, 3);
    uint64_t length = n;
    if (space_range(k, p->space, "mincore", ENOMEM, addr, &length, &e) != VM_OK)
        return lua_failed(L, &e);
    if (!space_covered(p->space, addr, addr + length)) { /* before the buffer for it */
        vm_fail_sys(&e, VM_REFUSED, ENOMEM, "mincore: not all of the range is mapped");
        return lua_failed(L, &e);
    }
    luaL_Buffer b;
    size_t pages = (size_t)(length >> k->hw->g.page_bits);
    uint8_t *out = (uint8_t *)luaL_buffinitsize(L, &b, pages);
    if (space_incore(k, p->space, addr, n, out, &e) != VM_OK)
        return lua_failed(L, &e);
    luaL_pushresultsize(&b, pages);
    return 1;
}

/* p:brk([address]) -> the break */
static int space_brk_(lua_State *L)
{
    process *p;
    vm_error e;
    kernel *k = space_call(L, &p);
    if (!lua_isnoneornil(L, 2) &&
        space_set_brk(k, p->space, (uint64_t)luaL_checkinteger(L, 2), &e) != VM_OK)
        return lua_failed(L, &e);
    lua_pushinteger(L, (lua_Integer)p->space->brk);
    return 1;
}

/* p:_sbrk(n) -> the break before */
static int space_sbrk_(lua_State *L)
{
    process *p;
    vm_error e;
    kernel *k = space_call(L, &p);
    uint64_t old = p->space->brk;
    if (space_set_brk(k, p->space, old + (uint64_t)luaL_checkinteger(L, 2), &e) != VM_OK)
        return lua_failed(L, &e);
    lua_pushinteger(L, (lua_Integer)old);
    return 1;
}

/* p:limit([pages]) -> the most pages of its own that the process may have in frames; 0: as
 * fit. Set, it holds from the next fault on. */
static int space_limit_(lua_State *L)
{
    process *p;
    lua_process *h = lua_check_live(L, 1, &p);
    if (!lua_isnoneornil(L, 2)) {
        lua_Integer n = luaL_checkinteger(L, 2);
        luaL_argcheck(L, n >= 0, 2, "a limit is 0 or more pages");
        if (!h->owner->m->kernel.cfg.local)
            return luaL_error(
                L, "a limit of a process takes a machine with reclaim.scope = \"local\"");
        p->space->limit = (uint64_t)n;
    }
    lua_pushinteger(L, (lua_Integer)p->space->limit);
    return 1;
}

/* p:swap_out() -> how many pages went: all that the process has to itself and that can go */
static int space_swap_out_(lua_State *L)
{
    process *p;
    vm_error e;
    kernel *k = space_call(L, &p);
    uint64_t n = reclaim_swap_space(k, p->space, &e);
    if (e.status == VM_POLICY || e.status == VM_NOMEM)
        return lua_raise(L, &e);
    lua_pushinteger(L, (lua_Integer)n);
    return 1;
}

/* --- areas and pages --------------------------------------------------------------------- */

static void space_push_flags(lua_State *L, const area *a)
{
    luaL_Buffer b;
    luaL_buffinit(L, &b);
    luaL_addstring(&b, a->flags & AREA_SHARED ? "shared" : "private");
    if (!a->file || a->file->memory)
        luaL_addstring(&b, "|anonymous");
    if (a->level)
        luaL_addstring(&b, "|hugetlb");
    if (a->flags & AREA_NORESERVE)
        luaL_addstring(&b, "|noreserve");
    if (a->flags & AREA_GROWSDOWN)
        luaL_addstring(&b, "|growsdown");
    if (a->flags & AREA_LOCKED)
        luaL_addstring(&b, "|locked");
    if (a->flags & AREA_HUGEPAGE)
        luaL_addstring(&b, "|hugepage");
    if (a->flags & AREA_NOHUGEPAGE)
        luaL_addstring(&b, "|nohugepage");
    luaL_pushresult(&b);
}

/* p:areas() -> list of { start, stop, prot, flags, name, file, offset, page } */
static int space_areas_(lua_State *L)
{
    process *p;
    lua_process *h = lua_check_live(L, 1, &p);
    const pt_geometry *g = &h->owner->m->hw.g;
    lua_createtable(L, (int)p->space->areas.count, 0);
    lua_Integer i = 0;
    for (const area *a = p->space->areas.first; a; a = a->next) {
        char prot[4];
        lua_prot_text(a->prot, prot);
        lua_createtable(L, 0, 8);
        lua_pushinteger(L, (lua_Integer)a->start);
        lua_setfield(L, -2, "start");
        lua_pushinteger(L, (lua_Integer)a->stop);
        lua_setfield(L, -2, "stop");
        lua_pushstring(L, prot);
        lua_setfield(L, -2, "prot");
        space_push_flags(L, a);
        lua_setfield(L, -2, "flags");
        lua_pushstring(L, a->name);
        lua_setfield(L, -2, "name");
        lua_pushinteger(L, (lua_Integer)1 << g->shift[a->level]);
        lua_setfield(L, -2, "page");
        if (a->file && !a->file->memory) {
            lua_pushstring(L, a->file->name);
            lua_setfield(L, -2, "file");
            lua_pushinteger(L, (lua_Integer)a->offset);
            lua_setfield(L, -2, "offset");
        }
        lua_rawseti(L, -2, ++i);
    }
    return 1;
}

typedef enum page_state { PAGE_UNALLOCATED, PAGE_UNCACHED, PAGE_CACHED, PAGE_UNKNOWN } page_state;
static const char *const page_states[] = {"unallocated", "uncached", "cached", "unknown"};

static page_state space_state(const machine *m, const process *p, uint64_t va, pt_place *at)
{
    const pt_geometry *g = &m->hw.g;
    *at = (pt_place){0};
    if (!pt_canonical(g, va) || !p->space->root_ok)
        return PAGE_UNALLOCATED;
    *at = pt_lookup(g, &m->hw.mem, p->space->root, va);
    if (at->pte & g->format->present && pte_is_leaf(g->format, at->pte, at->level))
        return PAGE_CACHED;
    if (at->pte & g->format->unknown)
        return PAGE_UNKNOWN;
    return area_find(&p->space->areas, va) ? PAGE_UNCACHED : PAGE_UNALLOCATED;
}

/* p:page(va) -> { state =, frame =, slot =, dirty =, accessed =, prot =, mapped =, pte =, size = }
 */
static int space_page_(lua_State *L)
{
    process *p;
    lua_process *h = lua_check_live(L, 1, &p);
    machine *m = h->owner->m;
    const pt_geometry *g = &m->hw.g;
    const pte_format *f = g->format;
    uint64_t va = (uint64_t)luaL_checkinteger(L, 2), slot;
    pt_place at;
    rmap_settle_all(&m->kernel);
    page_state state = space_state(m, p, va, &at);
    lua_createtable(L, 0, 10);
    lua_pushstring(L, page_states[state]);
    lua_setfield(L, -2, "state");
    if (!pt_canonical(g, va) || !p->space->root_ok)
        return 1;
    lua_set_integer(L, "pte", at.pte);
    lua_set_integer(L, "size", UINT64_C(1) << g->shift[at.level]);
    if (state == PAGE_CACHED) {
        char prot[4];
        const frame *r = frames_at(&m->kernel.frames, pte_ppn(f, at.pte));
        lua_prot_text(pte_prot(f, at.pte), prot);
        lua_set_integer(L, "frame", pte_ppn(f, at.pte));
        lua_set_boolean(L, "dirty", at.pte & f->dirty);
        lua_set_boolean(L, "accessed", at.pte & f->accessed);
        lua_pushstring(L, prot);
        lua_setfield(L, -2, "prot");
        lua_set_integer(L, "mapped", r ? r->mapped : 0);
        lua_set_boolean(L, "locked", r && r->locks);
    } else if (pte_is_swapped(f, at.pte, &slot)) {
        lua_set_integer(L, "slot", slot);
    }
    return 1;
}

/* p:_pages(start, stop) -> a letter a page: "-" unallocated, "u" uncached, "c" cached */
static int space_pages_(lua_State *L)
{
    process *p;
    lua_process *h = lua_check_live(L, 1, &p);
    const machine *m = h->owner->m;
    uint64_t page = kernel_page(&m->kernel),
             va = align_down((uint64_t)luaL_checkinteger(L, 2), page);
    uint64_t stop = (uint64_t)luaL_checkinteger(L, 3);
    luaL_argcheck(L, stop >= va && stop - va <= (UINT64_C(1) << 28) * page, 3,
                  "the range ends before it begins, or has more than 2^28 pages");
    size_t n = (size_t)(align_up(stop - va, page) / page);
    luaL_Buffer b;
    char *out = luaL_buffinitsize(L, &b, n);
    pt_place at;
    for (size_t i = 0; i < n; i++, va += page)
        out[i] = "-uc?"[space_state(m, p, va, &at)];
    luaL_pushresultsize(&b, n);
    return 1;
}

/* p:_smap(start, stop) -> what smaps tells of an area, in bytes */
static int space_smap_(lua_State *L)
{
    process *p;
    lua_process *h = lua_check_live(L, 1, &p);
    kernel *k = &h->owner->m->kernel;
    const pt_geometry *g = &k->hw->g;
    const pte_format *f = g->format;
    uint64_t start = (uint64_t)luaL_checkinteger(L, 2), stop = (uint64_t)luaL_checkinteger(L, 3);
    rmap_settle_all(k);
    uint64_t rss = 0, pss = 0, of[2][2] = {{0}}, referenced = 0, anonymous = 0, swap = 0, huge = 0,
             slot;
    for (entry_walk w = entries_of(k, p->space, start, stop); entries_next(&w);) {
        const pt_place at = w.at;
        uint64_t size = UINT64_C(1) << g->shift[at.level];
        const frame *r = at.pte & f->present ? frames_at(&k->frames, pte_ppn(f, at.pte)) : NULL;
        if (r && r->mapped) {
            bool dirty = r->dirty || at.pte & f->dirty;
            rss += size;
            pss += size / r->mapped;
            of[r->mapped > 1][dirty] += size;
            referenced += at.pte & f->accessed ? size : 0;
            anonymous += r->file ? 0 : size;
            huge += huge_span(k, &at) > 1 ? size : 0;
        } else if (pte_is_swapped(f, at.pte, &slot)) {
            swap += size;
        }
    }
    lua_createtable(L, 0, 12);
    lua_set_integer(L, "Rss", rss);
    lua_set_integer(L, "Pss", pss);
    lua_set_integer(L, "Private_Clean", of[0][0]);
    lua_set_integer(L, "Private_Dirty", of[0][1]);
    lua_set_integer(L, "Shared_Clean", of[1][0]);
    lua_set_integer(L, "Shared_Dirty", of[1][1]);
    lua_set_integer(L, "Referenced", referenced);
    lua_set_integer(L, "Anonymous", anonymous);
    lua_set_integer(L, "AnonHugePages", huge);
    lua_set_integer(L, "Swap", swap);
    return 1;
}

/* p:user_top() -> the first address that is not the user's */
static int space_user_top_(lua_State *L)
{
    process *p;
    lua_process *h = lua_check_process(L, 1, &p);
    lua_pushinteger(L, (lua_Integer)space_user_top(&h->owner->m->kernel));
    return 1;
}

void lua_open_space(lua_State *L)
{
    static const luaL_Reg methods[] = {
        {"_mmap", space_mmap_},     {"_munmap", space_munmap_},    {"_mprotect", space_mprotect_},
        {"_mremap", space_mremap_}, {"_madvise", space_madvise_},  {"_msync", space_msync_},
        {"_mlock", space_mlock_},   {"_mincore", space_mincore_},  {"brk", space_brk_},
        {"_sbrk", space_sbrk_},     {"limit", space_limit_},       {"swap_out", space_swap_out_},
        {"areas", space_areas_},    {"page", space_page_},         {"_pages", space_pages_},
        {"_smap", space_smap_},     {"user_top", space_user_top_}, {NULL, NULL},
    };
    luaL_setfuncs(L, methods, 0);
}
