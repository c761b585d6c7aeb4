-- Slow models of the policies that keep pages in some order: lists of page numbers,
-- searched from the front. Each is made for n frames and parameters, and is then a
-- function of a page (and whether it is written) that tells whether it hit, and else
-- which page went. What goes is the first of a list, if nothing else is said.
local rng = require("policies.rng")

local function take(list, x)
    for i, v in ipairs(list) do
        if v == x then return table.remove(list, i) end
    end
end

local function push(list, x) list[#list + 1] = x end

local orders = {}

function orders.fifo(n)
    local queue, resident = {}, {}
    return function(page)
        if resident[page] then return true end
        local victim = #queue == n and table.remove(queue, 1) or nil
        if victim then resident[victim] = nil end
        push(queue, page)
        resident[page] = true
        return false, victim
    end
end

function orders.lru(n)
    local list = {}
    return function(page)
        local hit = take(list, page) ~= nil
        local victim = not hit and #list == n and table.remove(list, 1) or nil
        push(list, page)
        return hit, victim
    end
end

function orders.mru(n)
    local list = {}
    return function(page)
        local hit = take(list, page) ~= nil
        local victim = not hit and #list == n and table.remove(list) or nil
        push(list, page)
        return hit, victim
    end
end

-- The full slots in a dense array: the last one takes the place of one that goes, and
-- what comes into the victim's slot stays where it was.
function orders.random(n, _, seed)
    local slots, where, draw = {}, {}, rng(seed)
    return function(page)
        if where[page] then return true end
        local at, victim = #slots + 1, nil
        if #slots == n then
            at = draw.below(n) + 1
            victim = slots[at]
            where[victim] = nil
        end
        slots[at], where[page] = page, at
        return false, victim
    end
end

orders["second-chance"] = function(n, params)
    local queue, bit, resident = {}, {}, {}
    return function(page)
        if resident[page] then
            bit[page] = true
            return true
        end
        local victim
        if #queue == n then
            while bit[queue[1]] do
                local passed = table.remove(queue, 1)
                bit[passed] = false
                push(queue, passed)
            end
            victim = table.remove(queue, 1)
            resident[victim] = nil
        end
        push(queue, page)
        resident[page], bit[page] = true, (params.enter or 1) == 1
        return false, victim
    end
end

-- Karedla, Love and Wherry 1994.
function orders.slru(n, params)
    local probationary, protected = {}, {}
    local most = math.floor((params.protected or 0.8) * n)
    return function(page)
        if take(protected, page) or take(probationary, page) then
            push(protected, page)
            if #protected > most then push(probationary, table.remove(protected, 1)) end
            return true
        end
        local victim
        if #probationary + #protected == n then
            victim = table.remove(#probationary > 0 and probationary or protected, 1)
        end
        push(probationary, page)
        return false, victim
    end
end

-- Johnson and Shasha 1994, the full version; lists have their heads at the end.
orders["2q"] = function(n, params)
    local kin = math.max(1, math.floor((params.kin or 0.25) * n))
    local kout = math.max(1, math.floor((params.kout or 0.5) * n))
    local a1in, a1out, am = {}, {}, {}
    local function has(list, page)
        for _, p in ipairs(list) do
            if p == page then return true end
        end
    end
    local function reclaim()
        if #a1in + #am < n then return nil end
        if #a1in > kin or #am == 0 then
            local y = table.remove(a1in, 1)
            push(a1out, y)
            if #a1out > kout then table.remove(a1out, 1) end
            return y
        end
        return table.remove(am, 1)
    end
    return function(page)
        if take(am, page) then
            push(am, page)
            return true
        elseif has(a1in, page) then
            return true
        elseif has(a1out, page) then
            local victim = reclaim()
            take(a1out, page)
            push(am, page)
            return false, victim
        end
        local victim = reclaim()
        push(a1in, page)
        return false, victim
    end
end

return orders
