-- ARC, from figure 4 of Megiddo and Modha, FAST 2003. Lists: 1 is least recent.
return function(c)
    local T1, T2, B1, B2, p = {}, {}, {}, {}, 0.0

    local function take(list, key)
        for i = 1, #list do
            if list[i] == key then return table.remove(list, i) end
        end
    end
    local function has(list, key)
        for i = 1, #list do
            if list[i] == key then return true end
        end
        return false
    end

    local function replace(in_b2)
        if #T1 >= 1 and ((in_b2 and #T1 == p) or #T1 > p) then
            B1[#B1 + 1] = table.remove(T1, 1)
            return B1[#B1]
        end
        B2[#B2 + 1] = table.remove(T2, 1)
        return B2[#B2]
    end

    return function(x)
        local victim
        if take(T1, x) or take(T2, x) then -- case I
            T2[#T2 + 1] = x
            return true
        elseif has(B1, x) then -- case II
            p = math.min(p + (#B1 >= #B2 and 1 or #B2 / #B1), c)
            victim = replace(false)
            take(B1, x)
            T2[#T2 + 1] = x
        elseif has(B2, x) then -- case III
            p = math.max(p - (#B2 >= #B1 and 1 or #B1 / #B2), 0)
            victim = replace(true)
            take(B2, x)
            T2[#T2 + 1] = x
        else -- case IV
            if #T1 + #B1 == c then
                if #T1 < c then
                    table.remove(B1, 1)
                    victim = replace(false)
                else
                    victim = table.remove(T1, 1)
                end
            elseif #T1 + #T2 + #B1 + #B2 >= c then
                if #T1 + #T2 + #B1 + #B2 == 2 * c then table.remove(B2, 1) end
                victim = replace(false)
            end
            T1[#T1 + 1] = x
        end
        return false, victim
    end
end
