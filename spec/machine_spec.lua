-- The machine as it is defined: single facts that a definition implies.
local lu = require("luaunit")
local vmem = require("vmem")
local fuzz = require("fuzz.machine_fuzz")

local scale = require("scale")

local function machine(t)
    return vmem.machine(t or { preset = "core-i7" })
end

TestMachineAccess = {}

function TestMachineAccess:testBytesAreWholeUnderCachegrindsAccounting()
    local m <close> = machine({ preset = "core-i7", cache = { straddle = "once" } })
    local p = m:spawn()
    local a = assert(p:mmap({ length = "64KiB" }))
    local text = ("0123456789"):rep(30)
    p:write(a + 5, text)
    lu.assertEquals(p:read(a + 5, #text), text)
end

function TestMachineAccess:testAnAccessOverTwoPagesIsOverTwoLines()
    local m <close> = machine()
    local p = m:spawn()
    local a = assert(p:mmap({ length = 8192 }))
    p:store(a + 4092, 1)
    local access = m:stats().access
    lu.assertEquals({ access.line_straddles, access.page_straddles, access.stores }, { 1, 1, 1 })
end

function TestMachineAccess:testWithoutPagingThereIsNoPageToCross()
    for straddle, refs in pairs({ once = 1, each = 2 }) do
        local m <close> = machine({ preset = "core-i7", paging = { enabled = false }, cache = { straddle = straddle } })
        m:spawn():replay(vmem.trace.new({ { "load", 4092, 8 } }))
        lu.assertEquals(m:stats("access.page_straddles"), 0)
        lu.assertEquals(m:stats("access.line_straddles"), 1)
        lu.assertEquals(m:stats("cache.l1d.data.reads"), refs)
    end
end

function TestMachineAccess:testNoAllocateHoldsUnderCachegrindsAccounting()
    local m <close> = machine({ preset = "core-i7", paging = { enabled = false },
        cache = { straddle = "once", l1d = { allocate = false }, l2 = { allocate = false },
            l3 = { allocate = false } } })
    m:spawn():replay(vmem.trace.new({ { "store", 4092, 8 }, { "store", 4092, 8 } }))
    lu.assertEquals(m:stats("cache.l1d.data.write_misses"), 2)
    lu.assertEquals(m:stats("dram.writes"), 2)
    lu.assertEquals(m:stats("dram.data.reads"), 0)
end

-- The address is no page's, though what is left of it in a TLB's tag, beside the
-- address-space identifier, is another process's.
function TestMachineAccess:testAWildAddressIsNobodysPage()
    for _, shortcuts in ipairs({ true, false }) do
        for bit = 48, 63 do
            local m <close> = machine({ preset = "core-i7", shortcuts = shortcuts })
            local p = m:spawn()
            local t = vmem.trace.new({ { "load", 0x10000, 8, 0 }, { "load", 0x10000, 8, 1 },
                { "load", 0x10000, 8, 1 }, { "load", 0x10000 | 1 << bit, 8, 0 } })
            lu.assertFalse((pcall(p.replay, p, t)))
            local u = vmem.trace.new({ { "load", 0x10000, 8, 0 }, { "load", 0x10000, 8, 1 },
                { "load", 0x10000, 8, 1 }, { "load", 0x10000 | 3 << bit, 8, 0 } })
            local q = m:spawn()
            lu.assertFalse((pcall(q.replay, q, u)))
        end
    end
end

TestMachinePages = {}

function TestMachinePages:testALargePageMayComeWhereBasePagesWere()
    local m <close> = machine()
    local free = m:meminfo().free
    local p = m:spawn()
    assert(p:mmap({ addr = 1 << 30, length = "2MiB", flags = "fixed" }))
    p:store(1 << 30, 1)
    assert(p:munmap(1 << 30, "2MiB"))
    assert(p:mmap({ addr = 1 << 30, length = "2MiB", flags = "fixed|hugetlb" }))
    p:store(1 << 30, 7)
    lu.assertEquals(p:load(1 << 30), 7)
    lu.assertTrue(m:check())
    assert(p:munmap(1 << 30, "2MiB"))
    assert(p:mmap({ addr = 1 << 30, length = "2MiB", flags = "fixed" }))
    p:store(1 << 30, 9)
    lu.assertEquals(p:load(1 << 30), 9)
    lu.assertTrue(m:check())
    p:exit()
    lu.assertEquals(m:meminfo().free, free)
end

-- What a program may do does not depend on which of its pages are in memory.
function TestMachinePages:testPermissionIsTheSameBeforeAndAfterThePageIsThere()
    for _, preset in ipairs({ "csapp", "x86-32", "core-i7", "sv39" }) do
        for _, prot in ipairs({ "none", "r", "w", "x", "rw", "rx", "wx", "rwx" }) do
            local outcome = {}
            for _, first in ipairs({ "load", "store", "fetch" }) do
                for _, kind in ipairs({ "load", "store", "fetch" }) do
                    local m <close> = machine({ preset = preset })
                    local p = m:spawn()
                    local a = assert(p:mmap({ length = 4096, prot = prot }))
                    p:explain(a, { kind = first })
                    local fault = p:explain(a, { kind = kind }).fault
                    local code = fault and fault.code or "ok"
                    outcome[kind] = outcome[kind] or code
                    lu.assertEquals(code, outcome[kind], ("%s: %s after %s of %s"):format(preset, kind, first, prot))
                end
            end
            lu.assertEquals(outcome.store, prot:find("w") and "ok" or "ACCERR")
            lu.assertEquals(outcome.load == "ok" or outcome.fetch == "ok", prot ~= "none")
        end
    end
end

TestMachineModel = {}

-- Every counter of random machines under random programs, and what killed whom,
-- as a second machine, written from the definitions, has them.
function TestMachineModel:testAllCountersOfRandomMachinesAreTheModels()
    for seed = 1, math.ceil(80 * scale) do
        lu.assertNil(fuzz.case(seed, seed % 2 == 0))
    end
end

-- What once went wrong stays here by its seed.
function TestMachineModel:testSeedsThatFailed()
    for _, seed in ipairs({ 40, 616, 716 }) do
        lu.assertNil(fuzz.case(seed, (seed - 1) % 2 == 0))
    end
end

function TestMachineModel:testRandomPoliciesKeepAllInvariants()
    for seed = 1, math.ceil(20 * scale) do
        local rng = fuzz.random(seed)
        local o = fuzz.machine(rng, false)
        o.policy = "random"
        for _, level in pairs(o.cache) do
            if type(level) == "table" then level.policy = "random" end
        end
        for _, level in pairs(o.tlb) do
            if type(level) == "table" then level.policy = "random" end
        end
        local ops = fuzz.program(rng, o, 20, 2)
        local a, _, broken = fuzz.run(o, ops, { check = true })
        lu.assertNotNil(a, broken)
        lu.assertNil(fuzz.difference(a, (fuzz.run(o, ops, { shortcuts = false }))))
    end
end
