-- A cycle that counting references leaks, and a tracing collector finds.
--
-- Counting: each object's first word is the number of pointers to it; who stores a
-- pointer counts up what it leads to and down what the old one led to; at 0 the object
-- is freed, and what it pointed to is counted down. No pause, no search, but of a cycle
-- no count is ever 0. (Collins, "A method for overlapping and erasure of lists", 1960.)

local vmem = require "vmem"

local WORD, FIELDS = 8, 2 -- a count, then two pointers

local Counting = {}
Counting.__index = Counting

function Counting.new(h, p) return setmetatable({ h = h, p = p, freed = 0 }, Counting) end

-- The caller holds it: its count is 1.
function Counting:new_object()
  local a = assert(self.h:calloc(1 + FIELDS, WORD))
  self.p:store(a, 1)
  return a
end

function Counting:drop(a)
  if a == 0 then return end
  local count = self.p:load(a) - 1
  self.p:store(a, count)
  if count > 0 then return end
  for i = 1, FIELDS do self:drop(self.p:load(a + i * WORD)) end
  self.h:free(a)
  self.freed = self.freed + 1
end

function Counting:set(a, field, to)
  if to ~= 0 then self.p:store(to, self.p:load(to) + 1) end
  self:drop(self.p:load(a + field * WORD))
  self.p:store(a + field * WORD, to)
end

local m <close> = vmem.machine { preset = "core-i7" }
local p = m:spawn()
local h = assert(vmem.heap.open(p, "tlsf"))

-- A list of three; then the same with a pointer from its last to its first.
local function list(counting, cyclic)
  local a, b, c = counting:new_object(), counting:new_object(), counting:new_object()
  counting:set(a, 1, b)
  counting:set(b, 1, c)
  if cyclic then counting:set(c, 1, a) end
  counting:drop(b)
  counting:drop(c)
  counting:drop(a) -- now nobody holds any of them
end

local counting = Counting.new(h, p)
list(counting, false)
print(("counting, a list:   %d of 3 objects freed"):format(counting.freed))
list(counting, true)
print(("counting, a cycle:  %d of 3 objects freed, %d blocks leaked"):format(counting.freed - 3, h:stats().blocks))

-- Tracing asks what the program can reach, not how many point to it.
local gc <close> = assert(vmem.gc { heap = h, mode = "conservative" })
print(("tracing:            %s"):format(gc:collect()))
