/* format.h: the trace formats that can be read, one row of a table each.
 *
 * A format is recognised by the first bytes of its content, the rows asked in
 * order: the strict ones first. `open` takes over the stream, also when it
 * fails, and yields a cursor that stands before the first record.
 */
#ifndef VM_FORMAT_H
#define VM_FORMAT_H

#include "stream.h"
#include "trace.h"

typedef struct trace_format trace_format;

/* A trace in a file. */
typedef struct trace_file_source {
    trace_source base;
    const trace_format *format;
    char *path;
    size_t path_size;
    uint64_t page; /* bytes of a page in lists of page numbers */
    uint16_t task; /* of formats that have no task numbers */
    bool sized;    /* a file of `bytes`, not a pipe */
    uint64_t bytes;
    const char *codec;
    stream *first;     /* of a pipe, which can be opened only once: for its only pass */
    trace_lines lines; /* of the format "pattern" */
} trace_file_source;

struct trace_format {
    trace_source_class source; /* its name is the format's */
    const char *doc;
    /* `n` bytes are all of the data, or STREAM_HEAD of them. */
    bool (*recognise)(const unsigned char *head, size_t n);
    vm_status (*open)(const trace_file_source *from, stream *in, trace_cursor **out, vm_error *e);
    bool (*totals)(const trace_file_source *from, trace_totals *t); /* may be NULL */
};

/* The rows, in order; NULL after the last. */
const trace_format *trace_format_at(size_t i);

/* Text whose lines somebody else parses; no row, since content can't tell it. */
extern const trace_format format_pattern;

bool vmt_recognise(const unsigned char *head, size_t n);
vm_status vmt_open(const trace_file_source *from, stream *in, trace_cursor **out, vm_error *e);
bool vmt_totals(const trace_file_source *from, trace_totals *t);

bool lackey_recognise(const unsigned char *head, size_t n);
vm_status lackey_open(const trace_file_source *from, stream *in, trace_cursor **out, vm_error *e);

bool din_recognise(const unsigned char *head, size_t n);
vm_status din_open(const trace_file_source *from, stream *in, trace_cursor **out, vm_error *e);

bool pages_recognise(const unsigned char *head, size_t n);
vm_status pages_open(const trace_file_source *from, stream *in, trace_cursor **out, vm_error *e);

bool arc_recognise(const unsigned char *head, size_t n);
vm_status arc_open(const trace_file_source *from, stream *in, trace_cursor **out, vm_error *e);

bool lirs_recognise(const unsigned char *head, size_t n);
vm_status lirs_open(const trace_file_source *from, stream *in, trace_cursor **out, vm_error *e);

bool csv_recognise(const unsigned char *head, size_t n);
vm_status csv_open(const trace_file_source *from, stream *in, trace_cursor **out, vm_error *e);

bool oracle_recognise(const unsigned char *head, size_t n);
vm_status oracle_open(const trace_file_source *from, stream *in, trace_cursor **out, vm_error *e);

vm_status pattern_open(const trace_file_source *from, stream *in, trace_cursor **out, vm_error *e);

bool champsim_recognise(const unsigned char *head, size_t n);
vm_status champsim_open(const trace_file_source *from, stream *in, trace_cursor **out, vm_error *e);

#endif
