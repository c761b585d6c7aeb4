--- Traces that are made, not recorded: vmem.trace.sequential, strided, loop,
--- uniform, zipf, chase, matmul and phases.
---
--- Each takes one table of named options, or nothing, and gives a trace of data
--- accesses: the same ones for the same options on every machine. Numbers may be
--- integral floats (1e6), bytes also texts ("64MiB"). An option that does not
--- exist or does not fit raises an error that names it, what it got and what it
--- takes. The checks follow the core's rows, which `vmem.trace.generators()` lists.

local core = require "vmem.core"
local options = require "vmem.options"

local by_name = {}
for _, row in ipairs(core.generators()) do
  by_name[row.name] = { row = row, kinds = {} }
  for _, o in ipairs(row.options) do by_name[row.name].kinds[o.name] = o.kind end
end

-- What the core takes of what the user gave: named options, sizes in bytes, and
-- the list of traces; or nil and what is wrong.
local function split(g, given)
  local name = g.row.name
  if given ~= nil and type(given) ~= "table" then
    return nil, ("%s takes a table of options, not a %s"):format(name, type(given))
  end
  local named, traces = {}, {}
  for k, v in pairs(given or {}) do
    if math.type(k) == "integer" and g.row.takes_traces then
      local meta = type(v) == "userdata" and getmetatable(v)
      if not (meta and meta.__name == "vmem.trace") then
        return nil, ("%s: item %d is a %s, but takes a trace"):format(name, k, type(v))
      end
      local open, why = pcall(v.slice, v, 1, 0) -- a closed trace has no parts
      if not open then
        return nil, why:find("closed", 1, true) and ("%s: item %d is a closed trace"):format(name, k) or why
      end
      traces[k] = v
    elseif type(v) == "string" and g.kinds[k] == "bytes" then
      named[k] = options.bytes(v) or v
    else
      named[k] = v
    end
  end
  for k in pairs(traces) do
    if k < 1 or k > #traces then return nil, ("%s: the list of traces has a hole"):format(name) end
  end
  return named, traces
end

local function generator(name)
  local g = by_name[name]
  return function(given)
    local named, traces = split(g, given)
    local trace, why
    if named then
      trace, why = core.generate(name, named, traces)
    else
      why = traces
    end
    if not trace then error(why, 2) end
    return trace
  end
end

local generate = {}

---@class vmem.trace.SequentialOptions
---@field refs? integer             # accesses in all; default 1e6
---@field bytes? integer|string     # of the region; default 64 MiB
---@field stride? integer|string    # bytes from one access to the next; default 8
---@field base? integer|string      # lowest address; default 0x10000000
---@field stores? number            # fraction of stores, evenly spread; default 0
---@field size? integer|string      # bytes of an access; default 8

---A region from its beginning to its end, again and again. With `stores = 0.25`
---each fourth access is a store.
---@type fun(options?: vmem.trace.SequentialOptions): vmem.trace
generate.sequential = generator "sequential"

---@class vmem.trace.StridedOptions
---@field refs? integer             # accesses in all; default 1e6
---@field bytes? integer|string     # of the region; default 64 MiB
---@field stride? integer|string    # bytes from one access to the next; default 4096
---@field base? integer|string      # lowest address; default 0x10000000
---@field stores? number            # fraction of stores, evenly spread; default 0
---@field size? integer|string      # bytes of an access; default 8
---@field shift? integer|string     # bytes by which each sweep begins later, modulo the stride; default 8

---A region in long steps, each sweep a little later: a matrix read by columns.
---With `shift = 0` each sweep touches the same addresses.
---@type fun(options?: vmem.trace.StridedOptions): vmem.trace
generate.strided = generator "strided"

---@class vmem.trace.LoopOptions
---@field refs? integer             # accesses in all; default 1e6
---@field pages? integer            # that are visited in turn; default 100
---@field page? integer|string      # bytes of a page; default 4096
---@field base? integer|string      # lowest address; default 0x10000000
---@field stores? number            # fraction of stores, evenly spread; default 0
---@field size? integer|string      # bytes of an access; default 8

