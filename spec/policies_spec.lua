-- The classic policies, each against a slow model in spec/policies, victim by victim.
local lu = require("luaunit")
local vmem = require("vmem")
local compare = require("policies.compare")
local workloads = require("study.workloads")

local models = {}
for _, family in ipairs({ "orders", "bits", "counts" }) do
    for name, make in pairs(require("policies." .. family)) do models[name] = make end
end

-- What parameters a policy is tried with, beside its defaults.
local variants = {
    clock = { { enter = 0 } },
    ["second-chance"] = { { enter = 0 } },
    ["enhanced-second-chance"] = { { enter = 0 } },
    nru = { { tie = "random" }, { every = 5, enter = 0 }, { every = 7, unit = "references" },
        { every = 3, unit = "references", tie = "random" } },
    aging = { { bits = 1 }, { bits = 16, every = 3 }, { enter = "top", every = 2 },
        { every = 10, unit = "references" } },
    nfu = { { every = 1 }, { every = 10, unit = "references" } },
    lfu = { { tie = "mru" }, { tie = "fifo" }, { tie = "random" } },
    slru = { { protected = 0 }, { protected = 1 }, { protected = 0.5 } },
    ["2q"] = { { kin = 0, kout = 0 }, { kin = 1, kout = 3 }, { kin = 0.5, kout = 1 } },
    wsclock = { { tau = 0 }, { tau = 40 }, { tau = 10, unit = "faults" }, { tau = 400 } },
}

TestPolicies = {}

for name, make in pairs(models) do
    TestPolicies["test " .. name] = function()
        local tries = { {}, table.unpack(variants[name] or {}) }
        for kind, trace in pairs(compare.workloads(1500, 60, 7)) do
            for _, params in ipairs(tries) do
                for _, n in ipairs({ 1, 3, 24, 40 }) do
                    lu.assertNil(compare.differs(trace, name, params, make, n, 5), kind)
                end
            end
            trace:close()
        end
    end
end

-- Strings whose faults and victims are known, in the study and in the machine.
TestPoliciesInTextbooks = {}

