--- Traces of allocations by formula: the shapes at which allocators part, with their sizes
--- as parameters. All blocks are freed in the end. A name with options is a text,
--- "@binary:small=16,request=128", or a table, { "binary", small = 16, request = 128 }.
--
-- Ids count up from 0 in the order of allocation, and none comes again but in realloc's.
-- Random numbers are Knuth's (MMIX, TAOCP volume 2, 3.3.4, line 26), so that a pattern is
-- the same on each machine: x = 6364136223846793005 x + 1442695040888963407, modulo 2^64,
-- from x = seed; below n: the upper 31 bits, modulo n.

local options = require "vmem.options"
local shrink = require "vmem.shrink"

local patterns = {}

-- The operations of one pattern, as they are made; which ids live, in the order of their allocation.
local Maker = {}
Maker.__index = Maker

function Maker:alloc(size)
  local id = self.ids
  self.ids = id + 1
  self.list[#self.list + 1] = { "a", id, size }
  self.live[#self.live + 1] = id
  return id
end

function Maker:free(id)
  self.list[#self.list + 1] = { "f", id }
  self.gone[id] = true
end

function Maker:realloc(id, size) self.list[#self.list + 1] = { "r", id, size } end

--- The live ids, oldest first.
function Maker:oldest()
  local live = {}
  for _, id in ipairs(self.live) do
    if not self.gone[id] then live[#live + 1] = id end
  end
  self.live = live
  return live
end

local MANY <const> = 10000000
local SIZE <const> = 1 << 40

local function count(name, default, doc) return { name = name, default = default, min = 1, max = MANY, doc = doc } end
local function size(name, default, doc) return { name = name, default = default, min = 0, max = SIZE, doc = doc } end
local seed = { name = "seed", default = 1, min = 0, max = math.maxinteger, doc = "of the random numbers" }

-- Each row: name, doc, options, make(maker, options).
local rows = {
  { name = "binary",
    doc = "pairs of a small and a large block; the large go, and what comes is larger than each hole",
    options = { count("pairs", 1000, "of blocks"), size("small", 64, "bytes"), size("large", 448, "bytes"),
      size("request", 512, "bytes of those that come when the large ones have gone, as many") },
    make = function(m, o)
      local large = {}
      for k = 1, o.pairs do
        m:alloc(o.small)
        large[k] = m:alloc(o.large)
      end
      for _, id in ipairs(large) do m:free(id) end
      for _ = 1, o.pairs do m:alloc(o.request) end
    end },
  { name = "coalescing",
    doc = "two blocks side by side, freed, then one of twice the size, freed: again and again",
    options = { count("rounds", 2000, "of six operations"), size("size", 4095, "bytes of each of the two") },
    make = function(m, o)
      for _ = 1, o.rounds do
        local a, b = m:alloc(o.size), m:alloc(o.size)
        m:free(a)
        m:free(b)
        m:free(m:alloc(2 * o.size))
      end
    end },
  { name = "realloc",
    doc = "a block that grows, each time with a small new block behind it, whose predecessor goes",
    options = { count("rounds", 1200, "of growth"), size("first", 512, "bytes it begins with"),
      size("step", 128, "bytes by which it grows"), size("small", 128, "bytes of the others") },
    make = function(m, o)
      local grows, small = m:alloc(o.first), m:alloc(o.small)
      for k = 1, o.rounds do
        m:realloc(grows, o.first + k * o.step)
        local behind = m:alloc(o.small)
        m:free(small)
        small = behind
      end
    end },
  { name = "random",
    doc = "one of `live` places by chance: a block of 1 to `max` bytes comes, or the one that is there goes",
    options = { count("ops", 4000, "operations before all is freed"), count("live", 500, "places"),
      count("max", 32768, "bytes"), seed },
    make = function(m, o)
      local random, at = shrink.random(o.seed), {}
      for _ = 1, o.ops do
        local place = random(o.live)
        if at[place] then
          m:free(at[place])
          at[place] = nil
        else
          at[place] = m:alloc(1 + random(o.max))
        end
      end
    end },
  { name = "queue",
    doc = "blocks of 1 to `max` bytes, each freed when `window` others have come: messages",
    options = { count("blocks", 3000, "in all"), count("window", 200, "at once"), count("max", 2048, "bytes"), seed },
    make = function(m, o)
      local random = shrink.random(o.seed)
      for k = 0, o.blocks - 1 do
        m:alloc(1 + random(o.max))
        if k >= o.window then m:free(k - o.window) end
      end
    end },
  { name = "powers",
    doc = "blocks of 2^k + `extra` bytes, k from `low` up in turn: with 1 a buddy system wastes half",
    options = { count("blocks", 2000, "in all"), { name = "low", default = 4, min = 0, max = 30, doc = "smallest k" },
      { name = "sizes", default = 9, min = 1, max = 30, doc = "different k" },
      { name = "extra", default = 1, min = -1, max = SIZE, doc = "bytes; -1: just below a power" } },
    make = function(m, o)
      for k = 0, o.blocks - 1 do m:alloc((1 << (o.low + k % o.sizes)) + o.extra) end
    end },
  { name = "robson",
    doc = "each second block goes, and as many bytes come in blocks of twice the last size, too large for the holes",
    options = { count("blocks", 1024, "in the beginning"), { name = "low", default = 10, min = 0, max = 30,
      doc = "they have 2^low bytes" }, { name = "steps", default = 6, min = 1, max = 30,
      doc = "times that the size doubles" } },
    make = function(m, o)
      local bytes = {}
      local function fill(total, n)
        for _ = 1, total // n do bytes[m:alloc(n)] = n end
      end
      fill(o.blocks << o.low, 1 << o.low)
      for step = 1, o.steps do
        local freed = 0
        for i, id in ipairs(m:oldest()) do
          if i % 2 == 0 then
            m:free(id)
            freed = freed + bytes[id]
          end
        end
        fill(freed, 1 << (o.low + step))
      end
    end },
}

local by_name, names = {}, {}
for i, row in ipairs(rows) do by_name[row.name], names[i] = row, row.name end

--- The patterns: name, doc, and options, a list of rows: name, default, min, max, doc.
---@return table[]
function patterns.rows()
  local list = {}
  for i, row in ipairs(rows) do
    local own = {}
    for k, o in ipairs(row.options) do
      own[k] = { name = o.name, default = o.default, min = o.min, max = o.max, doc = o.doc }
    end
    list[i] = { name = row.name, doc = row.doc, options = own }
  end
  return list
end

local function nearest(name, list)
  return options.suggestion(name, list) .. " (there are " .. table.concat(list, ", ") .. ")"
end

--- "binary:small=16,request=128" as a table.
---@param text string
---@return table? t
---@return string? message
function patterns.read(text)
  local name, rest = text:match "^([^:]*):?(.*)$"
  local t = { name }
  for item in rest:gmatch "[^,]+" do
    local k, v = item:match "^([%w_]+)=(.+)$"
    if not k then return nil, ("@%s: %s is not of the form option=value"):format(text, item) end
    t[k] = v
  end
  return t
end

--- The operations of a pattern.
---@param t table # { name, option = value, ... }; sizes may be texts
---@return table[]? list # of { "a", id, size }, { "r", id, size }, { "f", id }
---@return string message # what is wrong with it; or its name
function patterns.make(t)
  local row = by_name[t[1]]
  if not row then return nil, ("there is no pattern %s%s"):format(tostring(t[1]), nearest(t[1], names)) end
  local o, own, label = {}, {}, {}
  for i, rule in ipairs(row.options) do
    own[i] = rule.name
    local given = t[rule.name]
    local v = rule.default
    if given ~= nil then v = tonumber(given) and math.tointeger(tonumber(given)) or options.bytes(given) end
    if not v or v < rule.min or v > rule.max then
      return nil, ("pattern %s: %s is %s, but takes %d to %d"):format(row.name, rule.name, tostring(given), rule.min,
        rule.max)
    end
    o[rule.name] = v
    if given ~= nil then label[#label + 1] = ("%s=%d"):format(rule.name, v) end
  end
  for k in pairs(t) do
    if k ~= 1 and o[k] == nil then
      return nil, ("pattern %s: there is no option %s%s"):format(row.name, tostring(k), nearest(k, own))
    end
  end
  local m = setmetatable({ list = {}, live = {}, gone = {}, ids = 0 }, Maker)
  row.make(m, o)
  for _, id in ipairs(m:oldest()) do m:free(id) end
  return m.list, "@" .. row.name .. (#label > 0 and ":" .. table.concat(label, ",") or "")
end

return patterns
