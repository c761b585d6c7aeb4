--- Figures as people read them: thousands, bytes, shares that add up, bars, columns.
--
-- Everything here returns text of plain characters; a bar uses block characters
-- only where it is told that the reader's terminal has them.

local text = {}

--- 1234567 as "1,234,567".
---@param n integer
---@return string
function text.number(n)
  local digits = ("%d"):format(n)
  local sign, rest = digits:match("^(%-?)(%d+)$")
  return sign .. rest:reverse():gsub("(%d%d%d)", "%1,"):reverse():gsub("^,", "")
end

local units = { "bytes", "KiB", "MiB", "GiB", "TiB" }

--- 65536 as "64 KiB"; what is not whole gets one decimal.
---@param n integer
---@return string
function text.bytes(n)
  local x, unit = n, 1
  while x >= 1024 and unit < #units do
    x, unit = x / 1024, unit + 1
  end
  if n == 1 then return "1 byte" end
  return (x == math.floor(x) and "%d %s" or "%.1f %s"):format(x == math.floor(x) and x // 1 | 0 or x, units[unit])
end

--- "12 pages", "1 page".
---@param n integer
---@param one string
---@param many? string
---@return string
function text.count(n, one, many)
  return text.number(n) .. " " .. (n == 1 and one or many or one .. "s")
end

--- Parts of a whole, rounded to some decimals in such a way that the rounded
--- parts add up to the rounded whole (the largest remainders are rounded up).
---@param parts integer[]
---@param divisor integer what each is divided by
---@param decimals integer
---@return integer[] scaled each part times 10^decimals
---@return integer whole their sum, the same way
function text.shares(parts, divisor, decimals)
  local scale, sum, all = math.tointeger(10 ^ decimals), 0, 0
  local out, order = {}, {}
  if divisor == 0 then divisor = 1 end
  for i, p in ipairs(parts) do
    local rest = p % divisor * scale
    out[i] = p // divisor * scale + rest // divisor
    order[i] = { index = i, rest = rest % divisor }
    sum, all = sum + out[i], all + p
  end
  local whole = all // divisor * scale + (all % divisor * scale * 2 + divisor) // (2 * divisor)
  table.sort(order, function(a, b)
    if a.rest ~= b.rest then return a.rest > b.rest end
    return a.index < b.index
  end)
  for k = 1, whole - sum do
    local i = order[k].index
    out[i] = out[i] + 1
  end
  return out, whole
end

--- A number that shares() scaled: 123456 of 2 decimals as "1,234.56".
---@param n integer
---@param decimals integer
---@return string
function text.scaled(n, decimals)
  local scale = math.tointeger(10 ^ decimals)
  return ("%s.%0" .. decimals .. "d"):format(text.number(n // scale), n % scale)
end

--- a of b in percent; "-" of nothing. Rounded down, so that 100 % means all.
---@param a integer
---@param b integer
---@param decimals? integer default 2
---@return string
function text.percent(a, b, decimals)
  if b == 0 then return "-" end
  decimals = decimals or 2
  local scale = math.tointeger(10 ^ decimals) * 100
  local n = a // b * scale + a % b * scale // b
  return text.scaled(n, decimals) .. " %"
end

local eighths = { "▏", "▎", "▍", "▌", "▋", "▊", "▉" }

--- A bar for a of b, at most `width` columns; something is always seen of
--- something.
---@param a integer
---@param b integer
---@param width integer
---@param blocks? boolean the reader has block characters
---@return string
function text.bar(a, b, width, blocks)
  if a <= 0 or b <= 0 then return "" end
  if not blocks then return ("#"):rep(math.max(1, math.floor(a / b * width + 0.5))) end
  local n = math.max(1, math.floor(a / b * width * 8 + 0.5))
  return ("█"):rep(n // 8) .. (eighths[n % 8] or "")
end

--- Columns a text takes.
local function columns(s) return utf8.len(s) or #s end

--- `s` at the left of `width` columns.
---@param s string
---@param width integer
---@return string
function text.left(s, width) return s .. (" "):rep(width - columns(s)) end

--- `s` at the right of `width` columns.
---@param s string
---@param width integer
---@return string
function text.right(s, width) return (" "):rep(width - columns(s)) .. s end

--- Break words into lines.
---@param s string
---@param width integer
---@param indent string before every line but the first
---@return string
function text.wrap(s, width, indent)
  local lines, line = {}, ""
  for word in s:gmatch("%S+") do
    if line ~= "" and columns(line) + 1 + columns(word) > width then
      lines[#lines + 1] = line
      line = indent .. word
    else
      line = (line == "" or line == indent) and line .. word or line .. " " .. word
    end
  end
  lines[#lines + 1] = line
  return table.concat(lines, "\n")
end

return text
