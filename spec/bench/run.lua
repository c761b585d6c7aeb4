--- Rates of the machine, each beside two others of this run: reading the same
--- trace without a machine, and the machine's own plain path. Then what else is
--- bound by speed: decoding, parsing, single accesses from Lua, faults.
---
---     make bench                        under two minutes
---     make bench SPEC=--end-to-end      programs as they run, beside cachegrind, too
---     make bench SPEC=--kernel          the kernel's work alone
---     make bench SPEC=--study           paging without a machine
---     make bench SPEC=--lua-policies    policies in Lua beside those in C
---     make bench SPEC=--heap            allocators, beside the host's malloc
---     make bench SPEC=--gc              collectors, beside a plain mark in C
---     make bench SPEC=--lua-allocators  allocators in Lua, in the same way
---     make bench SPEC=--detector        what an error detector costs
---     make bench SPEC=--recording       recording what a program allocates
---
--- Made traces are copied into memory first, so that making them costs nothing
--- here. Medians of three, in processor time; end to end, in wall time. Figures of
--- two runs, or of two machines, do not compare; the ratios do, roughly.

local vmem = require "vmem"
local core = require "vmem.core"
local folder = debug.getinfo(1, "S").source:match("^@(.*)spec/bench/run%.lua$") or "./"
package.path = folder .. "spec/bench/?.lua;" .. package.path
local clock = require "clock"
local recorded = folder .. "examples/traces/sort.vmt"
local million = 1000000

-- The machine of the targets: 64 entries in the L1 TLB, 1,536 in the second, LRU.
local function machine(options)
  return vmem.machine {
    preset = "core-i7", dram = options.dram or "512MiB", policy = "clock",
    shortcuts = options.shortcuts, vectors = options.vectors,
    tlb = { l2 = { entries = 1536, ways = 12 } },
  }
end

-- Each: name, targets in M/s (portable, with vectors), the trace. `times`: how often
-- a short trace is read for one measurement.
local generate = vmem.trace
local workloads = {
  { "sequential, 32 MiB", 150, 180, generate.sequential { refs = 4 * million, bytes = "32MiB", stores = 0.25 } },
  { "Zipf 1.0, 256 MiB", 10, 20, generate.zipf { refs = 4 * million, pages = 65536, stores = 0.3 } },
  { "uniform, 256 MiB", 9, 20, generate.uniform { refs = 4 * million, bytes = "256MiB", stores = 0.3 } },
  { "pointer chase, 64 MiB", 22, 40,
    generate.chase { refs = 4 * million, nodes = 1 << 20, loads = 2, stores = 0.25 } },
  { "Zipf 1.0, 64 MiB of DRAM", nil, nil, generate.zipf { refs = 4 * million, pages = 65536, stores = 0.3 },
    dram = "64MiB" },
  { "a recorded sort", 200, 250, assert(vmem.trace.open(recorded)), times = 8 },
}

local function target(v) return v and ("%d"):format(v) or "-" end

--- Records a second, in millions, of `times` passes by `pass(trace)`.
local function rate(t, times, pass)
  local count
  local seconds = clock.median_seconds(function()
    count = 0
    for _ = 1, times do count = count + pass(t) end
  end)
  return count / seconds / million
end

local function through(t, times, options)
  local m <close> = machine(options)
  local p = m:spawn { name = "bench" }
  p:replay(t) -- the first pass takes the faults
  return rate(t, times, function(x) return p:replay(x).replay.accesses end)
end

local legend = [[
Millions of accesses a second through the whole machine. Traces are in memory, and
were replayed once before: pages that fit into DRAM are there.

  read      the trace alone, without a machine: no replay can be faster
  plain     each access takes the whole way (shortcuts = false)
  portable  with shortcuts, without vector instructions (vectors = false)
  vectors   with both, which is the default; as portable where there is no AVX-512
  wanted    what the column before should reach
  x plain   the column before, as a multiple of plain
]]

local function rates()
  print(legend)
  print(("%-26s %8s %8s %9s %7s %8s %9s %7s %8s"):format("", "read", "plain", "portable", "wanted", "x plain",
    "vectors", "wanted", "x plain"))
  for _, w in ipairs(workloads) do
    local name, portable, vectors, times = w[1], w[2], w[3], w.times or 1
    local t <close> = w[4]:copy()
    w[4]:close()
    local read = rate(t, times * 8, core.drain)
    local fast = through(t, times, { dram = w.dram })
    local slow = through(t, times, { dram = w.dram, vectors = false })
    local plain = through(t, 1, { dram = w.dram, shortcuts = false })
    print(("%-26s %8.0f %8.1f %9.1f %7s %8.1f %9.1f %7s %8.1f"):format(name, read, plain, slow, target(portable),
      slow / plain, fast, target(vectors), fast / plain))
  end
  print(("%-26s %8s %8s %9s %7s %8.1f %9s %7s %8.1f"):format("wanted of each trace", "", "", "", "", 2.5, "", "", 4))
end

--- One line: what, how much, of what, and the bound that it should keep.
local function row(name, value, unit, wanted)
  print(("%-34s %9.2f %-28s %s"):format(name, value, unit, wanted or ""))
end

