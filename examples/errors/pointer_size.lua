-- CS:APP 9.11.4, pointers and the objects they point to are not the same size.
--
--    int **A = malloc(n * sizeof(int));          should be sizeof(int *)
--    for (i = 0; i < n; i++) A[i] = malloc(m * sizeof(int));

local vmem = require "vmem"

local m <close> = vmem.machine { preset = "core-i7" }
local p = m:spawn { name = "pointer_size" }
local d <close> = vmem.detector { process = p, heap = assert(vmem.heap.open(p, "segregated")) }

local function make_array(n, k)
  local A = d:calloc(n, 4)
  for i = 0, n - 1 do
    d:store(A + i * 8, d:malloc(k * 4))
  end
  return A
end

make_array(5, 3)
print(d:reports())

--> A store of 8 bytes at 0x80000000180 runs over the end of the block of 20 bytes at 0x80000000170: it
-->   may use 4 bytes (3 times)
-->   at             examples/errors/pointer_size.lua:15: in function make_array
-->                  examples/errors/pointer_size.lua:20: in main chunk
-->   allocated at   examples/errors/pointer_size.lua:13: in function make_array
-->                  examples/errors/pointer_size.lua:20: in main chunk
-->   perhaps        elements of 4 bytes were allocated, but 8 are accessed: were the sizes of pointer
-->                  and object mixed up?
