/* lua_slot_array.c: arrays of integers by slot, for policies in Lua: ages, times, counts.
 *
 * Reference bits go into them in bulk: a:age, a:stamp, a:count, a:sweep. What is
 * wanted of them is the least: a heap of the full slots, made when it is first asked
 * for, and made anew after bulk changes; between them it follows each page that comes
 * or goes. So n slots cost O(n) a bulk change and O(log n) a victim. Of equal numbers
 * the page that entered first is the least.
 *
 * Invariant: while in_order, heap and place are each other's inverse, and the heap
 * holds exactly the full slots.
 */
#include "lua_policy.h"

#define LUA_ARRAY  "vmem.array"
#define ARRAYS_MAX 16 /* of one self */

typedef struct array_box {
    lua_slots *slots; /* alive: user value 1 */
    lua_array *a;     /* the slots', alive as long as slots->p */
} array_box;

static lua_array *check_array(lua_State *L, lua_slots **v)
{
    array_box *b = lua_slots_self(L, LUA_ARRAY);
    *v = lua_slots_alive(L, b->slots);
    return b->a;
}

/* --- the least ---------------------------------------------------------------------------- */

static bool array_less(const lua_slots *v, const lua_array *a, uint32_t x, uint32_t y)
{
    const uint64_t *arrival = v->p->arrival + lua_policy_at(v->p, v->set, 0);
    return a->v[x] != a->v[y] ? a->v[x] < a->v[y] : arrival[x] < arrival[y];
}

static void array_put(lua_array *a, uint32_t i, uint32_t slot)
{
    a->heap[i] = slot;
    a->place[slot] = i + 1;
}

/* The slot finds its place: below i, or anywhere. */
static void array_sift_down(const lua_slots *v, lua_array *a, uint32_t i, uint32_t slot)
{
    for (uint32_t kid; (kid = 2 * i + 1) < a->count; i = kid) {
        if (kid + 1 < a->count && array_less(v, a, a->heap[kid + 1], a->heap[kid]))
            kid++;
        if (!array_less(v, a, a->heap[kid], slot))
            break;
        array_put(a, i, a->heap[kid]);
    }
    array_put(a, i, slot);
}

static void array_sift(const lua_slots *v, lua_array *a, uint32_t i, uint32_t slot)
{
    for (; i > 0 && array_less(v, a, slot, a->heap[(i - 1) / 2]); i = (i - 1) / 2)
        array_put(a, i, a->heap[(i - 1) / 2]);
    array_sift_down(v, a, i, slot);
}

static void array_free_heap(const vm_host *h, lua_array *a)
{
    host_free(h, a->heap, a->room * sizeof *a->heap);
    host_free(h, a->place, a->room * sizeof *a->place);
    a->heap = a->place = NULL;
    a->in_order = false;
}

static bool array_make_heap(const lua_slots *v, lua_array *a)
{
    const vm_host *h = v->p->base.host;
    if (!a->heap) {
        a->heap = host_alloc(h, a->room * sizeof *a->heap);
        a->place = host_alloc(h, a->room * sizeof *a->place);
        if (!a->heap || !a->place) {
            array_free_heap(h, a);
            return false;
        }
    }
    a->count = 0;
    memset(a->place, 0, a->room * sizeof *a->place);
    for (uint32_t i = 0; i < v->p->base.room; i++)
        if (lua_slot_state(v, i) & SLOT_FULL)
            array_put(a, a->count++, i);
    for (uint32_t i = a->count / 2; i-- > 0;)
        array_sift_down(v, a, i, a->heap[i]);
    a->in_order = true;
    return true;
}

/* The slot's number changed, or it is full now. */
static void array_changed(const lua_slots *v, lua_array *a, uint32_t slot)
{
    if (a->in_order)
        array_sift(v, a, a->place[slot] ? a->place[slot] - 1 : a->count++, slot);
}

static void array_drop(const lua_slots *v, lua_array *a, uint32_t slot)
{
    if (!a->in_order || a->place[slot] == 0)
        return;
    uint32_t i = a->place[slot] - 1, last = a->heap[--a->count];
    a->place[slot] = 0;
    if (i < a->count)
        array_sift(v, a, i, last);
}

