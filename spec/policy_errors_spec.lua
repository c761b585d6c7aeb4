-- What a policy in Lua may do wrong: it is told, the machine stays whole, and another policy
-- goes on; and how long policies live.
local lu = require("luaunit")
local vmem = require("vmem")
local rng = require("policies.rng")

local policy = vmem.policy
local samples = require("policy_samples")
local fifo, lru, clock, aging = samples.fifo, samples.lru, samples.clock, samples.aging

local function zipf(refs, pages)
    return vmem.paging.decode({ trace = vmem.trace.zipf({ refs = refs, pages = pages, alpha = 0.9, seed = 3 }) })
end

-- --- what a policy may do wrong ----------------------------------------------------------------

TestLuaPolicyErrors = {}

local function boom() error("boom") end
local object = setmetatable({}, { __tostring = function() return "an object" end })

-- Who does what, and what is said; `p` is a process of the machine that is served.
local crimes = {
    { "answered slot 99999999, but there are slots 0 to 16383", function() return 99999999 end },
    { "answered slot -1, but there are", function() return -1 end },
    { "which is empty or locked", function(_, _, frame) return frame end },
    { "answered nil, which is not the number", function() end },
    { "answered 7, which is not", function() return "7" end },
    { "answered 1.5, which is not", function() return 1.5 end },
    { "answered an object, which is not", function() return object end },
    { "boom", boom },
    { "took more than 1000000 instructions", function() while true do end end },
    { "took more than 1000000 instructions", function()
        while true do pcall(function() while true do end end) end
    end },
    { "took more than 1000000 instructions", function()
        while true do pcall(coroutine.wrap(function() while true do end end)) end
    end },
    { "attempt to yield", function() coroutine.yield(1) end },
    { "busy with policy bad", function(p, va) p:load(va) end },
    { "busy with policy bad", function(p) p:machine():stats() end },
    { "busy with policy bad", function(p) p:machine():close() end },
    { "busy with policy bad", function(p) p:machine():set_policy("lru") end },
    { "busy with policy bad", function(p) p:mmap({ length = 4096 }) end },
    { "busy with policy bad", function(p) p:replay(vmem.trace.pages({ 1 })) end },
    { "closed or busy", function(_, va, _, load) load(va) end },
}

local function machine_with(p, more)
    local options = { preset = "core-i7", resident = 5, policy = p }
    for k, v in pairs(more or {}) do options[k] = v end
    local m = vmem.machine(options)
    local process = m:spawn()
    return m, process, assert(process:mmap({ length = "1MiB" }))
end

local function fill(p, va)
    for i = 0, 19 do p:store(va + i * 4096, i) end
end

local function holds(p, va, upto)
    for i = 0, upto do lu.assertEquals(p:load(va + i * 4096), i) end
end

function TestLuaPolicyErrors.testEachInEachFunction()
    for _, crime in ipairs(crimes) do
        local m, p, va, load, guilty
        local bad = policy({ name = "bad", limit = 1000000, victim = function(self)
            if not guilty then return self.slots:find() end
            return crime[2](p, va, 16000, load)
        end })
        m, p, va = machine_with(bad)
        load = p:bind("load")
        fill(p, va)
        guilty = true
        local ok, why = pcall(p.load, p, va)
        lu.assertFalse(ok)
        lu.assertStrContains(why, "policy bad: victim: ")
        lu.assertStrContains(why, crime[1])
        lu.assertTrue(m:check())
        guilty = false
        holds(p, va, 19)
        guilty = true
        lu.assertErrorMsgContains(crime[1], p.load, p, va)
        m:set_policy("lru")
        holds(p, va, 19)
        lu.assertTrue(m:check())
        m:close()
    end
end

-- A function that answers nothing fails: the method that caused it raises, and all stays whole.
function TestLuaPolicyErrors.testOfCallsThatAnswerNothing()
    for _, name in ipairs({ "init", "insert", "touch", "remove" }) do
        local armed = false
        local m, p, va = machine_with(policy({ name = "bad", victim = function(self) return self.slots:find() end,
            [name] = function() if armed then boom() end end }))
        if name ~= "init" then fill(p, va) end
        armed = true
        local ok, why = pcall(fill, p, va)
        lu.assertFalse(ok, name)
        lu.assertStrContains(why, "policy bad: " .. name .. ": ")
        lu.assertTrue(m:check())
        armed = false
        fill(p, va)
        holds(p, va, 19)
        armed = name == "remove"
        if armed then lu.assertErrorMsgContains("bad: remove", p.munmap, p, va, "1MiB") end
        m:set_policy("fifo")
        lu.assertTrue(m:check())
        m:close()
    end
