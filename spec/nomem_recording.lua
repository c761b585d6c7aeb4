-- A row of nomem_spec.lua: a program's allocations, recorded to a file and read back.
local lu = require("luaunit")
local vmem = require("vmem")

return {
    "recorded allocations",
    make = function(s)
        s.path = os.tmpname()
        os.remove(s.path)
        s.path = s.path .. ".rep.zst"
    end,
    act = function(s)
        local t, why, code = vmem.heap.record({ "ls", "/", stdout = "/dev/null", limit = 4, output = s.path })
        if t then t, why, code = vmem.heap.trace(s.path) end
        if not t then return nil, why, code end
        lu.assertEquals(#t, 4)
        return true
    end,
    once = true,
    finish = function(s)
        lu.assertNil(io.open(s.path .. ".part"))
        os.remove(s.path)
    end,
}
