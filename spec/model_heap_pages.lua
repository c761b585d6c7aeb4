-- Allocators of pages, from their definitions: the pages are a Lua list of the runs they
-- are of, the lists of slabs are Lua lists; there are no maps, no notes and no words.
--
-- Addresses are distances from the heap's start; `base` is that start, for alignment.
local models = {}

local function up(x, a) return (x + a - 1) // a * a end

-- --- pages ----------------------------------------------------------------------------

local pages = {}
pages.__index = pages

-- The map counts: two bits a page, and a word a page with notes, in whole groups.
local function new_pages(class, o, base, tables, notes)
    local self = setmetatable({ o = o, base = base, notes = notes, page = o.page, run = {}, rover = 0 }, class)
    self.arena = up(base + tables, o.page) - base
    self.count = math.max(1, math.ceil(o.chunk / o.page))
    self.map_pages = 1
    while self:room(self.map_pages) < self.count do self.map_pages = 2 * self.map_pages end
    self.count = math.max(self.count, self.map_pages)
    self.top = self.arena + self.count * o.page
    self.map = 0
    self:mark(0, self.map_pages, { map = true })
    return self
end

function pages:room(map_pages)
    local bits = 8 * self.o.word
    local group = (self.notes and 2 + bits or 2) * self.o.word
    return map_pages * self.page // group * bits
end

function pages:mark(i, n, run)
    run.at, run.n = i, n
    for k = i, i + n - 1 do self.run[k] = run end
end

function pages:give(run)
    for k = run.at, run.at + run.n - 1 do self.run[k] = nil end
end

function pages:address(i) return self.arena + i * self.page end

-- The first place from page i on where n free ones begin at a multiple of `align`.
function pages:fit(i, n, align)
    while i + n <= self.count do
        local run = self.run[i]
        if run then
            i = run.at + run.n
        elseif (self.base + self:address(i)) % align ~= 0 then
            i = i + 1
        else
            local k = i
            while k < i + n and not self.run[k] do k = k + 1 end
            if k == i + n then return i end
            i = k
        end
    end
end

function pages:grow(n, align)
    local tail, chunk = self.count, math.ceil(self.o.chunk / self.page)
    while tail > 0 and not self.run[tail - 1] do tail = tail - 1 end
    local function place(map_pages)
        local at = tail + map_pages
        while (self.base + self:address(at)) % align ~= 0 do at = at + 1 end
        return at, math.max(chunk, at + n - self.count)
    end
    local map_pages
    local at, more = place(0)
    while self.count + more > self:room(map_pages or self.map_pages) do
        map_pages = 2 * (map_pages or self.map_pages)
        at, more = place(map_pages)
    end
    if self.top + more * self.page > self.o.limit then return nil end
    self.count, self.top = self.count + more, self.top + more * self.page
    if map_pages then
        self:give(self.run[self.map])
        self:mark(tail, map_pages, { map = true })
        self.map, self.map_pages = tail, map_pages
    end
    return at
end

function pages:take(n, align)
    align = math.max(align, self.page)
    local i = self.o.fit == "next" and self:fit(self.rover, n, align) or self:fit(0, n, align) or self:grow(n, align)
    if not i then return nil end
    local run = {}
    self:mark(i, n, run)
    self.rover = i + n
    return run
end

-- A run has n pages now, or false.
function pages:fits_in(run, n)
    for k = run.at + run.n, run.at + n - 1 do
        if k >= self.count or self.run[k] then return false end
    end
    self:give(run)
    self:mark(run.at, n, run)
    return true
end

function pages:for_bytes(n) return math.ceil(n / self.page) end

-- --- bitmap ---------------------------------------------------------------------------

local bitmap = setmetatable({}, { __index = pages })
bitmap.__index = bitmap

function models.bitmap(o, base) return new_pages(bitmap, o, base, 0, false) end

function bitmap:memalign(align, n)
    local run = self:take(self:for_bytes(n), align)
    return run and self:address(run.at)
end

function bitmap:malloc(n) return self:memalign(1, n) end

