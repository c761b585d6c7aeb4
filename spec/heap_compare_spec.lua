-- Traces one operation at a time, losses over them, where two allocators part, all by all,
-- and the command that shows it.
local lu = require("luaunit")
local vmem = require("vmem")
local json = require("dkjson")
local tree = require("tree")
local programs = require("heap_programs")

local heap = vmem.heap
local scale = require("scale")
local MACHINE = { preset = "x86-32", dram = "4MiB" }

local function program(seed, n)
    return programs.trace(seed, n, { nothing = 3, size = 600, grown = 900 })
end

TestHeapStepper = {}

function TestHeapStepper:testItDoesWhatARunDoes()
    local t = program(1, 120)
    local r = assert(heap.run({ trace = t, allocator = "explicit", machine = MACHINE, at = 80 }))
    local s <close> = assert(heap.stepper({ trace = t, allocator = "explicit", machine = MACHINE }))
    lu.assertEquals(s.op, 0)
    assert(s:to(80))
    lu.assertEquals(s.heap:loss().holes, r.loss.holes)
    lu.assertEquals({ r.loss.op, r.loss.bytes }, { 80, s.heap:loss().bytes })
    lu.assertStrContains(tostring(r.loss), "explicit after operation 80: ")
    local payload, asked = 0, {}
    for id, a in pairs(s.block) do
        local size
        for i = 1, 80 do size = t.id[i] == id and t.size[i] or size end
        payload, asked[a] = payload + size, size
    end
    lu.assertEquals(payload, s.heap:loss().payload)
    for _, b in ipairs(s.heap:blocks()) do lu.assertEquals(b.payload, asked[b.address]) end
    assert(s:to(#t))
    lu.assertEquals(s.heap:stats().payload_peak, t.peak)
    lu.assertEquals(s.heap:stats().cycles, r.stats.cycles)
    lu.assertNil(s:step())
    lu.assertStrContains(tostring(s), "120 of 120 operations done")
    lu.assertErrorMsgContains("operation 5 is not one of 120 to 120", s.to, s, 5)
end

function TestHeapStepper:testWhereItEnds()
    local s <close> = assert(heap.stepper({ trace = heap.trace({ { "a", 0, 100 }, { "a", 1, 9000 } }),
        allocator = { "tree", limit = "8KiB" }, machine = MACHINE }))
    local ok, why, code = s:to(2)
    lu.assertNil(ok)
    lu.assertStrContains(why, "operation 2: ENOMEM")
    lu.assertEquals({ code, s.op }, { "ENOMEM", 1 })
    local none, _, no_file = heap.stepper({ trace = "/no/such.rep" })
    lu.assertNil(none)
    lu.assertEquals(no_file, "ENOENT")
    none, _, code = heap.stepper({ trace = program(1, 3), allocator = "tree", options = { limit = 4096 } })
    lu.assertNil(none)
    lu.assertEquals(code, "ENOMEM")
    for text, o in pairs({
        ["there is no allocator treee, did you mean tree?"] = { trace = program(1, 3), allocator = "treee" },
        ["heap.stepper: trace is missing"] = {},
        ["there is no option tarce, did you mean trace?"] = { tarce = 1 },
    }) do
        lu.assertErrorMsgContains(text, heap.stepper, o)
    end
    lu.assertErrorMsgContains("at is 4, but takes 0 to 3", heap.run, { trace = program(1, 3), at = 4 })
end

TestHeapSeries = {}

function TestHeapSeries:testLossesOverATrace()
    local t = program(2, 150)
    local s = assert(heap.loss({ trace = t, allocator = { "implicit", fit = "best" }, machine = MACHINE, points = 7 }))
    local run <close> = assert(heap.stepper({ trace = t, allocator = { "implicit", fit = "best" }, machine = MACHINE }))
    local last = -1
    lu.assertTrue(#s == 8 or #s == 9)
    for _, l in ipairs(s) do
        lu.assertTrue(l.op > last)
        last = l.op
        assert(run:to(l.op))
        local now = run.heap:loss()
        now.op, now.allocator = l.op, l.allocator
        lu.assertEquals(l, now)
    end
    lu.assertEquals({ s[1].op, last, s.peak.op, s.peak.payload }, { 0, 150, t.peak_op, t.peak })
    local text = tostring(s)
    lu.assertStrContains(text, "implicit:fit=best on list: bytes of the heap")
    lu.assertStrMatches(text, ".*\n +" .. t.peak_op .. "%* .*")
    local svg = s:svg()
    lu.assertStrContains(svg, "most payload")
    local _, areas = svg:gsub("<polygon", "")
    lu.assertTrue(areas >= 6 and areas <= 10)
    -- More points than operations; a trace without any.
    lu.assertEquals(#assert(heap.loss({ trace = program(2, 5), machine = MACHINE })), 6)
    local none = assert(heap.loss({ trace = heap.trace({}), machine = MACHINE }))
    lu.assertEquals({ #none, none.peak.op }, { 1, 0 })
    lu.assertStrContains(none:svg(), "</svg>")
    local no, _, code = heap.loss({ trace = t, allocator = { "tree", limit = "8KiB" }, machine = MACHINE })
    lu.assertNil(no)
    lu.assertEquals(code, "ENOMEM")
end

-- --- where two part -------------------------------------------------------------------------

TestHeapDivergence = {}

local HOLES = { { "a", 0, 200 }, { "a", 1, 16 }, { "a", 2, 100 }, { "a", 3, 16 }, { "f", 0 }, { "f", 2 },
    { "a", 4, 90 } }

function TestHeapDivergence:testFirstAndBestFit()
    local d = assert(heap.diverge({ trace = heap.trace(HOLES), a = "implicit", b = { "implicit", fit = "best" } }))
    lu.assertEquals({ d.op, d.kind, d.id, d.bytes }, { 7, "a", 4, 90 })
    lu.assertEquals({ d.a.address, d.b.address }, { 0, 224 + 32 })
    lu.assertEquals({ d.a.taken.size, d.a.taken.place, d.b.taken.size, d.b.taken.place }, { 224, 1, 128, 2 })
    lu.assertEquals({ #d.a.free, #d.b.free, d.a.grown, d.b.grown }, { 3, 3, 0, 0 })
    lu.assertEquals({ d.a.after.holes, d.b.after.holes }, { 112 + 128, 224 })
    lu.assertEquals({ d.a.size, d.b.size, d.a.after.slack, d.b.after.slack }, { 112, 128, 0, 16 })
    lu.assertEquals(d.why, "both had the same free blocks and chose differently")
    local s = tostring(d)
    lu.assertStrContains(s, "part at operation 7 of 7: malloc of 90 bytes, id 4")
    lu.assertStrContains(s, "    *+0(224) +0x100(128) +0x1a0(")
    lu.assertStrContains(s, "    +0(224) *+0x100(128) +0x1a0(")
end

function TestHeapDivergence:testOtherReasons()
    local t = heap.trace(HOLES)
    local function why(a, b, trace)
        local d = assert(heap.diverge({ trace = trace or t, a = a, b = b, machine = MACHINE }))
        return d.op, d.why and (tostring(d) and d.why), d
    end
    local op, text = why("implicit", "buddy", assert(heap.trace({ { "a", 0, 60 }, { "a", 1, 60 } })))
    lu.assertEquals(op, 2)
    lu.assertStrContains(text, "a block of 80 bytes, the other of 128 bytes: the layouts differ")
    local d
    op, text, d = why({ "implicit", chunk = 64 }, "implicit")
    lu.assertEquals({ op, d.a.address == d.b.address, d.b.grown }, { 1, true, 0 })
    lu.assertTrue(d.a.grown > 0)
    lu.assertStrContains(text,
        "earlier operations left other free blocks: only implicit:chunk=64 had +0 (64 bytes) free")
    op, text = why("tree", { "tree", limit = 4160 }, assert(heap.trace({ { "a", 0, 100 }, { "a", 1, 5000 } })))
    lu.assertEquals(op, 2)
    lu.assertStrContains(text, "the heap of tree:limit=4160 can't grow")
    op, text, d = why("tree", { "implicit", fit = "best" })
    lu.assertNil(op)
    lu.assertNil(text)
    lu.assertStrContains(tostring(d), "tree and implicit:fit=best do the same in all 7 operations of list")
    -- Neither has memory for the second: they end alike.
    lu.assertNil((why({ "tree", limit = 8192 }, { "implicit", limit = 8192, fit = "best" },
        assert(heap.trace({ { "a", 0, 100 }, { "a", 1, 50000 }, { "a", 2, 10 } })))))
    lu.assertErrorMsgContains("there is no allocator x", heap.diverge, { trace = t, a = "x" })
end

-- By brute force: two heaps over host memory, whose first blocks are where they are.
function TestHeapDivergence:testAgainstBruteForce()
    local pairs_of = {
        { { "explicit", order = "lifo" }, { "explicit", order = "address" } }, { { "tlsf" }, { "segregated" } },
        { { "tree" }, { "implicit", fit = "first" } }, { { "explicit", order = "address" }, { "implicit" } },
        { { "simple" }, { "bump" } }, { { "buddy", system = "fibonacci" }, { "buddy" } },
    }
    local found = 0
    for k, pair in ipairs(pairs_of) do
        for seed = 1, math.max(1, math.floor(3 * scale)) do
            local t, both = program(10 * k + seed, 150), {}
            for side, spec in ipairs(pair) do
                local o = {}
                for name, v in pairs(spec) do if name ~= 1 then o[name] = v end end
                local h <close> = heap.native(spec[1], o)
                local first, at, results = h:blocks()[1], {}, {}
                local from = first and first.address
                for i, kind in ipairs(t.kind) do
                    local id, grows = t.id[i], h:stats().grows
                    if kind == "f" then h:free(at[id]) end
                    at[id] = kind == "a" and h:malloc(t.size[i]) or kind == "r" and h:realloc(at[id], t.size[i]) or nil
                    from = from or at[id]
                    results[i] = ("%s %s"):format(at[id] and at[id] - from, h:stats().grows > grows)
                end
                both[side] = results
            end
            local op
            for i = #t, 1, -1 do op = both[1][i] ~= both[2][i] and i or op end
            local d = assert(heap.diverge({ trace = t, a = pair[1], b = pair[2], machine = MACHINE }))
            lu.assertEquals(d.op, op, ("pair %d, seed %d"):format(k, seed))
            found = found + (op and 1 or 0)
            lu.assertTrue(#tostring(d) > 0)
        end
    end
    lu.assertTrue(found > 3 * #pairs_of * math.min(scale, 1) / 2)
end

-- --- all by all ----------------------------------------------------------------------------------

TestHeapComparison = {}

function TestHeapComparison:testTables()
    local a, b = program(21, 80), program(22, 80)
    a.name, b.name = "one.rep", "far/two.rep"
    local steps = {}
    local c = assert(heap.compare({ traces = { a, b }, allocators = { "tree", { "implicit", fit = "next" } },
        machine = MACHINE,
        progress = function(i, n, trace, name) steps[i] = ("%d/%d %s %s"):format(i, n, trace, name) end }))
    lu.assertEquals(steps, { "1/4 one.rep tree", "2/4 far/two.rep tree", "3/4 one.rep implicit:fit=next",
        "4/4 far/two.rep implicit:fit=next" })
    local r = assert(heap.run({ trace = b, allocator = "implicit", options = { fit = "next" }, machine = MACHINE }))
    lu.assertEquals(c.results["implicit:fit=next"]["far/two.rep"].stats, r.stats)
    local one = c.results.tree["one.rep"].utilization
    local two = c.results.tree["far/two.rep"].utilization
    local cells = c:cells()
    lu.assertEquals(cells[1], { "allocator", "one", "two", "mean" })
    lu.assertEquals(cells[2], { "tree", ("%.1f"):format(100 * one), ("%.1f"):format(100 * two),
        ("%.1f"):format((100 * one + 100 * two) / 2) })
    lu.assertStrContains(c:markdown(), "| allocator | one | two | mean |\n|---|--:|--:|--:|\n| `tree` | ")
    for figure in pairs({ cycles = 1, faults = 1, searches = 1, pages = 1, rate = 1, index = 1 }) do
        lu.assertEquals(#c:cells(figure), 3)
    end
    lu.assertEquals(c:cells("faults")[3][3], tostring(r.stats.faults))
    lu.assertErrorMsgContains("there is no figure x (there are cycles, faults,", c.table, c, "x")
    lu.assertStrContains(tostring(c), "cycles a call\n  allocator")
end

function TestHeapComparison:testWhatIsWrong()
    local c = assert(heap.compare({ traces = { program(21, 80) }, allocators = { { "tree", limit = "4KiB" }, "bump" },
        machine = MACHINE }))
    lu.assertEquals(c:cells()[2], { "tree:limit=4KiB", "-" })
    lu.assertEquals(#c:wrong(), 1)
    lu.assertStrContains(tostring(c), "tree:limit=4KiB on list: wrong at operation 0: ENOMEM")
    local none, _, code = heap.compare({ traces = { "/no/such.rep" } })
    lu.assertNil(none)
    lu.assertEquals(code, "ENOENT")
    lu.assertErrorMsgContains("traces are missing", heap.compare, {})
end

function TestHeapComparison:testOverHostMemory()
    local t = program(23, 150)
    local native = assert(heap.compare({ traces = { t }, machine = false }))
    local whole = assert(heap.compare({ traces = { t }, machine = MACHINE }))
    lu.assertEquals(native:cells(), whole:cells())
    lu.assertEquals(native:cells("searches"), whole:cells("searches"))
    lu.assertEquals(native:cells("cycles")[2][2], "-")
    lu.assertStrContains(tostring(native), "blocks searched a malloc")
    local c = heap.compare({ traces = { t }, allocators = { { "tree", limit = "4KiB" }, { "tree", limit = "8KiB" } },
        machine = false })
    lu.assertEquals({ c:cells()[2][2], c:cells()[3][2] }, { "-", "-" })
    lu.assertStrContains(c:wrong()[1], "tree:limit=4KiB on list: wrong: ENOMEM")
end

-- Each row that `make docs` has written is what comes out today; that of `implicit`, which
-- takes long, is that of an address-ordered list (heap_spec says why).
function TestHeapComparison:testTheTableOfTheDocument()
    if scale < 1 then lu.skip("takes long where everything is slow") end
    local was, should = dofile(tree.root .. "/tools/heap_table.lua")(tree.root, { implicit = true })
    local rows = {}
    for row in was:match("<!%-%- peak.-<!%-%-"):gmatch("[^\n]*|[^\n]*") do
        rows[#rows + 1] = row
        local found = row:find("| `implicit` |", 1, true) or should:find(row .. "\n", 1, true)
        lu.assertTrue(found ~= nil, "run make docs: " .. row)
    end
    lu.assertTrue(#rows > 10)
    lu.assertEquals(was:match("\n| `implicit`( |[^\n]*)"), was:match("\n| `explicit:order=address`( |[^\n]*)"))
end

-- --- the command -----------------------------------------------------------------------------------

TestHeapCompareCommand = {}

local HOLES_TEXT = heap.trace(HOLES):text()

-- What is printed, on stderr, and the exit code. a.rep and b.rep hold `HOLES`.
local function command(arguments)
    return tree.scratch(function(folder)
        for name, text in pairs({ ["a.rep"] = HOLES_TEXT, ["b.rep"] = HOLES_TEXT, ["table.lua"] = "return {}" }) do
            local file = assert(io.open(folder .. "/" .. name, "wb"))
            file:write(text)
            file:close()
        end
        local pipe = assert(io.popen(("cd %s && %s heap %s 2>err"):format(folder, tree.quote(tree.vmem), arguments)))
        local out = pipe:read("a")
        local _, _, code = pipe:close()
        local file = assert(io.open(folder .. "/err"))
        local err = file:read("a")
        file:close()
        return out, err, code
    end)
end

function TestHeapCompareCommand:testAgainst()
    local pair = "--allocator implicit --against implicit:fit=best --preset x86-32"
    local out, err, code = command("a.rep b.rep --why " .. pair)
    lu.assertEquals({ code, err }, { 0, "" }, out)
    lu.assertStrMatches(out, ".*\n  a%.rep +%d+%.%d %% +%d+%.%d %%  1%.000 .*")
    lu.assertStrContains(out, "geometric means")
    lu.assertStrContains(out, "implicit and implicit:fit=best on b.rep\npart at operation 7 of 7")
    out, err, code = command("a.rep --json --why " .. pair)
    lu.assertEquals({ code, err }, { 0, "" })
    local row = json.decode(out)[1]
    lu.assertEquals({ row.operation, row.faults_ratio, row.utilization_ratio }, { 7, 1, 1 })
    lu.assertAlmostEquals(row.cycles_ratio, row.allocator.cycles / row.against.cycles, 1e-9)
    lu.assertEquals(row.against.allocator, "implicit:fit=best")
    out, err, code = command("a.rep --allocator tree --against tree:limit=4096")
    lu.assertEquals({ code, err }, { 1, "" })
    lu.assertStrContains(out, "tree:limit=4096: wrong at operation 0: ENOMEM")
end

function TestHeapCompareCommand:testAllByAll()
    local out, err, code = command("a.rep b.rep --preset x86-32 --progress")
    lu.assertEquals(code, 0)
    lu.assertStrContains(out, "peak utilization in percent\n  allocator")
    for _, row in ipairs(heap.allocators()) do lu.assertStrContains(out, "\n  " .. row.name) end
    lu.assertStrContains(err, "1 of " .. 2 * #heap.allocators() .. ": implicit on a.rep")
    lu.assertEquals(err:sub(-4), "\r\27[K")
    out, err, code = command("a.rep --native --quiet")
    lu.assertEquals({ code, err }, { 0, "" })
    lu.assertStrContains(out, "blocks searched a malloc\n  allocator")
    out, err, code = command("a.rep b.rep --preset x86-32 --json")
    lu.assertEquals({ code, err, #json.decode(out) }, { 0, "", 2 * #heap.allocators() })
end

function TestHeapCompareCommand:testAt()
    local out, _, code = command("a.rep --allocator implicit --at 6")
    lu.assertEquals(code, 0)
    lu.assertStrContains(out, "implicit after operation 6: 4,128 bytes of heap")
    lu.assertStrContains(out, "  holes                  352     8.5 %")
    out = command("a.rep --allocator implicit --at peak --json")
    lu.assertEquals(json.decode(out)[1].loss.op, 4)
end

-- One's own in Lua, which is its twin in C.
function TestHeapCompareCommand:testAnAllocatorInLua()
    local mine = tree.quote(tree.root .. "/examples/allocators/explicit.lua")
    local out, err, code = command(("a.rep --preset x86-32 --why --against explicit --allocator %s"):format(mine))
    lu.assertEquals({ code, err }, { 0, "" })
    lu.assertStrContains(out, "lua-explicit and explicit do the same in all 7 operations of a.rep")
    out, err, code = command(("a.rep --allocator %s:which=best --at 6"):format(mine))
    lu.assertEquals({ code, err }, { 0, "" })
    lu.assertStrContains(out, "  holes                  352     8.5 %")
    out, err, code = command("a.rep --allocator none.lua")
    lu.assertEquals({ code, out }, { 1, "" })
    lu.assertStrContains(err, "none.lua")
    out, err, code = command("a.rep --allocator table.lua")
    lu.assertEquals({ code, out }, { 2, "" })
    lu.assertStrContains(err, "table.lua returns no allocator")
end

-- Nothing is printed before what is wrong is found.
function TestHeapCompareCommand:testWrongUse()
    for arguments, message in pairs({
        ["a.rep --allocator tree --allocator implict"] = "there is no allocator implict, did you mean implicit?",
        ["a.rep --allocator tree --against tree:fit"] = "--against tree:fit: fit is not of the form option=value",
        ["a.rep --allocator tree:fit=best"] = "heap tree: there is no option fit",
        ["a.rep --against tree"] = "--against takes one --allocator to compare with",
        ["a.rep --why"] = "--why needs --against",
        ["a.rep --at x"] = "--at is x, but takes the number of an operation, or peak",
        ["a.rep --at 8"] = "--at is 8, but a.rep has operations 1 to 7",
        ["a.rep --native --at 1"] = "--native and --at do not go together",
        ["a.rep --at 1 --allocator tree --against bump"] = "--at and --against do not go together",
    }) do
        local out, err, code = command(arguments)
        lu.assertEquals({ code, out }, { 2, "" }, err)
        lu.assertStrContains(err, message)
    end
    local out, err, code = command("a.rep c.rep")
    lu.assertEquals({ code, out }, { 1, "" })
    lu.assertStrContains(err, "c.rep")
end
