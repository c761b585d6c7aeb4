/* vmt.h: what the writer and the reader of `.vmt` files share: the layout and
 * the prediction of addresses. docs/vmt.md describes the format byte by byte.
 *
 * A file is a head, blocks, and a tail with the totals. A block holds up to
 * VMT_RECORDS records as streams of their own, which compress better and
 * decode faster than records in a row:
 *    symbols       8 bytes each: a (size, task, kind, bytes of delta) in use
 *    records       1 byte each: the number of its symbol
 *    fetch deltas  0..8 bytes a fetch: the address less its prediction
 *    data deltas   the same for loads, stores and modifies
 *    events        arguments and names, in order
 *
 * Prediction. A fetch follows the fetch before it: its address plus its size.
 * A data access repeats the address that the same instruction used last: a
 * table of VMT_SLOTS addresses is indexed by a hash of the last fetch's
 * address plus the number of data accesses since. Where a block's flags say
 * VMT_FLAT (a trace without fetches), slot 0 serves all data, which makes the
 * prediction the data access before. A block with VMT_RESTART forgets all that
 * came before it, so that reading can begin there.
 *
 * All numbers are little-endian. A delta is a zigzag-coded difference modulo
 * 2^64. Checksums are CRC-32 as in gzip; the compressed part is one zstd frame
 * with zstd's own checksum of what it holds.
 */
#ifndef VM_VMT_H
#define VM_VMT_H

#include "trace.h"

#define VMT_MAGIC     "\x8aVMT\r\n\x1a\n" /* damaged by any text conversion */
#define VMT_VERSION   1u
#define VMT_HEAD      16u         /* bytes: magic, version, reserved */
#define VMT_BLOCK     56u         /* bytes of a block's header */
#define VMT_TAIL      112u        /* bytes: totals */
#define VMT_BLOCK_TAG 0x42544d56u /* "VMTB" */
#define VMT_TAIL_TAG  0x45544d56u /* "VMTE" */

#define VMT_RECORDS (1u << 18) /* in a block, at most */
#define VMT_STREAM  (1u << 20) /* bytes of each delta stream and of the events, at most */
#define VMT_SYMBOLS 256u
#define VMT_PAYLOAD (VMT_SYMBOLS * 8 + VMT_RECORDS + 3 * VMT_STREAM)
#define VMT_EVENT   48u /* bytes of an event before its name */
#define VMT_NO_NAME 0xffffu

#define VMT_RESTART 1u
#define VMT_FLAT    2u
#define VMT_FLAGS   3u /* all that are defined */

#define VMT_SLOT_BITS 12
#define VMT_SLOTS     (1u << VMT_SLOT_BITS)
#define VMT_FACTOR    UINT64_C(0x9e3779b97f4a7c15) /* 2^64 divided by the golden ratio */

VM_INLINE uint32_t vmt_slot(uint64_t pc)
{
    return (uint32_t)((pc * VMT_FACTOR) >> (64 - VMT_SLOT_BITS));
}
VM_INLINE uint64_t vmt_zigzag(uint64_t d) { return (d << 1) ^ (uint64_t)((int64_t)d >> 63); }
VM_INLINE uint64_t vmt_unzigzag(uint64_t z) { return (z >> 1) ^ (0 - (z & 1)); }

typedef struct vmt_block_head {
    uint64_t first; /* records before this block */
    uint32_t compressed, records, symbols, fetch_bytes, data_bytes, events, event_bytes, flags;
    uint32_t crc; /* of the compressed bytes */
} vmt_block_head;

/* Little-endian numbers at any address; compilers make one move of them. */
VM_INLINE uint16_t vmt_get16(const unsigned char *p) { return (uint16_t)(p[0] | p[1] << 8); }
VM_INLINE uint32_t vmt_get32(const unsigned char *p)
{
    return (uint32_t)p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
}
VM_INLINE uint64_t vmt_get64(const unsigned char *p)
{
    return vmt_get32(p) | (uint64_t)vmt_get32(p + 4) << 32;
}
VM_INLINE void vmt_put16(unsigned char *p, uint32_t x)
{
    p[0] = (unsigned char)x;
    p[1] = (unsigned char)(x >> 8);
}
VM_INLINE void vmt_put32(unsigned char *p, uint32_t x)
{
    vmt_put16(p, x);
    vmt_put16(p + 2, x >> 16);
}
VM_INLINE void vmt_put64(unsigned char *p, uint64_t x)
{
    vmt_put32(p, (uint32_t)x);
    vmt_put32(p + 4, (uint32_t)(x >> 32));
}

/* The tail: totals and the number of blocks, between a tag and a checksum. */
void vmt_put_tail(unsigned char tail[VMT_TAIL], const trace_totals *t, uint64_t blocks);
bool vmt_get_tail(const unsigned char tail[VMT_TAIL], trace_totals *t, uint64_t *blocks);
void vmt_put_block_head(unsigned char head[VMT_BLOCK], const vmt_block_head *b);
bool vmt_get_block_head(const unsigned char head[VMT_BLOCK], vmt_block_head *b);

#endif
