-- Random machines and random programs, for specs and for longer runs:
--
--    lua5.4 spec/fuzz/machine_fuzz.lua [CASES [SEED]]      default: 2000, the time
--
-- Each case makes a small machine of random options, lets random programs run on
-- it, and compares all counters with spec/model.lua, and those with shortcuts
-- with those without. A failure prints its seed.

local script = ... ~= "fuzz.machine_fuzz"
if script then
    local root = (arg[0]:match("^(.*/)") or "./") .. "../../"
    package.path = root .. "lua/?.lua;" .. root .. "lua/?/init.lua;" .. root .. "spec/?.lua;" .. package.path
    package.cpath = root .. "build/?.so;" .. package.cpath
end

local vmem = require("vmem")
local model = require("model")
local random = require("fuzz.trace_fuzz").random

local fuzz = { random = random }

-- --- machines -----------------------------------------------------------------------

local set_policies = { "lru", "lru", "lru", "fifo", "tree-plru", "clock", "bit-plru", "nru", "srrip" }
local frame_policies = { "lru", "fifo", "clock" }

local function chance(rng, percent) return rng.below(100) < percent end

local function geometry(rng)
    local format = rng.pick({ "plain", "x86-32", "x86-64", "x86-64", "riscv" })
    local most = ({ plain = 1, ["x86-32"] = 2, ["x86-64"] = 5, riscv = 4 })[format]
    local levels = {}
    for i = 1, 1 + rng.below(most) do levels[i] = 2 + rng.below(4) end
    if #levels == 1 then levels[1] = 5 + rng.below(4) end
    local page_bits = 6 + rng.below(4) * 2
    local va_bits = page_bits
    for _, b in ipairs(levels) do va_bits = va_bits + b end
    return { pte = format, levels = levels, page = 1 << page_bits, va_bits = va_bits, pa_bits = page_bits + 12,
        enabled = not chance(rng, 5) }
end

local function random_cache(rng, line, t)
    local ways = rng.pick({ 1, 2, 3, 4, 8, 16 })
    local policy = rng.pick(t.policies or set_policies)
    if policy == "tree-plru" and ways == 3 then ways = 4 end
    return { size = ways * line << rng.below(t.set_bits or 4), ways = ways, line = line, latency = rng.below(50),
        policy = policy, write = t.simple and "back" or rng.pick({ "back", "back", "through", "untracked" }),
        allocate = t.simple or chance(rng, 75), inclusive = not t.simple and chance(rng, 30) }
end

local function caches(rng, simple)
    local line = 1 << 3 + rng.below(4)
    local function longer()
        if not simple and chance(rng, 25) then line = math.min(line * 2, 128) end
        return line
    end
    local t = { simple = simple, policies = simple and { "lru" } }
    local c = { straddle = not simple and chance(rng, 20) and "once" or "each" }
    if not simple and chance(rng, 10) then return c end
    if chance(rng, 30) then
        c.l1 = random_cache(rng, line, t)
    else
        c.l1i, c.l1d = random_cache(rng, line, t), random_cache(rng, line, t)
    end
    for i, name in ipairs({ "l2", "l3", "l4" }) do
        if chance(rng, 90 - 20 * i) then
            t.set_bits = 3 + i
            c[name] = random_cache(rng, longer(), t)
        end
    end
    for _, level in pairs(c) do -- the two do not go together
        if c.straddle == "once" and type(level) == "table" and level.inclusive then level.allocate = true end
    end
    return c
end

local function tlbs(rng, simple)
    local function level()
        local ways = rng.pick({ 1, 2, 4, 8 })
        return { entries = ways << rng.below(4), ways = ways, latency = rng.below(9),
            policy = simple and "lru" or rng.pick(set_policies) }
    end
    local t = { asid_bits = rng.pick({ 0, 1, 2, 8 }) }
    if chance(rng, 30) then
        t.l1 = level()
    else
        if simple or chance(rng, 85) then t.l1i = level() end
        if simple or chance(rng, 85) then t.l1d = level() end
    end
    if chance(rng, 60) then t.l2 = level() end
    if chance(rng, 20) then t.l3 = level() end
    return t
end

---Options of a small machine. `simple`: of the kind whose hits are answered in line.
function fuzz.machine(rng, simple)
    local p = geometry(rng)
    local o = { paging = p, cache = caches(rng, simple), tlb = tlbs(rng, simple), policy = rng.pick(frame_policies),
        young_flush = chance(rng, 70), dram = { size = p.page * (24 + rng.below(300)), latency = rng.below(300) },
        swap = p.page * rng.pick({ 0, 4, 16, 200, 200 }), disk = { latency = rng.below(10000) },
        resident = chance(rng, 40) and 3 + rng.below(20) or 0,
        kernel = { fault = rng.below(100), zero = rng.below(100), switch = rng.below(100) } }
    if not simple and o.cache.straddle ~= "once" then
        o.cpus = math.max(1, o.dram.latency % 7 - 2)
        o.cache.transfer, o.kernel.interrupt = o.dram.latency % 50, o.dram.latency % 100
    end
    if o.dram.latency % 2 == 0 then o.kernel.low = p.page * (1 + o.dram.latency % 41) end
    if #p.levels > 1 and chance(rng, 40) then
        o.pwc = {}
        for k = 1, #p.levels - 1 do
            local ways = rng.pick({ 1, 2, 4 })
            if chance(rng, 60) then o.pwc["l" .. k] = { entries = ways << rng.below(3), ways = ways } end
        end
    end
    return o
