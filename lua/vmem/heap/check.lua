--- vmem.heap.check: does an allocator keep the contract?
---
--- Random programs allocate, fill, resize and free blocks in heaps of several sizes, some so
--- small that there is no memory. A program that breaks the contract is made smaller as long
--- as it breaks the same rule; what is left is shown call by call.

local shrink = require "vmem.shrink"

local check = {}

-- The rules that the core watches over, in the order in which a message is looked through for them.
local rules = {
  { "answers", "it answered", "malloc, realloc and memalign answer an aligned address in the heap, of a block that "
    .. "overlaps no other, or nil" },
  { "ends", "took more than", "each function ends" },
  { "no-yield", "yield", "no function yields" },
  { "own-memory", "not in the heap", "words are read and written in the heap only, and in no block that is allocated" },
  { "own-memory", "a write to", "words are read and written in the heap only, and in no block that is allocated" },
  { "sound", "the heap is damaged", "the heap is whole after each call" },
  { "no-error", "", "no function raises an error" },
}
local meanings = {
  keeps = "a block keeps what was written in it, as long as it lives and when it moves",
  sound = "the heap is whole after each call, as check and blocks see it",
  repeatable = "the same calls bring the same addresses",
  ["own-state"] = "a heap does not change what another does: state belongs into self",
  reuses = "memory that was freed is used again",
  ["in-heap"] = "what grows with the number of blocks is in the heap, not in Lua",
}

local function broken(rule, message, step)
  return { rule = rule, meaning = meanings[rule], message = message, step = step }
end

local function wrong(rule, text, ...) error({ rule = rule, text = text:format(...) }, 0) end

local function explain(err, step)
  if type(err) == "table" and err.rule then return broken(err.rule, err.text, step) end
  local message = tostring(err)
  for _, r in ipairs(rules) do
    if message:find(r[2], 1, true) then return { rule = r[1], meaning = r[3], message = message, step = step } end
  end
end

-- --- a program ---------------------------------------------------------------------------------

-- One heap at work: its blocks by number, { address, size, filling }.
local function begin(open, limit, log)
  local h, p = open(limit)
  return { heap = h, process = p, base = h and h:range(), live = {}, answers = {}, log = log, calls = 0 }
end

local function finish(w)
  if w.heap then w.heap:close() end
  if w.process and w.process:alive() then w.process:exit(0) end
end

