--- Words of messages: values, kinds and names as all of them are told; and the check that
--- tells of most.

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

--- A copy of a table of fields, each of the kind that `kinds` has for its name; errors,
--- without a position, begin with `call`.
---@param call string
---@param t any
---@param kinds table<string, string>
---@return table
function say.fields(call, t, kinds)
  if type(t) ~= "table" then error(("%s takes a table, but got a %s"):format(call, type(t)), 0) end
  local copy = {}
  for k, v in pairs(t) do
    if not kinds[k] then
      error(("%s: there is no field %s (there are %s)"):format(call, tostring(k), say.names(kinds)), 0)
    end
    if say.kind(v) ~= kinds[k] then
      error(("%s: %s is %s, but takes a %s"):format(call, k, say.show(v), kinds[k]), 0)
    end
    copy[k] = v
  end
  return copy
end

return say
