-- Whose page goes, and when: local and global replacement, limits, quotas by working
-- set and page-fault frequency, background reclaim, thrashing and its cure.
local lu = require("luaunit")
local vmem = require("vmem")

local PAGE = 4096

local function small(t)
    local o = { preset = "core-i7", dram = "8MiB", swap = "64MiB", resident = 100, policy = "lru" }
    for k, v in pairs(t or {}) do o[k] = v end
    return vmem.machine(o)
end

-- A process that uses its pages in turn, some at each step.
local function looper(m, name, pages)
    local p = m:spawn({ name = name })
    local x, at = assert(p:mmap({ length = pages * PAGE })), 0
    local load = p:bind("load")
    return p, function(n)
        for _ = 1, n do
            load(x + at * PAGE)
            at = (at + 1) % pages
        end
    end
end

local function faults(p) return p:stats().minor_faults + p:stats().major_faults end

TestReclaim = {}

-- A stream beside a loop: with global replacement the stream takes the loop's frames,
-- with local it replaces its own pages.
function TestReclaim:testAStreamTakesNobodysFramesWithLocalReplacement()
    local want = { global = 60 * 50, ["local"] = 60 }
    for scope, n in pairs(want) do
        for _, policy in ipairs({ "lru", "fifo", "clock" }) do
            local m <close> = small({ reclaim = { scope = scope }, policy = policy })
            local loop, step = looper(m, "loop", 60)
            local _, stream = looper(m, "stream", 5000)
            for _ = 1, 50 do
                step(60)
                stream(100)
            end
            lu.assertEquals(faults(loop), n, scope .. " " .. policy)
            lu.assertTrue(m:check())
        end
    end
end

function TestReclaim:testALimitHoldsForTheProcessAlone()
    local m <close> = small({ reclaim = { scope = "local" } })
    local a, step = looper(m, "a", 20)
    local b, other = looper(m, "b", 20)
    lu.assertEquals(a:limit(), 0)
    lu.assertEquals(a:limit(10), 10)
    for _ = 1, 5 do
        step(20)
        other(20)
    end
    lu.assertEquals({ a:stats().resident, b:stats().resident }, { 10, 20 })
    lu.assertEquals({ faults(a), faults(b) }, { 100, 20 })
    lu.assertTrue(m:check())
    lu.assertErrorMsgContains("0 or more pages", a.limit, a, -1)
    local g <close> = small()
    local p = g:spawn()
    lu.assertErrorMsgContains("reclaim.scope", p.limit, p, 5)
end

-- Pages not used in the window leave, though frames are free; used ones stay.
function TestReclaim:testAWorkingSetIsWhatWasUsedInTheWindow()
    for _, shortcuts in ipairs({ true, false }) do
        local m <close> = small({ reclaim = { scope = "local", quota = "ws", window = 1000 }, resident = 0,
            shortcuts = shortcuts })
        local p = m:spawn()
        local x = assert(p:mmap({ length = 200 * PAGE }))
        for i = 0, 99 do p:store(x + i * PAGE, i) end
        lu.assertEquals(p:stats().resident, 100)
        -- The next look clears the bits, the one after it drops what stayed unused.
        for round = 1, 2 do
            for _ = 1, 60 do
                for i = 0, 19 do p:load(x + i * PAGE) end
            end
            p:store(x + (149 + round) * PAGE, 1)
        end
        local resident = p:stats().resident
        lu.assertTrue(resident >= 20 and resident <= 23, tostring(resident))
        lu.assertEquals(m:stats("kernel.trims"), 100 - 20)
        for i = 0, 99 do lu.assertEquals(p:load(x + i * PAGE), i) end
        lu.assertTrue(m:check())
    end
end

-- A process that faults often keeps all; when it has settled, what it does not use goes.
function TestReclaim:testFaultFrequency()
    local m <close> = small({ reclaim = { scope = "local", quota = "pff", window = 500 }, resident = 0 })
    local p = m:spawn()
    local x = assert(p:mmap({ length = 300 * PAGE }))
    for i = 0, 99 do p:store(x + i * PAGE, i) end
    lu.assertEquals({ p:stats().resident, m:stats("kernel.trims") }, { 100, 0 })
    for round = 1, 2 do
        for _ = 1, 60 do
            for i = 0, 9 do p:load(x + i * PAGE) end
        end
        p:store(x + (199 + round) * PAGE, 1) -- long after the last fault
    end
    lu.assertTrue(p:stats().resident <= 13, tostring(p:stats().resident))
    lu.assertTrue(m:check())
end

function TestReclaim:testQuotasNeedLocalReplacement()
    lu.assertErrorMsgContains("reclaim.scope", vmem.machine, { reclaim = { quota = "ws" } })
    lu.assertErrorMsgContains("reclaim.high", vmem.machine, { reclaim = { low = 5, high = 4 } })
end

-- Below `low` free frames, pages go until `high` are free.
function TestReclaim:testTheBackgroundKeepsFramesFree()
    local m <close> = small({ resident = 0, dram = "1MiB", reclaim = { low = 16, high = 32 } })
    local p = m:spawn()
    local x = assert(p:mmap({ length = 1000 * PAGE }))
    local least = math.huge
    for i = 0, 999 do
        p:store(x + i * PAGE, i)
        least = math.min(least, m:meminfo().free)
    end
    local k = m:stats().kernel
    lu.assertEquals(k.background, k.evictions)
    lu.assertTrue(k.evictions > 700 and least >= 14, tostring(least))
    for i = 0, 999 do lu.assertEquals(p:load(x + i * PAGE), i) end
    lu.assertTrue(m:check())
end

