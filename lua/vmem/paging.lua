--- Paging without a machine: a reference string, a number of frames, a policy.
---
--- A trace is decoded once into a string of pages (vmem.paging.decode); the studies
--- count on arrays, tens of millions of references a second. docs/studies.md is the
--- guide.

local comparison = require "vmem.paging.comparison"
local core = require "vmem.core"
local curve = require "vmem.paging.curve"
local locality = require "vmem.paging.locality"
local log = require "vmem.paging.log"
local refs = require "vmem.paging.refs"
local study = require "vmem.paging.options"
local text = require "vmem.text"

local paging = {}

local trace_rows = { { "trace", "any" }, { "page", "bytes", 4096 }, { "processes", "bool", true },
  { "progress", "callable" } }

local function rows(more)
  local list = table.move(trace_rows, 1, #trace_rows, 1, {})
  return table.move(more, 1, #more, #list + 1, list)
end

-- The reference string of checked options.
local function decode(call, o)
  if o.trace == nil then error(call .. ": trace is missing", 3) end
  return refs.decode(o)
end

local sample_rows = { { "sample", "rate" }, { "sample_pages", "count" } }

--- Decode a trace, so that several studies share the work: pass the result as `trace`.
--- A sample keeps all references to some pages, chosen by a hash of the page, and
--- needs memory for these only.
---@param t vmem.DecodeOptions
---@return vmem.References
function paging.decode(t)
  return decode("paging.decode", study.take("paging.decode", t, rows(sample_rows)))
end

-- --- one run --------------------------------------------------------------------------

---@class vmem.PagingRun
---@field policy string
---@field frames integer of all pools
---@field scope "global"|"local"
---@field refs integer references
---@field pages integer different pages
---@field hits integer
---@field misses integer
---@field cold integer misses that are a page's first reference
---@field evictions integer
---@field writebacks integer evictions of dirty pages
---@field miss_ratio number
---@field processes table[] the same figures for each process, and its `task`: of its references, and of its own
--- pages that were evicted
---@field log? vmem.PagingLog
local Run = {}
Run.__index = Run

local counters = { "misses", "cold", "evictions", "writebacks" }

function Run:__tostring()
  local out = { ("%s, %s%s: %s, %s (%s), %s cold; %s, %s"):format(self.policy, text.count(self.frames, "frame"),
    self.scope == "local" and " shared out" or "", text.count(self.refs, "reference"),
    text.count(self.misses, "miss", "misses"), text.percent(self.misses, self.refs), text.number(self.cold),
    text.count(self.evictions, "eviction"), text.count(self.writebacks, "write-back")) }
  if #self.processes > 1 then
    out[2] = "   task      frames  references      misses        cold   evictions write-backs   miss ratio"
    for _, p in ipairs(self.processes) do
      out[#out + 1] = ("%7d%s%s%s%s%s%s%s"):format(p.task, text.right(p.frames and text.number(p.frames) or "", 12),
        text.right(text.number(p.refs), 12), text.right(text.number(p.misses), 12), text.right(text.number(p.cold), 12),
        text.right(text.number(p.evictions), 12), text.right(text.number(p.writebacks), 12),
        text.right(text.percent(p.misses, p.refs), 13))
    end
  end
  return table.concat(out, "\n")
end

-- Frames of each pool: all for everybody, or what each process gets.
local function share(call, frames, scope, r)
  local n = #r.processes
  if scope == "global" then
    if #frames > 1 then error(call .. ": a list of frames needs scope = \"local\"", 3) end
    return frames
  end
  if #frames == 1 and n > 1 then
    local all, list = frames[1], {}
    if all < n then error(("%s: %d frames are fewer than the %d processes"):format(call, all, n), 3) end
    for i = 1, n do list[i] = all // n + (i <= all % n and 1 or 0) end
    return list
  end
  if #frames ~= math.max(n, 1) then
    error(("%s: frames are %d numbers, but there are %d processes"):format(call, #frames, n), 3)
  end
  return frames
end

local function result(name, raw, r, o, pools)
  local self = { policy = name, scope = o.scope, frames = 0, refs = r.refs, pages = r.pages, processes = {} }
  for _, n in ipairs(pools) do self.frames = self.frames + n end
  for _, c in ipairs(counters) do self[c] = 0 end
  for i, p in ipairs(raw:result()) do
    local of = r.processes[i]
    for _, c in ipairs(counters) do self[c] = self[c] + p[c] end
    p.task, p.refs, p.pages, p.hits = of.task, of.refs, of.pages, of.refs - p.misses
    p.frames = o.scope == "local" and pools[i] or nil
    self.processes[i] = p
  end
  self.hits = self.refs - self.misses
  self.miss_ratio = self.refs > 0 and self.misses / self.refs or 0
  return setmetatable(self, Run)
end

local function slot_bases(r, o, pools)
  local bases, all = {}, 0
  for i = 1, #r.processes do
    bases[i] = all
    if o.scope == "local" then all = all + pools[i] end
  end
  return bases, o.scope == "local" and all or pools[1]
end

local STEP = 1 << 22 -- references between two calls of a progress function

local run_rows = rows { { "frames", "counts" }, { "policy", "any", "lru" }, { "scope", "scope", "global" },
  { "dirty", "bool", true }, { "log", "bool", false }, { "seed", "integer", 1 }, { "shortcuts", "bool", true } }

---@class vmem.PagingRunOptions
---@field trace vmem.trace|vmem.References
---@field frames integer|integer[] with scope = "local", a number that is shared out evenly, or one for each process
---@field policy? string|table|vmem.Policy "2q", "2q:kin=0.5" or { "2q", kin = 0.5 }, or an object of vmem.policy
---@field page? integer|string bytes, a power of two; 4096
---@field processes? boolean false: all tasks of the trace share one address space
---@field scope? "global"|"local" whose page goes: anybody's, or one of the process that faults
---@field dirty? boolean false: do not count write-backs
---@field log? boolean keep every step
---@field seed? integer of random policies; 1
---@field shortcuts? boolean false: drive the policy although there is a quicker way to the same counts
---@field progress? fun(done: integer, all: integer?) called now and then

--- Count what one policy does with a number of frames.
---@param t vmem.PagingRunOptions
---@return vmem.PagingRun
function paging.run(t)
  local o = study.take("paging.run", t, run_rows)
  local policy, name = study.policy("paging.run", o.policy)
  if not o.frames then error("paging.run: frames is missing", 2) end
  local r = decode("paging.run", o)
  local pools = share("paging.run", o.frames, o.scope, r)
  local raw <close> = core.study_run(r._core, { policy = policy, frames = pools, seed = o.seed, dirty = o.dirty,
    log = o.log, plain = not o.shortcuts })
  local done, ended
  repeat
    done, ended = raw:step(STEP)
    if o.progress then o.progress(done, r.refs) end
  until ended
  local self = result(name, raw, r, o, pools)
  if o.log then
    local bases, slots = slot_bases(r, o, pools)
    self.log = log.new(r, raw:log(), bases, slots, tostring(self))
  end
  return self
end

-- --- several sizes, several policies ------------------------------------------------------

local MILLISECONDS <const> = 100 -- between two calls of a progress function, while threads work

-- Results of { policy =, frames = } in the order of `jobs`.
local function sweep(r, jobs, o)
  local raw <close> = core.study_sweep(r._core, jobs, o.threads or core.processors(), o.seed, o.dirty)
  local served, ended
  repeat
    served, ended = raw:step(MILLISECONDS)
    if o.progress then o.progress(served, r.refs * #jobs) end
  until ended
  return raw:results()
end

local compare_rows = rows { { "policies", "list" }, { "frames", "counts" }, { "threads", "threads" },
  { "dirty", "bool", true }, { "seed", "integer", 1 } }

---@class vmem.CompareOptions
---@field trace vmem.trace|vmem.References
---@field policies (string|table|vmem.Policy)[] those of Lua's run on the caller's thread
---@field frames integer|integer[]
---@field page? integer|string
---@field processes? boolean
---@field threads? integer as many as the host has processors; 0: only the caller's
---@field dirty? boolean
---@field seed? integer
---@field progress? fun(done: integer, all: integer?) references, over all runs

--- Run each policy with each number of frames over one decoded trace, on several
--- threads. The results do not depend on how many.
---@param t vmem.CompareOptions
---@return vmem.Comparison
function paging.compare(t)
  local o = study.take("paging.compare", t, compare_rows)
  if not o.policies then error("paging.compare: policies is missing", 2) end
  if not o.frames then error("paging.compare: frames is missing", 2) end
  local names, jobs, results = {}, {}, {}
  local policies = {}
  for i, p in ipairs(o.policies) do policies[i], names[i] = study.policy("paging.compare", p) end
  local r = decode("paging.compare", o)
  for i, p in ipairs(policies) do
    if results[names[i]] then error(("paging.compare: there are two policies %s"):format(names[i]), 2) end
    results[names[i]] = {}
    for _, n in ipairs(o.frames) do jobs[#jobs + 1] = { policy = p, frames = n, name = names[i] } end
  end
  for i, c in ipairs(sweep(r, jobs, o)) do
    c.hits = r.refs - c.misses
    c.miss_ratio = r.refs > 0 and c.misses / r.refs or 0
    results[jobs[i].name][jobs[i].frames] = c
  end
  return comparison.new { policies = names, frames = o.frames, refs = r.refs, pages = r.pages, results = results }
end

local GROUPS <const> = 8      -- equal parts of a sample, whose curves tell the error
local SIZES <const> = 128     -- of policies that need a run for each
local POINTS <const> = 200    -- that a curve of all sizes shows

-- Misses by number of frames of one pass over `r`, which may be a sample; nil: this
-- policy has no such pass.
local function one_pass(r, policy, progress)
  local raw = type(policy) == "string" and core.study_curve(r._core, policy)
  if not raw then return nil end
  local done, ended
  repeat
    done, ended = raw:step(STEP)
    if progress then progress(done, r.refs) end
  until ended
  local packed, pages, rate = raw:misses(), r.pages, r.rate
  raw:close()
  -- A sample's page stands for 1 / rate pages: n frames hold n * rate of it.
  return function(n)
    if n == 0 then return r.all end
    local k = rate == 1 and n or math.floor(n * rate)
    local m = ("=I4"):unpack(packed, 4 * math.min(k, pages) + 1)
    return rate == 1 and m or math.floor(m / rate + 0.5)
  end
end

-- The same by a run for each of some sizes; a sample with as much smaller memories.
local function by_runs(r, policy, o, sizes)
  local jobs, of = {}, { [0] = r.all }
  for i, n in ipairs(sizes) do jobs[i] = { policy = policy, frames = math.max(1, math.floor(n * r.rate + 0.5)) } end
  for i, c in ipairs(sweep(r, jobs, o)) do
    of[sizes[i]] = r.rate == 1 and c.misses or math.floor(c.misses / r.rate + 0.5)
  end
  return function(n) return of[n] end
end

local curve_rows = rows { { "policy", "any", "lru" }, { "sizes", "counts" }, { "sample", "rate" },
  { "sample_pages", "count" }, { "threads", "threads" }, { "dirty", "bool", false }, { "seed", "integer", 1 } }

---@class vmem.CurveOptions: vmem.DecodeOptions
---@field policy? string|table|vmem.Policy
---@field sizes? integer[] numbers of frames; by default some 200, or (policies that need a run for each) 128
---@field threads? integer
---@field seed? integer

--- The misses of a policy at every memory size: of LRU and OPT in one pass, of others
--- by a run for each of some sizes. With a sample, from the references to some of the
--- pages, with its error (SHARDS, Waldspurger et al. 2015; other policies by smaller
--- memories, Waldspurger et al. 2017).
---@param t vmem.CurveOptions
---@return vmem.MissCurve
function paging.curve(t)
  local o = study.take("paging.curve", t, curve_rows)
  local policy, name = study.policy("paging.curve", o.policy)
  local r = decode("paging.curve", o)
  local pages = math.floor(r.pages / r.rate + 0.5)
  local of = one_pass(r, policy, o.progress)
  local sizes = o.sizes or curve.spread(pages, of and POINTS or SIZES)
  table.sort(sizes)
  local c = { policy = name, method = of and "one pass" or "sizes", refs = r.all, pages = pages, rate = r.rate,
    sizes = sizes, _of = of or by_runs(r, policy, o, sizes) }
  if r.rate < 1 and r.pages >= GROUPS then
    c._groups = {}
    for k = 1, GROUPS do
      local part = r:_part(k, GROUPS)
      c._groups[k] = of and one_pass(part, policy) or by_runs(part, policy, o, sizes)
    end
  end
  return curve.new(c)
end

-- --- without a policy ----------------------------------------------------------------------

-- A sample's references lie closer together than the trace's.
local function whole(call, r)
  if r.rate < 1 then error(call .. ": a sample does not tell how far references lie apart", 3) end
  return r
end

local function ascending(list)
  table.sort(list)
  local out = {}
  for _, n in ipairs(list) do if n ~= out[#out] then out[#out + 1] = n end end
  return out
end

--- Working sets against the window (Denning 1968), the footprint, and times of reuse.
--- All tasks' references count as one sequence.
---@param t { trace: vmem.trace|vmem.References, windows?: integer[], page?: integer|string, processes?: boolean,
--- progress?: fun(done: integer) } windows: numbers of references; eight for each doubling if left out
---@return vmem.WorkingSets
function paging.working_set(t)
  local o = study.take("paging.working_set", t, rows { { "windows", "counts" } })
  local r = whole("paging.working_set", decode("paging.working_set", o))
  return locality.working_set(r, o.windows and ascending(o.windows) or locality.windows(r.refs))
end

--- Replacement by page-fault frequency (Chu and Opderbeck 1976), for each of some
--- thresholds: a fault that comes so many references after the last one, or later,
--- drops the pages that were not used in between.
---@param t { trace: vmem.trace|vmem.References, thresholds?: integer[], page?: integer|string, processes?: boolean,
--- progress?: fun(done: integer) } thresholds: references; powers of two if left out
---@return vmem.FaultFrequency
function paging.pff(t)
  local o = study.take("paging.pff", t, rows { { "thresholds", "counts" } })
  local r = whole("paging.pff", decode("paging.pff", o))
  local list = o.thresholds
  if not list then
    list = {}
    for k = 0, 40 do if 1 << k <= math.max(1, r.refs) then list[k + 1] = 1 << k end end
  end
  return locality.pff(r, list)
end

--- Phases: where the sets of pages of two windows that follow each other differ by more
--- than a share of their union (Dhodapkar and Smith 2002).
---@param t { trace: vmem.trace|vmem.References, window?: integer, threshold?: number, page?: integer|string,
--- processes?: boolean, progress?: fun(done: integer) } window: references, a hundredth of all if left out;
--- threshold: 0.5
---@return vmem.Phases
function paging.phases(t)
  local o = study.take("paging.phases", t, rows { { "window", "count" }, { "threshold", "rate", 0.5 } })
  local r = whole("paging.phases", decode("paging.phases", o))
  return locality.phases(r, o.window or math.max(1, r.refs // 100), o.threshold)
end

return paging
