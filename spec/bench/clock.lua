--- What the benchmarks measure with: processor time, and medians of three.

local clock = {}

--- The seconds that f() takes, with no garbage of others to collect.
function clock.seconds(f)
  collectgarbage()
  local t0 = os.clock()
  f()
  return os.clock() - t0
end

--- The median of what three calls of f answer.
function clock.median(f)
  local values = {}
  for i = 1, 3 do values[i] = f() end
  table.sort(values)
  return values[2]
end

--- The median of the seconds that three calls of f take.
function clock.median_seconds(f)
  return clock.median(function() return clock.seconds(f) end)
end

return clock
