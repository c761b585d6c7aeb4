-- Rows of nomem_spec.lua: each allocator, and one in Lua, in an area of its own and over host
-- memory; small pages, and areas for blocks that are not small.
local lu = require("luaunit")
local tree = require("tree")
local vmem = require("vmem")

local function small(row)
    local o = { source = "mmap", limit = "256KiB" }
    for _, option in ipairs(row.options) do
        o[option.name] = o[option.name] or option.name == "page" and option.min or option.name == "threshold" and 600
            or nil
    end
    return o
end

local function work(h, native)
    for i = 1, 30 do
        local a = h:malloc(i * 24)
        native:malloc(i * 300)
        if i % 3 == 0 then h:free(a) end
    end
    lu.assertTrue(h:check())
    return #h:blocks() + h:stats().blocks + #h:lists() + h:loss().holes
end

return function(with_machine)
    local rows, allocators = {}, vmem.heap.allocators()
    table.insert(allocators, { name = dofile(tree.root .. "/examples/allocators/explicit.lua"), options = {} })
    for i, row in ipairs(allocators) do
        local o = small(row)
        rows[i] = { "heap " .. tostring(row.name), make = with_machine, act = function(s)
            local native <close> = vmem.heap.native(row.name, o)
            local h <close> = assert(vmem.heap.open(s.p, row.name, o))
            return work(h, native)
        end }
    end
    return rows
end
