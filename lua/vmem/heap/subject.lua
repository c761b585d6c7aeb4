--- What runs of traces through allocators have in common: which trace, which allocator,
--- in which machine.

local allocator = require "vmem.heap.allocator"
local rep = require "vmem.heap.rep"

local subject = {}

--- The machine that runs have, if they say none.
subject.MACHINE = { preset = "core-i7", dram = "128MiB", swap = "1GiB" }

--- The allocator that options say: a name or an object of heap.allocator, or { either, option = value, ... }.
---@param o { allocator: string|table, options?: table }
---@return string|vmem.heap.Allocator what
---@return table? options
function subject.allocator(o)
  local what, options = o.allocator, o.options
  if type(what) == "table" and not allocator.is(what) then
    options = {}
    for k, v in pairs(o.allocator) do
      if k ~= 1 then options[k] = v end
    end
    what = what[1]
  end
  return what, options
end

--- What it is called.
---@param what string|vmem.heap.Allocator
---@return string
function subject.name(what) return allocator.is(what) and what.name or what end

--- The trace that options name.
---@param call string
---@param v string|vmem.heap.Trace
---@return vmem.heap.Trace? trace nil, message, code: no such file
---@return string? message
---@return string? code
function subject.trace(call, v)
  if type(v) == "string" then return rep.open(v) end
  if type(v) == "table" and type(v.packed) == "function" then return v end
  error(call .. ": trace is missing: the path of a .rep file, or what heap.trace gave", 3)
end

--- "implicit", { fit = "best" } as one text: "implicit:fit=best".
---@param what string|vmem.heap.Allocator
---@param options? table
---@return string
function subject.label(what, options)
  local list = {}
  for k, v in pairs(options or {}) do list[#list + 1] = ("%s=%s"):format(k, v) end
  table.sort(list)
  return subject.name(what) .. (#list > 0 and ":" .. table.concat(list, ",") or "")
end

return subject
