#include "event.h"

const char *const access_kind_names[] = {"fetch", "load", "store", "modify", "event", NULL};

static const event_row event_rows[EVENT_TYPES] = {
    [EVENT_MMAP] = {"mmap", {"addr", "length", "prot", "flags", "offset"}},
    [EVENT_MUNMAP] = {"munmap", {"addr", "length"}},
    [EVENT_MPROTECT] = {"mprotect", {"addr", "length", "prot"}},
    [EVENT_MREMAP] = {"mremap", {"addr", "length", "new_addr", "new_length"}},
    [EVENT_BRK] = {"brk", {"addr"}},
    [EVENT_FORK] = {"fork", {"child"}},
    [EVENT_THREAD] = {"thread", {"child"}},
    [EVENT_EXEC] = {"exec", {NULL}},
    [EVENT_EXIT] = {"exit", {"status"}},
};

const event_row *event_row_at(unsigned type)
{
    return type > 0 && type < EVENT_TYPES ? &event_rows[type] : NULL;
}
