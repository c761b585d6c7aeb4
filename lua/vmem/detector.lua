--- An error detector: it watches a process and its heaps, and reports what CS:APP 9.11
--- and Valgrind's memcheck call errors, with the block, the distance and the places in
--- the program. docs/errors.md tells what it finds and how.

local core = require "vmem.core"
local options = require "vmem.options"
local take = require("vmem.paging.options").take
local text = require "vmem.text"

local detector = {}

local rows = {
  { "process", "any" }, { "heap", "any" }, { "redzone", "integer", 16 }, { "quarantine", "any", "all" },
  { "at_load", "bool", false }, { "once", "bool", true }, { "raise", "bool", false }, { "on_report", "callable" },
  { "stack", "any", "1MiB" }, { "data", "any", "1MiB" }, { "depth", "count", 8 }, { "limit", "count", 1000 },
  { "pc", "callable" }, { "symbol", "callable" },
}

-- Calls of the face are no part of a program's traceback.
local FACE = debug.getinfo(1, "S").source:match("^(.*/)") or debug.getinfo(1, "S").source

-- --- reports -----------------------------------------------------------------------------

---@class vmem.Report
local Report = {}
Report.__index = Report

local function hex(n) return ("%#x"):format(n) end

local function bytes(n) return n == 1 and "1 byte" or ("%d bytes"):format(n) end

local AREAS = { stack = "variable", data = "global variable", mapping = "mapping" }

local function named(b, article)
  local gone = b.live and "" or b.kind == "heap" and "freed " or b.kind == "stack" and "dead " or "unmapped "
  if b.kind == "heap" then return ("%s %sblock of %s at %s"):format(article, gone, bytes(b.size), hex(b.address)) end
  return ("the %s%s %s of %s at %s"):format(gone, AREAS[b.kind], b.name or "?", bytes(b.size), hex(b.address))
end

-- Where the first wrong byte is: a side of the block, and how far from it.
local function place(r, b)
  if r.first < b.address then return "before", b.address - r.first end
  if r.first >= b.address + b.size then return "behind", r.first - b.address - b.size end
  return "inside", r.first - b.address
end

local SIDES = { before = "before the start of", behind = "behind the end of", inside = "inside" }

local function access(r)
  return ("A %s%s at %s"):format(r.access, r.size and " of " .. bytes(r.size) or "", hex(r.address))
end

local function beside(r)
  if not r.block then return "" end
  if r.first > r.address and r.side == "behind" then
    return ("%s runs over the end of %s: it may use %s"):format(access(r), named(r.block, "the"),
      bytes(r.first - r.address))
  end
  return ("%s is %s %s %s"):format(access(r), bytes(r.distance), SIDES[r.side], named(r.block, "a"))
end

local function after(what)
  return function(r)
    if not r.block then return ("%s is to memory that %s long ago"):format(access(r), what) end
    local at = r.address - r.block.address
    if at < 0 or at >= r.block.size then
      return ("%s is by a pointer to %s, %s from its start"):format(access(r), named(r.block, "a"), bytes(at))
    end
    return ("%s is %s inside %s"):format(access(r), bytes(at), named(r.block, "a"))
  end
end

local USES = {
  branch = "A branch depends on", address = "An address is computed from", syscall = "A system call is given",
  load = "A load reads", size = "A size is computed from",
}

local function freed(verb)
  return function(r)
    local name = r.name or "free"
    if not r.block then return ("%s of %s, %s"):format(name, hex(r.address), verb) end
    local at = r.address - r.block.address
    local where = at == 0 and "" or (", %s %s"):format(bytes(math.abs(at)), at > 0 and "inside" or "before")
    return ("%s of %s%s: %s %s"):format(name, hex(r.address), where, named(r.block, "the"), verb)
  end
end

