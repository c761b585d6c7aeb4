-- The command as a user meets it: what it prints, where, and its exit codes.
local lu = require("luaunit")
local json = require("dkjson")
local tree = require("tree")
local vmem = require("vmem")
local common = require("vmem.cli.common")
local report = require("vmem.report")
local text = require("vmem.text")

TestCli = {}

local folder -- scratch, one for each test

local function write(name, content)
    local path = folder .. "/" .. name
    local file = assert(io.open(path, "wb"))
    file:write(content)
    file:close()
    return path
end

local function read(path)
    local file = assert(io.open(path, "rb"))
    local content = file:read("a")
    file:close()
    return content
end

--- Run a program by the shell: what it writes to stdout and stderr, its exit code.
local function shell(command)
    local out, err = folder .. "/stdout", folder .. "/stderr"
    local _, how, code = os.execute(("%s >%s 2>%s </dev/null"):format(command, tree.quote(out), tree.quote(err)))
    lu.assertEquals(how, "exit")
    return read(out), read(err), code
end

local function run(...)
    local words = { "LC_ALL=C", tree.quote(tree.vmem) }
    for _, word in ipairs({ ... }) do
        words[#words + 1] = tree.quote(word)
    end
    return shell(table.concat(words, " "))
end

local function succeeds(...)
    local out, err, code = run(...)
    lu.assertEquals(err, "")
    lu.assertEquals(code, 0)
    return out
end

local function lines(s)
    local list = {}
    for line in (s:gsub("\n$", "") .. "\n"):gmatch("(.-)\n") do
        list[#list + 1] = line
    end
    return list
end

function TestCli:setUp()
    local pipe = assert(io.popen("mktemp -d"))
    folder = pipe:read("l")
    pipe:close()
    self.lackey = write("four.lackey", "I  00400000,4\n L 1ffeff000,8\n S 1ffeff008,8\n M 00600000,4\n")
    self.belady = write("belady.pages", "1\n2\n3\n4\n1\n2\n5\n1\n2\n3\n4\n5\n")
end

function TestCli:tearDown()
    os.execute("rm -rf " .. tree.quote(folder))
end

-- --- the command itself -------------------------------------------------------------

function TestCli:testHelp()
    local out = succeeds("--help")
    for _, name in ipairs({ "run", "record", "info", "explain", "convert", "options" }) do
        lu.assertStrContains(out, "\n   " .. name)
        lu.assertStrContains(succeeds(name, "--help"), "Usage: vmem " .. name)
    end
end

function TestCli:testVersion()
    lu.assertEquals(succeeds("--version"), vmem._VERSION .. "\n")
end

function TestCli:testWrongUse()
    local cases = {
        { 2, "a command is required", {} },
        { 2, "unknown command 'runn', did you mean 'run'", { "runn" } },
        { 2, "unknown option '--polcy', did you mean '--policy'", { "run", "--polcy", "lru", self.lackey } },
        { 2, "there is no preset \"core-i8\", did you mean core-i7?", { "run", self.lackey, "--preset", "core-i8" } },
        { 2, "policy is \"lrv\", but takes one of: ", { "run", self.lackey, "--policy", "fifo,lrv" } },
        { 2, "dram.size is \"much\", but takes bytes", { "run", self.lackey, "--dram", "much" } },
        { 2, "resident is \"-1x\", but takes a whole number", { "run", self.lackey, "--resident=-1x" } },
        { 2, "did you mean tlb.l1d.entries?", { "run", self.lackey, "--set", "tlb.l1d.entrys=4" } },
        { 2, "shortcuts is \"maybe\", but takes true or false", { "run", self.lackey, "--set", "shortcuts=maybe" } },
        { 2, "--set takes NAME=VALUE", { "run", self.lackey, "--set", "shortcuts" } },
        { 2, "paging does not add up", { "run", self.lackey, "--set", "paging.levels=9,9" } },
        { 2, "--limit is 0", { "run", self.lackey, "--limit", "0" } },
        { 2, "--page is big", { "info", self.belady, "--page", "big" } },
        { 2, "can not be used together", { "run", self.lackey, "--json", "--csv" } },
        { 2, "run takes a trace file, or a program after --", { "run" } },
        { 2, "not both", { "run", self.lackey, "--", "true" } },
        { 2, "there is no program after --", { "run", "--" } },
        { 2, "a program runs once", { "run", "--policy", "fifo,lru", "--", "true" } },
        { 2, "record takes a program after --", { "record", folder .. "/x.vmt" } },
        { 2, "missing argument", { "info" } },
        { 2, "info takes no program after --", { "info", self.lackey, "--", "true" } },
        { 2, "explain takes no program after --", { "explain", "0x10", "--", "true" } },
        { 2, "zzz is no address", { "explain", "zzz" } },
        { 2, "0x12345678901234567 is no address", { "explain", "0x12345678901234567" } },
        { 2, "--size is 3", { "explain", "0x10", "--size", "3" } },
        { 2, "--times is 0", { "explain", "0x10", "--times", "0" } },
        { 2, "no option begins with tbl", { "options", "tbl" } },
        { 1, "/missing.vmt: cannot be opened: No such file", { "run", folder .. "/missing.vmt" } },
        { 1, "/missing.vmt: cannot be opened: No such file", { "info", folder .. "/missing.vmt" } },
        { 1, "/nowhere/x.vmt", { "convert", self.lackey, folder .. "/nowhere/x.vmt" } },
        { 1, "/missing.lua: No such file", { "explain", "0x10", "--state", folder .. "/missing.lua" } },
        { 1, "this machine has addresses of 32 bits (paging.va_bits)", { "run", self.lackey, "--preset", "x86-32" } },
        { 1, "the program was killed: SIGKILL (OOM)", { "run", self.lackey, "--dram", "8KiB" } },
    }
    for _, case in ipairs(cases) do
        local out, err, code = run(table.unpack(case[3]))
        lu.assertStrContains(err, case[2])
        lu.assertStrMatches(err, "vmem: [^\n]+\n")
        lu.assertNotStrContains(err, "traceback")
        lu.assertNil(err:find("%.lua:%d"))
        lu.assertEquals(out, "")
        lu.assertEquals(code, case[1], err)
    end
end

function TestCli:testDamagedTrace()
    local good = folder .. "/good.vmt"
    succeeds("convert", self.lackey, good)
    local content = read(good)
    for cut = 0, #content - 1 do
        local path = write("cut.vmt", content:sub(1, cut))
        local out, err, code = run("run", path)
        lu.assertEquals(code, 1)
        lu.assertEquals(out, "")
        lu.assertStrMatches(err, "vmem: [^\n]*cut.vmt[^\n]+\n")
    end
    local path = write("bad.lackey", "I  00400000,4\nI  0040000g,4\n")
    local _, err, code = run("run", path)
    lu.assertEquals(code, 1)
    lu.assertStrMatches(err, "vmem: [^\n]*bad.lackey[^\n]* 2[^\n]*\n")
end

function TestCli:testTracebackWhenAsked()
    local _, err, code = shell(("VMEM_DEBUG=1 %s info %s/none"):format(tree.quote(tree.vmem), folder))
    lu.assertEquals(code, 1)
    lu.assertStrContains(err, "stack traceback")
end

-- --- run -----------------------------------------------------------------------------

-- The rows of one section of a report: name -> list of what follows it.
local function section(out, title)
    local rows, inside = {}, false
    for _, line in ipairs(lines(out)) do
        if inside then
            local name, rest = line:match("^  (.-)%s%s+(.*)$")
            if not name then
                return rows
            end
            rows[name] = {}
            for item in rest:gmatch("[^%s#]+") do
                rows[name][#rows[name] + 1] = item
            end
        end
        inside = inside or line:find(title, 1, true) == 1
    end
    lu.assertTrue(inside, "the report has the section " .. title)
    return rows
end

local function figure(s)
    return tonumber((s:gsub(",", "")))
end

function TestCli:testRunTells()
    local out = succeeds("run", self.lackey)
    lu.assertStrContains(lines(out)[1], self.lackey .. " through core-i7: 4 accesses")
    local accesses = section(out, "Accesses")
    lu.assertEquals(accesses["instruction fetches"], { "1", "20.0", "%" })
    lu.assertEquals(accesses.loads[1], "2")
    lu.assertEquals(accesses.stores[1], "2")
    lu.assertEquals(accesses.all[1], "5")
    lu.assertEquals(section(out, "Page faults")["minor: without the disk"], { "3", "100.0", "%" })
    lu.assertEquals(section(out, "Page faults")["major: a page from the disk"], { "0", "0.0", "%" })
    for _, line in ipairs(lines(out)) do
        lu.assertTrue(#line <= 100, line)
    end
end

function TestCli:testCyclesAddUp()
    local rows = section(succeeds("run", self.belady, "--resident", "3"), "Where the cycles went")
    local cycles, average, share = 0, 0, 0
    for name, row in pairs(rows) do
        if name ~= "all" and name ~= "all but the disk" then
            cycles = cycles + figure(row[1])
            average = average + math.floor(figure(row[2]) * 100 + 0.5)
            share = share + math.floor(figure(row[3]) * 10 + 0.5)
        end
    end
    lu.assertEquals(cycles, figure(rows.all[1]))
    lu.assertEquals(average, math.floor(figure(rows.all[2]) * 100 + 0.5))
    lu.assertEquals(share, 1000)
    lu.assertEquals(average, math.floor(cycles * 100 / 12 + 0.5))
end

function TestCli:testBarsFollowTheLocale()
    local command = tree.quote(tree.vmem) .. " run " .. tree.quote(self.lackey)
    lu.assertStrContains(shell("LC_ALL=C.UTF-8 " .. command), "█")
    local plain = shell("LC_ALL=C " .. command)
    lu.assertNil(plain:find("[\128-\255]"))
    lu.assertNil(plain:find("\27"))
end

function TestCli:testBelady()
    local function faults(frames)
        local out = succeeds("run", self.belady, "--policy", "fifo,lru", "--resident", tostring(frames))
        lu.assertStrContains(out, "policy fifo, lru; at most " .. frames .. " pages")
        return section(out, "Page faults")["minor: without the disk"]
    end
    lu.assertEquals(faults(3), { "9", "10" })
    lu.assertEquals(faults(4), { "10", "8" })
end

function TestCli:testManyPoliciesFit()
    local out = succeeds("run", self.belady, "--policy", "fifo,lru,clock,random,fifo", "--resident", "3")
    for _, line in ipairs(lines(out)) do
        lu.assertTrue(#line <= 100, line)
    end
    local _, times = out:gsub("\nPage walks", "")
    lu.assertEquals(times, 2)
end

function TestCli:testJson()
    local object = assert(json.decode(succeeds("run", self.lackey, "--json", "--policy", "lru,fifo")))
    lu.assertEquals(object.trace, self.lackey)
    lu.assertEquals(#object.runs, 2)
    local one = object.runs[1]
    lu.assertEquals({ one.preset, one.policy, object.runs[2].policy }, { "core-i7", "lru", "fifo" })
    lu.assertEquals(math.type(one.stats.access.total), "integer")
    lu.assertEquals(one.stats.access.total, 5)
    lu.assertEquals(one.options.dram.size, 64 << 20)

    -- The same as from Lua, every counter of it.
    local m <close> = vmem.machine({ preset = "core-i7", policy = "lru" })
    local t <close> = assert(vmem.trace.open(self.lackey))
    local counters = m:spawn():replay(t)
    lu.assertEquals(one.replay, counters.replay)
    counters.replay = nil
    lu.assertEquals(one.stats, counters)
end

function TestCli:testJsonKeepsWholeNumbers()
    local big = { n = math.maxinteger, m = math.mininteger }
    lu.assertEquals(json.decode(report.json(big)), big)
    lu.assertEquals(report.json({ b = 1, a = { d = 2, c = 3 } }):gsub("%s", ""), '{"a":{"c":3,"d":2},"b":1}')
end

function TestCli:testCsv()
    local rows = {}
    for _, line in ipairs(lines(succeeds("run", self.belady, "--csv", "--policy", "fifo,lru", "--resident", "3"))) do
        rows[#rows + 1] = {}
        for field in (line .. ","):gmatch("([^,]*),") do
            table.insert(rows[#rows], field)
        end
    end
    lu.assertEquals(#rows, 3)
    local column = {}
    for i, name in ipairs(rows[1]) do
        column[name] = i
    end
    lu.assertEquals({ table.unpack(rows[1], 1, 3) }, { "trace", "preset", "policy" })
    for i, expected in ipairs({ { "fifo", "9" }, { "lru", "10" } }) do
        local row = rows[i + 1]
        lu.assertEquals(#row, #rows[1])
        lu.assertEquals(row[1], self.belady)
        lu.assertEquals(row[column.policy], expected[1])
        lu.assertEquals(row[column["kernel.minor_faults"]], expected[2])
        lu.assertEquals(row[column["access.loads"]], "12")
    end
end

function TestCli:testCsvQuotes()
    local path = write('a,"b".pages', "1\n2\n")
    local out = succeeds("run", path, "--csv")
    lu.assertStrContains(out, '"' .. path:gsub('"', '""') .. '",core-i7,')
end

function TestCli:testOptionsReachTheMachine()
    local object = json.decode(succeeds("run", self.belady, "--json", "--preset", "sv39", "--dram", "1MiB",
        "--swap", "0", "--set", "tlb.l2.entries=0", "--set", "shortcuts=off", "--set", "cache.l2.policy=fifo", "--set",
        "cache.l2.size=64KiB", "--set", "seed=-5", "--set", "paging.levels=9,9,9", "--limit", "7"))
    local o = object.runs[1].options
    lu.assertEquals({ o.paging.pte, o.dram.size, o.swap, o.tlb.l2.entries, o.shortcuts, o.cache.l2.policy,
        o.cache.l2.size, o.seed, o.paging.levels },
        { "riscv", 1 << 20, 0, 0, false, "fifo", 64 << 10, -5, { 9, 9, 9 } })
    lu.assertNil(object.runs[1].stats.tlb.l2)
    lu.assertEquals(object.runs[1].replay.accesses, 7)
end

function TestCli:testPagingOff()
    local path = write("low.lackey", "I  00400000,4\n L 00500000,8\n")
    local out = succeeds("run", path, "--set", "paging.enabled=false")
    lu.assertStrContains(out, "off: a virtual address is a physical one")
    lu.assertNotStrContains(out, "Page faults")
    out = succeeds("run", path, "--set", "paging.enabled=false", "--policy", "fifo,lru")
    lu.assertStrContains(out, "Cycles per access")
end

function TestCli:testTraceOptions()
    local out = succeeds("info", self.belady, "--json", "--format", "pages", "--page", "64KiB")
    lu.assertEquals(json.decode(out).max, 5 << 16)
end

-- --- progress ------------------------------------------------------------------------

function TestCli:testProgressLine()
    local clock, stderr, now, written = os.clock, io.stderr, 0, {}
    io.stderr = { -- luacheck: ignore 122
        write = function(_, ...)
            written[#written + 1] = table.concat({ ... })
        end,
        flush = function() end,
    }
    os.clock = function() -- luacheck: ignore 122
        return now
    end
    local ok, why = pcall(function()
        local step, finish = common.progress({ progress = true }, "sort.vmt", 400000000)
        step(1)
        lu.assertEquals(written, {}) -- short work has no line
        now = 2
        step(100000000)
        finish()
        step, finish = common.progress({ progress = true }, "ls", nil)
        now = 4
        step(100000000)
        finish()
        lu.assertNil(common.progress({ quiet = true, progress = true }, "ls"))
    end)
    io.stderr, os.clock = stderr, clock -- luacheck: ignore 122
    lu.assertTrue(ok, why)
    lu.assertEquals(written, {
        "\rsort.vmt: 25 %: 100,000,000 of 400,000,000 accesses, 50 M/s, 0:06 left\27[K", "\r\27[K",
        "\rls: 100,000,000 accesses, 50 M/s\27[K", "\r\27[K",
    })
end

-- --- the other commands ----------------------------------------------------------------

-- Belady's string under FIFO: nine faults with three frames, ten with four.
function TestCli:testPaging()
    local string = write("belady.txt", "1 2 3 4 1 2 5 1 2 3 4 5\n")
    lu.assertStrContains(succeeds("paging", string, "--policy", "fifo"), "Belady's anomaly: 9 with 3 frames, 10 with 4")
    local out = succeeds("paging", string, "--policy", "fifo,lru,opt", "--frames", "3,4")
    lu.assertStrMatches(lines(out)[3], "fifo +75.00 %% +83.33 %%")
    lu.assertStrMatches(lines(out)[5], "opt +58.33 %% +50.00 %%")
    lu.assertStrContains(succeeds("paging", string, "--steps", "--frames", "3"), "frame 2        3 3 3")
    local picture = folder .. "/curve.svg"
    succeeds("paging", string, "--svg", picture)
    lu.assertStrContains(read(picture), "</svg>")
    lu.assertStrContains(succeeds("paging", string, "--working-set"), "mean pages")
    lu.assertStrContains(succeeds("paging", string, "--phases"), "phases")
    local _, err, code = run("paging", string, "--policy", "fif")
    lu.assertStrContains(err, "there is no policy fif, did you mean fifo?")
    lu.assertEquals(code, 2)
    for _, words in ipairs({ { "--policy", "fifo,lru" }, { "--frames", "x" }, { "--steps" }, { "--sample", "3" },
        { "--page", "100", "--format", "pages" } }) do
        _, err, code = run("paging", string, table.unpack(words))
        lu.assertEquals({ code, select(2, err:gsub("\n", "")) }, { 2, 1 }, err)
    end
end

function TestCli:testInfo()
    local out = succeeds("info", self.lackey)
    lu.assertStrContains(out, self.lackey .. ": 4 accesses, format lackey, 58 bytes")
    lu.assertEquals(section(out, "What it touches")["pages touched"], { "3", "12", "KiB" })
    local facts = json.decode(succeeds("info", self.lackey, "--json"))
    lu.assertEquals({ facts.fetch, facts.load, facts.store, facts.modify, facts.pages, facts.min, facts.max },
        { 1, 1, 1, 1, 3, 0x400000, 0x1ffeff00f })
end

function TestCli:testConvert()
    local path = folder .. "/four.vmt"
    lu.assertStrContains(succeeds("convert", self.lackey, path), path .. ": 4 accesses in ")
    local a, b = json.decode(succeeds("info", self.lackey, "--json")), json.decode(succeeds("info", path, "--json"))
    lu.assertEquals(b.format, "vmt")
    for _, name in ipairs({ "accesses", "fetch", "load", "store", "modify", "pages", "min", "max", "first", "last" }) do
        lu.assertEquals(a[name], b[name])
    end
    lu.assertEquals(succeeds("convert", "--quiet", self.lackey, path), "")
end

function TestCli:testExplainFigure()
    local out = succeeds("explain", "--preset", "csapp", "0x03d4")
    for _, row in ipairs({ "VPN    0x0f", "VPO    0x14", "TLBI   0x3", "TLBT   0x03", "PPN    0x0d", "PA     0x354",
        "CO     0x0", "CI     0x5", "CT     0x0d", "byte   0x36" }) do
        lu.assertStrContains(out, "\n  " .. row .. "\n")
    end
    local list = json.decode(succeeds("explain", "--state", "fig9.20", "0x03d7", "--json"))
    lu.assertEquals({ #list, list[1].tlb, list[1].cache, list[1].byte }, { 1, "hit", "hit", 0x1d })
    lu.assertStrContains(succeeds("explain", "--preset", "csapp", "0x0440"), "unknown")
end

function TestCli:testExplainFresh()
    local list = json.decode(succeeds("explain", "0x7f1234567abc", "--times", "2", "--json", "--kind", "store",
        "--size", "8"))
    lu.assertEquals({ #list, list[1].tlb, list[2].tlb, list[2].cache }, { 2, "miss", "hit", "hit" })
    lu.assertTrue(list[1].cycles > list[2].cycles)
    lu.assertStrContains(succeeds("explain", "0x8000000000000000"), "SIGSEGV (MAPERR)")
    -- Also the book's machine can begin with nothing.
    lu.assertStrContains(succeeds("explain", "--preset", "csapp", "--state", "none", "0x03d4"), "served by the kernel")
end

function TestCli:testExplainState()
    local state = write("state.lua", "return { ptes = { [0x0f] = 0x0d }, memory = { [0x354] = 'Z' } }")
    local list = json.decode(succeeds("explain", "--preset", "csapp", "--state", state, "--json", "0x03d4"))
    lu.assertEquals({ list[1].tlb, list[1].ppn, list[1].byte }, { "miss", 0x0d, 0x5a })
    for content, expected in pairs({
        ["return 1"] = "returns a number", ["return {"] = "expected", ["return { pte = {} }"] = "there is no table pte",
        ["return { tlb = { {} } }"] = "lacks", ["return io.open"] = "fails", ["\27Lua"] = "no state",
    }) do
        local _, err, code = run("explain", "--preset", "csapp", "--state", write("bad.lua", content), "0x03d4")
        lu.assertEquals(code, 1)
        lu.assertStrContains(err, expected)
        lu.assertStrMatches(err, "vmem: [^\n]+\n")
    end
end

function TestCli:testOptions()
    local out = succeeds("options")
    for _, row in ipairs(vmem.options()) do
        lu.assertStrContains("\n" .. out, "\n" .. row.name .. " ")
    end
    for _, line in ipairs(lines(out)) do
        lu.assertTrue(#line <= 100, line)
    end
    lu.assertStrMatches(succeeds("options", "cache.l1d.size", "--preset", "core-i7"), ".*\ncache.l1d.size +32KiB .*")
    local list = json.decode(succeeds("options", "--json", "policy", "--preset", "core-i7"))
    lu.assertEquals({ #list, list[1].name, list[1].default, list[1].value }, { 1, "policy", "clock", "clock" })
end

-- --- programs as they run ------------------------------------------------------------------

-- What runs programs is tried elsewhere; here, that the command uses it well.
local function needs_an_emulator()
    local _, how, code = os.execute("command -v qemu-x86_64 valgrind >/dev/null")
    lu.skipIf(how ~= "exit" or code ~= 0, "neither qemu-user nor Valgrind is here")
end

function TestCli:testRunProgram()
    needs_an_emulator()
    local out = succeeds("run", "--", "/bin/echo", "hello there", "--json")
    lu.assertStrContains(out, "hello there --json\n\n/bin/echo 'hello there' --json through core-i7: ")
    lu.assertNotStrContains(out, "The program")
    local object = json.decode(succeeds("run", "--json", "--", "/bin/echo", "hello"))
    lu.assertEquals(object.trace, "/bin/echo hello")
    lu.assertTrue(object.runs[1].stats.access.fetches > 1000)
    lu.assertStrContains(succeeds("run", "--", "sh", "-c", "exit 3"), "\nThe program ended with exit status 3.\n")
    local input, output = write("in", "some text\n"), folder .. "/out"
    out = succeeds("run", "--stdin", input, "--stdout", output, "--", "cat")
    lu.assertEquals(read(output), "some text\n")
    lu.assertEquals(out:sub(1, 8), "cat thro")
    local none, err, code = run("run", "--", folder .. "/none")
    lu.assertEquals({ none, code }, { "", 1 })
    lu.assertStrMatches(err, "vmem: [^\n]+/none\n")
end

function TestCli:testRecordProgram()
    needs_an_emulator()
    local path = folder .. "/echo.vmt"
    lu.assertStrContains(succeeds("record", path, "--", "/bin/echo", "hello"), "hello\n" .. path .. ": ")
    local facts = json.decode(succeeds("info", path, "--json"))
    lu.assertTrue(facts.accesses > 1000)
    local object = json.decode(succeeds("run", path, "--json"))
    lu.assertEquals(object.runs[1].replay.accesses, facts.accesses)
    lu.assertEquals(succeeds("record", "-q", path, "--", "true"), "")
    lu.assertStrContains(succeeds("record", path, "--", "false"), "The program ended with exit status 1.")
end

-- --- figures as people read them ---------------------------------------------------------

TestText = {}

function TestText:testNumbers()
    for n, expected in pairs({ [0] = "0", [999] = "999", [1000] = "1,000", [-1234567] = "-1,234,567",
        [math.maxinteger] = "9,223,372,036,854,775,807" }) do
        lu.assertEquals(text.number(n), expected)
    end
    lu.assertEquals(text.count(1, "access", "accesses"), "1 access")
    lu.assertEquals(text.count(2, "page"), "2 pages")
end

function TestText:testBytes()
    for n, expected in pairs({ [0] = "0 bytes", [1] = "1 byte", [1023] = "1023 bytes", [1024] = "1 KiB",
        [1536] = "1.5 KiB", [64 << 20] = "64 MiB", [3 << 40] = "3 TiB" }) do
        lu.assertEquals(text.bytes(n), expected)
    end
end

function TestText:testPercentNeverRoundsUp()
    lu.assertEquals(text.percent(999999, 1000000), "99.99 %")
    lu.assertEquals(text.percent(1, 1), "100.00 %")
    lu.assertEquals(text.percent(0, 0), "-")
end

function TestText:testSharesAddUp()
    local seed = 7
    math.randomseed(seed)
    for _ = 1, 300 do
        local parts, all = {}, 0
        for i = 1, math.random(1, 7) do
            parts[i] = math.random(0, math.random(1, 1 << 40))
            all = all + parts[i]
        end
        local divisor = math.random(1, 1 << 30)
        local scaled, whole = text.shares(parts, divisor, 2)
        local sum = 0
        for i, n in ipairs(scaled) do
            sum = sum + n
            lu.assertTrue(math.abs(n - parts[i] * 100 / divisor) <= 1, "seed " .. seed)
        end
        lu.assertEquals(sum, whole, "seed " .. seed)
        lu.assertAlmostEquals(whole, all * 100 / divisor, 0.51 + whole * 1e-12)
    end
end

function TestText:testBars()
    lu.assertEquals(text.bar(1, 2, 10), "#####")
    lu.assertEquals(text.bar(1, 1000000, 10), "#")
    lu.assertEquals(text.bar(0, 10, 10), "")
    lu.assertEquals(text.bar(1, 16, 2, true), "▏")
    lu.assertEquals(text.bar(9, 16, 2, true), "█▏")
    lu.assertEquals(text.wrap("one two three", 7, "  "), "one two\n  three")
end

-- --- what a language server is told ---------------------------------------------------------

TestMeta = {}

function TestMeta:testEveryMethodIsDescribed()
    local core = require("vmem.core")
    local meta = read(tree.root .. "/lua/vmem/meta.lua")
    for class, methods in pairs({ Machine = core.Machine, Process = core.Process }) do
        for name in pairs(methods) do
            if not name:find("^_") then
                lu.assertStrContains(meta, ("\nfunction %s:%s("):format(class, name))
            end
        end
        for name in meta:gmatch("\nfunction " .. class .. ":(%w+)%(") do
            lu.assertIsFunction(methods[name], class .. ":" .. name)
        end
    end
    for _, row in ipairs(vmem.options()) do
        local top = row.name:match("^[^.]+")
        lu.assertStrContains(meta, "\n---@field " .. top .. "? ")
    end
end

-- --- what the documents show ------------------------------------------------------------------

TestDocuments = {}
TestDocuments.setUp, TestDocuments.tearDown = TestCli.setUp, TestCli.tearDown

-- In the tree's root, with the build tree's modules and command.
local ENVIRONMENT = ("cd %s && env -u LUA_PATH_5_4 -u LUA_CPATH_5_4 LC_ALL=C LUA_PATH=%s LUA_CPATH=%s "
    .. "PATH=%s:$PATH"):format(
    tree.quote(tree.root), tree.quote(tree.root .. "/lua/?.lua;" .. tree.root .. "/lua/?/init.lua;;"),
    tree.quote(tree.build .. "/?.so;;"), tree.quote(tree.build .. "/bin"))

local function blocks(document, language)
    local list = {}
    for block in ("\n" .. read(tree.root .. "/" .. document)):gmatch("\n```" .. language .. "\n(.-)\n```") do
        list[#list + 1] = block
    end
    lu.assertTrue(#list > 0, document)
    return list
end

function TestDocuments:testLua()
    local documents = { "README.md", "docs/guide.md", "docs/allocators.md", "docs/heaps.md", "docs/errors.md",
        "docs/studies.md" }
    for _, document in ipairs(documents) do
        for _, block in ipairs(blocks(document, "lua")) do
            local path = write("block.lua", block)
            local out, err, code = shell(("%s %s %s"):format(ENVIRONMENT, tree.quote(tree.lua), tree.quote(path)))
            lu.assertEquals({ err, code }, { "", 0 }, block)
            -- What the comments say is printed, but for spaces.
            local printed = out:gsub("%s+", " ")
            for expected in block:gmatch("%-%->%s*([^\n]+)") do
                expected = expected:gsub(",.*", ""):gsub("%s+", " ")
                lu.assertStrContains(printed, expected)
            end
        end
    end
end

-- What the README shows is what commands print today, but for the index of allocators,
-- which goes by the host's speed.
function TestDocuments:testReports()
    local n = 0
    for command, expected in read(tree.root .. "/README.md"):gmatch("\n```\n%$ (vmem [^\n]+)\n(.-)\n```") do
        local out = shell(("%s LC_ALL=C.UTF-8 %s"):format(ENVIRONMENT, command))
        expected = expected .. "\n"
        if command:find("^vmem heap") then
            out, expected = out:gsub(" +%d%.%d%d\n", "\n"), expected:gsub(" +%d%.%d%d\n", "\n")
        end
        lu.assertEquals(out, expected, "paste anew what this prints: " .. command)
        n = n + 1
    end
    lu.assertEquals(n, 2)
end

-- Lines that run programs are tried above, where there is an emulator.
function TestDocuments:testShell()
    for _, document in ipairs({ "README.md", "docs/guide.md", "docs/heaps.md", "docs/studies.md" }) do
        for _, block in ipairs(blocks(document, "sh")) do
            for line in block:gmatch("[^\n]+") do
                if line:find("^vmem ") and not line:find(" %-%- ") then
                    local _, err, code = shell(("%s %s"):format(ENVIRONMENT, line:gsub("%s+#.*", "")))
                    lu.assertEquals({ err, code }, { "", 0 }, line)
                end
            end
        end
    end
end

-- --- examples ------------------------------------------------------------------------------

TestExamples = {}
TestExamples.setUp, TestExamples.tearDown = TestCli.setUp, TestCli.tearDown

local function example(name, ...)
    local words = {}
    for i, word in ipairs({ ... }) do
        words[i] = tree.quote(word)
    end
    local out, err, code = shell(
        ("%s %s examples/%s %s"):format(ENVIRONMENT, tree.quote(tree.lua), name, table.concat(words, " ")))
    lu.assertEquals(err, "")
    lu.assertEquals(code, 0)
    return out
end

function TestExamples:testCsapp()
    lu.assertEquals(example("csapp.lua"), succeeds("explain", "--preset", "csapp", "0x03d4"))
    local out = example("csapp.lua", "0x027c", "0x0040")
    lu.assertStrContains(out, "PA     0x5fc")
    lu.assertStrContains(out, "SIGSEGV")
end

function TestExamples:testDemo()
    local out = example("demo.lua")
    for _, title in ipairs({ "TLB hit rates", "Page walks", "Cache hit rates", "Page faults", "Cycles per access" }) do
        lu.assertStrContains(out, "\n" .. title)
    end
    lu.assertStrMatches(lines(out:match("TLB hit rates.*"))[1], "TLB hit rates +fifo +clock +lru")
    for _, line in ipairs(lines(out)) do
        lu.assertTrue(#line <= 100, line)
    end
end
