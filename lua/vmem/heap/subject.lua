--- What runs of traces through allocators have in common: which trace, which allocator,
--- in which machine.

local rep = require "vmem.heap.rep"

local subject = {}

--- The machine that runs have, if they say none.
subject.MACHINE = { preset = "core-i7", dram = "128MiB", swap = "1GiB" }

--- The allocator that options name: a name, or { name, option = value, ... }.
---@param o { allocator: string|table, options?: table }
---@return string name
---@return table? options
function subject.allocator(o)
  local name, options = o.allocator, o.options
  if type(name) == "table" then
    options = {}
    for k, v in pairs(o.allocator) do
      if k ~= 1 then options[k] = v end
    end
    name = name[1]
  end
  return name, options
end

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
---@param name string
---@param options? table
---@return string
function subject.label(name, options)
  local list = {}
  for k, v in pairs(options or {}) do list[#list + 1] = ("%s=%s"):format(k, v) end
  table.sort(list)
  return name .. (#list > 0 and ":" .. table.concat(list, ",") or "")
end

return subject
