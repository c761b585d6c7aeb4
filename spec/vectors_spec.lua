--- With and without vector instructions: the same counters, on sets of 8 and 16
--- ways and TLBs of 4 and 12, which have vector forms of their own, and on others.

local lu = require "luaunit"
local vmem = require "vmem"
local root = require("tree").root

TestVectors = {}

local function traces()
  local function t(name, options) return vmem.trace[name](options) end
  return {
    assert(vmem.trace.open(root .. "/examples/traces/sort.vmt")):slice(1, 200000),
    t("zipf", { refs = 40000, pages = 3000, stores = 0.3, seed = 7 }),
    t("uniform", { refs = 40000, bytes = "16MiB", stores = 0.4, seed = 8 }),
    t("sequential", { refs = 40000, bytes = "1MiB", stores = 0.25 }),
  }
end

local shapes = {
  { l1 = 8, l2 = 8, l3 = 16, tlb = 12, entries = 1536 },
  { l1 = 16, l2 = 4, l3 = 8, tlb = 16, entries = 256 },
  { l1 = 4, l2 = 16, l3 = 2, tlb = 6, entries = 96 },
}

local function counters(trace, shape, options)
  local m <close> = vmem.machine {
    preset = "core-i7", resident = 700,
    policy = options.policy, shortcuts = options.shortcuts, vectors = options.vectors,
    tlb = { l2 = { entries = shape.entries, ways = shape.tlb } },
    cache = {
      l1i = { size = shape.l1 * 4096, ways = shape.l1 }, l1d = { size = shape.l1 * 4096, ways = shape.l1 },
      l2 = { size = shape.l2 * 16384, ways = shape.l2 }, l3 = { size = shape.l3 * 65536, ways = shape.l3 },
    },
  }
  m:spawn { name = "vectors" }:replay(trace)
  lu.assertEquals({ m:check() }, { true })
  return m:stats()
end

function TestVectors:testCountersAgree()
  for _, trace in ipairs(traces()) do
    for _, shape in ipairs(shapes) do
      for _, policy in ipairs { "lru", "clock" } do
        local with = counters(trace, shape, { policy = policy })
        lu.assertEquals(counters(trace, shape, { policy = policy, vectors = false }), with)
        lu.assertEquals(counters(trace, shape, { policy = policy, shortcuts = false }), with)
      end
    end
  end
end
