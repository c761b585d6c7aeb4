--- Rates of the machine, each as a ratio within this run: to reading the same
--- trace without a machine, and to the machine's own plain path.
---
---     make bench                     everything below
---     lua5.4 spec/bench/run.lua --end-to-end
---                                    programs as they run, beside cachegrind
---
--- Medians of three. Figures of two runs, or of two machines, do not compare;
--- the ratios do, roughly.

local vmem = require "vmem"
local core = require "vmem.core"
local folder = debug.getinfo(1, "S").source:match("^@(.*)spec/bench/run%.lua$") or "./"

local function median(f)
  local times = {}
  for i = 1, 3 do
    collectgarbage()
    local t0 = os.clock()
    f()
    times[i] = os.clock() - t0
  end
  table.sort(times)
  return times[2]
end

-- The machine of the targets: 64 entries in the L1 TLB, 1,536 in the second, LRU.
local function machine(options)
  return vmem.machine {
    preset = "core-i7", dram = options.dram or "512MiB", policy = "clock",
    shortcuts = options.shortcuts, vectors = options.vectors,
    tlb = { l2 = { entries = 1536, ways = 12 } },
  }
end

local million = 1000000
local function zipf(n) return vmem.trace.zipf { refs = n, pages = 65536, stores = 0.3 } end

local workloads = {
  { "sequential, 64 MiB", 150, 180, function(n)
    return vmem.trace.sequential { refs = n, bytes = "64MiB", stores = 0.25 }
  end },
  { "Zipf 1.0, 256 MiB", 10, 20, zipf },
  { "uniform, 256 MiB", 9, 20, function(n)
    return vmem.trace.uniform { refs = n, bytes = "256MiB", stores = 0.3 }
  end },
  { "pointer chase, 64 MiB", 22, 40, function(n)
    return vmem.trace.chase { refs = n, nodes = 1 << 20, loads = 2, stores = 0.25 }
  end },
  { "Zipf in 64 MiB, CLOCK", nil, nil, zipf, dram = "64MiB" },
  { "sort, recorded", 200, 250, function() return assert(vmem.trace.open(folder .. "examples/traces/sort.vmt")) end,
    times = 8 },
}

local function target(v) return v and ("%d"):format(v) or "-" end

local function rates()
  print("Full machine: M accesses/s; `read`: the same trace without a machine; `plain`: shortcuts = false")
  print(("%-24s %9s %9s %9s %9s %8s %8s  %s"):format("", "vectors", "portable", "read", "plain", "to read",
    "of plain", "targets"))
  for _, w in ipairs(workloads) do
    local name, portable, vectors, make = w[1], w[2], w[3], w[4]
    local times = w.times or 1
    local n, few = 8 * million, 2 * million
    local function rate(options, refs)
      local t = make(refs)
      local m <close> = machine { dram = w.dram, shortcuts = options.shortcuts, vectors = options.vectors }
      local p = m:spawn { name = "bench" }
      local count = 0
      p:replay(t) -- the first pass takes the faults
      local s = median(function()
        count = 0
        for _ = 1, times do count = count + p:replay(t).replay.accesses end
      end)
      return count / s / million
    end
    local t, records = make(n), 0
    local read = median(function()
      records = 0
      for _ = 1, times do records = records + core.drain(t) end
    end)
    local read_rate = records / read / million
    local fast, slow = rate({}, n), rate({ vectors = false }, n)
    local plain = rate({ shortcuts = false }, few)
    print(("%-24s %9.1f %9.1f %9.1f %9.1f %7.2fx %7.1fx  %s / %s"):format(name, fast, slow, read_rate, plain,
      fast / read_rate, fast / plain, target(portable), target(vectors)))
  end
end

local function single()
  local m <close> = machine {}
  local p = m:spawn { name = "single" }
  local a = assert(p:mmap { length = "1MiB" })
  local load, n = p:bind("load"), 2 * million
  local function each(f) return median(f) / n * 1e9 end
  local loop = each(function() for _ = 1, n do end end)
  print(("\nOne access from Lua, ns (the loop of %.1f ns left out)"):format(loop))
  print(("%-24s %9.1f"):format("p:load(a)", each(function() for _ = 1, n do p:load(a) end end) - loop))
  print(("%-24s %9.1f"):format("bound load(a)", each(function() for _ = 1, n do load(a) end end) - loop))
  local pages = 16384
  local faults = median(function()
    local f <close> = machine {}
    local q = f:spawn { name = "faults" }
    local at = assert(q:mmap { length = pages * 4096 })
    for i = 0, pages - 1 do q:store(at + i * 4096, 1, 1) end
  end)
  print(("%-24s %9.2f M/s"):format("demand-zero faults", pages / faults / million))
end

-- Wall time of a command, its output thrown away.
local function wall(command)
  local best = {}
  for i = 1, 3 do
    local pipe = assert(io.popen("date +%s.%N; " .. command .. " >/dev/null 2>&1; date +%s.%N"))
    local t0, t1 = pipe:read("n", "n")
    pipe:close()
    best[i] = t1 - t0
  end
  table.sort(best)
  return best[2]
end

local function end_to_end()
  local words = os.tmpname()
  local f = assert(io.open(words, "w"))
  for i = 1, 60000 do f:write((i * 7919) % 100003, "\n") end
  f:close()
  local script = os.tmpname()
  f = assert(io.open(script, "w"))
  f:write("local t = {} for i = 1, 60000 do t[i] = tostring(i * 7919 % 60013) end "
    .. "table.sort(t) print(#table.concat(t))")
  f:close()
  local programs = {
    { "gzip -6 -c", "gzip -6 -c " .. folder .. "build/vmem/core.so" },
    { "sort, 60,000 lines", "sort " .. words },
    { "lua5.4, sort in Lua", "lua5.4 " .. script },
  }
  print("\nPrograms as they run: wall seconds, start-up included")
  print(("%-24s %9s %11s %8s"):format("", "vmem run", "cachegrind", "ratio"))
  for _, p in ipairs(programs) do
    local ours = wall("vmem run --quiet --stdout /dev/null -- " .. p[2])
    local theirs = wall("valgrind --tool=cachegrind --cache-sim=yes --cachegrind-out-file=/dev/null "
      .. "--I1=32768,8,64 --D1=32768,8,64 --LL=8388608,16,64 " .. p[2])
    print(("%-24s %9.2f %11.2f %7.2fx"):format(p[1], ours, theirs, theirs / ours))
  end
  os.remove(words)
  os.remove(script)
end

if arg[1] == "--end-to-end" then
  end_to_end()
else
  rates()
  single()
  if os.execute "command -v valgrind >/dev/null && command -v qemu-x86_64 >/dev/null" then
    end_to_end()
  else
    print "\n(no qemu-user or no Valgrind here: programs are not run beside cachegrind)"
  end
end
