--- Random programs that can be had again, and counterexamples made small.

local shrink = {}

--- Random numbers that are the same wherever they are drawn: random(n) is 0 to n - 1.
---@param seed integer
---@return fun(n: integer): integer
function shrink.random(seed)
  local state = seed
  return function(n)
    state = state * 6364136223846793005 + 1442695040888963407
    return (state >> 33) % n
  end
end

--- Leave out what is not needed of a list that fails: halves of it, quarters, ..., single
--- members. What comes behind the member that failed goes at once.
---@param list any[]
---@param fails fun(list: any[]): integer? how many of its members it takes to fail; nil: it does not
---@return any[]
function shrink.list(list, fails)
  local size = #list
  while size >= 1 do
    local from = 1
    while from <= #list do
      local rest = table.move(list, 1, from - 1, 1, {})
      table.move(list, from + size, #list, #rest + 1, rest)
      local n = #rest < #list and fails(rest)
      if n then
        list = table.move(rest, 1, n, 1, {})
      else
        from = from + size
      end
    end
    size = size // 2
  end
  return list
end

return shrink
