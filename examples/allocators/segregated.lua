-- Segregated fits (CS:APP 9.9.14), a free list for each power of two: the same blocks as "segregated".
--
--    vmem heap trace.rep --allocator examples/allocators/segregated.lua
local vmem = require "vmem"

local function up(n, to) return (n + to - 1) // to * to end

-- The block is free: it merges with its free neighbours, and is the first in its list.
local function release(self, a)
  local size, before, after = self:around(a)
  if after > 0 then self:unlink(self.head(after), a + size) end
  if before > 0 then self:unlink(self.head(before), a - before) end
  a, size = a - before, before + size + after
  self:set_block(a, size, false)
  self:push(self.head(size), a)
  return a, size
end

return vmem.heap.allocator {
  name = "lua-segregated", params = { classes = 20 },
  init = function(self)
    self.least = up(4 * self.word, self.align) -- room for two links
    self.first = self:begin_row(self.classes * self.word)
    self.head = self:size_classes(self.base, self.classes, self.least)
    self.last = self.base + (self.classes - 1) * self.word
    if self.chunk > 0 then release(self, self:extend_row(self.chunk)) end
  end,
  malloc = function(self, n)
    local size = math.max(up(n + 2 * self.word, self.align), self.least)
    local a, all, head = self:list_fit(self.head(size), size, "first", self.last)
    if not a then
      a = self:extend_row(math.max(size, self.chunk))
      if not a then return nil end
      a, all = release(self, a)
      head = self.head(all)
    end
    self:unlink(head, a)
    if all - size >= self.least then
      self:set_block(a + size, all - size, false)
      self:push(self.head(all - size), a + size)
      all = size
    end
    self:set_block(a, all, true)
    return a
  end,
  free = release,
  usable_size = function(self, a) return self:block(a) - 2 * self.word end,
  blocks = function(self) return self:row(self.first) end,
}
