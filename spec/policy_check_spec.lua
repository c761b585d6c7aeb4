-- The conformance kit: good policies pass, each way to break the contract is found, named and
-- shown by a few calls.
local lu = require("luaunit")
local vmem = require("vmem")

local policy = vmem.policy
local samples = require("policy_samples")

TestPolicyCheck = {}

function TestPolicyCheck.testGoodOnesPass()
    for _, name in ipairs({ "fifo", "lru", "clock", "slow_clock", "aging", "wsclock", "nfu" }) do
        local ok, report = policy.check(samples[name], { runs = 40 })
        lu.assertTrue(ok, tostring(report))
    end
    for _, row in ipairs(vmem.policies()) do
        if row.serves:find("frames") then
            local ok, report = policy.check(row.name, { runs = 40 })
            lu.assertTrue(ok, tostring(report))
        end
    end
    local ok, report = policy.check(policy.wrap("lru", { filter = function(self, slot)
        return self.slots:count() == 1 or slot > 0
    end }), { runs = 40 })
    lu.assertTrue(ok, tostring(report))
end

-- FIFO that does not hear of pages that leave.
local function deaf_fifo()
    return policy({ name = "deaf", init = function(self) self.queue = {} end,
        insert = function(self, slot) table.insert(self.queue, slot) end,
        victim = function(self) return table.remove(self.queue, 1) end })
end

local shared = {}
local clock_of_all = 0

local sinners = {
    answers = { deaf_fifo(), policy({ name = "zero", victim = function() return 0 end }),
        policy.wrap("lru", { name = "stubborn", filter = function() return false end }) },
    ends = { policy({ name = "loop", victim = function(self)
        local slot = 0
        while self.slots:key(slot) do slot = (slot + 1) % #self.slots end
        return slot
    end }) },
    ["no-error"] = { policy({ name = "index", insert = function(self, slot) self.list[slot] = 1 end,
        victim = function(self) return self.slots:find() end }) },
    ["no-yield"] = { policy({ name = "yield", victim = function() return coroutine.yield() end }) },
    repeatable = { policy({ name = "dice", victim = function(self)
        local list, n = self.slots:list()
        return list[math.random(n)]
    end }) },
    ["own-state"] = { policy({ name = "shared", init = function() shared.hand = 0 end, victim = function(self)
        local slot = self.slots:find(shared.hand)
        shared.hand = slot + 1
        return slot
    end }), policy({ name = "ever", victim = function(self)
        clock_of_all = clock_of_all + 1
        return self.slots:find(clock_of_all // 50)
    end }) },
    bounded = { policy({ name = "elephant", init = function(self) self.ever = {} end,
        insert = function(self, _, key) self.ever[key] = true end,
        victim = function(self) return self.slots:find() end }) },
}

function TestPolicyCheck.testEachRule()
    for rule, list in pairs(sinners) do
        for _, p in ipairs(list) do
            local ok, report = policy.check(p)
            lu.assertNil(ok, p.name)
            lu.assertEquals({ p.name, report.rule }, { p.name, rule })
            lu.assertEquals(report.policy, p.name)
            lu.assertStrContains(tostring(report), "policy " .. p.name .. " breaks the contract, " .. rule)
        end
    end
end

function TestPolicyCheck.testCounterexamplesAreSmall()
    local _, report = policy.check(deaf_fifo())
    lu.assertTrue(#report.calls <= 5, tostring(report))
    lu.assertTrue(report.slots <= 2)
    lu.assertStrContains(report.message, "which is")
    lu.assertStrContains(report.calls[1], "insert(")
    local _, again = policy.check(deaf_fifo())
    lu.assertEquals(tostring(again), tostring(report))
    _, report = policy.check(sinners["own-state"][1])
    lu.assertTrue(#report.calls <= 12, tostring(report))
end

function TestPolicyCheck.testWrongUse()
    lu.assertErrorMsgContains("no option run", policy.check, "lru", { run = 3 })
    lu.assertErrorMsgContains("no policy lrx", policy.check, "lrx")
end
