-- Miss curves: one pass against a run at each size, samples against the definition.
local lu = require("luaunit")
local vmem = require("vmem")
local workloads = require("study.workloads")

local paging = vmem.paging

TestPagingCurve = {}

-- Each workload at every size: the pass and the run count the same; more frames
-- never miss more often (inclusion), OPT never more often than any other policy,
-- and with as many frames as pages all misses are cold.
function TestPagingCurve:testEverySizeOfEveryWorkload()
    for name, list in pairs(workloads.all(400, 30, 7)) do
        local r = paging.decode({ trace = vmem.trace.pages(list) })
        local curves = { lru = paging.curve({ trace = r }), opt = paging.curve({ trace = r, policy = "opt" }) }
        lu.assertEquals(curves.lru.method, "one pass")
        for n = 1, r.pages + 1 do
            for policy, c in pairs(curves) do
                local run = paging.run({ trace = r, frames = n, policy = policy })
                lu.assertEquals({ name, policy, n, c:misses(n) }, { name, policy, n, run.misses })
                lu.assertTrue(c:misses(n) <= c:misses(n - 1))
                if n >= r.pages then lu.assertEquals({ run.misses, run.cold }, { r.pages, r.pages }) end
            end
        end
        for _, row in ipairs(vmem.policies()) do
            if row.serves ~= "sets" then
                for n = 1, r.pages, 3 do
                    local run = paging.run({ trace = r, frames = n, policy = row.name })
                    lu.assertTrue(run.misses >= curves.opt:misses(n), row.name .. " beats OPT")
                    lu.assertEquals(run.evictions, run.misses - math.min(n, r.pages))
                end
                local all = paging.run({ trace = r, frames = r.pages, policy = row.name })
                lu.assertEquals({ row.name, all.misses, all.evictions }, { row.name, r.pages, 0 })
            end
        end
    end
end

-- Stack distances by a list, many pages, so that the pass moves its pages together
-- several times.
function TestPagingCurve:testManyReferencesAgainstAStack()
    local list = workloads.zipf(20000, 300, 5)
    local stack, distances = {}, {}
    for _, page in ipairs(list) do
        local at
        for k = 1, #stack do
            if stack[k] == page then at = k break end
        end
        if at then
            distances[at] = (distances[at] or 0) + 1
            table.remove(stack, at)
        end
        table.insert(stack, 1, page)
    end
    local c = paging.curve({ trace = vmem.trace.pages(list) })
    local misses = #list
    for n = 1, #stack do
        misses = misses - (distances[n] or 0)
        lu.assertEquals(c:misses(n), misses)
    end
end

function TestPagingCurve:testBeladysAnomaly()
    local t = vmem.trace.pages({ 1, 2, 3, 4, 1, 2, 5, 1, 2, 3, 4, 5 })
    local c = paging.curve({ trace = t, policy = "fifo" })
    lu.assertEquals(c.method, "sizes")
    lu.assertEquals(c.anomalies, { { smaller = 3, larger = 4, misses = 9, more = 10 } })
    lu.assertStrContains(tostring(c), "Belady's anomaly: 9 with 3 frames, 10 with 4")
    lu.assertEquals(paging.curve({ trace = t, policy = "lru" }).anomalies, {})
end

-- The hash that chooses pages, as it is written down in docs/studies.md.
local function hash(number, process)
    local x = number + process * 0xd1342543de82ef95
    x = (x ~ x >> 30) * 0xbf58476d1ce4e5b9
    x = (x ~ x >> 27) * 0x94d049bb133111eb
    return (x ~ x >> 31) >> 40
end

