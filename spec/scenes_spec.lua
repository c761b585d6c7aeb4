-- The scenes that every book on virtual memory tells, with the counts that they must
-- have: mapped files, copy on write, fork, stacks, signals, swap, execve. Each begins
-- on a small machine of its own, and ends with every frame, slot and block free.
local lu = require("luaunit")
local scene = require("scene")

local PAGE = 4096

-- What f changed of the kernel's and the disk's counters, of those that `want` names.
local function counted(m, want, f)
    local function now()
        local k, d, t = m:stats().kernel, m:stats().disk, {}
        for name in pairs(want) do t[name] = d[name] or k[name] end
        return t
    end
    local before = now()
    f()
    local after = now()
    for name in pairs(want) do after[name] = after[name] - before[name] end
    lu.assertEquals(after, want)
end

local function pages(n, seed)
    local t = {}
    for i = 1, n do t[i] = (string.char(64 + (i * (seed or 1)) % 26)):rep(PAGE) end
    return table.concat(t)
end

-- The file, out of memory: what is on the disk alone.
local function from_disk(m, name)
    local f = assert(m:file(name))
    local p = m:spawn()
    local most = m:meminfo().frames
    local a = assert(p:mmap({ length = 2 * most * PAGE }))
    while f.cached > 0 do
        for i = 0, 2 * most - 1 do p:load(a + i * PAGE) end
    end
    p:exit()
    return f:read()
end

TestScenesFiles = {}

-- Homework 9.14: hello becomes Jello through MAP_SHARED, and not through MAP_PRIVATE.
function TestScenesFiles:testHelloJello()
    for _, case in ipairs({ { "shared", "Jello, world!\n", 0 }, { "private", "Hello, world!\n", 1 } }) do
        scene.run({}, function(m)
            local flags, expected, copies = table.unpack(case)
            local f = assert(m:file("hello.txt", "Hello, world!\n"))
            local p = m:spawn()
            local a = assert(p:mmap({ length = f.size, flags = flags, file = f }))
            counted(m, { cow_copies = copies, zero_fills = 0 }, function() p:write(a, "J") end)
            lu.assertEquals(p:read(a, 14), "Jello, world!\n")
            lu.assertEquals(f:read(), expected)
            lu.assertTrue(p:munmap(a, PAGE))
            lu.assertEquals(f:read(), expected)
            lu.assertEquals(from_disk(m, "hello.txt"), expected)
        end)
    end
end

-- Practice problem 9.5: a file read through a private mapping.
function TestScenesFiles:testMmapcopy()
    scene.run({}, function(m)
        local content = pages(10) .. "the end"
        local f = assert(m:file("input", content))
        lu.assertTrue(m:sync())
        from_disk(m, "input")
        local p = m:spawn()
        local a = assert(p:mmap({ length = f.size, prot = "r", flags = "private", file = f }))
        counted(m, { faults = 11, major_faults = 11, file_ins = 11, cow_copies = 0, zero_fills = 0, reads = 11,
            writes = 0 }, function() lu.assertEquals(p:read(a, f.size), content) end)
    end)
end

-- The rest of a file's last page is zeros, and what is written there is not the file's.
function TestScenesFiles:testTheTailIsZeros()
    scene.run({}, function(m)
        local f = assert(m:file("tail", "abc"))
        local p = m:spawn()
        local a = assert(p:mmap({ length = PAGE, flags = "shared", file = f }))
        lu.assertEquals(p:read(a, 8), "abc\0\0\0\0\0")
        p:write(a + 3, "def")
        lu.assertEquals({ f.size, f:read() }, { 3, "abc" })
        lu.assertTrue(f:truncate(8))
        lu.assertEquals(f:read(), "abc\0\0\0\0\0")
    end)
end

-- What was written behind the end by who maps the last page goes, though the size stays.
function TestScenesFiles:testTruncateToTheSameSize()
    scene.run({}, function(m)
        local f = assert(m:file("tail", "abc"))
        local p = m:spawn()
        local a = assert(p:mmap({ length = PAGE, prot = "rw", flags = "shared", file = f }))
        p:write(a + 2, "xyz")
        lu.assertTrue(f:truncate(3))
        lu.assertEquals(p:read(a, 6), "abx\0\0\0")
    end)
