-- Traces: every reader against a plain one in Lua, .vmt round trips, damage.
local lu = require("luaunit")
local lpeg = require("lpeg")
local trace = require("vmem.trace")
local fuzz = require("fuzz.trace_fuzz")

local path, path2

local function setup()
    path, path2 = os.tmpname(), os.tmpname()
end

local function teardown()
    for _, p in ipairs({ path, path2 }) do
        os.remove(p)
        os.remove(p .. ".part")
    end
end

local function exists(name)
    local f = io.open(name, "rb")
    if f then f:close() end
    return f ~= nil
end

local function run(command)
    return (os.execute(command))
end

local function open_bytes(bytes, options)
    fuzz.write_file(path, bytes)
    return trace.open(path, options)
end

-- The text of the error that a whole pass raises.
local function pass_error(t)
    local ok, message = pcall(fuzz.read, t)
    lu.assertFalse(ok)
    return message
end

TestTraceMemory = { setUp = setup, tearDown = teardown }

function TestTraceMemory:testPagesAreLoadsOfOneByte()
    local t = trace.pages({ 1, 2, 1 })
    lu.assertEquals(#t, 3)
    lu.assertEquals(fuzz.read(t), "load 1000 1 0\nload 2000 1 0\nload 1000 1 0")
    lu.assertEquals(fuzz.read(trace.pages({ 3, page = 64 })), "load c0 1 0")
    lu.assertEquals(#trace.pages({}), 0)
    lu.assertStrContains(tostring(t), "3 accesses")
end

function TestTraceMemory:testLiteralRecords()
    local list = {
        { "fetch", 0x400000, 4 }, { "load", -1, 0xffffffff, 65535 }, { "store", 8, 1, 2 },
        { "event", { type = "mmap", addr = 4096, length = 8192, prot = 3, flags = 34, offset = 0, name = "libc",
            task = 1 } },
        { "modify", 16, 8 },
    }
    local t = trace.new(list)
    lu.assertEquals(#t, 4)
    lu.assertEquals(fuzz.read(t), fuzz.lines(list))
    lu.assertEquals(fuzz.read(t), fuzz.lines(list)) -- a second pass is the same
end

function TestTraceMemory:testWrongLiteralsNameTheRecord()
    for _, case in ipairs({
        { { { "fetch", 0, 4 }, { "jump", 0, 4 } }, "record 2" },
        { { { "load", 0, 0 } }, "size" },
        { { { "load", 0, 1 << 32 } }, "size" },
        { { { "load", "x", 1 } }, "address" },
        { { { "load", 1, 1, 65536 } }, "task" },
        { { 7 }, "record 1" },
        { { { "event", { type = "nap" } } }, "nap" },
    }) do
        lu.assertErrorMsgContains(case[2], trace.new, case[1])
    end
    lu.assertErrorMsgContains("index 2", trace.pages, { 1, "two" })
    lu.assertErrorMsgContains("index 1", trace.pages, { -1 })
end

function TestTraceMemory:testInfo()
    local i = trace.new({ { "fetch", 0x1ffe, 4, 3 }, { "load", 0x5000, 8 }, { "load", 0x10, 1 },
        { "event", { type = "exit" } } }):info()
    lu.assertEquals({ i.format, i.accesses, i.fetch, i.load, i.store, i.modify, i.events, i.tasks },
        { "memory", 3, 1, 2, 0, 0, 1, 4 })
    lu.assertEquals({ i.pages, i.first, i.last, i.min, i.max }, { 4, 0x1ffe, 0x10, 0x10, 0x5007 })
    lu.assertNil(i.bytes)
end

function TestTraceMemory:testPagesTouchedAgreeWithASet()
    local rng, seen, n, list = fuzz.random(5), {}, 0, {}
    for i = 1, 20000 do
        local page = rng.below(4) == 0 and rng.bits() >> 12 or rng.below(3000)
        list[i] = page
        if not seen[page] then seen[page], n = true, n + 1 end
    end
    lu.assertEquals(trace.pages(list):info().pages, n)
end

function TestTraceMemory:testSlices()
    local list = fuzz.records(fuzz.random(1), 10000)
    local t = trace.new(list)
    for _, r in ipairs({ { 1, 1 }, { 1, 10000 }, { 4096, 4098 }, { 9999, 20000 }, { 5, 4 }, { 20000, 20001 } }) do
        lu.assertEquals(fuzz.read(t:slice(r[1], r[2])), fuzz.lines({ table.unpack(list, r[1], math.min(r[2], #list)) }))
    end
    lu.assertEquals(fuzz.read(t:slice(9990)), fuzz.lines({ table.unpack(list, 9990) }))
    lu.assertEquals(fuzz.read(t:head(3)), fuzz.lines({ table.unpack(list, 1, 3) }))
    lu.assertEquals(fuzz.read(t:slice(10, 20):slice(2, 3)), fuzz.lines({ list[11], list[12] }))
    local part = t:slice(2, 4)
    t:close()
    collectgarbage()
    lu.assertEquals(fuzz.read(part), fuzz.lines({ list[2], list[3], list[4] }))
    lu.assertErrorMsgContains("number 1", trace.pages({ 1 }).slice, trace.pages({ 1 }), 0)
end

function TestTraceMemory:testCopies()
    local name = debug.getinfo(1, "S").source:match("^@(.*)spec/trace_spec%.lua$") .. "examples/traces/sort.vmt"
    local t = assert(trace.open(name))
    local copy = t:copy()
    lu.assertEquals(copy:count(), t:count())
    lu.assertTrue(fuzz.read(copy) == fuzz.read(t))
    t:close() -- the copy stands alone, names of files too
    local names = 0
    for kind, event in copy:each() do
        if kind == "event" and event.name then names = names + 1 end
    end
    lu.assertTrue(names > 0)
    lu.assertEquals(#trace.new({}):copy(), 0)
end

function TestTraceMemory:testClosing()
    local t = trace.pages({ 1, 2, 3 })
    local step, _, _, guard = t:each()
    lu.assertEquals(step(), "load")
    t:close()
    t:close()
    lu.assertEquals(step(), "load") -- a pass that began may end
    lu.assertErrorMsgContains("closed", t.each, t)
    lu.assertErrorMsgContains("closed", t.info, t)
    lu.assertStrContains(tostring(t), "closed")
    getmetatable(guard).__close(guard)
    lu.assertNil(step())
    do
        local closing <close> = trace.pages({ 1 })
        lu.assertEquals(#closing, 1)
    end
    lu.assertErrorMsgContains("vmem.trace", t.each, {})
end

TestTraceVmt = { setUp = setup, tearDown = teardown }

local function round_trip(list)
    assert(trace.new(list):save(path))
    local t = assert(trace.open(path))
    lu.assertEquals(fuzz.read(t), fuzz.lines(list))
    lu.assertFalse(exists(path .. ".part"))
    return t
end

function TestTraceVmt:testRoundTripOfRandomRecords()
    for seed = 1, 40 do
        local rng = fuzz.random(seed)
        round_trip(fuzz.records(rng, rng.below(3000)))
    end
end

function TestTraceVmt:testRoundTripOverManyBlocks()
    -- more than a block's records, and more symbols than one block can name
    local rng = fuzz.random(99)
    round_trip(fuzz.records(rng, 300000, true))
    local list = {}
    for i = 1, 5000 do list[i] = { "store", i * 8, i, i } end
    round_trip(list)
end

function TestTraceVmt:testExtremes()
    local list = {}
    for _, addr in ipairs({ 0, 1, -1, math.mininteger, math.maxinteger, 127, 128, -128, -129, 1 << 40 }) do
        for _, size in ipairs({ 1, 255, 256, 0x7fffffff, 0xffffffff }) do
            for _, kind in ipairs({ "fetch", "load", "store", "modify" }) do
                list[#list + 1] = { kind, addr, size, size & 0xffff }
            end
        end
    end
    round_trip(list)
    round_trip({ { "event", { type = "exec", name = ("n"):rep(65534), task = 65535 }, 0, 65535 } })
    round_trip({ { "event", { type = "exec", name = "", task = 0 }, 0, 0 } })
    lu.assertErrorMsgContains("65535 bytes", function()
        trace.new({ { "event", { type = "exec", name = ("n"):rep(65535) } } }):save(path)
    end)
end

function TestTraceVmt:testManyEvents()
    local list = {}
    for i = 1, 60000 do
        list[i] = { "event", { type = "mmap", addr = i, length = i, prot = 1, flags = 2, offset = 3, task = 0,
            name = "/usr/lib/x86_64-linux-gnu/libsomething.so." .. i }, 0, i % 7 }
    end
    round_trip(list)
end

function TestTraceVmt:testTotalsAreInTheFile()
    local list = fuzz.records(fuzz.random(3), 5000)
    local original, t = trace.new(list):info(), round_trip(list)
    local i = t:info()
    lu.assertEquals(i.format, "vmt")
    lu.assertEquals(i.bytes, #fuzz.read_file(path))
    lu.assertAlmostEquals(i.bytes_per_access, i.bytes / i.accesses, 1e-12)
    for _, name in ipairs({ "accesses", "fetch", "load", "store", "modify", "events", "tasks", "pages", "first",
        "last", "min", "max" }) do
        lu.assertEquals(i[name], original[name], name)
    end
    lu.assertEquals(#t, original.accesses)
    lu.assertStrContains(tostring(trace.open(path)), i.accesses .. " accesses")
end

function TestTraceVmt:testEmptyTrace()
    local t = round_trip({})
    lu.assertEquals(#t, 0)
    lu.assertNil(t:info().first)
end

function TestTraceVmt:testSlicesOverBlocks()
    local list = fuzz.records(fuzz.random(7), 20000)
    local t = round_trip(list)
    lu.assertEquals(fuzz.read(t:slice(9000, 9100)), fuzz.lines({ table.unpack(list, 9000, 9100) }))
end

function TestTraceVmt:testSavingOverItsOwnSource()
    local list = fuzz.records(fuzz.random(8), 5000)
    local t = round_trip(list)
    lu.assertTrue(t:save(path))
    lu.assertEquals(fuzz.read(assert(trace.open(path))), fuzz.lines(list))
end

function TestTraceVmt:testFailedSavesLeaveNothing()
    local t = trace.pages({ 1, 2, 3 })
    local ok, message, code = t:save("/nonexistent/folder/x.vmt")
    lu.assertNil(ok)
    lu.assertEquals(code, "ENOENT")
    lu.assertStrContains(message, "/nonexistent/folder/x.vmt")
    fuzz.write_file(path2, "I  00001000,4\nI  00001004,zzz\n")
    ok, message, code = assert(trace.open(path2)):save(path)
    lu.assertNil(ok)
    lu.assertEquals(code, "EFORMAT")
    lu.assertStrContains(message, "line 2")
    lu.assertFalse(exists(path .. ".part"))
end

function TestTraceVmt:testEveryCutIsAnError()
    round_trip(fuzz.records(fuzz.random(11), 60))
    local bytes = fuzz.read_file(path)
    for n = 0, #bytes - 1 do
        local t, _, code = open_bytes(bytes:sub(1, n))
        if t then lu.assertStrContains(pass_error(t), path) else lu.assertEquals(code, "EFORMAT") end
    end
    lu.assertStrContains(pass_error(open_bytes(bytes .. "\0")), "bytes follow the tail")
end

function TestTraceVmt:testEveryFlippedBitIsSeen()
    round_trip(fuzz.records(fuzz.random(12), 40))
    local bytes = fuzz.read_file(path)
    for at = 1, #bytes do
        for bit = 0, 7 do
            local flipped = string.char(bytes:byte(at) ~ 1 << bit)
            local t, _, code = open_bytes(bytes:sub(1, at - 1) .. flipped .. bytes:sub(at + 1))
            if t then lu.assertStrContains(pass_error(t), path) else lu.assertEquals(code, "EFORMAT") end
        end
    end
end

TestTraceReaders = { setUp = setup, tearDown = teardown }

for _, format in ipairs({ "lackey", "din", "pages", "arc", "lirs", "csv", "oracle", "champsim" }) do
    TestTraceReaders["testRandomFilesOf_" .. format] = function()
        for seed = 1, 25 do
            local rng = fuzz.random(seed)
            local bytes, list = fuzz.writers[format](rng, 1 + rng.below(seed == 1 and 40000 or 3000))
            local t = assert(open_bytes(bytes))
            lu.assertEquals(t:info().format, format)
            lu.assertEquals(fuzz.read(t), fuzz.lines(list))
        end
    end
end

for _, tool in ipairs({ "gzip", "zstd", "xz" }) do
    TestTraceReaders["testCompressedBy_" .. tool] = function()
        lu.skipIf(not run("command -v " .. tool .. " >/dev/null 2>&1"), tool .. " is not installed")
        local bytes, list = fuzz.writers[tool](fuzz.random(4), 40000, path)
        local t, message = open_bytes(bytes)
        if tool == "xz" and not t and message:find("no liblzma", 1, true) then lu.skip(message) end
        lu.assertEquals(fuzz.read(assert(t, message)), fuzz.lines(list))
        lu.assertEquals(t:info().bytes, #bytes)
        -- two members after each other are one text
        t = assert(open_bytes(bytes .. bytes))
        lu.assertEquals(#t, 2 * #list)
        -- a .vmt file inside
        assert(t:save(path2))
        assert(run(("%s -c < %s > %s"):format(tool, path2, path)))
        lu.assertEquals(#trace.open(path), 2 * #list)
        lu.assertStrContains(pass_error(open_bytes(bytes .. "garbage here")), tool .. " data")
        lu.assertStrContains(pass_error(open_bytes(bytes:sub(1, -2))), "cut off at offset " .. #bytes - 1)
    end
end

function TestTraceReaders:testForms()
    for _, case in ipairs({
        { "lackey", "I  04016b80,3\n L 1ffefff870,8\n S A,1\n M 10,16\n",
            "fetch 4016b80 3 0\nload 1ffefff870 8 0\nstore a 1 0\nmodify 10 16 0" },
        { "lackey", "--1-- x\n\n==1== y\nI  ffffffffffffffff,4294967295\n", "fetch ffffffffffffffff 4294967295 0" },
        { "lackey", " L 000000000000000000001,123\n", "load 1 123 0" },
        { "lackey", "==1== nothing but this\n", "" },
        { "din", "2 0x400 4\n0 1f\n1 20 8\r\n\n0 30 10", "fetch 400 4 0\nload 1f 4 0\nstore 20 8 0\nload 30 16 0" },
        { "pages", "1 2\t3\n0x10  11", "load 1000 1 0\nload 2000 1 0\nload 3000 1 0\nload 10000 1 0\nload b000 1 0" },
        { "arc", "5 1 0 1\n7 2 0 2\n9 0 0 3\n", "load 5000 4096 0\nload 7000 8192 0" },
        { "lirs", "1\n*\n2\n\n3 ", "load 1000 1 0\nload 2000 1 0\nload 3000 1 0" },
        { "csv", "1,5,100\n2,6,100\n", "load 5000 1 0\nload 6000 1 0" },
        { "csv", "op,id\nget,1\n\n\"SET\", 2\nput,\"3\"\n", "load 1000 1 0\nstore 2000 1 0\nstore 3000 1 0" },
    }) do
        local t = assert(open_bytes(case[2]))
        lu.assertEquals(t:info().format, case[1])
        lu.assertEquals(fuzz.read(t), case[3])
    end
end

function TestTraceReaders:testOptions()
    local text = "1 2\n"
    lu.assertEquals(open_bytes(text):info().format, "din") -- both would do: din is the stricter
    local pages = open_bytes(text, { format = "pages", page = 256, task = 9 })
    lu.assertEquals(fuzz.read(pages), "load 100 1 9\nload 200 1 9")
    for _, case in ipairs({
        { { format = "tarot" }, "unknown trace format 'tarot'" }, { { colour = 1 }, "unknown option 'colour'" },
        { { page = 0 }, "page" }, { { page = "4KiB" }, "expected an integer" }, { { task = -1 }, "task" },
        { { task = 65536 }, "task" }, { 7, "expected a table" },
    }) do
        lu.assertErrorMsgContains(case[2], trace.open, path, case[1])
    end
    lu.assertErrorMsgContains("expected a string", trace.open, 7)
    for _, row in ipairs(trace.formats()) do lu.assertTrue(#row.name > 0 and #row.doc > 0) end
end

function TestTraceReaders:testWhatCannotBeOpened()
    local t, message, code = trace.open("/nonexistent/trace")
    lu.assertNil(t)
    lu.assertEquals(code, "ENOENT")
    lu.assertStrContains(message, "/nonexistent/trace")
    t, message, code = trace.open("/")
    lu.assertNil(t)
    lu.assertEquals(code, "EISDIR")
    lu.assertStrContains(message, "/")
    for _, bytes in ipairs({ "", "hello, world\n", "\0\0\0", ("\0"):rep(64), "\x1f\x8b", "\x28\xb5\x2f\xfd" }) do
        t, message, code = open_bytes(bytes)
        lu.assertNil(t)
        lu.assertEquals(code, "EFORMAT")
        lu.assertStrContains(message, path)
    end
    t, message = open_bytes("")
    lu.assertNil(t)
    lu.assertStrContains(message, "empty")
end

function TestTraceReaders:testDamageNamesThePosition()
    local good = ("I  00001000,4\n"):rep(5000)
    for _, case in ipairs({
        { good .. "I  0000100g,4\n", {}, "line 5001" },
        { good .. "I  00001000,0\n", {}, "line 5001" },
        { good .. "I  00001000,4294967296\n", {}, "line 5001" },
        { good .. "I  11112222333344445,4\n", {}, "line 5001" },
        { good .. "I  1,4x\n", {}, "line 5001" },
        { good .. "I 1,4\n", {}, "line 5001" },
        { good .. "X  1,4\n", {}, "line 5001" },
        { good .. " L ,4\n", {}, "line 5001" },
        { good .. "I  0000100", {}, "line 5001 does not end" },
        { good .. ("x"):rep(300000), {}, "longer" },
        { ("0 10\n"):rep(5000) .. "3 10\n", {}, "line 5001" },
        { ("0 10\n"):rep(5000) .. "0 10 0\n", {}, "line 5001" },
        { ("0 10\n"):rep(5000) .. "0 10 4 4\n", {}, "line 5001" },
        { ("0 10\n"):rep(5000) .. "0 11112222333344445\n", {}, "line 5001" },
        { ("7\n"):rep(5000) .. "-1\n", {}, "line 5001" },
        { ("7\n"):rep(5000) .. "12a\n", {}, "line 5001" },
        { ("7\n"):rep(5000) .. "0x10000000000000\n", {}, "line 5001" },
        { "1 1 0 1\n2 1 0 2\n3 1 0\n", { format = "arc" }, "line 3" },
        { "1 1 0 1\n2 1 0 2\n4503599627370495 2 0 3\n", {}, "line 3" },
        { "*\n1\n1 2\n", { format = "lirs" }, "line 3" },
        { "id,op\n1,get\n,get\n", {}, "line 3" },
        { "id,op\n1,get\n4503599627370496,get\n", {}, "page = 1" },
        { ("<I4I8I4i8"):pack(1, 1, 1, -1) .. ("<I4I8I4i8"):pack(2, 1 << 52, 1, -1), {}, "offset 24" },
        { (("<I4I8I4i8"):pack(1, 1, 1, -1)):rep(1000) .. "x", {}, "24000" },
        { (("<I8c56"):pack(1, "")):rep(1000) .. "x", {}, "offset 64001" },
        { (("<I8c56"):pack(1, "")):rep(1000) .. ("\0"):rep(64), {}, "offset 64000" },
    }) do
        local t = assert(open_bytes(case[1], case[2]))
        local ok, message = pcall(fuzz.read, t)
        lu.assertFalse(ok, case[1]:sub(-30))
        lu.assertStrContains(message, path)
        lu.assertStrContains(message, case[3])
        lu.assertErrorMsgContains(case[3], t.info, t)
    end
end

-- Objects with names, quoted or not, and numbers of 64 bits with pages of one byte.
function TestTraceReaders:testObjectsOfAnyName()
    local t = open_bytes("key,size\nuser:1,10\n\"a, b\",10\nuser:1,5\n")
    local first, second, third = fuzz.read(t):match("load (%x+) 1 0\nload (%x+) 1 0\nload (%x+) 1 0")
    lu.assertEquals(first, third)
    lu.assertNotEquals(first, second)
    t = open_bytes("key\n18446744073709551615\n", { page = 1, format = "csv" })
    lu.assertEquals(fuzz.read(t), "load ffffffffffffffff 1 0")
    t = open_bytes(("<I4I8I4i8"):pack(1, -2, 1, -1), { page = 1 })
    lu.assertEquals(fuzz.read(t), "load fffffffffffffffe 1 0")
end

function TestTraceReaders:testPipesServeOnePass()
    lu.skipIf(not run("command -v mkfifo >/dev/null 2>&1"), "mkfifo is not installed")
    os.remove(path)
    assert(run("mkfifo " .. path))
    assert(run(("(printf 'I  00001000,4\\n' > %s) &"):format(path)))
    local t = assert(trace.open(path))
    lu.assertEquals(fuzz.read(t), "fetch 1000 4 0")
    lu.assertErrorMsgContains("only once", t.each, t)
end

TestTracePattern = { setUp = setup, tearDown = teardown }

local P, R, C, Cc, Ct, Cg = lpeg.P, lpeg.R, lpeg.C, lpeg.Cc, lpeg.Ct, lpeg.Cg
local digits = C(R("09") ^ 1)
local line_pattern = C(P("read") + "write") * " " * digits * " " * digits * -1 + P("#")

function TestTracePattern:testCaptures()
    local text = "# a comment\nread 16 4\nwrite 4294967296 8\n"
    lu.assertEquals(fuzz.read(open_bytes(text, { pattern = line_pattern })), "load 10 4 0\nstore 100000000 8 0")
    local hex = "0x" * R("09", "af") ^ 1
    local tables = Ct(Cg(Cc("fetch"), "kind") * Cg(C(hex), "addr") * " " * Cg(digits / tonumber, "size"))
    local t = open_bytes("0xffffffffffffffff 2", { pattern = tables, task = 5 })
    lu.assertEquals(fuzz.read(t), "fetch ffffffffffffffff 2 5")
    lu.assertEquals(fuzz.read(open_bytes("12\n13", { pattern = Cc("R") * digits })), "load c 1 0\nload d 1 0")
end

function TestTracePattern:testManyLines()
    local out, list = {}, {}
    for i = 1, 30000 do
        out[i] = ("read %d %d"):format(i * 64, i % 8 + 1)
        list[i] = { "load", i * 64, i % 8 + 1 }
    end
    local t = open_bytes(table.concat(out, "\n"), { pattern = line_pattern })
    lu.assertEquals(fuzz.read(t), fuzz.lines(list))
    assert(t:save(path2))
    lu.assertEquals(#trace.open(path2), #list)
    lu.assertEquals(fuzz.read(t:slice(29999)), fuzz.lines({ list[29999], list[30000] }))
end

function TestTracePattern:testErrors()
    local text = ("read 1 1\n"):rep(9999) .. "reed 1 1\n"
    local message = pass_error(open_bytes(text, { pattern = line_pattern }))
    lu.assertStrContains(message, path)
    lu.assertStrContains(message, "line 10000")
    for _, case in ipairs({ { Cc("jump") * digits, "kind 'jump'" }, { Cc("R") * Cc("x"), "address 'x'" },
        { Cc("R") * digits * Cc(0), "size '0'" } }) do
        lu.assertStrContains(pass_error(open_bytes("1\n", { pattern = case[1] })), case[2])
    end
end

function TestTracePattern:testErrorObjectsComeThroughUnchanged()
    local mark = {}
    local t = open_bytes("1\n", { pattern = P(1) / function() error(mark) end })
    local ok, got = pcall(fuzz.read, t)
    lu.assertFalse(ok)
    lu.assertIs(got, mark)
    ok, got = pcall(t.save, t, path2)
    lu.assertFalse(ok)
    lu.assertIs(got, mark)
    lu.assertFalse(exists(path2 .. ".part"))
end

function TestTracePattern:testInCoroutinesAndNested()
    local inner = trace.pages({ 1, 2 })
    local t = open_bytes("1\n2\n3\n", { pattern = Cc("R") * digits / function(k, a) return k, #inner + a end })
    local co = coroutine.wrap(function() for _, addr in t:each() do coroutine.yield(addr) end end)
    lu.assertEquals(co(), 3)
    lu.assertEquals(fuzz.read(t), "load 3 1 0\nload 4 1 0\nload 5 1 0")
    lu.assertEquals({ co(), co() }, { 4, 5 })
end

function TestTracePattern:testParsersThatMeddle()
    local t, step, guard
    local function meddle(f) return Cc("R") * (digits / function(a) f() return a end) end
    t = open_bytes("1\n2\n", { pattern = meddle(function() step() end) })
    step = t:each()
    lu.assertErrorMsgContains("reads the pass", step)
    t = open_bytes("1\n2\n", { pattern = meddle(function() getmetatable(guard).__close(guard) end) })
    local _
    step, _, _, guard = t:each()
    lu.assertErrorMsgContains("closes the pass", step)
    for _, method in ipairs({ "info", "save", "copy" }) do
        t = open_bytes("1\n2\n", { pattern = meddle(function() t:close() end) })
        lu.assertTrue(t[method](t, path2) ~= nil)
    end
    t = open_bytes("1\n2\n", { pattern = meddle(function() t:close() end) })
    lu.assertEquals(#t, 2)
    t = open_bytes("1\n2\n", { pattern = meddle(function() collectgarbage() end) })
    lu.assertEquals(fuzz.read(t), "load 1 1 0\nload 2 1 0")
end

function TestTracePattern:testPartKeepsItsParser()
    local part = open_bytes("1\n2\n3\n", { pattern = Cc("R") * digits }):slice(2, 3)
    collectgarbage()
    collectgarbage()
    lu.assertEquals(fuzz.read(part), "load 2 1 0\nload 3 1 0")
end

TestTraceFuzz = {}

function TestTraceFuzz:testDamagedFiles()
    local seed = tonumber(os.getenv("VMEM_SEED") or "") or 20
    local done = fuzz.run(4000, seed, 50)
    lu.assertTrue((done.vmt or 0) > 0, "seed " .. seed)
end
