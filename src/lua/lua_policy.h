/* lua_policy.h: replacement policies whose functions are Lua's.
 *
 * An owner (a machine, a study, a policy by hand) that is given such an object
 * makes a class of it (lua_policy_choose), which C then uses as any other. The class
 * has a thread for its calls; an instance has one `self` for each set, made when
 * the set is first used, and what self.slots shows: a byte of state and a key a slot.
 *
 * Invariants
 *   - What self.slots shows is of now. Calls that answer nothing (insert, touch,
 *     remove) wait in a queue, in order, until a victim is wanted, the queue is
 *     full, or the owner lets them be told (lua_policy_settle).
 *   - A function's failure changes nothing of C's. Of calls that answer nothing it is
 *     left with the owner, who tells of it as soon as it can.
 *   - While a function runs its owner is busy: nobody gets at it from there.
 */
#ifndef VM_LUA_POLICY_H
#define VM_LUA_POLICY_H

#include "callback.h"

#include "../policy/policy.h"

typedef struct lua_policy lua_policy;

/* What an owner shares with its policies; lives as long as they. */
typedef struct lua_policy_owner {
    const char **busy; /* what the owner is busy with; *busy NULL: it can be used */
    vm_status *failed; /* where a failure that nobody waited for is left; NULL: nowhere */
    vm_error *error;   /* the same */
    lua_policy *waiting;
} lua_policy_owner;

enum {
    LUA_POLICY_INSERT,
    LUA_POLICY_TOUCH,
    LUA_POLICY_REMOVE, /* up to here: those that answer nothing */
    LUA_POLICY_VICTIM,
    LUA_POLICY_FILTER,
    LUA_POLICY_INIT,
    LUA_POLICY_FUNCTIONS
};

/* Who hears of a call that answers nothing. */
typedef enum lua_policy_ear {
    EAR_NONE,
    EAR_INNER, /* the inner policy, at once */
    EAR_LUA    /* a function or, since functions hear of others, the inner policy, in order */
} lua_policy_ear;

typedef struct lua_slots lua_slots;

typedef struct lua_policy_class {
    policy_class cls;
    callback_state *calls;
    lua_State *thread;        /* its stack: see lua_policy.c */
    const lua_slots *current; /* whose self is on it */
    callback_guard guard;
    lua_policy_owner *owner;
    policy_choice inner; /* of a wrap; .cls NULL: it is none */
    bool has[LUA_POLICY_FUNCTIONS];
    bool direct; /* victim may be called by itself */
    lua_policy_ear ear[LUA_POLICY_VICTIM];
    bool enter;   /* pages come with their reference bit set, where bits are kept here */
    char who[80]; /* "policy NAME" */
} lua_policy_class;

typedef struct lua_array {
    struct lua_array *next;
    int64_t *v;      /* by slot */
    int64_t enter;   /* of a page that comes */
    uint32_t room;   /* as the policy's, or more */
    uint32_t *heap;  /* full slots, the least first; NULL: nobody asked for it yet */
    uint32_t *place; /* by slot: index in the heap + 1; 0: not there */
    uint32_t count;  /* of the heap */
    bool in_order;   /* the heap is as v */
} lua_array;

/* self.slots: the userdata. `p` is NULL when the instance has ended. */
struct lua_slots {
    lua_policy *p;
    uint32_t set;
    uint32_t array_count;
    bool ready; /* init has run */
    lua_array *arrays;
};

enum { SLOT_FULL = 1, SLOT_REFERENCED = 2, SLOT_INNER = 4 };

typedef struct lua_policy_event {
    uint64_t key; /* of an insert; of a touch: it writes; of a remove: the page is evicted */
    uint32_t set, slot;
    unsigned kind;
} lua_policy_event;

