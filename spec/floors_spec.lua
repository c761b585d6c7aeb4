-- The lint's own rules: each finds what it forbids, with file and line, and
-- leaves alone what only looks like it.
local lu = require("luaunit")
local tree = require("tree")
package.path = tree.root .. "/tools/?.lua;" .. package.path
local floors = require("floors")
local house = require("house")

TestFloors = {}

local function expect(files, lines)
    lu.assertEquals(floors.check(files), lines)
end

function TestFloors:testOwnAndLowerFloorsAreFine()
    expect({
        ["base/base.h"] = "#include <stdint.h>\n",
        ["base/base.c"] = '#include "base.h"\n',
        ["hw/tlb.h"] = '#include "../base/base.h"\n#include "mmu.h"\n',
        ["hw/mmu.h"] = '#include "../base/base.h"\n',
        ["machine.c"] = '#include "hw/tlb.h"\n#include "vmem.h"\n',
        ["vmem.h"] = "",
        ["lua/core.c"] = '#include <lua.h>\n#include "../machine.c.h"\n',
        ["machine.c.h"] = "",
    }, {})
end

function TestFloors:testHigherFloor()
    expect({
        ["hw/tlb.c"] = '\n# include "../kernel/fault.h"\n',
        ["kernel/fault.h"] = "",
    }, { "src/hw/tlb.c:2: floor 2 includes kernel/fault.h of floor 3" })
end

function TestFloors:testHigherFloorThroughTheTop()
    expect({
        ["kernel/fault.c"] = '#include "../machine.h"\n',
        ["machine.h"] = "",
    }, { "src/kernel/fault.c:1: floor 3 includes machine.h of floor 4" })
end

function TestFloors:testCircle()
    expect({
        ["hw/a.h"] = '#include "b.h"\n',
        ["hw/b.h"] = '\n\n#include "c.h"\n',
        ["hw/c.h"] = '#include "a.h"\n',
    }, { "src/hw/c.h:1: these include each other in a circle: hw/a.h -> hw/b.h -> hw/c.h -> hw/a.h" })
end

function TestFloors:testLuaHeadersOutsideTheBinding()
    expect({ ["trace/text.c"] = "#include <lauxlib.h>\n" }, {
        "src/trace/text.c:1: <lauxlib.h> is included outside src/lua",
    })
end

function TestFloors:testCallsIntoLua()
    expect({
        ["lua/callback.c"] = "lua_pcall(L, 0, 0, 0);\n",
        ["lua/trace.c"] = "/* lua_call */\nx = lua_pcall(L, 0, 0, 0); // lua_call\nlua_callable();\n",
    }, { "src/lua/trace.c:2: lua_pcall: only src/lua/callback.c calls from C into Lua" })
end

function TestFloors:testCommentsAndStringsAreNotCode()
    expect({
        ["base/base.c"] = '/* multi\n#include <lua.h>\n*/ char *s = "lua_call \\" lua_call", c = \'"\'; // lua_call\n',
    }, {})
end

function TestFloors:testUnknownFolderAndFile()
    expect({ ["gpu/warp.c"] = "", ["base/base.c"] = '#include "none.h"\n' }, {
        'src/base/base.c:1: "none.h" is not in src: a system header is included with <>',
        "src/gpu/warp.c:1: this folder has no floor (tools/floors.lua lists them)",
    })
end

function TestFloors:testOneTranslationUnit()
    expect({
        ["vmem_all.c"] = '#include "hw/tlb.c"\n#include "base/base.c"\n#include "hw/tlb.c"\n',
        ["base/base.c"] = "",
        ["hw/tlb.c"] = "",
        ["hw/mmu.c"] = '#include "tlb.c"\n',
        ["record/plugin.c"] = "",
    }, {
        "src/hw/mmu.c:1: hw/tlb.c is a .c file: only vmem_all.c includes those",
        "src/hw/mmu.c:1: vmem_all.c does not include this file",
        "src/vmem_all.c:2: base/base.c is on floor 0 but comes after floor 2",
        "src/vmem_all.c:3: hw/tlb.c is included twice, first in line 1",
    })
end

TestHouse = {}

local function in_tree(files, lines)
    tree.scratch(function(folder)
        for name, text in pairs(files) do
            os.execute("mkdir -p " .. tree.quote(folder .. "/" .. (name:match("^(.*)/") or "")))
            local file = assert(io.open(folder .. "/" .. name, "w"))
            file:write(text)
            file:close()
        end
        lu.assertEquals(house.check(folder), lines)
    end)
end

local ROCKSPEC = 'build = { modules = { ["vmem"] = "lua/vmem/init.lua", ["vmem.cli"] = "lua/vmem/cli.lua" } }\n'

function TestHouse:testWellKept()
    in_tree({
        ["vmem-scm-1.rockspec"] = ROCKSPEC,
        ["lua/vmem/init.lua"] = "return {}\n",
        ["lua/vmem/cli.lua"] = "return {}\n",
        ["src/base/base.c"] = "void f(void) { host_free(h); p->free(q); snprintf(s, n, f); } /* printf(x) */\n",
    }, {})
end

function TestHouse:testFileTooLong()
    in_tree({
        ["vmem-scm-1.rockspec"] = ROCKSPEC,
        ["lua/vmem/init.lua"] = ("--\n"):rep(701),
        ["lua/vmem/cli.lua"] = ("--\n"):rep(700),
    }, { "lua/vmem/init.lua:701: 701 lines; the most is 700" })
end

function TestHouse:testRockspecIsTheTree()
    in_tree({
        ["vmem-scm-1.rockspec"] = ROCKSPEC,
        ["lua/vmem/init.lua"] = "return {}\n",
        ["lua/vmem/new.lua"] = "return {}\n",
    }, {
        'vmem-scm-1.rockspec:1: ["vmem.new"] = "lua/vmem/new.lua" is missing',
        "vmem-scm-1.rockspec:1: lua/vmem/cli.lua is listed, and is not there",
    })
end

function TestHouse:testHeadersHaveGuards()
    in_tree({
        ["vmem-scm-1.rockspec"] = "build = { modules = {} }\n",
        ["src/hw/tlb.h"] = "/* tlb */\n#ifndef VM_TLB_H\n#define VM_TLB_H\n#endif\n",
        ["src/hw/mmu.h"] = "typedef int mmu;\n",
        ["src/machine_engine.h"] = "",
    }, { "src/hw/mmu.h:1: no guard (#ifndef VM_..._H), and no template that tools/house.lua knows" })
end

function TestHouse:testTheCoreCallsNoHost()
    in_tree({
        ["vmem-scm-1.rockspec"] = "build = { modules = {} }\n",
        ["src/hw/tlb.c"] = '\nvoid f(void) { printf("x"); }\nvoid *p = malloc(3);\n',
    }, {
        "src/hw/tlb.c:2: printf: the core never prints",
        "src/hw/tlb.c:3: malloc: host memory comes through the hooks of base/base.h",
    })
end
