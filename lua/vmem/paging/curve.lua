--- Misses at every memory size, or at several.

local plot = require "vmem.paging.plot"
local text = require "vmem.text"

local curve = {}

---@class vmem.MissCurve
---@field policy string
---@field method string "one pass" (every size), "sizes" (a run for each of some sizes)
---@field refs integer references of the whole trace
---@field pages integer different pages, an estimate where the trace was sampled
---@field rate number share of the pages that was looked at; 1: all
---@field sizes integer[] where `points` shows it; where method is "sizes", the only ones that were measured
---@field anomalies { smaller: integer, larger: integer, misses: integer, more: integer }[] Belady's anomaly: neighbours
--- in `sizes` where more frames missed more often
local Curve = {}
Curve.__index = Curve

local SHOWN = 24 -- rows of a printed curve

--- Sizes from 1 to `last`, all where they are few, else in equal proportions.
---@param last integer
---@param most integer
---@return integer[]
function curve.spread(last, most)
  local list = {}
  if last <= most then
    for n = 1, last do list[n] = n end
    return list
  end
  for i = 0, most - 1 do
    local n = math.floor(last ^ (i / (most - 1)) + 0.5)
    if n > (list[#list] or 0) then list[#list + 1] = math.min(n, last) end
  end
  return list
end

--- `of`: misses of n frames, for one of `sizes` or (method "one pass") for any.
---@param t table policy, method, refs, pages, rate, sizes; of = function, groups? = list of such functions
---@return vmem.MissCurve
function curve.new(t)
  local self = setmetatable(t, Curve)
  self.anomalies = {}
  if self.rate == 1 then
    for i = 2, #self.sizes do
      local a, b = self.sizes[i - 1], self.sizes[i]
      local few, many = self:misses(a), self:misses(b)
      if many > few then
        self.anomalies[#self.anomalies + 1] = { smaller = a, larger = b, misses = few, more = many }
      end
    end
  end
  return self
end

--- Misses of n frames; an estimate where the trace was sampled.
---@param n integer
---@return integer
function Curve:misses(n)
  if math.type(n) ~= "integer" or n < 0 then
    error(("misses: %s is no number of frames"):format(tostring(n)), 2)
  end
  local m = self._of(n)
  if not m then
    local sizes = table.concat(self.sizes, ", ")
    if #sizes > 200 then sizes = sizes:sub(1, 197) .. "..." end
    error(("misses: %d frames were not measured, only %s"):format(n, sizes), 2)
  end
  return m
end

---@param n integer
---@return number # misses per reference
function Curve:miss_ratio(n) return self.refs > 0 and self:misses(n) / self.refs or 0 end

--- The standard error of miss_ratio(n) where the trace was sampled, 0 else: from how
--- far the curves of equal parts of the sample lie apart.
---@param n integer
---@return number
function Curve:error(n)
  if not self._groups then return 0 end
  local sum, square, k = 0, 0, #self._groups
  for _, of in ipairs(self._groups) do
    local x = of(n) / self.refs
    sum, square = sum + x, square + x * x
  end
  return math.sqrt(math.max(0, square - sum * sum / k) / (k - 1) / k)
end

--- The curve as points, in proportions, with the standard error where it was sampled.
---@return { frames: integer, misses: integer, miss_ratio: number, error: number }[]
function Curve:points()
  local list = {}
  for i, n in ipairs(self.sizes) do
    list[i] = { frames = n, misses = self:misses(n), miss_ratio = self:miss_ratio(n), error = self:error(n) }
  end
  return list
end

--- How often a page was found at a distance: the number of different pages
--- referenced since its last reference, itself included. Of LRU only, since these are
--- its stack distances.
---@return { from: integer, to: integer, count: integer }[] # distances doubling
function Curve:distances()
  if self.method ~= "one pass" or self.policy ~= "lru" then
    error(("distances: a curve of lru tells them, not one of %s"):format(self.policy), 2)
  end
  local list, from = {}, 1
  while from <= self.pages do
    local to = math.min(2 * from - 1, self.pages)
    list[#list + 1] = { from = from, to = to, count = self:misses(from - 1) - self:misses(to) }
    from = to + 1
  end
  return list
end

--- The knee: the size whose point is farthest below the line between the curve's ends,
--- both axes scaled to one (Satopaa et al., "Finding a kneedle in a haystack", 2011).
--- Where none is below it, as with a loop, nothing but the last size is worth having.
---@return integer frames
---@return integer misses
function Curve:knee()
  local sizes = self.sizes
  if self.method == "one pass" and self.pages <= 100000 then sizes = curve.spread(self.pages, self.pages) end
  if #sizes == 0 then return 0, 0 end
  local x0, x1 = sizes[1], sizes[#sizes]
  local y0, y1 = self:misses(x0), self:misses(x1)
  local best, far = y0 > y1 and x1 or x0, 0
  for _, n in ipairs(sizes) do
    if x1 > x0 and y0 > y1 then
      local below = 1 - (n - x0) / (x1 - x0) - (self:misses(n) - y1) / (y0 - y1)
      if below > far then best, far = n, below end
    end
  end
  return best, self:misses(best)
end

function Curve:__tostring()
  local out = { ("%s: %s to %s%s%s"):format(self.policy, text.count(self.refs, "reference"),
    self.rate < 1 and "about " or "", text.count(self.pages, "page"),
    self.rate < 1 and (", from %.4g %% of the pages"):format(self.rate * 100) or "") }
  if #self.sizes == 0 then return out[1] end
  out[2] = "      frames          misses     miss ratio" .. (self._groups and "   +- error" or "")
  local shown = {}
  for _, i in ipairs(curve.spread(#self.sizes, SHOWN)) do shown[#shown + 1] = self.sizes[i] end
  for _, n in ipairs(shown) do
    local m = self:misses(n)
    local row = text.right(text.number(n), 12) .. text.right(text.number(m), 16)
      .. text.right(text.percent(m, self.refs), 15)
    if self._groups then row = row .. ("%9.2f %%"):format(self:error(n) * 100) end
    out[#out + 1] = row .. "  " .. text.bar(m, self.refs, 36)
  end
  local knee, at = self:knee()
  out[#out + 1] = ("knee: %s, %s"):format(text.count(knee, "frame"), text.count(at, "miss", "misses"))
  for i, a in ipairs(self.anomalies) do
    if i > 5 then
      out[#out + 1] = ("and %d more"):format(#self.anomalies - 5)
      break
    end
    out[#out + 1] = ("Belady's anomaly: %s with %d frames, %s with %d"):format(text.number(a.misses), a.smaller,
      text.number(a.more), a.larger)
  end
  return table.concat(out, "\n")
end

local function series(self)
  local points, band = {}, self._groups and {} or nil
  for i, p in ipairs(self:points()) do
    points[i] = { p.frames, p.miss_ratio }
    if band then band[i] = { p.frames, p.miss_ratio - 2 * p.error, p.miss_ratio + 2 * p.error } end
  end
  return { name = self.policy, points = points, band = band }
end

--- A picture: the miss ratio against the number of frames, the knee, two standard
--- errors to both sides where it was sampled.
---@param t? { log?: boolean, title?: string } log: a logarithmic axis of frames
---@return string
function Curve:svg(t)
  t = t or {}
  return plot.lines { title = t.title or ("Miss ratio, %s"):format(self.policy), logx = t.log,
    x = "frames", y = "misses per reference", series = { series(self) }, mark = { (self:knee()), "knee" } }
end

return curve
