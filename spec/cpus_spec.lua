-- Several processors: whose TLBs and caches, who is told of changed PTEs, what it costs.
local lu = require("luaunit")
local vmem = require("vmem")

-- Two levels of cache, the outer one shared; a process a processor.
local function machine(o)
    local t = {
        preset = "core-i7", cpus = 2, dram = "4MiB", swap = "1MiB", huge = "never",
        cache = {
            l1i = { size = 1024, ways = 2, line = 64, latency = 4 },
            l1d = { size = 1024, ways = 2, line = 64, latency = 4 },
            l2 = { size = 8192, ways = 4, line = 64, latency = 10 },
            l3 = { size = 0 },
        },
    }
    for k, v in pairs(o or {}) do t[k] = v end
    return vmem.machine(t)
end

local function whole(m)
    local ok, broken = m:check()
    lu.assertTrue(ok, broken)
end

-- Threads of one process, one on each processor, and memory that all have touched.
local function threads(m, pages)
    local list = { (m:spawn()) }
    for i = 2, m:options().cpus do list[i] = list[1]:clone() end
    local a = assert(list[1]:mmap({ length = pages * 4096, prot = "rw" }))
    for _, t in ipairs(list) do
        for page = 0, pages - 1 do t:store(a + page * 4096, 1) end
    end
    return list, a
end

TestProcessors = {}

function TestProcessors:testAProcessRunsWhereFewestDo()
    local m <close> = machine({ cpus = 3 })
    local p = { m:spawn(), m:spawn(), m:spawn(), m:spawn() }
    local where = {}
    for i, q in ipairs(p) do where[i] = q:cpu() end
    lu.assertEquals(where, { 0, 1, 2, 0 })
    p[2]:exit()
    lu.assertEquals(p[1]:fork():cpu(), 1)
    lu.assertEquals(m:spawn({ cpu = 2, name = "x" }):cpu(), 2)
    lu.assertEquals(p[1]:run_on(2):cpu(), 2)
    lu.assertEquals(m:stats("kernel.migrations"), 1)
    whole(m)
end

function TestProcessors:testWrongNumbers()
    local m <close> = machine()
    local p = m:spawn()
    local ok, message, code = p:run_on(2)
    lu.assertNil(ok)
    lu.assertEquals(code, "EINVAL")
    lu.assertStrContains(message, "there is no processor 2, the machine has 2, from 0 on")
    lu.assertNil(p:run_on(-1))
    lu.assertErrorMsgContains("spawn: cpu is 2, but the machine has processors 0 to 1", m.spawn, m, { cpu = 2 })
    lu.assertErrorMsgContains("spawn: there is no option core", m.spawn, m, { core = 1 })
    lu.assertErrorMsgContains("cpus", vmem.machine, { cpus = 65 })
    lu.assertErrorMsgContains("cache.straddle = \"once\" is for one processor", vmem.machine,
        { preset = "core-i7", cpus = 2, cache = { straddle = "once" } })
    lu.assertErrorMsgContains("cache.l1i.line is 128, longer than the 64 of cache.l1d", vmem.machine,
        { cpus = 2, cache = { l1i = { size = 1024, line = 128 }, l1d = { size = 1024, line = 64 } } })
end

function TestProcessors:testRowsOfProcessorsAddUp()
    local m <close> = machine({ cpus = 4 })
    local list, a = threads(m, 8)
    m:reset_stats()
    for i, t in ipairs(list) do
        for j = 1, 50 * i do t:store(a + j * 72 % 32000, j) end
        t:madvise(a, 4096 * i, "dontneed")
    end
    local flat = m:_stats()
    local sums, seen = {}, 0
    for name, v in pairs(flat) do
        local rest = name:match("^cpu%d%.(.+)$")
        if rest then sums[rest] = (sums[rest] or 0) + v end
    end
    for name, v in pairs(sums) do
        local total = ({ cycles = "cycles.total", interrupts = "kernel.interrupts" })[name] or name
        lu.assertEquals(v, flat[total], name)
        seen = seen + (v > 0 and 1 or 0)
    end
    lu.assertTrue(seen > 10)
    lu.assertNotNil(flat["cpu3.cache.l1d.misses"])
    lu.assertNil(flat["cpu0.cache.l2.misses"]) -- it is nobody's own
    local one <close> = machine({ cpus = 1 })
    lu.assertNil(one:_stats()["cpu0.cycles"])
    whole(m)
