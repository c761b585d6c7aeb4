--- Replacement policies written in Lua.
---
--- `vmem.policy{ name =, victim =, … }` makes an object that serves wherever the name
--- of a built-in policy does: page frames of machines, TLB sets, cache sets, paging
--- studies. docs/policies-in-lua.md is the tutorial.

local core = require "vmem.core"
local check = require "vmem.policy.check"
local say = require "vmem.say"

local policy = {}

local show, names_of = say.show, say.names

local Policy = core.Policy -- the metatable by which the core knows them
Policy.__index = {}

-- Fields: what each takes, and whether the core calls it.
local fields = {
  name = "string", doc = "string", params = "table", limit = "integer", enter = "integer",
  init = "function", insert = "function", touch = "function", victim = "function", remove = "function",
  filter = "function",
}

-- What the core puts into self beside the parameters.
local reserved = { slots = true, seed = true, inner = true }

local LIMIT = 100000000 -- VM instructions of a call: about a second

local function check_params(name, params)
  for k in pairs(params) do
    if type(k) ~= "string" or reserved[k] then
      error(("policy %s: params has the name %s, which is %s"):format(name, show(k),
        reserved[k] and "taken" or "none"), 0)
    end
  end
end

--- The object of checked fields.
local function make(call, t, extra)
  local self = say.fields(call, t, fields)
  for k, v in pairs(extra or {}) do self[k] = v end
  if not self.name or self.name == "" then error(call .. ": name is missing", 0) end
  if not self.victim and not self.wraps then
    error(("%s: policy %s lacks the function victim"):format(call, self.name), 0)
  end
  if self.filter and not self.wraps then
    error(("%s: policy %s has a filter, which is for policies that wrap another"):format(call, self.name), 0)
  end
  self.limit = self.limit or LIMIT
  self.enter = self.enter or 1
  if self.limit < 0 then error(("%s: limit is %d, but takes 0 (none) or more"):format(call, self.limit), 0) end
  if self.enter ~= 0 and self.enter ~= 1 then
    error(("%s: enter is %d, but takes 0 or 1"):format(call, self.enter), 0)
  end
  self.params = {}
  for k, v in pairs(t.params or {}) do self.params[k] = v end
  check_params(self.name, self.params)
  return setmetatable(self, Policy)
end

-- Errors of `make` at the caller of the public function.
local function made(...)
  local ok, object = pcall(make, ...)
  if not ok then error(object, 3) end
  return object
end

--- A policy of functions of one's own. Each instance has a table of its own (`self`), which
--- init sees first; a set of a TLB or cache is an instance. Functions that are not given are
--- not called; without `touch` nothing is called on hits, and self.slots tells of them.
---@param t vmem.PolicyFields
---@return vmem.Policy
function policy.new(t) return made("vmem.policy", t) end

--- A policy around a built-in one: calls that `t` does not define go to the one inside, those
--- that it does may pass on to `self.inner` (:insert, :touch, :victim, :remove). `filter(self,
--- slot, key)` is asked of each victim: true lets it go, else the one inside offers another. The
--- refused are put back then, as if they had just come.
---@param inner string|table the name of a built-in policy, with parameters: "lru", "2q:kin=0.5", { "2q", kin = 0.5 }
---@param t vmem.PolicyFields
---@return vmem.Policy
function policy.wrap(inner, t)
  local ok, text = pcall(policy.text, inner)
  if not ok then error("vmem.policy.wrap: " .. text, 2) end
  if type(text) ~= "string" then error("vmem.policy.wrap: it takes the name of a built-in policy", 2) end
  local named = { name = "wrapped " .. text }
  for k, v in pairs(type(t) == "table" and t or {}) do named[k] = v end
  return made("vmem.policy.wrap", type(t) == "table" and named or t, { wraps = text })
end

--- Is the value an object of vmem.policy?
---@param v any
---@return boolean
function policy.is(v) return type(v) == "table" and getmetatable(v) == Policy end