struct lua_policy {
    policy base;
    lua_policy_class *of;
    lua_policy_ear touch_ear; /* as the class's */
    policy *inner;
    uint8_t *state;    /* [set * room + slot]: SLOT_FULL ... */
    uint64_t *keys;    /* the same */
    uint64_t *arrival; /* the same: number of the fault that brought the page */
    uint64_t faults;   /* pages that entered */
    uint64_t told;     /* references that the policy was told of */
    uint32_t *full;    /* by set */
    lua_slots **views; /* by set; NULL: not used yet */
    lua_policy_event *queue;
    uint32_t count, done; /* events in the queue; of these, told */
    uint32_t *refused;    /* slots that a filter refused in this call */
    uint32_t refused_count, refused_room;
    bool serving;     /* a function runs */
    bool waits;       /* is in the owner's list */
    lua_policy *next; /* there */
    vm_rng rng;
};

/* The policy at idx, an object of vmem.policy or a text, for an owner whose table of
 * what it keeps alive is at `keep`: it keeps the class there under `name`, in place
 * of what it had. Raises on wrong ones and on lack of memory. */
policy_choice lua_policy_choose(lua_State *L, int idx, unsigned serves, lua_policy_owner *owner,
                                int keep, const char *name);
/* Is the value at idx such an object? */
bool lua_policy_is(lua_State *L, int idx);
/* Let Lua hear what its policies of this owner have not been told yet. */
void lua_policy_settle(lua_policy_owner *owner);
/* A failure that nobody waited for, or VM_OK: told once. */
vm_status lua_policy_failed(lua_policy_owner *owner, vm_error *e);

/* For lua_slots.c */
VM_INLINE size_t lua_policy_at(const lua_policy *p, uint32_t set, uint32_t slot)
{
    return (size_t)set * p->base.room + slot;
}
void lua_policy_give(lua_policy *p, uint32_t set, uint32_t slot, uint64_t key); /* to the inner */
void lua_policy_take(lua_policy *p, uint32_t set, uint32_t slot, bool evicted);
/* Push new slots of the set, or what stands for their inner policy. */
lua_slots *lua_slots_push(lua_State *L, lua_policy *p, uint32_t set);
void lua_slots_push_inner(lua_State *L, int slots_idx);
void lua_slots_end(lua_slots *v);
void lua_open_slots(lua_State *L);
void lua_open_hand(lua_State *L);

/* What methods begin with: the userdata at 1, whose metatable is upvalue 1; slots that have
 * not ended; a slot; the slot where a search begins, any number, counted round. */
void *lua_slots_self(lua_State *L, const char *name);
lua_slots *lua_slots_alive(lua_State *L, lua_slots *v);
uint32_t lua_slots_slot(lua_State *L, const lua_slots *v, int idx);
uint32_t lua_slots_start(lua_State *L, const lua_slots *v, int idx);
/* Make a class of userdata with such methods; its metatable is pushed. */
void lua_slots_class(lua_State *L, const char *name, const luaL_Reg *methods);
/* SLOT_ bits; 0 where there never was a page. */
VM_INLINE unsigned lua_slot_state(const lua_slots *v, uint32_t slot)
{
    return slot < v->p->base.room ? v->p->state[lua_policy_at(v->p, v->set, slot)] : 0;
}
/* Of full slots */
bool lua_slot_referenced(lua_slots *v, uint32_t slot, bool clear);
bool lua_slot_dirty(const lua_slots *v, uint32_t slot);
/* A list of slots in the table at idx, or a new one: what it held behind is taken out. */
void lua_list_begin(lua_State *L, int idx);
void lua_list_add(lua_State *L, int idx, lua_Integer *n, uint32_t slot);
int lua_list_end(lua_State *L, int idx, lua_Integer n); /* returns table, n */

/* lua_slot_array.c */
int lua_array_new(lua_State *L);
void lua_open_arrays(lua_State *L);
/* A page came to the slot, or left it; there is to be room for slots below n. */
void lua_arrays_enter(lua_slots *v, uint32_t slot);
void lua_arrays_leave(lua_slots *v, uint32_t slot);
bool lua_arrays_grow(lua_slots *v, uint32_t room);
void lua_arrays_free(lua_slots *v);

#define LUA_POLICY "vmem.policy"

#endif