end

TestShootdowns = {}

-- However many pages a call changes, each other processor is interrupted once.
function TestShootdowns:testACallInterruptsEachOnce()
    local m <close> = machine({ cpus = 4 })
    local list, a = threads(m, 10)
    m:reset_stats()
    list[1]:mprotect(a, 10 * 4096, "r")
    local s = m:stats()
    lu.assertEquals(s.kernel.shootdowns, 10)
    lu.assertEquals(s.kernel.interrupts, 3)
    lu.assertEquals({ s.cpu0.interrupts, s.cpu1.interrupts, s.cpu3.interrupts }, { 0, 1, 1 })
    lu.assertEquals(s.cycles.kernel, 300 + 3 * 2000)
    lu.assertFalse((pcall(list[2].store, list[2], a, 1)))
    whole(m)
end

-- Nobody else ran it: nobody is told.
function TestShootdowns:testOnlyThoseThatMayKnow()
    local m <close> = machine({ cpus = 4 })
    local p, other = m:spawn(), m:spawn()
    local a, b = p:mmap({ length = 4096, prot = "rw" }), other:mmap({ length = 4096, prot = "rw" })
    p:store(a, 1)
    other:store(b, 1)
    m:reset_stats()
    p:munmap(a, 4096)
    lu.assertEquals(m:stats("kernel.interrupts"), 0)
    p:run_on(3)
    a = p:mmap({ length = 4096, prot = "rw" })
    p:store(a, 1) -- where it was, its old translations may still be
    p:munmap(a, 4096)
    lu.assertEquals(m:stats("kernel.interrupts"), 1)
    lu.assertEquals(m:stats("cpu0.interrupts"), 1)
    whole(m)
end

-- Without ASIDs a processor forgets a process as soon as it runs another.
function TestShootdowns:testWithoutIdentifiers()
    local m <close> = machine({ tlb = { asid_bits = 0 } })
    local p, q = m:spawn({ cpu = 0 }), m:spawn({ cpu = 0 })
    local a, b = p:mmap({ length = 4096, prot = "rw" }), q:mmap({ length = 4096, prot = "rw" })
    p:store(a, 1)
    q:store(b, 1)
    p:run_on(1)
    p:store(a, 2)
    m:reset_stats()
    p:munmap(a, 4096)
    lu.assertEquals(m:stats("kernel.interrupts"), 0)
    whole(m)
end

-- More processes than ASIDs: what runs elsewhere is given a new one before it goes on.
function TestShootdowns:testIdentifiersRunOut()
    local m <close> = machine({ cpus = 2, tlb = { asid_bits = 2 } })
    local list, at = {}, {}
    for i = 1, 8 do
        list[i] = m:spawn()
        at[i] = list[i]:mmap({ length = 4096, prot = "rw" })
    end
    for round = 1, 5 do
        for i, p in ipairs(list) do
            p:store(at[i], i * 100 + round)
            lu.assertEquals(list[1]:load(at[1]), 100 + (i == 1 and round or round))
            whole(m)
        end
        for i, p in ipairs(list) do lu.assertEquals(p:load(at[i]), i * 100 + round) end
    end
    lu.assertTrue(m:stats("kernel.asid_rollovers") > 3)
end

-- Copy on write: the thread on the other processor must see the new page.
function TestShootdowns:testAThreadSeesTheCopy()
    local m <close> = machine({ cpus = 2 })
    local list, a = threads(m, 1)
    local child = list[1]:fork()
    lu.assertEquals(list[2]:load(a), 1)
    list[1]:store(a, 7)
    lu.assertEquals(list[2]:load(a), 7)
    lu.assertEquals(child:load(a), 1)
    whole(m)
end

