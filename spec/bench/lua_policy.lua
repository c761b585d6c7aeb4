--- Policies in Lua beside their twins in C, in paging studies and in machines. Nanoseconds
--- a reference, medians of three in processor time, both sides of a row by turns; the last
--- columns are the ratio and what SPEED's targets are for such a policy.
---
---     make bench SPEC=--lua-policies        half a minute

local vmem = require "vmem"
local policy = vmem.policy
local seconds = require("clock").seconds
local folder = debug.getinfo(1, "S").source:match "^@(.*)bench/lua_policy%.lua$" or "./"
local samples = dofile(folder .. "policy_samples.lua")

local mru = policy {
  name = "lua-mru",
  touch = function(self, slot) self.last = slot end,
  insert = function(self, slot) self.last = slot end,
  victim = function(self) return self.last end,
}

-- Name, twin in C, target in ns.
local twins = {
  { policy { name = "first", victim = function(self) return self.slots:find() end }, nil, 50 },
  { samples.fifo, "fifo" },
  { mru, "mru", 50 },
  { samples.clock, "clock", 100 },
  { samples.aging:with { every = 8192 }, "aging:every=8192" },
  { samples.wsclock, "wsclock" },
  { samples.lru, "lru", 300 },
  { policy.wrap("lru", { name = "wrap", victim = function(self, key) return self.inner:victim(key) end }), "lru" },
}

local function medians(f, g)
  local a, b = {}, {}
  for i = 1, 3 do
    for _, x in ipairs { { a, f }, { b, g } } do
      x[1][i] = seconds(x[2])
    end
  end
  table.sort(a)
  table.sort(b)
  return a[2], b[2]
end

local function rows(title, refs, run)
  print(("\n%-44s %8s %8s %7s %7s"):format(title, "Lua ns", "C ns", "ratio", "target"))
  for _, twin in ipairs(twins) do
    local p, c = twin[1], twin[2]
    local lua, native = medians(function() run(p) end, function() if c then run(c) end end)
    print(("  %-42s %8.1f %8s %7s %7s"):format(p.name, lua / refs * 1e9,
      c and ("%.1f"):format(native / refs * 1e9) or "", c and ("%.1f"):format(lua / native) or "", twin[3] or ""))
  end
end

return function()
  for _, w in ipairs { { 1000000, 100000 }, { 100000, 60000 }, { 1000, 800 } } do
    local refs = 2000000
    local trace = vmem.paging.decode { trace = vmem.trace.zipf { refs = refs, pages = w[1], seed = 1 } }
    local hit = 1 - vmem.paging.run { trace = trace, frames = w[2], policy = "clock" }.miss_ratio
    rows(("study: %d pages, %d frames, %.0f %% hits"):format(w[1], w[2], 100 * hit), refs, function(p)
      vmem.paging.run { trace = trace, frames = w[2], policy = p }
    end)
  end
  local refs = 400000
  local trace = vmem.trace.zipf { refs = refs, pages = 4000, seed = 1 }
  rows("machine: 4000 pages, 2500 resident", refs, function(p)
    local m <close> = vmem.machine { preset = "core-i7", resident = 2500, policy = p }
    m:spawn():replay(trace)
  end)
end
