-- Dirty pages on their way to the disk: which go together, what a request costs.
local lu = require("luaunit")
local vmem = require("vmem")

local PAGE = 4096

local function machine(t)
    local o = { preset = "core-i7", dram = "8MiB", swap = "1MiB", policy = "fifo",
        disk = { latency = 1000000, transfer = 1000, cluster = 4 } }
    for k, v in pairs(t or {}) do
        if type(v) == "table" then
            for name, value in pairs(v) do o[k][name] = value end
        else
            o[k] = v
        end
    end
    return vmem.machine(o)
end

-- What the disk and the kernel counted: writes or reads, those joined to a request, and
-- the cycles that they must have taken.
local function did(m, kind)
    local n, joined = m:stats("disk." .. kind), m:stats("disk.joined")
    lu.assertEquals(m:stats("cycles.disk"), (n - joined) * 1000000 + joined * 1000)
    lu.assertEquals({ m:check() }, { true })
    return { n, joined }
end

TestWriteback = {}

-- Dirty pages of a file go in requests of so many at most; a clean page ends one.
function TestWriteback:testSync()
    local m <close> = machine()
    local f = assert(m:file("f", ("-"):rep(12 * PAGE)))
    local p = m:spawn()
    local a = assert(p:mmap({ length = 12 * PAGE, flags = "shared", file = f }))
    m:sync()
    for i = 0, 11 do p:load(a + i * PAGE) end
    for _, case in ipairs({ { 0, 11, 12, 9 }, { 2, 7, 6, 4 }, { 5, 5, 1, 0 } }) do
        for i = case[1], case[2] do p:store(a + i * PAGE, i) end
        m:reset_stats()
        lu.assertTrue(p:msync(a, 12 * PAGE))
        lu.assertEquals(did(m, "writes"), { case[3], case[4] })
        lu.assertEquals(m:stats("kernel.clustered"), 0) -- all of them were asked for
    end
    for _, i in ipairs({ 1, 2, 4, 6, 7 }) do p:store(a + i * PAGE, i) end
    m:reset_stats()
    lu.assertTrue(m:sync())
    lu.assertEquals(did(m, "writes"), { 5, 2 })
end

-- By itself each dirty victim is a request of its own.
function TestWriteback:testEachByItself()
    local m <close> = vmem.machine({ preset = "core-i7", dram = "8MiB", swap = "1MiB", resident = 8,
        disk = { latency = 777 } })
    local p = m:spawn()
    local a = assert(p:mmap({ length = 20 * PAGE }))
    for i = 0, 19 do p:store(a + i * PAGE, i) end
    lu.assertEquals({ m:stats("disk.writes"), m:stats("disk.joined") }, { 12, 0 })
    lu.assertEquals(m:stats("cycles.disk"), 12 * 777)
end

