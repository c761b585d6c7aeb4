-- house.lua: the rules of the house that are neither a formatter's nor a
-- linter's.
--    lua5.4 tools/house.lua [ROOT]      prints file:line: what, exits 1 on any
--
-- No file passes 700 lines. A header has a guard. The rockspec lists exactly the modules of lua/vmem.
-- The core (all of src but the recorder, a library of its own) never prints,
-- exits or jumps, and takes host memory only through base's hooks.

local folder = debug.getinfo(1, "S").source:match("^@(.*/)") or "./"
package.path = folder .. "?.lua;" .. package.path
local floors = require("floors")

local house = {}

local MOST_LINES = 700
-- Headers that are included several times on purpose, each time with other macros.
local TEMPLATES = { ["machine_engine.h"] = true, ["machine_batch.h"] = true }
local ROCKSPEC = "vmem-scm-1.rockspec"

local PRINTS = "the core never prints"
local EXITS = "the core never exits"
local JUMPS = "the core never jumps"
local MEMORY = "host memory comes through the hooks of base/base.h"
local FORBIDDEN = {
    printf = PRINTS,
    fprintf = PRINTS,
    vprintf = PRINTS,
    vfprintf = PRINTS,
    puts = PRINTS,
    putchar = PRINTS,
    perror = PRINTS,
    exit = EXITS,
    _exit = EXITS,
    abort = EXITS,
    setjmp = JUMPS,
    longjmp = JUMPS,
    malloc = MEMORY,
    calloc = MEMORY,
    realloc = MEMORY,
    free = MEMORY,
    strdup = MEMORY,
    strndup = MEMORY,
    asprintf = MEMORY,
    aligned_alloc = MEMORY,
    posix_memalign = MEMORY,
}
-- base.c holds the libc hook itself; after fork a child may only _exit.
local ALLOWED = { ["base/base.c"] = { realloc = true, free = true } }
local IN_CHILD = { _exit = true }

local function quote(word)
    return "'" .. word:gsub("'", "'\\''") .. "'"
end

local function list(command)
    local lines = {}
    local pipe = assert(io.popen(command .. " 2>/dev/null"))
    for line in pipe:lines() do
        lines[#lines + 1] = line
    end
    pipe:close()
    table.sort(lines)
    return lines
end

local function contents(path)
    local file = assert(io.open(path))
    local text = file:read("a")
    file:close()
    return text
end

local function check_lengths(root, report)
    local places = {}
    for _, name in ipairs({ "src", "lua", "spec", "examples", "tools", "bin", "Makefile" }) do
        places[#places + 1] = quote(root .. "/" .. name)
    end
    local kinds = "\\( -name '*.[ch]' -o -name '*.lua' -o -name '*.sh' -o -name Makefile \\)"
    for _, path in ipairs(list("find " .. table.concat(places, " ") .. " -type f " .. kinds)) do
        local _, lines = contents(path):gsub("\n", "")
        if lines > MOST_LINES then
            report(path:sub(#root + 2), lines, ("%d lines; the most is %d"):format(lines, MOST_LINES))
        end
    end
end

local function check_rockspec(root, report)
    local spec = {}
    local load_spec = assert(load(contents(root .. "/" .. ROCKSPEC), "@" .. ROCKSPEC, "t", spec))
    load_spec()
    local modules, known = spec.build.modules, {}
    for _, path in ipairs(list("find " .. quote(root .. "/lua") .. " -name '*.lua'")) do
        local file = path:sub(#root + 2)
        local name = file:gsub("^lua/", ""):gsub("%.lua$", ""):gsub("/init$", ""):gsub("/", ".")
        known[file] = true
        -- meta.lua and its parts, meta_*.lua, are for a language server; nobody loads them.
        if modules[name] ~= file and not name:find("^vmem%.meta") then
            report(ROCKSPEC, 1, ('["%s"] = "%s" is missing'):format(name, file))
        end
    end
    local files = {}
    for _, file in pairs(modules) do
        if type(file) == "string" and not known[file] then
            files[#files + 1] = file
        end
    end
    table.sort(files)
    for _, file in ipairs(files) do
        report(ROCKSPEC, 1, file .. " is listed, and is not there")
    end
end

local function check_guards(files, report)
    local names = {}
    for name, text in pairs(files) do
        local guard = ("\n" .. text):match("\n#ifndef (VM_[A-Z0-9_]*_H)\n")
        if name:match("%.h$") and not guard and not TEMPLATES[name] then
            names[#names + 1] = name
        end
    end
    table.sort(names)
    for _, name in ipairs(names) do
        report("src/" .. name, 1, "no guard (#ifndef VM_..._H), and no template that tools/house.lua knows")
    end
end

local function check_calls(files, report)
    local names = {}
    for name in pairs(files) do
        if not name:match("^record/") then
            names[#names + 1] = name
        end
    end
    table.sort(names)
    for _, name in ipairs(names) do
        local allowed = ALLOWED[name] or IN_CHILD
        local n = 0
        for line in floors.code(files[name]):gmatch("([^\n]*)\n?") do
            n = n + 1
            for before, word in (" " .. line):gmatch("([^%w_])([%a_][%w_]*)%s*%(") do
                if FORBIDDEN[word] and not allowed[word] and before ~= "." and before ~= ">" then
                    report("src/" .. name, n, word .. ": " .. FORBIDDEN[word])
                end
            end
        end
    end
end

---All violations below `root`, as lines "file:line: what".
---@param root string
---@return string[]
function house.check(root)
    local lines = {}
    local function report(name, line, what)
        lines[#lines + 1] = ("%s:%d: %s"):format(name, line, what)
    end
    check_lengths(root, report)
    check_rockspec(root, report)
    local files = floors.read(root)
    check_guards(files, report)
    check_calls(files, report)
    return lines
end

if arg and arg[0] and arg[0]:match("house%.lua$") then
    local lines = house.check(arg[1] or ".")
    for _, line in ipairs(lines) do
        print(line)
    end
    os.exit(#lines == 0)
end

return house
