--- vmem record: run a program and keep its trace: of all its accesses, or of what it
--- allocates, as the file is named.

local vmem = require "vmem"
local common = require "vmem.cli.common"
local report = require "vmem.report"

local record = {
  takes_program = true,
  summary = "Run a program and write its accesses (.vmt) or its allocations (.rep).",
  description = "Run a program and write every access it makes to a .vmt file, or, where OUT is called .rep, .rep.gz "
    .. "or .rep.zst, its calls of malloc, realloc, free and their kin.",
}

function record.describe(command)
  command:usage("Usage: vmem record [options] OUT -- COMMAND...")
  command:argument("out", "The .vmt or .rep file to write."):argname("OUT")
  common.takes_program(command)
  command:group("Options of allocations",
    command:option("--of", "Record the first program of this name that COMMAND starts, as cc1 of gcc."):argname("NAME"),
    command:option("--limit", "Keep the first N operations."):argname("N"):convert(math.tointeger))
  command:flag("-q --quiet", "Print nothing but what the program prints.")
end

local function accesses(command, args)
  if args.of or args.limit then common.misuse("--of and --limit are for allocations: call the file .rep") end
  command.out = args.out
  local trace, ending = vmem.trace.record(command)
  local t <close> = common.made(trace, ending)
  return ending, report.trace(args.out, t:info(), common.style())
end

local function allocations(command, args)
  if args.via then common.misuse("--via is for accesses: allocations are recorded as the program runs by itself") end
  if args.out:find "%.xz$" then common.misuse("allocations are written as .rep, .rep.gz or .rep.zst") end
  if args.limit and args.limit < 1 then common.misuse("--limit takes a number of operations, 1 or more") end
  command.output, command.of, command.limit = args.out, args.of, args.limit
  local t, ending = vmem.heap.record(command)
  common.made(t, ending)
  return ending, ("%s: %d operations on %d blocks, at most %d bytes at once%s"):format(args.out, #t, t.ids, t.peak,
    ending.more and "; there were more" or "")
end

function record.run(args, program)
  if not program or #program == 0 then
    common.misuse("record takes a program after --, as in: vmem record sort.vmt -- sort words.txt")
  end
  local make = common.is_rep(args.out) and allocations or accesses
  local ending, text = make(common.program(args, program), args)
  if not args.quiet then
    print(text)
    local how = common.ending(ending.status, ending.signal)
    if how then print("\n" .. how) end
  end
end

return record
