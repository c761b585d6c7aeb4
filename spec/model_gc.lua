-- What a collector has to do, written straight from the definition: objects are numbers
-- from 1, their words are kept here, and nothing is read from memory.
--
-- A program is a list of operations { name, a, b, c } with free numbers, which are taken
-- modulo what there is: so any part of a program is a program, and can be cut out.

local model = {}

local Model = {}
Model.__index = Model

-- `words` an object; those at `pointers` (a set of indices from 0) are pointers, or all of
-- them for a conservative collector.
function model.new(words, pointers)
    return setmetatable({ words = words, pointers = pointers, object = {}, live = {}, roots = {}, weak = {},
        final = {} }, Model)
end

function Model:new(id)
    self.object[id] = {}
    for i = 0, self.words - 1 do self.object[id][i] = 0 end
    self.live[#self.live + 1] = id
end

-- What a word leads to: an object's number, by the caller's function of values.
function Model:reach(from, seen)
    seen = seen or {}
    local todo = {}
    local function see(id)
        if id and self.object[id] and not seen[id] then
            seen[id] = true
            todo[#todo + 1] = id
        end
    end
    for _, id in ipairs(from) do see(id) end
    while #todo > 0 do
        local words = self.object[table.remove(todo)]
        for i = 0, self.words - 1 do
            if self.pointers[i] and type(words[i]) == "table" then see(words[i].id) end
        end
    end
    return seen
end

-- A collection: the objects that survive, the finalizers that are due in their order.
function Model:collect()
    local from = {}
    for _, id in pairs(self.roots) do from[#from + 1] = id end
    local seen = self:reach(from)
    for k, id in pairs(self.weak) do
        if not seen[id] then self.weak[k] = nil end
    end
    local due, rest = {}, {}
    for _, id in ipairs(self.final) do
        if seen[id] then rest[#rest + 1] = id else table.insert(due, 1, id) end
    end
    self.final = rest
    seen = self:reach(due, seen)
    local live = {}
    for _, id in ipairs(self.live) do
        if seen[id] then live[#live + 1] = id else self.object[id] = nil end
    end
    self.live = live
    return seen, due
end

-- A random program.
function model.program(random, n)
    local kinds = { "new", "new", "new", "link", "link", "link", "link", "number", "unlink", "root", "root", "drop",
        "drop", "weak", "final", "collect" }
    local ops = {}
    for i = 1, n do
        local name = kinds[random(#kinds)]
        if name == "collect" and random(4) > 1 then name = "link" end
        ops[i] = { name, random(1 << 20), random(1 << 20), random(1 << 20) }
    end
    ops[#ops + 1] = { "collect", 1, 1, 1 }
    return ops
end

-- The shortest part of a failing program that a search by cutting finds.
function model.shrink(ops, fails)
    local size = #ops // 2
    while size >= 1 do
        local at = 1
        while at <= #ops do
            local less = {}
            for i, op in ipairs(ops) do
                if i < at or i >= at + size then less[#less + 1] = op end
            end
            if #less < #ops and fails(less) then ops = less else at = at + size end
        end
        size = size // 2
    end
    return ops
end

function model.text(ops)
    local out = {}
    for i, op in ipairs(ops) do out[i] = table.concat(op, " ") end
    return table.concat(out, "; ")
end

return model
