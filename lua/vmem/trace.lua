--- Traces of programs: sequences of accesses, from files or made in memory.
--
-- A trace is one object, whatever its source; it is read in passes, and a file
-- of any length needs constant memory. Addresses are 64-bit integers: compare
-- them with math.ult, print them with %#x. docs/traces.md is the guide.

local core = require "vmem.core"
local lpeg = require "lpeg"

---@class vmem.trace
---@operator len: integer  # accesses; a pass over formats that do not know it
---@field each fun(self: vmem.trace): fun(): string, integer|table, integer, integer
---@field save fun(self: vmem.trace, path: string): boolean?, string?, string?
---@field info fun(self: vmem.trace): table
---@field count fun(self: vmem.trace): integer?  # accesses, nil where only a pass can tell
---@field head fun(self: vmem.trace, n: integer?): vmem.trace
---@field slice fun(self: vmem.trace, from: integer, to: integer?): vmem.trace
---@field copy fun(self: vmem.trace): vmem.trace
---@field close fun(self: vmem.trace)

local trace = {}

---@class vmem.trace.options
---@field format? string   # as trace.formats() names them; default: by content
---@field pattern? any     # an LPeg pattern that one line of text must match
---@field page? integer    # bytes of a page, for lists of page numbers; default 4096
---@field task? integer    # task number of the records of formats that have none; default 0

-- option -> the type that it takes
local option_types = { format = "string", pattern = "any", page = "integer", task = "integer" }

local function check_options(options)
  if options == nil then return {} end
  if type(options) ~= "table" then
    error(("bad options %s for trace.open, expected a table"):format(type(options)), 3)
  end
  for name, value in pairs(options) do
    local expected = option_types[name]
    if not expected then
      error(("unknown option '%s' of trace.open, expected format, pattern, page or task")
        :format(tostring(name)), 3)
    end
    local got = math.type(value) or type(value)
    if expected ~= "any" and got ~= expected then
      error(("option '%s' of trace.open: expected %s %s, got %s"):format(name,
        expected == "integer" and "an" or "a", expected, got), 3)
    end
  end
  return options
end

-- what a pattern may capture as kind -> access_kind
local kinds = {
  fetch = 0, load = 1, store = 2, modify = 3,
  I = 0, L = 1, S = 2, M = 3, F = 0, R = 1, W = 2, X = 0,
  i = 0, l = 1, s = 2, m = 3, f = 0, r = 1, w = 2, x = 0,
  read = 1, write = 2,
}

local function pack_capture(kind, addr, size)
  local code = kinds[kind]
  if not code then
    error(("the pattern captured the kind '%s', expected fetch, load, store, modify or a letter "
      .. "of IFXLRSWM"):format(tostring(kind)), 0)
  end
  local a, n = math.tointeger(tonumber(addr)), math.tointeger(tonumber(size or 1))
  if not a then
    error(("the pattern captured the address '%s', expected an integer or a string that tonumber "
      .. "takes"):format(tostring(addr)), 0)
  end
  if not n or n < 1 or n > 0xffffffff then
    error(("the pattern captured the size '%s', expected 1 to 2^32-1"):format(tostring(size)), 0)
  end
  return ("=I8I4I2BB"):pack(a, n, 0, code, 0)
end

-- A parser of pieces of text for the core: the records packed, or nil and the
-- number of the line that does not match.
local function line_parser(pattern)
  local match = lpeg.match
  local function captured(first, ...)
    if first == nil then return nil end
    if math.type(first) == "integer" then return "" end -- matched, nothing captured
    if type(first) == "table" then
      return pack_capture(first.kind or first[1], first.addr or first[2], first.size or first[3])
    end
    return pack_capture(first, ...)
  end
  return function(text)
    local out, n = {}, 0
    for line in text:gmatch("([^\n]*)\n") do
      n = n + 1
      local packed = captured(match(pattern, line))
      if not packed then return nil, n end
      out[n] = packed
    end
    return table.concat(out)
  end
end

---Open a trace file: plain, or compressed with gzip, zstd or xz. The format is
---recognised by content. A missing file or wrong content gives nil, a message
---and a code ("ENOENT", "EFORMAT"); damage that is met later raises an error.
---
---A `pattern` must match each line from its beginning and capture the kind
---("load", "L", ...), the address and the size (1 if left out), or one table with
---the fields kind, addr and size; a line that matches without captures is skipped.
---@param path string
---@param options? vmem.trace.options
---@return vmem.trace? trace
---@return string? message
---@return string? code
function trace.open(path, options)
  if type(path) ~= "string" then
    error(("bad path for trace.open: expected a string, got %s"):format(type(path)), 2)
  end
  local o = check_options(options)
  local parser = o.pattern ~= nil and line_parser(lpeg.P(o.pattern)) or nil
  return core.trace_open(path, o.format, o.page, o.task, parser)
end

---A trace of loads, one for each page number, in memory.
---@param list table  # integers; the field `page` gives a page's bytes, default 4096
---@return vmem.trace
function trace.pages(list) return core.trace_pages(list) end

---A small trace in memory from a table of records.
---@param records table  # { {kind, addr, size, task}, {"event", {type = "mmap", ...}}, ... }
---@return vmem.trace
function trace.new(records) return core.trace_new(records) end

---The formats that can be read.
---@return table list  # of { name =, doc = }
function trace.formats() return core.trace_formats() end

return trace