end

function TestScenesFiles:testBeyondTheEndIsSigbus()
    scene.run({}, function(m)
        local f = assert(m:file("short", pages(3)))
        local p, q = m:spawn(), m:spawn()
        local a = assert(p:mmap({ length = 5 * PAGE, prot = "r", flags = "shared", file = f }))
        p:load(a + 3 * PAGE - 8)
        local e = scene.fault(p.load, p, a + 3 * PAGE)
        lu.assertEquals({ e.signal, e.code, e.addr }, { "SIGBUS", "ADRERR", a + 3 * PAGE })
        lu.assertFalse(p:alive())
        -- What was there goes from all who map it, private copies too.
        local r = m:spawn()
        local b = assert(q:mmap({ length = 3 * PAGE, flags = "shared", file = f }))
        local c = assert(r:mmap({ length = 3 * PAGE, flags = "private", file = f }))
        for i = 0, 2 do
            q:load(b + i * PAGE)
            r:store(c + i * PAGE, i)
        end
        lu.assertTrue(f:truncate(PAGE + 10))
        lu.assertEquals(q:read(b + PAGE, 12), ("B"):rep(10) .. "\0\0")
        lu.assertEquals(r:load(c + PAGE), 1)
        lu.assertEquals(scene.fault(q.load, q, b + 2 * PAGE).signal, "SIGBUS")
        lu.assertEquals(scene.fault(r.load, r, c + 2 * PAGE).signal, "SIGBUS")
    end)
end

function TestScenesFiles:testUnlinkWhileMapped()
    scene.run({}, function(m)
        local f = assert(m:file("gone", "still here"))
        local p = m:spawn()
        local a = assert(p:mmap({ length = PAGE, flags = "shared", file = f }))
        f:unlink()
        f:close()
        local _, why, code = m:file("gone")
        lu.assertEquals(code, "ENOENT", why)
        lu.assertEquals(p:read(a, 10), "still here")
        p:write(a, "STILL")
        local n = assert(m:file("gone", "another"))
        lu.assertEquals(n:read(), "another")
        lu.assertEquals(p:read(a, 10), "STILL here")
        local cached = m:meminfo().cached
        lu.assertTrue(p:munmap(a, PAGE)) -- and with its last user the page
        lu.assertEquals(m:meminfo().cached, cached - 1)
    end)
end

-- The second who maps a page finds it in memory.
function TestScenesFiles:testThePageCacheIsShared()
    scene.run({}, function(m)
        local content = pages(8)
        local f = assert(m:file("both", content))
        lu.assertTrue(m:sync())
        from_disk(m, "both")
        local p, q = m:spawn(), m:spawn()
        local a = assert(p:mmap({ length = f.size, prot = "r", flags = "shared", file = f }))
        local b = assert(q:mmap({ length = f.size, prot = "r", flags = "private", file = f }))
        counted(m, { reads = 8, major_faults = 8, minor_faults = 0, file_maps = 0 },
            function() lu.assertEquals(p:read(a, f.size), content) end)
        counted(m, { reads = 0, major_faults = 0, minor_faults = 8, file_maps = 8 },
            function() lu.assertEquals(q:read(b, f.size), content) end)
        lu.assertEquals(f.cached, 8)
    end)
end