local texts = {
  bad_pointer = function(r)
    local what = r.address == 0 and "is by a null pointer" or "is by a bad pointer: no mapping allows it"
    return ("%s %s"):format(access(r), what)
  end,
  overrun = beside,
  underrun = beside,
  stray_pointer = function(r)
    return ("%s is %s inside %s, but the pointer is to %s"):format(access(r), bytes(r.first - r.block.address),
      named(r.block, "the"), named(r.pointer, "the"))
  end,
  use_after_free = after "was freed",
  use_after_return = after "was a dead variable's",
  use_after_unmap = after "was unmapped",
  allocator_memory = function(r) return access(r) .. " is in what the allocator keeps for itself" end,
  no_variable = function(r) return access(r) .. " is in no variable" end,
  uninitialised = function(r)
    local what = USES[r.use]
    if r.use == "load" or r.use == "syscall" and r.size then
      return ("%s uninitialised bytes%s, the first at %s"):format(what, r.name and " (" .. r.name .. ")" or "",
        hex(r.first))
    end
    return ("%s an uninitialised value%s"):format(what, r.name and " (" .. r.name .. ")" or "")
  end,
  double_free = freed "was freed already",
  invalid_free = freed "is not what malloc gave",
  mismatched_free = function(r)
    return ("%s of %s: %s came from %s"):format(r.name or "free", hex(r.address), named(r.block, "the"),
      r.block.family == "malloc" and "another heap" or r.block.family)
  end,
  overlap = function(r)
    return ("memcpy of %s from %s to %s: they overlap by %s"):format(bytes(r.size), hex(r.source), hex(r.address),
      bytes(r.size - math.abs(r.address - r.source)))
  end,
  returned_local = function(r)
    return ("Function %s returns a pointer to %s, which ends with it"):format(r.name, named(r.block, "its"))
  end,
  bad_size = function(r) return ("%s of a negative size, %d"):format(r.name, r.size) end,
}

-- What a mistake like this often is: a test and a text; the first that fits is told.
local hints = {
  { "overrun", function(r) return r.block and r.block.element and r.size and r.size > r.block.element end,
    "elements of %d bytes were allocated, but %d are accessed: were the sizes of pointer and object mixed up?" },
  { "overrun", function(r) return r.block and r.distance == 0 and r.first == r.address and r.access == "store" end,
    "it begins exactly at the end: one element too many (off by one)?" },
  { "bad_pointer", function(r) return r.address == 0 end, "was the result of a call not looked at?" },
  { "bad_pointer", function(r) return r.address > 0 and r.address < 4096 end,
    "so small a number is rather a value than an address" },
  { "returned_local", function() return true end, "allocate it, or let the caller give the memory" },
}

local function hint(r)
  for _, row in ipairs(hints) do
    if row[1] == r.kind and row[2](r) then
      return row[3]:format(r.block and r.block.element or 0, r.size or 0)
    end
  end
end

local WIDTH = 100
local INDENT = (" "):rep(17)

