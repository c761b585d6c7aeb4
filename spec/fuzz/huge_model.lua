-- Random programs on machines with transparent huge pages, against a model that
-- knows the bytes of each page and nothing of frames: whatever is promoted, split,
-- moved, shared by fork or swapped, a program sees its own bytes. Used by
-- spec/huge_spec.lua; on its own, for longer:
--
--    lua5.4 spec/fuzz/huge_model.lua [MACHINES [SEED]]      default: 1000, the time

local script = ... ~= "fuzz.huge_model"
if script then
    local root = (arg[0]:match("^(.*/)") or "./") .. "../../"
    package.path = root .. "lua/?.lua;" .. root .. "lua/?/init.lua;" .. root .. "spec/?.lua;" .. package.path
    package.cpath = root .. "build/?.so;" .. package.cpath
end

local vmem = require("vmem")
local random = require("fuzz.trace_fuzz").random

local huge = {}

-- --- machines -----------------------------------------------------------------------

function huge.machine(rng)
    local format = rng.pick({ "x86-32", "x86-64", "x86-64", "riscv" })
    local levels = {}
    for i = 1, format == "x86-32" and 2 or 2 + rng.below(3) do levels[i] = 2 + rng.below(3) end
    levels[1] = 4
    local page_bits = 6 + 2 * rng.below(3)
    local va_bits = page_bits
    for _, b in ipairs(levels) do va_bits = va_bits + b end
    local page, pages = 1 << page_bits, 1 << levels[#levels]
    local scope = rng.pick({ "global", "global", "local" })
    return {
        paging = { pte = format, levels = levels, page = page, va_bits = va_bits, pa_bits = page_bits + 12 },
        tlb = { asid_bits = rng.pick({ 0, 2, 8 }), l1 = { entries = 8, ways = 4 }, l2 = { entries = 16, ways = 4 } },
        pwc = rng.below(2) == 0 and { l1 = { entries = 4, ways = 4 } } or nil,
        dram = page * rng.pick({ 60, 100, 160, 300 }),
        swap = page * rng.pick({ 100, 1000, 1000 }),
        policy = rng.pick({ "lru", "fifo", "clock" }),
        frames = rng.pick({ "bitmap", "buddy" }),
        reclaim = { scope = scope, quota = scope == "local" and rng.pick({ "none", "ws", "pff" }) or "none",
            window = 50 + rng.below(2000) },
        disk = { cluster = rng.pick({ 1, 1, 8 }) },
        swap_readahead = rng.pick({ 0, 0, 3 }),
        resident = rng.below(4) == 0 and 20 + rng.below(60) or 0,
        young_flush = rng.below(2) == 0,
        zero_frame = rng.below(3) == 0,
        huge = rng.pick({ "always", "always", "madvise" }),
        huge_min = rng.pick({ 0, 1, pages // 2 }),
        huge_scan = rng.pick({ 0, 1, 5 }),
        compact = rng.below(2) == 0,
        shortcuts = rng.below(2) == 0,
    }
end

-- --- one run --------------------------------------------------------------------------

-- What a process is to see: areas[page] = true, bytes[page] = its content, nil: zeros;
-- "?": unknown, after madvise "free".
local function copy(t)
    local new = {}
    for k, v in pairs(t) do new[k] = v end
    return new
end

local Run = {}
Run.__index = Run

function Run:content(w, n) return w.bytes[n] or self.zeros end

function Run:compare(w, n)
    local want, page = self:content(w, n), self.page
    if want == "?" then return end
    local ok, got = pcall(w.p.read, w.p, n * page, page)
    if not ok then return self:ended(w, got) end
    if got ~= want then error(("page %#x of %s has other bytes"):format(n * page, tostring(w.p)), 0) end
end

-- Memory and swap may run out: whoever was killed is gone.
function Run.ended(_, _, e)
    if type(e) ~= "table" or e.signal ~= "SIGKILL" then error(tostring(e), 0) end
end

local ops = {}

function Run:range(w)
    local n, list = 1 + self.rng.below(2 * self.span), {}
    local first = self.rng.below(self.pages - n)
    for i = first, first + n - 1 do list[#list + 1] = w.areas[i] and i end
    return first, n, #list == n
end

function ops.mmap(self, w)
    local first, n = self:range(w)
    if self.rng.below(3) > 0 then
        first, n = first // self.span * self.span, self.span * (1 + self.rng.below(2))
    end
    if not w.p:mmap({ addr = first * self.page, length = n * self.page, flags = "fixed|private|anonymous" }) then
        return
    end
    for i = first, first + n - 1 do w.areas[i], w.bytes[i] = "rw", nil end
end

function ops.munmap(self, w)
    local first, n = self:range(w)
    assert(w.p:munmap(first * self.page, n * self.page))
    for i = first, first + n - 1 do w.areas[i], w.bytes[i] = nil, nil end
end

function ops.mremap(self, w)
    local first, n, whole = self:range(w)
    local to = 1 + self.rng.below(self.pages - n) -- 0 would ask for no place
    if not whole or (to < first + n and first < to + n) then return end
    if not w.p:mremap(first * self.page, n * self.page, n * self.page, { addr = to * self.page }) then return end
    for i = 0, n - 1 do
        w.areas[to + i], w.bytes[to + i] = w.areas[first + i], w.bytes[first + i]
        w.areas[first + i], w.bytes[first + i] = nil, nil
    end
end

function ops.mprotect(self, w)
    local first, n, whole = self:range(w)
    local prot = self.rng.pick({ "rw", "rw", "r" })
    if not whole or not w.p:mprotect(first * self.page, n * self.page, prot) then return end
    for i = first, first + n - 1 do w.areas[i] = prot end
end

function ops.madvise(self, w)
    local first, n, whole = self:range(w)
    local what = self.rng.pick({ "dontneed", "free", "hugepage", "hugepage", "nohugepage", "willneed" })
    if not whole or not w.p:madvise(first * self.page, n * self.page, what) then return end
    if what == "dontneed" or what == "free" then
        for i = first, first + n - 1 do w.bytes[i] = what == "free" and "?" or nil end
    end
end

function ops.lock(self, w)
    local first, n, whole = self:range(w)
    if not whole then return end
    if self.rng.below(3) == 0 then
        w.p:mlock(first * self.page, n * self.page)
    else
        w.p:munlock(first * self.page, n * self.page)
    end
end

function ops.store(self, w)
    local first, n = self:range(w)
    for i = first, first + n - 1 do
        if w.areas[i] == "rw" and w.p:alive() then
            local at = self.rng.below(self.page // 8) * 8
            local ok, e = pcall(w.p.store, w.p, i * self.page + at, self.rng.bits())
            if not ok then return self:ended(w, e) end
            local old = self:content(w, i)
            local word = w.p:read(i * self.page + at, 8)
            w.bytes[i] = old == "?" and old or old:sub(1, at) .. word .. old:sub(at + 9)
        end
    end
end

function ops.fill(self, w)
    local first, n = self:range(w)
    local byte = string.char(1 + self.rng.below(255)):rep(self.page)
    for i = first, first + n - 1 do
        if w.areas[i] == "rw" and w.p:alive() then
            local ok, e = pcall(w.p.write, w.p, i * self.page, byte)
            if not ok then return self:ended(w, e) end
            w.bytes[i] = byte
        end
    end
end

function ops.load(self, w)
    local first, n = self:range(w)
    for i = first, first + n - 1 do
        if w.areas[i] and w.p:alive() then self:compare(w, i) end
    end
end

function ops.fork(self, w)
    if #self.who >= 4 then return end
    local ok, c = pcall(w.p.fork, w.p)
    if not ok then return self:ended(w, c) end
    if c then self.who[#self.who + 1] = { p = c, areas = copy(w.areas), bytes = copy(w.bytes) } end
end

function ops.exit(self, w)
    if #self.who > 1 then w.p:exit() end
end

function ops.promote(self) self.m:promote(self.rng.below(2) == 0 and 1 + self.rng.below(100) or nil) end

function ops.compact(self) self.m:compact(self.rng.below(2) == 0 and self.rng.below(6) or nil) end

local names = { "mmap", "munmap", "mremap", "mprotect", "madvise", "madvise", "lock", "store", "store", "fill", "fill",
    "load", "load", "fork", "exit", "promote", "compact" }

---One machine and program. nil, or what is wrong.
function huge.case(seed, steps)
    local rng = random(seed)
    local o = huge.machine(rng)
    local m <close> = vmem.machine(o)
    local span = 1 << o.paging.levels[#o.paging.levels]
    local self = setmetatable({ rng = rng, m = m, page = o.paging.page, span = span,
        zeros = ("\0"):rep(o.paging.page) }, Run)
    self.pages = math.min((1 << o.paging.va_bits - 1) // self.page, 8 * span)
    self.who = { { p = m:spawn(), areas = {}, bytes = {} } }
    for step = 1, steps do
        local name = rng.pick(names)
        local w = rng.pick(self.who)
        local ok, e = pcall(ops[name], self, w)
        local whole, broken = m:check()
        if not ok or not whole then
            return ("seed %d, step %d, %s: %s"):format(seed, step, name, ok and broken or e)
        end
        for i = #self.who, 1, -1 do
            if not self.who[i].p:alive() then table.remove(self.who, i) end
        end
        if #self.who == 0 then self.who[1] = { p = m:spawn(), areas = {}, bytes = {} } end
    end
    local ok, e = pcall(function()
        for _, w in ipairs(self.who) do
            for n in pairs(w.areas) do
                if w.p:alive() then self:compare(w, n) end
            end
        end
    end)
    if not ok then return ("seed %d, at the end: %s"):format(seed, e) end
    return nil, m:stats().kernel
end

if script then
    local machines, seed, failed = math.tointeger(arg[1] or 1000), math.tointeger(arg[2] or os.time()), 0
    local sums = {}
    for i = 0, machines - 1 do
        local why, n = huge.case(seed + i, 200)
        if why then
            failed = failed + 1
            print(why)
        end
        for k, v in pairs(n or {}) do sums[k] = (sums[k] or 0) + v end
    end
    for _, k in ipairs({ "huge_faults", "huge_fallbacks", "huge_promotions", "huge_splits", "compactions",
        "compact_moves", "swap_outs", "swap_ins", "cow_copies", "cow_reuses", "oom_kills" }) do
        print(("%-16s %d"):format(k, sums[k] or 0))
    end
    print(("%d machines from seed %d, %d failed"):format(machines, seed, failed))
    os.exit(failed == 0)
end

return huge
