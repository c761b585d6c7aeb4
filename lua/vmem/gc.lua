--- Garbage collectors over heaps: mark and sweep, precise or conservative, and copying.
--
-- The core collects; here is what people see: options by name, layouts, handles that are
-- roots as long as Lua has them, weak ones, finalizers. Handles stand in lists in the
-- order in which they were made, so that a collection does the same in every run.

local core = require "vmem.core"
local graph = require "vmem.gc.graph"
local options = require "vmem.options"
local text = require "vmem.text"
local say = require "vmem.say"

local gc = {}

local names_of = say.names

local modes = { precise = 0, conservative = 1, copying = 2 }

-- name, what it takes (names with their numbers; "bytes", "count", "boolean"), default
local rows = {
  { "mode", modes, "precise" },
  { "marks", { bitmap = 0, header = 1 }, "bitmap" },
  { "lookup", { bitmap = 0, tree = 1 }, "bitmap" },
  { "sweep", { eager = 0, lazy = 1 }, "eager" },
  { "interior", "boolean" }, -- of a conservative one, as in CS:APP 9.10.3
  { "pointer", "count" },    -- 4 where addresses have 32 bits
  { "stack", "count", 4096 },
  { "space", "bytes", 1 << 20 },
}
local triggers = { { "allocated", "bytes", 0 }, { "free", "bytes", 0 } }
local others = { heap = true, roots = true, trigger = true }

-- The value that the core takes, or nil and what the option takes.
local function value_of(kind, v)
  if type(kind) == "table" then return kind[v], "one of: " .. names_of(kind) end
  if kind == "boolean" then
    if type(v) == "boolean" then return v and 1 or 0 end
    return nil, "true or false"
  end
  local n = kind == "bytes" and options.bytes(v) or math.type(v) and math.tointeger(v)
  return n and n >= 0 and n or nil, kind == "bytes" and "bytes, or a text such as \"64KiB\"" or "a whole number"
end

