--- Two allocators on one trace: the first operation at which they part, and why.
--
-- Two runs side by side, until a result differs or only one heap grows; then both again
-- up to the operation before, to look at what each had to choose from. Addresses are
-- compared from each heap's first block on, so that tables at a heap's start, which one
-- may have and the other not, are no difference.

local loss = require "vmem.heap.loss"
local stepper = require "vmem.heap.stepper"
local subject = require "vmem.heap.subject"
local take = require("vmem.paging.options").take
local text = require "vmem.text"

local diverge = {}

---@class vmem.heap.Choice what one of the two did
---@field allocator string
---@field address? integer # of the result, from the heap's first block on; nil: none
---@field size? integer # of the block that it is in now
---@field origin integer # the payload of the heap's first block
---@field grown integer # bytes that the heap grew by
---@field free table[] # free blocks before, in the order of the lists: { at =, size =, list =, place = }
---@field taken? table # which of them the result lies in
---@field refused? string # why there is no block
---@field before vmem.heap.Loss
---@field after vmem.heap.Loss

---@class vmem.heap.Divergence
---@field trace string # its name
---@field ops integer # operations of the trace
---@field op? integer # at which they part; nil: they never do
---@field kind? "a"|"r"|"f"
---@field id? integer
---@field bytes? integer # what the operation asks for
---@field a vmem.heap.Choice
---@field b vmem.heap.Choice
---@field why? string
local Divergence = {}
Divergence.__index = Divergence

local function origin(h)
  local b = h:blocks()[1]
  return b and b.address
end

-- One operation: where its block is, from the first one on, and how much the heap grew.
local function advance(s)
  local bytes = s.heap:size()
  local a, message, code = s:step()
  if message and code ~= "ENOMEM" then error(message, 0) end
  s.origin = s.origin or origin(s.heap)
  return a and a - s.origin, s.heap:size() - bytes, message
end

local function parted(a, b, grown_a, grown_b) return a ~= b or (grown_a > 0) ~= (grown_b > 0) end

-- --- what each chose from -------------------------------------------------------------------

local function free_blocks(s)
  local size, list = {}, {}
  for _, b in ipairs(s.heap:blocks()) do
    if not b.allocated then size[b.address] = b.size end
  end
  for _, l in ipairs(s.heap:lists()) do
    for i, a in ipairs(l) do list[#list + 1] = { address = a, size = size[a] or 0, list = l.list, place = i } end
  end
  return list
end

local function choose(s, op)
  assert(s:to(op - 1))
  local c = { allocator = s.name, free = free_blocks(s), before = loss.new(s.heap:_loss(), s.name, op - 1) }
  s.origin = origin(s.heap)
  c.address, c.grown, c.refused = advance(s)
  c.origin = s.origin
  c.after = loss.new(s.heap:_loss(), s.name, op)
  local at = c.address and c.address + c.origin
  for _, f in ipairs(c.free) do
    f.at = f.address - (c.origin or f.address)
    if at and f.address <= at and at < f.address + f.size then c.taken = f end
  end
  for _, b in ipairs(s.heap:blocks()) do
    if b.address == at then c.size = b.size end
  end
  return c
end

local function key(f) return ("%d:%d"):format(f.at, f.size) end

-- What only the first had free.
local function only(a, b)
  local has, n, first = {}, 0, nil
  for _, f in ipairs(b.free) do has[key(f)] = true end
  for _, f in ipairs(a.free) do
    if not has[key(f)] then n, first = n + 1, first or f end
  end
  return n, first
end

-- The size that a request's block is cut to: without what was not split off.
local function cut(c) return c.size and c.size - math.max(0, c.after.slack - c.before.slack) end

local function fits(c)
  local n, largest = 0, 0
  for _, f in ipairs(c.free) do
    if c.size and f.size >= cut(c) then n = n + 1 end
    largest = math.max(largest, f.size)
  end
  return n, largest
end

local function named(at) return ("%s%#x"):format(at < 0 and "-" or "+", math.abs(at)) end

local function deed(c)
  if c.refused then return ("%s refused it: %s"):format(c.allocator, c.refused) end
  local n, largest = fits(c)
  local grew = c.grown > 0 and (", and its heap grew by %s"):format(text.bytes(c.grown)) or ""
  if not c.address then return ("%s gave no block%s"):format(c.allocator, grew) end
  local got = ("%s gave %s"):format(c.allocator, named(c.address))
  if c.size then got = got .. (" in a block of %s"):format(text.bytes(c.size)) end
  if c.taken and c.taken.size >= (c.size or 0) then
    return ("%s, out of the free block of %s at %s (number %d of list %d, one of %d that were large enough)%s"):format(
      got, text.bytes(c.taken.size), named(c.taken.at), c.taken.place, c.taken.list, n, grew)
  end
  if c.grown > 0 then
    return ("%s%s: %s"):format(got, grew, #c.free == 0 and "it had no free block"
      or n > 0 and ("it passed over %s that would have held it"):format(text.count(n, "free block"))
      or "the largest free block it had was of " .. text.bytes(largest))
  end
  return got .. ", out of no block that was in a free list"
end

local function reason(a, b)
  for _, c in ipairs { a, b } do
    if c.refused then return ("the heap of %s can't grow, and no free block is large enough"):format(c.allocator) end
  end
  if cut(a) ~= cut(b) then
    return ("for this request one needs a block of %s, the other of %s: the layouts differ"):format(
      text.bytes(cut(a) or 0), text.bytes(cut(b) or 0))
  end
  local more_a, first_a = only(a, b)
  local more_b, first_b = only(b, a)
  if more_a + more_b == 0 then
    return #a.free > 0 and "both had the same free blocks and chose differently" or "neither had a free block"
  end
  local parts = {}
  for _, side in ipairs { { a, more_a, first_a }, { b, more_b, first_b } } do
    if side[2] > 0 then
      parts[#parts + 1] = ("only %s had %s free%s"):format(side[1].allocator, ("%s (%d bytes)"):format(
        named(side[3].at), side[3].size), side[2] > 1 and (" and %d more"):format(side[2] - 1) or "")
    end
  end
  return "earlier operations left other free blocks: " .. table.concat(parts, "; ")
