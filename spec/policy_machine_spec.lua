-- Replacement as the machine shows it: known victims of known reference strings,
-- in frames, TLB sets and cache sets.
local lu = require("luaunit")
local vmem = require("vmem")
local orders = require("policies.orders")
local workloads = require("study.workloads")

-- A machine with n frames for pages, and the pages of a string of references that
-- are in frames after each.
local function frames(policy, n, options)
    local o = { preset = "core-i7", policy = policy, resident = n }
    for k, v in pairs(options or {}) do o[k] = v end
    local m = vmem.machine(o)
    local p = m:spawn()
    assert(p:mmap({ addr = 0x100000, length = "1MiB", flags = "fixed" }))
    local r = { machine = m, process = p }
    function r.refer(page, write)
        local before = m:stats("kernel.faults")
        if write then p:store(0x100000 + page * 4096, 1) else p:load(0x100000 + page * 4096) end
        return m:stats("kernel.faults") > before
    end
    function r.resident()
        local t = {}
        for page = 0, 40 do
            if p:page(0x100000 + page * 4096).state == "cached" then t[#t + 1] = page end
        end
        return t
    end
    return r
end

local function faults(policy, n, string)
    local r = frames(policy, n)
    local count = 0
    for page in string:gmatch("%d+") do
        if r.refer(tonumber(page)) then count = count + 1 end
    end
    lu.assertTrue(r.machine:check())
    r.machine:close()
    return count
end

TestPolicyFrames = {}

-- Silberschatz and others, Operating System Concepts, chapter 10: 15, 12 faults.
function TestPolicyFrames:testTheTextbooksString()
    local string = "7 0 1 2 0 3 0 4 2 3 0 3 2 1 2 0 1 7 0 1"
    lu.assertEquals(faults("fifo", 3, string), 15)
    lu.assertEquals(faults("lru", 3, string), 12)
end

-- Tanenbaum: CLOCK passes referenced pages and takes the first that is not.
function TestPolicyFrames:testClockGivesASecondChance()
    for _, shortcuts in ipairs({ true, false }) do
        local r = frames("clock", 3, { shortcuts = shortcuts })
        for page = 1, 3 do r.refer(page) end
        r.refer(4) -- all are referenced: the hand clears them all and takes 1
        lu.assertEquals(r.resident(), { 2, 3, 4 })
        r.refer(2) -- 2 is referenced again, 3 is not
        r.refer(5)
        lu.assertEquals(r.resident(), { 2, 4, 5 })
        lu.assertTrue(r.machine:check())
        r.machine:close()
    end
end

-- Where clearing a reference bit leaves the translation in the TLB, a page looks
-- unused however often it is used.
function TestPolicyFrames:testWithoutYoungFlushTheTlbHidesReferences()
    local resident = {}
    for _, flush in ipairs({ true, false }) do
        local r = frames("clock", 3, { young_flush = flush })
        for page = 1, 4 do r.refer(page) end
        r.refer(2)
        r.refer(5)
        resident[flush] = r.resident()
        r.machine:close()
    end
    lu.assertEquals(resident, { [true] = { 2, 4, 5 }, [false] = { 3, 4, 5 } })
end

function TestPolicyFrames:testStringsAgainstPlainLists()
    for n = 1, 12 do
        local list = workloads.random(300, 16, n)
        for _, policy in ipairs({ "fifo", "lru" }) do
            local refer, want = orders[policy](n), 0
            for _, page in ipairs(list) do
                if not refer(page) then want = want + 1 end
            end
            lu.assertEquals(faults(policy, n, table.concat(list, " ")), want)
        end
    end
end

function TestPolicyFrames:testRandomIsSeeded()
    local function run(seed)
        local r = frames("random", 8, { seed = seed })
        for i = 0, 400 do r.refer(i * 7 % 20) end
        local t = r.resident()
        r.machine:close()
        return t
    end
    lu.assertEquals(run(5), run(5))
    lu.assertEquals(#run(6), 8)
end

-- The pages or lines of one set, by what a further reference to each would do.
TestPolicySets = {}

-- A fully associative L1 cache of four lines; hits and misses of a string of lines.
local function lines(policy, string, shortcuts)
    local m <close> = vmem.machine({ paging = { enabled = false }, shortcuts = shortcuts,
        cache = { l1 = { size = 4 * 64, ways = 4, policy = policy } } })
    local p, out = m:spawn(), {}
    for line in string:gmatch("%d+") do
        local before = m:stats("cache.l1.misses")
        p:load(tonumber(line) * 64)
        out[#out + 1] = m:stats("cache.l1.misses") > before and "-" or "+"
    end
    lu.assertTrue(m:check())
    return table.concat(out)
end

function TestPolicySets:testVictimsInACacheSet()
    for _, shortcuts in ipairs({ true, false }) do
        --                                    1 2 3 4  1  5: who went?
        lu.assertEquals(lines("lru", "1 2 3 4 1 5 1 2", shortcuts), "----+-+-")
        lu.assertEquals(lines("fifo", "1 2 3 4 1 5 2 1", shortcuts), "----+-+-")
        -- The tree after 1 2 3 4 1 points to the half of 3 and 4, and there to 3.
        lu.assertEquals(lines("tree-plru", "1 2 3 4 1 5 1 2 4 3", shortcuts), "----+-+++-")
        -- All bits are set: the hand clears them and takes 1; 2 is then the first clear one.
        lu.assertEquals(lines("clock", "1 2 3 4 5 3 6 3 2", shortcuts), "-----+-+-")
    end
end

function TestPolicySets:testVictimsInATlbSet()
    for policy, want in pairs({ lru = "----+-+-", fifo = "----+-+-" }) do
        for _, shortcuts in ipairs({ true, false }) do
            local m <close> = vmem.machine({ shortcuts = shortcuts,
                tlb = { l1 = { entries = 4, ways = 4, policy = policy } } })
            local p, out = m:spawn(), {}
            local a = assert(p:mmap({ length = "64KiB" }))
            for page = 0, 9 do p:load(a + page * 4096) end
            for page in (policy == "lru" and "1 2 3 4 1 5 1 2" or "1 2 3 4 1 5 2 1"):gmatch("%d+") do
                local before = m:stats("tlb.l1.misses")
                p:load(a + page * 4096)
                out[#out + 1] = m:stats("tlb.l1.misses") > before and "-" or "+"
            end
            lu.assertEquals(table.concat(out), want, policy)
        end
    end
end
