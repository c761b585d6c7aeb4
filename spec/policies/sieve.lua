-- SIEVE, from algorithm 1 of Zhang and others, NSDI 2024. queue[1] is the head, where
-- pages enter; the hand goes from the tail to the head.
return function(n, params)
    local enter = params.enter or 0
    local queue, visited, hand = {}, {}, nil
    local function index(key)
        for i = 1, #queue do
            if queue[i] == key then return i end
        end
    end
    return function(key)
        if index(key) then
            visited[key] = 1
            return true
        end
        local victim
        if #queue == n then
            local i = hand and index(hand) or #queue
            while visited[queue[i]] == 1 do
                visited[queue[i]] = 0
                i = i - 1
                if i == 0 then i = #queue end
            end
            hand = queue[i - 1] -- nil at the head: the tail is next
            victim = table.remove(queue, i)
        end
        table.insert(queue, 1, key)
        visited[key] = enter
        return false, victim
    end
end
