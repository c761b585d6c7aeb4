-- What specs of collectors begin with.
local vmem = require("vmem")

local collectors = {}

-- A layout of two words that are pointers.
collectors.PAIR = { size = 16, pointers = { 0, 8 } }

--- A collector, its heap, process and machine.
---@param t? table options of the collector
---@param heap? string the heap's allocator
---@param machine? table its options
function collectors.setup(t, heap, machine)
    local m = vmem.machine(machine or { preset = "core-i7", dram = "8MiB" })
    local p = m:spawn()
    local h = assert(vmem.heap.open(p, heap or "segregated", { source = "mmap", limit = "1MiB" }))
    t = t or {}
    t.heap = h
    return assert(vmem.gc(t)), h, p, m
end

return collectors
