-- CS:APP 9.11.2, reading uninitialised memory: malloc does not clear what it gives.
--
--    int *y = malloc(n * sizeof(int));
--    for (i = 0; i < n; i++) for (j = 0; j < n; j++) y[i] += A[i][j] * x[j];
--    if (y[0] > 0) ...

local vmem = require "vmem"

local m <close> = vmem.machine { preset = "core-i7" }
local p = m:spawn { name = "uninitialised" }
local d <close> = vmem.detector { process = p, heap = assert(vmem.heap.open(p, "segregated")) }

local n = 3
local A, x = d:calloc(n * n, 4), d:calloc(n, 4)

local function matvec()
  local y = d:malloc(n * 4)
  for i = 0, n - 1 do
    for j = 0, n - 1 do
      d:store(y + i * 4, d:load(y + i * 4, 4) + d:load(A + (i * n + j) * 4, 4) * d:load(x + j * 4, 4), 4)
    end
  end
  return y                           -- sums of garbage, but nobody has used them yet
end

local y = matvec()
if d:load(y, 4) > d:value(0) then print "positive" end
print(d:reports())

--> A branch depends on an uninitialised value
-->   at             examples/errors/uninitialised.lua:27: in main chunk
-->   it came from   the block of 12 bytes at 0x80000000210
-->   allocated at   examples/errors/uninitialised.lua:17: in function matvec
-->                  examples/errors/uninitialised.lua:26: in main chunk
