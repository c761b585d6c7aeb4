/* lua_boot.c: how paging was turned on, as rows of the kernel's log; the kernel's part
 * of a process's space; physical memory as bytes. */
#include "lua_machine.h"

#define PEEK_MAX (UINT64_C(1) << 30) /* bytes at once */

static void boot_push_item(lua_State *L, const boot_item *x)
{
    static const char *const kinds[] = {"step", "table", "entry", "register", "walk"};
    lua_createtable(L, 0, 6);
    lua_set_string(L, "kind", kinds[x->kind]);
    switch ((boot_kind)x->kind) {
    case BOOT_STEP:
        lua_set_string(L, "name", boot_step_names[x->number]);
        break;
    case BOOT_TABLE:
        lua_set_integer(L, "pa", x->pa);
        lua_set_integer(L, "bytes", x->now);
        lua_set_integer(L, "level", x->level);
        lua_set_integer(L, "va", x->va);
        break;
    case BOOT_ENTRY:
        lua_set_integer(L, "pa", x->pa);
        lua_set_integer(L, "level", x->level);
        lua_set_integer(L, "va", x->va);
        lua_set_integer(L, "old", x->was);
        lua_set_integer(L, "new", x->now);
        break;
    case BOOT_VALUE:
        lua_set_string(L, "name", boot_register_names[x->number]);
        lua_set_integer(L, "old", x->was);
        lua_set_integer(L, "new", x->now);
        break;
    case BOOT_WALK:
        lua_set_integer(L, "va", x->va);
        if (x->now)
            lua_set_integer(L, "pa", x->pa);
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
        lua_set_string(L, "name", f->read ? bits[i].riscv : bits[i].x86);
        lua_set_integer(L, "mask", bits[i].mask);
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
    lua_set_string(L, "why", boot_why_names[b->why]);
    lua_set_string(L, "format", g->format->name);
    lua_set_integer(L, "va_bits", g->va_bits);
    lua_set_integer(L, "page", kernel_page(k));
    lua_set_integer(L, "entry_bytes", g->format->bytes);
    lua_set_integer(L, "levels", g->levels);
    lua_newtable(L);
    for (unsigned i = 0; i < g->levels; i++) {
        lua_pushinteger(L, g->shift[i]);
        lua_rawseti(L, -2, i);
    }
    lua_setfield(L, -2, "shift");
    boot_push_bits(L, g->format);
    lua_set_boolean(L, "mapped", b->mapped);
    if (!b->mapped)
        return 1;
    lua_set_integer(L, "low", b->low);
    lua_set_integer(L, "base", b->base);
    lua_set_integer(L, "root", b->root);
    lua_set_integer(L, "frames", b->tables);
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
    lua_set_string(L, "what", what);
    lua_set_integer(L, "start", start);
    lua_set_integer(L, "stop", start + bytes);
    lua_set_boolean(L, "shared", shared);
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
    lua_set_integer(L, "frame", pte_ppn(g->format, pt_lookup(g, &k->hw->mem, b->root, va).pte));
    lua_rawseti(L, -2, ++n);
    if (b->self) {
        uint64_t shift = g->shift[g->levels - 1], at = b->self << shift;
        at = g->canonical ? sign_extend(at, g->va_bits) : at;
        boot_push_range(L, "page tables", at, UINT64_C(1) << shift, false);
    } else if (root + bytes <= b->low) { /* seen as the memory that it is in */
        boot_push_range(L, "root page table", b->base + root, bytes, false);
    } else {
        lua_createtable(L, 0, 3);
        lua_set_string(L, "what", "root page table");
        lua_set_boolean(L, "shared", false);
    }
    lua_set_integer(L, "frame", root >> g->page_bits);
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
