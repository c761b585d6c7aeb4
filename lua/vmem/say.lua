--- Words of messages: values, kinds and names as all of them are told.

local say = {}

--- A value: texts in quotes.
---@param v any
---@return string
function say.show(v) return type(v) == "string" and ("%q"):format(v) or tostring(v) end

--- What a value is: "integer", or its type.
---@param v any
---@return string
function say.kind(v) return math.type(v) == "integer" and "integer" or type(v) end

--- The names that a table has, in order: "insert, remove, touch".
---@param t table<string, any>
---@return string
function say.names(t)
  local names = {}
  for name in pairs(t) do names[#names + 1] = name end
  table.sort(names)
  return table.concat(names, ", ")
end

return say
