-- Allocators written in Lua: the examples against their twins in C, and what self and each
-- function are for.
local lu = require("luaunit")
local vmem = require("vmem")
local programs = require("heap_programs")
local tree = require("tree")
local scale = require("scale")

local process, sound = programs.process, programs.sound

local function example(name) return dofile(("%s/examples/allocators/%s.lua"):format(tree.root, name)) end

TestHeapLuaTwins = {}

-- The same calls to two heaps: the same addresses, counted from each one's first block.
local function together(h, twin, steps, look)
    local live, first, other = {}, nil, nil
    local function same(a, b)
        first, other = first or a, other or b
        lu.assertEquals(a and a - first, b and b - other)
        return a and { a, b }
    end
    for i = 1, steps do
        local dice, at = math.random(100), math.random(#live + 1)
        local n = dice % 10 == 0 and math.random(6000) or math.random(200)
        if dice <= 50 or #live == 0 then
            live[#live + 1] = same(h:malloc(n), twin:malloc(n))
        elseif dice <= 90 then
            local pair = table.remove(live, math.min(at, #live))
            h:free(pair[1])
            twin:free(pair[2])
        else
            local pair = live[math.min(at, #live)]
            local moved = same(h:realloc(pair[1], n), twin:realloc(pair[2], n))
            pair[1], pair[2] = (moved or pair)[1], (moved or pair)[2]
        end
        if i % look == 0 then sound(h) end
    end
    local blocks = twin:blocks()
    for i, b in ipairs(h:blocks()) do
        local c = blocks[i]
        lu.assertEquals({ b.address - first, b.size, b.allocated, b.payload },
            { c.address - other, c.size, c.allocated, c.payload })
    end
    local s, t = h:stats(), twin:stats()
    lu.assertEquals({ s.searches, s.payload, s.free_blocks, s.refused },
        { t.searches, t.payload, t.free_blocks, t.refused })
end

local shapes = { { word = 8, align = 16 }, { word = 8, align = 8 }, { word = 4, align = 8, chunk = 0 },
    { word = 4, align = 16 }, { word = 4, align = 4, chunk = 100 } }

local twins = { { "implicit", "first" }, { "implicit", "best" }, { "implicit", "worst" }, { "explicit", "first" },
    { "explicit", "best" }, { "explicit", "worst" }, { "segregated" } }

function TestHeapLuaTwins.testSameBlocks()
    math.randomseed(7)
    for i, row in ipairs(twins) do
        local object = example(row[1])
        for k, shape in ipairs(shapes) do
            local mine, theirs = { which = row[2] }, { fit = row[2] }
            for name, v in pairs(shape) do mine[name], theirs[name] = v, v end
            if (i + k) % 3 > 0 then
                together(vmem.heap.native(object, mine), vmem.heap.native(row[1], theirs), 300 * scale // 1, 40)
            else
                local p, m = process()
                local q = m:spawn()
                together(vmem.heap.open(p, object, mine), vmem.heap.open(q, row[1], theirs), 120 * scale // 1, 20)
                lu.assertTrue(m:check())
                m:close()
            end
        end
    end
end

function TestHeapLuaTwins.testTheDriverTakesThem()
    local list, live = {}, {}
    math.randomseed(3)
    for i = 1, 300 do
        local id = #live > 10 and math.random(2) == 1 and table.remove(live, math.random(#live))
        if not id then live[#live + 1] = i end
        list[i] = id and { "f", id } or { i % 7 == 0 and "r" or "a", i, math.random(400) }
    end
    local trace = vmem.heap.trace(list)
    for _, name in ipairs({ "implicit", "explicit", "segregated" }) do
        local mine = vmem.heap.run({ trace = trace, allocator = example(name), every = 10 })
        local theirs = vmem.heap.run({ trace = trace, allocator = name })
        lu.assertTrue(mine.valid, mine.error)
        lu.assertEquals(mine.allocator, "lua-" .. name)
        lu.assertEquals(mine.stats.searches, theirs.stats.searches)
        local word4 = vmem.heap.run({ trace = trace, allocator = { example(name), word = 4, align = 8 } })
        lu.assertTrue(word4.valid, word4.error)
        lu.assertTrue(word4.utilization > mine.utilization)
    end
end

-- --- what self is ------------------------------------------------------------------------

TestHeapLuaSelf = {}

-- An allocator whose malloc is f: what f returns is thrown away.
local function probe(f, params)
    return vmem.heap.allocator({ name = "probe", params = params, malloc = function(self, n)
        f(self, n)
        return self:grow(n)
    end })
end

function TestHeapLuaSelf.testInstancesHaveStateOfTheirOwn()
    local object = vmem.heap.allocator({ name = "counter", params = { step = 16, text = "x" },
        init = function(self) self.count = 0 end,
        malloc = function(self)
            self.count = self.count + 1
            return self:grow(self.step * self.count)
        end })
    local h1, h2 = vmem.heap.native(object), vmem.heap.native(object, { step = 32 })
    local a, b = h1:malloc(1), h1:malloc(1)
    local c, d = h2:malloc(1), h2:malloc(1)
    lu.assertEquals({ b - a, d - c }, { 16, 32 })
    lu.assertEquals(tostring(object), "vmem.heap.allocator: counter (init, malloc)")
    lu.assertStrContains(tostring(h1), "vmem.heap counter: 2 blocks allocated")
end

function TestHeapLuaSelf.testOptionsAndParameters()
    local seen
    local object = probe(function(self)
        seen = { self.word, self.align, self.chunk, self.k, self.limit, self.base == self:range() }
    end, { k = 3, align = 8, word = 4 })
    vmem.heap.native(object):malloc(1)
    lu.assertEquals(seen, { 4, 8, 4096, 3, nil, true })
    vmem.heap.native(object, { word = 8, chunk = "1KiB", k = 5 }):malloc(1)
    lu.assertEquals(seen, { 8, 8, 1024, 5, nil, true })
    lu.assertEquals(vmem.heap.option(object, nil, "align"), 8)
    lu.assertEquals(vmem.heap.option(object, { align = 16 }, "align"), 16)
    lu.assertEquals(vmem.heap.option(object, nil, "limit"), 64 << 20)
end

function TestHeapLuaSelf.testWords()
    local h = vmem.heap.native(probe(function(self)
        local a = self:grow(100)
        local first, stop = self:range()
        lu.assertEquals({ first, stop }, { a, a + 112 })
        self:put(a, 0x1122334455667788)
        lu.assertEquals({ self:get(a), self:get(a, 4), self:get(a + 4, 4) },
            { 0x1122334455667788, 0x55667788, 0x11223344 })
        self:put(a + 4, 5, 4)
        lu.assertEquals(self:get(a), 0x555667788)
        self:put(a + 8, -1)
        lu.assertEquals(self:get(a + 8), -1)
        self:copy(a + 16, a, 15)
        lu.assertEquals({ self:get(a + 16), self:get(a + 24) }, { 0x555667788, -1 })
        self:zero(a, 9)
        lu.assertEquals({ self:get(a), self:get(a + 8, 4), self:get(a + 12, 4) }, { 0, 0, 0xffffffff })
        lu.assertNil(self:link(a))
        self:set_link(a, a + 48)
        lu.assertEquals(self:link(a), a + 48)
        self:set_link(a, nil)
        lu.assertNil(self:link(a))
    end))
    lu.assertNotNil(h:malloc(1))
end

function TestHeapLuaSelf.testTagsAndRows()
    local object = probe(function(self)
        local w = self.word
        local a = self:grow(10 * w) + w
        self:set_block(a, 4 * w, true)
        self:set_block(a + 4 * w, 2 * w, false)
        self:set_header(a + 6 * w, 3 * w, 2)
        self:set_header(a + 9 * w, 0, 3)
        lu.assertEquals({ self:block(a) }, { 4 * w, true, 1 })
        lu.assertEquals({ self:before(a + 4 * w) }, { 4 * w, true, 1 })
        lu.assertEquals({ self:before(a + 6 * w) }, { 2 * w, false, 0 })
        lu.assertEquals({ self:block(a + 6 * w) }, { 3 * w, false, 2 })
        lu.assertEquals(self:get(a + 2 * w), 4 * w | 1)
        local seen = {}
        for b, size, used, start in self:row(a) do seen[#seen + 1] = { b - a, size, used, start - b } end
        lu.assertEquals(seen, { { 0, 4 * w, true, -w }, { 4 * w, 2 * w, false, -w }, { 6 * w, 3 * w, false, -w } })
        seen = {}
        for b in self:row(a, a + 4 * w) do seen[#seen + 1] = b end
        lu.assertEquals(seen, { a })
        lu.assertEquals({ self:fit(a, w) }, { a + 4 * w, 2 * w })
        lu.assertEquals({ self:fit(a, w, "worst") }, { a + 6 * w, 3 * w })
        lu.assertEquals({ self:fit(a, 3 * w, "best") }, { a + 6 * w, 3 * w })
        lu.assertEquals({ self:fit(a, 3 * w, "first", a + 6 * w) }, { nil })
        lu.assertEquals({ self:fit(a, 4 * w) }, { nil })
    end)
    for _, shape in ipairs({ { word = 8 }, { word = 4, align = 8 } }) do
        local h = vmem.heap.native(object, shape)
        lu.assertNotNil(h:malloc(1))
        lu.assertEquals(h:stats().searches, 2 + 4 + 3 + 2 + 4)
    end
end

-- Lists, beside lists of Lua's.
function TestHeapLuaSelf.testLists()
    math.randomseed(5)
    local object = probe(function(self)
        local w = self.word
        local heads = self:grow(4 * w)
        local base, model, size = self:grow(100 * 4 * w) + w, { {}, {}, {} }, {}
        local orders = { false, "address", "size" }
        for i = 0, 99 do
            size[base + i * 4 * w] = math.random(4, 9) * 4
            self:set_header(base + i * 4 * w, size[base + i * 4 * w], false)
        end
        for _ = 1, 400 do
            local a, k = base + math.random(0, 99) * 4 * w, math.random(3)
            local at, where
            for i, list in ipairs(model) do
                for j, b in ipairs(list) do
                    if a == b then at, where = j, i end
                end
            end
            if at then
                table.remove(model[where], at)
                self:unlink(heads + (where - 1) * w, a)
            elseif k == 1 then
                table.insert(model[1], 1, a)
                self:push(heads, a)
            else
                table.insert(model[k], a)
                table.sort(model[k], function(x, y)
                    if k == 3 and size[x] ~= size[y] then return size[x] < size[y] end
                    return x < y
                end)
                self:insert(heads + (k - 1) * w, a, orders[k])
            end
        end
        for k, list in ipairs(model) do
            local seen = {}
            for a in self:list(heads + (k - 1) * w) do seen[#seen + 1] = a end
            lu.assertEquals(seen, list)
        end
        -- Searches: the first that fits, or the best or worst, the lowest of equals; of the first
        -- list that has any.
        for want = 4, 44, 4 do
            for how, better in pairs({ first = function() end, best = function(x, y) return x < y end,
                worst = function(x, y) return x > y end }) do
                for from = 1, 3 do
                    local found, list
                    for k = from, 3 do
                        for _, a in ipairs(found and {} or model[k]) do
                            list = k
                            if size[a] >= want and (not found or better(size[a], size[found])
                                or (how ~= "first" and size[a] == size[found] and a < found)) then found = a end
                        end
                    end
                    lu.assertEquals({ self:list_fit(heads + (from - 1) * w, want, how, heads + 2 * w) },
                        found and { found, size[found], heads + (list - 1) * w } or { nil })
                end
            end
        end
        local head = self:size_classes(heads, 3, 32)
        lu.assertEquals({ head(8), head(32), head(63), head(64), head(127), head(128), head(1 << 40) },
            { heads, heads, heads, heads + w, heads + w, heads + 2 * w, heads + 2 * w })
    end)
    for _, shape in ipairs({ { word = 8 }, { word = 4, align = 8 } }) do
        lu.assertNotNil(vmem.heap.native(object, shape):malloc(1))
    end
end

-- Every word is an access, by helpers in bulk too.
function TestHeapLuaSelf.testAccessesAreCounted()
    local p, m = process()
    local h = vmem.heap.open(p, probe(function(self)
        local a = self:grow(8192)
        for i = 0, 8191, 4096 do self:put(a + i, 1) end
        self:get(a)
        self:count("splits")
        self:count("coalesces", 3)
        self:count("steps", 0)
    end))
    h:malloc(1)
    local s = h:stats()
    lu.assertEquals({ s.stores, s.loads, s.faults, s.splits, s.coalesces, s.steps }, { 2, 1, 2, 1, 3, 0 })
    lu.assertTrue(s.cycles > 2000)
    m:close()
end

-- --- what each function is for ------------------------------------------------------------

TestHeapLuaFunctions = {}

-- Without others than malloc: the ledger does what it can.
function TestHeapLuaFunctions.testMallocAlone()
    local p, m = process()
    local object = vmem.heap.allocator({ name = "bump", malloc = function(self, n) return self:grow(n) end })
    local h = vmem.heap.open(p, object)
    local a, b = h:malloc(100), h:malloc(3)
    local c = h:calloc(5, 4)
    p:write(a, ("x"):rep(100))
    lu.assertEquals(b - a, 112)
    lu.assertEquals(p:read(c, 20), ("\0"):rep(20))
    lu.assertEquals(h:usable_size(a), 100)
    local to = h:realloc(a, 200)
    lu.assertTrue(to > c)
    lu.assertEquals(p:read(to, 100), ("x"):rep(100))
    h:free(b)
    lu.assertEquals(h:blocks(), { { start = c, address = c, size = 20, payload = 20, allocated = true },
        { start = to, address = to, size = 200, payload = 200, allocated = true } })
    sound(h)
    lu.assertEquals(h:stats().payload, 220)
    local none, message, code = h:memalign(64, 10)
    lu.assertNil(none)
    lu.assertStrContains(message, "bump aligns to 16 bytes, not to 64")
    lu.assertEquals(code, "EINVAL")
    m:close()
end

function TestHeapLuaFunctions.testReallocMovesOrStays()
    local object = vmem.heap.allocator({ name = "mover",
        malloc = function(self, n) return self:grow(n) end,
        realloc = function(self, a, n)
            if n <= 64 then return a end
            local b = n < 200 and self:malloc(n) or nil
            if b then self:copy(b, a, 64) end
            return b
        end })
    local p, m = process()
    local h = vmem.heap.open(p, object)
    local a = h:malloc(64)
    p:write(a, ("y"):rep(64))
    lu.assertEquals(h:realloc(a, 10), a)
    lu.assertEquals(h:realloc(a, 64), a)
    local b = h:realloc(a, 100)
    lu.assertTrue(b > a)
    lu.assertEquals(p:read(b, 64), ("y"):rep(64))
    lu.assertErrorMsgContains("is no block that is allocated", h.free, h, a)
    local none, message = h:realloc(b, 300)
    lu.assertNil(none)
    lu.assertStrContains(message, "allocator mover answered nil")
    lu.assertEquals(h:usable_size(b), 100)
    sound(h)
    local s = h:stats()
    lu.assertEquals({ s.reallocs, s.in_place, s.refused, s.payload }, { 4, 2, 1, 100 })
    m:close()
end

function TestHeapLuaFunctions.testResizeMemalignAndUsableSize()
    local object = vmem.heap.allocator({ name = "slots", params = { size = 64 },
        init = function(self) self.heads = self:grow(self.size) end,
        malloc = function(self, n) return n <= self.size and self:grow(self.size) or nil end,
        free = function(self, a) self:push(self.heads, a) end,
        resize = function(self, _, n) return n <= self.size end,
        memalign = function(self, align) return align <= self.size and self:grow(self.size) or nil end,
        usable_size = function(self) return self.size end,
        blocks = function(self)
            local _, stop = self:range()
            local a, free = self.base, {}
            for b in self:list(self.heads) do free[b] = true end
            return function()
                a = a + self.size
                if a < stop then return a, self.size, not free[a] end
            end
        end,
        check = function(self)
            for b in self:list(self.heads) do
                if b % self.size ~= self.base % self.size then return false, "a member is no slot", b end
            end
            return true
        end })
    local p, m = process({ preset = "core-i7" })
    local h = assert(vmem.heap.open(p, object, { source = "mmap" }))
    local a = h:malloc(10)
    lu.assertEquals(h:realloc(a, 64), a)
    local none, _, code = h:realloc(a, 65)
    lu.assertNil(none)
    lu.assertEquals(code, "ENOMEM")
    lu.assertEquals(h:usable_size(a), 64)
    lu.assertEquals(h:memalign(64, 5) % 64, 0)
    h:free(a)
    sound(h)
    local shape = {}
    for i, b in ipairs(h:blocks()) do shape[i] = { b.address - a, b.size, b.allocated, b.payload } end
    lu.assertEquals(shape, { { 0, 64, false }, { 64, 64, true, 5 } })
    local base = h:range()
    p:store(base, a + 16 - base) -- the head of the list
    local ok, what, where = h:check()
    lu.assertEquals({ ok, what, where }, { false, "a member is no slot", a + 16 })
    p:store(base, 1 << 40)
    ok, what, where = h:check()
    lu.assertFalse(ok)
    lu.assertStrContains(what, "allocator slots: check: the link at")
    lu.assertEquals(where, base)
    m:close()
end

-- A damaged header: check finds it by the row of blocks, with its address.
function TestHeapLuaFunctions.testDamageIsFound()
    for _, name in ipairs({ "implicit", "explicit", "segregated" }) do
        local p, m = process()
        local h = vmem.heap.open(p, example(name), { word = 4, align = 8, chunk = 512 })
        local list = {}
        for i = 1, 12 do list[i] = h:malloc(10 + i * 3) end
        for i = 2, 12, 3 do h:free(list[i]) end
        for _, b in ipairs(h:blocks()) do
            local header = p:load(b.start, 4)
            for _, x in ipairs({ header ~ 1, 0xfffffff0, 0x40000003 }) do
                p:store(b.start, x, 4)
                local ok, what, where = h:check()
                lu.assertFalse(ok, ("%s %#x for %#x"):format(name, x, header))
                if x >= 0x40000000 then
                    lu.assertStrContains(what, "has no size that fits")
                    lu.assertEquals(where, b.start)
                end
                p:store(b.start, header, 4)
            end
        end
        sound(h)
        m:close()
    end
end
