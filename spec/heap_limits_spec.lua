-- Heaps that end, are damaged or are misused.
local lu = require("luaunit")
local raises = require("scene").raises
local vmem = require("vmem")
local programs = require("heap_programs")
local scale = require("scale")

local process = programs.process

local SMALL = { limit = "64KiB", word = 4, align = 8 }

-- Of options, those that an allocator has; small pages.
local function options_of(row, t)
    local out = {}
    for _, o in ipairs(row.options) do
        out[o.name] = t[o.name] or o.name == "page" and o.min or nil
    end
    return out
end

-- Every byte of the heap, and its blocks.
local function image(p, h)
    local from, to = h:range()
    local out = { p:read(from, to - from) }
    for _, b in ipairs(h:blocks()) do
        out[#out + 1] = ("%d %d %s %s"):format(b.address, b.size, b.allocated, b.payload)
    end
    return table.concat(out, "\n")
end

TestHeapLimits = {}

function TestHeapLimits:testAFullHeapRefusesAndNothingMoves()
    for _, row in ipairs(vmem.heap.allocators()) do
        local p, m = process()
        local h = assert(vmem.heap.open(p, row.name, options_of(row, SMALL)))
        local list = {}
        for i = 1, 10000 do
            local a = h:malloc(100 + i % 7)
            if not a then break end
            list[i] = a
        end
        lu.assertTrue(#list > 100 and #list < 1000, row.name)
        local before = image(p, h)
        local function refused(a, message, code)
            lu.assertNil(a, row.name)
            lu.assertStrContains(message, "ENOMEM: ")
            lu.assertEquals(code, "ENOMEM")
            lu.assertEquals(image(p, h), before, row.name)
        end
        refused(h:malloc(4000))
        refused(h:malloc(math.maxinteger))
        refused(h:calloc(math.maxinteger, 8))
        refused(h:calloc(1 << 40, 1 << 40))
        refused(h:realloc(list[1], 1 << 20))
        lu.assertTrue(h:check())
        for _, a in ipairs(list) do h:free(a) end
        lu.assertTrue(h:check())
        lu.assertEquals(h:stats().payload, 0)
        m:close()
    end
end

-- What the machine itself refuses: an area in the break's way; memory that may not be promised.
function TestHeapLimits:testTheProcessGetsNoMemory()
    local p, m = process({ preset = "x86-32", dram = "1MiB", swap = "1MiB", overcommit = "strict" })
    local h = assert(vmem.heap.open(p, "implicit"))
    local a = assert(h:malloc(100))
    p:write(a, "kept")
    local before = image(p, h)
    local got, _, code = h:malloc(3000000)
    lu.assertNil(got)
    lu.assertEquals(code, "ENOMEM")
    lu.assertEquals(image(p, h), before)
    local _, top = h:range()
    p:sbrk(64) -- somebody else's
    local none, message = h:malloc(50000)
    lu.assertNil(none)
    lu.assertStrContains(message, ("the heap ends at %#x"):format(top))
    lu.assertNotNil(h:malloc(500))
    lu.assertNil((vmem.heap.open(p, "implicit", { source = "mmap", limit = "1GiB" })))
    lu.assertTrue(h:check())
    lu.assertTrue(m:check())
    m:close()
end

TestHeapDamage = {}

function TestHeapDamage:testCheckNamesTheWordThatIsWrong()
    for _, name in ipairs({ "implicit", "explicit", "segregated", "tree", "tlsf" }) do
        for _, tags in ipairs({ "both", "header", "free" }) do
            local p, m = process()
            local h = assert(vmem.heap.open(p, name, { word = 4, align = 8, tags = tags, chunk = 512 }))
            local list = {}
            for i = 1, 20 do list[i] = h:malloc(10 + i * 3) end
            for i = 2, 20, 3 do h:free(list[i]) end
            lu.assertTrue(h:check())
            local blocks = h:blocks()
            for i, b in ipairs(blocks) do
                local at = b.start
                local header = p:load(at, 4)
                for _, x in ipairs({ 0, header ~ 1, header + 8, header + 4, 0xfffffff0, 0x7 }) do
                    p:store(at, x, 4)
                    local ok, what, where = h:check()
                    lu.assertFalse(ok, ("%s %s block %d: %#x for %#x"):format(name, tags, i, x, header))
                    lu.assertEquals(type(what), "string")
                    lu.assertTrue(where >= h:range())
                    if x == 0 or x == 0xfffffff0 or x == 7 or x == header + 4 then lu.assertEquals(where, at) end
                    p:store(at, header, 4)
                end
            end
            lu.assertTrue(h:check())
            local _, top = h:range()
            p:store(top - 4, 0x11, 4)
            local _, _, where = h:check()
            lu.assertEquals(where, top - 4)
            m:close()
        end
    end
end

-- Those without boundary tags: each word of theirs, changed, is found.
function TestHeapDamage:testCheckFindsDamageOfOthers()
    local rows = { { "buddy", { system = "binary" } }, { "buddy", { system = "fibonacci" } }, { "bump", {} } }
    for _, row in ipairs(rows) do
        local p, m = process()
        row[2].word, row[2].align, row[2].chunk = 4, 8, 512
        local h = assert(vmem.heap.open(p, row[1], row[2]))
        local list = {}
        for i = 1, 30 do list[i] = h:malloc(10 + i * 3) end
        for i = 2, 30, 3 do h:free(list[i]) end
        lu.assertTrue(h:check())
        for _, b in ipairs(h:blocks()) do
            local header = p:load(b.start, 4)
            for _, x in ipairs({ header ~ 1, header ~ 2, header ~ 4, header + 8, 0xfffffff0 }) do
                p:store(b.start, x, 4)
                lu.assertFalse((h:check()), ("%s: %#x for %#x"):format(row[1], x, header))
                p:store(b.start, header, 4)
            end
        end
        lu.assertTrue(h:check())
        m:close()
    end
end

function TestHeapDamage:testCheckFindsDamageOfSimpleSegregatedStorage()
    local p, m = process()
    local h = assert(vmem.heap.open(p, "simple", { word = 4, align = 8, chunk = 256 }))
    local list = {}
    for i = 1, 60 do list[i] = h:malloc(i * 5) end
    for i = 2, 60, 3 do h:free(list[i]) end
    lu.assertTrue(h:check())
    local function spoiled(at, x, expected)
        local was = p:load(at, 4)
        p:store(at, x, 4)
        local ok, _, where = h:check()
        lu.assertFalse(ok)
        if expected then lu.assertEquals(where, at) end
        p:store(at, was, 4)
        lu.assertTrue(h:check())
    end
    local base = h:range()
    local chunk = base + 48 * 4
    for _, class in ipairs({ 0, 2, 48, 0xffffffff }) do spoiled(chunk, class, true) end
    spoiled(chunk, p:load(chunk, 4) + 1)
    for _, b in ipairs(h:blocks()) do
        if not b.allocated then
            spoiled(b.address, list[1] - base, true)           -- an allocated block
            spoiled(b.address, b.address - base)               -- a circle
            spoiled(b.address, b.address - base + 4, true)     -- into the midst of one
            spoiled(b.address, 0x7ffffff0, true)
        end
    end
    m:close()
end

-- Whatever the words of the heap are, calls end, with a result or an error, and the host lives.
function TestHeapDamage:testRandomWordsEndEveryCall()
    math.randomseed(3)
    for case = 1, math.ceil(60 * scale) do
        local row = vmem.heap.allocators()[case % #vmem.heap.allocators() + 1]
        local p, m = process()
        local h = assert(vmem.heap.open(p, row.name, options_of(row, { limit = "32KiB", threshold = 150, trim = 500 })))
        local list = {}
        for i = 1, 40 do list[i] = h:malloc(math.random(200)) end
        for i = 1, 40, 2 do h:free(list[i]) end
        local from, to = h:range()
        for _ = 1, math.random(12) do
            local at = from + math.random(0, (to - from) // 8 - 1) * 8
            local x = math.random(4)
            p:store(at, x == 1 and 0 or x == 2 and math.random(0, 8192) or x == 3 and p:load(at) ~ 1
                or math.random(0), 8)
        end
        pcall(h.check, h)
        pcall(h.lists, h)
        pcall(h.loss, h)
        for i = 2, 40, 2 do
            if not pcall(h.free, h, list[i]) then break end
            if not pcall(h.malloc, h, math.random(300)) then break end
            if not pcall(h.realloc, h, list[i], 50) then break end
        end
        pcall(h.check, h)
        pcall(h.blocks, h)
        pcall(h.lists, h)
        lu.assertTrue(m:check())
        m:close()
    end
end

-- A free block whose next one is itself: the call that walks the list fails midway, and what
-- comes after is refused at once.
function TestHeapDamage:testWhatIsRefusedCostsNothing()
    local m <close> = vmem.machine({ preset = "core-i7" })
    local p = m:spawn()
    local h = assert(vmem.heap.open(p, "explicit"))
    local a = h:malloc(100)
    h:malloc(100)
    h:free(a)
    p:store(a + 8, a - h:range())
    raises("does not end", h.malloc, h, 5000)
    local before = h:stats()
    raises("the heap can't be used", h.malloc, h, 1)
    raises("the heap can't be used", h._replay, h, ("=I8I4I4"):pack(10, 0, 0), 1)
    lu.assertEquals(h:stats(), before)
end

TestHeapMisuse = {}

function TestHeapMisuse:testOptions()
    local p, m = process()
    local open = vmem.heap.open
    raises("there is no allocator implict, did you mean implicit?", open, p, "implict")
    raises("there is no option fti, did you mean fit?", open, p, "implicit", { fti = "best" })
    raises("fit is \"bset\", but takes one of: first, best, worst, next", open, p, "implicit", { fit = "bset" })
    raises("takes one of: first, best, worst", open, p, "explicit", { fit = "next" })
    raises("word is 2, but takes 4 to 8", open, p, "implicit", { word = 2 })
    raises("they are 4, 8 or 16", open, p, "implicit", { word = 8, align = 12 })
    raises("align is 4, below a word of 8 bytes", open, p, "implicit", { word = 8, align = 4 })
    raises("words of 4 bytes hold", open, p, "implicit", { word = 4, limit = 1 << 33 })
    raises("takes a table of options", open, p, "implicit", 3)
    raises("an option has a name", open, p, "implicit", { 3 })
    raises("but takes a number or a name", open, p, "implicit", { word = true })
    m:close()
end

function TestHeapMisuse:testAddressesThatAreNone()
    local p, m = process()
    local h = assert(vmem.heap.open(p, "explicit"))
    local a = h:malloc(10)
    raises("is no block that is allocated", h.free, h, a + 16)
    h:free(a)
    raises("is no block that is allocated", h.free, h, a)
    raises("is no block that is allocated", h.realloc, h, a, 10)
    raises("is no block that is allocated", h.usable_size, h, a)
    lu.assertNil(h:malloc(0))
    lu.assertNil(h:realloc(h:malloc(4), 0))
    h:free(nil)
    h:free(0)
    local none, _, code = h:memalign(48, 10)
    lu.assertNil(none)
    lu.assertEquals(code, "EINVAL")
    lu.assertEquals(h:memalign(256, 10) % 256, 0)
    lu.assertTrue(h:check())
    h:close()
    raises("closed", h.malloc, h, 1)
    m:close()
end

function TestHeapMisuse:testItsProcessEnds()
    local p, m = process()
    local h = assert(vmem.heap.open(p, "tree"))
    h:malloc(10)
    p:exit(0)
    raises("ended", h.malloc, h, 1)
    h:close()
    local q = m:spawn()
    local h2 = assert(vmem.heap.open(q, "tree"))
    m:close()
    raises("closed", h2.malloc, h2, 1)
    h2:close()
end

-- A header that leads out of memory: the process dies as a real one would.
function TestHeapMisuse:testAFaultInTheAllocatorKills()
    local p, m = process()
    local h = assert(vmem.heap.open(p, "implicit", { word = 4, align = 8 }))
    local a = h:malloc(10)
    p:store(a - 4, 0x10000001, 4)
    local ok, fault = pcall(h.malloc, h, 100)
    lu.assertFalse(ok)
    lu.assertEquals(fault.signal, "SIGSEGV")
    lu.assertFalse(p:alive())
    m:close()
end

-- A handler that uses the heap while the heap is at work.
function TestHeapMisuse:testAHandlerCantEnter()
    local p, m = process()
    local h = assert(vmem.heap.open(p, "implicit", { word = 4, align = 8 }))
    local a, told = h:malloc(10), nil
    p:store(a - 4, 0x10000001, 4)
    p:sigaction("SIGSEGV", function()
        told = select(2, pcall(h.malloc, h, 1))
        return false
    end)
    lu.assertFalse((pcall(h.malloc, h, 100)))
    lu.assertStrContains(told, "the heap is busy")
    m:close()
end
