/* spawn.h: starting a program whose work is recorded. It has our standard input,
 * output and error, or files in place of the first two, and ends with us.
 */
#ifndef VM_SPAWN_H
#define VM_SPAWN_H

#include <stdatomic.h>
#include <sys/types.h>

#include "../base/base.h"

typedef struct spawn_config {
    const char *const *argv; /* NULL behind the last; argv[0] is looked for as a shell does */
    const char *const *env;  /* all of its environment, NULL behind the last; NULL: ours */
    const char *program;     /* for messages: what is recorded */
    const char *what;        /* and what argv[0] is to it: its emulator */
    const char *in, *out;    /* files, or NULL: ours */
    int fd;                  /* a descriptor that it inherits; -1: none */
    _Atomic int64_t *self;   /* shared memory that is told the process's id before it begins */
} spawn_config;

/* Errors: VM_IO, with errno: a file, the program, or a process can't be had. */
vm_status spawn_start(const spawn_config *how, pid_t *pid, vm_error *e);

/* A file for memory that is shared with a program, without a name and of this size; -1, and
 * errno: EFBIG beyond the limit of files' sizes, where asking would end this process. */
int spawn_memory(uint64_t bytes);

/* A pipe; neither end is the program's, unless it is told so. */
vm_status spawn_pipe(int ends[2], vm_error *e);

#endif
