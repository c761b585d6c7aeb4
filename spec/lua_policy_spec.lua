-- Policies written in Lua: what they see, where they serve, and that they choose as
-- their twins in C do. What they may do wrong is in policy_errors_spec.lua.
local lu = require("luaunit")
local vmem = require("vmem")
local rng = require("policies.rng")

local policy = vmem.policy

local samples = require("policy_samples")
local fifo, lru, clock, aging = samples.fifo, samples.lru, samples.clock, samples.aging
local slow_clock, wsclock, nfu = samples.slow_clock, samples.wsclock, samples.nfu

-- --- by hand, against twins in C ----------------------------------------------------------

-- The same calls to both, and the same victims. Some slots are emptied, unless `full`.
local function compare(a, b, slots, seed, steps, full)
    local r = rng(seed).below
    local x <close> = policy.open(a, { slots = slots, seed = 7 })
    local y <close> = policy.open(b, { slots = slots, seed = 7 })
    local where, held, free = {}, {}, {}
    for slot = slots - 1, 0, -1 do
        free[#free + 1] = slot
    end
    for step = 1, steps do
        local key = r(3) > 0 and r(slots) or r(2 * slots)
        local slot, write = where[key], r(4) == 0
        if slot and not full and r(20) == 0 then
            x:remove(slot)
            y:remove(slot)
            where[key], held[slot], free[#free + 1] = nil, nil, slot
        elseif slot then
            x:touch(slot, write)
            y:touch(slot, write)
        else
            slot = table.remove(free)
            if not slot then
                slot = x:victim(key)
                local other = y:victim(key)
                if other ~= slot then
                    lu.fail(("%s chose %d, %s chose %d at step %d of seed %d with %d slots"):format(
                        tostring(a), slot, tostring(b), other, step, seed, slots))
                end
                where[held[slot]] = nil
            end
            x:insert(slot, key)
            y:insert(slot, key)
            where[key], held[slot] = slot, key
        end
    end
    lu.assertTrue(x:check())
    lu.assertTrue(y:check())
end

TestLuaPolicyTwins = {}

function TestLuaPolicyTwins.testByHand()
    -- The twins of the last two look at the time at each fault, in Lua only when a victim
    -- is wanted: the same where all slots are full before the first tick, and stay so.
    local twins = { { fifo, "fifo" }, { lru, "lru" }, { clock, "clock" }, { slow_clock, "clock" },
        { wsclock:with({ tau = 40 }), "wsclock:tau=40" }, { aging:with({ every = 50 }), "aging:every=50", true },
        { nfu:with({ every = 50 }), "nfu:every=50", true } }
    for _, twin in ipairs(twins) do
        for seed = 1, 5 do
            compare(twin[1], twin[2], ({ 1, 2, 3, 7, 40 })[seed], seed, 2000, twin[3])
        end
    end
end

local function zipf(refs, pages)
    return vmem.paging.decode({ trace = vmem.trace.zipf({ refs = refs, pages = pages, alpha = 0.9, seed = 3 }) })
end

local FIELDS = { "refs", "hits", "misses", "cold", "evictions", "writebacks" }

function TestLuaPolicyTwins.testInStudies()
    local r = zipf(20000, 300)
    for _, twin in ipairs({ { fifo, "fifo" }, { lru, "lru" }, { clock, "clock" },
        { aging, "aging:every=100" }, { wsclock:with({ tau = 500 }), "wsclock:tau=500" } }) do
        for _, frames in ipairs({ 1, 10, 90 }) do
            local x = vmem.paging.run({ trace = r, frames = frames, policy = twin[1], log = true })
            local y = vmem.paging.run({ trace = r, frames = frames, policy = twin[2], log = true })
            for _, f in ipairs(FIELDS) do
                lu.assertEquals({ twin[2], frames, f, x[f] }, { twin[2], frames, f, y[f] })
            end
        end
    end
end

local function counters(m)
    local t = m:_stats()
    t["kernel.calls"] = nil
    return t
end

-- Machines differ in nothing but who decides.
function TestLuaPolicyTwins.testInMachines()
    local trace = vmem.trace.zipf({ refs = 4000, pages = 200, alpha = 0.8, seed = 5 })
    local function run(options)
        local m <close> = vmem.machine(options)
        m:spawn():replay(trace)
        lu.assertTrue(m:check())
        return counters(m)
    end
    for _, twin in ipairs({ { fifo, "fifo" }, { lru, "lru" }, { clock, "clock" } }) do
        for _, scope in ipairs({ "global", "local" }) do
            local function options(p)
                return { preset = "core-i7", resident = 60, policy = p, reclaim = { scope = scope } }
            end
            lu.assertEquals(run(options(twin[1])), run(options(twin[2])), twin[2] .. scope)
        end
        local function sets(p)
            return { tlb = { l1d = { entries = 16, ways = 4, policy = p }, l1i = { entries = 16, ways = 4 },
                l2 = { entries = 32, ways = 32, policy = p } }, shortcuts = false, dram = "4MiB",
                cache = { l1d = { size = "1KiB", ways = 4, policy = p }, l1i = { size = "1KiB", ways = 4 },
                    l2 = { size = "4KiB", ways = 8, policy = p, inclusive = true } } }
        end
        lu.assertEquals(run(sets(twin[1])), run(sets(twin[2])), twin[2])
    end
end

-- What slots:time() says at a decision does not depend on the way that led there.
function TestLuaPolicyTwins.testTimeWithShortcutsAndWithout()
    local trace = vmem.trace.zipf({ refs = 20000, pages = 120, alpha = 0.8, seed = 5 })
    local function run(shortcuts)
        local m <close> = vmem.machine({ preset = "core-i7", resident = 60, shortcuts = shortcuts,
            policy = wsclock:with({ tau = 150 }) })
        m:spawn():replay(trace)
        return counters(m)
    end
    lu.assertEquals(run(true), run(false))
end

-- --- what a policy sees ----------------------------------------------------------------------

TestLuaPolicyView = {}

function TestLuaPolicyView.testCallsInOrder()
    local log = {}
    local function note(name)
        return function(_, slot, x)
            log[#log + 1] = ("%s %s %s"):format(name, slot, x)
            return 1
        end
    end
    local p = policy({ name = "note", insert = note("insert"), touch = note("touch"), remove = note("remove"),
        victim = function(_, key)
            log[#log + 1] = "victim " .. tostring(key)
            return 1
        end })
    local h <close> = policy.open(p, { slots = 2 })
    h:insert(0, 10)
    h:insert(1, -1 >> 1)
    h:touch(0, true)
    lu.assertEquals(h:victim(12), 1)
    h:insert(1, math.mininteger)
    h:victim()
    h:remove(1)
    h:touch(0)
    lu.assertEquals(log, { "insert 0 10", "insert 1 " .. math.maxinteger, "touch 0 true", "victim 12",
        "insert 1 " .. math.mininteger, "victim nil", "remove 1 true", "touch 0 false" })
end

-- The whole machine's calls arrive before the method returns.
function TestLuaPolicyView.testToldAtTheEndOfAMethod()
    local slots = {}
    local p = policy({ name = "note", victim = function(self) return self.slots:find() end,
        insert = function(_, slot) slots[#slots + 1] = slot end,
        remove = function(_, slot) slots[#slots] = -slot end })
    local m <close> = vmem.machine({ preset = "core-i7", policy = p })
    local a = m:spawn()
    local va = a:mmap({ length = "64KiB" })
    a:store(va, 1)
    lu.assertEquals(#slots, 1)
    local frame = slots[1]
    a:munmap(va, "64KiB")
    lu.assertEquals(slots, { -frame })
end

function TestLuaPolicyView.testSlots()
    local seen
    local p = policy({ name = "look", enter = 0, victim = function(self)
        seen(self.slots, self)
        return 0
    end })
    local h <close> = policy.open(p, { slots = 5, seed = 9 })
    for slot = 0, 3 do h:insert(slot, 100 + slot) end
    h:touch(1)
    h:touch(3, true)
    seen = function(s, self)
        lu.assertEquals({ #s, s:count(), s:capacity(), s:faults(), s:time(), self.seed }, { 5, 4, 5, 4, 6, 9 })
        lu.assertEquals({ s:key(2), s:key(4) }, { 102 })
        lu.assertEquals({ s:list() }, { { 0, 1, 2, 3 }, 4 })
        lu.assertEquals({ s:list(nil, true) }, { { 1, 3 }, 2 })
        lu.assertEquals({ s:list(nil, nil, true) }, { { 3 }, 1 })
        lu.assertEquals({ s:list({ 9, 9, 9, 9 }, false, false) }, { { 0, 2 }, 2 })
        lu.assertEquals({ s:find(1, true), s:find(2, true), s:find(4, true), s:find(-1) }, { 1, 3, 1, 0 })
        lu.assertNil(s:find(0, false, true))
        lu.assertEquals({ s:dirty(3), s:dirty(1), s:dirty(4) }, { true, false, false })
        lu.assertEquals({ s:touched({ 7, 7, 7 }) }, { { 1, 3 }, 2 })
        lu.assertEquals({ s:touched() }, { {}, 0 })
        for _ = 1, 100 do lu.assertTrue(s:random(3) >= 0 and s:random(3) <= 2) end
    end
    h:victim(1)
    h:touch(0)
    h:touch(2)
    seen = function(s)
        lu.assertEquals({ s:test(2), s:test(2), s:test(4) }, { true, false, false })
        lu.assertEquals(s:sweep(0), 1) -- past 0, whose bit it clears
        lu.assertEquals(s:sweep(0), 0)
        lu.assertErrorMsgContains("no such slot", s.key, s, 5)
        lu.assertErrorMsgContains("no such slot", s.test, s, -1)
        lu.assertErrorMsgContains("slots", s.key, {}, 0)
    end
    h:victim(1)
end

function TestLuaPolicyView.testArrays()
    local seen, arrays
    local p = policy({ name = "look", enter = 0,
        init = function(self)
            arrays = { self.slots:array(), self.slots:array(-3) }
        end,
        victim = function(self)
            seen(arrays[1], arrays[2], self.slots)
            return 0
        end })
    local h <close> = policy.open(p, { slots = 4 })
    seen = function() end
    for slot = 0, 2 do h:insert(slot, slot) end
    h:victim()
    h:touch(2)
    seen = function(a, b, s)
        lu.assertEquals({ a:get(0), b:get(2), b:get(3) }, { 0, -3, -3 })
        a:age(8)
        lu.assertEquals({ a:get(0), a:get(2) }, { 0, 128 })
        a:age(8)
        lu.assertEquals({ a:get(0), a:get(2) }, { 0, 64 })
        lu.assertEquals({ a:least() }, { 0, 0 })
        b:set(1, -10)
        lu.assertEquals({ b:least() }, { 1, -10 })
        b:set(1, 5)
        lu.assertEquals({ b:least() }, { 0, -3 })
        lu.assertEquals({ a:upto(0, { 1, 2, 3, 4 }) }, { { 0, 1 }, 2 })
        lu.assertErrorMsgContains("16 arrays", function()
            for _ = 1, 17 do s:array() end
        end)
    end
    h:victim()
    h:insert(0, 7) -- what comes enters anew
    h:touch(0)
    h:touch(1)
    seen = function(a, b)
        lu.assertEquals({ a:get(0), b:get(0), b:get(1) }, { 0, -3, 5 })
        b:count(10)
        b:stamp(1)
        lu.assertEquals({ b:get(0), b:get(1), b:get(2) }, { 7, 15, -3 })
    end
    h:victim()
    h:touch(2)
    seen = function(_, b)
        b:stamp(1 << 40)
        lu.assertEquals(b:get(2), 1 << 40)
        lu.assertEquals({ b:sweep(1, 0, 7) }, { 0 })
        lu.assertNil(b:sweep(0, 0, 6))
    end
    h:victim()
    local late = arrays[1]
    h:close()
    lu.assertErrorMsgContains("has ended", late.get, late, 0)
end

-- The heap under a:least, against a scan.
function TestLuaPolicyView.testLeast()
    local r = rng(11).below
    local p = policy({ name = "least",
        init = function(self)
            self.a, self.born = self.slots:array(5), {}
        end,
        insert = function(self, slot)
            self.n = (self.n or 0) + 1
            self.born[slot] = self.n
        end,
        victim = function(self)
            for _ = 1, r(4) do
                local slot = r(#self.slots)
                self.a:set(slot, r(10))
            end
            if r(5) == 0 then self.a:age(3) end
            local best
            for _, slot in ipairs((self.slots:list())) do
                local x, y = self.a:get(slot), best and self.a:get(best)
                if not best or x < y or (x == y and self.born[slot] < self.born[best]) then best = slot end
            end
            lu.assertEquals({ self.a:least() }, { best, self.a:get(best) })
            return best
        end })
    for _, slots in ipairs({ 1, 2, 3, 20 }) do
        compare(p, p, slots, 1, 0)
        local h <close> = policy.open(p, { slots = slots })
        local full = {}
        for i = 1, 600 do
            local slot = r(slots)
            if not full[slot] then
                h:insert(slot, i)
                full[slot] = true
            elseif r(3) == 0 then
                h:remove(slot)
                full[slot] = nil
            else
                h:insert(h:victim(i), i)
                h:touch(slot)
            end
        end
    end
end

function TestLuaPolicyView.testParametersAndInstances()
    local p = policy({ name = "pick", params = { slot = 0 }, victim = function(self)
        self.calls = (self.calls or 0) + 1
        return self.calls > 1 and 1 or self.slot
    end })
    local x <close> = policy.open(p, { slots = 3 })
    local y <close> = policy.open({ p, slot = 2 }, { slots = 3 })
    for _, h in ipairs({ x, y }) do
        for slot = 0, 2 do h:insert(slot, slot) end
    end
    lu.assertEquals({ x:victim(), y:victim(), x:victim(), y:victim() }, { 0, 2, 1, 1 })
    lu.assertEquals(p:with({ slot = 2 }).name, "pick:slot=2")
    lu.assertErrorMsgContains("has no parameter solt (it has slot)", p.with, p, { solt = 1 })
    lu.assertStrContains(tostring(p), "pick (victim)")
end

function TestLuaPolicyView.testSetsHaveInstances()
    local made = 0
    local p = policy({ name = "sets", init = function() made = made + 1 end, victim = function(self)
        self.n = (self.n or -1) + 1
        return self.n
    end })
    local h <close> = policy.open(p, { slots = 2, sets = 3 })
    for set = 0, 1 do
        for slot = 0, 1 do h:insert(slot, slot, set) end
    end
    lu.assertEquals(made, 0)
    lu.assertEquals({ h:victim(1, 0), h:victim(1, 1), h:victim(1, 0) }, { 0, 0, 1 })
    lu.assertEquals(made, 2)
end

-- --- wraps -------------------------------------------------------------------------------------

TestLuaPolicyWrap = {}

function TestLuaPolicyWrap.testTransparent()
    local passes = {
        victim = function(self, key) return self.inner:victim(key) end,
        insert = function(self, slot, key) self.inner:insert(slot, key) end,
        touch = function(self, slot, write) self.inner:touch(slot, write) end,
        remove = function(self, slot, evicted) self.inner:remove(slot, evicted) end,
        filter = function() return true end,
    }
    for _, inner in ipairs({ "fifo", "lru", "clock", "2q", "slru", "lfu", "random" }) do
        for name, f in pairs(passes) do
            compare(policy.wrap(inner, { [name] = f }), inner, 20, 4, 1500)
        end
        compare(policy.wrap(inner, passes), inner, 9, 5, 1500)
        compare(policy.wrap(inner, {}), inner, 9, 6, 500)
    end
end

function TestLuaPolicyWrap.testFilter()
    local asked = {}
    local p = policy.wrap("lru", { name = "odd", filter = function(_, _, key)
        asked[#asked + 1] = key
        return key % 2 == 1
    end })
    local h <close> = policy.open(p, { slots = 4 })
    for slot, key in ipairs({ 2, 4, 5, 7 }) do h:insert(slot - 1, key) end
    lu.assertEquals(h:victim(), 2)
    lu.assertEquals(asked, { 2, 4, 5 })
    h:insert(2, 6)
    lu.assertEquals(h:victim(), 3) -- 2 and 4 were put behind
    h:insert(3, 8)
    lu.assertErrorMsgContains("policy odd: filter: refused all of 4 pages", h.victim, h)
    lu.assertTrue(h:check())
end

function TestLuaPolicyWrap.testWrongUse()
    local act
    local p = policy.wrap("lru", { name = "w", victim = function(self) return act(self.inner, self) or 0 end })
    local h <close> = policy.open(p, { slots = 3 })
    h:insert(0, 1)
    h:insert(1, 2)
    local kept
    for text, f in pairs({
        ["this slot is empty"] = function(i) i:touch(2) end,
        ["empty to the inner"] = function(i) i:remove(2) end,
        ["no such slot"] = function(i) i:insert(3, 1) end,
        ["did not choose it"] = function(i) i:insert(1, 1) end,
    }) do
        act = f
        lu.assertErrorMsgContains(text, h.victim, h)
    end
    act = function(i) kept = i end
    h:victim()
    lu.assertErrorMsgContains("only functions of the policy", kept.victim, kept)
    lu.assertErrorMsgContains("there is no policy lrx", policy.open, policy.wrap("lrx", {}))
    lu.assertErrorMsgContains("built-in", policy.wrap, lru, {})
    lu.assertErrorMsgContains("filter", policy, { name = "f", victim = print, filter = print })
end
