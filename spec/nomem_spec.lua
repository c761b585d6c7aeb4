-- Host memory that runs out: every allocation of every operation fails in turn, of
-- Lua's every third (under sanitizers a fifth of them).
--
-- A scenario is a row: `make` prepares what the operation needs, into a table of
-- its own, and `act` is the operation. For n = 1, 2, ... the n-th allocation of
-- `act` is refused, by the core's allocator or by Lua's (spec/fail.c), until none
-- was. Each time the refusal is reported as what it is, the machine is whole, the
-- bytes of a process that stands by are what they were, no frame is lost, and when
-- everything is closed the core holds no memory and no file. After it, the same
-- `act` succeeds; a row that says `once` acts on what the first try may have half
-- consumed, and is not tried again.
local lu = require("luaunit")
local vmem = require("vmem")
local core = require("vmem.core")
local fail = require("fail")
local tree = require("tree")
local tracefile = require("fuzz.trace_fuzz")
local scale = require("scale")

local MOST = 20000 -- allocations of one operation
local stride = { core = math.max(1, math.floor(1 / scale)), lua = math.max(1, math.floor(3 / scale)) }

local small = { preset = "core-i7", dram = "512KiB", swap = "1MiB", cache = { l3 = { size = 0 } } }
local text = ("All that the process beside holds. "):rep(100)

-- A machine, a process `p` to act on, and one beside it that half fills memory.
local function with_machine(s)
    s.m = vmem.machine(s.options or small)
    s.free = s.m:meminfo().free
    s.beside = s.m:spawn()
    s.at = assert(s.beside:mmap({ length = "160KiB" }))
    for i = 0, 39 do
        s.beside:write(s.at + i * 4096, text)
    end
    s.p = s.m:spawn()
end

local function with_area(s)
    with_machine(s)
    s.a = assert(s.p:mmap({ length = "1MiB" }))
end

local function with_pages(s)
    with_area(s)
    for i = 0, 99 do
        s.p:store(s.a + i * 4096, i)
    end
end