end

-- --- as text ---------------------------------------------------------------------------------

local MOST = 12

local function list_lines(c, out)
  local words = {}
  for i, f in ipairs(c.free) do
    if i <= MOST or f == c.taken then
      words[#words + 1] = ("%s%s(%s)"):format(f == c.taken and "*" or "", named(f.at), text.number(f.size))
    end
  end
  local rest = #c.free - #words
  if rest > 0 then words[#words + 1] = ("and %d more"):format(rest) end
  out[#out + 1] = ("  %s"):format(c.allocator)
  out[#out + 1] = "    " .. (#words > 0 and text.wrap(table.concat(words, " "), 96, "    ") or "none")
end

local words = { a = "malloc", r = "realloc", f = "free" }

function Divergence:__tostring()
  if not self.op then
    return ("%s and %s do the same in all %d operations of %s"):format(self.a.allocator, self.b.allocator, self.ops,
      self.trace)
  end
  local a, b = self.a, self.b
  local out = {
    ("%s and %s on %s\npart at operation %d of %d: %s%s, id %d"):format(a.allocator, b.allocator, self.trace, self.op,
      self.ops, words[self.kind], self.kind ~= "f" and (" of %s"):format(text.bytes(self.bytes)) or "", self.id),
    "  " .. text.wrap(deed(a), 96, "    "), "  " .. text.wrap(deed(b), 96, "    "),
    "  " .. text.wrap("why: " .. self.why, 96, "    "),
    "free blocks before, in list order, from the first block on (* the one taken)",
  }
  list_lines(a, out)
  list_lines(b, out)
  out[#out + 1] = ("bytes after it: %s, and %s"):format(a.allocator, b.allocator)
  for _, line in ipairs(loss.lines { a.after, b.after }) do out[#out + 1] = line end
  return table.concat(out, "\n")
end

local rows = { { "trace", "any" }, { "a", "any", "implicit" }, { "b", "any", "explicit" },
  { "machine", "any", subject.MACHINE } }

---@param heap table the module that opens heaps
---@param vmem_machine fun(t: table): vmem.Machine
---@param t table options
---@return vmem.heap.Divergence? divergence nil, message, code: no such trace, or no heap
---@return string? message
---@return string? code
function diverge.new(heap, vmem_machine, t)
  local o = take("heap.diverge", t, rows)
  local trace, message, code = subject.trace("heap.diverge", o.trace)
  if not trace then return nil, message, code end
  local function begin(allocator)
    return stepper.make(heap, vmem_machine, { trace = trace, allocator = allocator, machine = o.machine })
  end
  local function pair(use)
    local a <close>, why_a, code_a = begin(o.a)
    if not a then return nil, why_a, code_a end
    local b <close>, why_b, code_b = begin(o.b)
    if not b then return nil, why_b, code_b end
    return use(a, b)
  end
  local d = { trace = trace.name, ops = #trace }
  local done
  done, message, code = pair(function(a, b)
    d.a, d.b = { allocator = a.name }, { allocator = b.name }
    a.origin, b.origin = origin(a.heap), origin(b.heap)
    for i = 1, #trace do
      local at_a, grown_a, refused_a = advance(a)
      local at_b, grown_b, refused_b = advance(b)
      if parted(at_a, at_b, grown_a, grown_b) or (refused_a ~= nil) ~= (refused_b ~= nil) then
        d.op, d.kind, d.id, d.bytes = i, trace.kind[i], trace.id[i], trace.size[i]
        break
      end
      if refused_a then break end -- neither has memory: there they end alike
    end
    return true
  end)
  if not done then return nil, message, code end
  if d.op then
    done, message, code = pair(function(a, b)
      d.a, d.b = choose(a, d.op), choose(b, d.op)
      d.why = reason(d.a, d.b)
      return true
    end)
    if not done then return nil, message, code end
  end
  return setmetatable(d, Divergence)
end

return diverge
