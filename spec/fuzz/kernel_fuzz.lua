-- Random programs of many processes that share: fork, clone, files, shared memory,
-- execve, mremap, advice, locks, against a flat model of bytes; the machine's
-- invariants after every step. Used by spec/kernel_fuzz_spec.lua and `make soak`:
--
--    lua5.4 spec/fuzz/kernel_fuzz.lua [STEPS [SEED]]      default: 100000, the time
--
-- The model knows objects (files and shared memory: pages by index) and spaces
-- (pages by number: an object and an index, and, once written privately, bytes of
-- their own). Nothing in it is shared but objects: fork copies the pages' table.
-- What depends on how much memory there is (ENOMEM, who is killed) it learns from
-- the machine; that nobody else loses a byte, it checks.

local script = ... ~= "fuzz.kernel_fuzz"
if script then
    local root = (arg[0]:match("^(.*/)") or "./") .. "../../"
    package.path = root .. "lua/?.lua;" .. root .. "lua/?/init.lua;" .. root .. "spec/?.lua;" .. package.path
    package.cpath = root .. "build/?.so;" .. package.cpath
end

local vmem = require("vmem")
local model = require("model")
local fuzz = require("fuzz.machine_fuzz")
local flat = require("fuzz.flat_model")

local kfuzz = {}

-- --- the model -------------------------------------------------------------------------

local World = {}
World.__index = World

local function expect(ok, ...)
    if not ok then error(("wanted " .. select(1, ...)):format(select(2, ...)), 0) end
end

-- An object's page, or one of zeros.
function World:content(e)
    return e.own or (e.obj and e.obj.pages[e.index]) or self.zeros
end

