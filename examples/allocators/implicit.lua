-- An implicit free list with boundary tags (CS:APP 9.9.6 to 9.9.12): the same blocks as "implicit".
--
--    vmem heap trace.rep --allocator examples/allocators/implicit.lua
local vmem = require "vmem"

local function up(n, to) return (n + to - 1) // to * to end

-- A free block: merged with its free neighbours.
local function release(self, a, size)
  local after, after_used = self:block(a + size)
  local before, before_used = self:before(a)
  if not after_used then size = size + after end
  if not before_used then a, size = a - before, size + before end
  self:set_block(a, size, false)
  return a, size
end

local function extend(self, size)
  size = up(math.max(size, self.chunk), self.align)
  local a = self:grow(size)
  if not a then return nil end
  self:set_header(a + size, 0, true) -- the epilogue
  return release(self, a, size)
end

return vmem.heap.allocator {
  name = "lua-implicit", params = { which = "first" },
  init = function(self)
    local w, prologue = self.word, up(2 * self.word, self.align)
    self.first, self.least = up(self.base + w, self.align) + prologue, up(2 * w + 1, self.align)
    if not self:grow(self.first - self.base) then return end
    self:set_block(self.first - prologue, prologue, true)
    self:set_header(self.first, 0, true)
    if self.chunk > 0 then extend(self, self.chunk) end
  end,
  malloc = function(self, n)
    local size = math.max(up(n + 2 * self.word, self.align), self.least)
    local a, all = self:fit(self.first, size, self.which)
    if not a then a, all = extend(self, size) end
    if not a then return nil end
    if all - size >= self.least then
      self:set_block(a, size, true)
      self:set_block(a + size, all - size, false)
    else
      self:set_block(a, all, true)
    end
    return a
  end,
  free = function(self, a) release(self, a, (self:block(a))) end,
  usable_size = function(self, a) return self:block(a) - 2 * self.word end,
  blocks = function(self) return self:row(self.first) end,
}
