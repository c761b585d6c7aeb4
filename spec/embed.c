/* embed.c: every function of vmem.h once, and each of its errors. Silent where
 * all is well; else it says which line is not. Usage: embed TRACE
 */
#undef NDEBUG
#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "vmem.h"

static const char *const small[] = {"preset=core-i7", "dram=256KiB", "swap=1MiB", NULL};

/* --- memory that runs out ---------------------------------------------------- */

typedef struct memory {
    size_t blocks;
    long left; /* the allocation that fails; 0: none */
} memory;

static void *memory_alloc(void *ud, void *p, size_t osize, size_t nsize)
{
    memory *h = ud;
    (void)osize;
    if (nsize == 0) {
        h->blocks -= p != NULL;
        free(p);
        return NULL;
    }
    if (h->left > 0 && --h->left == 0)
        return NULL;
    void *q = realloc(p, nsize);
    h->blocks += q && !p;
    return q;
}

static vmem_status run_once(memory *h, const char *path, vmem_error *e)
{
    vmem_allocator alloc = {memory_alloc, h};
    vmem_machine *m;
    vmem_pid pid;
    vmem_status s = vmem_new(small, &alloc, &m, e);
    if (s == VMEM_OK)
        s = vmem_spawn(m, NULL, &pid, e);
    if (s == VMEM_OK)
        s = vmem_replay(m, pid, path, NULL, NULL, e);
    if (m)
        assert(vmem_check(m) == NULL);
    vmem_free(m);
    return s;
}

static void check_memory(const char *path)
{
    for (long n = 1; n < 200; n++) {
        memory h = {0, n};
        vmem_error e;
        vmem_status s = run_once(&h, path, &e);
        assert(s == VMEM_OK || (s == VMEM_NOMEM && strstr(e.text, "not enough host memory for")));
        assert(s == VMEM_NOMEM || h.left > 0);
        assert(h.blocks == 0);
    }
}

/* --- options ------------------------------------------------------------------- */

static void check_options(void)
{
    static const struct {
        const char *option, *says;
    } wrong[] = {
        {"swap", "name=value is expected"},
        {"swop=1", "no option swop"},
        {"preset=core-i8", "no preset core-i8"},
        {"dram=much", "dram.size is \"much\", but takes bytes"},
        {"dram=4XB", "dram.size"},
        {"dram=1.00001KiB", "dram.size"},
        {"dram=9999999999999999999", "dram.size"},
        {"dram=-1", "dram.size"},
        {"tlb.l1.ways=", "tlb.l1.ways"},
        {"tlb.l1.ways=0", "takes 1 to"},
        {"policy=best", "takes one of: "},
        {"shortcuts=1", "true or false"},
        {"paging.levels=9,x", "paging.levels"},
        {"paging.levels=9,9,9,9,9,9,9,9,9,9,9,9", "paging.levels has"},
        {"kernel.fault=12cycles", "a whole number of cycles"},
    };
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        const char *options[] = {wrong[i].option, NULL};
        vmem_machine *m = NULL;
        vmem_error e;
        assert(vmem_new(options, NULL, &m, &e) == VMEM_INVALID && m == NULL);
        if (e.status != VMEM_INVALID || !strstr(e.text, wrong[i].says)) {
            fprintf(stderr, "%s: %s\n", wrong[i].option, e.text);
            abort();
        }
        assert(vmem_new(options, NULL, &m, NULL) == VMEM_INVALID);
    }
    static const char *const sizes[] = {"dram=1.5 MiB", "dram=1536k", "dram=1572864",
                                        "dram.size=1536 KB"};
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        const char *options[] = {"shortcuts=false", "seed=-5", sizes[i], NULL};
        vmem_machine *m;
        assert(vmem_new(options, NULL, &m, NULL) == VMEM_OK);
        vmem_free(m);
    }
    const char *name, *doc;
    for (size_t i = 0; (name = vmem_preset(i)); i++) {
        char text[64];
        const char *options[] = {text, "boot=false", NULL};
        vmem_machine *m;
        vmem_pid pid;
        snprintf(text, sizeof text, "preset=%s", name);
        assert(vmem_new(options, NULL, &m, NULL) == VMEM_OK);
        assert(vmem_spawn(m, name, &pid, NULL) == VMEM_INVALID);
        assert(vmem_boot(m, NULL) == VMEM_OK && vmem_boot(m, NULL) == VMEM_OK);
        assert(vmem_spawn(m, name, &pid, NULL) == VMEM_OK && pid == 1);
        vmem_free(m);
    }
    size_t n = 0;
    while (vmem_option(n, &doc) && *doc)
        n++;
    assert(n > 50 && !vmem_option(n, NULL));
    assert(strcmp(vmem_version(), VMEM_VERSION) == 0);
    vmem_free(NULL);
}

/* --- one machine ------------------------------------------------------------------ */

static void count(void *ud, const char *name, const char *unit, const char *doc, uint64_t value)
{
    (void)value;
    assert(*name && *unit && *doc);
    ++*(size_t *)ud;
}

