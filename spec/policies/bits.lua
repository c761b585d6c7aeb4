-- Slow models of the policies that go by reference and dirty bits: an array of the
-- pages in frames, in order of the frames, and bits by page. See orders.lua.
local rng = require("policies.rng")

local bits = {}

-- Frames are filled in order; what comes takes the victim's. `victim()` tells the
-- index of the frame that goes, `enter(page)` and `hit(page)` what else is to be done.
local function frames(n, m)
    m.pages, m.where, m.used, m.dirty = {}, {}, {}, {}
    return function(page, write)
        if m.before then m.before(m.where[page] ~= nil) end
        if m.where[page] then
            m.used[page] = true
            m.dirty[page] = m.dirty[page] or write
            if m.hit then m.hit(page) end
            return true
        end
        local at, victim = #m.pages + 1, nil
        if #m.pages == n then
            at = m.victim()
            victim = m.pages[at]
            m.where[victim] = nil
            if m.leave then m.leave(victim) end
        end
        if m.enter then m.enter(page) end
        m.pages[at], m.where[page], m.dirty[page] = page, at, write
        m.used[page] = m.enters ~= 0
        return false, victim
    end
end

function bits.clock(n, params)
    local m, hand = { enters = params.enter }, 1
    function m.victim()
        while true do
            local at = hand
            hand = hand % n + 1
            if not m.used[m.pages[at]] then return at end
            m.used[m.pages[at]] = false
        end
    end
    return frames(n, m)
end

-- Silberschatz and others, and Stallings: rounds for classes (0, 0) and (0, 1).
bits["enhanced-second-chance"] = function(n, params)
    local m, hand = { enters = params.enter }, 1
    local function round(dirty, clear)
        for _ = 1, n do
            local at = hand
            local page = m.pages[at]
            hand = hand % n + 1
            if not m.used[page] and m.dirty[page] == dirty then return at end
            if clear then m.used[page] = false end
        end
    end
    function m.victim()
        return round(false, false) or round(true, true) or round(false, false) or round(true, true)
    end
    return frames(n, m)
end

-- When ticks come: asked before each reference.
local function ticks(n, params, m, tick)
    local every = params.every or 0
    if every == 0 then every = math.max(1, n // 8) end
    local faults, references, last = 0, 0, 0
    local by_references = params.unit == "references"
    return function(hit)
        local now = by_references and references or faults
        if (by_references or not hit) and now - last >= every then
            last = now
            tick(m)
        end
        references = references + 1
        if not hit then faults = faults + 1 end
    end
end

-- Tanenbaum: the lowest of four classes, at random or from a hand on. A tick that
-- comes at a fault clears the bits after the victim is chosen.
function bits.nru(n, params, seed)
    local m, hand, draw, due = { enters = params.enter }, 1, rng(seed), false
    local look = ticks(n, params, m, function() due = true end)
    local function clear()
        if due then
            for _, page in ipairs(m.pages) do m.used[page] = false end
        end
        due = false
    end
    function m.before(hit)
        look(hit)
        if hit then clear() end
    end
    function m.enter() clear() end
    local function class(page) return (m.used[page] and 2 or 0) + (m.dirty[page] and 1 or 0) end
    function m.victim()
        local lowest, list = 3, {}
        for _, page in ipairs(m.pages) do lowest = math.min(lowest, class(page)) end
        for i = 0, n - 1 do
            local at = params.tie == "random" and i + 1 or (hand + i - 1) % n + 1
            if class(m.pages[at]) == lowest then list[#list + 1] = at end
        end
        if params.tie == "random" then return list[draw.below(#list) + 1] end
        hand = list[1] % n + 1
        return list[1]
    end
    return frames(n, m)
end

-- Counters that ticks change; the lowest goes, of several the first that entered.
local function counters(n, params, start, step)
    local m, counter, arrival, arrivals = {}, {}, {}, 0
    m.before = ticks(n, params, m, function()
        for _, page in ipairs(m.pages) do
            counter[page] = step(counter[page], m.used[page] and 1 or 0)
            m.used[page] = false
        end
    end)
    function m.enter(page)
        arrivals = arrivals + 1
        counter[page], arrival[page] = start, arrivals
    end
    function m.victim()
        local best = 1
        for at = 2, n do
            local a, b = m.pages[at], m.pages[best]
            if counter[a] < counter[b] or counter[a] == counter[b] and arrival[a] < arrival[b] then best = at end
        end
        return best
    end
    return frames(n, m)
end

function bits.aging(n, params)
    local width = params.bits or 8
    local start = params.enter == "top" and 1 << (width - 1) or 0
    return counters(n, params, start, function(c, r) return c >> 1 | r << (width - 1) end)
end

function bits.nfu(n, params)
    return counters(n, params, 0, function(c, r) return c + r end)
end

-- Carr and Hennessy 1981, Tanenbaum 3.4.9: pages with the time of their last use.
function bits.wsclock(n, params)
    local m, at_time, hand, faults, references = {}, {}, 1, 0, 0
    local tau = params.tau or 10000
    local function now() return params.unit == "faults" and faults or references end
    local current
    function m.before(hit)
        current = now()
        references = references + 1
        if not hit then faults = faults + 1 end
    end
    function m.enter(page) at_time[page] = current end
    function m.victim()
        local scheduled, clean
        for i = 0, n - 1 do
            local at = (hand + i - 1) % n + 1
            local page = m.pages[at]
            local old = not m.used[page] and current - at_time[page] > tau
            if m.used[page] then
                m.used[page], at_time[page] = false, current
            elseif old and not m.dirty[page] then
                hand = at % n + 1
                return at
            elseif old then
                scheduled = scheduled or at
            end
            if not m.dirty[page] then clean = clean or at end
        end
        local at = scheduled or clean or hand
        hand = at % n + 1
        return at
    end
    return frames(n, m)
end

return bits
