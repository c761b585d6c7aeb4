-- An implicit free list with boundary tags (CS:APP 9.9.6 to 9.9.12): the same blocks as "implicit".
--
--    vmem heap trace.rep --allocator examples/allocators/implicit.lua
local vmem = require "vmem"

local function up(n, to) return (n + to - 1) // to * to end

-- The block is free: it merges with its free neighbours.
local function release(self, a)
  local size, before, after = self:around(a)
  a, size = a - before, before + size + after
  self:set_block(a, size, false)
  return a, size
end

return vmem.heap.allocator {
  name = "lua-implicit", params = { which = "first" },
  init = function(self)
    self.least = up(2 * self.word + 1, self.align)
    self.first = self:begin_row()
    if self.chunk > 0 then release(self, self:extend_row(self.chunk)) end
  end,
  malloc = function(self, n)
    local size = math.max(up(n + 2 * self.word, self.align), self.least)
    local a, all = self:fit(self.first, size, self.which)
    if not a then
      a = self:extend_row(math.max(size, self.chunk))
      if not a then return nil end
      a, all = release(self, a)
    end
    if all - size >= self.least then
      self:set_block(a + size, all - size, false)
      all = size
    end
    self:set_block(a, all, true)
    return a
  end,
  free = release,
  usable_size = function(self, a) return self:block(a) - 2 * self.word end,
  blocks = function(self) return self:row(self.first) end,
}
