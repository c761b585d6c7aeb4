--- Traces of allocations, as the malloc lab's `.rep` files have them.
--
-- A few numbers, one a line, then a line for each operation:
--    a ID SIZE    allocate        r ID SIZE    reallocate        f ID    free
-- The numbers are heap size, ids, operations, weight (the classic form), or weight, ids,
-- operations and, if there is a fourth, the peak of live bytes or a heap size. Which of
-- the two a file is shows in its first and fourth number: a weight is the smaller one.
-- What newer files have is read in all: `f -1` frees NULL, `r` of an id that has no
-- block allocates, ids come again, sizes of 0 and of 64 bits, lines that end in CRLF.

local core = require "vmem.core"
local facts = require "vmem.heap.facts"
local patterns = require "vmem.heap.patterns"

local rep = {}

---@class vmem.heap.Trace
---@field name string
---@field dialect "classic"|"weight first"
---@field weight integer
---@field bytes? integer # the heap size, or peak, of the file's head
---@field ids integer # all are below
---@field kind string[] # of each operation: "a", "r", "f"
---@field id integer[] # -1: NULL
---@field size integer[] # 0 for "f"
---@field peak integer # bytes asked for at once, at most
---@field peak_op integer # the operation after which they are
---@operator len: integer # operations
local Trace = {}
Trace.__index = Trace

function Trace:__len() return #self.kind end

function Trace:__tostring()
  return ("vmem.heap.Trace %s: %d operations, %d ids, at most %d bytes at once"):format(self.name, #self, self.ids,
    self.peak)
end

