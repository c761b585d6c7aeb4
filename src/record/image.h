/* image.h: what the emulator itself maps before the program's first instruction,
 * the program and its dynamic loader, told as if the program had mapped it. Found
 * in /proc/self/maps, as what is new there since the plugin was loaded; sizes and
 * protections are those of the ELF files' headers, since the emulator does not
 * protect the host's pages as the program's are.
 */
#ifndef VM_IMAGE_H
#define VM_IMAGE_H

#include "ring.h"

/* When the plugin is loaded, before the program is. */
void image_begin(void);
/* At the first block of the program: writes events to the tap. `guest_base` is
 * where the program's address 0 is in this process. */
void image_tell(ring_tap *t, uint64_t guest_base);

#endif
