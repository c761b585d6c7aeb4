--- Allocators in Lua beside their twins in C, on a made trace and on recorded ones: natively, where
--- a word costs next to nothing, and through a machine. Nanoseconds a call, medians of five in
--- processor time, both sides of a row by turns; the ratio's target is 10.
---
---     make bench SPEC=--lua-allocators        half a minute

local vmem = require "vmem"
local seconds = require("clock").seconds
local folder = debug.getinfo(1, "S").source:match "^@(.*)spec/bench/lua_allocators%.lua$" or "./"

local function random_trace()
  local ops, live, id = {}, {}, 0
  math.randomseed(1)
  for i = 1, 50000 do
    if #live < 200 or math.random(2) == 1 and #live < 2000 then
      id = id + 1
      live[#live + 1] = id
      ops[i] = { "a", id, math.random(300) }
    else
      ops[i] = { "f", table.remove(live, math.random(#live)) }
    end
  end
  return vmem.heap.trace(ops)
end

local places = {
  { "native", function(what) return vmem.heap.native(what) end },
  { "machine", function(what, m) return assert(vmem.heap.open(m:spawn(), what)) end },
}

local function once(open, what, packed, ids)
  local m <close> = vmem.machine { preset = "core-i7", dram = "128MiB" }
  local h = open(what, m)
  return seconds(function() h:_replay(packed, ids) end)
end

local function row(title, twin, object, place, trace)
  local packed, ids = trace:packed()
  local c, lua, ratio = {}, {}, {}
  for i = 1, 5 do
    c[i], lua[i] = once(place[2], twin, packed, ids), once(place[2], object, packed, ids)
    ratio[i] = lua[i] / c[i]
  end
  for _, list in ipairs { c, lua, ratio } do table.sort(list) end
  print(("  %-34s %-8s %10.0f %10.0f %7.1f"):format(title, place[1], lua[3] / #trace * 1e9, c[3] / #trace * 1e9,
    ratio[3]))
end

return function()
  local traces = { { "random", random_trace() } }
  for _, name in ipairs { "compiler", "sqlite3" } do
    traces[#traces + 1] = { name, assert(vmem.heap.trace(("%sexamples/traces/%s.rep.zst"):format(folder, name))) }
  end
  print(("  %-34s %-8s %10s %10s %7s"):format("allocator, trace", "", "Lua ns", "C ns", "ratio"))
  for _, twin in ipairs { "implicit", "explicit", "segregated" } do
    local object = dofile(("%sexamples/allocators/%s.lua"):format(folder, twin))
    for _, t in ipairs(traces) do
      for _, place in ipairs(twin == "implicit" and t[1] ~= "random" and {} or places) do
        row(("%s, %s"):format(twin, t[1]), twin, object, place, t[2])
      end
    end
  end
end
