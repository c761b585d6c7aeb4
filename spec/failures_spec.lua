-- The simulated machine's own failures: a disk that can't read or write, swap that
-- runs out at every point. Whoever asked is told, nobody else loses a byte, and the
-- machine is whole.
local lu = require("luaunit")
local vmem = require("vmem")
local scene = require("scene")

local PAGE = 4096

local function small(t)
    local o = { preset = "core-i7", dram = "1MiB", swap = "1MiB", kernel = { low = 0 } }
    for k, v in pairs(t) do o[k] = v end
    return vmem.machine(o)
end

TestFailuresDisk = {}

-- EIO from whoever writes a file; the page stays dirty, and the next try succeeds.
function TestFailuresDisk:testMsyncTellsOfWritesThatFail()
    local m <close> = small({ disk = { bad_writes = 3 } })
    local f = assert(m:file("f", ("-"):rep(4 * PAGE)))
    local p = m:spawn()
    local a = assert(p:mmap({ length = 4 * PAGE, flags = "shared", file = f }))
    for i = 0, 3 do p:store(a + i * PAGE, i) end
    local _, why, code = p:msync(a, 4 * PAGE)
    lu.assertEquals(code, "EIO", why)
    lu.assertStrContains(why, "can't write")
    lu.assertEquals(f.dirty, 1) -- the others went
    lu.assertEquals({ m:stats("disk.write_errors"), m:stats("disk.writes") }, { 1, 3 })
    lu.assertTrue(p:msync(a, 4 * PAGE))
    lu.assertEquals(f.dirty, 0)
    for i = 0, 3 do p:store(a + i * PAGE, i) end
    lu.assertEquals({ select(3, f:sync()) }, { "EIO" })
    for i = 0, 3 do lu.assertEquals(p:load(a + i * PAGE), i) end
    lu.assertTrue(m:check())
end

-- A page that can't be read is SIGBUS for the one that asks for it.
function TestFailuresDisk:testReadsThatFailAreSigbus()
    for _, kind in ipairs({ "swap", "file" }) do
        local m <close> = small({ disk = { bad_reads = 4 }, resident = 6 })
        local content = ("abcdefgh"):rep(PAGE)
        local f = assert(m:file("f", content))
        lu.assertTrue(m:sync())
        local p, beside = m:spawn(), m:spawn()
        local b = assert(beside:mmap({ length = 2 * PAGE }))
        beside:store(b, 1)
        local a
        if kind == "file" then
            a = assert(p:mmap({ length = f.size, flags = "private", prot = "r", file = f }))
            local x = assert(beside:mmap({ length = 20 * PAGE }))
            for i = 0, 19 do beside:load(x + i * PAGE) end
        else
            a = assert(p:mmap({ length = 8 * PAGE }))
            for i = 0, 7 do p:store(a + i * PAGE, i) end
            p:swap_out()
        end
        local n = 0
        local e = scene.fault(function()
            for i = 0, 7 do
                p:load(a + i * PAGE)
                n = n + 1
            end
        end)
        lu.assertEquals({ e.signal, e.code, e.addr, e.pid }, { "SIGBUS", "OBJERR", a + n * PAGE, p:pid() })
        lu.assertFalse(p:alive())
        lu.assertEquals(m:stats("disk.read_errors"), 1)
        lu.assertEquals(beside:load(b), 1)
        lu.assertEquals(f:read(), content)
        lu.assertTrue(m:check())
        -- One who waits for the signal may try again.
        local q = m:spawn()
        a = assert(q:mmap({ length = f.size, flags = "private", prot = "r", file = f }))
        local errors = 0
        q:sigaction("SIGBUS", function()
            errors = errors + 1
            return true
        end)
        for _ = 1, 4 do lu.assertEquals(q:read(a, f.size), content) end
        lu.assertEquals(errors, m:stats("disk.read_errors") - 1)
        lu.assertTrue(errors > 0)
        lu.assertTrue(m:check())
    end
end

