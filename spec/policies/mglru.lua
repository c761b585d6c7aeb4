-- The multi-generational LRU, from mm/vmscan.c of Linux 6.1. A generation is a list whose
-- end is looked at first; `frames` is by slot, which is the order of aging.
local MIN_GENS = 2

return function(n, params)
    local enter = params.enter or 1
    local min_seq, max_seq = 0, MIN_GENS + 1
    local gens, gen_of, accessed, frames = {}, {}, {}, {}
    for seq = min_seq, max_seq do gens[seq] = {} end

    local function move(key, seq)
        if gen_of[key] then
            local list = gens[gen_of[key]]
            for i = 1, #list do
                if list[i] == key then table.remove(list, i) break end
            end
        end
        table.insert(gens[seq], 1, key)
        gen_of[key] = seq
    end
    local function inc_min_seq()
        while min_seq + MIN_GENS <= max_seq and #gens[min_seq] == 0 do min_seq = min_seq + 1 end
    end
    local function should_run_aging()
        if min_seq + MIN_GENS > max_seq then return true end
        if min_seq + MIN_GENS < max_seq then return false end
        local young, old, total = #gens[max_seq], #gens[max_seq - MIN_GENS], 0
        for seq = min_seq, max_seq do total = total + #gens[seq] end
        return young * MIN_GENS > total or old * (MIN_GENS + 2) < total
    end
    local function age()
        for slot = 1, #frames do
            local key = frames[slot]
            if accessed[key] == 1 then
                accessed[key] = 0
                move(key, max_seq)
            end
        end
        max_seq = max_seq + 1
        gens[max_seq] = {}
    end
    local function evict()
        while true do
            inc_min_seq()
            if should_run_aging() then
                age()
                inc_min_seq()
            end
            local list = gens[min_seq]
            while #list > 0 do
                local key = list[#list]
                if accessed[key] == 0 then
                    table.remove(list)
                    gen_of[key] = nil
                    return key
                end
                accessed[key] = 0
                move(key, max_seq)
            end
        end
    end

    return function(key)
        if gen_of[key] then
            accessed[key] = 1
            return true
        end
        local slot, victim = #frames + 1, nil
        if #frames == n then
            victim = evict()
            for i = 1, n do
                if frames[i] == victim then slot = i end
            end
        end
        frames[slot] = key
        move(key, max_seq)
        accessed[key] = enter
        return false, victim
    end
end
