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

VM_INLINE uint64_t writer_key(uint32_t size, uint32_t task, uint32_t kind, uint32_t bytes)
{
    return size | (uint64_t)task << 32 | (uint64_t)(kind + 1) << 48 | (uint64_t)bytes << 52;
}

VM_INLINE size_t writer_home(uint64_t key) { return (size_t)((key * VMT_FACTOR) >> 54); }

/* The code of a symbol in the block; VMT_SYMBOLS where no room is left. */
static uint32_t writer_code(trace_writer *w, uint64_t key)
{
    size_t i = writer_home(key);
    while (w->hash[i].key != key) {
        if (w->hash[i].key == 0) {
            if (w->symbols == VMT_SYMBOLS)
                return VMT_SYMBOLS;
            unsigned char *p = w->symbol + 8 * w->symbols;
            vmt_put32(p, (uint32_t)key);
            vmt_put16(p + 4, (uint32_t)(key >> 32) & 0xffff);
            p[6] = (unsigned char)((key >> 48 & 15) - 1);
            p[7] = (unsigned char)(key >> 52);
            w->hash[i].key = key;
            w->hash[i].code = w->symbols++;
            break;
        }
        i = (i + 1) & (WRITER_HASH - 1);
    }
    return w->hash[i].code;
}

/* 0, 1, 2, 3, 4, 6 or 8 bytes hold z; fewer lengths are fewer symbols. */
VM_INLINE uint32_t writer_length(uint64_t z)
{
    static const unsigned char up[9] = {0, 1, 2, 3, 4, 6, 6, 8, 8};
    return z ? up[(log2_floor(z) >> 3) + 1] : 0;
}

/* Room for one more record, whatever it is. */
VM_INLINE bool writer_fits(const trace_writer *w, uint32_t count, uint32_t fetch_bytes,
                           uint32_t data_bytes)
{
    return count < VMT_RECORDS && fetch_bytes <= VMT_STREAM - 8 && data_bytes <= VMT_STREAM - 8 &&
           w->event_bytes <= VMT_STREAM - VMT_EVENT - VMT_NO_NAME;
}

/* Most records: accesses whose symbol the block has where it is looked for
 * first. The state is kept in locals, since stores of bytes may alias it. The
 * index of the first record that needs more than that. */
static size_t writer_usual(trace_writer *w, const access_record *records, size_t i, size_t n)
{
    uint32_t count = w->count, fetch_bytes = w->fetch_bytes, data_bytes = w->data_bytes;
    uint32_t at = w->at;
    uint64_t fetch = w->fetch;
    const uint32_t step = w->step;
    unsigned char *const code = w->code, *const fetches = w->fetches, *const datas = w->datas;
    for (; i < n && writer_fits(w, count, fetch_bytes, data_bytes); i++) {
        const access_record *r = &records[i];
        const bool data = r->kind != ACCESS_FETCH;
        if (VM_UNLIKELY(r->kind >= ACCESS_EVENT || r->size == 0))
            break;
        uint64_t z = vmt_zigzag(r->addr - (data ? w->slot[at] : fetch));
        uint32_t bytes = writer_length(z);
        uint64_t key = writer_key(r->size, r->task, r->kind, bytes);
        const writer_symbol *s = &w->hash[writer_home(key)];
        if (VM_UNLIKELY(s->key != key))
            break;
        code[count++] = (unsigned char)s->code;
        if (data) {
            vmt_put64(datas + data_bytes, z);
            data_bytes += bytes;
            w->slot[at] = r->addr;
            at = (at + step) & (VMT_SLOTS - 1);
        } else {
            vmt_put64(fetches + fetch_bytes, z);
            fetch_bytes += bytes;
            fetch = r->addr + r->size;
            at = step ? vmt_slot(r->addr) : 0;
        }
    }
    w->count = count;
    w->fetch_bytes = fetch_bytes;
    w->data_bytes = data_bytes;
    w->at = at;
    w->fetch = fetch;
    return i;
}

/* Record `i` of the block: a new symbol, an event, a full block. */
static vm_status writer_unusual(trace_writer *w, const trace_block *b, size_t i, vm_error *e)
{
    const access_record *r = &b->records[i];
    const bool event = r->kind == ACCESS_EVENT, data = r->kind != ACCESS_FETCH && !event;
    if (r->kind > ACCESS_EVENT || (r->size == 0) != event || (event && r->addr >= b->event_count))
        return vm_fail(e, VM_INVALID, "record %llu to be written is not a valid one",
                       (unsigned long long)(w->records + w->count));
    vm_status st = VM_OK;
    if (!writer_fits(w, w->count, w->fetch_bytes, w->data_bytes))
        st = writer_flush(w, e);
    uint32_t code = VMT_SYMBOLS, bytes = 0;
    uint64_t z = 0;
    while (st == VM_OK) {
        if (w->count == 0)
            writer_begin(w, b, i);
        if (!event) {
            z = vmt_zigzag(r->addr - (data ? w->slot[w->at] : w->fetch));
            bytes = writer_length(z);
        }
        code = writer_code(w, writer_key(r->size, r->task, r->kind, bytes));
        if (code < VMT_SYMBOLS)
            break;
        st = writer_flush(w, e);
    }
    if (st != VM_OK)
        return st;
    w->code[w->count++] = (unsigned char)code;
    if (event)
        return writer_event(w, &b->events[r->addr], e);
    if (data) {
        vmt_put64(w->datas + w->data_bytes, z);
        w->data_bytes += bytes;
        w->slot[w->at] = r->addr;
        w->at = (w->at + w->step) & (VMT_SLOTS - 1);
    } else {
        vmt_put64(w->fetches + w->fetch_bytes, z);
        w->fetch_bytes += bytes;
        w->fetch = r->addr + r->size;
        w->at = w->step ? vmt_slot(r->addr) : 0;
    }
    return VM_OK;
}

vm_status trace_writer_put(trace_writer *w, const trace_block *b, vm_error *e)
{
    for (size_t i = 0; i < b->count; i++) {
        if (w->count > 0)
            i = writer_usual(w, b->records, i, b->count);
        vm_status st = i < b->count ? writer_unusual(w, b, i, e) : VM_OK;
        if (st != VM_OK)
            return st;
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
