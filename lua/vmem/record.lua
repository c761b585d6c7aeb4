--- Recording programs: which emulator runs them, with the recorder as its plugin,
--- and what to do where there is none.

local core = require "vmem.core"
local options = require "vmem.options"
local trace = require "vmem.trace"

local record = {}

---@class vmem.Command
---@field [integer] string the program and its arguments
---@field out? string of record: the file; without it, the trace lives as long as the Lua state
---@field env? table<string, string> added to the program's environment
---@field emulator? string in place of the one for the program's machine
---@field via? "qemu"|"lackey"
---@field stdin? string a file for the program's input, in place of ours
---@field stdout? string a file for its output
---@field ring? string|integer memory between the program and vmem, for each thread (default "1MiB")

-- ELF's e_machine -> QEMU's name of the architecture
local machines = { [62] = "x86_64", [183] = "aarch64", [243] = "riscv64" }

local settings = { -- option -> the types that it takes
  out = "string", env = "table", emulator = "string", via = "string", stdin = "string", stdout = "string",
  ring = "string or integer",
}

local function is_file(path)
  local f = io.open(path, "rb")
  if f then f:close() end
  return f ~= nil
end

--- A command's file, as a shell would find it.
local function find(name)
  if name:find("/", 1, true) then return is_file(name) and name or nil end
  for folder in (os.getenv("PATH") or "/usr/local/bin:/usr/bin:/bin"):gmatch("[^:]+") do
    local path = folder .. "/" .. name
    if core.executable(path) and is_file(path) then return path end
  end
  return nil
end

local function missing(text, code) return nil, text, code or "ENOENT" end

