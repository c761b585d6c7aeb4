--- Options of paging studies: rows, checked in one place.

local options = require "vmem.options"
local policy = require "vmem.policy"
local core = require "vmem.core"

local study = {}

-- What each kind takes: a function that gives the value, or nil where it is none.
local kinds = {
  count = function(v)
    local n = math.type(v) and math.tointeger(v)
    return n and n > 0 and n or nil
  end,
  integer = function(v) return math.type(v) and math.tointeger(v) or nil end,
  number = function(v) return math.type(v) and v > 0 and v or nil end,
  bool = function(v) if type(v) == "boolean" then return v end end,
  callable = function(v) return type(v) == "function" and v or nil end,
  bytes = function(v)
    local n = options.bytes(v)
    return n and n > 0 and n & (n - 1) == 0 and n or nil
  end,
  scope = function(v) return (v == "global" or v == "local") and v or nil end,
  counts = function(v)
    if math.type(v) then v = { v } end
    if type(v) ~= "table" or #v == 0 then return nil end
    local list = {}
    for i, x in ipairs(v) do
      local n = math.type(x) and math.tointeger(x)
      if not n or n < 1 then return nil end
      list[i] = n
    end
    return list
  end,
  threads = function(v)
    local n = math.type(v) and math.tointeger(v)
    return n and n >= 0 and n <= 1024 and n or nil
  end,
  rate = function(v) return math.type(v) and v > 0 and v <= 1 and v or nil end,
  list = function(v) return type(v) == "table" and #v > 0 and v or nil end,
  any = function(v) return v end,
}

local takes = {
  count = "a whole number from 1", integer = "a whole number", number = "a number above 0", bool = "true or false",
  callable = "a function", bytes = "a power of two, or a text such as \"4KiB\"", scope = "\"global\" or \"local\"",
  counts = "a whole number from 1, or a list of them", threads = "a whole number from 0 to 1024",
  rate = "a number above 0, 1 at the most", list = "a list that is not empty",
}

--- Check a call's options against its rows of { name, kind, default }.
---@param call string
---@param t table
---@param rows table[]
---@return table options with defaults
function study.take(call, t, rows)
  if type(t) ~= "table" then error(("%s takes a table of options, but got a %s"):format(call, type(t)), 3) end
  local out, names, known = {}, {}, {}
  for _, row in ipairs(rows) do
    local name, kind, default = row[1], row[2], row[3]
    names[#names + 1], known[name] = name, true
    local v = t[name]
    if v == nil then
      out[name] = default
    else
      out[name] = kinds[kind](v)
      if out[name] == nil then
        error(("%s: %s is %s, but takes %s"):format(call, name, type(v) == "table" and "a table" or tostring(v),
          takes[kind] or kind), 3)
      end
    end
  end
  for k in pairs(t) do
    if not known[k] then
      error(("%s: there is no option %s%s"):format(call, tostring(k), options.suggestion(k, names)), 3)
    end
  end
  return out
end

--- A policy as the options give it, "2q", "2q:kin=0.5", { "2q", kin = 0.5 } or an object of vmem.policy: as the
--- core takes it.
---@param call string
---@param v any
---@return string|vmem.Policy policy
---@return string name
function study.policy(call, v)
  local text = type(v) == "table" and options.policy_text(call, v) or v
  if policy.is(text) then return text, text.name end
  if type(text) ~= "string" then
    error(("%s: policy is a %s, but takes a name, a name and parameters, or an object of vmem.policy"):format(call,
      type(v)), 3)
  end
  local ok, why = core.study_policy(text)
  if ok then return ok, ok end
  local names, name = {}, text:match("^[^:]*")
  for _, row in ipairs(core.policies()) do
    if row.serves ~= "sets" then
      if row.name == name then error(("%s: %s"):format(call, why), 3) end
      names[#names + 1] = row.name
    end
  end
  error(("%s: there is no policy %s%s (there are %s)"):format(call, name, options.suggestion(name, names),
    table.concat(names, ", ")), 3)
end

return study
