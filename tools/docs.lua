-- docs.lua: writes docs/reference.md from the tables in the code, and the table of
-- docs/heaps.md: `make docs`.
--
-- Options, counters, presets, generators and trace formats are rows in C; what
-- is written here is only how they are laid out.

local vmem = require "vmem"
local core = require "vmem.core"

local out = {}
local function put(text, ...) out[#out + 1] = select("#", ...) > 0 and text:format(...) or text end

local function cell(v)
  if type(v) == "table" then return "{ " .. table.concat(v, ", ") .. " }" end
  return (tostring(v):gsub("|", "\\|"))
end

local function range(row)
  if row.choices then return table.concat(row.choices, ", ") end
  if row.kind == "bool" then return "true, false" end
  if row.kind == "list" then return "1 to 5 widths" end
  if row.min == math.mininteger then return "any" end
  return ("%d to %d"):format(row.min, row.max)
end

put "# Reference"
put ""
put "Written by `make docs` from the tables in the code; change it there."
put ""
put "## Options of a machine"
put ""
put "Dotted names nest: `tlb.l1d.entries` is `tlb = { l1d = { entries = … } }`. Sizes are bytes or texts"
put "such as \"64MiB\"; `dram = \"64MiB\"` is short for `dram = { size = \"64MiB\" }`."
put ""
put "| option | kind | default | takes | |"
put "|---|---|---|---|---|"
for _, row in ipairs(vmem.options()) do
  put("| `%s` | %s | %s | %s | %s |", row.name, row.kind, cell(row.default), range(row), row.doc)
end

put ""
put "## Replacement policies"
put ""
put "A policy with parameters is written `policy = { \"clock\", enter = 0 }` or `\"clock:enter=0\"`."
put "[policies.md](policies.md) tells where each comes from and what it costs."
put ""
put "| policy | serves | |"
put "|---|---|---|"
for _, row in ipairs(core.policies()) do put("| `%s` | %s | %s |", row.name, row.serves, row.doc) end
put ""
put "| parameter | default | takes | |"
put "|---|---|---|---|"
for _, policy in ipairs(core.policies()) do
  for _, p in ipairs(policy.params) do
    local takes = p.choices and table.concat(p.choices, ", ")
      or p.kind == "integer" and ("%d to %d"):format(p.min, p.max) or ("%.15g to %.15g"):format(p.min, p.max)
    local default = p.kind == "real" and ("%.15g"):format(p.default) or p.default
    put("| `%s:%s` | %s | %s | %s |", policy.name, p.name, default, takes, p.doc)
  end
end

put ""
put "## Frame allocators"
put ""
put "| allocator | |"
put "|---|---|"
for _, row in ipairs(core.frame_allocators()) do put("| `%s` | %s |", row.name, row.doc) end

put ""
put "## Patterns of allocations"
put ""
put "Traces made by formula: `vmem.heap.trace{ \"binary\", small = 16 }`, or `@binary:small=16` where a"
put "`.rep` file may stand. All blocks are freed in the end; random numbers depend on `seed` alone."
put ""
put "| pattern | |"
put "|---|---|"
for _, row in ipairs(vmem.heap.patterns()) do put("| `@%s` | %s |", row.name, row.doc) end
put ""
put "| option | default | takes | |"
put "|---|---|---|---|"
for _, row in ipairs(vmem.heap.patterns()) do
  for _, o in ipairs(row.options) do
    put("| `%s:%s` | %d | %d to %d | %s |", row.name, o.name, o.default, o.min, o.max, o.doc)
  end
end

put ""
put "## Allocators of heaps"
put ""
put "`vmem.heap.open(process, name, { option = value })`; `h:stats()` has the counters below, and sums."
put ""
put "| allocator | |"
put "|---|---|"
for _, row in ipairs(vmem.heap.allocators()) do put("| `%s` | %s |", row.name, row.doc) end
put ""
put "| option | of | default | takes | |"
put "|---|---|---|---|---|"
do
  local seen, order = {}, {}
  for _, row in ipairs(vmem.heap.allocators()) do
    for _, o in ipairs(row.options) do
      local key = o.name .. range(o)
      if not seen[key] then
        seen[key] = { row = o, of = {} }
        order[#order + 1] = seen[key]
      end
      table.insert(seen[key].of, row.name)
    end
  end
  for _, entry in ipairs(order) do
    local o, of = entry.row, table.concat(entry.of, ", ")
    if #entry.of == #vmem.heap.allocators() then of = "all" end
    put("| `%s` | %s | %s | %s | %s |", o.name, of, cell(o.default), range(o), o.doc)
  end
end
put ""
put "| counter | unit | |"
put "|---|---|---|"
for _, row in ipairs(vmem.heap.counters()) do put("| `%s` | %s | %s |", row.name, row.unit, row.doc) end
put ""
put "`h:loss()` has the bytes of the heap that are no payload by what they are; they add up to `bytes - payload`."
put ""
put "| loss | |"
put "|---|---|"
for _, row in ipairs(vmem.heap.losses()) do put("| `%s` | %s |", row.name, row.doc) end

put ""
put "## Garbage collectors"
put ""
put "`gc:stats()` has these counters; the options of `vmem.gc` are in [gc.md](gc.md)."
put ""
put "| counter | unit | |"
put "|---|---|---|"
for _, row in ipairs(vmem.gc.counters()) do put("| `%s` | %s | %s |", row.name, row.unit, row.doc) end

put ""
put "## Page-table formats"
put ""
put "| format | |"
put "|---|---|"
for _, row in ipairs(core.pte_formats()) do put("| `%s` | %s |", row.name, row.doc) end

put ""
put "## Presets"
put ""
put "| preset | addresses | page table | TLBs | caches | DRAM |"
put "|---|---|---|---|---|---|"
for _, name in ipairs(vmem.presets.names()) do
  local m <close> = vmem.machine { preset = name }
  local o = m:options()
  local tlbs, caches = {}, {}
  for _, level in ipairs { "l1", "l1i", "l1d", "l2", "l3" } do
    local t = o.tlb[level]
    if t.entries > 0 then tlbs[#tlbs + 1] = ("%s %d/%d"):format(level, t.entries, t.ways) end
  end
  for _, level in ipairs { "l1", "l1i", "l1d", "l2", "l3", "l4" } do
    local c = o.cache[level]
    if c.size > 0 then caches[#caches + 1] = ("%s %d B/%d, lines of %d"):format(level, c.size, c.ways, c.line) end
  end
  put("| `%s` | %d bits | %s, %s, pages of %d B | %s | %s | %d B |", name, o.paging.va_bits, o.paging.pte,
    cell(o.paging.levels), o.paging.page, table.concat(tlbs, "; "), table.concat(caches, "; "), o.dram.size)
end

put ""
put "## Counters"
put ""
put "`m:stats(name)` gives one, `m:stats()` all, nested. Those of a `core-i7`; each TLB and cache level that a"
put "machine has brings the same ones under its own name."
put ""
put "| counter | unit | |"
put "|---|---|---|"
do
  local m <close> = vmem.machine { preset = "core-i7" }
  for _, row in ipairs(m:_stat_rows()) do put("| `%s` | %s | %s |", row.name, row.unit, row.doc) end
end

put ""
put "## Events"
put ""
put "What `m:on` and `m:trace_events` know. Every event has `type`, `clock` (cycles), `pid` and `cpu`;"
put "these have besides:"
put ""
put "| event | | fields |"
put "|---|---|---|"
for _, row in ipairs(vmem.events()) do
  local fields = { row.addr and ("`addr`: %s"):format(row.addr) }
  for _, f in ipairs(row.fields) do
    fields[#fields + 1] = ("`%s`: %s%s"):format(f.name, f.doc,
      #f.names > 0 and (" (%s)"):format(table.concat(f.names, ", ")) or "")
  end
  put("| `%s` | %s | %s |", row.name, row.doc, table.concat(fields, "; "))
end

local file = assert(io.open(arg[1] or "docs/reference.md", "w"))
assert(file:write(table.concat(out, "\n"), "\n"))
assert(file:close())

if not arg[1] then
  local _, document = dofile "tools/heap_table.lua" "."
  file = assert(io.open("docs/heaps.md", "w"))
  assert(file:write(document))
  assert(file:close())
end