function TestScenesFiles:testMsyncAndEvictionWriteBackButNeverPrivatePages()
    scene.run({ resident = 8, policy = "lru" }, function(m)
        local f = assert(m:file("data", pages(4)))
        lu.assertTrue(m:sync())
        local p = m:spawn()
        local a = assert(p:mmap({ length = 4 * PAGE, flags = "shared", file = f }))
        local b = assert(p:mmap({ length = 4 * PAGE, flags = "private", file = f }))
        for i = 0, 3 do
            p:write(a + i * PAGE, "shared")
            p:write(b + i * PAGE, "private")
        end
        lu.assertEquals(f.dirty, 4)
        counted(m, { writes = 2, file_outs = 2, evictions = 0 }, function()
            lu.assertTrue(p:msync(a, 2 * PAGE))
            lu.assertTrue(p:msync(b, 4 * PAGE))
            lu.assertTrue(p:msync(a, 2 * PAGE)) -- clean by now
        end)
        -- The other two are written back as they are evicted; private ones go to swap.
        local x = assert(p:mmap({ length = 8 * PAGE }))
        counted(m, { file_outs = 2, swap_outs = 4, clean_drops = 2, evictions = 8 }, function()
            for i = 0, 7 do p:store(x + i * PAGE, 1) end
        end)
        lu.assertEquals(f.cached, 0)
        for i = 0, 3 do
            lu.assertEquals(p:read(b + i * PAGE, 8), "private" .. string.char(65 + i))
            lu.assertEquals(f:read(i * PAGE, 8), "shared" .. string.char(65 + i):rep(2))
        end
    end)
end

function TestScenesFiles:testCleanPagesOfFilesAreDroppedNotSwapped()
    scene.run({ resident = 4, swap = 0 }, function(m)
        local content = pages(12)
        local f = assert(m:file("big", content))
        lu.assertTrue(m:sync())
        local p = m:spawn()
        local a = assert(p:mmap({ length = f.size, prot = "r", flags = "private", file = f }))
        for _ = 1, 3 do lu.assertEquals(p:read(a, f.size), content) end
        lu.assertEquals(m:stats("kernel.swap_outs"), 0)
        lu.assertEquals(m:stats("disk.writes"), 0)
        lu.assertEquals(m:stats("kernel.clean_drops"), m:stats("kernel.evictions"))
        lu.assertTrue(m:stats("kernel.evictions") >= 24)
    end)
end

function TestScenesFiles:testReadAhead()
    for _, case in ipairs({ { "normal", 4, 12 }, { "random", 16, 0 }, { "sequential", 3, 13 } }) do
        local advice, major, ahead = table.unpack(case)
        scene.run({ disk = { readahead = 3 } }, function(m)
            local content = pages(16)
            local f = assert(m:file("stream", content))
            lu.assertTrue(m:sync())
            from_disk(m, "stream")
            local p = m:spawn()
            local a = assert(p:mmap({ length = f.size, prot = "r", flags = "shared", file = f }))
            lu.assertTrue(p:madvise(a, f.size, advice))
            counted(m, { major_faults = major, minor_faults = 16 - major, readaheads = ahead, reads = 16 },
                function() lu.assertEquals(p:read(a, f.size), content) end)
        end)
    end
end

TestScenesSharing = {}

-- Figure 9.29: a shared object has one physical copy, wherever it is mapped.
function TestScenesSharing:testFigure929()
    scene.run({}, function(m)
        local f = assert(m:file("object", pages(3)))
        local list, free = {}, nil
        for i = 1, 3 do
            local p = m:spawn()
            list[i] = { p = p, a = assert(p:mmap({ length = f.size, flags = "shared|fixed", file = f,
                addr = i << 24 })) }
            for k = 0, 2 do p:load(list[i].a + k * PAGE) end
            free = free or m:meminfo().cached
        end
        lu.assertEquals(m:meminfo().cached, free)
        for k = 0, 2 do
            local page = list[1].p:page(list[1].a + k * PAGE)
            lu.assertEquals(page.mapped, 3)
            for i = 2, 3 do
                lu.assertEquals(list[i].p:page(list[i].a + k * PAGE).frame, page.frame)
            end
        end
        list[2].p:write(list[2].a, "seen by all")
        lu.assertEquals(list[3].p:read(list[3].a, 11), "seen by all")
        lu.assertEquals(f:read(0, 11), "seen by all")
    end)
end

