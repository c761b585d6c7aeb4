--- All allocators by all traces.

local core = require "vmem.core"
local driver = require "vmem.heap.driver"
local say = require "vmem.say"
local subject = require "vmem.heap.subject"
local take = require("vmem.paging.options").take
local text = require "vmem.text"

local compare = {}

---@class vmem.heap.Comparison
---@field allocators string[] # with their options, as rows
---@field traces string[] # names, as columns
---@field results table<string, table<string, vmem.heap.Result>> # by allocator, then trace
---@field native boolean # over host memory: no cycles, faults and pages
local Comparison = {}
Comparison.__index = Comparison

-- What a table can be of: a title, and a cell of a result.
local figures = {
  utilization = { "peak utilization in percent", function(r) return 100 * r.utilization end, "%.1f" },
  cycles = { "cycles a call", function(r) return r.stats.pages and r.stats.cycles_per_call end, "%.1f" },
  faults = { "page faults", function(r) return r.stats.pages and r.stats.faults end, "%d" },
  searches = { "blocks searched a malloc", function(r) return r.stats.searches_per_malloc end, "%.2f" },
  pages = { "pages touched by the allocator", function(r) return r.stats.pages end, "%d" },
  rate = { "operations a second on this host", function(r) return r.rate end, "%.0f" },
  index = { "performance index of the malloc lab", function(r) return r.index end, "%.2f" },
}

local function short(name) return (name:match("([^/]+)%.rep[^/]*$") or name:match("[^/]+$") or name) end

--- One figure as a table: a title, the head, a row an allocator. Means are of what is valid.
---@param figure? string "utilization", "cycles", "faults", "searches", "pages", "rate", "index"
---@return string[][] rows the first: names of the columns
---@return string title
function Comparison:cells(figure)
  local f = figures[figure or "utilization"]
  if not f then
    error(("heap.compare: there is no figure %s (there are %s)"):format(tostring(figure), say.names(figures)), 2)
  end
  local rows = { { "allocator" } }
  for _, name in ipairs(self.traces) do table.insert(rows[1], short(name)) end
  if #self.traces > 1 then table.insert(rows[1], "mean") end
  for _, a in ipairs(self.allocators) do
    local row, sum, n = { a }, 0, 0
    for _, name in ipairs(self.traces) do
      local r = self.results[a][name]
      local x = r.valid and f[2](r)
      row[#row + 1] = x and f[3]:format(x) or "-"
      if x then sum, n = sum + x, n + 1 end
    end
    if #self.traces > 1 then row[#row + 1] = n == #self.traces and (f[3]:gsub("d", ".0f")):format(sum / n) or "-" end
    rows[#rows + 1] = row
  end
  return rows, f[1]
end

--- One figure as text.
---@param figure? string "utilization", "cycles", "faults", "searches", "pages", "rate", "index"
---@return string
function Comparison:table(figure)
  local rows, title = self:cells(figure)
  local width = {}
  for _, row in ipairs(rows) do
    for i, cell in ipairs(row) do width[i] = math.max(width[i] or 0, #cell) end
  end
  local out = { title }
  for _, row in ipairs(rows) do
    local s = "  " .. text.left(row[1], width[1])
    for i = 2, #row do s = s .. text.right(row[i], math.max(width[i], 8) + 2) end
    out[#out + 1] = s
  end
  return table.concat(out, "\n")
end

--- One figure as a table of Markdown.
---@param figure? string
---@return string
function Comparison:markdown(figure)
  local out = {}
  for i, row in ipairs((self:cells(figure))) do
    row[1] = i == 1 and row[1] or "`" .. row[1] .. "`"
    out[#out + 1] = "| " .. table.concat(row, " | ") .. " |"
    if i == 1 then out[#out + 1] = "|---" .. ("|--:"):rep(#row - 1) .. "|" end
  end
  return table.concat(out, "\n")
end

--- The runs that were wrong, a line each.
---@return string[]
function Comparison:wrong()
  local out = {}
  for _, a in ipairs(self.allocators) do
    for _, name in ipairs(self.traces) do
      local r = self.results[a][name]
      if not r.valid then
        out[#out + 1] = ("%s on %s: wrong%s: %s"):format(a, name,
          self.native and "" or " at operation " .. r.op, r.error)
      end
    end
  end
  return out
end

function Comparison:__tostring()
  local parts = {}
  for i, figure in ipairs(self.native and { "utilization", "searches" } or { "utilization", "cycles", "faults" }) do
    parts[i] = self:table(figure)
  end
  local wrong = self:wrong()
  if #wrong > 0 then parts[#parts + 1] = table.concat(wrong, "\n") end
  return table.concat(parts, "\n\n")
end

local rows = { { "traces", "list" }, { "allocators", "list" }, { "machine", "any", subject.MACHINE },
  { "every", "count" }, { "progress", "callable", function() end } }

-- Over host memory, unchecked: what can be known without a machine. packed, ids: the trace's.
local function run_native(heap, trace, packed, ids, allocator)
  local what, options = subject.allocator { allocator = allocator }
  local r = { allocator = subject.name(what), trace = trace.name, ops = #trace, index = 0.0 }
  local h <close>, why = heap.native(what, options)
  local start = os.clock()
  local done, bad
  if h then done, bad = h:_replay(packed, ids) end
  r.rate = #trace / math.max(os.clock() - start, 1e-9)
  r.valid, r.error = done == true, why or bad
  r.stats = h and h:stats()
  r.utilization = r.valid and r.stats.utilization_peak or 0.0
  return r
end

---@param heap table the module that opens heaps
---@param vmem_machine fun(t: table): vmem.Machine
---@param t table options
---@return vmem.heap.Comparison? comparison nil, message, code: no such trace
---@return string? message
---@return string? code
function compare.new(heap, vmem_machine, t)
  local o = take("heap.compare", t, rows)
  if not o.traces then error("heap.compare: traces are missing: a list of paths of .rep files, or of traces", 2) end
  local c = { allocators = {}, traces = {}, results = {}, native = o.machine == false }
  local traces, packed, ids, allocators = {}, {}, {}, o.allocators
  if not allocators then
    allocators = {}
    for i, row in ipairs(core.heap_classes()) do allocators[i] = row.name end
  end
  for i, v in ipairs(o.traces) do
    local trace, message, code = subject.trace("heap.compare", v)
    if not trace then return nil, message, code end
    traces[i], c.traces[i] = trace, trace.name
    if c.native then packed[i], ids[i] = trace:packed() end
  end
  for i, v in ipairs(allocators) do
    local label = subject.label(subject.allocator { allocator = v })
    c.allocators[i], c.results[label] = label, {}
    for k, trace in ipairs(traces) do
      o.progress((i - 1) * #traces + k, #allocators * #traces, trace.name, label)
      c.results[label][trace.name] = c.native and run_native(heap, trace, packed[k], ids[k], v)
        or driver.run(heap, vmem_machine, { trace = trace, allocator = v, machine = o.machine, every = o.every })
    end
  end
  return setmetatable(c, Comparison)
end

return compare
