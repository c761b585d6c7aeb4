/* locality.h: what a reference string tells of its program without a policy: times
 * between references to a page, working sets, page-fault frequency, phases.
 *
 * Units: times and windows are numbers of references.
 */
#ifndef VM_STUDY_LOCALITY_H
#define VM_STUDY_LOCALITY_H

#include "refs.h"

/* --- times of reuse ------------------------------------------------------------------ */

/* How many intervals there are, and their sum. */
typedef struct study_span {
    uint64_t count, sum;
} study_span;

/* Intervals by the windows that cover them: row k has those above windows[k - 1] and
 * not above windows[k]; the row behind the last window has the rest. */
typedef struct study_reuse {
    study_span gap;   /* between two references to a page that follow each other */
    study_span end;   /* from a page's last reference to the end of the string, both counted */
    study_span first; /* from the beginning to a page's first reference, both counted */
} study_reuse;

/* `windows` ascends; rows: one more than windows, cleared here. One pass; from it follow
 * for each window, exactly, the working set's mean size and miss rate (Denning, "The
 * working set model for program behavior", 1968; Denning and Schwartz 1972) and the
 * footprint (Xiang et al., "Linear-time modeling of program working set", 2011). */
vm_status study_reuse_times(const vm_host *host, const study_refs *refs, const uint64_t *windows,
                            size_t count, study_reuse *rows, vm_error *e);

/* --- page-fault frequency ---------------------------------------------------------------- */

typedef struct study_pff {
    uint64_t faults;
    uint64_t pages; /* sum of resident pages over all references; times mean size */
    uint64_t most;  /* resident pages at once */
} study_pff;

/* The resident set changes at faults only: if `threshold` references or more were made
 * since the last fault, that one counted, pages that none of them touched go. Then the
 * page comes.
 * Source: Chu and Opderbeck, "Program behavior and the page-fault-frequency
 * replacement algorithm", 1976. */
vm_status study_pff_run(const vm_host *host, const study_refs *refs, uint64_t threshold,
                        study_pff *out, vm_error *e);

/* --- phases --------------------------------------------------------------------------------- */

typedef struct study_window {
    uint32_t pages; /* different ones in this window */
    uint32_t kept;  /* of these, in the window before, too */
} study_window;

/* The string in windows of `length`, the last of which may be shorter; `out`: room for
 * all of them. Their sets' difference marks changes of phase (Dhodapkar and Smith,
 * "Managing multi-configuration hardware via dynamic working set analysis", 2002). */
vm_status study_windows(const vm_host *host, const study_refs *refs, uint64_t length,
                        study_window *out, vm_error *e);

#endif
