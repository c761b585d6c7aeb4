--- vmem options: every option of a machine, from the core's own rows.

local vmem = require "vmem"
local common = require "vmem.cli.common"
local options = require "vmem.options"
local report = require "vmem.report"

local command = { summary = "List the options of a machine, with their defaults." }

function command.describe(parser)
  parser:argument("prefix", "Only options whose name begins so, as in tlb or cache.l1d."):args("?")
  parser:option("--preset", "Show this machine's values: " .. table.concat(vmem.presets.names(), ", ") .. ".")
    :argname("NAME")
  parser:flag("--json", "Print one JSON list.")
end

function command.run(args)
  local ok, flat = pcall(options.resolve, { preset = args.preset })
  if not ok then common.misuse(common.sentence(flat)) end
  local rows = {}
  for _, row in ipairs(options.rows) do
    local name = args.prefix or ""
    if row.name:sub(1, #name) == name then
      local copy = {}
      for k, v in pairs(row) do copy[k] = v end
      copy.value = flat[row.name]
      if copy.value == nil then copy.value = row.default end
      rows[#rows + 1] = copy
    end
  end
  if #rows == 0 then common.misuse(("no option begins with %s"):format(args.prefix)) end
  print(args.json and report.json(rows) or report.options(rows, args.preset))
end

return command
