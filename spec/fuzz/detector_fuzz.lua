-- Random programs under an error detector, against a slow model of blocks and bytes.
-- Correct programs bring no report; in others faults are planted, and each is reported at
-- once, once, with its kind, its address, the first wrong byte and the block. Used by
-- spec/detector_spec.lua, and for longer:
--
--    lua5.4 spec/fuzz/detector_fuzz.lua [STEPS [SEED]]      default: 100000, the time
--
-- A program is a list of steps, each a number of a kind and four random numbers that are
-- read by what there is when it runs; so any sublist is a program, too, and a failing
-- one is shrunk.

local script = ... ~= "fuzz.detector_fuzz"
if script then
    local root = (arg[0]:match("^(.*/)") or "./") .. "../../"
    package.path = root .. "lua/?.lua;" .. root .. "lua/?/init.lua;" .. root .. "spec/?.lua;" .. package.path
    package.cpath = root .. "build/?.so;" .. package.cpath
end

local vmem = require("vmem")
local flat = require("fuzz.flat_model")

local dfuzz = {}

local REDZONE = 16

-- --- the model -------------------------------------------------------------------------
-- Blocks are tables: start, size, kind, live, pointer (the tracked value), family, heap.
-- By address of a byte: what it holds, and whether it is undefined; by number of a word
-- of 4 bytes: the block that a pointer came from, and the origin of undefined bytes.

local World = {}
World.__index = World

local function expect(ok, ...)
    if not ok then error(("wanted " .. select(1, ...)):format(select(2, ...)), 0) end
end

local function pick(list, r) return #list > 0 and list[r % #list + 1] or nil end