-- Figure 9.30: a private object is shared until one writes: then it has a copy of that
-- page, and of no other.
function TestScenesSharing:testFigure930()
    scene.run({}, function(m)
        local f = assert(m:file("object", pages(3)))
        local p, q = m:spawn(), m:spawn()
        local a = assert(p:mmap({ length = f.size, flags = "private", file = f, addr = 1 << 24 }))
        local b = assert(q:mmap({ length = f.size, flags = "private", file = f, addr = 2 << 24 }))
        for k = 0, 2 do
            p:load(a + k * PAGE)
            q:load(b + k * PAGE)
            lu.assertEquals(p:page(a + k * PAGE).frame, q:page(b + k * PAGE).frame)
        end
        lu.assertEquals(p:page(a).prot, "r--")
        counted(m, { cow_copies = 1, cow_reuses = 0 }, function() q:write(b + PAGE, "mine") end)
        lu.assertEquals(p:page(a).frame, q:page(b).frame)
        lu.assertNotEquals(p:page(a + PAGE).frame, q:page(b + PAGE).frame)
        lu.assertEquals({ p:read(a + PAGE, 4), q:read(b + PAGE, 4), f:read(PAGE, 4) }, { "BBBB", "mine", "BBBB" })
    end)
end

-- The first of the two that writes copies; the other is the last owner and does not.
function TestScenesSharing:testForkThenWriteByEachSide()
    for _, order in ipairs({ { 1, 2 }, { 2, 1 } }) do
        scene.run({}, function(m)
            local p = m:spawn()
            local a = assert(p:mmap({ length = 4 * PAGE }))
            for i = 0, 3 do p:store(a + i * PAGE, i) end
            local side = { p }
            counted(m, { forks = 1, fork_pages = 4, cow_copies = 0, zero_fills = 0 },
                function() side[2] = assert(p:fork()) end)
            local frame = p:page(a).frame
            lu.assertEquals(side[2]:page(a).frame, frame)
            lu.assertEquals({ p:page(a).prot, side[2]:page(a).prot, p:page(a).mapped }, { "r--", "r--", 2 })
            local first, last = side[order[1]], side[order[2]]
            counted(m, { cow_copies = 4, cow_reuses = 0 }, function()
                for i = 0, 3 do first:store(a + i * PAGE, 100 + i) end
            end)
            counted(m, { cow_copies = 0, cow_reuses = 4, faults = 4 }, function()
                for i = 0, 3 do last:store(a + i * PAGE, 200 + i) end
            end)
            lu.assertEquals(last:page(a).frame, frame)
            for i = 0, 3 do
                lu.assertEquals({ first:load(a + i * PAGE), last:load(a + i * PAGE) }, { 100 + i, 200 + i })
            end
        end)
    end
end

-- After the child has ended its parent is the last owner of all.
function TestScenesSharing:testTheChildEndsAndNothingIsCopied()
    scene.run({}, function(m)
        local p = m:spawn()
        local a = assert(p:mmap({ length = 8 * PAGE }))
        for i = 0, 7 do p:store(a + i * PAGE, i) end
        local c = assert(p:fork())
        c:exit(0)
        counted(m, { cow_copies = 0, cow_reuses = 8 }, function()
            for i = 0, 7 do p:store(a + i * PAGE, 10 + i) end
        end)
    end)
end

-- A page in swap is shared by its slot, and read once for both.
function TestScenesSharing:testForkOfPagesInSwap()
    scene.run({}, function(m)
        local p = m:spawn()
        local a = assert(p:mmap({ length = 6 * PAGE }))
        for i = 0, 5 do p:store(a + i * PAGE, 50 + i) end
        lu.assertEquals(p:swap_out(), 6)
        local used = m:meminfo().swap_used
        local c = assert(p:fork())
        lu.assertEquals(m:meminfo().swap_used, used)
        lu.assertEquals(c:page(a).slot, p:page(a).slot)
        counted(m, { swap_ins = 6, swap_maps = 6, major_faults = 6, reads = 6 }, function()
            for i = 0, 5 do
                lu.assertEquals(c:load(a + i * PAGE), 50 + i)
                lu.assertEquals(p:load(a + i * PAGE), 50 + i)
            end
        end)
        lu.assertEquals(c:page(a).frame, p:page(a).frame)
        c:store(a, 1)
        lu.assertEquals({ c:load(a), p:load(a) }, { 1, 50 })
    end)
