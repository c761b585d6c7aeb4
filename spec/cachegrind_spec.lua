-- The same traces, the same caches, paging off: misses equal cachegrind's to
-- the last unit. First the plain model of its accounting, then the machine.
local lu = require("luaunit")
local vmem = require("vmem")
local tree = require("tree")
local model = require("cachegrind_model")

local folder = tree.root .. "/spec/fixtures/cachegrind/"
local results = dofile(folder .. "results.lua")

local traces = {}
local function trace(name)
    traces[name] = traces[name] or assert(vmem.trace.open(folder .. name .. ".lackey.zst"))
    return traces[name]
end

local events = { "Ir", "I1mr", "ILmr", "Dr", "D1mr", "DLmr", "Dw", "D1mw", "DLmw" }

-- One line, so that a difference shows all nine numbers of both.
local function line(r, counts)
    local words = { r.trace }
    for _, cache in ipairs({ "I1", "D1", "LL" }) do words[#words + 1] = table.concat(r[cache], ",") end
    for _, event in ipairs(events) do words[#words + 1] = event .. "=" .. tostring(counts[event]) end
    return table.concat(words, " ")
end

TestCachegrind = {}

function TestCachegrind:testTheModelCountsTheSame()
    for _, r in ipairs(results) do
        lu.assertEquals(line(r, model.run(trace(r.trace):each(), r)), line(r, r))
    end
end

-- Writebacks are untracked: cachegrind has none, and a real one would look the
-- line up in LL.
local function machine_counts(r, shortcuts)
    local function cache(shape)
        return { size = shape[1], ways = shape[2], line = shape[3], policy = "lru", write = "untracked" }
    end
    local m <close> = vmem.machine({
        paging = { enabled = false }, dram = "256GiB", shortcuts = shortcuts,
        cache = { l1i = cache(r.I1), l1d = cache(r.D1), l2 = cache(r.LL), straddle = "once" },
    })
    local p = m:spawn()
    p:replay(trace(r.trace))
    local c = m:stats().cache
    local i1, d1, ll = c.l1i.fetch, c.l1d.data, c.l2
    return {
        Ir = i1.reads, I1mr = i1.read_misses, ILmr = ll.fetch.read_misses,
        Dr = d1.reads, D1mr = d1.read_misses, DLmr = ll.data.read_misses,
        Dw = d1.writes, D1mw = d1.write_misses, DLmw = ll.data.write_misses,
    }
end

function TestCachegrind:testTheMachineCountsTheSame()
    lu.assertEquals(#results, 18)
    for _, r in ipairs(results) do
        for _, shortcuts in ipairs({ true, false }) do
            lu.assertEquals(line(r, machine_counts(r, shortcuts)), line(r, r))
        end
    end
end
