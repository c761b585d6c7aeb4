-- The textbook allocators, from their definitions: blocks are a Lua list in order of
-- addresses, free lists are Lua lists; there are no tags and no words.
--
-- Addresses are distances from the heap's start. A block is { at, size, used }, where
-- `at` is its payload.
local model = {}
model.__index = model

local function up(x, a) return (x + a - 1) // a * a end

-- o: name, word, align, chunk, tags, fit, order, classes, coalesce, split, realloc, limit;
-- class: a model that has this one's functions, nothing: this one.
function model.new(o, class)
    local w, a = o.word, o.align
    local links = o.name ~= "implicit" and 2 or 0
    local self = setmetatable({ o = o, blocks = {}, free = {} }, class or model)
    self.over = o.tags == "both" and 2 * w or w
    local used = up(self.over + 1, a)
    local spare = up((o.tags == "header" and 1 or 2) * w + links * w, a)
    self.least = math.max(used, spare, o.name == "tlsf" and 16 or 0)
    self.split = math.max(self.least, up(o.split or 0, a))
    local tables = o.name == "segregated" and o.classes * 2 or 0
    if o.name == "dlmalloc" then tables = 128 + 128 // (8 * w) end
    if o.name == "tlsf" then tables = 1 + 17 * (1 + math.floor(math.log(o.limit or 1 << 26, 2))) end
    local first = up(tables * w + w, a)
    if o.tags == "both" then first = first + up(2 * w, a) end
    self.first, self.top, self.rover, self.outside = first, first, 0, 0
    if up(o.chunk, a) > 0 then self:extend(math.max(up(o.chunk, a), self.least)) end
    return self
end

function model:need(n) return math.max(up(n + self.over, self.o.align), self.least) end

-- Sixteenths of powers of two, and the class from which on every block fits.
local function sixteenth(size)
    local power = 4
    while 2 << power <= size do power = power + 1 end
    return power * 16 + (size - (1 << power)) // (1 << power - 4), 1 << power - 4
end

function model:class(size)
    if self.o.name == "tlsf" then return (sixteenth(size)) end
    if self.o.name ~= "segregated" then return 0 end
    local c = 0
    while c < self.o.classes - 1 and size >= self.least * 2 ^ (c + 1) do c = c + 1 end
    return c
end

-- --- free lists: in the order in which they are searched -----------------------------

function model:insert(b)
    local order, at = self.o.order, 1
    if self.o.name == "implicit" then return end
    if order == "fifo" then
        at = #self.free + 1
    elseif order == "address" or order == "size" then
        while self.free[at] do
            local f = self.free[at]
            if order == "address" and f.at > b.at then break end
            if order == "size" and (f.size > b.size or (f.size == b.size and f.at > b.at)) then break end
            at = at + 1
        end
    end
    table.insert(self.free, at, b)
end

function model:remove(b)
    for i, f in ipairs(self.free) do
        if f == b then return table.remove(self.free, i) end
    end
end

-- --- blocks ---------------------------------------------------------------------------

function model:index(at)
    for i, b in ipairs(self.blocks) do
        if b.at == at then return i end
    end
end

function model:merge(i)
    local b, after, before = self.blocks[i], self.blocks[i + 1], self.blocks[i - 1]
    if after and not after.used then
        self:remove(after)
        table.remove(self.blocks, i + 1)
        b.size = b.size + after.size
    end
    if before and not before.used then
        self:remove(before)
        table.remove(self.blocks, i)
        before.size = before.size + b.size
        b = before
    end
    if self.rover > b.at and self.rover < b.at + b.size then self.rover = b.at end
    return b
end

