/* keymap.c: the array and the hash table of keymap.h. */
#include "keymap.h"

static size_t keymap_size(const keymap *m)
{
    return m->dense ? (size_t)m->dense : m->table ? (size_t)1 << m->bits : 0;
}

vm_status keymap_init(keymap *m, const vm_host *host, uint64_t dense, vm_error *e)
{
    *m = (keymap){.dense = dense};
    if (!dense)
        return VM_OK;
    if (dense >= UINT64_C(1) << 40)
        return vm_fail(e, VM_INVALID, "%llu keys are too many for an array",
                       (unsigned long long)dense);
    m->table = host_alloc(host, (size_t)dense * sizeof *m->table);
    if (!m->table)
        return vm_fail_nomem(e, "the ghosts of a policy");
    memset(m->table, 0xff, (size_t)dense * sizeof *m->table);
    return VM_OK;
}

void keymap_free(keymap *m, const vm_host *host)
{
    host_free(host, m->table, keymap_size(m) * sizeof *m->table);
    host_free(host, m->keys, m->nodes * sizeof *m->keys);
    *m = (keymap){0};
}

/* Multiplicative hashing (Knuth 6.4): the high bits of the product. */
static size_t keymap_home(uint64_t key, unsigned bits)
{
    return (size_t)(key * UINT64_C(0x9e3779b97f4a7c15) >> (64 - bits));
}

static void keymap_enter(uint32_t *table, unsigned bits, uint64_t key, uint32_t node)
{
    size_t mask = ((size_t)1 << bits) - 1, at = keymap_home(key, bits);
    while (table[at] != KEYMAP_NONE)
        at = (at + 1) & mask;
    table[at] = node;
}

vm_status keymap_reserve(keymap *m, const vm_host *host, uint32_t nodes, vm_error *e)
{
    if (nodes <= m->nodes)
        return VM_OK;
    unsigned bits = log2_floor((uint64_t)nodes + nodes / 3 + 1) + 1;
    size_t size = (size_t)1 << bits;
    uint32_t *table = NULL;
    uint64_t *keys = host_alloc(host, nodes * sizeof *keys);
    if (!m->dense && (!m->table || bits > m->bits))
        table = host_alloc(host, size * sizeof *table);
    if (!keys || (!m->dense && (!m->table || bits > m->bits) && !table)) {
        host_free(host, keys, nodes * sizeof *keys);
        host_free(host, table, size * sizeof *table);
        return vm_fail_nomem(e, "the ghosts of a policy");
    }
    if (m->nodes)
        memcpy(keys, m->keys, m->nodes * sizeof *keys);
    if (table) {
        memset(table, 0xff, size * sizeof *table);
        for (size_t i = 0; i < keymap_size(m); i++)
            if (m->table[i] != KEYMAP_NONE)
                keymap_enter(table, bits, keys[m->table[i]], m->table[i]);
        host_free(host, m->table, keymap_size(m) * sizeof *m->table);
        m->table = table;
        m->bits = bits;
    }
    host_free(host, m->keys, m->nodes * sizeof *m->keys);
    m->keys = keys;
    m->nodes = nodes;
    return VM_OK;
}

uint32_t keymap_find(const keymap *m, uint64_t key)
{
    if (m->dense)
        return key < m->dense ? m->table[key] : KEYMAP_NONE;
    if (!m->count)
        return KEYMAP_NONE;
    size_t mask = ((size_t)1 << m->bits) - 1, at = keymap_home(key, m->bits);
    for (; m->table[at] != KEYMAP_NONE; at = (at + 1) & mask)
        if (m->keys[m->table[at]] == key)
            return m->table[at];
    return KEYMAP_NONE;
}

bool keymap_put(keymap *m, uint64_t key, uint32_t node)
{
    m->keys[node] = key;
    if (m->dense && key >= m->dense)
        return false;
    m->count++;
    if (m->dense)
        m->table[key] = node;
    else
        keymap_enter(m->table, m->bits, key, node);
    return true;
}

void keymap_drop(keymap *m, uint32_t node)
{
    uint64_t key = m->keys[node];
    if (m->dense && key >= m->dense)
        return;
    m->count--;
    if (m->dense) {
        m->table[key] = KEYMAP_NONE;
        return;
    }
    size_t mask = ((size_t)1 << m->bits) - 1, hole = keymap_home(key, m->bits);
    while (m->table[hole] != node)
        hole = (hole + 1) & mask;
    /* Those behind the hole that could not lie at home move up, up to a gap. */
    for (size_t at = (hole + 1) & mask; m->table[at] != KEYMAP_NONE; at = (at + 1) & mask) {
        size_t home = keymap_home(m->keys[m->table[at]], m->bits);
        if (((at - home) & mask) < ((at - hole) & mask))
            continue;
        m->table[hole] = m->table[at];
        hole = at;
    }
    m->table[hole] = KEYMAP_NONE;
}

const char *keymap_check(const keymap *m)
{
    size_t n = 0;
    for (size_t i = 0; i < keymap_size(m); i++) {
        if (m->table[i] == KEYMAP_NONE)
            continue;
        n++;
        if (m->table[i] >= m->nodes)
            return "keymap: a node is out of range";
        if (keymap_find(m, m->keys[m->table[i]]) != m->table[i])
            return "keymap: a key does not lead to its node";
    }
    return n == m->count ? NULL : "keymap: the count of keys is wrong";
}