local function spread(list)
    local t = {}
    for i = 1, 400 do
        t[i] = { list[i % #list + 1], 0x10000 + i * 7919 * 64 % (1 << 26), 8, i % 3 }
    end
    return t
end

local references = spread({ "load", "store" })

local function with_trace(s)
    with_machine(s)
    s.t = vmem.trace.new(spread({ "load", "store", "fetch", "modify" }))
end

-- Large pages of 256 KiB: none yet; base pages that could be one.
local function with_large(s)
    s.options = { dram = "2MiB", swap = "1MiB", huge = "always", compact = true,
        paging = { va_bits = 26, pa_bits = 32, page = "4KiB", levels = { 4, 4, 6 }, pte = "x86-64" } }
    with_machine(s)
    s.a = assert(s.p:mmap({ length = "256KiB", addr = 1 << 20, flags = "fixed|private|anonymous" }))
end

local function with_large_base(s)
    with_large(s)
    assert(s.p:madvise(s.a, "256KiB", "nohugepage"))
    for i = 0, 63 do s.p:store(s.a + i * 4096, i) end
    assert(s.p:madvise(s.a, "256KiB", "hugepage"))
end

-- A program that changes its address space in every way that a trace can tell.
local function with_events(s)
    with_machine(s)
    local list = {}
    local function add(kind, a, size, task) list[#list + 1] = { kind, a, size, task } end
    local function event(t) list[#list + 1] = { "event", t } end
    local base = 1 << 32
    event({ type = "brk", addr = 1 << 24, task = 0 })
    for i = 0, 39 do
        local a = base + i * 65536
        event({ type = "mmap", addr = a, length = 16384, prot = 3, flags = 34, offset = 0, name = "lib", task = 0 })
        for k = 0, 3 do add("store", a + k * 4096, 8, 0) end
        event({ type = "mprotect", addr = a + 4096, length = 4096, prot = 1, task = 0 })
        event({ type = "munmap", addr = a + 8192, length = 4096, task = 0 })
    end
    event({ type = "mremap", addr = base, length = 4096, new_addr = base << 4, new_length = 16384, task = 0 })
    add("load", base << 4, 8, 0)
    event({ type = "brk", addr = (1 << 24) + 65536, task = 0 })
    event({ type = "fork", child = 1, task = 0 })
    event({ type = "thread", child = 2, task = 0 })
    for i = 0, 19 do add("load", base + 65536 + i % 4 * 65536, 8, i % 3) end
    event({ type = "exec", task = 1 })
    add("store", base, 8, 1)
    event({ type = "exit", status = 0, task = 1 })
    s.t = vmem.trace.new(list)
end

local function pass(t)
    local n = 0
    for _ in t:each() do
        n = n + 1
    end
    return n
end

local scenarios = {
    { "spawn", make = with_machine, act = function(s)
        for _ = 1, 20 do s.m:spawn({ name = "child" }) end
    end },
    { "boot", make = function(s)
        s.m = vmem.machine({ preset = "x86-32", dram = "512KiB", boot = false, kernel = { low = "64KiB" } })
    end, act = function(s)
        lu.assertTrue(s.m:boot().mapped)
        s.free = s.free or s.m:meminfo().free
        s.m:spawn()
    end },
    -- Every eighth stack takes tables of the kernel's that all spaces are to share.
    { "spawn and fork beside a kernel", make = function(s)
        s.options = { dram = "512KiB", swap = "1MiB", kernel = { low = "64KiB" },
            paging = { va_bits = 20, levels = { 4, 2, 2 }, pte = "x86-64" } }
        with_machine(s)
        lu.assertTrue(s.m:boot().mapped)
    end, act = function(s)
        for _, p in ipairs(s.m:processes()) do -- of the first try
            if p:pid() > 2 then p:exit(0) end
        end
        for _ = 1, 10 do
            s.m:spawn({ name = "child" })
            local c, why, code = s.p:fork()
            if not c then return nil, why, code end
        end
        return true
    end },
    { "mmap", make = with_machine, act = function(s)
        local t = {}
        for i = 1, 20 do
            local a, why, code = s.p:mmap({ length = "8KiB", addr = 1 << 20 | i << 14, flags = "fixed" })
            if not a then return nil, why, code end
            t[i] = a
        end
        return t
    end },
    { "first touch", make = with_area, act = function(s)
        for i = 0, 19 do s.p:store(s.a + i * 4096, i) end
    end },
    { "first touch, each with its table", make = function(s)
        with_machine(s)
        s.a = assert(s.p:mmap({ length = "64MiB", addr = 1 << 30, flags = "fixed" }))
    end, act = function(s)
        for i = 0, 31 do lu.assertEquals(s.p:load(s.a + (i << 21)), 0) end
    end },
    { "touch with eviction", make = with_area, act = function(s)
        for i = 0, 199 do s.p:store(s.a + i * 4096, i) end
        for i = 0, 199 do lu.assertEquals(s.p:load(s.a + i * 4096), i) end
    end },
    { "read and write", make = with_area, act = function(s)
        s.p:write(s.a + 100, text)
        lu.assertEquals(s.p:read(s.a + 100, #text), text)
    end },
    { "munmap in the middle", make = with_pages, act = function(s)
        for i = 1, 40, 2 do
            local ok, why, code = s.p:munmap(s.a + i * 4096, 4096)
            if not ok then return nil, why, code end
        end
        return true
    end },
    { "a large page at a fault, shared, split", quiet = true, make = with_large, act = function(s)
        s.p:store(s.a, 1)
        local c, why, code = s.p:fork()
        if not c then return nil, why, code end
        c:store(s.a + 4096, 2)
        lu.assertEquals({ s.p:load(s.a), s.p:load(s.a + 4096) }, { 1, 0 })
        return true
    end },
    { "promote", quiet = true, make = with_large_base, act = function(s) return s.m:promote() end },
    { "split", make = function(s)
        with_large(s)
        s.p:store(s.a, 1)
    end, act = function(s)
        local ok, why, code = s.p:munmap(s.a + 8192, 4096)
        if not ok then return nil, why, code end
        return true
    end },
    { "compact", quiet = true, make = function(s)
        with_large_base(s)
        for i = 0, 30, 2 do assert(s.p:munmap(s.a + i * 4096, 4096)) end
    end, act = function(s) return s.m:compact() end },
    { "mprotect in the middle", make = with_pages, act = function(s)
        for i = 1, 40, 2 do
            local ok, why, code = s.p:mprotect(s.a + i * 4096, 4096, "r")
            if not ok then return nil, why, code end
        end
        return true
    end },
    { "brk", make = with_machine, act = function(s)
        local at, why, code = s.p:sbrk("64KiB")
        if not at then return nil, why, code end
        s.p:store(at, 1)
        return true
    end },
    { "exit", once = true, make = with_pages, act = function(s) s.p:exit(0) end },
    { "explain", make = with_area, act = function(s) return tostring(s.p:explain(s.a + 4096)) end },
    { "stats", make = with_pages, act = function(s)
        return s.m:stats(), s.m:processes(), s.p:areas(), s.p:page(s.a)
    end },
    { "replay", once = true, make = with_trace, act = function(s) return s.p:replay(s.t) end },
    { "replay of events", once = true, make = with_events, act = function(s)
        local r <close> = core.replay(s.p, s.t)
        r:step(1000)
        assert(r:result().refused == 0)
        return true
    end },
    { "a trace from a table", act = function(s)
        s.t = vmem.trace.new({ { "load", 0, 8 }, { "event", { type = "mmap", addr = 4096, length = 4096, prot = 3,
            flags = 34, offset = 0, name = "lib", task = 0 } } })
        return pass(s.t)
    end },
    { "parts and copies", make = with_trace, act = function(s)
        local head <close> = s.t:head(10)
        local copy <close> = head:copy()
        return pass(copy), copy:info()
    end },
    { "saving", make = with_trace, act = function(s)
        s.path = s.path or os.tmpname()
        local ok, why, code = s.t:save(s.path)
        if not ok then return nil, why, code end
        local t <close> = assert(vmem.trace.open(s.path))
        lu.assertEquals(pass(t), 400)
        return true
    end, finish = function(s)
        if s.path then
            lu.assertNil(io.open(s.path .. ".part"))
            os.remove(s.path)
        end
    end },
}

-- --- the kernel's calls ------------------------------------------------------------------

-- A process with private, shared, swapped, locked and large pages, and a file that it maps.
local function with_everything(s)
    s.options = { dram = "2MiB", swap = "1MiB",
        paging = { va_bits = 26, pa_bits = 32, page = "4KiB", levels = { 4, 4, 6 }, pte = "x86-64" } }
    with_machine(s)
    local p = s.p
    s.f = assert(s.m:file("data", ("content "):rep(4096)))
    assert(s.m:program("prog", { text = ("x"):rep(5000), data = "data", bss = "8KiB", libs = { { bytes = "lib" } } }))
    s.swapped = assert(p:mmap({ length = "32KiB" }))
    for i = 0, 7 do p:store(s.swapped + i * 4096, i) end
    p:swap_out()
    s.private = assert(p:mmap({ length = "32KiB" }))
    s.shared = assert(p:mmap({ length = "32KiB", flags = "shared|anonymous" }))
    s.mapped = assert(p:mmap({ length = "32KiB", flags = "shared", file = s.f }))
    s.copied = assert(p:mmap({ length = "32KiB", flags = "private", file = s.f }))
    s.large = assert(p:mmap({ length = "256KiB", flags = "private|anonymous|hugetlb" }))
    for i = 0, 7 do
        for _, at in ipairs({ s.private, s.shared, s.mapped, s.copied }) do p:store(at + i * 4096, i) end
    end
    p:store(s.large, 1)
end

local kernel_rows = {
    { "fork", act = function(s) return s.p:fork() end },
    { "fork and copy", make = function(s)
        with_everything(s)
        s.c = assert(s.p:fork())
    end, act = function(s)
        for i = 0, 7, 4 do
            for _, at in ipairs({ s.private, s.swapped, s.copied, s.shared }) do s.c:store(at + i * 4096, 9) end
        end
        s.c:store(s.large, 2)
        lu.assertEquals({ s.p:load(s.large), s.p:load(s.private + 4 * 4096), s.p:load(s.shared) }, { 1, 4, 9 })
    end },
    { "swap in", act = function(s)
        for i = 0, 7 do lu.assertEquals(s.p:load(s.swapped + i * 4096), i) end
    end },
    { "a new file", once = true, act = function(s) return s.m:file("new", ("bytes"):rep(5000)) end },
    { "file write", act = function(s) return s.f:write(20000, ("W"):rep(150000)) end },
    { "file truncate", act = function(s)
        local ok, why, code = s.f:truncate(5000)
        if not ok then return nil, why, code end
        return s.f:truncate(1 << 30)
    end },
    { "sync and unlink", act = function(s)
        s.p:store(s.mapped, 77)
        local ok, why, code = s.p:msync(s.mapped, 32768)
        if not ok then return nil, why, code end
        return #s.m:files() + #s.f:read()
    end },
    { "mapping a file", act = function(s)
        local a, why, code = s.p:mmap({ length = s.f.size, flags = "private", file = s.f })
        if not a then return nil, why, code end
        for i = 0, 7 do s.p:store(a + i * 4096, i) end
        return a
    end },
    { "shared memory", act = function(s)
        local a, why, code = s.p:mmap({ length = "4MiB", flags = "shared|anonymous" })
        if not a then return nil, why, code end
        for i = 0, 1023, 100 do s.p:store(a + i * 4096, i) end
        return a
    end },
    { "populate", act = function(s)
        local a, why, code = s.p:mmap({ length = "64KiB", flags = "private|anonymous|populate" })
        if not a then return nil, why, code end
        return a
    end },
    { "execve", act = function(s)
        local ok, why, code = s.p:execve("prog", { "prog", "an argument" }, { "A=B" })
        if not ok then
            lu.assertEquals({ s.p:load(s.private + 4096), s.p:load(s.large) }, { 1, 1 })
            return nil, why, code
        end
        lu.assertEquals(s.p:fetch(s.p:registers(), 2), "xx")
        return true
    end },
    { "mremap", once = true, act = function(s)
        local a, why, code = s.p:mremap(s.private, "32KiB", "4MiB", { maymove = true })
        if not a then
            lu.assertEquals(s.p:load(s.private + 4096), 1)
            return nil, why, code
        end
        lu.assertEquals(s.p:load(a + 4096), 1)
        return true
    end },
    { "mlock", act = function(s)
        local ok, why, code = s.p:mlock(s.swapped + 4096, "16KiB")
        if not ok then return nil, why, code end
        lu.assertEquals(s.p:pages(s.swapped + 4096, s.swapped + 5 * 4096), "cccc")
        return s.p:munlock(s.swapped + 8192, 4096)
    end },
    { "madvise and mincore", act = function(s)
        for _, advice in ipairs({ "sequential", "free", "dontneed" }) do
            local ok, why, code = s.p:madvise(s.swapped + 4096, 8192, advice)
            if not ok then return nil, why, code end
        end
        return s.p:mincore(s.swapped, 32768)
    end },
    { "clone and vfork", act = function(s)
        local t, why, code = s.p:clone("thread")
        if not t then return nil, why, code end
        t, why, code = s.p:vfork()
        if not t then return nil, why, code end
        t:exit(0)
        return true
    end },
    { "sigaction", act = function(s)
        local a = assert(s.p:mmap({ length = 4096, prot = "none" }))
        s.p:sigaction("SIGSEGV", function() return s.p:mprotect(a, 4096, "rw") end)
        s.p:store(a, 5)
        return s.p:load(a)
    end },
    { "exit of everything", once = true, act = function(s) s.p:exit(0) end },
    { "pictures", make = with_area, act = function(s)
        return #tostring(s.p:map()) + #tostring(s.m:meminfo())
    end },
}
for _, row in ipairs(kernel_rows) do
    row.make = row.make or with_everything
    table.insert(scenarios, row)
end

-- A machine of each preset.
for _, name in ipairs(vmem.presets.names()) do
    table.insert(scenarios, { "a machine, " .. name, act = function(s)
        s.m = vmem.machine({ preset = name, dram = name ~= "csapp" and "1MiB" or nil })
    end })
end

table.insert(scenarios, { "a machine with all levels", act = function(s)
    local tlb, cache = { entries = 8, ways = 2 }, { size = "4KiB", ways = 2 }
    s.m = vmem.machine({ preset = "core-i7", dram = "1MiB",
        tlb = { l1i = tlb, l1d = tlb, l2 = tlb, l3 = tlb },
        pwc = { l1 = tlb, l2 = tlb, l3 = tlb },
        cache = { l1i = cache, l1d = cache, l2 = cache, l3 = cache, l4 = cache } })
end })

-- A machine of each policy.
for _, row in ipairs(core.policies()) do
    if row.serves:find("frames") then
        table.insert(scenarios, { "policy " .. row.name,
            make = function(s)
                s.options = { preset = "core-i7", dram = "512KiB", swap = "1MiB", policy = row.name,
                    cache = { l3 = { size = 0 } } }
                with_pages(s)
            end,
            act = function(s)
                for i = 100, 139 do s.p:store(s.a + i * 4096, i) end
            end })
    end
end

for _, row in ipairs(require("nomem_heaps")(with_machine)) do table.insert(scenarios, row) end
table.insert(scenarios, require("nomem_detector")(with_machine))
table.insert(scenarios, require("nomem_gc")(with_machine))

-- Each generator, and its first records.
for _, g in ipairs(vmem.trace.generators()) do
    table.insert(scenarios, { "generator " .. g.name, act = function(s)
        local inner
        if g.takes_traces then
            inner = { vmem.trace.pages({ 1, 2, 3 }), vmem.trace.loop({ refs = 100 }) }
        end
        s.t = vmem.trace[g.name](inner)
        local head <close> = s.t:head(5000)
        return pass(head)
    end })
end

-- Each format: a file to open, read, measure and replay.
local contents = {
    lackey = "I  04000000,3\n L 1ffeffe8,8\n S 1ffeffe0,8\n M 0421d000,4\n",
    din = "2 400 4\n0 1f\n1 20 8\n",
    pages = "1 2 3 4\n1 2 5\n",
    champsim = (("<I8BBc2c4I8I8I8I8I8I8"):pack(0x400000, 0, 0, "\0\0", "\0\0\0\0", 0x1000, 0, 0x2000, 0, 0, 0)):rep(8),
    pattern = "r 4096\nw 8192\n",
}
local packers = { plain = "cat", gzip = "gzip -c", zstd = "zstd -qc", xz = "xz -c" }

-- Policies in Lua that a function which is broken off leaves as they were.
local samples = require("policy_samples")
local robust = { samples.clock, samples.aging,
    vmem.policy.wrap("lru", { name = "wrap", filter = function() return true end,
        touch = function(self, slot, write) self.inner:touch(slot, write) end }) }
for _, p in ipairs(robust) do
    table.insert(scenarios, { "a policy in Lua, " .. p.name,
        make = function(s)
            s.options = { preset = "core-i7", dram = "512KiB", swap = "1MiB", policy = p,
                cache = { l3 = { size = 0 } } }
            with_area(s)
        end,
        act = function(s)
            for i = 0, 150 do s.p:store(s.a + i % 120 * 4096, i) end
        end })
end
table.insert(scenarios, { "sets under a policy in Lua", act = function(s)
    local c = samples.clock
    s.m = vmem.machine({ preset = "core-i7", dram = "512KiB", swap = "1MiB",
        tlb = { l1d = { entries = 8, ways = 4, policy = c } },
        cache = { l1d = { size = "1KiB", ways = 4, policy = c }, l3 = { size = 0 } } })
    local p = s.m:spawn()
    local a = assert(p:mmap({ length = "64KiB" }))
    for i = 0, 40 do p:store(a + i % 12 * 4096 + i * 64, i) end
end, once = true })
table.insert(scenarios, { "another policy", make = with_pages, act = function(s)
    s.m:set_policy("lru")
    s.m:set_policy(samples.aging)
    for i = 0, 150 do s.p:store(s.a + i % 120 * 4096, i) end
    s.m:set_policy(samples.clock)
end })
table.insert(scenarios, { "a study of a policy in Lua", act = function(s)
    s.t = vmem.trace.new(references)
    vmem.paging.run({ trace = s.t, frames = 20, policy = samples.wsclock })
    return true
end, once = true })
for _, policy in ipairs({ "fifo", "clock", "lru", "arc", "2q", "opt" }) do
    table.insert(scenarios, { "a study of " .. policy, act = function(s)
        s.t = vmem.trace.new(references)
        local r = vmem.paging.decode({ trace = s.t })
        vmem.paging.run({ trace = r, frames = 20, policy = policy })
        vmem.paging.run({ trace = r, frames = 20, policy = policy, log = true })
        vmem.paging.run({ trace = r, frames = 20, policy = policy, scope = "local" })
        return true
    end })
end
for _, policy in ipairs({ "lru", "opt", "clock" }) do
    table.insert(scenarios, { "a curve of " .. policy, act = function(s)
        s.t = vmem.trace.new(references)
        vmem.paging.curve({ trace = s.t, policy = policy, sizes = { 10, 50 }, threads = 1 })
        vmem.paging.curve({ trace = s.t, policy = policy, sizes = { 10, 50 }, sample_pages = 40, threads = 0 })
        return true
    end })
end
table.insert(scenarios, { "a comparison, without a policy", act = function(s)
    s.t = vmem.trace.new(references)
    local r = vmem.paging.decode({ trace = s.t })
    vmem.paging.compare({ trace = r, policies = { "fifo", "arc" }, frames = { 5, 50 }, threads = 2 })
    vmem.paging.working_set({ trace = r })
    vmem.paging.pff({ trace = r, thresholds = { 5 } })
    vmem.paging.phases({ trace = r, window = 50 })
    return true
end })
table.insert(scenarios, { "a policy by hand", act = function()
    for _, p in ipairs(robust) do
        local h <close> = vmem.policy.open(p, { slots = 3 })
        for i = 0, 2 do h:insert(i, i) end
        h:insert(h:victim(7), 7)
        h:remove(0)
    end
    return true
end, once = true })

local function open_row(format, packer, command)
    return { ("open %s, %s"):format(format, packer),
        make = function(s)
            local program = command and command:match("^%S+")
            lu.skipIf(program and not os.execute(("command -v %s >/dev/null 2>&1"):format(program)),
                tostring(program) .. " is not there")
            with_machine(s)
            s.path = os.tmpname()
            if format == "vmt" then
                local t <close> = vmem.trace.new(references)
                assert(t:save(s.path))
            else
                tracefile.write_file(s.path, contents[format])
            end
            if packer ~= "plain" then
                local p = tree.quote(s.path)
                assert(os.execute(("%s %s >%s.z && mv %s.z %s"):format(command, p, p, p, p)))
            end
        end,
        act = function(s)
            local o
            if format == "pattern" then
                local lpeg = require("lpeg")
                o = { pattern = lpeg.C(lpeg.S("rw")) * " " * lpeg.C(lpeg.R("09") ^ 1) }
            end
            local t, why, code = vmem.trace.open(s.path, o)
            if not t then return nil, why, code end
            s.t = t
            pass(t)
            s.t:info()
            local r <close> = core.replay(s.p, t)
            r:step(1000)
            return true
        end,
        once = true,
        finish = function(s) os.remove(s.path) end }
end

for format in pairs(contents) do
    table.insert(scenarios, open_row(format, "plain"))
end
table.insert(scenarios, open_row("vmt", "plain"))
for packer, command in pairs(packers) do
    if packer ~= "plain" then
        table.insert(scenarios, open_row("lackey", packer, command))
    end
end

-- A program recorded as it runs.
if os.execute(("command -v qemu-x86_64 >/dev/null && test -e %s/libvmem-record.so"):format(tree.quote(tree.build))) then
    table.insert(scenarios, { "recording", act = function(s)
        local t, why, code = vmem.trace.record({ "true", via = "qemu" })
        if not t then return nil, why, code end
        s.t = t
        pass(t)
        return true
    end, once = true })
end

-- Its allocations.
if os.execute(("test -e %s/libvmem-malloc.so"):format(tree.quote(tree.build))) then
    table.insert(scenarios, (require("nomem_recording"))) -- not its second value, the path
end

-- A refusal told as it should be: raised, or nil, message, code.
local function told(row, who, n, ok, a, why, code)
    local where = ("%s: allocation %d of %s"):format(row[1], n, who)
    local message = tostring(ok and why or a)
    if ok then
        lu.assertNil(a, where .. " was refused, and nothing was said")
        lu.assertEquals(code, "ENOMEM", where .. ": " .. message)
    end
    lu.assertEvalToTrue(message:find("not enough memory", 1, true) or message:find("not enough host memory for %w")
        or message:find("^ENOMEM: "), where .. ": " .. message)
end

local function whole(row, who, n, s)
    local where = ("%s, after allocation %d of %s was refused"):format(row[1], n, who)
    if s.m then
        lu.assertEquals({ s.m:check() }, { true }, where)
    end
    if s.beside then
        for i = 0, 39 do
            lu.assertEquals(s.beside:read(s.at + i * 4096, #text), text, where)
        end
    end
end

-- With its last process, a machine has every frame and swap slot again.
local function close(row, s)
    if s.t then s.t:close() end
    if s.m then
        for _, p in ipairs(s.m:processes()) do p:exit(0) end
        for _, f in ipairs(s.m:files()) do assert(s.m:file(f.name)):unlink() end
        if s.f then s.f:close() end
        collectgarbage() -- handles hold files that have no name
        local info = s.m:meminfo()
        lu.assertEquals({ info.free, info.swap_used }, { s.free or info.free, 0 }, row[1] .. ": frames, slots lost")
        lu.assertEquals({ s.m:check() }, { true })
        s.m:close()
    end
    if row.finish then row.finish(s) end
end

-- What an emergency collection has found is finalized by the next, which may free more:
-- a second is for those few.
local function held(expected)
    collectgarbage()
    if expected and fail.held() ~= expected[1] then
        collectgarbage()
    end
    return { fail.held() }
end

-- Everything that the scenario made is garbage once this has returned.
local function act(row, who, n)
    local s = {}
    if row.make then row.make(s) end
    local results = table.pack(fail.run(who, n, row.act, s))
    local refused = results[1]
    if refused and not (row.quiet and results[2]) then -- quiet: it does without what it can't have
        told(row, who, n, table.unpack(results, 2, results.n))
        whole(row, who, n, s)
    end
    if not refused or not row.once then
        local ok, a, why = table.unpack(results, 2, 4)
        if refused then
            ok, a, why = pcall(row.act, s)
        end
        lu.assertEvalToTrue(ok and (a ~= nil or why == nil),
            ("%s, after allocation %d of %s: %s"):format(row[1], n, who, tostring(ok and why or a)))
        whole(row, who, n, s)
    end
    close(row, s)
    return refused
end

local function try(row, who, n, before)
    local refused = act(row, who, n)
    lu.assertEquals(held(before), before, ("%s, allocation %d of %s: bytes, blocks, wrong sizes held"):format(
        row[1], n, who))
    return refused
end

TestNoMemory = {}

local function refuse_all(row, who)
    local n, files, before = 1 + #row[1] % stride[who], tree.open_files(), held()
    while try(row, who, n, before) do
        n = n + stride[who]
        lu.assertTrue(n < MOST, row[1] .. " does not end")
    end
    lu.assertEquals(tree.open_files(), files, row[1] .. ": files left open")
end

for _, row in ipairs(scenarios) do
    local name = row[1]:gsub("^%l", string.upper):gsub("[^%w]+(%w?)", string.upper):gsub("[^%w]", "")
    for _, who in ipairs({ "core", "lua" }) do
        TestNoMemory[("test%s%s"):format(who == "core" and "" or "Lua", name)] = function()
            refuse_all(row, who)
        end
    end
end
