-- Slow models of the policies that count references: tables by page, all of which are
-- looked at for a victim. See orders.lua.
local rng = require("policies.rng")

local counts = {}

-- The place in a list of the page that goes before all others.
local function first_of(pages, before)
    local at = 1
    for i = 2, #pages do
        if before(pages[i], pages[at]) then at = i end
    end
    return at
end

function counts.lfu(n, params, seed)
    local pages, count, first, last, lot, now = {}, {}, {}, {}, {}, 0
    local draw = rng(seed)
    local better = { -- does page a go before b, which was referenced as often?
        lru = function(a, b) return last[a] < last[b] end,
        mru = function(a, b) return last[a] > last[b] end,
        fifo = function(a, b) return first[a] < first[b] end,
        random = function(a, b) return math.ult(lot[a], lot[b]) end,
    }
    better = better[params.tie or "lru"]
    local function refer(page)
        now = now + 1
        count[page], last[page] = count[page] + 1, now
        if params.tie == "random" then lot[page] = draw.next() end
    end
    return function(page)
        if count[page] then
            refer(page)
            return true
        end
        local at, victim = #pages + 1, nil
        if #pages == n then
            at = first_of(pages, function(a, b)
                return count[a] < count[b] or count[a] == count[b] and better(a, b)
            end)
            victim = pages[at]
            count[victim] = nil
        end
        pages[at], count[page], first[page] = page, 0, now + 1
        refer(page)
        return false, victim
    end
end

-- Arlitt and others 1999: K = F + L, L is the priority of the last victim.
function counts.lfuda(n)
    local pages, hits, priority, last, now, age = {}, {}, {}, {}, 0, 0
    local function refer(page)
        now = now + 1
        hits[page] = hits[page] + 1
        priority[page], last[page] = hits[page] + age, now
    end
    return function(page)
        if hits[page] then
            refer(page)
            return true
        end
        local at, victim = #pages + 1, nil
        if #pages == n then
            at = first_of(pages, function(a, b)
                return priority[a] < priority[b] or priority[a] == priority[b] and last[a] < last[b]
            end)
            victim = pages[at]
            age, hits[victim] = priority[victim], nil
        end
        pages[at], hits[page] = page, 0
        refer(page)
        return false, victim
    end
end

return counts
