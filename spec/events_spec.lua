-- The kernel's events: what is told, when, to whom, and what a trace file has of it.
local lu = require("luaunit")
local json = require("dkjson")
local vmem = require("vmem")
local tree = require("tree")

local scale = require("scale")
local PAGE = 4096

-- Two frames and a swap area, so that the third page evicts.
local function machine(t)
    local o = { preset = "core-i7", resident = 2, swap = "1MiB", policy = "fifo" }
    for k, v in pairs(t or {}) do
        o[k] = v
    end
    local m = vmem.machine(o)
    local p = m:spawn({ name = "scene" })
    return m, p, assert(p:mmap({ length = "1MiB" }))
end

local function names(list)
    local out = {}
    for i, e in ipairs(list) do
        out[i] = e.type
    end
    return table.concat(out, " ")
end

-- Fields of an event in one line, in the order given.
local function fields(e, ...)
    local out = {}
    for i, k in ipairs({ ... }) do
        out[i] = tostring(e[k])
    end
    return table.concat(out, " ")
end

local function heard(m, what)
    local list = {}
    m:on(what, function(e)
        list[#list + 1] = e
    end)
    return list
end

TestEvents = {}

function TestEvents:testASceneInOrder()
    local m <close>, p, a = machine()
    local list = heard(m, { "fault", "zero_fill", "swap_in", "swap_out", "eviction", "switch" })
    p:store(a, 1)
    lu.assertEquals(names(list), "switch zero_fill fault")
    p:store(a + PAGE, 2)
    p:store(a + 2 * PAGE, 3)
    lu.assertEquals(names(list), "switch zero_fill fault zero_fill fault swap_out eviction zero_fill fault")
    p:load(a)
    local last = { table.unpack(list, 10) }
    lu.assertEquals(names(last), "swap_out eviction swap_in fault")
    lu.assertEquals(fields(last[1], "addr", "pid", "slot"), ("%d 1 1"):format(a + PAGE))
    lu.assertEquals(fields(last[2], "addr", "pid", "dirty"), ("%d 1 true"):format(a + PAGE))
    lu.assertEquals(fields(last[3], "addr", "slot", "frame"), ("%d 0 %d"):format(a, p:page(a).frame))
    lu.assertEquals(fields(last[4], "addr", "code", "access", "served", "pid", "cpu"),
        a .. " absent load major 1 0")
    local o = m:options()
    lu.assertEquals(last[4].cycles, o.kernel.fault + 2 * o.disk.latency)
    for i = 2, #list do
        lu.assertTrue(list[i - 1].clock <= list[i].clock)
    end
end

function TestEvents:testOfProcesses()
    local m <close>, p, a = machine()
    local list = heard(m, { "exit", "signal", "fault", "switch" })
    local q = m:spawn()
    p:store(a, 1)
    local ok, why = pcall(q.load, q, a)
    lu.assertFalse(ok)
    lu.assertEquals(why.signal, "SIGSEGV")
    p:exit(-3)
    lu.assertEquals(names(list), "switch fault switch fault signal exit exit")
    lu.assertEquals(fields(list[3], "pid", "from"), "2 1")
    lu.assertEquals(fields(list[4], "pid", "served", "addr"), "2 killed " .. a)
    lu.assertEquals(fields(list[5], "pid", "signal", "cause", "addr"), "2 SIGSEGV MAPERR " .. a)
    lu.assertEquals(fields(list[6], "pid", "status"), "2 -1")
    lu.assertEquals(fields(list[7], "pid", "status"), "1 -3")
end

function TestEvents:testOutOfMemory()
    local m <close>, p, a = machine({ swap = 0 })
    local list = heard(m, { "oom", "signal" })
    p:store(a, 1)
    p:store(a + PAGE, 1)
    lu.assertFalse((pcall(p.store, p, a + 2 * PAGE, 1)))
    lu.assertEquals(names(list), "oom signal")
    lu.assertEquals(fields(list[1], "pid", "pages"), "1 2")
    lu.assertEquals(fields(list[2], "signal", "cause"), "SIGKILL OOM")
end

-- A program's own faults only: what a replay maps by itself the program had mapped.
function TestEvents:testAReplayTellsOfWhatItCounts()
    local m <close> = vmem.machine({ preset = "core-i7", resident = 5 })
    local list = heard(m, { "fault", "signal", "eviction" })
    local run = m:spawn():replay(vmem.trace.loop({ refs = 1000, pages = 20 }))
    local n = { fault = 0, signal = 0, eviction = 0 }
    for _, e in ipairs(list) do
        n[e.type] = n[e.type] + 1
    end
    lu.assertEquals(n, { fault = run.kernel.faults, signal = 0, eviction = run.kernel.evictions })
end

local function replayed(o, listen)
    local m <close> = vmem.machine({ preset = "core-i7", resident = 30, swap = "64MiB", policy = "clock",
        shortcuts = o.shortcuts })
    local list, n = {}, 0
    if listen then
        m:on({ "fault", "eviction", "swap_in", "swap_out", "zero_fill" }, function(e)
            n = n + 1
            list[n] = fields(e, "type", "clock", "pid", "addr", "frame", "slot", "cycles", "served")
        end)
    end
    local t <close> = assert(vmem.trace.open(tree.root .. "/examples/traces/sort.vmt"))
    m:spawn():replay(t, { limit = o.limit })
    assert(m:check())
    return m:_stats(), list
end

function TestEvents:testListenersChangeNoCounter()
    local limit = scale < 1 and 100000 or 1000000
    local plain, told = replayed({ shortcuts = false, limit = limit }, true)
    local quiet = replayed({ shortcuts = true, limit = limit }, false)
    local fast, told_fast = replayed({ shortcuts = true, limit = limit }, true)
    lu.assertTrue(#told > 100)
    lu.assertEquals(fast, quiet)
    lu.assertEquals(fast, plain)
    lu.assertEquals(table.concat(told_fast, "\n") == table.concat(told, "\n"), true)
end

function TestEvents:testRowsDescribeWhatEventsHave()
    local m <close>, p, a = machine()
    local list = heard(m, { "fault", "zero_fill", "shootdown", "swap_out", "eviction", "exit" })
    for i = 0, 5 do
        p:store(a + i * PAGE, i)
    end
    p:exit()
    local rows = {}
    for _, row in ipairs(vmem.events()) do
        rows[row.name] = row
        lu.assertNotNil(row.doc)
    end
    for _, e in ipairs(list) do
        local known = { type = true, clock = true, pid = true, cpu = true, addr = rows[e.type].addr ~= nil }
        for _, f in ipairs(rows[e.type].fields) do
            known[f.name] = true
            lu.assertNotNil(e[f.name], e.type .. "." .. f.name)
        end
        for k in pairs(e) do
            lu.assertTrue(known[k], e.type .. "." .. k)
        end
    end
end

TestListeners = {}

function TestListeners:testNamesThatAreNone()
    local m <close> = machine()
    lu.assertErrorMsgContains("there is no event evicton, did you mean eviction?", m.on, m, "evicton", print)
    lu.assertErrorMsgContains("there is no event nonsense", m.on, m, { "fault", "nonsense" }, print)
    lu.assertErrorMsgContains("empty list", m.on, m, {}, print)
    lu.assertErrorMsgContains("takes a function", m.on, m, "fault")
    lu.assertErrorMsgContains("takes an event's name", m.on, m)
    lu.assertErrorMsgContains("vmem.listener expected", m.off, m, 1)
end

function TestListeners:testOff()
    local m <close>, p, a = machine()
    local n = 0
    local h = m:on("fault", function()
        n = n + 1
    end)
    lu.assertEquals(tostring(h), "vmem.listener: fault")
    p:load(a)
    lu.assertTrue(m:off(h))
    lu.assertFalse(m:off(h))
    lu.assertEquals(tostring(h), "vmem.listener: fault (off)")
    p:load(a + PAGE)
    lu.assertEquals(n, 1)
    do
        local _ <close> = m:on("fault", function()
            n = n + 1
        end)
        p:load(a + 2 * PAGE)
    end
    p:load(a + 3 * PAGE)
    lu.assertEquals(n, 2)
    local other <close> = machine()
    lu.assertErrorMsgContains("another machine", other.off, other, h)
end

function TestListeners:testOffAndOnFromWithin()
    local m <close>, p, a = machine()
    local order, second = {}, nil
    m:on("fault", function()
        order[#order + 1] = "first"
        if second then
            m:off(second)
            second = nil
            -- Hears of what comes, not of what was before.
            m:on("fault", function()
                order[#order + 1] = "third"
            end)
        end
    end)
    second = m:on("fault", function()
        order[#order + 1] = "second"
    end)
    p:write(a, ("x"):rep(2 * PAGE)) -- two faults, one call
    p:load(a + 2 * PAGE)
    lu.assertEquals(table.concat(order, " "), "first first first third")
end

function TestListeners:testTheyMayUseTheMachine()
    local m <close>, p, a = machine()
    local seen = {}
    m:on("fault", function(e)
        seen[#seen + 1] = fields(p:page(e.addr), "state") .. " " .. m:stats("kernel.faults")
        assert(m:check())
        if e.addr < a + 5 * PAGE then
            p:load(e.addr + PAGE) -- causes another: heard after this one
            seen[#seen + 1] = "-"
        end
    end)
    p:load(a)
    lu.assertEquals(table.concat(seen, " "), "cached 1 - cached 2 - cached 3 - cached 4 - cached 5 - cached 6")
end

function TestListeners:testABoundFunctionTells()
    local m <close>, p, a = machine()
    local list = heard(m, "fault")
    p:bind("load")(a)
    p:bind("store")(a + PAGE, 1)
    lu.assertEquals(fields(list[1], "access") .. " " .. fields(list[2], "access"), "load store")
end

function TestListeners:testAnErrorIsRaisedFromTheCall()
    local m <close>, p, a = machine()
    local wrong, list, boom = true, {}, { "an object" }
    m:on("fault", function()
        if wrong then
            wrong = false
            error(boom)
        end
    end)
    m:on("fault", function(e)
        list[#list + 1] = e.addr
    end)
    local ok, why = pcall(p.write, p, a, ("x"):rep(3 * PAGE))
    lu.assertFalse(ok)
    lu.assertIs(why, boom)
    lu.assertEquals(list, { a }) -- the event itself was for everybody
    assert(m:check())
    lu.assertEquals(p:read(a + 3 * PAGE - 1, 1), "x") -- the bytes were written
    lu.assertEquals(list, { a, a + PAGE, a + 2 * PAGE })
end

function TestListeners:testAnErrorEndsAReplay()
    local m <close> = vmem.machine({ preset = "core-i7", resident = 5 })
    local n = 0
    m:on("fault", function()
        n = n + 1
        if n == 10000 then
            error("enough", 0)
        end
    end)
    local p = m:spawn()
    local ok, why = pcall(p.replay, p, vmem.trace.loop({ refs = 100000, pages = 20 }))
    lu.assertEquals({ ok, why }, { false, "enough" })
    lu.assertTrue(m:stats("kernel.faults") < 20000) -- it was told in time
    assert(m:check())
    p:load(p:areas()[1].start)
    lu.assertTrue(n >= m:stats("kernel.faults") - 1)
end

function TestListeners:testAFaultForGoodIsHeardAndRaised()
    local m <close>, p = machine()
    local list = heard(m, "signal")
    local ok, why = pcall(p.load, p, 0)
    lu.assertFalse(ok)
    lu.assertEquals(why.code, "MAPERR")
    lu.assertEquals(#list, 1)
    lu.assertFalse(p:alive())
end

function TestListeners:testNoClosingFromWithin()
    local m <close>, p, a = machine()
    m:on("fault", function()
        m:close()
    end)
    lu.assertErrorMsgContains("calling its listeners", p.load, p, a)
    assert(m:check())
end

function TestListeners:testAnEndlessChainIsStopped()
    lu.skipIf(scale < 1, "slow under sanitizers")
    local m <close>, p, a = machine({ disk = { latency = 1 } })
    local n = 0
    m:on("fault", function(e)
        n = n + 1
        p:load(a + (e.addr - a + PAGE) % (4 * PAGE))
    end)
    lu.assertErrorMsgContains("1000000 events in a row", p.load, p, a)
    lu.assertTrue(n >= 1000000 and n < 1000010)
    assert(m:check())
    m:off(m:on("fault", print))
end

-- A listener's own replay tells of more than may wait: the oldest are dropped.
function TestListeners:testWhatThereWasNoRoomForIsCounted()
    lu.skipIf(scale < 1, "slow under sanitizers")
    local m <close>, p, a = machine({ resident = 50 })
    local n, lost, done = 0, 0, false
    m:on("fault", function(e)
        n, lost = n + 1, lost + (e.lost or 0)
        if not done then
            done = true
            m:spawn():replay(vmem.trace.loop({ refs = 1200000, pages = 60 }))
        end
    end)
    pcall(p.load, p, a) -- taken for an endless chain
    p:load(a + PAGE)
    assert(m:check())
    lu.assertEquals(n + lost, m:stats("kernel.faults"))
    lu.assertTrue(lost >= 1200000 - (1 << 20))
end

function TestListeners:testTheyMayReplayAndEndProcesses()
    local m <close> = vmem.machine({ preset = "core-i7", resident = 50 })
    local p, done = m:spawn(), false
    m:on("fault", function(e)
        if not done and e.pid == p:pid() then
            done = true
            m:spawn():replay(vmem.trace.loop({ refs = 20000, pages = 60 }))
            p:exit()
        end
    end)
    p:replay(vmem.trace.loop({ refs = 20000, pages = 60 }))
    lu.assertTrue(done)
    lu.assertFalse(p:alive())
    assert(m:check())
end

function TestListeners:testAMachineWithListenersIsCollected()
    local gone = setmetatable({}, { __mode = "k" })
    do
        local m, p, a = machine()
        m:on("fault", function()
            return m, p
        end)
        p:load(a)
        gone[m] = true
    end
    collectgarbage()
    collectgarbage()
    lu.assertNil(next(gone))
end

function TestListeners:testFromACoroutine()
    local m <close>, p, a = machine()
    local list = heard(m, "fault")
    m:on("fault", function()
        if coroutine.isyieldable() then
            coroutine.yield()
        end
    end)
    assert(coroutine.resume(coroutine.create(function()
        p:load(a)
    end)))
    lu.assertEquals(#list, 1)
end

TestKeptEvents = {}

function TestKeptEvents:testTheLastOnesAreKept()
    local m <close>, p, a = machine()
    lu.assertErrorMsgContains("no events are kept", m.events, m)
    m:trace_events({ size = 10, only = "fault" })
    for i = 0, 24 do
        p:load(a + i * PAGE)
    end
    local list, dropped = m:events()
    lu.assertEquals({ #list, dropped }, { 10, 15 })
    lu.assertEquals(list[1].addr, a + 15 * PAGE)
    lu.assertEquals(list[10].addr, a + 24 * PAGE)
    m:trace_events()
    lu.assertEquals({ m:events() }, { {}, 0 })
    m:trace_events(false)
    lu.assertErrorMsgContains("no events are kept", m.save_events, m, "/dev/null")
end

function TestKeptEvents:testWrongOptions()
    local m <close> = machine()
    lu.assertErrorMsgContains("size is 0", m.trace_events, m, { size = 0 })
    lu.assertErrorMsgContains("size is many", m.trace_events, m, { size = "many" })
    lu.assertErrorMsgContains("no option sise", m.trace_events, m, { sise = 1 })
    lu.assertErrorMsgContains("did you mean oom?", m.trace_events, m, { only = { "oon" } })
    lu.assertErrorMsgContains("table of options", m.trace_events, m, 7)
    m:trace_events()
    lu.assertErrorMsgContains("rate is 0", m.save_events, m, "/dev/null", { rate = 0 })
    lu.assertErrorMsgContains("takes a path", m.save_events, m)
end

function TestKeptEvents:testAHostThatFails()
    local m <close>, p, a = machine()
    m:trace_events()
    p:load(a)
    local ok, why, code = m:save_events("/nowhere/run.json")
    lu.assertEquals({ ok, code }, { nil, "ENOENT" })
    lu.assertStrContains(why, "/nowhere/run.json")
    if io.open("/dev/full", "w") then
        ok, why, code = m:save_events("/dev/full")
        lu.assertEquals({ ok, code }, { nil, "ENOSPC" })
        lu.assertStrContains(why, "/dev/full")
    end
end

local function read(path)
    local file <close> = assert(io.open(path))
    return file:read("a")
end

function TestKeptEvents:testAFileForPerfetto()
    tree.scratch(function(folder)
        local m <close> = vmem.machine({ preset = "core-i7", resident = 5, swap = "1MiB" })
        m:trace_events({ size = 1 << 16 })
        local p = m:spawn({ name = 'a "name"\n\xff' })
        p:replay(vmem.trace.loop({ refs = 3000, pages = 20, stores = 0.5 }))
        local path = folder .. "/run.json"
        lu.assertTrue(assert(m:save_events(path)))
        local t, _, why = json.decode(read(path))
        lu.assertNotNil(t, why)
        local cycles, n, thread, process = 0, {}, nil, nil
        for _, e in ipairs(t.traceEvents) do
            n[e.ph] = (n[e.ph] or 0) + 1
            if e.ph == "X" then
                lu.assertEquals(e.name, "fault")
                cycles = cycles + math.floor(e.dur * 1000 + 0.5)
                lu.assertEquals(e.args.cycles, math.floor(e.dur * 1000 + 0.5))
                lu.assertEquals(math.floor((e.ts + e.dur) * 1000 + 0.5), e.args.clock)
            elseif e.name == "process_name" then
                process = e.args.name
            elseif e.name == "thread_name" then
                thread = e.args.name
            else
                lu.assertEquals(e.ph, "i")
            end
        end
        lu.assertEquals({ process, thread }, { 'a "name"\nÿ', "cpu 0" })
        lu.assertEquals(cycles, m:stats("cycles.kernel") + m:stats("cycles.disk"))
        lu.assertEquals(n.X, m:stats("kernel.faults"))
        lu.assertEquals(t.otherData, { clock_hz = 1000000000, dropped_events = 0 })
        -- Another clock, another scale.
        assert(m:save_events(path, { rate = 2e9 }))
        for _, e in ipairs(json.decode(read(path)).traceEvents) do
            if e.ph == "X" then
                lu.assertAlmostEquals(e.dur * 2000, e.args.cycles, 0.01)
            end
        end
    end)
end

function TestKeptEvents:testAnEmptyFileIsOne()
    tree.scratch(function(folder)
        local m <close> = machine()
        m:trace_events()
        assert(m:save_events(folder .. "/none.json"))
        lu.assertEquals(#json.decode(read(folder .. "/none.json")).traceEvents, 0)
    end)
end