static void check_machine(const char *path)
{
    vmem_machine *m;
    vmem_pid p, q;
    vmem_error e;
    vmem_fault f;
    uint64_t a, x;
    char text[] = "bytes that cross a page", back[sizeof text];
    assert(vmem_new(small, NULL, &m, &e) == VMEM_OK);
    assert(vmem_spawn(m, "p", &p, &e) == VMEM_OK && vmem_spawn(m, "q", &q, &e) == VMEM_OK);

    assert(vmem_mmap(m, p, 0, 0, VMEM_READ, 0, &a, &e) == VMEM_REFUSED && e.sys != 0);
    assert(vmem_mmap(m, p, 0, 4096, 8, 0, &a, &e) == VMEM_INVALID && strstr(e.text, "prot"));
    assert(vmem_mmap(m, p, 0, 4096, 1, 8, &a, &e) == VMEM_INVALID && strstr(e.text, "flags"));
    assert(vmem_mmap(m, 99, 0, 4096, 1, 0, &a, &e) == VMEM_INVALID && strstr(e.text, "99"));
    assert(vmem_mmap(m, p, 1 << 20, 3 * 4096, VMEM_READ | VMEM_WRITE | VMEM_EXEC, VMEM_FIXED, &a,
                     &e) == VMEM_OK);
    assert(a == 1 << 20);
    assert(vmem_write(m, p, a + 4090, text, sizeof text, &f, &e) == VMEM_OK);
    assert(vmem_read(m, p, a + 4090, back, sizeof back, &f, &e) == VMEM_OK);
    assert(memcmp(text, back, sizeof text) == 0);
    assert(vmem_fetch(m, p, a + 4090, back, 4, &f, &e) == VMEM_OK && back[0] == 'b');
    for (unsigned size = 1; size <= 8; size *= 2) {
        uint64_t value = UINT64_C(0x8182838485868788) >> (64 - 8 * size);
        assert(vmem_store(m, p, a + 64, size, value, &f, &e) == VMEM_OK);
        assert(vmem_load(m, p, a + 64, size, &x, &f, &e) == VMEM_OK && x == value);
    }
    assert(vmem_load(m, p, a, 3, &x, &f, &e) == VMEM_INVALID && strstr(e.text, "size is 3"));

    assert(vmem_mprotect(m, p, a, 4096, VMEM_READ, &e) == VMEM_OK);
    assert(vmem_munmap(m, p, a + 8192, 4096, &e) == VMEM_OK);
    assert(vmem_munmap(m, p, a + 1, 4096, &e) == VMEM_REFUSED && e.sys != 0);
    assert(vmem_store(m, p, a + 8, 8, 1, &f, &e) == VMEM_FAULT);
    assert(strcmp(f.signal, "SIGSEGV") == 0 && strcmp(f.code, "ACCERR") == 0 && f.addr == a + 8);
    assert(f.access == VMEM_ACCESS_STORE && f.pid == p && strstr(e.text, "SIGSEGV (ACCERR)"));
    assert(vmem_load(m, p, a, 8, &x, &f, &e) == VMEM_INVALID && strstr(e.text, "has ended"));
    assert(vmem_exit(m, p, 0, NULL) == VMEM_INVALID);
    assert(vmem_load(m, q, a, 8, &x, NULL, NULL) == VMEM_FAULT);
    assert(vmem_check(m) == NULL);

    size_t counters = 0;
    vmem_stats(m, count, &counters);
    assert(counters > 50);
    assert(vmem_stat(m, "access.stores", &x, &e) == VMEM_OK && x > 0);
    assert(vmem_stat(m, "access.stars", &x, &e) == VMEM_INVALID && strstr(e.text, "access.stars"));
    uint64_t before = vmem_clock(m);
    vmem_reset_stats(m);
    assert(vmem_clock(m) == before && before > 0);
    assert(vmem_stat(m, "access.stores", &x, &e) == VMEM_OK && x == 0);

    vmem_run run;
    vmem_pid r;
    assert(vmem_spawn(m, "r", &r, &e) == VMEM_OK);
    assert(vmem_replay(m, r, "/nonexistent/trace", &run, &f, &e) == VMEM_IO && e.sys != 0);
    assert(strstr(e.text, "/nonexistent/trace") && run.accesses == 0);
    assert(vmem_replay(m, r, path, &run, &f, &e) == VMEM_OK);
    assert(run.accesses > 0 && run.processes == 1 && run.cycles == vmem_clock(m) - before);
    assert(vmem_exit(m, r, 0, &e) == VMEM_OK && vmem_check(m) == NULL);
    vmem_free(m);
}

int main(int argc, char **argv)
{
    if (argc != 2) {
        fprintf(stderr, "usage: %s TRACE\n", argv[0]);
        return EXIT_FAILURE;
    }
    check_options();
    check_machine(argv[1]);
    check_memory(argv[1]);
    return EXIT_SUCCESS;
}
