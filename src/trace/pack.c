#ifndef ZSTD_STATIC_LINKING_ONLY
#define ZSTD_STATIC_LINKING_ONLY /* for allocators of one's own */
#endif
#include "pack.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <zlib.h>
#include <zstd.h>

#include "codec.h"

#define PACK_ZSTD_LEVEL 19 /* files are written once and kept */
#define PACK_GZIP_LEVEL 9

static void *pack_zstd_alloc(void *ud, size_t size) { return codec_alloc(ud, size); }
static void pack_zstd_free(void *ud, void *p) { codec_free(ud, p); }
static void *pack_gzip_alloc(void *ud, uInt items, uInt size)
{
    return codec_alloc(ud, (size_t)items * size);
}
static void pack_gzip_free(void *ud, void *p) { codec_free(ud, p); }

/* Each gives a buffer of codec_alloc with the packed bytes, or NULL: no memory. */
typedef void *pack_method(vm_host *host, const void *bytes, size_t n, size_t *packed);

static void *pack_zstd(vm_host *host, const void *bytes, size_t n, size_t *packed)
{
    ZSTD_CCtx *c =
        ZSTD_createCCtx_advanced((ZSTD_customMem){pack_zstd_alloc, pack_zstd_free, host});
    size_t room = ZSTD_compressBound(n);
    void *to = codec_alloc(host, room);
    *packed = 0;
    if (c && to) {
        ZSTD_CCtx_setParameter(c, ZSTD_c_compressionLevel, PACK_ZSTD_LEVEL);
        ZSTD_CCtx_setParameter(c, ZSTD_c_checksumFlag, 1);
        *packed = ZSTD_compress2(c, to, room, bytes, n);
    }
    bool failed = !c || !to || ZSTD_isError(*packed);
    ZSTD_freeCCtx(c);
    if (failed)
        codec_free(host, to);
    return failed ? NULL : to;
}

static void *pack_gzip(vm_host *host, const void *bytes, size_t n, size_t *packed)
{
    z_stream z = {.zalloc = pack_gzip_alloc, .zfree = pack_gzip_free, .opaque = host};
    *packed = 0;
    if (deflateInit2(&z, PACK_GZIP_LEVEL, Z_DEFLATED, 15 + 16, 8, Z_DEFAULT_STRATEGY) != Z_OK)
        return NULL;
    size_t room = n + n / 1000 + 1024, left = n, rest = room; /* deflate's worst is less */
    char *to = codec_alloc(host, room);
    z.next_in = (Bytef *)(uintptr_t)bytes;
    z.next_out = (Bytef *)to;
    int s = Z_OK;
    while (to && s == Z_OK) {
        uInt in = left > INT_MAX ? INT_MAX : (uInt)left;
        uInt out = rest > INT_MAX ? INT_MAX : (uInt)rest;
        z.avail_in = in;
        z.avail_out = out;
        s = deflate(&z, in == left ? Z_FINISH : Z_NO_FLUSH);
        left -= in - z.avail_in;
        rest -= out - z.avail_out;
    }
    *packed = room - rest;
    deflateEnd(&z);
    if (s != Z_STREAM_END) {
        codec_free(host, to);
        return NULL;
    }
    return to;
}

static const struct {
    const char *end;
    pack_method *method;
} pack_methods[] = {{".gz", pack_gzip}, {".zst", pack_zstd}};

/* Under another name until it is whole: a file that was there stays if this fails. */
static vm_status pack_write(const vm_host *host, const char *path, const void *bytes, size_t n,
                            vm_error *e)
{
    size_t size = strlen(path) + sizeof ".part";
    char *part = host_alloc(host, size);
    if (!part)
        return vm_fail_nomem(e, "a file's name");
    snprintf(part, size, "%s.part", path);
    errno = 0;
    FILE *f = fopen(part, "wb");
    bool ok = f && fwrite(bytes, 1, n, f) == n;
    int why = errno;
    if (f && fclose(f) != 0 && ok) {
        ok = false;
        why = errno;
    }
    if (ok && rename(part, path) != 0) {
        ok = false;
        why = errno;
    }
    if (f && !ok)
        remove(part);
    host_free(host, part, size);
    return ok ? VM_OK
              : vm_fail_sys(e, VM_IO, why, "%s: cannot be written: %s", path, strerror(why));
}

vm_status pack_file(const vm_host *host, const char *path, const void *bytes, size_t n, vm_error *e)
{
    vm_host own = *host;
    void *packed = NULL;
    size_t length = strlen(path);
    for (size_t i = 0; i < sizeof pack_methods / sizeof *pack_methods; i++) {
        size_t k = strlen(pack_methods[i].end);
        if (length < k || strcmp(path + length - k, pack_methods[i].end) != 0)
            continue;
        packed = pack_methods[i].method(&own, bytes, n, &n);
        if (!packed)
            return vm_fail_nomem(e, "compression");
        bytes = packed;
    }
    vm_status st = pack_write(host, path, bytes, n, e);
    codec_free(&own, packed);
    return st;
}