function World:splice(e, at, bytes)
    local old = self:content(e)
    local new = old:sub(1, at) .. bytes .. old:sub(at + #bytes + 1)
    if e.private then e.own = new else e.obj.pages[e.index] = new end
end

function World:beyond(e)
    return e.obj and e.obj.file and not e.own and e.index >= (e.obj.size + self.page - 1) // self.page
end

-- The file is `size` bytes long now; what lay behind the old end, or the new, is zeros.
function World:resize(obj, size)
    local edge = math.min(obj.size, size)
    local first, within = edge // self.page, edge % self.page
    if within > 0 and obj.pages[first] then
        obj.pages[first] = obj.pages[first]:sub(1, within) .. self.zeros:sub(within + 1)
    end
    if size < obj.size then
        local stop = (size + self.page - 1) // self.page
        for index in pairs(obj.pages) do
            if index >= stop then obj.pages[index] = nil end
        end
        for _, s in pairs(self.spaces) do
            for _, e in pairs(s.pages) do
                if e.obj == obj and e.index >= stop then e.own = nil end
            end
        end
    end
    obj.size = size
end

local function permits(format, prot, kind)
    if kind == "store" then return prot:find("w") ~= nil end
    return prot:find(format.read and "[rw]" or "[rwx]") ~= nil
end

-- Go over an access page by page: f(entry, offset in page, from, length). The fault that
-- stops it, or nil: what went before it has happened.
function World:walk(s, kind, va, n, f)
    local done = 0
    while done < n do
        local at = va + done
        local part = math.min(n - done, self.page - at % self.page)
        local e = s.pages[at // self.page]
        if not e then return "MAPERR" end
        if not permits(self.format, e.prot, kind) then return "ACCERR" end
        if self:beyond(e) then return "ADRERR" end
        f(e, at % self.page, done, part)
        done = done + part
    end
end

-- --- running ----------------------------------------------------------------------------

local run = {}

-- A process died of the fault that the model had, or for want of memory.
local function died(w, who, fault, e)
    local p = w.processes[who]
    if type(e) ~= "table" then error(e, 0) end
    expect(not p:alive(), "an end of the process, by %s", tostring(e))
    local excused = e.code == "OOM" or e.code == "OBJERR" -- for want of memory, or of disk
    if not excused then expect(e.code == fault, "%s, got %s", fault or "no fault", tostring(e)) end
    w:drop(who)
end

function World:drop(who)
    local s = self.at[who]
    self.processes[who], self.at[who] = nil, nil
    for _, other in pairs(self.at) do
        if other == s then return end
    end
    self.spaces[s.id] = nil
end

function World:new_space(like)
    local s = { pages = {}, id = self.ids }
    self.ids = self.ids + 1
    for n, e in pairs(like and like.pages or {}) do
        local c = {}
        for k, v in pairs(e) do c[k] = v end
        c.locked = false
        s.pages[n] = c
    end
    self.spaces[s.id] = s
    return s
end

function run.fork(w, op)
    local p = w.processes[op.who]
    if w.processes[op.other] then return end
    local c, message, code = p:fork()
    if not c then return expect(code == "ENOMEM", "ENOMEM of fork, got %s", message) end
    w.processes[op.other], w.at[op.other] = c, w:new_space(w.at[op.who])
end

function run.clone(w, op)
    if w.processes[op.other] then return end
    local c = w.processes[op.who]:clone()
    if c then w.processes[op.other], w.at[op.other] = c, w.at[op.who] end
end

function run.exit(w, op)
    w.processes[op.who]:exit(op.status)
    w:drop(op.who)
end

function run.reap(w, op)
    local p = w.processes[op.who]
    for _ = 1, 10 do
        local pid, status, code = p:wait()
        if not pid then
            return expect(code == "ECHILD" or code == "EAGAIN", "ECHILD or EAGAIN, got %s", status)
        end
    end
end

local function refused(message, code, ...)
    for i = 1, select("#", ...) do
        if code == select(i, ...) then return end
    end
    error(("no such refusal: %s"):format(tostring(message)), 0)
end

function run.mmap(w, op)
    local p, s = w.processes[op.who], w.at[op.who]
    local f = op.file and w.files[op.file]
    local flags = (op.shared and "shared" or "private") .. (f and "" or "|anonymous") .. op.flags
    local n = op.pages
    local a, message, code = p:mmap({ addr = op.at * w.page, length = n * w.page, prot = op.prot, flags = flags,
        file = f and f.handle, offset = f and op.offset * w.page })
    if not a then return refused(message, code, "ENOMEM", "EEXIST") end
    local fixed = flags:find("fixed", 1, true)
    local taken = false
    for i = 0, n - 1 do taken = taken or s.pages[a // w.page + i] ~= nil end
    expect(not (taken and (not fixed or flags:find("noreplace"))), "a free place, got %#x", a)
    expect(not fixed or a == op.at * w.page, "the place %#x, got %#x", op.at * w.page, a)
    local obj = f and f.obj or op.shared and { pages = {} } or nil
    for i = 0, n - 1 do
        s.pages[a // w.page + i] = { prot = op.prot, private = not op.shared, obj = obj,
            index = (f and op.offset or 0) + i }
    end
end

function run.munmap(w, op)
    local s = w.at[op.who]
    local ok, message, code = w.processes[op.who]:munmap(op.at * w.page, op.pages * w.page)
    if not ok then return refused(message, code, "EINVAL") end
    for i = op.at, op.at + op.pages - 1 do s.pages[i] = nil end
end

local function whole(s, op)
    for i = op.at, op.at + op.pages - 1 do
        if not s.pages[i] then return false end
    end
    return true
end

function run.mprotect(w, op)
    local s = w.at[op.who]
    local ok, message, code = w.processes[op.who]:mprotect(op.at * w.page, op.pages * w.page, op.prot)
    if not ok then return refused(message, code, "ENOMEM") end
    expect(whole(s, op), "ENOMEM, for a hole")
    for i = op.at, op.at + op.pages - 1 do s.pages[i].prot = op.prot end
end

function run.mremap(w, op)
    local s = w.at[op.who]
    local a, message, code = w.processes[op.who]:mremap(op.at * w.page, op.pages * w.page, op.new * w.page,
        { maymove = op.maymove, addr = op.to and op.to * w.page })
    if not a then return refused(message, code, "ENOMEM", "EFAULT", "EINVAL") end
    expect(whole(s, op), "EFAULT, for a hole")
    local moved, last = {}, s.pages[op.at + op.pages - 1]
    for i = 0, op.pages - 1 do
        moved[i] = s.pages[op.at + i]
        s.pages[op.at + i] = nil
    end
    for i = 0, op.new - 1 do
        local e = moved[i]
        if not e then
            e = { prot = last.prot, private = last.private, obj = last.obj, locked = last.locked,
                index = last.index + i - op.pages + 1 }
        end
        s.pages[a // w.page + i] = e
    end
end

function run.madvise(w, op)
    local s = w.at[op.who]
    local locked = false
    for i = op.at, op.at + op.pages - 1 do locked = locked or s.pages[i] and s.pages[i].locked end
    local ok, message, code = w.processes[op.who]:madvise(op.at * w.page, op.pages * w.page, op.advice)
    if not ok then return refused(message, code, "ENOMEM", "EINVAL") end
    expect(whole(s, op), "ENOMEM, for a hole")
    if op.advice ~= "dontneed" then return end
    expect(not locked, "EINVAL, for locked pages")
    for i = op.at, op.at + op.pages - 1 do s.pages[i].own = nil end
end

function run.mlock(w, op)
    local p, s = w.processes[op.who], w.at[op.who]
    local ok, message, code = (op.lock and p.mlock or p.munlock)(p, op.at * w.page, op.pages * w.page)
    if not ok then refused(message, code, "ENOMEM") end
    if not whole(s, op) then return expect(not ok, "ENOMEM, for a hole") end
    for i = op.at, op.at + op.pages - 1 do s.pages[i].locked = ok and op.lock or false end
end

function run.msync(w, op)
    local ok, message, code = w.processes[op.who]:msync(op.at * w.page, op.pages * w.page)
    if not ok then return refused(message, code, "ENOMEM") end
    expect(whole(w.at[op.who], op), "ENOMEM, for a hole")
end

function run.swap_out(w, op) w.processes[op.who]:swap_out() end

function run.read(w, op)
    local p, parts = w.processes[op.who], {}
    local fault = w:walk(w.at[op.who], "load", op.va, op.n, function(e, at, _, n)
        parts[#parts + 1] = w:content(e):sub(at + 1, at + n)
    end)
    local ok, got = pcall(p.read, p, op.va, op.n)
    if not ok then return died(w, op.who, fault, got) end
    expect(not fault, "%s", fault)
    expect(got == table.concat(parts), "the bytes %q, got %q", table.concat(parts), got)
end

function run.write(w, op)
    local p = w.processes[op.who]
    local ok, e = pcall(p.write, p, op.va, op.bytes)
    local fault = w:walk(w.at[op.who], "store", op.va, #op.bytes, function(x, at, from, n)
        w:splice(x, at, op.bytes:sub(from + 1, from + n)) -- threads see what a dead one wrote
    end)
    if not ok then
        if e.code == "OOM" or e.code == "OBJERR" then w.torn = true end -- how far it came is not known
        return died(w, op.who, fault, e)
    end
    expect(not fault, "%s", fault)
end

-- A handler that maps what is missing.
function run.mend(w, op)
    local p, s = w.processes[op.who], w.at[op.who]
    local n = op.va // w.page
    if s.pages[n] then return end
    p:sigaction("SIGSEGV", function(e)
        return p:mmap({ addr = e.addr // w.page * w.page, length = w.page, flags = "fixed|private|anonymous" }) ~= nil
    end)
    local ok, e = pcall(p.store, p, op.va, 1, 1)
    if p:alive() then p:sigaction("SIGSEGV", nil) end
    if not ok then return died(w, op.who, "MAPERR", e) end
    s.pages[n] = { prot = "rw", private = true, index = 0 }
    w:splice(s.pages[n], op.va % w.page, "\1")
end

-- --- files ---------------------------------------------------------------------------------

function run.create(w, op)
    local f = w.files[op.file]
    local name = "f" .. op.file
    local handle, message, code = w.m:file(name, op.bytes)
    if not handle then -- of what there was, or is to be, something is on the disk
        refused(message, code, "ENOSPC")
        w.torn = true
        return
    end
    if f and f.linked then
        f.handle:close()
        f.handle = handle
        w:resize(f.obj, 0)
    else
        if f then f.handle:close() end
        f = { handle = handle, linked = true, obj = { file = true, pages = {}, size = 0 } }
        w.files[op.file] = f
    end
    w:write_file(f.obj, 0, op.bytes)
end

function World:write_file(obj, offset, bytes)
    if #bytes == 0 then return end
    if offset + #bytes > obj.size then self:resize(obj, offset + #bytes) end
    local done = 0
    while done < #bytes do
        local at = offset + done
        local part = math.min(#bytes - done, self.page - at % self.page)
        self:splice({ obj = obj, index = at // self.page }, at % self.page, bytes:sub(done + 1, done + part))
        done = done + part
    end
end

function run.file_write(w, op)
    local f = w.files[op.file]
    if not f then return end
    local ok, message, code = f.handle:write(op.offset, op.bytes)
    if not ok then
        refused(message, code, "ENOSPC")
        w.torn = true
        return
    end
    w:write_file(f.obj, op.offset, op.bytes)
end

function run.truncate(w, op)
    local f = w.files[op.file]
    if not f then return end
    assert(f.handle:truncate(op.size))
    w:resize(f.obj, op.size)
end

function run.unlink(w, op)
    local f = w.files[op.file]
    if not f or not f.linked then return end
    f.handle:unlink()
    f.linked = false
end

function run.file_read(w, op)
    local f = w.files[op.file]
    if not f then return end
    local parts = {}
    for i = 0, (f.obj.size + w.page - 1) // w.page - 1 do parts[#parts + 1] = f.obj.pages[i] or w.zeros end
    local want = table.concat(parts):sub(1, f.obj.size)
    local got = f.handle:read()
    expect(got == want, "the file's bytes %q, got %q", want:sub(1, 200), got:sub(1, 200))
end

function run.sync(w) w.m:sync() end

-- A program whose text and data are read back; then it leaves its space empty.
function run.execve(w, op)
    local p = w.processes[op.who]
    local f, message, code = w.m:program("prog", { text = op.text, data = op.data, bss = op.bss })
    if not f then return refused(message, code, "ENOSPC") end
    f:close()
    local ok
    ok, message, code = p:execve("prog", { "prog", "x" }, {})
    if not ok then return refused(message, code, "ENOMEM", "ENOEXEC", "E2BIG") end
    w:drop_space(op.who)
    local good, e = pcall(function()
        local areas = p:areas()
        local text = p:read(areas[1].start, #op.text)
        expect(text == op.text, "the program's text")
        local data = areas[1].stop
        expect(p:read(data, #op.data) == op.data, "the program's data")
        p:write(data, "z")
        for _, a in ipairs(areas) do assert(p:munmap(a.start, a.stop - a.start)) end
    end)
    if not good then
        if type(e) ~= "table" then error(e, 0) end
        died(w, op.who, nil, e)
    end
end

function World:drop_space(who)
    local p = self.processes[who]
    self:drop(who)
    self.processes[who], self.at[who] = p, self:new_space()
end

-- --- one run -----------------------------------------------------------------------------------

-- Who was killed for want of memory is gone; the others have every byte.
function World:settle()
    for who, p in pairs(self.processes) do
        if not p:alive() then
            local _, _, signal = p:status()
            expect(signal == "SIGKILL", "a process that lives, got %s", tostring(p))
            self:drop(who)
        end
    end
end

function World:compare()
    for who, p in pairs(self.processes) do
        for n, e in pairs(self.at[who].pages) do
            if p:alive() and permits(self.format, e.prot, "load") and not self:beyond(e) then
                local ok, got = pcall(p.read, p, n * self.page, self.page)
                if ok then
                    expect(got == self:content(e), "page %#x of process %d: %q, got %q", n, who,
                        self:content(e):sub(1, 64), got:sub(1, 64))
                elseif type(got) ~= "table" or got.code ~= "OOM" then
                    error(tostring(got), 0)
                end
            end
        end
    end
    self:settle()
end

-- All that a machine and its processes counted, by name.
function World:counted()
    local all = {}
    local function flatten(prefix, t)
        for k, v in pairs(t) do
            if type(v) == "table" then flatten(prefix .. k .. ".", v) else all[prefix .. k] = v end
        end
    end
    flatten("", self.m:stats())
    for who, p in pairs(self.processes) do
        if p:alive() then flatten("process " .. who .. ".", p:stats()) end
    end
    return all
end

---Run a script. nil, or the number of the operation that failed, and why. `seldom`: the
---machine is checked at the end alone, so that what it puts off until then stays put off.
---`counters` are filled in.
function kfuzz.run(o, ops, seldom, counters)
    local m <close> = vmem.machine(o)
    local w = setmetatable({ m = m, page = o.paging.page, zeros = ("\0"):rep(o.paging.page), ids = 1,
        format = model.formats[o.paging.pte], spaces = {}, processes = {}, at = {}, files = {} }, World)
    local before, step = m:meminfo(), 0
    local function check()
        local ok, broken = m:check()
        expect(ok, "a whole machine, but %s", broken)
    end
    local ok, why = pcall(function()
        for i, op in ipairs(ops) do
            step = i
            if op.who and not w.processes[op.who] then
                local made, p = pcall(m.spawn, m)
                if not made then break end -- no memory for its root table
                w.processes[op.who], w.at[op.who] = p, w:new_space()
            end
            run[op[1]](w, op)
            w:settle()
            local p = i % 3 == 0 and w.processes[op.who]
            if p and o.cpus and o.cpus > 1 then assert(p:run_on(i % o.cpus)) end
            if not seldom then check() end
            if w.torn then break end
            if i % 16 == 0 then
                w:compare()
                if not seldom then check() end
            end
        end
        if not w.torn then w:compare() end
        if counters then table.move({ w:counted() }, 1, 1, 1, counters) end
        check()
        for _, p in pairs(w.processes) do p:exit() end
        for _, f in pairs(w.files) do
            if f.linked then f.handle:unlink() end
            f.handle:close()
        end
        if m:file("prog") then m:file("prog"):unlink() end
        collectgarbage()
        collectgarbage()
        check()
        local after = m:meminfo()
        expect(after.free == before.free and after.swap_used == 0 and after.resident == 0 and after.committed == 0,
            "all frames and slots back, got %d of %d frames, %d slots in use, %d pages promised", after.free,
            before.free, after.swap_used, after.committed)
    end)
    if not ok then return step, why end
end

-- --- making scripts ---------------------------------------------------------------------------------

---A small machine on which memory is scarce.
function kfuzz.machine(rng)
    local o
    repeat o = fuzz.machine(rng, rng.below(2) == 0) until o.paging.enabled and o.paging.page <= 1024
    local function some(percent, v) return rng.below(100) < percent and v or nil end
    o.policy = rng.pick(flat.policies)
    o.frames = rng.pick({ "bitmap", "buddy" })
    o.zero_frame = some(40, true)
    o.swap_readahead = some(40, 1 + rng.below(4))
    o.overcommit = rng.pick({ "always", "always", "heuristic", "strict" })
    o.disk = { latency = 10, size = o.paging.page * rng.pick({ 8, 64, 512 }), readahead = some(40, 1 + rng.below(4)),
        cluster = some(40, 2 + rng.below(8)) }
    local low = rng.below(6)
    o.reclaim = { low = low, high = low + rng.below(6), scope = some(40, "local") }
    if o.reclaim.scope and rng.below(2) == 0 then
        o.reclaim.quota, o.reclaim.window = rng.pick({ "ws", "pff" }), 1 + rng.below(300)
    end
    o.reclaim.lifetime = some(40, 1 + rng.below(50))
    o.reclaim.window = o.reclaim.window or 1 + rng.below(300)
    o.kernel.low = some(50, o.kernel.low)
    if #o.paging.levels > 1 and model.formats[o.paging.pte].large then
        o.huge, o.compact = some(50, rng.pick({ "always", "madvise" })), some(50, true)
        o.huge_scan, o.huge_min = some(70, 1 + rng.below(5)), some(70, 1)
    end
    o.shortcuts = rng.below(2) == 0
    return o
end

function kfuzz.script(rng, o, steps)
    local page = o.paging.page
    local format = model.formats[o.paging.pte]
    local top = 1 << (format.canonical and o.paging.va_bits - 1 or o.paging.va_bits)
    local reach = math.min(top // page, 32)
    local prots = { "rw", "rw", "rw", "rwx", "r", "rx", "w", "none" }
    local function text(n)
        local c = string.char(1 + rng.below(255))
        return c:rep(1 + rng.below(n))
    end
    local function range(t)
        t.pages = 1 + rng.below(5)
        t.at = rng.below(math.max(1, reach - t.pages))
        return t
    end
    local function file(t)
        t.file = 1 + rng.below(3)
        return t
    end
    local makers = {
        mmap = function()
            return range({ prot = rng.pick(prots), shared = rng.below(2) == 0, file = rng.below(2) == 0
                and 1 + rng.below(3) or nil, offset = rng.below(4),
                flags = rng.pick({ "|fixed", "|fixed", "|fixed", "|fixed_noreplace", "", "|populate",
                    "|noreserve|fixed" }) })
        end,
        munmap = function() return range({}) end,
        mprotect = function() return range({ prot = rng.pick(prots) }) end,
        mremap = function()
            return range({ new = 1 + rng.below(6), maymove = rng.below(2) == 0,
                to = rng.below(2) == 0 and rng.below(math.max(1, reach - 6)) or nil })
        end,
        madvise = function()
            return range({ advice = rng.pick({ "dontneed", "dontneed", "willneed", "hugepage", "sequential", "random",
                "normal" }) })
        end,
        mlock = function() return range({ lock = rng.below(3) > 0 }) end,
        msync = function() return range({}) end,
        fork = function() return { other = 1 + rng.below(5) } end,
        clone = function() return { other = 1 + rng.below(5) } end,
        exit = function() return { status = rng.below(9) } end,
        reap = function() return {} end,
        swap_out = function() return {} end,
        read = function() return { va = rng.below(reach * page), n = 1 + rng.below(2 * page) } end,
        write = function() return { va = rng.below(reach * page), bytes = text(2 * page) } end,
        mend = function() return { va = rng.below(reach * page) } end,
        create = function() return file({ bytes = rng.below(5) > 0 and text(4 * page) or "" }) end,
        file_write = function() return file({ offset = rng.below(4 * page), bytes = text(page) }) end,
        truncate = function() return file({ size = rng.below(6 * page) }) end,
        unlink = function() return file({}) end,
        file_read = function() return file({}) end,
        sync = function() return {} end,
        execve = function()
            return { text = text(2 * page), data = text(page), bss = rng.below(3 * page) }
        end,
    }
    local names = {}
    for name, weight in pairs({ mmap = 14, munmap = 3, mprotect = 4, mremap = 4, madvise = 3, mlock = 2, msync = 2,
        fork = 6, clone = 1, exit = 2, reap = 1, swap_out = 1, read = 6, write = 6, mend = 2, create = 3,
        file_write = 4, truncate = 3, unlink = 1, file_read = 3, sync = 1, execve = 1 }) do
        names[#names + 1] = { name, weight }
    end
    table.sort(names, function(a, b) return a[1] < b[1] end)
    local total = 0
    for _, n in ipairs(names) do total = total + n[2] end
    local of_machine = {}
    for name in ("create file_write truncate unlink file_read sync"):gmatch("[%w_]+") do of_machine[name] = true end
    local ops = {}
    local mapped = {} -- by process: pages likely mapped, so that most accesses are no faults
    for i = 1, steps do
        local at, name = rng.below(total), nil
        for _, n in ipairs(names) do
            at = at - n[2]
            if at < 0 then
                name = n[1]
                break
            end
        end
        local op = makers[name]()
        op[1] = name
        if not of_machine[name] then op.who = 1 + rng.below(5) end
        local places = op.who and mapped[op.who]
        if (name == "read" or name == "write") and rng.below(40) > 0 then
            if not places or #places == 0 then
                op = makers.mmap()
                op[1], op.who, op.prot = "mmap", 1 + rng.below(5), "rw"
            else
                local place = rng.pick(places)
                op.va = place[1] * page + rng.below(place[2] * page)
                local room = (place[1] + place[2]) * page - op.va
                op.n = op.n and math.min(op.n, room)
                op.bytes = op.bytes and op.bytes:sub(1, room)
            end
        end
        if op[1] == "mmap" and op.prot:find("w") and op.flags:find("fixed", 1, true) then
            mapped[op.who] = mapped[op.who] or {}
            table.insert(mapped[op.who], { op.at, op.pages })
        elseif ("munmap mprotect exit execve mremap"):find(op[1], 1, true) then
            mapped[op.who] = {}
        elseif op[1] == "fork" then
            mapped[op.other] = mapped[op.other] or table.move(mapped[op.who] or {}, 1, #(mapped[op.who] or {}), 1, {})
        end
        ops[i] = op
    end
    return ops
end

-- A script checked at every step, and at its end: both count the same.
local function both(o, ops)
    local often, seldom = {}, {}
    local step, why = kfuzz.run(o, ops, false, often)
    if step then return step, why end
    step, why = kfuzz.run(o, ops, true, seldom)
    if step then return step, why .. " (checked seldom)" end
    for name, n in pairs(often[1]) do
        if seldom[1][name] ~= n then
            return #ops, ("%s is %s, and %s when the machine is checked seldom"):format(name, n, seldom[1][name])
        end
    end
end

---One machine and script. nil, or a text with the shortest script that fails.
function kfuzz.case(seed, steps)
    local rng = fuzz.random(seed)
    local o = kfuzz.machine(rng)
    local ops = kfuzz.script(rng, o, steps)
    local step, why = both(o, ops)
    if not step then return end
    ops = flat.shrink(table.move(ops, 1, step, 1, {}), function(rest) return both(o, rest) ~= nil end)
    local lines = { ("seed %d, operation %d: %s"):format(seed, step, why), fuzz.show(o) }
    for _, op in ipairs(ops) do lines[#lines + 1] = fuzz.show(op) end
    lines[#lines + 1] = select(2, both(o, ops))
    return table.concat(lines, "\n")
end

if script then
    local steps, seed = math.tointeger(arg[1] or 100000), math.tointeger(arg[2] or os.time())
    local EACH, done, failed, shown = 200, 0, 0, os.time()
    while done < steps do
        local why = kfuzz.case(seed, EACH)
        if why then
            failed = failed + 1
            print(why)
        end
        seed, done = seed + 1, done + EACH
        if os.time() > shown then
            shown = os.time()
            io.stderr:write(("\r%d of %d steps, %d failed "):format(done, steps, failed))
        end
    end
    io.stderr:write("\n")
    print(("%d steps, to seed %d, %d failed"):format(done, seed - 1, failed))
    os.exit(failed == 0)
end

return kfuzz
