#ifndef ZSTD_STATIC_LINKING_ONLY
#define ZSTD_STATIC_LINKING_ONLY /* for allocators of one's own */
#endif
#include "vmt.h"

#include <inttypes.h>
#include <stdio.h>
#include <zlib.h>
#include <zstd.h>

#include "codec.h"
#include "format.h"

/* Decoding checks how many delta bytes were used after each TRACE_BLOCK
 * records, not after each: so far it may read beyond the payload's end. */
#define READER_PAD (TRACE_BLOCK * 8 + 8)

/* 32 bytes: the record to come, but for its address, and how to read its delta. */
typedef struct reader_symbol {
    access_record record;
    uint64_t mask; /* of the delta's bytes */
    uint32_t bytes;
    uint32_t data; /* 1: loads, stores and modifies */
} reader_symbol;

typedef struct vmt_cursor {
    trace_cursor base;
    vm_host host;
    stream *in;
    ZSTD_DCtx *zstd;
    uint64_t records, blocks; /* read so far, all of the current block included */
    bool ended;
    vmt_block_head block;
    uint32_t done; /* records of the block that were handed out */
    uint32_t event_at;
    const unsigned char *code, *fetches, *fetches_end, *datas, *datas_end;
    /* predictors */
    uint64_t fetch, slot[VMT_SLOTS];
    uint32_t at;
    reader_symbol symbol[VMT_SYMBOLS];
    access_event *events;
    size_t event_room;
    char *names; /* 0-ended, of the block's events */
    size_t name_room;
    unsigned char *packed, *payload;
    size_t packed_room;
    access_record out[TRACE_BLOCK];
} vmt_cursor;

static void *reader_zstd_alloc(void *ud, size_t size) { return codec_alloc(ud, size); }
static void reader_zstd_free(void *ud, void *p) { codec_free(ud, p); }

static vm_status reader_bad(const vmt_cursor *c, vm_error *e, const char *what)
{
    return vm_fail(e, VM_FORMAT,
                   "%s: damaged .vmt file: block %" PRIu64 ", before offset %" PRIu64 ": %s",
                   stream_path(c->in), c->blocks, stream_offset(c->in), what);
}

static vm_status reader_bytes(vmt_cursor *c, void *buf, size_t n, vm_error *e)
{
    size_t got;
    vm_status st = stream_read(c->in, buf, n, &got, e);
    if (st == VM_OK && got < n)
        return vm_fail(e, VM_FORMAT,
                       "%s: the .vmt file is cut off at offset %" PRIu64 ", in block %" PRIu64,
                       stream_path(c->in), stream_offset(c->in), c->blocks);
    return st;
}

/* `head` holds the tail's first VMT_BLOCK bytes. */
static vm_status reader_tail(vmt_cursor *c, const unsigned char *head, vm_error *e)
{
    unsigned char tail[VMT_TAIL], more;
    trace_totals t;
    uint64_t blocks;
    memcpy(tail, head, VMT_BLOCK);
    vm_status st = reader_bytes(c, tail + VMT_BLOCK, VMT_TAIL - VMT_BLOCK, e);
    if (st != VM_OK)
        return st;
    if (!vmt_get_tail(tail, &t, &blocks))
        return reader_bad(c, e, "the tail's checksum is wrong");
    uint64_t records = 0;
    for (size_t i = 0; i <= ACCESS_EVENT; i++)
        records += t.kinds[i];
    if (blocks != c->blocks || records != c->records)
        return reader_bad(c, e, "the tail counts other records than the file holds");
    size_t got;
    st = stream_read(c->in, &more, 1, &got, e);
    if (st == VM_OK && got > 0)
        return reader_bad(c, e, "bytes follow the tail");
    c->ended = st == VM_OK;
    return st;
}

static bool reader_sizes_fit(const vmt_block_head *b)
{
    return b->records > 0 && b->records <= VMT_RECORDS && b->symbols > 0 &&
           b->symbols <= VMT_SYMBOLS && b->fetch_bytes <= VMT_STREAM &&
           b->data_bytes <= VMT_STREAM && b->event_bytes <= VMT_STREAM &&
           b->events <= b->event_bytes / VMT_EVENT && b->compressed > 0 &&
           b->compressed <= ZSTD_compressBound(VMT_PAYLOAD) && (b->flags & ~VMT_FLAGS) == 0;
}