--- A policy as a user gives it: an object (with parameters: { object, tau = 5 }), or the text
--- of a built-in one, "2q:kin=0.5" for { "2q", kin = 0.5 }. Other values come back as they are.
---@param v any
---@return any
function policy.text(v)
  if type(v) ~= "table" or policy.is(v) then return v end
  local first, rest = v[1], {}
  for k, x in pairs(v) do
    if k ~= 1 then rest[k] = x end
  end
  if policy.is(first) then return first:with(rest) end
  if type(first) ~= "string" then return v end
  local parts = {}
  for k, x in pairs(rest) do
    if type(k) ~= "string" or k:find("[:=]") or (type(x) ~= "number" and type(x) ~= "string")
      or tostring(x):find("[:=]") then
      error(("policy %s has the parameter %s = %s, which is no name with a number or a text"):format(
        first, show(k), show(x)), 0)
    end
    parts[#parts + 1] = ("%s=%s"):format(k, math.type(x) == "float" and ("%.17g"):format(x) or x)
  end
  table.sort(parts)
  return table.concat({ first, table.unpack(parts) }, ":")
end

--- The same policy with other parameters.
---@param params table<string, any>
---@return vmem.Policy
function Policy.__index:with(params)
  local copy, parts = {}, {}
  for k, v in pairs(self) do copy[k] = v end
  copy.params = {}
  for k, v in pairs(self.params) do copy.params[k] = v end
  for k, v in pairs(params) do
    if self.params[k] == nil then
      error(("policy %s has no parameter %s (it has %s)"):format(self.name, tostring(k),
        next(self.params) and names_of(self.params) or "none"), 2)
    end
    copy.params[k] = v
    parts[#parts + 1] = ("%s=%s"):format(k, tostring(v))
  end
  table.sort(parts)
  copy.name = table.concat({ self.name, table.unpack(parts) }, ":")
  return setmetatable(copy, Policy)
end

function Policy:__tostring()
  local has = {}
  for _, name in ipairs { "init", "insert", "touch", "victim", "remove", "filter" } do
    if self[name] then has[#has + 1] = name end
  end
  return ("vmem.policy: %s%s (%s)"):format(self.name, self.wraps and " around " .. self.wraps or "",
    table.concat(has, ", "))
end

--- A policy by hand: the calls that a machine makes, one by one.
---@param what string|table|vmem.Policy
---@param t { slots: integer, sets?: integer, seed?: integer } slots: of each set
---@return vmem.PolicyHand
function policy.open(what, t)
  t = t or {}
  local ok, text = pcall(policy.text, what)
  if not ok then error("vmem.policy.open: " .. text, 2) end
  return core.policy_open(text, t.slots or 4, t.sets or 1, t.seed or 1)
end

local CHECK = { runs = 200, steps = 400, seed = 1 }

--- Does the policy keep the contract? It serves an owner that does all that owners may, on
--- random workloads of local phases, loops and scans: `runs` of them (200), which get longer, up to `steps` (400).
--- What breaks it is made as small as can be, and shown call by call. Functions have a
--- million instructions a call here.
---@param what string|table|vmem.Policy
---@param t? { runs?: integer, steps?: integer, seed?: integer }
---@return true? kept
---@return vmem.PolicyReport? report of what is broken; print it
function policy.check(what, t)
  local ok, object = pcall(policy.text, what)
  if not ok then error("vmem.policy.check: " .. object, 2) end
  local options = {}
  for k, v in pairs(t or {}) do
    if not CHECK[k] or math.type(v) ~= "integer" then
      error(("vmem.policy.check: there is no option %s = %s (there are runs, seed, steps, whole numbers)"):format(
        tostring(k), show(v)), 2)
    end
    options[k] = v
  end
  if policy.is(object) then
    object = object:with {}
    object.limit = math.min(object.limit > 0 and object.limit or 1000000, 1000000)
  end
  return check.run(policy.is(object) and object.name or tostring(object), function(slots)
    return policy.open(object, { slots = slots, seed = 1 })
  end, setmetatable(options, { __index = CHECK }))
end

return setmetatable(policy, { __call = function(_, t) return made("vmem.policy", t) end })
