--- Lines over two axes, as SVG. Nothing but text: it opens in a browser, and shows
--- in a notebook.

local text = require "vmem.text"

local plot = {}

local W, H, LEFT, RIGHT, TOP, BOTTOM = 760, 420, 76, 170, 34, 52
local COLOURS = { "#1b6ca8", "#c8553d", "#2e8b57", "#8e5ea2", "#b8860b", "#4f5d75", "#d1495b", "#00798c", "#6a994e",
  "#7f4f24" }

local entities = { ["&"] = "&amp;", ["<"] = "&lt;", [">"] = "&gt;", ['"'] = "&quot;" }

local function escape(s) return (s:gsub("[&<>\"]", entities)) end

--- A text as SVG has it.
---@param s string
---@return string
plot.escape = escape

-- 1, 2, 5 times powers of ten that cut `span` into some five parts.
local function step(span)
  if span <= 0 then return 1 end
  local p = 10 ^ math.floor(math.log(span / 5, 10))
  for _, m in ipairs { 1, 2, 5 } do if span / (p * m) <= 6 then return p * m end end
  return p * 10
end

local function label(x)
  if x == math.floor(x) then return text.number(math.tointeger(x) or 0) end
  return (("%.4f"):format(x):gsub("0+$", ""))
end

--- `series`: list of { name =, points = { { x, y }, ... }, band = { { x, low, high }, ... }?, colour = number? };
--- `logx`: the x axis is logarithmic (x from 1); `stacked`: bands lie on each other, and are what counts.
---@param t { title: string, x: string, y: string, logx?: boolean, stacked?: boolean, series: table[], mark?: table }
---@return string svg
function plot.lines(t)
  local x0, x1, y1 = math.huge, -math.huge, 0
  for _, s in ipairs(t.series) do
    for _, p in ipairs(s.points) do x0, x1, y1 = math.min(x0, p[1]), math.max(x1, p[1]), math.max(y1, p[2]) end
  end
  if x1 < x0 then x0, x1 = 0, 1 end
  if not t.logx then x0 = 0 end
  if x1 == x0 then x1 = x0 + 1 end
  if y1 == 0 then y1 = 1 end
  local function fx(x) return t.logx and math.log(math.max(x, x0) / x0) / math.log(x1 / x0) or (x - x0) / (x1 - x0) end
  local function px(x) return LEFT + fx(x) * (W - LEFT - RIGHT) end
  local function py(y) return H - BOTTOM - y / y1 * (H - TOP - BOTTOM) end
  local out = { ('<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %d" width="%d" height="%d" '
    .. 'font-family="sans-serif" font-size="12">'):format(W, H, W, H),
    '<rect width="100%" height="100%" fill="white"/>' }
  local function put(s, ...) out[#out + 1] = s:format(...) end
  put('<text x="%d" y="20" font-size="14">%s</text>', LEFT, escape(t.title))
  local dy = step(y1)
  for i = 0, math.floor(y1 / dy + 1e-9) do
    put('<path d="M%d %.1fH%d" stroke="#ddd"/>', LEFT, py(i * dy), W - RIGHT)
    put('<text x="%d" y="%.1f" text-anchor="end">%s</text>', LEFT - 6, py(i * dy) + 4, label(i * dy))
  end
  local ticks = {}
  if t.logx then
    local p = 10 ^ math.floor(math.log(x0, 10))
    while p <= x1 do
      if p >= x0 then ticks[#ticks + 1] = p end
      p = p * 10
    end
  else
    local dx = step(x1 - x0)
    for i = 0, math.floor((x1 - x0) / dx + 1e-9) do ticks[#ticks + 1] = x0 + i * dx end
  end
  for _, x in ipairs(ticks) do
    put('<path d="M%.1f %dv5" stroke="#444"/>', px(x), H - BOTTOM)
    put('<text x="%.1f" y="%d" text-anchor="middle">%s</text>', px(x), H - BOTTOM + 19, label(x))
  end
  put('<path d="M%d %dV%dH%d" stroke="#444" fill="none"/>', LEFT, TOP, H - BOTTOM, W - RIGHT)
  put('<text x="%d" y="%d" text-anchor="middle">%s</text>', (LEFT + W - RIGHT) // 2, H - 12, escape(t.x))
  put('<text transform="translate(16 %d) rotate(-90)" text-anchor="middle">%s</text>', (TOP + H - BOTTOM) // 2,
    escape(t.y))
  for i, s in ipairs(t.series) do
    local colour, d = COLOURS[((s.colour or i) - 1) % #COLOURS + 1], {}
    if s.band and #s.band > 1 then
      for _, b in ipairs(s.band) do d[#d + 1] = ("%.1f,%.1f"):format(px(b[1]), py(math.min(b[3], y1))) end
      for k = #s.band, 1, -1 do d[#d + 1] = ("%.1f,%.1f"):format(px(s.band[k][1]), py(math.max(s.band[k][2], 0))) end
      put('<polygon points="%s" fill="%s" fill-opacity="%s"/>', table.concat(d, " "), colour, t.stacked and 0.6 or 0.18)
      d = {}
    end
    for k, p in ipairs(s.points) do d[k] = ("%.1f,%.1f"):format(px(p[1]), py(p[2])) end
    put('<polyline points="%s" fill="none" stroke="%s" stroke-width="%s"/>', table.concat(d, " "), colour,
      t.stacked and 0.8 or 1.8)
    if #s.points <= 80 and not t.stacked then
      for _, p in ipairs(s.points) do
        put('<circle cx="%.1f" cy="%.1f" r="2.4" fill="%s"/>', px(p[1]), py(p[2]), colour)
      end
    end
    local line = t.stacked and #t.series - i + 1 or i
    put('<path d="M%d %dh22" stroke="%s" stroke-width="3"/>', W - RIGHT + 12, TOP + 18 * line - 8, colour)
    put('<text x="%d" y="%d">%s</text>', W - RIGHT + 40, TOP + 18 * line - 4, escape(s.name))
  end
  if t.mark then
    put('<path d="M%.1f %dV%d" stroke="#888" stroke-dasharray="4 3"/>', px(t.mark[1]), TOP, H - BOTTOM)
    local x, late = px(t.mark[1]), fx(t.mark[1]) > 0.7
    put('<text x="%.1f" y="%d" fill="#444" text-anchor="%s">%s</text>', x + (late and -4 or 4), TOP + 10,
      late and "end" or "start", escape(t.mark[2]))
  end
  out[#out + 1] = "</svg>"
  return table.concat(out, "\n")
end

return plot
