-- Frame allocators: who gets which frame, against a model that knows nothing but
-- which frames are free; the measures of fragmentation; and that no program can
-- tell one allocator from the other.
local lu = require("luaunit")
local vmem = require("vmem")

local scale = require("scale")

-- Pages of 1, 4 and 32 frames, and little memory.
local SIZES = { { order = 0 }, { order = 2, page = "16KiB" }, { order = 5, page = "128KiB" } }

local function small(t)
    local o = {
        paging = { va_bits = 26, pa_bits = 32, page = "4KiB", levels = { 6, 3, 3, 2 }, pte = "x86-64" },
        dram = "1MiB",
        swap = "4MiB",
    }
    for k, v in pairs(t or {}) do o[k] = v end
    return vmem.machine(o)
end

local function map(p, size, pages)
    return assert(p:mmap({
        length = (pages or 1) * (4096 << size.order),
        flags = size.page and "private|anonymous|hugetlb",
        page = size.page,
    }))
end

-- --- the model: free[f] for frames 0 to count - 1 ---------------------------------

local model = {}

-- Free runs cut into aligned blocks, as large as can be, in order of addresses.
function model.blocks(free, count)
    local list, at = {}, 0
    local function all(first, n)
        if first + n > count then return false end
        for f = first, first + n - 1 do
            if not free[f] then return false end
        end
        return true
    end
    while at < count do
        local order = 0
        if free[at] then
            while at % (2 << order) == 0 and all(at, 2 << order) do order = order + 1 end
            list[#list + 1] = { at = at, order = order }
        end
        at = at + (1 << order)
    end
    return list
end

-- Where 2^order frames, aligned, are taken: by allocator.
model.find = {
    bitmap = function(free, count, order)
        for at = 0, count - (1 << order), 1 << order do
            local n = 0
            while n < 1 << order and free[at + n] do n = n + 1 end
            if n == 1 << order then return at end
        end
    end,
    buddy = function(free, count, order)
        local best
        for _, b in ipairs(model.blocks(free, count)) do
            if b.order >= order and (not best or b.order < best.order) then best = b end
        end
        return best and best.at
    end,
}

-- Take 2^order frames, or return nil.
function model.take(which, free, count, order)
    local at = model.find[which](free, count, order)
    for f = at or 0, at and at + (1 << order) - 1 or -1 do free[f] = false end
    return at
end

local function free_of(seen)
    local free = {}
    for f = 0, seen.count - 1 do free[f] = seen.map:sub(f + 1, f + 1) == "." end
    return free
end

local function drawn(free, count)
    local list = {}
    for f = 0, count - 1 do list[f + 1] = free[f] and "." or "x" end
    return table.concat(list)
end

-- What m:frames() tells, worked out from its map.
local function measures_hold(seen)
    local free, total, run, longest = free_of(seen), 0, 0, 0
    for f = 0, seen.count - 1 do
        run = free[f] and run + 1 or 0
        total, longest = total + (free[f] and 1 or 0), math.max(longest, run)
    end
    local blocks = {}
    for _, b in ipairs(model.blocks(free, seen.count)) do blocks[b.order] = (blocks[b.order] or 0) + 1 end
    lu.assertEquals({ seen.free, seen.largest_run }, { total, longest })
    local small_ones = 0
    for i, o in ipairs(seen.orders) do
        lu.assertEquals({ o.order, o.free_blocks }, { i - 1, blocks[i - 1] or 0 })
        lu.assertAlmostEquals(o.unusable, total > 0 and small_ones / total or 1, 1e-12)
        small_ones = small_ones + (o.free_blocks << o.order)
    end
    lu.assertEquals(small_ones, total)
end

-- --- specs -----------------------------------------------------------------------

TestFrames = {}

-- How many tables one map has more than the other, and the frames of those gone.
local function tables_between(before, after)
    local made, gone = 0, {}
    for i = 1, #before do
        local was, is = before:sub(i, i) == "t", after:sub(i, i) == "t"
        if is and not was then made = made + 1 end
        if was and not is then gone[#gone + 1] = i - 1 end
    end
    return made, gone
end

local function random_case(which, seed)
    math.randomseed(seed)
    local m <close> = small({ frames = which, dram = 4096 * math.random(150, 300) })
    local p, held = m:spawn(), {}
    for _ = 1, 60 do
        local seen = m:frames()
        local free, size = free_of(seen), SIZES[math.random(#SIZES)]
        if #held == 0 or (math.random(5) <= 3 and seen.free > seen.count // 4) then
            local a = map(p, size)
            -- The most tables that the page can need, and then the page itself.
            local rest = table.move(free, 0, seen.count, 0, {})
            for _ = 1, 4 do model.take(which, rest, seen.count, 0) end
            if model.find[which](rest, seen.count, size.order) then
                p:store(a, seed)
                -- Tables are made first; empty ones that a large page takes the place of go.
                local made, gone = tables_between(seen.map, m:frames().map)
                for _ = 1, made do model.take(which, free, seen.count, 0) end
                for _, f in ipairs(gone) do free[f] = true end
                lu.assertEquals(p:page(a).frame, model.take(which, free, seen.count, size.order), which)
                held[#held + 1] = { a = a, size = size }
            else
                assert(p:munmap(a, 4096 << size.order))
            end
        else
            local gone = table.remove(held, math.random(#held))
            local first = p:page(gone.a).frame
            assert(p:munmap(gone.a, 4096 << gone.size.order))
            for f = first, first + (1 << gone.size.order) - 1 do free[f] = true end
        end
        local now = m:frames()
        lu.assertEquals(drawn(free_of(now), now.count), drawn(free, now.count), which)
        measures_hold(now)
        lu.assertTrue(m:check())
    end
    p:exit()
    local last = m:frames()
    lu.assertEquals({ last.free, last.map }, { last.count, ("."):rep(last.count) })
    lu.assertEquals(last.splits, last.merges)
    lu.assertTrue(m:check())
end

function TestFrames:testRandomTakesAndGivesAreThoseOfTheModel()
    for _, which in ipairs({ "bitmap", "buddy" }) do
        for seed = 1, math.ceil(25 * scale) do random_case(which, seed) end
    end
end

-- Every second page goes: near half of memory is free, and no four frames in a row.
-- Pages are served all the same, wherever their frames are; a large page is not.
function TestFrames:testPagingServesWhatContiguousMemoryCannot()
    for _, which in ipairs({ "bitmap", "buddy" }) do
        local m <close> = small({ frames = which, swap = 0 })
        local p = m:spawn()
        local a, pages = map(p, SIZES[1], 256), {}
        while m:frames().free >= 4 do -- a page, and tables for it
            local va = a + #pages * 4096
            p:store(va, 1)
            pages[#pages + 1] = { va = va, frame = p:page(va).frame }
        end
        local free = free_of(m:frames())
        for _, page in ipairs(pages) do
            if not free[page.frame - 1] and not free[page.frame + 1] then
                assert(p:munmap(page.va, 4096))
                free[page.frame] = true
            end
        end
        local seen = m:frames()
        lu.assertTrue(seen.free > seen.count // 3)
        lu.assertTrue(seen.largest_run < 4)
        lu.assertEquals({ seen.orders[1].unusable, seen.orders[3].unusable }, { 0, 1 })
        measures_hold(seen)

        local d = map(p, SIZES[1], 60)
        for i = 0, 59 do p:store(d + i * 4096, i * i) end
        for i = 0, 59 do lu.assertEquals(p:load(d + i * 4096), i * i) end
        assert(p:munmap(d, 60 * 4096))
        lu.assertTrue(m:check())

        local huge = map(p, SIZES[2])
        local ok, e = pcall(p.store, p, huge, 1)
        lu.assertFalse(ok)
        lu.assertEquals({ e.signal, e.code }, { "SIGKILL", "OOM" })
        lu.assertTrue(m:check())
    end
end

-- The same program on both, with too little memory for it: the same bytes.
function TestFrames:testProgramsSeeTheSameBytes()
    local function run(which, seed)
        math.randomseed(seed)
        local m <close> = small({ frames = which, dram = "512KiB" })
        local p, told = m:spawn(), {}
        local areas = {}
        for i = 1, 6 do areas[i] = { a = map(p, SIZES[1], 40), n = 40 * 512 } end
        areas[7] = { a = map(p, SIZES[2], 2), n = 2 * 2048 }
        for i = 1, 1500 do
            local area = areas[math.random(#areas)]
            local at = area.a + math.random(0, area.n - 1) * 8
            if math.random(2) == 1 then p:store(at, i * seed) else told[#told + 1] = p:load(at) end
            if i % 300 == 0 then
                local k = math.random(6)
                assert(p:munmap(areas[k].a, 40 * 4096))
                areas[k].a = map(p, SIZES[1], 40)
                lu.assertTrue(m:check())
            end
        end
        lu.assertTrue(m:stats("kernel.evictions") > 0)
        return told
    end
    for seed = 1, math.ceil(10 * scale) do lu.assertEquals(run("buddy", seed), run("bitmap", seed)) end
end

-- Tables lie behind the frames that PTEs can name, and PTEs set by hand take theirs.
function TestFrames:testZonesAndFramesByName()
    for _, which in ipairs({ "bitmap", "buddy" }) do
        local m <close> = vmem.machine({ preset = "csapp", frames = which })
        local p = m:spawn()
        p:set_state({ ptes = { [0x0e] = 0x11, [0x10] = 0x3f, [0x20] = 0 } })
        local seen = m:frames()
        lu.assertEquals(seen.map:find("t", 1, true), 65)
        for _, f in ipairs({ 0x00, 0x11, 0x3f }) do lu.assertEquals(seen.map:sub(f + 1, f + 1), "s") end
        measures_hold(seen)
        local q = m:spawn()
        lu.assertErrorMsgContains("in use", q.set_state, q, { ptes = { [1] = 5, [2] = 5 } })
        -- The smallest block that fits a table is in the zone of the others.
        local r = m:spawn()
        r:set_state({ ptes = { [3] = 7 } })
        seen = m:frames()
        lu.assertEquals(seen.map:sub(33, 48), ("."):rep(16))
        lu.assertEquals(seen.map:sub(65), ("t"):rep(48) .. ("."):rep(16))
        lu.assertTrue(m:check())
        for _, x in ipairs({ p, q, r }) do x:exit() end
        lu.assertEquals(m:frames().free, 128)
        lu.assertTrue(m:check())
    end
end

function TestFrames:testPicture()
    local m <close> = vmem.machine({ preset = "core-i7", dram = "6MiB", frames = "buddy" })
    local p = m:spawn()
    p:store(map(p, { order = 9, page = "2MiB" }), 1)
    local a = map(p, SIZES[1], 9)
    for i = 0, 8 do p:store(a + i * 4096, 1) end
    local seen = m:frames()
    local text = tostring(seen)
    lu.assertEquals({ seen.count, seen.group, #seen.map }, { 1536, 2, 768 })
    for line in text:gmatch("[^\n]+") do lu.assertTrue(#line <= 100, line) end
    local _, lines = text:gsub("\n", "")
    lu.assertTrue(lines <= 24)
    for _, part in ipairs({ "buddy", "h large pages", "t page tables", "a character is 2 frames", "#" }) do
        lu.assertStrContains(text, part)
    end
    lu.assertStrContains(text, ("h"):rep(64))
    local none <close> = vmem.machine({ paging = { enabled = false } })
    lu.assertEquals({ none:frames().count, none:frames().map, #none:frames().orders }, { 0, "", 0 })
    lu.assertStrContains(tostring(none:frames()), "0 frames")
end

-- A machine costs what it uses, not what it could.
function TestFrames:testLargeMachinesAreCheap()
    for _, which in ipairs({ "bitmap", "buddy" }) do
        collectgarbage()
        local before = collectgarbage("count")
        local m <close> = vmem.machine({ preset = "core-i7", dram = "64GiB", frames = which })
        local made = collectgarbage("count") - before
        local p = m:spawn()
        p:store(map(p, SIZES[1]), 1)
        local seen = m:frames()
        lu.assertEquals(seen.count, 16 << 20)
        lu.assertTrue(#seen.map <= 1024)
        lu.assertTrue(made < 2048, ("%s: %.0f KiB"):format(which, made))
        lu.assertTrue(m:check())
    end
end

function TestFrames:testUnknownAllocator()
    lu.assertErrorMsgContains("bitmap, buddy", vmem.machine, { frames = "slab" })
end
