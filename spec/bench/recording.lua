--- What recording allocations costs: a program of malloc and free alone, by itself and
--- recorded in turn, with one thread and with two; and what making a trace of it takes.

local core = require "vmem.core"
local clock = require "clock"
local command = require "vmem.command"

local TURNS <const> = 3000000

return function(folder)
  local program, out = os.tmpname(), os.tmpname()
  assert(os.execute(("cc -O2 -w -D_GNU_SOURCE -o %s %sspec/fixtures/mallocs.c -lpthread"):format(program, folder)))
  local library = assert(command.library("libvmem-malloc.so", "VMEM_MALLOC_RECORDER"))

  -- The program tells the nanoseconds of its operations.
  local function told()
    local f <close> = assert(io.open(out))
    return f:read "n"
  end

  print "Nanoseconds an operation of malloc or free, by the wall clock; medians of three."
  print(("%-12s %10s %10s %14s %16s"):format("", "alone", "recorded", "M recorded/s", "made a trace in"))
  for threads = 1, 2 do
    local alone, recorded, made = {}, {}, {}
    for i = 1, 3 do
      assert(os.execute(("%s loop %d %d >%s"):format(program, TURNS, threads, out)))
      alone[i] = told()
      made[i] = clock.seconds(function()
        local packed = assert(core.heap_record { argv = { program, "loop", tostring(TURNS), tostring(threads) },
          env = { "LD_PRELOAD=" .. library }, library = library, stdout = out })
        made.ops = #packed // 16
      end) / made.ops * 1e9
      recorded[i] = told()
    end
    table.sort(alone)
    table.sort(recorded)
    table.sort(made)
    print(("%-12s %10.1f %10.1f %14.1f %16.1f"):format(threads .. (threads == 1 and " thread" or " threads"), alone[2],
      recorded[2], 1e3 / recorded[2], made[2]))
  end
  os.remove(program)
  os.remove(out)
end
