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

static void row_tlb(lua_State *L, const machine *m, const explain_row *r)
{
    (void)m;
    const tlb *t = r->part;
    uint64_t vpn = r->a >> t->class_shift[r->level];
    lua_set_string(L, "what", "tlb");
    lua_set_string(L, "level", t->cfg.name);
    lua_set_integer(L, "vpn", vpn);
    lua_set_integer(L, "set", vpn & t->set_mask);
    lua_set_integer(L, "tag", vpn >> log2_floor((uint64_t)t->set_mask + 1));
    lua_set_boolean(L, "hit", r->hit);
    lua_set_integer(L, "cycles", t->cfg.latency);
    if (r->hit)
        lua_set_integer(L, "ppn", r->b >> 8);
}

static void row_pwc(lua_State *L, const machine *m, const explain_row *r)
{
    (void)m;
    lua_set_string(L, "what", "pwc");
    lua_set_integer(L, "level", r->level);
    lua_set_boolean(L, "hit", r->hit);
}

static void row_pte(lua_State *L, const machine *m, const explain_row *r)
{
    const pte_format *f = m->hw.g.format;
    lua_set_string(L, "what", "pte");
    lua_set_integer(L, "level", r->level);
    lua_set_integer(L, "pa", r->a);
    lua_set_integer(L, "pte", r->b);
    lua_set_boolean(L, "present", r->b & f->present);
    lua_set_boolean(L, "unknown", !(r->b & f->present) && r->b & f->unknown);
    lua_set_boolean(L, "leaf", (r->b & f->present) && pte_is_leaf(f, r->b, r->level));
    lua_set_integer(L, "ppn", pte_ppn(f, r->b));
}

static void row_cache(lua_State *L, const machine *m, const explain_row *r)
{
    (void)m;
    static const char *const classes[] = {"data", "fetch", "walk"};
    const cache *c = r->part;
    lua_set_string(L, "what", "cache");
    lua_set_string(L, "level", c->cfg.name);
    lua_set_integer(L, "set", r->a & c->set_mask);
    lua_set_integer(L, "tag", r->a >> log2_floor((uint64_t)c->set_mask + 1));
    lua_set_integer(L, "pa", r->a << c->line_bits);
    lua_set_string(L, "class", classes[r->t]);
    lua_set_boolean(L, "write", r->write);
    lua_set_boolean(L, "hit", r->hit);
    lua_set_integer(L, "cycles", c->cfg.latency);
}

static void row_memory(lua_State *L, const machine *m, const explain_row *r)
{
    static const char *const classes[] = {"data", "fetch", "walk"};
    lua_set_string(L, "what", "memory");
    lua_set_integer(L, "pa", r->a);
    lua_set_string(L, "class", classes[r->t]);
    lua_set_boolean(L, "write", r->write);
    lua_set_integer(L, "cycles", r->write ? 0 : (uint64_t)m->opt.dram_latency);
}

static void row_fault(lua_State *L, const machine *m, const explain_row *r)
{
    static const char *const whys[] = {
        "", "not present", "protection", "not an address", "unknown PTE", "beyond DRAM"};
    (void)m;
    lua_set_string(L, "what", "fault");
    lua_set_string(L, "why", whys[r->level]);
    lua_set_boolean(L, "served", r->hit);
}

static void (*const explain_rows[])(lua_State *, const machine *, const explain_row *) = {
    row_tlb, row_pwc, row_pte, row_cache, row_memory, row_fault};

static void push_geometry(lua_State *L, const machine *m)
{
    const pt_geometry *g = &m->hw.g;
    lua_createtable(L, 0, 8);
    lua_set_integer(L, "va_bits", g->va_bits);
    lua_set_integer(L, "pa_bits", g->pa_bits);
    lua_set_integer(L, "page_bits", g->page_bits);
    lua_set_string(L, "pte", g->format->name);
    lua_set_boolean(L, "paging", m->hw.mmu->paging);
    lua_newtable(L); /* root first, as options have it */
    for (unsigned k = g->levels; k-- > 0;) {
        lua_pushinteger(L, g->bits[k]);
        lua_rawseti(L, -2, (lua_Integer)(g->levels - k));
    }
    lua_setfield(L, -2, "levels");
    if (m->hw.mmu->chain_count[0])
        lua_set_integer(L, "tlb_set_bits",
                        log2_floor((uint64_t)m->hw.mmu->chain[0][0]->set_mask + 1));
    if (m->hw.l1d) {
        lua_set_integer(L, "line_bits", m->hw.l1d->line_bits);
        lua_set_integer(L, "cache_set_bits", log2_floor((uint64_t)m->hw.l1d->set_mask + 1));
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
    lua_set_integer(L, "va", va);
    lua_set_integer(L, "cycles", machine_clock(m) - before);
    lua_set_boolean(L, "cut", x->more);
    push_geometry(L, m);
    lua_setfield(L, -2, "geometry");
    if (s == VM_FAULT) {
        lua_push_fault(L, &info);
        lua_setfield(L, -2, "fault");
    } else if (machine_peek(m, p, va, &pa)) {
        uint8_t byte;
        dram_read(&m->hw.mem, pa, &byte, 1);
        lua_set_integer(L, "pa", pa);
        lua_set_integer(L, "byte", byte);
    }
    return 1;
}

void lua_open_explain(lua_State *L)
{
    static const luaL_Reg methods[] = {
        {"_explain", process_explain}, {"geometry", process_geometry}, {NULL, NULL}};
    luaL_setfuncs(L, methods, 0);
}
