-- The small system of CS:APP 9.6.4, in the state that figure 9.20 draws: 14-bit
-- virtual addresses, 12-bit physical ones, pages of 64 bytes, a TLB of four sets,
-- a direct-mapped cache of sixteen lines. What the figure marks as not valid is
-- left out; page-table entries that it does not show are unknown.
--    lua5.4 examples/csapp.lua [ADDRESS ...]
local vmem = require "vmem"

local tlb = { -- set, tag, PPN
  { 0, 0x09, 0x0d }, { 0, 0x07, 0x02 }, { 1, 0x03, 0x2d }, { 3, 0x03, 0x0d }, { 3, 0x0a, 0x34 },
}
local table_of_pages = { [0] = 0x28, false, 0x33, 0x02, false, 0x16, false, false,
  0x13, 0x17, 0x09, false, false, 0x2d, 0x11, 0x0d }
local cache = { -- set, tag, four bytes
  { 0x0, 0x19, 0x99, 0x11, 0x23, 0x11 }, { 0x2, 0x1b, 0x00, 0x02, 0x04, 0x08 }, { 0x4, 0x32, 0x43, 0x6d, 0x8f, 0x09 },
  { 0x5, 0x0d, 0x36, 0x72, 0xf0, 0x1d }, { 0x7, 0x16, 0x11, 0xc2, 0xdf, 0x03 }, { 0x8, 0x24, 0x3a, 0x00, 0x51, 0x89 },
  { 0xa, 0x2d, 0x93, 0x15, 0xda, 0x3b }, { 0xd, 0x16, 0x04, 0x96, 0x34, 0x15 }, { 0xe, 0x13, 0x83, 0x77, 0x1b, 0xd3 },
}

local state = { ptes = table_of_pages, tlb = {}, cache = {} }
for i, t in ipairs(tlb) do state.tlb[i] = { set = t[1], tag = t[2], ppn = t[3] } end
for i, c in ipairs(cache) do state.cache[i] = { set = c[1], tag = c[2], bytes = { table.unpack(c, 3) } } end

for i, address in ipairs(#arg > 0 and arg or { "0x03d4" }) do
  local m <close> = vmem.machine { preset = "csapp" }
  local p = m:spawn { name = "figure 9.20" }
  p:set_state(state)
  if i > 1 then print() end
  print(p:explain(assert(math.tointeger(tonumber(address)), "an address is 0x03d4")))
end