end

-- --- programs ---------------------------------------------------------------------------

local protections = { "rw", "rw", "rw", "rwx", "rx", "r", "wx" }
local allowed = { rw = { "load", "store", "modify" }, rwx = { "load", "store", "fetch", "modify", "load", "store" },
    rx = { "load", "fetch" }, r = { "load" }, wx = { "store", "fetch" } }

-- A user's address space in pages; some area in it, at its largest page's border.
local function random_map(rng, g)
    local user = ((g.canonical and 1 << g.va_bits - 1 or 1 << g.va_bits)) // g.page
    local level = g.large > 0 and chance(rng, 10) and 1 + rng.below(g.large) or 0
    local unit = g.span[level] // g.page
    local n = unit * (level > 0 and 1 or 1 + rng.below(16))
    if level == 0 and n >= user then n = 1 end
    if n >= user or n > 64 then return nil end
    local at = rng.below(math.min(user - n, chance(rng, 50) and 64 or user)) // unit * unit
    return at * g.page, n * g.page, level
end

-- Runs of accesses in an area: sequential, in one place, or anywhere.
local function accesses(rng, list, a, g, n)
    local kinds, at = allowed[a.prot], rng.below(a.stop - a.start)
    for _ = 1, n do
        local size = chance(rng, 90) and 1 << rng.below(4) or 1 + rng.below(2 * g.page)
        size = math.min(size, a.stop - a.start)
        local how = rng.below(8)
        if how < 3 then at = at + size elseif how == 3 then at = rng.below(a.stop - a.start) end
        if at + size > a.stop - a.start then at = rng.below(a.stop - a.start - size + 1) end
        list[#list + 1] = { rng.pick(kinds), a.start + at, size }
    end
end

---A program for a machine: a list of operations
---{ "mmap", who, addr, length, prot, level }, { "munmap"|"mprotect", who, addr, length, prot },
---{ "run", who, records }, { "wild", who, kind, addr, size }, { "exit", who }.
function fuzz.program(rng, o, steps, processes)
    local p, ops, areas = o.paging, {}, {}
    local format = model.formats[p.pte]
    local g = { page = p.page, va_bits = p.va_bits, canonical = format.canonical,
        large = math.min(format.large or 0, #p.levels - 1), span = { [0] = p.page } }
    for k = 1, #p.levels - 1 do g.span[k] = g.span[k - 1] << p.levels[#p.levels + 1 - k] end
    if not p.enabled then
        local all = { start = 0, stop = o.dram.size, prot = "rwx" }
        for _ = 1, steps do
            local list = {}
            accesses(rng, list, all, g, 1 + rng.below(60))
            ops[#ops + 1] = { "run", 1 + rng.below(processes), list }
        end
        return ops
    end
    for i = 1, processes do areas[i] = {} end
    local function free(who, from, to)
        for _, a in ipairs(areas[who]) do
            if a.start < to and from < a.stop then return false end
        end
        return true
    end
    for _ = 1, steps do
        local who, dice = 1 + rng.below(processes), rng.below(100)
        local mine = areas[who]
        local a, i = nil, 0
        if #mine > 0 then
            i = 1 + rng.below(#mine)
            a = mine[i]
        end
        if not a or dice < 12 then
            local addr, length, level = random_map(rng, g)
            if addr and free(who, addr, addr + length) then
                local prot = rng.pick(protections)
                mine[#mine + 1] = { start = addr, stop = addr + length, prot = prot }
                ops[#ops + 1] = { "mmap", who, addr, length, prot, level }
            end
        elseif dice < 16 then
            table.remove(mine, i)
            ops[#ops + 1] = { "munmap", who, a.start, a.stop - a.start }
        elseif dice < 20 then
            a.prot = rng.pick(protections)
            ops[#ops + 1] = { "mprotect", who, a.start, a.stop - a.start, a.prot }
        elseif dice < 21 and chance(rng, 20) then
            local kind, addr = rng.pick({ "load", "store" }), rng.bits() >> rng.below(64)
            if g.canonical and addr & 1 == 1 then -- the kernel's part
                addr = addr % (1 << p.va_bits - 1) - (1 << p.va_bits - 1)
            end
            ops[#ops + 1] = { "wild", who, kind, addr, 8 }
        elseif dice < 22 and chance(rng, 10) then
            ops[#ops + 1] = { "exit", who }
        else
            local list = {}
            accesses(rng, list, a, g, 1 + rng.below(60))
            ops[#ops + 1] = { "run", who, list }
        end
    end
    return ops
end

-- --- running ------------------------------------------------------------------------------

---Runs a program on a machine; the counters afterwards, and what killed whom.
---`bytes`: the accesses come one by one, not as traces.
function fuzz.run(o, ops, t)
    t = t or {}
    local options = {}
    for k, v in pairs(o) do options[k] = v end
    options.shortcuts = t.shortcuts ~= false
    local m <close> = vmem.machine(options)
    local processes, ends = {}, {}
    local function call(who, f, ...)
        local ok, e = pcall(f, ...)
        if not ok then
            if type(e) ~= "table" then error(e, 0) end
            ends[who] = e.signal .. " " .. e.code
        end
    end
    for _, op in ipairs(ops) do
        local what, who = op[1], op[2]
        local p = processes[who]
        if not p then
            local ok, q = pcall(m.spawn, m)
            if not ok then
                assert(q:find("no room for the root page table", 1, true), q)
                ends[who] = "no root"
                break
            end
            p = q
            processes[who] = p
        end
        if not p:alive() then goto continue end
        if what == "mmap" then
            assert(p:_mmap(op[3], op[4], op[5], "fixed|private|anonymous", op[6], ""))
        elseif what == "munmap" then
            assert(p:munmap(op[3], op[4]))
        elseif what == "mprotect" then
            assert(p:mprotect(op[3], op[4], op[5]))
        elseif what == "exit" then
            p:exit()
        elseif what == "wild" then
            if op[3] == "load" then call(who, p.load, p, op[4], op[5]) else call(who, p.store, p, op[4], 1, op[5]) end
        else
            call(who, p.replay, p, vmem.trace.new(op[3]))
        end
        if t.check then
            local ok, broken = m:check()
            if not ok then return nil, nil, broken end
        end
        ::continue::
    end
    local ok, broken = m:check()
    if not ok then return nil, nil, broken end
    return m:_stats(), ends, m:options()
end

---The same by the model.
function fuzz.run_model(options, ops)
    local m = model.new(options)
    local processes, ends = {}, {}
    for _, op in ipairs(ops) do
        local what, who = op[1], op[2]
        local p = processes[who]
        if not p then
            p = m:spawn()
            if not p then
                ends[who] = "no root"
                break
            end
            processes[who] = p
        end
        local function access(kind, addr, size)
            ends[who] = p:access(kind, addr, size)
            if ends[who] then p:exit() end
            return ends[who]
        end
        if p.alive and what == "run" then
            m:switch(p)
            for _, r in ipairs(op[3]) do
                if access(r[1], r[2], r[3]) then break end
            end
        elseif p.alive and what == "wild" then
            access(op[3], op[4], op[5])
        elseif p.alive then
            m:enter(p)
            p[what](p, table.unpack(op, 3))
        end
    end
    return m:stats(), ends
end

---Counters that differ: a text, or nil.
function fuzz.difference(a, b, names)
    local list = {}
    for name, v in pairs(a) do
        if v ~= (b[name] or 0) and not name:find("^cpu%d") then -- the model has sums alone
            list[#list + 1] = ("%s: %d, not %d"):format(name, v, b[name] or 0)
        end
    end
    for name, v in pairs(b) do
        if a[name] == nil and v ~= 0 then list[#list + 1] = ("%s: none, not %d"):format(name, v) end
    end
    table.sort(list)
    return #list > 0 and (names or "") .. table.concat(list, "\n") or nil
end

local function show(v)
    if type(v) ~= "table" then return tostring(v) end
    local list = {}
    for k, x in pairs(v) do list[#list + 1] = tostring(k) .. "=" .. show(x) end
    table.sort(list)
    return "{" .. table.concat(list, " ") .. "}"
end
fuzz.show = show

---One case: a machine, a program, the model, both speeds. nil, or what is wrong.
function fuzz.case(seed, simple)
    local rng = random(seed)
    local o = fuzz.machine(rng, simple)
    local ops = fuzz.program(rng, o, 8 + rng.below(30), 1 + rng.below(3))
    local fast, ends, options = fuzz.run(o, ops)
    local function say(what, why) return ("seed %d, %s: %s\n%s"):format(seed, what, why, show(o)) end
    if not fast then return say("shortcuts", "check: " .. options) end
    local slow, slow_ends, broken = fuzz.run(o, ops, { shortcuts = false })
    if not slow then return say("no shortcuts", "check: " .. broken) end
    local other = fuzz.difference(fast, slow) or show(ends) ~= show(slow_ends) and show(ends) .. show(slow_ends)
    if other then return say("shortcuts against none", other) end
    local counters, model_ends = fuzz.run_model(options, ops)
    other = show(ends) ~= show(model_ends) and ("ends: %s, not %s"):format(show(ends), show(model_ends))
        or fuzz.difference(slow, counters)
    if other then return say("machine against model", other) end
end

if script then
    local cases, seed = math.tointeger(arg[1] or 2000), math.tointeger(arg[2] or os.time())
    local failed = 0
    for i = 0, cases - 1 do
        local why = fuzz.case(seed + i, i % 2 == 0)
        if why then
            failed = failed + 1
            print(why)
            if failed >= 5 then break end
        end
    end
    print(("%d cases from seed %d, %d failed"):format(cases, seed, failed))
    os.exit(failed == 0)
end

return fuzz
