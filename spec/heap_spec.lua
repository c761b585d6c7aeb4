-- Allocators in simulated memory: the book's answers, a model that knows nothing of
-- words, properties that tie allocators to each other, and heaps that end or are damaged.
local lu = require("luaunit")
local vmem = require("vmem")
local model = require("model_heap")
local models = require("model_heap_orders")
local programs = require("heap_programs")

local scale = require("scale")

local process, sound, pick = programs.process, programs.sound, programs.pick

local function shape(h, from)
    local out = {}
    for i, b in ipairs(h:blocks()) do
        out[i] = ("%d %d/%s"):format(b.address - from, b.size, b.allocated and "a" or "f")
    end
    return table.concat(out, " ")
end

TestHeapBook = {}

local OPS = "+1 +13 +24 +100 -1 -2 +8 +30 +4000 -0 -3 +64 +16 -5 +5000"

local function golden(fit)
    local p, m = process()
    local h = assert(vmem.heap.open(p, "implicit", { word = 4, align = 8, fit = fit }))
    local base, at, k = h:range(), {}, 0
    for op, n in OPS:gmatch("([+-])(%d+)") do
        n = math.tointeger(tonumber(n))
        if op == "+" then
            at[k], k = h:malloc(n), k + 1
        else
            h:free(at[n])
        end
        sound(h)
    end
    for i = 0, k - 1 do at[i] = at[i] - base end
    local _, top = h:range()
    local blocks = shape(h, base)
    lu.assertEquals(p:load(base + 4, 4), 9) -- the prologue
    lu.assertEquals(p:load(base + 8, 4), 9)
    lu.assertEquals(p:load(top - 4, 4), 1) -- the epilogue
    m:close()
    return table.concat(at, " ", 0, k - 1), blocks, top - base
end

function TestHeapBook:testImplicitFirstFit()
    local at, blocks, bytes = golden("first")
    lu.assertEquals(at, "16 32 56 88 32 48 200 88 160 4208")
    lu.assertEquals(blocks,
        "16 16/f 32 16/a 48 40/f 88 72/a 160 24/a 184 16/f 200 4008/a 4208 5008/a 9216 4000/f")
    lu.assertEquals(bytes, 13216)
end

function TestHeapBook:testImplicitNextFit()
    local at, blocks, bytes = golden("next")
    lu.assertEquals(at, "16 32 56 88 200 216 256 4264 4336 4360")
    lu.assertEquals(blocks,
        "16 184/f 200 16/a 216 40/f 256 4008/a 4264 72/a 4336 24/a 4360 5008/a 9368 3848/f")
    lu.assertEquals(bytes, 13216)
end

-- Practice problem 9.6; homework 9.15 of both editions: size and header.
function TestHeapBook:testBlockSizesAndHeaders()
    local rows = {
        { 1, 8, 0x9 }, { 5, 16, 0x11 }, { 12, 16, 0x11 }, { 13, 24, 0x19 },
        { 3, 8, 0x9 }, { 11, 16, 0x11 }, { 20, 24, 0x19 }, { 21, 32, 0x21 },
        { 4, 8, 0x9 }, { 7, 16, 0x11 }, { 19, 24, 0x19 }, { 22, 32, 0x21 },
    }
    local p, m = process()
    local h = assert(vmem.heap.open(p, "implicit", { word = 4, align = 8, tags = "header" }))
    for _, row in ipairs(rows) do
        local a = assert(h:malloc(row[1]))
        lu.assertEquals(p:load(a - 4, 4), row[3])
        lu.assertEquals(h:usable_size(a), row[2] - 4)
    end
    sound(h)
    m:close()
end

-- Practice problem 9.7, homework 9.16, 9.18: the smallest block.
function TestHeapBook:testSmallestBlocks()
    local rows = {
        { "implicit", 4, "both", 12 }, { "implicit", 4, "free", 8 },
        { "implicit", 8, "both", 16 }, { "implicit", 8, "free", 8 },
        { "explicit", 4, "both", 16 }, { "explicit", 4, "free", 16 },
        { "explicit", 8, "both", 16 }, { "explicit", 8, "free", 16 },
    }
    local p, m = process()
    for _, row in ipairs(rows) do
        local h = assert(vmem.heap.open(p, row[1],
            { word = 4, align = row[2], tags = row[3], source = "mmap", limit = "64KiB" }))
        h:malloc(1)
        lu.assertEquals(h:blocks()[1].size, row[4], table.concat(row, " "))
        h:close()
    end
    m:close()
end

