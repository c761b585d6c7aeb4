--- Machines to begin with, each a nested table of options by its name; their
--- rows are the core's, which its C interface reads, too.

local core = require "vmem.core"

local presets, list = {}, {}
for _, row in ipairs(core.presets()) do
  local preset = {}
  for name, v in pairs(row.options) do
    local at = preset
    for part in name:gmatch "([^.]+)%." do
      at[part] = at[part] or {}
      at = at[part]
    end
    at[name:match "[^.]+$"] = v
  end
  presets[row.name] = preset
  list[#list + 1] = row.name
end

--- Their names, sorted.
---@return string[]
local function names() return { table.unpack(list) } end

return setmetatable(presets, { __index = { names = names } })
