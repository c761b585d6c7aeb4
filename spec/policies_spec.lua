-- The classic policies, each against a slow model in spec/policies, victim by victim.
local lu = require("luaunit")
local vmem = require("vmem")
local compare = require("spec.policies.compare")

local models = {}
for _, family in ipairs({ "orders", "bits", "counts" }) do
    for name, make in pairs(require("spec.policies." .. family)) do models[name] = make end
end

-- What parameters a policy is tried with, beside its defaults.
local variants = {
    clock = { { enter = 0 } },
    ["second-chance"] = { { enter = 0 } },
    ["enhanced-second-chance"] = { { enter = 0 } },
    nru = { { tie = "random" }, { every = 5, enter = 0 }, { every = 7, unit = "references" },
        { every = 3, unit = "references", tie = "random" } },
    aging = { { bits = 1 }, { bits = 16, every = 3 }, { enter = "top", every = 2 }, { every = 10, unit = "references" } },
    nfu = { { enter = 2, every = 1 }, { every = 10, unit = "references" } },
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
                for _, n in ipairs({ 1, 2, 7, 24, 60 }) do
                    lu.assertNil(compare.differs(trace, name, params, make, n, 5), kind)
                end
            end
            trace:close()
        end
    end
end
