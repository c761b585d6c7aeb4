#include "stream.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>

#include "codec.h"

#define STREAM_RAW (128u << 10) /* bytes of compressed data read at once */

struct stream {
    vm_host host;
    FILE *file;
    char *path;
    size_t path_size;
    const codec *codec; /* NULL: plain */
    void *state;
    long size;           /* of the file; -1: a pipe */
    bool busy;           /* the codec is in the midst of a member */
    bool file_ended;     /* all of the file is in `raw` or used */
    uint64_t raw_offset; /* file offset of raw[raw_end] */
    size_t raw_at, raw_end;
    unsigned char *raw;
    uint64_t offset; /* decompressed bytes handed out */
    size_t head_at, head_end;
    unsigned char head[STREAM_HEAD]; /* decompressed, ahead of the reader */
};

static vm_status stream_refill(stream *s, vm_error *e)
{
    if (s->raw_at > 0) {
        memmove(s->raw, s->raw + s->raw_at, s->raw_end - s->raw_at);
        s->raw_end -= s->raw_at;
        s->raw_at = 0;
    }
    while (!s->file_ended && s->raw_end < STREAM_RAW) {
        errno = 0;
        size_t n = fread(s->raw + s->raw_end, 1, STREAM_RAW - s->raw_end, s->file);
        s->raw_end += n;
        s->raw_offset += n;
        if (n == 0 && ferror(s->file))
            return vm_fail_sys(e, VM_IO, errno, "%s: cannot be read at offset %" PRIu64 ": %s",
                               s->path, s->raw_offset, strerror(errno));
        s->file_ended = n == 0;
    }
    return VM_OK;
}

static vm_status stream_plain(stream *s, unsigned char *buf, size_t n, size_t *got, vm_error *e)
{
    size_t have = s->raw_end - s->raw_at, take = have < n ? have : n;
    memcpy(buf, s->raw + s->raw_at, take);
    s->raw_at += take;
    while (take < n && !s->file_ended) {
        errno = 0;
        size_t k = fread(buf + take, 1, n - take, s->file);
        take += k;
        s->raw_offset += k;
        if (k == 0 && ferror(s->file))
            return vm_fail_sys(e, VM_IO, errno, "%s: cannot be read at offset %" PRIu64 ": %s",
                               s->path, s->raw_offset, strerror(errno));
        s->file_ended = k == 0;
    }
    *got = take;
    return VM_OK;
}

static vm_status stream_decode(stream *s, unsigned char *buf, size_t n, size_t *got, vm_error *e)
{
    codec_io io = {.out = buf, .out_left = n, .busy = s->busy};
    while (io.out_left > 0) {
        if (s->raw_at == s->raw_end && !s->file_ended) {
            vm_status st = stream_refill(s, e);
            if (st != VM_OK)
                return st;
        }
        io.in = s->raw + s->raw_at;
        io.in_left = s->raw_end - s->raw_at;
        io.in_ended = s->file_ended;
        size_t in = io.in_left, out = io.out_left;
        vm_status st = s->codec->step(s->state, &io);
        s->raw_at += in - io.in_left;
        uint64_t at = s->raw_offset - io.in_left;
        if (st == VM_NOMEM)
            return vm_fail_nomem(e, "decompression");
        if (st != VM_OK)
            return vm_fail(e, VM_FORMAT, "%s: the %s data are damaged near offset %" PRIu64 ": %s",
                           s->path, s->codec->name, at, io.why);
        if (in != io.in_left || out != io.out_left)
            continue;
        if (!s->file_ended)
            return vm_fail(e, VM_FORMAT,
                           "%s: the %s data end at offset %" PRIu64 ", but more bytes follow",
                           s->path, s->codec->name, at);
        if (io.busy)
            return vm_fail(e, VM_FORMAT,
                           "%s: the %s data are cut off at offset %" PRIu64
                           ", in the midst of a compressed part",
                           s->path, s->codec->name, at);
        if (io.in_left > 0)
            return vm_fail(e, VM_FORMAT,
                           "%s: bytes at offset %" PRIu64 " follow the end of the %s data", s->path,
                           at, s->codec->name);
        break;
    }
    s->busy = io.busy;
    *got = n - io.out_left;
    return VM_OK;
}

static vm_status stream_pull(stream *s, unsigned char *buf, size_t n, size_t *got, vm_error *e)
{
    return s->codec ? stream_decode(s, buf, n, got, e) : stream_plain(s, buf, n, got, e);
}

static void stream_begin(stream *s)
{
    setvbuf(s->file, NULL, _IONBF, 0); /* `raw` is the buffer */
    s->size = fseek(s->file, 0, SEEK_END) == 0 ? ftell(s->file) : -1;
    if (s->size >= 0)
        rewind(s->file);
}

vm_status stream_open(const vm_host *host, const char *path, stream **out, vm_error *e)
{
    *out = NULL;
    stream *s = host_zalloc(host, sizeof *s);
    if (!s)
        return vm_fail_nomem(e, "reading a file");
    s->host = *host;
    s->path_size = strlen(path) + 1;
    s->path = host_alloc(host, s->path_size);
    s->raw = host_alloc(host, STREAM_RAW);
    vm_status st = s->path && s->raw ? VM_OK : vm_fail_nomem(e, "reading a file");
    if (st == VM_OK) {
        memcpy(s->path, path, s->path_size);
        errno = 0;
        s->file = fopen(path, "rb");
        if (!s->file)
            st = vm_fail_sys(e, VM_IO, errno, "%s: cannot be opened: %s", path, strerror(errno));
        else
            stream_begin(s);
    }
    if (st == VM_OK)
        st = stream_refill(s, e);
    if (st == VM_OK && (s->codec = codec_find(s->raw, s->raw_end))) {
        s->busy = true; /* a file that holds no member at all is cut off, too */
        s->state = s->codec->open(host);
        if (!s->state)
            st = vm_fail_nomem(e, "decompression");
    }
    if (st == VM_OK)
        st = stream_pull(s, s->head, STREAM_HEAD, &s->head_end, e);
    if (st != VM_OK) {
        stream_close(s);
        return st;
    }
    *out = s;
    return VM_OK;
}

void stream_close(stream *s)
{
    if (!s)
        return;
    vm_host host = s->host;
    if (s->state)
        s->codec->close(s->state);
    if (s->file)
        fclose(s->file);
    host_free(&host, s->raw, STREAM_RAW);
    host_free(&host, s->path, s->path_size);
    host_free(&host, s, sizeof *s);
}

vm_status stream_read(stream *s, void *buf, size_t n, size_t *got, vm_error *e)
{
    unsigned char *to = buf;
    size_t have = s->head_end - s->head_at, take = have < n ? have : n, more = 0;
    memcpy(to, s->head + s->head_at, take);
    s->head_at += take;
    *got = 0;
    if (take < n) {
        vm_status st = stream_pull(s, to + take, n - take, &more, e);
        if (st != VM_OK)
            return st;
    }
    *got = take + more;
    s->offset += *got;
    return VM_OK;
}

void stream_head(const stream *s, const unsigned char **head, size_t *n)
{
    *head = s->head;
    *n = s->head_end;
}

const char *stream_path(const stream *s) { return s->path; }
uint64_t stream_offset(const stream *s) { return s->offset; }
const char *stream_codec(const stream *s) { return s->codec ? s->codec->name : "plain"; }

bool stream_size(const stream *s, uint64_t *bytes)
{
    *bytes = s->size < 0 ? 0 : (uint64_t)s->size;
    return s->size >= 0;
}
