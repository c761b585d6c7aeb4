--- vmem.policy.check: does a policy keep the contract?
---
--- An owner is played that does all an owner may: pages come, are referenced, leave by
--- themselves, and sometimes a victim can't be evicted and stays. A run that breaks the
--- contract is made smaller as long as it breaks the same rule; what is left is shown call
--- by call.

local shrink = require "vmem.shrink"

local check = {}

-- The rules, in the order in which a message is looked through for them.
local rules = {
  { "answers", "answered", "victim answers the number of a full slot" },
  { "answers", "refused all", "a filter lets some page go" },
  { "ends", "took more than", "each function ends" },
  { "no-yield", "yield", "no function yields" },
  { "no-error", "", "no function raises an error" },
}
local meanings = {
  ["repeatable"] = "the same calls with the same seed bring the same victims",
  ["own-state"] = "an instance does not change what another does: state belongs into self",
  ["bounded"] = "memory grows with the slots, not with the pages that were ever seen",
}

local function rule_of(message)
  for _, r in ipairs(rules) do
    if message:find(r[2], 1, true) then return r[1], r[3] end
  end
end

-- --- the owner ---------------------------------------------------------------------------------

-- Keys are any 64-bit numbers but -1: every third is a large one.
local function key_of(k) return k % 3 == 0 and k | math.mininteger or k end

