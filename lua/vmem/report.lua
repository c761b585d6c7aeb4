--- What a run did, told to a person, a program (JSON) or a spreadsheet (CSV).
--
-- A run is { preset, options, memory, rows, stats, replay }: the machine's options
-- (nested) and frames, the core's rows of counters (name, unit, doc), the counters
-- of the run (nested) and what replay says of itself. Which TLBs, caches and causes
-- of cycles there are, and their order, comes from the rows. Tables are at most 100
-- columns wide; one run gets a page, several get columns.

local json = require "dkjson"
local text = require "vmem.text"

local report = {}

--- Gather a run while its machine is alive.
---@param m vmem.Machine
---@param counters table what Process:replay gave
---@param preset? string what the machine is called
---@param name? string what the run is called in a column; its policy
---@return table run
function report.take(m, counters, preset, name)
  local stats = {}
  for k, v in pairs(counters) do stats[k] = v end
  stats.replay = nil
  return { preset = preset, label = name, options = m:options(), memory = m:meminfo(), rows = m:_stat_rows(),
    stats = stats, replay = counters.replay }
end

--- A counter by its dotted name.
local function counter(run, name)
  local at = run.stats
  for part in name:gmatch("[^.]+") do at = at and at[part] end
  return at
end

--- Names under a prefix, in the core's order: parts(run, "tlb") gives l1i, l1d, l2.
local function parts(run, prefix)
  local list, seen = {}, {}
  for _, row in ipairs(run.rows) do
    local name = row.name:match("^" .. prefix .. "%.([^.]+)")
    if name and not seen[name] then
      seen[name] = true
      list[#list + 1] = name
    end
  end
  return list
end

--- Where page walks found their entries: cache levels, then DRAM.
---@return { name: string, n: integer }[]
local function walk_sources(run)
  local list = {}
  for _, level in ipairs(parts(run, "cache")) do
    local walk = run.stats.cache[level].walk
    if walk.reads > 0 then list[#list + 1] = { name = level, n = walk.reads - walk.read_misses } end
  end
  list[#list + 1] = { name = "DRAM", n = run.stats.dram.walk.reads }
  return list
end

local function pte_reads(run)
  local n = 0
  for _, reads in pairs(run.stats.mmu.pte_reads or {}) do n = n + reads end
  return n
end

local function dram_reads(run)
  local d = run.stats.dram
  return d.data.reads + d.fetch.reads + d.walk.reads
end

--- The causes of cycles: names, what they are, cycles of each, and the sum.
local function causes(run)
  local list, cycles = {}, {}
  for _, row in ipairs(run.rows) do
    local name = row.name:match("^cycles%.(.+)$")
    if name and name ~= "total" then
      list[#list + 1] = { name = name, doc = row.doc, n = run.stats.cycles[name] }
      cycles[#cycles + 1] = run.stats.cycles[name]
    end
  end
  return list, cycles
end

-- --- the machine in a few lines -----------------------------------------------------

local function geometries(o, group, form)
  local list = {}
  for _, level in ipairs { "l1i", "l1d", "l1", "l2", "l3", "l4" } do
    local c = o[group][level]
    if type(c) == "table" then list[#list + 1] = form(level, c) end
  end
  return #list > 0 and table.concat(list, ", ") or "none"
end

--- The machine of a run, line by line.
---@param run table
---@param policy string what to say of it
---@return string[]
local function machine_lines(run, policy)
  local o, lines = run.options, {}
  local function line(name, s) lines[#lines + 1] = ("  %-8s %s"):format(name, text.wrap(s, 88, (" "):rep(11))) end
  if o.paging.enabled then
    line("paging", ("%s: %d-bit addresses, pages of %s, index bits %s"):format(o.paging.pte, o.paging.va_bits,
      text.bytes(o.paging.page), table.concat(o.paging.levels, "+")))
    line("TLBs", geometries(o, "tlb", function(level, c)
      return c.entries > 0 and ("%s %d entries %d-way"):format(level, c.entries, c.ways) or nil
    end))
  else
    line("paging", "off: a virtual address is a physical one")
  end
  local sizes = {}
  line("caches", geometries(o, "cache", function(level, c)
    if c.size == 0 then return nil end
    if not sizes[c.line] then
      sizes[c.line] = true
      sizes[#sizes + 1] = c.line
    end
    return ("%s %s %d-way"):format(level, text.bytes(c.size), c.ways)
  end) .. (#sizes > 0 and ("; lines of %s bytes"):format(table.concat(sizes, " or ")) or ""))
  if o.cpus > 1 then line("cpus", o.cpus .. ", each with TLBs and all but the outermost caches of its own") end
  line("memory", ("DRAM %s, swap %s, policy %s%s"):format(text.bytes(o.dram.size),
    o.swap == 0 and "none" or text.bytes(o.swap), policy,
    o.resident > 0 and ("; at most %s in frames"):format(text.count(o.resident, "page")) or ""))
  return lines
end

-- --- one run: a page ----------------------------------------------------------------

local number, percent = text.number, text.percent

local WIDTH, NAME, FIGURE, RATE = 100, 32, 16, 12
local BAR = WIDTH - NAME - 2 * FIGURE - RATE - 2

local Page = {}
Page.__index = Page

function Page:heading(s) self[#self + 1] = self.style.bold and "\27[1m" .. s .. "\27[0m" or s end

--- A row of a name, up to two figures, a rate, and a bar for a of b.
function Page:row(name, x, y, rate, a, b)
  local s = text.left("  " .. name, NAME) .. text.right(x or "", FIGURE) .. text.right(y or "", FIGURE)
    .. text.right(rate or "", RATE) .. "  " .. (a and text.bar(a, b, BAR, self.style.blocks) or "")
  self[#self + 1] = (s:gsub("%s+$", ""))
end

--- A section's first line: what it is about, and what its columns hold.
function Page:section(name, x, y, rate)
  self[#self + 1] = ""
  local s = text.left(name, NAME) .. text.right(x or "", FIGURE) .. text.right(y or "", FIGURE)
    .. text.right(rate or "", RATE)
  self:heading((s:gsub("%s+$", "")))
end

--- Rows of a whole and its parts, with shares that add up to 100 %.
---@param list { name: string, n: integer }[]
---@param extra? fun(i: integer): string a second figure
function Page:shares(list, extra)
  local cut, all = {}, 0
  for i, item in ipairs(list) do
    cut[i], all = item.n, all + item.n
  end
  local tenths = text.shares(cut, all, 3)
  for i, item in ipairs(list) do
    self:row(item.name, number(item.n), extra and extra(i), all > 0 and text.scaled(tenths[i], 1) .. " %" or "-",
      item.n, all)
  end
end

local function write_accesses(page, run)
  local a = run.stats.access
  page:section("Accesses", "number", "", "share")
  page:shares {
    { name = "instruction fetches", n = a.fetches },
    { name = "loads", n = a.loads },
    { name = "stores", n = a.stores },
  }
  page:row("all", number(a.total))
  if a.modifies > 0 then page:row("loads with their store in one", number(a.modifies)) end
  if a.line_straddles > 0 then page:row("across two lines or more", number(a.line_straddles)) end
  if a.page_straddles > 0 then page:row("across two pages or more", number(a.page_straddles)) end
end

local function write_translation(page, run)
  local s = run.stats
  if not run.options.paging.enabled then return end
  page:section("Translation", "lookups", "hits", "hit rate")
  for _, group in ipairs { { "tlb", "TLB " }, { "pwc", "walk cache " } } do
    for _, level in ipairs(parts(run, group[1])) do
      local n = s[group[1]][level]
      page:row(group[2] .. level, number(n.lookups), number(n.hits), percent(n.hits, n.lookups), n.hits, n.lookups)
    end
  end
  local reads = pte_reads(run)
  page:row("page walks", number(s.mmu.walks))
  page:section("Page-table entries read by walks", "entries", "per walk", "share")
  local walks = math.max(1, s.mmu.walks)
  local sources, cut = walk_sources(run), {}
  for i, from in ipairs(sources) do
    cut[i], from.name = from.n, "found in " .. from.name
  end
  local per, average = text.shares(cut, walks, 2)
  page:shares(sources, function(i) return text.scaled(per[i], 2) end)
  page:row("all", number(reads), text.scaled(average, 2))
end

local function write_caches(page, run)
  local s = run.stats
  local levels = parts(run, "cache")
  page:section(#levels > 0 and "Caches" or "Memory", #levels > 0 and "lookups" or "lines", #levels > 0 and "hits",
    #levels > 0 and "hit rate")
  for _, level in ipairs(levels) do
    local n = s.cache[level]
    page:row(level, number(n.accesses), number(n.hits), percent(n.hits, n.accesses), n.hits, n.accesses)
  end
  page:row("lines read from DRAM", number(dram_reads(run)))
  page:row("lines written to DRAM", number(s.dram.writes))
end

local function write_faults(page, run)
  local k, disk = run.stats.kernel, run.stats.disk
  if not run.options.paging.enabled then return end
  page:section("Page faults", "number", "", "share")
  page:shares {
    { name = "minor: without the disk", n = k.minor_faults },
    { name = "major: a page from the disk", n = k.major_faults },
  }
  page:row("all", number(k.faults))
  if k.evictions > 0 then
    page:section("Pages that lost their frame", "number", "", "share")
    page:shares {
      { name = "clean: dropped", n = k.clean_drops },
      { name = "dirty: written to swap", n = k.swap_outs },
    }
    page:row("all", number(k.evictions))
  end
  if disk.reads + disk.writes > 0 then
    page:section("Disk", "blocks")
    page:row("read", number(disk.reads))
    page:row("written", number(disk.writes))
  end
end

local function write_cycles(page, run)
  local list, cycles = causes(run)
  local per, average = text.shares(cycles, run.stats.access.total, 2)
  page:section("Where the cycles went", "cycles", "per access", "share")
  page:shares(list, function(i) return text.scaled(per[i], 2) end)
  page:row("all", number(run.stats.cycles.total), text.scaled(average, 2))
  local disk
  for i, cause in ipairs(list) do disk = cause.name == "disk" and cause.n > 0 and i or disk end
  if disk then
    page:row("all but the disk", number(run.stats.cycles.total - cycles[disk]), text.scaled(average - per[disk], 2))
  end
end

local function write_processors(page, run)
  local n, s, list = run.options.cpus, run.stats, {}
  if n == 1 then return end
  for i = 0, n - 1 do list[i + 1] = { name = "processor " .. i, n = s["cpu" .. i].cycles } end
  page:section("Processors", "cycles", "interrupts", "share")
  page:shares(list, function(i) return number(s["cpu" .. i - 1].interrupts) end)
  if s.coherence and s.cache then
    page:row("lines lost to others' writes", number(s.coherence.invalidations))
    page:row("dirty lines others asked for", number(s.coherence.interventions))
  end
end

local sections = { write_accesses, write_translation, write_caches, write_processors, write_faults, write_cycles }

-- --- several runs: columns -----------------------------------------------------------

local COLUMN = 16

--- What is compared: sections { title, rows of { name, function(run) -> text } }.
local function comparison(run)
  local list = {}
  local function section(title) list[#list + 1] = { title = title } end
  local function add(name, f)
    local rows = list[#list]
    rows[#rows + 1] = { name, f }
  end
  local function count(name, dotted)
    add(name, function(r) return number(counter(r, dotted)) end)
  end
  local function hit_rates(group, prefix)
    for _, level in ipairs(parts(run, group)) do
      add(prefix .. level, function(r)
        local n = r.stats[group][level]
        return percent(n.hits, n.lookups or n.accesses)
      end)
    end
  end
  local paging = run.options.paging.enabled
  if paging then
    section "TLB hit rates"
    hit_rates("tlb", "")
    hit_rates("pwc", "walk cache ")
    section "Page walks"
    count("walks", "mmu.walks")
    add("entries they read", function(r) return number(pte_reads(r)) end)
    for i, from in ipairs(walk_sources(run)) do
      add("  found in " .. from.name, function(r) return percent(walk_sources(r)[i].n, pte_reads(r)) end)
    end
  end
  section(#parts(run, "cache") > 0 and "Cache hit rates" or "Memory")
  hit_rates("cache", "")
  add("lines read from DRAM", function(r) return number(dram_reads(r)) end)
  count("lines written to DRAM", "dram.writes")
  if paging then
    section "Page faults"
    count("minor: without the disk", "kernel.minor_faults")
    count("major: a page from the disk", "kernel.major_faults")
    section "Pages that lost their frame"
    count("clean: dropped", "kernel.clean_drops")
    count("dirty: written to swap", "kernel.swap_outs")
  end
  section "Cycles per access"
  for i, cause in ipairs((causes(run))) do
    add(cause.name, function(r)
      local _, cycles = causes(r)
      return text.scaled(text.shares(cycles, r.stats.access.total, 2)[i], 2)
    end)
  end
  add("all", function(r)
    local _, cycles = causes(r)
    local _, average = text.shares(cycles, r.stats.access.total, 2)
    return text.scaled(average, 2)
  end)
  return list
end

local function label(run) return run.label or run.options.policy end

--- Columns of at most as many runs as fit beside each other.
---@param wanted? table<string, boolean> titles of sections; all
local function write_columns(page, runs, wanted)
  local list, fit = comparison(runs[1]), (WIDTH - NAME) // COLUMN
  for first = 1, #runs, fit do
    local last = math.min(#runs, first + fit - 1)
    local function line(name, cell)
      local cells = {}
      for i = first, last do cells[#cells + 1] = text.right(cell(runs[i]), COLUMN) end
      return text.left(name, NAME) .. table.concat(cells)
    end
    local named = false
    for _, section in ipairs(list) do
      if not wanted or wanted[section.title] then
        page[#page + 1] = ""
        page:heading(named and section.title or line(section.title, label))
        named = true
        for _, row in ipairs(section) do page[#page + 1] = line("  " .. row[1], row[2]) end
      end
    end
  end
end

--- The averages as bars, the shortest the best.
local function write_race(page, runs)
  local most = 1
  for _, run in ipairs(runs) do most = math.max(most, run.stats.cycles.total) end
  page:section("Cycles of all accesses")
  for _, run in ipairs(runs) do
    local n = run.stats.cycles.total
    page[#page + 1] = text.left("  " .. label(run), 14) .. text.right(number(n), NAME + COLUMN - 14) .. "  "
      .. text.bar(n, most, WIDTH - NAME - COLUMN - 2, page.style.blocks)
  end
end

-- --- the whole report ------------------------------------------------------------------

local function new_page(style) return setmetatable({ style = style or {} }, Page) end

--- The machine of some runs that differ in policy at most, as indented lines.
---@param runs table[]
---@return string
function report.machine(runs)
  local names, seen = {}, {}
  for _, run in ipairs(runs) do
    local name = run.options.policy
    if not seen[name] then names[#names + 1] = name end
    seen[name] = true
  end
  return table.concat(machine_lines(runs[1], table.concat(names, ", ")), "\n")
end

--- Runs side by side.
---@param runs table[]
---@param style? { blocks?: boolean, bold?: boolean }
---@param titles? string[] the sections wanted; all
---@return string
function report.columns(runs, style, titles)
  local page, wanted = new_page(style), titles and {}
  for _, title in ipairs(titles or {}) do wanted[title] = true end
  write_columns(page, runs, wanted)
  return table.concat(page, "\n", 2)
end

--- All cycles of some runs as bars.
---@param runs table[]
---@param style? { blocks?: boolean, bold?: boolean }
---@return string
function report.race(runs, style)
  local page = new_page(style)
  write_race(page, runs)
  return table.concat(page, "\n", 2)
end

--- What runs of one trace did, as text: a page of one, columns of several.
---@param name string of the trace or program
---@param runs table[] as report.take gives them
---@param style? { blocks?: boolean, bold?: boolean }
---@return string
function report.text(name, runs, style)
  local page, r = new_page(style), runs[1].replay
  page:heading(("%s through %s: %s%s"):format(name, runs[1].preset or "a machine of its own",
    text.count(r.accesses, "access", "accesses"),
    r.processes > 1 and " of " .. text.count(r.processes, "process", "processes") or ""))
  page[2] = report.machine(runs)
  if #runs == 1 then
    for _, write in ipairs(sections) do write(page, runs[1]) end
  else
    write_columns(page, runs)
    write_race(page, runs)
  end
  if r.refused > 0 then
    page[#page + 1] = "\n" .. text.count(r.refused, "change of the program's address space",
      "changes of the program's address space") .. " had no place in this machine and were left out."
  end
  return table.concat(page, "\n")
end

--- The same as a table that keeps every counter, for JSON.
---@param name string
---@param runs table[]
---@return table
function report.object(name, runs)
  local list = {}
  for i, run in ipairs(runs) do
    list[i] = { preset = run.preset, policy = run.options.policy, options = run.options, memory = run.memory,
      stats = run.stats, replay = run.replay }
  end
  return { trace = name, runs = list }
end

--- JSON with the keys in order of their names; whole numbers stay whole.
---@param value any
---@return string
function report.json(value)
  local names, seen = {}, {}
  local function collect(v)
    if type(v) ~= "table" or seen[v] then return end
    seen[v] = true
    for k, item in pairs(v) do
      if type(k) == "string" and not seen[k] then
        seen[k] = true
        names[#names + 1] = k
      end
      collect(item)
    end
  end
  collect(value)
  table.sort(names)
  return (json.encode(value, { indent = true, keyorder = names }))
end

local function csv_field(v)
  v = tostring(v)
  return v:find("[\",\n\r]") and '"' .. v:gsub('"', '""') .. '"' or v
end

--- One line for each run, one column for each counter, names in the first line.
---@param name string
---@param runs table[]
---@return string
function report.csv(name, runs)
  local head, lines = { "trace", "preset", "policy" }, {}
  for _, row in ipairs(runs[1].rows) do head[#head + 1] = row.name end
  lines[1] = table.concat(head, ",")
  for _, run in ipairs(runs) do
    local fields = { csv_field(name), csv_field(run.preset or ""), csv_field(run.options.policy) }
    for _, row in ipairs(runs[1].rows) do fields[#fields + 1] = csv_field(counter(run, row.name)) end
    lines[#lines + 1] = table.concat(fields, ",")
  end
  return table.concat(lines, "\n")
end

--- What is in a trace, as text.
---@param name string
---@param facts table what Trace:info gives
---@param style? { blocks?: boolean, bold?: boolean }
---@return string
function report.trace(name, facts, style)
  local page = new_page(style)
  page[1] = ("%s: %s, format %s%s"):format(name, text.count(facts.accesses, "access", "accesses"), facts.format,
    facts.bytes and (", %s, %.2f bytes an access"):format(text.bytes(facts.bytes), facts.bytes_per_access or 0) or "")
  page:section("Accesses", "number", "", "share")
  page:shares {
    { name = "fetches", n = facts.fetch }, { name = "loads", n = facts.load }, { name = "stores", n = facts.store },
    { name = "modifies (load and store)", n = facts.modify },
  }
  page:section("What it touches", "number")
  page:row("changes of address spaces", number(facts.events))
  page:row("processes and threads", number(facts.tasks))
  page:row("pages touched", number(facts.pages), text.bytes(facts.pages * 4096))
  if facts.min then
    page:row("lowest byte", ("%#x"):format(facts.min))
    page:row("highest byte", ("%#x"):format(facts.max))
  end
  return table.concat(page, "\n")
end

--- What is in a trace of allocations, as text.
---@param name string
---@param facts vmem.heap.Facts
---@param style { blocks: boolean, bold: boolean }
---@return string
function report.allocations(name, facts, style)
  local page = new_page(style)
  page[1] = ("%s: %s"):format(name, text.count(facts.operations, "operation"))
  page:section("Calls", "number", "", "share")
  page:shares {
    { name = "allocations", n = facts.allocations }, { name = "reallocations", n = facts.reallocations },
    { name = "frees", n = facts.frees },
  }
  page:section("Blocks", "number", "bytes")
  page:row("all, as first asked for", number(facts.allocations), number(facts.bytes))
  page:row("at once, at most", "", number(facts.peak))
  page:row("never freed", number(facts.kept), number(facts.kept_bytes))
  page:row("median", "", number(facts.median))
  page:row("largest", "", number(facts.largest))
  if facts.lifetime then page:row("median life, in operations", number(facts.lifetime)) end
  page:section("Sizes", "blocks", "", "share")
  local list = {}
  for i, s in ipairs(facts.sizes) do
    list[i] = { n = s.count, name = s.upto == 0 and "0 bytes" or "up to " .. text.count(s.upto, "byte") }
  end
  page:shares(list)
  return table.concat(page, "\n")
end

local function show(v)
  if type(v) == "table" then return table.concat(v, ",") end
  return tostring(v)
end

-- A value as the command line takes it.
local function value_of(row)
  if row.kind == "bytes" and row.value >= 1024 and row.value % 1024 == 0 then
    return (text.bytes(row.value):gsub(" ", ""))
  end
  return show(row.value)
end

--- Options of a machine, as text.
---@param rows table[] of vmem.options(), each with its `value`
---@param preset? string whose values they are
---@return string
function report.options(rows, preset)
  local lines = { text.left("option", 24) .. text.left(preset and "in " .. preset or "default", 14) .. "what it is" }
  for _, row in ipairs(rows) do
    local doc = row.doc .. (row.kind == "cycles" and " (cycles)" or row.kind == "bytes" and " (bytes)" or "")
    if row.choices then doc = doc .. ": " .. table.concat(row.choices, ", ") end
    local name, value = text.left(row.name, 23) .. " ", text.left(value_of(row), 13) .. " "
    lines[#lines + 1] = name .. value .. text.wrap(doc, WIDTH - 38, (" "):rep(38))
  end
  return table.concat(lines, "\n")
end

return report
