-- CAR, from figure 2 of Bansal and Modha, FAST 2004. Clocks: 1 is the head, where the
-- hand is; ghosts: 1 is least recent.
return function(c, params)
    local enter = params.enter or 0
    local T1, T2, B1, B2, p = {}, {}, {}, {}, 0.0
    local bit = {}

    local function has(list, key)
        for i = 1, #list do
            if list[i] == key then return i end
        end
    end

    local function replace()
        while true do
            local from, ghosts
            if #T1 >= math.max(1, p) then from, ghosts = T1, B1 else from, ghosts = T2, B2 end
            local head = table.remove(from, 1)
            if bit[head] == 0 then
                ghosts[#ghosts + 1] = head
                return head
            end
            bit[head] = 0
            T2[#T2 + 1] = head
        end
    end

    return function(x)
        if has(T1, x) or has(T2, x) then
            bit[x] = 1
            return true
        end
        local victim
        if #T1 + #T2 == c then
            victim = replace()
            if not has(B1, x) and not has(B2, x) then
                if #T1 + #B1 == c then
                    table.remove(B1, 1)
                elseif #T1 + #T2 + #B1 + #B2 + 1 == 2 * c + 1 then
                    table.remove(B2, 1)
                end
            end
        end
        if has(B1, x) then
            p = math.min(p + math.max(1, #B2 / #B1), c)
            table.remove(B1, has(B1, x))
            T2[#T2 + 1] = x
        elseif has(B2, x) then
            p = math.max(p - math.max(1, #B1 / #B2), 0)
            table.remove(B2, has(B2, x))
            T2[#T2 + 1] = x
        else
            T1[#T1 + 1] = x
        end
        bit[x] = enter
        return false, victim
    end
end