function World:add(b, undefined)
    b.live = true
    self.live[#self.live + 1], self.all[#self.all + 1] = b, b
    for a = b.start, b.start + b.size - 1 do
        self.byte[a], self.undef[a] = 0, undefined or nil
        self.from[a // 4] = nil
        if undefined then self.origin[a // 4] = b end
    end
    return b
end

function World:kill(b)
    b.live = false
    for i, x in ipairs(self.live) do
        if x == b then table.remove(self.live, i) end
    end
    self.dead[#self.dead + 1] = b
end

function World:holder(a)
    for _, b in ipairs(self.live) do
        if a >= b.start and a < b.start + b.size then return b end
    end
end

function World:store(a, n, x, from)
    for i = 0, n - 1 do
        self.byte[a + i], self.undef[a + i] = x >> 8 * i & 255, nil
        self.from[(a + i) // 4] = from
    end
end

-- The number, its undefined bits, the block of the pointer.
function World:load(a, n)
    local x, undef = 0, 0
    for i = n - 1, 0, -1 do
        x, undef = x << 8 | self.byte[a + i], undef << 8 | (self.undef[a + i] and 255 or 0)
    end
    local from = n >= 4 and a % 4 == 0 and self.from[a // 4] or nil -- of half a pointer, too
    if n == 8 and from and self.from[a // 4 + 1] ~= from then from = nil end
    return x, undef, from
end

function World:copy(to, from, n)
    local byte, undef, origin, block = {}, {}, {}, {}
    for i = 0, n - 1 do
        byte[i], undef[i], origin[i] = self.byte[from + i], self.undef[from + i], self.origin[(from + i) // 4]
        block[i] = self.from[(from + i) // 4]
    end
    for i = 0, n - 1 do
        local w = (to + i) // 4
        local whole = w * 4 >= to and w * 4 + 4 <= to + n and to % 4 == from % 4
        self.byte[to + i], self.undef[to + i] = byte[i], undef[i]
        self.from[w] = whole and block[i] or nil
    end
    local first, last, by = 0, n - 1, 1 -- a word's origin is its last byte's, in the order of the copy
    if to > from then first, last, by = n - 1, 0, -1 end
    for i = first, last, by do
        if undef[i] then self.origin[(to + i) // 4] = origin[i] end
    end
end

-- --- a world -----------------------------------------------------------------------------

local function open(o)
    local m = vmem.machine({ preset = "core-i7", dram = "8MiB", swap = "64MiB", policy = "clock" })
    local p = m:spawn({ name = "fuzz" })
    local w = setmetatable({
        m = m, p = p, live = {}, dead = {}, all = {}, frames = {}, told = {},
        byte = {}, undef = {}, from = {}, origin = {},
        quarantine = o.quarantine or "all",
    }, World)
    w.heaps = {
        assert(vmem.heap.open(p, o.allocator or "segregated", { limit = "16MiB" })),
        assert(vmem.heap.open(p, "explicit", { source = "mmap", limit = "16MiB" })),
    }
    w.d = vmem.detector({
        process = p, heap = w.heaps, redzone = REDZONE, once = false, quarantine = w.quarantine, stack = "256KiB",
        depth = 1, limit = 1 << 20, on_report = function(r) w.told[#w.told + 1] = r end,
    })
    return w
end

-- One report, as `want` says, or none.
function World:heard(want)
    local told = self.told
    self.told = {}
    if not want then
        expect(#told == 0, "no report, but: %s", tostring(told[1]))
        return
    end
    expect(#told == 1, "one report of %s, got %d:\n%s", want.kind, #told, tostring(told[#told]))
    local r = told[1]
    for _, k in ipairs({ "kind", "address", "first", "access", "use", "size" }) do
        expect(want[k] == nil or r[k] == want[k], "%s = %s, got %s:\n%s", k, tostring(want[k]), tostring(r[k]), r)
    end
    for _, k in ipairs({ "block", "pointer", "origin" }) do
        local b, got = want[k], r[k]
        expect(b == nil or (got and got.address == b.start and got.size == b.size), "%s at %#x, got %s:\n%s", k,
            b and b.start or 0, got and ("%#x"):format(got.address), r)
    end
end

-- --- correct steps ------------------------------------------------------------------------

local SIZES = { 1, 2, 4, 8 }

-- A block, and an offset in it at which n bytes fit.
local function spot(w, r1, r2, n, list)
    local fit = {}
    for _, b in ipairs(list or w.live) do
        if b.size >= n then fit[#fit + 1] = b end
    end
    local b = pick(fit, r1)
    return b, b and r2 % (b.size - n + 1)
end

local function with_heap(w, r) return w.heaps[r % 2 + 1] end

local FAMILIES = { { "malloc", "free" }, { "new", "delete" }, { "new_array", "delete_array" } }

local function heap_block(w, v, n, h, family, undefined)
    local b = { start = v:value(), size = n, kind = "heap", heap = h, family = family, pointer = v }
    expect(b.start % 16 == 0, "an aligned block, got %#x", b.start)
    for _, x in ipairs(w.quarantine == "all" and w.all or w.live) do
        expect(b.start + n + REDZONE <= x.start or b.start >= x.start + x.size + REDZONE,
            "a place of its own, but %#x is that of %#x", b.start, x.start)
    end
    return w:add(b, undefined)
end

local steps, faults = {}, {}

local function step(f) steps[#steps + 1] = f end
local function fault(f) faults[#faults + 1] = f end

step(function(w, a, b, c)
    local h, n, family = with_heap(w, a), 1 + b % (c % 8 == 0 and 600 or 60), FAMILIES[c % 3 + 1]
    heap_block(w, assert(w.d[family[1]](w.d, n, h)), n, h, family, true)
end)
step(function(w, a, b)
    local h = with_heap(w, a)
    local n = 1 + b % 100
    heap_block(w, assert(w.d:calloc(n, 1, h)), n, h, FAMILIES[1], nil)
end)
step(function(w, a, b) -- by the heap itself; the pointer is known afterwards
    local h = with_heap(w, a)
    local n, align = 1 + b % 100, 16 << b % 4
    local v = w.d:pointer(assert(b % 3 == 0 and h.memalign and h:memalign(align, n) or h:malloc(n)))
    heap_block(w, v, n, h, FAMILIES[1], true)
end)

local function is_heap(b) return b.kind == "heap" end
local function is_malloc(b) return b.kind == "heap" and b.family == FAMILIES[1] end

local function those(list, f)
    local out = {}
    for _, b in ipairs(list) do
        if f(b) then out[#out + 1] = b end
    end
    return out
end

step(function(w, a, b)
    local x = pick(those(w.live, is_heap), a)
    if not x then return end
    if b % 4 == 0 and is_malloc(x) then x.heap:free(x.start) else w.d[x.family[2]](w.d, x.pointer, x.heap) end
    w:kill(x)
end)
step(function(w, a, b)
    local x = pick(those(w.live, is_malloc), a)
    if not x then return end
    local n = 1 + b % 200
    local v = assert(w.d:realloc(x.pointer, n, x.heap))
    local new = { start = v:value(), size = n, kind = "heap", heap = x.heap, family = FAMILIES[1], pointer = v }
    w:add(new, true)
    w:copy(new.start, x.start, math.min(n, x.size))
    w:kill(x)
end)
step(function(w, a, b, c) -- a number
    local n = SIZES[a % 4 + 1]
    local x, at = spot(w, b, c, n)
    if not x then return end
    w.d:store(x.pointer + at, c, n)
    w:store(x.start + at, n, c)
end)
step(function(w, a, b, c) -- by the process, without provenance
    local n = SIZES[a % 4 + 1]
    local x, at = spot(w, b, c, n)
    if not x then return end
    w.p:store(x.start + at, c, n)
    w:store(x.start + at, n, c)
end)
step(function(w, a, b, c) -- a pointer
    local x, at = spot(w, b, c, 8)
    local to = pick(w.live, a)
    if not x or not to then return end
    at = a % 5 == 0 and at or at // 4 * 4
    local address = x.start + at
    w.d:store(x.pointer + at, to.pointer, 8)
    w:store(address, 8, to.start, address % 4 == 0 and to or nil)
end)
step(function(w, a, b, c)
    local n = SIZES[a % 4 + 1]
    local x, at = spot(w, b, c, n)
    if not x then return end
    local v = w.d:load(x.pointer + at, n)
    local want, undef, from = w:load(x.start + at, n)
    expect(v:undefined() == undef, "undefined bits %#x at %#x, got %#x", undef, x.start + at, v:undefined())
    if undef == 0 then
        expect(v:value() == want, "%#x at %#x, got %#x", want, x.start + at, v:value())
        w.d:branch(v)
        w.d:syscall("use", v)
    end
    local got = v:block()
    if w.quarantine ~= "all" and from and not from.live then return end -- it may be forgotten
    expect((got and got.address) == (from and from.start), "a pointer to %s, got %s", from and from.start,
        got and got.address)
    if n == 8 and from and from.live then w.d:load(v + (c % from.size), 1) end
end)
step(function(w, a, b)
    local x, at = spot(w, a, b, 1)
    if x then
        expect(w.p:load(x.start + at, 1) & 0 == 0, "a byte")
        w.d:read(x.pointer, x.size)
    end
end)
step(function(w, a, b, c, e)
    local n = 1 + a % 40
    local x, at = spot(w, b, c, n)
    local y, to = spot(w, c, e, n)
    if not x then return end
    local from, dest = x.start + at, y.start + to
    local apart = math.abs(from - dest) >= n
    w.d[apart and "copy" or "move"](w.d, y.pointer + to, x.pointer + at, n)
    w:copy(dest, from, n)
end)
step(function(w, a, b, c)
    local x, at = spot(w, a, b, 1)
    if not x then return end
    local n = 1 + c % (x.size - at)
    w.d:fill(x.pointer + at, a, n)
    for i = 0, n - 1 do w:store(x.start + at + i, 1, a & 255) end
end)
step(function(w, a, b, c) -- a function is called
    if #w.frames >= 12 then return end
    local sizes = { 1 + a % 40, 1 + b % 9, 1 + c % 200 }
    local f = assert(w.d:frame("f", { "a", sizes[1] }, { "b", sizes[2] }, { "c", sizes[3] }))
    local frame = { f = f }
    for i, name in ipairs({ "a", "b", "c" }) do
        local x = { start = f[name]:value(), size = sizes[i], kind = "stack", pointer = f[name] }
        frame[i] = w:add(x, true)
    end
    w.frames[#w.frames + 1] = frame
end)
step(function(w, a)
    local frame = table.remove(w.frames)
    if not frame then return end
    local x = pick(those(w.live, function(b) return b.kind ~= "stack" end), a)
    frame.f:leave(x and x.pointer or 0)
    for _, b in ipairs(frame) do w:kill(b) end
end)
step(function(w, a)
    if #w.all % 7 ~= 0 then return end
    local n = 1 + a % 30
    local v = assert(w.d:global("g", n))
    w:add({ start = v:value(), size = n, kind = "data", pointer = v }, nil)
end)

-- --- faults ---------------------------------------------------------------------------------

-- An access by the block's pointer that begins at `at` and leaves it.
local function stray(w, x, at, n, kind, address)
    local first = (at >= 0 and at < x.size) and x.start + x.size or x.start + at
    local hit = w:holder(first)
    local want = { address = x.start + at, first = first, access = kind, size = n, block = hit or x }
    want.kind = hit and "stray_pointer" or at < 0 and "underrun" or "overrun"
    want.pointer = hit and x
    if kind == "store" then
        -- What is there is damaged: only bytes that belong to nobody are written.
        for i = 0, n - 1 do
            if w:holder(want.address + i) then return end
        end
        w.d:store(address, 1, n)
    else
        w.d:load(address, n)
    end
    w:heard(want)
end

fault(function(w, a, b, c) -- behind the end, or over it
    local x, n = pick(w.live, a), SIZES[b % 4 + 1]
    if not x then return end
    local at = math.max(0, x.size - n + 1) + c % 12
    stray(w, x, at, n, c % 2 == 0 and at >= x.size and "store" or "load", x.pointer + at)
end)
fault(function(w, a, b, c) -- before the start
    local x, n = pick(w.live, a), SIZES[b % 4 + 1]
    if not x then return end
    local at = -1 - c % 16
    stray(w, x, at, n, n <= -at and c % 2 == 0 and "store" or "load", x.pointer + at)
end)
fault(function(w, a, b) -- inside another block
    local x, y = pick(w.live, a), pick(w.live, b)
    if not x or x == y then return end
    stray(w, x, y.start - x.start, 1, "load", x.pointer + (y.start - x.start))
end)
fault(function(w, a, b, c) -- plain addresses in the redzones
    local x, n = pick(w.live, a), SIZES[b % 4 + 1]
    if not x then return end
    local behind = c % 2 == 0
    local at = behind and x.size + c % (REDZONE - n + 1) or -n - c % (REDZONE - n + 1)
    local a0 = x.start + at
    local want = { kind = behind and "overrun" or "underrun", address = a0, first = a0, size = n, block = x }
    if c % 3 == 0 then
        want.access = "store"
        w.p:store(x.start + at, 1, n)
    else
        want.access = "load"
        w.p:load(x.start + at, n)
    end
    w:heard(want)
end)
fault(function(w, a, b, c) -- after free, or return, by the old pointer
    local x = pick(w.dead, a)
    if not x then return end
    local at = b % x.size
    local kind = x.kind == "heap" and "use_after_free" or "use_after_return"
    local want = { kind = kind, address = x.start + at, size = 1 }
    if w.quarantine == "all" or x.kind ~= "heap" then want.block = x end
    want.access = "load"
    w.d:load(x.pointer + at, 1)
    w:heard(want)
    if c % 2 == 0 and want.block and x.kind == "heap" then
        want.access = "store"
        w.p:store(x.start + at, 7, 1)
        w:heard(want)
    end
end)
fault(function(w, a, b, c) -- wrong frees; the process goes on
    local h = with_heap(w, b)
    local dead = pick(those(w.dead, is_heap), a)
    if c % 4 == 0 then
        if not dead then return end
        local want = { kind = "double_free", address = dead.start, block = w.quarantine == "all" and dead or nil }
        if b % 2 == 0 and w.quarantine == "all" then h:free(dead.start) else w.d:free(dead.pointer, h) end
        return w:heard(want)
    end
    local x = pick(w.live, a)
    if not x then return end
    if c % 4 == 1 then
        local at = x.kind == "heap" and 1 + b % x.size or 0
        w.d:free(x.pointer + at, h)
        return w:heard({ kind = "invalid_free", address = x.start + at, block = at < x.size + REDZONE and x or nil })
    end
    if x.kind ~= "heap" or (x.heap == h and x.family == FAMILIES[1]) then return end
    w.d:free(x.pointer, h)
    w:heard({ kind = "mismatched_free", address = x.start, block = x })
    w:kill(x)
end)
fault(function(w, a, b, c) -- an uninitialised value is used
    local n = SIZES[c % 4 + 1]
    for _ = 1, 20 do
        local x, at = spot(w, a, b, n)
        if not x then return end
        local _, undef = w:load(x.start + at, n)
        if undef ~= 0 then
            local v, first = w.d:load(x.pointer + at, n), nil
            for i = n - 1, 0, -1 do
                if w.undef[x.start + at + i] then first = x.start + at + i end
            end
            local origin = w.origin[first // 4]
            if w.quarantine ~= "all" and not origin.live then origin = nil end -- it may be forgotten
            local want = { kind = "uninitialised", origin = origin }
            if c % 5 == 0 then
                want.use = "syscall"
                w.d:syscall("exit", v)
            elseif c % 5 == 1 then
                want.use, want.first, want.address = "syscall", first, x.start + at
                w.d:syscall("write", 1, { x.pointer + at, n })
            else
                want.use = "branch" -- this number may be there, or another
                v:eq(v:value()):test()
            end
            return w:heard(want)
        end
        a, b = a + 1, b * 7 + 1
    end
end)
fault(function(w, a) -- a pointer to a variable is returned
    local frame = table.remove(w.frames)
    if not frame then return end
    local x = frame[a % 3 + 1]
    frame.f:leave(x.pointer + a % (x.size + 1))
    for _, b in ipairs(frame) do w:kill(b) end
    w:heard({ kind = "returned_local", address = x.start + a % (x.size + 1), block = x })
end)
fault(function(w, a, b)
    local x = pick(those(w.live, function(y) return y.size >= 8 end), a)
    if not x then return end
    local n, by = x.size // 2 + 1, 1 + b % (x.size // 2 - 1)
    if n + by > x.size then by = x.size - n end
    if by < 1 then return end
    w.d:copy(x.pointer + by, x.pointer, n)
    w:copy(x.start + by, x.start, n)
    w:heard({ kind = "overlap", address = x.start + by, size = n, block = x })
end)

-- --- running --------------------------------------------------------------------------------

--- The steps of a program: mostly correct ones, every tenth a fault if `planted`.
function dfuzz.program(seed, n, planted)
    math.randomseed(seed)
    local ops = {}
    for i = 1, n do
        local wrong = planted and math.random(10) == 1
        local kind = wrong and -math.random(#faults) or math.random(#steps)
        ops[i] = { kind }
        for k = 2, 5 do ops[i][k] = math.random(0, 1 << 30) end
    end
    return ops
end

--- nil, or what is wrong.
function dfuzz.run(o, ops)
    local w = open(o)
    local ok, err = xpcall(function()
        for i, op in ipairs(ops) do
            w.at = i
            if op[1] < 0 then
                faults[-op[1]](w, op[2], op[3], op[4], op[5])
            else
                steps[op[1]](w, op[2], op[3], op[4], op[5])
            end
            w:heard(nil)
        end
        for _, h in ipairs(w.heaps) do
            local sound, what = h:check()
            expect(sound, "a sound heap, but %s", what)
        end
        local leaks, live = w.d:leaks({ roots = {} }), 0
        for _, b in ipairs(w.live) do live = live + (b.kind == "heap" and 1 or 0) end
        expect(#leaks.blocks == live, "%d live blocks, got %d", live, #leaks.blocks)
    end, function(e) return type(e) == "string" and e:sub(1, 6) == "wanted" and e or debug.traceback(tostring(e)) end)
    local at = w.at
    w.m:close()
    if not ok then return ("step %d: %s"):format(at or 0, err), at end
end

--- A case: nil, or what is wrong with it and the shortest program that shows it.
function dfuzz.case(seed, n, o)
    local ops = dfuzz.program(seed, n, o.planted)
    local wrong, at = dfuzz.run(o, ops)
    if not wrong then return nil end
    ops = flat.shrink(table.move(ops, 1, at or #ops, 1, {}), function(rest) return dfuzz.run(o, rest) ~= nil end)
    local out = { ("seed %d: %s; shortest:"):format(seed, dfuzz.run(o, ops) or wrong) }
    for i, op in ipairs(ops) do out[i + 1] = table.concat(op, " ") end
    return table.concat(out, "\n")
end

if script then
    local todo, seed = math.tointeger(arg[1] or 100000), math.tointeger(arg[2] or os.time())
    local rows = { { quarantine = 512 }, { planted = true, quarantine = 0 } }
    for _, row in ipairs(vmem.heap.allocators()) do
        rows[#rows + 1] = { allocator = row.name }
        rows[#rows + 1] = { allocator = row.name, planted = true, quarantine = #rows % 3 == 0 and 512 or nil }
    end
    local done = 0
    while done < todo do
        local n = math.min(todo - done, 2000)
        local wrong = dfuzz.case(seed, n, rows[seed % #rows + 1])
        if wrong then
            print(wrong)
            os.exit(1)
        end
        done, seed = done + n, seed + 1
    end
    print(("%d steps, all as the model says"):format(done))
end

return dfuzz
