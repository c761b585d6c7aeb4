--- vmem heap: traces of allocations through allocators, checked and measured.

local vmem = require "vmem"
local common = require "vmem.cli.common"
local made = require "vmem.heap.allocator"
local report = require "vmem.report"
local subject = require "vmem.heap.subject"

local heap = { summary = "Run traces of allocations (.rep) through allocators in simulated memory.",
  description = "Run traces of allocations (.rep) through allocators in simulated memory. One trace: a row for each "
    .. "allocator. Several, and no allocator named: tables of all allocators by all traces." }

local names = {}
for _, row in ipairs(vmem.heap.allocators()) do names[#names + 1] = row.name end

function heap.describe(command)
  command:argument("trace", "Files of the malloc lab's form, or patterns, as @binary or @binary:small=16."):args("+")
  command:option("--allocator",
    "An allocator, with options as in implicit:fit=best,word=4, or a file .lua that returns one; may be repeated "
    .. "(default: all). There are " .. table.concat(names, ", ") .. "."):argname("NAME"):count("*")
  command:option("--against", "Another one: compare the allocator with it, trace by trace."):argname("NAME")
  command:flag("--why", "With --against: tell where in each trace the two part, and why.")
  command:option("--at", "Tell what the heap's bytes are after operation N, or at the peak of the payload (peak).")
    :argname("N")
  command:flag("--native", "Tables of the allocators by the traces over host memory: utilization and searches, "
    .. "unchecked, in a moment.")
  command:flag("--json", "Print one JSON list.")
  command:group("Output", command:flag("--quiet", "No progress line."),
    command:flag("--progress", "A progress line although stderr is not a terminal."))
  common.takes_machine(command)
end

-- An allocator of one's own: what the file returns.
local function from_file(path)
  local f, why = loadfile(path)
  if not f then common.fail(common.sentence(why)) end
  local ok, a = pcall(f)
  if not ok then common.fail(common.sentence(a)) end
  if not made.is(a) then common.misuse(path .. " returns no allocator (see vmem.heap.allocator)") end
  return a
end

-- "implicit:fit=best,word=4": checked, so that nothing is printed before an error.
local function allocator(option, s)
  local name, rest = s:match "^([^:]+):?(.*)$"
  local spec = { name or s }
  if spec[1]:find "%.lua$" then spec[1] = from_file(spec[1]) end
  for item in (rest or ""):gmatch "[^,]+" do
    local k, v = item:match "^([%w_]+)=(.+)$"
    if not k then common.misuse(("%s %s: %s is not of the form option=value"):format(option, s, item)) end
    spec[k] = math.tointeger(v) or v
  end
  local ok, h = pcall(vmem.heap.native, subject.allocator { allocator = spec })
  if not ok then common.misuse(common.sentence(h)) end
  if h then h:close() end
  return { text = s, spec = spec }
end

-- --- runs ----------------------------------------------------------------------------------

-- A line on stderr that says which run it is; without one, it goes.
local function progress(args, total)
  if not common.shows_progress(args) then return function() end end
  local n = 0
  return function(what)
    n = n + (what and 1 or 0)
    io.stderr:write("\r", what and ("%d of %d: %s"):format(n, total, what):sub(1, 79) or "", "\27[K")
    io.stderr:flush()
  end
end

local function run(t, a, machine, at)
  local ok, r = pcall(vmem.heap.run, { trace = t, allocator = a.spec, machine = machine, at = at })
  if common.is_failure(r) then error(r, 0) end
  if not ok then common.misuse(common.sentence(r)) end
  return r
end

local function row_of(r, label)
  local s = r.stats or {}
  local row = { allocator = label, trace = r.trace, operations = r.ops, valid = r.valid, operation = r.op,
    error = r.error, utilization = r.utilization, index = r.index, rate = r.rate, cycles = s.cycles_per_call,
    searches = s.searches_per_malloc, faults = s.faults, heap = s.bytes_peak, payload = s.payload_peak,
    pages = s.pages }
  if r.loss then
    row.loss = {}
    for k, v in pairs(r.loss) do row.loss[k] = v end
  end
  return row
end

-- --- a row for each allocator ----------------------------------------------------------------

local function line(r)
  if not r.valid then return ("%-36s wrong at operation %d: %s"):format(r.allocator, r.operation, r.error) end
  return ("%-36s %9.1f %% %12.1f %12.2f %8d %12d %8.2f"):format(r.allocator, 100 * r.utilization, r.cycles, r.searches,
    r.faults, r.heap, r.index)
end

local function in_rows(args, traces, list, machine)
  local rows, ok, step = {}, true, progress(args, #traces * #list)
  for _, t in ipairs(traces) do
    local at = args.at == "peak" and t.peak_op or math.tointeger(args.at)
    if not args.json then
      print(("%s: %d operations, at most %d bytes of payload"):format(t.name, #t, t.peak))
      print(("%-36s %11s %12s %12s %8s %12s %8s"):format("  allocator", "utilization", "cycles/call", "searches",
        "faults", "heap bytes", "index"))
    end
    for _, a in ipairs(list) do
      step(a.text .. " on " .. t.name)
      local r = run(t, a, machine, at)
      step()
      rows[#rows + 1] = row_of(r, a.text)
      ok = ok and r.valid
      if not args.json then
        print("  " .. line(rows[#rows]))
        if r.loss then print(r.loss) end
      end
    end
  end
  return rows, ok
end

-- --- two beside each other -------------------------------------------------------------------

-- What is compared: the row's field, how two figures are shown, and what they are shown times.
local compared = {
  { "utilization", "%7.1f %% %7.1f %%", 100 }, { "cycles", "%11.1f %11.1f", 1 }, { "faults", "%9.0f %9.0f", 1 },
}

-- x to y; nil where only y is nothing.
local function ratio(x, y) return x == y and 1.0 or y > 0 and x / y or nil end

local function geometric_mean(list, n)
  local sum = 0
  for _, x in ipairs(list) do sum = sum + math.log(x) end
  return #list == n and ("%.3f"):format(math.exp(sum / n)) or "-"
end

-- The two rows' figures and ratios, as text; the ratios go to `row`, and to `all` of each figure.
local function cells(x, y, row, all)
  local bad = not x.valid and x or not y.valid and y
  if bad then return (" %s: wrong at operation %d: %s"):format(bad.allocator, bad.operation, bad.error) end
  local s = ""
  for i, c in ipairs(compared) do
    local r = ratio(x[c[1]], y[c[1]])
    row[c[1] .. "_ratio"] = r
    if r and r > 0 then table.insert(all[i], r) end
    s = s .. " " .. c[2]:format(c[3] * x[c[1]], c[3] * y[c[1]]) .. (r and (" %6.3f"):format(r) or "      -")
  end
  return s
end

local function tell_why(traces, rows, a, b, machine, args)
  for i, t in ipairs(traces) do
    local d = common.made(vmem.heap.diverge { trace = t, a = a.spec, b = b.spec, machine = machine })
    rows[i].operation, rows[i].why = d.op, d.why
    if not args.json then print("\n" .. tostring(d)) end
  end
end

local function against(args, traces, a, b, machine)
  local rows, ok, step, all = {}, true, progress(args, 2 * #traces), { {}, {}, {} }
  if not args.json then
    print(("%s against %s: its figure, the other's, and their ratio"):format(a.text, b.text))
    print(("  %-24s %26s %30s %26s"):format("trace", "peak utilization", "cycles a call", "page faults"))
  end
  for i, t in ipairs(traces) do
    local found = {}
    for k, side in ipairs { a, b } do
      step(side.text .. " on " .. t.name)
      local r = run(t, side, machine)
      step()
      ok = ok and r.valid
      found[k] = row_of(r, side.text)
    end
    rows[i] = { trace = t.name, allocator = found[1], against = found[2] }
    local s = cells(found[1], found[2], rows[i], all)
    if not args.json then print(("  %-24s"):format(t.name:match("[^/]+$")) .. s) end
  end
  if #traces > 1 and not args.json then
    print(("  %-24s %26s %30s %26s"):format("geometric means", geometric_mean(all[1], #traces),
      geometric_mean(all[2], #traces), geometric_mean(all[3], #traces)))
  end
  if args.why and ok then tell_why(traces, rows, a, b, machine, args) end
  return rows, ok
end

-- --- all by all ------------------------------------------------------------------------------

local function all(args, traces, list, machine)
  local allocators = {}
  for i, a in ipairs(list) do allocators[i] = a.spec end
  local step = progress(args, #traces * #list)
  local c = vmem.heap.compare { traces = traces, allocators = allocators, machine = not args.native and machine,
    progress = function(_, _, t, name) step(name .. " on " .. t) end }
  step()
  local rows = {}
  for _, name in ipairs(c.traces) do
    for _, a in ipairs(c.allocators) do
      local row = row_of(c.results[a][name], a)
      if args.native then row.cycles, row.faults, row.index = nil, nil, nil end
      rows[#rows + 1] = row
    end
  end
  if not args.json then print(c) end
  return rows, #c:wrong() == 0
end

function heap.run(args)
  local machine, list, traces = common.machine_options(args), {}, {}
  for i, s in ipairs(args.allocator) do list[i] = allocator("--allocator", s) end
  local other = args.against and allocator("--against", args.against)
  if other and #list ~= 1 then common.misuse "--against takes one --allocator to compare with" end
  if args.why and not other then common.misuse "--why needs --against" end
  if args.at and args.at ~= "peak" and not math.tointeger(args.at) then
    common.misuse(("--at is %s, but takes the number of an operation, or peak"):format(args.at))
  end
  if args.at and other then common.misuse "--at and --against do not go together" end
  if args.native and (args.at or other) then
    common.misuse(("--native and %s do not go together"):format(args.at and "--at" or "--against"))
  end
  for i, path in ipairs(args.trace) do
    local t, at = common.made(vmem.heap.trace(path)), math.tointeger(args.at)
    if at and (at < 0 or at > #t) then
      common.misuse(("--at is %d, but %s has operations 1 to %d"):format(at, path, #t))
    end
    traces[i] = t
  end
  local named = #list > 0
  for i, name in ipairs(named and {} or names) do list[i] = { text = name, spec = { name } } end
  local rows, ok
  if other then
    rows, ok = against(args, traces, list[1], other, machine)
  elseif args.native or not named and #traces > 1 and not args.at then
    rows, ok = all(args, traces, list, machine)
  else
    rows, ok = in_rows(args, traces, list, machine)
  end
  if args.json then print(report.json(rows)) end
  return ok and common.OK or common.FAILED
end

return heap
