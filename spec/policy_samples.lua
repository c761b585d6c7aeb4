-- Policies in Lua, twins of some in C: for specs.
local policy = require("vmem").policy
local samples = {}

samples.fifo = policy({
    name = "lua-fifo",
    init = function(self)
        self.queue, self.first, self.next, self.place = {}, 1, 1, {}
    end,
    insert = function(self, slot)
        self.queue[self.next], self.place[slot] = slot, self.next
        self.next = self.next + 1
    end,
    remove = function(self, slot)
        self.place[slot] = nil
    end,
    victim = function(self)
        while self.place[self.queue[self.first]] ~= self.first do
            self.queue[self.first] = nil
            self.first = self.first + 1
        end
        return self.queue[self.first]
    end,
})

local function unlink(self, slot)
    local before, after = self.before[slot], self.after[slot]
    if before then
        self.after[before], self.before[after] = after, before
        self.before[slot] = nil
    end
end

local function push(self, slot)
    unlink(self, slot)
    local first = self.after[-1]
    self.after[-1], self.before[slot], self.after[slot], self.before[first] = slot, -1, first, slot
end

samples.lru = policy({
    name = "lua-lru",
    init = function(self)
        self.after, self.before = { [-1] = -1 }, { [-1] = -1 }
    end,
    insert = push,
    touch = push,
    remove = unlink,
    victim = function(self)
        return self.before[-1]
    end,
})

samples.clock = policy({
    name = "lua-clock",
    init = function(self)
        self.hand = 0
    end,
    victim = function(self)
        local slot = self.slots:sweep(self.hand)
        self.hand = slot + 1
        return slot
    end,
})

-- CLOCK again, slot by slot.
samples.slow_clock = policy({
    name = "lua-slow-clock",
    init = function(self)
        self.hand = 0
    end,
    victim = function(self)
        local slots = self.slots
        while true do
            local slot = self.hand
            self.hand = (slot + 1) % #slots
            if slots:key(slot) and not slots:test(slot) then
                return slot
            end
        end
    end,
})

samples.aging = policy({
    name = "lua-aging",
    params = { every = 100, bits = 8 },
    init = function(self)
        self.ages, self.due = self.slots:array(), self.every
    end,
    victim = function(self)
        local faults = self.slots:faults()
        if faults >= self.due then
            self.due = faults + self.every
            self.ages:age(self.bits)
        end
        return (self.ages:least())
    end,
})

samples.wsclock = policy({
    name = "lua-wsclock",
    params = { tau = 10000 },
    init = function(self)
        self.used, self.hand = self.slots:array(), 0
    end,
    victim = function(self)
        local slots, now = self.slots, self.slots:time()
        local old = now - self.tau - 1
        local slot = self.used:sweep(self.hand, now, old, false)
            or self.used:sweep(self.hand, now, old)
            or slots:find(self.hand, nil, false)
            or slots:find(self.hand)
        self.hand = slot + 1
        return slot
    end,
})

samples.nfu = policy({
    name = "lua-nfu",
    params = { every = 100 },
    init = function(self)
        self.counts, self.due = self.slots:array(), self.every
    end,
    victim = function(self)
        local faults = self.slots:faults()
        if faults >= self.due then
            self.due = faults + self.every
            self.counts:count()
        end
        return (self.counts:least())
    end,
})

return samples
