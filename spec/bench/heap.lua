--- Allocators: operations a second of a recorded trace through a machine, through one
--- whose memory is fast, and natively; beside the host's malloc on the same operations.
---
---     make bench SPEC=--heap                                the trace of a compiler
---     make bench SPEC="--heap examples/traces/lua.rep.zst"  another one
---
--- A new heap for each pass: first touches are in it, the making of the machine is not.
--- The fastest of seven passes in processor time, the three memories by turns; of the
--- host's malloc, of twenty. No payload is touched by either. Allocators that take long get only
--- the trace's first operations; `ops` says how many.

local vmem = require "vmem"
local heap = vmem.heap

-- Misses of a TLB that has all pages are few, and there is no cache: most words of an
-- allocator are a comparison and two counts.
local FAST = {
  preset = "core-i7", dram = "512MiB", cache = { l1i = { size = 0 }, l1d = { size = 0 }, l2 = { size = 0 },
    l3 = { size = 0 } },
  tlb = { l1d = { entries = 16384, ways = 1 }, l2 = { entries = 0 } },
}
local CORE_I7 = { preset = "core-i7", dram = "512MiB" }

-- Millions of operations a second.
local wanted = { segregated = { machine = 5, native = 25 } }

local legend = [[
Millions of operations a second, %s.

  core-i7  through the whole machine: TLBs, three levels of caches, page faults
  fast     through a machine without caches, whose TLB has a place for each page
  native   the same source over memory of the host
  x host   native, as a multiple of the host's malloc in this run
]]

local WORD = 16 -- bytes of a packed operation

--- Seconds of one pass over the packed operations, in a new heap of its own.
local function pass(name, options, where, packed, ids)
  local m <close> = where ~= "native" and vmem.machine(where) or nil
  local h <close> = assert(m and heap.open(m:spawn(), name, options) or heap.native(name, options))
  collectgarbage()
  local start = os.clock()
  assert(h:_replay(packed, ids))
  return os.clock() - start
end

--- As many of the operations as take no longer than some tenths of a second.
local function prefix(name, options, packed, ids)
  local n = #packed // WORD
  local k = math.min(n, 2000)
  while k < n do
    local seconds = pass(name, options, CORE_I7, packed:sub(1, k * WORD), ids)
    if seconds > 0.15 then break end
    k = math.min(n, k * 2)
  end
  return packed:sub(1, k * WORD), k
end

local function rates(name, options, packed, ids)
  local part, n = prefix(name, options, packed, ids)
  local places, times, out = { CORE_I7, FAST, "native" }, { {}, {}, {} }, {}
  for i = 1, 7 do
    for k, where in ipairs(places) do times[k][i] = pass(name, options, where, part, ids) end
  end
  for k, t in ipairs(times) do out[k] = n / math.min(table.unpack(t)) / 1e6 end
  return n, table.unpack(out)
end

--- The same of the host's malloc, by a program built for it.
local function host(folder, packed, ids)
  local program, path = os.tmpname(), os.tmpname()
  local file = assert(io.open(path, "wb"))
  file:write(packed)
  file:close()
  local compiler = os.getenv "CC" or "cc"
  assert(os.execute(("%s -std=c11 -D_GNU_SOURCE -O2 -o %s '%sspec/bench/malloc.c'"):format(compiler, program, folder)))
  local pipe = assert(io.popen(("%s %s %d 20"):format(program, path, ids)))
  local seconds = pipe:read "n"
  pipe:close()
  os.remove(program)
  os.remove(path)
  return #packed / WORD / assert(seconds, "spec/bench/malloc.c failed") / 1e6
end

local function row(name, n, machine, fast, native, of_host, w)
  w = w or wanted[name] or { machine = "", native = "" }
  print(("%-22s %8s %8s %6s %8s %8s %6s %8s"):format(name, n, machine, w.machine, fast, native, w.native, of_host))
end

return function(folder, path)
  local t, why = heap.trace(path or folder .. "examples/traces/compiler.rep.zst")
  if not t then error(why, 0) end
  local packed, ids = t:packed()
  print(legend:format(tostring(t)))
  row("", "ops", "core-i7", "fast", "native", "x host", { machine = "wanted", native = "wanted" })
  local malloc = host(folder, packed, ids)
  row("the host's malloc", #t, "", "", ("%.1f"):format(malloc), "1")
  local function one(name, options, label)
    options.limit = "1GiB"
    local n, machine, fast, native = rates(name, options, packed, ids)
    row(label or name, n, ("%.2f"):format(machine), ("%.2f"):format(fast), ("%.1f"):format(native),
      ("%.2f"):format(native / malloc))
  end
  for _, a in ipairs(heap.allocators()) do
    one(a.name, {})
    if a.name == "segregated" then one(a.name, { tags = "free" }, "segregated, tags=free") end
  end
end
