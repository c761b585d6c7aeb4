--- Machines and processes: what the core's objects can do besides, in Lua.

local core = require "vmem.core"
local options = require "vmem.options"
local explain = require "vmem.explain"
local frames = require "vmem.frames"
local policy = require "vmem.policy"

require "vmem.memory"
require "vmem.program"
require "vmem.maps"
require "vmem.boot"

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
    error(("this machine has no counter %s%s"):format(name, options.suggestion(name, names)), 2)
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

--- Another replacement policy from now on. Its pages come to it in the order of their
--- frames; their reference bits stay as they are.
---@param what string|table|vmem.Policy a name, { name, parameters }, or an object of vmem.policy
function Machine:set_policy(what)
  local ok, given = pcall(policy.text, what)
  if not ok then error("set_policy: " .. given, 2) end
  if type(given) ~= "string" and not policy.is(given) then
    error(("set_policy: a policy is a name or an object of vmem.policy, not a %s"):format(type(given)), 2)
  end
  local set, why = pcall(self._set_policy, self, given)
  if not set then error(type(why) == "string" and "set_policy: " .. why or why, 2) end
end

--- A new process with an empty address space. Of several processors it runs on
--- `cpu`, or else where fewest processes do.
---@param t? { name?: string, cpu?: integer }
---@return vmem.Process
function Machine:spawn(t)
  t = t or {}
  for k in pairs(t) do
    if k ~= "name" and k ~= "cpu" then error(("spawn: there is no option %s"):format(tostring(k)), 2) end
  end
  local name, cpu = t.name or "", t.cpu
  if type(name) ~= "string" then error("spawn: name is a " .. type(name) .. ", but takes a string", 2) end
  if cpu ~= nil and math.type(cpu) ~= "integer" then error("spawn: cpu takes an integer, from 0 on", 2) end
  return self:_spawn(name, cpu)
end

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
