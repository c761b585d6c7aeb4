-- The runner itself: whatever goes wrong in a spec is seen in its last line and
-- in its exit code.
local lu = require("luaunit")
local tree = require("tree")

TestRun = {}

local function expect(specs, arguments, last, code)
    tree.scratch(function(folder)
        local function put(name, text)
            local file = assert(io.open(folder .. "/" .. name, "w"))
            file:write(text)
            file:close()
        end
        assert(os.execute(("mkdir %s/spec && cp %s/spec/run.lua %s/spec/tree.lua %s/spec"):format(
            folder, tree.quote(tree.root), tree.quote(tree.root), folder)))
        for name, text in pairs(specs) do
            put("spec/" .. name .. "_spec.lua", text)
        end
        -- From a folder that is neither the tree nor its spec/.
        local pipe = assert(io.popen(("cd / && %s %s/spec/run.lua %s 2>&1"):format(
            tree.quote(tree.lua), folder, arguments)))
        local text = pipe:read("a")
        local _, _, status = pipe:close()
        lu.assertEquals(text:match("([^\n]*)\n$"), last, text)
        lu.assertEquals(status, code, text)
    end)
end

local GOOD = "TestGood = {} function TestGood:testOne() end function TestGood:testTwo() end"
local BAD = "TestBad = {} function TestBad:testOne() error('x') end function TestBad:testTwo() end"

function TestRun:testAllPass()
    expect({ good = GOOD }, "", "2 passed, 0 failed", 0)
end

function TestRun:testOneFails()
    expect({ good = GOOD, bad = BAD }, "", "3 passed, 1 failed", 1)
end

function TestRun:testNamedSpecsOnly()
    expect({ good = GOOD, bad = BAD }, "good", "2 passed, 0 failed", 0)
    expect({ good = GOOD, bad = BAD }, "spec/good_spec.lua", "2 passed, 0 failed", 0)
end

function TestRun:testPatternsAndNamesOfTests()
    expect({ good = GOOD, bad = BAD }, "-p Two", "2 passed, 0 failed", 0)
    expect({ good = GOOD, bad = BAD }, "bad -p Two", "1 passed, 0 failed", 0)
    expect({ good = GOOD, bad = BAD }, "TestGood.testOne", "1 passed, 0 failed", 0)
end

function TestRun:testSkipped()
    local skips = "TestSkips = {} function TestSkips:testOne() require('luaunit').skip('why') end"
    expect({ good = GOOD, skips = skips }, "", "2 passed, 0 failed, 1 skipped", 0)
end

function TestRun:testSpecThatDoesNotLoad()
    expect({ good = GOOD, bad = "TestHalf = {} function TestHalf:test() end error('x')" }, "", "2 passed, 1 failed", 1)
    expect({ good = GOOD, bad = "not Lua" }, "", "2 passed, 1 failed", 1)
    expect({ good = GOOD }, "none", "0 passed, 1 failed", 1)
end

function TestRun:testExitIsAFailure()
    expect({ good = GOOD, leaves = "os.exit(0)" }, "", "2 passed, 1 failed", 1)
    expect({ leaves = "TestLeaves = {} function TestLeaves:test() os.exit(0) end" }, "", "0 passed, 1 failed", 1)
end

function TestRun:testNothingRunIsAFailure()
    expect({}, "", "0 passed, 1 failed", 1)
    expect({ good = GOOD }, "-p None", "0 passed, 1 failed", 1)
    expect({ good = GOOD }, "--bogus", "0 passed, 1 failed", 1)
end

function TestRun:testStoppedByAnOption()
    expect({ bad = BAD }, "-e", "0 passed, 1 failed", 1)
end
