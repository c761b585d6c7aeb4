--- vmem: a virtual-memory laboratory.
---
--- `vmem.machine{…}` makes a machine; `vmem.trace` opens, records and generates
--- traces of programs; a machine's processes replay them.

local core = require "vmem.core"
local trace = require "vmem.trace"
local detector = require "vmem.detector"
local machine = require "vmem.machine"
local events = require "vmem.events"
local gc = require "vmem.gc"
local heap = require "vmem.heap"
local options = require "vmem.options"
local paging = require "vmem.paging"
local policy = require "vmem.policy"
local presets = require "vmem.presets"

---@class vmem
local vmem = {
  _VERSION = "vmem " .. core.version,
  trace = trace,
  paging = paging,
  policy = policy,
  heap = heap,
  gc = gc,
  presets = presets,
}

for _, part in ipairs { "vmem.generate", "vmem.record" } do
  for name, f in pairs(require(part)) do
    if trace[name] == nil then trace[name] = f end
  end
end

--- Make a machine: a preset ("csapp", "core-i7", "x86-32", "sv39", "sv48"),
--- options, or both. Unknown or ill-fitting options raise an error that names them.
---@param t? table
---@return vmem.Machine
function vmem.machine(t) return machine.new(t) end

--- Watch a process and its heaps for errors of memory: vmem.detector{ process = p,
--- heap = h, ... }. docs/errors.md tells what is found.
---@param t table
---@return vmem.Detector
function vmem.detector(t) return detector.new(t) end

--- The kinds of errors that a detector reports: name, doc.
---@return table[]
function vmem.error_kinds() return detector.kinds() end

--- Bytes of a size such as "64MiB"; nil if it is none.
---@param v integer|string
---@return integer?
function vmem.bytes(v) return options.bytes(v) end

--- The events that m:on and m:trace_events know: name, doc, addr, fields.
---@return table[]
function vmem.events() return events.rows end

--- The built-in replacement policies: name, doc, serves ("frames", "sets"), and
--- params, a list of rows: name, kind, default, min, max or choices, doc.
---@return table[]
function vmem.policies() return core.policies() end

--- The rows of all options of a machine: name, kind, default, min, max, doc, choices.
---@return table[]
function vmem.options() return options.rows end

return vmem
