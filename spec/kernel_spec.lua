-- The kernel: bytes, faults and refusals as a flat model has them, memory that
-- comes back, the end of memory, handles whose object has gone.
local lu = require("luaunit")
local lpeg = require("lpeg")
local vmem = require("vmem")
local scene = require("scene")
local flat = require("fuzz.flat_model")

local scale = require("scale")

local function small(t)
    local o = { preset = "core-i7", dram = "256KiB", swap = "64KiB" }
    for k, v in pairs(t or {}) do o[k] = v end
    return vmem.machine(o)
end

TestKernelFlatModel = {}

function TestKernelFlatModel:testRandomProgramsSeeTheBytesOfAFlatModel()
    for seed = 1, math.ceil(120 * scale) do lu.assertNil(flat.case(seed, 80)) end
end

-- A walk that began in a table which a large page had replaced: its fault never ended.
function TestKernelFlatModel:testSeedsThatFailed() lu.assertNil(flat.case(156, 300)) end

-- The test of the test: a mistake that is planted is found, and its script is short.
function TestKernelFlatModel:testAFailingScriptIsCutDown()
    local ops = {}
    for i = 1, 64 do ops[i] = { i } end
    local function fails(rest)
        local a, b = false, false
        for _, op in ipairs(rest) do a, b = a or op[1] == 13, b or op[1] == 57 end
        return a and b
    end
    lu.assertEquals(flat.shrink(ops, fails), { { 13 }, { 57 } })
end

TestKernelFaults = {}

function TestKernelFaults:testFaultsAreObjectsAndOneClearLine()
    local m <close> = small()
    local p = m:spawn({ name = "demo" })
    local e = scene.fault(p.load, p, 0x5000, 4)
    lu.assertEquals({ e.signal, e.code, e.addr, e.access, e.pid }, { "SIGSEGV", "MAPERR", 0x5000, "load", 1 })
    lu.assertEquals(tostring(e), "SIGSEGV (MAPERR): load of address 0x5000 by process 1")
    p = m:spawn()
    local a = assert(p:mmap({ length = 4096, prot = "r" }))
    e = scene.fault(p.store, p, a + 8, 1)
    lu.assertEquals({ e.signal, e.code, e.addr, e.access, e.pid }, { "SIGSEGV", "ACCERR", a + 8, "store", 2 })
    p = m:spawn()
    a = assert(p:mmap({ length = 4096 }))
    e = scene.fault(p.fetch, p, a, 4)
    lu.assertEquals({ e.code, e.access }, { "ACCERR", "fetch" })
    p = m:spawn()
    a = assert(p:mmap({ length = 4096 }))
    e = scene.fault(p.load, p, a + 4092, 8) -- the second page is not there
    lu.assertEquals({ e.code, e.addr }, { "MAPERR", a + 4096 })
    p = m:spawn()
    lu.assertEquals(scene.fault(p.load, p, 1 << 62).code, "MAPERR") -- not canonical
    p = m:spawn()
    lu.assertEquals(scene.fault(p.load, p, -4, 8).code, "MAPERR") -- over the end of all addresses
    lu.assertTrue(m:check())
end

function TestKernelFaults:testWithoutPagingMemoryEndsWithSigbus()
    local m <close> = small({ paging = { enabled = false } })
    local p = m:spawn()
    p:store((256 << 10) - 8, 5)
    local e = scene.fault(p.load, p, (256 << 10) - 4, 8)
    lu.assertEquals({ e.signal, e.code }, { "SIGBUS", "ADRERR" })
end

-- An entry that may neither be read nor written is, on RISC-V, one that points to a table.
function TestKernelFaults:testWhatMayOnlyBeWrittenIsShared()
    for _, preset in ipairs({ "x86-32", "core-i7", "sv39" }) do
        local m <close> = vmem.machine({ preset = preset, dram = "2MiB", zero_frame = true })
        local p = m:spawn()
        local f = assert(m:file("f", ("f"):rep(8192)))
        local anon = assert(p:mmap({ length = 8192, prot = "w" }))
        local of_file = assert(p:mmap({ length = 8192, prot = "w", file = f, flags = "private" }))
        for at, was in pairs({ [anon] = 0, [of_file] = 0x66 }) do
            lu.assertEquals({ p:load(at, 1), p:load(at + 4096, 1) }, { was, was })
            p:store(at, 1, 1)
            local c = assert(p:fork())
            c:store(at, 2, 1)
            p:mprotect(at, 4096, "w")
            lu.assertEquals({ p:load(at, 1), c:load(at, 1), p:load(at + 1, 1) }, { 1, 2, was })
            lu.assertEquals({ m:check() }, { true })
            c:exit(0)
        end
    end
