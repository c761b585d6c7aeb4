--- vmem record: run a program and keep its trace.

local vmem = require "vmem"
local common = require "vmem.cli.common"
local report = require "vmem.report"

local record = {
  takes_program = true,
  summary = "Run a program and write every access it makes to a .vmt file.",
  description = "Run a program and write every access it makes to a .vmt file.",
}

function record.describe(command)
  command:usage("Usage: vmem record [options] OUT.vmt -- COMMAND...")
  command:argument("out", "The .vmt file to write."):argname("OUT.vmt")
  common.takes_program(command)
  command:flag("-q --quiet", "Print nothing but what the program prints.")
end

function record.run(args, program)
  if not program or #program == 0 then
    common.misuse("record takes a program after --, as in: vmem record sort.vmt -- sort words.txt")
  end
  local command = common.program(args, program)
  command.out = args.out
  local trace, ending = vmem.trace.record(command)
  local t <close> = common.made(trace, ending)
  if not args.quiet then
    print(report.trace(args.out, t:info(), common.style()))
    local how = common.ending(ending.status, ending.signal)
    if how then print("\n" .. how) end
  end
end

return record
