-- docs/gc.md: its programs run and print what they say, and the examples print what it shows.
local lu = require("luaunit")
local tree = require("tree")

local function read(path)
    local file <close> = assert(io.open(tree.root .. "/" .. path))
    return file:read("a")
end

local function printed(text, name)
    local out = {}
    local function put(...)
        local words = table.pack(...)
        for i = 1, words.n do words[i] = tostring(words[i]) end
        out[#out + 1] = table.concat(words, "\t") .. "\n"
    end
    assert(load(text, "=" .. name, "t", setmetatable({ print = put }, { __index = _G })))()
    return table.concat(out)
end

TestGcDocuments = {}

function TestGcDocuments:testPrograms()
    local count = 0
    for block in read("docs/gc.md"):gmatch("\n```lua\n(.-)\n```") do
        local out = printed(block, "docs/gc.md"):gsub("%s+", " ")
        for expected in block:gmatch("%-%->%s*([^\n]+)") do
            lu.assertStrContains(out, expected)
            count = count + 1
        end
    end
    lu.assertTrue(count > 4)
end

function TestGcDocuments:testExamples()
    local document = read("docs/gc.md")
    for _, name in ipairs({ "false_pointer", "counting", "copying" }) do
        lu.assertStrContains(document, "examples/gc/" .. name .. ".lua")
        lu.assertStrContains(document, "\n```\n" .. printed(read("examples/gc/" .. name .. ".lua"), name) .. "```")
    end
end
