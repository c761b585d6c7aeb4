--- Memory of processes and files that it may map: the system calls, in Lua.

local core = require "vmem.core"
local options = require "vmem.options"

local Machine, Process = core.Machine, core.Process

-- A length in bytes: a number or a size text.
local function bytes(call, v, what)
  local n = options.bytes(v)
  if not n then
    error(("%s: %s is %s, but takes bytes, or a text such as \"64KiB\""):format(call, what or "length",
      tostring(v)), 3)
  end
  return n
end

local arguments = {}
for name in ("length prot flags addr page name file offset"):gmatch("%a+") do arguments[name] = true end

-- The page-table level whose pages a hugetlb mapping has.
local function huge_level(p, page)
  local g, want = p:geometry(), page and options.bytes(page)
  local bits, sizes = g.page_bits, {}
  for k = 1, #g.levels - 1 do
    bits = bits + g.levels[#g.levels + 1 - k]
    sizes[#sizes + 1] = tostring(1 << bits)
    if page == nil and k == 1 or want == 1 << bits then return k end
  end
  if want == 1 << g.page_bits then return 0 end
  error(("mmap: page is %s, but this machine's large pages have %s bytes"):format(
    tostring(page), #sizes > 0 and table.concat(sizes, " or ") or "no"), 3)
end

---@class vmem.MmapArguments
---@field length integer|string bytes
---@field prot? string of r, w, x; "none"; "rw" if left out
---@field flags? string of private, shared, anonymous, fixed, fixed_noreplace, populate, noreserve,
--- growsdown, hugetlb, joined by |; private if neither it nor shared is given
---@field addr? integer a hint, or the place if fixed
---@field page? integer|string bytes of a page of a hugetlb mapping
---@field file? vmem.File what to map; anonymous memory if left out
---@field offset? integer|string of the first page in the file, bytes
---@field name? string

--- Map memory: of a file, or anonymous. A write to private memory stays with the
--- process; one to shared memory is seen by all who map it, and by the file.
--- Errors as POSIX has them: EINVAL, ENOMEM, EACCES, EBADF, EEXIST, EOVERFLOW.
---@param t vmem.MmapArguments
---@return integer? address, string? message, string? code
function Process:mmap(t)
  if type(t) ~= "table" then error("mmap takes a table of arguments", 2) end
  for k in pairs(t) do
    if not arguments[k] then error(("mmap: there is no argument %s"):format(tostring(k)), 2) end
  end
  local flags = t.flags or (t.file and "private" or "private|anonymous")
  local huge = t.page or flags:find("hugetlb", 1, true)
  return self:_mmap(t.addr or 0, bytes("mmap", t.length), t.prot or "rw", flags, huge and huge_level(self, t.page) or 0,
    t.name, t.file, t.offset and bytes("mmap", t.offset, "offset") or 0)
end

--- Unmap a range of pages; areas are split where it cuts them.
---@param addr integer
---@param n integer|string bytes
---@return true? ok, string? message, string? code
function Process:munmap(addr, n) return self:_munmap(addr, bytes("munmap", n)) end

--- Change the protection of a range of pages.
---@param addr integer
---@param n integer|string bytes
---@param prot string of r, w, x; "none"
---@return true? ok, string? message, string? code
function Process:mprotect(addr, n, prot) return self:_mprotect(addr, bytes("mprotect", n), prot) end

--- Grow, shrink or move a mapping; its pages move without being copied.
---@param addr integer
---@param old integer|string bytes
---@param new integer|string bytes
---@param t? { maymove?: boolean, addr?: integer } maymove: to any place if it can't grow where it
--- is; addr: to this place, in place of what is there
---@return integer? address, string? message, string? code
function Process:mremap(addr, old, new, t)
  t = t or {}
  for k in pairs(t) do
    if k ~= "maymove" and k ~= "addr" then error(("mremap: there is no argument %s"):format(tostring(k)), 2) end
  end
  return self:_mremap(addr, bytes("mremap", old), bytes("mremap", new), t.addr, t.maymove or false)
end

--- Say how a range will be used. dontneed: its pages go at once; free: they may go
--- without being written; willneed: bring them in, as far as frames are free;
--- sequential, random, normal: how much of a file to read ahead.
---@param addr integer
---@param n integer|string bytes
---@param what "normal"|"random"|"sequential"|"willneed"|"dontneed"|"free"
---@return true? ok, string? message, string? code
function Process:madvise(addr, n, what) return self:_madvise(addr, bytes("madvise", n), what) end

--- Write the dirty pages of shared file mappings in the range to the disk.
---@param addr integer
---@param n integer|string bytes
---@return true? ok, string? message, string? code EIO: the disk failed
function Process:msync(addr, n) return self:_msync(addr, bytes("msync", n)) end

--- Bring the pages of a range in, and keep them.
---@param addr integer
---@param n integer|string bytes
---@return true? ok, string? message, string? code
function Process:mlock(addr, n) return self:_mlock(addr, bytes("mlock", n), true) end

--- Let the pages of a range be evicted again.
---@param addr integer
---@param n integer|string bytes
---@return true? ok, string? message, string? code
function Process:munlock(addr, n) return self:_mlock(addr, bytes("munlock", n), false) end

--- Which pages of a range are in memory: a byte a page, "\1" or "\0".
---@param addr integer
---@param n integer|string bytes
---@return string? pages, string? message, string? code
function Process:mincore(addr, n) return self:_mincore(addr, bytes("mincore", n)) end

--- Move the break by n bytes (negative too).
---@param n integer|string
---@return integer? old the break before
---@return string? message, string? code
function Process:sbrk(n) return self:_sbrk(bytes("sbrk", n)) end

--- The states of a range of pages, a letter each: "-" unallocated, "u" uncached,
--- "c" cached (CS:APP 9.3), "?" a PTE that nobody gave.
---@param start integer
---@param stop integer the first address behind the range
---@return string letters
function Process:pages(start, stop) return self:_pages(start, stop) end

--- A file on the simulated disk. With `content` it is made, or its content is
--- replaced; without, it must exist.
---@param name string
---@param content? string|{ host: string } bytes, or the path of a file of the host
---@param mode? "r"|"rw" "r": can't be written, nor mapped shared and writable
---@return vmem.File? file, string? message, string? code
function Machine:file(name, content, mode)
  if type(name) ~= "string" then error("file: the name is a " .. type(name) .. ", but takes a string", 2) end
  if mode ~= nil and mode ~= "r" and mode ~= "rw" then
    error("file: mode is " .. tostring(mode) .. ", but takes \"r\" or \"rw\"", 2)
  end
  if type(content) == "table" then
    local f, message, number = io.open(tostring(content.host), "rb")
    if not f then return nil, message, number == 2 and "ENOENT" or "EIO" end
    content = f:read("a")
    f:close()
  elseif content ~= nil and type(content) ~= "string" then
    error("file: content is a " .. type(content) .. ", but takes a string or { host = path }", 2)
  end
  return self:_file(name, content, mode == "r")
end
