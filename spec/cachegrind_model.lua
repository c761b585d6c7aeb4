-- How cachegrind counts cache misses, written plainly: the oracle for the
-- caches' option straddle = "once".
--
--    local model = require("cachegrind_model")
--    model.run(accesses, geometry)    --> { Ir, I1mr, ILmr, Dr, D1mr, DLmr, Dw, D1mw, DLmw }
--
-- `accesses` is an iterator of kind ("fetch", "load", "store", "modify"),
-- address, size; a geometry is { I1 = { size, ways, line }, D1 = ..., LL = ... }.
--
-- The rules
--   - An access is one reference and at most one miss of each level, however many
--     lines it lies on. It misses if one of its lines does; each of its lines is
--     looked up (and brought in) in the order of addresses, also behind a miss.
--   - If L1 missed, LL is looked up with the whole access, by the same rule and
--     with its own line size: also for the line that L1 had.
--   - Stores allocate as loads do; nothing is ever written back.
--   - Sets are in LRU order.
--   - A modify is a load. Data accesses longer than the smallest line of the
--     three caches are cut to it, so that none lies on more than two lines;
--     instructions are shorter anyway.
local model = {}

local function cache_new(shape)
    local size, ways, line = table.unpack(shape)
    return { sets = {}, set_count = size // ways // line, ways = ways, line = line }
end

-- One line, named by its number; true if it was not there.
local function cache_line_missed(c, number)
    local index = number % c.set_count
    local set = c.sets[index]
    if not set then
        set = {}
        c.sets[index] = set
    end
    for way = 1, #set do
        if set[way] == number then
            table.insert(set, 1, table.remove(set, way))
            return false
        end
    end
    table.insert(set, 1, number)
    set[c.ways + 1] = nil
    return true
end

local function cache_missed(c, addr, size)
    local missed = false
    for number = addr // c.line, (addr + size - 1) // c.line do
        missed = cache_line_missed(c, number) or missed
    end
    return missed
end

function model.run(accesses, geometry)
    local i1, d1, ll = cache_new(geometry.I1), cache_new(geometry.D1), cache_new(geometry.LL)
    local longest = math.min(i1.line, d1.line, ll.line)
    local fetches = { cache = i1, refs = 0, l1 = 0, ll = 0 }
    local reads, writes = { cache = d1, refs = 0, l1 = 0, ll = 0 }, { cache = d1, refs = 0, l1 = 0, ll = 0 }
    local counted_as = { fetch = fetches, load = reads, modify = reads, store = writes }
    for kind, addr, size in accesses do
        local counts = counted_as[kind]
        if counts ~= fetches then size = math.min(size, longest) end
        counts.refs = counts.refs + 1
        if cache_missed(counts.cache, addr, size) then
            counts.l1 = counts.l1 + 1
            if cache_missed(ll, addr, size) then counts.ll = counts.ll + 1 end
        end
    end
    return {
        Ir = fetches.refs, I1mr = fetches.l1, ILmr = fetches.ll,
        Dr = reads.refs, D1mr = reads.l1, DLmr = reads.ll,
        Dw = writes.refs, D1mw = writes.l1, DLmw = writes.ll,
    }
end

local kinds = { I = "fetch", L = "load", S = "store", M = "modify" }

-- Accesses of Lackey's text, by an iterator over its lines: for a check of a
-- fixture without vmem's own reader.
function model.lackey(lines)
    return function()
        for line in lines do
            local kind, addr, size = line:match("^ ?([ILSM]) +(%x+),(%d+)$")
            if kind then return kinds[kind], tonumber(addr, 16), tonumber(size) end
        end
    end
end

return model
