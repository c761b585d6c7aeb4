-- LIRS, from section 3 of Jiang and Zhang, SIGMETRICS 2002. The stack's top and the
-- queue's end are at the arrays' ends. `ghosts` is in the order of eviction.
return function(c, params)
    local hirs = math.min(c, math.max(1, math.floor((params.hir or 0.01) * c)))
    local lirs = c - hirs
    local most = (params.history or 2.0) * c -- ghosts; 0: as many as there are
    local stack, queue, ghosts = {}, {}, {}
    local state, lir = {}, 0 -- "lir", "hir" (resident), "ghost"

    local function has(list, key)
        for i = #list, 1, -1 do
            if list[i] == key then return i end
        end
    end
    local function take(list, key)
        local i = has(list, key)
        if i then table.remove(list, i) end
        return i
    end
    local function push(list, key) list[#list + 1] = key end

    local function prune()
        while #stack > 0 and state[stack[1]] ~= "lir" do
            local key = table.remove(stack, 1)
            if state[key] == "ghost" then
                state[key] = nil
                take(ghosts, key)
            end
        end
    end

    -- key, in the stack and on its top, becomes LIR; the one at the bottom ceases to be.
    local function promote(key)
        state[key] = "lir"
        lir = lir + 1
        while lir > lirs do
            prune()
            local bottom = table.remove(stack, 1)
            state[bottom] = "hir"
            push(queue, bottom)
            lir = lir - 1
        end
        prune()
    end

    return function(key)
        local was = state[key]
        local in_stack = has(stack, key) ~= nil
        if was == "lir" or was == "hir" then
            take(stack, key)
            push(stack, key)
            if was == "lir" then
                prune()
            else
                take(queue, key)
                if in_stack then promote(key) else push(queue, key) end
            end
            -- Without any LIR page a stack holds nothing.
            if lir == 0 then prune() end
            return true
        end
        local victim
        if lir + #queue == c then
            victim = table.remove(queue, 1)
            if has(stack, victim) then
                state[victim] = "ghost"
                push(ghosts, victim)
                if most > 0 and #ghosts > most then
                    local old = table.remove(ghosts, 1)
                    state[old] = nil
                    take(stack, old)
                end
            else
                state[victim] = nil
            end
        end
        -- The history's bound may just have forgotten the key.
        if state[key] == "ghost" then
            take(ghosts, key)
            take(stack, key)
            push(stack, key)
            promote(key)
        else
            push(stack, key)
            if lir < lirs then
                state[key] = "lir"
                lir = lir + 1
            else
                state[key] = "hir"
                push(queue, key)
                if lir == 0 then prune() end
            end
        end
        return false, victim
    end
end
