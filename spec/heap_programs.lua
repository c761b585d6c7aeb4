-- What specs of heaps share: random programs of mallocs, frees and reallocs, and models
-- under the same calls.
local lu = require("luaunit")
local vmem = require("vmem")

local programs = {}

-- A process for a heap, and its machine.
function programs.process(t)
    local m = vmem.machine(t or { preset = "x86-32", dram = "4MiB" })
    return m:spawn({ name = "heap" }), m
end

-- Nothing is wrong with the heap.
function programs.sound(h)
    local ok, what, at = h:check()
    if not ok then error(("%s (%#x)"):format(what, at), 2) end
end

function programs.pick(rng, list) return list[rng(#list)] end

function programs.rng(seed)
    math.randomseed(seed)
    return math.random
end

local function some_size(rng)
    local kind = rng(10)
    return kind == 1 and rng(5000) or kind < 5 and rng(16) or rng(300)
end

-- A program: a list of { op, index or size, size }; k-th allocation by its number.
-- size(rng): of a block.
function programs.random(rng, n, size_of)
    local ops, live, count = {}, {}, 0
    local function size() return (size_of or some_size)(rng) end
    for i = 1, n do
        local r = rng(100)
        if r <= 45 or #live == 0 then
            count = count + 1
            live[#live + 1] = count
            ops[i] = r == 1 and { "memalign", 16 << rng(0, 5), size() } or { "malloc", size() }
        elseif r <= 85 then
            ops[i] = { "free", table.remove(live, rng(#live)) }
        else
            ops[i] = { "realloc", live[rng(#live)], size() }
        end
    end
    return ops
end

-- Runs it; after each operation `look` is called. The addresses, by operation.
function programs.run(h, ops, look)
    local at, seen, count = {}, {}, 0
    for i, op in ipairs(ops) do
        local kind = op[1]
        if kind == "malloc" or kind == "memalign" then
            count = count + 1
            at[count] = h[kind](h, op[2], op[3])
            seen[i] = at[count]
        elseif kind == "free" then
            h:free(at[op[2]])
        else
            at[op[2]] = h:realloc(at[op[2]], op[3])
            seen[i] = at[op[2]]
        end
        if look then look(i) end
    end
    return seen
end

-- Operations that still fail, few: those that can go are left out. `fails` gives what is
-- wrong, or nil.
function programs.shrink(ops, fails)
    local function without(i)
        local out, gone, count = {}, nil, 0
        for k, op in ipairs(ops) do
            local made = op[1] == "malloc" or op[1] == "memalign"
            if made then count = count + 1 end
            if k == i then
                gone = made and count
            elseif not made and gone and op[2] == gone then -- its block is not there
                goto continue
            else
                local at = op[2]
                if not made and gone and at > gone then at = at - 1 end
                out[#out + 1] = { op[1], at, op[3] }
            end
            ::continue::
        end
        return out
    end
    local i = #ops
    while i > 0 do
        -- A free of a block may not go, if a later one would be the second.
        local fewer = without(i)
        local ok, told = pcall(fails, fewer)
        if ok and told then ops = fewer end
        i = math.min(i - 1, #ops)
    end
    return ops
end

-- A model as a heap: its addresses begin at 0, its blocks are multiples of `align`; `base`:
-- where the heap is that it is compared with.
function programs.face(d, align, base)
    return {
        malloc = function(_, n) return d:malloc(n) end,
        memalign = function(_, to, n)
            if to <= align then return d:malloc(n) end
            return d:memalign(to, n, base)
        end,
        free = function(_, a)
            if a then d:free_block(a) end
        end,
        realloc = function(_, a, n)
            if a then return d:realloc(a, n) end
            return d:malloc(n)
        end,
    }
end

-- What differs between a heap and the model that `make(base)` gives with its alignment, or
-- nil: addresses of all operations, and what more(base, model) tells.
function programs.differs(h, make, ops, more)
    local _, told = pcall(function()
        local base = h:range()
        local d, align = make(base)
        local seen = programs.run(h, ops, function(i)
            if i % 20 == 0 or i == #ops then programs.sound(h) end
        end)
        local expected = programs.run(programs.face(d, align, base), ops)
        for i in ipairs(ops) do
            local a = seen[i] and seen[i] - base
            if a ~= expected[i] then return ("operation %d: %s, but the model %s"):format(i, a, expected[i]) end
        end
        return more(base, d)
    end)
    return told and tostring(told)
end

-- Random programs under random options: options_of(rng) gives an allocator's name and its
-- options, differs(name, options, ops) what is wrong, of which as little as can be is shown.
function programs.hold(cases, options_of, length, size_of, differs)
    for seed = 1, cases do
        local rng = programs.rng(seed)
        local name, o = options_of(rng)
        local ops = programs.random(rng, length, size_of)
        local told = differs(name, o, ops)
        if told then
            local few = programs.shrink(ops, function(fewer) return differs(name, o, fewer) end)
            lu.fail(("seed %d: %s: %s"):format(seed, differs(name, o, few) or told, programs.text(name, o, few)))
        end
    end
end

-- A trace of so many operations: blocks that are kept, let go, and grow. t: `kinds`, one of
-- so many fresh blocks comes by realloc (nil: none); `nothing`, one of so many has 0 bytes;
-- `size`, `grown`: bytes at most.
function programs.trace(seed, n, t)
    math.randomseed(seed)
    local list, live, id = {}, {}, 0
    for i = 1, n do
        local r = math.random(10)
        if r <= 5 or #live == 0 then
            live[#live + 1] = id
            local kind = t.kinds and math.random(t.kinds) == 1 and "r" or "a"
            list[i] = { kind, id, math.random(t.nothing) == 1 and 0 or math.random(t.size) }
            id = id + 1
        elseif r <= 8 then
            list[i] = { "f", table.remove(live, math.random(#live)) }
        else
            list[i] = { "r", live[math.random(#live)], math.random(t.grown) }
        end
    end
    return assert(vmem.heap.trace(list))
end

function programs.text(name, o, ops)
    local out = { name }
    for k, v in pairs(o) do out[#out + 1] = k .. "=" .. v end
    for _, op in ipairs(ops) do out[#out + 1] = table.concat(op, " ") end
    return table.concat(out, ", ")
end

return programs
