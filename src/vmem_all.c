/* vmem_all.c: the whole of vmem as one translation unit, so that the path of
 * an access is inlined across files. Compile this file alone, or every other
 * .c file, never both. */
#include "base/base.c"
