-- Runs the specs from the build tree, from any folder:
--    lua5.4 spec/run.lua                     all of spec/*_spec.lua
--    lua5.4 spec/run.lua trace policy        those two
--    lua5.4 spec/run.lua trace -p Damaged    LuaUnit's options: -p, -x, -v, -o, -s ...
--    lua5.4 spec/run.lua TestTrace.testOpen  classes and tests by name
--    lua5.4 spec/run.lua --jobs 2            a process a file, two at once
-- The last line is `N passed, N failed` (and `, N skipped`). A spec that cannot
-- be loaded counts as a failure; so does a run in which nothing ran.

local folder = arg[0]:match("^(.*/)") or "./"
package.path = folder .. "?.lua;" .. package.path
local tree = require("tree")
package.path = table.concat({
    tree.root .. "/lua/?.lua",
    tree.root .. "/lua/?/init.lua",
    tree.root .. "/spec/?.lua",
    package.path,
}, ";")
package.cpath = tree.build .. "/?.so;" .. package.cpath

local exit = os.exit -- LuaUnit puts its own in place
local luaunit = require("luaunit")

local function finish(passed, failed, skipped)
    io.stderr:flush()
    print(("%d passed, %d failed%s"):format(passed, failed, skipped > 0 and (", %d skipped"):format(skipped) or ""))
    exit(failed == 0, true)
end

local function spec_names()
    local names = {}
    local pipe = assert(io.popen("ls " .. tree.quote(tree.root .. "/spec")))
    for line in pipe:lines() do
        names[#names + 1] = line:match("^(.+)_spec%.lua$")
    end
    pipe:close()
    return names
end

-- Options and what follows them are LuaUnit's, and so are names of classes.
local takes_value = {}
for _, option in ipairs({ "-o", "--output", "-p", "--pattern", "-x", "--exclude", "-n", "--name", "-r", "--repeat" }) do
    takes_value[option] = true
end

local chosen, options, processes = {}, {}, 1
do
    local i = 1
    while i <= #arg do
        if arg[i] == "--jobs" then
            i = i + 1
            processes = assert(math.tointeger(tonumber(arg[i])), "--jobs: how many?")
        elseif arg[i]:sub(1, 1) == "-" then
            options[#options + 1] = arg[i]
            if takes_value[arg[i]] then
                i = i + 1
                options[#options + 1] = arg[i]
            end
        elseif arg[i]:match("^[Tt]est") then
            options[#options + 1] = arg[i]
        else
            chosen[#chosen + 1] = arg[i]:gsub("^.*/", ""):gsub("_spec%.lua$", "")
        end
        i = i + 1
    end
end
chosen = #chosen > 0 and chosen or spec_names()
if processes > 1 and #chosen > 1 and #options == 0 then
    finish(require("jobs").run(chosen, processes))
end
if #options == 0 then
    options[1] = "--output"
    options[2] = "text"
end

-- LuaUnit ends the program on --error, --failure, --help and bad options, and a
-- spec might; here it ends the run, and what was counted so far still makes the
-- last line.
local ended = setmetatable({}, {
    __tostring = function()
        return "os.exit was called"
    end,
})
luaunit.oldOsExit = function()
    error(ended, 0)
end

-- What defines the classes of a spec that can't be loaded may be half there:
-- its classes are taken away, and the file is one failure.
local unloadable = {}
for _, name in ipairs(chosen) do
    local before = {}
    for key in pairs(_G) do
        before[key] = true
    end
    local path = ("%s/spec/%s_spec.lua"):format(tree.root, name)
    local load_spec, reason = loadfile(path)
    local ok
    if load_spec then
        ok, reason = xpcall(load_spec, debug.traceback)
    end
    if not ok then
        unloadable[#unloadable + 1] = { path = path, reason = reason }
        for key in pairs(_G) do
            if not before[key] then
                _G[key] = nil
            end
        end
    end
end

local function report_unloadable()
    for _, spec in ipairs(unloadable) do
        print(("cannot load %s:\n%s\n"):format(spec.path, spec.reason))
    end
end

local runner = luaunit.LuaUnit.new()
local ok, reason = xpcall(runner.runSuite, function(e)
    return e == ended and e or debug.traceback(tostring(e))
end, runner, table.unpack(options))
while #luaunit.LuaUnit.instances > 0 do
    luaunit.unregisterCurrentSuite()
end

local counts = runner.result or {}
local passed = counts.successCount or 0
local failed = #(counts.failedTests or {}) + #(counts.errorTests or {}) + #unloadable
local skipped = #(counts.skippedTests or {})

report_unloadable()
if not ok and reason ~= ended then
    print(reason)
    failed = failed + 1
end
if passed + failed + skipped == 0 then
    print("nothing was run: no spec matches")
    failed = 1
end
finish(passed, failed, skipped)
