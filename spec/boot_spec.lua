-- Booting, and the kernel's part of every space: the log against entries worked out
-- here by the manuals' rules, memory against the log, by a walker of its own.
local lu = require("luaunit")
local vmem = require("vmem")
local scene = require("scene")
local flat = require("fuzz.flat_model")
local scale = require("scale")

local KIB, MIB = 1 << 10, 1 << 20

-- The formats as the manuals draw them: bits of a leaf and of a pointer to a table.
local formats = {
    ["x86-32"] = { bytes = 4, bits = { 10, 10 }, leaf = 0x103, large = 0x183, pointer = 0x3, shift = 0,
        base = 0xc0000000, base_index = 768, self = 1023, user = 4 },
    ["core-i7"] = { bytes = 8, bits = { 9, 9, 9, 9 }, leaf = 0x103, large = 0x183, pointer = 0x3, shift = 0,
        base = 0xffff888000000000, base_index = 273, self = 510, user = 4, stack = 1 << 63 },
    sv39 = { bytes = 8, bits = { 9, 9, 9 }, leaf = 0x2f, large = 0x2f, pointer = 0x1, shift = 2,
        base = 0xffffffff80000000, base_index = 510, user = 16 },
    sv48 = { bytes = 8, bits = { 9, 9, 9, 9 }, leaf = 0x2f, large = 0x2f, pointer = 0x1, shift = 2,
        base = 0xffffff0000000000, base_index = 510, user = 16 },
}
local presets = { "x86-32", "core-i7", "sv39", "sv48" }

local function number(m, f, pa) return (("<I%d"):format(f.bytes)):unpack(m:peek(pa, f.bytes)) end

local function frame(f, pte)
    if f.shift == 2 then return pte >> 10 & 0xfffffffffff end
    return pte >> 12 & 0xffffffffff
end

-- Down from a root by the format's rules: the entries met, root first, and pa or nil.
local function walk(m, f, root, va)
    local at, entries, shift = root, {}, 12
    for i = 2, #f.bits do shift = shift + f.bits[i] end
    for i = 1, #f.bits do
        local pte = number(m, f, at + (va >> shift & (1 << f.bits[i]) - 1) * f.bytes)
        entries[i] = pte
        if pte & 1 == 0 then return entries end
        local leaf = i == #f.bits
        if f.shift == 2 then
            if pte & 0xe ~= 0 then leaf = true elseif leaf then return entries end
        elseif i > 1 or #f.bits == 2 then
            leaf = leaf or pte & 0x80 ~= 0
        end
        if leaf then return entries, (frame(f, pte) << 12) + (va & (1 << shift) - 1) end
        at, shift = frame(f, pte) << 12, shift - (f.bits[i + 1] or 0)
    end
end

