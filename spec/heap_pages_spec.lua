-- Allocators of pages: models that know nothing of maps, what the slab allocator is for,
-- and damage to each kind of word.
local lu = require("luaunit")
local vmem = require("vmem")
local models = require("model_heap_pages")
local programs = require("heap_programs")
local scale = require("scale")

local process, sound, pick = programs.process, programs.sound, programs.pick

local function random_options(rng)
    local name = pick(rng, { "bitmap", "slab" })
    local word = pick(rng, { 4, 8 })
    local o = {
        word = word,
        chunk = pick(rng, { 0, 1000, 4096, 50000 }),
        limit = pick(rng, { 1 << 17, 1 << 20, 1 << 26 }),
    }
    if name == "bitmap" then
        o.page, o.fit = pick(rng, { 64, 256, 4096 }), pick(rng, { "first", "next" })
    else
        o.page, o.align = pick(rng, { 1024, 4096 }), word == 8 and pick(rng, { 8, 16 }) or pick(rng, { 4, 8, 16 })
        o.colour, o.empty = pick(rng, { 0, 8, 64 }), pick(rng, { 0, 1, 3 })
    end
    return name, o
end

local function some_size(rng)
    local kind = rng(10)
    return kind == 1 and rng(30000) or kind < 4 and rng(5000) or rng(400)
end

-- What differs from the model, or nil.
local function differs(name, o, ops)
    local h <close> = vmem.heap.native(name, o)
    local function make(base) return models[name](o, base), o.align or o.page end
    return programs.differs(h, make, ops, function(base, d)
        local _, top = h:range()
        if top - base ~= d.top then return ("%d bytes, but the model %d"):format(top - base, d.top) end
    end)
end

TestHeapPages = {}

function TestHeapPages:testTheyGiveTheModelsAddresses()
    programs.hold(math.ceil(100 * scale), random_options, 150, some_size, differs)
end

