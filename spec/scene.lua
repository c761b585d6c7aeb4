-- What specs of the kernel share.
local lu = require("luaunit")
local vmem = require("vmem")

local scene = {}

---A scene: f(m) on a small machine; then all processes end, all files go, and
---nothing is lost.
function scene.run(options, f)
    local o = { preset = "core-i7", dram = "1MiB", swap = "1MiB", kernel = { low = 0 } }
    for k, v in pairs(options) do o[k] = v end
    local m <close> = vmem.machine(o)
    local before = m:meminfo()
    f(m)
    lu.assertEquals({ m:check() }, { true })
    for _, p in ipairs(m:processes()) do p:exit() end
    for _, file in ipairs(m:files()) do assert(m:file(file.name)):unlink() end
    collectgarbage() -- handles hold files that have no name
    collectgarbage()
    local after = m:meminfo()
    for _, name in ipairs({ "free", "swap_used", "resident", "tables", "committed", "cached", "locked" }) do
        lu.assertEquals(after[name], before[name], name)
    end
    lu.assertEquals({ m:check() }, { true })
end

---The fault that a call raises.
function scene.fault(f, ...)
    local ok, e = pcall(f, ...)
    lu.assertFalse(ok)
    lu.assertEquals(type(e), "table", tostring(e))
    return e
end

--- f(...) raises an error that says `text`, whatever kind of value it is.
---@return any error
function scene.raises(text, f, ...)
    local ok, err = pcall(f, ...)
    lu.assertFalse(ok, "no error, but should say: " .. text)
    lu.assertStrContains(tostring(err), text)
    return err
end

return scene
