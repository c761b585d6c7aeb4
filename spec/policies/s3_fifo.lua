-- S3-FIFO, from algorithm 1 of Yang and others, SOSP 2023. Queues enter at 1, leave at
-- the end. An eviction ends with the first page that goes.
return function(n, params)
    local small_size = math.max(1, math.floor((params.small or 0.1) * n))
    local main_size = n - small_size
    local ghost_size = math.floor((params.ghost or 0.9) * n)
    local promote = params.promote or 2
    local small, main, ghost, freq = {}, {}, {}, {}

    local function remove(list, key)
        for i = 1, #list do
            if list[i] == key then
                table.remove(list, i)
                return true
            end
        end
        return false
    end

    local function evict_main()
        while true do
            local t = table.remove(main)
            if freq[t] == 0 then return t end
            freq[t] = freq[t] - 1
            table.insert(main, 1, t)
        end
    end

    local function evict()
        if #small < small_size and #main > 0 then return evict_main() end
        while #small > 0 do
            local t = table.remove(small)
            if freq[t] < promote then
                table.insert(ghost, 1, t)
                if #ghost > ghost_size then table.remove(ghost) end
                return t
            end
            freq[t] = 0
            table.insert(main, 1, t)
            if #main > main_size then return evict_main() end
        end
        return evict_main()
    end

    return function(key)
        if freq[key] then
            freq[key] = math.min(freq[key] + 1, 3)
            return true
        end
        local victim
        if #small + #main == n then
            victim = evict()
            freq[victim] = nil
        end
        freq[key] = 0
        table.insert(remove(ghost, key) and main or small, 1, key)
        return false, victim
    end
end