-- A call that gives an address: noted, and what it gave.
local function call(w, id, name, ...)
  local log = w.log
  if log then log[#log + 1] = ("b%d = %s(%s)"):format(id, name, table.concat({ ... }, ", ")) end
  local args = { ... }
  if name == "realloc" then args[1] = w.live[id][1] end
  local a, message = w.heap[name](w.heap, table.unpack(args))
  w.answers[#w.answers + 1] = a and a - w.base or false
  if log then log[#log] = ("%-28s -- %s"):format(log[#log], a and ("+%#x"):format(a - w.base) or message or "nil") end
  return a
end

local function fill(w, id, a, n)
  w.calls = w.calls + 1
  local byte = string.char(w.calls % 255 + 1)
  w.live[id] = { a, n, byte }
  w.process:write(a, byte:rep(n))
end

local function compare(w, id, a, n)
  local b = w.live[id]
  local got, want = w.process:read(a, n), b[3]:rep(n)
  if got == want then return end
  local at = 1
  while got:byte(at) == want:byte(at) do at = at + 1 end
  wrong("keeps", "byte %d of b%d, %d bytes at +%#x, is %#x, but %#x was written", at - 1, id, n, a - w.base,
    got:byte(at), want:byte(at))
end

local function place(w, id, a, n, align)
  if a % align ~= 0 then wrong("answers", "+%#x is not aligned to %d bytes", a - w.base, align) end
  fill(w, id, a, n)
end

-- What a step is: { name, block, size, alignment }. One that can't be is none, so that any part of a
-- program is a program.
local steps = {
  malloc = function(w, op, align)
    local a = not w.live[op[2]] and call(w, op[2], "malloc", op[3])
    if a then place(w, op[2], a, op[3], align) end
  end,
  calloc = function(w, op, align)
    local a = not w.live[op[2]] and call(w, op[2], "calloc", 1, op[3])
    if not a then return end
    if w.process:read(a, op[3]):find "[^\0]" then wrong("keeps", "calloc gave bytes that are not 0") end
    place(w, op[2], a, op[3], align)
  end,
  memalign = function(w, op, align)
    local a = not w.live[op[2]] and call(w, op[2], "memalign", op[4], op[3])
    if a then place(w, op[2], a, op[3], math.max(op[4], align)) end
  end,
  realloc = function(w, op, align)
    local b = w.live[op[2]]
    if not b then return end
    compare(w, op[2], b[1], b[2])
    local a = call(w, op[2], "realloc", "b" .. op[2], op[3])
    if a then compare(w, op[2], a, math.min(b[2], op[3])) end
    if a then place(w, op[2], a, op[3], align) end
  end,
  free = function(w, op)
    local b = w.live[op[2]]
    if not b then return end
    compare(w, op[2], b[1], b[2])
    if w.log then w.log[#w.log + 1] = ("free(b%d)"):format(op[2]) end
    w.live[op[2]] = nil
    w.heap:free(b[1])
  end,
}

-- Mostly small blocks, some large, some that no heap holds; phases that grow and that shrink.
local function program(seed, limit, length)
  local r = shrink.random(seed)
  local ops, blocks, growing = {}, 4 + length // 6, true
  for i = 1, length do
    if r(30) == 0 then growing = not growing end
    local kind, size = r(20), 1 + r(24)
    if kind < 8 then size = 1 + r(200) elseif kind == 8 then size = 1 + r(limit // 3) elseif kind == 9 then
      size = 1 + r(2 * limit)
    end
    local dice, id = r(100), r(blocks)
    ops[i] = dice < (growing and 55 or 25) and { "malloc", id, size } or dice < 80 and { "free", id }
      or dice < 94 and { "realloc", id, size } or dice < 97 and { "calloc", id, size }
      or { "memalign", id, size, 16 << r(4) }
  end
  return ops
end

-- --- runs ------------------------------------------------------------------------------------------

local function step(w, op, align, look)
  steps[op[1]](w, op, align)
  if not look then return end
  local ok, what, at = w.heap:check()
  if not ok then wrong("sound", "%s (+%#x)", what, at - w.base) end
end

-- Run it: nil, or what is broken; and the addresses. `beside`, another program, runs in a heap of
-- its own, step by step.
local function run(kit, limit, ops, log, beside)
  local ok, w = pcall(begin, kit.open, limit, log)
  if not ok then return explain(w, 0) end
  local other = beside and begin(kit.open, limit)
  if other and not other.heap then other = nil end
  local bad
  local every = 1 + #ops // 40 -- to look whether the heap is whole takes as long as there are blocks
  for i, op in ipairs(w.heap and ops or {}) do
    local fine, err = pcall(step, w, op, kit.align, i % every == 0 or i == #ops)
    if other and not pcall(step, other, beside[(i - 1) % #beside + 1], kit.align) then
      finish(other) -- what it breaks by itself, it breaks in a run of its own
      other = nil
    end
    if not fine then
      bad = explain(err, i)
      break
    end
  end
  for id, b in pairs(bad and {} or w.live) do
    local fine, err = pcall(compare, w, id, b[1], b[2])
    if not fine then bad = explain(err) end
  end
  finish(w)
  if other then finish(other) end
  return bad, w.answers
end

local function again(kit, limit, ops, beside, rule)
  local bad, first = run(kit, limit, ops)
  if bad then return bad end
  local worse, second = run(kit, limit, ops, nil, beside)
  if worse then return worse end
  for i = 1, math.max(#first, #second) do
    if first[i] ~= second[i] then
      local function show(a) return a and ("+%#x"):format(a) or "nothing" end
      return broken(rule, ("answer %d was %s the first time, %s the second"):format(i, show(first[i]), show(second[i])))
    end
  end
end

-- What each trial does; the others it is made of come before it.
local trials = {
  function(kit, limit, ops) return (run(kit, limit, ops)) end,
  function(kit, limit, ops) return again(kit, limit, ops, nil, "repeatable") end,
  function(kit, limit, ops, seed)
    return again(kit, limit, ops, program(seed + 1000, limit, #ops), "own-state")
  end,
}

local function smaller(trial, kit, limit, ops, seed, bad)
  local budget = bad.rule == "ends" and 300 or 3000
  local function still(list)
    budget = budget - 1
    local now = budget > 0 and trial(kit, limit, list, seed)
    if now and now.rule == bad.rule then
      bad = now
      return now.step or #list
    end
  end
  ops = table.move(ops, 1, bad.step or #ops, 1, {})
  repeat
    local length = #ops
    ops = shrink.list(ops, still)
  until #ops == length
  return ops, bad
end

-- --- what takes long to show ---------------------------------------------------------------------

-- The same blocks come and go: two megabytes through a heap of one.
local function reuses(kit)
  local h <close> = assert(kit.native "1MiB")
  for round = 1, 300 do
    local list = {}
    for i = 1, 32 do
      local a, message = h:malloc(16 + i * 15 % 480)
      if not a then
        return broken("reuses", ("in a heap of at most 1 MiB, of which 8 KiB are ever in use, round %d: %s"):format(
          round, message))
      end
      list[i] = a
    end
    for i = 1, 32 do h:free(list[i * 7 % 32 + 1]) end
  end
end

-- 3,000 blocks, and then as many that are free: a table of Lua's for them would be seen.
local function in_heap(kit)
  local h <close> = assert(kit.native "64MiB")
  local list = {}
  for i = 1, 3000 do list[i] = 0 end
  local function memory()
    collectgarbage()
    collectgarbage() -- what the first one's finalizers held
    return collectgarbage "count" * 1024
  end
  local function grow(from, to)
    for i = from, to do list[i] = h:malloc(40) or 0 end
    return memory()
  end
  local before = grow(1, 1000)
  local after = grow(1001, 3000)
  for _, a in ipairs(list) do h:free(a) end
  after = math.max(after, memory())
  if after - before > 28 * 1024 then
    return broken("in-heap", ("2,000 blocks later, Lua holds %.0f KiB more"):format((after - before) / 1024))
  end
end

-- --- reports ---------------------------------------------------------------------------------------

---@class vmem.heap.AllocatorReport
---@field allocator string
---@field rule string what is broken: "answers", "own-memory", "ends", "no-yield", "no-error", "keeps",
--- "sound", "repeatable", "own-state", "reuses", "in-heap"
---@field meaning string the rule as a sentence
---@field message string what happened
---@field limit? integer bytes of the heap, at most, in the smallest run found
---@field calls string[] its calls
local Report = {}
Report.__index = Report

function Report:__tostring()
  local out = { ("allocator %s breaks the contract, %s: %s"):format(self.allocator, self.rule, self.meaning) }
  if self.limit then out[2] = ("in a heap of at most %d bytes:"):format(self.limit) end
  for _, line in ipairs(self.calls) do out[#out + 1] = "  " .. line end
  out[#out + 1] = "  " .. self.message
  return table.concat(out, "\n")
end

local function report(kit, bad, limit, calls)
  return setmetatable({ allocator = kit.name, rule = bad.rule, meaning = bad.meaning, message = bad.message,
    limit = limit, calls = calls }, Report)
end

local limits = { 16384, 65536, 262144 }

--- Check an allocator.
---@param kit { name: string, align: integer, open: function, native: function }
---@param t { runs: integer, steps: integer, seed: integer }
---@return true?
---@return vmem.heap.AllocatorReport?
function check.run(kit, t)
  for i = 1, t.runs do
    -- Short ones first, and most of all: what fails early is easy to understand.
    local seed, limit = t.seed + i, limits[i % #limits + 1]
    local ops = program(seed, limit, math.ceil(t.steps * (i / t.runs) ^ 3) + 8)
    for _, trial in ipairs(trials) do
      local bad = trial(kit, limit, ops, seed)
      if bad then
        local log, few = {}
        few, bad = smaller(trial, kit, limit, ops, seed, bad)
        run(kit, limit, few, log, bad.rule == "own-state" and program(seed + 1000, limit, #few) or nil)
        return nil, report(kit, bad, limit, log)
      end
    end
  end
  for _, long in ipairs { reuses, in_heap } do
    local ok, bad = pcall(long, kit)
    if not ok then bad = explain(bad) end
    if bad then return nil, report(kit, bad, nil, {}) end
  end
  return true
end

return check
