#ifndef ZSTD_STATIC_LINKING_ONLY
#define ZSTD_STATIC_LINKING_ONLY /* for allocators of one's own */
#endif
#include "vmt.h"

#include <errno.h>
#include <stdio.h>
#include <zlib.h>
#include <zstd.h>

#include "codec.h"

/* A restart loses what the predictors knew: rarely enough to cost nothing. */
#define WRITER_RESTART (1u << 20)
#define WRITER_LEVEL   3 /* of zstd: 9 gains a tenth in size at a fifth of the speed */
#define WRITER_HASH    1024u
#define WRITER_TMP     ".part" /* written beside the file, renamed when finished */

typedef struct writer_symbol {
    uint64_t key;  /* size, task, kind, bytes of delta; 0: free, as a size is */
    uint32_t code; /* index of the symbol */
} writer_symbol;

struct trace_writer {
    vm_host host;
    FILE *file;
    char *path, *tmp; /* one allocation of path_room bytes for both */
    size_t path_room;
    trace_meter *meter;
    ZSTD_CCtx *zstd;
    uint64_t records, blocks, restarted; /* records written; at the last restart */
    /* predictors */
    uint64_t fetch, slot[VMT_SLOTS];
    uint32_t at, step;
    /* the block being filled */
    uint32_t count, symbols, fetch_bytes, data_bytes, event_count, event_bytes, flags;
    writer_symbol hash[WRITER_HASH];
    unsigned char symbol[VMT_SYMBOLS * 8];
    unsigned char *code, *fetches, *datas, *events;
    unsigned char *payload, *packed;
    size_t packed_room;
};

static void *writer_zstd_alloc(void *ud, size_t size) { return codec_alloc(ud, size); }
static void writer_zstd_free(void *ud, void *p) { codec_free(ud, p); }

static void writer_free(trace_writer *w)
{
    vm_host host = w->host;
    ZSTD_freeCCtx(w->zstd);
    trace_meter_free(w->meter);
    host_free(&host, w->path, w->path_room);
    host_free(&host, w->code, VMT_RECORDS);
    host_free(&host, w->fetches, VMT_STREAM);
    host_free(&host, w->datas, VMT_STREAM);
    host_free(&host, w->events, VMT_STREAM);
    host_free(&host, w->payload, VMT_PAYLOAD);
    host_free(&host, w->packed, w->packed_room);
    host_free(&host, w, sizeof *w);
}

static vm_status writer_sys(const trace_writer *w, int sys, vm_error *e)
{
    return vm_fail_sys(e, VM_IO, sys, "%s: cannot be written: %s", w->path, strerror(sys));
}

static vm_status writer_bytes(trace_writer *w, const void *p, size_t n, vm_error *e)
{
    errno = 0;
    return fwrite(p, 1, n, w->file) == n ? VM_OK : writer_sys(w, errno ? errno : EIO, e);
}

vm_status trace_writer_new(const vm_host *host, const char *path, trace_writer **out, vm_error *e)
{
    *out = NULL;
    trace_writer *w = host_zalloc(host, sizeof *w);
    if (!w)
        return vm_fail_nomem(e, "writing a trace");
    w->host = *host;
    size_t n = strlen(path) + 1;
    w->path_room = 2 * n + sizeof WRITER_TMP;
    w->path = host_alloc(host, w->path_room);
    w->packed_room = ZSTD_compressBound(VMT_PAYLOAD);
    w->code = host_alloc(host, VMT_RECORDS);
    w->fetches = host_alloc(host, VMT_STREAM);
    w->datas = host_alloc(host, VMT_STREAM);
    w->events = host_alloc(host, VMT_STREAM);
    w->payload = host_alloc(host, VMT_PAYLOAD);
    w->packed = host_alloc(host, w->packed_room);
    w->meter = trace_meter_new(host);
    w->zstd =
        ZSTD_createCCtx_advanced((ZSTD_customMem){writer_zstd_alloc, writer_zstd_free, &w->host});
    if (!w->path || !w->code || !w->fetches || !w->datas || !w->events || !w->payload ||
        !w->packed || !w->meter || !w->zstd) {
        writer_free(w);
        return vm_fail_nomem(e, "writing a trace");
    }
    memcpy(w->path, path, n);
    w->tmp = w->path + n;
    memcpy(w->tmp, path, n - 1);
    memcpy(w->tmp + n - 1, WRITER_TMP, sizeof WRITER_TMP);
    ZSTD_CCtx_setParameter(w->zstd, ZSTD_c_compressionLevel, WRITER_LEVEL);
    ZSTD_CCtx_setParameter(w->zstd, ZSTD_c_checksumFlag, 1);
    errno = 0;
    w->file = fopen(w->tmp, "wb");
    if (!w->file) {
        vm_status st = writer_sys(w, errno, e);
        writer_free(w);
        return st;
    }
    unsigned char head[VMT_HEAD] = VMT_MAGIC;
    vmt_put32(head + 8, VMT_VERSION);
    vmt_put32(head + 12, 0);
    vm_status st = writer_bytes(w, head, sizeof head, e);
    if (st != VM_OK) {
        trace_writer_abandon(w);
        return st;
    }
    *out = w;
    return VM_OK;
}