local function shape(h)
    local out, base = {}, h:range()
    for i, b in ipairs(h:blocks()) do
        out[i] = ("%d %d/%s"):format((b.address - base) // 64, b.size // 64, b.allocated and "a" or "f")
    end
    return table.concat(out, " ")
end

-- Over a machine with little memory and natively: the same program, the same heap.
function TestHeapPages:testMemoryDoesNotMatter()
    local rng = programs.rng(5)
    for case = 1, math.ceil(6 * scale) do
        local name, o = random_options(rng)
        o.limit = 1 << 20
        local ops = programs.random(rng, 80, some_size)
        local native <close> = vmem.heap.native(name, o)
        local expected, from = programs.run(native, ops), native:range()
        local m <close> = vmem.machine({ preset = "x86-32", dram = "128KiB", swap = "16MiB" })
        o.source = case % 2 == 0 and "mmap" or "sbrk"
        local h = assert(vmem.heap.open(m:spawn(), name, o))
        local base = h:range()
        local seen = programs.run(h, ops)
        for i = 1, #ops do
            lu.assertEquals(seen[i] and seen[i] - base, expected[i] and expected[i] - from, ("case %d"):format(case))
        end
        sound(h)
        lu.assertEquals(shape(h), shape(native))
        lu.assertTrue(m:check())
    end
end

-- A run each, from page 1 on: page 0 is the map's.
function TestHeapPages:testRunsOfPages()
    local at = {}
    local function fill(fit)
        local h = vmem.heap.native("bitmap", { page = 64, chunk = 64 * 12, fit = fit })
        for i, n in ipairs({ 64, 65, 200, 1 }) do at[i] = h:malloc(n) end
        h:free(at[1])
        h:free(at[3])
        return h
    end
    local h = fill("first")
    lu.assertEquals(shape(h), "1 1/f 2 2/a 4 4/f 8 1/a 9 3/f")
    lu.assertEquals(h:malloc(100), at[3])
    lu.assertEquals(h:malloc(10), at[1])
    lu.assertEquals(h:realloc(at[2], 30), at[2])
    lu.assertEquals(h:usable_size(at[2]), 64)
    lu.assertEquals(h:realloc(at[4], 64 * 4), at[4])
    lu.assertEquals(h:memalign(256, 1) % 256, 0)
    lu.assertEquals(shape(h), "1 1/a 2 1/a 3 1/f 4 2/a 6 2/f 8 4/a 12 1/a 13 11/f")
    h:close()
    h = fill("next")
    lu.assertEquals(h:malloc(100), at[4] + 64)
    lu.assertEquals(h:malloc(100), at[3])
    lu.assertEquals(shape(h), "1 1/f 2 2/a 4 2/a 6 2/f 8 1/a 9 2/a 11 1/f")
    h:close()
end

-- Four sizes above eight times the alignment for each power of two.
function TestHeapPages:testSizesOfObjects()
    local h = vmem.heap.native("slab", { align = 8, word = 8 })
    local sizes = { [1] = 8, [8] = 8, [9] = 16, [64] = 64, [65] = 80, [81] = 96, [97] = 112, [128] = 128, [129] = 160,
        [4097] = 5120, [8192] = 8192, [8193] = 12288 }
    for n, size in pairs(sizes) do lu.assertEquals(h:usable_size(h:malloc(n)), size) end
    sound(h)
    h:close()
end

-- 4096 - 48 bytes hold 25 objects of 160, and leave 48.
function TestHeapPages:testColours()
    local rows = { [16] = { 0, 16, 32, 48, 0 }, [0] = { 0, 0, 0, 0, 0 }, [40] = { 0, 48, 0, 48, 0 } }
    for colour, expected in pairs(rows) do
        local h = vmem.heap.native("slab", { colour = colour })
        local first = {}
        for i = 0, 4 * 25 do
            local a = h:malloc(160)
            if i % 25 == 0 then first[#first + 1] = a % 4096 end
        end
        lu.assertEquals(first, expected)
        h:close()
    end
end

-- What one cache had another gets: at once if it keeps none, else when the heap is full.
function TestHeapPages:testEmptySlabsAreGivenBack()
    for _, row in ipairs({ { 0, 1 << 26 }, { 1 << 20, 40 * 4096 } }) do
        local h = vmem.heap.native("slab", { empty = row[1], limit = row[2] })
        local function fill(size)
            local list = {}
            for i = 1, 30 * (4096 // size) do list[i] = assert(h:malloc(size)) end
            for _, a in ipairs(list) do h:free(a) end
            sound(h)
            return h:stats().bytes
        end
        local bytes = fill(512)
        for _, size in ipairs({ 64, 1024, 2048, 64 }) do lu.assertTrue(fill(size) <= math.max(bytes, 40 * 4096)) end
        lu.assertNotNil(h:malloc(20 * 4096))
        sound(h)
        h:close()
    end
end

-- Of objects from an eighth of a page on no word is written, those of descriptors apart.
function TestHeapPages:testSlabsOfLargeObjectsStayClean()
    local p, m = process()
    local h = assert(vmem.heap.open(p, "slab", { word = 4, align = 8 }))
    local list = {}
    for i = 1, 20 do list[i] = h:malloc(1024) end
    for i = 1, 20, 2 do h:free(list[i]) end
    for _, a in ipairs(list) do lu.assertEquals(p:read(a, 1024), ("\0"):rep(1024)) end
    m:close()
end

TestHeapPagesDamage = {}

-- A store of x, and what check says of it: `where` may be the address it must name.
local function spoiled(p, h, at, x, where)
    local was = p:load(at, 4)
    p:store(at, x, 4)
    local ok, what, told = h:check()
    lu.assertFalse(ok, ("%#x for %#x at %#x"):format(x, was, at))
    if where then lu.assertEquals(told, where, what) end
    p:store(at, was, 4)
    lu.assertTrue(h:check())
end

-- Each bit of the map, turned over.
function TestHeapPagesDamage:testTheMap()
    local p, m = process()
    local h = assert(vmem.heap.open(p, "bitmap", { word = 4, page = 512, chunk = 512 * 100 }))
    local base, top = h:range()
    local list = {}
    for i = 1, 25 do list[i] = h:malloc(i % 4 * 600 + 1) end
    for i = 2, 25, 3 do h:free(list[i]) end
    for group = 0, 4 do
        for word = 0, 1 do
            local at = base + (2 * group + word) * 4
            for bit = 0, 31 do
                spoiled(p, h, at, p:load(at, 4) ~ 1 << bit)
                local _, _, where = h:check()
                lu.assertNil(where)
            end
            spoiled(p, h, at, p:load(at, 4) ~ 0x80000000)
        end
    end
    lu.assertEquals((top - base) // 512, 100)
    m:close()
end

function TestHeapPagesDamage:testSlabs()
    local p, m = process()
    local o = { word = 4, align = 8, page = 1024, colour = 8, empty = 1, chunk = 1024, limit = 1 << 26 }
    local h = assert(vmem.heap.open(p, "slab", o))
    local base = h:range()
    local list = {}
    for i = 1, 150 do list[i] = h:malloc(i * 7) end
    for i = 1, 150, 4 do list[i] = h:free(list[i]) end
    sound(h)
    -- The caches: heads of three lists, how many are empty, the next colour.
    for i = 0, (#models.slab(o, base).caches + 1) * 5 - 1 do
        local at = base + 4 * i
        for _, x in ipairs({ 0x7ffffff1, p:load(at, 4) + 4 }) do spoiled(p, h, at, x) end
        spoiled(p, h, at, 0x7ffffff0, at)
    end
    for _, b in ipairs(h:blocks()) do
        -- A descriptor at its page's end; a free object's link.
        if b.size < 128 and b.address % 1024 < 64 then
            for word = 0, 5 do spoiled(p, h, b.address // 1024 * 1024 + 1024 - 24 + 4 * word, 0x7ffffff1) end
        end
        if b.size < 128 and not b.allocated then
            spoiled(p, h, b.address, 0x7fff, b.address)
            spoiled(p, h, b.address, p:load(b.address, 4) + 1)
        end
    end
    m:close()
end

-- Whose page it is: each page's note, and a descriptor outside of its slab.
function TestHeapPagesDamage:testNotes()
    local p, m = process()
    local h = assert(vmem.heap.open(p, "slab", { word = 4, page = 1024, chunk = 20 * 1024, limit = 1 << 20 }))
    local a, b, c = h:malloc(16), h:malloc(600), h:malloc(5000)
    sound(h)
    local base, top = h:range()
    local map = top - 20 * 1024
    local seen = 0
    for page = 0, 19 do
        local note = map + (2 + page) * 4
        local x = p:load(note, 4)
        if x ~= 0 then seen = seen + 1 end
        if x > 1 then
            spoiled(p, h, note, 0)
            spoiled(p, h, note, 1)
            spoiled(p, h, note, 0x7ffffff0)
            if base + x - map < 0 or (base + x - map) // 1024 ~= page then
                for word = 0, 5 do spoiled(p, h, base + x + 4 * word, 0x7ffffff1) end
            end
        end
    end
    -- Slabs of 16 and of descriptors, two pages of 640s, one large run.
    lu.assertTrue(seen >= 5)
    spoiled(p, h, map + (2 + (c - map) // 1024) * 4, 0)
    h:free(a)
    h:free(b)
    h:free(c)
    sound(h)
    m:close()
end

-- A slab that leads to itself and has nothing free: a look at the lists ends.
function TestHeapPagesDamage:testACircleOfSlabsEnds()
    local p, m = process()
    local h = assert(vmem.heap.open(p, "slab", { word = 4, align = 8, page = 1024 }))
    local a = h:malloc(16)
    local descriptor = a // 1024 * 1024 + 1024 - 24
    p:store(descriptor, descriptor - h:range(), 4)
    p:store(descriptor + 16, 0, 4)
    local ok, err = pcall(h.lists, h)
    lu.assertFalse(ok)
    lu.assertStrContains(tostring(err), "does not end")
    lu.assertFalse((h:check()))
    m:close()
end
