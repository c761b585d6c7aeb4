-- The numbers of CS:APP, chapter 9: the small system of 9.6.4 with its exercises,
-- address fields, the Core i7, and what follows in closed form from a geometry.
local lu = require("luaunit")
local vmem = require("vmem")
local states = require("vmem.states")

local figure = states["fig9.20"]

local function explain(va, mapped)
    local m <close> = vmem.machine({ preset = figure.preset })
    local p = m:spawn()
    p:set_state({ tlb = figure.tlb, ptes = figure.ptes, cache = figure.cache })
    if mapped then assert(p:mmap({ addr = va & ~63, length = 64, flags = "private|anonymous|fixed" })) end
    lu.assertEquals({ m:check() }, { true })
    local x = p:explain(va)
    lu.assertTrue(m:check())
    return x
end

TestCsappSystem = {}

-- va, VPN, VPO, TLBI, TLBT, TLB, PPN, PA, CO, CI, CT, cache, byte
local answers = {
    { "text 9.6.4", 0x03d4, 0x0f, 0x14, 3, 0x03, "hit", 0x0d, 0x354, 0, 0x5, 0x0d, "hit", 0x36 },
    { "practice 9.4", 0x03d7, 0x0f, 0x17, 3, 0x03, "hit", 0x0d, 0x357, 3, 0x5, 0x0d, "hit", 0x1d },
    { "homework 9.11", 0x027c, 0x09, 0x3c, 1, 0x02, "miss", 0x17, 0x5fc, 0, 0xf, 0x17, "miss" },
    { "homework 9.12", 0x03a9, 0x0e, 0x29, 2, 0x03, "miss", 0x11, 0x469, 1, 0xa, 0x11, "miss" },
}

function TestCsappSystem:testAnswersOfTheBook()
    for _, a in ipairs(answers) do
        local x = explain(a[2])
        lu.assertEquals({ x.vpn, x.vpo, x.tlbi, x.tlbt, x.tlb, x.ppn, x.pa, x.co, x.ci, x.ct, x.cache },
            { table.unpack(a, 3, 13) }, a[1])
        lu.assertNil(x.fault, a[1])
        if a[14] then lu.assertEquals(x.byte, a[14], a[1]) end
    end
end

function TestCsappSystem:testThePageOfHomework913IsNotPresent()
    local x = explain(0x0040)
    lu.assertEquals({ x.vpn, x.vpo, x.tlbi, x.tlbt, x.tlb }, { 0x01, 0x00, 1, 0x00, "miss" })
    lu.assertEquals({ x.fault.signal, x.fault.code, x.fault.addr }, { "SIGSEGV", "MAPERR", 0x40 })
    lu.assertNil(x.pa)
    lu.assertNil(x.cache)
    lu.assertStrContains(tostring(x), "not present")
end

function TestCsappSystem:testWithAnAreaThereThePageIsServed()
    local x = explain(0x0040, true)
    lu.assertNil(x.fault)
    lu.assertEquals(x.byte, 0)
    lu.assertEquals(x.pa, x.ppn << 6)
    local faults = 0
    for _, step in ipairs(x.steps) do
        if step.what == "fault" then
            faults = faults + 1
            lu.assertTrue(step.served)
        end
    end
    lu.assertEquals(faults, 1)
end

function TestCsappSystem:testAPteThatNobodyGaveIsUnknown()
    local x = explain(0x10 << 6)
    lu.assertEquals(x.fault.code, "UNKNOWN")
    lu.assertNil(x.byte)
    lu.assertStrContains(tostring(x), "unknown")
    lu.assertNil(explain(0x10 << 6, true).fault) -- mmap is somebody who gives it
end

function TestCsappSystem:testEveryAddressOfTheFigure()
    -- All addresses, against a reading of the tables by hand.
    local tlb, lines = {}, {}
    for _, e in ipairs(figure.tlb) do tlb[e.tag << 2 | e.set] = e.ppn end
    for _, c in ipairs(figure.cache) do lines[c.tag << 4 | c.set] = c.bytes end
    for va = 0, 0x3fff, 61 do
        local x, vpn = explain(va), va >> 6
        local pte = figure.ptes[vpn]
        local ppn = tlb[vpn] or pte
        lu.assertEquals(x.tlb, tlb[vpn] and "hit" or "miss")
        if ppn then
            local pa = ppn << 6 | va & 63
            local bytes = lines[pa >> 2]
            lu.assertEquals(x.cache, bytes and "hit" or "miss")
            lu.assertEquals({ x.ct, x.ci }, { pa >> 6, pa >> 2 & 15 })
            -- A TLB entry may stand for a page that the page table does not have.
            if pte then lu.assertEquals({ x.pa, x.byte }, { pa, bytes and bytes[(pa & 3) + 1] or 0 }) end
        else
            lu.assertEquals(x.fault.code, pte == false and "MAPERR" or "UNKNOWN")
        end
    end
end

TestCsappFields = {}

local function geometry(t, f)
    local m <close> = vmem.machine(t)
    return f(m:spawn():geometry(), m)
end

