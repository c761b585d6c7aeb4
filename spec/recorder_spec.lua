-- Programs are recorded as they are: exact counts where the program is known to
-- the instruction, and every way in which a recording can end.
local lu = require("luaunit")
local core = require("vmem.core")
local vmem = require("vmem")
local tree = require("tree")

local function has(name)
    return os.execute("command -v " .. name .. " >/dev/null 2>&1")
end

local function needs(...)
    for _, name in ipairs({ ... }) do
        lu.skipIf(not has(name), name .. " is not there")
    end
end

local folder

local function path(name)
    return folder .. "/" .. name
end

local function write(name, text)
    local f <close> = assert(io.open(path(name), "wb"))
    f:write(text)
end

local function begin()
    local p = assert(io.popen("mktemp -d"))
    folder = p:read("l")
    p:close()
end

local function finish()
    os.execute("rm -r '" .. folder .. "'")
end

--- The children of this process that have not been waited for, but for ps itself.
local function children()
    local self = assert(io.open("/proc/self/stat")):read("n")
    local p = assert(io.popen(("ps --ppid %d -o comm= | grep -v -x -e ps -e sh -e grep"):format(self)))
    local text = p:read("a")
    p:close()
    return text
end

--- A static ELF program of one segment, from its machine's number and its code.
local function elf(machine, code)
    local at, offset = 0x400000, 64 + 56
    local size = offset + #code
    return ("<c4BBBBc8I2I2I4I8I8I8I4I2I2I2I2I2I2"):pack("\127ELF", 2, 1, 1, 0, "", 2, machine, 1, at + offset, 64,
        0, 0, 64, 56, 1, 64, 0, 0) .. ("<I4I4I8I8I8I8I8I8"):pack(1, 5, 0, at, at, size, size, 4096) .. code
end

local function hex(text)
    return (text:gsub("%s", ""):gsub("..", function(b)
        return string.char(tonumber(b, 16))
    end))
end

-- The same program three times: a thousand times round a loop of one store, one
-- load and two more instructions; then exit(7).
local loops = {
    ["x86_64"] = { machine = 62, fetches = 4004, code = hex [[
        b9e8030000 48894c24f8 488b4424f0 ffc9 75f2 bf07000000 b83c000000 0f05]] },
    ["aarch64"] = { machine = 183, fetches = 4004, code = hex [[
        007d80d2 e00300f9 e10740f9 000400d1 a0ffffb5 e00080d2 a80b80d2 010000d4]] },
    ["riscv64"] = { machine = 243, fetches = 4004, code = hex [[
        9302803e 233c51fe 033301ff 9382f2ff e39a02fe 13057000 9308d005 73000000]] },
}

local function program(name)
    write(name, elf(loops[name].machine, loops[name].code))
    os.execute("chmod +x '" .. path(name) .. "'")
    return path(name)
end

local function compile(name, text, flags)
    needs("cc")
    write(name .. ".c", text)
    assert(os.execute(("cc -O1 -w %s -o '%s' '%s.c'"):format(flags or "", path(name), path(name))))
    return path(name)
end

