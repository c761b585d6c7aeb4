-- The lives of processes: fork, execve, exit and wait, as scenes with their counts.
local lu = require("luaunit")
local vmem = require("vmem")
local scene = require("scene")

local PAGE = 4096

TestScenesProcesses = {}

-- The stack that execve makes, read as a program reads it.
function TestScenesProcesses:testExecve()
    for preset, word in pairs({ ["core-i7"] = 8, ["x86-32"] = 4, sv39 = 8 }) do
        scene.run({ preset = preset }, function(m)
            assert(m:program("prog", { text = ("T"):rep(5000), data = "DATA", bss = "8KiB",
                libs = { { bytes = "LIB", name = "libc" } } }))
            local p = m:spawn()
            local old = assert(p:mmap({ length = PAGE, addr = 1 << 20, flags = "private|anonymous|fixed" }))
            p:store(old, 1)
            lu.assertTrue(p:execve("prog", { "prog", "-v", "" }, { "HOME=/", "LANG=C" }))
            local pc, sp = p:registers()
            local function text(at)
                local t = {}
                while p:load(at, 1) ~= 0 do
                    t[#t + 1] = string.char(p:load(at, 1))
                    at = at + 1
                end
                return table.concat(t)
            end
            lu.assertEquals({ sp % 16, p:load(sp, word) }, { 0, 3 })
            local at, list = sp + word, {}
            for i = 1, 7 do
                local q = p:load(at + (i - 1) * word, word)
                list[i] = q == 0 and "null" or text(q)
            end
            lu.assertEquals(list, { "prog", "-v", "", "null", "HOME=/", "LANG=C", "null" })
            lu.assertEquals(p:page(old).state, "unallocated")
            -- Of the program nothing is in memory until it is touched.
            lu.assertEquals(p:page(pc).state, "uncached")
            lu.assertEquals(p:fetch(pc, 4), "TTTT")
            local data = pc + 2 * PAGE
            lu.assertEquals(p:read(data, 6), "DATA\0\0")
            lu.assertEquals(p:load(data + 2 * PAGE), 0)
            p:store(data, 0)
            local content = assert(m:file("prog")):read()
            lu.assertStrContains(content, "DATA") -- what is written stays with the process
            lu.assertEquals(#p:areas(), 5)
        end)
    end
end

function TestScenesProcesses:testAFailedExecveLeavesAllAsItWas()
    scene.run({ stack = "64KiB" }, function(m)
        assert(m:program("good", { text = "ok" }))
        assert(m:program("broken", { segments = { { addr = 0x10000, bytes = "a" }, { addr = 0x10000, bytes = "b" } } }))
        assert(m:file("text", "not a program"))
        local p = m:spawn()
        lu.assertTrue(p:execve("good", { "good" }))
        local a = assert(p:mmap({ length = 4 * PAGE }))
        p:store(a, 77)
        local function all() return { p:registers(), p:load(a), tostring(p:maps()), m:meminfo() } end
        local before = all()
        for code, call in pairs({ ENOENT = { "none" }, ENOEXEC = { "text" }, E2BIG = { "good",
            { ("x"):rep(1 << 15) } } }) do
            local _, why, got = p:execve(table.unpack(call))
            lu.assertEquals(got, code, why)
            lu.assertEquals(all(), before)
        end
        lu.assertEquals(select(3, p:execve("broken")), "ENOEXEC")
        lu.assertEquals(all(), before)
    end)
end

-- No frame for the new stack, and the old space is the biggest: it is not the one to go.
-- The program leaves no place for its stack.
function TestScenesProcesses:testExecveIntoASmallSpace()
    local m <close> = vmem.machine({ dram = "64KiB", swap = 1024,
        paging = { levels = { 2, 2 }, pa_bits = 20, page = 256, pte = "x86-64", va_bits = 12 } })
    assert(m:program("prog", { text = ("x"):rep(500), bss = 1000 }))
    local p = m:spawn()
    local _, why, code = p:execve("prog", { "prog", "x" })
    lu.assertEquals(code, "ENOMEM", why)
    lu.assertEquals({ p:alive(), m:check() }, { true, true })
end

function TestScenesProcesses:testExecveWithoutMemory()
    scene.run({ dram = "256KiB", swap = 0 }, function(m)
        assert(m:program("prog", { text = "x" }))
        lu.assertTrue(m:sync())
        local p = m:spawn()
        local a, n = assert(p:mmap({ length = 100 * PAGE })), 0
        while m:meminfo().free > 2 do
            p:store(a + n * PAGE, n)
            n = n + 1
        end
        local _, why, code = p:execve("prog", { ("x"):rep(20000) })
        lu.assertEquals(code, "ENOMEM", why)
        lu.assertTrue(p:alive())
        for i = 0, n - 1 do lu.assertEquals(p:load(a + i * PAGE), i) end
    end)
end

function TestScenesProcesses:testZombiesOrphansWait()
    scene.run({}, function(m)
        local p = m:spawn()
        lu.assertEquals(select(3, p:wait()), "ECHILD")
        local c, d = assert(p:fork()), assert(p:fork())
        lu.assertEquals({ c:parent(), p:parent() }, { p:pid(), nil })
        lu.assertEquals(select(3, p:wait()), "EAGAIN")
        c:exit(7)
        lu.assertEquals({ c:status() }, { "zombie", 7 })
        lu.assertEquals({ p:wait() }, { c:pid(), 7 })
        lu.assertEquals({ c:status() }, { "reaped", 7 })
        lu.assertEquals(select(3, p:wait(c:pid())), "ECHILD")
        scene.fault(d.load, d, 0)
        lu.assertEquals({ p:wait(d:pid()) }, { d:pid(), -1, "SIGSEGV" })
        -- Orphans are nobody's: they end without a zombie.
        local e, z = assert(p:fork()), assert(p:fork())
        z:exit(1)
        p:exit(0)
        lu.assertNil(e:parent())
        lu.assertEquals({ z:status() }, { "reaped", 1 })
        e:exit(2)
        lu.assertEquals({ e:status() }, { "reaped", 2 })
        lu.assertEquals(#m:processes(), 0)
    end)
end
