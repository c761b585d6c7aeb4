--- Machines and processes: what the core's objects can do besides, in Lua.

local core = require "vmem.core"
local options = require "vmem.options"
local explain = require "vmem.explain"
local frames = require "vmem.frames"

local Machine, Process = core.Machine, core.Process
local machine = {}

--- Nest { ["a.b"] = 1 } as { a = { b = 1 } }. Where a name is both a value and
--- a group, the group wins; the counters have no such names.
local function nest(flat)
  local t = {}
  for name, v in pairs(flat) do
    local at = t
    for part in name:gmatch("([^.]+)%.") do
      at[part] = at[part] or {}
      at = at[part]
    end
    at[name:match("[^.]+$")] = v
  end
  return t
end

--- Make a machine.
---@param t? table a preset's name in `preset`, options, or both
---@return vmem.Machine
function machine.new(t)
  local ok, flat = pcall(options.resolve, t)
  if not ok then error("vmem.machine: " .. flat, 3) end
  local made, m = pcall(core.machine, flat)
  if not made then error("vmem.machine: " .. m, 3) end
  return m
end

--- Counters since the last reset_stats.
---@param name? string a dotted name such as "tlb.l1d.misses"
---@return table|integer stats nested tables, or the one counter
function Machine:stats(name)
  local flat = self:_stats()
  if name == nil then return nest(flat) end
  if flat[name] == nil then
    local names = {}
    for k in pairs(flat) do names[#names + 1] = k end
    table.sort(names)
    local near = options.nearest(name, names)
    error(("this machine has no counter %s%s"):format(name,
      near and (", did you mean " .. near .. "?") or ""), 2)
  end
  return flat[name]
end

--- The options the machine was made with, defaults included, nested.
---@return table
function Machine:options()
  return nest(self:_options())
end

--- What physical memory looks like now: which frames are free, in blocks of which
--- orders, and what the others are used for. The result prints as a map.
---@return vmem.Frames
function Machine:frames() return frames.new(self:_frames()) end

--- A new process with an empty address space.
---@param t? { name: string }
---@return vmem.Process
function Machine:spawn(t)
  local name = t and t.name or ""
  if type(name) ~= "string" then error("spawn: name is a " .. type(name) .. ", but takes a string", 2) end
  return self:_spawn(name)
end

local prot_names = { none = "---" }

-- A length in bytes of a mapping: a number or a size text.
local function length(what, v)
  local n = options.bytes(v)
  if not n then
    error(("%s: length is %s, but takes bytes, or a text such as \"64KiB\""):format(what, tostring(v)), 3)
  end
  return n
end

local map_flags = { private = true, anonymous = true, fixed = true, hugetlb = true }

---@class vmem.MmapArguments
---@field length integer|string bytes
---@field prot? string of r, w, x; "rw" if left out
---@field flags? string of private, anonymous, fixed, hugetlb, joined by |
---@field addr? integer a hint, or the place if fixed
---@field page? integer|string bytes of a page of a hugetlb mapping
---@field name? string

--- Map anonymous memory. `length` in bytes; `prot` of r, w, x ("rw" if left out);
--- `flags` of private, anonymous, fixed, hugetlb; `page` the page size of a
--- hugetlb mapping ("2MiB"); `addr` a hint, or the place if fixed.
---@param t vmem.MmapArguments
---@return integer? address, string? message, string? code
function Process:mmap(t)
  if type(t) ~= "table" then error("mmap takes a table of arguments", 2) end
  local fixed, huge = false, false
  for k in pairs(t) do
    if k ~= "length" and k ~= "prot" and k ~= "flags" and k ~= "addr" and k ~= "page" and k ~= "name" then
      error(("mmap: there is no argument %s"):format(tostring(k)), 2)
    end
  end
  for flag in (t.flags or "private|anonymous"):gmatch("[^|%s]+") do
    if not map_flags[flag] then
      error(("mmap: there is no flag %s (there are private, anonymous, fixed, hugetlb)"):format(flag), 2)
    end
    fixed, huge = fixed or flag == "fixed", huge or flag == "hugetlb"
  end
  local level = 0
  if huge or t.page then
    local g, want = self:geometry(), options.bytes(t.page or 0)
    local bits, sizes = g.page_bits, {}
    for k = 1, #g.levels - 1 do
      bits = bits + g.levels[#g.levels + 1 - k]
      sizes[#sizes + 1] = tostring(1 << bits)
      if t.page == nil and k == 1 or want == 1 << bits then level = k end
    end
    if level == 0 and want ~= 1 << g.page_bits then
      error(("mmap: page is %s, but this machine's large pages have %s bytes"):format(
        tostring(t.page), #sizes > 0 and table.concat(sizes, " or ") or "no"), 2)
    end
  end
  local prot = t.prot or "rw"
  return self:_mmap(t.addr or 0, length("mmap", t.length), prot_names[prot] or prot, fixed, level, t.name or "")
end

--- Unmap a range of pages; areas are split where it cuts them.
---@param addr integer
---@param n integer|string bytes
---@return true? ok, string? message, string? code
function Process:munmap(addr, n) return self:_munmap(addr, length("munmap", n)) end

--- Change the protection of a range of pages.
---@param addr integer
---@param n integer|string bytes
---@param prot string of r, w, x; "none"
---@return true? ok, string? message, string? code
function Process:mprotect(addr, n, prot)
  return self:_mprotect(addr, length("mprotect", n), prot_names[prot] or prot)
end

--- Move the break by n bytes (negative too).
---@param n integer|string
---@return integer? old the break before
---@return string? message, string? code
function Process:sbrk(n) return self:_sbrk(length("sbrk", n)) end

local function difference(after, before)
  local d = {}
  for k, v in pairs(after) do d[k] = v - (before[k] or 0) end
  return d
end

--- Replay a trace: its accesses are this process's; further tasks of the trace
--- become processes of their own.
---@param trace vmem.Trace
---@param t? { progress?: fun(done: integer), every?: integer, limit?: integer } progress is called
--- every `every` accesses (a million); `limit` ends the replay early
---@return table counters those of this run, nested as stats(); `replay` tells of the run itself
function Process:replay(trace, t)
  t = t or {}
  for k in pairs(t) do
    if k ~= "progress" and k ~= "every" and k ~= "limit" then
      error(("replay: there is no option %s"):format(tostring(k)), 2)
    end
  end
  local every, limit = t.every or 1000000, t.limit or math.maxinteger
  local m = self:machine()
  local before = m:_stats()
  local r <close> = core.replay(self, trace)
  local count, ended = 0, false
  while not ended and count < limit do
    count, ended = r:step(math.min(every, limit - count))
    if t.progress then t.progress(count) end
  end
  local run = nest(difference(m:_stats(), before))
  run.replay = r:result()
  return run
end

--- Every step of one access: the access is made, and each lookup is told.
--- The result prints as a worksheet.
---@param va integer
---@param t? { kind?: "load"|"store"|"fetch", size?: integer }
---@return vmem.Explanation
function Process:explain(va, t)
  t = t or {}
  return explain.new(self:_explain(va, t.kind or "load", t.size or 1), t.kind or "load", t.size or 1)
end

local function field(row, name, where, default)
  local v = row[name]
  if v == nil then v = default end
  if v == nil then error(("set_state: a row of %s lacks %s"):format(where, name), 0) end
  return v
end

-- What each table of state does with its rows.
local setters = {
  ptes = function(p, rows)
    p:_forget_ptes()
    for vpn, row in pairs(rows) do
      if row == false then
        p:_set_pte(vpn, nil)
      elseif type(row) == "table" then
        p:_set_pte(vpn, field(row, "ppn", "ptes"), row.prot or "rw")
      else
        p:_set_pte(vpn, row, "rw")
      end
    end
  end,
  tlb = function(p, rows)
    local g = p:geometry()
    for _, row in ipairs(rows) do
      local vpn = row.vpn or field(row, "tag", "tlb") << g.tlb_set_bits | field(row, "set", "tlb")
      p:_set_tlb(row.level or 0, vpn, field(row, "ppn", "tlb"), row.prot or "rw")
    end
  end,
  cache = function(p, rows)
    local g, m = p:geometry(), p:machine()
    for _, row in ipairs(rows) do
      local line = field(row, "tag", "cache") << g.cache_set_bits | field(row, "set", "cache")
      if row.bytes then
        m:_set_memory(line << g.line_bits, string.char(table.unpack(row.bytes)))
      end
      m:_set_line(row.cache or (m:options().cache.l1.size > 0 and "l1" or "l1d"), line, row.dirty or false)
    end
  end,
  memory = function(p, rows)
    for pa, bytes in pairs(rows) do p:machine():_set_memory(pa, bytes) end
  end,
}

--- Put the machine into a state given by small tables; nothing is counted.
--- `ptes`: [vpn] = ppn, { ppn =, prot = } or false (not present); PTEs that are
--- not given are unknown, which is not the same as invalid. `tlb`: rows of
--- { set =, tag =, ppn = } or { vpn =, ppn = }, the least recent first.
--- `cache`: rows of { set =, tag =, bytes = {…} }. `memory`: [address] = bytes.
---@param t { ptes?: table, tlb?: table, cache?: table, memory?: table }
function Process:set_state(t)
  for k in pairs(t) do
    if not setters[k] then
      error(("set_state: there is no table %s (there are cache, memory, ptes, tlb)"):format(tostring(k)), 2)
    end
  end
  for _, k in ipairs { "ptes", "memory", "cache", "tlb" } do
    if t[k] then
      local ok, why = pcall(setters[k], self, t[k])
      if not ok then error(why, 2) end
    end
  end
end

return machine
