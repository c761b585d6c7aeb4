/* stream.h: the bytes of a file, decompressed on the way where it is gzip,
 * zstd or xz, in constant memory.
 *
 * Invariants
 *   - The compression is recognised by the file's first bytes, never by name.
 *   - Several compressed members after each other read as one, as the formats
 *     say. A member that ends early, or is followed by anything else, is an
 *     error that names the file and the compressed offset.
 *   - Offsets are bytes, from 0; stream_offset counts decompressed ones.
 */
#ifndef VM_STREAM_H
#define VM_STREAM_H

#include "../base/base.h"

#define STREAM_HEAD 4096 /* bytes that can be looked at ahead of reading */

typedef struct stream stream;

vm_status stream_open(const vm_host *host, const char *path, stream **out, vm_error *e);
void stream_close(stream *s); /* NULL is fine */

/* Fill `buf`; `*got` is less than `n` only at the end of the data. */
vm_status stream_read(stream *s, void *buf, size_t n, size_t *got, vm_error *e);

/* The first bytes, up to STREAM_HEAD, without reading them; before any read. */
void stream_head(const stream *s, const unsigned char **head, size_t *n);

const char *stream_path(const stream *s);
uint64_t stream_offset(const stream *s);   /* of the next byte to be read */
const char *stream_codec(const stream *s); /* "plain", "gzip", "zstd", "xz" */

/* The size of the file itself; false: none, since it is a pipe. */
bool stream_size(const stream *s, uint64_t *bytes);

#endif
