-- Damaged traces: bytes cut off, bits flipped, pieces moved, of every format.
--
--    lua5.4 spec/fuzz/trace_fuzz.lua [CASES [SEED]]      default: 100000, the time
--
-- What must hold: nothing crashes; damage is an error that names the file; a
-- .vmt file and a compressed one never give other content than was written;
-- a cut .vmt or compressed file is always an error. spec/trace_spec.lua runs a few
-- thousand cases of this.

local script = ... ~= "fuzz.trace_fuzz"
if script then
    local root = (arg[0]:match("^(.*/)") or "./") .. "../../"
    package.path = root .. "lua/?.lua;" .. root .. "spec/?.lua;" .. package.path
    package.cpath = root .. "build/?.so;" .. package.cpath
end

local trace = require("vmem.trace")

local fuzz = {}

-- A generator of our own, so that a seed means the same everywhere.
function fuzz.random(seed)
    local s = seed * 2 + 1
    local function bits()
        s = s * 6364136223846793005 + 1442695040888963407
        local x = s ~ (s >> 33)
        x = x * -49064778989728563
        return x ~ (x >> 29)
    end
    local rng = {}
    function rng.bits() return bits() end
    function rng.below(n) return (bits() >> 1) % n end
    function rng.pick(list) return list[rng.below(#list) + 1] end
    return rng
end

local kinds = { "fetch", "load", "store", "modify" }
local events = {
    { type = "mmap", args = { "addr", "length", "prot", "flags", "offset" } },
    { type = "munmap", args = { "addr", "length" } },
    { type = "mprotect", args = { "addr", "length", "prot" } },
    { type = "mremap", args = { "addr", "length", "new_addr", "new_length" } },
    { type = "brk", args = { "addr" } },
    { type = "fork", args = { "child" } },
    { type = "thread", args = { "child" } },
    { type = "exec", args = {} },
    { type = "exit", args = { "status" } },
}

local function random_event(rng)
    local row = rng.pick(events)
    local event = { type = row.type, task = rng.below(65536) }
    for _, name in ipairs(row.args) do event[name] = rng.bits() end
    if rng.below(2) == 0 then event.name = ("/lib/%d"):format(rng.below(1000)):rep(rng.below(4)) end
    return event
end

-- Records of all kinds: streams as a program makes them, with wild ones between.
function fuzz.records(rng, n, plain)
    local list, pc, data = {}, rng.bits() & 0xffffff, rng.bits()
    for i = 1, n do
        local wild = rng.below(10) == 0
        if not plain and rng.below(50) == 0 then
            list[i] = { "event", random_event(rng), 0, rng.below(5) }
        elseif wild then
            local size = rng.below(3) == 0 and 1 + ((rng.bits() >> 32) % 0xffffffff) or 1 + rng.below(64)
            list[i] = { rng.pick(kinds), rng.bits() >> rng.below(64), size, plain and 0 or rng.below(65536) }
        elseif rng.below(3) > 0 then
            if rng.below(8) == 0 then pc = pc + rng.below(2000) - 1000 end
            local size = 1 + rng.below(9)
            list[i] = { "fetch", pc, size, 0 }
            pc = pc + size
        else
            data = data + 8 * (rng.below(200) - 100)
            list[i] = { kinds[2 + rng.below(3)], data, 1 << rng.below(5), 0 }
        end
    end
    return list
end

local function show_event(v)
    local names, parts = {}, {}
    for name in pairs(v) do names[#names + 1] = name end
    table.sort(names)
    for i, name in ipairs(names) do parts[i] = name .. "=" .. tostring(v[name]) end
    return table.concat(parts, " ")
end

-- One line a record, for comparing.
function fuzz.line(kind, addr, size, task)
    if kind == "event" then return ("event %s %d"):format(show_event(addr), task) end
    return ("%s %x %d %d"):format(kind, addr, size, task)
end

function fuzz.lines(list)
    local out = {}
    for i, r in ipairs(list) do out[i] = fuzz.line(r[1], r[2], r[3], r[4] or 0) end
    return table.concat(out, "\n")
end

function fuzz.read(t)
    local out = {}
    for kind, addr, size, task in t:each() do out[#out + 1] = fuzz.line(kind, addr, size, task) end
    return table.concat(out, "\n")
end

function fuzz.write_file(path, bytes)
    local f = assert(io.open(path, "wb"))
    f:write(bytes)
    f:close()
end

function fuzz.read_file(path)
    local f = assert(io.open(path, "rb"))
    local bytes = f:read("a")
    f:close()
    return bytes
end

-- The writers of text formats: the bytes, and the records that they mean.
fuzz.writers = {}

function fuzz.writers.lackey(rng, n)
    local marks = { fetch = "I ", load = " L", store = " S", modify = " M" }
    local list, out = fuzz.records(rng, n, true), { "==1== Lackey\n" }
    for i, r in ipairs(list) do
        out[i + 1] = ("%s %08x,%d\n"):format(marks[r[1]], r[2], r[3])
        if rng.below(100) == 0 then out[i + 1] = out[i + 1] .. "==1== a line of Valgrind's\n" end
    end
    return table.concat(out), list
end

function fuzz.writers.din(rng, n)
    local marks = { fetch = "2", load = "0", store = "1", modify = "1" }
    local list, out = fuzz.records(rng, n, true), {}
    for i, r in ipairs(list) do
        if r[1] == "modify" then r[1] = "store" end
        if rng.below(4) == 0 then
            r[3] = 4
            out[i] = ("%s %x\n"):format(marks[r[1]], r[2])
        else
            out[i] = ("%s 0x%X %x\n"):format(marks[r[1]], r[2], r[3])
        end
    end
    return table.concat(out), list
end

function fuzz.writers.pages(rng, n)
    local list, out = {}, {}
    for i = 1, n do
        local page = rng.bits() >> (12 + rng.below(52))
        list[i] = { "load", page * 4096, 1, 0 }
        out[i] = rng.pick({ "0x%x", "%d" }):format(page) .. rng.pick({ " ", "\n", "\t", "\r\n" })
    end
    return "7 7 7 7\n" .. table.concat(out), { { "load", 28672, 1, 0 }, { "load", 28672, 1, 0 },
        { "load", 28672, 1, 0 }, { "load", 28672, 1, 0 }, table.unpack(list) }
end

function fuzz.writers.arc(rng, n)
    local list, out, first = {}, {}, rng.below(1000)
    for i = 1, n + 1 do
        local block, count = rng.bits() >> (13 + rng.below(50)), rng.below(20)
        if count > 0 then list[#list + 1] = { "load", block * 4096, count * 4096, 0 } end
        out[i] = ("%d %d 0 %d\n"):format(block, count, first + i)
    end
    return table.concat(out), list
end

function fuzz.writers.lirs(rng, n)
    local list, out = {}, { "*\n" }
    for i = 1, n do
        local block = rng.bits() >> (12 + rng.below(52))
        list[i] = { "load", block * 4096, 1, 0 }
        out[i + 1] = ("%d%s\n"):format(block, rng.pick({ "", "\n*", " \r", "\n" }))
    end
    return table.concat(out), list
end

-- Numbers here; spec/objects_spec.lua has names and quotes.
function fuzz.writers.csv(rng, n)
    local list, out = {}, { rng.pick({ "time,obj_id,size,op\n", "TIME, Key ,size,Operation\r\n" }) }
    for i = 1, n do
        local object, writes = rng.bits() >> (12 + rng.below(52)), rng.below(3) == 0
        list[i] = { writes and "store" or "load", object * 4096, 1, 0 }
        out[i + 1] = ("%d,%d, %d,%s\n"):format(i, object, rng.below(9999), writes and "set" or "get")
    end
    return table.concat(out), list
end

function fuzz.writers.oracle(rng, n)
    local list, objects, next, out = {}, {}, {}, {}
    for i = 1, n do objects[i] = rng.below(2) == 0 and rng.below(50) or rng.bits() >> (12 + rng.below(50)) end
    for i = n, 1, -1 do
        list[i] = { "load", objects[i] * 4096, 1, 0 }
        out[i] = ("<I4I8I4i8"):pack(i // 3, objects[i], rng.below(1 << 32), next[objects[i]] or -1)
        next[objects[i]] = i
    end
    return table.concat(out), list
end

function fuzz.writers.champsim(rng, n)
    local list, out = {}, {}
    local function operand(kind, into)
        local a = rng.below(2) == 0 and 0 or rng.bits()
        if a ~= 0 then into[#into + 1] = { kind, a, 8, 0 } end
        return a
    end
    for i = 1, n do
        local ip, loads, stores = rng.bits() | 1, {}, {}
        out[i] = ("<I8BBc6I8I8I8I8I8I8"):pack(ip, rng.below(2), rng.below(2), ("\0"):rep(6),
            operand("store", stores), operand("store", stores), operand("load", loads),
            operand("load", loads), operand("load", loads), operand("load", loads))
        list[#list + 1] = { "fetch", ip, 4, 0 }
        table.move(loads, 1, #loads, #list + 1, list)
        table.move(stores, 1, #stores, #list + 1, list)
    end
    return table.concat(out), list
end

function fuzz.writers.vmt(rng, n, path)
    local list = fuzz.records(rng, n)
    assert(trace.new(list):save(path))
    return fuzz.read_file(path), list
end

local function compressed(tool)
    return function(rng, n, path)
        local bytes, list = fuzz.writers.lackey(rng, n)
        fuzz.write_file(path, bytes)
        local pipe = io.popen(tool .. " -c < '" .. path .. "' 2>/dev/null")
        local packed = pipe and pipe:read("a") or ""
        if pipe then pipe:close() end
        return packed, list
    end
end
fuzz.writers.gzip, fuzz.writers.zstd, fuzz.writers.xz = compressed("gzip"), compressed("zstd"), compressed("xz")

-- Formats in which no damage may go unseen.
fuzz.exact = { vmt = true, gzip = true, zstd = true, xz = true }
fuzz.formats = { "vmt", "lackey", "din", "pages", "arc", "lirs", "csv", "oracle", "champsim", "gzip", "zstd", "xz" }

-- One damaged variant; true as second result where it is a mere cut.
function fuzz.damage(rng, bytes)
    local n = #bytes
    local way = rng.below(6)
    if way <= 1 then return bytes:sub(1, rng.below(n)), true end
    if way <= 3 then
        local at, bit = rng.below(n) + 1, 1 << rng.below(8)
        return bytes:sub(1, at - 1) .. string.char(bytes:byte(at) ~ bit) .. bytes:sub(at + 1)
    end
    local at, len = rng.below(n) + 1, rng.below(16) + 1
    if way == 4 then return bytes:sub(1, at - 1) .. bytes:sub(at + len) end
    return bytes:sub(1, at) .. string.char(rng.below(256)):rep(len) .. bytes:sub(at + len)
end

-- Read a damaged file; raises where a promise is broken.
function fuzz.check(path, format, damaged, cut, expected, original)
    fuzz.write_file(path, damaged)
    local t, message, code = trace.open(path)
    if not t then
        assert(code == "EFORMAT", "open failed with " .. tostring(code))
        assert(message:find(path, 1, true), "the message does not name the file: " .. message)
        return
    end
    local ok, got = pcall(fuzz.read, t)
    t:close()
    if not ok then
        assert(type(got) == "string" and got:find(path, 1, true), "the error does not name the file: " .. tostring(got))
        return
    end
    if fuzz.exact[format] and damaged ~= original then
        assert(not cut, "a cut file was read as if whole")
        assert(got == expected, "the content differs, and no error was raised")
    end
end

-- `cases` damaged files; returns how many of them were in each format.
function fuzz.run(cases, seed, per_file)
    local path, done = os.tmpname(), {}
    local ok, message = pcall(function()
        local made = 0
        while made < cases do
            local file_seed = seed + made
            local rng = fuzz.random(file_seed)
            local format = fuzz.formats[made // per_file % #fuzz.formats + 1]
            local bytes, list = fuzz.writers[format](rng, 1 + rng.below(300), path)
            local expected = fuzz.lines(list)
            for i = 1, #bytes > 0 and per_file or 0 do -- empty: the tool is not installed
                local damaged, cut = fuzz.damage(rng, bytes)
                local fine, why = pcall(fuzz.check, path, format, damaged, cut, expected, bytes)
                if not fine then
                    error(("format %s, seed %d, case %d: %s"):format(format, file_seed, i, why), 0)
                end
                done[format] = (done[format] or 0) + 1
            end
            made = made + per_file
        end
    end)
    os.remove(path)
    os.remove(path .. ".part")
    if not ok then error(message, 0) end
    return done
end

if script then
    local cases, seed = tonumber(arg[1]) or 100000, tonumber(arg[2]) or os.time()
    print(("trace_fuzz: %d cases, seed %d"):format(cases, seed))
    for format, n in pairs(fuzz.run(cases, seed, 50)) do print(("%-10s %d"):format(format, n)) end
end

return fuzz
