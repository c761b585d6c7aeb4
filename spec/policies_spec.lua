-- The classic policies, each against a slow model in spec/policies, victim by victim.
local lu = require("luaunit")
local vmem = require("vmem")
local compare = require("policies.compare")

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
    aging = { { bits = 1 }, { bits = 16, every = 3 }, { enter = "top", every = 2 }, { every = 10, unit = "references" } },
    nfu = { { every = 1 }, { every = 10, unit = "references" } },
    lfu = { { tie = "mru" }, { tie = "fifo" }, { tie = "random" } },
    slru = { { protected = 0 }, { protected = 1 }, { protected = 0.5 } },
    ["2q"] = { { kin = 0, kout = 0 }, { kin = 1, kout = 3 }, { kin = 0.5, kout = 1 } },
    wsclock = { { tau = 0 }, { tau = 40 }, { tau = 10, unit = "faults" }, { tau = 400 } },
}

TestPolicies = {}

for name, make in pairs(models) do
    TestPolicies["test " .. name] = function()
        local tries = { {} }
        for _, params in ipairs(variants[name] or {}) do tries[#tries + 1] = params end
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

-- The same policy over the frames of a machine that has nothing else to do: as many
-- faults, at the same references.
TestPoliciesInMachine = {}

local BASE = 0x10000000

local function machine_misses(trace, policy, n, seed)
    local m <close> = vmem.machine({ preset = "core-i7", policy = policy, resident = n, seed = seed, swap = "8MiB" })
    local p = m:spawn()
    assert(p:mmap({ addr = BASE, length = 64 * 4096, flags = "fixed" }))
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
        for kind, trace in pairs(compare.workloads(500, 60, 3)) do
            if kind ~= "groups" then
                for _, params in ipairs(tries) do
                    local policy, n = { name }, 20
                    for k, v in pairs(params) do policy[k] = v end
                    local run = vmem.paging.run({ trace = trace, policy = policy, frames = n, log = true, seed = 5 })
                    lu.assertEquals(machine_misses(trace, policy, n, 5), run.log:hits(), kind .. " " .. run.policy)
                end
            end
            trace:close()
        end
    end or nil
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
        local tries = { {} }
        for _, params in ipairs(set_variants[name] or {}) do tries[#tries + 1] = params end
        for kind, trace in pairs(compare.workloads(800, 4, 11)) do
            for _, params in ipairs(kind ~= "groups" and tries or {}) do
                for _, shape in ipairs({ { 1, 4 }, { 2, 1 }, { 4, 8 }, { 16, 4 }, { 32, 3 } }) do
                    local policy, sets, ways = { name }, shape[1], shape[2]
                    for k, v in pairs(params) do policy[k] = v end
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
