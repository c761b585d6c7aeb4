/* pack.h: a file written as a whole, compressed as its name ends: .gz, .zst, or plain.
 * What stream.h reads back.
 */
#ifndef VM_PACK_H
#define VM_PACK_H

#include "../base/base.h"

/* Errors: VM_IO, with errno; VM_NOMEM. A file that was there before stays if it fails. */
vm_status pack_file(const vm_host *host, const char *path, const void *bytes, size_t n,
                    vm_error *e);

#endif
