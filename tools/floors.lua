-- floors.lua: the floor rule of the C sources.
--    lua5.4 tools/floors.lua [ROOT]     prints file:line: what, exits 1 on any
--
-- Each folder of src/ is a floor (FLOORS below). A file includes only its own
-- floor and lower ones; no includes make a circle; Lua's headers stay in
-- src/lua, and only its callback.c calls from C into Lua; a .c file is included
-- by vmem_all.c alone, once each, lower floors first. The recorder, a library
-- of its own, is those files of src/record that vmem_all.c leaves out.

local floors = {}

local FLOORS = {
    base = 0,
    record = 0,
    policy = 1,
    hw = 2,
    kernel = 3,
    ["."] = 4, -- machine.c and its kin, in src itself
    program = 5,
    heap = 5,
    trace = 5,
    study = 5,
    lua = 6,
}

-- Files that are not on the floor of their folder: what a host sees stands on
-- nothing, what serves it beside the binding, and the one translation unit on
-- everything.
local EXCEPTIONS = { ["vmem.h"] = 0, ["vmem.c"] = 6, ["vmem_all.c"] = math.huge }

local LUA_HEADERS = { ["lua.h"] = true, ["lauxlib.h"] = true, ["lualib.h"] = true, ["luaconf.h"] = true }
local LUA_CALLS = {
    lua_call = true,
    lua_callk = true,
    lua_pcall = true,
    lua_pcallk = true,
    lua_resume = true,
    luaL_dofile = true,
    luaL_dostring = true,
}
local CALLER = "lua/callback.c"

---The floor of a file, from its path below src/; nil where there is none.
---@param path string
---@return number?
function floors.of(path)
    return EXCEPTIONS[path] or FLOORS[path:match("^([^/]+)/") or "."]
end

