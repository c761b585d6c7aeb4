--- A trace of allocations through an allocator, one operation at a time: to stop
--- anywhere and look at the heap as it is then.

local subject = require "vmem.heap.subject"
local take = require("vmem.paging.options").take

local stepper = {}

---@class vmem.heap.Stepper
---@field heap vmem.Heap # to look at; what is called besides the trace changes what comes
---@field trace vmem.heap.Trace
---@field name string # of the allocator, with its options
---@field op integer # operations that are done
---@field block table<integer, integer> # the address of each id that has a block
---@field machine vmem.Machine
local Stepper = {}
Stepper.__index = Stepper

function Stepper:__tostring()
  return ("vmem.heap.Stepper %s on %s: %d of %d operations done"):format(self.name, self.trace.name, self.op,
    #self.trace)
end

--- The next operation. Of an allocation of 0 bytes, and of a free, there is no address.
---@return integer? address nil, message, code: the allocator has no memory for it
---@return string? message
---@return string? code
function Stepper:step()
  local t, i = self.trace, self.op + 1
  local kind, id, n = t.kind[i], t.id[i], t.size[i]
  if not kind then return nil, "the trace is at its end", "EOF" end
  local a, message, code
  if kind == "a" then
    a, message, code = self.heap:malloc(n)
  elseif kind == "r" then
    a, message, code = self.heap:realloc(self.block[id], n)
  else
    self.heap:free(self.block[id])
  end
  if message then return nil, message, code end
  self.block[id], self.op = a, i
  return a
end

--- On to the state after operation `op`, which is not before that now.
---@param op integer 0 to the trace's length
---@return vmem.heap.Stepper? self nil, message, code: an operation found no memory
---@return string? message
---@return string? code
function Stepper:to(op)
  if math.type(op) ~= "integer" or op < self.op or op > #self.trace then
    error(("heap.stepper: operation %s is not one of %d to %d"):format(tostring(op), self.op, #self.trace), 2)
  end
  while self.op < op do
    local _, message, code = self:step()
    if message then return nil, ("operation %d: %s"):format(self.op + 1, message), code end
  end
  return self
end

--- The machine goes, and the heap with it.
function Stepper:close() self.machine:close() end

Stepper.__close = Stepper.close

stepper.rows = { { "trace", "any" }, { "allocator", "any", "implicit" }, { "options", "any", {} },
  { "machine", "any", subject.MACHINE } }

--- A stepper from options that are checked.
---@param heap table the module that opens heaps
---@param vmem_machine fun(t: table): vmem.Machine
---@param o table
---@return vmem.heap.Stepper? stepper
---@return string? message
---@return string? code
function stepper.make(heap, vmem_machine, o)
  local what, options = subject.allocator(o)
  local m = vmem_machine(o.machine)
  local ok, h, message, code = pcall(heap.open, m:spawn { name = subject.name(what) }, what, options)
  if ok and h then
    return setmetatable({ heap = h, trace = o.trace, name = subject.label(what, options), op = 0, block = {},
      machine = m }, Stepper)
  end
  m:close()
  if not ok then error(h, 0) end
  return nil, message, code
end

--- A trace, ready to begin.
---@param heap table the module that opens heaps
---@param vmem_machine fun(t: table): vmem.Machine
---@param t table options
---@return vmem.heap.Stepper? stepper nil, message, code: no such trace, or no heap
---@return string? message
---@return string? code
function stepper.new(heap, vmem_machine, t)
  local o = take("heap.stepper", t, stepper.rows)
  local message, code
  o.trace, message, code = subject.trace("heap.stepper", o.trace)
  if not o.trace then return nil, message, code end
  return stepper.make(heap, vmem_machine, o)
end

return stepper
