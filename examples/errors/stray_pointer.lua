-- A pointer that leaves its block and comes down in another: redzones can't see it, since
-- the byte may be used. That the pointer belongs to the first block shows it.
--
--    int *a = malloc(64), *b = malloc(64);  a[i] = 1;     with i far too large

local vmem = require "vmem"

local m <close> = vmem.machine { preset = "core-i7" }
local p = m:spawn { name = "stray_pointer" }
local d <close> = vmem.detector { process = p, heap = assert(vmem.heap.open(p, "segregated")) }

local a, b = d:malloc(64), d:malloc(64)
local i = (b - a):value() // 4 + 3
d:store(a + i * 4, 1, 4)
print(d:reports())

--> A store of 4 bytes at 0x800000001ec is 12 bytes inside the block of 64 bytes at 0x800000001e0, but
-->   the pointer is to the block of 64 bytes at 0x80000000170
-->   at             examples/errors/stray_pointer.lua:14: in main chunk
-->   allocated at   examples/errors/stray_pointer.lua:12: in main chunk
-->   the pointer's  own block of 64 bytes at 0x80000000170
-->   allocated at   examples/errors/stray_pointer.lua:12: in main chunk