-- Homework 9.18: no footer in an allocated block, and bit 1 tells of the block before.
function TestHeapBook:testFootersInFreeBlocksOnly()
    local p, m = process()
    local h = assert(vmem.heap.open(p, "implicit", { word = 4, align = 8, tags = "free" }))
    local a, b, c = h:malloc(12), h:malloc(12), h:malloc(12)
    lu.assertEquals({ b - a, c - b }, { 16, 16 })
    lu.assertEquals({ p:load(a - 4, 4), p:load(b - 4, 4), p:load(c - 4, 4) }, { 0x13, 0x13, 0x13 })
    h:free(b)
    lu.assertEquals({ p:load(b - 4, 4), p:load(b + 8, 4), p:load(c - 4, 4) }, { 0x12, 0x10, 0x11 })
    h:free(a)
    lu.assertEquals({ p:load(a - 4, 4), p:load(b + 8, 4) }, { 0x22, 0x20 })
    sound(h)
    m:close()
end

-- --- random programs --------------------------------------------------------------------

local random_program, run, rng_of = programs.random, programs.run, programs.rng

local function random_options(rng)
    local name = pick(rng, { "implicit", "explicit", "segregated", "tree", "tlsf" })
    local word = pick(rng, { 4, 8 })
    local o = {
        word = word,
        align = word == 8 and pick(rng, { 8, 16 }) or pick(rng, { 4, 8, 16 }),
        tags = pick(rng, { "both", "header", "free" }),
        chunk = pick(rng, { 0, 8, 64, 1000, 4096 }),
        coalesce = pick(rng, { "immediate", "deferred" }),
        split = pick(rng, { 0, 40, 100 }),
        realloc = pick(rng, { "copy", "place" }),
    }
    if name == "implicit" then o.fit = pick(rng, { "first", "best", "worst", "next" }) end
    if name == "explicit" or name == "segregated" then
        o.fit = pick(rng, { "first", "best", "worst" })
        o.order = pick(rng, { "lifo", "fifo", "address", "size" })
    end
    if name == "segregated" then o.classes = pick(rng, { 2, 5, 20 }) end
    return name, o
end

local function with_name(name, o)
    local t = { name = name }
    for k, v in pairs(o) do t[k] = v end
    return t
end

-- What differs from the model, or nil.
local function differs(name, o, ops)
    local h <close> = vmem.heap.native(name, o)
    return programs.differs(h, function() return model.new(with_name(name, o)), o.align end, ops, function(base, d)
        local blocks = {}
        for i, b in ipairs(d.blocks) do blocks[i] = ("%d %d/%s"):format(b.at, b.size, b.used and "a" or "f") end
        return table.concat(blocks, " ") ~= shape(h, base) and "other blocks" or nil
    end)
end

TestHeapModel = {}

function TestHeapModel:testTextbookAllocatorsGiveTheModelsAddresses()
    programs.hold(math.ceil(300 * scale), random_options, 120, nil, differs)
end

TestHeapProperties = {}

local function same(a, b, seed)
    local rng = rng_of(seed)
    local ops = random_program(rng, 300)
    local function of(t)
        local h = vmem.heap.native(t[1], t[2])
        local base = h:range()
        local seen = run(h, ops)
        sound(h)
        for i in ipairs(ops) do seen[i] = seen[i] and seen[i] - base or 0 end
        local out = table.concat(seen, " ") .. shape(h, base)
        h:close()
        return out
    end
    lu.assertEquals(of(b), of(a), ("seed %d"):format(seed))
end

local LAYOUT = { word = 4, align = 8 }
local function with(t)
    for k, v in pairs(LAYOUT) do t[k] = v end
    return t
end

function TestHeapProperties:testAddressOrderedListsAreImplicit()
    for seed = 1, math.ceil(20 * scale) do
        for _, fit in ipairs({ "first", "best", "worst" }) do
            same({ "implicit", with({ fit = fit }) }, { "explicit", with({ fit = fit, order = "address" }) }, seed)
        end
    end
end

function TestHeapProperties:testTheTreeIsBestFit()
    for seed = 1, math.ceil(20 * scale) do
        same({ "implicit", with({ fit = "best" }) }, { "tree", with({}) }, seed)
        same({ "explicit", with({ fit = "first", order = "size" }) }, { "tree", with({}) }, seed)
        same({ "implicit", with({ fit = "best", coalesce = "deferred" }) }, { "tree", with({ coalesce = "deferred" }) },
            seed)
    end
end

-- Over a machine, over an area of its own and natively: the same program, the same heap;
-- contents stay, with little memory and a swap area too.
function TestHeapProperties:testMemoryDoesNotMatter()
    local rng = rng_of(7)
    for case = 1, math.ceil(8 * scale) do
        local name, o = random_options(rng)
        o.limit = 2 << 20
        local ops = random_program(rng, 150)
        local native = vmem.heap.native(name, o)
        local expected, from = run(native, ops), native:range()
        local p, m = process({ preset = "x86-32", dram = "128KiB", swap = "16MiB" })
        for _, source in ipairs({ "sbrk", "mmap" }) do
            local t = with_name(nil, o)
            t.source = source
            local h = assert(vmem.heap.open(p, name, t))
            local base = h:range()
            local seen = run(h, ops)
            for i in pairs(expected) do
                lu.assertEquals(seen[i] - base, expected[i] - from, ("case %d"):format(case))
            end
            sound(h)
            lu.assertEquals(shape(h, base), shape(native, from))
            lu.assertTrue(h:stats().cycles > 0)
        end
        lu.assertTrue(m:check())
        m:close()
    end
