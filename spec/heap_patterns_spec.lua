-- Patterns of allocations: their operations by hand, where they are few, and what they do
-- to heaps, by arithmetic.
local lu = require("luaunit")
local vmem = require("vmem")
local json = require("dkjson")
local tree = require("tree")

local heap = vmem.heap

local function text(t)
    local lines = {}
    for i, kind in ipairs(t.kind) do
        lines[i] = kind == "f" and ("f%d"):format(t.id[i]) or ("%s%d:%d"):format(kind, t.id[i], t.size[i])
    end
    return table.concat(lines, " ")
end

TestHeapPatterns = {}

function TestHeapPatterns:testByHand()
    for pattern, expected in pairs({
        ["binary:pairs=2,small=8,large=24,request=32"] = "a0:8 a1:24 a2:8 a3:24 f1 f3 a4:32 a5:32 f0 f2 f4 f5",
        ["coalescing:rounds=2,size=10"] = "a0:10 a1:10 f0 f1 a2:20 f2 a3:10 a4:10 f3 f4 a5:20 f5",
        ["realloc:rounds=2,first=100,step=50,small=7"] = "a0:100 a1:7 r0:150 a2:7 f1 r0:200 a3:7 f2 f0 f3",
        ["queue:blocks=4,window=2,max=1"] = "a0:1 a1:1 a2:1 f0 a3:1 f1 f2 f3",
        ["powers:blocks=4,low=3,sizes=3,extra=1"] = "a0:9 a1:17 a2:33 a3:9 f0 f1 f2 f3",
        ["powers:blocks=2,low=0,sizes=2,extra=-1"] = "a0:0 a1:1 f0 f1",
        ["robson:blocks=8,low=3,steps=2"] = "a0:8 a1:8 a2:8 a3:8 a4:8 a5:8 a6:8 a7:8 " .. "f1 f3 f5 f7 a8:16 a9:16 "
            .. "f2 f6 f9 a10:32 f0 f4 f8 f10",
    }) do
        lu.assertEquals(text(heap.trace("@" .. pattern)), expected, pattern)
    end
    -- x = 6364136223846793005 + 1442695040888963407, by seed 1; its upper 31 bits modulo 1000.
    local x = 6364136223846793005 + 1442695040888963407
    lu.assertEquals(heap.trace("@queue:blocks=1,max=1000").size[1], 1 + (x >> 33) % 1000)
end

-- All that is allocated is freed, once, and no id comes again.
function TestHeapPatterns:testAllIsFreed()
    for _, row in ipairs(heap.patterns()) do
        local t = heap.trace({ row.name })
        local state, live, peak = {}, 0, 0
        for i, kind in ipairs(t.kind) do
            local id = t.id[i]
            lu.assertEquals(kind == "a", state[id] == nil)
            lu.assertNotEquals(state[id], "freed")
            live = live + t.size[i] - (tonumber(state[id]) or 0)
            peak = math.max(peak, live)
            state[id] = kind == "f" and "freed" or t.size[i]
        end
        lu.assertEquals({ live, peak }, { 0, t.peak })
        for id = 0, t.ids - 1 do
            lu.assertEquals(state[id], "freed")
        end
        lu.assertEquals(text(heap.trace("@" .. row.name)), text(t))
    end
    lu.assertNotEquals(text(heap.trace("@random:seed=2")), text(heap.trace("@random:seed=3")))
    local small = heap.trace({ "random", live = 3, ops = 1000, max = "1KiB", seed = 7 })
    lu.assertTrue(small.peak <= 3 * 1024)
    lu.assertEquals(small.name, "@random:ops=1000,live=3,max=1024,seed=7")
end

local function utilization(pattern, allocator)
    local t <const> = heap.trace(pattern)
    local r = heap.run({ trace = t, allocator = allocator })
    lu.assertTrue(r.valid, r.error)
    return r.utilization
end

function TestHeapPatterns:testWhatTheyDo()
    -- 64 + 448 live beside 512: the holes of the large ones serve nobody, but a request that fits.
    local best = { "tree", align = 8, word = 4 }
    lu.assertAlmostEquals(utilization("@binary:pairs=100", best), 576 / 1024, 0.03)
    lu.assertTrue(utilization("@binary:pairs=100,request=448", best) > 0.95)
    -- Half of the bytes at each step, twice the size: the heap grows by half of them each time.
    lu.assertAlmostEquals(utilization("@robson:blocks=256,steps=4", best), 1 / (1 + 4 / 2), 0.02)
    -- A buddy system rounds 2^k + 1 up to 2^(k+1).
    lu.assertTrue(utilization("@powers:blocks=200", "buddy") < 0.55)
    lu.assertTrue(utilization("@powers:blocks=200", best) > 0.9)
    -- What coalesces needs little more than the two blocks, each time the same.
    lu.assertEquals(heap.run({ trace = "@coalescing:rounds=5", allocator = best }).stats.bytes_peak,
        heap.run({ trace = "@coalescing:rounds=100", allocator = best }).stats.bytes_peak)