end

-- Memory that is shared stays so over fork, and in swap.
function TestScenesSharing:testForkOfASharedMapping()
    scene.run({ resident = 4 }, function(m)
        local p = m:spawn()
        local a = assert(p:mmap({ length = 8 * PAGE, flags = "shared|anonymous" }))
        local c = assert(p:fork())
        for i = 0, 7 do c:store(a + i * PAGE, 70 + i) end
        for i = 0, 7 do lu.assertEquals(p:load(a + i * PAGE), 70 + i) end
        p:store(a, 1)
        c:store(a + PAGE, 2)
        lu.assertEquals({ c:load(a), p:load(a + PAGE) }, { 1, 2 })
        lu.assertEquals(p:page(a).frame, c:page(a).frame)
        lu.assertEquals(m:stats("kernel.cow_copies"), 0)
        lu.assertTrue(m:stats("kernel.swap_outs") > 0)
    end)
end

function TestScenesSharing:testForkOfLargePages()
    scene.run({ dram = "16MiB" }, function(m)
        local p = m:spawn()
        local a = assert(p:mmap({ length = "4MiB", flags = "private|anonymous|hugetlb" }))
        p:store(a, 1)
        p:store(a + (2 << 20), 2)
        local c = assert(p:fork())
        lu.assertEquals(c:page(a).frame, p:page(a).frame)
        counted(m, { cow_copies = 1, cow_reuses = 1, zero_fills = 0 }, function()
            c:store(a + 8, 3)
            p:store(a + 8, 4)
        end)
        lu.assertEquals({ c:load(a), c:load(a + 8), p:load(a + 8) }, { 1, 3, 4 })
        lu.assertEquals(c:page(a + (2 << 20)).frame, p:page(a + (2 << 20)).frame)
        lu.assertEquals(c:page(a).size, 2 << 20)
    end)
end

function TestScenesSharing:testVforkAndClone()
    scene.run({}, function(m)
        assert(m:program("true", { text = "\xc3" }))
        local p = m:spawn()
        local a = assert(p:mmap({ length = PAGE }))
        p:store(a, 1)
        local c = assert(p:vfork())
        lu.assertEquals(p:status(), "blocked")
        lu.assertError(p.load, p, a)
        c:store(a, 2) -- in the parent's own memory
        lu.assertTrue(c:execve("true"))
        lu.assertEquals({ p:status(), p:load(a) }, { "running", 2 })
        lu.assertEquals(c:page(a).state, "unallocated")
        c = assert(p:vfork())
        c:exit(3)
        lu.assertEquals({ p:wait(c:pid()) }, { c:pid(), 3 })
        lu.assertEquals(p:load(a), 2)
        -- A thread sees all, and all see what it maps.
        local t = assert(p:clone("thread"))
        t:store(a, 5)
        lu.assertEquals(p:load(a), 5)
        local b = assert(t:mmap({ length = PAGE }))
        p:store(b, 6)
        p:exit(0)
        lu.assertEquals({ t:load(a), t:load(b) }, { 5, 6 })
        lu.assertEquals(m:stats("kernel.cow_copies"), 0)
    end)
end

TestScenesMemory = {}

