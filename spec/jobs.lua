-- Spec files shared out among several processes, which run side by side:
--    require("jobs").run(names, 2)            --> passed, failed, skipped
-- A process gets whole files, the large ones first, so that the shares are about
-- as long. What a process prints is shown when those before it have ended.
local tree = require("tree")

local jobs = {}

local function size(name)
    local file = io.open(("%s/spec/%s_spec.lua"):format(tree.root, name))
    local bytes = file and file:seek("end") or 0
    if file then
        file:close()
    end
    return bytes
end

local function shares(names, count)
    local weight, sorted, share = {}, {}, {}
    for i, name in ipairs(names) do
        weight[name], sorted[i] = size(name), name
    end
    table.sort(sorted, function(a, b)
        return weight[a] > weight[b] or weight[a] == weight[b] and a < b
    end)
    for i = 1, count do
        share[i] = { bytes = 0, words = {} }
    end
    for _, name in ipairs(sorted) do
        local least = share[1]
        for _, s in ipairs(share) do
            least = s.bytes < least.bytes and s or least
        end
        least.bytes = least.bytes + weight[name]
        table.insert(least.words, tree.quote(name))
    end
    return share
end

---@param names string[] of spec files, without `_spec.lua`
---@param count integer of processes
---@return integer passed, integer failed, integer skipped
function jobs.run(names, count)
    local pipes = {}
    for i, share in ipairs(shares(names, math.min(count, #names))) do
        pipes[i] = assert(io.popen(("%s %s %s 2>&1 </dev/null"):format(
            tree.quote(arg[-1]), tree.quote(arg[0]), table.concat(share.words, " "))))
    end
    local passed, failed, skipped = 0, 0, 0
    for _, pipe in ipairs(pipes) do
        local line, p, f, s = "", nil, nil, nil
        for byte in pipe:lines(1) do
            io.write(byte)
            io.flush()
            line = line .. byte
            if byte == "\n" then
                if line:match("^%d+ passed, %d+ failed") then
                    p, f, s = line:match("(%d+) passed"), line:match("(%d+) failed"), line:match("(%d+) skipped")
                end
                line = ""
            end
        end
        local ok = pipe:close()
        passed, failed, skipped = passed + (p or 0), failed + (f or 0), skipped + (s or 0)
        -- A sanitizer, or a crash, has the last word after the counts.
        if not p or f == "0" and not ok then
            failed = failed + 1
        end
    end
    return passed, failed, skipped
end

return jobs
