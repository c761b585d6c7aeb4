/* shadow.h: what is known of each byte of an address space beside its value.
 *
 *   undef    a set bit: the bit of the byte was never initialised
 *   state    what the byte is part of (shadow_state)
 *   origin   of undefined bits: the block (by its id) that they were born with
 *   from     of a stored pointer: the block that it came from, its provenance
 *   owner    the block whose byte or redzone it is, or was last
 *
 * The last three are kept for words of 4 bytes, so a pointer of 8 bytes has its block in
 * two of them. An id of 0 is no block. Pages of the shadow are made when something
 * that is not the default is written to them; by default a byte is initialised,
 * belongs to nobody, and whether it may be accessed is the MMU's to say. A page takes
 * 5 bytes a byte. Sources: Nethercote and Seward, "How to shadow every byte of memory
 * used by a program" (VEE 2007); Seward and Nethercote, "Using Valgrind to detect
 * undefined value errors with bit-precision" (USENIX 2005).
 */
#ifndef VM_SHADOW_H
#define VM_SHADOW_H

#include "../policy/keymap.h"

#define SHADOW_PAGE UINT64_C(4096)
#define SHADOW_WORD 4u

typedef enum shadow_state {
    SHADOW_NONE,  /* nobody's */
    SHADOW_LIVE,  /* of a block that may be used */
    SHADOW_RED,   /* beside one */
    SHADOW_FREED, /* of a block of the heap that was freed */
    SHADOW_LEFT,  /* of a frame of the stack that was left */
} shadow_state;

typedef struct shadow_page {
    uint8_t undef[SHADOW_PAGE], state[SHADOW_PAGE];
    uint32_t origin[SHADOW_PAGE / SHADOW_WORD], from[SHADOW_PAGE / SHADOW_WORD],
        owner[SHADOW_PAGE / SHADOW_WORD];
} shadow_page;

/* A number and what is known of it: what a register of a processor has, and a value that
 * a script holds. */
typedef struct tracked {
    uint64_t x;
    uint64_t undef;  /* a set bit: not initialised */
    uint32_t from;   /* the block that the pointer came from, or 0 */
    uint32_t origin; /* the block that the undefined bits came from, or 0 */
} tracked;

typedef struct shadow {
    vm_host host;
    keymap at; /* number of a page -> index in `pages` */
    shadow_page **pages;
    uint32_t count, room;
    uint64_t last; /* the page found last: many accesses in a row are of one page */
    shadow_page *last_page;
} shadow;

vm_status shadow_init(shadow *s, const vm_host *host, vm_error *e);
void shadow_free(shadow *s);

/* The page of va, or NULL: all of it is as by default. */
shadow_page *shadow_find(shadow *s, uint64_t va);
/* Pages for [start, stop), so that what follows can't fail. VM_NOMEM. */
vm_status shadow_need(shadow *s, uint64_t start, uint64_t stop, vm_error *e);

/* For ranges whose pages are there; bytes without a page are left out. */
void shadow_paint(shadow *s, uint64_t start, uint64_t stop, shadow_state state);
void shadow_own(shadow *s, uint64_t start, uint64_t stop, uint32_t owner);
void shadow_undefine(shadow *s, uint64_t start, uint64_t stop, uint32_t origin);
/* Initialised, and no pointers. */
void shadow_define(shadow *s, uint64_t start, uint64_t stop);
/* All as by default. */
void shadow_forget(shadow *s, uint64_t start, uint64_t stop);

/* What is known of the n bytes (1 to 8) at va: all but x. */
void shadow_get(shadow *s, uint64_t va, unsigned n, tracked *t);
/* VM_NOMEM. A pointer keeps its block if n is 4 or 8, and va a multiple of 4. */
vm_status shadow_put(shadow *s, uint64_t va, unsigned n, const tracked *t, vm_error *e);
/* n bytes, which may overlap, and what is known of their contents. VM_NOMEM. */
vm_status shadow_copy(shadow *s, uint64_t to, uint64_t from, uint64_t n, vm_error *e);
/* The first byte of the range that is not initialised; false: all are. */
bool shadow_undefined(shadow *s, uint64_t va, uint64_t n, uint64_t *at, uint32_t *origin);

VM_INLINE shadow_state shadow_at(shadow *s, uint64_t va)
{
    const shadow_page *p = shadow_find(s, va);
    return p ? (shadow_state)p->state[va % SHADOW_PAGE] : SHADOW_NONE;
}
VM_INLINE uint32_t shadow_owner(shadow *s, uint64_t va)
{
    const shadow_page *p = shadow_find(s, va);
    return p ? p->owner[va % SHADOW_PAGE / SHADOW_WORD] : 0;
}

#endif
