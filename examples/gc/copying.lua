-- Copying and marking, compared where it shows: what does the program after a collection
-- pay for where its objects lie?
--
-- A list of 4,000 nodes is made while four times as much garbage comes between. Marking
-- leaves the nodes where they are, over many pages; copying puts them one behind the
-- other. Then the program walks the list, in a process that may have 64 pages in frames.

local vmem = require "vmem"

local NODES, GARBAGE = 4000, 4

print "                          collection                     walk of the list"
print "              pages   faults       cycles     pages   faults  TLB misses       cycles"
for _, mode in ipairs { "precise", "copying" } do
  local m <close> = vmem.machine { preset = "core-i7", resident = 64 }
  local p = m:spawn()
  local h = assert(vmem.heap.open(p, "tlsf", { limit = "8MiB" }))
  local gc <close> = assert(vmem.gc { heap = h, mode = mode, space = "2MiB", roots = {} })
  local node = gc:layout { size = 48, pointers = { 0 } }
  local root = gc:root(gc:new(node))
  local last = root.address
  for _ = 2, NODES do
    for _ = 1, GARBAGE do gc:new(node) end
    local a = gc:new(node)
    gc:store(last, a)
    last = a
  end
  local done = gc:collect()

  m:reset_stats()
  local pages, count, a = {}, 0, root.address
  while a ~= 0 do
    if not pages[a >> 12] then pages[a >> 12], count = true, count + 1 end
    a = gc:load(a)
  end
  local s = m:stats()
  print(("%-10s %8d %8d %12d  %8d %8d    %8d %12d"):format(mode, done.pages, done.faults, done.cycles, count,
    s.kernel.faults, s.tlb.l1d.misses, s.cycles.total))
end
