-- Processors of the second machine (model.lua): what each has for itself, who runs
-- where, which of them must hear of a changed PTE, and coherent caches.
--    cpus.make(m, count)         m.cpus: each with its TLBs and caches
--    m:use(i)                    processor i is at work: m.tlbs, m.chain, m.pwc, m.l1d, m.l1i
--    m:enter_cache(c, pa, write, class)
local parts = require("model_parts")

local cpus = {}

local function make_caches(m, cpu, shared, count)
    local o, below = m.o, m.memory
    local outermost
    for _, name in ipairs({ "l4", "l3", "l2" }) do
        if o.cache[name].size > 0 then
            outermost = name
            break
        end
    end
    for _, name in ipairs({ "l4", "l3", "l2", "l1", "l1d", "l1i" }) do
        local c = o.cache[name]
        if c.size > 0 then
            local cache = name == outermost and shared[name] or parts.cache(name, c, below, count)
            if cache ~= shared[name] and below ~= m.memory then table.insert(below.above, cache) end
            m.caches[name] = true
            m.shortest = math.min(m.shortest, cache.line)
            if name == outermost then shared[name] = cache else table.insert(cpu.own, cache) end
            if name == "l1d" or name == "l1" then cpu.l1d = cache end
            if name == "l1i" or name == "l1" then cpu.l1i = cache end
            if name ~= "l1d" and name ~= "l1i" then below = cache end
        end
    end
end

