-- A page of docs/ that is one program: it runs, and prints what it says it does.
local lu = require("luaunit")
local tree = require("tree")

-- Behind --> is the beginning of each line that is printed, in order.
return function(name)
    local file <close> = assert(io.open(("%s/docs/%s"):format(tree.root, name)))
    local code, expected, printed = {}, {}, {}
    for block in ("\n" .. file:read("a")):gmatch("\n```lua\n(.-)\n```") do
        code[#code + 1] = block
        for text in block:gmatch("%-%->%s*([^\n]+)") do
            expected[#expected + 1] = text:gsub("%s+", " ")
        end
    end
    lu.assertTrue(#code > 5)
    local env = setmetatable({
        print = function(...)
            local line = {}
            for i = 1, select("#", ...) do
                line[i] = tostring((select(i, ...)))
            end
            printed[#printed + 1] = table.concat(line, " "):gsub("%s+", " ")
        end,
    }, { __index = _G })
    assert(load(table.concat(code, "\n"), "=" .. name, "t", env))()
    lu.assertEquals(#printed, #expected, table.concat(printed, "\n"))
    for i, text in ipairs(expected) do
        lu.assertEquals(printed[i]:sub(1, #text), text)
    end
end