end

TestKernelMemory = {}

function TestKernelMemory:testExitGivesEverythingBack()
    for _, policy in ipairs({ "lru", "fifo", "clock", "random" }) do
        local m <close> = small({ policy = policy })
        local before = m:meminfo()
        local list = {}
        for i = 1, 3 do
            list[i] = m:spawn()
            local a = assert(list[i]:mmap({ length = 30 * 4096 }))
            for page = 0, 20 do list[i]:store(a + page * 4096, i * 1000 + page) end
        end
        lu.assertTrue(m:meminfo().swap_used > 0)
        for _, p in ipairs(list) do p:exit() end
        local after = m:meminfo()
        lu.assertEquals({ after.free, after.swap_used, after.resident, after.tables }, { before.free, 0, 0, 0 })
        lu.assertTrue(m:check())
    end
end

-- No frame and no slot left: the one that asks is killed, the others keep all.
function TestKernelMemory:testOutOfMemoryKillsTheOneThatAsks()
    for _, shortcuts in ipairs({ true, false }) do
        local m <close> = small({ swap = "16KiB", shortcuts = shortcuts })
        local kept, hungry = m:spawn(), m:spawn()
        local a = assert(kept:mmap({ length = 10 * 4096 }))
        local b = assert(hungry:mmap({ length = 1000 * 4096 }))
        for page = 0, 9 do kept:store(a + page * 4096, 7000 + page) end
        local e = scene.fault(function()
            for page = 0, 999 do hungry:store(b + page * 4096, page) end
        end)
        lu.assertEquals({ e.signal, e.code, e.pid }, { "SIGKILL", "OOM", hungry:pid() })
        lu.assertFalse(hungry:alive())
        lu.assertTrue(m:check())
        for page = 0, 9 do lu.assertEquals(kept:load(a + page * 4096), 7000 + page) end
        lu.assertTrue(m:meminfo().free > 40)
        local p = m:spawn()
        lu.assertError(p.replay, p, vmem.trace.sequential({ refs = 2000, stride = 4096, bytes = "8MiB", stores = 1 }))
        lu.assertFalse(p:alive())
        for page = 0, 9 do lu.assertEquals(kept:load(a + page * 4096), 7000 + page) end
        lu.assertTrue(m:check())
    end
end

-- A page that was never written is dropped, and comes back as zeros, without a disk.
function TestKernelMemory:testCleanPagesNeedNoSwap()
    local m <close> = small({ swap = 0, resident = 4 })
    local p = m:spawn()
    local a = assert(p:mmap({ length = 20 * 4096, prot = "r" }))
    for _ = 1, 3 do
        for page = 0, 19 do lu.assertEquals(p:load(a + page * 4096), 0) end
    end
    local k, disk = m:stats().kernel, m:stats().disk
    lu.assertEquals({ k.minor_faults, k.clean_drops, k.swap_outs, disk.reads, disk.writes }, { 60, 56, 0, 0, 0 })
end

function TestKernelMemory:testAPageTellsItsState()
    local m <close> = small({ resident = 2 })
    local p = m:spawn()
    local a = assert(p:mmap({ length = 4 * 4096 }))
    lu.assertEquals(p:page(a - 4096).state, "unallocated")
    lu.assertEquals(p:page(a).state, "uncached")
    p:load(a)
    local page = p:page(a)
    lu.assertEquals({ page.state, page.accessed, page.dirty, page.size }, { "cached", true, false, 4096 })
    p:store(a, 1)
    lu.assertTrue(p:page(a).dirty)
    for i = 1, 3 do p:store(a + i * 4096, i) end
    page = p:page(a)
    lu.assertEquals({ page.state, page.slot }, { "uncached", 0 })
    lu.assertEquals(p:load(a), 1)
    lu.assertFalse(p:page(a).dirty)
    lu.assertEquals(p:stats().major_faults, 1)
end

