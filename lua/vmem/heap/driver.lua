--- The malloc lab's driver: a trace of allocations through an allocator, checked and
--- measured.
--
-- Two passes over two machines that are alike. In the first each block's payload is
-- filled, and compared when the block goes, so that what an allocator does wrong shows;
-- in the second nothing but the allocator touches memory, so that cycles, faults and
-- searches are its own.

local loss = require "vmem.heap.loss"
local subject = require "vmem.heap.subject"
local take = require("vmem.paging.options").take

local driver = {}

local rows = {
  { "trace", "any" }, { "allocator", "any", "implicit" }, { "options", "any", {} },
  { "machine", "any", subject.MACHINE }, { "every", "count" }, { "at", "integer" }, { "weight", "rate", 0.6 },
  { "reference", "number", 600e3 },
}

---@class vmem.heap.Result
---@field allocator string
---@field trace string # its name
---@field ops integer
---@field valid boolean
---@field op? integer # the operation at which it was not; 0: when it began
---@field error? string # what is wrong with it
---@field utilization number # the most payload over the largest heap
---@field rate number # operations a second, on this host
---@field index number # the malloc lab's performance index, 0 to 1
---@field stats table # h:stats() of the second pass
---@field loss? vmem.heap.Loss # after operation `at`
local Result = {}
Result.__index = Result

function Result:__tostring()
  local head = ("%s on %s: %d operations"):format(self.allocator, self.trace, self.ops)
  if not self.valid then return ("%s, wrong at %d: %s"):format(head, self.op, self.error) end
  return ("%s, utilization %.1f %%, %.1f cycles and %.2f blocks searched an operation, %d page faults"):format(head,
    100 * self.utilization, self.stats.cycles_per_call, self.stats.searches / math.max(self.ops, 1),
    self.stats.faults)
end

-- --- the first pass ---------------------------------------------------------------------

-- What is live: addresses in order, and the sizes and fillings of each.
local Live = {}
Live.__index = Live

function Live:place(a)
  local lo, hi = 1, #self.order + 1
  while lo < hi do
    local mid = (lo + hi) // 2
    if self.order[mid] < a then lo = mid + 1 else hi = mid end
  end
  return lo
end

function Live:remove(a)
  table.remove(self.order, self:place(a))
  self.size[a], self.fill[a] = nil, nil
end

local function wrong(text, ...) error({ wrong = text:format(...) }, 0) end

function Live:add(a, n, fill)
  local first, stop = self.heap:range(a)
  if a % self.align ~= 0 then wrong("the block at %#x is not aligned to %d bytes", a, self.align) end
  if a < first or a + n > stop then
    wrong("the block of %d bytes at %#x is not in the heap, %#x to %#x", n, a, first, stop)
  end
  local at = self:place(a)
  local before, after = self.order[at - 1], self.order[at]
  if before and before + self.size[before] > a then
    wrong("the block of %d bytes at %#x overlaps that of %d at %#x", n, a, self.size[before], before)
  end
  if after and a + n > after then
    wrong("the block of %d bytes at %#x overlaps that of %d at %#x", n, a, self.size[after], after)
  end
  table.insert(self.order, at, a)
  self.size[a], self.fill[a] = n, fill
  self.process:write(a, fill:rep(n))
end

function Live:compare(a, n)
  local got, fill = self.process:read(a, n), self.fill[a]
  if got == fill:rep(n) then return end
  local at = 1
  while got:byte(at) == fill:byte() do at = at + 1 end
  wrong("byte %d of the block of %d at %#x is %#x, but %#x was written", at - 1, self.size[a], a, got:byte(at),
    fill:byte())
end

function Live:malloc(n, fill)
  local a, message = self.heap:malloc(n)
  if a then
    self:add(a, n, fill)
  elseif n > 0 then
    wrong("%s", message)
  end
  return a
end

