-- Random programs against a flat model: what bytes a program must see, which
-- faults it must have and which system calls must be refused, whatever the
-- machine does below. Used by spec/kernel_spec.lua; on its own, for longer:
--
--    lua5.4 spec/fuzz/flat_model.lua [MACHINES [SEED]]      default: 1000, the time
--
-- A script is a list of operations, each a table of plain values that can be run
-- in any machine; one that fails is cut down to the operations that matter.

local script = ... ~= "fuzz.flat_model"
if script then
    local root = (arg[0]:match("^(.*/)") or "./") .. "../../"
    package.path = root .. "lua/?.lua;" .. root .. "lua/?/init.lua;" .. root .. "spec/?.lua;" .. package.path
    package.cpath = root .. "build/?.so;" .. package.cpath
end

local vmem = require("vmem")
local model = require("model")
local fuzz = require("fuzz.machine_fuzz")

local flat = {}

-- Every policy that can rule over frames, and those that tell time, by references.
flat.policies = { "wsclock:tau=300", "aging:every=40:unit=references", "nru:every=40:unit=references" }
for _, row in ipairs(vmem.policies()) do
    if row.serves:find("frames", 1, true) then table.insert(flat.policies, row.name) end
end

-- --- one address space, flat --------------------------------------------------------

local Space = {}
Space.__index = Space

local function new_space(g, brk)
    return setmetatable({ g = g, pages = {}, bytes = {}, brk_start = brk, brk = brk }, Space)
end

-- What the hardware of a format can't forbid is allowed.
local function permits(format, prot, kind)
    if kind == "store" then return prot:find("w") ~= nil end
    if kind == "load" then return prot:find(format.read and "[rw]" or "[rwx]") ~= nil end
    return prot:find(format.no_exec and "x" or "[rwx]") ~= nil
end