-- All writes of the log that are entries, as { pa, old, new }.
local function writes(log, step)
    local list = {}
    for _, w in ipairs(log:step(step).entries) do list[#list + 1] = { w.pa, w.old, w.new } end
    return list
end

local function registers(log, step)
    local list = {}
    for _, r in ipairs(log:step(step).registers) do list[#list + 1] = { r.name, r.old, r.new } end
    return list
end

TestBootLog = {}

-- The entries of the low MiB in base pages: tables from 0xff000 downwards.
local function expect_entries(name)
    local f = formats[name]
    local m <close> = vmem.machine({ preset = name })
    local log = m:boot()
    local levels = #f.bits
    local function pointer(table_pa) return table_pa >> 12 << (f.shift == 2 and 10 or 12) | f.pointer end
    lu.assertTrue(log.mapped)
    lu.assertEquals({ log.root, log.base, log.low, log.frames }, { 0xff000, f.base, MIB, levels })

    local identity = {}
    for i = 1, levels - 1 do
        identity[i] = { 0x100000 - i * 0x1000, 0, pointer(0x100000 - (i + 1) * 0x1000) }
    end
    local leaves = 0x100000 - levels * 0x1000
    for i = 0, 255 do
        identity[#identity + 1] = { leaves + i * f.bytes, 0, i << (f.shift == 2 and 10 or 12) | f.leaf }
    end
    lu.assertEquals(writes(log, "identity"), identity)
    lu.assertEquals(writes(log, "high"), { { 0xff000 + f.base_index * f.bytes, 0, pointer(0xfe000) } })
    lu.assertEquals(writes(log, "drop"), { { 0xff000, pointer(0xfe000), 0 } })
    if f.self then
        lu.assertEquals(writes(log, "self"), { { 0xff000 + f.self * f.bytes, 0, pointer(0xff000) } })
        lu.assertNil(log:step("no_self"))
    else
        lu.assertEquals(writes(log, "no_self"), {})
    end
    -- Memory is as the log leaves it.
    local last = {}
    for _, step in ipairs(log.steps) do
        for _, w in ipairs(step.entries) do last[w.pa] = w.new end
    end
    for pa, value in pairs(last) do lu.assertEquals(number(m, f, pa), value) end
    -- And leads where it should.
    for _, offset in ipairs({ 0, 0x1000, 0x7c00, 0xfffff }) do
        local entries, pa = walk(m, f, log.root, f.base + offset)
        lu.assertEquals(pa, offset)
        for _, pte in ipairs(entries) do lu.assertEquals(pte & f.user, 0) end
        lu.assertNil(select(2, walk(m, f, log.root, offset)))
    end
    lu.assertNil(select(2, walk(m, f, log.root, f.base + MIB)))
    return log
end

function TestBootLog:testX86_32()
    local log = expect_entries("x86-32")
    lu.assertEquals(registers(log, "off"), { { "CR0", 0x11, 0x11 }, { "CR3", 0, 0 }, { "CR4", 0, 0 },
        { "EIP", 0x1000, 0x1000 } })
    lu.assertEquals(registers(log, "features"), { { "CR4", 0, 0x10 } })
    lu.assertEquals(registers(log, "load"), { { "CR3", 0, 0xff000 } })
    lu.assertEquals(registers(log, "on"), { { "CR0", 0x11, 0x80010011 } })
    lu.assertEquals(registers(log, "jump"), { { "EIP", 0x1000, 0xc0001000 } })
    lu.assertEquals(registers(log, "flush"), { { "CR3", 0xff000, 0xff000 }, { "CR4", 0x10, 0x90 } })
    lu.assertEquals(log.before, { CR0 = 0x11, CR3 = 0, CR4 = 0, EIP = 0x1000 })
    lu.assertEquals(log.after, { CR0 = 0x80010011, CR3 = 0xff000, CR4 = 0x90, EIP = 0xc0001000 })
end

function TestBootLog:testCoreI7()
    local log = expect_entries("core-i7")
    lu.assertEquals(log.after, { CR0 = 0x80010011, CR3 = 0xff000, CR4 = 0x200a0, EFER = 0xd00,
        RIP = 0xffff888000001000 })
    lu.assertEquals(registers(log, "on"), { { "CR0", 0x11, 0x80010011 }, { "EFER", 0x900, 0xd00 } })
end

function TestBootLog:testSv39()
    local log = expect_entries("sv39")
    lu.assertEquals(registers(log, "on"), { { "satp", 0, 8 << 60 | 0xff } })
    lu.assertEquals(log.after, { satp = 8 << 60 | 0xff, pc = 0xffffffff80001000 })
    lu.assertNil(log:step("load"))
    lu.assertNil(log:step("features"))
end

function TestBootLog:testSv48() lu.assertEquals(expect_entries("sv48").after.satp, 9 << 60 | 0xff) end

-- Where addresses lead: through the lower part until the jump, then only by the upper.
function TestBootLog:testTheMoveToTheUpperPart()
    local m <close> = vmem.machine({ preset = "x86-32" })
    local log = m:boot()
    local function walks(step)
        local list = {}
        for _, w in ipairs(log:step(step).walks) do list[#list + 1] = { w.va, w.pa or false } end
        return list
    end
    lu.assertEquals(walks("on"), { { 0x1000, 0x1000 } })
    lu.assertEquals(walks("jump"), { { 0xc0001000, 0x1000 } })
    lu.assertEquals(walks("flush"), { { 0x1000, false }, { 0xc0001000, 0x1000 } })
end

function TestBootLog:testItPrintsAsAWorksheet()
    local m <close> = vmem.machine({ preset = "x86-32" })
    local sheet = tostring(m:boot())
    for _, line in ipairs({
        "1. Paging is off: every address is physical.",
        "   PDE 0 at 0xff000: 0x00000000 -> 0x000fe003  P W",
        "   PTE 0 at 0xfe000: 0x00000000 -> 0x00000103  P W G",
        "   ... 254 more, each a 4 KiB further",
        "   PTE 255 at 0xfe3fc: 0x00000000 -> 0x000ff103  P W G",
        "   PDE 768 at 0xffc00: 0x00000000 -> 0x000fe003  P W",
        "   PDE 1023 at 0xffffc: 0x00000000 -> 0x000ff003  P W",
        "   CR3: 0 -> 0xff000",
        "   CR0: 0x11 -> 0x80010011",
        "   virtual 0x1000 is not mapped",
    }) do
        lu.assertStrContains(sheet, line .. "\n")
    end
    for _, name in ipairs({ "core-i7", "sv39", "csapp" }) do
        local other <close> = vmem.machine({ preset = name })
        lu.assertStrContains(tostring(other:boot()), "Paging is off")
    end
end

TestBootWhen = {}

function TestBootWhen:testAMachineThatIsAskedNotToBootsLater()
    local m <close> = vmem.machine({ preset = "x86-32", boot = false })
    lu.assertErrorMsgContains("the machine has not booted", m.spawn, m)
    lu.assertEquals(m:meminfo().kernel, 0)
    lu.assertStrContains(tostring(m), "paging off")
    lu.assertTrue(m:check())
    local log = m:boot()
    lu.assertNotStrContains(tostring(m), "paging off")
    local other <close> = vmem.machine({ preset = "x86-32" })
    lu.assertEquals(tostring(log), tostring(other:boot()))
    lu.assertEquals(tostring(m:boot()), tostring(log)) -- once is enough
    local p = m:spawn()
    local a = assert(p:mmap({ length = 4096 }))
    p:store(a, 42)
    lu.assertEquals(p:load(a), 42)
    lu.assertTrue(m:check())
end

-- Machines without a kernel's part are as if there were none.
function TestBootWhen:testMachinesWithoutAKernelsPart()
    for why, t in pairs({
        no_upper = { preset = "csapp" },
        no_dram = { preset = "core-i7", dram = "1MiB" },
        no_low = { preset = "core-i7", kernel = { low = 4095 } },
        no_paging = { paging = { enabled = false } },
        no_frames = { paging = { va_bits = 48, page = "64KiB", levels = { 16, 16 }, pte = "x86-64" }, dram = "2MiB",
            kernel = { low = "64KiB" } },
    }) do
        local m <close> = vmem.machine(t)
        local log = m:boot()
        lu.assertEquals({ log.mapped, log.why, m:meminfo().kernel }, { false, why, 0 })
        lu.assertNotNil(log:step("alone"))
        local p = m:spawn()
        lu.assertEquals(p:kernel(), {})
        lu.assertNotStrContains(tostring(p:map()), "kernel")
        lu.assertTrue(m:check())
    end
    local m <close> = vmem.machine({ preset = "core-i7", dram = "1MiB" })
    local p = m:spawn()
    lu.assertEquals(scene.fault(p.load, p, 0xffff888000000000).code, "MAPERR")
end

-- Nothing of a boot costs cycles or counts.
function TestBootWhen:testTheClockBeginsAfterTheBoot()
    local m <close> = vmem.machine({ preset = "core-i7" })
    lu.assertEquals({ m:clock(), m:stats("kernel.faults"), m:stats("mmu.walks") }, { 0, 0, 0 })
end

-- Whole large pages of the region are large pages; the rest are base pages.
function TestBootWhen:testTheLowRegionTakesLargePages()
    local m <close> = vmem.machine({ preset = "core-i7", kernel = { low = 4 * MIB + 8 * KIB } })
    local f, log = formats["core-i7"], m:boot()
    lu.assertEquals({ log.low, log.frames, #log:step("identity").entries }, { 4 * MIB + 8 * KIB, 4, 2 + 2 + 1 + 2 })
    local entries, pa = walk(m, f, log.root, f.base + 2 * MIB + 5)
    lu.assertEquals({ #entries, entries[3], pa }, { 3, 2 * MIB | f.large, 2 * MIB + 5 })
    entries, pa = walk(m, f, log.root, f.base + 4 * MIB + 4 * KIB)
    lu.assertEquals({ #entries, entries[4], pa }, { 4, 4 * MIB + 4 * KIB | f.leaf, 4 * MIB + 4 * KIB })
    local n <close> = vmem.machine({ preset = "x86-32", kernel = { low = "9MiB" } })
    log = n:boot()
    lu.assertEquals(writes(log, "high"), { { log.root + 768 * 4, 0, 0x183 }, { log.root + 769 * 4, 0, 0x400183 },
        { log.root + 770 * 4, 0, log.root - 0x1000 | 3 } })
    lu.assertEquals(#writes(log, "drop"), 3)
    lu.assertTrue(n:check())
end

TestBootSpaces = {}

-- The root of a space: the self entry's own, or what p:kernel() tells.
local function root_of(p)
    local list = p:kernel()
    return list[#list].frame << 12
end

function TestBootSpaces:testAllSpacesShareTheKernelsTables()
    for _, name in ipairs(presets) do
        local f = formats[name]
        local m <close> = vmem.machine({ preset = name })
        local log, stacks = m:boot(), {}
        local p = m:spawn()
        local a = assert(p:mmap({ length = 4096 }))
        p:store(a, 1)
        local c = p:fork()
        local all = { p, c, m:spawn(), m:spawn() }
        local n, half = 1 << f.bits[1], name == "x86-32" and 768 or 256
        for _, q in ipairs(all) do
            local root = root_of(q)
            for i = half, n - 1 do
                local want = number(m, f, log.root + i * f.bytes)
                if i == f.self then want = root | f.pointer end
                lu.assertEquals(number(m, f, root + i * f.bytes), want)
            end
            local _, pa = walk(m, f, root, f.base + 0x1234)
            lu.assertEquals(pa, 0x1234)
            lu.assertNil(select(2, walk(m, f, root, 0x1234)))
            -- Each has a stack of its own, which all tables have.
            local stack = q:kernel()[2]
            lu.assertEquals({ stack.what, stack.shared, stack.stop - stack.start }, { "kernel stack", false, 4096 })
            lu.assertNil(stacks[stack.frame])
            stacks[stack.frame] = true
            for _, other in ipairs(all) do
                lu.assertEquals(select(2, walk(m, f, root_of(other), stack.start)), stack.frame << 12)
            end
            -- The page below is the guard.
            lu.assertNil(select(2, walk(m, f, root, stack.start - 1)))
            if f.self then -- the window on its tables: every index the self entry leads to the root
                local va = 0
                local shift = 12
                for i = #f.bits, 1, -1 do
                    va = va | f.self << shift
                    shift = shift + f.bits[i]
                end
                lu.assertEquals(select(2, walk(m, f, root, va + 8)), root + 8)
            end
        end
        lu.assertTrue(m:check())
    end
end

-- A user that touches the kernel: a protection fault, which ends that process alone.
function TestBootSpaces:testUsersMayNotTouchTheKernel()
    for _, name in ipairs(presets) do
        local f = formats[name]
        local m <close> = vmem.machine({ preset = name })
        local by = m:spawn()
        local a = assert(by:mmap({ length = 4096 }))
        by:store(a, 7)
        local places = { f.base, f.base + MIB - 1, f.base + MIB, -1 & (name == "x86-32" and 0xffffffff or -1) }
        if name == "x86-32" then places[#places + 1] = 0xffc00000 end
        for _, va in ipairs(places) do
            for _, kind in ipairs({ "load", "store", "fetch" }) do
                local p = m:spawn()
                p:load(assert(p:mmap({ length = 4096 })))
                local e = kind == "store" and scene.fault(p.store, p, va, 1, 1) or scene.fault(p[kind], p, va, 1)
                lu.assertEquals({ e.signal, e.code, e.addr, e.access }, { "SIGSEGV", "ACCERR", va, kind })
                lu.assertTrue(m:check())
            end
        end
        -- The stack of its kernel half is no exception, nor is another's.
        local p = m:spawn()
        lu.assertEquals(scene.fault(p.load, p, by:kernel()[2].start).code, "ACCERR")
        lu.assertEquals(by:load(a), 7)
        lu.assertEquals(#m:processes(), 1)
    end
end

-- Calls can't change what is there.
function TestBootSpaces:testUsersCanNotMapThere()
    local m <close> = vmem.machine({ preset = "x86-32" })
    local p = m:spawn()
    local _, _, code = p:mmap({ addr = 0xc0000000, length = 4096, flags = "private|anonymous|fixed" })
    lu.assertEquals(code, "ENOMEM")
    lu.assertErrorMsgContains("of the kernel's part", p._set_pte, p, 0xc0000, 5, "rw")
    lu.assertErrorMsgContains("of the kernel's part", p._set_tlb, p, 0, 0xc0000, 5, "rw")
    lu.assertTrue(m:check())
end

function TestBootSpaces:testFramesComeBack()
    for _, name in ipairs(presets) do
        local m <close> = vmem.machine({ preset = name })
        local levels, free = #formats[name].bits, m:meminfo().free
        lu.assertEquals({ m:meminfo().kernel, m:meminfo().kernel_stacks }, { levels, 0 })
        local p = m:spawn()
        local a = assert(p:mmap({ length = "64KiB" }))
        for i = 0, 15 do p:store(a + i * 4096, i) end
        local children = {}
        for i = 1, 20 do children[i] = p:fork() end
        lu.assertEquals(m:meminfo().kernel_stacks, 21)
        lu.assertTrue(m:check())
        for i, c in ipairs(children) do
            c:store(a, i)
            c:exit(0)
            lu.assertEquals((p:wait()), c:pid())
        end
        lu.assertEquals(m:meminfo().kernel_stacks, 1)
        p:exit(0)
        lu.assertEquals({ m:meminfo().free, m:meminfo().kernel }, { free, levels })
        lu.assertTrue(m:check())
    end
end

-- More stacks than the tables of the boot have places for: more tables, in all spaces.
function TestBootSpaces:testTablesForMoreStacks()
    local f = formats["x86-32"]
    local m <close> = vmem.machine({ preset = "x86-32" })
    local all, first = {}, m:spawn()
    for i = 1, 400 do all[i] = m:spawn() end
    lu.assertEquals(m:meminfo().kernel, 2 + 1 + 401)
    lu.assertEquals(select(2, walk(m, f, root_of(first), all[400]:kernel()[2].start)),
        all[400]:kernel()[2].frame << 12)
    lu.assertTrue(m:check())
    for _, p in ipairs(all) do p:exit(0) end
    lu.assertEquals(m:meminfo().kernel, 2 + 1)
    lu.assertTrue(m:check())
end

-- Memory that is short: neither tables nor stacks of the kernel are ever evicted.
function TestBootSpaces:testReclaimLeavesTheKernelAlone()
    for _, policy in ipairs({ "fifo", "lru", "clock", "random" }) do
        local m <close> = vmem.machine({ preset = "core-i7", dram = "256KiB", swap = "4MiB", policy = policy,
            kernel = { low = "128KiB" } })
        local log = m:boot()
        lu.assertTrue(log.mapped)
        local p = m:spawn()
        local a = assert(p:mmap({ length = "1MiB" }))
        for i = 0, 255 do p:store(a + i * 4096, i) end
        local c = p:fork()
        for i = 0, 255 do lu.assertEquals(c:load(a + i * 4096), i) end
        lu.assertTrue(m:check())
        lu.assertEquals(select(2, walk(m, formats["core-i7"], root_of(c), log.base + 0x3000)), 0x3000)
    end
end

-- No memory for another process's kernel stack is an answer, not an end.
function TestBootSpaces:testNoMemoryForAStack()
    local m <close> = vmem.machine({ preset = "x86-32", dram = "64KiB", swap = 0, kernel = { low = "16KiB" } })
    local p, n = m:spawn(), 0
    local why, code
    repeat
        local c
        c, why, code = p:fork()
        n = n + (c and 1 or 0)
        lu.assertTrue(m:check())
    until not c
    lu.assertEquals({ code, n }, { "ENOMEM", 6 })
    lu.assertStrContains(why, "fork: no memory")
    lu.assertErrorMsgContains("no room", m.spawn, m)
    lu.assertTrue(m:check())
end

function TestBootSpaces:testItIsSeen()
    local m <close> = vmem.machine({ preset = "x86-32" })
    local p = m:spawn()
    local list = p:kernel()
    lu.assertEquals({ list[1].what, list[1].start, list[1].stop, list[1].shared },
        { "physical memory", 0xc0000000, 0xc0100000, true })
    lu.assertEquals({ list[3].what, list[3].start, list[3].stop, list[3].shared },
        { "page tables", 0xffc00000, 0x100000000, false })
    lu.assertStrContains(tostring(p:map()), "| kernel, supervisor only              1 GiB |")
    lu.assertStrContains(tostring(m:meminfo()), "KernelStack:           4 kB")
    local small <close> = vmem.machine({ preset = "x86-32", dram = "256KiB", kernel = { low = "64KiB" } })
    small:spawn()
    lu.assertEquals(small:frames().map, "t............kkk" .. ("."):rep(48))
    lu.assertEquals(small:frames().legend.k, "the kernel's own")
end

TestBootPeek = {}

function TestBootPeek:testBytesOfPhysicalMemory()
    local m <close> = vmem.machine({ preset = "core-i7" })
    local p = m:spawn()
    local a = assert(p:mmap({ length = 8192 }))
    p:write(a, "Hello, world!")
    local clock = m:clock()
    lu.assertEquals(m:peek((p:page(a).frame << 12) + 7, 5), "world")
    lu.assertEquals({ m:clock(), m:peek(64 * MIB, 0), m:peek(64 * MIB - 2, 2) }, { clock, "", "\0\0" })
    lu.assertErrorMsgContains("not an address of DRAM", m.peek, m, -1, 1)
    lu.assertErrorMsgContains("not an address of DRAM", m.peek, m, 64 * MIB + 1, 0)
    lu.assertErrorMsgContains("end beyond DRAM", m.peek, m, 64 * MIB - 2, 3)
    lu.assertErrorMsgContains("end beyond DRAM", m.peek, m, 0, -1)
    lu.assertErrorMsgContains("end beyond DRAM", m.peek, m, 0, math.maxinteger)
end

TestBootRandom = {}

-- Random programs on machines that keep a kernel in a few low pages.
function TestBootRandom:testRandomProgramsBesideAKernel()
    for seed = 1, math.ceil(60 * scale) do
        lu.assertNil(flat.case(seed, 80, true))
    end
end
