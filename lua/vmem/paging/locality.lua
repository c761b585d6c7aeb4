--- What a reference string tells of its program: times of reuse, working sets,
--- page-fault frequency, phases.

local core = require "vmem.core"
local plot = require "vmem.paging.plot"
local text = require "vmem.text"

local locality = {}

local SHOWN <const> = 24

-- Evenly chosen rows of a long list.
local function some(list)
  if #list <= SHOWN then return list end
  local out = {}
  for i = 1, SHOWN do out[i] = list[1 + (i - 1) * (#list - 1) // (SHOWN - 1)] end
  return out
end

--- Windows from 1 to `last`: all up to 8, then eight for each doubling.
---@param last integer
---@return integer[]
function locality.windows(last)
  local list = {}
  for n = 1, math.min(8, last) do list[n] = n end
  local base = 8
  while base < last do
    for k = 9, 16 do
      local n = base * k // 8
      if n <= last then list[#list + 1] = n end
    end
    base = base * 2
  end
  if last > 0 and list[#list] ~= last then list[#list + 1] = last end
  return list
end

-- --- working sets ---------------------------------------------------------------------

---@class vmem.WorkingSets
---@field refs integer
---@field pages integer
---@field rows vmem.WorkingSetRow[] # by window, ascending
---@field never integer # references without a later one to their page
local Sets = {}
Sets.__index = Sets

---@class vmem.WorkingSetRow
---@field window integer # references
---@field size number # mean pages in the working set: the different ones of the last `window` references
---@field faults integer # references to pages that are not in it
---@field miss_ratio number
---@field footprint number # mean number of different pages in `window` successive references
---@field reuses integer # references whose page comes again after more references than the window before has, but not
--- more than this one

--- The working set for each window.
function locality.working_set(r, windows)
  local packed = core.study_reuse(r._core, windows)
  local n, pages, k = r.refs, r.pages, #windows
  local gap, ends, first = {}, {}, {}
  for i = 1, k + 1 do
    local a, b, c, d, e, f = ("=i8i8i8i8i8i8"):unpack(packed, 48 * (i - 1) + 1)
    gap[i], ends[i], first[i] = { a, b }, { c, d }, { e, f }
  end
  -- From the longest window down: intervals above it, their number and sum.
  local above = { gap = { 0, 0 }, ends = { 0, 0 }, first = { 0, 0 } }
  local within = 0 -- sum of gaps and ends that are not above
  for i = 1, k + 1 do within = within + gap[i][2] + ends[i][2] end
  local rows = {}
  for i = k, 1, -1 do
    local T = windows[i]
    for name, list in pairs { gap = gap, ends = ends, first = first } do
      above[name][1], above[name][2] = above[name][1] + list[i + 1][1], above[name][2] + list[i + 1][2]
    end
    within = within - gap[i + 1][2] - ends[i + 1][2]
    local longer = above.gap[1] + above.ends[1]
    local absent = 0 -- windows that lie where a page is not referenced, over all pages
    for _, x in pairs(above) do absent = absent + x[2] - T * x[1] end
    local faults = above.gap[1] + pages
    rows[i] = { window = T, size = n > 0 and (within + T * longer) / n or 0, faults = faults,
      miss_ratio = n > 0 and faults / n or 0, footprint = T <= n and pages - absent / (n - T + 1) or pages,
      reuses = gap[i][1] }
  end
  return setmetatable({ refs = n, pages = pages, rows = rows, never = pages }, Sets)
end

function Sets:__tostring()
  local out = { ("working sets of %s to %s"):format(text.count(self.refs, "reference"), text.count(self.pages, "page")),
    "      window  mean pages   footprint   miss ratio      reuses" }
  for _, w in ipairs(some(self.rows)) do
    out[#out + 1] = ("%s%12.2f%12.2f%s%s"):format(text.right(text.number(w.window), 12), w.size, w.footprint,
      text.right(text.percent(w.faults, self.refs), 13), text.right(text.number(w.reuses), 12))
  end
  return table.concat(out, "\n")
end

--- A picture: "size" (and the footprint), or "miss_ratio", against the window.
---@param t? { y?: "size"|"miss_ratio", log?: boolean }
---@return string
function Sets:svg(t)
  t = t or {}
  local log = t.log ~= false
  local function line(name, field)
    local points = {}
    for i, w in ipairs(self.rows) do points[i] = { w.window, w[field] } end
    return { name = name, points = points }
  end
  if t.y == "miss_ratio" then
    return plot.lines { title = "Miss rate of the working set", x = "window, references", y = "misses per reference",
      logx = log, series = { line("miss rate", "miss_ratio") } }
  end
  return plot.lines { title = "Working set", x = "window, references", y = "pages", logx = log,
    series = { line("working set", "size"), line("footprint", "footprint") } }
end

-- --- page-fault frequency ---------------------------------------------------------------

---@class vmem.FaultFrequency
---@field refs integer
---@field rows { threshold: integer, faults: integer, miss_ratio: number, size: number, most: integer }[]
local Frequency = {}
Frequency.__index = Frequency

function locality.pff(r, thresholds)
  local rows = {}
  for i, T in ipairs(thresholds) do
    local faults, pages, most = core.study_pff(r._core, T)
    rows[i] = { threshold = T, faults = faults, miss_ratio = r.refs > 0 and faults / r.refs or 0,
      size = r.refs > 0 and pages / r.refs or 0, most = most }
  end
  return setmetatable({ refs = r.refs, rows = rows }, Frequency)
end

function Frequency:__tostring()
  local out = { ("page-fault frequency: %s"):format(text.count(self.refs, "reference")),
    "   threshold      faults   miss ratio  mean pages  most pages" }
  for _, x in ipairs(some(self.rows)) do
    out[#out + 1] = ("%s%s%s%12.2f%s"):format(text.right(text.number(x.threshold), 12),
      text.right(text.number(x.faults), 12), text.right(text.percent(x.faults, self.refs), 13), x.size,
      text.right(text.number(x.most), 12))
  end
  return table.concat(out, "\n")
end

--- A picture: the miss ratio against the mean number of resident pages.
---@return string
function Frequency:svg()
  local points = {}
  for i, x in ipairs(self.rows) do points[i] = { x.size, x.miss_ratio } end
  table.sort(points, function(a, b) return a[1] < b[1] end)
  return plot.lines { title = "Page-fault frequency", x = "mean resident pages", y = "misses per reference",
    series = { { name = "PFF", points = points } } }
end

-- --- phases -------------------------------------------------------------------------------

---@class vmem.Phases
---@field window integer # references
---@field threshold number
---@field phases { first: integer, last: integer, pages: number }[] # positions of references, from 1; pages: of a
--- window, the mean
---@field windows { pages: integer, kept: integer, change: number }[] # change: from the window before, 0 to 1
local Phases = {}
Phases.__index = Phases

function locality.phases(r, window, threshold)
  local packed = core.study_windows(r._core, window)
  local windows, phases = {}, {}
  for i = 1, #packed // 8 do
    local pages, kept = ("=I4I4"):unpack(packed, 8 * i - 7)
    local before = i > 1 and windows[i - 1].pages or 0
    windows[i] = { pages = pages, kept = kept, change = 1 - kept / (pages + before - kept) }
    local first, last = (i - 1) * window + 1, math.min(i * window, r.refs)
    local now = phases[#phases]
    -- A last window that is shorter than the others tells nothing of a change.
    local whole = last - first + 1 == window
    if not now or windows[i].change > threshold and whole then
      now = { first = first, count = 0, sum = 0 }
      phases[#phases + 1] = now
    end
    now.last, now.count, now.sum = last, now.count + 1, now.sum + pages
  end
  for _, p in ipairs(phases) do p.pages, p.count, p.sum = p.sum / p.count, nil, nil end
  return setmetatable({ window = window, threshold = threshold, phases = phases, windows = windows }, Phases)
end

function Phases:__tostring()
  local out = { ("%s, in windows of %s"):format(text.count(#self.phases, "phase"),
    text.count(self.window, "reference")), "       first        last  mean pages" }
  for _, p in ipairs(some(self.phases)) do
    out[#out + 1] = ("%s%s%12.2f"):format(text.right(text.number(p.first), 12), text.right(text.number(p.last), 12),
      p.pages)
  end
  return table.concat(out, "\n")
end

--- A picture: how far each window's set of pages is from the one before.
---@return string
function Phases:svg()
  local points = {}
  for i, w in ipairs(self.windows) do points[i] = { i * self.window, i > 1 and w.change or 0 } end
  return plot.lines { title = "Changes of the set of pages", x = "references", y = "difference from the window before",
    series = { { name = "change", points = points } } }
end

return locality
