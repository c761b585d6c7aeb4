/* lua_explain.c: one access with somebody watching: every lookup as a row.
 *
 * The probes of the hardware write rows into a fixed array in C (no Lua runs
 * while the machine works); Lua makes the worksheet of them afterwards.
 */
#include "lua_machine.h"

#define EXPLAIN_ROWS 256

typedef enum explain_what {
    ROW_TLB,
    ROW_PWC,
    ROW_PTE,
    ROW_CACHE,
    ROW_MEMORY,
    ROW_FAULT
} explain_what;

typedef struct explain_row {
    explain_what what;
    const void *part; /* tlb or cache */
    uint64_t a, b;
    unsigned level;
    bool hit, write;
    traffic t;
} explain_row;

typedef struct explain {
    machine *m;
    size_t count;
    bool more; /* there were more rows than there is room for */
    explain_row rows[EXPLAIN_ROWS];
} explain;

static explain_row *explain_add(explain *x, explain_what what)
{
    static const explain_row none;
    if (x->count == EXPLAIN_ROWS) {
        x->more = true;
        x->count--;
    }
    explain_row *r = &x->rows[x->count++];
    *r = none;
    r->what = what;
    return r;
}

static void on_tlb(void *ud, const tlb *t, uint64_t vpn, const tlb_entry *hit)
{
    explain_row *r = explain_add(ud, ROW_TLB);
    r->part = t;
    r->a = vpn;
    r->b = hit ? hit->pay : 0;
    r->level = hit ? tlb_tag_class(hit->tag) : 0;
    r->hit = hit != NULL;
}

static void on_pwc(void *ud, unsigned level, bool hit)
{
    explain_row *r = explain_add(ud, ROW_PWC);
    r->level = level;
    r->hit = hit;
}

static void on_pte(void *ud, unsigned level, uint64_t pa, uint64_t pte)
{
    explain_row *r = explain_add(ud, ROW_PTE);
    r->level = level;
    r->a = pa;
    r->b = pte;
}

static void on_cache(void *ud, const cache *c, uint64_t line, bool write, traffic t, bool hit)
{
    explain_row *r = explain_add(ud, ROW_CACHE);
    r->part = c;
    r->a = line;
    r->write = write;
    r->t = t;
    r->hit = hit;
}

static void on_memory(void *ud, uint64_t pa, bool write, traffic t)
{
    explain_row *r = explain_add(ud, ROW_MEMORY);
    r->a = pa;
    r->write = write;
    r->t = t;
}

static void on_fault(void *ud, uint64_t va, access_kind kind, mmu_fault why, vm_status served)
{
    explain_row *r = explain_add(ud, ROW_FAULT);
    (void)kind;
    r->a = va;
    r->level = (unsigned)why;
    r->hit = served == VM_OK;
}

static void put_int(lua_State *L, const char *name, uint64_t v)
{
    lua_pushinteger(L, (lua_Integer)v);
    lua_setfield(L, -2, name);
}

static void put_str(lua_State *L, const char *name, const char *v)
{
    lua_pushstring(L, v);
    lua_setfield(L, -2, name);
}

static void put_bool(lua_State *L, const char *name, bool v)
{
    lua_pushboolean(L, v);
    lua_setfield(L, -2, name);
}

static void row_tlb(lua_State *L, const machine *m, const explain_row *r)
{
    (void)m;
    const tlb *t = r->part;
    uint64_t vpn = r->a >> t->class_shift[r->level];
    put_str(L, "what", "tlb");
    put_str(L, "level", t->cfg.name);
    put_int(L, "vpn", vpn);
    put_int(L, "set", vpn & t->set_mask);
    put_int(L, "tag", vpn >> log2_floor((uint64_t)t->set_mask + 1));
    put_bool(L, "hit", r->hit);
    put_int(L, "cycles", t->cfg.latency);
    if (r->hit)
        put_int(L, "ppn", r->b >> 8);
}

static void row_pwc(lua_State *L, const machine *m, const explain_row *r)
{
    (void)m;
    put_str(L, "what", "pwc");
    put_int(L, "level", r->level);
    put_bool(L, "hit", r->hit);
}

static void row_pte(lua_State *L, const machine *m, const explain_row *r)
{
    const pte_format *f = m->hw.g.format;
    put_str(L, "what", "pte");
    put_int(L, "level", r->level);
    put_int(L, "pa", r->a);
    put_int(L, "pte", r->b);
    put_bool(L, "present", r->b & f->present);
    put_bool(L, "unknown", !(r->b & f->present) && r->b & f->unknown);
    put_bool(L, "leaf", (r->b & f->present) && pte_is_leaf(f, r->b, r->level));
    put_int(L, "ppn", pte_ppn(f, r->b));
}

static void row_cache(lua_State *L, const machine *m, const explain_row *r)
{
    (void)m;
    static const char *const classes[] = {"data", "fetch", "walk"};
    const cache *c = r->part;
    put_str(L, "what", "cache");
    put_str(L, "level", c->cfg.name);
    put_int(L, "set", r->a & c->set_mask);
    put_int(L, "tag", r->a >> log2_floor((uint64_t)c->set_mask + 1));
    put_int(L, "pa", r->a << c->line_bits);
    put_str(L, "class", classes[r->t]);
    put_bool(L, "write", r->write);
    put_bool(L, "hit", r->hit);
    put_int(L, "cycles", c->cfg.latency);
}