function TestScenesMemory:testAStackGrowsAndOverflowsIntoTheGuardGap()
    scene.run({ stack = "64KiB", dram = "2MiB" }, function(m)
        local p = m:spawn()
        local a = assert(p:mmap({ length = PAGE, addr = 1 << 30, flags = "private|anonymous|fixed|growsdown" }))
        for i = 1, 15 do p:store(a - i * PAGE, i) end
        lu.assertEquals(p:stats().stack_grows, 15)
        lu.assertEquals({ p:areas()[1].start, #p:areas() }, { a - 15 * PAGE, 1 })
        lu.assertEquals(scene.fault(p.store, p, a - 16 * PAGE, 1).code, "MAPERR") -- its limit
        -- A neighbour below: the gap between the two stays free.
        local q = m:spawn()
        a = assert(q:mmap({ length = PAGE, addr = 1 << 30, flags = "private|anonymous|fixed|growsdown" }))
        assert(q:mmap({ length = PAGE, addr = a - 260 * PAGE, flags = "private|anonymous|fixed" }))
        for i = 1, 3 do q:store(a - i * PAGE, i) end
        local e = scene.fault(q.store, q, a - 4 * PAGE, 1)
        lu.assertEquals({ e.signal, e.code }, { "SIGSEGV", "MAPERR" })
    end)
end

function TestScenesMemory:testAWriteToTextIsForbidden()
    scene.run({}, function(m)
        assert(m:program("a.out", { text = "\x90\x90\xc3", data = "numbers" }))
        local p = m:spawn()
        lu.assertTrue(p:execve("a.out"))
        local pc = p:registers()
        lu.assertEquals(p:fetch(pc, 3), "\x90\x90\xc3")
        local e = scene.fault(p.store, p, pc, 0, 1)
        lu.assertEquals({ e.signal, e.code, e.addr }, { "SIGSEGV", "ACCERR", pc })
    end)
end

function TestScenesMemory:testDemandZeroNeedsNoDisk()
    scene.run({}, function(m)
        local p = m:spawn()
        local a = assert(p:mmap({ length = 100 * PAGE }))
        lu.assertEquals(p:stats().resident, 0)
        counted(m, { reads = 0, writes = 0, minor_faults = 100, major_faults = 0, zero_fills = 100 }, function()
            for i = 0, 99 do lu.assertEquals(p:load(a + i * PAGE), 0) end
        end)
    end)
end

function TestScenesMemory:testOneFrameOfZerosForAllReads()
    scene.run({ zero_frame = true }, function(m)
        local p = m:spawn()
        local a = assert(p:mmap({ length = 50 * PAGE }))
        p:load(a) -- the tables
        local free = m:meminfo().free
        counted(m, { zero_maps = 49, zero_fills = 0, faults = 49 }, function()
            for i = 1, 49 do lu.assertEquals(p:load(a + i * PAGE), 0) end
        end)
        lu.assertEquals(m:meminfo().free, free)
        lu.assertEquals(p:page(a).frame, p:page(a + 49 * PAGE).frame)
        counted(m, { zero_fills = 1, cow_copies = 0 }, function() p:store(a, 9) end)
        lu.assertEquals({ p:load(a), p:load(a + PAGE) }, { 9, 0 })
    end)
end

-- The biggest goes, whoever asks; nobody else loses a byte.
function TestScenesMemory:testSwapExhaustionKillsTheBiggest()
    for _, shortcuts in ipairs({ true, false }) do
        scene.run({ dram = "256KiB", swap = "128KiB", shortcuts = shortcuts }, function(m)
            local big, asks, other = m:spawn(), m:spawn(), m:spawn()
            local a = assert(big:mmap({ length = 50 * PAGE }))
            local b, c = assert(asks:mmap({ length = 60 * PAGE })), assert(other:mmap({ length = 10 * PAGE }))
            for i = 0, 9 do other:store(c + i * PAGE, 300 + i) end
            for i = 0, 49 do big:store(a + i * PAGE, 100 + i) end
            local n = 0
            while big:alive() do
                asks:store(b + n * PAGE, 200 + n)
                n = n + 1
            end
            lu.assertEquals({ select(2, big:status()) }, { -1, "SIGKILL" })
            lu.assertEquals(m:stats("kernel.oom_kills"), 1)
            lu.assertEquals(m:check(), true)
            for i = 0, n - 1 do lu.assertEquals(asks:load(b + i * PAGE), 200 + i) end
            for i = 0, 9 do lu.assertEquals(other:load(c + i * PAGE), 300 + i) end
        end)
    end
end

-- Strict accounting refuses what swap could not hold, and so nobody is ever killed.
function TestScenesMemory:testStrictOvercommitIsBoundedBySwap()
    scene.run({ overcommit = "strict", overcommit_ratio = 0, swap = "64KiB", dram = "512KiB" }, function(m)
        local p = m:spawn()
        local a = assert(p:mmap({ length = 10 * PAGE }))
        local _, why, code = p:mmap({ length = 7 * PAGE })
        lu.assertEquals(code, "ENOMEM", why)
        lu.assertStrContains(why, "limit of 16")
        local _, _, forks = p:fork()
        lu.assertEquals(forks, "ENOMEM")
        assert(p:mmap({ length = 100 * PAGE, prot = "r" })) -- what can't be written needs no place
        local b = assert(p:mmap({ length = 6 * PAGE }))
        for i = 0, 9 do p:store(a + i * PAGE, i) end
        lu.assertEquals({ p:mmap({ length = PAGE }) }, { nil, select(2, p:mmap({ length = PAGE })), "ENOMEM" })
        lu.assertTrue(p:munmap(b, PAGE))
        assert(p:mmap({ length = PAGE }))
        lu.assertEquals(m:meminfo().committed, 16)
    end)
end

-- More frames, more faults (Belady, Nelson, Shedler 1969), in a whole machine.
function TestScenesMemory:testBeladysAnomaly()
    local got = {}
    for _, policy in ipairs({ "fifo", "lru" }) do
        for frames = 3, 4 do
            scene.run({ policy = policy, resident = frames }, function(m)
                local p = m:spawn()
                local a = assert(p:mmap({ length = 6 * PAGE }))
                for _, page in ipairs({ 1, 2, 3, 4, 1, 2, 5, 1, 2, 3, 4, 5 }) do p:load(a + page * PAGE) end
                got[#got + 1] = m:stats("kernel.faults")
            end)
        end
    end
    lu.assertEquals(got, { 9, 10, 10, 8 })
end

function TestScenesMemory:testLockedPagesStay()
    scene.run({ resident = 10 }, function(m)
        local p = m:spawn()
        local a = assert(p:mmap({ length = 4 * PAGE }))
        lu.assertTrue(p:mlock(a, 4 * PAGE))
        lu.assertEquals({ p:pages(a, a + 4 * PAGE), m:meminfo().locked }, { "cccc", 4 })
        local b = assert(p:mmap({ length = 30 * PAGE }))
        for i = 0, 29 do p:store(b + i * PAGE, i) end
        lu.assertEquals(p:pages(a, a + 4 * PAGE), "cccc")
        counted(m, { faults = 0 }, function() for i = 0, 3 do p:store(a + i * PAGE, i) end end)
        lu.assertTrue(p:munlock(a, 4 * PAGE))
        for i = 0, 29 do p:store(b + i * PAGE, i) end
        lu.assertEquals(p:pages(a, a + 4 * PAGE), "uuuu")
        -- A child's pages are not locked.
        lu.assertTrue(p:mlock(a, PAGE))
        local c = assert(p:fork())
        p:exit()
        local x = assert(c:mmap({ length = 20 * PAGE }))
        for i = 0, 19 do c:store(x + i * PAGE, i) end
        lu.assertEquals(c:page(a).state, "uncached")
        local _, why, code = c:mlock(x - PAGE, PAGE)
        lu.assertEquals(code, "ENOMEM", why)
    end)
end

function TestScenesMemory:testMincore()
    scene.run({}, function(m)
        local f = assert(m:file("f", pages(4)))
        lu.assertTrue(m:sync())
        from_disk(m, "f")
        local p, q = m:spawn(), m:spawn()
        local a = assert(p:mmap({ length = 4 * PAGE, prot = "r", flags = "shared", file = f }))
        local b = assert(q:mmap({ length = 4 * PAGE, prot = "r", flags = "shared", file = f }))
        p:load(a + PAGE)
        lu.assertEquals(p:mincore(a, 4 * PAGE), "\0\1\0\0")
        lu.assertEquals(q:mincore(b, 4 * PAGE), "\0\1\0\0") -- in memory, whoever brought it
        local _, why, code = p:mincore(a, 5 * PAGE)
        lu.assertEquals(code, "ENOMEM", why)
    end)
end

TestScenesSignals = {}

-- Paging by the user: a store of pages of its own, four of which are in memory.
function TestScenesSignals:testUserLevelPaging()
    scene.run({}, function(m)
        local p = m:spawn()
        local a = assert(p:mmap({ length = 16 * PAGE, prot = "none" }))
        local store, queue = {}, {}
        p:sigaction("SIGSEGV", function(e)
            local page = e.addr & -PAGE
            if #queue == 4 then -- first in, first out
                local old = table.remove(queue, 1)
                store[old] = p:read(old, PAGE)
                p:madvise(old, PAGE, "dontneed")
                p:mprotect(old, PAGE, "none")
            end
            queue[#queue + 1] = page
            p:mprotect(page, PAGE, "rw")
            if store[page] then p:write(page, store[page]) end
            return true
        end)
        for i = 0, 15 do p:store(a + i * PAGE, 40 + i) end
        for i = 0, 15 do lu.assertEquals(p:load(a + i * PAGE), 40 + i) end
        lu.assertEquals(p:stats().resident, 4)
        lu.assertTrue(p:alive())
    end)
end

-- A collector's write barrier: each page's first write is noted, and no other.
function TestScenesSignals:testAWriteBarrier()
    scene.run({}, function(m)
        local p = m:spawn()
        local a = assert(p:mmap({ length = 8 * PAGE }))
        for i = 0, 7 do p:store(a + i * PAGE, i) end
        local written = {}
        assert(p:mprotect(a, 8 * PAGE, "r"))
        p:sigaction("SIGSEGV", function(e)
            written[#written + 1] = (e.addr - a) // PAGE
            return p:mprotect(e.addr & -PAGE, PAGE, "rw")
        end)
        for _, i in ipairs({ 5, 2, 5, 2, 7 }) do p:store(a + i * PAGE + 16, 1) end
        for i = 0, 7 do p:load(a + i * PAGE) end
        lu.assertEquals(written, { 5, 2, 7 })
    end)
end

-- A guard page behind an array: the handler says no, and the process dies of it.
function TestScenesSignals:testAGuardPage()
    scene.run({}, function(m)
        local p = m:spawn()
        local a = assert(p:mmap({ length = 3 * PAGE }))
        assert(p:mprotect(a + 2 * PAGE, PAGE, "none"))
        local hit
        p:sigaction("SIGSEGV", function(e) hit = e end)
        for i = 0, 2 * PAGE - 8, 8 do p:store(a + i, i) end
        local e = scene.fault(p.store, p, a + 2 * PAGE, 1)
        lu.assertEquals({ hit.addr, hit.code, hit.access }, { a + 2 * PAGE, "ACCERR", "store" })
        lu.assertEquals({ e.addr, p:alive() }, { a + 2 * PAGE, false })
        lu.assertEquals({ select(3, p:status()) }, { "SIGSEGV" })
    end)
end

-- An error of the handler is the access's, and the process lives; so it does when the
-- handler is taken away or mends nothing forever.
function TestScenesSignals:testHandlersThatFail()
    scene.run({}, function(m)
        local f = assert(m:file("f", "x"))
        local p = m:spawn()
        local a = assert(p:mmap({ length = 2 * PAGE, flags = "shared", file = f }))
        p:sigaction("SIGBUS", function() error("no idea") end)
        lu.assertErrorMsgContains("no idea", p.load, p, a + PAGE)
        lu.assertTrue(p:alive())
        p:sigaction("SIGBUS", function() return f:truncate(2 * PAGE) end)
        lu.assertEquals(p:load(a + PAGE), 0)
        f:truncate(1)
        p:sigaction("SIGBUS", nil)
        lu.assertEquals(scene.fault(p.load, p, a + PAGE).signal, "SIGBUS")
    end)
end