static vm_status writer_flush(trace_writer *w, vm_error *e)
{
    if (w->count == 0)
        return VM_OK;
    struct {
        const unsigned char *p;
        size_t n;
    } const parts[] = {{w->symbol, w->symbols * 8u},
                       {w->code, w->count},
                       {w->fetches, w->fetch_bytes},
                       {w->datas, w->data_bytes},
                       {w->events, w->event_bytes}};
    size_t n = 0;
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++) {
        memcpy(w->payload + n, parts[i].p, parts[i].n);
        n += parts[i].n;
    }
    size_t packed = ZSTD_compress2(w->zstd, w->packed, w->packed_room, w->payload, n);
    if (ZSTD_isError(packed))
        return vm_fail_nomem(e, "compressing a trace");
    vmt_block_head b = {.first = w->records,
                        .compressed = (uint32_t)packed,
                        .records = w->count,
                        .symbols = w->symbols,
                        .fetch_bytes = w->fetch_bytes,
                        .data_bytes = w->data_bytes,
                        .events = w->event_count,
                        .event_bytes = w->event_bytes,
                        .flags = w->flags,
                        .crc = (uint32_t)crc32(0, w->packed, (uInt)packed)};
    unsigned char head[VMT_BLOCK];
    vmt_put_block_head(head, &b);
    vm_status st = writer_bytes(w, head, sizeof head, e);
    if (st == VM_OK)
        st = writer_bytes(w, w->packed, packed, e);
    w->records += w->count;
    w->blocks++;
    w->count = w->symbols = w->fetch_bytes = w->data_bytes = 0;
    w->event_count = w->event_bytes = 0;
    return st;
}

/* Before the first record of a block; `b` tells whether fetches come. */
static void writer_begin(trace_writer *w, const trace_block *b, size_t from)
{
    bool fetches = false;
    for (size_t i = from; i < b->count && !fetches; i++)
        fetches = b->records[i].kind == ACCESS_FETCH;
    w->flags = fetches ? 0 : VMT_FLAT;
    if (w->blocks == 0 || w->records - w->restarted >= WRITER_RESTART) {
        w->flags |= VMT_RESTART;
        w->restarted = w->records;
        w->fetch = 0;
        memset(w->slot, 0, sizeof w->slot);
    }
    w->step = fetches;
    w->at = 0;
    memset(w->hash, 0, sizeof w->hash);
}

static vm_status writer_event(trace_writer *w, const access_event *v, vm_error *e)
{
    size_t name = v->name ? strlen(v->name) : 0;
    if (name >= VMT_NO_NAME)
        return vm_fail(e, VM_INVALID, "the name of an event has %zu bytes, more than %u", name,
                       VMT_NO_NAME - 1);
    if (v->type == 0 || v->type >= EVENT_TYPES)
        return vm_fail(e, VM_INVALID, "an event has the unknown type %u", v->type);
    unsigned char *p = w->events + w->event_bytes;
    memset(p, 0, VMT_EVENT);
    vmt_put16(p, v->type);
    vmt_put16(p + 2, v->task);
    vmt_put16(p + 4, v->name ? (uint32_t)name : VMT_NO_NAME);
    for (size_t i = 0; i < EVENT_ARGS; i++)
        vmt_put64(p + 8 + 8 * i, v->arg[i]);
    if (name)
        memcpy(p + VMT_EVENT, v->name, name);
    w->event_bytes += VMT_EVENT + (uint32_t)name;
    w->event_count++;
    return VM_OK;
}

/* The code of a symbol in the block; VMT_SYMBOLS where no room is left. */
static uint32_t writer_code(trace_writer *w, uint32_t size, uint32_t task, uint32_t kind,
                            uint32_t bytes)
{
    uint64_t key = size | (uint64_t)task << 32 | (uint64_t)(kind + 1) << 48 | (uint64_t)bytes << 52;
    size_t i = (size_t)((key * UINT64_C(0x9e3779b97f4a7c15)) >> 54);
    while (w->hash[i].key != key) {
        if (w->hash[i].key == 0) {
            if (w->symbols == VMT_SYMBOLS)
                return VMT_SYMBOLS;
            unsigned char *p = w->symbol + 8 * w->symbols;
            vmt_put32(p, size);
            vmt_put16(p + 4, task);
            p[6] = (unsigned char)kind;
            p[7] = (unsigned char)bytes;
            w->hash[i].key = key;
            w->hash[i].code = w->symbols++;
            break;
        }
        i = (i + 1) & (WRITER_HASH - 1);
    }
    return w->hash[i].code;
}

