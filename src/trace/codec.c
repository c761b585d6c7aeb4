#ifndef ZSTD_STATIC_LINKING_ONLY
#define ZSTD_STATIC_LINKING_ONLY /* for allocators of one's own */
#endif
#include "codec.h"

#include <stdio.h>
#include <zlib.h>
#include <zstd.h>
#include <zstd_errors.h>
#ifdef VM_HAVE_LZMA
#include <lzma.h>
#endif

/* The size stands before the block, in as much room as keeps it aligned. */
#define CODEC_ROOM 16

void *codec_alloc(const vm_host *host, size_t size)
{
    if (size > SIZE_MAX - CODEC_ROOM)
        return NULL;
    size += CODEC_ROOM;
    char *p = host_alloc(host, size);
    if (!p)
        return NULL;
    memcpy(p, &size, sizeof size);
    return p + CODEC_ROOM;
}

void codec_free(const vm_host *host, void *p)
{
    if (!p)
        return;
    char *raw = (char *)p - CODEC_ROOM;
    size_t size;
    memcpy(&size, raw, sizeof size);
    host_free(host, raw, size);
}

/* --- gzip ------------------------------------------------------------------- */

typedef struct gzip_state {
    vm_host host;
    z_stream z;
    bool ended; /* a member is over; the next may begin */
} gzip_state;

static void *gzip_alloc(void *ud, uInt items, uInt size)
{
    return codec_alloc(ud, (size_t)items * size);
}
static void gzip_free(void *ud, void *p) { codec_free(ud, p); }

static void gzip_close(void *state)
{
    gzip_state *g = state;
    vm_host host = g->host;
    inflateEnd(&g->z);
    host_free(&host, g, sizeof *g);
}

static void *gzip_open(const vm_host *host)
{
    gzip_state *g = host_zalloc(host, sizeof *g);
    if (!g)
        return NULL;
    g->host = *host;
    g->z.zalloc = gzip_alloc;
    g->z.zfree = gzip_free;
    g->z.opaque = &g->host;
    if (inflateInit2(&g->z, 15 + 16) != Z_OK) { /* 16: gzip's frame, not zlib's */
        host_free(host, g, sizeof *g);
        return NULL;
    }
    return g;
}

static uInt gzip_chunk(size_t n) { return n > 1u << 30 ? 1u << 30 : (uInt)n; }

static vm_status gzip_step(void *state, codec_io *io)
{
    gzip_state *g = state;
    if (g->ended) {
        if (io->in_left == 0)
            return VM_OK;
        inflateReset(&g->z);
        g->ended = false;
    }
    uInt in = gzip_chunk(io->in_left), out = gzip_chunk(io->out_left);
    g->z.next_in = (Bytef *)(uintptr_t)io->in; /* zlib only reads it */
    g->z.avail_in = in;
    g->z.next_out = io->out;
    g->z.avail_out = out;
    io->busy = true;
    int rc = inflate(&g->z, Z_NO_FLUSH);
    io->in += in - g->z.avail_in;
    io->in_left -= in - g->z.avail_in;
    io->out += out - g->z.avail_out;
    io->out_left -= out - g->z.avail_out;
    if (rc == Z_STREAM_END) {
        g->ended = true;
        io->busy = false;
        return VM_OK;
    }
    if (rc == Z_OK || rc == Z_BUF_ERROR)
        return VM_OK;
    if (rc == Z_MEM_ERROR)
        return VM_NOMEM;
    snprintf(io->why, sizeof io->why, "%s", g->z.msg ? g->z.msg : "wrong data");
    return VM_FORMAT;
}

/* --- zstd ------------------------------------------------------------------- */

typedef struct zstd_state {
    vm_host host;
    ZSTD_DCtx *z;
} zstd_state;

static void *zstd_alloc(void *ud, size_t size) { return codec_alloc(ud, size); }
static void zstd_free(void *ud, void *p) { codec_free(ud, p); }

static void zstd_close(void *state)
{
    zstd_state *g = state;
    vm_host host = g->host;
    ZSTD_freeDCtx(g->z);
    host_free(&host, g, sizeof *g);
}

static void *zstd_open(const vm_host *host)
{
    zstd_state *g = host_zalloc(host, sizeof *g);
    if (!g)
        return NULL;
    g->host = *host;
    g->z = ZSTD_createDCtx_advanced((ZSTD_customMem){zstd_alloc, zstd_free, &g->host});
    if (!g->z) {
        host_free(host, g, sizeof *g);
        return NULL;
    }
    return g;
}

