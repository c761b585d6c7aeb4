--- What is in a trace of allocations: how many calls, of which sizes, how long blocks live.
--
-- A block begins with `a`, or `r` of an id that has none, and ends with its `f`. A size is
-- what a block was first asked for; realloc changes what is live, not that. A lifetime is
-- the number of operations between the two, of the blocks that end.

---@class vmem.heap.Facts
---@field operations integer
---@field allocations integer # blocks
---@field reallocations integer
---@field frees integer # of NULL, too
---@field bytes integer # that the blocks were first asked for
---@field peak integer # bytes at once, at most
---@field peak_op integer
---@field kept integer # blocks that are never freed
---@field kept_bytes integer # and what they have in the end
---@field median integer # of the sizes
---@field largest integer
---@field lifetime? integer # the median
---@field sizes { upto: integer, count: integer }[] # by powers of two, those that occur; 0 by itself

local function median(list)
  table.sort(list)
  return list[(#list + 1) // 2]
end

---@param t vmem.heap.Trace
---@return vmem.heap.Facts
return function(t)
  local born, now, first, lives, counts = {}, {}, {}, {}, {}
  local out = { operations = #t, allocations = 0, reallocations = 0, frees = 0, bytes = 0, peak = t.peak,
    peak_op = t.peak_op, kept = 0, kept_bytes = 0, sizes = {} }
  for i, kind in ipairs(t.kind) do
    local id, size = t.id[i], t.size[i]
    if kind == "f" then
      out.frees = out.frees + 1
      if born[id] then lives[#lives + 1] = i - born[id] end
      born[id], now[id] = nil, nil
    elseif kind == "r" and born[id] then
      out.reallocations = out.reallocations + 1
      now[id] = size
    else
      if born[id] then -- its number was given away while it lived
        out.kept, out.kept_bytes = out.kept + 1, out.kept_bytes + now[id]
      end
      out.allocations, out.bytes = out.allocations + 1, out.bytes + size
      born[id], now[id], first[#first + 1] = i, size, size
    end
  end
  for id in pairs(born) do
    out.kept, out.kept_bytes = out.kept + 1, out.kept_bytes + now[id]
  end
  for _, size in ipairs(first) do
    local upto = size == 0 and 0 or 1
    while upto < size do upto = upto < 1 << 62 and upto << 1 or math.maxinteger end
    counts[upto] = (counts[upto] or 0) + 1
  end
  for upto, count in pairs(counts) do out.sizes[#out.sizes + 1] = { upto = upto, count = count } end
  table.sort(out.sizes, function(a, b) return a.upto < b.upto end)
  out.lifetime = median(lives)
  out.median = median(first) or 0
  out.largest = first[#first] or 0
  return out
end