--- The trace as a file of its dialect. Peaks that are not above the weight would be taken
--- for it: such a trace gets a larger one, in the classic form.
---@return string
function Trace:text()
  local bytes = math.max(self.bytes or self.peak, self.weight)
  local out = { bytes, self.ids, #self, self.weight }
  if self.dialect == "weight first" and self.weight < bytes then out = { self.weight, self.ids, #self, bytes } end
  for i, kind in ipairs(self.kind) do
    out[i + 4] = kind == "f" and "f " .. self.id[i] or kind .. " " .. self.id[i] .. " " .. self.size[i]
  end
  return table.concat(out, "\n") .. "\n"
end

--- What is in it: calls, sizes, lifetimes.
---@return vmem.heap.Facts
function Trace:info() return facts(self) end

--- Write the trace to a file, compressed if its name ends in .gz or .zst.
---@param path string
---@return boolean? true # nil, message, code: it can't be written
---@return string? message
---@return string? code
function Trace:save(path) return core.write_text(path, self:text()) end

local MOST <const> = 1 << 30 -- bytes of text: eighty million operations

local kinds = { a = 0, r = 1, f = 2 }
local letters = { [0] = "a", "r", "f" }

--- The operations as the core takes them, and how many ids they have: without gaps.
---@return string packed
---@return integer ids
function Trace:packed()
  local out, number, count = {}, { [-1] = 0xffffffff }, 0
  for i, kind in ipairs(self.kind) do
    local id = self.id[i]
    if not number[id] then number[id], count = count, count + 1 end
    out[i] = ("=I8I4I4"):pack(self.size[i], number[id], kinds[kind])
  end
  return table.concat(out), count
end

-- What the operations say of themselves: ids are allocated before they are freed.
local function finish(t, lines)
  local size, live, peak, peak_op, ids = {}, 0, 0, 0, 0
  for i, kind in ipairs(t.kind) do
    local id = t.id[i]
    ids = math.max(ids, id + 1)
    if kind == "f" and id >= 0 and not size[id] then
      return nil, ("%s:%d: f %d, which has no block"):format(t.name, lines and lines[i] or i, id), "EFORMAT"
    end
    -- Of an id that is allocated again the old block is lost, but it lives.
    if kind ~= "a" then live = live - (size[id] or 0) end
    size[id] = kind ~= "f" and t.size[i] or nil
    live = live + t.size[i]
    if live < 0 then
      return nil, ("%s:%d: the live blocks have 2^63 bytes or more"):format(t.name, lines and lines[i] or i), "EFORMAT"
    end
    if live > peak then peak, peak_op = live, i end
  end
  t.ids, t.peak, t.peak_op = ids, peak, peak_op
  return setmetatable(t, Trace)
end

--- A trace from its text.
---@param text string
---@param name? string for messages
---@return vmem.heap.Trace? trace
---@return string? message
---@return string? code
function rep.parse(text, name)
  local t = { name = name or "trace", kind = {}, id = {}, size = {} }
  local head, lines, n, at = {}, {}, 0, 0
  for line in text:gmatch "[^\n]*" do
    at = at + 1
    local kind, id, size = line:match "^%s*([arf])%s+(%-?%d+)%s*(%d*)%s*$"
    if kind then
      id, size = math.tointeger(id), math.tointeger(size ~= "" and size or nil)
      if not id or id < (kind == "f" and -1 or 0) or id == math.maxinteger or (kind ~= "f") ~= (size ~= nil) then
        kind = nil
      end
    end
    if kind then
      n = n + 1
      t.kind[n], t.id[n], t.size[n], lines[n] = kind, id, size or 0, at
    elseif n == 0 and #head < 4 and line:find "^%s*%d+%s*$" and math.tointeger(line) then
      head[#head + 1] = math.tointeger(line)
    elseif line:find "%S" then
      return nil, ("%s:%d: %q is no operation of a .rep file (a ID SIZE, r ID SIZE, f ID)"):format(t.name, at,
        line:sub(1, 60)), "EFORMAT"
    end
  end
  if #head < 3 then
    return nil, ("%s: a .rep file begins with 3 or 4 numbers, but there are %d"):format(t.name, #head), "EFORMAT"
  end
  if head[3] ~= n then
    return nil, ("%s: there are %d operations, but its head says %d"):format(t.name, n, head[3]), "EFORMAT"
  end
  local first = #head == 3 or head[1] < head[4]
  t.dialect = first and "weight first" or "classic"
  t.weight = first and head[1] or head[4]
  if first then t.bytes = head[4] else t.bytes = head[1] end
  return finish(t, lines)
end

--- A trace from a file, plain or compressed with gzip, zstd or xz; or, for "@binary:small=16",
--- of a pattern.
---@param path string
---@return vmem.heap.Trace? trace
---@return string? message
---@return string? code
function rep.open(path)
  if path:sub(1, 1) == "@" then
    local pattern, why = patterns.read(path:sub(2))
    local list
    if pattern then list, why = patterns.make(pattern) end
    if not list then return nil, why, "EINVAL" end
    return rep.new(list, why)
  end
  local text, message, code = core.read_text(path, MOST)
  if not text then return nil, message, code end
  return rep.parse(text, path)
end

--- A trace from operations as the core gives them: Trace:packed() of a recording.
---@param packed string
---@param name string
---@return vmem.heap.Trace
function rep.unpacked(packed, name)
  local t = { name = name, dialect = "weight first", weight = 1, kind = {}, id = {}, size = {} }
  for i = 1, #packed // 16 do
    local size, id, kind = ("=I8I4I4"):unpack(packed, 16 * i - 15)
    t.kind[i], t.id[i], t.size[i] = letters[kind], id, size
  end
  return assert(finish(t))
end

--- A trace from lists of { "a", id, size }, { "r", id, size }, { "f", id }, or of a pattern.
---@param list table
---@param name? string
---@return vmem.heap.Trace? trace
---@return string? message
---@return string? code
function rep.new(list, name)
  if type(list[1]) == "string" then
    local made, why = patterns.make(list)
    if not made then error("heap trace: " .. why, 2) end
    list, name = made, why
  end
  local t = { name = name or "list", dialect = "classic", weight = 1, kind = {}, id = {}, size = {} }
  for i, op in ipairs(list) do
    local kind, id, size = op[1], math.tointeger(op[2]), math.tointeger(op[3] or 0)
    if not (kind == "a" or kind == "r" or kind == "f") or not id or id < (kind == "f" and -1 or 0)
      or not size or size < 0 then
      error(("heap trace: operation %d is none: { \"a\" or \"r\", id, size } or { \"f\", id }"):format(i), 2)
    end
    t.kind[i], t.id[i], t.size[i] = kind, id, kind == "f" and 0 or size
  end
  return finish(t)
end

return rep
