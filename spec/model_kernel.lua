-- The second machine's kernel part of all spaces, written from docs/model.md: where it
-- is, the tables that all spaces share, a stack for each process.
--
--    kernel.boot(m)          m.kernel, or nil where there is none
--    kernel.enter(m, p)      its entries in the root of p's space
--    kernel.stack(m, p)      p's kernel stack; false: no memory
--    kernel.drop(m, p)       and its end
local kernel = {}

local function index_entry(m, root, i) return root + i * m.format.bytes end

local function take(m, n)
    local k = m.kernel
    for stop = k.mark, n, -1 do
        local free = true
        for i = stop - n, stop - 1 do free = free and not m.frames[i] end
        if free then
            for i = stop - n, stop - 1 do m.frames[i] = { use = "kernel" } end
            k.mark = stop - n
            return k.mark
        end
    end
    k.mark = 0
    return m:take_frames(n, 1, "kernel")
end

local function give(m, ppn, n)
    m:give_frames(ppn, n)
    if ppn + n <= m.kernel.low // m.page then m.kernel.mark = math.max(m.kernel.mark, ppn + n) end
end

-- Where va's entry at a level is in the kernel's tables; nil: no memory for one.
local function make(m, va, level)
    local at = m.kernel.root
    for k = m.levels - 1, level + 1, -1 do
        local entry = m:entry(at, va, k)
        if not m.pte[entry] then
            local below = take(m, m:table_frames(k - 1))
            if not below then return nil end
            local pte = below * m.page
            if k == m.levels - 1 then
                for _, p in pairs(m.spaces) do m.pte[m:entry(p.root, va, k)] = { table = pte } end
            end
            m.pte[entry] = { table = pte }
        end
        at = m.pte[entry].table
    end
    return m:entry(at, va, level)
end

-- The plan of the kernel's part: nil where there is no room for one.
local function plan(m)
    local top, low = m.levels - 1, m.o.kernel.low // m.page * m.page
    local n, canonical = 1 << m.bits[top], m.format.canonical
    if not m.paging or low == 0 then return nil end
    if m.levels < 2 or n < 16 or not canonical and m.o.paging.va_bits ~= 32 then return nil end
    local k = { low = low, mark = low // m.page, first = m.user_top // m.span[top] }
    local base, stop = n - 2, n
    if not canonical then base, stop = n * 3 // 4, n - 1
    elseif not m.format.read then base, stop = n // 2 + n // 32 + 1, n - 2 end
    local alike = true
    for i = 0, top do alike = alike and m.bits[i] == m.bits[top] end
    if stop < n and alike then k.self = stop end
    local room = (stop - base) * m.span[top] - low
    if room < 2 * m.page or low >= m.o.dram.size or low > m.low_frames * m.page then return nil end
    local tables = m:table_frames(top)
    for i = 0, top - 1 do
        tables = tables + ((low - 1) // (m.span[i] << m.bits[i]) + 1) * m:table_frames(i)
    end
    if (tables + 1) * 4 > m.frame_count then return nil end
    k.base, k.base_index, k.stacks = base * m.span[top], base, {}
    k.slots = math.min(room // (2 * m.page), 65536, m.frame_count)
    return k
end

function kernel.boot(m)
    m.kernel = plan(m)
    local k, top = m.kernel, m.levels - 1
    if not k then return end
    k.root = take(m, m:table_frames(top)) * m.page
    local pa = 0
    while pa < k.low do
        local level = math.min(m.format.large or 0, top)
        while level > 0 and (pa % m.span[level] ~= 0 or k.low - pa < m.span[level]) do level = level - 1 end
        m.pte[make(m, pa, level)] = { ppn = pa // m.page, grants = {} }
        pa = pa + m.span[level]
    end
    for i = 0, (k.low - 1) // m.span[top] do
        local entry = index_entry(m, k.root, i)
        m.pte[index_entry(m, k.root, k.base_index + i)], m.pte[entry] = m.pte[entry], nil
    end
end

function kernel.enter(m, p)
    local k = m.kernel
    if not k then return end
    for i = k.first, (1 << m.bits[m.levels - 1]) - 1 do
        local pte = m.pte[index_entry(m, k.root, i)]
        if i == k.self then pte = { table = p.root } end
        m.pte[index_entry(m, p.root, i)] = pte and { table = pte.table, ppn = pte.ppn, grants = pte.grants }
    end
end

-- Empty tables on the way to va go.
local function prune(m, va)
    for level = 0, m.levels - 2 do
        local at, entry = m.kernel.root, nil
        for k = m.levels - 1, level + 1, -1 do
            entry = at and m:entry(at, va, k)
            at = entry and m.pte[entry] and m.pte[entry].table
        end
        if at then
            for i = 0, (1 << m.bits[level]) - 1 do
                if m.pte[index_entry(m, at, i)] then return end
            end
            m.pte[entry] = nil
            for _, p in pairs(m.spaces) do
                if level + 1 == m.levels - 1 then m.pte[m:entry(p.root, va, level + 1)] = nil end
                m:forget_tables(p, va, level + 1)
            end
            give(m, at // m.page, m:table_frames(level))
        end
    end
end

local function place(m, slot) return m.kernel.base + m.kernel.low + (2 * slot + 1) * m.page end

function kernel.stack(m, p)
    local k, slot = m.kernel, 0
    if not k then return true end
    while k.stacks[slot] do slot = slot + 1 end
    if slot >= k.slots then return false end
    local entry = make(m, place(m, slot), 0)
    local ppn = entry and take(m, 1)
    if not ppn then
        prune(m, place(m, slot))
        return false
    end
    m.pte[entry] = { ppn = ppn, grants = {} }
    k.stacks[slot], p.slot = { entry = entry, ppn = ppn }, slot
    return true
end

function kernel.drop(m, p)
    if not p.slot then return end
    local stack = m.kernel.stacks[p.slot]
    m.pte[stack.entry], m.kernel.stacks[p.slot] = nil, nil
    give(m, stack.ppn, 1)
    prune(m, place(m, p.slot))
end

return kernel
