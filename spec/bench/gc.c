/* gc.c: a plain mark of the graph that spec/bench/gc.lua makes, in the host's memory.
 *
 *    gc OBJECTS TIMES -> the seconds of processor time of the fastest of TIMES passes
 *
 * Objects of 32 bytes: a mark, two pointers, and a word to fill up. They are a binary tree
 * whose nodes lie in random order; a stack that never overflows holds those to look at.
 */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

typedef struct object {
    uint64_t mark;
    struct object *left, *right;
    uint64_t fill;
} object;

static double seconds(void)
{
    struct timespec t;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static object *build(object *o, size_t n, uint32_t *at)
{
    uint64_t x = 1;
    for (size_t i = 0; i < n; i++)
        at[i] = (uint32_t)i;
    for (size_t i = n; i > 1; i--) {
        x = x * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
        const size_t j = (size_t)((x >> 33) % i);
        const uint32_t k = at[i - 1];
        at[i - 1] = at[j];
        at[j] = k;
    }
    for (size_t i = 1; i <= n; i++) {
        o[at[i - 1]].left = 2 * i <= n ? &o[at[2 * i - 1]] : NULL;
        o[at[i - 1]].right = 2 * i + 1 <= n ? &o[at[2 * i]] : NULL;
    }
    return &o[at[0]];
}

static size_t mark(object *root, uint64_t epoch, object **stack)
{
    size_t depth = 0, count = 1;
    root->mark = epoch;
    stack[depth++] = root;
    while (depth) {
        object *o = stack[--depth], *const to[] = {o->left, o->right};
        for (int i = 0; i < 2; i++)
            if (to[i] && to[i]->mark != epoch) {
                to[i]->mark = epoch;
                count++;
                stack[depth++] = to[i];
            }
    }
    return count;
}

int main(int argc, char **argv)
{
    if (argc != 3)
        return 1;
    const size_t n = (size_t)strtoull(argv[1], NULL, 10);
    object *o = calloc(n + 1, sizeof *o), **stack = malloc((n + 1) * sizeof *stack);
    uint32_t *at = malloc((n + 1) * sizeof *at);
    if (!o || !stack || !at || n == 0)
        return 1;
    object *root = build(o, n, at);
    double best = 1e9;
    for (uint64_t k = 1; k <= strtoull(argv[2], NULL, 10); k++) {
        const double start = seconds();
        if (mark(root, k, stack) != n)
            return 1;
        const double time = seconds() - start;
        best = time < best ? time : best;
    }
    printf("%.9f\n", best);
    free(at);
    free(stack);
    free(o);
    return 0;
}
