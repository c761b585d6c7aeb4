--- vmem run: a trace, or a program as it runs, through a whole machine.

local vmem = require "vmem"
local core = require "vmem.core"
local common = require "vmem.cli.common"
local report = require "vmem.report"

local run = {
  takes_program = true,
  summary = "Run a trace or a program through a machine and tell what the machine did.",
  description = "Run a trace, or a program as it runs, through a whole machine, and tell what the machine did: what "
    .. "the TLBs and caches hit, what faulted, where the cycles went. Several policies, separated by commas, are shown "
    .. "side by side.",
}

function run.describe(command)
  command:usage("Usage: vmem run [options] TRACE\n       vmem run [options] -- COMMAND...")
  command:argument("trace", "A trace file, compressed or not; or a program after --."):args("?")
  common.takes_machine(command, "Which page loses its frame; several make columns: ")
  common.takes_trace(command)
  common.takes_program(command)
  local json = command:flag("--json", "Print every counter as one JSON object.")
  local csv = command:flag("--csv", "Print every counter, one line for each run.")
  command:mutex(json, csv)
  command:group("Options of the command",
    command:option("--limit", "Stop after N accesses."):argname("N"), json, csv,
    command:flag("-q --quiet", "No progress line."),
    command:flag("--progress", "A progress line although stderr is not a terminal."))
end

--- One run: a machine of its own, one pass over the trace.
local function simulate(args, t, label, policy)
  local options = common.machine_options(args, policy)
  local m <close> = common.machine(options)
  local p = m:spawn { name = label }
  local total = t:count()
  local limit = args.limit and math.tointeger(tonumber(args.limit))
  if args.limit and not (limit and limit > 0) then
    common.misuse(("--limit is %s, but takes a whole number from 1"):format(args.limit))
  end
  if total and limit then total = math.min(total, limit) end
  local step, finish = common.progress(args, policy and label .. ", " .. policy or label, total)
  local ok, counters = pcall(p.replay, p, t, { progress = step, limit = limit })
  finish()
  if not ok then
    -- A replay maps what is touched, so only what is no address can't be.
    if type(counters) == "table" and counters.code == "MAPERR" then
      common.fail(("%s; this machine has addresses of %d bits (paging.va_bits)"):format(common.sentence(counters),
        m:options().paging.va_bits))
    end
    if type(counters) == "table" and counters.code == "ACCERR" and not math.ult(counters.addr, p:user_top()) then
      common.fail(("%s; this machine's addresses from %#x on are the kernel's"):format(common.sentence(counters),
        p:user_top()))
    end
    error(counters, 0)
  end
  return report.take(m, counters, options.preset)
end

--- The program as a trace. Its own output would spoil JSON and CSV.
local function live(args, program)
  local command = common.program(args, program)
  if args.json or args.csv then command.stdout = command.stdout or "/dev/null" end
  return common.made(vmem.trace.live(command))
end

function run.run(args, program)
  if program and args.trace then
    common.misuse("run takes a trace file or a program after --, not both")
  elseif program and #program == 0 then
    common.misuse("there is no program after --")
  elseif not program and not args.trace then
    common.misuse("run takes a trace file, or a program after --, as in: vmem run -- ls -l (see 'vmem run --help')")
  end
  local policies = {}
  for name in (args.policy or ""):gmatch("[^,%s]+") do policies[#policies + 1] = name end
  if program and #policies > 1 then
    common.misuse("a program runs once, so it takes one policy; record it to compare several ('vmem record --help')")
  end
  for _, name in ipairs(policies) do common.machine_options(args, name) end
  local label = args.trace or common.command_line(program)
  local trace <close> = args.trace and common.open(args, args.trace) or live(args, program)
  local runs = {}
  for i = 1, math.max(1, #policies) do
    runs[i] = simulate(args, trace, label:match("[^/]+$") or label, policies[i])
  end
  if args.json then
    print(report.json(report.object(label, runs)))
  elseif args.csv then
    print(report.csv(label, runs))
  else
    if program and not args.stdout then print() end -- below what the program printed
    print(report.text(label, runs, common.style()))
    local how = program and common.ending(core.live_status(trace))
    if how then print("\n" .. how) end
  end
end

return run
