-- Garbage that is reachable only by a false pointer (CS:APP 9.10.3).
--
-- A conservative collector can't tell an integer from an address. Here a counter's value
-- happens to be the address of a list that the program has dropped: so all of the list
-- stays. A precise collector knows that the counter is none of the record's pointers.

local vmem = require "vmem"

for _, mode in ipairs { "conservative", "precise" } do
  local m <close> = vmem.machine { preset = "core-i7" }
  local h = assert(vmem.heap.open(m:spawn(), "tlsf"))
  local gc <close> = assert(vmem.gc { heap = h, mode = mode })

  local record = gc:layout { size = 16, pointers = { 0 } } -- a list; a counter
  local node = gc:layout { size = 16, pointers = { 0 } }   -- the next node; a value
  local root = gc:root(gc:new(record))

  for value = 1, 5 do
    local a = gc:new(node)
    gc:store(a, gc:load(root.address))
    gc:store(a + 8, value)
    gc:store(root.address, a)
  end
  gc:store(root.address + 8, gc:load(root.address)) -- the counter comes to that number
  gc:store(root.address, 0)                         -- and the list is dropped

  print(("%-12s  %s"):format(mode, gc:collect()))
end