local function events(t)
    local list = {}
    for kind, event in t:each() do
        if kind == "event" then list[#list + 1] = event end
    end
    return list
end

-- --- exact programs ------------------------------------------------------------

TestRecordExact = {}
TestRecordExact.setUp, TestRecordExact.tearDown = begin, finish

for name, loop in pairs(loops) do
    TestRecordExact["test_" .. name] = function()
        needs("qemu-" .. name)
        local t, ending = vmem.trace.record({ program(name) })
        lu.assertEquals(ending, { status = 7 })
        local info = t:info()
        lu.assertEquals({ info.fetch, info.load, info.store }, { loop.fetches, 1000, 1000 })
        -- In order: each turn is fetch, store, fetch, load, fetch, fetch.
        local kinds = {}
        for kind in t:head(60):each() do
            if kind ~= "event" then kinds[#kinds + 1] = kind:sub(1, 1) end
        end
        lu.assertStrContains(table.concat(kinds), "ffsflff" .. "fsflff" .. "fsflff")
        local list = events(t)
        lu.assertEquals({ list[1].type, list[1].addr, list[1].prot }, { "mmap", 0x400000, 5 })
        lu.assertEquals({ list[#list].type, list[#list].status }, { "exit", 7 })
    end
end

function TestRecordExact:testLackeyAgrees()
    needs("qemu-x86_64", "valgrind")
    local name = program("x86_64")
    local a = vmem.trace.record({ name, via = "qemu" }):info()
    local b, ending = vmem.trace.record({ name, via = "lackey" })
    lu.assertEquals(ending.status, 7)
    local info = b:info()
    lu.assertEquals({ info.fetch, info.load, info.store }, { a.fetch, a.load, a.store })
end

-- What faults and is jumped out of ends its block early.
function TestRecordExact:testFaults()
    needs("qemu-x86_64")
    local source = [[
        #include <setjmp.h>
        #include <signal.h>
        #include <stdlib.h>
        static sigjmp_buf b; static volatile int x;
        static void h(int s) { siglongjmp(b, 1); }
        __attribute__((noinline)) void probe(volatile int *p) { x = 1; *p = 2; x = 3; x = 4; x = 5; }
        int main(int n, char **v) { volatile int i; signal(SIGSEGV, h);
            for (i = 0; i < 100; i++) if (!sigsetjmp(b, 1)) probe(%s); return 0; }]]
    local name = compile("faults", source:format("0"), "-static")
    local t, ending = vmem.trace.record({ name })
    lu.assertEquals(ending.status, 0)
    -- x = 1 is seen a hundred times; nothing after the fault is.
    local stores, last = {}, nil
    for kind, addr, size in t:each() do
        if kind == "store" and size == 4 then
            stores[addr] = (stores[addr] or 0) + 1
            last = addr
        end
    end
    lu.assertNotNil(last)
    local hundred = 0
    for _, n in pairs(stores) do
        lu.assertTrue(n ~= 400)
        hundred = hundred + (n == 100 and 1 or 0)
    end
    lu.assertTrue(hundred >= 1)
end

-- --- threads and processes --------------------------------------------------------

TestRecordTasks = {}
TestRecordTasks.setUp, TestRecordTasks.tearDown = begin, finish

function TestRecordTasks:testThreads()
    needs("qemu-x86_64")
    local name = compile("threads", [[
        #include <pthread.h>
        #include <sys/mman.h>
        static void *f(void *a) { for (int i = 0; i < 50; i++) {
            volatile char *p = mmap(0, 65536, 3, 0x22, -1, 0);
            for (int j = 0; j < 65536; j += 64) p[j] = 1; munmap((void *)p, 65536); } return 0; }
        int main(void) { pthread_t t[4]; for (int i = 0; i < 4; i++) pthread_create(t + i, 0, f, 0);
            for (int i = 0; i < 4; i++) pthread_join(t[i], 0); return 3; }]], "-pthread")
    for _, ring in ipairs({ "64KiB", "1MiB" }) do
        local t, ending = vmem.trace.record({ name, ring = ring })
        lu.assertEquals(ending.status, 3)
        -- What a thread stores lies in an area that it has mapped by then and not
        -- yet unmapped: also where another thread has had the same addresses.
        local born, mapped, stores = { [0] = true }, {}, 0
        for kind, a, _, task in t:each() do
            if kind ~= "event" then
                lu.assertTrue(born[task])
                if kind == "store" and mapped[a >> 12] == task then stores = stores + 1 end
            elseif a.type == "thread" then
                born[a.child] = true
            elseif (a.type == "mmap" or a.type == "munmap") and a.length == 65536 then
                for page = a.addr >> 12, (a.addr + 65535) >> 12 do
                    mapped[page] = a.type == "mmap" and a.task or nil
                end
            end
        end
        lu.assertEquals(t:info().tasks, 5)
        lu.assertEquals(stores, 4 * 50 * 1024)
    end
end

function TestRecordTasks:testProcesses()
    needs("qemu-x86_64")
    local name = compile("forks", [[
        #include <signal.h>
        #include <stdlib.h>
        #include <sys/wait.h>
        #include <unistd.h>
        int main(void) {
            for (int i = 0; i < 20; i++) { if (!fork()) _exit(i); wait(0); }
            if (!fork()) raise(SIGKILL);
            wait(0);
            if (!fork()) { execl("/nonexistent", "x", (char *)0); _exit(9); }
            wait(0);
            if (!fork()) execl("/bin/true", "true", (char *)0);
            wait(0);
            return 0; }]])
    local t, ending = vmem.trace.record({ name })
    lu.assertEquals(ending.status, 0)
    local exits, execs = {}, {}
    for _, e in ipairs(events(t)) do
        if e.type == "exit" then exits[e.task] = e.status end
        if e.type == "exec" then execs[e.task] = e.name end
    end
    for i = 0, 19 do lu.assertEquals(exits[i + 1], i) end
    lu.assertEquals({ exits[0], exits[21], exits[22] }, { 0, 128, 9 })
    lu.assertEquals(execs, { [23] = "/bin/true" })
    lu.assertNil(exits[23])
end

-- --- endings ------------------------------------------------------------------------

TestRecordEndings = {}
TestRecordEndings.setUp, TestRecordEndings.tearDown = begin, finish

function TestRecordEndings:testStatusAndSignal()
    needs("qemu-x86_64")
    local t, ending = vmem.trace.record({ "sh", "-c", "exit 5" })
    lu.assertEquals(ending, { status = 5 })
    local list = events(t)
    lu.assertEquals(list[#list].status, 5)
    t, ending = vmem.trace.record({ "sh", "-c", "kill -9 $$" })
    lu.assertEquals(ending.signal, 9)
    list = events(t)
    lu.assertEquals({ list[#list].type, list[#list].status }, { "exit", 137 })
end

function TestRecordEndings:testClosedEarly()
    needs("qemu-x86_64")
    collectgarbage()
    local before = tree.open_files()
    for _, line in ipairs({ "sleep 100", "while :; do :; done" }) do
        local t = assert(vmem.trace.live({ "sh", "-c", line }))
        local n = 0
        for _ in t:each() do
            n = n + 1
            if n == 1000 then break end
        end
        local _, signal = core.live_status(t)
        lu.assertEquals(signal, 9)
        lu.assertErrorMsgContains("can be read once", function() return #t end)
        t:close()
    end
    lu.assertEquals(children(), "")
    collectgarbage()
    lu.assertTrue(tree.open_files() <= before)
end

function TestRecordEndings:testEmulatorThatIsNone()
    needs("qemu-x86_64")
    lu.assertErrorMsgContains("without running", function()
        return vmem.trace.live({ "true", emulator = "/bin/false" }):info()
    end)
    local _, why = vmem.trace.live({ "true", emulator = "qemu-none" })
    lu.assertEquals(why, "there is no emulator qemu-none")
    lu.assertEquals(children(), "")
end

function TestRecordEndings:testFiles()
    needs("qemu-x86_64")
    write("in", "one\ntwo\n")
    local _, ending = vmem.trace.record({ "cat", stdin = path("in"), stdout = path("out") })
    lu.assertEquals(ending.status, 0)
    lu.assertEquals(assert(io.open(path("out"))):read("a"), "one\ntwo\n")
    lu.assertErrorMsgContains("the input of", function()
        return vmem.trace.live({ "cat", stdin = path("none") }):info()
    end)
end

function TestRecordEndings:testMisuse()
    local function says(what, command)
        lu.assertErrorMsgContains(what, vmem.trace.live, command)
    end
    says("no program", {})
    says("no option rang", { "true", rang = 1 })
    says("ring is 3KiB", { "true", ring = "3KiB" })
    says("takes qemu or lackey", { "true", via = "gdb" })
    says("argument 2", { "true", 2 })
    says("env takes", { "true", env = { 1 } })
    lu.assertStrContains(select(2, vmem.trace.live({ "no-such-program" })), "no program no-such-program")
end
