-- Policies that learn or remember, against slow versions that were written from their
-- papers with lists and tables (spec/policies): hit by hit and victim by victim. A string on
-- which the two differ is shortened before it is shown.
local lu = require("luaunit")
local vmem = require("vmem")
local compare = require("policies.compare")
local rng = require("policies.rng")

local LENGTH = tonumber(os.getenv("POLICY_REFS")) or 1200
local SEED = 7

-- policy, oracle, and the parameters to try besides the defaults
local rows = {
    { "sieve", "sieve", {}, { enter = 1 } },
    { "s3-fifo", "s3_fifo", {}, { small = 0.3, ghost = 0.5, promote = 1 } },
    { "arc", "arc", {} },
    { "car", "car", {}, { enter = 1 } },
    { "lirs", "lirs", {}, { hir = 0.3, history = 0.5 }, { history = 0 } },
    { "clock-pro", "clock_pro", {}, { cold = 0.3, enter = 1 }, { adaptive = 0, cold = 0.2, history = 0.5 } },
    { "w-tinylfu", "w_tinylfu", {}, { window = 0.2, protected = 0.5, sample = 3 } },
    { "lecar", "lecar", {}, { rate = 2, discount = 0.3, history = 1, least = 0.1 } },
    { "hyperbolic", "hyperbolic", {}, { samples = 4 } },
    { "linux", "linux", {}, { enter = 0, ratio = 3, history = 0.5 } },
    { "mglru", "mglru", {}, { enter = 0 } },
}

local workloads = {
    random = function(r, n) return r(2 * n + 3) end,
    -- Some pages that are used often, between others that come once.
    scan = function(r, n, i) return r(3) == 0 and r(n // 2 + 1) or n + i end,
    loop = function(_, n, i) return i % (n + n // 3 + 1) end,
    zipf = function(r, n) return math.floor((4 * n + 4) ^ (r(1 << 20) / (1 << 20))) - 1 end,
    phases = function(r, n, i) return (i // 200 * (n // 2 + 1)) + r(n + n // 4 + 1) end,
}

-- Pages numbered in the order of their first references, as a study does.
local function renumber(list)
    local number, count, out = {}, 0, {}
    for i, page in ipairs(list) do
        if not number[page] then number[page], count = count, count + 1 end
        out[i] = number[page]
    end
    return out
end

local function string(name, n)
    local r, list = rng(n * 31 + #name).below, {}
    for i = 1, LENGTH do list[i] = workloads[name](r, n, i) end
    return renumber(list)
end

-- Where the two differ, and how; nil: nowhere.
local function difference(row, params, n, list)
    local how, at = compare.differs(vmem.trace.pages(list), row[1], params, require("policies." .. row[2]), n, SEED)
    return at, how
end

local function shrink(row, params, n, list)
    list = table.move(list, 1, difference(row, params, n, list), 1, {})
    local size = #list // 2
    while size > 0 do
        local from = 1
        while from <= #list do
            local less = table.move(list, 1, from - 1, 1, {})
            table.move(list, from + size, #list, #less + 1, less)
            less = renumber(less)
            if difference(row, params, n, less) then list = less else from = from + size end
        end
        size = size // 2
    end
    return list
end

local function check(row, params, n, list, what)
    if not difference(row, params, n, list) then return end
    local short = shrink(row, params, n, list)
    local _, how = difference(row, params, n, short)
    local given = {}
    for k, v in pairs(params) do given[#given + 1] = k .. "=" .. v end
    lu.fail(("{ %s }, %s, of %s: %s"):format(table.concat(given, ", "), what, table.concat(short, " "), how))
end

TestAdaptivePolicies = {}

for _, row in ipairs(rows) do
    TestAdaptivePolicies["test_" .. row[2]] = function()
        for i = 3, #row do
            for _, n in ipairs({ 1, 2, 3, 7, 24 }) do
                for name in pairs(workloads) do check(row, row[i], n, string(name, n), name) end
            end
        end
    end
end

-- A machine that has nothing else to do faults where the study misses. The reference for which
-- a page comes is one, though the access is tried again; with A bits it leaves its page
-- referenced. (W-TinyLFU hashes keys, and a machine's are not the study's.)
function TestAdaptivePolicies:testTheMachineFaultsWhereTheStudyMisses()
    local t <close> = vmem.trace.zipf({ refs = 2000, pages = 60, alpha = 0.8, seed = 3, stores = 0.3 })
    local enters = { sieve = 1, car = 1, ["clock-pro"] = 1 }
    for _, row in ipairs(rows) do
        for _, n in ipairs(row[1] == "w-tinylfu" and {} or { 2, 7, 40 }) do
            local m <close> = vmem.machine({ preset = "core-i7", policy = row[1], resident = n, seed = SEED })
            local p = m:spawn()
            p:replay(t)
            lu.assertTrue(m:check())
            local r = vmem.paging.run({ trace = t, frames = n, seed = SEED,
                policy = compare.policy(row[1], { enter = enters[row[1]] }) })
            lu.assertEquals({ row[1], n, m:stats("kernel.faults") }, { row[1], n, r.misses })
        end
    end
end
