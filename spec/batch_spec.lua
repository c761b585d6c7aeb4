-- Requests to the caches below the first level wait in a queue (machine_batch.h).
-- Whatever its length is when a replay ends, a fault comes or a level is small:
-- counters are those of the plain path, in the midst of a program as at its end.
local lu = require("luaunit")
local vmem = require("vmem")
local fuzz = require("fuzz.machine_fuzz")
local policies = require("fuzz.flat_model").policies

TestBatch = {}

-- Small caches, so that most accesses go down to memory and dirty lines come back.
local function machine(o, mode)
    local options = {
        dram = "2MiB", swap = "8MiB", resident = o.resident, policy = o.policy, young_flush = o.young_flush,
        paging = { levels = { 9, 9, 9 }, va_bits = 39, pte = o.pte or "x86-64" },
        tlb = { l1i = { entries = 8, ways = 4 }, l1d = { entries = 8, ways = o.tlb_ways or 4 },
            l2 = { entries = 48, ways = 12 } },
        cache = o.cache, shortcuts = mode ~= "plain", vectors = mode ~= "portable",
    }
    return vmem.machine(options)
end

local function levels(count, ways, line)
    local c = { l1i = { size = 8 * line * ways, ways = ways, line = line },
        l1d = { size = 8 * line * ways, ways = ways, line = line } }
    for k = 2, count do
        c["l" .. k] = { size = line * ways << 2 + k, ways = ways, line = line }
    end
    return c
end

-- Replays the parts one after the other; counters after each.
local function run(o, parts, mode)
    local m <close> = machine(o, mode)
    local p, seen = m:spawn(), {}
    for i, part in ipairs(parts) do
        p:replay(part)
        seen[i] = m:_stats()
    end
    lu.assertEquals({ m:check() }, { true })
    return seen
end

local function same(o, parts, what)
    local plain = run(o, parts, "plain")
    for _, mode in ipairs({ "vectors", "portable" }) do
        local fast = run(o, parts, mode)
        for i in ipairs(parts) do
            lu.assertNil(fuzz.difference(fast[i], plain[i], ("%s, %s, part %d\n"):format(what, mode, i)))
        end
    end
end

-- A new line with each record, read or written; now and then one over two lines.
local function strides(rng, n, pages, stores, wide)
    local list, at = {}, rng.below(1 << 12)
    for i = 1, n do
        at = (at + 64 + 64 * rng.below(80)) % (pages << 12)
        local writes = rng.below(100) < stores
        local kind = writes and rng.pick({ "store", "modify" }) or rng.pick({ "load", "load", "fetch" })
        local size = rng.below(100) < wide and 100 or 8
        list[i] = { kind, at & ~7, size }
    end
    return vmem.trace.new(list)
end

-- The queue holds about a thousand requests, one for a miss and one for a dirty line.
function TestBatch:testLengthsAroundFullQueues()
    for _, around in ipairs({ 170, 250, 340, 505, 680, 1010, 2030 }) do
        for n = around - 4, around + 6, 5 do
            for _, stores in ipairs({ 0, 100 }) do
                local rng = fuzz.random(n)
                local first = strides(rng, 300, 60, 50, 0)
                local parts = { first, strides(rng, n, 60, stores, 0), strides(rng, n, 3, stores, 0) }
                same({ cache = levels(3, 8, 64) }, parts, ("%d records, %d %% stores"):format(n, stores))
            end
        end
    end
end

function TestBatch:testEveryDepthAndShape()
    for count = 1, 4 do
        for _, ways in ipairs({ 1, 2, 3, 4, 8, 12, 16 }) do
            local rng = fuzz.random(100 * count + ways)
            local line = rng.pick({ 16, 32, 64, 64, 128 })
            local o = { cache = levels(count, ways, line), tlb_ways = rng.pick({ 1, 2, 4, 8 }),
                pte = rng.pick({ "riscv", "x86-64" }), policy = rng.pick({ "lru", "clock" }) }
            same(o, { strides(rng, 2500, 100, 40, 2), strides(rng, 2500, 20, 10, 0) },
                ("%d levels, %d ways of %d bytes"):format(count, ways, line))
        end
    end
end

-- Faults, evictions and accesses of the slower ways come while requests wait.
function TestBatch:testFaultsWhileRequestsWait()
    for seed = 1, 12 do
        local rng = fuzz.random(seed)
        local o = { cache = levels(1 + rng.below(4), rng.pick({ 4, 8, 16 }), 64), resident = rng.pick({ 3, 20, 90, 0 }),
            policy = rng.pick(rng.below(2) == 0 and policies or { "lru", "clock" }), young_flush = rng.below(2) == 0 }
        local parts = {}
        for i = 1, 4 do
            parts[i] = strides(rng, 200 + rng.below(1500), rng.pick({ 10, 100, 400 }), 40, rng.below(8))
        end
        same(o, parts, "seed " .. seed)
    end
end

-- Single loads and stores, most at the front of their sets: counters and values.
function TestBatch:testSingleAccesses()
    local function program(o, mode, seed)
        local rng, seen = fuzz.random(seed), {}
        local m <close> = machine(o, mode)
        local ps = { m:spawn(), m:spawn() }
        for _, p in ipairs(ps) do
            assert(p:mmap({ addr = 0x10000, length = 40 * 4096, flags = "fixed" }))
            assert(p:mmap({ addr = 0x80000, length = 4096, prot = "r", flags = "fixed" }))
        end
        local at, p = 0, ps[1]
        for i = 1, 3000 do
            local how, size = rng.below(40), 1 << rng.below(4)
            if how == 0 then p = rng.pick(ps) end
            if how < 6 then at = rng.below(40 * 4096 - 8) elseif how < 20 then at = at // 64 * 64 + rng.below(64) end
            if how == 7 and p:alive() then p:load(0x80000 + at % 512 * 8, 8) end
            if rng.below(2) == 0 then
                p:store(0x10000 + at % (39 * 4096), i, size)
            else
                seen[#seen + 1] = p:load(0x10000 + at % (39 * 4096), size)
            end
        end
        p:load(0x80000, 8)
        lu.assertFalse(pcall(p.store, p, 0x80000, 1, 8))
        lu.assertEquals({ m:check() }, { true })
        return m:_stats(), seen
    end
    for seed = 1, 12 do
        local rng = fuzz.random(50 + seed)
        local o = { cache = levels(1 + rng.below(3), rng.pick({ 2, 8 }), rng.pick({ 32, 64 })),
            resident = rng.pick({ 4, 20, 0 }), policy = rng.pick({ "lru", "fifo", "clock" }),
            young_flush = rng.below(2) == 0 }
        local plain, values = program(o, "plain", seed)
        local fast, same_values = program(o, "vectors", seed)
        lu.assertNil(fuzz.difference(fast, plain, "seed " .. seed .. "\n"))
        lu.assertEquals(same_values, values)
    end
end
