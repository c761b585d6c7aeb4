-- The error detector: each class of error where it is planted, with its address, block and
-- place; values bit by bit; leaks; random programs against a model (fuzz/detector_fuzz.lua).
local lu = require("luaunit")
local vmem = require("vmem")
local dfuzz = require("fuzz.detector_fuzz")
local scale = require("scale")
local setup = require("detector_scene").setup

-- The only report, with these fields.
local function only(d, want)
    local list = d:reports()
    lu.assertEquals(#list, 1, tostring(list))
    local r = list[1]
    for k, v in pairs(want) do lu.assertEquals(r[k], v, k .. "\n" .. tostring(r)) end
    lu.assertEquals(r.count, 1)
    lu.assertStrContains(r.where[1], "detector_spec.lua:")
    return r
end

TestDetector = {}

function TestDetector:testOverrunAndUnderrunByPointerAndByAddress()
    for _, by in ipairs({ "pointer", "address" }) do
        for _, row in ipairs({ { 40, 4, "overrun", 40, "behind", 0 }, { 38, 4, "overrun", 40, "behind", 0 },
            { 44, 8, "overrun", 44, "behind", 4 }, { -8, 8, "underrun", -8, "before", 8 },
            { -1, 4, "underrun", -1, "before", 1 } }) do
            local d, p, _, m = setup()
            local a = d:malloc(40)
            local base = a:value()
            if by == "pointer" then d:store(a + row[1], 1, row[2]) else p:store(base + row[1], 1, row[2]) end
            local r = only(d, { kind = row[3], address = base + row[1], first = base + row[4], size = row[2],
                access = "store", side = row[5], distance = row[6], offset = row[4] })
            lu.assertEquals({ r.block.address, r.block.size, r.block.kind, r.block.live }, { base, 40, "heap", true })
            lu.assertStrContains(r.block.made[1], "detector_spec.lua:")
            m:close()
        end
    end
end

-- Far behind the redzone, and in the middle of another block: neither is in a redzone.
function TestDetector:testAStrayPointerIntoAnotherBlock()
    local d, p, _, m = setup()
    local a, b = d:malloc(24), d:malloc(24)
    local far = b + 8 - a
    d:store(a + far, 7)
    local r = only(d, { kind = "stray_pointer", address = b:value() + 8, first = b:value() + 8 })
    lu.assertEquals({ r.block.address, r.pointer.address }, { b:value(), a:value() })
    -- The plain address is known to nobody: it is in a live block.
    p:store(b:value() + 8, 7)
    lu.assertEquals(d:errors(), 1)
    m:close()
end

function TestDetector:testAPointerKeepsItsBlockInMemory()
    local d, _, _, m = setup()
    local cell, a = d:malloc(64), d:malloc(8)
    d:store(cell + 8, a)
    d:copy(cell + 24, cell + 8, 8)
    local copy = d:realloc(cell, 128)
    local b = d:load(copy + 24)
    lu.assertEquals(b:block().address, a:value())
    d:store(b + 8, 1, 1)
    only(d, { kind = "overrun", address = a:value() + 8 })
    d:store(copy + 26, 0, 1) -- a byte of it is written: what it is now, nobody knows
    lu.assertNil(d:load(copy + 24):block())
    lu.assertNil(d:load(copy + 9):block())
    for _, part in ipairs({ { 0, 2 }, { 2, 2 }, { 1, 3 }, { 0, 3 } }) do -- not all of a word is copied
        d:store(copy + 64, 0)
        d:copy(copy + 64 + part[1], copy + 8 + part[1], part[2])
        lu.assertNil(d:load(copy + 64, 4):block())
    end
    m:close()
end

function TestDetector:testUseAfterFreeKeepsItsName()
    local d, p, h, m = setup()
    local a = d:malloc(32)
    local base = a:value()
    d:free(a)
    for _ = 1, 200 do h:free(h:malloc(32)) end -- none gets the address
    p:load(base + 8, 8)
    local r = only(d, { kind = "use_after_free", address = base + 8, access = "load", size = 8 })
    lu.assertEquals({ r.block.address, r.block.live }, { base, false })
    lu.assertStrContains(r.block.gone[1], "detector_spec.lua:")
    d:load(a):test() -- an error, but that its bytes were not initialised is not one more
    lu.assertEquals(d:errors(), 2)
    m:close()
end

-- With a quarantine that ends, addresses are given out again, and an old pointer is known.
function TestDetector:testAnOldPointerToANewBlock()
    local d, p, _, m = setup({ detector = { quarantine = 0 } })
    local a = d:malloc(32)
    d:free(a)
    local b = d:malloc(32)
    lu.assertEquals(a:value(), b:value())
    p:store(a:value(), 1)
    lu.assertEquals(d:errors(), 0)
    d:store(a, 1)
    only(d, { kind = "use_after_free", address = a:value() })
    d:free(a)
    lu.assertEquals(d:reports()[2].kind, "double_free")
    d:store(b, 2) -- it was not freed
    lu.assertEquals(d:errors(), 2)
    local c = d:malloc(600)
    d:free(c)
    p:load(c:value() + 300) -- the allocator's again
    lu.assertEquals(d:reports()[3].kind, "allocator_memory")
    m:close()
end

function TestDetector:testWrongFrees()
    local d, p, h, m = setup()
    local other = assert(vmem.heap.open(p, "explicit", { source = "mmap", limit = "64KiB" }))
    d:attach(other)
    local f = d:frame("f", { "x", 16 })
    local a, b, c, n = d:malloc(16), d:malloc(16), d:malloc(16), d:new(16)
    d:free(a)
    local rows = {
        { "double_free", function() h:free(a:value()) end, a, a },
        { "invalid_free", function() d:free(b + 8) end, b + 8, b },
        { "invalid_free", function() d:free(f.x) end, f.x, f.x },
        { "invalid_free", function() h:free(0x1234) end, 0x1234 },
        { "mismatched_free", function() other:free(b:value()) end, b, b },
        { "mismatched_free", function() d:free(n) end, n, n },
        { "mismatched_free", function() d:delete(c) end, c, c },
        { "double_free", function() d:realloc(c, 8) end, c, c },
    }
    for i, row in ipairs(rows) do
        row[2]()
        local r = d:reports()[i]
        lu.assertEquals({ r.kind, r.address }, { row[1], type(row[3]) == "number" and row[3] or row[3]:value() })
        lu.assertEquals(r.block and r.block.address, row[4] and row[4]:value())
        lu.assertStrContains(r.where[1], "detector_spec.lua:")
    end
    lu.assertEquals(d:errors(), #rows)
    lu.assertTrue(h:check())
    lu.assertTrue(other:check())
    m:close()
end

function TestDetector:testUninitialisedValuesAreErrorsWhereTheyAreUsed()
    local rows = {
        { "branch", function(_, v) return v:test() end },
        { "branch", function(_, v) return v < 3 end },
        { "branch", function(d, v) return d:branch(v + 1) end },
        { "address", function(d, v, p)
            p:mmap({ addr = 0x10000, length = 4096, flags = "fixed" })
            d:load((v & 0xff) + 0x10000)
        end },
        { "syscall", function(d, v) d:syscall("exit", v) end },
        { "size", function(d, v) d:malloc(v & 15 | 1) end },
    }
    for _, row in ipairs(rows) do
        local d, p, _, m = setup()
        local a = d:malloc(64)
        local v = d:load(a + 16)
        d:store(a + 8, v) -- a copy is no use
        v = d:load(a + 8)
        lu.assertEquals(d:errors(), 0)
        row[2](d, v, p)
        local r = only(d, { kind = "uninitialised", use = row[1] })
        lu.assertEquals(r.origin.address, a:value())
        m:close()
    end
end

function TestDetector:testBuffersOfSystemCalls()
    local d, _, _, m = setup()
    local a = d:malloc(32)
    d:write(a, "0123456789")
    d:syscall("write", 1, { a, 10 })
    lu.assertEquals(d:errors(), 0)
    d:syscall("write", 1, { a, 12 })
    only(d, { kind = "uninitialised", use = "syscall", name = "write", address = a:value(), first = a:value() + 10 })
    d:syscall("read", 0, { a, 32, out = true })
    lu.assertFalse(d:branch(d:load(a + 24)))
    lu.assertEquals(d:errors(), 1)
    d:syscall("read", 0, { a, 33, out = true })
    lu.assertEquals(d:reports()[2].kind, "overrun")
    m:close()
end

function TestDetector:testAtLoadReportsTheLoadItself()
    local d, p, _, m = setup({ detector = { at_load = true } })
    local a = d:malloc(32)
    d:store(a, 1, 4)
    p:load(a:value(), 4)
    lu.assertEquals(d:errors(), 0)
    p:load(a:value(), 8)
    only(d, { kind = "uninitialised", use = "load", address = a:value(), first = a:value() + 4, size = 8 })
    m:close()
end

function TestDetector:testFrames()
    local d, p, _, m = setup()
    local outer = d:frame("outer", { "count", 4 })
    local f = d:frame("echo", { "i", 4 }, { "buf", 8 })
    d:write(f.buf, "seven..\0")
    d:store(outer.count, 1, 4)
    lu.assertEquals(d:errors(), 0)
    p:write(f.buf:value(), "nine bytes") -- the eighth is the last of its own
    local r = only(d, { kind = "overrun", address = f.buf:value(), first = f.buf:value() + 8, size = 10 })
    lu.assertEquals({ r.block.name, r.block.kind }, { "buf", "stack" })
    local i = f:leave(f.i)
    r = d:reports()[2]
    lu.assertEquals({ r.kind, r.name, r.block.name, r.address }, { "returned_local", "echo", "i", i:value() })
    p:store(i:value(), 1, 4)
    r = d:reports()[3]
    lu.assertEquals({ r.kind, r.block.name, r.block.live }, { "use_after_return", "i", false })
    local g <close> = d:frame("next", { "j", 4 }, { "k", 4 }) -- where the other was
    lu.assertEquals(g.j:value(), i:value())
    d:store(g.j, 1, 4)
    lu.assertEquals(d:errors(), 3)
    d:load(i, 4) -- the old pointer is not one to j
    r = d:reports()[4]
    lu.assertEquals({ r.kind, r.block.name }, { "use_after_return", "i" })
    p:load(g.k:value() - 200, 4)
    lu.assertEquals(d:reports()[5].kind, "no_variable")
    lu.assertErrorMsgContains("left already", function() f:leave() end)
    m:close()
end

function TestDetector:testDataMappingsAndBadPointers()
    local d, p, _, m = setup()
    local x, y = d:global("x", 12), d:global("y", 4)
    lu.assertEquals(d:load(x):value(), 0)
    d:load(x + 12, 1)
    lu.assertEquals(d:reports()[1].block.name, "x")
    d:load(y - 1, 1)
    lu.assertEquals(d:reports()[2].kind, "underrun")
    local a = d:mmap({ length = "8KiB", name = "shared" })
    d:undefine(a, 4096)
    p:madvise(a:value(), 4096, "dontneed") -- zeros again
    d:branch(d:load(a))
    lu.assertEquals(d:errors(), 2)
    d:store(a + 8184, 1)
    d:load(a + 8192, 1)
    local r = d:reports()[3]
    lu.assertEquals({ r.kind, r.block.name, r.distance }, { "overrun", "shared", 0 })
    p:munmap(a:value(), 8192)
    lu.assertErrorMsgContains("SIGSEGV", d.load, d, a + 8)
    r = d:reports()[4]
    lu.assertEquals({ r.kind, r.address, r.block.live }, { "use_after_unmap", a:value() + 8, false })
    lu.assertEquals(d:errors(), 4)
    m:close()
    d, p, _, m = setup()
    lu.assertErrorMsgContains("SIGSEGV", function() p:store(0, 1) end)
    only(d, { kind = "bad_pointer", address = 0, access = "store" })
    m:close()
end

function TestDetector:testOverlapAndSizes()
    local d, _, _, m = setup()
    local a = d:malloc(32)
    d:fill(a, 1, 32)
    d:move(a + 4, a, 8)
    lu.assertEquals(d:errors(), 0)
    d:copy(a + 4, a, 8)
    only(d, { kind = "overlap", address = a:value() + 4, source = a:value(), size = 8, first = a:value() + 4 })
    lu.assertNil((d:malloc(-8)))
    lu.assertEquals(d:reports()[2].kind, "bad_size")
    m:close()
end

-- A mistake in what the allocator keeps: its own accesses are none.
function TestDetector:testTheAllocatorsMemory()
    local d, p, h, m = setup({ detector = { redzone = 0 } })
    local a = d:malloc(64)
    local _, top = h:range()
    p:store(a:value() + 64, 0) -- without a redzone this is the next header
    lu.assertEquals(d:reports()[1].kind, "overrun")
    p:load(top - 8)
    lu.assertEquals(d:reports()[2].kind, "allocator_memory")
    m:close()
end

function TestDetector:testReportsAreOneForAPlaceAndTold()
    local seen = {}
    local d, p, _, m = setup({ detector = { on_report = function(r) seen[#seen + 1] = r end } })
    local a = d:malloc(8)
    for i = 1, 5 do p:load(a:value() + 8, i % 2 == 0 and 4 or 8) end
    lu.assertEquals(#d:reports(), 1)
    lu.assertEquals(d:reports()[1].count, 5)
    lu.assertEquals(d:errors(), 5)
    lu.assertEquals(#seen, 1)
    lu.assertEquals(seen[1].kind, "overrun")
    m:close()
end

-- Attached, a heap that is in use: its blocks are known, and go through the detector.
function TestDetector:testAHeapThatIsInUse()
    local m = vmem.machine({ preset = "core-i7", dram = "4MiB" })
    local p = m:spawn()
    local h = assert(vmem.heap.open(p, "tlsf"))
    local a, b = h:malloc(100), h:malloc(100)
    p:store(a, 5)
    local d = vmem.detector({ process = p, heap = h, at_load = true })
    lu.assertEquals(p:load(a), 5)
    p:load(b + 92)
    lu.assertEquals(d:errors(), 0)
    p:load(b + 100, 1)
    lu.assertEquals(d:reports()[1].kind, "overrun")
    h:free(a)
    lu.assertEquals(h:usable_size(b), 100)
    p:load(a)
    lu.assertEquals(d:reports()[2].kind, "use_after_free")
    lu.assertErrorMsgContains("already", d.attach, d, h)
    lu.assertErrorMsgContains("watched by a detector already", vmem.detector, { process = p })
    lu.assertErrorMsgContains("a detector stands in front of the heap", vmem.gc, { heap = h })
    d:close()
    p:load(a)
    local gc = assert(vmem.gc({ heap = h }))
    lu.assertErrorMsgContains("the heap has a collector", vmem.detector, { process = p, heap = h })
    gc:close()
    local e <close> = vmem.detector({ process = p, heap = h })
    lu.assertEquals(e:errors(), 0)
    m:close()
end

-- Fork, exec, threads, and ends in any order.
function TestDetector:testTheWatchIsOfASpace()
    local d, p, h, m = setup()
    local a = d:malloc(8):value()
    local child, thread = p:fork(), p:clone()
    child:store(a + 8, 1)
    lu.assertEquals(d:errors(), 0)
    thread:store(a + 8, 1, 1)
    lu.assertEquals(d:reports()[1].kind, "overrun")
    h:close()
    p:load(a)
    lu.assertEquals(d:errors(), 1) -- nobody's memory
    p:exit(0)
    thread:exit(0)
    lu.assertErrorMsgContains("ended", d.load, d, a)
    lu.assertEquals(#d:reports(), 1)
    child:load(a)
    m:close()
    lu.assertErrorMsgContains("closed", d.load, d, a)
    d:close()
    lu.assertErrorMsgContains("closed", d.reports, d)
end

function TestDetector:testWrongOptions()
    local m = vmem.machine({ preset = "core-i7" })
    local p = m:spawn()
    for _, row in ipairs({ { { redzone = 8 }, "redzone" }, { { quarantine = "lots" }, "quarantine" },
        { { redzonee = 1 }, "did you mean redzone" }, { { stack = -1 }, "stack" }, { { raise = 1 }, "raise" } }) do
        row[1].process = p
        lu.assertErrorMsgContains(row[2], vmem.detector, row[1])
    end
    lu.assertErrorMsgContains("process is missing", vmem.detector, {})
    local d <close> = vmem.detector({ process = p, stack = 256 })
    lu.assertErrorMsgContains("no heap", d.malloc, d, 8)
    local f, why, code = d:frame("f", { "big", 8192 })
    lu.assertEquals({ f, code }, { nil, "ENOMEM" })
    lu.assertStrContains(why, "stack")
    m:close()
end

-- Counters, orders and the clock are the program's own: what is checked costs no cycle.
function TestDetector:testWatchingChangesNoCounter()
    local function run(watched)
        local m = vmem.machine({ preset = "core-i7", dram = "256KiB", swap = "4MiB" })
        local p = m:spawn()
        local a = assert(p:mmap({ length = "1MiB" }))
        if watched then vmem.detector({ process = p, at_load = true }) end
        for i = 0, 2000 do
            p:store(a + i * 7919 * 8 % (1 << 20), i)
            p:load(a + i * 104729 * 8 % (1 << 20))
        end
        p:replay(vmem.trace.zipf({ refs = 3000, pages = 60, seed = 1 }))
        local s = m:stats()
        m:close()
        return s
    end
    lu.assertEquals(run(true), run(false))
end

TestDetectorValues = {}

local OPS = {
    { "+", function(a, b) return a + b end }, { "-", function(a, b) return a - b end },
    { "*", function(a, b) return a * b end }, { "//", function(a, b) return a // b end },
    { "%", function(a, b) return a % b end }, { "&", function(a, b) return a & b end, true },
    { "|", function(a, b) return a | b end, true }, { "~", function(a, b) return a ~ b end, true },
    { "<<", function(a, b) return a << (b & 127) end }, { ">>", function(a, b) return a >> (b & 127) end },
    { "not", function(a) return ~a end, true }, { "neg", function(a) return -a end },
    { "eq", function(a, b) return math.type(a) and (a == b and 1 or 0) or a:eq(b) end, true },
    { "lt", function(a, b) return math.type(a) and (a < b and 1 or 0) or a:lt(b) end, true },
    { "le", function(a, b) return math.type(a) and (a <= b and 1 or 0) or a:le(b) end, true },
    { "ult", function(a, b) return math.type(a) and (math.ult(a, b) and 1 or 0) or a:ult(b) end, true },
}

-- All numbers that the undefined bits allow: a bit of the result that differs between them
-- must be undefined; where the third field says so, no other may be.
function TestDetectorValues:testUndefinedBitsAgainstAllThatTheyCanBe()
    local d, _, _, m = setup()
    local cell = d:malloc(16)
    math.randomseed(42)
    local function operand(small)
        local x, mask = math.random(0) >> (small and 61 or math.random(0, 60)), 0
        for _ = 1, math.random(0, 3) do mask = mask | 1 << math.random(0, small and 2 or 63) end
        -- Memory has whole bytes that are undefined; an and leaves these bits of them.
        d:store(cell, x)
        d:undefine(cell, 8)
        local v = (d:load(cell) & mask) | (x & ~mask)
        lu.assertEquals({ v:value(), v:undefined() }, { x, mask })
        local all = { x & ~mask }
        for bit = 0, 63 do
            if mask >> bit & 1 == 1 then
                for i = 1, #all do all[#all + 1] = all[i] | 1 << bit end
            end
        end
        return v, x, all
    end
    for i = 1, math.ceil(400 * scale) do
        local a, x, as = operand(i % 2 == 0)
        local b, y, bs = operand(i % 2 == 0)
        for _, op in ipairs(OPS) do
            local divides = op[1] == "//" or op[1] == "%"
            if not (divides and y == 0) then
                local r, first, differ = op[2](a, b), nil, 0
                for _, u in ipairs(as) do
                    for _, k in ipairs(bs) do
                        if not (divides and k == 0) then
                            local got = op[2](u, k)
                            first = first or got
                            differ = differ | (got ~ first)
                        end
                    end
                end
                local text = ("%#x %s %#x"):format(x, op[1], y)
                lu.assertEquals(r:value(), op[2](x, y), text)
                lu.assertEquals(differ & ~r:undefined(), 0, text)
                if op[3] or #as * #bs == 1 then lu.assertEquals(r:undefined(), differ, text) end
            end
        end
    end
    lu.assertEquals(d:errors(), 0)
    m:close()
end

function TestDetectorValues:testProvenance()
    local d, _, _, m = setup()
    local a, b = d:malloc(64), d:malloc(64)
    local of = function(v) local x = v:block() return x and x.address end
    local first, second = a:value(), b:value()
    for _, v in ipairs({ a + 8, 8 + a, a - 8, a & ~15, a | 3, (a + 100) - 100 }) do lu.assertEquals(of(v), first) end
    for _, v in ipairs({ a + b, b - a, a * 1, a ~ 0, 8 - a, a << 0, ~a, -a, a // 1, a:eq(b) }) do
        lu.assertNil(of(v))
    end
    lu.assertEquals(of(a + (b - a)), first)
    lu.assertEquals(of(d:pointer(second + 3)), second)
    lu.assertNil(of(d:value(second)))
    lu.assertTrue(a ~= b and a < b and a <= a)
    lu.assertErrorMsgContains("zero", function() return a // 0 end)
    lu.assertError(function() return a + 1.5 end)
    lu.assertErrorMsgContains("whole number", d.load, d, "1")
    lu.assertStrContains(tostring(a), "64 bytes")
    m:close()
end

TestDetectorLeaks = {}

local function losses(d, t)
    local out = {}
    for _, b in ipairs(d:leaks(t).blocks) do out[b.address] = b.leak end
    return out
end

function TestDetectorLeaks:testEachKind()
    local d, p, h, m = setup()
    local root = d:global("root", 16)
    local f = d:frame("main", { "local", 8 })
    local area = p:mmap({ length = 4096 })
    local kept, below, inner, lost, child, ring1, ring2, held, far = d:malloc(16), d:malloc(16), d:malloc(32),
        d:malloc(16), d:malloc(16), d:malloc(16), d:malloc(16), d:malloc(16), d:malloc(16)
    for _, a in ipairs({ kept, below, inner, lost, child, ring1, ring2, held, far }) do d:fill(a, 0, 16) end
    d:store(root, kept)
    d:store(kept + 8, below)
    d:store(f["local"], inner + 8)
    d:store(lost, child)
    d:store(ring1, ring2)
    d:store(ring2, ring1)
    p:store(area + 64, far:value())
    p:store(far:value() + 1, far:value()) -- no word of a pointer's: nothing
    local got = losses(d, { roots = { held } })
    lu.assertEquals(got, {
        [kept:value()] = "reachable", [below:value()] = "reachable", [inner:value()] = "possible",
        [lost:value()] = "definite", [child:value()] = "indirect", [ring1:value()] = "definite",
        [ring2:value()] = "indirect", [held:value()] = "reachable", [far:value()] = "reachable",
    })
    lu.assertEquals(losses(d)[held:value()], "definite")
    f:leave()
    lu.assertEquals(losses(d)[inner:value()], "definite")
    local g <close> = d:frame("again", { "local", 8 }) -- holds what the other left, but by chance
    lu.assertEquals(g["local"]:value(), f["local"]:value())
    lu.assertEquals(losses(d)[inner:value()], "definite")
    local l = d:leaks()
    lu.assertEquals({ l.reachable.blocks, l.reachable.bytes, l.indirect.blocks }, { 3, 48, 2 })
    lu.assertStrContains(tostring(l), "definitely lost:  80 bytes in 4 blocks")
    lu.assertEquals(d:errors(), 0)
    lu.assertTrue(h:check())
    m:close()
end

-- Where pointers are words of 4 bytes.
function TestDetectorLeaks:testPointersOfFourBytes()
    local d, p, _, m = setup({ machine = { preset = "x86-32", dram = "4MiB" } })
    local root, a, b, c = d:global("root", 8), d:calloc(1, 16), d:calloc(1, 16), d:calloc(1, 16)
    d:store(root + 4, a, 4)
    d:store(a + 4, b, 4)
    lu.assertEquals(d:load(a + 4, 4):block().address, b:value())
    d:store(d:load(d:load(root + 4, 4) + 4, 4) + 16, 1, 4)
    lu.assertEquals(d:reports()[1].kind, "overrun")
    p:store(root:value() + 2, c:value(), 4) -- at no word; the upper half of the other is gone
    lu.assertEquals(losses(d), { [a:value()] = "definite", [b:value()] = "indirect", [c:value()] = "definite" })
    m:close()
end

-- The definitions, by sets that grow until they no longer do.
local function classify(n, edges, roots)
    local function reach(from, firm)
        local seen, work = {}, {}
        local function see(e)
            if not (firm and not e.start) and not seen[e.to] then
                seen[e.to] = true
                work[#work + 1] = e.to
            end
        end
        for _, e in ipairs(from) do see(e) end
        while #work > 0 do
            for _, e in ipairs(edges[table.remove(work)]) do see(e) end
        end
        return seen
    end
    local firm, any = reach(roots, true), reach(roots, false)
    local out, led = {}, {}
    for i = 1, n do
        out[i] = firm[i] and "reachable" or any[i] and "possible" or nil
    end
    for i = 1, n do -- leaders, in order of addresses
        if not out[i] and not led[i] then
            local follow = reach(edges[i], false)
            led[i] = "definite"
            for k in pairs(follow) do
                if not out[k] and k ~= i then led[k] = "indirect" end
            end
        end
    end
    for i = 1, n do out[i] = out[i] or led[i] end
    return out
end

function TestDetectorLeaks:testRandomGraphs()
    for seed = 1, math.ceil(30 * scale) do
        math.randomseed(seed)
        -- So little memory that much of it is in swap when it is looked at.
        local d, _, _, m = setup({ machine = { preset = "core-i7", dram = "160KiB", swap = "16MiB" } })
        local n, blocks, edges, roots = 60, {}, {}, {}
        for i = 1, n do
            blocks[i], edges[i] = d:calloc(1, 24 + math.random(0, 3000)), {}
        end
        table.sort(blocks, function(a, b) return a:value() < b:value() end)
        local root = d:global("roots", 64)
        local function link(at, from)
            local to, start = math.random(n), math.random(4) > 1
            d:store(at, start and blocks[to] or blocks[to] + math.random(1, 20))
            from[#from + 1] = { to = to, start = start }
        end
        for i = 1, math.random(60) do
            local from = math.random(n)
            if #edges[from] < 3 then link(blocks[from] + 8 * #edges[from], edges[from]) end
            if i % 8 == 0 then link(root + 8 * #roots, roots) end
        end
        local want, got = classify(n, edges, roots), losses(d)
        for i, b in ipairs(blocks) do
            lu.assertEquals(got[b:value()], want[i], ("seed %d, block %d"):format(seed, i))
        end
        lu.assertEquals(d:errors(), 0)
        m:close()
    end
end

TestDetectorFuzz = {}

function TestDetectorFuzz:testLongCorrectProgramsBringNoReport()
    for seed = 1, math.ceil(6 * scale) do
        lu.assertNil(dfuzz.case(seed, 1500, { allocator = seed % 2 == 0 and "tlsf" or nil }))
    end
end

function TestDetectorFuzz:testPlantedFaultsAreFoundEachAtItsAddress()
    for seed = 1, math.ceil(6 * scale) do
        lu.assertNil(dfuzz.case(seed, 1500, { planted = true, quarantine = seed % 3 == 0 and 512 or nil }))
    end
end

-- Each example prints what stands at its end.
TestDetectorExamples = {}

local tree = require("tree")

local pipe = assert(io.popen("cd " .. tree.quote(tree.root) .. "/examples/errors && ls"))
for name in pipe:lines() do
    TestDetectorExamples["test_" .. name:gsub("%.lua$", "")] = function()
        local path = "examples/errors/" .. name
        local file <close> = assert(io.open(tree.root .. "/" .. path))
        local want, out = {}, {}
        local source = file:read("a")
        for line in source:gmatch("\n%-%->([^\n]*)") do want[#want + 1] = line:gsub("^ ", "") end
        local env = setmetatable({ print = function(x) out[#out + 1] = tostring(x) end }, { __index = _G })
        assert(load(source, "@" .. path, "t", env))()
        local said = table.concat(out, "\n") .. "\n" -- but for who ran it
        said = said:gsub("[^\n]*luaunit[^\n]*\n", ""):gsub("[^\n]*_spec%.lua[^\n]*\n", "")
        lu.assertEquals(said, table.concat(want, "\n") .. "\n")
    end
end
pipe:close()
