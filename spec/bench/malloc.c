/* malloc.c: the host's malloc on a trace of allocations, for the benchmarks.
 *
 *    malloc FILE IDS TIMES -> the seconds of processor time of the fastest of TIMES passes
 *
 * FILE has operations as the heaps of vmem replay them: u64 size, u32 id, u32 kind (0
 * malloc, 1 realloc, 2 free). As there, no payload is touched, and what is live at the
 * end of a pass is let go of outside of the time.
 */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

typedef struct op {
    uint64_t size;
    uint32_t id, kind;
} op;

static double seconds(void)
{
    struct timespec t;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static double pass(const op *ops, size_t n, void **block, uint32_t ids)
{
    const double start = seconds();
    for (size_t i = 0; i < n; i++) {
        const op o = ops[i];
        void *none = NULL, **b = o.id < ids ? &block[o.id] : &none;
        if (o.kind == 0) {
            *b = malloc(o.size);
        } else if (o.kind == 1 && o.size) {
            *b = realloc(*b, o.size);
        } else {
            free(*b);
            *b = NULL;
        }
    }
    const double time = seconds() - start;
    for (uint32_t i = 0; i < ids; i++) {
        free(block[i]);
        block[i] = NULL;
    }
    return time;
}

int main(int argc, char **argv)
{
    FILE *f = argc == 4 ? fopen(argv[1], "rb") : NULL;
    if (!f || fseek(f, 0, SEEK_END) != 0)
        return 1;
    const size_t n = (size_t)ftell(f) / sizeof(op);
    const uint32_t ids = (uint32_t)strtoul(argv[2], NULL, 10);
    op *ops = malloc((n + 1) * sizeof *ops);
    void **block = calloc((size_t)ids + 1, sizeof *block);
    rewind(f);
    if (!ops || !block || fread(ops, sizeof *ops, n, f) != n)
        return 1;
    double best = 1e9;
    for (int k = atoi(argv[3]); k > 0; k--) {
        const double time = pass(ops, n, block, ids);
        best = time < best ? time : best;
    }
    printf("%.9f\n", best);
    fclose(f);
    free(block);
    free(ops);
    return 0;
}
