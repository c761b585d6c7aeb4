--- What happened at each reference of a run: the table of the textbooks.

local text = require "vmem.text"

local log = {}

---@class vmem.PagingLog
local Log = {}
Log.__index = function(self, k)
  if math.type(k) == "integer" then return log.step(self, k) end
  return Log[k]
end

---@class vmem.PagingStep
---@field page integer its number in the trace
---@field process integer index of its process
---@field write boolean
---@field hit boolean
---@field slot integer from 0: where the page is
---@field victim integer? the page that went
---@field contents table what each slot holds after it: [slot + 1] = page, false where it is empty

local WIDTH = 100

--- `slots`: total of each pool's slots; the pool of process k begins at bases[k].
function log.new(references, packed, bases, slots, title)
  return setmetatable({ _refs = references, _packed = packed, _bases = bases, _slots = slots, _title = title,
    _count = #packed // 4 }, Log)
end

-- Dense page, slot from 0 over all pools, hit, write.
local function raw(self, i)
  local page, write = self._refs:_reference(i)
  local word = ("=I4"):unpack(self._packed, 4 * i - 3)
  local _, process = self._refs:_page(page)
  return page, self._bases[process] + (word >> 1), word & 1 == 1, write
end

-- Slots before reference i, dense pages by slot; forward from what is remembered.
local function before(self, i)
  if not self._at or self._at > i then self._at, self._now = 1, {} end
  for k = self._at, i - 1 do
    local page, slot = raw(self, k)
    self._now[slot] = page
  end
  self._at = i
  return self._now
end

--- Step i, from 1; nil behind the end.
---@param i integer
---@return vmem.PagingStep?
function log.step(self, i)
  if i < 1 or i > self._count then return nil end
  local slots = before(self, i)
  local page, slot, hit, write = raw(self, i)
  local old = not hit and slots[slot]
  local number, process = self._refs:_page(page)
  local contents = {}
  for s = 0, self._slots - 1 do
    local p = slots[s]
    if s == slot then p = page end
    contents[s + 1] = p and (self._refs:_page(p)) or false
  end
  return { page = number, process = process, write = write, hit = hit, slot = slot,
    victim = old and (self._refs:_page(old)) or nil, contents = contents }
end

--- A character a reference: "+" hit, "-" miss.
---@return string
function Log:hits()
  local out = {}
  for i = 1, self._count do out[i] = ("=I4"):unpack(self._packed, 4 * i - 3) & 1 == 1 and "+" or "-" end
  return table.concat(out)
end

--- The page that went at each reference, false where none did.
---@return (integer|false)[]
function Log:victims()
  local out, slots = {}, {}
  for i = 1, self._count do
    local page, slot, hit = raw(self, i)
    local old = slots[slot]
    out[i] = not hit and old and (self._refs:_page(old)) or false
    slots[slot] = page
  end
  return out
end

--- The slot in which each reference finds or puts its page, from 0.
---@return integer[]
function Log:slots()
  local out = {}
  for i = 1, self._count do out[i] = select(2, raw(self, i)) end
  return out
end

function Log:__len() return self._count end

-- Names of pages as people write them.
local function namer(self)
  local several = #self._refs.processes > 1
  return function(page)
    local number, process = self._refs:_page(page)
    return several and ("%d:%d"):format(self._refs.processes[process].task, number) or ("%d"):format(number)
  end
end

local FEW = 40 -- slots that are shown, each a row

-- One band of the table: references first to last.
local function band(self, out, first, last, name, width)
  local slots = before(self, first)
  local rows = { { "reference" }, { "" }, { "victim" } }
  local frame = {}
  for s = 0, self._slots - 1 do frame[s] = { ("frame %d"):format(s) } end
  local now = {}
  for s, p in pairs(slots) do now[s] = p end
  for i = first, last do
    local page, slot, hit, write = raw(self, i)
    local old = not hit and now[slot]
    now[slot] = page
    table.insert(rows[1], name(page) .. (write and "w" or ""))
    table.insert(rows[2], hit and "" or "*")
    table.insert(rows[3], old and name(old) or "")
    for s = 0, self._slots - 1 do table.insert(frame[s], now[s] and name(now[s]) or "") end
  end
  local function put(row)
    local cells = { text.left(row[1], 10) }
    for i = 2, #row do cells[i] = text.right(row[i], width) end
    out[#out + 1] = (table.concat(cells):gsub("%s+$", ""))
  end
  put(rows[1])
  put(rows[2])
  for s = 0, self._slots - 1 do put(frame[s]) end
  put(rows[3])
end

--- The textbook table: a column a reference, * where it faults, what each frame
--- holds after it, the page that went. Many frames: a line a reference instead.
---@return string
function Log:__tostring()
  local name, out, width = namer(self), { self._title }, 2
  for i = 1, self._count do
    local page, write = self._refs:_reference(i)
    width = math.max(width, #name(page) + (write and 1 or 0) + 1)
  end
  if self._slots <= FEW then
    local columns = math.max(1, (WIDTH - 10) // width)
    for first = 1, self._count, columns do
      out[#out + 1] = ""
      band(self, out, first, math.min(self._count, first + columns - 1), name, width)
    end
    return table.concat(out, "\n")
  end
  local victims = self:victims()
  for i = 1, self._count do
    local page, slot, hit, write = raw(self, i)
    out[#out + 1] = ("%8d  %s  %s frame %d%s"):format(i, text.right(name(page) .. (write and "w" or ""), width),
      hit and "hit " or "miss", slot, victims[i] and (", victim %d"):format(victims[i]) or "")
  end
  return table.concat(out, "\n")
end

return log
