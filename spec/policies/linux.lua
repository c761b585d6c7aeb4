-- Linux's active and inactive lists and refault distance, from mm/vmscan.c and
-- mm/workingset.c of Linux 6.1. Lists enter at 1 (the head), leave at the end.
return function(n, params)
    local enter, ratio = params.enter or 1, params.ratio or 1
    local most = math.floor((params.history or 1) * n)
    local inactive, active, shadows = {}, {}, {}
    local accessed, referenced, shadow = {}, {}, {}
    local age = 0 -- nonresident_age

    local function has(list, key)
        for i = 1, #list do
            if list[i] == key then return i end
        end
    end
    local function shrink_active()
        while #inactive * ratio < #active do
            local page = table.remove(active)
            accessed[page] = 0
            table.insert(inactive, 1, page)
        end
    end

    return function(key)
        if has(inactive, key) or has(active, key) then
            accessed[key] = 1
            return true
        end
        local victim
        while #inactive + #active == n do
            shrink_active()
            local page = table.remove(inactive)
            if accessed[page] == 0 then
                victim = page
                shadow[page], age = age, age + 1
                table.insert(shadows, 1, page)
                if #shadows > most then shadow[table.remove(shadows)] = nil end
            else
                accessed[page] = 0
                if referenced[page] then
                    age = age + 1
                    table.insert(active, 1, page)
                else
                    table.insert(inactive, 1, page)
                end
                referenced[page] = true
            end
        end
        local to = inactive
        if shadow[key] then
            if age - shadow[key] <= #active then
                age = age + 1
                to = active
            end
            shadow[key] = nil
            table.remove(shadows, has(shadows, key))
        end
        table.insert(to, 1, key)
        accessed[key], referenced[key] = enter, false
        return false, victim
    end
end