static vm_status reader_symbols(vmt_cursor *c, const unsigned char *p, vm_error *e)
{
    for (uint32_t i = 0; i < c->block.symbols; i++, p += 8) {
        reader_symbol *s = &c->symbol[i];
        uint32_t size = vmt_get32(p);
        unsigned kind = p[6], bytes = p[7];
        bool event = kind == ACCESS_EVENT;
        if (kind > ACCESS_EVENT || bytes > (event ? 0 : 8) || (size == 0) != event)
            return reader_bad(c, e, "a symbol is not a valid one");
        memset(s, 0, sizeof *s);
        s->record.size = size;
        s->record.task = vmt_get16(p + 4);
        s->record.kind = (uint8_t)kind;
        s->mask = low_mask(bytes * 8);
        s->bytes = bytes;
        s->data = kind != ACCESS_FETCH && !event;
    }
    return VM_OK;
}

static vm_status reader_events(vmt_cursor *c, const unsigned char *p, vm_error *e)
{
    const unsigned char *end = p + c->block.event_bytes;
    /* every name is shorter than its event by more than its ending 0 */
    if (!host_grow(&c->host, (void **)&c->events, &c->event_room, c->block.events,
                   sizeof *c->events) ||
        !host_grow(&c->host, (void **)&c->names, &c->name_room, c->block.event_bytes, 1))
        return vm_fail_nomem(e, "the events of a trace");
    char *name = c->names;
    for (uint32_t i = 0; i < c->block.events; i++) {
        access_event *v = &c->events[i];
        if ((size_t)(end - p) < VMT_EVENT)
            return reader_bad(c, e, "an event is cut off");
        v->type = vmt_get16(p);
        v->task = vmt_get16(p + 2);
        uint32_t n = vmt_get16(p + 4);
        for (size_t k = 0; k < EVENT_ARGS; k++)
            v->arg[k] = vmt_get64(p + 8 + 8 * k);
        p += VMT_EVENT;
        v->name = NULL;
        if (v->type == 0 || v->type >= EVENT_TYPES)
            return reader_bad(c, e, "an event has an unknown type");
        if (n != VMT_NO_NAME) {
            if ((size_t)(end - p) < n || memchr(p, 0, n))
                return reader_bad(c, e, "the name of an event is damaged");
            memcpy(name, p, n);
            name[n] = '\0';
            v->name = name;
            name += n + 1;
            p += n;
        }
    }
    return p == end ? VM_OK : reader_bad(c, e, "bytes follow the last event");
}

static vm_status reader_payload(vmt_cursor *c, vm_error *e)
{
    const vmt_block_head *b = &c->block;
    size_t size =
        (size_t)b->symbols * 8 + b->records + b->fetch_bytes + b->data_bytes + b->event_bytes;
    if (!host_grow(&c->host, (void **)&c->packed, &c->packed_room, b->compressed, 1))
        return vm_fail_nomem(e, "a block of a trace");
    vm_status st = reader_bytes(c, c->packed, b->compressed, e);
    if (st != VM_OK)
        return st;
    if (crc32(0, c->packed, b->compressed) != b->crc)
        return reader_bad(c, e, "the checksum of its compressed data is wrong");
    size_t n = ZSTD_decompressDCtx(c->zstd, c->payload, VMT_PAYLOAD, c->packed, b->compressed);
    if (ZSTD_isError(n))
        return reader_bad(c, e, ZSTD_getErrorName(n));
    if (n != size)
        return reader_bad(c, e, "its parts do not add up to its size");
    const unsigned char *p = c->payload;
    st = reader_symbols(c, p, e);
    c->code = p + b->symbols * 8u;
    c->fetches = c->code + b->records;
    c->datas = c->fetches_end = c->fetches + b->fetch_bytes;
    c->datas_end = c->datas + b->data_bytes;
    if (st == VM_OK)
        st = reader_events(c, c->datas_end, e);
    return st;
}

