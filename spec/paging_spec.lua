-- Paging without a machine: known strings, plain lists, the machine itself.
local lu = require("luaunit")
local vmem = require("vmem")
local compare = require("policies.compare")
local orders = require("policies.orders")
local rng = require("policies.rng")
local workloads = require("study.workloads")

local function pages(string) return vmem.trace.pages(workloads.text(string)) end

local BELADY = "1 2 3 4 1 2 5 1 2 3 4 5"
local SILBERSCHATZ = "7 0 1 2 0 3 0 4 2 3 0 3 2 1 2 0 1 7 0 1"

local function misses(string, policy, n)
    return vmem.paging.run({ trace = pages(string), policy = policy, frames = n }).misses
end

-- OPT by looking ahead: the page whose next use is the farthest; of those without
-- one, the page that has been resident longest.
local function plain_opt(list, n)
    local order, hits, victims = {}, {}, {} -- order: by arrival
    local function next_use(page, from)
        for k = from, #list do
            if list[k] == page then return k end
        end
        return math.huge
    end
    for i, page in ipairs(list) do
        local at, worst, far = nil, nil, -1
        for k, q in ipairs(order) do
            at = q == page and k or at
            local use = next_use(q, i + 1)
            if use > far then worst, far = k, use end
        end
        hits[i], victims[i] = at and "+" or "-", false
        if not at then
            if #order == n then victims[i] = table.remove(order, worst) end
            order[#order + 1] = page
        end
    end
    return table.concat(hits), victims
end

TestPagingRun = {}

function TestPagingRun:testKnownStrings()
    lu.assertEquals(misses(BELADY, "fifo", 3), 9)
    lu.assertEquals(misses(BELADY, "fifo", 4), 10)
    lu.assertEquals(misses(BELADY, "lru", 3), 10)
    lu.assertEquals(misses(BELADY, "lru", 4), 8)
    lu.assertEquals(misses(SILBERSCHATZ, "fifo", 3), 15)
    lu.assertEquals(misses(SILBERSCHATZ, "lru", 3), 12)
    lu.assertEquals(misses(BELADY, "opt", 3), 7)
    lu.assertEquals(misses(BELADY, "opt", 4), 6)
    lu.assertEquals(misses(SILBERSCHATZ, "opt", 3), 9)
end

function TestPagingRun:testAllFigures()
    local t = vmem.trace.new({ { "store", 0, 1 }, { "load", 4096, 1 }, { "load", 8192, 1 }, { "modify", 4096, 1 },
        { "load", 0, 1 }, { "load", 8192, 1 } })
    local r = vmem.paging.run({ trace = t, policy = "fifo", frames = 2 })
    lu.assertEquals({ r.refs, r.pages, r.hits, r.misses, r.cold, r.evictions, r.writebacks }, { 6, 3, 2, 4, 3, 2, 2 })
    lu.assertEquals(vmem.paging.run({ trace = t, policy = "fifo", frames = 2, dirty = false }).writebacks, 0)
    lu.assertStrContains(tostring(r), "4 misses (66.66 %), 3 cold; 2 evictions, 2 write-backs")
end

function TestPagingRun:testAnAccessThatCrossesPages()
    local t = vmem.trace.new({ { "load", 4090, 10 }, { "store", 0, 3 * 4096 }, { "load", -1, 8 } })
    local r = vmem.paging.run({ trace = t, policy = "lru", frames = 10, log = true })
    lu.assertEquals({ r.refs, r.misses }, { 6, 4 })
    lu.assertEquals({ r.log[1].page, r.log[2].page, r.log[5].page, r.log[6].page }, { 0, 1, 2, (1 << 52) - 1 })
    r = vmem.paging.run({ trace = t, policy = "lru", frames = 10, page = "1GiB" })
    lu.assertEquals({ r.refs, r.misses }, { 3, 2 })
end

function TestPagingRun:testHitByHitAgainstLists()
    for n = 1, 12 do
        local list = workloads.random(300, 16, n)
        local trace = vmem.trace.pages(list)
        for _, policy in ipairs({ "fifo", "lru" }) do
            lu.assertNil(compare.differs(trace, policy, {}, orders[policy], n))
        end
        local log = vmem.paging.run({ trace = trace, frames = n, policy = "opt", log = true }).log
        local hits, victims = plain_opt(list, n)
        lu.assertEquals(log:hits(), hits)
        lu.assertEquals(log:victims(), victims)
    end
end

function TestPagingRun:testTheTextbooksTable()
    local r = vmem.paging.run({ trace = pages(BELADY), policy = "fifo", frames = 3, log = true })
    lu.assertStrContains(tostring(r.log), [[
reference  1 2 3 4 1 2 5 1 2 3 4 5
           * * * * * * *     * *
frame 0    1 1 1 4 4 4 5 5 5 5 5 5
frame 1      2 2 2 1 1 1 1 1 3 3 3
frame 2        3 3 3 2 2 2 2 2 4 4
victim           1 2 3 4     1 2]])
    lu.assertEquals(#r.log, 12)
    lu.assertEquals(r.log[4], { page = 4, process = 1, write = false, hit = false, slot = 0, victim = 1,
        contents = { 4, 2, 3 } })
    lu.assertEquals(r.log[2].contents, { 1, 2, false })
    lu.assertNil(r.log[13])
    lu.assertNil(r.log[0])
end

-- A machine with n frames and nothing else to do faults where the study misses.
function TestPagingRun:testTheMachineFaultsAsOften()
    local t <close> = vmem.trace.zipf({ refs = 3000, pages = 60, alpha = 0.8, seed = 3, stores = 0.3 })
    for _, policy in ipairs({ "fifo", "lru", "clock" }) do
        for _, n in ipairs({ 1, 2, 7, 20, 59, 60 }) do
            local m <close> = vmem.machine({ preset = "core-i7", policy = policy, resident = n })
            local p = m:spawn()
            p:replay(t)
            local r = vmem.paging.run({ trace = t, frames = n, policy = policy })
            lu.assertEquals({ policy, n, r.misses }, { policy, n, m:stats("kernel.faults") })
        end
    end
end

function TestPagingRun:testProcesses()
    local t = vmem.trace.new({ { "load", 0, 1, 0 }, { "load", 0, 1, 7 }, { "store", 4096, 1, 7 }, { "load", 0, 1, 0 },
        { "event", { type = "thread", child = 9, task = 7 }, 0, 7 }, { "load", 4096, 1, 9 } })
    local r = vmem.paging.run({ trace = t, frames = 4, policy = "lru" })
    lu.assertEquals(#r.processes, 2)
    lu.assertEquals({ r.processes[2].task, r.processes[2].refs, r.processes[2].hits, r.processes[2].pages },
        { 7, 3, 1, 2 })
    lu.assertEquals(r.misses, 3)
    lu.assertEquals(vmem.paging.run({ trace = t, frames = 4, policy = "lru", processes = false }).misses, 2)
end

-- Local replacement is each process alone with its frames.
function TestPagingRun:testLocalScope()
    local lists, records, below = { {}, {}, {} }, {}, rng(99).below
    for i = 1, 2000 do
        local k, page = below(3) + 1, below(12)
        table.insert(lists[k], page)
        records[i] = { "load", page * 4096, 1, k }
    end
    local quota, t = { 3, 5, 9 }, vmem.trace.new(records)
    -- Processes are in the order of their first references.
    local order, seen = {}, {}
    for _, x in ipairs(records) do
        if not seen[x[4]] then order[#order + 1], seen[x[4]] = x[4], true end
    end
    local r = vmem.paging.run({ trace = t, frames = quota, scope = "local", policy = "lru" })
    for i, k in ipairs(order) do
        local alone = vmem.paging.run({ trace = vmem.trace.pages(lists[k]), frames = quota[i], policy = "lru" })
        for _, c in ipairs({ "refs", "misses", "cold", "hits", "evictions" }) do
            lu.assertEquals({ k, c, r.processes[i][c] }, { k, c, alone[c] })
        end
    end
    local shared = vmem.paging.run({ trace = t, frames = 17, scope = "local", policy = "lru" })
    lu.assertEquals({ shared.processes[1].frames, shared.processes[2].frames, shared.processes[3].frames }, { 6, 6, 5 })
end

-- The quicker ways count what the driven policies do, of each process, at every size.
function TestPagingRun:testShortcutsChangeNothing()
    local seed = tonumber(os.getenv("SEED")) or 5
    local below = rng(seed).below
    for round = 1, 25 do
        local most, processes, list = 1 + below(40), 1 + below(4), {}
        for i = 1, 1 + below(400) do
            local page = below(2) == 0 and below(most) or below(1 + most // 4)
            list[i] = { below(3) == 0 and "store" or "load", page * 4096, 1, below(processes) }
        end
        local r = vmem.paging.decode({ trace = vmem.trace.new(list) })
        for _, policy in ipairs({ "fifo", "clock", "clock:enter=0", "lru", "arc", "2q", "2q:kin=0:kout=2", "opt" }) do
            for n = 1, r.pages + 1 do
                local a = vmem.paging.run({ trace = r, frames = n, policy = policy })
                local b = vmem.paging.run({ trace = r, frames = n, policy = policy, shortcuts = false })
                for i, p in ipairs(a.processes) do
                    for _, c in ipairs({ "misses", "cold", "evictions", "writebacks" }) do
                        if p[c] ~= b.processes[i][c] then
                            lu.fail(("seed %d, round %d: %s of %s with %d frames: %d, but driven %d"):format(seed,
                                round, c, policy, n, p[c], b.processes[i][c]))
                        end
                    end
                end
            end
        end
    end
end

function TestPagingRun:testWrongUse()
    local t = pages(BELADY)
    local function fails(options, text)
        lu.assertErrorMsgContains(text, vmem.paging.run, options)
    end
    fails({ trace = t, frames = 0 }, "frames is 0")
    fails({ trace = t }, "frames is missing")
    fails({ frames = 3 }, "trace is missing")
    fails({ trace = t, frames = 3, policy = "fif" }, "did you mean fifo?")
    fails({ trace = t, frames = 3, policy = "tree-plru" }, "no policy tree-plru")
    fails({ trace = t, frames = 3, page = 1000 }, "page is 1000")
    fails({ trace = t, frames = 3, farmes = 3 }, "did you mean frames?")
    fails({ t, frames = 3 }, "there is no option 1")
    fails({ trace = t, frames = 3, "lru" }, "there is no option 1")
    fails({ trace = t, frames = { 3, 4 } }, "scope")
    fails(3, "takes a table")
end
