-- CS:APP 9.11.1, dereferencing bad pointers: the value in place of its address.
--
--    int val;  scanf("%d", val);

local vmem = require "vmem"

local m <close> = vmem.machine { preset = "core-i7" }
local p = m:spawn { name = "bad_pointer" }
local d <close> = vmem.detector { process = p, heap = assert(vmem.heap.open(p, "segregated")) }

local function scanf(address, number) d:store(address, number, 4) end

local function read_number()
  local main <close> = d:frame("read_number", { "val", 4 })
  d:store(main.val, 10, 4)
  scanf(d:load(main.val, 4), 42)     -- not main.val
end

print(select(2, pcall(read_number)))  -- the process dies of it
print(d:reports())

--> SIGSEGV (MAPERR): store of address 0xa by process 1
--> A store at 0xa is by a bad pointer: no mapping allows it
-->   at             examples/errors/bad_pointer.lua:11: in function scanf
-->                  examples/errors/bad_pointer.lua:16: in function ?
-->                  examples/errors/bad_pointer.lua:19: in main chunk
-->   perhaps        so small a number is rather a value than an address
