/* lackey_fast.h: the usual lines of a Lackey trace, many at a time; where a
 * processor has AVX2 (seen at run time) by that, else by words of 8 bytes. Both
 * take exactly the lines of 1 to 16 hexadecimal digits and a size of 1 to 99,
 * and leave every other line, wrong ones too, to a careful parser.
 *
 * The text may be read up to 64 bytes before its begin and beyond its end.
 */
#ifndef VM_LACKEY_FAST_H
#define VM_LACKEY_FAST_H

#include "../base/access.h"

/* The offsets of the first `most` line breaks in n bytes; their number. */
size_t lackey_breaks(const char *p, size_t n, uint32_t *at, size_t most);

/* Parse lines from `first` on, of which line i ends at text[breaks[i]], into
 * out[*count ...]. The index of the line where it stopped, `lines` at the end. */
size_t lackey_lines(const char *text, const uint32_t *breaks, size_t first, size_t lines,
                    uint16_t task, access_record *out, size_t *count);

#endif
