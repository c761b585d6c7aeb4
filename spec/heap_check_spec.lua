-- The conformance kit: good allocators pass, each way to break the contract is found, named and
-- shown by a few calls.
local lu = require("luaunit")
local vmem = require("vmem")
local tree = require("tree")

local allocator, check = vmem.heap.allocator, vmem.heap.check

local function example(name) return dofile(("%s/examples/allocators/%s.lua"):format(tree.root, name)) end

-- An allocator of slots of 512 bytes, with what `t` changes. Larger blocks it has none.
local function slots(name, t)
    local fields = { name = name,
        init = function(self) self.head = self:grow(16) end,
        malloc = function(self, n)
            if n > 512 then return nil end
            local a = self:link(self.head)
            if not a then return self:grow(512) end
            self:unlink(self.head, a)
            return a
        end,
        free = function(self, a) self:push(self.head, a) end }
    for k, v in pairs(t or {}) do fields[k] = v end
    return allocator(fields)
end

TestHeapCheck = {}

function TestHeapCheck.testGoodOnesPass()
    for _, what in ipairs({ slots("slots"), example("explicit"), { example("segregated"), word = 4, align = 8 },
        "implicit", { "tlsf", align = 8 }, { "buddy", align = "8" }, { "bitmap", page = 64 } }) do
        local ok, report = check(what, { runs = 8, steps = 100 })
        lu.assertTrue(ok, tostring(report))
    end
end

local shared
local ever = 0

local sinners = {
    answers = { slots("off by four", { malloc = function(self, n) return self:grow(n + 4) + 4 end }),
        slots("twice", { malloc = function(self, n)
            self.last = self.last or self:grow(512)
            return n <= 512 and self.last or nil
        end }),
        slots("mean", { usable_size = function() return 8 end }),
        slots("forgetful", { malloc = function(self, n) self:grow(n) end }) },
    ["own-memory"] = {
        slots("footer", {
            malloc = function(self, n) return n <= 512 and self:grow(512) or nil end,
            free = function(self, a) if a >= self.base + 1024 then self:put(a - 512, 0) end end }),
        slots("lost", { free = function(self) self:put(self.base - 8, 0) end }) },
    ends = { slots("loop", { free = function() while true do end end }) },
    ["no-error"] = { slots("nil", { malloc = function(self, n) return self:grow(n) + 0 end }) },
    ["no-yield"] = { slots("yield", { free = function() coroutine.yield() end }) },
    keeps = { slots("mover", { realloc = function(self, a, n)
        local b = self:malloc(n)
        if not b then return nil end
        self:copy(b, a, math.min(n, 64)) -- of up to 512
        self:free(a)
        return b
    end }) },
    sound = { slots("unsound", { check = function(self)
        local _, stop = self:range()
        return stop - self.base < 2000, "it is too large"
    end }) },
    repeatable = { slots("dice", { malloc = function(self, n) return self:grow(n + 16 * math.random(0, 9)) end }) },
    ["own-state"] = { slots("shared", {
        init = function(self) shared, self.head = 0, self:grow(16) end,
        malloc = function(self, n)
            shared = shared + 1
            if n > 400 then return nil end
            local a = self:grow(512)
            return a and a + 16 * (shared % 3)
        end }), slots("ever", { malloc = function(self, n)
        ever = ever + 1
        return self:grow(ever % 50 == 0 and n + 4096 or n)
    end }) },
    reuses = { slots("bump", { malloc = function(self, n) return self:grow(n) end, free = function() end }) },
    ["in-heap"] = { slots("shelf", { init = function(self) self.shelf, self.count = {}, 0 end,
        malloc = function(self, n)
            if n > 512 then return nil end
            if self.count == 0 then return self:grow(512) end
            self.count = self.count - 1
            return table.remove(self.shelf)
        end,
        free = function(self, a)
            self.count = self.count + 1
            self.shelf[self.count] = a
        end }) },
}

function TestHeapCheck.testEachRule()
    for rule, list in pairs(sinners) do
        for _, object in ipairs(list) do
            local ok, report = check(object, { runs = 30, steps = 80 })
            lu.assertNil(ok, object.name)
            lu.assertEquals({ object.name, report.rule }, { object.name, rule }, tostring(report))
            lu.assertStrContains(tostring(report), ("allocator %s breaks the contract, %s: "):format(object.name, rule))
            lu.assertTrue(#report.calls <= (rule == "own-state" and 60 or 8), tostring(report))
        end
    end
end

function TestHeapCheck.testCounterexamplesAreSmall()
    local _, report = check(sinners.answers[2])
    lu.assertEquals(#report.calls, 2, tostring(report))
    lu.assertStrContains(report.calls[1], "^b%d+ = %l+alloc%(.*%d+%) +%-%- %+0x", true)
    lu.assertStrContains(report.message, "allocator twice: malloc: it answered 0x")
    local _, same = check(sinners.answers[2])
    lu.assertEquals(tostring(same), tostring(report))
    _, report = check(sinners.keeps[1])
    lu.assertEquals(#report.calls, 2, tostring(report))
    lu.assertStrContains(report.calls[2], "realloc(b")
    _, report = check("bump", { runs = 3, steps = 10 })
    lu.assertEquals(report.rule, "reuses")
end

function TestHeapCheck.testWrongUse()
    lu.assertErrorMsgContains("there is no option run = 3", check, "implicit", { run = 3 })
    lu.assertErrorMsgContains("did you mean implicit?", check, "implict")
    lu.assertErrorMsgContains("there is no option wrod", check, { "implicit", wrod = 4 })
end
