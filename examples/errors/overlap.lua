-- memcpy is for blocks that do not overlap.
--
--    memcpy(s, s + 1, strlen(s));

local vmem = require "vmem"

local m <close> = vmem.machine { preset = "core-i7" }
local p = m:spawn { name = "overlap" }
local d <close> = vmem.detector { process = p, heap = assert(vmem.heap.open(p, "segregated")) }

local s = d:malloc(16)
d:write(s, "overlapping\0")
d:copy(s, s + 1, 11)
print(d:reports())

--> memcpy of 11 bytes from 0x80000000171 to 0x80000000170: they overlap by 10 bytes
-->   at             examples/errors/overlap.lua:13: in main chunk
-->   allocated at   examples/errors/overlap.lua:11: in main chunk
