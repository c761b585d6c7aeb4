--- Options of a machine: a preset, nested tables and texts such as "64MiB",
--- checked against the core's rows and flattened to what the core takes.
---
--- The rows (name, kind, default, bounds, doc) come from the core, so nothing
--- here has to be changed when an option is added.

local core = require "vmem.core"
local policy = require "vmem.policy"
local presets = require "vmem.presets"
local lpeg = require "lpeg"
local say = require "vmem.say"

local options = {}

local show = say.show

options.rows = core.option_rows()

local by_name, groups = {}, {}
for _, row in ipairs(options.rows) do
  by_name[row.name] = row
  local prefix = row.name
  while true do
    prefix = prefix:match("^(.*)%.[^.]*$")
    if not prefix then break end
    groups[prefix] = true
  end
end

-- Where a table holds options and its own name is one of them, too:
-- dram = "64MiB" is dram = { size = "64MiB" }.
local shorthand = { dram = "dram.size" }

-- A size is a number and a unit: 64, "64", "4KiB", "1.5 MiB", "32k" (powers of 1024).
local P, R, S, C, Ct = lpeg.P, lpeg.R, lpeg.S, lpeg.C, lpeg.Ct
local space = S " \t" ^ 0
local number = C(R "09" ^ 1 * (P "." * R "09" ^ 1) ^ -1)
local unit = C(S "kKmMgGtT") * (P "i" ^ -1 * S "bB") ^ -1 + S "bB" ^ -1 * lpeg.Cc ""
local size_text = Ct(space * number * space * unit * space * -1)
local powers = { [""] = 0, k = 10, m = 20, g = 30, t = 40 }

--- Bytes of a size: an integer, an integral float, or a text such as "64MiB".
---@param v integer|number|string
---@return integer? bytes nil if `v` is no size
function options.bytes(v)
  if math.type(v) == "integer" then return v end
  if math.type(v) == "float" then return math.tointeger(v) end
  if type(v) ~= "string" then return nil end
  local parts = size_text:match(v)
  if not parts then return nil end
  return math.tointeger(tonumber(parts[1]) * (1 << powers[parts[2]:lower()]))
end

