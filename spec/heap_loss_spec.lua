-- What a heap tells about itself: its loss against a count by hand and by the definitions,
-- its free lists against what was freed when, pages and misses against the machine's own.
local lu = require("luaunit")
local vmem = require("vmem")
local programs = require("heap_programs")

local process, pick = programs.process, programs.pick

local heap = vmem.heap
local scale = require("scale")

local names = {}
for i, row in ipairs(heap.losses()) do names[i] = row.name end

local function losses(l)
    local t = {}
    for _, name in ipairs(names) do t[name] = l[name] > 0 and l[name] or nil end
    return t
end

-- --- by hand ---------------------------------------------------------------------------

TestHeapLoss = {}

-- Words of 4 bytes: 13 + 8 is 24 with 3 of padding, 1 + 8 is 16 with 7.
function TestHeapLoss:testImplicitByHand()
    local h = heap.native("implicit", { word = 4, align = 8 })
    lu.assertEquals(losses(h:loss()), { tail = 4096, tables = 16 })
    local a, b, c = h:malloc(13), h:malloc(1), h:malloc(56)
    lu.assertEquals({ b - a, c - b }, { 24, 16 })
    lu.assertEquals(losses(h:loss()),
        { headers = 12, footers = 12, padding = 10, tail = 4096 - 24 - 16 - 64, tables = 16 })
    h:free(b)
    lu.assertEquals(losses(h:loss()),
        { headers = 8, footers = 8, padding = 3, holes = 16, tail = 4096 - 24 - 16 - 64, tables = 16 })
    h:free(c)
    local l = h:loss()
    lu.assertEquals(losses(l), { headers = 4, footers = 4, padding = 3, tail = 4096 - 24, tables = 16 })
    lu.assertEquals({ l.bytes, l.payload, l.allocator }, { 4112, 13, "implicit" })
end

-- A free block must hold header, two links and footer, 32 bytes: a block of 16 grows to that.
-- What 48 bytes leave of a request for 32 is too small to be one: slack.
function TestHeapLoss:testMinimumAndSlackByHand()
    local h = heap.native("explicit", { tags = "free", chunk = 0 })
    local a = h:malloc(1)
    lu.assertEquals(losses(h:loss()), { headers = 8, padding = 7, minimum = 16, tables = 16 })
    local b = h:malloc(40)
    h:malloc(8)
    h:free(b)
    h:malloc(24)
    lu.assertEquals(h:usable_size(b), 40)
    lu.assertEquals(losses(h:loss()), { headers = 24, padding = 7, minimum = 16 + 16, slack = 16, tables = 16 })
    h:free(a)
end

function TestHeapLoss:testSizesOfTheirOwnByHand()
    local h = heap.native("buddy", { chunk = 256, word = 8, align = 16 })
    h:malloc(30)
    -- 38 is 48 with 10 of padding, and 64 among 32, 64, 128.
    local l = h:loss()
    lu.assertEquals({ l.headers, l.padding, l.rounding, l.minimum, l.tail }, { 8, 10, 16, 0, 192 })
    local s = heap.native("simple")
    s:malloc(100)
    l = s:loss()
    lu.assertEquals({ l.headers, l.padding, l.rounding, l.tail }, { 0, 12, 16, 4096 - 16 - 128 - 112 })
    local p = heap.native("bump")
    p:malloc(10)
    p:free(p:malloc(20))
    l = p:loss()
    lu.assertEquals({ l.headers, l.padding, l.holes, l.tail, l.tables }, { 8, 14, 0, 4096 - 32, 16 })
end

-- --- by the definitions ------------------------------------------------------------------

local function up(n, align) return (n + align - 1) // align * align end

-- What a block for n bytes is made of: header, footer, and its size if cut to measure.
local function by_tags(links, least)
    return function(o, n)
        local w, both = o.word, o.tags == "both"
        local used = up((both and 2 or 1) * w + 1, o.align)
        local free = up(((o.tags == "header" and 1 or 2) + links) * w, o.align)
        local smallest = math.max(used, free, up(least or 0, o.align))
        return w, both and w or 0, math.max(smallest, up(n + (both and 2 or 1) * w, o.align)), smallest
    end
