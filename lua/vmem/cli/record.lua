--- vmem record: run a program and keep its trace.

local vmem = require "vmem"
local common = require "vmem.cli.common"
local report = require "vmem.report"

local record = {
  summary = "Run a program and write every access it makes to a .vmt file.",
  description = "Run a program and write every access it makes to a .vmt file.",
}

function record.describe(command)
  command:usage("Usage: vmem record [-h] [-q] OUT.vmt -- COMMAND...")
  command:argument("out", "The .vmt file to write."):argname("OUT.vmt")
  command:flag("-q --quiet", "Print nothing but what the program prints.")
end

function record.run(args, program)
  if not program or #program == 0 then
    common.misuse("record takes a program after --, as in: vmem record sort.vmt -- sort words.txt")
  end
  local t <close> = common.made(vmem.trace.record(program))
  common.made(t:save(args.out))
  if not args.quiet then
    io.stderr:write(report.trace(args.out, t:info(), {}), "\n")
  end
end

return record