static vm_status zstd_step(void *state, codec_io *io)
{
    zstd_state *g = state;
    ZSTD_inBuffer in = {io->in, io->in_left, 0};
    ZSTD_outBuffer out = {io->out, io->out_left, 0};
    if (io->in_left == 0 && !io->busy)
        return VM_OK;
    size_t rc = ZSTD_decompressStream(g->z, &out, &in);
    io->in += in.pos;
    io->in_left -= in.pos;
    io->out += out.pos;
    io->out_left -= out.pos;
    io->busy = rc != 0;
    if (!ZSTD_isError(rc))
        return VM_OK;
    if (ZSTD_getErrorCode(rc) == ZSTD_error_memory_allocation)
        return VM_NOMEM;
    snprintf(io->why, sizeof io->why, "%s", ZSTD_getErrorName(rc));
    return VM_FORMAT;
}

/* --- xz ---------------------------------------------------------------------- */

#ifdef VM_HAVE_LZMA

typedef struct xz_state {
    vm_host host;
    lzma_allocator allocator;
    lzma_stream z;
    bool ended;
} xz_state;

static void *xz_alloc(void *ud, size_t items, size_t size)
{
    return size && items > SIZE_MAX / size ? NULL : codec_alloc(ud, items * size);
}
static void xz_free(void *ud, void *p) { codec_free(ud, p); }

static void xz_close(void *state)
{
    xz_state *g = state;
    vm_host host = g->host;
    lzma_end(&g->z);
    host_free(&host, g, sizeof *g);
}

static void *xz_open(const vm_host *host)
{
    xz_state *g = host_zalloc(host, sizeof *g);
    if (!g)
        return NULL;
    g->host = *host;
    g->allocator = (lzma_allocator){xz_alloc, xz_free, &g->host};
    g->z = (lzma_stream)LZMA_STREAM_INIT;
    g->z.allocator = &g->allocator;
    if (lzma_stream_decoder(&g->z, UINT64_MAX, LZMA_CONCATENATED) != LZMA_OK) {
        host_free(host, g, sizeof *g);
        return NULL;
    }
    return g;
}

static const char *xz_why(lzma_ret rc)
{
    switch (rc) {
    case LZMA_FORMAT_ERROR:
        return "not in the xz format";
    case LZMA_OPTIONS_ERROR:
        return "unsupported options";
    default:
        return "wrong data";
    }
}

static vm_status xz_step(void *state, codec_io *io)
{
    xz_state *g = state;
    if (g->ended)
        return VM_OK;
    g->z.next_in = io->in;
    g->z.avail_in = io->in_left;
    g->z.next_out = io->out;
    g->z.avail_out = io->out_left;
    /* With concatenated members the decoder is sure of the end only when it
     * has been told that no input follows. */
    lzma_ret rc = lzma_code(&g->z, io->in_ended ? LZMA_FINISH : LZMA_RUN);
    io->in = g->z.next_in;
    io->in_left = g->z.avail_in;
    io->out = g->z.next_out;
    io->out_left = g->z.avail_out;
    io->busy = rc != LZMA_STREAM_END;
    g->ended = rc == LZMA_STREAM_END;
    if (rc == LZMA_OK || rc == LZMA_STREAM_END || rc == LZMA_BUF_ERROR)
        return VM_OK;
    if (rc == LZMA_MEM_ERROR)
        return VM_NOMEM;
    snprintf(io->why, sizeof io->why, "%s", xz_why(rc));
    return VM_FORMAT;
}

#else

typedef struct xz_state {
    vm_host host;
} xz_state;

static void *xz_open(const vm_host *host)
{
    xz_state *g = host_zalloc(host, sizeof *g);
    if (g)
        g->host = *host;
    return g;
}

static vm_status xz_step(void *state, codec_io *io)
{
    (void)state;
    snprintf(io->why, sizeof io->why,
             "this build of vmem has no liblzma: decompress it first, with xz -d");
    return VM_FORMAT;
}

static void xz_close(void *state)
{
    xz_state *g = state;
    vm_host host = g->host;
    host_free(&host, g, sizeof *g);
}

#endif

/* ------------------------------------------------------------------------------ */

static const codec codecs[] = {
    {"gzip", {0x1f, 0x8b}, 2, gzip_open, gzip_step, gzip_close},
    {"zstd", {0x28, 0xb5, 0x2f, 0xfd}, 4, zstd_open, zstd_step, zstd_close},
    {"xz", {0xfd, '7', 'z', 'X', 'Z', 0}, 6, xz_open, xz_step, xz_close},
};

const codec *codec_find(const unsigned char *head, size_t n)
{
    for (size_t i = 0; i < sizeof codecs / sizeof *codecs; i++)
        if (n >= codecs[i].magic_size && !memcmp(head, codecs[i].magic, codecs[i].magic_size))
            return &codecs[i];
    return NULL;
}
