-- Generators: what each one promises, the distributions, and checksums that
-- must come out on every machine.
local lu = require("luaunit")
local generate = require("vmem.generate")
local trace = require("vmem.trace")

local function records(t)
    local list = {}
    for kind, addr, size, task in t:each() do
        list[#list + 1] = { kind = kind, addr = addr, size = size, task = task }
    end
    return list
end

local function addresses(t)
    local list = {}
    for _, addr in t:each() do list[#list + 1] = addr end
    return list
end

-- FNV-1a over kind, address, size and task of each record.
local function checksum(t)
    local sum = 0xcbf29ce484222325
    for kind, addr, size, task in t:each() do
        for _, x in ipairs({ kind:byte(), addr, size, task }) do sum = (sum ~ x) * 0x100000001b3 end
    end
    return ("%016x"):format(sum)
end

-- Pearson's statistic against expected counts, and a bound that a right
-- generator exceeds for about one seed in 30,000 (four standard deviations).
local function chi_square(counts, expected)
    local sum, n = 0, 0
    for i, e in pairs(expected) do
        sum = sum + ((counts[i] or 0) - e) ^ 2 / e
        n = n + 1
    end
    return sum, (n - 1) + 4 * math.sqrt(2 * (n - 1))
end

local function share_of_stores(t)
    local info = t:info()
    return info.store / info.accesses
end

TestGenerateReproducible = {}

-- Taken once, with gcc on x86-64; the arithmetic is integral, so any other
-- compiler or machine has to agree.
local golden = {
    { "sequential", { refs = 5000, bytes = 9000, stores = 0.3 }, "fca35504952f548a" },
    { "strided", { refs = 5000, bytes = "64KiB", stride = 1000, shift = 24 }, "61a474ebbacc9e2d" },
    { "loop", { refs = 5000, pages = 7, stores = 1 }, "f6251677d6f3ab25" },
    { "uniform", { refs = 5000, bytes = "1GiB", stores = 0.3, seed = 42 }, "15a86e2fb91bd452" },
    { "zipf", { refs = 5000 }, "3a3844e830a94dfd" },
    { "zipf", { refs = 5000, pages = 300000, alpha = 0.73, stores = 0.5, seed = -7, size = 4 }, "4cbc468b2f1ff4c2" },
    { "zipf", { refs = 5000, pages = 3, alpha = 8 }, "f7f5191d1245ddfd" },
    { "chase", { refs = 5000, nodes = 999, loads = 2, stores = 0.25 }, "b127d594b3713dfd" },
    { "matmul", { n = 11, block = 4, order = "kij", element = 4 }, "969aa7952058144a" },
}

function TestGenerateReproducible:testChecksums()
    for _, g in ipairs(golden) do
        local t = generate[g[1]](g[2])
        lu.assertEquals(checksum(t), g[3], tostring(t))
    end
end

function TestGenerateReproducible:testTwoPassesAgreeAndSeedsDiffer()
    for _, name in ipairs({ "uniform", "zipf", "chase" }) do
        local make = generate[name]
        local t = make({ refs = 3000, seed = 5, stores = 0.5 })
        lu.assertEquals(checksum(t), checksum(t))
        lu.assertEquals(checksum(t), checksum(make({ refs = 3000, seed = 5, stores = 0.5 })))
        lu.assertNotEquals(checksum(t), checksum(make({ refs = 3000, seed = 6, stores = 0.5 })))
    end
end

function TestGenerateReproducible:testPassesAtOnceDoNotDisturbEachOther()
    local t = generate.zipf({ refs = 9000, pages = 50, stores = 0.5 })
    local a, b = t:each(), t:each()
    for _ = 1, 5000 do a() end
    local list = records(t)
    for i = 1, 5000 do
        local kind, addr = b()
        lu.assertEquals({ kind, addr }, { list[i].kind, list[i].addr })
    end
    local kind, addr = a()
    lu.assertEquals({ kind, addr }, { list[5001].kind, list[5001].addr })
end

TestGenerateWalks = {}

function TestGenerateWalks:testSequentialWrapsAndSpreadsStores()
    local list = records(generate.sequential({ refs = 20, bytes = 64, base = 4096, stores = 0.25 }))
    lu.assertEquals(#list, 20)
    for i, r in ipairs(list) do
        lu.assertEquals(r, {
            addr = 4096 + (i - 1) * 8 % 64, size = 8, task = 0, kind = i % 4 == 0 and "store" or "load",
        })
    end
end

function TestGenerateWalks:testStoresFromNoneToAll()
    lu.assertEquals(share_of_stores(generate.sequential({ refs = 1000 })), 0)
    lu.assertEquals(share_of_stores(generate.sequential({ refs = 1000, stores = 1 })), 1)
    lu.assertAlmostEquals(share_of_stores(generate.loop({ refs = 10000, stores = 0.3 })), 0.3, 1e-4)
end

function TestGenerateWalks:testAccessesStayInTheRegion()
    local info = generate.sequential({ refs = 1000, bytes = 100, stride = 7, size = 16, base = 1000 }):info()
    lu.assertEquals(info.min, 1000)
    lu.assertTrue(info.max < 1100)
end

function TestGenerateWalks:testStridedReadsAMatrixByColumns()
    local rows, columns = 6, 4
    local list = addresses(generate.strided({
        refs = rows * columns + 1, bytes = rows * columns * 8, stride = columns * 8, base = 0,
    }))
    local i = 0
    for c = 0, columns - 1 do
        for r = 0, rows - 1 do
            i = i + 1
            lu.assertEquals(list[i], (r * columns + c) * 8)
        end
    end
    lu.assertEquals(list[i + 1], 0)
end

function TestGenerateWalks:testStridedWithoutShiftRepeatsItself()
    local list = addresses(generate.strided({ refs = 6, bytes = 3000, stride = 1000, shift = 0, base = 0 }))
    lu.assertEquals(list, { 0, 1000, 2000, 0, 1000, 2000 })
end

function TestGenerateWalks:testLoopVisitsPagesInTurn()
    local list = addresses(generate.loop({ refs = 5, pages = 3, base = 0 }))
    lu.assertEquals(list, { 0, 4096, 8192, 0, 4096 })
    list = addresses(generate.loop({ refs = 3, pages = 2, page = 64, base = 0 }))
    lu.assertEquals(list, { 0, 64, 0 })
end

TestGenerateRandom = {}

function TestGenerateRandom:testUniformIsUniform()
    local cells, refs, counts, expected = 64, 200000, {}, {}
    for i = 0, cells - 1 do expected[i] = refs / cells end
    local t = generate.uniform({ refs = refs, bytes = cells * 1024, base = 0, size = 4, stores = 0.3 })
    for _, addr in t:each() do
        lu.assertEquals(addr % 4, 0)
        counts[addr // 1024] = (counts[addr // 1024] or 0) + 1
    end
    local sum, bound = chi_square(counts, expected)
    lu.assertTrue(sum < bound, sum)
    lu.assertAlmostEquals(share_of_stores(t), 0.3, 0.005)
end

-- Pages in the order of how often they were drawn, against 1/rank^alpha.
function TestGenerateRandom:testZipfFollowsItsExponent()
    local pages, refs = 60, 300000
    for _, alpha in ipairs({ 0, 0.5, 1, 1.3, 2 }) do
        local counts, order, expected, sum = {}, {}, {}, 0
        for _, addr in generate.zipf({ refs = refs, pages = pages, alpha = alpha, base = 0, seed = 3 }):each() do
            local page = addr // 4096
            counts[page] = (counts[page] or 0) + 1
        end
        for page = 0, pages - 1 do order[page + 1] = counts[page] or 0 end
        table.sort(order, function(a, b) return a > b end)
        for k = 1, pages do sum = sum + k ^ -alpha end
        for k = 1, pages do expected[k] = refs * k ^ -alpha / sum end
        lu.assertEquals(#order, pages)
        local chi, bound = chi_square(order, expected)
        lu.assertTrue(chi < bound, ("alpha %g: %g, but at most %g"):format(alpha, chi, bound))
    end
end

-- With many pages: the most popular page and the upper half of the ranks have
-- the shares that the harmonic sums give.
function TestGenerateRandom:testZipfOfManyPages()
    local pages, refs, counts, most = 100000, 400000, {}, 0
    local t = generate.zipf({ refs = refs, pages = pages, base = 0, stores = 0.25 })
    for _, addr in t:each() do
        local n = (counts[addr >> 12] or 0) + 1
        counts[addr >> 12] = n
        most = math.max(most, n)
    end
    local sum, missed, different = 0, 0, 0
    for k = 1, pages do sum = sum + 1 / k end
    for k = 1, pages do missed = missed + (1 - 1 / k / sum) ^ refs end
    for page in pairs(counts) do
        different = different + 1
        lu.assertTrue(page < pages)
    end
    lu.assertAlmostEquals(most / refs, 1 / sum, 5 * math.sqrt(1 / sum / refs))
    lu.assertAlmostEquals(different, pages - missed, 5 * math.sqrt(pages))
    lu.assertAlmostEquals(share_of_stores(t), 0.25, 0.005)
end

function TestGenerateRandom:testZipfScattersItsPagesAndOffsets()
    local counts, offsets, most = {}, {}, 0
    for _, addr in generate.zipf({ refs = 50000, pages = 1000, base = 0 }):each() do
        counts[addr >> 12] = (counts[addr >> 12] or 0) + 1
        offsets[addr & 4095] = true
        if counts[addr >> 12] > (counts[most] or 0) then most = addr >> 12 end
    end
    local n = 0
    for offset in pairs(offsets) do
        lu.assertEquals(offset % 8, 0)
        n = n + 1
    end
    lu.assertEquals(n, 512)
    lu.assertNotEquals(most, 0)
end

function TestGenerateRandom:testChaseIsOneCycle()
    local nodes, seen = 500, {}
    local list = addresses(generate.chase({ refs = 2 * nodes, nodes = nodes, node = 32, base = 0 }))
    local in_order = 0
    for i = 1, nodes do
        lu.assertEquals(list[i] % 32, 0)
        lu.assertTrue(list[i] < nodes * 32)
        lu.assertNil(seen[list[i]])
        lu.assertEquals(list[i + nodes], list[i])
        seen[list[i]] = true
        if i > 1 and list[i] == list[i - 1] + 32 then in_order = in_order + 1 end
    end
    lu.assertTrue(in_order < 8)
end

function TestGenerateRandom:testChaseLoadsFieldsThenStores()
    local list = records(generate.chase({ refs = 40000, nodes = 1 << 10, loads = 2, stores = 0.25, base = 0 }))
    local visits, stores, i = 0, 0, 1
    while i + 2 <= #list do
        lu.assertEquals({ list[i].kind, list[i].addr % 64 }, { "load", 0 })
        lu.assertEquals({ list[i + 1].kind, list[i + 1].addr - list[i].addr }, { "load", 8 })
        visits = visits + 1
        if list[i + 2].kind == "store" then
            lu.assertEquals(list[i + 2].addr - list[i].addr, 16)
            stores = stores + 1
            i = i + 1
        end
        i = i + 2
    end
    lu.assertAlmostEquals(stores / visits, 0.25, 0.015)
end

TestGenerateMatmul = {}

-- The same as nested loops, written plainly.
local function multiply(n, block, order, emit)
    local v, step = {}, block > 0 and block or n
    local a, b, c = order:byte(1, 3)
    local function at(m, row, column) return m, (row * n + column) * 8 end
    local function run(from, to)
        local I, J, K = 105, 106, 107
        local inner = c
        if inner == J then emit("load", at(0, v[I], v[K])) end
        if inner == I then emit("load", at(1, v[K], v[J])) end
        for x = from, to do
            v[inner] = x
            if inner ~= J then emit("load", at(0, v[I], v[K])) end
            if inner ~= I then emit("load", at(1, v[K], v[J])) end
            if inner ~= K then
                emit("load", at(2, v[I], v[J]))
                emit("store", at(2, v[I], v[J]))
            end
        end
        if inner == K then
            emit("load", at(2, v[I], v[J]))
            emit("store", at(2, v[I], v[J]))
        end
    end
    for a0 = 0, n - 1, step do
        for b0 = 0, n - 1, step do
            for c0 = 0, n - 1, step do
                for x = a0, math.min(a0 + step, n) - 1 do
                    v[a] = x
                    for y = b0, math.min(b0 + step, n) - 1 do
                        v[b] = y
                        run(c0, math.min(c0 + step, n) - 1)
                    end
                end
            end
        end
    end
end

function TestGenerateMatmul:testEveryOrderAndBlockAgainstPlainLoops()
    for _, order in ipairs({ "ijk", "ikj", "jik", "jki", "kij", "kji" }) do
        for _, shape in ipairs({ { 1, 0 }, { 7, 0 }, { 7, 3 }, { 8, 4 }, { 5, 9 } }) do
            local n, block = shape[1], shape[2]
            local want = {}
            multiply(n, block, order, function(kind, m, offset)
                want[#want + 1] = { kind = kind, addr = m * 4096 + offset, size = 8, task = 0 }
            end)
            local t = generate.matmul({ n = n, block = block, order = order, base = 0 })
            lu.assertEquals(#t, #want)
            lu.assertEquals(records(t), want)
        end
    end
end

function TestGenerateMatmul:testMatricesDoNotOverlap()
    local info = generate.matmul({ n = 30, element = 8, base = 4096 }):info()
    lu.assertEquals(info.max, 4096 + 3 * 8192 - (8192 - 30 * 30 * 8) - 1)
    lu.assertEquals(info.load, 2 * 30 ^ 3 + 30 ^ 2)
    lu.assertEquals(info.store, 30 ^ 2)
end

TestGeneratePhases = {}

function TestGeneratePhases:testOneAfterTheOther()
    local a, b = trace.pages({ 1, 2 }), generate.sequential({ refs = 5000, base = 0 })
    local t = generate.phases({ a, b, rounds = 2 })
    lu.assertEquals(#t, 10004)
    local list = addresses(t)
    lu.assertEquals(#list, 10004)
    lu.assertEquals({ list[1], list[2], list[3], list[5002], list[5003], list[10004] },
        { 4096, 8192, 0, 39992, 4096, 39992 })
end

function TestGeneratePhases:testTurnsUntilAllHaveEnded()
    local a, b = trace.pages({ 1, 2, 3, 4, 5, page = 1 }), trace.pages({ 10, 20, 30, page = 1 })
    local t = generate.phases({ a, b, turn = 2 })
    lu.assertEquals(addresses(t), { 1, 2, 10, 20, 3, 4, 30, 5 })
    lu.assertEquals(#t, 8)
end

function TestGeneratePhases:testTurnsAcrossBlocks()
    local a = generate.sequential({ refs = 10000, base = 0, stride = 1, size = 1 })
    local b = generate.sequential({ refs = 9000, base = 1 << 20, stride = 1, size = 1 })
    local x, y = 0, 1 << 20
    for i, addr in ipairs(addresses(generate.phases({ a, b, turn = 3000 }))) do
        local first = (i - 1) // 3000 % 2 == 0 or i > 18000
        lu.assertEquals(addr, first and x or y)
        if first then x = x + 1 else y = y + 1 end
    end
    lu.assertEquals({ x, y - (1 << 20) }, { 10000, 9000 })
end

function TestGeneratePhases:testTasks()
    local t = generate.phases({ trace.pages({ 1, 1, 1 }), trace.pages({ 2 }), turn = 1, tasks = true })
    local tasks = {}
    for _, r in ipairs(records(t)) do tasks[#tasks + 1] = r.task end
    lu.assertEquals(tasks, { 0, 1, 0, 0 })
    local mixed = generate.phases({ trace.new({ { "load", 1, 1, 3 } }), tasks = true })
    lu.assertErrorMsgContains("phase 1 has a record of task 3", records, mixed)
    mixed = generate.phases({ t, trace.new({ { "event", { type = "brk" } } }), tasks = true })
    lu.assertErrorMsgContains("task 1", records, mixed)
    mixed = generate.phases({ trace.new({ { "event", { type = "brk" } } }), tasks = true })
    lu.assertErrorMsgContains("phase 1 has events", records, mixed)
end

function TestGeneratePhases:testEmptyPhases()
    local empty = trace.pages({})
    lu.assertEquals(records(generate.phases({ empty, rounds = 1 << 40 })), {})
    lu.assertEquals(addresses(generate.phases({ empty, trace.pages({ 7, page = 1 }), empty, rounds = 2 })), { 7, 7 })
end

function TestGeneratePhases:testPhasesOfPhasesOutliveTheirParts()
    local function make()
        local inner = generate.phases({ trace.pages({ 1, page = 1 }), generate.loop({ refs = 1, base = 9 }) })
        return generate.phases({ inner, inner })
    end
    local t = make()
    collectgarbage()
    collectgarbage()
    lu.assertEquals(addresses(t), { 1, 9, 1, 9 })
end

TestGenerateOptions = {}

local function refuses(message, name, given)
    lu.assertErrorMsgContains(message, generate[name], given)
end

function TestGenerateOptions:testDefaultsFloatsAndSizes()
    lu.assertEquals(#generate.zipf(), 1000000)
    lu.assertEquals(#generate.loop({ refs = 1e3 }), 1000)
    local info = generate.sequential({ refs = 1024, bytes = "4KiB", base = "1MiB" }):info()
    lu.assertEquals({ info.min, info.max }, { 1 << 20, (1 << 20) + 4095 })
    lu.assertEquals(#generate.uniform({ refs = 0 }), 0)
    lu.assertEquals(records(generate.uniform({ refs = 0 })), {})
end

function TestGenerateOptions:testWrongOptionsAreNamed()
    refuses("option 'pages' is \"many\", but takes a whole number from 1 to 268435456", "zipf", { pages = "many" })
    refuses("option 'refs' is 1.5, but takes a whole number", "loop", { refs = 1.5 })
    refuses("option 'refs' is -1", "loop", { refs = -1 })
    refuses("option 'alpha' is 9, but takes a number from 0.0 to 8.0", "zipf", { alpha = 9 })
    refuses("option 'alpha' is", "zipf", { alpha = 0 / 0 })
    refuses("option 'bytes' is \"64Mux\", but takes a whole number of bytes", "uniform", { bytes = "64Mux" })
    refuses("option 'stores' is true, but takes a number", "uniform", { stores = true })
    refuses("option 'order' is \"abc\", but takes one of: ijk, ikj, jik, jki, kij, kji", "matmul", { order = "abc" })
    refuses("option 'tasks' is 1, but takes true or false", "phases", { trace.pages({}), tasks = 1 })
    refuses("zipf has no option 'page_count', it takes refs, pages, alpha", "zipf", { page_count = 1 })
    refuses("loop has no option '1'", "loop", { 1 })
    refuses("loop takes a table of options, not a number", "loop", 3)
end

function TestGenerateOptions:testOptionsThatDoNotGoTogether()
    refuses("an access of size 8 does not fit into 4 bytes", "sequential", { bytes = 4 })
    refuses("an access of size 8 does not fit into 4 bytes", "uniform", { bytes = 4 })
    refuses("an access of size 16 does not fit into a page", "loop", { page = 8, size = 16 })
    refuses("an access of size 16 does not fit into a page", "zipf", { page = 8, size = 16 })
    refuses("3 fields of size 8 do not fit into a node of 16 bytes", "chase", { node = 16, loads = 2, stores = 0.5 })
    refuses("phases takes one trace or more, but got none", "phases", {})
    refuses("phases: item 2 is a number, but takes a trace", "phases", { trace.pages({}), 5 })
    refuses("the list of traces has a hole", "phases", { [1] = trace.pages({}), [3] = trace.pages({}) })
    local closed = trace.pages({})
    closed:close()
    refuses("phases: item 1 is a closed trace", "phases", { closed })
end

function TestGenerateOptions:testErrorsNameTheCaller()
    local ok, message = pcall(function() generate.zipf({ pages = 0 }) end)
    lu.assertFalse(ok)
    lu.assertStrMatches(message, ".*generate_spec%.lua:%d+: zipf: .*")
end

-- The annotations in the face repeat the core's rows: they have to agree.
function TestGenerateOptions:testAnnotationsAgreeWithTheRows()
    local file = assert(io.open((assert(package.searchpath("vmem.generate", package.path)))))
    local text = file:read("a")
    file:close()
    local rows = generate.generators()
    for _, row in ipairs(rows) do
        lu.assertEquals(type(generate[row.name]), "function")
        lu.assertTrue(#row.doc > 0)
        local class = row.name:gsub("^%l", string.upper) .. "Options"
        local block = text:match("%-%-%-@class vmem%.trace%." .. class .. "\n(.-)\n\n")
        lu.assertNotNil(block, class)
        local names, fields = {}, {}
        for _, o in ipairs(row.options) do names[#names + 1] = o.name end
        for field in block:gmatch("%-%-%-@field ([%w_]+)%?") do fields[#fields + 1] = field end
        lu.assertEquals(fields, names)
    end
    local functions = 0
    for _ in pairs(generate) do functions = functions + 1 end
    lu.assertEquals(functions, #rows + 1)
end

function TestGenerateOptions:testTostringTellsTheOptions()
    lu.assertStrContains(tostring(generate.zipf({ pages = 77, alpha = 0.5 })), "zipf refs=1000000, pages=77, alpha=0.5")
    lu.assertStrContains(tostring(generate.matmul({ n = 10, order = "kji" })), "order=kji")
end

function TestGenerateOptions:testMadeTracesAreTraces()
    local path = os.tmpname()
    local t = generate.zipf({ refs = 20000, pages = 500, stores = 0.3 })
    lu.assertTrue(t:save(path))
    lu.assertEquals(checksum(assert(trace.open(path))), checksum(t))
    lu.assertEquals(#t:slice(5, 8), 4)
    os.remove(path)
end
