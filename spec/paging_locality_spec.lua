-- Working sets, footprints, page-fault frequency and phases, each against its
-- definition, one window or reference at a time.
local lu = require("luaunit")
local vmem = require("vmem")
local workloads = require("study.workloads")

local paging = vmem.paging

TestPagingLocality = {}

-- Different pages in list[from .. to].
local function different(list, from, to)
    local seen, n = {}, 0
    for i = math.max(1, from), to do
        if not seen[list[i]] then seen[list[i]], n = true, n + 1 end
    end
    return n
end

local function each_workload(f)
    for name, list in pairs(workloads.all(250, 24, 19)) do
        f(name, list, vmem.trace.pages(list))
    end
end

function TestPagingLocality:testWorkingSetsByDefinition()
    each_workload(function(name, list, t)
        local windows = {}
        for T = 1, #list + 10 do windows[T] = T end
        local w = paging.working_set({ trace = t, windows = windows })
        lu.assertEquals(#w.rows, #list + 10)
        for T, row in ipairs(w.rows) do
            local sum, faults = 0, 0
            for i = 1, #list do
                sum = sum + different(list, i - T + 1, i)
                local present = false
                for k = math.max(1, i - T), i - 1 do present = present or list[k] == list[i] end
                if not present then faults = faults + 1 end
            end
            lu.assertAlmostEquals(row.size, sum / #list, 1e-9)
            lu.assertEquals({ name, T, row.faults }, { name, T, faults })
            if T <= #list then
                local all = 0
                for i = 1, #list - T + 1 do all = all + different(list, i, i + T - 1) end
                lu.assertAlmostEquals(row.footprint, all / (#list - T + 1), 1e-9)
            end
        end
    end)
end

-- Few windows give the same as many; reuses are counted once each.
function TestPagingLocality:testAnyWindows()
    local list = workloads.zipf(3000, 200, 3)
    local t = vmem.trace.pages(list)
    local all = {}
    for T = 1, #list do all[T] = T end
    local every = paging.working_set({ trace = t, windows = all }).rows
    for _, windows in ipairs({ { 1 }, { 3000 }, { 7, 8, 9, 100, 1000 }, { 64, 5, 64 } }) do
        local w, reuses = paging.working_set({ trace = t, windows = windows }), 0
        for _, row in ipairs(w.rows) do
            local e = every[row.window]
            lu.assertEquals({ row.size, row.faults, row.footprint }, { e.size, e.faults, e.footprint })
            reuses = reuses + row.reuses
        end
        lu.assertEquals(reuses, 3000 - w.rows[#w.rows].faults)
    end
    local default = paging.working_set({ trace = t })
    lu.assertEquals({ default.rows[1].window, default.rows[#default.rows].window }, { 1, 3000 })
    lu.assertStrContains(default:svg(), "footprint")
    lu.assertStrContains(default:svg({ y = "miss_ratio" }), "misses per reference")
    lu.assertStrContains(tostring(default), "mean pages")
end

function TestPagingLocality:testPageFaultFrequencyByDefinition()
    each_workload(function(name, list, t)
        local thresholds = { 1, 2, 3, 5, 10, 50, 1000 }
        local got = paging.pff({ trace = t, thresholds = thresholds })
        for k, T in ipairs(thresholds) do
            local resident, used, fault, faults, sum, most = {}, {}, nil, 0, 0, 0
            for i, page in ipairs(list) do
                if not resident[page] then
                    faults = faults + 1
                    if fault and i - fault >= T then
                        for q in pairs(resident) do
                            if not used[q] then resident[q] = nil end
                        end
                    end
                    resident[page], used, fault = true, {}, i
                end
                used[page] = true
                local n = 0
                for _ in pairs(resident) do n = n + 1 end
                sum, most = sum + n, math.max(most, n)
            end
            local row = got.rows[k]
            lu.assertEquals({ name, T, row.faults, row.most }, { name, T, faults, most })
            lu.assertAlmostEquals(row.size, sum / #list, 1e-9)
        end
        lu.assertStrContains(got:svg(), "<polyline")
    end)
end

function TestPagingLocality:testPhases()
    local list = workloads.phases(5000, 100, 4)
    local p = paging.phases({ trace = vmem.trace.pages(list), window = 100 })
    lu.assertEquals(#p.phases, 5)
    for i, phase in ipairs(p.phases) do
        lu.assertEquals({ phase.first, phase.last }, { (i - 1) * 1000 + 1, i * 1000 })
    end
    for i, w in ipairs(p.windows) do
        lu.assertEquals(w.pages, different(list, i * 100 - 99, i * 100))
        if i > 1 then
            local union = different(list, i * 100 - 199, i * 100)
            lu.assertEquals(w.kept, w.pages + p.windows[i - 1].pages - union)
            lu.assertAlmostEquals(w.change, 1 - w.kept / union, 1e-12)
        end
    end
    lu.assertStrContains(tostring(p), "5 phases")
    lu.assertStrContains(p:svg(), "<polyline")
    lu.assertEquals(#paging.phases({ trace = vmem.trace.pages({}) }).phases, 0)
end

function TestPagingLocality:testReuseDistances()
    local list = workloads.random(2000, 50, 6)
    local c, sum = paging.curve({ trace = vmem.trace.pages(list) }), 0
    for _, row in ipairs(c:distances()) do
        lu.assertEquals(row.count, c:misses(row.from - 1) - c:misses(row.to))
        sum = sum + row.count
    end
    lu.assertEquals(sum, 2000 - 50)
    local fifo = paging.curve({ trace = vmem.trace.pages(list), policy = "fifo" })
    lu.assertErrorMsgContains("lru", fifo.distances, fifo)
end

function TestPagingLocality:testASampleIsRefused()
    local r = paging.decode({ trace = vmem.trace.pages({ 1, 2, 3 }), sample = 0.5 })
    for _, f in ipairs({ paging.working_set, paging.pff, paging.phases }) do
        lu.assertErrorMsgContains("sample", f, { trace = r })
    end
end
