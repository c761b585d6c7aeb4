/* lua_boot.c: how paging was turned on, as rows of the kernel's log; the kernel's part
 * of a process's space; physical memory as bytes. */
#include "lua_machine.h"

#define PEEK_MAX (UINT64_C(1) << 30) /* bytes at once */

static void boot_set(lua_State *L, const char *name, uint64_t value)
{
    lua_pushinteger(L, (lua_Integer)value);
    lua_setfield(L, -2, name);
}

static void boot_set_name(lua_State *L, const char *name, const char *value)
{
    lua_pushstring(L, value);
    lua_setfield(L, -2, name);
}

static void boot_push_item(lua_State *L, const boot_item *x)
{
    static const char *const kinds[] = {"step", "table", "entry", "register", "walk"};
    lua_createtable(L, 0, 6);
    boot_set_name(L, "kind", kinds[x->kind]);
    switch ((boot_kind)x->kind) {
    case BOOT_STEP:
        boot_set_name(L, "name", boot_step_names[x->number]);
        break;
    case BOOT_TABLE:
        boot_set(L, "pa", x->pa);
        boot_set(L, "bytes", x->now);
        boot_set(L, "level", x->level);
        boot_set(L, "va", x->va);
        break;
    case BOOT_ENTRY:
        boot_set(L, "pa", x->pa);
        boot_set(L, "level", x->level);
        boot_set(L, "va", x->va);
        boot_set(L, "old", x->was);
        boot_set(L, "new", x->now);
        break;
    case BOOT_VALUE:
        boot_set_name(L, "name", boot_register_names[x->number]);
        boot_set(L, "old", x->was);
        boot_set(L, "new", x->now);
        break;
    case BOOT_WALK:
        boot_set(L, "va", x->va);
        if (x->now)
            boot_set(L, "pa", x->pa);
        break;
    }
}

/* The format's bits by the letters that its manual has for them. */
static void boot_push_bits(lua_State *L, const pte_format *f)
{
    const struct {
        const char *x86, *riscv;
        uint64_t mask;
    } bits[] = {{"P", "V", f->present},  {NULL, "R", f->read}, {"W", "W", f->write},
                {NULL, "X", f->exec},    {"U", "U", f->user},  {"G", "G", f->global},
                {"A", "A", f->accessed}, {"D", "D", f->dirty}, {"PS", NULL, f->large},
                {"XD", NULL, f->no_exec}};
    lua_Integer n = 0;
    lua_newtable(L);
    for (size_t i = 0; i < sizeof bits / sizeof *bits; i++) {
        if (!bits[i].mask)
            continue;
        lua_createtable(L, 0, 2);
        boot_set_name(L, "name", f->read ? bits[i].riscv : bits[i].x86);
        boot_set(L, "mask", bits[i].mask);
        lua_rawseti(L, -2, ++n);
    }
    lua_setfield(L, -2, "bits");
}

/* m:_boot() -> the log: rows, and what they are about */
static int boot_boot(lua_State *L)
{
    machine *m = lua_check_machine(L, 1)->m;
    kernel *k = &m->kernel;
    const pt_geometry *g = &m->hw.g;
    const boot_state *b = &k->boot;
    vm_error e;
    if (kernel_boot(k, &e) != VM_OK)
        return lua_raise(L, &e);
    lua_createtable(L, (int)b->count, 16);
    for (size_t i = 0; i < b->count; i++) {
        boot_push_item(L, &b->log[i]);
        lua_rawseti(L, -2, (lua_Integer)i + 1);
    }
    boot_set_name(L, "why", boot_why_names[b->why]);
    boot_set_name(L, "format", g->format->name);
    boot_set(L, "va_bits", g->va_bits);
    boot_set(L, "page", kernel_page(k));
    boot_set(L, "entry_bytes", g->format->bytes);
    boot_set(L, "levels", g->levels);
    lua_newtable(L);
    for (unsigned i = 0; i < g->levels; i++) {
        lua_pushinteger(L, g->shift[i]);
        lua_rawseti(L, -2, i);
    }
    lua_setfield(L, -2, "shift");
    boot_push_bits(L, g->format);
    lua_pushboolean(L, b->mapped);
    lua_setfield(L, -2, "mapped");
    if (!b->mapped)
        return 1;
    boot_set(L, "low", b->low);
    boot_set(L, "base", b->base);
    boot_set(L, "root", b->root);
    boot_set(L, "frames", b->tables);
    return 1;
}