/* a:least() -> the full slot with the least number, and the number; nil: none is full */
static int array_least(lua_State *L)
{
    lua_slots *v;
    lua_array *a = check_array(L, &v);
    if (v->p->full[v->set] == 0) {
        lua_pushnil(L);
        return 1;
    }
    if (!a->in_order && !array_make_heap(v, a))
        return luaL_error(L, "not enough host memory for an array of slots");
    lua_pushinteger(L, a->heap[0]);
    lua_pushinteger(L, a->v[a->heap[0]]);
    return 2;
}

/* --- one slot ----------------------------------------------------------------------------- */

/* a:get(slot) -> integer */
static int array_get(lua_State *L)
{
    lua_slots *v;
    const lua_array *a = check_array(L, &v);
    uint32_t slot = lua_slots_slot(L, v, 2);
    lua_pushinteger(L, slot < v->p->base.room ? a->v[slot] : a->enter);
    return 1;
}

/* a:set(slot, integer) */
static int array_set(lua_State *L)
{
    lua_slots *v;
    lua_array *a = check_array(L, &v);
    uint32_t slot = lua_slots_slot(L, v, 2);
    luaL_argcheck(L, slot < v->p->base.room, 2, "there never was a page in this slot");
    a->v[slot] = luaL_checkinteger(L, 3);
    if (lua_slot_state(v, slot) & SLOT_FULL)
        array_changed(v, a, slot);
    return 0;
}

/* --- many slots ----------------------------------------------------------------------------- */

/* a:age(bits): each full slot's number moves right by a bit; its reference bit, which is
 * cleared, comes in at the top of `bits` (8) */
static int array_age(lua_State *L)
{
    lua_slots *v;
    lua_array *a = check_array(L, &v);
    lua_Integer bits = luaL_optinteger(L, 2, 8);
    luaL_argcheck(L, bits >= 1 && bits <= 63, 2, "1 to 63 bits are expected");
    const uint32_t room = v->p->base.room;
    const unsigned top = (unsigned)bits - 1;
    uint64_t *ages = (uint64_t *)a->v;
    a->in_order = false;
    if (v->p->base.cfg.bits.referenced) {
        for (uint32_t i = 0; i < room; i++)
            if (lua_slot_state(v, i) & SLOT_FULL)
                ages[i] = ages[i] >> 1 | (uint64_t)lua_slot_referenced(v, i, true) << top;
        return 0;
    }
    /* The bits are here, and what empty slots have does not matter. */
    uint8_t *state = v->p->state + lua_policy_at(v->p, v->set, 0);
    for (uint32_t i = 0; i < room; i++) {
        ages[i] = ages[i] >> 1 | (uint64_t)((state[i] & SLOT_REFERENCED) != 0) << top;
        state[i] &= (uint8_t)~SLOT_REFERENCED;
    }
    return 0;
}

/* a:stamp(value), a:count(n): slots referenced since last asked are set to the value, or
 * grow by n (1); their bits are cleared */
static int array_stamp(lua_State *L)
{
    lua_slots *v;
    lua_array *a = check_array(L, &v);
    lua_Integer value = luaL_checkinteger(L, 2);
    a->in_order = false;
    for (uint32_t i = 0; i < v->p->base.room; i++)
        if ((lua_slot_state(v, i) & SLOT_FULL) && lua_slot_referenced(v, i, true))
            a->v[i] = value;
    return 0;
}

static int array_count(lua_State *L)
{
    lua_slots *v;
    lua_array *a = check_array(L, &v);
    lua_Integer n = luaL_optinteger(L, 2, 1);
    a->in_order = false;
    for (uint32_t i = 0; i < v->p->base.room; i++)
        if ((lua_slot_state(v, i) & SLOT_FULL) && lua_slot_referenced(v, i, true))
            a->v[i] = (int64_t)((uint64_t)a->v[i] + (uint64_t)n);
    return 0;
}

/* a:sweep(from, now, limit, dirty) -> the first full slot that was not referenced, whose
 * number is not above the limit and which is dirty or not as said (nil: either); nil: a
 * round found none. Of the referenced before it the bits are cleared and the numbers
 * set to `now`: WSClock's hand. */
