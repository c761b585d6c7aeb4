/* embed.c: vmem in a C program without Lua. A recorded program runs in a machine
 * with too little memory, once under each of three replacement policies.
 *
 *    cc embed.c $(pkg-config --cflags --libs vmem) -o embed
 *    ./embed traces/sort.vmt 96KiB
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "vmem.h"

static void die(const char *what, const vmem_error *e)
{
    fprintf(stderr, "%s: %s\n", what, e->text);
    exit(EXIT_FAILURE);
}

static uint64_t counter(const vmem_machine *m, const char *name)
{
    vmem_error e;
    uint64_t value;
    if (vmem_stat(m, name, &value, &e) != VMEM_OK)
        die(name, &e);
    return value;
}

int main(int argc, char **argv)
{
    static const char *const policies[] = {"policy=fifo", "policy=clock", "policy=lru"};
    if (argc != 3) {
        fprintf(stderr, "usage: %s TRACE DRAM\n", argv[0]);
        return EXIT_FAILURE;
    }
    char dram[64];
    snprintf(dram, sizeof dram, "dram=%s", argv[2]);
    printf("%-12s %10s %12s %12s %14s\n", "", "accesses", "major faults", "swapped out", "cycles");
    for (size_t i = 0; i < sizeof policies / sizeof *policies; i++) {
        const char *options[] = {"preset=core-i7", dram, policies[i], NULL};
        vmem_machine *m;
        vmem_pid pid;
        vmem_run run;
        vmem_error e;
        if (vmem_new(options, NULL, &m, &e) != VMEM_OK)
            die("machine", &e);
        if (vmem_spawn(m, "traced", &pid, &e) != VMEM_OK ||
            vmem_replay(m, pid, argv[1], &run, NULL, &e) != VMEM_OK)
            die(argv[1], &e);
        printf("%-12s %10" PRIu64 " %12" PRIu64 " %12" PRIu64 " %14" PRIu64 "\n", policies[i],
               run.accesses, counter(m, "kernel.major_faults"), counter(m, "kernel.swap_outs"),
               run.cycles);
        vmem_free(m);
    }
    return EXIT_SUCCESS;
}