function TestKernelMemory:testAreasAreSplitAndMerged()
    local m <close> = small()
    local p = m:spawn()
    local base = 0x100000
    assert(p:mmap({ addr = base, length = 8 * 4096, flags = "fixed" }))
    assert(p:mprotect(base + 2 * 4096, 4096, "r"))
    assert(p:munmap(base + 5 * 4096, 4096))
    local list = {}
    for i, a in ipairs(p:areas()) do list[i] = { (a.start - base) // 4096, (a.stop - base) // 4096, a.prot } end
    lu.assertEquals(list, { { 0, 2, "rw-" }, { 2, 3, "r--" }, { 3, 5, "rw-" }, { 6, 8, "rw-" } })
    assert(p:mprotect(base + 2 * 4096, 4096, "rw"))
    assert(p:mmap({ addr = base + 5 * 4096, length = 4096, flags = "fixed" }))
    lu.assertEquals(#p:areas(), 1)
end

TestKernelRemap = {}

-- Moving pages far away needs page tables; without memory for them it is the end.
function TestKernelRemap:testOutOfMemoryInASystemCallOfATrace()
    for stores = 0, 11 do
        local m <close> = small({ dram = "64KiB", swap = 0 })
        local p = m:spawn()
        local hungry = m:spawn()
        local a = assert(hungry:mmap({ length = "64KiB" }))
        local records = { { "event", { type = "mmap", addr = 0x10000, length = 0x10000, prot = 3 } } }
        for i = 0, stores do records[#records + 1] = { "store", 0x10000 + i * 4096, 8 } end
        records[#records + 1] = { "event",
            { type = "mremap", addr = 0x10000, length = 0x10000, new_addr = 1 << 40, new_length = 0x10000 } }
        if stores == 0 then p:store(assert(p:mmap({ addr = 0x10000, length = 4096, flags = "fixed" })), 1) end
        pcall(function()
            for i = 0, 11 - stores - 5 do hungry:store(a + i * 4096, 1) end
        end)
        local ok, e = pcall(p.replay, p, vmem.trace.new(records))
        if not ok then lu.assertEquals({ e.signal, e.code, e.pid }, { "SIGKILL", "OOM", p:pid() }) end
        lu.assertEquals(p:alive(), ok)
        lu.assertTrue(m:check())
    end
end

-- Page tables for the new place, when all frames are taken and nothing can be evicted.
function TestKernelRemap:testNoMemoryForTheNewPlace()
    local m <close> = small({ dram = "128KiB", swap = 0 })
    local p = m:spawn()
    local a = assert(p:mmap({ length = 8192 }))
    p:store(a, 77)
    local b = assert(p:mmap({ length = "128KiB" }))
    for i = 0, 31 do
        if m:meminfo().free > 0 then p:store(b + i * 4096, i) end
    end
    lu.assertEquals(m:meminfo().free, 0)
    local _, why, code = p:mremap(a, 8192, 8192, { addr = 1 << 40 })
    lu.assertEquals(code, "ENOMEM", why)
    lu.assertStrContains(why, "page tables")
    lu.assertEquals(p:load(a), 77)
    lu.assertEquals({ m:check() }, { true })
end

function TestKernelRemap:testLargePagesDoNotMove()
    local m <close> = vmem.machine({ preset = "core-i7" })
    local before = m:meminfo().free
    local p = m:spawn()
    local base = (1 << 30) - 4096
    assert(p:mmap({ addr = base, length = 4096, flags = "fixed" }))
    assert(p:mmap({ addr = 1 << 30, length = "2MiB", flags = "fixed|hugetlb" }))
    p:store(base, 5)
    p:store(1 << 30, 6)
    local n = 4096 + (2 << 20)
    local run = p:replay(vmem.trace.new({ { "event",
        { type = "mremap", addr = base, length = n, new_addr = 1 << 40, new_length = n } } }))
    lu.assertEquals(run.replay.refused, 1)
    lu.assertEquals({ p:load(base), p:load(1 << 30) }, { 5, 6 })
    lu.assertTrue(m:check())
    p:exit()
    lu.assertEquals(m:meminfo().free, before)
end

function TestKernelRemap:testPagesMoveWithTheirBytes()
    local m <close> = small({ resident = 3 })
    local p = m:spawn()
    assert(p:mmap({ addr = 0x10000, length = 0x8000, flags = "fixed" }))
    for i = 0, 7 do p:store(0x10000 + i * 4096, 100 + i) end
    p:replay(vmem.trace.new({ { "event",
        { type = "mremap", addr = 0x10000, length = 0x8000, new_addr = 0x7000000, new_length = 0xa000 } } }))
    lu.assertTrue(m:check())
    for i = 0, 7 do lu.assertEquals(p:load(0x7000000 + i * 4096), 100 + i) end
    lu.assertEquals(p:load(0x7009000), 0)
    lu.assertEquals(scene.fault(p.load, p, 0x10000).code, "MAPERR")
    lu.assertTrue(m:check())
end

TestKernelHandles = {}

function TestKernelHandles:testAfterExit()
    local m <close> = small()
    local p = m:spawn()
    local load = p:bind("load")
    p:exit(3)
    p:exit(4)
    for _, name in ipairs({ "load", "store", "read", "write", "fetch", "brk", "sbrk", "munmap", "mprotect", "areas",
        "page", "explain", "replay" }) do
        local arguments = name == "replay" and { vmem.trace.pages({ 1 }) } or { 4096, 8, "r" }
        if name == "explain" then arguments = { 4096 } end
        if name == "write" then arguments = { 4096, "x" } end
        lu.assertErrorMsgContains("this process has ended", p[name], p, table.unpack(arguments))
    end
    lu.assertErrorMsgContains("ended", load, 4096)
    lu.assertErrorMsgContains("ended", p.mmap, p, { length = 4096 })
    lu.assertStrContains(tostring(p), "ended with status 3")
    lu.assertFalse(p:alive())
end

function TestKernelHandles:testAfterTheMachineIsClosed()
    local m = small()
    local p = m:spawn()
    local load = p:bind("load")
    m:close()
    m:close()
    lu.assertErrorMsgContains("closed", p.load, p, 4096)
    lu.assertErrorMsgContains("closed", load, 4096)
    lu.assertErrorMsgContains("closed", p.exit, p)
    lu.assertErrorMsgContains("closed", p.replay, p, vmem.trace.pages({ 1 }))
    lu.assertErrorMsgContains("this machine is closed", m.spawn, m)
    lu.assertErrorMsgContains("closed", m.stats, m)
    lu.assertStrContains(tostring(p), "closed")
    lu.assertStrContains(tostring(m), "closed")
end

function TestKernelHandles:testAProcessKeepsItsMachine()
    local p = small():spawn()
    collectgarbage()
    collectgarbage()
    local a = assert(p:mmap({ length = 4096 }))
    p:store(a, 11)
    lu.assertEquals(p:load(a), 11)
end

-- A trace whose parser is the user's, and raises in the midst of the replay.
function TestKernelHandles:testAnErrorInTheMidstOfAReplay()
    local path = os.tmpname()
    local file = assert(io.open(path, "w"))
    for i = 1, 100000 do file:write(i == 60000 and "bad\n" or ("L %d\n"):format(i * 64)) end
    file:close()
    local raising = false
    local number = lpeg.R("09") ^ 1
    local line = lpeg.C("L") * " " * lpeg.C(number) + lpeg.P("bad") * lpeg.P(function()
        if raising then error("the pattern's own error") end
        return false
    end)
    for _, raises in ipairs({ false, true }) do
        raising = raises
        local m <close> = small({ dram = "1MiB" })
        local p = m:spawn()
        local t <close> = assert(vmem.trace.open(path, { pattern = line }))
        local ok, e = pcall(p.replay, p, t)
        lu.assertFalse(ok)
        lu.assertStrContains(tostring(e), raises and "the pattern's own error" or "60000")
        lu.assertTrue(p:alive())
        lu.assertTrue(m:check())
        local before = m:stats("access.loads")
        p:replay(vmem.trace.pages({ 1, 2, 3 }))
        lu.assertEquals(m:stats("access.loads"), before + 3)
    end
    os.remove(path)
end

function TestKernelHandles:testAnErrorOfTheProgressFunction()
    local m <close> = small()
    local p = m:spawn()
    local t = vmem.trace.sequential({ refs = 1000, bytes = 4096 })
    lu.assertErrorMsgContains("enough", p.replay, p, t, { every = 100, progress = function(n)
        if n >= 300 then error("enough") end
    end })
    lu.assertEquals(m:stats("access.loads"), 300)
    lu.assertEquals(p:replay(t).access.loads, 1000)
    lu.assertTrue(m:check())
end