-- Three processes whose working sets do not fit together: in turns, each finds its
-- pages gone. The cure: one is written out and waits, the others fit.
function TestReclaim:testThrashingAndItsCure()
    local function run(control)
        local m <close> = small()
        local list = {}
        for i = 1, 3 do
            local p, step = looper(m, "p" .. i, 45)
            list[i] = { p = p, step = step, left = 60 }
        end
        local waiting = control and table.remove(list) or nil
        if waiting then waiting.p:swap_out() end
        while #list > 0 do
            for i = #list, 1, -1 do
                list[i].step(90)
                list[i].left = list[i].left - 1
                if list[i].left == 0 then
                    table.remove(list, i).p:exit()
                    if waiting then
                        list[#list + 1] = waiting
                        waiting = nil
                    end
                end
            end
        end
        lu.assertTrue(m:check())
        return m:stats("kernel.faults")
    end
    local thrashing, cured = run(false), run(true)
    lu.assertEquals(cured, 3 * 45)
    lu.assertTrue(thrashing > 50 * cured, ("%d against %d"):format(thrashing, cured))
end

-- The same by load control: three loops that fit by twos take turns.
function TestReclaim:testLoadControlEndsThrashing()
    local function run(lifetime, policy, scope)
        local m <close> = small({ policy = policy, reclaim = { lifetime = lifetime, window = 180, scope = scope } })
        local jobs, left, told = {}, 3, {}
        for i = 1, 3 do
            local p, step = looper(m, "p" .. i, 45)
            jobs[p:pid()] = { step = step, left = 200 }
        end
        m:on({ "suspend", "resume" }, function(e) told[#told + 1] = e end)
        while left > 0 do
            local list = m:runnable()
            lu.assertTrue(#list > 0)
            for _, p in ipairs(list) do
                local job = jobs[p:pid()]
                job.step(90)
                job.left = job.left - 1
                if job.left == 0 then
                    left = left - 1
                    p:exit()
                end
            end
            lu.assertEquals({ m:check() }, { true })
        end
        local n = m:stats().kernel
        lu.assertEquals(n.suspensions, n.resumptions)
        lu.assertEquals(#told, 2 * n.suspensions)
        lu.assertTrue(#told == 0 or told[1].type == "suspend")
        return n.faults, n.suspensions
    end
    for _, policy in ipairs({ "lru", "fifo" }) do
        for _, scope in ipairs({ "global", "local" }) do
            local thrashing, none = run(0, policy, scope)
            lu.assertEquals(none, 0)
            local cured, times = run(10, policy, scope)
            lu.assertTrue(times > 0 and times < 30)
            lu.assertTrue(thrashing > 10 * cured, ("%s, %s: %d against %d"):format(policy, scope, thrashing, cured))
        end
    end
end

-- Who is suspended and accessed is back at once, with all bytes.
function TestReclaim:testWhoIsSuspendedIsTakenBack()
    local m <close> = small({ reclaim = { lifetime = 10, window = 100 }, resident = 60, disk = { cluster = 64 } })
    local list, at = {}, {}
    for i = 1, 2 do
        list[i] = m:spawn()
        at[i] = assert(list[i]:mmap({ length = 50 * PAGE }))
    end
    local gone
    m:on("suspend", function(e) gone = e end)
    local turn = 0
    while not gone do
        turn = turn + 1
        for i, p in ipairs(list) do
            for j = 0, 49 do
                if not gone then p:store(at[i] + j * PAGE, 1000 * i + j) end
            end
        end
        lu.assertTrue(turn < 10)
    end
    local p = list[gone.pid]
    lu.assertEquals({ p:stats().resident, #m:runnable(), p:status() }, { 0, 1, "running" })
    m:reset_stats()
    for j = 0, 49 do lu.assertEquals(p:load(at[gone.pid] + j * PAGE) % 1000, j) end
    lu.assertEquals({ m:stats("kernel.resumptions"), #m:runnable() }, { 1, 2 })
    lu.assertTrue(m:stats("kernel.readaheads") > 10) -- as many frames as were free, in few requests
    lu.assertTrue(m:stats("disk.joined") > 10)
    for i, q in ipairs(list) do
        for j = 0, 49 do lu.assertEquals(q:load(at[i] + j * PAGE) % 1000, j) end
    end
    lu.assertEquals({ m:check() }, { true })
end

function TestReclaim:testSwapOutWritesAProcessOut()
    local m <close> = small()
    local p, q = m:spawn(), m:spawn()
    local x = assert(p:mmap({ length = 30 * PAGE }))
    for i = 0, 29 do p:store(x + i * PAGE, i + 1) end
    assert(p:mlock(x, PAGE))
    local y = assert(q:mmap({ length = PAGE }))
    q:store(y, 77)
    lu.assertEquals(p:swap_out(), 29)
    lu.assertEquals({ p:stats().resident, p:stats().swapped, q:stats().resident }, { 1, 29, 1 })
    for i = 0, 29 do lu.assertEquals(p:load(x + i * PAGE), i + 1) end
    lu.assertEquals(m:stats("kernel.swap_ins"), 29)
    lu.assertTrue(m:check())
end

-- A page that two share, when the one whose policy ruled over it lets go.
function TestReclaim:testSharedPagesFindAnotherPolicy()
    local m <close> = small({ reclaim = { scope = "local" }, resident = 20 })
    local p = m:spawn()
    local x = assert(p:mmap({ length = 10 * PAGE }))
    for i = 0, 9 do p:store(x + i * PAGE, i) end
    local c = assert(p:fork())
    p:exit()
    lu.assertTrue(m:check())
    local y = assert(c:mmap({ length = 40 * PAGE }))
    for i = 0, 39 do c:store(y + i * PAGE, i) end
    for i = 0, 9 do lu.assertEquals(c:load(x + i * PAGE), i) end
    lu.assertTrue(m:check())
end