-- The fault of an access, page by page: code and address, or nil.
function Space:fault(kind, va, n)
    if va < 0 and va + n - 1 >= 0 then return "MAPERR", va end
    local at = va
    while at - va < n do
        local page = at >= 0 and self.pages[at // self.g.page]
        if not page then return "MAPERR", at end
        if not permits(self.g.format, page.prot, kind) then return "ACCERR", at end
        at = at - at % self.g.page + self.g.page
    end
end

function Space:cuts(at)
    local page = self.pages[at // self.g.page]
    return page and at % page.size ~= 0
end

function Space:clear(from, to)
    for at = from // self.g.page, to // self.g.page - 1 do self.pages[at] = nil end
    for at = from, to - 1 do self.bytes[at] = nil end
end

function Space:map(from, to, prot, size)
    self:clear(from, to)
    for at = from // self.g.page, to // self.g.page - 1 do self.pages[at] = { prot = prot, size = size } end
end

function Space:each_page(from, to, f)
    for at = from // self.g.page, to // self.g.page - 1 do f(self.pages[at]) end
end

function Space:read(va, n)
    local t = {}
    for i = 0, n - 1 do t[i + 1] = string.char(self.bytes[va + i] or 0) end
    return table.concat(t)
end

function Space:write(va, s)
    for i = 1, #s do self.bytes[va + i - 1] = s:byte(i) end
end

-- --- running a script -----------------------------------------------------------------

local function round_up(n, unit) return (n + unit - 1) // unit * unit end

local function expect(ok, ...)
    if not ok then error(("wanted " .. select(1, ...)):format(select(2, ...)), 0) end
end

-- A system call's answer against what it must be: nil for success, else a code.
local function answer(want, got, message, code)
    if want then
        expect(got == nil and code == want, "%s, got %s %s", want, tostring(got), tostring(message))
        expect(message:find(want .. ": ", 1, true) == 1, "a message that begins with %s, got %s", want, message)
    else
        expect(got ~= nil and got ~= false, "success, got %s", tostring(message))
    end
    return want == nil
end

local run = {}

function run.mmap(p, s, op)
    local size = s.g.span[op.level]
    local from, length = op.addr // size * size, round_up(op.length, size)
    local flags = "fixed|private|anonymous"
    if from + length > s.g.top then return answer("ENOMEM", p:_mmap(from, length, op.prot, flags, op.level, "")) end
    local want = (s:cuts(from) or s:cuts(from + length)) and "EINVAL" or nil
    if answer(want, p:_mmap(from, op.length, op.prot, flags, op.level, "")) then
        s:map(from, from + length, op.prot, size)
    end
end

function run.anywhere(p, s, op)
    local length = round_up(op.length, s.g.page)
    local a, _, code = p:mmap({ length = op.length, prot = op.prot })
    if not a then
        expect(code == "ENOMEM", "ENOMEM of an mmap without a gap, got %s", code)
        return
    end
    expect(a % s.g.page == 0 and a > 0 and a + length <= s.g.top, "a place in the space, got %#x", a)
    s:each_page(a, a + length, function(page) expect(not page, "a free place, got %#x", a) end)
    s:map(a, a + length, op.prot, s.g.page)
end

function run.munmap(p, s, op)
    local to = op.addr + round_up(op.length, s.g.page)
    local want = (op.addr + op.length > s.g.top or s:cuts(op.addr) or s:cuts(to)) and "EINVAL" or nil
    if answer(want, p:munmap(op.addr, op.length)) then s:clear(op.addr, to) end
end

function run.mprotect(p, s, op)
    local to, whole = op.addr + round_up(op.length, s.g.page), true
    s:each_page(op.addr, to, function(page) whole = whole and page ~= nil end)
    local want = op.addr + op.length > s.g.top and "ENOMEM" or (s:cuts(op.addr) or s:cuts(to)) and "EINVAL"
        or not whole and "ENOMEM" or nil
    if answer(want, p:mprotect(op.addr, op.length, op.prot)) then
        s:each_page(op.addr, to, function(page) page.prot = op.prot end)
    end
end

function run.brk(p, s, op)
    local new = s.brk_start + op.by
    local from, to = round_up(s.brk, s.g.page), round_up(new, s.g.page)
    local want = (op.by < 0 or new > s.g.top) and "ENOMEM" or nil
    if not want and to > from then
        s:each_page(from, to, function(page) want = want or page and "ENOMEM" end)
        if to > s.g.top then want = "ENOMEM" end
    elseif not want and to < from and (s:cuts(to) or s:cuts(from)) then
        want = "EINVAL"
    end
    if answer(want, p:brk(new)) then
        if to > from then s:map(from, to, "rw", s.g.page) else s:clear(to, from) end
        s.brk = new
    end
    expect(p:brk() == s.brk, "the break %#x, got %#x", s.brk, p:brk())
end

local function access(p, s, kind, va, n, f, ...)
    local code, addr = s:fault(kind, va, n)
    local result = table.pack(pcall(f, p, va, ...))
    if result[1] then
        expect(not code, "%s at %#x", code, addr or 0)
        return result[2]
    end
    local e = result[2]
    expect(type(e) == "table" and e.signal, "a fault object, got %s", tostring(e))
    expect(e.pid == p:pid() and e.access == kind, "the %s of process %d, got %s", kind, p:pid(), tostring(e))
    expect(tostring(e):find("^SIG%u+ %(%u+%): %l+ of address 0x%x+ by process %d+$"), "one clear line, got %s",
        tostring(e))
    expect(not p:alive(), "a process that has ended")
    if e.signal == "SIGKILL" then
        expect(e.code == "OOM", "OOM, got %s", e.code)
        return nil, "OOM"
    end
    expect(e.signal == "SIGSEGV" and e.code == code and e.addr == addr, "%s at %#x, got %s", tostring(code), addr or 0,
        tostring(e))
    return nil, code
end

local function number(s) return (("<I" .. #s):unpack(s)) end

function run.load(p, s, op)
    local x = access(p, s, "load", op.addr, op.size, p.load, op.size)
    if x then
        local want = number(s:read(op.addr, op.size))
        expect(x == want, "%#x, got %#x", want, x)
    end
end

function run.store(p, s, op)
    access(p, s, "store", op.addr, op.size, p.store, op.value, op.size)
    if p:alive() then s:write(op.addr, ("<I8"):pack(op.value):sub(1, op.size)) end
end

local function read(p, s, op, kind, f)
    local got = access(p, s, kind, op.addr, op.length, f, op.length)
    if got then expect(got == s:read(op.addr, op.length), "other bytes at %#x", op.addr) end
end
function run.read(p, s, op) read(p, s, op, "load", p.read) end
function run.fetch(p, s, op) read(p, s, op, "fetch", p.fetch) end

function run.write(p, s, op)
    -- Bytes that all differ from their neighbours.
    local t = {}
    for i = 1, op.length do t[i] = string.char((op.byte + i * 7) & 255) end
    local bytes = table.concat(t)
    access(p, s, "store", op.addr, op.length, p.write, bytes)
    if p:alive() then s:write(op.addr, bytes) end
end

function run.exit(p) p:exit(3) end

-- All that a process can read is as it should be.
local function compare(p, s)
    for at in pairs(s.pages) do
        local va = at * s.g.page
        if p:alive() and not s:fault("load", va, s.g.page) then
            read(p, s, { addr = va, length = s.g.page }, "load", p.read)
        end
    end
end

---Runs a script. nil, or the number of the operation that went wrong and why.
function flat.run(o, ops)
    local m <close> = vmem.machine(o)
    local before, step = m:meminfo(), 0
    local processes, spaces = {}, {}
    local g = { page = o.paging.page, format = model.formats[o.paging.pte], span = { [0] = o.paging.page } }
    for k = 1, #o.paging.levels - 1 do g.span[k] = g.span[k - 1] << o.paging.levels[#o.paging.levels + 1 - k] end
    g.top = 1 << (g.format.canonical and o.paging.va_bits - 1 or o.paging.va_bits)
    local function check()
        local ok, broken = m:check()
        expect(ok, "a whole machine, but %s", tostring(broken))
    end
    local ok, why = pcall(function()
        for i, op in ipairs(ops) do
            step = i
            local p = processes[op.who]
            if not p or not p:alive() then
                local made, q = pcall(m.spawn, m)
                if made then
                    p, processes[op.who] = q, q
                    spaces[op.who] = new_space(g, p:brk())
                else
                    expect(q:find("no room for the root page table", 1, true), "a root table, got %s", q)
                    processes[op.who] = nil
                end
            end
            local s = spaces[op.who]
            -- A process that was killed begins anew, without its areas: only what is
            -- meant to fault shall.
            local stray = op.kind and not op.wild and s and s:fault(op.kind, op.addr, op.size or op.length)
            if processes[op.who] and not stray then
                run[op[1]](p, s, op)
                check()
            end
        end
        for who, p in pairs(processes) do
            if p:alive() then compare(p, spaces[who]) end
            check()
        end
        for _, p in pairs(processes) do p:exit() end
        check()
        local after = m:meminfo()
        expect(after.free == before.free and after.swap_used == 0 and after.resident == 0 and after.tables == 0,
            "all frames and slots back, got %d of %d frames, %d slots in use", after.free, before.free, after.swap_used)
    end)
    if not ok then return step, why end
end

-- --- making and cutting scripts ----------------------------------------------------------

---A machine for such scripts: paging on, memory scarce.
function flat.machine(rng)
    local o
    repeat o = fuzz.machine(rng, rng.below(2) == 0) until o.paging.enabled and o.paging.page <= 1024
    o.policy = rng.pick(flat.policies)
    if #o.paging.levels > 1 and (model.formats[o.paging.pte].large or 0) > 0 and rng.below(3) == 0 then
        o.huge, o.compact, o.huge_scan = "always", rng.below(2) == 0, rng.below(4)
    end
    return o
end

function flat.script(rng, o, steps)
    local page, ops = o.paging.page, {}
    local format = model.formats[o.paging.pte]
    local top = 1 << (format.canonical and o.paging.va_bits - 1 or o.paging.va_bits)
    local reach = math.min(top // page, 40)
    local large = math.min(format.large or 0, #o.paging.levels - 1)
    local prots = { "rw", "rw", "rw", "rwx", "r", "rx", "w", "x", "---" }
    local function at() return rng.below(reach * page) end
    local makers = {
        mmap = function()
            local level = rng.below(6) == 0 and rng.below(large + 1) or 0
            return { addr = rng.below(reach) * page, length = 1 + rng.below(6 * page), prot = rng.pick(prots),
                level = level }
        end,
        anywhere = function() return { length = 1 + rng.below(4 * page), prot = rng.pick(prots) } end,
        munmap = function() return { addr = rng.below(reach) * page, length = 1 + rng.below(4 * page) } end,
        mprotect = function()
            return { addr = rng.below(reach) * page, length = 1 + rng.below(3 * page), prot = rng.pick(prots) }
        end,
        brk = function() return { by = rng.below(6 * page) - page // 4 } end,
        load = function() return { addr = at(), size = 1 << rng.below(4) } end,
        store = function() return { addr = at(), size = 1 << rng.below(4), value = rng.bits() } end,
        read = function() return { addr = at(), length = 1 + rng.below(2 * page) } end,
        fetch = function() return { addr = at(), length = 1 + rng.below(8) } end,
        write = function()
            return { addr = at(), length = 1 + rng.below(3 * page), byte = 1 + rng.below(255) }
        end,
        exit = function() return {} end,
    }
    local names = { "mmap", "mmap", "anywhere", "munmap", "mprotect", "brk", "exit" }
    -- A shadow of what is mapped keeps most accesses from being faults.
    local shadows = {}
    local function survives(who, op)
        local s = shadows[who]
        local n = op.size or op.length
        return s and not s:fault(op.kind, op.addr, n)
    end
    local kinds = { load = "load", read = "load", store = "store", write = "store", fetch = "fetch" }
    local g = { page = page, format = format }
    for _ = 1, steps do
        local who, op = 1 + rng.below(3), nil
        local name = rng.pick({ "load", "store", "store", "read", "write", "fetch", "call", "call" })
        if name == "call" then
            name = rng.pick(names)
            if name == "exit" and rng.below(8) > 0 then name = "mmap" end
            op = makers[name]()
        else
            for _ = 1, 30 do
                op = makers[name]()
                op.kind = kinds[name]
                op.wild = rng.below(400) == 0
                if survives(who, op) or op.wild then break end
                op = nil
            end
            if not op then
                name = "mmap"
                op = makers.mmap()
            end
        end
        op[1], op.who = name, who
        ops[#ops + 1] = op
        local s = shadows[who] or new_space(g, 0)
        shadows[who] = s
        if name == "mmap" and op.level == 0 then
            s:map(op.addr, math.min(op.addr + round_up(op.length, page), top), op.prot, page)
        elseif name == "munmap" then
            s:clear(op.addr, op.addr + round_up(op.length, page))
        elseif name == "mprotect" then
            s:each_page(op.addr, op.addr + round_up(op.length, page), function(p) if p then p.prot = op.prot end end)
        elseif name == "exit" then
            shadows[who] = nil
        end
    end
    return ops
end

---A script that still fails, with as little as possible in it.
function flat.shrink(ops, fails)
    local size = #ops // 2
    while size >= 1 do
        local at, cut_any = 1, false
        while at <= #ops do
            local rest = table.move(ops, 1, at - 1, 1, {})
            table.move(ops, at + size, #ops, at, rest)
            if fails(rest) then
                ops, cut_any = rest, true
            else
                at = at + size
            end
        end
        if not cut_any or size > 1 then size = size // 2 end
    end
    return ops
end

---One machine and script. nil, or a text with the shortest script that fails.
---`kernel`: the kernel maps a few low pages, where the geometry has room for it.
function flat.case(seed, steps, kernel)
    local rng = fuzz.random(seed)
    local o = flat.machine(rng)
    if kernel then o.kernel.low = o.paging.page * (1 + seed % 24) end
    o.shortcuts = rng.below(2) == 0
    local ops = flat.script(rng, o, steps)
    local step, why = flat.run(o, ops)
    if not step then return end
    ops = flat.shrink(ops, function(rest) return flat.run(o, rest) ~= nil end)
    local lines = { ("seed %d, operation %d: %s"):format(seed, step, why), fuzz.show(o) }
    for _, op in ipairs(ops) do lines[#lines + 1] = fuzz.show(op) end
    lines[#lines + 1] = select(2, flat.run(o, ops))
    return table.concat(lines, "\n")
end

if script then
    local machines, seed, failed = math.tointeger(arg[1] or 1000), math.tointeger(arg[2] or os.time()), 0
    for i = 0, machines - 1 do
        local why = flat.case(seed + i, 300, i % 2 == 1)
        if why then
            failed = failed + 1
            print(why)
        end
    end
    print(("%d machines from seed %d, %d failed"):format(machines, seed, failed))
    os.exit(failed == 0)
end

return flat
