-- What a machine can be told: each mistake is one error that names the option,
-- what it got and what it takes; garbage never makes anything worse.
local lu = require("luaunit")
local vmem = require("vmem")
local fuzz = require("fuzz.machine_fuzz")

local scale = require("scale")

local function refused(o)
    local ok, e = pcall(vmem.machine, o)
    lu.assertFalse(ok, "this must be refused: " .. fuzz.show(o))
    lu.assertEquals(type(e), "string")
    lu.assertStrContains(e, "vmem.machine: ")
    lu.assertNil(e:find("\n"), e)
    return e
end

local function wrong(o, ...)
    local e = refused(o)
    for _, part in ipairs({ ... }) do lu.assertStrContains(e, part) end
end

TestOptions = {}

function TestOptions:testWrongTypes()
    wrong(7, "must be a table")
    wrong({ dram = { size = true } }, "dram.size is true", "64MiB")
    wrong({ dram = { size = "plenty" } }, "dram.size is \"plenty\"", "a text such as")
    wrong({ dram = { size = 1.5 } }, "dram.size")
    wrong({ policy = 3 }, "policy is 3", "fifo", "lru", "clock")
    wrong({ young_flush = 1 }, "young_flush is 1", "true or false")
    wrong({ seed = "one" }, "seed is \"one\"", "whole number")
    wrong({ paging = 4 }, "paging is 4", "table of options")
    wrong({ paging = { levels = 4 } }, "paging.levels is 4", "list")
    wrong({ paging = { levels = { 9, "9", 9, 9 } } }, "paging.levels", "item 2")
    wrong({ cache = { l1d = "32KiB" } }, "cache.l1d is \"32KiB\"")
    wrong({ [1] = "core-i7" }, "key 1")
    wrong({ policy = {} }, "policy is table")
end

-- A policy's parameters as a text or a table; what is as by default is not shown.
function TestOptions:testPoliciesHaveParameters()
    for given, want in pairs({
        ["2q:kout=1:kin=0.5"] = "2q:kin=0.5:kout=1", ["2q:kin=0.25"] = "2q", ["lfu:tie=fifo"] = "lfu:tie=fifo",
        [{ "2q", kin = 0.1 }] = "2q:kin=0.1", [{ "2q", kin = 1 / 3 }] = "2q:kin=0.33333333333333331",
        [{ "aging", bits = 4, unit = "references" }] = "aging:unit=references:bits=4",
    }) do
        local m <close> = vmem.machine({ policy = given })
        lu.assertEquals(m:options().policy, want)
        local again <close> = vmem.machine({ policy = want })
        lu.assertEquals(again:options().policy, want)
    end
    local m <close> = vmem.machine({ preset = "core-i7", cache = { l2 = { policy = { "drrip", leaders = 4 } } } })
    lu.assertEquals(m:options().cache.l2.policy, "drrip:leaders=4")
    lu.assertEquals(m:options().policy, "clock")
end

function TestOptions:testUnknownNames()
    wrong({ polcy = "lru" }, "no option polcy", "did you mean policy?")
    wrong({ cache = { l1d = { sise = 1 } } }, "no option cache.l1d.sise", "did you mean cache.l1d.size?")
    wrong({ tlb = { l9 = { entries = 4 } } }, "tlb.l9")
    wrong({ preset = "core-i8" }, "\"core-i8\"", "did you mean core-i7?", "sv39")
    wrong({ preset = 7 }, "no preset 7")
    wrong({ preset = "names" }, "no preset")
    wrong({ policy = "best" }, "policy is \"best\"", "one of: fifo, lru, clock, random")
    wrong({ policy = "tree-plru" }, "policy is \"tree-plru\"") -- of sets, not of frames
    wrong({ policy = "lru:kin=1" }, "policy lru has no parameter kin", "none")
    wrong({ policy = { "2q", kim = 1 } }, "policy 2q has no parameter kim", "kin, kout")
    wrong({ policy = "2q:kin" }, "\"kin\" is no parameter", "name=value")
    wrong({ policy = "2q:" }, "\"\" is no parameter")
    wrong({ policy = "2q:kin=2" }, "kin of policy 2q is 2", "from 0 to 1")
    wrong({ policy = "2q:kin=nan" }, "kin of policy 2q is nan", "a number from 0 to 1")
    wrong({ policy = "2q:kin=1x" }, "kin of policy 2q is 1x")
    wrong({ policy = "aging:bits=2.5" }, "bits of policy aging is 2.5", "a whole number from 1 to 16")
    wrong({ policy = { "lfu", tie = "best" } }, "tie of policy lfu is \"best\"", "lru, mru, fifo, random")
    wrong({ policy = { "2q", kin = {} } }, "policy 2q has the parameter \"kin\"", "no name with a number or a text")
    wrong({ policy = { "2q", 0.5 } }, "policy 2q has the parameter 2")
    wrong({ policy = ("x"):rep(600) }, "too long")
    wrong({ policy = "clock" .. (":enter=1"):rep(100) }, "too long")
    wrong({ tlb = { l1 = { entries = 16, policy = "2q" } } }, "tlb.l1.policy is \"2q\"", "srrip")
    wrong({ cache = { l1 = { policy = { "srrip", bits = 9 } } } }, "cache.l1.policy", "bits of policy srrip is 9")
    wrong({ paging = { pte = "arm" } }, "paging.pte is \"arm\"", "riscv")
