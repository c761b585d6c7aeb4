--- How paging was turned on, as a worksheet: each step in a sentence, the tables,
--- entries and registers that it wrote, and where addresses lead then.

local core = require "vmem.core"
local text = require "vmem.text"

local Machine = core.Machine

---@class vmem.Boot
local Boot = {}
Boot.__index = Boot

local WIDTH = 92

-- --- names -----------------------------------------------------------------------------

-- Tables by levels of the format, the leaves' first; an entry's name is the table's
-- with an E.
local tables = {
  ["x86-32"] = { [2] = { "PT", "PD" } },
  ["x86-64"] = { [3] = { "PT", "PD", "PDPT" }, [4] = { "PT", "PD", "PDPT", "PML4" },
    [5] = { "PT", "PD", "PDPT", "PML4", "PML5" } },
}

local function table_name(log, level)
  local names = (tables[log.format] or {})[log.levels]
  return names and names[level + 1] or ("level-%d table"):format(level)
end

local function entry_name(log, level)
  local names = (tables[log.format] or {})[log.levels]
  if not names then return ("level-%d PTE"):format(level) end
  return names[level + 1] .. "E"
end

-- --- sentences ---------------------------------------------------------------------------

local function hex(v) return ("%#x"):format(v) end

local why = {
  no_paging = "paging.enabled is false: addresses stay physical, and there is nothing to turn on.",
  no_low = "kernel.low is less than a page: the kernel maps nothing, and a space is its user's alone.",
  no_upper = "The whole virtual address space is the user's (or leaves no room beside): the kernel has no part of it.",
  no_dram = "DRAM is not larger than the region that the kernel would map (kernel.low): a space is its user's alone.",
  no_frames = "The kernel's tables would take more than a quarter of memory: a space is its user's alone.",
}

-- What each step does, told of the log.
local sentences = {
  off = function() return "Paging is off: every address is physical." end,
  alone = function(log) return why[log.why] end,
  directory = function(log)
    return ("The kernel takes a zeroed table for the root of its own space (%s)%s."):format(
      table_name(log, log.levels - 1),
      log.root < log.low and ", from the top of the low " .. text.bytes(log.low) or "")
  end,
  identity = function(log)
    return ("The low %s of memory are mapped where they are, for the supervisor: virtual address = physical address. "
      .. "The code that runs now will still be found when paging goes on under it."):format(text.bytes(log.low))
  end,
  high = function(log)
    return ("The same tables are hung in the root a second time: the same memory appears at %s, in the "
      .. "kernel's part."):format(hex(log.base))
  end,
  self = function(log)
    return ("An entry of the %s names the %s itself. Through it the walk ends one level early, at a table: all tables "
      .. "of the space that runs are pages in its window. Each space's entry names its own root."):format(
      table_name(log, log.levels - 1), table_name(log, log.levels - 1))
  end,
  no_self = function(log)
    if log.format ~= "riscv" then
      return "The root does not map itself: a table can stand in for one of a lower level only if all have the same "
        .. "number of entries."
    end
    return "The root does not map itself: on RISC-V an entry with R, W and X clear is a pointer at every level, and at "
      .. "the last one it faults. A walk through such an entry could only end at a leaf, never at a table; the kernel "
      .. "reaches its tables by their addresses in the low region."
  end,
  features = function(log)
    return log.format == "x86-64"
      and "The processor is told of the format: 64-bit entries (PAE), long mode to come (LME), and the XD bit (NXE)."
      or "The processor is told that directory entries may be large pages (PSE)."
  end,
  load = function() return "The root's physical address goes into CR3. Nothing changes yet." end,
  on = function(log)
    if log.format == "riscv" then
      return log.mapped and ("One write to satp sets the mode (%d bits of address), ASID 0 and the root's PPN: "
        .. "paging is on. The next instruction is fetched through the identity mapping."):format(log.va_bits)
        or "Paging is on: satp gets a mode and a root as each process runs."
    elseif not log.mapped then
      return "Paging is on. The root is loaded as each process runs."
    end
    return "CR0.PG is set, and WP, so that the supervisor heeds read-only pages, too: paging is on. The next "
      .. "instruction is fetched through the identity mapping."
  end,
  jump = function() return "A jump: the same instructions, now by their addresses in the kernel's part." end,
  drop = function()
    return "The identity mapping has served: its entries in the root are cleared. The lower part is the users' "
      .. "from now on."
  end,
  flush = function(log)
    return log.format == "riscv" and "sfence.vma: the TLBs forget what they knew of the lower part."
      or "CR3 is written again, and the TLBs forget what they knew of the lower part. Only now global pages are "
      .. "allowed (PGE), which later writes of CR3 leave in the TLBs."
  end,
}

