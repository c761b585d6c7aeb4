--- What an error detector costs: accesses, calls of the allocator and frames from Lua, in
--- nanoseconds each, without it and with it.

local vmem = require "vmem"
local clock = require "clock"

local function ns(n, f) return clock.median_seconds(function() f(n) end) / n * 1e9 end

local rows = {
  { "p:bind \"load\"", 1000000, function(o, n)
    local load, a = o.p:bind "load", o.a
    for i = 1, n do load(a + (i & 8191) * 8) end
  end },
  { "p:store", 1000000, function(o, n)
    local p, a = o.p, o.a
    for i = 1, n do p:store(a + (i & 8191) * 8, i) end
  end },
  { "h:malloc, h:free", 100000, function(o, n)
    local h = o.h
    for i = 1, n do h:free(h:malloc(i & 255)) end
  end },
  { "d:load", 1000000, function(o, n)
    local d, v = o.d, o.v
    for _ = 1, n do d:load(v) end
  end, true },
  { "d:store", 1000000, function(o, n)
    local d, v = o.d, o.v
    for i = 1, n do d:store(v, i) end
  end, true },
  { "value + 8", 1000000, function(o, n)
    local v, w = o.v, nil
    for _ = 1, n do w = v + 8 end
    return w
  end, true },
  { "a frame of two variables", 100000, function(o, n)
    local d = o.d
    for _ = 1, n do d:frame("f", { "a", 16 }, { "b", 8 }):leave() end
  end, true },
}

local function setup(watched)
  local o = { m = vmem.machine { preset = "core-i7", dram = "64MiB" } }
  o.p = o.m:spawn()
  o.h = vmem.heap.open(o.p, "segregated", { limit = "1GiB" })
  o.a = o.h:malloc(65536)
  o.d = watched and vmem.detector { process = o.p, heap = o.h }
  o.v = o.d and o.d:pointer(o.a)
  return o
end

return function()
  local plain, watched = setup(false), setup(true)
  print "Nanoseconds, medians of three."
  print(("%-26s %10s %10s"):format("", "without", "watched"))
  for _, row in ipairs(rows) do
    local without = row[4] and "" or ("%.0f"):format(ns(row[2], function(n) row[3](plain, n) end))
    print(("%-26s %10s %10.0f"):format(row[1], without, ns(row[2], function(n) row[3](watched, n) end)))
  end
end
