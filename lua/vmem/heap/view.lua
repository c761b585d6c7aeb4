--- A heap in two orders: that of addresses, in which blocks are neighbours, and that of
--- the free lists, in which a search meets them.

local plot = require "vmem.paging.plot"
local text = require "vmem.text"

local view = {}

---@class vmem.heap.View
---@field allocator string
---@field first integer # where the heap begins
---@field bytes integer
---@field blocks vmem.Heap.Block[] # by addresses; a free one has `list` and `place` in it, from 1
---@field lists table[] # as h:lists() has them
local View = {}
View.__index = View

---@param h vmem.Heap
---@return vmem.heap.View
function view.new(h)
  local v = { allocator = h:name(), first = h:range(), bytes = h:size(), blocks = h:blocks(), lists = h:lists() }
  local at = {}
  for _, b in ipairs(v.blocks) do
    if not b.allocated then at[b.address] = b end
  end
  v.at = at
  for _, l in ipairs(v.lists) do
    for i, a in ipairs(l) do
      if at[a] then at[a].list, at[a].place = l.list, i end
    end
  end
  return setmetatable(v, View)
end

function View:offset(a) return ("%s%#x"):format(a < self.first and "-" or "+", math.abs(a - self.first)) end

-- Blocks, but allocated ones side by side as one: { first, count, bytes, payload }.
local function runs(v)
  local out = {}
  for _, b in ipairs(v.blocks) do
    local last = out[#out]
    if b.allocated and last and last.count and last.stop == b.start then
      last.count, last.bytes, last.payload = last.count + 1, last.bytes + b.size, last.payload + (b.payload or 0)
      last.stop = b.start + b.size
    elseif b.allocated then
      out[#out + 1] = { address = b.address, count = 1, bytes = b.size, payload = b.payload or 0,
        stop = b.start + b.size }
    else
      out[#out + 1] = b
    end
  end
  return out
end

function View:__tostring()
  local free = 0
  for _, b in ipairs(self.blocks) do free = free + (b.allocated and 0 or 1) end
  local out = { ("%s: %s of heap from %#x, %s, %d of them free; addresses from its start"):format(self.allocator,
    text.count(self.bytes, "byte"), self.first, text.count(#self.blocks, "block"), free), "in address order" }
  local function put(...) out[#out + 1] = ("  %-10s %10s  %s"):format(...) end
  for _, r in ipairs(runs(self)) do
    if r.count then
      put(self:offset(r.address), text.number(r.bytes), ("%s, %s of payload"):format(
        r.count == 1 and "allocated" or r.count .. " allocated blocks", text.number(r.payload)))
    else
      put(self:offset(r.address), text.number(r.size), r.list
        and ("free: %d of list %d"):format(r.place, r.list) or "free, in no list")
    end
  end
  if #self.lists > 0 then out[#out + 1] = "in list order" end
  for _, l in ipairs(self.lists) do
    local words = {}
    for i, a in ipairs(l) do
      words[i] = ("%s(%s)"):format(self:offset(a), self.at[a] and text.number(self.at[a].size) or "?")
    end
    local head = ("  list %d: "):format(l.list)
    out[#out + 1] = head .. text.wrap(table.concat(words, " "), 100 - #head, (" "):rep(#head))
  end
  return table.concat(out, "\n")
end

-- --- the picture -------------------------------------------------------------------------

local W, LEAST, TOP, ROW, BETWEEN, GAP, LABEL = 960, 3, 52, 30, 120, 14, 28
local USED, COLOURS = "#c9d3dc", { "#1b6ca8", "#c8553d", "#2e8b57", "#8e5ea2", "#b8860b", "#00798c", "#d1495b",
  "#6a994e" }

-- Items in a row of a width: each gets LEAST, and its share of what is left. The x of
-- each, its width, and the row's end.
local function spread(items, width, from)
  local all, x = 0, from
  for _, item in ipairs(items) do all = all + item.bytes end
  local left = math.max(0, width - LEAST * #items)
  for _, item in ipairs(items) do
    item.x, item.w = x, LEAST + left * item.bytes / math.max(all, 1)
    x = x + item.w
  end
  return x
end

--- Two rows: above all blocks by address (runs of allocated ones as one, grey), below the
--- free ones list by list; a line leads from each free block to its place in a list.
---@param t? { title?: string }
---@return string
function View:svg(t)
  local above, below, where = {}, {}, {}
  for i, r in ipairs(runs(self)) do
    above[i] = { bytes = r.count and r.bytes or r.size, free = not r.count and r or nil,
      tip = ("%s: %s, %s"):format(self:offset(r.address), text.bytes(r.count and r.bytes or r.size),
        r.count and text.count(r.count, "allocated block") or "free") }
    if above[i].free then where[r.address] = above[i] end
  end
  for k, l in ipairs(self.lists) do
    for i, a in ipairs(l) do
      if where[a] then
        below[#below + 1] = { bytes = where[a].bytes, above = where[a], list = k, number = l.list,
          tip = ("list %d, %d of %d: %s, %s"):format(l.list, i, #l, self:offset(a), text.bytes(where[a].bytes)) }
      end
    end
  end
  -- As wide as the row needs that has most blocks.
  local width = math.max(W, 2 * LEAST * math.max(#above, #below))
  spread(above, width, 10)
  local from, group = 10, {}
  local free, lists = 0, math.max(0, #self.lists - 1)
  for _, item in ipairs(below) do free = free + item.bytes end
  local room = width - GAP * lists
  for i, item in ipairs(below) do
    group[#group + 1] = item
    if not below[i + 1] or below[i + 1].list ~= item.list then
      local bytes = 0
      for _, g in ipairs(group) do bytes = bytes + g.bytes end
      local share = LEAST * #group + math.max(0, room - LEAST * #below) * bytes / math.max(free, 1)
      from, group = math.max(spread(group, share, from) + GAP, from + LABEL), {}
    end
  end
  local low = TOP + ROW + BETWEEN
  local total, height = math.ceil(math.max(width, from - GAP)) + 20, low + ROW + 40
  local out = { ('<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %d" width="%d" height="%d" '
    .. 'font-family="sans-serif" font-size="12">'):format(total, height, total, height),
    '<rect width="100%" height="100%" fill="white"/>' }
  local function put(s, ...) out[#out + 1] = s:format(...) end
  local title = t and t.title or ("%s: %s of heap, %s, %d free"):format(self.allocator,
    text.count(self.bytes, "byte"), text.count(#self.blocks, "block"), #below)
  put('<text x="10" y="20" font-size="14">%s</text>', plot.escape(title))
  put('<text x="10" y="%d" fill="#555">by address: free blocks in the colour of their list, allocated ones grey</text>',
    TOP - 8)
  local function rect(item, y, colour)
    put('<rect x="%.1f" y="%d" width="%.1f" height="%d" fill="%s" stroke="white" stroke-width="%s"><title>%s</title>'
      .. "</rect>", item.x, y, item.w, ROW, colour, item.w > 6 and 1 or 0.4, item.tip)
  end
  local named
  for _, item in ipairs(below) do
    local colour = COLOURS[(item.list - 1) % #COLOURS + 1]
    item.above.colour = colour
    local x, y = item.above.x + item.above.w / 2, item.x + item.w / 2
    put('<path d="M%.1f %dC%.1f %d %.1f %d %.1f %d" fill="none" stroke="%s" stroke-width="1" stroke-opacity="0.7"/>',
      x, TOP + ROW, x, TOP + ROW + BETWEEN // 2, y, low - BETWEEN // 2, y, low, colour)
    rect(item, low, colour)
    if item.list ~= named then
      named = item.list
      put('<text x="%.1f" y="%d" font-size="11" fill="%s">%d</text>', item.x, low + ROW + 14, colour, item.number)
    end
  end
  for _, item in ipairs(above) do rect(item, TOP, item.free and (item.colour or "#f3e6b3") or USED) end
  put('<text x="10" y="%d" fill="#555">%s</text>', low + ROW + 32,
    #below > 0
    and "by list, in the order of its links; the number is the list's" or "no free block is in a list")
  out[#out + 1] = "</svg>"
  return table.concat(out, "\n")
end

return view
