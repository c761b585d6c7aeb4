/* live.h: a trace that a running program makes. The program is started with the
 * first pass, under QEMU's emulator with the recorder as its plugin, whose words
 * are read from shared memory as they come (tapread.h), or under Valgrind's
 * Lackey, whose text comes through a pipe.
 *
 * One pass only. Closing it early ends the program. Nothing has a name in the
 * file system, so nothing is left behind, however vmem ends; the program ends
 * with vmem.
 */
#ifndef VM_LIVE_H
#define VM_LIVE_H

#include "trace.h"

#define LIVE_RING_DEFAULT (UINT64_C(1) << 20) /* the ring's bytes for each thread */
#define LIVE_RING_MIN     (UINT64_C(64) << 10)
#define LIVE_RING_MAX     (UINT64_C(64) << 20)

typedef enum live_via { LIVE_QEMU, LIVE_LACKEY } live_via;

typedef struct live_config {
    live_via via;
    const char *const *argv; /* what is run: the emulator, its options, the program; NULL */
    size_t fd_at;            /* argv[fd_at] gets a descriptor's number appended */
    size_t program;          /* argv[program] is the program */
    const char *in, *out;    /* files for its standard input and output, or NULL: ours */
    uint64_t ring;           /* bytes for each thread, a power of two */
} live_config;

vm_status live_new(const vm_host *host, const live_config *cfg, trace_source **out, vm_error *e);

/* How the program ended: false while it runs or has not begun. `signal` is 0 if
 * it exited, with `status`. */
bool live_ended(const trace_source *s, int *status, int *signal);

#endif
