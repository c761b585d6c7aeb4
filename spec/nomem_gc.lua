-- The scenario of a collector for nomem_spec: its areas, a layout, collections, its graph.
local lu = require("luaunit")
local vmem = require("vmem")

return function(with_machine)
    return { "gc", make = with_machine, act = function(s)
        local h <close> = assert(vmem.heap.open(s.p, "implicit", { source = "mmap", limit = "16KiB" }))
        local gc <close> = assert(vmem.gc({ heap = h, stack = 8, lookup = "tree" }))
        local pair = assert(gc:layout({ size = 16, pointers = { 0, 8 } }))
        local root = gc:root(assert(gc:new(pair)))
        gc:finalizer(assert(gc:new(pair)), function() end)
        local marked = assert(gc:collect()).marked
        lu.assertTrue(h:check())
        return marked + #gc:graph().nodes + (root.address > 0 and 1 or 0)
    end }
end
