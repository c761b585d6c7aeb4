-- Allocators in Lua that err: each mistake is an error that names the allocator and the call;
-- the process and the machine go on, the heap only if no call failed midway.
local lu = require("luaunit")
local raises = require("scene").raises
local vmem = require("vmem")

local allocator = vmem.heap.allocator

-- What malloc and free do in all rows that do not say otherwise.
local function plain(t)
    local base = { name = "wrong", init = function(self) self.head = self:grow(64) end,
        malloc = function(self, n) return self:grow(n) end,
        free = function(self, a) self:push(self.head, a) end }
    for k, v in pairs(t) do base[k] = v end
    return allocator(base)
end

TestHeapLuaErrors = {}

-- Each: the functions, what the error says. The call that fails is the second malloc, or the one
-- named at 3.
local first_block
local function second(f)
    return { malloc = function(self, n)
        if not first_block then
            first_block = self:grow(n)
            return first_block
        end
        return f(self, n)
    end }
end

local rows = {
    { second(function() error("oh dear") end), "allocator wrong: malloc: " },
    { second(function() error({ code = 7 }, 0) end), nil },
    { second(function(self) return self.nothing.at end), "attempt to index a nil value (field 'nothing')" },
    { second(function() end), "allocator wrong: malloc: it answered nothing" },
    { second(function() return "here" end), "malloc: it answered \"here\", which is no address" },
    { second(function() return {} end), "malloc: it answered a table, which is no address" },
    { second(function() return true end), "malloc: it answered true, which is no address" },
    { second(function() return 0 / 0 end), "nan, which is no address" },
    { second(function() return 0 end), "malloc: it answered 0" },
    { second(function(self) return select(2, self:range()) end), "but the heap is from" },
    { second(function(self) return self:grow(16) end), "for 100 bytes, but the heap is from" },
    { second(function() return math.mininteger end), "but the heap is from" },
    { second(function(self, n) return self:grow(n + 8) + 8 end), "which is not aligned to 16 bytes" },
    { second(function() return first_block end), "which overlap a block that is allocated" },
    { second(function(self) self:grow(96) return first_block + 96 end), "which overlap a block that is allocated" },
    { second(function(self, n) self:grow(n) return first_block + 16 end), "which overlap a block that is allocated" },
    { second(function() while true do end end), "it took more than 20000 instructions" },
    { second(function() while true do pcall(error) end end), "it took more than 20000 instructions" },
    { second(function() coroutine.yield() end), "yield" },
    { second(function(self) self:put(0, 1) end), "8 bytes at 0 are not in the heap" },
    { second(function(self) self:put(1 << 63, 1) end), "are not in the heap" },
    { second(function(self) self:get(self.base + 4) end), "is not aligned to 8 bytes" },
    { second(function(self) self:get() end), "argument 1 is missing, but takes an address" },
    { second(function(self) self:get({}) end), "but takes an address" },
    { second(function(self) self:get(self.base, 5) end), "argument 2 is 5, but takes 4 or 8 bytes" },
    { second(function(self) self:put(self.base, 1 << 32, 4) end), "but takes a number of 4 bytes" },
    { second(function(self) self:put(self.base, "x") end), "but takes a whole number" },
    { second(function(self) self.get(self.base) end), "argument 1 is missing" },
    { second(function(self) self:grow(0) end), "argument 1 is 0, but takes a number of bytes" },
    { second(function(self) self:grow(-5) end), "argument 1 is -5, but takes a number of bytes" },
    { second(function(self) self:copy(self.base, self.base, -1) end), "takes a number of bytes" },
    { second(function(self) self:copy(self.base, self.base + 32, 60000) end), "are not in the heap" },
    { second(function(self) self:zero(first_block - 16, 20) end), "which is in the block of 100 bytes at" },
    { second(function(self) self:put(first_block, 1) end), "which is in the block of 100 bytes at" },
    { second(function(self) self:put(first_block + 96, 1) end), "a write to 0x" },
    { second(function(self) self:set_block(first_block, 256, true) end), "not in the heap" },
    { second(function(self) self:set_block(first_block, 64, true) end), "which is in the block" },
    { second(function(self) self:set_header(first_block, 12, 4) end), "takes true, false, or bits, 0 to 3" },
    { second(function(self) self:set_header(first_block, 13, 1) end), "a multiple of 4" },
    { second(function(self) self:block(self.base) end), "are not in the heap" },
    { second(function(self) self:push(self.head, first_block) end), "which is in the block" },
    { second(function(self) self:push(self.head, self.base + 8192) end), "are not in the heap" },
    { second(function(self) self:list_fit(self.head, 16, "bset") end), "invalid option 'bset'" },
    { second(function(self) self:fit(self.head + 8, nil) end), "argument 2 is nil, but takes the size of a block" },
    { second(function(self) self:size_classes(self.head, 65, 16) end), "a number of lists, 1 to 64" },
    { second(function(self) self:size_classes(self.head, 32, 16) end), "are not in the heap" },
    { second(function(self) self:count("sears") end), "invalid option 'sears'" },
    { second(function(self) -- a circle
        self:set_link(self.head, self.base + 16)
        self:set_link(self.base + 24, self.base + 16)
        self:list_fit(self.head, 1 << 40)
    end), "allocator wrong: malloc: a list of blocks does not end" },
    { second(function(self)
        self:set_link(self.head, self.base + 16)
        self:set_link(self.base + 24, self.base + 16)
        for _ in self:list(self.head) do end
    end), "a list of blocks does not end" },
    { second(function(self)
        self:put(self.head, 0x7ff0)
        self:unlink(self.head, self:list_fit(self.head, 16))
    end), "malloc: the link at" },
    { second(function(self)
        self:put(self.base, 1 << 20)
        self:fit(self.base + 8, 16)
    end), "has no size that fits" },
    { { free = function() error("no way") end }, "allocator wrong: free: ", "free" },
    { { free = function(self) self:set_header(self.base + 8, 3, true) end }, "free: ", "free" },
    { { realloc = function() return true end }, "realloc: it answered true", "realloc" },
    { { realloc = function(self, a, n) self:grow(n) return a + 4 end }, "which is not aligned", "realloc" },
    { { resize = function(_, _, n) return n > 0 end }, "resize: it answered true, but the heap ends", "realloc" },
    { { resize = function(self) return self:oops() end }, "allocator wrong: resize: ", "realloc" },
    { { memalign = function(self, _, n) self:grow(16) return self:grow(n) end }, "which is not aligned to 4096",
        "memalign" },
    { { usable_size = function() return 99 end }, "it answered 0x63", "usable_size" },
    { { usable_size = function() return 1 << 40 end }, "it answered 0x10000000000", "usable_size" },
    { { usable_size = function() end }, "it answered nothing", "usable_size" },
    { { usable_size = function() error({}) end }, nil, "realloc" },
}

