--- What the kernel's work costs on the host: faults by kind, fork and copy on write,
--- mapping calls, evictions of shared pages; and how costs grow with the number of
--- areas and processes. Times are processor time, medians of three; a ratio behind
--- them says how a cost grew from the row above.
---
---     make bench SPEC=--kernel          half a minute, 2 GiB of host memory

local vmem = require "vmem"
local clock = require "clock"
local median, timed = clock.median, clock.seconds
local PAGE = 4096

local function row(name, value, unit, note)
  print(("%-44s %10.2f %-8s %s"):format(name, value, unit, note or ""))
end

-- A machine whose hardware costs little, so that the kernel's part is seen.
local function machine(t)
  local o = { preset = "core-i7", dram = "1GiB", swap = "1GiB", policy = "fifo" }
  for k, v in pairs(t) do o[k] = v end
  return vmem.machine(o)
end

--- Nanoseconds a page of one pass over `pages` pages from `at` on, by a replay.
local function pass(p, kind, pages, at)
  local records = {}
  for i = 0, pages - 1 do records[i + 1] = { kind, at + i * PAGE, 8 } end
  local t <close> = vmem.trace.new(records)
  return timed(function() p:replay(t) end) / pages * 1e9
end

local function faults()
  local pages = 8192
  local function each(name, prepare, kind, o)
    local ns = median(function()
      local m <close> = machine(o or {})
      local p, at = prepare(m)
      local before = m:stats("kernel.faults")
      local time = pass(p, kind, pages, at)
      assert(m:stats("kernel.faults") - before >= pages, name)
      return time
    end)
    row(name, 1000 / ns, "M/s", ("%.0f ns each"):format(ns))
  end
  local function anonymous(m)
    local p = m:spawn()
    return p, assert(p:mmap { length = pages * PAGE })
  end
  each("demand-zero", anonymous, "store")
  each("the shared page of zeros", anonymous, "load", { zero_frame = true })
  local content = ("x"):rep(pages * PAGE)
  local function of_file(m, flags, cached)
    local f = m:file("f", content)
    local p = m:spawn()
    if cached then
      local q = m:spawn()
      pass(q, "load", pages, assert(q:mmap { length = pages * PAGE, file = f, flags = flags, prot = "r" }))
    end
    return p, assert(p:mmap { length = pages * PAGE, file = f, flags = flags, prot = "rw" })
  end
  each("page of a file, in memory", function(m) return of_file(m, "shared", true) end, "load")
  each("page of a file, from the disk", function(m) return of_file(m, "shared") end, "load")
  each("private page of a file, written: a copy", function(m) return of_file(m, "private", true) end, "store")
  each("page from swap", function(m)
    local p, at = anonymous(m)
    pass(p, "store", pages, at)
    p:swap_out()
    return p, at
  end, "load")
  each("demand-zero, evicting a dirty page", function(m)
    local p = anonymous(m)
    local at = assert(p:mmap { length = pages * PAGE })
    pass(p, "store", pages, assert(p:mmap { length = pages * PAGE }))
    return p, at
  end, "store", { resident = pages })
  each("copy on write after fork", function(m)
    local p, at = anonymous(m)
    pass(p, "store", pages, at)
    return assert(p:fork()), at
  end, "store")
  each("write by the last owner", function(m)
    local p, at = anonymous(m)
    pass(p, "store", pages, at)
    assert(p:fork()):exit()
    return p, at
  end, "store")
end

