--- The command `vmem`: finds out what is asked for, runs it, and turns failures
--- into one sentence on stderr and an exit code.
--
-- Each command is a module vmem.cli.NAME that gives { summary, describe(command),
-- run(args, program) -> exit code?, takes_program }; `program` is what follows --.
-- Exit codes: 0 done, 1 failed, 2 not what a command takes, 130 interrupted. With
-- VMEM_DEBUG set, failures show a traceback.

local argparse = require "argparse"
local vmem = require "vmem"
local common = require "vmem.cli.common"

local cli = {}

local names = { "run", "paging", "heap", "record", "info", "explain", "convert", "options" }

local function build()
  local parser = argparse("vmem", "A virtual-memory laboratory: programs' traces through a whole simulated machine.")
    :help_max_width(96):help_description_margin(30):command_target("command"):require_command(true)
    :epilog("'vmem COMMAND --help' tells more of each. Exit codes: 0 done, 1 failed, 2 wrong use.")
  parser:flag("--version", "Show the version and exit."):action(function()
    print(vmem._VERSION)
    os.exit(0)
  end)
  local commands = {}
  for _, name in ipairs(names) do
    local module = require("vmem.cli." .. name)
    local command = parser:command(name, module.description or module.summary):summary(module.summary)
    module.describe(command)
    commands[name] = module
  end
  return parser, commands
end

--- What follows `--` is a program's own command line.
local function split(args)
  local ours, program = { [0] = "vmem" }, nil
  for i = 1, #args do
    if program then
      program[#program + 1] = args[i]
    elseif args[i] == "--" then
      program = {}
    else
      ours[#ours + 1] = args[i]
    end
  end
  return ours, program
end

local function say(message) io.stderr:write("vmem: ", message, "\n") end

--- Runs the command line and gives the exit code.
---@param args string[]
---@return integer code
function cli.main(args)
  local parser, commands = build()
  local ours, program = split(args)
  local parsed, result = parser:pparse(ours)
  if not parsed then
    local known = commands[ours[1]] and "vmem " .. ours[1] or "vmem"
    say(("%s (see '%s --help')"):format(result:gsub("\nDid you mean ", ", did you mean "):gsub("%s*\n%s*", " "), known))
    return common.MISUSED
  end
  if program and not commands[result.command].takes_program then
    say(("%s takes no program after -- (see 'vmem %s --help')"):format(result.command, result.command))
    return common.MISUSED
  end
  local trace
  local ok, code = xpcall(commands[result.command].run, function(e)
    if os.getenv("VMEM_DEBUG") then trace = debug.traceback(tostring(e), 2) end
    return e
  end, result, program)
  if ok then return code or common.OK end
  io.stdout:flush()
  if trace then io.stderr:write(trace, "\n") end
  if common.is_failure(code) then
    say(code.message)
    return code.code
  end
  local message = common.sentence(code)
  say(message)
  return message:find("^interrupted!") and 130 or common.FAILED
end

return cli