end

-- What a trace holds, counted by hand.
TestHeapFacts = {}

function TestHeapFacts:testByHand()
    local t = assert(heap.trace({ { "a", 0, 100 }, { "r", 1, 0 }, { "f", -1 }, { "r", 0, 300 }, { "a", 2, 128 },
        { "f", 0 }, { "a", 2, 5 }, { "f", 1 }, { "a", 3, math.maxinteger // 2 } }))
    lu.assertEquals(t:info(), { operations = 9, allocations = 5, reallocations = 1, frees = 3,
        bytes = 233 + math.maxinteger // 2, peak = 133 + math.maxinteger // 2, peak_op = 9, kept = 3,
        kept_bytes = 133 + math.maxinteger // 2, median = 100, largest = math.maxinteger // 2, lifetime = 5,
        sizes = { { upto = 0, count = 1 }, { upto = 8, count = 1 }, { upto = 128, count = 2 },
            { upto = 1 << 62, count = 1 } } })
    lu.assertEquals(heap.trace({ { "a", 0, math.maxinteger } }):info().sizes, { { upto = math.maxinteger, count = 1 } })
    local none = assert(heap.parse("1\n0\n0\n0\n")):info()
    lu.assertEquals({ none.operations, none.median, none.largest, none.lifetime }, { 0, 0, 0, nil })
end

function TestHeapFacts:testCommand()
    local function out(arguments)
        local pipe = assert(io.popen(("%s info %s 2>&1"):format(tree.quote(tree.vmem), arguments)))
        local told = pipe:read("a")
        local _, _, code = pipe:close()
        return told, code
    end
    local told, code = out("@binary:pairs=2,small=1,large=0,request=2000")
    lu.assertEquals(code, 0)
    for _, line in ipairs({ "@binary:pairs=2,small=1,large=0,request=2000: 12 operations",
        "\n  allocations +6 +50.0 %%",
        "\n  at once, at most +4,002", "\n  0 bytes +2 ", "\n  up to 1 byte +2 ", "\n  up to 2,048 bytes +2 " }) do
        lu.assertNotNil(told:find(line), line .. "\n" .. told)
    end
    told = out("--json " .. tree.quote(tree.root .. "/examples/traces/sqlite3.rep.zst"))
    lu.assertEquals(json.decode(told).allocations, 10264)
    told, code = out("--format vmt x.rep")
    lu.assertEquals(code, 2)
    lu.assertStrContains(told, "--format and --page are for traces of accesses")
    told, code = out("none.rep.gz")
    lu.assertEquals(code, 1)
    lu.assertStrContains(told, "none.rep.gz: cannot be opened")
end

function TestHeapPatterns:testWrongUse()
    for pattern, message in pairs({
        ["@binry"] = "there is no pattern binry, did you mean binary? (there are binary, coalescing,",
        ["@"] = "there is no pattern  (there are",
        ["@binary:smal=3"] = "pattern binary: there is no option smal, did you mean small? (there are pairs, small,",
        ["@binary:small"] = "@binary:small: small is not of the form option=value",
        ["@binary:small=x"] = "pattern binary: small is x, but takes 0 to 1099511627776",
        ["@binary:pairs=0"] = "pattern binary: pairs is 0, but takes 1 to 10000000",
        ["@binary:pairs=1.5"] = "pattern binary: pairs is 1.5, but takes",
    }) do
        local t, why, code = heap.trace(pattern)
        lu.assertEquals({ t, code }, { nil, "EINVAL" })
        lu.assertStrContains(why, message)
    end
    lu.assertErrorMsgContains("heap trace: pattern queue: there is no option 2", heap.trace, { "queue", [2] = 3 })
end

function TestHeapPatterns:testCommand()
    local pipe = assert(io.popen(("%s heap @binary:pairs=10 --allocator tree 2>&1"):format(tree.quote(tree.vmem))))
    local out = pipe:read("a")
    lu.assertTrue(pipe:close())
    lu.assertStrContains(out, "@binary:pairs=10: 60 operations, at most 5760 bytes")
end