static vm_status reader_block(vmt_cursor *c, vm_error *e)
{
    unsigned char head[VMT_BLOCK];
    vm_status st = reader_bytes(c, head, sizeof head, e);
    if (st != VM_OK)
        return st;
    if (vmt_get32(head) == VMT_TAIL_TAG)
        return reader_tail(c, head, e);
    c->blocks++;
    if (vmt_get32(head) != VMT_BLOCK_TAG || !vmt_get_block_head(head, &c->block) ||
        !reader_sizes_fit(&c->block))
        return reader_bad(c, e, "its header is not a valid one");
    if (c->block.first != c->records)
        return reader_bad(c, e, "it does not continue the block before it");
    if (c->records == 0 && !(c->block.flags & VMT_RESTART))
        return reader_bad(c, e, "the first block is not marked as a beginning");
    if (c->block.flags & VMT_RESTART) {
        c->fetch = 0;
        memset(c->slot, 0, sizeof c->slot);
    }
    c->at = 0;
    c->done = c->event_at = 0;
    c->records += c->block.records;
    return reader_payload(c, e);
}

/* The loop that all traces pass. Its one branch tells fetches from data: real
 * programs repeat themselves, so it is predicted well, and a version without
 * it was slower, for it ties both predictions into one chain. */
static void reader_decode(vmt_cursor *c, const unsigned char *code, access_record *out, size_t n)
{
    const unsigned char *fp = c->fetches, *dp = c->datas;
    const uint32_t step = c->block.flags & VMT_FLAT ? 0 : 1;
    const uint64_t factor = step ? VMT_FACTOR : 0; /* makes every slot number 0 */
    uint64_t fetch = c->fetch;
    uint32_t at = c->at;
    for (size_t i = 0; i < n; i++) {
        const reader_symbol *s = &c->symbol[code[i]];
        access_record r = s->record;
        if (!s->data) {
            r.addr = fetch + vmt_unzigzag(vmt_get64(fp) & s->mask);
            fp += s->bytes;
            fetch = r.addr + r.size;
            at = (uint32_t)((r.addr * factor) >> (64 - VMT_SLOT_BITS));
        } else {
            r.addr = c->slot[at] + vmt_unzigzag(vmt_get64(dp) & s->mask);
            dp += s->bytes;
            c->slot[at] = r.addr;
            at = (at + step) & (VMT_SLOTS - 1);
        }
        out[i] = r;
    }
    c->fetch = fetch;
    c->at = at;
    c->fetches = fp;
    c->datas = dp;
}

/* The same where events, which are few, stand between. */
static bool reader_decode_events(vmt_cursor *c, const unsigned char *code, access_record *out,
                                 size_t n)
{
    for (size_t i = 0; i < n;) {
        size_t run = i;
        while (run < n && c->symbol[code[run]].record.kind != ACCESS_EVENT)
            run++;
        reader_decode(c, code + i, out + i, run - i);
        for (i = run; i < n && c->symbol[code[i]].record.kind == ACCESS_EVENT; i++) {
            if (c->event_at == c->block.events)
                return false;
            out[i] = c->symbol[code[i]].record;
            out[i].addr = c->event_at++;
        }
    }
    return true;
}

/* All codes are below `symbols`. Eight at once: in lanes of 16 bits a code that
 * is not carries into bit 8. */
static bool reader_codes_valid(const unsigned char *code, size_t n, unsigned symbols)
{
    const uint64_t even = UINT64_C(0x00ff00ff00ff00ff);
    const uint64_t over = (VMT_SYMBOLS - symbols) * UINT64_C(0x0001000100010001);
    uint64_t seen = 0;
    size_t i = 0;
    for (; i + 8 <= n; i += 8) {
        uint64_t v = vmt_get64(code + i);
        seen |= ((v & even) + over) | ((v >> 8 & even) + over);
    }
    for (; i < n; i++)
        seen |= code[i] + (over & 0xffff);
    return (seen & ~even) == 0;
}

