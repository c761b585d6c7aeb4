-- Spec files run side by side, a process each, as many at once as are asked for:
--    require("jobs").run(names, 2)            --> passed, failed, skipped
-- One line tells of each file that has ended; what it printed is shown if it failed.
local tree = require("tree")

local jobs = {}

-- Large files tend to take long: they begin first, so that none is left for the end.
local function by_size(names)
    local bytes, sorted = {}, {}
    for i, name in ipairs(names) do
        local file = io.open(("%s/spec/%s_spec.lua"):format(tree.root, name))
        bytes[name], sorted[i] = file and file:seek("end") or 0, name
        if file then
            file:close()
        end
    end
    table.sort(sorted, function(a, b)
        return bytes[a] > bytes[b] or bytes[a] == bytes[b] and a < b
    end)
    return sorted
end

local function read(path)
    local file = assert(io.open(path))
    local text = file:read("a")
    file:close()
    return text
end

-- What a spec's process printed, and how it ended.
local function count(name, text, status)
    local line
    for l in text:gmatch("[^\n]+") do
        line = l:match("^%d+ passed, %d+ failed.*") or line
    end
    local passed, failed, skipped = 0, 1, 0
    if line then
        passed, failed = tonumber(line:match("^%d+")), tonumber(line:match("(%d+) failed"))
        skipped = tonumber(line:match("(%d+) skipped") or 0)
    end
    if failed == 0 and status ~= "0" then -- a sanitizer has the last word after the counts
        failed = 1
    end
    if failed > 0 then
        print(text)
        line = ("FAILED (exit %s) %s"):format(status, line or "without a count")
    end
    print(("%-20s %s"):format(name, line))
    io.flush()
    return passed, failed, skipped
end

---@param names string[] of spec files, without `_spec.lua`
---@param processes integer at once
---@return integer passed, integer failed, integer skipped
function jobs.run(names, processes)
    return tree.scratch(function(folder)
        local passed, failed, skipped, ended = 0, 0, 0, 0
        local body = ('%s %s "$1" >%s/"$1" 2>&1 </dev/null; echo "$1 $?"'):format(
            tree.quote(arg[-1]), tree.quote(arg[0]), tree.quote(folder))
        local pipe = assert(io.popen(("printf '%%s\\n' %s | xargs -P %d -n 1 sh -c %s sh"):format(
            table.concat(by_size(names), " "), processes, tree.quote(body))))
        for line in pipe:lines() do
            local name, status = line:match("^(%S+) (%d+)$")
            local p, f, s = count(name, read(folder .. "/" .. name), status)
            passed, failed, skipped, ended = passed + p, failed + f, skipped + s, ended + 1
        end
        pipe:close()
        return passed, failed + #names - ended, skipped
    end)
end

return jobs
