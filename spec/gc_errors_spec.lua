-- Collectors and what goes wrong: finalizers that do what they should not, damage, options,
-- allocators in Lua, heaps and machines that go.
local lu = require("luaunit")
local raises = require("scene").raises
local collectors = require("gc_scene")
local vmem = require("vmem")

local setup, PAIR = collectors.setup, collectors.PAIR

TestGcFinalizers = {}

function TestGcFinalizers:testOrderAndResurrection()
    local gc = setup()
    local node, order = gc:layout(PAIR), {}
    local a, b = gc:new(node), gc:new(node)
    gc:store(a, b)
    gc:store(b + 8, 77)
    local weak, saved = gc:weak(b), nil
    gc:finalizer(a, function(x)
        order[#order + 1] = "a"
        lu.assertEquals(gc:load(gc:load(x) + 8), 77) -- what it leads to is whole
        saved = gc:root(x)
    end)
    gc:finalizer(b, function() order[#order + 1] = "b" end)
    local stats = gc:collect()
    lu.assertEquals({ stats.finalized, stats.swept, stats.marked }, { 2, 0, 2 })
    lu.assertEquals(order, { "b", "a" })
    lu.assertNil(weak.address)
    lu.assertEquals(gc:collect().finalized, 0)
    lu.assertEquals(gc:load(saved.address), b)
    saved:close()
    lu.assertEquals(gc:collect().swept, 2)
    lu.assertEquals(#order, 2)
end

function TestGcFinalizers:testErrors()
    local gc, h = setup()
    local node, ran = gc:layout(PAIR), 0
    for i = 1, 3 do
        gc:finalizer(gc:new(node), function()
            ran = ran + 1
            if i ~= 2 then error(i == 3 and { "a table" } or "one", 0) end
        end)
    end
    raises("2 finalizers failed, the first one of the object at 0x", gc.collect, gc)
    lu.assertEquals(ran, 3)
    lu.assertEquals(gc:collect().swept, 3)
    lu.assertTrue(h:check())
end

-- A finalizer may allocate, but not collect; one that ends the heap, the collector, the
-- process or the machine leaves errors to those who come after.
function TestGcFinalizers:testHostile()
    local acts = {
        collect = { "a finalizer runs", function(gc) gc:collect() end },
        loop = { "too big", function(gc) for _ = 1, 40000 do assert(gc:new(64), "too big") end end },
        heap = { "the heap is closed", function(_, h) h:close() end },
        collector = { "the collector is closed", function(gc) gc:close() end },
        process = { "ended", function(_, _, p) p:exit(0) end },
        machine = { "closed", function(_, _, _, m) m:close() end },
    }
    for name, act in pairs(acts) do
        local gc, h, p, m = setup()
        local node, later = gc:layout(PAIR), nil
        gc:finalizer(gc:new(node), function() later = pcall(gc.new, gc, node) end)
        gc:finalizer(gc:new(node), function() act[2](gc, h, p, m) end)
        local ok, err = pcall(gc.collect, gc)
        if name == "collect" or name == "loop" then
            lu.assertFalse(ok)
            lu.assertStrContains(err, act[1])
            lu.assertTrue(later)
            lu.assertTrue(h:check())
            lu.assertTrue(gc:collect().swept >= 2)
        else
            lu.assertTrue(ok, err)
            lu.assertFalse(later)
            raises(act[1], gc.collect, gc)
            raises(act[1], gc.new, gc, node)
            raises(act[1], gc.graph, gc)
        end
        gc:close()
        gc:close()
        if name ~= "machine" then m:close() end
    end
end

TestGcDamage = {}

-- A word that says what an object is was overwritten: its address is told, nothing is
-- freed, and when the word is mended all is as if it had never been.
function TestGcDamage:testLayout()
    for _, marks in ipairs({ "bitmap", "header" }) do
        local gc, h, p = setup({ marks = marks, roots = {} })
        local node = gc:layout(PAIR)
        local root = gc:root(gc:new(node))
        local child = gc:new(node)
        gc:store(root.address, child)
        gc:new(node)
        local word = p:load(child - 8)
        for _, bad in ipairs({ 0, 1, word + 8, word + 16, -1, child }) do
            p:store(child - 8, bad)
            raises(("the object at %#x is damaged"):format(child), gc.collect, gc)
            lu.assertEquals(h:stats().blocks, 3)
            lu.assertTrue(h:check())
        end
        p:store(child - 8, word)
        lu.assertEquals(gc:collect().swept, 1)
    end
end

-- Headers of the allocator: an error that says so, or a collection; never more.
function TestGcDamage:testHeaders()
    for _, row in ipairs(vmem.heap.allocators()) do
        for _, mode in ipairs({ "precise", "conservative" }) do
            for _, bad in ipairs({ 0, 1, 8, 0x7fffffff, -1 }) do
                local gc, h, p, m = setup({ mode = mode, roots = {} }, row.name)
                local node, roots = gc:layout(PAIR), {}
                for i = 1, 20 do roots[i] = gc:root(assert(gc:new(node))) end
                for i = 1, 19 do gc:store(roots[i].address, roots[i + 1].address) end
                local block = h:blocks()[10]
                p:store(block.address - 8, bad)
                local ok, err = pcall(gc.collect, gc)
                if not ok then lu.assertStrContains(tostring(err), "damaged") end
                pcall(gc.new, gc, node)
                pcall(gc.graph, gc)
                lu.assertTrue(m:check())
                m:close()
            end
        end
    end
end

TestGcErrors = {}

function TestGcErrors:testOptions()
    local _, h, p = setup()
    local other = assert(vmem.heap.open(p, "simple", { source = "mmap", limit = "64KiB" }))
    local native = vmem.heap.native("bump")
    local rows = {
        { "the heap has a collector already", { heap = h } },
        { "heap is missing", {} },
        { "heap is missing", { heap = 3 } },
        { "mode is generational, but takes one of: conservative, copying, precise", { mode = "generational" } },
        { "did you mean lookup?", { lookpu = "tree" } },
        { "there is no option 1", { "precise" } },
        { "did you mean allocated?", { trigger = { alocated = 1 } } },
        { "trigger takes", { trigger = 5 } },
        { "stack is 0", { stack = 0 } },
        { "stack is 1.5", { stack = 1.5 } },
        { "space is 5", { mode = "copying", space = 5 } },
        { "pointer is 3", { pointer = 3 } },
        { "pointer is 4, but the process has addresses above", { pointer = 4 } },
        { "headers of simple", { marks = "header" } },
        { "interior is 1, but takes true or false", { interior = 1 } },
        { "no interior pointers", { mode = "copying", interior = true } },
        { "there are no roots heap (there are data, stack", { roots = { "heap" } } },
        { "roots has no field x", { roots = { x = 1 } } },
        { "a range of roots is", { roots = { { 5, 5 } } } },
        { "registers is a list", { roots = { registers = 1 } } },
        { "a native heap has no stack", { heap = native, roots = { "stack" } } },
    }
    for _, row in ipairs(rows) do
        if row[1] ~= "heap is missing" then row[2].heap = row[2].heap or other end
        raises(row[1], vmem.gc, row[2])
    end
    local tagged = assert(vmem.heap.open(p, "implicit", { source = "mmap", limit = "64KiB" }))
    raises("sweep is \"lazy\"", vmem.gc, { heap = tagged, marks = "header", sweep = "lazy" })
    local four = vmem.heap.native("implicit", { word = 4, align = 4 })
    raises("no bit to spare", vmem.gc, { heap = four, marks = "header" })
    -- None of them has left a collector behind.
    for _, heap in ipairs({ other, tagged, four, native }) do assert(vmem.gc({ heap = heap })):close() end
    raises("takes a table", vmem.gc)
end

function TestGcErrors:testArguments()
    local gc, h, _, m = setup({ roots = {} })
    local node = gc:layout(PAIR)
    local mine = assert(vmem.gc({ heap = vmem.heap.native("bump") })):layout(PAIR)
    raises("size is 1 byte or more", gc.layout, gc, { size = 0 })
    raises("no field fields", gc.layout, gc, { size = 8, fields = {} })
    raises("a pointer at 4", gc.layout, gc, { size = 8, pointers = { 4 } })
    raises("a pointer at 8", gc.layout, gc, { size = 8, pointers = { 8 } })
    raises("a list of addresses", gc.layout, gc, { size = 8, pointers = { "x" } })
    lu.assertEquals(select(3, gc:layout({ size = 1 << 40 })), "ENOMEM")
    raises("another collector's", gc.new, gc, mine)
    raises("from 1", gc.new, gc, 0)
    raises("from 1", gc.new, gc, "16")
    raises("of an address", gc.root, gc, nil)
    raises("an address and a function", gc.finalizer, gc, 1)
    raises("is not in the heap", gc.load, gc, 0)
    raises("is not in the heap", gc.store, gc, select(2, h:range()) - 4, 1)
    lu.assertEquals(select(3, gc:new(1 << 62)), "ENOMEM")
    -- Addresses that lead nowhere hold nothing.
    local handles = { gc:root(0), gc:root(-1), gc:root(math.mininteger), gc:weak(12) }
    gc:finalizer(5, function() end)
    lu.assertEquals(gc:collect().finalized, 1)
    lu.assertNil(handles[4].address)
    -- The table of layouts has an end.
    local _, message, code
    repeat _, message, code = gc:layout({ size = 8192 }) until not _
    lu.assertEquals(code, "ENOMEM")
    lu.assertStrContains(message, "layouts are full")
    assert(gc:new(node))
    m:close()
    raises("closed", gc.collect, gc)
    lu.assertStrContains(tostring(gc), "vmem.gc precise")
end

-- Whatever is collected by Lua first, heap or collector.
function TestGcErrors:testLuaCollectsThem()
    for _ = 1, 20 do
        local gc = setup({ mode = "conservative" })
        gc:new(16)
        gc:collect()
        gc = nil -- luacheck: ignore
        collectgarbage()
    end
    lu.assertTrue(true)
end

-- A listener of the machine may use the heap when the collection is done.
function TestGcErrors:testListeners()
    local gc, h, _, m = setup({ roots = {} })
    local node, extra = gc:layout(PAIR), 0
    local root = gc:root(gc:new(node))
    m:on("fault", function()
        if extra < 5 then
            extra = extra + 1
            gc:root(gc:new(node))
        end
    end)
    lu.assertEquals(gc:collect().marked, 1)
    lu.assertTrue(extra > 0)
    lu.assertTrue(h:check())
    lu.assertEquals(gc:load(root.address), 0)
end

-- An allocator in Lua whose free fails in the midst of a sweep: the heap takes no more calls.
function TestGcErrors:testAllocatorInLua()
    local count = 0
    local allocator = vmem.heap.allocator({
        name = "bad",
        init = function(state) state:grow(16) end,
        malloc = function(state, n) return state:grow((n + 15) // 16 * 16) end,
        free = function()
            count = count + 1
            if count > 3 then error("not today") end
        end,
    })
    local m = vmem.machine({ preset = "core-i7" })
    local h = assert(vmem.heap.open(m:spawn(), allocator))
    local gc = vmem.gc({ heap = h, mode = "conservative", roots = {} })
    local root = gc:root(gc:new(16))
    for _ = 1, 10 do gc:new(16) end
    raises("not today", gc.collect, gc)
    raises("an earlier call failed midway", gc.collect, gc)
    raises("an earlier call failed midway", gc.new, gc, 16)
    lu.assertEquals(gc:stats().swept, 3)
    lu.assertNotNil(root.address)
    lu.assertTrue(m:check())
    gc:close()
    m:close()
end
