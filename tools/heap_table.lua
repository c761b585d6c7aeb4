-- heap_table.lua: the table of docs/heaps.md: peak utilization of allocators by all traces
-- that are bundled. `make docs` writes it, spec/heap_compare_spec.lua compares.
--
--    dofile("tools/heap_table.lua")(root, without) -> the document, and as it should be,
--       without the rows of some allocators: { implicit = true }

local vmem = require "vmem"

-- Besides each allocator as it is.
local variants = {
  { "explicit", order = "address" }, { "explicit", tags = "free" }, { "segregated", tags = "free" },
  { "tree", tags = "free" }, { "tree", tags = "free", align = 8 }, { "buddy", system = "fibonacci" },
}

local function read(path)
  local file = assert(io.open(path, "rb"))
  local text = file:read "a"
  file:close()
  return text
end

local function traces(root)
  local list, pipe = {}, assert(io.popen(("ls %s/examples/traces/*.rep*"):format(root)))
  for path in pipe:lines() do list[#list + 1] = path end
  pipe:close()
  return list
end

return function(root, without)
  local allocators = {}
  for _, row in ipairs(vmem.heap.allocators()) do
    if not (without and without[row.name]) then allocators[#allocators + 1] = row.name end
  end
  table.move(variants, 1, #variants, #allocators + 1, allocators)
  local c = assert(vmem.heap.compare { traces = traces(root), allocators = allocators, machine = false })
  local was = read(root .. "/docs/heaps.md")
  local mark = "<!-- peak utilization: make docs -->\n"
  local first, rest = was:find(mark .. "\n", 1, true)
  local stop = was:find("\n" .. mark, rest, true)
  return was, was:sub(1, first - 1) .. mark .. "\n" .. c:markdown() .. "\n" .. was:sub(stop)
end
