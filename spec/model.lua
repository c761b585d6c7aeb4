-- A second machine, slow and plain, written from docs/model.md: what vmem's
-- machine is compared with, counter by counter. Tables and lists; everything is
-- looked for by a search; nothing is remembered that could be looked up again.
--
--    local model = require "model"
--    local m = model.new(options)             nested options, all defaults given (m:options())
--    local p = m:spawn()
--    p:mmap(addr, length, "rw", level)  p:munmap(addr, length)  p:mprotect(addr, length, prot)  p:exit()
--    local fault = p:access("load", addr, size)   nil, or "SIGSEGV MAPERR" and the like
--    m:stats()                                flat: ["tlb.l1d.misses"] = n
local parts = require("model_parts")
local kernel = require("model_kernel")
local cpus = require("model_cpus")
local rulers = parts.rulers

local model = {}

-- --- page tables --------------------------------------------------------------------------

local formats = {
    plain = { bytes = 4 },
    ["x86-32"] = { bytes = 4, tables_accessed = true, large = 1 },
    ["x86-64"] = { bytes = 8, tables_accessed = true, no_exec = true, canonical = true, large = 2 },
    riscv = { bytes = 8, no_exec = true, read = true, canonical = true, large = 3 },
}
model.formats = formats

-- What the hardware lets through for an area's protection.
local function granted(format, prot)
    if not prot:find("[rwx]") then return {} end
    return {
        load = not format.read or prot:find("[rw]") ~= nil,
        store = prot:find("w") ~= nil,
        fetch = not format.no_exec or prot:find("x") ~= nil,
    }
end

-- --- the machine ----------------------------------------------------------------------------

local Machine, Process = {}, {}
Machine.__index, Process.__index = Machine, Process
for name, f in pairs(cpus.Machine) do Machine[name] = f end

