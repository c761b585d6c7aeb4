/* log.h: the memory that a program and vmem share while the program's calls of
 * malloc and its kin are recorded, and the records in it.
 *
 * A record's place is its number, given by one atomic addition, so that there is one
 * order of all threads' calls. What takes a block away is numbered before the
 * allocator does it, what gives one after: a block's records are never out of turn,
 * also where another thread gets its address at once.
 *
 * A record is written value first; its `what` is 0 until then. The memory outlives the
 * program: whatever ends it, no record that was written is lost. A record whose
 * writer was killed in between stays 0 and is passed over.
 */
#ifndef VM_LOG_H
#define VM_LOG_H

#include <stdatomic.h>
#include <stdint.h>

#define LOG_MAGIC   UINT64_C(0x31676f6c6d76)
#define LOG_SETTING "VMEM_MALLOC_LOG" /* of the environment: the path of the memory's file */
#define LOG_NAME    128

enum {
    LOG_ALLOC = 1, /* an address; value: bytes asked for */
    LOG_FREE,      /* an address */
    LOG_GROW,      /* realloc begins: the old address; value: bytes asked for */
    LOG_GREW,      /* and ends: the new address, 0: none; value: the number of its LOG_GROW */
};
#define LOG_SHIFT 3 /* of the address in `what`; below it is the kind */

typedef struct log_record {
    _Atomic uint64_t what;
    uint64_t value;
} log_record;

typedef struct log_file {
    uint64_t magic;
    uint64_t room;          /* of records */
    char of[LOG_NAME];      /* the first program of this name is recorded; empty: the owner */
    _Atomic int64_t owner;  /* the process that is recorded; 0: none yet */
    _Atomic uint32_t seen;  /* the owner has loaded the recorder */
    _Atomic uint64_t first; /* the records before are of programs that executed another */
    char error[160];        /* why the owner could not be recorded */
    _Alignas(64) _Atomic uint64_t next;
    _Alignas(64) log_record record[];
} log_file;

static inline uint64_t log_bytes(uint64_t room)
{
    return sizeof(log_file) + room * sizeof(log_record);
}

#endif
