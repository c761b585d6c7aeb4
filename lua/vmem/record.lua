--- Recording programs: which emulator runs them, with the recorder as its plugin,
--- and what to do where there is none.

local core = require "vmem.core"
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

-- ELF's e_machine -> QEMU's name of the architecture
local machines = { [62] = "x86_64", [183] = "aarch64", [243] = "riscv64" }

local settings = {
  out = "string", env = "table", emulator = "string", via = "string", stdin = "string", stdout = "string",
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

local function quote(s) return "'" .. s:gsub("'", "'\\''") .. "'" end

-- The shell would say on standard error what a caller should get as a result.
local function try_file(path, mode, what, program)
  if not path then return true end
  local f, why, code = io.open(path, mode)
  if not f then
    return missing(("%s, the %s of %s, can't be opened: %s"):format(path, what, program,
      why:gsub("^.*: ", "")), code == 13 and "EACCES" or "ENOENT")
  end
  f:close()
  return true
end

--- By Valgrind's Lackey, through a named pipe. The shell opens the pipe, so that
--- our own opening of it ends, whatever comes of the program.
---@return vmem.trace? trace, file*|string? process nil of a live one, string? code
local function lackey(argv, command, live)
  for _, f in ipairs { { command.stdin, "rb", "input" }, { command.stdout, "wb", "output" } } do
    local good, why, code = try_file(f[1], f[2], f[3], argv[1])
    if not good then return nil, why, code end
  end
  local valgrind = find "valgrind"
  local pipe = os.tmpname()
  os.remove(pipe)
  if not os.execute("mkfifo -m 600 " .. quote(pipe)) then
    return missing("no named pipe can be made at " .. pipe, "EIO")
  end
  local words = {}
  for k, v in pairs(command.env or {}) do words[#words + 1] = quote(k .. "=" .. v) end
  table.sort(words)
  if #words > 0 then table.insert(words, 1, "env") end
  table.insert(words, 1, "exec 9>" .. quote(pipe) .. ";")
  words[#words + 1] = quote(valgrind) .. " --tool=lackey --trace-mem=yes --log-fd=9"
  for _, a in ipairs(argv) do words[#words + 1] = quote(a) end
  words[#words + 1] = "<" .. quote(command.stdin or "/dev/null")
  if command.stdout then words[#words + 1] = ">" .. quote(command.stdout) end
  local line, process = table.concat(words, " "), nil
  -- Collecting a process waits for its end, which waits for its reader: a live one
  -- is nobody's, and ends at its first write to a pipe without a reader.
  if live then
    os.execute("(" .. line .. ") &")
  else
    process = io.popen(line, "w")
  end
  local t, why, code = trace.open(pipe, { format = "lackey" })
  os.remove(pipe)
  if not t then
    if process then process:close() end
    if code == "EFORMAT" then
      why, code = ("Valgrind ended without a record of %s; what it said is above"):format(argv[1]), "EIO"
    end
    return nil, why, code
  end
  return t, process
end

local function check(command, call)
  if type(command) ~= "table" then
    error(call .. " takes a table: a program, its arguments, options by name", 3)
  end
  if type(command[1]) ~= "string" then error(("%s: there is no program at index 1"):format(call), 3) end
  for i, a in ipairs(command) do
    if type(a) ~= "string" then
      error(("%s: argument %d is a %s, not a string"):format(call, i, type(a)), 3)
    end
  end
  for k, v in pairs(command) do
    if type(k) ~= "number" then
      if not settings[k] then
        error(("%s: there is no option %s (there are emulator, env, out, stdin, stdout, via)"):format(call,
          tostring(k)), 3)
      end
      if type(v) ~= settings[k] then
        error(("%s: option %s is a %s, not a %s"):format(call, k, type(v), settings[k]), 3)
      end
    end
  end
  if command.via and command.via ~= "qemu" and command.via ~= "lackey" then
    error(("%s: via is %q, but takes qemu or lackey"):format(call, command.via), 3)
  end
end

local function begin(command, live)
  local machine, argv, code = resolve(command)
  if not machine then return nil, argv, code end
  local emulator = find(command.emulator or "qemu-" .. machine)
  if command.emulator and not emulator then
    return missing("there is no emulator " .. command.emulator)
  end
  local recorder, sought = plugin()
  local via = command.via or (emulator and recorder and "qemu") or (find "valgrind" and "lackey")
  if via == "lackey" then
    if not find "valgrind" then return missing "Valgrind is not there; on Debian: apt-get install valgrind" end
    return lackey(argv, command, live)
  end
  if via == nil or not emulator then
    return missing(("to run this program an emulator is needed: qemu-%s (on Debian: apt-get install "
      .. "qemu-user) or Valgrind"):format(machine))
  end
  if not recorder then
    return missing(("the recorder %s is not there; 'make' builds it"):format(sought or "libvmem-record.so"))
  end
  local options = {}
  for k, v in pairs(command.env or {}) do options[#options + 1] = k .. "=" .. v end
  table.sort(options)
  local words = {}
  for _, o in ipairs(options) do
    words[#words + 1] = "-E"
    words[#words + 1] = o
  end
  local count = #words
  table.move(argv, 1, #argv, count + 1, words)
  return core.live(emulator, recorder, words, count, command.stdin, command.stdout)
end

--- Run a program and read its accesses as they come: a trace of one pass, with no
--- file in between. It starts when the pass does; closing the pass ends it.
---@param command vmem.Command
---@return vmem.trace? trace, string? message, string? code
function record.live(command)
  check(command, "trace.live")
  local t, why, code = begin(command, true)
  if not t then return nil, why, code end
  return t
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
  check(command, "trace.record")
  local t, process, code = begin(command)
  if not t then return nil, process, code end
  local out = command.out
  if not out then
    out = os.tmpname()
    temporary[#temporary + 1] = out
  end
  local saved, why, saved_code = t:save(out)
  local status, signal = core.live_status(t)
  if process then
    local _, how, number = process:close()
    status, signal = how == "exit" and number or -1, how == "signal" and number or nil
  end
  t:close()
  if not saved then return nil, why, saved_code end
  local kept, open_why, open_code = trace.open(out)
  if not kept then return nil, open_why, open_code end
  return kept, { status = status, signal = signal }
end

return record
