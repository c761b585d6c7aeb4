--- Collectors: objects a second, of a million in a binary tree whose nodes lie in random
--- order, through a machine, through one whose memory is fast, and natively; beside a
--- plain mark in C of the same graph.
---
---     make bench SPEC=--gc             a million objects
---     make bench SPEC="--gc 100000"    so many
---
--- `mark` is marking alone: a collection without its sweep, less one that has no roots, which
--- only walks the heap. `all` is a collection without its sweep, the walk included. Processor
--- time, the best of three; of copying, the first, which finds the objects in their order.

local vmem = require "vmem"

local FAST = {
  preset = "core-i7", dram = "256MiB", cache = { l1i = { size = 0 }, l1d = { size = 0 }, l2 = { size = 0 },
    l3 = { size = 0 } },
  tlb = { l1d = { entries = 16384, ways = 1 }, l2 = { entries = 0 } },
}
-- That of the targets: as in run.lua.
local CORE_I7 = { preset = "core-i7", dram = "256MiB", tlb = { l2 = { entries = 1536, ways = 12 } } }
local PLACES = { { "core-i7", CORE_I7 }, { "fast", FAST }, { "native" } }
local wanted = { precise = { 5, "-", 14 }, conservative = { 5, "-", 12 } }

local seconds = require("clock").seconds

local function best(f)
  local least = math.huge
  for _ = 1, 3 do least = math.min(least, seconds(f)) end
  return least
end

--- A tree of n objects of two pointers, whose i-th node is the at[i]-th that was made.
local function build(gc, n)
  local pair, object, at = gc:layout { size = 16, pointers = { 0, 8 } }, {}, {}
  for i = 1, n do
    object[i] = assert(gc:new(pair))
    at[i] = i
  end
  local x = 1
  for i = n, 2, -1 do
    x = x * 6364136223846793005 + 1442695040888963407
    local j = (x >> 33) % i + 1
    at[i], at[j] = at[j], at[i]
  end
  for i = 1, n // 2 do
    gc:store(object[at[i]], object[at[2 * i]])
    if 2 * i < n then gc:store(object[at[i]] + 8, object[at[2 * i + 1]]) end
  end
  return gc:root(object[at[1]])
end

local function open(where, mode, n)
  local options = { limit = "512MiB", tags = "free" }
  local m = where and vmem.machine(where)
  local h = assert(m and vmem.heap.open(m:spawn(), "segregated", options) or vmem.heap.native("segregated", options))
  local gc = assert(vmem.gc { heap = h, mode = mode, sweep = mode ~= "copying" and "lazy" or nil, stack = 1 << 16,
    space = (n + 1) * 24 // 8 * 8 + 4096, roots = {} })
  local function close()
    gc:close()
    h:close()
    if m then m:close() end
  end
  return gc, build(gc, n), close
end

--- Millions of objects a second: marking alone, and with what comes before.
local function rates(where, mode, n)
  local gc, root, close = open(where, mode, n)
  local function collect()
    local stats = assert(gc:collect())
    if stats.marked ~= n then error(("%d of %d objects were marked"):format(stats.marked, n)) end
  end
  local all, before = (mode == "copying" and seconds or best)(collect), 0
  if mode ~= "copying" then
    root:close()
    before = seconds(function() gc:collect() end)
  end
  close()
  return n / (all - before) / 1e6, n / all / 1e6
end

--- The same of a mark in C, by a program built for it.
local function plain(folder, n)
  local program = os.tmpname()
  assert(os.execute(("%s -std=c11 -D_GNU_SOURCE -O2 -o %s '%sspec/bench/gc.c'"):format(os.getenv "CC" or "cc", program,
    folder)))
  local pipe = assert(io.popen(("%s %d 5"):format(program, n)))
  local time = pipe:read "n"
  pipe:close()
  os.remove(program)
  return n / assert(time, "spec/bench/gc.c failed") / 1e6
end

return function(folder, objects)
  local n = math.tointeger(tonumber(objects or 1000000))
  local of_c = plain(folder, n)
  print(("Millions of objects a second, %d objects of two pointers; a plain mark in C: %.1f\n"):format(n, of_c))
  print(("%-14s %-10s %8s %8s %8s %8s"):format("", "", "mark", "wanted", "x C", "all"))
  for _, mode in ipairs { "precise", "conservative", "copying" } do
    for i, place in ipairs(PLACES) do
      local mark, all = rates(place[2], mode, n)
      print(("%-14s %-10s %8.2f %8s %8.2f %8.2f"):format(i == 1 and mode or "", place[1], mark,
        wanted[mode] and wanted[mode][i] or "-", mark / of_c, all))
    end
  end
end
