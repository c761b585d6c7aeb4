--- vmem convert: a trace of any format into a .vmt file.

local common = require "vmem.cli.common"
local text = require "vmem.text"

local convert = {
  summary = "Write a trace of any format that can be read as a .vmt file.",
  description = "Write a trace of any format that can be read as a .vmt file, which is smaller and faster to replay.",
}

function convert.describe(command)
  command:argument("trace", "The trace to read."):argname("IN")
  command:argument("out", "The .vmt file to write."):argname("OUT.vmt")
  command:flag("-q --quiet", "Print nothing when done.")
  common.takes_trace(command)
end

function convert.run(args)
  local t <close> = common.open(args, args.trace)
  common.made(t:save(args.out))
  if args.quiet then return end
  local made <close> = common.open({}, args.out)
  local facts = made:info()
  print(("%s: %s in %s, %.2f bytes an access"):format(args.out, text.count(facts.accesses, "access", "accesses"),
    text.bytes(facts.bytes), facts.bytes_per_access or 0))
end

return convert