local function new_owner(hand, slots, log)
  local owner = { hand = hand, where = {}, held = {}, free = {}, victims = {}, log = log }
  for first = 0, 1 do -- the odd ones, from above, then the even ones
    for slot = first, slots - 1, 2 do owner.free[#owner.free + 1] = slot end
  end
  return owner
end

-- One call, noted; raises what the policy raises.
local function call(owner, name, ...)
  local log = owner.log
  if log then
    local args = {}
    for i, v in ipairs { ... } do args[i] = math.type(v) and v < 0 and ("%#x"):format(v) or tostring(v) end
    log[#log + 1] = ("%s(%s)"):format(name, table.concat(args, ", "))
  end
  local answer = owner.hand[name](owner.hand, ...)
  if name == "victim" then
    owner.victims[#owner.victims + 1] = answer
    if log then log[#log] = log[#log] .. " -> " .. answer end
  end
  return answer
end

local function put(owner, slot, key)
  call(owner, "insert", slot, key)
  owner.where[key], owner.held[slot] = slot, key
end

local function forget(owner, slot)
  owner.where[owner.held[slot]] = nil
  owner.held[slot] = nil
end

-- What a step of a workload is: { what, page, write? }.
local steps = {
  reference = function(owner, op)
    local key = key_of(op[2])
    local slot = owner.where[key]
    if slot then return call(owner, "touch", slot, op[3]) end
    slot = table.remove(owner.free)
    if not slot then
      slot = call(owner, "victim", key)
      forget(owner, slot)
    end
    put(owner, slot, key)
  end,
  -- Page frames: the victim's slot is emptied before somebody comes, maybe to another.
  evict = function(owner)
    if next(owner.held) == nil then return end
    local slot = call(owner, "victim")
    forget(owner, slot)
    call(owner, "remove", slot)
    table.insert(owner.free, 1, slot)
  end,
  -- The page ends: unmap, exit.
  leave = function(owner, op)
    local slot = owner.where[key_of(op[2])]
    if not slot then return end
    forget(owner, slot)
    call(owner, "remove", slot)
    table.insert(owner.free, 1, slot) -- taken last: who believes it full is found out
  end,
  -- A victim that can't be written back comes anew.
  stay = function(owner)
    if next(owner.held) == nil then return end
    local slot = call(owner, "victim")
    local key = owner.held[slot]
    call(owner, "remove", slot)
    call(owner, "insert", slot, key)
  end,
}

-- Phases of locality, loops and scans, so that all sides of a policy are met.
local function workload(seed, slots, length)
  local r = shrink.random(seed)
  local ops, base, span, kind, at = {}, 0, slots + 1, 0, 0
  for i = 1, length do
    if r(40) == 0 then base, span, kind = r(3) * slots, 1 + r(3 * slots), r(3) end
    at = at + 1
    local page = base + (kind == 0 and r(span) or kind == 1 and at % span or r(1 + r(span)))
    local dice = r(6 + length // 8)
    ops[i] = dice == 0 and { "leave", page } or dice == 1 and { "stay" } or dice == 2 and { "evict" }
      or { "reference", page, r(4) == 0 }
  end
  return ops
end

-- --- runs ------------------------------------------------------------------------------------------

local function broken(message, rule, meaning, step)
  local found, says = rule_of(message)
  return { rule = rule or found, meaning = meaning or says, message = message, step = step }
end

-- Run the workload; nil, or what is broken. `beside` workloads run on other instances, step by step.
local function run(open, slots, ops, log, beside)
  local hand <close> = open(slots)
  local owner = new_owner(hand, slots, log)
  local hand2 <close> = beside and open(slots) or nil
  local other = beside and new_owner(hand2, slots)
  for i, op in ipairs(ops) do
    local ok, why = pcall(steps[op[1]], owner, op)
    if not ok then return broken(tostring(why), nil, nil, i), owner end
    if other then
      local also = beside[(i - 1) % #beside + 1]
      ok, why = pcall(steps[also[1]], other, also)
      if not ok then return broken(tostring(why)), owner end
    end
  end
  return nil, owner
end

local function same(a, b)
  if #a ~= #b then return false end
  for i, v in ipairs(a) do
    if b[i] ~= v then return false, i end
  end
  return true
end

local function again(open, slots, ops, beside, rule)
  local bad, first = run(open, slots, ops)
  if bad then return bad end
  local log = {}
  local worse, second = run(open, slots, ops, log, beside)
  if worse then return worse end
  local is, at = same(first.victims, second.victims)
  if is then return nil end
  return broken(("victim %d was slot %s the first time, slot %s the second"):format(at or 0,
    tostring(first.victims[at]), tostring(second.victims[at])), rule, meanings[rule])
end

-- What each trial does; the others it is made of come before it.
local trials = {
  function(open, slots, ops) return (run(open, slots, ops)) end,
  function(open, slots, ops) return again(open, slots, ops, nil, "repeatable") end,
  function(open, slots, ops, seed)
    local bad = again(open, slots, ops, workload(seed + 1000, slots, #ops), "own-state")
    for _ = 1, bad and bad.rule == "own-state" and 8 or 0 do -- or is it by chance that they differ?
      local alone = again(open, slots, ops, nil, "repeatable")
      if alone then return alone end
    end
    return bad
  end,
}

-- Leave out what is not needed: slots, then steps, again as long as that helps.
local function smaller(trial, open, slots, ops, seed, bad)
  local budget = bad.rule == "ends" and 300 or 3000
  local function still(n, list)
    budget = budget - 1
    local now = budget > 0 and trial(open, n, list, seed)
    if now and now.rule == bad.rule then
      bad = now
      return now.step or #list
    end
  end
  local function cut(n) ops = table.move(ops, 1, n, 1, {}) end
  cut(bad.step or #ops)
  repeat
    local length = #ops
    for n = slots - 1, 1, -1 do
      local took = still(n, ops)
      if not took then break end
      slots = n
      cut(took)
    end
    ops = shrink.list(ops, function(list) return still(slots, list) end)
  until #ops == length
  return slots, ops, bad
end

-- --- reports ---------------------------------------------------------------------------------------

---@class vmem.PolicyReport
---@field policy string
---@field rule string what is broken: "answers", "ends", "no-error", "no-yield", "repeatable", "own-state", "bounded"
---@field meaning string the rule as a sentence
---@field message string what happened
---@field slots integer of the smallest run found
---@field calls string[] its calls
local Report = {}
Report.__index = Report

function Report:__tostring()
  local out = { ("policy %s breaks the contract, %s: %s"):format(self.policy, self.rule, self.meaning) }
  if #self.calls > 0 then out[2] = ("with %d slot%s:"):format(self.slots, self.slots == 1 and "" or "s") end
  for _, line in ipairs(self.calls) do out[#out + 1] = "  " .. line end
  out[#out + 1] = "  " .. self.message
  return table.concat(out, "\n")
end

-- Pages that never come again, for long: what is remembered of them must not pile up.
local GROWTH = { slots = 16, pages = 20000, bytes = 256 * 1024 }

local function grows(open)
  local hand <close> = open(GROWTH.slots)
  local owner = new_owner(hand, GROWTH.slots)
  local function feed(from, to)
    for page = from, to do
      steps.reference(owner, { "reference", page })
      steps.reference(owner, { "reference", page })
      owner.victims = {}
    end
    collectgarbage()
    return collectgarbage "count" * 1024
  end
  local before = feed(1, GROWTH.pages // 4)
  local after = feed(GROWTH.pages // 4 + 1, GROWTH.pages)
  if after - before > GROWTH.bytes then
    return { rule = "bounded", meaning = meanings.bounded, message =
      ("%d slots and %d pages later, there is %.0f KiB more in memory"):format(GROWTH.slots, GROWTH.pages * 3 // 4,
        (after - before) / 1024) }
  end
end

local sizes = { 1, 2, 3, 5, 8, 14 }

--- Check a policy.
---@param name string
---@param open fun(slots: integer): vmem.PolicyHand
---@param t { runs: integer, steps: integer, seed: integer }
---@return true?
---@return vmem.PolicyReport?
function check.run(name, open, t)
  for i = 1, t.runs do
    -- Short ones first, and most of all: what fails early is easy to understand.
    local seed, part = t.seed + i, i / t.runs
    local slots = sizes[(i - 1) % math.max(2, math.ceil(part * #sizes)) + 1]
    local ops = workload(seed, slots, math.ceil(t.steps * part ^ 3) + 8)
    for _, trial in ipairs(trials) do
      local bad = trial(open, slots, ops, seed)
      if bad then
        local n, few
        n, few, bad = smaller(trial, open, slots, ops, seed, bad)
        local log = {}
        run(open, n, few, log, bad.rule == "own-state" and workload(seed + 1000, n, #few) or nil)
        return nil, setmetatable({ policy = name, rule = bad.rule, meaning = bad.meaning, message = bad.message,
          slots = n, calls = log }, Report)
      end
    end
  end
  local bad = grows(open)
  if not bad then return true end
  bad.policy, bad.slots, bad.calls = name, GROWTH.slots, {}
  return nil, setmetatable(bad, Report)
end

return check
