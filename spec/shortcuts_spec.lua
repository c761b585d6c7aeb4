-- Two speeds, one truth: with shortcuts and without, every counter is the same,
-- and so is what the TLBs and caches hold afterwards.
local lu = require("luaunit")
local vmem = require("vmem")
local fuzz = require("fuzz.machine_fuzz")
local policies = require("fuzz.flat_model").policies
local tree = require("tree")

local scale = require("scale")

local function with(o, shortcuts)
    local options = {}
    for k, v in pairs(o) do options[k] = v end
    options.shortcuts = shortcuts
    return vmem.machine(options)
end

-- Replays on a machine; its counters, and how each replay ended.
local function replay(o, traces, shortcuts)
    local m <close> = with(o, shortcuts)
    local ends = {}
    local ok, p = pcall(m.spawn, m)
    if not ok then return m:_stats(), "no root" end
    for i, t in ipairs(traces) do
        local _, e = pcall(p.replay, p, t)
        ends[i] = e.replay and fuzz.show(e.replay) or tostring(e)
        if not p:alive() then
            ok, p = pcall(m.spawn, m)
            if not ok then break end
        end
    end
    lu.assertEquals({ m:check() }, { true })
    -- What is in TLBs and caches shows in what a probe of every page then hits.
    local reach = m:meminfo().page * 64
    for at = 0, reach - 1, math.max(8, reach // 512) do
        if p and type(p) == "userdata" and p:alive() then p:_explain(at, "load", 1) end
    end
    return m:_stats(), table.concat(ends, "; ")
end

local function same(o, traces, what)
    local fast, fast_ends = replay(o, traces, true)
    local slow, slow_ends = replay(o, traces, false)
    lu.assertNil(fuzz.difference(fast, slow, what .. "\n" .. fuzz.show(o) .. "\n"))
    lu.assertEquals(fast_ends, slow_ends, what)
end

-- Accesses of several tasks: strides, loops and leaps in some regions, now and then
-- at an address that is nobody's.
local function records(rng, n, reach, tasks)
    local list, at, task, kinds = {}, {}, 0, { "load", "load", "store", "fetch", "modify" }
    for i = 0, tasks - 1 do at[i] = rng.below(reach) end
    while #list < n do
        if rng.below(30) == 0 then task = rng.below(tasks) end
        local how, kind = rng.below(6), rng.pick(kinds)
        if how == 0 then at[task] = rng.below(reach) end
        for _ = 1, 1 + rng.below(12) do
            local size = 1 << rng.below(4)
            if rng.below(20) == 0 then size = 1 + rng.below(300) end
            if how > 2 then at[task] = (at[task] + size) % reach end
            local addr = at[task]
            if rng.below(20000) == 0 then addr = addr | rng.bits() << 20 end
            list[#list + 1] = { kind, addr, size, task }
        end
    end
    return vmem.trace.new(list)
end

TestShortcuts = {}

function TestShortcuts:testRandomMachinesAndTraces()
    for seed = 1, math.ceil(200 * scale) do
        local rng = fuzz.random(1000 + seed)
        local o = fuzz.machine(rng, seed % 2 == 0)
        local reach = (1 << o.paging.va_bits) // 2
        reach = math.min(reach, o.paging.page * (8 + rng.below(400)))
        if not o.paging.enabled then reach = o.dram.size - 400 end
        same(o, { records(rng, 1500, reach, 1), records(rng, 1500, reach, 1 + rng.below(3)) }, "seed " .. 1000 + seed)
    end
end

-- Traces of programs that change their spaces, wildly, between accesses.
local function eventful(rng, n, page, reach)
    local list, events = {}, {
        mmap = function() return { addr = rng.below(reach), length = 1 + rng.below(9 * page), prot = rng.below(8) } end,
        munmap = function() return { addr = rng.below(reach), length = 1 + rng.below(5 * page) } end,
        mprotect = function()
            return { addr = rng.below(reach), length = 1 + rng.below(5 * page), prot = rng.below(8) }
        end,
        mremap = function()
            return { addr = rng.below(reach) // page * page, length = 1 + rng.below(6 * page),
                new_addr = rng.below(reach) // page * page, new_length = 1 + rng.below(8 * page) }
        end,
        brk = function() return { addr = rng.below(reach) } end,
        fork = function() return { child = rng.below(4) } end,
        thread = function() return { child = rng.below(4) } end,
        exec = function() return {} end,
        exit = function() return { status = 0 } end,
    }
    local names = { "mmap", "mmap", "mmap", "munmap", "mprotect", "mremap", "mremap", "mremap", "brk", "fork", "thread",
        "exec", "exit" }
    while #list < n do
        local task = rng.below(4)
        if rng.below(12) == 0 then
            local name = rng.pick(names)
            if (name ~= "exit" and name ~= "exec") or rng.below(6) == 0 then
                local e = events[name]()
                e.type, e.task = name, task
                list[#list + 1] = { "event", e, 0, task }
            end
        else
            local at = rng.below(reach)
            for _ = 1, 1 + rng.below(6) do
                list[#list + 1] = { rng.pick({ "load", "store", "modify", "fetch" }), at, 1 << rng.below(4), task }
                at = (at + rng.below(64)) % reach
            end
        end
    end
    return vmem.trace.new(list)
end

function TestShortcuts:testTracesWithEvents()
    for seed = 1, math.ceil(200 * scale) do
        local rng = fuzz.random(9000 + seed)
        local o = fuzz.machine(rng, seed % 2 == 0)
        local reach = math.min((1 << o.paging.va_bits) // 2, o.paging.page * 60)
        if not o.paging.enabled then reach = o.dram.size - 400 end
        same(o, { eventful(rng, 300, o.paging.page, reach), eventful(rng, 300, o.paging.page, reach) },
            "seed " .. 9000 + seed)
    end
end

-- The machines whose loop is compiled apart: pages of 4 KiB, lines of 64 bytes.
function TestShortcuts:testMachinesOfTheUsualGeometry()
    for seed = 1, math.ceil(40 * scale) do
        local rng = fuzz.random(5000 + seed)
        local function cache(ways, sets) return { size = 64 * ways * sets, ways = ways } end
        local l1, l2 = rng.pick({ 1, 2, 4, 8, 16 }), rng.pick({ 4, 8, 12, 16 })
        local tlb = rng.pick({ 2, 4, 8 })
        local levels = rng.pick({ { 9, 9, 9, 9 }, { 9, 9, 9 }, { 9, 9 } })
        local o = {
            paging = { levels = levels, va_bits = 12 + 9 * #levels, pte = rng.pick({ "x86-64", "riscv" }) },
            tlb = { l1i = { entries = 4 * tlb, ways = tlb }, l1d = { entries = 2 * tlb, ways = tlb },
                l2 = { entries = 32 * rng.below(3), ways = 8 }, asid_bits = rng.pick({ 0, 1, 6 }) },
            cache = { l1i = cache(l1, 8), l1d = cache(l1, rng.pick({ 4, 64, 128 })),
                l2 = rng.below(4) > 0 and cache(l2, 64) or nil, l3 = rng.below(2) > 0 and cache(16, 64) or nil },
            dram = "4MiB", swap = "16MiB", resident = rng.pick({ 0, 20, 60 }),
            policy = rng.pick(rng.below(2) == 0 and policies or { "lru", "clock" }), young_flush = rng.below(2) == 0,
        }
        if o.cache.l3 and not o.cache.l2 then o.cache.l3 = nil end
        local reach = 4096 * (10 + rng.below(150))
        same(o, { records(rng, 6000, reach, 1 + rng.below(3)), records(rng, 6000, reach, 2) }, "seed " .. 5000 + seed)
    end
end

-- Over two lines of one page, or over two pages: walks on the way, cold lines, sets of
-- one line, read-only pages that fault at a store.
function TestShortcuts:testAccessesOverTwoLines()
    for seed = 1, math.ceil(60 * scale) do
        local rng = fuzz.random(7000 + seed)
        local line = seed % 2 == 0 and 64 or rng.pick({ 16, 32, 4096 })
        local ways, sets = rng.pick({ 2, 4, 8 }), rng.pick({ 1, 2, 64 })
        local function cache(times) return { size = line * ways * sets * times, ways = ways, line = line } end
        local o = {
            paging = { levels = { 9, 9, 9 }, va_bits = 39, pte = rng.pick({ "x86-64", "riscv" }) },
            tlb = { l1 = { entries = 8, ways = 4 }, l2 = { entries = 48, ways = 12 } },
            cache = { l1 = cache(1), l2 = cache(4) }, dram = "4MiB", swap = "16MiB", resident = rng.pick({ 0, 30 }),
            policy = rng.pick({ "lru", "clock" }), zero_frame = rng.below(2) == 0,
        }
        local list, pages = {}, rng.pick({ 4, 20, 80 })
        for i = 1, 5000 do
            local at = rng.below(pages) * 4096 + rng.below(4096)
            if rng.below(3) > 0 then at = at // line * line + line - 1 - rng.below(math.min(line, 12)) end
            local kind = rng.pick({ "load", "load", "store", "modify", "fetch" })
            list[i] = { kind, at, rng.pick({ 2, 4, 8, 8, 16, line, line + 2, 2 * line }) }
            if rng.below(3) == 0 and i > 1 then list[i][2] = list[i - 1][2] end
        end
        same(o, { vmem.trace.new(list) }, "seed " .. 7000 + seed)
    end
end

-- Frames that the policy does not rule over get stamps all the same: locked pages, the
-- frame of zeros, large pages. Neither the victims nor what comes after may differ.
function TestShortcuts:testStampsOfFramesThatAreNotRuled()
    local function run(seed, shortcuts)
        local rng = fuzz.random(seed)
        local m <close> = vmem.machine({ shortcuts = shortcuts, policy = "lru", dram = "8MiB", swap = "8MiB",
            paging = { levels = { 9, 9, 9 }, va_bits = 39, pte = "x86-64" }, zero_frame = true,
            resident = 40, tlb = { l1 = { entries = 8, ways = 4 }, l2 = { entries = 48, ways = 12 } },
            cache = { l1 = { size = 4096 }, l2 = { size = 65536 } } })
        local p, base, large = m:spawn(), 0x100000, 1 << 30
        assert(p:mmap({ addr = base, length = 80 * 4096, flags = "fixed" }))
        assert(p:mmap({ addr = large, length = "2MiB", flags = "fixed|hugetlb" }))
        local where, seen = {}, {}
        for round = 1, 12 do
            local first = base + rng.below(70) * 4096
            local call = rng.pick({ "mlock", "munlock" })
            assert(p[call](p, first, (1 + rng.below(8)) * 4096))
            local list = {}
            for i = 1, 600 do
                local at = rng.below(8) == 0 and large + rng.below(1 << 18) * 8
                    or base + rng.below(80) * 4096 + rng.below(500) * 8
                list[i] = { rng.pick({ "load", "load", "store", "modify" }), at, 8 }
                if rng.below(2) == 0 and i > 1 then list[i][2] = list[i - 1][2] end
            end
            p:replay(vmem.trace.new(list))
            for page = 0, 79 do where[page + 1] = p:page(base + page * 4096).state end
            seen[round] = table.concat(where, " ")
            lu.assertEquals({ m:check() }, { true })
        end
        return m:_stats(), seen, m:stats("kernel.evictions")
    end
    for seed = 1, math.ceil(20 * scale) do
        local fast, fast_seen, evictions = run(seed, true)
        local slow, slow_seen = run(seed, false)
        lu.assertNil(fuzz.difference(fast, slow, "seed " .. seed .. "\n"))
        lu.assertEquals(fast_seen, slow_seen)
        lu.assertTrue(evictions > 100)
    end
end

-- Global pages, by entries that are changed in memory: another's entry stands for a
-- page, whatever the page table of the process that runs says.
function TestShortcuts:testGlobalPages()
    local function run(seed, shortcuts)
        local rng = fuzz.random(seed)
        local pte = rng.pick({ "x86-64", "riscv" })
        local m <close> = vmem.machine({ shortcuts = shortcuts, policy = rng.pick({ "lru", "clock" }),
            paging = { levels = { 9, 9, 9 }, va_bits = 39, pte = pte },
            tlb = { l1 = { entries = 8, ways = 4 }, l2 = { entries = 32, ways = 4 },
                asid_bits = rng.pick({ 0, 2, 8 }) },
            cache = { l1 = { size = 4096 }, l2 = { size = 65536 } } })
        local p, q = m:spawn(), m:spawn()
        for _, x in ipairs({ p, q }) do
            assert(x:mmap({ addr = 0x10000, length = 40 * 4096, flags = "fixed" }))
            for page = 0, 39 do x:store(0x10000 + page * 4096, page) end
        end
        for page = 0, 39, rng.pick({ 1, 3 }) do
            for far = 0, 39 do q:load(0x10000 + far * 4096) end
            for _, step in ipairs(p:explain(0x10000 + page * 4096).steps) do
                if step.what == "pte" and step.leaf then
                    m:_set_memory(step.pa, ("<I8"):pack(step.pte | (pte == "riscv" and 32 or 256)))
                end
            end
        end
        for round = 1, 6 do
            local list = {}
            for i = 1, 400 do
                list[i] = { rng.pick({ "load", "store", "modify" }),
                    0x10000 + rng.below(40) * 4096 + rng.below(500) * 8, 8 }
            end
            (round % 2 == 1 and p or q):replay(vmem.trace.new(list))
        end
        return m:_stats()
    end
    for seed = 1, math.ceil(20 * scale) do
        lu.assertNil(fuzz.difference(run(seed, true), run(seed, false), "seed " .. seed .. "\n"))
    end
end

local function generated()
    return {
        zipf = vmem.trace.zipf({ refs = 30000, pages = 400, alpha = 0.9, stores = 0.3 }),
        uniform = vmem.trace.uniform({ refs = 20000, bytes = "2MiB", stores = 0.2 }),
        chase = vmem.trace.chase({ refs = 20000, nodes = 5000, loads = 2, stores = 0.1 }),
        matmul = vmem.trace.matmul({ n = 20 }),
    }
end

function TestShortcuts:testGeneratedTracesOnThePresets()
    for name, t in pairs(generated()) do
        for _, preset in ipairs({ "core-i7", "x86-32", "sv39", "sv48" }) do
            for _, policy in ipairs({ "lru", "clock" }) do
                same({ preset = preset, policy = policy, resident = 150 }, { t:head(math.ceil(30000 * scale)) },
                    name .. " on " .. preset)
            end
        end
    end
end

-- One number at a time, of memory that nobody has written, and that is there twice: in two
-- mappings of a file, and in a child.
function TestShortcuts:testSingleNumbers()
    local PAGE, PAGES = 4096, 24
    local function run(seed, shortcuts)
        local rng = fuzz.random(seed)
        local m <close> = with({ preset = rng.pick({ "core-i7", "sv39" }), dram = "512KiB", swap = "1MiB",
            policy = rng.pick({ "clock", "lru" }), resident = rng.pick({ 12, 100 }) }, shortcuts)
        local p, seen, f = m:spawn(), {}, m:file("f", ("\0"):rep(PAGES * PAGE))
        local at = {}
        for i = 1, 2 do at[i] = assert(p:mmap({ length = PAGES * PAGE, file = f, flags = "shared", prot = "rw" })) end
        at[3] = assert(p:mmap({ length = PAGES * PAGE }))
        local tasks = { p, assert(p:fork()) }
        local flat = {}
        for i = 1, 1500 do
            local who, area, size = rng.below(2) + 1, rng.below(3) + 1, 1 << rng.below(4)
            local offset = (rng.below(PAGES) * PAGE + rng.below(12) * 8) // size * size
            local key = area < 3 and 0 or who
            flat[key] = flat[key] or {}
            if rng.below(3) == 0 then
                local x = rng.below(256)
                tasks[who]:store(at[area] + offset, x, size)
                for k = 0, size - 1 do flat[key][offset + k] = k == 0 and x or 0 end
            else
                seen[i] = tasks[who]:load(at[area] + offset, size)
                local x = 0
                for k = size - 1, 0, -1 do x = x << 8 | (flat[key][offset + k] or 0) end
                lu.assertEquals(seen[i], x, ("seed %d, step %d"):format(seed, i))
            end
        end
        lu.assertEquals({ m:check() }, { true })
        return m:_stats()
    end
    for seed = 1, math.ceil(20 * scale) do
        lu.assertNil(fuzz.difference(run(seed, true), run(seed, false), "seed " .. seed))
    end
end

function TestShortcuts:testTheRecordedProgram()
    local file = io.popen("ls " .. tree.quote(tree.root .. "/examples/traces") .. "/*.vmt 2>/dev/null")
    local paths = {}
    for path in file:lines() do paths[#paths + 1] = path end
    file:close()
    lu.skipIf(#paths == 0, "no recorded trace is there")
    for _, path in ipairs(paths) do
        local t <close> = assert(vmem.trace.open(path))
        for _, policy in ipairs({ "lru", "fifo", "clock" }) do
            local part = scale < 1 and t:head(math.ceil(1e6 * scale)) or t
            same({ preset = "core-i7", policy = policy, resident = 100 }, { part }, path)
        end
    end
end
