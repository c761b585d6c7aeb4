--- What memory looks like: a space drawn, and the texts of /proc as Linux prints
--- them. Each is an object whose tostring is the text.

local core = require "vmem.core"

local Machine, Process = core.Machine, core.Process

local printed = { __tostring = function(self) return self.text end }

local function object(t, lines)
  t.text = table.concat(lines, "\n")
  return setmetatable(t, printed)
end

-- How often each letter stands in a text of page states.
local function tally(letters)
  local _, cached = letters:gsub("c", "")
  local _, uncached = letters:gsub("u", "")
  return cached, uncached
end

-- Wide ranges are looked at by pieces, so that a text of states stays small.
local PIECE = 1 << 20

local function count_pages(p, start, stop, page)
  local cached, uncached = 0, 0
  while math.ult(start, stop) do
    local to = stop - start > PIECE * page and start + PIECE * page or stop
    local c, u = tally(p:pages(start, to))
    cached, uncached = cached + c, uncached + u
    start = to
  end
  return cached, uncached
end

local function permissions(a) return a.prot .. (a.flags:find("shared", 1, true) and "s" or "p") end

-- Inode numbers of files, by name, as they come.
local function inodes(m)
  local list = {}
  for i, f in ipairs(m:files()) do list[f.name] = i end
  return list
end

local function map_line(a, width, inode)
  local line = ("%0" .. width .. "x-%0" .. width .. "x %s %08x %s %d"):format(
    a.start, a.stop, permissions(a), a.offset or 0, a.file and "08:01" or "00:00", inode)
  local name = a.file or a.name
  return name == "" and line or ("%-" .. (2 * width + 49) .. "s%s"):format(line, name)
end

local function address_width(p)
  return p:geometry().va_bits > 32 and 12 or 8
end

--- The areas, as /proc/PID/maps prints them.
---@return vmem.Text
function Process:maps()
  local areas, inode, lines = self:areas(), inodes(self:machine()), {}
  for i, a in ipairs(areas) do lines[i] = map_line(a, address_width(self), inode[a.file] or 0) end
  return object({ areas = areas }, lines)
end

local function kib(n) return n // 1024 end

