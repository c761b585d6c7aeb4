-- An allocator after Doug Lea's, from its description: free blocks are one Lua list, with
-- the time at which each was freed; there are no bins. The block at the heap's end, if it
-- is free, is the top. Blocks of areas are a table beside.
local model = require("model_heap")

local dl = setmetatable({}, { __index = model })
dl.__index = dl

local PAGE, AREAS = 4096, 1 << 48

local function up(x, a) return (x + a - 1) // a * a end

-- o: as of model.new, and threshold, trim; base: the heap's address.
function dl.new(o, base)
    local t = { name = "dlmalloc", tags = "free", coalesce = "immediate" }
    for k, v in pairs(o) do t[k] = v end
    local self = model.new(t, dl)
    self.base, self.mapped = base, {}
    return self
end

function dl:last(b) return b.at + b.size == self.top end

function dl:wilderness()
    local b = self.blocks[#self.blocks]
    return b and not b.used and b or nil
end

function dl:small(size) return size // self.o.align < 64 end

function dl:insert(b)
    if self:last(b) then return end
    self.time = (self.time or 0) + 1
    b.freed = self.time
    self.free[#self.free + 1] = b
end

function dl:remove(b)
    if self.victim == b then
        self.victim = nil
    else
        model.remove(self, b)
    end
end

-- The smallest in bins that has `least` bytes, and less than `stop`.
function dl:best(least, stop)
    local best
    for _, b in ipairs(self.free) do
        if b.size >= least and (not stop or b.size < stop) then
            local better = not best or b.size < best.size
            if best and b.size == best.size then
                if self:small(b.size) then better = b.freed > best.freed else better = b.freed < best.freed end
            end
            if better then best = b end
        end
    end
    return best
end

function dl:search(size)
    local victim = self.victim and self.victim.size >= size and self.victim
    if self:small(size) then
        local b = self:best(size, math.min(size + self.least, 64 * self.o.align)) or victim
        if b then return b end
    end
    local b = self:best(size)
    if victim and (not b or victim.size <= b.size) then return victim end
    local top = self:wilderness()
    return b or top and top.size >= size and top or nil
end

function dl:find(size)
    local b, top = self:search(size), self:wilderness()
    return b or self:extend(math.max(size - (top and top.size or 0), up(self.o.chunk, self.o.align)))
end

function dl:map(align, n)
    local word = 2 * self.o.word
    local size = up(n + up(word, align), PAGE)
    if self.top + self.outside + size > self.o.limit then return nil end
    -- The lowest place where there is room.
    local start, moved = AREAS - self.base, true
    while moved do
        moved = false
        for at, m in pairs(self.mapped) do
            local from = at - m.offset
            if from < start + size and start < from + m.size then start, moved = from + m.size, true end
        end
    end
    local a = up(start + self.base + word, align) - self.base
    self.outside = self.outside + size
    self.mapped[a] = { size = size, offset = a - start }
    return a
end

function dl:large(size) return self.o.threshold > 0 and size >= self.o.threshold end

function dl:malloc(n)
    local size = self:need(n)
    local a = self:large(size) and self:map(self.o.align, n)
    if a then return a end
    local b = self:find(size)
    if not b then return nil end
    self:remove(b)
    b.used = true
    if b.size - size >= self.split then
        local rest = { at = b.at + size, size = b.size - size, used = false }
        b.size = size
        table.insert(self.blocks, self:index(b.at) + 1, rest)
        if self:small(size) and not self:last(rest) then
            local old = self.victim
            self.victim = nil
            if old then self:insert(old) end
            self.victim = rest
        else
            self:insert(rest)
        end
    end
    return b.at
end

function dl:memalign(align, n)
    local a = self:large(self:need(n) + align) and self:map(align, n)
    return a or model.memalign(self, align, n, self.base)
end

function dl:free_block(a)
    local area = self.mapped[a]
    if area then
        self.mapped[a], self.outside = nil, self.outside - area.size
        return
    end
    model.free_block(self, a)
    local top = self:wilderness()
    if self.o.trim == 0 or not top or top.size < self.o.trim then return end
    local stop = up(self.base + top.at + self.o.chunk + self.least, PAGE) - self.base
    if stop < self.top then
        top.size, self.top = stop - top.at, stop
    end
end

function dl:realloc(a, n)
    local area = self.mapped[a]
    if not area then return model.realloc(self, a, n) end
    if self.o.realloc == "place" and n <= area.size - area.offset and n + area.offset > area.size // 2 then return a end
    local new = self:malloc(n)
    if new then self:free_block(a) end
    return new
end

return dl