-- The pages that go, in order.
local function victims(list, policy, n)
    local trace, out = vmem.trace.pages(workloads.text(list)), {}
    local run = vmem.paging.run({ trace = trace, policy = policy, frames = n, log = true })
    for _, page in ipairs(run.log:victims()) do out[#out + 1] = page or nil end
    return table.concat(out, " "), run.misses
end

-- Silberschatz's string; LFU's 13 faults are those of the textbooks that break ties
-- by arrival.
function TestPoliciesInTextbooks:testSilberschatz()
    local list = "7 0 1 2 0 3 0 4 2 3 0 3 2 1 2 0 1 7 0 1"
    lu.assertEquals(select(2, victims(list, "fifo", 3)), 15)
    lu.assertEquals(select(2, victims(list, "lru", 3)), 12)
    lu.assertEquals(select(2, victims(list, "lfu:tie=fifo", 3)), 13)
end

-- Chou and DeWitt: of a loop over N pages in n frames MRU misses N - n in n - 1 ... N - 1
-- references; LRU misses all.
function TestPoliciesInTextbooks:testMruInLoops()
    local list = ("1 2 3 4 5 "):rep(13)
    lu.assertEquals(select(2, victims(list, "mru", 4)), 5 + (65 - 5) // 4)
    lu.assertEquals(select(2, victims(list, "lru", 4)), 65)
end

-- Tanenbaum, figure 3-15: A to H arrive, A was referenced: B goes, A is behind H.
function TestPoliciesInTextbooks:testSecondChance()
    for _, policy in ipairs({ "second-chance:enter=0", "clock:enter=0" }) do
        lu.assertEquals(victims("1 2 3 4 5 6 7 8 1 9 10 11 12 13 14 15 16", policy, 8), "2 3 4 5 6 7 8 1", policy)
    end
end

-- Tanenbaum, figure 3-17: the reference bits of six pages in five ticks leave 3 with
-- the lowest counter (00100000), then 5, 4 and 0. Here all have one bit more, at the
-- right, from when they entered; pages that enter later have the highest.
function TestPoliciesInTextbooks:testAging()
    local list = "0 1 2 3 4 5  0 2 4 5 5 5  0 1 4 4 4 4  0 1 3 5 5 5  0 4 4 4 4 4  1 2 2 2 2 2  6 7 8 9"
    lu.assertEquals(victims(list, "aging:every=6:unit=references:enter=top", 6), "3 5 4 0")
end

-- Worked by hand: Kin is 1, Kout 2. 1 comes back while it is remembered, pushed out by
-- the very page that makes room for it; hits in A1in change nothing; 1 and 2 stay.
function TestPoliciesInTextbooks:testTwoQueues()
    lu.assertEquals(victims("1 2 3 4 4 4 5 6 1 2 7 1 2 8 9", "2q", 4), "1 2 3 4 5 6 7")
    lu.assertEquals(victims("1 2 3 4 1 1 1 5", "2q", 4), "1")
end

-- The pages 1, 2 and 3 are dirty, 4 is not; all were referenced when they entered.
function TestPoliciesInTextbooks:testClassesPreferCleanPages()
    for policy, want in pairs({ clock = 1, ["enhanced-second-chance"] = 4, ["nru:every=9"] = 4 }) do
        local trace = vmem.trace.phases({
            vmem.trace.loop({ refs = 3, pages = 3, stores = 1, base = 4096 }),
            vmem.trace.loop({ refs = 2, pages = 2, base = 4 * 4096 }),
        })
        local run = vmem.paging.run({ trace = trace, policy = policy, frames = 4, log = true })
        lu.assertEquals(run.log:victims()[5], want, policy)
    end
end

-- Jaleel and others, figure 2: a scan of four lines between two uses of a1 and a2 costs
-- LRU both and SRRIP none.
function TestPoliciesInTextbooks:testRrip()
    local function hits(policy)
        local m <close> = vmem.machine({ paging = { enabled = false },
            cache = { l1 = { size = 4 * 64, ways = 4, policy = policy } } })
        local p, out = m:spawn(), {}
        for _, line in ipairs(workloads.text("1 2 2 1 11 12 13 14 1 2")) do
            local before = m:stats("cache.l1.misses")
            p:load(line * 64)
            out[#out + 1] = m:stats("cache.l1.misses") > before and "-" or "+"
        end
        return table.concat(out)
    end
    lu.assertEquals(hits("lru"), "--++------")
    lu.assertEquals(hits("srrip"), "--++----++")
end

-- The same policy over the frames of a machine that has nothing else to do: as many
-- faults, at the same references.
TestPoliciesInMachine = {}

local BASE = 0x10000000

local function machine_misses(trace, policy, n, seed)
    local m <close> = vmem.machine({ preset = "core-i7", policy = policy, resident = n, seed = seed, swap = "8MiB" })
    local p = m:spawn()
    assert(p:mmap({ addr = BASE, length = "4MiB", flags = "fixed" }))
    local misses, before = {}, 0
    for kind, addr in trace:each() do
        if kind == "store" then p:store(addr & ~7, 1) else p:load(addr & ~7) end
        local faults = m:stats("kernel.faults")
        misses[#misses + 1] = faults > before and "-" or "+"
        before = faults
    end
    lu.assertTrue(m:check())
    return table.concat(misses)
end

-- Where A bits are the machine's, a page's bit is set when it enters, and ticks counted
-- in references wait for a fault.
local function as_in_study(params) return params.enter ~= 0 and params.unit ~= "references" end

-- (Which full slot is drawn depends on the order in which they were filled, and the
-- machine empties one before it fills it again.)
for name in pairs(models) do
    TestPoliciesInMachine["test " .. name] = name ~= "random" and function()
        local tries = { {} }
        for _, params in ipairs(variants[name] or {}) do tries[#tries + 1] = as_in_study(params) and params or nil end
        for kind, trace in pairs(compare.workloads(300, 60, 3)) do
            if kind ~= "groups" then
                for _, params in ipairs(tries) do
                    local policy, n = compare.policy(name, params), 20
                    local run = vmem.paging.run({ trace = trace, policy = policy, frames = n, log = true, seed = 5 })
                    lu.assertEquals(machine_misses(trace, policy, n, 5), run.log:hits(), kind .. " " .. run.policy)
                end
            end
            trace:close()
        end
    end or nil
end

-- Keys are dense in a study and hashed in a machine: many ghosts that come and go.
function TestPoliciesInMachine:testManyGhosts()
    local trace <close> = vmem.trace.zipf({ refs = 6000, pages = 900, alpha = 0.4, stores = 0.2, seed = 2 })
    local policy = { "2q", kin = 0.1, kout = 3 }
    local run = vmem.paging.run({ trace = trace, policy = policy, frames = 150, log = true })
    lu.assertEquals(machine_misses(trace, policy, 150, 1), run.log:hits())
end

-- Policies of sets, in a cache that no TLB or page table stands before.
TestPoliciesOfSets = {}

local set_models = require("policies.sets")
local set_variants = {
    srrip = { { bits = 1 }, { bits = 3, hit = "fp" } },
    brrip = { { epsilon = 0 }, { epsilon = 1 }, { epsilon = 0.25, bits = 3 } },
    drrip = { { leaders = 2, psel = 3 }, { leaders = 1, psel = 1, epsilon = 0.5 }, { hit = "fp", psel = 4 } },
}

-- The seed of the first cache, by the machine's.
local function seed_of_l1(seed) return seed + 17 end

local function cache_misses(trace, policy, sets, ways, seed)
    local m <close> = vmem.machine({ paging = { enabled = false }, seed = seed,
        cache = { l1 = { size = sets * ways * 64, ways = ways, policy = policy } } })
    local p, out, before = m:spawn(), {}, 0
    for _, addr in trace:each() do
        p:load((addr - BASE) >> 6 << 6)
        local misses = m:stats("cache.l1.misses")
        out[#out + 1] = misses > before and "-" or "+"
        before = misses
    end
    lu.assertTrue(m:check())
    return table.concat(out)
end

for name, make in pairs(set_models) do
    TestPoliciesOfSets["test " .. name] = function()
        local tries = { {}, table.unpack(set_variants[name] or {}) }
        for kind, trace in pairs(compare.workloads(800, 4, 11)) do
            for _, params in ipairs(kind ~= "groups" and tries or {}) do
                for _, shape in ipairs({ { 1, 4 }, { 2, 1 }, { 4, 8 }, { 16, 4 }, { 32, 3 } }) do
                    local policy, sets, ways = compare.policy(name, params), shape[1], shape[2]
                    local refer, out = make(sets, ways, params, seed_of_l1(9)), {}
                    for _, addr in trace:each() do
                        local line = (addr - BASE) >> 6
                        out[#out + 1] = refer(line % sets, line // sets) and "+" or "-"
                    end
                    lu.assertEquals(cache_misses(trace, policy, sets, ways, 9), table.concat(out),
                        ("%s %s, %d sets of %d"):format(kind, name, sets, ways))
                end
            end
            trace:close()
        end
    end
end

-- With one bit, SRRIP is NRU.
function TestPoliciesOfSets:testOneBitOfRripIsNru()
    for kind, trace in pairs(compare.workloads(1500, 4, 1)) do
        if kind ~= "groups" then
            lu.assertEquals(cache_misses(trace, "srrip:bits=1", 4, 4, 1), cache_misses(trace, "nru", 4, 4, 1))
        end
        trace:close()
    end
end