end

function TestLuaPolicyErrors.testOwnObject()
    local mine = { code = 42 }
    local m <close>, p, va = machine_with(policy({ name = "bad", victim = function() error(mine) end }))
    local ok, why = pcall(fill, p, va)
    lu.assertFalse(ok)
    lu.assertIs(why, mine)
    lu.assertTrue(m:check())
end

function TestLuaPolicyErrors.testInReplays()
    local trace = vmem.trace.zipf({ refs = 5000, pages = 100, seed = 2 })
    for _, name in ipairs({ "victim", "insert", "touch", "remove" }) do
        local left = 500
        local functions = { name = "bad", victim = function(self) return self.slots:find() end }
        local f = functions[name]
        functions[name] = function(self)
            left = left - 1
            if left <= 0 then boom() end
            return f and f(self)
        end
        local m <close>, p = machine_with(policy(functions))
        lu.assertErrorMsgContains("policy bad: " .. name, p.replay, p, trace)
        lu.assertTrue(m:check())
        m:set_policy(clock)
        p:replay(trace)
        lu.assertTrue(m:check())
    end
end

function TestLuaPolicyErrors.testInStudies()
    local r = zipf(2000, 50)
    for _, name in ipairs({ "victim", "insert", "touch" }) do
        lu.assertErrorMsgContains("policy bad: " .. name, vmem.paging.run,
            { trace = r, frames = 10, policy = policy({ name = "bad", victim = print, [name] = boom }) })
    end
    -- No victim is ever wanted, and yet it is told.
    lu.assertErrorMsgContains("policy bad: touch", vmem.paging.run,
        { trace = r, frames = 1000, policy = policy({ name = "bad", victim = print, touch = boom }) })
end

function TestLuaPolicyErrors.testInSets()
    local bad = policy({ name = "bad", victim = function() return 99 end })
    local trace = vmem.trace.zipf({ refs = 2000, pages = 200, seed = 5 })
    for _, options in ipairs({ { tlb = { l1d = { policy = bad } } },
        { cache = { l1d = { policy = bad, size = "4KiB" } } },
        { cache = { l2 = { policy = bad, size = "16KiB" } } } }) do
        options.preset = "core-i7"
        local m <close> = vmem.machine(options)
        local p = m:spawn()
        lu.assertErrorMsgContains("policy bad: victim: answered slot 99, but there are slots 0 to",
            p.replay, p, trace)
        lu.assertTrue(m:check())
    end
end

-- Random failures, in all functions: the machine is whole after each, and no byte is lost.
function TestLuaPolicyErrors.testAtRandom()
    local r = rng(77).below
    local function some(f)
        return function(...)
            if r(30) == 0 then error("at random") end
            if r(40) == 0 then return r(20) end
            return f(...)
        end
    end
    local fields = { name = "frail" }
    for _, name in ipairs({ "init", "insert", "touch", "remove", "victim" }) do fields[name] = some(lru[name]) end
    local m <close>, p, va = machine_with(policy(fields), { resident = 8 })
    local model, failures = {}, 0
    for i = 1, 3000 do
        local page, value = r(40), r(1000)
        local ok
        if r(2) == 0 then
            ok = pcall(p.store, p, va + page * 4096, value)
            -- What a failed store did is known only by asking; the policy may fail again.
            if ok then model[page] = value else model[page] = nil end
        elseif model[page] then
            local got
            ok, got = pcall(p.load, p, va + page * 4096)
            if ok then lu.assertEquals(got, model[page]) end
        end
        if ok == false then
            failures = failures + 1
            lu.assertTrue(m:check())
            if r(10) == 0 then m:set_policy("clock") end
        end
        if r(50) == 0 then pcall(m.set_policy, m, policy(fields)) end
        if i % 500 == 0 then pcall(p.munmap, p, va + 80 * 4096, 4096) end
    end
    lu.assertTrue(failures > 50, tostring(failures))
    m:set_policy("lru")
    for page, value in pairs(model) do lu.assertEquals(p:load(va + page * 4096), value) end
    lu.assertTrue(m:check())
end