function model.new(o)
    local m = setmetatable({ o = o, n = {}, pte = {}, frames = {}, slots = {}, order = nil, resident = 0,
        next_asid = 1, generation = 1, processes = {}, spaces = {}, last_space = 0 }, Machine)
    local function count(name, by) m.n[name] = (m.n[name] or 0) + (by or 1) end
    m.count = count
    local pg = o.paging
    m.paging = pg.enabled
    m.format, m.page = formats[pg.pte], pg.page
    m.levels = #pg.levels
    -- By level, 0 the leaves: index bits, and the bytes that an entry maps.
    m.bits, m.span = {}, {}
    local span = pg.page
    for k = 0, m.levels - 1 do
        m.bits[k] = pg.levels[m.levels - k]
        m.span[k] = span
        span = span << m.bits[k]
    end
    m.va_size = 1 << pg.va_bits
    if m.format.canonical then
        m.user_top = m.va_size // 2
    else
        m.user_top = pg.va_bits == 32 and 0xc0000000 or m.va_size
    end
    m.frame_count = m.paging and o.dram.size // m.page or 0
    m.low_frames = math.min(m.frame_count, (1 << pg.pa_bits) // m.page)
    m.memory = parts.memory(count)
    local shifts = {}
    for k = 0, math.min(3, m.levels - 1) do
        local s = 0
        for j = 0, k - 1 do s = s + m.bits[j] end
        shifts[k] = s
    end
    m.shifts = shifts
    cpus.make(m)
    m.order = rulers[o.policy](m.frame_count, o.policy == "clock" and function(ppn) return m:referenced(ppn) end or nil)
    kernel.boot(m)
    return m
end

-- --- frames, swap -------------------------------------------------------------------------

function Machine:free_run(n, align, first, stop)
    local at = first
    while at + n <= stop do
        local ok = at % align == 0
        for i = at, at + n - 1 do ok = ok and not self.frames[i] end
        if ok then return at end
        at = at + 1
    end
end

-- n frames in a row; pages go until there are. nil: no memory and no swap.
function Machine:take_frames(n, align, use)
    local first, stop = 0, self.low_frames
    if use == "table" and self.frame_count > self.low_frames then
        first, stop = self.low_frames, self.frame_count
    end
    while true do
        local at = self:free_run(n, align, first, stop)
        if at then
            for i = at, at + n - 1 do self.frames[i] = { use = use } end
            return at
        end
        if not self:evict() then return nil end
    end
end

function Machine:give_frames(first, n)
    for i = first, first + n - 1 do self.frames[i] = nil end
end

function Machine:take_slot()
    for slot = 0, self.o.swap // self.page - 1 do
        if not self.slots[slot] then
            self.slots[slot] = true
            return slot
        end
    end
end

-- Is the page in the frame referenced? Clears the bit, as CLOCK asks.
function Machine:referenced(ppn)
    local f = self.frames[ppn]
    local pte = self.pte[f.pte]
    if not pte.accessed then return false end
    pte.accessed = false
    if self.o.young_flush then self:shootdown(f.process, f.va) end
    return true
end

-- Give up the frame of one page. nil: no page, or no room in swap.
-- A victim that has no slot to go to is last in the order from then on, and the next
-- is tried. nil: none can go.
function Machine:evict()
    for _ = 1, self.resident do
        local ppn = self.order.victim()
        local f = self.frames[ppn]
        local pte = self.pte[f.pte]
        local slot = f.slot or (pte.dirty and self:take_slot()) or nil
        if pte.dirty and not slot then
            self.order.remove(ppn)
            self.order.insert(ppn)
        else
            if pte.dirty then
                self.count("disk.writes")
                self.count("kernel.swap_outs")
            else
                self.count("kernel.clean_drops")
            end
            self.pte[f.pte] = slot and { slot = slot } or nil
            self:shootdown(f.process, f.va)
            self.order.remove(ppn)
            self:give_frames(ppn, 1)
            self.resident = self.resident - 1
            self.count("kernel.evictions")
            return true
        end
    end
end

-- --- address spaces -------------------------------------------------------------------------

function Machine:table_frames(level) return -(-((1 << self.bits[level]) * self.format.bytes) // self.page) end

-- The address of va's entry at a level; tables on the way are made. nil: no memory.
function Process:make_tables(va, level)
    local m = self.m
    local function new_table(k)
        local ppn = m:take_frames(m:table_frames(k), 1, "table")
        if ppn then
            self.tables[#self.tables + 1] = { ppn = ppn, level = k }
            return ppn * m.page
        end
    end
    self.root = self.root or new_table(m.levels - 1)
    local at = self.root
    for k = m.levels - 1, level + 1, -1 do
        if not at then return nil end
        local entry = m:entry(at, va, k)
        if not m.pte[entry] then
            local below = new_table(k - 1)
            if not below then return nil end
            m.pte[entry] = { table = below }
        end
        at = m.pte[entry].table
    end
    return at and m:entry(at, va, level)
end

-- The address of the entry for va in a table of level k.
function Machine:entry(at, va, k)
    return at + (va % self.va_size // self.span[k]) % (1 << self.bits[k]) * self.format.bytes
end

-- The entry that maps va or says that nothing does, and its level.
function Process:lookup(va)
    local m, at = self.m, self.root
    for k = m.levels - 1, 0, -1 do
        local entry = m:entry(at, va, k)
        local pte = m.pte[entry]
        if not pte or not pte.table then return entry, pte, k end
        at = pte.table
    end
end

function Machine:spawn()
    local p = setmetatable({ m = self, areas = {}, tables = {}, alive = true }, Process)
    if self.paging and not p:make_tables(0, self.levels - 1) then return nil end
    local id = 1 -- that of a space which has ended is taken again
    while self.spaces[id] do id = id + 1 end
    p.id, self.spaces[id], self.last_space = id, p, math.max(id, self.last_space)
    kernel.enter(self, p)
    if not kernel.stack(self, p) then return nil end
    self:place(p)
    self.processes[#self.processes + 1] = p
    return p
end

function Process:area(va)
    for _, a in ipairs(self.areas) do
        if a.start <= va and va < a.stop then return a end
    end
end

-- Pages, large or not, that lie in a range and have an entry: f(va, entry, pte, level)
function Process:each_page(start, stop, f)
    local va = start
    while va < stop do
        local entry, pte, level = self:lookup(va)
        if pte then f(va, entry, pte, level) end
        va = va - va % self.m.span[level] + self.m.span[level]
    end
end

function Process:release(start, stop)
    local m = self.m
    self:each_page(start, stop, function(va, entry, pte, level)
        if pte.ppn then
            local f = m.frames[pte.ppn]
            if f.use == "page" then
                m.order.remove(pte.ppn)
                if f.slot then m.slots[f.slot] = nil end
                m.resident = m.resident - 1
            end
            m:give_frames(pte.ppn, m.span[level] // m.page)
            m:shootdown(self, va)
        else
            m.slots[pte.slot] = nil
        end
        m.pte[entry] = nil
    end)
end

-- Take a range out of all areas.
local function cut(areas, start, stop)
    local rest = {}
    for _, a in ipairs(areas) do
        local function keep(from, to)
            if from < to then rest[#rest + 1] = { start = from, stop = to, prot = a.prot, level = a.level } end
        end
        keep(a.start, math.min(a.stop, start))
        keep(math.max(a.start, stop), a.stop)
    end
    return rest
end

function Process:mmap(addr, length, prot, level)
    self:munmap(addr, length)
    table.insert(self.areas, { start = addr, stop = addr + length, prot = prot, level = level or 0 })
end

function Process:munmap(addr, length)
    self.areas = cut(self.areas, addr, addr + length)
    self:release(addr, addr + length)
end

function Process:mprotect(addr, length, prot)
    local inside = {}
    for _, a in ipairs(self.areas) do
        local from, to = math.max(a.start, addr), math.min(a.stop, addr + length)
        if from < to then inside[#inside + 1] = { start = from, stop = to, prot = prot, level = a.level } end
    end
    self.areas = cut(self.areas, addr, addr + length)
    for _, a in ipairs(inside) do table.insert(self.areas, a) end
    self:each_page(addr, addr + length, function(va, _, pte)
        if pte.ppn then
            pte.grants = granted(self.m.format, prot)
            self.m:shootdown(self, va)
        end
    end)
end

function Process:exit()
    local m = self.m
    if not self.alive then return end
    self.alive = false
    m.spaces[self.id] = nil
    if m.paging then
        self:release(0, m.user_top)
        m:leave(self)
        for _, t in ipairs(self.tables) do
            for i = 0, (1 << m.bits[t.level]) - 1 do m.pte[t.ppn * m.page + i * m.format.bytes] = nil end
            m:give_frames(t.ppn, m:table_frames(t.level))
        end
    end
    if not m.paging then m:leave(self) end
    kernel.drop(m, self)
end

-- --- page faults ----------------------------------------------------------------------------

-- Pages in memory and in swap.
function Process:pages()
    local n = 0
    for _, a in ipairs(self.areas) do
        self:each_page(a.start, a.stop, function(_, _, pte, level)
            if pte.ppn or pte.slot then n = n + self.m.span[level] // self.m.page end
        end)
    end
    return n
end

-- Memory is used up: the process with the most pages ends, if it is another one.
function Process:make_victim()
    local worst, most = self, self:pages()
    for id = 1, self.m.last_space do
        local p = self.m.spaces[id]
        if p and p:pages() > most then worst, most = p, p:pages() end
    end
    if worst == self then return false end
    self.m.count("kernel.oom_kills")
    worst:exit()
    return true
end

-- nil: served, try again; else what kills the process.
function Process:fault(va, kind, why)
    local m = self.m
    m.count("kernel.faults")
    m.interrupted = {}
    if why == "bus" then return "SIGBUS ADRERR" end
    local a = why ~= "noncanonical" and self:area(va)
    if not a then
        local kernels = m.kernel and why ~= "noncanonical" and va % m.va_size >= m.user_top
        return kernels and "SIGSEGV ACCERR" or "SIGSEGV MAPERR"
    end
    if not granted(m.format, a.prot)[kind] then return "SIGSEGV ACCERR" end
    assert(why == "absent", "a PTE is never behind its area")
    while true do
        local signal
        if a.level > 0 then signal = self:fault_large(va, a) else signal = self:fault_base(va, a) end
        if not signal or not self:make_victim() then return signal end
    end
end

function Process:fault_base(va, a)
    local m = self.m
    local entry = self:make_tables(va, 0)
    if not entry then return "SIGKILL OOM" end
    while m.o.resident > 0 and m.resident >= m.o.resident do
        if not m:evict() then return "SIGKILL OOM" end
    end
    local ppn = m:take_frames(1, 1, "page")
    if not ppn then return "SIGKILL OOM" end
    local slot = m.pte[entry] and m.pte[entry].slot
    m.pte[entry] = { ppn = ppn, grants = granted(m.format, a.prot) }
    m.frames[ppn] = { use = "page", pte = entry, va = va - va % m.page, process = self, slot = slot }
    m.order.insert(ppn)
    m.resident = m.resident + 1
    if slot then m.count("disk.reads") end
    m.count(slot and "kernel.major_faults" or "kernel.minor_faults")
    m.count(slot and "kernel.swap_ins" or "kernel.zero_fills")
end

function Process:fault_large(va, a)
    local m = self.m
    local n = m.span[a.level] // m.page
    local entry = self:make_tables(va, a.level)
    if not entry then return "SIGKILL OOM" end
    if m.pte[entry] then
        self:drop_tables(entry, a.level - 1)
        m:shootdown(self, va)
        m:forget_tables(self, va, a.level)
    end
    local ppn = m:take_frames(n, n, "large")
    if not ppn then return "SIGKILL OOM" end
    m.pte[entry] = { ppn = ppn, grants = granted(m.format, a.prot) }
    m.count("kernel.minor_faults")
    m.count("kernel.zero_fills")
end

-- The empty tables that an entry leads to go.
function Process:drop_tables(entry, level)
    local m = self.m
    local at = m.pte[entry].table
    if level > 0 then
        for i = 0, (1 << m.bits[level]) - 1 do
            local sub = at + i * m.format.bytes
            if m.pte[sub] then self:drop_tables(sub, level - 1) end
        end
    end
    for i, t in ipairs(self.tables) do
        if t.ppn * m.page == at then table.remove(self.tables, i) break end
    end
    m:give_frames(at // m.page, m:table_frames(level))
    m.pte[entry] = nil
end

-- --- translation ------------------------------------------------------------------------------

function Machine:pte_traffic(pa, write)
    if not self.l1d then return self.memory.access(pa, write, "walk") end
    self:enter_cache(self.l1d, pa, write, "walk")
end

local function mark(pte, bit)
    if pte[bit] then return false end
    pte[bit] = true
    return true
end

-- Down the page table. nil: a fault; else an entry for the TLBs.
function Machine:walk(p, va, kind)
    self.count("mmu.walks")
    local at, k = p.root, self.levels - 1
    for level = 1, self.levels - 1 do
        local known = self.pwc[level] and self.pwc[level].lookup(va % self.va_size // self.span[level], p.asid)
        if known then
            at, k = known.table, level - 1
            break
        end
    end
    while true do
        local entry = self:entry(at, va, k)
        self.count("mmu.pte_reads.l" .. k)
        self:pte_traffic(entry, false)
        local pte = self.pte[entry]
        if not pte or pte.slot then return nil, "absent" end
        if pte.ppn then
            if not pte.grants[kind] then return nil, "protection" end
            local changes = mark(pte, "accessed")
            if kind == "store" then changes = mark(pte, "dirty") or changes end
            if changes then
                self.count("mmu.pte_writes")
                self:pte_traffic(entry, true)
            end
            return { class = k, vpn = va % self.va_size // self.span[k], asid = p.asid, ppn = pte.ppn,
                grants = pte.grants, dirty = pte.dirty }
        end
        if k == 0 then return nil, "protection" end -- a table of the kernel's, by the self entry
        if self.format.tables_accessed and mark(pte, "accessed") then
            self.count("mmu.pte_writes")
            self:pte_traffic(entry, true)
        end
        if self.pwc[k] then
            self.pwc[k].fill({ class = 0, vpn = va % self.va_size // self.span[k], asid = p.asid, table = pte.table })
        end
        at, k = pte.table, k - 1
    end
end

function Machine:canonical(va)
    if not self.format.canonical then return va >= 0 and va < self.va_size end
    return va >= -(self.va_size // 2) and va < self.va_size // 2
end

-- The physical address, or nil and why not.
function Machine:translate_once(p, va, kind)
    if not self.paging then
        if va >= 0 and va < self.o.dram.size then return va end
        return nil, "bus"
    end
    if not self:canonical(va) then return nil, "noncanonical" end
    local chain, found, missed = self.chain[kind == "fetch" and "fetch" or "data"], nil, {}
    for _, t in ipairs(chain) do
        found = t.lookup(va % self.va_size // self.page, p.asid)
        if found then break end
        table.insert(missed, 1, t)
    end
    local why
    if not found then
        found, why = self:walk(p, va, kind)
        if not found then
            self.count("mmu.faults")
            return nil, why
        end
    end
    for _, t in ipairs(missed) do t.fill(found) end
    if not found.grants[kind] then
        self.count("mmu.faults")
        return nil, "protection"
    end
    if kind == "store" and not found.dirty then
        self.count("mmu.dirty_walks")
        found = assert(self:walk(p, va, kind))
        for _, t in ipairs(self.tlbs) do t.set_dirty(found) end
    end
    local pa = found.ppn * self.page + va % self.span[found.class]
    if pa >= self.o.dram.size then return nil, "bus" end
    return pa
end

function Machine:translate(p, va, kind)
    while true do
        local pa, why = self:translate_once(p, va, kind)
        if pa then
            local f = self.paging and self.frames[pa // self.page]
            if f and f.use == "page" and self.o.policy == "lru" then self.order.hit(pa // self.page) end
            return pa
        end
        local signal = p:fault(va, kind, why)
        if signal then return nil, signal end
    end
end

-- --- accesses ------------------------------------------------------------------------------

-- The part of an access that lies in one page.
function Machine:touch(pa, n, kind)
    local cache, class = kind == "fetch" and self.l1i or self.l1d, kind == "fetch" and "fetch" or "data"
    local write = kind == "store"
    if not cache then return self.memory.access(pa, write, class) end
    if self.o.cache.straddle == "once" then
        if class == "data" then n = math.min(n, self.shortest) end
        return cache.access_once(pa, n, write, class)
    end
    for line = pa // cache.line, (pa + n - 1) // cache.line do
        self:enter_cache(cache, line * cache.line, write, class)
    end
end

function Process:one(kind, va, size)
    local m = self.m
    if va < 0 and va + size - 1 >= 0 then return "SIGSEGV MAPERR" end
    m:switch(self)
    local cache = kind == "fetch" and m.l1i or m.l1d
    if m.paging and va // m.page ~= (va + size - 1) // m.page then m.count("access.page_straddles") end
    if cache and va // cache.line ~= (va + size - 1) // cache.line then m.count("access.line_straddles") end
    while size > 0 do
        local n = m.paging and math.min(size, m.page - va % m.page) or size
        local pa, signal = m:translate(self, va, kind)
        if pa and pa + n > m.o.dram.size then pa, signal = nil, "SIGBUS ADRERR" end
        if not pa then return signal end
        m:touch(pa, n, kind)
        va, size = va + n, size - n
    end
    m.count(({ fetch = "access.fetches", load = "access.loads", store = "access.stores" })[kind])
end

---One access; nil, or the signal and code that end the process, which the caller
---then calls exit for.
function Process:access(kind, va, size)
    if kind ~= "modify" then return self:one(kind, va, size) end
    local signal = self:one("load", va, size)
    if not signal and self.m.o.cache.straddle ~= "once" then signal = self:one("store", va, size) end
    if not signal then self.m.count("access.modifies") end
    return signal
end

-- --- counters ---------------------------------------------------------------------------------

local function derive(m)
    local n, o = m.n, m.o
    local function get(name) return n[name] or 0 end
    n["access.total"] = get("access.fetches") + get("access.loads") + get("access.stores")
    local cycles = { fetch = 0, data = 0, walk = 0 }
    for class in pairs(cycles) do
        cycles[class] = get("dram." .. class .. ".reads") * o.dram.latency
            + get("coherence.transfers." .. class) * o.cache.transfer
        n["coherence.transfers." .. class] = nil
        for name in pairs(m.caches) do
            local at = "cache." .. name .. "." .. class
            cycles[class] = cycles[class] + (get(at .. ".reads") + get(at .. ".writes")) * o.cache[name].latency
        end
    end
    for name in pairs(m.caches) do
        local at, refs, misses = "cache." .. name, 0, 0
        for _, class in ipairs({ "data", "fetch", "walk" }) do
            refs = refs + get(at .. "." .. class .. ".reads") + get(at .. "." .. class .. ".writes")
            misses = misses + get(at .. "." .. class .. ".read_misses") + get(at .. "." .. class .. ".write_misses")
        end
        n[at .. ".accesses"], n[at .. ".misses"], n[at .. ".hits"] = refs, misses, refs - misses
    end
    cycles.tlb = 0
    for _, group in ipairs({ "tlb", "pwc" }) do
        for name, t in pairs(o[group]) do
            if type(t) == "table" and t.entries > 0 then
                local at = group .. "." .. name
                n[at .. ".hits"] = get(at .. ".lookups") - get(at .. ".misses")
                cycles.tlb = cycles.tlb + get(at .. ".lookups") * (t.latency or 0)
            end
        end
    end
    cycles.kernel = get("kernel.faults") * o.kernel.fault + get("kernel.zero_fills") * o.kernel.zero
        + get("kernel.switches") * o.kernel.switch + get("kernel.calls") * o.kernel.call
        + get("kernel.interrupts") * o.kernel.interrupt
    cycles.disk = (get("disk.reads") + get("disk.writes")) * o.disk.latency
    local total = 0
    for name, c in pairs(cycles) do
        n["cycles." .. name] = c
        total = total + c
    end
    n["cycles.total"] = total
end

---All counters that are not 0, and some that are, by their dotted names.
function Machine:stats()
    derive(self)
    return self.n
end

return model
