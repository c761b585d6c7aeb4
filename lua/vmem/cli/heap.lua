--- vmem heap: traces of allocations through allocators, checked and measured.

local vmem = require "vmem"
local common = require "vmem.cli.common"
local report = require "vmem.report"

local heap = { summary = "Run traces of allocations (.rep) through allocators in simulated memory." }

local names = {}
for _, row in ipairs(vmem.heap.allocators()) do names[#names + 1] = row.name end

function heap.describe(command)
  command:argument("trace", "Files of the malloc lab's form, or patterns, as @binary or @binary:small=16."):args("+")
  command:option("--allocator",
    "An allocator, with options as in implicit:fit=best,word=4; may be repeated (default: all). There are "
    .. table.concat(names, ", ") .. "."):argname("NAME"):count("*")
  command:flag("--json", "Print one JSON list.")
  common.takes_machine(command)
end

-- "implicit:fit=best,word=4"
local function allocator(text)
  local name, rest = text:match "^([^:]+):?(.*)$"
  local t = { name or text }
  for item in (rest or ""):gmatch "[^,]+" do
    local k, v = item:match "^([%w_]+)=(.+)$"
    if not k then common.misuse(("--allocator %s: %s is not of the form option=value"):format(text, item)) end
    t[k] = math.tointeger(v) or v
  end
  return t
end

local function row_of(r, text)
  local s = r.stats or {}
  return { allocator = text, trace = r.trace, operations = r.ops, valid = r.valid, operation = r.op, error = r.error,
    utilization = r.utilization, index = r.index, rate = r.rate, cycles = s.cycles_per_call,
    searches = s.searches_per_malloc, faults = s.faults, heap = s.bytes_peak, payload = s.payload_peak }
end

local function line(r)
  if not r.valid then return ("%-36s wrong at operation %d: %s"):format(r.allocator, r.operation, r.error) end
  return ("%-36s %9.1f %% %12.1f %12.2f %8d %12d %8.2f"):format(r.allocator, 100 * r.utilization, r.cycles, r.searches,
    r.faults, r.heap, r.index)
end

function heap.run(args)
  local machine, rows, texts, ok = common.machine_options(args), {}, args.allocator, true
  if not texts or #texts == 0 then texts = names end
  for _, path in ipairs(args.trace) do
    local t = common.made(vmem.heap.trace(path))
    if not args.json then
      print(("%s: %d operations, at most %d bytes of payload"):format(path, #t, t.peak))
      print(("%-36s %11s %12s %12s %8s %12s %8s"):format("  allocator", "utilization", "cycles/call", "searches",
        "faults", "heap bytes", "index"))
    end
    for _, text in ipairs(texts) do
      local done, r = pcall(vmem.heap.run, { trace = t, allocator = allocator(text), machine = machine })
      if common.is_failure(r) then error(r, 0) end
      if not done then common.misuse(common.sentence(r)) end
      rows[#rows + 1] = row_of(r, text)
      ok = ok and r.valid
      if not args.json then print("  " .. line(rows[#rows])) end
    end
  end
  if args.json then print(report.json(rows)) end
  return ok and common.OK or common.FAILED
end

return heap