local calls = {
    malloc = function(h) return h:malloc(100) end,
    free = function(h, a) return h:free(a) end,
    realloc = function(h, a) return h:realloc(a, 4000) end,
    memalign = function(h) return h:memalign(4096, 100) end,
    usable_size = function(h, a) return h:usable_size(a) end,
}

function TestHeapLuaErrors.testEachIsAnError()
    local m = vmem.machine({ preset = "core-i7", dram = "4MiB" })
    local p = m:spawn()
    local beside = assert(vmem.heap.open(p, "implicit", { source = "mmap", limit = "64KiB" }))
    for i, row in ipairs(rows) do
        first_block = nil
        row[1].instructions = 20000
        local object = plain(row[1])
        for _, native in ipairs({ false, true }) do
            first_block = nil
            local h = native and vmem.heap.native(object)
                or assert(vmem.heap.open(p, object, { source = "mmap", limit = "64KiB" }))
            local a = assert(h:malloc(100))
            local ok, err = pcall(calls[row[3] or "malloc"], h, a)
            lu.assertFalse(ok, ("row %d"):format(i))
            if row[2] then
                lu.assertStrContains(err, row[2])
                lu.assertStrContains(err, "allocator wrong: ")
                lu.assertStrContains(raises("the heap can't be used: an earlier call failed midway (", h.malloc, h, 1),
                    "allocator wrong: ")
                local left = h:blocks()[1] -- a look is still allowed; a block that failed to go is neither
                lu.assertTrue(left == nil or left.address == a)
            end
            h:close()
        end
        beside:free(assert(beside:malloc(50)))
    end
    lu.assertTrue(beside:check())
    lu.assertTrue(m:check())
    m:close()
end