/* m:peek(pa, n) -> bytes of physical memory */
static int boot_peek(lua_State *L)
{
    const machine *m = lua_check_machine(L, 1)->m;
    lua_Integer pa = luaL_checkinteger(L, 2), n = luaL_checkinteger(L, 3);
    luaL_Buffer b;
    luaL_argcheck(L, pa >= 0 && (uint64_t)pa <= m->hw.mem.size, 2, "not an address of DRAM");
    luaL_argcheck(L,
                  n >= 0 && (uint64_t)n <= PEEK_MAX && (uint64_t)n <= m->hw.mem.size - (uint64_t)pa,
                  3, "the bytes end beyond DRAM, or are more than 1 GiB");
    dram_read(&m->hw.mem, (uint64_t)pa, luaL_buffinitsize(L, &b, (size_t)n), (size_t)n);
    luaL_pushresultsize(&b, (size_t)n);
    return 1;
}

static void boot_push_range(lua_State *L, const char *what, uint64_t start, uint64_t bytes,
                            bool shared)
{
    lua_createtable(L, 0, 5);
    boot_set_name(L, "what", what);
    boot_set(L, "start", start);
    boot_set(L, "stop", start + bytes);
    lua_pushboolean(L, shared);
    lua_setfield(L, -2, "shared");
}

/* p:kernel() -> list of { start =, stop =, what =, shared =, frame = }, by address */
static int boot_kernel(lua_State *L)
{
    process *p;
    lua_process *h = lua_check_live(L, 1, &p);
    const kernel *k = &h->owner->m->kernel;
    const pt_geometry *g = &k->hw->g;
    const boot_state *b = &k->boot;
    uint64_t root = p->space->root, bytes = pt_table_bytes(g, g->levels - 1);
    lua_Integer n = 0;
    lua_newtable(L);
    if (!b->mapped)
        return 1;
    boot_push_range(L, "physical memory", b->base, b->low, true);
    lua_rawseti(L, -2, ++n);
    uint64_t va = half_stack_va(k, p);
    boot_push_range(L, "kernel stack", va, kernel_page(k), false);
    boot_set(L, "frame", pte_ppn(g->format, pt_lookup(g, &k->hw->mem, b->root, va).pte));
    lua_rawseti(L, -2, ++n);
    if (b->self) {
        uint64_t shift = g->shift[g->levels - 1], at = b->self << shift;
        at = g->canonical ? sign_extend(at, g->va_bits) : at;
        boot_push_range(L, "page tables", at, UINT64_C(1) << shift, false);
    } else if (root + bytes <= b->low) { /* seen as the memory that it is in */
        boot_push_range(L, "root page table", b->base + root, bytes, false);
    } else {
        lua_createtable(L, 0, 3);
        boot_set_name(L, "what", "root page table");
        lua_pushboolean(L, 0);
        lua_setfield(L, -2, "shared");
    }
    boot_set(L, "frame", root >> g->page_bits);
    lua_rawseti(L, -2, ++n);
    return 1;
}

void lua_open_boot(lua_State *L)
{
    static const luaL_Reg methods[] = {{"_boot", boot_boot}, {"peek", boot_peek}, {NULL, NULL}};
    lua_getfield(L, -1, "Machine");
    luaL_setfuncs(L, methods, 0);
    lua_pop(L, 1);
    lua_getfield(L, -1, "Process");
    lua_pushcfunction(L, boot_kernel);
    lua_setfield(L, -2, "kernel");
    lua_pop(L, 1);
}