local function fork()
  local m <close> = machine { dram = "2GiB", swap = 0 }
  local p = m:spawn()
  local pages = 262144
  local at = assert(p:mmap { length = pages * PAGE })
  local load = p:bind "load"
  for i = 0, pages - 1 do load(at + i * PAGE, 8) end
  local ended, told = {}, {}
  local function once()
    local c
    local t = timed(function() c = assert(p:fork()) end)
    ended[#ended + 1] = timed(function() c:exit() end)
    return t * 1000
  end
  once() -- the host's memory for all that
  local ms = median(once)
  table.sort(ended)
  row("fork of 1 GiB in memory", ms, "ms", "wanted: 0.4; " .. ("%.1f ns a page"):format(ms * 1e6 / pages))
  row("exit of the child", ended[2] * 1000, "ms")
  local asked = median(function()
    local c = assert(p:fork())
    local t = timed(function() p:page(at) end)
    told[#told + 1] = timed(function() c:exit() end)
    return t * 1000
  end)
  table.sort(told)
  row("the reverse map of it, when it is asked for", asked, "ms", ("%.1f ns a page"):format(asked * 1e6 / pages))
  row("exit of the child after that", told[2] * 1000, "ms")
end

local function areas()
  local before
  for _, n in ipairs { 1000, 10000, 100000 } do
    local ns = median(function()
      local m <close> = machine { dram = "64MiB" }
      local p = m:spawn()
      local base = 1 << 32
      local t = timed(function()
        for i = 1, n do -- a gap after each, so that none is merged
          p:_mmap(base + (i * 7919 % n) * 2 * PAGE, PAGE, "rw", "fixed|private|anonymous")
        end
        for i = 1, n do p:_munmap(base + (i * 104729 % n) * 2 * PAGE, PAGE) end
      end)
      assert(#p:areas() == 0)
      return t / n * 1e9
    end)
    row(("mmap and munmap, %d areas"):format(n), ns, "ns", before and ("%.2f times"):format(ns / before) or "")
    before = ns
  end
end

local function sharers()
  local before
  for _, n in ipairs { 10, 100, 1000 } do
    local ns = median(function()
      local m <close> = machine { dram = "512MiB" }
      local f = m:file("f", ("x"):rep(PAGE))
      local oldest, place
      for _ = 1, n do
        local p = m:spawn()
        local at = assert(p:mmap { length = PAGE, file = f, flags = "shared", prot = "r" })
        p:load(at)
        oldest, place = oldest or p, place or at
      end
      assert(oldest:page(place).mapped == n)
      return timed(function() oldest:munmap(place, PAGE) end) * 1e9
    end)
    row(("munmap a page that %d processes map"):format(n), ns / 1000, "us",
      before and ("%.1f times"):format(ns / before) or "")
    before = ns
  end
  before = nil
  for _, n in ipairs { 10, 100, 1000 } do
    local ns = median(function()
      local m <close> = machine { dram = "512MiB", resident = 8 }
      local p = m:spawn()
      local at = assert(p:mmap { length = PAGE })
      p:store(at, 1)
      for _ = 1, n do assert(p:fork()) end
      assert(p:page(at).mapped == n + 1)
      local q = m:spawn()
      local room = assert(q:mmap { length = 16 * PAGE })
      for i = 0, 6 do q:store(room + i * PAGE, i) end
      local t = timed(function() q:store(room + 7 * PAGE, 1) end)
      assert(p:page(at).slot)
      return t * 1e9
    end)
    row(("evict a page that %d processes map"):format(n + 1), ns / 1000, "us",
      before and ("%.1f times"):format(ns / before) or "")
    before = ns
  end
end

local function processes()
  local before
  for _, n in ipairs { 100, 1000, 10000 } do
    local us = median(function()
      local m <close> = machine { dram = "1GiB" }
      local p = m:spawn()
      p:store(assert(p:mmap { length = PAGE }), 1)
      for _ = 1, n do assert(p:fork()) end
      return timed(function()
        for _ = 1, 100 do assert(p:fork()):exit() end
      end) / 100 * 1e6
    end)
    row(("fork and exit beside %d processes"):format(n), us, "us", before and ("%.2f times"):format(us / before) or "")
    before = us
  end
end

return function()
  print "\nThe kernel: the host's time for what it does."
  faults()
  fork()
  areas()
  sharers()
  processes()
end
