-- Two speeds, one truth, of heaps: with shortcuts and without, an allocator answers the
-- same, every counter is the same, and so is what the TLBs and caches hold afterwards.
local lu = require("luaunit")
local vmem = require("vmem")
local fuzz = require("fuzz.machine_fuzz")
local policies = require("fuzz.flat_model").policies
local scale = require("scale")

local names = {}
for _, row in ipairs(vmem.heap.allocators()) do names[#names + 1] = row.name end

-- What a call answers, or the error that it raises.
local function outcome(f, ...)
    local got = table.pack(pcall(f, ...))
    for i = 1, got.n do got[i] = tostring(got[i]) end
    return table.concat(got, " ")
end

-- What programs do beside: a handle of their own, a look, a child, another process.
local others = {
    function(p, at, rng) return p:load(at, rng.pick({ 1, 4, 8 })) end,
    function(p, at, rng) return p:store(at, rng.below(1000), rng.pick({ 1, 2, 4, 8 })) end,
    function(p, at, rng) return p:write(at, ("x"):rep(rng.below(9) == 0 and 300 or 4)) end, -- 300: damage
    function(p, at) return #p:explain(at).steps end,
    function(p) return p:fork() ~= nil end,
    function(_, _, rng, m)
        local q = m:spawn()
        local at = assert(q:mmap({ length = 5000 }))
        for i = 0, 4900, 100 do q:store(at + i, i) end
        if rng.below(2) == 0 then q:exit() end
        return q:load(at + 4000)
    end,
    function(_, _, _, _, h) return h:check() end,
    function(_, _, _, _, h) return #h:blocks() end,
}

local function step(m, p, h, rng, block, big)
    local id, kind = rng.below(40), rng.below(12)
    local n = rng.below(4) == 0 and rng.below(big) or rng.below(120)
    if kind < 5 then
        if block[id] then h:free(block[id]) end
        block[id] = nil
        block[id] = h:malloc(n)
    elseif kind < 8 then
        h:free(block[id])
        block[id] = nil
    elseif kind < 10 then
        block[id] = h:realloc(block[id], n) or block[id]
    elseif rng.below(3) == 0 then
        return rng.pick(others)(p, (block[id] or h:range()) // 8 * 8, rng, m, h)
    end
    return block[id]
end

local function packed(rng, n)
    local out = {}
    for i = 1, n do out[i] = ("=I8I4I4"):pack(rng.below(400), rng.below(60), i % 3 == 0 and 2 or rng.below(5) // 4) end
    return table.concat(out)
end

-- A program with a heap on a machine: what it saw, and every counter.
local function run(o, seed, steps, shortcuts)
    o.shortcuts = shortcuts
    local rng = fuzz.random(seed)
    local m <close> = vmem.machine(o)
    local seen = {}
    local ok, p = pcall(m.spawn, m)
    local source, word = rng.pick({ "sbrk", "mmap" }), rng.pick({ 4, 8 })
    local t = { source = source, word = word, limit = "256KiB", align = word * rng.pick({ 1, 2 }) }
    local name = rng.pick(names)
    local h = ok and select(2, pcall(vmem.heap.open, p, name, t))
    if type(h) ~= "userdata" then
        seen[1], h = tostring(h), nil
    else
        local block, big = {}, rng.pick({ 500, 3000 })
        for i = 1, steps do
            seen[i] = outcome(step, m, p, h, rng, block, big)
            if not p:alive() then break end
        end
        if p:alive() then
            seen[#seen + 1] = outcome(h._replay, h, packed(rng, steps), 60)
            seen[#seen + 1] = outcome(function()
                local s = h:stats()
                return ("%d %d %d %d"):format(s.cycles, s.loads, s.stores, s.faults)
            end)
        end
    end
    lu.assertEquals({ m:check() }, { true })
    -- What is in TLBs and caches shows in what a probe of the heap then hits.
    if h and p:alive() then
        local first, stop = h:range()
        for at = first, stop - 1, math.max(8, (stop - first) // 256) do p:_explain(at, "load", 1) end
    end
    return m:_stats(), table.concat(seen, "\n"), h and #seen >= steps
end

local function same(o, seed, steps)
    local fast, fast_seen, whole = run(o, seed, steps, true)
    local slow, slow_seen = run(o, seed, steps, false)
    lu.assertEquals(fast_seen, slow_seen, "seed " .. seed)
    lu.assertNil(fuzz.difference(fast, slow, "seed " .. seed .. "\n" .. fuzz.show(o) .. "\n"))
    return whole
end

TestHeapShortcuts = {}

function TestHeapShortcuts:testRandomMachines()
    local whole, cases = 0, math.ceil(100 * scale)
    for seed = 1, cases do
        local o = fuzz.machine(fuzz.random(300 + seed), seed % 4 > 0)
        whole = whole + (same(o, seed, 60) and 1 or 0)
    end
    lu.assertTrue(whole >= cases // 4, whole)
end

-- Pages of 4 KiB, two TLBs, one to three caches or none; policies that count each use.
function TestHeapShortcuts:testMachinesOfTheUsualGeometry()
    local whole, cases = 0, math.ceil(40 * scale)
    for seed = 1, cases do
        local rng = fuzz.random(600 + seed)
        local function cache(ways, sets) return { size = 64 * ways * sets, ways = ways } end
        local ways = rng.pick({ 1, 2, 4, 8 })
        local o = {
            paging = { levels = { 9, 9, 9 }, va_bits = 39, pte = rng.pick({ "x86-64", "riscv" }) },
            tlb = { l1 = { entries = ways * rng.pick({ 1, 4, 512 }), ways = ways },
                l2 = rng.below(3) > 0 and { entries = 32, ways = 8 } or nil, asid_bits = rng.pick({ 0, 1, 6 }) },
            cache = rng.below(4) > 0 and { l1 = cache(ways, rng.pick({ 4, 64 })),
                l2 = rng.below(2) > 0 and cache(8, 64) or nil } or nil,
            dram = "4MiB", swap = "16MiB", resident = rng.pick({ 0, 8, 60 }), policy = rng.pick(policies),
            zero_frame = rng.below(2) == 0,
        }
        whole = whole + (same(o, seed, 150) and 1 or 0)
    end
    lu.assertTrue(whole >= cases // 4, whole)
end

-- realloc reads pages of zeros between its stores: each takes the other's place as the most
-- recent of a TLB's set.
function TestHeapShortcuts:testCopiesOfWhatNobodyHasWritten()
    local function copied(entries, ways, shortcuts)
        local m <close> = vmem.machine({ preset = "core-i7", shortcuts = shortcuts,
            tlb = { l1d = { entries = entries, ways = ways }, l2 = { entries = 0 } } })
        local p = m:spawn()
        local h = assert(vmem.heap.open(p, "implicit", { source = "mmap" }))
        local a = h:malloc(40000)
        h:malloc(8)
        a = h:realloc(a, 50000)
        p:write(a, ("x"):rep(5000))
        h:malloc(8)
        h:realloc(a, 70000)
        return m:_stats()
    end
    for _, geometry in ipairs({ { 2, 2 }, { 4, 4 }, { 4, 2 }, { 64, 4 } }) do
        lu.assertNil(fuzz.difference(copied(geometry[1], geometry[2], true), copied(geometry[1], geometry[2], false),
            table.concat(geometry, "/")))
    end
end
