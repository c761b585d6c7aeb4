--- Programs recorded as they run: what is counted, how tasks and ends are told, and
--- that nothing is left behind.

local lu = require "luaunit"
local vmem = require "vmem"
local tree = require "tree"

TestRecord = {}

local function has(name)
  local pipe = assert(io.popen("command -v " .. name))
  local found = pipe:read("a") ~= ""
  pipe:close()
  return found
end

local qemu, cc = has "qemu-x86_64", has "cc"

function TestRecord:setUp()
  lu.skipIf(not (qemu and cc), "qemu-user or a C compiler is not here")
end

-- A program of `source`, compiled in a folder of its own, given to `body`.
local function program(source, flags, body)
  tree.scratch(function(folder)
    local file = assert(io.open(folder .. "/program.c", "w"))
    file:write(source)
    file:close()
    local path = folder .. "/program"
    assert(os.execute(("cc -O1 -o %s %s.c %s"):format(tree.quote(path), tree.quote(path), flags or "")))
    body(path, folder)
  end)
end

-- Each turn: seven instructions with one load, one store, and one that does both.
local LOOP = [[
#include <stdlib.h>
int main(int argc, char **argv)
{
    static volatile long a, b, c;
    long n = atol(argv[1]);
    (void)argc;
    __asm__ volatile("1: mov (%1),%%rax\n mov %%rax,(%2)\n addq $1,(%3)\n dec %0\n jnz 1b"
                     : "+r"(n) : "r"(&a), "r"(&b), "r"(&c) : "rax", "memory");
    return 7;
}
]]

local function info(command)
  command.stdout = "/dev/null"
  local t, how = assert(vmem.trace.record(command))
  local i = t:info()
  t:close()
  return i, how
end

function TestRecord:testALoopIsCountedExactly()
  program(LOOP, nil, function(path)
    -- Arguments of one length, so that start-up is the same.
    local few, how = info { path, "1000" }
    local many = info { path, "4000" }
    lu.assertEquals(how, { status = 7 })
    lu.assertEquals(many.fetch - few.fetch, 3000 * 5)
    lu.assertEquals(many.load - few.load, 3000 * 2)
    lu.assertEquals(many.store - few.store, 3000 * 2)
  end)
end

function TestRecord:testLiveAndRecordedAgree()
  program(LOOP, "-static", function(path)
    local function counters(t)
      local m <close> = vmem.machine { preset = "core-i7" }
      local s = m:spawn { name = "p" }:replay(t)
      lu.assertEquals({ m:check() }, { true })
      return s
    end
    local recorded = counters(assert(vmem.trace.record { path, "2000", stdout = "/dev/null" }))
    local live = counters(assert(vmem.trace.live { path, "2000", stdout = "/dev/null" }))
    lu.assertTrue(recorded.access.fetches > 10000)
    lu.assertEquals(live, recorded) -- every counter, in every part
  end)
end

local function events(t)
  local found = {}
  for kind, event in t:each() do
    if kind == "event" then
      found[event.type] = found[event.type] or {}
      table.insert(found[event.type], event)
    end
  end
  return found
end