--- What a program's file is: QEMU's architecture, or the words of its #! line.
local function examine(path)
  local f, why, code = io.open(path, "rb")
  if not f then return missing(why, code == 13 and "EACCES" or "ENOENT") end
  local head = f:read(256) or ""
  f:close()
  if head:sub(1, 4) == "\127ELF" and #head >= 20 then
    local machine = ("<I2"):unpack(head, 19)
    if machines[machine] then return machines[machine] end
    return missing(("%s is for a machine (ELF number %d) that the recorder does not know; "
      .. "it knows x86_64, aarch64 and riscv64"):format(path, machine), "ENOEXEC")
  end
  local line = head:match("^#!%s*([^\n]+)")
  if not line then return missing(path .. " is neither an ELF program nor a script", "ENOEXEC") end
  local words = {}
  for w in line:gmatch("%S+") do words[#words + 1] = w end
  return words
end

--- The program's file and arguments; a script becomes its interpreter's argument.
local function resolve(command)
  local path = find(command[1])
  if not path then return missing(("there is no program %s"):format(command[1])) end
  local argv = { path, table.unpack(command, 2) }
  for _ = 1, 4 do
    local what, why, code = examine(argv[1])
    if not what then return nil, why, code end
    if type(what) == "string" then return what, argv end
    local interpreter = what[1]
    if interpreter:match("/env$") and what[2] then
      interpreter = find(what[2]) or what[2]
      table.remove(what, 1)
    end
    what[1] = interpreter
    argv = table.move(argv, 1, #argv, #what + 1, what)
  end
  return missing(command[1] .. ": scripts whose interpreters are scripts, four deep", "ENOEXEC")
end

local function plugin()
  local given = os.getenv("VMEM_RECORDER")
  if given then return is_file(given) and given or nil, given end
  local at = package.searchpath("vmem.core", package.cpath)
  local path = at and at:gsub("vmem/core%.[^/]*$", "") .. "libvmem-record.so"
  return path and is_file(path) and path or nil, path
end

local function check(command, call)
  local function bad(text, ...) error(("%s: " .. text):format(call, ...), 4) end
  if type(command) ~= "table" then bad "takes a table: a program, its arguments, options by name" end
  if type(command[1]) ~= "string" then bad "there is no program at index 1" end
  for i, a in ipairs(command) do
    if type(a) ~= "string" then bad("argument %d is a %s, not a string", i, type(a)) end
  end
  for k, v in pairs(command) do
    if type(k) ~= "number" then
      if not settings[k] then
        bad("there is no option %s (there are emulator, env, out, ring, stdin, stdout, via)", tostring(k))
      end
      if not settings[k]:find(math.type(v) or type(v), 1, true) then
        bad("option %s is a %s, not a %s", k, type(v), settings[k])
      end
    end
  end
  for k, v in pairs(command.env or {}) do
    if type(k) ~= "string" or type(v) ~= "string" or k:find("=", 1, true) then
      bad 'option env takes strings by name, as in { LANG = "C" }'
    end
  end
  if command.via and command.via ~= "qemu" and command.via ~= "lackey" then
    bad("via is %q, but takes qemu or lackey", command.via)
  end
  local ring = command.ring and options.bytes(command.ring)
  if command.ring and not (ring and ring >= 65536 and ring <= 64 << 20 and ring & ring - 1 == 0) then
    bad("ring is %s, but takes a power of two from 64KiB to 64MiB", tostring(command.ring))
  end
  return ring
end

--- The settings of the environment, sorted, each after `flag` if there is one.
local function environment(env, flag)
  local words, sorted = {}, {}
  for k, v in pairs(env or {}) do sorted[#sorted + 1] = k .. "=" .. v end
  table.sort(sorted)
  for _, setting in ipairs(sorted) do
    words[#words + 1] = flag
    words[#words + 1] = setting
  end
  return words
end

--- The emulator's words, then the program's. A descriptor's number is added to
--- the end of words[fd_at].
local function start(via, words, fd_at, argv, command, ring)
  local program = #words + 1
  table.move(argv, 1, #argv, program, words)
  return core.live(via, words, fd_at, program, command.stdin, command.stdout, ring)
end

local function by_qemu(emulator, recorder, argv, command, ring)
  -- A comma ends a part of this option; two stand for one.
  local words = { emulator, "-plugin", recorder:gsub(",", ",,") .. ",ring=" }
  local env = environment(command.env, "-E")
  table.move(env, 1, #env, #words + 1, words)
  return start("qemu", words, 3, argv, command, ring)
end

local function by_lackey(valgrind, argv, command, ring)
  local words = environment(command.env)
  if #words > 0 then table.insert(words, 1, "env") end
  table.move({ valgrind, "--tool=lackey", "--trace-mem=yes", "--log-fd=" }, 1, 4, #words + 1, words)
  return start("lackey", words, #words, argv, command, ring)
end

local function begin(command, ring)
  local machine, argv, code = resolve(command)
  if not machine then return nil, argv, code end
  local emulator = find(command.emulator or "qemu-" .. machine)
  if command.emulator and not emulator then return missing("there is no emulator " .. command.emulator) end
  local valgrind, recorder, sought = find "valgrind", plugin()
  local via = command.via or (emulator and recorder and "qemu") or (valgrind and "lackey") or "qemu"
  if via == "lackey" then
    if not valgrind then return missing "there is no Valgrind; on Debian: apt-get install valgrind" end
    return by_lackey(valgrind, argv, command, ring)
  end
  if not emulator then
    return missing(("to record this program qemu-%s is needed (on Debian: apt-get install qemu-user)%s"):format(
      machine, valgrind and "" or ", or Valgrind (apt-get install valgrind)"))
  end
  if not recorder then
    return missing(("the recorder %s is not there; 'make' builds it"):format(sought or "libvmem-record.so"))
  end
  return by_qemu(emulator, recorder, argv, command, ring)
end

--- Run a program and read its accesses as they come: a trace of one pass, with no
--- file in between. It starts when the pass does; closing the pass ends it.
---@param command vmem.Command
---@return vmem.trace? trace, string? message, string? code
function record.live(command)
  return begin(command, check(command, "trace.live"))
end

-- Files of recordings that nobody named go when the Lua state does.
local temporary = setmetatable({}, { __gc = function(list)
  for _, path in ipairs(list) do os.remove(path) end
end })

--- Run a program, unmodified, and keep its trace in a `.vmt` file.
---@param command vmem.Command
---@return vmem.trace? trace, string|table? message a table { status =, signal = } of how the
--- program ended where there is a trace, string? code
function record.record(command)
  local t <close>, why, code = begin(command, check(command, "trace.record"))
  if not t then return nil, why, code end
  local out = command.out
  if not out then
    out = os.tmpname()
    temporary[#temporary + 1] = out
  end
  local saved, save_why, save_code = t:save(out)
  if not saved then return nil, save_why, save_code end
  local status, signal = core.live_status(t)
  local kept, open_why, open_code = trace.open(out)
  if not kept then return nil, open_why, open_code end
  return kept, { status = status, signal = signal }
end

return record