end

local shapes = {
    implicit = by_tags(0), explicit = by_tags(2), segregated = by_tags(2), tree = by_tags(2), tlsf = by_tags(2, 16),
    bump = function(o, n) return o.word, 0, up(n + o.word, o.align), o.align end,
    simple = function(o, n)
        local size = o.align
        while size < n do size = size * 2 end
        return 0, 0, size, o.align
    end,
    buddy = function(o, n)
        local unit, a, b = up(3 * o.word, o.align), 1, 2
        while a * unit < n + o.word do a, b = b, o.system == "fibonacci" and a + b or 2 * b end
        return o.word, 0, a * unit, unit
    end,
}

-- The loss of a heap by its blocks and what was asked for.
local function model(name, o, h, asked)
    local l, run, last, inside = {}, 0, 0, 0
    for _, n in ipairs(names) do l[n] = 0 end
    local first, stop = h:range()
    for _, b in ipairs(h:blocks()) do
        local n = asked[b.address]
        inside, last = inside + b.size, b.start + b.size
        if not n then
            run = run + b.size
        else
            l.holes, run = l.holes + run, 0
            local header, footer, size, smallest = shapes[name](o, n)
            local even = up(header + n + footer, o.align)
            lu.assertEquals(b.address - b.start, header)
            l.headers, l.footers = l.headers + header, l.footers + footer
            l.padding = l.padding + even - header - n - footer
            local what = size == smallest and "minimum" or "rounding"
            l[what] = l[what] + size - even
            l.slack = l.slack + b.size - size
        end
    end
    -- bump: the next block's header, right before its payload, is there already.
    local unused = name == "bump" and stop - (last > 0 and last + o.word or first + o.align) or 0
    l.tail, l.tables = run + unused, stop - first - inside - unused
    return l
end

local function random_options(rng, row)
    local o, has = {}, {}
    for _, option in ipairs(row.options) do has[option.name] = option end
    o.word = has.word and pick(rng, { 4, 8 })
    o.align = has.align and (o.word == 8 and pick(rng, { 8, 16 }) or pick(rng, { 4, 8, 16 })) or nil
    if has.chunk then o.chunk = row.name == "simple" and pick(rng, { 256, 4096 }) or pick(rng, { 0, 64, 4096 }) end
    for _, name in ipairs({ "tags", "coalesce", "realloc", "fit", "order", "system" }) do
        if has[name] then o[name] = pick(rng, has[name].choices) end
    end
    if has.split then o.split = pick(rng, { 0, 40, 100 }) end
    return o
end

-- After each operation the names add up, and where the model knows the layout, agree with it.
-- nil, or what is wrong.
local function differs(name, o, ops)
    local h <close> = heap.native(name, o)
    local at, asked, payload = {}, {}, 0
    for i, op in ipairs(ops) do
        local k, n = op[1], op[2]
        local old = at[k]
        if old then payload, asked[old] = payload - asked[old], nil end
        if old and n == 0 then h:free(old) end
        at[k] = n > 0 and (old and h:realloc(old, n) or not old and h:malloc(n)) or nil
        if at[k] then payload, asked[at[k]] = payload + n, n end
        local l, sum = h:loss(), 0
        local first, stop = h:range()
        for _, field in ipairs(names) do
            if l[field] < 0 then return ("operation %d: %s is %d"):format(i, field, l[field]) end
            sum = sum + l[field]
        end
        if l.payload ~= payload or l.bytes < stop - first or l.bytes - payload ~= sum then
            return ("operation %d: %d of %d bytes are payload, but losses are %d"):format(i, payload, l.bytes, sum)
        end
        if shapes[name] then
            local expected = model(name, o, h, asked)
            for _, field in ipairs(names) do
                if l[field] ~= expected[field] then
                    return ("operation %d: %s is %d, but the model %d"):format(i, field, l[field], expected[field])
                end
            end
        end
    end
    return nil