static int array_sweep(lua_State *L)
{
    lua_slots *v;
    lua_array *a = check_array(L, &v);
    uint32_t room = v->p->base.room, at = lua_slots_start(L, v, 2);
    lua_Integer now = luaL_checkinteger(L, 3), limit = luaL_checkinteger(L, 4);
    int dirty = lua_isnoneornil(L, 5) ? -1 : lua_toboolean(L, 5);
    for (uint32_t i = 0; i < room; i++, at = at + 1 < room ? at + 1 : 0) {
        if (!(lua_slot_state(v, at) & SLOT_FULL))
            continue;
        if (lua_slot_referenced(v, at, true)) {
            a->v[at] = now;
            a->in_order = false;
        } else if (a->v[at] <= limit && (dirty < 0 || lua_slot_dirty(v, at) == dirty)) {
            lua_pushinteger(L, at);
            return 1;
        }
    }
    lua_pushnil(L);
    return 1;
}

/* a:upto(limit, t) -> t, n: full slots whose number is not above the limit */
static int array_upto(lua_State *L)
{
    lua_slots *v;
    const lua_array *a = check_array(L, &v);
    lua_Integer limit = luaL_checkinteger(L, 2), n = 0;
    lua_list_begin(L, 3);
    for (uint32_t i = 0; i < v->p->base.room; i++)
        if ((lua_slot_state(v, i) & SLOT_FULL) && a->v[i] <= limit)
            lua_list_add(L, 3, &n, i);
    return lua_list_end(L, 3, n);
}

/* --- making and ending ------------------------------------------------------------------------ */

/* slots:array(enter) -> an array; a page that comes sets its own number to `enter` (0) */
int lua_array_new(lua_State *L)
{
    lua_slots *v = lua_slots_alive(L, lua_slots_self(L, "vmem.slots"));
    lua_Integer enter = luaL_optinteger(L, 2, 0);
    const vm_host *h = v->p->base.host;
    uint32_t room = v->p->base.room;
    luaL_argcheck(L, v->array_count < ARRAYS_MAX, 1, "a policy has 16 arrays at most");
    array_box *b = lua_newuserdatauv(L, sizeof *b, 1);
    lua_pushvalue(L, 1);
    lua_setiuservalue(L, -2, 1);
    lua_array *a = host_zalloc(h, sizeof *a);
    int64_t *values = a && room ? host_alloc(h, room * sizeof *values) : NULL;
    if (!a || (room && !values)) {
        host_free(h, a, sizeof *a);
        return luaL_error(L, "not enough host memory for an array of slots");
    }
    for (uint32_t i = 0; i < room; i++)
        values[i] = enter;
    *a = (lua_array){.next = v->arrays, .v = values, .enter = enter, .room = room};
    v->arrays = a;
    v->array_count++;
    b->slots = v;
    b->a = a;
    luaL_setmetatable(L, LUA_ARRAY);
    return 1;
}

void lua_arrays_enter(lua_slots *v, uint32_t slot)
{
    for (lua_array *a = v->arrays; a; a = a->next) {
        a->v[slot] = a->enter;
        array_changed(v, a, slot);
    }
}

void lua_arrays_leave(lua_slots *v, uint32_t slot)
{
    for (lua_array *a = v->arrays; a; a = a->next)
        array_drop(v, a, slot);
}

bool lua_arrays_grow(lua_slots *v, uint32_t room)
{
    const vm_host *h = v->p->base.host;
    for (lua_array *a = v->arrays; a; a = a->next) {
        if (a->room >= room)
            continue;
        array_free_heap(h, a); /* made anew when it is asked for */
        int64_t *values = host_realloc(h, a->v, a->room * sizeof *values, room * sizeof *values);
        if (!values)
            return false;
        for (uint32_t i = a->room; i < room; i++)
            values[i] = a->enter;
        a->v = values;
        a->room = room;
    }
    return true;
}

void lua_arrays_free(lua_slots *v)
{
    const vm_host *h = v->p->base.host;
    for (lua_array *a = v->arrays, *next; a; a = next) {
        next = a->next;
        array_free_heap(h, a);
        host_free(h, a->v, a->room * sizeof *a->v);
        host_free(h, a, sizeof *a);
    }
    v->arrays = NULL;
}

void lua_open_arrays(lua_State *L)
{
    static const luaL_Reg methods[] = {
        {"get", array_get},     {"set", array_set},     {"age", array_age},
        {"stamp", array_stamp}, {"count", array_count}, {"sweep", array_sweep},
        {"least", array_least}, {"upto", array_upto},   {NULL, NULL}};
    lua_slots_class(L, LUA_ARRAY, methods);
    lua_pop(L, 1);
}
