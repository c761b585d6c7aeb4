-- Frees of what is no block, or no longer, or another allocator's.
--
--    free(a);  free(a);       free(b + 1);       free(new int[4]);

local vmem = require "vmem"

local m <close> = vmem.machine { preset = "core-i7" }
local p = m:spawn { name = "wrong_frees" }
local d <close> = vmem.detector { process = p, heap = assert(vmem.heap.open(p, "segregated")) }

local a, b, c = d:malloc(16), d:malloc(16), d:new_array(16)
d:free(a)
d:free(a)
d:free(b + 4)
d:free(c)
print(d:reports())

--> free of 0x80000000170: the freed block of 16 bytes at 0x80000000170 was freed already
-->   at             examples/errors/wrong_frees.lua:13: in main chunk
-->   allocated at   examples/errors/wrong_frees.lua:11: in main chunk
-->   freed at       examples/errors/wrong_frees.lua:12: in main chunk
-->
--> free of 0x800000001b4, 4 bytes inside: the block of 16 bytes at 0x800000001b0 is not what malloc
-->   gave
-->   at             examples/errors/wrong_frees.lua:14: in main chunk
-->   allocated at   examples/errors/wrong_frees.lua:11: in main chunk
-->
--> free of 0x800000001f0: the block of 16 bytes at 0x800000001f0 came from new_array
-->   at             examples/errors/wrong_frees.lua:15: in main chunk
-->   allocated at   examples/errors/wrong_frees.lua:11: in main chunk