local function section(out, title, list)
  for i, line in ipairs(list or {}) do
    out[#out + 1] = ("  %-14s %s"):format(i == 1 and title or "", line)
  end
end

local GONE = { heap = "freed", stack = "left", data = "gone", mapping = "unmapped" }
local MADE = { heap = "allocated", stack = "declared", data = "declared", mapping = "mapped" }

local function block_sections(out, b)
  if not b then return end
  section(out, MADE[b.kind] .. " at", b.made)
  section(out, GONE[b.kind] .. " at", b.gone)
end

--- The report as a paragraph: what and where, then the places in the program.
function Report:__tostring()
  local times = self.count > 1 and (" (%d times)"):format(self.count) or ""
  local out = { text.wrap(self.text .. times, WIDTH, "  ") }
  section(out, "at", self.where)
  block_sections(out, self.block)
  if self.pointer then
    out[#out + 1] = "  the pointer's  " .. named(self.pointer, "own")
    block_sections(out, self.pointer)
  end
  if self.origin then
    out[#out + 1] = "  it came from   " .. named(self.origin, "the")
    section(out, MADE[self.origin.kind] .. " at", self.origin.made)
  end
  if self.hint then out[#out + 1] = "  perhaps        " .. text.wrap(self.hint, WIDTH - #INDENT, INDENT) end
  return table.concat(out, "\n")
end

-- A site as the core has it, lines or a program counter: as a list.
local function lines(d, site)
  if math.type(site) == "integer" then
    local symbol = d:_state().symbol
    local name = symbol and symbol(site)
    return { name and ("%#x: %s"):format(site, name) or hex(site) }
  end
  local out = {}
  for line in tostring(site):gmatch("[^\n]+") do out[#out + 1] = line end
  return out
end

local function sited(d, b)
  if not b then return nil end
  b.made, b.gone = b.made and lines(d, b.made), b.gone and lines(d, b.gone)
  return b
end

local function report_of(d, r)
  r.where = r.where and lines(d, r.where)
  r.block, r.pointer, r.origin = sited(d, r.block), sited(d, r.pointer), sited(d, r.origin)
  if r.block then
    r.offset = r.first - r.block.address
    r.side, r.distance = place(r, r.block)
  end
  r.text = texts[r.kind](r)
  r.hint = hint(r)
  return setmetatable(r, Report)
end

-- --- leaks -------------------------------------------------------------------------------

local LOSSES = { "definite", "indirect", "possible", "reachable" }

local LOST = {
  definite = "definitely lost", indirect = "indirectly lost", possible = "possibly lost", reachable = "still reachable",
}

---@class vmem.Leaks
local Leaks = {}
Leaks.__index = Leaks

--- A line for each kind, and under it the blocks by the place that allocated them.
function Leaks:__tostring()
  local out = {}
  for _, loss in ipairs(LOSSES) do
    local sum, by, order = self[loss], {}, {}
    out[#out + 1] = ("%-17s %s in %d block%s"):format(LOST[loss] .. ":", bytes(sum.bytes), sum.blocks,
      sum.blocks == 1 and "" or "s")
    for _, b in ipairs(self.blocks) do
      local at = b.leak == loss and (b.made and b.made[1] or "before the detector")
      if at and not by[at] then
        by[at], order[#order + 1] = { bytes = 0, blocks = 0 }, at
      end
      if at then by[at].bytes, by[at].blocks = by[at].bytes + b.size, by[at].blocks + 1 end
    end
    for _, at in ipairs(order) do
      out[#out + 1] = ("  %s in %d, allocated at %s"):format(bytes(by[at].bytes), by[at].blocks, at)
    end
  end
  return table.concat(out, "\n")
end

-- --- frames ------------------------------------------------------------------------------

---@class vmem.Frame
local Frame = {}
Frame.__index = Frame

--- The function returns: its variables die, and frames that were entered later go, too.
---@param value? vmem.Tracked|integer what it returns; a pointer to one of its variables is an error
---@return vmem.Tracked|integer|nil value the same
function Frame:leave(value)
  local d, id = self.detector, self.id
  if value ~= nil then d:_return(id, value) end
  d:_leave(id)
  return value
end

function Frame:__close()
  if self.detector:_has(self.id) then self:leave() end
end

-- --- the detector ------------------------------------------------------------------------

local Detector = core.Detector

--- Enter a function: a frame with its variables, which are not initialised. They are
--- fields of the result, as pointers. Left by f:leave(), or by <close>.
---@param name string the function's
---@param ... table variables, { name, bytes }, from high to low addresses
---@return vmem.Frame
function Detector:frame(name, ...)
  local id, why, code = self:_enter(name)
  if not id then return nil, why, code end
  local f = setmetatable({ detector = self, id = id, name = name }, Frame)
  for i = 1, select("#", ...) do
    local v = select(i, ...)
    if type(v) ~= "table" or type(v[1]) ~= "string" then
      error(("frame %s: variable %d is not { name, bytes }"):format(name, i), 2)
    end
    if f[v[1]] ~= nil then error(("frame %s: a variable can't be called %s here"):format(name, v[1]), 2) end
    local a
    a, why, code = self:_local(v[1], v[2])
    if not a then
      self:_leave(id)
      return nil, why, code
    end
    f[v[1]] = a
  end
  return f
end

--- As p:mmap; the pointer knows its mapping.
---@param t vmem.MmapArguments
---@return vmem.Tracked? pointer, string? message, string? code
function Detector:mmap(t)
  local a, message, code = self:process():mmap(t)
  if not a then return nil, message, code end
  return self:_mapping(t.name or t.file and "file" or "anonymous", a, options.bytes(t.length))
end

--- Fill n bytes, as memset.
---@param to vmem.Tracked|integer
---@param byte integer
---@param n integer
function Detector:fill(to, byte, n) return self:write(to, string.char(byte & 255):rep(n)) end

--- Use a value in a branch: is it not 0?
---@param value vmem.Tracked|integer
---@return boolean
function Detector:branch(value) -- luacheck: no unused args
  if type(value) == "userdata" then return value:test() end
  return value ~= 0
end

--- A system call is made: its arguments must be initialised, and so must buffers be that
--- it reads, { address, bytes }; those that it writes, { address, bytes, out = true }, are
--- from then on.
---@param name string
---@param ... vmem.Tracked|integer|table
function Detector:syscall(name, ...)
  for i = 1, select("#", ...) do
    local v = select(i, ...)
    if type(v) == "table" then
      self:_buffer(v[1], v[2], name, v.out or false)
    else
      self:_use(v, "syscall", name)
    end
  end
end

--- All reports, in order; printed, they are paragraphs.
---@return vmem.Report[]
function Detector:reports()
  local out = {}
  while true do
    local r = self:_report(#out + 1)
    if not r then break end
    out[#out + 1] = report_of(self, r)
  end
  return setmetatable(out, { __tostring = function(list)
    local t = {}
    for i, r in ipairs(list) do t[i] = tostring(r) end
    return #t > 0 and table.concat(t, "\n\n") or "no errors"
  end })
end

--- The live blocks of the heaps, by what leads to them, as memcheck has it: `reachable`,
--- by pointers to starts of blocks from the stack, the data, all other memory outside
--- heaps, or `roots`; `possible`, if on the way there is a pointer into the middle;
--- `indirect`, only from lost blocks; `definite`, from none.
---@param t? { roots?: (vmem.Tracked|integer)[] } values in registers
---@return vmem.Leaks
function Detector:leaks(t)
  local list = self:_leaks(t and t.roots or {})
  local out = { blocks = list }
  for _, loss in ipairs(LOSSES) do out[loss] = { bytes = 0, blocks = 0 } end
  for _, b in ipairs(list) do
    sited(self, b)
    local sum = out[b.leak]
    sum.bytes, sum.blocks = sum.bytes + b.size, sum.blocks + 1
  end
  return setmetatable(out, Leaks)
end

local function byte_option(name, v, least, most)
  local n = options.bytes(v)
  if not n or n < least or n > most then
    error(("detector: %s is %s, but takes bytes, %d to %d, or a text such as \"64KiB\""):format(name, tostring(v),
      least, most), 4)
  end
  return n
end

--- Watch a process, and stand in front of its heaps: from now on h:malloc, h:free and
--- their kin of these are the detector's, and p:load, p:store, ... are checked.
---   process     whose memory
---   heap        a heap of it, or a list of heaps; d:attach(h) adds one later
---   redzone     bytes on each side of a block, a multiple of 16: 16
---   quarantine  bytes of freed blocks whose addresses are not given out again: "all"
---   at_load     report a load of uninitialised bytes, too, not only the use
---   once        errors of one kind from one place are one report, with a count: true
---   raise       raise each new report as an error
---   on_report   a function that is called with each new report
---   stack, data bytes of the areas for d:frame and d:global: "1MiB"
---   depth       lines of a traceback: 8
---   limit       reports that are kept: 1000
---   pc, symbol  functions: the program counter, which then stands for the traceback, and its name
---@param t table
---@return vmem.Detector
function detector.new(t)
  local o = take("detector", t, rows)
  if o.process == nil then error("detector: process is missing", 3) end
  if o.redzone < 0 or o.redzone > 4096 or o.redzone % 16 ~= 0 then
    error(("detector: redzone is %d, but takes 0 to 4096 bytes, a multiple of 16"):format(o.redzone), 3)
  end
  local d
  local function attach()
    for _, h in ipairs(type(o.heap) == "userdata" and { o.heap } or o.heap or {}) do d:attach(h) end
  end
  d = core.detector(o.process, {
    redzone = o.redzone,
    quarantine = o.quarantine == "all" and math.maxinteger or byte_option("quarantine", o.quarantine, 0, 1 << 48),
    stack = byte_option("stack", o.stack, 256, 1 << 40),
    data = byte_option("data", o.data, 256, 1 << 40),
    at_load = o.at_load,
    once = o.once,
    depth = o.depth,
    limit = o.limit,
    pc = o.pc,
    symbol = o.symbol,
    skip = FACE,
    tell = (o.raise or o.on_report) and function(raw)
      local r = report_of(d, raw)
      if o.on_report then o.on_report(r) end
      if o.raise then error(r, 0) end
    end or nil,
  })
  local ok, err = pcall(attach)
  if not ok then
    d:close()
    error(err, 0)
  end
  return d
end

--- The kinds of reports: name, doc.
---@return table[]
function detector.kinds() return core.detect_kinds() end

return detector