local function make_tlbs(m, cpu, count)
    local o = m.o
    cpu.tlbs, cpu.chain, cpu.pwc = {}, { data = {}, fetch = {} }, {}
    for _, name in ipairs({ "l1", "l1i", "l1d", "l2", "l3" }) do
        local t = o.tlb[name]
        if t.entries > 0 then
            local tlb = parts.tlb("tlb." .. name, t, m.shifts, count)
            cpu.tlbs[#cpu.tlbs + 1] = tlb
            if name ~= "l1i" then table.insert(cpu.chain.data, tlb) end
            if name ~= "l1d" then table.insert(cpu.chain.fetch, tlb) end
        end
    end
    for k = 1, m.levels - 1 do
        local w = o.pwc["l" .. k]
        if w.entries > 0 then
            cpu.pwc[k] = parts.tlb("pwc.l" .. k, { entries = w.entries, ways = w.ways }, { [0] = 0 }, count)
        end
    end
end

function cpus.make(m)
    local shared = {}
    m.caches, m.shortest, m.cpus, m.interrupted = {}, math.maxinteger, {}, {}
    for i = 0, m.o.cpus - 1 do
        local cpu = { own = {}, load = 0 }
        m.cpus[i] = cpu
        make_caches(m, cpu, shared, m.count)
        make_tlbs(m, cpu, m.count)
    end
    m:use(0)
end

local Machine = {}
cpus.Machine = Machine

function Machine:use(i)
    local cpu = self.cpus[i]
    self.cpu = i
    self.tlbs, self.chain, self.pwc, self.l1d, self.l1i = cpu.tlbs, cpu.chain, cpu.pwc, cpu.l1d, cpu.l1i
end

-- A call of the process, or a fault, begins: what interrupts were sent is forgotten.
function Machine:enter(process)
    self.count("kernel.calls")
    self.interrupted = {}
    self:use(process.cpu)
end

-- Where the fewest processes are.
function Machine:place(process)
    process.cpu, process.seen = 0, {}
    for i = 1, self.o.cpus - 1 do
        if self.cpus[i].load < self.cpus[process.cpu].load then process.cpu = i end
    end
    self.cpus[process.cpu].load = self.cpus[process.cpu].load + 1
end

-- Call f with each processor whose TLBs may know the process; the others among them
-- are interrupted, once in a call or fault.
function Machine:each_knowing(process, f)
    if self.o.tlb.asid_bits > 0 and process.generation ~= self.generation then return end
    for i = 0, self.o.cpus - 1 do
        local knows = process.seen[i]
        if self.o.tlb.asid_bits == 0 then knows = self.cpus[i].running == process end
        if knows then
            f(self.cpus[i])
            if i ~= self.cpu and not self.interrupted[i] then
                self.interrupted[i] = true
                self.count("kernel.interrupts")
            end
        end
    end
end

-- A PTE has changed: no TLB may know the old one.
function Machine:shootdown(process, va)
    self.count("kernel.shootdowns")
    self:each_knowing(process, function(cpu)
        for _, t in ipairs(cpu.tlbs) do t.invalidate(va // self.page, process.asid) end
        for k, w in pairs(cpu.pwc) do w.invalidate(va // self.span[k], process.asid) end
    end)
end

-- The tables below va's entry at a level have gone: no walk may begin in them.
function Machine:forget_tables(process, va, level)
    self:each_knowing(process, function(cpu)
        for k, w in pairs(cpu.pwc) do
            local start = va % self.va_size // self.span[level] * self.span[level]
            for at = start, k <= level and start + self.span[level] - 1 or start - 1, self.span[k] do
                w.invalidate(at // self.span[k], process.asid)
            end
        end
    end)
end

local function flush(cpu, asid)
    for _, t in ipairs(cpu.tlbs) do t.flush(asid) end
    for _, w in pairs(cpu.pwc) do w.flush(asid) end
end

-- The process has ended.
function Machine:leave(process)
    if self.paging then self:each_knowing(process, function(cpu) flush(cpu, process.asid) end) end
    for i = 0, self.o.cpus - 1 do
        if self.cpus[i].running == process then self.cpus[i].running = nil end
    end
    self.cpus[process.cpu].load = self.cpus[process.cpu].load - 1
end

function Machine:switch(process)
    self:use(process.cpu)
    local cpu = self.cpus[process.cpu]
    if cpu.running == process then return end
    if self.o.tlb.asid_bits == 0 then
        if cpu.running then flush(cpu) end
        process.asid = 0
    elseif process.generation ~= self.generation then
        if self.next_asid == math.min(1 << self.o.tlb.asid_bits, 0xffff) then
            for i = 0, self.o.cpus - 1 do -- what runs elsewhere must be given a new one
                flush(self.cpus[i])
                if i ~= self.cpu then self.cpus[i].running = nil end
            end
            self.generation = self.generation + 1
            self.next_asid = 1
            self.count("kernel.asid_rollovers")
        end
        process.asid, process.generation, process.seen = self.next_asid, self.generation, {}
        self.next_asid = self.next_asid + 1
    end
    process.seen[process.cpu] = true
    if cpu.running then self.count("kernel.switches") end
    cpu.running = process
end

-- --- coherent caches ------------------------------------------------------------------------

-- What the processor's caches hold of a block: { cache, line, item }, ...
local function held(cpu, block, size)
    local list, dirty = {}, false
    for _, c in ipairs(cpu.own) do
        for line = block * size // c.line, (block * size + size - 1) // c.line do
            local item = c.find(line)
            if item then
                list[#list + 1] = { cache = c, line = line, item = item }
                dirty = dirty or item.dirty
            end
        end
    end
    return list, dirty
end

-- Somebody else writes to the block, or reads it.
function Machine:yield(cpu, block, size, write, class)
    local list, dirty = held(cpu, block, size)
    if not dirty and not (write and #list > 0) then return end
    for _, h in ipairs(list) do
        if write then h.cache.remove(h.line) else h.item.dirty = false end
    end
    self.count("coherence.transfers")
    self.count("coherence.transfers." .. class)
    if write then self.count("coherence.invalidations") end
    if dirty then
        self.count("coherence.interventions")
        cpu.own[1].write_down(block)
    end
end

function Machine:enter_cache(c, pa, write, class)
    local mine = self.cpus[self.cpu]
    if self.o.cpus > 1 then
        local size = mine.own[1].line -- own caches stand from the outermost to the first level
        local block = pa // size
        local list, dirty = held(mine, block, size)
        for i = 0, self.o.cpus - 1 do
            if i ~= self.cpu and not (write and dirty) and (write or #list == 0) then
                self:yield(self.cpus[i], block, size, write, class)
            end
        end
    end
    c.access(pa, write, class)
end

return cpus
