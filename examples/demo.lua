-- `make demo`: a real program through a machine with too little memory for it,
-- under three replacement policies.
--    lua5.4 examples/demo.lua [TRACE]
local vmem = require "vmem"
local report = require "vmem.report"
local text = require "vmem.text"
local common = require "vmem.cli.common"

local here = arg[0]:match("^(.*/)") or "./"
local path = arg[1] or here .. "traces/sort.vmt"
local policies = { "fifo", "clock", "lru" }
local style = common.style()

local function say(paragraph) print("\n" .. text.wrap(paragraph, 100, "")) end
local function show(table_of_results) print("\n" .. table_of_results) end

local trace <close> = assert(vmem.trace.open(path))
local facts = trace:info()
local room = facts.pages * 2 // 5 -- frames for two pages of five

print(report.trace(path:match("[^/]+$"), facts, style))
say(("This program touched %s of memory, %s. Here it runs on a machine like the Core i7 of CS:APP 9.7, but only %s of "
  .. "them may be in frames at once; then one must go for each that comes. FIFO gives up the one that came first, "
  .. "CLOCK one that was not used since its hand last passed, LRU the one unused for longest."):format(
  text.bytes(facts.pages * 4096), text.count(facts.pages, "page"), text.number(room)))

local runs = {}
for i, policy in ipairs(policies) do
  local m <close> = vmem.machine { preset = "core-i7", resident = room, policy = policy }
  local p = m:spawn { name = "demo" }
  runs[i] = report.take(m, p:replay(trace), "core-i7")
  assert(m:check())
end
show(report.machine(runs))

say("First the lookups that every access makes: its page in the TLBs, then its line in the caches. What the first TLB "
  .. "lacks is asked of the second; what that lacks, too, takes a page walk, which reads an entry from each of the "
  .. "four levels of the page table. These entries are memory like any other and are found in the same caches.")
show(report.columns(runs, style, { "TLB hit rates", "Page walks", "Cache hit rates" }))

local function faults(run) return run.stats.kernel.major_faults end
local best, worst = runs[1], runs[1]
for _, run in ipairs(runs) do
  if faults(run) < faults(best) then best = run end
  if faults(run) > faults(worst) then worst = run end
end
say("Then what the kernel had to do. A minor fault hands out a cleared page (traces hold no data, so a page that "
  .. "was only read comes back like that, too). A major one brings back a page that was written to swap, and these are "
  .. "what a good policy avoids: "
  .. (best == worst and ("here all three take %s."):format(text.number(faults(best)))
    or ("%s takes %s of them, %s %s."):format(worst.options.policy:upper(), text.number(faults(worst)),
      best.options.policy:upper(), text.number(faults(best)))))
show(report.columns(runs, style, { "Page faults", "Pages that lost their frame" }))

local cycles = best.stats.cycles
say(("And where the time went, in cycles of an average access; the parts add up to the whole. The disk takes %s of "
  .. "%s's cycles: a line that no cache holds costs some %s cycles, a page that no frame holds %s."):format(
  text.percent(cycles.disk, cycles.total, 1), best.options.policy:upper(), text.number(best.options.dram.latency),
  text.number(best.options.disk.latency)))
show(report.columns(runs, style, { "Cycles per access" }))
show(report.race(runs, style))

say("More: 'vmem run TRACE' tells all of one run, 'vmem run -- PROGRAM' takes a program of yours, "
  .. "'vmem explain 0x7fff0000' shows each step of one access, 'vmem --help' the rest; docs/guide.md shows the same "
  .. "from Lua.")
