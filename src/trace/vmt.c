#include "vmt.h"

#include <zlib.h>

static uint32_t vmt_crc(const unsigned char *p, size_t n) { return (uint32_t)crc32(0, p, (uInt)n); }

/* tag and 4 reserved bytes, twelve words, 4 reserved bytes, checksum */
void vmt_put_tail(unsigned char tail[VMT_TAIL], const trace_totals *t, uint64_t blocks)
{
    const uint64_t words[] = {blocks,      t->kinds[0], t->kinds[1], t->kinds[2],
                              t->kinds[3], t->kinds[4], t->tasks,    t->pages,
                              t->first,    t->last,     t->min,      t->max};
    memset(tail, 0, VMT_TAIL);
    vmt_put32(tail, VMT_TAIL_TAG);
    for (size_t i = 0; i < sizeof words / sizeof *words; i++)
        vmt_put64(tail + 8 + 8 * i, words[i]);
    vmt_put32(tail + VMT_TAIL - 4, vmt_crc(tail, VMT_TAIL - 4));
}

bool vmt_get_tail(const unsigned char tail[VMT_TAIL], trace_totals *t, uint64_t *blocks)
{
    if (vmt_get32(tail) != VMT_TAIL_TAG ||
        vmt_get32(tail + VMT_TAIL - 4) != vmt_crc(tail, VMT_TAIL - 4))
        return false;
    uint64_t *const words[] = {blocks,       &t->kinds[0], &t->kinds[1], &t->kinds[2],
                               &t->kinds[3], &t->kinds[4], &t->tasks,    &t->pages,
                               &t->first,    &t->last,     &t->min,      &t->max};
    for (size_t i = 0; i < sizeof words / sizeof *words; i++)
        *words[i] = vmt_get64(tail + 8 + 8 * i);
    return true;
}

void vmt_put_block_head(unsigned char head[VMT_BLOCK], const vmt_block_head *b)
{
    const uint32_t words[] = {b->records, b->symbols,     b->fetch_bytes, b->data_bytes,
                              b->events,  b->event_bytes, b->flags,       b->crc};
    memset(head, 0, VMT_BLOCK);
    vmt_put32(head, VMT_BLOCK_TAG);
    vmt_put32(head + 4, b->compressed);
    vmt_put64(head + 8, b->first);
    for (size_t i = 0; i < sizeof words / sizeof *words; i++)
        vmt_put32(head + 16 + 4 * i, words[i]);
    vmt_put32(head + VMT_BLOCK - 4, vmt_crc(head, VMT_BLOCK - 4));
}

bool vmt_get_block_head(const unsigned char head[VMT_BLOCK], vmt_block_head *b)
{
    if (vmt_get32(head + VMT_BLOCK - 4) != vmt_crc(head, VMT_BLOCK - 4))
        return false;
    uint32_t *const words[] = {&b->records, &b->symbols,     &b->fetch_bytes, &b->data_bytes,
                               &b->events,  &b->event_bytes, &b->flags,       &b->crc};
    b->compressed = vmt_get32(head + 4);
    b->first = vmt_get64(head + 8);
    for (size_t i = 0; i < sizeof words / sizeof *words; i++)
        *words[i] = vmt_get32(head + 16 + 4 * i);
    return true;
}
