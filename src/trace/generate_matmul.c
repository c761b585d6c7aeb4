/* generate_matmul.c: C += A B of square matrices, stored by rows, naive or in
 * blocks, with the loops in any order.
 *
 * The matrix that the innermost loop does not index is held in a register for
 * that loop, as CS:APP 6.6.2 and every compiler have it: A and B are loaded
 * before it, C is loaded and stored behind it. In each step of the innermost
 * loop the others are loaded in the order A, B, C, and C is stored.
 *
 * Blocked: three outer loops over blocks, in the same order, around three loops
 * inside a block; where n is no multiple, the last blocks are smaller. Naive is
 * one block. The matrices lie one behind the other, each at a multiple of 4096
 * from the base. */
#include "generate.h"

enum { MATMUL_N, MATMUL_BLOCK, MATMUL_ELEMENT, MATMUL_ORDER, MATMUL_BASE };
enum { MATMUL_A, MATMUL_B, MATMUL_C };

static const char *const matmul_orders[] = {"ijk", "ikj", "jik", "jki", "kij", "kji", NULL};

typedef struct matmul_cursor {
    generate_cursor g;
    uint64_t n, block, element, base[3];
    uint64_t from[3], x[3]; /* by loop, outermost first: the block's corner, the element */
    uint8_t var[3];         /* by loop: 0, 1, 2 for i, j, k */
    uint8_t held;           /* the matrix in a register: A for j, B for i, C for k */
} matmul_cursor;

static unsigned matmul_held(char innermost)
{
    return innermost == 'j' ? MATMUL_A : innermost == 'i' ? MATMUL_B : MATMUL_C;
}

static vm_status matmul_prepare(generate_source *g, vm_error *e)
{
    (void)e;
    uint64_t n = (uint64_t)g->v[MATMUL_N].n, block = (uint64_t)g->v[MATMUL_BLOCK].n;
    uint64_t runs = n * n * (block ? (n + block - 1) / block : 1);
    if (matmul_held(matmul_orders[g->v[MATMUL_ORDER].n][2]) == MATMUL_C)
        g->count = 2 * n * n * n + 2 * runs;
    else
        g->count = 3 * n * n * n + runs;
    return VM_OK;
}

static void matmul_start(const generate_source *g, generate_cursor *c)
{
    matmul_cursor *m = (matmul_cursor *)c;
    const char *order = matmul_orders[g->v[MATMUL_ORDER].n];
    m->n = (uint64_t)g->v[MATMUL_N].n;
    m->block = g->v[MATMUL_BLOCK].n ? (uint64_t)g->v[MATMUL_BLOCK].n : m->n;
    m->element = (uint64_t)g->v[MATMUL_ELEMENT].n;
    for (unsigned i = 0; i < 3; i++) {
        m->base[i] = (uint64_t)g->v[MATMUL_BASE].n + i * align_up(m->n * m->n * m->element, 4096);
        m->from[i] = m->x[i] = 0;
        m->var[i] = (uint8_t)(order[i] - 'i');
    }
    m->held = (uint8_t)matmul_held(order[2]);
}

/* The next iteration of the two loops around the innermost, and of the blocks.
 * Behind the last one it begins anew, which nobody sees: the count is reached. */
static void matmul_advance(matmul_cursor *m)
{
    /* loop is unsigned: below 0 it is above 2 */
    for (unsigned loop = 2; loop < 3; loop--) {
        uint64_t end = m->from[loop] + m->block;
        if (++m->x[loop] < (end < m->n ? end : m->n))
            return;
        m->x[loop] = m->from[loop];
    }
    for (unsigned loop = 2; loop < 3; loop--) {
        m->from[loop] += m->block;
        if (m->from[loop] >= m->n)
            m->from[loop] = 0;
        m->x[loop] = m->from[loop];
        if (m->from[loop])
            return;
    }
}

static size_t matmul_fill(generate_cursor *c, access_record *out)
{
    matmul_cursor *m = (matmul_cursor *)c;
    uint32_t size = (uint32_t)m->element;
    size_t count = 0;
    while (count + 4 <= TRACE_BLOCK) {
        uint64_t v[3], first = m->from[2], end = first + m->block;
        bool begins = m->x[2] == first, ends = m->x[2] + 1 == (end < m->n ? end : m->n);
        for (unsigned i = 0; i < 3; i++)
            v[m->var[i]] = m->x[i];
        uint64_t a = m->base[MATMUL_A] + (v[0] * m->n + v[2]) * m->element;
        uint64_t b = m->base[MATMUL_B] + (v[2] * m->n + v[1]) * m->element;
        uint64_t at = m->base[MATMUL_C] + (v[0] * m->n + v[1]) * m->element;
        if (begins && m->held != MATMUL_C)
            out[count++] = generate_access(m->held == MATMUL_A ? a : b, size, false);
        if (m->held != MATMUL_A)
            out[count++] = generate_access(a, size, false);
        if (m->held != MATMUL_B)
            out[count++] = generate_access(b, size, false);
        if (m->held != MATMUL_C || ends) {
            out[count++] = generate_access(at, size, false);
            out[count++] = generate_access(at, size, true);
        }
        if (ends)
            matmul_advance(m);
        else
            m->x[2]++;
    }
    return count;
}

/* n: so that 4 n^3 stays a number of accesses */
static const generate_option matmul_options[] = {
    {"n", GENERATE_COUNT, 256, 1, 0x1p16, NULL, "rows and columns of each matrix"},
    {"block", GENERATE_COUNT, 0, 0, 0x1p16, NULL, "rows and columns of a block; 0: naive"},
    {"element", GENERATE_BYTES, 8, 1, 64, NULL, "of a matrix"},
    {"order", GENERATE_NAME, 0, 0, 5, matmul_orders,
     "of the loops, the outermost first; i is a row of C, j a column"},
    GENERATE_BASE,
    {0},
};

const generate_row generate_matmul = {GENERATE_ROW("matmul"),
                                      "The product of two matrices, naive or blocked",
                                      matmul_options,
                                      false,
                                      sizeof(generate_source),
                                      sizeof(matmul_cursor),
                                      matmul_prepare,
                                      NULL,
                                      matmul_start,
                                      matmul_fill};