-- Its own thread in the hands of a policy: an error, no crash.
function TestLuaPolicyErrors.testThreadInDisorder()
    local thread
    local bad = policy({ name = "bad", victim = function(self)
        thread = coroutine.running()
        return self.slots:find()
    end })
    for _, harm in ipairs({ coroutine.close, coroutine.resume }) do
        local m <close>, p, va = machine_with(bad)
        fill(p, va)
        harm(thread)
        local ok, why = pcall(fill, p, va)
        if not ok then lu.assertStrContains(why, "policy bad") end
        lu.assertTrue(m:check())
        m:set_policy("lru")
        holds(p, va, 4)
    end
end

function TestLuaPolicyErrors.testOtherMachinesMayBeUsed()
    local other <close>, q, wa = machine_with("lru")
    local m <close>, p, va = machine_with(policy({ name = "delegate", victim = function(self)
        fill(q, wa)
        return self.slots:find()
    end }))
    local thread = coroutine.wrap(function() fill(p, va) return true end)
    lu.assertTrue(thread())
    holds(p, va, 19)
    lu.assertTrue(m:check() and other:check())
end

function TestLuaPolicyErrors.testWrongFields()
    for text, t in pairs({
        ["name is missing"] = { victim = print },
        ["lacks the function victim"] = { name = "x" },
        ["no field vitcim"] = { name = "x", vitcim = print },
        ["touch is true, but takes a function"] = { name = "x", victim = print, touch = true },
        ["name is 1, but takes a string"] = { name = 1, victim = print },
        ["enter is 2"] = { name = "x", victim = print, enter = 2 },
        ["limit is -1"] = { name = "x", victim = print, limit = -1 },
        ["which is taken"] = { name = "x", victim = print, params = { slots = 1 } },
    }) do
        lu.assertErrorMsgContains(text, policy, t)
    end
    lu.assertErrorMsgContains("takes a table", policy, nil)
    lu.assertErrorMsgContains("takes one of: fifo", vmem.machine, { policy = {} })
end

-- --- lives --------------------------------------------------------------------------------------

TestLuaPolicyLife = {}

-- A policy that holds on to its machine is no leak.
function TestLuaPolicyLife.testCollected()
    local alive = setmetatable({}, { __mode = "k" })
    for _ = 1, 3 do
        local m, p, va
        m, p, va = machine_with(policy({ name = "holds", victim = function(self)
            self.machine = m
            return self.slots:find()
        end }))
        fill(p, va)
        alive[m] = true
    end
    collectgarbage()
    collectgarbage()
    lu.assertNil(next(alive))
end

function TestLuaPolicyLife.testProcessesComeAndGo()
    local inits = 0
    local m <close> = vmem.machine({ preset = "core-i7", reclaim = { scope = "local" }, resident = 20,
        policy = policy({ name = "each", init = function() inits = inits + 1 end,
            victim = function(self) return self.slots:find() end }) })
    local before
    for i = 1, 60 do
        local p = m:spawn()
        fill(p, assert(p:mmap({ length = "1MiB" })))
        fill(p, assert(p:mmap({ length = "1MiB" })))
        p:exit(0)
        if i == 30 then
            collectgarbage()
            before = collectgarbage("count")
        end
    end
    collectgarbage()
    lu.assertTrue(inits >= 60)
    lu.assertTrue(collectgarbage("count") - before < 40, "each process leaves something behind")
    lu.assertTrue(m:check())
end

function TestLuaPolicyLife.testSwitches()
    local r = rng(5).below
    local list = { "lru", clock, "fifo", lru, fifo, "2q", aging, policy.wrap("lru", { filter = function(_, slot)
        return slot % 3 > 0
    end }) }
    for _, scope in ipairs({ "global", "local" }) do
        local m <close>, p, va = machine_with("clock", { resident = 12, reclaim = { scope = scope } })
        local c = p:fork()
        for i = 1, 300 do
            p:store(va + r(30) * 4096, i)
            c:store(va + r(30) * 4096, i)
            if i % 10 == 0 then
                m:set_policy(list[r(#list) + 1])
                lu.assertTrue(m:check())
            end
        end
        p:store(va, 12)
        m:set_policy({ "2q", kin = 0.5 })
        lu.assertEquals(m:options().policy, "2q:kin=0.5")
        m:set_policy(aging:with({ every = 7 }))
        lu.assertEquals(m:options().policy, "lua-aging:every=7")
        lu.assertEquals(p:load(va), 12)
        lu.assertErrorMsgContains("there is no policy nru2", m.set_policy, m, "nru2")
        lu.assertErrorMsgContains("not a number", m.set_policy, m, 3)
    end
end