end

-- Without as many operations as can go.
local function shrink(name, o, ops)
    local what, i = differs(name, o, ops), #ops
    while i > 0 do
        local fewer = table.move(ops, 1, i - 1, 1, {})
        table.move(ops, i + 1, #ops, i, fewer)
        local still = differs(name, o, fewer)
        if still then ops, what = fewer, still end
        i = math.min(i - 1, #ops)
    end
    local out = { name }
    for k, v in pairs(o) do out[#out + 1] = k .. "=" .. tostring(v) end
    for _, op in ipairs(ops) do out[#out + 1] = ("%d:%d"):format(op[1], op[2]) end
    return what .. " in " .. table.concat(out, " ")
end

function TestHeapLoss:testItAddsUpAfterEveryOperation()
    local seed = 1
    for _, row in ipairs(heap.allocators()) do
        for _ = 1, math.max(1, math.floor(20 * scale)) do
            seed = seed + 1
            math.randomseed(seed)
            local o, ops = random_options(math.random, row), {}
            for i = 1, 60 do
                local kind = math.random(10)
                ops[i] = { math.random(12), kind < 4 and 0 or kind == 4 and math.random(3000) or math.random(200) }
            end
            if differs(row.name, o, ops) then lu.fail(shrink(row.name, o, ops)) end
        end
    end
end

function TestHeapLoss:testADamagedHeap()
    local p, m = process()
    local h = assert(heap.open(p, "explicit", { word = 4, align = 8 }))
    local a = h:malloc(40)
    h:malloc(40)
    h:free(a)
    p:store(a + 4, a - h:range(), 4) -- its successor: itself
    for _, look in ipairs({ "lists", "view" }) do
        local ok, why = pcall(h[look], h)
        lu.assertFalse(ok)
        lu.assertStrContains(why, "does not end")
    end
    p:store(a - 4, 0x00f00001, 4)
    local ok, why = pcall(h.loss, h)
    lu.assertFalse(ok)
    lu.assertStrContains(why, "damaged")
    lu.assertTrue(p:alive())
    m:close()
end

function TestHeapLoss:testAsText()
    local h = heap.native("implicit", { word = 4, align = 8 })
    h:malloc(13)
    local s = tostring(h:loss())
    lu.assertStrContains(s, "implicit: 4,112 bytes of heap")
    lu.assertStrContains(s, "  padding                  3     0.0 %   alignment")
    lu.assertStrContains(s, "  tail                 4,072    99.0 %")
end

-- --- free lists --------------------------------------------------------------------------

TestHeapLists = {}

-- Six blocks of these sizes side by side, of which the 1st, 5th and 3rd are freed in turn, and
-- where each list has them: numbers of blocks, 0 the rest of the heap.
local function listed(name, o, sizes)
    local h = heap.native(name, o)
    local at, number = {}, {}
    for i, n in ipairs(sizes or { 200, 8, 40, 8, 100, 8 }) do
        at[i] = h:malloc(n)
        number[at[i]] = i
    end
    for _, i in ipairs({ 1, 5, 3 }) do h:free(at[i]) end
    local out = {}
    for i, l in ipairs(h:lists()) do
        local words = { l.list .. ":" }
        for k, a in ipairs(l) do words[k + 1] = number[a] or 0 end
        out[i] = table.concat(words, " ")
    end
    return table.concat(out, ", ")
end

function TestHeapLists:testTheirOrder()
    lu.assertEquals(listed("implicit"), "0: 1 3 5 0")
    lu.assertEquals(listed("explicit"), "0: 3 5 1 0")
    lu.assertEquals(listed("explicit", { order = "fifo" }), "0: 0 1 5 3")
    lu.assertEquals(listed("explicit", { order = "address" }), "0: 1 3 5 0")
    lu.assertEquals(listed("explicit", { order = "size" }), "0: 3 5 1 0")
    lu.assertEquals(listed("explicit", { order = "size" }, { 40, 8, 100, 8, 40, 8 }), "0: 1 5 3 0")
    lu.assertEquals(listed("tree"), "0: 3 5 1 0")
    lu.assertEquals(listed("tree", {}, { 40, 8, 100, 8, 40, 8 }), "0: 1 5 3 0")
    -- Blocks of 224, 64, 128 and 3,584 bytes: 32 * 2^i up to twice that.
    lu.assertEquals(listed("segregated"), "1: 3, 2: 5 1, 6: 0")
    lu.assertEquals(listed("segregated", { order = "address" }), "1: 3, 2: 1 5, 6: 0")
    -- The power of two, and the sixteenth: 64, 128, 224 = 128 + 12 * 8, 3584 = 2048 + 12 * 128.
    lu.assertEquals(listed("tlsf"), "96: 3, 112: 5, 124: 1, 188: 0")
    lu.assertEquals(listed("bump"), "")
    -- Blocks of 16, 64, 128, 256 bytes, each class a chunk of 4,096 less 16.
    lu.assertStrMatches(listed("simple"), "4: 0 0.*, 6: 3 0 0.*, 7: 5 0 0.*, 8: 1 0 0.*")
end

-- A list holds free blocks only, each once, and all together every one.
function TestHeapLists:testTheyHoldWhatIsFree()
    for _, row in ipairs(heap.allocators()) do
        for seed = 1, math.max(1, math.floor(4 * scale)) do
            math.randomseed(seed)
            local h = heap.native(row.name, random_options(math.random, row))
            local live = {}
            for _ = 1, 150 do
                if math.random(5) < 4 or #live == 0 then
                    live[#live + 1] = h:malloc(math.random(400))
                else
                    h:free(table.remove(live, math.random(#live)))
                end
            end
            local free, listed_too, last = 0, 0, -1
            local state = {}
            for _, b in ipairs(h:blocks()) do
                state[b.address], free = b.allocated, free + (b.allocated and 0 or 1)
            end
            for _, l in ipairs(h:lists()) do
                lu.assertTrue(l.list > last and #l > 0, row.name)
                last = l.list
                for _, a in ipairs(l) do
                    lu.assertIs(state[a], false, row.name)
                    state[a], listed_too = nil, listed_too + 1
                end
            end
            lu.assertEquals(listed_too, row.name == "bump" and 0 or free, row.name)
            h:close()
        end
    end
end

function TestHeapLists:testView()
    local h = heap.native("segregated", { word = 4, align = 8 })
    local a, b = h:malloc(40), h:malloc(40)
    h:malloc(1)
    h:malloc(1)
    h:free(a)
    local v = h:view()
    lu.assertEquals({ v.blocks[1].list, v.blocks[1].place }, { 1, 1 })
    local from = h:range()
    lu.assertEquals(tostring(v):gsub("from %S+,", "from X,", 1), table.concat({
        "segregated: 4,272 bytes of heap from X, 5 blocks, 2 of them free; addresses from its start",
        "in address order",
        ("  %-10s %10s  free: 1 of list 1"):format(("+%#x"):format(a - from), 48),
        ("  %-10s %10s  3 allocated blocks, 42 of payload"):format(("+%#x"):format(b - from), 80),
        ("  %-10s %10s  free: 1 of list 7"):format(("+%#x"):format(b - from + 80), "3,968"),
        "in list order",
        ("  list 1: +%#x(48)"):format(a - from),
        ("  list 7: +%#x(3,968)"):format(b - from + 80) }, "\n"))
    local svg = v:svg({ title = "a < b" })
    lu.assertStrContains(svg, "a &lt; b")
    -- Two rows: three runs of blocks above, two free blocks below, two links.
    local _, rects = svg:gsub("<title>", "")
    local _, links = svg:gsub('<path d="M%S+ %d+C', "")
    lu.assertEquals({ rects, links }, { 5, 2 })
    local empty = heap.native("bump", { chunk = 0 }):view()
    lu.assertStrContains(tostring(empty), "bump: 16 bytes of heap")
    lu.assertStrContains(empty:svg(), "no free block is in a list")
end

-- --- pages, misses ------------------------------------------------------------------------

TestHeapCosts = {}

local function machines_misses(m)
    local s = m:stats()
    local t = { tlb = {}, cache = {} }
    for level, n in pairs(s.tlb) do t.tlb[level] = n.misses end
    for level, n in pairs(s.cache) do
        t.cache[level] = n.data and n.data.read_misses + n.data.write_misses or nil
    end
    return t
end

-- Nobody else uses the machine: what it missed, and the pages that are in frames, are the
-- allocator's. Looks cost nothing.
function TestHeapCosts:testTheyAreTheMachinesOwn()
    for _, row in ipairs(heap.allocators()) do
        local p, m = process({ preset = "core-i7", dram = "4MiB" })
        local before = machines_misses(m)
        local h = assert(heap.open(p, row.name, { source = "mmap", limit = "1MiB" }))
        local at = {}
        for i = 1, 60 do
            at[#at + 1] = h:malloc(i * 37 % 900 + 1)
            if i % 3 == 0 then h:free(table.remove(at, #at // 2)) end
            if i % 10 == 0 then h:loss() h:view() h:blocks() h:check() end
        end
        local s, now = h:stats(), machines_misses(m)
        for level, n in pairs(now.tlb) do
            lu.assertEquals(s.tlb_misses[level] or 0, n - before.tlb[level], row.name .. " " .. level)
        end
        for level, n in pairs(now.cache) do
            lu.assertEquals(s.cache_misses[level] or 0, n - before.cache[level], row.name .. " " .. level)
        end
        lu.assertTrue(s.tlb_misses.l1d > 0 and s.cache_misses.l1d >= s.cache_misses.l2)
        local pages, page = 0, m:options().paging.page
        local first, stop = h:range()
        for a = first, stop - 1, page do
            pages = pages + (p:page(a).state == "cached" and 1 or 0)
        end
        lu.assertEquals(s.pages, pages, row.name)
        -- What the program does with its blocks is not the allocator's.
        for _, a in pairs(at) do p:store(a, 1, 1) end
        local after = h:stats()
        lu.assertEquals({ after.pages, after.tlb_misses, after.cache_misses },
            { s.pages, s.tlb_misses, s.cache_misses })
        m:close()
    end
end

-- The headers of areas beside the heap: a page each, once.
function TestHeapCosts:testPagesOfAreas()
    local p, m = process()
    local h = assert(heap.open(p, "dlmalloc", { threshold = 8192 }))
    local before, size = h:stats().pages, h:size()
    local a, b = h:malloc(20000), h:malloc(30000)
    lu.assertTrue(h:size() >= size + 50000)
    lu.assertEquals(h:stats().pages, before + 2)
    lu.assertEquals(h:loss().bytes, h:size())
    h:free(a)
    h:free(b)
    h:malloc(20000)
    lu.assertEquals(h:stats().pages, before + 2)
    m:close()
end

function TestHeapCosts:testPagesOfAMachineWithSmallOnes()
    local p, m = process({ preset = "csapp", paging = { page = 64 } })
    local h = assert(heap.open(p, "implicit", { word = 4, align = 8, chunk = 64, limit = "4KiB" }))
    h:malloc(200) -- header in the first page, footer and the epilogue behind
    local first, stop = h:range()
    lu.assertTrue(h:stats().pages >= 2 and h:stats().pages <= (stop - 1) // 64 - first // 64 + 1)
    local native = heap.native("implicit")
    lu.assertNil(native:stats().pages)
    m:close()
end
