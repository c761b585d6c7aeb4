--- Allocators written in Lua.
---
--- `vmem.heap.allocator{ name =, malloc =, free =, … }` makes an object that serves wherever
--- the name of a built-in allocator does. docs/allocators-in-lua.md is the tutorial.

local core = require "vmem.core"
local say = require "vmem.say"

local allocator = {}

local kind, show, names_of = say.kind, say.show, say.names

local Allocator = core.Allocator -- the metatable by which the core knows them
Allocator.__index = {}

local functions = { "init", "malloc", "free", "realloc", "resize", "memalign", "usable_size", "blocks", "check" }
local fields = { name = "string", doc = "string", params = "table", instructions = "integer" }
for _, name in ipairs(functions) do fields[name] = "function" end

-- What self has beside parameters.
local reserved = { base = true }
for _, name in ipairs(functions) do reserved[name] = true end
for _, name in ipairs(core.allocator_methods) do reserved[name] = true end

local INSTRUCTIONS = 100000000 -- of a call: about a second

--- The rows of the options that all of them have.
allocator.rows = core.heap_lua_options()

local function make(t)
  local call = "vmem.heap.allocator"
  local self = say.fields(call, t, fields)
  self.instructions = self.instructions or INSTRUCTIONS
  if not self.name or self.name == "" then error(call .. ": name is missing", 0) end
  if not self.malloc then error(("%s: allocator %s lacks the function malloc"):format(call, self.name), 0) end
  if self.realloc and self.resize then
    error(("%s: allocator %s has realloc and resize, of which one is enough"):format(call, self.name), 0)
  end
  if self.instructions < 0 then
    error(("%s: instructions is %d, but takes 0 (no limit) or more"):format(call, self.instructions), 0)
  end
  self.params = {}
  for k, v in pairs(t.params or {}) do
    if type(k) ~= "string" or reserved[k] then
      error(("%s: params has the name %s, which is %s"):format(call, show(k), reserved[k] and "taken" or "none"), 0)
    end
    self.params[k] = v
  end
  return setmetatable(self, Allocator)
end

--- An allocator of functions of one's own. Each heap has a table of its own (`self`), with
--- the parameters, the options word, align and chunk, and methods to reach the heap's memory.
---@param t vmem.heap.AllocatorFields
---@return vmem.heap.Allocator
function allocator.new(t)
  local ok, object = pcall(make, t)
  if not ok then error(object, 3) end
  return object
end

--- Is the value an object of vmem.heap.allocator?
---@param v any
---@return boolean
function allocator.is(v) return type(v) == "table" and getmetatable(v) == Allocator end

--- The same allocator with so many instructions a call at most.
---@param object vmem.heap.Allocator
---@param instructions integer
---@return vmem.heap.Allocator
function allocator.limited(object, instructions)
  local copy = {}
  for k, v in pairs(object) do copy[k] = v end
  if copy.instructions == 0 or copy.instructions > instructions then copy.instructions = instructions end
  return setmetatable(copy, Allocator)
end

--- Options, as given or by default: those of the heap, and what self begins with. Raises for
--- a name that there is not.
---@param object vmem.heap.Allocator
---@param t? table
---@return table<string, any> options
---@return table<string, any> self
function allocator.split(object, t)
  local options, self, rows = {}, {}, {}
  for _, row in ipairs(allocator.rows) do
    rows[row.name] = row
    self[row.name] = row.default
  end
  for k, v in pairs(object.params) do
    self[k] = v
    if rows[k] then options[k] = v end
  end
  for k, v in pairs(t or {}) do
    if rows[k] then
      options[k] = v
    elseif object.params[k] == nil then
      error(("heap %s: there is no option %s (there are %s)"):format(object.name, tostring(k), names_of(self)), 0)
    elseif kind(v) ~= kind(object.params[k]) then
      error(("heap %s: %s is %s, but takes a %s, as %s"):format(object.name, k, show(v), kind(object.params[k]),
        show(object.params[k])), 0)
    end
    self[k] = v
  end
  self.source, self.limit = nil, nil
  return options, self
end

function Allocator:__tostring()
  local has = {}
  for _, name in ipairs(functions) do
    if self[name] then has[#has + 1] = name end
  end
  return ("vmem.heap.allocator: %s (%s)"):format(self.name, table.concat(has, ", "))
end

return allocator