static void row_memory(lua_State *L, const machine *m, const explain_row *r)
{
    static const char *const classes[] = {"data", "fetch", "walk"};
    put_str(L, "what", "memory");
    put_int(L, "pa", r->a);
    put_str(L, "class", classes[r->t]);
    put_bool(L, "write", r->write);
    put_int(L, "cycles", r->write ? 0 : (uint64_t)m->opt.dram_latency);
}

static void row_fault(lua_State *L, const machine *m, const explain_row *r)
{
    static const char *const whys[] = {
        "", "not present", "protection", "not an address", "unknown PTE", "beyond DRAM"};
    (void)m;
    put_str(L, "what", "fault");
    put_str(L, "why", whys[r->level]);
    put_bool(L, "served", r->hit);
}

static void (*const explain_rows[])(lua_State *, const machine *, const explain_row *) = {
    row_tlb, row_pwc, row_pte, row_cache, row_memory, row_fault};

static void push_geometry(lua_State *L, const machine *m)
{
    const pt_geometry *g = &m->hw.g;
    lua_createtable(L, 0, 8);
    put_int(L, "va_bits", g->va_bits);
    put_int(L, "pa_bits", g->pa_bits);
    put_int(L, "page_bits", g->page_bits);
    put_str(L, "pte", g->format->name);
    put_bool(L, "paging", m->hw.mmu->paging);
    lua_newtable(L); /* root first, as options have it */
    for (unsigned k = g->levels; k-- > 0;) {
        lua_pushinteger(L, g->bits[k]);
        lua_rawseti(L, -2, (lua_Integer)(g->levels - k));
    }
    lua_setfield(L, -2, "levels");
    if (m->hw.mmu->chain_count[0])
        put_int(L, "tlb_set_bits", log2_floor((uint64_t)m->hw.mmu->chain[0][0]->set_mask + 1));
    if (m->hw.l1d) {
        put_int(L, "line_bits", m->hw.l1d->line_bits);
        put_int(L, "cache_set_bits", log2_floor((uint64_t)m->hw.l1d->set_mask + 1));
    }
}

/* m:geometry(): widths in bits of what an address is split into */
static int process_geometry(lua_State *L)
{
    process *p;
    push_geometry(L, lua_check_process(L, 1, &p)->owner->m);
    return 1;
}

/* p:_explain(va, kind, size) -> { rows, geometry =, fault =, pa =, byte =, cycles = } */
static int process_explain(lua_State *L)
{
    static const char *const kinds[] = {"fetch", "load", "store", NULL};
    process *p;
    lua_process *h = lua_check_running(L, 1, &p);
    machine *m = h->owner->m;
    uint64_t va = (uint64_t)luaL_checkinteger(L, 2), pa;
    access_kind kind = (access_kind)luaL_checkoption(L, 3, "load", kinds);
    lua_Integer size = luaL_optinteger(L, 4, 1);
    luaL_argcheck(L, size >= 1 && size <= 4096, 4, "a size is 1 to 4096 bytes");
    explain *x = lua_newuserdatauv(L, sizeof *x, 0);
    x->m = m;
    x->count = 0;
    x->more = false;
    const cache_probe cp = {x, on_cache, on_memory};
    const mmu_probe mp = {x, on_tlb, on_pwc, on_pte};
    uint64_t before = machine_clock(m);
    fault_info info;
    vm_error e;
    m->hw.cache_probe = &cp;
    m->hw.mmu->probe = &mp;
    m->fault_probe = on_fault;
    m->fault_ud = x;
    vm_status s = machine_access(m, p, va, (uint32_t)size, kind, &info, &e);
    m->hw.cache_probe = NULL;
    m->hw.mmu->probe = NULL;
    m->fault_probe = NULL;
    if (s != VM_OK && s != VM_FAULT)
        return lua_raise(L, &e);
    lua_createtable(L, (int)x->count, 8);
    for (size_t i = 0; i < x->count; i++) {
        lua_createtable(L, 0, 9);
        explain_rows[x->rows[i].what](L, m, &x->rows[i]);
        lua_rawseti(L, -2, (lua_Integer)i + 1);
    }
    put_int(L, "va", va);
    put_int(L, "cycles", machine_clock(m) - before);
    put_bool(L, "cut", x->more);
    push_geometry(L, m);
    lua_setfield(L, -2, "geometry");
    if (s == VM_FAULT) {
        lua_push_fault(L, &info);
        lua_setfield(L, -2, "fault");
    } else if (machine_peek(m, p, va, &pa)) {
        uint8_t byte;
        dram_read(&m->hw.mem, pa, &byte, 1);
        put_int(L, "pa", pa);
        put_int(L, "byte", byte);
    }
    return 1;
}

void lua_open_explain(lua_State *L)
{
    static const luaL_Reg methods[] = {
        {"_explain", process_explain}, {"geometry", process_geometry}, {NULL, NULL}};
    luaL_setfuncs(L, methods, 0);
}
