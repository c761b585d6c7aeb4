--- Reference strings of the kinds that tell policies apart, as lists of pages.

local workloads = {}

-- A generator of its own, so that a spec's strings are the same everywhere.
local function generator(seed)
    local x = seed * 2654435761 & 0xffffffff
    return function(n)
        x = (x * 1103515245 + 12345) & 0x7fffffff
        return (x >> 8) % n
    end
end

--- The pages of a text: "7 0 1 2 0 3".
function workloads.text(text)
    local list = {}
    for page in text:gmatch("%d+") do list[#list + 1] = tonumber(page) end
    return list
end

function workloads.random(refs, pages, seed)
    local below, list = generator(seed), {}
    for i = 1, refs do list[i] = below(pages) end
    return list
end

function workloads.loop(refs, pages)
    local list = {}
    for i = 1, refs do list[i] = i % pages end
    return list
end

function workloads.zipf(refs, pages, seed)
    local below, sums, all, list = generator(seed), {}, 0, {}
    for k = 1, pages do
        all = all + 1 / k
        sums[k] = all
    end
    for i = 1, refs do
        local x, low, high = below(1 << 22) / (1 << 22) * all, 1, pages
        while low < high do
            local mid = (low + high) // 2
            if sums[mid] < x then low = mid + 1 else high = mid end
        end
        list[i] = low
    end
    return list
end

-- Few pages often, and in between a scan of pages that never come back.
function workloads.scan(refs, pages, seed)
    local below, list, next = generator(seed), {}, pages
    for i = 1, refs do
        if i % 50 < 15 then
            list[i], next = next, next + 1
        else
            list[i] = below(pages // 3)
        end
    end
    return list
end

-- Phases, each with pages of its own.
function workloads.phases(refs, pages, seed)
    local below, list = generator(seed), {}
    for i = 1, refs do
        local phase = i * 5 // refs
        list[i] = phase * (pages // 4) + below(pages // 3)
    end
    return list
end

--- One of each, by name.
function workloads.all(refs, pages, seed)
    local t = {}
    for _, name in ipairs({ "random", "loop", "zipf", "scan", "phases" }) do
        t[name] = workloads[name](refs, pages, seed)
    end
    return t
end

return workloads