-- --- reading the log ------------------------------------------------------------------------

local lists = { table = "tables", entry = "entries", register = "registers", walk = "walks" }

local function add_names(log, row)
  if row.kind == "entry" then
    row.name = entry_name(log, row.level)
    row.index = (row.va >> log.shift[row.level]) & ((1 << log.bits_of[row.level]) - 1)
  elseif row.kind == "table" then
    row.name = table_name(log, row.level)
  end
end

--- Read the core's rows.
---@param raw table
---@return vmem.Boot
local function new(raw)
  local log = { steps = {}, before = {}, after = {} }
  for k, v in pairs(raw) do
    if type(k) == "string" then log[k] = v end
  end
  log.bits_of = {}
  for level = 0, log.levels - 1 do
    log.bits_of[level] = (log.shift[level + 1] or log.va_bits) - log.shift[level]
  end
  for _, row in ipairs(raw) do
    local step = log.steps[#log.steps]
    if row.kind == "step" then
      log.steps[#log.steps + 1] = { name = row.name, text = sentences[row.name](log),
        tables = {}, entries = {}, registers = {}, walks = {} }
    else
      add_names(log, row)
      local list = step[lists[row.kind]]
      list[#list + 1] = row
      if row.kind == "register" then
        log.before[row.name] = log.before[row.name] or row.old
        log.after[row.name] = row.new
      end
    end
  end
  return setmetatable(log, Boot)
end

--- The step of this name; nil if the boot had none.
---@param name string
---@return vmem.BootStep?
function Boot:step(name)
  for _, step in ipairs(self.steps) do
    if step.name == name then return step end
  end
end

-- --- printing -------------------------------------------------------------------------------

local function bit_names(log, value)
  local names = {}
  for _, bit in ipairs(log.bits) do
    if value & bit.mask ~= 0 then names[#names + 1] = bit.name end
  end
  return #names > 0 and table.concat(names, " ") or "empty"
end

local function entry_line(log, row)
  local digits = "0x%0" .. 2 * log.entry_bytes .. "x"
  return ("   %s %d at %s: " .. digits .. " -> " .. digits .. "  %s"):format(
    row.name, row.index, hex(row.pa), row.old, row.new, bit_names(log, row.new))
end

-- Entries as lines; of many of one table that follow each other, the first and the last.
local function entry_lines(log, entries, lines)
  local i = 1
  while i <= #entries do
    local last = i
    while entries[last + 1] and entries[last + 1].level == entries[i].level
      and entries[last + 1].pa == entries[last].pa + log.entry_bytes do
      last = last + 1
    end
    lines[#lines + 1] = entry_line(log, entries[i])
    if last - i > 2 then
      lines[#lines + 1] = ("   ... %d more, each a %s further"):format(last - i - 1,
        text.bytes(1 << log.shift[entries[i].level]))
    elseif last - i == 2 then
      lines[#lines + 1] = entry_line(log, entries[i + 1])
    end
    if last > i then lines[#lines + 1] = entry_line(log, entries[last]) end
    i = last + 1
  end
end

--- The worksheet.
---@return string
function Boot:worksheet()
  local lines = {}
  for i, step in ipairs(self.steps) do
    lines[#lines + 1] = text.wrap(("%d. %s"):format(i, step.text), WIDTH, "   ")
    for _, t in ipairs(step.tables) do
      lines[#lines + 1] = ("   a %s of %s at %s, for addresses from %s on"):format(t.name, text.bytes(t.bytes),
        hex(t.pa), hex(t.va))
    end
    entry_lines(self, step.entries, lines)
    for _, r in ipairs(step.registers) do
      lines[#lines + 1] = r.old == r.new and ("   %s = %s"):format(r.name, hex(r.new))
        or ("   %s: %s -> %s"):format(r.name, hex(r.old), hex(r.new))
    end
    for _, w in ipairs(step.walks) do
      lines[#lines + 1] = w.pa and ("   virtual %s is physical %s"):format(hex(w.va), hex(w.pa))
        or ("   virtual %s is not mapped"):format(hex(w.va))
    end
  end
  return table.concat(lines, "\n")
end

Boot.__tostring = Boot.worksheet

--- Turn paging on, if that was not done as the machine was made, and tell how it was
--- done; a machine boots once.
---@return vmem.Boot
function Machine:boot() return new(self:_boot()) end
