/* curve.h: the misses at every memory size in one pass, of policies whose memory
 * of n frames is always a part of that of n + 1 frames (stack policies): pages
 * stand in a stack, and n frames hit what stands in the first n places.
 * Source: Mattson et al., "Evaluation techniques for storage hierarchies", 1970.
 *
 * Invariants: after a reference its page is first in the stack; the first n pages
 * of the stack are what n frames would hold.
 */
#ifndef VM_STUDY_CURVE_H
#define VM_STUDY_CURVE_H

#include "refs.h"

typedef struct study_curve study_curve;

typedef struct study_curve_class {
    const char *policy; /* its name */
    const char *doc;    /* the algorithm, its cost, its source */
    bool future;        /* wants study_refs_next before */
    size_t size;        /* of the instance; begins with a study_curve */
    vm_status (*init)(study_curve *c, vm_error *e);
    void (*free)(study_curve *c); /* also after a failed init */
    void (*run)(study_curve *c, size_t until);
} study_curve_class;

struct study_curve {
    const study_curve_class *cls;
    vm_host host;
    const study_refs *refs; /* the caller's, whole, unchanged while this lives */
    size_t at;              /* references served */
    uint32_t live;          /* different pages among them */
    uint32_t *hits; /* by place in the stack, 1 .. pages: references that found their page there */
};

/* The rows, NULL behind the last. */
extern const study_curve_class *const study_curve_classes[];

/* All memory is got here. */
vm_status study_curve_new(const vm_host *host, const study_curve_class *cls, const study_refs *refs,
                          study_curve **out, vm_error *e);
void study_curve_free(study_curve *c); /* NULL is fine */

/* Serve references up to position `until`, or the end. */
void study_curve_to(study_curve *c, size_t until);

/* At the end, once: c->hits[n] becomes the misses of n frames, 0 .. pages. */
void study_curve_finish(study_curve *c);

#endif
