-- Policies against their slow models, reference by reference: which hit, and who went.
local rng = require("policies.rng")
local vmem = require("vmem")

local compare = {}

-- Workloads of about `refs` references over at most `pages` pages, a fifth of them
-- stores: random, scans, loops, Zipf, phases, and a few pages at a time that are all
-- referenced several times.
function compare.workloads(refs, pages, seed)
    local t = vmem.trace
    local bytes = pages * 4096
    local groups, draw = {}, rng(seed)
    while #groups < refs do
        local first, count = draw.below(pages), draw.below(5) + 1
        for _ = 1, count * (draw.below(3) + 1) do groups[#groups + 1] = (first + draw.below(count) * 7) % pages end
        for i = 0, count - 1 do groups[#groups + 1] = (first + i * 7) % pages end
    end
    return {
        groups = t.pages(groups),
        uniform = t.uniform({ refs = refs, bytes = bytes, stores = 0.2, seed = seed }),
        scan = t.strided({ refs = refs, bytes = bytes, stride = 4096, stores = 0.2 }),
        loop = t.loop({ refs = refs, pages = pages // 2, stores = 0.2 }),
        zipf = t.zipf({ refs = refs, pages = pages, alpha = 1, stores = 0.2, seed = seed }),
        phases = t.phases({
            t.zipf({ refs = refs // 4, pages = pages // 2, alpha = 1.2, stores = 0.3, seed = seed }),
            t.loop({ refs = refs // 8, pages = pages // 3 }),
            t.uniform({ refs = refs // 4, bytes = bytes, seed = seed + 1 }),
            t.strided({ refs = refs // 8, bytes = bytes, stride = 4096 }),
            t.zipf({ refs = refs // 4, pages = pages, alpha = 0.7, stores = 0.1, seed = seed + 2 }),
        }),
    }
end

-- The accesses of a trace as pages and whether they are written.
local function references(trace)
    local pages, writes = {}, {}
    for kind, addr in trace:each() do
        pages[#pages + 1], writes[#writes + 1] = addr >> 12, kind == "store"
    end
    return pages, writes
end

-- A policy with parameters, as a study or a machine takes it.
function compare.policy(name, params)
    local policy = { name }
    for k, v in pairs(params) do policy[k] = v end
    return policy
end

-- Run `name` with `params` in n frames; nil, or where it first differs from the model, as
-- a text and as the reference's number. `seed`: of the policy's random numbers, which the
-- model draws as well.
function compare.differs(trace, name, params, model, n, seed)
    local run = vmem.paging.run({ trace = trace, policy = compare.policy(name, params), frames = n, log = true,
        seed = seed })
    local hits, victims = run.log:hits(), run.log:victims()
    local refer = model(n, params, seed)
    local pages, writes = references(trace)
    assert(#pages == #hits)
    for i, page in ipairs(pages) do
        local hit, victim = refer(page, writes[i])
        if hit ~= (hits:byte(i) == 43) or (victim or false) ~= victims[i] then
            return ("%s in %d frames, reference %d (page %d): %s, gone %s; the model says %s, gone %s"):format(
                name, n, i, page, hits:sub(i, i), victims[i], hit and "+" or "-", victim), i
        end
    end
end

return compare
