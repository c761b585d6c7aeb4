-- vmem in C programs without Lua: the public header, the library, the example.
local lu = require("luaunit")
local vmem = require("vmem")
local tree = require("tree")

TestEmbed = {}

local function run(command)
    local pipe = assert(io.popen(command .. " 2>&1"))
    local text = pipe:read("a")
    local ok = pipe:close()
    lu.assertTrue(ok, command .. "\n" .. text)
    return text
end

local q = tree.quote

-- The program made of one C file: by the system's compiler, with the library. A
-- host that has the core inside (the sanitizers') has such programs beside it.
local function with_program(source, body)
    local made = package.preload["vmem.core"] and ("%s/asan/%s"):format(tree.build, source:gsub("[/.].*", "_embed"))
    if made then
        return body(q(made))
    end
    lu.skipIf(not os.execute("command -v cc >/dev/null"), "there is no cc")
    tree.scratch(function(folder)
        local out = folder .. "/program"
        run(("cc -std=c11 -Wall -Wextra -Wpedantic -Werror -I%s -o %s %s -L%s -lvmem -Wl,-rpath,%s"):format(
            q(tree.root .. "/src"), q(out), q(tree.root .. "/" .. source), q(tree.build), q(tree.build)))
        body(q(out))
    end)
end

local trace = tree.root .. "/examples/traces/sort.vmt"

function TestEmbed:testTheExampleCountsAsLuaDoes()
    with_program("examples/embed.c", function(program)
        local lines = {}
        for line in run(("%s %s 96KiB"):format(program, q(trace))):gmatch("[^\n]+") do
            lines[#lines + 1] = line
        end
        lu.assertEquals(#lines, 4)
        for i, policy in ipairs({ "fifo", "clock", "lru" }) do
            local m <close> = vmem.machine({ preset = "core-i7", dram = "96KiB", policy = policy })
            local t <close> = assert(vmem.trace.open(trace))
            local n = m:spawn():replay(t)
            lu.assertEquals({ lines[i + 1]:match("^policy=(%S+) +(%d+) +(%d+) +(%d+) +(%d+)$") }, {
                policy, tostring(#t), tostring(n.kernel.major_faults), tostring(n.kernel.swap_outs),
                tostring(m:clock()) })
        end
    end)
end

function TestEmbed:testEveryFunctionAndEveryError()
    with_program("spec/embed.c", function(program)
        tree.scratch(function(folder)
            local path = folder .. "/small.vmt"
            local t <close> = vmem.trace.zipf({ refs = 2000, pages = 100 })
            assert(t:save(path))
            lu.assertEquals(run(("%s %s"):format(program, q(path))), "")
        end)
    end)
end

function TestEmbed:testTheHeaderIsCPlusPlusToo()
    lu.skipIf(not os.execute("command -v c++ >/dev/null"), "there is no c++")
    run(("c++ -std=c++11 -Wall -Wextra -Wpedantic -Werror -fsyntax-only -include %s -x c++ /dev/null"):format(
        q(tree.root .. "/src/vmem.h")))
end
