-- W-TinyLFU, from sections 3 and 4 of Einziger, Friedman and Manes, ACM ToS 2017. The
-- sketch's hash is that of src/policy/tinylfu.c, a table of counters by row.
local ROWS, MOST = 4, 15

return function(n, params)
    local window_size = math.max(1, math.floor((params.window or 0.01) * n))
    local protected_size = math.floor((params.protected or 0.8) * (n - window_size))
    local sample = (params.sample or 10) * n
    local width = 1
    while width < 4 * n do width = width * 2 end
    local rows, counted = {}, 0
    for r = 1, ROWS do rows[r] = {} end
    local window, probation, protected = {}, {}, {} -- 1 is least recent

    local function places(key)
        local z = key + 0x9e3779b97f4a7c15
        z = (z ~ (z >> 30)) * 0xbf58476d1ce4e5b9
        z = (z ~ (z >> 27)) * 0x94d049bb133111eb
        z = z ~ (z >> 31)
        local first, step, t = z & 0xffffffff, z >> 32 | 1, {}
        for r = 1, ROWS do t[r] = (first + (r - 1) * step) & (width - 1) end
        return t
    end
    local function count(key)
        for r, at in ipairs(places(key)) do rows[r][at] = math.min((rows[r][at] or 0) + 1, MOST) end
        counted = counted + 1
        if counted >= sample then
            counted = counted // 2
            for r = 1, ROWS do
                for at, x in pairs(rows[r]) do rows[r][at] = x // 2 end
            end
        end
    end
    local function frequency(key)
        local least = MOST
        for r, at in ipairs(places(key)) do least = math.min(least, rows[r][at] or 0) end
        return least
    end
    local function take(list, key)
        for i = 1, #list do
            if list[i] == key then return table.remove(list, i) end
        end
    end

    return function(key)
        count(key)
        if take(window, key) then
            table.insert(window, key)
            return true
        end
        if take(probation, key) or take(protected, key) then
            table.insert(protected, key)
            if #protected > protected_size then table.insert(probation, table.remove(protected, 1)) end
            return true
        end
        local full = #window + #probation + #protected == n
        table.insert(window, key)
        if #window <= window_size then return false end
        local candidate = table.remove(window, 1)
        if not full then
            table.insert(probation, candidate)
            return false
        end
        local main = #probation > 0 and probation or protected
        if #main > 0 and frequency(candidate) > frequency(main[1]) then
            local victim = table.remove(main, 1)
            table.insert(probation, candidate)
            return false, victim
        end
        return false, candidate
    end
end