function TestRecord:testThreadsAndChildrenHaveNumbersOfTheirOwn()
  program([[
#include <pthread.h>
#include <sys/wait.h>
#include <unistd.h>
static void *run(void *x) { for (volatile int i = 0; i < 5000; i++); return x; }
int main(void)
{
    pthread_t t;
    pthread_create(&t, 0, run, 0);
    pthread_join(t, 0);
    if (fork() == 0) { run(0); _exit(3); }
    wait(0);
    return 0;
}
]], "-lpthread", function(path)
    local t, how = assert(vmem.trace.record { path, stdout = "/dev/null" })
    lu.assertEquals(how, { status = 0 })
    lu.assertEquals(t:info().tasks, 3)
    local e = events(t)
    lu.assertEquals(#e.thread, 1)
    lu.assertEquals(#e.fork, 1)
    lu.assertEquals({ e.thread[1].task, e.fork[1].task }, { 0, 0 })
    local statuses = {}
    for _, v in ipairs(e.exit) do statuses[v.task] = v.status end
    lu.assertEquals(statuses, { [0] = 0, [1] = 0, [2] = 3 })
    local m <close> = vmem.machine { preset = "core-i7" }
    local p = m:spawn { name = "all" }
    lu.assertEquals(p:replay(t).replay.processes, 2) -- a thread is no process
    lu.assertEquals({ m:check() }, { true })
  end)
end

function TestRecord:testTheProgramsAreasCome()
  program([[
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
int main(void)
{
    char *p = mmap(0, 3 << 20, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    memset(p, 1, 3 << 20);
    mprotect(p, 4096, PROT_READ);
    munmap(p + 4096, 4096);
    return 0;
}
]], nil, function(path)
    local t = assert(vmem.trace.record { path, stdout = "/dev/null" })
    local e = events(t)
    local sizes = {}
    for _, event in ipairs(e.mmap) do sizes[event.length] = true end
    lu.assertTrue(sizes[3 << 20])
    lu.assertEquals(#e.exit, 1)
    lu.assertEquals(e.exit[1].status, 0)
    lu.assertTrue(#e.brk > 0) -- the C library asks where the heap is
    local m <close> = vmem.machine { preset = "core-i7" }
    local p = m:spawn { name = "areas" }
    p:replay(t)
    local hole
    for i, a in ipairs(p:areas()) do
      local next_area = p:areas()[i + 1]
      if a.prot == "r--" and a.stop - a.start == 4096 and next_area and next_area.start == a.stop + 4096 then
        hole = true
      end
    end
    lu.assertTrue(hole, "a page that can be read, a hole, the rest")
  end)
end

function TestRecord:testEndsAreTold()
  program("#include <signal.h>\nint main(void) { raise(SIGTERM); return 0; }", nil, function(path)
    local _, how = info { path }
    lu.assertEquals(how, { status = -1, signal = 15 })
  end)
end

function TestRecord:testInputAndOutputAreFiles()
  tree.scratch(function(folder)
    local file = assert(io.open(folder .. "/in", "w"))
    file:write("b\na\n")
    file:close()
    assert(vmem.trace.record { "sort", stdin = folder .. "/in", stdout = folder .. "/out" }):close()
    file = assert(io.open(folder .. "/out"))
    lu.assertEquals(file:read("a"), "a\nb\n")
    file:close()
  end)
end

function TestRecord:testAScriptRunsByItsInterpreter()
  tree.scratch(function(folder)
    local path = folder .. "/script"
    local file = assert(io.open(path, "w"))
    file:write("#!/bin/sh\nexit 5\n")
    file:close()
    assert(os.execute("chmod +x " .. tree.quote(path)))
    local i, how = info { path }
    lu.assertEquals(how, { status = 5 })
    lu.assertTrue(i.fetch > 1000)
  end)
end

-- Emulators that this process has started and not yet reaped, dead ones included.
local function children()
  local own = assert(io.open("/proc/self/stat"))
  local me, n = own:read("n"), 0
  own:close()
  local pipe = assert(io.popen("cat /proc/[0-9]*/stat 2>/dev/null"))
  for line in pipe:lines() do
    local name, parent = line:match("%((.*)%) %S (%d+)")
    if tonumber(parent) == me and name:find("^qemu") then n = n + 1 end
  end
  pipe:close()
  return n
end

function TestRecord:testStoppingEarlyEndsTheProgram()
  local function stopped(command)
    local t = assert(vmem.trace.live(command))
    local n, running = 0, 0
    for _ in t:each() do
      n, running = n + 1, running + children()
      if n == 2 then break end
    end
    lu.assertEquals(running, n)
    t:close()
    lu.assertEquals(children(), 0)
  end
  stopped { "sleep", "60" } -- waits in the kernel
  stopped { "sh", "-c", "while :; do :; done" } -- waits for room in the ring
end

function TestRecord:testAnErrorInAPassEndsTheProgram()
  local t = assert(vmem.trace.live { "sleep", "60" })
  lu.assertErrorMsgContains("enough", function()
    for _ in t:each() do error "enough" end
  end)
  lu.assertEquals(children(), 0)
  t:close()
end

function TestRecord:testAFullRunLeavesNoProcess()
  assert(vmem.trace.record { "true" }):close()
  lu.assertEquals(children(), 0)
end

-- The pipe that tells of the program's end is among them.
function TestRecord:testAProgramMayCloseEveryDescriptor()
  program([[
#include <unistd.h>
int main(void)
{
    for (int i = 3; i < 1024; i++) close(i);
    for (volatile long i = 0; i < 500000; i++);
    return 4;
}
]], nil, function(path)
    local i, how = info { path }
    lu.assertEquals(how, { status = 4 })
    lu.assertTrue(i.load > 500000)
  end)
end

function TestRecord:testALiveTraceIsReadOnce()
  local t <close> = assert(vmem.trace.live { "true" })
  lu.assertTrue(t:info().fetch > 1000)
  lu.assertErrorMsgContains("has run already", function() t:info() end)
end

function TestRecord:testACopyOfALiveTraceIsReadAgain()
  local t <close> = assert(vmem.trace.live { "true" })
  local copy <close> = t:copy()
  lu.assertTrue(copy:info().fetch > 1000)
  lu.assertEquals(copy:info(), copy:info())
  lu.assertErrorMsgContains("has run already", function() t:copy() end)
end

function TestRecord:testWhatCantRunIsSaid()
  local function refused(command, code, words)
    local t, message, got = vmem.trace.record(command)
    lu.assertNil(t)
    lu.assertEquals(got, code)
    lu.assertStrContains(message, words)
  end
  refused({ "no-such-program" }, "ENOENT", "no-such-program")
  refused({ tree.root .. "/README.md" }, "ENOEXEC", "neither an ELF program nor a script")
  refused({ "true", emulator = "no-such-emulator" }, "ENOENT", "no-such-emulator")
  refused({ "true", stdin = "/no/such/file" }, "ENOENT",
    "/no/such/file, the input of /")
  lu.assertErrorMsgContains("there is no option sdtin", vmem.trace.record, { "true", sdtin = "x" })
  lu.assertErrorMsgContains("argument 2 is a number", vmem.trace.record, { "true", 1 })
end

TestRecordByLackey = {}

function TestRecordByLackey:setUp()
  lu.skipIf(not (has "valgrind" and cc), "Valgrind or a C compiler is not here")
end

function TestRecordByLackey:testLackeyServesWhereQemuDoesNot()
  program(LOOP, nil, function(path)
    local few = info { path, "1000", via = "lackey" }
    local many = info { path, "4000", via = "lackey" }
    lu.assertEquals(many.fetch - few.fetch, 3000 * 5)
    lu.assertEquals(many.load - few.load, 3000)
    lu.assertEquals(many.modify - few.modify, 3000)
  end)
end

-- The pass fills the pipe, so that Valgrind is at work while Lua collects.
function TestRecordByLackey:testALivePassByLackeyOutlivesCollections()
  local t <close> = assert(vmem.trace.live { "true", via = "lackey" })
  local n = 0
  for _ in t:each() do
    n = n + 1
    if n == 1000 then
      collectgarbage()
      collectgarbage()
    end
  end
  lu.assertTrue(n > 10000)
end

function TestRecordByLackey:testLackeySaysWhatItCantOpen()
  for _, what in ipairs { "input", "output" } do
    local command = { "true", via = "lackey", [what == "input" and "stdin" or "stdout"] = "/no/such/file" }
    local t, message, code = vmem.trace.record(command)
    lu.assertNil(t)
    lu.assertEquals(code, "ENOENT")
    lu.assertStrContains(message, "/no/such/file, the " .. what .. " of /")
  end
end
