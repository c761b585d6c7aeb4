/* touches.h: can this instruction fault: does it read or write memory, or divide?
 * Read from its bytes, roughly: it is asked only where a block was left early,
 * to tell at which instruction. Covers x86-64, AArch64 and RISC-V.
 */
#ifndef VM_TOUCHES_H
#define VM_TOUCHES_H

#include <stdbool.h>
#include <stddef.h>

typedef bool touches_fn(const unsigned char *code, size_t size);

touches_fn touches_x86_64, touches_aarch64, touches_riscv64;

#endif
