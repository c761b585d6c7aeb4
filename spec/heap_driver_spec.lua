-- The driver of the malloc lab: three forms of .rep, what it measures, what it finds.
local lu = require("luaunit")
local vmem = require("vmem")
local json = require("dkjson")
local tree = require("tree")
local programs = require("heap_programs")

local heap = vmem.heap

TestHeapTraces = {}

local CLASSIC = "20000\n2\n5\n1\na 0 512\na 1 128\nr 0 640\nf 1\nf 0\n"

function TestHeapTraces:testTheThreeForms()
    local t = assert(heap.parse(CLASSIC))
    lu.assertEquals({ t.dialect, t.weight, t.bytes, t.ids, #t, t.peak }, { "classic", 1, 20000, 2, 5, 768 })
    lu.assertEquals(t:text(), CLASSIC)
    -- Weight first; f -1, r of a fresh id, sizes of 0, an id again, CRLF.
    t = assert(heap.parse("1\r\n3\r\n8\r\n4096\r\nf -1\r\nr 0 100\r\na 1 0\r\nf 1\r\nf 0\r\na 0 8\r\nr 0 0\r\nf 0\r\n"))
    lu.assertEquals({ t.dialect, t.weight, t.bytes, t.ids, #t, t.peak }, { "weight first", 1, 4096, 2, 8, 100 })
    lu.assertEquals({ t.kind[1], t.id[1], t.kind[2], t.size[2] }, { "f", -1, "r", 100 })
    -- Sizes of 64 bits, and the peak of live bytes.
    t = assert(heap.parse("2\n1\n2\n8589934592\na 0 8589934592\nf 0\n"))
    lu.assertEquals({ t.dialect, t.weight, t.bytes, t.peak }, { "weight first", 2, 8589934592, 8589934592 })
    lu.assertEquals(assert(heap.parse("0\n1\n1\na 0 1\n")).weight, 0)
    lu.assertEquals(assert(heap.trace({ { "a", 0, 10 }, { "f", 0 } })):text(), "10\n1\n2\n1\na 0 10\nf 0\n")
end

function TestHeapTraces:testWhatIsNone()
    for text, message in pairs({
        [""] = "begins with 3 or 4 numbers, but there are 0",
        ["1\n2\n"] = "there are 2",
        ["1\n1\n2\na 0 1\n"] = "there are 1 operations, but its head says 2",
        ["1\n1\n1\nx 0 1\n"] = ":4: \"x 0 1\" is no operation",
        ["1\n1\n1\na 0\n"] = ":4: ",
        ["1\n1\n1\na -1 3\n"] = ":4: ",
        ["1\n1\n1\nf 0 3\n"] = ":4: ",
        ["1\n1\n1\na 0 99999999999999999999\n"] = ":4: ",
        ["1\n1\n1\n\nf 0\n"] = ":5: f 0, which has no block",
        ["1\n1\n3\na 0 1\nf 0\nf 0\n"] = ":6: f 0",
        ["\0\255\n"] = "is no operation",
        ["-1\n1\n1\na 0 1\n"] = ":1: \"-1\" is no operation",
        ["1\n1\n2\na 0 9223372036854775807\na 1 1\n"] = ":5: the live blocks have 2^63 bytes or more",
        ["1\n1\n1\na 9223372036854775807 1\n"] = ":4: ",
    }) do
        local t, why, code = heap.parse(text, "x.rep")
        lu.assertNil(t, text)
        lu.assertStrContains(why, message)
        lu.assertStrContains(why, "x.rep")
        lu.assertEquals(code, "EFORMAT")
    end
    local t, _, code = heap.trace("/no/such/file.rep")
    lu.assertNil(t)
    lu.assertEquals(code, "ENOENT")
end

local function program(seed, n)
    return programs.trace(seed, n, { kinds = 5, nothing = 8, size = 2000, grown = 3000 })
end

TestHeapDriver = {}

-- The most payload, from the trace alone.
local function peak(t)
    local size, now, most = {}, 0, 0
    for i, kind in ipairs(t.kind) do
        local id = t.id[i]
        now = now - (size[id] or 0) + t.size[i]
        size[id] = kind ~= "f" and t.size[i] or nil
        most = math.max(most, now)
    end
    return most
end

function TestHeapDriver:testEveryAllocatorIsValid()
    local t = program(5, 200)
    lu.assertEquals(t.peak, peak(t))
    for _, row in ipairs(heap.allocators()) do
        local r = assert(heap.run({ trace = t, allocator = row.name, machine = { preset = "x86-32", dram = "4MiB" } }))
        lu.assertTrue(r.valid, tostring(r))
        lu.assertEquals(r.stats.payload_peak, t.peak)
        lu.assertEquals(r.utilization, t.peak / r.stats.bytes_peak)
        lu.assertTrue(r.utilization > 0.05 and r.utilization <= 1, tostring(r))
        lu.assertTrue(r.index > 0.6 * r.utilization and r.index <= 1)
        lu.assertTrue(r.stats.cycles > 0 and r.stats.faults > 0)
        lu.assertStrContains(tostring(r), row.name)
    end
end

function TestHeapDriver:testWhatIsMeasuredIsTheAllocatorsOwn()
    local t = assert(heap.parse(CLASSIC))
    local r = assert(heap.run({ trace = t, allocator = { "implicit", word = 4, align = 8 } }))
    -- Golden: 16 + 4096 bytes; 520 + 136 at 16, then 648 behind.
    lu.assertEquals({ r.stats.bytes, r.stats.faults, r.stats.payload_peak }, { 4112, 2, 768 })
    lu.assertEquals(r.utilization, 768 / 4112)
    local again = assert(heap.run({ trace = t, allocator = "implicit", options = { word = 4, align = 8 }, every = 1 }))
    lu.assertEquals(again.stats.cycles, r.stats.cycles)
end

-- In one call in C, and call by call from Lua: the same heap, the same costs.
function TestHeapDriver:testTheTwoWaysAreOne()
    local t = program(9, 300)
    local function stats(how)
        local m <close> = vmem.machine({ preset = "core-i7", dram = "4MiB" })
        local h = assert(heap.open(m:spawn(), "explicit", { realloc = "place" }))
        how(h)
        return h:stats(), h:blocks()
    end
    local one, blocks = stats(function(h) lu.assertTrue(h:_replay(t:packed())) end)
    local each, others = stats(function(h)
        local at = {}
        for i, kind in ipairs(t.kind) do
            local id = t.id[i]
            if kind == "f" then h:free(at[id]) end
            at[id] = kind == "a" and h:malloc(t.size[i]) or kind == "r" and h:realloc(at[id], t.size[i]) or nil
        end
    end)
    lu.assertEquals(one, each)
    lu.assertEquals(blocks, others)
    local far = assert(heap.parse("1\n1\n4\n0\nf -1\na 99999999999 10\nf 99999999999\nf -1\n"))
    lu.assertTrue(assert(heap.run({ trace = far })).valid)
end

function TestHeapDriver:testAHeapThatIsTooSmall()
    local r = assert(heap.run({ trace = program(5, 200), allocator = "tree", options = { limit = "8KiB" } }))
    lu.assertFalse(r.valid)
    lu.assertStrContains(r.error, "ENOMEM")
    lu.assertTrue(r.op > 1 and r.op < 200)
    lu.assertStrContains(tostring(r), "wrong at " .. r.op)
end

-- What a wrong allocator does, done to a right one from outside.
local function broken(change)
    local open = heap.open
    heap.open = function(p, name, options)
        local h = assert(open(p, name, options))
        return change(h, p)
    end
    local ok, r = pcall(heap.run, { trace = program(5, 100), allocator = "implicit", every = 1 })
    heap.open = open
    assert(ok, r)
    lu.assertFalse(r.valid)
    return r.error
end

local function wrap(h, with)
    return setmetatable(with, { __index = function(_, name) return function(_, ...) return h[name](h, ...) end end })
end

function TestHeapDriver:testItFindsWhatIsWrong()
    lu.assertStrContains(broken(function(h)
        return wrap(h, { malloc = function(_, n) return (h:malloc(n) or 0) + 4 end })
    end), "is not aligned to 16 bytes")
    lu.assertStrContains(broken(function(h)
        local first = h:malloc(4000)
        return wrap(h, { malloc = function(_, n) return n > 0 and first or nil end })
    end), "overlaps")
    lu.assertStrContains(broken(function(h)
        return wrap(h, { malloc = function(_, n) return n > 0 and 1 << 20 or nil end })
    end), "is not in the heap")
    lu.assertStrContains(broken(function(h, p)
        local last
        return wrap(h, { malloc = function(_, n)
            if last then p:store(last, 0, 1) end
            local a = h:malloc(n)
            if n > 0 then last = a end
            return a
        end })
    end), "was written")
    lu.assertStrContains(broken(function(h)
        return wrap(h, { realloc = function(_, a, n)
            h:free(a)
            return h:calloc(n, 1)
        end })
    end), "lost what the block held")
    lu.assertStrContains(broken(function(h, p)
        return wrap(h, { malloc = function(_, n)
            local a = h:malloc(n)
            if n > 0 then p:store(a - 8, 3) end
            return a
        end })
    end), "the header 0x3 has no size that fits")
end

function TestHeapDriver:testOptions()
    local function raises(text, t)
        local ok, err = pcall(heap.run, t)
        lu.assertFalse(ok)
        lu.assertStrContains(err, text)
    end
    raises("trace is missing", {})
    raises("there is no option tarce, did you mean trace?", { tarce = 1 })
    raises("there is no allocator treee, did you mean tree?", { trace = program(1, 5), allocator = "treee" })
    local none, _, code = heap.run({ trace = "/no/such.rep" })
    lu.assertNil(none)
    lu.assertEquals(code, "ENOENT")
end

-- --- the command ---------------------------------------------------------------------

local function command(arguments, text)
    return tree.scratch(function(folder)
        local file = assert(io.open(folder .. "/t.rep", "wb"))
        file:write(text)
        file:close()
        local pipe = assert(io.popen(("%s heap %s/t.rep %s 2>&1"):format(tree.quote(tree.vmem), folder, arguments)))
        local out = pipe:read("a")
        local _, _, code = pipe:close()
        return out, code
    end)
end

TestHeapCommand = {}

function TestHeapCommand:testRows()
    local out, code = command("", CLASSIC)
    lu.assertEquals(code, 0, out)
    lu.assertStrContains(out, "t.rep: 5 operations, at most 768 bytes of payload")
    for _, row in ipairs(heap.allocators()) do lu.assertStrContains(out, "\n  " .. row.name) end
    local two = "--allocator implicit:word=4,align=8 --allocator tree:limit=4KiB"
    out, code = command(two .. " --preset x86-32 --json", CLASSIC)
    lu.assertEquals(code, 1, out)
    local rows = json.decode(out)
    lu.assertEquals({ rows[1].heap, rows[1].payload, rows[1].valid }, { 4112, 768, true })
    lu.assertEquals({ rows[2].valid, rows[2].operation }, { false, 0 })
end

function TestHeapCommand:testWrongUse()
    for arguments, message in pairs({
        ["--allocator implict"] = "vmem: there is no allocator implict, did you mean implicit?",
        ["--allocator implicit:fit"] = "fit is not of the form option=value",
        ["--allocator tree:fit=best"] = "heap tree: there is no option fit",
    }) do
        local out, code = command(arguments, CLASSIC)
        lu.assertEquals(code, 2, out)
        lu.assertStrContains(out, message)
    end
    local out, code = command("", "nonsense")
    lu.assertEquals(code, 1)
    lu.assertStrContains(out, "is no operation of a .rep file")
end
