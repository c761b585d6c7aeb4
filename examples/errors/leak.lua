-- CS:APP 9.11.10, memory leaks.
--
--    void leak(int n) { int *x = malloc(n * sizeof(int));  return; }

local vmem = require "vmem"

local m <close> = vmem.machine { preset = "core-i7" }
local p = m:spawn { name = "leak" }
local d <close> = vmem.detector { process = p, heap = assert(vmem.heap.open(p, "segregated")) }

local function node(value, next)
  local a = d:calloc(2, 8)
  d:store(a, value)
  d:store(a + 8, next or 0)
  return a
end

local function leak(n) d:malloc(n * 4) end

local main <close> = d:frame("main", { "list", 8 }, { "middle", 8 })
d:store(main.list, node(1, node(2)))
d:store(main.middle, d:malloc(100) + 50)
leak(25)
node(3, node(4, node(5)))
print(d:leaks())

--> definitely lost:  116 bytes in 2 blocks
-->   100 bytes in 1, allocated at examples/errors/leak.lua:18: in function leak
-->   16 bytes in 1, allocated at examples/errors/leak.lua:12: in function node
--> indirectly lost:  32 bytes in 2 blocks
-->   32 bytes in 2, allocated at examples/errors/leak.lua:12: in function node
--> possibly lost:    100 bytes in 1 block
-->   100 bytes in 1, allocated at examples/errors/leak.lua:22: in main chunk
--> still reachable:  32 bytes in 2 blocks
-->   32 bytes in 2, allocated at examples/errors/leak.lua:12: in function node