function bitmap:run_of(a) return self.run[(a - self.arena) // self.page] end

function bitmap:free_block(a) self:give(self:run_of(a)) end

function bitmap:realloc(a, n)
    if self:fits_in(self:run_of(a), self:for_bytes(n)) then return a end
    local new = self:malloc(n)
    if new then self:free_block(a) end
    return new
end

-- --- slab -----------------------------------------------------------------------------

local slab = setmetatable({}, { __index = pages })
slab.__index = slab

local DESCRIPTOR = 6 -- words

local function kind_of(o, size, inside)
    local k = { size = size, pages = 1, inside = inside }
    local function room() return k.pages * o.page - (inside and DESCRIPTOR * o.word or 0) end
    while not inside and room() % size > room() // 8 do k.pages = k.pages + 1 end
    k.objects = room() // size
    k.left = math.min(room() % size, o.page - 1)
    return k
end

function models.slab(o, base)
    local kinds, most, size = {}, 0, o.align
    while size <= 2 * o.page do
        local k = kind_of(o, size, size < o.page // 8)
        kinds[#kinds + 1] = k
        if not k.inside then most = math.max(most, k.objects) end
        local power = 1
        while 2 * power <= size do power = 2 * power end
        size = size + (size < 8 * o.align and o.align or power // 4)
    end
    kinds[0] = kind_of(o, up((DESCRIPTOR + most) * o.word, o.align), true)
    local self = new_pages(slab, o, base, (#kinds + 1) * 5 * o.word, true)
    self.caches = {}
    for c = 0, #kinds do
        self.caches[c] = { kind = kinds[c], colour = 0, lists = { empty = {}, partial = {}, full = {} } }
    end
    self.object = {} -- by address: { slab, index }, or { run }
    return self
end

local function list_of(s) return s.used == 0 and "empty" or s.used == s.cache.kind.objects and "full" or "partial" end

local function unlist(s)
    local list = s.cache.lists[list_of(s)]
    for i, other in ipairs(list) do
        if other == s then return table.remove(list, i) end
    end
end

local function enlist(s) table.insert(s.cache.lists[list_of(s)], 1, s) end

local function use(s, used)
    local moves = (used == 0) ~= (s.used == 0) or (used == s.cache.kind.objects) ~= (s.used == s.cache.kind.objects)
    if moves then unlist(s) end
    s.used = used
    if moves then enlist(s) end
end

function slab:destroy(s)
    unlist(s)
    self:give(s.run)
    if s.descriptor then self:put(s.descriptor) end
end

function slab:reap()
    local any = false
    for c = #self.caches, 0, -1 do
        local empty = self.caches[c].lists.empty
        while empty[1] do
            self:destroy(empty[1])
            any = true
        end
    end
    return any
end

function slab:run_for(n, align)
    return self:take(n, align) or self:reap() and self:take(n, align) or nil
end

function slab:new_slab(cache)
    local k, s = cache.kind, { cache = cache, used = 0, free = {} }
    if not k.inside then
        s.descriptor = self:take_object(self.caches[0])
        if not s.descriptor then return nil end
    end
    s.run = self:run_for(k.pages, 1)
    if not s.run then
        if s.descriptor then self:put(s.descriptor) end
        return nil
    end
    s.start = self:address(s.run.at) + cache.colour
    local step = up(self.o.colour, self.o.align)
    cache.colour = cache.colour + step > k.left and 0 or cache.colour + step
    for i = 0, k.objects - 1 do s.free[i + 1] = k.objects - 1 - i end
    enlist(s)
    return s
end

function slab:take_object(cache)
    local s = cache.lists.partial[1] or cache.lists.empty[1] or self:new_slab(cache)
    if not s then return nil end
    local i = table.remove(s.free)
    use(s, s.used + 1)
    local a = s.start + i * cache.kind.size
    self.object[a] = { slab = s, index = i }
    return a
end

function slab:put(a)
    local x = self.object[a]
    self.object[a] = nil
    table.insert(x.slab.free, x.index)
    use(x.slab, x.slab.used - 1)
    if x.slab.used == 0 and #x.slab.cache.lists.empty > self.o.empty then self:destroy(x.slab) end
end

function slab:memalign(align, n)
    local run = self:run_for(self:for_bytes(n), align)
    if not run then return nil end
    self.object[self:address(run.at)] = { run = run }
    return self:address(run.at)
end

function slab:malloc(n)
    for c = 1, #self.caches do
        if self.caches[c].kind.size >= n then return self:take_object(self.caches[c]) end
    end
    return self:memalign(1, n)
end

function slab:free_block(a)
    local run = self.object[a].run
    if not run then return self:put(a) end
    self.object[a] = nil
    self:give(run)
end

function slab:realloc(a, n)
    local x = self.object[a]
    if x.run then
        if self:fits_in(x.run, self:for_bytes(n)) then return a end
    elseif n <= x.slab.cache.kind.size then
        return a
    end
    local new = self:malloc(n)
    if new then self:free_block(a) end
    return new
end

return models
