-- Random programs of many processes under policies in Lua, against a flat model.
local lu = require("luaunit")
local vmem = require("vmem")
local flat = require("fuzz.flat_model")
local kfuzz = require("fuzz.kernel_fuzz")
local samples = require("policy_samples")

local scale = require("scale")

TestLuaPolicyFuzz = {}

function TestLuaPolicyFuzz.setUp()
    TestLuaPolicyFuzz.policies = flat.policies
    flat.policies = { samples.fifo, samples.lru, samples.clock, samples.aging, samples.wsclock,
        vmem.policy.wrap("lru", { touch = function(self, slot, write) self.inner:touch(slot, write) end }),
        -- Every third that it is asked of may go.
        vmem.policy.wrap("2q", { filter = function(self)
            self.asked = (self.asked or 0) + 1
            return self.slots:count() < 3 or self.asked % 3 == 0
        end }) }
end

function TestLuaPolicyFuzz.tearDown() flat.policies = TestLuaPolicyFuzz.policies end

function TestLuaPolicyFuzz.testProcessesThatShareSeeTheBytesOfAFlatModel()
    for seed = 1, math.ceil(100 * scale) do lu.assertNil(kfuzz.case(seed, 120)) end
end
