/* access.h: one memory access of a program, and one change of its address
 * space, in the form in which traces are decoded and machines replay them.
 *
 * Units: addresses and sizes in bytes. A task number tells processes and
 * threads apart; it is an index from 0 upward, not a host's process id.
 */
#ifndef VM_ACCESS_H
#define VM_ACCESS_H

#include "base.h"

typedef enum access_kind {
    ACCESS_FETCH = 0,
    ACCESS_LOAD = 1,
    ACCESS_STORE = 2,
    ACCESS_MODIFY = 3, /* a load, then a store, of the same bytes */
    ACCESS_EVENT = 4,  /* addr is an index into the block's events */
} access_kind;

/* 16 bytes, read in two loads: the replay loop is bound by little else. */
typedef struct access_record {
    uint64_t addr;
    uint32_t size; /* 1 or more; 0 only for events */
    uint16_t task;
    uint8_t kind; /* access_kind */
    uint8_t zero; /* reserved, 0 */
} access_record;

/* Events: the system calls that change an address space. Arguments are those
 * of the Linux system call, with the result where it says more.
 *    EVENT_MMAP      addr (where it was placed), length, prot, flags, offset; name = file or NULL
 *    EVENT_MUNMAP    addr, length
 *    EVENT_MPROTECT  addr, length, prot
 *    EVENT_MREMAP    old addr, old length, new addr, new length
 *    EVENT_BRK       the new break
 *    EVENT_FORK      the child's task number (a process of its own)
 *    EVENT_THREAD    the new task's number (shares the caller's space)
 *    EVENT_EXEC      -; name = program or NULL
 *    EVENT_EXIT      exit status
 * prot: 1 read, 2 write, 4 execute. flags: Linux's MAP_ bits of x86-64. */
typedef enum access_event_type {
    EVENT_MMAP = 1,
    EVENT_MUNMAP,
    EVENT_MPROTECT,
    EVENT_MREMAP,
    EVENT_BRK,
    EVENT_FORK,
    EVENT_THREAD,
    EVENT_EXEC,
    EVENT_EXIT,
    EVENT_TYPES /* one more than the last */
} access_event_type;

#define EVENT_ARGS 5

typedef struct access_event {
    uint64_t arg[EVENT_ARGS];
    const char *name; /* NULL, or a string that lives as long as its block */
    uint16_t type;    /* access_event_type */
    uint16_t task;    /* whose call it was */
} access_event;

#endif
