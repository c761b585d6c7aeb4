--- The worksheet of one access, as CS:APP 9.6.4 has it: the fields of the
--- address, each lookup with its set, tag and outcome, the physical address.

local explain = {}

---@class vmem.Explanation
---@field va integer
---@field vpn integer
---@field vpo integer
---@field tlbi? integer set of the first TLB level
---@field tlbt? integer tag there
---@field tlb? "hit"|"miss" of the first level
---@field ppn? integer
---@field pa? integer
---@field co? integer byte in the line
---@field ci? integer set of the first cache level
---@field ct? integer tag there
---@field cache? "hit"|"miss" of the first level
---@field byte? integer
---@field fault? table the fault for good, where there was one
---@field cycles integer
---@field steps table[] each lookup in order
local Explanation = {}
Explanation.__index = Explanation

local function hex(v, bits) return ("0x%0" .. math.max(1, (bits + 3) // 4) .. "x"):format(v) end

local function mask(bits) return bits >= 64 and -1 or (1 << bits) - 1 end

--- Read the core's rows as a worksheet.
---@param raw table what the core told
---@param kind string
---@param size integer
---@return vmem.Explanation
function explain.new(raw, kind, size)
  local g = raw.geometry
  local x = {
    va = raw.va, kind = kind, size = size, geometry = g, pa = raw.pa, byte = raw.byte,
    fault = raw.fault, cycles = raw.cycles, cut = raw.cut, steps = {},
    vpn = (raw.va & mask(g.va_bits)) >> g.page_bits, vpo = raw.va & mask(g.page_bits),
  }
  for i, row in ipairs(raw) do x.steps[i] = row end
  for _, row in ipairs(x.steps) do
    if row.what == "tlb" and not x.tlb then
      x.tlbi, x.tlbt, x.tlb = row.set, row.tag, row.hit and "hit" or "miss"
    elseif row.what == "cache" and row.class ~= "walk" and not x.cache then
      x.ci, x.ct, x.cache = row.set, row.tag, row.hit and "hit" or "miss"
    end
  end
  if x.pa then
    x.ppn = x.pa >> g.page_bits
    if g.line_bits then x.co = x.pa & mask(g.line_bits) end
  end
  return setmetatable(x, Explanation)
end

local function bits_of(v, high, low)
  local t = {}
  for i = high, low, -1 do t[#t + 1] = tostring(v >> i & 1) end
  return table.concat(t)
end

local function yes(b) return b and "hit" or "miss" end

-- One line of text for each kind of step.
local writers = {
  tlb = function(row, g)
    return ("TLB %s"):format(row.level),
      ("set %#x, tag %#x"):format(row.set, row.tag),
      row.hit and ("hit: PPN %s"):format(hex(row.ppn, g.pa_bits - g.page_bits)) or "miss"
  end,
  pwc = function(row) return ("walk cache %d"):format(row.level), "", yes(row.hit) end,
  pte = function(row, g)
    local outcome = row.unknown and "unknown: nobody gave this PTE"
      or not row.present and "not present"
      or row.leaf and ("PPN %s"):format(hex(row.ppn, g.pa_bits - g.page_bits))
      or ("table in frame %#x"):format(row.ppn)
    return #g.levels > 1 and ("PTE level %d"):format(row.level) or "PTE",
      ("at %#x: %#x"):format(row.pa, row.pte), outcome
  end,
  cache = function(row)
    return ("cache %s"):format(row.level),
      ("set %#x, tag %#x%s"):format(row.set, row.tag, row.class == "walk" and " (walk)" or ""),
      yes(row.hit)
  end,
  memory = function(row)
    return "DRAM", ("at %#x%s"):format(row.pa, row.class == "walk" and " (walk)" or ""),
      row.write and "written" or "read"
  end,
  fault = function(row)
    return "page fault", row.why, row.served and "served by the kernel, access tried again" or "not served"
  end,
}

--- The worksheet as text.
---@return string
function Explanation:worksheet()
  local g, out = self.geometry, {}
  local function line(...) out[#out + 1] = (...) end
  local function field(name, v, width) line(("  %-6s %s"):format(name, v and hex(v, width) or "-")) end
  line(("%s of %d byte%s at %s"):format(self.kind, self.size, self.size == 1 and "" or "s", hex(self.va, g.va_bits)))
  if g.paging then
    local fields, names, indices, high = {}, {}, {}, g.va_bits
    for i, bits in ipairs(g.levels) do
      high = high - bits
      fields[i], names[i] = bits_of(self.va, high + bits - 1, high), #g.levels > 1 and "VPN" .. i or "VPN"
      indices[i] = hex(self.va >> high & mask(bits), bits)
    end
    line(("  bits   %s %s   (%s, VPO)"):format(table.concat(fields, " "), bits_of(self.va, g.page_bits - 1, 0),
      table.concat(names, ", ")))
    field("VPN", self.vpn, g.va_bits - g.page_bits)
    if #g.levels > 1 then
      for i, name in ipairs(names) do line(("  %-6s %s"):format(name, indices[i])) end
    end
    field("VPO", self.vpo, g.page_bits)
    if self.tlb then
      field("TLBI", self.tlbi, g.tlb_set_bits)
      field("TLBT", self.tlbt, g.va_bits - g.page_bits - g.tlb_set_bits)
    end
  end
  line ""
  line "  step               where                           outcome                    cycles"
  for _, row in ipairs(self.steps) do
    local what, where, outcome = writers[row.what](row, g)
    line((("  %-18s %-31s %-26s %6s"):format(what, where, outcome,
      row.cycles and ("%d"):format(row.cycles) or "")):gsub("%s+$", ""))
  end
  if self.cut then line "  (further steps are left out)" end
  line ""
  if self.fault then
    line("  fault  " .. tostring(self.fault))
    if self.fault.code == "UNKNOWN" then
      line "         the PTE is unknown: the tables of state do not say what it holds"
    end
  elseif self.pa then
    field("PPN", self.ppn, g.pa_bits - g.page_bits)
    field("PA", self.pa, g.pa_bits)
    if self.cache then
      field("CO", self.co, g.line_bits)
      field("CI", self.ci, g.cache_set_bits)
      field("CT", self.ct, g.pa_bits - g.line_bits - g.cache_set_bits)
    end
    field("byte", self.byte, 8)
  end
  line(("  cycles %d"):format(self.cycles))
  return table.concat(out, "\n")
end

Explanation.__tostring = Explanation.worksheet

return explain
