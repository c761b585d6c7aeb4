--- Paging studies: references a second of each policy, curves and samples, beside
--- what is wanted, and as multiples of the same run's FIFO.
---
---     make bench SPEC=--study               Zipf 1.0, a million pages, 100,000 frames; the bundled trace
---     make bench SPEC="--study footprint"   the cost of a reference at 10^4 to 10^8 pages, some minutes
---
--- Medians of three, in processor time, without decoding.

local vmem = require "vmem"
local core = require "vmem.core"
local median = require("clock").median_seconds
local paging = vmem.paging
local million = 1000000

-- Millions of references a second.
local wanted = { fifo = 200, clock = 150, lru = 100, sieve = 70, arc = 60, ["2q"] = 45, opt = 70 }

local function row(name, rate, target, first)
  print(("  %-34s %9.1f %9s %9.2f"):format(name, rate, target and ("%d"):format(target) or "", rate / first))
end

local function head(title, r, n)
  print(("\n%s: %s, %d frames"):format(title, tostring(r), n))
  print(("  %-34s %9s %9s %9s"):format("millions of references a second", "measured", "wanted", "x fifo"))
end

local function policies(r, n)
  local function rate(policy, shortcuts)
    return r.refs / million / median(function()
      paging.run { trace = r, frames = n, policy = policy, shortcuts = shortcuts }
    end)
  end
  local first = rate("fifo")
  row("fifo", first, wanted.fifo, first)
  row("fifo, driven", rate("fifo", false), nil, first)
  for _, p in ipairs(vmem.policies()) do
    if p.serves ~= "sets" and p.name ~= "fifo" then row(p.name, rate(p.name), wanted[p.name], first) end
  end
  return first
end

local function curves(r, first)
  local function one_pass(policy)
    return function()
      local c <close> = core.study_curve(r._core, policy)
      repeat local _, ended = c:step(1 << 24) until ended
    end
  end
  local function rate(f) return r.refs / million / median(f) end
  row("curve of lru, every size", rate(one_pass "lru"), 20, first)
  row("curve from 1 % of pages, its error too",
    rate(function() paging.curve { trace = r, sample = 0.01 } end), 400, first)
  row("working sets, footprints", rate(function() paging.working_set { trace = r } end), nil, first)
  row("page-fault frequency, one threshold", rate(function() paging.pff { trace = r, thresholds = { 1000 } } end), nil,
    first)
end

local function zipf(refs, pages)
  local t <close> = vmem.trace.zipf { refs = refs, pages = pages, alpha = 1.0, seed = 1 }
  return paging.decode { trace = t }
end

local function footprint()
  print("ns a reference, frames a tenth of the pages")
  print(("  %-12s %9s %9s %9s %9s %9s"):format("pages", "fifo", "clock", "lru", "opt", "curve"))
  for k = 4, 8 do
    local pages = math.tointeger(10 ^ k)
    local r = zipf(math.max(10 * million, pages), pages)
    local line = ("  10^%-9d"):format(k)
    for _, policy in ipairs { "fifo", "clock", "lru", "opt" } do
      line = line .. (" %9.2f"):format(median(function()
        paging.run { trace = r, frames = pages // 10, policy = policy }
      end) / r.refs * 1e9)
    end
    local c <close> = core.study_curve(r._core, "lru")
    local t0 = os.clock()
    repeat local _, ended = c:step(1 << 24) until ended
    print(line .. (" %9.2f"):format((os.clock() - t0) / r.refs * 1e9))
  end
end

return function(folder, what)
  if what == "footprint" then return footprint() end
  local r = zipf(10 * million, million)
  head("Zipf 1.0", r, 100000)
  curves(r, policies(r, 100000))
  local t <close> = assert(vmem.trace.open(folder .. "examples/traces/sort.vmt"))
  local real = paging.decode { trace = t }
  head("a recorded sort", real, 80)
  policies(real, 80)
end
