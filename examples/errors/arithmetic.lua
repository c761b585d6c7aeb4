-- CS:APP 9.11.7, misunderstanding pointer arithmetic: it counts objects, not bytes.
--
--    int *search(int *p, int val)
--    { while (*p && *p != val) p += sizeof(int); return p; }     should be p++

local vmem = require "vmem"

local m <close> = vmem.machine { preset = "core-i7" }
local p = m:spawn { name = "arithmetic" }
local d <close> = vmem.detector { process = p, heap = assert(vmem.heap.open(p, "segregated")) }

local function search(a, val)
  local x = d:load(a, 4)
  while x:test() and not x:eq(val):test() do
    a = a + 4 * 4
    x = d:load(a, 4)
    if d:errors() > 0 then break end  -- a C program would run on
  end
  return a
end

local list = d:calloc(6, 4)           -- 1 2 3 4 5 0
for i = 0, 4 do d:store(list + i * 4, i + 1, 4) end
search(list, 3)
print(d:reports())

--> A load of 4 bytes at 0x80000000190 is 8 bytes behind the end of a block of 24 bytes at 0x80000000170
-->   at             examples/errors/arithmetic.lua:16: in function search
-->                  examples/errors/arithmetic.lua:24: in main chunk
-->   allocated at   examples/errors/arithmetic.lua:22: in main chunk