function Live:free(a)
  if a then
    self:compare(a, self.size[a])
    self:remove(a)
  end
  self.heap:free(a)
end

function Live:realloc(a, n, fill)
  if not a then return self:malloc(n, fill) end
  local old, kept = self.size[a], self.fill[a]
  self:compare(a, old)
  self:remove(a)
  local new, message = self.heap:realloc(a, n)
  if new then
    -- What was there before must have come along; then it is filled anew.
    local got, same = self.process:read(new, math.min(old, n)), kept:rep(math.min(old, n))
    self:add(new, n, fill)
    if got ~= same then wrong("realloc of %#x to %d bytes at %#x lost what the block held", a, n, new) end
  elseif n > 0 then
    wrong("%s", message)
  end
  return new
end

local function each(t, h, after)
  local block = {}
  for i, kind in ipairs(t.kind) do
    local id, n = t.id[i], t.size[i]
    if kind == "a" then
      block[id] = h:malloc(n, string.char(i % 255 + 1))
    elseif kind == "r" then
      block[id] = h:realloc(block[id], n, string.char(i % 255 + 1))
    else
      h:free(block[id])
      block[id] = nil
    end
    if after then after(i) end
  end
end

--- nil, or the operation and what is wrong with it.
local function check(o, t, h, align)
  local live = setmetatable({ heap = h, process = h:process(), align = align, order = {}, size = {}, fill = {} }, Live)
  local every, at = o.every or math.max(1, #t // 1000), 1
  local ok, err = pcall(function()
    each(t, live, function(i)
      if i % every == 0 or i == #t then
        local sound, what, where = h:check()
        if not sound then wrong("%s, at %#x", what, where) end
      end
      at = i + 1
    end)
    at = #t
    for _, a in ipairs(live.order) do live:compare(a, live.size[a]) end
  end)
  if ok then return nil end
  return at, type(err) == "table" and err.wrong or tostring(err)
end

-- --- the second ---------------------------------------------------------------------------

local function measure(t, h)
  local packed, ids = t:packed()
  local start = os.clock()
  assert(h:_replay(packed, ids))
  local seconds = os.clock() - start
  return h:stats(), #t / math.max(seconds, 1e-9)
end

--- Run a trace of allocations through an allocator.
---@param heap table the module that opens heaps
---@param vmem_machine fun(t: table): vmem.Machine
---@param t table options
---@return vmem.heap.Result? result nil, message, code: no such trace
---@return string? message
---@return string? code
function driver.run(heap, vmem_machine, t)
  local o = take("heap.run", t, rows)
  local trace, message, code = subject.trace("heap.run", o.trace)
  if not trace then return nil, message, code end
  if o.at and (o.at < 0 or o.at > #trace) then
    error(("heap.run: at is %d, but takes 0 to %d, the trace's operations"):format(o.at, #trace), 2)
  end
  local what, options = subject.allocator(o)
  local name = subject.name(what)
  local result = setmetatable({ allocator = name, trace = trace.name, ops = #trace }, Result)
  local function pass(f)
    local m <close> = vmem_machine(o.machine)
    local p = m:spawn { name = name }
    local h, why = heap.open(p, what, options)
    if not h then
      result.op, result.error = 0, why
    else
      f(h)
    end
  end
  pass(function(h) result.op, result.error = check(o, trace, h, heap.alignment(what, options)) end)
  result.valid = result.op == nil
  if not result.valid then
    result.utilization, result.rate, result.index = 0.0, 0.0, 0.0
    return result
  end
  pass(function(h) result.stats, result.rate = measure(trace, h) end)
  if o.at then
    result.loss = loss.at(heap, vmem_machine, { trace = trace, allocator = o.allocator, options = o.options,
      machine = o.machine }, o.at)
  end
  result.utilization = result.stats.utilization_peak
  result.index = o.weight * result.utilization + (1 - o.weight) * math.min(1, result.rate / o.reference)
  return result
end

return driver