---One access to each of some pages in turn. With one page more than there are
---frames, LRU and FIFO miss always.
---@type fun(options?: vmem.trace.LoopOptions): vmem.trace
generate.loop = generator "loop"

---@class vmem.trace.UniformOptions
---@field refs? integer             # accesses in all; default 1e6
---@field bytes? integer|string     # of the region; default 256 MiB
---@field base? integer|string      # lowest address; default 0x10000000
---@field stores? number            # probability of a store; default 0
---@field size? integer|string      # bytes of an access, which is aligned to them; default 8
---@field seed? integer             # of the random numbers; default 1

---Anywhere in a region with the same probability.
---@type fun(options?: vmem.trace.UniformOptions): vmem.trace
generate.uniform = generator "uniform"

---@class vmem.trace.ZipfOptions
---@field refs? integer             # accesses in all; default 1e6
---@field pages? integer            # that there are, 8 bytes of host memory each; default 1e5
---@field alpha? number             # exponent, from 0 (uniform) to 8; default 1
---@field stores? number            # probability of a store; default 0
---@field seed? integer             # of the random numbers; default 1
---@field base? integer|string      # lowest address; default 0x10000000
---@field page? integer|string      # bytes of a page; default 4096
---@field size? integer|string      # bytes of an access, anywhere in its page; default 8

---Pages of very different popularity: the k-th is drawn k^alpha times less than
---the first. The popular ones lie anywhere among the others.
---@type fun(options?: vmem.trace.ZipfOptions): vmem.trace
generate.zipf = generator "zipf"

---@class vmem.trace.ChaseOptions
---@field refs? integer             # accesses in all; default 1e6
---@field nodes? integer            # in the cycle, 4 bytes of host memory each; default 2^20
---@field node? integer|string      # bytes from one node to the next in memory; default 64
---@field loads? integer            # fields that a visit loads, from the node's beginning; default 1
---@field stores? number            # probability that a visit then stores to the next field; default 0
---@field seed? integer             # of the random numbers; default 1
---@field base? integer|string      # lowest address; default 0x10000000
---@field size? integer|string      # bytes of a field; default 8

---A linked list whose nodes lie in random order, followed again and again.
---@type fun(options?: vmem.trace.ChaseOptions): vmem.trace
generate.chase = generator "chase"

---@class vmem.trace.MatmulOptions
---@field n? integer                # rows and columns of each matrix; default 256
---@field block? integer            # rows and columns of a block; default 0: naive
---@field element? integer|string   # bytes of an element; default 8
---@field order? "ijk"|"ikj"|"jik"|"jki"|"kij"|"kji" # of the loops, the outermost first; default "ijk"
---@field base? integer|string      # lowest address; default 0x10000000

---C += A B of n by n matrices, stored by rows at `base`, each at a multiple of
---4096 from it. The matrix that the innermost loop does not index is held in a
---register meanwhile.
---@type fun(options?: vmem.trace.MatmulOptions): vmem.trace
generate.matmul = generator "matmul"

---@class vmem.trace.PhasesOptions
---@field [integer] vmem.trace      # the phases
---@field rounds? integer           # how often all phases are played; default 1
---@field turn? integer             # records of a phase before the next has its turn; default 0: all
---@field tasks? boolean            # a task number for each phase, which may have none; default false

---Other traces of any kind, one after the other: a program whose working set
---changes. With `turn`, some records of each in turn, until all have ended; with
---`tasks` too, processes that share a machine.
---@type fun(options: vmem.trace.PhasesOptions): vmem.trace
generate.phases = generator "phases"

---The generators and their options, as the core has them.
---@return table[] list # of { name, doc, takes_traces, options = { { name, kind, default, … }, … } }
function generate.generators() return core.generators() end

return generate
