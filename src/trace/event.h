/* event.h: the names of record kinds, and of events and their arguments, as
 * rows; what Lua shows and takes is derived from them.
 */
#ifndef VM_EVENT_H
#define VM_EVENT_H

#include "../base/access.h"

typedef struct event_row {
    const char *name;
    const char *args[EVENT_ARGS]; /* in the order of access_event.arg; NULL: unused */
} event_row;

extern const char *const access_kind_names[]; /* by access_kind, NULL at the end */

/* The row of an access_event_type; NULL where there is none. */
const event_row *event_row_at(unsigned type);

#endif