/* 0, 1, 2, 3, 4, 6 or 8 bytes hold z; fewer lengths are fewer symbols. */
static uint32_t writer_length(uint64_t z)
{
    static const unsigned char up[9] = {0, 1, 2, 3, 4, 6, 6, 8, 8};
    return z ? up[(log2_floor(z) >> 3) + 1] : 0;
}

vm_status trace_writer_put(trace_writer *w, const trace_block *b, vm_error *e)
{
    vm_status st = VM_OK;
    for (size_t i = 0; i < b->count; i++) {
        const access_record *r = &b->records[i];
        if (r->kind > ACCESS_EVENT || (r->size == 0) != (r->kind == ACCESS_EVENT) ||
            (r->kind == ACCESS_EVENT && r->addr >= b->event_count))
            return vm_fail(e, VM_INVALID, "record %llu to be written is not a valid one",
                           (unsigned long long)(w->records + w->count));
        if (w->count == VMT_RECORDS || w->fetch_bytes > VMT_STREAM - 8 ||
            w->data_bytes > VMT_STREAM - 8 || w->event_bytes > VMT_STREAM - VMT_EVENT - VMT_NO_NAME)
            st = writer_flush(w, e);
        uint32_t code;
        uint64_t z = 0, predicted = 0;
        uint32_t bytes = 0;
        for (;;) {
            if (st != VM_OK)
                return st;
            if (w->count == 0)
                writer_begin(w, b, i);
            if (r->kind != ACCESS_EVENT) {
                predicted = r->kind == ACCESS_FETCH ? w->fetch : w->slot[w->at];
                z = vmt_zigzag(r->addr - predicted);
                bytes = writer_length(z);
            }
            code = writer_code(w, r->size, r->task, r->kind, bytes);
            if (code < VMT_SYMBOLS)
                break;
            st = writer_flush(w, e);
        }
        w->code[w->count++] = (unsigned char)code;
        if (r->kind == ACCESS_FETCH) {
            vmt_put64(w->fetches + w->fetch_bytes, z);
            w->fetch_bytes += bytes;
            w->fetch = r->addr + r->size;
            w->at = w->step ? vmt_slot(r->addr) : 0;
        } else if (r->kind != ACCESS_EVENT) {
            vmt_put64(w->datas + w->data_bytes, z);
            w->data_bytes += bytes;
            w->slot[w->at] = r->addr;
            w->at = (w->at + w->step) & (VMT_SLOTS - 1);
        } else if ((st = writer_event(w, &b->events[r->addr], e)) != VM_OK) {
            return st;
        }
    }
    return trace_meter_add(w->meter, b, e);
}

void trace_writer_abandon(trace_writer *w)
{
    if (!w)
        return;
    if (w->file) {
        fclose(w->file);
        remove(w->tmp);
    }
    writer_free(w);
}

vm_status trace_writer_finish(trace_writer *w, vm_error *e)
{
    vm_status st = writer_flush(w, e);
    trace_totals t;
    unsigned char tail[VMT_TAIL];
    if (st == VM_OK) {
        trace_meter_read(w->meter, &t);
        vmt_put_tail(tail, &t, w->blocks);
        st = writer_bytes(w, tail, sizeof tail, e);
    }
    if (st == VM_OK) {
        errno = 0;
        bool closed = fclose(w->file) == 0; /* the last bytes may meet a full disk here */
        w->file = NULL;
        if (!closed || rename(w->tmp, w->path) != 0) {
            st = writer_sys(w, errno ? errno : EIO, e);
            remove(w->tmp);
        }
    }
    trace_writer_abandon(w);
    return st;
}

vm_status trace_save(trace_source *s, const char *path, vm_error *e)
{
    trace_cursor *c;
    trace_writer *w = NULL;
    trace_block b;
    vm_status st = trace_open(s, &c, e);
    if (st == VM_OK)
        st = trace_writer_new(&s->host, path, &w, e);
    while (st == VM_OK && (st = trace_next(c, &b, e)) == VM_OK && b.count > 0)
        st = trace_writer_put(w, &b, e);
    trace_close(c);
    if (st == VM_OK)
        return trace_writer_finish(w, e);
    trace_writer_abandon(w);
    return st;
}