--- The areas with what is in memory of each, as /proc/PID/smaps prints them.
---@return vmem.Text
function Process:smaps()
  local m = self:machine()
  local inode, lines, areas = inodes(m), {}, self:areas()
  local page = m:options().paging.page
  local fields = { "Size", "Rss", "Pss", "Shared_Clean", "Shared_Dirty", "Private_Clean", "Private_Dirty",
    "Referenced", "Anonymous", "AnonHugePages", "Swap", "Locked" }
  for _, a in ipairs(areas) do
    local s = self:_smap(a.start, a.stop)
    s.Size = a.stop - a.start
    s.Locked = a.flags:find("locked", 1, true) and s.Rss or 0
    a.smap = s
    lines[#lines + 1] = map_line(a, address_width(self), inode[a.file] or 0)
    for _, name in ipairs(fields) do
      lines[#lines + 1] = ("%-16s%8d kB"):format(name .. ":", kib(s[name]))
    end
    lines[#lines + 1] = ("%-16s%8d kB"):format("KernelPageSize:", kib(math.max(page, a.page)))
  end
  return object({ areas = areas }, lines)
end

-- --- a picture of a space -----------------------------------------------------------

local function size_text(n)
  local units, i = { "B", "KiB", "MiB", "GiB", "TiB", "PiB" }, 1
  while n >= 1024 and i < #units do n, i = n / 1024, i + 1 end
  return (n == math.floor(n) and "%d %s" or "%.1f %s"):format(n == math.floor(n) and math.floor(n) or n, units[i])
end

-- What is drawn of an area: a bar of up to 16 cells, each the state of a part of it.
local function bar(p, a, page)
  local cells, n = {}, math.min(16, (a.stop - a.start) // page)
  local pages = (a.stop - a.start) // page
  for i = 0, n - 1 do
    local from, to = a.start + pages * i // n * page, a.start + pages * (i + 1) // n * page
    local cached, uncached = count_pages(p, from, to, page)
    cells[#cells + 1] = cached == 0 and "." or uncached == 0 and "#" or "+"
  end
  return table.concat(cells)
end

local function area_name(a)
  if a.file or a.name ~= "" then return a.file or a.name end
  return a.flags:find("shared", 1, true) and "shared memory" or "anonymous"
end

--- A picture of the address space, the highest address first: each area with its
--- size and its pages in memory, and the gaps between.
---@return vmem.Text
function Process:map()
  local areas, lines, width = self:areas(), {}, 44
  local g, page = self:geometry(), self:machine():options().paging.page
  local address = "0x%0" .. math.max(4, (g.va_bits + 3) // 4) .. "x "
  local indent = (" "):rep(#address:format(0))
  local function line(text) lines[#lines + 1] = text end
  local function border(at) line(address:format(at) .. "+" .. ("-"):rep(width) .. "+") end
  local function gap(from, to)
    if from == to then return end
    line(("%%s|%%%ds|"):format(width):format(indent, ("(%s free) "):format(size_text(to - from))))
    border(from)
  end
  local last = self:user_top()
  line(self:name() == "" and ("process %d"):format(self:pid()) or ("process %d, %s"):format(self:pid(), self:name()))
  if #self:kernel() > 0 then
    line(("%s| %-25s %16s |"):format(indent, "kernel, supervisor only", size_text((1 << g.va_bits) - last)))
  end
  border(last)
  for i = #areas, 1, -1 do
    local a = areas[i]
    gap(a.stop, last)
    local pages, cached = (a.stop - a.start) // page, count_pages(self, a.start, a.stop, page)
    line(("%s| %-4s %-20s %16s |  %s  %d of %d pages"):format(indent, permissions(a), area_name(a):sub(1, 20),
      size_text(a.stop - a.start), bar(self, a, page), cached, pages))
    border(a.start)
    last = a.start
  end
  gap(0, last)
  line(indent .. " # in memory   + in part   . not in memory")
  return object({ areas = areas }, lines)
end

-- --- the machine -------------------------------------------------------------------------

local meminfo = {
  __tostring = function(self)
    local page, lines = self.page, {}
    local function row(name, pages) lines[#lines + 1] = ("%-16s%8d kB"):format(name .. ":", pages * page // 1024) end
    row("MemTotal", self.frames)
    row("MemFree", self.free)
    row("Cached", self.cached)
    row("SwapCached", self.swap_cached)
    row("Mlocked", self.locked)
    row("SwapTotal", self.swap)
    row("SwapFree", self.swap - self.swap_used)
    row("Dirty", self.dirty)
    row("AnonPages", self.anonymous)
    row("Mapped", self.mapped)
    row("Shmem", self.shared)
    row("KernelStack", self.kernel_stacks)
    row("PageTables", self.tables)
    row("AnonHugePages", self.huge)
    if self.commit_limit then row("CommitLimit", self.commit_limit) end
    row("Committed_AS", self.committed)
    return table.concat(lines, "\n")
  end,
}

--- Frames and swap, in pages; prints as /proc/meminfo does.
---@return vmem.MemoryInfo
function Machine:meminfo() return setmetatable(self:_meminfo(), meminfo) end

-- Linux's names for our counters.
local vmstat_rows = {
  { "pgfault", "minor_faults", "major_faults" }, { "pgmajfault", "major_faults" },
  { "pswpin", "swap_ins" }, { "pswpout", "swap_outs" },
  { "pgpgin", "swap_ins", "file_ins" }, { "pgpgout", "swap_outs", "file_outs" },
  { "pgsteal_kswapd", "background" }, { "oom_kill", "oom_kills" },
}

--- Counters of the kernel since the last reset_stats, under the names of
--- /proc/vmstat where it has them.
---@return vmem.Text
function Machine:vmstat()
  local info, k, list, lines = self:_meminfo(), self:stats().kernel, {}, {}
  local function row(name, value)
    list[name] = value
    lines[#lines + 1] = ("%s %d"):format(name, value)
  end
  row("nr_free_pages", info.free)
  row("nr_anon_pages", info.anonymous)
  row("nr_mapped", info.mapped)
  row("nr_file_pages", info.cached)
  row("nr_dirty", info.dirty)
  row("nr_page_table_pages", info.tables)
  row("nr_shmem", info.shared)
  row("nr_mlock", info.locked)
  for _, r in ipairs(vmstat_rows) do
    local n = 0
    for i = 2, #r do n = n + k[r[i]] end
    row(r[1], n)
  end
  row("pgsteal_direct", k.evictions - k.background)
  return object(list, lines)
end
