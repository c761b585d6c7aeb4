-- Allocators without boundary tags, from their definitions: buddies as a tree of Lua
-- tables, simple segregated storage as stacks, bump as a counter.
local function up(x, a) return (x + a - 1) // a * a end

local models = {}

-- --- buddies --------------------------------------------------------------------------

local buddy = {}
buddy.__index = buddy

function models.buddy(o)
    local self = setmetatable({ o = o, sizes = {}, lists = {}, nodes = {} }, buddy)
    local fibonacci = o.system == "fibonacci"
    self.second = fibonacci and 2 or 1 -- a right part is so many orders below
    local unit, count = up(3 * o.word, o.align), 1
    self.sizes[0] = unit
    while self.sizes[count - 1] <= o.limit do
        local k = count
        self.sizes[k] = k < self.second and 2 * unit or self.sizes[k - 1] + self.sizes[k - self.second]
        count = count + 1
    end
    self.count = count
    self.arena = up((count + 1) * o.word, o.align) - o.word
    local order = 1
    while order + 1 < count and self.sizes[order] < o.chunk do order = order + 1 end
    for k = 0, count do self.lists[k] = {} end
    self.root = { at = self.arena, order = order }
    self.top = self.arena + self.sizes[order]
    self:push(self.root)
    return self
end

function buddy:push(node)
    node.free = true
    table.insert(self.lists[node.order], 1, node)
end

function buddy:take(node)
    node.free = false
    local list = self.lists[node.order]
    for i, n in ipairs(list) do
        if n == node then return table.remove(list, i) end
    end
end

function buddy:release(node)
    local parent = node.parent
    if parent and parent.left.free and parent.right == node or parent and parent.right.free and parent.left == node then
        self:take(parent.left == node and parent.right or parent.left)
        parent.left, parent.right = nil, nil
        return self:release(parent)
    end
    self:push(node)
end

function buddy:search(want)
    for k = want, self.root.order do
        if self.lists[k][1] then return self.lists[k][1] end
    end
end

-- The new root's left part is the old one.
function buddy:grow(want)
    local empty, order = self.root.free, self.root.order + 1
    while order < self.count and order - self.second < want and not (empty and order >= want) do order = order + 1 end
    if order >= self.count or self.arena + self.sizes[order] > self.o.limit then return false end
    while self.root.order < order do
        local old = self.root
        local right = { at = self.top, order = old.order + 1 - self.second }
        self.root = { at = self.arena, order = old.order + 1, left = old, right = right }
        old.parent, right.parent = self.root, self.root
        self.top = self.top + self.sizes[right.order]
        self:release(right)
    end
    return true
end

function buddy:malloc(n)
    local want = 0
    while want < self.count and self.sizes[want] - self.o.word < n do want = want + 1 end
    if want == self.count then return nil end
    local node = self:search(want)
    if not node then
        if not self:grow(want) then return nil end
        node = self:search(want)
    end
    self:take(node)
    while node.order > want and node.order >= self.second do
        local left = { at = node.at, order = node.order - 1, parent = node }
        local right = { at = node.at + self.sizes[left.order], order = node.order - self.second, parent = node }
        node.left, node.right = left, right
        local to_right = right.order >= want and right.order < left.order
        self:push(to_right and left or right)
        node = to_right and right or left
    end
    local a = node.at + self.o.word
    self.nodes[a] = node
    return a
end

function buddy:free(a)
    self:release(self.nodes[a])
    self.nodes[a] = nil
end

function buddy:realloc(a, n)
    if n <= self.sizes[self.nodes[a].order] - self.o.word then return a end
    local new = self:malloc(n)
    if new then self:free(a) end
    return new
end

-- --- simple segregated storage -----------------------------------------------------------

local simple = {}
simple.__index = simple

function models.simple(o)
    return setmetatable({ o = o, top = up(48 * o.word, o.align), stacks = {}, size = {} }, simple)
end

function simple:malloc(n)
    local o, size = self.o, self.o.align
    while size < n do size = size * 2 end
    local stack = self.stacks[size] or {}
    self.stacks[size] = stack
    if #stack == 0 then
        local count = math.max((o.chunk - o.align) // size, 1)
        local bytes = up(o.align + count * size, o.chunk)
        if self.top + bytes > o.limit then return nil end
        for i = count - 1, 0, -1 do stack[#stack + 1] = self.top + o.align + i * size end
        self.top = self.top + bytes
    end
    local a = table.remove(stack)
    self.size[a] = size
    return a
end

function simple:free(a) table.insert(self.stacks[self.size[a]], a) end

function simple:realloc(a, n)
    if n <= self.size[a] then return a end
    local new = self:malloc(n)
    if new then self:free(a) end
    return new
end

-- --- bump ------------------------------------------------------------------------------------

local bump = {}
bump.__index = bump

function models.bump(o) return setmetatable({ o = o, next = up(o.word, o.align) }, bump) end

function bump:malloc(n)
    local a = self.next
    self.next = a + up(n + self.o.word, self.o.align)
    return a
end

function bump.free() end

function bump:realloc(_, n) return self:malloc(n) end

return models