-- Practice 9.1 and 9.2: addresses of n bits, pages of P bytes, 2^(n-p) PTEs.
function TestCsappFields:testSizesOfPageTables()
    for _, row in ipairs({ { 16, 4096, 16 }, { 16, 8192, 8 }, { 32, 4096, 1 << 20 }, { 32, 8192, 1 << 19 } }) do
        local n, page, ptes = table.unpack(row)
        local bits = n - (page == 4096 and 12 or 13)
        lu.assertEquals(1 << bits, ptes)
        local paging = { va_bits = n, pa_bits = 24, page = page, levels = { bits }, pte = "plain" }
        geometry({ dram = "16MiB", paging = paging },
            function(g, m)
                lu.assertEquals(g.levels, { bits })
                -- The table itself: an entry of 4 bytes for each page.
                lu.assertEquals(m:meminfo().tables, math.max(1, ptes * 4 // page))
            end)
        lu.assertErrorMsgContains("add up", vmem.machine, { paging = { va_bits = n, pa_bits = 24, page = page,
            levels = { bits + 1 }, pte = "plain" } })
    end
end

-- Practice 9.3: 32-bit virtual, 24-bit physical addresses.
function TestCsappFields:testPageNumbersAndOffsets()
    for _, row in ipairs({ { 1024, 22, 10, 14 }, { 2048, 21, 11, 13 }, { 4096, 20, 12, 12 }, { 8192, 19, 13, 11 } }) do
        local page, vpn, vpo, ppn = table.unpack(row)
        -- The page table of 1 KiB pages has 16 MiB alone: it lies behind what a PTE can name.
        local m <close> = vmem.machine({ dram = "64MiB",
            paging = { va_bits = 32, pa_bits = 24, page = page, levels = { vpn }, pte = "plain" } })
        local p = m:spawn()
        local g = p:geometry()
        lu.assertEquals({ g.va_bits - g.page_bits, g.page_bits, g.pa_bits - g.page_bits }, { vpn, vpo, ppn })
        local a = assert(p:mmap({ addr = 0x12345678 & -page, length = page, flags = "fixed" }))
        local x = p:explain(0x12345678)
        lu.assertEquals({ x.vpn, x.vpo, x.pa & (page - 1) },
            { 0x12345678 >> vpo, 0x12345678 & (page - 1), 0x12345678 & (page - 1) })
        lu.assertEquals(a >> vpo, x.vpn)
    end
end

function TestCsappFields:testCoreI7()
    geometry({ preset = "core-i7" }, function(g, m)
        lu.assertEquals({ g.va_bits, g.pa_bits, g.page_bits, g.levels }, { 48, 52, 12, { 9, 9, 9, 9 } })
        lu.assertEquals({ g.tlb_set_bits, 36 - g.tlb_set_bits }, { 4, 32 }) -- TLBI, TLBT
        lu.assertEquals({ g.line_bits, g.cache_set_bits, 52 - 12 }, { 6, 6, 40 }) -- CO, CI, CT
        local o = m:options()
        lu.assertEquals({ o.tlb.l1i.entries, o.tlb.l1i.ways, o.tlb.l1d.entries, o.tlb.l1d.ways, o.tlb.l2.entries,
            o.tlb.l2.ways }, { 128, 4, 64, 4, 512, 4 })
        for name, row in pairs({ l1i = { 32, 8 }, l1d = { 32, 8 }, l2 = { 256, 8 }, l3 = { 8192, 16 } }) do
            local c = o.cache[name]
            lu.assertEquals({ c.size, c.ways, c.line, c.policy, c.write }, { row[1] << 10, row[2], 64, "lru", "back" })
        end
    end)
end

-- A page-table entry of level k maps 4 KiB, 2 MiB, 1 GiB, 512 GiB.
function TestCsappFields:testWhatAnEntryOfEachLevelMaps()
    local m <close> = vmem.machine({ preset = "core-i7" })
    local p = m:spawn()
    for level, span in ipairs({ 1 << 12, 1 << 21, 1 << 30, 1 << 39 }) do
        lu.assertEquals(p:geometry().page_bits + 9 * (level - 1), math.tointeger(math.log(span, 2)))
    end
end

function TestCsappFields:testPresets()
    local want = {
        csapp = { 14, 12, 6, { 8 }, "plain" },
        ["core-i7"] = { 48, 52, 12, { 9, 9, 9, 9 }, "x86-64" },
        ["x86-32"] = { 32, 32, 12, { 10, 10 }, "x86-32" },
        sv39 = { 39, 52, 12, { 9, 9, 9 }, "riscv" },
        sv48 = { 48, 52, 12, { 9, 9, 9, 9 }, "riscv" },
    }
    local names = {}
    for name in pairs(want) do names[#names + 1] = name end
    table.sort(names)
    lu.assertEquals(vmem.presets.names(), names)
    for name, row in pairs(want) do
        geometry({ preset = name }, function(g, m)
            lu.assertEquals({ g.va_bits, g.pa_bits, g.page_bits, g.levels, g.pte }, row, name)
            lu.assertTrue(m:check())
            local o, preset = m:options(), vmem.presets[name]
            for level, t in pairs(preset.tlb) do
                if type(t) == "table" then lu.assertEquals(o.tlb[level].entries, t.entries, name) end
            end
        end)
    end
    geometry({ preset = "csapp" }, function(g)
        lu.assertEquals({ g.tlb_set_bits, g.line_bits, g.cache_set_bits }, { 2, 2, 4 })
    end)
end

TestClosedForms = {}

local function pte_reads(m)
    local n = 0
    for _, reads in pairs(m:stats().mmu.pte_reads) do n = n + reads end
    return n
end

-- Walks of a page of each size, once its tables are there: entries read.
function TestClosedForms:testWalksByPageSize()
    local rows = {
        { "core-i7", nil, 4 }, { "core-i7", "2MiB", 3 }, { "core-i7", "1GiB", 2 },
        { "x86-32", nil, 2 }, { "x86-32", "4MiB", 1 },
        { "sv39", nil, 3 }, { "sv39", "2MiB", 2 }, { "sv39", "1GiB", 1 },
        { "sv48", nil, 4 }, { "sv48", "2MiB", 3 }, { "sv48", "1GiB", 2 },
    }
    for _, row in ipairs(rows) do
        local preset, size, reads = table.unpack(row)
        local what = preset .. " " .. (size or "base")
        local m <close> = vmem.machine({ preset = preset, dram = "3GiB" })
        local p, other = m:spawn(), m:spawn()
        local a = assert(p:mmap({ length = size or 4096, flags = size and "private|anonymous|hugetlb", page = size }))
        local bytes = vmem.bytes(size or 4096)
        lu.assertEquals(a % bytes, 0, what)
        p:store(a + bytes - 8, 77)
        lu.assertEquals(p:page(a).size, bytes, what)
        lu.assertEquals(p:page(a + bytes - 1).frame, p:page(a).frame, what)
        -- Another's accesses push the entry out of every TLB level.
        local far = assert(other:mmap({ length = "8MiB" }))
        for page = 0, 2047 do other:load(far + page * 4096) end
        m:reset_stats()
        lu.assertEquals(p:load(a + bytes - 8), 77, what)
        lu.assertEquals({ m:stats("mmu.walks"), pte_reads(m) }, { 1, reads }, what)
        lu.assertTrue(m:check())
    end
end

-- Eight entries of 8 bytes in a line of 64: seven of eight leaf PTEs are found.
function TestClosedForms:testASequentialScanFindsSevenOfEightLeafPtes()
    local m <close> = vmem.machine({ paging = { va_bits = 25, levels = { 13 }, pte = "x86-64" }, policy = "fifo",
        cache = { l1 = { size = 4096, ways = 8 } } })
    local p = m:spawn()
    local a = assert(p:mmap({ addr = 0, length = 1024 * 4096, prot = "r", flags = "fixed" }))
    for page = 0, 1023 do p:load(a + page * 4096) end -- all pages, A set
    m:reset_stats()
    for page = 0, 1023 do p:load(a + page * 4096 + 64 * (page % 50)) end
    local walk = m:stats().cache.l1.walk
    lu.assertEquals({ walk.reads, walk.read_misses, walk.writes }, { 1024, 128, 0 })
end

function TestClosedForms:testALoopOverOnePageMoreThanThereAreFramesNeverHits()
    for _, n in ipairs({ 1, 2, 7, 50 }) do
        for _, policy in ipairs({ "lru", "fifo" }) do
            local m <close> = vmem.machine({ preset = "core-i7", resident = n, policy = policy })
            m:spawn():replay(vmem.trace.loop({ refs = 10 * (n + 1), pages = n + 1, stores = 0.5 }))
            lu.assertEquals(m:stats("kernel.faults"), 10 * (n + 1), policy)
        end
    end
end

-- Belady's anomaly: FIFO faults more with four frames than with three.
function TestClosedForms:testBeladysAnomaly()
    local faults = {}
    for policy, want in pairs({ fifo = { 9, 10 }, lru = { 10, 8 } }) do
        for i, frames in ipairs({ 3, 4 }) do
            local m <close> = vmem.machine({ preset = "core-i7", resident = frames, policy = policy })
            m:spawn():replay(vmem.trace.pages({ 1, 2, 3, 4, 1, 2, 5, 1, 2, 3, 4, 5 }))
            faults[i] = m:stats("kernel.faults")
        end
        lu.assertEquals(faults, want, policy)
    end
end

function TestClosedForms:testTheClockIsTheSumOfItsCauses()
    local m <close> = vmem.machine({ preset = "core-i7" })
    local p = m:spawn()
    local a = assert(p:mmap({ length = 4096 }))
    local before = m:clock()
    local x = p:explain(a)
    local cycles, total = m:stats().cycles, 0
    for name, n in pairs(cycles) do total = total + (name == "total" and 0 or n) end
    lu.assertEquals({ cycles.total, m:clock(), before + x.cycles }, { total, total, total })
    m:reset_stats()
    lu.assertEquals({ m:stats("cycles.total"), m:clock() }, { 0, total })
end