function model:extend(size)
    if self.o.limit and self.top + self.outside + size > self.o.limit then return nil end
    local b = { at = self.top, size = size, used = false }
    self.blocks[#self.blocks + 1] = b
    self.top = self.top + size
    b = self:merge(#self.blocks)
    self:insert(b)
    return b
end

function model:merge_all()
    local i = 1
    while self.blocks[i] do
        local b, merged = self.blocks[i], false
        while not b.used and self.blocks[i + 1] and not self.blocks[i + 1].used do
            local after = table.remove(self.blocks, i + 1)
            self:remove(after)
            if not merged then self:remove(b) end
            b.size, merged = b.size + after.size, true
            if self.rover > b.at and self.rover < b.at + b.size then self.rover = b.at end
        end
        if merged then self:insert(b) end
        i = i + 1
    end
end

-- Best and worst take the lowest of equal ones.
local choose = {
    first = function(list) return list[1] end,
    best = function(list)
        table.sort(list, function(a, b) return a.size < b.size or (a.size == b.size and a.at < b.at) end)
        return list[1]
    end,
    worst = function(list)
        table.sort(list, function(a, b) return a.size > b.size or (a.size == b.size and a.at < b.at) end)
        return list[1]
    end,
}

function model:search(size)
    local o = self.o
    if o.name == "implicit" and o.fit == "next" then
        for round = 1, 2 do
            for _, b in ipairs(self.blocks) do
                if (b.at >= self.rover) == (round == 1) and not b.used and b.size >= size then
                    self.rover = b.at
                    return b
                end
            end
        end
        return nil
    end
    local list = {}
    for _, b in ipairs(o.name == "implicit" and self.blocks or self.free) do
        if not b.used and b.size >= size then list[#list + 1] = b end
    end
    if o.name == "tree" then return choose.best(list) end
    if o.name == "tlsf" then
        local _, step = sixteenth(size)
        local least, found = sixteenth(size + step - 1), nil
        for _, b in ipairs(list) do
            local c = self:class(b.size)
            if c >= least and (not found or c < self:class(found.size)) then found = b end
        end
        return found
    end
    if o.name ~= "segregated" or #list == 0 then return choose[o.fit](list) end
    local want
    for _, b in ipairs(list) do
        local c = self:class(b.size)
        if not want or (o.fit == "worst" and c > want) or (o.fit ~= "worst" and c < want) then want = c end
    end
    local class = {}
    for _, b in ipairs(list) do
        if self:class(b.size) == want then class[#class + 1] = b end
    end
    return choose[o.fit](class)
end

function model:find(size)
    local b = self:search(size)
    if not b and self.o.coalesce == "deferred" then
        self:merge_all()
        b = self:search(size)
    end
    return b or self:extend(math.max(size, up(self.o.chunk, self.o.align)))
end

-- Cut an allocated block: what is behind becomes free.
function model:cut(b, size)
    if b.size - size < self.split then return end
    local i = self:index(b.at)
    local rest = { at = b.at + size, size = b.size - size, used = false }
    b.size = size
    table.insert(self.blocks, i + 1, rest)
    if self.o.coalesce == "immediate" then rest = self:merge(i + 1) end
    self:insert(rest)
end

function model:malloc(n)
    local size = self:need(n)
    local b = self:find(size)
    if not b then return nil end
    self:remove(b)
    if b.size - size >= self.split then
        local rest = { at = b.at + size, size = b.size - size, used = false }
        b.size = size
        table.insert(self.blocks, self:index(b.at) + 1, rest)
        self:insert(rest)
    end
    b.used = true
    return b.at
end

function model:free_block(at)
    local i = self:index(at)
    local b = self.blocks[i]
    b.used = false
    if self.o.coalesce == "immediate" then b = self:merge(i) end
    self:insert(b)
end

function model:realloc(at, n)
    local size, i = self:need(n), self:index(at)
    local b, after = self.blocks[i], self.blocks[i + 1]
    if self.o.realloc == "place" then
        if size <= b.size then
            self:cut(b, size)
            return at
        elseif after and not after.used and b.size + after.size >= size then
            self:remove(after)
            table.remove(self.blocks, i + 1)
            b.size = b.size + after.size
            if self.rover == after.at then self.rover = b.at end
            self:cut(b, size)
            return at
        end
    end
    local new = self:malloc(n)
    if new then self:free_block(at) end
    return new
end

-- base: the heap's address, for alignment.
function model:memalign(align, n, base)
    local size = self:need(n)
    local b = self:find(size + align + self.least)
    if not b then return nil end
    self:remove(b)
    local at = up(b.at + base, align) - base
    while at ~= b.at and at - b.at < self.least do at = at + align end
    b.used = true
    if at ~= b.at then
        local front = { at = b.at, size = at - b.at, used = false }
        local i = self:index(b.at)
        b.at, b.size = at, b.size - front.size
        table.insert(self.blocks, i, front)
        self:insert(front)
    end
    self:cut(b, size)
    return b.at
end

return model
