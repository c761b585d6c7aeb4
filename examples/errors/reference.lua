-- CS:APP 9.11.6, referencing a pointer instead of the object it points to.
--
--    int *packet = binheap[0];  binheap[0] = binheap[*size - 1];
--    *size--;                                    should be (*size)--
--    heapify(binheap, *size, 0);

local vmem = require "vmem"

local m <close> = vmem.machine { preset = "core-i7" }
local p = m:spawn { name = "reference" }
local d <close> = vmem.detector { process = p, heap = assert(vmem.heap.open(p, "segregated")) }

local function delete(binheap, size)
  local packet = d:load(binheap)
  d:store(binheap, d:load(binheap + (d:load(size, 4) - 1) * 8))
  size = size - 4                     -- *size-- moves the pointer
  return packet, d:load(size, 4)      -- what heapify is called with
end

local main <close> = d:frame("main", { "size", 4 })
local binheap = d:calloc(8, 8)
d:store(main.size, 8, 4)
delete(binheap, main.size)
print(d:reports())

--> A load of 4 bytes at 0x7ffffbffffdc is 4 bytes before the start of the variable size of 4 bytes at
-->   0x7ffffbffffe0
-->   at             examples/errors/reference.lua:17: in function delete
-->                  examples/errors/reference.lua:23: in main chunk
-->   declared at    examples/errors/reference.lua:20: in main chunk