-- Nothing of the heap may be done from within it, nor of its machine.
function TestHeapLuaErrors.testReentry()
    local m = vmem.machine({ preset = "x86-32", dram = "4MiB" })
    local p = m:spawn()
    local h, other
    local told = {}
    local object = allocator({ name = "deep", malloc = function(self, n)
        for i, f in ipairs({ function() h:malloc(1) end, function() h:check() end, function() h:close() end,
            function() p:load(self.base) end, function() m:close() end, function() p:sbrk(16) end,
            function() other:malloc(1) end }) do
            told[i] = select(2, pcall(f)):gsub("^[^ ]+ ", "")
        end
        return self:grow(n)
    end })
    other = assert(vmem.heap.open(p, "implicit", { source = "mmap", limit = "64KiB" }))
    h = assert(vmem.heap.open(p, object))
    lu.assertNotNil(h:malloc(10))
    for i, text in ipairs({ "the heap is busy", "the heap is busy", "the heap is busy", "busy with allocator deep",
        "busy with allocator deep", "busy with allocator deep", "busy with allocator deep" }) do
        lu.assertStrContains(told[i], text)
    end
    lu.assertTrue(h:check())
    lu.assertNotNil(other:malloc(1))
    m:close()
end

-- One native heap's allocator may call another's: as deep as the C stack holds.
function TestHeapLuaErrors.testHeapsThatCallEachOther()
    local heaps = {}
    local function link(i)
        return allocator({ name = "link" .. i, malloc = function(self, n)
            if heaps[i + 1] then heaps[i + 1]:malloc(n) end
            return self:grow(n)
        end })
    end
    for i = 1, 20 do heaps[i] = vmem.heap.native(link(i)) end
    lu.assertNotNil(heaps[1]:malloc(10))
    lu.assertEquals(heaps[20]:stats().mallocs, 1)
    for i = 21, 300 do heaps[i] = vmem.heap.native(link(i)) end
    raises("are nested too deep", heaps[1].malloc, heaps[1], 10)
    lu.assertNotNil(heaps[290]:malloc(10))
end

-- self outside of a call, after its heap's end too; a thread that somebody closed.
function TestHeapLuaErrors.testWhatEscapes()
    local leak, next_of, thread
    local object = allocator({ name = "leaky", malloc = function(self, n)
        leak, thread = self, coroutine.running()
        local a = self:grow(64)
        self:set_block(a + 16, 32, true)
        next_of = self:row(a + 16)
        return self:grow(n)
    end })
    local h = vmem.heap.native(object)
    h:malloc(10)
    raises("methods of self are for its functions", leak.get, leak, leak.base)
    raises("methods of self are for its functions", next_of)
    h:close()
    raises("methods of self are for its functions", leak.grow, leak, 1)
    h = vmem.heap.native(object)
    collectgarbage() -- the first is gone
    collectgarbage()
    raises("methods of self are for its functions", leak.get, leak, leak.base)
    h:malloc(10)
    coroutine.close(thread)
    raises("its thread was resumed or closed", h.malloc, h, 10)
    pcall(coroutine.resume, thread)
    lu.assertNil((pcall(h.check, h)) and nil)
end

-- Looks: they may not write, and their errors spoil nothing.
function TestHeapLuaErrors.testLooks()
    local does, says = nil, function() return true end
    local h = vmem.heap.native(plain({
        blocks = function(self) return does(self) end,
        check = function(self) return says(self) end,
    }))
    local a = h:malloc(16)
    local function looks(text, f)
        does = f
        raises(text, h.blocks, h)
        raises(text, h.stats, h)
    end
    looks("allocator wrong: blocks: ", function() error("sorry") end)
    looks("it may only look, not write", function(self) self:put(self.base, 1) end)
    looks("it may only look, not grow", function(self) self:grow(1) end)
    looks("attempt to call", function() return 5 end)
    for _, answer in ipairs({ { 1, 16, true }, { a, 0, true }, { a, 1 << 40, true }, { a, 16, true, a + 8 },
        { a, "x" }, { a + 4096, 16, true } }) do
        does = function()
            local done
            return function()
                if done then return nil end
                done = true
                return table.unpack(answer)
            end
        end
        raises("allocator wrong: blocks: ", h.blocks, h)
        local ok, what = h:check()
        lu.assertFalse(ok)
        lu.assertStrContains(what, "allocator wrong: ")
    end
    does = function() return function() return a, 16, true end end -- it never ends
    lu.assertFalse((pcall(h.blocks, h)))
    for _, f in ipairs({ function() return false, "so it is", a end, function() return nil, "so it is", a end }) do
        says = f
        lu.assertEquals({ h:check() }, { false, "so it is", a })
    end
    says = function() end
    lu.assertEquals({ h:check() }, { false, "check says no", (h:range()) })
    says = function() error("no") end
    raises("allocator wrong: check", h.check, h)
    lu.assertNotNil(h:malloc(16))