--- Lackey's text of a trace, in a file.
local function lackey_text(t, lines)
  local path = os.tmpname()
  local f = assert(io.open(path, "w"))
  local letters = { fetch = "I  ", load = " L ", store = " S ", modify = " M " }
  for kind, addr, size in t:each() do
    if letters[kind] then
      f:write(("%s%08x,%d\n"):format(letters[kind], addr, size))
      lines = lines - 1
      if lines == 0 then break end
    end
  end
  f:close()
  return path
end

local function files()
  local vmt <close> = assert(vmem.trace.open(recorded))
  local bytes = vmt:info().bytes_per_access
  row("a .vmt file, decoded", rate(vmt, 16, core.drain), "million records a second", "200 or more")
  row("its size", bytes, "bytes an access", "0.5 or less")
  local path = lackey_text(vmt, million)
  local text <close> = assert(vmem.trace.open(path))
  row("Lackey's text, parsed", rate(text, 8, core.drain), "million lines a second", "100 or more")
  os.remove(path)
end

local function single()
  local m <close> = machine {}
  local p = m:spawn { name = "single" }
  local a = assert(p:mmap { length = "1MiB" })
  local load, n = p:bind("load"), 2 * million
  local function each(f) return clock.median_seconds(f) / n * 1e9 end
  local loop = each(function() for _ = 1, n do end end)
  local same <close> = vmem.trace.sequential { refs = million, bytes = 64 }:copy()
  local own = 1000 / through(same, 4, {}) + loop -- what the model takes, without Lua
  row("p:load(a), without the access", each(function() for _ = 1, n do p:load(a) end end) - own, "ns a call",
    "60 or less")
  row("load = p:bind \"load\", load(a)", each(function() for _ = 1, n do load(a) end end) - own, "ns a call",
    "30 or less")
  local pages = 32768
  local touch <close> = vmem.trace.strided { refs = pages, stride = 4096, bytes = pages * 4096, stores = 1 }:copy()
  local seconds = clock.median(function() -- a new machine each time, whose making is not counted
    local f <close> = machine {}
    local q = f:spawn { name = "faults" }
    local time = clock.seconds(function() q:replay(touch) end)
    assert(f:stats("kernel.minor_faults") >= pages)
    return time
  end)
  row("first touches of pages", pages / seconds / million, "million page faults a second")
end

--- Wall seconds of a command whose output is thrown away; raises if it fails.
local function wall(command)
  return clock.median(function()
    local pipe = assert(io.popen("date +%s.%N; " .. command .. " >/dev/null 2>&1 || echo failed; date +%s.%N"))
    local t0, t1 = pipe:read("n", "n")
    pipe:close()
    return (t1 or error(command .. " failed")) - t0
  end)
end

local function written(text)
  local path = os.tmpname()
  local f = assert(io.open(path, "w"))
  f:write(text)
  f:close()
  return path
end

local function end_to_end()
  local lines, state = {}, 1
  for i = 1, 400000 do
    state = state * 48271 % 2147483647
    lines[i] = state % 100003 .. "\n"
  end
  local words = written(table.concat(lines))
  local some = written(table.concat(lines, "", 1, 200000))
  local script = written "local t = {} for i = 1, 60000 do t[i] = tostring(i * 7919 % 60013) end table.sort(t)"
  local programs = {
    { "gzip -9, 2.4 MB", "gzip -9 -c " .. words },
    { "sort, 200,000 lines", "sort " .. some },
    { "a sort in Lua", "lua5.4 " .. script },
  }
  print("\nPrograms simulated as they run: wall seconds, start-up included.")
  print("`speed`: vmem's, as a multiple of cachegrind's; 3 is wanted")
  print(("%-24s %9s %11s %8s"):format("", "vmem run", "cachegrind", "speed"))
  for _, p in ipairs(programs) do
    local ours = wall("vmem run --quiet --stdout /dev/null -- " .. p[2])
    local theirs = wall("valgrind --tool=cachegrind --cache-sim=yes --cachegrind-out-file=/dev/null "
      .. "--I1=32768,8,64 --D1=32768,8,64 --LL=8388608,16,64 " .. p[2])
    print(("%-24s %9.2f %11.2f %7.2fx"):format(p[1], ours, theirs, theirs / ours))
  end
  os.remove(words)
  os.remove(some)
  os.remove(script)
end

local parts = { ["--study"] = "study", ["--kernel"] = "kernel", ["--lua-policies"] = "lua_policy",
  ["--lua-allocators"] = "lua_allocators", ["--gc"] = "gc", ["--detector"] = "detector",
  ["--recording"] = "recording", ["--heap"] = "heap" }
local part = parts[arg[1]]
if part then
  dofile(("%sspec/bench/%s.lua"):format(folder, part))(folder, arg[2])
  return
end
rates()
print(("\n%-34s %9s %-28s %s"):format("", "measured", "", "wanted"))
files()
single()
if arg[1] == "--end-to-end" then
  if os.execute "command -v valgrind >/dev/null && command -v qemu-x86_64 >/dev/null" then
    end_to_end()
  else
    print "\nNo qemu-user or no Valgrind here: programs are not run beside cachegrind."
  end
end
