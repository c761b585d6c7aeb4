--- vmem info: what is in a trace.

local vmem = require "vmem"
local common = require "vmem.cli.common"
local report = require "vmem.report"

local info = { summary = "Tell what is in a trace: accesses by kind, pages, addresses; or allocations, sizes, lives." }

function info.describe(command)
  command:argument("trace", "A trace file, compressed or not; of allocations, where it is called .rep.")
  command:flag("--json", "Print one JSON object.")
  common.takes_trace(command)
end

local function accesses(args)
  local t <close> = common.open(args, args.trace)
  return t:info(), report.trace
end

local function allocations(args)
  if args.format or args.page then common.misuse("--format and --page are for traces of accesses") end
  return common.made(vmem.heap.trace(args.trace)):info(), report.allocations
end

function info.run(args)
  local facts, write = (common.is_rep(args.trace) and allocations or accesses)(args)
  if args.json then
    facts.file = args.trace
    print(report.json(facts))
  else
    print(write(args.trace, facts, common.style()))
  end
end

return info
