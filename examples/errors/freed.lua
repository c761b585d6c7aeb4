-- CS:APP 9.11.9, referencing data in free heap blocks, however late.
--
--    free(x);  ...  y[i] = x[i]++;

local vmem = require "vmem"

local m <close> = vmem.machine { preset = "core-i7" }
local p = m:spawn { name = "freed" }
local d <close> = vmem.detector { process = p, heap = assert(vmem.heap.open(p, "segregated")) }

local x, y = d:calloc(10, 4), d:calloc(10, 4)
d:free(x)
for _ = 1, 1000 do d:free(d:malloc(40)) end
for i = 0, 9 do
  d:store(y + i * 4, d:load(x + i * 4, 4), 4)
end
print(d:reports())

--> A load of 4 bytes at 0x80000000170 is 0 bytes inside a freed block of 40 bytes at 0x80000000170 (10
-->   times)
-->   at             examples/errors/freed.lua:15: in main chunk
-->   allocated at   examples/errors/freed.lua:11: in main chunk
-->   freed at       examples/errors/freed.lua:12: in main chunk