local function take(where, t, list, known, out)
  local names, is = {}, {}
  for _, row in ipairs(list) do
    local name, kind, default = row[1], row[2], row[3]
    names[#names + 1], is[name] = name, true
    local v = t[name]
    if v == nil then v = default end
    if v ~= nil then
      local n, takes = value_of(kind, v)
      if not n then error(("%s: %s is %s, but takes %s"):format(where, name, tostring(v), takes), 4) end
      out[name] = n
    end
  end
  for k in pairs(t) do
    if not is[k] and not known[k] then
      for name in pairs(known) do names[#names + 1] = name end
      error(("%s: there is no option %s%s"):format(where, tostring(k), options.suggestion(k, names)), 4)
    end
  end
end

---@class vmem.Gc
---@field heap vmem.Heap
---@field mode "precise"|"conservative"|"copying"
local Gc = {}
Gc.__index = Gc
Gc.__name = "vmem.Gc"

---What objects of one kind are like.
---@class vmem.gc.Layout
---@field size integer # bytes
---@field pointers integer[] # offsets
local Layout = {}
Layout.__index = Layout

function Layout:__tostring()
  return ("vmem.gc.Layout: %s, %s"):format(text.count(self.size, "byte"), text.count(#self.pointers, "pointer"))
end

---Holds an object while Lua holds it; until it is closed.
---@class vmem.gc.Handle
---@field address? integer # of the object, wherever it is now; nil: closed, or (weak) the object is gone
---@field weak boolean # it does not hold the object
local Handle = {}
Handle.__index = Handle

function Handle:close() self.address = nil end
Handle.__close = Handle.close
function Handle:__tostring()
  return (self.weak and "weak handle of " or "handle of ")
    .. (self.address and ("%#x"):format(self.address) or "nothing")
end

local Report = {}
Report.__index = Report

function Report:__tostring()
  return ("%s marked, %s swept (%s), %s touched, %s cycles"):format(text.count(self.marked, "object"),
    text.number(self.swept), text.bytes(self.swept_bytes), text.count(self.pages, "page"), text.number(self.pause))
end

-- Lists of handles: weak, so that a handle that Lua collects is no root any longer.
local function list() return setmetatable({ n = 0 }, { __mode = "v" }) end

local function add(handles, handle)
  handles.n = handles.n + 1
  handles[handles.n] = handle
  return handle
end

-- The handles that are open, in a list without gaps; their addresses.
local function open_handles(handles, addresses)
  local kept, n = {}, 0
  for i = 1, handles.n do
    local handle = handles[i]
    handles[i] = nil
    if handle and handle.address then
      n = n + 1
      kept[n] = handle
      addresses[#addresses + 1] = handle.address
    end
  end
  for i, handle in ipairs(kept) do handles[i] = handle end
  handles.n = n
  return kept
end

-- --- roots ------------------------------------------------------------------------------------

-- Areas by what a root's name says.
local kinds = {
  stack = function(area) return area.name == "[stack]" end,
  data = function(area) -- of a program or a file, private: not the kernel's names, not anonymous
    return area.prot:find "w" and area.name and area.name ~= "" and not area.name:find "^%["
      and not (area.flags or ""):find "shared"
  end,
}

local function check_roots(roots, process, copying)
  if roots == nil then return process and not copying and { "stack", "data" } or {} end
  if type(roots) ~= "table" then error("gc: roots is a list: \"stack\", \"data\", { start, stop }", 4) end
  for k, v in pairs(roots) do
    if k == "registers" then
      if type(v) ~= "table" and type(v) ~= "function" then
        error("gc: registers is a list of values, or a function that gives one", 4)
      end
    elseif math.type(k) ~= "integer" then
      error(("gc: roots has no field %s (registers is one)"):format(tostring(k)), 4)
    elseif not process then
      error("gc: a native heap has no stack and no data: roots are registers and handles", 4)
    elseif type(v) == "table" then
      local start, stop = math.tointeger(v[1]), math.tointeger(v[2])
      if not start or not stop or not math.ult(start, stop) then
        error("gc: a range of roots is { start, stop }, the first address and the first behind", 4)
      end
    elseif not kinds[v] then
      error(("gc: there are no roots %s (there are %s, and { start, stop })"):format(tostring(v), names_of(kinds)), 4)
    end
  end
  return roots
end

-- The whole of a range is mapped and may be read.
local function check_mapped(areas, start, stop)
  local at = start
  for _, area in ipairs(areas) do
    if not math.ult(at, area.start) and math.ult(at, area.stop) and area.prot:find "r" then at = area.stop end
  end
  if math.ult(at, stop) then error(("gc: roots from %#x to %#x: %#x is not mapped"):format(start, stop, at), 0) end
end

---@return integer[] # start, stop, start, stop
function Gc:_ranges()
  local ranges, process = {}, self.heap:process()
  local areas = process and #self.roots > 0 and process:areas() or {}
  for _, root in ipairs(self.roots) do
    if type(root) == "table" then
      check_mapped(areas, root[1], root[2])
      table.move(root, 1, 2, #ranges + 1, ranges)
    else
      for _, area in ipairs(areas) do
        if kinds[root](area) then table.move({ area.start, area.stop }, 1, 2, #ranges + 1, ranges) end
      end
    end
  end
  return ranges
end

---@return integer[]
function Gc:_registers()
  local registers = self.roots.registers
  if type(registers) == "function" then registers = registers() end
  for i, v in ipairs(registers or {}) do
    if math.type(v) ~= "integer" then error(("gc: register %d is a %s, not an integer"):format(i, type(v)), 0) end
  end
  return registers or {}
end

-- --- objects ----------------------------------------------------------------------------------

---What objects are like whose words at these offsets are pointers: for gc:new. Offsets
---count from the object's address.
---@param t { size: integer|string, pointers?: integer[] }
---@return vmem.gc.Layout? layout # nil, message, code: the table of layouts is full
---@return string? message
---@return string? code
function Gc:layout(t)
  if type(t) ~= "table" then error("gc: layout takes { size =, pointers = { offsets } }", 2) end
  for k in pairs(t) do
    if k ~= "size" and k ~= "pointers" then error(("gc: a layout has no field %s"):format(tostring(k)), 2) end
  end
  local size, pointers = options.bytes(t.size), t.pointers or {}
  if not size or size < 1 then error("gc: a layout's size is 1 byte or more", 2) end
  if type(pointers) ~= "table" then error("gc: a layout's pointers are a list of offsets", 2) end
  local address, message, code = self.core:layout(size, pointers)
  if not address then return nil, message, code end
  return setmetatable({ size = size, pointers = table.move(pointers, 1, #pointers, 1, {}), address = address,
    gc = self }, Layout)
end

-- Bytes without pointers have a layout, too, where all objects have.
function Gc:_plain(n)
  local layout = self.plain[n]
  if not layout then
    local message, code
    layout, message, code = self:layout { size = n }
    if not layout then return nil, message, code end
    self.plain[n] = layout
  end
  return layout.address
end

---An object, all of it 0. It may collect first: what Lua alone knows an address of, and
---no handle, is gone then, or elsewhere.
---@param what vmem.gc.Layout|integer # a layout; or bytes, in which a precise collector looks for no pointers
---@return integer? address # nil, message, code: no memory, even after a collection
---@return string? message
---@return string? code
function Gc:new(what)
  local layout, n = 0, what
  if getmetatable(what) == Layout then
    if what.gc ~= self then error("gc: the layout is another collector's", 2) end
    layout, n = what.address, what.size
  elseif math.type(what) ~= "integer" or what < 1 then
    error("gc: new takes a layout, or a number of bytes from 1", 2)
  elseif self.mode ~= "conservative" then
    local plain, message, code = self:_plain(what)
    if not plain then return nil, message, code end
    layout = plain
  end
  local a, message, code = self.core:new(layout, n, self.finalizing)
  if a then return a end
  if a == nil and (code ~= "ENOMEM" or self.finalizing) then return nil, message, code end
  self:collect()
  return self.core:new(layout, n, true)
end

---The word of an object, a pointer's bytes, at an address.
---@param address integer
---@return integer
function Gc:load(address) return self.core:load(address) end

---@param address integer
---@param value integer
function Gc:store(address, value) self.core:store(address, value) end

local function handle_of(self, handles, address, weak)
  if math.type(address) ~= "integer" then error("gc: a handle is of an address", 3) end
  return add(handles, setmetatable({ address = address, weak = weak, gc = self }, Handle))
end

---A handle that holds the object: until it is closed, by itself or by <close>, or Lua
---collects it. A copying collector keeps its address up to date.
---@param address integer
---@return vmem.gc.Handle
function Gc:root(address) return handle_of(self, self.handles, address, false) end

---A handle that does not hold the object: `address` is nil when it is gone, and when it
---lives only for its finalizer's sake.
---@param address integer
---@return vmem.gc.Handle
function Gc:weak(address) return handle_of(self, self.weaks, address, true) end

---Call f(address) when nothing else reaches the object. It and what it reaches are whole
---then, and live until the next collection that does not reach them. Once; of several
---objects, the one that was given its finalizer last is first.
---@param address integer
---@param f fun(address: integer)
function Gc:finalizer(address, f)
  if math.type(address) ~= "integer" or type(f) ~= "function" then
    error("gc: finalizer takes an address and a function", 2)
  end
  self.final[#self.final + 1] = { address = address, f = f }
end

-- --- collections ------------------------------------------------------------------------------

-- Those whose objects nothing reached, last first, leave the list.
local function take_due(self, final, due)
  local ready, rest = {}, {}
  for i, entry in ipairs(self.final) do
    entry.address = final[i]
    if due[i] then table.insert(ready, 1, entry) else rest[#rest + 1] = entry end
  end
  self.final = rest
  return ready
end

local function finalize(self, ready)
  local failed, first = 0, nil
  self.finalizing = true
  for _, entry in ipairs(ready) do
    local ok, err = pcall(entry.f, entry.address)
    if not ok then
      failed = failed + 1
      first = first or ("of the object at %#x: %s"):format(entry.address, tostring(err))
    end
  end
  self.finalizing = false
  if failed > 0 then error(("gc: %s failed, the first one %s"):format(text.count(failed, "finalizer"), first), 0) end
end

local function report(n, ready)
  n.garbage = n.blocks - n.marked
  n.finalized = ready and #ready or nil
  return setmetatable(n, Report)
end

---Collect: mark what is reached from roots, clear weak handles, sweep, run finalizers.
---The first error of a finalizer is raised when all have run.
---@return table<string, integer>? stats # of this collection, as gc:stats(); nil, message, code: no memory for it
---@return string? message
---@return string? code
function Gc:collect()
  if self.finalizing then error("gc: a finalizer runs: it can't collect", 2) end
  local values, weak, final = {}, {}, {}
  local registers, ranges = self:_registers(), self:_ranges()
  local count = #registers
  table.move(registers, 1, count, 1, values)
  local handles, weaks = open_handles(self.handles, values), open_handles(self.weaks, weak)
  for i, entry in ipairs(self.final) do final[i] = entry.address end
  local due, message, code = self.core:collect(values, ranges, weak, final)
  if not due then return nil, message, code end
  for i = 1, count do registers[i] = values[i] end
  for i, handle in ipairs(handles) do handle.address = values[count + i] end
  for i, handle in ipairs(weaks) do handle.address = weak[i] ~= 0 and weak[i] or nil end
  local ready = take_due(self, final, due)
  local _, last = self.core:stats()
  self.core:tell()
  finalize(self, ready)
  return report(last, ready)
end

---Sweep what a lazy collection has left.
function Gc:finish() self.core:finish() end

---Counters of all collections; `last` has those of the last one. gc.counters() lists them.
---@return table<string, any>
function Gc:stats()
  local sums, last = self.core:stats()
  report(sums)
  sums.last = report(last)
  return sums
end

---Objects and pointers as they are now, without an access.
---@param t? { names?: table<integer, string> } # texts for addresses, in pictures
---@return vmem.gc.Graph
function Gc:graph(t)
  local ranges, registers = self:_ranges(), self:_registers()
  local nodes, edges, found = self.core:graph(ranges)
  local handles = {}
  open_handles(self.handles, handles)
  return graph.new { nodes = nodes, edges = edges, found = found, registers = registers, handles = handles,
    interior = self.interior, names = t and t.names }
end

---No more collections. Its own memory is unmapped; objects stay, as blocks of the heap.
function Gc:close() self.core:close() end
Gc.__close = Gc.close

function Gc:__tostring() return tostring(self.core) .. " over " .. tostring(self.heap) end

--- The counters of gc:stats(): name, unit, doc.
---@return table[]
function gc.counters() return core.gc_counters() end

--- A collector of a heap.
---   heap      vmem.Heap, all of whose blocks are the collector's
---   mode      "precise", "conservative", "copying"
---   roots     list of "stack", "data" (areas of the process), { start, stop }; registers =
---             list of values, or a function that gives one. Without: "stack", "data"
---   trigger   { allocated = bytes, free = bytes }: collect after, below so many
---   marks     "bitmap", "header": a spare bit of the allocator's
---   lookup    "bitmap", "tree": how a word's block is found
---   sweep     "eager", "lazy": at allocations
---   interior  pointers into a block hold it (conservative: true, else false)
---   pointer   bytes of one, 4 or 8
---   stack     entries of the mark stack
---   space     bytes of each space of a copying one
---@param t table
---@return vmem.Gc? collector # nil, message, code: no memory
---@return string? message
---@return string? code
local function new(t)
  if type(t) ~= "table" then error("gc takes a table of options", 3) end
  local cfg = {}
  take("gc", t, rows, others, cfg)
  local trigger = t.trigger or {}
  if type(trigger) ~= "table" then error("gc: trigger takes { allocated = bytes, free = bytes }", 3) end
  take("gc: trigger", trigger, triggers, {}, cfg)
  local heap = t.heap
  if type(heap) ~= "userdata" or not heap.process then error("gc: heap is missing: what vmem.heap.open gave", 3) end
  local process, copying = heap:process(), cfg.mode == modes.copying
  if not cfg.pointer then cfg.pointer = process and process:geometry().va_bits <= 32 and 4 or 8 end
  if not cfg.interior then cfg.interior = cfg.mode == modes.conservative and 1 or 0 end
  if copying and cfg.interior == 1 then error("gc: a copying collector takes no interior pointers", 3) end
  local roots = check_roots(t.roots, process, copying)
  local c, message, code = core.gc_open(heap, cfg)
  if not c then return nil, message, code end
  return setmetatable({ core = c, heap = heap, mode = t.mode or "precise", interior = cfg.interior == 1, roots = roots,
    handles = list(), weaks = list(), final = {}, plain = {}, finalizing = false }, Gc)
end

-- No tail call: errors name the line of the caller.
return setmetatable(gc, { __call = function(_, t)
  local collector, message, code = new(t)
  return collector, message, code
end })
