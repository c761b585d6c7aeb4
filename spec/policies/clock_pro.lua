-- CLOCK-Pro, from section 4 of Jiang, Chen and Zhang, USENIX 2005. The clock is an array
-- of pages in the order in which the hands pass them; a hand is a page. What enters
-- the clock or moves to its head comes right behind HAND_hot.
return function(m, params)
    local least = math.max(1, math.floor((params.cold or 0.01) * m))
    local adaptive = (params.adaptive or 1) == 1
    local enter = params.enter or 0
    local most = math.floor((params.history or 1.0) * m) -- ghosts
    local mc = least -- target of resident cold pages
    local clock, page = {}, {} -- page[key] = { kind = "hot" | "cold" | "ghost", bit, test }
    local hot, resident, ghosts = 0, 0, 0
    local hand_hot, hand_cold, hand_test

    local function index(key)
        for i = 1, #clock do
            if clock[i] == key then return i end
        end
    end
    local function after(key)
        local i = index(key)
        return clock[i % #clock + 1]
    end
    local function unlink(key)
        local next = after(key)
        if next == key then next = nil end
        if hand_hot == key then hand_hot = next end
        if hand_cold == key then hand_cold = next end
        if hand_test == key then hand_test = next end
        table.remove(clock, index(key))
    end
    local function link(key)
        if #clock == 0 then
            clock[1] = key
            hand_hot, hand_cold, hand_test = key, key, key
        else
            table.insert(clock, index(hand_hot), key)
        end
    end
    local function to_head(key)
        unlink(key)
        link(key)
    end

    local function end_test(key)
        local x = page[key]
        if x.kind ~= "hot" and x.test then
            x.test = false
            if adaptive then mc = math.max(mc - 1, least) end
            if x.kind == "ghost" then
                unlink(key)
                page[key] = nil
                ghosts = ghosts - 1
            end
        end
    end

    local function run_test()
        while ghosts > most do
            local key = hand_test
            hand_test = after(key)
            end_test(key)
        end
    end

    local function run_hot()
        while hot > m - mc do
            local key = hand_hot
            hand_hot = after(key)
            local x = page[key]
            if x.kind ~= "hot" then
                end_test(key)
            elseif x.bit == 1 then
                x.bit = 0
            else
                x.kind, x.test = "cold", false
                hot = hot - 1
            end
        end
    end

    local function run_cold()
        while true do
            local key = hand_cold
            hand_cold = after(key)
            local x = page[key]
            if x.kind == "cold" then
                if x.bit == 0 then return key end
                x.bit = 0
                if x.test then
                    if adaptive then mc = math.min(mc + 1, m) end
                    x.kind, x.test = "hot", false
                    hot = hot + 1
                    to_head(key)
                    run_hot()
                else
                    x.test = true
                    to_head(key)
                end
            end
        end
    end

    return function(key)
        local x = page[key]
        if x and x.kind ~= "ghost" then
            x.bit = 1
            return true
        end
        local victim
        if resident == m then
            victim = run_cold()
            resident = resident - 1
            if page[victim].test then
                page[victim].kind = "ghost"
                ghosts = ghosts + 1
                run_test()
            else
                unlink(victim)
                page[victim] = nil
            end
        end
        resident = resident + 1
        x = page[key]
        if x then -- its test period is not over
            ghosts = ghosts - 1
            if adaptive then mc = math.min(mc + 1, m) end
            x.kind, x.bit, x.test = "hot", enter, false
            hot = hot + 1
            to_head(key)
            run_hot()
        elseif not victim and hot < m - mc then
            page[key] = { kind = "hot", bit = enter, test = false }
            hot = hot + 1
            link(key)
        else
            page[key] = { kind = "cold", bit = enter, test = true }
            link(key)
        end
        return false, victim
    end
end
