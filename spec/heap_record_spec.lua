-- Programs whose allocations are recorded: exact operations where the calls are known, and
-- every way in which a recording can end.
local lu = require("luaunit")
local core = require("vmem.core")
local vmem = require("vmem")
local scale = require("scale")
local tree = require("tree")

local heap = vmem.heap

local MARK = 987654

local function here(name)
    return os.execute(("command -v %s >/dev/null 2>&1"):format(name)) == true
end

local linux = io.open("/proc/self/maps") ~= nil
local usable = linux and here("cc")

local folder, program

-- Compiled once for all.
local function set_up()
    lu.skipIf(not usable, "a C compiler or Linux is not here")
    if program then
        return
    end
    local pipe = assert(io.popen("mktemp -d"))
    folder = pipe:read("l")
    pipe:close()
    program = folder .. "/mallocs"
    assert(os.execute(("cc -w -O0 -D_GNU_SOURCE -o %s %s/spec/fixtures/mallocs.c -lpthread"):format(program,
        tree.quote(tree.root))))
end

local cleaner = setmetatable({}, {
    __gc = function()
        if folder then
            os.execute("rm -r " .. folder)
        end
    end,
})

local function record(t)
    lu.assertNotNil(cleaner)
    t.stdout = t.stdout or "/dev/null"
    local trace, ending, code = heap.record(t)
    lu.assertNotNil(trace, tostring(ending))
    lu.assertNil(code)
    return trace, ending
end

