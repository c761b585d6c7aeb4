/* record.h: the allocations of a real program, as operations on numbered blocks. The
 * program runs unmodified with a library of ours before its others (record/malloc.c),
 * which writes each call to memory that both share (record/log.h); when the program
 * has ended, however it did, the addresses in these records become numbers.
 *
 * A block keeps its number while realloc moves it; each further block gets the next
 * one, 0, 1, 2 ... The operations take the place of the records, 16 bytes each.
 */
#ifndef VM_RECORD_H
#define VM_RECORD_H

#include "heap.h"

typedef struct heap_record_config {
    const char *const *argv; /* argv[0]: the program's path; NULL behind the last */
    const char *const *env;  /* NAME=VALUE, in place of ours or beside them; NULL behind the last */
    const char *library;     /* the path of the recorder */
    const char *in, *out;    /* files for its standard input and output, or NULL: ours */
    const char *of;          /* record the first program of this name that it starts; NULL: it */
    uint64_t limit;          /* operations; 0: all */
} heap_record_config;

typedef struct heap_recording {
    struct log_file *log; /* shared memory */
    uint64_t bytes;       /* of it */
    const heap_op *ops;   /* in it */
    size_t count;
    uint32_t ids;
    uint64_t peak;    /* bytes asked for at once, at most */
    uint64_t foreign; /* frees and reallocs of blocks that were there before, left out */
    bool more;        /* the limit was reached */
    int status, sig;  /* exit status, or -1 and the signal that ended it */
} heap_recording;

/* Run a program to its end. Errors: VM_IO, with errno: ENOEXEC where it can't be recorded
 * (static, for another machine), EPERM (setuid), ENOSYS (no Linux); VM_NOMEM. */
vm_status heap_record(const vm_host *host, const heap_record_config *cfg, heap_recording *out,
                      vm_error *e);
void heap_recording_close(heap_recording *r);

#endif
