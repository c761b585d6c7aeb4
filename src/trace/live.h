/* live.h: a trace that a running program makes: the program is started under
 * an emulator with the recorder as its plugin, and its records are read from
 * the ring as they come.
 *
 * One pass only. Closing the pass early ends the program. The file of the ring
 * has no name by the time the program runs, so nothing is left behind.
 */
#ifndef VM_LIVE_H
#define VM_LIVE_H

#include "trace.h"

typedef struct live_config {
    const char *emulator;    /* path of qemu-x86_64 or another */
    const char *plugin;      /* path of libvmem-record.so */
    const char *const *argv; /* options of the emulator, the program, its arguments; NULL */
    size_t options;          /* how many of argv are the emulator's */
    const char *in, *out;    /* files for its standard input and output, or NULL: ours */
} live_config;

/* The program starts with the first pass. */
vm_status live_new(const vm_host *host, const live_config *cfg, trace_source **out, vm_error *e);

/* How the program ended: false while it runs or has not begun. `signal` is 0 if
 * it exited, with `status`. */
bool live_ended(const trace_source *s, int *status, int *signal);

#endif
