--- Programs that execve can run: images of segments, kept in files of the
--- simulated disk.

local core = require "vmem.core"
local options = require "vmem.options"

local Machine, Process = core.Machine, core.Process

---@class vmem.Segment
---@field addr? integer where it goes; of a shared object, left out
---@field bytes? string its content
---@field bss? integer|string bytes of zeros behind the content
---@field prot? string "rx" for text, "rw" for data and bss
---@field name? string

---@class vmem.Image
---@field entry? integer the first instruction; the start of the text if left out
---@field text? vmem.Segment|string
---@field data? vmem.Segment|string
---@field bss? integer|string bytes of zeros behind the data
---@field segments? vmem.Segment[] further ones
---@field libs? vmem.Segment[] shared objects: each at a place that the kernel finds
---@field stack? integer|string bytes mapped at first; it grows

-- Programs of each machine: [machine] = { [name] = program }
local programs = setmetatable({}, { __mode = "k" })

local image_fields = { entry = true, text = true, data = true, bss = true, segments = true, libs = true, stack = true }
local segment_fields = { addr = true, bytes = true, bss = true, prot = true, name = true }

local function size(what, v)
  local n = options.bytes(v)
  if not n or n < 0 then
    error(("%s is %s, but takes bytes, or a text such as \"64KiB\""):format(what, tostring(v)), 0)
  end
  return n
end

-- A segment as the kernel takes it, its content appended to the file's `parts`.
local function segment(m, program, given, default)
  if type(given) == "string" then given = { bytes = given } end
  for k in pairs(given) do
    if not segment_fields[k] then error(("a segment has no field %s"):format(tostring(k)), 0) end
  end
  local page = m:options().paging.page
  local content = given.bytes or ""
  local addr = given.addr or default.addr
  local skew = addr % page
  local at = #program.content
  if #content > 0 then -- a segment begins on a page of the file, at the same offset in it
    program.content = program.content .. ("\0"):rep((skew - at) % page)
    at = #program.content
    program.content = program.content .. content
  end
  return {
    addr = addr, file_bytes = #content, bytes = #content + size("bss", given.bss or default.bss or 0),
    offset = at, prot = given.prot or default.prot, anywhere = default.anywhere or false,
    name = given.name or default.name or program.name,
  }
end

local function build(m, name, image)
  for k in pairs(image) do
    if not image_fields[k] then error(("an image has no field %s"):format(tostring(k)), 0) end
  end
  local bits, page = m:options().paging.va_bits, m:options().paging.page
  local base = bits > 32 and 0x400000 or bits == 32 and 0x08048000 or page
  local program = { name = name, content = "", segments = {}, stack = size("stack", image.stack or 0) }
  local function add(given, default)
    local s = segment(m, program, given, default)
    program.segments[#program.segments + 1] = s
    return s
  end
  local text = image.text and add(image.text, { addr = base, prot = "rx" })
  local top = text and text.addr + text.bytes or base
  if image.data or image.bss then
    add(image.data or "", { addr = (top + page - 1) // page * page, prot = "rw", bss = image.bss })
  end
  for _, s in ipairs(image.segments or {}) do add(s, { addr = base, prot = "rw" }) end
  for i, s in ipairs(image.libs or {}) do
    add(s, { addr = 0, prot = "rx", anywhere = true, name = "lib" .. i })
  end
  program.entry = image.entry or (text and text.addr or 0)
  return program
end

--- Put a program on the simulated disk, as a file of this name, for execve.
---@param name string
---@param image vmem.Image
---@return vmem.File? file, string? message, string? code
function Machine:program(name, image)
  if type(image) ~= "table" then error("program: an image is a table of segments", 2) end
  local ok, program = pcall(build, self, name, image)
  if not ok then error("program: " .. program, 2) end
  local file, message, code = self:file(name, program.content)
  if not file then return nil, message, code end
  programs[self] = programs[self] or {}
  programs[self][name] = program
  return file
end

--- Run another program in the process: its areas go; text and data are private
--- mappings of the program's file, bss, heap and stack are demand-zero, shared
--- objects have places of their own; argv and envp are on the stack. Pages come in
--- when they are touched. On failure the process is as it was.
---@param name string a program that was put on the disk by m:program
---@param argv? string[]
---@param envp? string[] of "NAME=value"
---@return true? ok, string? message, string? code
function Process:execve(name, argv, envp)
  local m = self:machine()
  local file, message, code = m:file(name, nil, "r")
  if not file then return nil, message, code end
  local program = programs[m] and programs[m][name]
  if not program or #program.content ~= file.size then
    file:close()
    return nil, ("ENOEXEC: execve: %s is not a program"):format(name), "ENOEXEC"
  end
  local segments = {}
  for i, s in ipairs(program.segments) do
    segments[i] = { file = s.file_bytes > 0 and file or nil }
    for k, v in pairs(s) do segments[i][k] = v end
  end
  local ok
  ok, message, code = self:_execve(name, segments, program.entry, program.stack, argv or { name }, envp or {})
  file:close()
  return ok, message, code
end
