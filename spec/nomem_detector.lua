-- A row of nomem_spec.lua: an error detector, its blocks, shadows, frames, places, reports
-- and leaks.
local vmem = require("vmem")

return function(with_machine)
    return { "a detector", make = with_machine, act = function(s)
        local h <close> = assert(vmem.heap.open(s.p, "segregated", { source = "mmap", limit = "256KiB" }))
        local d <close> = vmem.detector({ process = s.p, heap = h, stack = "16KiB", once = false })
        local last
        for i = 1, 6 do
            local a = d:malloc(i * 24)
            d:store(a, last or 0)
            if i % 3 == 0 then d:free(a) else last = a end
        end
        d:store(last + 500, 1)
        local f = d:frame("f", { "a", 40 })
        d:copy(f.a, last, 40)
        d:realloc(last, 4000)
        return #d:reports() + d:leaks().definite.blocks + f:leave(1)
    end }
end
