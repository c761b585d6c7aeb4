/* codec.h: decompressors as rows of one table; stream.c drives them.
 *
 * `step` consumes input and produces output as far as both reach. It clears
 * `busy` exactly when it stands at the boundary of a member, where the input
 * may end. Memory comes from the host's hook throughout.
 */
#ifndef VM_CODEC_H
#define VM_CODEC_H

#include "../base/base.h"

typedef struct codec_io {
    const unsigned char *in;
    size_t in_left;
    unsigned char *out;
    size_t out_left;
    bool in_ended; /* no input follows in_left */
    bool busy;     /* in the midst of a member */
    char why[160]; /* what was wrong, after `step` returned VM_FORMAT */
} codec_io;

typedef struct codec {
    const char *name;
    unsigned char magic[6];
    size_t magic_size;
    void *(*open)(const vm_host *host); /* NULL: no memory */
    vm_status (*step)(void *state, codec_io *io);
    void (*close)(void *state);
} codec;

/* The codec of data that begin with these bytes; NULL: none, plain data. */
const codec *codec_find(const unsigned char *head, size_t n);

/* Blocks that know their size, for libraries whose free functions do not. */
void *codec_alloc(const vm_host *host, size_t size);
void codec_free(const vm_host *host, void *p);

#endif
