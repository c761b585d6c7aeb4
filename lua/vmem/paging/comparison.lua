--- Policies beside each other, at several memory sizes.

local plot = require "vmem.paging.plot"
local text = require "vmem.text"

local comparison = {}

---@class vmem.Comparison
---@field policies string[]
---@field frames integer[]
---@field refs integer
---@field pages integer
---@field results table<string, table<integer, vmem.ComparedRun>> by policy, then frames
local Comparison = {}
Comparison.__index = Comparison

---@class vmem.ComparedRun
---@field misses integer
---@field cold integer
---@field hits integer
---@field evictions integer
---@field writebacks integer
---@field miss_ratio number

function comparison.new(t) return setmetatable(t, Comparison) end

--- The policy with fewest misses of n frames (the first named of equals), and its misses.
---@param n integer
---@return string policy, integer misses
function Comparison:best(n)
  local best, least
  for _, p in ipairs(self.policies) do
    local m = self.results[p][n].misses
    if not least or m < least then best, least = p, m end
  end
  return best, least
end

function Comparison:__tostring()
  local width, column = 10, {}
  for _, p in ipairs(self.policies) do width = math.max(width, #p + 2) end
  local out = { ("misses per reference: %s to %s"):format(text.count(self.refs, "reference"),
    text.count(self.pages, "page")) }
  for i, n in ipairs(self.frames) do column[i] = math.max(10, #text.number(n) + 2) end
  local per = math.max(1, (100 - width) // math.max(10, table.unpack(column)))
  for first = 1, #self.frames, per do
    local last = math.min(#self.frames, first + per - 1)
    local head = text.left("frames", width)
    for i = first, last do head = head .. text.right(text.number(self.frames[i]), column[i]) end
    out[#out + 1] = head
    for _, p in ipairs(self.policies) do
      local row = text.left(p, width)
      for i = first, last do
        row = row .. text.right(text.percent(self.results[p][self.frames[i]].misses, self.refs), column[i])
      end
      out[#out + 1] = row
    end
  end
  return table.concat(out, "\n")
end

--- A picture: the miss ratio against the number of frames, a line a policy.
---@param t? { log?: boolean, title?: string }
---@return string
function Comparison:svg(t)
  t = t or {}
  local list = {}
  for k, p in ipairs(self.policies) do
    local points = {}
    for i, n in ipairs(self.frames) do points[i] = { n, self.results[p][n].miss_ratio } end
    list[k] = { name = p, points = points }
  end
  return plot.lines { title = t.title or "Miss ratio", x = "frames", y = "misses per reference", logx = t.log,
    series = list }
end

return comparison
