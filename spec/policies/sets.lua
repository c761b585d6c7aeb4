-- Slow models of the policies of TLB and cache sets: a set is an array of tags, way 0
-- first, and what the policy keeps for each way. Made for a number of sets and ways,
-- parameters and a seed; then a function of a set and a tag that tells whether it hit.
local rng = require("policies.rng")

local sets = {}

-- `m` tells: enter(set, s, way), hit(s, way), victim(s) for a full set s.
local function cache(count, ways, m)
    local all = {}
    for i = 0, count - 1 do all[i] = { ways = ways } end
    return function(set, tag)
        local s, way = all[set], nil
        for i = 0, ways - 1 do
            if s[i] == tag then
                m.hit(s, i)
                return true
            end
            if not s[i] and not way then way = i end
        end
        way = way or m.victim(s)
        s[way] = tag
        m.enter(set, s, way)
        return false
    end
end

-- PLRUm: bits of most recent use; the last that would be set clears the others.
sets["bit-plru"] = function(count, ways)
    local m = {}
    function m.hit(s, way)
        s.bits = s.bits or {}
        s.bits[way] = true
        for i = 0, ways - 1 do
            if not s.bits[i] then return end
        end
        s.bits = { [way] = true }
    end
    function m.enter(_, s, way) m.hit(s, way) end
    function m.victim(s)
        for i = 0, ways - 1 do
            if not s.bits[i] then return i end
        end
        return 0
    end
    return cache(count, ways, m)
end

-- As in Jaleel and others, section 2: nru-bits are 0 for lines used of late; the first
-- with 1 goes; if there is none, all become 1.
function sets.nru(count, ways)
    local m = {}
    function m.hit(s, way)
        s.nru = s.nru or {}
        s.nru[way] = 0
    end
    function m.enter(_, s, way) m.hit(s, way) end
    function m.victim(s)
        for _ = 1, 2 do
            for i = 0, ways - 1 do
                if s.nru[i] == 1 then return i end
            end
            for i = 0, ways - 1 do s.nru[i] = 1 end
        end
    end
    return cache(count, ways, m)
end

-- Jaleel and others, sections 4 and 5; `distant(set)`: does the line enter at 2^M - 1?
local function rrip(count, ways, params, distant)
    local m, most = {}, (1 << (params.bits or 2)) - 1
    function m.hit(s, way) s.rrpv[way] = params.hit == "fp" and math.max(0, s.rrpv[way] - 1) or 0 end
    function m.enter(set, s, way)
        s.rrpv = s.rrpv or {}
        s.rrpv[way] = distant(set) and most or most - 1
    end
    function m.victim(s)
        while true do
            for i = 0, ways - 1 do
                if s.rrpv[i] == most then return i end
            end
            for i = 0, ways - 1 do s.rrpv[i] = s.rrpv[i] + 1 end
        end
    end
    return cache(count, ways, m)
end

function sets.srrip(count, ways, params)
    return rrip(count, ways, params, function() return false end)
end

function sets.brrip(count, ways, params, seed)
    local draw = rng(seed)
    return rrip(count, ways, params, function() return draw.unit() >= (params.epsilon or 1 / 32) end)
end

function sets.drrip(count, ways, params, seed)
    local draw, bits = rng(seed), params.psel or 10
    local psel = (1 << (bits - 1)) - 1
    local run = math.max(4, count // (params.leaders or 32))
    local leads = {} -- by set: which policy
    if count >= 4 then
        for first = 0, count - run, run do
            leads[first], leads[first + run // 2] = "srrip", "brrip"
        end
    end
    return rrip(count, ways, params, function(set)
        local brrip = psel >= 1 << (bits - 1)
        if leads[set] == "srrip" then
            psel, brrip = math.min(psel + 1, (1 << bits) - 1), false
        elseif leads[set] == "brrip" then
            psel, brrip = math.max(psel - 1, 0), true
        end
        return brrip and draw.unit() >= (params.epsilon or 1 / 32)
    end)
end

return sets
