-- CS:APP 9.11.8, referencing nonexistent variables: a function returns its local's address.
--
--    int *stackref() { int val;  return &val; }

local vmem = require "vmem"

local m <close> = vmem.machine { preset = "core-i7" }
local p = m:spawn { name = "returned_local" }
local d <close> = vmem.detector { process = p, heap = assert(vmem.heap.open(p, "segregated")) }

local function stackref()
  local f <close> = d:frame("stackref", { "val", 4 })
  return f:leave(f.val)
end

local function other()
  local f <close> = d:frame("other", { "count", 4 })
  d:store(f.count, 7, 4)
  return f:leave(d:load(f.count, 4))
end

local a = stackref()
other()                               -- its frame is where the other was
d:store(a, 1, 4)
print(d:reports())

--> Function stackref returns a pointer to the variable val of 4 bytes at 0x7ffffbffffe0, which ends
-->   with it
-->   at             examples/errors/returned_local.lua:13: in function stackref
-->                  examples/errors/returned_local.lua:22: in main chunk
-->   declared at    examples/errors/returned_local.lua:12: in function stackref
-->                  examples/errors/returned_local.lua:22: in main chunk
-->   perhaps        allocate it, or let the caller give the memory
-->
--> A store of 4 bytes at 0x7ffffbffffe0 is 0 bytes inside the dead variable val of 4 bytes at
-->   0x7ffffbffffe0
-->   at             examples/errors/returned_local.lua:24: in main chunk
-->   declared at    examples/errors/returned_local.lua:12: in function stackref
-->                  examples/errors/returned_local.lua:22: in main chunk
-->   left at        examples/errors/returned_local.lua:13: in function stackref
-->                  examples/errors/returned_local.lua:22: in main chunk
