-- Random programs of mallocs, frees and reallocs for specs of heaps.
local programs = {}

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

function programs.text(name, o, ops)
    local out = { name }
    for k, v in pairs(o) do out[#out + 1] = k .. "=" .. v end
    for _, op in ipairs(ops) do out[#out + 1] = table.concat(op, " ") end
    return table.concat(out, ", ")
end

return programs
