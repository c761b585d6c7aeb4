-- CS:APP 9.11.5, off-by-one errors.
--
--    int **A = malloc(n * sizeof(int *));
--    for (i = 0; i <= n; i++) A[i] = malloc(m * sizeof(int));

local vmem = require "vmem"

local m <close> = vmem.machine { preset = "core-i7" }
local p = m:spawn { name = "off_by_one" }
local d <close> = vmem.detector { process = p, heap = assert(vmem.heap.open(p, "segregated")) }

local function make_array(n, k)
  local A = d:calloc(n, 8)
  for i = 0, n do                     -- not n - 1
    d:store(A + i * 8, d:malloc(k * 4))
  end
  return A
end

make_array(5, 3)
print(d:reports())

--> A store of 8 bytes at 0x80000000198 is 0 bytes behind the end of a block of 40 bytes at
-->   0x80000000170
-->   at             examples/errors/off_by_one.lua:15: in function make_array
-->                  examples/errors/off_by_one.lua:20: in main chunk
-->   allocated at   examples/errors/off_by_one.lua:13: in function make_array
-->                  examples/errors/off_by_one.lua:20: in main chunk
-->   perhaps        it begins exactly at the end: one element too many (off by one)?
