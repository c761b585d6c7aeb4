-- The ways to get at vmem from outside its tree: the build tree's environment,
-- make install, and LuaRocks. Each is tried from another folder, with nothing of
-- this process's settings.
local lu = require("luaunit")
local tree = require("tree")

TestInstall = {}

-- What a shell prints for `script`, and its exit code; from /, in an environment
-- that knows only where programs are, and with what compiler and flags the tree
-- was built (so that nothing is built anew), but not its job server.
local function shell(script)
    local flags = (os.getenv("MAKEFLAGS") or ""):gsub("%-%-jobserver%S+", ""):gsub("%-j%d*", "")
    local command = ("cd / && env -i HOME=/nonexistent PATH=%s MAKEFLAGS=%s sh -ec %s 2>&1"):format(
        tree.quote(os.getenv("PATH")), tree.quote(flags), tree.quote(script))
    local pipe = assert(io.popen(command))
    local text = pipe:read("a")
    local _, _, code = pipe:close()
    return text, code
end

local function succeeds(script)
    local text, code = shell(script)
    lu.assertEquals(code, 0, script .. "\n" .. text)
    return text
end

local TRY = [[ -e 'local vmem = require "vmem"; print(package.searchpath("vmem", package.path))
    local m <close> = vmem.machine{ preset = "csapp" }' ]]
local MAKE = "make -s --no-print-directory -C " .. tree.quote(tree.root) .. " LUA=" .. tree.quote(tree.lua)

-- A program recorded by the command `vmem` of `prefix`, with the recorders that lie there.
local function records(prefix)
    local linux = io.open("/proc/self/maps")
    if linux then
        linux:close()
        local text = succeeds(("cd %s; bin/vmem record --stdout /dev/null ls.rep -- ls; bin/vmem info ls.rep"):format(
            prefix))
        lu.assertStrContains(text, "allocations")
    end
    local _, none = shell("command -v qemu-x86_64")
    if none == 0 then
        local script = "cd %s; bin/vmem record --via qemu true.vmt -- true; bin/vmem info true.vmt"
        local text = succeeds(script:format(prefix))
        lu.assertStrContains(text, "fetch")
    end
end

function TestInstall:testBuildTreeFromAnyFolder()
    local text = succeeds(('eval "$(%s env)"; %s %s; vmem --help'):format(MAKE, tree.lua, TRY))
    lu.assertStrContains(text, tree.root .. "/lua/vmem/init.lua")
    lu.assertStrContains(text, "Usage: vmem")
end

function TestInstall:testEnvironmentKeepsWhatWasSet()
    local script = 'export LUA_PATH_5_4="/else/?.lua;;"; eval "$(%s env)"; %s -e "print(package.path)"'
    local text = succeeds(script:format(MAKE, tree.lua))
    lu.assertStrContains(text, tree.root .. "/lua/?.lua;")
    lu.assertStrContains(text, "/else/?.lua;")
end

function TestInstall:testMakeInstall()
    tree.scratch(function(folder)
        succeeds(("%s install PREFIX=%s"):format(MAKE, folder))
        local text = succeeds(folder .. "/bin/vmem --help")
        lu.assertStrContains(text, "Usage: vmem")
        local paths =
            [[LUA_PATH='P/share/lua/5.4/?.lua;P/share/lua/5.4/?/init.lua;;' LUA_CPATH='P/lib/lua/5.4/?.so;;' ]]
        text = succeeds(paths:gsub("P/", folder .. "/") .. tree.lua .. TRY)
        lu.assertStrContains(text, folder)
        succeeds(("test ! -e %s/libvmem-record.so || test -e %s/lib/lua/5.4/libvmem-record.so"):format(
            tree.build, folder))
        records(folder)
    end)
end

-- A program in C finds the header and the library by pkg-config alone.
function TestInstall:testMakeInstallForC()
    local _, none = shell("command -v pkg-config && command -v cc")
    lu.skipIf(none ~= 0, "pkg-config or cc is not installed")
    tree.scratch(function(folder)
        succeeds(("%s install PREFIX=%s"):format(MAKE, folder))
        succeeds(([[export PKG_CONFIG_PATH=P/lib/pkgconfig
            pkg-config --modversion vmem | grep -qx '[0-9.]*[0-9]'
            cc %s -o P/embed $(pkg-config --cflags --libs vmem)]]):gsub("P/", folder .. "/"):format(
            tree.quote(tree.root .. "/examples/embed.c")))
        local text = succeeds(("LD_LIBRARY_PATH=%s/lib %s/embed %s 96KiB"):format(folder, folder,
            tree.quote(tree.root .. "/examples/traces/sort.vmt")))
        lu.assertStrContains(text, "policy=lru")
    end)
end

function TestInstall:testStagedInstallNamesThePrefixOnly()
    tree.scratch(function(folder)
        succeeds(("%s install PREFIX=/opt/vmem DESTDIR=%s"):format(MAKE, folder))
        local launcher = succeeds(("cat %s/opt/vmem/bin/vmem"):format(folder))
        lu.assertStrContains(launcher, "/opt/vmem/share/lua/5.4/?.lua")
        lu.assertNotStrContains(launcher, folder)
    end)
end

function TestInstall:testLuaRocksOffline()
    local _, none = shell("command -v luarocks")
    lu.skipIf(none ~= 0, "luarocks is not installed")
    tree.scratch(function(folder)
        succeeds(("cp -r %s/src %s/lua %s/bin %s/*.rockspec %s"):format(
            tree.root, tree.root, tree.root, tree.root, folder))
        -- Unoptimised: it is the recipe that is tested.
        succeeds((("cd F && HOME=F luarocks --lua-version=5.4 make --deps-mode=none --tree F/rocks " ..
            "CFLAGS='-O0 -fPIC'"):gsub("%f[%w]F%f[^%w]", folder)))
        local text = succeeds(folder .. "/rocks/bin/vmem --help")
        lu.assertStrContains(text, "Usage: vmem")
        records(folder .. "/rocks")
    end)
end
