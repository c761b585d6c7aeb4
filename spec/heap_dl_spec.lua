-- The allocator after Doug Lea's: a model without bins, its areas, its victim and its top.
local lu = require("luaunit")
local vmem = require("vmem")
local model = require("model_heap_dl")
local programs = require("heap_programs")
local scale = require("scale")

local process, sound, pick = programs.process, programs.sound, programs.pick

local function random_options(rng)
    local word = pick(rng, { 4, 8 })
    return "dlmalloc", {
        word = word,
        align = word == 8 and pick(rng, { 8, 16 }) or pick(rng, { 4, 8, 16 }),
        chunk = pick(rng, { 0, 8, 1000, 4096 }),
        split = pick(rng, { 0, 0, 100 }),
        realloc = pick(rng, { "copy", "place" }),
        threshold = pick(rng, { 0, 2000, 20000, 1 << 17 }),
        trim = pick(rng, { 0, 6000, 30000 }),
        limit = pick(rng, { 1 << 17, 1 << 26 }),
    }
end

local function some_size(rng)
    local kind = rng(20)
    if kind < 3 then return kind == 1 and rng(40000) or 2048 * rng(2) end
    return kind < 5 and rng(3000) or kind < 12 and rng(8) * 16 or rng(300)
end

-- What differs from the model, or nil.
local function differs(name, o, ops)
    local h <close> = vmem.heap.native(name, o)
    return programs.differs(h, function(base) return model.new(o, base), o.align end, ops, function(base, d)
        local _, top = h:range()
        for i, b in ipairs(h:blocks()) do
            local m = d.blocks[i]
            if b.address < top and (b.address - base ~= m.at or b.size ~= m.size or b.allocated ~= m.used) then
                return "other blocks"
            end
        end
        if h:stats().bytes ~= d.top + d.outside then return "other areas" end
        if top - base ~= d.top then return ("%d bytes, but the model %d"):format(top - base, d.top) end
    end)
end

TestHeapDl = {}

function TestHeapDl:testItGivesTheModelsAddresses()
    programs.hold(math.ceil(150 * scale), random_options, 150, some_size, differs)
end

-- What is left of the block that a small request was cut from serves the next ones.
function TestHeapDl:testTheVictim()
    local h = vmem.heap.native("dlmalloc", { word = 4, align = 8 })
    local a = h:malloc(796)
    h:malloc(20)
    local b = h:malloc(396)
    h:malloc(20)
    h:free(a)
    h:free(b)
    local first = h:malloc(100) -- of the 400: the smallest that fits
    lu.assertEquals(first, b)
    lu.assertEquals(h:malloc(60), first + 104)
    lu.assertEquals(h:malloc(92), first + 104 + 64) -- as large as one that is free in its bin would be
    lu.assertEquals(h:malloc(600), a)
    sound(h)
    h:close()
end

-- The best fit, wherever it is, and the wilderness last.
function TestHeapDl:testTheTopIsUsedLast()
    local h = vmem.heap.native("dlmalloc", { word = 4, align = 8, chunk = 1 << 16 })
    local sizes, at = { 4000, 2500, 3000, 2000 }, {}
    for i, n in ipairs(sizes) do
        at[i] = h:malloc(n)
        h:malloc(20)
    end
    for i = 1, 4 do h:free(at[i]) end
    lu.assertEquals(h:malloc(2400), at[2])
    lu.assertEquals(h:malloc(2400), at[3])
    lu.assertEquals(h:malloc(2400), at[1])
    local last = h:malloc(2400)
    lu.assertTrue(last > at[4])
    sound(h)
    h:close()
end

TestHeapAreas = {}

-- Bytes of the process's areas.
local function mapped(p)
    local n = 0
    for _, a in ipairs(p:areas()) do n = n + a.stop - a.start end
    return n
end