-- A dirty victim of private or shared memory, or of a file, takes its neighbours along;
-- they stay, and go without a write later, unless they were written again.
function TestWriteback:testNeighboursOfAVictim()
    for _, kind in ipairs({ "private", "shared", "file" }) do
        local m <close> = machine({ resident = 8 })
        local p = m:spawn()
        local f = kind == "file" and assert(m:file("f", ("-"):rep(16 * PAGE))) or nil
        local a = assert(p:mmap({ length = 16 * PAGE, file = f,
            flags = kind == "private" and "private|anonymous" or f and "shared" or "shared|anonymous" }))
        local seen = {}
        m:on("cluster", function(e) seen[#seen + 1] = { e.addr, e.pages, e.pid } end)
        m:sync()
        m:reset_stats()
        for i = 0, 8 do p:store(a + i * PAGE, i) end
        lu.assertEquals(m:stats("disk.writes") - m:stats("disk.joined"), 1)
        lu.assertEquals(m:stats("kernel.clustered"), 3)
        lu.assertEquals(seen, { { a, 4, p:pid() } })
        lu.assertEquals(p:page(a + PAGE).dirty, false)
        lu.assertEquals(p:page(a + 4 * PAGE).dirty, true)
        p:store(a + 3 * PAGE, 33) -- and its place on the disk is its own
        local writes = m:stats("disk.writes")
        for i = 9, 10 do p:store(a + i * PAGE, i) end -- for which 1 and 2 go
        lu.assertEquals(m:stats("disk.writes"), writes)
        lu.assertEquals(m:stats("kernel.clean_drops"), 2)
        p:store(a + 11 * PAGE, 11)
        lu.assertEquals(m:stats("disk.writes"), writes + 4) -- 3, and 4 to 6 behind it
        lu.assertEquals(m:stats("kernel.clustered"), 6)
        lu.assertEquals({ m:check() }, { true })
        for i = 0, 11 do lu.assertEquals(p:load(a + i * PAGE), i == 3 and 33 or i) end
        lu.assertEquals({ m:check() }, { true })
    end
end

-- A neighbour that is clean, locked, or has its place elsewhere ends the cluster; and so
-- does swap of which half is used.
function TestWriteback:testWhatIsNoNeighbour()
    local function written(m, prepare)
        local p = m:spawn()
        local a = assert(p:mmap({ length = 16 * PAGE }))
        for i = 0, 7 do p:store(a + i * PAGE, i) end
        if prepare then prepare(p, a) end
        m:reset_stats()
        p:store(a + 8 * PAGE, 8)
        lu.assertEquals({ m:check() }, { true })
        return m:stats("disk.writes")
    end
    local m <close> = machine({ resident = 8 })
    lu.assertEquals(written(m), 4)
    local locked <close> = machine({ resident = 8 })
    lu.assertEquals(written(locked, function(p, a) p:mlock(a + 2 * PAGE, PAGE) end), 2)
    local freed <close> = machine({ resident = 8 })
    lu.assertEquals(written(freed, function(p, a) p:madvise(a + 3 * PAGE, PAGE, "free") end), 3)
    local tight <close> = machine({ resident = 8, swap = 4 * PAGE })
    lu.assertEquals(written(tight), 2) -- the victim has one slot of four, one neighbour another
    local last <close> = machine({ resident = 8 })
    local p = last:spawn() -- entries of two leaf tables
    local a = assert(p:mmap({ length = 16 * PAGE, addr = (1 << 30) - 2 * PAGE, flags = "fixed|private|anonymous" }))
    for i = 0, 8 do p:store(a + i * PAGE, i) end
    lu.assertEquals(last:stats("disk.writes"), 2)
end

-- A neighbour that can't be written is no victim yet: it stays dirty.
function TestWriteback:testANeighbourThatCantBeWritten()
    local m <close> = machine({ resident = 8, disk = { bad_writes = 3 } })
    local p = m:spawn()
    local a = assert(p:mmap({ length = 16 * PAGE }))
    for i = 0, 8 do p:store(a + i * PAGE, i) end
    lu.assertEquals({ m:stats("disk.writes"), m:stats("disk.write_errors"), m:stats("kernel.clustered") }, { 2, 1, 1 })
    lu.assertEquals({ p:page(a + PAGE).dirty, p:page(a + 2 * PAGE).dirty }, { false, true })
    for i = 0, 8 do lu.assertEquals(p:load(a + i * PAGE), i) end
    lu.assertEquals({ m:check() }, { true })
end

-- Pages read ahead come in the request of the one that was missed.
function TestWriteback:testReadAheadIsOneRequest()
    local m <close> = machine({ disk = { readahead = 3 } })
    local f = assert(m:file("f", ("-"):rep(16 * PAGE)))
    m:sync()
    local p = m:spawn()
    local a = assert(p:mmap({ length = 16 * PAGE, flags = "private", file = f, prot = "r" }))
    m:reset_stats()
    for i = 0, 15 do p:load(a + i * PAGE) end
    lu.assertEquals(did(m, "reads"), { 16, 12 })
    local swapped <close> = vmem.machine({ preset = "core-i7", dram = "8MiB", swap = "1MiB", swap_readahead = 7,
        disk = { latency = 1000000, transfer = 1000 } })
    p = swapped:spawn()
    a = assert(p:mmap({ length = 16 * PAGE }))
    for i = 0, 15 do p:store(a + i * PAGE, i) end
    p:swap_out()
    swapped:reset_stats()
    for i = 0, 15 do lu.assertEquals(p:load(a + i * PAGE), i) end
    lu.assertEquals(did(swapped, "reads"), { 16, 14 })
end

-- From the first page of the file on.
function TestWriteback:testWhatWillBeNeededIsOneRequest()
    local m <close> = machine()
    local f = assert(m:file("f", ("-"):rep(8 * PAGE)))
    m:sync()
    local p = m:spawn()
    local a = assert(p:mmap({ length = 8 * PAGE, flags = "private", file = f, prot = "r" }))
    m:reset_stats()
    lu.assertTrue(p:madvise(a, 6 * PAGE, "willneed"))
    lu.assertEquals(did(m, "reads"), { 6, 5 })
    lu.assertEquals(p:pages(a, a + 8 * PAGE), "uuuuuuuu")
    for i = 0, 5 do p:load(a + i * PAGE) end
    lu.assertEquals(m:stats("disk.reads"), 6)
end
