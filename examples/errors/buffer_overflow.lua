-- CS:APP 9.11.3, stack buffer overflows: gets knows no size.
--
--    char buf[64];  gets(buf);

local vmem = require "vmem"

local m <close> = vmem.machine { preset = "core-i7" }
local p = m:spawn { name = "buffer_overflow" }
local d <close> = vmem.detector { process = p, heap = assert(vmem.heap.open(p, "segregated")) }

local function gets(address, line) d:write(address, line .. "\0") end

local function echo(line)
  local f <close> = d:frame("echo", { "i", 4 }, { "buf", 64 })
  gets(f.buf, line)
end

echo(("x"):rep(63))                   -- fits, with its zero
echo(("x"):rep(64))
print(d:reports())

--> A store of 65 bytes at 0x7ffffbffff80 runs over the end of the variable buf of 64 bytes at
-->   0x7ffffbffff80: it may use 64 bytes
-->   at             examples/errors/buffer_overflow.lua:11: in function gets
-->                  examples/errors/buffer_overflow.lua:15: in function echo
-->                  examples/errors/buffer_overflow.lua:19: in main chunk
-->   declared at    examples/errors/buffer_overflow.lua:14: in function echo
-->                  examples/errors/buffer_overflow.lua:19: in main chunk
