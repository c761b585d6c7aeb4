-- Whom a detector asks and tells in the midst of calls: who takes reports, who gives the
-- program counter and its symbol.
local lu = require("luaunit")
local setup = require("detector_scene").setup

TestDetectorAsks = {}

function TestDetectorAsks:testRaisedReportsStopTheCall()
    local d, p, h, m = setup({ detector = { raise = true } })
    local a = d:malloc(8)
    local ok, r = pcall(p.store, p, a:value() + 8, 0x55, 1)
    lu.assertFalse(ok)
    lu.assertEquals(r.kind, "overrun")
    lu.assertStrContains(tostring(r), "0 bytes behind the end of a block of 8 bytes")
    ok, r = pcall(h.free, h, a:value() + 4)
    lu.assertEquals({ ok, r.kind }, { false, "invalid_free" })
    ok, r = pcall(function() return d:load(a) < 3 end)
    lu.assertEquals({ ok, r.kind }, { false, "uninitialised" })
    ok, r = pcall(p.load, p, 16) -- before the process is killed for it
    lu.assertEquals({ ok, r.kind }, { false, "bad_pointer" })
    lu.assertTrue(p:alive())
    d:close()
    lu.assertEquals(p:load(a:value() + 8, 1), 0) -- the store was not done
    m:close()
end

-- Whoever is told may look and allocate, but not end what is at work.
function TestDetectorAsks:testWhoIsTold()
    local d, p, h, m, _
    local tries = {}
    d, p, h, m = setup({ detector = { on_report = function(r)
        tries.peek = p:load(r.address, 1)
        tries.detector = pcall(d.close, d)
        tries.machine = pcall(m.close, m)
        tries.malloc = h:malloc(8)
    end } })
    p:store(d:malloc(8):value() + 8, 1, 1)
    lu.assertEquals({ tries.peek, tries.detector, tries.machine }, { 0, false, false })
    lu.assertNotNil(tries.malloc)
    lu.assertEquals(d:errors(), 1)
    m:close()
    d, p, _, m = setup({ detector = { on_report = function() p:exit(3) end } })
    local a = d:malloc(8)
    lu.assertError(d.free, d, a + 1)
    lu.assertError(d.load, d, a)
    m:close()
    d, p, _, m = setup({ detector = { on_report = function() p:exit(3) end } })
    a = d:malloc(8):value()
    lu.assertError(p.store, p, a + 8, 1)
    lu.assertEquals(#d:reports(), 1)
    m:close()
end

function TestDetectorAsks:testProgramCountersStandForTracebacks()
    local pc = 0x10400
    local d, p, _, m = setup({ detector = {
        pc = function() return pc end,
        symbol = function(x) return ("main+%d"):format(x - 0x10400) end,
    } })
    local a = d:malloc(8)
    pc = 0x10408
    p:store(a:value() + 8, 1)
    local r = d:reports()[1]
    lu.assertEquals(r.where, { "0x10408: main+8" })
    lu.assertEquals(r.block.made, { "0x10400: main+0" })
    m:close()
end

-- Who gives the program counter is asked in the midst of calls.
function TestDetectorAsks:testWhoGivesTheProgramCounterCantClose()
    local d, p, m, told, _
    d, p, _, m = setup({ detector = { pc = function()
        if d then told = { pcall(d.close, d), pcall(m.close, m), pcall(d.load, d, 64, 8) } end
        return 1
    end } })
    local a = d:malloc(8):value()
    for _, act in ipairs({
        function() d:malloc(8) end,
        function() p:store(a + 8, 1) end,
        function() d:frame("f", { "x", 8 }):leave() end,
        function() d:global("g", 8) end,
        function() d:mmap({ length = 4096 }) end,
    }) do
        told = nil
        act()
        lu.assertEquals({ told[1], told[2], told[3] }, { false, false, false })
    end
    lu.assertTrue(m:check())
    m:close()
end

-- Whatever it does in the midst of them, calls end, with a result or an error, and the
-- machine is whole.
function TestDetectorAsks:testHostileProgramCounters()
    local acts = {
        function(d) d:malloc(8) end,
        function(d, _, _, a) d:free(a) end,
        function(_, p, _, a) p:store(a + 8, 1) end,
        function(_, _, h, a) h:realloc(a, 100) end,
        function(d) d:frame("f", { "x", 8 }):leave() end,
        function(d) d:leaks() end,
    }
    local meanwhile = {
        function(_, p) p:exit(3) end,
        function(_, p) p:store(64, 1) end,
        function(_, p, _, a) p:munmap(a & ~4095, 4096) end,
        function(_, p, _, a) p:store(a + 8, 1) end,
        function(_, _, h) h:close() end,
        function(_, _, h, a) h:free(a) end,
        function(d, _, h) d:attach(h) end,
    }
    for _, act in ipairs(acts) do
        for _, other in ipairs(meanwhile) do
            local d, p, h, m, a
            local depth = 0
            d, p, h, m = setup({ source = "mmap", detector = { pc = function()
                if a and depth < 3 then
                    depth = depth + 1
                    pcall(other, d, p, h, a)
                    depth = depth - 1
                end
                return 1
            end } })
            a = d:malloc(8):value()
            pcall(act, d, p, h, a)
            lu.assertEquals({ m:check() }, { true })
            m:close()
        end
    end
end