function TestShootdowns:testTheEventTells()
    local m <close> = machine({ cpus = 4 })
    local list, a = threads(m, 2)
    local heard = {}
    m:on("shootdown", function(e) heard[#heard + 1] = { e.cpu, e.cpus } end)
    list[2]:mprotect(a, 2 * 4096, "r")
    m:stats()
    lu.assertEquals(heard, { { 1, 3 }, { 1, 0 } })
end

TestCoherence = {}

local function counters(m)
    local s = m:stats()
    return { s.coherence.invalidations, s.coherence.interventions, s.coherence.transfers }
end

-- A line that two processors write to in turn: each store takes it from the other.
function TestCoherence:testALineThatGoesToAndFro()
    local m <close> = machine({ paging = { enabled = false } })
    local p, q = m:spawn({ cpu = 0 }), m:spawn({ cpu = 1 })
    for i = 1, 10 do
        p:store(0x1000, i)
        q:store(0x1008, i) -- another word of the line: false sharing
    end
    lu.assertEquals(counters(m), { 19, 19, 19 })
    local s = m:stats()
    lu.assertEquals(s.cache.l1d.data.write_misses, 20)
    lu.assertEquals(s.cache.l2.writebacks_in, 19)
    lu.assertEquals(s.cycles.data, 20 * 4 + 20 * 10 + 200 + 19 * 60)
    lu.assertEquals({ p:load(0x1000), p:load(0x1008) }, { 10, 10 })
    whole(m)
end

-- Readers share; the first write after them takes it from all others.
function TestCoherence:testReadersShareUntilOneWrites()
    local m <close> = machine({ cpus = 4, paging = { enabled = false } })
    local list = { m:spawn(), m:spawn(), m:spawn(), m:spawn() }
    list[1]:store(64, 5)
    for _, p in ipairs(list) do p:load(64) end
    lu.assertEquals(counters(m), { 0, 1, 1 }) -- the first reader had it written back
    for _, p in ipairs(list) do p:load(64) end
    lu.assertEquals(counters(m), { 0, 1, 1 })
    list[3]:store(64, 6)
    lu.assertEquals(counters(m), { 3, 1, 4 })
    list[3]:store(64, 7)
    lu.assertEquals(counters(m), { 3, 1, 4 })
    lu.assertEquals(list[1]:load(64), 7)
    lu.assertEquals(counters(m), { 3, 2, 5 })
    whole(m)
end

-- Lines in different sets of the same cache never meet.
function TestCoherence:testPrivateDataNeedsNothing()
    local m <close> = machine({ paging = { enabled = false } })
    local p, q = m:spawn(), m:spawn()
    for i = 0, 99 do
        p:store(i * 64, i)
        q:store(0x10000 + i * 64, i)
    end
    lu.assertEquals(counters(m), { 0, 0, 0 })
    whole(m)
end

-- What a process wrote stays behind, dirty, where it was.
function TestCoherence:testMigrationLeavesTheCachesBehind()
    local m <close> = machine()
    local p = m:spawn()
    local a = p:mmap({ length = 4096, prot = "rw" })
    for i = 0, 7 do p:store(a + i * 64, i) end
    m:reset_stats()
    for i = 0, 7 do p:load(a + i * 64) end
    lu.assertEquals(m:stats("tlb.l1d.misses"), 0)
    p:run_on(1)
    for i = 0, 7 do lu.assertEquals(p:load(a + i * 64), i) end
    local s = m:stats()
    lu.assertEquals(s.tlb.l1d.misses, 1)
    lu.assertEquals(s.cpu1.mmu.walks, 1)
    lu.assertTrue(s.coherence.interventions >= 8)
    p:run_on(0)
    p:load(a)
    lu.assertEquals(m:stats("tlb.l1d.misses"), 1) -- where it was, it is still known
    whole(m)
end

-- 8,000 random accesses by four processors to few lines: bytes and invariants hold.
function TestCoherence:testRandomAccessesToFewLines()
    local random = require("fuzz.trace_fuzz").random
    for _, write in ipairs({ "back", "through" }) do
        local rng = random(7)
        local m <close> = machine({
            cpus = 4,
            cache = {
                l1i = { size = 256, ways = 2, line = 32, policy = "fifo" },
                l1d = { size = 256, ways = 2, line = 32, write = write },
                l2 = { size = 1024, ways = 2, line = 64, inclusive = true },
                l3 = { size = 4096, ways = 4, line = 64, inclusive = true },
            },
        })
        local list, a = threads(m, 2)
        local bytes = {}
        for step = 1, 2000 do
            local at = rng.below(200) * 8
            local p = list[1 + rng.below(4)]
            if rng.below(2) == 0 then
                p:store(a + at, step)
                bytes[at] = step
            else
                lu.assertEquals(p:load(a + at), bytes[at] or (at == 0 and 1 or 0))
            end
            if step % 50 == 0 then whole(m) end
        end
        lu.assertTrue(m:stats("coherence.transfers") > 100)
    end
end
