--- vmem info: what is in a trace.

local common = require "vmem.cli.common"
local report = require "vmem.report"

local info = { summary = "Tell what is in a trace: accesses by kind, pages, addresses." }

function info.describe(command)
  command:argument("trace", "A trace file, compressed or not.")
  command:flag("--json", "Print one JSON object.")
  common.takes_trace(command)
end

function info.run(args)
  local t <close> = common.open(args, args.trace)
  local facts = t:info()
  if args.json then
    facts.file = args.trace
    print(report.json(facts))
  else
    print(report.trace(args.trace, facts, common.style()))
  end
end

return info
