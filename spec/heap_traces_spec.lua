-- Allocators that must give one heap, on the recorded programs and the patterns: the same
-- address for each operation. VMEM_CASES=20 takes all of each trace.
local lu = require("luaunit")
local vmem = require("vmem")
local scale = require("scale")
local tree = require("tree")

local heap = vmem.heap
local OPS = math.ceil(2500 * scale)

local traces = {}
for _, name in ipairs({ "compiler", "sqlite3", "lua" }) do
    traces[#traces + 1] = ("%s/examples/traces/%s.rep.zst"):format(tree.root, name)
end
for _, row in ipairs(heap.patterns()) do
    traces[#traces + 1] = "@" .. row.name
end

--- The addresses that a trace's operations give, from the heap's start, and the blocks in the end.
local function heap_of(t, n, allocator, options)
    local h <close> = heap.native(allocator, options)
    local base, block, out = h:range(), {}, {}
    for i = 1, n do
        local kind, id, size = t.kind[i], t.id[i], t.size[i]
        if kind == "a" then
            block[id] = h:malloc(size)
        elseif kind == "r" then
            block[id] = h:realloc(block[id], size)
        else
            h:free(block[id])
            block[id] = nil
        end
        out[i] = block[id] and block[id] - base or 0
    end
    lu.assertEquals({ h:check() }, { true })
    for _, b in ipairs(h:blocks()) do
        out[#out + 1] = b.allocated and b.size or -b.size
    end
    return out
end

local function assert_same(path, a, b)
    local t = assert(heap.trace(path))
    local n = math.min(OPS, #t)
    local one, other = heap_of(t, n, table.unpack(a)), heap_of(t, n, table.unpack(b))
    for i = 1, math.max(#one, #other) do
        if one[i] ~= other[i] then
            lu.fail(("%s: operation or block %d of %d: %s gives %s, %s gives %s"):format(path, i, n, a[1], one[i], b[1],
                other[i]))
        end
    end
end

TestHeapSame = {}

function TestHeapSame:testAddressOrderedListsAreImplicit()
    for _, path in ipairs(traces) do
        for _, fit in ipairs({ "first", "best" }) do
            assert_same(path, { "implicit", { fit = fit } }, { "explicit", { fit = fit, order = "address" } })
        end
    end
end

function TestHeapSame:testTheTreeIsBestFit()
    for _, path in ipairs(traces) do
        assert_same(path, { "explicit", { fit = "best", order = "address" } }, { "tree", {} })
    end
end