end

function TestOptions:testOutOfRange()
    wrong({ dram = 1 }, "dram.size is 1", "64 to")
    wrong({ dram = -4096 }, "dram.size is -4096")
    wrong({ paging = { va_bits = 64 } }, "paging.va_bits is 64", "6 to 57")
    wrong({ paging = { levels = {} } }, "paging.levels has 0 items")
    wrong({ paging = { levels = { 1, 1, 1, 1, 1, 1 } } }, "paging.levels has 6 items")
    wrong({ paging = { levels = { 9, 9, 9, 25 } } }, "paging.levels: item 4 is 25")
    wrong({ cache = { l1 = { size = 4096, ways = 0 } } }, "cache.l1.ways is 0")
    wrong({ tlb = { asid_bits = 17 } }, "tlb.asid_bits is 17", "0 to 16")
    wrong({ disk = { latency = -1 } }, "disk.latency is -1")
end

function TestOptions:testGeometryThatDoesNotAddUp()
    wrong({ paging = { va_bits = 47 } }, "does not add up", "48", "47")
    wrong({ paging = { levels = { 9, 9, 9 } } }, "does not add up", "39")
    wrong({ paging = { page = 3000 } }, "paging.page is 3000", "power of two")
    wrong({ paging = { pte = "x86-32" } }, "4 levels", "x86-32", "1 to 2")
    wrong({ paging = { pte = "riscv", levels = { 9, 9, 9, 9, 9 }, va_bits = 57 } }, "5 levels", "riscv")
    wrong({ paging = { pa_bits = 12 } }, "paging.pa_bits is 12")
    wrong({ paging = { pte = "x86-32", va_bits = 32, levels = { 10, 10 }, pa_bits = 40 } }, "paging.pa_bits is 40")
    wrong({ paging = { pa_bits = 20 } }, "dram.size", "2^20")
    wrong({ dram = 4097 }, "dram.size is 4097", "whole number of pages")
    wrong({ swap = 4097 }, "swap is 4097", "whole number of pages")
    wrong({ cache = { l1 = { size = 3000 } } }, "cache.l1", "3000 bytes")
    wrong({ cache = { l1 = { size = 3 * 4096, ways = 4 } } }, "cache.l1", "48 sets", "power of two")
    wrong({ cache = { l1 = { size = 4096, line = 48 } } }, "cache.l1.line is 48", "power of two")
    wrong({ cache = { l1 = { size = 4096, line = 64 }, l2 = { size = 8192, line = 32 } } }, "cache.l2.line is 32")
    wrong({ cache = { l2 = { size = 4096 } } }, "cache.l2 has no first level")
    wrong({ cache = { l1i = { size = 4096 } } }, "cache.l1i", "cache.l1d", "both or neither")
    wrong({ cache = { l1 = { size = 4096 }, l1d = { size = 4096 }, l1i = { size = 4096 } } }, "cache.l1 is for both")
    wrong({ cache = { l1 = { size = 64 * 3 * 4, ways = 3, policy = "tree-plru" } } }, "tree-plru", "power of two")
    wrong({ cache = { straddle = "once", l1 = { size = 4096, inclusive = true, allocate = false } } }, "cache.l1",
        "allocate = true")
    wrong({ tlb = { l1 = { entries = 12, ways = 4 } } }, "tlb.l1", "12 entries", "power of two")
    wrong({ tlb = { l1 = { entries = 16 }, l1d = { entries = 16 } } }, "tlb.l1 is for both")
    wrong({ preset = "sv39", pwc = { l3 = { entries = 4 } } }, "pwc.l3", "3 levels")
end

function TestOptions:testDramTooSmallForTheFirstPageTable()
    local m <close> = vmem.machine({ preset = "csapp", dram = 512 })
    local ok, e = pcall(m.spawn, m)
    lu.assertFalse(ok)
    lu.assertStrContains(e, "dram.size is 512: no room for the root page table of a process (1024 bytes)")
    lu.assertTrue(m:check())
    lu.assertEquals(m:meminfo().free, 8)
end

function TestOptions:testSizesAsTexts()
    for text, bytes in pairs({ ["1MiB"] = 1 << 20, ["64 KiB"] = 1 << 16, ["2048k"] = 1 << 21, ["1.5MiB"] = 3 << 19,
        ["65536"] = 65536, ["0.25GiB"] = 1 << 28 }) do
        local m <close> = vmem.machine({ dram = text })
        lu.assertEquals(m:options().dram.size, bytes)
    end
    local m <close> = vmem.machine({ dram = 1e6 * 4.096 })
    lu.assertEquals(m:options().dram.size, 4096000)
