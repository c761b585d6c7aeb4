--- Heaps: allocators that live in the memory of a simulated process, so that what
--- they read and write is counted as accesses, misses and faults.

local allocator = require "vmem.heap.allocator"
local check = require "vmem.heap.check"
local core = require "vmem.core"
local compare = require "vmem.heap.compare"
local diverge = require "vmem.heap.diverge"
local driver = require "vmem.heap.driver"
local loss = require "vmem.heap.loss"
local machine = require "vmem.machine"
local options = require "vmem.options"
local patterns = require "vmem.heap.patterns"
local record = require "vmem.heap.record"
local rep = require "vmem.heap.rep"
local stepper = require "vmem.heap.stepper"
local subject = require "vmem.heap.subject"
local view = require "vmem.heap.view"

local heap = {}

local classes, class_names = {}, {}
for _, row in ipairs(core.heap_classes()) do
  classes[row.name] = row
  class_names[#class_names + 1] = row.name
end

--- The allocators: name, doc, and options, a list of rows: name, doc, default,
--- and choices or min and max.
---@return table[]
function heap.allocators() return core.heap_classes() end

--- The counters that h:stats() has beside its sums: name, unit, doc.
---@return table[]
function heap.counters() return core.heap_counters() end

--- Sizes as texts, "64KiB"; unknown options by their nearest name.
local function flatten(name, list, t)
  local rows, names, flat = {}, {}, {}
  for _, o in ipairs(list) do
    rows[o.name] = o
    names[#names + 1] = o.name
  end
  for k, v in pairs(t or {}) do
    local o = rows[k]
    if not o and type(k) == "string" then
      error(("heap %s: there is no option %s%s (there are %s)"):format(name, k, options.suggestion(k, names),
        table.concat(names, ", ")), 0)
    end
    flat[k] = o and not o.choices and options.bytes(v) or v
  end
  return flat
end

-- What the core takes, of a name, an object, or either with options behind it.
local function resolve(what, t)
  local name = what
  if allocator.is(what) then name = what.name end
  if t ~= nil and type(t) ~= "table" then
    error(("heap %s takes a table of options, but got a %s"):format(name, type(t)), 0)
  end
  if allocator.is(what) then
    local flat, self = allocator.split(what, t)
    flat = flatten(name, allocator.rows, flat)
    for k, v in pairs(flat) do
      if self[k] ~= nil then self[k] = v end
    end
    return what, flat, self
  end
  local row = classes[name]
  if not row then
    error(("there is no allocator %s%s (there are %s)"):format(tostring(name),
      options.suggestion(name, class_names), table.concat(class_names, ", ")), 0)
  end
  return name, flatten(name, row.options, t)
end

-- Errors of `resolve` at the caller of the public function.
local function resolved(...)
  local ok, what, flat, self = pcall(resolve, ...)
  if not ok then error(what, 3) end
  return what, flat, self
end

--- An allocator of functions of one's own, which serves wherever a name does: malloc (the
--- only one that must be), free, realloc or resize, memalign, usable_size, blocks, check, init.
---@param t vmem.heap.AllocatorFields
---@return vmem.heap.Allocator
function heap.allocator(t) return allocator.new(t) end

local CHECK = { runs = 100, steps = 300, seed = 1 }

--- Does the allocator keep the contract? It serves `runs` random programs (100), which get
--- longer, up to `steps` calls (300), in heaps of three sizes. What breaks it is made as small
--- as can be, and shown call by call. Functions have a million instructions a call here.
---@param what string|table|vmem.heap.Allocator with options: { allocator, option = value, ... }
---@param t? { runs?: integer, steps?: integer, seed?: integer }
---@return true? kept
---@return vmem.heap.AllocatorReport? report of what is broken; print it
function heap.check(what, t)
  local object, given = subject.allocator { allocator = what }
  local o = {}
  for k, v in pairs(t or {}) do
    if not CHECK[k] or math.type(v) ~= "integer" then
      error(("vmem.heap.check: there is no option %s = %s (there are runs, seed, steps, whole numbers)"):format(
        tostring(k), tostring(v)), 2)
    end
  end
  for k, v in pairs(CHECK) do o[k] = t and t[k] or v end
  if allocator.is(object) then object = allocator.limited(object, 1000000) end
  resolved(object, given)
  local m <close> = machine.new { preset = "x86-32", dram = "16MiB" }
  local function with(limit, more)
    local all = { limit = limit }
    for k, v in pairs(given or {}) do all[k] = v end
    for k, v in pairs(more or {}) do all[k] = v end
    return all
  end
  return check.run({
    name = subject.name(object), align = heap.alignment(object, given),
    open = function(limit)
      local p = m:spawn()
      return heap.open(p, object, with(limit, { source = "mmap" })), p
    end,
    native = function(limit) return heap.native(object, with(limit)) end,
  }, o)
end

--- A heap in a process's memory.
---@param process vmem.Process
---@param what string|vmem.heap.Allocator one of heap.allocators(), or of one's own
---@param t? table its options
---@return vmem.Heap? heap nil, message, code: the process gets no memory
---@return string? message
---@return string? code
function heap.open(process, what, t)
  if process == nil then error("heap.open: a process is missing", 2) end
  return core.heap_open(process, resolved(what, t))
end

--- The same allocator over plain host memory, without a machine.
---@param what string|vmem.heap.Allocator
---@param t? table
---@return vmem.Heap
function heap.native(what, t) return core.heap_open(nil, resolved(what, t)) end

--- An option's value: as given, or as it is by default.
---@param what string|vmem.heap.Allocator
---@param t? table
---@param name string
---@return any
function heap.option(what, t, name)
  if t and t[name] ~= nil then return t[name] end
  if allocator.is(what) and what.params[name] ~= nil then return what.params[name] end
  for _, o in ipairs(allocator.is(what) and allocator.rows or classes[what].options) do
    if o.name == name then return o.default end
  end
end

--- The bytes that addresses of blocks are multiples of.
---@param what string|vmem.heap.Allocator
---@param t? table its options
---@return integer
function heap.alignment(what, t)
  return options.bytes(heap.option(what, t, "align") or heap.option(what, t, "page"))
end

--- The patterns, traces made by formula: name, doc, and options, a list of rows: name,
--- default, min, max, doc.
---@return table[]
function heap.patterns() return patterns.rows() end

--- A trace of allocations: from a `.rep` file, by its path; from a list of
--- { "a", id, size }, { "r", id, size } and { "f", id }; or a pattern, "@binary:small=16" or
--- { "binary", small = 16 }.
---@param from string|table
---@return vmem.heap.Trace? trace nil, message, code
---@return string? message
---@return string? code
function heap.trace(from)
  if type(from) == "table" then return rep.new(from) end
  return rep.open(from)
end

--- A trace of allocations from the text of a `.rep` file.
---@param text string
---@param name? string for messages
---@return vmem.heap.Trace? trace nil, message, code
---@return string? message
---@return string? code
function heap.parse(text, name) return rep.parse(text, name) end

--- Run a program, unmodified, with a recorder of malloc and its kin before its
--- libraries (docs/recording.md): { program, argument, ..., output =, of =, limit =, env =,
--- stdin =, stdout = }.
---@param t vmem.heap.Command
---@return vmem.heap.Trace? trace nil, message, code
---@return table|string? ending { status =, signal =, more =, foreign = }
---@return string? code
function heap.record(t) return record.record(t) end

--- Run a trace through an allocator: check what it does, and measure it.
---   trace      the path of a .rep file, or a trace
---   allocator  a name or an object of heap.allocator, or { either, option = value, ... }
---   options    of the allocator, if it is a name
---   machine    options of the machine, or nothing: a core-i7
---   at         explain the loss after this operation: result.loss; nothing: do not
---   every      check the heap after so many operations; nothing: a thousand times
---   weight     of utilization in the index: 0.6
---   reference  operations a second that are worth all of the rest of it: 600,000
---@param t table
---@return vmem.heap.Result? result nil, message, code: no such trace
---@return string? message
---@return string? code
function heap.run(t) return driver.run(heap, machine.new, t) end

--- A trace through an allocator, one operation at a time: s:step(), s:to(n), s.heap.
---   trace, allocator, options, machine   as heap.run has them
---@param t table
---@return vmem.heap.Stepper? stepper nil, message, code: no such trace, or no heap
---@return string? message
---@return string? code
function heap.stepper(t) return stepper.new(heap, machine.new, t) end

--- Where the bytes of a heap are that are no payload, over a trace.
---   trace, allocator, options, machine   as heap.run has them
---   points   moments to look at, besides the peak: 200
---@param t table
---@return vmem.heap.LossSeries? series nil, message, code: no such trace, or no memory
---@return string? message
---@return string? code
function heap.loss(t) return loss.series(heap, machine.new, t) end

--- The names of losses: name, unit, doc.
---@return table[]
function heap.losses() return core.heap_losses() end

--- The first operation of a trace at which two allocators part, and why.
---   trace, machine   as heap.run has them
---   a, b             allocators: a name, or { name, option = value, ... }
---@param t table
---@return vmem.heap.Divergence? divergence nil, message, code: no such trace, or no memory
---@return string? message
---@return string? code
function heap.diverge(t) return diverge.new(heap, machine.new, t) end

--- All allocators by all traces.
---   traces      paths of .rep files, or traces
---   allocators  names, or { name, option = value, ... }; nothing: all there are
---   progress    called before each run: its number, how many there are, trace, allocator
---   machine, every   as heap.run has them; machine = false: over host memory, unchecked and
---               fast, which gives utilization and searches, but no cycles, faults and pages
---@param t table
---@return vmem.heap.Comparison? comparison nil, message, code: no such trace
---@return string? message
---@return string? code
function heap.compare(t) return compare.new(heap, machine.new, t) end

local Heap = core.Heap

local function ratio(a, b) return b > 0 and a / b or 0.0 end

--- Counters, and what follows from them: `utilization` and `utilization_peak` (payload
--- over heap; the most payload over the largest heap, CS:APP 9.9.3), `internal` (bytes
--- of allocated blocks that are no payload), `external` (the share of the free bytes
--- that is not in the largest free block), and searches, cycles and faults a call. Over a
--- machine also `pages` of the heap that the allocator touched, and of its accesses
--- `tlb_misses` and `cache_misses` by level: tlb_misses.l1d, cache_misses.l2.
---@return table<string, any>
function Heap:stats()
  local s = self:_stats()
  local calls = s.mallocs + s.frees + s.reallocs
  s.utilization = ratio(s.payload, s.bytes)
  s.utilization_peak = ratio(s.payload_peak, s.bytes_peak)
  s.internal = s.allocated - s.payload
  s.external = s.free > 0 and 1 - s.largest_free / s.free or 0.0
  s.searches_per_malloc = ratio(s.searches, s.mallocs)
  s.cycles_per_call = ratio(s.cycles, calls)
  s.faults_per_call = ratio(s.faults, calls)
  return s
end

--- Where the heap's bytes are that are no payload: printed, a table. CS:APP 9.9.3.
---@return vmem.heap.Loss
function Heap:loss() return loss.new(self:_loss(), self:name()) end

--- Blocks in address order and in the order of the free lists: printed, and :svg().
---@return vmem.heap.View
function Heap:view() return view.new(self) end

return heap
