-- xoshiro256** seeded by splitmix64 (Blackman and Vigna, 2018), for oracles of policies
-- that draw: below(n) is in 0 .. n - 1, unit() in [0, 1).
return function(seed)
    local s = {}
    for i = 1, 4 do
        seed = seed + 0x9e3779b97f4a7c15
        local z = seed
        z = (z ~ (z >> 30)) * 0xbf58476d1ce4e5b9
        z = (z ~ (z >> 27)) * 0x94d049bb133111eb
        s[i] = z ~ (z >> 31)
    end
    local function rotl(x, k) return x << k | x >> (64 - k) end
    local function next()
        local out, t = rotl(s[2] * 5, 7) * 9, s[2] << 17
        s[3] = s[3] ~ s[1]
        s[4] = s[4] ~ s[2]
        s[2] = s[2] ~ s[3]
        s[1] = s[1] ~ s[4]
        s[3] = s[3] ~ t
        s[4] = rotl(s[4], 45)
        return out
    end
    local rng = { next = next }
    function rng.unit() return (next() >> 11) * 0x1p-53 end
    function rng.below(n)
        -- Values that are rejected are as rare as n / 2^64: for small n, as good as never.
        local x = next()
        return ((x >> 1) % n * 2 + (x & 1)) % n
    end
    return rng
end
