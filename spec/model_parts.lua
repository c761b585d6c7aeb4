-- Parts of the second machine (model.lua): replacement, caches, DRAM, TLBs, each
-- told plainly. `count(name, by)` adds to a counter.
local parts = {}

-- --- sets under a policy ------------------------------------------------------------
-- A ruler tells which way of a set goes. `list` rulers keep the full ways in an
-- order; the first is the victim.

local function take(list, x)
    for i, v in ipairs(list) do
        if v == x then return table.remove(list, i) end
    end
end

local function list_ruler(moves_on_hit)
    return function()
        local order = {}
        return {
            insert = function(way)
                take(order, way)
                order[#order + 1] = way
            end,
            hit = function(way)
                if moves_on_hit then
                    take(order, way)
                    order[#order + 1] = way
                end
            end,
            remove = function(way) take(order, way) end,
            victim = function() return order[1] end,
        }
    end
end

-- The hand passes ways in order; `referenced(way)` reads and clears the bit.
local function clock_ruler(slots, referenced)
    local full, bit, hand = {}, {}, 0
    local function own(way)
        local was = bit[way]
        bit[way] = false
        return was
    end
    referenced = referenced or own
    return {
        insert = function(way) full[way], bit[way] = true, true end,
        hit = function(way) bit[way] = true end,
        remove = function(way) full[way], bit[way] = nil, nil end,
        victim = function()
            while true do
                local at = hand
                hand = (hand + 1) % slots
                if full[at] and not referenced(at) then return at end
            end
        end,
    }
end

-- A tree as nested halves: each node knows which half was not used last.
local function tree_ruler(ways)
    local function build(first, n)
        if n == 1 then return first end
        return { build(first, n // 2), build(first + n // 2, n // 2), first = first, n = n, to = 1 }
    end
    local root = build(0, ways)
    local function use(way)
        local node = root
        while type(node) == "table" do
            local half = way < node.first + node.n // 2 and 1 or 2
            node.to = 3 - half
            node = node[half]
        end
    end
    return {
        insert = use, hit = use, remove = function() end,
        victim = function()
            local node = root
            while type(node) == "table" do node = node[node.to] end
            return node
        end,
    }
end

-- Bits of the ways that were used; the one that would be the last to be set clears the
-- others.
local function bit_ruler(ways)
    local used = {}
    local function use(way)
        used[way] = true
        for i = 0, ways - 1 do
            if not used[i] then return end
        end
        used = { [way] = true }
    end
    return {
        insert = use, hit = use, remove = function(way) used[way] = nil end,
        victim = function()
            for way = 0, ways - 1 do
                if not used[way] then return way end
            end
            return 0
        end,
    }
end

-- How far off each way's next use is thought to be, up to `most`.
local function interval_ruler(most)
    return function(ways)
        local far = {}
        return {
            insert = function(way) far[way] = most - 1 end,
            hit = function(way) far[way] = 0 end,
            remove = function(way) far[way] = nil end,
            victim = function()
                while true do
                    for way = 0, ways - 1 do
                        if far[way] == most then return way end
                    end
                    for way = 0, ways - 1 do far[way] = far[way] + 1 end
                end
            end,
        }
    end
end

parts.rulers = { lru = list_ruler(true), fifo = list_ruler(false), clock = clock_ruler, ["tree-plru"] = tree_ruler,
    ["bit-plru"] = bit_ruler, nru = interval_ruler(1), srrip = interval_ruler(3) }

-- An array of sets; each way holds an item or nothing.
local function new_sets(sets, ways, policy)
    local s = { ways = ways, count = sets }
    for i = 0, sets - 1 do s[i] = { ruler = parts.rulers[policy](ways) } end
    function s.find(set, same)
        for way = 0, ways - 1 do
            local item = s[set][way]
            if item and same(item) then return item, way end
        end
    end
    function s.remove(set, way)
        s[set][way] = nil
        s[set].ruler.remove(way)
    end
    -- The way where a new item goes: the first empty one, else the victim's.
    function s.place(set)
        for way = 0, ways - 1 do
            if not s[set][way] then return way end
        end
        return s[set].ruler.victim()
    end
    function s.each(f)
        for set = 0, sets - 1 do
            for way = 0, ways - 1 do
                if s[set][way] then f(s[set][way], set, way) end
            end
        end
    end
    return s
end

-- --- caches and DRAM --------------------------------------------------------------------

function parts.memory(count)
    return {
        access = function(_, write, class) count(write and "dram.writes" or "dram." .. class .. ".reads") end,
        access_once = function(_, _, write, class) count(write and "dram.writes" or "dram." .. class .. ".reads") end,
        writeback = function() count("dram.writes") end,
    }
end

function parts.cache(name, o, below, count)
    local sets = o.size // (o.ways * o.line)
    local c = { name = name, line = o.line, above = {}, sets = new_sets(sets, o.ways, o.policy) }
    local back = o.write == "back"
    local function tell(event) count("cache." .. name .. "." .. event) end
    local function set_of(line) return line % sets end
    local function find(line)
        return c.sets.find(set_of(line), function(item) return item.line == line end)
    end
    c.find = find

    -- Take the bytes away from the caches above; true if any of them was dirty there.
    local function remove_above(cache, first, bytes)
        local dirty = false
        for _, up in ipairs(cache.above) do
            for line = first // up.line, (first + bytes - 1) // up.line do
                local item, way = up.find(line)
                if item then
                    tell("back_invalidations")
                    dirty = dirty or item.dirty
                    up.sets.remove(line % up.sets.count, way)
                end
            end
            dirty = remove_above(up, first, bytes) or dirty
        end
        return dirty
    end

    function c.write_down(line)
        tell("writebacks")
        below.writeback(line * o.line)
    end

    function c.remove(line)
        local _, way = find(line)
        c.sets.remove(set_of(line), way)
    end

    local function give_up(item)
        local dirty = item.dirty
        if o.inclusive then dirty = remove_above(c, item.line * o.line, o.line) or dirty end
        if dirty then c.write_down(item.line) end
    end

    local function fill(line, dirty, fetch, class)
        local set = set_of(line)
        local way = c.sets.place(set)
        local old = c.sets[set][way]
        if old then
            c.sets[set][way] = nil
            give_up(old)
        end
        if fetch then below.access(line * o.line, false, class) end
        c.sets[set][way] = { line = line, dirty = dirty }
        c.sets[set].ruler.insert(way)
    end

    -- Hit or fill; true: hit.
    local function touch(line, write, fetch, class)
        local item, way = find(line)
        if item then
            item.dirty = item.dirty or write and back
            c.sets[set_of(line)].ruler.hit(way)
            return true
        end
        fill(line, write and back, fetch, class)
        return false
    end

    -- One demand access to the line of the byte at pa.
    function c.access(pa, write, class)
        local line, kind = pa // o.line, write and "write" or "read"
        tell(class .. "." .. kind .. "s")
        if write and not o.allocate and not find(line) then
            tell(class .. "." .. kind .. "_misses")
            return below.access(pa, true, class)
        end
        if not touch(line, write, true, class) then tell(class .. "." .. kind .. "_misses") end
        if write and o.write == "through" then below.access(pa, true, class) end
    end

    -- A dirty line comes from above.
    function c.writeback(pa)
        tell("writebacks_in")
        local shorter = false
        for _, up in ipairs(c.above) do shorter = shorter or up.line < o.line end
        if not touch(pa // o.line, true, shorter, "data") then tell("writeback_misses") end
        if o.write == "through" then below.access(pa, true, "data") end
    end

    -- n bytes as one reference.
    function c.access_once(pa, n, write, class)
        local kind, hit = write and "write" or "read", true
        tell(class .. "." .. kind .. "s")
        for line = pa // o.line, (pa + n - 1) // o.line do
            if write and not o.allocate and not find(line) then
                hit = false
            else
                hit = touch(line, write, false, class) and hit
            end
        end
        if not hit then tell(class .. "." .. kind .. "_misses") end
        local through = write and o.write == "through"
        if not hit or through then
            local memory = below.line == nil
            below.access_once(pa, n, write and (not memory or through or not o.allocate), class)
        end
    end
    return c
end

-- --- TLBs -------------------------------------------------------------------------------

-- Entries: { class, vpn (in pages of the class), asid, ... what it translates to }
function parts.tlb(name, o, shifts, count)
    local sets = o.entries // o.ways
    local t = { sets = new_sets(sets, o.ways, o.policy or "lru") }
    local function tell(event) count(name .. "." .. event) end
    local function covers(vpn, asid)
        return function(e) return e.asid == asid and e.vpn == vpn >> shifts[e.class] end
    end
    local function find(vpn, asid)
        for class = 0, #shifts do
            local set = (vpn >> shifts[class]) % sets
            local same = covers(vpn, asid)
            local e, way = t.sets.find(set, function(x) return x.class == class and same(x) end)
            if e then return e, set, way end
        end
    end
    function t.lookup(vpn, asid)
        tell("lookups")
        local e, set, way = find(vpn, asid)
        if not e then tell("misses") return end
        t.sets[set].ruler.hit(way)
        return e
    end
    function t.fill(e)
        tell("fills")
        local set = e.vpn % sets
        local way = t.sets.place(set)
        if t.sets[set][way] then tell("evictions") end
        local copy = {}
        for k, v in pairs(e) do copy[k] = v end
        t.sets[set][way] = copy
        t.sets[set].ruler.insert(way)
    end
    function t.set_dirty(e)
        t.sets.each(function(x)
            if x.vpn == e.vpn and x.class == e.class and x.asid == e.asid then x.dirty = true end
        end)
    end
    function t.invalidate(vpn, asid)
        t.sets.each(function(e, set, way)
            if covers(vpn, asid)(e) then
                t.sets.remove(set, way)
                tell("invalidations")
            end
        end)
    end
    -- asid nil: of every address space
    function t.flush(asid)
        t.sets.each(function(e, set, way)
            if asid == nil or e.asid == asid then
                t.sets.remove(set, way)
                tell("invalidations")
            end
        end)
    end
    return t
end

return parts