--- Edits between two short texts (Levenshtein), for "did you mean".
local function distance(a, b)
  local row = {}
  for j = 0, #b do row[j] = j end
  for i = 1, #a do
    local diagonal = row[0]
    row[0] = i
    for j = 1, #b do
      local same = a:byte(i) == b:byte(j) and 0 or 1
      diagonal, row[j] = row[j], math.min(row[j] + 1, row[j - 1] + 1, diagonal + same)
    end
  end
  return row[#b]
end

--- The candidate nearest to a name that does not exist, if one is near.
---@param name string
---@param candidates string[]
---@return string? nearest
function options.nearest(name, candidates)
  local best, least = nil, math.max(2, #name // 3) + 1
  for _, c in ipairs(candidates) do
    local d = distance(name, c)
    if d < least then best, least = c, d end
  end
  return best
end

--- ", did you mean TEXT?", or nothing.
---@param name any what was given
---@param names string[] what there is
---@return string
function options.suggestion(name, names)
  local near = type(name) == "string" and options.nearest(name, names)
  return near and (", did you mean " .. near .. "?") or ""
end

local function unknown(name)
  local names = {}
  for _, row in ipairs(options.rows) do names[#names + 1] = row.name end
  for g in pairs(groups) do names[#names + 1] = g end
  table.sort(names)
  error(("there is no option %s%s"):format(name, options.suggestion(name, names)), 0)
end

--- A policy as a user gives it: an object of vmem.policy, or the text "2q:kin=0.5" of a
--- built-in one for { "2q", kin = 0.5 } (other values come back as they are).
---@param name string of the option, for messages
---@param v any
---@return any
function options.policy_text(name, v)
  local ok, given = pcall(policy.text, v)
  if not ok then error(("%s: %s"):format(name, given), 0) end
  return given
end

-- What each kind of option takes, by kind: the value for the core, or nil.
local kinds = {
  count = function(v)
    if math.type(v) == "integer" then return v end
    return math.type(v) == "float" and math.tointeger(v) or nil
  end,
  bytes = options.bytes,
  bool = function(v) if type(v) == "boolean" then return v end end,
  name = function(v) if type(v) == "string" then return v end end,
  list = function(v) if type(v) == "table" then return v end end,
  -- An object of vmem.policy, or "2q", "2q:kin=0.5", { "2q", kin = 0.5 }: the core reads the text.
  policy = function(v, row)
    v = options.policy_text(row.name, v)
    if policy.is(v) then return v end
    if type(v) ~= "string" then return nil end
    local text, why = core.policy_text(row.name, v)
    return text or error(why, 0)
  end,
}
kinds.cycles = kinds.count

local takes = {
  count = "a whole number", cycles = "a whole number of cycles",
  bytes = "bytes: a whole number, or a text such as \"64MiB\"",
  bool = "true or false", name = "a name", list = "a list of whole numbers", policy = "a policy",
}

local function bounds(row)
  if row.choices then return "one of: " .. table.concat(row.choices, ", ") end
  if row.min and row.kind ~= "bool" then return ("%s, from %d to %d"):format(takes[row.kind], row.min, row.max) end
  return takes[row.kind]
end

local function set(flat, row, v)
  local value = kinds[row.kind](v, row)
  local fits = value ~= nil and not (row.min and row.kind ~= "bool" and row.kind ~= "list"
    and (value < row.min or value > row.max))
  if fits and row.kind == "name" then
    fits = false
    for _, c in ipairs(row.choices) do fits = fits or c == value end
  end
  if not fits then error(("%s is %s, but takes %s"):format(row.name, show(v), bounds(row)), 0) end
  flat[row.name] = value
end

--- Flatten nested options into `flat`, checking each.
---@param flat table<string, any> dotted name to value
---@param t table nested options
---@param prefix? string
local function flatten(flat, t, prefix)
  -- In order of names, so that of several mistakes the same one is told each time.
  local names = {}
  for k in pairs(t) do
    if type(k) ~= "string" then
      error(("options%s have the key %s, which is not a name"):format(
        prefix and (" of " .. prefix) or "", show(k)), 0)
    end
    names[#names + 1] = k
  end
  table.sort(names)
  for _, k in ipairs(names) do
    local v, name = t[k], prefix and (prefix .. "." .. k) or k
    local row = by_name[name]
    if type(v) == "table" and groups[name] then
      flatten(flat, v, name)
    elseif type(v) ~= "table" and shorthand[name] then
      set(flat, by_name[shorthand[name]], v)
    elseif row then
      set(flat, row, v)
    elseif groups[name] then
      error(("%s is %s, but takes a table of options"):format(name, show(v)), 0)
    else
      unknown(name)
    end
  end
end

--- The options that the core takes, from what a user gave.
---@param t? table nested options; `preset` names where to begin
---@return table<string, any> flat
function options.resolve(t)
  local flat, rest = {}, {}
  if t ~= nil and type(t) ~= "table" then
    error(("options are a %s, but must be a table"):format(type(t)), 0)
  end
  for k, v in pairs(t or {}) do rest[k] = v end
  local preset = rest.preset
  rest.preset = nil
  if preset ~= nil then
    if type(rawget(presets, preset)) ~= "table" then
      local names = presets.names()
      error(("there is no preset %s%s (there are %s)"):format(show(preset), options.suggestion(preset, names),
        table.concat(names, ", ")), 0)
    end
    flatten(flat, presets[preset])
  end
  -- A machine of one's own TLBs or caches does not keep a preset's: a level is
  -- left out by entries = 0 or size = 0.
  flatten(flat, rest)
  return flat
end

return options