-- 128 KiB and its tags: of the block, not of the payload.
function TestHeapAreas:testLargeBlocksHaveAreas()
    for _, source in ipairs({ "sbrk", "mmap" }) do
        local p, m = process()
        local before = mapped(p)
        local h = assert(vmem.heap.open(p, "dlmalloc", { source = source, limit = "1MiB" }))
        local base, top = h:range()
        local small, areas = h:malloc((128 << 10) - 9 - 16), #p:areas()
        lu.assertTrue(small >= base)
        lu.assertTrue(small < select(2, h:range()))
        h:free(small)
        local touched = h:stats().pages
        local a = h:malloc((128 << 10) - 8)
        lu.assertTrue(a < base or a >= top)
        lu.assertEquals(h:stats().pages, touched + 1)
        lu.assertEquals(#p:areas(), areas + 1)
        local from, stop = h:range(a)
        lu.assertEquals({ from % 4096, stop - from, a - from }, { 0, 33 * 4096, 16 })
        lu.assertEquals(h:usable_size(a), 33 * 4096 - 16)
        lu.assertEquals({ h:range() }, { h:range(base) })
        p:write(a, ("x"):rep(128 << 10))
        local s = h:stats()
        lu.assertEquals(s.bytes, select(2, h:range()) - base + (stop - from))
        lu.assertEquals(s.payload, (128 << 10) - 8)
        local blocks, found = h:blocks(), 0
        for i, b in ipairs(blocks) do
            lu.assertTrue(i == 1 or blocks[i - 1].start < b.start)
            if b.address == a then
                found = found + 1
                lu.assertEquals({ b.start, b.size, b.payload }, { from, stop - from, (128 << 10) - 8 })
                lu.assertTrue(b.allocated)
            end
        end
        lu.assertEquals(found, 1)
        sound(h)
        local pages = h:stats().pages
        h:free(a)
        lu.assertEquals(h:stats().pages, pages) -- the first of the area is among them already
        lu.assertEquals(#p:areas(), areas)
        lu.assertFalse((pcall(p.load, p, a)))
        m:close()
        p, m = process()
        h = assert(vmem.heap.open(p, "dlmalloc", { source = source, threshold = 5000, limit = "1MiB" }))
        for i = 1, 20 do h:malloc(i * 1000) end
        base, top = h:range()
        local range = source == "sbrk" and (top - base + 4095) // 4096 * 4096 or 1 << 20
        lu.assertEquals(mapped(p), before + range + h:stats().bytes - (top - base))
        h:close()
        lu.assertEquals(mapped(p), before + (source == "sbrk" and range or 0))
        lu.assertTrue(m:check())
        m:close()
    end
end

-- Natively an area is where there is room first.
function TestHeapAreas:testPlacesOfAreas()
    local h = vmem.heap.native("dlmalloc", { threshold = 4096 })
    local list = {}
    for i = 1, 60 do list[i] = h:malloc(5000 * (i % 3 + 1)) end
    sound(h)
    local blocks = h:blocks()
    lu.assertEquals(#blocks, 61)
    for i = 3, 61 do lu.assertEquals(blocks[i].start, blocks[i - 1].start + blocks[i - 1].size) end
    for i = 2, 60, 2 do h:free(list[i]) end
    lu.assertEquals(h:malloc(15000), list[2])
    lu.assertEquals(h:malloc(15000), list[8])
    lu.assertEquals(h:malloc(10000), list[4])
    sound(h)
    h:close()
end

-- Half a page more or less: an area stays while more than half of it is used.
function TestHeapAreas:testResize()
    local h = vmem.heap.native("dlmalloc", { threshold = 4096, word = 8 })
    local a = h:malloc(8192 - 16)
    lu.assertEquals(h:usable_size(a), 8192 - 16)
    lu.assertEquals(h:realloc(a, 4097 - 16), a)
    local b = h:realloc(a, 4096 - 16)
    lu.assertNotEquals(b, a)
    lu.assertEquals(h:stats().in_place, 1)
    sound(h)
    lu.assertNotEquals(h:realloc(b, 8192 - 15), b)
    h:close()
end

-- Into an area, from one to another and back, bytes come along; areas count for the limit.
function TestHeapAreas:testContentsAndLimit()
    local p, m = process({ preset = "x86-32", dram = "256KiB", swap = "16MiB" })
    local h = assert(vmem.heap.open(p, "dlmalloc", { threshold = 10000, limit = "256KiB" }))
    local text = ("0123456789"):rep(500)
    local a = h:malloc(5000)
    p:write(a, text)
    for _, n in ipairs({ 20000, 70000, 30000, 6000, 5000, 12000 }) do
        a = h:realloc(a, n)
        lu.assertEquals(p:read(a, 5000), text)
        sound(h)
    end
    local z = h:calloc(3, 5000)
    lu.assertEquals(p:read(z, 15000), ("\0"):rep(15000))
    for _, align in ipairs({ 64, 4096, 16384 }) do
        local x = h:memalign(align, 11000)
        lu.assertEquals(x % align, 0)
        p:write(x, ("y"):rep(11000))
        sound(h)
        h:free(x)
    end
    local before = h:stats()
    local none, _, code = h:malloc(250000)
    lu.assertNil(none)
    lu.assertEquals(code, "ENOMEM")
    lu.assertEquals(h:stats().bytes, before.bytes)
    lu.assertEquals(p:read(a, 5000), text)
    sound(h)
    lu.assertTrue(m:check())
    m:close()
end

function TestHeapAreas:testDamageIsFound()
    local p, m = process()
    local h = assert(vmem.heap.open(p, "dlmalloc", { word = 4, align = 8, threshold = 5000 }))
    local a, b = h:malloc(6000), h:memalign(1024, 6000)
    local from = h:range(b)
    lu.assertEquals(b - from, 1024)
    for _, at in ipairs({ a - 4, a - 8, b - 4, b - 8, from }) do
        local was = p:load(at, 4)
        for _, x in ipairs({ 0, was + 8, 0xfffffff8 }) do
            p:store(at, x, 4)
            local ok, _, where = h:check()
            lu.assertFalse(ok)
            if at ~= from and at ~= a - 8 or x ~= was + 8 then lu.assertEquals(where, at) end
        end
        p:store(at, was, 4)
        sound(h)
    end
    p:store(a - 4, 4096, 4)
    local ok, err = pcall(h.free, h, a)
    lu.assertFalse(ok)
    lu.assertStrContains(tostring(err), "no area of 4096 bytes")
    m:close()
end

-- Each word of the tables, and of the tags of free blocks.
function TestHeapAreas:testDamageOfBinsIsFound()
    local p, m = process()
    local h = assert(vmem.heap.open(p, "dlmalloc", { word = 4, align = 8 }))
    local list = {}
    for i = 1, 60 do list[i] = h:malloc(i * 30) end
    for i = 1, 60, 2 do h:free(list[i]) end
    h:malloc(5)
    sound(h)
    local base = h:range()
    local function spoiled(at, x)
        local was = p:load(at, 4)
        p:store(at, x, 4)
        lu.assertFalse((h:check()), ("%#x for %#x at %#x"):format(x, was, at - base))
        p:store(at, was, 4)
    end
    for i = 0, 3 do
        for bit = 0, 31 do spoiled(base + 4 * i, p:load(base + 4 * i, 4) ~ 1 << bit) end
    end
    for i = 4, 4 + 127 do
        local x = p:load(base + 4 * i, 4)
        spoiled(base + 4 * i, x == 0 and 0x7ffffff0 or 0)
        spoiled(base + 4 * i, list[2] - base)
    end
    for _, b in ipairs(h:blocks()) do
        spoiled(b.start, p:load(b.start, 4) ~ 1)
        spoiled(b.start, p:load(b.start, 4) ~ 2)
        spoiled(b.start, p:load(b.start, 4) + 8)
    end
    sound(h)
    m:close()
end

-- The heap ends lower when its end is free; what it gets again are zeros.
function TestHeapAreas:testTrim()
    for _, source in ipairs({ "sbrk", "mmap", "native" }) do
        local p, m = process()
        local o = { trim = 20000, chunk = 4096, threshold = 0 }
        if source ~= "native" then o.source = source end
        local h = source == "native" and vmem.heap.native("dlmalloc", o) or assert(vmem.heap.open(p, "dlmalloc", o))
        local a, b = h:malloc(1000), h:malloc(30000)
        local base, top = h:range()
        if source ~= "native" then p:write(b, ("x"):rep(30000)) end
        h:free(b)
        local _, now = h:range()
        lu.assertTrue(now < top and now % 4096 == 0 and now - (a + 1000) >= 4096 and now - (a + 1000) < 3 * 4096)
        if source == "sbrk" then lu.assertEquals(p:sbrk(0), now) end
        sound(h)
        lu.assertEquals(h:malloc(30000), b)
        if source ~= "native" then lu.assertEquals(p:read(now, 10000), ("\0"):rep(10000)) end
        sound(h)
        lu.assertEquals(h:stats().bytes_peak, top - base)
        if source == "sbrk" then -- somebody else's memory is above: the heap stays as it is
            p:sbrk(4096)
            top = select(2, h:range())
            h:free(b)
            lu.assertEquals(select(2, h:range()), top)
            sound(h)
        end
        lu.assertTrue(m:check())
        m:close()
    end
end

-- Just below and just at the threshold of the last block.
function TestHeapAreas:testTrimBegins()
    for more, trims in pairs({ [0] = true, [-16] = false }) do
        local h = vmem.heap.native("dlmalloc", { trim = 40000, chunk = 0, threshold = 0 })
        local a = h:malloc(40000 + more - 8)
        local top = select(2, h:range())
        lu.assertEquals(h:blocks()[1].size, 40000 + more)
        h:free(a)
        lu.assertEquals(select(2, h:range()) < top, trims)
        sound(h)
        h:close()
    end
end

-- Over a machine with little memory: the model's heap, areas wherever they are; the driver
-- finds nothing wrong.
function TestHeapAreas:testOverAMachine()
    local rng = programs.rng(3)
    for case = 1, math.ceil(5 * scale) do
        local _, o = random_options(rng)
        o.limit, o.threshold, o.source = 1 << 20, 4000, case % 2 == 0 and "mmap" or "sbrk"
        local ops = programs.random(rng, 80, some_size)
        local native <close> = vmem.heap.native("dlmalloc", o)
        local expected = programs.run(native, ops)
        local from, to = native:range()
        local m <close> = vmem.machine({ preset = "x86-32", dram = "128KiB", swap = "16MiB" })
        local h = assert(vmem.heap.open(m:spawn(), "dlmalloc", o))
        local seen, base = programs.run(h, ops), h:range()
        for i = 1, #ops do
            if expected[i] and expected[i] < to then
                lu.assertEquals(seen[i] - base, expected[i] - from, ("case %d"):format(case))
            end
            lu.assertEquals(seen[i] == nil, expected[i] == nil)
        end
        sound(h)
        lu.assertEquals(h:stats().bytes, native:stats().bytes)
        lu.assertTrue(m:check())
        local list = {}
        for i = 1, 30 do list[i] = { "a", i, i * 300 } end
        for i = 1, 30 do list[30 + i] = i % 3 == 0 and { "r", i, i * 400 } or { "f", i } end
        local r = vmem.heap.run({ trace = vmem.heap.trace(list), allocator = { "dlmalloc", threshold = 3000 },
            machine = { preset = "x86-32", dram = "4MiB" } })
        lu.assertTrue(r.valid, tostring(r))
    end
end
