-- Collectors: random programs against a model in Lua that never reads memory, for each
-- mode, way of marking, of finding and of sweeping, over each allocator.
local lu = require("luaunit")
local vmem = require("vmem")
local model = require("model_gc")
local scale = require("scale")

-- Words of an object. Of 1 and 4 the layout says that they are no pointers; 1 has the
-- object's number, 4 what it gets.
local WORDS = 5
local EXACT = { [0] = true, [2] = true, [3] = true }
local ALL = { [0] = true, true, true, true, true }

local function open(case)
    local options = { source = "mmap", limit = "1MiB" }
    local m, p, h
    if case.native then
        h = assert(vmem.heap.native(case.allocator, options))
    else
        m = vmem.machine({ preset = "core-i7", dram = "8MiB" })
        p = m:spawn()
        h = assert(vmem.heap.open(p, case.allocator, options))
    end
    local gc = assert(vmem.gc({ heap = h, mode = case.mode, marks = case.marks, lookup = case.lookup,
        sweep = case.sweep, stack = case.stack, interior = case.interior, space = "128KiB", roots = {} }))
    return gc, h, m
end

-- Runs a program on a collector and on the model; raises where they differ. An object's
-- word 1 is its number, so that it is known wherever it is.
local function run(case, ops)
    local gc, h, m = open(case)
    local conservative, moving = case.mode == "conservative", case.mode == "copying"
    local mine = model.new(WORDS, conservative and ALL or EXACT)
    local layout = assert(gc:layout({ size = 8 * WORDS, pointers = { 0, 16, 24 } }))
    local at, roots, weak, count, called = {}, {}, {}, 0, {}

    local function pick(n) return mine.live[n % #mine.live + 1] end

    -- Where objects are now, found from the roots as a program finds them.
    local function follow()
        local todo, found = {}, {}
        local function see(a)
            if a == 0 then return end
            local id = gc:load(a + 8)
            if found[id] then
                if found[id] ~= a then error(("object %d is at %#x and at %#x"):format(id, found[id], a)) end
                return
            end
            found[id] = a
            todo[#todo + 1] = id
        end
        for _, handle in pairs(roots) do see(handle.address) end
        while #todo > 0 do
            local id = table.remove(todo)
            local a, words = found[id], mine.object[id]
            if not words then error(("object %d is reached, and should be gone"):format(id)) end
            for i = 0, WORDS - 1 do
                local v, want = gc:load(a + 8 * i), words[i]
                if i == 1 then
                    lu.assertEquals(v, id)
                elseif type(want) == "table" then
                    if mine.pointers[i] then
                        v = v - want.offset
                        if gc:load(v + 8) ~= want.id then error(("word %d of object %d leads astray"):format(i, id)) end
                        see(v)
                    end
                else
                    lu.assertEquals(v, want)
                end
            end
        end
        return found
    end

    local function survivors()
        local set = {}
        for _, node in ipairs(gc:graph().nodes) do set[#set + 1] = gc:load(node.address + 8) end
        table.sort(set)
        return set
    end

    local function collect()
        local seen, due = mine:collect()
        called = {}
        local stats = assert(gc:collect())
        lu.assertEquals(called, due)
        lu.assertEquals(stats.finalized, #due)
        if case.sweep ~= "lazy" then lu.assertEquals(stats.swept, stats.garbage) end
        local wanted = {}
        for id in pairs(seen) do wanted[#wanted + 1] = id end
        table.sort(wanted)
        lu.assertEquals(stats.marked, #wanted)
        if case.sweep == "lazy" and ops.finish then gc:finish() end
        if case.sweep ~= "lazy" or ops.finish then lu.assertEquals(survivors(), wanted) end
        for k, handle in pairs(weak) do lu.assertEquals(handle.address ~= nil, mine.weak[k] ~= nil) end
        local found = follow()
        for id, a in pairs(found) do at[id] = a end
        for id in pairs(at) do
            if not seen[id] then at[id] = nil end
            -- One that lives for its finalizer's sake may have moved, and can't be asked where to.
            if moving and not found[id] then at[id] = nil end
        end
    end

    local function name(id) return function(a)
        lu.assertEquals(gc:load(a + 8), id)
        called[#called + 1] = id
    end end

    local acts = {
        new = function()
            local a = assert(gc:new(layout))
            count = count + 1
            gc:store(a + 8, count)
            mine:new(count)
            mine.object[count][1] = count
            at[count] = a
        end,
        link = function(x, y, i)
            local from, to = pick(x), pick(y)
            i = i % WORDS
            if i ~= 1 and at[from] and at[to] then
                local offset = case.interior and (x + y) % 3 == 0 and x % (8 * WORDS) or 0
                gc:store(at[from] + 8 * i, at[to] + offset)
                mine.object[from][i] = { id = to, offset = offset }
            end
        end,
        -- A number that is no address of an object; it leads into a block's midst, where
        -- that does not hold it.
        number = function(x, y, i)
            local from, near = pick(x), pick(y)
            i = i % WORDS
            if i ~= 1 and at[from] and at[near] then
                local v = (moving or case.interior) and y or at[near] + 8 + 8 * (y % 3)
                gc:store(at[from] + 8 * i, v)
                mine.object[from][i] = v
            end
        end,
        unlink = function(x, _, i)
            local from = pick(x)
            i = i % WORDS
            if i ~= 1 and at[from] then
                gc:store(at[from] + 8 * i, 0)
                mine.object[from][i] = 0
            end
        end,
        root = function(x)
            local id = pick(x)
            if at[id] then
                roots[#roots + 1] = gc:root(at[id])
                mine.roots[#roots] = id
            end
        end,
        drop = function(x)
            local k = x % (#roots + 1)
            if k > 0 and mine.roots[k] then
                roots[k]:close()
                table.remove(roots, k)
                table.remove(mine.roots, k)
            end
        end,
        weak = function(x)
            local id = pick(x)
            if at[id] then
                weak[#weak + 1] = gc:weak(at[id])
                mine.weak[#weak] = id
            end
        end,
        final = function(x)
            local id = pick(x)
            if at[id] then
                gc:finalizer(at[id], name(id))
                mine.final[#mine.final + 1] = id
            end
        end,
        collect = collect,
    }
    for _, op in ipairs(ops) do
        if #mine.live > 0 or op[1] == "new" or op[1] == "collect" then acts[op[1]](op[2], op[3], op[4]) end
    end
    local ok, what, where = h:check()
    if not ok then error(("%s (%#x)"):format(what, where)) end
    gc:close()
    h:close()
    if m then
        lu.assertTrue(m:check())
        m:close()
    end
end

local function random_of(seed)
    math.randomseed(seed)
    return function(n) return math.random(n) end
end

-- Cases: every option at least once, each mode over each allocator that can be walked.
local function cases()
    local list = {}
    for _, row in ipairs(vmem.heap.allocators()) do
        for _, mode in ipairs({ "precise", "conservative" }) do
            list[#list + 1] = { allocator = row.name, mode = mode, native = #list % 2 == 0, stack = 1 << #list % 5 }
        end
    end
    for _, mode in ipairs({ "precise", "conservative" }) do
        for _, lookup in ipairs({ "bitmap", "tree" }) do
            for _, interior in ipairs({ true, false }) do
                list[#list + 1] = { allocator = "segregated", mode = mode, lookup = lookup, interior = interior }
            end
        end
        list[#list + 1] = { allocator = "implicit", mode = mode, sweep = "lazy", stack = 3 }
        for _, allocator in ipairs({ "implicit", "explicit", "segregated", "tree", "tlsf", "buddy", "bump" }) do
            list[#list + 1] = { allocator = allocator, mode = mode, marks = "header", stack = 2,
                lookup = mode == "precise" and "tree" or "bitmap" }
        end
    end
    for _, allocator in ipairs({ "implicit", "bump" }) do
        list[#list + 1] = { allocator = allocator, mode = "copying", native = allocator == "bump" }
    end
    return list
end

TestGcModel = {}

for i, case in ipairs(cases()) do
    if case.interior == nil then case.interior = case.mode == "conservative" end
    local name = { case.allocator, case.mode }
    for _, key in ipairs({ "marks", "lookup", "sweep" }) do name[#name + 1] = case[key] end
    name = ("test%02d_%s"):format(i, table.concat(name, "_"):gsub("%W", "_"))
    TestGcModel[name] = function()
        local seed = tonumber(os.getenv("VMEM_SEED")) or 1000 * i
        for k = 1, math.ceil(4 * scale) do
            local ops = model.program(random_of(seed + k), 160)
            ops.finish = k % 2 == 0
            local ok, err = pcall(run, case, ops)
            if not ok then
                local finish = ops.finish
                local least = model.shrink(ops, function(less)
                    less.finish = finish
                    return not pcall(run, case, less)
                end)
                least.finish = finish
                local _, why = pcall(run, case, least)
                error(("seed %d: %s\nof %s"):format(seed + k, type(why) == "table" and why.msg or tostring(why or err),
                    model.text(least)))
            end
        end
    end
end

-- --- large random graphs ------------------------------------------------------------------
-- VMEM_GC_OBJECTS=1000000 for a long look.

TestGcRandomGraphs = {}

-- Objects of 0 to 4 pointers and a word that is none, edges between any two, some roots.
local function graph_of(gc, n, random, stray)
    local layouts, at, edges, first = {}, {}, {}, {}
    for degree = 0, 4 do
        local offsets = {}
        for i = 1, degree do offsets[i] = 8 * i end
        layouts[degree] = assert(gc:layout({ size = 8 * (degree + 1), pointers = offsets }))
    end
    for i = 1, n do
        local degree = random(5) - 1
        at[i], first[i] = assert(gc:new(layouts[degree])), #edges + 1
        for _ = 1, degree do edges[#edges + 1] = random(n) end
    end
    first[n + 1] = #edges + 1
    for i = 1, n do
        for k = first[i], first[i + 1] - 1 do gc:store(at[i] + 8 * (k - first[i] + 1), at[edges[k]]) end
        if stray and i % 16 == 0 then gc:store(at[i], at[random(n)] + random(24) - 1) end
    end
    return at, edges, first
end

local function reached(edges, first, roots)
    local seen, todo, count = {}, {}, 0
    for _, i in ipairs(roots) do todo[#todo + 1] = i end
    while #todo > 0 do
        local i = table.remove(todo)
        if not seen[i] then
            seen[i], count = true, count + 1
            for k = first[i], first[i + 1] - 1 do
                if not seen[edges[k]] then todo[#todo + 1] = edges[k] end
            end
        end
    end
    return seen, count
end

local function random_graph(mode, native, stray, options)
    local n = math.tointeger(tonumber(os.getenv("VMEM_GC_OBJECTS") or 1000))
    local random = random_of(n + (tonumber(os.getenv("VMEM_SEED")) or 0))
    local bytes = { limit = n * 160 + 65536 }
    local m <close> = not native and vmem.machine({ preset = "core-i7", dram = "512MiB" }) or nil
    local h <close> = assert(m and vmem.heap.open(m:spawn(), "segregated", bytes)
        or vmem.heap.native("segregated", bytes))
    options.heap, options.mode, options.roots, options.space = h, mode, {}, (n * 64 + 4096) // 8 * 8
    local gc <close> = assert(vmem.gc(options))
    local at, edges, first = graph_of(gc, n, random, stray)
    local roots, handles = {}, {}
    for k = 1, 5 do
        roots[k] = random(n)
        handles[k] = gc:root(at[roots[k]])
    end
    -- All that five roots reach is most of it, or little: then with half of them closed.
    for _ = 1, 2 do
        local seen, count = reached(edges, first, roots)
        local stats = assert(gc:collect())
        if stray and mode == "conservative" then
            lu.assertTrue(stats.marked >= count)
        else
            lu.assertEquals(stats.marked, count)
        end
        if mode ~= "copying" then
            lu.assertEquals(h:stats().blocks, stats.marked)
            for i in pairs(seen) do h:usable_size(at[i] - (mode == "precise" and 8 or 0)) end -- raises where none is
        end
        while #roots > 2 do
            table.remove(roots)
            table.remove(handles):close()
        end
    end
    lu.assertTrue(h:check())
end

function TestGcRandomGraphs:testPrecise() random_graph("precise", true, true, { stack = 64 }) end
function TestGcRandomGraphs:testPreciseInAMachine() random_graph("precise", false, true, { lookup = "tree" }) end
function TestGcRandomGraphs:testConservative() random_graph("conservative", true, false, { stack = 64 }) end
function TestGcRandomGraphs:testConservativeInAMachine() random_graph("conservative", false, false, { stack = 64 }) end
function TestGcRandomGraphs:testSuperset() random_graph("conservative", true, true, {}) end
function TestGcRandomGraphs:testCopying() random_graph("copying", false, true, {}) end
