--- Where the bytes of a heap are that are no payload: at one moment, and over a trace.

local core = require "vmem.core"
local plot = require "vmem.paging.plot"
local stepper = require "vmem.heap.stepper"
local subject = require "vmem.heap.subject"
local take = require("vmem.paging.options").take
local text = require "vmem.text"

local loss = {}

--- The names of losses: name, unit, doc. They add up to bytes - payload.
loss.rows = core.heap_losses()

---@class vmem.heap.Loss
---@field bytes integer # of the heap
---@field payload integer # asked for in live blocks
---@field headers integer # before the payloads of allocated blocks
---@field footers integer # behind them
---@field padding integer # alignment
---@field minimum integer # up to the smallest block
---@field rounding integer # up to a size that blocks have
---@field slack integer # rests that were not split off
---@field holes integer # free blocks below an allocated one
---@field tail integer # free blocks above them all
---@field tables integer # in no block
---@field op? integer # operations of the trace that were done
---@field allocator string
local Loss = {}
Loss.__index = Loss

---@param t table of core
---@param allocator string
---@param op? integer
---@return vmem.heap.Loss
function loss.new(t, allocator, op)
  t.allocator, t.op = allocator, op
  return setmetatable(t, Loss)
end

local NAME, FIGURE, SHARE = 12, 14, 10

--- Losses beside each other, as lines.
---@param list vmem.heap.Loss[]
---@param docs? boolean what each name means, at the line's end
---@return string[]
function loss.lines(list, docs)
  local lines = {}
  local function row(name, field, doc)
    local s = "  " .. text.left(name, NAME)
    for _, l in ipairs(list) do
      s = s .. text.right(text.number(l[field]), FIGURE) .. text.right(text.percent(l[field], l.bytes, 1), SHARE)
    end
    lines[#lines + 1] = s .. (docs and doc and "   " .. doc or "")
  end
  row("payload", "payload", "what was asked for")
  for _, r in ipairs(loss.rows) do row(r.name, r.name, r.doc) end
  row("heap", "bytes")
  return lines
end

function Loss:__tostring()
  return ("%s%s: %s of heap and what they are\n"):format(self.allocator,
    self.op and (" after operation %d"):format(self.op) or "", text.count(self.bytes, "byte"))
    .. table.concat(loss.lines({ self }, true), "\n")
end

-- --- over a trace ----------------------------------------------------------------------

---@class vmem.heap.LossSeries
---@field allocator string
---@field trace string # its name
---@field ops integer
---@field peak vmem.heap.Loss # when the payload was largest
---@field [integer] vmem.heap.Loss # in the order of operations, the peak among them
local Series = {}
Series.__index = Series

local COLUMNS = { "payload" }
for _, r in ipairs(loss.rows) do COLUMNS[#COLUMNS + 1] = r.name end
COLUMNS[#COLUMNS + 1] = "bytes"

-- In plot's palette: the same name has the same colour in all pictures, the large ones differ most.
local COLOURS = { payload = 1, headers = 2, footers = 10, padding = 4, minimum = 9, rounding = 3, slack = 7, holes = 5,
  tail = 8, tables = 6 }

--- Some twenty of the points, and the peak: `svg` shows all.
function Series:__tostring()
  local out = { ("%s on %s: bytes of the heap by what they are (* the most payload)"):format(self.allocator,
    self.trace) }
  local width, head = {}, text.right("operation", 11)
  for i, name in ipairs(COLUMNS) do
    width[i] = #name + 2
    for _, l in ipairs(self) do width[i] = math.max(width[i], #text.number(l[name]) + 2) end
    head = head .. text.right(name == "bytes" and "heap" or name, width[i])
  end
  out[2] = head
  local every = math.max(1, #self // 20)
  for k, l in ipairs(self) do
    if k % every == 0 or k == 1 or k == #self or l == self.peak then
      local s = text.right(text.number(l.op) .. (l == self.peak and "*" or " "), 11)
      for i, name in ipairs(COLUMNS) do s = s .. text.right(text.number(l[name]), width[i]) end
      out[#out + 1] = s
    end
  end
  return table.concat(out, "\n")
end

--- A picture: the heap over the operations, cut into payload and losses.
---@param t? { title?: string }
---@return string
function Series:svg(t)
  local series, low = {}, {}
  for i = 1, #COLUMNS - 1 do
    local name, some, points, band = COLUMNS[i], false, {}, {}
    for k, l in ipairs(self) do
      local from = low[k] or 0
      low[k] = from + l[name]
      some = some or l[name] > 0
      points[k], band[k] = { l.op, low[k] }, { l.op, from, low[k] }
    end
    if some then series[#series + 1] = { name = name, points = points, band = band, colour = COLOURS[name] } end
  end
  return plot.lines { title = t and t.title or ("The heap of %s on %s"):format(self.allocator, self.trace),
    x = "operations", y = "bytes", series = series, stacked = true, mark = { self.peak.op, "most payload" } }
end

local rows = { { "points", "count", 200 } }
table.move(stepper.rows, 1, #stepper.rows, 2, rows)

--- The loss after operation `op` of a run that is known to go well.
---@param heap table the module that opens heaps
---@param vmem_machine fun(t: table): vmem.Machine
---@param o table as stepper.make has it
---@param op integer
---@return vmem.heap.Loss
function loss.at(heap, vmem_machine, o, op)
  local s <close> = assert(stepper.make(heap, vmem_machine, o))
  assert(s:to(op))
  return loss.new(s.heap:_loss(), s.name, op)
end

--- The losses of a run, at `points` moments and at its peak.
---@param heap table the module that opens heaps
---@param vmem_machine fun(t: table): vmem.Machine
---@param t table options
---@return vmem.heap.LossSeries? series nil, message, code: no such trace, or no memory
---@return string? message
---@return string? code
function loss.series(heap, vmem_machine, t)
  local o = take("heap.loss", t, rows)
  local trace, message, code = subject.trace("heap.loss", o.trace)
  if not trace then return nil, message, code end
  o.trace = trace
  local run <close>, why_not, of_run = stepper.make(heap, vmem_machine, o)
  if not run then return nil, why_not, of_run end
  local peak, out = trace.peak_op, { allocator = run.name, trace = trace.name, ops = #trace }
  local function add(op)
    local ok, why, what = run:to(op)
    if not ok then return nil, why, what end
    out[#out + 1] = loss.new(run.heap:_loss(), run.name, op)
    if op == peak then out.peak = out[#out] end
    return true
  end
  local last = -1
  for k = 0, o.points do
    local op = #trace * k // o.points
    for _, at in ipairs { last < peak and peak <= op and peak or op, op } do
      if at > last then
        local ok, why, what = add(at)
        if not ok then return nil, why, what end
        last = at
      end
    end
  end
  return setmetatable(out, Series)
end

return loss