-- SHARDS by hand: the references to pages with a small hash, their stack distances
-- divided by the rate, counts too.
function TestPagingCurve:testASampleAgainstItsDefinition()
    local list = workloads.zipf(5000, 400, 11)
    local rate <const> = 0.125
    local stack, distances, kept = {}, {}, 0
    for _, page in ipairs(list) do
        if hash(page, 0) < rate * (1 << 24) then
            kept = kept + 1
            local at
            for k = 1, #stack do
                if stack[k] == page then at = k break end
            end
            if at then
                distances[#distances + 1] = at / rate
                table.remove(stack, at)
            end
            table.insert(stack, 1, page)
        end
    end
    local whole = paging.decode({ trace = vmem.trace.pages(list) })
    for _, trace in ipairs({ vmem.trace.pages(list), whole }) do
        local r = paging.decode({ trace = trace, sample = rate })
        lu.assertEquals({ r.refs, r.pages, r.all, r.rate }, { kept, #stack, #list, rate })
        local c = paging.curve({ trace = trace, sample = rate })
        for n = 1, 400 do
            local hits = 0
            for _, d in ipairs(distances) do
                if d <= n then hits = hits + 1 end
            end
            lu.assertEquals(c:misses(n), math.floor((kept - hits) / rate + 0.5))
        end
        lu.assertEquals(c:misses(0), #list)
        lu.assertTrue(c:error(1) > 0)
    end
end

-- Of a fixed size: as many pages as asked for, those with the smallest hashes, from
-- a stream as from a whole string.
function TestPagingCurve:testASampleOfSoManyPages()
    local list = workloads.zipf(20000, 3000, 3)
    local pages, seen = {}, {}
    for _, page in ipairs(list) do
        if not seen[page] then seen[page], pages[#pages + 1] = true, page end
    end
    table.sort(pages, function(a, b) return hash(a, 0) < hash(b, 0) end)
    local whole = paging.decode({ trace = vmem.trace.pages(list) })
    for _, most in ipairs({ 1, 10, 64, 500, #pages, #pages + 1 }) do
        local expected, count = {}, 0
        for i = 1, math.min(most, #pages) do expected[pages[i]] = true end
        for _, page in ipairs(list) do
            if expected[page] then count = count + 1 end
        end
        for _, trace in ipairs({ vmem.trace.pages(list), whole }) do
            local r = paging.decode({ trace = trace, sample_pages = most })
            lu.assertEquals({ most, r.pages, r.refs, r.all }, { most, math.min(most, #pages), count, #list })
            for i = 1, math.min(50, r.refs) do lu.assertTrue(expected[r:at(i)]) end
        end
    end
end

-- A sample's figures lie near the exact ones, mostly within three standard errors.
function TestPagingCurve:testASampleIsNearTheTruth()
    local t <close> = vmem.trace.zipf({ refs = 200000, pages = 20000, alpha = 0.7, seed = 2 })
    local r = paging.decode({ trace = t })
    for _, policy in ipairs({ "lru", "clock" }) do
        local sizes, within = { 1000, 2000, 4000, 8000, 12000 }, 0
        local exact = paging.curve({ trace = r, policy = policy, sizes = sizes })
        local sampled = paging.curve({ trace = r, policy = policy, sizes = sizes, sample = 0.1 })
        for _, n in ipairs(sizes) do
            local d = math.abs(exact:miss_ratio(n) - sampled:miss_ratio(n))
            lu.assertTrue(d < 0.05, ("%s %d: %f"):format(policy, n, d))
            if d < 3 * sampled:error(n) then within = within + 1 end
        end
        lu.assertTrue(within >= 4)
    end
end

-- Results do not depend on the number of threads.
function TestPagingCurve:testComparisonIsTheRunsWhateverTheThreads()
    local t <close> = vmem.trace.zipf({ refs = 30000, pages = 500, alpha = 0.9, seed = 8, stores = 0.4 })
    local r = paging.decode({ trace = t })
    local policies, sizes, calls = { "fifo", "lru", "clock", "random", "opt" }, { 1, 40, 200 }, 0
    for _, threads in ipairs({ 0, 1, 2, 7 }) do
        local c = paging.compare({ trace = r, policies = policies, frames = sizes, threads = threads,
            progress = function(done, all)
                calls = calls + 1
                lu.assertTrue(done <= all)
            end })
        for _, p in ipairs(policies) do
            for _, n in ipairs(sizes) do
                local run, got = paging.run({ trace = r, policy = p, frames = n }), c.results[p][n]
                for _, k in ipairs({ "misses", "cold", "hits", "evictions", "writebacks" }) do
                    lu.assertEquals({ threads, p, n, k, got[k] }, { threads, p, n, k, run[k] })
                end
            end
        end
        lu.assertEquals({ c:best(40) }, { "opt", c.results.opt[40].misses })
    end
    lu.assertTrue(calls >= 4)
end

-- A policy of Lua's beside its twin, on whatever threads; its error ends the study.
function TestPagingCurve:testPoliciesInLua()
    local fifo = vmem.policy({ name = "my-fifo",
        init = function(p) p.queue, p.first = {}, 1 end,
        insert = function(p, slot) p.queue[#p.queue + 1] = slot end,
        victim = function(p)
            p.first = p.first + 1
            return p.queue[p.first - 1]
        end })
    local r = paging.decode({ trace = vmem.trace.pages(workloads.zipf(3000, 100, 5)) })
    for _, threads in ipairs({ 0, 2 }) do
        local c = paging.compare({ trace = r, policies = { "fifo", fifo, "opt" }, frames = { 5, 50 },
            threads = threads })
        for _, n in ipairs({ 5, 50 }) do
            lu.assertEquals(c.results["my-fifo"][n].misses, c.results.fifo[n].misses)
        end
    end
    local curve = paging.curve({ trace = r, policy = fifo, sizes = { 7, 30 } })
    lu.assertEquals({ curve.policy, curve:misses(7) },
        { "my-fifo", paging.run({ trace = r, policy = "fifo", frames = 7 }).misses })
    local bad = vmem.policy({ name = "bad", victim = function() error("no idea") end })
    lu.assertErrorMsgContains("no idea", paging.compare, { trace = r, policies = { "fifo", bad }, frames = { 5 } })
    lu.assertErrorMsgContains("two policies fifo", paging.compare,
        { trace = r, policies = { "fifo", "fifo" }, frames = 5 })
end

-- A progress function that raises ends the comparison, its threads too.
function TestPagingCurve:testAnErrorInTheMidst()
    local t <close> = vmem.trace.zipf({ refs = 300000, pages = 5000, seed = 8 })
    lu.assertErrorMsgContains("enough", paging.compare, { trace = t, policies = { "lru", "fifo", "clock" },
        frames = { 10, 100, 1000 }, threads = 2, progress = function() error("enough") end })
end

function TestPagingCurve:testKneeAndPictures()
    -- Ten pages all the time, a hundred now and then: the knee is at ten.
    local list = {}
    for i = 1, 3000 do list[i] = i % 30 == 0 and 100 + i // 30 or i % 10 end
    local c = paging.curve({ trace = vmem.trace.pages(list) })
    lu.assertAlmostEquals((c:knee()), 11, 1)
    -- Of a loop nothing is gained before all of it is in memory.
    local loop = paging.curve({ trace = vmem.trace.loop({ refs = 500, pages = 20 }) })
    lu.assertEquals({ loop:knee() }, { 20, 20 })
    lu.assertEquals({ paging.curve({ trace = vmem.trace.pages({ 1, 2, 3 }) }):knee() }, { 1, 3 })
    lu.assertStrContains(c:svg(), "<polyline")
    lu.assertStrContains(c:svg({ log = true }), "knee")
    local empty = paging.curve({ trace = vmem.trace.pages({}) })
    lu.assertEquals({ empty:misses(0), empty:misses(5), #empty.sizes }, { 0, 0, 0 })
    lu.assertStrContains(empty:svg(), "</svg>")
    lu.assertStrContains(tostring(empty), "0 references")
end

function TestPagingCurve:testWrongUse()
    local t = vmem.trace.pages({ 1, 2, 3 })
    lu.assertErrorMsgContains("sample is 2", paging.curve, { trace = t, sample = 2 })
    lu.assertErrorMsgContains("policies is missing", paging.compare, { trace = t, frames = 3 })
    lu.assertErrorMsgContains("frames is missing", paging.compare, { trace = t, policies = { "lru" } })
    local c = paging.curve({ trace = t, policy = "fifo", sizes = { 2 } })
    lu.assertErrorMsgContains("were not measured, only 2", c.misses, c, 3)
end
