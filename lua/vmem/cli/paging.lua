--- vmem paging: a trace's pages under policies, without a machine.

local vmem = require "vmem"
local common = require "vmem.cli.common"

local paging = {
  summary = "Count the page faults of policies at many memory sizes, without a machine.",
  description = "Reduce a trace to its references to pages, and tell the misses of a policy at every memory size; or "
    .. "compare policies, or show working sets or phases.",
}

-- What is shown, by flag: default is the curve.
local kinds = { "working_set", "phases" }

function paging.describe(command)
  command:argument("trace", "A trace file, compressed or not.")
  command:group("Options of the study",
    command:option("--policy", "Policies, separated by commas, with their parameters as in 2q:kin=0.5 (default: lru).")
      :argname("NAMES"),
    command:option("--frames", "Memory sizes, separated by commas; of several policies: where they are compared.")
      :argname("LIST"),
    command:option("--sample", "Look at this share of the pages only, as in 0.01, and tell the error."):argname("RATE"))
  local steps = command:flag("--steps", "Show every reference: one policy, one size, a short trace.")
  local sets = command:flag("--working-set", "Working sets and footprints, in place of misses.")
  local phases = command:flag("--phases", "Where the set of pages changes, in place of misses.")
  command:mutex(steps, sets, phases)
  command:group("Options of the command", steps, sets, phases,
    command:option("--svg", "Write the picture to this file, too."):argname("FILE"),
    command:flag("-q --quiet", "No progress line."),
    command:flag("--progress", "A progress line although stderr is not a terminal."))
  common.takes_trace(command)
end

local function list(args, name)
  if not args[name] then return nil end
  local out = {}
  for item in args[name]:gmatch("[^,%s]+") do out[#out + 1] = item end
  if #out == 0 then common.misuse(("--%s takes a list such as 10,100"):format(name)) end
  return out
end

local function numbers(args, name)
  local out = list(args, name)
  for i, item in ipairs(out or {}) do
    out[i] = math.tointeger(tonumber(item))
    if not out[i] or out[i] < 1 then
      common.misuse(("--%s has %s, but takes whole numbers from 1"):format(name, item))
    end
  end
  return out
end

local function misses(args, refs, step)
  local policies, frames = list(args, "policy") or { "lru" }, numbers(args, "frames")
  if args.steps then
    if #policies > 1 or not frames or #frames > 1 then
      common.misuse("--steps takes one policy and --frames with one number")
    end
    return vmem.paging.run { trace = refs, policy = policies[1], frames = frames[1], log = true, progress = step }.log
  elseif #policies == 1 then
    return vmem.paging.curve { trace = refs, policy = policies[1], sizes = frames, progress = step }
  elseif not frames then
    common.misuse("several policies are compared where --frames says, as in --frames 100,1000")
  elseif refs.rate < 1 then
    common.misuse("policies are compared on whole traces; --sample takes one policy")
  end
  return vmem.paging.compare { trace = refs, policies = policies, frames = frames, progress = step }
end

function paging.run(args)
  local t <close> = common.open(args, args.trace)
  local page = vmem.bytes(args.page or 4096)
  local sample = args.sample and (tonumber(args.sample) or args.sample)
  local name = args.trace:match("[^/]+$") or args.trace
  local step, finish = common.progress(args, "reading " .. name, t:count())
  local decoded, refs = pcall(vmem.paging.decode, { trace = t, page = page, sample = sample, progress = step })
  finish()
  if not decoded then
    if args.page or sample then common.misuse(common.sentence(refs)) end
    error(refs, 0)
  end
  step, finish = common.progress(args, name)
  local shown, result = pcall(function()
    for _, kind in ipairs(kinds) do
      if args[kind] then return vmem.paging[kind] { trace = refs } end
    end
    return misses(args, refs, step)
  end)
  finish()
  if not shown then
    if common.is_failure(result) then error(result, 0) end
    common.misuse(common.sentence(result))
  end
  print(result)
  if args.svg then
    if not result.svg then common.misuse("--steps has no picture") end
    local file = common.made(io.open(args.svg, "w"))
    file:write(result:svg { log = true }, "\n")
    file:close()
  end
end

return paging