-- A victim that can't be written stays; another page goes.
function TestFailuresDisk:testEvictionChoosesAnotherPage()
    for _, policy in ipairs({ "fifo", "lru", "clock", "random" }) do
        for every = 2, 4 do
            local m <close> = small({ disk = { bad_writes = every }, resident = 8, policy = policy, seed = 7 })
            local f = assert(m:file("f", ("-"):rep(6 * PAGE)))
            local p, q = m:spawn(), m:spawn()
            local a, b = assert(p:mmap({ length = 20 * PAGE })), assert(q:mmap({ length = 20 * PAGE,
                flags = "shared|anonymous" }))
            local c = assert(q:mmap({ length = 6 * PAGE, flags = "shared", file = f }))
            for round = 1, 3 do
                for i = 0, 19 do
                    p:store(a + i * PAGE, round * i)
                    q:store(b + i * PAGE, 1000 + round * i)
                    q:store(c + i % 6 * PAGE, 500 + round)
                end
            end
            for i = 0, 19 do
                lu.assertEquals({ p:load(a + i * PAGE), q:load(b + i * PAGE), q:load(c + i % 6 * PAGE) },
                    { 3 * i, 1000 + 3 * i, 503 })
            end
            lu.assertTrue(m:stats("disk.write_errors") > 10)
            lu.assertEquals(m:stats("kernel.oom_kills"), 0)
            lu.assertTrue(m:check())
        end
    end
end

-- Three processes share, fork, write, are swapped out and sync; each value that they
-- keep is in a flat model. `errors` counts those that were told. Who has a handler for
-- SIGBUS tries again; `beside` has none, and may end.
local function story(m, errors)
    local f = assert(m:file("f", ("-"):rep(4 * PAGE)))
    local p, beside = m:spawn({ name = "p" }), m:spawn({ name = "beside" })
    local model = {} -- [process][address]
    local function again(q)
        q:sigaction("SIGBUS", function()
            errors[1] = errors[1] + 1
            return true
        end)
    end
    local function store(q, at, value)
        if q:alive() and pcall(q.store, q, at, value) then model[q][at] = value end
    end
    local function look(q)
        for at, value in pairs(model[q]) do
            local ok, got = pcall(q.load, q, at)
            if ok then
                lu.assertEquals(got, value)
            else -- nobody's fault but the disk's
                lu.assertEquals({ got.signal, got.code, q }, { "SIGBUS", "OBJERR", beside })
                errors[1] = errors[1] + 1
                return
            end
        end
    end
    model[p], model[beside] = {}, {}
    again(p)
    local a = assert(p:mmap({ length = 6 * PAGE }))
    local s = assert(p:mmap({ length = 3 * PAGE, flags = "shared|anonymous" }))
    local g = assert(p:mmap({ length = 4 * PAGE, flags = "shared", file = f }))
    local h = assert(p:mmap({ length = 4 * PAGE, flags = "private", file = f }))
    local b = assert(beside:mmap({ length = 6 * PAGE }))
    for i = 0, 5 do
        store(p, a + i * PAGE, 10 + i)
        store(beside, b + i * PAGE, 20 + i)
        if i < 3 then store(p, s + i * PAGE, 30 + i) end
        if i < 4 then store(p, g + i * PAGE, 40 + i) end
        if i % 2 == 0 and i < 4 then store(p, h + i * PAGE, 50 + i) end
    end
    local c = assert(p:fork())
    model[c] = {}
    for at, value in pairs(model[p]) do model[c][at] = value end
    again(c)
    for i = 0, 5 do store(i % 2 == 0 and c or p, a + i * PAGE, 60 + i) end
    p:swap_out()
    for i = 0, 3 do -- what both share
        store(i % 2 == 0 and c or p, g + i * PAGE, 70 + i)
        model[p][g + i * PAGE], model[c][g + i * PAGE] = 70 + i, 70 + i
    end
    for _ = 1, 5 do
        local ok, why, code = p:msync(g, 4 * PAGE)
        if ok then break end
        lu.assertEquals(code, "EIO", why)
        errors[1] = errors[1] + 1
    end
    for _, q in ipairs({ beside, c, p }) do if q:alive() then look(q) end end
    lu.assertEquals({ m:check() }, { true })
    c:exit(0)
    look(p)
    for i = 0, 3 do lu.assertEquals(("<i8"):unpack(f:read(i * PAGE, 8)), 70 + i) end
    lu.assertEquals({ m:check() }, { true })
end

function TestFailuresDisk:testEveryReadAndEveryWriteFailsInTurn()
    for _, kind in ipairs({ "read", "write" }) do
        local every, told, failed = 1, 0
        repeat -- each 2nd fails, each 3rd, ... until none does
            every = every + 1
            local m <close> = small({ disk = { ["bad_" .. kind .. "s"] = every }, resident = 7 })
            local errors = { 0 }
            story(m, errors)
            failed = m:stats("disk." .. kind .. "_errors")
            told = told + errors[1]
        until failed == 0
        lu.assertTrue(every > 25 and told > 0, ("%s: each of %d, %d told"):format(kind, every, told))
    end
end

