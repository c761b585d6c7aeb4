#include "image.h"

#include <elf.h>
#include <stdio.h>
#include <stdlib.h>

#include "writer.h"

#define IMAGE_PATH 1024

typedef struct image_line {
    uint64_t start, stop;
    char path[IMAGE_PATH];
} image_line;

/* What was mapped when the plugin was loaded: the emulator's own. */
static struct {
    uint64_t start;
} * image_own;
static size_t image_own_count;

static bool image_next(FILE *f, image_line *l)
{
    char text[IMAGE_PATH + 128];
    while (fgets(text, sizeof text, f)) {
        unsigned long long start, stop;
        int at = 0;
        if (sscanf(text, "%llx-%llx %*s %*s %*s %*s %n", &start, &stop, &at) != 2 || at == 0)
            continue;
        l->start = start;
        l->stop = stop;
        snprintf(l->path, sizeof l->path, "%s", text + at);
        l->path[strcspn(l->path, "\n")] = '\0';
        return true;
    }
    return false;
}

void image_begin(void)
{
    FILE *f = fopen("/proc/self/maps", "r");
    static image_line l;
    while (f && image_next(f, &l)) {
        void *more =
            l.path[0] == '/' ? realloc(image_own, (image_own_count + 1) * sizeof *image_own) : NULL;
        if (!more)
            continue;
        image_own = more;
        image_own[image_own_count++].start = l.start;
    }
    if (f)
        fclose(f);
}

static bool image_is_own(uint64_t start)
{
    for (size_t i = 0; i < image_own_count; i++)
        if (image_own[i].start == start)
            return true;
    return false;
}

/* The segments of an ELF file whose lowest one begins at `start`. */
static void image_segments(ring_tap *t, const char *path, uint64_t start)
{
    Elf64_Ehdr h;
    Elf64_Phdr p;
    FILE *f = fopen(path, "rb");
    if (!f)
        return;
    bool any = fread(&h, sizeof h, 1, f) == 1 && memcmp(h.e_ident, ELFMAG, SELFMAG) == 0 &&
               h.e_phentsize == sizeof p;
    uint64_t lowest = 0;
    bool found = false;
    for (unsigned i = 0; any && i < h.e_phnum; i++) {
        if (fseek(f, (long)(h.e_phoff + i * sizeof p), SEEK_SET) != 0 ||
            fread(&p, sizeof p, 1, f) != 1)
            break;
        if (p.p_type != PT_LOAD)
            continue;
        uint64_t at = align_down(p.p_vaddr, 4096);
        if (!found)
            lowest = at;
        found = true;
        unsigned prot =
            (p.p_flags & PF_R ? 1 : 0) | (p.p_flags & PF_W ? 2 : 0) | (p.p_flags & PF_X ? 4 : 0);
        uint64_t length = align_up(p.p_vaddr + p.p_memsz, 4096) - at;
        writer_event(t, EVENT_MMAP,
                     (uint64_t[EVENT_ARGS]){start + (at - lowest), length, prot, 0x12,
                                            align_down(p.p_offset, 4096)},
                     path, false);
    }
    fclose(f);
}

void image_tell(ring_tap *t, uint64_t guest_base)
{
    static image_line l;
    static char last[IMAGE_PATH];
    FILE *f = fopen("/proc/self/maps", "r");
    while (f && image_next(f, &l)) {
        if (l.path[0] != '/' || image_is_own(l.start) || strcmp(l.path, last) == 0)
            continue;
        snprintf(last, sizeof last, "%s", l.path);
        image_segments(t, l.path, l.start - guest_base);
    }
    if (f)
        fclose(f);
    free(image_own);
    image_own = NULL;
    image_own_count = 0;
}
