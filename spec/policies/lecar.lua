-- LeCaR, from algorithms 1 and 2 of Vietri and others, HotStorage 2018, and the authors'
-- program for the rest (see src/policy/lecar.c).
local rng = require("policies.rng")

return function(n, params, seed)
    local rate, least = params.rate or 0.45, params.least or 0.01
    local discount = (params.discount or 0.005) ^ (1 / n)
    local size = math.floor((params.history or 0.5) * n)
    local draw = rng(seed)
    local w = { lru = 0.5, lfu = 0.5 }
    local cache, history = {}, { lru = {}, lfu = {} } -- lists of { key, refs, last, gone }
    local now = 0

    local function find(list, key)
        for i, x in ipairs(list) do
            if x.key == key then return i end
        end
    end
    local function first(better)
        local best
        for _, x in ipairs(cache) do
            if not best or better(x, best) then best = x end
        end
        return best
    end

    return function(key)
        now = now + 1
        local i = find(cache, key)
        if i then
            cache[i].refs, cache[i].last = cache[i].refs + 1, now
            return true
        end
        local refs = 1
        for _, who in ipairs({ "lru", "lfu" }) do
            i = find(history[who], key)
            if i then
                local x = table.remove(history[who], i)
                refs = x.refs + 1
                w[who] = w[who] * math.exp(-rate * discount ^ (now - x.gone))
                local sum = w.lru + w.lfu
                w.lru = math.min(math.max(w.lru / sum, least), 1 - least)
                w.lfu = 1 - w.lru
            end
        end
        local victim
        if #cache == n then
            local lru = first(function(a, b) return a.last < b.last end)
            local lfu = first(function(a, b)
                return a.refs < b.refs or a.refs == b.refs and a.last < b.last
            end)
            local who = draw.unit() < w.lru and "lru" or "lfu"
            local x = who == "lru" and lru or lfu
            table.remove(cache, find(cache, x.key))
            if lru ~= lfu then
                x.gone = now
                table.insert(history[who], x)
                if #history[who] > size then table.remove(history[who], 1) end
            end
            victim = x.key
        end
        table.insert(cache, { key = key, refs = refs, last = now })
        return false, victim
    end
end
