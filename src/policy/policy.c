#include "policy.h"

const policy_class *const policy_classes[] = {&policy_fifo,   &policy_lru,       &policy_clock,
                                              &policy_random, &policy_tree_plru, NULL};

const policy_class *policy_find(const char *name)
{
    for (size_t i = 0; policy_classes[i]; i++)
        if (strcmp(policy_classes[i]->name, name) == 0)
            return policy_classes[i];
    return NULL;
}

vm_status policy_new(const vm_host *host, const policy_class *cls, const policy_config *cfg,
                     policy **out, vm_error *e)
{
    policy *p = host_zalloc(host, cls->size);
    *out = NULL;
    if (!p)
        return vm_fail_nomem(e, "a replacement policy");
    p->cls = cls;
    p->host = host;
    p->cfg = *cfg;
    vm_status s = cls->init(p, e);
    /* Sets are small and all in use at once; one set of frames grows as needed. */
    if (s == VM_OK && cfg->sets > 1)
        s = cls->reserve(p, cfg->slots, e);
    if (s != VM_OK) {
        policy_delete(p);
        return s;
    }
    *out = p;
    return VM_OK;
}

void policy_delete(policy *p)
{
    if (p) {
        p->cls->free(p);
        host_free(p->host, p, p->cls->size);
    }
}

vm_status policy_reserve(policy *p, uint32_t n, vm_error *e)
{
    if (n <= p->room)
        return VM_OK;
    /* Doubling, so that growing frame by frame costs no more than growing once. */
    if (n < p->room * UINT64_C(2))
        n = p->room * 2;
    return p->cls->reserve(p, n > p->cfg.slots ? p->cfg.slots : n, e);
}