static vm_status reader_next(trace_cursor *base, trace_block *b, vm_error *e)
{
    vmt_cursor *c = (vmt_cursor *)base;
    memset(b, 0, sizeof *b);
    if (c->done == c->block.records && !c->ended) {
        vm_status st = reader_block(c, e);
        if (st != VM_OK)
            return st;
    }
    if (c->ended)
        return VM_OK;
    size_t n = c->block.records - c->done;
    n = n < TRACE_BLOCK ? n : TRACE_BLOCK;
    const unsigned char *code = c->code + c->done;
    if (!reader_codes_valid(code, n, c->block.symbols))
        return reader_bad(c, e, "a record has a symbol that the block does not define");
    if (!c->block.events)
        reader_decode(c, code, c->out, n);
    else if (!reader_decode_events(c, code, c->out, n))
        return reader_bad(c, e, "it holds fewer events than its records name");
    c->done += (uint32_t)n;
    bool last = c->done == c->block.records;
    if (c->fetches > c->fetches_end || c->datas > c->datas_end ||
        (last && (c->fetches != c->fetches_end || c->datas != c->datas_end ||
                  c->event_at != c->block.events)))
        return reader_bad(c, e, "its records do not add up to its size");
    b->records = c->out;
    b->count = n;
    b->events = c->events;
    b->event_count = c->block.events;
    return VM_OK;
}

static void reader_close(trace_cursor *base)
{
    vmt_cursor *c = (vmt_cursor *)base;
    vm_host host = c->host;
    stream_close(c->in);
    ZSTD_freeDCtx(c->zstd);
    host_free(&host, c->events, c->event_room * sizeof *c->events);
    host_free(&host, c->names, c->name_room);
    host_free(&host, c->packed, c->packed_room);
    host_free(&host, c->payload, VMT_PAYLOAD + READER_PAD);
    host_free(&host, c, sizeof *c);
}

static const trace_cursor_class reader_class = {"vmt", reader_next, reader_close};

bool vmt_recognise(const unsigned char *head, size_t n)
{
    return n >= 8 && memcmp(head, VMT_MAGIC, 8) == 0;
}

vm_status vmt_open(const trace_file_source *from, stream *in, trace_cursor **out, vm_error *e)
{
    const vm_host *host = &from->base.host;
    vmt_cursor *c = host_zalloc(host, sizeof *c);
    if (!c) {
        stream_close(in);
        return vm_fail_nomem(e, "a .vmt file's cursor");
    }
    c->base.cls = &reader_class;
    c->host = *host;
    c->in = in;
    c->payload = host_zalloc(host, VMT_PAYLOAD + READER_PAD);
    c->zstd =
        ZSTD_createDCtx_advanced((ZSTD_customMem){reader_zstd_alloc, reader_zstd_free, &c->host});
    unsigned char head[VMT_HEAD];
    vm_status st = c->payload && c->zstd ? VM_OK : vm_fail_nomem(e, "a .vmt file's cursor");
    if (st == VM_OK)
        st = reader_bytes(c, head, sizeof head, e);
    if (st == VM_OK && !vmt_recognise(head, sizeof head))
        st = vm_fail(e, VM_FORMAT, "%s: not a .vmt file: its first bytes are not the format's",
                     stream_path(in));
    if (st == VM_OK && (vmt_get32(head + 8) != VMT_VERSION || vmt_get32(head + 12) != 0))
        st = vm_fail(e, VM_FORMAT, "%s: version %" PRIu32 " of .vmt is not known here, only %u",
                     stream_path(in), vmt_get32(head + 8), VMT_VERSION);
    if (st != VM_OK) {
        reader_close(&c->base);
        return st;
    }
    *out = &c->base;
    return VM_OK;
}

bool vmt_totals(const trace_file_source *from, trace_totals *t)
{
    FILE *f = fopen(from->path, "rb");
    unsigned char head[VMT_HEAD], tail[VMT_TAIL];
    uint64_t blocks;
    if (!f)
        return false;
    bool ok = fread(head, 1, sizeof head, f) == sizeof head && vmt_recognise(head, sizeof head) &&
              fseek(f, -(long)VMT_TAIL, SEEK_END) == 0 &&
              fread(tail, 1, sizeof tail, f) == sizeof tail && vmt_get_tail(tail, t, &blocks);
    fclose(f);
    return ok;
}
