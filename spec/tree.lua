-- Where the tree under test is, for specs that start programs or read files:
--    local tree = require "tree"
--    tree.root, tree.build, tree.vmem, tree.lua      absolute paths
--    tree.quote(word)                                 one word for a shell
--    tree.open_files()                                how many this process has
--    tree.scratch(function(folder) ... end)           a folder that is gone afterwards
local tree = {}

local function capture(command)
    local pipe = assert(io.popen(command))
    local text = pipe:read("a")
    pipe:close()
    return (text:gsub("\n$", ""))
end

---One word for a shell, whatever it holds.
---@param word string
---@return string
function tree.quote(word)
    return "'" .. word:gsub("'", "'\\''") .. "'"
end

local here = debug.getinfo(1, "S").source:match("^@(.*)tree%.lua$")
tree.root = capture("cd " .. tree.quote(here .. "..") .. " && pwd")
tree.build = tree.root .. "/build"
tree.vmem = tree.build .. "/bin/vmem"

-- The interpreter is the one that build/bin/vmem was made for: under the
-- sanitizers the specs themselves run in another program.
do
    local file = io.open(tree.vmem)
    tree.lua = file and file:read("l"):match("^#!(.*)") or "lua5.4"
    if file then
        file:close()
    end
end

---How many files this process has open; the same number each time where there is no
---/proc. The shell, its child, counts once the pipe to it is closed, which ends cat: a
---pipe from it would count, once or twice as it happens.
---@return integer
function tree.open_files()
    local path = os.tmpname()
    local pipe = assert(io.popen(("cat; ls /proc/$PPID/fd 2>&1 | wc -l >%s"):format(tree.quote(path)), "w"))
    pipe:close()
    local file <close> = assert(io.open(path))
    os.remove(path)
    return file:read("n")
end

---Call `body` with the path of a new folder, and remove the folder afterwards,
---also when `body` raises.
---@generic T
---@param body fun(folder: string): T
---@return T
function tree.scratch(body)
    local folder = capture("mktemp -d")
    assert(folder ~= "", "mktemp -d made no folder")
    local results = table.pack(xpcall(body, debug.traceback, folder))
    os.execute("rm -rf " .. tree.quote(folder))
    if not results[1] then
        error(results[2], 0)
    end
    return table.unpack(results, 2, results.n)
end

return tree