-- The operations between the marks as text, ids from 0; all behind the first where there is
-- no second.
local function own(t)
    local lines, first, inside = {}, nil, false
    for i, kind in ipairs(t.kind) do
        if t.size[i] == MARK then
            inside = not inside
        elseif kind == "f" and i > 1 and t.size[i - 1] == MARK and t.id[i] == t.id[i - 1] then
            first = first or t.id[i] + 1
        elseif inside then
            local id = t.id[i] - first
            lines[#lines + 1] = kind == "f" and ("f %d"):format(id) or ("%s %d %d"):format(kind, id, t.size[i])
        end
    end
    return lines
end

TestHeapRecord = {}
TestHeapRecord.setUp = set_up

function TestHeapRecord:testEveryFunction()
    local t, ending = record({ program, "every" })
    lu.assertEquals({ ending.status, ending.signal, ending.more }, { 0, nil, false })
    lu.assertEquals(table.concat(own(t), ", "), table.concat({
        "a 0 100", "a 1 21", "a 2 200", "a 3 96", "a 4 11", "a 5 5", "a 6 6", "r 0 1000000", "r 0 20", "a 7 33",
        "r 7 40", "a 8 12", "a 9 4", "a 10 0", "f 10", "f 3", "f 1", "f 2", "f 4", "f 5", "f 6", "f 7", "f 8", "f 9",
    }, ", "))
end

-- The random program once more, in Lua: which of its calls reach malloc, and with what.
local function model(n, seed)
    local state, block, id, lines = seed, {}, 0, {}
    local function random(k)
        state = state * 1664525 + 1013904223 & 0xffffffff
        return (state >> 8) % k
    end
    for _ = 1, n do
        local i = random(64)
        local size = random(random(8) ~= 0 and 300 or 300000) + 1
        local what = random(4)
        if what == 3 then
            if block[i] then
                lines[#lines + 1] = ("f %d"):format(block[i])
            end
            block[i] = nil
        elseif what == 2 and block[i] then
            lines[#lines + 1] = ("r %d %d"):format(block[i], size)
        elseif not block[i] then
            block[i], id = id, id + 1
            lines[#lines + 1] = ("a %d %d"):format(block[i], size)
        end
    end
    return lines
end

function TestHeapRecord:testRandomCalls()
    local n = math.ceil(2000 * scale)
    for seed = 1, 3 do
        local expected = model(n, seed)
        for i, line in ipairs(own(record({ program, "many", tostring(n), tostring(seed) }))) do
            if line ~= expected[i] then
                lu.fail(("seed %d: operation %d is %s, not %s"):format(seed, i, line, tostring(expected[i])))
            end
            expected[0] = i
        end
        lu.assertEquals(expected[0], #expected)
    end
end

-- Each block is freed by whoever finds it: no address is mistaken for its next block's.
function TestHeapRecord:testThreads()
    local turns, count = math.ceil(20000 * scale), 4
    local t = record({ program, "threads", tostring(turns), tostring(count) })
    local allocated, grown, live = {}, {}, {}
    for i, kind in ipairs(t.kind) do
        local id, size = t.id[i], t.size[i]
        if kind == "a" and size >= 1000 and size < 1000 + count then
            local me = size - 1000
            allocated[me] = (allocated[me] or 0) + 1
            live[id] = me
        elseif kind == "r" and live[id] then
            lu.assertEquals((size - 2000 - live[id]) % 500, 0) -- its own thread's
            grown[live[id]] = (grown[live[id]] or 0) + 1
        elseif kind == "f" then
            live[id] = nil
        end
    end
    for me = 0, count - 1 do
        lu.assertEquals({ allocated[me], grown[me] }, { turns, (turns + 2) // 3 })
    end
    lu.assertNil(next(live))
end

function TestHeapRecord:testChildrenAreNotRecorded()
    lu.assertEquals(own(record({ program, "fork" })), { "a 0 1", "a 1 3", "f 0" })
end

function TestHeapRecord:testKilledProgramsLoseNothing()
    local t, ending = record({ program, "killed" })
    lu.assertEquals({ ending.status, ending.signal }, { -1, 9 })
    lu.assertEquals(own(t), { "a 0 77" })
    lu.assertEquals({ t.kind[#t], t.size[#t - 1] }, { "f", MARK }) -- to the last
end

function TestHeapRecord:testAProgramThatClosesAll()
    local out = folder .. "/out"
    local t, ending = record({ program, "close", "5", stdout = out, env = { LD_PRELOAD = "" } })
    lu.assertEquals(ending.status, 5)
    lu.assertEquals(own(t)[1], "a 0 4")
    local f <close> = assert(io.open(out))
    lu.assertEquals(f:read("a"):match("([^/]*)\n$"), "libvmem-malloc.so")
end

-- What is executed in place of the program is the program from there on.
function TestHeapRecord:testExecutedPrograms()
    local t = record({ program, "exec", "fork" })
    lu.assertEquals(own(t), { "a 0 1", "a 1 3", "f 0" })
    for _, size in ipairs(t.size) do
        lu.assertNotEquals(size, 123456)
    end
    lu.assertEquals(own(record({ "env", "A=B", program, "fork" })), { "a 0 1", "a 1 3", "f 0" })
end

function TestHeapRecord:testAProgramThatAnotherStarts()
    local other = folder .. "/other"
    assert(os.execute(("cp %s %s"):format(program, other)))
    lu.assertEquals(own(record({ program, "start", other, "fork", of = "other" })), { "a 0 1", "a 1 3", "f 0" })
    lu.assertEquals(own(record({ program, "start", other, "fork" })), {}) -- itself
    local t, why, code = heap.record({ program, "fork", of = "other" })
    lu.assertEquals({ t, code }, { nil, "ENOEXEC" })
    lu.assertStrContains(why, "started no program other")
end

function TestHeapRecord:testTheFirstOperations()
    local all = record({ program, "many", "500", "9" })
    local t, ending = record({ program, "many", "500", "9", limit = 100 })
    lu.assertEquals({ #t, ending.more }, { 100, true })
    for i = 1, 100 do
        lu.assertEquals({ t.kind[i], t.id[i], t.size[i] }, { all.kind[i], all.id[i], all.size[i] })
    end
    t, ending = record({ program, "many", "500", "9", limit = #all })
    lu.assertEquals({ #t, ending.more }, { #all, false })
    -- More calls than there is room for behind the limit's end.
    t, ending = record({ program, "many", "200000", "9", limit = 10 })
    lu.assertEquals({ #t, ending.more }, { 10, true })
end

function TestHeapRecord:testFiles()
    local t
    for _, name in ipairs({ "t.rep", "t.rep.gz", "t.rep.zst" }) do
        local path = folder .. "/" .. name
        t = record({ program, "many", "500", "7", output = path })
        local back = assert(heap.trace(path))
        lu.assertEquals({ back.kind, back.id, back.size }, { t.kind, t.id, t.size })
        lu.assertEquals({ back.dialect, back.weight, back.ids, back.peak, back.bytes },
            { "weight first", 1, t.ids, t.peak, t.peak })
    end
    lu.assertTrue(heap.run({ trace = t, allocator = "segregated", machine = { preset = "core-i7" } }).valid)
    local none, why, code = heap.record({ "true", output = folder .. "/none/t.rep" })
    lu.assertEquals({ none, code }, { nil, "ENOENT" })
    lu.assertStrContains(why, "none/t.rep: cannot be written")
end

function TestHeapRecord:testWhatCannotBeRecorded()
    local function refused(t, code, message)
        local trace, why, got = heap.record(t)
        lu.assertNil(trace)
        lu.assertEquals(got, code, why)
        lu.assertStrContains(why, message)
    end
    refused({ "no-such-program" }, "ENOENT", "there is no program no-such-program")
    refused({ "/dev/null" }, "ENOEXEC", "neither an ELF program nor a script")
    local static = folder .. "/static"
    local file = assert(io.open(program, "rb"))
    local text = file:read("a")
    file:close()
    local function variant(name, content)
        local f = assert(io.open(name, "wb"))
        f:write(content)
        f:close()
        assert(os.execute("chmod 755 " .. name))
        return name
    end
    -- Without the program header that names a loader, it is a static one.
    local at, count = ("<I8"):unpack(text, 33), ("<I2"):unpack(text, 57)
    local changed = text
    for i = 0, count - 1 do
        if ("<I4"):unpack(text, at + 56 * i + 1) == 3 then
            changed = changed:sub(1, at + 56 * i) .. ("<I4"):pack(0) .. changed:sub(at + 56 * i + 5)
        end
    end
    refused({ variant(static, changed) }, "ENOEXEC", "it is linked statically")
    refused({ variant(static, text:sub(1, 18) .. ("<I2"):pack(8) .. text:sub(21)) }, "ENOEXEC", "for another machine")
    variant(static, text)
    if os.execute(("chown 1234 %s 2>/dev/null && chmod 4755 %s"):format(static, static)) then
        refused({ static, "fork" }, "EPERM", "setuid")
    end
    refused({ program, "fork", stdin = folder .. "/none" }, "ENOENT", "the input of")
    refused({ program, "fork", stdout = folder .. "/none/out" }, "ENOENT", "the output of")
end

function TestHeapRecord:testWrongUse()
    for message, t in pairs({
        ["heap.record: there is no program at index 1"] = {},
        ["heap.record: there is no option out %(there are env, limit, of, output, stdin, stdout%)"] = {
            "ls",
            out = "x",
        },
        ["heap.record: option limit is a string, not a integer"] = { "ls", limit = "x" },
        ["heap.record: limit is a number of operations, 1 or more"] = { "ls", limit = 0 },
        ["heap.record: output ends in .gz or .zst, or is plain"] = { "ls", output = "x.rep.xz" },
        ['heap.record: option env takes strings by name, as in { LANG = "C" }'] = { "ls", env = { 1 } },
    }) do
        local ok, why = pcall(heap.record, t)
        lu.assertFalse(ok)
        lu.assertStrContains(why, (message:gsub("%%", "")))
    end
    local ok, why = pcall(heap.record, { "ls", of = ("x"):rep(200) })
    lu.assertFalse(ok)
    lu.assertStrContains(why, "is too long")
end

TestHeapRecordCommand = {}
TestHeapRecordCommand.setUp = set_up

local function command(line)
    local pipe = assert(io.popen(("%s %s 2>&1"):format(tree.quote(tree.vmem), line)))
    local out = pipe:read("a")
    local _, _, code = pipe:close()
    return out, code
end

function TestHeapRecordCommand:testCommand()
    local path = folder .. "/c.rep.gz"
    local out, code = command(("record %s -- %s killed"):format(path, program))
    lu.assertEquals(code, 0, out)
    lu.assertStrContains(out, path .. ": ")
    lu.assertStrContains(out, "The program was killed by signal 9.")
    local t = assert(heap.trace(path))
    lu.assertStrContains(out, ("%d operations on %d blocks, at most %d bytes at once\n"):format(#t, t.ids, t.peak))
    lu.assertEquals(own(t), { "a 0 77" })
    out = command(("record %s --limit 3 -- %s many 100 1"):format(path, program))
    lu.assertStrContains(out, "3 operations on ")
    lu.assertStrContains(out, "; there were more\n")
    for line, message in pairs({
        ["record x.rep --via qemu -- ls"] = "--via is for accesses",
        ["record x.vmt --limit 3 -- ls"] = "--of and --limit are for allocations",
        ["record x.rep --limit 0 -- ls"] = "--limit takes a number of operations, 1 or more",
    }) do
        out, code = command(line)
        lu.assertEquals(code, 2, out)
        lu.assertStrContains(out, message)
    end
end

-- Where the sizes of files are limited, a larger one would end vmem itself.
function TestHeapRecordCommand:testLimits()
    local function limited(blocks, name)
        local pipe = assert(io.popen(("ulimit -f %d; %s record %s/%s -- %s fork 2>&1"):format(blocks,
            tree.quote(tree.vmem), folder, name, program)))
        local out = pipe:read("a")
        return out, select(3, pipe:close())
    end
    local out, code = limited(20000, "l.rep")
    lu.assertEquals(code, 0, out)
    lu.assertStrContains(out, "operations")
    for _, name in ipairs({ "l.rep", here("qemu-x86_64") and "l.vmt" or nil }) do
        out, code = limited(100, name)
        lu.assertEquals(code, 1, out)
        lu.assertStrContains(out, "no memory can be shared with the program")
    end
end

-- Files that are cut off or damaged, however they are packed.
TestHeapRecordFiles = {}

function TestHeapRecordFiles:testDamage()
    local text = "1\n2\n4\n300\na 0 100\na 1 200\nf 0\nf 1\n"
    tree.scratch(function(place)
        local function opened(name, content)
            local f = assert(io.open(place .. "/" .. name, "wb"))
            f:write(content)
            f:close()
            return heap.trace(place .. "/" .. name)
        end
        for _, ending in ipairs({ "gz", "zst" }) do
            local t = assert(heap.parse(text))
            local path = place .. "/whole.rep." .. ending
            assert(t:save(path))
            local f = assert(io.open(path, "rb"))
            local packed = f:read("a")
            f:close()
            lu.assertEquals(assert(opened("again", packed)):text(), text)
            for n = ending == "gz" and 2 or 4, #packed - 1 do -- shorter ones are no such files
                local none, why, code = opened("cut", packed:sub(1, n))
                lu.assertNil(none)
                lu.assertEquals(code, "EFORMAT")
                lu.assertStrContains(why, "/cut")
            end
            for n = 1, #packed do -- any byte changed: an error, or the same trace, never another
                local t2, why = opened("bad", packed:sub(1, n - 1) .. string.char(packed:byte(n) ~ 0x55) ..
                    packed:sub(n + 1))
                if t2 then
                    lu.assertEquals(t2:text(), text)
                else
                    lu.assertStrContains(why, "/bad")
                end
            end
            local none, why = opened("more", packed .. "x")
            lu.assertNil(none)
            lu.assertStrContains(why, "/more")
        end
        for n = 0, #text - 2 do -- text that is cut off in the midst of a line, too
            local t, why, code = opened("cut", text:sub(1, n))
            if t then
                error(("%d bytes are taken for a trace"):format(n))
            end
            lu.assertStrContains(why, "/cut")
            lu.assertEquals(code, "EFORMAT")
        end
        local none, _, code = heap.trace(place)
        lu.assertEquals({ none, code }, { nil, "EISDIR" })
    end)
end

-- A small file of zeros without end.
function TestHeapRecordFiles:testBombs()
    lu.skipIf(not here("zstd"), "zstd is not installed")
    tree.scratch(function(place)
        local path = place .. "/bomb.rep.zst"
        assert(os.execute(("head -c 70M /dev/zero | zstd -q -o %s"):format(path)))
        local text, why, code = core.read_text(path, 64 << 20)
        lu.assertEquals({ text, code }, { nil, "EFBIG" })
        lu.assertStrContains(why, "bomb.rep.zst: more than 64 MiB of text")
        lu.assertEquals(#core.read_text(path, 70 << 20), 70 << 20)
    end)
end

-- A head that would be taken for the other form.
function TestHeapRecordFiles:testSmallPeaks()
    for _, size in ipairs({ 0, 1, 2 }) do
        local t = assert(heap.parse(("1\n1\n1\n2\na 0 %d\n"):format(size)))
        t.bytes = nil
        local back = assert(heap.parse(t:text()))
        lu.assertEquals({ back.weight, back.size }, { 1, t.size })
    end
end

-- The bundled ones are what their note says.
function TestHeapRecordFiles:testBundled()
    local f <close> = assert(io.open(tree.root .. "/examples/traces/README.md"))
    local note, seen = f:read("a"), 0
    for name, ops, blocks, bytes in note:gmatch("`([%w]+%.rep%.zst)` |[^|]*| ([%d,]+) | ([%d,]+) | ([%d,]+) |") do
        local t = assert(heap.trace(tree.root .. "/examples/traces/" .. name))
        local function number(s) return math.tointeger(tonumber((s:gsub(",", "")))) end
        lu.assertEquals({ #t, t.ids, t.peak }, { number(ops), number(blocks), number(bytes) }, name)
        seen = seen + 1
    end
    lu.assertEquals(seen, 3)
end