---C code with the inside of comments, strings and character constants blanked,
---so that only code is left to match; line breaks stay. Includes keep their names.
---@param text string
---@return string
function floors.code(text)
    local out, i = {}, 1
    local function blank(s)
        return (s:gsub("[^\n]", " "))
    end
    while i <= #text do
        local start = text:find('[/"\']', i)
        if not start then
            break
        end
        local stop
        local two = text:sub(start, start + 1)
        if two == "/*" then
            stop = select(2, text:find("*/", start + 2, true)) or #text
        elseif two == "//" then
            stop = (text:find("\n", start, true) or #text + 1) - 1
        elseif two:sub(1, 1) ~= "/" then
            local quote = two:sub(1, 1)
            stop = start + 1
            while stop < #text and text:sub(stop, stop) ~= quote and text:sub(stop, stop) ~= "\n" do
                stop = stop + (text:sub(stop, stop) == "\\" and 2 or 1)
            end
        end
        local line_start = text:sub(1, start - 1):match("[^\n]*$")
        if not stop then
            out[#out + 1] = text:sub(i, start)
            i = start + 1
        elseif line_start:match("^%s*#%s*include%s*$") then
            out[#out + 1] = text:sub(i, stop)
            i = stop + 1
        else
            out[#out + 1] = text:sub(i, start - 1)
            out[#out + 1] = blank(text:sub(start, stop))
            i = stop + 1
        end
    end
    out[#out + 1] = text:sub(i)
    return table.concat(out)
end

-- "lua/../base/base.h" -> "base/base.h"
local function normalise(path)
    local parts = {}
    for part in path:gmatch("[^/]+") do
        if part == ".." and #parts > 0 and parts[#parts] ~= ".." then
            parts[#parts] = nil
        elseif part ~= "." then
            parts[#parts + 1] = part
        end
    end
    return table.concat(parts, "/")
end

---The C files below `root`/src: path below src -> content.
---@param root string
---@return table<string, string>
function floors.read(root)
    local files = {}
    local src = root .. "/src"
    local pipe = assert(io.popen("find '" .. src:gsub("'", "'\\''") .. "' -name '*.[ch]' 2>/dev/null"))
    for path in pipe:lines() do
        local file = assert(io.open(path))
        files[path:sub(#src + 2)] = file:read("a")
        file:close()
    end
    pipe:close()
    return files
end

local function lines_of(text)
    local n, rest = 0, text:gmatch("([^\n]*)\n?")
    return function()
        n = n + 1
        local line = rest()
        return line and n, line
    end
end

-- Depth-first over the includes: a grey file met again closes a circle.
local function find_circles(includes, names, report)
    local colour, path = {}, {}
    local function visit(name)
        colour[name] = "grey"
        path[#path + 1] = name
        for _, edge in ipairs(includes[name]) do
            if colour[edge.to] == "grey" then
                local circle = {}
                for i = #path, 1, -1 do
                    table.insert(circle, 1, path[i])
                    if path[i] == edge.to then
                        break
                    end
                end
                circle[#circle + 1] = edge.to
                report(name, edge.line, "these include each other in a circle: " .. table.concat(circle, " -> "))
            elseif not colour[edge.to] and includes[edge.to] then
                visit(edge.to)
            end
        end
        path[#path] = nil
        colour[name] = "black"
    end
    for _, name in ipairs(names) do
        if not colour[name] then
            visit(name)
        end
    end
end

-- Every .c file once in vmem_all.c, lower floors first.
local function check_unit(files, names, includes, report)
    if not files["vmem_all.c"] then
        return
    end
    local function complain(edge, ...)
        report("vmem_all.c", edge.line, string.format(...))
    end
    local first, highest = {}, 0
    for _, edge in ipairs(includes["vmem_all.c"]) do
        if edge.to:match("%.c$") then
            if first[edge.to] then
                complain(edge, "%s is included twice, first in line %d", edge.to, first[edge.to])
            end
            first[edge.to] = edge.line
            local floor = floors.of(edge.to) or 0
            if floor < highest then
                complain(edge, "%s is on floor %d but comes after floor %d", edge.to, floor, highest)
            end
            highest = math.max(highest, floor)
        end
    end
    for _, name in ipairs(names) do
        local apart = name == "vmem_all.c" or name:match("^record/")
        if name:match("%.c$") and not first[name] and not apart then
            report(name, 1, "vmem_all.c does not include this file")
        end
    end
end

---All violations below one set of files, as sorted lines "src/file:line: what".
---@param files table<string, string> path below src -> content
---@return string[]
function floors.check(files)
    local found = {}
    local function report(name, line, what)
        found[#found + 1] = { name = name, line = line, what = what }
    end

    local names, includes = {}, {}
    for name in pairs(files) do
        names[#names + 1] = name
    end
    table.sort(names)

    for _, name in ipairs(names) do
        local floor = floors.of(name)
        if not floor then
            report(name, 1, "this folder has no floor (tools/floors.lua lists them)")
        end
        includes[name] = {}
        for n, line in lines_of(floors.code(files[name])) do
            local mark, target = line:match('^%s*#%s*include%s*([<"])([^>"]+)')
            if mark == '"' then
                local folder = name:match("^(.*/)") or ""
                local to = normalise(folder .. target)
                if not files[to] then
                    report(name, n, ('"%s" is not in src: a system header is included with <>'):format(target))
                else
                    table.insert(includes[name], { to = to, line = n })
                    local other = floors.of(to)
                    if floor and other and other > floor then
                        report(name, n, ("floor %d includes %s of floor %d"):format(floor, to, other))
                    end
                    if to:match("%.c$") and name ~= "vmem_all.c" then
                        report(name, n, to .. " is a .c file: only vmem_all.c includes those")
                    end
                end
            elseif mark == "<" and LUA_HEADERS[target] and not name:match("^lua/") then
                report(name, n, ("<%s> is included outside src/lua"):format(target))
            end
            if name ~= CALLER then
                for word in line:gmatch("[%a_][%w_]*") do
                    if LUA_CALLS[word] then
                        report(name, n, ("%s: only src/%s calls from C into Lua"):format(word, CALLER))
                    end
                end
            end
        end
    end
    find_circles(includes, names, report)
    check_unit(files, names, includes, report)

    table.sort(found, function(a, b)
        if a.name ~= b.name then
            return a.name < b.name
        end
        return a.line < b.line
    end)
    local lines = {}
    for i, v in ipairs(found) do
        lines[i] = ("src/%s:%d: %s"):format(v.name, v.line, v.what)
    end
    return lines
end

if arg and arg[0] and arg[0]:match("floors%.lua$") then
    local lines = floors.check(floors.read(arg[1] or "."))
    for _, line in ipairs(lines) do
        print(line)
    end
    os.exit(#lines == 0)
end

return floors
