--- Machines to begin with, each a table of options.

local presets = {
  -- CS:APP 9.6.4: 14-bit virtual and 12-bit physical addresses, 64-byte pages,
  -- a TLB of 16 entries in 4 sets, 16 cache lines of 4 bytes, direct mapped. The
  -- kernel keeps its page tables behind the 4 KiB that the book's PTEs can name.
  csapp = {
    paging = { va_bits = 14, pa_bits = 12, page = 64, levels = { 8 }, pte = "plain" },
    tlb = { l1 = { entries = 16, ways = 4 }, asid_bits = 8 },
    cache = { l1 = { size = 64, ways = 1, line = 4, latency = 4 } },
    dram = { size = "8KiB", latency = 100 }, swap = "16KiB",
  },
  -- CS:APP 9.7: 48-bit virtual addresses, four levels, L2 TLB of 512 entries,
  -- L1 32 KiB, L2 256 KiB, L3 8 MiB; latencies as in CS:APP 6.
  ["core-i7"] = {
    paging = { va_bits = 48, pa_bits = 52, page = "4KiB", levels = { 9, 9, 9, 9 }, pte = "x86-64" },
    tlb = {
      l1i = { entries = 128, ways = 4 }, l1d = { entries = 64, ways = 4 },
      l2 = { entries = 512, ways = 4, latency = 7 },
    },
    cache = {
      l1i = { size = "32KiB", ways = 8, latency = 4 }, l1d = { size = "32KiB", ways = 8, latency = 4 },
      l2 = { size = "256KiB", ways = 8, latency = 10 }, l3 = { size = "8MiB", ways = 16, latency = 50 },
    },
    dram = { size = "64MiB", latency = 200 }, swap = "1GiB",
  },
  -- A Pentium-like machine: two levels, split TLBs, two cache levels.
  ["x86-32"] = {
    paging = { va_bits = 32, pa_bits = 32, page = "4KiB", levels = { 10, 10 }, pte = "x86-32" },
    tlb = { l1i = { entries = 32, ways = 4 }, l1d = { entries = 64, ways = 4 }, asid_bits = 0 },
    cache = {
      l1i = { size = "16KiB", ways = 4, line = 32, latency = 3 },
      l1d = { size = "16KiB", ways = 4, line = 32, latency = 3 },
      l2 = { size = "512KiB", ways = 4, line = 32, latency = 14 },
    },
    dram = { size = "64MiB", latency = 100 }, swap = "256MiB",
  },
  -- An application core of the RISC-V kind, three levels.
  sv39 = {
    paging = { va_bits = 39, pa_bits = 52, page = "4KiB", levels = { 9, 9, 9 }, pte = "riscv" },
    tlb = {
      l1i = { entries = 32, ways = 32 }, l1d = { entries = 32, ways = 32 },
      l2 = { entries = 512, ways = 4, latency = 6 }, asid_bits = 16,
    },
    cache = {
      l1i = { size = "32KiB", ways = 4, latency = 3 }, l1d = { size = "32KiB", ways = 8, latency = 3 },
      l2 = { size = "2MiB", ways = 16, latency = 20 },
    },
    dram = { size = "64MiB", latency = 150 }, swap = "1GiB",
  },
}
presets.sv48 = {
  paging = { va_bits = 48, pa_bits = 52, page = "4KiB", levels = { 9, 9, 9, 9 }, pte = "riscv" },
  tlb = presets.sv39.tlb, cache = presets.sv39.cache, dram = presets.sv39.dram, swap = presets.sv39.swap,
}

--- Their names, sorted.
---@return string[]
local function names()
  local list = {}
  for k, v in pairs(presets) do
    if type(v) == "table" then list[#list + 1] = k end
  end
  table.sort(list)
  return list
end

return setmetatable(presets, { __index = { names = names } })
