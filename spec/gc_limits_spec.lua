-- Collectors at their borders: roots of processes, stacks that overflow, memory that ends;
-- pictures; and the demonstrations of the book.
local lu = require("luaunit")
local raises = require("scene").raises
local collectors = require("gc_scene")
local vmem = require("vmem")
local tree = require("tree")

local setup, PAIR = collectors.setup, collectors.PAIR

TestGcBook = {}

-- An integer that looks like an address keeps a list alive, if nothing says that it is one.
function TestGcBook:testFalsePointer()
    for mode, kept in pairs({ conservative = 4, precise = 1 }) do
        local gc = setup({ mode = mode })
        local record, node = gc:layout({ size = 16, pointers = { 0 } }), gc:layout(PAIR)
        local root = gc:root(gc:new(record))
        local a, b, c = gc:new(node), gc:new(node), gc:new(node)
        gc:store(a, b)
        gc:store(b, c)
        gc:store(root.address + 8, a) -- a number
        lu.assertEquals(gc:collect().marked, kept, mode)
        gc:store(root.address + 8, a + 1)
        lu.assertEquals(gc:collect().marked, kept) -- inside of it
        gc:store(root.address + 8, 12345)
        lu.assertEquals(gc:collect().marked, 1)
    end
end

function TestGcBook:testCycleThatCountingLeaks()
    local gc, h = setup()
    local node = gc:layout(PAIR)
    local a, b = gc:new(node), gc:new(node)
    gc:store(a, b)
    gc:store(b, a)
    lu.assertEquals(#gc:graph().garbage, 2)
    lu.assertEquals(gc:collect().swept, 2)
    lu.assertEquals(h:stats().payload, 0)
end

TestGcRoots = {}

-- Words on the stack and in data and bss of a program, as execve lays them out.
function TestGcRoots:testStackAndData()
    for _, mode in ipairs({ "precise", "conservative" }) do
        local m = vmem.machine({ preset = "core-i7", dram = "8MiB" })
        local p = m:spawn()
        assert(m:program("prog", { text = "code", data = ("D"):rep(64), bss = "8KiB", stack = "16KiB" }))
        assert(p:execve("prog", { "prog" }))
        local h = assert(vmem.heap.open(p, "tlsf"))
        local gc = assert(vmem.gc({ heap = h, mode = mode }))
        local node = gc:layout(PAIR)
        local at = {}
        for _, area in ipairs(p:areas()) do
            if area.name == "[stack]" then at.stack = area.start + 64 end
            if area.name == "prog" and area.prot:find("w") then
                at.data, at.bss = at.data or area.start + 8, area.stop - 8
            end
        end
        local objects = {}
        for name, where in pairs(at) do
            objects[name] = gc:new(node)
            p:store(where, objects[name])
        end
        lu.assertEquals(gc:collect().marked, 3)
        local found = {}
        for _, root in ipairs(gc:graph().roots) do found[root.at] = root.kind end
        lu.assertEquals(found, { [at.stack] = "memory", [at.data] = "memory", [at.bss] = "memory" })
        for name, where in pairs(at) do
            p:store(where, objects[name] - 16)
            lu.assertEquals(gc:collect().swept, 1, name)
        end
        m:close()
    end
end

function TestGcRoots:testRegistersAndRanges()
    local registers = {}
    local gc, h, _, m = setup({ roots = { registers = function() return registers end } })
    local node = gc:layout(PAIR)
    gc:new(node)
    registers = { 1, (gc:new(node)), -1, math.mininteger }
    lu.assertEquals(gc:collect().marked, 1)
    registers = { "a" }
    raises("register 1 is a string", gc.collect, gc)
    lu.assertEquals(h:stats().blocks, 1)
    lu.assertTrue(h:check())
    m:close()

    local p
    gc, h, p, m = setup({ mode = "conservative", roots = {} })
    local area = assert(p:mmap({ length = "8KiB" }))
    gc.roots = { { area + 4, area + 8192 - 4 } }
    local a, b = gc:new(16), gc:new(16)
    p:store(area, a) -- cut off by the range's borders
    p:store(area + 8184, a)
    p:store(area + 16, b)
    lu.assertEquals(gc:collect().marked, 1)
    assert(p:munmap(area + 4096, 4096))
    raises("is not mapped", gc.collect, gc)
    lu.assertTrue(h:check())
    m:close()
end

-- Handles hold while Lua has them.
function TestGcRoots:testHandles()
    local gc = setup()
    local node = gc:layout(PAIR)
    do
        local handle <close> = gc:root(gc:new(node))
        lu.assertEquals(gc:collect().marked, 1)
        lu.assertStrContains(tostring(handle), ("%#x"):format(handle.address))
    end
    lu.assertEquals(gc:collect().swept, 1)
    gc:root(gc:new(node)) -- nobody has it
    collectgarbage()
    collectgarbage()
    lu.assertEquals(gc:collect().swept, 1)
    local handle = gc:root(gc:new(node))
    collectgarbage()
    lu.assertEquals(gc:collect().marked, 1)
    handle:close()
    handle:close()
    lu.assertEquals(gc:collect().swept, 1)
end

-- A copying collector puts the new address wherever the old one was.
function TestGcRoots:testMoving()
    local registers = {}
    local gc, _, p = setup({ mode = "copying", space = "4KiB", roots = { registers = registers } })
    local area = assert(p:mmap({ length = "4KiB" }))
    gc.roots[1] = { area, area + 4096 }
    local node = gc:layout(PAIR)
    local root, other = gc:root(gc:new(node)), gc:new(node)
    local weak = gc:weak(other)
    registers[1] = root.address
    p:store(area + 8, other)
    gc:store(other, root.address)
    local was = root.address
    lu.assertEquals(gc:collect().marked, 2)
    lu.assertNotEquals(root.address, was)
    lu.assertEquals(registers[1], root.address)
    lu.assertEquals(p:load(area + 8), weak.address)
    lu.assertEquals(gc:load(weak.address), root.address)
    raises("leads to no object", function()
        p:store(area, root.address + 8)
        gc:collect()
    end)
    raises("a collection failed midway", gc.collect, gc)
    raises("a collection failed midway", gc.new, gc, node)
end

-- Copies are in the order in which Cheney's queue meets them.
function TestGcRoots:testCopiesAreBreadthFirst()
    local gc = setup({ mode = "copying", space = "64KiB" })
    local node = gc:layout({ size = 24, pointers = { 0, 8 } })
    local at = {}
    for i = 15, 1, -1 do
        at[i] = gc:new(node)
        gc:store(at[i] + 16, i)
        gc:new(99) -- garbage between
        if 2 * i <= 15 then
            gc:store(at[i], at[2 * i])
            gc:store(at[i] + 8, at[2 * i + 1])
        end
    end
    local root = gc:root(at[1])
    lu.assertEquals(gc:collect().marked, 15)
    for i, object in ipairs(gc:graph().nodes) do
        lu.assertEquals(gc:load(object.address + 16), i)
        lu.assertEquals(object.address, root.address + 32 * (i - 1))
    end
end

TestGcMarking = {}

-- More children than the mark stack has entries: what it had no room for is found again.
function TestGcMarking:testOverflow()
    for _, marks in ipairs({ "bitmap", "header" }) do
        local gc, h = setup({ stack = 4, marks = marks })
        local offsets = {}
        for i = 0, 299 do offsets[#offsets + 1] = 8 * i end
        local wide, pair = gc:layout({ size = 2400, pointers = offsets }), gc:layout(PAIR)
        local root = gc:root(gc:new(wide))
        for i = 0, 299 do
            local child = gc:new(pair)
            gc:store(child, gc:new(pair))
            gc:store(child + 8, root.address)
            gc:store(root.address + 8 * i, child)
            gc:new(pair)
        end
        local stats = gc:collect()
        lu.assertEquals({ stats.marked, stats.swept }, { 601, 300 })
        lu.assertTrue(stats.overflows >= 200 and stats.rescans > 0, tostring(stats.overflows))
        lu.assertTrue(h:check())
        root:close()
        lu.assertEquals(gc:collect().swept, 601)
    end
end

-- A long list on a host stack of 128 KiB: a marker that recurs would need more.
function TestGcMarking:testNoHostStack()
    local objects = os.getenv("VMEM_GC_LIST") or "20000"
    local path = os.tmpname()
    local file <close> = assert(io.open(path, "w"))
    file:write([[
        local vmem = require("vmem")
        local n = math.tointeger(tonumber(arg[1]))
        for _, mode in ipairs({ "precise", "conservative", "copying" }) do
            local h <close> = vmem.heap.native("bump", { limit = n * 80 + 8192 })
            local gc <close> = assert(vmem.gc({ heap = h, mode = mode, stack = 2, space = n * 24 + 64 }))
            local node, last = gc:layout({ size = 16, pointers = { 0 } }), 0
            local head
            for i = 1, n do
                local a = gc:new(node)
                gc:store(a, last)
                last = a
            end
            head = gc:root(last)
            print(gc:collect().marked, head.address ~= 0)
        end
    ]])
    file:close()
    local pipe = assert(io.popen(("ulimit -s 128; LUA_PATH=%s LUA_CPATH=%s %s %s %s 2>&1"):format(
        tree.quote(package.path), tree.quote(package.cpath), tree.quote(tree.lua), path, objects)))
    local out = pipe:read("a")
    pipe:close()
    os.remove(path)
    lu.assertEquals(out, (objects .. "\ttrue\n"):rep(3))
end

-- Words of 4 bytes in the heap and pointers of 4 bytes in objects.
function TestGcMarking:testThirtyTwoBits()
    for _, mode in ipairs({ "precise", "conservative", "copying" }) do
        local m = vmem.machine({ preset = "x86-32", dram = "4MiB" })
        local p = m:spawn()
        local h = assert(vmem.heap.open(p, "explicit", { word = 4, align = 8 }))
        local gc = assert(vmem.gc({ heap = h, mode = mode, space = "4KiB" }))
        local node = gc:layout({ size = 12, pointers = { 4, 8 } })
        local root = gc:root(gc:new(node))
        local child = gc:new(node)
        gc:store(root.address + 8, child)
        gc:store(child + 4, root.address)
        lu.assertEquals(p:load(root.address + 8, 4), child)
        gc:new(node)
        local stats = gc:collect()
        lu.assertEquals({ stats.marked, stats.garbage }, { 2, 1 }, mode)
        lu.assertEquals(gc:load(gc:load(root.address + 8) + 4), root.address)
        lu.assertTrue(h:check())
        m:close()
    end
end

-- What a collection costs is counted by the machine: no more and no less.
function TestGcMarking:testCounts()
    local gc, h, _, m = setup({ roots = {} })
    local node = gc:layout(PAIR)
    local root = gc:root(gc:new(node))
    gc:store(root.address, gc:new(node))
    gc:new(node)
    local clock, faults = m:clock(), m:stats("kernel.faults")
    local stats = gc:collect()
    lu.assertEquals(stats.cycles, m:clock() - clock)
    lu.assertEquals(stats.pause, stats.cycles)
    lu.assertEquals(stats.faults, m:stats("kernel.faults") - faults)
    lu.assertEquals({ stats.blocks, stats.marked, stats.swept, stats.garbage }, { 3, 2, 1, 1 })
    lu.assertEquals(stats.swept_bytes, 24) -- its layout and 16 bytes
    lu.assertEquals(stats.words, 1 + 2 * 2)
    -- The heap's first and its last bytes, marks for them, the mark stack, the layouts.
    local first, stop = h:range()
    local heap = ((stop - 1) >> 12) - (first >> 12) + 1
    lu.assertEquals(heap, 2)
    lu.assertTrue(stats.pages == 5 or stats.pages == 4, tostring(stats.pages))
    gc:collect()
    local sums = gc:stats()
    lu.assertEquals({ sums.collections, sums.marked, sums.swept, sums.last.marked }, { 2, 4, 1, 2 })
    lu.assertEquals(sums.pause, stats.pause)
    for _, row in ipairs(vmem.gc.counters()) do lu.assertNotNil(sums[row.name], row.name) end
end

TestGcSweep = {}

function TestGcSweep:testLazyFreesAtAllocation()
    local gc, h = setup({ sweep = "lazy" })
    local node = gc:layout(PAIR)
    local kept = gc:root(gc:new(node))
    for _ = 1, 2000 do gc:new(node) end
    local before = h:stats().payload
    local stats = gc:collect()
    lu.assertEquals({ stats.swept, stats.garbage }, { 0, 2000 })
    lu.assertEquals(h:stats().payload, before)
    gc:new(node)
    local swept = gc:stats().last.swept
    lu.assertTrue(swept > 0 and swept < 100, tostring(swept)) -- an entry of the map
    gc:finish()
    lu.assertEquals(gc:stats().last.swept, 2000)
    lu.assertEquals(h:stats().blocks, 2)
    lu.assertTrue(h:check())
    lu.assertEquals(gc:load(kept.address), 0)
end

-- Blocks that somebody frees and allocates while others wait to be swept are his.
function TestGcSweep:testLazyAndOthers()
    local gc, h = setup({ sweep = "lazy", mode = "conservative", roots = {} })
    local garbage = {}
    for i = 1, 300 do garbage[i] = gc:new(48) end
    gc:collect()
    local mine = {}
    for i = 300, 150, -1 do
        h:free(garbage[i])
        mine[#mine + 1] = assert(h:malloc(48))
    end
    gc:finish()
    lu.assertEquals(h:stats().blocks, #mine)
    for _, a in ipairs(mine) do lu.assertEquals(h:usable_size(a) >= 48, true) end
    lu.assertTrue(h:check())
end

-- Blocks that have areas of their own, outside of the heap's range: held, found by pointers
-- to their end, scanned, swept; more of them than the mark stack has room for.
function TestGcSweep:testAreas()
    for _, case in ipairs({ { "conservative" }, { "conservative", lookup = "tree" }, { "precise" },
        { "precise", lookup = "tree" }, { "conservative", sweep = "lazy" }, { "precise", native = true } }) do
        local m = vmem.machine({ preset = "core-i7", dram = "16MiB" })
        local options = { threshold = "16KiB" }
        local h = assert(case.native and vmem.heap.native("dlmalloc", options)
            or vmem.heap.open(m:spawn(), "dlmalloc", options))
        local gc = assert(vmem.gc({ heap = h, mode = case[1], lookup = case.lookup, sweep = case.sweep, stack = 2,
            roots = {} }))
        local last = (32 << 10) - 8
        local large, small = gc:layout({ size = 32 << 10, pointers = { 0, last } }), gc:layout(PAIR)
        local root = gc:root(gc:new(small))
        local inner = case[1] == "conservative" and 20000 or 0
        local garbage, before = {}, root.address
        for i = 1, 6 do
            local a, b = gc:new(large), gc:new(small)
            garbage[i] = gc:new(large)
            gc:store(garbage[i], a)
            gc:store(before, a + inner)
            gc:store(before + 8, b)
            gc:store(a + last, b)
            before = a
        end
        local _, stop = h:range()
        lu.assertTrue(before < h:range() or before >= stop)
        local stats = gc:collect()
        lu.assertEquals({ stats.marked, stats.garbage }, { 1 + 6 + 6, 6 })
        if case.sweep == "lazy" then h:free(garbage[3]) end
        local mine = h:malloc(20000) -- where it was, perhaps
        gc:finish()
        lu.assertEquals(h:stats().blocks, 14)
        lu.assertTrue(h:usable_size(mine) >= 20000)
        lu.assertTrue(h:check())
        root:close()
        lu.assertEquals(gc:collect().garbage, 14)
        gc:finish()
        lu.assertEquals(h:stats().blocks, 0)
        lu.assertTrue(m:check())
        m:close()
    end
end

TestGcTriggers = {}

function TestGcTriggers:testByAllocation()
    local gc = setup({ trigger = { allocated = "4KiB" } })
    local node = gc:layout(PAIR)
    for _ = 1, 1025 do gc:new(node) end
    lu.assertEquals(gc:stats().collections, 4)
    lu.assertEquals(gc:stats().last.swept, 256)
end

function TestGcTriggers:testByFreeSpace()
    for _, sweep in ipairs({ "eager", "lazy" }) do
        local gc, h = setup({ sweep = sweep, trigger = { free = 1 << 20 - 1 } }) -- half of what there is
        local node = gc:layout(PAIR)
        for _ = 1, 50000 do assert(gc:new(node)) end
        local stats = gc:stats()
        lu.assertTrue(stats.collections >= 2 and stats.collections < 10, tostring(stats.collections))
        lu.assertTrue(h:stats().payload_peak <= (1 << 19) + 64)
    end
end

-- Without a trigger the end of memory is one; and if nothing is garbage, it is the end.
function TestGcTriggers:testExhausted()
    for _, mode in ipairs({ "precise", "conservative", "copying" }) do
        local gc, h = setup({ mode = mode, space = "64KiB" })
        local node, held = gc:layout(PAIR), {}
        for _ = 1, 40000 do assert(gc:new(node)) end
        lu.assertTrue(gc:stats().collections > 0)
        local function fill()
            local a, message, code = gc:new(node)
            held[#held + 1] = a and gc:root(a)
            return message, code
        end
        local message, code
        repeat message, code = fill() until code
        lu.assertEquals(code, "ENOMEM")
        lu.assertStrContains(message, "bytes")
        lu.assertTrue(#held > 1000)
        lu.assertTrue(h:check())
        for i = 1, #held, 2 do held[i]:close() end
        local half = gc:collect()
        lu.assertEquals(half.marked, #held // 2)
        lu.assertEquals(#gc:graph().nodes, #held // 2)
        assert(gc:new(node))
    end
end

-- No memory for the collector's own map: the collection is refused, the heap is whole.
function TestGcTriggers:testNoMemoryForTheMap()
    local m = vmem.machine({ preset = "core-i7", dram = "1MiB", overcommit = "strict" })
    local p = m:spawn()
    local h = assert(vmem.heap.open(p, "implicit", { source = "mmap", limit = "640KiB" }))
    local gc = assert(vmem.gc({ heap = h, roots = {} }))
    local node = gc:layout(PAIR)
    for _ = 1, 100 do assert(gc:new(node)) end
    local hog = {}
    for size = 18, 12, -1 do
        local a = true
        while a do
            a = p:mmap({ length = 1 << size })
            hog[#hog + 1] = a
        end
    end
    local stats, _, code = gc:collect()
    lu.assertEquals({ stats, code }, { nil, "ENOMEM" })
    lu.assertEquals(h:stats().blocks, 100)
    lu.assertTrue(h:check())
    for size = 12, 18 do
        if #hog > 0 then p:munmap(table.remove(hog), 1 << math.min(size, 18)) end
    end
    for _, a in ipairs(hog) do p:munmap(a, 4096) end
    lu.assertEquals(assert(gc:collect()).swept, 100)
    lu.assertTrue(m:check())
end

TestGcGraph = {}

function TestGcGraph:testPicture()
    local gc = setup({ roots = {} })
    local node = gc:layout(PAIR)
    local root = gc:root(gc:new(node))
    local child, lost = gc:new(node), gc:new(node)
    gc:store(root.address, child)
    gc:store(child + 8, root.address)
    gc:store(lost, child)
    local graph = gc:graph({ names = { [root.address] = "<head>", [lost] = "lost" } })
    lu.assertEquals({ #graph.nodes, #graph.edges, #graph.roots }, { 3, 3, 1 })
    lu.assertEquals({ #graph.garbage, graph.garbage[1].address }, { 1, lost })
    lu.assertEquals({ graph.nodes[1].depth, graph.nodes[2].depth, graph.nodes[3].depth }, { 1, 2, nil })
    lu.assertEquals(graph.roots[1].kind, "handle")
    local dot, svg = graph:dot(), graph:svg()
    lu.assertStrContains(dot, "n1 -> n2 [label=\"+0\"]")
    lu.assertStrContains(dot, "n2 -> n1 [label=\"+8\"]")
    lu.assertStrContains(dot, "lost|16 bytes\", style=dashed")
    lu.assertStrContains(svg, "&lt;head&gt;")
    lu.assertStrContains(svg, "2 objects are reached, 1 are garbage")
    local loads = gc.heap:stats().loads
    gc:graph()
    lu.assertEquals(gc.heap:stats().loads, loads)
    for _ = 1, 400 do gc:new(node) end
    raises("400 objects at the most", function() gc:graph():svg() end)
    lu.assertStrContains(tostring(gc:graph()), "403 objects")
end

-- Collections by the machine's short ways and by its plain one: every counter, the clock too.
TestGcShortcuts = {}

local function flat(t, prefix, out)
    for name, v in pairs(t) do
        if type(v) == "table" then flat(v, prefix .. name .. ".", out) else out[prefix .. name] = v end
    end
    return out
end

function TestGcShortcuts:testCounters()
    for _, case in ipairs({ { "precise" }, { "conservative", "lazy" }, { "copying" } }) do
        local counters = {}
        for k, shortcuts in ipairs({ true, false }) do
            math.randomseed(3)
            local gc, h, _, m = setup({ mode = case[1], sweep = case[2], space = "256KiB", stack = 64 }, "segregated",
                { preset = "core-i7", dram = "512KiB", swap = "16MiB", shortcuts = shortcuts })
            local node, keep = gc:layout({ size = 48, pointers = { 0, 8 } }), {}
            for i = 1, 3000 do
                local a = gc:new(node)
                if i % 3 == 1 then keep[#keep + 1] = gc:root(a) end
                gc:store(keep[math.random(#keep)].address, a)
            end
            for i = 1, #keep, 2 do keep[i]:close() end
            gc:collect()
            for _ = 1, 100 do gc:new(node) end
            if case[2] then
                local garbage = gc:graph().garbage
                for i = #garbage - 3, #garbage do h:free(garbage[i].address) end
            end
            gc:finish()
            counters[k] = flat(m:stats(), "", {})
            m:close()
        end
        lu.assertEquals(counters[1], counters[2], case[1])
    end
end
