--- A picture of physical memory: which frames are free, in blocks of which orders,
--- and what the others are used for.

local text = require "vmem.text"

local frames = {}

local Frames = {} ---@class vmem.Frames
Frames.__index = Frames

local COLUMNS, WIDTH = 64, 90

---@param raw table what the core told
---@return vmem.Frames
function frames.new(raw) return setmetatable(raw, Frames) end

-- The map's letters and what they say, those that are on it.
local function legend(self)
  local letters = {}
  for letter in pairs(self.legend) do
    if self.map:find(letter, 1, true) then letters[#letters + 1] = letter end
  end
  table.sort(letters)
  for i, letter in ipairs(letters) do letters[i] = letter .. " " .. self.legend[letter] end
  if self.map:find("#", 1, true) then letters[#letters + 1] = "# several of these" end
  return table.concat(letters, "   ")
end

-- Free blocks and the share that is unusable, for each order up to the first for
-- which all free memory is.
local function orders(self)
  local blocks, unusable = {}, {}
  for _, o in ipairs(self.orders) do
    if o.free_blocks > 0 then blocks[#blocks + 1] = ("%d:%d"):format(o.order, o.free_blocks) end
    unusable[#unusable + 1] = ("%d:%d%%"):format(o.order, math.floor(o.unusable * 100))
    if o.unusable >= 1 then break end
  end
  local none = #blocks == 0 and "none" or table.concat(blocks, "  ")
  return text.wrap("free blocks by order (2^order frames): " .. none, WIDTH, "  "),
    text.wrap("free memory that is unusable for an order: " .. table.concat(unusable, "  "), WIDTH, "  ")
end

--- The map: at most 64 columns by 16 rows, a legend, free blocks by order.
---@return string
function Frames:picture()
  local out = { ("%s of %s, %s free, the largest free run %s; allocator %s"):format(
    text.count(self.count, "frame"), text.bytes(self.page), text.number(self.free),
    text.count(self.largest_run, "frame"), self.allocator) }
  if self.count == 0 then return out[1] end
  if self.group > 1 then out[1] = out[1] .. (";\na character is %d frames"):format(self.group) end
  local digits = math.max(2, #("%x"):format(self.count - 1))
  for at = 1, #self.map, COLUMNS do
    out[#out + 1] = ("  %0" .. digits .. "x  %s"):format((at - 1) * self.group, self.map:sub(at, at + COLUMNS - 1))
  end
  out[#out + 1] = legend(self)
  out[#out + 1], out[#out + 2] = orders(self)
  return table.concat(out, "\n")
end

Frames.__tostring = Frames.picture

return frames
