-- Hyperbolic caching, from section 3 of Blankstein, Sen and Freedman, ATC 2017.
local rng = require("policies.rng")

return function(n, params, seed)
    local samples = params.samples or 64
    local draw = rng(seed)
    local frames, count, came, now = {}, {}, {}, 0
    return function(key)
        now = now + 1
        if count[key] then
            count[key] = count[key] + 1
            return true
        end
        local victim
        if #frames == n then
            local least, at
            for i = 1, math.min(n, samples) do
                local j = n <= samples and i or draw.below(n) + 1
                local priority = count[frames[j]] / (now - came[frames[j]])
                if not least or priority < least then least, at = priority, j end
            end
            victim = frames[at]
            frames[at] = frames[n]
            frames[n] = nil
            count[victim] = nil
        end
        frames[#frames + 1], count[key], came[key] = key, 1, now
        return false, victim
    end
end
