#include "curve.h"

extern const study_curve_class study_curve_lru, study_curve_opt;

const study_curve_class *const study_curve_classes[] = {&study_curve_lru, &study_curve_opt, NULL};

vm_status study_curve_new(const vm_host *host, const study_curve_class *cls, const study_refs *refs,
                          study_curve **out, vm_error *e)
{
    study_curve *c = host_zalloc(host, cls->size);
    *out = NULL;
    if (!c)
        return vm_fail_nomem(e, "a miss curve");
    c->cls = cls;
    c->host = *host;
    c->refs = refs;
    c->hits = host_zalloc(host, (refs->pages + 1) * sizeof *c->hits);
    vm_status s = c->hits ? cls->init(c, e) : vm_fail_nomem(e, "a miss curve");
    if (s != VM_OK) {
        study_curve_free(c);
        return s;
    }
    *out = c;
    return VM_OK;
}

void study_curve_free(study_curve *c)
{
    if (!c)
        return;
    vm_host host = c->host;
    c->cls->free(c);
    host_free(&host, c->hits, (c->refs->pages + 1) * sizeof *c->hits);
    host_free(&host, c, c->cls->size);
}

void study_curve_to(study_curve *c, size_t until)
{
    c->cls->run(c, until < c->refs->count ? until : c->refs->count);
}

void study_curve_finish(study_curve *c)
{
    uint32_t left = (uint32_t)c->refs->count;
    c->hits[0] = left;
    for (size_t n = 1; n <= c->refs->pages; n++) {
        left -= c->hits[n];
        c->hits[n] = left;
    }
}