end

function TestHeapProperties:testContentsStay()
    local p, m = process({ preset = "x86-32", dram = "128KiB", swap = "16MiB" })
    for seed = 1, math.ceil(10 * scale) do
        local rng = rng_of(seed)
        local name, o = random_options(rng)
        o.source, o.limit = "mmap", "1MiB"
        local h <close> = assert(vmem.heap.open(p, name, o))
        local live = {}
        for i = 1, 150 do
            local r, at = rng(100), #live > 0 and rng(#live)
            if r < 45 or not at then
                local n = rng(400)
                local fill = string.char(i % 251):rep(n)
                local a = r < 10 and h:calloc(n, 1) or h:malloc(n)
                if r < 10 then lu.assertEquals(p:read(a, n), ("\0"):rep(n)) end
                p:write(a, fill)
                live[#live + 1] = { a = a, fill = fill }
            elseif r < 75 then
                local b = table.remove(live, at)
                lu.assertEquals(p:read(b.a, #b.fill), b.fill)
                h:free(b.a)
            else
                local b, n = live[at], rng(600)
                b.a = h:realloc(b.a, n)
                local kept = b.fill:sub(1, n)
                lu.assertEquals(p:read(b.a, #kept), kept)
                b.fill = kept .. ("x"):rep(n - #kept)
                p:write(b.a, b.fill)
            end
        end
        for _, b in ipairs(live) do lu.assertEquals(p:read(b.a, #b.fill), b.fill) end
        sound(h)
    end
    m:close()
end

TestHeapOthers = {}

local OTHERS = {
    { "buddy", { system = "binary" } },
    { "buddy", { system = "fibonacci" } },
    { "simple", {} },
    { "bump", {} },
}

local function without_memalign(ops)
    local out = {}
    for i, op in ipairs(ops) do out[i] = op[1] == "memalign" and { "malloc", op[3] } or op end
    return out
end

function TestHeapOthers:testTheyGiveTheModelsAddresses()
    for seed = 1, math.ceil(60 * scale) do
        for _, row in ipairs(OTHERS) do
            local rng = rng_of(seed)
            local t = { limit = 1 << 24, chunk = pick(rng, { 64, 512, 4096 }), word = pick(rng, { 4, 8 }) }
            t.align = pick(rng, t.word == 4 and { 4, 8, 16 } or { 8, 16 })
            for k, v in pairs(row[2]) do t[k] = v end
            local ops = without_memalign(random_program(rng, 200))
            local h = vmem.heap.native(row[1], t)
            local base = h:range()
            local seen = run(h, ops, function(i)
                if i % 20 == 0 then sound(h) end
            end)
            local expected = run(models[row[1]](t), ops)
            for i in ipairs(ops) do
                lu.assertEquals(seen[i] and seen[i] - base, expected[i],
                    ("%s %s, seed %d, operation %d"):format(row[1], t.system, seed, i))
            end
            h:close()
        end
    end
end

-- Every buddy merges again: what is left of a program that frees all is one block.
function TestHeapOthers:testBuddiesMergeToOneBlock()
    for seed = 1, math.ceil(20 * scale) do
        local h = vmem.heap.native("buddy", { system = seed % 2 == 0 and "binary" or "fibonacci", chunk = 256 })
        local live, rng = {}, rng_of(seed)
        for i = 1, 200 do live[i] = h:malloc(rng(500)) end
        lu.assertTrue(#h:blocks() > 200)
        for _ = 1, 200 do h:free(table.remove(live, rng(#live))) end
        sound(h)
        lu.assertEquals(#h:blocks(), 1)
        h:close()
    end
end

-- Practice problem 9.10: blocks of one class, freed, are of no use to another.
function TestHeapOthers:testSimpleSegregatedStorageNeverChangesAClass()
    local h = vmem.heap.native("simple", { word = 4, align = 8 })
    for size = 16, 128, 16 do
        local list = {}
        for i = 1, 1000 do list[i] = h:malloc(size) end
        for _, a in ipairs(list) do h:free(a) end
    end
    local s = h:stats()
    lu.assertEquals(s.payload, 0)
    lu.assertEquals(s.payload_peak, 128000)
    -- Whole chunks of 16, 32, 64 and 128 bytes for 1,000 blocks each, and a table.
    local chunks = 0
    for _, size in ipairs({ 16, 32, 64, 128 }) do chunks = chunks + math.ceil(1000 / ((4096 - 8) // size)) end
    lu.assertEquals(s.bytes, chunks * 4096 + 48 * 4)
    h:close()
end
