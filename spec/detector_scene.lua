-- What specs of the detector begin with.
local vmem = require("vmem")

local scene = {}

--- A detector, its process, a heap of it, and the machine.
---@param o? { machine: table?, source: string?, detector: table? }
function scene.setup(o)
    o = o or {}
    local m = vmem.machine(o.machine or { preset = "core-i7", dram = "4MiB", swap = "16MiB" })
    local p = m:spawn({ name = "spec" })
    local h = assert(vmem.heap.open(p, "segregated", { source = o.source or "sbrk", limit = "1MiB" }))
    local t = { process = p, heap = h }
    for k, v in pairs(o.detector or {}) do t[k] = v end
    local d = vmem.detector(t)
    return d, p, h, m
end

return scene