end

function TestHeapLuaErrors.testRefusals()
    local object = plain({})
    local h = vmem.heap.native(object, { limit = 4096 })
    local a = assert(h:malloc(2000))
    local none, message, code = h:malloc(3000)
    lu.assertNil(none)
    lu.assertEquals(code, "ENOMEM")
    lu.assertStrContains(message, "above its limit of 4096")
    lu.assertNil((h:realloc(a, 1 << 40)))
    lu.assertNotNil(h:malloc(1000))
    lu.assertEquals(h:stats().refused, 2)
    -- An init that finds no memory, whatever it makes of that.
    for _, init in ipairs({ function(self) self:grow(8192) end, function(self) self.x = self:grow(8192) + 1 end }) do
        none, message, code = vmem.heap.native(plain({ init = init }), { limit = 4096 })
        lu.assertNil(none)
        lu.assertEquals(code, "ENOMEM")
        lu.assertStrContains(message, "above its limit of 4096")
    end
    raises("allocator wrong: init: ", vmem.heap.native, plain({ init = function() error("no") end }))
end

-- The heap's area is gone: the process dies, as with any other allocator. A handler that brings
-- it back saves it; while it runs, the heap is busy.
function TestHeapLuaErrors.testFaults()
    for _, mend in ipairs({ false, true }) do
        local m = vmem.machine({ preset = "core-i7", dram = "4MiB" })
        local p = m:spawn()
        local object = plain({ malloc = function(self, n)
            local a = self:grow(n)
            self:put(self.head, self:get(self.head) + 1)
            return a
        end })
        local h = assert(vmem.heap.open(p, object, { source = "mmap", limit = "64KiB" }))
        h:malloc(10)
        local base = h:range()
        p:munmap(base, "64KiB")
        local busy
        p:sigaction("SIGSEGV", mend and function()
            busy = select(2, pcall(h.malloc, h, 1))
            return p:mmap({ addr = base, length = "64KiB", flags = "fixed|private|anonymous" }) == base
        end or nil)
        local ok, result = pcall(h.malloc, h, 10)
        lu.assertEquals(ok, mend)
        lu.assertEquals(p:alive(), mend)
        if mend then
            lu.assertStrContains(busy, "the heap is busy")
        else
            lu.assertEquals(result.signal, "SIGSEGV")
            raises("ended", h.malloc, h, 1)
        end
        lu.assertTrue(m:check())
        m:close()
    end
end

-- A built-in one, too, tells of a fault in a look at a block's size.
function TestHeapLuaErrors.testAFaultInUsableSize()
    local m = vmem.machine({ preset = "core-i7", dram = "4MiB" })
    local p = m:spawn()
    local h = assert(vmem.heap.open(p, "implicit", { source = "mmap", limit = "64KiB" }))
    local a = h:malloc(10)
    p:munmap(h:range(), "64KiB")
    local ok, fault = pcall(h.usable_size, h, a)
    lu.assertFalse(ok)
    lu.assertEquals(fault.signal, "SIGSEGV")
    m:close()
end

function TestHeapLuaErrors.testDefinitions()
    local function none() end
    raises("vmem.heap.allocator takes a table, but got a nil", allocator)
    raises("name is missing", allocator, { malloc = none })
    raises("allocator x lacks the function malloc", allocator, { name = "x" })
    raises("there is no field mallok", allocator, { name = "x", mallok = none })
    raises("malloc is 5, but takes a function", allocator, { name = "x", malloc = 5 })
    raises("has realloc and resize", allocator, { name = "x", malloc = none, realloc = none, resize = none })
    raises("instructions is -1", allocator, { name = "x", malloc = none, instructions = -1 })
    raises("params has the name \"get\", which is taken", allocator,
        { name = "x", malloc = none, params = { get = 1 } })
    raises("params has the name 1, which is none", allocator, { name = "x", malloc = none, params = { 5 } })
    local object = allocator({ name = "x", malloc = none, params = { k = 3 } })
    raises("heap x: there is no option kk (there are align, chunk, k, limit, source, word)", vmem.heap.native, object,
        { kk = 1 })
    raises("heap x: k is \"y\", but takes a integer, as 3", vmem.heap.native, object, { k = "y" })
    raises("word is 5", vmem.heap.native, object, { word = 5 })
    raises("takes a table of options", vmem.heap.native, object, 5)
end