-- A disk that writes nothing at all is no swap: the biggest goes, nobody else loses a byte.
function TestFailuresDisk:testADiskThatWritesNothing()
    local m <close> = small({ disk = { bad_writes = 1 }, dram = "256KiB" })
    local kept, hungry = m:spawn(), m:spawn()
    local a, b = assert(kept:mmap({ length = 10 * PAGE })), assert(hungry:mmap({ length = 100 * PAGE }))
    for i = 0, 9 do kept:store(a + i * PAGE, 70 + i) end
    local e = scene.fault(function()
        for i = 0, 99 do hungry:store(b + i * PAGE, i) end
    end)
    lu.assertEquals({ e.signal, e.code }, { "SIGKILL", "OOM" })
    for i = 0, 9 do lu.assertEquals(kept:load(a + i * PAGE), 70 + i) end
    lu.assertEquals({ m:stats("disk.writes"), m:meminfo().swap_used }, { 0, 0 })
    lu.assertTrue(m:check())
end

function TestFailuresDisk:testADiskThatIsFull()
    local m <close> = small({ disk = { size = "16KiB" } })
    local f = assert(m:file("f", "abc"))
    lu.assertEquals({ select(3, f:write(0, ("x"):rep(5 * PAGE))) }, { "ENOSPC" })
    lu.assertEquals(f:read(0, 3), "xxx") -- as much as there was room for
    assert(f:truncate(0))
    lu.assertTrue(f:truncate(8 * PAGE)) -- holes need no room
    local p = m:spawn()
    local a = assert(p:mmap({ length = 8 * PAGE, flags = "shared", file = f }))
    for i = 0, 3 do p:store(a + i * PAGE, i) end
    lu.assertEquals(p:load(a + 5 * PAGE), 0)
    local e = scene.fault(p.store, p, a + 5 * PAGE, 1)
    lu.assertEquals({ e.signal, e.code }, { "SIGBUS", "OBJERR" })
    lu.assertTrue(m:check())
end

TestFailuresSwap = {}

-- fork, and a storm of copies by both sides, with so many slots, then one more, until
-- all fits. A refused fork leaves the parent as it was; who is killed takes nothing
-- with him.
function TestFailuresSwap:testSwapThatRunsOutAtEveryPoint()
    local ends = { refused = 0, killed = 0, fits = 0 }
    for slots = 0, 60 do
        local m <close> = small({ dram = "144KiB", swap = slots * PAGE })
        local before = m:meminfo()
        local p, beside = m:spawn(), m:spawn()
        local a, b = assert(p:mmap({ length = 20 * PAGE })), assert(beside:mmap({ length = 4 * PAGE }))
        local s = assert(p:mmap({ length = 4 * PAGE, flags = "shared|anonymous" }))
        local function others()
            lu.assertEquals({ m:check() }, { true }, slots)
            for i = 0, 3 do lu.assertEquals(beside:load(b + i * PAGE), 900 + i) end
        end
        -- What a live process does: done, or it was killed for want of memory.
        local function try(q, f)
            if not q:alive() then return end
            local ok, e = pcall(f)
            lu.assertTrue(ok or type(e) == "table" and e.code == "OOM", tostring(e))
        end
        for i = 0, 3 do beside:store(b + i * PAGE, 900 + i) end
        try(p, function()
            for i = 0, 19 do p:store(a + i * PAGE, i) end
            for i = 0, 3 do p:store(s + i * PAGE, 50 + i) end
        end)
        others()
        local c, why, code
        if p:alive() then
            c, why, code = p:fork()
            others()
        end
        if c then
            for i = 0, 19 do
                for n, side in ipairs({ p, c }) do
                    try(side, function() side:store(a + i * PAGE, 100 * n + i) end)
                    others()
                end
            end
            for n, side in ipairs({ p, c }) do
                try(side, function()
                    for i = 0, 19 do lu.assertEquals(side:load(a + i * PAGE), 100 * n + i) end
                    for i = 0, 3 do lu.assertEquals(side:load(s + i * PAGE), 50 + i) end
                end)
            end
            local how = p:alive() and c:alive() and "fits" or "killed"
            ends[how] = ends[how] + 1
        elseif p:alive() then
            lu.assertEquals(code, "ENOMEM", why)
            ends.refused = ends.refused + 1
            try(p, function()
                for i = 0, 19 do lu.assertEquals(p:load(a + i * PAGE), i) end
            end)
        end
        others()
        for _, q in ipairs(m:processes()) do q:exit() end
        local after = m:meminfo()
        lu.assertEquals({ after.free, after.swap_used, after.committed }, { before.free, 0, 0 })
    end
    lu.assertTrue(ends.refused > 0 and ends.killed > 0 and ends.fits > 0,
        ("%d refused, %d killed, %d fit"):format(ends.refused, ends.killed, ends.fits))
end