end

function TestOptions:testOptionsComeBackAsTheyWereGiven()
    for seed = 1, math.ceil(50 * scale) do
        local o = fuzz.machine(fuzz.random(seed), false)
        local m <close> = vmem.machine(o)
        local n <close> = vmem.machine(m:options())
        lu.assertEquals(n:options(), m:options())
        local function same(a, b, name)
            for k, v in pairs(a) do
                if k == "dram" and type(v) ~= "table" then v = { size = v } end
                if type(v) == "table" and k ~= "levels" then same(v, b[k], name .. k .. ".")
                else lu.assertEquals(b[k], v, name .. tostring(k)) end
            end
        end
        same(o, m:options(), "")
    end
end

-- Any option with any value: a machine, or an error that names an option; and
-- memory is what it was.
local function garbage(rng, row)
    local choices = {
        function() return rng.bits() end,
        function() return rng.bits() >> rng.below(64) end,
        function() return 1 << rng.below(63) end,
        function() return rng.below(200) end,
        function() return -rng.below(10) end,
        function() return rng.below(1000) / 7 end,
        function() return 0 / 0 end,
        function() return math.huge end,
        function() return rng.below(2) == 0 end,
        function() return ("x"):rep(rng.below(2000)) end,
        function() return rng.below(100) .. rng.pick({ "KiB", "MiB", "TiB", "XiB", "", "%s%n" }) end,
        function() return { rng.below(30), rng.below(30), rng.below(30) } end,
        function() return {} end,
        function() return print end,
        function() return row.default end,
        function() return row.choices and rng.pick(row.choices) or row.min end,
        function() return row.max end,
    }
    return rng.pick(choices)()
end

-- Sizes that the host must pay for in full stay small.
local function affordable(name, v)
    if name:find("entries$") or name:find("ways$") then return v == nil or type(v) ~= "number" or v < 4096 end
    if name:find("^cache.*size$") or name == "dram.size" or name == "swap" then
        local n = vmem.bytes(v)
        return not n or n < 1 << 32 and n >= 0 and not (name:find("^cache") and n > 1 << 20)
    end
    return true
end

local function insert(o, name, v)
    local at = o
    for part in name:gmatch("([^.]+)%.") do
        if type(at[part]) ~= "table" then at[part] = {} end
        at = at[part]
    end
    at[name:match("[^.]+$")] = v
end

local function copy(t)
    local c = {}
    for k, v in pairs(t) do c[k] = type(v) == "table" and copy(v) or v end
    return c
end

TestOptionsFuzz = {}

function TestOptionsFuzz:testGarbage()
    local rows, presets = vmem.options(), vmem.presets.names()
    local known, made = {}, 0
    for _, row in ipairs(rows) do known[#known + 1] = row.name end
    local function names_one(e)
        for _, name in ipairs(known) do
            local group = name:match("^(.*)%.")
            if e:find(name, 1, true) or group and e:find(group, 1, true) then return true end
        end
        return (e:find("there is no option", 1, true) or e:find("policy ", 1, true)) ~= nil
    end
    local function round(from, to)
        for seed = from, to do
            local rng = fuzz.random(seed)
            local o = rng.below(2) == 0 and fuzz.machine(rng, false) or copy(vmem.presets[rng.pick(presets)])
            for _ = 1, 1 + rng.below(3) do
                local row = rng.pick(rows)
                local v = garbage(rng, row)
                if affordable(row.name, v) then insert(o, row.name, v) end
                if rng.below(20) == 0 then insert(o, row.name:sub(1, rng.below(#row.name)) .. "z", v) end
            end
            local ok, m = pcall(vmem.machine, o)
            if ok then
                made = made + 1
                local spawned, p = pcall(m.spawn, m)
                if spawned and m:options().paging.enabled then
                    local a = p:mmap({ length = 100 })
                    if a then pcall(p.store, p, a, 1) end
                elseif not spawned then
                    lu.assertStrContains(p, m:options().boot and "dram.size" or "has not booted")
                end
                local whole, broken = m:check()
                lu.assertTrue(whole, broken)
                m:close()
            else
                lu.assertEquals(type(m), "string")
                lu.assertTrue(names_one(m), "no option is named: " .. m:sub(1, 300))
            end
        end
    end
    local n = math.ceil(1500 * scale)
    round(1, n // 4)
    collectgarbage()
    collectgarbage()
    local before = collectgarbage("count")
    round(n // 4 + 1, n)
    collectgarbage()
    collectgarbage()
    lu.assertTrue(collectgarbage("count") < before + 200, "memory has grown")
    lu.assertTrue(made > n // 10)
end
